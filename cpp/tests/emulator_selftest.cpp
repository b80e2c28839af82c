// SPDX-License-Identifier: Apache-2.0
// Kernels with one seeded defect each, and good ones. tests/test_emulator.py builds this plain and with sanitizers, and
// expects a report of every defect from at least one of the builds, and of no good kernel from any.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../emulator/emulator.h"

namespace {

using namespace wq::emulator;

enum class Defect {
  none,
  no_barrier,
  shared_overrun,
  uninitialised,
  early_return,
  exited_lane,
  lost_update,
  overrun,
  overlapping_blocks
};

constexpr int kThreads = 64, kLength = 9, kCount = 300;

/// Weighted means over a tile in shared memory.
template <Defect kDefect>
__global__ void weighted_kernel(const double* x, double* y, int count) {
  constexpr int kTile = kThreads + kLength - 1;
  WQ_SHARED(double, tile, kTile);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int first = static_cast<int>(blockIdx.x * blockDim.x) - (kLength - 1);
  if (kDefect == Defect::early_return && i >= count) return;
  const int filled = kDefect == Defect::shared_overrun  ? kTile + 1
                     : kDefect == Defect::uninitialised ? kTile - 1
                                                        : kTile;
  for (int k = threadIdx.x; k < filled; k += blockDim.x)
    tile[k] = first + k >= 0 && first + k < count ? x[first + k] : 0.0;
  if (kDefect != Defect::no_barrier) __syncthreads();
  double sum = 0;
  for (int k = 0; k < kLength; ++k) sum += tile[threadIdx.x + k] * (k + 1);
  if (i < count) y[i] = sum;
}

/// The sum of all, by shuffles and one addition per warp.
template <Defect kDefect>
__global__ void sum_kernel(const double* x, double* total, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (kDefect == Defect::exited_lane && i >= count) return;
  double value = i < count ? x[i] : 0.0;
  for (int by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
  if (threadIdx.x % 32 != 0) return;
  if (kDefect == Defect::lost_update)
    *total = *total + value;
  else
    atomicAdd(total, value);
}

template <Defect kDefect>
__global__ void scale_kernel(const double* x, double* y, int count) {
  const int step = kDefect == Defect::overlapping_blocks ? blockDim.x - 1 : blockDim.x;
  const int i = blockIdx.x * step + threadIdx.x;
  if (i < (kDefect == Defect::overrun ? count + 1 : count)) y[i] = 2 * x[i];
}

unsigned blocks(int count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

/// Whether the results of the three kernels are right.
template <Defect kDefect>
bool run() {
  const std::unique_ptr<double[]> x(new double[kCount]), y(new double[kCount]), z(new double[kCount]);
  double total = 0, sum = 0;
  for (int i = 0; i < kCount; ++i) sum += x[i] = 1 + i % 7;
  launch(weighted_kernel<kDefect>, dim3(blocks(kCount)), dim3(kThreads), 0, x.get(), y.get(), kCount);
  launch(sum_kernel<kDefect>, dim3(blocks(kCount)), dim3(kThreads), 0, x.get(), &total, kCount);
  launch(scale_kernel<kDefect>, dim3(blocks(kCount)), dim3(kThreads), 0, x.get(), z.get(), kCount);
  bool right = total == sum;
  for (int i = 0; i < kCount; ++i) {
    double expected = 0;
    for (int k = 0; k < kLength; ++k)
      if (const int j = i - kLength + 1 + k; j >= 0) expected += x[j] * (k + 1);
    right &= y[i] == expected && z[i] == 2 * x[i];
  }
  return right;
}

const std::map<std::string, bool (*)()> kCases = {
    {"none", run<Defect::none>},
    {"no_barrier", run<Defect::no_barrier>},
    {"shared_overrun", run<Defect::shared_overrun>},
    {"uninitialised", run<Defect::uninitialised>},
    {"early_return", run<Defect::early_return>},
    {"exited_lane", run<Defect::exited_lane>},
    {"lost_update", run<Defect::lost_update>},
    {"overrun", run<Defect::overrun>},
    {"overlapping_blocks", run<Defect::overlapping_blocks>},
};

}  // namespace

/// Arguments: the defect, the seed of the thread order. Exit status 0: nothing found.
int main(int count, char** arguments) {
  if (count != 3 || !kCases.contains(arguments[1])) return 2;
  options().order_seed = std::strtoull(arguments[2], nullptr, 10);
  options().workers = 2;
  try {
    if (kCases.at(arguments[1])()) return 0;
    std::puts("wrong results");
  } catch (const Report& report) {
    std::puts(report.what());
  }
  return 1;
}
