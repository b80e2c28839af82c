// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// What a step of an optimizer is about, for CPU loops and devices alike.
namespace wq::optim {

enum class Kind : std::uint8_t { sgd, adam, rmsprop };

/// Types of parameters and gradients. State is float64 for float64 parameters, else float32.
enum class Number : std::uint8_t { f64, f32, bf16 };

constexpr std::int64_t size_of(Number n) { return n == Number::f64 ? 8 : n == Number::f32 ? 4 : 2; }

inline constexpr int kMostStates = 3;

/// PyTorch's flags of a group of parameters.
struct Settings {
  Kind kind;
  double lr, weight_decay, eps;
  double beta1, beta2;                // Adam
  double alpha, momentum, dampening;  // RMSprop; RMSprop and SGD; SGD
  bool amsgrad, decoupled;            // Adam
  bool centered;                      // RMSprop
  bool nesterov;                      // SGD
  bool maximize;

  /// Which of the states there are: bit k for `state[k]` of a tensor.
  constexpr unsigned states() const {
    switch (kind) {
    case Kind::sgd:
      return momentum != 0.0 ? 0b001 : 0b000;
    case Kind::adam:
      return amsgrad ? 0b111 : 0b011;
    case Kind::rmsprop:
      return 0b001u | (momentum > 0.0 ? 0b010u : 0u) | (centered ? 0b100u : 0u);
    }
    return 0;
  }
};

/// Numbers of one step of a tensor, from its number of steps.
struct Corrections {
  double step_size;           // negative
  double by_root_correction;  // what the root of the second moment is multiplied by
  bool first;
};

/// What is done to gradients before the rule sees them, in this order; 1, 1 and infinity do nothing.
struct Gradient {
  double inverse_scale, norm_factor, most;
  bool maximize;
};

/// Part of a tensor, all of whose memories have the same order.
struct Part {
  std::byte* param;
  const std::byte* grad;
  std::byte* state[kMostStates];
  std::byte* master;  // float32 copy of bfloat16 parameters, which counts
  Number type, grad_type;
  std::int64_t count;

  /// Elements [from, from + length).
  constexpr Part cut(std::int64_t from, std::int64_t length) const {
    Part p = *this;
    const std::int64_t state_size = type == Number::f64 ? 8 : 4;
    p.param += from * size_of(type);
    p.grad += from * size_of(grad_type);
    for (std::byte*& s : p.state)
      if (s != nullptr) s += from * state_size;
    if (p.master != nullptr) p.master += from * state_size;
    p.count = length;
    return p;
  }
};

/// Orders of norms that have a loop of their own: sums of magnitudes, of squares, of powers; the largest magnitude.
enum class Norm : std::uint8_t { one, two, power, largest };

/// Norms are sums over pieces of so many elements, each over so many lanes, in one order everywhere.
inline constexpr int kPiece = 4096, kNormLanes = 32;

/// Sum, or largest magnitude, of a piece; `poison` is 0, or NaN if an element is not finite.
struct PieceNorm {
  double value, poison;
};

/// A = a A + ss s s^T + sh (s h^T + h s^T) + hh h h^T, which stays symmetric to the bit, and then product = A x.
struct RankTwo {
  double a, ss, sh, hh;
  const double *s, *h, *x;
  double* product;
};

struct Kernels {
  void (*update)(const Settings&, const Corrections&, const Gradient&, const Part&);
  /// Of at most `kPiece` elements.
  PieceNorm (*norm)(Norm norm, double order, Number type, const std::byte* values, std::int64_t count);
  /// values *= factor, and into [-most, most].
  void (*clip)(const Gradient&, Number type, std::byte* values, std::int64_t count);
  /// Dense algebra of quasi-Newton methods. y = A x for `rows` rows of `n` numbers.
  void (*product)(const double* a, const double* x, double* y, std::int64_t rows, std::int64_t n);
  /// Rows [from, to) of a `RankTwo` update, of n columns.
  void (*rank_two)(const RankTwo& change, double* matrix, std::int64_t from, std::int64_t to, std::int64_t n);
  double (*dot)(const double* a, const double* b, std::int64_t n);
  /// y += a x
  void (*add)(double a, const double* x, double* y, std::int64_t n);
};

}  // namespace wq::optim
