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
    const V wma = Wma::step(s, x), sma = window.sma(s.sums);
    return sma + V(3.0) * (wma - sma);
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
