// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tiles.cuh"
#include "warpquant/equity/curve.h"
#include "warpquant/equity/launch.h"

/// Equity curves: every lane of a warp walks a series with the element that the CPU runs, so the bits are the same.
namespace wq::equity {
namespace {

template <class M>
__global__ void curve_kernel(Launch launch) {
  using namespace cuda;
  WQ_SHARED(Track, in, kWarp);
  WQ_SHARED(Track, signal, kWarp);
  WQ_SHARED(Target, out, kWarp);
  WQ_SHARED(double, x, kTile* kRow);
  WQ_SHARED(double, position, kTile* kRow);
  const int lane = threadIdx.x;
  const std::int64_t series = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  in[lane] = signal[lane] = {};
  out[lane] = {nullptr, item_size(launch.out_type), 0, 0};
  if (series < launch.series) {
    in[lane] = {launch.in[series], 0};
    signal[lane] = {launch.signal[series], 0};
    const Sink& sink = launch.out[series];
    out[lane] = {sink.data, sink.stride, 0, launch.in[series].bars};
  }
  __syncwarp();

  const Params& p = launch.params;
  const std::int64_t bars = out[lane].to;
  Curve<double> curve(p.starting, 1 - p.decay_per_bar);
  for (std::int64_t r = 0; __any_sync(kEveryLane, r < bars); r += kTile) {
    load_tile(in, launch.in_type, r, x, kTile - 1);
    load_tile(signal, launch.signal_type, r, position, kTile - 1);
    __syncwarp();
    for (int i = 0; i < kTile && r + i < bars; ++i) {
      const std::int64_t bar = r + i;
      double& value = x[i * kRow + lane];
      const double now = position[i * kRow + lane];
      if (bar == p.cutout - 1) curve.remember(value, now);
      value = bar < p.cutout ? __builtin_nan("")
                             : curve.template step<M>(value, now, launch.growth[bar], 1 - p.decay_per_bar, p.floor,
                                                      bar == p.cutout);
    }
    __syncwarp();
    store_tile(out, launch.out_type, r, x);
    __syncwarp();
  }
}

}  // namespace

/// Put the curves into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const auto with_mode = [&]<class M>(M) {
    const dim3 grid(static_cast<unsigned>((launch.series + cuda::kWarp - 1) / cuda::kWarp));
    return cuda::launch(curve_kernel<M>, grid, dim3(cuda::kWarp), 0, queue, launch);
  };
  if (launch.params.from_prices)
    return launch.params.sticky ? with_mode(Mode<true, true>{}) : with_mode(Mode<true, false>{});
  return launch.params.sticky ? with_mode(Mode<false, true>{}) : with_mode(Mode<false, false>{});
}

}  // namespace wq::equity
