// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/elementary.h"

namespace wq::options::inline WQ_LEVEL {

/// Where nothing is random: the exercise at the time of the greatest value, of several the first. One row at a time.
struct CertainExercise {
  double sign, strike, rate, dividend;
  double own = 1.0;                                         // 0 once the spot has fallen to 0
  double best = -__builtin_inf(), when = 0.0, slope = 0.0;  // its value, discounted, its time, its slope in the spot

  /// From one time to another the spot, discounted, is `spot` e^(-qt) + extra; its derivative by today's spot is
  /// e^(-qt) where it has not fallen to 0. Not `early`: exercise at the end only.
  WQ_HD void stretch(double spot, double extra, double from, double to, bool early) {
    const auto consider = [&](double time) {
      const double fade = exp_of(-dividend * time);
      const double value = sign * (spot * fade + extra - strike * exp_of(-rate * time));
      if (value > best) best = value, when = time, slope = own * fade;
    };
    if (early) consider(from);
    if (early && rate * dividend * spot * strike > 0 && rate != dividend) {
      const double time = (log_ratio(abs(rate), abs(dividend)) + log_ratio(strike, spot)) / (rate - dividend);
      if (time > from && time < to) consider(time);
    }
    consider(to);
  }
  /// What counts of it: nothing where it is a loss, half at the kink.
  WQ_HD double share() const { return best > 0 ? 1.0 : best == 0 ? 0.5 : 0.0; }
  WQ_HD double price() const { return best > 0 ? best : 0.0; }
  WQ_HD double delta() const { return share() * sign * slope + 0.0; }
  WQ_HD double gamma() const { return best == 0 ? __builtin_inf() : 0.0; }
};

}  // namespace wq::options::inline WQ_LEVEL
