// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/macros.h"

/// bfloat16: the upper half of a float.
namespace wq::optim::inline WQ_LEVEL {

struct Bfloat {
  std::uint16_t bits;
};

WQ_HD float widened(Bfloat b) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(b.bits) << 16); }

/// To the nearest, ties to even.
WQ_HD Bfloat narrowed(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40u;  // rounding up could make it infinite
  return {static_cast<std::uint16_t>(x != x ? nan : rounded)};
}

WQ_HD double value_of(double x) { return x; }
WQ_HD double value_of(float x) { return static_cast<double>(x); }
WQ_HD double value_of(Bfloat x) { return static_cast<double>(widened(x)); }

}  // namespace wq::optim::inline WQ_LEVEL
