// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/transform.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace wq {
namespace {

constexpr std::int64_t kNumber = sizeof(double);

/// Everything but where things lie.
Walks walks_of(const Transform& t, std::int64_t series, std::int64_t longest) {
  Walks walks{};
  walks.series = series;
  walks.inputs = t.inputs;
  std::copy(std::begin(t.in_type), std::end(t.in_type), walks.in_type);
  walks.out_type = t.out_type;
  walks.longest = longest;
  cut_into_pieces(walks, t.cut);
  return walks;
}

std::size_t scratch_of(const Walks& walks) {
  return walks.pieces > 1 ? static_cast<std::size_t>(walks.series * walks.pieces) * kSlotBytes : 0;
}

/// Where a batch has what goes up: numbers by bar, descriptions, then values, each input from a multiple of 8 on.
struct Layout {
  std::int64_t in, out, values, end;
};

void transform_shipped(const Transform& t, const Execution& execution) {
  const Device device = *execution.device;
  const std::int64_t count = std::ssize(t.out);
  std::vector<std::int64_t> bars;
  for (const Sink& out : t.out) bars.push_back(out.bars);
  const Packing packing(std::move(bars));
  const std::int64_t out_size = item_size(t.out_type);
  const auto input_bytes = [&](int input, std::int64_t points) {
    return (points * item_size(type_of_input(t.in_type, t.inputs, input)) + 7) / 8 * 8;
  };
  const auto layout = [&](std::int64_t from, std::int64_t to) {
    const std::int64_t series = to - from, points = packing.points(from, to);
    Layout l;
    l.in = t.by_bar == nullptr ? 0 : packing.longest(from, to) * kNumber;
    l.out = l.in + t.inputs * series * static_cast<std::int64_t>(sizeof(Series));
    l.values = l.end = l.out + series * static_cast<std::int64_t>(sizeof(Sink));
    for (int k = 0; k < t.inputs; ++k) l.end += input_bytes(k, points);
    return l;
  };
  const auto walks_from = [&](std::int64_t from, std::int64_t to) {
    return walks_of(t, to - from, packing.longest(from, to));
  };

  Freight freight;
  freight.items = count;
  freight.load = [&](std::int64_t from, std::int64_t to) {
    return Load{static_cast<std::size_t>(layout(from, to).end),
                static_cast<std::size_t>(packing.points(from, to) * out_size), scratch_of(walks_from(from, to))};
  };
  freight.pack = [&](const Cargo& c) {
    const Layout l = layout(c.from, c.to);
    const std::int64_t series = c.to - c.from, points = packing.points(c.from, c.to);
    if (l.in > 0) std::memcpy(c.up, t.by_bar->data(), static_cast<std::size_t>(l.in));
    packing.each(execution.threads, c, [&](std::int64_t i, std::int64_t offset) {
      std::int64_t values = l.values;
      for (int k = 0; k < t.inputs; ++k) {
        const DType type = type_of_input(t.in_type, t.inputs, k);
        const std::int64_t at = values + offset * item_size(type);
        const Series& from = t.in[k * count + i];
        gather(from, type, c.up + at);
        reinterpret_cast<Series*>(c.up + l.in)[k * series + i - c.from] = {c.device_up + at, item_size(type),
                                                                           from.bars};
        values += input_bytes(k, points);
      }
      reinterpret_cast<Sink*>(c.up + l.out)[i - c.from] = {c.device_down + offset * out_size, out_size, t.out[i].bars};
    });
  };
  freight.launch = [&](const Cargo& c) {
    const Layout l = layout(c.from, c.to);
    Walks walks = walks_from(c.from, c.to);
    walks.in = reinterpret_cast<const Series*>(c.device_up + l.in);
    walks.out = reinterpret_cast<const Sink*>(c.device_up + l.out);
    walks.scratch = c.scratch;
    device.check(t.launch(device, walks, reinterpret_cast<const double*>(c.device_up), c.stream), "starting a kernel");
  };
  freight.unpack = [&](const Cargo& c) {
    packing.each(execution.threads, c, [&](std::int64_t i, std::int64_t offset) {
      scatter(c.down + offset * out_size, t.out[i], t.out_type);
    });
  };
  ship(device, execution.pipeline, freight);
}

void prepare_resident(const Transform& t, Prepared& prepared) {
  std::int64_t longest = 0;
  for (const Sink& out : t.out) longest = std::max(longest, out.bars);
  Luggage& luggage = prepared.luggage();
  Walks walks = walks_of(t, std::ssize(t.out), longest);
  walks.in = luggage.send(t.in);
  walks.out = luggage.send(t.out);
  walks.scratch = luggage.scratch(scratch_of(walks));
  const double* const by_bar = t.by_bar == nullptr ? nullptr : luggage.send(*t.by_bar);
  prepared.add([launch = t.launch, device = prepared.device(), walks, by_bar](Handle stream) {
    device.check(launch(device, walks, by_bar, stream), "starting a kernel");
  });
}

void transform_resident(const Transform& t, const Execution& execution) {
  if (execution.prepared != nullptr) return prepare_resident(t, *execution.prepared);
  Prepared prepared(*execution.device, execution.stream);
  prepare_resident(t, prepared);
  prepared.put(execution.stream);
}

}  // namespace

void transform(const Transform& t, const Execution& execution) {
  execution.resident ? transform_resident(t, execution) : transform_shipped(t, execution);
}

}  // namespace wq
