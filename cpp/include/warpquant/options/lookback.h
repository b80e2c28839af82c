// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/quadrature.h"
#include "warpquant/options/differentiate.h"

/// Lookback options: floating strike (Goldman, Sosin and Gatto 1979), fixed strike (Conze and Viswanathan 1991).
namespace wq::options::inline WQ_LEVEL {

/// `extreme`: of prices so far, the lowest for floating calls and fixed puts, the highest for the others.
struct Lookback : OneAsset {
  static constexpr rows::Info kInfo = {"lookback", WQ_ONE_ASSET_INPUTS " extreme fixed", WQ_ONE_ASSET_OUTPUTS, 200};
  static constexpr int kInputs = 9;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 7;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    // The lowest price so far is not above the spot, nor the highest below it.
    const auto is_call = gt(in[6], V(0.0)), fixed = gt(in[8], V(0.0));
    const auto lowest = either(both(is_call, negate(fixed)), both(negate(is_call), fixed));
    const V side = select(lowest, V(1.0), V(-1.0));
    return both(both(valid_asset(in), positive(in[7])), ge(side * (in[0] - in[7]), V(0.0)));
  }

  /// (e^(bT) N(s d1) - e^(-c L) N(s (d1 - c v))) / c with c = 2 b / sigma^2, L = ln(S / E), which is finite at c = 0.
  template <class T>
  WQ_HD_CALL static T slope(Number<T> s, const T& c, const T& log, const T& d1, const T& v) {
    using R = Number<T>;
    const T rise = R(0.5) * (v * v), span = rise + log;
    const R size = abs(value_of(c)) * max(abs(value_of(span)), value_of(v));
    const auto small = lt(size, R(0.5));
    const T safe = select(lt(abs(value_of(c)), R(1e-300)), T(R(1e-300)), c);
    const T direct = (scaled_cdf(c * rise, s * d1) - scaled_cdf(R(0.0) - c * log, s * (d1 - c * v))) / safe;
    if (!any(small)) return direct;
    // The mean of the derivative of e^p N(x) on the straight way from the second term to the first.
    T sum(R(0.0));
    for (int i = 0; i < 12; ++i) {
      const R at(Gauss12::node(i)), rest(1.0 - Gauss12::node(i));
      const T p = c * (at * rise - rest * log), x = d1 - rest * (c * v);
      const T density = R(kInvSqrtTwoPi) * exp_at(p - R(0.5) * (x * x));
      sum = sum + R(Gauss12::weight(i)) * (span * scaled_cdf(p, s * x) + s * (v * density));
    }
    return select(small, sum, direct);
  }

  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]), zero(0.0), one(1.0);
    const auto fixed = gt(in[8], zero), is_call = gt(sign, zero);
    const T extreme(in[7]), strike = at_least(x[5], kLeastPrice);
    const T beyond = select(is_call, max(strike, extreme), min(strike, extreme));
    const T bound = select(fixed, beyond, extreme);
    const T log = log_at(d.spot, bound), d1 = log / d.v + (d.drift + R(1.0)) * d.v;
    const T c = R(2.0) * d.drift + R(1.0), part = d.part(sign, bound, log, T(zero));
    const R turn = select(fixed, sign, zero - sign);
    const T bonus = turn * (d.spot * d.discount * slope(turn, c, log, d1, d.v));
    const T certain = max(sign * (extreme - strike), T(zero)) * d.discount;
    T sum = not_below_0(part + bonus + select(fixed, certain, T(zero)));
    // Below the floors of vol and time the value goes to that of the only path, whose extremes are at its ends.
    const auto low = either(lt(in[5], R(kLeastVol)), lt(in[2], R(kLeastTime)));
    if (any(low)) {
      const R share = min(in[5] / R(kLeastVol), one) * sqrt(min(in[2] / R(kLeastTime), one));
      const R path = certain_path(in, sign, fixed, is_call);
      set_value(sum, select(low, mul_add(share, value_of(sum) - path, path), value_of(sum)));
    }
    return sum;
  }

  /// The price where nothing is random.
  template <class V, class M>
  WQ_HD_CALL static V certain_path(const V* in, V sign, M fixed, M is_call) {
    const V end = in[0] * exp_at((in[3] - in[4]) * in[2]), zero(0.0);
    const V lowest = min(in[7], min(in[0], end)), highest = max(in[7], max(in[0], end));
    const V floating = sign * (end - select(is_call, lowest, highest));
    const V by_strike = max(sign * (select(is_call, highest, lowest) - in[1]), zero);
    return select(fixed, by_strike, floating) * exp_at(zero - in[3] * in[2]) + zero;
  }
  template <class V>
  WQ_HD static void set_value(V& x, V value) {
    x = value;
  }
  template <class V, int N, int M>
  WQ_HD static void set_value(Dual<V, N, M>& x, V value) {
    x.value = value;
  }
};

using Lookbacks = rows::List<Differentiated<Lookback>>;

}  // namespace wq::options::inline WQ_LEVEL
