// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/pass.h"
#include "warpquant/atc/sweep.h"
#include "warpquant/core/values.h"

/// The second half of a sweep: a batch of sets of parameters through time, sets in the lanes.
namespace wq::atc::sweep::inline WQ_LEVEL {

template <class Shape>
class Tally {
  static constexpr int W = Shape::kWidth, kTile = kWordBars;
  static constexpr std::size_t kAlign = 64;
  using V = typename Shape::V;
  using M = typename Shape::M;
  using Bits = typename Shape::Bits;
  using Rows = double[kTile][W];

  /// Through the bars of a tile.
  struct MarketBars {
    double if_long[kTile], if_short[kTile], if_flat[kTile];
  };
  struct LayerBars {
    double signal[kTile];
  };

  /// `W` layers side by side.
  struct LayerLanes {
    V equity[kLengths];
    M is_long[kLengths], has_signal[kLengths];  // on the bar before
  };

  /// Up to `W` voters side by side, which agree in rounding and in the neutral rule.
  struct VoterLanes {
    Vote<V> vote[kFamilies];
    Cuts<V> cuts;
    V fill, long_threshold, short_threshold, delayed_average, cutout;
    Direction<V> direction;
    M delays;
    int first, count;
  };

 public:
  Tally(const Outputs& outputs, const Batch& batch, const Symbol& symbol, const Sink* sinks, std::byte* scratch)
      : outputs_(outputs), batch_(batch), symbol_(symbol), sinks_(sinks) {
    market_bars_ = take<MarketBars>(batch.markets, scratch);
    layer_bars_ = take<LayerBars>(batch.layers, scratch);
    layer_lanes_ = take<LayerLanes>(groups(batch.layers), scratch);
    voter_lanes_ = take<VoterLanes>(batch.voters, scratch);
    work_ = take<Workplace>(1, scratch);
    for (std::int32_t g = 0; g < groups(batch.layers); ++g) {
      for (V& e : layer_lanes_[g].equity) e = V(1.0);
      for (int k = 0; k < kLengths; ++k) layer_lanes_[g].is_long[k] = layer_lanes_[g].has_signal[k] = M{};
    }
    std::int32_t first = 0;
    while (first < batch.voters) first += start_voters(voter_lanes_[voter_groups_++], first);
    for (int o = 0; o < kOutputs; ++o) wanted_ += outputs.wants[o];
    for (int o = kSignal; o < kOutputs; ++o) wants_layers_ |= outputs.wants[o];
  }

  static std::size_t scratch_bytes(const Batch& batch) {
    return batch.markets * sizeof(MarketBars) + batch.layers * sizeof(LayerBars) +
           groups(batch.layers) * sizeof(LayerLanes) + batch.voters * sizeof(VoterLanes) + sizeof(Workplace) +
           6 * kAlign;
  }

  void run() {
    for (bar_ = 0; bar_ < symbol_.bars; bar_ += kTile) {
      count_ = static_cast<int>(symbol_.bars - bar_ < kTile ? symbol_.bars - bar_ : kTile);
      for (std::int32_t& market : gathered_) market = -1;
      for (std::int32_t m = 0; m < batch_.markets; ++m) open_market(batch_.market[m], market_bars_[m]);
      for (std::int32_t g = 0; g < groups(batch_.layers); ++g) step_layers(g);
      for (int g = 0; g < voter_groups_; ++g) step_voters(voter_lanes_[g]);
    }
  }

 private:
  /// Rows of what is being worked on.
  struct Workplace {
    Rows if_long, if_short, if_flat;
    Rows all, longs, active;
    Rows signal[kFamilies], equity[kFamilies], average, trend, direction;
  };

  static std::int32_t groups(std::int32_t items) { return (items + W - 1) / W; }

  template <class T>
  static T* take(std::size_t count, std::byte*& scratch) {
    auto* p = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + kAlign - 1) / kAlign * kAlign);
    scratch = reinterpret_cast<std::byte*>(p + count);
    return p;
  }

  /// A value of each lane; lanes left over repeat the first.
  template <class F>
  WQ_HD static V of_lanes(int count, F f) {
    V v;
    for (int j = 0; j < W; ++j) v.v[j] = f(j < count ? j : 0);
    return v;
  }

  std::int32_t start_voters(VoterLanes& lanes, std::int32_t first) const {
    const Voter* voters = batch_.voter + first;
    int count = 1;
    while (count < W && first + count < batch_.voters && voters[count].rounding == voters[0].rounding &&
           voters[count].neutral == voters[0].neutral)
      ++count;
    const auto each = [&](auto f) { return of_lanes(count, [&](int j) { return f(voters[j]); }); };
    lanes.first = first;
    lanes.count = count;
    lanes.cuts = {each([](const Voter& v) { return v.cuts.positive; }),
                  each([](const Voter& v) { return v.cuts.negative; }),
                  each([](const Voter& v) { return v.cuts.high; }), each([](const Voter& v) { return v.cuts.low; })};
    lanes.fill = lanes.delayed_average = each([](const Voter& v) { return v.average_fill; });
    lanes.long_threshold = each([](const Voter& v) { return v.long_threshold; });
    lanes.short_threshold = each([](const Voter& v) { return v.short_threshold; });
    lanes.cutout = each([&](const Voter& v) { return static_cast<double>(batch_.market[v.market].cutout); });
    lanes.direction = {V(0.0), V(__builtin_nan(""))};
    lanes.delays = ne(each([](const Voter& v) { return v.strategy_mode ? 1.0 : 0.0; }), V(0.0));
    const V keep = each([&](const Voter& v) { return batch_.market[v.market].keep; });
    for (int f = 0; f < kFamilies; ++f)
      lanes.vote[f] = {each([&](const Voter& v) { return v.weight[f]; }), V(__builtin_nan("")), keep};
    return count;
  }

  // ------------------------------------------------------------------ markets

  WQ_HD_NOINLINE void open_market(const Market& market, MarketBars& bars) const {
    for (int i = 0; i < kTile; i += W) {
      const V r = V::load(symbol_.returns + bar_ + i) * V::load(market.growth + bar_ + i);
      const equity::Exposure<V> e = equity::exposure(r, V(market.keep));
      e.if_long.store(bars.if_long + i);
      e.if_short.store(bars.if_short + i);
      e.if_flat.store(bars.if_flat + i);
    }
    for (int i = 0; i < kTile && bar_ + i <= market.cutout; ++i)
      bars.if_long[i] = bars.if_short[i] = bars.if_flat[i] = 1.0;
  }

  /// The bars of several markets side by side, or of all lanes' one.
  template <bool kOne>
  struct Bars {
    const MarketBars* one;
    const Workplace* work;
    WQ_HD equity::Exposure<V> at(int i) const {
      if constexpr (kOne)
        return {V(one->if_long[i]), V(one->if_short[i]), V(one->if_flat[i])};
      else
        return {V::load(work->if_long[i]), V::load(work->if_short[i]), V::load(work->if_flat[i])};
    }
  };

  /// Call f with the bars of the market of each lane.
  template <class MarketOf, class F>
  void with_markets(int count, MarketOf market_of, F f) {
    bool one = true, same = true;
    for (int j = 0; j < W; ++j) {
      const std::int32_t market = market_of(j < count ? j : 0);
      one &= market == market_of(0);
      same &= market == gathered_[j];
    }
    if (one) return f(Bars<true>{market_bars_ + market_of(0), work_});
    if (!same) {
      const auto gather = [&](double (MarketBars::*bars)[kTile], Rows& rows) {
        side_by_side(count, [&](int j) { return market_bars_[market_of(j)].*bars; }, rows);
      };
      gather(&MarketBars::if_long, work_->if_long);
      gather(&MarketBars::if_short, work_->if_short);
      gather(&MarketBars::if_flat, work_->if_flat);
      for (int j = 0; j < W; ++j) gathered_[j] = market_of(j < count ? j : 0);
    }
    f(Bars<false>{nullptr, work_});
  }

  /// The values of each lane's column as rows; lanes left over repeat the first.
  template <class ColumnOf>
  static void side_by_side(int count, ColumnOf column_of, Rows& rows) {
    const double* columns[W];
    bool one = true;
    for (int j = 0; j < W; ++j) {
      columns[j] = column_of(j < count ? j : 0);
      one &= columns[j] == columns[0];
    }
    if (one) {
      for (int i = 0; i < kTile; ++i) V(columns[0][i]).store(rows[i]);
      return;
    }
    for (int i = 0; i < kTile; i += W) {
      V m[W];
      for (int j = 0; j < W; ++j) m[j] = V::load(columns[j] + i);
      transpose(m);
      for (int j = 0; j < W; ++j) m[j].store(rows[i + j]);
    }
  }

  // ------------------------------------------------------------------ layer 1

  void step_layers(std::int32_t g) {
    const Layer* layers = batch_.layer + g * W;
    const int count = batch_.layers - g * W < W ? batch_.layers - g * W : W;
    LayerLanes& lanes = layer_lanes_[g];
    Bits words[2 * kLengths];
    load_words(layers, count, words);
    const Bits* const is_long = words;
    const Bits* const has_signal = words + kLengths;
    Bits every = has_signal[0];
    M before = lanes.has_signal[0];
    for (int k = 1; k < kLengths; ++k) {
      every = every & has_signal[k];
      before = both(before, lanes.has_signal[k]);
    }
    bool settled = all(before);
    for (int j = 0; j < W; ++j) settled &= every.lane(j) == ~std::uint64_t{0};
    with_markets(
        count, [&](int j) { return layers[j].market; },
        [&]<bool kOne>(const Bars<kOne>& bars) {
          for (int b = 0; b < kLengths; b += kTogether)
            settled ? step_equities<true>(lanes, is_long, has_signal, bars, b)
                    : step_equities<false>(lanes, is_long, has_signal, bars, b);
        });
    for (int i = 0; i < kTile; i += W) {
      V m[W];
      for (int j = 0; j < W; ++j) m[j] = V::load(work_->all[i + j]);
      transpose(m);
      for (int j = 0; j < count; ++j) m[j].store(layer_bars_[g * W + j].signal + i);
    }
  }

  /// The signals of the tile, of each lane: words that it has in a row, side by side.
  void load_words(const Layer* layers, int count, Bits (&words)[2 * kLengths]) const {
    static_assert(sizeof(SignalWords) == sizeof(std::uint64_t[2 * kLengths]));
    const double* of[W];  // as the bits that they are
    for (int j = 0; j < W; ++j)
      of[j] = reinterpret_cast<const double*>(symbol_.signals[layers[j < count ? j : 0].signals] + bar_ / kTile);
    int k = 0;
    for (; k + W <= 2 * kLengths; k += W) {
      V m[W];
      for (int j = 0; j < W; ++j) m[j] = V::load(of[j] + k);
      transpose(m);
      for (int j = 0; j < W; ++j) words[k + j] = Bits::of(m[j]);
    }
    for (; k < 2 * kLengths; ++k) {
      V v;
      for (int j = 0; j < W; ++j) v.v[j] = of[j][k];
      words[k] = Bits::of(v);
    }
  }

  /// Lengths [k0, k0 + kTogether) of the layers in the lanes; sums in the order of `run_pass`. The last of them leave
  /// the weighted signals in the rows of `all`.
  template <bool kSettled, bool kOne>
  WQ_HD_NOINLINE void step_equities(LayerLanes& lanes, const Bits* long_words, const Bits* signal_words,
                                    const Bars<kOne>& bars, int k0) const {
    V equity[kTogether];
    M is_long[kTogether], has_signal[kTogether];
    Bits longs_of[kTogether], signals_of[kTogether];
    WQ_UNROLL(3)
    for (int k = 0; k < kTogether; ++k) {
      equity[k] = lanes.equity[k0 + k];
      is_long[k] = lanes.is_long[k0 + k];
      has_signal[k] = lanes.has_signal[k0 + k];
      longs_of[k] = long_words[k0 + k];
      signals_of[k] = signal_words[k0 + k];
    }
    const V floor(kFloor);
    const bool first = k0 == 0, last = k0 + kTogether == kLengths;
    Bits mark(std::uint64_t{1});
    for (int i = 0; i < kTile; ++i) {
      const equity::Exposure<V> e = bars.at(i);
      V all, longs, active;
      WQ_UNROLL(3)
      for (int k = 0; k < kTogether; ++k) {
        const V idle = kSettled ? e.if_short : select(has_signal[k], e.if_short, e.if_flat);
        equity[k] = equity::compound(equity[k], select(is_long[k], e.if_long, idle), floor);
        is_long[k] = has_mark(longs_of[k], mark);
        all = k == 0 ? equity[k] : all + equity[k];
        longs = k == 0 ? keep_if(is_long[k], equity[k]) : add_if(is_long[k], longs, equity[k]);
        if constexpr (!kSettled) {
          has_signal[k] = has_mark(signals_of[k], mark);
          active = k == 0 ? keep_if(has_signal[k], equity[k]) : add_if(has_signal[k], active, equity[k]);
        }
      }
      mark = next_mark(mark);
      if (!first) {
        all = V::load(work_->all[i]) + all;
        longs = V::load(work_->longs[i]) + longs;
        if constexpr (!kSettled) active = V::load(work_->active[i]) + active;
      }
      if (last) {
        weighted_signal(longs, kSettled ? all : active, all).store(work_->all[i]);
      } else {
        all.store(work_->all[i]);
        longs.store(work_->longs[i]);
        if constexpr (!kSettled) active.store(work_->active[i]);
      }
    }
    WQ_UNROLL(3)
    for (int k = 0; k < kTogether; ++k) {
      lanes.equity[k0 + k] = equity[k];
      lanes.is_long[k0 + k] = is_long[k];
      lanes.has_signal[k0 + k] = has_signal[k];
    }
  }

  // ------------------------------------------------------------------ layer 2 and the outputs

  void step_voters(VoterLanes& lanes) {
    const Voter* voters = batch_.voter + lanes.first;
    for (int f = 0; f < kFamilies; ++f)
      side_by_side(lanes.count, [&](int j) { return layer_bars_[voters[j].layer[f]].signal; }, work_->signal[f]);
    bool starting = false;
    for (int j = 0; j < lanes.count; ++j) starting |= batch_.market[voters[j].market].cutout >= bar_;
    const bool sticky = voters[0].neutral == Switches::Neutral::sticky;
    with_markets(
        lanes.count, [&](int j) { return voters[j].market; },
        [&]<bool kOne>(const Bars<kOne>& bars) {
          const auto run = [&]<bool kSticky, bool kWantsLayers>() {
            starting ? vote<kSticky, kWantsLayers, true>(lanes, bars) : vote<kSticky, kWantsLayers, false>(lanes, bars);
          };
          const auto layers = [&]<bool kSticky>() {
            wants_layers_ ? run.template operator()<kSticky, true>() : run.template operator()<kSticky, false>();
          };
          sticky ? layers.template operator()<true>() : layers.template operator()<false>();
        });
    classify(lanes);
    write(lanes);
  }

  template <bool kSticky, bool kWantsLayers, bool kStarting, bool kOne>
  WQ_HD_NOINLINE void vote(VoterLanes& lanes, const Bars<kOne>& bars) {
    const V zero(0.0), one(1.0), nan(__builtin_nan(""));
    const Switches::Rounding rounding = batch_.voter[lanes.first].rounding;
    const Cuts<V> cuts = lanes.cuts;
    Vote<V> vote[kFamilies];
    WQ_UNROLL(6)
    for (int f = 0; f < kFamilies; ++f) vote[f] = lanes.vote[f];
    for (int i = 0; i < kTile; ++i) {
      const equity::Exposure<V> exposure = bars.at(i);
      const V bar(static_cast<double>(bar_ + i));
      const M silent = lt(bar, lanes.cutout), first = eq(bar, lanes.cutout);
      V votes = zero, weights = zero;
      WQ_UNROLL(6)
      for (int f = 0; f < kFamilies; ++f) {
        const Vote<V> before = vote[f];
        const V signal = V::load(work_->signal[f][i]);
        V multiplier = vote[f].multiplier(exposure, cuts, kSticky);
        if constexpr (kStarting) multiplier = select(first, one, multiplier);
        vote[f].step(multiplier, signal);
        vote[f].count(cuts, votes, weights);
        V shown_signal = signal, shown_equity = vote[f].equity;
        if constexpr (kStarting) {
          shown_signal = select(silent, nan, shown_signal);
          shown_equity = select(silent, nan, shown_equity);
          vote[f] = {select(silent, before.equity, vote[f].equity), select(silent, before.signal, vote[f].signal),
                     select(silent, before.held, vote[f].held)};
        }
        if constexpr (kWantsLayers) {
          round_signal(shown_signal, rounding).store(work_->signal[f][i]);
          shown_equity.store(work_->equity[f][i]);
        }
      }
      V average = votes / weights;
      average = select(eq(average * zero, zero), average, lanes.fill);
      if constexpr (kStarting) average = select(silent, lanes.fill, average);
      average.store(work_->average[i]);
    }
    WQ_UNROLL(6)
    for (int f = 0; f < kFamilies; ++f) lanes.vote[f] = vote[f];
  }

  WQ_HD_NOINLINE void classify(VoterLanes& lanes) {
    const bool classes = outputs_.wants[kTrend] || outputs_.wants[kDirection];
    if (!any(lanes.delays) && !classes) return;
    Direction<V> direction = lanes.direction;
    V delayed = lanes.delayed_average;
    for (int i = 0; i < count_; ++i) {
      V average = V::load(work_->average[i]);
      const V shown = select(lanes.delays, delayed, average);
      delayed = average;
      shown.store(work_->average[i]);
      trend_of(shown).store(work_->trend[i]);
      direction.step(shown, lanes.long_threshold, lanes.short_threshold).store(work_->direction[i]);
    }
    lanes.direction = direction;
    lanes.delayed_average = delayed;
  }

  void write(const VoterLanes& lanes) {
    int wanted = 0;
    for (int o = 0; o < kOutputs; ++o) {
      if (!outputs_.wants[o]) continue;
      const double* rows = rows_of(o);
      Sink sinks[W];
      for (int j = 0; j < W; ++j)
        sinks[j] = sinks_[static_cast<std::int64_t>(lanes.first + (j < lanes.count ? j : 0)) * wanted_ + wanted];
      if (is_class(o))
        write<std::int8_t>(sinks, lanes.count, rows);
      else if (outputs_.type == DType::f32)
        write<float>(sinks, lanes.count, rows);
      else
        write<double>(sinks, lanes.count, rows);
      ++wanted;
    }
  }

  const double* rows_of(int output) const {
    if (output == kAverage) return work_->average[0];
    if (output == kTrend) return work_->trend[0];
    if (output == kDirection) return work_->direction[0];
    return output < kEquity ? work_->signal[output - kSignal][0] : work_->equity[output - kEquity][0];
  }

  template <class T>
  void write(const Sink (&sinks)[W], int count, const double* rows) const {
    if (!outputs_.last_only) return Shape::template write<T>(sinks, bar_, count_, rows);
    const std::int64_t last = symbol_.bars - 1 - bar_;
    if (last >= kTile) return;
    for (int j = 0; j < count; ++j)
      if (sinks[j].bars > 0) store_value<T>(sinks[j].data, rows[last * W + j]);
  }

  static constexpr int kTogether = 3;  // lengths whose equities stay in registers through a tile

  const Outputs& outputs_;
  const Batch& batch_;
  const Symbol& symbol_;
  const Sink* sinks_;
  MarketBars* market_bars_;
  LayerBars* layer_bars_;
  LayerLanes* layer_lanes_;
  VoterLanes* voter_lanes_;
  Workplace* work_;
  int voter_groups_ = 0, wanted_ = 0;
  bool wants_layers_ = false;
  std::int32_t gathered_[W];  // markets whose bars are side by side in the workplace
  std::int64_t bar_ = 0;
  int count_ = 0;
};

}  // namespace wq::atc::sweep::inline WQ_LEVEL
