// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

/// Kaufman's adaptive moving average with TA-Lib's conventions.
struct Kama {
  static constexpr Info info = {
      "kama",
      "Kaufman's adaptive moving average",
      "KAMA_i = KAMA_{i-1} + c_i (x_i - KAMA_{i-1}), c_i = (E_i (2/(fast+1) - 2/(slow+1)) + 2/(slow+1))**2, "
      "E_i = |x_i - x_{i-L}| / sum |x_j - x_{j-1}| over the last L moves",
      "As in TA-Lib the prior value is the price at bar L-1 and the first value is at bar L, a flat window counts as "
      "perfectly efficient. vector-ta and numta start one bar later. ATC has other constants, see `warpquant.atc`.",
      true,
      false,
      true};
  std::int64_t length;
  double slow, range;

  explicit Kama(const Spec& spec)
      : length(spec.length), slow(2.0 / (spec.slow + 1.0)), range(2.0 / (spec.fast + 1.0) - 2.0 / (spec.slow + 1.0)) {}

  std::int64_t warmup() const { return length; }
  std::int64_t span() const { return length + 1; }

  template <class V>
  struct State {
    V value;
    V noise;    // sum of the last `length` moves
    V resting;  // bars without a move up to this one, `length` at most
  };

  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    s.value = x[1];
    open(s, x);
    smooth(s, x);
  }

  template <class V, class X>
  WQ_HD void advance(State<V>& s, X x) const {
    slide(s, x);
    smooth(s, x);
  }

  /// Everything but the value, from the window alone.
  template <class V, class X>
  WQ_HD void open(State<V>& s, X x) const {
    refresh(s, x);
    s.resting = V(0.0);
    for (std::int64_t k = length - 1; k >= 0; --k) count_rest(s, x[k] - x[k + 1]);
  }

  /// A state that knows nothing of the value before; the difference to the true one dies away.
  template <class V, class X>
  WQ_HD void guess(State<V>& s, X x) const {
    open(s, x);
    s.value = x[0];
  }
  /// Bars after which next to always not even the last bit tells a guess from the true state.
  std::int64_t memory() const { return static_cast<std::int64_t>(10.0 / (slow * slow)) + 1; }

  std::int64_t refresh_bars() const { return block_bars(length); }

  /// Sum the moves afresh: a sliding sum keeps the rounding of everything it has seen.
  template <class V, class X>
  WQ_HD void refresh(State<V>& s, X x) const {
    s.noise = V(0.0);
    for (std::int64_t k = 0; k < length; ++k) s.noise = s.noise + abs(x[k] - x[k + 1]);
  }

  template <class V, class X>
  WQ_HD void slide(State<V>& s, X x) const {
    const V move = x[0] - x[1];
    s.noise = (s.noise + abs(move)) - abs(x[length] - x[length + 1]);
    count_rest(s, move);
  }

  /// Smoothing constant of this bar.
  template <class V, class X>
  WQ_HD V rate(const State<V>& s, X x) const {
    const V change = abs(x[0] - x[length]), path = max(s.noise, change);
    // A window without moves is told by counting them: the sliding sum may keep some rounding.
    const V still(static_cast<double>(length));
    const V efficiency = select(ge(s.resting, still), V(1.0), div_if(gt(path, V(0.0)), change, path));
    const V c = efficiency * V(range) + V(slow);
    return c * c;
  }

  template <class V>
  WQ_HD V value(const State<V>& s) const {
    return s.value;
  }

 private:
  template <class V, class X>
  WQ_HD void smooth(State<V>& s, X x) const {
    s.value = s.value + rate(s, x) * (x[0] - s.value);
  }
  template <class V>
  WQ_HD void count_rest(State<V>& s, V move) const {
    const V most(static_cast<double>(length));
    s.resting = select(eq(move, V(0.0)), min(s.resting + V(1.0), most), V(0.0));
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
