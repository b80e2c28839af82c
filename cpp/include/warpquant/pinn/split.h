// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/macros.h"

/// Products of float32 numbers on units that multiply shorter ones: operands are split into parts that such a unit
/// takes as they are, products of parts are added up in float32.
namespace wq::pinn {

/// How products are made: as they are; from 2 parts of TF32 (11 bits each), three products of four; from 3 parts of
/// bfloat16 (8 bits each), six products of nine; or from one part, which loses the rest.
enum class Products : std::uint8_t { full, tf32x3, bf16x6, tf32, bf16 };

}  // namespace wq::pinn

namespace wq::pinn::inline WQ_LEVEL {

/// Rounded to 11 bits, ties away from 0, as devices do; what is not finite stays.
WQ_HD float to_tf32(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? __builtin_bit_cast(float, (bits + 0x1000u) & 0xffffe000u) : x;
}

/// Rounded to 8 bits, ties to even; what is not finite stays.
WQ_HD float to_bf16(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? __builtin_bit_cast(float, (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u) : x;
}

template <Products kProducts>
struct Splitting {
  static constexpr bool kTf32 = kProducts == Products::tf32x3 || kProducts == Products::tf32;
  static constexpr int kParts = kProducts == Products::tf32x3 ? 2 : kProducts == Products::bf16x6 ? 3 : 1;
  /// Pairs (p, q) of parts whose product counts: those with p + q < kParts.
  static constexpr int kPairs = kParts * (kParts + 1) / 2;

  /// Parts of x, the largest first. Differences are exact.
  WQ_HD static void split(float x, float (&parts)[kParts]) {
    for (int k = 0; k < kParts; ++k) {
      parts[k] = kTf32 ? to_tf32(x) : to_bf16(x);
      x = x - parts[k];
    }
  }

  /// Call visit(p, q) for pairs of parts, those with the smallest products first.
  template <class Visit>
  WQ_HD static void each_pair(Visit visit) {
    for (int sum = kParts - 1; sum >= 0; --sum)
      for (int p = sum; p >= 0; --p) visit(p, sum - p);
  }
};

}  // namespace wq::pinn::inline WQ_LEVEL
