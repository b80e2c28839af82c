// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/sweep.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "warpquant/atc/atc.h"
#include "warpquant/atc/missing.h"
#include "warpquant/core/device.h"
#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/equity/equity.h"

WQ_KERNEL_TABLE(atc::sweep)

namespace wq::atc {
namespace {

using sweep::Batch;
using sweep::Layer;
using sweep::Market;
using sweep::Voter;

/// Memory that one thread may fill with signals and growth factors.
constexpr std::int64_t kStretchBytes = std::int64_t{64} << 20;
/// Layers and sets of a batch: so few that what it works on stays in the second-level cache.
constexpr std::size_t kBatchLayers = 384, kBatchVoters = 512;

template <std::size_t N>
using Key = std::array<std::int64_t, N>;

template <std::size_t N>
struct KeyHash {
  std::size_t operator()(const Key<N>& key) const {
    std::uint64_t h = 0x9e3779b97f4a7c15;
    for (const std::int64_t part : key) {
      h = (h ^ static_cast<std::uint64_t>(part)) * 0xff51afd7ed558ccd;
      h ^= h >> 32;
    }
    return h;
  }
};

/// Numbers distinct keys in the order in which they come.
template <std::size_t N>
class Numbering {
 public:
  std::int32_t operator()(const Key<N>& key) {
    return numbers_.try_emplace(key, static_cast<std::int32_t>(numbers_.size())).first->second;
  }
  std::int32_t size() const { return static_cast<std::int32_t>(numbers_.size()); }

 private:
  std::unordered_map<Key<N>, std::int32_t, KeyHash<N>> numbers_;
};

std::int64_t bits_of(double x) { return std::bit_cast<std::int64_t>(x + 0.0); }

/// What a set has in common with others, by number.
struct Parts {
  std::int32_t context, market, signals[kFamilies];
};

Reach reach_of(const Params& p) {
  Reach reach{p.length[0][0], 1};
  for (const auto& family : p.length)
    for (const std::int64_t n : family) reach = {std::min(reach.shortest, n), std::max(reach.longest, n)};
  return reach;
}

/// Finds what sets have in common.
class Census {
 public:
  Parts operator()(const Params& p) {
    const Reach reach = reach_of(p);
    const Switches& s = p.switches;
    const auto word = [](auto hma, auto dema, auto lsma, auto kama) {
      return static_cast<std::int64_t>(hma) | static_cast<std::int64_t>(dema) << 8 |
             static_cast<std::int64_t>(lsma) << 16 | static_cast<std::int64_t>(kama) << 24;
    };
    Parts parts{};
    const auto rtol = bits_of(p.cross_rtol);
    parts.context = context_({reach.shortest, reach.longest, word(s.hma, s.dema_seed, s.lsma, s.kama_seed), rtol});
    parts.market = market_({bits_of(p.la_per_bar), bits_of(p.de_per_bar), p.cutout});
    for (int f = 0; f < kFamilies; ++f) {
      Key<kLengths + 5> key{f, 0, 0, 0, rtol};
      if (f == kHma) key[3] = word(s.hma, 0, 0, 0);
      if (f == kDema) key[3] = word(0, s.dema_seed, 0, 0);
      if (f == kLsma) key[3] = word(0, 0, s.lsma, 0);
      if (f == kKama) key[3] = word(0, 0, 0, s.kama_seed);
      if (f != kEma && f != kDema) {  // which do without running sums
        key[1] = reach.shortest;
        key[2] = reach.longest;
      }
      std::copy(std::begin(p.length[f]), std::end(p.length[f]), key.begin() + 5);
      parts.signals[f] = signals_(key);
    }
    return parts;
  }

  std::int32_t contexts() const { return context_.size(); }
  std::int32_t markets() const { return market_.size(); }
  std::int32_t signals() const { return signals_.size(); }

 private:
  Numbering<4> context_;
  Numbering<3> market_;
  Numbering<kLengths + 5> signals_;
};

/// What the parts of a sweep cost, as shares of a run with one set: the signals of its six families, its six layers,
/// its vote. Measured with AVX-512 on 100 symbols x 2,000 bars, and on one of 5,000.
struct Costs {
  double signals, layers, vote;
};
constexpr Costs kSymbols{0.9, 0.45, 0.12}, kOneSymbol{0.85, 0.25, 0.05};

/// Sets that share too little are quicker alone. Those of a context stay together.
void divide(std::span<const Variant> variants, const Costs& costs, std::vector<std::int32_t>& alone,
            std::vector<std::int32_t>& together) {
  Census census;
  Numbering<3> layers;
  std::vector<Parts> parts;
  std::vector<double> cost;
  for (const Variant& v : variants) {
    const std::int32_t signals = census.signals();
    parts.push_back(census(v.params));
    const Parts& p = parts.back();
    const std::int32_t before = layers.size();
    for (const std::int32_t s : p.signals) layers({s, p.market, p.context});
    cost.resize(census.contexts());
    cost[p.context] += costs.signals * (census.signals() - signals) / kFamilies +
                       costs.layers * (layers.size() - before) / kFamilies + costs.vote - 1;
  }
  for (std::size_t v = 0; v < variants.size(); ++v)
    (cost[parts[v].context] >= 0 ? alone : together).push_back(static_cast<std::int32_t>(v));
}

/// A pass of the engines, and whose signals it makes: -1 for a family that nobody wants from it.
struct Pass {
  Run run;
  std::int32_t signals[kFamilies];
};

struct OwnedBatch {
  std::vector<std::int32_t> markets;  // of the stretch
  std::vector<Layer> layers;
  std::vector<Voter> voters;
  std::vector<std::int32_t> variants;
};

/// Sets whose signals are in memory at the same time.
struct Stretch {
  std::vector<Pass> passes;
  std::int32_t signals = 0;
  std::vector<Market> markets;  // without their growth factors
  std::vector<double> la_per_bar;
  std::vector<OwnedBatch> batches;
};

/// How some sets of parameters are computed, whatever the prices.
class Plan {
 public:
  Plan(std::span<const Variant> variants, std::span<const std::int32_t> chosen, std::int64_t bars, int lanes,
       int threads)
      : variants_(variants) {
    parts_.reserve(chosen.size());
    for (const std::int32_t v : chosen) parts_.push_back(census_(variants[v].params));
    std::vector<std::int32_t> order(chosen.size());
    std::iota(order.begin(), order.end(), 0);
    const auto rank = [&](std::int32_t i) {
      const Parts& p = parts_[i];
      const Switches& s = variants_[chosen[i]].params.switches;
      return std::tuple(p.context, s.neutral, s.rounding, p.market, std::to_array(p.signals), i);
    };
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return rank(a) < rank(b); });

    const std::int64_t words = words_of(bars) * static_cast<std::int64_t>(sizeof(SignalWords)) * lanes;
    const std::int64_t factors = words_of(bars) * kWordBars * static_cast<std::int64_t>(sizeof(double));
    const std::size_t share = chosen.size() / (4 * static_cast<std::size_t>(threads)) + 1;
    most_voters_ = std::clamp<std::size_t>((share + 7) / 8 * 8, 8, kBatchVoters);
    std::int64_t bytes = kStretchBytes + 1;
    for (const std::int32_t i : order) {
      if (bytes > kStretchBytes) {
        open_stretch();
        bytes = 0;
      }
      const std::int32_t signals = stretches_.back().signals;
      const auto markets = std::ssize(stretches_.back().markets);
      add(chosen[i], parts_[i]);
      bytes += (stretches_.back().signals - signals) * words;
      bytes += (std::ssize(stretches_.back().markets) - markets) * factors;
    }
    finish_stretch();
  }

  std::span<const Stretch> stretches() const { return stretches_; }

 private:
  void open_stretch() {
    if (!stretches_.empty()) finish_stretch();
    stretches_.emplace_back();
    signal_places_.assign(census_.signals(), -1);
    market_places_.assign(census_.markets(), -1);
    needs_.clear();
    context_now_ = -1;
    open_batch();
  }

  /// Layers in an order in which neighbours share a market, or groups of neighbours the same markets: what a bar does
  /// to equities is then there already.
  static void arrange(OwnedBatch& batch) {
    const auto layers = std::ssize(batch.layers);
    const bool few = layers < 2 * kMaxLanes * std::ssize(batch.markets);
    std::vector<std::int32_t> order(layers), place(layers);
    std::iota(order.begin(), order.end(), 0);
    const auto rank = [&](std::int32_t i) {
      const Layer& l = batch.layers[i];
      return std::tuple(few ? l.market / kMaxLanes : l.market, l.signals, l.market);
    };
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return rank(a) < rank(b); });
    std::vector<Layer> sorted;
    for (const std::int32_t i : order) {
      place[i] = static_cast<std::int32_t>(sorted.size());
      sorted.push_back(batch.layers[i]);
    }
    batch.layers = std::move(sorted);
    for (Voter& voter : batch.voters)
      for (std::int32_t& layer : voter.layer) layer = place[layer];
  }

  void open_batch() {
    stretches_.back().batches.emplace_back();
    batch_markets_.clear();
    batch_layers_.clear();
  }

  /// Voters of one batch agree in what the kernel asks of a whole register where they can, so sets come sorted.
  void add(std::int32_t variant, const Parts& parts) {
    Stretch& stretch = stretches_.back();
    const Params& p = variants_[variant].params;
    if (parts.context != context_now_) {
      finish_context();
      context_now_ = parts.context;
      context_params_ = &p;
    }
    if (market_places_[parts.market] < 0) {
      market_places_[parts.market] = static_cast<std::int32_t>(stretch.markets.size());
      stretch.markets.push_back({nullptr, 1 - p.de_per_bar, p.cutout});
      stretch.la_per_bar.push_back(p.la_per_bar);
    }
    for (int f = 0; f < kFamilies; ++f) {
      std::int32_t& place = signal_places_[parts.signals[f]];
      if (place >= 0) continue;
      place = stretch.signals++;
      needs_.push_back({f, place, p.length[f]});
    }

    if (const OwnedBatch& last = stretch.batches.back();
        last.voters.size() >= most_voters_ || last.layers.size() + kFamilies > kBatchLayers)
      open_batch();
    OwnedBatch& batch = stretch.batches.back();
    const auto place_of = [](auto& places, auto key, auto& list, auto value) {
      const auto [it, is_new] = places.try_emplace(key, static_cast<std::int32_t>(list.size()));
      if (is_new) list.push_back(value);
      return it->second;
    };
    Voter voter{};
    voter.market = place_of(batch_markets_, parts.market, batch.markets, market_places_[parts.market]);
    for (int f = 0; f < kFamilies; ++f) {
      const std::int32_t signals = signal_places_[parts.signals[f]];
      const auto key = std::int64_t{signals} << 32 | voter.market;
      voter.layer[f] = place_of(batch_layers_, key, batch.layers, Layer{signals, voter.market});
      voter.weight[f] = p.weight[f];
    }
    voter.strategy_mode = p.strategy_mode;
    voter.rounding = p.switches.rounding;
    voter.neutral = p.switches.neutral;
    voter.average_fill =
        p.switches.average_fill == Switches::AverageFill::nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    voter.long_threshold = p.long_threshold;
    voter.short_threshold = p.short_threshold;
    voter.cuts = variants_[variant].cuts;
    batch.voters.push_back(voter);
    batch.variants.push_back(variant);
  }

  void finish_stretch() {
    finish_context();
    for (OwnedBatch& batch : stretches_.back().batches) arrange(batch);
  }

  /// Passes for what the sets of a context need: families that can share an engine are in the same pass.
  void finish_context() {
    std::vector<Pass>& passes = stretches_.back().passes;
    const auto first = passes.size();
    const auto put = [&](std::initializer_list<int> families) {
      std::map<std::array<std::int64_t, kLengths>, std::size_t> rows;
      for (const Need& need : needs_) {
        if (std::find(families.begin(), families.end(), need.family) == families.end()) continue;
        std::array<std::int64_t, kLengths> lengths;
        std::copy(need.lengths, need.lengths + kLengths, lengths.begin());
        const std::size_t row = rows.try_emplace(lengths, first + rows.size()).first->second;
        if (row == passes.size()) passes.push_back(empty_pass());
        Pass& pass = passes[row];
        pass.signals[need.family] = need.place;
        pass.run.skips[need.family] = false;
        std::copy(lengths.begin(), lengths.end(), pass.run.params.length[need.family]);
      }
    };
    put({kHma, kWma, kLsma});
    put({kEma, kDema});
    put({kKama});
    needs_.clear();
  }

  Pass empty_pass() const {
    Pass pass{};
    pass.run.params = *context_params_;
    pass.run.reach = reach_of(*context_params_);
    std::fill(std::begin(pass.run.skips), std::end(pass.run.skips), true);
    std::fill(std::begin(pass.signals), std::end(pass.signals), -1);
    return pass;
  }

  struct Need {
    int family;
    std::int32_t place;
    const std::int64_t* lengths;
  };

  std::span<const Variant> variants_;
  std::vector<Parts> parts_;
  Census census_;
  std::size_t most_voters_;
  std::vector<Stretch> stretches_;

  // Of the stretch under way: places of signals and markets by their numbers, what its last context still needs.
  std::vector<std::int32_t> signal_places_, market_places_;
  std::vector<Need> needs_;
  std::int32_t context_now_ = -1;
  const Params* context_params_ = nullptr;
  // Of the batch under way.
  std::unordered_map<std::int32_t, std::int32_t> batch_markets_;
  std::unordered_map<std::int64_t, std::int32_t> batch_layers_;
};

/// Prices of one symbol as the kernels take them.
struct Subject {
  std::int64_t item;
  Series close, src;
  DType close_type, src_type;
  std::vector<double> present_close, present_src;
  std::vector<std::int64_t> present;  // if missing bars are no bars: where the others are
};

class SweepComputation {
 public:
  SweepComputation(const Request& request, std::span<const Variant> variants, std::span<const Item> items,
                   std::span<const Sink> sinks, const Execution& execution)
      : request_(request), variants_(variants), items_(items), sinks_(sinks), execution_(execution),
        kernels_(sweep::kernels_at(execution.level)) {
    std::copy(request.wants.begin(), request.wants.end(), outputs_.wants);
    outputs_.last_only = request.last_only;
    outputs_.type = request.out_type;
    for (int o = 0; o < kOutputs; ++o)
      if (request.wants[o]) types_.push_back(is_class(o) ? DType::i8 : request.out_type);
  }

  void run() {
    std::vector<std::int32_t> every(variants_.size());
    std::iota(every.begin(), every.end(), 0);
    if (execution_.resident) return run_resident();
    if (execution_.device) return run_on_device() ? void() : one_by_one(every);
    std::vector<std::int32_t> alone, together;
    const bool one_symbol = 2 * std::ssize(items_) <= kernels_.lanes;
    divide(variants_, one_symbol ? kOneSymbol : kSymbols, alone, together);
    one_by_one(alone);
    if (together.empty()) return;
    std::vector<char> whole(items_.size());
    parallel_for(execution_.threads, std::ssize(items_), [&](std::int64_t i, int) {
      whole[i] = all_present(items_[i].close, request_.close_type) &&
                 (!request_.separate_src || all_present(items_[i].src, request_.src_type));
    });
    std::vector<std::int64_t> clean, holes;
    for (const std::int64_t i :
         longest_first(std::ssize(items_), [&](std::int64_t i) { return items_[i].close.bars; })) {
      if (items_[i].close.bars == 0)
        for (const std::int32_t v : together) leave_empty(v, i);
      else
        (whole[i] ? clean : holes).push_back(i);
    }
    for (const std::int64_t i : holes) refuse(i);

    std::vector<std::int32_t> propagating, skipping;
    for (const std::int32_t v : together)
      (variants_[v].nan == NanPolicy::propagate ? propagating : skipping).push_back(v);
    const auto whole_subject = [&](std::int64_t i) {
      return Subject{i, items_[i].close, items_[i].src, request_.close_type, request_.src_type, {}, {}, {}};
    };
    compute(together, clean, false, whole_subject);
    if (holes.empty()) return;
    compute(propagating, holes, true, whole_subject);
    compute(skipping, holes, false, [&](std::int64_t i) { return without_holes(i); });
  }

 private:
  std::span<const Sink> sinks_of(std::int64_t variant, std::size_t wanted) const {
    return sinks_.subspan((variant * types_.size() + wanted) * items_.size(), items_.size());
  }

  /// Each set by itself.
  void one_by_one(const std::vector<std::int32_t>& sets) const {
    std::vector<Item> items(items_.begin(), items_.end());
    for (const std::int32_t v : sets) run_alone(v, items);
  }

  /// Of prices on the device.
  void run_resident() const {
    std::vector<Item> items(items_.begin(), items_.end());
    run_sharing(items, execution_, [](const Sink& sink, DType) { return sink; }, [](std::int64_t) {});
  }

  /// Sets on a device. Those whose signals are the same follow each other, and these are made once if there is room.
  template <class F, class After>
  void run_sharing(std::vector<Item>& items, const Execution& execution, F sink_for, After after) const {
    Census census;
    std::map<std::array<std::int32_t, kFamilies + 2>, std::vector<std::int64_t>> groups;
    for (std::int64_t v = 0; v < std::ssize(variants_); ++v) {
      const Parts parts = census(variants_[v].params);
      std::array<std::int32_t, kFamilies + 2> key{parts.context, static_cast<std::int32_t>(variants_[v].nan)};
      std::copy(std::begin(parts.signals), std::end(parts.signals), key.begin() + 2);
      groups[key].push_back(v);
    }
    for (const auto& [key, sets] : groups) {
      DeviceMemory signals;
      if (sets.size() > 1 && execution.prepared == nullptr && !request_.float32)
        signals = signals_of(sets.front(), items, execution);
      for (const std::int64_t v : sets) {
        check_interrupt();
        run_alone(v, items, execution, sink_for, signals.data() != nullptr ? Part::votes : Part::everything);
        after(v);
      }
    }
  }

  /// Makes the signals that sets have in common. Nothing if there is no room for them.
  DeviceMemory signals_of(std::int64_t set, std::vector<Item>& items, const Execution& execution) const {
    std::int64_t words = 0;
    for (const Item& item : items) words += words_of(item.close.bars) * kFamilies;
    DeviceMemory memory;
    try {
      memory = DeviceMemory(*execution.device, execution.stream, static_cast<std::size_t>(words) * sizeof(SignalWords));
    } catch (const DeviceOutOfMemoryError&) {
      return {};
    }
    auto* next = reinterpret_cast<SignalWords*>(memory.data());
    for (Item& item : items)
      for (SignalWords*& signals : item.signals) {
        signals = next;
        next += words_of(item.close.bars);
      }
    Request request = request_of(set);
    std::fill(request.wants.begin(), request.wants.end(), false);
    request.part = Part::signals;
    atc::run(request, items, execution);
    return memory;
  }

  /// The sets, on prices that go to the device once. False if that is not possible: values are missing, or
  /// prices and the results of a set take more room than there is, or than the batches of
  /// a call may have.
  bool run_on_device() const {
    const Device device = *execution_.device;
    for (const Item& item : items_)
      if (item.close.bars == 0 || !all_present(item.close, request_.close_type) ||
          (request_.separate_src && !all_present(item.src, request_.src_type)))
        return false;
    std::size_t bytes = 0, all_bytes = 0;
    for (std::size_t w = 0; w < types_.size(); ++w)
      for (const Sink& sink : sinks_of(0, w)) bytes += bytes_of(sink.bars, types_[w]);
    for (const Item& item : items_)
      all_bytes += bytes_of(item.close.bars, request_.close_type) + bytes_of(item.src.bars, request_.src_type);
    const auto batches = static_cast<std::size_t>(execution_.pipeline.streams);
    if (bytes + all_bytes > execution_.pipeline.batch_bytes * batches) return false;
    try {
      const DeviceStream stream(device);
      std::vector<std::byte> host;
      std::vector<Item> items(items_.begin(), items_.end());
      const auto send = [&](Series Item::* which, DType type) {
        host.clear();
        for (const Item& item : items_) {
          const std::size_t at = host.size();
          host.resize(at + bytes_of((item.*which).bars, type));
          gather(item.*which, type, host.data() + at);
        }
        DeviceMemory there(device, stream.handle(), host.size());
        device.send(there.data(), host.data(), host.size(), stream.handle());
        std::byte* next = there.data();
        for (Item& item : items) {
          const std::int64_t bars = (item.*which).bars;
          item.*which = {next, item_size(type), bars};
          next += bytes_of(bars, type);
        }
        return there;
      };
      const DeviceMemory close = send(&Item::close, request_.close_type);
      const DeviceMemory src =
          request_.separate_src ? send(&Item::src, request_.src_type) : DeviceMemory(device, stream.handle(), 8);

      const DeviceMemory results(device, stream.handle(), std::max<std::size_t>(bytes, 8));
      host.resize(bytes);
      Execution there = execution_;
      there.resident = there.whole = true;
      there.stream = stream.handle();
      std::byte* next = results.data();
      const auto sink_for = [&](const Sink& sink, DType type) {
        const Sink on_device{next, item_size(type), sink.bars};
        next += bytes_of(sink.bars, type);
        return on_device;
      };
      run_sharing(items, there, sink_for, [&](std::int64_t v) {
        next = results.data();
        device.fetch(host.data(), results.data(), bytes, stream.handle());
        const std::byte* from = host.data();
        for (std::size_t w = 0; w < types_.size(); ++w)
          for (const Sink& sink : sinks_of(v, w)) {
            scatter(from, sink, types_[w]);
            from += bytes_of(sink.bars, types_[w]);
          }
      });
      return true;
    } catch (const DeviceOutOfMemoryError&) {
      return false;
    }
  }

  static std::size_t bytes_of(std::int64_t count, DType type) {
    return static_cast<std::size_t>((count * item_size(type) + 7) / 8 * 8);
  }

  Request request_of(std::int64_t v) const {
    Request request = request_;
    request.params = variants_[v].params;
    request.cuts = variants_[v].cuts;
    request.nan = variants_[v].nan;
    return request;
  }
  void run_alone(std::int64_t v, std::vector<Item>& items) const {
    run_alone(v, items, execution_, [](const Sink& sink, DType) { return sink; }, Part::everything);
  }
  template <class F>
  void run_alone(std::int64_t v, std::vector<Item>& items, const Execution& execution, F sink_for, Part part) const {
    Request request = request_of(v);
    request.part = part;
    std::size_t wanted = 0;
    for (int o = 0; o < kOutputs; ++o) {
      if (!request_.wants[o]) continue;
      const std::span<const Sink> sinks = sinks_of(v, wanted);
      for (std::size_t i = 0; i < items.size(); ++i) items[i].out[o] = sink_for(sinks[i], types_[wanted]);
      ++wanted;
    }
    atc::run(request, items, execution);
  }

  /// Of a symbol that is not whole: values too large are refused by every set, missing ones by those that raise. A run
  /// with that set says which and where.
  void refuse(std::int64_t item) const {
    const auto too_large = [](const Series& s, DType type) {
      for (std::int64_t bar = 0; bar < s.bars; ++bar) {
        const double x = read(s, type, bar);
        if (std::isfinite(x) && std::abs(x) >= kTooLarge) return true;
      }
      return false;
    };
    std::int64_t by = -1;
    for (std::int64_t v = std::ssize(variants_) - 1; v >= 0; --v)
      if (variants_[v].nan == NanPolicy::raise) by = v;
    if (too_large(items_[item].close, request_.close_type) ||
        (request_.separate_src && too_large(items_[item].src, request_.src_type)))
      by = 0;
    if (by < 0) return;
    std::vector<Item> items(items_.begin(), items_.end());
    run_alone(by, items);
  }

  void leave_empty(std::int64_t variant, std::int64_t item) const {
    for (std::size_t w = 0; w < types_.size(); ++w)
      spread(sinks_of(variant, w)[item], types_[w], {}, items_[item].close.bars, request_.last_only);
  }

  Subject without_holes(std::int64_t i) const {
    Subject s{i, {}, {}, DType::f64, DType::f64, {}, {}, {}};
    const Item& item = items_[i];
    for (std::int64_t bar = 0; bar < item.close.bars; ++bar) {
      const double c = read(item.close, request_.close_type, bar);
      const double x = request_.separate_src ? read(item.src, request_.src_type, bar) : c;
      if (!std::isfinite(c) || !std::isfinite(x)) continue;
      s.present_close.push_back(c);
      if (request_.separate_src) s.present_src.push_back(x);
      s.present.push_back(bar);
    }
    const auto series = [](const std::vector<double>& v) {
      return Series{reinterpret_cast<const std::byte*>(v.data()), sizeof(double), std::ssize(v)};
    };
    s.close = series(s.present_close);
    s.src = series(s.present_src);
    return s;
  }

  /// Some sets over some symbols. Symbols that fill a register go together; threads take groups of them, or, where
  /// there are few, parts of one.
  template <class SubjectOf>
  void compute(const std::vector<std::int32_t>& chosen, const std::vector<std::int64_t>& symbols, bool gaps,
               SubjectOf subject_of) {
    if (chosen.empty() || symbols.empty()) return;
    const std::size_t lanes = kernels_.lanes;
    std::vector<std::span<const std::int64_t>> groups;
    for (std::size_t i = 0; i < symbols.size(); i += groups.back().size()) {
      const std::size_t size = std::min(lanes, symbols.size() - i);
      groups.push_back(std::span(symbols).subspan(i, 2 * size <= lanes ? 1 : size));
    }
    const int threads = execution_.threads > 0 ? execution_.threads : usable_processors();
    const bool apart = std::ssize(groups) >= threads;
    const Plan plan(variants_, chosen, items_[symbols[0]].close.bars, static_cast<int>(groups[0].size()),
                    apart ? 1 : threads);
    const auto one_group = [&](std::int64_t g, int) {
      std::vector<Subject> subjects;
      for (const std::int64_t i : groups[g]) {
        subjects.push_back(subject_of(i));
        if (subjects.back().close.bars > 0) continue;
        for (const std::int32_t v : chosen) leave_empty(v, i);
        subjects.pop_back();
      }
      if (subjects.empty()) return;
      for (const Stretch& stretch : plan.stretches()) compute(stretch, subjects, gaps, threads);
    };
    if (apart)
      parallel_for(execution_.threads, std::ssize(groups), one_group);
    else
      for (std::int64_t g = 0; g < std::ssize(groups); ++g) one_group(g, 0);
  }

  void compute(const Stretch& stretch, const std::vector<Subject>& subjects, bool gaps, int threads) const {
    const std::int64_t bars =
        std::max_element(subjects.begin(), subjects.end(), [](const Subject& a, const Subject& b) {
          return a.close.bars < b.close.bars;
        })->close.bars;
    std::vector<std::shared_ptr<const std::vector<double>>> growth(stretch.markets.size());
    parallel_for(threads, std::ssize(growth), [&](std::int64_t m, int) {
      growth[m] = equity::growth_table(stretch.la_per_bar[m], stretch.markets[m].cutout, words_of(bars) * kWordBars,
                                       execution_.level);
    });

    // Signals, and who has them where.
    std::int64_t words = 0;
    for (const Subject& s : subjects) words += words_of(s.close.bars);
    std::vector<SignalWords> memory(static_cast<std::size_t>(words * stretch.signals));
    std::vector<std::vector<SignalWords*>> signals(subjects.size());
    std::vector<std::vector<double>> returns(subjects.size());
    SignalWords* next = memory.data();
    for (std::size_t j = 0; j < subjects.size(); ++j) {
      const Subject& s = subjects[j];
      for (std::int32_t n = 0; n < stretch.signals; ++n, next += words_of(s.close.bars)) signals[j].push_back(next);
      returns[j].resize(static_cast<std::size_t>(words_of(s.close.bars) * kWordBars));
      kernels_.returns(s.close, s.close_type, returns[j].data());
    }
    parallel_for(threads, std::ssize(stretch.passes),
                 [&](std::int64_t p, int) { find_signals(stretch.passes[p], subjects, signals, gaps, bars); });

    const std::int64_t batches = std::ssize(stretch.batches);
    parallel_for(threads, batches * std::ssize(subjects), [&](std::int64_t task, int) {
      const std::size_t j = task / batches;
      const sweep::Symbol symbol{subjects[j].close.bars, returns[j].data(), signals[j].data()};
      tally(stretch, growth, stretch.batches[task % batches], subjects[j], symbol);
    });
  }

  void find_signals(const Pass& pass, const std::vector<Subject>& subjects,
                    const std::vector<std::vector<SignalWords*>>& signals, bool gaps, std::int64_t bars) const {
    Group group{};
    group.symbols = static_cast<int>(subjects.size());
    group.gaps = gaps;
    group.separate_src = request_.separate_src;
    group.close_type = subjects[0].close_type;
    group.src_type = subjects[0].src_type;
    for (int lane = 0; lane < kernels_.lanes; ++lane) {
      const int j = lane < group.symbols ? lane : 0;
      group.close[lane] = subjects[j].close;
      group.src[lane] = subjects[j].src;
      for (int f = 0; f < kFamilies; ++f)
        if (lane < group.symbols && pass.signals[f] >= 0) group.signals[f][lane] = signals[j][pass.signals[f]];
    }
    Run run = pass.run;
    run.bars = bars;
    (group.symbols == 1 ? kernels_.signals_of_one : kernels_.signals)(run, group,
                                                                      thread_scratch(kernels_.signals_scratch(run)));
  }

  void tally(const Stretch& stretch, const std::vector<std::shared_ptr<const std::vector<double>>>& growth,
             const OwnedBatch& from, const Subject& subject, const sweep::Symbol& symbol) const {
    std::vector<Market> markets;
    for (const std::int32_t m : from.markets) {
      markets.push_back(stretch.markets[m]);
      markets.back().growth = growth[m]->data();
    }
    std::vector<Sink> sinks;
    sinks.reserve(from.variants.size() * types_.size());
    for (const std::int32_t v : from.variants)
      for (std::size_t w = 0; w < types_.size(); ++w) sinks.push_back(sinks_of(v, w)[subject.item]);
    const Batch batch{static_cast<std::int32_t>(markets.size()),
                      static_cast<std::int32_t>(from.layers.size()),
                      static_cast<std::int32_t>(from.voters.size()),
                      markets.data(),
                      from.layers.data(),
                      from.voters.data()};
    kernels_.tally(outputs_, batch, symbol, sinks.data(), thread_scratch(kernels_.tally_scratch(batch)));
    if (subject.present.empty()) return;
    const std::vector<std::int64_t> none;
    for (std::size_t n = 0; n < sinks.size(); ++n) {
      const std::int64_t cutout = variants_[from.variants[n / types_.size()]].params.cutout;
      spread(sinks[n], types_[n % types_.size()], subject.close.bars > cutout ? subject.present : none,
             items_[subject.item].close.bars, request_.last_only);
    }
  }

  const Request& request_;
  const std::span<const Variant> variants_;
  const std::span<const Item> items_;
  const std::span<const Sink> sinks_;
  const Execution& execution_;
  const sweep::Kernels& kernels_;
  sweep::Outputs outputs_{};
  std::vector<DType> types_;  // of the outputs wanted
};

}  // namespace

void run_sweep(const Request& request, std::span<const Variant> variants, std::span<const Item> items,
               std::span<const Sink> sinks, const Execution& execution) {
  if (!items.empty() && !variants.empty()) SweepComputation(request, variants, items, sinks, execution).run();
}

}  // namespace wq::atc
