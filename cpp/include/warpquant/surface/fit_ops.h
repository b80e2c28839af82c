// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// Fits and proofs for many slices in one call: flat arrays with offsets.
namespace wq::surface {

/// What a fit of a smile came to.
enum FitStatus : int {
  kFitted,
  kReduced,     // three or four quotes: rho, b and a alone, for given or typical m and s
  kTooFew,      // fewer than three different strikes with finite numbers and weights above 0
  kConstrained  // moved away from the best fit to be free of butterfly arbitrage
};

/// Parameters in their order: a, b, rho, m, sigma.
inline constexpr int kSviParameters = 5;

/// Of a smile: rmse, rounds, least g, where, proven bound.
enum FitNumber : int { kRmse, kRounds, kLeastG, kLeastAt, kBoundG, kQuotesUsed, kFitNumbers };

struct FitJob {
  std::int64_t smiles;
  const double *k, *w, *weight;  // quotes of all smiles; weight null: 1
  const std::int64_t* offsets;   // smiles + 1 of them
  const double* start;           // m and sigma of each smile, NaN: none; or null
  bool free_of_arbitrage;
  double* parameters;                 // 5 x smiles
  double* numbers;                    // kFitNumbers x smiles
  std::int8_t *status, *certificate;  // smiles
};

/// A job whose arrays are on a device; slices are looked at there, not certified. `scratch`: smile_scratch of all.
struct Launch {
  FitJob fit;
  double* scratch;
};

struct CertifyJob {
  const double* parameters;  // slices x 5
  double *least, *place, *bound, *status;
};

struct CrossJob {
  const double *early, *late;  // slices x 5 each
  double *count, *places;      // slices, slices x 4
  double *slack, *at;
};

/// Slices that share a surface, and quotes of each.
struct EssviJob {
  std::int64_t slices;
  const double *k, *w, *weight;
  const std::int64_t* offsets;
  const double* start;  // theta, psi, chi of each slice, or null
  double* parameters;   // slices x 3: theta, psi, chi
  double* rmse;         // slices
  double* numbers;      // rounds, cost
};

/// What phi is of theta: eta theta^-gamma (1 + theta)^(gamma - 1); eta theta^-gamma; or Heston's,
/// (1 - (1 - e^-x) / x) / x with x = lambda theta.
enum SsviShape : int { kSsviPower, kSsviSimple, kSsviHeston };

struct SsviJob {
  EssviJob quotes;  // without a start; theta, psi and chi of each slice are written there
  SsviShape shape;
  double* model;    // rho, eta or lambda, gamma
  double* numbers;  // rounds, cost
};

/// SABR slices; forwards and strikes have their shift.
struct SabrJob {
  const double *strike, *vol, *weight;            // quotes of all smiles
  const std::int64_t* offsets;                    // smiles + 1 of them
  const double *forward, *expiry, *beta, *start;  // smiles; start: alpha, rho, nu of each, NaN: none; or null
  int variant;
  double *parameters, *rmse, *status, *rounds;  // smiles x 3: alpha, rho, nu; smiles
};

enum SabrFitStatus : int { kSabrFitted, kSabrInvalid, kSabrTooFew };

/// Heston's model for the quotes of a surface; prices are E[min(S, K)] / forward.
struct HestonFitJob {
  std::int64_t expiries;
  const double* years;
  const std::int64_t* offsets;       // expiries + 1 of them
  const double *k, *target, *scale;  // of quotes: ln(K / forward), price, what a residual is multiplied by
  std::int64_t starts;
  const double* start;  // starts x 5: v0, kappa, theta, xi, rho
  double* parameters;   // 5
  double* numbers;      // root of the sum of squared residuals, evaluations, status
};

enum HestonFitStatus : int { kHestonFitted, kHestonAtBound, kHestonUnsettled, kHestonFailed };

/// A slice of a stream: quotes that are remembered, and new ones.
struct StreamJob {
  bool essvi;                         // slices are theta, psi, chi; else a, b, rho, m, sigma
  std::int64_t slices, slice;         // of the surface, and the one that quotes have come for
  double* parameters;                 // of all slices
  double *log_strike, *vol, *weight;  // quotes that are remembered, `capacity` of each
  std::int64_t* count;
  std::int64_t capacity;
  double log_forward, years, decay;                      // decay: what weights of before are multiplied by
  double outlier;                                        // deviations that a quote may be off
  std::int64_t patience;                                 // quotes off to one side that are believed
  std::int64_t* run;                                     // of quotes off to one side, below 0 for those that are low
  std::int64_t news;                                     // new quotes; strikes may come again
  const double *strike, *new_vol, *new_weight, *spread;  // weights, spreads of bid and ask in volatility: or null
  double* status;                                        // of each new quote
  double* numbers;                                       // taken, rounds, rmse, least g
};

enum StreamStatus : int { kTaken, kOutlier, kNoQuote };

inline constexpr double kHestonTerms = 4096.0;  // of a cosine series, at most

struct Kernels {
  void (*fit)(const FitJob& job, std::int64_t from, std::int64_t to, double* scratch);
  void (*certify)(const CertifyJob& job, std::int64_t from, std::int64_t to);
  void (*cross)(const CrossJob& job, std::int64_t from, std::int64_t to);
  void (*essvi)(const EssviJob& job, double* scratch);
  void (*sabr)(const SabrJob& job, std::int64_t from, std::int64_t to, double* scratch);
  void (*stream)(const StreamJob& job, double* scratch);
  void (*ssvi)(const SsviJob& job, double* scratch);
  void (*heston)(const HestonFitJob& job, double* scratch);
};

/// Numbers of scratch: for a smile of `count` quotes; for a surface.
constexpr std::int64_t smile_scratch(std::int64_t count) { return 9 * count + 8; }
constexpr std::int64_t sabr_scratch(std::int64_t count) { return 6 * count; }
constexpr std::int64_t essvi_scratch(std::int64_t slices) { return 64 * slices + 64; }
constexpr std::int64_t stream_scratch(std::int64_t capacity, std::int64_t news) { return 10 * (capacity + news) + 64; }
constexpr std::int64_t ssvi_scratch(std::int64_t slices) { return 2 * (slices + 3) * (slices + 3) + 20 * slices + 40; }
constexpr std::int64_t heston_scratch() { return 9 * (static_cast<std::int64_t>(kHestonTerms) + 16); }

}  // namespace wq::surface
