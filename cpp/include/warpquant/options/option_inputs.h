// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lanes.h"
#include "warpquant/core/math.h"

/// The arguments of options on one asset, and what they mean.
namespace wq::options::inline WQ_LEVEL {

/// Whether a flag says call: 1; put is -1 or 0. What is neither makes `known` false.
template <class V, class M>
WQ_HD V sign_of(V flag, M& known) {
  known = either(eq(flag, V(1.0)), either(eq(flag, V(-1.0)), eq(flag, V(0.0))));
  return select(gt(flag, V(0.0)), V(1.0), V(-1.0));
}

inline constexpr const char* kOptionInputs = "spot strike expiry rate dividend vol is_call";

template <class V>
struct OptionInputs {
  V spot, strike, expiry, rate, dividend, vol, sign;
  decltype(eq(V(), V())) known;  // the flag says call or put

  /// The first seven arguments of a row, which are `kOptionInputs`.
  template <class Row>
  WQ_HD static OptionInputs of(const Row& r) {
    OptionInputs o;
    o.sign = sign_of(r.template in<V>(6), o.known);
    o.spot = r.template in<V>(0), o.strike = r.template in<V>(1), o.expiry = r.template in<V>(2);
    o.rate = r.template in<V>(3), o.dividend = r.template in<V>(4), o.vol = r.template in<V>(5);
    return o;
  }
  /// Lanes of a finite option with spot, strike and time above 0; the vol is for the caller to look at.
  WQ_HD auto meaningful() const {
    const auto finite = is_finite(((spot + strike) + (rate + dividend)) + (expiry + vol));
    return both(both(both(gt(spot, V(0.0)), gt(strike, V(0.0))), both(known, finite)), gt(expiry, V(0.0)));
  }
  /// The sign of a lane, 0 where the flag says neither.
  WQ_HD double sign_at(int j) const { return lane(known, j) ? lane(sign, j) : 0.0; }
};

}  // namespace wq::options::inline WQ_LEVEL
