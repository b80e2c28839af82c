// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "warpquant/core/backend.h"
#include "warpquant/core/series.h"

/// Devices as the dispatch sees them: faults of the table are exceptions here, and what is allocated has an owner.
namespace wq {

class MemoryStack;

/// A device behind a table of functions.
struct Device {
  const BackendTable* table;
  int index;

  /// Throws what the fault stands for; `doing` says what failed.
  void check(Fault fault, const char* doing) const;
  /// Such as "cuda:0".
  std::string name() const;
  /// What is put into `later` from now on waits for what is in `earlier`. Nobody waits here.
  Fault order(Handle earlier, Handle later) const noexcept;
  bool capturing(Handle stream) const;

  /// Wait until all that was put into a stream is done, or until an event has come, or for all streams. Throws
  /// DeviceTimeoutError after `seconds` (none: what `set_wait_limit` says), and Interrupted: what is under way goes on
  /// then, in memory that must stay.
  void wait(Handle stream, std::optional<double> seconds = std::nullopt) const;
  void wait_event(Handle event, std::optional<double> seconds = std::nullopt) const;
  void synchronize(std::optional<double> seconds = std::nullopt) const;
  /// Copy from the device to memory of the host, and wait for it; and to the device, without a wait if it is little. A
  /// driver waits by itself where memory is not pinned, and nothing can stop it; so this goes through memory that is.
  void fetch(void* to, const void* from, std::size_t bytes, Handle stream) const;
  void send(void* to, const void* from, std::size_t bytes, Handle stream) const;

 private:
  [[noreturn]] void raise(Fault fault, const std::string& what) const;
};

/// As `Device::order`, across devices.
Fault order(const Device& first, Handle earlier, const Device& second, Handle later) noexcept;

/// Asked by a wait that lasts: how many seconds it may, 0 for as long as it takes. Set once, by whoever owns settings.
void set_wait_limit(double (*limit)());

/// Hold on to things until a device is done with what is in a stream now: somebody has stopped waiting for it. For good
/// if the device does not say.
void keep_until_done(const Device& device, Handle stream, std::shared_ptr<const void> things) noexcept;
/// Let go of those that devices are done with; called where memory is wanted.
void release_kept() noexcept;

/// The stream for work of the calling thread that asks for no other. It outlives the thread, because arrays may; then
/// another thread gets it.
Handle thread_stream(const Device& device);
/// How many such streams there are on a device.
std::int64_t thread_streams(const Device& device);

/// Work in order, on a device, beside all other streams.
class DeviceStream {
 public:
  explicit DeviceStream(Device device, int priority = kUsualPriority);
  ~DeviceStream();
  /// One that memory allocated in it can keep alive.
  static std::shared_ptr<const DeviceStream> make_shared(Device device, int priority);
  /// The owner of such a stream; null for any other.
  static std::shared_ptr<const DeviceStream> owner(const Device& device, Handle stream);
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  Handle handle() const { return handle_; }
  const Device& device() const { return device_; }

 private:
  Device device_;
  Handle handle_ = nullptr;
};

/// A mark in a stream that others can wait for.
class DeviceEvent {
 public:
  explicit DeviceEvent(Device device) : device_(device) {
    device_.check(device_.table->create_event(device_.index, &handle_), "making an event");
  }
  ~DeviceEvent() {
    if (handle_ != nullptr) device_.table->destroy_event(device_.index, handle_);
  }
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;

  Handle handle() const { return handle_; }
  const Device& device() const { return device_; }

 private:
  Device device_;
  Handle handle_ = nullptr;
};

/// Memory of a device, or of the host, pinned for it.
enum class Where { device, pinned };

/// Memory freed in the order of the stream that it came from.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Throws DeviceOutOfMemoryError after all was tried that makes room (MemoryStack::obtain).
  DeviceMemory(const Device& device, Handle stream, std::size_t bytes, Where where = Where::device);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void swap(DeviceMemory& other) noexcept;

  std::shared_ptr<MemoryStack> stack_;
  Handle stream_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Small things that a call puts next to data on a device: descriptions of series, scratch memory.
class Luggage {
 public:
  Luggage(const Device& device, Handle stream) : device_(device), stream_(stream) {}

  /// A copy in device memory, which lives until the work put into the stream so far is done with it.
  template <class T>
  T* send(const std::vector<T>& values) {
    return reinterpret_cast<T*>(send(values.data(), values.size() * sizeof(T)));
  }
  std::byte* scratch(std::size_t bytes) { return memory_.emplace_back(device_, stream_, bytes).data(); }
  /// Values that the work put into the stream so far leaves there; waits for it.
  template <class T>
  std::vector<T> fetch(const T* there, std::int64_t count) const {
    std::vector<T> here(static_cast<std::size_t>(count));
    device_.fetch(here.data(), there, here.size() * sizeof(T), stream_);
    return here;
  }
  /// What is wrong with series that lie on the device, as their descriptions do; waits for the stream.
  std::vector<Flaws> survey(const Series* series, std::int64_t count, DType type);

 private:
  std::byte* send(const void* values, std::size_t bytes);

  Device device_;
  Handle stream_;
  std::vector<DeviceMemory> memory_;
};

/// A computation on arrays of a device, ready to be put into streams, as often as wanted. All that it needs is in
/// memory of the device by then: putting it there allocates nothing and waits for nothing, so a stream may be captured.
class Prepared {
 public:
  /// `home`: the stream that its memory belongs to.
  Prepared(const Device& device, Handle home);
  /// What it uses stays until the device is done with it.
  ~Prepared();
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  Luggage& luggage() { return luggage_; }
  void add(std::function<void(Handle stream)> work) { work_.push_back(std::move(work)); }
  /// Flags, cleared by every run before what is added from now on.
  int* flags(std::int64_t count);
  /// An array that it uses, and the stream in which others do.
  void use(std::shared_ptr<const void> array, Handle stream);

  const Device& device() const { return device_; }
  Handle home() const { return home_; }
  void put(Handle stream) const;
  /// The same, between what is in the streams of its arrays and what will be, unless the stream is being captured.
  void run(Handle stream);

 private:
  std::shared_ptr<const DeviceStream> owner_;  // of the home stream, in whose order the rest is freed
  Device device_;
  Handle home_;
  Luggage luggage_;
  std::vector<std::function<void(Handle)>> work_;
  std::vector<std::shared_ptr<const void>> arrays_;
  std::vector<Handle> streams_;  // home, and where else its arrays are used
  std::mutex run_;
};

// ------------------------------------------------------------------------------------------------ pipeline

/// What a batch needs: bytes copied to the device, bytes copied back, bytes of the device alone.
struct Load {
  std::size_t up = 0, down = 0, scratch = 0;
};

/// A batch on its way. What is put to `up` arrives at `device_up`; what kernels leave at `device_down` comes to `down`.
struct Cargo {
  std::int64_t from, to;  // items of the batch
  Handle stream;
  std::byte *up, *device_up, *down, *device_down, *scratch;
};

/// A computation on items in host memory, in batches.
struct Freight {
  std::int64_t items;
  std::function<Load(std::int64_t from, std::int64_t to)> load;
  std::function<void(const Cargo&)> pack;    // fill `up`
  std::function<void(const Cargo&)> launch;  // put kernels into the stream
  std::function<void(const Cargo&)> unpack;  // take results from `down`
};

/// Series of a call, packed one after the other. Offsets of a batch count from its first.
class Packing {
 public:
  explicit Packing(std::vector<std::int64_t> bars);

  std::int64_t points(std::int64_t from, std::int64_t to) const { return starts_[to] - starts_[from]; }
  std::int64_t longest(std::int64_t from, std::int64_t to) const;
  /// Call f(i, offset) for the items of a batch, on several threads.
  void each(int threads, const Cargo& cargo, const std::function<void(std::int64_t i, std::int64_t offset)>& f) const;

 private:
  std::vector<std::int64_t> starts_;
};

/// Values of a series to compact memory, and of compact memory to a series.
void gather(const Series& series, DType type, std::byte* to);
void scatter(const std::byte* from, const Sink& sink, DType type);

struct PipelineOptions {
  int streams = 4;  // 1: one batch after the other
  std::size_t batch_bytes = std::size_t{256} << 20;
  std::int64_t floor = 1;  // items of a batch, at least
};

/// Run all items through a device: batches follow each other on several streams, so that copies one way, kernels and
/// copies the other way overlap. Items never depend on which batch they are in. When memory is short, batches get
/// smaller, down to the floor. Asks for interrupts between batches.
void ship(const Device& device, const PipelineOptions& options, const Freight& freight);

}  // namespace wq
