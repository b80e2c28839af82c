// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lanes.h"
#include "warpquant/core/math.h"

/// Inverses for x > 0 to 1e-8 of themselves or better, for what is an approximation anyway: a processor with a first
/// guess of them needs no division.
namespace wq::inline WQ_LEVEL {

WQ_HD double near_inverse(double x) { return 1.0 / x; }
WQ_HD double near_inverse_root(double x) { return 1.0 / sqrt(x); }

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

}  // namespace wq::inline WQ_LEVEL
