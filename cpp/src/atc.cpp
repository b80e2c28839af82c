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
#include "warpquant/atc/signals.h"
#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/equity/equity.h"

WQ_KERNEL_TABLE(atc)

namespace wq::atc {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Prices from here on could make a sum overflow, and the difference of two such sums has no value.
constexpr double kTooLarge = 0x1p1000;

/// Whether every value is finite and below `kTooLarge`. Asked of the bits, which the compiler can do many at a time.
template <class T, class Bits, Bits kExponent, Bits kLimit>
bool all_present(const Series& s) {
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

bool all_present(const Series& s, DType type) {
  return type == DType::f32 ? all_present<float, std::int32_t, 0x7f800000, 0x7f800000>(s)
                            : all_present<double, std::int64_t, 0x7ff0000000000000, 0x7e70000000000000>(s);
}

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

bool is_class(int output) { return output == kTrend || output == kDirection; }

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
    std::copy(request.wants.begin(), request.wants.end(), run_.wants);
    run_.detail = request.detail;
    scratch_ = kernels_.scratch_bytes(run_);
  }

  /// Of prices that lie on the device. Throws MissingOnDevice if a value is missing.
  void run_resident() {
    if (execution_.prepared != nullptr) return prepare_resident(*execution_.prepared);
    Prepared prepared(*execution_.device, execution_.stream);
    prepare_resident(prepared);
    prepared.put(execution_.stream);
    const std::vector<bool> missing = prepared.flagged(count());
    if (std::find(missing.begin(), missing.end(), true) != missing.end()) throw MissingOnDevice();
  }

  void prepare_resident(Prepared& prepared) {
    const Device device = prepared.device();
    Luggage& luggage = prepared.luggage();
    survey(prepared, request_.close_type, [](const Item& item) { return item.close; });
    if (request_.separate_src) survey(prepared, request_.src_type, [](const Item& item) { return item.src; });
    std::vector<Group> groups;
    for (std::int64_t first = 0; first < count(); first += kMaxLanes) {
      Group group = empty_group(static_cast<int>(std::min<std::int64_t>(kMaxLanes, count() - first)));
      for (int lane = 0; lane < group.symbols; ++lane) set_lane(group, lane, items_[first + lane]);
      repeat_first(group);
      groups.push_back(group);
    }
    const std::size_t scratch = device.table->atc_scratch(device.index, run_) * groups.size();
    Launch launch{run_, std::ssize(groups), luggage.send(groups), scratch > 0 ? luggage.scratch(scratch) : nullptr};
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
      if (request_.nan == NanPolicy::raise) refuse(i);
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
  template <class Which>
  void survey(Prepared& prepared, DType type, Which which) const {
    const Device device = prepared.device();
    std::vector<Series> series;
    for (const Item& item : items_) series.push_back(which(item));
    int* const flags = prepared.watch(count());
    const Series* const there = prepared.luggage().send(series);
    prepared.add([device, there, type, flags, count = count()](Handle stream) {
      device.check(device.table->survey(device.index, there, count, type, flags, stream), "starting a kernel");
    });
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
    for (int o = 0; o < kOutputs; ++o) group.out[o][lane] = item.out[o];
    for (int d = 0; d < kDetails; ++d)
      for (int f = 0; f < kFamilies; ++f) {
        group.detail[d][f][lane] = item.detail[d][f];
        group.detail_step[d][f][lane] = item.detail_step[d][f];
      }
  }

  /// On devices, lanes without a symbol repeat the first and have no results.
  static void repeat_first(Group& group) {
    for (int lane = group.symbols; lane < kMaxLanes; ++lane) {
      group.close[lane] = group.close[0];
      group.src[lane] = group.src[0];
    }
  }

  static constexpr std::int64_t kScan = 64;  // symbols per task of the search for holes

  std::int64_t count() const { return static_cast<std::int64_t>(items_.size()); }
  std::int64_t tasks(std::int64_t size) const { return (count() + size - 1) / size; }

  void refuse_too_large(std::int64_t symbol, const Series& series, DType type, const char* argument) const {
    for (std::int64_t bar = 0; bar < series.bars; ++bar) {
      const double x = read(series, type, bar);
      if (std::isfinite(x) && std::abs(x) >= kTooLarge)
        throw ParameterError(argument + request_.label(symbol) + " is too large at bar " + std::to_string(bar) +
                             "; accepted are magnitudes below 2**1000");
    }
  }

  [[noreturn]] void refuse(std::int64_t symbol) const {
    const Item& item = items_[symbol];
    std::int64_t bar = 0;
    while (bar + 1 < item.close.bars && std::isfinite(read(item.close, request_.close_type, bar)) &&
           (!request_.separate_src || std::isfinite(read(item.src, request_.src_type, bar))))
      ++bar;
    const bool in_prices = !std::isfinite(read(item.close, request_.close_type, bar));
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
      for (std::size_t i = 0; i < items.size(); i += kMaxLanes) {
        const auto begin = items.begin() + static_cast<std::ptrdiff_t>(i);
        const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(kMaxLanes, items.size() - i));
        groups.push_back({{begin, begin + count}, gaps, close_type, src_type, up, down});
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
      Launch launch{run_, c.to - c.from, reinterpret_cast<const Group*>(c.device_up + growth_bytes),
                    scratch > 0 ? c.scratch : nullptr};
      launch.run.growth = reinterpret_cast<const double*>(c.device_up);
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
    repeat_first(group);
    return group;
  }

  // -------------------------------------------------------------- missing bars

  /// Results of the present bars stand at the front; move them to where the bars are. At missing bars floats are NaN
  /// and classes repeat.
  void spread(const Item& item, const std::vector<std::int64_t>& present) const {
    const bool computed = !present.empty();
    for (int o = 0; o < kOutputs; ++o) {
      if (!run_.wants[o]) continue;
      const DType type = is_class(o) ? DType::i8 : run_.out_type;
      if (!run_.last_only)
        spread(item.out[o], type, present);
      else if (!computed)
        write(item.out[o], type, 0, is_class(o) ? 0 : kNaN);
      else if (present.back() != item.close.bars - 1 && !is_class(o))
        write(item.out[o], type, 0, kNaN);  // the last bar is missing
    }
    if (!run_.detail) return;
    for (int d = 0; d < kDetails; ++d)
      for (int f = 0; f < kFamilies; ++f) {
        Sink out = item.detail[d][f];
        for (int k = 0; k < kLengths; ++k, out.data += item.detail_step[d][f]) spread(out, run_.out_type, present);
      }
  }

  static void spread(const Sink& out, DType type, const std::vector<std::int64_t>& present) {
    const auto size = static_cast<std::size_t>(item_size(type));
    auto value = static_cast<std::int64_t>(present.size());
    // Last first, so that nothing is overwritten before it has moved.
    for (std::int64_t bar = out.bars - 1; bar >= 0; --bar) {
      if (value > 0 && present[value - 1] == bar)
        std::memmove(out.data + bar * out.stride, out.data + --value * out.stride, size);
      else if (type != DType::i8)
        write(out, type, bar, kNaN);
      else if (value == 0)
        write(out, type, bar, 0);
      else
        std::memmove(out.data + bar * out.stride, out.data + (value - 1) * out.stride, size);
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
