// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/word_lanes.h"
#include "warpquant/options/path_adjoint.h"
#include "warpquant/options/path_greeks.h"

/// Blocks of paths, a bundle at a time: each of its eight paths has sums of its own, so that packs of any width add in
/// the same order.
namespace wq::paths::inline WQ_LEVEL {

template <int W>
struct Column<Pack<W>> {
  double* at;
  WQ_HD Pack<W> operator[](int k) const { return Pack<W>::load(at + k * kBundle); }
  WQ_HD void set(int k, Pack<W> x) const { x.store(at + k * kBundle); }
};

namespace {

constexpr int W = kLanes;
using V = Pack<W>;

WQ_HD Words<V> lane_numbers() {
  Words<V> lanes;
  count_lanes(lanes);
  return lanes;
}

/// 1 for the paths of a pack that are among `count`, 0 for the others.
WQ_HD V among(int lane, int count) {
  V mark;
  for (int i = 0; i < W; ++i) mark.v[i] = lane + i < count ? 1.0 : 0.0;
  return mark;
}

/// Call visit(path, count, lane) for each pack of each bundle: its first path, how many of the bundle count, and which
/// lanes of the bundle it has.
template <class Visit>
WQ_HD void each_pack(const Block& block, Visit visit) {
  for (int done = 0; done < block.count; done += kBundle) {
    const int count = block.count - done < kBundle ? block.count - done : kBundle;
    for (int lane = 0; lane < kBundle; lane += W)
      visit(static_cast<std::uint64_t>(block.first + done + lane), done, count, lane);
  }
}

/// Numbers and motions of the eight paths of a bundle, and what a product needs besides.
std::int64_t scratch(int dims) {
  constexpr int kRoom = 1 + kBasketRoom > 2 + kLocalVolRoom ? 1 + kBasketRoom : 2 + kLocalVolRoom;
  return static_cast<std::int64_t>(dims + 1) * kBundle * kRoom;
}

void numbers(const Draws& draws, Numbers kind, const Block& block, double* scratch, double* out) {
  const Words<V> lanes = lane_numbers();
  each_pack(block, [&](std::uint64_t path, int done, int count, int lane) {
    const Column<V> z{scratch + lane};
    if (kind == Numbers::normal) {
      normals<V>(draws, block.replicate, path, lanes, draws.dims, z);
    } else {
      uniforms<V>(draws, block.replicate, path, lanes, draws.dims, z);
    }
    for (int i = lane; i < lane + W && i < count; ++i)
      for (int k = 0; k < draws.dims; ++k)
        out[static_cast<std::int64_t>(done + i) * draws.dims + k] = scratch[k * kBundle + i];
  });
}

void brownian(const Draws& draws, const Dates& dates, const Block& block, double* scratch, double* out) {
  const Words<V> lanes = lane_numbers();
  double* const paths = scratch + (path_room(dates) - dates.count) * kBundle;
  each_pack(block, [&](std::uint64_t path, int done, int count, int lane) {
    const Column<V> z{scratch + lane}, motion{paths + lane};
    normals<V>(draws, block.replicate, path, lanes, draws.dims, z);
    brownian<V>(dates, z, motion);
    for (int i = lane; i < lane + W && i < count; ++i)
      for (int k = 0; k < dates.count; ++k)
        out[static_cast<std::int64_t>(done + i) * dates.count + k] = paths[k * kBundle + i];
  });
}

/// Walks the paths of a block for rows of `kCount` results each: value(row, z, motion, y, c).
template <int kCount, class Job, class PerPath, class Value>
WQ_HD void walk(const Job& job, const Block& block, double* scratch, Sums* sums, PerPath per_path, Value value) {
  const Words<V> lanes = lane_numbers();
  const int dims = job.dates.count;
  double* const paths = scratch + (path_room(job.dates) - dims) * kBundle;
  // Sums of each path of a bundle, of each result of each row.
  double* const tallies = reinterpret_cast<double*>(sums + static_cast<std::int64_t>(job.count) * kCount);
  const std::int64_t all = static_cast<std::int64_t>(job.count) * kCount * kSums * kBundle;
  for (std::int64_t i = 0; i < all; ++i) tallies[i] = 0.0;
  each_pack(block, [&](std::uint64_t path, int, int count, int lane) {
    const Column<V> z{scratch + lane}, motion{paths + lane};
    normals<V>(job.draws, block.replicate, path, lanes, dims, z);
    brownian<V>(job.dates, z, motion);
    const auto shared = per_path(motion);
    const V mark = among(lane, count);
    for (int row = 0; row < job.count; ++row) {
      const Row& r = job.rows[row];
      V y[kGreeks], c[kGreeks];
      value(r, motion, shared, y, c);
      double* at = tallies + static_cast<std::int64_t>(row) * kCount * kSums * kBundle + lane;
      for (int k = 0; k < kCount; ++k, at += kSums * kBundle) {
        Tally<V> t{V::load(at), V::load(at + kBundle), V::load(at + 2 * kBundle), V::load(at + 3 * kBundle),
                   V::load(at + 4 * kBundle)};
        const V expected(r.expected[k]);
        t.add(keep_if(gt(mark, V(0.0)), y[k] - expected), keep_if(gt(mark, V(0.0)), c[k] - expected));
        t.y.store(at);
        t.yy.store(at + kBundle);
        t.c.store(at + 2 * kBundle);
        t.cc.store(at + 3 * kBundle);
        t.yc.store(at + 4 * kBundle);
      }
    }
  });
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(job.count) * kCount; ++i) {
    const double* const at = tallies + i * kSums * kBundle;
    sums[i] = {reduced(at), reduced(at + kBundle), reduced(at + 2 * kBundle), reduced(at + 3 * kBundle),
               reduced(at + 4 * kBundle)};
  }
}

template <bool kAll>
void asian_block(const AsianJob& job, const Block& block, double* scratch, Sums* sums) {
  walk<kAll ? kGreeks : 1>(
      job, block, scratch, sums, [&](Column<V> motion) { return geometric_motion(job, motion); },
      [&](const Row& r, Column<V> motion, V geometric, V(&y)[kGreeks], V(&c)[kGreeks]) {
        asian<kAll>(job, r, motion, geometric, y, c);
      });
}

void asian(const AsianJob& job, const Block& block, double* scratch, Sums* sums) {
  if (job.greeks)
    asian_block<true>(job, block, scratch, sums);
  else
    asian_block<false>(job, block, scratch, sums);
}

void barrier(const BarrierJob& job, const Block& block, double* scratch, Sums* sums) {
  walk<kGreeks>(
      job, block, scratch, sums, [&](Column<V> motion) { return Steps<V>::of(job.dates, motion); },
      [&](const Row& r, Column<V> motion, const Steps<V>& steps, V(&y)[kGreeks], V(&c)[kGreeks]) {
        barrier(job, r, motion, steps, y, c);
      });
}

void basket(const BasketJob& job, const Block& block, double* scratch, double* sums) {
  const Words<V> lanes = lane_numbers();
  const BasketSums at{job.assets};
  const int size = job.greeks ? (job.gamma ? at.size() : at.gamma()) : kSums;
  double* const room = scratch + job.assets * kBundle;
  double* const tallies = sums + static_cast<std::int64_t>(job.count) * at.size();
  const std::int64_t stride = static_cast<std::int64_t>(size) * kBundle;
  for (std::int64_t i = 0; i < job.count * stride; ++i) tallies[i] = 0.0;
  each_pack(block, [&](std::uint64_t path, int, int count, int lane) {
    const Column<V> z{scratch + lane}, own{room + lane};
    normals<V>(job.draws, block.replicate, path, lanes, job.assets, z);
    const V mark = among(lane, count);
    for (int row = 0; row < job.count; ++row) {
      const BasketRow& r = job.rows[row];
      double* const to = tallies + row * stride + lane;
      const auto add = [&](int k, V value) { (V::load(to + k * kBundle) + value).store(to + k * kBundle); };
      V y, c;
      basket(job, r, z, own, mark, y, c, add);
      const V expected = V(r.expected) * mark;
      y = y - expected;
      c = c - expected;
      add(0, y);
      add(1, y * y);
      add(2, c);
      add(3, c * c);
      add(4, y * c);
    }
  });
  for (int row = 0; row < job.count; ++row)
    for (int k = 0; k < at.size(); ++k)
      sums[static_cast<std::int64_t>(row) * at.size() + k] =
          k < size ? reduced(tallies + row * stride + static_cast<std::int64_t>(k) * kBundle) : 0.0;
}

void local_vol(const LocalVolJob& job, const Block& block, double* scratch, double* sums) {
  const Words<V> lanes = lane_numbers();
  const int dims = job.dates.count;
  const LocalVolSums at{dims, job.nodes};
  double* const numbers = scratch;
  double* const moves = scratch + dims * kBundle;
  double* const room = scratch + 2 * dims * kBundle;
  for (int k = 0; k < at.size(); ++k) sums[k] = 0.0;
  const auto add = [&](int k, double value) { sums[k] += value; };
  each_pack(block, [&](std::uint64_t path, int, int count, int lane) {
    const Column<V> z{numbers + lane}, motion{moves + lane};
    normals<V>(job.draws, block.replicate, path, lanes, dims, z);
    if (job.dates.bridge) {
      brownian<V>(job.dates, z, motion);
      each_step(job.dates, motion, [&](int k, V number) { z.set(k, number); });
    }
    for (int i = lane; i < lane + W && i < count; ++i) {
      double y, c;
      local_vol(job, Column<double>{numbers + i}, Column<double>{room, 1}, y, c, add);
      y -= job.expected;
      c -= job.expected;
      add(0, y);
      add(1, y * y);
      add(2, c);
      add(3, c * c);
      add(4, y * c);
    }
  });
}

void inverse_normal(const double* p, std::int64_t count, double* out) {
  std::int64_t i = 0;
  for (; i + W <= count; i += W) inverse_normal_cdf(V::load(p + i)).store(out + i);
  for (; i < count; ++i) out[i] = inverse_normal_cdf(p[i]);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {scratch, numbers, brownian, asian, barrier, basket, local_vol, inverse_normal};

}  // namespace wq::paths::inline WQ_LEVEL
