// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/walks.h"
#include "warpquant/signals/ops.h"

/// What the dispatch hands to a device.
namespace wq::signals {

struct Launch {
  Params params;
  Walks walks;
};

}  // namespace wq::signals
