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
  const double *k, *w, *weight;  // quotes of all smiles
  const std::int64_t* offsets;   // smiles + 1 of them
  const double* start;           // m and sigma of each smile, NaN: none; or null
  bool free_of_arbitrage;
  double* parameters;            // smiles x 5
  double* numbers;               // smiles x kFitNumbers
  double *status, *certificate;  // smiles
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

/// SABR slices; forwards and strikes have their shift.
struct SabrJob {
  const double *strike, *vol, *weight;            // quotes of all smiles
  const std::int64_t* offsets;                    // smiles + 1 of them
  const double *forward, *expiry, *beta, *start;  // smiles; start: alpha, rho, nu of each, NaN: none; or null
  int variant;
  double *parameters, *rmse, *status, *rounds;  // smiles x 3: alpha, rho, nu; smiles
};

enum SabrFitStatus : int { kSabrFitted, kSabrInvalid, kSabrTooFew };

struct Kernels {
  void (*fit)(const FitJob& job, std::int64_t from, std::int64_t to, double* scratch);
  void (*certify)(const CertifyJob& job, std::int64_t from, std::int64_t to);
  void (*cross)(const CrossJob& job, std::int64_t from, std::int64_t to);
  void (*essvi)(const EssviJob& job, double* scratch);
  void (*sabr)(const SabrJob& job, std::int64_t from, std::int64_t to, double* scratch);
};

/// Numbers of scratch: for a smile of `count` quotes; for a surface.
constexpr std::int64_t smile_scratch(std::int64_t count) { return 9 * count + 8; }
constexpr std::int64_t sabr_scratch(std::int64_t count) { return 6 * count; }
constexpr std::int64_t essvi_scratch(std::int64_t slices) { return 64 * slices + 64; }

}  // namespace wq::surface
