// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/lane_io.h"
#include "warpquant/signals/steps.h"

/// One series after the other, in tiles: rows of numbers, one for each input.
namespace wq::signals::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;
using V = Pack<W>;

struct Tile {
  const double* rows;

  const double* row(int input) const { return rows + input * kTile; }
};

/// A bar of a tile, and the one before.
struct Bar : Tile {
  std::int64_t bar;
  const double* last;

  double operator()(int input) const { return row(input)[bar]; }
  double before(int input) const { return bar > 0 ? row(input)[bar - 1] : last[input]; }
};

/// W bars of a tile.
struct Bars : Tile {
  std::int64_t bar;

  V operator()(int input) const { return V::load(row(input) + bar); }
};

template <class T>
void read_row(const Series& series, std::int64_t from, double* row) {
  for (std::int64_t i = 0; i < kTile; i += W) load_bars<T, W>(series, from + i).store(row + i);
}

void read_row(const Series& series, DType type, std::int64_t from, double* row) {
  switch (type) {
  case DType::f64:
    return read_row<double>(series, from, row);
  case DType::f32:
    return read_row<float>(series, from, row);
  case DType::i8:
    return read_row<std::int8_t>(series, from, row);
  }
}

/// Call visit(rows, result, count) for one tile after the other.
template <class Visit>
void each_tile(const Params& p, const Job& job, double* rows, Visit visit) {
  double result[kTile];
  for (std::int64_t from = 0; from < job.out.bars; from += kTile) {
    for (int k = 0; k < p.inputs; ++k)
      read_row(job.in[k], type_of_input(job.in_type, p.inputs, k), from, rows + k * kTile);
    const std::int64_t count = job.out.bars - from < kTile ? job.out.bars - from : kTile;
    visit(Tile{rows}, result, count);
    for (std::int64_t i = 0; i < count; ++i) write(job.out, job.out_type, from + i, result[i]);
  }
}

void run(const Params& p, const Job& job, double* rows) {
  const auto latched = [&]<class Latch>(const Latch& latch) {
    auto state = latch.start();
    double last[] = {__builtin_nan(""), __builtin_nan("")};
    each_tile(p, job, rows, [&](Tile tile, double* result, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) {
        latch.advance(state, Bar{tile, i, last}, i);
        result[i] = latch.value(state);
      }
      for (int k = 0; k < p.inputs; ++k) last[k] = tile.row(k)[count - 1];
    });
  };
  const auto by_bar = [&](const auto& op) {
    each_tile(p, job, rows, [&](Tile tile, double* result, std::int64_t) {
      for (std::int64_t i = 0; i < kTile; i += W) op.template value<V>(Bars{tile, i}).store(result + i);
    });
  };
  with_operation(p, latched, by_bar);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {run};

}  // namespace wq::signals::inline WQ_LEVEL
