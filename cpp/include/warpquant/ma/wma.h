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
};

struct WeightedWindow {
  std::int64_t length;
  double one_over, pace;

  explicit WeightedWindow(std::int64_t n)
      : length(n), one_over(1.0 / static_cast<double>(n)), pace(2.0 / (static_cast<double>(n) + 1.0)) {}

  /// From the values x[0], newest, to x[length - 1].
  template <class V, class X>
  WQ_HD void open(WeightedMeans<V>& m, X x) const {
    V sum(0.0), weighted(0.0);
    for (std::int64_t k = 0; k < length; ++k) {
      sum = sum + x[k];
      weighted = weighted + V(static_cast<double>(length - k)) * x[k];
    }
    m.sma = sum * V(one_over);
    m.wma = weighted * V(one_over * pace);
  }

  /// The plain mean afresh. The weighted one takes in its error on every bar, so it must not grow for long.
  template <class V, class X>
  WQ_HD void refresh(WeightedMeans<V>& m, X x) const {
    V sum(0.0);
    for (std::int64_t k = 0; k < length; ++k) sum = sum + x[k];
    m.sma = sum * V(one_over);
  }

  template <class V>
  WQ_HD void step(WeightedMeans<V>& m, V x, V oldest) const {
    m.wma = m.wma + V(pace) * (x - m.sma);
    m.sma = m.sma + V(one_over) * (x - oldest);
  }
};

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

  /// Bars between two calls of `refresh`: often enough for its sums to cost no more than one addition a bar.
  std::int64_t refresh_bars() const { return power_of_2(window.length, 8); }

  template <class V>
  struct State {
    WeightedMeans<V> means;
  };

  template <class V, class X>
  WQ_HD void open(State<V>& s, X x) const {
    window.open(s.means, x);
  }

  template <class V, class X>
  WQ_HD void refresh(State<V>& s, X x) const {
    window.refresh(s.means, x);
  }

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    window.step(s.means, x[0], x[window.length]);
    return s.means.wma;
  }

  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.means.wma;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
