// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/american_pair.h"
#include "warpquant/options/certain.h"
#include "warpquant/options/vanilla.h"

namespace wq::options::inline WQ_LEVEL {

enum AmericanOutput : int {
  kAmericanPrice,
  kAmericanDelta,
  kAmericanGamma,
  kAmericanVega,
  kAmericanTheta,
  kAmericanRho,
  kAmericanEpsilon,
  kAmericanDualDelta,
  kAmericanBoundary,
  kAmericanFarBoundary,
  kAmericanStatus,
  kAmericanOutputs
};
inline constexpr const char* kAmericanNames =
    "price delta gamma vega theta rho epsilon dual_delta boundary far_boundary status";

/// What becomes of an option.
enum AmericanStatus : int { kHeld, kExercised, kEuropean, kUnresolved, kInvalid };

/// Where nothing is random: the exercise at the best time, or the European option where that is the last one. One row
/// at a time.
template <class Put>
WQ_HD_CALL void american_limits(double spot, double strike, double expiry, double rate, double dividend, double vol,
                                double sign, Put put) {
  const double nan = __builtin_nan("");
  for (int k = 0; k < kAmericanOutputs; ++k) put(k, nan);
  put(kAmericanStatus, kInvalid);
  if (!(spot >= 0 && strike >= 0 && expiry >= 0 && vol >= 0) || sign == 0 ||
      !is_finite(((spot + strike) + (rate + dividend)) + (expiry + vol)))
    return;
  const double gain = sign > 0 ? dividend : rate, loss = sign > 0 ? rate : dividend;
  if (spot > 0 && strike > 0 && expiry > 0 && gain <= 0 && loss >= gain) {
    black_limits<false>(spot, strike, expiry, rate, dividend, 0.0, sign, [&](int k, double value) {
      constexpr Output kOf[] = {kPrice, kDelta, kGamma, kVega, kTheta, kRho, kEpsilon, kDualDelta};
      for (int to = 0; to < kAmericanBoundary; ++to)
        if (k == kOf[to]) put(to, value);
    });
    put(kAmericanStatus, kEuropean);
    return;
  }
  CertainExercise best{sign, strike, rate, dividend};
  best.stretch(spot, 0.0, 0.0, expiry, true);
  const double share = best.share() * sign, when = best.when, discount = exp_of(-rate * when);
  const bool kink = best.best == 0, last = when == expiry && expiry > 0;
  const double spot_then = spot * best.slope, strike_then = strike * discount;
  put(kAmericanPrice, best.price());
  put(kAmericanDelta, best.delta());
  put(kAmericanDualDelta, -share * discount + 0.0);
  put(kAmericanGamma, best.gamma());
  // With r = q and spot = strike all times are as good, and what a little vol adds has no closed form.
  const bool any_time = kink && !last && expiry > 0 && rate == dividend;
  put(kAmericanVega, any_time ? nan : kink && last ? spot_then * sqrt(expiry) * kInvSqrtTwoPi : 0.0);
  put(kAmericanTheta, kink && expiry == 0 && vol > 0 ? -kInfinity
                      : last                         ? share * (dividend * spot_then - rate * strike_then) + 0.0
                                                     : 0.0);
  put(kAmericanRho, share * when * strike_then + 0.0);
  put(kAmericanEpsilon, -share * when * spot_then + 0.0);
  put(kAmericanStatus, best.best > 0 && when == 0 ? kExercised : kHeld);
}

/// With the nodes of a rule, which is number `kRule`, and finer ones where those do not resolve the boundary.
template <int kRule, class Rule>
struct American {
  using Rules = AmericanRules<AmericanStart, AmericanFast, AmericanAccurate, AmericanHigh, AmericanExtra>;
  static constexpr rows::Info kInfo = {Rule::kName, kOptionInputs, kAmericanNames, Rule::kNanoseconds};
  static constexpr double kRandom = 2e-9;  // sigma sqrt(T) below which nothing is
  static constexpr double kLayer = 1e-3;

  // With two boundaries: one size fits all; those of `accurate` and `fast` could do with less.
  using PairRule = AmericanHigh;

  static std::int64_t scratch(const double*) {
    constexpr int kOne = american_numbers(Rules{}), kTwo = AmericanPair<PairRule, double, double*>::kNumbers;
    return kOne > kTwo ? kOne : kTwo;
  }

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const auto in = OptionInputs<V>::of(r);
    const V sign = in.sign, spot = in.spot, strike = in.strike, expiry = in.expiry;
    const V rate = in.rate, dividend = in.dividend, vol = in.vol;
    const auto call = gt(sign, V(0.0));
    const auto ordinary = both(in.meaningful(), gt(vol * sqrt(expiry), V(kRandom)));
    const auto wants =
        r.wants(kAmericanVega) || r.wants(kAmericanRho) || r.wants(kAmericanEpsilon) ? AmericanWants::tangents
        : r.wants(kAmericanDelta) || r.wants(kAmericanGamma) || r.wants(kAmericanTheta) || r.wants(kAmericanDualDelta)
            ? AmericanWants::slopes
            : AmericanWants::price;

    // A call is a put on the other side of the trade; then everything is a multiple of the strike.
    const V own = select(call, strike, spot), other = select(call, spot, strike);
    const V gain = select(call, dividend, rate), loss = select(call, rate, dividend);
    // Interest up to 1e-20 of the strike is none: waiting then costs less than a rounding.
    const V nothing(1e-20);
    const auto never = both(le(gain * expiry, nothing), either(ge(loss, gain), ge(loss * expiry, V(0.0) - nothing)));
    const auto twice = but_not(both(lt(gain, V(0.0)), lt(loss, gain)), never);
    const auto early = both(ordinary, negate(either(never, twice)));
    const V zero(0.0), one(1.0);
    const auto between = both(ordinary, twice);
    // Other lanes get an option that gives no trouble.
    const V s = select(ordinary, own / other, one);
    AmericanValue<V> premium = {zero, zero, zero, zero, zero, zero, zero};
    auto unresolved = but_not(early, early);
    if (any(early)) {
      const auto terms = AmericanTerms<V>::of(select(early, expiry, one), select(early, gain, V(0.05)),
                                              select(early, loss, zero), select(early, vol, V(0.2)), early);
      const auto still = both(early, terms.still(select(terms.capped, terms.deepest, one)));
      if (any(still)) premium = choose(still, american_still(terms, s, still), premium);
      const auto by_rule = [&]<int kNumber>(auto wanted, double near, std::integral_constant<int, kNumber>) {
        if (!any(wanted)) return;
        AmericanValue<V> found;
        const auto lost = american_premium<kNumber>(Rules{}, terms, s, wanted, wants, AmericanTolerance{near},
                                                    r.template scratch<V>(), static_cast<const NoBoundary*>(nullptr),
                                                    but_not(wanted, wanted), found);
        unresolved = either(unresolved, lost);
        premium = choose(wanted, found, premium);
      };
      // Where q is just above r the boundary has a layer next to expiry, which weighs nothing, but which fine nodes see
      // and do not resolve.
      const auto solved = but_not(early, still);
      const auto layered = both(solved, both(gt(loss, gain), le(loss, gain * V(kRule == 3 ? 1.0 + kLayer : 0.0))));
      by_rule(but_not(solved, layered), Rule::kNear, std::integral_constant<int, kRule>{});
      if constexpr (kRule == 3) by_rule(layered, AmericanAccurate::kNear, std::integral_constant<int, 2>{});
    }
    V far(__builtin_nan(""));
    if (any(between)) {
      AmericanValue<V> found;
      const auto lost = american_pair<PairRule>(s, select(between, expiry, one), select(between, gain, V(-0.01)),
                                                select(between, loss, V(-0.02)), select(between, vol, V(0.05)), between,
                                                wants, r.template scratch<V>(), found, far);
      unresolved = either(unresolved, lost);
      premium = choose(between, found, premium);
    }
    const auto o = Black<V>::template of<false>(select(ordinary, spot, one), select(ordinary, strike, one),
                                                select(ordinary, expiry, one), select(ordinary, rate, zero),
                                                select(ordinary, dividend, zero), select(ordinary, vol, one), sign);
    const V european = o.price(), intrinsic = sign * (spot - strike);
    // Nobody pays more than what is received at exercise: a boundary that says so went astray.
    const V worth = mul_add(premium.price, other, european);
    unresolved = either(unresolved, both(early, negate(le(worth, other * V(1.0 + 1e-6)))));
    const auto exercised = both(le(s, premium.boundary), either(early, both(between, ge(s, far))));
    const V price = select(exercised, intrinsic, max(max(worth, european), intrinsic));
    // In terms of the option that was asked for.
    const V slope = premium.delta, across = premium.price - s * slope;
    const auto held = [&](V value) { return keep_if(negate(exercised), value); };
    const V delta = select(exercised, sign, mul_add(sign, o.carry_share(), select(call, across, slope)));
    const V gamma = held(o.slope * o.inverse_v / o.spot + select(call, s * s * premium.gamma, premium.gamma) / other);
    const V by_gain = premium.rho * other, by_loss = premium.epsilon * other;
    V results[kAmericanOutputs];
    results[kAmericanPrice] = price;
    results[kAmericanDelta] = delta;
    results[kAmericanGamma] = gamma;
    results[kAmericanVega] = held(mul_add(premium.vega, other, o.spot_density * o.root));
    // By the equation that the price obeys where it is not exercised.
    results[kAmericanTheta] = held(mul_add(
        rate, price, zero - mul_add((rate - dividend) * spot, delta, V(0.5) * (vol * spot) * (vol * spot) * gamma)));
    results[kAmericanRho] = held(mul_add(sign * o.expiry, o.strike_share(), select(call, by_loss, by_gain)));
    results[kAmericanEpsilon] = held(select(call, by_gain, by_loss) - sign * o.expiry * o.spot_share());
    results[kAmericanDualDelta] =
        select(exercised, zero - sign, select(call, slope, across) - sign * (o.strike_share() / o.strike));
    const V nan(__builtin_nan(""));
    const auto in_spots = [&](V boundary) { return select(call, strike / boundary, strike * boundary); };
    results[kAmericanBoundary] = select(either(early, between), in_spots(premium.boundary), nan);
    results[kAmericanFarBoundary] = select(between, in_spots(far), nan);
    results[kAmericanStatus] = select(exercised, V(kExercised), select(never, V(kEuropean), V(kHeld)));
    if (any(unresolved)) {
      for (V& result : results) result = select(unresolved, nan, result);
      results[kAmericanStatus] = select(unresolved, V(kUnresolved), results[kAmericanStatus]);
    }
    rows::put_with_limits(r, results, ordinary, [&](int j, auto put) {
      american_limits(lane(spot, j), lane(strike, j), lane(expiry, j), lane(rate, j), lane(dividend, j), lane(vol, j),
                      in.sign_at(j), put);
    });
  }
};

using AmericanFamily = rows::List<American<1, AmericanFast>, American<2, AmericanAccurate>, American<3, AmericanHigh>>;

}  // namespace wq::options::inline WQ_LEVEL
