// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/signals/ops.h"

/// The stages of ATC one at a time: what the bindings call.
namespace wq::signals {

struct Request {
  Params params;
  DType in_type[2], out_type;  // of the first half of the inputs, and of the second
  std::vector<Series> in;      // input k of series s at k * series + s
  std::vector<Sink> out;       // of each series
};

void run(const Request& request, const Execution& execution);

}  // namespace wq::signals
