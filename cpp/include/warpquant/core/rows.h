// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/series.h"

/// Functions of rows: each row of the results depends on that row of the arguments alone, as an option's price does on
/// spot, strike, ... . Arguments are broadcast as NumPy does, without being materialised.
namespace wq::rows {

inline constexpr int kMostInputs = 20, kMostOutputs = 24, kMostParameters = 68, kMostDims = 6;

/// Rows that are computed at a time: a tile of every argument and result stays in the first-level cache.
inline constexpr int kTile = 128;

/// Rows that any level computes side by side, at most.
inline constexpr int kWidestPack = 8;

/// The shape of the results, outermost dimension first; neighbours that every column crosses alike are merged.
struct Frame {
  int dims = 0;
  std::int64_t extents[kMostDims] = {};
  std::int64_t rows = 1;
};

/// An argument, or a result, which is written to. Strides are in bytes, 0 where it is broadcast.
struct Column {
  std::byte* data = nullptr;  // null: an argument that is `value` in every row, a result that is not wanted
  DType type = DType::f64;
  double value = 0;
  std::int64_t strides[kMostDims] = {};

  /// Where a row is.
  WQ_HD std::byte* at(const Frame& frame, std::int64_t row) const {
    if (frame.dims == 1) return data + row * strides[0];
    std::byte* p = data;
    for (int d = frame.dims - 1; d >= 0; --d) {
      p += row % frame.extents[d] * strides[d];
      row /= frame.extents[d];
    }
    return p;
  }
};

/// Call visit(place, stride, rows, done) for runs of rows of a column that are evenly spaced.
template <class Visit>
void each_run(const Column& column, const Frame& frame, std::int64_t from, std::int64_t count, Visit visit) {
  const int inner = frame.dims - 1;
  const std::int64_t extent = inner < 0 ? 1 : frame.extents[inner], stride = inner < 0 ? 0 : column.strides[inner];
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t left = extent - (from + done) % extent, rows = left < count - done ? left : count - done;
    visit(column.at(frame, from + done), stride, rows, done);
    done += rows;
  }
}

/// Operations come in groups, each of which is compiled by itself.
enum class GroupId : std::uint8_t {
  vanilla,
  implied,
  american,
  numerical,
  digitals,
  barriers,
  lookback,
  asians,
  multi,
  jumps,
  fourier,
  slices,
  sabrs,
  pinn,
};

/// A call: operation `index` of a group, and what it is about.
struct Job {
  GroupId group;
  int index;
  int inputs, outputs;
  Frame frame;
  Column in[kMostInputs], out[kMostOutputs];
  double parameters[kMostParameters];  // the same for every row
  // All numbers of the call, of an operation that has a table: as many as there are, on a device in its memory.
  const double* table;
  std::int64_t table_size;
  std::int64_t scratch;  // numbers of work memory that a row needs
  // On a device, where rows need some: memory for so many rows, which are computed side by side.
  double* memory;
  std::int64_t side_by_side;

  WQ_HD std::uint32_t wanted() const {
    std::uint32_t bits = 0;
    for (int k = 0; k < outputs; ++k)
      if (out[k].data != nullptr) bits |= 1u << k;
    return bits;
  }
};

/// A tile: `rows` numbers of each argument, which is rounded up to whole packs, and room for as many of each result.
struct Tile {
  const double* in[kMostInputs];
  double* out[kMostOutputs];  // null: not wanted
  const double* parameters;
  const double* table;
  double* scratch;  // work memory of the rows of a pack, or of one row
  int rows;
  bool past;  // results go past the cache, to places on its lines
};

using TileKernel = void (*)(const Tile&);

/// What an operation says about itself; names are separated by spaces.
struct Info {
  const char* name;
  const char* inputs;
  const char* outputs;
  int nanoseconds;     // that a row takes, about: how much work to give a thread
  bool table = false;  // whether it reads more numbers that are the same for every row than there are parameters
};

/// Operations of one instruction level.
struct Group {
  int count;
  Info (*info)(int index);
  TileKernel (*kernel)(int index, std::uint32_t wanted);
  std::int64_t (*scratch)(int index, const double* parameters);
};

struct Kernels {
  /// Rows [from, to); `scratch` is of `kWidestPack * job.scratch` numbers.
  void (*run)(const Job& job, TileKernel kernel, std::int64_t from, std::int64_t to, double* scratch);
};

}  // namespace wq::rows
