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

/// Of two numbers in [0, 1e45], with one division: M(x) and M(y) over sqrt(2 pi) where they matter by their share in a
/// value: e^(-x^2/2) times the error is below 4e-17 for every x >= 0. As `mills` of core/normal.h, with 15 coefficients
/// instead of 25, fitted with 40 digits to the least largest error.
template <class V>
WQ_HD void short_mills(V x, V y, V& of_x, V& of_y) {
  constexpr double kCoefficients[] = {0.6252618819590703,      -0.06859074283200992,    -0.019094636426204226,
                                      0.06124894982601641,     -0.05983702132724668,    0.03704964076140017,
                                      -0.014859448852196819,   0.0028716098893739055,   0.0006723626109031741,
                                      -0.00041596776302933443, 0.00013408747659766475,  0.00013716978715438264,
                                      2.040471608089167e-05,   -4.1583953956897925e-06, -1.1288834943992326e-06};
  const V k(4.4);
  const V one_x = mul_add(x, V(kSqrtTwo), V(1.0)), sum_x = x + k, both_x = one_x * sum_x;
  const V one_y = mul_add(y, V(kSqrtTwo), V(1.0)), sum_y = y + k, both_y = one_y * sum_y;
  const V inverse = V(1.0) / (both_x * both_y), inverse_x = inverse * both_y, inverse_y = inverse * both_x;
  of_x = polynomial((x - k) * (one_x * inverse_x), kCoefficients) * (sum_x * inverse_x);
  of_y = polynomial((y - k) * (one_y * inverse_y), kCoefficients) * (sum_y * inverse_y);
}

/// Value and derivatives of a position.
template <class V>
struct Worth {
  V sum[kSums];
};

/// Above which 1 / (sigma sqrt(T)) does not grow: no volatility at all, and 0 * infinity has no value.
inline constexpr double kNoVol = 1e40;

/// A call. `spot_now`: S e^(-qT); `log`: ln(F / K); `v`, `inverse_v`: sigma sqrt(T).
///
/// A sum needs no more than an absolute error of some 1e-16 S, whatever the option is worth by itself. So the plain
/// formula does, puts are calls and parity, and the density need not be right far out.
template <bool kAll, class V>
WQ_HD Worth<V> black_call(const AtTime<V>& t, V spot, V spot_now, V log, V v, V inverse_v) {
  const V half = V(0.5) * v, h = log * inverse_v, d1 = h + half, d2 = h - half;
  const V density = exp_of(V(-0.5) * d1 * d1), spot_density = spot_now * density;  // times sqrt(2 pi)
  V m1, m2;
  short_mills(abs(d1), abs(d2), m1, m2);
  const V spot_tail = spot_density * m1, strike_tail = spot_density * m2;
  const auto above = gt(d1, V(0.0));
  const V spot_share = select(above, spot_now - spot_tail, spot_tail);
  const V strike_share = select(gt(d2, V(0.0)), t.strike_now - strike_tail, strike_tail);
  Worth<V> worth;
  worth.sum[kValue] = spot_share - strike_share;
  if constexpr (kAll) {
    // Without volatility there is no curvature; 0 * inf has to be kept out.
    const auto alive = both(gt(v, V(0.0)), gt(spot, V(0.0)));
    const V tail = density * m1, slope = density * V(kInvSqrtTwoPi);
    worth.sum[kDelta] = t.carry_factor * select(above, V(1.0) - tail, tail);
    worth.sum[kGamma] = select(alive, t.carry_factor * slope * inverse_v / spot, V(0.0));
    worth.sum[kVega] = spot_now * slope * t.root;
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
