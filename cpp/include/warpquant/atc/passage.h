// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <type_traits>

#include "warpquant/atc/pass.h"
#include "warpquant/core/values.h"
#include "warpquant/core/window.h"

namespace wq::atc::inline WQ_LEVEL {

/// A group of symbols on its way through time.
template <class Shape>
class Passage {
  static constexpr int W = Shape::kWidth, kTile = Shape::kTile, kBlock = Shape::kBlock;
  using Real = typename Shape::Real;
  using V = typename Shape::V;
  using M = typename Shape::M;
  // What is one value per symbol and bar: a row of lanes, or with one symbol a number.
  using O = std::conditional_t<Shape::kOneSymbol, Real, V>;
  static constexpr int kOutWidth = Shape::kOneSymbol ? 1 : W;
  using OutRow = Real[kOutWidth];

 public:
  WQ_HD_CALL Passage(const Run& run, const Group& group, std::byte* scratch)
      : run_(run), params_(run.params), group_(group), close_(Shape::reader(group, group.close, group.close_type)),
        src_(group.separate_src ? Shape::reader(group, group.src, group.src_type) : close_) {
    start_work(scratch);
    start_engines(scratch);
    start_layers(scratch);
    for (int j = 0; j < (Shape::kOneSymbol ? 1 : W); ++j)
      bars_ = group.close[j].bars > bars_ ? group.close[j].bars : bars_;
    Shape::meet();
  }

  static std::size_t scratch_bytes(const Run& run) {
    // The fullest case: every family its own engine, with the rows of the Hull average.
    const std::size_t history = most_lag(run), span = Shape::span_of(history);
    const std::size_t raw = kBlock * Shape::kBlocks * Shape::kOwners * (raw_history(run) + span) * sizeof(Real[W]);
    const std::size_t detail = run.detail ? kDetails * kFamilies * kLengths * sizeof(Real[kTile][W]) : 0;
    return sizeof(Tile<Shape>) + (history + span) * sizeof(Past<Shape>) + raw + (Shape::kOwnBanks ? 0 : kBankBytes) +
           kOutputs * sizeof(OutRow[kTile]) + detail + (kFamilies + kOutputs + 4) * kAlign;
  }

  WQ_HD_CALL void run() {
    for (std::int64_t bar = 0; bar < bars_; bar += kTile) {
      work_.bar = bar;
      work_.row = bar % work_.span;
      work_.past = past_ + work_.row;
      if (bar > 0 && work_.row == 0) shift();
      if (bar > 0 && bar % rebuild_ == 0 && !Shape::kFromSignals) rebuild(-1, negate(M{}));
      const int count = static_cast<int>(bars_ - bar < kTile ? bars_ - bar : kTile);
      if (Shape::leads()) {
        read(count);
        prepare(count);
      }
      if constexpr (Shape::kFromSignals) {
        Shape::meet();
        replay(count);
      } else {
        agree(0, count);
        settle();
        for (int begin = 0; begin < count;) {
          int end = begin;
          while (end < count && !work_.any_rough[end]) ++end;
          work_.exact = end == begin;
          end += work_.exact;
          for (int e = 0; e < banks_; ++e) bank_[e].run(bank_[e].self, work_, layer1_, begin, end);
          if (work_.exact) recover(begin, count);
          begin = end;
        }
      }
      Shape::meet();
      if constexpr (Shape::kSignalsOnly) {
        write_signals(count);
      } else {
        if (Shape::leads()) {
          vote(count);
          classify(count);
          write(count);
        }
        if (run_.detail) write_details(count);
      }
      Shape::meet();
    }
  }

 protected:
  // ------------------------------------------------------------------ setting up

  static constexpr std::size_t kAlign = 64;
  static constexpr std::size_t kBankBytes =
      kFamilies * (sizeof(Bank<WindowEngine<Shape, true, kHma, kWma, kLsma>, Shape>) + kAlign);

  WQ_HD_CALL static Reach reach_of(const Run& run) {
    if (run.reach.longest > 0) return run.reach;
    Reach r{run.params.length[0][0], 1};
    for (const auto& family : run.params.length)
      for (const std::int64_t n : family) {
        r.shortest = n < r.shortest ? n : r.shortest;
        r.longest = n > r.longest ? n : r.longest;
      }
    return r;
  }
  WQ_HD_CALL static std::int64_t most_lag(const Run& run) {
    const std::int64_t most = reach_of(run).longest;
    return most < run.bars + 1 ? most : run.bars + 1;
  }
  /// The last pass of the Hull average looks that much further back.
  WQ_HD_CALL static std::int64_t hull_root(std::int64_t length) {
    return static_cast<std::int64_t>(std::sqrt(static_cast<double>(length))) + 1;
  }
  /// Rows of its input that the last pass of the Hull average looks back on.
  WQ_HD_CALL static std::int64_t raw_history(const Run& run) {
    const std::int64_t root = hull_root(reach_of(run).longest), most = most_lag(run) + 1;
    return root < most ? root : most;
  }

  WQ_HD_CALL void start_work(std::byte*& scratch) {
    const Switches& s = params_.switches;
    shortest_ = reach_of(run_).shortest;
    work_.most_lag = most_lag(run_);
    work_.history = work_.most_lag;
    work_.raw_history = raw_history(run_);
    work_.span = Shape::span_of(work_.history);
    work_.gaps = group_.gaps;
    work_.regular = !group_.gaps && !run_.detail && s.lsma == Switches::Lsma::end && shortest_ > 1;
    work_.lsma_previous = s.lsma == Switches::Lsma::previous;
    work_.dema_seed_is_mean = s.dema_seed == Switches::DemaSeed::sma;
    work_.kama_seed_is_zero = s.kama_seed == Switches::KamaSeed::zero;
    work_.tile = take<Tile<Shape>>(1, scratch);
    past_ = work_.template history_rows<Past<Shape>, false>(work_.history, scratch);
    for (auto& rows : out_) rows = take<OutRow>(kTile, scratch);
    // From the lengths alone, not from how much of them fits: rounding must not depend on how many bars there are.
    const std::int64_t most = reach_of(run_).longest;
    rebuild_ = rebuild_bars(most);
    const double reach = static_cast<double>(rebuild_ + most + hull_root(most));
    rough_level_ = kRoughness * reach;
    rough_noise_ = kRoughness * reach / static_cast<double>(shortest_);
  }

  template <class T>
  WQ_HD_CALL static T* take(std::size_t count, std::byte*& scratch) {
    auto* p = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + kAlign - 1) / kAlign * kAlign);
    scratch = reinterpret_cast<std::byte*>(p + count);
    return p;
  }

  /// Rows of a tile for each of the owner's lengths.
  WQ_HD_CALL static Real (*own_rows(std::byte*& scratch))
      [W] { return take<Real[W]>(kTile * Shape::kOwners, scratch) + kTile * Shape::owner(); }

  template <class Engine>
  WQ_HD_CALL void add(Family first, std::byte*& scratch) {
    bool wanted = false;
    for (int member = 0; member < Engine::kCount; ++member) wanted |= !run_.skips[Engine::family(member)];
    if (!wanted) return;
    std::byte*& memory = Shape::kOwnBanks ? next_bank_ : scratch;
    auto* bank = take<Bank<Engine, Shape>>(1, memory);
    __builtin_memset(static_cast<void*>(bank), 0, sizeof *bank);
    for (int b = 0; b < Shape::kBlocks; ++b)
      for (int k = 0; k < kBlock; ++k)
        Engine::start(work_, params_.length[first], b, k, bank->constants[b][k], bank->state[b][k], bank->seed[b][k],
                      scratch);
    std::int64_t longest = 1;
    for (const std::int64_t n : params_.length[first]) longest = n > longest ? n : longest;
    bank->seeded = Engine::seeded(work_, longest);
    seeded_ = bank->seeded > seeded_ ? bank->seeded : seeded_;
    bank_[banks_++] = AnyBank<Shape>::template make<Engine>(bank);
  }

  /// Whether two families may share an engine.
  WQ_HD_CALL bool same_lengths(Family a, Family b) const {
    bool same = run_.skips[a] == run_.skips[b];
    for (int k = 0; k < kLengths; ++k) same &= params_.length[a][k] == params_.length[b][k];
    return same;
  }

  template <bool kHull>
  WQ_HD_CALL void start_windows(std::byte*& scratch) {
    const bool same_hma = same_lengths(kHma, kWma), same_lsma = same_lengths(kLsma, kWma);
    if (same_hma && same_lsma) return add<WindowEngine<Shape, kHull, kHma, kWma, kLsma>>(kHma, scratch);
    add<WindowEngine<Shape, kHull, kHma>>(kHma, scratch);
    if (same_lsma) return add<WindowEngine<Shape, false, kWma, kLsma>>(kWma, scratch);
    add<WindowEngine<Shape, false, kWma>>(kWma, scratch);
    add<WindowEngine<Shape, false, kLsma>>(kLsma, scratch);
  }

  WQ_HD_CALL void start_engines(std::byte*& scratch) {
    if constexpr (Shape::kFromSignals) return;
    if (params_.switches.hma == Switches::Hma::hull)
      start_windows<true>(scratch);
    else
      start_windows<false>(scratch);
    if (same_lengths(kEma, kDema)) {
      add<SmoothingEngine<Shape, kEma, kDema>>(kEma, scratch);
    } else {
      add<SmoothingEngine<Shape, kEma>>(kEma, scratch);
      add<SmoothingEngine<Shape, kDema>>(kDema, scratch);
    }
    add<KamaEngine<Shape>>(kKama, scratch);
  }

  WQ_HD_CALL void start_layers(std::byte*& scratch) {
    const M every = negate(M{}), none{};
    for (auto& four : family_vote_) four.equity = V(1.0);
    __builtin_memset(static_cast<void*>(&layer1_), 0, sizeof layer1_);
    for (int f = 0; f < kFamilies; ++f) {
      for (int b = 0; b < Shape::kBlocks; ++b)
        for (int k = 0; k < kBlock; ++k) {
          layer1_.equity[f][b][k] = V(1.0);
          layer1_.cross[f][b][k] = {none, none, every, every};
          if (run_.detail)
            for (auto& rows : layer1_.detail) rows[f][b][k] = own_rows(scratch);
        }
      vote_[f] = {V(params_.weight[f]), V(__builtin_nan("")), V(1 - params_.de_per_bar)};
      if constexpr (Shape::kOneSymbol) family_vote_[f / W].equity.v[f % W] = params_.weight[f];
    }
    for (auto& four : family_vote_) {
      four.signal = V(__builtin_nan(""));
      four.held = V(1 - params_.de_per_bar);
    }
    direction_ = {O(0.0), O(__builtin_nan(""))};
    level_ = V(0.0);
    last_close_ = V(__builtin_nan(""));
    last_x_ = V(0.0);
    last_run_ = V(0.0);
    delayed_average_ = O(average_fill());
    started_ = none;
    for (int o = kSignal; o < kOutputs; ++o) wants_layers_ |= run_.wants[o];
  }

  WQ_HD_CALL double average_fill() const {
    return params_.switches.average_fill == Switches::AverageFill::nan ? __builtin_nan("") : 0.0;
  }

  // ------------------------------------------------------------------ the bars of a tile

  WQ_HD_CALL void read(int count) {
    close_.rows(work_.bar, count, work_.tile->close[0]);
    if (group_.separate_src) src_.rows(work_.bar, count, work_.tile->twice_x[0]);
  }

  /// Everything about a bar that does not depend on a length.
  WQ_HD_NOINLINE void prepare(int count) {
    const V zero(0.0), one(1.0), nan(__builtin_nan(""));
    const V keep(1 - params_.de_per_bar), rtol(params_.cross_rtol);
    Tile<Shape>& tile = *work_.tile;
    V last_x = last_x_, last_close = last_close_, level = level_;
    for (int i = 0; i < count; ++i) {
      const std::int64_t bar = work_.bar + i;
      Past<Shape>& past = work_.past[i];
      V close = V::load(tile.close[i]);
      if constexpr (!Shape::kFromSignals) {
        V x = group_.separate_src ? V::load(tile.twice_x[i]) : close, move;
        if (work_.gaps) {
          // A missing value repeats the one before it, so that sums stay finite; `run` tells whom not to believe.
          const M here = eq(x * zero, zero);
          x = select(here, x, last_x);
          move = keep_if(both(here, started_), abs(x - last_x));
          started_ = either(started_, here);
          last_run_ = keep_if(here, last_run_ + one);
          last_run_.store(tile.run[i]);
        } else {
          move = is_bar(i, 0, zero, abs(x - last_x));
        }
        last_x = x;
        x.store(past.x);
        (x + x).store(tile.twice_x[i]);
        move.store(past.moves);
        const V noise = V::load((&past - 1)->noise) + move;
        noise.store(past.noise);
        (V::load((&past - 1)->sum) + x).store(past.sum);
        level = level + abs(x);
        find_rough(i, x, noise, level);
      }
      if (work_.gaps) close = select(eq(close * zero, zero), close, nan);
      if constexpr (!Shape::kFromSignals) {
        const Band<V> b = band(close, rtol);
        b.lower.store(tile.lower[0][i]);
        b.upper.store(tile.upper[0][i]);
        (b.lower + b.lower).store(tile.lower[1][i]);
        (b.upper + b.upper).store(tile.upper[1][i]);
      }
      if constexpr (Shape::kSignalsOnly) continue;

      if constexpr (Shape::kStream) {
        const M active = gt(work_.lane_bar, V(static_cast<double>(params_.cutout)));
        const equity::Exposure<V> e = equity::exposure(equity::simple_return(close, last_close) * growth_, keep);
        select(active, e.if_long, one).store(tile.if_long[i]);
        select(active, e.if_short, one).store(tile.if_short[i]);
        select(active, e.if_flat, one).store(tile.if_flat[i]);
      } else {
        const bool active = bar > params_.cutout;
        const V r = equity::simple_return(close, last_close) * V(run_.growth[bar]);
        const equity::Exposure<V> e = equity::exposure(r, keep);
        (active ? e.if_long : one).store(tile.if_long[i]);
        (active ? e.if_short : one).store(tile.if_short[i]);
        if (Shape::is_first()) tile.if_flat[i][0] = active ? 1 - params_.de_per_bar : 1.0;
      }
      last_close = close;
    }
    last_x_ = last_x;
    last_close_ = last_close;
    level_ = level;
  }

  /// One value in the lanes whose bar has a number, another elsewhere.
  WQ_HD V is_bar(int i, std::int64_t number, V yes, V no) const {
    if constexpr (Shape::kStream)
      return select(eq(work_.lane_bar, V(static_cast<double>(number))), yes, no);
    else
      return work_.bar + i == number ? yes : no;
  }

  /// Running sums lose digits when a window turns much quieter than what they have seen since they were rebuilt.
  /// Nothing is lost on a bar where that is not so in any window, the shortest being the first to turn quiet.
  WQ_HD void find_rough(int i, V x, V noise, V level) {
    const std::int64_t moves = shortest_ - 1 < work_.most_lag ? shortest_ - 1 : work_.most_lag;
    const V recent = noise - V::load(work_.past[i - moves].noise);
    work_.rough[i] = either(gt(level, V(rough_level_) * (abs(x) + recent)), gt(noise, V(rough_noise_) * recent));
    work_.any_rough[i] = any(work_.rough[i]);
  }

  /// Tell the whole crew what its leaders found on bars [from, count), and wait for their rows.
  WQ_HD_CALL void agree(int from, int count) {
    if constexpr (Shape::kCrew) {
      if (Shape::leads())
        for (int i = from; i < count; ++i) select(work_.rough[i], V(1.0), V(0.0)).store(work_.tile->rough[i]);
      Shape::meet();
      for (int i = from; i < count; ++i) {
        const Real* rough = work_.tile->rough[i];
        work_.rough[i] = ne(V::load(rough), V(0.0));
        work_.any_rough[i] = false;
        for (int j = 0; j < W; ++j) work_.any_rough[i] |= rough[j] != 0;
      }
      Shape::meet();
    }
  }

  /// Rebuild the sums of the lanes that bar `i` found rough, and redo what the later bars took from them.
  WQ_HD_CALL void recover(int i, int count) {
    const M lanes = work_.rough[i];
    rebuild(i, lanes);
    for (int n = i + 1; n < count && Shape::leads(); ++n) {
      Past<Shape>&before = work_.past[n - 1], &past = work_.past[n];
      const V x = V::load(past.x);
      select(lanes, V::load(before.noise) + V::load(past.moves), V::load(past.noise)).store(past.noise);
      select(lanes, V::load(before.sum) + x, V::load(past.sum)).store(past.sum);
      level_ = add_if(lanes, level_, abs(x));
      const M others = but_not(work_.rough[n], lanes);
      find_rough(n, x, V::load(past.noise), level_);
      work_.rough[n] = either(others, both(work_.rough[n], lanes));
      work_.any_rough[n] = any(work_.rough[n]);
    }
    agree(i + 1, count);
  }

  /// Recompute the running sums of some lanes from the rows up to bar `i` of the tile.
  WQ_HD_CALL void rebuild(int i, M lanes) {
    Shape::meet();
    if (Shape::leads()) {
      V sum(0.0), noise(0.0), level(0.0);
      for (Past<Shape>* past = work_.past + i - work_.history + 1; past <= work_.past + i; ++past) {
        const V x = V::load(past->x);
        sum = sum + x;
        noise = noise + V::load(past->moves);
        level = level + abs(x);
        select(lanes, sum, V::load(past->sum)).store(past->sum);
        select(lanes, noise, V::load(past->noise)).store(past->noise);
      }
      level_ = select(lanes, level, level_);
    }
    for (int e = 0; e < banks_; ++e) bank_[e].rebuild(bank_[e].self, work_, i, lanes);
  }

  WQ_HD_CALL void shift() {
    work_.template shift_rows<false>(work_.history, past_);
    for (int e = 0; e < banks_; ++e) bank_[e].shift(bank_[e].self, work_);
    Shape::meet();
  }

  /// Equities of a crew's lengths, and their sums, from signals that another pass has left.
  WQ_HD_CALL void replay(int count) {
    const int symbol = Shape::begin_column(), length = Shape::owner();
    for (int f = 0; f < kFamilies; ++f) {
      Cross<M>& cross = layer1_.cross[f][0][0];
      V& e = layer1_.equity[f][0][0];
      const SignalWords* const words = group_.signals[f][symbol] + work_.bar / kWordBars;
      const bool has_bars = work_.bar < group_.close[symbol].bars;
      const std::uint64_t longs = has_bars ? words->is_long[length] : 0;
      const std::uint64_t signals = has_bars ? words->has_signal[length] : 0;
      for (int i = 0; i < count; ++i) {
        const V if_long = V::load(work_.tile->if_long[i]), if_short = V::load(work_.tile->if_short[i]);
        e = equity::compound(e, select(cross.is_long, if_long, select(cross.is_short, if_short, work_.tile->flat(i))),
                             V(kFloor));
        const std::uint64_t mark = std::uint64_t{1} << ((work_.bar + i) % kWordBars);
        cross.is_long = (longs & mark) != 0;
        cross.is_short = (signals & mark) != 0 && !cross.is_long;
        Shape::add_sum(work_.tile->all[f][i], e, 0, 0);
        Shape::add_sum(work_.tile->longs[f][i], keep_if(cross.is_long, e), 0, 0);
        Shape::add_sum(work_.tile->active[f][i], keep_if((signals & mark) != 0, e), 0, 0);
      }
    }
  }

  /// Note which signals have settled for good.
  WQ_HD_CALL void settle() {
    if (!work_.regular || work_.bar < seeded_) return;
    for (int f = 0; f < kFamilies; ++f) {
      bool all_settled = true;
      for (int b = 0; b < Shape::kBlocks; ++b)
        for (int k = 0; k < kBlock; ++k) {
          bool& settled = layer1_.settled[f][b][k];
          settled = settled || layer1_.cross[f][b][k].settled();
          all_settled &= settled;
        }
      layer1_.all_settled[f] = all_settled && !Shape::kCrew;  // whose threads see one length each
    }
    everything_settled_ = true;
    for (const bool settled : layer1_.all_settled) everything_settled_ &= settled;
  }

  // ------------------------------------------------------------------ layer 2 and the outputs

  WQ_HD_CALL void vote(int count) {
    const int silent = static_cast<int>(clamp(params_.cutout - work_.bar, 0, count));
    for (int i = 0; i < silent; ++i) {
      put(kAverage, i, O(average_fill()));
      for (int o = kSignal; o < kOutputs; ++o) put(o, i, O(__builtin_nan("")));
    }
    poll(silent, count);
  }

  WQ_HD_CALL void poll(int begin, int end) {
    const bool sticky = params_.switches.neutral == Switches::Neutral::sticky;
    for (int f = 0; f < kFamilies; ++f)
      active_[f] = layer1_.all_settled[f] ? work_.tile->all[f] : work_.tile->active[f];
    const auto run = [&]<bool kWantsLayers>() {
      if constexpr (Shape::kOneSymbol)
        sticky ? vote_by_family<kWantsLayers, true>(begin, end) : vote_by_family<kWantsLayers, false>(begin, end);
      else
        sticky ? vote_by_symbol<kWantsLayers, true>(begin, end) : vote_by_symbol<kWantsLayers, false>(begin, end);
    };
    wants_layers_ ? run.template operator()<true>() : run.template operator()<false>();
  }

  WQ_HD void put(int output, int i, O value) {
    if constexpr (Shape::kOneSymbol)
      out_[output][i][0] = value;
    else
      value.store(out_[output][i]);
  }

  template <class Lanes>
  WQ_HD_CALL Cuts<Lanes> cuts() const {
    const Cuts<double>& c = run_.cuts;
    return {Lanes(c.positive), Lanes(c.negative), Lanes(c.high), Lanes(c.low)};
  }

  template <bool kWantsLayers, bool kSticky>
  WQ_HD_NOINLINE void vote_by_symbol(int begin, int end) {
    const V zero(0.0), one(1.0), fill(average_fill());
    const Cuts<V> cuts = this->cuts<V>();
    const Tile<Shape>& tile = *work_.tile;
    Vote<V> vote[kFamilies];
    WQ_UNROLL(6)
    for (int f = 0; f < kFamilies; ++f) vote[f] = vote_[f];
    for (int i = begin; i < end; ++i) {
      const equity::Exposure<V> exposure = {V::load(tile.if_long[i]), V::load(tile.if_short[i]), tile.flat(i)};
      V votes = zero, weights = zero;
      WQ_UNROLL(6)
      for (int f = 0; f < kFamilies; ++f) {
        const V signal =
            weighted_signal(Shape::total(tile.longs[f][i]), Shape::total(active_[f][i]), Shape::total(tile.all[f][i]));
        const V multiplier = vote[f].multiplier(exposure, cuts, kSticky);
        vote[f].step(is_bar(i, params_.cutout, one, multiplier), signal);
        vote[f].count(cuts, votes, weights);
        if constexpr (kWantsLayers) {
          round_signal(signal, params_.switches.rounding).store(out_[kSignal + f][i]);
          vote[f].equity.store(out_[kEquity + f][i]);
        }
      }
      const V average = votes / weights;
      select(eq(average * zero, zero), average, fill).store(out_[kAverage][i]);
    }
    WQ_UNROLL(6)
    for (int f = 0; f < kFamilies; ++f) vote_[f] = vote[f];
  }

  /// The same for one symbol, with families in the lanes; then bars in the lanes for the sums over families, whose
  /// order is that of `vote_by_symbol`.
  template <bool kWantsLayers, bool kSticky>
  WQ_HD void vote_by_family(int begin, int end) {
    constexpr int kFours = 2;  // families 0 to 3; 4, 5 and two lanes without meaning
    const V zero(0.0), one(1.0), fill(average_fill());
    const Cuts<V> cuts = this->cuts<V>();
    const Tile<Shape>& tile = *work_.tile;
    alignas(64) Real ballots[kTile][kFours][W], equities[kTile][kFours][W], signals[kTile][kFours][W];
    // Sum over the blocks of lengths of each family, in the order in which `run_pass` adds them for symbol lanes.
    const auto totals = [&](const Real(*const* rows)[W], int four, int i) {
      V m[W];
      for (int j = 0; j < W; ++j) m[j] = V::load(rows[four * W + j < kFamilies ? four * W + j : kFamilies - 1][i]);
      transpose(m);
      return (m[0] + m[1]) + m[2];
    };
    const Real(*all[kFamilies])[W];
    const Real(*longs[kFamilies])[W];
    for (int f = 0; f < kFamilies; ++f) {
      all[f] = tile.all[f];
      longs[f] = tile.longs[f];
    }
    Vote<V> vote[kFours] = {family_vote_[0], family_vote_[1]};
    for (int i = begin; i < end; ++i) {
      const equity::Exposure<V> exposure = {V::load(tile.if_long[i]), V::load(tile.if_short[i]), tile.flat(i)};
      WQ_UNROLL(2)
      for (int four = 0; four < kFours; ++four) {
        const V sum = totals(all, four, i);
        const V active = everything_settled_ ? sum : totals(active_, four, i);
        const V signal = weighted_signal(totals(longs, four, i), active, sum);
        const V multiplier = vote[four].multiplier(exposure, cuts, kSticky);
        vote[four].step(is_bar(i, params_.cutout, one, multiplier), signal);
        vote[four].ballot(cuts).store(ballots[i][four]);
        vote[four].equity.store(equities[i][four]);
        if constexpr (kWantsLayers) round_signal(signal, params_.switches.rounding).store(signals[i][four]);
      }
    }
    family_vote_[0] = vote[0];
    family_vote_[1] = vote[1];

    // Families as rows of W bars; bars past the end repeat the last.
    const auto by_bar = [&](const Real(&rows)[kTile][kFours][W], int i, V(&low)[W], V(&high)[W]) {
      for (int j = 0; j < W; ++j) {
        const int bar = i + j < end ? i + j : end - 1;
        low[j] = V::load(rows[bar][0]);
        high[j] = V::load(rows[bar][1]);
      }
      transpose(low);
      transpose(high);
    };
    const auto put_bars = [&](int output, int i, V values) {
      for (int j = 0; j < W && i + j < end; ++j) out_[output][i + j][0] = values.v[j];
    };
    V low[W], high[W];
    const auto sum = [&] { return ((((low[0] + low[1]) + low[2]) + low[3]) + high[0]) + high[1]; };
    for (int i = begin; i < end; i += W) {
      by_bar(ballots, i, low, high);
      const V votes = sum();
      by_bar(equities, i, low, high);
      const V average = votes / sum();
      put_bars(kAverage, i, select(eq(average * zero, zero), average, fill));
      if constexpr (kWantsLayers) {
        for (int f = 0; f < kFamilies; ++f) put_bars(kEquity + f, i, f < W ? low[f] : high[f - W]);
        by_bar(signals, i, low, high);
        for (int f = 0; f < kFamilies; ++f) put_bars(kSignal + f, i, f < W ? low[f] : high[f - W]);
      }
    }
  }

  /// What follows from the average: the delay of strategy mode, its sign, the latched direction.
  WQ_HD_CALL void classify(int count) {
    if (!params_.strategy_mode && !run_.wants[kTrend] && !run_.wants[kDirection]) return;
    const O long_threshold(params_.long_threshold), short_threshold(params_.short_threshold);
    for (int i = 0; i < count; ++i) {
      O average = Rows<O>::load(out_[kAverage][i]);
      if (params_.strategy_mode) {
        const O delayed = delayed_average_;
        delayed_average_ = average;
        average = delayed;
        put(kAverage, i, average);
      }
      put(kTrend, i, trend_of(average));
      put(kDirection, i, direction_.step(average, long_threshold, short_threshold));
    }
  }

  WQ_HD_CALL void write(int count) {
    for (int o = 0; o < kOutputs; ++o) {
      if (!run_.wants[o]) continue;
      const DType type = is_class(o) ? DType::i8 : run_.out_type;
      with_type(type, [&]<class T>(T) {
        if (run_.last_only)
          write_last<T>(group_.out[o], count, out_[o]);
        else if constexpr (Shape::kOneSymbol)
          write_one<T>(group_.out[o][0], count, out_[o][0]);
        else
          write_rows<T>(group_.out[o], count, out_[o]);
      });
    }
  }

  /// Hand over the signals of the last bars, when a word of them is full.
  WQ_HD_CALL void write_signals(int count) {
    const std::int64_t end = work_.bar + count, word = work_.bar / kWordBars;
    if (end % kWordBars != 0 && end < bars_) return;
    for (int f = 0; f < kFamilies; ++f)
      for (int b = 0; b < Shape::kBlocks; ++b)
        for (int k = 0; k < kBlock; ++k) {
          auto &is_long = layer1_.marks.is_long[f][b][k], &has_signal = layer1_.marks.has_signal[f][b][k];
          for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) {
            const int symbol = Shape::kOneSymbol ? 0 : j, n = Shape::length_index(b, k, j);
            SignalWords* const words = group_.signals[f][symbol];
            if (words == nullptr || word >= words_of(group_.close[symbol].bars)) continue;
            words[word].is_long[n] = is_long.lane(j);
            words[word].has_signal[n] = has_signal.lane(j);
          }
          is_long = has_signal = std::uint64_t{0};
        }
  }

  WQ_HD_CALL void write_details(int count) {
    for (int d = 0; d < kDetails; ++d)
      for (int f = 0; f < kFamilies; ++f)
        for (int b = 0; b < Shape::kBlocks; ++b)
          for (int k = 0; k < Shape::kBlock; ++k) write_detail(static_cast<Detail>(d), f, b, k, count);
  }

  WQ_HD_CALL void write_detail(Detail d, int f, int b, int k, int count) {
    Real(*rows)[W] = layer1_.detail[d][f][b][k];
    if (d == kDetailEquity)
      for (std::int64_t i = 0; i < count && work_.bar + i < params_.cutout; ++i) V(__builtin_nan("")).store(rows[i]);
    Sink sinks[W];
    for (int j = 0; j < W; ++j) {
      const int symbol = Shape::kOneSymbol ? 0 : j;
      sinks[j] = group_.detail[d][f][symbol];
      sinks[j].data += Shape::length_index(b, k, j) * group_.detail_step[d][f][symbol];
    }
    with_type(run_.out_type, [&]<class T>(T) { write_rows<T>(sinks, count, rows); });
  }

  template <class F>
  WQ_HD_CALL static void with_type(DType type, F f) {
    switch (type) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::i8:
      return f(std::int8_t{});
    }
  }

  template <class T, int N>
  WQ_HD_CALL void write_rows(const Sink (&sinks)[N], int count, const Real (*rows)[W]) {
    Sink lanes[W];
    for (int j = 0; j < W; ++j) lanes[j] = sinks[j];
    Shape::template write<T>(lanes, work_.bar, count, rows[0]);
  }

  template <class T>
  WQ_HD_CALL void write_one(const Sink& sink, int count, const Real* values) {
    if (std::is_same_v<T, Real> && sink.stride == sizeof(T)) {
      __builtin_memcpy(sink.data + work_.bar * sink.stride, values, sizeof(T) * count);
      return;
    }
    for (int i = 0; i < count; ++i) store_value<T>(sink.data + (work_.bar + i) * sink.stride, values[i]);
  }

  template <class T, int N>
  WQ_HD_CALL void write_last(const Sink (&sinks)[N], int count, const OutRow* rows) {
    for (int j = Shape::begin_column(); j < (Shape::kOneSymbol ? 1 : Shape::end_column()); ++j) {
      const std::int64_t i = group_.close[j].bars - 1 - work_.bar;
      if (i >= 0 && i < count && sinks[j].bars > 0) store_value<T>(sinks[j].data, rows[i][j]);
    }
  }

  /// Sums are rebuilt when what they hold is this many times louder, per bar, than the shortest window.
  static constexpr double kRoughness = 32;

  const Run& run_;
  const Params& params_;
  const Group& group_;
  typename Shape::Reader close_, src_;
  std::int64_t bars_ = 0, shortest_, rebuild_, seeded_ = 0;
  double rough_level_, rough_noise_;
  Work<Shape> work_;
  Layer1<Shape> layer1_;
  Vote<V> vote_[kFamilies];
  Vote<V> family_vote_[(kFamilies + W - 1) / W];  // the same for one symbol, families in the lanes
  const Real (*active_[kFamilies])[Shape::kSums];
  bool everything_settled_ = false;
  Past<Shape>* past_;
  AnyBank<Shape> bank_[kFamilies];
  alignas(kAlign) std::byte own_[Shape::kOwnBanks ? kBankBytes : 1];
  std::byte* next_bank_ = own_;
  int banks_ = 0;
  OutRow* out_[kOutputs];
  bool wants_layers_ = false;
  V last_close_, last_x_, last_run_, level_;
  [[no_unique_address]] std::conditional_t<Shape::kStream, V, Nothing> growth_;  // of each lane's bar
  M started_;
  O delayed_average_;
  Direction<O> direction_;
};

}  // namespace wq::atc::inline WQ_LEVEL
