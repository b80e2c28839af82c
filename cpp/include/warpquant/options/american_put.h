// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/near.h"
#include "warpquant/core/normal.h"
#include "warpquant/options/american_rules.h"
#include "warpquant/options/american_standing.h"

namespace wq::options::inline WQ_LEVEL {

/// American options, by the boundary of early exercise: Andersen, Lake and Offengenden, High-performance American
/// option pricing, J. Comp. Finance 20 (2016), whose boundary on Chebyshev nodes and premium integral these are. What
/// is done otherwise (docs/options/american.md):
/// - the nodes are those of zeta = 1 / (1 + c ln(T / tau)), in which the boundary is smooth down to expiry, and the
///   interpolated quantity is the shape zeta ln(X / B)^2 / tau;
/// - the equation is smooth pasting, delta(B) = -1, in logarithms of its two sides, and all nodes are solved together
/// by
///   Newton's method, which also gives the derivatives of the boundary; it starts from the boundary on fewer nodes;
/// - integrals are over theta with u = tau sin^2(theta), which takes the root out of both ends;
/// - where the drift is great against the vol, the boundary is solved for until it stands still, and what exercise at
///   one that stands adds is known in closed form (american_standing.h).

/// The value of a put on a strike of 1 and its derivatives, or a part of them.
template <class V>
struct AmericanValue {
  V price, delta, gamma, vega, rho, epsilon, boundary;
};
template <class V, class M>
WQ_HD AmericanValue<V> choose(M m, const AmericanValue<V>& a, const AmericanValue<V>& b) {
  return {select(m, a.price, b.price),      select(m, a.delta, b.delta), select(m, a.gamma, b.gamma),
          select(m, a.vega, b.vega),        select(m, a.rho, b.rho),     select(m, a.epsilon, b.epsilon),
          select(m, a.boundary, b.boundary)};
}

/// The functions of the equation as a rule needs them: in full, or to 1e-8 and better, which is far below what quick
/// rules promise.
template <class Rule>
struct AmericanMath {
  template <class V>
  WQ_HD static V exponential(V x) {
    if constexpr (!Rule::kQuick) {
      return exp_of(x);
    } else {
      const V inside = max(x, V(-745.0)), n = rint(inside * V(1.4426950408889634));
      const V rest = mul_add(n, V(-0.6931471805599453), inside);
      constexpr double kSeries[] = {0.9999999999595622,    0.9999999999955084,    0.5000000107729217,
                                    0.16666666786307405,   0.04166621831912951,   0.008333283539156792,
                                    0.0013948578335468427, 0.00019907569120749887};
      return scale(polynomial(rest, kSeries), n);
    }
  }
  template <class V>
  WQ_HD static V inverse(V x) {
    if constexpr (Rule::kQuick) return near_inverse(x);
    return V(1.0) / x;
  }
  template <class V>
  WQ_HD static V log(V x) {
    if constexpr (Rule::kQuick) {
      V part;
      const V n = split(x, part);
      const auto high = gt(part, V(kSqrtTwo));
      part = select(high, V(0.5) * part, part);
      const V s = (part - V(1.0)) * near_inverse(part + V(1.0)), u = s * s;
      constexpr double kSeries[] = {2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0};
      return mul_add(select(high, n + V(1.0), n), V(0.6931471805599453), s * polynomial(u, kSeries));
    }
    return log_of(x);
  }
  /// sqrt(x), and its inverse.
  template <class V>
  WQ_HD static V root(V x, V& inverse) {
    if constexpr (Rule::kQuick) {
      inverse = near_inverse_root(x);
      return x * inverse;
    }
    const V r = sqrt(x);
    inverse = V(1.0) / r;
    return r;
  }
  template <class V>
  WQ_HD static V tail_ratio(V x) {
    if constexpr (!Rule::kQuick) {
      return mills(x);
    } else {
      constexpr double kSeries[] = {1.5509920598254638,    -0.17576553664466624,  0.0044947731512546,
                                    0.10311945061026305,   -0.13637885767876262,  0.1156763427884525,
                                    -0.07350182342458982,  0.0355897124922621,    -0.012339493178459133,
                                    0.0021164242470060393, 0.0004971955316344885, -0.0002866921415853247};
      const V far = min(x, V(1e50)), one = mul_add(far, V(kSqrtTwo), V(1.0)), sum = far + V(kMillsScale);
      const V inverse = near_inverse(one * sum);
      const V t = mul_add(far + far, one * inverse, V(-1.0));
      return polynomial(t, kSeries) * (sum * inverse);
    }
  }
};

/// A put on a strike of 1 whose boundary is B(tau) for a time tau to expiry. Rates: r > 0, or r = 0 > q.
template <class V>
struct AmericanTerms {
  V expiry, rate, dividend, vol, variance;
  V standing;            // the time before, in which the boundary stands still
  V pace;                // sqrt(((r - q) / sigma - sigma / 2)^2 + 2 r)
  V power;               // of the spot, in the price of an option without end
  V root;                // sqrt(T)
  V per_vol, per_width;  // 1 / sigma, 1 / (sigma sqrt(T))
  V drift;               // (r - q) / sigma + sigma / 2: what d+ gains per sqrt(time)
  V cap;                 // X = B(0+)
  V log_cap;
  V deepest;                 // ln(X / B) of an option without end
  V rate_cap, dividend_cap;  // derivatives of ln(X) by r and q
  V strike;                  // 1, or 0 where there is none beyond the boundary (american_pair.h)
  decltype(gt(V(), V())) capped;
  static constexpr double kStill = 64.0;

  /// Lanes where the boundary may be taken for that of an option without end at all times: it stands still but for a
  /// last moment, in which few paths are near it, or it begins where it ends to a billionth, of `range`.
  WQ_HD auto still(V range) const {
    return both(gt(standing, V(0.0)), either(gt(standing, V(2e5) * expiry), lt(range, V(1e-9))));
  }
  /// Derivatives of -ln(B) of an option without end by vol, rate and dividend.
  WQ_HD void endless_slopes(V (&slopes)[3]) const {
    const V per_pace = V(1.0) / pace;
    slopes[0] = per_pace;
    slopes[1] = per_pace * per_vol / power;
    slopes[2] = V(0.0) - per_pace * per_vol / (power - V(1.0));
  }
  /// `stands`: where the boundary ends at that of an option without end.
  template <class M>
  WQ_HD static AmericanTerms of(V time, V rate, V dividend, V vol, M stands) {
    AmericanTerms t;
    t.rate = rate, t.dividend = dividend, t.vol = vol;
    const V carry = rate - dividend;
    t.variance = vol * vol;
    t.per_vol = V(1.0) / vol;
    // A boundary of today that stands until tau before expiry is missed by e^(-pace^2 tau / 2): here 1e-14.
    const V under = carry * t.per_vol - V(0.5) * vol, square = mul_add(under, under, V(2.0) * rate);
    t.expiry = select(both(stands, gt(square * time, V(kStill))), V(kStill) / square, time);
    t.standing = time - t.expiry;
    t.pace = sqrt(square);
    t.root = sqrt(t.expiry);
    t.per_width = V(1.0) / (vol * t.root);
    t.drift = mul_add(carry, t.per_vol, V(0.5) * vol);
    t.capped = gt(dividend, rate);
    t.cap = select(t.capped, rate / dividend, V(1.0));
    t.log_cap = select(t.capped, log_of(max(t.cap, V(1e-300))), V(0.0));
    t.rate_cap = select(t.capped, V(1.0) / rate, V(0.0));
    t.dividend_cap = select(t.capped, V(-1.0) / dividend, V(0.0));
    t.strike = V(1.0);
    const V slope = carry - V(0.5) * t.variance, spread = sqrt(slope * slope + V(2.0) * rate * t.variance);
    t.power = V(0.0) - select(gt(slope, V(0.0)), (slope + spread) / t.variance, V(2.0) * rate / (spread - slope));
    const V lowest = t.power / (t.power - V(1.0));
    // ln(1 - 1 / power) of a boundary so close that a quotient next to 1 has no digits of it.
    const V part = V(-1.0) / t.power, close = t.log_cap + part * (V(1.0) - part * (V(0.5) - part * V(1.0 / 3)));
    const auto near = both(both(gt(part, V(0.0)), lt(part, V(1e-5))), gt(rate, V(0.0)));
    t.deepest = select(near, max(close, V(1e-18)), max(log_of(t.cap / max(lowest, V(1e-300))), V(1e-12)));
    return t;
  }
};

/// What exercise below a boundary B at a moment adds to the premium for a spot s.
template <class Math, class V>
struct AmericanMoment {
  const AmericanTerms<V>& o;
  V s, per_spot, under;  // what d- gains per sqrt(time)
  bool yields;

  WQ_HD AmericanMoment(const AmericanTerms<V>& terms, V spot)
      : o(terms), s(spot), per_spot(V(1.0) / spot), under(terms.drift - terms.vol),
        yields(any(ne(terms.dividend, V(0.0)))) {}

  /// `wide`: the weight of the moment; w, per: the root of the time until then, and 1 / (sigma w); away: ln(s / B);
  /// slopes: the derivatives of -ln(B) by vol, rate and dividend.
  template <bool kSlopes, bool kTangents>
  WQ_HD void add(V wide, V w, V per, V away, V boundary, const V (&slopes)[3], AmericanValue<V>& sum) const {
    const V time = w * w, base = away * per, high = mul_add(o.drift, w, base), low = mul_add(under, w, base);
    const V discount = Math::exponential(V(0.0) - o.rate * time);
    const V density = Math::exponential(V(0.0) - mul_add(o.rate, time, V(0.5) * low * low)) * V(kInvSqrtTwoPi);
    const V tail_low = density * Math::tail_ratio(abs(low));
    const V paid = wide * select(gt(low, V(0.0)), tail_low, discount - tail_low);
    V lost(0.0);
    if (kTangents || yields) {
      const V fade = Math::exponential(V(0.0) - o.dividend * time);
      const V upper = density * boundary * per_spot;  // e^(-qv) phi(d+)
      const V tail_high = upper * Math::tail_ratio(abs(high));
      lost = wide * select(gt(high, V(0.0)), tail_high, fade - tail_high);
    }
    sum.price = sum.price + (o.rate * paid - o.dividend * s * lost);
    if constexpr (kSlopes) {
      const V flow = (o.rate - o.dividend * boundary) * density * wide;
      sum.delta = sum.delta - (o.dividend * lost + flow * per * per_spot);
      sum.gamma = sum.gamma + (o.dividend * boundary * density * wide + flow * (V(1.0) + low * per)) * per;
      if constexpr (kTangents) {
        const V turn = w * o.per_vol;
        sum.vega = sum.vega + density * wide * (o.rate * high - o.dividend * boundary * low) * o.per_vol -
                   flow * per * slopes[0];
        sum.rho = sum.rho + paid * (V(1.0) - o.rate * time) - flow * mul_add(slopes[1], per, turn);
        sum.epsilon = sum.epsilon - s * lost * (V(1.0) - o.dividend * time) + flow * (turn - slopes[2] * per);
      }
    }
  }
  /// Exercise for a time in which the boundary stands still, at a distance ln(s / B), with the slopes of `add`; after
  /// `finish`.
  template <bool kSlopes, bool kTangents, class M>
  WQ_HD_CALL void add_standing(M wanted, V sign, V standing, V away, const V (&slopes)[3],
                               AmericanValue<V>& sum) const {
    const V time = select(wanted, standing, V(1.0)), distance = away * o.per_vol;
    const auto paid = StandingFlow<V>::of(distance, under, o.rate, o.pace, time);
    const auto lost = StandingFlow<V>::of(distance, o.drift, o.dividend, o.pace, time);
    const auto plus = [&](V& total, V part) { total = select(wanted, mul_add(sign, part, total), total); };
    plus(sum.price, paid.value - s * lost.value);
    if constexpr (kSlopes) {
      const V per = o.per_vol * per_spot, slope = paid.slope - s * lost.slope;
      plus(sum.delta, slope * per - lost.value);
      plus(sum.gamma, ((paid.curve - s * lost.curve) * per - (paid.slope + s * lost.slope) * per_spot) * per);
      if constexpr (kTangents) {
        const V turn = paid.by_drift - s * lost.by_drift, half(0.5),
                pull = (o.rate - o.dividend) * o.per_vol * o.per_vol;
        plus(sum.vega,
             slope * (slopes[0] - distance) * o.per_vol - pull * turn - half * (paid.by_drift + s * lost.by_drift));
        plus(sum.rho, (slope * slopes[1] + turn) * o.per_vol + paid.by_rate);
        plus(sum.epsilon, (slope * slopes[2] - turn) * o.per_vol - s * lost.by_rate);
      }
    }
  }
  /// `times`: the time over which moments were added.
  WQ_HD void finish(V times, AmericanValue<V>& sum) const {
    sum.price = sum.price * times;
    sum.delta = sum.delta * times;
    sum.gamma = sum.gamma * times * per_spot * per_spot;
    sum.vega = sum.vega * times;
    sum.rho = sum.rho * times;
    sum.epsilon = sum.epsilon * times;
  }
};

/// What the boundary solves, and the premium that follows, with the nodes of a rule. `Numbers` is memory for as many
/// values as are asked for: V*, or the like where the values of a row do not lie side by side.
template <class Rule, class V, class Numbers>
struct AmericanPut : AmericanMath<Rule> {
  using Math = AmericanMath<Rule>;
  static constexpr int N = Rule::kNodes, L = Rule::kInner, P = Rule::kOuter;
  enum Parameter : int { kByVol, kByRate, kByDividend, kParameters };
  static constexpr int kWork = N * (N + 1 + kParameters);

  const AmericanTerms<V>& o;
  Numbers shapes;    // at the nodes
  Numbers matrix;    // of Newton's method
  Numbers right;     // what the equations lack
  Numbers tangents;  // derivatives of the shapes by the parameters

  WQ_HD AmericanPut(const AmericanTerms<V>& terms, Numbers shapes_, Numbers work)
      : o(terms), shapes(shapes_), matrix(work), right(work + N * N), tangents(work + N * (N + 1)) {}

  WQ_HD static const AmericanNodes<Rule>& nodes() { return american_nodes<Rule>(); }

  /// A first boundary: between what it is near expiry (Evans, Kuske and Keller, American options on assets with
  /// dividends near expiry, Math. Finance 12, 2002) and where it ends.
  template <class M>
  WQ_HD_CALL void open(M wanted) {
    const V carry = o.rate - o.dividend, gap = max(abs(carry), V(1e-3) * abs(o.rate));
    WQ_ROLLED
    for (int k = 0; k < N; ++k) {
      const V x = o.root * V(nodes().root[k]), tau = x * x, side = o.vol * x;
      constexpr double kEightPi = 25.132741228718345;
      const V wide = o.variance / (tau * gap * gap * V(kEightPi)), even = o.rate * tau;
      const V flat = V(1.0) / (V(2.0 * kEightPi) * even * even);
      const V level = max(log_of(max(min(select(o.capped, flat, min(wide, flat)), V(1e300)), V(1e-300))), V(2.0));
      const V above = side * sqrt(level);
      const V below = max(V(0.6388) * side, o.strike * (above + o.log_cap));
      const V front = mul_add(V(0.3) * abs(carry), tau, select(o.capped, below, above));
      const V depth = o.deepest * (V(1.0) - Math::exponential(V(0.0) - front / o.deepest));
      shapes[k] = select(wanted, depth * depth * V(nodes().place[k]) / tau, shapes[k]);
    }
  }
  /// A first boundary from one with fewer nodes.
  template <class Coarser>
  WQ_HD_CALL void refine(const Coarser& coarser) {
    constexpr int kFew = Coarser::N;
    WQ_ROLLED
    for (int k = 0; k < N; ++k) {
      // The same time in the other variable.
      const double lag = (1.0 / nodes().place[k] - 1.0) * (Coarser::kSpread / Rule::kSpread);
      const double place[1] = {1.0 / (1.0 + lag)};
      double weights[kFew][1];
      Coarser::nodes().weigh(place, weights);
      V h(0.0);
      WQ_ROLLED
      for (int m = 0; m < kFew; ++m) h = mul_add(V(weights[m][0]), coarser.shapes[m], h);
      // Where it is not smooth, the polynomial may leave what is between its neighbours.
      int next = 1;
      while (next < kFew - 1 && Coarser::nodes().place[next] < place[0]) ++next;
      const V before = coarser.shapes[next - 1], after = coarser.shapes[next];
      h = max(min(h, V(1.2) * max(before, after)), V(0.8) * min(before, after));
      shapes[k] = h * V(nodes().place[k] / place[0]);
    }
  }
  static constexpr double kSpread = Rule::kSpread;

  /// Weights are needed for this many nodes of an integral at a time.
  template <int count>
  static constexpr int kBlock = Rule::kTabled     ? count
                                : count % 14 == 0 ? 14
                                                  : 8;
  /// visit(first, weights) for the nodes of the integral up to node i, block by block.
  template <class Visit>
  WQ_HD static void each_inner(int i, Visit visit) {
    if constexpr (Rule::kTabled) {
      visit(0, american_weights<Rule>().inner[i]);
    } else {
      constexpr int kCount = kBlock<L>;
      static_assert(L % kCount == 0);
      WQ_ROLLED
      for (int first = 0; first < L; first += kCount) {
        double places[kCount], weights[N][kCount];
        WQ_ROLLED
        for (int j = 0; j < kCount; ++j) places[j] = 1.0 / (nodes().per_place[i] + nodes().inner_lag[first + j]);
        nodes().weigh(places, weights);
        visit(first, weights);
      }
    }
  }
  template <class Visit>
  WQ_HD static void each_outer(Visit visit) {
    if constexpr (Rule::kTabled) {
      visit(0, american_weights<Rule>().outer);
    } else {
      constexpr int kCount = kBlock<P>;
      static_assert(P % kCount == 0);
      WQ_ROLLED
      for (int first = 0; first < P; first += kCount) {
        double places[kCount], weights[N][kCount];
        WQ_ROLLED
        for (int j = 0; j < kCount; ++j) places[j] = 1.0 / (1.0 + nodes().outer_lag[first + j]);
        nodes().weigh(places, weights);
        visit(first, weights);
      }
    }
  }
  /// What a polynomial is at places, from its values at the nodes.
  template <int count>
  WQ_HD static void interpolate(const Numbers& values, const double (&weights)[N][count], V (&at)[count]) {
    WQ_ROLLED
    for (int j = 0; j < count; ++j) at[j] = V(0.0);
    WQ_ROLLED
    for (int k = 0; k < N; ++k) {
      const V value = values[k];
      WQ_ROLLED
      for (int j = 0; j < count; ++j) at[j] = mul_add(value, V(weights[k][j]), at[j]);
    }
  }

  /// Equation i: how much it lacks, and its derivatives by the shapes, and with `kTangents` by the parameters. With
  /// `yields` unset q is 0, and nobody asks for derivatives by it.
  template <bool kTangents>
  WQ_HD_CALL void equation(int i, bool yields) {
    constexpr int kCount = kBlock<L>;
    const V side = o.root * V(nodes().root[i]), tau = side * side, per_cap = o.rate / o.cap;
    const V share_of_own = tau * V(nodes().per_place[i]);
    V per_y;
    const V y = Math::root(share_of_own * shapes[i], per_y);
    const V per_side = o.per_width * V(nodes().per_root[i]), scale_side = side * o.per_vol;
    struct Sums {
      V gained, lost, own_gain, own_loss, gain_by[kParameters], loss_by[kParameters];
    };
    const V zero(0.0);
    Sums all{zero, zero, zero, zero, {zero, zero, zero}, {zero, zero, zero}};
    V gain_to[L], loss_to[L];
    each_inner(i, [&](int first, const auto& weights) {
      Sums sum = all;  // in registers
      // One thing at a time: in short loops a processor has more turns under way.
      V deep[kCount], per_deep[kCount], ds[kCount], densities[kCount], lifts[kCount];
      interpolate(shapes, weights, deep);
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        const double past = nodes().inner_past[first + j];
        // h (1 / zeta + c ln(...)) tau sin^2 is the square of the depth.
        const double share = past * past * (nodes().per_place[i] + nodes().inner_lag[first + j]);
        const V square = max(deep[j], o.variance * V(1e-8)) * (tau * V(share));
        deep[j] = Math::root(square, per_deep[j]);
        per_deep[j] = per_deep[j] * (tau * V(0.5 * share));
      }
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        const double left = nodes().inner_left[first + j];
        const V w = side * V(left);
        ds[j] = mul_add(o.drift, w, (deep[j] - y) * (per_side * V(nodes().inner_per_left[first + j])));
        const V half_square = V(-0.5) * ds[j] * ds[j];
        densities[j] = Math::exponential(yields ? half_square - o.dividend * (w * w) : half_square);
        lifts[j] = Math::exponential(deep[j]);
      }
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        const int at = first + j;
        const double left = nodes().inner_left[at], weight = nodes().inner_weight[at];
        const V w = side * V(left), per = per_side * V(nodes().inner_per_left[at]), time = w * w;
        const V d = ds[j], lifted = lifts[j], per_form = per_deep[j];
        const V density = densities[j] * V(kInvSqrtTwoPi * weight);
        const V grown = per_cap * lifted, flow = (grown - o.dividend) * density, pull = flow * d * per;
        sum.gained = sum.gained + flow;
        sum.own_gain = sum.own_gain + pull;
        gain_to[at] = (grown * density - pull) * per_form;
        V held(0.0);
        const V width = o.vol * w;
        if (yields) {
          const V tail = density * Math::tail_ratio(abs(d)), rise = o.dividend * density;
          const V whole = Math::exponential(V(0.0) - o.dividend * time) * V(weight);
          held = select(gt(d, V(0.0)), whole - tail, tail) * width;
          sum.lost = mul_add(o.dividend, held, sum.lost);
          loss_to[at] = rise * per_form;
          sum.own_loss = sum.own_loss - rise;
        }
        if constexpr (kTangents) {
          const V turn = w / o.vol, other = w - d / o.vol;
          const V gain_rate = select(o.capped, V(0.0), lifted),
                  gain_dividend = select(o.capped, grown / o.dividend - V(1.0), V(-1.0));
          sum.gain_by[kByRate] = sum.gain_by[kByRate] + (density * gain_rate - flow * d * turn);
          sum.gain_by[kByDividend] = sum.gain_by[kByDividend] + (density * gain_dividend + flow * (d * turn - time));
          sum.gain_by[kByVol] = sum.gain_by[kByVol] - flow * (V(1.0) / o.vol + d * other);
          const V moved = o.dividend * density * width;
          sum.loss_by[kByRate] = sum.loss_by[kByRate] + moved * turn;
          sum.loss_by[kByDividend] = sum.loss_by[kByDividend] + (held - time * o.dividend * held - moved * turn);
          sum.loss_by[kByVol] = sum.loss_by[kByVol] + moved * other;
        }
      }
      all = sum;
    });
    const V start = (o.log_cap - y) * per_side + o.drift * side;
    const V fade = Math::exponential(V(0.0) - o.dividend * tau) * o.strike;
    const V rise = fade * Math::exponential(V(-0.5) * start * start) * V(kInvSqrtTwoPi),
            edge = rise * Math::tail_ratio(abs(start));
    const V there = select(gt(start, V(0.0)), fade - edge, edge);
    // scale_side * all.gained = there + scale_side * all.lost
    const V total = there + scale_side * all.lost, gains = scale_side * all.gained;
    const V per_gains = Math::inverse(gains), per_total = Math::inverse(total);
    const V per_gain = scale_side * per_gains, per_loss = scale_side * per_total;
    right[i] = Math::log(total * per_gains);
    const Numbers row = matrix + i * N;
    WQ_ROLLED
    for (int k = 0; k < N; ++k) row[k] = V(0.0);
    each_inner(i, [&](int first, const auto& weights) {
      V to[kCount];
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        to[j] = gain_to[first + j] * per_gain;
        if (yields) to[j] = to[j] - loss_to[first + j] * per_loss;
      }
      WQ_ROLLED
      for (int k = 0; k < N; ++k) {
        V sum = row[k];
        WQ_ROLLED
        for (int j = 0; j < kCount; ++j) sum = mul_add(to[j], V(weights[k][j]), sum);
        row[k] = sum;
      }
    });
    const V own = all.own_gain * per_gain - all.own_loss * per_loss + rise * per_side * per_total;
    row[i] = row[i] + own * (V(0.5) * share_of_own * per_y);
    if constexpr (kTangents) {
      const V moves[kParameters] = {rise * (side - start / o.vol), rise * (o.rate_cap * per_side + side / o.vol),
                                    rise * (o.dividend_cap * per_side - side / o.vol) - tau * there};
      WQ_ROLLED
      for (int p = 0; p < kParameters; ++p)
        tangents[p * N + i] = all.loss_by[p] * per_loss + moves[p] * per_total - all.gain_by[p] * per_gain;
    }
  }

  /// One step of Newton's method in the lanes that are `active`: gives the largest relative change of a shape, times
  /// the root of the time that it belongs to, as it matters. With `kTangents` the boundary stays, and its derivatives
  /// by the parameters are put into `tangents`.
  template <bool kTangents, class M>
  WQ_HD_CALL V step(M active) {
    const bool yields = kTangents || any(ne(o.dividend, V(0.0)));
    WQ_ROLLED
    for (int i = 0; i < N; ++i) equation<kTangents>(i, yields);
    // Each node depends on those before it, and little on those after: no pivots needed.
    WQ_ROLLED
    for (int k = 0; k < N; ++k) {
      const Numbers from = matrix + k * N;
      const V pivot = Math::inverse(from[k]);
      from[k] = pivot;
      WQ_ROLLED
      for (int i = k + 1; i < N; ++i) {
        const Numbers to = matrix + i * N;
        const V f = to[k] * pivot;
        WQ_ROLLED
        for (int j = k + 1; j < N; ++j) to[j] = to[j] - f * from[j];
        right[i] = right[i] - f * right[k];
        if constexpr (kTangents) WQ_ROLLED
        for (int p = 0; p < kParameters; ++p) tangents[p * N + i] = tangents[p * N + i] - f * tangents[p * N + k];
      }
    }
    const auto solve = [&](const Numbers& r) {
      WQ_ROLLED
      for (int i = N - 1; i >= 0; --i) {
        V x = r[i];
        WQ_ROLLED
        for (int j = i + 1; j < N; ++j) x = x - matrix[i * N + j] * r[j];
        r[i] = x * matrix[i * N + i];
      }
    };
    V change(0.0);
    if constexpr (kTangents) {
      WQ_ROLLED
      for (int p = 0; p < kParameters; ++p) solve(tangents + p * N);
      return change;
    }
    solve(right);
    WQ_ROLLED
    for (int i = 0; i < N; ++i) {
      const V before = shapes[i], x = o.root * V(nodes().root[i]);
      const V top = o.deepest * o.deepest * V(nodes().place[i]) / (x * x);
      const V after = max(min(before + right[i], top), V(0.04) * before);
      shapes[i] = select(active, after, before);
      change = max(change, abs(after - before) / before * V(nodes().root[i]));
    }
    return change;
  }

  /// Newton's method in the lanes that are `wanted`, which stop one by one, so that a row's result does not depend on
  /// its neighbours: until no shape moves by more than `near`. Gives the lanes that go on moving, and those where the
  /// boundary fell to 0, which without interest (r = 0 > q) has a root there that means nothing.
  template <class M>
  WQ_HD M solve(M wanted, double near) {
    auto active = wanted;
    V change(0.0);
    WQ_ROLLED
    for (int turn = 0; turn < Rule::kMostSteps && any(active); ++turn) {
      change = select(active, step<false>(active), change);
      active = both(active, negate(le(change, V(near))));
    }
    // Where q is just above r the nodes next to expiry may go on trembling, which no price can see.
    return either(both(active, negate(le(change, V(near > 1e-3 ? near : 1e-3)))),
                  both(wanted, negate(le(depth(), furthest()))));
  }

  /// ln(X / B) beyond which no boundary is: with q < 0, that of q = 0, next to expiry (as in `open`), and some room;
  /// with hardly any interest until expiry also what comes near to that of an option without end.
  WQ_HD V furthest() const {
    constexpr double kSixteenPi = 50.26548245743669;
    const V stake = o.rate * o.expiry, level = log_of(max(stake * stake * V(kSixteenPi), V(1e-300)));
    const V bound = V(1.2) * o.vol * o.root * sqrt(max(V(0.0) - level, V(4.0)));
    const V end = select(lt(stake, V(1e-6)), V(0.95) * o.deepest, V(69.0));
    return select(both(lt(o.dividend, V(0.0)), gt(o.rate, V(0.0))), min(min(bound, end), V(69.0)), V(69.0));
  }

  /// Whether the nodes are too few: the last coefficients of the shape, as a series of Chebyshev polynomials, are not
  /// small against its mean and the interest that is at stake.
  WQ_HD auto rough(bool instead) const {
    V mean(0.0), last(0.0), next(0.0);
    WQ_ROLLED
    for (int k = 0; k < N; ++k) {
      const double end = k == 0 || k == N - 1 ? 0.5 : 1.0, sign = k % 2 == 1 ? -1.0 : 1.0;
      const V h = shapes[k] * V(end / (N - 1));
      mean = mean + h;
      last = mul_add(V(sign), h, last);
      next = mul_add(V(2.0 * sign * nodes().cosine[k]), h, next);
    }
    // A yield below 0 compounds.
    const V stake = (o.rate + V(10.0) * max(V(0.0) - o.dividend, V(0.0))) * o.expiry;
    return negate(le((abs(last) + abs(next)) * stake, V(instead ? Rule::kRestInstead : Rule::kRest) * mean));
  }

  /// The boundary at times of the premium's integral: visit(j, depth, slopes), these being the derivatives of -ln(B) by
  /// the parameters with `kTangents`.
  template <bool kTangents, class Visit>
  WQ_HD void each_depth(Visit visit) const {
    constexpr int kCount = kBlock<P>;
    each_outer([&](int first, const auto& weights) {
      V deep[kCount], per_deep[kCount], moved[kTangents ? int(kParameters) : 1][kCount];
      interpolate(shapes, weights, deep);
      if constexpr (kTangents) WQ_ROLLED
      for (int p = 0; p < kParameters; ++p) interpolate(tangents + p * N, weights, moved[p]);
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        const double past = nodes().outer_past[first + j], share = past * past * (1.0 + nodes().outer_lag[first + j]);
        deep[j] = Math::root(max(deep[j], o.variance * V(1e-8)) * (o.expiry * V(share)), per_deep[j]);
        per_deep[j] = per_deep[j] * (o.expiry * V(0.5 * share));
      }
      WQ_ROLLED
      for (int j = 0; j < kCount; ++j) {
        V slopes[kParameters];
        if constexpr (kTangents) {
          slopes[kByVol] = moved[kByVol][j] * per_deep[j];
          slopes[kByRate] = moved[kByRate][j] * per_deep[j] - o.rate_cap;
          slopes[kByDividend] = moved[kByDividend][j] * per_deep[j] - o.dividend_cap;
        }
        visit(first + j, deep[j], slopes);
      }
    });
  }
  /// ln(X / B) today.
  WQ_HD V depth() const { return o.root * sqrt(shapes[N - 1]); }

  /// Premium of early exercise for spot s above the boundary.
  template <bool kSlopes, bool kTangents>
  WQ_HD_CALL AmericanValue<V> premium(V s) const {
    const V zero(0.0), log_spot = log_of(s) - o.log_cap;
    const AmericanMoment<Math, V> moment(o, s);
    AmericanValue<V> out{zero, zero, zero, zero, zero, zero, o.cap * Math::exponential(zero - depth())};
    const auto stands = gt(o.standing, zero);
    const bool some = any(stands);
    each_depth<kTangents>([&](int j, V deep, const V(&slopes)[kParameters]) {
      const double left = nodes().outer_left[j];
      const V boundary = o.cap * Math::exponential(zero - deep);
      V w = o.root * V(left), per = o.per_width * V(nodes().outer_per_left[j]);
      if (some) {
        w = select(stands, sqrt(mul_add(o.expiry, V(left * left), o.standing)), w);
        per = select(stands, o.per_vol / w, per);
      }
      moment.template add<kSlopes, kTangents>(V(nodes().outer_weight[j]), w, per, log_spot + deep, boundary, slopes,
                                              out);
    });
    moment.finish(o.expiry, out);
    if (some) {
      // The boundary that stands is known better than the rule's nodes tell.
      V slopes[kParameters];
      o.endless_slopes(slopes);
      moment.template add_standing<kSlopes, kTangents>(stands, V(1.0), o.standing, log_spot + o.deepest, slopes, out);
      out.boundary = select(stands, o.cap * exp_of(zero - o.deepest), out.boundary);
    }
    return out;
  }
};

/// The premium of early exercise for a spot s above the boundary of an option without end.
template <class V, class M>
WQ_HD_NOINLINE AmericanValue<V> american_still(const AmericanTerms<V>& terms, const V& s, M wanted) {
  const V zero(0.0), depth = terms.deepest - terms.log_cap;
  V slopes[3];
  terms.endless_slopes(slopes);
  AmericanValue<V> out{zero, zero, zero, zero, zero, zero, exp_of(zero - depth)};
  AmericanMoment<AmericanMath<AmericanHigh>, V>(terms, s).template add_standing<true, true>(
      wanted, V(1.0), terms.standing + terms.expiry, log_of(s) + depth, slopes, out);
  return out;
}

/// Which results are wanted: those that a cheaper way gives may be had by it.
enum class AmericanWants { price, slopes, tangents };

/// The rules, each finer than the one before. A boundary is found on the nodes of each in turn, from that of the one
/// before, up to the rule that is asked for, and on where that does not resolve it.
template <class... Rules>
struct AmericanRules {};

/// Numbers that the rules from the first on need: shapes of all of them, and work memory for one at a time.
template <class Rule, class... Finer>
constexpr int american_numbers(AmericanRules<Rule, Finer...>) {
  constexpr int kOwn = Rule::kNodes * (Rule::kNodes + 4);
  if constexpr (sizeof...(Finer) == 0) {
    return Rule::kNodes + kOwn;
  } else {
    constexpr int kRest = american_numbers(AmericanRules<Finer...>{});
    return Rule::kNodes + (kOwn > kRest ? kOwn : kRest);
  }
}

/// Where no boundary has been found yet.
struct NoBoundary {
  static constexpr int N = 0;
};

/// How good a boundary must be, for a rule that is asked for and for those that stand in for it.
struct AmericanTolerance {
  double near;           // as `kNear`
  bool instead = false;  // of a coarser rule

  WQ_HD AmericanTolerance after() const { return {0.2 * near, true}; }
};

/// The premium for early exercise in the lanes that are `wanted`, from a boundary of coarser nodes, but where that is
/// `astray`; gives those lanes in which no rule resolves the boundary. Lanes stop one by one, so that a row's result
/// does not depend on its neighbours. `kBelow`: rules that are but a start.
template <int kBelow, class Rule, class... Finer, class V, class M, class Numbers, class Coarser>
WQ_HD_NOINLINE M american_premium(AmericanRules<Rule, Finer...>, const AmericanTerms<V>& terms, const V& s, M wanted,
                                  AmericanWants wants, AmericanTolerance tolerance, Numbers memory,
                                  const Coarser* coarser, M astray, AmericanValue<V>& premium) {
  using Put = AmericanPut<Rule, V, Numbers>;
  Put put(terms, memory, memory + Rule::kNodes);
  if constexpr (Coarser::N == 0)
    put.open(wanted);
  else
    put.refine(*coarser);
  if (any(astray)) put.open(astray);
  constexpr bool kLastRule = sizeof...(Finer) == 0;
  if constexpr (kBelow > 0) {
    V change(0.0);
    WQ_ROLLED
    for (int turn = 0; turn < Rule::kStartSteps; ++turn) change = put.template step<false>(wanted);
    astray = both(wanted, negate(le(change, V(0.25))));
    return american_premium<kBelow - 1>(AmericanRules<Finer...>{}, terms, s, wanted, wants, tolerance,
                                        memory + Rule::kNodes, &put, astray, premium);
  } else {
    auto active = put.solve(wanted, tolerance.near);
    if (kLastRule && any(active)) {  // a start that led astray
      put.open(active);
      active = put.solve(active, tolerance.near);
    }
    auto rough = active;
    if constexpr (!kLastRule) rough = both(wanted, either(active, put.rough(tolerance.instead)));
    if (!all(rough)) {
      if (wants == AmericanWants::tangents) {
        put.template step<true>(wanted);
        premium = put.template premium<true, true>(s);
      } else if (wants == AmericanWants::slopes) {
        premium = put.template premium<true, false>(s);
      } else {
        premium = put.template premium<false, false>(s);
      }
    }
    if constexpr (!kLastRule) {
      if (any(rough)) {
        AmericanValue<V> finer;
        const auto left = american_premium<0>(AmericanRules<Finer...>{}, terms, s, rough, wants, tolerance.after(),
                                              memory + Rule::kNodes, &put, active, finer);
        premium = choose(rough, finer, premium);
        return left;
      }
    }
    return rough;
  }
}

}  // namespace wq::options::inline WQ_LEVEL
