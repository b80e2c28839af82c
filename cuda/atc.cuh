// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/lane.cuh"
#include "warpquant/atc/launch.h"
#include "warpquant/atc/passage.h"

/// ATC: a block of threads takes a group of symbols through time with the code of the CPU. Each thread owns one of the
/// nine lengths of one symbol, for all families; the threads of the first length also do what a symbol has once:
/// returns, running sums, the votes of layer 2. Averages, signals and equities never leave registers and shared memory.
namespace wq::atc {
namespace {

/// What a thread reads of its symbol.
struct ColumnReader {
  Series series;
  DType type;

  template <class V, int kWidth>
  WQ_HD_CALL void rows_of(std::int64_t from, std::int64_t count, typename V::Real* out) const {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t bar = clamp(from + i, 0, series.bars - 1);
      const std::byte* p = series.data + bar * series.stride;
      V(type == DType::f32 ? static_cast<double>(*reinterpret_cast<const float*>(p))
                           : *reinterpret_cast<const double*>(p))
          .store(out + i * kWidth);
    }
  }
};

template <class Real_>
struct Crew {
  using Real = Real_;
  static constexpr int kWidth = kMaxLanes, kOwners = kLengths, kThreads = kWidth * kOwners, kSums = kThreads;
  /// Few bars to a tile: the rows of sums over lengths, one column per thread, take most of the shared memory.
  static constexpr int kTile = 4, kSpan = 16;
  static constexpr int kBlocks = 1, kBlock = 1;
  static constexpr bool kOneSymbol = false, kCrew = true, kSignalsOnly = false;
  static_assert(kSpan % kTile == 0 && rebuild_bars(1) % kTile == 0);
  using V = Lane<kWidth, Real>;
  using M = bool;
  struct Reader : ColumnReader {
    WQ_HD_CALL void rows(std::int64_t from, std::int64_t count, Real* out) const {
      this->template rows_of<V, kWidth>(from, count, out);
    }
  };

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
  WQ_HD static void add_sum(Real* row, V value, bool) { row[thread_of_block()] = value.v; }
  /// In the order in which the CPU adds: blocks of three lengths, then the blocks.
  WQ_HD static V total(const Real* row) {
    const auto of = [&](int length) { return row[length * kWidth + V::column()]; };
    const auto block = [&](int b) { return (of(3 * b) + of(3 * b + 1)) + of(3 * b + 2); };
    return (block(0) + block(1)) + block(2);
  }

  WQ_HD static Reader reader(const Series (&symbols)[kMaxLanes], DType type) { return {{symbols[V::column()], type}}; }
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

template <class Real>
__global__ void __launch_bounds__(Crew<Real>::kThreads) atc_kernel(Launch launch, std::size_t scratch_bytes) {
  WQ_DYNAMIC_SHARED(std::byte, shared);
  std::byte* const scratch = launch.scratch == nullptr ? shared : launch.scratch + blockIdx.x * scratch_bytes;
  Passage<Crew<Real>>(launch.run, launch.group[blockIdx.x], scratch).run();
}

}  // namespace

template <class Real>
std::size_t scratch_of(const Run& run) {
  return (Passage<Crew<Real>>::scratch_bytes(run) + 255) / 256 * 256;
}

template <class F>
auto with_real(const Run& run, F f) {
  return run.float32 ? f(float{}) : f(double{});
}

/// Bytes of scratch memory for each group, if a block's shared memory does not have room for it.
inline std::size_t scratch_on(const Run& run, std::size_t most_shared) {
  return with_real(run, [&]<class Real>(Real) -> std::size_t {
    const std::size_t bytes = scratch_of<Real>(run);
    return bytes <= most_shared ? 0 : bytes;
  });
}

inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  return with_real(launch.run, [&]<class Real>(Real) {
    const std::size_t bytes = scratch_of<Real>(launch.run);
    return cuda::launch(atc_kernel<Real>, dim3(static_cast<unsigned>(launch.groups)), dim3(Crew<Real>::kThreads),
                        launch.scratch == nullptr ? bytes : 0, queue, launch, bytes);
  });
}

}  // namespace wq::atc
