// SPDX-License-Identifier: Apache-2.0
#include "scenario.cuh"

namespace wq::cuda {

Fault scenario(int device, const options::scenario::Launch& launch, Handle stream) {
  WQ_RANGE("scenario");
  return on_device(device, [&] { return options::scenario::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
