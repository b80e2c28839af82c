// SPDX-License-Identifier: Apache-2.0
#include "options.cuh"

namespace wq::cuda {

Fault rows(int device, const rows::Job& job, Handle stream) {
  WQ_RANGE("options");
  return on_device(device, [&] { return options::launch_on(job, {device, stream}); });
}

}  // namespace wq::cuda
