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
  using Wma::Wma;

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    window.step(s.sums, x[0], x[window.length]);
    return s.sums.weighted * V(3.0 * window.scale) - s.sums.plain * V(2.0 * window.one_over);
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
