// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/series.h"
#include "warpquant/ma/spec.h"

/// What the dispatch hands to a device.
namespace wq::ma {

/// One average over series in device memory. A thread walks a piece of a series: some blocks of a window's average, or
/// a part of a recurrence, which starts from a guess where it is not the first.
struct Launch {
  int kind;
  Spec spec;
  DType in_type, out_type;
  std::int64_t series;
  const Series* in;  // in device memory, as everything below; each begins with a present value
  const Sink* out;
  int* suspect;  // set to 1 for a series with a value that is not finite: its output is then not to be used
  std::int64_t pieces, piece_bars;  // of every series; the last piece of a short one may be empty
  std::byte* scratch;               // scratch_bytes of it
};

/// How to cut series, and what memory that takes.
struct Plan {
  std::int64_t pieces, piece_bars;
  std::size_t scratch_bytes;
};
Plan plan(int kind, const Spec& spec, std::int64_t series, std::int64_t longest);

/// A state of a recurrence at each end of each piece.
inline constexpr std::size_t kStateWords = 8;
struct PieceStates {
  std::uint64_t before[kStateWords], after[kStateWords];
};

}  // namespace wq::ma
