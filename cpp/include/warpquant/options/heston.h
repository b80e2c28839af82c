// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/complex.h"
#include "warpquant/options/differentiate.h"

/// Heston's stochastic volatility, from the moment generating function M(s) = E[(S_T / F)^s], by a method that
/// integrates over it:
///
///     price of a claim = F e^(-rT) / (2 pi i) * integral of M(s) e^(-(s - 1) k) / (s (s - 1)) ds,  k = ln(K / F)
///
/// upwards right of 1 for a call, left of 0 for a put, and between the two for a call less S e^(-qT). A method has
/// nodes that depend on the expiry, on the model and, at most, on a cell that k lies in, never on k itself: rows that
/// have these in common share M at the nodes.
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

/// What M depends on.
template <class V>
struct HestonModel {
  V expiry, v0, kappa, theta, xi, rho;

  WQ_HD auto moment(Complex<V> s) const {
    using C = Complex<V>;
    return HestonMoment<C>::at(s, expiry, C(kappa), C(xi), C(rho));
  }
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
};

/// What of k a rule may depend on.
template <class V>
struct HestonCell {
  V near, end;  // ends, the first nearer to 0
  V bend;
};

struct HestonResults {
  static constexpr const char* kInputs = "spot strike expiry rate dividend v0 kappa theta xi rho is_call";
  static constexpr const char* kOutputs =
      "price delta gamma vega theta rho epsilon dual_delta vanna volga dv0 dkappa dtheta dxi drho";
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
};

/// At a node s: ln M(s), and where derivatives are wanted b, a, and the derivatives of ln M in time and in parameters.
template <class V>
struct HestonNode {
  Complex<V> log, b, a, time, kappa, xi, rho;

  WQ_HD_CALL static HestonNode at(const HestonModel<V>& m, Complex<V> s, bool greeks) {
    using C = Complex<V>;
    HestonNode n;
    if (!greeks) {
      const auto mo = m.moment(s);
      n.log = m.theta * mo.a + m.v0 * mo.b;
      return n;
    }
    using D = Dual<C, 3, 0>;
    const auto mo = HestonMoment<D>::at(s, m.expiry, D(C(m.kappa), 0), D(C(m.xi), 1), D(C(m.rho), 2));
    n.a = mo.a.value;
    n.b = mo.b.value;
    n.log = m.theta * n.a + m.v0 * n.b;
    // Riccati's equation gives the derivative of b in time; that of a is kappa b.
    const C u = C(m.kappa) - m.rho * m.xi * s;
    const C in_time = V(0.5) * (s * s - s) - u * n.b + (V(0.5) * m.xi * m.xi) * (n.b * n.b);
    n.time = (m.theta * m.kappa) * n.b + m.v0 * in_time;
    n.kappa = m.theta * mo.a.first[0] + m.v0 * mo.b.first[0];
    n.xi = m.theta * mo.a.first[1] + m.v0 * mo.b.first[1];
    n.rho = m.theta * mo.a.first[2] + m.v0 * mo.b.first[2];
    return n;
  }
};

/// A row: an option, and its results from a method's sums.
template <class V>
struct HestonOption : HestonResults {
  HestonModel<V> model;
  V spot, strike, rate, dividend, sign;
  V discount, spot_now, strike_now;  // e^(-rT), S e^(-qT), K e^(-rT)
  V k;                               // ln(K / F)

  /// `valid`: whether the arguments have a meaning.
  template <class Row, class M>
  WQ_HD static HestonOption of(const Row& r, M& valid) {
    V in[11];
    for (int k = 0; k < 11; ++k) in[k] = r.template in<V>(k);
    valid = eq(V(0.0), V(0.0));
    HestonOption o;
    o.sign = sign_of(in[10], valid);
    valid = both(valid, both(positive(in[0]), both(amount(in[1]), amount(in[2]))));
    for (int k = 5; k < 9; ++k) valid = both(valid, amount(in[k]));
    valid = both(valid, both(is_finite(in[3] + in[4]), le(abs(in[9]), V(1.0))));
    o.spot = in[0];
    // A strike of 0 is as good as this one.
    o.strike = max(in[1], in[0] * V(1e-200));
    o.rate = in[3];
    o.dividend = in[4];
    // Rows without a meaning have one model in common, which costs least.
    const V usual[] = {V(1.0), V(0.04), V(1.0), V(0.04), V(0.5), V(0.0)};
    const int places[] = {2, 5, 6, 7, 8, 9};
    for (int k = 0; k < 6; ++k) in[places[k]] = select(valid, in[places[k]], usual[k]);
    o.model = {max(in[2], V(kLeastTime)), in[5], in[6], in[7], max(in[8], V(1e-30)), in[9]};
    const V T = o.model.expiry;
    o.discount = exp_of(V(0.0) - o.rate * T);
    o.spot_now = o.spot * exp_of(V(0.0) - o.dividend * T);
    o.strike_now = in[1] * o.discount;
    o.k = log_ratio(o.strike, o.spot) - (o.rate - o.dividend) * T;
    return o;
  }

  /// `sum`: the integrals, in units of S e^(-qT), of the price's integrand and of that times s, s (s - 1), and so on,
  /// in the places of the results they are for. `middle`: 1 where the way was between the poles.
  template <class Row, class M>
  WQ_HD void finish(const Row& r, M valid, V middle_way, V* sum, bool greeks) const {
    const V zero(0.0), one(1.0), by_spot = one / spot;
    for (int j = 0; j < (greeks ? kResults : 1); ++j) sum[j] = sum[j] * spot_now;
    // What is missing from the side that was computed to what is asked for, in units of S e^(-qT) and of K e^(-rT).
    const auto call = gt(sign, zero), right = ge(k, zero), middle = gt(middle_way, zero);
    const V spots = select(either(middle, negate(right)), select(call, one, zero), select(call, zero, V(-1.0)));
    const V strikes = select(either(middle, right), select(call, zero, one), select(call, V(-1.0), zero));
    const V missing = spots * spot_now + strikes * strike_now, nan(__builtin_nan(""));
    const auto put = [&](int j, V value) { r.put(j, select(valid, value, nan)); };
    put(kPrice, max(select(middle, sum[kPrice], max(sum[kPrice], zero)) + missing, zero));
    if (!greeks) return;
    const V root = sqrt(model.v0), T = model.expiry;
    put(kDelta, sum[kDelta] * by_spot + spots * (spot_now * by_spot));
    put(kGamma, sum[kGamma] * by_spot * by_spot);
    put(kVega, V(2.0) * root * sum[kV0]);
    const V in_time = (rate - dividend) * sum[kDelta] + sum[kTheta];
    put(kTheta, rate * sum[kPrice] - in_time + (dividend * spots * spot_now + rate * strikes * strike_now));
    put(kRho, T * (sum[kRho] - strikes * strike_now));
    put(kEpsilon, zero - T * (sum[kDelta] + spots * spot_now));
    put(kDualDelta, strikes * discount - sum[kRho] / strike);
    put(kVanna, V(2.0) * root * sum[kVanna] * by_spot);
    put(kVolga, V(4.0) * model.v0 * sum[kVolga] + V(2.0) * sum[kV0]);
    put(kV0, sum[kV0]);
    put(kKappa, sum[kKappa]);
    put(kLongRun, sum[kLongRun]);
    put(kXi, sum[kXi]);
    put(kCorrelation, sum[kCorrelation]);
  }
};

/// The numbers of the lanes, from 0.
template <class V>
WQ_HD V lane_numbers() {
  V y(0.0);
  for (int j = 0; j < kWidth<V>; ++j) set_lane(y, j, static_cast<double>(j));
  return y;
}
/// Over the lanes, in their order.
template <class V>
WQ_HD double sum_of(V x) {
  double y = lane(x, 0);
  for (int j = 1; j < kWidth<V>; ++j) y += lane(x, j);
  return y;
}

/// An operation on rows from a method:
///
///     struct Method {
///       static constexpr rows::Info kInfo;
///       static std::int64_t most_nodes(const double* parameters);
///       static constexpr bool kPointsInLanes;       // whether `rule` is of one model, or of one in each lane
///       template <class V> struct Rule { ... };     // of a model and a cell: numbers; V nodes, middle are among them
///       template <class V> static HestonCell<V> cell(const HestonModel<V>&, V k);
///       template <class V, class Row> static Rule<V> rule(const HestonModel<V>&, const HestonCell<V>&, const Row&);
///       static constexpr int kNumbers, kPriceNumbers;  // that a node is made of, and for a price alone
///       template <class V> static void node(const HestonModel<V>&, const Rule<V>&, V index, bool greeks, V* numbers);
///       template <class V> struct Total {              // of one option
///         Total(const Rule<V>&, V k);
///         void add(const V* numbers, bool greeks);     // of nodes in their order, as many as V has lanes
///         void write(V* sum, bool greeks) const;       // what is to be summed over the lanes
///       };
///     };
///
/// Here every row has its own nodes; `heston_tiles.h` shares them.
template <class Method>
struct Heston : HestonResults, Method {
  using Base = Method;

  template <class Row>
  WQ_HD static bool wants_greeks(const Row& r) {
    for (int k = 1; k < kResults; ++k)
      if (r.wants(k)) return true;
    return false;
  }

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    auto valid = eq(V(0.0), V(0.0));
    const auto option = HestonOption<V>::of(r, valid);
    const bool greeks = wants_greeks(r);
    const auto rule = Method::template rule<V>(option.model, Method::cell(option.model, option.k), r);
    typename Method::template Total<V> total(rule, option.k);
    V numbers[Method::kNumbers] = {}, sum[kResults];
    for (double j = 0; any(lt(V(j), rule.nodes)); ++j) {
      Method::node(option.model, rule, V(j), greeks, numbers);
      total.add(numbers, greeks);
    }
    total.write(sum, greeks);
    option.finish(r, valid, rule.middle, sum, greeks);
  }
};

}  // namespace wq::options::inline WQ_LEVEL
