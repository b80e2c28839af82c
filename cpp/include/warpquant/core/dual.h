// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/normal.h"

/// Forward automatic differentiation: a number with its derivatives, in the vocabulary of `core/math.h`, so that one
/// template over its number type gives a price and every Greek, exactly.
namespace wq::inline WQ_LEVEL {

/// The value, the derivatives in N variables, and M of the second derivatives in the first two variables, x and y: in
/// xx, xy, yy, in this order.
template <class V, int N, int M>
struct Dual {
  V value, first[N], second[M > 0 ? M : 1];

  Dual() = default;
  /// A constant.
  WQ_HD explicit Dual(V v) : value(v) {
    for (V& d : first) d = V(0.0);
    for (V& d : second) d = V(0.0);
  }
  /// Variable number k.
  WQ_HD Dual(V v, int k) : Dual(v) { first[k] = V(1.0); }

  /// Of second derivative k, in which variables it is.
  WQ_HD static int one(int k) { return k == 2 ? 1 : 0; }
  WQ_HD static int other(int k) { return k == 0 ? 0 : 1; }

  /// f(a) where f, f', f'' at a are known.
  WQ_HD_CALL friend Dual chain(const Dual& a, V f, V slope, V curvature) {
    Dual y;
    y.value = f;
    for (int k = 0; k < N; ++k) y.first[k] = slope * a.first[k];
    for (int k = 0; k < M; ++k)
      y.second[k] = mul_add(slope, a.second[k], curvature * (a.first[one(k)] * a.first[other(k)]));
    if constexpr (M == 0) y.second[0] = V(0.0);
    return y;
  }

  /// f(a[0], ..., a[K - 1]) from its slopes and its curvatures in the order 00, 01, 11, 02, 12, 22, ...
  template <int K>
  WQ_HD_CALL static Dual chain(const Dual* const (&a)[K], V f, const V (&slope)[K],
                               const V (&curvature)[K * (K + 1) / 2]) {
    Dual y(f);
    for (int i = 0; i < K; ++i) {
      for (int k = 0; k < N; ++k) y.first[k] = mul_add(slope[i], a[i]->first[k], y.first[k]);
      for (int k = 0; k < M; ++k) {
        y.second[k] = mul_add(slope[i], a[i]->second[k], y.second[k]);
        const int p = one(k), q = other(k);
        for (int j = 0; j <= i; ++j) {
          V cross = a[i]->first[p] * a[j]->first[q];
          if (j < i) cross = mul_add(a[j]->first[p], a[i]->first[q], cross);
          y.second[k] = mul_add(curvature[i * (i + 1) / 2 + j], cross, y.second[k]);
        }
      }
    }
    return y;
  }
};

/// The numbers that a dual number, or a number, is made of.
template <class T>
struct PartsOf {
  using Number = T;
};
template <class V, int N, int M>
struct PartsOf<Dual<V, N, M>> {
  using Number = V;
};
template <class T>
using Number = typename PartsOf<T>::Number;

template <class V>
WQ_HD V value_of(V x) {
  return x;
}
template <class V, int N, int M>
WQ_HD V value_of(const Dual<V, N, M>& x) {
  return x.value;
}

#define WQ_DUAL template <class V, int N, int M>
#define WQ_EACH(expression, second_expression)         \
  Dual<V, N, M> y;                                     \
  for (int k = 0; k < N; ++k) y.first[k] = expression; \
  for (int k = 0; k < (M > 0 ? M : 1); ++k) y.second[k] = second_expression;

WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator+(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  WQ_EACH(a.first[k] + b.first[k], a.second[k] + b.second[k])
  y.value = a.value + b.value;
  return y;
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator-(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  WQ_EACH(a.first[k] - b.first[k], a.second[k] - b.second[k])
  y.value = a.value - b.value;
  return y;
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator*(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  Dual<V, N, M> y;
  y.value = a.value * b.value;
  for (int k = 0; k < N; ++k) y.first[k] = mul_add(a.value, b.first[k], a.first[k] * b.value);
  y.second[0] = V(0.0);
  for (int k = 0; k < M; ++k) {
    const int p = Dual<V, N, M>::one(k), q = Dual<V, N, M>::other(k);
    const V cross = mul_add(a.first[p], b.first[q], a.first[q] * b.first[p]);
    y.second[k] = mul_add(a.value, b.second[k], mul_add(a.second[k], b.value, cross));
  }
  return y;
}
WQ_DUAL WQ_HD Dual<V, N, M> operator+(const Dual<V, N, M>& a, V b) {
  Dual<V, N, M> y = a;
  y.value = a.value + b;
  return y;
}
WQ_DUAL WQ_HD Dual<V, N, M> operator+(V a, const Dual<V, N, M>& b) { return b + a; }
WQ_DUAL WQ_HD Dual<V, N, M> operator-(const Dual<V, N, M>& a, V b) {
  Dual<V, N, M> y = a;
  y.value = a.value - b;
  return y;
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator-(V a, const Dual<V, N, M>& b) {
  WQ_EACH(V(0.0) - b.first[k], V(0.0) - b.second[k])
  y.value = a - b.value;
  return y;
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator*(const Dual<V, N, M>& a, V b) {
  WQ_EACH(a.first[k] * b, a.second[k] * b)
  y.value = a.value * b;
  return y;
}
WQ_DUAL WQ_HD Dual<V, N, M> operator*(V a, const Dual<V, N, M>& b) { return b * a; }
WQ_DUAL WQ_HD_CALL Dual<V, N, M> inverse(const Dual<V, N, M>& a) {
  const V y = V(1.0) / a.value, slope = V(0.0) - y * y;
  return chain(a, y, slope, V(-2.0) * y * slope);
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> operator/(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  Dual<V, N, M> y = a * inverse(b);
  y.value = a.value / b.value;
  return y;
}
WQ_DUAL WQ_HD Dual<V, N, M> operator/(const Dual<V, N, M>& a, V b) {
  Dual<V, N, M> y = a * (V(1.0) / b);
  y.value = a.value / b;
  return y;
}
WQ_DUAL WQ_HD Dual<V, N, M> operator/(V a, const Dual<V, N, M>& b) { return a * inverse(b); }
template <class Mask, class V, int N, int M>
WQ_HD_CALL Dual<V, N, M> select(Mask m, const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  WQ_EACH(select(m, a.first[k], b.first[k]), select(m, a.second[k], b.second[k]))
  y.value = select(m, a.value, b.value);
  return y;
}
#undef WQ_EACH

WQ_DUAL WQ_HD Dual<V, N, M> max(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  return select(gt(a.value, b.value), a, b);
}
WQ_DUAL WQ_HD Dual<V, N, M> min(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  return select(lt(a.value, b.value), a, b);
}

// The functions below are called, not inlined: there are many of them in a formula.
template <class V>
WQ_HD_NOINLINE V exp_at(V x) {
  return exp_of(x);
}
template <class V>
WQ_HD_NOINLINE V log_at(V a, V b) {
  return log_ratio(a, b);
}

WQ_DUAL WQ_HD_CALL Dual<V, N, M> sqrt(const Dual<V, N, M>& a) {
  const V y = sqrt(a.value), slope = V(0.5) / y;
  return chain(a, y, slope, V(-0.5) * slope / a.value);
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> exp_at(const Dual<V, N, M>& a) {
  const V y = exp_at(a.value);
  return chain(a, y, y, y);
}
/// ln(a / b).
WQ_DUAL WQ_HD_CALL Dual<V, N, M> log_at(const Dual<V, N, M>& a, const Dual<V, N, M>& b) {
  const V x = V(1.0) / a.value, z = V(1.0) / b.value;
  const Dual<V, N, M> up = chain(a, log_at(a.value, b.value), x, V(0.0) - x * x);
  const Dual<V, N, M> down = chain(b, V(0.0), z, V(0.0) - z * z);
  return up - down;
}

/// e^p N(x), also where e^p is too large, and N(x) too small, for a double; and e^p phi(x), its slope in x.
template <class V>
WQ_HD_NOINLINE V scaled_cdf(V p, V x, V& density) {
  const V size = min(abs(x), V(1e8)), square = size * size;
  density = V(kInvSqrtTwoPi) * exp_of(mul_add(V(-0.5), square, p), V(-0.5) * product_error(size, size, square));
  const V tail = density * mills(size);
  const V y = select(lt(x, V(0.0)), tail, exp_of(p) - tail);
  return select(is_nan(x), x, y);
}
template <class V>
WQ_HD V scaled_cdf(V p, V x) {
  V density;
  return scaled_cdf(p, x, density);
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> scaled_cdf(const Dual<V, N, M>& p, const Dual<V, N, M>& x) {
  V density;
  const V y = scaled_cdf(p.value, x.value, density);
  // Far out the density is 0, and must not meet an infinite slope.
  const V bend = V(0.0) - max(min(x.value, V(1e8)), V(-1e8)) * density;
  return Dual<V, N, M>::template chain<2>({&p, &x}, y, {y, density}, {y, density, bend});
}
template <class V>
WQ_HD V cdf_at(V x) {
  V density;
  return scaled_cdf(V(0.0), x, density);
}
WQ_DUAL WQ_HD_CALL Dual<V, N, M> cdf_at(const Dual<V, N, M>& x) {
  V density;
  const V y = scaled_cdf(V(0.0), x.value, density);
  return chain(x, y, density, V(0.0) - max(min(x.value, V(1e8)), V(-1e8)) * density);
}
#undef WQ_DUAL

}  // namespace wq::inline WQ_LEVEL
