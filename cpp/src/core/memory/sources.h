// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

#include "warpquant/core/memory.h"

/// Resources that stand on no other.
namespace wq {

/// The pool of a device, ordered by streams.
class DevicePool final : public MemoryResource {
 public:
  explicit DevicePool(const Device& device) : device_(device) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override;

 private:
  Device device_;
};

/// Memory of the device, or pages that move between it and the host, each block from the system and back to it. Freeing
/// waits for the stream, since the system knows of none.
class DirectMemory final : public MemoryResource {
 public:
  DirectMemory(const Device& device, bool managed) : device_(device), managed_(managed) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override {}

 private:
  Device device_;
  const bool managed_;
};

/// Pinned memory of the host. Getting it from the system takes milliseconds, so freed blocks are kept, each of a power
/// of two, up to `limit` bytes. Whoever frees a block has waited for the copies that use it.
class PinnedPool final : public MemoryResource {
 public:
  PinnedPool(const Device& device, std::size_t limit) : device_(device), limit_(limit) {}
  ~PinnedPool() override { trim(); }
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override;
  Kept kept() override;

 private:
  static std::size_t size_class(std::size_t bytes);

  Device device_;
  const std::size_t limit_;
  std::map<std::size_t, std::vector<std::byte*>> kept_;
  std::size_t kept_bytes_ = 0;
};

/// Ordinary memory of the host, where pinned memory is scarce. Copies wait for each other.
class HostMemory final : public MemoryResource {
 public:
  explicit HostMemory(const Device& device) : device_(device) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override {}

 private:
  Device device_;
};

/// Memory of somebody else's, by two functions.
class External final : public MemoryResource {
 public:
  explicit External(const MemoryPlan& plan) : allocate_(plan.allocate), deallocate_(plan.deallocate) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override {}

 private:
  const decltype(MemoryPlan::allocate) allocate_;
  const decltype(MemoryPlan::deallocate) deallocate_;
};

}  // namespace wq
