// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/vanilla.h"

/// Implied volatility. With s = sigma sqrt(T), x = |ln(F / K)|, h = x / s, t = s / 2 the option that is out of the
/// money is worth the share
///
///     phi(h - t) (M(h - t) - M(h + t))
///
/// of its upper bound, with the Mills ratio M, and lacks phi(h - t) (M(t - h) + M(t + h)) of it. Logarithms of either
/// need no exponential, neither cancels, and no price is too small. A fit gives s to 6e-5 where options are traded,
/// after which one step of fourth order is enough.
namespace wq::options::inline WQ_LEVEL {

enum ImpliedStatus : int { kFound, kBelowIntrinsic, kAboveBound, kNoTimeValue, kMeaningless, kExpired };

enum ImpliedOutput : int {
  kVol,
  kStatus,
  kByPrice,
  kBySpot,
  kByStrike,
  kByExpiry,
  kByRate,
  kByDividend,
  kImpliedOutputs
};

/// What a price leaves: money, all of it discounted.
template <class V>
struct Quote {
  V value;      // time value: what the same option out of the money is worth
  V room;       // from the price to its upper bound
  V bound;      // on the time value
  V scale;      // geometric mean of discounted forward and strike; for a normal distribution the discount factor
  V gap;        // |F - K|
  V moneyness;  // x; for a normal distribution the gap
};

/// (M(-y) - M(y)) / 2 = e^(y^2 / 2) (N(y) - 1/2) sqrt(2 pi) for 0 <= y <= kNearMoney, where all terms have one sign.
inline constexpr double kNearMoney = 1.25;
template <class V>
WQ_HD V mills_reflected(V y) {
  constexpr double kSeries[] = {1.0,
                                0.33333333333333415,
                                0.06666666666664121,
                                0.009523809524113011,
                                0.0010582010563334006,
                                9.620010297243575e-05,
                                7.399991859386596e-06,
                                4.933572444957539e-07,
                                2.8996184855154236e-08,
                                1.5427629359141428e-09,
                                6.638759838407668e-11,
                                4.614502321820138e-12};
  return y * polynomial(y * y, kSeries);
}

/// s, by the kind of the distribution: `kNormal` for Bachelier's model, in which t = 0.
template <class V, bool kNormal>
struct ImpliedSolver {
  using Mask = decltype(lt(V(0.0), V(0.0)));
  const Quote<V>& quote;

  /// Within 6e-5 of s where s and x are below 2.1, which is `inside`. First a normal distribution, in the
  /// variable of Choi, Kim and Kwak, Numerical approximation of the implied volatility under arithmetic Brownian motion
  /// (2009), then the ratio of the two deviations, which is close to 1.
  WQ_HD V guess(Mask& inside) const {
    const V straddle = quote.value + quote.value + quote.gap, v = quote.gap / straddle;
    const V twice = log_ratio(quote.value + quote.gap, quote.value);  // 2 atanh(v)
    const V eta = select(lt(v, V(0.02)), mul_add(v * v, V(-1.0 / 3.0), V(1.0)), (v + v) / twice);
    constexpr double kUp[] = {0.3992266214, 31.3510837, 125.1101888, 522.6471686, 1373.763339, 240.8750387};
    constexpr double kDown[] = {1.0, 75.63075185, 165.1762757, 1111.278028, 941.0271213};
    const V root = sqrt(eta) * V(1.2533141373155003) * straddle;
    const V up = polynomial(eta, kUp) * root, down = polynomial(eta, kDown);
    if constexpr (kNormal) {
      return up / down;
    } else {
      const V unit = V(1.0) / (quote.scale * down), n = up * unit, u = n * n;  // one division for both
      const V distance = quote.gap * (down * unit), w = distance * distance;
      inside = both(lt(n, V(2.16)), lt(distance, V(2.5)));
      const V above = mul_add(u, mul_add(u, V(-0.0014581176), mul_add(w, V(-0.0032272753), V(-0.070849188))),
                              mul_add(w, mul_add(w, V(0.0010617979), V(0.119265)), V(0.99997047)));
      const V below = mul_add(u, mul_add(u, V(-0.00035842366), mul_add(w, V(-0.0090552746), V(-0.11253627))),
                              mul_add(w, mul_add(w, V(0.0032653977), V(0.16073157)), V(1.0)));
      return n * (above / below);
    }
  }

  /// Abramowitz and Stegun 26.2.23: the distance from 0 beyond which a normal variable has the chance e^-log, at most
  /// 1/2.
  WQ_HD static V quantile(V log) {
    const V w = sqrt(log + log);
    const V up = mul_add(w, mul_add(w, V(0.010328), V(0.802853)), V(2.515517));
    const V down = mul_add(w, mul_add(w, mul_add(w, V(0.001308), V(0.189269)), V(1.432788)), V(1.0));
    return w - up / down;
  }
  WQ_HD static V rough_mills(V x) { return V(4.0) / mul_add(x, V(3.0), sqrt(mul_add(x, x, V(8.0)))); }

  /// Far from the money by distance or by time: d1 from the share of its bound that the option is worth, which is
  /// N(d1) but for a correction.
  WQ_HD V outer_guess() const {
    const V x = quote.moneyness;
    const auto low = lt(quote.value, quote.room);
    const V log = log_ratio(quote.bound, select(low, quote.value, quote.room));
    V d = quantile(log);
    V far = sqrt(mul_add(d, d, x + x));
    WQ_UNROLL(1)
    for (int k = 0; k < 2; ++k) {
      const V ratio = rough_mills(far) / rough_mills(d);
      d = quantile(
          max(log + log_of(max(select(low, V(1.0) - ratio, V(1.0) + ratio), V(1e-10))), V(0.6931471805599453)));
      far = sqrt(mul_add(d, d, x + x));
    }
    return select(low, (x + x) / (far + d), far + d);
  }

  /// One step of Householder's third order for the logarithm of what the option is worth, or of the room above it:
  /// what s is to be changed by, relative to s.
  WQ_HD V step(V s) const {
    const V x = quote.moneyness, by_s = V(1.0) / s, h = x * by_s, t = kNormal ? V(0.0) : V(0.5) * s;
    const V lost = product_error(h, s, x);  // h s - x
    const V one(1.0);
    V inner = h, inner_lost = V(0.0) - lost * by_s;
    V weight, target = quote.value;  // of the density
    V by_pull;                       // 1 / (s times the derivative of the logarithm)
    if constexpr (kNormal) {
      // 1 - h M(h), which is minus the slope of M.
      V ratio;
      const V slope = mills_difference(h, h, V(0.5), ratio);
      weight = select(lt(h, V(0.5)), mul_add(V(0.0) - h, ratio, one), slope);
      by_pull = weight;
      weight = weight * s;
    } else {
      inner = h - t;
      const V outer = h + t, part = inner - h;
      inner_lost = inner_lost + ((h - (inner - part)) - (t + part));
      const auto beyond = lt(inner, V(0.0)), high = lt(inner, V(-kNearMoney));
      V far;
      weight = mills_difference(abs(inner), outer, min(h, t), far);
      if (any(beyond)) {
        const V y = min(V(0.0) - inner, V(kNearMoney));
        const V reflected = mills_reflected(y);
        weight = select(high, far + far + weight, add_if(beyond, weight, reflected + reflected));
        target = select(high, quote.room, target);
      }
      by_pull = by_s * select(high, V(0.0) - weight, weight);
      weight = weight * quote.bound;
    }
    // (h - t)^2 / 2, with what rounding took.
    const V square = inner * inner, square_lost = product_error(inner, inner, square);
    const V exponent = V(0.5) * square + mul_add(inner, inner_lost, V(0.5) * square_lost);
    const V f = log_ratio(weight * V(kInvSqrtTwoPi), target) - exponent;
    const V hh = h * h, tt = t * t;
    const V q = hh - tt, pull = one / by_pull, second = q - pull;
    const V third = mul_add(q, q, mul_add(pull, mul_add(V(2.0), pull, V(-3.0) * q), V(0.0) - mul_add(V(3.0), hh, tt)));
    const V n = V(0.0) - f * by_pull;
    const V down = mul_add(n, mul_add(n * V(1.0 / 6.0), third, second), one);
    const V halley = n * mul_add(V(0.5) * second, n, one) / down;
    // Far from the solution the step may point anywhere; Newton's then, and never too far.
    return max(min(select(gt(down, V(0.1)), halley, n), V(1.0)), V(-0.5));
  }

  /// `wanted`: lanes that have a solution.
  WQ_HD V solve(Mask wanted) const {
    auto inside = wanted;
    V s = guess(inside);
    if constexpr (!kNormal) {
      const auto outside = but_not(wanted, inside);
      if (any(outside)) s = select(outside, outer_guess(), s);
    }
    auto active = wanted;
    for (int k = 0; k < kMostSteps && any(active); ++k) {
      const V change = step(s);
      s = select(active, mul_add(s, change, s), s);
      active = both(active, gt(abs(change), V(kLastStep)));
    }
    return s;
  }

  static constexpr int kMostSteps = 20;      // three are the most that were ever needed
  static constexpr double kLastStep = 1e-4;  // its fourth power is below what rounding leaves
};

/// Twice the digits of a double: high + low.
struct Wide {
  double high, low;
};
WQ_HD Wide sum_of(double a, double b) {
  const double sum = a + b, part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}
WQ_HD Wide operator+(Wide a, Wide b) {
  const Wide high = sum_of(a.high, b.high), low = sum_of(a.low, b.low);
  const Wide once = sum_of(high.high, high.low + low.high);
  return sum_of(once.high, once.low + low.low);
}
WQ_HD Wide operator*(Wide a, Wide b) {
  const double high = a.high * b.high;
  return sum_of(high, product_error(a.high, b.high, high) + (a.high * b.low + a.low * b.high));
}
WQ_HD Wide negative(Wide a) { return {-a.high, -a.low}; }

/// e^(a b) to 30 digits, for a product in [-600, 600].
WQ_HD_CALL inline Wide wide_exp(double a, double b) {
  const Wide x = Wide{a, 0.0} * Wide{b, 0.0};
  const double n = rint(x.high * 1.4426950408889634074);
  const Wide whole = Wide{n, 0.0} * Wide{6.931471805599453e-01, 2.3190468138462996e-17};
  const Wide rest = x + negative(whole + Wide{n * 5.707708438416212e-34, 0.0});
  const Wide r{rest.high * 0x1p-6, rest.low * 0x1p-6};
  // Taylor's series to r^14 / 14!, below 1e-33 for r up to 0.0055; `low` completes 1 / k.
  Wide sum{1.0, 0.0};
  for (int k = 14; k >= 1; --k) {
    const double inverse = 1.0 / k;
    const double low = -(product_error(inverse, static_cast<double>(k), 1.0)) / k;
    sum = Wide{1.0, 0.0} + sum * r * Wide{inverse, low};
  }
  for (int k = 0; k < 6; ++k) sum = sum * sum;
  return {scale(sum.high, n), scale(sum.low, n)};
}

enum class Distribution { bsm, black76, bachelier };

/// Volatility of European options from their prices.
template <Distribution kModel>
struct Implied {
  static constexpr bool kNormal = kModel == Distribution::bachelier, kForward = kModel != Distribution::bsm;
  static constexpr rows::Info kInfo = {
      kModel == Distribution::bsm ? "implied_bsm"
      : kForward && !kNormal      ? "implied_black76"
                                  : "implied_bachelier",
      "price spot strike expiry rate dividend is_call shift",
      "vol status dvol_dprice dvol_dspot dvol_dstrike dvol_dexpiry dvol_drate dvol_ddividend", 30};
  static constexpr std::uint32_t kSets[] = {1u << kVol, 1u << kVol | 1u << kStatus};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    auto known = eq(V(0.0), V(0.0));
    const V sign = sign_of(r.template in<V>(6), known), shift = r.template in<V>(7);
    const V price = r.template in<V>(0), spot = r.template in<V>(1) + shift, strike = r.template in<V>(2) + shift;
    const V expiry = r.template in<V>(3), rate = r.template in<V>(4);
    const V dividend = kForward ? rate : r.template in<V>(5);
    const V zero(0.0);

    auto quote = quote_of(price, spot, strike, expiry, rate, dividend, sign);
    const auto sized = both(is_finite(((quote.value + quote.scale) + (quote.moneyness + quote.gap)) + (price + expiry)),
                            gt(quote.scale, zero));
    auto solvable = both(both(both(gt(quote.value, zero), gt(quote.room, zero)), both(known, sized)), gt(expiry, zero));
    if constexpr (!kNormal) solvable = both(solvable, both(gt(spot, zero), gt(strike, zero)));
    // Next to intrinsic value and to the bound what is left is the rounding of the discount factors.
    const V edge(0x1p-36);
    const auto close = either(lt(min(abs(quote.value), abs(quote.room)), edge * abs(price)),
                              both(eq(price, zero), lt(quote.gap, edge * quote.scale)));
    V status = V(kFound);
    if (!all(but_not(solvable, close))) {
      for (int j = 0; j < kWidth<V>; ++j) {
        if (lane(solvable, j) && !lane(close, j)) continue;
        double value = lane(quote.value, j), room = lane(quote.room, j);
        int found = classify(lane(price, j), lane(spot, j), lane(strike, j), lane(expiry, j), lane(rate, j),
                             lane(dividend, j), lane(known, j) ? lane(sign, j) : 0.0, lane(close, j), value, room);
        if (found == kFound && !lane(sized, j)) found = kMeaningless;  // a discounted price beyond all numbers
        set_lane(status, j, found);
        set_lane(quote.value, j, value);
        set_lane(quote.room, j, room);
      }
      solvable = eq(status, V(kFound));
    }
    const V s = ImpliedSolver<V, kNormal>{quote}.solve(solvable);
    const V root = sqrt(expiry);
    const V per_scale = kNormal ? quote.scale * root : root;
    V vol = s / per_scale;
    if (!all(solvable)) {
      const auto flat = eq(status, V(kNoTimeValue)), below = eq(status, V(kBelowIntrinsic));
      const V limit = select(either(flat, below), zero, V(kInfinity)), none(__builtin_nan(""));
      const bool clips = r.parameter(0) != 0;
      const auto clipped = either(flat, clips ? either(below, eq(status, V(kAboveBound))) : but_not(flat, flat));
      vol = select(solvable, vol, select(clipped, limit, none));
    }
    r.put(kVol, vol);
    if (r.wants(kStatus)) r.put(kStatus, status);
    bool derivatives = false;
    for (int k = kByPrice; k < kImpliedOutputs; ++k) derivatives |= r.wants(k);
    if (derivatives) {
      slopes<V>(price, spot, strike, expiry, rate, dividend, sign, vol, quote,
                [&](int k, V slope) { r.put(k, select(solvable, slope, V(__builtin_nan("")))); });
    }
  }

 private:
  /// What a price leaves, to the rounding of the discount factors.
  template <class V>
  WQ_HD static Quote<V> quote_of(V price, V spot, V strike, V expiry, V rate, V dividend, V sign) {
    const V zero(0.0), rt = rate * expiry;
    const V discount = exp_of(zero - rt, zero - product_error(rate, expiry, rt));
    if constexpr (kNormal) {
      const V gap = spot - strike, part = gap - spot;
      const V lost = (spot - (gap - part)) - (strike + part);
      const V now = discount * gap, now_lost = mul_add(discount, lost, product_error(discount, gap, now));
      const auto inside = gt(sign * now, zero);
      const V value = select(inside, (price - abs(now)) - sign * now_lost, price);
      return {value, V(kInfinity), V(kInfinity), discount, abs(now), abs(now)};
    } else {
      V carry = discount;
      if constexpr (!kForward) {
        const V qt = dividend * expiry;
        carry = exp_of(zero - qt, zero - product_error(dividend, expiry, qt));
      }
      const V forward = spot * carry, forward_lost = product_error(spot, carry, forward);
      const V cash = strike * discount, cash_lost = product_error(strike, discount, cash);
      const auto call = gt(sign, zero);
      const V most = select(call, forward, cash), most_lost = select(call, forward_lost, cash_lost);
      const V other = select(call, cash, forward), other_lost = select(call, cash_lost, forward_lost);
      const V left = price - most, part = left - price;
      const V lost = ((price - (left - part)) - (most + part)) - most_lost;  // left + lost = price - bound
      const V value = select(gt(most, other), (left + other) + (lost + other_lost), price);
      const V product = forward * cash;
      V middle = sqrt(product);
      const auto far = negate(both(gt(product, V(1e-290)), lt(product, V(1e300))));
      if (any(far)) middle = select(far, sqrt(forward) * sqrt(cash), middle);
      const V log = log_ratio(spot, strike);
      const V x = kForward ? log : mul_add(rate - dividend, expiry, log);
      return {value, zero - (left + lost), min(forward, cash), middle, abs(forward - cash), abs(x)};
    }
  }

  /// The status of one row. `close`: to be decided by the last digits, which goes for time value and room as well.
  WQ_HD_CALL static int classify(double price, double spot, double strike, double expiry, double rate, double dividend,
                                 double sign, bool close, double& value, double& room) {
    const bool finite = is_finite(spot) && is_finite(strike) && is_finite(rate) && is_finite(dividend);
    const bool domain = kNormal || (spot >= 0 && strike >= 0);
    if (sign == 0 || !finite || !domain || is_nan(price) || !(expiry >= 0 && expiry < kInfinity)) return kMeaningless;
    if (!is_finite(price)) return price < 0 ? kBelowIntrinsic : kNormal ? kMeaningless : kAboveBound;
    // The exponentials are good for exponents up to 600, and beyond no price of a pair is close to anything but 0.
    if (close && abs(rate * expiry) < 600 && abs(dividend * expiry) < 600) {
      const Wide discount = rate == 0 ? Wide{1.0, 0.0} : wide_exp(-rate, expiry);
      const Wide carry = kForward ? discount : dividend == 0 ? Wide{1.0, 0.0} : wide_exp(-dividend, expiry);
      const Wide forward = Wide{spot, 0.0} * carry, cash = Wide{strike, 0.0} * discount, paid{price, 0.0};
      const Wide gap = forward + negative(cash), intrinsic = sign > 0 ? gap : negative(gap);
      value = intrinsic.high > 0 ? (paid + negative(intrinsic)).high : price;
      if (!kNormal) room = ((sign > 0 ? forward : cash) + negative(paid)).high;
    }
    if (is_nan(value) || is_nan(room)) return kMeaningless;
    if (value < 0) return kBelowIntrinsic;
    if (value == 0) return expiry == 0 ? kExpired : kNoTimeValue;
    if (room <= 0) return kAboveBound;
    return expiry == 0 ? kMeaningless : kFound;
  }

  /// Minus the derivatives of the price by those in the volatility. Shares N(d) are divided by densities, which may
  /// vanish.
  template <class V, class Put>
  WQ_HD static void slopes(V price, V spot, V strike, V expiry, V rate, V dividend, V sign, V vol,
                           const Quote<V>& quote, Put put) {
    const V zero(0.0), none(__builtin_nan("")), root = sqrt(expiry), by_root = V(1.0) / root;
    V vega, share1, share2;  // N(e d1) / phi(d1), N(e d2) / phi(d2)
    if constexpr (kNormal) {
      const V d = (spot - strike) / (vol * root), density = normal_density(d), tail = mills(abs(d));
      vega = quote.scale * root * density;
      share1 = share2 = select(gt(sign * d, zero), V(1.0) / density - tail, tail);
    } else {
      const auto o = Black<V>::template of<kForward>(spot, strike, expiry, rate, dividend, vol, sign);
      vega = o.spot_density * root;
      share1 = select(gt(sign * o.d1, zero), o.spot_now / o.spot_density - o.m1, o.m1);
      share2 = select(gt(sign * o.d2, zero), o.strike_now / o.spot_density - o.m2, o.m2);
    }
    const auto seen = gt(vega, zero);
    const auto give = [&](int k, V slope) { put(k, select(seen, slope, none)); };
    const V by_vega = V(1.0) / vega, decay = zero - V(0.5) * vol / expiry;
    give(kByPrice, by_vega);
    const V by_spot = kNormal ? by_root : by_root / spot, by_strike = kNormal ? by_root : by_root / strike;
    give(kBySpot, zero - sign * share1 * by_spot);
    give(kByStrike, sign * share2 * by_strike);
    if constexpr (kForward) {
      const V paid = price * by_vega;
      give(kByRate, expiry * paid);
      give(kByExpiry, mul_add(rate, paid, decay));
      give(kByDividend, none);
    } else {
      give(kByRate, zero - sign * root * share2);
      give(kByDividend, sign * root * share1);
      give(kByExpiry, mul_add(sign * by_root, dividend * share1 - rate * share2, decay));
    }
  }
};

using ImpliedVols =
    rows::List<Implied<Distribution::bsm>, Implied<Distribution::black76>, Implied<Distribution::bachelier>>;

}  // namespace wq::options::inline WQ_LEVEL
