// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/math.h"

/// Missing values within a series, for whoever meets them: copies of whole series, streams, devices.
namespace wq::ma {

/// What a missing value does to the series that an average sees.
enum class Hole : std::uint8_t {
  skip,    // it is no bar; the average there is NaN
  repeat,  // it repeats the value before it; averages are NaN while their window holds it
  keep,    // it is NaN, for an average without memory
  end,     // it ends the series; averages from there on are NaN
};

inline namespace WQ_LEVEL {

/// Goes along a series bar by bar. Missing values before the first present one are no part of the series.
struct Sieve {
  Hole hole;
  bool begun = false, ended = false;
  std::int64_t since_hole = 0;  // bars since a value was repeated, that one counted; 0: none was
  double last = 0;              // present value

  /// Whether an average sees the bar; `x` becomes what it sees.
  WQ_HD bool see(double& x) {
    const bool present = is_finite(x);
    begun = begun || present;
    ended = ended || (begun && !present && hole == Hole::end);
    if (!begun || ended) return false;
    if (present) {
      last = x;
      since_hole += since_hole > 0;
      return true;
    }
    if (hole == Hole::skip) return false;
    since_hole = hole == Hole::repeat;
    x = hole == Hole::repeat ? last : __builtin_nan("");
    return true;
  }

  /// Whether the average at the bar that was seen last is one of present values alone.
  WQ_HD bool whole(std::int64_t warmup) const { return since_hole == 0 || since_hole > warmup + 1; }
};

}  // namespace WQ_LEVEL
}  // namespace wq::ma
