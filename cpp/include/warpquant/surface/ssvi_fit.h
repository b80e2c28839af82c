// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/surface/essvi_fit.h"

/// An SSVI surface (Gatheral and Jacquier 2014) nearest to quotes: one rho and one function phi of theta for all
/// slices.
///
/// Unknowns have no bounds; what is made of them has no arbitrage. Theta is a sum of exponentials, so that it rises;
/// rho is a tanh; eta is a share of what rules out butterflies, gamma a share of 1/2. Levenberg and Marquardt's method,
/// all slices at once. Plain arithmetic: the same bits on every machine.
namespace wq::surface::inline WQ_LEVEL {

namespace ssvi_detail {

inline constexpr double kBelow = 0.9999;  // of a bound that is not to be met

/// psi = theta phi and what it changes by.
struct Wing {
  double psi, by_theta, by_eta, by_gamma;
};

WQ_HD_CALL inline Wing wing(SsviShape shape, double theta, double eta, double gamma) {
  if (shape == kSsviHeston) {
    // phi = (1 - (1 - e^-x) / x) / x with x = eta theta; eta is called lambda there.
    const double x = eta * theta;
    double h, slope;
    if (x < 1.0) {
      h = slope = 0;
      double factorial = 87178291200.0 * 15.0;  // 15!
      for (int n = 14; n >= 1; --n) {
        const double c = (n % 2 == 1 ? 1.0 : -1.0) / factorial;
        slope = slope * x + h;
        h = h * x + c;
        factorial /= n + 1;
      }
      slope = slope * x + h;
      h = h * x;
    } else {
      const double decay = plain_exp(-min(x, 700.0)), mean = (1.0 - decay) / x;
      h = 1.0 - mean;
      slope = (mean - decay) / x;
    }
    return {h / eta, slope, (x * slope - h) / (eta * eta), 0.0};
  }
  const double base = shape == kSsviPower ? theta / (1.0 + theta) : theta, log = plain_log(base);
  const double psi = eta * plain_exp((1.0 - gamma) * log);
  return {psi, (1.0 - gamma) * psi / (shape == kSsviPower ? theta * (1.0 + theta) : theta), psi / eta, -psi * log};
}

struct Model {
  double rho, eta, gamma;
};

/// From the last three unknowns; `most`: theta of the last slice. `by`: derivatives of rho, eta and gamma by those
/// three and, in the last column, by `most`.
WQ_HD_CALL inline Model model_of(SsviShape shape, const double* y, double most, double (*by)[4]) {
  const auto share_of = [](double x) { return 1.0 / (1.0 + plain_exp(-x)); };
  const double grown = plain_exp(2.0 * y[0]), rho = (grown - 1.0) / (grown + 1.0), size = std::fabs(rho);
  const double side = rho < 0 ? -1.0 : 1.0, by_rho = (1.0 - rho) * (1.0 + rho);
  const double g = share_of(y[2]), gamma = shape == kSsviHeston ? 0.0 : 0.5 * g;
  const double by_gamma = shape == kSsviHeston ? 0.0 : 0.5 * g * (1.0 - g);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 4; ++j) by[i][j] = 0;
  by[0][0] = by_rho;
  by[2][2] = by_gamma;
  if (shape == kSsviHeston) {
    const double least = 0.25 * (1.0 + size) / kBelow, more = plain_exp(y[1]);
    by[1][0] = 0.25 * side * by_rho / kBelow;
    by[1][1] = more;
    return {rho, least + more, 0.0};
  }
  const double share = kBelow * share_of(y[1]), rise = share * (1.0 - share / kBelow);
  if (shape == kSsviPower) {
    const double limit = 2.0 / (1.0 + size);
    by[1][0] = -share * limit / (1.0 + size) * side * by_rho;
    by[1][1] = limit * rise;
    return {rho, share * limit, gamma};
  }
  // eta theta^(1 - gamma) (1 + |rho|) < 4 and eta^2 theta^(1 - 2 gamma) (1 + |rho|) < 4 hold below the largest theta
  // where they hold for it.
  const double log = plain_log(most), one = 4.0 / (1.0 + size) * plain_exp((gamma - 1.0) * log);
  const double other = 2.0 / sqrt(1.0 + size) * plain_exp((gamma - 0.5) * log);
  const bool first = one < other;
  const double limit = first ? one : other;
  by[1][0] = -share * limit * (first ? 1.0 : 0.5) / (1.0 + size) * side * by_rho;
  by[1][1] = limit * rise;
  by[1][2] = share * limit * log * by_gamma;
  by[1][3] = share * limit * (first ? gamma - 1.0 : gamma - 0.5) / most;
  return {rho, share * limit, gamma};
}

/// Thetas of the first unknowns, which are logarithms of what each is above the one before.
WQ_HD_CALL inline void thetas(const double* x, std::int64_t n, double* theta) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) theta[i] = sum = sum + plain_exp(x[i]);
}

template <class P>
WQ_HD_CALL double cost_of(const SsviJob& job, const double* x, double scale, double* theta) {
  const std::int64_t n = job.quotes.slices;
  thetas(x, n, theta);
  double by[3][4], cost = 0;
  const Model m = model_of(job.shape, x + n, theta[n - 1], by);
  for (std::int64_t i = 0; i < n; ++i) {
    const double psi = wing(job.shape, theta[i], m.eta, m.gamma).psi;
    const double at[3] = {theta[i], psi * (1.0 + m.rho), psi * (1.0 - m.rho)};
    cost += essvi_cost<P>(job.quotes, i, at, scale, nullptr, nullptr);
  }
  return cost;
}

/// Cost, gradient and Gauss and Newton's matrix in the unknowns. `scratch`: room for the derivatives of thetas, rho,
/// eta and gamma.
template <class P>
WQ_HD_CALL double equations(const SsviJob& job, const double* x, double scale, double* theta, double* scratch,
                            double* gradient, double* matrix) {
  const std::int64_t n = job.quotes.slices, size = n + 3;
  thetas(x, n, theta);
  double by[3][4], cost = 0;
  const Model m = model_of(job.shape, x + n, theta[n - 1], by);
  // In theta of each slice and rho, eta, gamma: a diagonal and three rows.
  double *const own = scratch, *const cross = own + n, *const slope = cross + 3 * n;
  double common[3][3] = {}, common_slope[3] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Wing w = wing(job.shape, theta[i], m.eta, m.gamma);
    const double at[3] = {theta[i], w.psi * (1.0 + m.rho), w.psi * (1.0 - m.rho)};
    double g[3] = {}, h[3][3] = {};
    cost += essvi_cost<P>(job.quotes, i, at, scale, g, h);
    // theta, p, q by theta, rho, eta, gamma.
    const double up = 1.0 + m.rho, down = 1.0 - m.rho;
    const double d[3][4] = {{1.0, 0.0, 0.0, 0.0},
                            {up * w.by_theta, w.psi, up * w.by_eta, up * w.by_gamma},
                            {down * w.by_theta, -w.psi, down * w.by_eta, down * w.by_gamma}};
    double whole[4][4], sum[4];
    for (int a = 0; a < 4; ++a) {
      sum[a] = 0;
      for (int r = 0; r < 3; ++r) sum[a] += d[r][a] * g[r];
      for (int b = 0; b < 4; ++b) {
        whole[a][b] = 0;
        for (int r = 0; r < 3; ++r)
          for (int s = 0; s < 3; ++s) whole[a][b] += d[r][a] * h[r][s] * d[s][b];
      }
    }
    own[i] = whole[0][0];
    slope[i] = sum[0];
    for (int a = 0; a < 3; ++a) {
      cross[3 * i + a] = whole[0][a + 1];
      common_slope[a] += sum[a + 1];
      for (int b = 0; b < 3; ++b) common[a][b] += whole[a + 1][b + 1];
    }
  }
  // By the largest theta through eta.
  double end_own = 0, end_slope = 0, through[3];
  for (int a = 0; a < 3; ++a) through[a] = by[a][3];
  double pulled[3];
  for (int a = 0; a < 3; ++a) {
    pulled[a] = 0;
    for (int b = 0; b < 3; ++b) pulled[a] += common[a][b] * through[b];
    end_own += through[a] * pulled[a];
    end_slope += through[a] * common_slope[a];
  }
  // Into the unknowns: a theta is moved by all before it, and the largest by all of them.
  const auto moves = [&](std::int64_t j) { return theta[j] - (j > 0 ? theta[j - 1] : 0.0); };
  double own_after = 0, slope_after = 0, cross_after[3] = {};
  double *const own_sum = slope + n, *const cross_sum = own_sum + n;
  for (std::int64_t j = n - 1; j >= 0; --j) {
    own_after += own[j];
    slope_after += slope[j];
    for (int a = 0; a < 3; ++a) cross_after[a] += cross[3 * j + a];
    own_sum[j] = own_after;
    gradient[j] = moves(j) * (slope_after + end_slope);
    for (int a = 0; a < 3; ++a) cross_sum[3 * j + a] = cross_after[a];
  }
  const auto reach = [&](const double* c) {  // cross terms of one theta with the way through eta
    return c[0] * through[0] + c[1] * through[1] + c[2] * through[2];
  };
  for (std::int64_t j = 0; j < n; ++j)
    for (std::int64_t k = 0; k <= j; ++k)
      matrix[j * size + k] =
          moves(j) * moves(k) * (own_sum[j] + reach(cross_sum + 3 * j) + reach(cross_sum + 3 * k) + end_own);
  for (int a = 0; a < 3; ++a) {
    gradient[n + a] = 0;
    for (int b = 0; b < 3; ++b) gradient[n + a] += by[b][a] * common_slope[b];
    for (std::int64_t k = 0; k < n; ++k) {
      double sum = 0;
      for (int b = 0; b < 3; ++b) sum += by[b][a] * (cross_sum[3 * k + b] + pulled[b]);
      matrix[(n + a) * size + k] = sum * moves(k);
    }
    for (int c = 0; c <= a; ++c) {
      double sum = 0;
      for (int b = 0; b < 3; ++b)
        for (int d = 0; d < 3; ++d) sum += by[b][a] * common[b][d] * by[d][c];
      matrix[(n + a) * size + n + c] = sum;
    }
  }
  return cost;
}

}  // namespace ssvi_detail

/// From quotes to theta of each slice, rho, eta (lambda) and gamma. `scratch`: ssvi_scratch(slices) numbers.
template <class P>
WQ_HD_CALL void fit_ssvi(const SsviJob& job, double* scratch) {
  using namespace ssvi_detail;
  const std::int64_t n = job.quotes.slices, size = n + 3;
  double *const x = scratch, *const best = x + size, *const trial = best + size, *const step = trial + size,
                *const theta = step + size, *const gradient = theta + n, *const matrix = gradient + size,
                *const l = matrix + size * size, *const rest = l + size * size;
  job.numbers[0] = job.numbers[1] = 0;
  double* const first = rest;  // theta, p, q of each slice
  double scale = 1.0, best_cost = HUGE_VAL, before = 0;
  if (essvi_start<P>(job.quotes, first, rest + 3 * n) < HUGE_VAL) {
    for (std::int64_t i = 0; i < n; ++i) {
      x[i] = plain_log(first[3 * i] - before);
      before = first[3 * i];
    }
    // The best of a grid of the three, a few of which are followed.
    constexpr double kRhos[] = {-1.1, -0.4, 0.0, 0.4}, kShares[] = {-2.0, -0.5, 1.0, 3.0}, kGammas[] = {-1.0, 2.0};
    constexpr int kFollowed = 3;
    double leads[kFollowed][4];
    for (auto& lead : leads) lead[3] = HUGE_VAL;
    for (const double rho : kRhos)
      for (const double share : kShares)
        for (const double gamma : kGammas) {
          double now[4] = {rho, share, gamma, 0};
          for (int a = 0; a < 3; ++a) x[n + a] = now[a];
          now[3] = cost_of<P>(job, x, 1.0, theta);
          for (auto& lead : leads) {
            if (!(now[3] < lead[3])) continue;
            for (int a = 0; a < 4; ++a) {
              const double moved = lead[a];
              lead[a] = now[a];
              now[a] = moved;
            }
          }
        }
    if (leads[0][3] > 0) scale = 1.0 / leads[0][3];
    for (std::int64_t i = 0; i < n; ++i) trial[i] = x[i];
    for (int lead = 0; lead < kFollowed; ++lead) {
      if (!(leads[lead][3] < HUGE_VAL)) continue;
      for (std::int64_t i = 0; i < n; ++i) x[i] = trial[i];
      for (int a = 0; a < 3; ++a) x[n + a] = leads[lead][a];
      double damping = 1e-3;
      double now = equations<P>(job, x, scale, theta, rest, gradient, matrix);
      double* const there = rest + 12 * n;
      for (int round = 0; round < 100; ++round) {
        job.numbers[0] += 1;
        double most = 0;
        for (std::int64_t i = 0; i < size; ++i) most = max(most, matrix[i * size + i]);
        if (!cholesky(matrix, size, damping, 1e-14 * most + 1e-300, 0.0, l)) {
          damping *= 10.0;
          if (damping > 1e10) break;
          continue;
        }
        for (std::int64_t i = 0; i < size; ++i) step[i] = -gradient[i];
        cholesky_solve(l, size, step);
        double longest = 0, promised = 0;
        for (std::int64_t i = 0; i < size; ++i) {
          longest = max(longest, std::fabs(step[i]));
          promised -= step[i] * gradient[i];
        }
        const double share = longest > 2.0 ? 2.0 / longest : 1.0;
        for (std::int64_t i = 0; i < size; ++i) there[i] = max(min(x[i] + share * step[i], 40.0), -60.0);
        const double next = cost_of<P>(job, there, scale, theta);
        const bool settled = damping <= 1.0 && promised <= 1e-13 * now + 1e-28;
        if (next < now) {
          for (std::int64_t i = 0; i < size; ++i) x[i] = there[i];
          damping = max(damping * 0.1, 1e-13);
          if (!settled) now = equations<P>(job, x, scale, theta, rest, gradient, matrix);
          now = next;
        } else {
          damping *= 8.0;
        }
        if (settled || damping > 1e10) break;
      }
      if (now < best_cost) {
        best_cost = now;
        for (std::int64_t i = 0; i < size; ++i) best[i] = x[i];
      }
    }
  }
  const bool found = best_cost < HUGE_VAL;
  const double none = __builtin_nan("");
  double by[3][4];
  Model m{none, none, none};
  if (found) {
    thetas(best, n, theta);
    m = model_of(job.shape, best + n, theta[n - 1], by);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    double* const y = job.quotes.parameters + 3 * i;
    y[0] = found ? theta[i] : none;
    y[1] = found ? wing(job.shape, theta[i], m.eta, m.gamma).psi : none;
    y[2] = m.rho * y[1];
  }
  job.model[0] = m.rho;
  job.model[1] = m.eta;
  job.model[2] = m.gamma;
  job.numbers[1] = found ? 2.0 * best_cost / scale : none;
}

}  // namespace wq::surface::inline WQ_LEVEL
