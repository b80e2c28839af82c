// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/surface/certificate.h"
#include "warpquant/surface/essvi_fit.h"
#include "warpquant/surface/svi_fit.h"

/// From the best SVI slice to the best one that is free of butterfly arbitrage.
namespace wq::surface::inline WQ_LEVEL {

/// Levenberg and Marquardt's method in all five parameters for least squares with a penalty on g below `margin` at
/// points, which is raised; then, if a certificate still finds arbitrage, a mix with the best SSVI slice, which has
/// none.
template <class P>
WQ_HD_CALL SviFit free_of_arbitrage(const Smile& smile, const SviFit& best, double* scratch) {
  constexpr int N = kSviParameters, kPoints = 32 + 8;
  const int n = smile.count;
  double total = 0, level = 0;
  for (int i = 0; i < n; ++i) {
    total += smile.weight[i];
    level += smile.weight[i] * smile.w[i] * smile.w[i];
  }
  const auto slice_of = [](const double* x) { return Svi<double>{x[0], x[1], x[2], x[3], x[4]}; };
  const auto error = [&](const double* x) {
    double sum = 0;
    const Svi<double> slice = slice_of(x);
    for (int i = 0; i < n; ++i) {
      const double e = slice.at(smile.k[i]) - smile.w[i];
      sum += smile.weight[i] * e * e;
    }
    return sum / total;
  };

  // The safe one: an SSVI slice.
  double safe[N];
  {
    const std::int64_t offsets[2] = {0, n};
    double three[3], rmse = 0, number = 0;
    const EssviJob job{1, smile.k, smile.w, smile.weight, offsets, nullptr, three, &rmse, &number};
    fit_surface<P>(job, scratch);
    const double phi = three[1] / three[0], rho = three[2] / three[1], c2 = (1.0 - rho) * (1.0 + rho);
    safe[0] = 0.5 * three[0] * c2;
    safe[1] = 0.5 * three[1];
    safe[2] = rho;
    safe[3] = -rho / phi;
    safe[4] = sqrt(c2) / phi;
  }

  double points[kPoints];
  int count = 0;
  // Where k^2 counts: around the vertex and around the quotes.
  const Svi<double> first{best.a, best.b, best.rho, best.m, best.s};
  for (int i = 0; i < 32; ++i) {
    const double t = (i + 0.5) / (31.5 - i);
    points[count++] = first.m + 0.5 * first.s * (t - 1.0 / t);
  }
  constexpr double kMargin = 1e-3;
  double penalty = 0;
  const auto merit = [&](const double* at, double* missing) {
    const Svi<double> slice = slice_of(at);
    if (!slice.valid() || !(slice.lowest() > 0) || !(slice.b * (1.0 + std::fabs(slice.rho)) < kMostSlope))
      return HUGE_VAL;
    double sum = error(at);
    for (int j = 0; j < count; ++j) {
      const double g = butterfly(points[j], slice.curve(points[j])), low = g < kMargin ? kMargin - g : 0.0;
      if (missing != nullptr) missing[j] = low;
      sum += penalty * low * low;
    }
    return sum;
  };
  const auto refine = [&](double (&x)[N], double first_penalty) {
    bool found = false;
    penalty = first_penalty * level / total;  // beside squared errors relative to w
    for (int level_round = 0; level_round < 9 && !found; ++level_round, penalty *= 10.0) {
      if (!(merit(x, nullptr) < HUGE_VAL))
        for (int i = 0; i < N; ++i) x[i] = safe[i];
      double damping = 1e-3;
      for (int round = 0; round < 30; ++round) {
        double missing[kPoints], gradient[N] = {}, matrix[N][N] = {};
        const double now = merit(x, missing);
        const Svi<double> slice = slice_of(x);
        for (int i = 0; i < n; ++i) {
          const double d = smile.k[i] - slice.m, r = slice.distance(d), e = slice.at(smile.k[i]) - smile.w[i];
          const double j[N] = {1.0, slice.rho * d + r, slice.b * d, -slice.b * (slice.rho + d / r),
                               slice.b * slice.s / r};
          for (int p = 0; p < N; ++p) {
            gradient[p] += smile.weight[i] / total * e * j[p];
            for (int q = 0; q <= p; ++q) matrix[p][q] += smile.weight[i] / total * j[p] * j[q];
          }
        }
        // Differences of g: it only steers, the certificate decides.
        const double size[N] = {1e-6 * (std::fabs(x[0]) + slice.b * slice.s), 1e-6 * x[1], 1e-6, 1e-6 * x[4],
                                1e-6 * x[4]};
        for (int j = 0; j < count; ++j) {
          if (!(missing[j] > 0)) continue;
          double d[N];
          for (int p = 0; p < N; ++p) {
            double moved[N];
            for (int q = 0; q < N; ++q) moved[q] = x[q];
            moved[p] += size[p];
            const Svi<double> other = slice_of(moved);
            const double g = butterfly(points[j], other.curve(points[j]));
            d[p] = (kMargin - g - missing[j]) / size[p];
          }
          for (int p = 0; p < N; ++p) {
            gradient[p] += penalty * missing[j] * d[p];
            for (int q = 0; q <= p; ++q) matrix[p][q] += penalty * d[p] * d[q];
          }
        }
        bool moved = false;
        for (int attempt = 0; attempt < 8 && !moved; ++attempt) {
          double l[N][N], y[N];
          bool regular = true;
          for (int p = 0; p < N && regular; ++p)
            for (int q = 0; q <= p; ++q) {
              double sum = matrix[p][q] * (p == q ? 1.0 + damping : 1.0);
              for (int r = 0; r < q; ++r) sum -= l[p][r] * l[q][r];
              if (p == q) {
                regular = sum > 1e-14 * matrix[p][p];
                l[p][p] = sqrt(max(sum, 1e-300));
              } else {
                l[p][q] = sum / l[q][q];
              }
            }
          if (regular) {
            for (int p = 0; p < N; ++p) {
              y[p] = -gradient[p];
              for (int r = 0; r < p; ++r) y[p] -= l[p][r] * y[r];
              y[p] /= l[p][p];
            }
            for (int p = N - 1; p >= 0; --p) {
              for (int r = p + 1; r < N; ++r) y[p] -= l[r][p] * y[r];
              y[p] /= l[p][p];
            }
            double there[N];
            for (int p = 0; p < N; ++p) there[p] = x[p] + y[p];
            if (merit(there, nullptr) < now) {
              for (int p = 0; p < N; ++p) x[p] = there[p];
              moved = true;
              damping = max(damping * 0.2, 1e-9);
            }
          }
          if (!moved) damping *= 6.0;
        }
        if (!moved || now - merit(x, nullptr) < 1e-9 * now) break;
      }
      const Certificate proof = certify<P>(slice_of(x));
      found = proof.status == kFree;
      if (!found && is_finite(proof.place) && count < kPoints) points[count++] = proof.place;
    }
    if (!found) {
      // As far from the safe one as there is no arbitrage on the way.
      double inside = 0.0, outside = 1.0, mixed[N];
      for (int round = 0; round < 24; ++round) {
        const double share = 0.5 * (inside + outside);
        for (int p = 0; p < N; ++p) mixed[p] = safe[p] + share * (x[p] - safe[p]);
        (certify<P>(slice_of(mixed)).status == kFree ? inside : outside) = share;
      }
      for (int p = 0; p < N; ++p) x[p] = safe[p] + inside * (x[p] - safe[p]);
    }
  };
  // From the best slice, and from the safe one.
  double x[N] = {best.a, best.b, best.rho, best.m, best.s}, other[N], least = error(safe);
  for (int p = 0; p < N; ++p) other[p] = safe[p];
  refine(x, 1e-3);
  refine(other, 1e-2);
  SviFit fit = best;
  double* chosen = safe;
  for (int i = 0; i < 2; ++i) {
    double* const candidate = i == 0 ? x : other;
    if (!(error(candidate) < least)) continue;
    least = error(candidate);
    chosen = candidate;
  }
  fit.a = chosen[0];
  fit.b = chosen[1];
  fit.rho = chosen[2];
  fit.m = chosen[3];
  fit.s = chosen[4];
  fit.rmse = sqrt(least);
  return fit;
}

}  // namespace wq::surface::inline WQ_LEVEL
