// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "warpquant/core/values.h"
#include "warpquant/ma/ema.h"
#include "warpquant/ma/hma.h"
#include "warpquant/ma/kama.h"
#include "warpquant/ma/lsma.h"
#include "warpquant/ma/roc.h"
#include "warpquant/ma/sma.h"
#include "warpquant/ma/variants.h"
#include "warpquant/ma/wma.h"

namespace wq::ma::inline WQ_LEVEL {

/// Bars that a guessed state of a recurrence walks before it is used.
template <class Kind>
std::int64_t guess_bars(const Kind& kind, const Spec& spec) {
  constexpr double kMost = 0x1p40;  // more than any series has
  const std::int64_t block = block_bars(spec.length);
  const auto bars = static_cast<std::int64_t>(kind.memory() < kMost ? kind.memory() : kMost);
  return (bars / block + 1) * block;
}

/// Bars of each piece of a series that is cut into so many at most. `lead`: bars that a guess walks first.
template <class Kind>
WQ_HD std::int64_t piece_bars(const Kind& kind, std::int64_t block, std::int64_t lead, std::int64_t bars,
                              std::int64_t most) {
  const std::int64_t blocks = (bars + block - 1) / block;
  std::int64_t pieces = blocks;
  // A piece shorter than what a guess walks before it costs more than it brings.
  if constexpr (Kind::info.recurrent) pieces = bars / (2 * (lead > kind.warmup() ? lead : kind.warmup() + 1));
  pieces = clamp(pieces, 1, most);
  return (blocks + pieces - 1) / pieces * block;
}

template <class... K>
struct Kinds {
  static constexpr int kCount = sizeof...(K);
  static constexpr Info info[] = {K::info...};

  template <class Kind>
  static constexpr int index_of() {
    int i = 0, found = -1;
    ((found = std::is_same_v<K, Kind> ? i : found, ++i), ...);
    return found;
  }

  /// Call `f` with the kind at `index`, made from `spec`.
  template <class F>
  static void visit(int index, const Spec& spec, F f) {
    int i = 0;
    (void)((i++ == index && (f(K(spec)), true)) || ...);
  }
};

/// The registry: a kind that stands here has its CPU loops, its streams, its Python function, tests and docs.
using AllKinds = Kinds<Sma, Ema, Wma, Hma, Dema, Tema, Kama, Lsma, Rma, Roc>;

/// With those that only ATC asks for, in stages on a device; the first ones are the same.
template <class... K>
Kinds<K..., EarlyDema, PreviousLsma, EarlyKama> with_variants(Kinds<K...>);
using DeviceKinds = decltype(with_variants(AllKinds{}));

}  // namespace wq::ma::inline WQ_LEVEL
