// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/spec.h"
#include "warpquant/ma/window_sums.h"

namespace wq::ma::inline WQ_LEVEL {

/// Kaufman's adaptive moving average with TA-Lib's conventions. The value is a chain of affine maps
/// v -> (1 - c) v + c x, composed over a packet by doubling; relative to the packet's first price, as in `Cascade`.
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
  std::int64_t span() const { return length + 8; }

  template <class P>
  struct State {
    One<P> base, value;  // a price, and the average relative to it
    One<P> noise;        // sum of the last `length` moves
    P loudest;           // noise so far in the block
  };

  template <class P, class X>
  WQ_HD One<P> first(State<P>& s, X x) const {
    using O = One<P>;
    O noise = all<P>(0.0);
    for (std::int64_t k = 0; k < length; ++k) noise = noise + abs(x.one(k) - x.one(k + 1));
    const O before = x.one(1), value = before + rate<P>(abs(x.one(0) - x.one(length)), noise) * (x.one(0) - before);
    s.base = x.one(0);
    s.value = value - s.base;
    return value;
  }

  /// Before the first packet of a block: sum the moves afresh, since a sliding sum keeps the rounding of everything it
  /// has seen.
  template <class P, class X>
  WQ_HD void open(State<P>& s, X x) const {
    s.noise = window_sums<P, false>(length, [&](std::int64_t k) { return abs(x[k] - x[k + 1]); }).plain;
    s.loudest = of<P>(Ramp{}) + s.noise;
  }

  template <class P, class X>
  WQ_HD P step(State<P>& s, X x) const {
    const One<P> base = x.one(0), before = s.value + (s.base - base);
    const P c = rate<P>(abs(x[0] - x[length]), slide(s, x));
    P m = all<P>(1.0) - c, b = c * (x[0] - base);
    b = add_earlier<1>(b, m);
    m = times_earlier<1>(m);
    b = add_earlier<2>(b, m);
    m = times_earlier<2>(m);
    b = add_earlier<4>(b, m);
    m = times_earlier<4>(m);
    s.value = last(b) + last(m) * before;
    s.base = base;
    return (b + m * before) + base;
  }

 private:
  template <class P, class X>
  WQ_HD P slide(State<P>& s, X x) const {
    P noise;
    if (length <= kEight) {
      noise = summed<P>(x);
    } else {
      noise = running_sum(abs(x[0] - x[1]) - abs(x[length] - x[length + 1])) + s.noise;
      // Where little is left of much, what is left may be rounding.
      const auto doubtful = lt(noise, s.loudest * all<P>(0x1p-20));
      s.loudest = max(noise, s.loudest);
      if (any(doubtful)) [[unlikely]]
        noise = select(doubtful, summed<P>(x), noise);
    }
    s.noise = last(noise);
    return noise;
  }

  template <class P, class X>
  WQ_HD P summed(X x) const {
    P noise = abs(x[0] - x[1]);
    for (std::int64_t k = 1; k < length; ++k) noise = noise + abs(x[k] - x[k + 1]);
    return noise;
  }

  /// Smoothing constant; of a packet or of one bar.
  template <class P, class T>
  WQ_HD T rate(const T& change, const T& noise) const {
    const T path = max(noise, change);
    const T efficiency = select(le(path, all<P>(0.0)), all<P>(1.0), change / path);
    const T c = efficiency * all<P>(range) + all<P>(slow);
    return c * c;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
