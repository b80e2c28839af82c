// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/macros.h"

/// Revaluation of many positions under every combination of moves in spot, volatility and time, of which only sums are
/// kept.
namespace wq::options::scenario {

/// What a position is made of, one array each. An underlying is a call struck at 0 that has expired. `beta` and
/// `vol_beta` are how much of a move of the grid the position makes.
enum Field : int {
  kSpot,
  kStrike,
  kExpiry,
  kRate,
  kDividend,
  kVol,
  kSign,  // 1 call, -1 put, 0 an underlying
  kShift,
  kBeta,
  kVolBeta,
  kWeight,
  kFields
};
inline constexpr const char* kFieldNames = "spot strike expiry rate dividend vol sign shift beta vol_beta weight";

enum class Model : int { bsm, black76, bachelier };

/// Sums that a node of the grid has: of the values, and of their plain derivatives, times the weights.
enum Sum : int { kValue, kDelta, kGamma, kVega, kSums };
inline constexpr const char* kSumNames = "value delta gamma vega";

/// A move: x becomes x * (1 + beta * relative) + beta * absolute, and is kept from falling below 0 (not the spot of
/// Bachelier's model).
struct Axis {
  std::int64_t count;
  const double *relative, *absolute;
};

struct Grid {
  Axis spot, vol;
  std::int64_t times;
  const double* years;  // that pass

  WQ_HD std::int64_t nodes() const { return times * vol.count * spot.count; }
};

struct Book {
  Model model;
  const double* field[kFields];
};

/// Positions that a kernel revalues at a time: what they share over the grid stays in the caches.
inline constexpr int kBlock = 32;

struct Kernels {
  /// Adds what positions [from, to) are worth to sums[sum][node], with the spot moving fastest, then volatility, then
  /// time; `sums` of them. `scratch`: room for scratch_size(grid) numbers.
  void (*revalue)(const Book& book, const Grid& grid, int sums, std::int64_t from, std::int64_t to, double* scratch,
                  double* out);
};

/// Positions [from, to) of a group.
struct Part {
  std::int64_t group, from, to;
};

/// On a device, where everything is: `partial` has room for sums[part][sum][node]. Those of a group's parts are added
/// in their order, to out[group][sum][node].
struct Launch {
  Book book;
  Grid grid;
  int sums;
  const Part* parts;
  std::int64_t count;                // of parts
  const std::int64_t* part_offsets;  // group g has parts [part_offsets[g], part_offsets[g + 1])
  std::int64_t groups;
  double *partial, *out;
};

inline std::int64_t scratch_size(const Grid& grid) { return grid.spot.count * (4 * kBlock + 1); }

}  // namespace wq::options::scenario
