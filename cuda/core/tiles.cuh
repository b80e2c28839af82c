// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/core/series.h"

/// The 32 lanes of a warp walk 32 series (or pieces of some) bar by bar. So that a warp reads and writes whole lines of
/// memory, it moves tiles of 32 bars between the series and rows in shared memory: row r holds bar r of every lane.
namespace wq::cuda {

inline constexpr int kTile = 32;        // bars
inline constexpr int kRow = kWarp + 1;  // doubles from row to row: neither rows nor columns meet in one bank

WQ_HD double load(const std::byte* p, DType type) {
  return type == DType::f64   ? *reinterpret_cast<const double*>(p)
         : type == DType::f32 ? static_cast<double>(*reinterpret_cast<const float*>(p))
                              : static_cast<double>(*reinterpret_cast<const std::int8_t*>(p));
}

__device__ inline void store(std::byte* p, DType type, double value) {
  if (type == DType::f64)
    *reinterpret_cast<double*>(p) = value;
  else if (type == DType::f32)
    *reinterpret_cast<float*>(p) = static_cast<float>(value);
  else
    *reinterpret_cast<std::int8_t*>(p) = static_cast<std::int8_t>(value);
}

/// What a lane reads: bars [start, ...) of a series. Bars that it does not have repeat its nearest.
struct Track {
  Series series;
  std::int64_t start;

  __device__ std::int64_t bar(std::int64_t r) const {
    const std::int64_t bar = start + r, last = series.bars - 1;
    return bar < 0 ? 0 : bar > last ? last : bar;
  }
  __device__ double at(std::int64_t r, DType type) const { return load(series.data + bar(r) * series.stride, type); }
};

/// Bars [r, r + 32) of each track into rows r & mask and so on. `tracks`: in shared memory, one per lane; those without
/// bars are left out.
__device__ inline void load_tile(const Track* tracks, DType type, std::int64_t r, double* rows, std::int64_t mask) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const bool along_time = tracks[0].series.stride == item_size(type);
  if (along_time) {
    for (int j = 0; j < kWarp; ++j)
      if (tracks[j].series.bars > 0) rows[((r + lane) & mask) * kRow + j] = tracks[j].at(r + lane, type);
  } else if (tracks[lane].series.bars > 0) {
    for (int i = 0; i < kTile; ++i) rows[((r + i) & mask) * kRow + lane] = tracks[lane].at(r + i, type);
  }
}

/// What a lane writes: the bars [from, to) of its walk, the first to `data`.
struct Target {
  std::byte* data;
  std::int64_t stride, from, to;
};

/// Bars [r, r + 32) of each target from rows 0 to 31.
__device__ inline void store_tile(const Target* targets, DType type, std::int64_t r, const double* rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto put = [&](int i, int j) {
    const Target& t = targets[j];
    if (r + i >= t.from && r + i < t.to) store(t.data + (r + i - t.from) * t.stride, type, rows[i * kRow + j]);
  };
  const bool along_time = targets[0].stride == item_size(type);
  for (int n = 0; n < kWarp; ++n) along_time ? put(lane, n) : put(n, lane);
}

}  // namespace wq::cuda
