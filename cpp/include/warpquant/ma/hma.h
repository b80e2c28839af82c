// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/wma.h"

namespace wq::ma::inline WQ_LEVEL {

/// Hull moving average in one pass: the two inner averages slide over the prices, the outer one over a small ring of
/// their differences.
struct Hma {
  static constexpr Info info = {"hma",
                                "Hull moving average",
                                "HMA_i = WMA_{floor(sqrt L)}( 2 WMA_{floor(L/2)} - WMA_L )",
                                "Both lengths are rounded down. The first ``length - 1 + floor(sqrt(length)) - 1`` "
                                "bars are NaN.",
                                false,
                                false,
                                false};
  WeightedWindow whole, half, root;

  explicit Hma(const Spec& spec)
      : whole(spec.length), half(spec.length < 2 ? 1 : spec.length / 2),
        root(static_cast<std::int64_t>(__builtin_sqrt(static_cast<double>(spec.length)))) {}

  WQ_HD std::int64_t warmup() const { return whole.length - 1 + root.length - 1; }
  WQ_HD std::int64_t span() const { return whole.length + root.length; }
  WQ_HD std::int64_t ring() const { return root.length; }

  template <class V>
  struct State {
    WindowSums<V> whole, half, root;
    V* ring;  // the last `root.length` values of 2 WMA_half - WMA_whole
    std::int64_t next;
  };

  template <class V, class X>
  WQ_HD void open(State<V>& s, X x) const {
    const X start = x.ago(root.length);
    whole.open(s.whole, start);
    half.open(s.half, start);
    for (std::int64_t k = root.length - 1; k >= 0; --k) s.ring[root.length - 1 - k] = difference(s, x.ago(k));
    s.next = 0;
    root.open(s.root, Differences<V>{s.ring, root.length, 0});
  }

  template <class V, class X>
  WQ_HD void tend(State<V>& s, X x, std::int64_t bar) const {
    whole.tend(s.whole, x, bar);
    half.tend(s.half, x, bar);
    root.tend(s.root, Differences<V>{s.ring, root.length, s.next}, bar);
  }

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    const V d = difference(s, x);
    root.step(s.root, d, s.ring[s.next]);
    s.ring[s.next] = d;
    s.next = s.next + 1 == root.length ? 0 : s.next + 1;
    return root.wma(s.root);
  }

  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.root.weighted + s.root.plain;
  }

 private:
  /// The ring, newest value first.
  template <class V>
  struct Differences {
    const V* ring;
    std::int64_t size, next;
    WQ_HD V operator[](std::int64_t k) const { return ring[next - 1 - k < 0 ? next - 1 - k + size : next - 1 - k]; }
  };

  template <class V, class X>
  WQ_HD V difference(State<V>& s, X x) const {
    whole.step(s.whole, x[0], x[whole.length]);
    half.step(s.half, x[0], x[half.length]);
    const V fast = half.wma(s.half);
    return (fast + fast) - whole.wma(s.whole);
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
