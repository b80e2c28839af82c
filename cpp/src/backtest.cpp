// SPDX-License-Identifier: Apache-2.0
#include "warpquant/backtest/backtest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "warpquant/backtest/account.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/values.h"

WQ_KERNEL_TABLE(backtest)

namespace wq::backtest {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

enum Metric {
  kTotalReturn,
  kAnnualReturn,
  kVolatility,
  kSharpe,
  kSortino,
  kMaxDrawdown,
  kMaxDrawdownBars,
  kCalmar,
  kHitRate,
  kProfitFactor,
  kTrades,
  kTurnover,
  kExposure,
  kVar,
  kCvar,
  kSkew,
  kKurtosis
};
static_assert(kKurtosis + 1 == kMetrics);

constexpr std::uint32_t bit(Metric m) { return std::uint32_t{1} << m; }
constexpr std::uint32_t kOfMoments = bit(kVolatility) | bit(kSharpe) | bit(kSortino) | bit(kSkew) | bit(kKurtosis);
constexpr std::uint32_t kOfTail = bit(kVar) | bit(kCvar);

double value_at(const Series& s, DType type, std::int64_t bar) {
  return type == DType::i8 ? load_value<std::int8_t>(s.data + bar * s.stride) : read(s, type, bar);
}

bool same(const Series& a, const Series& b) { return a.data == b.data && a.stride == b.stride && a.bars == b.bars; }

/// The deviation (of a sample) of the last `window` numbers for each bar. Windows are cut where multiples of `window`
/// lie; moments of both parts are added (Chan, Golub and LeVeque 1979), so nothing that has left the window stays
/// behind in a sum.
void deviations(const double* x, std::int64_t bars, std::int64_t window, double* out, std::vector<double>& scratch) {
  struct Moments {
    double count = 0, mean = 0, squares = 0;

    void add(double value) {
      count += 1;
      const double distance = value - mean;
      mean += distance / count;
      squares += distance * (value - mean);
    }
  };
  window = std::min(window, bars + 1);  // a longer one is never complete either
  scratch.resize(static_cast<std::size_t>(3 * window));
  auto* const ends = scratch.data();  // moments of the last bars of the part before
  for (std::int64_t from = 0; from < bars; from += window) {
    Moments now;
    const std::int64_t to = std::min(from + window, bars);
    for (std::int64_t bar = from; bar < to; ++bar) {
      now.add(x[bar]);
      double squares = now.squares;
      const auto missing = static_cast<std::int64_t>(static_cast<double>(window) - now.count);
      if (missing > 0) {
        if (from == 0) {
          out[bar] = kNaN;
          continue;
        }
        const double* const end = ends + 3 * (missing - 1);
        const double distance = now.mean - end[1];
        squares += end[2] + distance * distance * (now.count * end[0] / static_cast<double>(window));
      }
      out[bar] = std::sqrt(squares / static_cast<double>(window - 1));
    }
    Moments back;
    for (std::int64_t bar = to - 1; to == from + window && bar >= from; --bar) {
      back.add(x[bar]);
      double* const end = ends + 3 * (to - 1 - bar);
      end[0] = back.count, end[1] = back.mean, end[2] = back.squares;
    }
  }
}

/// What is made from a price series before accounts can be walked, kept for the next ones that have it.
struct Source {
  Series prices;
  std::vector<double> returns, amounts;
  std::vector<std::int64_t> present;  // bars that are there, if some are not
  std::int64_t bars = -1;             // of these

  bool whole() const { return bars == prices.bars; }
  std::int64_t bar(std::int64_t i) const { return whole() ? i : present[i]; }

  void make(const Request& request, const Series& series, std::vector<double>& scratch) {
    prices = series;
    returns.resize(static_cast<std::size_t>(series.bars));
    request.in_type == DType::f32 ? fill<float>(request.from_returns) : fill<double>(request.from_returns);
    if (request.params.sizing != Sizing::table) return;
    amounts.resize(returns.size());
    if (bars == 0) return;
    // The first bar has no return.
    deviations(returns.data() + 1, bars - 1, request.window, amounts.data() + 1, scratch);
    amounts[0] = kNaN;
    for (std::int64_t i = 0; i < bars; ++i)
      amounts[i] = std::isnan(amounts[i]) ? 0.0 : std::min(request.amount / amounts[i], request.most);
  }

 private:
  template <class T>
  void fill(bool from_returns) {
    const std::byte* const data = prices.data;
    const std::int64_t stride = prices.stride;
    if (stride == sizeof(T))  // known to the compiler, it is several bars at a time
      fill_from([=](std::int64_t i) { return load_value<T>(data + i * static_cast<std::int64_t>(sizeof(T))); },
                from_returns);
    else
      fill_from([=](std::int64_t i) { return load_value<T>(data + i * stride); }, from_returns);
  }

  template <class At>
  void fill_from(At at, bool from_returns) {
    const auto is_there = [&](double x) {
      return from_returns ? x - x == 0 : static_cast<bool>((x > 0) & (x < kTooLarge));
    };
    bars = 0;
    for (std::int64_t i = 0; i < prices.bars; ++i) bars += is_there(at(i));
    if (bars == 0) return;
    double* const r = returns.data();
    const auto fill_with = [&](auto value) {
      r[0] = from_returns ? value(0) : 0.0;
      if (from_returns)
        for (std::int64_t i = 1; i < bars; ++i) r[i] = value(i);
      else
        for (std::int64_t i = 1; i < bars; ++i) r[i] = (value(i) - value(i - 1)) / value(i - 1);
    };
    if (whole()) return fill_with(at);
    present.clear();
    for (std::int64_t i = 0; i < prices.bars; ++i)
      if (is_there(at(i))) present.push_back(i);
    fill_with([&](std::int64_t i) { return at(present[i]); });
  }
};

/// What one thread works with.
struct Worker {
  Source sources[kMaxLanes];
  std::vector<double> rows, scratch;
  std::vector<double> signal[kMaxLanes], outputs[kMaxLanes];  // of series with missing bars
  std::vector<double> below[kMaxLanes];
};

/// A source for each lane, made where no lane before and no group before had it.
void find_sources(const Request& request, std::span<const Item> items, const std::vector<std::int64_t>& order,
                  std::int64_t from, int lanes, Worker& w, Source* (&found)[kMaxLanes]) {
  bool used[kMaxLanes] = {};
  for (int j = 0; j < lanes; ++j) {
    found[j] = nullptr;
    for (int k = 0; k < kMaxLanes && !found[j]; ++k)
      if (w.sources[k].bars >= 0 && same(w.sources[k].prices, items[order[from + j]].prices)) {
        found[j] = &w.sources[k];
        used[k] = true;
      }
  }
  for (int j = 0; j < lanes; ++j) {
    const Series& prices = items[order[from + j]].prices;
    for (int k = 0; k < j && !found[j]; ++k)
      if (same(found[k]->prices, prices)) found[j] = found[k];
    for (int k = 0; k < kMaxLanes && !found[j]; ++k)
      if (!used[k]) {
        used[k] = true;
        found[j] = &w.sources[k];
        found[j]->make(request, prices, w.scratch);
      }
  }
}

/// The values of the bars that are there.
void without_missing(const Source& source, Series& signal, DType type, std::vector<double>& dense) {
  const std::int64_t values = std::max<std::int64_t>(source.bars, 1);
  dense.assign(static_cast<std::size_t>(values), kNaN);
  for (std::int64_t i = 0; i < source.bars; ++i) dense[i] = value_at(signal, type, source.present[i]);
  signal = {reinterpret_cast<const std::byte*>(dense.data()), sizeof(double), values, 0};
}

/// Results of the bars that are there, each at its place; on others the account stays as it is and has no return.
void with_missing(const Source& source, const Item& item, double starting, const double* dense) {
  const double *position = dense, *returned = dense + source.bars, *equity = dense + 2 * source.bars;
  std::int64_t next = 0;
  for (std::int64_t bar = 0; bar < source.prices.bars; ++bar) {
    const bool there = next < source.bars && source.present[next] == bar;
    next += there;
    write(item.position, DType::f64, bar, next > 0 ? position[next - 1] : 0.0);
    write(item.returned, DType::f64, bar, there ? returned[next - 1] : kNaN);
    write(item.equity, DType::f64, bar, next > 0 ? equity[next - 1] : starting);
  }
}

struct Tail {
  double var = kNaN, cvar = kNaN;
};

/// From the numbers below or at the limit; false if there are not enough of them.
bool tail_of(std::vector<double>& below, std::int64_t count, std::int64_t at, double limit, std::int64_t bars,
             double share, Tail& tail) {
  const double rank = static_cast<double>(bars - 1) * share;
  const auto k = static_cast<std::int64_t>(rank);
  const std::int64_t needed = std::min(k + 2, bars);
  if (count + at < needed) return false;
  const auto begin = below.begin(), end = begin + count;
  double low = limit, high = limit;
  if (k < count) {
    std::nth_element(begin, begin + k, end);
    low = begin[k];
    if (k + 1 < count) high = *std::min_element(begin + k + 1, end);
  }
  if (k + 1 >= bars) high = low;
  tail.var = low + (high - low) * (rank - static_cast<double>(k));
  const std::int64_t summed = std::min(k + 1, count);
  double sum = std::accumulate(begin, begin + summed, 0.0);
  if (summed <= k) sum += static_cast<double>(k + 1 - summed) * limit;
  tail.cvar = sum / static_cast<double>(k + 1);
  return true;
}

/// Value at risk and what is lost beyond it. Most returns are above a limit from a sample of them, and only looked at
/// once.
void find_tails(const Request& request, const Kernels& kernels, const Group& g, Worker& w, Tail (&found)[kMaxLanes]) {
  constexpr std::int64_t kSample = 256;
  double limits[kMaxLanes], sample[2 * kSample];
  double* below[kMaxLanes];
  std::int64_t counts[kMaxLanes], at[kMaxLanes];
  for (int j = 0; j < g.lanes; ++j) {
    w.below[j].resize(static_cast<std::size_t>(g.bars[j] + 1));
    below[j] = w.below[j].data();
    limits[j] = HUGE_VAL;
    if (g.bars[j] < 4 * kSample || !std::isfinite(g.summary[j].mean)) continue;
    const std::int64_t step = g.bars[j] / kSample;
    std::int64_t size = 0;
    for (std::int64_t bar = 0; bar < g.bars[j] && size < 2 * kSample; bar += step)
      sample[size++] = g.rows[bar * kernels.lanes + j];
    const double n = static_cast<double>(size), share = request.tail;
    const auto rank = static_cast<std::int64_t>(n * share + 3.0 * std::sqrt(n * share * (1 - share))) + 1;
    if (rank >= size) continue;
    std::nth_element(sample, sample + rank, sample + size);
    limits[j] = sample[rank];
  }
  kernels.tails(g, limits, below, counts, at);
  for (int j = 0; j < g.lanes; ++j) {
    // The mean of numbers that are all finite is, unless they overflow; nothing has an order otherwise.
    if (!std::isfinite(g.summary[j].mean) || g.bars[j] == 0) continue;
    if (tail_of(w.below[j], counts[j], at[j], limits[j], g.bars[j], request.tail, found[j])) continue;
    for (std::int64_t bar = 0; bar < g.bars[j]; ++bar) w.below[j][bar] = g.rows[bar * kernels.lanes + j];
    tail_of(w.below[j], g.bars[j], 0, HUGE_VAL, g.bars[j], request.tail, found[j]);
  }
}

/// The definitions of docs/backtest.md.
void measure(const Request& request, const Summary& s, const Tail& tail, double (&m)[kMetrics]) {
  std::fill(std::begin(m), std::end(m), kNaN);
  m[kTrades] = s.trades;
  if (s.bars == 0) return;
  const double year = request.bars_per_year, n = s.bars;
  m[kTotalReturn] = s.equity - 1.0;
  m[kAnnualReturn] = s.equity > 0 ? std::expm1(std::log(s.equity) * year / n) : -1.0;
  m[kMaxDrawdown] = s.deepest - 1.0;
  m[kMaxDrawdownBars] = s.longest;
  if (s.deepest < 1) m[kCalmar] = m[kAnnualReturn] / (1.0 - s.deepest);
  if (s.trades > 0) {
    m[kHitRate] = s.won / s.trades;
    m[kProfitFactor] = s.loss > 0 ? s.profit / s.loss : s.profit > 0 ? HUGE_VAL : kNaN;
  }
  m[kTurnover] = s.turnover * year / n;
  m[kExposure] = s.held / n;
  m[kVar] = tail.var;
  m[kCvar] = tail.cvar;
  const double excess = s.mean - request.params.risk_free_per_bar;
  if (n > 1) m[kVolatility] = s.spread > 0 ? std::sqrt(s.squares / (n - 1) * year) : s.spread == 0 ? 0.0 : kNaN;
  if (m[kVolatility] > 0) m[kSharpe] = excess * year / m[kVolatility];
  if (s.downside > 0) m[kSortino] = excess * std::sqrt(year / (s.downside / n));
  if (s.spread > 0) {
    const double square = s.squares / n;
    m[kSkew] = s.cubes / n / (square * std::sqrt(square));
    m[kKurtosis] = s.fourths / n / (square * square);
  }
}

/// Accounts in the lanes of a group: those that have the prices in common beside each other, else of about equal
/// length.
std::vector<std::int64_t> side_by_side(std::span<const Item> items) {
  std::vector<std::int64_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    const Series &x = items[a].prices, &y = items[b].prices;
    return x.bars != y.bars ? x.bars > y.bars : std::less<>()(x.data, y.data);
  });
  return order;
}

void run_group(const Request& request, const Kernels& kernels, std::span<const Item> items,
               const std::vector<std::int64_t>& order, std::int64_t from, Worker& w, std::span<double* const> metrics) {
  Group g{};
  g.lanes = static_cast<int>(std::min<std::int64_t>(kernels.lanes, std::ssize(order) - from));
  g.signal_type = request.signal_type;
  g.store = request.store;
  Source* sources[kMaxLanes] = {};
  find_sources(request, items, order, from, g.lanes, w, sources);
  std::int64_t longest = 0;
  bool some_missing = false;
  g.shared = true;
  for (int j = 0; j < g.lanes; ++j) {
    g.shared &= sources[j] == sources[0];
    some_missing |= !sources[j]->whole();
    longest = std::max(longest, sources[j]->bars);
  }
  for (int j = 0; j < g.lanes; ++j) {
    const Item& item = items[order[from + j]];
    const Source& source = *sources[j];
    g.bars[j] = source.bars;
    g.returns[j] = source.returns.data();
    g.amounts[j] = source.amounts.data();
    g.signal[j] = item.signal;
    g.position[j] = item.position;
    g.returned[j] = item.returned;
    g.equity[j] = item.equity;
    if (source.whole()) continue;
    if (!request.from_returns) without_missing(source, g.signal[j], request.signal_type, w.signal[j]);
    if (!request.store) continue;
    w.outputs[j].resize(static_cast<std::size_t>(3 * source.bars));
    const auto part = [&](std::int64_t i) {
      return Sink{reinterpret_cast<std::byte*>(w.outputs[j].data() + i * source.bars), sizeof(double), source.bars};
    };
    g.position[j] = part(0);
    g.returned[j] = part(1);
    g.equity[j] = part(2);
  }
  if (some_missing && !request.from_returns) {
    // Signals without their missing bars are doubles; those of the other lanes become so, too.
    g.signal_type = DType::f64;
    for (int j = 0; j < g.lanes; ++j)
      if (sources[j]->whole() && request.signal_type != DType::f64) {
        w.signal[j].resize(static_cast<std::size_t>(g.bars[j]));
        for (std::int64_t i = 0; i < g.bars[j]; ++i) w.signal[j][i] = value_at(g.signal[j], request.signal_type, i);
        g.signal[j] = {reinterpret_cast<const std::byte*>(w.signal[j].data()), sizeof(double), g.bars[j], 0};
      }
  }
  const std::size_t room = static_cast<std::size_t>(std::max<std::int64_t>(longest, 1) * kernels.lanes);
  if (w.rows.size() < room) w.rows.resize(room);
  g.rows = w.rows.data();
  Tail tails[kMaxLanes];
  if (longest > 0) {
    request.from_returns ? kernels.compound(request.params, g) : kernels.accounts(request.params, g);
    if (request.metrics & (kOfMoments | kOfTail)) kernels.moments(request.params, g);
    if (request.metrics & kOfTail) find_tails(request, kernels, g, w, tails);
  }
  for (int j = 0; j < g.lanes; ++j) {
    const std::int64_t item = order[from + j];
    if (request.store && !sources[j]->whole())
      with_missing(*sources[j], items[item], request.params.starting, w.outputs[j].data());
    double values[kMetrics];
    measure(request, g.summary[j], tails[j], values);
    for (int m = 0; m < kMetrics; ++m)
      if (request.metrics >> m & 1) metrics[m][item] = values[m];
  }
}

}  // namespace

void run(const Request& request, std::span<const Item> items, std::span<double* const> metrics) {
  const Kernels& kernels = kernels_at(request.level);
  const std::vector<std::int64_t> order = side_by_side(items);
  const std::int64_t groups = (std::ssize(items) + kernels.lanes - 1) / kernels.lanes;
  const int threads = request.threads > 0 ? request.threads : usable_processors();
  std::vector<Worker> workers(
      static_cast<std::size_t>(std::max<std::int64_t>(std::min<std::int64_t>(threads, groups), 1)));
  parallel_for(static_cast<int>(workers.size()), groups, [&](std::int64_t group, int worker) {
    run_group(request, kernels, items, order, group * kernels.lanes, workers[static_cast<std::size_t>(worker)],
              metrics);
  });
}

namespace {

/// What the fills of a bar cost.
struct Recorder {
  double closing = 0, whole = 0;

  void filled(double left, double equity, double paid) {
    closing = equity - left;
    whole = paid;
  }
};

void trades_of(const Request& request, const Item& item, std::int64_t series, Worker& w, std::vector<Trade>& found) {
  const Params& p = request.params;
  Source& source = w.sources[0];
  if (source.bars < 0 || !same(source.prices, item.prices)) source.make(request, item.prices, w.scratch);
  const Levels<double> levels{p.long_above, p.short_below, p.long_exit, p.short_exit};
  const Rates<double> rates{p.trade_rate, p.long_rate, p.short_rate};
  Account<double> account;
  double side = 0;
  std::int64_t last = 0;
  for (std::int64_t i = 0; i < source.bars; ++i) {
    const std::int64_t bar = source.bar(i);
    const double signal = i < p.lag ? kNaN : value_at(item.signal, request.signal_type, source.bar(i - p.lag));
    side = next_side(signal, side, levels);
    const double amount = p.sizing == Sizing::full     ? p.size
                          : p.sizing == Sizing::signal ? p.size * strength(signal, side)
                          : i < p.lag                  ? 0.0
                                                       : source.amounts[i - p.lag];
    const double side_before = account.side, entry_before = account.entry;
    Recorder fill;
    account.step(side, side * amount, source.returns[i], rates, p.every_bar, fill);
    const double price = read(source.prices, request.in_type, bar);
    const bool turned = account.side != side_before;
    if (side_before != 0) {
      Trade& trade = found.back();
      trade.fees += p.starting * (turned ? fill.closing : fill.whole);
      if (turned) {
        const double left = account.side != 0 ? account.entry : account.equity;
        trade.exit_bar = bar;
        trade.exit_price = price;
        trade.bars = i - last;
        trade.returned = left / entry_before - 1;
        trade.open = false;
      }
    }
    if (turned && account.side != 0) {
      last = i;
      const double cost = p.starting * (side_before != 0 ? fill.whole - fill.closing : fill.whole);
      found.push_back({series, bar, -1, price, kNaN, static_cast<std::int8_t>(account.side), std::abs(account.target),
                       0, cost, 0, true});
    }
  }
  if (account.side != 0) {
    Trade& trade = found.back();
    trade.exit_bar = source.bar(source.bars - 1);
    trade.exit_price = read(source.prices, request.in_type, trade.exit_bar);
    trade.bars = source.bars - 1 - last;
    trade.returned = account.equity / account.entry - 1;
  }
}

}  // namespace

std::vector<Trade> trades(const Request& request, std::span<const Item> items) {
  const int threads = request.threads > 0 ? request.threads : usable_processors();
  std::vector<Worker> workers(static_cast<std::size_t>(threads));
  std::vector<std::vector<Trade>> found(items.size());
  parallel_for(threads, std::ssize(items), [&](std::int64_t i, int worker) {
    trades_of(request, items[i], i, workers[static_cast<std::size_t>(worker)], found[static_cast<std::size_t>(i)]);
  });
  std::vector<Trade> all;
  for (const auto& some : found) all.insert(all.end(), some.begin(), some.end());
  return all;
}

}  // namespace wq::backtest
