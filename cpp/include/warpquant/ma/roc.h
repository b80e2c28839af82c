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

  WQ_HD std::int64_t warmup() const { return length; }
  WQ_HD std::int64_t span() const { return length; }
  WQ_HD std::int64_t ring() const { return 0; }

  template <class V>
  struct State {
    V sum;  // of everything seen
  };

  template <class V, class X>
  WQ_HD void open(State<V>& s, X) const {
    s.sum = V(0.0);
  }

  template <class V, class X>
  WQ_HD V step(State<V>& s, X x) const {
    s.sum = s.sum + x[0];
    const V before = x[length];
    // The difference first: it is exact for prices that lie close together.
    return select(ne(before, V(0.0)), (x[0] - before) / before * V(100.0), V(__builtin_nan("")));
  }

  template <class V>
  WQ_HD V trace(const State<V>& s) const {
    return s.sum;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
