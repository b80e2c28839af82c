// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/ops.h"
#include "warpquant/atc/signals.h"
#include "warpquant/core/lane_io.h"
#include "warpquant/equity/curve.h"

/// The working set of one pass over a group of symbols: rows of one value per lane, one row per bar, few enough for
/// the first-level cache. Time advances in tiles; averages of one length run through a whole tile with their state
/// in registers before the next length starts.
namespace wq::atc::inline WQ_LEVEL {

inline constexpr int kBlock = 3;  // lengths that a pass steps together
inline constexpr int kTile = 32;  // bars per tile
static_assert(rebuild_bars(1) % kTile == 0);

/// Bars between two shifts of the history, so many that shifting stays cheap.
inline constexpr std::int64_t span_of(std::int64_t history) {
  std::int64_t span = 128;
  while (span < history) span *= 2;
  return span;
}

/// Lanes are symbols; the nine lengths follow each other in three blocks.
template <int kWidth_>
struct SymbolLanes {
  static constexpr int kWidth = kWidth_, kBlocks = 3;
  static constexpr bool kOneSymbol = false;
  using V = Pack<kWidth>;
  using M = PackMask<kWidth>;

  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int block, int k, F f) {
    return V(f(static_cast<double>(lengths[block * kBlock + k])));
  }
  /// Sum over the nine lengths, from a row that already holds the sum over the blocks.
  WQ_HD static V total(const double* row) { return V::load(row); }
};

/// Lanes are the three blocks of lengths of one symbol (the fourth lane repeats the third). Rows that depend on the
/// symbol alone hold the same value in every lane, so the code that makes them is the same.
struct LengthLanes {
  static constexpr int kWidth = 4, kBlocks = 1;
  static constexpr bool kOneSymbol = true;
  using V = Pack<4>;
  using M = PackMask<4>;

  WQ_HD static int block_of(int lane) { return lane < 2 ? lane : 2; }
  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int, int k, F f) {
    V v;
    for (int j = 0; j < kWidth; ++j) v.v[j] = f(static_cast<double>(lengths[block_of(j) * kBlock + k]));
    return v;
  }
  /// The order of additions of `SymbolLanes`, where the blocks are added one after the other.
  WQ_HD static V total(const double* row) { return V(row[0]) + V(row[1]) + V(row[2]); }
};

/// Rows that averages look back on.
template <int W>
struct Past {
  double x[W];      // source of the averages
  double moves[W];  // |x - previous x|
  double sum[W];    // running sum of x
  double noise[W];  // running sum of moves
};

/// Rows of the current tile.
template <int W>
struct Tile {
  double twice_x[kTile][W], close[kTile][W];
  double run[kTile][W];                           // bars present without a break up to this one
  double lower[2][kTile][W], upper[2][kTile][W];  // band around the close, as it is and doubled
  double if_long[kTile][W], if_short[kTile][W], if_flat[kTile];
  double all[kFamilies][kTile][W], longs[kFamilies][kTile][W], active[kFamilies][kTile][W];  // equities: all, long,
};  // with a signal

/// How many bars back a lane looks.
template <class Shape>
struct Lag {
  static constexpr int kLags = Shape::kOneSymbol ? 3 : 1;  // of the three blocks, or of this one
  std::int64_t bars[kLags];

  /// `most`: no lane looks further back; a longer window is never complete anyway.
  template <class F>
  void set(const std::int64_t (&lengths)[kLengths], int block, int k, std::int64_t most, F f) {
    const typename Shape::V v = Shape::per_length(lengths, block, k, f);
    for (int j = 0; j < kLags; ++j)
      bars[j] = v.v[j] < static_cast<double>(most) ? static_cast<std::int64_t>(v.v[j]) : most;
  }
  /// The value that `column` of `row` had that many rows (of `kStep` doubles) before.
  template <int kStep>
  WQ_HD typename Shape::V before(const double* column) const {
    if constexpr (Shape::kOneSymbol) {
      const auto lane = [&](int j) { return column[j - bars[j] * kStep]; };
      const double third = lane(2);  // a load less than asking once for each lane
      return typename Shape::V::Raw{lane(0), lane(1), third, third};
    } else {
      return Shape::V::load(column - bars[0] * kStep);
    }
  }
  WQ_HD std::int64_t longest() const {
    std::int64_t most = bars[0];
    for (int j = 1; j < kLags; ++j) most = bars[j] > most ? bars[j] : most;
    return most;
  }
};

template <class Shape>
struct Work {
  static constexpr int W = Shape::kWidth;
  static constexpr int kPastStep = sizeof(Past<W>) / sizeof(double);
  using V = typename Shape::V;
  using M = typename Shape::M;

  std::int64_t most_lag;  // furthest that any lane looks back
  std::int64_t history;   // rows kept before the current span
  std::int64_t span;      // rows of a span
  std::int64_t bar;       // number of the first bar of the tile
  Past<W>* past;          // of that bar
  Tile<W>* tile;
  std::int64_t row;  // of that bar within the span
  bool gaps;
  bool regular;  // nothing but seeds needs care: no missing bars, no output per length, no rarely used rule
  bool lsma_previous, dema_seed_is_mean, kama_seed_is_zero;

  // Lanes whose running sums hold values so much larger than the latest ones that too many digits are gone:
  M rough[kTile];
  bool any_rough[kTile];
  bool exact;  // this pass is one such bar: sum windows afresh in those lanes

  WQ_HD V run_at(int i) const { return gaps ? V::load(tile->run[i]) : V(static_cast<double>(bar + i + 1)); }

  /// Rows with history, the latter zeroed; returns row 0 of the span. `shift_rows` makes the end of a full span the
  /// history of the next one.
  template <class Row>
  Row* history_rows(std::int64_t history_bars, std::byte*& scratch) const {
    auto* rows = reinterpret_cast<Row*>(scratch);
    __builtin_memset(rows, 0, sizeof(Row) * history_bars);
    scratch += sizeof(Row) * (history_bars + span);
    return rows + history_bars;
  }
  template <class Row>
  void shift_rows(std::int64_t history_bars, Row* rows) const {
    __builtin_memmove(rows - history_bars, rows + span - history_bars, sizeof(Row) * history_bars);
  }
};

}  // namespace wq::atc::inline WQ_LEVEL
