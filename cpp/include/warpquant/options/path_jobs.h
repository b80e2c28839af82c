// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <variant>

#include "warpquant/options/paths.h"

/// Work on paths, and what comes of it: sums over blocks of paths, of a fixed size and in a fixed order.
namespace wq::paths {

enum Greek : int { kPrice, kDelta, kGamma, kVega, kTheta, kRho, kEpsilon, kDualDelta, kGreeks };
inline constexpr const char* kGreekNames = "price delta gamma vega theta rho epsilon dual_delta";

/// Of values y and of their controls c, both less what c is expected to be.
struct Sums {
  double y, yy, c, cc, yc;
};
inline constexpr int kSums = 5;

/// Paths [first, first + count) of a replicate; `first` is a multiple of `kBundle`.
struct Block {
  int replicate;
  std::int64_t first;
  int count;
};

/// An option on one asset whose logarithm moves by drift * t + vol * W(t).
struct Row {
  double spot, strike, sign, expiry, rate, vol;
  double drift;              // a year: r - q - vol^2 / 2
  double root;               // sqrt(T)
  double discount;           // e^(-rT)
  double expected[kGreeks];  // of the control
  double level, rebate;      // of a barrier: ln(H / S)
};

struct AsianJob {
  Draws draws;
  Dates dates;
  const double* weights;  // of the dates
  double start_weight;    // of the spot
  double later_weight;    // sum of `weights`, which with start_weight is 1
  double mean_time;       // sum of weights * times
  bool control;           // the option on the geometric average
  bool greeks;            // otherwise the price alone
  const Row* rows;
  int count;
};

enum class Payoff : std::uint8_t { vanilla, cash, asset };
enum class Barrier : std::uint8_t { none, down_out, up_out, down_in, up_in };

struct BarrierJob {
  Draws draws;
  Dates dates;
  Payoff payoff;
  Barrier barrier;
  bool control;  // the option without barrier
  const Row* rows;
  int count;
};

enum class Choice : std::uint8_t { basket, best_of, worst_of };

/// An option on several assets. Of n: spots, weights, drift * T, vols, e^(-q T) ... are arrays of n.
struct BasketRow {
  const double *spot, *weight, *vol, *drift;
  const double* factor;          // lower triangle of the Cholesky factor of the correlations, row by row
  const double* inverse_factor;  // the same of its inverse
  double strike, sign, expiry, rate, root, discount;
  double expected;                          // of the control
  double geometric_shift, geometric_scale;  // ln of the control's average: shift + sum of weight / scale * ln S_i
};

enum class BasketControl : std::uint8_t { none, linear, geometric };

struct BasketJob {
  Draws draws;
  int assets;
  Choice choice;
  BasketControl control;
  bool greeks, gamma;
  const BasketRow* rows;
  int count;
};

/// Sums of a basket: those of the price, then of derivatives by rate, by time, by strike, and by each spot, vol, yield
/// and entry of the factor; then n x n second derivatives by spots.
struct BasketSums {
  int assets;
  WQ_HD int rho() const { return kSums; }
  WQ_HD int theta() const { return kSums + 1; }
  WQ_HD int dual_delta() const { return kSums + 2; }
  WQ_HD int delta() const { return kSums + 3; }
  WQ_HD int vega() const { return delta() + assets; }
  WQ_HD int epsilon() const { return vega() + assets; }
  WQ_HD int factor() const { return epsilon() + assets; }
  WQ_HD int gamma() const { return factor() + assets * (assets + 1) / 2; }
  WQ_HD int size() const { return gamma() + assets * assets; }
};

/// An option in a model whose vol is a function of time and spot, given at each step for nodes of ln(spot), linear
/// between them and constant outside.
struct LocalVolJob {
  Draws draws;
  Dates dates;
  int nodes;
  const double* places;   // ln(spot) of the nodes, ascending
  const double* vols;     // dates.count x nodes: what holds from the date before
  const double* steps;    // years from date to date
  const double* roots;    // of `steps`
  const double* weights;  // of dates in an average; null: of the last alone
  double log_spot, spot, strike, sign, expiry, rate, dividend, discount;
  double expected;  // of the control, the spot at expiry, discounted
  bool greeks;
};

/// Sums of a local volatility job: those of the price, by spot, by strike, by rate, by yield, then by vols.
struct LocalVolSums {
  int steps, nodes;
  static constexpr int kDelta = kSums, kDualDelta = kSums + 1, kRho = kSums + 2, kEpsilon = kSums + 3,
                       kVega = kSums + 4;
  WQ_HD int size() const { return kVega + steps * nodes; }
};

enum class Numbers : std::uint8_t { uniform, normal };

/// What a path needs: numbers for each asset, or for each step.
inline constexpr int kBasketRoom = 4, kLocalVolRoom = 3;

/// Of the sums of eight paths that of all.
WQ_HD double reduced(const double* lanes) {
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

struct Kernels {
  /// Doubles of scratch that a kernel takes for so many dates or dimensions.
  std::int64_t (*scratch)(int dims);
  void (*numbers)(const Draws&, Numbers, const Block&, double* scratch, double* out);
  void (*brownian)(const Draws&, const Dates&, const Block&, double* scratch, double* out);
  /// Into job.count x (kGreeks or 1) sums.
  void (*asian)(const AsianJob&, const Block&, double* scratch, Sums* sums);
  void (*barrier)(const BarrierJob&, const Block&, double* scratch, Sums* sums);
  /// Into job.count x BasketSums{job.assets}.size() numbers.
  void (*basket)(const BasketJob&, const Block&, double* scratch, double* sums);
  void (*local_vol)(const LocalVolJob&, const Block&, double* scratch, double* sums);
  void (*inverse_normal)(const double* p, std::int64_t count, double* out);
};

// ------------------------------------------------------------------------------------------------ on a device

/// Numbers of paths [0, paths) of each replicate, to (replicates * paths, dims).
struct NumbersJob {
  Draws draws;
  Numbers kind;
  std::int64_t paths;
};

/// Brownian motion of the same, to (replicates * paths, dates.count).
struct MotionJob {
  Draws draws;
  Dates dates;
  std::int64_t paths;
};

/// Paths that a block of threads walks at a time.
inline constexpr int kPathThreads = 128;

/// Everything is in memory of the device. A block of threads takes blocks of paths, one after the other.
struct Launch {
  std::variant<NumbersJob, MotionJob, AsianJob, BarrierJob, BasketJob, LocalVolJob> job;
  const Block* blocks;
  std::int64_t count;
  int workers, threads;  // blocks of threads, and threads of each
  double* scratch;       // `each` numbers for a worker
  std::int64_t each;
  double* out;  // sums of each block of paths as `Kernels` has them, or numbers
};

/// Numbers that a worker takes: for each thread its path and what it hands on, and the sums of a block.
struct Rooms {
  std::int64_t path, handed, sums;
  std::int64_t each(int threads) const { return (path + handed) * threads + sums; }
};
inline Rooms rooms_of(const NumbersJob&) { return {0, 0, 0}; }
inline Rooms rooms_of(const MotionJob& job) { return {path_room(job.dates), 0, 0}; }
inline Rooms rooms_of(const AsianJob& job) {
  return {path_room(job.dates), 0, std::int64_t{job.count} * (job.greeks ? kGreeks : 1) * kSums * kBundle};
}
inline Rooms rooms_of(const BarrierJob& job) {
  return {path_room(job.dates), 0, std::int64_t{job.count} * kGreeks * kSums * kBundle};
}
inline Rooms rooms_of(const BasketJob& job) {
  const std::int64_t size = BasketSums{job.assets}.size();
  return {std::int64_t{job.assets} * (1 + kBasketRoom), size, size * kBundle};
}
inline Rooms rooms_of(const LocalVolJob& job) {
  const std::int64_t size = LocalVolSums{job.dates.count, job.nodes}.size();
  return {std::int64_t{job.dates.count} * (2 + kLocalVolRoom), size, size};
}

}  // namespace wq::paths
