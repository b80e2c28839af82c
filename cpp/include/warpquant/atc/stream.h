// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/ledger.h"
#include "warpquant/atc/passage.h"

/// ATC bar by bar: a passage through one bar at a time, between which all that it knows lies in a ledger. Every lane
/// has bars of its own number. Of the rows that averages look back on only those that they do look at are made: one for
/// each distance. The bits are those of a passage through all bars at once.
namespace wq::atc::inline WQ_LEVEL {

template <class Shape>
class StreamPassage : public Passage<Shape> {
  using Base = Passage<Shape>;
  static constexpr int W = Shape::kWidth;
  using Real = typename Shape::Real;
  using V = typename Shape::V;
  using M = typename Shape::M;
  using Bits = typename Shape::Bits;
  using Act = typename Ledger<Shape>::Act;
  using Base::group_, Base::params_, Base::run_, Base::work_, Base::layer1_, Base::vote_, Base::direction_;

 public:
  WQ_HD_CALL StreamPassage(const Run& run, const Group& group, std::byte* scratch) : Base(run, group, scratch) {
    work_.row = 0;
    work_.past = this->past_;
    const auto hull = [](std::int64_t n) { return n < 2 ? 1 : n / 2; };
    add(1, sum_lags_, sums_);
    add(1, noise_lags_, noises_);
    add(this->shortest_ - 1, noise_lags_, noises_);
    for (int k = 0; k < kLengths; ++k) {
      add(params_.length[kHma][k], sum_lags_, sums_);
      add(params_.length[kWma][k], sum_lags_, sums_);
      add(params_.length[kLsma][k], sum_lags_, sums_);
      if (params_.switches.hma == Switches::Hma::hull) add(hull(params_.length[kHma][k]), sum_lags_, sums_);
      add(params_.length[kKama][k], noise_lags_, noises_);
    }
  }

  /// Rows of a group.
  WQ_HD_CALL std::int64_t rows() {
    Ledger<Shape> ledger(Act::count, nullptr, bars_, M{}, M{}, nullptr);
    walk(ledger);
    return ledger.rows();
  }

  /// A group before its first bar; its memory is zeros.
  WQ_HD_CALL void start(Real* group) {
    Ledger<Shape> ledger(Act::start, group, bars_, M{}, M{}, nullptr);
    work_.lane_bar = V(0.0);
    trend_ = V(0.0);
    for (V& sum : sum_) sum = V(0.0);
    for (V& noise : noise_) noise = V(0.0);
    walk(ledger);
  }

  /// Groups [first, last) through the bars of a feed.
  WQ_HD_CALL void run(const Feed& feed, std::int64_t first, std::int64_t last) {
    for (std::int64_t g = first; g < last; ++g)
      for (std::int64_t bar = 0; bar < feed.bars; ++bar)
        for (int part = 0; part < kMaxLanes; part += W) take_bar(feed, g * kMaxLanes + part, bar);
  }

 private:
  static constexpr int kMostSums = 4 * kLengths + 1, kMostNoises = kLengths + 2;

  WQ_HD_CALL static void add(std::int64_t lag, std::int64_t* lags, int& count) {
    for (int n = 0; n < count; ++n)
      if (lags[n] == lag) return;
    if (lag > 0) lags[count++] = lag;
  }

  /// One bar of the symbols from `symbol` on.
  WQ_HD_CALL void take_bar(const Feed& feed, std::int64_t symbol, std::int64_t bar) {
    if (symbol + Shape::begin_column() >= feed.symbols) return;
    const V zero(0.0);
    Tile<Shape>& tile = *work_.tile;
    read(feed.close, feed.close_type, symbol, feed.symbols, bar, tile.close[0]);
    const V close = V::load(tile.close[0]);
    M here = eq(close * zero, zero);
    if (group_.separate_src) {
      read(feed.src, feed.src_type, symbol, feed.symbols, bar, tile.twice_x[0]);
      const V x = V::load(tile.twice_x[0]);
      here = both(here, eq(x * zero, zero));
    }
    if (!any(here) && !feed.spreads) return;
    Real* const group = feed.state + symbol / kMaxLanes * feed.rows * kMaxLanes + symbol % kMaxLanes;
    const bool is_last = (symbol / kMaxLanes + 1) * kMaxLanes >= feed.symbols;
    load(group, is_last ? group : group + feed.rows * kMaxLanes);
    const V last_trend = trend_, last_direction = direction_.value;
    if (any(here)) step(here);
    write(feed, symbol, bar, here, last_trend, last_direction);
    if (feed.commits && any(here)) store(here);
  }

  WQ_HD_CALL static void read(const Grid& grid, DType type, std::int64_t symbol, std::int64_t symbols, std::int64_t bar,
                              Real* row) {
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) {
      const std::byte* const p = grid.at(symbol + j, bar);
      row[j] = symbol + j >= symbols ? __builtin_nan("")
               : type == DType::f32  ? load_value<float>(p)
                                     : load_value<double>(p);
    }
  }

  /// All that a group remembers. The ring of values comes last: the ledger knows its places from there on.
  WQ_HD_NOINLINE void walk(Ledger<Shape>& ledger) {
    ledger.value(work_.lane_bar);
    words(ledger);
    if (group_.separate_src) ledger.value(this->last_close_);
    ledger.value(this->level_);
    if (params_.strategy_mode) ledger.value(this->delayed_average_);
    for (int n = 0; n < sums_; ++n) ledger.value(sum_[n]);
    for (int n = 0; n < noises_; ++n) ledger.value(noise_[n]);
    ledger.values(layer1_.equity);
    for (Vote<V>& vote : vote_) {
      ledger.value(vote.equity);
      if (params_.switches.neutral == Switches::Neutral::sticky) ledger.value(vote.held);
    }
    for (int e = 0; e < this->banks_; ++e) this->bank_[e].keep(this->bank_[e].self, work_, ledger);
    ring_ = ledger.open_ring(work_.history + 1);
  }

  /// All that is yes or no, a row for each family.
  WQ_HD_CALL void words(Ledger<Shape>& ledger) {
    const bool writes = ledger.act() == Act::start || ledger.act() == Act::store;
    const Cuts<V> cuts = this->template cuts<V>();
    const V long_threshold(params_.long_threshold), short_threshold(params_.short_threshold);
    V& average = direction_.last_average;
    for (int f = 0; f < kFamilies; ++f) {
      Vote<V>& vote = vote_[f];
      Bits word(std::uint64_t{0}), mark(std::uint64_t{1});
      const auto note = [&](M m) {
        word = add_mark(word, m, mark);
        mark = next_mark(mark);
      };
      const auto told = [&] {
        const M m = has_mark(word, mark);
        mark = next_mark(mark);
        return m;
      };
      V row = V(0.0);
      if (writes) {
        for (auto& block : layer1_.cross[f])
          for (Cross<M>& c : block) {
            note(c.is_long);
            note(c.is_short);
            note(c.always_above);
            note(c.always_below);
          }
        note(ge(vote.signal, cuts.positive));
        note(le(vote.signal, cuts.negative));
        if (f == 0) {
          const V zero(0.0);
          note(gt(direction_.value, zero));
          note(lt(direction_.value, zero));
          note(gt(trend_, zero));
          note(lt(trend_, zero));
          note(le(average, long_threshold));
          note(ge(average, short_threshold));
        }
        row = word.numbers();
      }
      ledger.value(row);
      if (ledger.act() != Act::load) continue;
      word = Bits::of(row);
      for (auto& block : layer1_.cross[f])
        for (Cross<M>& c : block) {
          c.is_long = told();
          c.is_short = told();
          c.always_above = told();
          c.always_below = told();
        }
      const V infinity(__builtin_inf()), zero(0.0), one(1.0), nan(__builtin_nan(""));
      const auto either_of = [&](V first, V second, V neither) {
        const M is_first = told(), is_second = told();
        return select(is_first, first, select(is_second, second, neither));
      };
      vote.signal = either_of(infinity, zero - infinity, nan);
      if (f == 0) {
        direction_.value = either_of(one, zero - one, zero);
        trend_ = either_of(one, zero - one, zero);
        // Of the last average it matters on which side of the thresholds it was.
        const M low = told(), high = told();
        average = select(both(low, high), long_threshold, select(low, zero - infinity, select(high, infinity, nan)));
      }
    }
  }

  WQ_HD_NOINLINE void load(Real* group, const Real* next_group) {
    rows_ = group;
    V::load(group).store(numbers_);
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) bars_[j] = static_cast<std::int64_t>(numbers_[j]);
    Ledger<Shape> ledger(Act::load, group, bars_, M{}, M{}, next_group);
    walk(ledger);
    Past<Shape>* const past = work_.past;
    for (int n = 0; n < sums_; ++n) sum_[n].store((past - sum_lags_[n])->sum);
    for (int n = 0; n < noises_; ++n) noise_[n].store((past - noise_lags_[n])->noise);
    for (const std::int64_t lag : params_.length[kKama]) ledger.at(ring_, lag).store((past - lag)->x);
    this->last_x_ = ledger.at(ring_, 1);
    if (!group_.separate_src)
      this->last_close_ = select(eq(work_.lane_bar, V(0.0)), V(__builtin_nan("")), this->last_x_);
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) numbers_[j] = run_.growth[bars_[j]];
    this->growth_ = V::load(numbers_);
  }

  /// Make the rows that are not there yet, for a bar at which sums are rebuilt.
  WQ_HD_NOINLINE void fill() {
    Ledger<Shape> ledger(Act::fill, rows_, bars_, M{}, M{}, nullptr);
    walk(ledger);
    for (std::int64_t ago = 1; ago <= work_.history; ++ago) {
      ledger.at(ring_, ago).store((work_.past - ago)->x);
      move(ledger, ago).store((work_.past - ago)->moves);
    }
  }

  WQ_HD V x_of(const Ledger<Shape>& ledger, std::int64_t ago) const {
    return ago == 0 ? V::load(work_.past->x) : ledger.at(ring_, ago);
  }
  /// The first bar makes no move.
  WQ_HD V move(const Ledger<Shape>& ledger, std::int64_t ago) const {
    const V distance = abs(x_of(ledger, ago) - x_of(ledger, ago + 1));
    return keep_if(gt(work_.lane_bar, V(static_cast<double>(ago))), distance);
  }

  WQ_HD_NOINLINE void step(M here) {
    Real due[W];
    bool any_due = false;
    work_.bar = INT64_MAX;
    select(here, V(1.0), V(0.0)).store(numbers_);
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) {
      due[j] = numbers_[j] != 0 && bars_[j] > 0 && bars_[j] % this->rebuild_ == 0;
      any_due |= due[j] != 0;
      if (numbers_[j] != 0 && bars_[j] < work_.bar) work_.bar = bars_[j];
    }
    due_ = M{};
    if (any_due) {
      due_ = ne(V::load(due), V(0.0));
      fill();
      this->rebuild(-1, due_);
    }
    this->prepare(1);
    work_.rough[0] = both(work_.rough[0], here);
    work_.exact = any(work_.rough[0]);
    if (work_.exact && !any_due) fill();
    for (int e = 0; e < this->banks_; ++e) this->bank_[e].run(this->bank_[e].self, work_, layer1_, 0, 1);
    if (work_.exact) this->recover(0, 1);
    vote();
    this->classify(1);
    trend_ = select(here, V::load(this->out_[kTrend][0]), trend_);
  }

  WQ_HD_NOINLINE void vote() {
    const M silent = lt(work_.lane_bar, V(static_cast<double>(params_.cutout)));
    if (!any(silent)) return this->poll(0, 1);
    Vote<V> before[kFamilies];
    for (int f = 0; f < kFamilies; ++f) before[f] = vote_[f];
    this->poll(0, 1);
    for (int f = 0; f < kFamilies; ++f)
      vote_[f] = {select(silent, before[f].equity, vote_[f].equity), select(silent, before[f].signal, vote_[f].signal),
                  select(silent, before[f].held, vote_[f].held)};
    for (int o = 0; o < kOutputs; ++o) {
      Real* const row = this->out_[o][0];
      if (!is_class(o))
        select(silent, V(o == kAverage ? this->average_fill() : __builtin_nan("")), V::load(row)).store(row);
    }
  }

  /// Hand over a group as the next bar wants it.
  WQ_HD_NOINLINE void store(M here) {
    Ledger<Shape> ledger(Act::store, rows_, bars_, here, due_, nullptr);
    ledger.look(work_.history + 1);
    const Past<Shape>* const past = work_.past;
    const M rough = work_.rough[0];
    for (int n = 0; n < sums_; ++n) {
      const std::int64_t lag = sum_lags_[n];
      sum_[n] = lag == 1 ? V::load(past->sum) : V::load((past - lag)->sum) + x_of(ledger, lag - 1);
      if (work_.exact) sum_[n] = select(rough, V::load((past - lag + 1)->sum), sum_[n]);
    }
    for (int n = 0; n < noises_; ++n) {
      const std::int64_t lag = noise_lags_[n];
      noise_[n] = lag == 1 ? V::load(past->noise) : V::load((past - lag)->noise) + move(ledger, lag - 1);
      if (work_.exact) noise_[n] = select(rough, V::load((past - lag + 1)->noise), noise_[n]);
    }
    const V number = work_.lane_bar;
    walk(ledger);
    ledger.put(ring_, work_.history + 1, V::load(past->x), here);
    select(here, number + V(1.0), number).store(rows_);
  }

  WQ_HD_NOINLINE void write(const Feed& feed, std::int64_t symbol, std::int64_t bar, M here, V trend, V direction) {
    Real present[W];
    select(here, V(1.0), V(0.0)).store(present);
    trend.store(numbers_);
    Real directions[W];
    direction.store(directions);
    for (int o = 0; o < kOutputs; ++o) {
      if (feed.out[o].data == nullptr) continue;
      const Real* const row = this->out_[o][0];
      for (int j = Shape::begin_column(); j < Shape::end_column() && symbol + j < feed.symbols; ++j) {
        std::byte* const to = feed.out[o].at(symbol + j, bar);
        if (present[j] == 0 && !feed.spreads) continue;
        if (is_class(o))
          store_value<std::int8_t>(to, present[j] != 0 ? row[j] : o == kTrend ? numbers_[j] : directions[j]);
        else if (feed.out_type == DType::f32)
          store_value<float>(to, present[j] != 0 ? row[j] : __builtin_nan(""));
        else
          store_value<double>(to, present[j] != 0 ? row[j] : __builtin_nan(""));
      }
    }
  }

  std::int64_t sum_lags_[kMostSums], noise_lags_[kMostNoises];
  int sums_ = 0, noises_ = 0;
  Real* rows_ = nullptr;  // of the group at hand
  Real* ring_ = nullptr;  // of its last values
  std::int64_t bars_[W] = {};
  Real numbers_[W];
  V sum_[kMostSums], noise_[kMostNoises];  // what the next bar finds so many rows before its own
  V trend_;
  M due_;  // lanes whose sums were rebuilt before the bar
};

}  // namespace wq::atc::inline WQ_LEVEL
