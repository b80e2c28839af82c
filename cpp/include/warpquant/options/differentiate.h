// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/dual.h"
#include "warpquant/core/row_ops.h"
#include "warpquant/options/vanilla.h"

/// Products whose Greeks come from forward differentiation of one template of their price.
namespace wq::options::inline WQ_LEVEL {

/// A result: the price (order 0), a derivative in variable `index`, or second derivative `index` of the dual number.
struct Derivative {
  int order, index;
  double sign;
};

/// The lists of a product, as values.
template <class Product>
struct ListsOf {
  int variables[sizeof Product::kVariables / sizeof(int)];
  Derivative results[sizeof Product::kResults / sizeof(Derivative)];

  constexpr ListsOf() : variables(), results() {
    int k = 0;
    for (const int v : Product::kVariables) variables[k++] = v;
    k = 0;
    for (const Derivative d : Product::kResults) results[k++] = d;
  }
};

/// An operation on rows from a product:
///
///     struct Product {
///       static constexpr rows::Info kInfo;
///       static constexpr int kInputs;                // how many arguments
///       static constexpr int kVariables[];           // the arguments that are differentiated in
///       static constexpr int kSecond;                // second derivatives in the first two of them: 0, 1 or 3
///       static constexpr Derivative kResults[];      // what the outputs are
///       static constexpr std::uint32_t kMoney;       // the arguments that are amounts of money, as bits
///       template <class V> static auto valid(const V* in);                   // rows that have a price
///       template <class T> static T price(const T* x, const Number<T>* in);  // x: the variables
///     };
template <class Product>
struct Differentiated {
  static constexpr rows::Info kInfo = Product::kInfo;
  static constexpr int kVariables = sizeof Product::kVariables / sizeof(int);
  static constexpr int kResults = sizeof Product::kResults / sizeof(Derivative);

  static constexpr auto kLists = ListsOf<Product>{};

  /// Prices are in proportion to the unit of money. A unit that is far from that of the spot is changed, by a power of
  /// two, for there products and floors would leave the range of doubles.
  template <class V>
  WQ_HD static V unit_of(V spot) {
    V mantissa;
    const V exponent = max(min(split(spot, mantissa), V(900.0)), V(-900.0));
    return select(gt(abs(exponent), V(200.0)), exponent, V(0.0));
  }
  /// The power of the unit that a result has.
  WQ_HD static double power(const Derivative& d) {
    constexpr auto lists = kLists;
    const auto money = [&](int variable) {
      return (Product::kMoney >> lists.variables[variable] & 1) != 0 ? 1.0 : 0.0;
    };
    if (d.order == 0) return 1.0;
    if (d.order == 1) return 1.0 - money(d.index);
    return 1.0 - money(d.index == 2 ? 1 : 0) - money(d.index == 0 ? 0 : 1);
  }

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    constexpr auto lists = kLists;  // device code cannot read arrays that are members
    V in[Product::kInputs];
    for (int k = 0; k < Product::kInputs; ++k) in[k] = r.template in<V>(k);
    const auto valid = Product::valid(in);
    const V nan(__builtin_nan("")), unit = unit_of(in[0]);
    const bool far = any(ne(unit, V(0.0)));
    if (far)
      for (int k = 0; k < Product::kInputs; ++k)
        if ((Product::kMoney >> k & 1) != 0) in[k] = scale(in[k], V(0.0) - unit);
    bool greeks = false;
    for (int k = 0; k < kResults; ++k) greeks = greeks || (lists.results[k].order > 0 && r.wants(k));
    if (!greeks) {
      V x[kVariables];
      for (int k = 0; k < kVariables; ++k) x[k] = in[lists.variables[k]];
      const V price = Product::template price<V>(x, in);
      r.put(0, select(valid, far ? scale(price, unit) : price, nan));
      return;
    }
    using D = Dual<V, kVariables, Product::kSecond>;
    D x[kVariables];
    for (int k = 0; k < kVariables; ++k) x[k] = D(in[lists.variables[k]], k);
    const D y = Product::template price<D>(x, in);
    for (int k = 0; k < kResults; ++k) {
      const Derivative d = lists.results[k];
      V result = d.order == 0 ? y.value : d.order == 1 ? y.first[d.index] : y.second[d.index];
      if (far) result = scale(result, unit * V(power(d)));
      r.put(k, select(valid, d.sign < 0 ? V(0.0) - result : result, nan));
    }
  }
};

/// Products of one asset. Their arguments begin with these.
#define WQ_ONE_ASSET_INPUTS "spot strike expiry rate dividend vol is_call"
#define WQ_ONE_ASSET_OUTPUTS "price delta gamma vega theta rho epsilon dual_delta vanna volga"
struct OneAsset {
  static constexpr int kSecond = 3;
  static constexpr int kVariables[] = {0, 5, 2, 3, 4, 1};  // spot, vol, expiry, rate, dividend, strike
  static constexpr std::uint32_t kMoney = 1u << 0 | 1u << 1;
  static constexpr Derivative kResults[] = {{0, 0, 1.0}, {1, 0, 1.0}, {2, 0, 1.0}, {1, 1, 1.0}, {1, 2, -1.0},
                                            {1, 3, 1.0}, {1, 4, 1.0}, {1, 5, 1.0}, {2, 1, 1.0}, {2, 2, 1.0}};
};

/// Finite, and not below 0.
template <class V>
WQ_HD auto amount(V x) {
  return both(ge(x, V(0.0)), is_finite(x));
}
template <class V>
WQ_HD auto positive(V x) {
  return both(gt(x, V(0.0)), is_finite(x));
}

/// Whether the arguments of products of one asset have a meaning.
template <class V>
WQ_HD auto valid_asset(const V* in) {
  auto known = eq(V(0.0), V(0.0));
  (void)sign_of(in[6], known);
  const auto amounts = both(both(positive(in[0]), amount(in[1])), both(amount(in[2]), amount(in[5])));
  return both(both(amounts, known), is_finite(in[3] + in[4]));
}

template <class V>
WQ_HD V call_or_put(V flag) {
  return select(gt(flag, V(0.0)), V(1.0), V(-1.0));
}

/// Of a barrier's type, by number: 0 down and in, 1 up and in, 2 down and out, 3 up and out. The side: 1 below the
/// spot, -1 above.
template <class V>
WQ_HD V barrier_side(V type) {
  return select(either(eq(type, V(1.0)), eq(type, V(3.0))), V(-1.0), V(1.0));
}
template <class V>
WQ_HD auto knocks_out(V type) {
  return ge(type, V(2.0));
}

/// Below these, volatility, time and prices are taken for these: prices then are the limit to the last digit but at the
/// kinks of a payoff, and derivatives are those at the floor.
inline constexpr double kLeastVol = 1e-6, kLeastTime = 1e-12, kLeastPrice = 1e-100;

template <class V>
WQ_HD V at_least(V x, double least) {
  return max(x, V(least));
}
/// The derivatives stay: the limit at the floor is that of its upper side.
template <class V, int N, int M>
WQ_HD_CALL Dual<V, N, M> at_least(const Dual<V, N, M>& x, double least) {
  Dual<V, N, M> y = x;
  y.value = max(x.value, V(least));
  return y;
}

/// A price that rounding may have made a little less than nothing. Its derivatives stay: next to a barrier they are not
/// small where it is.
template <class V>
WQ_HD V not_below_0(V x) {
  return max(V(0.0), x) + V(0.0);  // no -0
}
template <class V, int N, int M>
WQ_HD Dual<V, N, M> not_below_0(const Dual<V, N, M>& x) {
  Dual<V, N, M> y = x;
  y.value = not_below_0(x.value);
  return y;
}

/// What the closed forms of one asset have in common; T is a number or a dual number.
template <class T>
struct Diffusion {
  using R = Number<T>;
  T spot, vol, expiry, rate, dividend;
  T v, carry;            // sigma sqrt(T); b = r - q
  T discount, spot_now;  // e^(-rT), S e^(-qT)
  T drift;               // mu = b / sigma^2 - 1/2: the drift of the logarithm, per variance

  WQ_HD_CALL static Diffusion of(const T* x) {
    Diffusion d;
    d.spot = x[0];
    d.vol = at_least(x[1], kLeastVol);
    d.expiry = at_least(x[2], kLeastTime);
    d.rate = x[3];
    d.dividend = x[4];
    d.v = d.vol * sqrt(d.expiry);
    d.carry = d.rate - d.dividend;
    d.discount = exp_at(R(0.0) - d.rate * d.expiry);
    d.spot_now = d.spot * exp_at(R(0.0) - d.dividend * d.expiry);
    d.drift = d.carry / (d.vol * d.vol) - R(0.5);
    return d;
  }

  /// sign (S e^(-qT) e^((mu + 1) shift) N(sign x) - K e^(-rT) e^(mu shift) N(sign (x - v))): an option on paths that
  /// end beyond a bound, whose logarithm is `distance` below the spot's, or the image of such an option in a barrier,
  /// the spot moved by `shift`.
  WQ_HD_CALL T part(R sign, const T& strike, const T& distance, const T& shift) const {
    const T x = (distance + shift) / v + (drift + R(1.0)) * v;
    const T low = drift * shift;
    return sign * (spot_now * scaled_cdf(low + shift, sign * x) - strike * discount * scaled_cdf(low, sign * (x - v)));
  }
  /// The same without the strike: the probability, discounted, and what the asset is worth there.
  WQ_HD_CALL T cash_part(R sign, const T& distance, const T& shift) const {
    return discount * scaled_cdf(drift * shift, sign * ((distance + shift) / v + drift * v));
  }
  WQ_HD_CALL T asset_part(R sign, const T& distance, const T& shift) const {
    return spot_now * scaled_cdf((drift + R(1.0)) * shift, sign * ((distance + shift) / v + (drift + R(1.0)) * v));
  }

  /// What 1 is worth that is paid when the asset first is `distance` away in logarithms, if it is before expiry.
  /// `side`: 1 if that is below the spot, -1 above. NaN where rates are so negative that the form has no real value.
  WQ_HD_CALL T paid_at_hit(R side, const T& distance) const {
    const T root = sqrt(drift * drift + R(2.0) * rate / (vol * vol));
    const T z = distance / v + root * v;
    return scaled_cdf((drift + root) * distance, side * z) +
           scaled_cdf((drift - root) * distance, side * (z - R(2.0) * root * v));
  }
};

}  // namespace wq::options::inline WQ_LEVEL
