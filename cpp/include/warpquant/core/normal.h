// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/elementary.h"
#include "warpquant/core/twin.h"

/// The normal distribution by its Mills ratio M(x) = N(-x) / phi(x) = sqrt(pi / 2) erfcx(x / sqrt 2), which has no
/// underflow and no cancellation.
namespace wq::inline WQ_LEVEL {

inline constexpr double kInvSqrtTwoPi = 0.3989422804014327;
inline constexpr double kSqrtTwo = 1.4142135623730951;

inline constexpr double kMillsScale = 5.303300858899107;

/// (1 + sqrt(2) x) M(x) as a polynomial in t = (x - k) / (x + k), k being the scale: the variable of Shepherd and
/// Laframboise, Chebyshev Approximation of (1 + 2x) exp(x^2) erfc(x), Math. Comp. 36 (1981); 5.6e-18 relative.
/// evaluate(coefficients).
template <class Evaluate>
WQ_HD auto with_mills(Evaluate evaluate) {
  constexpr double kCoefficients[] = {
      1.550992075335547,      -0.17576552483285415,   0.004493651916081667,    0.1031185995219093,
      -0.13636550384210308,   0.115686310645613,      -0.07356126622020681,    0.03554684325562251,
      -0.01221552594362375,   0.002200350701403647,   0.0003681154501717153,   -0.0003636542116914278,
      6.473268681716465e-05,  2.8054484838885043e-05, -1.4343443903283289e-05, -1.220178894724604e-06,
      2.1958790234057456e-06, -7.170958728959078e-08, -3.2474242704852106e-07, 2.915448477069094e-08,
      4.883595254654041e-08,  -4.691866740556611e-09, -6.622871577204284e-09,  3.8981963966183756e-10,
      5.55839690085867e-10};
  return evaluate(kCoefficients);
}
template <class V>
WQ_HD V scaled_mills(V t) {
  return with_mills([&](const auto& coefficients) { return polynomial(t, coefficients); });
}

/// M(x) for x >= 0.
template <class V>
WQ_HD V mills(V x) {
  const V far = min(x, V(1e100)), one = mul_add(far, V(kSqrtTwo), V(1.0)), sum = far + V(kMillsScale);
  const V inverse = V(1.0) / (one * sum);
  const V t = mul_add(far + far, one * inverse, V(-1.0));  // right to the last place near x = 0
  return scaled_mills(t) * (sum * inverse);
}

/// What M of two numbers >= 0 is made of, with one division: M(x) = scaled_mills(tx) scale_x.
template <class V>
struct MillsPair {
  V one_x, sum_x, one_y, sum_y, inverse, tx, ty, scale_x, scale_y;

  WQ_HD MillsPair(V x, V y) {
    const V far_x = min(x, V(1e50)), far_y = min(y, V(1e50));
    one_x = mul_add(far_x, V(kSqrtTwo), V(1.0)), sum_x = far_x + V(kMillsScale);
    one_y = mul_add(far_y, V(kSqrtTwo), V(1.0)), sum_y = far_y + V(kMillsScale);
    const V both_x = one_x * sum_x, both_y = one_y * sum_y;
    inverse = V(1.0) / (both_x * both_y);
    const V inverse_x = inverse * both_y, inverse_y = inverse * both_x;
    tx = mul_add(far_x + far_x, one_x * inverse_x, V(-1.0)), scale_x = sum_x * inverse_x;
    ty = mul_add(far_y + far_y, one_y * inverse_y, V(-1.0)), scale_y = sum_y * inverse_y;
  }
};

/// M of two numbers >= 0 with one division.
template <class V>
WQ_HD void mills(V x, V y, V& of_x, V& of_y) {
  const MillsPair<V> pair(x, y);
  const auto scaled = scaled_mills(Twin<V>(pair.tx, pair.ty));
  of_x = scaled.a * pair.scale_x;
  of_y = scaled.b * pair.scale_y;
}

/// M(x) - M(y) for 0 <= x <= y = x + 2 half, relative to itself however close the two are, and M(y). The difference of
/// the polynomials is taken as a divided one, and what remains has one sign.
template <class V>
WQ_HD V mills_difference(V x, V y, V half, V& of_y) {
  const MillsPair<V> pair(x, y);
  V value;
  const V slope = with_mills([&](const auto& c) { return divided_difference(pair.tx, pair.ty, c, value); });
  of_y = value * pair.scale_y;
  const V shrink = pair.one_x * pair.one_y * pair.inverse;
  const V per_half = V(2.0 * kSqrtTwo) * value - V(4.0 * kMillsScale) * slope * pair.one_y * shrink;
  return half * per_half * (pair.sum_x * pair.sum_y * pair.inverse);
}

/// e^(-x^2 / 2), without the digits that rounding x^2 costs far out.
template <class V>
WQ_HD V gauss(V x) {
  const V square = x * x;
  return exp_of(V(-0.5) * square, V(-0.5) * product_error(x, x, square));
}

/// Density of the standard normal distribution.
template <class V>
WQ_HD V normal_density(V x) {
  return gauss(x) * V(kInvSqrtTwoPi);
}

/// N(x), the tails to full relative precision.
template <class V>
WQ_HD V normal_cdf(V x) {
  const V size = min(abs(x), V(1e8));  // below 2^970 squared
  const V tail = normal_density(size) * mills(size);
  return select(is_nan(x), x, select(lt(x, V(0.0)), tail, V(1.0) - tail));
}

}  // namespace wq::inline WQ_LEVEL
