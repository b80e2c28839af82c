// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/ops.h"

/// What the dispatch hands to a device.
namespace wq::atc {

/// What the device itself does about missing bars, if anything.
enum class Missing : std::uint8_t {
  known,  // nothing: descriptions of groups are right
  skip,   // it finds them, and they are no bars
  gaps,   // it finds the groups that have some
};

/// How much of it: a sweep makes signals once for all sets of parameters that have them in common.
enum class Part : std::uint8_t { everything, signals, votes };

/// ATC of groups of symbols; `run.growth`, the groups and what they point to are in device memory. Lanes without a
/// symbol have no bars and no results. Unless missing bars are known, every symbol has `run.bars` bars, and one with a
/// price from `kTooLarge` on has no results: floats are NaN, classes 0.
struct Launch {
  Run run;
  Missing missing;
  std::int64_t groups;
  Group* group;        // the device changes it
  std::byte* scratch;  // for each group as much as the device asks for, which may be nothing
  Part part = Part::everything;
};

/// New bars of groups [first, last) of a stream; pointers are to device memory.
struct StreamLaunch {
  Run run;
  const Group* shared;  // says `separate_src`
  Feed feed;
  std::int64_t first, last;
  std::byte* scratch;  // as much as the device asks for
};

}  // namespace wq::atc
