// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/wma.h"

namespace wq::ma::inline WQ_LEVEL {

/// End point of the least-squares line: 3 WMA - 2 SMA.
struct Lsma : Wma {
  static constexpr Info info = {"lsma",
                                "Least-squares moving average (linear regression end point)",
                                "LSMA_i = a + b (L-1), a + b k the least-squares line through x_{i-L+1+k}, k = 0..L-1",
                                "TA-Lib calls it LINEARREG. The first ``length - 1`` bars are NaN.",
                                false,
                                false,
                                false};
  double of_weighted, of_plain;  // 3 WMA - 2 SMA from the sums; of one point, that point exactly

  explicit Lsma(const Spec& spec)
      : Wma(spec), of_weighted(spec.length == 1 ? 0.0 : 3.0 * window.scale),
        of_plain(spec.length == 1 ? -1.0 : 2.0 * window.one_over) {}

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    window.step(s.sums, x[0], x[window.length]);
    return s.sums.weighted * V(of_weighted) - s.sums.plain * V(of_plain);
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
