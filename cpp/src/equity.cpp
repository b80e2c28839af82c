// SPDX-License-Identifier: Apache-2.0
#include "warpquant/equity/equity.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/equity/launch.h"

WQ_KERNEL_TABLE(equity)

namespace wq::equity {
namespace {

/// In batches through a device.
void curve_on_device(const Request& request, std::span<const Item> items, const Execution& execution,
                     const std::vector<double>& growth) {
  const Device device = *execution.device;
  std::vector<std::int64_t> bars;
  for (const Item& item : items) bars.push_back(item.in.bars);
  const Packing packing(std::move(bars));
  const std::int64_t in_size = item_size(request.in_type), signal_size = item_size(request.signal_type),
                     out_size = item_size(request.out_type);

  /// Up: growth factors, descriptions, values (filled up to 8 bytes), signals. Where each part begins:
  struct Layout {
    std::int64_t in, signal, out, values, positions, end;
  };
  const auto layout = [&](std::int64_t from, std::int64_t to) {
    const std::int64_t count = to - from, points = packing.points(from, to);
    Layout l;
    l.in = packing.longest(from, to) * static_cast<std::int64_t>(sizeof(double));
    l.signal = l.in + count * static_cast<std::int64_t>(sizeof(Series));
    l.out = l.signal + count * static_cast<std::int64_t>(sizeof(Series));
    l.values = l.out + count * static_cast<std::int64_t>(sizeof(Sink));
    l.positions = l.values + (points * in_size + 7) / 8 * 8;
    l.end = l.positions + points * signal_size;
    return l;
  };

  Freight freight;
  freight.items = std::ssize(items);
  freight.load = [&](std::int64_t from, std::int64_t to) {
    return Load{static_cast<std::size_t>(layout(from, to).end),
                static_cast<std::size_t>(packing.points(from, to) * out_size), 0};
  };
  freight.pack = [&](const Cargo& c) {
    const Layout l = layout(c.from, c.to);
    std::memcpy(c.up, growth.data(), static_cast<std::size_t>(l.in));
    packing.each(execution.threads, c, [&](std::int64_t i, std::int64_t offset) {
      const Item& item = items[i];
      const auto ship_series = [&](const Series& series, DType type, std::int64_t values, std::int64_t description) {
        const std::int64_t at = values + offset * item_size(type);
        gather(series, type, c.up + at);
        reinterpret_cast<Series*>(c.up + description)[i - c.from] = {c.device_up + at, item_size(type), series.bars};
      };
      ship_series(item.in, request.in_type, l.values, l.in);
      ship_series(item.signal, request.signal_type, l.positions, l.signal);
      reinterpret_cast<Sink*>(c.up + l.out)[i - c.from] = {c.device_down + offset * out_size, out_size, item.in.bars};
    });
  };
  freight.launch = [&](const Cargo& c) {
    const Layout l = layout(c.from, c.to);
    const Launch launch{request.params,
                        request.in_type,
                        request.signal_type,
                        request.out_type,
                        c.to - c.from,
                        reinterpret_cast<const Series*>(c.device_up + l.in),
                        reinterpret_cast<const Series*>(c.device_up + l.signal),
                        reinterpret_cast<const Sink*>(c.device_up + l.out),
                        reinterpret_cast<const double*>(c.device_up)};
    device.check(device.table->equity(device.index, launch, c.stream), "starting a kernel");
  };
  freight.unpack = [&](const Cargo& c) {
    packing.each(execution.threads, c, [&](std::int64_t i, std::int64_t offset) {
      scatter(c.down + offset * out_size, items[i].out, request.out_type);
    });
  };
  ship(device, execution.pipeline, freight);
}

/// Of series that lie on the device.
void prepare_resident(const Request& request, std::span<const Item> items, const std::vector<double>& growth,
                      Prepared& prepared) {
  const Device device = prepared.device();
  std::vector<Series> in, signal;
  std::vector<Sink> out;
  for (const Item& item : items) {
    in.push_back(item.in);
    signal.push_back(item.signal);
    out.push_back(item.out);
  }
  Luggage& luggage = prepared.luggage();
  const Launch launch{request.params,       request.in_type,   request.signal_type,
                      request.out_type,     std::ssize(items), luggage.send(in),
                      luggage.send(signal), luggage.send(out), luggage.send(growth)};
  prepared.add([device, launch](Handle stream) {
    device.check(device.table->equity(device.index, launch, stream), "starting a kernel");
  });
}

void curve_resident(const Request& request, std::span<const Item> items, const Execution& execution,
                    const std::vector<double>& growth) {
  if (execution.prepared != nullptr) return prepare_resident(request, items, growth, *execution.prepared);
  Prepared prepared(*execution.device, execution.stream);
  prepare_resident(request, items, growth, prepared);
  prepared.put(execution.stream);
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
  if (execution.resident) return curve_resident(request, items, execution, *growth);
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
