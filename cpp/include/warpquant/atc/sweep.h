// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/atc/ops.h"

/// What the dispatch hands to the kernels of a sweep: many sets of parameters over one symbol. Each set's results have
/// the bits of a run of its own, but what several sets have in common is made once:
///   signals  of nine lengths of a family, by what decides their bits, in passes of the engines (`SignalWords`)
///   markets  what a bar does to an equity, by growth and decay
///   layers   layer 1 of a family: signals in a market
///   voters   the rest, one per set: layer 2, average, trend, direction
namespace wq::atc::sweep {

struct Market {
  const double* growth;  // one factor per bar, in whole words of bars
  double keep;           // 1 minus the decay per bar
  std::int64_t cutout;
};

/// By their places among the signals of the plan and the markets of the batch.
struct Layer {
  std::int32_t signals, market;
};

struct Voter {
  std::int32_t layer[kFamilies];  // by their places in the batch
  std::int32_t market;
  bool strategy_mode;
  Switches::Rounding rounding;
  Switches::Neutral neutral;
  double weight[kFamilies];
  double average_fill, long_threshold, short_threshold;
  Cuts<double> cuts;
};

/// Sets that go through time together. Neighbours share vector registers.
struct Batch {
  std::int32_t markets, layers, voters;
  const Market* market;
  const Layer* layer;
  const Voter* voter;
};

/// What is the same for every batch of a symbol.
struct Symbol {
  std::int64_t bars;
  const double* returns;              // from bar to bar, in whole words of bars
  const SignalWords* const* signals;  // of the plan, each `words_of(bars)`
};

/// What is the same for every symbol.
struct Outputs {
  bool wants[kOutputs];
  bool last_only;
  DType type;  // of the floating outputs
};

/// Kernels of one level.
struct Kernels {
  int lanes;
  std::size_t (*signals_scratch)(const Run&);
  /// Signals of up to `lanes` symbols, and of one.
  void (*signals)(const Run&, const Group&, std::byte* scratch);
  void (*signals_of_one)(const Run&, const Group&, std::byte* scratch);
  /// Simple returns of a symbol, `words_of(bars) * kWordBars` of them; NaN where they are unknown.
  void (*returns)(const Series& close, DType type, double* out);
  std::size_t (*tally_scratch)(const Batch&);
  /// `sinks`: for each voter of the batch those of the outputs that are wanted, in their order.
  void (*tally)(const Outputs&, const Batch&, const Symbol&, const Sink* sinks, std::byte* scratch);
};

}  // namespace wq::atc::sweep
