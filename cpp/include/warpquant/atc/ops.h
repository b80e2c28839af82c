// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/atc/params.h"
#include "warpquant/core/macros.h"
#include "warpquant/core/series.h"

/// What the dispatch hands to the kernels of one instruction level.
namespace wq::atc {

/// Outputs that are one value per bar, in the order of `Group::out`.
enum Output {
  kAverage,
  kTrend,
  kDirection,
  kSignal,                        // + family
  kEquity = kSignal + kFamilies,  // + family
  kOutputs = kEquity + kFamilies,
};

/// Classes are int8, the others floating-point numbers.
WQ_HD constexpr bool is_class(int output) { return output == kTrend || output == kDirection; }

/// Outputs that are one value per bar and length, in the order of `Group::detail`.
enum Detail { kDetailAverage, kDetailSignal, kDetailEquity, kDetails };

inline constexpr int kMaxLanes = 8;

/// Bars after which sliding sums are recomputed from their windows: a rule of the results, so that panels, single
/// series, streams and devices agree to the last bit. The cost stays a few operations per bar however long the windows.
WQ_HD constexpr std::int64_t rebuild_bars(std::int64_t longest_length) {
  std::int64_t bars = 128;
  while (4 * bars < longest_length) bars *= 2;
  return bars;
}

/// Signals of the nine lengths of a family through `kWordBars` bars, the first in the lowest bit.
struct SignalWords {
  std::uint64_t is_long[kLengths], has_signal[kLengths];
};
inline constexpr std::int64_t kWordBars = 64;
WQ_HD constexpr std::int64_t words_of(std::int64_t bars) { return (bars + kWordBars - 1) / kWordBars; }

/// Shortest and longest of all lengths of a set of parameters. Running sums start, and are rebuilt, according to it.
struct Reach {
  std::int64_t shortest, longest;
};

/// What is the same for every symbol of a call.
struct Run {
  Params params;
  Cuts<double> cuts;
  std::int64_t bars;     // of the longest series
  const double* growth;  // one factor per bar
  DType out_type;        // of the floating outputs; trend and direction are i8
  bool last_only;        // sinks hold one value: that of the symbol's last bar
  bool float32;          // a device may compute in float32
  bool wants[kOutputs];
  bool detail;
  // Of a pass that makes the signals of lengths which several sets of parameters have:
  Reach reach;            // of those sets; zeros: that of `params`
  bool skips[kFamilies];  // families that nobody wants from this pass
};

/// The symbols that one pass works on, one per lane. Lanes without a symbol repeat lane 0.
struct Group {
  int symbols;
  bool gaps;          // values that are not finite occur; they count as missing bars
  bool skips;         // on a device: they are no bars, and passed over as prices are read
  bool separate_src;  // averages follow `src`, otherwise `close`
  DType close_type, src_type;
  Series close[kMaxLanes], src[kMaxLanes];
  Sink out[kOutputs][kMaxLanes];
  Sink detail[kDetails][kFamilies][kMaxLanes];  // of length 0; length k starts k * detail_step bytes later
  std::int64_t detail_step[kDetails][kFamilies][kMaxLanes];
  SignalWords* signals[kFamilies][kMaxLanes];  // of a pass that makes them, or takes them: `words_of(bars)`
};

/// Results of the present bars alone stand at the front until they are spread. Where the one for a bar then is, with
/// `before` present bars before it; -1: nowhere, it is NaN, or 0 for a class. At missing bars classes repeat.
WQ_HD constexpr std::int64_t place_of(bool present, bool is_class, std::int64_t before) {
  return present ? before : is_class ? before - 1 : -1;
}

/// Values of symbols at bars.
struct Grid {
  std::byte* data;  // null: not wanted
  std::int64_t symbol_step, bar_step;

  WQ_HD std::byte* at(std::int64_t symbol, std::int64_t bar) const {
    return data + symbol * symbol_step + bar * bar_step;
  }
};

/// New bars of the symbols of a stream. What a stream remembers are `rows` numbers for each symbol; groups of
/// `kMaxLanes` symbols follow each other, in each their rows.
struct Feed {
  double* state;
  std::int64_t rows, symbols, bars;
  bool commits;  // otherwise the state stays as it is
  bool spreads;  // at missing bars floats are NaN and classes repeat; otherwise results there are not written
  DType close_type, src_type, out_type;
  Grid close, src, out[kOutputs];
  Grid last[kOutputs];  // of the newest bar of each symbol; not for kernels
};

/// Kernels of one level. `symbols` computes up to `lanes` symbols together, `single` one symbol with its lengths in
/// the lanes: several times faster than a pass with one lane in use, and the same bits.
struct Kernels {
  int lanes;
  std::size_t (*scratch_bytes)(const Run&);
  void (*symbols)(const Run&, const Group&, std::byte* scratch);
  void (*single)(const Run&, const Group&, std::byte* scratch);
  /// Of a stream: rows of its state, which begin as told unless `group` is null; groups [first, last) through a feed.
  /// `separate_src` alone is read of `shared`.
  std::size_t (*stream_scratch)(const Run&);
  std::int64_t (*stream_start)(const Run&, const Group& shared, double* group, std::byte* scratch);
  void (*stream)(const Run&, const Group& shared, const Feed&, std::int64_t first, std::int64_t last,
                 std::byte* scratch);
};

}  // namespace wq::atc
