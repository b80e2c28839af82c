// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/lane.cuh"
#include "warpquant/atc/launch.h"
#include "warpquant/atc/stream.h"

/// ATC bar by bar, with the code of the CPU.
namespace wq::atc {
namespace {

/// A thread takes a symbol through its new bars. Symbols of a group are neighbours in memory.
struct StreamThreads {
  using Real = double;
  /// One length after the other, because the kernel is long enough; so each block of lengths has a sum for itself.
  static constexpr int kBlocks = 3, kBlock = 3, kTogether = 1;
  static constexpr int kWidth = kMaxLanes, kSums = kBlocks * kWidth, kTile = 1, kOwners = 1;
  static constexpr bool kOneSymbol = false, kCrew = false, kSignalsOnly = false, kFromSignals = false;
  static constexpr bool kOwnBanks = true, kStream = true;
  static constexpr int kThreads = cuda::kWarp, kGroups = kThreads / kWidth;
  using V = Lane<kWidth, Real>;
  using M = bool;
  using Bits = LaneBits;
  struct Reader {};

  WQ_HD static Reader reader(const Group&, const Series (&)[kMaxLanes], DType) { return {}; }
  WQ_HD static bool leads() { return true; }
  WQ_HD static void meet() {}
  WQ_HD static int owner() { return 0; }
  WQ_HD static int begin_column() { return V::column(); }
  WQ_HD static int end_column() { return V::column() + 1; }
  WQ_HD static std::int64_t span_of(std::int64_t) { return 1; }
  WQ_HD_CALL static void zero(Real* rows, std::int64_t count, std::size_t columns, bool) {
    for (std::size_t c = V::column(); c < columns; c += kWidth)
      for (std::int64_t r = 0; r < count; ++r) rows[r * columns + c] = 0.0;
  }
  WQ_HD_CALL static void shift(Real*, std::int64_t, std::int64_t, std::size_t, bool) {}
  WQ_HD static void want_soon(const Real*) {}

  WQ_HD static double lane(V v, int) { return v.v; }
  WQ_HD static int length_index(int block, int k, int) { return block * kBlock + k; }
  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int block, int k, F f) {
    return V(f(static_cast<double>(lengths[block * kBlock + k])));
  }
  WQ_HD static void add_sum(Real* row, V value, int block, int k) {
    Real* const sum = row + block * kWidth;
    (k == 0 ? value : V::load(sum) + value).store(sum);
  }
  WQ_HD static V total(const Real* row) { return (V::load(row) + V::load(row + kWidth)) + V::load(row + 2 * kWidth); }
};

__global__ void __launch_bounds__(StreamThreads::kThreads)
    stream_kernel(StreamLaunch launch, std::size_t scratch_bytes) {
  const std::int64_t at_once = static_cast<std::int64_t>(gridDim.x) * StreamThreads::kGroups;
  const std::int64_t mine = static_cast<std::int64_t>(blockIdx.x) * StreamThreads::kGroups +
                            static_cast<int>(threadIdx.x) / StreamThreads::kWidth;
  StreamPassage<StreamThreads> passage(launch.run, *launch.shared, launch.scratch + mine * scratch_bytes);
  for (std::int64_t g = launch.first + mine; g < launch.last; g += at_once) passage.run(launch.feed, g, g + 1);
}

}  // namespace

inline std::size_t stream_scratch_of(const Run& run) {
  return (StreamPassage<StreamThreads>::scratch_bytes(run) + 255) / 256 * 256;
}
/// Groups that a launch takes at once, if there are that many.
inline std::int64_t stream_groups(std::int64_t groups) {
  constexpr std::int64_t kMostBlocks = 1024;
  const std::int64_t blocks = (groups + StreamThreads::kGroups - 1) / StreamThreads::kGroups;
  return (blocks < kMostBlocks ? blocks : kMostBlocks) * StreamThreads::kGroups;
}
inline std::size_t stream_scratch_on(const Run& run, std::int64_t groups) {
  return stream_scratch_of(run) * static_cast<std::size_t>(stream_groups(groups));
}
inline Fault launch_stream_on(const StreamLaunch& launch, cuda::Queue queue) {
  const std::int64_t blocks = stream_groups(launch.last - launch.first) / StreamThreads::kGroups;
  return cuda::launch(stream_kernel, dim3(static_cast<unsigned>(blocks)), dim3(StreamThreads::kThreads), 0, queue,
                      launch, stream_scratch_of(launch.run));
}

}  // namespace wq::atc
