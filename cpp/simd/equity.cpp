// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/lane_io.h"
#include "warpquant/equity/curve.h"
#include "warpquant/equity/ops.h"

namespace wq::equity::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;
using V = Pack<W>;

/// W series side by side.
struct SideBySide {
  const Params& p;
  const double* growth;
  AnyReader<W> in, signal;
  AnyWriter<W> out;

  /// Bars [from, to), all behind the cutout and of every lane, W at a time.
  template <class M>
  [[gnu::noinline]] void blocks(Curve<V>& curve, std::int64_t from, std::int64_t to) const {
    const V keep(1 - p.decay_per_bar), floor(p.floor);
    Curve<V> now = curve;
    for (std::int64_t bar = from; bar < to; bar += W) {
      V x[W], positions[W];
      in.block(bar, x);
      signal.block(bar, positions);
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) x[i] = now.template step<M>(x[i], positions[i], V(growth[bar + i]), keep, floor);
      out.block(bar, x);
    }
    curve = now;
  }

  /// One bar, which some lanes may not have.
  template <class M>
  void bar(Curve<V>& curve, std::int64_t bar) const {
    V result(__builtin_nan(""));
    if (bar == p.cutout - 1) curve.remember(in.row(bar), signal.row(bar));
    if (bar >= p.cutout)
      result = curve.template step<M>(in.row(bar), signal.row(bar), V(growth[bar]), V(1 - p.decay_per_bar), V(p.floor),
                                      bar == p.cutout);
    out.row(bar, result);
  }
};

template <class M>
void side_by_side(const Params& p, const double* growth, const Group& group) {
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
  const SideBySide series{
      p, growth, {group.in_type, in}, {group.signal_type, signal}, {group.out_type, out, group.past_cache}};
  Curve<V> curve(V(p.starting), V(1 - p.decay_per_bar));
  for (std::int64_t bar = 0; bar < bars;) {
    const std::int64_t whole = bar > p.cutout && bar % W == 0 ? (series.in.shortest() - bar) / W * W : 0;
    if (whole > 0) {
      series.blocks<M>(curve, bar, bar + whole);
      bar += whole;
    } else {
      series.bar<M>(curve, bar++);
    }
  }
}

/// W bars of one series.
V next_bars(const Series& series, DType type, std::int64_t bar) {
  return type == DType::f32 ? load_bars<float, W>(series, bar) : load_bars<double, W>(series, bar);
}

/// One series: what its bars do to the equity W at a time, then the equity from bar to bar.
template <class M>
void alone(const Params& p, const double* growth, const Group& group) {
  const Series &in = group.in[0], &signal = group.signal[0];
  const double keep = 1 - p.decay_per_bar;
  Curve<double> curve(p.starting, keep);
  std::int64_t bar = 0;
  const auto one = [&] {
    const double x = wq::read(in, group.in_type, bar), position = wq::read(signal, group.signal_type, bar);
    double result = __builtin_nan("");
    if (bar == p.cutout - 1) curve.remember(x, position);
    if (bar >= p.cutout) result = curve.step<M>(x, position, growth[bar], keep, p.floor, bar == p.cutout);
    wq::write(group.out[0], group.out_type, bar++, result);
  };
  while (bar < in.bars && bar <= p.cutout) one();
  for (; bar + W <= in.bars; bar += W) {
    const V x = if_finite(next_bars(in, group.in_type, bar)), last_x = if_finite(next_bars(in, group.in_type, bar - 1));
    const V position = next_bars(signal, group.signal_type, bar - 1);
    const V m = multiplier<Mode<M::kFromPrices, false>>(x, last_x, position, V::load(growth + bar), V(keep), V(keep));
    for (int i = 0; i < W; ++i) {
      if (!M::kSticky || position.v[i] > 0.0 || position.v[i] < 0.0) curve.held = m.v[i];
      curve.equity = compound(curve.equity, curve.held, p.floor);
      wq::write(group.out[0], group.out_type, bar + i, curve.equity);
    }
    curve.remember(x.v[W - 1], wq::read(signal, group.signal_type, bar + W - 1));
  }
  while (bar < in.bars) one();
}

void curve(const Params& p, const double* growth, const Group& group) {
  const auto with_mode = [&]<class M>(M) {
    group.lanes == 1 ? alone<M>(p, growth, group) : side_by_side<M>(p, growth, group);
  };
  if (p.from_prices)
    p.sticky ? with_mode(Mode<true, true>{}) : with_mode(Mode<true, false>{});
  else
    p.sticky ? with_mode(Mode<false, true>{}) : with_mode(Mode<false, false>{});
  if (group.past_cache) finish_streams();
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
const Kernels kernels = {W, curve, make_growth};

}  // namespace wq::equity::inline WQ_LEVEL
