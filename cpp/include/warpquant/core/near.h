// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

#if !defined(__CUDACC__)
#include "warpquant/core/lanes.h"
#endif

/// Inverses without a division, on processors that have a first guess of them: one unit divides, and several multiply.
namespace wq::inline WQ_LEVEL {

/// 1 / x, below 1 ulp, for every x.
WQ_HD double inverse_of(double x) { return 1.0 / x; }
/// For x > 0 to 1e-8 of themselves or better, for what is an approximation anyway.
WQ_HD double near_inverse(double x) { return 1.0 / x; }
WQ_HD double near_inverse_root(double x) { return 1.0 / sqrt(x); }

/// x / y to 1 ulp, for y and x / y far from overflow and underflow.
template <class V>
WQ_HD V quotient(V x, V y) {
  return x / y;
}
/// x / y, given the inverse of y > 0: that is infinite for the smallest y. `kTiny`: whether there may be any.
template <bool kTiny, class V>
WQ_HD V quotient(V x, V y, V inverse) {
  const V product = x * inverse;
  if constexpr (!kTiny) return product;
  const auto tiny = lt(y, V(0x1p-1022));
  return any(tiny) ? select(tiny, x / y, product) : product;
}

#if !defined(__CUDACC__)

template <int W>
WQ_HD Pack<W> inverse_of(Pack<W> x) {
#if defined(__AVX512F__)
  if constexpr (W == 8) {
    // Of a guess y, 1 - x y = e, the inverse is y (1 + e + e^2 + ...). Where the guess is 0 or infinite, it is right,
    // and e is NaN or infinite.
    const Pack<W> guess = Pack<W>(_mm512_rcp14_pd(x.v)), minus = Pack<W>(0.0) - x, one(1.0);
    const Pack<W> e = mul_add(minus, guess, one);
    const auto finite = gt(e, Pack<W>(-1.0));
    const Pack<W> y = mul_add(guess, mul_add(e, e, e), guess);
    return select(finite, mul_add(y, mul_add(minus, y, one), y), guess);
  }
#endif
  return Pack<W>(1.0) / x;
}

template <int W>
WQ_HD Pack<W> quotient(Pack<W> x, Pack<W> y) {
#if defined(__AVX512F__)
  if constexpr (W == 8) {
    const Pack<W> guess = Pack<W>(_mm512_rcp14_pd(y.v)), minus = Pack<W>(0.0) - y, one(1.0);
    const Pack<W> e = mul_add(minus, guess, one), inverse = mul_add(guess, mul_add(e, e, e), guess);
    const Pack<W> rough = x * inverse;
    return mul_add(mul_add(minus, rough, x), inverse, rough);
  }
#endif
  return x / y;
}

template <int W>
WQ_HD Pack<W> near_inverse(Pack<W> x) {
#if defined(__AVX512F__)
  if constexpr (W == 8) {
    const Pack<W> y = Pack<W>(_mm512_rcp14_pd(x.v));
    return mul_add(y, mul_add(x, Pack<W>(-1.0) * y, Pack<W>(1.0)), y);
  }
#endif
  return Pack<W>(1.0) / x;
}
template <int W>
WQ_HD Pack<W> near_inverse_root(Pack<W> x) {
#if defined(__AVX512F__)
  if constexpr (W == 8) {
    const Pack<W> y = Pack<W>(_mm512_rsqrt14_pd(x.v));
    return mul_add(Pack<W>(0.5) * y, mul_add(x * y, Pack<W>(-1.0) * y, Pack<W>(1.0)), y);
  }
#endif
  return Pack<W>(1.0) / sqrt(x);
}

#endif

}  // namespace wq::inline WQ_LEVEL
