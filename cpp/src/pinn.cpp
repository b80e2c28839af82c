// SPDX-License-Identifier: Apache-2.0
#include "warpquant/pinn/pinn.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"

WQ_KERNEL_TABLE(pinn)

namespace wq::pinn {
namespace {

/// Models by their numbers.
struct Registry {
  std::mutex mutex;
  std::map<double, const Model*> models;
  double next = 1;
};

Registry& registry() { return immortal<Registry>(); }

std::int64_t blocks(std::int64_t n, int block) { return (n + block - 1) / block * block; }

/// Whether a call is worth waking threads for.
bool wakes_threads(const Model& model, std::int64_t points, int streams) {
  return static_cast<double>(points) * static_cast<double>(model.flops()) * streams > 5e6;
}

/// Call task(from, to) for parts of at most kPoints points.
template <class Task>
void each_tile(const Model& model, std::int64_t points, int streams, const Execution& how, Task task) {
  const std::int64_t tiles = (points + kPoints - 1) / kPoints;
  const int threads = wakes_threads(model, points, streams) ? how.threads : 1;
  parallel_for(threads, tiles,
               [&](std::int64_t tile, int) { task(tile * kPoints, std::min(points, (tile + 1) * kPoints)); });
}

template <class T>
const Net<T>& net_of(const Model& model) {
  if constexpr (std::is_same_v<T, double>)
    return model.view().net;
  else
    return model.view().net_f32;
}

template <class T>
void evaluate_in(const Model& model, Points points, double* y, const Execution& how) {
  const Kernels& kernels = kernels_at(how.level);
  const int inputs = model.inputs();
  each_tile(model, points.count, 1, how, [&](std::int64_t from, std::int64_t to) {
    const auto rows = static_cast<int>(to - from);
    std::vector<T> x(static_cast<std::size_t>(inputs) * kPoints), results(kPoints);
    for (int f = 0; f < inputs; ++f)
      for (int i = 0; i < rows; ++i) x[f * kPoints + i] = static_cast<T>(points.x[(from + i) * inputs + f]);
    if constexpr (std::is_same_v<T, double>)
      kernels.value(net_of<T>(model), x.data(), rows, results.data());
    else
      kernels.value_f32(net_of<T>(model), x.data(), rows, results.data());
    for (int i = 0; i < rows; ++i) y[from + i] = static_cast<double>(results[i]);
  });
}

template <class T>
void differentiate_in(const Model& model, Points points, const double* directions, Streams streams, double* y,
                      const Execution& how) {
  const Kernels& kernels = kernels_at(how.level);
  const int inputs = model.inputs(), count = streams.count();
  each_tile(model, points.count, count, how, [&](std::int64_t from, std::int64_t to) {
    const auto rows = static_cast<int>(to - from);
    std::vector<T> x(static_cast<std::size_t>(inputs) * count * kPoints),
        results(static_cast<std::size_t>(count) * kPoints);
    for (int f = 0; f < inputs; ++f) {
      T* const stream = x.data() + static_cast<std::int64_t>(f) * count * kPoints;
      for (int i = 0; i < rows; ++i) stream[i] = static_cast<T>(points.x[(from + i) * inputs + f]);
      for (int p = 0; p < streams.directions && streams.order > 0; ++p)
        std::fill_n(stream + (1 + p) * kPoints, kPoints, static_cast<T>(directions[p * inputs + f]));
    }
    if constexpr (std::is_same_v<T, double>)
      kernels.jets(net_of<T>(model), streams, x.data(), rows, results.data());
    else
      kernels.jets_f32(net_of<T>(model), streams, x.data(), rows, results.data());
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < rows; ++i) y[j * points.count + from + i] = static_cast<double>(results[j * kPoints + i]);
  });
}

}  // namespace

const Model& model_of(double number) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.models.find(number);
  WQ_EXPECT(found != all.models.end(), InternalError, "model: there is none of that number");
  return *found->second;
}

/// For the kernels of operations on rows.
const View& view_of(double number) { return model_of(number).view(); }

std::int64_t parameters_of(std::span<const int> widths) {
  std::int64_t count = 0;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l)
    count += (static_cast<std::int64_t>(widths[l]) + 1) * widths[l + 1];
  return count;
}

Model::Model(std::vector<int> widths, Activation activation, std::span<const double> parameters,
             std::optional<Surface> surface, bool in_f32)
    : widths_(std::move(widths)), activation_(activation), in_f32_(in_f32) {
  shape(packed_, view_.net);
  if (in_f32_) shape(packed_f32_, view_.net_f32);
  view_.has_surface = surface.has_value();
  if (surface) view_.surface = *surface;
  set_parameters(parameters);
  flops_ = 2 * parameters_of(widths_);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  number_ = all.next++;
  all.models[number_] = this;
}

Model::~Model() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.models.erase(number_);
}

template <class T>
void Model::shape(Packed<T>& packed, Net<T>& net) {
  const auto count = static_cast<int>(widths_.size()) - 1;
  std::int64_t numbers = 0;
  const auto take = [&](std::int64_t n) {
    const std::int64_t at = numbers;
    numbers += n;
    return at;
  };
  std::vector<std::int64_t> at;
  net.widest = static_cast<int>(blocks(*std::max_element(widths_.begin(), widths_.end()), kBlock<T>));
  for (int l = 0; l < count; ++l) {
    const std::int64_t in = widths_[l], out = widths_[l + 1];
    at.push_back(take(blocks(out, kBlock<T>) * in));
    at.push_back(take(blocks(out, kBlock<T>)));
    at.push_back(take(blocks(in, kBlock<T>) * out));
  }
  packed.numbers.assign(static_cast<std::size_t>(numbers + kBlock<T>), T(0));
  // Blocks begin with a line of the cache.
  auto* first = packed.numbers.data();
  while (reinterpret_cast<std::uintptr_t>(first) % 64 != 0) ++first;
  for (int l = 0; l < count; ++l)
    packed.layers.push_back(
        {widths_[l], widths_[l + 1], first + at[3 * l], first + at[3 * l + 1], first + at[3 * l + 2]});
  net.activation = activation_;
  net.layers = count;
  net.layer = packed.layers.data();
}

template <class T>
void Model::fill(Packed<T>& packed, std::span<const double> parameters) {
  constexpr std::int64_t B = kBlock<T>;
  const double* p = parameters.data();
  for (const Layer<T>& layer : packed.layers) {
    auto* const weights = const_cast<T*>(layer.weights);
    auto* const transposed = const_cast<T*>(layer.transposed);
    auto* const bias = const_cast<T*>(layer.bias);
    for (std::int64_t o = 0; o < layer.outputs; ++o)
      for (std::int64_t i = 0; i < layer.inputs; ++i) {
        const T w = static_cast<T>(*p++);
        weights[(o / B * layer.inputs + i) * B + o % B] = w;
        transposed[(i / B * layer.outputs + o) * B + i % B] = w;
      }
    for (std::int64_t o = 0; o < layer.outputs; ++o) bias[o] = static_cast<T>(*p++);
  }
}

void Model::set_parameters(std::span<const double> parameters) {
  WQ_EXPECT(std::ssize(parameters) == parameters_of(widths_), ShapeError,
            "parameters: has " + std::to_string(parameters.size()) + " numbers; the network has " +
                std::to_string(parameters_of(widths_)));
  fill(packed_, parameters);
  if (in_f32_) fill(packed_f32_, parameters);
}

void evaluate(const Model& model, bool in_f32, Points points, double* y, const Execution& how) {
  in_f32 ? evaluate_in<float>(model, points, y, how) : evaluate_in<double>(model, points, y, how);
}

void differentiate(const Model& model, bool in_f32, Points points, const double* directions, Streams streams, double* y,
                   const Execution& how) {
  in_f32 ? differentiate_in<float>(model, points, directions, streams, y, how)
         : differentiate_in<double>(model, points, directions, streams, y, how);
}

double loss(const Model& model, const Collocation<double>& job, double* residuals, double* gradient,
            const Execution& how) {
  // Parts whose sums are added in their order: their number depends on that of the points alone.
  constexpr std::int64_t kPart = 512, kMostParts = 64;
  const std::int64_t part = std::max(kPart, blocks((job.points + kMostParts - 1) / kMostParts, kPoints));
  const std::int64_t parts = (job.points + part - 1) / part;
  const auto numbers = static_cast<std::size_t>(model.flops() / 2);
  std::vector<double> sums(static_cast<std::size_t>(parts)), gradients(gradient == nullptr ? 0 : parts * numbers);
  const Kernels& kernels = kernels_at(how.level);
  const int threads = wakes_threads(model, job.points, 3 * (job.directions + 2)) ? how.threads : 1;
  parallel_for(threads, parts, [&](std::int64_t k, int) {
    sums[k] = kernels.loss(model.view().net, job, k * part, std::min(job.points, (k + 1) * part), residuals,
                           gradient == nullptr ? nullptr : gradients.data() + k * numbers);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  if (gradient != nullptr) {
    std::fill_n(gradient, numbers, 0.0);
    for (std::int64_t k = 0; k < parts; ++k)
      for (std::size_t i = 0; i < numbers; ++i) gradient[i] += gradients[k * numbers + i];
  }
  return total;
}

void jacobian(const Model& model, const Collocation<double>& job, double* residuals, double* rows,
              const Execution& how) {
  const Kernels& kernels = kernels_at(how.level);
  const std::int64_t numbers = model.flops() / 2, n = job.points;
  const int threads = wakes_threads(model, n * kPoints / 4, 3 * (job.directions + 2)) ? how.threads : 1;
  const std::vector<double> ones(static_cast<std::size_t>(n), 1.0);
  std::vector<double> constants(static_cast<std::size_t>(n));
  Collocation<double> part = job;
  part.loss_weights = ones.data();
  constexpr std::int64_t kPart = 32;
  parallel_for(threads, (n + kPart - 1) / kPart, [&](std::int64_t k, int) {
    const std::int64_t from = k * kPart, to = std::min(n, from + kPart);
    kernels.loss(model.view().net, part, from, to, residuals, nullptr);
    // The loss of a residual that is 1/2 has its gradient.
    for (std::int64_t i = from; i < to; ++i) constants[i] = job.constants[i] + (0.5 - residuals[i]);
    Collocation<double> half = part;
    half.constants = constants.data();
    std::fill_n(rows + from * numbers, (to - from) * numbers, 0.0);
    for (std::int64_t i = from; i < to; ++i)
      kernels.loss(model.view().net, half, i, i + 1, nullptr, rows + i * numbers);
  });
}

void price_one(const Model& model, const double (&arguments)[kInputs], bool in_f32, bool extrapolate,
               std::uint32_t wanted, double (&results)[kOutputs], Level level) {
  alignas(64) double in[kInputs][rows::kWidestPack], out[kOutputs][rows::kWidestPack];
  rows::Tile tile{};
  for (int k = 0; k < kInputs; ++k) {
    std::fill_n(in[k], rows::kWidestPack, arguments[k]);
    tile.in[k] = in[k];
  }
  for (int k = 0; k < kOutputs; ++k)
    if (wanted >> k & 1) tile.out[k] = out[k];
  tile.rows = rows::kWidestPack;
  kernels_at(level).prices(model.view(), tile, 1, in_f32, extrapolate);
  for (int k = 0; k < kOutputs; ++k) results[k] = tile.out[k] == nullptr ? __builtin_nan("") : out[k][0];
}

}  // namespace wq::pinn
