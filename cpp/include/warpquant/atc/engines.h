// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/atc/averages.h"
#include "warpquant/atc/work.h"

/// The averages of ATC for one length per lane. An engine owns what its families share (with equal lengths SMA, WMA
/// and LSMA are one engine, EMA and DEMA another): per length a few `Constants`, a `State` that a pass keeps in
/// registers, and, where a seed needs more, a `Seed` that stays in memory.
///
/// `step` is the bare recurrence. `first_bars` also knows seeds, warm-up, missing bars and lost digits; on bars
/// without any of these it makes the same values.
namespace wq::atc::inline WQ_LEVEL {

/// A function, because devices do not see arrays of a class.
template <Family... kMembers>
WQ_HD constexpr Family nth_of(int member) {
  const Family members[] = {kMembers...};
  return members[member];
}

/// An average of one bar is that bar, free of the rounding of the sums.
template <class V>
WQ_HD V itself_if_one(V length, V x, V average) {
  return select(eq(length, V(1.0)), x, average);
}

/// SMA, WMA, LSMA and, with `kHull`, the Hull average in the place of the SMA.
template <class Shape, bool kHull, Family... kMembers>
struct WindowEngine {
  using V = typename Shape::V;
  using M = typename Shape::M;
  static constexpr int W = Shape::kWidth, kCount = sizeof...(kMembers), kStep = Work<Shape>::kPastStep;
  WQ_HD static constexpr Family family(int member) { return nth_of<kMembers...>(member); }
  static constexpr int kScale = 1;  // how much `step` magnifies an average
  static constexpr int kTogether = kHull && Shape::kOneSymbol ? 1 : Shape::kTogether;  // lengths per pass
  /// Multiples in which weighted means are carried: LSMA = 3*WMA - 2*SMA and the input of the last Hull pass,
  /// 2*WMA_half - WMA, are then one or two operations.
  static constexpr double kWhole = 3, kHalf = 6;
  using Real = typename Shape::Real;
  struct Row {
    Real v[W];
  };

  struct HullConstants {
    Lag<Shape> half_lag, root_lag;
    V half_one_over, half_pace, root_one_over, root_two_over;
    Row* raw;  // rows of 2 * WMA_half - WMA, the input of the last Hull pass
  };
  struct HullState {
    WindowMeans<V> half;
    ShortMeans<V> root;
  };
  struct Constants {
    Lag<Shape> lag;
    V one_over, pace;
    [[no_unique_address]] std::conditional_t<kHull, HullConstants, Nothing> hull;
  };
  struct State {
    WindowMeans<V> means;
    [[no_unique_address]] std::conditional_t<kHull, HullState, Nothing> hull;
  };
  struct Seed {
    V length, half, root, hull_known;
  };

  WQ_HD static void step(const Work<Shape>& work, int i, const Constants& c, State& s, V (&average)[kCount]) {
    const Real* sums = work.past[i].sum;
    const V x = V::load(work.past[i].x), sum = V::load(sums);
    s.means.step(x, sum - c.lag.template before<kStep>(sums), c.pace, c.one_over);
    if constexpr (kHull) {
      s.hull.half.step(x, sum - c.hull.half_lag.template before<kStep>(sums), c.hull.half_pace, c.hull.half_one_over);
      Real* raw = c.hull.raw[work.row + i].v;
      const V difference = hull_input(s);
      difference.store(raw);
      s.hull.root.step(difference, c.hull.root_lag.template before<W>(raw), c.hull.root_two_over, c.hull.root_one_over);
    }
    averages(s, average);
  }

  WQ_HD static V hull_input(const State& s) {
    return (s.hull.half.wma_multiple - s.means.wma_multiple) * V(1 / kWhole);
  }

  WQ_HD static void averages(const State& s, V (&average)[kCount]) {
    WQ_UNROLL(3)
    for (int f = 0; f < kCount; ++f) {
      if (family(f) == kWma) average[f] = s.means.wma_multiple * V(1 / kWhole);
      if (family(f) == kLsma) average[f] = s.means.wma_multiple - (s.means.sma + s.means.sma);
      if constexpr (kHull) {
        if (family(f) == kHma) average[f] = s.hull.root.wma;
      } else {
        if (family(f) == kHma) average[f] = s.means.sma;
      }
    }
  }

  WQ_HD static void first_bars(const Work<Shape>& work, int i, const Constants& c, State& s, Seed& seed,
                               V (&average)[kCount], M (&known)[kCount]) {
    // Windows reach back into rows of zeros before the first bar, so sliding is right from the start.
    step(work, i, c, s, average);
    if (work.exact) {
      rebuild(work, i, c, s, seed, work.rough[i]);
      averages(s, average);
    }
    const V run = work.run_at(i), x = V::load(work.past[i].x), length = seed.length;
    WQ_UNROLL(3)
    for (int f = 0; f < kCount; ++f) {
      known[f] = ge(run, kHull && family(f) == kHma ? seed.hull_known : length);
      if (family(f) == kLsma && work.lsma_previous) {
        // One bar before the end of the fitted line: SMA + 3 (L-3)/(L-1) (WMA - SMA).
        const V sma = s.means.sma, wma = s.means.wma_multiple * V(1 / kWhole), one(1.0), three(3.0);
        const V lead = div_if(gt(length, one), three * (length - three), length - one);
        average[f] = sma + lead * (wma - sma);
      }
      average[f] = itself_if_one(length, x, average[f]);
    }
  }

  /// Recompute the sliding state of some lanes from the windows that end at bar `i` of the tile.
  WQ_HD_CALL static void rebuild(const Work<Shape>& work, int i, const Constants& c, State& s, const Seed& seed,
                                 M lanes) {
    refresh(work, i, c.lag, seed.length, c.one_over, kWhole, s.means, lanes);
    if constexpr (kHull) {
      refresh(work, i, c.hull.half_lag, seed.half, c.hull.half_one_over, kHalf, s.hull.half, lanes);
      Real* raw = c.hull.raw[work.row + i].v;
      select(lanes, hull_input(s), V::load(raw)).store(raw);
      V sum, weighted;
      window<W>(raw, c.hull.root_lag, seed.root, sum, weighted);
      s.hull.root.sma = select(lanes, sum * c.hull.root_one_over, s.hull.root.sma);
      s.hull.root.wma = select(lanes, weighted * c.hull.root_one_over * c.hull.root_two_over, s.hull.root.wma);
    }
  }

  WQ_HD_CALL static void refresh(const Work<Shape>& work, int i, const Lag<Shape>& lag, V length, V one_over,
                                 double multiple, WindowMeans<V>& means, M lanes) {
    V sum, weighted;
    window<kStep>(work.past[i].x, lag, length, sum, weighted);
    means.sma = select(lanes, sum * one_over, means.sma);
    const V scale = V(2 * multiple) / (length * (length + V(1.0)));
    means.wma_multiple = select(lanes, weighted * scale, means.wma_multiple);
  }

  /// Plain and linearly weighted sum of the `length` rows that end at `column`, newest first.
  template <int kRowStep>
  WQ_HD static void window(const Real* column, const Lag<Shape>& lag, V length, V& sum, V& weighted) {
    sum = weighted = V(0.0);
    for (std::int64_t m = 0; m < lag.longest(); ++m) {
      const V weight = max(length - V(static_cast<double>(m)), V(0.0)), x = V::load(column - m * kRowStep);
      const M inside = gt(weight, V(0.0));
      sum = add_if(inside, sum, x);
      weighted = add_if(inside, weighted, weight * x);
    }
  }

  WQ_HD_CALL static void start(const Work<Shape>& work, const std::int64_t (&lengths)[kLengths], int b, int k,
                               Constants& c, State&, Seed& seed, std::byte*& scratch) {
    const auto each = [&](auto f) { return Shape::per_length(lengths, b, k, f); };
    const auto whole = [](double n) { return n; };
    const auto half = [](double n) { return n < 2 ? 1.0 : __builtin_floor(n / 2); };
    const auto root = [](double n) { return __builtin_floor(__builtin_sqrt(n)); };
    c.lag.set(lengths, b, k, work.most_lag, whole);
    c.one_over = each([](double n) { return 1 / n; });
    c.pace = each([](double n) { return kWhole * 2 / (n + 1); });
    seed.length = each(whole);
    if constexpr (kHull) {
      c.hull.half_lag.set(lengths, b, k, work.most_lag, half);
      c.hull.root_lag.set(lengths, b, k, work.most_lag, root);
      c.hull.half_one_over = each([&](double n) { return 1 / half(n); });
      c.hull.half_pace = each([&](double n) { return kHalf * 2 / (half(n) + 1); });
      c.hull.root_one_over = each([&](double n) { return 1 / root(n); });
      c.hull.root_two_over = each([&](double n) { return 2 / (root(n) + 1); });
      c.hull.raw = work.template history_rows<Row, true>(work.raw_history, scratch);
      seed.half = each(half);
      seed.root = each(root);
      seed.hull_known = each([&](double n) { return n + root(n) - 1; });
    }
  }

  WQ_HD_CALL static std::int64_t seeded(const Work<Shape>&, std::int64_t longest) {
    return kHull ? longest + static_cast<std::int64_t>(__builtin_sqrt(static_cast<double>(longest))) : longest;
  }
  WQ_HD_CALL static void keep(const Work<Shape>& work, const Constants& c, State& s, Seed&, Ledger<Shape>& ledger) {
    ledger.values(s);
    if constexpr (kHull) ledger.ring(c.hull.raw[work.row].v, c.hull.root_lag.longest());
  }
  WQ_HD_CALL static void shift(const Work<Shape>& work, const Constants& c) {
    if constexpr (kHull) work.template shift_rows<true>(work.raw_history, c.hull.raw);
  }
};

/// EMA and DEMA.
template <class Shape, Family... kMembers>
struct SmoothingEngine {
  using V = typename Shape::V;
  using M = typename Shape::M;
  static constexpr int kCount = sizeof...(kMembers);
  WQ_HD static constexpr Family family(int member) { return nth_of<kMembers...>(member); }
  static constexpr bool kDouble = ((kMembers == kDema) || ...);
  static constexpr int kScale = 2, kTogether = Shape::kTogether;

  struct Constants {
    V alpha, one_minus_alpha;
  };
  struct State {
    V twice_ema;
    SecondSmoothing<V> second;
  };
  struct Seed {
    V length;
    V sum, bars;                // of what is present among the first `length` bars
    V second_sum, second_bars;  // of the EMA
    V age;                      // weight that a run of missing bars has left to the state
  };

  WQ_HD static void step(const Work<Shape>& work, int i, const Constants& c, State& s, V (&average)[kCount]) {
    s.twice_ema = smooth(s.twice_ema, c.alpha, V::load(work.tile->twice_x[i]));
    V dema(0.0);
    if constexpr (kDouble) dema = s.second.step(s.twice_ema, c.alpha, c.one_minus_alpha);
    WQ_UNROLL(3)
    for (int f = 0; f < kCount; ++f) average[f] = family(f) == kDema ? dema : s.twice_ema;
  }

  WQ_HD static void first_bars(const Work<Shape>& work, int i, const Constants& c, State& s, Seed& seed,
                               V (&average)[kCount], M (&known)[kCount]) {
    const V one(1.0), nan(__builtin_nan("")), bar = work.bar_at(i);
    const V twice_x = V::load(work.tile->twice_x[i]), seed_bar = seed.length - one;
    const M here = gt(work.run_at(i), V(0.0)), seeding = le(bar, seed_bar);

    V next = smooth(s.twice_ema, c.alpha, twice_x);
    if (work.gaps) {
      // A missing bar repeats the state and ages it; an unknown state starts with the first value that comes.
      const V aged = seed.age * c.one_minus_alpha;
      const V late = (aged * s.twice_ema + c.alpha * twice_x) / (aged + c.alpha);
      next = select(eq(aged, c.one_minus_alpha), next, late);
      next = select(is_nan(s.twice_ema), twice_x, next);
      next = select(here, next, s.twice_ema);
      seed.age = select(either(either(here, seeding), is_nan(s.twice_ema)), one, aged);
    }
    if (any(seeding)) {
      // Seed: the mean of what is present among the first bars.
      seed.sum = add_if(both(here, seeding), seed.sum, twice_x);
      seed.bars = add_if(both(here, seeding), seed.bars, one);
      next = select(seeding, nan, next);
      if (any(eq(bar, seed_bar))) {
        const V mean = select(gt(seed.bars, V(0.0)), seed.sum / seed.bars, nan);
        next = select(eq(bar, seed_bar), mean, next);
      }
    }
    s.twice_ema = next;

    V dema = next;
    if constexpr (kDouble) {
      dema = s.second.step(next, c.alpha, c.one_minus_alpha);
      const V needed = work.dema_seed_is_mean ? seed.length : one;
      const M second_seeding = lt(seed.second_bars, needed);
      if (any(second_seeding)) {
        const M counts = both(second_seeding, negate(is_nan(next)));
        seed.second_sum = add_if(counts, seed.second_sum, next);
        seed.second_bars = add_if(counts, seed.second_bars, one);
        const M starting = both(counts, ge(seed.second_bars, needed));
        const V start = work.dema_seed_is_mean ? seed.second_sum / seed.length : next;
        s.second.twice_e2 = select(starting, start, select(second_seeding, nan, s.second.twice_e2));
        dema = select(starting, next + (next - start), select(second_seeding, nan, dema));
      }
    }
    WQ_UNROLL(3)
    for (int f = 0; f < kCount; ++f) {
      average[f] = family(f) == kDema ? dema : next;
      known[f] = negate(is_nan(average[f]));
      average[f] = itself_if_one(seed.length, twice_x, average[f]);
    }
  }

  WQ_HD_CALL static void start(const Work<Shape>&, const std::int64_t (&lengths)[kLengths], int b, int k, Constants& c,
                               State&, Seed& seed, std::byte*&) {
    const auto each = [&](auto f) { return Shape::per_length(lengths, b, k, f); };
    c.alpha = each([](double n) { return 2 / (n + 1); });
    c.one_minus_alpha = each([](double n) { return 1 - 2 / (n + 1); });
    seed.length = each([](double n) { return n; });
    seed.age = V(1.0);
  }
  /// Until an average starts, its place is its seed's, whose other numbers follow from that of the bar.
  WQ_HD_CALL static void keep(const Work<Shape>& work, const Constants&, State& s, Seed& seed, Ledger<Shape>& ledger) {
    using Act = typename Ledger<Shape>::Act;
    const V zero(0.0), one(1.0), bar = work.lane_bar;
    const V second = work.dema_seed_is_mean ? seed.length : one;
    if (ledger.act() == Act::store) {
      s.twice_ema = select(lt(bar, seed.length - one), seed.sum, s.twice_ema);
      s.second.twice_e2 = select(lt(seed.second_bars, second), seed.second_sum, s.second.twice_e2);
    }
    ledger.value(s.twice_ema);
    if constexpr (kDouble) ledger.value(s.second.twice_e2);
    if (ledger.act() == Act::load) {
      seed.sum = s.twice_ema;
      seed.bars = min(bar, seed.length);
      seed.second_sum = s.second.twice_e2;
      seed.second_bars = min(max(bar - (seed.length - one), zero), second);
    }
  }
  WQ_HD_CALL static std::int64_t seeded(const Work<Shape>& work, std::int64_t longest) {
    return kDouble && work.dema_seed_is_mean ? 2 * longest : longest;
  }
  WQ_HD_CALL static void rebuild(const Work<Shape>&, int, const Constants&, State&, const Seed&, M) {}
  WQ_HD_CALL static void shift(const Work<Shape>&, const Constants&) {}
};

/// KAMA.
template <class Shape>
struct KamaEngine {
  using V = typename Shape::V;
  using M = typename Shape::M;
  static constexpr int kCount = 1, kStep = Work<Shape>::kPastStep;
  WQ_HD static constexpr Family family(int) { return kKama; }
  static constexpr int kScale = 1, kTogether = Shape::kTogether;

  struct Constants {
    Lag<Shape> lag;
    V quiet;
  };
  struct State {
    V kama;
  };
  struct Seed {
    V length;
  };

  WQ_HD static V noise(const Work<Shape>& work, int i, const Constants& c) {
    return V::load(work.past[i].noise) - c.lag.template before<kStep>(work.past[i].noise);
  }
  WQ_HD static V rate(const Work<Shape>& work, int i, const Constants& c, V noise) {
    const auto* x = work.past[i].x;
    return kama_rate(V::load(x) - c.lag.template before<kStep>(x), noise, c.quiet);
  }

  WQ_HD static void step(const Work<Shape>& work, int i, const Constants& c, State& s, V (&average)[1]) {
    s.kama = smooth(s.kama, rate(work, i, c, noise(work, i, c)), V::load(work.past[i].x));
    average[0] = s.kama;
  }

  WQ_HD static void first_bars(const Work<Shape>& work, int i, const Constants& c, State& s, Seed& seed,
                               V (&average)[1], M (&known)[1]) {
    const V nan(__builtin_nan("")), bar = work.bar_at(i), run = work.run_at(i);
    const M here = gt(run, V(0.0)), early = lt(bar, seed.length), whole = gt(run, seed.length);
    const V x = select(here, V::load(work.past[i].x), nan);
    const V regular = rate(work, i, c, work.exact ? exact_noise(work, i, c, seed) : noise(work, i, c));
    if (work.kama_seed_is_zero) {
      // Without a whole window the efficiency counts as 0; only after the first bars can a lost state restart.
      const V pace = select(both(whole, negate(early)), regular, V(kKamaSlow * kKamaSlow));
      s.kama = smooth(select(but_not(is_nan(s.kama), early), x, s.kama), pace, x);
    } else {
      const V next = select(whole, smooth(select(is_nan(s.kama), x, s.kama), regular, x), nan);
      s.kama = select(early, select(eq(bar, V(0.0)), x, s.kama), next);
    }
    average[0] = s.kama;
    known[0] = negate(is_nan(s.kama));
  }

  /// The noise, summed afresh in the lanes whose running sum has lost digits.
  WQ_HD_CALL static V exact_noise(const Work<Shape>& work, int i, const Constants& c, const Seed& seed) {
    V sum(0.0);
    for (std::int64_t m = 0; m < c.lag.longest(); ++m)
      sum = add_if(gt(seed.length, V(static_cast<double>(m))), sum, V::load(work.past[i - m].moves));
    return select(work.rough[i], sum, noise(work, i, c));
  }

  WQ_HD_CALL static void start(const Work<Shape>& work, const std::int64_t (&lengths)[kLengths], int b, int k,
                               Constants& c, State&, Seed& seed, std::byte*&) {
    const auto length = [](double n) { return n; };
    c.lag.set(lengths, b, k, work.most_lag, length);
    c.quiet = V(work.kama_seed_is_zero ? 1e-10 : 0.0);
    seed.length = Shape::per_length(lengths, b, k, length);
  }
  WQ_HD_CALL static void keep(const Work<Shape>&, const Constants&, State& s, Seed&, Ledger<Shape>& ledger) {
    ledger.values(s);
  }
  WQ_HD_CALL static std::int64_t seeded(const Work<Shape>&, std::int64_t longest) { return longest + 1; }
  WQ_HD_CALL static void rebuild(const Work<Shape>&, int, const Constants&, State&, const Seed&, M) {}
  WQ_HD_CALL static void shift(const Work<Shape>&, const Constants&) {}
};

}  // namespace wq::atc::inline WQ_LEVEL
