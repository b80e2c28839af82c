// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/spec.h"
#include "warpquant/ma/window_sums.h"

namespace wq::ma::inline WQ_LEVEL {

/// Plain and linearly weighted mean of the last `length` values, by sliding the sums S and N:
/// N' = N + L x - S, S' = S + x - x_L.
struct WeightedWindow {
  std::int64_t length;
  double bars, one_over, scale;

  explicit WeightedWindow(std::int64_t n)
      : length(n), bars(static_cast<double>(n)), one_over(1.0 / bars), scale(2.0 / (bars * (bars + 1.0))) {}

  template <class P>
  struct State {
    WindowSums<One<P>> sums;
  };

  template <class P>
  struct Means {
    P sma, wma;
  };

  /// From the values before the first packet: f(8) are the last eight of them, f(16) those before, ...
  template <class P, class F>
  WQ_HD void open(State<P>& s, F f) const {
    s.sums = window_sums<P, true>(length, f);
  }

  /// `x` and `oldest`, the values `length` bars ago, relative to an anchor.
  template <class P>
  WQ_HD Means<P> step(State<P>& s, const P& x, const P& oldest) const {
    const P change = running_sum(x - oldest), sum = change + s.sums.plain;
    const P gain = running_sum(all<P>(bars) * x - (later<1>(change) + s.sums.plain));
    const P weighted = gain + s.sums.weighted;
    s.sums = {last(change) + s.sums.plain, last(gain) + s.sums.weighted};
    return {sum * all<P>(one_over), weighted * all<P>(scale)};
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
  std::int64_t span() const { return window.length + 7; }

  template <class P>
  struct State {
    One<P> anchor;
    WeightedWindow::State<P> window;
  };

  template <class P, class X>
  WQ_HD void open(State<P>& s, X x) const {
    s.anchor = x.one(0);
    window.open<P>(s.window, [&](std::int64_t k) { return x[k] - s.anchor; });
  }

  template <class P, class X>
  WQ_HD WeightedWindow::Means<P> means(State<P>& s, X x) const {
    return window.step<P>(s.window, x[0] - s.anchor, x[window.length] - s.anchor);
  }

  template <class P, class X>
  WQ_HD P step(State<P>& s, X x) const {
    return means(s, x).wma + s.anchor;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
