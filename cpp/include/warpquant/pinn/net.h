// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/rows.h"
#include "warpquant/pinn/activation.h"

/// Fully connected networks as the kernels see them.
namespace wq::pinn {

/// Outputs whose weights lie side by side: a register of them for the processor's widest level.
template <class T>
inline constexpr int kBlock = static_cast<int>(64 / sizeof(T));

/// z = W h + bias. Weights are in blocks: weight(o, i) is at (o / kBlock * inputs + i) * kBlock + o % kBlock, outputs
/// filled up to whole blocks with zeros. One such order serves points in lanes and neurons in lanes.
template <class T>
struct Layer {
  int inputs, outputs;
  const T* weights;
  const T* bias;        // filled up with zeros
  const T* transposed;  // the same order for the transposed matrix, whose outputs are the inputs
};

template <class T>
struct Net {
  Activation activation;
  int layers;  // with the last, which is linear and has one output
  const Layer<T>* layer;
  int widest;  // most inputs or outputs of a layer, in whole blocks

  int inputs() const { return layer[0].inputs; }
};

/// Points that are computed at a time. Rows of numbers of such points are this long in all that kernels are handed.
inline constexpr int kPoints = 128;

/// Which derivatives of a network along up to `directions` directions: streams of numbers, in the order value, first
/// derivatives, second derivatives 11, 12, .., 22, .., and third ones 111, 222, ...
struct Streams {
  int directions = 0, order = 0;

  WQ_HD int seconds() const { return order >= 2 ? directions * (directions + 1) / 2 : 0; }
  WQ_HD int thirds() const { return order >= 3 ? directions : 0; }
  WQ_HD int count() const { return 1 + (order >= 1 ? directions : 0) + seconds() + thirds(); }
  /// Where the second derivative in p <= q is.
  WQ_HD int second(int p, int q) const { return 1 + directions + p * (2 * directions - p + 1) / 2 + q - p; }
  WQ_HD int third(int p) const { return 1 + directions + seconds() + p; }
};

/// Derivatives in k and v that prices need: value; with Greeks k, v, kk; and those of kv, vv, kkk that are wanted.
struct Wanted {
  bool greeks = false, cross = false, volga = false, speed = false;

  WQ_HD int count() const { return greeks ? 4 + (cross ? 1 : 0) + (volga ? 1 : 0) + (speed ? 1 : 0) : 1; }
  WQ_HD int at_kv() const { return 4; }
  WQ_HD int at_vv() const { return cross ? 5 : 4; }
  WQ_HD int at_kkk() const { return count() - 1; }
};

inline constexpr int kMostDirections = 3;

/// Residuals r_i = sum_j a[j][i] n[j][i] + b[i] of the streams n = (value, derivatives along d directions, one linear
/// second-order operator), and the loss sum_i w[i] r_i^2.
template <class T>
struct Collocation {
  int directions;         // d; there are d + 2 streams
  std::int64_t points;    // rows of numbers of points are this long
  const T* features;      // [inputs][d + 2][points]
  const T* coefficients;  // [d + 2][points]
  const T* constants;     // [points]
  const T* loss_weights;  // [points]
  bool positive = false;  // n is that of ln(1 + e^N) in the place of the network N
  /// Two rows, c and e, or null: of a free boundary, r = p + q - sqrt(p^2 + q^2 + smoothing^2) with p as above and
  /// q = c n_0 + e (Fischer and Burmeister).
  const T* obstacle = nullptr;
  double smoothing = 0;
};

struct View;  // surface.h

struct Kernels {
  /// y[i] from x[feature][i], i < points <= kPoints.
  void (*value)(const Net<double>&, const double* x, int points, double* y);
  void (*value_f32)(const Net<float>&, const float* x, int points, float* y);
  /// y[stream][i] from x[feature][stream][i].
  void (*jets)(const Net<double>&, Streams, const double* x, int points, double* y);
  void (*jets_f32)(const Net<float>&, Streams, const float* x, int points, float* y);
  /// Of points [from, to): the loss; residuals; the gradient, which is added to, in weights and biases layer by layer,
  /// weights as [out][in]. Null: not wanted.
  double (*loss)(const Net<double>&, const Collocation<double>&, std::int64_t from, std::int64_t to, double* residuals,
                 double* gradient);
  /// The operation on rows, of the first `points` rows of a tile.
  void (*prices)(const View&, const rows::Tile&, int points, bool in_f32, bool extrapolate);
};

}  // namespace wq::pinn
