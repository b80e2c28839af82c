// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ma_job.h"

namespace wq::ma::inline WQ_LEVEL {

/// W blocks of bars side by side: of as many series, or of one.
template <class Kind, class In, class Out>
void run_windowed(Job& job, const std::int64_t* first_bar, std::byte* scratch) {
  Series in[W];
  std::int64_t bars = 0, span = 0, ring = 0;
  for (int j = 0; j < W; ++j) {
    in[j] = lane_of(job, j);
    bars = in[j].bars > bars ? in[j].bars : bars;
  }
  for (int s = 0; s < job.count; ++s) {
    const Kind kind(job.specs[s]);
    span = kind.span() > span ? kind.span() : span;
    ring = kind.ring() > ring ? kind.ring() : ring;
  }
  auto* ring_rows = reinterpret_cast<V*>(scratch);
  auto* history = reinterpret_cast<double*>(ring_rows + ring);
  double* rows = history + span * W;  // row r is bar r of the block, negative before it
  LaneReader<In, W>(in).rows(-span, span + bars, history);
  V sums(0.0);
  for (std::int64_t r = -span; r < bars; ++r) sums = sums + V::load(rows + r * W);
  note_suspects(job, 0, sums);

  for (int s = 0; s < job.count; ++s) {
    const Kind kind(job.specs[s]);
    Sink out[W];
    for (int j = 0; j < W; ++j) out[j] = sink_of(job, j, s);
    const LaneWriter<Out, W> writer(out);
    typename Kind::template State<V> state;
    if constexpr (requires { state.ring; }) state.ring = ring_rows;
    kind.open(state, Window<V>{rows - W});
    std::int64_t r = 0;
    for (; r + W <= writer.shortest; r += W) {
      V block[W];
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) block[i] = kind.step(state, Window<V>{rows + (r + i) * W});
      writer.block(r, block);
    }
    for (; r < bars; ++r) writer.row(r, kind.step(state, Window<V>{rows + r * W}));

    for (int j = 0; j < job.lanes && j < W; ++j) store_nan<Out>(out[j], kind.warmup() - first_bar[j]);
  }
}

}  // namespace wq::ma::inline WQ_LEVEL
