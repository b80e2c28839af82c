// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernel.cuh"
#include "warpquant/options/path_adjoint.h"
#include "warpquant/options/path_greeks.h"

/// Monte Carlo: a thread walks a path. What paths give is added in the order that the CPU has, so the bits are the
/// same: eight sums side by side, each of every eighth path of a block, or one sum of all.
namespace wq::paths {

/// Where a kernel works.
struct Place {
  const Block* blocks;
  std::int64_t count;
  double* scratch;
  std::int64_t each;
  double* out;

  __device__ double* own() const { return scratch + blockIdx.x * each; }
};

namespace {

/// Adds value(entry, path) of some paths to sums[entry][lane].
template <int kSumLanes, class Value>
__device__ void accumulate(double* sums, std::int64_t entries, int paths, Value value) {
  for (std::int64_t i = threadIdx.x; i < entries * kSumLanes; i += blockDim.x) {
    double total = sums[i];
    for (int p = static_cast<int>(i % kSumLanes); p < paths; p += kSumLanes) total = total + value(i / kSumLanes, p);
    sums[i] = total;
  }
}

__device__ inline void clear(double* numbers, std::int64_t count) {
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) numbers[i] = 0.0;
}

/// y, y^2, c, c^2 and y c.
__device__ inline double moment(int which, double y, double c) {
  return which == 0 ? y : which == 1 ? y * y : which == 2 ? c : which == 3 ? c * c : y * c;
}

/// Call visit(block, number of the block, first path of those at a time, how many) for the blocks of a worker;
/// before(), then after(number) around each.
template <class Before, class Visit, class After>
__device__ void each_block(const Place& place, Before before, Visit visit, After after) {
  const int threads = static_cast<int>(blockDim.x);
  for (std::int64_t number = blockIdx.x; number < place.count; number += gridDim.x) {
    const Block block = place.blocks[number];
    before();
    __syncthreads();
    for (int done = 0; done < block.count; done += threads) {
      const int paths = block.count - done < threads ? block.count - done : threads;
      visit(block, block.first + done, paths);
    }
    after(number);
    __syncthreads();
  }
}

/// Rows of `kCount` results each: shared = per_path(motion), value(row, motion, shared, y, c).
template <int kCount, class Job, class PerPath, class Value>
__device__ void walk(const Job& job, const Place& place, PerPath per_path, Value value) {
  WQ_SHARED(double, given, 2 * kCount * kPathThreads);
  const int t = static_cast<int>(threadIdx.x), dims = job.dates.count;
  double* const own = place.own();
  double* const sums = own + path_room(job.dates) * kPathThreads;
  const Column<double> z{own + t, kPathThreads}, motion{sums - std::int64_t{dims} * kPathThreads + t, kPathThreads};
  constexpr int kEntries = kCount * kSums;
  const std::int64_t all = std::int64_t{job.count} * kEntries;
  each_block(
      place, [&] { clear(sums, all * kBundle); },
      [&](const Block& block, std::int64_t first, int paths) {
        if (t < paths) {
          normals<double>(job.draws, block.replicate, static_cast<std::uint64_t>(first + t), 0, dims, z);
          brownian<double>(job.dates, z, motion);
        }
        decltype(per_path(motion)) shared{};
        if (t < paths) shared = per_path(motion);
        for (int row = 0; row < job.count; ++row) {
          const Row& r = job.rows[row];
          if (t < paths) {
            double y[kGreeks], c[kGreeks];
            value(r, motion, shared, y, c);
            for (int k = 0; k < kCount; ++k) {
              given[2 * k * kPathThreads + t] = y[k] - r.expected[k];
              given[(2 * k + 1) * kPathThreads + t] = c[k] - r.expected[k];
            }
          }
          __syncthreads();
          accumulate<kBundle>(sums + std::int64_t{row} * kEntries * kBundle, kEntries, paths,
                              [&](std::int64_t entry, int p) {
                                const int k = static_cast<int>(entry) / kSums;
                                return moment(static_cast<int>(entry) % kSums, given[2 * k * kPathThreads + p],
                                              given[(2 * k + 1) * kPathThreads + p]);
                              });
          __syncthreads();
        }
      },
      [&](std::int64_t number) {
        for (std::int64_t i = t; i < all; i += kPathThreads) place.out[number * all + i] = reduced(sums + i * kBundle);
      });
}

template <bool kAll>
__global__ void asian_kernel(AsianJob job, Place place) {
  constexpr int kCount = kAll ? kGreeks : 1;
  walk<kCount>(
      job, place, [&](Column<double> motion) { return geometric_motion(job, motion); },
      [&](const Row& r, Column<double> motion, double geometric, double (&y)[kGreeks], double (&c)[kGreeks]) {
        asian<kAll>(job, r, motion, geometric, y, c);
      });
}

__global__ void barrier_kernel(BarrierJob job, Place place) {
  walk<kGreeks>(
      job, place, [&](Column<double> motion) { return Steps<double>::of(job.dates, motion); },
      [&](const Row& r, Column<double> motion, const Steps<double>& steps, double (&y)[kGreeks], double (&c)[kGreeks]) {
        barrier(job, r, motion, steps, y, c);
      });
}

/// One row: what a path gives to each sum goes through memory.
__global__ void basket_kernel(BasketJob job, Place place) {
  const int t = static_cast<int>(threadIdx.x), n = job.assets;
  const std::int64_t threads = blockDim.x;
  const BasketSums at{n};
  const std::int64_t size = job.greeks ? (job.gamma ? at.size() : at.gamma()) : kSums;
  double* const own = place.own();
  const Column<double> z{own + t, threads}, room{own + n * threads + t, threads};
  double* const given = own + n * threads * (1 + kBasketRoom);
  double* const sums = given + at.size() * threads;
  const BasketRow& r = job.rows[0];
  each_block(
      place, [&] { clear(sums, at.size() * std::int64_t{kBundle}); },
      [&](const Block& block, std::int64_t first, int paths) {
        if (t < paths) {
          normals<double>(job.draws, block.replicate, static_cast<std::uint64_t>(first + t), 0, n, z);
          const auto give = [&](std::int64_t k, double value) { given[k * threads + t] = value; };
          double y, c;
          basket(job, r, z, room, 1.0, y, c, give);
          y = y - r.expected;
          c = c - r.expected;
          for (int k = 0; k < kSums; ++k) give(k, moment(k, y, c));
        }
        __syncthreads();
        accumulate<kBundle>(sums, size, paths, [&](std::int64_t entry, int p) { return given[entry * threads + p]; });
        __syncthreads();
      },
      [&](std::int64_t number) {
        for (std::int64_t i = t; i < at.size(); i += threads)
          place.out[number * at.size() + i] = reduced(sums + i * kBundle);
      });
}

__global__ void local_vol_kernel(LocalVolJob job, Place place) {
  const int t = static_cast<int>(threadIdx.x), dims = job.dates.count;
  const std::int64_t threads = blockDim.x;
  const std::int64_t size = LocalVolSums{dims, job.nodes}.size(), used = job.greeks ? size : std::int64_t{kSums};
  double* const own = place.own();
  const Column<double> z{own + t, threads}, motion{own + dims * threads + t, threads},
      room{own + 2 * dims * threads + t, threads};
  double* const given = own + dims * threads * (2 + kLocalVolRoom);
  double* const sums = given + size * threads;
  each_block(
      place, [&] { clear(sums, size); },
      [&](const Block& block, std::int64_t first, int paths) {
        if (t < paths) {
          normals<double>(job.draws, block.replicate, static_cast<std::uint64_t>(first + t), 0, dims, z);
          if (job.dates.bridge) {
            brownian<double>(job.dates, z, motion);
            each_step(job.dates, motion, [&](int k, double number) { z.set(k, number); });
          }
          const auto give = [&](std::int64_t k, double value) { given[k * threads + t] = value; };
          for (std::int64_t k = kSums; k < used; ++k) give(k, 0.0);
          double y, c;
          local_vol(job, z, room, y, c, give);
          y = y - job.expected;
          c = c - job.expected;
          for (int k = 0; k < kSums; ++k) give(k, moment(k, y, c));
        }
        __syncthreads();
        accumulate<1>(sums, used, paths, [&](std::int64_t entry, int p) { return given[entry * threads + p]; });
        __syncthreads();
      },
      [&](std::int64_t number) {
        for (std::int64_t i = t; i < size; i += threads) place.out[number * size + i] = sums[i];
      });
}

/// A thread takes two numbers of a path, which come together.
__global__ void numbers_kernel(NumbersJob job, double* out) {
  const int dims = job.draws.dims;
  const std::int64_t pairs = (dims + 1) / 2, all = job.paths * job.draws.replicates * pairs;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::int64_t row = i / pairs;
    const int pair = static_cast<int>(i % pairs);
    double two[2];
    uniform_pair<double>(job.draws, static_cast<int>(row / job.paths), static_cast<std::uint64_t>(row % job.paths), 0,
                         pair, two[0], two[1]);
    if (job.kind == Numbers::normal) inverse_normals_inside(two);
    out[row * dims + 2 * pair] = two[0];
    if (2 * pair + 1 < dims) out[row * dims + 2 * pair + 1] = two[1];
  }
}

__global__ void motion_kernel(MotionJob job, Place place) {
  const int dims = job.dates.count, t = static_cast<int>(threadIdx.x);
  const std::int64_t threads = blockDim.x;
  const Column<double> z{place.own() + t, threads},
      motion{place.own() + (path_room(job.dates) - dims) * threads + t, threads};
  for (std::int64_t row = blockIdx.x * threads + t; row < job.paths * job.draws.replicates;
       row += gridDim.x * threads) {
    normals<double>(job.draws, static_cast<int>(row / job.paths), static_cast<std::uint64_t>(row % job.paths), 0, dims,
                    z);
    brownian<double>(job.dates, z, motion);
    for (int k = 0; k < dims; ++k) place.out[row * dims + k] = motion[k];
  }
}

}  // namespace

/// Put the work into a stream.
inline Fault launch_on(const Launch& l, cuda::Queue queue) {
  const Place place{l.blocks, l.count, l.scratch, l.each, l.out};
  const dim3 grid(static_cast<unsigned>(l.workers)), threads(static_cast<unsigned>(l.threads));
  const auto put = [&]<class Job>(void (*kernel)(Job, Place), const Job& job) {
    return cuda::launch(kernel, grid, threads, 0, queue, job, place);
  };
  return std::visit(
      [&]<class Job>(const Job& job) {
        if constexpr (std::is_same_v<Job, NumbersJob>)
          return cuda::launch(numbers_kernel, grid, threads, 0, queue, job, l.out);
        else if constexpr (std::is_same_v<Job, MotionJob>)
          return put(motion_kernel, job);
        else if constexpr (std::is_same_v<Job, AsianJob>)
          return put(job.greeks ? asian_kernel<true> : asian_kernel<false>, job);
        else if constexpr (std::is_same_v<Job, BarrierJob>)
          return put(barrier_kernel, job);
        else if constexpr (std::is_same_v<Job, BasketJob>)
          return put(basket_kernel, job);
        else
          return put(local_vol_kernel, job);
      },
      l.job);
}

}  // namespace wq::paths
