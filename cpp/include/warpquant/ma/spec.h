// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/macros.h"

namespace wq::ma {

/// One average as the caller asks for it; every kind takes from it what it knows.
struct Spec {
  std::int64_t length;
  bool seed_first = false;  // recurrences start from the first value, not from a mean
  double fast = 2, slow = 30;
};

/// Smallest power of two from `length` on, and from `least`.
WQ_HD constexpr std::int64_t power_of_2(std::int64_t length, std::int64_t least) {
  std::int64_t bars = least;
  while (bars < length) bars *= 2;
  return bars;
}

/// Bars after which sliding sums start afresh, counted from the first bar of a series: a rule of the results, so that
/// streams, panels and single series agree to the last bit. Blocks of one series are walked side by side, and 256 bars
/// from one to the next would put all of them into the same few places of the cache.
inline constexpr std::int64_t kBlock = 264;
// Strides of `Smoothing` and calls of `tend` count from the start of a block, lines of the cache from that of a series.
static_assert(kBlock % 8 == 0);
WQ_HD constexpr std::int64_t block_bars(std::int64_t length) {
  std::int64_t bars = kBlock;
  while (bars < length) bars *= 2;
  return bars;
}

/// What the Python face needs to know about a kind.
struct Info {
  const char* name;
  const char* title;
  const char* formula;  // in the notation of docs/ma.md
  const char* notes;    // conventions that users trip over, "" if none
  bool recurrent;       // a recurrence; otherwise a function of its window
  bool takes_seed;
  bool takes_fast_slow;
  bool ends_only = false;  // looks at the two ends of its window and nothing between
};

}  // namespace wq::ma
