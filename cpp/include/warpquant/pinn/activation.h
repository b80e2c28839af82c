// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/normal.h"

/// Activations with their first three derivatives, over any number type.
namespace wq::pinn {

enum class Activation : std::uint8_t { tanh, sin, silu, softplus, gelu };
inline constexpr const char* kActivationNames[] = {"tanh", "sin", "silu", "softplus", "gelu"};
inline constexpr int kActivations = 5;

}  // namespace wq::pinn

namespace wq::pinn::inline WQ_LEVEL {

/// f and its derivatives at a point, as far as they are asked for.
template <class V>
struct Curve {
  V f, f1, f2, f3;
};

/// Whether a number is made of doubles; float32 takes shorter polynomials.
template <class V>
inline constexpr bool kOfDoubles = requires(V v, double* p) { v.store(p); } || sizeof(V) == sizeof(double);

namespace elements {

/// e^r - 1 for |r| <= ln(2) / 2, relative to itself.
template <class V>
WQ_HD V small_expm1(V r) {
  if constexpr (kOfDoubles<V>) {
    constexpr double kTail[] = {0.5000000000000001,    0.16666666666666669,    0.04166666666662399,
                                0.008333333333330051,  0.0013888888917281794,  0.00019841269863105968,
                                2.480152119021773e-05, 2.7557268378684192e-06, 2.7620138719733994e-07,
                                2.5100424157005067e-08};
    return mul_add(r * r, polynomial(r, kTail), r);
  } else {
    constexpr double kTail[] = {1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040};
    return mul_add(r * r, polynomial(r, kTail), r);
  }
}

/// x = n ln 2 + r with an integer n and |r| <= ln(2) / 2.
template <class V>
WQ_HD V reduce(V x, V& n) {
  n = rint(x * V(1.4426950408889634074));
  if constexpr (kOfDoubles<V>) {
    const V r = mul_add(n, V(-6.93147180369123816490e-01), x);
    return mul_add(n, V(-1.90821492927058770002e-10), r);
  } else {
    const V r = mul_add(n, V(-0.693359375), x);  // 9 bits: n times it is exact
    return mul_add(n, V(2.12194440e-4), r);
  }
}

/// tanh(x) to 3 ulp, odd, from e = e^(2|x|) - 1 as e / (e + 2).
template <class V>
WQ_HD V tanh_of(V x) {
  constexpr double kFlat = kOfDoubles<V> ? 20.0 : 10.0;  // 1 to the last place from here on
  const V size = min(V(kFlat), abs(x));                  // in this order a NaN stays one
  V n;
  const V r = reduce(size + size, n), two_n = pow2(n);
  const V e = mul_add(two_n, small_expm1(r), two_n - V(1.0));
  const V y = e / (e + V(2.0));
  return select(lt(x, V(0.0)), V(0.0) - y, y);
}

/// 1 / (1 + e^-x).
template <class V>
WQ_HD V logistic(V x) {
  return mul_add(V(0.5), tanh_of(V(0.5) * x), V(0.5));
}

/// ln(1 + e^x), for doubles.
template <class V>
WQ_HD V softplus_of(V x) {
  const V e = exp_of(V(0.0) - abs(x));
  // ln(1 + e) as twice the inverse hyperbolic tangent of s; of (1 + e) / 2 where e is large.
  const auto large = gt(e, V(0.4142135623730951));
  const V s = select(large, e - V(1.0), e) / (e + select(large, V(3.0), V(2.0)));
  const V twice = s + s, square = s * s;
  const V log = mul_add(twice * square, log_series(square), twice);
  return max(x, V(0.0)) + select(large, log + V(0.6931471805599453), log);
}

/// sin(x) and cos(x), for doubles; beyond a magnitude of 10^6, where three parts of pi / 2 are not enough, lane by
/// lane.
template <class V>
WQ_HD void sin_cos(V x, V& sine, V& cosine) {
  const V n = rint(x * V(0.63661977236758134308));
  // pi / 2 in three parts, of which the first two have 33 bits (fdlibm).
  V r = mul_add(n, V(-1.57079632673412561417e+00), x);
  r = mul_add(n, V(-6.07710050630396597660e-11), r);
  r = mul_add(n, V(-2.02226624879595063154e-21), r);
  constexpr double kSine[] = {-1.66666666666666324348e-01, 8.33333333332248946124e-03,  -1.98412698298579493134e-04,
                              2.75573137070700676789e-06,  -2.50507602534068634195e-08, 1.58969099521155010221e-10};
  constexpr double kCosine[] = {4.16666666666666019037e-02,  -1.38888888888741095749e-03, 2.48015872894767294178e-05,
                                -2.75573143513906633035e-07, 2.08757232129817482790e-09,  -1.13596475577881948265e-11};
  const V square = r * r;
  const V s = mul_add(r * square, polynomial(square, kSine), r);
  const V c = mul_add(square * square, polynomial(square, kCosine), mul_add(V(-0.5), square, V(1.0)));
  const V quarter = n - V(4.0) * floor(V(0.25) * n);
  const auto odd = either(eq(quarter, V(1.0)), eq(quarter, V(3.0)));
  const V plain_sine = select(odd, c, s), plain_cosine = select(odd, s, c);
  sine = select(ge(quarter, V(2.0)), V(0.0) - plain_sine, plain_sine);
  cosine = select(either(eq(quarter, V(1.0)), eq(quarter, V(2.0))), V(0.0) - plain_cosine, plain_cosine);
  const auto far = gt(abs(x), V(1e6));
  if (!any(far)) return;
  for (int j = 0; j < kWidth<V>; ++j) {
    if (!lane(far, j)) continue;
    set_lane(sine, j, std::sin(lane(x, j)));
    set_lane(cosine, j, std::cos(lane(x, j)));
  }
}

/// f of a number in double precision, whatever it is made of.
template <class V, class F>
WQ_HD V in_doubles(V x, F f) {
  if constexpr (kOfDoubles<V>)
    return f(x);
  else if constexpr (sizeof(V) == sizeof(float))
    return static_cast<V>(f(static_cast<double>(x)));
  else
    return through_doubles(x, f);
}

}  // namespace elements

struct Tanh {
  static constexpr Activation kKind = Activation::tanh;
  template <int kOrder, class V>
  WQ_HD static Curve<V> at(V z) {
    Curve<V> y;
    y.f = elements::tanh_of(z);
    if constexpr (kOrder >= 1) y.f1 = mul_add(V(0.0) - y.f, y.f, V(1.0));
    if constexpr (kOrder >= 2) y.f2 = V(-2.0) * y.f * y.f1;
    if constexpr (kOrder >= 3) y.f3 = y.f1 * mul_add(V(6.0) * y.f, y.f, V(-2.0));
    return y;
  }
};

struct Sin {
  static constexpr Activation kKind = Activation::sin;
  template <int kOrder, class V>
  WQ_HD static Curve<V> at(V z) {
    using namespace elements;
    const auto sine = [](auto x) {
      decltype(x) s, c;
      sin_cos(x, s, c);
      return s;
    };
    const auto cosine = [](auto x) {
      decltype(x) s, c;
      sin_cos(x, s, c);
      return c;
    };
    Curve<V> y;
    y.f = in_doubles(z, sine);
    if constexpr (kOrder >= 1) y.f1 = in_doubles(z, cosine);
    if constexpr (kOrder >= 2) y.f2 = V(0.0) - y.f;
    if constexpr (kOrder >= 3) y.f3 = V(0.0) - y.f1;
    return y;
  }
};

/// x / (1 + e^-x).
struct Silu {
  static constexpr Activation kKind = Activation::silu;
  template <int kOrder, class V>
  WQ_HD static Curve<V> at(V z) {
    const V s = elements::logistic(z), s1 = s * (V(1.0) - s), s2 = s1 * (V(1.0) - (s + s));
    Curve<V> y;
    y.f = z * s;
    if constexpr (kOrder >= 1) y.f1 = mul_add(z, s1, s);
    if constexpr (kOrder >= 2) y.f2 = mul_add(z, s2, s1 + s1);
    if constexpr (kOrder >= 3) y.f3 = mul_add(z, s1 * mul_add(V(-6.0), s1, V(1.0)), V(3.0) * s2);
    return y;
  }
};

/// ln(1 + e^x).
struct Softplus {
  static constexpr Activation kKind = Activation::softplus;
  template <int kOrder, class V>
  WQ_HD static Curve<V> at(V z) {
    Curve<V> y;
    y.f = elements::in_doubles(z, [](auto x) { return elements::softplus_of(x); });
    if constexpr (kOrder >= 1) y.f1 = elements::logistic(z);
    if constexpr (kOrder >= 2) y.f2 = y.f1 * (V(1.0) - y.f1);
    if constexpr (kOrder >= 3) y.f3 = y.f2 * (V(1.0) - (y.f1 + y.f1));
    return y;
  }
};

/// x N(x), N being the normal distribution: GELU without its usual approximation.
struct Gelu {
  static constexpr Activation kKind = Activation::gelu;
  template <int kOrder, class V>
  WQ_HD static Curve<V> at(V z) {
    const V cdf = elements::in_doubles(z, [](auto x) { return normal_cdf(x); });
    Curve<V> y;
    y.f = z * cdf;
    if constexpr (kOrder >= 1) {
      const V density = elements::in_doubles(z, [](auto x) { return normal_density(min(decltype(x)(1e8), abs(x))); });
      const V square = z * z;
      y.f1 = mul_add(z, density, cdf);
      if constexpr (kOrder >= 2) y.f2 = density * (V(2.0) - square);
      if constexpr (kOrder >= 3) y.f3 = density * (z * (square - V(4.0)));
    }
    return y;
  }
};

/// visit(A{}) for the activation of that kind.
template <class Visit>
WQ_HD void with_activation(Activation kind, Visit visit) {
  switch (kind) {
  case Activation::tanh:
    return visit(Tanh{});
  case Activation::sin:
    return visit(Sin{});
  case Activation::silu:
    return visit(Silu{});
  case Activation::softplus:
    return visit(Softplus{});
  case Activation::gelu:
    return visit(Gelu{});
  }
}

}  // namespace wq::pinn::inline WQ_LEVEL
