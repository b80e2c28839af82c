// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/near.h"
#include "warpquant/core/plain.h"
#include "warpquant/core/twin.h"
#if !defined(__CUDACC__)
#include "warpquant/core/word_lanes.h"
#endif

/// Functions that promise an error bound rather than bits: they fuse multiplications and additions where the machine
/// can, so levels may differ in the last place. Coefficients: Chebyshev interpolation, computed with 60 digits.
namespace wq::inline WQ_LEVEL {

/// coefficients[0] + coefficients[1] * x + ... Long ones as two chains, of even powers and of odd ones, which a
/// processor follows side by side.
template <class V, int N>
WQ_HD V polynomial(V x, const double (&coefficients)[N]) {
  constexpr int kChains = N > 8 ? 2 : 1;
  const V step = kChains == 2 ? x * x : x;
  V p[2] = {V(coefficients[N - 1]), V(kChains == 2 ? coefficients[N - 2] : 0.0)};
  WQ_UNROLL(32)
  for (int k = N - 1 - kChains; k >= 0; --k) {
    V& chain = p[(N - 1 - k) % kChains];
    chain = mul_add(chain, step, V(coefficients[k]));
  }
  if constexpr (kChains == 1) return p[0];
  return N % 2 == 1 ? mul_add(p[1], x, p[0]) : mul_add(p[0], x, p[1]);
}

/// (p(x) - p(y)) / (x - y), however close the two are, and p(y): Horner's rule yields divided differences beside
/// values. Even powers and odd ones apart, as above.
template <class V, int N>
WQ_HD V divided_difference(V x, V y, const double (&coefficients)[N], V& of_y) {
  static_assert(N % 2 == 1 && N >= 5);
  const V x_step = x * x, y_step = y * y;
  V even_slope(coefficients[N - 1]), odd_slope(coefficients[N - 2]);
  V even = mul_add(even_slope, y_step, V(coefficients[N - 3])),
    odd = mul_add(odd_slope, y_step, V(coefficients[N - 4]));
  WQ_UNROLL(32)
  for (int k = N - 5; k > 0; k -= 2) {
    even_slope = mul_add(even_slope, x_step, even);
    even = mul_add(even, y_step, V(coefficients[k]));
    odd_slope = mul_add(odd_slope, x_step, odd);
    odd = mul_add(odd, y_step, V(coefficients[k - 1]));
  }
  even_slope = mul_add(even_slope, x_step, even);
  even = mul_add(even, y_step, V(coefficients[0]));
  of_y = mul_add(odd, y, even);
  return mul_add(x + y, mul_add(odd_slope, x, even_slope), odd);
}

/// What rounding took from `product` = a * b.
template <class V>
WQ_HD V product_error(V a, V b, V product) {
  if constexpr (kFused) {
    return mul_add(a, b, V(0.0) - product);
  } else {
    // Veltkamp's splitting, Dekker's product (1971); for magnitudes below 2^970.
    const V c(0x1p27 + 1.0);
    const V a_high = a * c - (a * c - a), a_low = a - a_high;
    const V b_high = b * c - (b * c - b), b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
  }
}

/// e^x; add_low(r) puts to what is left of x, when powers of two are taken out, what x lost to rounding.
template <class V, class AddLow>
WQ_HD V exp_with(V x, AddLow add_low) {
  const V inside = max(V(-760.0), min(V(720.0), x));  // in this order a NaN stays one
  // ln 2 in two parts; the first has 21 zero bits at its end, so that whole numbers times it are exact.
  constexpr double kHigh = 6.93147180369123816490e-01, kLow = 1.90821492927058770002e-10;
  if constexpr (kQuickEntries) {
    // In sixteenths, of which less is left; 1.5 * 2^52 moves their number into the low bits.
    const V moved = mul_add(inside, V(16.0 * 1.4426950408889634074), V(6755399441055744.0));
    const V n = moved - V(6755399441055744.0);
    const V r = add_low(mul_add(n, V(-kLow / 16), mul_add(n, V(-kHigh / 16), inside)));
    constexpr double kTail[] = {0.5, 0.1666666666530169, 0.04166666666496045, 0.008333449701253456,
                                0.0013889034348599464};
    const V part = entry(sixteenths(), words_of(moved));
    return scale_by_floor(mul_add(part, mul_add(r * r, polynomial(r, kTail), r), part), n * V(1.0 / 16));
  } else {
    const V n = rint(inside * V(1.4426950408889634074));
    const V r = add_low(mul_add(n, V(-kLow), mul_add(n, V(-kHigh), inside)));
    constexpr double kTail[] = {0.5000000000000001,    0.16666666666666669,    0.04166666666662399,
                                0.008333333333330051,  0.0013888888917281794,  0.00019841269863105968,
                                2.480152119021773e-05, 2.7557268378684192e-06, 2.7620138719733994e-07,
                                2.5100424157005067e-08};
    return scale(V(1.0) + mul_add(r * r, polynomial(r, kTail), r), n);
  }
}

/// e^x: below 1 ulp, subnormal results included.
template <class V>
WQ_HD V exp_of(V x) {
  return exp_with(x, [](V r) { return r; });
}
template <class V>
WQ_HD Twin<V> exp_of(Twin<V> x) {
  return {exp_of(x.a), exp_of(x.b)};
}
/// e^(x + low), where `low` is what x lost to rounding.
template <class V>
WQ_HD V exp_of(V x, V low) {
  return exp_with(x, [=](V r) { return r + low; });
}
template <class V>
WQ_HD Twin<V> exp_of(Twin<V> x, Twin<V> low) {
  return {exp_of(x.a, low.a), exp_of(x.b, low.b)};
}

/// (artanh(s) / s - 1) / s^2 as a series in u = s^2, |s| <= 3 - 2 sqrt(2).
template <class V>
WQ_HD V log_series(V u) {
  constexpr double kTail[] = {0.3333333333333335,  0.19999999999949722, 0.14285714313001635, 0.11111105565129939,
                              0.09091444727837474, 0.07665855309105386, 0.07308292712444311};
  return polynomial(u, kTail);
}

/// ln(a / b) for finite a, b > 0, to 2 ulp of itself also where the two are almost equal.
template <class V>
WQ_HD V log_ratio(V a, V b) {
  V a_part, b_part;
  V n = split(a, a_part) - split(b, b_part);
  const auto high = gt(a_part, b_part * V(1.4142135623730951)), low = lt(a_part, b_part * V(0.7071067811865476));
  n = select(high, n + V(1.0), select(low, n - V(1.0), n));
  a_part = a_part * select(high, V(0.5), select(low, V(2.0), V(1.0)));
  // a_part - b_part is exact: the two are within a factor of two.
  const V s = quotient(a_part - b_part, a_part + b_part), u = s * s, twice = s + s;
  const V tail = mul_add(twice * u, log_series(u), n * V(1.90821492927058770002e-10));
  return mul_add(n, V(6.93147180369123816490e-01), twice + tail);
}

/// ln(x) for finite x > 0.
template <class V>
WQ_HD V log_of(V x) {
  return log_ratio(x, V(1.0));
}

}  // namespace wq::inline WQ_LEVEL
