// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/packet.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Exponential smoothing applied `kStages` times, each stage to the output of the one before. With the default seed a
/// stage starts from the mean of its first `length` inputs, at the last of them; else all start from the first value.
///
/// y_j = a e_j + q y_{j-1} over a packet by doubling: u^1 = a e_j + q a e_{j-1}, u^2 = u^1_j + q^2 u^1_{j-2}, ... All
/// of it relative to the packet's first price: a flat series then stays exactly flat, and rounding is that of the
/// moves.
template <int kStages_>
struct Cascade {
  static constexpr int kStages = kStages_;
  std::int64_t length;
  double alpha, q, q2, q4;
  Ramp powers;  // q, q^2, ... q^8
  bool seed_first;

  Cascade(const Spec& spec, double a)
      : length(spec.length), alpha(a), q(1.0 - a), q2(q * q), q4(q2 * q2),
        powers{{q, q2, q2 * q, q4, q4 * q, q4 * q2, q4 * (q2 * q), q4 * q4}}, seed_first(spec.seed_first) {}

  std::int64_t warmup() const { return seed_first ? 0 : kStages * (length - 1); }
  std::int64_t span() const { return 0; }  // how far back `step` looks

  template <class P>
  struct State {
    One<P> base, stage[kStages];  // a price, and the stages relative to it
  };

  /// The first value, at x.one(0); `x` reaches back to bar 0.
  template <class P, class X>
  WQ_HD One<P> first(State<P>& s, X x) const {
    using O = One<P>;
    s.base = x.one(0);
    O value[kStages], sum[kStages];
    for (int k = 0; k < kStages; ++k) value[k] = sum[k] = s.base;
    const std::int64_t bars = warmup() + 1;
    for (std::int64_t i = 0; i < bars && !seed_first; ++i) {
      O input = x.one(bars - 1 - i);
      for (int k = 0; k < kStages; ++k) {
        const std::int64_t seen = i - k * (length - 1);  // inputs of this stage so far, this one not counted
        if (seen < 0) break;
        if (seen < length) {
          sum[k] = seen == 0 ? input : sum[k] + input;
          if (seen < length - 1) break;
          value[k] = sum[k] / all<P>(static_cast<double>(length));
        } else {
          value[k] = value[k] + all<P>(alpha) * (input - value[k]);
        }
        input = value[k];
      }
    }
    for (int k = 0; k < kStages; ++k) s.stage[k] = value[k] - s.base;
    return s.base + combined(s.stage);
  }

  template <class P, class X>
  WQ_HD P step(State<P>& s, X x) const {
    const One<P> base = x.one(0), moved = s.base - base;
    P stage[kStages], input = x[0] - base;
    for (int k = 0; k < kStages; ++k) {
      const One<P> before = s.stage[k] + moved;
      const P u = add_earlier<4>(add_earlier<2>(add_earlier<1>(input * all<P>(alpha), q), q2), q4);
      input = stage[k] = u + before * of<P>(powers);
      s.stage[k] = last(u) + before * all<P>(powers.bar[kEight - 1]);
    }
    s.base = base;
    return combined(stage) + base;
  }

  /// EMA, DEMA or TEMA of the stages.
  template <class T>
  WQ_HD static T combined(const T (&stage)[kStages]) {
    if constexpr (kStages == 1) return stage[0];
    const T gap = stage[0] - stage[kStages > 1];
    if constexpr (kStages == 2) return stage[0] + gap;
    return (gap + gap) + (gap + stage[kStages - 1]);
  }
};

struct Ema : Cascade<1> {
  static constexpr Info info = {
      "ema",
      "Exponential moving average",
      "EMA_i = EMA_{i-1} + 2/(L+1) (x_i - EMA_{i-1})",
      "TA-Lib and pandas-ta seed with the mean of the first L values (the default here), pandas ``ewm(adjust=False)`` "
      "with the first value (``seed=\"first\"``); the two meet after a few lengths. Values depend on where a series "
      "starts, by a weight of ``(1 - 2/(L+1))**bars``.",
      true,
      true,
      false};
  explicit Ema(const Spec& spec) : Cascade(spec, 2.0 / (static_cast<double>(spec.length) + 1.0)) {}
};

/// Wilder's smoothing.
struct Rma : Cascade<1> {
  static constexpr Info info = {"rma",
                                "Wilder's moving average",
                                "RMA_i = RMA_{i-1} + 1/L (x_i - RMA_{i-1})",
                                "An EMA of length ``2 L - 1``, seeded with the mean of the first L values.",
                                true,
                                true,
                                false};
  explicit Rma(const Spec& spec) : Cascade(spec, 1.0 / static_cast<double>(spec.length)) {}
};

struct Dema : Cascade<2> {
  static constexpr Info info = {"dema",
                                "Double exponential moving average",
                                "DEMA = 2 EMA - EMA(EMA)",
                                "The inner EMA feeds the outer one only once it has a value, so the first "
                                "``2 (length - 1)`` bars are NaN, as in TA-Lib.",
                                true,
                                true,
                                false};
  explicit Dema(const Spec& spec) : Cascade(spec, 2.0 / (static_cast<double>(spec.length) + 1.0)) {}
};

struct Tema : Cascade<3> {
  static constexpr Info info = {"tema",
                                "Triple exponential moving average",
                                "TEMA = 3 EMA - 3 EMA(EMA) + EMA(EMA(EMA))",
                                "The first ``3 (length - 1)`` bars are NaN, as in TA-Lib.",
                                true,
                                true,
                                false};
  explicit Tema(const Spec& spec) : Cascade(spec, 2.0 / (static_cast<double>(spec.length) + 1.0)) {}
};

}  // namespace wq::ma::inline WQ_LEVEL
