// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/walks.h"
#include "warpquant/equity/ops.h"

/// What the dispatch hands to a device.
namespace wq::equity {

/// Curves over series, the second input being the signal.
struct Launch {
  Params params;
  const double* growth;  // one factor per bar, in device memory
  Walks walks;
};

}  // namespace wq::equity
