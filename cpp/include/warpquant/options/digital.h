// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/differentiate.h"

/// Digital options: Reiner and Rubinstein, Unscrambling the Binary Code, Risk 4(9) (1991).
namespace wq::options::inline WQ_LEVEL {

enum class DigitalPayoff : int { cash, asset, gap };

/// Paid at expiry if the asset ends beyond the strike. `cash`: the amount, or the strike that a gap option pays
/// against; parameter `payoff` by `DigitalPayoff`.
struct Digital : OneAsset {
  static constexpr rows::Info kInfo = {"digital", WQ_ONE_ASSET_INPUTS " payoff cash", WQ_ONE_ASSET_OUTPUTS, 60};
  static constexpr int kInputs = 9;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 8;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(valid_asset(in), is_finite(in[8]));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]), cash = in[8];
    const T distance = log_at(d.spot, at_least(x[5], kLeastPrice)), none(R(0.0));
    const T of_cash = cash * d.cash_part(sign, distance, none), of_asset = d.asset_part(sign, distance, none);
    const auto is = [&](DigitalPayoff p) { return eq(in[7], R(static_cast<int>(p))); };
    return select(is(DigitalPayoff::cash), of_cash,
                  select(is(DigitalPayoff::asset), of_asset, sign * (of_asset - of_cash)));
  }
};

enum class TouchPayoff : int {
  cash_at_hit,
  asset_at_hit,
  cash_at_expiry,
  asset_at_expiry,
  no_touch_cash,
  no_touch_asset
};

/// Paid if the asset reaches the strike at any time before expiry: from below for a call, from above for a put. At or
/// beyond the strike it has been reached.
struct Touch : OneAsset {
  static constexpr rows::Info kInfo = {"touch", WQ_ONE_ASSET_INPUTS " payoff cash", WQ_ONE_ASSET_OUTPUTS, 120};
  static constexpr int kInputs = 9;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 8;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(both(valid_asset(in), positive(in[1])), is_finite(in[8]));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const T& strike = x[5];
    const R cash = in[8], side = R(0.0) - call_or_put(in[6]);
    const auto is = [&](TouchPayoff p) { return eq(in[7], R(static_cast<int>(p))); };
    const auto hit = le(side * (value_of(d.spot) - value_of(strike)), R(0.0));
    const T distance = log_at(strike, d.spot), up = R(0.0) - distance, none(R(0.0)), image = R(2.0) * distance;
    // A touch: paths that end beyond the strike, and the images of those that come back.
    const T touched_cash = d.cash_part(R(0.0) - side, up, none) + d.cash_part(side, up, image);
    const T touched_asset = d.asset_part(R(0.0) - side, up, none) + d.asset_part(side, up, image);
    const T paid = d.paid_at_hit(side, distance);
    const T at_hit = select(is(TouchPayoff::asset_at_hit), strike * paid, cash * paid);
    const T at_hit_now = select(is(TouchPayoff::asset_at_hit), d.spot, T(cash));
    const T cash_later = cash * d.discount;
    const T touch_cash = select(hit, cash_later, cash * touched_cash);
    const T touch_asset = select(hit, d.spot_now, touched_asset);
    const T no_cash = cash * (d.cash_part(side, up, none) - d.cash_part(side, up, image));
    const T no_asset = d.asset_part(side, up, none) - d.asset_part(side, up, image);
    T y = select(is(TouchPayoff::cash_at_expiry), touch_cash, touch_asset);
    y = select(is(TouchPayoff::no_touch_cash), select(hit, none, no_cash), y);
    y = select(is(TouchPayoff::no_touch_asset), select(hit, none, no_asset), y);
    const auto paid_early = either(is(TouchPayoff::cash_at_hit), is(TouchPayoff::asset_at_hit));
    return select(paid_early, select(hit, at_hit_now, at_hit), y);
  }
};

/// A digital option that a barrier knocks in or out: cash, or the asset, at expiry.
struct BarrierDigital : OneAsset {
  static constexpr rows::Info kInfo = {"barrier_digital", WQ_ONE_ASSET_INPUTS " barrier barrier_type payoff cash",
                                       WQ_ONE_ASSET_OUTPUTS, 150};
  static constexpr int kInputs = 11;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 7 | 1u << 10;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(both(valid_asset(in), positive(in[7])), is_finite(in[10]));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]), side = barrier_side(in[8]);
    const T barrier(in[7]), strike = at_least(x[5], kLeastPrice);
    const T to_strike = log_at(d.spot, strike), to_barrier = log_at(d.spot, barrier), none(R(0.0));
    const T image = R(-2.0) * to_barrier;
    const auto asset = eq(in[9], R(static_cast<int>(DigitalPayoff::asset)));
    const auto part = [&](R s, const T& distance, const T& shift) {
      return select(asset, d.asset_part(s, distance, shift), in[10] * d.cash_part(s, distance, shift));
    };
    // Cases of Reiner and Rubinstein: A and B end beyond strike and barrier, C and D are their images.
    const T a = part(sign, to_strike, none), b = part(sign, to_barrier, none);
    const T c = part(side, to_strike, image), e = part(side, to_barrier, image);
    const auto above = gt(value_of(strike), in[7]), hit = le(side * (value_of(d.spot) - in[7]), R(0.0));
    const auto is_call = gt(sign, R(0.0)), down = gt(side, R(0.0));
    // Where a payoff begins on the far side of its barrier, it is paid only where the barrier was met.
    const auto apart =
        either(both(both(is_call, down), above), both(both(negate(is_call), negate(down)), negate(above)));
    const auto same_way = either(both(is_call, down), both(negate(is_call), negate(down)));
    const auto within =
        either(both(both(is_call, negate(down)), above), both(both(negate(is_call), down), negate(above)));
    const T in_same = select(apart, c, a - b + e), in_other = select(within, a, b - c + e);
    const T knocked_in = select(hit, a, select(same_way, in_same, in_other));
    return select(knocks_out(in[8]), select(hit, none, a - knocked_in), knocked_in);
  }
};

using Digitals = rows::List<Differentiated<Digital>, Differentiated<Touch>, Differentiated<BarrierDigital>>;

}  // namespace wq::options::inline WQ_LEVEL
