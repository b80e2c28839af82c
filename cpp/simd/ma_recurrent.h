// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>

#include "ma_job.h"

namespace wq::ma::inline WQ_LEVEL {

/// Bars between two shifts of the rows that a recurrence looks back on.
inline constexpr std::int64_t kChunk = 256;

/// One average over W series.
template <class Kind, class Out>
struct Lane {
  Kind kind;
  LaneWriter<Out, W> writer;
  typename Kind::template State<V> state;
  V first_value;
};

template <class Kind>
WQ_HD V next_value(const Kind& kind, typename Kind::template State<V>& state, Window<V> x, std::int64_t bar) {
  if constexpr (requires { kind.refresh(state, x); })
    if (bar % kRefresh == 0) kind.refresh(state, x.ago(1));
  kind.advance(state, x);
  return kind.value(state);
}

/// W series side by side, in steps of W bars. Several such groups advance together, because the chain from one bar
/// to the next leaves the arithmetic units idle most of the time.
template <class Kind, class In, class Out>
struct Group {
  LaneReader<In, W> reader;
  Lane<Kind, Out>* lanes;
  int count;
  std::int64_t span, bars, warmup = 0;
  double* rows;  // of the current chunk, preceded by `span` rows
  V sums;

  Group(const Series (&in)[W], Lane<Kind, Out>* lanes_, int count_, std::int64_t span_, double* memory)
      : reader(in), lanes(lanes_), count(count_), span(span_), rows(memory + span_ * W), sums(0.0) {
    bars = 0;
    for (int j = 0; j < W; ++j) bars = in[j].bars > bars ? in[j].bars : bars;
    for (int s = 0; s < count; ++s) warmup = lanes[s].kind.warmup() > warmup ? lanes[s].kind.warmup() : warmup;
  }

  /// First values, from the first bars of the series read into `memory`.
  void start(double* memory) {
    const std::int64_t count_read = (warmup + 1 < bars ? warmup + 1 : bars) + span;
    reader.rows(-span, count_read, memory);
    for (int s = 0; s < count; ++s)
      if (lanes[s].kind.warmup() < bars) {
        lanes[s].kind.first(lanes[s].state, Window<V>{memory + (span + lanes[s].kind.warmup()) * W});
        lanes[s].first_value = lanes[s].kind.value(lanes[s].state);
      }
    for (std::int64_t r = 0; r < span; ++r) Rows<V>::load(memory).store(rows - (r + 1) * W);
  }

  WQ_HD void block(std::int64_t bar, double* here) {
    V x[W];
    reader.block(bar, x);
    V sum = x[0];
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      if (i > 0) sum = sum + x[i];
      x[i].store(here + i * W);
    }
    sums = sums + sum;
    for (int s = 0; s < count; ++s) {
      Lane<Kind, Out>& lane = lanes[s];
      if (bar > lane.kind.warmup()) {
        V out[W];
        auto state = lane.state;
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) out[i] = next_value(lane.kind, state, Window<V>{here + i * W}, bar + i);
        lane.state = state;
        lane.writer.block(bar, out);
      } else {
        for (int i = 0; i < W; ++i) lane.writer.row(bar + i, warming_value(lane, here + i * W, bar + i));
      }
    }
  }

  void row(std::int64_t bar, double* here) {
    const V x = reader.row(bar);
    sums = sums + x;
    x.store(here);
    for (int s = 0; s < count; ++s) lanes[s].writer.row(bar, warming_value(lanes[s], here, bar));
  }

  WQ_HD V warming_value(Lane<Kind, Out>& lane, const double* here, std::int64_t bar) {
    if (bar < lane.kind.warmup()) return V(__builtin_nan(""));
    if (bar == lane.kind.warmup()) return lane.first_value;
    return next_value(lane.kind, lane.state, Window<V>{here}, bar);
  }
};

template <class Kind, class In, class Out>
void run_recurrent(Job& job, std::byte* scratch) {
  constexpr int kGroups = kMaxLanes / W;
  const int groups = static_cast<int>(round_up(job.lanes, W) / W);
  std::int64_t span = 0, bars = 0;
  for (int s = 0; s < job.count; ++s) span = Kind(job.specs[s]).span() > span ? Kind(job.specs[s]).span() : span;

  auto* lanes = reinterpret_cast<Lane<Kind, Out>*>(scratch);
  auto* memory = reinterpret_cast<double*>(lanes + kGroups * job.count);
  const std::int64_t group_rows = (span + kChunk) * W;
  double* first_bars = memory + kGroups * group_rows;
  using G = Group<Kind, In, Out>;
  alignas(G) std::byte storage[kGroups * sizeof(G)];
  auto* group = reinterpret_cast<G*>(storage);
  for (int g = 0; g < groups; ++g) {
    Series in[W];
    for (int j = 0; j < W; ++j) in[j] = lane_of(job, g * W + j);
    for (int s = 0; s < job.count; ++s) {
      Sink out[W];
      for (int j = 0; j < W; ++j) out[j] = sink_of(job, g * W + j, s);
      new (&lanes[g * job.count + s]) Lane<Kind, Out>{Kind(job.specs[s]), LaneWriter<Out, W>(out), {}, V(0.0)};
    }
    new (&group[g]) G(in, lanes + g * job.count, job.count, span, memory + g * group_rows);
    group[g].start(first_bars);
    bars = group[g].bars > bars ? group[g].bars : bars;
  }

  for (std::int64_t chunk = 0; chunk < bars; chunk += kChunk) {
    if (chunk > 0)
      for (int g = 0; g < groups; ++g)
        __builtin_memmove(group[g].rows - span * W, group[g].rows + (kChunk - span) * W, sizeof(double) * span * W);
    const std::int64_t end = chunk + kChunk < bars ? chunk + kChunk : bars;
    for (std::int64_t bar = chunk; bar < end; bar += W)
      for (int g = 0; g < groups; ++g) {
        double* here = group[g].rows + (bar - chunk) * W;
        if (bar + W <= group[g].reader.shortest)
          group[g].block(bar, here);
        else
          for (std::int64_t i = bar; i < bar + W && i < group[g].bars; ++i) group[g].row(i, here + (i - bar) * W);
      }
  }
  for (int g = 0; g < groups; ++g) note_suspects(job, g * W, group[g].sums);
}

}  // namespace wq::ma::inline WQ_LEVEL
