// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "warpquant/core/row_tiles.h"
#include "warpquant/options/heston_fourier.h"

namespace wq::options::inline WQ_LEVEL {

/// A struct of numbers, one value of each for all lanes.
template <template <class> class S>
S<Pack<kLanes>> spread(const S<double>& numbers) {
  constexpr int kCount = sizeof numbers / sizeof(double);
  double one[kCount];
  std::memcpy(one, &numbers, sizeof numbers);
  Pack<kLanes> all[kCount];
  for (int k = 0; k < kCount; ++k) all[k] = Pack<kLanes>(one[k]);
  S<Pack<kLanes>> packs;
  std::memcpy(&packs, all, sizeof packs);
  return packs;
}
/// One lane of it.
template <template <class> class S>
S<double> lane_of(const S<Pack<kLanes>>& packs, int j) {
  constexpr int kCount = sizeof packs / sizeof(Pack<kLanes>);
  Pack<kLanes> all[kCount];
  std::memcpy(all, &packs, sizeof packs);
  double one[kCount];
  for (int k = 0; k < kCount; ++k) one[k] = lane(all[k], j);
  S<double> numbers;
  std::memcpy(&numbers, one, sizeof numbers);
  return numbers;
}
template <template <class> class S>
void set_lane_of(S<Pack<kLanes>>& packs, int j, const S<double>& numbers) {
  constexpr int kCount = sizeof packs / sizeof(Pack<kLanes>);
  Pack<kLanes> all[kCount];
  std::memcpy(all, &packs, sizeof packs);
  double one[kCount];
  std::memcpy(one, &numbers, sizeof numbers);
  for (int k = 0; k < kCount; ++k) set_lane(all[k], j, one[k]);
  std::memcpy(&packs, all, sizeof packs);
}

/// A tile of Heston options. Rows of one model, expiry and cell share a rule and M at its nodes; the nodes of a row lie
/// in the lanes, so that what a row is does not depend on which rows are with it.
template <class Method>
void heston_tile(const rows::Tile& tile, bool greeks) {
  using V = Pack<kLanes>;
  using Row = rows::TileRow<0>;
  using Rule = typename Method::template Rule<double>;
  constexpr int kResults = HestonResults::kResults;
  alignas(64) double k[rows::kTile], sums[kResults][rows::kTile], middle[rows::kTile];
  struct Key {
    HestonModel<double> model;
    HestonCell<double> cell;
  } key[rows::kTile];
  // Groups of rows: the first row of each, and after each row the next of its group.
  int first[rows::kTile], next[rows::kTile], last[rows::kTile], groups = 0;
  for (int i = 0; i < tile.rows; i += kLanes) {
    auto valid = eq(V(0.0), V(0.0));
    const auto option = HestonOption<V>::of(Row{tile, i}, valid);
    option.k.store(k + i);
    const auto cell = Method::cell(option.model, option.k);
    for (int j = 0; j < kLanes; ++j) key[i + j] = {lane_of<HestonModel>(option.model, j), lane_of<HestonCell>(cell, j)};
  }
  const auto same = [&](int a, int b) { return std::memcmp(&key[a], &key[b], sizeof(Key)) == 0; };
  for (int i = 0, group = 0; i < tile.rows; ++i) {
    next[i] = -1;
    if (group == groups || !same(first[group], i))
      for (group = 0; group < groups && !same(first[group], i);) ++group;
    if (group == groups) {
      first[groups++] = i;
    } else {
      next[last[group]] = i;
    }
    last[group] = i;
  }
  Rule rules[rows::kTile];
  constexpr int kRulesAtOnce = Method::kPointsInLanes ? 1 : kLanes;
  for (int group = 0; group < groups; group += kRulesAtOnce) {
    const int count = Method::kPointsInLanes || groups - group > kLanes ? kRulesAtOnce : groups - group;
    auto models = spread<HestonModel>(key[first[group]].model);
    auto cells = spread<HestonCell>(key[first[group]].cell);
    for (int j = 1; j < count; ++j) {
      set_lane_of<HestonModel>(models, j, key[first[group + j]].model);
      set_lane_of<HestonCell>(cells, j, key[first[group + j]].cell);
    }
    const auto made = Method::rule(models, cells, Row{tile, 0});
    for (int j = 0; j < count; ++j) rules[group + j] = lane_of<Method::template Rule>(made, j);
  }
  const int numbers = greeks ? Method::kNumbers : Method::kPriceNumbers;
  for (int group = 0; group < groups; ++group) {
    const auto rule = spread<Method::template Rule>(rules[group]);
    const auto shared = spread<HestonModel>(key[first[group]].model);
    const int packs = (static_cast<int>(rules[group].nodes) + kLanes - 1) / kLanes;
    auto* const table = reinterpret_cast<V*>(tile.scratch);
    for (int j = 0; j < packs; ++j)
      Method::node(shared, rule, V(j * kLanes) + lane_numbers<V>(), greeks, table + j * numbers);
    for (int i = first[group]; i >= 0; i = next[i]) {
      typename Method::template Total<V> total(rule, V(k[i]));
      for (int j = 0; j < packs; ++j) total.add(table + j * numbers, greeks);
      V sum[kResults];
      total.write(sum, greeks);
      for (int n = 0; n < (greeks ? kResults : 1); ++n) sums[n][i] = sum_of(sum[n]);
      middle[i] = rules[group].middle;
    }
  }
  for (int i = 0; i < tile.rows; i += kLanes) {
    const Row row{tile, i};
    auto valid = eq(V(0.0), V(0.0));
    const auto option = HestonOption<V>::of(row, valid);
    V sum[kResults];
    for (int n = 0; n < (greeks ? kResults : 1); ++n) sum[n] = V::load(sums[n] + i);
    option.finish(row, valid, V::load(middle + i), sum, greeks);
  }
}

}  // namespace wq::options::inline WQ_LEVEL

namespace wq::rows::inline WQ_LEVEL {

template <class Method>
struct OnTiles<options::Heston<Method>> {
  static void run(const Tile& tile) {
    options::heston_tile<Method>(tile, options::Heston<Method>::wants_greeks(TileRow<0>{tile, 0}));
  }
  static std::int64_t scratch(const double* parameters) {
    return Method::kNumbers * ((Method::most_nodes(parameters) + kWidestPack - 1) / kWidestPack);
  }
};

}  // namespace wq::rows::inline WQ_LEVEL
