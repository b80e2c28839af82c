// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "warpquant/atc/stream.h"
#include "warpquant/core/lane_io.h"

/// Passages on the CPU: symbols, or the lengths of one symbol, lie in the lanes of a vector register.
namespace wq::atc::inline WQ_LEVEL {

/// One thread does everything.
template <int kWidth_, bool kSignalsOnly_>
struct Alone {
  static constexpr int kWidth = kWidth_, kSums = kWidth_, kTile = 32, kOwners = 1;
  static constexpr bool kCrew = false, kSignalsOnly = kSignalsOnly_, kFromSignals = false;
  static constexpr bool kOwnBanks = false, kStream = false;
  using Real = double;
  using V = Pack<kWidth>;
  using M = PackMask<kWidth>;
  using Bits = PackBits<kWidth>;
  using Reader = AnyReader<kWidth>;
  static_assert(rebuild_bars(1) % kTile == 0);

  static bool leads() { return true; }
  static bool is_first() { return true; }
  static void meet() {}
  static int owner() { return 0; }
  static int begin_column() { return 0; }
  static int end_column() { return kWidth; }

  /// So many that shifting stays cheap.
  static std::int64_t span_of(std::int64_t history) {
    std::int64_t span = 128;
    while (span < history) span *= 2;
    return span;
  }
  static void zero(double* rows, std::int64_t count, std::size_t columns, bool) {
    std::memset(rows, 0, static_cast<std::size_t>(count) * columns * sizeof(double));
  }
  static void shift(double* rows, std::int64_t count, std::int64_t by, std::size_t columns, bool) {
    const auto doubles = [&](std::int64_t n) { return static_cast<std::size_t>(n) * columns; };
    std::memmove(rows, rows + doubles(by), doubles(count) * sizeof(double));
  }

  WQ_HD static double lane(V v, int j) { return v.v[j]; }
  WQ_HD static void add_sum(double* row, V value, int block, int k) {
    (block == 0 && k == 0 ? value : V::load(row) + value).store(row);
  }
  template <class T>
  static void write(const Sink (&sinks)[kWidth], std::int64_t bar, int count, const double* rows) {
    LaneWriter<T, kWidth>(sinks).rows(bar, count, rows);
  }
};

/// Lanes are symbols; the nine lengths follow each other in three blocks.
template <int kWidth, bool kSignalsOnly = false>
struct SymbolLanes : Alone<kWidth, kSignalsOnly> {
  static constexpr int kBlocks = 3, kBlock = 3, kTogether = 3;
  static constexpr bool kOneSymbol = false;
  using V = Pack<kWidth>;

  static int length_index(int block, int k, int) { return block * kBlock + k; }
  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int block, int k, F f) {
    return V(f(static_cast<double>(lengths[block * kBlock + k])));
  }
  static AnyReader<kWidth> reader(const Group&, const Series (&symbols)[kMaxLanes], DType type) {
    Series lanes[kWidth];
    for (int j = 0; j < kWidth; ++j) lanes[j] = symbols[j];
    return {type, lanes};
  }
  /// Sum over the nine lengths, from a row that already holds the sum over the blocks.
  WQ_HD static V total(const double* row) { return V::load(row); }
};

/// Lanes are symbols, each at a bar of its own.
template <int kWidth>
struct StreamLanes : SymbolLanes<kWidth> {
  static constexpr int kTile = 1;
  static constexpr bool kStream = true;
  struct Reader {};
  static Reader reader(const Group&, const Series (&)[kMaxLanes], DType) { return {}; }
  static std::int64_t span_of(std::int64_t) { return 1; }
  WQ_HD static void want_soon(const double* p) { __builtin_prefetch(p); }
};

/// Lanes are the three blocks of lengths of one symbol (the fourth lane repeats the third). Rows that depend on the
/// symbol alone hold the same value in every lane, so the code that makes them is the same.
template <bool kSignalsOnly_ = false>
struct LengthLanes : Alone<4, kSignalsOnly_> {
  static constexpr int kBlocks = 1, kBlock = 3, kTogether = 3;
  static constexpr bool kOneSymbol = true;
  using V = Pack<4>;

  WQ_HD static int block_of(int lane) { return lane < 2 ? lane : 2; }
  static int length_index(int, int k, int lane) { return block_of(lane) * kBlock + k; }
  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int, int k, F f) {
    V v;
    for (int j = 0; j < 4; ++j) v.v[j] = f(static_cast<double>(lengths[block_of(j) * kBlock + k]));
    return v;
  }
  static AnyReader<4> reader(const Group&, const Series (&symbols)[kMaxLanes], DType type) {
    const Series lanes[4] = {symbols[0], symbols[0], symbols[0], symbols[0]};
    return {type, lanes};
  }
  /// The order of additions of `SymbolLanes`, where the blocks are added one after the other.
  WQ_HD static V total(const double* row) { return V(row[0]) + V(row[1]) + V(row[2]); }
};

}  // namespace wq::atc::inline WQ_LEVEL
