// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/options/path_jobs.h"

/// Monte Carlo, for the bindings. Blocks of paths go to threads; their sums are added in the order of the paths.
namespace wq::paths {

/// Which numbers, and how many paths.
struct Plan {
  Sampling sampling = Sampling::philox;
  Scramble scramble = Scramble::owen;
  std::uint64_t seed = 0, offset = 0;
  std::int64_t paths = 0;
  int replicates = 1;  // of Sobol points, each scrambled on its own, of paths / replicates points
  bool bridge = false;
};

/// (paths, dims), row by row.
void numbers(const Plan& plan, Numbers kind, int dims, double* out, const Execution& execution);
/// (paths, times) of a standard Brownian motion; times ascend from above 0.
void brownian(const Plan& plan, const std::vector<double>& times, double* out, const Execution& execution);
void inverse_normal(const double* p, std::int64_t count, double* out, const Execution& execution);

/// Options on one asset: arrays of `count`, of spot, strike, expiry, rate, dividend, vol, sign.
struct Options {
  std::int64_t count = 0;
  const double* columns[7] = {};
  const double *barrier = nullptr, *rebate = nullptr;
};

/// Values and standard errors, each (kGreeks, count).
struct Estimates {
  double *values, *errors;
};

struct Averaging {
  std::vector<double> times, weights;  // above 0, in parts of the time to expiry
  double start_weight = 0.0;           // of the price at the start
};
void asian(const Plan& plan, const Averaging& averaging, const Options& options, bool control, bool greeks,
           const Estimates& out, const Execution& execution);

void barrier(const Plan& plan, const std::vector<double>& times, Payoff payoff, Barrier barrier, const Options& options,
             bool control, const Estimates& out, const Execution& execution);

/// Options on several assets; spots, weights, dividends, vols are (count, assets), correlations (count, assets,
/// assets).
struct Baskets {
  std::int64_t count = 0;
  int assets = 0;
  const double *spot, *weight, *dividend, *vol, *correlation, *strike, *expiry, *rate, *sign;
};
/// price, rho, theta, dual_delta are (count); delta, vega, epsilon (count, assets); gamma and correlation (count,
/// assets, assets), of which the latter is by the two entries of a pair together. Null where they are not wanted.
struct BasketEstimates {
  Estimates price, rho, theta, dual_delta, delta, vega, epsilon, gamma, correlation;
};
void basket(const Plan& plan, const Baskets& baskets, Choice choice, BasketControl control, const BasketEstimates& out,
            const Execution& execution);

/// One option on a grid of vols, (times, spots), linear between times and logarithms of spots, constant outside.
struct LocalVol {
  double spot, strike, expiry, rate, dividend, sign;
  std::vector<double> steps;    // dates in parts of the time to expiry
  std::vector<double> weights;  // of dates in an average; empty: of the last alone
  std::vector<double> times, spots;
  const double* vols = nullptr;
};
/// price, delta, dual_delta, rho, epsilon, then by each vol.
void local_vol(const Plan& plan, const LocalVol& option, bool greeks, double* values, double* errors,
               const Execution& execution);

}  // namespace wq::paths
