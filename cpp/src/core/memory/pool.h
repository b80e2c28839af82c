// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "warpquant/core/memory.h"

namespace wq {

/// Blocks out of large chunks; free neighbours become one. Nothing is ever moved, since others have addresses.
///
/// A freed block carries marks: events behind the work that may still use it. Who gets it, in whatever stream, has that
/// stream wait for them; no host does. In the stream that freed it the wait is over at once.
class CoalescingPool final : public MemoryResource {
 public:
  CoalescingPool(const Device& device, std::unique_ptr<MemoryResource> upstream)
      : device_(device), upstream_(std::move(upstream)) {}
  ~CoalescingPool() override;
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;
  void trim() override;
  Kept kept() override;

 private:
  class Mark;
  using Marks = std::vector<std::shared_ptr<Mark>>;
  struct Span {
    std::size_t bytes;
    bool opens_chunk, free;
    Marks marks;
  };
  using Spans = std::map<std::byte*, Span>;

  std::byte* take(std::size_t bytes, Handle stream);
  void grow(std::size_t bytes);
  std::shared_ptr<DeviceStream> own_stream();
  Marks all_of(const Marks& a, const Marks& b);
  void join(Spans::iterator left, Spans::iterator right);
  void put(Spans::iterator span, Marks marks);

  const Device device_;
  const std::unique_ptr<MemoryResource> upstream_;
  Spans spans_;  // all there are, by address
  std::set<std::pair<std::size_t, std::byte*>> free_;
  std::size_t reserved_ = 0;  // bytes of all chunks
  // In which chunks come and go: those of users may be gone by then.
  std::shared_ptr<DeviceStream> own_;
};

}  // namespace wq
