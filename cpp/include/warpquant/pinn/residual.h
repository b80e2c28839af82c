// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/pinn/jets.h"

namespace wq::pinn::inline WQ_LEVEL {

/// Residual of a point, its share of the loss, and the slopes of that in the streams.
template <int D, class T, class V, class At>
WQ_HD V residual(const Collocation<T>& job, const Collapsed<V, D>& n, At at, V& share, Collapsed<V, D>& slopes) {
  const std::int64_t rows = job.points;
  V r = at(job.constants);
  r = mul_add(at(job.coefficients), n.value, r);
  for (int m = 0; m < D; ++m) r = mul_add(at(job.coefficients + (1 + m) * rows), n.along[m], r);
  r = mul_add(at(job.coefficients + (1 + D) * rows), n.whole, r);
  const V w = at(job.loss_weights);
  V of_equation(1.0), of_obstacle(0.0), scale(0.0);
  if (job.obstacle != nullptr) {
    scale = at(job.obstacle);
    const V q = mul_add(scale, n.value, at(job.obstacle + rows));
    const V root = sqrt(mul_add(r, r, mul_add(q, q, V(job.smoothing * job.smoothing))));
    of_equation = V(1.0) - r / root;
    of_obstacle = V(1.0) - q / root;
    r = r + q - root;
  }
  share = w * r * r;
  const V slope = V(2.0) * w * r, by_equation = slope * of_equation;
  slopes.value = mul_add(by_equation, at(job.coefficients), slope * of_obstacle * scale);
  for (int m = 0; m < D; ++m) slopes.along[m] = by_equation * at(job.coefficients + (1 + m) * rows);
  slopes.whole = by_equation * at(job.coefficients + (1 + D) * rows);
  return r;
}

}  // namespace wq::pinn::inline WQ_LEVEL
