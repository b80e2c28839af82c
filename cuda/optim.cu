// SPDX-License-Identifier: Apache-2.0
#include "optim.cuh"

namespace wq::cuda {

Fault optim(int device, const optim::Launch& launch, Handle stream) {
  WQ_RANGE("optim");
  return on_device(device, [&] { return wq::optim::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
