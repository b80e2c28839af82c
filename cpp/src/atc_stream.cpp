// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/streams.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/values.h"
#include "warpquant/equity/equity.h"

WQ_KERNEL_TABLE(atc)

namespace wq::atc {
namespace {

// Groups of a task: about 30 us of work.
constexpr std::int64_t kGroupsOfTask = 32;
// Values that are taken before an interrupt is looked for.
constexpr std::int64_t kValuesAtOnce = std::int64_t{1} << 19;

double value_of(const Grid& grid, DType type, std::int64_t symbol, std::int64_t bar) {
  const std::byte* const p = grid.at(symbol, bar);
  return type == DType::f32 ? load_value<float>(p) : load_value<double>(p);
}

bool is_present(const Feed& feed, bool separate_src, std::int64_t symbol, std::int64_t bar) {
  return std::isfinite(value_of(feed.close, feed.close_type, symbol, bar)) &&
         (!separate_src || std::isfinite(value_of(feed.src, feed.src_type, symbol, bar)));
}

}  // namespace

Stream::Stream(const Params& params, const Cuts<double>& cuts, bool separate_src, std::optional<Device> device)
    : device_(device) {
  const Kernels& kernels = kernels_at(best_level());
  run_.params = params;
  run_.cuts = cuts;
  run_.bars = std::numeric_limits<std::int64_t>::max() / 2;
  std::fill(std::begin(run_.wants), std::end(run_.wants), true);
  shared_.separate_src = separate_src;
  std::byte* const scratch = thread_scratch(kernels.stream_scratch(run_));
  rows_ = kernels.stream_start(run_, shared_, nullptr, scratch);
  fresh_.assign(static_cast<std::size_t>(rows_), Row{});
  kernels.stream_start(run_, shared_, fresh_.data()->lane, scratch);
  if (!device_) return;
  home_ = DeviceStream::make_shared(*device_, kUsualPriority);
  shared_there_ = std::make_shared<DeviceMemory>(*device_, home_->handle(), sizeof shared_);
  device_->send(shared_there_->data(), &shared_, sizeof shared_, home_->handle());
  device_->wait(home_->handle());
}

Stream::State Stream::state() const {
  if (!device_ || symbols_ == 0) return state_;
  State state(static_cast<std::size_t>(groups() * rows_));
  device_->fetch(state.data(), state_there_->data(), state.size() * sizeof(Row), home_->handle());
  return state;
}

void Stream::set_state(State state) {
  if (!device_) {
    state_ = std::move(state);
    return;
  }
  if (state.empty()) {
    state_there_ = nullptr;
    return;
  }
  const std::size_t bytes = state.size() * sizeof(Row);
  auto there = std::make_shared<DeviceMemory>(*device_, home_->handle(), bytes);
  device_->send(there->data(), state.data(), bytes, home_->handle());
  device_->wait(home_->handle());
  state_there_ = std::move(there);
}

std::vector<std::int64_t> Stream::bars() const {
  const State state = this->state();
  std::vector<std::int64_t> bars(static_cast<std::size_t>(symbols_));
  for (std::int64_t i = 0; i < symbols_; ++i) bars[i] = static_cast<std::int64_t>(number(state, i, 0));
  return bars;
}

void Stream::select(const std::vector<std::int64_t>& kept, std::int64_t added) {
  const State before = state();
  const std::int64_t symbols = std::ssize(kept) + added;
  State after;
  for (std::int64_t g = 0; g < (symbols + kMaxLanes - 1) / kMaxLanes; ++g)
    after.insert(after.end(), fresh_.begin(), fresh_.end());
  for (std::int64_t i = 0; i < std::ssize(kept); ++i)
    for (std::int64_t row = 0; row < rows_; ++row) number(after, i, row) = number(before, kept[i], row);
  set_state(std::move(after));
  symbols_ = symbols;
}

void Stream::save(double* table) const {
  const State state = this->state();
  for (std::int64_t i = 0; i < symbols_; ++i)
    for (std::int64_t row = 0; row < rows_; ++row) table[i * rows_ + row] = number(state, i, row);
}

void Stream::load(const double* table) {
  constexpr double kMostBars = 0x1p53;
  State state = this->state();
  std::int64_t most_bars = 0;
  for (std::int64_t i = 0; i < symbols_; ++i) {
    const double bars = table[i * rows_];
    WQ_EXPECT(bars >= 0 && bars < kMostBars && bars == std::floor(bars), ParameterError,
              "state: says that symbol " + std::to_string(i) + " has had " + std::to_string(bars) + " bars");
    most_bars = std::max(most_bars, static_cast<std::int64_t>(bars));
    for (std::int64_t row = 0; row < rows_; ++row) number(state, i, row) = table[i * rows_ + row];
  }
  set_state(std::move(state));
  most_bars_ = most_bars;
}

void Stream::check(const Feed& feed, bool refuses_missing,
                   const std::function<std::string(std::int64_t)>& label) const {
  const auto look = [&](const Grid& grid, DType type, const char* argument) {
    for (std::int64_t i = 0; i < symbols_; ++i)
      for (std::int64_t bar = 0; bar < feed.bars; ++bar) {
        const double x = value_of(grid, type, i, bar);
        if (std::abs(x) < kTooLarge) continue;
        const std::string where = feed.bars == 1 ? "" : " at bar " + std::to_string(bar);
        WQ_EXPECT(!std::isfinite(x), ParameterError,
                  argument + label(i) + " is too large" + where + "; accepted are magnitudes below 2**1000");
        WQ_EXPECT(!refuses_missing, ParameterError,
                  argument + label(i) + " is missing (NaN or infinite)" + where +
                      ", and nan_policy='raise' accepts present values only");
      }
  };
  look(feed.close, feed.close_type, "prices: ");
  if (shared_.separate_src) look(feed.src, feed.src_type, "src: ");
}

void Stream::take(Feed feed, bool refuses_missing, const std::function<std::string(std::int64_t)>& label,
                  const Execution& execution) {
  feed.rows = rows_;
  feed.symbols = symbols_;
  if (symbols_ == 0) return;
  if (lost_) throw DeviceLostError("the stream's state is lost: its device did not answer; load a saved one");
  check(feed, refuses_missing, label);
  const std::int64_t bars = feed.bars;
  const auto from = [](Grid grid, std::int64_t bar) {
    if (grid.data != nullptr) grid.data += bar * grid.bar_step;
    return grid;
  };
  const std::int64_t at_once = std::max<std::int64_t>(1, kValuesAtOnce / symbols_);
  for (std::int64_t bar = 0; bar < bars; bar += at_once) {
    Feed part = feed;
    part.bars = std::min(at_once, bars - bar);
    part.close = from(feed.close, bar);
    part.src = from(feed.src, bar);
    for (int o = 0; o < kOutputs; ++o) part.out[o] = from(feed.out[o], bar);
    take_bars(part, execution);
  }
}

void Stream::take_bars(const Feed& feed, const Execution& execution) {
  const Kernels& kernels = kernels_at(execution.level);
  prepare_growth(feed.bars, execution.level);
  Run run = run_;
  run.growth = growth_->data();
  for (int o = 0; o < kOutputs; ++o) run.wants[o] = is_class(o) || feed.out[o].data != nullptr;
  if (device_) {
    take_on_device(run, feed, execution);
    return remember(feed);
  }
  Feed here = feed;
  here.state = state_.data()->lane;
  const std::int64_t tasks = (groups() + kGroupsOfTask - 1) / kGroupsOfTask;
  std::vector<char> done(static_cast<std::size_t>(tasks));
  const auto task = [&](std::int64_t t) {
    kernels.stream(run, shared_, here, t * kGroupsOfTask, std::min((t + 1) * kGroupsOfTask, groups()),
                   thread_scratch(kernels.stream_scratch(run)));
    done[t] = 1;
  };
  try {
    parallel_for(execution.threads, tasks, [&](std::int64_t t, int) { task(t); });
  } catch (...) {
    // Interrupted, say. A bar that some symbols have had must be had by all.
    for (std::int64_t t = 0; t < tasks; ++t)
      if (!done[t]) task(t);
    remember(feed);
    throw;
  }
  remember(feed);
}

/// The table of growth factors reaches past the bars to come.
void Stream::prepare_growth(std::int64_t bars, Level level) {
  if (growth_ && std::ssize(*growth_) >= most_bars_ + bars) {
    most_bars_ += bars;
    return;
  }
  // That counts bars which not every symbol has had.
  most_bars_ = 0;
  for (const std::int64_t had : this->bars()) most_bars_ = std::max(most_bars_, had);
  most_bars_ += bars;
  if (growth_ && std::ssize(*growth_) >= most_bars_) return;
  const std::int64_t enough = std::max<std::int64_t>(1024, 2 * most_bars_);
  growth_ = equity::growth_table(run_.params.la_per_bar, run_.params.cutout, enough, level);
  growth_there_ = nullptr;
}

/// Results of the newest bars, next to those of earlier ones.
void Stream::remember(const Feed& feed) const {
  for (int o = 0; o < kOutputs; ++o) {
    if (feed.last[o].data == nullptr || feed.out[o].data == nullptr) continue;
    const std::size_t size = is_class(o) ? 1 : static_cast<std::size_t>(item_size(feed.out_type));
    for (std::int64_t i = 0; i < symbols_; ++i) {
      std::int64_t bar = feed.bars - 1;
      while (bar >= 0 && !is_present(feed, shared_.separate_src, i, bar)) --bar;
      if (bar >= 0) std::memcpy(feed.last[o].at(i, 0), feed.out[o].at(i, bar), size);
    }
  }
}

void Stream::take_on_device(const Run& run, const Feed& feed, const Execution& execution) {
  const Device device = *device_;
  if (!growth_there_) {
    const std::size_t bytes = growth_->size() * sizeof(double);
    auto there = std::make_shared<DeviceMemory>(device, home_->handle(), bytes);
    device.send(there->data(), growth_->data(), bytes, home_->handle());
    device.wait(home_->handle());
    growth_there_ = std::move(there);
  }
  // All symbols are one batch, which comes to the device whole or not at all.
  const std::int64_t points = symbols_ * feed.bars;
  const std::size_t of_input = points * sizeof(double);
  const auto size_of = [&](int output) { return is_class(output) ? std::int64_t{1} : item_size(feed.out_type); };
  Freight freight;
  freight.items = 1;
  freight.load = [&](std::int64_t, std::int64_t) {
    Load load{of_input * (shared_.separate_src ? 2 : 1), 0, device.table->atc_stream_scratch(run, groups())};
    for (int o = 0; o < kOutputs; ++o)
      if (feed.out[o].data != nullptr) load.down += points * size_of(o);
    return load;
  };
  const auto each_value = [&](auto f) {
    for (std::int64_t i = 0; i < symbols_; ++i)
      for (std::int64_t bar = 0; bar < feed.bars; ++bar) f(i, bar, i * feed.bars + bar);
  };
  freight.pack = [&](const Cargo& c) {
    const auto pack = [&](const Grid& grid, DType type, double* to) {
      each_value([&](std::int64_t i, std::int64_t bar, std::int64_t n) { to[n] = value_of(grid, type, i, bar); });
    };
    auto* const up = reinterpret_cast<double*>(c.up);
    pack(feed.close, feed.close_type, up);
    if (shared_.separate_src) pack(feed.src, feed.src_type, up + points);
  };
  const auto grid_of = [&](std::byte* data, std::int64_t size) { return Grid{data, feed.bars * size, size}; };
  /// Call f(output, bytes of a value, offset) for what is wanted, widest values first.
  const auto each_output = [&](auto f) {
    std::int64_t offset = 0;
    for (const bool classes : {false, true})
      for (int o = 0; o < kOutputs; ++o) {
        if (feed.out[o].data == nullptr || is_class(o) != classes) continue;
        f(o, size_of(o), offset);
        offset += points * size_of(o);
      }
  };
  freight.launch = [&](const Cargo& c) {
    StreamLaunch launch{run, reinterpret_cast<const Group*>(shared_there_->data()), feed, 0, groups(), c.scratch};
    launch.run.growth = reinterpret_cast<const double*>(growth_there_->data());
    launch.feed.state = reinterpret_cast<double*>(state_there_->data());
    launch.feed.close = grid_of(c.device_up, sizeof(double));
    launch.feed.src = grid_of(c.device_up + of_input, sizeof(double));
    launch.feed.close_type = launch.feed.src_type = DType::f64;
    each_output([&](int o, std::int64_t size, std::int64_t offset) {
      launch.feed.out[o] = grid_of(c.device_down + offset, size);
    });
    device.check(device.table->atc_stream(device.index, launch, c.stream), "starting a kernel");
  };
  freight.unpack = [&](const Cargo& c) {
    each_output([&](int o, std::int64_t size, std::int64_t offset) {
      each_value([&](std::int64_t i, std::int64_t bar, std::int64_t n) {
        if (feed.spreads || is_present(feed, shared_.separate_src, i, bar))
          std::memcpy(feed.out[o].at(i, bar), c.down + offset + n * size, static_cast<std::size_t>(size));
      });
    });
  };
  try {
    ship(device, {.streams = 1, .batch_bytes = execution.pipeline.batch_bytes, .floor = 1}, freight);
  } catch (...) {
    // The device may still work on the state: then that stays, for good.
    try {
      device.synchronize(5.0);
    } catch (...) {
      lost_ = true;
      for (const auto& memory : {state_there_, growth_there_, shared_there_}) new auto(memory);
    }
    throw;
  }
}

}  // namespace wq::atc
