// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/lane.cuh"
#include "core/tiles.cuh"
#include "warpquant/atc/launch.h"
#include "warpquant/atc/passage.h"

/// ATC: a block of threads takes a group of symbols through time with the code of the CPU. Each thread owns one of the
/// nine lengths of one symbol, for all families; the threads of the first length also do what a symbol has once:
/// returns, running sums, the votes of layer 2. Averages, signals and equities never leave registers and shared memory.
namespace wq::atc {
namespace {

WQ_HD double value_at(const Series& series, DType type, std::int64_t bar) {
  return cuda::load(series.data + bar * series.stride, type);
}

/// Whether a bar of a symbol is present.
WQ_HD bool is_present(const Group& group, int symbol, std::int64_t bar) {
  return is_finite(value_at(group.close[symbol], group.close_type, bar)) &&
         (!group.separate_src || is_finite(value_at(group.src[symbol], group.src_type, bar)));
}

/// What a thread reads of its symbol: bars one after the other, where missing ones are no bars without those. After the
/// last bar, that again; of a symbol without bars, 0.
template <class V>
struct ColumnReader {
  const Group* group;
  const Series* series;
  DType type;
  std::int64_t next = 0;
  double value = 0;

  WQ_HD_CALL void rows(std::int64_t from, std::int64_t count, typename V::Real* out) {
    for (std::int64_t i = 0; i < count; ++i) {
      if (from + i < series->bars) {
        while (group->skips && !is_present(*group, V::column(), next)) ++next;
        value = value_at(*series, type, next++);
      }
      V(value).store(out + i * V::kColumns);
    }
  }
};

template <class Real_, Part kPart>
struct Crew {
  using Real = Real_;
  static constexpr int kWidth = kMaxLanes, kOwners = kLengths, kThreads = kWidth * kOwners, kSums = kThreads;
  /// Few bars to a tile: the rows of sums over lengths, one column per thread, take most of the shared memory.
  static constexpr int kTile = 4, kSpan = 16;
  static constexpr int kBlocks = 1, kBlock = 1, kTogether = 1;
  static constexpr bool kOneSymbol = false, kCrew = true, kOwnBanks = true, kStream = false;
  static constexpr bool kSignalsOnly = kPart == Part::signals, kFromSignals = kPart == Part::votes;
  static_assert(kSpan % kTile == 0 && rebuild_bars(1) % kTile == 0);
  using V = Lane<kWidth, Real>;
  using M = bool;
  using Bits = LaneBits;
  using Reader = ColumnReader<V>;

  WQ_HD static int owner() { return thread_of_block() / kWidth; }
  WQ_HD static bool leads() { return owner() == 0; }
  WQ_HD static bool is_first() { return thread_of_block() == 0; }
  WQ_HD static void meet() { meet_block(); }
  WQ_HD static int begin_column() { return V::column(); }
  WQ_HD static int end_column() { return V::column() + 1; }

  WQ_HD static std::int64_t span_of(std::int64_t) { return kSpan; }
  WQ_HD_CALL static void zero(Real* rows, std::int64_t count, std::size_t columns, bool own) {
    each_column(columns, own, [&](std::size_t c) {
      for (std::int64_t r = 0; r < count; ++r) rows[r * columns + c] = Real(0);
    });
  }
  WQ_HD_CALL static void shift(Real* rows, std::int64_t count, std::int64_t by, std::size_t columns, bool own) {
    each_column(columns, own, [&](std::size_t c) {
      for (std::int64_t r = 0; r < count; ++r) rows[r * columns + c] = rows[(r + by) * columns + c];
    });
  }

  WQ_HD static double lane(V v, int) { return static_cast<double>(v.v); }
  WQ_HD static int length_index(int, int, int) { return owner(); }
  template <class F>
  WQ_HD static V per_length(const std::int64_t (&lengths)[kLengths], int, int, F f) {
    return V(f(static_cast<double>(lengths[owner()])));
  }
  WQ_HD static void add_sum(Real* row, V value, int, int) { row[thread_of_block()] = value.v; }
  /// In the order in which the CPU adds: blocks of three lengths, then the blocks.
  WQ_HD static V total(const Real* row) {
    const auto of = [&](int length) { return row[length * kWidth + V::column()]; };
    const auto block = [&](int b) { return (of(3 * b) + of(3 * b + 1)) + of(3 * b + 2); };
    return (block(0) + block(1)) + block(2);
  }

  WQ_HD static Reader reader(const Group& group, const Series (&symbols)[kMaxLanes], DType type) {
    return {&group, &symbols[V::column()], type};
  }
  template <class T>
  WQ_HD_CALL static void write(const Sink (&sinks)[kWidth], std::int64_t bar, int count, const Real* rows) {
    const Sink& sink = sinks[V::column()];
    for (int i = 0; i < count && bar + i < sink.bars; ++i)
      *reinterpret_cast<T*>(sink.data + (bar + i) * sink.stride) = static_cast<T>(V::load(rows + i * kWidth).v);
  }

 private:
  /// The columns that the thread looks after: of rows of its own its symbol's, of rows of all every ninth.
  template <class F>
  WQ_HD static void each_column(std::size_t columns, bool own, F f) {
    const auto first = static_cast<std::size_t>(V::column());
    if (own) return f(first);
    for (std::size_t c = first + owner() * kWidth; c < columns; c += kThreads) f(c);
  }
};

template <class Real, Part kPart>
__global__ void __launch_bounds__(Crew<Real, kPart>::kThreads) atc_kernel(Launch launch, std::size_t scratch_bytes) {
  WQ_DYNAMIC_SHARED(std::byte, shared);
  std::byte* const scratch = launch.scratch == nullptr ? shared : launch.scratch + blockIdx.x * scratch_bytes;
  Passage<Crew<Real, kPart>>(launch.run, launch.group[blockIdx.x], scratch).run();
}

// ------------------------------------------------------------------------------------------------ missing bars

/// Blocks of a warp for each symbol of a group.
struct Watch {
  static constexpr int kThreads = kMaxLanes * cuda::kWarp;
  __device__ static int symbol() { return static_cast<int>(threadIdx.x) / cuda::kWarp; }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % cuda::kWarp; }
};

/// Call f(data, type, per_bar) for each result of a symbol; one that is not per bar is that of the last bar.
template <class F>
__device__ void each_result(const Run& run, const Group& group, int symbol, F f) {
  for (int o = 0; o < kOutputs; ++o)
    if (run.wants[o]) f(group.out[o][symbol], is_class(o) ? DType::i8 : run.out_type, !run.last_only);
  for (int d = 0; run.detail && d < kDetails; ++d)
    for (int family = 0; family < kFamilies; ++family) {
      Sink sink = group.detail[d][family][symbol];
      for (int k = 0; k < kLengths; ++k, sink.data += group.detail_step[d][family][symbol]) f(sink, run.out_type, true);
    }
}

/// Looks through the prices, and describes each symbol by the bars that are present, or the group by its having gaps;
/// by no bars where there are not enough or a price is too large. Whatever an earlier launch made of the description.
__global__ void __launch_bounds__(Watch::kThreads) find_kernel(Launch launch) {
  WQ_SHARED(int, gaps, kMaxLanes);
  Group& group = launch.group[blockIdx.x];
  const int symbol = Watch::symbol(), lane = Watch::lane();
  const bool used = symbol < group.symbols;
  std::int64_t present = 0;
  bool too_large = false;
  for (std::int64_t bar = lane; used && bar < launch.run.bars; bar += cuda::kWarp) {
    present += is_present(group, symbol, bar);
    const auto look = [&](double x) { too_large |= is_finite(x) && abs(x) >= kTooLarge; };
    look(value_at(group.close[symbol], group.close_type, bar));
    if (group.separate_src) look(value_at(group.src[symbol], group.src_type, bar));
  }
  for (int by = cuda::kWarp / 2; by > 0; by /= 2) present += __shfl_down_sync(cuda::kEveryLane, present, by);
  too_large = __any_sync(cuda::kEveryLane, too_large);
  if (used && lane == 0) {
    const bool skips = launch.missing == Missing::skip;
    gaps[symbol] = !skips && present < launch.run.bars;
    const bool nothing = too_large || (skips && present <= launch.run.params.cutout);
    const std::int64_t bars = nothing ? 0 : skips ? present : launch.run.bars;
    group.close[symbol].bars = group.src[symbol].bars = bars;
    for (auto& sinks : group.out)
      if (!launch.run.last_only) sinks[symbol].bars = bars;
    for (auto& families : group.detail)
      for (auto& sinks : families) sinks[symbol].bars = bars;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  bool any = false;
  for (int s = 0; s < group.symbols; ++s) any |= gaps[s] != 0;
  group.gaps = any;
  group.skips = launch.missing == Missing::skip;
}

__device__ inline void put(std::byte* to, DType type, double value) {
  if (type == DType::i8)
    store_value<std::int8_t>(to, value);
  else
    cuda::store(to, type, value);
}

/// Results of the present bars to where those are, last first, so that none is overwritten before it has moved.
__global__ void __launch_bounds__(Watch::kThreads) spread_kernel(Launch launch) {
  const Group& group = launch.group[blockIdx.x];
  const int symbol = Watch::symbol(), lane = Watch::lane();
  if (symbol >= group.symbols || group.close[symbol].bars == launch.run.bars) return;
  const std::int64_t bars = launch.run.bars, computed = group.close[symbol].bars;
  const auto nothing = [](DType type) { return type == DType::i8 ? 0.0 : __builtin_nan(""); };

  const bool last_missing = computed == 0 || !is_present(group, symbol, bars - 1);
  each_result(launch.run, group, symbol, [&](const Sink& sink, DType type, bool per_bar) {
    if (!per_bar && lane == 0 && last_missing && (computed == 0 || type != DType::i8))
      put(sink.data, type, nothing(type));
  });
  std::int64_t before = computed;
  for (std::int64_t begin = (bars - 1) / cuda::kWarp * cuda::kWarp; begin >= 0; begin -= cuda::kWarp) {
    const std::int64_t bar = begin + lane;
    const bool present = computed > 0 && bar < bars && is_present(group, symbol, bar);
    const unsigned here = __ballot_sync(cuda::kEveryLane, present);
    before -= __popc(here);
    const std::int64_t number = before + __popc(here & ((1u << lane) - 1));
    each_result(launch.run, group, symbol, [&](const Sink& sink, DType type, bool per_bar) {
      if (!per_bar) return;
      const std::int64_t place = place_of(present, type == DType::i8, number);
      const double value = place < 0 ? nothing(type) : cuda::load(sink.data + place * sink.stride, type);
      __syncwarp();
      if (bar < bars) put(sink.data + bar * sink.stride, type, value);
      __syncwarp();
    });
  }
}

}  // namespace

template <class Real>
std::size_t scratch_of(const Run& run) {
  return (Passage<Crew<Real, Part::everything>>::scratch_bytes(run) + 255) / 256 * 256;
}

/// Bytes of scratch memory for each group, if a block's shared memory does not have room for it.
inline std::size_t scratch_on(const Run& run, std::size_t most_shared) {
  const std::size_t bytes = run.float32 ? scratch_of<float>(run) : scratch_of<double>(run);
  return bytes <= most_shared ? 0 : bytes;
}

template <class Real, Part kPart>
Fault launch_part(const Launch& launch, cuda::Queue queue) {
  const std::size_t bytes = scratch_of<Real>(launch.run);
  return cuda::launch(atc_kernel<Real, kPart>, dim3(static_cast<unsigned>(launch.groups)),
                      dim3(Crew<Real, kPart>::kThreads), launch.scratch == nullptr ? bytes : 0, queue, launch, bytes);
}

inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const dim3 grid(static_cast<unsigned>(launch.groups)), watch(Watch::kThreads);
  const bool looks = launch.missing != Missing::known;
  Fault fault = looks ? cuda::launch(find_kernel, grid, watch, 0, queue, launch) : Fault::none;
  if (fault == Fault::none)
    fault = launch.part == Part::signals ? launch_part<double, Part::signals>(launch, queue)
            : launch.part == Part::votes ? launch_part<double, Part::votes>(launch, queue)
            : launch.run.float32         ? launch_part<float, Part::everything>(launch, queue)
                                         : launch_part<double, Part::everything>(launch, queue);
  if (fault == Fault::none && looks) fault = cuda::launch(spread_kernel, grid, watch, 0, queue, launch);
  return fault;
}

}  // namespace wq::atc
