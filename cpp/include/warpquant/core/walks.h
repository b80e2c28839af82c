// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/series.h"

namespace wq {

/// Series in device memory, as everything below, that kernels walk along: `inputs` of them make one result. The first
/// half of the inputs has one type, the second another.
struct Walks {
  std::int64_t series;
  int inputs;
  DType in_type[2];
  const Series* in;  // input k of result s at k * series + s; all of a result have as many bars
  DType out_type;
  const Sink* out;
  // Every series may be cut into pieces of time, walked side by side; the last piece of a short one may be empty.
  std::int64_t longest, pieces, piece_bars;  // `longest`: bars of the longest series
  std::byte* scratch;                        // kSlotBytes for each piece, if there are several

  WQ_HD DType type_of(int input) const { return type_of_input(in_type, inputs, input); }
};

/// What a piece needs to know of others.
inline constexpr std::size_t kSlotBytes = 64;

/// Where to cut series.
enum class Cut : std::uint8_t {
  nowhere,
  as_needed,  // so that a large device is busy: for results that do not depend on it
  always,     // at the same bars whatever else there is to do
};

/// Pieces in all that keep a device of 132 multiprocessors busy, four warps on each; bars of one, so that finding what
/// a piece does takes less than walking it. By counting: not measured on a device yet.
struct CutTuning {
  static constexpr std::int64_t kEnough = 1 << 14, kLeast = 512;
};

inline void cut_into_pieces(Walks& walks, Cut cut) {
  constexpr std::int64_t kEnough = CutTuning::kEnough, kLeast = CutTuning::kLeast;
  const std::int64_t most = (walks.longest + kLeast - 1) / kLeast;
  std::int64_t pieces = cut == Cut::nowhere ? 1 : most;
  if (cut == Cut::as_needed && kEnough / walks.series < pieces) pieces = kEnough / walks.series;
  walks.piece_bars = kLeast;
  if (pieces < most) walks.piece_bars *= (most + pieces - 1) / (pieces > 1 ? pieces : 1);
  if (pieces <= 1) walks.piece_bars = walks.longest;
  walks.pieces = walks.piece_bars > 0 ? (walks.longest + walks.piece_bars - 1) / walks.piece_bars : 1;
}

}  // namespace wq
