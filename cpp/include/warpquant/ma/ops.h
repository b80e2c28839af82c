// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/series.h"
#include "warpquant/ma/spec.h"

/// What the dispatch hands to the kernels of one instruction level.
namespace wq::ma {

inline constexpr int kMaxLanes = 32;  // series (or parts of series) that one kernel call takes

/// Bars after which sliding sums start afresh, counted from the first bar of a series: a rule of the results, so that
/// streams, panels and single series agree to the last bit.
inline constexpr std::int64_t block_bars(std::int64_t length) {
  std::int64_t bars = 256;
  while (bars < length) bars *= 2;
  return bars;
}

/// The same for the sliding sums inside a recurrence.
inline constexpr std::int64_t kRefresh = 256;

/// Several averages of one kind over a few series. Output `s` of a lane lies s * out_step bytes behind its sink.
struct Job {
  int kind;
  const Spec* specs;
  int count;  // of specs
  DType in_type, out_type;
  int lanes;  // in use
  Series in[kMaxLanes];
  Sink out[kMaxLanes];
  std::int64_t out_step[kMaxLanes];
  bool suspect[kMaxLanes];  // set if a value that is not finite was read: the output is then not to be used
};

/// Single series from this many bars on may take the scan.
inline constexpr std::int64_t kScanBars = 32768;

struct Kernels {
  int lanes;
  /// A function of the window: each lane is one block, from its first bar (at most `block_bars` of the longest spec),
  /// all specs having the same `block_bars`. `first_bar` is the number of a lane's first bar in its series.
  void (*windowed)(Job&, const std::int64_t* first_bar, std::byte* scratch);
  /// A recurrence: each lane is a whole series.
  void (*recurrent)(Job&, std::byte* scratch);
  /// A recurrence over one long series (of at least `kScanBars` bars), eight bars at a time: within 2e-15 of the bits
  /// of `recurrent`. Returns false if the kind has no such form.
  bool (*scan)(Job&, std::byte* scratch);
  std::size_t (*scratch_bytes)(int kind, const Spec* specs, int count);
};

}  // namespace wq::ma
