// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/series.h"
#include "warpquant/ma/spec.h"

/// What the dispatch hands to the kernels of one instruction level.
namespace wq::ma {

/// Bars after which sliding sums start afresh, counted from an average's first packet: a rule of the results, so that
/// streams, panels and single series agree to the last bit.
inline constexpr std::int64_t block_bars(std::int64_t length) {
  std::int64_t bars = 256;
  while (bars < length) bars *= 2;
  return bars;
}

inline constexpr int kGroup = 8;  // series that one kernel call takes

/// Several averages of one kind over a few series. Output `s` of a series lies s * out_step bytes behind its sink.
struct Job {
  int kind;
  const Spec* specs;
  int count;  // of specs
  DType in_type, out_type;
  int series;  // in use
  Series in[kGroup];
  Sink out[kGroup];
  std::int64_t out_step[kGroup];
  std::int64_t begin, end;  // bars to compute: all of them, or, of windowed averages, whole blocks
  bool suspect[kGroup];     // set if a value that is not finite was read: the output is then not to be used
};

struct Kernels {
  void (*average)(Job&, std::byte* scratch);
  std::size_t (*scratch_bytes)(int kind, const Spec* specs, int count);
};

}  // namespace wq::ma
