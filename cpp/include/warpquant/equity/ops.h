// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/series.h"

namespace wq::equity {

/// What is the same for every series of a call.
struct Params {
  double starting;
  double decay_per_bar;
  std::int64_t cutout;  // leading bars without equity
  double floor;
  bool sticky;       // keep the last exposure while the signal is 0; otherwise none
  bool from_prices;  // the input is closes, not returns
};

inline constexpr int kMaxLanes = 8;

/// Up to `Kernels::lanes` series.
struct Group {
  int lanes;
  DType in_type, signal_type, out_type;
  bool past_cache;  // results are too large to stay in the cache
  Series in[kMaxLanes], signal[kMaxLanes];
  Sink out[kMaxLanes];
};

struct Kernels {
  int lanes;
  /// `growth`: one factor per bar.
  void (*curve)(const Params&, const double* growth, const Group&);
  /// growth[i] = exp(rate * (i - origin)) for i in [0, bars).
  void (*growth)(double rate, std::int64_t origin, std::int64_t bars, double* growth);
};

}  // namespace wq::equity
