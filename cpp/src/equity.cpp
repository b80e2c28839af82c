// SPDX-License-Identifier: Apache-2.0
#include "warpquant/equity/equity.h"

#include <algorithm>
#include <mutex>
#include <numeric>

#include "warpquant/core/levels.h"

WQ_KERNEL_TABLE(equity)

namespace wq::equity {

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
  // Lanes that end together leave none of the others to walk alone.
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return items[a].in.bars > items[b].in.bars; });
  const auto count = static_cast<std::int64_t>(items.size());
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
  static Last& last = []() -> Last& {
    auto* made = new Last{};  // never destroyed: worker threads may outlive every static object
    hold_during_fork(made->mutex);
    return *made;
  }();
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
