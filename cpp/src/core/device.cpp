// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/device.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/core/parallel.h"

namespace wq {

void Device::check(Fault fault, const char* doing) const {
  if (fault == Fault::none) return;
  const std::string what = name() + ", " + doing + ": " + table->message();
  switch (fault) {
  case Fault::out_of_memory:
    throw DeviceOutOfMemoryError(what);
  case Fault::unavailable:
    throw DeviceUnavailableError(what, "driver_error");
  case Fault::transient:
    throw DeviceTransientError(what);
  case Fault::lost:
    throw DeviceLostError(what + "; start a new process to use the device again");
  case Fault::kernel:
    throw KernelError(what);
  case Fault::capture:
    throw CaptureUnsafeError(what);
  case Fault::none:
  case Fault::invalid:
    break;
  }
  throw InternalError(what);
}

std::string Device::name() const { return std::string(table->name) + ":" + std::to_string(index); }

Fault Device::order(Handle earlier, Handle later) const noexcept { return wq::order(*this, earlier, *this, later); }

Fault order(const Device& first, Handle earlier, const Device& second, Handle later) noexcept {
  if (first.index == second.index && earlier == later) return Fault::none;
  Handle event = nullptr;
  Fault fault = first.table->create_event(first.index, &event);
  if (fault != Fault::none) return fault;
  fault = first.table->record(first.index, event, earlier);
  if (fault == Fault::none) fault = second.table->wait(second.index, later, event);
  const Fault destroyed = first.table->destroy_event(first.index, event);
  return fault == Fault::none ? destroyed : fault;
}

DeviceStream::DeviceStream(Device device) : device_(device) {
  device_.check(device_.table->create_stream(device_.index, &handle_), "making a stream");
}

DeviceStream::~DeviceStream() {
  if (handle_ != nullptr) device_.table->destroy_stream(device_.index, handle_);
}

DeviceMemory::DeviceMemory(const Device& device, Handle stream, std::size_t bytes, Where where)
    : stream_(stream), bytes_(bytes) {
  if (bytes == 0) return;
  stack_ = account_of(device, where).stack();
  data_ = stack_->obtain(bytes, stream);
}

DeviceMemory::~DeviceMemory() {
  if (data_ == nullptr) return;
  try {
    stack_->release(data_, bytes_, stream_);
  } catch (...) {
    // Nobody is left to hear of it, and the block stays in the statistics.
  }
}

void DeviceMemory::swap(DeviceMemory& other) noexcept {
  std::swap(stack_, other.stack_);
  std::swap(stream_, other.stream_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

const void* Luggage::send(const void* values, std::size_t bytes) {
  std::byte* const there = scratch(bytes);
  device_.check(device_.table->copy(device_.index, there, values, bytes, stream_), "copying to the device");
  return there;
}

int* Luggage::flags(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(int);
  std::byte* const there = scratch(bytes);
  device_.check(device_.table->fill(device_.index, there, 0, bytes, stream_), "clearing flags");
  return reinterpret_cast<int*>(there);
}

bool Luggage::any(const int* flags, std::int64_t count) const {
  std::vector<int> here(static_cast<std::size_t>(count));
  device_.check(device_.table->copy(device_.index, here.data(), flags, here.size() * sizeof(int), stream_),
                "copying from the device");
  device_.check(device_.table->synchronize(device_.index, stream_), "waiting for a stream");
  return std::any_of(here.begin(), here.end(), [](int flag) { return flag != 0; });
}

// ------------------------------------------------------------------------------------------------ pipeline

Packing::Packing(std::vector<std::int64_t> bars) : starts_(bars.size() + 1) {
  for (std::size_t i = 0; i < bars.size(); ++i) starts_[i + 1] = starts_[i] + bars[i];
}

std::int64_t Packing::longest(std::int64_t from, std::int64_t to) const {
  std::int64_t most = 0;
  for (std::int64_t i = from; i < to; ++i) most = std::max(most, starts_[i + 1] - starts_[i]);
  return most;
}

void Packing::each(int threads, const Cargo& cargo, const std::function<void(std::int64_t, std::int64_t)>& f) const {
  constexpr std::int64_t kTaskPoints = 1 << 16;
  const std::int64_t items = cargo.to - cargo.from;
  const std::int64_t tasks = std::min(items, points(cargo.from, cargo.to) / kTaskPoints + 1);
  parallel_for(threads, tasks, [&](std::int64_t task, int) {
    for (std::int64_t i = cargo.from + task * items / tasks; i < cargo.from + (task + 1) * items / tasks; ++i)
      f(i, starts_[i] - starts_[cargo.from]);
  });
}

namespace {

/// Values of `kBytes` from one memory to another, each so far apart.
template <std::size_t kBytes>
void copy_values(std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
                 std::int64_t count) {
  if (to_stride == kBytes && from_stride == kBytes) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * kBytes);
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, kBytes);
}

void copy_values(DType type, std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
                 std::int64_t count) {
  switch (type) {
  case DType::f64:
    return copy_values<8>(to, to_stride, from, from_stride, count);
  case DType::f32:
    return copy_values<4>(to, to_stride, from, from_stride, count);
  case DType::i8:
    return copy_values<1>(to, to_stride, from, from_stride, count);
  }
}

}  // namespace

void gather(const Series& series, DType type, std::byte* to) {
  copy_values(type, to, item_size(type), series.data, series.stride, series.bars);
}

void scatter(const std::byte* from, const Sink& sink, DType type) {
  copy_values(type, sink.data, sink.stride, from, item_size(type), sink.bars);
}

namespace {

/// One of the batches on their way, with memory that the batches of this place use one after the other.
class Slot {
 public:
  explicit Slot(const Device& device) : stream_(device) {}
  ~Slot() {
    // Copies must not go on into memory that is freed. A fault here has been seen before, or is nobody's any more.
    if (busy()) stream_.device().table->synchronize(stream_.device().index, stream_.handle());
  }

  bool busy() const { return cargo_.has_value(); }

  void reserve(const Load& load) {
    grow(up_, load.up, Where::pinned);
    grow(down_, load.down, Where::pinned);
    grow(device_, round_up(load.up) + round_up(load.down) + load.scratch, Where::device);
  }

  void send(const Freight& freight, std::int64_t from, std::int64_t to, const Load& load) {
    const Device& device = stream_.device();
    std::byte* const memory = device_.data();
    cargo_ = Cargo{from,   to,           stream_.handle(),           up_.data(),
                   memory, down_.data(), memory + round_up(load.up), memory + round_up(load.up) + round_up(load.down)};
    freight.pack(*cargo_);
    if (load.up > 0)
      device.check(device.table->copy(device.index, cargo_->device_up, cargo_->up, load.up, cargo_->stream),
                   "copying to the device");
    freight.launch(*cargo_);
    if (load.down > 0)
      device.check(device.table->copy(device.index, cargo_->down, cargo_->device_down, load.down, cargo_->stream),
                   "copying from the device");
  }

  void receive(const Freight& freight) {
    if (!busy()) return;
    stream_.synchronize();
    const Cargo cargo = *std::exchange(cargo_, std::nullopt);
    freight.unpack(cargo);
  }

 private:
  static constexpr std::size_t kAlign = 256;
  static std::size_t round_up(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

  void grow(DeviceMemory& memory, std::size_t bytes, Where where) {
    if (memory.bytes() >= bytes && memory.data() != nullptr) return;
    memory = {};
    memory = DeviceMemory(stream_.device(), stream_.handle(), bytes, where);
  }

  DeviceStream stream_;
  DeviceMemory up_, down_, device_;
  std::optional<Cargo> cargo_;
};

/// As many items from `from` on as fit into `bytes`, `floor` at least.
std::int64_t end_of_batch(const Freight& freight, std::int64_t from, std::size_t bytes, std::int64_t floor) {
  const auto fits = [&](std::int64_t to) {
    const Load load = freight.load(from, to);
    return load.up + load.down + load.scratch <= bytes;
  };
  std::int64_t low = std::min(from + floor, freight.items), high = freight.items;
  if (low == high || fits(high)) return high;
  while (low + 1 < high) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace

void ship(const Device& device, const PipelineOptions& options, const Freight& freight) {
  std::vector<std::unique_ptr<Slot>> slots;  // made as batches need them
  std::size_t most_slots = static_cast<std::size_t>(std::max(options.streams, 1));
  std::size_t batch_bytes = options.batch_bytes;
  std::int64_t from = 0;
  for (std::size_t turn = 0; from < freight.items; ++turn) {
    check_interrupt();
    const std::size_t place = turn % most_slots;
    if (place == slots.size()) slots.push_back(std::make_unique<Slot>(device));
    Slot& slot = *slots[place];
    slot.receive(freight);
    const std::int64_t to = end_of_batch(freight, from, batch_bytes, options.floor);
    const Load load = freight.load(from, to);
    try {
      slot.reserve(load);
    } catch (const DeviceOutOfMemoryError&) {
      // Finish what is under way, give all memory back, and go on with half.
      for (const auto& other : slots) other->receive(freight);
      const bool was_alone = slots.size() == 1;
      slots.clear();
      if (to > from + options.floor)
        batch_bytes = (load.up + load.down + load.scratch) / 2;
      else if (was_alone)
        throw;
      else
        most_slots = 1;
      account_of(device, Where::device).count(Rung::halved);
      turn = most_slots - 1;  // the next is the first again
      continue;
    }
    slot.send(freight, from, to, load);
    from = to;
  }
  for (const auto& slot : slots) slot->receive(freight);
}

}  // namespace wq
