// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/differentiate.h"

/// Black's formula as a function that dual numbers go through.
namespace wq::options::inline WQ_LEVEL {

template <class V>
struct BlackParts {
  V price, slope[3], curvature[6];  // in what is received, what is paid, v; 00, 01, 11, 02, 12, 22
};

/// What max(sign (X - K), 0) is worth, where `forward` is the value of X now, `strike` that of K, both > 0, and the
/// logarithm of X / K has the standard deviation v.
template <class V>
WQ_HD_NOINLINE void black_parts(V forward, V strike, V v, V sign, bool slopes, BlackParts<V>& y) {
  const V f = max(forward, V(kLeastPrice)), k = max(strike, V(kLeastPrice)), width = max(v, V(1e-12));
  const V inverse = V(1.0) / width, log = log_ratio(f, k), h = log * inverse, half = V(0.5) * width;
  const V d1 = max(min(h + half, V(1e8)), V(-1e8)), d2 = max(min(h - half, V(1e8)), V(-1e8));
  V m1, m2;
  mills(abs(d1), abs(d2), m1, m2);
  const V density = normal_density(d1), dense = f * density;
  const V near = select(gt(log, V(0.0)), k, f) - dense * (m1 + m2);
  const V outer = max(select(gt(d1 * d2, V(0.0)), dense * abs(m1 - m2), near), V(0.0));
  y.price = select(gt(sign * log, V(0.0)), outer + sign * (f - k), outer);
  y.price = select(is_nan(forward + strike + v), forward + strike + v, y.price);
  if (!slopes) return;
  const auto share = [&](V d, V tail) { return sign * select(gt(sign * d, V(0.0)), V(1.0) - tail, tail); };
  y.slope[0] = share(d1, density * m1);
  y.slope[1] = V(0.0) - share(d2, dense / k * m2);
  y.slope[2] = dense;
  const V bend = density * inverse;
  y.curvature[0] = bend / f;
  y.curvature[1] = V(0.0) - bend / k;
  y.curvature[2] = bend * f / k / k;
  y.curvature[3] = V(0.0) - bend * d2;
  y.curvature[4] = bend * f / k * d1;
  y.curvature[5] = bend * f * d1 * d2;
}

template <class V>
WQ_HD V black(V forward, V strike, V v, V sign) {
  BlackParts<V> y;
  black_parts(forward, strike, v, sign, false, y);
  return y.price;
}
template <class V, int N, int M>
WQ_HD_CALL Dual<V, N, M> black(const Dual<V, N, M>& forward, const Dual<V, N, M>& strike, const Dual<V, N, M>& v,
                               V sign) {
  BlackParts<V> y;
  black_parts(forward.value, strike.value, v.value, sign, true, y);
  return Dual<V, N, M>::template chain<3>({&forward, &strike, &v}, y.price, y.slope, y.curvature);
}

}  // namespace wq::options::inline WQ_LEVEL
