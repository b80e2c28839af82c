// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/scan.cuh"
#include "warpquant/signals/launch.h"
#include "warpquant/signals/steps.h"

/// The stages of ATC one at a time.
namespace wq::signals {
namespace {

/// A bar of the inputs, where they lie.
struct Bar {
  const Walks& walks;
  std::int64_t series, bar;

  __device__ double operator()(int k) const {
    const Series& s = walks.in[k * walks.series + series];
    return cuda::load(s.data + bar * s.stride, walks.type_of(k));
  }
};

/// A thread takes a bar. Threads lie side by side as bars do in memory, or series.
template <class Op>
__global__ void bar_kernel(Walks walks, Op op) {
  const std::int64_t number = cuda::unit_of_thread();
  if (number >= walks.series * walks.longest) return;
  const bool along_time = walks.in[0].stride == item_size(walks.type_of(0));
  const std::int64_t series = along_time ? number / walks.longest : number % walks.series;
  const std::int64_t bar = along_time ? number % walks.longest : number / walks.series;
  const Sink& out = walks.out[series];
  if (bar < out.bars)
    cuda::store(out.data + bar * out.stride, walks.out_type, op.template value<double>(Bar{walks, series, bar}));
}

}  // namespace

/// Put a stage into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const auto latched = [&]<class Latch>(const Latch& latch) {
    return cuda::scan(launch.walks, LatchScan<Latch>{latch}, queue);
  };
  const auto by_bar = [&]<class Op>(const Op& op) {
    constexpr int kThreads = 256;
    const std::int64_t points = launch.walks.series * launch.walks.longest;
    return cuda::launch(bar_kernel<Op>, dim3(static_cast<unsigned>((points + kThreads - 1) / kThreads)), dim3(kThreads),
                        0, queue, launch.walks, op);
  };
  return with_operation(launch.params, latched, by_bar);
}

}  // namespace wq::signals
