// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "warpquant/core/device.h"
#include "warpquant/core/levels.h"

namespace wq {

/// How a call is to run. None of it changes a result.
struct Execution {
  Level level = best_level();
  int threads = 0;                              // of the CPU; 0: as many as the process may use
  std::optional<Device> device = std::nullopt;  // none: the CPU
  PipelineOptions pipeline = {};
  bool may_fall_back = false;  // to the CPU, when memory of the device is short
  // Prices and results are on the device already: work goes into this stream, and nobody waits for it, except to refuse
  // missing values.
  bool resident = false;
  Handle stream = nullptr;
  bool whole = false;            // no value is missing
  bool ordered = true;           // before and after what else is done with the arrays, in other streams
  Prepared* prepared = nullptr;  // gets the work, which is for later
};

}  // namespace wq
