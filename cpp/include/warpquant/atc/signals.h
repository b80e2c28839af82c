// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/params.h"
#include "warpquant/core/math.h"
#include "warpquant/equity/curve.h"

/// From averages to the final signal: the crosses of layer 1, the votes of layer 2, the latched direction.
namespace wq::atc::inline WQ_LEVEL {

inline constexpr double kFloor = 0.25;  // of every equity

/// The band around a close inside which an average counts as level with it. The close is above an average `a` if
/// a < lower, below it if a >= upper.
template <class V>
struct Band {
  V lower, upper;
};

template <class V>
WQ_HD Band<V> band(V close, V rtol) {
  const V slack = rtol * abs(close);
  return {close - slack, next_up(close + slack)};
}

/// Latched cross of the close against one average: long after it crossed above, short after it crossed below,
/// neither before the first cross. A cross needs a known, non-opposite previous bar, so a close that has been above
/// (below) its average on every bar since the average became known cannot cross above (below) it.
template <class M>
struct Cross {
  M is_long, is_short, always_above, always_below;

  WQ_HD void step(M above, M below) {
    const M up = but_not(above, always_above), down = but_not(below, always_below);
    is_long = either(up, but_not(is_long, down));
    is_short = either(down, but_not(is_short, up));
    always_above = both(always_above, above);
    always_below = both(always_below, below);
  }

  /// Where the average is not known the signal stays, and the next bar is a first bar again.
  WQ_HD void step(M above, M below, M known) {
    step(both(above, known), both(below, known));
    always_above = either(always_above, negate(known));
    always_below = either(always_below, negate(known));
  }

  /// From here on, while the average stays known, the signal is never 0 and one comparison a bar decides it.
  WQ_HD bool settled() const {
    return all(both(either(is_long, is_short), negate(either(always_above, always_below))));
  }
};

/// Round a layer-1 signal to two decimals.
template <class V>
WQ_HD V round_signal(V value, Switches::Rounding rounding) {
  const V zero(0.0), hundred(100.0);
  if (rounding == Switches::Rounding::none) return value + zero;
  if (rounding == Switches::Rounding::even) return rint(value * hundred) / hundred + zero;  // + 0: never -0
  const V size = abs(value) * hundred;
  const V whole = floor(size);
  const V rounded = add_if(ge(size - whole, V(0.5 - 1e-10)), whole, V(1.0)) / hundred;
  return select(lt(value, zero), zero - rounded, rounded) + zero;
}

/// Layer 1 of one family: the mean signal of its nine averages, weighted by their equities.
/// `longs`, `active`, `all`: sums of the equities that are long, that have a signal, of all.
template <class V>
WQ_HD V weighted_signal(V longs, V active, V all) {
  return ((longs + longs) - active) / all;
}

/// Layer 2 of one family.
template <class V>
struct Vote {
  V equity;
  V signal;  // of layer 1 on the previous bar; NaN before the first
  V held;    // what the last exposure does to the equity, for the rule that keeps it while the signal is 0

  /// What this bar does to the equity, by the signal of the previous one.
  WQ_HD V multiplier(const equity::Exposure<V>& bar, const Cuts<V>& cuts, bool sticky) {
    const V idle = sticky ? held : bar.if_flat;
    held = select(ge(signal, cuts.positive), bar.if_long, select(le(signal, cuts.negative), bar.if_short, idle));
    return held;
  }

  /// Carry the equity over the bar and take in its signal.
  WQ_HD void step(V multiplier, V new_signal) {
    equity = equity::compound(equity, multiplier, V(kFloor));
    signal = new_signal;
  }

  /// Add the vote, for or against, and its weight.
  WQ_HD void count(const Cuts<V>& cuts, V& votes, V& weights) const {
    votes = add_if(ge(signal, cuts.high), votes, equity);
    votes = sub_if(le(signal, cuts.low), votes, equity);
    weights = weights + equity;
  }

  /// The vote alone.
  WQ_HD V ballot(const Cuts<V>& cuts) const {
    const V zero(0.0);
    return select(ge(signal, cuts.high), equity, select(le(signal, cuts.low), zero - equity, zero));
  }
};

/// Sign of the average.
template <class V>
WQ_HD V trend_of(V average) {
  const V zero(0.0), one(1.0);
  return select(gt(average, zero), one, select(lt(average, zero), zero - one, zero));
}

/// Whether a level crosses over, or under, a threshold; NaN crosses nothing.
template <class V>
WQ_HD auto crosses_over(V before, V now, V threshold) {
  return both(gt(now, threshold), le(before, threshold));
}
template <class V>
WQ_HD auto crosses_under(V before, V now, V threshold) {
  return both(lt(now, threshold), ge(before, threshold));
}

/// Which threshold the average crossed last.
template <class V>
struct Direction {
  V value, last_average;

  WQ_HD V step(V average, V long_threshold, V short_threshold) {
    const V one(1.0);
    const auto up = crosses_over(last_average, average, long_threshold);
    const auto down = crosses_under(last_average, average, short_threshold);
    value = select(down, V(0.0) - one, select(up, one, value));
    last_average = average;
    return value;
  }
};

}  // namespace wq::atc::inline WQ_LEVEL
