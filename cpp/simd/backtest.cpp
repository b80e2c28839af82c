// SPDX-License-Identifier: Apache-2.0
#include "warpquant/backtest/account.h"
#include "warpquant/backtest/ops.h"
#include "warpquant/core/lane_io.h"

namespace wq::backtest::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;
using V = Pack<W>;
constexpr double kNaN = __builtin_nan("");

/// What each lane has; lanes beyond those of the group repeat the first.
template <class T>
struct PerLane {
  T of[W];

  template <class Of>
  PerLane(const Group& g, Of lane) {
    for (int j = 0; j < W; ++j) of[j] = lane(j < g.lanes ? j : 0);
  }
};

/// Doubles that a group has in tables.
struct Tables {
  bool shared;
  const double* first;
  LaneReader<double, W> lanes;

  Tables(const Group& g, const double* const (&tables)[kMaxLanes])
      : shared(g.shared), first(tables[0]), lanes(PerLane<Series>(g, [&](int j) -> Series {
                                                    // Without bars there is one number all the same.
                                                    const std::int64_t numbers = g.bars[j] > 0 ? g.bars[j] : 1;
                                                    const auto* data = reinterpret_cast<const std::byte*>(tables[j]);
                                                    return {data, sizeof(double), numbers, 0};
                                                  }).of) {}

  WQ_HD void block(std::int64_t bar, V (&rows)[W]) const {
    if (!shared) return lanes.block<true>(bar, rows);
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) rows[i] = V(first[bar + i]);
  }
  V row(std::int64_t bar) const { return shared ? V(first[bar]) : lanes.row(bar); }
};

/// Signals of the type that the caller has.
struct Signals {
  DType type;
  LaneReader<double, W> f64;
  LaneReader<float, W> f32;
  LaneReader<std::int8_t, W> i8;

  explicit Signals(const Group& g) : Signals(g, PerLane<Series>(g, [&](int j) { return g.signal[j]; })) {}
  Signals(const Group& g, const PerLane<Series>& signal)
      : type(g.signal_type), f64(signal.of), f32(signal.of), i8(signal.of) {}

  WQ_HD void block(std::int64_t bar, V (&rows)[W]) const {
    type == DType::f64 ? f64.block(bar, rows) : type == DType::f32 ? f32.block(bar, rows) : i8.block(bar, rows);
  }
  V row(std::int64_t bar) const {
    return type == DType::f64 ? f64.row(bar) : type == DType::f32 ? f32.row(bar) : i8.row(bar);
  }
};

struct Lengths {
  V bars;
  std::int64_t shortest, longest;

  explicit Lengths(const Group& g) : shortest(g.bars[0]), longest(g.bars[0]) {
    const PerLane<std::int64_t> lanes(g, [&](int j) { return g.bars[j]; });
    for (int j = 0; j < W; ++j) {
      const std::int64_t n = lanes.of[j];
      bars.v[j] = static_cast<double>(n);
      shortest = n < shortest ? n : shortest;
      longest = n > longest ? n : longest;
    }
  }
  auto over(std::int64_t bar) const { return ge(V(static_cast<double>(bar)), bars); }
};

/// Where results per bar go.
struct Outputs {
  LaneWriter<double, W> position, returned, equity;

  explicit Outputs(const Group& g)
      : position(PerLane<Sink>(g, [&](int j) { return g.position[j]; }).of),
        returned(PerLane<Sink>(g, [&](int j) { return g.returned[j]; }).of),
        equity(PerLane<Sink>(g, [&](int j) { return g.equity[j]; }).of) {}
};

template <Sizing kSizing, bool kStore>
struct Accounts {
  const Params& p;
  const Tables returns, amounts;
  const Signals signals;
  const Outputs out;
  double* rows;

  WQ_HD Levels<V> levels() const { return {V(p.long_above), V(p.short_below), V(p.long_exit), V(p.short_exit)}; }
  WQ_HD Rates<V> rates() const { return {V(p.trade_rate), V(p.long_rate), V(p.short_rate)}; }

  /// Share of the equity to hold on a side.
  WQ_HD V wanted(V signal, V side, V amount) const {
    if constexpr (kSizing == Sizing::full) return side * V(p.size);
    if constexpr (kSizing == Sizing::signal) return side * (V(p.size) * strength(signal, side));
    if constexpr (kSizing == Sizing::table) return side * amount;
  }

  WQ_HD static V share(const Account<V>& a) { return div_if(gt(a.equity, V(0.0)), a.holding, a.equity); }

  /// Bars [from, to), all behind the lag and of every lane, W at a time.
  [[gnu::noinline]] void blocks(Account<V>& account, V& side, std::int64_t from, std::int64_t to) const {
    const Levels<V> l = levels();
    const Rates<V> c = rates();
    const bool every_bar = p.every_bar;
    Account<V> a = account;
    V latched = side;
    for (std::int64_t bar = from; bar < to; bar += W) {
      V signal[W], r[W], amount[W], position[W], equity[W];
      signals.block(bar - p.lag, signal);
      returns.block(bar, r);
      if constexpr (kSizing == Sizing::table) amounts.block(bar - p.lag, amount);
#pragma GCC unroll 1
      for (int i = 0; i < W; ++i) {
        latched = next_side(signal[i], latched, l);
        const V share_wanted = wanted(signal[i], latched, kSizing == Sizing::table ? amount[i] : V(0.0));
        r[i] = a.step(latched, share_wanted, r[i], c, every_bar, NoWatch{});
        r[i].store(rows + (bar + i) * W);
        if constexpr (kStore) {
          position[i] = share(a);
          equity[i] = a.equity * V(p.starting);
          r[i] = r[i] + V(0.0);
        }
      }
      if constexpr (kStore) {
        out.position.block(bar, position);
        out.returned.block(bar, r);
        out.equity.block(bar, equity);
      }
    }
    account = a;
    side = latched;
  }

  /// One bar, which some lanes may not have.
  [[gnu::noinline]] void bar(Account<V>& account, V& side, std::int64_t bar, const Lengths& lengths) const {
    const Account<V> old = account;
    V signal(kNaN), amount(0.0);
    if (bar >= p.lag) {
      signal = signals.row(bar - p.lag);
      if constexpr (kSizing == Sizing::table) amount = amounts.row(bar - p.lag);
    }
    side = next_side(signal, side, levels());
    const V r = account.step(side, wanted(signal, side, amount), returns.row(bar), rates(), p.every_bar, NoWatch{});
    account.take_back(lengths.over(bar), old);
    r.store(rows + bar * W);
    if constexpr (kStore) {
      out.position.row(bar, share(account));
      out.returned.row(bar, r + V(0.0));
      out.equity.row(bar, account.equity * V(p.starting));
    }
  }
};

template <class A>
void summarise(Group& g, const A& account) {
  for (int j = 0; j < g.lanes; ++j) {
    Summary& s = g.summary[j];
    s.bars = static_cast<double>(g.bars[j]);
    s.equity = account.equity.v[j];
    s.deepest = account.drawdown.deepest.v[j];
    s.longest = account.drawdown.longest.v[j];
  }
}

template <Sizing kSizing, bool kStore>
void accounts_of(const Params& p, Group& g) {
  const Lengths lengths(g);
  const Tables returns(g, g.returns);
  const Accounts<kSizing, kStore> walk{
      p, returns, kSizing == Sizing::table ? Tables(g, g.amounts) : returns, Signals(g), Outputs(g), g.rows};
  Account<V> account;
  V side(0.0);
  std::int64_t bar = 0;
  for (; bar < p.lag && bar < lengths.longest; ++bar) walk.bar(account, side, bar, lengths);
  if (const std::int64_t whole = (lengths.shortest - bar) / W * W; whole > 0) {
    walk.blocks(account, side, bar, bar + whole);
    bar += whole;
  }
  for (; bar < lengths.longest; ++bar) walk.bar(account, side, bar, lengths);
  account.finish();
  summarise(g, account);
  for (int j = 0; j < g.lanes; ++j) {
    Summary& s = g.summary[j];
    s.held = account.held.v[j];
    s.turnover = account.turnover.v[j];
    s.trades = account.trades.v[j];
    s.won = account.won.v[j];
    s.profit = account.profit.v[j];
    s.loss = account.loss.v[j];
  }
}

void accounts(const Params& p, Group& g) {
  const auto with = [&]<Sizing kSizing>() {
    g.store ? accounts_of<kSizing, true>(p, g) : accounts_of<kSizing, false>(p, g);
  };
  if (p.sizing == Sizing::full) with.template operator()<Sizing::full>();
  if (p.sizing == Sizing::signal) with.template operator()<Sizing::signal>();
  if (p.sizing == Sizing::table) with.template operator()<Sizing::table>();
}

void compound(const Params&, Group& g) {
  const Lengths lengths(g);
  const Tables returns(g, g.returns);
  Compounding<V> now;
  std::int64_t bar = 0;
  for (; bar + W <= lengths.shortest; bar += W) {
    V r[W];
    returns.block(bar, r);
#pragma GCC unroll 1
    for (int i = 0; i < W; ++i) now.step(r[i]).store(g.rows + (bar + i) * W);
  }
  for (; bar < lengths.longest; ++bar) {
    const Compounding<V> old = now;
    now.step(returns.row(bar)).store(g.rows + bar * W);
    now.take_back(lengths.over(bar), old);
  }
  summarise(g, now);
}

/// Sums are in two steps, of which the first has this many bars, so that their error hardly grows with the bars.
constexpr std::int64_t kPart = 128;

/// Sums over the rows of what `add` adds to N numbers; `add(sums, row, present)`.
template <int N, class Add>
WQ_HD void sum_rows(const double* rows, const Lengths& lengths, V (&total)[N], Add add) {
  for (V& t : total) t = V(0.0);
  for (std::int64_t from = 0; from < lengths.longest; from += kPart) {
    const std::int64_t to = from + kPart < lengths.longest ? from + kPart : lengths.longest;
    V part[N];
    for (V& s : part) s = V(0.0);
    std::int64_t bar = from;
    for (; bar < to && bar < lengths.shortest; ++bar) add(part, V::load(rows + bar * W), [](V x) { return x; });
    for (; bar < to; ++bar) {
      const auto present = negate(lengths.over(bar));
      add(part, V::load(rows + bar * W), [present](V x) { return keep_if(present, x); });
    }
    for (int i = 0; i < N; ++i) total[i] = total[i] + part[i];
  }
}

void moments(const Params& p, Group& g) {
  const Lengths lengths(g);
  const V first = V::load(g.rows), wanted(p.risk_free_per_bar);
  V sum[2];
  sum_rows(g.rows, lengths, sum, [&](V(&s)[2], V x, auto present) {
    s[0] = s[0] + present(x);
    s[1] = s[1] + present(abs(x - first));
  });
  const V mean = sum[0] / lengths.bars;
  V sums[5];
  sum_rows(g.rows, lengths, sums, [&](V(&s)[5], V x, auto present) {
    const V d = present(x - mean), square = d * d, missing = present(min(x - wanted, V(0.0)));
    s[0] = s[0] + square;
    s[1] = s[1] + square * d;
    s[2] = s[2] + square * square;
    s[3] = s[3] + missing * missing;
    s[4] = s[4] + d;
  });
  // What the mean lost to rounding is taken back: beside nearly equal returns it is not small.
  const V n = lengths.bars, e = sums[4] / n, ee = e * e;
  const V squares = sums[0] - n * ee;
  const V cubes = sums[1] - V(3.0) * e * sums[0] + V(2.0) * n * ee * e;
  const V fourths = sums[2] - V(4.0) * e * sums[1] + V(6.0) * ee * sums[0] - V(3.0) * n * ee * ee;
  for (int j = 0; j < g.lanes; ++j) {
    Summary& s = g.summary[j];
    s.mean = mean.v[j];
    s.spread = sum[1].v[j];
    s.squares = squares.v[j];
    s.cubes = cubes.v[j];
    s.fourths = fourths.v[j];
    s.downside = sums[3].v[j];
  }
}

void tails(const Group& g, const double* limits, double* const* below, std::int64_t* counts, std::int64_t* at) {
  const Lengths lengths(g);
  V limit, level(0.0);
  std::int64_t found[W] = {};
  for (int j = 0; j < W; ++j) limit.v[j] = limits[j < g.lanes ? j : 0];
  for (std::int64_t bar = 0; bar < lengths.longest; ++bar) {
    const V x = V::load(g.rows + bar * W);
    auto lower = lt(x, limit), same = eq(x, limit);
    if (bar >= lengths.shortest) {
      lower = but_not(lower, lengths.over(bar));
      same = but_not(same, lengths.over(bar));
    }
    level = add_if(same, level, V(1.0));
    if (!any(lower)) continue;
    for (int j = 0; j < g.lanes; ++j) {
      below[j][found[j]] = x.v[j];  // has room for one more than there are bars
      found[j] += lane(lower, j);
    }
  }
  for (int j = 0; j < g.lanes; ++j) {
    counts[j] = found[j];
    at[j] = static_cast<std::int64_t>(level.v[j]);
  }
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {W, accounts, compound, moments, tails};

}  // namespace wq::backtest::inline WQ_LEVEL
