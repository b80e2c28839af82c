// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/options/scenario.h"

/// Books under scenarios: a thread has a node of the grid and adds up the positions of a part, which its block keeps in
/// shared memory some at a time; then a thread adds up the parts of a node. Only sums are written.
namespace wq::options::scenario {
namespace {

constexpr int kThreads = 128, kTogether = 32;

/// A position, and what of it all nodes of one time share.
struct Position {
  double spot, strike, vol, sign, shift, beta, vol_beta, weight;
  AtTime<double> time;
};

template <Model kModel>
__device__ Position position_of(const Book& book, std::int64_t i, double years) {
  Position p;
  p.spot = book.field[kSpot][i];
  p.shift = book.field[kShift][i];
  p.strike = book.field[kStrike][i] + p.shift;
  p.vol = book.field[kVol][i];
  p.sign = book.field[kSign][i];
  p.beta = book.field[kBeta][i];
  p.vol_beta = book.field[kVolBeta][i];
  p.weight = book.field[kWeight][i];
  p.time = AtTime<double>::of<kModel>(p.strike, book.field[kExpiry][i], book.field[kRate][i], book.field[kDividend][i],
                                      years);
  return p;
}

template <Model kModel, bool kAll>
__device__ Worth<double> worth_of(const Position& p, double spot_relative, double spot_absolute, double vol_relative,
                                  double vol_absolute) {
  const AtTime<double>& t = p.time;
  const double v = max(moved(p.vol, p.vol_beta, vol_relative, vol_absolute), 0.0) * t.root;
  const double inverse = min(1.0 / v, kNoVol);
  double spot = moved(p.spot, p.beta, spot_relative, spot_absolute);
  if constexpr (kModel == Model::bachelier) {
    return bachelier<kAll>(t, spot - p.strike, v, inverse, p.sign);
  } else {
    spot = max(spot + p.shift, 0.0);
    const double spot_now = spot * t.carry_factor;
    Worth<double> worth = black_call<kAll>(t, spot, spot_now, log_or_far(spot, p.strike) + t.drift, v, inverse);
    if (p.sign < 0.0) {  // parity
      worth.sum[kValue] = worth.sum[kValue] + (t.strike_now - spot_now);
      if constexpr (kAll) worth.sum[kDelta] = worth.sum[kDelta] - t.carry_factor;
    }
    return worth;
  }
}

/// Blocks: nodes of one time, then times, then parts.
template <Model kModel, bool kAll>
__global__ void part_kernel(Launch l) {
  WQ_SHARED(Position, positions, kTogether);
  const Grid& grid = l.grid;
  const std::int64_t nodes = grid.vol.count * grid.spot.count, stripes = (nodes + kThreads - 1) / kThreads;
  const std::int64_t stripe = blockIdx.x % stripes, time = blockIdx.x / stripes % grid.times,
                     number = blockIdx.x / stripes / grid.times;
  const std::int64_t node = stripe * kThreads + threadIdx.x;
  const bool has_node = node < nodes;
  const std::int64_t s = has_node ? node % grid.spot.count : 0, k = has_node ? node / grid.spot.count : 0;
  const Part part = l.parts[number];
  constexpr int kKept = kAll ? kSums : 1;
  double sum[kSums] = {};
  for (std::int64_t from = part.from; from < part.to; from += kTogether) {
    const int count = static_cast<int>(part.to - from < kTogether ? part.to - from : kTogether);
    if (static_cast<int>(threadIdx.x) < count)
      positions[threadIdx.x] = position_of<kModel>(l.book, from + threadIdx.x, grid.years[time]);
    __syncthreads();
    for (int i = 0; i < count; ++i) {
      const Worth<double> worth = worth_of<kModel, kAll>(positions[i], grid.spot.relative[s], grid.spot.absolute[s],
                                                         grid.vol.relative[k], grid.vol.absolute[k]);
      for (int j = 0; j < kKept; ++j) sum[j] = mul_add(positions[i].weight, worth.sum[j], sum[j]);
    }
    __syncthreads();
  }
  if (!has_node) return;
  double* const to = l.partial + number * l.sums * grid.nodes() + time * nodes + node;
  for (int j = 0; j < kKept; ++j) to[j * grid.nodes()] = sum[j];
}

/// A thread adds up the parts of a group at one node.
__global__ void sum_kernel(Launch l) {
  const std::int64_t width = l.sums * l.grid.nodes();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= l.groups * width) return;
  const std::int64_t group = i / width;
  double sum = 0.0;
  for (std::int64_t part = l.part_offsets[group]; part < l.part_offsets[group + 1]; ++part)
    sum = sum + l.partial[part * width + i % width];
  l.out[i] = sum;
}

}  // namespace

/// Put both into a stream.
inline Fault launch_on(const Launch& l, cuda::Queue queue) {
  const std::int64_t stripes = (l.grid.vol.count * l.grid.spot.count + kThreads - 1) / kThreads;
  const auto blocks = [](std::int64_t count) { return dim3(static_cast<unsigned>(count)); };
  const auto first = [&]<Model kModel>() {
    const auto kernel = l.sums == 1 ? part_kernel<kModel, false> : part_kernel<kModel, true>;
    return cuda::launch(kernel, blocks(stripes * l.grid.times * l.count), dim3(kThreads), 0, queue, l);
  };
  Fault fault = Fault::invalid;
  if (l.book.model == Model::bsm) fault = first.template operator()<Model::bsm>();
  if (l.book.model == Model::black76) fault = first.template operator()<Model::black76>();
  if (l.book.model == Model::bachelier) fault = first.template operator()<Model::bachelier>();
  if (fault != Fault::none) return fault;
  const std::int64_t sums = l.groups * l.sums * l.grid.nodes();
  return cuda::launch(sum_kernel, blocks((sums + kThreads - 1) / kThreads), dim3(kThreads), 0, queue, l);
}

}  // namespace wq::options::scenario
