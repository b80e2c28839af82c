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
  std::int64_t length, noise_for;  // bars for which a sum of moves serves, a power of 2
  double slow, range;

  explicit Kama(const Spec& spec)
      : length(spec.length), noise_for(power_of_2(4 * spec.length, 8)), slow(2.0 / (spec.slow + 1.0)),
        range(2.0 / (spec.fast + 1.0) - 2.0 / (spec.slow + 1.0)) {}

  WQ_HD std::int64_t warmup() const { return length; }
  WQ_HD std::int64_t span() const { return length + 1; }
  static constexpr bool kLooksBack = true;

  template <class V>
  struct State {
    V value;
    V noise;    // sum of the last `length` moves
    V loudest;  // noise since it was last summed afresh
  };

  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    s.value = x[1];
    sum_moves(s, x);
    smooth(s, x);
  }

  /// A state that knows nothing of the value before; the difference to the true one dies away.
  template <class V, class X>
  WQ_HD void guess(State<V>& s, X x) const {
    sum_moves(s, x);
    s.value = x[0];
  }
  /// Bars after which next to always not even the last bit tells a guess from the true state.
  double memory() const { return 10.0 / (slow * slow); }

  /// A sliding sum keeps the rounding of everything it has seen.
  template <class V, class X>
  WQ_HD void tend(State<V>& s, X x, std::int64_t bar) const {
    if ((bar & (noise_for - 1)) == 0) sum_moves(s, x);
  }

  template <class V, class X>
  WQ_HD void advance(State<V>& s, X x, bool) const {
    slide(s, x);
    smooth(s, x);
  }

  /// Move the window on by a bar.
  template <class V, class X>
  WQ_HD void slide(State<V>& s, X x) const {
    s.noise = (s.noise + abs(x[0] - x[1])) - abs(x[length] - x[length + 1]);
    // Where little is left of much, what is left may be rounding.
    const auto doubtful = lt(s.noise, s.loudest * V(0x1p-10));
    s.loudest = max(s.loudest, s.noise);
    if (any(doubtful)) [[unlikely]]
      s.noise = select(doubtful, moves(x), s.noise);
  }

  /// Not finite if a value since the last `tend` was not.
  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.value + s.noise;
  }

  template <class V>
  WQ_HD V value(const State<V>& s, bool) const {
    return s.value;
  }

 private:
  template <class V, class X>
  WQ_HD void smooth(State<V>& s, X x) const {
    const V change = abs(x[0] - x[length]);
    const V path = max(change, s.noise);  // NaN if the noise is
    const V efficiency = select(le(path, V(0.0)), V(1.0), change / path);
    const V c = efficiency * V(range) + V(slow);
    s.value = s.value + c * c * (x[0] - s.value);
  }

  template <class V, class X>
  WQ_HD void sum_moves(State<V>& s, X x) const {
    s.noise = s.loudest = moves(x);
  }

  template <class X>
  WQ_HD auto moves(X x) const {
    return sum_over(length, [&](std::int64_t k) { return abs(x[k] - x[k + 1]); });
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
