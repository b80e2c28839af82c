// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/equity/ops.h"

/// What the dispatch hands to a device.
namespace wq::equity {

/// Curves over series in device memory, where everything below lies.
struct Launch {
  Params params;
  DType in_type, signal_type, out_type;
  std::int64_t series;
  const Series *in, *signal;
  const Sink* out;
  const double* growth;  // one factor per bar
};

}  // namespace wq::equity
