// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Simple mean by sliding, on differences from an anchor price so that rounding stays that of the spread.
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
  std::int64_t span() const { return length; }        // how far back `open` and `step` look
  std::int64_t ring() const { return 0; }             // values of its own that it keeps

  template <class V>
  struct State {
    V anchor, mean;
  };

  /// State after bar x[0], from its window alone.
  template <class V>
  WQ_HD void open(State<V>& s, Window<V> x) const {
    s.anchor = x[0];
    s.mean = V(0.0);
    for (std::int64_t k = 1; k < length; ++k) s.mean = s.mean + (x[k] - s.anchor);
    s.mean = s.mean * V(one_over);
  }

  template <class V>
  WQ_HD V step(State<V>& s, Window<V> x) const {
    s.mean = s.mean + V(one_over) * (x[0] - x[length]);
    return s.anchor + s.mean;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
