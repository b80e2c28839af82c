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

namespace {

/// Where a batch has its columns, each from a multiple of 8 on; those that are the same for every row are not there.
struct Layout {
  std::int64_t in[kMostInputs], out[kMostOutputs], up = 0, down = 0;
};

Layout layout_of(const Job& job, std::int64_t rows) {
  Layout l;
  const auto next = [&](std::int64_t& end, DType type) {
    const std::int64_t at = end;
    end += (rows * item_size(type) + 7) / 8 * 8;
    return at;
  };
  for (int k = 0; k < job.inputs; ++k) l.in[k] = job.in[k].data == nullptr ? 0 : next(l.up, job.in[k].type);
  for (int k = 0; k < job.outputs; ++k) l.out[k] = job.out[k].data == nullptr ? 0 : next(l.down, job.out[k].type);
  return l;
}

/// How many of the rows a device computes side by side, where they need work memory; that is then within a small part
/// of the device's, and grows no further with the rows.
std::int64_t side_by_side(const Job& job, const Device& device, std::int64_t rows) {
  constexpr std::int64_t kPart = 64;  // of the memory; batches on their way have their own each
  std::int64_t free = 0, total = 0;
  device.check(device.table->memory(device.index, &free, &total), "asking for the size of memory");
  const std::int64_t row = job.scratch * static_cast<std::int64_t>(sizeof(double));
  return std::clamp<std::int64_t>(total / kPart / row, 1, rows);
}

/// The table of a call in memory of the device.
const double* table_on(const Device& device, Luggage& luggage, const Job& job, Handle stream) {
  const auto bytes = static_cast<std::size_t>(job.table_size) * sizeof(double);
  auto* const there = reinterpret_cast<double*>(luggage.scratch(bytes));
  device.send(there, job.table, bytes, stream);
  return there;
}

/// From memory of the host, in batches of rows.
void run_shipped(const Op& op, const Job& job, const Execution& execution) {
  const Device device = *execution.device;
  // As many in every batch, for a device that is shared by more than this call.
  const std::int64_t most = job.scratch > 0 ? side_by_side(job, device, job.frame.rows) : 0;
  const auto at_once = [&](std::int64_t rows) { return std::min(most, rows); };
  // Until the last batch is back.
  const Handle home = thread_stream(device);
  Luggage luggage(device, home);
  const double* table = nullptr;
  if (job.table_size > 0) {
    table = table_on(device, luggage, job, home);
    device.wait(home);
  }
  Freight freight;
  freight.items = job.frame.rows;
  freight.load = [&](std::int64_t from, std::int64_t to) {
    const Layout l = layout_of(job, to - from);
    return Load{static_cast<std::size_t>(l.up), static_cast<std::size_t>(l.down),
                static_cast<std::size_t>(at_once(to - from) * job.scratch) * sizeof(double)};
  };
  freight.pack = [&](const Cargo& c) {
    const Layout l = layout_of(job, c.to - c.from);
    for (int k = 0; k < job.inputs; ++k) {
      const Column& column = job.in[k];
      if (column.data == nullptr) continue;
      const std::int64_t size = item_size(column.type);
      each_run(column, job.frame, c.from, c.to - c.from,
               [&](const std::byte* p, std::int64_t stride, std::int64_t rows, std::int64_t done) {
                 gather({p, stride, rows}, column.type, c.up + l.in[k] + done * size);
               });
    }
  };
  freight.launch = [&](const Cargo& c) {
    const Layout l = layout_of(job, c.to - c.from);
    Job there = job;
    there.frame = {1, {c.to - c.from}, c.to - c.from};
    there.side_by_side = at_once(c.to - c.from);
    there.table = table;
    there.memory = reinterpret_cast<double*>(c.scratch);
    const auto place = [&](Column& column, std::byte* memory, std::int64_t at) {
      if (column.data == nullptr) return;
      column.data = memory + at;
      column.strides[0] = item_size(column.type);
    };
    for (int k = 0; k < job.inputs; ++k) place(there.in[k], c.device_up, l.in[k]);
    for (int k = 0; k < job.outputs; ++k) place(there.out[k], c.device_down, l.out[k]);
    Luggage luggage(device, c.stream);
    device.check(op.on_device(device, there, luggage)(c.stream), "starting a kernel");
  };
  freight.unpack = [&](const Cargo& c) {
    const Layout l = layout_of(job, c.to - c.from);
    for (int k = 0; k < job.outputs; ++k) {
      const Column& column = job.out[k];
      if (column.data == nullptr) continue;
      const std::int64_t size = item_size(column.type);
      each_run(column, job.frame, c.from, c.to - c.from,
               [&](std::byte* p, std::int64_t stride, std::int64_t rows, std::int64_t done) {
                 scatter(c.down + l.out[k] + done * size, {p, stride, rows}, column.type);
               });
    }
  };
  ship(device, execution.pipeline, freight);
}

void run_resident(const Op& op, const Job& job, const Execution& execution) {
  const Device device = *execution.device;
  Luggage own(device, execution.stream);
  Luggage& luggage = execution.prepared != nullptr ? execution.prepared->luggage() : own;
  Job there = job;
  if (job.table_size > 0)
    there.table =
        table_on(device, luggage, job, execution.prepared != nullptr ? execution.prepared->home() : execution.stream);
  if (job.scratch > 0) {
    there.side_by_side = side_by_side(job, device, job.frame.rows);
    const auto bytes = static_cast<std::size_t>(there.side_by_side * job.scratch) * sizeof(double);
    there.memory = reinterpret_cast<double*>(luggage.scratch(bytes));
  }
  const auto put = [device, work = op.on_device(device, there, luggage)](Handle stream) {
    device.check(work(stream), "starting a kernel");
  };
  if (execution.prepared != nullptr)
    execution.prepared->add(put);
  else
    put(execution.stream);
}

}  // namespace

void run(const Op& op, Job& job, const Execution& execution) {
  if (job.frame.rows == 0) return;
  job.group = op.id;
  job.index = op.index;
  job.scratch = op.group(execution.level)->scratch(op.index, job.parameters);
  if (execution.device) return execution.resident ? run_resident(op, job, execution) : run_shipped(op, job, execution);
  const TileKernel kernel = op.group(execution.level)->kernel(op.index, job.wanted());
  const Kernels& kernels = kernels_at(execution.level);
  // A thread is worth waking for this much, and a task is about as long.
  constexpr std::int64_t kTask = 50'000;  // ns
  std::int64_t rows = std::max<std::int64_t>(kTask / op.info.nanoseconds, 1);
  const std::int64_t whole = rows > kTile ? kTile : kWidestPack;
  rows = (rows + whole - 1) / whole * whole;
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
