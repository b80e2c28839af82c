// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Sum of the last `length` values, and the same with the weights 1 (oldest) to `length` (newest), by sliding:
/// N' = N + L x - S, S' = S + x - x_L.
template <class V>
struct WindowSums {
  V plain, weighted;
};

struct WeightedWindow {
  std::int64_t length;
  double bars, one_over, scale;      // scale: of the weighted sum, to a mean
  std::int64_t plain_for, both_for;  // bars for which sums serve, powers of 2

  explicit WeightedWindow(std::int64_t n)
      : length(n), bars(static_cast<double>(n)), one_over(1.0 / bars), scale(2.0 / (bars * (bars + 1.0))),
        plain_for(power_of_2((n + 1) / 2, 32)), both_for(power_of_2(2 * n, 8)) {}

  /// From the values x[0], newest, to x[length - 1].
  template <class V, class X>
  WQ_HD void open(WindowSums<V>& s, X x) const {
    s.weighted = sum_over(length, [&](std::int64_t k) { return V(static_cast<double>(length - k)) * x[k]; });
    s.plain = plain_sum(x);
  }

  /// Sums afresh now and then, `bar` being counted from the start of a block; called every eight bars. The weighted sum
  /// takes in the error of the plain one on every bar, so that must not grow for long. Costs a bar three operations at
  /// most.
  template <class V, class X>
  WQ_HD void tend(WindowSums<V>& s, X x, std::int64_t bar) const {
    if ((bar & (both_for - 1)) == 0)
      open(s, x);
    else if ((bar & (plain_for - 1)) == 0)
      s.plain = plain_sum(x);
  }

  template <class V>
  WQ_HD void step(WindowSums<V>& s, V x, V oldest) const {
    s.weighted = s.weighted + (V(bars) * x - s.plain);
    s.plain = s.plain + (x - oldest);
  }

  template <class V>
  WQ_HD V wma(const WindowSums<V>& s) const {
    return s.weighted * V(scale);
  }

 private:
  template <class X>
  WQ_HD auto plain_sum(X x) const {
    return sum_over(length, [&](std::int64_t k) { return x[k]; });
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

  WQ_HD std::int64_t warmup() const { return window.length - 1; }
  WQ_HD std::int64_t span() const { return window.length; }
  WQ_HD std::int64_t ring() const { return 0; }

  template <class V>
  struct State {
    WindowSums<V> sums;
  };

  template <class V, class X>
  WQ_HD void open(State<V>& s, X x) const {
    window.open(s.sums, x);
  }

  template <class V, class X>
  WQ_HD void tend(State<V>& s, X x, std::int64_t bar) const {
    window.tend(s.sums, x, bar);
  }

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    window.step(s.sums, x[0], x[window.length]);
    return window.wma(s.sums);
  }

  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.sums.weighted + s.sums.plain;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
