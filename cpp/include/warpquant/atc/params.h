// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// Parameters of adaptive trend classification in the units of the kernels (docs/atc.md explains each).
namespace wq::atc {

inline constexpr int kFamilies = 6;
inline constexpr int kLengths = 9;  // per family: the base length and four on either side

enum Family { kEma, kHma, kWma, kDema, kLsma, kKama };
inline constexpr const char* kFamilyNames[kFamilies] = {"EMA", "HMA", "WMA", "DEMA", "LSMA", "KAMA"};

/// The independent choices in which published versions of the algorithm disagree.
struct Switches {
  enum class Hma : std::uint8_t { sma, hull } hma;
  enum class DemaSeed : std::uint8_t { sma, value } dema_seed;
  enum class Lsma : std::uint8_t { end, previous } lsma;
  enum class KamaSeed : std::uint8_t { zero, first } kama_seed;
  enum class Rounding : std::uint8_t { away, even, none } rounding;
  enum class Cut : std::uint8_t { fixed, thresholds } cut;
  enum class Neutral : std::uint8_t { sticky, flat } neutral;
  enum class AverageFill : std::uint8_t { nan, zero } average_fill;
};

struct Params {
  std::int64_t length[kFamilies][kLengths];  // bars, canonical order: base, longer ones, shorter ones
  double weight[kFamilies];                  // starting equity of layer 2
  double la_per_bar;
  double de_per_bar;
  std::int64_t cutout;
  double long_threshold;
  double short_threshold;
  double cut_level;
  double cross_rtol;
  bool strategy_mode;
  Switches switches;
};

/// What layer 2 asks of a layer-1 signal, moved in front of the rounding: rounding is monotonic, so "the rounded signal
/// is above x" is "the signal is at least y" for one y.
template <class V>
struct Cuts {
  V positive, negative;  // rounds above / below zero: decides the exposure of the next bar
  V high, low;           // rounds above / below the cut level: decides the vote
};

}  // namespace wq::atc
