// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/core/row_ops.h"
#include "warpquant/core/values.h"

/// Functions of rows: a thread takes a row, or one after the other if rows need work memory, which is for so many
/// threads. Neighbouring threads have the same number of it side by side.
namespace wq::cuda {
namespace {

__device__ inline double read_row(const rows::Column& column, const rows::Frame& frame, std::int64_t row) {
  if (column.data == nullptr) return column.value;
  const std::byte* const p = column.at(frame, row);
  return column.type == DType::f64   ? load_value<double>(p)
         : column.type == DType::f32 ? load_value<float>(p)
                                     : load_value<std::int8_t>(p);
}

__device__ inline void write_row(const rows::Column& column, const rows::Frame& frame, std::int64_t row, double value) {
  if (column.data == nullptr) return;
  std::byte* const p = column.at(frame, row);
  if (column.type == DType::f64)
    store_value<double>(p, value);
  else if (column.type == DType::f32)
    store_value<float>(p, value);
  else
    store_value<std::int8_t>(p, value);
}

struct ThreadRow {
  const rows::Job& job;
  std::int64_t row, thread;

  template <class V>
  __device__ V in(int k) const {
    return read_row(job.in[k], job.frame, row);
  }
  __device__ double parameter(int k) const { return job.parameters[k]; }
  __device__ const double* table() const { return job.table; }
  template <class V>
  __device__ rows::Strided scratch() const {
    return {job.memory + thread, job.side_by_side};
  }
  __device__ bool wants(int k) const { return job.out[k].data != nullptr; }
  __device__ void put(int k, double value) const { write_row(job.out[k], job.frame, row, value); }
};

template <class Op>
__global__ void row_kernel(rows::Job job) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if constexpr (requires { Op::scratch(job.parameters); }) {
    if (thread >= job.side_by_side) return;
    for (std::int64_t row = thread; row < job.frame.rows; row += job.side_by_side)
      Op::template row<double>(ThreadRow{job, row, thread});
  } else {
    if (thread < job.frame.rows) Op::template row<double>(ThreadRow{job, thread, thread});
  }
}

}  // namespace

/// Put an operation of a `List` into a stream.
template <class Ops>
Fault launch_row(const rows::Job& job, Queue queue) {
  constexpr int kThreads = 128;  // rows need many registers each
  Fault fault = Fault::invalid;
  Ops::at(job.index, [&]<class Op>(Op) {
    const std::int64_t threads = job.scratch > 0 ? job.side_by_side : job.frame.rows;
    const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
    fault = launch(row_kernel<Op>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, queue, job);
  });
  return fault;
}

}  // namespace wq::cuda
