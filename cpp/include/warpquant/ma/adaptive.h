// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

/// Smoothing at a rate that changes from bar to bar.
namespace wq::ma::inline WQ_LEVEL {

/// Exponential smoothing in the form that leaves a flat series exactly flat.
template <class V>
WQ_HD V smooth(V value, V alpha, V x) {
  return value + alpha * (x - value);
}

inline constexpr double kKamaFast = 0.666, kKamaSlow = 0.064;

/// Kaufman's smoothing constant with ATC's numbers. `quiet`: a noise up to this counts as no movement at all.
template <class V>
WQ_HD V kama_rate(V change, V noise, V quiet) {
  const V efficiency = div_if(gt(noise, quiet), abs(change), noise);
  const V rate = efficiency * V(kKamaFast - kKamaSlow) + V(kKamaSlow);
  return rate * rate;
}

}  // namespace wq::ma::inline WQ_LEVEL
