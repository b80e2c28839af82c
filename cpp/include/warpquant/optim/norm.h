// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/elementary.h"
#include "warpquant/optim/ops.h"

/// Norms of gradients, over one order of additions on every level, device and number of threads: element i of a piece
/// goes to lane i % kNormLanes, lanes are folded by halves, pieces are added lane by lane again.
namespace wq::optim::inline WQ_LEVEL {

template <Norm kNorm>
WQ_HD double norm_term(double x, double order) {
  const double size = abs(x);
  if constexpr (kNorm == Norm::two) return x * x;
  if constexpr (kNorm == Norm::power) return size > 0.0 && is_finite(size) ? exp_of(order * log_of(size)) : size;
  return size;
}

/// A NaN stays one.
template <Norm kNorm>
WQ_HD double norm_sum(double a, double b) {
  if constexpr (kNorm == Norm::largest) return select(either(gt(a, b), is_nan(a)), a, b);
  return a + b;
}

/// 0, or NaN for a number that is not finite.
WQ_HD double poison_of(double x) { return x - x; }

/// The norm from the sum over all pieces. Throughout, a scale is taken from it here, not from the elements.
WQ_HD double norm_of(Norm norm, double order, double sum) {
  switch (norm) {
  case Norm::two:
    return sqrt(sum);
  case Norm::power:
    return sum > 0.0 && is_finite(sum) ? exp_of(log_of(sum) / order) : sum;
  case Norm::one:
  case Norm::largest:
    break;
  }
  return sum;
}

/// By what to multiply, so that the norm is at most `most`: PyTorch's factor.
WQ_HD double clip_factor(double norm, double most) {
  const double factor = most / (norm + 1e-6);
  return select(gt(factor, 1.0), 1.0, factor);  // a NaN stays one
}

}  // namespace wq::optim::inline WQ_LEVEL
