// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Exponential smoothing. Two bars make a stride, so that only every other bar waits for the one before:
///   y1 = y0 + a (x1 - y0),   y2 = y0 + (a (1-a) (x1 - y0) + a (x2 - y0)).
/// Differences to y, not (1-a) y + a x: a value that the series has reached stays exactly as it is.
struct Smoothing {
  std::int64_t length;
  double alpha, faded;  // weight of a bar, and of the one before it
  bool seed_first;

  Smoothing(const Spec& spec, double a)
      : length(spec.length), alpha(a), faded(a - a * a), seed_first(spec.seed_first) {}

  WQ_HD std::int64_t warmup() const { return seed_first ? 0 : length - 1; }
  WQ_HD std::int64_t span() const { return 0; }  // how far back `advance` looks
  static constexpr bool kLooksBack = false;      // beyond x[0]

  template <class V>
  struct State {
    V base, gap;  // value before the stride; how far its first bar is from there, 0 before that bar
  };

  /// Value of the first bar that has one: the mean of the first `length`, or the first. `x` reaches back to bar 0.
  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    if (seed_first) return guess(s, x);
    V sum = x[length - 1];
    for (std::int64_t k = length - 2; k >= 0; --k) sum = sum + x[k];
    s = {sum / V(static_cast<double>(length)), V(0.0)};
  }

  /// A state that knows nothing of what came before; the difference to the true one dies away.
  template <class V, class X>
  WQ_HD void guess(State<V>& s, X x) const {
    s = {x[0], V(0.0)};
  }
  /// Bars after which next to always not even the last bit tells a guess from the true state.
  double memory() const { return 65.0 / alpha; }

  /// `odd`: whether the number of the bar is.
  template <class V, class X>
  WQ_HD void advance(State<V>& s, X x, bool odd) const {
    const V gap = x[0] - s.base;
    s = odd ? State<V>{s.base + (V(faded) * s.gap + V(alpha) * gap), V(0.0)} : State<V>{s.base, gap};
  }

  template <class V>
  WQ_HD V value(const State<V>& s, bool odd) const {
    return odd ? s.base : s.base + V(alpha) * s.gap;
  }

  /// Not finite if a value was not.
  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.base + s.gap;
  }
};

/// Smoothing applied `kStages` times, each stage to the output of the one before. With the default seed a stage starts
/// from the mean of its first `length` inputs, at the last of them; else all start from the first value. Stages keep
/// the arithmetic units busy while one waits for the bar before, so strides would gain nothing.
template <int kStages_>
struct Cascade {
  static constexpr int kStages = kStages_;
  std::int64_t length;
  double alpha;
  bool seed_first;

  Cascade(const Spec& spec, double a) : length(spec.length), alpha(a), seed_first(spec.seed_first) {}

  WQ_HD std::int64_t warmup() const { return seed_first ? 0 : kStages * (length - 1); }
  WQ_HD std::int64_t span() const { return 0; }
  static constexpr bool kLooksBack = false;

  template <class V>
  struct State {
    V stage[kStages];
  };

  /// Value of the first bar that has one; `x` reaches back to bar 0.
  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    if (seed_first) {
      for (V& value : s.stage) value = x[0];
      return;
    }
    V sum[kStages] = {};
    const std::int64_t bars = warmup() + 1;
    for (std::int64_t i = 0; i < bars; ++i) {
      V input = x[bars - 1 - i];
      for (int k = 0; k < kStages; ++k) {
        const std::int64_t seen = i - k * (length - 1);  // inputs of this stage so far, this one not counted
        if (seen < 0) break;
        if (seen < length) {
          sum[k] = seen == 0 ? input : sum[k] + input;
          if (seen < length - 1) break;
          s.stage[k] = sum[k] / V(static_cast<double>(length));
        } else {
          s.stage[k] = smooth(s.stage[k], input);
        }
        input = s.stage[k];
      }
    }
  }

  /// A state that knows nothing of what came before; the difference to the true one dies away.
  template <class V, class X>
  WQ_HD void guess(State<V>& s, X x) const {
    for (V& value : s.stage) value = x[0];
  }
  /// Bars after which next to always not even the last bit tells a guess from the true state.
  double memory() const { return (45.0 + 20.0 * kStages) / alpha; }

  template <class V, class X>
  WQ_HD void advance(State<V>& s, X x, bool) const {
    V input = x[0];
    for (V& value : s.stage) input = value = smooth(value, input);
  }

  /// Not finite if a value was not.
  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.stage[kStages - 1];
  }

  /// This form, unlike (1-a) * value + a * x, leaves a value that the series has reached exactly as it is.
  template <class V>
  WQ_HD V smooth(V value, V x) const {
    return value + V(alpha) * (x - value);
  }
};

struct Ema : Smoothing {
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
  explicit Ema(const Spec& spec) : Smoothing(spec, 2.0 / (static_cast<double>(spec.length) + 1.0)) {}
};

/// Wilder's smoothing.
struct Rma : Smoothing {
  static constexpr Info info = {"rma",
                                "Wilder's moving average",
                                "RMA_i = RMA_{i-1} + 1/L (x_i - RMA_{i-1})",
                                "An EMA of length ``2 L - 1``, seeded with the mean of the first L values.",
                                true,
                                true,
                                false};
  explicit Rma(const Spec& spec) : Smoothing(spec, 1.0 / static_cast<double>(spec.length)) {}
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

  template <class V>
  WQ_HD V value(const State<V>& s, bool) const {
    return s.stage[0] + (s.stage[0] - s.stage[1]);
  }
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

  template <class V>
  WQ_HD V value(const State<V>& s, bool) const {
    const V gap = s.stage[0] - s.stage[1];
    return (gap + gap) + (gap + s.stage[2]);
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
