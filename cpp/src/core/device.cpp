// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/device.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/core/parallel.h"

namespace wq {
namespace {

/// The driver takes so much of pageable memory along with the call; for more at a time the caller would have to wait
/// for the stream.
constexpr std::size_t kTakenAtOnce = std::size_t{64} << 10;

}  // namespace

void Device::check(Fault fault, const char* doing) const {
  if (fault != Fault::none) raise(fault, name() + ", " + doing + ": " + table->message());
}

void Device::raise(Fault fault, const std::string& what) const {
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

bool Device::capturing(Handle stream) const {
  int found = 0;
  check(table->capturing(index, stream, &found), "asking a stream");
  return found != 0;
}

// ------------------------------------------------------------------------------------------------ waiting

namespace {

std::atomic<double (*)()> wait_limit{nullptr};

/// Ask until the answer is yes. Work that takes less than a moment pays for no sleep. From then on pauses are a
/// sixteenth of the time waited so far, so that a wait is hardly longer than the work.
template <class Ask>
void poll(const Device& device, std::optional<double> seconds, Ask ask) {
  using Clock = std::chrono::steady_clock;
  using namespace std::chrono_literals;
  constexpr auto kMoment = 200us, kLongestPause = 1000us, kInterruptPeriod = 50000us;
  const auto begin = Clock::now();
  auto interrupts_asked = begin;
  for (bool lasts = false; !ask();) {
    const auto now = Clock::now();
    if (now - begin < kMoment && !seconds) continue;
    if (!lasts && !seconds) {
      const auto limit = wait_limit.load();
      if (const double most = limit == nullptr ? 0.0 : limit(); most > 0) seconds = most;
    }
    lasts = true;
    if (seconds && now - begin >= std::chrono::duration<double>(*seconds)) {
      char text[32];
      std::snprintf(text, sizeof text, "%g", *seconds);
      throw DeviceTimeoutError(
          device.name() + ": was not done after " + text +
          " s, the longest wait that was allowed (device.timeout, or an argument); its work goes on");
    }
    if (now - interrupts_asked >= kInterruptPeriod) {
      check_interrupt();
      interrupts_asked = now;
    }
    if (now - begin >= kMoment)
      std::this_thread::sleep_for(std::min<Clock::duration>((now - begin) / 16, kLongestPause));
  }
}

}  // namespace

void set_wait_limit(double (*limit)()) { wait_limit = limit; }

void Device::wait(Handle stream, std::optional<double> seconds) const {
  poll(*this, seconds, [&] {
    int done = 0;
    check(table->query(index, stream, &done), "waiting for a stream");
    return done != 0;
  });
}

void Device::wait_event(Handle event, std::optional<double> seconds) const {
  poll(*this, seconds, [&] {
    int come = 0;
    check(table->query_event(index, event, &come), "waiting for an event");
    return come != 0;
  });
}

void Device::synchronize(std::optional<double> seconds) const {
  // No table can be asked whether all streams are done, so another thread waits, for as long as it takes.
  struct Answer {
    std::atomic<bool> come{false};
    Fault fault;
    std::string message;
  };
  const auto answer = std::make_shared<Answer>();
  std::thread([answer, device = *this] {
    answer->fault = device.table->synchronize(device.index);
    answer->message = device.table->message();
    answer->come = true;
  }).detach();
  poll(*this, seconds, [&] { return answer->come.load(); });
  if (answer->fault != Fault::none) raise(answer->fault, name() + ", waiting for the device: " + answer->message);
}

namespace {

/// Pinned memory for a copy of so many bytes, which has as many pieces as it takes.
class Staging {
 public:
  Staging(const Device& device, Handle stream, std::size_t bytes)
      : device_(device), stream_(stream),
        memory_(std::make_shared<const DeviceMemory>(device, stream, std::min(bytes, kPiece), Where::pinned)) {}

  std::byte* data() const { return memory_->data(); }
  /// Call f(offset, size) for each piece.
  template <class F>
  static void each(std::size_t bytes, F f) {
    for (std::size_t offset = 0; offset < bytes; offset += kPiece) f(offset, std::min(bytes - offset, kPiece));
  }
  /// Wait for the piece that is under way.
  void wait() const {
    try {
      device_.wait(stream_);
    } catch (...) {
      keep_until_done(device_, stream_, memory_);
      throw;
    }
  }

 private:
  static constexpr std::size_t kPiece = std::size_t{16} << 20;
  const Device& device_;
  Handle stream_;
  std::shared_ptr<const DeviceMemory> memory_;
};

}  // namespace

void Device::fetch(void* to, const void* from, std::size_t bytes, Handle stream) const {
  const Staging staging(*this, stream, bytes);
  Staging::each(bytes, [&](std::size_t offset, std::size_t size) {
    check(table->copy(index, staging.data(), static_cast<const std::byte*>(from) + offset, size, stream),
          "copying from the device");
    staging.wait();
    std::memcpy(static_cast<std::byte*>(to) + offset, staging.data(), size);
  });
}

void Device::send(void* to, const void* from, std::size_t bytes, Handle stream) const {
  if (bytes <= kTakenAtOnce) return check(table->copy(index, to, from, bytes, stream), "copying to the device");
  const Staging staging(*this, stream, bytes);
  Staging::each(bytes, [&](std::size_t offset, std::size_t size) {
    std::memcpy(staging.data(), static_cast<const std::byte*>(from) + offset, size);
    check(table->copy(index, static_cast<std::byte*>(to) + offset, staging.data(), size, stream),
          "copying to the device");
    staging.wait();
  });
}

namespace {

struct Held {
  Device device;
  Handle event;  // null: nobody can tell when
  std::shared_ptr<const void> things;
};

struct AllHeld {
  std::mutex mutex;
  std::vector<Held> list;
};

}  // namespace

void keep_until_done(const Device& device, Handle stream, std::shared_ptr<const void> things) noexcept {
  const BackendTable& table = *device.table;
  Handle event = nullptr;
  for (int attempt = 0; attempt < 2 && event == nullptr; ++attempt) {  // to give up costs the memory
    Fault fault = table.create_event(device.index, &event);
    if (fault == Fault::none) fault = table.record(device.index, event, stream);
    if (fault != Fault::none && event != nullptr) table.destroy_event(device.index, std::exchange(event, nullptr));
    if (fault == Fault::lost) return;  // a lost device does nothing any more
  }
  {
    AllHeld& all = immortal<AllHeld>();
    const std::lock_guard lock(all.mutex);
    all.list.push_back({device, event, std::move(things)});
  }
  release_kept();
}

void release_kept() noexcept {
  std::vector<std::shared_ptr<const void>> done;  // let go of without the lock: that may take others
  AllHeld& all = immortal<AllHeld>();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.list, [&](Held& kept) {
    const Device& device = kept.device;
    int come = 0;
    if (kept.event == nullptr) return false;
    const Fault fault = device.table->query_event(device.index, kept.event, &come);
    if (fault != Fault::lost && (fault != Fault::none || come == 0)) return false;
    device.table->destroy_event(device.index, kept.event);
    done.push_back(std::move(kept.things));
    return true;
  });
}

// ------------------------------------------------------------------------------------------------ streams

namespace {

using Place = std::pair<const BackendTable*, int>;

Place place_of(const Device& device) { return {device.table, device.index}; }

/// Streams of threads that have ended, for those to come.
struct IdleStreams {
  std::mutex mutex;
  std::map<Place, std::vector<std::unique_ptr<DeviceStream>>> of;
  std::map<Place, std::int64_t> made;
};

struct ThreadStreams {
  std::map<Place, std::unique_ptr<DeviceStream>> of;

  ~ThreadStreams() {
    IdleStreams& idle = immortal<IdleStreams>();
    const std::lock_guard lock(idle.mutex);
    for (auto& [place, stream] : of) idle.of[place].push_back(std::move(stream));
  }
};

/// Streams that may be asked for by handle.
struct SharedStreams {
  std::mutex mutex;
  std::map<std::pair<Place, Handle>, std::weak_ptr<const DeviceStream>> of;
};

}  // namespace

Handle thread_stream(const Device& device) {
  static thread_local ThreadStreams mine;
  auto& stream = mine.of[place_of(device)];
  if (stream) return stream->handle();
  IdleStreams& idle = immortal<IdleStreams>();
  {
    const std::lock_guard lock(idle.mutex);
    if (auto& list = idle.of[place_of(device)]; !list.empty()) {
      stream = std::move(list.back());
      list.pop_back();
      return stream->handle();
    }
  }
  stream = std::make_unique<DeviceStream>(device);
  const std::lock_guard lock(idle.mutex);
  ++idle.made[place_of(device)];
  return stream->handle();
}

std::int64_t thread_streams(const Device& device) {
  IdleStreams& idle = immortal<IdleStreams>();
  const std::lock_guard lock(idle.mutex);
  return idle.made[place_of(device)];
}

DeviceStream::DeviceStream(Device device, int priority) : device_(device) {
  device_.check(device_.table->create_stream(device_.index, priority, &handle_), "making a stream");
}

DeviceStream::~DeviceStream() {
  if (handle_ != nullptr) device_.table->destroy_stream(device_.index, handle_);
}

std::shared_ptr<const DeviceStream> DeviceStream::make_shared(Device device, int priority) {
  const auto forget = [](const DeviceStream* stream) {
    {
      SharedStreams& shared = immortal<SharedStreams>();
      const std::lock_guard lock(shared.mutex);
      shared.of.erase({place_of(stream->device()), stream->handle()});
    }
    delete stream;
  };
  std::shared_ptr<const DeviceStream> stream(new DeviceStream(device, priority), forget);
  SharedStreams& shared = immortal<SharedStreams>();
  const std::lock_guard lock(shared.mutex);
  shared.of[{place_of(device), stream->handle()}] = stream;
  return stream;
}

std::shared_ptr<const DeviceStream> DeviceStream::owner(const Device& device, Handle stream) {
  SharedStreams& shared = immortal<SharedStreams>();
  const std::lock_guard lock(shared.mutex);
  const auto it = shared.of.find({place_of(device), stream});
  return it == shared.of.end() ? nullptr : it->second.lock();
}

// ------------------------------------------------------------------------------------------------ memory

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

std::byte* Luggage::send(const void* values, std::size_t bytes) {
  std::byte* const there = scratch(bytes);
  for (std::size_t done = 0; done < bytes; done += kTakenAtOnce)
    device_.check(device_.table->copy(device_.index, there + done, static_cast<const std::byte*>(values) + done,
                                      std::min(kTakenAtOnce, bytes - done), stream_),
                  "copying to the device");
  return there;
}

std::vector<Flaws> Luggage::survey(const Series* series, std::int64_t count, DType type) {
  auto* const flaws = reinterpret_cast<Flaws*>(scratch(static_cast<std::size_t>(count) * sizeof(Flaws)));
  device_.check(device_.table->survey(device_.index, series, count, type, flaws, stream_), "starting a kernel");
  return fetch(flaws, count);
}

// ------------------------------------------------------------------------------------------------ prepared calls

Prepared::Prepared(const Device& device, Handle home)
    : owner_(DeviceStream::owner(device, home)), device_(device), home_(home), luggage_(device, home), streams_{home} {}

Prepared::~Prepared() {
  if (!arrays_.empty())
    keep_until_done(device_, home_, std::make_shared<const std::vector<std::shared_ptr<const void>>>(arrays_));
}

int* Prepared::flags(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(int);
  auto* const flags = reinterpret_cast<int*>(luggage_.scratch(bytes));
  add([this, flags, bytes](Handle stream) {
    device_.check(device_.table->fill(device_.index, flags, 0, bytes, stream), "clearing flags");
  });
  return flags;
}

void Prepared::use(std::shared_ptr<const void> array, Handle stream) {
  arrays_.push_back(std::move(array));
  if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) streams_.push_back(stream);
}

void Prepared::put(Handle stream) const {
  for (const auto& work : work_) work(stream);
}

void Prepared::run(Handle stream) {
  if (device_.capturing(stream)) return put(stream);
  for (const Handle other : streams_)
    if (device_.capturing(other))
      throw CaptureUnsafeError(
          "a stream in which arrays of the call are used is being captured, the one of this run not");
  // Home is among them, so runs in several streams come one after the other. Those of several threads must not mix.
  const std::lock_guard lock(run_);
  for (const Handle other : streams_) device_.check(device_.order(other, stream), "ordering streams");
  try {
    put(stream);
    for (const Handle other : streams_) device_.check(device_.order(stream, other), "ordering streams");
  } catch (...) {
    // What has begun goes on, and memory is freed in the order of the others.
    for (const Handle other : streams_) device_.order(stream, other);
    throw;
  }
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
  // One stream for copies and kernels, in the order of the batch. Priorities are those of kernels: copies take their
  // turn on engines of their own, whatever the stream's. So kernels of batches go before other work of the device.
  explicit Slot(const Device& device) : stream_(device, kHighPriority) {}

  bool busy() const { return cargo_.has_value(); }
  const DeviceStream& stream() const { return stream_; }

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
    stream_.device().wait(stream_.handle());
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

/// The batches of a call. If it ends before they do, by an exception, copies go on into memory that must stay.
struct Slots : std::vector<std::shared_ptr<Slot>> {
  ~Slots() {
    for (const std::shared_ptr<Slot>& slot : *this)
      if (slot->busy()) keep_until_done(slot->stream().device(), slot->stream().handle(), slot);
  }
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
  release_kept();
  Slots slots;  // made as batches need them
  std::size_t most_slots = static_cast<std::size_t>(std::max(options.streams, 1));
  std::size_t batch_bytes = options.batch_bytes;
  std::int64_t from = 0;
  for (std::size_t turn = 0; from < freight.items; ++turn) {
    check_interrupt();
    const std::size_t place = turn % most_slots;
    if (place == slots.size()) slots.push_back(std::make_shared<Slot>(device));
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
