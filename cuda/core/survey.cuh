// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tiles.cuh"

namespace wq::cuda {
namespace {

/// A block looks through a series.
__global__ void survey_kernel(const Series* series, DType type, int* flags) {
  const Series s = series[blockIdx.x];
  bool found = false;
  for (std::int64_t bar = threadIdx.x; bar < s.bars; bar += blockDim.x) {
    const double x = load(s.data + bar * s.stride, type);
    found |= !(x < 0x1p1000 && x > -0x1p1000);
  }
  if (found) atomicOr(&flags[blockIdx.x], 1);
}

}  // namespace

inline Fault survey_on(const Series* series, std::int64_t count, DType type, int* flags, Queue queue) {
  constexpr int kThreads = 256;
  return launch(survey_kernel, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0, queue, series, type, flags);
}

}  // namespace wq::cuda
