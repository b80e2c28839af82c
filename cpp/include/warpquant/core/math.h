// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "warpquant/core/macros.h"

/// The vocabulary of the element headers, for one `double` (or `float`, for devices that are asked for it).
/// `core/lanes.h` has the same names for packs of doubles, with the same result bit for bit: only correctly rounded
/// operations, no contraction, the comparisons of IEEE 754.
namespace wq::inline WQ_LEVEL {

#define WQ_OF_ONE_NUMBER(R)                                     \
  WQ_HD bool lt(R a, R b) { return a < b; }                     \
  WQ_HD bool le(R a, R b) { return a <= b; }                    \
  WQ_HD bool gt(R a, R b) { return a > b; }                     \
  WQ_HD bool ge(R a, R b) { return a >= b; }                    \
  WQ_HD bool eq(R a, R b) { return a == b; }                    \
  WQ_HD bool ne(R a, R b) { return a != b; }                    \
  WQ_HD bool is_nan(R a) { return a != a; }                     \
  WQ_HD bool is_finite(R a) { return a - a == R(0); }           \
  WQ_HD R select(bool m, R yes, R no) { return m ? yes : no; }  \
  WQ_HD R keep_if(bool m, R a) { return m ? a : R(0); }         \
  WQ_HD R add_if(bool m, R a, R b) { return m ? a + b : a; }    \
  WQ_HD R sub_if(bool m, R a, R b) { return m ? a - b : a; }    \
  WQ_HD R div_if(bool m, R a, R b) { return m ? a / b : R(0); } \
  /* `b` when either is NaN, like the x86 instruction. */       \
  WQ_HD R max(R a, R b) { return a > b ? a : b; }               \
  WQ_HD R min(R a, R b) { return a < b ? a : b; }               \
  WQ_HD R abs(R a) { return std::fabs(a); }                     \
  WQ_HD R floor(R a) { return std::floor(a); }                  \
  WQ_HD R sqrt(R a) { return std::sqrt(a); }                    \
  /* Nearest integer, ties to even. */                          \
  WQ_HD R rint(R a) { return std::rint(a); }
WQ_OF_ONE_NUMBER(double)
WQ_OF_ONE_NUMBER(float)
#undef WQ_OF_ONE_NUMBER

WQ_HD bool both(bool a, bool b) { return a && b; }
WQ_HD bool either(bool a, bool b) { return a || b; }
WQ_HD bool negate(bool a) { return !a; }
WQ_HD bool but_not(bool a, bool b) { return a && !b; }
WQ_HD bool any(bool a) { return a; }
WQ_HD bool all(bool a) { return a; }

#if defined(__FMA__) || defined(__CUDA_ARCH__)
inline constexpr bool kFused = true;
#else
inline constexpr bool kFused = false;
#endif

/// a * b + c, rounded once where the machine can (`kFused`): for functions that promise a bound, not bits.
WQ_HD double mul_add(double a, double b, double c) { return kFused ? __builtin_fma(a, b, c) : a * b + c; }

/// One of the numbers of a value: for the few that take a way of their own.
WQ_HD double lane(double a, int) { return a; }
WQ_HD bool lane(bool a, int) { return a; }
WQ_HD void set_lane(double& a, int, double value) { a = value; }
/// How many there are.
template <class V>
inline constexpr int kWidth = sizeof(V) / sizeof(double);

/// The smallest number greater than `a` (`a` finite).
WQ_HD double next_up(double a) {
  const auto bits = __builtin_bit_cast(std::int64_t, a + 0.0);  // -0 becomes +0
  return __builtin_bit_cast(double, bits < 0 ? bits - 1 : bits + 1);
}
WQ_HD float next_up(float a) {
  const auto bits = __builtin_bit_cast(std::int32_t, a + 0.0f);
  return __builtin_bit_cast(float, bits < 0 ? bits - 1 : bits + 1);
}

/// 2^n for an integer n in [-1022, 1023].
WQ_HD double pow2(double n) {
  // 1.5 * 2^52 moves the integer into the low bits.
  const auto bits = __builtin_bit_cast(std::int64_t, n + (6755399441055744.0 + 1023.0));
  return __builtin_bit_cast(double, bits << 52);
}

/// y * 2^n for an integer n of a magnitude up to 2000; results that are subnormal may be rounded twice.
template <class V>
WQ_HD V scale(V y, V n) {
  // Two factors, because 2^n alone leaves the range of a double at both ends.
  const V half = floor(n * V(0.5));
  return y * pow2(half) * pow2(n - half);
}

/// The same for any n of such a magnitude, which is rounded down.
template <class V>
WQ_HD V scale_by_floor(V y, V n) {
  return scale(y, floor(n));
}

/// x = mantissa * 2^exponent with a mantissa in [1, 2), for finite x > 0.
WQ_HD double split(double x, double& mantissa) {
  const bool subnormal = x < 0x1p-1022;
  const auto bits = __builtin_bit_cast(std::int64_t, subnormal ? x * 0x1p54 : x);
  mantissa = __builtin_bit_cast(double, (bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL);
  return static_cast<double>((bits >> 52) - (subnormal ? 1023 + 54 : 1023));
}

/// e^x, below 1 ulp, from additions and multiplications alone: the same bits on every machine, which the C library
/// does not promise.
template <class V>
WQ_HD V exp(V x) {
  const V n = rint(max(min(x, V(710.0)), V(-746.0)) * V(1.4426950408889634074));
  // ln 2 in two parts; the first has 21 zero bits at its end, so that n * part is exact.
  const V hi = x - n * V(6.93147180369123816490e-01);
  const V lo = n * V(1.90821492927058770002e-10);
  const V r = hi - lo;
  const double taylor[] = {1.0 / 479001600.0,
                           1.0 / 39916800.0,
                           1.0 / 3628800.0,
                           1.0 / 362880.0,
                           1.0 / 40320.0,
                           1.0 / 5040.0,
                           1.0 / 720.0,
                           1.0 / 120.0,
                           1.0 / 24.0,
                           1.0 / 6.0,
                           0.5};
  V p(1.0 / 6227020800.0);
  for (const double c : taylor) p = p * r + V(c);
  const V tail = (hi - r) - lo;  // what r lost to rounding
  const V y = V(1.0) + (r + (r * r * p + tail));
  const V value = scale(y, n);
  return select(gt(x, V(709.782712893384)), V(HUGE_VAL), select(lt(x, V(-745.2)), V(0.0), value));
}

}  // namespace wq::inline WQ_LEVEL
