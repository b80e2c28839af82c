// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

/// Functions made of plain additions and multiplications, none fused, with the same bits on every machine, and short
/// chains of them: a path waits for each.
namespace wq::inline WQ_LEVEL {

template <int N, class V>
WQ_HD V fold_terms(V x, const V (&terms)[N]) {
  if constexpr (N == 1) {
    return terms[0];
  } else {
    V half[(N + 1) / 2];
    WQ_UNROLL(16)
    for (int i = 0; i < N / 2; ++i) half[i] = terms[2 * i] + terms[2 * i + 1] * x;
    if constexpr (N % 2 == 1) half[N / 2] = terms[N - 1];
    return fold_terms(x * x, half);
  }
}

/// coefficients[0] + coefficients[1] * x + ..., by pairs, pairs of pairs and so on (Estrin 1960).
template <class V, int N>
WQ_HD V plain_polynomial(V x, const double (&coefficients)[N]) {
  V half[(N + 1) / 2];
  WQ_UNROLL(16)
  for (int i = 0; i < N / 2; ++i) half[i] = V(coefficients[2 * i]) + V(coefficients[2 * i + 1]) * x;
  if constexpr (N % 2 == 1) half[N / 2] = V(coefficients[N - 1]);
  return fold_terms(x * x, half);
}

/// e^x to 1 ulp; 0 and infinity beyond the range of a double, NaN for NaN.
template <class V>
WQ_HD V plain_exp(V x) {
  const V n = rint(max(min(x, V(720.0)), V(-760.0)) * V(1.4426950408889634074));
  // ln 2 in two parts; the first has 21 zero bits at its end, so that n * part is exact.
  const V r =
      (max(min(x, V(720.0)), V(-760.0)) - n * V(6.93147180369123816490e-01)) - n * V(1.90821492927058770002e-10);
  constexpr double kTail[] = {0.5000000000000001,    0.16666666666666669,    0.04166666666662399,
                              0.008333333333330051,  0.0013888888917281794,  0.00019841269863105968,
                              2.480152119021773e-05, 2.7557268378684192e-06, 2.7620138719733994e-07,
                              2.5100424157005067e-08};
  const V y = V(1.0) + (r + r * r * plain_polynomial(r, kTail));
  return select(is_nan(x), x, scale(y, n));
}

/// ln(x) for finite x > 0, to 2 ulp except next to 1, where it is right to 2^-54.
template <class V>
WQ_HD V plain_log(V x) {
  V m;
  V n = split(x, m);
  const auto high = gt(m, V(1.4142135623730951));
  n = select(high, n + V(1.0), n);
  m = select(high, m * V(0.5), m);
  const V s = (m - V(1.0)) / (m + V(1.0)), u = s * s;
  constexpr double kTail[] = {0.3333333333333335,  0.19999999999949722, 0.14285714313001635, 0.11111105565129939,
                              0.09091444727837474, 0.07666855309105386, 0.07308292712444311};
  const V twice = s + s;
  const V tail = twice * u * plain_polynomial(u, kTail) + n * V(1.90821492927058770002e-10);
  return n * V(6.93147180369123816490e-01) + (twice + tail);
}

}  // namespace wq::inline WQ_LEVEL
