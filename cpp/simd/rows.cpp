// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/rows.h"

#include <cstring>

#include "warpquant/core/lane_io.h"

/// Rows from the caller's memory to tiles, and back.
namespace wq::rows::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;

/// Whether it is where a line of the cache begins.
bool is_line(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }

template <class T>
void gather(const Column& column, const Frame& frame, std::int64_t from, std::int64_t count, double* tile) {
  each_run(column, frame, from, count,
           [&](const std::byte* p, std::int64_t stride, std::int64_t rows, std::int64_t done) {
             double* const to = tile + done;
             std::int64_t i = 0;
             if (stride == 0) {
               const double value = load_value<T>(p);
               for (; i < rows; ++i) to[i] = value;
             } else if (stride == sizeof(T)) {
               for (; i + W <= rows; i += W) load_values<T, W>(p + i * stride).store(to + i);
             }
             for (; i < rows; ++i) to[i] = load_value<T>(p + i * stride);
           });
}

void gather(const Column& column, const Frame& frame, std::int64_t from, std::int64_t count, double* tile) {
  switch (column.type) {
  case DType::f64:
    return gather<double>(column, frame, from, count, tile);
  case DType::f32:
    return gather<float>(column, frame, from, count, tile);
  case DType::i8:
    return gather<std::int8_t>(column, frame, from, count, tile);
  }
}

/// `past`: past the cache.
template <class T>
void scatter(const double* tile, const Column& column, const Frame& frame, std::int64_t from, std::int64_t count,
             bool past) {
  each_run(column, frame, from, count, [&](std::byte* p, std::int64_t stride, std::int64_t rows, std::int64_t done) {
    const double* const values = tile + done;
    std::int64_t i = 0;
    if (stride == sizeof(T)) {
      if constexpr (std::is_same_v<T, double>) {
        auto* const to = reinterpret_cast<double*>(p);
        if (past) {
          // Whole lines of the cache only.
          for (; i < rows && !is_line(to + i); ++i) to[i] = values[i];
          for (; i + W <= rows; i += W) Pack<W>::load(values + i).stream(to + i);
        }
        std::memcpy(to + i, values + i, static_cast<std::size_t>(rows - i) * sizeof(double));
        return;
      }
      for (; i + W <= rows; i += W) store_values<T, W>(p + i * stride, Pack<W>::load(values + i));
    }
    for (; i < rows; ++i) {
      const auto value = static_cast<T>(values[i]);
      std::memcpy(p + i * stride, &value, sizeof value);
    }
  });
}

void scatter(const double* tile, const Column& column, const Frame& frame, std::int64_t from, std::int64_t count,
             bool past) {
  switch (column.type) {
  case DType::f64:
    return scatter<double>(tile, column, frame, from, count, past);
  case DType::f32:
    return scatter<float>(tile, column, frame, from, count, past);
  case DType::i8:
    return scatter<std::int8_t>(tile, column, frame, from, count, past);
  }
}

/// Whether a column can do without a copy in the tile.
bool is_plain(const Column& column, const Frame& frame) {
  return frame.dims == 1 && column.data != nullptr && column.type == DType::f64 &&
         column.strides[0] == sizeof(double) && reinterpret_cast<std::uintptr_t>(column.data) % alignof(double) == 0;
}

/// Whether results are written over an argument, of which a tile may be read after some of its results are there.
bool is_argument(const Column& result, const Job& job) {
  for (int k = 0; k < job.inputs; ++k)
    if (job.in[k].data == result.data) return true;
  return false;
}

bool same_for_all(const Column& column, const Frame& frame) {
  if (column.data == nullptr) return true;
  for (int d = 0; d < frame.dims; ++d)
    if (column.strides[d] != 0) return false;
  return true;
}

void run(const Job& job, TileKernel kernel, std::int64_t from, std::int64_t to, double* scratch) {
  alignas(64) double in[kMostInputs][kTile], out[kMostOutputs][kTile];
  const Frame& frame = job.frame;
  std::int64_t bytes = 0;
  Tile tile{};
  tile.parameters = job.parameters;
  tile.table = job.table;
  tile.scratch = scratch;
  bool read_in_place[kMostInputs], written_in_place[kMostOutputs];
  const std::int64_t widest = to - from < kTile ? (to - from + W - 1) / W * W : kTile;
  for (int k = 0; k < job.inputs; ++k) {
    const Column& column = job.in[k];
    if (column.data != nullptr) bytes += item_size(column.type);
    read_in_place[k] = is_plain(column, frame);
    tile.in[k] = in[k];
    if (same_for_all(column, frame)) {
      in[k][0] = column.value;
      if (column.data != nullptr) gather(column, frame, 0, 1, in[k]);
      for (int i = 1; i < widest; ++i) in[k][i] = in[k][0];
    }
  }
  bool on_lines = true;
  for (int k = 0; k < job.outputs; ++k) {
    const Column& column = job.out[k];
    if (column.data == nullptr) continue;
    written_in_place[k] = is_plain(column, frame) && !is_argument(column, job);
    on_lines = on_lines && written_in_place[k] && is_line(column.data + from * item_size(column.type));
    tile.out[k] = out[k];
    bytes += item_size(column.type);
  }
  const bool past = frame.rows * bytes > kPastCache;
  for (std::int64_t row = from; row < to; row += kTile) {
    const auto count = static_cast<int>(to - row < kTile ? to - row : kTile);
    tile.rows = (count + W - 1) / W * W;
    const bool whole = tile.rows == count;
    tile.past = past && on_lines && whole;
    for (int k = 0; k < job.inputs; ++k) {
      const Column& column = job.in[k];
      if (read_in_place[k] && whole) {
        tile.in[k] = reinterpret_cast<const double*>(column.data) + row;
      } else if (!same_for_all(column, frame)) {
        tile.in[k] = in[k];
        gather(column, frame, row, count, in[k]);
        for (int i = count; i < tile.rows; ++i) in[k][i] = in[k][count - 1];
      }
    }
    for (int k = 0; k < job.outputs; ++k)
      if (tile.out[k] != nullptr)
        tile.out[k] = written_in_place[k] && whole ? reinterpret_cast<double*>(job.out[k].data) + row : out[k];
    kernel(tile);
    for (int k = 0; k < job.outputs; ++k)
      if (tile.out[k] == out[k]) scatter(out[k], job.out[k], frame, row, count, past);
  }
  if (past) finish_streams();
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {run};

}  // namespace wq::rows::inline WQ_LEVEL
