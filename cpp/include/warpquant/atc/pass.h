// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/engines.h"
#include "warpquant/atc/ledger.h"
#include "warpquant/core/values.h"

/// Layer 1: averages, crosses and equities of three lengths through (part of) a tile.
namespace wq::atc::inline WQ_LEVEL {

/// Signals since the last bar whose number is a multiple of `kWordBars`.
template <class Shape>
struct Marks {
  typename Shape::Bits is_long[kFamilies][Shape::kBlocks][Shape::kBlock];
  typename Shape::Bits has_signal[kFamilies][Shape::kBlocks][Shape::kBlock];
};

template <class Shape>
struct Layer1 {
  using V = typename Shape::V;
  using M = typename Shape::M;
  [[no_unique_address]] std::conditional_t<Shape::kSignalsOnly, Marks<Shape>, Nothing> marks;
  V equity[kFamilies][Shape::kBlocks][Shape::kBlock];
  Cross<M> cross[kFamilies][Shape::kBlocks][Shape::kBlock];
  bool settled[kFamilies][Shape::kBlocks][Shape::kBlock];
  bool all_settled[kFamilies];  // at the start of the tile; `active` then equals `all` and is not written
  typename Shape::Real (
      *detail[kDetails][kFamilies][Shape::kBlocks][Shape::kBlock])[Shape::kWidth];  // tile rows, null if not wanted
};

/// An engine with the state of its nine lengths.
template <class Engine_, class Shape>
struct Bank {
  using Engine = Engine_;
  std::int64_t seeded;  // first bar from which `step` alone will do
  typename Engine::Constants constants[Shape::kBlocks][Shape::kBlock];
  typename Engine::State state[Shape::kBlocks][Shape::kBlock];
  typename Engine::Seed seed[Shape::kBlocks][Shape::kBlock];
};

/// How much a pass has to look after. Bits are the same in all three.
enum class Mode {
  first_bars,  // averages may be unknown, running sums in need of care
  unsettled,   // signals may still be 0, or those of other blocks of the family
  settled,     // every signal of the family is long or short for good
};

/// What a pass of less than `kWordBars` bars notes of its signals, if it is for a sweep.
template <bool kSignalsOnly, Mode mode, int K, class Engine, class Shape>
struct Notes {
  WQ_HD Notes(const Work<Shape>&, Layer1<Shape>&, int, int, int, int) {}
  WQ_HD void note(int, int, typename Shape::M, typename Shape::M) {}
  WQ_HD void next() {}
  WQ_HD void keep(Layer1<Shape>&, int, int) const {}
};
template <Mode mode, int K, class Engine, class Shape>
struct Notes<true, mode, K, Engine, Shape> {
  using Bits = typename Shape::Bits;
  Bits is_long[Engine::kCount][K], has_signal[Engine::kCount][K], mark;

  WQ_HD Notes(const Work<Shape>& work, Layer1<Shape>& layer, int b, int k0, int begin, int end)
      : mark(std::uint64_t{1} << ((work.bar + begin) % kWordBars)) {
    const Bits every(((std::uint64_t{1} << (end - begin)) - 1) << ((work.bar + begin) % kWordBars));
    each([&](int f, int k, Family family) {
      is_long[f][k] = layer.marks.is_long[family][b][k0 + k];
      has_signal[f][k] = layer.marks.has_signal[family][b][k0 + k];
      if constexpr (mode == Mode::settled)
        has_signal[f][k] = add_mark(has_signal[f][k], negate(typename Shape::M{}), every);
    });
  }
  WQ_HD void note(int f, int k, typename Shape::M long_now, typename Shape::M signal_now) {
    is_long[f][k] = add_mark(is_long[f][k], long_now, mark);
    if constexpr (mode != Mode::settled) has_signal[f][k] = add_mark(has_signal[f][k], signal_now, mark);
  }
  WQ_HD void next() { mark = next_mark(mark); }
  WQ_HD void keep(Layer1<Shape>& layer, int b, int k0) const {
    each([&](int f, int k, Family family) {
      layer.marks.is_long[family][b][k0 + k] = is_long[f][k];
      layer.marks.has_signal[family][b][k0 + k] = has_signal[f][k];
    });
  }
  template <class F>
  WQ_HD static void each(F f) {
    WQ_UNROLL(3)
    for (int k = 0; k < K; ++k) {
      WQ_UNROLL(3)
      for (int m = 0; m < Engine::kCount; ++m) f(m, k, Engine::family(m));
    }
  }
};

/// Lengths [k0, k0 + K) of block `b` through bars [begin, end) of the tile.
template <Mode mode, int K, class Engine, class Shape>
WQ_HD_NOINLINE void run_pass(Bank<Engine, Shape>& bank, const Work<Shape>& work, Layer1<Shape>& layer, int b, int k0,
                             int begin, int end) {
  using V = typename Shape::V;
  using M = typename Shape::M;
  constexpr int F = Engine::kCount;
  typename Engine::Constants constants[K];
  typename Engine::State state[K];
  V equity[F][K];
  M is_long[F][K];
  bool settled[F][K];
  WQ_UNROLL(3)
  for (int k = 0; k < K; ++k) {
    constants[k] = bank.constants[b][k0 + k];
    state[k] = bank.state[b][k0 + k];
    WQ_UNROLL(3)
    for (int f = 0; f < F; ++f) {
      equity[f][k] = layer.equity[Engine::family(f)][b][k0 + k];
      is_long[f][k] = layer.cross[Engine::family(f)][b][k0 + k].is_long;
      settled[f][k] = layer.settled[Engine::family(f)][b][k0 + k];
    }
  }
  Tile<Shape>& tile = *work.tile;
  const V floor(kFloor);
  const M every = negate(M{});
  constexpr bool kEquities = !Shape::kSignalsOnly;
  Notes<Shape::kSignalsOnly, mode, K, Engine, Shape> notes(work, layer, b, k0, begin, end);

  for (int i = begin; i < end; ++i) {
    const V if_long = V::load(tile.if_long[i]), if_short = V::load(tile.if_short[i]);
    const V lower = V::load(tile.lower[Engine::kScale - 1][i]), upper = V::load(tile.upper[Engine::kScale - 1][i]);
    V all[F], longs[F], active[F];
    WQ_UNROLL(3)
    for (int k = 0; k < K; ++k) {
      V average[F];
      M known[F];
      if constexpr (mode == Mode::first_bars)
        Engine::first_bars(work, i, constants[k], state[k], bank.seed[b][k0 + k], average, known);
      else
        Engine::step(work, i, constants[k], state[k], average);
      WQ_UNROLL(3)
      for (int f = 0; f < F; ++f) {
        V& e = equity[f][k];
        M has_signal;
        if (mode == Mode::settled || (mode == Mode::unsettled && settled[f][k])) {
          if constexpr (kEquities) e = equity::compound(e, select(is_long[f][k], if_long, if_short), floor);
          is_long[f][k] = lt(average[f], select(is_long[f][k], upper, lower));
          has_signal = every;
        } else {
          Cross<M>& cross = layer.cross[Engine::family(f)][b][k0 + k];
          if constexpr (kEquities)
            e = equity::compound(e, select(cross.is_long, if_long, select(cross.is_short, if_short, tile.flat(i))),
                                 floor);
          const M above = lt(average[f], lower), below = ge(average[f], upper);
          if constexpr (mode == Mode::unsettled) {
            cross.step(above, below);
          } else {
            // A missing close has NaN for its band. Before an average is first known there is nothing to do.
            const M seen = but_not(known[f], is_nan(lower));
            if (work.gaps || any(seen)) cross.step(above, below, seen);
          }
          is_long[f][k] = cross.is_long;
          has_signal = either(cross.is_long, cross.is_short);
        }
        if constexpr (mode == Mode::first_bars) {
          if (layer.detail[0][Engine::family(f)][b][k0 + k] != nullptr) {
            const auto row = [&](Detail d) { return layer.detail[d][Engine::family(f)][b][k0 + k][i]; };
            const V one(1.0), zero(0.0);
            select(known[f], average[f] / V(Engine::kScale), V(__builtin_nan(""))).store(row(kDetailAverage));
            select(is_long[f][k], one, select(has_signal, zero - one, zero)).store(row(kDetailSignal));
            e.store(row(kDetailEquity));
          }
        }
        notes.note(f, k, is_long[f][k], has_signal);
        if constexpr (kEquities) {
          all[f] = k == 0 ? e : all[f] + e;
          longs[f] = k == 0 ? keep_if(is_long[f][k], e) : add_if(is_long[f][k], longs[f], e);
          if constexpr (mode != Mode::settled)
            active[f] = k == 0 ? keep_if(has_signal, e) : add_if(has_signal, active[f], e);
        }
      }
    }
    notes.next();
    if constexpr (!kEquities) continue;
    const auto accumulate = [&](typename Shape::Real* row, V value) { Shape::add_sum(row, value, b, k0); };
    WQ_UNROLL(3)
    for (int f = 0; f < F; ++f) {
      accumulate(tile.all[Engine::family(f)][i], all[f]);
      accumulate(tile.longs[Engine::family(f)][i], longs[f]);
      if constexpr (mode != Mode::settled) accumulate(tile.active[Engine::family(f)][i], active[f]);
    }
  }

  notes.keep(layer, b, k0);
  WQ_UNROLL(3)
  for (int k = 0; k < K; ++k) {
    bank.state[b][k0 + k] = state[k];
    WQ_UNROLL(3)
    for (int f = 0; f < F; ++f) {
      Cross<M>& cross = layer.cross[Engine::family(f)][b][k0 + k];
      layer.equity[Engine::family(f)][b][k0 + k] = equity[f][k];
      if (mode == Mode::settled || (mode == Mode::unsettled && settled[f][k])) {
        cross.is_long = is_long[f][k];
        cross.is_short = negate(is_long[f][k]);
      }
    }
  }
}

/// The banks of different engines behind one face. A call covers a whole tile, so the indirection costs nothing.
template <class Shape>
struct AnyBank {
  using M = typename Shape::M;
  void* self;
  /// All blocks through bars [begin, end) of the tile.
  void (*run)(void* self, const Work<Shape>&, Layer1<Shape>&, int begin, int end);
  /// Recompute what slides, in some lanes, from the windows that end at bar `i`.
  void (*rebuild)(void* self, const Work<Shape>&, int i, M lanes);
  void (*shift)(void* self, const Work<Shape>&);
  /// Hand the ledger of a stream what the averages remember.
  void (*keep)(void* self, const Work<Shape>&, Ledger<Shape>&);

  template <class Engine>
  WQ_HD_CALL static AnyBank make(Bank<Engine, Shape>* bank) {
    AnyBank any{bank, run_bank<Engine>, rebuild_bank<Engine>, shift_bank<Engine>, nullptr};
    if constexpr (Shape::kStream) any.keep = keep_bank<Engine>;
    return any;
  }

 private:
  template <class Engine>
  WQ_HD_CALL static void run_bank(void* self, const Work<Shape>& work, Layer1<Shape>& layer, int begin, int end) {
    auto& bank = *static_cast<Bank<Engine, Shape>*>(self);
    constexpr int K = Engine::kTogether;
    const auto all_blocks = [&](auto pass, int from, int to) {
      for (int b = 0; from < to && b < Shape::kBlocks; ++b)
        for (int k = 0; k < Shape::kBlock; k += K) pass(bank, work, layer, b, k, from, to);
    };
    if (!work.regular || work.exact) return all_blocks(run_pass<Mode::first_bars, K, Engine, Shape>, begin, end);
    const int seeded = static_cast<int>(clamp(bank.seeded - work.bar, begin, end));
    all_blocks(run_pass<Mode::first_bars, K, Engine, Shape>, begin, seeded);
    bool settled = true;
    for (int f = 0; f < Engine::kCount; ++f) settled &= layer.all_settled[Engine::family(f)];
    if constexpr (Shape::kStream)  // one bar is no time to look whether signals have settled
      all_blocks(run_pass<Mode::unsettled, K, Engine, Shape>, seeded, end);
    else
      all_blocks(settled ? run_pass<Mode::settled, K, Engine, Shape> : run_pass<Mode::unsettled, K, Engine, Shape>,
                 seeded, end);
  }
  template <class Engine>
  WQ_HD_CALL static void rebuild_bank(void* self, const Work<Shape>& work, int i, M lanes) {
    auto& bank = *static_cast<Bank<Engine, Shape>*>(self);
    for (int b = 0; b < Shape::kBlocks; ++b)
      for (int k = 0; k < Shape::kBlock; ++k)
        Engine::rebuild(work, i, bank.constants[b][k], bank.state[b][k], bank.seed[b][k], lanes);
  }
  template <class Engine>
  WQ_HD_CALL static void keep_bank(void* self, const Work<Shape>& work, Ledger<Shape>& ledger) {
    auto& bank = *static_cast<Bank<Engine, Shape>*>(self);
    for (int b = 0; b < Shape::kBlocks; ++b)
      for (int k = 0; k < Shape::kBlock; ++k)
        Engine::keep(work, bank.constants[b][k], bank.state[b][k], bank.seed[b][k], ledger);
  }
  template <class Engine>
  WQ_HD_CALL static void shift_bank(void* self, const Work<Shape>& work) {
    for (const auto& block : static_cast<Bank<Engine, Shape>*>(self)->constants)
      for (const auto& constants : block) Engine::shift(work, constants);
  }
};

}  // namespace wq::atc::inline WQ_LEVEL
