// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/optim/bfloat.h"
#include "warpquant/optim/launch.h"
#include "warpquant/optim/norm.h"
#include "warpquant/optim/rules.h"

/// Steps of optimizers over lists of tensors. Elements have the bits of the CPU, norms too: sums have the same order.
namespace wq::optim {
namespace {

struct Threads {
  static constexpr int update = 256, norm_pieces = 4;  // pieces of a block, one for each warp
};
static_assert(kNormLanes == cuda::kWarp);

/// The item that a piece is of.
__device__ inline int item_of(const Launch& launch, std::int64_t piece) {
  int i = launch.items - 1;
  while (launch.item[i].first_piece > piece) --i;
  return i;
}

__device__ inline double load(Number type, const std::byte* values, std::int64_t i) {
  if (type == Number::f64) return value_of(reinterpret_cast<const double*>(values)[i]);
  if (type == Number::f32) return value_of(reinterpret_cast<const float*>(values)[i]);
  return value_of(reinterpret_cast<const Bfloat*>(values)[i]);
}

__device__ inline void store(Number type, std::byte* values, std::int64_t i, double value) {
  if (type == Number::f64)
    reinterpret_cast<double*>(values)[i] = value;
  else if (type == Number::f32)
    reinterpret_cast<float*>(values)[i] = static_cast<float>(value);
  else
    reinterpret_cast<Bfloat*>(values)[i] = narrowed(static_cast<float>(value));
}

template <Norm kNorm>
__device__ PieceNorm folded(PieceNorm lane) {
  for (int half = cuda::kWarp / 2; half > 0; half /= 2) {
    lane.value = norm_sum<kNorm>(lane.value, __shfl_xor_sync(cuda::kEveryLane, lane.value, half));
    lane.poison = lane.poison + __shfl_xor_sync(cuda::kEveryLane, lane.poison, half);
  }
  return lane;
}

template <Norm kNorm>
__global__ void norm_kernel(Launch launch) {
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp;
  const std::int64_t piece =
      static_cast<std::int64_t>(blockIdx.x) * Threads::norm_pieces + static_cast<int>(threadIdx.x) / cuda::kWarp;
  if (piece >= launch.pieces) return;
  const Item& item = launch.item[item_of(launch, piece)];
  const std::int64_t from = (piece - item.first_piece) * kPiece;
  const std::int64_t to = from + kPiece < item.part.count ? from + kPiece : item.part.count;
  PieceNorm sum{0.0, 0.0};
  for (std::int64_t i = from + lane; i < to; i += kNormLanes) {
    const double x = load(item.part.grad_type, item.part.grad, i);
    sum.value = norm_sum<kNorm>(sum.value, norm_term<kNorm>(x, launch.order));
    sum.poison = sum.poison + poison_of(x);
  }
  sum = folded<kNorm>(sum);
  if (lane == 0) launch.norms[piece] = sum;
}

/// One warp, over all pieces.
template <Norm kNorm>
__global__ void control_kernel(Launch launch) {
  PieceNorm sum{0.0, 0.0};
  for (std::int64_t i = threadIdx.x; i < launch.pieces; i += kNormLanes) {
    sum.value = norm_sum<kNorm>(sum.value, launch.norms[i].value);
    sum.poison = sum.poison + launch.norms[i].poison;
  }
  sum = folded<kNorm>(sum);
  if (threadIdx.x > 0) return;
  Control& control = *launch.control;
  control.norm = norm_of(launch.norm, launch.order, sum.value) * abs(launch.gradient.inverse_scale);
  control.factor = is_finite(launch.most_norm) ? clip_factor(control.norm, launch.most_norm) : 1.0;
  control.leave_out = launch.watch && sum.poison != 0.0 ? 1.0 : 0.0;
  control.left_out += control.leave_out;
}

template <class R>
__device__ void update_piece(const Launch& launch, const Item& item, const Corrections& corrections,
                             const Gradient& gradient, std::int64_t from, std::int64_t to) {
  const GradientRule<R> gradient_rule(gradient);
  const Part& part = item.part;
  R* const params = reinterpret_cast<R*>(part.type == Number::bf16 ? part.master : part.param);
  with_rule<R>(launch.settings, corrections, [&]<class Rule>(const Rule& rule) {
    for (std::int64_t i = from + threadIdx.x; i < to; i += Threads::update) {
      R state[kMostStates];
      for (int k = 0; k < kMostStates; ++k)
        if (Rule::kStates >> k & 1) state[k] = reinterpret_cast<const R*>(part.state[k])[i];
      const R g = static_cast<R>(load(part.grad_type, part.grad, i));
      const R p = params[i] = rule(params[i], gradient_rule(g), state);
      for (int k = 0; k < kMostStates; ++k)
        if (Rule::kStates >> k & 1) reinterpret_cast<R*>(part.state[k])[i] = state[k];
      if (part.type == Number::bf16) store(part.type, part.param, i, static_cast<double>(p));
    }
  });
}

/// A block for each piece.
__global__ void update_kernel(Launch launch) {
  WQ_SHARED(Corrections, corrections_of_block, 1);
  if (launch.control != nullptr && launch.control->leave_out != 0.0) return;
  const std::int64_t piece = blockIdx.x;
  const Item& item = launch.item[item_of(launch, piece)];
  if (threadIdx.x == 0) corrections_of_block[0] = corrections(launch.settings, launch.steps[item.slot] + 1.0);
  __syncthreads();
  Gradient gradient = launch.gradient;
  if (launch.control != nullptr && gradient.norm_factor == 1.0) gradient.norm_factor = launch.control->factor;
  const std::int64_t from = (piece - item.first_piece) * kPiece;
  const std::int64_t to = from + kPiece < item.part.count ? from + kPiece : item.part.count;
  if (item.part.type == Number::f64)
    update_piece<double>(launch, item, corrections_of_block[0], gradient, from, to);
  else
    update_piece<float>(launch, item, corrections_of_block[0], gradient, from, to);
}

__global__ void advance_kernel(Launch launch) {
  if (launch.control != nullptr && launch.control->leave_out != 0.0) return;
  const int i = static_cast<int>(threadIdx.x);
  if (i < launch.items) launch.steps[launch.item[i].slot] += 1.0;
}

__global__ void clip_kernel(Launch launch) {
  const std::int64_t piece = blockIdx.x;
  if (launch.control != nullptr && launch.control->leave_out != 0.0) return;
  const Part& part = launch.item[item_of(launch, piece)].part;
  Gradient gradient = launch.gradient;
  if (launch.control != nullptr && gradient.norm_factor == 1.0) gradient.norm_factor = launch.control->factor;
  const GradientRule<double> wide(gradient);
  const GradientRule<float> narrow(gradient);
  const std::int64_t from = (piece - launch.item[item_of(launch, piece)].first_piece) * kPiece;
  const std::int64_t to = from + kPiece < part.count ? from + kPiece : part.count;
  auto* const values = const_cast<std::byte*>(part.grad);
  for (std::int64_t i = from + threadIdx.x; i < to; i += Threads::update) {
    const double x = load(part.grad_type, values, i);
    store(part.grad_type, values, i,
          part.grad_type == Number::f64 ? wide(x) : static_cast<double>(narrow(static_cast<float>(x))));
  }
}

}  // namespace

/// Put a stage into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const auto pieces = static_cast<unsigned>(launch.pieces);
  const auto with_norm = [&](auto f) {
    switch (launch.norm) {
    case Norm::one:
      return f.template operator()<Norm::one>();
    case Norm::two:
      return f.template operator()<Norm::two>();
    case Norm::power:
      return f.template operator()<Norm::power>();
    case Norm::largest:
      break;
    }
    return f.template operator()<Norm::largest>();
  };
  switch (launch.stage) {
  case Stage::norms:
    return with_norm([&]<Norm kNorm>() {
      return cuda::launch(norm_kernel<kNorm>, dim3((pieces + Threads::norm_pieces - 1) / Threads::norm_pieces),
                          dim3(Threads::norm_pieces * cuda::kWarp), 0, queue, launch);
    });
  case Stage::control:
    return with_norm([&]<Norm kNorm>() {
      return cuda::launch(control_kernel<kNorm>, dim3(1), dim3(cuda::kWarp), 0, queue, launch);
    });
  case Stage::update:
    return cuda::launch(update_kernel, dim3(pieces), dim3(Threads::update), 0, queue, launch);
  case Stage::advance:
    return cuda::launch(advance_kernel, dim3(1), dim3(64), 0, queue, launch);
  case Stage::clip:
    return cuda::launch(clip_kernel, dim3(pieces), dim3(Threads::update), 0, queue, launch);
  }
  return Fault::invalid;
}

}  // namespace wq::optim
