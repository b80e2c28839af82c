// SPDX-License-Identifier: Apache-2.0
#include "signals.cuh"

namespace wq::cuda {

Fault signals(int device, const signals::Launch& launch, Handle stream) {
  WQ_RANGE("signals");
  return on_device(device, [&] { return wq::signals::launch_on(launch, {device, stream}); });
}

}  // namespace wq::cuda
