// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "warpquant/core/error.h"
#include "warpquant/pinn/pinn.h"

namespace wq::pinn {

/// Of pinn.cpp: the model of a number.
const Model& model_of(double number);

namespace {

bool same(const Device& a, const Device& b) { return a.table == b.table && a.index == b.index; }

/// Blocks for so many tiles, and memory for those that need some, of which there are fewer then.
template <class Job>
void give_blocks(Job& job, std::int64_t points, std::int64_t tile, Luggage& luggage) {
  constexpr std::int64_t kMost = 1 << 30, kMostWithMemory = 512;
  const std::int64_t tiles = std::max<std::int64_t>((points + tile - 1) / tile, 1);
  const std::int64_t numbers = wide_numbers(job.net, Split(job.net));
  job.blocks = static_cast<int>(std::min(tiles, numbers > 0 ? kMostWithMemory : kMost));
  if (numbers > 0)
    job.memory = luggage.scratch(static_cast<std::size_t>(numbers * job.blocks) * (job.net.in_f32 ? 4 : 8));
}

template <class Job>
rows::Put putting(const Device& device, const Job& job, const Job* Launch::* which) {
  return [device, job, which](Handle stream) {
    Launch launch;
    launch.*which = &job;
    return device.table->pinn(device.index, launch, stream);
  };
}

}  // namespace

Placed Model::placed(const void* parameters, bool in_f32, Products products) const {
  Placed placed{};
  placed.layers = static_cast<int>(widths_.size()) - 1;
  WQ_EXPECT(placed.layers <= kMostLayers, ParameterError,
            "device: networks on a device have up to " + std::to_string(kMostLayers) + " layers; this one has " +
                std::to_string(placed.layers));
  std::copy(widths_.begin(), widths_.end(), placed.widths);
  placed.activation = activation_;
  placed.products = in_f32 ? products : Products::full;
  placed.in_f32 = in_f32;
  placed.parameters = parameters;
  return placed;
}

void Model::place(const Device& device, const Placed& placed) {
  for (auto& [where, what] : places_)
    if (same(where, device)) {
      what = placed;
      return;
    }
  places_.emplace_back(device, placed);
}

const Placed& Model::place_on(const Device& device) const {
  for (const auto& [where, what] : places_)
    if (same(where, device)) return what;
  throw InternalError("model: is not on " + device.name());
}

rows::Put prices_on(const Device& device, const rows::Job& job, Luggage& luggage) {
  const Model& model = model_of(job.parameters[0]);
  PriceLaunch launch{};
  launch.net = model.place_on(device);
  launch.surface = model.view().surface;
  launch.extrapolate = job.parameters[2] != 0;
  launch.frame = job.frame;
  std::copy_n(job.in, kInputs, launch.in);
  std::copy_n(job.out, kOutputs, launch.out);
  const auto wants = [&](Result k) { return job.out[k].data != nullptr; };
  for (int k = kDelta; k < kStatus; ++k) launch.wanted.greeks |= wants(static_cast<Result>(k));
  launch.wanted.cross = wants(kVanna) || wants(kCharm);
  launch.wanted.volga = wants(kVolga);
  launch.wanted.speed = wants(kSpeed);
  give_blocks(launch, job.frame.rows, Split(launch.net).columns / launch.wanted.count(), luggage);
  return putting(device, launch, &Launch::prices);
}

rows::Put jets_on(const Device& device, JetLaunch job, Luggage& luggage) {
  const int columns = Split(job.net).columns, streams = job.streams.count();
  WQ_EXPECT(streams <= columns, InternalError, "directions: too many for one pass");
  give_blocks(job, job.points, columns / streams, luggage);
  return putting(device, job, &Launch::jets);
}

rows::Put loss_on(const Device& device, LossLaunch job, Luggage& luggage) {
  const int directions = job.net.in_f32 ? job.job_f32.directions : job.job.directions;
  const std::int64_t points = job.net.in_f32 ? job.job_f32.points : job.job.points;
  const LossRoom room(job.net, Split(job.net), directions + 2, job.parameters);
  job.blocks = loss_blocks(points, room.points);
  job.memory = luggage.scratch(static_cast<std::size_t>(room.all * job.blocks) * (job.net.in_f32 ? 4 : 8));
  return putting(device, job, &Launch::loss);
}

}  // namespace wq::pinn
