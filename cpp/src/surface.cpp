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

}  // namespace

void sabr(const SabrJob& job, std::int64_t smiles, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t longest = longest_of(job.offsets, smiles);
  in_parts(smiles, 8, execution.threads,
           [&](std::int64_t from, std::int64_t to) { kernels.sabr(job, from, to, scratch_of(sabr_scratch(longest))); });
}

void fit(const FitJob& job, std::int64_t smiles, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  const std::int64_t longest = longest_of(job.offsets, smiles);
  in_parts(smiles, 8, execution.threads,
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
