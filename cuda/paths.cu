// SPDX-License-Identifier: Apache-2.0
#include "paths.cuh"

namespace wq::cuda {

Fault paths(int device, const paths::Launch& launch, Handle stream) {
  WQ_RANGE("paths");
  return on_device(device, [&] { return wq::paths::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
