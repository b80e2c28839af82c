// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/elementary.h"
#include "warpquant/core/lanes.h"

/// `FloatPack<W>`: W floats, one per lane, with those names of `core/math.h` that networks in float32 need. Packs of
/// the level hold twice as many as packs of doubles.
namespace wq::inline WQ_LEVEL {

inline constexpr int kFloatLanes = 2 * kLanes;

template <int W>
struct RawFloats;
#define WQ_RAW_FLOATS(W)                                                    \
  template <>                                                               \
  struct RawFloats<W> {                                                     \
    typedef float F32 __attribute__((vector_size(W * 4)));                  \
    typedef float InMemory __attribute__((vector_size(W * 4), aligned(4))); \
    typedef std::int32_t I32 __attribute__((vector_size(W * 4)));           \
  };
WQ_RAW_FLOATS(4)
WQ_RAW_FLOATS(8)
WQ_RAW_FLOATS(16)
#undef WQ_RAW_FLOATS

template <int W>
struct FloatPack {
  using Raw = typename RawFloats<W>::F32;
  using InMemory = typename RawFloats<W>::InMemory;
  Raw v;

  FloatPack() = default;
  WQ_HD FloatPack(Raw raw) : v(raw) {}
  WQ_HD FloatPack(float x) {
    if constexpr (W == 4) v = Raw{x, x, x, x};
    if constexpr (W == 8) v = Raw{x, x, x, x, x, x, x, x};
    if constexpr (W == 16) v = Raw{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
  }
  WQ_HD FloatPack(double x) : FloatPack(static_cast<float>(x)) {}
  WQ_HD static FloatPack load(const float* p) { return *reinterpret_cast<const InMemory*>(p); }
  WQ_HD void store(float* p) const { *reinterpret_cast<InMemory*>(p) = v; }
};

/// Lanes that hold are all ones.
template <int W>
struct FloatMask {
  typename RawFloats<W>::I32 bits;
};

#define WQ_FLOATS template <int W>
WQ_FLOATS WQ_HD FloatPack<W> operator+(FloatPack<W> a, FloatPack<W> b) { return a.v + b.v; }
WQ_FLOATS WQ_HD FloatPack<W> operator-(FloatPack<W> a, FloatPack<W> b) { return a.v - b.v; }
WQ_FLOATS WQ_HD FloatPack<W> operator*(FloatPack<W> a, FloatPack<W> b) { return a.v * b.v; }
WQ_FLOATS WQ_HD FloatPack<W> operator/(FloatPack<W> a, FloatPack<W> b) { return a.v / b.v; }
WQ_FLOATS WQ_HD FloatMask<W> lt(FloatPack<W> a, FloatPack<W> b) { return {a.v < b.v}; }
WQ_FLOATS WQ_HD FloatMask<W> gt(FloatPack<W> a, FloatPack<W> b) { return {a.v > b.v}; }
WQ_FLOATS WQ_HD FloatPack<W> select(FloatMask<W> m, FloatPack<W> yes, FloatPack<W> no) { return m.bits ? yes.v : no.v; }
/// `b` when either is NaN, like the x86 instruction.
WQ_FLOATS WQ_HD FloatPack<W> max(FloatPack<W> a, FloatPack<W> b) { return a.v > b.v ? a.v : b.v; }
WQ_FLOATS WQ_HD FloatPack<W> min(FloatPack<W> a, FloatPack<W> b) { return a.v < b.v ? a.v : b.v; }
WQ_FLOATS WQ_HD FloatPack<W> abs(FloatPack<W> a) {
  using I32 = typename RawFloats<W>::I32;
  return (typename FloatPack<W>::Raw)((I32)a.v & 0x7fffffff);
}
/// Nearest integer, ties to even, of magnitudes below 2^22.
WQ_FLOATS WQ_HD FloatPack<W> rint(FloatPack<W> a) { return (a.v + 12582912.0f) - 12582912.0f; }
/// 2^n for an integer n in [-126, 127].
WQ_FLOATS WQ_HD FloatPack<W> pow2(FloatPack<W> n) {
  using I32 = typename RawFloats<W>::I32;
  return (typename FloatPack<W>::Raw)((I32)(n.v + (12582912.0f + 127.0f)) << 23);
}
#if defined(__FMA__)
#define WQ_FUSED_FLOATS(W, prefix)                                             \
  WQ_HD FloatPack<W> mul_add(FloatPack<W> a, FloatPack<W> b, FloatPack<W> c) { \
    return prefix##_fmadd_ps(a.v, b.v, c.v);                                   \
  }
#if defined(__AVX512F__)
WQ_FUSED_FLOATS(16, _mm512)
#endif
WQ_FUSED_FLOATS(8, _mm256)
WQ_FUSED_FLOATS(4, _mm)
#undef WQ_FUSED_FLOATS
#else
WQ_FLOATS WQ_HD FloatPack<W> mul_add(FloatPack<W> a, FloatPack<W> b, FloatPack<W> c) { return a.v * b.v + c.v; }
#endif
#undef WQ_FLOATS

/// f of packs of doubles, rounded once: for functions that are not worth a version of their own.
template <int W, class F>
WQ_HD FloatPack<W> through_doubles(FloatPack<W> x, F f) {
  static_assert(W == 2 * kLanes);
  typedef float Half __attribute__((vector_size(W * 2)));
  union {
    typename FloatPack<W>::Raw whole;
    Half half[2];
  } parts = {x.v};
  for (auto& half : parts.half) {
    const Pack<W / 2> y = f(Pack<W / 2>(__builtin_convertvector(half, typename Pack<W / 2>::Raw)));
    half = __builtin_convertvector(y.v, Half);
  }
  return parts.whole;
}

}  // namespace wq::inline WQ_LEVEL
