// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/lanes.h"
#include "warpquant/core/row_ops.h"
#include "warpquant/core/twin.h"

/// Operations on tiles of rows, a pack of rows at a time.
namespace wq::rows::inline WQ_LEVEL {

/// W rows of a tile. `kSet`: the results that are wanted, as far as that is known; 0: it is not.
template <std::uint32_t kSet>
struct TileRow {
  const Tile& tile;
  int first;

  template <class V>
  WQ_HD V in(int k) const {
    return V::load(tile.in[k] + first);
  }
  WQ_HD double parameter(int k) const { return tile.parameters[k]; }
  WQ_HD const double* table() const { return tile.table; }
  template <class V>
  WQ_HD V* scratch() const {
    return reinterpret_cast<V*>(tile.scratch);
  }
  WQ_HD bool wants(int k) const { return kSet != 0 ? (kSet >> k & 1) != 0 : tile.out[k] != nullptr; }
  template <class V>
  WQ_HD void put(int k, V value) const {
    if (!wants(k)) return;
    if (tile.past)
      value.stream(tile.out[k] + first);
    else
      value.store(tile.out[k] + first);
  }
};

/// Rows that share work across packs: a specialisation has `static void run(const Tile&)`, which takes the place of
/// `Op::row` on the CPU, and `static std::int64_t scratch(const double* parameters)`. A row's result must not depend on
/// which other rows are in its tile.
template <class Op>
struct OnTiles {};

template <class Op, std::uint32_t kSet>
void tile_kernel(const Tile& tile) {
  using V = Pack<kLanes>;
  int i = 0;
  if constexpr (requires(TileRow<kSet> r) { Op::template begin<V>(r); }) {
    // A processor looks ahead only so far: what waits for divisions is done for all rows, and then what follows; two
    // packs side by side.
    using Pair = Twin<V>;
    using Begun = decltype(Op::template begin<Pair>(TileRow<kSet>{tile, 0}));
    alignas(64) double kept[Begun::kNumbers][kTile];
    const int end = tile.rows - tile.rows % kWidth<Pair>;
    for (; i < end; i += kWidth<Pair>)
      Op::template begin<Pair>(TileRow<kSet>{tile, i}).each([&](int k, const Pair& x) { x.store(kept[k] + i); });
    for (i = 0; i < end; i += kWidth<Pair>) {
      Begun begun;
      begun.each([&](int k, Pair& x) { x = Pair::load(kept[k] + i); });
      Op::template finish<Pair>(TileRow<kSet>{tile, i}, begun);
    }
  }
  for (; i < tile.rows; i += kLanes) Op::template row<V>(TileRow<kSet>{tile, i});
}

template <class Op, int k = 0>
TileKernel kernel_of(std::uint32_t wanted) {
  if constexpr (requires { OnTiles<Op>::run; }) {
    return OnTiles<Op>::run;
  } else {
    if constexpr (requires { Op::kSets; }) {
      if constexpr (k < static_cast<int>(sizeof Op::kSets / sizeof Op::kSets[0])) {
        if (wanted == Op::kSets[k]) return tile_kernel<Op, Op::kSets[k]>;
        return kernel_of<Op, k + 1>(wanted);
      }
    }
    return tile_kernel<Op, 0>;
  }
}

/// The group of the operations of a `List`.
template <class Ops>
constexpr Group group_of() {
  return {Ops::kCount,
          [](int index) {
            Info info{};
            Ops::at(index, [&](auto op) { info = op.kInfo; });
            return info;
          },
          [](int index, std::uint32_t wanted) {
            TileKernel kernel = nullptr;
            Ops::at(index, [&]<class Op>(Op) { kernel = kernel_of<Op>(wanted); });
            return kernel;
          },
          [](int index, const double* parameters) {
            std::int64_t numbers = 0;
            Ops::at(index, [&]<class Op>(Op) {
              if constexpr (requires { Op::scratch(parameters); }) numbers = Op::scratch(parameters);
              if constexpr (requires { OnTiles<Op>::run; }) numbers = OnTiles<Op>::scratch(parameters);
            });
            return numbers;
          }};
}

}  // namespace wq::rows::inline WQ_LEVEL
