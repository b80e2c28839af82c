// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/series.h"
#include "warpquant/ma/holes.h"
#include "warpquant/ma/spec.h"

/// What the dispatch hands to a device.
namespace wq::ma {

/// How series with missing values are computed again, without the host: a block of threads takes one after the other,
/// with scratch for a copy, its results and what the threads need.
struct Mending {
  static constexpr std::int64_t kMostThreads = 256;
  Hole hole;
  std::int64_t blocks, threads;  // no blocks: nothing is mended
  std::size_t copy_bytes, result_bytes, block_bytes;
  std::byte* scratch;  // blocks * block_bytes
};

/// One average over series in device memory. A thread walks a piece of a series: some blocks of a window's average, or
/// a part of a recurrence, which starts from a guess where it is not the first.
struct Launch {
  int kind;
  Spec spec;
  DType in_type, out_type;
  std::int64_t series;
  const Series* in;  // in device memory, as everything below
  const Sink* out;
  // Set to 1 for a series with a value that is not finite, whose output is then not to be used unless it is mended; the
  // last, behind those of all series, for any.
  int* suspect;
  std::int64_t pieces, piece_bars;  // of every series; the last piece of a short one may be empty
  std::byte* scratch;               // scratch_bytes of it
  Mending mending;
};

/// How to cut series, and what memory that takes.
struct Plan {
  std::int64_t pieces, piece_bars;
  std::size_t scratch_bytes;
};
Plan plan(int kind, const Spec& spec, std::int64_t series, std::int64_t longest);

/// For as many series at a time as `most_bytes` of scratch allow, one at least.
Mending mending(const Launch& launch, Hole hole, std::int64_t longest, std::size_t most_bytes);

/// A state of a recurrence at each end of each piece.
inline constexpr std::size_t kStateWords = 8;
struct PieceStates {
  std::uint64_t before[kStateWords], after[kStateWords];
};

}  // namespace wq::ma
