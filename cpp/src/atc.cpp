// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/atc.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

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

  void run() {
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

    std::vector<std::span<const std::int64_t>> groups;
    const auto clean_groups = split(clean, groups);
    split(holes, groups);
    parallel_for(execution_.threads, static_cast<std::int64_t>(groups.size()), [&](std::int64_t g, int) {
      if (g < clean_groups)
        run_whole(groups[g]);
      else if (request_.nan == NanPolicy::propagate)
        run_group(groups[g], [&](Group& group) { group.gaps = true; });
      else
        run_present(groups[g]);
    });
  }

 private:
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

  template <class Adapt>
  void run_group(std::span<const std::int64_t> symbols, Adapt adapt) {
    Group group{};
    group.symbols = static_cast<int>(symbols.size());
    group.separate_src = request_.separate_src;
    group.close_type = request_.close_type;
    group.src_type = request_.src_type;
    for (int lane = 0; lane < kernels_.lanes; ++lane) {
      const Item& item = items_[symbols[lane < group.symbols ? lane : 0]];
      group.close[lane] = item.close;
      group.src[lane] = item.src;
      for (int o = 0; o < kOutputs; ++o) group.out[o][lane] = item.out[o];
      for (int d = 0; d < kDetails; ++d)
        for (int f = 0; f < kFamilies; ++f) {
          group.detail[d][f][lane] = item.detail[d][f];
          group.detail_step[d][f][lane] = item.detail_step[d][f];
        }
    }
    adapt(group);
    const auto kernel = symbols.size() == 1 ? kernels_.single : kernels_.symbols;
    kernel(run_, group, thread_scratch(scratch_));
  }

  void run_whole(std::span<const std::int64_t> symbols) {
    run_group(symbols, [](Group&) {});
  }

  /// Missing bars are no bars: run on copies of the present ones, then spread the results.
  void run_present(std::span<const std::int64_t> symbols) {
    std::vector<std::vector<double>> close(symbols.size()), src(symbols.size());
    std::vector<std::vector<std::int64_t>> present(symbols.size());
    std::vector<std::int64_t> enough;
    std::vector<std::size_t> place;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const Item& item = items_[symbols[i]];
      for (std::int64_t bar = 0; bar < item.close.bars; ++bar) {
        const double c = read(item.close, request_.close_type, bar);
        const double s = request_.separate_src ? read(item.src, request_.src_type, bar) : c;
        if (!std::isfinite(c) || !std::isfinite(s)) continue;
        close[i].push_back(c);
        if (request_.separate_src) src[i].push_back(s);
        present[i].push_back(bar);
      }
      if (static_cast<std::int64_t>(close[i].size()) > request_.params.cutout) {
        enough.push_back(symbols[i]);
        place.push_back(i);
      } else {
        spread(item, {});
      }
    }
    if (enough.empty()) return;
    run_group(enough, [&](Group& group) {
      group.close_type = group.src_type = DType::f64;
      for (int lane = 0; lane < kernels_.lanes; ++lane) {
        const std::size_t i = place[lane < group.symbols ? lane : 0];
        const auto bars = static_cast<std::int64_t>(close[i].size());
        const auto series = [&](const std::vector<double>& v) {
          return Series{reinterpret_cast<const std::byte*>(v.data()), sizeof(double), bars};
        };
        group.close[lane] = series(close[i]);
        if (request_.separate_src) group.src[lane] = series(src[i]);
        for (auto& out : group.out)
          if (!run_.last_only) out[lane].bars = bars;
        for (auto& kind : group.detail)
          for (auto& out : kind) out[lane].bars = bars;
      }
    });
    for (std::size_t k = 0; k < enough.size(); ++k) spread(items_[enough[k]], present[place[k]]);
  }

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
