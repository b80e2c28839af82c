// SPDX-License-Identifier: Apache-2.0
#include "warpquant/optim/optim.h"

#include <algorithm>
#include <array>

#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"
#include "warpquant/optim/norm.h"
#include "warpquant/optim/rules.h"

WQ_KERNEL_TABLE(optim)

namespace wq::optim {
namespace {

/// Elements that are worth waking a thread for; pieces of a task are next to each other.
constexpr std::int64_t kTask = 16 * kPiece;

/// Part of a target, of at most `kTask` elements.
struct Cut {
  std::int32_t target;
  std::int64_t from, length, first_piece;  // the piece counts from the first of all
};

/// The work on all targets, in order, and where each task begins in it: together, small tensors are one.
struct Plan {
  std::vector<Cut> cuts;
  std::vector<std::size_t> tasks;
  std::int64_t pieces = 0;

  explicit Plan(const std::vector<Target>& targets) {
    std::int64_t open = kTask;  // elements of the task at hand
    for (std::size_t t = 0; t < targets.size(); ++t) {
      const std::int64_t count = targets[t].part.count;
      for (std::int64_t from = 0; from < count; from += kTask) {
        const std::int64_t length = std::min(kTask, count - from);
        if (open + length > kTask) {
          tasks.push_back(cuts.size());
          open = 0;
        }
        cuts.push_back({static_cast<std::int32_t>(t), from, length, pieces});
        open += length;
        pieces += pieces_of(length);
      }
    }
  }

  template <class F>
  void each(int threads, F f) const {
    parallel_for(threads, static_cast<std::int64_t>(tasks.size()), [&](std::int64_t task, int) {
      const auto i = static_cast<std::size_t>(task);
      const std::size_t end = i + 1 < tasks.size() ? tasks[i + 1] : cuts.size();
      for (std::size_t c = tasks[i]; c < end; ++c) f(cuts[c]);
    });
  }
};

template <Norm kNorm>
double folded(const std::vector<PieceNorm>& norms) {
  double lanes[kNormLanes] = {};
  for (std::size_t i = 0; i < norms.size(); ++i)
    lanes[i % kNormLanes] = norm_sum<kNorm>(lanes[i % kNormLanes], norms[i].value);
  for (int half = kNormLanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) lanes[j] = norm_sum<kNorm>(lanes[j], lanes[j + half]);
  return lanes[0];
}

/// Norm of all gradients, and whether they are finite.
std::pair<double, bool> norm_of_all(const std::vector<Target>& targets, const Plan& plan, const Demands& demands,
                                    const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  std::vector<PieceNorm> norms(static_cast<std::size_t>(plan.pieces));
  plan.each(execution.threads, [&](const Cut& cut) {
    const Part& part = targets[static_cast<std::size_t>(cut.target)].part;
    const std::int64_t size = size_of(part.grad_type);
    for (std::int64_t i = 0, piece = cut.first_piece; i < cut.length; i += kPiece, ++piece)
      norms[static_cast<std::size_t>(piece)] =
          kernels.norm(demands.norm, demands.order, part.grad_type, part.grad + (cut.from + i) * size,
                       std::min<std::int64_t>(kPiece, cut.length - i));
  });
  double poison = 0.0;
  for (const PieceNorm& n : norms) poison += n.poison;
  const double sum = demands.norm == Norm::largest ? folded<Norm::largest>(norms) : folded<Norm::one>(norms);
  return {norm_of(demands.norm, demands.order, sum) * abs(demands.inverse_scale), poison == 0.0};
}

Gradient gradient_of(const Demands& demands, bool maximize) {
  Gradient g{demands.inverse_scale, 1.0, demands.most, maximize};
  if (demands.known_norm && is_finite(demands.most_norm))
    g.norm_factor = clip_factor(*demands.known_norm, demands.most_norm);
  return g;
}

// ---------------------------------------------------------------- devices

/// Puts launches of a step into a stream.
class Sender {
 public:
  Sender(const std::vector<Target>& targets, const Demands& demands, const DeviceState& state, Device device,
         Handle stream)
      : targets_(targets), demands_(demands), state_(state), device_(device), stream_(stream) {}

  /// Norms of all, and what follows from them.
  void find_norm() const {
    std::int64_t pieces = 0;
    Launch launch = empty(Stage::norms);
    each([](const Target&) { return true; }, launch,
         [&] {
           launch.norms = state_.norms + pieces;
           put(launch);
           pieces += launch.pieces;
         });
    launch = empty(Stage::control);
    launch.norms = state_.norms;
    launch.pieces = pieces;
    put(launch);
  }

  /// One stage of the targets of a group; -1: of all.
  void run(Stage stage, int group, const Settings& settings) const {
    Launch launch = empty(stage);
    launch.settings = settings;
    launch.gradient = gradient_of(demands_, settings.maximize);
    each([&](const Target& t) { return group < 0 || t.group == group; }, launch, [&] { put(launch); });
  }

 private:
  Launch empty(Stage stage) const {
    Launch launch{};
    launch.stage = stage;
    launch.norm = demands_.norm;
    launch.watch = demands_.watch;
    launch.order = demands_.order;
    launch.most_norm = demands_.known_norm ? std::numeric_limits<double>::infinity() : demands_.most_norm;
    launch.gradient = gradient_of(demands_, false);
    launch.control = demands_.need_norm() ? state_.control : nullptr;
    launch.steps = state_.steps;
    return launch;
  }

  template <class Wanted, class Full>
  void each(Wanted wanted, Launch& launch, Full full) const {
    const auto flush = [&] {
      if (launch.items > 0) full();
      launch.items = 0;
      launch.pieces = 0;
    };
    for (const Target& t : targets_) {
      if ((t.part.count == 0 && launch.stage != Stage::advance) || !wanted(t)) continue;
      launch.item[launch.items++] = {t.part, launch.pieces, t.slot};
      launch.pieces += pieces_of(t.part.count);
      if (launch.items == kMostItems) flush();
    }
    flush();
  }

  void put(const Launch& launch) const {
    device_.check(device_.table->optim(device_.index, launch, stream_), "starting a kernel");
  }

  const std::vector<Target>& targets_;
  const Demands& demands_;
  const DeviceState& state_;
  Device device_;
  Handle stream_;
};

/// At once, or whenever the prepared call is run.
template <class Work>
void put_or_prepare(const Execution& execution, Work work) {
  if (execution.prepared != nullptr)
    execution.prepared->add(work);
  else
    work(execution.stream);
}

}  // namespace

std::int64_t DeviceState::numbers(std::int64_t slots, std::int64_t pieces) {
  return static_cast<std::int64_t>(sizeof(Control) / sizeof(double)) + slots + 2 * pieces;
}

DeviceState::DeviceState(std::byte* memory, std::int64_t slots)
    : control(reinterpret_cast<Control*>(memory)), steps(reinterpret_cast<double*>(control + 1)),
      norms(reinterpret_cast<PieceNorm*>(steps + slots)) {}

Outcome step(const std::vector<Target>& targets, const std::vector<Settings>& groups, const Demands& demands,
             double* steps, const DeviceState& state, const Execution& execution) {
  if (execution.device) {
    put_or_prepare(execution, [=, device = *execution.device](Handle stream) {
      const Sender sender(targets, demands, state, device, stream);
      if (demands.need_norm()) sender.find_norm();
      for (std::size_t g = 0; g < groups.size(); ++g) sender.run(Stage::update, static_cast<int>(g), groups[g]);
      sender.run(Stage::advance, -1, {});
    });
    return {};
  }
  const Plan plan(targets);
  Outcome outcome;
  Demands known = demands;
  if (demands.need_norm()) {
    const auto [norm, finite] = norm_of_all(targets, plan, demands, execution);
    outcome.norm = norm;
    outcome.left_out = demands.watch && !finite;
    if (outcome.left_out) return outcome;
    if (!known.known_norm) known.known_norm = norm;
  }
  std::vector<Corrections> of_target;
  of_target.reserve(targets.size());
  for (const Target& t : targets) {
    const double now = ++steps[t.slot];
    const Target* const before = of_target.empty() ? nullptr : &t - 1;
    if (before != nullptr && before->group == t.group && steps[before->slot] == now)
      of_target.push_back(of_target.back());
    else
      of_target.push_back(corrections(groups[static_cast<std::size_t>(t.group)], now));
  }
  std::vector<Gradient> of_group;
  for (const Settings& s : groups) of_group.push_back(gradient_of(known, s.maximize));
  const Kernels& kernels = kernels_at(execution.level);
  plan.each(execution.threads, [&](const Cut& cut) {
    const auto t = static_cast<std::size_t>(cut.target);
    const auto g = static_cast<std::size_t>(targets[t].group);
    kernels.update(groups[g], of_target[t], of_group[g], targets[t].part.cut(cut.from, cut.length));
  });
  return outcome;
}

Outcome clip(const std::vector<Target>& targets, const Demands& demands, const DeviceState& state,
             const Execution& execution) {
  if (execution.device) {
    put_or_prepare(execution, [=, device = *execution.device](Handle stream) {
      const Sender sender(targets, demands, state, device, stream);
      if (demands.need_norm()) sender.find_norm();
      sender.run(Stage::clip, -1, {});
    });
    return {};
  }
  const Plan plan(targets);
  Outcome outcome;
  Demands known = demands;
  if (demands.need_norm()) {
    const auto [norm, finite] = norm_of_all(targets, plan, demands, execution);
    outcome.norm = norm;
    outcome.left_out = demands.watch && !finite;
    if (outcome.left_out) return outcome;
    known.known_norm = norm;
  }
  const Gradient gradient = gradient_of(known, false);
  const Kernels& kernels = kernels_at(execution.level);
  plan.each(execution.threads, [&](const Cut& cut) {
    const Part part = targets[static_cast<std::size_t>(cut.target)].part.cut(cut.from, cut.length);
    kernels.clip(gradient, part.grad_type, const_cast<std::byte*>(part.grad), part.count);
  });
  return outcome;
}

// ---------------------------------------------------------------- dense algebra

namespace {

/// Rows of a matrix that make a task.
std::int64_t rows_of_task(std::int64_t n) { return std::max<std::int64_t>(kTask / std::max<std::int64_t>(n, 1), 1); }

template <class F>
void each_rows(std::int64_t n, int threads, F f) {
  const std::int64_t rows = rows_of_task(n);
  parallel_for(threads, (n + rows - 1) / rows,
               [&](std::int64_t task, int) { f(task * rows, std::min(n, (task + 1) * rows)); });
}

}  // namespace

void product(const double* a, const double* x, double* y, std::int64_t n, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  each_rows(n, execution.threads,
            [&](std::int64_t from, std::int64_t to) { kernels.product(a + from * n, x, y + from, to - from, n); });
}

void rank_two(const RankTwo& change, double* matrix, std::int64_t n, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  each_rows(n, execution.threads,
            [&](std::int64_t from, std::int64_t to) { kernels.rank_two(change, matrix, from, to, n); });
}

double dot(const double* a, const double* b, std::int64_t n, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  if (n <= kTask) return kernels.dot(a, b, n);
  std::vector<double> sums(static_cast<std::size_t>((n + kTask - 1) / kTask));
  parallel_for(execution.threads, static_cast<std::int64_t>(sums.size()), [&](std::int64_t i, int) {
    sums[static_cast<std::size_t>(i)] = kernels.dot(a + i * kTask, b + i * kTask, std::min(kTask, n - i * kTask));
  });
  double sum = 0.0;
  for (const double s : sums) sum += s;
  return sum;
}

void two_loops(const History& history, double scale, const double* g, double* direction, double* alphas, std::int64_t n,
               const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  for (std::int64_t i = 0; i < n; ++i) direction[i] = -g[i];
  for (std::size_t i = history.steps.size(); i-- > 0;) {
    alphas[i] = dot(history.steps[i], direction, n, execution) * history.curvatures[i];
    kernels.add(-alphas[i], history.gradients[i], direction, n);
  }
  for (std::int64_t i = 0; i < n; ++i) direction[i] *= scale;
  for (std::size_t i = 0; i < history.steps.size(); ++i) {
    const double beta = dot(history.gradients[i], direction, n, execution) * history.curvatures[i];
    kernels.add(alphas[i] - beta, history.steps[i], direction, n);
  }
}

}  // namespace wq::optim
