// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lane_io.h"
#include "warpquant/core/math.h"

/// A packet: eight consecutive bars. Averages are written on packets, because sums and recurrences over eight bars
/// can be made by doubling, in three steps instead of eight. Two forms give the same bits:
///
///   Packet       eight bars of one series, side by side in one, two or four registers
///   Packets<V>   eight bars of several series: one V (a pack of series, or one double) for each bar
///
/// `One<P>` is one value for all eight bars.
namespace wq::inline WQ_LEVEL {

inline constexpr int kEight = 8;

template <class V, int N>
struct Parts {
  V part[N];
};

using Packet = Parts<Pack<kLanes>, kEight / kLanes>;
template <class V>
using Packets = Parts<V, kEight>;

/// Eight constants, one for each bar.
struct Ramp {
  alignas(64) double bar[kEight];
};

template <class T>
struct AlongTime;
template <class T, class V>
struct AcrossSeries;

// ---------------------------------------------------------------------------------------------- the two forms

template <class P>
struct Form {  // along time
  using One = P;
  using Own = AlongTime<double>;  // packets in memory of our own
  static constexpr int kRow = 1;  // doubles that a bar takes there
  WQ_HD static P all(double x) {
    P r;
#pragma GCC unroll 8
    for (auto& part : r.part) part = Pack<kLanes>(x);
    return r;
  }
  WQ_HD static P of(const Ramp& ramp) {
    P r;
#pragma GCC unroll 8
    for (int i = 0; i < kEight / kLanes; ++i) r.part[i] = Pack<kLanes>::load(ramp.bar + i * kLanes);
    return r;
  }
};
template <class V>
struct Form<Packets<V>> {  // across series
  using One = V;
  using Own = AcrossSeries<double, V>;
  static constexpr int kRow = sizeof(V) / sizeof(double);
  WQ_HD static V all(double x) { return V(x); }
  WQ_HD static Packets<V> of(const Ramp& ramp) {
    Packets<V> r;
#pragma GCC unroll 8
    for (int i = 0; i < kEight; ++i) r.part[i] = V(ramp.bar[i]);
    return r;
  }
};

template <class P>
using One = typename Form<P>::One;
template <class P>
WQ_HD One<P> all(double x) {
  return Form<P>::all(x);
}
template <class P>
WQ_HD P of(const Ramp& ramp) {
  return Form<P>::of(ramp);
}

// ---------------------------------------------------------------------------------------------- bar by bar

#define WQ_EACH(name, body)                                                                     \
  template <class V, int N>                                                                     \
  WQ_HD auto name(const Parts<V, N>& a, const Parts<V, N>& b) {                                 \
    Parts<decltype(body(a.part[0], b.part[0])), N> r;                                           \
    _Pragma("GCC unroll 8") for (int i = 0; i < N; ++i) r.part[i] = body(a.part[i], b.part[i]); \
    return r;                                                                                   \
  }                                                                                             \
  template <class V>                                                                            \
  WQ_HD auto name(const Packets<V>& a, const V& b) {                                            \
    Packets<decltype(body(a.part[0], b))> r;                                                    \
    _Pragma("GCC unroll 8") for (int i = 0; i < kEight; ++i) r.part[i] = body(a.part[i], b);    \
    return r;                                                                                   \
  }                                                                                             \
  template <class V>                                                                            \
  WQ_HD auto name(const V& a, const Packets<V>& b) {                                            \
    Packets<decltype(body(a, b.part[0]))> r;                                                    \
    _Pragma("GCC unroll 8") for (int i = 0; i < kEight; ++i) r.part[i] = body(a, b.part[i]);    \
    return r;                                                                                   \
  }
#define WQ_PLUS(a, b) ((a) + (b))
#define WQ_MINUS(a, b) ((a) - (b))
#define WQ_TIMES(a, b) ((a) * (b))
#define WQ_OVER(a, b) ((a) / (b))
WQ_EACH(operator+, WQ_PLUS)
WQ_EACH(operator-, WQ_MINUS)
WQ_EACH(operator*, WQ_TIMES)
WQ_EACH(operator/, WQ_OVER)
WQ_EACH(max, max)
WQ_EACH(lt, lt)
WQ_EACH(le, le)
WQ_EACH(ne, ne)
#undef WQ_PLUS
#undef WQ_MINUS
#undef WQ_TIMES
#undef WQ_OVER
#undef WQ_EACH

template <class V, int N>
WQ_HD Parts<V, N> abs(const Parts<V, N>& a) {
  Parts<V, N> r;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) r.part[i] = abs(a.part[i]);
  return r;
}
template <class M, class V, int N>
WQ_HD Parts<V, N> select(const Parts<M, N>& m, const Parts<V, N>& yes, const Parts<V, N>& no) {
  Parts<V, N> r;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) r.part[i] = select(m.part[i], yes.part[i], no.part[i]);
  return r;
}
template <class M, class V>
WQ_HD Packets<V> select(const Packets<M>& m, const V& yes, const Packets<V>& no) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = select(m.part[i], yes, no.part[i]);
  return r;
}
template <class M, int N>
WQ_HD bool any(const Parts<M, N>& m) {
  bool found = false;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) found |= any(m.part[i]);
  return found;
}

// ---------------------------------------------------------------------------------------------- along the bars

template <int kBars, int W>
WQ_HD Pack<W> shift_in(Pack<W> before, Pack<W> now) {
  static_assert(kBars < W);
  const auto a = before.v, b = now.v;
#if defined(__AVX512VL__)  // one instruction that needs no table of places
  if constexpr (W == 4) return _mm256_castsi256_pd(_mm256_alignr_epi64((__m256i)b, (__m256i)a, 4 - kBars));
  if constexpr (W == 8) return _mm512_castsi512_pd(_mm512_alignr_epi64((__m512i)b, (__m512i)a, 8 - kBars));
#endif
  if constexpr (W == 2) return __builtin_shufflevector(a, b, 1, 2);
  if constexpr (W == 4) {
    if constexpr (kBars == 1) return __builtin_shufflevector(a, b, 3, 4, 5, 6);
    if constexpr (kBars == 2) return __builtin_shufflevector(a, b, 2, 3, 4, 5);
  }
  if constexpr (W == 8) {
    if constexpr (kBars == 1) return __builtin_shufflevector(a, b, 7, 8, 9, 10, 11, 12, 13, 14);
    if constexpr (kBars == 2) return __builtin_shufflevector(a, b, 6, 7, 8, 9, 10, 11, 12, 13);
    if constexpr (kBars == 4) return __builtin_shufflevector(a, b, 4, 5, 6, 7, 8, 9, 10, 11);
  }
}

/// Bar j takes the value of bar j - kBars; the first ones take `fill`.
template <int kBars>
WQ_HD Packet later(const Packet& a, double fill = 0.0) {
  constexpr int N = kEight / kLanes, W = kLanes;
  const Pack<W> outside(fill);
  Packet r;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    if constexpr (kBars >= W)
      r.part[i] = i < kBars / W ? outside : a.part[i - kBars / W];
    else
      r.part[i] = shift_in<kBars, W>(i == 0 ? outside : a.part[i - 1], a.part[i]);
  }
  return r;
}
template <int kBars, class V>
WQ_HD Packets<V> later(const Packets<V>& a, double fill = 0.0) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = i < kBars ? V(fill) : a.part[i - kBars];
  return r;
}

template <int W>
WQ_HD Pack<W> last_lane(Pack<W> a) {
  if constexpr (W == 2) return __builtin_shufflevector(a.v, a.v, 1, 1);
  if constexpr (W == 4) return __builtin_shufflevector(a.v, a.v, 3, 3, 3, 3);
  if constexpr (W == 8) return __builtin_shufflevector(a.v, a.v, 7, 7, 7, 7, 7, 7, 7, 7);
}

/// The value of the last bar.
WQ_HD Packet last(const Packet& a) {
  Packet r;
#pragma GCC unroll 8
  for (auto& part : r.part) part = last_lane(a.part[kEight / kLanes - 1]);
  return r;
}
template <class V>
WQ_HD V last(const Packets<V>& a) {
  return a.part[kEight - 1];
}

/// a_j + f a_{j-kBars}, and a_j where there is no such bar.
template <int kBars>
WQ_HD Packet add_earlier(const Packet& a, double f) {
  return a + all<Packet>(f) * later<kBars>(a);
}
template <int kBars, class V>
WQ_HD Packets<V> add_earlier(const Packets<V>& a, double f) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = i < kBars ? a.part[i] : a.part[i] + V(f) * a.part[i - kBars];
  return r;
}
template <int kBars>
WQ_HD Packet add_earlier(const Packet& a) {
  return a + later<kBars>(a);
}
template <int kBars, class V>
WQ_HD Packets<V> add_earlier(const Packets<V>& a) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = i < kBars ? a.part[i] : a.part[i] + a.part[i - kBars];
  return r;
}

/// The same with a factor for each bar.
template <int kBars>
WQ_HD Packet add_earlier(const Packet& a, const Packet& f) {
  return a + f * later<kBars>(a);
}
template <int kBars, class V>
WQ_HD Packets<V> add_earlier(const Packets<V>& a, const Packets<V>& f) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = i < kBars ? a.part[i] : a.part[i] + f.part[i] * a.part[i - kBars];
  return r;
}

/// a_j a_{j-kBars}, and a_j where there is no such bar.
template <int kBars>
WQ_HD Packet times_earlier(const Packet& a) {
  return a * later<kBars>(a, 1.0);
}
template <int kBars, class V>
WQ_HD Packets<V> times_earlier(const Packets<V>& a) {
  Packets<V> r;
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) r.part[i] = i < kBars ? a.part[i] : a.part[i] * a.part[i - kBars];
  return r;
}

/// Sums from the first bar on.
template <class P>
WQ_HD P running_sum(const P& a) {
  return add_earlier<4>(add_earlier<2>(add_earlier<1>(a)));
}

/// Sum over all eight bars, in an order of its own.
template <class P>
WQ_HD One<P> total(const P& a) {
  return last(running_sum(a));
}

// ---------------------------------------------------------------------------------------------- where packets come
// from

/// One series whose bars lie side by side in memory, seen from the first bar of a packet: x[k] is the packet of k bars
/// ago, x.one(k) the value k bars before the packet's first bar.
template <class T>
struct AlongTime {
  using P = Packet;
  const std::byte* first;

  WQ_HD AlongTime at(std::int64_t bar) const { return {first + bar * static_cast<std::int64_t>(sizeof(T))}; }
  WQ_HD AlongTime ago(std::int64_t bars) const { return at(-bars); }
  WQ_HD P operator[](std::int64_t k) const {
    const std::byte* p = ago(k).first;
    P r;
#pragma GCC unroll 8
    for (int i = 0; i < kEight / kLanes; ++i) r.part[i] = load_values<T, kLanes>(p + i * kLanes * sizeof(T));
    return r;
  }
  WQ_HD One<P> one(std::int64_t k) const { return all<P>(load_value<T>(ago(k).first)); }
};

/// Several series that lie side by side, their bars `stride` bytes apart.
template <class T, class V>
struct AcrossSeries {
  using P = Packets<V>;
  const std::byte* first;
  std::int64_t stride;

  WQ_HD AcrossSeries at(std::int64_t bar) const { return {first + bar * stride, stride}; }
  WQ_HD AcrossSeries ago(std::int64_t bars) const { return at(-bars); }
  WQ_HD P operator[](std::int64_t k) const {
    P r;
#pragma GCC unroll 8
    for (int i = 0; i < kEight; ++i) r.part[i] = one(k - i);
    return r;
  }
  WQ_HD V one(std::int64_t k) const { return load_as<T, V>(first - k * stride); }
};

/// Packets in memory of our own, `p` being the first bar of one.
template <class P>
WQ_HD typename Form<P>::Own own(const double* p) {
  const auto* bytes = reinterpret_cast<const std::byte*>(p);
  if constexpr (Form<P>::kRow == 1 && sizeof(One<P>) == sizeof(P))
    return {bytes};
  else
    return {bytes, static_cast<std::int64_t>(sizeof(One<P>))};
}

WQ_HD void store(double* p, const Packet& a) {
#pragma GCC unroll 8
  for (int i = 0; i < kEight / kLanes; ++i) a.part[i].store(p + i * kLanes);
}
template <int W>
WQ_HD void store(double* p, const Packets<Pack<W>>& a) {
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) a.part[i].store(p + i * W);
}
WQ_HD void store(double* p, const Packets<double>& a) {
#pragma GCC unroll 8
  for (int i = 0; i < kEight; ++i) p[i] = a.part[i];
}

}  // namespace wq::inline WQ_LEVEL
