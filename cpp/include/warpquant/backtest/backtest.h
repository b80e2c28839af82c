// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "warpquant/backtest/ops.h"
#include "warpquant/core/levels.h"

/// Accounts that follow signals: what the bindings call.
namespace wq::backtest {

/// In the order of the results.
inline constexpr const char* kMetricNames[] = {
    "total_return",      "annual_return", "volatility", "sharpe",        "sortino", "max_drawdown",
    "max_drawdown_bars", "calmar",        "hit_rate",   "profit_factor", "trades",  "turnover",
    "exposure",          "var",           "cvar",       "skew",          "kurtosis"};
inline constexpr int kMetrics = static_cast<int>(sizeof(kMetricNames) / sizeof(kMetricNames[0]));

/// One account. A price that is NaN, infinite, not above 0 or beyond `kTooLarge` is a missing bar, which is as if not
/// there; so is a return that is not finite.
struct Item {
  Series prices;  // or returns, then without a signal
  Series signal;
  Sink position, returned, equity;  // of `Request::store`; float64
};

struct Request {
  Params params;
  bool from_returns = false;
  DType in_type = DType::f64, signal_type = DType::f64;
  // Sizing by volatility: on bar i `amount / s`, at most `most`, with s the deviation of the last `window` returns of
  // the price; 0 before there are so many.
  double amount = 0, most = 0;
  std::int64_t window = 0;
  bool store = false;
  double bars_per_year = 252, tail = 0.05;
  std::uint32_t metrics = 0;  // one bit per metric asked for
  Level level = best_level();
  int threads = 0;
};

/// `metrics`: of each metric one number per item.
void run(const Request& request, std::span<const Item> items, std::span<double* const> metrics);

/// From the fill of the entry to that of the exit, or to the last bar.
struct Trade {
  std::int64_t series, entry_bar, exit_bar;
  double entry_price, exit_price;
  std::int8_t side;
  double size;      // share of the equity at the entry
  double returned;  // what it did to the equity, costs included
  double fees;      // in units of the starting equity
  std::int64_t bars;
  bool open;
};

/// Every trade of every account, in order.
std::vector<Trade> trades(const Request& request, std::span<const Item> items);

}  // namespace wq::backtest
