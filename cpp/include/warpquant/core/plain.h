// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/words.h"

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

/// 2^(k / 16).
WQ_HD const double (&sixteenths())[16] {
  static constexpr double kPowers[16] = {1.0,
                                         1.0442737824274138,
                                         1.0905077326652577,
                                         1.1387886347566916,
                                         1.189207115002721,
                                         1.241857812073484,
                                         1.2968395546510096,
                                         1.3542555469368927,
                                         1.4142135623730951,
                                         1.4768261459394993,
                                         1.5422108254079407,
                                         1.6104903319492543,
                                         1.681792830507429,
                                         1.7562521603732995,
                                         1.8340080864093424,
                                         1.9152065613971474};
  return kPowers;
}

/// e^x to 1.1 ulp between -708 and 709, and beyond what it is there: no price of a path gets so far. NaN for NaN.
template <class V>
WQ_HD V plain_exp(V x) {
  const V inside = max(V(-708.0), min(V(709.0), x));  // in this order a NaN stays one
  // Sixteenths of powers of two; 1.5 * 2^52 moves their number into the low bits.
  const V moved = inside * V(16.0 * 1.4426950408889634074) + V(6755399441055744.0);
  const V n = moved - V(6755399441055744.0);
  // ln 2 / 16 in two parts; the first has 21 zero bits at its end, so that n * part is exact.
  const V r = (inside - n * V(6.93147180369123816490e-01 / 16)) - n * V(1.90821492927058770002e-10 / 16);
  constexpr double kTail[] = {0.5, 0.1666666666530169, 0.04166666666496045, 0.008333449701253456,
                              0.0013889034348599464};
  const V part = entry(sixteenths(), words_of(moved));
  const V y = part + part * (r + r * r * plain_polynomial(r, kTail));
  return numbers_of(words_of(y) + ((words_of(moved) >> 4) << 52));
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
