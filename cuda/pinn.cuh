// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/rows.cuh"
#include "warpquant/core/one_float.h"
#include "warpquant/pinn/launch.h"
#include "warpquant/pinn/residual.h"

/// A loop over registers, which copies of it name.
#if defined(__CUDACC__)
#define WQ_UNROLLED _Pragma("unroll")
#else
#define WQ_UNROLLED
#endif

/// Networks: a block takes a tile of points through all layers, with its numbers in shared memory. A number of a neuron
/// is a column, one for each stream of each point; weights come in slabs of 16 inputs. A sum begins with its bias and
/// takes its inputs in their order, as on the CPU.
namespace wq::pinn {
namespace {

/// What elements are written for.
template <class T>
struct Element {
  using V = double;
};
template <>
struct Element<float> {
  using V = OneFloat;
};
__device__ inline double plain(double x) { return x; }
__device__ inline float plain(OneFloat x) { return x.v; }

/// Gaps between rows in shared memory, which keep threads of a warp on different banks.
template <class T>
inline constexpr int kGap = sizeof(T) == 4 ? 8 : 2;
template <class T>
WQ_HD int row_of(int columns) {
  return sizeof(T) == 4 ? columns + kGap<T> : columns;
}

template <class T>
std::size_t shared_bytes(const Split& split) {
  const std::size_t numbers = static_cast<std::size_t>(split.rows()) * row_of<T>(split.columns);
  const std::size_t slab = static_cast<std::size_t>(Split::kDepth) *
                           ((split.rows() > Split::kThreads / 2 ? split.rows() : Split::kThreads / 2) + kGap<T>);
  return (numbers + slab) * sizeof(T);
}

// ---------------------------------------------------------------------------------------------- tensor cores

/// d += a b for 16 x 8 numbers, `kDepth` products each, by a warp. Lane l holds of a the rows l / 4 and l / 4 + 8, of b
/// the column l / 4, and of d rows l / 4 and l / 4 + 8 at columns 2 (l % 4) and the next (PTX ISA, "Matrix fragments").
/// Where there is no such unit, lanes fetch what they need from each other: the same products.
template <bool kTf32>
struct TensorUnit;

template <>
struct TensorUnit<true> {
  static constexpr int kDepth = 8, kA = 4, kB = 2;
  /// Which row and product element k of a is, and which product of b.
  WQ_HD static int a_row(int k) { return k % 2 * 8; }
  WQ_HD static int a_product(int k, int quarter) { return k / 2 * 4 + quarter; }
  WQ_HD static int b_product(int k, int quarter) { return k * 4 + quarter; }

  __device__ static void multiply(float (&d)[4], const float (&a)[kA], const float (&b)[kB]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
    const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, group = lane / 4, quarter = lane % 4;
    for (int k = 0; k < kDepth; ++k) {
      const int from = k % 4;
      const float upper = __shfl_sync(cuda::kEveryLane, a[k / 4 * 2], group * 4 + from);
      const float lower = __shfl_sync(cuda::kEveryLane, a[k / 4 * 2 + 1], group * 4 + from);
      const float left = __shfl_sync(cuda::kEveryLane, b[k / 4], quarter * 8 + from);
      const float right = __shfl_sync(cuda::kEveryLane, b[k / 4], quarter * 8 + 4 + from);
      d[0] += upper * left;
      d[1] += upper * right;
      d[2] += lower * left;
      d[3] += lower * right;
    }
#endif
  }
};

template <>
struct TensorUnit<false> {
  static constexpr int kDepth = 16, kA = 8, kB = 4;
  WQ_HD static int a_row(int k) { return k / 2 % 2 * 8; }
  WQ_HD static int a_product(int k, int quarter) { return k / 4 * 8 + quarter * 2 + k % 2; }
  WQ_HD static int b_product(int k, int quarter) { return k / 2 * 8 + quarter * 2 + k % 2; }

  __device__ static void multiply(float (&d)[4], const float (&a)[kA], const float (&b)[kB]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    // Two to a register, the first in the lower half; what is cut off is 0.
    const auto pair = [](float low, float high) {
      return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
    };
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(pair(a[0], a[1])), "r"(pair(a[2], a[3])), "r"(pair(a[4], a[5])), "r"(pair(a[6], a[7])),
          "r"(pair(b[0], b[1])), "r"(pair(b[2], b[3])));
#else
    const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, group = lane / 4, quarter = lane % 4;
    for (int k = 0; k < kDepth; ++k) {
      const int from = k % 8 / 2, half = k / 8, odd = k % 2;
      const float upper = __shfl_sync(cuda::kEveryLane, a[half * 4 + odd], group * 4 + from);
      const float lower = __shfl_sync(cuda::kEveryLane, a[half * 4 + 2 + odd], group * 4 + from);
      const float left = __shfl_sync(cuda::kEveryLane, b[half * 2 + odd], quarter * 8 + from);
      const float right = __shfl_sync(cuda::kEveryLane, b[half * 2 + odd], quarter * 8 + 4 + from);
      d[0] += upper * left;
      d[1] += upper * right;
      d[2] += lower * left;
      d[3] += lower * right;
    }
#endif
  }
};

// ---------------------------------------------------------------------------------------------- layers

/// Numbers of a block: rows of `columns`, `pitch` apart.
template <class T>
struct Panel {
  T* at;
  int pitch;
  __device__ T& operator()(int row, int column) const { return at[static_cast<std::int64_t>(row) * pitch + column]; }
};

/// z[o] = bias[o] + sum_i weight(o, i) h[i] for all columns, the bias in the first `biased` columns alone; to the same
/// memory if that is where h is, then at most `split.rows()` rows. `kByOutput`: weights lie as [o][i], else as [i][o].
template <class T, Products kProducts, bool kByOutput>
__device__ void multiply(const Split& split, const T* weights, const T* bias, int biased, int inputs, int outputs,
                         Panel<T> h, Panel<T> z, T* slab) {
  constexpr int kRows = Split::kRows, kColumns = Split::kColumns, kDepth = Split::kDepth;
  const int thread = static_cast<int>(threadIdx.x), rows = split.rows(), pitch = rows + kGap<T>;
  const int across = Split::kThreads / split.groups;  // threads that share a group of neurons
  const int group = thread / across, place = thread % across;
  [[maybe_unused]] const int warp = thread / cuda::kWarp, lane = thread % cuda::kWarp;
  [[maybe_unused]] const int tiles_across = split.columns / 8;
  for (int first = 0; first < outputs; first += rows) {
    T sums[kRows * kColumns];
    if constexpr (kProducts == Products::full) {
      WQ_UNROLLED
      for (int r = 0; r < kRows; ++r) {
        const int o = first + group * kRows + r;
        const T b = bias != nullptr && o < outputs ? bias[o] : T(0);
        WQ_UNROLLED
        for (int c = 0; c < kColumns; ++c) sums[r * kColumns + c] = place + c * across < biased ? b : T(0);
      }
    } else {
      WQ_UNROLLED
      for (int t = 0; t < 8; ++t) {
        const int tile = warp * 8 + t, row = first + tile / tiles_across * 16 + lane / 4;
        const int column = tile % tiles_across * 8 + lane % 4 * 2;
        WQ_UNROLLED
        for (int k = 0; k < 4; ++k) {
          const int o = row + k / 2 * 8;
          sums[t * 4 + k] = bias != nullptr && o < outputs && column + k % 2 < biased ? bias[o] : T(0);
        }
      }
    }
    for (int from = 0; from < inputs; from += kDepth) {
      __syncthreads();  // the slab before has been read
      for (int k = thread; k < kDepth * rows; k += Split::kThreads) {
        // Neighbouring threads read neighbouring numbers.
        const int i = kByOutput ? k % kDepth : k / rows, o = kByOutput ? k / kDepth : k % rows;
        const bool there = from + i < inputs && first + o < outputs;
        const std::int64_t at = kByOutput ? static_cast<std::int64_t>(first + o) * inputs + from + i
                                          : static_cast<std::int64_t>(from + i) * outputs + first + o;
        slab[i * pitch + o] = there ? weights[at] : T(0);
      }
      __syncthreads();
      const int depth = inputs - from < kDepth ? inputs - from : kDepth;
      if constexpr (kProducts == Products::full) {
        using V = typename Element<T>::V;
        for (int i = 0; i < depth; ++i) {
          T w[kRows], x[kColumns];
          WQ_UNROLLED
          for (int r = 0; r < kRows; ++r) w[r] = slab[i * pitch + group * kRows + r];
          WQ_UNROLLED
          for (int c = 0; c < kColumns; ++c) x[c] = h(from + i, place + c * across);
          WQ_UNROLLED
          for (int r = 0; r < kRows; ++r) WQ_UNROLLED
          for (int c = 0; c < kColumns; ++c)
            sums[r * kColumns + c] = plain(mul_add(V(w[r]), V(x[c]), V(sums[r * kColumns + c])));
        }
      } else {
        using Parts = Splitting<kProducts>;
        using Unit = TensorUnit<Parts::kTf32>;
        for (int step = 0; step < kDepth; step += Unit::kDepth) {
          float a[Parts::kParts][Unit::kA];
          int held = -1;  // the rows that `a` is of
          WQ_UNROLLED
          for (int t = 0; t < 8; ++t) {
            const int tile = warp * 8 + t, block = tile / tiles_across;
            if (block != held) {
              held = block;
              WQ_UNROLLED
              for (int k = 0; k < Unit::kA; ++k) {
                float parts[Parts::kParts];
                Parts::split(
                    slab[(step + Unit::a_product(k, lane % 4)) * pitch + block * 16 + Unit::a_row(k) + lane / 4],
                    parts);
                for (int p = 0; p < Parts::kParts; ++p) a[p][k] = parts[p];
              }
            }
            float b[Parts::kParts][Unit::kB];
            WQ_UNROLLED
            for (int k = 0; k < Unit::kB; ++k) {
              const int i = from + step + Unit::b_product(k, lane % 4);
              float parts[Parts::kParts];
              Parts::split(i < inputs ? h(i, tile % tiles_across * 8 + lane / 4) : 0.0f, parts);
              for (int p = 0; p < Parts::kParts; ++p) b[p][k] = parts[p];
            }
            float d[4] = {sums[t * 4], sums[t * 4 + 1], sums[t * 4 + 2], sums[t * 4 + 3]};
            Parts::each_pair([&](int p, int q) { Unit::multiply(d, a[p], b[q]); });
            for (int k = 0; k < 4; ++k) sums[t * 4 + k] = d[k];
          }
        }
      }
    }
    __syncthreads();  // inputs have been read
    if constexpr (kProducts == Products::full) {
      WQ_UNROLLED
      for (int r = 0; r < kRows; ++r) {
        const int o = first + group * kRows + r;
        if (o >= outputs) continue;
        WQ_UNROLLED
        for (int c = 0; c < kColumns; ++c) z(o, place + c * across) = sums[r * kColumns + c];
      }
    } else {
      WQ_UNROLLED
      for (int t = 0; t < 8; ++t) {
        const int tile = warp * 8 + t, row = first + tile / tiles_across * 16 + lane / 4;
        const int column = tile % tiles_across * 8 + lane % 4 * 2;
        WQ_UNROLLED
        for (int k = 0; k < 4; ++k)
          if (row + k / 2 * 8 < outputs) z(row + k / 2 * 8, column + k % 2) = sums[t * 4 + k];
      }
    }
  }
  __syncthreads();
}

/// Where a block keeps its numbers: one panel that every layer writes back to; or two in turn, for layers that are too
/// wide for shared memory.
template <class T>
struct Desk {
  Panel<T> now, next;
  T* slab;

  __device__ Desk(const Split& split, T* shared, T* wide, int widest)
      : now{shared, row_of<T>(split.columns)}, next(now), slab(shared + split.rows() * row_of<T>(split.columns)) {
    if (widest <= Split::kWidest) return;
    now = {wide, split.columns};
    next = {wide + static_cast<std::int64_t>(widest) * split.columns, split.columns};
  }
  __device__ void turn() {
    const Panel<T> kept = now;
    now = next;
    next = kept;
  }
};

template <class T>
__device__ T* of_block(std::byte* memory, std::int64_t numbers) {
  return reinterpret_cast<T*>(memory) + blockIdx.x * numbers;
}

/// Numbers of layer l's parameters, all before it, and those of the next.
__device__ inline std::int64_t numbers_of(const Placed& net, int layer) {
  return (static_cast<std::int64_t>(net.widths[layer]) + 1) * net.widths[layer + 1];
}

/// From inputs in `desk.now` to the output in its row 0; `activate(neuron, points)` does what an activation does to a
/// neuron's columns. Values are in the first `points` columns.
template <class T, Products kProducts, class Activate>
__device__ void pass(const Placed& net, const Split& split, int points, Desk<T>& desk, Activate activate) {
  const T* parameters = static_cast<const T*>(net.parameters);
  for (int l = 0; l < net.layers; ++l) {
    const int inputs = net.widths[l], outputs = net.widths[l + 1];
    const T* const bias = parameters + static_cast<std::int64_t>(inputs) * outputs;
    multiply<T, kProducts, true>(split, parameters, bias, points, inputs, outputs, desk.now, desk.next, desk.slab);
    parameters += numbers_of(net, l);
    desk.turn();
    if (l + 1 == net.layers) break;
    for (int k = static_cast<int>(threadIdx.x); k < outputs * points; k += Split::kThreads)
      activate(&desk.now(k / points, k % points));
    __syncthreads();
  }
}

// ---------------------------------------------------------------------------------------------- derivatives

__device__ inline double read(const Values& v, std::int64_t i, std::int64_t j) {
  return v.in_f32 ? load_value<float>(v.at(i, j)) : load_value<double>(v.at(i, j));
}
__device__ inline void write(const Values& v, std::int64_t i, std::int64_t j, double value) {
  v.in_f32 ? store_value<float>(v.at(i, j), value) : store_value<double>(v.at(i, j), value);
}

/// A stream of point i to where it belongs.
__device__ inline void write_stream(const JetLaunch& job, int stream, std::int64_t i, double value) {
  const Streams& s = job.streams;
  const int m = s.directions;
  if (stream == 0) return write(job.value, i, 0, value);
  if (stream <= m) return write(job.gradient, i, stream - 1, value);
  if (stream > m + s.seconds()) return write(job.third, i, stream - 1 - m - s.seconds(), value);
  int p = 0;
  while (p + 1 < m && s.second(p + 1, p + 1) <= stream) ++p;
  const int q = p + stream - s.second(p, p);
  write(job.hessian, i, p * m + q, value);
  if (p != q) write(job.hessian, i, q * m + p, value);
}

template <class T, Products kProducts>
__global__ void __launch_bounds__(Split::kThreads) jet_kernel(JetLaunch job, Split split) {
  using V = typename Element<T>::V;
  WQ_DYNAMIC_SHARED(T, shared);
  const int inputs = job.net.widths[0], streams = job.streams.count(), points = split.columns / streams;
  const int widest = job.net.widest();
  T* const wide = of_block<T>(job.memory, wide_numbers(job.net, split));
  const std::int64_t tiles = (job.points + points - 1) / points;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const std::int64_t first = tile * points;
    const int here = static_cast<int>(job.points - first < points ? job.points - first : points);
    Desk<T> desk(split, shared, wide, widest);
    for (int k = static_cast<int>(threadIdx.x); k < inputs * split.columns; k += Split::kThreads) {
      const int f = k / split.columns, column = k % split.columns, stream = column / points, p = column % points;
      double x = 0;
      if (stream == 0 && p < here)
        x = read(job.x, first + p, f);
      else if (stream >= 1 && stream <= job.streams.directions && job.streams.order >= 1)
        x = job.directions[static_cast<std::int64_t>(stream - 1) * inputs + f];
      desk.now(f, column) = static_cast<T>(x);
    }
    __syncthreads();
    pass<T, kProducts>(job.net, split, points, desk, [&](T* neuron) {
      const auto z = [&](int j) { return V(neuron[j * points]); };
      const auto put = [&](int j, V value) { neuron[j * points] = plain(value); };
      with_activation(job.net.activation, [&]<class A>(A) {
        job.streams.order == 0 ? push_jets<A, 0, V>(job.streams, z, put) : push_jets<A, 3, V>(job.streams, z, put);
      });
    });
    for (int k = static_cast<int>(threadIdx.x); k < streams * points; k += Split::kThreads) {
      const int p = k % points;
      if (p < here) write_stream(job, k / points, first + p, static_cast<double>(desk.now(0, k)));
    }
    __syncthreads();
  }
}

// ---------------------------------------------------------------------------------------------- prices

__device__ inline Contract<double> contract_at(const PriceLaunch& job, std::int64_t row) {
  const auto in = [&](int k) { return cuda::read_row(job.in[k], job.frame, row); };
  Contract<double> c{in(0), in(1), in(2), in(3), in(4), in(5), in(6), 0.0, 0.0};
  c.locate();
  return c;
}

template <class T, Products kProducts>
__global__ void __launch_bounds__(Split::kThreads) price_kernel(PriceLaunch job, Split split) {
  using V = typename Element<T>::V;
  WQ_DYNAMIC_SHARED(T, shared);
  const Wanted& wanted = job.wanted;
  const int streams = wanted.count(), points = split.columns / streams, widest = job.net.widest();
  T* const wide = of_block<T>(job.memory, wide_numbers(job.net, split));
  const std::int64_t tiles = (job.frame.rows + points - 1) / points;
  // A thread takes a point; another warp does it in every block, since a warp keeps its share of the processor.
  const int lead = (static_cast<int>(threadIdx.x) + static_cast<int>(blockIdx.x) * cuda::kWarp) % Split::kThreads;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const std::int64_t first = tile * points;
    const int here = static_cast<int>(job.frame.rows - first < points ? job.frame.rows - first : points);
    Desk<T> desk(split, shared, wide, widest);
    for (int p = lead; p < points; p += Split::kThreads) {
      const Contract<double> c = contract_at(job, first + (p < here ? p : 0));
      const Spread<double> s(c.v);
      const Local<double> layer = layer_at(c.k, s);
      for (int f = 0; f < job.surface.features; ++f) {
        const Local<double> x = feature_at(job.surface.feature[f], c.k, s, layer);
        const auto put = [&](int j, double value) { desk.now(f, j * points + p) = static_cast<T>(value); };
        put(0, x.value);
        if (!wanted.greeks) continue;
        put(1, x.k);
        put(2, x.v);
        put(3, x.kk);
        if (wanted.cross) put(wanted.at_kv(), x.kv);
        if (wanted.volga) put(wanted.at_vv(), x.vv);
        if (wanted.speed) put(wanted.at_kkk(), x.kkk);
      }
    }
    __syncthreads();
    pass<T, kProducts>(job.net, split, points, desk, [&](T* neuron) {
      with_activation(job.net.activation, [&]<class A>(A) {
        push_wanted<A, V>(
            wanted, [&](int j) { return V(neuron[j * points]); },
            [&](int j, V value) { neuron[j * points] = plain(value); });
      });
    });
    for (int p = lead; p < here; p += Split::kThreads) {
      const Contract<double> c = contract_at(job, first + p);
      const Spread<double> s(c.v);
      const auto n = [&](int j) { return static_cast<double>(desk.now(0, j * points + p)); };
      Local<double> of_net{n(0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
      if (wanted.greeks) {
        of_net.k = n(1);
        of_net.v = n(2);
        of_net.kk = n(3);
        if (wanted.cross) of_net.kv = n(wanted.at_kv());
        if (wanted.volga) of_net.vv = n(wanted.at_vv());
        if (wanted.speed) of_net.kkk = n(wanted.at_kkk());
      }
      const double forward = exp_of(c.k), status = c.status(job.surface);
      const bool refused = status == double(kInvalid) || (!job.extrapolate && status > 0.0);
      c.results(
          with_ansatz(job.surface.ansatz, forward, c.k, s, of_net), forward,
          [&](int k) { return job.out[k].data != nullptr; },
          [&](int k, double result) {
            cuda::write_row(job.out[k], job.frame, first + p, refused ? __builtin_nan("") : result);
          });
      cuda::write_row(job.out[kStatus], job.frame, first + p, status);
    }
    __syncthreads();
  }
}

// ---------------------------------------------------------------------------------------------- loss and gradient

template <class T>
__device__ const Collocation<T>& collocation_of(const LossLaunch& job) {
  if constexpr (sizeof(T) == sizeof(double))
    return job.job;
  else
    return job.job_f32;
}

/// gradient[o][i] = sum over columns of g[o] h[i], or added to it; a thread has R x C of them. `h` lies in memory.
template <class T, int R, int C>
__device__ void add_products(Panel<T> g, Panel<T> h, int outputs, int inputs, int columns, T* slab, bool begin,
                             T* gradient) {
  using V = typename Element<T>::V;
  constexpr int kAcross = 16, kDown = Split::kThreads / kAcross, kWide = kAcross * C, kPitch = kWide + kGap<T>;
  const int thread = static_cast<int>(threadIdx.x), down = thread / kAcross, place = thread % kAcross;
  for (int first_o = 0; first_o < outputs; first_o += kDown * R)
    for (int first_i = 0; first_i < inputs; first_i += kWide) {
      T sums[R * C];
      WQ_UNROLLED
      for (int k = 0; k < R * C; ++k) sums[k] = T(0);
      for (int from = 0; from < columns; from += Split::kDepth) {
        __syncthreads();
        for (int k = thread; k < Split::kDepth * kWide; k += Split::kThreads) {
          const int column = k % Split::kDepth, i = k / Split::kDepth;
          const bool there = from + column < columns && first_i + i < inputs;
          slab[column * kPitch + i] = there ? h(first_i + i, from + column) : T(0);
        }
        __syncthreads();
        const int depth = columns - from < Split::kDepth ? columns - from : Split::kDepth;
        for (int column = 0; column < depth; ++column) {
          T w[R], x[C];
          WQ_UNROLLED
          for (int r = 0; r < R; ++r) {
            const int o = first_o + down + r * kDown;
            w[r] = o < outputs ? g(o, from + column) : T(0);
          }
          WQ_UNROLLED
          for (int c = 0; c < C; ++c) x[c] = slab[column * kPitch + place + c * kAcross];
          WQ_UNROLLED
          for (int r = 0; r < R; ++r) WQ_UNROLLED
          for (int c = 0; c < C; ++c) sums[r * C + c] = plain(mul_add(V(w[r]), V(x[c]), V(sums[r * C + c])));
        }
      }
      WQ_UNROLLED
      for (int r = 0; r < R; ++r) WQ_UNROLLED
      for (int c = 0; c < C; ++c) {
        const int o = first_o + down + r * kDown, i = first_i + place + c * kAcross;
        if (o >= outputs || i >= inputs) continue;
        T& sum = gradient[static_cast<std::int64_t>(o) * inputs + i];
        sum = begin ? sums[r * C + c] : sum + sums[r * C + c];
      }
    }
}

template <int D, class V>
struct Walk {
  template <class T>
  __device__ static Collapsed<V, D> load(const T* p, int step) {
    Collapsed<V, D> c;
    c.value = V(p[0]);
    for (int m = 0; m < D; ++m) c.along[m] = V(p[(1 + m) * step]);
    c.whole = V(p[(1 + D) * step]);
    return c;
  }
  template <class T>
  __device__ static void store(T* p, int step, const Collapsed<V, D>& c) {
    p[0] = plain(c.value);
    for (int m = 0; m < D; ++m) p[(1 + m) * step] = plain(c.along[m]);
    p[(1 + D) * step] = plain(c.whole);
  }
};

template <class T, int D>
__global__ void __launch_bounds__(Split::kThreads) loss_kernel(LossLaunch job, Split split) {
  using V = typename Element<T>::V;
  using Streamed = Walk<D, V>;
  constexpr int kStreams = D + 2;
  constexpr Products kFull = Products::full;
  WQ_DYNAMIC_SHARED(T, shared);
  WQ_SHARED(T, shares, Split::kThreads);
  const Placed& net = job.net;
  const Collocation<T>& of = collocation_of<T>(job);
  const LossRoom room(net, split, kStreams, job.parameters);
  const int points = room.points, thread = static_cast<int>(threadIdx.x), widest = net.widest();
  T* const memory = of_block<T>(job.memory, room.all);
  T* const sums = memory + room.sums;
  const std::int64_t tiles = (of.points + points - 1) / points;
  const bool wants_gradient = job.gradient != nullptr;
  T total(0);
  bool begin = true;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, begin = false) {
    const std::int64_t first = tile * points;
    const int here = static_cast<int>(of.points - first < points ? of.points - first : points);
    Desk<T> desk(split, shared, memory + room.wide, widest);
    const auto kept = [&](T* at) { return Panel<T>{at, split.columns}; };
    T *inputs = memory + room.inputs, *before = memory + room.before, *curves = memory + room.curves;
    for (int k = thread; k < net.widths[0] * split.columns; k += Split::kThreads) {
      const int f = k / split.columns, column = k % split.columns, stream = column / points, p = column % points;
      const bool there = stream < kStreams && p < here;
      const T x =
          there ? of.features[(static_cast<std::int64_t>(f) * kStreams + stream) * of.points + first + p] : T(0);
      desk.now(f, column) = kept(inputs)(f, column) = x;
    }
    __syncthreads();
    const T* weights = static_cast<const T*>(net.parameters);
    for (int l = 0; l < net.layers; ++l) {
      const int in = net.widths[l], out = net.widths[l + 1];
      multiply<T, kFull, true>(split, weights, weights + static_cast<std::int64_t>(in) * out, points, in, out, desk.now,
                               desk.next, desk.slab);
      desk.turn();
      if (l + 1 == net.layers) break;
      weights += numbers_of(net, l);
      inputs += static_cast<std::int64_t>(in) * split.columns;
      with_activation(net.activation, [&]<class A>(A) {
        for (int k = thread; k < out * points; k += Split::kThreads) {
          const int o = k / points, p = k % points;
          const auto below = Streamed::load(&desk.now(o, p), points);
          const Curve<V> y = A::template at<3>(below.value);
          const auto above = push_collapsed(below, y);
          Streamed::store(&kept(before)(o, p), points, below);
          curves[3 * k] = plain(y.f1);
          curves[3 * k + 1] = plain(y.f2);
          curves[3 * k + 2] = plain(y.f3);
          Streamed::store(&desk.now(o, p), points, above);
          Streamed::store(&kept(inputs)(o, p), points, above);
        }
      });
      before += static_cast<std::int64_t>(out) * split.columns;
      curves += static_cast<std::int64_t>(3) * out * points;
      __syncthreads();
    }
    for (int p = thread; p < points; p += Split::kThreads) {
      const auto below = Streamed::load(&desk.now(0, p), points);
      auto n = below;
      Curve<V> y{};
      if (of.positive) {
        y = Softplus::at<3>(below.value);
        n = push_collapsed(below, y);
      }
      Collapsed<V, D> slopes;
      V share;
      // Columns without a point count for nothing.
      const auto at = [&](const T* source) { return V(source[first + (p < here ? p : 0)]); };
      const V r = residual<D>(of, n, at, share, slopes);
      if (of.positive) slopes = pull_collapsed(below, y, slopes);
      if (p < here) {
        total = total + plain(share);
        if (job.residuals != nullptr) static_cast<T*>(job.residuals)[first + p] = plain(r);
      } else {
        slopes = {};
      }
      Streamed::store(&desk.now(0, p), points, slopes);
    }
    __syncthreads();
    if (!wants_gradient) continue;
    std::int64_t at = job.parameters;
    for (int l = net.layers - 1; l >= 0; --l) {
      const int in = net.widths[l], out = net.widths[l + 1], columns = kStreams * points;
      at -= numbers_of(net, l);
      const Panel<T> h = kept(inputs);
      const int larger = in > out ? in : out;
      if (larger > 32)
        add_products<T, 8, 4>(desk.now, h, out, in, columns, desk.slab, begin, sums + at);
      else if (larger > 16)
        add_products<T, 4, 2>(desk.now, h, out, in, columns, desk.slab, begin, sums + at);
      else
        add_products<T, 2, 1>(desk.now, h, out, in, columns, desk.slab, begin, sums + at);
      T* const bias = sums + at + static_cast<std::int64_t>(out) * in;
      for (int o = thread; o < out; o += Split::kThreads) {
        T sum(0);
        for (int p = 0; p < points; ++p) sum = sum + desk.now(o, p);
        bias[o] = begin ? sum : bias[o] + sum;
      }
      if (l == 0) break;
      multiply<T, kFull, false>(split, weights, nullptr, 0, out, in, desk.now, desk.next, desk.slab);
      desk.turn();
      weights -= numbers_of(net, l - 1);
      inputs -= static_cast<std::int64_t>(net.widths[l - 1]) * split.columns;
      before -= static_cast<std::int64_t>(in) * split.columns;
      curves -= static_cast<std::int64_t>(3) * in * points;
      for (int k = thread; k < in * points; k += Split::kThreads) {
        const int o = k / points, p = k % points;
        const Curve<V> y{V(0.0), V(curves[3 * k]), V(curves[3 * k + 1]), V(curves[3 * k + 2])};
        const auto g = Streamed::load(&desk.now(o, p), points);
        Streamed::store(&desk.now(o, p), points, pull_collapsed(Streamed::load(&kept(before)(o, p), points), y, g));
      }
      __syncthreads();
    }
  }
  shares[thread] = total;
  __syncthreads();
  if (thread > 0) return;
  T sum(0);
  for (int k = 0; k < Split::kThreads; ++k) sum = sum + shares[k];
  sums[job.parameters] = sum;
}

/// The sums of blocks, in their order; the last number is the loss.
template <class T>
__global__ void loss_sum_kernel(LossLaunch job, std::int64_t all, std::int64_t sums) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i > job.parameters || (i < job.parameters && job.gradient == nullptr)) return;
  const T* at = reinterpret_cast<const T*>(job.memory) + sums + i;
  T sum(0);
  for (int block = 0; block < job.blocks; ++block, at += all) sum = sum + *at;
  (i == job.parameters ? static_cast<T*>(job.loss)[0] : static_cast<T*>(job.gradient)[i]) = sum;
}

// ---------------------------------------------------------------------------------------------- launches

/// f<T, products>() for a network.
template <class F>
Fault with_kernel(const Placed& net, F f) {
  if (!net.in_f32) return f.template operator()<double, Products::full>();
  switch (net.products) {
  case Products::full:
    return f.template operator()<float, Products::full>();
  case Products::tf32x3:
    return f.template operator()<float, Products::tf32x3>();
  case Products::bf16x6:
    return f.template operator()<float, Products::bf16x6>();
  case Products::tf32:
    return f.template operator()<float, Products::tf32>();
  case Products::bf16:
    return f.template operator()<float, Products::bf16>();
  }
  return Fault::invalid;
}

template <class T>
Fault launch_loss(const LossLaunch& job, cuda::Queue queue) {
  const Split split(job.net);
  const int directions = sizeof(T) == sizeof(double) ? job.job.directions : job.job_f32.directions;
  const auto put = [&](auto kernel) {
    return cuda::launch(kernel, dim3(static_cast<unsigned>(job.blocks)), dim3(Split::kThreads), shared_bytes<T>(split),
                        queue, job, split);
  };
  const Fault fault = directions == 1   ? put(loss_kernel<T, 1>)
                      : directions == 2 ? put(loss_kernel<T, 2>)
                                        : put(loss_kernel<T, 3>);
  if (fault != Fault::none) return fault;
  const LossRoom room(job.net, split, directions + 2, job.parameters);
  constexpr int kThreads = 128;
  return cuda::launch(loss_sum_kernel<T>, dim3(static_cast<unsigned>(job.parameters / kThreads + 1)), dim3(kThreads), 0,
                      queue, job, room.all, room.sums);
}

}  // namespace

/// Put a network's work into a stream.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  const auto put = [&](auto kernel, const auto& job, std::size_t bytes, const Split& split) {
    return cuda::launch(kernel, dim3(static_cast<unsigned>(job.blocks)), dim3(Split::kThreads), bytes, queue, job,
                        split);
  };
  if (launch.jets != nullptr)
    return with_kernel(launch.jets->net, [&]<class T, Products kProducts>() {
      const Split split(launch.jets->net);
      return put(jet_kernel<T, kProducts>, *launch.jets, shared_bytes<T>(split), split);
    });
  if (launch.prices != nullptr)
    return with_kernel(launch.prices->net, [&]<class T, Products kProducts>() {
      const Split split(launch.prices->net);
      return put(price_kernel<T, kProducts>, *launch.prices, shared_bytes<T>(split), split);
    });
  return launch.loss->net.in_f32 ? launch_loss<float>(*launch.loss, queue) : launch_loss<double>(*launch.loss, queue);
}

}  // namespace wq::pinn

#undef WQ_UNROLLED
