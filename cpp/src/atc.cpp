// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/atc.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "warpquant/atc/launch.h"
#include "warpquant/atc/missing.h"
#include "warpquant/atc/signals.h"
#include "warpquant/atc/stages.h"
#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/equity/equity.h"

WQ_KERNEL_TABLE(atc)

namespace wq::atc {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Whether every value is finite and below `kTooLarge`. Asked of the bits, which the compiler can do many at a time.
template <class T, class Bits, Bits kExponent, Bits kLimit>
bool present_as(const Series& s) {
  Bits missing = 0;
  const auto look = [&](std::int64_t stride) {
    for (std::int64_t bar = 0; bar < s.bars; ++bar) {
      Bits x;
      std::memcpy(&x, s.data + bar * stride, sizeof x);
      missing |= (x & kExponent) >= kLimit ? 1 : 0;
    }
  };
  s.stride == sizeof(T) ? look(sizeof(T)) : look(s.stride);
  return missing == 0;
}

}  // namespace

bool all_present(const Series& s, DType type) {
  return type == DType::f32 ? present_as<float, std::int32_t, 0x7f800000, 0x7f800000>(s)
                            : present_as<double, std::int64_t, 0x7ff0000000000000, 0x7e70000000000000>(s);
}

namespace {

/// Smallest value in [-1.5, 1.5] whose rounded form exceeds `limit`; infinity if there is none.
double first_above(double limit, Switches::Rounding rounding) {
  const auto exceeds = [&](double v) { return round_signal(v, rounding) > limit; };
  // Doubles in ascending order as consecutive integers, and back.
  const auto rank = [](double v) {
    const auto bits = std::bit_cast<std::int64_t>(v);
    return bits ^ ((bits >> 63) & INT64_MAX);
  };
  const auto value = [](std::int64_t r) { return std::bit_cast<double>(r ^ ((r >> 63) & INT64_MAX)); };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!exceeds(1.5)) return kInfinity;
  if (exceeds(-1.5)) return -kInfinity;
  std::int64_t no = rank(-1.5), yes = rank(1.5);
  while (yes - no > 1) {
    const std::int64_t middle = no + (yes - no) / 2;
    (exceeds(value(middle)) ? yes : no) = middle;
  }
  return value(yes);
}

class Computation {
 public:
  Computation(const Request& request, std::span<const Item> items, const Execution& execution)
      : request_(request), items_(items), execution_(execution), kernels_(kernels_at(execution.level)) {
    for (const Item& item : items) longest_ = std::max(longest_, item.close.bars);
    growth_ = equity::growth_table(request.params.la_per_bar, request.params.cutout, longest_, execution.level);
    run_.params = request.params;
    run_.cuts = request.cuts;
    run_.bars = longest_;
    run_.growth = growth_->data();
    run_.out_type = request.out_type;
    run_.last_only = request.last_only;
    run_.float32 = request.float32;
    // Averages of float32 numbers are this far from level with a close that they are level with.
    if (request.float32 && execution.device) run_.params.cross_rtol = std::max(run_.params.cross_rtol, 2e-6);
    std::copy(request.wants.begin(), request.wants.end(), run_.wants);
    run_.detail = request.detail;
    scratch_ = kernels_.scratch_bytes(run_);
  }

  /// Of prices that lie on the device, all of the same number of bars. Nobody waits for it, except under
  /// NanPolicy::raise.
  void run_resident() {
    std::vector<const Item*> items;
    for (const Item& item : items_) items.push_back(&item);
    if (execution_.prepared != nullptr) {
      WQ_EXPECT(request_.nan != NanPolicy::raise, ParameterError,
                "nan_policy: 'raise' looks at the prices first, which a prepared call cannot; accepted are the others");
      return prepare_resident(items, *execution_.prepared);
    }
    Prepared prepared(*execution_.device, execution_.stream);
    if (request_.nan == NanPolicy::raise && !execution_.whole) refuse_on_device(prepared.luggage());
    if (in_stages(longest_)) items = run_whole_in_stages(prepared.luggage());
    prepare_resident(items, prepared);
    prepared.put(execution_.stream);
  }

  void prepare_resident(const std::vector<const Item*>& items, Prepared& prepared) {
    if (items.empty()) return;
    const Device device = prepared.device();
    Luggage& luggage = prepared.luggage();
    std::vector<Group> groups;
    for (std::size_t first = 0; first < items.size(); first += kMaxLanes) {
      Group group = empty_group(static_cast<int>(std::min<std::size_t>(kMaxLanes, items.size() - first)));
      for (int lane = 0; lane < group.symbols; ++lane) set_lane(group, lane, *items[first + lane]);
      groups.push_back(group);
    }
    const Missing missing = execution_.whole || request_.nan == NanPolicy::raise ? Missing::known
                            : request_.nan == NanPolicy::skip                    ? Missing::skip
                                                                                 : Missing::gaps;
    const std::size_t scratch = device.table->atc_scratch(device.index, run_) * groups.size();
    Launch launch{run_, missing, std::ssize(groups), luggage.send(groups),
                  scratch > 0 ? luggage.scratch(scratch) : nullptr};
    launch.part = request_.part;
    launch.run.growth = luggage.send(*growth_);
    prepared.add([device, launch](Handle stream) {
      device.check(device.table->atc(device.index, launch, stream), "starting a kernel");
    });
  }

  void run() {
    if (execution_.resident) return run_resident();
    // Whole series first, then those with holes; within each, neighbours in length share a pass.
    std::vector<char> whole(items_.size());
    parallel_for(execution_.threads, tasks(kScan), [&](std::int64_t task, int) {
      for (std::int64_t i = task * kScan; i < std::min((task + 1) * kScan, count()); ++i)
        whole[i] = all_present(items_[i].close, request_.close_type) &&
                   (!request_.separate_src || all_present(items_[i].src, request_.src_type));
    });
    for (std::int64_t i = 0; i < count(); ++i) {
      if (whole[i]) continue;
      refuse_too_large(i, items_[i].close, request_.close_type, "prices: ");
      if (request_.separate_src) refuse_too_large(i, items_[i].src, request_.src_type, "src: ");
      if (request_.nan == NanPolicy::raise) refuse_missing(i);
    }

    std::vector<std::int64_t> clean, holes;
    for (const std::int64_t i : longest_first(count(), [&](std::int64_t i) { return items_[i].close.bars; })) {
      if (items_[i].close.bars == 0)
        spread(items_[i], {});
      else
        (whole[i] ? clean : holes).push_back(i);
    }

    if (execution_.device) return run_on_device(clean, holes);
    std::vector<std::span<const std::int64_t>> groups;
    const auto clean_groups = split(clean, groups);
    split(holes, groups);
    parallel_for(execution_.threads, static_cast<std::int64_t>(groups.size()), [&](std::int64_t g, int) {
      if (g < clean_groups)
        run_whole(groups[g]);
      else if (request_.nan == NanPolicy::propagate)
        run_group(items_of(groups[g]), [](Group& group) { group.gaps = true; });
      else
        run_present(groups[g]);
    });
  }

 private:
  /// What is wrong with prices on the device, and with what averages follow; waits.
  std::pair<std::vector<Flaws>, std::vector<Flaws>> survey(Luggage& luggage) const {
    const auto look = [&](Series Item::* which, DType type) {
      std::vector<Series> series;
      for (const Item& item : items_) series.push_back(item.*which);
      return luggage.survey(luggage.send(series), count(), type);
    };
    std::vector<Flaws> close = look(&Item::close, request_.close_type);
    return {close, request_.separate_src ? look(&Item::src, request_.src_type) : close};
  }

  /// Take symbols on the device in stages, if nothing is wrong with their prices; gives the others.
  std::vector<const Item*> run_whole_in_stages(Luggage& luggage) const {
    const double* const growth = luggage.send(*growth_);
    const auto [close, src] = survey(luggage);
    const auto is_whole = [](const Flaws& f) { return f.too_large < 0 && f.missing < 0; };
    std::vector<const Item*> others;
    const Sides sides(*execution_.device);
    for (std::int64_t i = 0; i < count(); ++i) {
      if (is_whole(close[i]) && is_whole(src[i]))
        run_in_stages(request_, items_[i], growth, sides, execution_.stream);
      else
        others.push_back(&items_[i]);
    }
    return others;
  }

  /// Of prices on the device, what `run` refuses of others under NanPolicy::raise.
  void refuse_on_device(Luggage& luggage) const {
    const auto [close, src] = survey(luggage);
    for (std::int64_t i = 0; i < count(); ++i) {
      if (close[i].too_large >= 0) refuse_too_large(i, close[i].too_large, "prices: ");
      if (src[i].too_large >= 0) refuse_too_large(i, src[i].too_large, "src: ");
      const bool in_prices = close[i].missing >= 0 && (src[i].missing < 0 || close[i].missing <= src[i].missing);
      if (in_prices || src[i].missing >= 0) refuse_missing(i, in_prices ? close[i].missing : src[i].missing, in_prices);
    }
  }

  Group empty_group(int symbols) const {
    Group group{};
    group.symbols = symbols;
    group.separate_src = request_.separate_src;
    group.close_type = request_.close_type;
    group.src_type = request_.src_type;
    return group;
  }

  static void set_lane(Group& group, int lane, const Item& item) {
    group.close[lane] = item.close;
    group.src[lane] = item.src;
    for (int f = 0; f < kFamilies; ++f) group.signals[f][lane] = item.signals[f];
    for (int o = 0; o < kOutputs; ++o) group.out[o][lane] = item.out[o];
    for (int d = 0; d < kDetails; ++d)
      for (int f = 0; f < kFamilies; ++f) {
        group.detail[d][f][lane] = item.detail[d][f];
        group.detail_step[d][f][lane] = item.detail_step[d][f];
      }
  }

  bool in_stages(std::int64_t bars) const { return !request_.exact && !request_.detail && bars >= kLongSeries; }

  static constexpr std::int64_t kScan = 64;  // symbols per task of the search for holes

  std::int64_t count() const { return static_cast<std::int64_t>(items_.size()); }
  std::int64_t tasks(std::int64_t size) const { return (count() + size - 1) / size; }

  void refuse_too_large(std::int64_t symbol, const Series& series, DType type, const char* argument) const {
    for (std::int64_t bar = 0; bar < series.bars; ++bar) {
      const double x = read(series, type, bar);
      if (std::isfinite(x) && std::abs(x) >= kTooLarge) refuse_too_large(symbol, bar, argument);
    }
  }

  [[noreturn]] void refuse_too_large(std::int64_t symbol, std::int64_t bar, const char* argument) const {
    throw ParameterError(argument + request_.label(symbol) + " is too large at bar " + std::to_string(bar) +
                         "; accepted are magnitudes below 2**1000");
  }

  [[noreturn]] void refuse_missing(std::int64_t symbol) const {
    const Item& item = items_[symbol];
    std::int64_t bar = 0;
    while (bar + 1 < item.close.bars && std::isfinite(read(item.close, request_.close_type, bar)) &&
           (!request_.separate_src || std::isfinite(read(item.src, request_.src_type, bar))))
      ++bar;
    refuse_missing(symbol, bar, !std::isfinite(read(item.close, request_.close_type, bar)));
  }

  [[noreturn]] void refuse_missing(std::int64_t symbol, std::int64_t bar, bool in_prices) const {
    throw ParameterError((in_prices ? "prices: " : "src: ") + request_.label(symbol) +
                         " is missing (NaN or infinite) at bar " + std::to_string(bar) +
                         ", and nan_policy='raise' accepts present values only");
  }

  /// Cut a list into groups for one pass each. A few symbols left over go one by one: a pass with its lanes mostly
  /// empty takes as long as a full one.
  std::int64_t split(const std::vector<std::int64_t>& list, std::vector<std::span<const std::int64_t>>& groups) const {
    const std::span all(list);
    const std::size_t lanes = kernels_.lanes;
    std::size_t i = 0;
    while (i < all.size()) {
      std::size_t size = std::min(lanes, all.size() - i);
      if (2 * size <= lanes) size = 1;
      groups.push_back(all.subspan(i, size));
      i += size;
    }
    return static_cast<std::int64_t>(groups.size());
  }

  std::vector<const Item*> items_of(std::span<const std::int64_t> symbols) const {
    std::vector<const Item*> items;
    for (const std::int64_t symbol : symbols) items.push_back(&items_[symbol]);
    return items;
  }

  template <class Adapt>
  void run_group(const std::vector<const Item*>& symbols, Adapt adapt) {
    Group group = empty_group(static_cast<int>(symbols.size()));
    for (int lane = 0; lane < kernels_.lanes; ++lane) set_lane(group, lane, *symbols[lane < group.symbols ? lane : 0]);
    adapt(group);
    const auto kernel = symbols.size() == 1 ? kernels_.single : kernels_.symbols;
    kernel(run_, group, thread_scratch(scratch_));
  }

  void run_whole(std::span<const std::int64_t> symbols) {
    run_group(items_of(symbols), [](Group&) {});
  }

  /// The present bars of a symbol, and where they were.
  struct Present {
    std::int64_t symbol;
    std::vector<double> close, src;
    std::vector<std::int64_t> bars;
    Item item;  // the symbol with these for its prices
  };

  /// Copies of the present bars of some symbols. Those that have too few of them are done with.
  std::vector<Present> without_holes(std::span<const std::int64_t> symbols) const {
    std::vector<Present> list;
    for (const std::int64_t symbol : symbols) {
      const Item& item = items_[symbol];
      Present p{symbol, {}, {}, {}, item};
      for (std::int64_t bar = 0; bar < item.close.bars; ++bar) {
        const double c = read(item.close, request_.close_type, bar);
        const double s = request_.separate_src ? read(item.src, request_.src_type, bar) : c;
        if (!std::isfinite(c) || !std::isfinite(s)) continue;
        p.close.push_back(c);
        if (request_.separate_src) p.src.push_back(s);
        p.bars.push_back(bar);
      }
      const std::int64_t bars = std::ssize(p.bars);
      if (bars <= request_.params.cutout) {
        spread(item, {});
        continue;
      }
      const auto series = [&](const std::vector<double>& v) {
        return Series{reinterpret_cast<const std::byte*>(v.data()), sizeof(double), bars};
      };
      p.item.close = series(p.close);
      if (request_.separate_src) p.item.src = series(p.src);
      for (Sink& out : p.item.out)
        if (!run_.last_only) out.bars = bars;
      for (auto& kind : p.item.detail)
        for (Sink& out : kind) out.bars = bars;
      list.push_back(std::move(p));
    }
    return list;
  }

  /// Missing bars are no bars: run on copies of the present ones, then spread the results.
  void run_present(std::span<const std::int64_t> symbols) {
    const std::vector<Present> list = without_holes(symbols);
    if (list.empty()) return;
    std::vector<const Item*> items;
    for (const Present& p : list) items.push_back(&p.item);
    run_group(items, [](Group& group) { group.close_type = group.src_type = DType::f64; });
    for (const Present& p : list) spread(items_[p.symbol], p.bars);
  }

  // -------------------------------------------------------------- devices

  /// Symbols that share a block of threads.
  struct DeviceGroup {
    std::vector<const Item*> items;
    bool gaps;
    DType close_type, src_type;
    std::int64_t up = 0, down = 0;  // where its bytes begin, counted from the first group of the call
  };

  /// Of a series in a batch, where each begins at a multiple of 8.
  static std::int64_t bytes_of(std::int64_t count, DType type) { return (count * item_size(type) + 7) / 8 * 8; }
  DType type_of(int output) const { return is_class(output) ? DType::i8 : request_.out_type; }

  /// Call f(sink, type, bytes) for each result of a symbol, in the order in which a batch has them.
  template <class F>
  void each_result(const Item& item, F f) const {
    for (int o = 0; o < kOutputs; ++o)
      if (run_.wants[o]) f(item.out[o], type_of(o), bytes_of(item.out[o].bars, type_of(o)));
    if (!run_.detail) return;
    for (int d = 0; d < kDetails; ++d)
      for (int family = 0; family < kFamilies; ++family) {
        Sink out = item.detail[d][family];
        const std::int64_t bytes = bytes_of(out.bars, request_.out_type);
        for (int k = 0; k < kLengths; ++k, out.data += item.detail_step[d][family]) f(out, request_.out_type, bytes);
      }
  }

  void run_on_device(std::span<const std::int64_t> clean, std::span<const std::int64_t> holes) {
    const bool skips = request_.nan == NanPolicy::skip;
    const std::vector<Present> present = without_holes(skips ? holes : std::span<const std::int64_t>{});
    std::vector<const Item*> copies;
    for (const Present& p : present) copies.push_back(&p.item);

    std::vector<DeviceGroup> groups;
    std::int64_t up = 0, down = 0;
    const auto add = [&](const std::vector<const Item*>& items, bool gaps, DType close_type, DType src_type) {
      for (auto begin = items.begin(), end = begin; begin != items.end(); begin = end) {
        // What is computed in stages keeps to itself, so that no result depends on its neighbours.
        const bool staged = !gaps && in_stages((*begin)->close.bars);
        while (end != items.end() && end - begin < kMaxLanes && staged == (!gaps && in_stages((*end)->close.bars)))
          ++end;
        groups.push_back({{begin, end}, gaps, close_type, src_type, up, down});
        for (const Item* item : groups.back().items) {
          up += bytes_of(item->close.bars, close_type);
          if (request_.separate_src) up += bytes_of(item->src.bars, src_type);
          each_result(*item, [&](const Sink&, DType, std::int64_t bytes) { down += bytes; });
        }
      }
    };
    add(items_of(clean), false, request_.close_type, request_.src_type);
    if (!skips) add(items_of(holes), true, request_.close_type, request_.src_type);
    add(copies, false, DType::f64, DType::f64);
    ship_groups(groups, up, down);
    for (const Present& p : present) spread(items_[p.symbol], p.bars);
  }

  /// A batch goes up as growth factors, descriptions of groups, prices. Down come the results.
  void ship_groups(const std::vector<DeviceGroup>& groups, std::int64_t up_end, std::int64_t down_end) {
    const Device device = *execution_.device;
    const std::int64_t growth_bytes = longest_ * static_cast<std::int64_t>(sizeof(double));
    const std::size_t scratch = device.table->atc_scratch(device.index, run_);
    const auto up_at = [&](std::int64_t g) { return g < std::ssize(groups) ? groups[g].up : up_end; };
    const auto down_at = [&](std::int64_t g) { return g < std::ssize(groups) ? groups[g].down : down_end; };
    const auto prices_at = [&](std::int64_t count) {
      return growth_bytes + count * static_cast<std::int64_t>(sizeof(Group));
    };

    Freight freight;
    freight.items = std::ssize(groups);
    freight.load = [&](std::int64_t from, std::int64_t to) {
      return Load{static_cast<std::size_t>(prices_at(to - from) + up_at(to) - up_at(from)),
                  static_cast<std::size_t>(down_at(to) - down_at(from)), static_cast<std::size_t>(to - from) * scratch};
    };
    freight.pack = [&](const Cargo& c) {
      std::memcpy(c.up, growth_->data(), static_cast<std::size_t>(growth_bytes));
      parallel_for(execution_.threads, c.to - c.from, [&](std::int64_t i, int) {
        const DeviceGroup& group = groups[c.from + i];
        reinterpret_cast<Group*>(c.up + growth_bytes)[i] =
            pack_group(group, c, prices_at(c.to - c.from) + group.up - up_at(c.from), group.down - down_at(c.from));
      });
    };
    freight.launch = [&](const Cargo& c) {
      Launch launch{run_, Missing::known, c.to - c.from, reinterpret_cast<Group*>(c.device_up + growth_bytes),
                    scratch > 0 ? c.scratch : nullptr};
      launch.run.growth = reinterpret_cast<const double*>(c.device_up);
      if (in_stages(longest_)) return launch_in_stages(launch, reinterpret_cast<const Group*>(c.up + growth_bytes), c);
      device.check(device.table->atc(device.index, launch, c.stream), "starting a kernel");
    };
    freight.unpack = [&](const Cargo& c) {
      parallel_for(execution_.threads, c.to - c.from, [&](std::int64_t i, int) {
        const DeviceGroup& group = groups[c.from + i];
        const std::byte* result = c.down + group.down - down_at(c.from);
        for (const Item* item : group.items)
          each_result(*item, [&](const Sink& sink, DType type, std::int64_t bytes) {
            scatter(result, sink, type);
            result += bytes;
          });
      });
    };
    ship(device, execution_.pipeline, freight);
  }

  /// Group by group, as `groups` in host memory describes them. Where there is no room for stages, in one pass.
  void launch_in_stages(const Launch& launch, const Group* groups, const Cargo& c) const {
    const Device device = *execution_.device;
    Sides sides(device);
    for (std::int64_t g = 0; g < launch.groups; ++g) {
      try {
        if (stage_group(groups[g], launch.run.growth, sides, c.stream)) continue;
      } catch (const DeviceOutOfMemoryError&) {
        // Batches are counted without what stages need, 300 bytes a bar.
      }
      Launch one = launch;
      one.groups = 1;
      one.group += g;
      if (one.scratch != nullptr) one.scratch += g * device.table->atc_scratch(device.index, run_);
      device.check(device.table->atc(device.index, one, c.stream), "starting a kernel");
    }
  }

  /// False if a group is not for that.
  bool stage_group(const Group& group, const double* growth, const Sides& sides, Handle stream) const {
    if (group.gaps || !in_stages(group.close[0].bars)) return false;
    Request request = request_;
    request.close_type = group.close_type;
    request.src_type = group.src_type;
    for (int lane = 0; lane < group.symbols; ++lane) {
      Item item{};
      item.close = group.close[lane];
      item.src = group.src[lane];
      for (int o = 0; o < kOutputs; ++o) item.out[o] = group.out[o][lane];
      run_in_stages(request, item, growth, sides, stream);
    }
    return true;
  }

  /// Put the prices of a group into a batch, from `up` on, and say where on the device they and the results will be.
  Group pack_group(const DeviceGroup& from, const Cargo& c, std::int64_t up, std::int64_t down) const {
    Group group = empty_group(static_cast<int>(from.items.size()));
    group.gaps = from.gaps;
    group.close_type = from.close_type;
    group.src_type = from.src_type;
    const auto send = [&](const Series& series, DType type) {
      gather(series, type, c.up + up);
      const Series there{c.device_up + up, item_size(type), series.bars};
      up += bytes_of(series.bars, type);
      return there;
    };
    const auto expect = [&](std::int64_t bars, DType type, int copies) {
      const Sink there{c.device_down + down, item_size(type), bars};
      down += copies * bytes_of(bars, type);
      return there;
    };
    for (int lane = 0; lane < group.symbols; ++lane) {
      const Item& item = *from.items[lane];
      group.close[lane] = send(item.close, from.close_type);
      if (request_.separate_src) group.src[lane] = send(item.src, from.src_type);
      for (int o = 0; o < kOutputs; ++o)
        if (run_.wants[o]) group.out[o][lane] = expect(item.out[o].bars, type_of(o), 1);
      for (int d = 0; run_.detail && d < kDetails; ++d)
        for (int f = 0; f < kFamilies; ++f) {
          group.detail_step[d][f][lane] = bytes_of(item.detail[d][f].bars, request_.out_type);
          group.detail[d][f][lane] = expect(item.detail[d][f].bars, request_.out_type, kLengths);
        }
    }
    return group;
  }

  // -------------------------------------------------------------- missing bars

  /// Results of the present bars, which stand at the front, to where the bars are.
  void spread(const Item& item, const std::vector<std::int64_t>& present) const {
    for (int o = 0; o < kOutputs; ++o)
      if (run_.wants[o])
        atc::spread(item.out[o], is_class(o) ? DType::i8 : run_.out_type, present, item.close.bars, run_.last_only);
    if (!run_.detail) return;
    for (int d = 0; d < kDetails; ++d)
      for (int f = 0; f < kFamilies; ++f) {
        Sink out = item.detail[d][f];
        for (int k = 0; k < kLengths; ++k, out.data += item.detail_step[d][f])
          atc::spread(out, run_.out_type, present, item.close.bars, false);
      }
  }

  const Request& request_;
  const std::span<const Item> items_;
  const Execution& execution_;
  const Kernels& kernels_;
  std::int64_t longest_ = 0;
  std::shared_ptr<const std::vector<double>> growth_;
  Run run_{};
  std::size_t scratch_;
};

}  // namespace

void spread(const Sink& out, DType type, const std::vector<std::int64_t>& present, std::int64_t bars, bool last_only) {
  if (last_only) {
    if (present.empty() || (present.back() != bars - 1 && type != DType::i8))
      write(out, type, 0, type == DType::i8 ? 0 : kNaN);
    return;
  }
  const auto size = static_cast<std::size_t>(item_size(type));
  const bool is_class = type == DType::i8;
  auto before = static_cast<std::int64_t>(present.size());
  // Last first, so that nothing is overwritten before it has moved.
  for (std::int64_t bar = out.bars - 1; bar >= 0; --bar) {
    const bool here = before > 0 && present[before - 1] == bar;
    before -= here;
    const std::int64_t place = place_of(here, is_class, before);
    if (place < 0)
      write(out, type, bar, is_class ? 0 : kNaN);
    else
      std::memmove(out.data + bar * out.stride, out.data + place * out.stride, size);
  }
}

Cuts<double> cuts_of(const Params& p) {
  const bool fixed = p.switches.cut == Switches::Cut::fixed;
  const double high = fixed ? p.cut_level : p.long_threshold, low = fixed ? -p.cut_level : p.short_threshold;
  const auto above = [&](double limit) { return first_above(limit, p.switches.rounding); };
  // Rounding is odd: "rounds below x" is the mirror image of "rounds above -x".
  return {above(0.0), -above(0.0), above(high), -above(-low)};
}

void run(const Request& request, std::span<const Item> items, const Execution& execution) {
  if (items.empty()) return;
  Computation(request, items, execution).run();
}

}  // namespace wq::atc
