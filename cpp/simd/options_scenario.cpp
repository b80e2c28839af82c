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

/// One number for each move of the spot and position of a block.
struct Table {
  double* numbers;

  V at(std::int64_t s, int p) const { return V::load(numbers + (s * kPacks + p) * W); }
  void put(std::int64_t s, int p, V value) const { value.store(numbers + (s * kPacks + p) * W); }
};

/// Up to `kBlock` positions, and what they share over the grid.
template <Model kModel, bool kAll>
struct Block {
  static constexpr bool kBlack = kModel != Model::bachelier;
  static constexpr int kKept = kAll ? kSums : 1;
  const Grid& grid;
  Table spots, logs;           // S, in displaced models with that; ln(S / K), in Bachelier's model S - K
  Table spots_now, moneyness;  // at a time: S e^(-qT), ln(F / K)
  double* parity;              // at a time, of each move of the spot: what puts are worth more than calls
  int packs = 0;
  V field[kFields][kPacks];

  Block(const Grid& grid, double* scratch) : grid(grid) {
    const std::int64_t size = grid.spot.count * kBlock;
    spots.numbers = scratch;
    logs.numbers = scratch + size;
    spots_now.numbers = scratch + 2 * size;
    moneyness.numbers = scratch + 3 * size;
    parity = scratch + 4 * size;
  }

  void fill(const Book& book, std::int64_t from, std::int64_t count) {
    packs = static_cast<int>((count + W - 1) / W);
    for (int p = 0; p < packs; ++p) {
      const std::int64_t left = count - p * W;
      for (int f = 0; f < kFields; ++f) field[f][p] = number(book.field[f], from + p * W, left);
      for (std::int64_t j = left; j < W; ++j) field[kWeight][p].v[j] = 0.0;
      field[kStrike][p] = field[kStrike][p] + field[kShift][p];
      for (std::int64_t s = 0; s < grid.spot.count; ++s) {
        V spot = moved(field[kSpot][p], field[kBeta][p], grid.spot.relative[s], grid.spot.absolute[s]);
        if (kBlack) spot = max(spot + field[kShift][p], V(0.0));
        spots.put(s, p, spot);
        logs.put(s, p, kBlack ? log_or_far(spot, field[kStrike][p]) : spot - field[kStrike][p]);
      }
    }
  }

  /// What is the same for all volatilities.
  void settle(const AtTime<V> (&time)[kPacks], V& puts_delta) {
    puts_delta = V(0.0);
    for (int p = 0; p < packs; ++p)
      puts_delta = puts_delta - keep_if(is_put(p), field[kWeight][p] * time[p].carry_factor);
    for (std::int64_t s = 0; s < grid.spot.count; ++s) {
      V sum(0.0);
      for (int p = 0; p < packs; ++p) {
        const V spot_now = spots.at(s, p) * time[p].carry_factor;
        spots_now.put(s, p, spot_now);
        moneyness.put(s, p, logs.at(s, p) + time[p].drift);
        sum = sum + keep_if(is_put(p), field[kWeight][p] * (time[p].strike_now - spot_now));
      }
      parity[s] = sum_of(sum);
    }
  }

  auto is_put(int p) const { return lt(field[kSign][p], V(0.0)); }

  void add_to(double* out) {
    const std::int64_t nodes = grid.nodes();
    AtTime<V> time[kPacks];
    V v[kPacks], inverse[kPacks], puts_delta(0.0);
    for (std::int64_t t = 0; t < grid.times; ++t) {
      for (int p = 0; p < packs; ++p)
        time[p] = AtTime<V>::template of<kModel>(field[kStrike][p], field[kExpiry][p], field[kRate][p],
                                                 field[kDividend][p], grid.years[t]);
      if constexpr (kBlack) settle(time, puts_delta);
      for (std::int64_t k = 0; k < grid.vol.count; ++k) {
        for (int p = 0; p < packs; ++p) {
          const V vol = moved(field[kVol][p], field[kVolBeta][p], grid.vol.relative[k], grid.vol.absolute[k]);
          v[p] = max(vol, V(0.0)) * time[p].root;
          inverse[p] = min(V(1.0) / v[p], V(kNoVol));
        }
        double* const row = out + (t * grid.vol.count + k) * grid.spot.count;
        for (std::int64_t s = 0; s < grid.spot.count; ++s) {
          V sum[kSums];
          for (V& x : sum) x = V(0.0);
          for (int p = 0; p < packs; ++p) {
            Worth<V> worth;
            if constexpr (kBlack)
              worth =
                  black_call<kAll>(time[p], spots.at(s, p), spots_now.at(s, p), moneyness.at(s, p), v[p], inverse[p]);
            else
              worth = bachelier<kAll>(time[p], logs.at(s, p), v[p], inverse[p], field[kSign][p]);
            for (int i = 0; i < kKept; ++i) sum[i] = mul_add(field[kWeight][p], worth.sum[i], sum[i]);
          }
          row[s] += sum_of(sum[kValue]) + (kBlack ? parity[s] : 0.0);
          if constexpr (kAll) {
            row[kDelta * nodes + s] += sum_of(sum[kDelta] + puts_delta);
            row[kGamma * nodes + s] += sum_of(sum[kGamma]);
            row[kVega * nodes + s] += sum_of(sum[kVega]);
          }
        }
      }
    }
  }
};

template <Model kModel, bool kAll>
void revalue(const Book& book, const Grid& grid, std::int64_t from, std::int64_t to, double* scratch, double* out) {
  Block<kModel, kAll> block(grid, scratch);
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
