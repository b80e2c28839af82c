// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Simple mean by a sliding sum. Windowed averages see their series relative to an anchor price of the block: such
/// differences are exact for prices within a factor of two, and their sums are rounded by what the spread takes, not
/// the price.
struct Sma {
  static constexpr Info info = {"sma",
                                "Simple moving average",
                                "SMA_i = (x_{i-L+1} + ... + x_i) / L",
                                "The first ``length - 1`` bars are NaN.",
                                false,
                                false,
                                false};
  std::int64_t length;
  double one_over;

  explicit Sma(const Spec& spec) : length(spec.length), one_over(1.0 / static_cast<double>(spec.length)) {}

  WQ_HD std::int64_t warmup() const { return length - 1; }  // first bar with a value
  WQ_HD std::int64_t span() const { return length; }        // how far back `open` and `step` look
  WQ_HD std::int64_t ring() const { return 0; }             // values of its own that it keeps

  template <class V>
  struct State {
    V sum;
  };

  /// State after bar x[0], from its window alone.
  template <class V, class X>
  WQ_HD void open(State<V>& s, X x) const {
    s.sum = sum_over(length, [&](std::int64_t k) { return x[k]; });
  }

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    s.sum = s.sum + (x[0] - x[length]);
    return s.sum * V(one_over);
  }

  /// Not finite if a value since the last `open` or `tend` was not.
  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.sum;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
