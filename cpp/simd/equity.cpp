// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/lane_io.h"
#include "warpquant/core/math.h"
#include "warpquant/core/window.h"
#include "warpquant/equity/curve.h"
#include "warpquant/equity/ops.h"

namespace wq::equity::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes, kTile = 64;

template <class V>
constexpr int kWidth = sizeof(V) / sizeof(double);

template <int N>
struct Tile {
  double x[kTile][N], signal[kTile][N];
};

/// Bars [bar, bar + count) of N series, or of one.
template <class T, int N>
void read(const Series (&series)[N], std::int64_t bar, std::int64_t count, double* rows) {
  if constexpr (N > 1) {
    LaneReader<T, N>(series).rows(bar, count, rows);
  } else {
    const std::byte* p = series[0].data + bar * series[0].stride;
    for (std::int64_t i = 0; i < count; ++i, p += series[0].stride) rows[i] = load_value<T>(p);
  }
}

template <int N>
void read(DType type, const Series (&series)[N], std::int64_t bar, std::int64_t count, double* rows) {
  type == DType::f32 ? read<float>(series, bar, count, rows) : read<double>(series, bar, count, rows);
}

template <class T, int N>
void write(const Sink (&out)[N], std::int64_t bar, std::int64_t count, const double* rows) {
  if constexpr (N > 1) {
    LaneWriter<T, N>(out).rows(bar, count, rows);
  } else {
    std::byte* p = out[0].data + bar * out[0].stride;
    for (std::int64_t i = 0; i < count; ++i, p += out[0].stride) store_value<T>(p, rows[i]);
  }
}

/// Curves of as many series as a V holds.
template <class V>
void curves(const Params& p, const double* growth, const Group& group, std::byte* scratch) {
  constexpr int N = kWidth<V>;
  auto& tile = *reinterpret_cast<Tile<N>*>(scratch);
  Series in[N], signal[N];
  Sink out[N];
  std::int64_t bars = 0;
  for (int j = 0; j < N; ++j) {
    const int lane = j < group.lanes ? j : 0;
    in[j] = group.in[lane];
    signal[j] = group.signal[lane];
    out[j] = group.out[lane];
    bars = in[j].bars > bars ? in[j].bars : bars;
  }
  const V nan(__builtin_nan("")), zero(0.0), keep(1 - p.decay_per_bar), floor(p.floor);
  const bool from_prices = p.from_prices, sticky = p.sticky;
  V equity(p.starting), held = keep, last_signal = nan, last_x = nan;
  for (std::int64_t bar = 0; bar < bars; bar += kTile) {
    const std::int64_t count = bars - bar < kTile ? bars - bar : kTile;
    read(group.in_type, in, bar, count, tile.x[0]);
    read(group.signal_type, signal, bar, count, tile.signal[0]);
    for (std::int64_t i = 0; i < count; ++i) {
      V x = Rows<V>::load(tile.x[i]);
      x = select(eq(x * zero, zero), x, nan);
      const V r = from_prices ? simple_return(x, last_x) : x;
      const Exposure<V> e = exposure(r * V(growth[bar + i]), keep);
      V result = nan;
      if (bar + i >= p.cutout) {
        held = select(gt(last_signal, zero), e.if_long,
                      select(lt(last_signal, zero), e.if_short, sticky ? held : e.if_flat));
        result = equity = compound(equity, bar + i == p.cutout ? V(1.0) : held, floor);
      }
      last_x = x;
      last_signal = Rows<V>::load(tile.signal[i]);
      Rows<V>::store(result, tile.x[i]);
    }
    if (group.out_type == DType::f32)
      write<float>(out, bar, count, tile.x[0]);
    else
      write<double>(out, bar, count, tile.x[0]);
  }
}

void curve(const Params& p, const double* growth, const Group& group, std::byte* scratch) {
  group.lanes == 1 ? curves<double>(p, growth, group, scratch) : curves<Pack<W>>(p, growth, group, scratch);
}

void make_growth(double rate, std::int64_t origin, std::int64_t bars, double* growth) {
  using V = Pack<W>;
  for (std::int64_t i = 0; i < bars; i += W) {
    V n;
    for (int j = 0; j < W; ++j) n.v[j] = static_cast<double>(i + j - origin);
    const V g = exp(V(rate) * n);
    if (i + W <= bars)
      g.store(growth + i);
    else
      for (int j = 0; i + j < bars; ++j) growth[i + j] = g.v[j];
  }
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {W, sizeof(Tile<W>), curve, make_growth};

}  // namespace wq::equity::inline WQ_LEVEL
