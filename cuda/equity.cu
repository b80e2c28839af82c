// SPDX-License-Identifier: Apache-2.0
#include "equity.cuh"

namespace wq::cuda {

Fault equity(int device, const equity::Launch& launch, Handle stream) {
  WQ_RANGE("equity");
  return on_device(device, [&] { return wq::equity::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
