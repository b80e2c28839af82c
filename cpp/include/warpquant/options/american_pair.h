// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/american_put.h"

namespace wq::options::inline WQ_LEVEL {

/// Puts that are exercised between two boundaries, with q < r < 0: Andersen and Lake, Fast American option pricing: the
/// double-boundary case, Wilmott 2021. Each boundary is independent of the other, since nobody who is beyond the one
/// comes to the other without crossing it. The upper one begins at the strike and falls; its equation is that of a
/// single boundary. The lower one begins at K r / q and rises; seen in 1 / S, with r and q exchanged, it falls, and its
/// equation is the same but that beyond it there is no strike. Where they meet, exercise ends: with more time to expiry
/// than that nobody exercises.
template <class Rule, class V, class Numbers>
struct AmericanPair {
  using Put = AmericanPut<Rule, V, Numbers>;
  static constexpr int N = Rule::kNodes;
  static constexpr int kOwn = 2 * N + Put::kParameters * N + Put::kWork, kStart = AmericanFast::kNodes;
  static constexpr int kNumbers = kOwn + kStart + kStart * (kStart + 4);

  AmericanTerms<V> above, below;  // of the upper boundary, and of the lower one seen in 1 / S
  V gap;                          // ln(q / r): the depths of both together where they meet
  Put upper, lower;
  Numbers kept;   // derivatives of the upper boundary
  Numbers spare;  // for boundaries with fewer nodes

  WQ_HD AmericanPair(V horizon, V rate, V dividend, V vol, Numbers memory)
      : above(AmericanTerms<V>::of(horizon, rate, dividend, vol, never_meet(rate, dividend, vol))),
        below(AmericanTerms<V>::of(horizon, dividend, rate, vol, never_meet(rate, dividend, vol))),
        gap(log_ratio(V(0.0) - dividend, V(0.0) - rate)), upper(above, memory, memory + N * (2 + Put::kParameters)),
        lower(below, memory + N, memory + N * (2 + Put::kParameters)), kept(memory + 2 * N), spare(memory + kOwn) {
    below.strike = V(0.0);
    const auto apart = never_meet(rate, dividend, vol);
    above.deepest = select(apart, min(above.deepest, gap), gap);
    below.deepest = select(apart, min(below.deepest, gap), gap);
  }
  AmericanPair(const AmericanPair&) = delete;

  /// Up to a critical vol the boundaries end where those of an option without end are.
  WQ_HD static auto never_meet(V rate, V dividend, V vol) {
    const V variance = vol * vol, slope = rate - dividend - V(0.5) * variance;
    return both(gt(slope, V(0.0)), ge(slope * slope + V(2.0) * rate * variance, V(0.0)));
  }

  /// Find a boundary, from one with fewer nodes. Gives the lanes that fail.
  template <class Nodes, class M>
  WQ_HD_CALL M settle(AmericanPut<Nodes, V, Numbers>& put, M wanted, double near) const {
    if constexpr (Nodes::kNodes > kStart) {
      AmericanPut<AmericanFast, V, Numbers> fewer(put.o, spare, spare + kStart);
      settle(fewer, wanted, AmericanFast::kNear);
      put.refine(fewer);
    } else {
      AmericanPut<AmericanStart, V, Numbers> fewer(put.o, put.matrix, put.matrix + AmericanStart::kNodes);
      fewer.open(wanted);
      fewer.solve(wanted, AmericanStart::kNear);
      put.refine(fewer);
    }
    const auto lost = put.solve(wanted, near);
    if (!any(lost)) return lost;
    put.open(lost);
    return put.solve(lost, near);
  }

  /// The part of the gap that the boundaries have come towards each other at node k; 1 is where they meet.
  template <class M>
  WQ_HD V closed(int k, M two) const {
    const double place = Put::nodes().place[k];
    const V depths = sqrt(upper.shapes[k]) + select(two, sqrt(lower.shapes[k]), V(0.0));
    return above.root * V(Put::nodes().root[k] / __builtin_sqrt(place)) * depths / gap;
  }

  /// Derivatives of -ln(B) of the lower boundary from those in 1 / S.
  WQ_HD static void swap_sides(V (&slopes)[Put::kParameters]) {
    const V by_rate = slopes[Put::kByRate];
    slopes[Put::kByVol] = V(0.0) - slopes[Put::kByVol];
    slopes[Put::kByRate] = V(0.0) - slopes[Put::kByDividend];
    slopes[Put::kByDividend] = V(0.0) - by_rate;
  }

  /// Both boundaries are those of an option without end at all times.
  WQ_HD auto still() const { return above.still(max(above.deepest, below.deepest)); }
  /// The premium where they are, with the lower boundary in `far`.
  template <class M>
  WQ_HD_CALL AmericanValue<V> premium_still(V s, M wanted, M two, V& far) const {
    const V zero(0.0), time = above.standing + above.expiry, log_far = below.deepest - gap;
    V slopes[Put::kParameters];
    below.endless_slopes(slopes);
    swap_sides(slopes);
    AmericanValue<V> out = american_still(above, s, wanted);
    AmericanMoment<typename Put::Math, V>(above, s).template add_standing<true, true>(both(wanted, two), V(-1.0), time,
                                                                                      log_of(s) - log_far, slopes, out);
    far = select(two, exp_of(log_far), zero);
    return out;
  }

  /// The premium for spot s of an option with time `expiry`, of which the boundaries take the last part; `two`: where
  /// there is a lower one.
  template <bool kSlopes, bool kTangents, class M>
  WQ_HD_CALL AmericanValue<V> premium(V s, V expiry, M two) const {
    using Math = typename Put::Math;
    const V zero(0.0), log_spot = log_of(s), before = expiry - above.expiry;
    AmericanValue<V> out{zero, zero, zero, zero, zero, zero, zero};
    const AmericanMoment<Math, V> moment(above, s);
    const auto add = [&](int j, double sign, V log_boundary, const V(&slopes)[Put::kParameters]) {
      const double left = Put::nodes().outer_left[j];
      const V w = sqrt(mul_add(above.expiry, V(left * left), before));
      const V weight = select(sign > 0 ? eq(zero, zero) : two, V(sign * Put::nodes().outer_weight[j]), zero);
      moment.template add<kSlopes, kTangents>(weight, w, above.per_vol / w, log_spot - log_boundary,
                                              Math::exponential(log_boundary), slopes, out);
    };
    Put first(above, upper.shapes, kept);
    first.tangents = kept;
    first.template each_depth<kTangents>(
        [&](int j, V deep, const V(&slopes)[Put::kParameters]) { add(j, 1.0, zero - deep, slopes); });
    lower.template each_depth<kTangents>([&](int j, V deep, const V(&mirrored)[Put::kParameters]) {
      V slopes[Put::kParameters];
      if constexpr (kTangents) {
        for (int p = 0; p < Put::kParameters; ++p) slopes[p] = mirrored[p];
        swap_sides(slopes);
      }
      add(j, -1.0, select(two, deep, zero) - gap, slopes);
    });
    moment.finish(above.expiry, out);
    const auto stands = gt(above.standing, zero);
    if (any(stands)) {
      V slopes[Put::kParameters], mirrored[Put::kParameters];
      above.endless_slopes(slopes), below.endless_slopes(mirrored);
      swap_sides(mirrored);
      moment.template add_standing<kSlopes, kTangents>(stands, V(1.0), above.standing, log_spot + above.deepest, slopes,
                                                       out);
      moment.template add_standing<kSlopes, kTangents>(both(stands, two), V(-1.0), above.standing,
                                                       log_spot - below.deepest + gap, mirrored, out);
    }
    return out;
  }
};

/// The premium for early exercise of such puts on a strike of 1, in the lanes that are `wanted`; gives those in which
/// the boundaries could not be found. The upper boundary today is in `premium`, the lower one in `far`, both NaN where
/// it is not exercised today at any spot.
template <class Rule, class V, class M, class Numbers>
WQ_HD_NOINLINE M american_pair(const V& s, const V& expiry, const V& rate, const V& dividend, const V& vol, M wanted,
                               AmericanWants wants, Numbers memory, AmericanValue<V>& premium, V& far) {
  using Quick = AmericanPair<AmericanFast, V, Numbers>;
  constexpr double kClose = 1e-4, kQuickly = 0.003;
  const V zero(0.0), one(1.0), nan(__builtin_nan(""));
  premium = {nan, nan, nan, nan, nan, nan, nan};
  far = nan;
  // Otherwise the lower boundary is where no spot comes, as with r next to 0.
  const V gap = log_ratio(zero - dividend, zero - rate);
  const auto two = both(wanted, lt(gap, V(9.0) * vol * sqrt(expiry) + abs(rate - dividend) * expiry + V(2.0)));

  // Where do the boundaries meet? If not before expiry, the horizon is that. In a short time each of them goes at least
  // 0.64 sigma sqrt(tau).
  const auto apart = Quick::never_meet(rate, dividend, vol);
  const V reach = V(2.0) * gap / vol;
  // With r next to q so short a time that nothing is at stake.
  const auto brief = both(wanted, but_not(lt(reach * reach, V(1e-5) * expiry), apart));
  V horizon = select(apart, expiry, min(expiry, reach * reach)), enough = zero, too_much = expiry;
  auto searching = but_not(but_not(wanted, apart), brief), met = but_not(wanted, wanted);
  constexpr int kLast = AmericanFast::kNodes - 1;
  for (int turn = 0; turn < 24 && any(searching); ++turn) {
    Quick pair(horizon, rate, dividend, vol, memory);
    auto lost = pair.settle(pair.upper, searching, kQuickly);
    if (any(both(searching, two))) lost = either(lost, pair.settle(pair.lower, both(searching, two), kQuickly));
    V inner = pair.closed(kLast - 1, two), outer = pair.closed(kLast, two);
    V from = pair.above.root * V(Quick::Put::nodes().root[kLast - 1]), to = pair.above.root;
    const auto over = both(searching, but_not(gt(outer, one), lost));
    const auto under = both(searching, but_not(le(outer, one), lost));
    searching = but_not(searching, both(under, ge(horizon, expiry)));
    // The line through the nodes around the place where they meet, or through the last two.
    for (int k = kLast - 1; k > 0; --k) {
      const auto earlier = both(over, gt(inner, one));
      outer = select(earlier, inner, outer), to = select(earlier, from, to);
      inner = select(earlier, pair.closed(k - 1, two), inner);
      from = select(earlier, pair.above.root * V(Quick::Put::nodes().root[k - 1]), from);
    }
    const V root = mul_add((one - inner) / (outer - inner), to - from, from), meeting = root * root;
    const auto close = both(searching, but_not(le(abs(meeting - horizon), V(kClose) * horizon), lost));
    met = either(met, close);
    searching = but_not(searching, close);
    too_much = select(both(searching, either(over, lost)), horizon, too_much);
    enough = select(both(searching, under), horizon, enough);
    const V middle = V(0.5) * (enough + too_much);
    const auto inside = both(gt(meeting, enough), lt(meeting, too_much));
    horizon = select(searching, select(but_not(inside, lost), meeting, middle), horizon);
  }
  auto left = searching;
  AmericanPair<Rule, V, Numbers> pair(horizon, rate, dividend, vol, memory);
  const auto still = both(both(wanted, apart), but_not(pair.still(), brief));
  V far_still = nan;
  AmericanValue<V> of_still = premium;
  if (any(still)) of_still = pair.premium_still(s, still, two, far_still);
  const auto found = but_not(but_not(but_not(wanted, searching), brief), still);
  if (!any(found)) {
    premium = choose(brief, {zero, zero, zero, zero, zero, zero, nan}, premium);
    premium = choose(still, of_still, premium);
    far = far_still;
    return left;
  }

  left = either(left, pair.settle(pair.upper, found, Rule::kNear));
  if (wants == AmericanWants::tangents) {
    pair.upper.template step<true>(found);
    for (int k = 0; k < Rule::kNodes * AmericanPut<Rule, V, Numbers>::kParameters; ++k)
      pair.kept[k] = pair.upper.tangents[k];
  }
  if (any(two)) {
    left = either(left, pair.settle(pair.lower, both(found, two), Rule::kNear));
    if (wants == AmericanWants::tangents) pair.lower.template step<true>(found);
  }
  if (wants == AmericanWants::tangents)
    premium = pair.template premium<true, true>(s, expiry, two);
  else if (wants == AmericanWants::slopes)
    premium = pair.template premium<true, false>(s, expiry, two);
  else
    premium = pair.template premium<false, false>(s, expiry, two);
  const auto gone = either(met, brief);
  premium = choose(brief, {zero, zero, zero, zero, zero, zero, nan}, premium);
  premium.boundary = select(gone, nan, exp_of(zero - pair.upper.depth()));
  far = select(gone, nan, select(two, exp_of(pair.lower.depth() - gap), zero));
  premium = choose(still, of_still, premium);
  far = select(still, far_still, far);
  return left;
}

}  // namespace wq::options::inline WQ_LEVEL
