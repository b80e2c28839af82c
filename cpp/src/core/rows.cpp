// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <new>

#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/row_calls.h"

WQ_KERNEL_TABLE(rows)

namespace wq::rows {

const Op& operation(std::string_view name) {
  for (const Op& op : operations())
    if (name == op.info.name) return op;
  throw InternalError("operation '" + std::string(name) + "' is unknown");
}

void run(const Op& op, Job& job, const Execution& execution) {
  if (job.frame.rows == 0) return;
  if (execution.device) throw ParameterError("device: options are computed on the CPU");
  const TileKernel kernel = op.group(execution.level)->kernel(op.index, job.wanted());
  const Kernels& kernels = kernels_at(execution.level);
  // A thread is worth waking for this much, and a task is about as long.
  constexpr std::int64_t kTask = 50'000;  // ns
  std::int64_t rows = std::max<std::int64_t>(kTask / op.info.nanoseconds, 1);
  const std::int64_t whole = rows > kTile ? kTile : kWidestPack;
  rows = (rows + whole - 1) / whole * whole;
  job.scratch = op.group(execution.level)->scratch(op.index, job.parameters);
  const auto part = [&](std::int64_t from, std::int64_t to) {
    // Aligned to lines of the cache; left as it is, since each row writes it before it reads it.
    constexpr std::align_val_t kLine{64};
    const auto bytes = static_cast<std::size_t>(job.scratch * kWidestPack) * sizeof(double);
    auto* const scratch = bytes == 0 ? nullptr : static_cast<double*>(::operator new(bytes, kLine));
    kernels.run(job, kernel, from, to, scratch);
    ::operator delete(scratch, kLine);
  };
  const std::int64_t tasks = (job.frame.rows + rows - 1) / rows;
  if (tasks == 1) return part(0, job.frame.rows);
  parallel_for(execution.threads, tasks,
               [&](std::int64_t task, int) { part(task * rows, std::min((task + 1) * rows, job.frame.rows)); });
}

}  // namespace wq::rows
