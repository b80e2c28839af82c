// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/atc/ops.h"
#include "warpquant/atc/signals.h"
#include "warpquant/equity/curve.h"

/// The working set of one pass over a group of symbols: rows of one value per lane, one row per bar, few enough for
/// the first-level cache. Time advances in tiles; averages of one length run through a whole tile with their state
/// in registers before the next length starts.
namespace wq::atc::inline WQ_LEVEL {

struct Nothing {};

template <class Shape>
class Ledger;  // atc/ledger.h

/// A `Shape` says what lies in the lanes:
///   Real, V, M                type of numbers; value and mask of the lanes; lane(v, j): one of them
///   kWidth, kOneSymbol        columns of rows; whether they are lengths of one symbol
///   kBlocks, kBlock           a thread steps so many blocks of so many lengths, kTogether of them in one pass
///   kTile, span_of(history)   bars per tile, and between two shifts of the history
///   per_length(...)           a number for each lane, by its length; length_index(b, k, j): which of the nine it is
///   kSums, add_sum, total     rows of sums over lengths: columns, add to one, the sum
///   Reader, write             prices into rows, one bar after the other; rows into results
///   kSignalsOnly, Bits        of a sweep's first half: what is left is the signals as bits (`SignalWords`)
///   kFromSignals              of its second half, of a crew: averages and crosses are in such bits already
///   kOwnBanks                 threads share a group, so averages cannot be where its rows are
///   kStream                   one bar at a time, with a number of its own in every lane (atc/stream.h)
/// and who does what. On the CPU one thread does everything. A crew of threads shares a group of symbols:
///   leads(), is_first()       one thread for each symbol; one for all
///   meet()                    wait for the others
///   kOwners, owner()          who owns lengths
///   zero, shift, agree        rows of all, or of the owner's lengths

/// Rows that averages look back on.
template <class Shape>
struct Past {
  using Row = typename Shape::Real[Shape::kWidth];
  Row x;      // source of the averages
  Row moves;  // |x - previous x|
  Row sum;    // running sum of x
  Row noise;  // running sum of moves
};

/// Rows of the current tile.
template <class Shape>
struct Tile {
  using Real = typename Shape::Real;
  static constexpr int W = Shape::kWidth, kTile = Shape::kTile, kSums = Shape::kSums;
  Real twice_x[kTile][W], close[kTile][W];
  Real run[kTile][W];                           // bars present without a break up to this one
  Real lower[2][kTile][W], upper[2][kTile][W];  // band around the close, as it is and doubled
  Real if_long[kTile][W], if_short[kTile][W];
  Real if_flat[kTile][Shape::kStream ? W : 1];
  // Sums of equities over lengths: of all, of those that are long, of those with a signal.
  Real all[kFamilies][kTile][kSums], longs[kFamilies][kTile][kSums], active[kFamilies][kTile][kSums];
  Real rough[Shape::kCrew ? kTile : 1][W];  // what the leaders of a crew found

  WQ_HD typename Shape::V flat(int i) const {
    if constexpr (Shape::kStream)
      return Shape::V::load(if_flat[i]);
    else
      return typename Shape::V(if_flat[i][0]);
  }
};

/// How many bars back a lane looks.
template <class Shape>
struct Lag {
  static constexpr int kLags = Shape::kOneSymbol ? 3 : 1;  // of the three blocks, or of this one
  std::int64_t bars[kLags];

  /// `most`: no lane looks further back; a longer window is never complete anyway.
  template <class F>
  WQ_HD_CALL void set(const std::int64_t (&lengths)[kLengths], int block, int k, std::int64_t most, F f) {
    const typename Shape::V v = Shape::per_length(lengths, block, k, f);
    for (int j = 0; j < kLags; ++j)
      bars[j] = Shape::lane(v, j) < static_cast<double>(most) ? static_cast<std::int64_t>(Shape::lane(v, j)) : most;
  }
  /// The value that `column` of `row` had that many rows (of `kStep` numbers) before.
  template <int kStep>
  WQ_HD typename Shape::V before(const typename Shape::Real* column) const {
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
  using Real = typename Shape::Real;
  static constexpr int kPastStep = sizeof(Past<Shape>) / sizeof(typename Shape::Real);
  using V = typename Shape::V;
  using M = typename Shape::M;

  std::int64_t most_lag;     // furthest that any lane looks back
  std::int64_t history;      // rows kept before the current span
  std::int64_t raw_history;  // the same of the rows that the Hull average keeps
  std::int64_t span;         // rows of a span
  std::int64_t bar;          // number of the first bar of the tile
  Past<Shape>* past;         // of that bar
  Tile<Shape>* tile;
  std::int64_t row;  // of that bar within the span
  bool gaps;
  bool regular;  // nothing but seeds needs care: no missing bars, no output per length, no rarely used rule
  bool lsma_previous, dema_seed_is_mean, kama_seed_is_zero;

  // Lanes whose running sums hold values so much larger than the latest ones that too many digits are gone:
  M rough[Shape::kTile];
  bool any_rough[Shape::kTile];
  bool exact;  // this pass is one such bar: sum windows afresh in those lanes

  [[no_unique_address]] std::conditional_t<Shape::kStream, V, Nothing> lane_bar;  // number of the bar in each lane

  WQ_HD V bar_at(int i) const {
    if constexpr (Shape::kStream)
      return lane_bar;
    else
      return V(static_cast<double>(bar + i));
  }
  WQ_HD V run_at(int i) const { return gaps ? V::load(tile->run[i]) : bar_at(i) + V(1.0); }

  /// Rows with history, the latter zeroed; returns row 0 of the span. `shift_rows` makes the end of a full span the
  /// history of the next one. `kPerOwner`: every owner of lengths has its own.
  template <class Row, bool kPerOwner>
  WQ_HD_CALL Row* history_rows(std::int64_t history_bars, std::byte*& scratch) const {
    const std::size_t bytes = sizeof(Row) * static_cast<std::size_t>(history_bars + span);
    auto* rows = reinterpret_cast<Row*>(scratch + (kPerOwner ? Shape::owner() * bytes : 0));
    scratch += kPerOwner ? Shape::kOwners * bytes : bytes;
    Shape::zero(reinterpret_cast<Real*>(rows), history_bars, sizeof(Row) / sizeof(Real), kPerOwner);
    return rows + history_bars;
  }
  template <bool kPerOwner, class Row>
  WQ_HD_CALL void shift_rows(std::int64_t history_bars, Row* rows) const {
    Shape::shift(reinterpret_cast<Real*>(rows - history_bars), history_bars, span, sizeof(Row) / sizeof(Real),
                 kPerOwner);
  }
};

}  // namespace wq::atc::inline WQ_LEVEL
