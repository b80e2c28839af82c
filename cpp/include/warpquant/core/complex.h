// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/core/dual.h"

/// Sine, cosine, the angle of a vector, and complex numbers, for characteristic functions.
namespace wq::inline WQ_LEVEL {

/// sin x and cos x, below 2 ulp for |x| < 1e5 but next to their zeros, where what is left is 1e-21 |x| absolute.
template <class V>
WQ_HD void sin_cos(V x, V& sine, V& cosine) {
  const V turns = rint(x * V(0.6366197723675814));
  // pi / 2 in three parts, the first two with zero bits at their ends.
  V r = mul_add(turns, V(-1.5707963267341256), x);
  r = mul_add(turns, V(-6.077100506303966e-11), r);
  r = mul_add(turns, V(-2.0222662487959506e-21), r);
  const V u = r * r;
  constexpr double kSine[] = {-0.16666666666666666,   0.008333333333333331,    -0.00019841269841265063,
                              2.7557319219337312e-06, -2.5052106231802837e-08, 1.6058531516797562e-10,
                              -7.586691094188185e-13};
  constexpr double kCosine[] = {0.041666666666666664,    -0.0013888888888887398, 2.480158729876456e-05,
                                -2.7557317271145144e-07, 2.087614614655837e-09,  -1.138262364746036e-11};
  const V s = mul_add(r * u, polynomial(u, kSine), r);
  const V half = V(0.5) * u, near = V(1.0) - half;
  const V c = near + mul_add(u * u, polynomial(u, kCosine), (V(1.0) - near) - half);
  const V quarter = turns - V(4.0) * floor(turns * V(0.25));
  const auto odd = either(eq(quarter, V(1.0)), eq(quarter, V(3.0)));
  const V a = select(odd, c, s), b = select(odd, s, c);
  sine = select(ge(quarter, V(2.0)), V(0.0) - a, a);
  cosine = select(either(eq(quarter, V(1.0)), eq(quarter, V(2.0))), V(0.0) - b, b);
}

/// The angle of (x, y), in (-pi, pi]; 0 at the origin.
template <class V>
WQ_HD V angle(V y, V x) {
  const V ax = abs(x), ay = abs(y);
  const auto steep = gt(ay, ax);
  const V low = select(steep, ax, ay), high = select(steep, ay, ax);
  const V t = low / max(high, V(0x1p-1022));
  const auto wide = gt(t, V(0.41421356237309503));
  const V r = select(wide, (t - V(1.0)) / (t + V(1.0)), t), u = r * r;
  constexpr double kTail[] = {-0.3333333333333333,   0.1999999999999552,  -0.14285714284666542, 0.11111111015256361,
                              -0.09090904578123901,  0.07692183190826078, -0.06664511447381855, 0.05858148912801507,
                              -0.050854497379370145, 0.03923165829550329, -0.01917688711896928};
  V a = mul_add(r * u, polynomial(u, kTail), r);
  a = select(wide, V(0.7853981633974483) + a, a);
  a = select(steep, V(1.5707963267948966) - a, a);
  a = select(lt(x, V(0.0)), V(3.141592653589793) - a, a);
  return select(lt(y, V(0.0)), V(0.0) - a, a);
}

template <class V>
struct Complex {
  V re, im;

  Complex() = default;
  WQ_HD Complex(V real, V imaginary) : re(real), im(imaginary) {}
  WQ_HD explicit Complex(V real) : re(real), im(V(0.0)) {}
  WQ_HD explicit Complex(double real)
    requires(!std::is_same_v<V, double>)
      : re(V(real)), im(V(0.0)) {}
};
template <class V>
WQ_HD Complex<V> operator+(Complex<V> a, Complex<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class V>
WQ_HD Complex<V> operator-(Complex<V> a, Complex<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class V>
WQ_HD Complex<V> operator*(Complex<V> a, Complex<V> b) {
  return {mul_add(a.re, b.re, V(0.0) - a.im * b.im), mul_add(a.re, b.im, a.im * b.re)};
}
template <class V>
WQ_HD Complex<V> operator*(V a, Complex<V> b) {
  return {a * b.re, a * b.im};
}
template <class V>
WQ_HD Complex<V> operator+(V a, Complex<V> b) {
  return {a + b.re, b.im};
}
template <class V>
WQ_HD Complex<V> inverse(Complex<V> a) {
  const V scale = V(1.0) / mul_add(a.re, a.re, a.im * a.im);
  return {a.re * scale, V(0.0) - a.im * scale};
}
template <class V>
WQ_HD Complex<V> operator/(Complex<V> a, Complex<V> b) {
  return a * inverse(b);
}
template <class V>
WQ_HD Complex<V> mul_add(Complex<V> a, Complex<V> b, Complex<V> c) {
  return a * b + c;
}
template <class V>
WQ_HD V norm(Complex<V> a) {  // squared
  return mul_add(a.re, a.re, a.im * a.im);
}

/// The root with a real part >= 0.
template <class V>
WQ_HD Complex<V> sqrt(Complex<V> a) {
  const V size = sqrt(norm(a));
  const V large = sqrt(V(0.5) * (size + abs(a.re)));
  const V small = V(0.5) * abs(a.im) / max(large, V(0x1p-1022));
  const auto right = ge(a.re, V(0.0));
  const V im = select(right, small, large);
  return {select(right, large, small), select(lt(a.im, V(0.0)), V(0.0) - im, im)};
}
template <class V>
WQ_HD Complex<V> exp_of(Complex<V> a) {
  V s, c;
  sin_cos(a.im, s, c);
  const V size = exp_of(a.re);
  return {size * c, size * s};
}
/// ln(1 + a), also for small a.
template <class V>
WQ_HD Complex<V> log1p_of(Complex<V> a) {
  const V excess = mul_add(a.re, V(2.0) + a.re, a.im * a.im), size = V(1.0) + excess;
  // What rounding 1 + excess lost, to first order.
  const V lost = (excess - (size - V(1.0))) / size;
  return {V(0.5) * (log_of(size) + lost), angle(a.im, V(1.0) + a.re)};
}

// Of complex dual numbers and complex numbers.
template <class V>
WQ_HD_NOINLINE Complex<V> root_at(Complex<V> a) {
  return sqrt(a);
}
template <class V>
WQ_HD_NOINLINE Complex<V> exp_at(Complex<V> a) {
  return exp_of(a);
}
template <class V, int N, int M>
WQ_HD_CALL Dual<Complex<V>, N, M> root_at(const Dual<Complex<V>, N, M>& a) {
  const Complex<V> y = root_at(a.value);
  return chain(a, y, V(0.5) * inverse(y), Complex<V>(V(0.0)));
}

/// (1 - e^(-z)) / z and its slope.
template <class V>
WQ_HD_NOINLINE void decay_mean(Complex<V> z, Complex<V>& y, Complex<V>& slope) {
  const Complex<V> one(V(1.0)), by = inverse(z), decay = exp_of(Complex<V>(V(0.0)) - z);
  y = (one - decay) * by;
  slope = (decay - y) * by;
  const auto small = lt(norm(z), V(0.25));
  if (!any(small)) return;
  Complex<V> series(V(0.0)), bend(V(0.0));
  double factorial = 1307674368000.0 * 16.0;  // 16!
  for (int n = 15; n >= 0; --n) {
    bend = bend * z + series;
    series = series * z + Complex<V>(V((n % 2 == 0 ? 1.0 : -1.0) / factorial));
    factorial /= n + 1;
  }
  y = {select(small, series.re, y.re), select(small, series.im, y.im)};
  slope = {select(small, bend.re, slope.re), select(small, bend.im, slope.im)};
}
template <class V>
WQ_HD Complex<V> decay_mean(Complex<V> z) {
  Complex<V> y, slope;
  decay_mean(z, y, slope);
  return y;
}
template <class V, int N, int M>
WQ_HD_CALL Dual<Complex<V>, N, M> decay_mean(const Dual<Complex<V>, N, M>& z) {
  Complex<V> y, slope;
  decay_mean(z.value, y, slope);
  return chain(z, y, slope, Complex<V>(V(0.0)));
}

/// ln(1 + z) / z and its slope.
template <class V>
WQ_HD_NOINLINE void log_quotient(Complex<V> z, Complex<V>& y, Complex<V>& slope) {
  const Complex<V> one(V(1.0)), by = inverse(z);
  y = log1p_of(z) * by;
  slope = (inverse(one + z) - y) * by;
  const auto small = lt(norm(z), V(0.0025));
  if (!any(small)) return;
  constexpr int kTerms = 14;
  Complex<V> series(V(0.0)), bend(V(0.0));
  for (int n = kTerms; n >= 0; --n) {
    bend = bend * z + series;
    series = series * z + Complex<V>(V((n % 2 == 0 ? 1.0 : -1.0) / (n + 1)));
  }
  y = {select(small, series.re, y.re), select(small, series.im, y.im)};
  slope = {select(small, bend.re, slope.re), select(small, bend.im, slope.im)};
}
template <class V>
WQ_HD_NOINLINE Complex<V> log_quotient(Complex<V> z) {
  const Complex<V> y = log1p_of(z) * inverse(z);
  const auto small = lt(norm(z), V(0.0025));
  if (!any(small)) return y;
  Complex<V> series(V(0.0));
  for (int n = 14; n >= 0; --n) series = series * z + Complex<V>(V((n % 2 == 0 ? 1.0 : -1.0) / (n + 1)));
  return {select(small, series.re, y.re), select(small, series.im, y.im)};
}
template <class V, int N, int M>
WQ_HD_CALL Dual<Complex<V>, N, M> log_quotient(const Dual<Complex<V>, N, M>& z) {
  Complex<V> y, slope;
  log_quotient(z.value, y, slope);
  return chain(z, y, slope, Complex<V>(V(0.0)));
}

}  // namespace wq::inline WQ_LEVEL
