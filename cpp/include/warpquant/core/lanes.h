// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/macros.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/// `Pack<W>`: W doubles, one per lane, with the vocabulary of `core/math.h`. An element templated on its value type
/// runs on `double` (streams, CUDA threads) and on `Pack<W>` (CPU panels) with the same bits in every lane.
/// A pack wider than the registers of the level still works: the compiler splits it.
namespace wq::inline WQ_LEVEL {

#if defined(__AVX512F__)
inline constexpr int kLanes = 8;
#elif defined(__AVX__)
inline constexpr int kLanes = 4;
#else
inline constexpr int kLanes = 2;
#endif

template <int W>
struct RawPack;
#define WQ_RAW_PACK(W)                                                       \
  template <>                                                                \
  struct RawPack<W> {                                                        \
    typedef double F64 __attribute__((vector_size(W * 8)));                  \
    typedef double InMemory __attribute__((vector_size(W * 8), aligned(8))); \
    typedef std::int64_t I64 __attribute__((vector_size(W * 8)));            \
  };
WQ_RAW_PACK(2)
WQ_RAW_PACK(4)
WQ_RAW_PACK(8)
#undef WQ_RAW_PACK

template <int W>
struct Pack {
  using Raw = typename RawPack<W>::F64;
  using InMemory = typename RawPack<W>::InMemory;
  Raw v;

  Pack() = default;
  WQ_HD Pack(Raw raw) : v(raw) {}
  WQ_HD Pack(double x) {
    if constexpr (W == 2) v = Raw{x, x};
    if constexpr (W == 4) v = Raw{x, x, x, x};
    if constexpr (W == 8) v = Raw{x, x, x, x, x, x, x, x};
  }
  // Through a vector of doubles, not memcpy: the compiler then knows that a store changes doubles only, and keeps
  // pointers and counters in registers.
  WQ_HD static Pack load(const double* p) { return *reinterpret_cast<const InMemory*>(p); }
  WQ_HD void store(double* p) const { *reinterpret_cast<InMemory*>(p) = v; }
  /// To a whole line of the cache, but past the cache; to be followed by `finish_streams`.
  WQ_HD void stream(double* p) const {
#if defined(__AVX512F__)
    if constexpr (W == 8) return _mm512_stream_pd(p, v);
#endif
    store(p);
  }
};

/// Makes streamed values visible to other threads.
inline void finish_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

template <int W>
WQ_HD Pack<W> operator+(Pack<W> a, Pack<W> b) {
  return a.v + b.v;
}
template <int W>
WQ_HD Pack<W> operator-(Pack<W> a, Pack<W> b) {
  return a.v - b.v;
}
template <int W>
WQ_HD Pack<W> operator*(Pack<W> a, Pack<W> b) {
  return a.v * b.v;
}
template <int W>
WQ_HD Pack<W> operator/(Pack<W> a, Pack<W> b) {
  return a.v / b.v;
}

template <int W>
WQ_HD double lane(Pack<W> a, int i) {
  return a.v[i];
}
template <int W>
WQ_HD void set_lane(Pack<W>& a, int i, double value) {
  a.v[i] = value;
}

/// 64 marks per lane.
template <int W>
struct PackBits {
  using I64 = typename RawPack<W>::I64;
  I64 v;

  PackBits() = default;
  WQ_HD PackBits(I64 raw) : v(raw) {}
  WQ_HD PackBits(std::uint64_t bits) : v(I64{} + static_cast<std::int64_t>(bits)) {}
  /// What the doubles are made of.
  WQ_HD static PackBits of(Pack<W> x) { return (I64)x.v; }
  WQ_HD Pack<W> numbers() const { return (typename Pack<W>::Raw)v; }
  WQ_HD std::uint64_t lane(int j) const { return static_cast<std::uint64_t>(v[j]); }
};
template <int W>
WQ_HD PackBits<W> operator&(PackBits<W> a, PackBits<W> b) {
  return a.v & b.v;
}
template <int W>
WQ_HD PackBits<W> next_mark(PackBits<W> mark) {
  typedef std::uint64_t Unsigned __attribute__((vector_size(W * sizeof(std::uint64_t))));  // the last one runs out
  return (typename PackBits<W>::I64)((Unsigned)mark.v + (Unsigned)mark.v);
}

#if defined(__AVX512VL__) && defined(__AVX512DQ__)

/// One bit per lane, kept in a mask register.
template <int W>
struct PackMask {
  std::uint8_t bits;
};

template <int W>
inline constexpr std::uint8_t kAllLanes = static_cast<std::uint8_t>((1u << W) - 1);

template <int W>
WQ_HD PackMask<W> both(PackMask<W> a, PackMask<W> b) {
  return {static_cast<std::uint8_t>(a.bits & b.bits)};
}
template <int W>
WQ_HD PackMask<W> either(PackMask<W> a, PackMask<W> b) {
  return {static_cast<std::uint8_t>(a.bits | b.bits)};
}
template <int W>
WQ_HD PackMask<W> but_not(PackMask<W> a, PackMask<W> b) {
  return {static_cast<std::uint8_t>(a.bits & ~b.bits)};
}
template <int W>
WQ_HD PackMask<W> negate(PackMask<W> a) {
  return {static_cast<std::uint8_t>(~a.bits & kAllLanes<W>)};
}
template <int W>
WQ_HD bool any(PackMask<W> a) {
  return a.bits != 0;
}
template <int W>
WQ_HD bool all(PackMask<W> a) {
  return a.bits == kAllLanes<W>;
}
template <int W>
WQ_HD bool lane(PackMask<W> a, int i) {
  return (a.bits >> i) & 1;
}

#define WQ_COMPARE(W, prefix, name, predicate) \
  WQ_HD PackMask<W> name(Pack<W> a, Pack<W> b) { return {prefix##_cmp_pd_mask(a.v, b.v, predicate)}; }
#define WQ_MASKED(W, prefix, Integers)                                                                                 \
  WQ_COMPARE(W, prefix, lt, _CMP_LT_OQ)                                                                                \
  WQ_COMPARE(W, prefix, le, _CMP_LE_OQ)                                                                                \
  WQ_COMPARE(W, prefix, gt, _CMP_GT_OQ)                                                                                \
  WQ_COMPARE(W, prefix, ge, _CMP_GE_OQ)                                                                                \
  WQ_COMPARE(W, prefix, eq, _CMP_EQ_OQ)                                                                                \
  WQ_COMPARE(W, prefix, ne, _CMP_NEQ_UQ)                                                                               \
  WQ_HD PackMask<W> is_nan(Pack<W> a) { return {prefix##_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q)}; }                       \
  WQ_HD Pack<W> select(PackMask<W> m, Pack<W> yes, Pack<W> no) { return prefix##_mask_blend_pd(m.bits, no.v, yes.v); } \
  WQ_HD Pack<W> keep_if(PackMask<W> m, Pack<W> a) { return prefix##_maskz_mov_pd(m.bits, a.v); }                       \
  WQ_HD Pack<W> add_if(PackMask<W> m, Pack<W> a, Pack<W> b) { return prefix##_mask_add_pd(a.v, m.bits, a.v, b.v); }    \
  WQ_HD Pack<W> sub_if(PackMask<W> m, Pack<W> a, Pack<W> b) { return prefix##_mask_sub_pd(a.v, m.bits, a.v, b.v); }    \
  WQ_HD Pack<W> div_if(PackMask<W> m, Pack<W> a, Pack<W> b) { return prefix##_maskz_div_pd(m.bits, a.v, b.v); }        \
  WQ_HD PackMask<W> has_mark(PackBits<W> a, PackBits<W> mark) {                                                        \
    return {prefix##_test_epi64_mask((Integers)a.v, (Integers)mark.v)};                                                \
  }                                                                                                                    \
  WQ_HD PackBits<W> add_mark(PackBits<W> a, PackMask<W> m, PackBits<W> mark) {                                         \
    return (typename PackBits<W>::I64)prefix##_mask_or_epi64((Integers)a.v, m.bits, (Integers)a.v, (Integers)mark.v);  \
  }
WQ_MASKED(2, _mm, __m128i)
WQ_MASKED(4, _mm256, __m256i)
WQ_MASKED(8, _mm512, __m512i)
#undef WQ_MASKED
#undef WQ_COMPARE

#else

/// All ones in the lanes that hold, all zeros in the others.
template <int W>
struct PackMask {
  typename RawPack<W>::I64 bits;
};

template <int W>
WQ_HD PackMask<W> both(PackMask<W> a, PackMask<W> b) {
  return {a.bits & b.bits};
}
template <int W>
WQ_HD PackMask<W> either(PackMask<W> a, PackMask<W> b) {
  return {a.bits | b.bits};
}
template <int W>
WQ_HD PackMask<W> but_not(PackMask<W> a, PackMask<W> b) {
  return {a.bits & ~b.bits};
}
template <int W>
WQ_HD PackMask<W> negate(PackMask<W> a) {
  return {~a.bits};
}
template <int W>
WQ_HD bool lane(PackMask<W> a, int i) {
  return a.bits[i] != 0;
}
template <int W>
WQ_HD bool any(PackMask<W> a) {
  std::int64_t seen = 0;
  for (int i = 0; i < W; ++i) seen |= a.bits[i];
  return seen != 0;
}
template <int W>
WQ_HD bool all(PackMask<W> a) {
  return !any(negate(a));
}

template <int W>
WQ_HD PackMask<W> lt(Pack<W> a, Pack<W> b) {
  return {a.v < b.v};
}
template <int W>
WQ_HD PackMask<W> le(Pack<W> a, Pack<W> b) {
  return {a.v <= b.v};
}
template <int W>
WQ_HD PackMask<W> gt(Pack<W> a, Pack<W> b) {
  return {a.v > b.v};
}
template <int W>
WQ_HD PackMask<W> ge(Pack<W> a, Pack<W> b) {
  return {a.v >= b.v};
}
template <int W>
WQ_HD PackMask<W> eq(Pack<W> a, Pack<W> b) {
  return {a.v == b.v};
}
template <int W>
WQ_HD PackMask<W> ne(Pack<W> a, Pack<W> b) {
  return {a.v != b.v};
}
template <int W>
WQ_HD PackMask<W> is_nan(Pack<W> a) {
  return {a.v != a.v};
}
template <int W>
WQ_HD Pack<W> select(PackMask<W> m, Pack<W> yes, Pack<W> no) {
  return m.bits ? yes.v : no.v;
}
template <int W>
WQ_HD Pack<W> keep_if(PackMask<W> m, Pack<W> a) {
  using I64 = typename RawPack<W>::I64;
  return (typename Pack<W>::Raw)((I64)a.v & m.bits);
}
template <int W>
WQ_HD Pack<W> add_if(PackMask<W> m, Pack<W> a, Pack<W> b) {
  return select(m, a + b, a);
}
template <int W>
WQ_HD Pack<W> sub_if(PackMask<W> m, Pack<W> a, Pack<W> b) {
  return select(m, a - b, a);
}
template <int W>
WQ_HD Pack<W> div_if(PackMask<W> m, Pack<W> a, Pack<W> b) {
  return keep_if(m, a / b);
}
/// Lanes that have the mark, which is one bit.
template <int W>
WQ_HD PackMask<W> has_mark(PackBits<W> a, PackBits<W> mark) {
  return {(a.v & mark.v) == mark.v};
}
template <int W>
WQ_HD PackBits<W> add_mark(PackBits<W> a, PackMask<W> m, PackBits<W> mark) {
  return a.v | (m.bits & mark.v);
}

#endif

#define WQ_NATIVE(W, prefix, FLOOR, RINT)                                       \
  WQ_HD Pack<W> max(Pack<W> a, Pack<W> b) { return prefix##_max_pd(a.v, b.v); } \
  WQ_HD Pack<W> min(Pack<W> a, Pack<W> b) { return prefix##_min_pd(a.v, b.v); } \
  WQ_HD Pack<W> sqrt(Pack<W> a) { return prefix##_sqrt_pd(a.v); }               \
  WQ_HD Pack<W> floor(Pack<W> a) { return FLOOR; }                              \
  WQ_HD Pack<W> rint(Pack<W> a) { return RINT; }
inline constexpr int kToFloor = 0x09, kToEven = 0x08;  // with exceptions suppressed
#if defined(__AVX512F__)
WQ_NATIVE(8, _mm512, _mm512_roundscale_pd(a.v, kToFloor), _mm512_roundscale_pd(a.v, kToEven))
#endif
#if defined(__AVX__)
WQ_NATIVE(4, _mm256, _mm256_round_pd(a.v, kToFloor), _mm256_round_pd(a.v, kToEven))
#endif
#if defined(__SSE4_1__)
WQ_NATIVE(2, _mm, _mm_round_pd(a.v, kToFloor), _mm_round_pd(a.v, kToEven))
#endif
#undef WQ_NATIVE

#if defined(__FMA__)
#define WQ_FUSED(W, prefix) \
  WQ_HD Pack<W> mul_add(Pack<W> a, Pack<W> b, Pack<W> c) { return prefix##_fmadd_pd(a.v, b.v, c.v); }
#if defined(__AVX512F__)
WQ_FUSED(8, _mm512)
#endif
WQ_FUSED(4, _mm256)
WQ_FUSED(2, _mm)
#undef WQ_FUSED
#endif

// Packs wider than a register, and machines without the intrinsics above.
template <int W>
WQ_HD Pack<W> max(Pack<W> a, Pack<W> b) {
  return a.v > b.v ? a.v : b.v;
}
template <int W>
WQ_HD Pack<W> min(Pack<W> a, Pack<W> b) {
  return a.v < b.v ? a.v : b.v;
}
template <int W>
WQ_HD Pack<W> sqrt(Pack<W> a) {
  for (int i = 0; i < W; ++i) a.v[i] = __builtin_sqrt(a.v[i]);
  return a;
}
template <int W>
WQ_HD Pack<W> mul_add(Pack<W> a, Pack<W> b, Pack<W> c) {
#if defined(__FMA__)
  for (int i = 0; i < W; ++i) a.v[i] = __builtin_fma(a.v[i], b.v[i], c.v[i]);
  return a;
#else
  return a * b + c;
#endif
}
template <int W>
WQ_HD PackMask<W> is_finite(Pack<W> a) {
  return eq(a - a, Pack<W>(0.0));
}
template <int W>
WQ_HD Pack<W> floor(Pack<W> a) {
  for (int i = 0; i < W; ++i) a.v[i] = __builtin_floor(a.v[i]);
  return a;
}
template <int W>
WQ_HD Pack<W> rint(Pack<W> a) {
  for (int i = 0; i < W; ++i) a.v[i] = __builtin_rint(a.v[i]);
  return a;
}
template <int W>
WQ_HD Pack<W> abs(Pack<W> a) {
  using I64 = typename RawPack<W>::I64;
  return (typename Pack<W>::Raw)((I64)a.v & 0x7fffffffffffffffLL);
}
template <int W>
WQ_HD Pack<W> next_up(Pack<W> a) {
  using I64 = typename RawPack<W>::I64;
  const I64 bits = (I64)(a.v + 0.0);
  return (typename Pack<W>::Raw)(bits + 1 + ((bits >> 63) << 1));  // away from zero below it
}

template <int W>
WQ_HD Pack<W> pow2(Pack<W> n) {
  using I64 = typename RawPack<W>::I64;
  return (typename Pack<W>::Raw)((I64)(n.v + (6755399441055744.0 + 1023.0)) << 52);
}

template <int W>
WQ_HD Pack<W> split(Pack<W> x, Pack<W>& mantissa) {
  using Raw = typename Pack<W>::Raw;
  using I64 = typename RawPack<W>::I64;
#if defined(__AVX512F__)
  if constexpr (W == 8) {
    mantissa = _mm512_getmant_pd(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
    return _mm512_getexp_pd(x.v);
  }
#endif
  const I64 subnormal = x.v < 0x1p-1022;
  const I64 bits = (I64)(subnormal ? x.v * 0x1p54 : x.v);
  mantissa = (Raw)((bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL);
  // The exponent in the low bits of 2^52.
  const Raw exponent = (Raw)((bits >> 52) | 0x4330000000000000LL) - (0x1p52 + 1023.0);
  return subnormal ? exponent - 54.0 : exponent;
}
#if defined(__AVX512F__)
WQ_HD Pack<8> scale(Pack<8> y, Pack<8> n) { return _mm512_scalef_pd(y.v, n.v); }
WQ_HD Pack<8> scale_by_floor(Pack<8> y, Pack<8> n) { return _mm512_scalef_pd(y.v, n.v); }
#endif

/// Exchange rows and columns of a W x W block held in W packs.
template <int W>
WQ_HD void transpose(Pack<W> (&m)[W]) {
  if constexpr (W == 2) {
    const auto a = m[0].v, b = m[1].v;
    m[0].v = __builtin_shufflevector(a, b, 0, 2);
    m[1].v = __builtin_shufflevector(a, b, 1, 3);
  } else if constexpr (W == 4) {
    typename Pack<W>::Raw t[4];
#pragma GCC unroll 8
    for (int i = 0; i < 4; i += 2) {
      t[i] = __builtin_shufflevector(m[i].v, m[i + 1].v, 0, 4, 2, 6);
      t[i + 1] = __builtin_shufflevector(m[i].v, m[i + 1].v, 1, 5, 3, 7);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 2; ++i) {
      m[i].v = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 4, 5);
      m[i + 2].v = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 6, 7);
    }
  } else {
    typename Pack<W>::Raw t[8], u[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      t[i] = __builtin_shufflevector(m[i].v, m[i + 1].v, 0, 8, 2, 10, 4, 12, 6, 14);
      t[i + 1] = __builtin_shufflevector(m[i].v, m[i + 1].v, 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 8
      for (int j = 0; j < 2; ++j) {
        u[i + j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 4, 5, 8, 9, 12, 13);
        u[i + j + 2] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 6, 7, 10, 11, 14, 15);
      }
#pragma GCC unroll 8
    for (int i = 0; i < 4; ++i) {
      m[i].v = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 4, 5, 8, 9, 12, 13);
      m[i + 4].v = __builtin_shufflevector(u[i], u[i + 4], 2, 3, 6, 7, 10, 11, 14, 15);
    }
  }
}

}  // namespace wq::inline WQ_LEVEL
