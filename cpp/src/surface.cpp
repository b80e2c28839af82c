// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/surface/fit_calls.h"

WQ_KERNEL_TABLE(surface)

namespace wq::surface {

namespace {

/// Work of `size` items to a task, on threads where there is more than one.
template <class Part>
void in_parts(std::int64_t items, std::int64_t size, int threads, Part part) {
  const std::int64_t tasks = (items + size - 1) / size;
  if (tasks <= 1) return part(0, items);
  parallel_for(threads, tasks, [&](std::int64_t task, int) { part(task * size, std::min((task + 1) * size, items)); });
}

double* scratch_of(std::int64_t numbers) {
  return reinterpret_cast<double*>(thread_scratch(static_cast<std::size_t>(numbers) * sizeof(double)));
}

std::int64_t longest_of(const std::int64_t* offsets, std::int64_t smiles) {
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < smiles; ++i) longest = std::max(longest, offsets[i + 1] - offsets[i]);
  return longest;
}

void fit_on_device(const FitJob& job, const Execution& execution) {
  const Device device = *execution.device;
  const std::int64_t smiles = job.smiles, quotes = job.offsets[smiles];
  const bool later = execution.prepared != nullptr;
  const Handle stream = later ? execution.prepared->home() : execution.stream;
  Luggage own(device, stream);
  Luggage& luggage = later ? execution.prepared->luggage() : own;
  const auto room = [&](std::int64_t bytes) {
    return luggage.scratch(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 8)));
  };
  const auto sent = [&]<class T>(const T* from, std::int64_t count) -> const T* {
    if (from == nullptr) return nullptr;
    auto* const there = reinterpret_cast<T*>(room(count * static_cast<std::int64_t>(sizeof(T))));
    device.send(there, from, static_cast<std::size_t>(count) * sizeof(T), stream);
    return there;
  };
  constexpr auto kNumber = static_cast<std::int64_t>(sizeof(double));
  Launch launch{job, reinterpret_cast<double*>(room(9 * quotes * kNumber))};
  launch.fit.offsets = sent(job.offsets, smiles + 1);
  launch.fit.start = sent(job.start, 2 * smiles);
  const auto put = [device, launch](Handle to) {
    device.check(device.table->surface(device.index, launch, to), "starting a kernel");
  };
  if (later) return execution.prepared->add(put);
  if (execution.resident) return put(stream);
  launch.fit.k = sent(job.k, quotes);
  launch.fit.w = sent(job.w, quotes);
  launch.fit.weight = sent(job.weight, quotes);
  launch.fit.parameters = reinterpret_cast<double*>(room(kSviParameters * smiles * kNumber));
  launch.fit.numbers = reinterpret_cast<double*>(room(kFitNumbers * smiles * kNumber));
  launch.fit.status = reinterpret_cast<std::int8_t*>(room(smiles));
  launch.fit.certificate = reinterpret_cast<std::int8_t*>(room(smiles));
  device.check(device.table->surface(device.index, launch, stream), "starting a kernel");
  const auto fetched = [&](auto* to, const auto* from, std::int64_t count) {
    device.fetch(to, from, static_cast<std::size_t>(count) * sizeof *to, stream);
  };
  fetched(job.parameters, launch.fit.parameters, kSviParameters * smiles);
  fetched(job.numbers, launch.fit.numbers, kFitNumbers * smiles);
  fetched(job.status, launch.fit.status, smiles);
  fetched(job.certificate, launch.fit.certificate, smiles);
}

}  // namespace

void sabr(const SabrJob& job, std::int64_t smiles, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t longest = longest_of(job.offsets, smiles);
  in_parts(smiles, 8, execution.threads,
           [&](std::int64_t from, std::int64_t to) { kernels.sabr(job, from, to, scratch_of(sabr_scratch(longest))); });
}

void fit(const FitJob& job, const Execution& execution) {
  if (job.smiles == 0) return;
  if (execution.device) return fit_on_device(job, execution);
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t longest = longest_of(job.offsets, job.smiles);
  in_parts(job.smiles, 8, execution.threads,
           [&](std::int64_t from, std::int64_t to) { kernels.fit(job, from, to, scratch_of(smile_scratch(longest))); });
}

void certify(const CertifyJob& job, std::int64_t slices, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  in_parts(slices, 64, execution.threads, [&](std::int64_t from, std::int64_t to) { kernels.certify(job, from, to); });
}

void cross(const CrossJob& job, std::int64_t slices, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  in_parts(slices, 32, execution.threads, [&](std::int64_t from, std::int64_t to) { kernels.cross(job, from, to); });
}

void essvi(const EssviJob& job, const Execution& execution) {
  kernels_at(execution.level).essvi(job, scratch_of(essvi_scratch(job.slices)));
}

void ssvi(const SsviJob& job, const Execution& execution) {
  kernels_at(execution.level).ssvi(job, scratch_of(ssvi_scratch(job.quotes.slices)));
}

void update(const StreamJob& job, const Execution& execution) {
  kernels_at(execution.level).stream(job, scratch_of(stream_scratch(job.capacity, job.news)));
}

void heston(const HestonFitJob& job, const Execution& execution) {
  kernels_at(execution.level).heston(job, scratch_of(heston_scratch()));
}

}  // namespace wq::surface
