// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/math.h"

#if !defined(__CUDACC__)
#include "warpquant/core/lanes.h"
#endif

namespace wq::inline WQ_LEVEL {

/// How many doubles a row of values takes, and how to read one.
template <class V>
struct Rows;
template <>
struct Rows<double> {
  static constexpr int kStep = 1;
  WQ_HD static double load(const double* p) { return *p; }
};
#if !defined(__CUDACC__)
template <int W>
struct Rows<Pack<W>> {
  static constexpr int kStep = W;
  WQ_HD static Pack<W> load(const double* p) { return Pack<W>::load(p); }
};
#endif

/// The latest values of a series, newest first: x[0] is this bar, x[k] is k bars ago. Before its first bar a series
/// repeats its first value.
template <class V>
struct Window {
  const double* newest;

  WQ_HD V operator[](std::int64_t k) const { return Rows<V>::load(newest - k * Rows<V>::kStep); }
  /// The same window as it was `bars` ago.
  WQ_HD Window ago(std::int64_t bars) const { return {newest - bars * Rows<V>::kStep}; }
};

/// f(0) + ... + f(count - 1), in four sums that do not wait for each other.
template <class F>
WQ_HD auto sum_over(std::int64_t count, F f) {
  using V = decltype(f(std::int64_t{0}));
  V a(0.0), b(0.0), c(0.0), d(0.0);
  std::int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    a = a + f(k);
    b = b + f(k + 1);
    c = c + f(k + 2);
    d = d + f(k + 3);
  }
  for (; k < count; ++k) a = a + f(k);
  return (a + b) + (c + d);
}

}  // namespace wq::inline WQ_LEVEL
