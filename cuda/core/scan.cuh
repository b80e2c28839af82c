// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tiles.cuh"
#include "warpquant/core/walks.h"

/// Operations along time, from one or two series. Every lane of a warp walks a series, or a piece of one: what a piece
/// does to whatever state it starts from (a `Map`) is found first, one lane then carries the state from piece to piece,
/// and with the state that it starts from a piece is walked for its results. An operation `Op` has
///   State, start()         what a bar hands to the next, and what the first one is handed
///   step(State&, In, bar)  the result of a bar
///   Map, nothing()         what bars do to a state, and what no bar does
///   follow(Map&, In, bar)  one more bar
///   after(State, Map)      the state behind them
/// where In gives input k of the bar, `in(k)`, and of the one before, `in.before(k)`, NaN before the first.
namespace wq::cuda {
namespace {

struct Inputs {
  double now[2], last[2];

  __device__ double operator()(int k) const { return now[k]; }
  __device__ double before(int k) const { return last[k]; }
};

template <class Op>
union Slot {
  typename Op::Map map;
  typename Op::State state;
};

/// Bars [begin, end) of a series, for a lane.
struct Piece {
  std::int64_t series, begin, end;
};

__device__ inline Piece piece_of(const Walks& walks, std::int64_t unit) {
  if (unit >= walks.series * walks.pieces) return {};
  const std::int64_t series = unit % walks.series, begin = unit / walks.series * walks.piece_bars;
  const std::int64_t bars = walks.in[series].bars, end = begin + walks.piece_bars;
  return {series, begin < bars ? begin : bars, end < bars ? end : bars};
}

/// Call visit(inputs, bar, result) for the bars of every lane's piece; `kStores`: what it leaves in `result` is stored.
template <bool kStores, class Visit>
__device__ void walk(const Walks& walks, const Piece& piece, Visit visit) {
  WQ_SHARED(Track, tracks, 2 * kWarp);
  WQ_SHARED(Target, targets, kWarp);
  WQ_SHARED(double, rows, 2 * kTile * kRow);
  const int lane = threadIdx.x;
  const std::int64_t bars = piece.end - piece.begin;
  Inputs in{};
  for (int k = 0; k < walks.inputs; ++k) {
    Track track{};
    track.series.stride = item_size(walks.type_of(k));
    if (bars > 0) track = {walks.in[k * walks.series + piece.series], piece.begin};
    tracks[k * kWarp + lane] = track;
    in.now[k] = bars > 0 && piece.begin > 0 ? track.at(-1, walks.type_of(k)) : __builtin_nan("");
  }
  Target target{nullptr, item_size(walks.out_type), 0, 0};
  if (bars > 0) {
    const Sink& sink = walks.out[piece.series];
    target = {sink.data + piece.begin * sink.stride, sink.stride, 0, bars};
  }
  targets[lane] = target;
  __syncwarp();
  for (std::int64_t r = 0; __any_sync(kEveryLane, r < bars); r += kTile) {
    for (int k = 0; k < walks.inputs; ++k)
      load_tile(tracks + k * kWarp, walks.type_of(k), r, rows + k * kTile * kRow, kTile - 1);
    __syncwarp();
    for (int i = 0; i < kTile && r + i < bars; ++i) {
      for (int k = 0; k < walks.inputs; ++k) {
        in.last[k] = in.now[k];
        in.now[k] = rows[(k * kTile + i) * kRow + lane];
      }
      visit(in, piece.begin + r + i, rows[i * kRow + lane]);
    }
    __syncwarp();
    if constexpr (kStores) {
      store_tile(targets, walks.out_type, r, rows);
      __syncwarp();
    }
  }
}

__device__ inline std::int64_t unit_of_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <class Op>
__global__ void map_kernel(Walks walks, Op op) {
  static_assert(sizeof(Slot<Op>) <= kSlotBytes);
  const Piece piece = piece_of(walks, unit_of_thread());
  typename Op::Map map = op.nothing();
  walk<false>(walks, piece, [&](const Inputs& in, std::int64_t bar, double&) { op.follow(map, in, bar); });
  if (piece.begin < piece.end) reinterpret_cast<Slot<Op>*>(walks.scratch)[unit_of_thread()].map = map;
}

/// A thread carries the state through a series.
template <class Op>
__global__ void join_kernel(Walks walks, Op op) {
  const std::int64_t series = unit_of_thread();
  if (series >= walks.series) return;
  typename Op::State state = op.start();
  for (std::int64_t p = 0; p < walks.pieces; ++p) {
    const std::int64_t unit = p * walks.series + series;
    const Piece piece = piece_of(walks, unit);
    if (piece.begin >= piece.end) break;
    Slot<Op>& slot = reinterpret_cast<Slot<Op>*>(walks.scratch)[unit];
    const typename Op::Map map = slot.map;
    slot.state = state;
    state = op.after(state, map);
  }
}

template <class Op>
__global__ void result_kernel(Walks walks, Op op) {
  const Piece piece = piece_of(walks, unit_of_thread());
  typename Op::State state = op.start();
  if (piece.begin > 0 && piece.begin < piece.end)
    state = reinterpret_cast<const Slot<Op>*>(walks.scratch)[unit_of_thread()].state;
  walk<true>(walks, piece,
             [&](const Inputs& in, std::int64_t bar, double& result) { result = op.step(state, in, bar); });
}

/// Put an operation into a stream.
template <class Op>
Fault scan(const Walks& walks, const Op& op, Queue queue) {
  const auto blocks = [](std::int64_t threads) { return dim3(static_cast<unsigned>((threads + kWarp - 1) / kWarp)); };
  const dim3 units = blocks(walks.series * walks.pieces), block(kWarp);
  Fault fault = Fault::none;
  if (walks.pieces > 1) {
    fault = launch(map_kernel<Op>, units, block, 0, queue, walks, op);
    if (fault == Fault::none) fault = launch(join_kernel<Op>, blocks(walks.series), block, 0, queue, walks, op);
  }
  return fault == Fault::none ? launch(result_kernel<Op>, units, block, 0, queue, walks, op) : fault;
}

}  // namespace
}  // namespace wq::cuda
