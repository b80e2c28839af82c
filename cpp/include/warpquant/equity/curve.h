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

}  // namespace wq::equity::inline WQ_LEVEL
