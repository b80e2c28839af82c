// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "warpquant/core/float_lanes.h"
#include "warpquant/pinn/jets.h"

namespace wq {
std::byte* thread_scratch(std::size_t bytes);
}

/// Networks on the CPU: a tile of points goes through all layers before the next, points in the lanes. A few points
/// have neurons in the lanes. Either way a neuron's sum begins with its bias and takes its inputs in their order, so
/// the bits are the same.
namespace wq::pinn::inline WQ_LEVEL {

template <class T>
struct Numbers;
template <>
struct Numbers<double> {
  using V = Pack<kLanes>;
  static constexpr int kWidth = kLanes;
};
template <>
struct Numbers<float> {
  using V = FloatPack<kFloatLanes>;
  static constexpr int kWidth = kFloatLanes;
};
template <class T>
using Side = typename Numbers<T>::V;

template <class T>
WQ_HD void exchange(T*& a, T*& b) {
  T* const kept = a;
  a = b;
  b = kept;
}

/// Neurons that share the loads of C columns, by the number of registers: 32 or 16.
constexpr int rows_for(int columns) {
  constexpr bool kMany = kLanes == 8;
  return columns <= (kMany ? 3 : 2) ? (kMany ? 8 : 4) : (kMany ? 4 : 2);
}

/// z = W h for R neurons and C columns of packs; `step`: numbers from one input, or neuron, to the next.
template <class T, int R, int C>
WQ_HD void multiply_block(const T* weights, const T* bias, int biased, int inputs, const T* h, T* z,
                          std::int64_t step) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  V sums[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sums[r][c] = V(c < biased ? bias[r] : T(0));
  for (int i = 0; i < inputs; ++i) {
    V x[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) x[c] = V::load(h + i * step + c * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V w(weights[i * kBlock<T> + r]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sums[r][c] = mul_add(w, x[c], sums[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sums[r][c].store(z + r * step + c * W);
}

template <class T, int C>
void multiply_columns(const T* weights, const T* bias, int biased, int inputs, int outputs, const T* h, T* z,
                      std::int64_t step) {
  if (outputs == 1) return multiply_block<T, 1, C>(weights, bias, biased, inputs, h, z, step);
  constexpr int R = rows_for(C);
  for (int o = 0; o < outputs; o += R)
    multiply_block<T, R, C>(weights + static_cast<std::int64_t>(o / kBlock<T>) * inputs * kBlock<T> + o % kBlock<T>,
                            biased > 0 ? bias + o : nullptr, biased, inputs, h, z + o * step, step);
}

/// z = W h + bias, the bias in the first `biased` columns alone; rows of z up to a whole block are written.
template <class T>
void multiply(const T* weights, const T* bias, int biased, int inputs, int outputs, const T* h, T* z, int columns) {
  constexpr int W = Numbers<T>::kWidth;
  const std::int64_t step = static_cast<std::int64_t>(columns) * W;
  int c = 0;
  const auto next = [&](auto count) {
    multiply_columns<T, count()>(weights, bias, biased - c, inputs, outputs, h + c * W, z + c * W, step);
    c += count();
  };
  while (columns - c >= 4 && columns - c != 5 && columns - c != 6) next(std::integral_constant<int, 4>{});
  if (columns - c >= 5) next(std::integral_constant<int, 3>{});  // and then 2 or 3 more, rather than 1 or 2
  if (columns - c == 3) return next(std::integral_constant<int, 3>{});
  if (columns - c == 2) return next(std::integral_constant<int, 2>{});
  if (columns - c == 1) return next(std::integral_constant<int, 1>{});
}

/// The same with neurons in the lanes: columns are single numbers, one after the other `stride` apart.
template <class T, int G, int C>
WQ_HD void multiply_neurons(const T* weights, const T* bias, int inputs, const T* h, T* z, int first, int stride) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  V sums[G][C];
  const T* at[G];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) {
    const int o = first + g * W;
    at[g] = weights + static_cast<std::int64_t>(o / kBlock<T>) * inputs * kBlock<T> + o % kBlock<T>;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sums[g][c] = c == 0 && bias != nullptr ? V::load(bias + o) : V(T(0));
  }
  for (int i = 0; i < inputs; ++i)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) {
      const V w = V::load(at[g] + i * kBlock<T>);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sums[g][c] = mul_add(w, V(h[c * stride + i]), sums[g][c]);
    }
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sums[g][c].store(z + c * stride + first + g * W);
}

template <class T, int C>
void multiply_few(const T* weights, const T* bias, int inputs, int outputs, const T* h, T* z, int stride) {
  constexpr int W = Numbers<T>::kWidth, kMost = C <= 2 ? 8 : C <= 5 ? 4 : 2;
  int o = 0;
  for (; outputs - o > (kMost - 1) * W; o += kMost * W)
    multiply_neurons<T, kMost, C>(weights, bias, inputs, h, z, o, stride);
  if constexpr (kMost > 4)
    for (; outputs - o > 3 * W; o += 4 * W) multiply_neurons<T, 4, C>(weights, bias, inputs, h, z, o, stride);
  if constexpr (kMost > 2)
    for (; outputs - o > W; o += 2 * W) multiply_neurons<T, 2, C>(weights, bias, inputs, h, z, o, stride);
  for (; outputs > o; o += W) multiply_neurons<T, 1, C>(weights, bias, inputs, h, z, o, stride);
}

/// Memory of the thread, handed out in lines.
class Room {
 public:
  explicit Room(std::size_t bytes) : at_(thread_scratch(bytes)) {}
  template <class T>
  T* take(std::int64_t numbers) {
    T* const p = reinterpret_cast<T*>(at_);
    at_ += lines<T>(numbers);
    return p;
  }
  template <class T>
  static std::size_t lines(std::int64_t numbers) {
    return (static_cast<std::size_t>(numbers) * sizeof(T) + 63) / 64 * 64;
  }

 private:
  std::byte* at_;
};

inline constexpr int kMostPacks = 4;  // of points, in a tile of values

/// Whether so few points that neurons go into the lanes.
template <class T>
constexpr bool few(int points) {
  return points <= Numbers<T>::kWidth / 2;
}

template <class T, class A>
void values_few(const Net<T>& net, const T* x, int points, T* y) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  Room room(2 * Room::lines<T>(net.widest));
  T *h = room.take<T>(net.widest), *z = room.take<T>(net.widest);
  for (int i = 0; i < points; ++i) {
    for (int f = 0; f < net.inputs(); ++f) h[f] = x[f * kPoints + i];
    for (int l = 0; l < net.layers; ++l) {
      const Layer<T>& layer = net.layer[l];
      multiply_few<T, 1>(layer.weights, layer.bias, layer.inputs, layer.outputs, h, z, 0);
      if (l + 1 < net.layers)
        for (int o = 0; o < layer.outputs; o += W) A::template at<0>(V::load(z + o)).f.store(z + o);
      exchange(h, z);
    }
    y[i] = h[0];
  }
}

template <class T, class A>
void values(const Net<T>& net, const T* x, int points, T* y) {
  if (few<T>(points)) return values_few<T, A>(net, x, points, y);
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  const std::int64_t numbers = static_cast<std::int64_t>(net.widest) * kMostPacks * W;
  Room room(2 * Room::lines<T>(numbers));
  T *h = room.take<T>(numbers), *z = room.take<T>(numbers);
  for (int from = 0, packs; from < points; from += packs * W) {
    packs = (points - from + W - 1) / W;
    packs = packs < kMostPacks ? packs : kMostPacks;
    for (int f = 0; f < net.inputs(); ++f)
      for (int p = 0; p < packs; ++p) V::load(x + f * kPoints + from + p * W).store(h + (f * packs + p) * W);
    for (int l = 0; l < net.layers; ++l) {
      const Layer<T>& layer = net.layer[l];
      multiply<T>(layer.weights, layer.bias, packs, layer.inputs, layer.outputs, h, z, packs);
      if (l + 1 < net.layers)
        for (int k = 0; k < layer.outputs * packs; ++k) A::template at<0>(V::load(z + k * W)).f.store(z + k * W);
      exchange(h, z);
    }
    for (int p = 0; p < packs; ++p) V::load(h + p * W).store(y + from + p * W);
  }
}

template <class T>
std::int64_t hidden(const Net<T>& net) {
  std::int64_t neurons = 0;
  for (int l = 0; l + 1 < net.layers; ++l) neurons += (net.layer[l].outputs + kBlock<T> - 1) / kBlock<T> * kBlock<T>;
  return neurons;
}

/// Streams of a surface, one point after the other.
template <class T, class A, int C>
void surfaces_few(const Net<T>& net, const Wanted& wanted, const T* x, int points, T* y) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  const int stride = net.widest;
  Room room(2 * Room::lines<T>(C * stride));
  T *h = room.take<T>(C * stride), *z = room.take<T>(C * stride);
  for (int i = 0; i < points; ++i) {
    for (int f = 0; f < net.inputs(); ++f)
      for (int j = 0; j < C; ++j) h[j * stride + f] = x[(f * C + j) * kPoints + i];
    for (int l = 0; l < net.layers; ++l) {
      const Layer<T>& layer = net.layer[l];
      multiply_few<T, C>(layer.weights, layer.bias, layer.inputs, layer.outputs, h, z, stride);
      if (l + 1 < net.layers)
        for (int o = 0; o < layer.outputs; o += W)
          push_wanted<A, V>(
              wanted, [&](int j) { return V::load(z + j * stride + o); },
              [&](int j, V value) { value.store(z + j * stride + o); });
      exchange(h, z);
    }
    for (int j = 0; j < C; ++j) y[j * kPoints + i] = h[j * stride];
  }
}

/// y[stream][i] of the streams that `Wanted` orders, with Greeks, from x[feature][stream][i].
template <class T, class A>
void surfaces(const Net<T>& net, const Wanted& wanted, const T* x, int points, T* y) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  const int streams = wanted.count();
  if (few<T>(points)) {
    streams == 4   ? surfaces_few<T, A, 4>(net, wanted, x, points, y)
    : streams == 5 ? surfaces_few<T, A, 5>(net, wanted, x, points, y)
    : streams == 6 ? surfaces_few<T, A, 6>(net, wanted, x, points, y)
                   : surfaces_few<T, A, 7>(net, wanted, x, points, y);
    return;
  }
  const std::int64_t numbers = static_cast<std::int64_t>(net.widest) * streams * W;
  Room room(2 * Room::lines<T>(numbers));
  T *h = room.take<T>(numbers), *z = room.take<T>(numbers);
  for (int from = 0; from < points; from += W) {
    for (int k = 0; k < net.inputs() * streams; ++k) V::load(x + k * kPoints + from).store(h + k * W);
    for (int l = 0; l < net.layers; ++l) {
      const Layer<T>& layer = net.layer[l];
      multiply<T>(layer.weights, layer.bias, 1, layer.inputs, layer.outputs, h, z, streams);
      if (l + 1 < net.layers)
        for (int o = 0; o < layer.outputs; ++o) {
          T* const neuron = z + static_cast<std::int64_t>(o) * streams * W;
          push_wanted<A, V>(
              wanted, [&](int j) { return V::load(neuron + j * W); },
              [&](int j, V value) { value.store(neuron + j * W); });
        }
      exchange(h, z);
    }
    for (int j = 0; j < streams; ++j) V::load(h + j * W).store(y + j * kPoints + from);
  }
}

/// Derivatives forwards, along any directions.
template <class T, class A, int kOrder>
void jets(const Net<T>& net, Streams s, const T* x, int points, T* y) {
  using V = Side<T>;
  constexpr int W = Numbers<T>::kWidth;
  const int streams = s.count();
  const std::int64_t numbers = static_cast<std::int64_t>(net.widest) * streams * kMostPacks * W;
  Room room(2 * Room::lines<T>(numbers));
  T *h = room.take<T>(numbers), *z = room.take<T>(numbers);
  for (int from = 0, packs; from < points; from += packs * W) {
    packs = (points - from + W - 1) / W;
    packs = packs < kMostPacks ? packs : kMostPacks;
    packs = streams > 2 ? 1 : packs;
    const int columns = streams * packs;
    for (int f = 0; f < net.inputs(); ++f)
      for (int j = 0; j < streams; ++j)
        for (int p = 0; p < packs; ++p)
          V::load(x + (f * streams + j) * kPoints + from + p * W).store(h + ((f * streams + j) * packs + p) * W);
    for (int l = 0; l < net.layers; ++l) {
      const Layer<T>& layer = net.layer[l];
      multiply<T>(layer.weights, layer.bias, packs, layer.inputs, layer.outputs, h, z, columns);
      if (l + 1 < net.layers)
        for (int o = 0; o < layer.outputs; ++o)
          for (int p = 0; p < packs; ++p) {
            T* const neuron = z + (static_cast<std::int64_t>(o) * columns + p) * W;
            push_jets<A, kOrder, V>(
                s, [&](int j) { return V::load(neuron + j * packs * W); },
                [&](int j, V value) { value.store(neuron + j * packs * W); });
          }
      exchange(h, z);
    }
    for (int j = 0; j < streams; ++j)
      for (int p = 0; p < packs; ++p) V::load(h + (j * packs + p) * W).store(y + j * kPoints + from + p * W);
  }
}

}  // namespace wq::pinn::inline WQ_LEVEL
