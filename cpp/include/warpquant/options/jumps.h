// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/black.h"

namespace wq::options::inline WQ_LEVEL {

/// Merton, Option Pricing when Underlying Stock Returns are Discontinuous (1976): `intensity` jumps a year, whose
/// logarithms are normal with mean `jump_mean` and deviation `jump_vol`. A sum over the number of jumps.
struct MertonJump {
  static constexpr rows::Info kInfo = {"merton_jump", WQ_ONE_ASSET_INPUTS " intensity jump_mean jump_vol",
                                       WQ_ONE_ASSET_OUTPUTS " dintensity djump_mean djump_vol", 2000};
  static constexpr int kInputs = 10, kSecond = 3;
  static constexpr std::uint32_t kMoney = OneAsset::kMoney;
  static constexpr int kVariables[] = {0, 5, 2, 3, 4, 1, 7, 8, 9};
  static constexpr Derivative kResults[] = {{0, 0, 1.0}, {1, 0, 1.0}, {2, 0, 1.0}, {1, 1, 1.0}, {1, 2, -1.0},
                                            {1, 3, 1.0}, {1, 4, 1.0}, {1, 5, 1.0}, {2, 1, 1.0}, {2, 2, 1.0},
                                            {1, 6, 1.0}, {1, 7, 1.0}, {1, 8, 1.0}};
  // More jumps than these are not summed: the row has no price.
  static constexpr double kMostJumps = 650.0;

  template <class V>
  WQ_HD static V growth(const V* in) {
    return exp_of(in[8] + V(0.5) * in[9] * in[9]);
  }
  template <class V>
  WQ_HD static auto valid(const V* in) {
    const auto known = both(valid_asset(in), both(amount(in[7]), both(is_finite(in[8]), amount(in[9]))));
    const V jumps = in[7] * in[2];
    return both(known, both(le(jumps, V(kMostJumps)), le(jumps * growth(in), V(kMostJumps))));
  }
  template <class T>
  WQ_HD_CALL static T price(const T* x, const Number<T>* in) {
    using R = Number<T>;
    const auto d = Diffusion<T>::of(x);
    const R sign = call_or_put(in[6]), one(1.0);
    const T log_growth = x[7] + R(0.5) * (x[8] * x[8]), excess = exp_at(log_growth) - one;
    const T jumps = x[6] * d.expiry, variance = d.v * d.v, jump_variance = x[8] * x[8];
    const T strike = at_least(x[5], kLeastPrice) * d.discount;
    const T start = R(0.0) - jumps * excess;
    T weight = exp_at(R(0.0) - jumps), sum(R(0.0));
    const R often = max(value_of(jumps), value_of(jumps) * (value_of(excess) + one));
    auto open = valid(in);
    for (int n = 0; n < 2000 && any(open); ++n) {
      const R count(static_cast<double>(n));
      const T grown = exp_at(start + count * log_growth);
      const T term = weight * black(d.spot_now * grown, strike, sqrt(variance + count * jump_variance), sign);
      sum = select(open, sum + term, sum);
      // Until what is left is less than the last place of the larger of spot and strike.
      const R rest = value_of(weight) * max(value_of(grown), one);
      open = both(open, either(le(count, often), gt(rest, R(1e-19))));
      weight = weight * jumps * R(1.0 / (n + 1));
    }
    return sum;
  }
};

using Jumps = rows::List<Differentiated<MertonJump>>;

}  // namespace wq::options::inline WQ_LEVEL
