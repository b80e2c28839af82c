// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/cholesky.h"
#include "warpquant/options/heston_cos.h"
#include "warpquant/options/heston_tiles.h"
#include "warpquant/surface/fit_ops.h"

/// Heston's model nearest to the quotes of a surface: Levenberg and Marquardt's method with the gradient of the
/// characteristic function (Cui, del Bano Rollin and Germano, Full and fast calibration of the Heston stochastic
/// volatility model, 2017). It is found once for an expiry, at the nodes of a cosine series (options/heston_cos.h),
/// and serves all strikes. Unknowns are the logarithms of v0, kappa, theta and xi, and atanh rho.
///
/// Many starts are followed a few steps with a coarse series, the best of them on with finer ones.
namespace wq::surface::inline WQ_LEVEL {

/// v0, kappa, theta, xi, rho.
struct HestonPoint {
  static constexpr int kCount = 5;
  double x[kCount];
};

namespace heston_detail {

using Method = options::HestonCos;
using P = Pack<kLanes>;
inline constexpr int N = HestonPoint::kCount;

/// How fine a series is: parameters of the method; and the step that is not worth another.
struct Fineness {
  double tolerance, most_terms, least_step;
  double parameter(int k) const { return k == 0 ? tolerance : most_terms; }
};
inline constexpr Fineness kCoarse{1e-4, 256.0, 1e-2}, kMiddle{1e-7, 1024.0, 1e-3}, kFine{1e-12, kHestonTerms, 1e-10};

inline constexpr double kLeast[N] = {1e-6, 1e-3, 1e-6, 1e-3, -0.9999}, kMost[N] = {9.0, 200.0, 9.0, 50.0, 0.9999};

/// Half the sum of squared residuals; with `derivatives` its gradient and Gauss and Newton's matrix in the unknowns.
struct Equations {
  double cost, gradient[N], matrix[N][N];
};

inline void equations(const HestonFitJob& job, const HestonPoint& at, const Fineness& fineness, bool derivatives,
                      double* scratch, Equations& y) {
  using options::HestonModel;
  using options::HestonResults;
  // What a unit of an unknown moves its parameter by, and where a result is among the sums.
  const double stretch[N] = {at.x[0], at.x[1], at.x[2], at.x[3], (1.0 - at.x[4]) * (1.0 + at.x[4])};
  constexpr int kPlace[N] = {HestonResults::kV0, HestonResults::kKappa, HestonResults::kLongRun, HestonResults::kXi,
                             HestonResults::kCorrelation};
  y = {};
  P cost(0.0), gradient[N], matrix[N][N];
  for (int a = 0; a < N; ++a) {
    gradient[a] = P(0.0);
    for (int b = 0; b <= a; ++b) matrix[a][b] = P(0.0);
  }
  const int numbers = derivatives ? Method::kNumbers : Method::kPriceNumbers;
  auto* const table = reinterpret_cast<P*>(scratch);
  for (std::int64_t e = 0; e < job.expiries; ++e) {
    const std::int64_t from = job.offsets[e], to = job.offsets[e + 1];
    if (from == to) continue;
    const HestonModel<P> model{P(job.years[e]), P(at.x[0]), P(at.x[1]), P(at.x[2]), P(at.x[3]), P(at.x[4])};
    const auto rule = Method::rule(model, Method::cell(model, P(0.0)), fineness);
    const int packs = (static_cast<int>(lane(rule.nodes, 0)) + kLanes - 1) / kLanes;
    for (int j = 0; j < packs; ++j)
      Method::node(model, rule, P(j * kLanes) + options::lane_numbers<P>(), derivatives, table + j * numbers);
    // Quotes, as many side by side as there are lanes once their sums are there.
    for (std::int64_t first = from; first < to; first += kLanes) {
      const int count = static_cast<int>(to - first < kLanes ? to - first : kLanes);
      P value(0.0), target(0.0), scale(0.0), slope[N];
      for (P& s : slope) s = P(0.0);
      for (int j = 0; j < count; ++j) {
        typename Method::Total<P> total(rule, P(job.k[first + j]));
        for (int node = 0; node < packs; ++node) total.add(table + node * numbers, derivatives);
        P sum[HestonResults::kResults];
        total.write(sum, derivatives);
        // A method's sums are of minus the price.
        set_lane(value, j, 0.0 - options::sum_of(sum[HestonResults::kPrice]));
        if (derivatives)
          for (int a = 0; a < N; ++a) set_lane(slope[a], j, 0.0 - options::sum_of(sum[kPlace[a]]));
        set_lane(target, j, job.target[first + j]);
        set_lane(scale, j, job.scale[first + j]);
      }
      const P residual = scale * (value - target);
      cost = cost + residual * residual;
      if (!derivatives) continue;
      for (int a = 0; a < N; ++a) slope[a] = slope[a] * scale * P(stretch[a]);
      for (int a = 0; a < N; ++a) {
        gradient[a] = gradient[a] + residual * slope[a];
        for (int b = 0; b <= a; ++b) matrix[a][b] = matrix[a][b] + slope[a] * slope[b];
      }
    }
  }
  y.cost = 0.5 * options::sum_of(cost);
  if (!derivatives) return;
  for (int a = 0; a < N; ++a) {
    y.gradient[a] = options::sum_of(gradient[a]);
    for (int b = 0; b <= a; ++b) y.matrix[a][b] = y.matrix[b][a] = options::sum_of(matrix[a][b]);
  }
}

/// Moved by a step in the unknowns, and kept inside the bounds.
inline HestonPoint moved(const HestonPoint& at, const double (&step)[N]) {
  HestonPoint y;
  for (int a = 0; a < N - 1; ++a) y.x[a] = at.x[a] * exp_of(step[a]);
  const double grown = exp_of(2.0 * step[N - 1]), t = (grown - 1.0) / (grown + 1.0);
  y.x[N - 1] = (at.x[N - 1] + t) / (1.0 + at.x[N - 1] * t);
  for (int a = 0; a < N; ++a) y.x[a] = min(max(y.x[a], kLeast[a]), kMost[a]);
  return y;
}

struct Descent {
  HestonPoint at;
  double cost;
  bool settled;
};

/// `rounds` counts evaluations.
inline Descent descend(const HestonFitJob& job, HestonPoint at, const Fineness& fineness, int most_rounds,
                       double damping, double* scratch, int& rounds) {
  Equations now, there;
  equations(job, at, fineness, true, scratch, now);
  ++rounds;
  Descent y{at, now.cost, false};
  if (!is_finite(now.cost)) return {at, HUGE_VAL, false};
  for (int round = 0; round < most_rounds && !y.settled; ++round) {
    double step[N], factor[N * N];
    if (!cholesky(&now.matrix[0][0], N, damping, 0.0, 1e-15, factor)) {
      damping = max(damping * 10.0, 1e-9);
      if (damping > 1e9) break;
      continue;
    }
    for (int a = 0; a < N; ++a) step[a] = -now.gradient[a];
    cholesky_solve(factor, N, step);
    double size = 0, promised = 0;
    for (int a = 0; a < N; ++a) {
      size = max(size, std::fabs(step[a]));
      promised -= step[a] * now.gradient[a];
    }
    if (size > 1.0)
      for (double& s : step) s /= size;
    const HestonPoint next = moved(y.at, step);
    equations(job, next, fineness, true, scratch, there);
    ++rounds;
    const bool better = there.cost < y.cost;
    // Nothing is left to gain, be it of the cost or of the last places of residuals.
    y.settled = damping <= 1.0 && (promised <= 1e-12 * y.cost || size < fineness.least_step);
    if (better) {
      y.at = next;
      y.cost = there.cost;
      now = there;
      damping = max(damping * 0.1, 1e-14);
    } else {
      damping *= 8.0;
      y.settled |= damping > 1e9;
    }
  }
  return y;
}

}  // namespace heston_detail

/// From starts to the best parameters. `scratch`: heston_scratch() numbers.
inline void fit_heston(const HestonFitJob& job, double* scratch) {
  using namespace heston_detail;
  // The best starts, by prices alone; then those that have not met, after a few steps.
  constexpr int kFollowed = 3;
  Descent first[kFollowed], kept[kFollowed];
  for (int i = 0; i < kFollowed; ++i) first[i] = kept[i] = {{}, HUGE_VAL, false};
  const auto keep = [](Descent(&list)[kFollowed], Descent d) {
    for (Descent& other : list)
      if (d.cost < other.cost) {
        const Descent worse = other;
        other = d;
        d = worse;
      }
  };
  int rounds = 0;
  for (std::int64_t i = 0; i < job.starts; ++i) {
    HestonPoint at;
    for (int a = 0; a < N; ++a) at.x[a] = min(max(job.start[N * i + a], kLeast[a]), kMost[a]);
    Equations y;
    equations(job, at, kCoarse, false, scratch, y);
    keep(first, {at, y.cost, false});
  }
  for (const Descent& d : first) {
    if (!(d.cost < HUGE_VAL)) continue;
    const Descent further = descend(job, d.at, kCoarse, 4, 1e-3, scratch, rounds);
    bool met = false;
    for (const Descent& other : kept) {
      double apart = other.cost < HUGE_VAL ? 0.0 : HUGE_VAL;
      for (int a = 0; a < N; ++a)
        apart = max(apart, std::fabs(further.at.x[a] - other.at.x[a]) / (1e-3 + std::fabs(further.at.x[a])));
      met |= apart < 0.02;
    }
    if (!met) keep(kept, further);
  }
  Descent best{{}, HUGE_VAL, false};
  for (const Descent& d : kept) {
    if (!(d.cost < HUGE_VAL) || d.cost > 25.0 * kept[0].cost) continue;
    const Descent further = descend(job, d.at, kMiddle, 24, 1e-4, scratch, rounds);
    if (further.cost < best.cost) best = further;
  }
  if (best.cost < HUGE_VAL) best = descend(job, best.at, kFine, 40, 1e-8, scratch, rounds);
  const bool found = best.cost < HUGE_VAL;
  bool bound = false;
  for (int a = 0; a < N; ++a) {
    job.parameters[a] = found ? best.at.x[a] : __builtin_nan("");
    bound |= !(best.at.x[a] > kLeast[a] && best.at.x[a] < kMost[a]);
  }
  job.numbers[0] = found ? sqrt(2.0 * best.cost) : __builtin_nan("");
  job.numbers[1] = rounds;
  job.numbers[2] = !found ? kHestonFailed : bound ? kHestonAtBound : best.settled ? kHestonFitted : kHestonUnsettled;
}

}  // namespace wq::surface::inline WQ_LEVEL
