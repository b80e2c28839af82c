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

/// The Mills ratio where it matters by its share in a value: density times error is below 5e-17 for every x >= 0. As
/// `mills` of core/normal.h, with 16 coefficients instead of 25, fitted with 40 digits to the least largest error.
struct ShortMills {
  static constexpr double k = 3.2;
  static constexpr double kCoefficients[] = {
      1.5925456393988722,      -0.13910445874520985,   -0.1617637936165383,    0.20685230023920775,
      -0.10573248761101395,    0.015694176086645587,   0.009864940227682712,   -0.0034853135643108536,
      -0.0013949419034276517,  0.0005422816664288992,  0.0002657310582010946,  -0.0001195560314322955,
      -0.00013359127828681518, -5.121694494473619e-05, -9.974474398501917e-06, -8.282207940511425e-07};
};

/// Of two numbers >= 0, with one division.
template <class V>
WQ_HD void short_mills(V x, V y, V& of_x, V& of_y) {
  const V far_x = min(x, V(1e50)), far_y = min(y, V(1e50)), k(ShortMills::k);
  const V one_x = mul_add(far_x, V(kSqrtTwo), V(1.0)), sum_x = far_x + k, both_x = one_x * sum_x;
  const V one_y = mul_add(far_y, V(kSqrtTwo), V(1.0)), sum_y = far_y + k, both_y = one_y * sum_y;
  const V inverse = V(1.0) / (both_x * both_y), inverse_x = inverse * both_y, inverse_y = inverse * both_x;
  of_x = polynomial((far_x - k) * (one_x * inverse_x), ShortMills::kCoefficients) * (sum_x * inverse_x);
  of_y = polynomial((far_y - k) * (one_y * inverse_y), ShortMills::kCoefficients) * (sum_y * inverse_y);
}

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
  short_mills(abs(d1), abs(d2), m1, m2);
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
