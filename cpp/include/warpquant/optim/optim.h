// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/optim/launch.h"

/// Steps of optimizers, in place.
namespace wq::optim {

/// What is asked of the gradients of a step as a whole.
struct Demands {
  double inverse_scale = 1.0;
  double most = std::numeric_limits<double>::infinity();       // of a magnitude
  double most_norm = std::numeric_limits<double>::infinity();  // of the norm of all
  Norm norm = Norm::two;
  double order = 2.0;
  std::optional<double> known_norm;  // after the scale was taken from it
  bool want_norm = false;
  bool watch = false;  // leave the step out if a gradient is not finite

  bool need_norm() const {
    return want_norm || watch || (most_norm < std::numeric_limits<double>::infinity() && !known_norm);
  }
};

/// A tensor and its gradient.
struct Target {
  Part part;
  int group;
  std::int32_t slot;
};

/// Memory of a device that an optimizer keeps: `slots` numbers of steps, and norms of pieces.
struct DeviceState {
  Control* control = nullptr;
  double* steps = nullptr;
  PieceNorm* norms = nullptr;

  static std::int64_t numbers(std::int64_t slots, std::int64_t pieces);
  DeviceState() = default;
  DeviceState(std::byte* memory, std::int64_t slots);
};

/// Pieces of a tensor.
constexpr std::int64_t pieces_of(std::int64_t count) { return (count + kPiece - 1) / kPiece; }

struct Outcome {
  double norm = std::numeric_limits<double>::quiet_NaN();  // if it was asked for
  bool left_out = false;
};

/// A step of all targets, whose groups have the settings. On the CPU the numbers of steps, by slot, are `steps`, and
/// the outcome is told; on a device both stay there.
Outcome step(const std::vector<Target>& targets, const std::vector<Settings>& groups, const Demands& demands,
             double* steps, const DeviceState& state, const Execution& execution);

/// The norm of all gradients, which are then clipped in place.
Outcome clip(const std::vector<Target>& targets, const Demands& demands, const DeviceState& state,
             const Execution& execution);

// ---------------------------------------------------------------- dense algebra, on the CPU

/// y = A x for a square matrix of n rows.
void product(const double* a, const double* x, double* y, std::int64_t n, const Execution& execution);
void rank_two(const RankTwo& change, double* matrix, std::int64_t n, const Execution& execution);
double dot(const double* a, const double* b, std::int64_t n, const Execution& execution);

/// The pairs of L-BFGS: rows of n numbers, the oldest first.
struct History {
  std::vector<const double*> gradients, steps;  // y and s
  std::vector<double> curvatures;               // 1 / (y . s)
};
/// -H g, the two loops of Nocedal (1980), from H = `scale` I. `alphas` gets a number for each pair.
void two_loops(const History& history, double scale, const double* g, double* direction, double* alphas, std::int64_t n,
               const Execution& execution);

}  // namespace wq::optim
