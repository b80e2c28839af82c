// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/heston.h"

namespace wq::options::inline WQ_LEVEL {

/// Cosine series on a range of x = ln(S_T / F): Fang and Oosterlee, A Novel Pricing Method for European Options Based
/// on Fourier-Cosine Series Expansions (2008). What is expanded is not a put but min(S_T, K) = S_T - call = K - put,
/// and half an exponent goes from the payoff to the density,
///
///     min(e^x, e^k) f(x) = e^(k / 2) e^(-|x - k| / 2) * e^(x / 2) f(x),
///
/// whose transform M(1/2 + i u) is at least 1/2 from where moments explode: so the density falls at least as fast as
/// e^(-|x| / 2) at either end, however heavy the tails of f, and nothing grows with the strike but e^(k / 2).
/// The range ends where Chernoff's bound of that density's tails falls to the tolerance, which is 6 to 8 deviations of
/// a normal one, and more as tails are heavier; the number of terms is where |M| has fallen to the tolerance.
struct HestonCos {
  static constexpr rows::Info kInfo = {"heston_cos", HestonResults::kInputs, HestonResults::kOutputs, 390};
  static constexpr double kFewest = 64.0;
  static constexpr bool kPointsInLanes = true;

  /// Parameters of a call: tolerance, most terms.
  static std::int64_t most_nodes(const double* parameters) { return static_cast<std::int64_t>(parameters[1]) + 8; }

  template <class V>
  struct Rule {
    V start, width, step;  // of the range; in u
    V nodes;
    V middle;  // 1: the integral is between the poles
  };

  /// Nodes do not depend on the strike.
  template <class V>
  WQ_HD static HestonCell<V> cell(const HestonModel<V>&, V) {
    return {V(0.0), V(0.0), V(0.0)};
  }

  /// visit(number, first) for 8 points, as many side by side as V has lanes.
  template <class V, class Visit>
  WQ_HD static void each_point(Visit visit) {
    for (int first = 0; first < 8; first += kWidth<V>) visit(V(first) + lane_numbers<V>(), first);
  }

  /// Of one model, the same in all lanes.
  template <class V, class Row>
  WQ_HD_NOINLINE static Rule<V> rule(const HestonModel<V>& m, const HestonCell<V>&, const Row& r) {
    using C = Complex<V>;
    constexpr double kPi = 3.141592653589793, kRadius = 0.35;
    const auto log_at = [&](C s) {
      const auto mo = m.moment(s);
      return m.theta * mo.a + m.v0 * mo.b;
    };
    // The density's variance is the curvature of ln M at 1/2: by Cauchy's formula, on the upper half of a circle.
    double curvature = 0;
    each_point<V>([&](V point, int) {
      V sine, cosine;
      sin_cos((point + V(0.5)) * V(kPi / 8.0), sine, cosine);
      const C back{cosine, V(0.0) - sine};
      curvature += sum_of((log_at({mul_add(V(kRadius), cosine, V(0.5)), V(kRadius) * sine}) * (back * back)).re);
    });
    const double deviation = max(sqrt(max(curvature / (4.0 * kRadius * kRadius), 0.0)), 1e-12);
    // The share of the density beyond an end is at most e^(ln M(s) - |s - 1/2| |end|), for every s on that side at
    // which moments are finite: from 0 or 1, where ln M is 0, to what is beyond the best s of a normal density.
    const double tolerance = log_of(r.parameter(0));
    const double farthest = log_of(max(3.0 * sqrt(-2.0 * tolerance) / deviation, 1.0)) / 7.0;
    double ends[2];
    for (int side = 0; side < 2; ++side) {
      double nearest = -2.0 * tolerance;
      each_point<V>([&](V point, int) {
        const V away = V(0.5) * exp_of(point * V(farthest)), s = V(0.5) + (side == 0 ? V(0.0) - away : away);
        const V end = (log_at(C(s)).re - V(tolerance)) / away;
        const auto usable = both(negate(m.explodes(s)), gt(end, V(0.0)));
        for (int j = 0; j < kWidth<V>; ++j)
          if (lane(usable, j)) nearest = min(lane(end, j), nearest);
      });
      ends[side] = nearest;
    }
    // The first u of a geometric sequence at which |M| / u is below the tolerance; then a finer sequence up to it.
    double from = 2.0 / deviation, factor = 4.0;
    for (int round = 0; round < 2; ++round) {
      int found = 8;
      each_point<V>([&](V point, int first) {
        const V u = V(from) * exp_of(point * V(log_of(factor)));
        const auto below = le(log_at({V(0.5), u}).re - log_of(u), V(tolerance));
        for (int j = kWidth<V> - 1; j >= 0; --j)
          if (lane(below, j) && first + j < found) found = first + j;
      });
      from = from * exp_of((found - (round == 0 ? 1.0 : 0.0)) * log_of(factor));
      factor = 1.189207115002721;  // the eighth root of 4
    }
    Rule<V> p;
    const double width = ends[0] + ends[1], step = kPi / width;
    const double needed = is_finite(from / step) ? from / step : 0.0;
    const double terms = max(min(needed, r.parameter(1)), kFewest);
    p.start = V(0.0 - ends[0]);
    p.width = V(width);
    p.step = V(step);
    p.nodes = V(8.0 * floor((terms + 7.0) / 8.0));
    p.middle = V(1.0);
    return p;
  }

  // u, and of the payoff's and the transform's product the real part; that times b, b^2, a, and the derivatives of ln M
  // in time, kappa, xi and rho.
  enum { kFrequency, kOne, kB, kBSquared, kA, kTime, kInKappa, kInXi, kInRho, kNumbers };
  static constexpr int kPriceNumbers = 2;

  template <class V>
  WQ_HD_CALL static void node(const HestonModel<V>& m, const Rule<V>& p, V index, bool greeks, V* numbers) {
    using C = Complex<V>;
    const V zero(0.0), u = index * p.step;
    const auto n = HestonNode<V>::at(m, C{V(0.5), u}, greeks);
    const V weight = select(eq(index, zero), V(1.0), V(2.0)) / (p.width * mul_add(u, u, V(0.25)));
    const C g = weight * exp_of(C{n.log.re, n.log.im - u * p.start});
    const auto there = both(is_finite(g.re + g.im), lt(index, p.nodes));
    numbers[kFrequency] = u;
    const auto put = [&](int k, V x) { numbers[k] = select(both(there, is_finite(x)), x, zero); };
    put(kOne, g.re);
    if (!greeks) return;
    put(kB, (g * n.b).re);
    put(kBSquared, (g * (n.b * n.b)).re);
    put(kA, (g * n.a).re);
    put(kTime, (g * n.time).re);
    put(kInKappa, (g * n.kappa).re);
    put(kInXi, (g * n.xi).re);
    put(kInRho, (g * n.rho).re);
  }

  /// Sums over the terms of c times the payoff's cosine coefficients, and of their derivatives in k.
  template <class V>
  struct Total : HestonResults {
    V x, root;                     // k - start; e^(k / 2)
    V low, high;                   // e^(-x / 2), e^(-(width - x) / 2): the payoff at the ends of the range
    V sine, cosine, turn, turned;  // of u x; of the turn from a term to the next
    V sign, below, above;          // (-1)^term; whether k is beyond the range
    bool first;
    V sum[kNumbers], slope[2], density[2];

    WQ_HD Total(const Rule<V>& p, V k) : first(true) {
      const V zero(0.0), one(1.0), end = p.start + p.width;
      below = select(lt(k, p.start), one, zero);
      above = select(gt(k, end), one, zero);
      const V inside = min(max(k, p.start), end);
      x = inside - p.start;
      root = exp_of(V(0.5) * k);
      low = exp_of(V(-0.5) * x);
      high = exp_of(V(-0.5) * (p.width - x));
      const V phase = p.step * x;
      sin_cos(lane_numbers<V>() * phase, sine, cosine);
      sin_cos(V(kWidth<V>) * phase, turn, turned);
      sign = one - V(2.0) * (lane_numbers<V>() - V(2.0) * floor(V(0.5) * lane_numbers<V>()));
      for (V& y : sum) y = zero;
      for (V& y : slope) y = zero;
      for (V& y : density) y = zero;
    }

    WQ_HD void add(const V* numbers, bool greeks) {
      const V u = numbers[kFrequency], half(0.5);
      V payoff = cosine - half * (low + sign * high);
      if (first) {
        // Of term 0, which is where a narrow range would leave nothing of 1 - 1.
        set_lane(payoff, 0, lane(ends(), 0));
        first = false;
      }
      sum[kOne] = mul_add(numbers[kOne], payoff, sum[kOne]);
      if (greeks) {
        const V falling = V(0.25) * (low - sign * high) - u * sine, square = mul_add(u, u, V(0.25)) * cosine;
        for (int k = kB; k < kNumbers; ++k) sum[k] = mul_add(numbers[k], payoff, sum[k]);
        for (int k = 0; k < 2; ++k) {
          slope[k] = mul_add(numbers[kOne + k], falling, slope[k]);
          density[k] = mul_add(numbers[kOne + k], square, density[k]);
        }
      }
      const V next = mul_add(cosine, turned, V(0.0) - sine * turn);
      sine = mul_add(sine, turned, cosine * turn);
      cosine = next;
      if (kWidth<V> % 2 == 1) sign = V(0.0) - sign;
    }

    /// 1 - (low + high) / 2.
    WQ_HD V ends() const { return V(0.5) * ((V(1.0) - low) + (V(1.0) - high)); }

    /// With E = E[min(S_T, K)] / F, the integrals are: that of 1 is -E, of s - 1 E', of s (s - 1) E' - E''.
    WQ_HD void write(V* to, bool greeks) const {
      const V zero(0.0), half(0.5), share(1.0 / kWidth<V>);
      const auto under = gt(below, zero), over = gt(above, zero), beyond = either(under, over);
      // Beyond the range the minimum is K or S_T: E is e^k or 1, in equal parts from all lanes.
      const auto mean = [&](V y, V at_low, V at_high) {
        return select(beyond, share * select(under, at_low, at_high), root * y);
      };
      const V forward = root * root;
      to[kPrice] = zero - mean(sum[kOne], forward, V(1.0));
      if (!greeks) return;
      const V rise = mean(half * sum[kOne] + slope[0], forward, zero);
      for (int k = 0; k < kResults; ++k)
        if (k != kPrice) to[k] = zero;
      to[kRho] = rise;
      to[kDelta] = rise + to[kPrice];
      to[kGamma] = mean(density[0], zero, zero);
      to[kVanna] = mean(slope[1] - half * sum[kB], zero, zero);
      const auto put = [&](int result, int number) { to[result] = zero - mean(sum[number], zero, zero); };
      put(kV0, kB);
      put(kVolga, kBSquared);
      put(kLongRun, kA);
      put(kTheta, kTime);
      put(kKappa, kInKappa);
      put(kXi, kInXi);
      put(kCorrelation, kInRho);
    }
  };
};

}  // namespace wq::options::inline WQ_LEVEL
