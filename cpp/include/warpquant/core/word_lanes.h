// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lanes.h"
#include "warpquant/core/sobol.h"

/// `core/words.h` and `core/philox.h` for packs.
namespace wq::inline WQ_LEVEL {

template <int W>
struct RawWords;
#define WQ_RAW_WORDS(W)                                            \
  template <>                                                      \
  struct RawWords<W> {                                             \
    typedef std::uint64_t U64 __attribute__((vector_size(W * 8))); \
  };
WQ_RAW_WORDS(2)
WQ_RAW_WORDS(4)
WQ_RAW_WORDS(8)
#undef WQ_RAW_WORDS

template <int W>
struct WordPack {
  using U64 = typename RawWords<W>::U64;
  U64 v;

  WordPack() = default;
  WQ_HD WordPack(U64 raw) : v(raw) {}
  WQ_HD WordPack(std::uint64_t word) : v(U64{} + word) {}
};
template <int W>
struct WordsOf<Pack<W>> {
  using type = WordPack<W>;
};

template <int W>
WQ_HD WordPack<W> words_of(Pack<W> x) {
  return (typename WordPack<W>::U64)x.v;
}
template <int W>
WQ_HD Pack<W> numbers_of(WordPack<W> words) {
  return (typename Pack<W>::Raw)words.v;
}

template <int W>
WQ_HD Pack<W> entry(const double (&table)[16], WordPack<W> word) {
#if defined(__AVX512F__)
  if constexpr (W == 8)
    return _mm512_permutex2var_pd(_mm512_loadu_pd(table), (__m512i)word.v, _mm512_loadu_pd(table + 8));
#endif
  const auto at = word.v & 15;
  if constexpr (W == 2) return typename Pack<W>::Raw{table[at[0]], table[at[1]]};
  if constexpr (W == 4) return typename Pack<W>::Raw{table[at[0]], table[at[1]], table[at[2]], table[at[3]]};
  typename Pack<W>::Raw entries;
  for (int i = 0; i < W; ++i) entries[i] = table[at[i]];
  return entries;
}

template <int W>
WQ_HD WordPack<W> operator^(WordPack<W> a, WordPack<W> b) {
  return a.v ^ b.v;
}
template <int W>
WQ_HD WordPack<W> operator|(WordPack<W> a, WordPack<W> b) {
  return a.v | b.v;
}
template <int W>
WQ_HD WordPack<W> operator&(WordPack<W> a, WordPack<W> b) {
  return a.v & b.v;
}
template <int W>
WQ_HD WordPack<W> operator+(WordPack<W> a, WordPack<W> b) {
  return a.v + b.v;
}
template <int W>
WQ_HD WordPack<W> operator>>(WordPack<W> a, int bits) {
  return a.v >> bits;
}
template <int W>
WQ_HD WordPack<W> operator<<(WordPack<W> a, int bits) {
  return a.v << bits;
}
template <int W>
WQ_HD WordPack<W> low_half(WordPack<W> a) {
  return a.v & 0xffffffffULL;
}

#if defined(__AVX512F__)
WQ_HD WordPack<8> product(WordPack<8> a, WordPack<8> b) {
  return (WordPack<8>::U64)_mm512_mul_epu32((__m512i)a.v, (__m512i)b.v);
}
#endif
#if defined(__AVX2__)
WQ_HD WordPack<4> product(WordPack<4> a, WordPack<4> b) {
  return (WordPack<4>::U64)_mm256_mul_epu32((__m256i)a.v, (__m256i)b.v);
}
#endif
#if defined(__SSE2__)
WQ_HD WordPack<2> product(WordPack<2> a, WordPack<2> b) {
  return (WordPack<2>::U64)_mm_mul_epu32((__m128i)a.v, (__m128i)b.v);
}
#endif
template <int W>
WQ_HD WordPack<W> product(WordPack<W> a, WordPack<W> b) {
  return low_half(a).v * low_half(b).v;
}
template <int W>
WQ_HD WordPack<W> multiply(WordPack<W> a, std::uint32_t b) {
  return product(a, WordPack<W>(static_cast<std::uint64_t>(b)));
}

template <int W>
WQ_HD Pack<W> as_uniform(WordPack<W> k) {
  return (typename Pack<W>::Raw)(k.v | 0x3ff0000000000000ULL) - (1.0 - 0x1p-53);
}

/// 0, 1, 2, ...
template <int W>
WQ_HD void count_lanes(WordPack<W>& words) {
  for (int i = 0; i < W; ++i) words.v[i] = static_cast<std::uint64_t>(i);
}

/// Lanes hold points in a row, from `number` on.
template <int W>
WQ_HD void sobol_digits(WordPack<W>& digits, const std::uint32_t* directions, std::uint64_t number) {
  if (number % W != 0) {
    for (int i = 0; i < W; ++i) digits.v[i] = sobol_digits(directions, number + static_cast<std::uint64_t>(i));
    return;
  }
  const std::uint32_t base = sobol_digits(directions, number);
  for (int i = 0; i < W; ++i) digits.v[i] = base ^ sobol_digits(directions, static_cast<std::uint64_t>(i));
}

}  // namespace wq::inline WQ_LEVEL
