// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/packet.h"

namespace wq::ma::inline WQ_LEVEL {

/// Sum over the last bars, and the same with the weights 1 (oldest) to `length` (newest).
template <class O>
struct WindowSums {
  O plain, weighted;
};

/// Bar j is j.
inline constexpr Ramp kBarNumbers = {{0, 1, 2, 3, 4, 5, 6, 7}};

/// Of f(k), k = 8, 16, ...: packets of which the newest bar, at k = 8, comes last. With `kWeighted` off the second sum
/// is not made.
template <class P, bool kWeighted, class F>
WQ_HD WindowSums<One<P>> window_sums(std::int64_t length, F f) {
  P plain = of<P>(Ramp{}), weighted = plain;
  for (std::int64_t k = kEight; k < length + kEight; k += kEight) {
    P value = f(k);
    // Weight of the packet's first bar; the bars before the window have 0 or less, and count as nothing.
    const P weight = of<P>(kBarNumbers) + all<P>(static_cast<double>(length + 1 - k));
    if (k > length) value = select(le(weight, all<P>(0.0)), of<P>(Ramp{}), value);
    plain = plain + value;
    if constexpr (kWeighted) weighted = weighted + weight * value;
  }
  return {total(plain), total(weighted)};
}

}  // namespace wq::ma::inline WQ_LEVEL
