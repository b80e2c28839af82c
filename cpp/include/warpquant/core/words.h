// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/math.h"

/// The bits of numbers, and whole numbers of 64 bits beside them. `core/word_lanes.h` has the same for packs.
namespace wq::inline WQ_LEVEL {

/// Words of 64 bits, one per lane: those that go with values of type V.
template <class V>
struct WordsOf {
  using type = std::uint64_t;
};
template <class V>
using Words = typename WordsOf<V>::type;

/// What a number is made of, and back.
WQ_HD std::uint64_t words_of(double x) { return __builtin_bit_cast(std::uint64_t, x); }
WQ_HD double numbers_of(std::uint64_t word) { return __builtin_bit_cast(double, word); }

/// The entry of a table that the four lowest bits count.
WQ_HD double entry(const double (&table)[16], std::uint64_t word) { return table[word & 15]; }

/// Whether a pack looks an entry up as fast as it multiplies.
#if defined(__AVX512F__)
inline constexpr bool kQuickEntries = true;
#else
inline constexpr bool kQuickEntries = false;
#endif

/// How many zeros are below the lowest one of a word that is not 0.
WQ_HD int lowest_one(std::uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

/// The product of the low halves.
WQ_HD std::uint64_t multiply(std::uint64_t a, std::uint32_t b) { return (a & 0xffffffffULL) * b; }
WQ_HD std::uint64_t low_half(std::uint64_t a) { return a & 0xffffffffULL; }

}  // namespace wq::inline WQ_LEVEL
