// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "warpquant/pinn/passes.h"
#include "warpquant/pinn/residual.h"

/// The loss of residuals and its gradient in the weights: derivatives forwards, reverse mode over them.
namespace wq::pinn::inline WQ_LEVEL {

/// Sums of neighbouring blocks of `kStep` lanes, those of a and of b in turn.
template <int kStep, int W, int... kLane>
WQ_HD Pack<W> fold_lanes(Pack<W> a, Pack<W> b, std::integer_sequence<int, kLane...>) {
  const auto even =
      __builtin_shufflevector(a.v, b.v, (kLane / (2 * kStep) * 2 * kStep + kLane % kStep + kLane / kStep % 2 * W)...);
  const auto odd = __builtin_shufflevector(
      a.v, b.v, (kLane / (2 * kStep) * 2 * kStep + kStep + kLane % kStep + kLane / kStep % 2 * W)...);
  return even + odd;
}

/// Lane k is the sum of the lanes of m[k], for `kCount` of them; with fewer than there are lanes, blocks of so many
/// lanes have parts of the sums.
template <int kCount, int W>
WQ_HD Pack<W> sums_of(const Pack<W>* m) {
  if constexpr (kCount == 1)
    return m[0];
  else
    return fold_lanes<kCount / 2>(sums_of<kCount / 2>(m), sums_of<kCount / 2>(m + kCount / 2),
                                  std::make_integer_sequence<int, W>{});
}

WQ_HD double sum_of(Pack<kLanes> x) {
  double sum = 0;
  for (int k = 0; k < kLanes; ++k) sum += lane(x, k);
  return sum;
}

/// gradient[o][i] += sum over columns of g[o] h[i]; rows of g and h may be read up to a whole block.
inline void add_products(const double* g, const double* h, int outputs, int inputs, int columns, double* gradient) {
  using V = Pack<kLanes>;
  constexpr int W = kLanes, I = W < 4 ? W : 4, O = W == 8 ? 4 : 2;  // O x I registers
  constexpr int kRows = W / I;                                      // neurons whose sums fit a pack
  constexpr int kPanel = 16;  // rows of h that stay in the first-level cache, while those of g pass
  const std::int64_t step = static_cast<std::int64_t>(columns) * W;
  const auto block = [&](int o, int i) __attribute__((always_inline)) {
    V sums[O * I];
#pragma GCC unroll 16
    for (int k = 0; k < O * I; ++k) sums[k] = V(0.0);
    for (int c = 0; c < columns; ++c) {
      V x[I];
#pragma GCC unroll 4
      for (int k = 0; k < I; ++k) x[k] = V::load(h + (i + k) * step + c * W);
#pragma GCC unroll 4
      for (int r = 0; r < O; ++r) {
        const V w = V::load(g + (o + r) * step + c * W);
#pragma GCC unroll 4
        for (int k = 0; k < I; ++k) sums[r * I + k] = mul_add(w, x[k], sums[r * I + k]);
      }
    }
    const bool whole = o + O <= outputs && i + I <= inputs;
#pragma GCC unroll 4
    for (int group = 0; group < O / kRows; ++group) {
      double total[W];
      sums_of<W>(sums + group * W).store(total);
      double* const at = gradient + static_cast<std::int64_t>(o + group * kRows) * inputs + i;
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        if (whole) {
#pragma GCC unroll 4
          for (int k = 0; k < I; ++k) at[r * inputs + k] += total[r * I + k];
        } else if (o + group * kRows + r < outputs) {
          for (int k = 0; k < I && i + k < inputs; ++k) at[r * inputs + k] += total[r * I + k];
        }
      }
    }
  };
  for (int panel = 0; panel < inputs; panel += kPanel)
    for (int o = 0; o < outputs; o += O)
      for (int i = panel; i < panel + kPanel && i < inputs; i += I) block(o, i);
}

template <int D>
WQ_HD Collapsed<Pack<kLanes>, D> load_collapsed(const double* p, std::int64_t step) {
  Collapsed<Pack<kLanes>, D> c;
  c.value = Pack<kLanes>::load(p);
  for (int m = 0; m < D; ++m) c.along[m] = Pack<kLanes>::load(p + (1 + m) * step);
  c.whole = Pack<kLanes>::load(p + (1 + D) * step);
  return c;
}
template <int D>
WQ_HD void store_collapsed(double* p, std::int64_t step, const Collapsed<Pack<kLanes>, D>& c) {
  c.value.store(p);
  for (int m = 0; m < D; ++m) c.along[m].store(p + (1 + m) * step);
  c.whole.store(p + (1 + D) * step);
}

/// Packs of points in a tile: as many as keep its numbers in the second-level cache, for any number of threads.
inline int packs_of(const Net<double>& net, int streams) {
  const std::int64_t neuron = (3 * streams + 3) * kLanes * 8;
  std::int64_t packs = (std::int64_t{1024} << 10) / (neuron * (hidden(net) + net.widest));
  return static_cast<int>(packs < 1 ? 1 : packs > 8 ? 8 : packs);
}

template <class A, int D>
double loss(const Net<double>& net, const Collocation<double>& job, std::int64_t from, std::int64_t to,
            double* residuals, double* gradient) {
  using V = Pack<kLanes>;
  constexpr int W = kLanes, kStreams = D + 2;
  const int packs = packs_of(net, kStreams), columns = kStreams * packs, layers = net.layers;
  const std::int64_t tile = packs * W, row = static_cast<std::int64_t>(columns) * W;
  const std::int64_t neurons = hidden(net) + net.widest;
  constexpr std::int64_t kBlockOf = kBlock<double>;
  Room room(2 * Room::lines<double>((neurons + net.widest) * row) + Room::lines<double>(neurons * 3 * tile) +
            2 * Room::lines<double>(net.widest * row));
  // Inputs of every layer, and what activations were applied to, one layer after the other.
  double *const inputs = room.take<double>((neurons + net.widest) * row), *const before = room.take<double>(
                                                                              (neurons + net.widest) * row);
  double* const curves = room.take<double>(neurons * 3 * tile);  // f', f'', f'''
  double *g = room.take<double>(net.widest * row), *g_next = room.take<double>(net.widest * row);
  const auto rounded = [](std::int64_t n) { return (n + kBlockOf - 1) / kBlockOf * kBlockOf; };
  double total = 0;
  for (std::int64_t first = from; first < to; first += tile) {
    const std::int64_t points = to - first < tile ? to - first : tile;
    // Numbers of pack p of a row; those of points that are not there are 0, and so is their weight.
    const auto read = [&](const double* source, int p) {
      const std::int64_t left = points - p * W;
      if (left >= W) return V::load(source + first + p * W);
      V some(0.0);
      for (int k = 0; k < left; ++k) set_lane(some, k, source[first + p * W + k]);
      return some;
    };
    for (int f = 0; f < net.inputs(); ++f)
      for (int j = 0; j < kStreams; ++j)
        for (int p = 0; p < packs; ++p)
          read(job.features + (static_cast<std::int64_t>(f) * kStreams + j) * job.points, p)
              .store(inputs + f * row + (j * packs + p) * W);
    double *h = inputs, *z = before, *curve = curves;
    for (int l = 0; l < layers; ++l) {
      const Layer<double>& layer = net.layer[l];
      double* const next = h + rounded(layer.inputs) * row;
      multiply<double>(layer.weights, layer.bias, packs, layer.inputs, layer.outputs, h, z, columns);
      if (l + 1 == layers) break;
      for (int o = 0; o < layer.outputs; ++o)
        for (int p = 0; p < packs; ++p, curve += 3 * W) {
          const auto below = load_collapsed<D>(z + o * row + p * W, tile);
          const Curve<V> y = A::template at<3>(below.value);
          y.f1.store(curve);
          y.f2.store(curve + W);
          y.f3.store(curve + 2 * W);
          store_collapsed<D>(next + o * row + p * W, tile, push_collapsed(below, y));
        }
      z += rounded(layer.outputs) * row;
      h = next;
    }
    V shares(0.0);
    for (int p = 0; p < packs; ++p) {
      const auto below = load_collapsed<D>(z + p * W, tile);
      auto n = below;
      Curve<V> y{};
      if (job.positive) {
        y = Softplus::at<3>(below.value);
        n = push_collapsed(below, y);
      }
      V share;
      Collapsed<V, D> slopes;
      const V r = residual<D>(job, n, [&](const double* source) { return read(source, p); }, share, slopes);
      // A lane without a point has the weight 0, but its residual may be anything.
      shares = shares + (points - p * W >= W ? share : keep_if(gt(read(job.loss_weights, p), V(0.0)), share));
      if (residuals != nullptr)
        for (int k = 0; k < W && p * W + k < points; ++k) residuals[first + p * W + k] = lane(r, k);
      if (job.positive) slopes = pull_collapsed(below, y, slopes);
      store_collapsed<D>(g + p * W, tile, slopes);
    }
    total += sum_of(shares);
    if (gradient == nullptr) continue;
    std::int64_t at = 0;
    for (int l = 0; l < layers; ++l) at += static_cast<std::int64_t>(net.layer[l].outputs) * (net.layer[l].inputs + 1);
    for (int l = layers - 1; l >= 0; --l) {
      const Layer<double>& layer = net.layer[l];
      at -= static_cast<std::int64_t>(layer.outputs) * (layer.inputs + 1);
      add_products(g, h, layer.outputs, layer.inputs, columns, gradient + at);
      double* const bias = gradient + at + static_cast<std::int64_t>(layer.outputs) * layer.inputs;
      for (int o = 0; o < layer.outputs; ++o) {
        V sum(0.0);
        for (int p = 0; p < packs; ++p) sum = sum + V::load(g + o * row + p * W);
        bias[o] += sum_of(sum);
      }
      if (l == 0) break;
      multiply<double>(layer.transposed, nullptr, 0, layer.outputs, layer.inputs, g, g_next, columns);
      exchange(g, g_next);
      h -= rounded(net.layer[l - 1].inputs) * row;
      z -= rounded(layer.inputs) * row;
      curve -= static_cast<std::int64_t>(layer.inputs) * packs * 3 * W;
      const double* c = curve;
      for (int o = 0; o < layer.inputs; ++o)
        for (int p = 0; p < packs; ++p, c += 3 * W) {
          const Curve<V> y{V(0.0), V::load(c), V::load(c + W), V::load(c + 2 * W)};
          store_collapsed<D>(g + o * row + p * W, tile,
                             pull_collapsed(load_collapsed<D>(z + o * row + p * W, tile), y,
                                            load_collapsed<D>(g + o * row + p * W, tile)));
        }
    }
  }
  return total;
}

}  // namespace wq::pinn::inline WQ_LEVEL
