// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/core/lanes.h"
#include "warpquant/core/series.h"
#include "warpquant/core/values.h"

/// Between series in the caller's memory and lane-major rows: row r holds one bar of W series side by side.
/// Series that run along time go through W x W transposes, series that lie side by side are moved a row at a time,
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

/// Bars [bar, bar + W) of one series; those that it does not have repeat its nearest (it may not be empty).
template <class T, int W>
WQ_HD Pack<W> load_bars(const Series& series, std::int64_t bar) {
  if (bar >= 0 && bar + W <= series.bars && series.stride == sizeof(T))
    return load_values<T, W>(series.data + bar * series.stride);
  Pack<W> values;
  for (int i = 0; i < W; ++i)
    values.v[i] = load_value<T>(series.data + clamp(bar + i, 0, series.bars - 1) * series.stride);
  return values;
}

/// How W series lie in memory.
template <class T, int W, class S>
struct Lanes {
  S series[W];
  bool along_time = true, side_by_side = true;
  std::int64_t shortest;

  explicit Lanes(const S (&s)[W]) : shortest(s[0].bars) {
    for (int j = 0; j < W; ++j) {
      series[j] = s[j];
      shortest = s[j].bars < shortest ? s[j].bars : shortest;
      along_time &= s[j].stride == static_cast<std::int64_t>(sizeof(T));
      side_by_side &= s[j].stride == s[0].stride && s[j].data == s[0].data + j * sizeof(T);
    }
  }
};

template <class T, int W>
struct LaneReader : Lanes<T, W, Series> {
  using Lanes<T, W, Series>::Lanes;
  using Lanes<T, W, Series>::series;

  /// Bars [bar, bar + W), which every series must have; of series along time, if the caller knows that they are.
  template <bool kAlong = false>
  WQ_HD void block(std::int64_t bar, Pack<W> (&rows)[W]) const {
    if (kAlong || this->along_time) {
      const std::int64_t at = bar * static_cast<std::int64_t>(sizeof(T));
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) rows[j] = load_values<T, W>(series[j].data + at);
      transpose(rows);
    } else if (this->side_by_side) {
#pragma GCC unroll 8
      for (int r = 0; r < W; ++r) rows[r] = load_values<T, W>(series[0].data + (bar + r) * series[0].stride);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < W; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) rows[r].v[j] = load_value<T>(series[j].data + (bar + r) * series[j].stride);
    }
  }

  /// One bar. Bars before the start of a series repeat its first value, bars after it its last, so that a lane always
  /// holds numbers of its own series (none may be empty).
  WQ_HD Pack<W> row(std::int64_t bar) const {
    Pack<W> r;
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j)
      r.v[j] = load_value<T>(series[j].data + clamp(bar, -series[j].before, series[j].bars - 1) * series[j].stride);
    return r;
  }

  /// Bars [from, from + count) into memory, each row as `f` makes it.
  template <class F>
  WQ_HD void rows(std::int64_t from, std::int64_t count, double* out, F f) const {
    std::int64_t r = 0, begin = 0;
    for (int j = 0; j < W; ++j) begin = -series[j].before > begin || j == 0 ? -series[j].before : begin;
    for (; r < count && from + r < begin; ++r) f(row(from + r)).store(out + r * W);
    const auto blocks = [&]<bool kAlong>(std::bool_constant<kAlong>) {
      for (; r + W <= count && from + r + W <= this->shortest; r += W) {
        Pack<W> values[W];
        block<kAlong>(from + r, values);
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) f(values[j]).store(out + (r + j) * W);
      }
    };
    this->along_time ? blocks(std::true_type{}) : blocks(std::false_type{});
    for (; r < count; ++r) f(row(from + r)).store(out + r * W);
  }
  WQ_HD void rows(std::int64_t from, std::int64_t count, double* out) const {
    rows(from, count, out, [](Pack<W> r) { return r; });
  }
};

/// Whether each W values, counted from the start, fill a line of the cache. Only such results are written past it:
/// parts of lines take longer that way than through the cache.
template <class T, int W>
bool fills_lines(const Sink& sink) {
  constexpr std::int64_t kLine = 64;
  return std::is_same_v<T, double> && W * sizeof(T) == kLine && sink.stride == sizeof(T) &&
         reinterpret_cast<std::uintptr_t>(sink.data) % kLine == 0;
}

template <class T, int W>
struct LaneWriter : Lanes<T, W, Sink> {
  using Lanes<T, W, Sink>::series;
  bool past_cache;

  explicit LaneWriter(const Sink (&s)[W], bool may_pass_cache = false)
      : Lanes<T, W, Sink>(s), past_cache(may_pass_cache) {
    for (const Sink& sink : s) past_cache &= fills_lines<T, W>(sink);
  }

  template <bool kAlong = false>
  WQ_HD void block(std::int64_t bar, Pack<W> (&rows)[W]) const {
    if (kAlong || this->along_time) {
      const std::int64_t at = bar * static_cast<std::int64_t>(sizeof(T));
      transpose(rows);
      if (past_cache && bar % W == 0) {  // at any other bar, a block fills parts of two lines
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) rows[j].stream(reinterpret_cast<double*>(series[j].data + at));
        return;
      }
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) store_values<T>(series[j].data + at, rows[j]);
    } else if (this->side_by_side) {
#pragma GCC unroll 8
      for (int r = 0; r < W; ++r) store_values<T>(series[0].data + (bar + r) * series[0].stride, rows[r]);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < W; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) store_value<T>(series[j].data + (bar + r) * series[j].stride, rows[r].v[j]);
    }
  }

  /// One bar, to the series that reach so far.
  WQ_HD void row(std::int64_t bar, Pack<W> r) const {
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j)
      if (bar < series[j].bars) store_value<T>(series[j].data + bar * series[j].stride, r.v[j]);
  }

  /// Bars [from, from + count) from memory.
  WQ_HD void rows(std::int64_t from, std::int64_t count, const double* in) const {
    std::int64_t r = 0;
    for (; r + W <= count && from + r + W <= this->shortest; r += W) {
      Pack<W> values[W];
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) values[j] = Pack<W>::load(in + (r + j) * W);
      block(from + r, values);
    }
    for (; r < count; ++r) row(from + r, Pack<W>::load(in + r * W));
  }
};

/// A reader for the type that the caller has. There are two because the layout that suits a block depends on the type.
template <int W>
struct AnyReader {
  DType type;
  LaneReader<float, W> f32;
  LaneReader<double, W> f64;

  AnyReader(DType t, const Series (&series)[W]) : type(t), f32(series), f64(series) {}
  WQ_HD void block(std::int64_t bar, Pack<W> (&rows)[W]) const {
    type == DType::f32 ? f32.block(bar, rows) : f64.block(bar, rows);
  }
  std::int64_t bars(int lane) const { return f64.series[lane].bars; }
  std::int64_t shortest() const { return f64.shortest; }
  Pack<W> row(std::int64_t bar) const { return type == DType::f32 ? f32.row(bar) : f64.row(bar); }
  void rows(std::int64_t from, std::int64_t count, double* out) const {
    type == DType::f32 ? f32.rows(from, count, out) : f64.rows(from, count, out);
  }
};

template <int W>
struct AnyWriter {
  DType type;
  LaneWriter<float, W> f32;
  LaneWriter<double, W> f64;

  AnyWriter(DType t, const Sink (&series)[W], bool may_pass_cache)
      : type(t), f32(series, may_pass_cache), f64(series, may_pass_cache) {}
  WQ_HD void block(std::int64_t bar, Pack<W> (&rows)[W]) const {
    type == DType::f32 ? f32.block(bar, rows) : f64.block(bar, rows);
  }
  void row(std::int64_t bar, Pack<W> r) const { type == DType::f32 ? f32.row(bar, r) : f64.row(bar, r); }
};

}  // namespace wq::inline WQ_LEVEL
