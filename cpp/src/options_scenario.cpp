// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/options/scenario_calls.h"

WQ_KERNEL_TABLE(options::scenario)

namespace wq::options::scenario {

void run(const Book& book, const Grid& grid, const std::vector<std::int64_t>& offsets, int sums, double* out,
         const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t width = grid.nodes() * sums, positions = offsets.back() - offsets.front();
  const auto groups = static_cast<std::int64_t>(offsets.size()) - 1;
  std::fill(out, out + groups * width, 0.0);
  if (width == 0 || positions == 0) return;

  // Parts depend on the positions and the grid alone, never on the threads: that fixes the order of the sums. There are
  // enough of them to share out, and few enough that their sums stay small beside the positions.
  constexpr std::int64_t kMostParts = 256, kMostNumbers = std::int64_t{1} << 22;
  const std::int64_t parts_wanted = std::clamp<std::int64_t>(kMostNumbers / width, 8, kMostParts);
  const std::int64_t size = ((positions + parts_wanted - 1) / parts_wanted + kBlock - 1) / kBlock * kBlock;
  struct Part {
    std::int64_t group, from, to;
  };
  std::vector<Part> parts;
  for (std::int64_t g = 0; g < groups; ++g)
    for (std::int64_t from = offsets[g]; from < offsets[g + 1]; from += size)
      parts.push_back({g, from, std::min(from + size, offsets[g + 1])});

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
