// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/philox.h"

namespace wq {

/// Dimensions there are direction numbers for.
inline constexpr int kSobolDims = 1024;

/// Direction numbers, 32 for each dimension, their bits reversed: the first digit is the lowest bit.
const std::uint32_t* sobol_directions();

enum class Scramble : std::uint8_t { none, shift, owen };

}  // namespace wq

/// Sobol points in the order of their numbers (not that of Gray's code), digits lowest bit first, so that a scrambling
/// hash, in which bits change higher bits only, changes later digits only.
namespace wq::inline WQ_LEVEL {

/// The digits that point `number` has in a dimension.
WQ_HD std::uint32_t sobol_digits(const std::uint32_t* directions, std::uint64_t number) {
  std::uint32_t x = 0;
  for (; number != 0; number &= number - 1) x ^= directions[lowest_one(number)];
  return x;
}

WQ_HD void sobol_digits(std::uint64_t& digits, const std::uint32_t* directions, std::uint64_t number) {
  digits = sobol_digits(directions, number);
}

/// Digits permuted as Owen, Randomly permuted (t,m,s)-nets (1995), asks: each by a random function of those before it.
/// The function is a hash: Burley, Practical hash-based Owen scrambling, J. Comput. Graph. Tech. 9(4) (2020), with the
/// constants of Vegdahl, Building a better LK hash (2021).
template <class U>
WQ_HD U owen_scrambled(U x, std::uint32_t seed) {
  x = x ^ multiply(x, 0x3d20adeau);
  x = x + U(static_cast<std::uint64_t>(seed));
  x = multiply(x, (seed >> 16) | 1u);
  x = x ^ multiply(x, 0x05526c56u);
  x = x ^ multiply(x, 0x53a22864u);
  return low_half(x);
}

/// Bits in the opposite order.
template <class U>
WQ_HD U reverse_bits(U x) {
  const auto swap = [&](int by, std::uint64_t mask) { x = ((x >> by) & U(mask)) | ((x & U(mask)) << by); };
  swap(1, 0x55555555ULL);
  swap(2, 0x33333333ULL);
  swap(4, 0x0f0f0f0fULL);
  swap(8, 0x00ff00ffULL);
  swap(16, 0x0000ffffULL);
  return x;
}

/// A hash of 32 bits: each changes every other (Wang's finaliser with the constants of lowbias32).
template <class U>
WQ_HD U hashed(U x) {
  x = low_half(x);
  x = multiply(x ^ (x >> 16), 0x7feb352du);
  x = low_half(x);
  x = multiply(x ^ (x >> 15), 0x846ca68bu);
  x = low_half(x);
  return x ^ (x >> 16);
}

/// 52 bits of a coordinate, with two random words that dimension and replicate have to themselves. Digits beyond the 32
/// of the points are zeros, which scrambling turns into random ones.
template <class U>
WQ_HD U sobol_bits(U digits, Scramble scramble, std::uint32_t random0, std::uint32_t random1) {
  if (scramble == Scramble::owen) {
    const U own = owen_scrambled(digits, random0);
    const U more = hashed(own ^ U(static_cast<std::uint64_t>(random1)));
    return bits_of(reverse_bits(own), more);
  }
  const U own = reverse_bits(digits) << 20;
  if (scramble == Scramble::none) return own | U(0x80000ULL);  // the middle of what 32 digits tell apart
  return own ^ bits_of(U(static_cast<std::uint64_t>(random0)), U(static_cast<std::uint64_t>(random1)));
}

}  // namespace wq::inline WQ_LEVEL
