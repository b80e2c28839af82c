// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/row_ops.h"
#include "warpquant/surface/slice.h"

/// Surfaces at points of k and time, as functions of rows. The table of a call: the number of slices, their times, and
/// a record for each piece of time, from what is before the first slice to what is after the last.
namespace wq::surface::inline WQ_LEVEL {

/// Which piece of time: 0 before the first slice, as many as there are slices after the last.
WQ_HD int piece_of(const double* table, double time) {
  const int slices = static_cast<int>(table[0]);
  const double* const years = table + 1;
  int from = 0, count = slices;  // slices that are earlier, by halving
  while (count > 0) {
    const int half = count / 2;
    const bool earlier = years[from + half] < time;
    from = earlier ? from + half + 1 : from;
    count = earlier ? count - half - 1 : half;
  }
  return from == 0 && time >= years[0] ? 1 : from;
}

/// Each lane's record, kCount numbers long: as many as a pack has, or several times that.
template <class V, int kCount>
WQ_HD void records(const double* table, V time, V (&values)[kCount]) {
  const int slices = static_cast<int>(table[0]);
  const double* const first = table + 1 + slices;
  if constexpr (kWidth<V> == 1) {
    const double* const record = first + piece_of(table, time) * kCount;
    for (int p = 0; p < kCount; ++p) values[p] = record[p];
  } else {
    // Slices that are earlier are counted for all lanes at once: halving in each would be guessed wrong at every step.
    V counts[4] = {V(0.0), V(0.0), V(0.0), V(0.0)};
    for (int i = 0; i < slices; i += 4)
      for (int c = 0; c < 4 && i + c < slices; ++c)
        counts[c] = add_if(lt(V(table[1 + i + c]), time), counts[c], V(1.0));
    V count = (counts[0] + counts[1]) + (counts[2] + counts[3]);
    count = select(both(eq(count, V(0.0)), ge(time, V(table[1]))), V(1.0), count);
    const double piece = lane(count, 0);
    if (all(eq(count, V(piece)))) {
      // Points of one time, or sorted by it, are mostly in one piece.
      const double* const record = first + static_cast<int>(piece) * kCount;
      for (int p = 0; p < kCount; ++p) values[p] = V(record[p]);
      return;
    }
    alignas(64) double pieces[kWidth<V>];
    count.store(pieces);
    for (int p = 0; p < kCount; p += kWidth<V>) {
      V part[kWidth<V>];
      for (int j = 0; j < kWidth<V>; ++j) part[j] = V::load(first + static_cast<int>(pieces[j]) * kCount + p);
      transpose(part);
      for (int j = 0; j < kWidth<V>; ++j) values[p + j] = part[j];
    }
  }
}

inline constexpr const char* kBetweenInputs = "k years";
inline constexpr const char* kBetweenOutputs = "w vol dw d2w dw_dt g density local_variance";

/// What follows from w, its derivatives and its rise in time.
template <class V, class Row>
WQ_HD void put_curve(const Row& r, V k, V years, const Curve<V>& c, V rise) {
  const V zero(0.0), none(__builtin_nan(""));
  const auto valid = gt(years, zero);
  const auto put = [&](int i, V value) { r.put(i, select(valid, value, none)); };
  put(0, c.w);
  if (r.wants(1)) put(1, sqrt(c.w / years));
  put(2, c.dw);
  put(3, c.d2w);
  put(4, rise);
  if (!r.wants(5) && !r.wants(6) && !r.wants(7)) return;
  const V g = butterfly(k, c);
  put(5, g);
  if (r.wants(6)) put(6, log_density(k, c.w, g));
  put(7, select(both(gt(g, zero), ge(rise, zero)), rise / g, none));
}

template <class Row>
WQ_HD bool wants_slopes(const Row& r) {
  bool more = false;
  for (int i = 2; i < 8; ++i) more |= r.wants(i);
  return more;
}

/// eSSVI: theta, psi and chi are linear in time. Record: time, the three, what they change by in a year; and a number
/// that is not used.
struct EssviBetween {
  static constexpr rows::Info kInfo = {"essvi_surface", kBetweenInputs, kBetweenOutputs, 6, true};
  static constexpr std::uint32_t kSets[] = {1, 2};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0), years = r.template in<V>(1);
    V x[8];
    records(r.table(), years, x);
    const V passed = years - x[0];
    const Ssvi<V> slice{x[1] + passed * x[4], x[2] + passed * x[5], x[3] + passed * x[6]};
    if (!wants_slopes(r)) return put_curve(r, k, years, {slice.at(k), V(0.0), V(0.0)}, V(0.0));
    const auto f = slice.full(k);
    put_curve(r, k, years, f.curve, f.by_theta * x[4] + f.by_psi * x[5] + f.by_chi * x[6]);
  }
};

/// SVI: total variance is linear in time at equal k. Record: time, 1 / (the next one less this), a, b, rho, m, sigma of
/// both; and four that are not used.
struct SviBetween {
  static constexpr rows::Info kInfo = {"svi_surface", kBetweenInputs, kBetweenOutputs, 10, true};
  static constexpr std::uint32_t kSets[] = {1, 2};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0), years = r.template in<V>(1);
    V x[16];
    records(r.table(), years, x);
    const V share = (years - x[0]) * x[1];
    const Svi<V> early{x[2], x[3], x[4], x[5], x[6]}, late{x[7], x[8], x[9], x[10], x[11]};
    const auto mixed = [&](V from, V to) { return from + share * (to - from); };
    if (!wants_slopes(r)) return put_curve(r, k, years, {mixed(early.at(k), late.at(k)), V(0.0), V(0.0)}, V(0.0));
    const Curve<V> a = early.curve(k), b = late.curve(k);
    put_curve(r, k, years, {mixed(a.w, b.w), mixed(a.dw, b.dw), mixed(a.d2w, b.d2w)}, (b.w - a.w) * x[1]);
  }
};

}  // namespace wq::surface::inline WQ_LEVEL
