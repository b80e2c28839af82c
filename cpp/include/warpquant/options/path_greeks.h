// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/path_jobs.h"

/// What one path gives: the payoff of an option and estimates of its derivatives.
namespace wq::paths::inline WQ_LEVEL {

/// An average of prices on a path in parts of the spot: sums of weight * price, times the date, times the Brownian
/// motion; `later`: that part of it which is not known at the start.
template <class V>
struct Average {
  V value, by_time, by_motion, later;
};

/// Derivatives along the path (Broadie and Glasserman, Management Science 42 (1996)); the second one in the spot is the
/// first with the score of the first step, and the one in time moves all dates closer. `first`: W at the first date
/// over sqrt(T) and that date; `reach`: by what the average moves with the first step, in parts of what it moves with
/// the spot.
template <class V>
WQ_HD void average_greeks(const Row& r, const Average<V>& a, V first, V exercised, double lift, double reach,
                          V (&out)[kGreeks]) {
  const V unit = exercised * V(r.discount * r.sign);  // 0 where the option is not exercised
  const V spot_unit = unit * V(r.spot);
  out[kPrice] = unit * (V(r.spot) * a.value - V(r.strike));
  out[kDelta] = unit * a.value;
  out[kDualDelta] = V(0.0) - unit;
  const V by_time = spot_unit * a.by_time * V(r.expiry);
  out[kRho] = by_time - V(r.expiry) * out[kPrice];
  out[kEpsilon] = V(0.0) - by_time;
  out[kVega] = spot_unit * (V(r.root) * a.by_motion) - V(r.vol) * by_time;
  out[kTheta] = V(r.rate) * out[kPrice] - spot_unit * a.later * (V(r.drift) + first * V(0.5 * r.vol / r.root));
  out[kGamma] = unit * a.later * (first * V(1.0 / (reach * r.vol * r.root)) - V(1.0)) * V(lift / r.spot);
}

/// One lane's share of sums.
template <class V>
struct Tally {
  V y, yy, c, cc, yc;

  WQ_HD void add(V value, V control) {
    y = y + value;
    yy = yy + value * value;
    c = c + control;
    cc = cc + control * control;
    yc = yc + value * control;
  }
};

/// The weighted average on a path, and its price alone.
template <bool kAll, class V>
WQ_HD Average<V> arithmetic(const AsianJob& job, const Row& r, Column<V> path) {
  V value(0.0), by_time(0.0), by_motion(0.0);
  const double drift = r.drift * r.expiry, vol = r.vol * r.root;
  for (int k = 0; k < job.dates.count; ++k) {
    const V at = path[k];
    const V part = V(job.weights[k]) * plain_exp(V(drift * job.dates.times[k]) + V(vol) * at);
    value = value + part;
    if constexpr (kAll) {
      by_time = by_time + V(job.dates.times[k]) * part;
      by_motion = by_motion + at * part;
    }
  }
  return {value + V(job.start_weight), by_time, by_motion, value};
}

/// Sum of weights * W, as four sums: an addition waits for the one before.
template <class V>
WQ_HD V geometric_motion(const AsianJob& job, Column<V> path) {
  V sums[4] = {V(0.0), V(0.0), V(0.0), V(0.0)};
  int k = 0;
  for (; k + 4 <= job.dates.count; k += 4) {
    WQ_UNROLL(4)
    for (int i = 0; i < 4; ++i) sums[i] = sums[i] + V(job.weights[k + i]) * path[k + i];
  }
  for (; k < job.dates.count; ++k) sums[0] = sums[0] + V(job.weights[k]) * path[k];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// The sums of an option on the average of one path. `geometric`: sum of weights * W.
template <bool kAll, class V>
WQ_HD void asian(const AsianJob& job, const Row& r, Column<V> path, V geometric, V (&y)[kGreeks], V (&c)[kGreeks]) {
  const Average<V> a = arithmetic<kAll>(job, r, path);
  const V worth = V(r.sign) * (V(r.spot) * a.value - V(r.strike));
  const V exercised = keep_if(gt(worth, V(0.0)), V(1.0));
  const V first = path[0] * V(1.0 / job.dates.times[0]);
  // With a price that is known the strike that is left is lower, and the option no longer homogeneous in it.
  const double left = r.strike - job.start_weight * r.spot, ratio = r.strike / left;
  const double lift = left > 0 ? ratio * ratio : 0.0;
  V mean(1.0), control_exercised(0.0);
  if (job.control) {
    mean = plain_exp(V(r.drift * r.expiry * job.mean_time) + V(r.vol * r.root) * geometric);
    control_exercised = keep_if(gt(V(r.sign) * (V(r.spot) * mean - V(r.strike)), V(0.0)), V(1.0));
  }
  if constexpr (kAll) {
    average_greeks(r, a, first, exercised, lift, 1.0, y);
    if (job.control) {
      const Average<V> g = {mean, mean * V(job.mean_time), mean * geometric, mean * V(job.later_weight)};
      average_greeks(r, g, first, control_exercised, 1.0 / job.later_weight, job.later_weight, c);
    }
  } else {
    y[0] = exercised * (worth * V(r.discount));
    if (job.control) c[0] = control_exercised * (V(r.sign * r.discount) * (V(r.spot) * mean - V(r.strike)));
  }
  if (!job.control)
    for (int k = 0; k < (kAll ? kGreeks : 1); ++k) c[k] = V(0.0);
}

/// Derivatives of the density of a path over the density: by spot twice, vol, the time of all dates, and rate.
template <class V>
struct Scores {
  V spot, spot_twice, vol, time, rate;

  /// From the first number of the path, the sum of the squares of all, and the Brownian motion at expiry.
  WQ_HD static Scores of(const Row& r, double first_time, int dates, V first, V squares, V last) {
    const double step = first_time * r.expiry, scale = 1.0 / (r.vol * sqrt(step));
    const V z2 = first * first - V(1.0), slope = first * V(scale);
    Scores s;
    s.spot = slope * V(1.0 / r.spot);
    s.spot_twice = (z2 * V(scale * scale) - slope) * V(1.0 / (r.spot * r.spot));
    s.vol = (squares - V(static_cast<double>(dates))) * V(1.0 / r.vol) - last * V(r.root);
    s.time = z2 * V(0.5 / step) + slope * V(r.drift);
    s.rate = last * V(r.root / r.vol);
    return s;
  }
};

/// A payoff, paid at a date on average so many years away, times scores.
template <class V>
WQ_HD void by_likelihood(const Row& r, const Scores<V>& s, V paid, V years, V strike_slope, V (&out)[kGreeks]) {
  out[kPrice] = paid;
  out[kDelta] = paid * s.spot;
  out[kGamma] = paid * s.spot_twice;
  out[kVega] = paid * s.vol;
  out[kTheta] = paid * V(r.rate) - paid * s.time;
  out[kRho] = paid * (s.rate - years);
  out[kEpsilon] = V(0.0) - paid * s.rate;
  out[kDualDelta] = strike_slope;
}

/// The number of the first step, and the sum of the squares of all.
template <class V>
struct Steps {
  V first, squares;

  WQ_HD static Steps of(const Dates& dates, Column<V> path) {
    Steps s{V(0.0), V(0.0)};
    each_step(dates, path, [&](int k, V z) {
      if (k == 0) s.first = z;
      s.squares = s.squares + z * z;
    });
    return s;
  }
};

/// The sums of an option with a barrier that is looked at on the dates.
template <class V>
WQ_HD void barrier(const BarrierJob& job, const Row& r, Column<V> path, const Steps<V>& steps, V (&y)[kGreeks],
                   V (&c)[kGreeks]) {
  const double drift = r.drift * r.expiry, vol = r.vol * r.root;
  const int dates = job.dates.count;
  const bool up = job.barrier == Barrier::up_out || job.barrier == Barrier::up_in;
  const bool in = job.barrier == Barrier::down_in || job.barrier == Barrier::up_in;
  V hit(2.0);  // when, in parts of the time to expiry; beyond 1: never
  if (job.barrier != Barrier::none) {
    const double side = up ? -1.0 : 1.0;  // no more than 0 where the barrier is reached
    for (int k = 0; k < dates; ++k) {
      const double time = job.dates.times[k];
      const V above = V(side * (drift * time - r.level)) + V(side * vol) * path[k];
      hit = select(le(above, V(0.0)), min(hit, V(time)), hit);
    }
  }
  const V last = path[dates - 1];
  const V spot = V(r.spot) * plain_exp(V(drift) + V(vol) * last);
  const V worth = V(r.sign) * (spot - V(r.strike));
  const auto exercised = gt(worth, V(0.0));
  const V vanilla = keep_if(exercised, worth * V(r.discount));
  V paid = vanilla;
  if (job.payoff == Payoff::cash) paid = keep_if(exercised, V(r.discount));
  if (job.payoff == Payoff::asset) paid = keep_if(exercised, V(r.discount) * spot);
  const V slope = keep_if(exercised, V(job.payoff == Payoff::vanilla ? -r.sign * r.discount : 0.0));
  const auto reached = lt(hit, V(1.5));
  const Scores<V> s = Scores<V>::of(r, job.dates.times[0], dates, steps.first, steps.squares, last);
  V years(r.expiry), strike_slope = slope;
  if (job.barrier != Barrier::none) {
    const auto lives = in ? reached : negate(reached);
    // A knocked-out option pays the rebate at once, one never knocked in at expiry.
    V rebate(r.rebate * r.discount);
    if (!in) {
      years = select(lives, years, hit * V(r.expiry));
      rebate = V(r.rebate) * plain_exp(V(0.0) - V(r.rate) * years);
    }
    paid = select(lives, paid, rebate);
    strike_slope = keep_if(lives, slope);
  }
  by_likelihood(r, s, paid, years, strike_slope, y);
  if (job.control)
    by_likelihood(r, s, vanilla, V(r.expiry), slope, c);
  else
    for (int k = 0; k < kGreeks; ++k) c[k] = V(0.0);
}

}  // namespace wq::paths::inline WQ_LEVEL
