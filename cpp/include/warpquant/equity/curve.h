// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/math.h"

namespace wq::equity::inline WQ_LEVEL {

/// What one bar does to the equity of a long, a short and a flat position (docs/atc.md, "Equity").
template <class V>
struct Exposure {
  V if_long, if_short, if_flat;
};

/// `r`: return of the bar, already scaled by the growth factor; NaN, an unknown return, means no exposure.
/// `keep`: 1 minus the decay per bar.
template <class V>
WQ_HD Exposure<V> exposure(V r, V keep) {
  const V moved = keep * select(is_nan(r), V(0.0), r);
  return {keep + moved, keep - moved, keep};
}

/// One step of the curve: never below `floor`, which also turns negative equity positive again.
template <class V>
WQ_HD V compound(V equity, V multiplier, V floor) {
  return max(equity * multiplier, floor);
}

/// Simple return from one close to the next; NaN where it is undefined.
template <class V>
WQ_HD V simple_return(V close, V previous) {
  return select(ne(previous, V(0.0)), (close - previous) / previous, V(__builtin_nan("")));
}

/// What a curve is made from. Sticky: while the signal is 0, the last exposure is kept; otherwise there is none.
template <bool kFromPrices_, bool kSticky_>
struct Mode {
  static constexpr bool kFromPrices = kFromPrices_, kSticky = kSticky_;
};

/// NaN for infinite values too.
template <class V>
WQ_HD V if_finite(V x) {
  return select(eq(x * V(0.0), V(0.0)), x, V(__builtin_nan("")));
}

/// What a bar multiplies the equity by. `x` and `last_x`: closes or returns of this bar and the one before, finite or
/// NaN; `held`: what the bar before did.
template <class M, class V>
WQ_HD V multiplier(V x, V last_x, V last_signal, V growth, V keep, V held) {
  const Exposure<V> e = exposure((M::kFromPrices ? simple_return(x, last_x) : x) * growth, keep);
  return select(gt(last_signal, V(0.0)), e.if_long,
                select(lt(last_signal, V(0.0)), e.if_short, M::kSticky ? held : e.if_flat));
}

/// A curve from bar to bar.
template <class V>
struct Curve {
  V equity, held, last_signal, last_x;

  WQ_HD Curve(V starting, V keep)
      : equity(starting), held(keep), last_signal(__builtin_nan("")), last_x(__builtin_nan("")) {}

  /// Take in a bar that does not move the equity.
  WQ_HD void remember(V x, V signal) {
    last_x = if_finite(x);
    last_signal = signal;
  }

  /// The equity after a bar; the first one only shows where it starts.
  template <class M>
  WQ_HD V step(V x, V signal, V growth, V keep, V floor, bool is_first = false) {
    x = if_finite(x);
    held = multiplier<M>(x, last_x, last_signal, growth, keep, held);
    equity = compound(equity, is_first ? V(1.0) : held, floor);
    last_x = x;
    last_signal = signal;
    return equity;
  }
};

/// The curve as an operation along time whose pieces can be walked side by side (cuda/core/scan.cuh). A step is
/// e -> max(m e, floor). For m and e of 0 or more, which takes a floor of 0 or more, such steps make steps of the same
/// form: first (m1, c1), then (m2, c2) is (m1 m2, max(m2 c1, c2)). Other roundings, so the last digits may differ.
template <class M>
struct CurveScan {
  double starting, keep, floor;
  std::int64_t cutout;
  const double* growth;  // one factor per bar

  using State = Curve<double>;
  WQ_HD State start() const { return State(starting, keep); }

  template <class In>
  WQ_HD double step(State& s, const In& in, std::int64_t bar) const {
    if (bar < cutout) return __builtin_nan("");
    s.remember(in.before(0), in.before(1));
    return s.template step<M>(in(0), in(1), growth[bar], keep, floor, bar == cutout);
  }

  struct Step {
    double times, least;

    WQ_HD double operator()(double equity) const { return max(times * equity, least); }
    WQ_HD Step then(Step next) const { return {times * next.times, max(next.times * least, next.least)}; }
  };
  struct Map {
    std::int64_t waiting;  // bars that the exposure from before the piece is kept for
    Step step;             // of the bars behind those
    double held;           // by the last bar; the one from before if `waits`
    bool waits;
  };
  WQ_HD Map nothing() const { return {0, {1.0, 0.0}, 0.0, true}; }

  template <class In>
  WQ_HD void follow(Map& map, const In& in, std::int64_t bar) const {
    if (bar < cutout) return;
    if (bar == cutout) {  // nothing is from before
      map.held = keep;
      map.waits = false;
    }
    const double signal = in.before(1);
    if (!M::kSticky || signal > 0.0 || signal < 0.0) {
      map.held = multiplier<M>(if_finite(in(0)), if_finite(in.before(0)), signal, growth[bar], keep, map.held);
      map.waits = false;
    }
    if (map.waits)
      ++map.waiting;
    else
      map.step = map.step.then(one(bar == cutout ? 1.0 : map.held));
  }

  WQ_HD State after(State s, const Map& map) const {
    Step waiting{1.0, 0.0}, power = one(s.held);
    for (std::int64_t n = map.waiting; n > 0; n /= 2, power = power.then(power))
      if (n % 2 == 1) waiting = waiting.then(power);
    s.equity = map.step(waiting(s.equity));
    if (!map.waits) s.held = map.held;
    return s;
  }

 private:
  WQ_HD Step one(double multiplier) const { return {max(multiplier, 0.0), floor}; }
};

}  // namespace wq::equity::inline WQ_LEVEL
