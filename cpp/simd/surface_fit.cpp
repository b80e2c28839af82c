// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/word_lanes.h"
#include "warpquant/surface/certificate.h"
#include "warpquant/surface/essvi_fit.h"
#include "warpquant/surface/fit_ops.h"
#include "warpquant/surface/sabr_fit.h"
#include "warpquant/surface/ssvi_fit.h"
#include "warpquant/surface/svi_job.h"
#include "warpquant/surface/svi_repair.h"

/// Fits of one smile after the other. Packs are as wide on every level: starts lie in their lanes.
namespace wq::surface::inline WQ_LEVEL {

void heston(const HestonFitJob& job, double* scratch);  // surface_heston.cpp
void stream(const StreamJob& job, double* scratch);     // surface_stream.cpp

namespace {

using P = Pack<kStarts>;

constexpr double kMissing = __builtin_nan("");

void fit_one(const FitJob& job, std::int64_t smile, double* scratch) {
  Gathered g;
  gather(job, smile, scratch, g);
  if (!g.usable) return put_none(job, smile, g.smile.count);
  Smile& s = g.smile;
  s.start = g.started ? g.start : nullptr;
  SviFit fit = fit_slice<P>(s, scratch + 3 * (job.offsets[smile + 1] - job.offsets[smile]));
  Certificate proof = certify<P>({fit.a, fit.b, fit.rho, fit.m, fit.s});
  FitStatus status = s.free ? kFitted : kReduced;
  if (job.free_of_arbitrage && proof.status != kFree) {
    double room[essvi_scratch(1)];
    fit = free_of_arbitrage<P>(s, fit, room);
    proof = certify<P>({fit.a, fit.b, fit.rho, fit.m, fit.s});
    status = kConstrained;
  }
  put(job, smile, fit, proof, status, s.count);
}

void fit(const FitJob& job, std::int64_t from, std::int64_t to, double* scratch) {
  for (std::int64_t smile = from; smile < to; ++smile) fit_one(job, smile, scratch);
}

Svi<double> slice_at(const double* parameters, std::int64_t i) {
  const double* const x = parameters + kSviParameters * i;
  return {x[0], x[1], x[2], x[3], x[4]};
}

void certify_all(const CertifyJob& job, std::int64_t from, std::int64_t to) {
  for (std::int64_t i = from; i < to; ++i) {
    const Certificate proof = certify<P>(slice_at(job.parameters, i));
    job.least[i] = proof.least;
    job.place[i] = proof.place;
    job.bound[i] = proof.bound;
    job.status[i] = proof.status;
  }
}

void cross(const CrossJob& job, std::int64_t from, std::int64_t to) {
  for (std::int64_t i = from; i < to; ++i) {
    const Svi<double> early = slice_at(job.early, i), late = slice_at(job.late, i);
    double* const places = job.places + 4 * i;
    for (int j = 0; j < 4; ++j) places[j] = kMissing;
    job.count[i] = job.slack[i] = job.at[i] = kMissing;
    if (!early.valid() || !late.valid()) continue;
    const Crossings found = crossings(early, late);
    job.count[i] = found.count;
    for (int j = 0; j < found.count; ++j) places[j] = found.place[j];
    job.slack[i] = found.slack;
    job.at[i] = found.at;
  }
}

/// Of each slice of a surface; NaN for one without quotes.
void errors_of(const EssviJob& job) {
  for (std::int64_t i = 0; i < job.slices; ++i) {
    const double* const y = job.parameters + 3 * i;
    const double x[3] = {y[0], y[1] + y[2], y[1] - y[2]};
    double total = 0;
    for (std::int64_t j = job.offsets[i]; j < job.offsets[i + 1]; ++j) total += job.weight[j];
    job.rmse[i] = total > 0 ? sqrt(2.0 * essvi_cost<P>(job, i, x, 1.0 / total, nullptr, nullptr)) : kMissing;
  }
}

void essvi(const EssviJob& job, double* scratch) {
  job.numbers[0] = fit_surface<P>(job, scratch);
  errors_of(job);
}

void ssvi(const SsviJob& job, double* scratch) {
  fit_ssvi<P>(job, scratch);
  errors_of(job.quotes);
}

void sabr_one(const SabrJob& job, std::int64_t smile, double* scratch) {
  static_assert(sizeof(SabrQuote) == 6 * sizeof(double));
  auto* const quotes = reinterpret_cast<SabrQuote*>(scratch);
  const double forward = job.forward[smile], expiry = job.expiry[smile], beta = job.beta[smile];
  double* const y = job.parameters + 3 * smile;
  for (int p = 0; p < 3; ++p) y[p] = kMissing;
  job.rmse[smile] = kMissing;
  job.rounds[smile] = 0;
  job.status[smile] = kSabrInvalid;
  if (!(forward > 0) || !is_finite(forward) || !(expiry > 0) || !is_finite(expiry) || !(beta >= 0 && beta <= 1)) return;
  int count = 0, different = 0;
  double total = 0, nearest = HUGE_VAL, level = 0, seen[2] = {};
  for (std::int64_t i = job.offsets[smile]; i < job.offsets[smile + 1]; ++i) {
    const double strike = job.strike[i], vol = job.vol[i], weight = job.weight[i];
    if (!(strike > 0) || !is_finite(strike) || !(vol > 0) || !is_finite(vol) || !(weight > 0) || !is_finite(weight))
      continue;
    quotes[count] = sabr_quote(forward, strike, beta, job.variant, vol, weight);
    const double away = std::fabs(quotes[count].reach);
    if (away < nearest) {
      nearest = away;
      level = vol / quotes[count].lead;  // alpha, were there no correction
    }
    total += weight;
    ++count;
    if ((different > 0 && strike == seen[0]) || (different > 1 && strike == seen[1])) continue;
    if (different < 2) seen[different] = strike;
    ++different;
  }
  job.status[smile] = kSabrTooFew;
  if (different < 3) return;
  for (int i = 0; i < count; ++i) quotes[i].weight /= total;
  const double* start = job.start == nullptr ? nullptr : job.start + 3 * smile;
  if (start != nullptr && !(start[0] > 0 && std::fabs(start[1]) < 1 && start[2] > 0)) start = nullptr;
  const SabrFit fit = fit_sabr<P>({count, expiry, quotes}, level, start);
  y[0] = fit.alpha;
  y[1] = fit.rho;
  y[2] = fit.nu;
  job.rmse[smile] = fit.rmse;
  job.rounds[smile] = fit.rounds;
  job.status[smile] = kSabrFitted;
}

void sabr(const SabrJob& job, std::int64_t from, std::int64_t to, double* scratch) {
  for (std::int64_t smile = from; smile < to; ++smile) sabr_one(job, smile, scratch);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {fit, certify_all, cross, essvi, sabr, stream, ssvi, heston};

}  // namespace wq::surface::inline WQ_LEVEL
