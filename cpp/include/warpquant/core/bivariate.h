// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/dual.h"
#include "warpquant/core/quadrature.h"

namespace wq::inline WQ_LEVEL {

/// P(X < a, Y < b) of two standard normal variables with correlation r, to 1e-15 absolute. Drezner and Wesolowsky's
/// integral over the correlation, and Genz's form of it next to 1 and -1: Numerical Computation of Rectangular
/// Bivariate and Trivariate Normal and t Probabilities, Statistics and Computing 14 (2004).
template <class V>
WQ_HD_NOINLINE V bivariate_cdf(V a, V b, V r) {
  const V zero(0.0), one(1.0), bound(40.0);
  const V h = zero - max(min(a, bound), zero - bound), k0 = zero - max(min(b, bound), zero - bound);
  const auto strong = gt(abs(r), V(0.9));
  const V cdf_h = cdf_at(zero - h), cdf_k = cdf_at(zero - k0);
  V y = zero;
  if (!all(strong)) {
    // In t = tan(angle / 2), r = sin(angle), nothing but the exponential is transcendental.
    const V end = r / (one + sqrt(max(one - r * r, zero))), gap = V(0.5) * (h - k0) * (h - k0), product = h * k0;
    for (int i = 0; i < 20; ++i) {
      const V t = end * V(Gauss20::node(i)), square = t * t, by = one / (one + square);
      const V s = (t + t) * by, rest = (one - square) * by;
      const V p = zero - gap / (rest * rest) - product / (one + s);
      y = y + (V(2.0 * Gauss20::weight(i)) * by) * exp_at(p);
    }
    y = V(0.15915494309189535) * (end * y) + cdf_h * cdf_k;
  }
  if (any(strong)) {
    const auto negative = lt(r, zero);
    const V k = select(negative, zero - k0, k0), hk = h * k;
    const V square = max((one - abs(r)) * (one + abs(r)), zero), width = sqrt(square);
    const V apart = (h - k) * (h - k), c = V(0.125) * (V(4.0) - hk), d = V(0.0625) * (V(12.0) - hk);
    const V away = apart / max(square, V(1e-300));
    V sum = width * exp_at(max(V(-0.5) * (away + hk), V(-700.0))) *
            (one - c * (apart - square) * (one - V(0.2) * (d * apart)) / V(3.0) + V(0.2) * (c * d * square * square));
    const V distance = sqrt(apart);
    const V tail = scaled_cdf(V(-0.5) * hk, zero - distance / max(width, V(1e-150)));
    sum = sum - V(2.5066282746310002) * tail * distance * (one - c * apart * (one - V(0.2) * (d * apart)) / V(3.0));
    for (int i = 0; i < 20; ++i) {
      const V x = width * V(Gauss20::node(i)), xx = x * x, rs = sqrt(max(one - xx, zero));
      const V p = V(-0.5) * (apart / max(xx, V(1e-300)) + hk);
      const V form = exp_at(V(-0.5) * hk * (xx / ((one + rs) * (one + rs)))) / rs - (one + c * xx * (one + d * xx));
      sum = sum + width * V(Gauss20::weight(i)) * select(gt(p, V(-100.0)), exp_at(p) * form, zero);
    }
    sum = select(gt(width, zero), sum, zero) * V(-0.15915494309189535);
    const V least = min(cdf_at(zero - h), cdf_at(zero - k));
    const V between = select(lt(h, zero), cdf_at(k) - cdf_at(h), cdf_at(zero - h) - cdf_at(zero - k));
    const V opposite = select(gt(k, h), between, zero) - sum;
    y = select(strong, select(negative, opposite, sum + least), y);
  }
  return select(is_nan(a + b + r), a + b + r, max(y, zero));
}

template <class V, int N, int M>
WQ_HD_CALL Dual<V, N, M> bivariate_cdf(const Dual<V, N, M>& a, const Dual<V, N, M>& b, const Dual<V, N, M>& r) {
  const V zero(0.0), one(1.0), bound(40.0);
  const V x = max(min(a.value, bound), zero - bound), z = max(min(b.value, bound), zero - bound), c = r.value;
  const V square = max((one - c) * (one + c), V(1e-30)), by = one / square, width = sqrt(square);
  const V density = V(0.15915494309189535) * exp_at(V(-0.5) * (x * x - V(2.0) * c * x * z + z * z) * by) / width;
  const V slope_x = scaled_cdf(V(-0.5) * x * x, (z - c * x) / width) * V(kInvSqrtTwoPi);
  const V slope_z = scaled_cdf(V(-0.5) * z * z, (x - c * z) / width) * V(kInvSqrtTwoPi);
  const V bend = density * by * (c + (x * z * (one + c * c) - c * (x * x + z * z)) * by);
  return Dual<V, N, M>::template chain<3>({&a, &b, &r}, bivariate_cdf(a.value, b.value, c), {slope_x, slope_z, density},
                                          {zero - x * slope_x - c * density, density, zero - z * slope_z - c * density,
                                           zero - density * (x - c * z) * by, zero - density * (z - c * x) * by, bend});
}

}  // namespace wq::inline WQ_LEVEL
