// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/atc/signals.h"
#include "warpquant/signals/ops.h"

/// Bars of the stages of ATC. `in(k)` is input k of the bar, `in.before(k)` of the bar before, NaN before the first.
namespace wq::signals::inline WQ_LEVEL {

/// A mask of sixteen cases, in the vocabulary of `core/math.h`: what holds if the bar before left this or that state.
struct Cases {
  std::uint16_t bits;

  WQ_HD static Cases of(int bits) { return {static_cast<std::uint16_t>(bits)}; }
  WQ_HD friend Cases both(Cases a, Cases b) { return of(a.bits & b.bits); }
  WQ_HD friend Cases either(Cases a, Cases b) { return of(a.bits | b.bits); }
  WQ_HD friend Cases negate(Cases a) { return of(~a.bits); }
  WQ_HD friend Cases but_not(Cases a, Cases b) { return of(a.bits & ~b.bits); }
};

template <class M>
WQ_HD M in_every_case(bool holds) {
  return holds ? negate(M{}) : M{};
}

/// The latched cross of the close, input 1, against an average, input 0. A missing value leaves it as it is.
struct Crosses {
  double rtol;

  template <class M>
  using State = atc::Cross<M>;
  static constexpr int kStateBits = 4;
  WQ_HD State<bool> start() const { return {false, false, true, true}; }

  template <class M, class In>
  WQ_HD void advance(State<M>& s, const In& in, std::int64_t) const {
    const double average = in(0), close = in(1);
    const atc::Band<double> b = atc::band(close, rtol);
    s.step(in_every_case<M>(average < b.lower), in_every_case<M>(average >= b.upper),
           in_every_case<M>(close * 0.0 == 0.0 && average * 0.0 == 0.0));
  }
  WQ_HD double value(const State<bool>& s) const { return s.is_long - s.is_short; }
};

/// The direction that the average, input 0, latches where it crosses over `upper` or under `lower`.
struct Directions {
  double upper, lower;

  template <class M>
  struct State {
    M is_long, is_short;
  };
  static constexpr int kStateBits = 2;
  WQ_HD State<bool> start() const { return {false, false}; }

  template <class M, class In>
  WQ_HD void advance(State<M>& s, const In& in, std::int64_t) const {
    const M up = in_every_case<M>(atc::crosses_over(in.before(0), in(0), upper));
    const M down = in_every_case<M>(atc::crosses_under(in.before(0), in(0), lower));
    s.is_long = either(up, but_not(s.is_long, down));
    s.is_short = either(down, but_not(s.is_short, up));
  }
  WQ_HD double value(const State<bool>& s) const { return s.is_long - s.is_short; }
};

/// Latches as operations along time whose pieces can be walked side by side (cuda/core/scan.cuh). The state is a few
/// bits, so a piece is followed from all states at once.
template <class Latch>
struct LatchScan {
  Latch latch;

  using State = typename Latch::template State<bool>;
  using Map = typename Latch::template State<Cases>;  // bit s of a mask: what it is for those who come with state s
  WQ_HD State start() const { return latch.start(); }

  template <class In>
  WQ_HD double step(State& s, const In& in, std::int64_t bar) const {
    latch.advance(s, in, bar);
    return latch.value(s);
  }
  WQ_HD Map nothing() const {
    constexpr std::uint16_t kBitOfCase[] = {0xaaaa, 0xcccc, 0xf0f0, 0xff00};
    Map map;
    __builtin_memcpy(&map, kBitOfCase, sizeof map);
    return map;
  }
  template <class In>
  WQ_HD void follow(Map& map, const In& in, std::int64_t bar) const {
    latch.advance(map, in, bar);
  }
  WQ_HD State after(const State& s, const Map& map) const {
    static_assert(sizeof(State) == Latch::kStateBits && sizeof(Map) == Latch::kStateBits * sizeof(Cases));
    bool bits[Latch::kStateBits];
    Cases cases[Latch::kStateBits];
    __builtin_memcpy(bits, &s, sizeof bits);
    __builtin_memcpy(cases, &map, sizeof cases);
    int number = 0;
    for (int b = 0; b < Latch::kStateBits; ++b) number |= bits[b] << b;
    for (int b = 0; b < Latch::kStateBits; ++b) bits[b] = (cases[b].bits >> number & 1) != 0;
    State next;
    __builtin_memcpy(&next, bits, sizeof bits);
    return next;
  }
};

/// Layer 1: the signal of a family from the crosses and the equities of its averages. Sums go over blocks of three,
/// then over the blocks.
struct Family {
  int averages;
  atc::Switches::Rounding rounding;

  template <class V, class In>
  WQ_HD V value(const In& in) const {
    const V zero(0.0);
    V all = zero, longs = zero, active = zero;
    for (int first = 0; first < averages; first += 3) {
      V block_all = zero, block_longs = zero, block_active = zero;
      for (int k = first; k < averages && k < first + 3; ++k) {
        const V signal = in(k), equity = in(averages + k);
        const auto is_long = gt(signal, zero), has_signal = either(is_long, lt(signal, zero));
        block_all = k == first ? equity : block_all + equity;
        block_longs = k == first ? keep_if(is_long, equity) : add_if(is_long, block_longs, equity);
        block_active = k == first ? keep_if(has_signal, equity) : add_if(has_signal, block_active, equity);
      }
      all = first == 0 ? block_all : all + block_all;
      longs = first == 0 ? block_longs : longs + block_longs;
      active = first == 0 ? block_active : active + block_active;
    }
    return atc::round_signal(atc::weighted_signal(longs, active, all), rounding);
  }
};

/// Layer 2: the average vote of the families, weighted by their equities.
struct Average {
  int families;
  double upper, lower, fill;

  template <class V, class In>
  WQ_HD V value(const In& in) const {
    const V zero(0.0);
    const atc::Cuts<V> cuts{zero, zero, V(next_up(upper)), V(-next_up(-lower))};
    V votes = zero, weights = zero;
    for (int f = 0; f < families; ++f) atc::Vote<V>{in(families + f), in(f), zero}.count(cuts, votes, weights);
    const V average = votes / weights;
    return select(eq(average * zero, zero), average, V(fill));
  }
};

/// The sign of the average.
struct Trend {
  template <class V, class In>
  WQ_HD V value(const In& in) const {
    return atc::trend_of(V(in(0)));
  }
};

/// Call `latched` with an operation that looks at one bar after the other, or `by_bar` with one that looks at one bar.
template <class F, class G>
auto with_operation(const Params& p, F latched, G by_bar) {
  switch (p.op) {
  case Op::crosses:
    return latched(Crosses{p.rtol});
  case Op::direction:
    return latched(Directions{p.upper, p.lower});
  case Op::family:
    return by_bar(Family{p.inputs / 2, p.rounding});
  case Op::average:
    return by_bar(Average{p.inputs / 2, p.upper, p.lower, p.fill});
  case Op::trend:
    break;
  }
  return by_bar(Trend{});
}

}  // namespace wq::signals::inline WQ_LEVEL
