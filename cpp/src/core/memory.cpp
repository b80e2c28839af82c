// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/memory.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"

namespace wq {

std::byte* DevicePool::allocate(std::size_t bytes, Handle stream) {
  void* data = nullptr;
  device_.check(device_.table->allocate(device_.index, bytes, stream, &data),
                ("allocating " + std::to_string(bytes) + " bytes").c_str());
  return static_cast<std::byte*>(data);
}

void DevicePool::release(std::byte* data, std::size_t, Handle stream) noexcept {
  device_.table->release(device_.index, data, stream);
}

void DevicePool::trim() { device_.check(device_.table->trim(device_.index), "trimming memory"); }

// ------------------------------------------------------------------------------------------------ pinned

std::size_t PinnedPool::size_class(std::size_t bytes) {
  constexpr std::size_t kLeast = 4096;
  return std::bit_ceil(std::max(bytes, kLeast));
}

std::byte* PinnedPool::allocate(std::size_t bytes, Handle) {
  const std::size_t size = size_class(bytes);
  {
    const std::lock_guard lock(mutex_);
    if (auto it = kept_.find(size); it != kept_.end() && !it->second.empty()) {
      std::byte* data = it->second.back();
      it->second.pop_back();
      kept_bytes_ -= size;
      return data;
    }
  }
  void* data = nullptr;
  device_.check(device_.table->allocate_pinned(device_.index, size, &data),
                ("allocating " + std::to_string(size) + " bytes of pinned memory").c_str());
  return static_cast<std::byte*>(data);
}

void PinnedPool::release(std::byte* data, std::size_t bytes, Handle) noexcept {
  const std::size_t size = size_class(bytes);
  try {
    const std::lock_guard lock(mutex_);
    if (kept_bytes_ + size <= limit_) {
      kept_[size].push_back(data);
      kept_bytes_ += size;
      return;
    }
  } catch (const std::bad_alloc&) {
    // The list cannot grow: back to the system with the block.
  }
  device_.table->release_pinned(device_.index, data);
}

void PinnedPool::trim() {
  std::map<std::size_t, std::vector<std::byte*>> blocks;
  {
    const std::lock_guard lock(mutex_);
    blocks.swap(kept_);
    kept_bytes_ = 0;
  }
  for (const auto& [size, list] : blocks)
    for (std::byte* data : list) device_.table->release_pinned(device_.index, data);
}

// ------------------------------------------------------------------------------------------------ adaptors

std::byte* Limiting::allocate(std::size_t bytes, Handle stream) {
  {
    const std::lock_guard lock(mutex_);
    if (limit_ > 0 && (bytes > limit_ || used_ > limit_ - bytes))
      throw DeviceOutOfMemoryError(
          "allocating memory: " + std::to_string(bytes) + " bytes were asked for, " + std::to_string(used_) +
          " are in use, and the limit (warpquant.memory.set_limit) is " + std::to_string(limit_));
    used_ += bytes;
  }
  try {
    return upstream_->allocate(bytes, stream);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
    throw;
  }
}

void Limiting::release(std::byte* data, std::size_t bytes, Handle stream) noexcept {
  upstream_->release(data, bytes, stream);
  const std::lock_guard lock(mutex_);
  used_ -= bytes;
}

void Limiting::set_limit(std::size_t limit) {
  const std::lock_guard lock(mutex_);
  limit_ = limit;
}

std::byte* Statistics::allocate(std::size_t bytes, Handle stream) {
  std::byte* data;
  try {
    data = upstream_->allocate(bytes, stream);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    ++stats_.failures;
    throw;
  }
  const std::lock_guard lock(mutex_);
  ++stats_.blocks;
  ++stats_.allocations;
  stats_.total += bytes;
  stats_.current += bytes;
  stats_.peak = std::max(stats_.peak, stats_.current);
  return data;
}

void Statistics::release(std::byte* data, std::size_t bytes, Handle stream) noexcept {
  upstream_->release(data, bytes, stream);
  const std::lock_guard lock(mutex_);
  --stats_.blocks;
  stats_.current -= bytes;
}

MemoryStats Statistics::stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Statistics::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak = stats_.current;
}

// ------------------------------------------------------------------------------------------------ of a device

DeviceResources resources_of(const Device& device) {
  constexpr std::size_t kPinnedLimit = std::size_t{1} << 30;
  struct Stack {
    std::unique_ptr<Statistics> device, pinned;
    Limiting* limit;
  };
  struct All {
    std::mutex mutex;
    std::map<std::pair<const BackendTable*, int>, Stack> stacks;
  };
  All& all = immortal<All>();
  const std::lock_guard lock(all.mutex);
  Stack& stack = all.stacks[{device.table, device.index}];
  if (!stack.device) {
    auto limiting = std::make_unique<Limiting>(std::make_unique<DevicePool>(device));
    stack.limit = limiting.get();
    stack.device = std::make_unique<Statistics>(std::move(limiting));
    stack.pinned = std::make_unique<Statistics>(std::make_unique<PinnedPool>(device, kPinnedLimit));
  }
  return {stack.limit, stack.device.get(), stack.pinned.get()};
}

}  // namespace wq
