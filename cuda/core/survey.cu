// SPDX-License-Identifier: Apache-2.0
#include "core/survey.cuh"

namespace wq::cuda {

Fault survey(int device, const Series* series, std::int64_t count, DType type, Flaws* flaws, Handle stream) {
  WQ_RANGE("survey");
  return on_device(device, [&] { return survey_on(series, count, type, flaws, {device, stream}); });
}

}  // namespace wq::cuda
