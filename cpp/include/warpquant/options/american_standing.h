// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/dual.h"

namespace wq::options::inline WQ_LEVEL {

/// The expected, discounted flow of `rate` a year over a time t, while a Brownian motion with a drift, which begins
/// `distance` above a level, is below it; discounted at `rate`, which times 2 and with the square of the drift is the
/// square of `pace`. In closed form, by parts:
///
///     F = A e^(a (g - b)) N(-a/w - g w) + C e^(-a (g + b)) N(g w - a/w) - e^(-rt) N(-a/w - b w)
///
/// with w = sqrt(t), distance a, drift b, pace g, A = (1 + b/g) / 2 = 1 - C. In the derivatives all densities at t are
/// one, and those by the distance lose it. What begins below the level is what is left of a flow without end to it.
template <class V>
struct StandingFlow {
  V value, slope, curve, by_drift, by_rate;  // slope, curve: by the distance

  WQ_HD_CALL static StandingFlow of(V distance, V drift, V rate, V pace, V time) {
    const V zero(0.0), one(1.0), half(0.5);
    const V side = select(lt(distance, zero), V(-1.0), one), a = side * distance, b = side * drift;
    const V w = sqrt(time), near = a / w, discount = exp_of(zero - rate * time), per_pace = one / pace;
    // g + b and g - b, the lesser of them without cancellation.
    const auto up = gt(b, zero);
    const V great = pace + abs(b), less = V(2.0) * rate / great;
    const V plus = select(up, great, less), minus = select(up, less, great);
    V density;
    const V ends = scaled_cdf(zero - rate * time, zero - (near + b * w), density);
    // Far out the first term is nothing, and its exponent has no digits left.
    const auto gone = but_not(gt(pace * w, V(1e6)), up);
    const V falls = select(gone, zero, scaled_cdf(a * minus, zero - (near + pace * w)));
    const V comes = scaled_cdf(zero - a * plus, pace * w - near);
    const V share = half * plus * per_pace, other = half * minus * per_pace;
    const V stake = rate * per_pace, apart = falls - comes, parts = share * falls - other * comes;
    const V by_rate =
        a * per_pace * parts + time * ends - b * per_pace * per_pace * (half * per_pace * apart + w * density);
    const auto under = lt(distance, zero);
    StandingFlow f;
    f.value = select(under, one - discount, zero) + side * (share * falls + other * comes - ends);
    f.slope = stake * apart;
    f.curve = side * stake * (minus * falls + plus * comes);
    f.by_drift = stake * per_pace * (per_pace * apart - a * (falls + comes) + V(2.0) * w * density);
    f.by_rate = select(under, time * discount, zero) + side * by_rate;
    return f;
  }
};

}  // namespace wq::options::inline WQ_LEVEL
