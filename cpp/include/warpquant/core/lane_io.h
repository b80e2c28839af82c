// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lanes.h"
#include "warpquant/core/series.h"

/// Between series in the caller's memory and lane-major rows: row r holds bar `from + r` of W series side by side.
/// Series that run along time go through W x W transposes, series that lie side by side are read a row at a time,
/// every other layout value by value.
namespace wq::inline WQ_LEVEL {

template <class T, int W>
WQ_HD Pack<W> load_values(const std::byte* p) {
  typedef T Values __attribute__((vector_size(W * sizeof(T))));
  Values values;
  __builtin_memcpy(&values, p, sizeof values);
  return __builtin_convertvector(values, typename Pack<W>::Raw);
}

template <class T, int W>
WQ_HD void store_values(std::byte* p, Pack<W> value) {
  typedef T Values __attribute__((vector_size(W * sizeof(T))));
  const Values values = __builtin_convertvector(value.v, Values);
  __builtin_memcpy(p, &values, sizeof values);
}

template <class T>
WQ_HD double load_value(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return static_cast<double>(value);
}

template <class T>
WQ_HD void store_value(std::byte* p, double value) {
  const T narrow = static_cast<T>(value);
  __builtin_memcpy(p, &narrow, sizeof narrow);
}

WQ_HD std::int64_t clamp(std::int64_t i, std::int64_t low, std::int64_t high) {
  return i < low ? low : i > high ? high : i;
}

/// Read bars [from, from + count) of W series into `rows`. Bars before a series repeat its first value, bars after
/// it its last, so a lane always holds numbers of its own series (none may be empty). Returns one value per lane:
/// zero, or NaN if a value that is not finite was read.
template <class T, int W>
WQ_HD Pack<W> load_rows(const Series (&series)[W], std::int64_t from, std::int64_t count, double* rows) {
  std::int64_t shortest = series[0].bars;
  bool along_time = true, side_by_side = true;
  for (int j = 0; j < W; ++j) {
    shortest = series[j].bars < shortest ? series[j].bars : shortest;
    along_time &= series[j].stride == sizeof(T);
    side_by_side &= series[j].stride == series[0].stride && series[j].data == series[0].data + j * sizeof(T);
  }
  const Pack<W> zero(0.0);
  Pack<W> seen = zero;
  const auto one_by_one = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (int j = 0; j < W; ++j)
        rows[r * W + j] = load_value<T>(series[j].data + clamp(from + r, 0, series[j].bars - 1) * series[j].stride);
      seen = seen + Pack<W>::load(rows + r * W) * zero;
    }
  };
  std::int64_t r = clamp(-from, 0, count);  // rows [r, end) exist in every series
  const std::int64_t end = clamp(shortest - from, r, count);
  one_by_one(0, r);
  if (along_time) {
    for (; r + W <= end; r += W) {
      Pack<W> block[W];
      for (int j = 0; j < W; ++j) {
        block[j] = load_values<T, W>(series[j].data + (from + r) * sizeof(T));
        seen = seen + block[j] * zero;
      }
      transpose(block);  // lane j's W bars become lane j of W rows
      for (int j = 0; j < W; ++j) block[j].store(rows + (r + j) * W);
    }
  } else if (side_by_side) {
    for (; r < end; ++r) {
      const Pack<W> row = load_values<T, W>(series[0].data + (from + r) * series[0].stride);
      seen = seen + row * zero;
      row.store(rows + r * W);
    }
  }
  one_by_one(r, count);
  return seen;
}

/// Write `rows` to bars [from, from + count) of W sinks, each only as far as it reaches.
template <class T, int W>
WQ_HD void store_rows(const Sink (&sinks)[W], std::int64_t from, std::int64_t count, const double* rows) {
  std::int64_t shortest = sinks[0].bars;
  bool along_time = true, side_by_side = true;
  for (int j = 0; j < W; ++j) {
    shortest = sinks[j].bars < shortest ? sinks[j].bars : shortest;
    along_time &= sinks[j].stride == sizeof(T);
    side_by_side &= sinks[j].stride == sinks[0].stride && sinks[j].data == sinks[0].data + j * sizeof(T);
  }
  std::int64_t r = 0;
  const std::int64_t end = clamp(shortest - from, 0, count);
  if (along_time) {
    for (; r + W <= end; r += W) {
      Pack<W> block[W];
      for (int j = 0; j < W; ++j) block[j] = Pack<W>::load(rows + (r + j) * W);
      transpose(block);
      for (int j = 0; j < W; ++j) store_values<T>(sinks[j].data + (from + r) * sizeof(T), block[j]);
    }
  } else if (side_by_side) {
    for (; r < end; ++r)
      store_values<T>(sinks[0].data + (from + r) * sinks[0].stride, Pack<W>::load(rows + r * W));
  }
  for (; r < count; ++r)
    for (int j = 0; j < W; ++j)
      if (from + r < sinks[j].bars)
        store_value<T>(sinks[j].data + (from + r) * sinks[j].stride, rows[r * W + j]);
}

}  // namespace wq::inline WQ_LEVEL
