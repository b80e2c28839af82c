// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/surface/certificate.h"
#include "warpquant/surface/essvi_fit.h"
#include "warpquant/surface/svi_fit.h"

/// A slice of a surface as quotes come: those that are off are left out before they move it, weights of older ones
/// fade, and a few steps lead from the slice before to the one after. Nothing is allocated. Plain arithmetic: the same
/// bits on every machine.
namespace wq::surface::inline WQ_LEVEL {

namespace stream_detail {

inline constexpr int kSteps = 4;
inline constexpr double kLeastDeviation = 2e-3;  // of total variance, relative: what quotes scatter by at least
inline constexpr double kForgotten = 1e-6;       // of the largest weight

/// The median, the lower one of two, by Hoare's selection, which reorders; 0 of none.
inline double median(double* x, int count) {
  if (count == 0) return 0.0;
  const int wanted = (count - 1) / 2;
  int from = 0, to = count - 1;
  while (from < to) {
    const double pivot = x[wanted];
    int i = from, j = to;
    while (i <= j) {
      while (x[i] < pivot) ++i;
      while (pivot < x[j]) --j;
      if (i > j) break;
      const double other = x[i];
      x[i++] = x[j];
      x[j--] = other;
    }
    if (j < wanted) from = i;
    if (i > wanted) to = j;
  }
  return x[wanted];
}

/// Of a quote without a weight: phi(d1)^2 and a floor, as `vega_weights` has it.
inline double vega_weight(double k, double w) {
  const double root = sqrt(w), d1 = 0.5 * root - k / root;
  return plain_exp(-min(d1 * d1, 700.0)) + 0.02;
}

inline double variance_of(const StreamJob& job, double k) {
  if (job.essvi) {
    const double* const x = job.parameters + 3 * job.slice;
    return Ssvi<double>{x[0], x[1], x[2]}.at(k);
  }
  const double* const x = job.parameters + kSviParameters * job.slice;
  return Svi<double>{x[0], x[1], x[2], x[3], x[4]}.at(k);
}

/// An eSSVI slice between its neighbours, which stay: Newton's steps for least squares less mu times the logarithms of
/// the distances to all constraints, mu falling. The number of steps.
template <class P>
int refit_essvi(const StreamJob& job, const EssviJob& quotes) {
  using namespace essvi_detail;
  constexpr int kMost = kOwn + 2 * kShared;
  double* const slice = job.parameters + 3 * job.slice;
  const auto wings = [](const double* s, double (&y)[3]) {
    y[0] = s[0];
    y[1] = s[1] + s[2];
    y[2] = s[1] - s[2];
  };
  double x[3], before[3] = {}, after[3] = {};
  wings(slice, x);
  const bool first = job.slice == 0, last = job.slice + 1 == job.slices;
  if (!first) wings(slice - 3, before);
  if (!last) wings(slice + 3, after);
  /// Distances to constraints and their gradients; their number.
  const auto distances = [&](const double* at, double (&c)[kMost], double (*d)[3]) {
    double mine[kOwn], slopes[kOwn][3], other[kShared], by_before[kShared][3], by_after[kShared][3];
    int count = 0;
    const auto put = [&](double value, const double (&slope)[3]) {
      c[count] = value;
      for (int a = 0; a < 3; ++a) d[count][a] = slope[a];
      ++count;
    };
    own(at, mine);
    own_slopes(at, slopes);
    for (int i = 0; i < kOwn; ++i) put(mine[i], slopes[i]);
    if (first) {
      put(at[1], {0, 1, 0});
      put(at[2], {0, 0, 1});
    } else {
      shared(before, at, other);
      shared_slopes(before, at, by_before, by_after);
      for (int i = 0; i < kShared; ++i) put(other[i], by_after[i]);
    }
    if (!last) {
      shared(at, after, other);
      shared_slopes(at, after, by_before, by_after);
      for (int i = 0; i < kShared; ++i) put(other[i], by_before[i]);
    }
    return count;
  };
  double c[kMost], d[kMost][3];
  const double start = essvi_cost<P>(quotes, 0, x, 1.0, nullptr, nullptr);
  if (!(start > 0)) return 0;
  const double scale = 1.0 / start;
  const auto merit = [&](const double* at, double mu) {
    double product = 1, cs[kMost], ds[kMost][3];
    const int count = distances(at, cs, ds);
    for (int i = 0; i < count; ++i) {
      if (!(cs[i] > 0)) return HUGE_VAL;
      product *= cs[i];
    }
    return essvi_cost<P>(quotes, 0, at, scale, nullptr, nullptr) - mu * plain_log(product);
  };
  int rounds = 0;
  for (double mu = 1e-4; mu > 1e-11; mu *= 1e-3) {
    double now = merit(x, mu);
    if (!(now < HUGE_VAL)) return rounds;
    for (int step = 0; step < 2; ++step, ++rounds) {
      double gradient[3] = {}, matrix[3][3] = {};
      essvi_cost<P>(quotes, 0, x, scale, gradient, matrix);
      const int count = distances(x, c, d);
      for (int i = 0; i < count; ++i) {
        const double by = 1.0 / c[i];
        for (int a = 0; a < 3; ++a) {
          gradient[a] -= mu * d[i][a] * by;
          for (int b = 0; b < 3; ++b) matrix[a][b] += mu * d[i][a] * d[i][b] * by * by;
        }
      }
      for (int a = 0; a < 3; ++a) matrix[a][a] *= 1.0 + 1e-9;
      double y[3] = {gradient[0], gradient[1], gradient[2]};
      if (!solve3(matrix, y, 1)) break;
      double promised = 0;
      for (int a = 0; a < 3; ++a) promised += y[a] * gradient[a];
      if (!(promised > 1e-7 * mu)) break;
      bool better = false;
      double share = 1.0;
      for (int half = 0; half < 20 && !better; ++half, share *= 0.5) {
        const double there[3] = {x[0] - share * y[0], x[1] - share * y[1], x[2] - share * y[2]};
        const double next = merit(there, mu);
        if (!(next < now)) continue;
        better = true;
        now = next;
        for (int a = 0; a < 3; ++a) x[a] = there[a];
      }
      if (!better) break;
    }
  }
  if (essvi_cost<P>(quotes, 0, x, scale, nullptr, nullptr) < 0.5) {  // nearer than the slice before
    slice[0] = x[0];
    slice[1] = 0.5 * (x[1] + x[2]);
    slice[2] = 0.5 * (x[1] - x[2]);
  }
  return rounds;
}

/// An SVI slice from the one before; where the new one has butterfly arbitrage and the one before has none, as far on
/// the way as there is none.
template <class P>
int refit_svi(const StreamJob& job, const Smile& smile, double* scratch, double& least) {
  double* const y = job.parameters + kSviParameters * job.slice;
  const SviFit fit = fit_slice<P>(smile, scratch);
  const double made[] = {fit.a, fit.b, fit.rho, fit.m, fit.s};
  double values[kSviParameters];
  for (int p = 0; p < kSviParameters; ++p) values[p] = made[p];
  const auto proof_of = [](const double* x) { return certify<P>({x[0], x[1], x[2], x[3], x[4]}); };
  Certificate proof = proof_of(values);
  if (proof.status != kFree) {
    const Certificate was = proof_of(y);
    if (was.status == kFree) {
      double inside = 0.0, outside = 1.0;
      proof = was;
      for (int p = 0; p < kSviParameters; ++p) values[p] = y[p];
      for (int round = 0; round < 5; ++round) {
        const double share = 0.5 * (inside + outside);
        double mixed[kSviParameters];
        for (int p = 0; p < kSviParameters; ++p) mixed[p] = y[p] + share * (made[p] - y[p]);
        const Certificate at = proof_of(mixed);
        (at.status == kFree ? inside : outside) = share;
        if (at.status != kFree) continue;
        proof = at;
        for (int p = 0; p < kSviParameters; ++p) values[p] = mixed[p];
      }
    }
  }
  least = proof.least;
  for (int p = 0; p < kSviParameters; ++p) y[p] = values[p];
  return fit.rounds;
}

}  // namespace stream_detail

/// Takes the new quotes that are believed, and moves the slice. `scratch`: stream_scratch(capacity, news) numbers.
template <class P>
void update_slice(const StreamJob& job, double* scratch) {
  using namespace stream_detail;
  int count = static_cast<int>(*job.count);
  const int room = static_cast<int>(job.capacity), news = static_cast<int>(job.news);
  double *const k = scratch, *const w = k + room, *const weight = w + room, *const work = weight + room;
  for (int i = 0; i < count; ++i) job.weight[i] *= job.decay;
  // How far quotes are from the slice, relative to its variance: as many as there are, and the new ones.
  int level = 0;
  for (int i = 0; i < count; ++i) {
    const double at = variance_of(job, job.log_strike[i] - job.log_forward);
    work[level++] = std::fabs(job.vol[i] * job.vol[i] * job.years - at) / at;
  }
  const double deviation = max(1.4826 * median(work, level), kLeastDeviation);
  double* const off = work + room;
  const auto usable = [&](int j) {
    return job.strike[j] > 0 && is_finite(job.strike[j]) && job.new_vol[j] > 0 && is_finite(job.new_vol[j]) &&
           (job.new_weight == nullptr || (job.new_weight[j] > 0 && is_finite(job.new_weight[j])));
  };
  level = 0;
  for (int j = 0; j < news; ++j) {
    if (!usable(j)) continue;
    const double at = variance_of(job, plain_log(job.strike[j]) - job.log_forward);
    off[j] = (job.new_vol[j] * job.new_vol[j] * job.years - at) / at;
    work[level++] = off[j];
  }
  // Three that agree are a move of the market, not three mistakes.
  const double moved = level >= 3 ? median(work, level) : 0.0;
  int taken = 0;
  for (int j = 0; j < news; ++j) {
    job.status[j] = kNoQuote;
    if (!usable(j)) continue;
    const double vol = job.new_vol[j], distance = off[j] - moved;
    // Relative errors of variance are twice those of volatility.
    const double sides = job.spread == nullptr || !(job.spread[j] > 0) ? 0.0 : 2.0 * job.spread[j] / vol;
    // A smile that moves changes its shape, too.
    if (std::fabs(distance) > max(job.outlier * deviation, 2.0 * sides) + 0.5 * std::fabs(moved)) {
      const bool low = distance < 0;
      *job.run = low == (*job.run < 0) ? *job.run + (low ? -1 : 1) : (low ? -1 : 1);
      job.status[j] = kOutlier;
      if ((low ? -*job.run : *job.run) < job.patience) continue;
    } else {
      *job.run = 0;
    }
    job.status[j] = kTaken;
    ++taken;
    const double log_strike = plain_log(job.strike[j]);
    int place = 0;
    while (place < count && job.log_strike[place] != log_strike) ++place;
    if (place == count && count < room) {
      ++count;
    } else if (place == count) {  // instead of the one that counts least
      place = 0;
      for (int i = 1; i < count; ++i)
        if (job.weight[i] < job.weight[place]) place = i;
    }
    job.log_strike[place] = log_strike;
    job.vol[place] = vol;
    job.weight[place] = job.new_weight == nullptr ? vega_weight(log_strike - job.log_forward, vol * vol * job.years)
                                                  : job.new_weight[j];
  }
  // What has faded beside the others is forgotten.
  double most = 0;
  for (int i = 0; i < count; ++i) most = max(most, job.weight[i]);
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    if (!(job.weight[i] > kForgotten * most)) continue;
    job.log_strike[kept] = job.log_strike[i];
    job.vol[kept] = job.vol[i];
    job.weight[kept++] = job.weight[i];
  }
  *job.count = count = kept;
  job.numbers[0] = taken;
  job.numbers[1] = 0;
  job.numbers[2] = job.numbers[3] = __builtin_nan("");
  double low = HUGE_VAL, high = -HUGE_VAL, total = 0;
  int different = 0;
  for (int i = 0; i < count; ++i) {
    k[i] = job.log_strike[i] - job.log_forward;
    w[i] = job.vol[i] * job.vol[i] * job.years;
    weight[i] = job.weight[i];
    total += weight[i];
    low = min(low, k[i]);
    high = max(high, k[i]);
  }
  for (int i = 0; i < count; ++i) different += k[i] > low && k[i] < high;
  // With fewer than three strikes there is nothing to tell a slice from.
  if (taken > 0 && count >= 3 && different > 0) {
    if (job.essvi) {
      const std::int64_t offsets[2] = {0, count};
      job.numbers[1] = refit_essvi<P>(job, {1, k, w, weight, offsets, nullptr, nullptr, nullptr, nullptr});
    } else {
      const double* const x = job.parameters + kSviParameters * job.slice;
      const double start[2] = {x[3], x[4]};
      job.numbers[1] =
          refit_svi<P>(job, {count, k, w, weight, start, count >= kSviParameters, kSteps}, work, job.numbers[3]);
    }
  }
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    const double e = w[i] - variance_of(job, k[i]);
    sum += weight[i] * e * e;
  }
  if (total > 0) job.numbers[2] = sqrt(sum / total);
}

}  // namespace wq::surface::inline WQ_LEVEL
