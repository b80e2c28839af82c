// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/spec.h"
#include "warpquant/ma/window_sums.h"

namespace wq::ma::inline WQ_LEVEL {

/// Simple mean by a sliding sum, of differences from an anchor price so that rounding stays that of the spread.
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

  std::int64_t warmup() const { return length - 1; }  // first bar with a value
  std::int64_t span() const { return length + 7; }    // how far back `open` and `step` look

  template <class P>
  struct State {
    One<P> anchor, sum;
  };

  /// Before the first packet of a block, from its window alone.
  template <class P, class X>
  WQ_HD void open(State<P>& s, X x) const {
    s.anchor = x.one(0);
    s.sum = window_sums<P, false>(length, [&](std::int64_t k) { return x[k] - s.anchor; }).plain;
  }

  template <class P, class X>
  WQ_HD P step(State<P>& s, X x) const {
    const P change = running_sum(x[0] - x[length]);
    const P mean = (change + s.sum) * all<P>(one_over);
    s.sum = last(change) + s.sum;
    return mean + s.anchor;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
