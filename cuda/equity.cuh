// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/scan.cuh"
#include "warpquant/equity/curve.h"
#include "warpquant/equity/launch.h"

/// Equity curves. A series that is not cut has the bits of the CPU: every lane runs the same element.
namespace wq::equity {

/// Put the curves into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const Params& p = launch.params;
  const auto with_mode = [&]<class M>(M) {
    const CurveScan<M> op{p.starting, 1 - p.decay_per_bar, p.floor, p.cutout, launch.growth};
    return cuda::scan(launch.walks, op, queue);
  };
  if (p.from_prices) return p.sticky ? with_mode(Mode<true, true>{}) : with_mode(Mode<true, false>{});
  return p.sticky ? with_mode(Mode<false, true>{}) : with_mode(Mode<false, false>{});
}

}  // namespace wq::equity
