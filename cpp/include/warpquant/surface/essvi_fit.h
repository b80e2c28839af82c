// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/cholesky.h"
#include "warpquant/core/math.h"
#include "warpquant/core/plain.h"
#include "warpquant/surface/fit_ops.h"
#include "warpquant/surface/slice.h"

/// An eSSVI surface (Hendriks and Martini 2019) that is free of arbitrage by construction, nearest to quotes.
///
/// Slice i has theta and the slopes of its wings p = psi + chi, q = psi - chi. Between slices p and q must not fall and
/// psi / theta must not rise (Corbetta, Cohort, Laachir and Martini 2019), of which theta's rise follows; in a slice
/// psi max(p, q) <= 4 theta and max(p, q) < 4 rule out butterflies (Gatheral and Jacquier 2014). All of that is a set
/// with an inside, from which an interior-point method does not step out: least squares less mu times the logarithms of
/// the distances, mu falling. Neighbours alone meet in a constraint, so that a step is a block-tridiagonal system.
/// Plain arithmetic: the same bits on every machine.
namespace wq::surface::inline WQ_LEVEL {

namespace essvi_detail {

inline constexpr double kMostWing = 3.99;

/// Distances of a slice to its constraints, the last three to the slice before; all positive inside.
inline constexpr int kOwn = 4, kShared = 3;
WQ_HD void own(const double* x, double (&c)[kOwn]) {
  const double psi = 0.5 * (x[1] + x[2]);
  c[0] = 4.0 * x[0] - psi * x[1];
  c[1] = 4.0 * x[0] - psi * x[2];
  c[2] = kMostWing - x[1];
  c[3] = kMostWing - x[2];
}
WQ_HD void shared(const double* before, const double* x, double (&c)[kShared]) {
  c[0] = x[1] - before[1];
  c[1] = x[2] - before[2];
  c[2] = (before[1] + before[2]) * x[0] - (x[1] + x[2]) * before[0];
}

/// Gradients of these distances.
WQ_HD void own_slopes(const double* x, double (&d)[kOwn][3]) {
  const double psi = 0.5 * (x[1] + x[2]);
  const double slopes[kOwn][3] = {
      {4.0, -(psi + 0.5 * x[1]), -0.5 * x[1]}, {4.0, -0.5 * x[2], -(psi + 0.5 * x[2])}, {0, -1, 0}, {0, 0, -1}};
  for (int i = 0; i < kOwn; ++i)
    for (int a = 0; a < 3; ++a) d[i][a] = slopes[i][a];
}
/// By the slice before, and by the one after it.
WQ_HD void shared_slopes(const double* before, const double* x, double (&by_before)[kShared][3],
                         double (&by_after)[kShared][3]) {
  const double early[kShared][3] = {{0, -1, 0}, {0, 0, -1}, {-(x[1] + x[2]), x[0], x[0]}};
  const double late[kShared][3] = {{0, 1, 0}, {0, 0, 1}, {before[1] + before[2], -before[0], -before[0]}};
  for (int i = 0; i < kShared; ++i)
    for (int a = 0; a < 3; ++a) by_before[i][a] = early[i][a], by_after[i][a] = late[i][a];
}

/// Solves the 3 x 3 system A y = b for several right sides, A symmetric and positive; b becomes y. `columns` of them.
WQ_HD bool solve3(const double (&a)[3][3], double* b, int columns) {
  double l[9];
  if (!cholesky(&a[0][0], 3, 0.0, 0.0, 0.0, l)) return false;
  cholesky_solve(l, 3, b, columns);
  return true;
}

}  // namespace essvi_detail

/// Half the weighted squared error of a slice (theta, p, q) divided by `scale`; with `gradient` its derivatives and
/// Gauss and Newton's matrix are added to.
template <class P>
WQ_HD_CALL double essvi_cost(const EssviJob& job, std::int64_t slice, const double* x, double scale, double* gradient,
                             double (*matrix)[3]) {
  const std::int64_t from = job.offsets[slice], to = job.offsets[slice + 1];
  const Ssvi<P> curve{P(x[0]), P(0.5 * (x[1] + x[2])), P(0.5 * (x[1] - x[2]))};
  P cost(0.0), g[3] = {P(0.0), P(0.0), P(0.0)}, h[6];
  for (P& v : h) v = P(0.0);
  constexpr int W = kWidth<P>;
  for (std::int64_t i = from; i < to; i += W) {
    P k, w, weight;
    if (i + W <= to) {
      k = P::load(job.k + i);
      w = P::load(job.w + i);
      weight = P::load(job.weight + i);
    } else {
      k = w = weight = P(0.0);
      for (int j = 0; i + j < to; ++j) {
        set_lane(k, j, job.k[i + j]);
        set_lane(w, j, job.w[i + j]);
        set_lane(weight, j, job.weight[i + j]);
      }
    }
    const auto f = curve.full(k);
    const P e = f.curve.w - w, we = weight * e;
    cost = cost + we * e;
    if (gradient == nullptr) continue;
    const P d[3] = {f.by_theta, P(0.5) * (f.by_psi + f.by_chi), P(0.5) * (f.by_psi - f.by_chi)};
    int at = 0;
    for (int a = 0; a < 3; ++a) {
      g[a] = g[a] + we * d[a];
      for (int b = 0; b <= a; ++b, ++at) h[at] = h[at] + weight * d[a] * d[b];
    }
  }
  const auto sum = [](P v) {
    double total = 0;
    for (int j = 0; j < kWidth<P>; ++j) total += lane(v, j);
    return total;
  };
  if (gradient != nullptr) {
    int at = 0;
    for (int a = 0; a < 3; ++a) {
      gradient[a] += sum(g[a]) * scale;
      for (int b = 0; b <= a; ++b, ++at) {
        const double v = sum(h[at]) * scale;
        matrix[a][b] += v;
        if (b < a) matrix[b][a] += v;
      }
    }
  }
  return 0.5 * scale * sum(cost);
}

/// The whole fit. `x`: slices x 3 numbers theta, p, q strictly inside the constraints; they become the result.
/// `scratch`: 40 numbers for each slice.
template <class P>
WQ_HD_CALL int essvi_descend(const EssviJob& job, double* x, double scale, double* scratch) {
  using namespace essvi_detail;
  const std::int64_t n = job.slices;
  double *const step = scratch, *const trial = step + 3 * n, *const gain = trial + 3 * n;  // gain: n x 9
  const auto merit = [&](const double* at, double mu, bool& inside) {
    double cost = 0, logs = 0;
    inside = true;
    for (std::int64_t i = 0; i < n && inside; ++i) {
      double a[kOwn], b[kShared];
      own(at + 3 * i, a);
      double product = 1;
      for (const double c : a) inside &= c > 0;
      product *= a[0] * a[1] * a[2] * a[3];
      if (i > 0) {
        shared(at + 3 * (i - 1), at + 3 * i, b);
        for (const double c : b) inside &= c > 0;
      } else {
        b[0] = at[1];
        b[1] = at[2];
        b[2] = 1.0;
        inside &= b[0] > 0 && b[1] > 0;
      }
      if (!inside) break;
      logs += plain_log(product) + plain_log(b[0] * b[1] * b[2]);
    }
    if (!inside) return HUGE_VAL;
    for (std::int64_t i = 0; i < n; ++i) cost += essvi_cost<P>(job, i, at + 3 * i, scale, nullptr, nullptr);
    return cost - mu * logs;
  };
  bool inside = false;
  merit(x, 0.0, inside);
  if (!inside) return -1;
  int rounds = 0;
  double damping = 1e-6;
  for (double mu = 1e-2; mu > 1e-11; mu *= 0.1) {
    double now = merit(x, mu, inside);
    for (int inner_round = 0; inner_round < 25; ++inner_round, ++rounds) {
      // Blocks: diagonal[i], and below[i] between slices i and i - 1. Forward elimination on the way.
      double along[3][3] = {};  // below A^-1
      double carry[3][3] = {}, carry_gradient[3] = {};
      bool regular = true;
      double promised = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        double matrix[3][3] = {}, gradient[3] = {}, below[3][3] = {};
        const double* const at = x + 3 * i;
        essvi_cost<P>(job, i, at, scale, gradient, matrix);
        const auto add = [&](double c, const double (&d)[3]) {
          const double by = 1.0 / c;
          for (int a = 0; a < 3; ++a) {
            gradient[a] -= mu * d[a] * by;
            for (int b = 0; b < 3; ++b) matrix[a][b] += mu * d[a] * d[b] * by * by;
          }
        };
        double c[kOwn], d[kOwn][3];
        own(at, c);
        own_slopes(at, d);
        for (int r = 0; r < kOwn; ++r) add(c[r], d[r]);
        // The slice after pulls at this one, too.
        const auto pair = [&](const double* early, const double* late, bool is_late) {
          double s[kShared], d_early[kShared][3], d_late[kShared][3];
          shared(early, late, s);
          shared_slopes(early, late, d_early, d_late);
          for (int r = 0; r < kShared; ++r) {
            add(s[r], is_late ? d_late[r] : d_early[r]);
            if (!is_late) continue;
            for (int a = 0; a < 3; ++a)
              for (int b = 0; b < 3; ++b) below[a][b] += mu * d_late[r][a] * d_early[r][b] / (s[r] * s[r]);
          }
        };
        if (i > 0) {
          pair(at - 3, at, true);
        } else {
          add(at[1], {0.0, 1.0, 0.0});
          add(at[2], {0.0, 0.0, 1.0});
        }
        if (i + 1 < n) pair(at, at + 3, false);
        for (int a = 0; a < 3; ++a) matrix[a][a] *= 1.0 + damping;
        // What the slice before leaves of this block: matrix - below A^-1 below', and the same of the gradient.
        if (i > 0) {
          for (int a = 0; a < 3; ++a) {
            for (int b = 0; b < 3; ++b) {
              double sum = 0;
              for (int r = 0; r < 3; ++r) sum += below[a][r] * carry[r][b];
              along[a][b] = sum;
            }
          }
          // carry holds A^-1; gain[i] = A^-1 below', kept for the way back.
          double next[3][3];
          for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) {
              double sum = 0;
              for (int r = 0; r < 3; ++r) sum += along[a][r] * below[b][r];
              next[a][b] = matrix[a][b] - sum;
            }
          for (int a = 0; a < 3; ++a) {
            double sum = 0;
            for (int r = 0; r < 3; ++r) {
              sum += along[a][r] * carry_gradient[r];
              gain[9 * i + 3 * r + a] = along[a][r];  // A^-1 below', transposed
            }
            gradient[a] -= sum;
          }
          for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) matrix[a][b] = next[a][b];
        }
        double inverse[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
        if (!solve3(matrix, inverse, 3)) {
          regular = false;
          break;
        }
        for (int a = 0; a < 3; ++a) {
          double sum = 0;
          for (int b = 0; b < 3; ++b) {
            carry[a][b] = inverse[3 * a + b];
            sum += inverse[3 * a + b] * gradient[b];
          }
          step[3 * i + a] = -sum;
          promised += gradient[a] * sum;
          carry_gradient[a] = gradient[a];
        }
      }
      if (!regular) {
        damping = max(damping * 10.0, 1e-9);
        continue;
      }
      for (std::int64_t i = n - 2; i >= 0; --i)
        for (int a = 0; a < 3; ++a)
          for (int b = 0; b < 3; ++b) step[3 * i + a] -= gain[9 * (i + 1) + 3 * a + b] * step[3 * (i + 1) + b];
      if (!(promised > 1e-9 * mu)) break;
      bool moved = false;
      double share = 1.0, there = now;
      for (int half = 0; half < 30; ++half, share *= 0.5) {
        for (std::int64_t i = 0; i < 3 * n; ++i) trial[i] = x[i] + share * step[i];
        there = merit(trial, mu, inside);
        if (inside && there < now - 1e-4 * share * promised) {
          moved = true;
          break;
        }
      }
      if (!moved) break;
      for (std::int64_t i = 0; i < 3 * n; ++i) x[i] = trial[i];
      damping = share == 1.0 ? max(damping * 0.2, 1e-12) : damping;
      now = there;
    }
  }
  return rounds;
}

/// A surface inside the constraints to start from: at-the-money variances made to rise, psi = eta sqrt(theta), one rho.
/// `scratch`: 3 numbers for each slice.
template <class P>
WQ_HD_CALL double essvi_start(const EssviJob& job, double* x, double* scratch) {
  const std::int64_t n = job.slices;
  double *const level = scratch, *const weight = level + n, *const ends = weight + n;
  for (std::int64_t i = 0; i < n; ++i) {
    // Between the quotes next to the money, or the nearest one.
    double low = -HUGE_VAL, high = HUGE_VAL, w_low = 0, w_high = 0;
    for (std::int64_t j = job.offsets[i]; j < job.offsets[i + 1]; ++j) {
      const double k = job.k[j];
      if (!(job.weight[j] > 0)) continue;
      if (k <= 0 && k > low) {
        low = k;
        w_low = job.w[j];
      }
      if (k >= 0 && k < high) {
        high = k;
        w_high = job.w[j];
      }
    }
    const bool is_low = low > -HUGE_VAL, is_high = high < HUGE_VAL;
    double at = is_low && is_high && high > low ? (w_low * high - w_high * low) / (high - low)
                : is_low                        ? w_low
                : is_high                       ? w_high
                                                : __builtin_nan("");
    if (!(at > 0)) at = __builtin_nan("");
    level[i] = at;
  }
  // A slice without a level takes that of the one before, or after; then pool those that fall (Ayer and others 1955).
  for (std::int64_t i = 1; i < n; ++i)
    if (is_nan(level[i])) level[i] = level[i - 1];
  for (std::int64_t i = n - 2; i >= 0; --i)
    if (is_nan(level[i])) level[i] = level[i + 1];
  std::int64_t blocks = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    level[blocks] = level[i];
    weight[blocks] = 1;
    ends[blocks++] = static_cast<double>(i + 1);
    while (blocks > 1 && level[blocks - 2] >= level[blocks - 1]) {
      const double total = weight[blocks - 2] + weight[blocks - 1];
      level[blocks - 2] = (level[blocks - 2] * weight[blocks - 2] + level[blocks - 1] * weight[blocks - 1]) / total;
      weight[blocks - 2] = total;
      ends[blocks - 2] = ends[blocks - 1];
      --blocks;
    }
  }
  std::int64_t at = 0;
  double before = 0;
  for (std::int64_t block = 0; block < blocks; ++block)
    for (; at < static_cast<std::int64_t>(ends[block]); ++at) {
      before = max(level[block], before * (1.0 + 1e-3));
      x[3 * at] = before;
    }
  double best = HUGE_VAL, best_rho = 0, best_eta = 0;
  const double most = sqrt(before);  // of the last slice
  constexpr double kShares[] = {0.05, 0.15, 0.3, 0.5, 0.7, 0.9};
  for (double rho = -0.9; rho < 0.95; rho += 0.15)
    for (const double share : kShares) {
      const double wing = 1.0 + std::fabs(rho);
      const double eta = share * min(sqrt(3.9 / wing), 3.9 / (wing * most));
      double cost = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double theta = x[3 * i], psi = eta * sqrt(theta), y[3] = {theta, psi * (1.0 + rho), psi * (1.0 - rho)};
        cost += essvi_cost<P>(job, i, y, 1.0, nullptr, nullptr);
      }
      if (cost < best) {
        best = cost;
        best_rho = rho;
        best_eta = eta;
      }
    }
  for (std::int64_t i = 0; i < n; ++i) {
    const double psi = best_eta * sqrt(x[3 * i]);
    x[3 * i + 1] = psi * (1.0 + best_rho);
    x[3 * i + 2] = psi * (1.0 - best_rho);
  }
  return best;
}

/// From quotes to theta, psi and chi of each slice. `scratch`: essvi_scratch(slices) numbers.
template <class P>
WQ_HD_CALL int fit_surface(const EssviJob& job, double* scratch) {
  const std::int64_t n = job.slices;
  double *const x = scratch, *const rest = x + 3 * n;
  double cost = essvi_start<P>(job, x, rest);
  if (!(cost < HUGE_VAL)) return -1;
  if (job.start != nullptr) {  // of a surface before, where that is inside
    bool inside = true;
    double there = 0;
    for (std::int64_t i = 0; i < n && inside; ++i) {
      const double* const s = job.start + 3 * i;
      const double y[3] = {s[0], s[1] + s[2], s[1] - s[2]};
      double a[essvi_detail::kOwn], b[essvi_detail::kShared] = {y[1], y[2], 1.0};
      essvi_detail::own(y, a);
      if (i > 0) {
        const double before[3] = {s[-3], s[-2] + s[-1], s[-2] - s[-1]};
        essvi_detail::shared(before, y, b);
      }
      for (const double c : a) inside &= c > 0;
      for (const double c : b) inside &= c > 0;
      there += essvi_cost<P>(job, i, y, 1.0, nullptr, nullptr);
    }
    if (inside && there < cost) {
      cost = there;
      for (std::int64_t i = 0; i < n; ++i) {
        const double* const s = job.start + 3 * i;
        x[3 * i] = s[0];
        x[3 * i + 1] = s[1] + s[2];
        x[3 * i + 2] = s[1] - s[2];
      }
    }
  }
  const int rounds = cost > 0 ? essvi_descend<P>(job, x, 1.0 / cost, rest) : 0;
  for (std::int64_t i = 0; i < n; ++i) {
    job.parameters[3 * i] = x[3 * i];
    job.parameters[3 * i + 1] = 0.5 * (x[3 * i + 1] + x[3 * i + 2]);
    job.parameters[3 * i + 2] = 0.5 * (x[3 * i + 1] - x[3 * i + 2]);
  }
  return rounds;
}

}  // namespace wq::surface::inline WQ_LEVEL
