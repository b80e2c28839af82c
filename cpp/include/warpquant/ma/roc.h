// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/window.h"
#include "warpquant/ma/spec.h"

namespace wq::ma::inline WQ_LEVEL {

struct Roc {
  static constexpr Info info = {"roc",
                                "Rate of change, in percent",
                                "ROC_i = 100 (x_i - x_{i-L}) / x_{i-L}",
                                "NaN for the first ``length`` bars and where the earlier price is 0.",
                                false,
                                false,
                                false,
                                true};
  std::int64_t length;

  explicit Roc(const Spec& spec) : length(spec.length) {}

  std::int64_t warmup() const { return length; }
  std::int64_t span() const { return length; }
  std::int64_t ring() const { return 0; }

  template <class V>
  struct State {};

  template <class V>
  WQ_HD void open(State<V>&, Window<V>) const {}

  template <class V>
  WQ_HD V step(State<V>&, Window<V> x) const {
    const V before = x[length];
    // The difference first: it is exact for prices that lie close together.
    return select(ne(before, V(0.0)), (x[0] - before) / before * V(100.0), V(__builtin_nan("")));
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
