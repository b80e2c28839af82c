// SPDX-License-Identifier: Apache-2.0
#include "pinn.cuh"

namespace wq::cuda {

Fault pinn(int device, const pinn::Launch& launch, Handle stream) {
  WQ_RANGE("pinn");
  return on_device(device, [&] { return wq::pinn::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
