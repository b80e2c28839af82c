// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/differentiate.h"

/// Barrier options with one barrier (Reiner and Rubinstein, Breaking Down the Barriers, Risk 4(8), 1991) and with two
/// (Ikeda and Kunitomo, Pricing Options with Curved Boundaries, Mathematical Finance 2, 1992).
namespace wq::options::inline WQ_LEVEL {

/// Shift of a barrier that is looked at every `interval` years: Broadie, Glasserman and Kou, A Continuity Correction
/// for Discrete Barrier Options, Mathematical Finance 7 (1997); -zeta(1/2) / sqrt(2 pi).
inline constexpr double kDiscreteShift = 0.5825971579390106;

/// A knock-out's rebate is paid when the barrier is met, a knock-in's at expiry if it never was.
struct Barrier : OneAsset {
  static constexpr rows::Info kInfo = {"barrier", WQ_ONE_ASSET_INPUTS " barrier barrier_type rebate interval",
                                       WQ_ONE_ASSET_OUTPUTS, 300};
  static constexpr int kInputs = 11;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 7 | 1u << 9;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(both(valid_asset(in), positive(in[7])), both(is_finite(in[9]), amount(in[10])));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]), rebate = in[9];
    const R side = barrier_side(in[8]);
    const T barrier = in[7] * exp_at((R(0.0) - side * R(kDiscreteShift) * sqrt(in[10])) * d.vol);
    const T strike = at_least(x[5], kLeastPrice), none(R(0.0));
    const T to_strike = log_at(d.spot, strike), to_barrier = log_at(d.spot, barrier), image = R(-2.0) * to_barrier;
    // A to F of Reiner and Rubinstein.
    const T a = d.part(sign, strike, to_strike, none), b = d.part(sign, strike, to_barrier, none);
    const R turn = sign * side;
    const T c = turn * d.part(side, strike, to_strike, image), e = turn * d.part(side, strike, to_barrier, image);
    const auto above = gt(value_of(strike), value_of(barrier));
    const auto hit = le(side * (value_of(d.spot) - value_of(barrier)), R(0.0));
    const auto is_call = gt(sign, R(0.0)), down = gt(side, R(0.0)), out = knocks_out(in[8]);
    const auto not_call = negate(is_call), up = negate(down), below = negate(above);
    const auto apart = either(both(both(is_call, down), above), both(both(not_call, up), below));
    const auto same_way = either(both(is_call, down), both(not_call, up));
    const auto within = either(both(both(is_call, up), above), both(both(not_call, down), below));
    const T in_same = select(apart, c, a - b + e), in_other = select(within, a, b - c + e);
    const T out_same = select(apart, a - c, b - e), out_other = select(within, none, a - b + c - e);
    const T later = rebate * (d.cash_part(side, to_barrier, none) - d.cash_part(side, to_barrier, image));
    const T at_hit = rebate * d.paid_at_hit(side, R(0.0) - to_barrier);
    const T knock_in = select(hit, a, select(same_way, in_same, in_other) + later);
    const T knock_out = select(same_way, out_same, out_other) + select(eq(rebate, R(0.0)), none, at_hit);
    return select(out, select(hit, T(rebate), knock_out), knock_in);
  }
};

/// Knocked out, or in, by either of two barriers. The sum over images of the spot in the barriers, which has as many
/// terms as it takes.
struct DoubleBarrier : OneAsset {
  static constexpr rows::Info kInfo = {"double_barrier", WQ_ONE_ASSET_INPUTS " lower upper barrier_type",
                                       WQ_ONE_ASSET_OUTPUTS, 1500};
  static constexpr int kInputs = 10;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney | 1u << 7 | 1u << 8;

  template <class V>
  WQ_HD static auto valid(const V* in) {
    return both(both(valid_asset(in), positive(in[7])), both(is_finite(in[8]), gt(in[8], in[7])));
  }

  /// e^p (N(high) - N(low)) without the digits that the difference loses in the upper tail.
  template <class T>
  WQ_HD_CALL static T between(const T& p, const T& low, const T& high) {
    using R = Number<T>;
    const auto turn = gt(value_of(low), R(0.0));
    const T from = select(turn, R(0.0) - high, low), to = select(turn, R(0.0) - low, high);
    return scaled_cdf(p, to) - scaled_cdf(p, from);
  }

  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]);
    const T lower(in[7]), upper(in[8]), strike = at_least(x[5], kLeastPrice), none(R(0.0));
    const auto is_call = gt(sign, R(0.0));
    const T low = select(is_call, max(min(strike, upper), lower), lower);
    const T high = select(is_call, upper, max(min(strike, upper), lower));
    const T to_low = log_at(low, d.spot), to_high = log_at(high, d.spot), to_lower = log_at(lower, d.spot);
    const T width = log_at(upper, lower), money = strike * d.discount;
    const T grown = (d.drift + R(1.0)) * d.v, plain = d.drift * d.v;
    T sum = none;
    const auto add = [&](const T& shift, R weight) {
      const T p = d.drift * shift, from = (to_low - shift) / d.v, to = (to_high - shift) / d.v;
      sum = sum + weight * (d.spot_now * between(p + shift, from - grown, to - grown) -
                            money * between(p, from - plain, to - plain));
    };
    // Images n widths away weigh no more than exp(-(2n - 2)^2 width^2 / 2 v^2).
    const R reach = R(1.0) + R(4.5) * value_of(d.v) / value_of(width);
    constexpr int kMost = 28;
    for (int n = 0; n <= kMost && any(ge(reach, R(static_cast<double>(n)))); ++n) {
      // Rows that have all of theirs take no more: a row's bits do not depend on its neighbours.
      const R counts = select(ge(reach, R(static_cast<double>(n))), R(1.0), R(0.0));
      for (int s = n == 0 ? 1 : -1; s <= 1; s += 2) {
        const T shift = R(2.0 * s * n) * width;
        add(shift, counts);
        add(R(2.0) * to_lower - shift, R(0.0) - counts);
      }
    }
    const auto hit = either(le(in[0], in[7]), ge(in[0], in[8]));
    // Over a longer time no path is left: exp(-pi^2 v^2 / 2 width^2) < 1e-70.
    const auto gone = either(hit, gt(value_of(d.v), R(6.0) * value_of(width)));
    const T knock_out = select(gone, none, not_below_0(sign * sum));
    const T vanilla = d.part(sign, strike, log_at(d.spot, strike), none);
    return select(gt(in[9], R(0.0)), knock_out, not_below_0(vanilla - knock_out));
  }
};

using Barriers = rows::List<Differentiated<Barrier>, Differentiated<DoubleBarrier>>;

}  // namespace wq::options::inline WQ_LEVEL
