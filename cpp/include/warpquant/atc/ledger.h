// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "warpquant/atc/ops.h"

/// The memory of streams between bars: rows of one number for each of `kMaxLanes` symbols.
namespace wq::atc::inline WQ_LEVEL {

/// A walk over the rows of a group. Whoever has something to remember hands it in, always in the same order, and the
/// walk does what it was made for.
template <class Shape>
class Ledger {
  static constexpr int W = Shape::kWidth;
  using Real = typename Shape::Real;
  using V = typename Shape::V;
  using M = typename Shape::M;

 public:
  enum class Act : std::uint8_t {
    count,  // rows, and no more
    start,  // write what holds before the first bar
    load,   // read what the next bar needs
    fill,   // read all that rings hold
    store,  // write, in the lanes of `here`
  };

  /// `next_group` comes next, as far as one knows.
  WQ_HD Ledger(Act act, Real* group, const std::int64_t* bars, M here, M rebuilt, const Real* next_group)
      : act_(act), group_(group), next_group_(next_group), bars_(bars), here_(here), rebuilt_(rebuilt) {}

  WQ_HD Act act() const { return act_; }
  WQ_HD std::int64_t rows() const { return row_; }

  WQ_HD void value(V& v) {
    Real* const place = next(1);
    if (act_ == Act::load) v = V::load(place);
    if (act_ == Act::start) v.store(place);
    if (act_ == Act::store) select(here_, v, V::load(place)).store(place);
  }

  /// A structure of nothing but values.
  template <class S>
  WQ_HD void values(S& s) {
    auto* const v = reinterpret_cast<V*>(&s);
    for (std::size_t n = 0; n < sizeof(S) / sizeof(V); ++n) value(v[n]);
  }

  /// The last `size` values of a row: that of bar b in place b % size. `newest` is where the row of the current bar is,
  /// with earlier ones before it; of those only the oldest is read at each bar.
  WQ_HD void ring(Real* newest, std::int64_t size) {
    Real* const places = next(size);
    if (act_ == Act::load || act_ == Act::fill) {
      look(size);
      for (std::int64_t ago = act_ == Act::load ? size : 1; ago <= size; ++ago) at(places, ago).store(newest - ago * W);
    }
    if (act_ == Act::store) {
      look(size);
      put(places, size, V::load(newest), here_);
      if (any(rebuilt_)) put(places, 1, V::load(newest - W), both(here_, rebuilt_));
    }
  }

  /// A ring whose values are asked for one by one, with `at`.
  WQ_HD Real* open_ring(std::int64_t size) {
    look(size);
    return next(size);
  }
  /// From here on `at` and `put` are about rings of a size.
  WQ_HD void look(std::int64_t size) {
    if (size == size_) return;
    size_ = size;
    same_ = true;
    const int first = Shape::begin_column();
    for (int j = first; j < Shape::end_column(); ++j) {
      place_[j] = j > first && bars_[j] == bars_[j - 1] ? place_[j - 1] : bars_[j] % size;
      same_ &= place_[j] == place_[first];
    }
  }
  WQ_HD V at(const Real* places, std::int64_t ago) const {
    if (same_) return V::load(places + place(Shape::begin_column(), ago) * kMaxLanes);
    Real row[W];
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j) row[j] = places[place(j, ago) * kMaxLanes + j];
    return V::load(row);
  }
  WQ_HD void put(Real* places, std::int64_t ago, V v, M lanes) const {
    if (same_) {
      Real* const row = places + place(Shape::begin_column(), ago) * kMaxLanes;
      return select(lanes, v, V::load(row)).store(row);
    }
    Real value[W], taken[W];
    v.store(value);
    select(lanes, V(1.0), V(0.0)).store(taken);
    for (int j = Shape::begin_column(); j < Shape::end_column(); ++j)
      if (taken[j] != 0) places[place(j, ago) * kMaxLanes + j] = value[j];
  }

 private:
  WQ_HD Real* next(std::int64_t rows) {
    Real* const place = group_ + row_ * kMaxLanes;
    if (act_ == Act::load)
      for (std::int64_t r = row_; r < row_ + rows; ++r) Shape::want_soon(next_group_ + r * kMaxLanes);
    row_ += rows;
    return place;
  }
  WQ_HD std::int64_t place(int column, std::int64_t ago) const {
    const std::int64_t back = place_[column] - ago;
    return back < 0 ? back + size_ : back;
  }

  Act act_;
  Real* group_;
  const Real* next_group_;
  const std::int64_t* bars_;  // of each lane, before the current one
  M here_, rebuilt_;
  std::int64_t row_ = 0, size_ = 0, place_[W];
  bool same_ = true;
};

}  // namespace wq::atc::inline WQ_LEVEL
