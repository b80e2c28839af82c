// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tiles.cuh"
#include "warpquant/core/math.h"

namespace wq::cuda {
namespace {

struct Survey {
  static constexpr int kThreads = 256;
};

/// A block looks through a series.
__global__ void survey_kernel(const Series* series, DType type, Flaws* flaws) {
  WQ_SHARED(Flaws, found, Survey::kThreads);
  const Series s = series[blockIdx.x];
  Flaws first{s.bars, s.bars};
  for (std::int64_t bar = threadIdx.x; bar < s.bars; bar += Survey::kThreads) {
    const double x = load(s.data + bar * s.stride, type);
    if (first.missing == s.bars && !is_finite(x)) first.missing = bar;
    if (first.too_large == s.bars && is_finite(x) && abs(x) >= kTooLarge) first.too_large = bar;
  }
  found[threadIdx.x] = first;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < Survey::kThreads; ++i) {
    if (found[i].missing < first.missing) first.missing = found[i].missing;
    if (found[i].too_large < first.too_large) first.too_large = found[i].too_large;
  }
  flaws[blockIdx.x] = {first.missing < s.bars ? first.missing : -1, first.too_large < s.bars ? first.too_large : -1};
}

}  // namespace

inline Fault survey_on(const Series* series, std::int64_t count, DType type, Flaws* flaws, Queue queue) {
  return launch(survey_kernel, dim3(static_cast<unsigned>(count)), dim3(Survey::kThreads), 0, queue, series, type,
                flaws);
}

}  // namespace wq::cuda
