// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/buffer_pool.h"

#include <sys/mman.h>

#include <map>
#include <mutex>
#include <new>

#include "warpquant/core/parallel.h"

namespace wq {
namespace {

constexpr std::size_t kPage = 4096, kHugePage = std::size_t{2} << 20;

std::size_t rounded(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

struct Shared {
  std::mutex mutex;
  std::multimap<std::size_t, void*> free;  // by rounded size
  std::size_t in_use = 0, kept = 0, limit = BufferPool::kDefaultLimit;
};

Shared& shared() { return immortal<Shared>(); }

void unmap(void* data, std::size_t size) { ::munmap(data, size); }

}  // namespace

void* BufferPool::allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  Shared& s = shared();
  {
    const std::lock_guard lock(s.mutex);
    if (const auto found = s.free.find(size); found != s.free.end()) {
      void* data = found->second;
      s.free.erase(found);
      s.kept -= size;
      s.in_use += size;
      return data;
    }
  }
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (size >= 2 * kHugePage) ::madvise(data, size, MADV_HUGEPAGE);  // a hint; refusal is harmless
#endif
  const std::lock_guard lock(s.mutex);
  s.in_use += size;
  return data;
}

void BufferPool::release(void* data, std::size_t bytes) noexcept {
  const std::size_t size = rounded(bytes);
  Shared& s = shared();
  {
    const std::lock_guard lock(s.mutex);
    s.in_use -= size;
    if (s.kept + size <= s.limit) {
      try {
        s.free.emplace(size, data);
        s.kept += size;
        return;
      } catch (const std::bad_alloc&) {
        // No memory to remember it by: give it back instead.
      }
    }
  }
  unmap(data, size);
}

BufferPool::Stats BufferPool::stats() {
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  return {s.in_use, s.kept, s.limit};
}

void BufferPool::set_limit(std::size_t bytes) {
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  s.limit = bytes;
  while (s.kept > s.limit) {
    const auto last = std::prev(s.free.end());
    unmap(last->second, last->first);
    s.kept -= last->first;
    s.free.erase(last);
  }
}

}  // namespace wq
