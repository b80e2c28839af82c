// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/math.h"

/// Small symmetric systems, such as those of least squares, by Cholesky's factors.
namespace wq::inline WQ_LEVEL {

/// The factor L of A + damping diag(A) + floor = L L', from the lower half of A; rows of both follow each other. False
/// where a square on the diagonal is not above `least` of A's own.
WQ_HD_CALL inline bool cholesky(const double* matrix, std::int64_t size, double damping, double floor, double least,
                                double* l) {
  for (std::int64_t a = 0; a < size; ++a)
    for (std::int64_t b = 0; b <= a; ++b) {
      double sum = matrix[a * size + b];
      if (a == b) sum += damping * sum + floor;
      for (std::int64_t c = 0; c < b; ++c) sum -= l[a * size + c] * l[b * size + c];
      if (a == b) {
        if (!(sum > least * matrix[a * size + a])) return false;
        l[a * size + a] = sqrt(sum);
      } else {
        l[a * size + b] = sum / l[b * size + b];
      }
    }
  return true;
}

/// L L' y = b for several right sides, `columns` of them, which lie side by side; y takes their place.
WQ_HD_CALL inline void cholesky_solve(const double* l, std::int64_t size, double* b, std::int64_t columns = 1) {
  for (std::int64_t c = 0; c < columns; ++c) {
    for (std::int64_t i = 0; i < size; ++i) {
      for (std::int64_t k = 0; k < i; ++k) b[i * columns + c] -= l[i * size + k] * b[k * columns + c];
      b[i * columns + c] /= l[i * size + i];
    }
    for (std::int64_t i = size - 1; i >= 0; --i) {
      for (std::int64_t k = i + 1; k < size; ++k) b[i * columns + c] -= l[k * size + i] * b[k * columns + c];
      b[i * columns + c] /= l[i * size + i];
    }
  }
}

}  // namespace wq::inline WQ_LEVEL
