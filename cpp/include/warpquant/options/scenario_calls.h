// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/options/scenario_ops.h"

namespace wq::options::scenario {

/// Sums over groups of positions that lie one after the other: group g is positions [offsets[g], offsets[g + 1]).
/// out[group][sum][time][volatility][spot], `sums` of them (1 or kSums). The same bits for any number of threads.
void run(const Book& book, const Grid& grid, const std::vector<std::int64_t>& offsets, int sums, double* out,
         const Execution& execution);

}  // namespace wq::options::scenario
