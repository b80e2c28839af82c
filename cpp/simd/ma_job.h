// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lane_io.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

/// What the drivers of this folder share.
namespace wq::ma::inline WQ_LEVEL {

inline constexpr int W = kLanes;
using V = Pack<W>;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

inline Series lane_of(const Job& job, int j) { return job.in[j < job.lanes ? j : 0]; }

inline Sink sink_of(const Job& job, int j, int spec) {
  const int lane = j < job.lanes ? j : 0;  // lanes without a series of their own repeat the first
  Sink sink = job.out[lane];
  sink.data += spec * job.out_step[lane];
  return sink;
}

/// `sums`: of everything that lanes [from, from + W) have read.
inline void note_suspects(Job& job, int from, V sums) {
  for (int j = 0; j < W && from + j < job.lanes; ++j) job.suspect[from + j] |= !(sums.v[j] * 0.0 == 0.0);
}

template <class Out>
void store_nan(const Sink& out, std::int64_t bars) {
  for (std::int64_t bar = 0; bar < bars && bar < out.bars; ++bar)
    store_value<Out>(out.data + bar * out.stride, __builtin_nan(""));
}

}  // namespace wq::ma::inline WQ_LEVEL
