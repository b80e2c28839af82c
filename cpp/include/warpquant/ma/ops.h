// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/series.h"
#include "warpquant/ma/spec.h"

/// What the dispatch hands to the kernels of one instruction level.
namespace wq::ma {

/// Parts of series that one kernel call takes. More would hide still more of the latency of a recurrence, but so many
/// series at a time come from memory more slowly.
inline constexpr int kMostLanes = 8;

/// Where the state of a recurrence comes from.
enum class Start : std::uint8_t {
  first,    // the beginning of the series, which the part has to start with
  guess,    // `guess_bars` before the part, from nothing but the prices there
  resumed,  // given
};

/// Several averages of one kind over a few parts of series. Output `s` of a part lies s * out_step bytes behind its
/// sink.
struct Job {
  int kind;
  const Spec* specs;
  int count;  // of specs
  DType in_type, out_type;
  bool past_cache;        // results are too large to stay in the cache
  int lanes;              // parts in use
  Series in[kMostLanes];  // whole series
  Sink out[kMostLanes];   // whole results
  std::int64_t out_step[kMostLanes];
  std::int64_t begin[kMostLanes], end[kMostLanes];  // bars of a part; all begin at multiples of their blocks
  bool suspect[kMostLanes];                         // a value was not finite: the output is then not to be used

  Start start;  // of recurrences
  // Recurrences of one spec: states before and after each part, kStateBytes for each lane, or null.
  std::byte *before, *after;
};

struct Kernels {
  int lanes;  // parts that go well together: blocks of windows at most so many, series up to kMostLanes
  void (*average)(Job&, std::byte* scratch);
  std::size_t (*scratch_bytes)(int kind, const Spec* specs, int count);
};

/// Bytes of the state of a lane; the same on every level.
inline constexpr std::size_t kStateBytes = 64;

}  // namespace wq::ma
