// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/near.h"
#include "warpquant/core/normal.h"
#include "warpquant/core/row_ops.h"
#include "warpquant/options/option_inputs.h"

/// European options: prices and their derivatives in closed form. Names and signs as in docs/options.md: plain partial
/// derivatives, those in time by calendar time.
namespace wq::options::inline WQ_LEVEL {

enum Output : int {
  kPrice,
  kDelta,
  kVega,
  kTheta,
  kRho,
  kEpsilon,
  kLambda,
  kDualDelta,
  kGamma,
  kDualGamma,
  kVanna,
  kVolga,
  kVera,
  kCharm,
  kVeta,
  kSpeed,
  kZomma,
  kColor,
  kUltima,
  kOutputs
};
inline constexpr const char* kOutputNames =
    "price delta vega theta rho epsilon lambda_ dual_delta gamma dual_gamma vanna volga vera charm veta speed zomma "
    "color ultima";

inline constexpr std::uint32_t bit(Output k) { return 1u << k; }
inline constexpr std::uint32_t kPriceOnly = bit(kPrice);
inline constexpr std::uint32_t kUsualGreeks =
    bit(kPrice) | bit(kDelta) | bit(kGamma) | bit(kVega) | bit(kTheta) | bit(kRho);
inline constexpr std::uint32_t kAllGreeks = (1u << kOutputs) - 1;

inline constexpr double kInfinity = __builtin_inf();

/// An option of the Black-Scholes family in the parts that all results are made of: b = r - q is the cost of carry.
template <class V>
struct Black {
  V spot, strike, expiry, rate, dividend, vol, sign;
  V root, inverse_v;         // sqrt(T), 1 / (sigma sqrt(T))
  V by_spot;                 // 1 / S
  V spot_now, strike_now;    // S e^(-qT), K e^(-rT)
  V carry_factor, discount;  // e^(-qT), e^(-rT)
  V log_moneyness;           // ln(F / K)
  V d1, d2;
  V m1, m2;        // Mills ratios of |d1|, |d2|
  V spot_density;  // S e^(-qT) phi(d1) = K e^(-rT) phi(d2)
  V slope;         // e^(-qT) phi(d1)

  /// The first half of the work, in which most numbers wait for a division.
  struct Place {
    V root, inverse_v, log_moneyness, d1, d2;
    V t1, t2, scale1, scale2;  // what m1 and m2 come from

    template <bool kForward>
    WQ_HD static Place of(V spot, V strike, V expiry, V rate, V dividend, V vol) {
      Place p;
      p.root = sqrt(expiry);
      const V v = vol * p.root;
      p.inverse_v = V(1.0) / v;
      const V log = log_ratio(spot, strike);
      p.log_moneyness = kForward ? log : mul_add(rate - dividend, expiry, log);
      const V h = p.log_moneyness * p.inverse_v, half = V(0.5) * v;
      // Far out everything is 0; nearer infinity products with 0 would have no value.
      p.d1 = max(min(h + half, V(1e8)), V(-1e8));
      p.d2 = max(min(h - half, V(1e8)), V(-1e8));
      const MillsPair<V> mills(abs(p.d1), abs(p.d2));
      p.t1 = mills.tx;
      p.t2 = mills.ty;
      p.scale1 = mills.scale_x;
      p.scale2 = mills.scale_y;
      return p;
    }
    static constexpr int kNumbers = 9;
    /// f(k, number) for all of them.
    template <class F>
    WQ_HD void each(F f) {
      f(0, root), f(1, inverse_v), f(2, log_moneyness), f(3, d1), f(4, d2);
      f(5, t1), f(6, t2), f(7, scale1), f(8, scale2);
    }
  };

  /// `kForward`: the spot is a forward price, and `dividend` is not looked at. `kTiny`: spots may be below 2^-1022.
  template <bool kForward, bool kTiny = true>
  WQ_HD static Black of(V spot, V strike, V expiry, V rate, V dividend, V vol, V sign) {
    return of<kForward, kTiny>(Place::template of<kForward>(spot, strike, expiry, rate, dividend, vol), spot, strike,
                               expiry, rate, dividend, vol, sign);
  }
  /// The second half: discount factors, densities and Mills ratios.
  template <bool kForward, bool kTiny>
  WQ_HD static Black of(const Place& at, V spot, V strike, V expiry, V rate, V dividend, V vol, V sign) {
    Black o;
    o.spot = spot;
    o.strike = strike;
    o.expiry = expiry;
    o.rate = rate;
    o.dividend = kForward ? rate : dividend;
    o.vol = vol;
    o.sign = sign;
    o.root = at.root;
    o.inverse_v = at.inverse_v;
    o.by_spot = V(1.0) / spot;
    o.log_moneyness = at.log_moneyness;
    o.d1 = at.d1;
    o.d2 = at.d2;
    if constexpr (kForward) {
      o.discount = o.carry_factor = exp_of(V(0.0) - rate * expiry);
    } else {
      const auto factors = exp_of(Twin<V>(V(0.0) - rate * expiry, V(0.0) - dividend * expiry));
      o.discount = factors.a;
      o.carry_factor = factors.b;
    }
    o.spot_now = spot * o.carry_factor;
    o.strike_now = strike * o.discount;
    // Of the two ways to write the density, the one that depends less on what rounding did to d1 and d2.
    const V x1 = abs(o.d1), x2 = abs(o.d2);
    const auto nearer_spot = le(x1, x2);
    const V density = normal_density(min(x1, x2));
    o.spot_density = select(nearer_spot, o.spot_now, o.strike_now) * density;
    o.slope = select(nearer_spot, o.carry_factor * density, quotient<kTiny>(o.spot_density, spot, o.by_spot));
    const auto scaled = scaled_mills(Twin<V>(at.t1, at.t2));
    o.m1 = scaled.a * at.scale1;
    o.m2 = scaled.b * at.scale2;
    return o;
  }

  /// N(sign * d) * value, where tail = N(-|d|) * value.
  WQ_HD V share(V d, V value, V tail) const { return select(gt(sign * d, V(0.0)), value - tail, tail); }
  /// N(sign * d1) times S e^(-qT), and times e^(-qT); N(sign * d2) times K e^(-rT).
  WQ_HD V spot_share() const { return share(d1, spot_now, spot_density * m1); }
  WQ_HD V carry_share() const { return share(d1, carry_factor, slope * m1); }
  WQ_HD V strike_share() const { return share(d2, strike_now, spot_density * m2); }

  /// Where d1 and d2 have one sign: the price of the side that is out of the money needs no difference of two
  /// products of different exponentials there.
  WQ_HD auto same_tail() const { return gt(d1 * d2, V(0.0)); }

  /// The price of whichever of call and put is out of the money.
  WQ_HD V outer_price() const {
    const V near = select(gt(log_moneyness, V(0.0)), strike_now, spot_now) - spot_density * (m1 + m2);
    return select(same_tail(), spot_density * abs(m1 - m2), near);
  }
  /// The same where v = sigma sqrt(T) is small: spot_density (M(x - v/2) - M(x + v/2)) as a series about
  /// x = |ln(F/K)| / v, whose terms all have one sign.
  WQ_HD V outer_price_by_series(V v) const {
    const V x = abs(log_moneyness) * inverse_v, u = V(0.5) * v, u2 = u * u;
    const V m = mills(x);
    // Derivatives of M: M' = x M - 1, and from there on M(n+1) = x M(n) + n M(n-1).
    const V first = mul_add(x, m, V(-1.0));
    V before = first, now = mul_add(x, first, m), power = u2, sum = first;
    double factorial = 1.0;
    WQ_UNROLL(8)
    for (int n = 2; n <= 10; n += 2) {
      const V odd = mul_add(x, now, V(n) * before);
      factorial *= n * (n + 1);
      sum = mul_add(odd, power * V(1.0 / factorial), sum);
      now = mul_add(x, odd, V(n + 1) * now);
      before = odd;
      power = power * u2;
    }
    return V(-2.0) * spot_density * u * sum;
  }
  WQ_HD V price() const { return with_intrinsic(max(outer_price(), V(0.0))); }
  /// The price where it is one of two parts that cancel; `usual` is good enough where sigma sqrt(T) is not small.
  WQ_HD V precise_price(V usual) const {
    const V v = vol * root;
    const auto small = lt(v, V(0.2));
    return any(small) ? select(small, with_intrinsic(outer_price_by_series(v)), usual) : usual;
  }
  WQ_HD V with_intrinsic(V outer) const {
    return select(gt(sign * log_moneyness, V(0.0)), outer + sign * (spot_now - strike_now), outer);
  }
};

/// The limit of e^(-rate T) N(slope sqrt(T)) as T grows, NaN where there is none; `decay` is that of e^(-rate T) times
/// the density.
WQ_HD double endless_share(double rate, double slope, double decay) {
  if (rate > 0) return 0.0;
  if (rate == 0) return slope > 0 ? 1.0 : slope == 0 ? 0.5 : 0.0;
  return slope < 0 && decay > 0 ? 0.0 : __builtin_nan("");
}

/// Limits for T = inf. What decays does so exponentially: no power of T makes up for it.
template <bool kForward, class Put>
WQ_HD_CALL void black_endless(double spot, double strike, double rate, double q, double vol, double sign, Put put) {
  const double nan = __builtin_nan(""), b = rate - q;
  const double moneyness = b != 0 ? b : spot - strike;  // of the only path, without vol
  if (vol == 0 && moneyness == 0) return put(kPrice, rate >= 0 ? 0.0 : nan);
  // d1 and d2 per sqrt(T).
  const double far = moneyness > 0 ? kInfinity : -kInfinity;
  const double a1 = vol == 0 ? far : vol == kInfinity ? vol : b / vol + 0.5 * vol;
  const double a2 = vol == 0 ? far : vol == kInfinity ? -vol : b / vol - 0.5 * vol;
  const double decay = q + 0.5 * a1 * a1;
  const double of_spot = endless_share(q, sign * a1, decay), of_strike = endless_share(rate, sign * a2, decay);
  // A sum of two parts that grow has its own limit: that of what is out of the money.
  const double tail = sign * a1 < 0 && sign * a2 < 0 && decay > 0 ? 0.0 : nan;
  const double parts = sign * (spot * of_spot - strike * of_strike);
  const double price = (is_nan(parts) ? tail : parts) + 0.0;
  if (is_nan(price)) return;
  put(kPrice, price);
  put(kDelta, sign * of_spot + 0.0);
  put(kDualDelta, -sign * of_strike + 0.0);
  put(kRho, kForward ? (price == 0 ? 0.0 : nan) : of_strike == 0 ? 0.0 : nan);
  if (!kForward) put(kEpsilon, of_spot == 0 ? 0.0 : nan);
  put(kLambda, price > 0 ? spot * (sign * of_spot) / price : nan);
  if (!(decay > 0)) return;
  put(kVega, 0.0), put(kTheta, 0.0), put(kGamma, 0.0), put(kDualGamma, 0.0);
  for (int k = kVanna; k < kOutputs; ++k) put(k, 0.0);
}

/// What the limit gives where sigma sqrt(T), S or K are 0 or infinite; NaN for arguments without a meaning. One row at
/// a time: such rows are few. `kForward` as above.
template <bool kForward, class Put>
WQ_HD_CALL void black_limits(double spot, double strike, double expiry, double rate, double dividend, double vol,
                             double sign, Put put) {
  const double nan = __builtin_nan("");
  for (int k = 0; k < kOutputs; ++k) put(k, nan);
  const bool invalid = !(spot >= 0 && strike >= 0 && expiry >= 0 && vol >= 0) || !is_finite(rate) ||
                       !(kForward || is_finite(dividend)) || sign == 0 || spot == kInfinity || strike == kInfinity;
  if (invalid) return;
  const double q = kForward ? rate : dividend;
  if (spot == 0 && strike == 0) return put(kPrice, 0.0);
  if (expiry == kInfinity && spot > 0 && strike > 0)
    return black_endless<kForward>(spot, strike, rate, q, vol, sign, put);
  // Products with 0 are 0: T may be infinite.
  const double discount = rate == 0 ? 1.0 : exp_of(-rate * expiry), carry = q == 0 ? 1.0 : exp_of(-q * expiry);
  const double spot_now = spot * carry, strike_now = strike * discount;
  double in_money;  // the share of the intrinsic value that the option is worth: 1 or 0, at the forward 1/2
  bool half = false;
  if (spot == 0 || strike == 0) {
    in_money = (spot == 0) == (sign < 0) ? 1.0 : 0.0;
  } else if (vol == kInfinity && expiry > 0) {
    // d1 = inf, d2 = -inf: a call is worth the spot, a put the strike, and no density is left.
    for (int k = kVanna; k < kOutputs; ++k) put(k, 0.0);
    put(kPrice, sign > 0 ? spot_now : strike_now);
    put(kDelta, sign > 0 ? carry : 0.0);
    put(kDualDelta, sign > 0 ? 0.0 : discount);
    put(kVega, 0.0);
    put(kGamma, 0.0);
    put(kDualGamma, 0.0);
    put(kTheta, sign > 0 ? q * spot_now : rate * strike_now);
    put(kRho, kForward   ? (sign > 0 ? -expiry * spot_now : -expiry * strike_now)
              : sign > 0 ? 0.0
                         : -expiry * strike_now);
    if (!kForward) put(kEpsilon, sign > 0 ? -expiry * spot_now : 0.0);
    put(kLambda, sign > 0 ? 1.0 : 0.0);
    put(kCharm, sign > 0 ? q * carry : 0.0);
    return;
  } else if (vol * sqrt(expiry) == 0 || vol == 0 || expiry == 0) {
    const double log = kForward ? log_ratio(spot, strike) : mul_add(rate - q, expiry, log_ratio(spot, strike));
    half = log == 0;
    in_money = half ? 0.5 : sign * log > 0 ? 1.0 : 0.0;
  } else {
    return;
  }
  const double intrinsic = sign * (spot_now - strike_now);
  const double price = half ? 0.0 : in_money * (spot == 0 || strike == 0 ? abs(intrinsic) : intrinsic) + 0.0;
  const double zero_or_nan = half ? nan : 0.0;
  for (int k = kVanna; k < kOutputs; ++k) put(k, zero_or_nan);
  put(kPrice, price);
  put(kDelta, in_money * sign * carry + 0.0);
  put(kDualDelta, in_money * -sign * discount + 0.0);
  put(kVega, half ? spot_now * sqrt(expiry) * kInvSqrtTwoPi : 0.0);
  put(kGamma, half ? kInfinity : 0.0);
  put(kDualGamma, half ? kInfinity : 0.0);
  const double slope = in_money * sign * (q * spot_now - rate * strike_now) + 0.0;
  put(kTheta, half && expiry == 0 && vol > 0 ? -kInfinity : slope);
  put(kRho, kForward ? -expiry * price + 0.0 : in_money * sign * strike_now * expiry + 0.0);
  put(kEpsilon, kForward ? nan : in_money * -sign * spot_now * expiry + 0.0);
  put(kLambda, price > 0 ? spot * (in_money * sign * carry) / price : nan);
}

enum class Model { bsm, black76 };

/// Black-Scholes-Merton (spot, dividend yield), Black 1976 (forward).
template <Model kModel>
struct BlackGreeks {
  static constexpr bool kForward = kModel == Model::black76;
  static constexpr rows::Info kInfo = {kForward ? "black76" : "bsm",
                                       "spot strike expiry rate dividend vol is_call shift", kOutputNames, 6};
  static constexpr std::uint32_t kSets[] = {kPriceOnly, kUsualGreeks, kAllGreeks};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    finish<V>(r, begin<V>(r));
  }
  template <class V, class Row>
  WQ_HD static typename Black<V>::Place begin(const Row& r) {
    return Terms<V>(r).place();
  }
  template <class V, class Row>
  WQ_HD static void finish(const Row& r, const typename Black<V>::Place& at) {
    const Terms<V> t(r);
    if (!all(t.ordinary(at))) return with_limits<V>(r);
    greeks<V>(t.whole(at), [&](int k) { return r.wants(k); }, [&](int k, V x) { r.put(k, x); });
  }

 private:
  /// Below this, as above 1e308, products leave the range of doubles.
  static constexpr double kLeast = 1e-280;

  /// The arguments of a row.
  template <class V>
  struct Terms {
    V spot, strike, expiry, rate, dividend, vol, sign;
    decltype(eq(V(), V())) known;  // the flag says call or put

    template <class Row>
    WQ_HD explicit Terms(const Row& r) {
      const V shift = r.template in<V>(7);
      spot = r.template in<V>(0) + shift;
      strike = r.template in<V>(1) + shift;
      expiry = r.template in<V>(2);
      rate = r.template in<V>(3);
      dividend = kForward ? rate : r.template in<V>(4);
      vol = r.template in<V>(5);
      sign = sign_of(r.template in<V>(6), known);
    }
    WQ_HD auto place() const {
      return Black<V>::Place::template of<kForward>(spot, strike, expiry, rate, dividend, vol);
    }
    WQ_HD auto ordinary(const typename Black<V>::Place& at) const {
      const V v = vol * at.root, sum = ((spot + strike) + (rate + dividend)) + v;
      return both(both(gt(min(min(spot, strike), v), V(kLeast)), is_finite(sum)), known);
    }
    WQ_HD auto whole(const typename Black<V>::Place& at) const {
      return Black<V>::template of<kForward, false>(at, spot, strike, expiry, rate, dividend, vol, sign);
    }
  };

  /// Rows of which some are not ordinary. Apart, so that a compiler does not mix it with the usual case.
  template <class V, class Row>
  WQ_HD_NOINLINE static void with_limits(const Row& r) {
    const Terms<V> t(r);
    const auto at = t.place();
    V results[kOutputs];
    greeks<V>(t.whole(at), [](int) { return true; }, [&](int k, V x) { results[k] = x; });
    rows::put_with_limits(r, results, t.ordinary(at), [&](int j, auto put) {
      special(lane(t.spot, j), lane(t.strike, j), lane(t.expiry, j), lane(t.rate, j), lane(t.dividend, j),
              lane(t.vol, j), lane(t.known, j) ? lane(t.sign, j) : 0.0, put);
    });
  }

  /// A row that is not ordinary: its limit, or in another unit of money, a power of two, the formulas.
  template <class Put>
  WQ_HD_CALL static void special(double spot, double strike, double expiry, double rate, double dividend, double vol,
                                 double sign, Put put) {
    const double q = kForward ? rate : dividend, v = vol * sqrt(expiry);
    if (!(spot > 0 && strike > 0 && v > 0 && sign != 0 && is_finite(spot) && is_finite(strike) &&
          is_finite((rate + q) + v)))
      return black_limits<kForward>(spot, strike, expiry, rate, dividend, vol, sign, put);
    double of_spot, of_strike;
    const double high = split(spot, of_spot), low = split(strike, of_strike);
    const double unit = abs(high - low) < 1800.0 ? rint(0.5 * (high + low)) : 0.0;
    const auto in_unit = [&](double x) {
      const double once = rint(-0.5 * unit);
      return scale(scale(x, once), -unit - once);
    };
    const auto o =
        Black<double>::template of<kForward>(in_unit(spot), in_unit(strike), expiry, rate, dividend, vol, sign);
    greeks<double>(
        o, [](int) { return true; },
        [&](int k, double x) {
          constexpr std::uint32_t kPer = bit(kGamma) | bit(kDualGamma) | bit(kZomma) | bit(kColor) | bit(kSpeed);
          constexpr std::uint32_t kFree = bit(kDelta) | bit(kLambda) | bit(kDualDelta) | bit(kVanna) | bit(kCharm);
          double power = (kPer >> k & 1) != 0 ? -unit : (kFree >> k & 1) != 0 ? 0.0 : unit;
          if (k == kSpeed) power = -2.0 * unit;
          for (; abs(power) > 900.0; power -= power > 0 ? 900.0 : -900.0) x = scale(x, power > 0 ? 900.0 : -900.0);
          put(k, scale(x, power));
        });
  }

  template <class V, class Wants, class Put>
  WQ_HD static void greeks(const Black<V>& o, Wants wants, Put put) {
    const V one(1.0), half(0.5), price = o.price();
    const V b = o.rate - o.dividend;
    const V vega = o.spot_density * o.root;
    const V spot_share = o.spot_share(), strike_share = o.strike_share();
    if (wants(kPrice)) put(kPrice, price);
    if (wants(kDelta)) put(kDelta, o.sign * o.carry_share());
    if (wants(kVega)) put(kVega, vega);
    if (wants(kTheta)) {
      const V decay = half * (o.spot_density * (o.vol * o.vol * o.inverse_v));
      if constexpr (kForward)
        put(kTheta, mul_add(o.rate, o.precise_price(price), V(0.0) - decay));
      else
        put(kTheta, mul_add(o.sign, mul_add(o.dividend, spot_share, V(0.0) - o.rate * strike_share), V(0.0) - decay));
    }
    if (wants(kRho)) put(kRho, kForward ? V(0.0) - o.expiry * price : o.sign * o.expiry * strike_share);
    if (wants(kEpsilon)) put(kEpsilon, kForward ? V(__builtin_nan("")) : V(0.0) - o.sign * o.expiry * spot_share);
    if (wants(kLambda)) {
      // Out of the money the densities cancel, and the ratio lives on where the price is too small for a double.
      const V far = abs(o.d1), ratio = o.m1 / abs(o.m1 - o.m2), limit = abs(o.d2) * o.inverse_v;
      const V tail = select(gt(far, V(1e5)), limit, ratio);
      const auto outside = both(o.same_tail(), le(o.sign * o.log_moneyness, V(0.0)));
      put(kLambda, o.sign * select(outside, tail, spot_share / price));
    }
    const V by_vol = inverse_of(o.vol), by_strike = inverse_of(o.strike), slope = o.slope;
    if (wants(kDualDelta)) put(kDualDelta, V(0.0) - o.sign * strike_share * by_strike);
    const V gamma = slope * o.inverse_v * o.by_spot, d12 = o.d1 * o.d2;
    if (wants(kGamma)) put(kGamma, gamma);
    if (wants(kDualGamma)) put(kDualGamma, o.spot_density * by_strike * o.inverse_v * by_strike);
    if (wants(kVanna)) put(kVanna, V(0.0) - slope * o.d2 * by_vol);
    if (wants(kVolga)) put(kVolga, vega * d12 * by_vol);
    if (wants(kVera))
      put(kVera, kForward ? V(0.0) - o.expiry * vega : V(0.0) - o.expiry * o.spot_density * o.d1 * by_vol);
    if (wants(kCharm) || wants(kVeta) || wants(kColor)) {
      const V by_expiry = half * inverse_of(o.expiry), drift = b * o.inverse_v;  // 1 / (2 T)
      const auto there = gt(slope, V(0.0));
      const V path = mul_add(drift, o.d1, o.dividend);  // q + b d1 / v
      if (wants(kCharm)) {
        const V spread = keep_if(there, slope * mul_add(o.d2, by_expiry, V(0.0) - drift));
        put(kCharm, mul_add(o.sign * o.dividend, o.carry_share(), spread));
      }
      if (wants(kVeta)) put(kVeta, keep_if(there, vega * mul_add(V(0.0) - (one + d12), by_expiry, path)));
      if (wants(kColor)) put(kColor, keep_if(there, gamma * mul_add(one - d12, by_expiry, path)));
    }
    if (wants(kSpeed)) put(kSpeed, V(0.0) - gamma * o.by_spot * mul_add(o.d1, o.inverse_v, one));
    if (wants(kZomma)) put(kZomma, gamma * (d12 - one) * by_vol);
    if (wants(kUltima)) {
      const V sum = mul_add(d12, one - d12, mul_add(o.d1, o.d1, o.d2 * o.d2));
      put(kUltima, V(0.0) - vega * by_vol * by_vol * sum);
    }
  }
};

/// What the limit gives in the model of Bachelier where sigma sqrt(T) is 0 or T infinite; NaN for arguments without a
/// meaning.
template <class Put>
WQ_HD_CALL void bachelier_limits(double forward, double strike, double expiry, double rate, double vol, double sign,
                                 Put put) {
  const double nan = __builtin_nan("");
  for (int k = 0; k < kOutputs; ++k) put(k, nan);
  if (!(expiry >= 0 && vol >= 0 && vol < kInfinity) || !is_finite((forward + strike) + rate) || sign == 0) return;
  if (expiry == kInfinity) {
    // Everything is discounted to 0, and without vol so are both parts of lambda; without interest the price grows with
    // the root of time.
    if (rate > 0)
      for (int k = 0; k < kOutputs; ++k)
        if (k != kEpsilon && !(k == kLambda && vol == 0)) put(k, 0.0);
    return;
  }
  const double discount = exp_of(-rate * expiry), money = sign * (forward - strike);
  const bool half = money == 0;
  const double in_money = half ? 0.5 : money > 0 ? 1.0 : 0.0, price = in_money * discount * money + 0.0;
  for (int k = kVanna; k < kOutputs; ++k) put(k, half ? nan : 0.0);
  put(kPrice, price);
  put(kDelta, in_money * sign * discount + 0.0);
  put(kDualDelta, in_money * -sign * discount + 0.0);
  put(kVega, half ? discount * sqrt(expiry) * kInvSqrtTwoPi : 0.0);
  put(kGamma, half ? kInfinity : 0.0);
  put(kDualGamma, half ? kInfinity : 0.0);
  put(kTheta, half && expiry == 0 && vol > 0 ? -kInfinity : rate * price);
  put(kRho, -expiry * price + 0.0);
  if (price > 0) put(kLambda, forward * in_money * sign * discount / price);
  if (!half) put(kCharm, rate * in_money * sign * discount + 0.0);
}

/// Bachelier 1900: a normal distribution of the forward, which may be negative, as the strike may.
struct BachelierGreeks {
  static constexpr rows::Info kInfo = {"bachelier", "spot strike expiry rate dividend vol is_call shift", kOutputNames,
                                       5};
  static constexpr std::uint32_t kSets[] = {kPriceOnly, kUsualGreeks, kAllGreeks};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    auto known = eq(V(0.0), V(0.0));
    const V sign = sign_of(r.template in<V>(6), known);
    const V forward = r.template in<V>(0), strike = r.template in<V>(1), expiry = r.template in<V>(2);
    const V rate = r.template in<V>(3), vol = r.template in<V>(5), v = vol * sqrt(expiry);
    const auto ordinary =
        both(both(gt(v, V(0.0)), gt(vol, V(0.0))), both(is_finite(((forward + strike) + rate) + v), known));
    if (all(ordinary))
      return greeks<V>(
          forward, strike, expiry, rate, vol, sign, [&](int k) { return r.wants(k); },
          [&](int k, V x) { r.put(k, x); });
    V results[kOutputs];
    greeks<V>(forward, strike, expiry, rate, vol, sign, [](int) { return true; }, [&](int k, V x) { results[k] = x; });
    rows::put_with_limits(r, results, ordinary, [&](int j, auto put) {
      bachelier_limits(lane(forward, j), lane(strike, j), lane(expiry, j), lane(rate, j), lane(vol, j),
                       lane(known, j) ? lane(sign, j) : 0.0, put);
    });
  }

 private:
  template <class V, class Wants, class Put>
  WQ_HD static void greeks(V forward, V strike, V expiry, V rate, V vol, V sign, Wants wants, Put put) {
    const V one(1.0), half(0.5), root = sqrt(expiry), v = vol * root, inverse_v = one / v;
    const V money = forward - strike, d = max(min(money * inverse_v, V(1e8)), V(-1e8)), x = abs(d);
    const V discount = exp_of(V(0.0) - rate * expiry), m = mills(x);
    const V slope = discount * normal_density(x);  // e^(-rT) phi(d)
    const auto in_money = gt(sign * d, V(0.0));
    const V tail = slope * m, excess = max(one - x * m, V(0.0));
    const V outer = slope * v * excess;
    const V price = select(in_money, mul_add(discount, sign * money, outer), outer);
    const V delta = sign * select(in_money, discount - tail, tail);
    const V vega = slope * root, gamma = slope * inverse_v, d_squared = d * d;
    if (wants(kPrice)) put(kPrice, price);
    if (wants(kDelta)) put(kDelta, delta);
    if (wants(kVega)) put(kVega, vega);
    const V by_expiry = half / expiry, by_vol = one / vol;  // 1 / (2 T), 1 / sigma
    if (wants(kTheta)) put(kTheta, mul_add(rate, price, V(0.0) - slope * vol * root * by_expiry));
    if (wants(kRho)) put(kRho, V(0.0) - expiry * price);
    if (wants(kEpsilon)) put(kEpsilon, V(__builtin_nan("")));
    if (wants(kLambda))
      put(kLambda, select(in_money, forward * delta / price, sign * forward * inverse_v * (m / excess)));
    if (wants(kDualDelta)) put(kDualDelta, V(0.0) - delta);
    if (wants(kGamma)) put(kGamma, gamma);
    if (wants(kDualGamma)) put(kDualGamma, gamma);
    if (wants(kVanna)) put(kVanna, V(0.0) - slope * d * by_vol);
    if (wants(kVolga)) put(kVolga, vega * d_squared * by_vol);
    if (wants(kVera)) put(kVera, V(0.0) - expiry * vega);
    if (wants(kCharm)) put(kCharm, mul_add(rate, delta, slope * d * by_expiry));
    if (wants(kVeta)) put(kVeta, vega * mul_add(V(0.0) - (one + d_squared), by_expiry, rate));
    if (wants(kSpeed)) put(kSpeed, V(0.0) - gamma * d * inverse_v);
    if (wants(kZomma)) put(kZomma, gamma * (d_squared - one) * by_vol);
    if (wants(kColor)) put(kColor, gamma * mul_add(one - d_squared, by_expiry, rate));
    if (wants(kUltima)) put(kUltima, vega * d_squared * (d_squared - V(3.0)) * by_vol * by_vol);
  }
};

using Vanilla = rows::List<BlackGreeks<Model::bsm>, BlackGreeks<Model::black76>, BachelierGreeks>;

}  // namespace wq::options::inline WQ_LEVEL
