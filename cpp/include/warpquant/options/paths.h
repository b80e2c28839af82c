// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/core/inverse_normal.h"
#include "warpquant/core/sobol.h"

/// What Monte Carlo hands to kernels: where numbers come from, and the dates of a path.
namespace wq::paths {

enum class Sampling : std::uint8_t { philox, sobol };

/// Eight paths are walked side by side at every instruction level, so that sums have one order.
inline constexpr int kBundle = 8;

/// Numbers of path p, dimension d: a function of these two and of what stands here.
struct Draws {
  Sampling sampling = Sampling::philox;
  Scramble scramble = Scramble::owen;
  PhiloxKeys keys;
  std::uint64_t offset = 0;                   // number of the first path
  const std::uint32_t* directions = nullptr;  // of Sobol points: 32 for each dimension
  const std::uint32_t* random = nullptr;      // two words for each replicate and dimension
  int dims = 0, replicates = 1;
};

/// Dates of a path in parts of the time to expiry, so that one Brownian motion serves options of any expiry.
struct Dates {
  int count = 0;
  const double* times = nullptr;  // ascending, above 0
  const double* root = nullptr;   // sqrt of the time since the date before
  // Brownian bridge: date place[i] is the i-th that is drawn, between two that are known; left -1 is the start.
  bool bridge = false;
  const std::int32_t *place = nullptr, *left = nullptr, *right = nullptr;
  const double *left_weight = nullptr, *right_weight = nullptr, *spread = nullptr;
};

}  // namespace wq::paths

namespace wq::paths::inline WQ_LEVEL {

/// Values of the lanes of a pack, or of one path: the k-th of several, `kBundle` apart, or those of one path as far as
/// `step` says.
template <class V>
struct Column;
template <>
struct Column<double> {
  double* at;
  std::int64_t step = kBundle;
  WQ_HD double operator[](std::int64_t k) const { return at[k * step]; }
  WQ_HD void set(std::int64_t k, double x) const { at[k * step] = x; }
};

/// Uniform numbers within (0, 1) of dimensions 2 * pair and 2 * pair + 1. `first`: the path of the first lane, among
/// those of the replicate; `lanes`: 0, 1, 2, ...
template <class V>
WQ_HD void uniform_pair(const Draws& draws, int replicate, std::uint64_t first, Words<V> lanes, int pair, V& even,
                        V& odd) {
  using U = Words<V>;
  const std::uint64_t path = draws.offset + first;
  if (draws.sampling == Sampling::philox) {
    const U low = U(path & 0xffffffffULL) + lanes;
    const PhiloxBlock<U> counter = {
        {U(static_cast<std::uint64_t>(pair)), U(std::uint64_t{0}), low_half(low), U(path >> 32) + (low >> 32)}};
    const auto block = philox(counter, draws.keys);
    even = as_uniform(bits_of(block.words[0], block.words[1]));
    odd = as_uniform(bits_of(block.words[2], block.words[3]));
    return;
  }
  const auto coordinate = [&](int dim) {
    const std::uint32_t* const random = draws.random + 2 * (static_cast<std::int64_t>(replicate) * draws.dims + dim);
    U digits(std::uint64_t{0});
    sobol_digits(digits, draws.directions + 32 * dim, path);
    return as_uniform(sobol_bits(digits, draws.scramble, random[0], random[1]));
  };
  even = coordinate(2 * pair);
  odd = 2 * pair + 1 < draws.dims ? coordinate(2 * pair + 1) : even;
}

/// Uniform numbers of the first `dims` dimensions.
template <class V>
WQ_HD void uniforms(const Draws& draws, int replicate, std::uint64_t first, Words<V> lanes, int dims, Column<V> u) {
  for (int pair = 0; 2 * pair < dims; ++pair) {
    V even, odd;
    uniform_pair<V>(draws, replicate, first, lanes, pair, even, odd);
    u.set(2 * pair, even);
    if (2 * pair + 1 < dims) u.set(2 * pair + 1, odd);
  }
}

/// Standard normal numbers of the first `dims` dimensions. In two passes: the processor then has several short chains
/// of operations under way, not one that is long.
template <class V>
WQ_HD void normals(const Draws& draws, int replicate, std::uint64_t first, Words<V> lanes, int dims, Column<V> z) {
  uniforms<V>(draws, replicate, first, lanes, dims, z);
  int k = 0;
  for (; k + 1 < dims; k += 2) {
    V two[] = {z[k], z[k + 1]};
    inverse_normals_inside(two);
    z.set(k, two[0]);
    z.set(k + 1, two[1]);
  }
  if (k < dims) {
    V last[] = {z[k]};
    inverse_normals_inside(last);
    z.set(k, last[0]);
  }
}

/// Numbers that a path takes: without a bridge its motion comes to where its normal numbers were.
WQ_HD std::int64_t path_room(const Dates& dates) { return (dates.bridge ? 2 : 1) * std::int64_t{dates.count}; }

/// Brownian motion at the dates, from one normal number for each; in the same place, unless by a bridge.
template <class V>
WQ_HD void brownian(const Dates& dates, Column<V> z, Column<V> path) {
  if (!dates.bridge) {
    V at(0.0);
    for (int k = 0; k < dates.count; ++k) {
      at = at + V(dates.root[k]) * z[k];
      path.set(k, at);
    }
    return;
  }
  for (int i = 0; i < dates.count; ++i) {
    V value = V(dates.spread[i]) * z[i];
    if (dates.left[i] >= 0) value = value + V(dates.left_weight[i]) * path[dates.left[i]];
    if (dates.right[i] >= 0) value = value + V(dates.right_weight[i]) * path[dates.right[i]];
    path.set(dates.place[i], value);
  }
}

/// The normal numbers of single steps, which those of a bridge are not: step(k, number).
template <class V, class Step>
WQ_HD void each_step(const Dates& dates, Column<V> path, Step step) {
  V before(0.0);
  for (int k = 0; k < dates.count; ++k) {
    const V at = path[k];
    step(k, (at - before) * V(1.0 / dates.root[k]));
    before = at;
  }
}

}  // namespace wq::paths::inline WQ_LEVEL
