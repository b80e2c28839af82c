// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/surface/svi_job.h"

/// Fits of smiles: eight threads for each, four smiles in a warp. A thread follows a start through all quotes, as a
/// lane of a pack does on the CPU, so that bits are those of the CPU; what starts have to know of each other goes
/// through shuffles. Evaluation at points is a function of rows (surface/between.h, core/rows.cuh).
namespace wq::surface {
namespace {

constexpr int kThreads = 128, kSmiles = kThreads / kStarts;  // of a block

/// Starts in neighbouring threads of a warp.
struct InThreads {
  unsigned mask;
  int number;

  template <class F>
  __device__ double of(F f) const {
    return f(number);
  }

  __device__ bool any_of(bool m) const { return (__ballot_sync(mask, m ? 1 : 0) & mask) != 0; }
  __device__ double at(double x, int j) const {
    // Lanes of a warp count from its first; a team begins at the first bit of its mask.
    return __shfl_sync(mask, x, first() + j);
  }
  __device__ int first_of(double x) const {
    int best = 0;
    double least = at(x, 0);
    for (int j = 1; j < kStarts; ++j) {
      const double other = at(x, j);
      if (!(other < least)) continue;
      least = other;
      best = j;
    }
    return best;
  }
  __device__ void set(double& x, int j, double value) const {
    if (j == number) x = value;
  }
  __device__ int first() const { return static_cast<int>(threadIdx.x) % cuda::kWarp / kStarts * kStarts; }
};

/// What the threads of a smile share.
struct Team {
  Gathered gathered;
  Scaled scaled;
};

__global__ void fit_kernel(Launch l) {
  WQ_SHARED(Team, teams, kSmiles);
  const int self = static_cast<int>(threadIdx.x) % kStarts, number = static_cast<int>(threadIdx.x) / kStarts;
  const std::int64_t smile = static_cast<std::int64_t>(blockIdx.x) * kSmiles + number;
  if (smile >= l.fit.smiles) return;
  const InThreads team{0xffu << (number % (cuda::kWarp / kStarts) * kStarts), self};
  Team& shared = teams[number];
  const std::int64_t from = l.fit.offsets[smile], count = l.fit.offsets[smile + 1] - from;
  double* const scratch = l.scratch + 9 * from;
  if (self == 0) {
    Gathered& g = shared.gathered;
    gather(l.fit, smile, scratch, g);
    g.smile.start = g.started ? g.start : nullptr;
    if (g.usable) shared.scaled = prepare(g.smile, scratch + 3 * count);
  }
  __syncwarp(team.mask);
  const Gathered& g = shared.gathered;
  if (!g.usable) {
    if (self == 0) put_none(l.fit, smile, g.smile.count);
    return;
  }
  const Scaled& p = shared.scaled;
  Found found{0.0, 0.0, HUGE_VAL, 0};
  if (g.smile.free) {
    found = search<double>(g.smile, p, team);
  } else {
    found.m = (g.start[0] - p.centre) / p.unit;
    found.s = g.start[1] / p.unit;
  }
  if (self != 0) return;
  const SviFit fit = finish(g.smile, p, found);
  const Certificate look = certify<double, false>({fit.a, fit.b, fit.rho, fit.m, fit.s});
  put(l.fit, smile, fit, look, g.smile.free ? kFitted : kReduced, g.smile.count);
}

}  // namespace

/// Put a job into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const std::int64_t blocks = (launch.fit.smiles + kSmiles - 1) / kSmiles;
  return cuda::launch(fit_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, queue, launch);
}

}  // namespace wq::surface
