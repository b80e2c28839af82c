// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Plain and linearly weighted mean of the last `length` values, by sliding:
/// WMA' = WMA + 2/(L+1) (x - SMA), SMA' = SMA + (x - x_L) / L.
template <class V>
struct WeightedMeans {
  V sma, wma;

  WQ_HD void step(V x, V oldest, V pace, V one_over) {
    wma = wma + pace * (x - sma);
    sma = sma + one_over * (x - oldest);
  }
};

struct WeightedWindow {
  std::int64_t length;
  double one_over, pace;

  explicit WeightedWindow(std::int64_t n)
      : length(n), one_over(1.0 / static_cast<double>(n)), pace(2.0 / (static_cast<double>(n) + 1.0)) {}

  /// From the values at(0), newest, to at(length - 1).
  template <class V, class At>
  WQ_HD void open(WeightedMeans<V>& m, At at) const {
    V sum(0.0), weighted(0.0);
    for (std::int64_t k = 0; k < length; ++k) {
      const V x = at(k);
      sum = sum + x;
      weighted = weighted + V(static_cast<double>(length - k)) * x;
    }
    m.sma = sum * V(one_over);
    m.wma = weighted * V(one_over * pace);
  }

  template <class V>
  WQ_HD void step(WeightedMeans<V>& m, V x, V oldest) const {
    m.step(x, oldest, V(pace), V(one_over));
  }
};

/// Linearly weighted mean, and what its sliding sums give besides.
struct Wma {
  static constexpr Info info = {"wma",
                                "Linearly weighted moving average",
                                "WMA_i = (1 x_{i-L+1} + 2 x_{i-L+2} + ... + L x_i) / (L (L+1) / 2)",
                                "The first ``length - 1`` bars are NaN.",
                                false,
                                false,
                                false};
  WeightedWindow window;

  explicit Wma(const Spec& spec) : window(spec.length) {}

  std::int64_t warmup() const { return window.length - 1; }
  std::int64_t span() const { return window.length; }
  std::int64_t ring() const { return 0; }

  template <class V>
  struct State {
    V anchor;
    WeightedMeans<V> means;
  };

  template <class V>
  WQ_HD void open(State<V>& s, Window<V> x) const {
    s.anchor = x[0];
    window.open(s.means, [&](std::int64_t k) { return x[k] - s.anchor; });
  }

  template <class V>
  WQ_HD void slide(State<V>& s, Window<V> x) const {
    window.step(s.means, x[0] - s.anchor, x[window.length] - s.anchor);
  }

  template <class V>
  WQ_HD V step(State<V>& s, Window<V> x) const {
    slide(s, x);
    return s.anchor + s.means.wma;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
