// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/series.h"

namespace wq::backtest {

enum class Sizing : std::uint8_t {
  full,    // the size
  signal,  // the size times the strength of the signal
  table    // a number per bar, made from the prices
};

/// What is the same for every series of a call.
struct Params {
  Sizing sizing = Sizing::full;
  bool every_bar = false;  // trade back to the target on each bar, not only when it changes
  double long_above = 0, short_below = 0, long_exit = 0, short_exit = 0;
  double size = 1;
  std::int64_t lag = 0;  // bars from a signal to the close at which it is filled
  double trade_rate = 0, long_rate = 0, short_rate = 0;
  double starting = 1;
  double risk_free_per_bar = 0;
};

/// What a series leaves behind.
struct Summary {
  double bars;
  double equity, deepest, longest;
  double held, turnover, trades, won, profit, loss;
  double mean, spread;             // of the returns; sum of the distances from the first, 0 if all are equal
  double squares, cubes, fourths;  // sums of powers of their deviations from the mean
  double downside;                 // sum of the squares of what is missing to the risk-free return
};

inline constexpr int kMaxLanes = 8;

/// Up to `Kernels::lanes` series without missing bars. One that has no bars, beside others, has one value all the same.
struct Group {
  int lanes;
  bool shared;  // the prices of all are those of the first
  DType signal_type;
  std::int64_t bars[kMaxLanes];
  const double* returns[kMaxLanes];  // of the prices, the first is 0; or those to be followed
  const double* amounts[kMaxLanes];  // for `Sizing::table`
  Series signal[kMaxLanes];
  bool store;
  Sink position[kMaxLanes], returned[kMaxLanes], equity[kMaxLanes];
  double* rows;  // returns of the accounts: one row of `Kernels::lanes` numbers per bar
  Summary summary[kMaxLanes];
};

struct Kernels {
  int lanes;
  /// The accounts that follow the signals.
  void (*accounts)(const Params&, Group&);
  /// The equity of given returns.
  void (*compound)(const Params&, Group&);
  /// Moments of the rows.
  void (*moments)(const Params&, Group&);
  /// Of each lane, the rows below its limit go to `below`; how many these are, and how many are at the limit.
  void (*tails)(const Group&, const double* limits, double* const* below, std::int64_t* counts, std::int64_t* at);
};

}  // namespace wq::backtest
