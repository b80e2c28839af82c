// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/lattice.h"

namespace wq::options::inline WQ_LEVEL {

enum GridOutput : int { kGridPrice, kGridDelta, kGridGamma, kGridTheta, kGridStatus, kGridOutputs };

/// Finite differences for options on a share that pays cash. Parameters: nodes, steps, whether the option may be
/// exercised early (1) or not (0), the number of dividends, then time and amount of each, by time.
///
/// Escrowed: the spot less the present value of the dividends to come is lognormal. Otherwise the spot is lognormal
/// between dividends and falls by each of them; what is due beyond the spot is not paid.
///
/// Time: TR-BDF2 (Bank et al., Transient simulation of silicon devices and circuits, IEEE Trans. CAD 4, 1985), steps
/// that grow from the beginning of each stretch between dividends. Space: nodes crowd around the strike, and index 0 is
/// the end that is deepest in the money, for calls and puts alike, so that early exercise is a solution from that end
/// (Brennan and Schwartz, The valuation of American put options, J. Finance 32, 1977).
template <bool kEscrowed>
struct Grid {
  static constexpr rows::Info kInfo = {kEscrowed ? "grid_escrowed" : "grid_piecewise", kOptionInputs,
                                       "price delta gamma theta status", 300'000};
  enum Parameter : int { kNodes, kSteps, kEarly, kCount, kSchedule };

  static std::int64_t scratch(const double* parameters) {
    return kArrays * static_cast<std::int64_t>(parameters[kNodes]);
  }

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const auto in = OptionInputs<V>::of(r);
    const V sign = in.sign;
    V spot = in.spot, strike = in.strike, expiry = in.expiry, rate = in.rate, dividend = in.dividend, vol = in.vol;
    const V paid = kEscrowed ? worth(r, expiry, rate, V(0.0), V(0.0)) : V(0.0);
    const auto good = both(both(in.meaningful(), gt(spot - paid, V(0.0))), gt(vol, V(0.0)));
    // Lanes without a value get an option that gives no trouble.
    const auto calm = [&](V& x, double value) { x = select(good, x, V(value)); };
    calm(spot, 1.0), calm(strike, 1.0), calm(expiry, 1.0), calm(rate, 0.0), calm(dividend, 0.0), calm(vol, 0.2);
    Problem<V> p{select(good, spot - paid, V(1.0)),    strike, expiry, rate, dividend, vol, sign,
                 static_cast<int>(r.parameter(kNodes))};
    place_nodes(r, p);
    march(r, p);
    V at[3];
    look_up(r, p, at);
    const V intrinsic = sign * (spot - strike), carry = rate - dividend;
    const V price = r.parameter(kEarly) != 0 ? max(at[0], intrinsic) : max(at[0], V(0.0));
    const V drift = mul_add(carry, p.spot, rate * select(good, paid, V(0.0)));
    const V decay = rate * at[0] - drift * at[1] - V(0.5) * (vol * p.spot) * (vol * p.spot) * at[2];
    const auto exercised = r.parameter(kEarly) != 0 ? le(at[0], intrinsic) : negate(eq(V(0.0), V(0.0)));
    const V zero(0.0);
    V results[kGridOutputs];
    results[kGridPrice] = price;
    results[kGridDelta] = select(exercised, sign, at[1]);
    results[kGridGamma] = select(exercised, zero, at[2]);
    results[kGridTheta] = select(exercised, zero, decay);
    results[kGridStatus] = select(exercised, V(kExercised), V(kHeld));
    rows::put_with_limits(r, results, good, [&](int j, auto put) {
      limits(r, lane(in.spot, j), lane(in.strike, j), lane(in.expiry, j), lane(in.rate, j), lane(in.dividend, j),
             lane(in.vol, j), in.sign_at(j), put);
    });
  }

 private:
  enum Array : int { kSpots, kValues, kStage, kRight, kBelow, kAbove, kPivot, kArrays };

  /// Without vol or time: what exercise gives along the only path. The pricing equation gives theta.
  template <class Row, class Put>
  WQ_HD_CALL static void limits(const Row& r, double spot, double strike, double expiry, double rate, double dividend,
                                double vol, double sign, Put put) {
    const double nan = __builtin_nan("");
    for (int k = 0; k < kGridOutputs; ++k) put(k, nan);
    put(kGridStatus, kInvalid);
    const double finite = ((spot + strike) + (rate + dividend)) + (expiry + vol);
    if (!(spot > 0 && strike > 0 && expiry >= 0 && vol >= 0) || sign == 0 || !is_finite(finite)) return;
    const double paid = kEscrowed ? worth(r, expiry, rate, 0.0, 0.0) : 0.0;
    if (!(spot - paid > 0)) return;
    const bool early = r.parameter(kEarly) != 0;
    CertainExercise best{sign, strike, rate, dividend};
    double now = spot - paid, extra = paid, from = 0.0;
    for (int i = 0; i < static_cast<int>(r.parameter(kCount)); ++i) {
      const double due = r.parameter(kSchedule + 2 * i),
                   worth_now = r.parameter(kSchedule + 2 * i + 1) * exp_of(-rate * due);
      if (!(due > 0 && due <= expiry)) continue;
      if (early) best.stretch(now, extra, from, due, true);
      if constexpr (kEscrowed) {
        extra -= worth_now;
      } else {
        now -= worth_now * exp_of(dividend * due);
        if (now <= 0) now = best.own = 0.0;
      }
      from = due;
    }
    best.stretch(now, kEscrowed ? 0.0 : extra, from, expiry, early);
    const bool exercised = early && best.best > 0 && best.when == 0;
    put(kGridPrice, best.price());
    put(kGridDelta, best.delta());
    put(kGridGamma, best.gamma());
    const double drift = (rate - dividend) * (spot - paid) + rate * paid;
    put(kGridTheta, exercised                                  ? 0.0
                    : best.best == 0 && expiry == 0 && vol > 0 ? -kInfinity
                                                               : rate * best.price() - drift * best.delta() + 0.0);
    put(kGridStatus, exercised ? kExercised : kHeld);
  }

  template <class V>
  struct Problem {
    V spot, strike, expiry, rate, dividend, vol, sign;
    int nodes;
  };

  template <class V, class Row>
  WQ_HD static auto array(const Row& r, int which, int nodes) {
    return r.template scratch<V>() + which * nodes;
  }

  /// What the dividends until expiry that are due at `after` or later are worth at `now`.
  template <class V, class Row>
  WQ_HD static V worth(const Row& r, V expiry, V rate, V now, V after) {
    V sum(0.0);
    for (int i = 0; i < static_cast<int>(r.parameter(kCount)); ++i) {
      const V time(r.parameter(kSchedule + 2 * i)), amount(r.parameter(kSchedule + 2 * i + 1));
      const auto due = both(both(gt(time, V(0.0)), ge(time, after)), le(time, expiry));
      sum = sum + keep_if(due, amount * exp_of(rate * (now - time)));
    }
    return sum;
  }

  template <class V, class Row>
  WQ_HD_CALL static void place_nodes(const Row& r, const Problem<V>& p) {
    const auto spots = array<V>(r, kSpots, p.nodes);
    const V v = p.vol * sqrt(p.expiry), width = V(0.4) * v;
    // In the coordinate that rises from in the money to out of the money, from the strike.
    const V place = V(0.0) - p.sign * log_ratio(p.spot, p.strike);
    const V reach = mul_add(V(7.0), v, abs((p.rate - p.dividend) * p.expiry));
    const auto bend = [](V x) { return log_of(x + sqrt(x * x + V(1.0))); };
    const V first = bend((max(V(0.0) - place, V(0.0)) + reach) / width);
    const V last = bend((max(place, V(0.0)) + reach) / width);
    // The strike is a node.
    const V intervals(static_cast<double>(p.nodes - 1));
    const V before = max(min(rint(intervals * first / (first + last)), intervals - V(2.0)), V(2.0));
    const V stretch = max(first / before, last / (intervals - before));
    for (int j = 0; j < p.nodes; ++j) {
      const V s = stretch * (V(static_cast<double>(j)) - before), e = exp_of(s);
      const V x = width * V(0.5) * (e - V(1.0) / e);
      spots[j] = p.strike * exp_of(V(0.0) - p.sign * x);
    }
  }

  /// From expiry to today.
  template <class V, class Row>
  WQ_HD_CALL static void march(const Row& r, const Problem<V>& p) {
    const auto spots = array<V>(r, kSpots, p.nodes);
    const auto values = array<V>(r, kValues, p.nodes);
    const bool early = r.parameter(kEarly) != 0;
    const int count = static_cast<int>(r.parameter(kCount));
    const int steps = static_cast<int>(r.parameter(kSteps)) / (count + 1) + 1;
    for (int j = 0; j < p.nodes; ++j) values[j] = max(p.sign * (spots[j] - p.strike), V(0.0));
    V reached(0.0);  // time to expiry
    for (int i = count; i >= 0; --i) {
      const V due(i == 0 ? 0.0 : r.parameter(kSchedule + 2 * (i - 1)));
      const V amount(i == 0 ? 0.0 : r.parameter(kSchedule + 2 * (i - 1) + 1));
      const V end = min(max(p.expiry - due, reached), p.expiry), stretch = end - reached;
      for (int k = 0; k < steps; ++k) {
        const double from = static_cast<double>(k) / steps, to = static_cast<double>(k + 1) / steps;
        const V start = mul_add(stretch, V(from * from), reached), stop = mul_add(stretch, V(to * to), reached);
        one_step(r, p, start, stop, early, due);
      }
      reached = end;
      const V falls = keep_if(both(gt(due, V(0.0)), le(due, p.expiry)), amount);
      if (i > 0 && any(gt(falls, V(0.0)))) {
        if constexpr (!kEscrowed) {
          const V later = exp_of(V(0.0) - p.rate * reached), strike = p.strike * (early ? max(later, V(1.0)) : later);
          pay(r, p, falls, keep_if(lt(p.sign, V(0.0)), strike));
        }
        if (early) exercise(r, p, values, reached, due);
      }
    }
  }

  /// What exercise gives beyond the lognormal part.
  template <class V, class Row>
  WQ_HD static V still_due(const Row& r, const Problem<V>& p, V to_expiry, V from) {
    return kEscrowed ? worth(r, p.expiry, p.rate, p.expiry - to_expiry, from) : V(0.0);
  }

  /// Exercise just before what is due at `from` is paid.
  template <class V, class Row, class Numbers>
  WQ_HD static void exercise(const Row& r, const Problem<V>& p, Numbers values, V to_expiry, V from) {
    const auto spots = array<V>(r, kSpots, p.nodes);
    const V shift = still_due(r, p, to_expiry, from) - p.strike;
    for (int j = 0; j < p.nodes; ++j) values[j] = max(values[j], p.sign * (spots[j] + shift));
  }

  template <class V, class Row>
  WQ_HD_CALL static void one_step(const Row& r, const Problem<V>& p, V start, V stop, bool early, V due) {
    const int n = p.nodes;
    const auto spots = array<V>(r, kSpots, n);
    const auto values = array<V>(r, kValues, n);
    const auto stage = array<V>(r, kStage, n);
    const auto right = array<V>(r, kRight, n);
    const auto below = array<V>(r, kBelow, n);
    const auto above = array<V>(r, kAbove, n);
    const auto pivot = array<V>(r, kPivot, n);
    constexpr double kGamma = 0.5857864376269049;  // 2 - sqrt(2): both stages have the same matrix
    const V step = stop - start, half = V(0.5 * kGamma) * step;
    const V carry = p.rate - p.dividend, half_variance = V(0.5) * p.vol * p.vol, zero(0.0);
    // The operator at the nodes: linear in the spot at the ends.
    for (int j = 0; j < n; ++j) {
      V down, up;
      if (j == 0 || j == n - 1) {
        const V slope = carry * spots[j] / (spots[j == 0 ? 1 : j] - spots[j == 0 ? 0 : j - 1]);
        down = j == 0 ? zero : zero - slope;
        up = j == 0 ? slope : zero;
      } else {
        const V left = spots[j] - spots[j - 1], ahead = spots[j + 1] - spots[j];
        const V inverse = V(1.0) / (left * ahead * (left + ahead));
        const V curve = V(2.0) * half_variance * spots[j] * spots[j] * inverse, slope = carry * spots[j] * inverse;
        down = ahead * (curve - slope * ahead);
        up = left * (curve + slope * left);
      }
      const V middle = zero - (down + up) - p.rate, here = values[j];
      V change = middle * here;
      if (j > 0) change = mul_add(down, values[j - 1], change);
      if (j < n - 1) change = mul_add(up, values[j + 1], change);
      right[j] = mul_add(half, change, here);
      below[j] = zero - half * down;
      above[j] = zero - half * up;
      pivot[j] = V(1.0) - half * middle;
    }
    for (int j = n - 1; j >= 0; --j) {
      // From here on `above` is the factor of the elimination, `pivot` its inverse.
      V d = pivot[j];
      if (j < n - 1) {
        above[j] = above[j] * pivot[j + 1];
        d = d - above[j] * below[j + 1];
      }
      pivot[j] = V(1.0) / d;
    }
    const auto solve = [&](auto x, V to_expiry) {
      for (int j = n - 2; j >= 0; --j) right[j] = right[j] - above[j] * right[j + 1];
      const V shift = early ? still_due(r, p, to_expiry, due + V(1e-12)) - p.strike : zero;
      V before(0.0);
      for (int j = 0; j < n; ++j) {
        V here = (j == 0 ? right[j] : right[j] - below[j] * before) * pivot[j];
        if (early) here = max(here, p.sign * (spots[j] + shift));
        x[j] = before = here;
      }
    };
    solve(stage, mul_add(V(kGamma), step, start));
    constexpr double kOfStage = 1.0 / (kGamma * (2.0 - kGamma)), kOfStart = kOfStage * (1.0 - kGamma) * (1.0 - kGamma);
    for (int j = 0; j < n; ++j) right[j] = V(kOfStage) * stage[j] - V(kOfStart) * values[j];
    solve(values, stop);
  }

  /// Spots fall by an amount: the value before is that of the lower spot. One row at a time. `nothing_left`: the value
  /// of a spot of 0, to which it goes in a line from the lowest node on.
  template <class V, class Row>
  WQ_HD_CALL static void pay(const Row& r, const Problem<V>& p, V falls, V nothing_left) {
    const auto spots = array<V>(r, kSpots, p.nodes);
    const auto values = array<V>(r, kValues, p.nodes);
    const auto after = array<V>(r, kStage, p.nodes);
    const int n = p.nodes;
    for (int j = 0; j < n; ++j) after[j] = values[j];
    for (int l = 0; l < kWidth<V>; ++l) {
      const double fall = lane(falls, l);
      if (!(fall > 0)) continue;
      const rows::Strided x = rows::lane_of(spots, l), y = rows::lane_of(after, l), to = rows::lane_of(values, l);
      const bool rising = x[1] > x[0];
      const int lowest = rising ? 0 : n - 1;
      for (int k = 0, at = 0; k < n; ++k) {
        const int j = rising ? k : n - 1 - k;  // by rising spot
        double spot = x[j] - fall;
        if (spot < 0) spot = 0;
        if (spot < x[lowest]) {
          to[j] = y[lowest] + (lane(nothing_left, l) - y[lowest]) * (1.0 - spot / x[lowest]);
          continue;
        }
        double found[3];
        at = find(x, n, rising, spot, at);
        polynomial_at(x, y, n, rising, at, spot, found);
        to[j] = found[0] > 0 ? found[0] : 0.0;
      }
    }
  }

  /// The interval that holds `spot`, counted by rising spot, from `at` on.
  WQ_HD static int find(rows::Strided x, int n, bool rising, double spot, int at) {
    while (at < n - 2 && x[rising ? at + 1 : n - 2 - at] <= spot) ++at;
    return at;
  }

  /// Value and two derivatives of the polynomial through the four nodes around; a line beyond the ends.
  WQ_HD_CALL static void polynomial_at(rows::Strided x, rows::Strided y, int n, bool rising, int at, double spot,
                                       double (&found)[3]) {
    const auto node = [&](int k) { return rising ? k : n - 1 - k; };
    const double low = x[node(0)], high = x[node(n - 1)];
    if (spot <= low || spot >= high) {
      const int a = spot <= low ? 0 : n - 2;
      const double slope = (y[node(a + 1)] - y[node(a)]) / (x[node(a + 1)] - x[node(a)]);
      found[0] = y[node(a)] + slope * (spot - x[node(a)]);
      found[1] = slope;
      found[2] = 0.0;
      return;
    }
    constexpr int kPoints = 4;
    int first = at - 1;
    if (first < 0) first = 0;
    if (first > n - kPoints) first = n - kPoints;
    double c[kPoints], at_x[kPoints];
    for (int k = 0; k < kPoints; ++k) c[k] = y[node(first + k)], at_x[k] = x[node(first + k)];
    for (int m = 1; m < kPoints; ++m)
      for (int k = kPoints - 1; k >= m; --k) c[k] = (c[k] - c[k - 1]) / (at_x[k] - at_x[k - m]);
    double value = c[kPoints - 1], slope = 0.0, curve = 0.0;
    for (int k = kPoints - 2; k >= 0; --k) {
      const double away = spot - at_x[k];
      curve = curve * away + 2.0 * slope;
      slope = slope * away + value;
      value = value * away + c[k];
    }
    found[0] = value, found[1] = slope, found[2] = curve;
  }

  template <class V, class Row>
  WQ_HD_CALL static void look_up(const Row& r, const Problem<V>& p, V (&at)[3]) {
    const auto spots = array<V>(r, kSpots, p.nodes);
    const auto values = array<V>(r, kValues, p.nodes);
    for (int l = 0; l < kWidth<V>; ++l) {
      const rows::Strided x = rows::lane_of(spots, l), y = rows::lane_of(values, l);
      const bool rising = x[1] > x[0];
      const double spot = lane(p.spot, l);
      double found[3];
      polynomial_at(x, y, p.nodes, rising, find(x, p.nodes, rising, spot, 0), spot, found);
      for (int k = 0; k < 3; ++k) set_lane(at[k], l, found[k]);
    }
  }
};

using Numerical = rows::List<Lattice<LatticeKind::crr>, Lattice<LatticeKind::leisen_reimer>, Grid<false>, Grid<true>>;

}  // namespace wq::options::inline WQ_LEVEL
