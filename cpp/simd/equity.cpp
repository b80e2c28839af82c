// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/lane_io.h"
#include "warpquant/core/math.h"
#include "warpquant/equity/curve.h"
#include "warpquant/equity/ops.h"

namespace wq::equity::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes, kTile = 64;
using V = Pack<W>;

struct Tile {
  double x[kTile][W], signal[kTile][W];
};

template <class T>
void read(const Series (&series)[W], std::int64_t bar, std::int64_t count, double* rows) {
  LaneReader<T, W>(series).rows(bar, count, rows);
}

void read(DType type, const Series (&series)[W], std::int64_t bar, std::int64_t count, double* rows) {
  type == DType::f32 ? read<float>(series, bar, count, rows) : read<double>(series, bar, count, rows);
}

void curve(const Params& p, const double* growth, const Group& group, std::byte* scratch) {
  Tile& tile = *reinterpret_cast<Tile*>(scratch);
  Series in[W], signal[W];
  Sink out[W];
  std::int64_t bars = 0;
  for (int j = 0; j < W; ++j) {
    const int lane = j < group.lanes ? j : 0;
    in[j] = group.in[lane];
    signal[j] = group.signal[lane];
    out[j] = group.out[lane];
    bars = in[j].bars > bars ? in[j].bars : bars;
  }
  const V nan(__builtin_nan("")), zero(0.0), keep(1 - p.decay_per_bar), floor(p.floor);
  V equity(p.starting), held = keep, last_signal = nan, last_x = nan;
  for (std::int64_t bar = 0; bar < bars; bar += kTile) {
    const std::int64_t count = bars - bar < kTile ? bars - bar : kTile;
    read(group.in_type, in, bar, count, tile.x[0]);
    read(group.signal_type, signal, bar, count, tile.signal[0]);
    for (std::int64_t i = 0; i < count; ++i) {
      V x = V::load(tile.x[i]);
      x = select(eq(x * zero, zero), x, nan);
      const V r = p.from_prices ? simple_return(x, last_x) : x;
      const Exposure<V> e = exposure(r * V(growth[bar + i]), keep);
      if (bar + i >= p.cutout) {
        held = select(gt(last_signal, zero), e.if_long,
                      select(lt(last_signal, zero), e.if_short, p.sticky ? held : e.if_flat));
        equity = compound(equity, bar + i == p.cutout ? V(1.0) : held, floor);
      }
      last_x = x;
      last_signal = V::load(tile.signal[i]);
      (bar + i >= p.cutout ? equity : nan).store(tile.x[i]);
    }
    if (group.out_type == DType::f32)
      LaneWriter<float, W>(out).rows(bar, count, tile.x[0]);
    else
      LaneWriter<double, W>(out).rows(bar, count, tile.x[0]);
  }
}

void make_growth(double rate, std::int64_t origin, std::int64_t bars, double* growth) {
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
const Kernels kernels = {W, sizeof(Tile), curve, make_growth};

}  // namespace wq::equity::inline WQ_LEVEL
