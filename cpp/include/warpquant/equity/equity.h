// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/equity/ops.h"

/// Equity curves of a signal: what the bindings call.
namespace wq::equity {

struct Item {
  Series in, signal;
  Sink out;
};

struct Request {
  Params params;
  double growth_per_bar;
  DType in_type = DType::f64, signal_type = DType::f64, out_type = DType::f64;
  bool exact = true;  // otherwise a device may cut time into pieces
};

void curve(const Request& request, std::span<const Item> items, const Execution& execution);

/// exp(rate * (i - origin)) for i in [0, bars) and maybe further: it depends on the bar alone, so one table serves
/// every series, and the last one made serves the next call.
std::shared_ptr<const std::vector<double>> growth_table(double rate, std::int64_t origin, std::int64_t bars,
                                                        Level level);

}  // namespace wq::equity
