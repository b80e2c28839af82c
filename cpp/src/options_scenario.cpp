// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/options/scenario_calls.h"

WQ_KERNEL_TABLE(options::scenario)

namespace wq::options::scenario {

namespace {

/// Groups of positions in parts of up to `size`.
std::vector<Part> parts_of(const std::vector<std::int64_t>& offsets, std::int64_t size) {
  std::vector<Part> parts;
  for (std::int64_t g = 0; g + 1 < std::ssize(offsets); ++g)
    for (std::int64_t from = offsets[g]; from < offsets[g + 1]; from += size)
      parts.push_back({g, from, std::min(from + size, offsets[g + 1])});
  return parts;
}

/// Parts depend on positions and grid alone here, too; there are enough of them to fill a device.
void run_on_device(const Book& book, const Grid& grid, const std::vector<std::int64_t>& offsets, int sums, double* out,
                   const Execution& execution) {
  constexpr std::int64_t kSmallest = 128, kMostParts = 1024, kMostNumbers = std::int64_t{1} << 25;
  const Device device = *execution.device;
  const Handle stream = execution.stream;
  const std::int64_t width = grid.nodes() * sums, positions = offsets.back();
  const std::int64_t wanted = std::clamp<std::int64_t>(kMostNumbers / width, 1, kMostParts);
  const auto parts = parts_of(offsets, std::max(kSmallest, (positions + wanted - 1) / wanted));
  const std::int64_t groups = std::ssize(offsets) - 1;
  std::vector<std::int64_t> part_offsets(offsets.size(), 0);
  for (const Part& part : parts) ++part_offsets[static_cast<std::size_t>(part.group) + 1];
  for (std::size_t g = 1; g < part_offsets.size(); ++g) part_offsets[g] += part_offsets[g - 1];

  Luggage luggage(device, stream);
  const auto numbers = [&](std::int64_t count) {
    return reinterpret_cast<double*>(luggage.scratch(static_cast<std::size_t>(count) * sizeof(double)));
  };
  const auto sent = [&](const double* from, std::int64_t count) {
    double* const there = numbers(count);
    device.send(there, from, static_cast<std::size_t>(count) * sizeof(double), stream);
    return there;
  };
  Launch launch{book,   grid,    sums,   luggage.send(parts), std::ssize(parts), luggage.send(part_offsets),
                groups, nullptr, nullptr};
  for (const double*& field : launch.book.field) field = sent(field, positions);
  for (Axis* axis : {&launch.grid.spot, &launch.grid.vol}) {
    axis->relative = sent(axis->relative, axis->count);
    axis->absolute = sent(axis->absolute, axis->count);
  }
  launch.grid.years = sent(grid.years, grid.times);
  launch.partial = numbers(launch.count * width);
  launch.out = numbers(groups * width);
  device.check(device.table->scenario(device.index, launch, stream), "starting a kernel");
  device.fetch(out, launch.out, static_cast<std::size_t>(groups * width) * sizeof(double), stream);
}

}  // namespace

void run(const Book& book, const Grid& grid, const std::vector<std::int64_t>& offsets, int sums, double* out,
         const Execution& execution) {
  const std::int64_t width = grid.nodes() * sums, positions = offsets.back() - offsets.front();
  const auto groups = static_cast<std::int64_t>(offsets.size()) - 1;
  std::fill(out, out + groups * width, 0.0);
  if (width == 0 || positions == 0) return;
  if (execution.device) return run_on_device(book, grid, offsets, sums, out, execution);

  const Kernels& kernels = kernels_at(execution.level);
  // Parts depend on the positions and the grid alone, never on the threads: that fixes the order of the sums. There are
  // enough of them to share out, and few enough that their sums stay small beside the positions.
  constexpr std::int64_t kMostParts = 256, kMostNumbers = std::int64_t{1} << 22;
  const std::int64_t parts_wanted = std::clamp<std::int64_t>(kMostNumbers / width, 8, kMostParts);
  const std::int64_t size = ((positions + parts_wanted - 1) / parts_wanted + kBlock - 1) / kBlock * kBlock;
  const std::vector<Part> parts = parts_of(offsets, size);

  // The first part of a group writes to its result; the others are added to it in order, some at a time.
  const auto count = static_cast<std::int64_t>(parts.size());
  std::vector<double> others;
  const std::int64_t batch = parts_wanted;
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t end = std::min(begin + batch, count);
    const auto is_first = [&](std::int64_t i) { return parts[i].from == offsets[parts[i].group]; };
    std::vector<std::int64_t> place(static_cast<std::size_t>(end - begin), -1);
    std::int64_t rooms = 0;
    for (std::int64_t i = begin; i < end; ++i)
      if (!is_first(i)) place[i - begin] = rooms++;
    others.assign(static_cast<std::size_t>(rooms * width), 0.0);
    parallel_for(execution.threads, end - begin, [&](std::int64_t task, int) {
      const Part& part = parts[begin + task];
      double* const to = place[task] < 0 ? out + part.group * width : others.data() + place[task] * width;
      auto* const scratch = reinterpret_cast<double*>(thread_scratch(scratch_size(grid) * sizeof(double)));
      kernels.revalue(book, grid, sums, part.from, part.to, scratch, to);
    });
    for (std::int64_t i = begin; i < end; ++i) {
      if (place[i - begin] < 0) continue;
      const double* const from = others.data() + place[i - begin] * width;
      double* const to = out + parts[i].group * width;
      for (std::int64_t k = 0; k < width; ++k) to[k] += from[k];
    }
  }
}

}  // namespace wq::options::scenario
