// SPDX-License-Identifier: Apache-2.0
#include "surface.cuh"

namespace wq::cuda {

Fault surface(int device, const surface::Launch& launch, Handle stream) {
  WQ_RANGE("surface");
  return on_device(device, [&] { return wq::surface::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
