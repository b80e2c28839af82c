// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/heston.h"

namespace wq::options::inline WQ_LEVEL {

/// One contour through the saddle point of the integrand, a hyperbola s = c + i w sinh(t + i beta): it bends to where
/// the oscillation dies out, and what is integrated, in t, falls doubly exponentially and has no singularity near, so
/// that the trapezoidal rule gains digits in proportion to its nodes. If M(s) is infinite just beyond the poles the way
/// is between them. The idea of a saddle point and a rotated contour is from Andersen and Lake, Robust High-Precision
/// Option Pricing by Fourier Transforms (2018). The contour is that of the middle of a cell of k: cells are about a
/// standard deviation wide, and wider far out, where an integrand that is not quite at its saddle costs a few nodes
/// more.
struct HestonContour {
  static constexpr rows::Info kInfo = {"heston", HestonResults::kInputs, HestonResults::kOutputs, 390};
  static constexpr double kCellWidth = 0.2, kCellScale = 4.0;
  static constexpr bool kPointsInLanes = false;

  /// Parameter of a call: nodes.
  static std::int64_t most_nodes(const double* parameters) { return static_cast<std::int64_t>(parameters[0]); }

  template <class V>
  struct Rule {
    V centre, width, sine, cosine, step, nodes;
    V middle;  // 1 where the way is between the poles

    WQ_HD void at(V grown, Complex<V>& s, Complex<V>& along) const {
      const V shrunk = V(1.0) / grown, sh = V(0.5) * (grown - shrunk), ch = V(0.5) * (grown + shrunk);
      // sinh and cosh of t + i beta; ds = i w cosh(t + i beta) dt.
      s = {centre - width * ch * sine, width * sh * cosine};
      along = {ch * cosine, sh * sine};
    }
  };

  /// Variance that is expected until expiry.
  template <class V>
  WQ_HD static V expected(const HestonModel<V>& m) {
    const V speed = m.kappa * m.expiry, one(1.0);
    return m.expiry * (m.v0 + V(0.5) * speed * m.theta) / (one + V(0.5) * speed);
  }

  /// M(s) falls about as e^(-decay |s|) far out.
  template <class V>
  WQ_HD static V decay(const HestonModel<V>& m) {
    return (m.v0 + m.kappa * m.theta * m.expiry) / max(m.xi, V(1e-8));
  }

  /// Far out M(s) e^(-s k) ~ exp(-(fall + i turn) |s|) on the imaginary axis: it oscillates least along a line that is
  /// bent by the angle of (fall, turn).
  template <class V>
  WQ_HD static V fall(const HestonModel<V>& m) {
    return decay(m) * sqrt(max(V(1.0) - m.rho * m.rho, V(0.0)));
  }

  /// Cells are equal in asinh(k / (4 deviations)), and within one bends differ by less than 0.2. What a cell has in
  /// common are its ends, and the bend that is nearest to none.
  template <class V>
  WQ_HD_NOINLINE static HestonCell<V> cell(const HestonModel<V>& m, V k) {
    const V deviation = min(sqrt(expected(m)), decay(m)), one(1.0), zero(0.0);
    const V scale = V(kCellScale) * max(deviation, V(1e-12)), x = min(abs(k) / scale, V(1e100));
    const V place = log_of(x + sqrt(mul_add(x, x, one)));
    const V number = floor(place * V(1.0 / kCellWidth));
    const auto end_of = [&](V n) {
      const V grown = exp_of(n * V(kCellWidth));
      return V(0.5) * scale * (grown - one / grown);
    };
    // Not quite 0, so that it has the side of k.
    const V side = select(ge(k, zero), one, V(-1.0)), near = max(end_of(number), V(1e-9) * scale);
    const V end = end_of(number + one);
    const V straight = zero - m.rho * decay(m), turn = straight - k, across = max(fall(m), V(1e-60));
    const V way = select(ge(turn, zero), one, V(-1.0));
    constexpr double kTangents[] = {0.20271003550867250, 0.42279321873816178, 0.68413680834169233};  // of 0.2, 0.4, 0.6
    V bend = zero, low = zero, high = V(kTangents[0]);
    for (int j = 0; j < 3; ++j) {
      const auto beyond = ge(abs(turn), V(kTangents[j]) * across);
      bend = select(beyond, V(0.2 * (j + 1)), bend);
      low = select(beyond, V(kTangents[j]), low);
      high = select(beyond, V(j < 2 ? kTangents[j + 1] : 1e100), high);
    }
    // k falls as the turn rises.
    const auto outwards = gt(side * way, zero);
    const auto where = [&](V tangent) { return side * (straight - way * across * tangent); };
    return {side * max(where(select(outwards, high, low)), near), side * min(where(select(outwards, low, high)), end),
            way * bend};
  }

  template <class V>
  struct Search {
    HestonModel<V> m;
    V k, side;  // side: 1 where a call is out of the money, -1 where a put is

    /// On the real axis, x away from the nearer pole: 1 + x for calls, -x for puts.
    WQ_HD V place(V x) const { return select(gt(side, V(0.0)), V(1.0) + x, V(0.0) - x); }

    /// Slope in x of the logarithm of the integrand on the real axis, from the imaginary part just above it.
    WQ_HD_NOINLINE V slope(V x) const {
      const V h = V(1e-4) * x;
      const auto mo = m.moment(Complex<V>{place(x), h * side});
      const V rise = (m.theta * mo.a.im + m.v0 * mo.b.im) / h;
      return rise - abs(k) - V(1.0) / x - V(1.0) / (V(1.0) + x);
    }
  };

  template <class V, class Row>
  WQ_HD_NOINLINE static Rule<V> rule(const HestonModel<V>& m, const HestonCell<V>& cell, const Row& r) {
    const V k = cell.near;
    const Search<V> search{m, k, select(ge(k, V(0.0)), V(1.0), V(-1.0))};
    // Where the moment explodes, by bisection in the logarithm of the distance from the pole.
    V low(-2.0), high(30.0);
    for (int i = 0; i < 10; ++i) {
      const V middle = V(0.5) * (low + high);
      const auto beyond = m.explodes(search.place(exp_of(middle)));
      low = select(beyond, low, middle);
      high = select(beyond, middle, high);
    }
    const V room = exp_of(low);
    const auto narrow = lt(room, V(0.25));
    // The saddle point: between the two the integrand has its only minimum on the real axis.
    high = low;
    low = V(-5.0);
    for (int i = 0; i < 9; ++i) {
      const V middle = V(0.5) * (low + high);
      const auto beyond = negate(le(search.slope(exp_of(middle)), V(0.0)));
      low = select(beyond, low, middle);
      high = select(beyond, middle, high);
    }
    const V x = min(exp_of(V(0.5) * (low + high)), V(0.9) * room);
    const V saddle = select(narrow, V(0.5), search.place(x));
    Rule<V> p;
    p.nodes = V(r.parameter(0));
    p.middle = select(narrow, V(1.0), V(0.0));
    p.width = select(narrow, V(0.5), min(x, V(0.999) * (room - x)));
    // The bend is not yet that of `cell` where it is a Gaussian's that the integrand dies out as, of the variance that
    // is expected; up to about `reach` it does.
    const V reach = max(V(2.0) / m.expiry, m.kappa) / max(m.xi, V(1e-8)), one(1.0);
    const V bend = cell.bend / (one + V(0.05) * expected(m) * reach * reach);
    sin_cos(bend, p.sine, p.cosine);
    p.centre = saddle + p.width * p.sine;
    // Where the integrand has fallen to e^(-38) of its height, at both ends of the cell.
    const auto height = [&](V grown) {
      Complex<V> s, along;
      p.at(grown, s, along);
      const auto mo = m.moment(s);
      const V log = m.theta * mo.a.re + m.v0 * mo.b.re - min((s.re - V(1.0)) * k, (s.re - V(1.0)) * cell.end);
      const V above = norm(along), below = norm(s) * norm(s - Complex<V>(V(1.0)));
      return log + V(0.5) * log_ratio(max(above, V(1e-300)), max(below, V(1e-300)));
    };
    const V floor_at = height(V(1.0)) - V(38.0);
    V near(0.0), far(20.0);
    for (int i = 0; i < 6; ++i) {
      const V middle = V(0.5) * (near + far);
      const auto above = gt(height(exp_of(middle)), floor_at);
      near = select(above, middle, near);
      far = select(above, far, middle);
    }
    p.step = far / (p.nodes - one);
    return p;
  }

  // s - 1, ln M(s), ds / (s (s - 1)); and b, a, the derivatives of ln M in time, kappa, xi and rho.
  static constexpr int kPriceNumbers = 6, kNumbers = 18;

  template <class V>
  WQ_HD_CALL static void node(const HestonModel<V>& m, const Rule<V>& p, V index, bool greeks, V* numbers) {
    using C = Complex<V>;
    const V zero(0.0);
    C s, along;
    p.at(exp_of(index * p.step), s, along);
    const C above = s - C(V(1.0)), pair = s * above;
    const auto n = HestonNode<V>::at(m, s, greeks);
    const V weight = select(eq(index, zero), V(0.5), V(1.0)) * p.step * p.width * V(0.3183098861837907);
    C factor = weight * (along / pair);
    // Nothing is left where M(s) is 0 or has left the range of doubles.
    const auto there = both(is_finite(n.log.re + n.log.im + factor.re + factor.im), lt(index, p.nodes));
    const auto put = [&](int k, C x) {
      numbers[k] = select(there, x.re, zero);
      numbers[k + 1] = select(there, x.im, zero);
    };
    put(0, above);
    put(2, n.log);
    put(4, factor);
    if (!greeks) return;
    const C more[] = {n.b, n.a, n.time, n.kappa, n.xi, n.rho};
    for (int k = 0; k < 6; ++k) {
      const auto known = is_finite(more[k].re + more[k].im);
      put(6 + 2 * k, {select(known, more[k].re, zero), select(known, more[k].im, zero)});
    }
  }

  template <class V>
  struct Total : HestonResults {
    V k, sum[kResults];

    WQ_HD Total(const Rule<V>&, V k_) : k(k_) {
      for (V& y : sum) y = V(0.0);
    }
    WQ_HD void add(const V* numbers, bool greeks) {
      using C = Complex<V>;
      const auto at = [&](int j) { return C{numbers[j], numbers[j + 1]}; };
      const C above = at(0);
      const C g = exp_of(at(2) - k * above) * at(4);
      sum[kPrice] = sum[kPrice] + g.re;
      if (!greeks) return;
      const auto add = [&](int j, C factor) { sum[j] = sum[j] + mul_add(g.re, factor.re, V(0.0) - g.im * factor.im); };
      const C s = above + C(V(1.0)), b = at(6);
      add(kDelta, s);
      add(kGamma, s * above);
      add(kRho, above);
      add(kVanna, s * b);
      add(kV0, b);
      add(kVolga, b * b);
      add(kLongRun, at(8));
      add(kTheta, at(10));
      add(kKappa, at(12));
      add(kXi, at(14));
      add(kCorrelation, at(16));
    }
    WQ_HD void write(V* to, bool greeks) const {
      for (int j = 0; j < (greeks ? kResults : 1); ++j) to[j] = sum[j];
    }
  };
};

}  // namespace wq::options::inline WQ_LEVEL
