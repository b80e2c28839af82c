// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/quadrature.h"
#include "warpquant/options/black.h"

/// Options on an average: of `fixings` prices at equal intervals from `first` to expiry, or of every price between the
/// two (`fixings` = 0). Where `first` is below 0, fixings are at multiples of expiry / fixings, or from now on.
/// `past_weight` of the average is known, and averages `past`.
namespace wq::options::inline WQ_LEVEL {

#define WQ_ASIAN_INPUTS WQ_ONE_ASSET_INPUTS " first fixings past past_weight"

struct AsianArguments : OneAsset {
  static constexpr int kInputs = 11;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 9;
  static constexpr double kMostFixings = 100'000;

  /// Time from the first fixing to expiry.
  template <class V>
  WQ_HD static V span(const V* in) {
    const V usual = select(gt(in[8], V(0.0)), in[2] / max(in[8], V(1.0)), V(0.0));
    const V span = in[2] - select(lt(in[7], V(0.0)), usual, in[7]);
    return select(eq(in[8], V(1.0)), V(0.0), span);
  }
  template <class V>
  WQ_HD static auto valid(const V* in) {
    const auto times = both(is_finite(in[7]), le(in[7], in[2]));
    const auto count = both(both(ge(in[8], V(0.0)), le(in[8], V(kMostFixings))), eq(in[8], rint(in[8])));
    const auto past = both(amount(in[9]), both(ge(in[10], V(0.0)), lt(in[10], V(1.0))));
    return both(valid_asset(in), both(both(times, count), past));
  }
};

/// Geometric average: exact, for its logarithm is normal (Kemna and Vorst 1990).
struct GeometricAsian : AsianArguments {
  static constexpr rows::Info kInfo = {"asian_geometric", WQ_ASIAN_INPUTS, WQ_ONE_ASSET_OUTPUTS, 60};

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(AsianArguments::valid(in), either(eq(in[10], V(0.0)), gt(in[9], V(0.0))));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R one(1.0), n = max(in[8], one), span = AsianArguments::span(in), ahead = one - in[10];
    const auto continuous = eq(in[8], R(0.0));
    const R third(1.0 / 3.0);
    // Mean time of the fixings, and mean of the earlier of two of them, after the first: shares of the span. One
    // fixing is at expiry.
    const auto several = either(continuous, gt(n, one));
    const R mean = select(several, R(0.5), one);
    const R overlap = select(continuous, third, select(several, (R(2.0) * n - one) / (R(6.0) * n), one));
    const T first = max(d.expiry - span, T(R(0.0)));
    const T time = first + mean * span, variance = at_least(first + overlap * span, kLeastTime);
    const T nu = d.carry - R(0.5) * (d.vol * d.vol), v = ahead * (d.vol * sqrt(variance));
    // ln of the known part and of the spot's share.
    const R known = select(gt(in[10], R(0.0)), in[10] * log_at(max(in[9], R(kLeastPrice)), one), R(0.0));
    const T log = ahead * (log_at(d.spot, T(one)) + nu * time) + known + R(0.5) * (v * v);
    return black(exp_at(log) * d.discount, x[5] * d.discount, v, call_or_put(in[6]));
  }
};

/// (e^x - 1) / x.
template <class V>
WQ_HD_NOINLINE void growth_mean(V x, V& y, V& slope, V& bend) {
  const V e = exp_of(x), by = V(1.0) / x, one(1.0);
  y = (e - one) * by;
  slope = (e - y) * by;
  bend = (e - V(2.0) * slope) * by;
  const auto small = lt(abs(x), V(0.7));
  if (!any(small)) return;
  V series(0.0), first(0.0), second(0.0);
  double factorial = 1.0;
  for (int n = 2; n <= 20; ++n) factorial *= n;
  for (int n = 19; n >= 0; --n) {  // x^n / (n + 1)!
    second = mul_add(second, x, V(2.0) * first);
    first = mul_add(first, x, series);
    series = mul_add(series, x, V(1.0 / factorial));
    factorial /= n + 1;
  }
  y = select(small, series, y);
  slope = select(small, first, slope);
  bend = select(small, second, bend);
}
template <class V>
WQ_HD V growth_mean(V x) {
  V y, slope, bend;
  growth_mean(x, y, slope, bend);
  return y;
}
template <class V, int N, int M>
WQ_HD_CALL Dual<V, N, M> growth_mean(const Dual<V, N, M>& x) {
  V y, slope, bend;
  growth_mean(x.value, y, slope, bend);
  return chain(x, y, slope, bend);
}

/// Arithmetic averages by approximation.
template <class T>
struct Averaging {
  using R = Number<T>;
  Diffusion<T> d;
  R sign, fixings, span, ahead;
  T first, strike;  // of the average to come

  WQ_HD_CALL static Averaging of(const T* x, const R* in) {
    Averaging a;
    a.d = Diffusion<T>::of(x);
    a.sign = call_or_put(in[6]);
    a.fixings = in[8];
    a.span = AsianArguments::span(in);
    a.ahead = R(1.0) - in[10];
    a.first = max(a.d.expiry - a.span, T(R(0.0)));
    a.strike = (x[5] - in[9] * in[10]) / a.ahead;
    return a;
  }
  WQ_HD auto continuous() const { return eq(fixings, R(0.0)); }
  WQ_HD R gaps() const { return max(fixings - R(1.0), R(1.0)); }

  /// sum(k, at, weight) for each fixing k and the share of the span after which it is; of continuous averages, for the
  /// nodes of a rule that integrates over time.
  template <class Sum>
  WQ_HD_CALL void each(Sum sum) const {
    const auto smooth = continuous();
    const R count = select(smooth, R(20.0), fixings);
    for (int k = 0; any(lt(R(static_cast<double>(k)), count)); ++k) {
      const R index(static_cast<double>(k)), node(Gauss20::node(k < 20 ? k : 0)),
          share(Gauss20::weight(k < 20 ? k : 0));
      const auto there = lt(index, count);
      const R at = select(smooth, node, min(index / gaps(), R(1.0)));
      sum(index, at, select(there, select(smooth, share, R(1.0) / max(fixings, R(1.0))), R(0.0)));
    }
  }

  /// What is left when the average to come cannot but end above the strike: then a call is a forward.
  WQ_HD_CALL T settle(const T& mean, const T& value) const {
    const auto sure = le(value_of(strike), R(0.0));
    const T forward = select(gt(sign, R(0.0)), (mean - strike) * d.discount, T(R(0.0)));
    return ahead * select(sure, forward, value);
  }
  WQ_HD_CALL T positive_strike() const { return at_least(strike, kLeastPrice); }
};

/// A lognormal with the first two moments of the average: Turnbull and Wakeman, A Quick Algorithm for Pricing European
/// Average Options (1991), for continuous averages as Levy (1992). The volatility until a time t may be another one,
/// vol + vol_slope (t - expiry).
struct TurnbullWakeman : AsianArguments {
  static constexpr rows::Info kInfo = {"asian_turnbull_wakeman", WQ_ASIAN_INPUTS " vol_slope", WQ_ONE_ASSET_OUTPUTS,
                                       2000};
  static constexpr int kInputs = 12;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    // Of the earliest price in the average, too, the volatility is not below 0.
    const V earliest = in[5] - in[11] * span(in);
    return both(AsianArguments::valid(in), both(is_finite(in[11]), ge(earliest, V(0.0))));
  }

  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto a = Averaging<T>::of(x, in);
    const auto& d = a.d;
    const R slope = in[11];
    const T variance = d.vol * d.vol, start = exp_at(d.carry * a.first), common = variance * a.first;
    // sigma(t)^2 t for a time after the first fixing, less that of the first fixing at the volatility of expiry.
    const auto total = [&](R time) {
      const T vol = d.vol + slope * (time - a.span);
      return vol * vol * (a.first + time) - common;
    };
    // E[A] / S, and E[A^2] / S^2 = sum of w_j w_k exp(b (t_j + t_k) + sigma(t)^2 t), t = min(t_j, t_k).
    T mean(R(0.0)), square(R(0.0)), before(R(0.0));
    const auto smooth = a.continuous(), sloped = ne(slope, R(0.0));
    a.each([&](R, R at, R weight) {
      const R time = at * a.span;
      const T growth = exp_at(d.carry * time);
      const T own = exp_at(d.carry * time + total(time));
      // Earlier fixings: their sum, or the integral, in closed form if there is one.
      T integral = at * growth_mean((d.carry + variance) * time);
      if (any(both(smooth, sloped))) {
        T sum(R(0.0));
        for (int k = 0; k < 20; ++k) {
          const R then = time * R(Gauss20::node(k));
          sum = sum + R(Gauss20::weight(k)) * exp_at(d.carry * then + total(then));
        }
        integral = select(sloped, at * sum, integral);
      }
      const T earlier = select(smooth, integral, before + (R(0.5) * weight) * own);
      square = square + (R(2.0) * weight) * (growth * earlier);
      before = before + weight * own;
      mean = mean + weight * growth;
    });
    mean = mean * start;
    square = square * start * start * exp_at(common);
    const T v = sqrt(at_least(log_at(square, mean * mean), 1e-24));
    const T forward = d.spot * mean;
    return a.settle(forward, black(forward * d.discount, a.positive_strike() * d.discount, v, a.sign));
  }
};

/// Conditional on the geometric average: Curran, Valuing Asian and Portfolio Options by Conditioning on the Geometric
/// Mean Price (1994), with the conditional mean in the place of the average where the two end below the strike.
struct Curran : AsianArguments {
  static constexpr rows::Info kInfo = {"asian_curran", WQ_ASIAN_INPUTS, WQ_ONE_ASSET_OUTPUTS, 3000};

  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto a = Averaging<T>::of(x, in);
    const auto& d = a.d;
    const R one(1.0), n = max(a.fixings, one), half(0.5), gap = a.span / a.gaps();
    const auto smooth = a.continuous();
    const T variance = d.vol * d.vol, nu = d.carry - half * variance;
    const R overlap = select(smooth, a.span * R(1.0 / 3.0), gap * (n - one) * (R(2.0) * n - one) / (R(6.0) * n));
    const T spread = variance * at_least(a.first + overlap, kLeastTime), deviation = sqrt(spread);
    const T strike = a.positive_strike(), log_strike = log_at(strike, d.spot);
    const T away = log_strike - nu * (a.first + half * a.span);
    const auto common = [&](R index, R at) {  // covariance of the logarithms of a fixing and of the geometric average
      const R smooth_share = a.span * (at - half * at * at);
      const R share = gap * (index - index * (index + one) / (R(2.0) * n));
      return variance * (a.first + select(smooth, smooth_share, share));
    };
    // Mean of the average where the geometric one is at the strike.
    T level(R(0.0)), mean(R(0.0));
    a.each([&](R index, R at, R weight) {
      const T time = a.first + at * a.span, shared = common(index, at);
      level = level +
              weight * exp_at(nu * time + shared * away / spread + half * (variance * time - shared * shared / spread));
      mean = mean + weight * exp_at(d.carry * time);
    });
    const T bound = at_least(R(2.0) * strike - d.spot * level, kLeastPrice);
    const T distance = (nu * (a.first + half * a.span) - log_at(bound, d.spot)) / deviation;
    T share(R(0.0));
    a.each([&](R index, R at, R weight) {
      const T time = a.first + at * a.span;
      share = share + weight * (exp_at(d.carry * time) * cdf_at(distance + common(index, at) / deviation));
    });
    const T forward = d.spot * mean;
    const T call = (d.spot * share - strike * cdf_at(distance)) * d.discount;
    const T value = select(gt(a.sign, R(0.0)), call, call - (forward - strike) * d.discount);
    return a.settle(forward, not_below_0(value));
  }
};

using Asians = rows::List<Differentiated<GeometricAsian>, Differentiated<TurnbullWakeman>, Differentiated<Curran>>;

}  // namespace wq::options::inline WQ_LEVEL
