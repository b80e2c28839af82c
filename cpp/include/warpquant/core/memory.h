// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "warpquant/core/device.h"

/// Where memory of devices comes from. Resources stand on each other: statistics on a limit on the device's pool.
namespace wq {

/// Gives and takes blocks, aligned to 256 bytes at least. What is freed may be given again to work that comes later in
/// the same stream. Calls may come from any thread.
class MemoryResource {
 public:
  virtual ~MemoryResource() = default;
  /// Throws DeviceOutOfMemoryError; `bytes` is not 0.
  virtual std::byte* allocate(std::size_t bytes, Handle stream) = 0;
  virtual void release(std::byte* data, std::size_t bytes, Handle stream) noexcept = 0;
  /// Return to the system what is kept for later.
  virtual void trim() = 0;
};

/// The pool of a device, ordered by streams.
class DevicePool final : public MemoryResource {
 public:
  explicit DevicePool(const Device& device) : device_(device) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) noexcept override;
  void trim() override;

 private:
  Device device_;
};

/// Pinned memory of the host. Getting it from the system takes milliseconds, so freed blocks are kept, each of a power
/// of two, up to `limit` bytes. Whoever frees a block has waited for the copies that use it.
class PinnedPool final : public MemoryResource {
 public:
  PinnedPool(const Device& device, std::size_t limit) : device_(device), limit_(limit) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) noexcept override;
  void trim() override;

 private:
  static std::size_t size_class(std::size_t bytes);

  Device device_;
  const std::size_t limit_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<std::byte*>> kept_;
  std::size_t kept_bytes_ = 0;
};

/// Refuses what would make more than `limit` bytes; 0: no limit.
class Limiting final : public MemoryResource {
 public:
  explicit Limiting(std::unique_ptr<MemoryResource> upstream) : upstream_(std::move(upstream)) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) noexcept override;
  void trim() override { upstream_->trim(); }

  void set_limit(std::size_t limit);

 private:
  std::unique_ptr<MemoryResource> upstream_;
  std::mutex mutex_;
  std::size_t limit_ = 0, used_ = 0;
};

struct MemoryStats {
  std::size_t current = 0, peak = 0, total = 0;  // bytes: in use, most at a time, ever
  std::int64_t blocks = 0, allocations = 0, failures = 0;
};

class Statistics final : public MemoryResource {
 public:
  explicit Statistics(std::unique_ptr<MemoryResource> upstream) : upstream_(std::move(upstream)) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) noexcept override;
  void trim() override { upstream_->trim(); }

  MemoryStats stats();
  /// The peak from now on.
  void reset_peak();

 private:
  std::unique_ptr<MemoryResource> upstream_;
  std::mutex mutex_;
  MemoryStats stats_;
};

/// What this process has of a device: of its memory, and of the host's memory pinned for it.
struct DeviceResources {
  Limiting* limit;
  Statistics* device;
  Statistics* pinned;
};
DeviceResources resources_of(const Device& device);

}  // namespace wq
