// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/core/window.h"

/// `Lane<W>`: one column of a row of W doubles, the thread's own. What `Pack<W>` is to a CPU thread, W lanes are to the
/// threads of a block, with the same vocabulary and bits.
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

template <int W>
struct Lane {
  double v;

  Lane() = default;
  WQ_HD Lane(double value) : v(value) {}
  WQ_HD static int column() { return thread_of_block() % W; }
  WQ_HD static Lane load(const double* row) { return row[column()]; }
  WQ_HD void store(double* row) const { row[column()] = v; }
};

#define WQ_LANE(result, name)               \
  template <int W>                          \
  WQ_HD result name(Lane<W> a, Lane<W> b) { \
    return wq::name(a.v, b.v);              \
  }
WQ_LANE(bool, lt)
WQ_LANE(bool, le)
WQ_LANE(bool, gt)
WQ_LANE(bool, ge)
WQ_LANE(bool, eq)
WQ_LANE(bool, ne)
WQ_LANE(Lane<W>, max)
WQ_LANE(Lane<W>, min)
#undef WQ_LANE
#define WQ_LANE(result, name)    \
  template <int W>               \
  WQ_HD result name(Lane<W> a) { \
    return wq::name(a.v);        \
  }
WQ_LANE(bool, is_nan)
WQ_LANE(Lane<W>, abs)
WQ_LANE(Lane<W>, floor)
WQ_LANE(Lane<W>, rint)
WQ_LANE(Lane<W>, next_up)
#undef WQ_LANE
#define WQ_LANE(name)                                \
  template <int W>                                   \
  WQ_HD Lane<W> name(bool m, Lane<W> a, Lane<W> b) { \
    return wq::name(m, a.v, b.v);                    \
  }
WQ_LANE(select)
WQ_LANE(add_if)
WQ_LANE(sub_if)
WQ_LANE(div_if)
#undef WQ_LANE
template <int W>
WQ_HD Lane<W> keep_if(bool m, Lane<W> a) {
  return wq::keep_if(m, a.v);
}
#define WQ_LANE(sign)                                 \
  template <int W>                                    \
  WQ_HD Lane<W> operator sign(Lane<W> a, Lane<W> b) { \
    return a.v sign b.v;                              \
  }
WQ_LANE(+)
WQ_LANE(-)
WQ_LANE(*)
WQ_LANE(/)
#undef WQ_LANE

template <int W>
struct Rows<Lane<W>> {
  static constexpr int kStep = W;
  WQ_HD static Lane<W> load(const double* p) { return Lane<W>::load(p); }
};

}  // namespace wq::inline WQ_LEVEL
