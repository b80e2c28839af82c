// SPDX-License-Identifier: Apache-2.0
#include "warpquant/equity/equity.h"

#include <algorithm>
#include <mutex>

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/transform.h"
#include "warpquant/equity/launch.h"

WQ_KERNEL_TABLE(equity)

namespace wq::equity {
namespace {

void curve_on_device(const Request& request, std::span<const Item> items, const Execution& execution,
                     const std::vector<double>& growth) {
  Transform t;
  t.inputs = 2;
  t.in_type[0] = request.in_type;
  t.in_type[1] = request.signal_type;
  t.out_type = request.out_type;
  for (const Item& item : items) t.in.push_back(item.in);
  for (const Item& item : items) t.in.push_back(item.signal);
  for (const Item& item : items) t.out.push_back(item.out);
  t.by_bar = &growth;
  // Steps compose only where no equity is negative.
  t.cut = request.exact || !(request.params.floor >= 0) ? Cut::nowhere : Cut::always;
  t.launch = [params = request.params](const Device& device, const Walks& walks, const double* by_bar, Handle stream) {
    return device.table->equity(device.index, {params, by_bar, walks}, stream);
  };
  transform(t, execution);
}

}  // namespace

void curve(const Request& request, std::span<const Item> items, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  std::int64_t longest = 0, points = 0;
  for (const Item& item : items) {
    longest = std::max(longest, item.in.bars);
    points += item.in.bars;
  }
  const bool past_cache =
      points * (item_size(request.in_type) + item_size(request.signal_type) + item_size(request.out_type)) > kPastCache;
  const auto growth = growth_table(request.growth_per_bar, request.params.cutout, longest, execution.level);
  if (execution.device) return curve_on_device(request, items, execution, *growth);
  const auto count = static_cast<std::int64_t>(items.size());
  const std::vector<std::int64_t> order = longest_first(count, [&](std::int64_t i) { return items[i].in.bars; });
  parallel_for(execution.threads, (count + kernels.lanes - 1) / kernels.lanes, [&](std::int64_t task, int) {
    Group group{};
    group.in_type = request.in_type;
    group.signal_type = request.signal_type;
    group.out_type = request.out_type;
    group.past_cache = past_cache;
    for (std::int64_t i = task * kernels.lanes; i < std::min((task + 1) * kernels.lanes, count); ++i) {
      const Item& item = items[order[i]];
      if (item.in.bars == 0) continue;
      group.in[group.lanes] = item.in;
      group.signal[group.lanes] = item.signal;
      group.out[group.lanes++] = item.out;
    }
    if (group.lanes > 0) kernels.curve(request.params, growth->data(), group);
  });
}

std::shared_ptr<const std::vector<double>> growth_table(double rate, std::int64_t origin, std::int64_t bars,
                                                        Level level) {
  struct Last {
    std::mutex mutex;
    double rate;
    std::int64_t origin;
    std::shared_ptr<const std::vector<double>> table;
  };
  Last& last = immortal<Last>();
  {
    const std::lock_guard lock(last.mutex);
    if (last.table && last.rate == rate && last.origin == origin &&
        static_cast<std::int64_t>(last.table->size()) >= bars)
      return last.table;
  }
  auto table = std::make_shared<std::vector<double>>(static_cast<std::size_t>(bars));
  kernels_at(level).growth(rate, origin, bars, table->data());
  const std::lock_guard lock(last.mutex);
  last.rate = rate;
  last.origin = origin;
  last.table = table;
  return table;
}

}  // namespace wq::equity
