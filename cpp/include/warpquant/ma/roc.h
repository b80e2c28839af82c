// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/packet.h"
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

  template <class P>
  struct State {};

  template <class P, class X>
  WQ_HD void open(State<P>&, X) const {}

  template <class P, class X>
  WQ_HD P step(State<P>&, X x) const {
    const P before = x[length];
    // The difference first: it is exact for prices that lie close together.
    const P change = (x[0] - before) / before * all<P>(100.0);
    return select(ne(before, all<P>(0.0)), change, of<P>(Ramp{{kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN}}));
  }

 private:
  static constexpr double kNaN = __builtin_nan("");
};

}  // namespace wq::ma::inline WQ_LEVEL
