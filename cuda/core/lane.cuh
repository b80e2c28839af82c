// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "core/kernel.cuh"
#include "warpquant/core/window.h"

/// `Lane<W, R>`: one column of a row of W numbers of type R, the thread's own. What `Pack<W>` is to a CPU thread, W
/// lanes are to the threads of a block, with the same vocabulary and bits.
namespace wq::inline WQ_LEVEL {

/// Number of the thread within its block.
WQ_HD int thread_of_block() {
#if defined(__CUDA_ARCH__) || !defined(__CUDACC__)
  return static_cast<int>(threadIdx.x);
#else
  return 0;  // no kernel runs on the host of a CUDA build
#endif
}

/// Wait for the other threads of the block.
WQ_HD void meet_block() {
#if defined(__CUDA_ARCH__) || !defined(__CUDACC__)
  __syncthreads();
#endif
}

template <int W, class R>
struct Lane {
  using Real = R;
  static constexpr int kColumns = W;
  R v;

  Lane() = default;
  template <class N>
    requires std::is_arithmetic_v<N>
  WQ_HD Lane(N value) : v(static_cast<R>(value)) {}
  WQ_HD static int column() { return thread_of_block() % W; }
  WQ_HD static Lane load(const R* row) { return row[column()]; }
  WQ_HD void store(R* row) const { row[column()] = v; }
};

#define WQ_LANE(name)                           \
  template <int W, class R>                     \
  WQ_HD bool name(Lane<W, R> a, Lane<W, R> b) { \
    return wq::name(a.v, b.v);                  \
  }
WQ_LANE(lt)
WQ_LANE(le)
WQ_LANE(gt)
WQ_LANE(ge)
WQ_LANE(eq)
WQ_LANE(ne)
#undef WQ_LANE
#define WQ_LANE(name)                                 \
  template <int W, class R>                           \
  WQ_HD Lane<W, R> name(Lane<W, R> a, Lane<W, R> b) { \
    return wq::name(a.v, b.v);                        \
  }
WQ_LANE(max)
WQ_LANE(min)
#undef WQ_LANE
#define WQ_LANE(name)                   \
  template <int W, class R>             \
  WQ_HD Lane<W, R> name(Lane<W, R> a) { \
    return wq::name(a.v);               \
  }
WQ_LANE(abs)
WQ_LANE(floor)
WQ_LANE(rint)
WQ_LANE(next_up)
#undef WQ_LANE
template <int W, class R>
WQ_HD bool is_nan(Lane<W, R> a) {
  return wq::is_nan(a.v);
}
#define WQ_LANE(name)                                         \
  template <int W, class R>                                   \
  WQ_HD Lane<W, R> name(bool m, Lane<W, R> a, Lane<W, R> b) { \
    return wq::name(m, a.v, b.v);                             \
  }
WQ_LANE(select)
WQ_LANE(add_if)
WQ_LANE(sub_if)
WQ_LANE(div_if)
#undef WQ_LANE
template <int W, class R>
WQ_HD Lane<W, R> keep_if(bool m, Lane<W, R> a) {
  return wq::keep_if(m, a.v);
}
#define WQ_LANE(sign)                                          \
  template <int W, class R>                                    \
  WQ_HD Lane<W, R> operator sign(Lane<W, R> a, Lane<W, R> b) { \
    return a.v sign b.v;                                       \
  }
WQ_LANE(+)
WQ_LANE(-)
WQ_LANE(*)
WQ_LANE(/)
#undef WQ_LANE

template <int W, class R>
struct Rows<Lane<W, R>> {
  static constexpr int kStep = W;
  WQ_HD static Lane<W, R> load(const R* p) { return Lane<W, R>::load(p); }
};

/// 64 marks of a thread.
struct LaneBits {
  std::uint64_t bits;

  LaneBits() = default;
  WQ_HD LaneBits(std::uint64_t b) : bits(b) {}
  WQ_HD std::uint64_t lane(int) const { return bits; }
  template <class V>
  WQ_HD static LaneBits of(V x) {
    return __builtin_bit_cast(std::uint64_t, x.v);
  }
  WQ_HD double numbers() const { return __builtin_bit_cast(double, bits); }
  WQ_HD friend bool has_mark(LaneBits a, LaneBits mark) { return (a.bits & mark.bits) != 0; }
  WQ_HD friend LaneBits next_mark(LaneBits mark) { return mark.bits << 1; }
  WQ_HD friend LaneBits add_mark(LaneBits a, bool m, LaneBits mark) { return m ? a.bits | mark.bits : a.bits; }
};

}  // namespace wq::inline WQ_LEVEL
