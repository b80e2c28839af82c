// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/pinn/split.h"
#include "warpquant/pinn/surface.h"

/// What dispatch hands to devices.
namespace wq::pinn {

/// Layers of a network on a device, and directions of derivatives in one pass over it, at most.
inline constexpr int kMostLayers = 32, kMostAtOnce = 5;

/// A network on a device, with parameters in the caller's order: layer by layer the weights as [out][in], then the
/// bias.
struct Placed {
  Activation activation;
  Products products;
  bool in_f32;
  int layers;
  int widths[kMostLayers + 1];
  const void* parameters;  // float64, or float32

  WQ_HD int widest() const {
    int most = 1;
    for (int l = 0; l <= layers; ++l) most = widths[l] > most ? widths[l] : most;
    return most;
  }
};

/// How a block of a device splits its work: `groups` of 8 neurons by `columns` of numbers, 4 of them to a thread. The
/// numbers that all neurons of a layer have for so many columns stay in shared memory, unless layers are too wide.
struct Split {
  static constexpr int kThreads = 128, kRows = 8, kColumns = 4, kDepth = 16, kWidest = 128;
  int groups, columns;

  WQ_HD explicit Split(const Placed& net) {
    const int widest = net.widest();
    groups = net.products == Products::full ? 1 : 2;  // units multiply 16 neurons at a time
    while (groups * kRows < widest && groups * kRows < kWidest) groups *= 2;
    columns = kColumns * kThreads / groups;
  }
  WQ_HD int rows() const { return groups * kRows; }
};

/// Memory that blocks need where a layer is wider than `Split::kWidest`, in numbers: two of its rows each.
WQ_HD std::int64_t wide_numbers(const Placed& net, const Split& split) {
  return net.widest() <= Split::kWidest ? 0 : 2 * static_cast<std::int64_t>(net.widest()) * split.columns;
}

/// A matrix in memory with strides in bytes; float64 or float32.
struct Values {
  std::byte* data;
  std::int64_t strides[2];
  bool in_f32;

  WQ_HD std::byte* at(std::int64_t i, std::int64_t j) const { return data + i * strides[0] + j * strides[1]; }
};

/// Derivatives of a network for points: of x[i][input] along `directions`, which are rows of inputs.
struct JetLaunch {
  Placed net;
  Streams streams;
  std::int64_t points;
  Values x;  // (points, inputs)
  /// (points,), (points, directions), (points, directions^2), (points, directions), as far as the order goes.
  Values value, gradient, hessian, third;
  const double* directions;  // on the device
  std::byte* memory;         // wide_numbers for each block
  int blocks;
};

/// The operation on rows.
struct PriceLaunch {
  Placed net;
  Surface surface;
  Wanted wanted;
  bool extrapolate;
  rows::Frame frame;
  rows::Column in[kInputs], out[kOutputs];
  std::byte* memory;
  int blocks;
};

/// Loss of a collocation and its gradient. Blocks add up tiles of points that are theirs whatever the device, and then
/// their sums are added in their order.
struct LossLaunch {
  Placed net;
  Collocation<double> job;  // of float64, or
  Collocation<float> job_f32;
  std::int64_t parameters;
  void* residuals;    // null: not wanted
  void* loss;         // one number
  void* gradient;     // null: not wanted
  std::byte* memory;  // of all blocks
  int blocks;
};
static_assert(sizeof(PriceLaunch) <= 4000 && sizeof(LossLaunch) <= 4000, "parameters of kernels");

/// What a block of the loss has in `memory`, in numbers from its begin.
struct LossRoom {
  int points;  // of a tile
  std::int64_t inputs, before, curves, wide, sums, all;

  LossRoom() = default;
  WQ_HD LossRoom(const Placed& net, const Split& split, int streams, std::int64_t parameters) {
    points = split.columns / streams;
    std::int64_t below = 0, hidden = 0;
    for (int l = 0; l < net.layers; ++l) below += net.widths[l];
    for (int l = 1; l < net.layers; ++l) hidden += net.widths[l];
    inputs = 0;
    before = inputs + below * split.columns;
    curves = before + hidden * split.columns;
    wide = curves + hidden * points * 3;
    sums = wide + wide_numbers(net, split);
    all = sums + parameters + 1;  // the gradient, and the loss
  }
};

/// Blocks of a loss, whatever the device.
inline int loss_blocks(std::int64_t points, int tile) {
  constexpr std::int64_t kMost = 256;
  const std::int64_t tiles = (points + tile - 1) / tile;
  return static_cast<int>(tiles < 1 ? 1 : tiles < kMost ? tiles : kMost);
}

struct Launch {
  const JetLaunch* jets = nullptr;  // one of them
  const PriceLaunch* prices = nullptr;
  const LossLaunch* loss = nullptr;
};

}  // namespace wq::pinn
