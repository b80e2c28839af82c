// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/wma.h"

namespace wq::ma::inline WQ_LEVEL {

/// Hull moving average in one pass: the two inner averages slide over the prices, the outer one over their differences,
/// which are kept for the length of a block.
struct Hma {
  static constexpr Info info = {"hma",
                                "Hull moving average",
                                "HMA_i = WMA_{floor(sqrt L)}( 2 WMA_{floor(L/2)} - WMA_L )",
                                "Both lengths are rounded down. The first ``length - 1 + floor(sqrt(length)) - 1`` "
                                "bars are NaN.",
                                false,
                                false,
                                false};
  WeightedWindow whole, half, root;
  std::int64_t lead;  // bars before a block at which the inner averages start, so that the outer one has its window

  explicit Hma(const Spec& spec)
      : whole(spec.length), half(spec.length < 2 ? 1 : spec.length / 2),
        root(static_cast<std::int64_t>(__builtin_sqrt(static_cast<double>(spec.length)))),
        lead((root.length + kEight - 1) / kEight * kEight) {}

  std::int64_t warmup() const { return whole.length - 1 + root.length - 1; }
  std::int64_t span() const { return whole.length + 7 + lead; }
  std::int64_t kept() const { return lead; }  // bars of its own that it keeps before a block

  template <class P>
  struct State {
    One<P> anchor;
    WeightedWindow::State<P> whole, half, root;
    double *made, *kept;  // differences of the packet that `prepare`, `step` come to next; earlier ones lie before it
  };

  template <class P, class X>
  WQ_HD void open(State<P>& s, X x) const {
    s.anchor = x.one(0);
    const X start = x.ago(lead);
    whole.open<P>(s.whole, [&](std::int64_t k) { return start[k] - s.anchor; });
    half.open<P>(s.half, [&](std::int64_t k) { return start[k] - s.anchor; });
    s.made -= lead * Form<P>::kRow;
    for (std::int64_t k = lead; k > 0; k -= kEight) prepare(s, x.ago(k));
    root.open<P>(s.root, [&](std::int64_t k) { return own<P>(s.kept)[k]; });
  }

  /// The difference that `step` needs, of any number of packets ahead.
  template <class P, class X>
  WQ_HD void prepare(State<P>& s, X x) const {
    const P now = x[0] - s.anchor;
    const P slow = whole.step<P>(s.whole, now, x[whole.length] - s.anchor).wma;
    const P fast = half.step<P>(s.half, now, x[half.length] - s.anchor).wma;
    store(s.made, (fast + fast) - slow);
    s.made += kEight * Form<P>::kRow;
  }

  template <class P, class X>
  WQ_HD P step(State<P>& s, X) const {
    const auto difference = own<P>(s.kept);
    s.kept += kEight * Form<P>::kRow;
    return root.step<P>(s.root, difference[0], difference[root.length]).wma + s.anchor;
  }
};

}  // namespace wq::ma::inline WQ_LEVEL
