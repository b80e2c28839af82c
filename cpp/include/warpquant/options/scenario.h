// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/scenario_ops.h"
#include "warpquant/options/vanilla.h"

/// One position at one node of a grid of scenarios, in the parts that it shares with others.
namespace wq::options::scenario::inline WQ_LEVEL {

/// x after a move of the grid.
template <class V>
WQ_HD V moved(V x, V beta, double relative, double absolute) {
  return mul_add(x, beta * V(relative), x) + beta * V(absolute);
}

/// ln(a / b) also where one is 0: far enough out to make no difference to a price.
template <class V>
WQ_HD V log_or_far(V a, V b) {
  return log_ratio(max(a, V(1e-300)), max(b, V(1e-300)));
}

/// What depends on the time that has passed, and not on spot or volatility.
template <class V>
struct AtTime {
  V expiry, root, discount, carry_factor, strike_now, drift;

  template <Model kModel>
  WQ_HD static AtTime of(V strike, V expiry, V rate, V dividend, double passed) {
    AtTime t;
    t.expiry = max(expiry - V(passed), V(0.0));
    t.root = sqrt(t.expiry);
    t.discount = exp_of(V(0.0) - rate * t.expiry);
    t.carry_factor = kModel == Model::bsm ? exp_of(V(0.0) - dividend * t.expiry) : t.discount;
    t.strike_now = strike * t.discount;
    t.drift = kModel == Model::bsm ? (rate - dividend) * t.expiry : V(0.0);
    return t;
  }
};

/// Value and derivatives of a position.
template <class V>
struct Worth {
  V sum[kSums];
};

/// `log`: ln(S / K); `v`, `inverse_v`: sigma sqrt(T).
///
/// A sum needs no more than an absolute error of some 1e-16 S, whatever the option is worth by itself. So calls are
/// valued by the plain formula and puts by parity, and the density need not be right far out.
template <bool kAll, class V>
WQ_HD Worth<V> black(const AtTime<V>& t, V spot, V log, V v, V inverse_v, V sign) {
  const V spot_now = spot * t.carry_factor, half = V(0.5) * v, h = (log + t.drift) * inverse_v;
  const V d1 = h + half, d2 = h - half;
  const V density = exp_of(V(-0.5) * d1 * d1) * V(kInvSqrtTwoPi), spot_density = spot_now * density;
  V m1, m2;
  mills(abs(d1), abs(d2), m1, m2);
  const V spot_tail = spot_density * m1, strike_tail = spot_density * m2;
  const auto above = gt(d1, V(0.0)), call = gt(sign, V(0.0));
  const V spot_share = select(above, spot_now - spot_tail, spot_tail);
  const V strike_share = select(gt(d2, V(0.0)), t.strike_now - strike_tail, strike_tail);
  const V value = spot_share - strike_share;
  Worth<V> worth;
  worth.sum[kValue] = select(call, value, value - (spot_now - t.strike_now));
  if constexpr (kAll) {
    // Without volatility there is no curvature; 0 * inf has to be kept out.
    const auto alive = both(gt(v, V(0.0)), gt(spot, V(0.0)));
    const V tail = density * m1, share = select(above, V(1.0) - tail, tail);
    worth.sum[kDelta] = t.carry_factor * select(call, share, share - V(1.0));
    worth.sum[kGamma] = select(alive, t.carry_factor * density * inverse_v / spot, V(0.0));
    worth.sum[kVega] = spot_density * t.root;
  }
  return worth;
}

/// `gap`: F - K.
template <bool kAll, class V>
WQ_HD Worth<V> bachelier(const AtTime<V>& t, V gap, V v, V inverse_v, V sign) {
  const auto alive = gt(v, V(0.0));
  const V size = abs(gap), d = min(select(alive, size * inverse_v, V(1e8)), V(1e8));
  const V density = normal_density(d), tail = density * mills(d), side = sign * gap;
  const V outer = max(density * v - size * tail, V(0.0));
  Worth<V> worth;
  // The underlying itself, which may be worth less than nothing.
  const auto linear = eq(sign, V(0.0));
  worth.sum[kValue] = select(linear, gap, t.discount * (max(side, V(0.0)) + outer));
  if constexpr (kAll) {
    const V share = sign * t.discount * select(gt(side, V(0.0)), V(1.0) - tail, tail);
    worth.sum[kDelta] = select(linear, V(1.0), share);
    worth.sum[kGamma] = select(alive, t.discount * density * inverse_v, V(0.0));
    worth.sum[kVega] = t.discount * t.root * density;
  }
  return worth;
}

}  // namespace wq::options::scenario::inline WQ_LEVEL
