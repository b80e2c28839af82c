// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace wq::equity::inline WQ_LEVEL
