// SPDX-License-Identifier: Apache-2.0
#include "sources.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "books.h"
#include "warpquant/core/error.h"

namespace wq {
namespace {

constexpr std::size_t kAlign = 256;

std::string allocating(std::size_t bytes, const char* what = "") {
  return "allocating " + std::to_string(bytes) + " bytes" + what;
}

}  // namespace

std::byte* DevicePool::allocate(std::size_t bytes, Handle stream) {
  void* data = nullptr;
  device_.check(device_.table->allocate(device_.index, bytes, stream, &data), allocating(bytes).c_str());
  return static_cast<std::byte*>(data);
}

void DevicePool::release(std::byte* data, std::size_t, Handle stream) {
  device_.table->release(device_.index, data, stream);
}

void DevicePool::trim() { device_.check(device_.table->trim(device_.index), "trimming memory"); }

std::byte* DirectMemory::allocate(std::size_t bytes, Handle) {
  void* data = nullptr;
  device_.check(device_.table->allocate_direct(device_.index, bytes, managed_, &data),
                allocating(bytes, managed_ ? " of managed memory" : "").c_str());
  return static_cast<std::byte*>(data);
}

void DirectMemory::release(std::byte* data, std::size_t, Handle stream) {
  // Freeing it waits for the whole device, so not before what uses it is done; and nobody can wait in a destructor.
  keep_until_done(device_, stream, std::shared_ptr<const void>(data, [device = device_](const void* p) {
                    device.table->release_direct(device.index, const_cast<void*>(p));
                  }));
}

// ------------------------------------------------------------------------------------------------ of the host

std::size_t PinnedPool::size_class(std::size_t bytes) {
  constexpr std::size_t kLeast = 4096;
  return std::bit_ceil(std::max(bytes, kLeast));
}

std::byte* PinnedPool::allocate(std::size_t bytes, Handle) {
  const std::size_t size = size_class(bytes);
  {
    const std::lock_guard lock(memory_books());
    if (auto it = kept_.find(size); it != kept_.end() && !it->second.empty()) {
      std::byte* data = it->second.back();
      it->second.pop_back();
      kept_bytes_ -= size;
      return data;
    }
  }
  void* data = nullptr;
  device_.check(device_.table->allocate_pinned(device_.index, size, &data),
                allocating(size, " of pinned memory").c_str());
  return static_cast<std::byte*>(data);
}

void PinnedPool::release(std::byte* data, std::size_t bytes, Handle) {
  const std::size_t size = size_class(bytes);
  try {
    const std::lock_guard lock(memory_books());
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
    const std::lock_guard lock(memory_books());
    blocks.swap(kept_);
    kept_bytes_ = 0;
  }
  for (const auto& [size, list] : blocks)
    for (std::byte* data : list) device_.table->release_pinned(device_.index, data);
}

Kept PinnedPool::kept() {
  const std::lock_guard lock(memory_books());
  Kept kept{.bytes = kept_bytes_};
  for (const auto& [size, list] : kept_) {
    if (!list.empty()) kept.largest = size;
    kept.blocks += std::ssize(list);
  }
  return kept;
}

std::byte* HostMemory::allocate(std::size_t bytes, Handle) {
  void* const data = std::aligned_alloc(kAlign, (bytes + kAlign - 1) / kAlign * kAlign);
  if (data == nullptr)
    throw DeviceOutOfMemoryError(device_.name() + ", " + allocating(bytes, " of the host: there is no more"));
  return static_cast<std::byte*>(data);
}

void HostMemory::release(std::byte* data, std::size_t, Handle) { std::free(data); }

// ------------------------------------------------------------------------------------------------ of somebody else's

std::byte* External::allocate(std::size_t bytes, Handle stream) {
  const auto number = reinterpret_cast<std::uintptr_t>(stream);
  const std::uintptr_t data = allocate_(bytes, number);
  if (data == 0) throw DeviceOutOfMemoryError(allocating(bytes) + ": the function given as allocate has none");
  if (data % kAlign != 0) {
    deallocate_(data, bytes, number);
    throw ParameterError("allocate: gave " + std::to_string(data) + ", which is not aligned to " +
                         std::to_string(kAlign) + " bytes");
  }
  return reinterpret_cast<std::byte*>(data);
}

void External::release(std::byte* data, std::size_t bytes, Handle stream) {
  deallocate_(reinterpret_cast<std::uintptr_t>(data), bytes, reinterpret_cast<std::uintptr_t>(stream));
}

}  // namespace wq
