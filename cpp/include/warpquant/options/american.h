// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/american_rules.h"
#include "warpquant/options/vanilla.h"

namespace wq::options::inline WQ_LEVEL {

/// American options, by the boundary of early exercise: Andersen, Lake and Offengenden, High-performance American
/// option pricing, J. Comp. Finance 20 (2016), whose boundary on Chebyshev nodes and premium integral these are. What
/// is done otherwise (docs/options/american.md):
/// - the nodes are those of zeta = 1 / (1 + c ln(T / tau)), in which the boundary is smooth down to expiry, and the
///   interpolated quantity is the shape zeta ln(X / B)^2 / tau;
/// - the equation is smooth pasting, delta(B) = -1, in logarithms of its two sides, and all nodes are solved together
/// by
///   Newton's method, which also gives the derivatives of the boundary;
/// - integrals are over theta with u = tau sin^2(theta), which takes the root out of both ends.

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

/// Exponential and Mills ratio as the rule needs them: in full, or to 6e-11 and 2e-8, which is far below what quick
/// rules promise.
template <class Rule, class V>
WQ_HD V american_exp(V x) {
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
template <class Rule, class V>
WQ_HD V american_mills(V x) {
  if constexpr (!Rule::kQuick) {
    return mills(x);
  } else {
    constexpr double kSeries[] = {1.5509920598254638,    -0.17576553664466624,  0.0044947731512546,
                                  0.10311945061026305,   -0.13637885767876262,  0.1156763427884525,
                                  -0.07350183942458982,  0.0355897124922621,    -0.012339493178459133,
                                  0.0021164242470060393, 0.0004971955316344885, -0.0002866921415853247};
    const V far = min(x, V(1e100)), one = mul_add(far, V(kSqrtTwo), V(1.0)), sum = far + V(kMillsScale);
    const V inverse = V(1.0) / (one * sum);
    const V t = mul_add(far + far, one * inverse, V(-1.0));
    return polynomial(t, kSeries) * (sum * inverse);
  }
}

/// A put on a strike of 1 whose boundary is B(tau) for a time tau to expiry, X = B(0+). Rates: r > 0, or r = 0 > q.
template <class Rule, class V>
struct AmericanPut {
  static constexpr int N = Rule::kNodes, L = Rule::kInner, P = Rule::kOuter;
  enum Parameter : int { kByVol, kByRate, kByDividend, kParameters };

  V expiry, rate, dividend, vol, variance;
  V root;   // sqrt(T)
  V drift;  // (r - q) / sigma + sigma / 2: what d+ gains per sqrt(time)
  V cap;    // X
  V log_cap;
  V deepest;    // ln(X / B) of an option without end
  V shapes[N];  // at the nodes
  V series[N];  // of Chebyshev polynomials, for the shapes in between

  /// A first boundary: between what it is near expiry (Evans, Kuske and Keller, American options on assets with
  /// dividends near expiry, Math. Finance 12, 2002) and where it ends.
  WQ_HD_CALL void open(V expiry_, V rate_, V dividend_, V vol_) {
    expiry = expiry_, rate = rate_, dividend = dividend_, vol = vol_;
    root = sqrt(expiry);
    const V carry = rate - dividend;
    variance = vol * vol;
    drift = carry / vol + V(0.5) * vol;
    const auto capped = gt(dividend, rate);
    cap = select(capped, rate / dividend, V(1.0));
    log_cap = select(capped, log_of(max(cap, V(1e-300))), V(0.0));
    const V slope = carry - V(0.5) * variance, spread = sqrt(slope * slope + V(2.0) * rate * variance);
    const V power = V(0.0) - select(gt(slope, V(0.0)), (slope + spread) / variance, V(2.0) * rate / (spread - slope));
    const V lowest = power / (power - V(1.0));
    deepest = max(log_of(cap / max(lowest, V(1e-300))), V(1e-12));
    const V gap = max(abs(carry), V(1e-3) * abs(rate));
    for (int k = 0; k < N; ++k) {
      const V x = root * V(Rule::root(k)), tau = x * x, side = vol * x;
      constexpr double kEightPi = 25.132741228718345;
      const V wide = variance / (tau * gap * gap * V(kEightPi)), even = rate * tau;
      const V flat = V(1.0) / (V(2.0 * kEightPi) * even * even);
      const V level = max(log_of(max(min(select(capped, flat, min(wide, flat)), V(1e300)), V(1e-300))), V(2.0));
      const V above = side * sqrt(level);
      const V below = max(V(0.6388) * side, above + log_cap);
      const V front = mul_add(V(0.3) * abs(carry), tau, select(capped, below, above));
      const V depth = deepest * (V(1.0) - exponential(V(0.0) - front / deepest));
      shapes[k] = depth * depth * V(Rule::place(k)) / tau;
    }
  }

  WQ_HD static V exponential(V x) { return american_exp<Rule>(x); }
  WQ_HD static V tail_ratio(V x) { return american_mills<Rule>(x); }

  /// Coefficients of Chebyshev polynomials from values at the nodes.
  WQ_HD static void to_series(const V (&values)[N], V (&coefficients)[N]) {
    V halved[N];
    for (int k = 0; k < N; ++k) halved[k] = values[k] * V(end(k));
    for (int m = 0; m < N; ++m) {
      V sum(0.0);
      for (int k = 0, turn = 0; k < N; ++k, turn = next(turn, m)) sum = mul_add(V(Rule::cosine(turn)), halved[k], sum);
      coefficients[m] = sum * V(sign(m) * end(m) * (2.0 / kLast));
    }
  }
  /// The transposed map: derivatives by values from derivatives by coefficients.
  WQ_HD static void to_nodes(const V (&by_coefficients)[N], V (&by_values)[N]) {
    V scaled[N];
    for (int m = 0; m < N; ++m) scaled[m] = by_coefficients[m] * V(sign(m) * end(m) * (2.0 / kLast));
    for (int k = 0; k < N; ++k) {
      V sum(0.0);
      for (int m = 0, turn = 0; m < N; ++m, turn = next(turn, k)) sum = mul_add(V(Rule::cosine(turn)), scaled[m], sum);
      by_values[k] = sum * V(end(k));
    }
  }
  static constexpr int kLast = N - 1;
  WQ_HD static double end(int k) { return k == 0 || k == kLast ? 0.5 : 1.0; }
  WQ_HD static double sign(int m) { return m % 2 == 1 ? -1.0 : 1.0; }
  /// (turn + m) modulo a full turn.
  WQ_HD static int next(int turn, int m) {
    turn += m;
    return turn >= 2 * kLast ? turn - 2 * kLast : turn;
  }

  /// Chebyshev polynomials at `count` places.
  template <int count>
  WQ_HD static void basis(const double (&places)[count], double (&t)[N][count]) {
    for (int j = 0; j < count; ++j) {
      const double z = (2.0 * places[j] - (1.0 + Rule::kFirst)) * (1.0 / (1.0 - Rule::kFirst));
      t[0][j] = 1.0, t[1][j] = z < -1.0 ? -1.0 : z;
    }
    for (int m = 2; m < N; ++m)
      for (int j = 0; j < count; ++j) t[m][j] = (t[1][j] + t[1][j]) * t[m - 1][j] - t[m - 2][j];
  }
  template <int count>
  WQ_HD V shape(const double (&t)[N][count], int j) const {
    V even = series[0], odd = series[1] * V(t[1][j]);
    for (int m = 2; m + 1 < N; m += 2) {
      even = mul_add(series[m], V(t[m][j]), even);
      odd = mul_add(series[m + 1], V(t[m + 1][j]), odd);
    }
    if constexpr (N % 2 == 1) even = mul_add(series[N - 1], V(t[N - 1][j]), even);
    const V h = even + odd;
    return max(h, variance * V(1e-8));
  }

  /// One step of Newton's method in the lanes that are `active`: gives the largest relative change of a shape,
  /// times the root of the time that it belongs to, as it matters. With
  /// `kTangents` the boundary stays, and its derivatives by the parameters are put into `tangents`.
  template <bool kTangents, class M>
  WQ_HD_CALL V step(M active, V (*tangents)[N] = nullptr) {
    to_series(shapes, series);
    V matrix[N][N], right[N];
    const bool yields = any(ne(dividend, V(0.0)));
    const V per_cap = rate / cap;  // r / X
    const V by_rate_cap = select(gt(dividend, rate), V(1.0) / rate, V(0.0));
    const V by_dividend_cap = select(gt(dividend, rate), V(-1.0) / dividend, V(0.0));
    for (int i = 0; i < N; ++i) {
      const V side = root * V(Rule::root(i)), tau = side * side;
      const V y = sqrt(tau * shapes[i] * V(1.0 / Rule::place(i))), per_side = V(1.0) / (vol * side),
              scale_side = side / vol;
      V gained(0.0), lost(0.0), own_gain(0.0), own_loss(0.0), gain_to[L], loss_to[L];
      V gain_by[kParameters] = {V(0.0), V(0.0), V(0.0)}, loss_by[kParameters] = {V(0.0), V(0.0), V(0.0)};
      double t[N][L], lags[L], places[L];
      for (int j = 0; j < L; ++j) lags[j] = 1.0 / Rule::place(i) + Rule::inner_lag(j), places[j] = 1.0 / lags[j];
      basis(places, t);
      // One thing at a time: in short loops a processor has more turns under way.
      V forms[L], depths[L], ds[L], densities[L], lifts[L];
      for (int j = 0; j < L; ++j) {
        const double past = Rule::inner_past(j);
        forms[j] = shape(t, j);
        depths[j] = sqrt(tau * forms[j] * V(past * past * lags[j]));
      }
      for (int j = 0; j < L; ++j) {
        const double left = Rule::inner_left(j);
        const V w = side * V(left);
        ds[j] = mul_add(drift, w, (depths[j] - y) * (per_side * V(1.0 / left)));
        densities[j] = exponential(V(-0.5) * ds[j] * ds[j] - dividend * (w * w));
        lifts[j] = exponential(depths[j]);
      }
      for (int j = 0; j < L; ++j) {
        const double left = Rule::inner_left(j), weight_j = Rule::inner_weight(j);
        const V w = side * V(left), per = per_side * V(1.0 / left), time = w * w;
        const V form = forms[j], deep = depths[j], d = ds[j], lifted = lifts[j];
        const V density = densities[j] * V(kInvSqrtTwoPi * weight_j);
        const V grown = per_cap * lifted, gain = grown - dividend;
        const V flow = gain * density, pull = flow * d * per, per_form = V(0.5) * deep / form;
        gained = gained + flow;
        own_gain = own_gain + pull;
        gain_to[j] = (grown * density - pull) * per_form;
        V held(0.0);
        const V width = vol * w;
        if (yields) {
          const V tail = density * tail_ratio(abs(d)), rise = dividend * density;
          held = select(gt(d, V(0.0)), exponential(V(0.0) - dividend * time) * V(weight_j) - tail, tail) * width;
          lost = mul_add(dividend, held, lost);
          loss_to[j] = rise * per_form;
          own_loss = own_loss - rise;
        }
        if constexpr (kTangents) {
          const V turn = w / vol, other = w - d / vol;
          const auto capped = gt(dividend, rate);
          const V gain_rate = select(capped, V(0.0), lifted),
                  gain_dividend = select(capped, grown / dividend - V(1.0), V(-1.0));
          gain_by[kByRate] = gain_by[kByRate] + (density * gain_rate - flow * d * turn);
          gain_by[kByDividend] = gain_by[kByDividend] + (density * gain_dividend + flow * (d * turn - time));
          gain_by[kByVol] = gain_by[kByVol] - flow * (V(1.0) / vol + d * other);
          const V moved = dividend * density * width;
          loss_by[kByRate] = loss_by[kByRate] + moved * turn;
          loss_by[kByDividend] = loss_by[kByDividend] + (held - time * dividend * held - moved * turn);
          loss_by[kByVol] = loss_by[kByVol] + moved * other;
        }
      }
      const V start = (log_cap - y) * per_side + drift * side;
      const V fade = exponential(V(0.0) - dividend * tau);
      const V rise = fade * exponential(V(-0.5) * start * start) * V(kInvSqrtTwoPi),
              edge = rise * tail_ratio(abs(start));
      const V there = select(gt(start, V(0.0)), fade - edge, edge);
      // scale_side * gained = there + scale_side * lost
      const V total = there + scale_side * lost, gains = scale_side * gained;
      const V per_gain = V(1.0) / gained, per_loss = scale_side / total;
      right[i] = log_ratio(total, gains);
      V parts[N];
      for (int m = 0; m < N; ++m) parts[m] = V(0.0);
      for (int j = 0; j < L; ++j) {
        V to = gain_to[j] * per_gain;
        if (yields) to = to - loss_to[j] * per_loss;
        for (int m = 0; m < N; ++m) parts[m] = mul_add(to, V(t[m][j]), parts[m]);
      }
      to_nodes(parts, matrix[i]);
      const V own = own_gain * per_gain - own_loss * per_loss + rise * per_side / total;
      matrix[i][i] = matrix[i][i] + own * (V(0.5) * y / shapes[i]);
      if constexpr (kTangents) {
        const V moves[kParameters] = {rise * (side - start / vol), rise * (by_rate_cap * per_side + side / vol),
                                      rise * (by_dividend_cap * per_side - side / vol) - tau * there};
        for (int p = 0; p < kParameters; ++p)
          tangents[p][i] = loss_by[p] * per_loss + moves[p] / total - gain_by[p] * per_gain;
      }
    }
    // Each node depends on those before it, and little on those after: no pivots needed.
    for (int k = 0; k < N; ++k) {
      const V pivot = V(1.0) / matrix[k][k];
      for (int i = k + 1; i < N; ++i) {
        const V f = matrix[i][k] * pivot;
        for (int j = k + 1; j < N; ++j) matrix[i][j] = matrix[i][j] - f * matrix[k][j];
        right[i] = right[i] - f * right[k];
        if constexpr (kTangents)
          for (int p = 0; p < kParameters; ++p) tangents[p][i] = tangents[p][i] - f * tangents[p][k];
      }
    }
    const auto solve = [&](V(&r)[N]) {
      for (int i = N - 1; i >= 0; --i) {
        V x = r[i];
        for (int j = i + 1; j < N; ++j) x = x - matrix[i][j] * r[j];
        r[i] = x / matrix[i][i];
      }
    };
    V change(0.0);
    if constexpr (kTangents) {
      for (int p = 0; p < kParameters; ++p) solve(tangents[p]);
      return change;
    }
    solve(right);
    for (int i = 0; i < N; ++i) {
      const V before = shapes[i], x = root * V(Rule::root(i));
      const V top = deepest * deepest * V(Rule::place(i)) / (x * x);
      const V after = max(min(before + right[i], top), V(0.04) * before);
      shapes[i] = select(active, after, before);
      change = max(change, abs(after - before) / before * V(Rule::root(i)));
    }
    return change;
  }

  /// Premium of early exercise for spot s above the boundary.
  template <bool kTangents>
  WQ_HD_CALL AmericanValue<V> premium(V s, V (*tangents)[N] = nullptr) {
    to_series(shapes, series);
    V by_series[kParameters][N];
    const V log_spot = log_of(s) - log_cap;
    AmericanValue<V> out{
        V(0.0), V(0.0), V(0.0), V(0.0), V(0.0), V(0.0), cap * exponential(V(0.0) - root * sqrt(shapes[N - 1]))};
    const V by_rate_cap = select(gt(dividend, rate), V(1.0) / rate, V(0.0));
    const V by_dividend_cap = select(gt(dividend, rate), V(-1.0) / dividend, V(0.0));
    if constexpr (kTangents) {
      for (int p = 0; p < kParameters; ++p) to_series(tangents[p], by_series[p]);
    }
    double t[N][P], lags[P], places[P];
    for (int j = 0; j < P; ++j) lags[j] = 1.0 + Rule::outer_lag(j), places[j] = 1.0 / lags[j];
    basis(places, t);
    const V per_root = V(1.0) / (vol * root);
    const V under = drift - vol;  // what d- gains
    for (int j = 0; j < P; ++j) {
      const double lag = lags[j], past = Rule::outer_past(j);
      const double left = Rule::outer_left(j);
      const V w = root * V(left), per = per_root * V(1.0 / left), time = w * w;
      const V form = shape(t, j), deep = sqrt(expiry * form * V(past * past * lag));
      const V base = (log_spot + deep) * per, high = mul_add(drift, w, base), low = mul_add(under, w, base);
      const V discount = exponential(V(0.0) - rate * time), fade = exponential(V(0.0) - dividend * time);
      const V boundary = cap * exponential(V(0.0) - deep);
      const V wide(Rule::outer_weight(j));
      const V density = exponential(V(0.0) - mul_add(rate, time, V(0.5) * low * low)) * V(kInvSqrtTwoPi);
      const V upper = density * boundary / s;  // e^(-qv) phi(d+)
      const V tail_low = density * tail_ratio(abs(low)), tail_high = upper * tail_ratio(abs(high));
      const V paid = wide * select(gt(low, V(0.0)), tail_low, discount - tail_low);
      const V lost = wide * select(gt(high, V(0.0)), tail_high, fade - tail_high);
      out.price = out.price + (rate * paid - dividend * s * lost);
      const V flow = (rate - dividend * boundary) * density * wide;
      out.delta = out.delta - (dividend * lost + flow * per / s);
      out.gamma = out.gamma + (dividend * boundary * density * wide + flow * (V(1.0) + low * per)) * per;
      if constexpr (kTangents) {
        const V turn = w / vol, half_per = V(0.5) * per * deep / form;
        V moved[kParameters];
        for (int p = 0; p < kParameters; ++p) {
          V sum = by_series[p][0];
          for (int m = 1; m < N; ++m) sum = mul_add(by_series[p][m], V(t[m][j]), sum);
          moved[p] = sum * half_per;
        }
        out.vega = out.vega + density * wide * (rate * high - dividend * boundary * low) / vol - flow * moved[kByVol];
        out.rho = out.rho + paid * (V(1.0) - rate * time) - flow * (turn + moved[kByRate] - by_rate_cap * per);
        out.epsilon = out.epsilon - s * lost * (V(1.0) - dividend * time) +
                      flow * (turn - moved[kByDividend] + by_dividend_cap * per);
      }
    }
    out.price = out.price * expiry;
    out.delta = out.delta * expiry;
    out.gamma = out.gamma * expiry / (s * s);
    out.vega = out.vega * expiry;
    out.rho = out.rho * expiry;
    out.epsilon = out.epsilon * expiry;
    return out;
  }
};

/// The premium for early exercise of puts on a strike of 1, in the lanes that are `wanted`; gives those in which no
/// rule resolves the boundary. Of the rules, which are ever finer, each row gets the first that does; those after the
/// first are trusted if they converge.
template <bool kTrusted, class Rule, class... Finer, class V, class M>
WQ_HD_NOINLINE M american_premium(const V& s, const V& expiry, const V& rate, const V& dividend, const V& vol, M wanted,
                                  bool derivatives, AmericanValue<V>& premium) {
  AmericanPut<Rule, V> put;
  put.open(expiry, rate, dividend, vol);
  auto active = wanted;
  V change(0.0);
  // Lanes stop one by one, so that a row's result does not depend on its neighbours.
  for (int step = 0; step < Rule::kMostSteps && any(active); ++step) {
    change = select(active, put.template step<false>(active), change);
    active = both(active, negate(le(change, V(Rule::kNear))));
  }
  // Where q is just above r the nodes next to expiry may go on trembling, which no price can see.
  constexpr double kEnough = Rule::kNear > 1e-3 ? Rule::kNear : 1e-3;
  active = both(active, negate(le(change, V(kEnough))));
  if (derivatives) {
    V tangents[AmericanPut<Rule, V>::kParameters][Rule::kNodes];
    put.template step<true>(active, tangents);
    premium = put.template premium<true>(s, tangents);
  } else {
    premium = put.template premium<false>(s);
  }
  constexpr int kLast = Rule::kNodes - 1;
  V most(0.0);
  for (const V& part : put.series) most = max(most, abs(part));
  const V rest = abs(put.series[kLast]) + abs(put.series[kLast - 1]);
  const auto rough = kTrusted ? active : both(wanted, either(active, negate(le(rest, V(Rule::kRest) * most))));
  if constexpr (sizeof...(Finer) > 0) {
    if (any(rough)) {
      AmericanValue<V> finer;
      const auto left = american_premium<true, Finer...>(s, expiry, rate, dividend, vol, rough, derivatives, finer);
      premium = choose(rough, finer, premium);
      return left;
    }
  }
  return rough;
}

enum AmericanOutput : int {
  kAmericanPrice,
  kAmericanDelta,
  kAmericanGamma,
  kAmericanVega,
  kAmericanTheta,
  kAmericanRho,
  kAmericanEpsilon,
  kAmericanDualDelta,
  kAmericanBoundary,
  kAmericanStatus,
  kAmericanOutputs
};
inline constexpr const char* kAmericanNames = "price delta gamma vega theta rho epsilon dual_delta boundary status";

/// What becomes of an option.
enum AmericanStatus : int { kHeld, kExercised, kEuropean, kUnresolved, kInvalid, kTwoBoundaries };

/// Where nothing is random: the exercise at the time of the greatest value. One row at a time.
template <class Put>
WQ_HD_CALL void american_limits(double spot, double strike, double expiry, double rate, double dividend, double vol,
                                double sign, Put put) {
  const double nan = __builtin_nan("");
  for (int k = 0; k < kAmericanOutputs; ++k) put(k, nan);
  put(kAmericanStatus, kInvalid);
  if (!(spot >= 0 && strike >= 0 && expiry >= 0 && vol >= 0) || sign == 0 ||
      !is_finite(((spot + strike) + (rate + dividend)) + (expiry + vol)))
    return;
  double best = sign * (spot - strike), when = 0.0;
  const auto consider = [&](double time) {
    const double value = sign * (spot * exp_of(-dividend * time) - strike * exp_of(-rate * time));
    if (value > best) best = value, when = time;
  };
  consider(expiry);
  if (rate * strike > 0 && dividend * spot > 0 && rate != dividend) {
    const double time = log_ratio(rate * strike, dividend * spot) / (rate - dividend);
    if (time > 0 && time < expiry) consider(time);
  } else if (rate * strike < 0 && dividend * spot < 0 && rate != dividend) {
    const double time = log_ratio(-rate * strike, -dividend * spot) / (rate - dividend);
    if (time > 0 && time < expiry) consider(time);
  }
  const bool worthless = !(best > 0), last = when == expiry && expiry > 0;
  const double fade = worthless ? 0.0 : exp_of(-dividend * when), discount = worthless ? 0.0 : exp_of(-rate * when);
  put(kAmericanPrice, worthless ? 0.0 : best);
  put(kAmericanDelta, sign * fade + 0.0);
  put(kAmericanDualDelta, -sign * discount + 0.0);
  put(kAmericanGamma, 0.0);
  put(kAmericanVega, 0.0);
  put(kAmericanTheta, last ? sign * (dividend * spot * fade - rate * strike * discount) + 0.0 : 0.0);
  put(kAmericanRho, sign * strike * when * discount + 0.0);
  put(kAmericanEpsilon, -sign * spot * when * fade + 0.0);
  put(kAmericanStatus, worthless || when > 0 ? kHeld : kExercised);
}

/// By a rule, and by finer ones where it does not resolve the boundary.
template <class Rule, class... Finer>
struct American {
  static constexpr rows::Info kInfo = {Rule::kName, "spot strike expiry rate dividend vol is_call", kAmericanNames,
                                       Rule::kNanoseconds};
  static constexpr double kRandom = 1e-5;  // sigma sqrt(T) below which nothing is

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    auto known = eq(V(0.0), V(0.0));
    const V sign = sign_of(r.template in<V>(6), known);
    const V spot = r.template in<V>(0), strike = r.template in<V>(1), expiry = r.template in<V>(2);
    const V rate = r.template in<V>(3), dividend = r.template in<V>(4), vol = r.template in<V>(5);
    const auto call = gt(sign, V(0.0));
    const auto finite = is_finite(((spot + strike) + (rate + dividend)) + (expiry + vol));
    const auto ordinary = both(both(both(gt(spot, V(0.0)), gt(strike, V(0.0))), both(known, finite)),
                               both(gt(expiry, V(0.0)), gt(vol * sqrt(expiry), V(kRandom))));
    const bool derivatives = r.wants(kAmericanVega) || r.wants(kAmericanRho) || r.wants(kAmericanEpsilon);

    // A call is a put on the other side of the trade; then everything is a multiple of the strike.
    const V own = select(call, strike, spot), other = select(call, spot, strike);
    const V gain = select(call, dividend, rate), loss = select(call, rate, dividend);
    // Interest up to 1e-20 of the strike is none: waiting then costs less than a rounding.
    const V nothing(1e-20);
    const auto never = both(le(gain * expiry, nothing), either(ge(loss, gain), ge(loss * expiry, V(0.0) - nothing)));
    const auto twice = but_not(both(lt(gain, V(0.0)), lt(loss, gain)), never);
    const auto early = both(ordinary, negate(either(never, twice)));
    const V zero(0.0), one(1.0);
    // Other lanes get an option that gives no trouble.
    const V s = select(ordinary, own / other, one);
    AmericanValue<V> premium = {zero, zero, zero, zero, zero, zero, zero};
    auto unresolved = but_not(early, early);
    if (any(early)) {
      const V time = select(early, expiry, one), sigma = select(early, vol, V(0.2));
      const V by_rate = select(early, gain, V(0.05)), by_yield = select(early, loss, zero);
      AmericanValue<V> found;
      unresolved =
          american_premium<false, Rule, Finer...>(s, time, by_rate, by_yield, sigma, early, derivatives, found);
      premium = choose(early, found, premium);
    }
    const auto o = Black<V>::template of<false>(select(ordinary, spot, one), select(ordinary, strike, one),
                                                select(ordinary, expiry, one), select(ordinary, rate, zero),
                                                select(ordinary, dividend, zero), select(ordinary, vol, one), sign);
    const V european = o.price(), intrinsic = sign * (spot - strike);
    const auto exercised = both(early, le(s, premium.boundary));
    const V price = select(exercised, intrinsic, max(mul_add(max(premium.price, zero), other, european), intrinsic));
    // In terms of the option that was asked for.
    const V slope = premium.delta, across = premium.price - s * slope;
    const auto held = [&](V value) { return keep_if(negate(exercised), value); };
    const V delta = select(exercised, sign, mul_add(sign, o.carry_share(), select(call, across, slope)));
    const V gamma = held(o.slope * o.inverse_v / o.spot + select(call, s * s * premium.gamma, premium.gamma) / other);
    const V by_gain = premium.rho * other, by_loss = premium.epsilon * other;
    V results[kAmericanOutputs];
    results[kAmericanPrice] = price;
    results[kAmericanDelta] = delta;
    results[kAmericanGamma] = gamma;
    results[kAmericanVega] = held(mul_add(premium.vega, other, o.spot_density * o.root));
    // By the equation that the price obeys where it is not exercised.
    results[kAmericanTheta] = held(mul_add(
        rate, price, zero - mul_add((rate - dividend) * spot, delta, V(0.5) * (vol * spot) * (vol * spot) * gamma)));
    results[kAmericanRho] = held(mul_add(sign * o.expiry, o.strike_share(), select(call, by_loss, by_gain)));
    results[kAmericanEpsilon] = held(select(call, by_gain, by_loss) - sign * o.expiry * o.spot_share());
    results[kAmericanDualDelta] =
        select(exercised, zero - sign, select(call, slope, across) - sign * (o.strike_share() / o.strike));
    const V nan(__builtin_nan(""));
    results[kAmericanBoundary] = select(early, select(call, strike / premium.boundary, strike * premium.boundary), nan);
    results[kAmericanStatus] = select(exercised, V(kExercised), select(never, V(kEuropean), V(kHeld)));
    const auto unknown = either(both(ordinary, twice), unresolved);
    if (any(unknown)) {
      for (V& result : results) result = select(unknown, nan, result);
      const V why = select(unresolved, V(kUnresolved), V(kTwoBoundaries));
      results[kAmericanStatus] = select(unknown, why, results[kAmericanStatus]);
    }
    if (!all(ordinary))
      for (int j = 0; j < kWidth<V>; ++j) {
        if (lane(ordinary, j)) continue;
        american_limits(lane(spot, j), lane(strike, j), lane(expiry, j), lane(rate, j), lane(dividend, j), lane(vol, j),
                        lane(known, j) ? lane(sign, j) : 0.0,
                        [&](int k, double value) { set_lane(results[k], j, value); });
      }
    for (int k = 0; k < kAmericanOutputs; ++k) r.put(k, results[k]);
  }
};

using AmericanFamily =
    rows::List<American<AmericanFast, AmericanAccurate, AmericanHigh, AmericanExtra>,
               American<AmericanAccurate, AmericanHigh, AmericanExtra>, American<AmericanHigh, AmericanExtra>>;

}  // namespace wq::options::inline WQ_LEVEL
