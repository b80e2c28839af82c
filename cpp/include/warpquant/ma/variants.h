// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/ma/adaptive.h"
#include "warpquant/ma/ema.h"
#include "warpquant/ma/kama.h"
#include "warpquant/ma/lsma.h"

/// Averages as published versions of ATC have them, where they are not those of this domain (docs/atc.md, "Averages").
namespace wq::ma::inline WQ_LEVEL {

/// DEMA whose second smoothing starts from the first value of the first.
struct EarlyDema : Dema {
  using Dema::Dema;

  WQ_HD std::int64_t warmup() const { return length - 1; }

  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    V sum = x[length - 1];
    for (std::int64_t k = length - 2; k >= 0; --k) sum = sum + x[k];
    s.stage[0] = s.stage[1] = sum / V(static_cast<double>(length));
  }
};

/// The least-squares line one bar before its end: SMA + 3 (L-3)/(L-1) (WMA - SMA).
struct PreviousLsma : Lsma {
  explicit PreviousLsma(const Spec& spec) : Lsma(spec) {
    const auto n = static_cast<double>(spec.length);
    const double lead = spec.length == 1 ? 0.0 : 3.0 * (n - 3.0) / (n - 1.0);
    of_weighted = lead * window.scale;
    of_plain = (lead - 1.0) * window.one_over;
  }
};

/// KAMA with ATC's numbers, which has a value from the first bar on: it starts from 0, as if windows that are not
/// whole were all noise, or with `seed_first` stays at the first value for `length` bars.
struct EarlyKama : Kama {
  bool from_zero;
  double quiet;

  explicit EarlyKama(const Spec& spec) : Kama(spec), from_zero(!spec.seed_first), quiet(from_zero ? 1e-10 : 0.0) {}

  WQ_HD std::int64_t warmup() const { return 0; }

  template <class V>
  struct State : Kama::State<V> {
    V bars;  // so far, up to `length`
  };

  template <class V, class X>
  WQ_HD void first(State<V>& s, X x) const {
    s.noise = s.loudest = V(0.0);
    s.bars = V(1.0);
    s.value = from_zero ? V(kSlow * kSlow) * x[0] : x[0];
  }
  template <class V, class X>
  WQ_HD void guess(State<V>& s, X x) const {
    Kama::guess(s, x);
    s.bars = V(static_cast<double>(length));
  }
  double memory() const { return 10.0 / (kSlow * kSlow) + static_cast<double>(length); }

  template <class V, class X>
  WQ_HD void advance(State<V>& s, X x, bool) const {
    slide(s, x);
    const auto whole = ge(s.bars, V(static_cast<double>(length)));
    const V early(from_zero ? kSlow * kSlow : 0.0);
    s.value = ma::smooth(s.value, select(whole, kama_rate(x[0] - x[length], s.noise, V(quiet)), early), x[0]);
    s.bars = select(whole, s.bars, s.bars + V(1.0));
  }

 private:
  static constexpr double kSlow = kKamaSlow;
};

}  // namespace wq::ma::inline WQ_LEVEL
