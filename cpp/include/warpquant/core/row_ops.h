// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/macros.h"
#include "warpquant/core/rows.h"

/// An operation on rows is a class with
///
///     static constexpr rows::Info kInfo = {name, inputs, outputs, nanoseconds};
///     template <class V, class Row> WQ_HD static void row(const Row& r);
///
/// where V is the type of its numbers, and r.in<V>(k) is argument k, r.parameter(k) a number of the call, r.wants(k)
/// tells whether result k is wanted, and r.put(k, value) stores it. It may name sets of results that are compiled
/// apart, in which `wants` is known: static constexpr std::uint32_t kSets[] = {...}. If a row needs work memory,
/// static std::int64_t scratch(const double* parameters) says how many numbers, and r.scratch() is where they are,
/// those of the rows of a pack side by side.
namespace wq::rows::inline WQ_LEVEL {

template <class... Ops>
struct List {
  static constexpr int kCount = sizeof...(Ops);

  /// visit(Op{}) for the operation of a number.
  template <class Visit>
  static void at(int index, Visit visit) {
    int i = 0;
    (void)((i++ == index ? (visit(Ops{}), true) : false) || ...);
  }
};

}  // namespace wq::rows::inline WQ_LEVEL
