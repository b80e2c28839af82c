// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/adaptive.h"

/// One bar of each average that ATC uses. Some are carried as a multiple (3*WMA, 2*EMA), which saves operations in
/// what is made of them.
namespace wq::atc::inline WQ_LEVEL {

using ma::kama_rate;
using ma::kKamaSlow;
using ma::smooth;

/// Simple and linearly weighted mean of the last L values, by sliding:
/// WMA' = WMA + 2/(L+1) * (x - SMA), from S1' = S1 + L*x - S0. The weighted mean may be carried as a multiple.
template <class V>
struct WindowMeans {
  V sma, wma_multiple;

  /// `window_sum`: of the last L values, x included. `pace` = multiple * 2/(L+1), `one_over` = 1/L.
  WQ_HD void step(V x, V window_sum, V pace, V one_over) {
    wma_multiple = wma_multiple + pace * (x - sma);
    sma = window_sum * one_over;
  }
};

/// The same for the short last pass of the Hull average, whose input is made on the way.
template <class V>
struct ShortMeans {
  V sma, wma;

  /// `oldest`: the value that leaves the window. `two_over` = 2/(q+1), `one_over` = 1/q.
  WQ_HD void step(V x, V oldest, V two_over, V one_over) {
    wma = wma + two_over * (x - sma);
    sma = sma + one_over * (x - oldest);
  }
};

/// DEMA = 2*e1 - e2 with e2 the smoothing of e1; both carried doubled.
template <class V>
struct SecondSmoothing {
  V twice_e2;

  WQ_HD V step(V twice_e1, V alpha, V one_minus_alpha) {
    const V gap = twice_e1 - twice_e2;
    twice_e2 = twice_e2 + alpha * gap;
    return twice_e1 + one_minus_alpha * gap;  // e1 + (e1 - e2), with the new e2
  }
};

}  // namespace wq::atc::inline WQ_LEVEL
