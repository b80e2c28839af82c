// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"
#include "warpquant/core/rows.h"

/// An operation on rows is a class with
///
///     static constexpr rows::Info kInfo = {name, inputs, outputs, nanoseconds};
///     template <class V, class Row> WQ_HD static void row(const Row& r);
///
/// where V is the type of its numbers, and r.in<V>(k) is argument k, r.parameter(k) a number of the call, r.wants(k)
/// tells whether result k is wanted, and r.put(k, value) stores it. It may name sets of results that are compiled
/// apart, in which `wants` is known: static constexpr std::uint32_t kSets[] = {...}. It may have two steps besides,
/// begin<V>(r), and finish<V>(r, begun): what is begun has `kNumbers` numbers, and each(f) calls f(k, number) of them.
/// If a row needs work memory, static std::int64_t scratch(const double* parameters) says how many numbers, and
/// r.scratch<V>() is where they are: to be used as a V* is, by `[]` and `+`, but not to be taken for one (`Strided`).
/// If its info says that it has a table, r.table() are all numbers of the call, of which there may be any number, and
/// there are no parameters.
namespace wq::rows::inline WQ_LEVEL {

/// Numbers with others between them, as in the work memory of rows that a device computes side by side.
struct Strided {
  double* data;
  std::int64_t stride;

  WQ_HD double& operator[](std::int64_t i) const { return data[i * stride]; }
  WQ_HD Strided operator+(std::int64_t count) const { return {data + count * stride, stride}; }
};

/// One lane of numbers in work memory.
template <class V>
WQ_HD Strided lane_of(V* numbers, int j) {
  return {reinterpret_cast<double*>(numbers) + j, kWidth<V>};
}
WQ_HD Strided lane_of(Strided numbers, int) { return numbers; }

/// Store the results of rows of which some are not `ordinary`: these are few, and done one by one. limits(j, put) gives
/// the results of lane j, put(k, value).
template <class Row, class V, int count, class M, class Limits>
WQ_HD void put_with_limits(const Row& r, V (&results)[count], M ordinary, Limits limits) {
  if (!all(ordinary))
    for (int j = 0; j < kWidth<V>; ++j)
      if (!lane(ordinary, j)) limits(j, [&](int k, double value) { set_lane(results[k], j, value); });
  for (int k = 0; k < count; ++k) r.put(k, results[k]);
}

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
