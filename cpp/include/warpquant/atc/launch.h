// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/ops.h"

/// What the dispatch hands to a device.
namespace wq::atc {

/// ATC of groups of symbols; `run.growth`, the groups and what they point to are in device memory. Lanes without a
/// symbol have no results.
struct Launch {
  Run run;
  std::int64_t groups;
  const Group* group;
  std::byte* scratch;  // for each group as much as the device asks for, which may be nothing
};

}  // namespace wq::atc
