// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
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
};

/// As `Device::order`, across devices.
Fault order(const Device& first, Handle earlier, const Device& second, Handle later) noexcept;

/// Work in order, on a device.
class DeviceStream {
 public:
  explicit DeviceStream(Device device);
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  Handle handle() const { return handle_; }
  const Device& device() const { return device_; }
  void synchronize() const {
    device_.check(device_.table->synchronize(device_.index, handle_), "waiting for a stream");
  }

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

/// Small things that a call puts next to data on a device: descriptions of series, flags.
class Luggage {
 public:
  Luggage(const Device& device, Handle stream) : device_(device), stream_(stream) {}

  /// A copy in device memory, which lives until the work put into the stream so far is done with it.
  template <class T>
  const T* send(const std::vector<T>& values) {
    return static_cast<const T*>(send(values.data(), values.size() * sizeof(T)));
  }
  std::byte* scratch(std::size_t bytes) { return memory_.emplace_back(device_, stream_, bytes).data(); }
  /// Flags, all 0.
  int* flags(std::int64_t count);
  /// Waits for the stream; whether one of them was set.
  bool any(const int* flags, std::int64_t count) const;

 private:
  const void* send(const void* values, std::size_t bytes);

  Device device_;
  Handle stream_;
  std::vector<DeviceMemory> memory_;
};

/// What a resident computation throws when values are missing: that takes the host.
struct MissingOnDevice {};

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
