// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/bivariate.h"
#include "warpquant/options/black.h"

/// Options on options, on the choice between options, on two assets, and on an asset in another currency.
namespace wq::options::inline WQ_LEVEL {

/// Rubinstein, Options for the Undecided (1991): at `choose`, its holder makes it a call or a put.
struct Chooser : OneAsset {
  static constexpr rows::Info kInfo = {"chooser", WQ_ONE_ASSET_INPUTS " choose", WQ_ONE_ASSET_OUTPUTS, 100};
  static constexpr int kInputs = 8;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(valid_asset(in), both(amount(in[7]), le(in[7], in[2])));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    // As time passes, the choice comes nearer with expiry.
    const T choose = at_least(d.expiry + (in[7] - in[2]), kLeastTime), strike = x[5] * d.discount;
    // A call, and a put that expires at the choice, struck where both are worth as much.
    return black(d.spot_now, strike, d.v, R(1.0)) + black(d.spot_now, strike, d.vol * sqrt(choose), R(-1.0));
  }
};

/// Geske, The Valuation of Compound Options (1979): the right to buy or sell an option at `expiry`. `is_call` and
/// `strike` are that right's, `under_...` the option's.
struct Compound {
  static constexpr rows::Info kInfo = {"compound", WQ_ONE_ASSET_INPUTS " under_strike under_expiry under_is_call",
                                       WQ_ONE_ASSET_OUTPUTS " dunder_strike", 2500};
  static constexpr int kInputs = 10, kSecond = 3;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 7;
  static constexpr int kVariables[] = {0, 5, 2, 3, 4, 1, 7};
  static constexpr Derivative kResults[] = {{0, 0, 1.0},  {1, 0, 1.0}, {2, 0, 1.0}, {1, 1, 1.0},
                                            {1, 2, -1.0}, {1, 3, 1.0}, {1, 4, 1.0}, {1, 5, 1.0},
                                            {2, 1, 1.0},  {2, 2, 1.0}, {1, 6, 1.0}};

  template <class V>
  WQ_HD static auto valid(const V* in) {
    auto known = eq(V(0.0), V(0.0));
    (void)sign_of(in[9], known);
    return both(both(valid_asset(in), known),
                both(both(amount(in[1]), amount(in[7])), both(is_finite(in[8]), ge(in[8], in[2]))));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R mother = call_or_put(in[6]), daughter = call_or_put(in[9]), zero(0.0),
            gap = max(in[8] - in[2], R(kLeastTime));
    const T own = at_least(x[5], kLeastPrice), under = at_least(x[6], kLeastPrice);
    const T end = d.expiry + gap, v = d.vol * sqrt(end);
    const T discount = exp_at(zero - d.rate * end), spot = d.spot * exp_at(zero - d.dividend * end);
    // The spot at which the option is worth what it is bought or sold for: Newton's method within a bracket.
    const R carry = exp_at(zero - value_of(d.dividend) * gap), then = exp_at(zero - value_of(d.rate) * gap);
    const R left = value_of(d.vol) * sqrt(gap), strike = value_of(own), paid = value_of(under) * then;
    auto found = eq(strike, R(0.0));
    const R centre = log_at(paid, carry), apart = log_at(strike, paid);
    R low = centre + min(apart, R(0.0)) - R(60.0), high = centre + max(apart, R(0.0)) + R(60.0), at = centre;
    for (int i = 0; i < 100; ++i) {
      BlackParts<R> y;
      const R s = exp_at(at);
      black_parts(s * carry, paid, left, daughter, true, y);
      const R miss = daughter * (y.price - strike);
      const auto above = gt(miss, zero);
      high = select(above, at, high);
      low = select(above, low, at);
      R next = at - daughter * (y.price - strike) / max(daughter * y.slope[0] * carry * s, R(1e-300));
      next = select(both(gt(next, low), lt(next, high)), next, R(0.5) * (low + high));
      // Found ones stay: a row's bits do not depend on its neighbours.
      const auto there = le(abs(next - at), R(1e-15) * max(abs(at), R(1.0)));
      at = select(found, at, next);
      found = either(found, there);
      if (all(found)) break;
    }
    // Its derivatives, from one step of Newton's method more.
    T edge(exp_at(at));
    const T later = d.vol * R(1.0) * sqrt(gap);
    const T worth = black(edge * exp_at(zero - d.dividend * gap), under * exp_at(zero - d.rate * gap), later, daughter);
    BlackParts<R> y;
    black_parts(value_of(edge) * carry, paid, left, daughter, true, y);
    const R slope = y.slope[0] * carry;
    const auto steep = gt(abs(slope) * value_of(edge), R(1e-12) * strike);
    edge = select(steep, edge - (worth - own) * (R(1.0) / select(steep, slope, R(1.0))), edge);
    edge = max(edge, T(R(kLeastPrice)));
    const T z = log_at(d.spot, edge) / d.v + (d.drift + R(1.0)) * d.v;
    const T w = log_at(d.spot, under) / v + (d.drift + R(1.0)) * v;
    const T together = mother * sqrt(d.expiry / end);
    const R turn = mother * daughter;
    return not_below_0(turn * (spot * bivariate_cdf(daughter * w, turn * z, together) -
                               under * discount * bivariate_cdf(daughter * (w - v), turn * (z - d.v), together)) -
                       mother * (own * d.discount * cdf_at(turn * (z - d.v))));
  }
};

/// Reiner, Quanto Mechanics (1992): an option on a foreign asset, paid in domestic money at a rate fixed beforehand.
/// Per unit of that rate.
struct Quanto {
  static constexpr rows::Info kInfo = {"quanto", WQ_ONE_ASSET_INPUTS " foreign_rate fx_vol correlation",
                                       WQ_ONE_ASSET_OUTPUTS " dforeign_rate dfx_vol dcorrelation", 60};
  static constexpr int kInputs = 10, kSecond = 3;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney;
  static constexpr int kVariables[] = {0, 5, 2, 3, 4, 1, 7, 8, 9};
  static constexpr Derivative kResults[] = {{0, 0, 1.0}, {1, 0, 1.0}, {2, 0, 1.0}, {1, 1, 1.0}, {1, 2, -1.0},
                                            {1, 3, 1.0}, {1, 4, 1.0}, {1, 5, 1.0}, {2, 1, 1.0}, {2, 2, 1.0},
                                            {1, 6, 1.0}, {1, 7, 1.0}, {1, 8, 1.0}};

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(valid_asset(in), both(both(is_finite(in[7]), amount(in[8])), le(abs(in[9]), V(1.0))));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    const auto d = Diffusion<T>::of(x);
    const T carry = x[6] - d.rate - d.dividend - x[8] * d.vol * x[7];
    return black(d.spot * exp_at(carry * d.expiry), at_least(x[5], kLeastPrice) * d.discount, d.v, call_or_put(in[6]));
  }
};

/// Options on two assets. The variables are both spots, which are also those of the second derivatives, then the rest.
struct TwoAssets {
  static constexpr int kInputs = 12, kSecond = 3;
  static constexpr std::uint32_t kMoney = 1u << 0 | 1u << 1 | 1u << 2;
  static constexpr int kVariables[] = {0, 1, 7, 8, 3, 4, 5, 6, 9, 2};
  static constexpr Derivative kResults[] = {{0, 0, 1.0}, {1, 0, 1.0}, {1, 1, 1.0}, {2, 0, 1.0},  {2, 1, 1.0},
                                            {2, 2, 1.0}, {1, 2, 1.0}, {1, 3, 1.0}, {1, 4, -1.0}, {1, 5, 1.0},
                                            {1, 6, 1.0}, {1, 7, 1.0}, {1, 8, 1.0}, {1, 9, 1.0}};

  template <class V>
  WQ_HD static auto valid(const V* in) {
    auto known = both(both(positive(in[0]), positive(in[1])), both(is_finite(in[2]), amount(in[3])));
    known = both(known, is_finite((in[4] + in[5]) + in[6]));
    known = both(known, both(both(amount(in[7]), amount(in[8])), le(abs(in[9]), V(1.0))));
    auto flag = known;
    (void)sign_of(in[10], flag);
    return both(known, both(flag, is_finite(in[11])));
  }

  template <class T>
  struct Assets {
    T expiry, rate, discount, now[2], vol[2], carry[2], correlation, root;

    WQ_HD_CALL static Assets of(const T* x) {
      using R = Number<T>;
      Assets a;
      a.expiry = at_least(x[4], kLeastTime);
      a.rate = x[5];
      a.root = sqrt(a.expiry);
      a.discount = exp_at(R(0.0) - a.rate * a.expiry);
      for (int k = 0; k < 2; ++k) {
        a.vol[k] = at_least(x[2 + k], kLeastVol);
        a.carry[k] = a.rate - x[6 + k];
        a.now[k] = x[k] * exp_at(R(0.0) - x[6 + k] * a.expiry);
      }
      a.correlation = x[8];
      return a;
    }
    /// Volatility of S1 / S2^weight. Of `vols` each may be 0: a floor would show in the correlation's term.
    WQ_HD_CALL T spread_vol(const T& weight, const T* vols) const {
      using R = Number<T>;
      const T other = weight * vols[1];
      const T square = vols[0] * vols[0] - R(2.0) * (correlation * vols[0] * other) + other * other;
      return sqrt(at_least(square, 1e-24));
    }
  };
};
#define WQ_TWO_ASSETS "spot1 spot2 strike expiry rate dividend1 dividend2 vol1 vol2 correlation is_call"
#define WQ_TWO_ASSET_INPUTS WQ_TWO_ASSETS " kind"
#define WQ_EXCHANGE_OUTPUTS \
  "price delta1 delta2 gamma1 cross_gamma gamma2 vega1 vega2 theta rho epsilon1 epsilon2 dcorrelation"
#define WQ_TWO_ASSET_OUTPUTS WQ_EXCHANGE_OUTPUTS " dual_delta"

/// Margrabe, The Value of an Option to Exchange One Asset for Another (1978); the strike and the rate are not looked
/// at.
struct Exchange : TwoAssets {
  static constexpr rows::Info kInfo = {"exchange", WQ_TWO_ASSET_INPUTS, WQ_EXCHANGE_OUTPUTS, 60};
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto a = Assets<T>::of(x);
    return black(a.now[0], a.now[1], a.spread_vol(T(R(1.0)), x + 2) * a.root, call_or_put(in[10]));
  }
};

/// Kirk, Correlation in the Energy Markets (1995): an approximation of max(sign (S1 - S2 - K), 0).
struct Spread : TwoAssets {
  static constexpr rows::Info kInfo = {"spread", WQ_TWO_ASSET_INPUTS, WQ_TWO_ASSET_OUTPUTS, 70};
  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(TwoAssets::valid(in), gt(in[1] * exp_at((in[4] - in[6]) * in[3]) + in[2], V(0.0)));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    const auto a = Assets<T>::of(x);
    const T paid = a.now[1] + x[9] * a.discount;
    return black(a.now[0], paid, a.spread_vol(a.now[1] / paid, x + 2) * a.root, call_or_put(in[10]));
  }
};

/// On the smaller or the larger of two assets (Stulz, Options on the Minimum or the Maximum of Two Risky Assets, 1982).
struct Rainbow : TwoAssets {
  enum class Kind : int { smaller, larger };
  static constexpr rows::Info kInfo = {"rainbow", WQ_TWO_ASSET_INPUTS, WQ_TWO_ASSET_OUTPUTS, 600};

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(TwoAssets::valid(in), amount(in[2]));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto a = Assets<T>::of(x);
    const R one(1.0), zero(0.0);
    const T vol = a.spread_vol(T(one), a.vol), v = vol * a.root, strike = at_least(x[9], kLeastPrice) * a.discount;
    const T d = log_at(a.now[0], a.now[1]) / v + R(0.5) * v;
    T y[2], w[2], near[2];
    const T limit(one), below(R(-1.0));
    for (int k = 0; k < 2; ++k) {
      w[k] = a.vol[k] * a.root;
      y[k] = log_at(a.now[k], strike) / w[k] + R(0.5) * w[k];
      near[k] = max(min((a.vol[k] - a.correlation * a.vol[1 - k]) / vol, limit), below);
    }
    const auto larger = eq(in[11], R(static_cast<int>(Kind::larger)));
    const R way = select(larger, one, R(-1.0));
    const T both_above = bivariate_cdf(y[0] - w[0], y[1] - w[1], a.correlation);
    const T none_above = bivariate_cdf(w[0] - y[0], w[1] - y[1], a.correlation);
    const T exercised = select(larger, one - none_above, both_above);
    const T call = a.now[0] * bivariate_cdf(y[0], way * d, way * near[0]) +
                   a.now[1] * bivariate_cdf(y[1], way * (v - d), way * near[1]) - strike * exercised;
    const T margrabe = black(a.now[0], a.now[1], v, one);
    const T whole = select(larger, a.now[1] + margrabe, a.now[0] - margrabe);
    return not_below_0(select(gt(in[10], zero), call, strike - whole + call));
  }
};

/// Pays the first asset against `strike` if the second ends beyond `strike2` (Zhang, Correlation Digitals, 1995).
struct Correlation : TwoAssets {
  static constexpr rows::Info kInfo = {"correlation", WQ_TWO_ASSETS " strike2", WQ_TWO_ASSET_OUTPUTS, 250};
  static constexpr std::uint32_t kMoney = TwoAssets::kMoney | 1u << 11;
  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(TwoAssets::valid(in), both(amount(in[2]), positive(in[11])));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto a = Assets<T>::of(x);
    const R sign = call_or_put(in[10]);
    const T strike = at_least(x[9], kLeastPrice) * a.discount, v1 = a.vol[0] * a.root, v2 = a.vol[1] * a.root;
    const T y1 = log_at(a.now[0], strike) / v1 - R(0.5) * v1;
    const T y2 = log_at(a.now[1], in[11] * a.discount) / v2 - R(0.5) * v2;
    return sign * (a.now[0] * bivariate_cdf(sign * (y2 + a.correlation * v1), sign * (y1 + v1), a.correlation) -
                   strike * bivariate_cdf(sign * y2, sign * y1, a.correlation));
  }
};

using Multi =
    rows::List<Differentiated<Chooser>, Differentiated<Compound>, Differentiated<Quanto>, Differentiated<Exchange>,
               Differentiated<Spread>, Differentiated<Rainbow>, Differentiated<Correlation>>;

}  // namespace wq::options::inline WQ_LEVEL
