// SPDX-License-Identifier: Apache-2.0
#include "warpquant/options/monte_carlo.h"

#include <algorithm>
#include <cmath>

#include "warpquant/core/error.h"
#include "warpquant/core/normal.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/philox.h"
#include "warpquant/core/sobol.h"

WQ_KERNEL_TABLE(paths)

namespace wq::paths {
namespace {

constexpr double kNan = __builtin_nan("");

/// Rows whose sums are kept at a time.
constexpr std::int64_t kRowsAtOnce = 64;

std::int64_t whole_bundles(std::int64_t paths) { return (paths + kBundle - 1) / kBundle * kBundle; }

/// The numbers of a plan, and the memory they refer to.
struct Numbering {
  Draws draws;
  std::vector<std::uint32_t> random;

  Numbering(const Plan& plan, int dims) {
    draws.sampling = plan.sampling;
    draws.scramble = plan.scramble;
    draws.keys = PhiloxKeys(static_cast<std::uint32_t>(plan.seed), static_cast<std::uint32_t>(plan.seed >> 32));
    draws.offset = plan.offset;
    draws.dims = dims;
    draws.replicates = plan.replicates;
    if (plan.sampling != Sampling::sobol) return;
    draws.directions = sobol_directions();
    random.resize(2 * static_cast<std::size_t>(plan.replicates) * static_cast<std::size_t>(dims));
    for (int replicate = 0, i = 0; replicate < plan.replicates; ++replicate)
      for (int dim = 0; dim < dims; ++dim) {
        // The second word of the counter tells these from the numbers of paths.
        const PhiloxBlock<std::uint64_t> counter = {
            {static_cast<std::uint64_t>(dim), 1, static_cast<std::uint64_t>(replicate), 0}};
        const auto block = philox(counter, draws.keys);
        random[static_cast<std::size_t>(i++)] = static_cast<std::uint32_t>(block.words[0]);
        random[static_cast<std::size_t>(i++)] = static_cast<std::uint32_t>(block.words[1]);
      }
    draws.random = random.data();
  }
  Numbering(const Numbering&) = delete;
};

/// Dates with what a path between them takes.
struct Calendar {
  std::vector<double> times, root, left_weight, right_weight, spread;
  std::vector<std::int32_t> place, left, right;
  Dates dates;

  Calendar(const std::vector<double>& t, bool bridge) : times(t) {
    for (std::size_t k = 0; k < t.size(); ++k) root.push_back(std::sqrt(k == 0 ? t[0] : t[k] - t[k - 1]));
    if (bridge) build_bridge();
    dates = {
        static_cast<int>(t.size()), times.data(),        root.data(),  bridge, place.data(), left.data(), right.data(),
        left_weight.data(),         right_weight.data(), spread.data()};
  }
  Calendar(const Calendar&) = delete;

 private:
  /// The last date, then the middle of each gap, wide gaps first.
  void build_bridge() {
    const auto at = [&](int k) { return k < 0 ? 0.0 : times[static_cast<std::size_t>(k)]; };
    const auto put = [&](int k, int l, int r, double lw, double rw, double s) {
      place.push_back(k);
      left.push_back(l);
      right.push_back(r);
      left_weight.push_back(lw);
      right_weight.push_back(rw);
      spread.push_back(s);
    };
    const int last = static_cast<int>(times.size()) - 1;
    put(last, -1, -1, 0.0, 0.0, std::sqrt(at(last)));
    std::vector<std::pair<int, int>> gaps = {{-1, last}};
    for (std::size_t i = 0; i < gaps.size(); ++i) {
      const auto [l, r] = gaps[i];
      if (r - l < 2) continue;
      const int m = l + (r - l) / 2;
      const double all = at(r) - at(l), before = at(m) - at(l), after = at(r) - at(m);
      put(m, l, r, after / all, before / all, std::sqrt(before * after / all));
      gaps.emplace_back(l, m);
      gaps.emplace_back(m, r);
    }
  }
};

/// Blocks of a plan: a function of the number of paths alone. At least 256 where there are paths for them, of up to
/// 2,048 paths, unless that made more than 65,536.
std::vector<Block> blocks_of(const Plan& plan) {
  constexpr std::int64_t kFewest = 256, kMost = 1 << 16, kUsual = 2048;
  const std::int64_t each = plan.paths / plan.replicates;
  const std::int64_t size =
      whole_bundles(std::max(std::min(kUsual, (plan.paths + kFewest - 1) / kFewest), (plan.paths + kMost - 1) / kMost));
  std::vector<Block> blocks;
  for (int r = 0; r < plan.replicates; ++r)
    for (std::int64_t first = 0; first < each; first += size)
      blocks.push_back({r, first, static_cast<int>(std::min(size, each - first))});
  return blocks;
}

/// Calls work(block, scratch) for each block, on threads; `numbers`: the size of the scratch.
template <class Work>
void over_blocks(const std::vector<Block>& blocks, std::int64_t numbers, const Execution& execution, Work work) {
  parallel_for(execution.threads, std::ssize(blocks), [&](std::int64_t b, int) {
    work(b, reinterpret_cast<double*>(thread_scratch(static_cast<std::size_t>(numbers) * sizeof(double))));
  });
}

/// What a kind of job has: how many sums, of how many numbers its paths are, and its kernel.
std::int64_t width_of(const AsianJob& job) { return std::int64_t{job.count} * (job.greeks ? kGreeks : 1) * kSums; }
std::int64_t width_of(const BarrierJob& job) { return std::int64_t{job.count} * kGreeks * kSums; }
std::int64_t width_of(const BasketJob& job) { return BasketSums{job.assets}.size() * job.count; }
std::int64_t width_of(const LocalVolJob& job) { return LocalVolSums{job.dates.count, job.nodes}.size(); }

void run_block(const Kernels& kernels, const AsianJob& job, const Block& block, double* scratch, double* sums) {
  kernels.asian(job, block, scratch, reinterpret_cast<Sums*>(sums));
}
void run_block(const Kernels& kernels, const BarrierJob& job, const Block& block, double* scratch, double* sums) {
  kernels.barrier(job, block, scratch, reinterpret_cast<Sums*>(sums));
}
void run_block(const Kernels& kernels, const BasketJob& job, const Block& block, double* scratch, double* sums) {
  kernels.basket(job, block, scratch, sums);
}
void run_block(const Kernels& kernels, const LocalVolJob& job, const Block& block, double* scratch, double* sums) {
  kernels.local_vol(job, block, scratch, sums);
}

/// Jobs with what they refer to in memory of a device.
class Shipment {
 public:
  explicit Shipment(const Execution& execution)
      : device_(*execution.device), stream_(execution.stream), luggage_(device_, stream_) {}

  const Block* send(const std::vector<Block>& blocks) { return luggage_.send(blocks); }
  NumbersJob send(NumbersJob job) {
    send(job.draws);
    return job;
  }
  MotionJob send(MotionJob job) {
    send(job.draws);
    send(job.dates);
    return job;
  }
  AsianJob send(AsianJob job) {
    send(job.draws);
    send(job.weights, job.dates.count);
    send(job.dates);
    send(job.rows, job.count);
    return job;
  }
  BarrierJob send(BarrierJob job) {
    send(job.draws);
    send(job.dates);
    send(job.rows, job.count);
    return job;
  }
  BasketJob send(BasketJob job) {
    const std::int64_t n = job.assets, triangle = n * (n + 1) / 2;
    BasketRow row = job.rows[0];
    for (const double** values : {&row.spot, &row.weight, &row.vol, &row.drift}) send(*values, n);
    for (const double** values : {&row.factor, &row.inverse_factor}) send(*values, triangle);
    send(job.draws);
    job.rows = &row;
    send(job.rows, 1);
    return job;
  }
  LocalVolJob send(LocalVolJob job) {
    const std::int64_t steps = job.dates.count;
    send(job.draws);
    send(job.dates);
    send(job.places, job.nodes);
    send(job.vols, steps * job.nodes);
    for (const double** values : {&job.steps, &job.roots, &job.weights}) send(*values, steps);
    return job;
  }

  double* numbers(std::int64_t count) {
    return reinterpret_cast<double*>(luggage_.scratch(static_cast<std::size_t>(count) * sizeof(double)));
  }
  void put(const Launch& launch) const {
    device_.check(device_.table->paths(device_.index, launch, stream_), "starting a kernel");
  }
  std::vector<double> fetch(const double* there, std::int64_t count) const { return luggage_.fetch(there, count); }

 private:
  template <class T>
  void send(const T*& values, std::int64_t count) {
    if (values != nullptr) values = luggage_.send(std::vector<T>(values, values + count));
  }
  void send(Draws& draws) {
    send(draws.directions, 32 * std::int64_t{draws.dims});
    send(draws.random, 2 * std::int64_t{draws.replicates} * draws.dims);
  }
  void send(Dates& dates) {
    for (const double** values : {&dates.times, &dates.root}) send(*values, dates.count);
    if (!dates.bridge) return;
    for (const std::int32_t** values : {&dates.place, &dates.left, &dates.right}) send(*values, dates.count);
    for (const double** values : {&dates.left_weight, &dates.right_weight, &dates.spread}) send(*values, dates.count);
  }

  Device device_;
  Handle stream_;
  Luggage luggage_;
};

/// How many blocks of threads work, on how many paths each at a time.
template <class Job>
void share_out(Launch& launch, const Job& job, std::int64_t most_workers) {
  constexpr std::int64_t kOfOne = std::int64_t{1} << 21, kOfAll = std::int64_t{1} << 26;  // numbers of scratch
  const Rooms rooms = rooms_of(job);
  launch.threads = kPathThreads;
  constexpr bool kAnyThreads = std::is_same_v<Job, BasketJob> || std::is_same_v<Job, LocalVolJob>;
  while (kAnyThreads && launch.threads > kBundle && rooms.each(launch.threads) > kOfOne) launch.threads /= 2;
  launch.each = rooms.each(launch.threads);
  launch.workers = static_cast<int>(std::clamp<std::int64_t>(kOfAll / std::max<std::int64_t>(launch.each, 1), 1,
                                                             std::min<std::int64_t>(most_workers, 1 << 12)));
}

/// The sums of each block.
template <class Job>
std::vector<double> sums_of(const Job& job, const std::vector<Block>& blocks, const Execution& execution) {
  const std::int64_t width = width_of(job), count = std::ssize(blocks);
  if (execution.device) {
    Shipment shipment(execution);
    Launch launch{shipment.send(job), shipment.send(blocks), count, 0, 0, nullptr, 0, shipment.numbers(count * width)};
    share_out(launch, job, count);
    launch.scratch = shipment.numbers(launch.workers * launch.each);
    shipment.put(launch);
    return shipment.fetch(launch.out, count * width);
  }
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t scratch = kernels.scratch(job.draws.dims);
  std::vector<double> all(static_cast<std::size_t>(count * width));
  over_blocks(blocks, scratch + width * (1 + kBundle), execution, [&](std::int64_t b, double* memory) {
    run_block(kernels, job, blocks[static_cast<std::size_t>(b)], memory, memory + scratch);
    std::copy_n(memory + scratch, width, all.begin() + b * width);
  });
  return all;
}

/// Numbers straight to memory of a device.
template <class Job>
void fill_on_device(const Job& job, std::int64_t rows, double* out, const Execution& execution) {
  if (rows == 0) return;
  Shipment shipment(execution);
  Launch launch{shipment.send(job), nullptr, 0, 0, 0, nullptr, 0, out};
  share_out(launch, job, (rows + kPathThreads - 1) / kPathThreads);
  launch.scratch = shipment.numbers(launch.workers * launch.each);
  shipment.put(launch);
}

/// A sum that keeps what rounding takes from it (Neumaier 1974).
struct Total {
  double sum = 0.0, lost = 0.0;
  void add(double x) {
    const double next = sum + x;
    lost += std::fabs(sum) >= std::fabs(x) ? (sum - next) + x : (x - next) + sum;
    sum = next;
  }
  double value() const { return sum + lost; }
};

/// Mean and standard error of values with their weights: of batches of paths, or of replicates.
void batch_estimate(const std::vector<double>& means, const std::vector<double>& counts, double& value, double& error) {
  Total sum, n, squares;
  for (std::size_t i = 0; i < means.size(); ++i) {
    sum.add(means[i] * counts[i]);
    n.add(counts[i]);
  }
  value = sum.value() / n.value();
  for (std::size_t i = 0; i < means.size(); ++i) squares.add(counts[i] * (means[i] - value) * (means[i] - value));
  const double batches = static_cast<double>(means.size());
  error = batches > 1 ? std::sqrt(squares.value() / (batches - 1) / n.value()) : kNan;
}

/// From the sums of all blocks (five numbers each, `width` apart) the mean of y and its error, less what the control
/// explains: its factor is the regression of all paths, an estimate whose bias is of the order of 1 / paths.
void controlled_estimate(const Plan& plan, const std::vector<Block>& blocks, const double* sums, std::int64_t width,
                         double expected, double& value, double& error) {
  const double n = static_cast<double>(plan.paths);
  Total t[kSums];
  for (std::size_t b = 0; b < blocks.size(); ++b)
    for (int k = 0; k < kSums; ++k) t[k].add(sums[static_cast<std::int64_t>(b) * width + k]);
  const double y = t[0].value() / n, c = t[2].value() / n;
  const double yy = t[1].value() / n - y * y, cc = t[3].value() / n - c * c, yc = t[4].value() / n - y * c;
  const double factor = cc > 0.0 ? yc / cc : 0.0;
  value = expected + (y - factor * c);
  if (plan.sampling == Sampling::philox) {
    const double rest = std::max(yy - factor * yc, 0.0);
    error = n > 1 ? std::sqrt(rest / (n - 1)) : kNan;
    return;
  }
  std::vector<double> means, counts;
  for (std::size_t b = 0; b < blocks.size();) {
    Total of_y, of_c;
    const int replicate = blocks[b].replicate;
    for (; b < blocks.size() && blocks[b].replicate == replicate; ++b) {
      of_y.add(sums[static_cast<std::int64_t>(b) * width]);
      of_c.add(sums[static_cast<std::int64_t>(b) * width + 2]);
    }
    const double each = n / plan.replicates;
    means.push_back((of_y.value() - factor * of_c.value()) / each);
    counts.push_back(each);
  }
  double mean;
  batch_estimate(means, counts, mean, error);
}

/// Means of a plan's batches: its blocks, or for Sobol points, whose blocks are not independent, its replicates.
/// read(sums of a block) gives the number to be averaged, a sum over its paths.
template <class Read>
void plain_estimate(const Plan& plan, const std::vector<Block>& blocks, Read read, double& value, double& error) {
  std::vector<double> means, counts;
  for (std::size_t b = 0; b < blocks.size();) {
    Total sum;
    double count = 0.0;
    const std::size_t first = b;
    do {
      sum.add(read(static_cast<std::int64_t>(b)));
      count += blocks[b].count;
      ++b;
    } while (plan.sampling == Sampling::sobol && b < blocks.size() && blocks[b].replicate == blocks[first].replicate);
    means.push_back(sum.value() / count);
    counts.push_back(count);
  }
  batch_estimate(means, counts, value, error);
}

/// Black's price and derivatives for an asset whose logarithm at expiry has the mean ln(S) + drift * T * mean_time and
/// the variance vol^2 * T * variance, and moves by `later` when the logarithm at the first date does by 1.
void lognormal_greeks(const Row& r, double mean_time, double variance, double later, double (&out)[kGreeks]) {
  const double s = r.vol * r.root * std::sqrt(variance);
  const double mean = r.drift * r.expiry * mean_time;
  const double forward = r.spot * exp_of(mean + 0.5 * s * s);
  const double d2 = (log_ratio(r.spot, r.strike) + mean) / s, d1 = d2 + s;
  const double unit = r.discount * r.sign;
  const double n1 = normal_cdf(r.sign * d1), n2 = normal_cdf(r.sign * d2);
  const double density = r.discount * forward * normal_density(d1);
  const double by_forward = unit * n1;  // dV / dF
  out[kPrice] = by_forward * forward - unit * n2 * r.strike;
  out[kDelta] = by_forward * forward / r.spot;
  out[kDualDelta] = -unit * n2;
  out[kGamma] = density / (r.spot * r.spot * s);
  out[kVega] = by_forward * forward * (s * s - r.vol * r.vol * r.expiry * mean_time) / r.vol + density * s / r.vol;
  out[kRho] = by_forward * forward * r.expiry * mean_time - r.expiry * out[kPrice];
  out[kEpsilon] = -by_forward * forward * r.expiry * mean_time;
  const double less = r.vol * r.vol * later * later;  // of the variance, a year
  out[kTheta] = r.rate * out[kPrice] - by_forward * forward * (r.drift * later + 0.5 * less) - density * 0.5 * less / s;
}

/// Row `i`; false if it is no option that paths can price.
bool make_row(const Options& o, std::int64_t i, Row& r) {
  r = {};
  r.spot = o.columns[0][i];
  r.strike = o.columns[1][i];
  r.expiry = o.columns[2][i];
  r.rate = o.columns[3][i];
  const double dividend = o.columns[4][i];
  r.vol = o.columns[5][i];
  r.sign = o.columns[6][i] == 0.0 ? -1.0 : o.columns[6][i];
  const double values[] = {r.spot, r.strike, r.expiry, r.rate, dividend, r.vol};
  if (!std::all_of(std::begin(values), std::end(values), [](double x) { return std::isfinite(x); })) return false;
  if (!(r.spot > 0 && r.strike > 0 && r.expiry > 0 && r.vol > 0) || std::fabs(r.sign) != 1.0) return false;
  r.drift = r.rate - dividend - 0.5 * r.vol * r.vol;
  r.root = std::sqrt(r.expiry);
  r.discount = exp_of(-r.rate * r.expiry);
  if (o.barrier != nullptr) {
    const double barrier = o.barrier[i];
    if (!(std::isfinite(barrier) && barrier > 0 && std::isfinite(o.rebate[i]))) return false;
    r.level = log_ratio(barrier, r.spot);
    r.rebate = o.rebate[i];
  }
  return true;
}

/// Rows of options in groups, on the same paths: `prepare` completes a row.
template <class Job, class Prepare>
void by_rows(Job job, const Plan& plan, const Options& o, int greeks, const Estimates& out, const Execution& execution,
             Prepare prepare) {
  const std::vector<Block> blocks = blocks_of(plan);
  for (std::int64_t from = 0; from < o.count; from += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, o.count - from);
    std::vector<Row> rows;
    std::vector<std::int64_t> places;
    for (std::int64_t i = from; i < from + count; ++i) {
      Row r;
      if (make_row(o, i, r)) {
        prepare(r);
        rows.push_back(r);
        places.push_back(i);
      } else {
        for (int k = 0; k < greeks; ++k) out.values[k * o.count + i] = out.errors[k * o.count + i] = kNan;
      }
    }
    if (rows.empty()) continue;
    job.rows = rows.data();
    job.count = static_cast<int>(rows.size());
    const std::int64_t width = width_of(job);
    const auto sums = sums_of(job, blocks, execution);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (int k = 0; k < greeks; ++k) {
        const std::int64_t at = k * o.count + places[i];
        controlled_estimate(plan, blocks, sums.data() + (static_cast<std::int64_t>(i) * greeks + k) * kSums, width,
                            rows[i].expected[k], out.values[at], out.errors[at]);
      }
  }
}

}  // namespace

void numbers(const Plan& plan, Numbers kind, int dims, double* out, const Execution& execution) {
  const Numbering numbering(plan, dims);
  const std::int64_t each = plan.paths / plan.replicates;
  if (execution.device)
    return fill_on_device(NumbersJob{numbering.draws, kind, each}, (plan.paths * dims + 1) / 2, out, execution);
  const Kernels& kernels = kernels_at(execution.level);
  const auto blocks = blocks_of(plan);
  over_blocks(blocks, kernels.scratch(dims), execution, [&](std::int64_t b, double* scratch) {
    const Block& block = blocks[static_cast<std::size_t>(b)];
    kernels.numbers(numbering.draws, kind, block, scratch, out + (block.replicate * each + block.first) * dims);
  });
}

void brownian(const Plan& plan, const std::vector<double>& times, double* out, const Execution& execution) {
  const int dims = static_cast<int>(times.size());
  const Numbering numbering(plan, dims);
  const Calendar calendar(times, plan.bridge);
  const std::int64_t each = plan.paths / plan.replicates;
  if (execution.device)
    return fill_on_device(MotionJob{numbering.draws, calendar.dates, each}, plan.paths, out, execution);
  const Kernels& kernels = kernels_at(execution.level);
  const auto blocks = blocks_of(plan);
  over_blocks(blocks, kernels.scratch(dims), execution, [&](std::int64_t b, double* scratch) {
    const Block& block = blocks[static_cast<std::size_t>(b)];
    kernels.brownian(numbering.draws, calendar.dates, block, scratch,
                     out + (block.replicate * each + block.first) * dims);
  });
}

void inverse_normal(const double* p, std::int64_t count, double* out, const Execution& execution) {
  constexpr std::int64_t kPart = 1 << 14;
  const Kernels& kernels = kernels_at(execution.level);
  parallel_for(execution.threads, (count + kPart - 1) / kPart, [&](std::int64_t part, int) {
    const std::int64_t from = part * kPart;
    kernels.inverse_normal(p + from, std::min(kPart, count - from), out + from);
  });
}

void asian(const Plan& plan, const Averaging& averaging, const Options& options, bool control, bool greeks,
           const Estimates& out, const Execution& execution) {
  const int dims = static_cast<int>(averaging.times.size());
  const Numbering numbering(plan, dims);
  const Calendar calendar(averaging.times, plan.bridge);
  AsianJob job{};
  job.draws = numbering.draws;
  job.dates = calendar.dates;
  job.weights = averaging.weights.data();
  job.start_weight = averaging.start_weight;
  job.control = control;
  job.greeks = greeks;
  Total later, mean_time, variance;  // the covariance of two dates is the earlier one
  for (std::size_t i = averaging.times.size(); i-- > 0;) {
    const double weight = averaging.weights[i], time = averaging.times[i];
    variance.add(weight * time * (weight + 2.0 * later.value()));
    later.add(weight);
    mean_time.add(weight * time);
  }
  job.later_weight = later.value();
  job.mean_time = mean_time.value();
  by_rows(job, plan, options, greeks ? kGreeks : 1, out, execution, [&](Row& r) {
    if (control) lognormal_greeks(r, job.mean_time, variance.value(), job.later_weight, r.expected);
  });
}

void barrier(const Plan& plan, const std::vector<double>& times, Payoff payoff, Barrier barrier, const Options& options,
             bool control, const Estimates& out, const Execution& execution) {
  const int dims = static_cast<int>(times.size());
  const Numbering numbering(plan, dims);
  const Calendar calendar(times, plan.bridge);
  BarrierJob job{};
  job.draws = numbering.draws;
  job.dates = calendar.dates;
  job.payoff = payoff;
  job.barrier = barrier;
  job.control = control;
  by_rows(job, plan, options, kGreeks, out, execution, [&](Row& r) {
    if (control) lognormal_greeks(r, 1.0, 1.0, 1.0, r.expected);
  });
}

namespace {

/// A lower triangle, row by row.
struct Triangle {
  int n;
  std::vector<double> entries;
  explicit Triangle(int size)
      : n(size), entries(static_cast<std::size_t>(size) * (static_cast<std::size_t>(size) + 1) / 2) {}
  double& at(int i, int j) {
    return entries[static_cast<std::size_t>(i) * (static_cast<std::size_t>(i) + 1) / 2 + static_cast<std::size_t>(j)];
  }
  double at(int i, int j) const { return const_cast<Triangle*>(this)->at(i, j); }
};

/// The Cholesky factor; false if the matrix is not positive semi-definite. `full`: it is definite.
bool factorise(const double* matrix, Triangle& factor, bool& full) {
  const int n = factor.n;
  full = true;
  for (int j = 0; j < n; ++j) {
    for (int i = j; i < n; ++i) {
      double rest = matrix[i * n + j];
      for (int k = 0; k < j; ++k) rest -= factor.at(i, k) * factor.at(j, k);
      if (i == j) {
        if (!(rest > -1e-12)) return false;
        full &= rest > 1e-12;
        factor.at(j, j) = rest > 1e-12 ? std::sqrt(rest) : 0.0;
      } else if (factor.at(j, j) > 0.0) {
        factor.at(i, j) = rest / factor.at(j, j);
      } else {
        if (std::fabs(rest) > 1e-6) return false;
        factor.at(i, j) = 0.0;
      }
    }
  }
  return true;
}

Triangle inverse_of(const Triangle& factor) {
  Triangle inverse(factor.n);
  for (int j = 0; j < factor.n; ++j)
    for (int i = j; i < factor.n; ++i) {
      double sum = i == j ? 1.0 : 0.0;
      for (int k = j; k < i; ++k) sum -= factor.at(i, k) * inverse.at(k, j);
      inverse.at(i, j) = sum / factor.at(i, i);
    }
  return inverse;
}

/// From derivatives by the entries of the factor L those by the correlations: the lower half of X + X', where X =
/// L^-T P L^-1 and P is the lower half of L' B with its diagonal halved (S. Smith, Differentiation of the Cholesky
/// algorithm, J. Comput. Graph. Stat. 4 (1995)).
void correlation_adjoint(const Triangle& factor, const Triangle& inverse, const double* by_factor, double* out) {
  const int n = factor.n;
  const auto bar = [&](int i, int j) { return by_factor[i * (i + 1) / 2 + j]; };
  std::vector<double> p(static_cast<std::size_t>(n * n)), q(p.size());
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (int k = i; k < n; ++k) sum += factor.at(k, i) * bar(k, j);
      p[static_cast<std::size_t>(i * n + j)] = i == j ? 0.5 * sum : sum;
    }
  for (int i = 0; i < n; ++i)  // q = L^-T P
    for (int j = 0; j < n; ++j) {
      double sum = 0.0;
      for (int k = std::max(i, j); k < n; ++k) sum += inverse.at(k, i) * p[static_cast<std::size_t>(k * n + j)];
      q[static_cast<std::size_t>(i * n + j)] = sum;
    }
  const auto x = [&](int i, int j) {
    double sum = 0.0;
    for (int k = j; k < n; ++k) sum += q[static_cast<std::size_t>(i * n + k)] * inverse.at(k, j);
    return sum;
  };
  for (int i = 0; i < n; ++i) {
    out[i * n + i] = 0.0;
    for (int j = 0; j < i; ++j) out[i * n + j] = out[j * n + i] = x(i, j) + x(j, i);
  }
}

/// A basket's row and the memory it refers to.
struct BasketMemory {
  std::vector<double> drift;
  Triangle factor, inverse;
  bool full = false;
};

}  // namespace

void basket(const Plan& plan, const Baskets& b, Choice choice, BasketControl control, const BasketEstimates& out,
            const Execution& execution) {
  const int n = b.assets;
  const auto size = static_cast<std::size_t>(n);
  const Numbering numbering(plan, n);
  const auto blocks = blocks_of(plan);
  BasketJob job{};
  job.draws = numbering.draws;
  job.assets = n;
  job.choice = choice;
  job.control = control;
  job.gamma = out.gamma.values != nullptr;
  job.greeks = job.gamma || out.rho.values != nullptr || out.theta.values != nullptr ||
               out.dual_delta.values != nullptr || out.delta.values != nullptr || out.vega.values != nullptr ||
               out.epsilon.values != nullptr || out.correlation.values != nullptr;
  const BasketSums at{n};
  for (std::int64_t row = 0; row < b.count; ++row) {
    const auto put = [&](const Estimates& e, std::int64_t width, std::int64_t k, double value, double error) {
      if (e.values == nullptr) return;
      e.values[row * width + k] = value;
      e.errors[row * width + k] = error;
    };
    const auto fill = [&](const Estimates& e, std::int64_t width) {
      for (std::int64_t k = 0; k < width; ++k) put(e, width, k, kNan, kNan);
    };
    BasketMemory memory{std::vector<double>(size), Triangle(n), Triangle(n)};
    BasketRow r{};
    r.spot = b.spot + row * n;
    r.weight = b.weight + row * n;
    r.vol = b.vol + row * n;
    const double* const dividend = b.dividend + row * n;
    const double* const correlation = b.correlation + row * n * n;
    r.strike = b.strike[row];
    r.expiry = b.expiry[row];
    r.rate = b.rate[row];
    r.sign = b.sign[row] == 0.0 ? -1.0 : b.sign[row];
    bool valid = std::isfinite(r.strike) && std::isfinite(r.rate) && std::isfinite(r.expiry) && r.expiry > 0 &&
                 std::fabs(r.sign) == 1.0;
    double sum = 0.0, linear = 0.0;
    for (int i = 0; i < n; ++i) {
      valid &= std::isfinite(r.spot[i]) && r.spot[i] > 0 && std::isfinite(r.vol[i]) && r.vol[i] > 0 &&
               std::isfinite(r.weight[i]) && std::isfinite(dividend[i]);
      for (int j = 0; j < n; ++j) valid &= std::isfinite(correlation[i * n + j]);
    }
    valid = valid && factorise(correlation, memory.factor, memory.full);
    if (!valid) {
      fill(out.price, 1);
      fill(out.rho, 1);
      fill(out.theta, 1);
      fill(out.dual_delta, 1);
      fill(out.delta, n);
      fill(out.vega, n);
      fill(out.epsilon, n);
      fill(out.gamma, n * n);
      fill(out.correlation, n * n);
      continue;
    }
    r.root = std::sqrt(r.expiry);
    r.discount = exp_of(-r.rate * r.expiry);
    for (int i = 0; i < n; ++i) {
      memory.drift[static_cast<std::size_t>(i)] = (r.rate - dividend[i] - 0.5 * r.vol[i] * r.vol[i]) * r.expiry;
      sum += r.weight[i] * r.spot[i];
      linear += r.weight[i] * r.spot[i] * exp_of(-dividend[i] * r.expiry);
    }
    if (memory.full) memory.inverse = inverse_of(memory.factor);
    r.drift = memory.drift.data();
    r.factor = memory.factor.entries.data();
    r.inverse_factor = memory.inverse.entries.data();
    if (control == BasketControl::linear) r.expected = linear;
    if (control == BasketControl::geometric) {
      r.geometric_shift = log_of(sum);
      r.geometric_scale = 1.0 / sum;
      double mean = 0.0, variance = 0.0;
      for (int i = 0; i < n; ++i) {
        const double share = r.weight[i] * r.spot[i] / sum;
        mean += share * r.drift[i];
        for (int j = 0; j < n; ++j)
          variance += share * (r.weight[j] * r.spot[j] / sum) * r.vol[i] * r.vol[j] * correlation[i * n + j] * r.expiry;
      }
      const double s = std::sqrt(variance), forward = sum * exp_of(mean + 0.5 * variance);
      const double d2 = (log_ratio(sum, r.strike) + mean) / s;
      r.expected = r.discount * r.sign * (forward * normal_cdf(r.sign * (d2 + s)) - r.strike * normal_cdf(r.sign * d2));
    }
    job.rows = &r;
    job.count = 1;
    const std::int64_t width = at.size();
    const auto sums = sums_of(job, blocks, execution);
    double value, error;
    controlled_estimate(plan, blocks, sums.data(), width, r.expected, value, error);
    put(out.price, 1, 0, value, error);
    const auto plain = [&](const Estimates& e, int first, std::int64_t count) {
      if (e.values == nullptr) return;
      for (std::int64_t k = 0; k < count; ++k) {
        plain_estimate(
            plan, blocks, [&](std::int64_t block) { return sums[static_cast<std::size_t>(block * width + first + k)]; },
            value, error);
        put(e, count, k, value, error);
      }
    };
    plain(out.rho, at.rho(), 1);
    plain(out.theta, at.theta(), 1);
    plain(out.dual_delta, at.dual_delta(), 1);
    plain(out.delta, at.delta(), n);
    plain(out.vega, at.vega(), n);
    plain(out.epsilon, at.epsilon(), n);
    if (!memory.full) {
      fill(out.gamma, n * n);
      fill(out.correlation, n * n);
      continue;
    }
    for (int i = 0; i < n && out.gamma.values != nullptr; ++i)
      for (int j = 0; j <= i; ++j) {
        // Both orders of differentiation are estimates of the same number.
        const auto pair = [&](std::int64_t block) {
          const double* const of = sums.data() + block * width + at.gamma();
          return 0.5 * (of[i * n + j] + of[j * n + i]);
        };
        plain_estimate(plan, blocks, pair, value, error);
        put(out.gamma, n * n, i * n + j, value, error);
        put(out.gamma, n * n, j * n + i, value, error);
      }
    if (out.correlation.values == nullptr) continue;
    std::vector<double> pairs(blocks.size() * size * size);
    for (std::size_t k = 0; k < blocks.size(); ++k)
      correlation_adjoint(memory.factor, memory.inverse,
                          sums.data() + static_cast<std::int64_t>(k) * width + at.factor(),
                          pairs.data() + k * size * size);
    for (int k = 0; k < n * n; ++k) {
      plain_estimate(
          plan, blocks,
          [&](std::int64_t block) {
            return pairs[static_cast<std::size_t>(block) * size * size + static_cast<std::size_t>(k)];
          },
          value, error);
      put(out.correlation, n * n, k, value, error);
    }
  }
}

void local_vol(const Plan& plan, const LocalVol& o, bool greeks, double* values, double* errors,
               const Execution& execution) {
  const int steps = static_cast<int>(o.steps.size()), nodes = static_cast<int>(o.spots.size());
  const int rows = static_cast<int>(o.times.size());
  const Numbering numbering(plan, steps);
  const Calendar calendar(o.steps, plan.bridge);
  // The row of vols below the start of each step, and the share of the one above.
  std::vector<int> below(o.steps.size(), 0);
  std::vector<double> share(o.steps.size(), 0.0), lengths, roots;
  std::vector<double> vols(o.steps.size() * o.spots.size());
  for (int k = 0; k < steps; ++k) {
    const auto at = static_cast<std::size_t>(k);
    const double from = (k == 0 ? 0.0 : o.steps[at - 1]) * o.expiry, to = o.steps[at] * o.expiry;
    lengths.push_back(to - from);
    roots.push_back(std::sqrt(to - from));
    while (below[at] + 2 < rows && from >= o.times[static_cast<std::size_t>(below[at]) + 1]) ++below[at];
    const auto row = static_cast<std::size_t>(below[at]);
    if (rows > 1) {
      share[at] = (from - o.times[row]) / (o.times[row + 1] - o.times[row]);
      share[at] = std::clamp(share[at], 0.0, 1.0);
    }
    for (int j = 0; j < nodes; ++j) {
      const double low = o.vols[static_cast<std::size_t>(below[at] * nodes + j)];
      const double high = rows > 1 ? o.vols[static_cast<std::size_t>((below[at] + 1) * nodes + j)] : low;
      vols[static_cast<std::size_t>(k * nodes + j)] = low + share[at] * (high - low);
    }
  }
  LocalVolJob job{};
  job.draws = numbering.draws;
  job.dates = calendar.dates;
  job.nodes = nodes;
  std::vector<double> places;
  for (const double s : o.spots) places.push_back(log_of(s));
  job.places = places.data();
  job.vols = vols.data();
  job.steps = lengths.data();
  job.roots = roots.data();
  job.weights = o.weights.empty() ? nullptr : o.weights.data();
  job.log_spot = log_of(o.spot);
  job.spot = o.spot;
  job.strike = o.strike;
  job.sign = o.sign;
  job.expiry = o.expiry;
  job.rate = o.rate;
  job.dividend = o.dividend;
  job.discount = exp_of(-o.rate * o.expiry);
  job.expected = o.spot * exp_of(-o.dividend * o.expiry);
  job.greeks = greeks;
  const auto blocks = blocks_of(plan);
  const std::int64_t width = LocalVolSums{steps, nodes}.size();
  const auto sums = sums_of(job, blocks, execution);
  controlled_estimate(plan, blocks, sums.data(), width, job.expected, values[0], errors[0]);
  if (!greeks) return;
  const auto sum = [&](std::int64_t block, int k) { return sums[static_cast<std::size_t>(block * width + k)]; };
  for (int k = 0; k < LocalVolSums::kVega - kSums; ++k)
    plain_estimate(
        plan, blocks, [&](std::int64_t block) { return sum(block, kSums + k); }, values[1 + k], errors[1 + k]);
  // Back from the vols of the steps to those of the grid.
  for (int row = 0; row < rows; ++row)
    for (int j = 0; j < nodes; ++j) {
      const auto of_grid = [&](std::int64_t block) {
        double total = 0.0;
        for (int k = 0; k < steps; ++k) {
          const auto at = static_cast<std::size_t>(k);
          const double weight = below[at] == row ? 1.0 - share[at] : below[at] + 1 == row ? share[at] : 0.0;
          if (weight != 0.0) total += weight * sum(block, LocalVolSums::kVega + k * nodes + j);
        }
        return total;
      };
      const int k = LocalVolSums::kVega - kSums + 1 + row * nodes + j;
      plain_estimate(plan, blocks, of_grid, values[k], errors[k]);
    }
}

}  // namespace wq::paths
