// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/surface/certificate.h"
#include "warpquant/surface/fit_ops.h"
#include "warpquant/surface/svi_fit.h"

/// A smile of a job: what of its quotes can be used, and where results go. CPU and devices share it.
namespace wq::surface::inline WQ_LEVEL {

struct Gathered {
  Smile smile;  // without a start; with one, its numbers are `start`
  double start[2];
  bool started, usable;  // usable: there are three different strikes
};

/// Whether a total variance or a weight is one whose square a double holds.
WQ_HD bool counts(double x) { return x >= 1e-100 && x <= 1e100; }

/// `scratch`: 3 numbers for each quote.
WQ_HD_CALL inline void gather(const FitJob& job, std::int64_t smile, double* scratch, Gathered& g) {
  const std::int64_t from = job.offsets[smile], to = job.offsets[smile + 1], most = to - from;
  double *const k = scratch, *const w = k + most, *const weight = w + most;
  int count = 0;
  double low = HUGE_VAL, high = -HUGE_VAL, level = 0;
  bool between = false;
  for (std::int64_t i = from; i < to; ++i) {
    const double of = job.weight == nullptr ? 1.0 : job.weight[i];
    if (!is_finite(job.k[i]) || !counts(job.w[i]) || !counts(of)) continue;
    k[count] = job.k[i];
    w[count] = job.w[i];
    weight[count++] = of;
    low = min(low, job.k[i]);
    high = max(high, job.k[i]);
    level = max(level, job.w[i]);
  }
  for (int i = 0; i < count; ++i) between |= k[i] > low && k[i] < high;
  g.usable = between;
  g.started = false;
  if (job.start != nullptr) {
    g.start[0] = job.start[2 * smile];
    g.start[1] = job.start[2 * smile + 1];
    g.started = is_finite(g.start[0]) && g.start[1] > 0 && is_finite(g.start[1]);
  }
  const bool free = count >= kSviParameters;
  if (!free && !g.started) {
    // A vertex at the money, one deviation wide.
    g.start[0] = 0;
    g.start[1] = sqrt(max(level, 1e-8));
    g.started = true;
  }
  g.smile = {count, k, w, weight, nullptr, free, 0};
}

/// `proof`: of the slice.
WQ_HD_CALL inline void put(const FitJob& job, std::int64_t smile, const SviFit& fit, const Certificate& proof,
                           FitStatus status, int count) {
  const double values[] = {fit.a, fit.b, fit.rho, fit.m, fit.s};
  for (int p = 0; p < kSviParameters; ++p) job.parameters[p * job.smiles + smile] = values[p];
  const double numbers[kFitNumbers] = {fit.rmse,    static_cast<double>(fit.rounds), proof.least, proof.place,
                                       proof.bound, static_cast<double>(count)};
  for (int p = 0; p < kFitNumbers; ++p) job.numbers[p * job.smiles + smile] = numbers[p];
  job.status[smile] = static_cast<std::int8_t>(status);
  job.certificate[smile] = static_cast<std::int8_t>(proof.status);
}

/// Of a smile with too few quotes.
WQ_HD_CALL inline void put_none(const FitJob& job, std::int64_t smile, int count) {
  const double none = __builtin_nan("");
  put(job, smile, {none, none, none, none, none, none, 0}, {none, none, none, kNoSlice}, kTooFew, count);
}

}  // namespace wq::surface::inline WQ_LEVEL
