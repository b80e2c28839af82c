// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/complex.h"
#include "warpquant/options/differentiate.h"

/// Heston's stochastic volatility, by one contour integral of the moment generating function M(s) = E[(S_T / F)^s]:
///
///     out-of-the-money price = F e^(-rT) / (2 pi i) * integral of M(s) e^(-(s - 1) k) / (s (s - 1)) ds,  k = ln(K / F)
///
/// upwards through the saddle point of the integrand, right of 1 for a call, left of 0 for a put; or, if M(s) is
/// infinite just beyond, between 0 and 1, which gives the call less S e^(-qT). The way is a hyperbola, s = c + i w
/// sinh(t + i beta): it bends to where the oscillation dies out, and what is integrated, in t, falls doubly
/// exponentially and has no singularity near, so that the trapezoidal rule gains digits in proportion to its nodes. The
/// idea of a saddle point and a rotated contour is from Andersen and Lake, Robust High-Precision Option Pricing by
/// Fourier Transforms (2018).
namespace wq::options::inline WQ_LEVEL {

/// ln M(s) = theta a + v0 b. T: Complex<V>, or a dual number of it in kappa, xi and rho.
template <class T>
struct HestonMoment {
  T a, b;

  /// Written so that nothing cancels as xi goes to 0: with d^2 = u^2 - xi^2 p, u = kappa - rho xi s, p = s^2 - s,
  /// (u - d) / xi^2 is p / (u + d).
  template <class V>
  WQ_HD_NOINLINE static HestonMoment at(Complex<V> s, V expiry, const T& kappa, const T& xi, const T& rho) {
    using C = Complex<V>;
    const C p = s * s - s, one(1.0);
    const T u = kappa - (rho * xi) * s, squared = xi * xi;
    const T d = root_at(u * u - squared * p);
    const T span = decay_mean(d * C(expiry)) * C(expiry), slow = p / (u + d);
    const T y = C(0.5) * (span * slow), z = squared * y;
    return {kappa * (slow * C(expiry) - C(2.0) * (y * log_quotient(z))), C(0.5) * p * span / (one + z)};
  }
};

struct Heston {
  static constexpr rows::Info kInfo = {
      "heston", "spot strike expiry rate dividend v0 kappa theta xi rho is_call",
      "price delta gamma vega theta rho epsilon dual_delta vanna volga dv0 dkappa dtheta dxi drho", 4000};
  enum {
    kPrice,
    kDelta,
    kGamma,
    kVega,
    kTheta,
    kRho,
    kEpsilon,
    kDualDelta,
    kVanna,
    kVolga,
    kV0,
    kKappa,
    kLongRun,
    kXi,
    kCorrelation,
    kResults
  };

  template <class V>
  struct Model {
    V expiry, v0, kappa, theta, xi, rho;
    V k, side;  // ln(K / F); 1 where a call is out of the money, -1 where a put is
    V middle;   // 1 where the way is between the poles

    WQ_HD auto moment(Complex<V> s) const {
      using C = Complex<V>;
      return HestonMoment<C>::at(s, expiry, C(kappa), C(xi), C(rho));
    }
    /// On the real axis, x away from the nearer pole: 1 + x for calls, -x for puts.
    WQ_HD V place(V x) const { return select(gt(side, V(0.0)), V(1.0) + x, V(0.0) - x); }

    /// Whether E[S_T^s] is infinite: the sign of cosh(dT / 2) + u sinh(dT / 2) / d.
    WQ_HD_NOINLINE auto explodes(V s) const {
      const V u = kappa - rho * xi * s, squared = u * u - xi * xi * (s * s - s);
      const V d = sqrt(abs(squared)), half = V(0.5) * d * expiry;
      V sine, cosine;
      sin_cos(min(half, V(3.2)), sine, cosine);
      const V decay = exp_of(V(-2.0) * half);
      const auto real = ge(squared, V(0.0));
      const V c = select(real, V(1.0) + decay, cosine), sh = select(real, V(1.0) - decay, sine);
      const V sum = c + u * select(gt(half, V(1e-8)), sh / d, V(0.5) * expiry);
      return either(le(sum, V(0.0)), both(negate(real), ge(half, V(3.141592653589793))));
    }
    /// Slope in x of the logarithm of the integrand on the real axis, from the imaginary part just above it.
    WQ_HD_NOINLINE V slope(V x) const {
      const V h = V(1e-4) * x;
      const auto m = moment(Complex<V>{place(x), h * side});
      const V rise = (theta * m.a.im + v0 * m.b.im) / h;
      return rise - abs(k) - V(1.0) / x - V(1.0) / (V(1.0) + x);
    }
  };

  /// The hyperbola.
  template <class V>
  struct Path {
    V centre, width, sine, cosine, step;

    WQ_HD void at(V grown, Complex<V>& s, Complex<V>& along) const {
      const V shrunk = V(1.0) / grown, sh = V(0.5) * (grown - shrunk), ch = V(0.5) * (grown + shrunk);
      // sinh and cosh of t + i beta; ds = i w cosh(t + i beta) dt.
      s = {centre - width * ch * sine, width * sh * cosine};
      along = {ch * cosine, sh * sine};
    }
  };

  template <class V>
  WQ_HD_NOINLINE static Path<V> path(Model<V>& m, double nodes) {
    // Where the moment explodes, by bisection in the logarithm of the distance from the pole.
    V low(-2.0), high(30.0);
    for (int i = 0; i < 10; ++i) {
      const V middle = V(0.5) * (low + high);
      const auto beyond = m.explodes(m.place(exp_of(middle)));
      low = select(beyond, low, middle);
      high = select(beyond, middle, high);
    }
    const V room = exp_of(low);
    const auto narrow = lt(room, V(0.25));
    m.middle = select(narrow, V(1.0), V(0.0));
    // The saddle point: between the two the integrand has its only minimum on the real axis.
    high = low;
    low = V(-5.0);
    for (int i = 0; i < 9; ++i) {
      const V middle = V(0.5) * (low + high);
      const auto beyond = negate(le(m.slope(exp_of(middle)), V(0.0)));
      low = select(beyond, low, middle);
      high = select(beyond, middle, high);
    }
    const V x = exp_of(V(0.5) * (low + high));
    const V saddle = select(narrow, V(0.5), m.place(x));
    Path<V> p;
    p.width = select(narrow, V(0.5), min(x, V(0.999) * max(room - x, V(1e-3) * x)));
    // Far out M(s) ~ exp(-(fall + i turn) y): the hyperbola bends to where that oscillates least.
    const V variance = (m.v0 + m.kappa * m.theta * m.expiry) / max(m.xi, V(1e-8));
    const V fall = variance * sqrt(max(V(1.0) - m.rho * m.rho, V(0.0))), turn = V(0.0) - m.k - m.rho * variance;
    // That is not yet so where it is a Gaussian's that the integrand dies out as, of the variance that is expected; up
    // to about `reach` it does.
    const V speed = m.kappa * m.expiry, one(1.0);
    const V expected = m.expiry * (m.v0 + V(0.5) * speed * m.theta) / (one + V(0.5) * speed);
    const V reach = max(V(2.0) / m.expiry, m.kappa) / max(m.xi, V(1e-8));
    const V share = one / (one + V(0.05) * expected * reach * reach);
    const V bend = share * max(min(angle(turn, fall), V(0.6)), V(-0.6));
    sin_cos(bend, p.sine, p.cosine);
    p.centre = saddle + p.width * p.sine;
    // Where the integrand has fallen to e^(-38) of its height.
    const auto height = [&](V grown) {
      Complex<V> s, along;
      p.at(grown, s, along);
      const auto mo = m.moment(s);
      const V log = m.theta * mo.a.re + m.v0 * mo.b.re - (s.re - V(1.0)) * m.k;
      const V above = norm(along), below = norm(s) * norm(s - Complex<V>(V(1.0)));
      return log + V(0.5) * log_ratio(max(above, V(1e-300)), max(below, V(1e-300)));
    };
    const V floor_at = height(V(1.0)) - V(38.0);
    V near(0.0), far(16.0);
    for (int i = 0; i < 6; ++i) {
      const V middle = V(0.5) * (near + far);
      const auto above = gt(height(exp_of(middle)), floor_at);
      near = select(above, middle, near);
      far = select(above, far, middle);
    }
    p.step = far * V(1.0 / nodes);
    return p;
  }

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    using C = Complex<V>;
    V in[11];
    for (int k = 0; k < 11; ++k) in[k] = r.template in<V>(k);
    auto valid = eq(V(0.0), V(0.0));
    const V sign = sign_of(in[10], valid), zero(0.0), one(1.0);
    valid = both(valid, both(positive(in[0]), both(positive(in[1]), amount(in[2]))));
    for (int k = 5; k < 9; ++k) valid = both(valid, amount(in[k]));
    valid = both(valid, both(is_finite(in[3] + in[4]), le(abs(in[9]), one)));
    const V spot = in[0], strike = in[1], rate = in[3], dividend = in[4];
    Model<V> m;
    m.expiry = max(in[2], V(kLeastTime));
    m.v0 = in[5];
    m.kappa = in[6];
    m.theta = in[7];
    m.xi = max(in[8], V(1e-30));
    m.rho = in[9];
    const V discount = exp_of(zero - rate * m.expiry), spot_now = spot * exp_of(zero - dividend * m.expiry);
    const V strike_now = strike * discount;
    m.k = log_ratio(strike, spot) - (rate - dividend) * m.expiry;
    m.side = select(ge(m.k, zero), one, V(-1.0));
    const double nodes = r.parameter(0);
    const Path<V> p = path(m, nodes);

    bool greeks = false;
    for (int k = 1; k < kResults; ++k) greeks = greeks || r.wants(k);
    V sum[kResults];
    for (V& y : sum) y = zero;
    const V ratio = exp_of(p.step);
    V grown = one;
    for (double node = 0; node <= nodes; ++node) {
      C s, along;
      p.at(grown, s, along);
      grown = grown * ratio;
      const C above = s - C(one), pair = s * above;
      const V weight(node == 0 ? 0.5 : 1.0);
      const auto height = [&](C a, C b) {
        const C g = exp_at(m.theta * a + m.v0 * b - m.k * above) * along / pair;
        // Nothing is left where M(s) is 0 or has left the range of doubles.
        const auto there = is_finite(g.re + g.im);
        return C{select(there, weight * g.re, zero), select(there, weight * g.im, zero)};
      };
      if (!greeks) {
        const auto mo = m.moment(s);
        sum[kPrice] = sum[kPrice] + height(mo.a, mo.b).re;
        continue;
      }
      using D = Dual<C, 3, 0>;
      const auto mo = HestonMoment<D>::at(s, m.expiry, D(C(m.kappa), 0), D(C(m.xi), 1), D(C(m.rho), 2));
      const C g = height(mo.a.value, mo.b.value), b = mo.b.value;
      const auto add = [&](int k, C factor) {
        const V part = (g * factor).re;
        sum[k] = sum[k] + select(is_finite(part), part, zero);
      };
      add(kPrice, C(one));
      add(kDelta, s);
      add(kGamma, pair);
      add(kRho, above);
      // Riccati's equation gives the derivative of b in time; that of a is kappa b.
      const C u = C(m.kappa) - m.rho * m.xi * s;
      const C in_time = V(0.5) * pair - u * b + (V(0.5) * m.xi * m.xi) * (b * b);
      add(kTheta, (rate - dividend) * s + (m.theta * m.kappa) * b + m.v0 * in_time);
      add(kVanna, s * b);
      add(kV0, b);
      add(kVolga, b * b);
      add(kKappa, m.theta * mo.a.first[0] + m.v0 * mo.b.first[0]);
      add(kLongRun, mo.a.value);
      add(kXi, m.theta * mo.a.first[1] + m.v0 * mo.b.first[1]);
      add(kCorrelation, m.theta * mo.a.first[2] + m.v0 * mo.b.first[2]);
    }
    const V forward_now = spot_now * p.step * p.width * V(0.3183098861837907), by_spot = one / spot;
    for (V& y : sum) y = y * forward_now;
    // What is missing from the side that was computed to what is asked for, in units of S e^(-qT) and of K e^(-rT).
    const auto call = gt(sign, zero), right = gt(m.side, zero), middle = gt(m.middle, zero);
    const V spots = select(either(middle, negate(right)), select(call, one, zero), select(call, zero, V(-1.0)));
    const V strikes = select(either(middle, right), select(call, zero, one), select(call, V(-1.0), zero));
    const V missing = spots * spot_now + strikes * strike_now, nan(__builtin_nan(""));
    const auto put = [&](int k, V value) { r.put(k, select(valid, value, nan)); };
    put(kPrice, max(select(middle, sum[kPrice], max(sum[kPrice], zero)) + missing, zero));
    if (!greeks) return;
    const V root = sqrt(m.v0), T = m.expiry;
    put(kDelta, sum[kDelta] * by_spot + spots * (spot_now * by_spot));
    put(kGamma, sum[kGamma] * by_spot * by_spot);
    put(kVega, V(2.0) * root * sum[kV0]);
    put(kTheta, rate * sum[kPrice] - sum[kTheta] + (dividend * spots * spot_now + rate * strikes * strike_now));
    put(kRho, T * (sum[kRho] - strikes * strike_now));
    put(kEpsilon, zero - T * (sum[kDelta] + spots * spot_now));
    put(kDualDelta, strikes * discount - sum[kRho] / strike);
    put(kVanna, V(2.0) * root * sum[kVanna] * by_spot);
    put(kVolga, V(4.0) * m.v0 * sum[kVolga] + V(2.0) * sum[kV0]);
    put(kV0, sum[kV0]);
    put(kKappa, sum[kKappa]);
    put(kLongRun, sum[kLongRun]);
    put(kXi, sum[kXi]);
    put(kCorrelation, sum[kCorrelation]);
  }
};

using Fourier = rows::List<Heston>;

}  // namespace wq::options::inline WQ_LEVEL
