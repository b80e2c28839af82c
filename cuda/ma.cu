// SPDX-License-Identifier: Apache-2.0
#include "ma.cuh"

namespace wq::cuda {

Fault ma(int device, const ma::Launch& launch, Handle stream) {
  WQ_RANGE("ma");
  return on_device(device, [&] { return wq::ma::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
