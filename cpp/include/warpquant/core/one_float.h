// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

/// `OneFloat`: what `FloatPack<W>` is to a CPU thread, to one of a device. It is a class so that its functions are
/// found where templates are used, and nobody computes in double by mistake.
namespace wq::inline WQ_LEVEL {

struct OneFloat {
  float v;

  OneFloat() = default;
  WQ_HD OneFloat(float x) : v(x) {}
  WQ_HD OneFloat(double x) : v(static_cast<float>(x)) {}
  WQ_HD explicit operator double() const { return static_cast<double>(v); }
};

WQ_HD OneFloat operator+(OneFloat a, OneFloat b) { return a.v + b.v; }
WQ_HD OneFloat operator-(OneFloat a, OneFloat b) { return a.v - b.v; }
WQ_HD OneFloat operator*(OneFloat a, OneFloat b) { return a.v * b.v; }
WQ_HD OneFloat operator/(OneFloat a, OneFloat b) { return a.v / b.v; }
WQ_HD bool lt(OneFloat a, OneFloat b) { return a.v < b.v; }
WQ_HD bool gt(OneFloat a, OneFloat b) { return a.v > b.v; }
WQ_HD OneFloat select(bool m, OneFloat yes, OneFloat no) { return m ? yes : no; }
/// `b` when either is NaN, like the x86 instruction.
WQ_HD OneFloat max(OneFloat a, OneFloat b) { return a.v > b.v ? a.v : b.v; }
WQ_HD OneFloat min(OneFloat a, OneFloat b) { return a.v < b.v ? a.v : b.v; }
WQ_HD OneFloat abs(OneFloat a) { return std::fabs(a.v); }
WQ_HD OneFloat sqrt(OneFloat a) { return std::sqrt(a.v); }
WQ_HD OneFloat rint(OneFloat a) { return std::rint(a.v); }
/// 2^n for an integer n in [-126, 127].
WQ_HD OneFloat pow2(OneFloat n) {
  const auto bits = __builtin_bit_cast(std::int32_t, n.v + (12582912.0f + 127.0f));
  return __builtin_bit_cast(float, bits << 23);
}
WQ_HD OneFloat mul_add(OneFloat a, OneFloat b, OneFloat c) {
  return kFused ? __builtin_fmaf(a.v, b.v, c.v) : a.v * b.v + c.v;
}

}  // namespace wq::inline WQ_LEVEL
