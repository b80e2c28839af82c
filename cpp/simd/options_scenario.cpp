// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/lanes.h"
#include "warpquant/options/scenario.h"

/// W positions side by side: every node of the grid for a block of them, then the next block.
namespace wq::options::scenario::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes, kPacks = kBlock / W;
using V = Pack<W>;

V number(const double* field, std::int64_t at, std::int64_t left) {
  if (left >= W) return V::load(field + at);
  V some(field[at]);  // the lanes beyond the end repeat a position; their weight is 0
  for (int j = 1; j < left; ++j) some.v[j] = field[at + j];
  return some;
}

double sum_of(V x) {
  double sum = x.v[0];
  for (int j = 1; j < W; ++j) sum += x.v[j];
  return sum;
}

/// Up to `kBlock` positions, and what they share over the grid.
template <Model kModel, bool kAll>
struct Block {
  static constexpr bool kBlack = kModel != Model::bachelier;
  const Grid& grid;
  int packs;
  V field[kFields][kPacks];
  double* spots;  // of each move of the spot; without that of the displacement
  double* logs;   // ln(S / K), in Bachelier's model S - K

  V spot_at(std::int64_t s, int p) const { return V::load(spots + (s * kPacks + p) * W); }
  V log_at(std::int64_t s, int p) const { return V::load(logs + (s * kPacks + p) * W); }

  void fill(const Book& book, std::int64_t from, std::int64_t count) {
    packs = static_cast<int>((count + W - 1) / W);
    for (int p = 0; p < packs; ++p) {
      const std::int64_t left = count - p * W;
      for (int f = 0; f < kFields; ++f) field[f][p] = number(book.field[f], from + p * W, left);
      for (std::int64_t j = left; j < W; ++j) field[kWeight][p].v[j] = 0.0;
      field[kStrike][p] = field[kStrike][p] + field[kShift][p];
      if (kBlack) field[kSign][p] = select(lt(field[kSign][p], V(0.0)), V(-1.0), V(1.0));
      for (std::int64_t s = 0; s < grid.spot.count; ++s) {
        V spot = moved(field[kSpot][p], field[kBeta][p], grid.spot.relative[s], grid.spot.absolute[s]);
        if (kBlack) spot = max(spot + field[kShift][p], V(0.0));
        spot.store(spots + (s * kPacks + p) * W);
        const V log = kBlack ? log_or_far(spot, field[kStrike][p]) : spot - field[kStrike][p];
        log.store(logs + (s * kPacks + p) * W);
      }
    }
  }

  void add_to(double* out) const {
    const std::int64_t nodes = grid.nodes();
    AtTime<V> time[kPacks];
    V v[kPacks], inverse[kPacks];
    for (std::int64_t t = 0; t < grid.times; ++t) {
      for (int p = 0; p < packs; ++p)
        time[p] = AtTime<V>::template of<kModel>(field[kStrike][p], field[kExpiry][p], field[kRate][p],
                                                 field[kDividend][p], grid.years[t]);
      for (std::int64_t k = 0; k < grid.vol.count; ++k) {
        for (int p = 0; p < packs; ++p) {
          const V vol = moved(field[kVol][p], field[kVolBeta][p], grid.vol.relative[k], grid.vol.absolute[k]);
          v[p] = max(vol, V(0.0)) * time[p].root;
          inverse[p] = min(V(1.0) / v[p], V(1e300));  // at the forward 0 * inf would have no value
        }
        double* const row = out + (t * grid.vol.count + k) * grid.spot.count;
        for (std::int64_t s = 0; s < grid.spot.count; ++s) {
          V sum[kSums];
          for (V& x : sum) x = V(0.0);
          for (int p = 0; p < packs; ++p) {
            const V log = log_at(s, p), sign = field[kSign][p];
            Worth<V> worth;
            if constexpr (kBlack)
              worth = black<kAll>(time[p], spot_at(s, p), log, v[p], inverse[p], sign);
            else
              worth = bachelier<kAll>(time[p], log, v[p], inverse[p], sign);
            for (int i = 0; i < (kAll ? kSums : 1); ++i) sum[i] = mul_add(field[kWeight][p], worth.sum[i], sum[i]);
          }
          for (int i = 0; i < (kAll ? kSums : 1); ++i) row[i * nodes + s] += sum_of(sum[i]);
        }
      }
    }
  }
};

template <Model kModel, bool kAll>
void revalue(const Book& book, const Grid& grid, std::int64_t from, std::int64_t to, double* scratch, double* out) {
  Block<kModel, kAll> block{grid, 0, {}, scratch, scratch + grid.spot.count * kBlock};
  for (std::int64_t at = from; at < to; at += kBlock) {
    block.fill(book, at, to - at < kBlock ? to - at : kBlock);
    block.add_to(out);
  }
}

void revalue(const Book& book, const Grid& grid, int sums, std::int64_t from, std::int64_t to, double* scratch,
             double* out) {
  const auto with_model = [&]<Model kModel>() {
    sums == 1 ? revalue<kModel, false>(book, grid, from, to, scratch, out)
              : revalue<kModel, true>(book, grid, from, to, scratch, out);
  };
  switch (book.model) {
  case Model::bsm:
    return with_model.template operator()<Model::bsm>();
  case Model::black76:
    return with_model.template operator()<Model::black76>();
  case Model::bachelier:
    return with_model.template operator()<Model::bachelier>();
  }
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {revalue};

}  // namespace wq::options::scenario::inline WQ_LEVEL
