// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/params.h"
#include "warpquant/core/series.h"

/// The stages of ATC between averages and the final signal, one at a time.
namespace wq::signals {

enum class Op : std::uint8_t { crosses, family, average, trend, direction };

struct Params {
  Op op;
  int inputs;           // averages, closes | signals..., equities... | the same of families | averages | averages
  double rtol;          // of crosses
  double upper, lower;  // beyond which signals vote, or the direction turns
  double fill;          // of an average that is not known
  atc::Switches::Rounding rounding;  // of a family's signal
};

/// A series.
struct Job {
  DType in_type[2], out_type;  // of the first half of the inputs, and of the second
  const Series* in;            // as many bars each
  Sink out;
};

/// Bars that are worked on at a time: the rows of nine signals and nine equities stay in the first-level cache.
inline constexpr std::int64_t kTile = 64;

struct Kernels {
  /// `rows`: room for `inputs * kTile` numbers.
  void (*run)(const Params&, const Job&, double* rows);
};

}  // namespace wq::signals
