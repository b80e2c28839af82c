// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "books.h"
#include "warpquant/core/error.h"

namespace wq {
namespace {

constexpr std::size_t kAlign = 256;

}  // namespace

/// A point in the work of a stream.
class CoalescingPool::Mark {
 public:
  Mark(const Device& device, Handle stream) : device_(device), stream_(stream) {
    device_.check(device_.table->create_event(device_.index, &event_), "making an event");
    if (const Fault fault = device_.table->record(device_.index, event_, stream); fault != Fault::none) {
      device_.table->destroy_event(device_.index, event_);
      device_.check(fault, "recording an event");
    }
  }
  ~Mark() { device_.table->destroy_event(device_.index, event_); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  void wait_in(Handle stream) const {
    device_.check(device_.table->wait(device_.index, stream, event_), "ordering streams");
  }
  /// A guess, for choosing: a handle may be that of another stream by now.
  bool is_of(Handle stream) const { return stream_ == stream; }

 private:
  const Device device_;
  const Handle stream_;
  Handle event_ = nullptr;
};

CoalescingPool::~CoalescingPool() {
  try {
    trim();
  } catch (...) {
    // The device takes no more work; what it held is gone with it.
  }
}

std::byte* CoalescingPool::allocate(std::size_t bytes, Handle stream) {
  const std::size_t size = (bytes + kAlign - 1) / kAlign * kAlign;
  while (true) {
    if (std::byte* const data = take(size, stream)) return data;
    grow(size);  // another thread may be faster to take what that gave
  }
}

/// Null if no free block is large enough.
std::byte* CoalescingPool::take(std::size_t bytes, Handle stream) {
  const std::lock_guard lock(memory_books());
  const auto fits = free_.lower_bound({bytes, nullptr});
  if (fits == free_.end()) return nullptr;
  // The smallest that makes no stream wait for another, else the smallest.
  const auto chosen = [&] {
    for (auto it = fits; it != free_.end(); ++it) {
      const Marks& marks = spans_.find(it->second)->second.marks;
      if (std::all_of(marks.begin(), marks.end(), [&](const auto& m) { return m->is_of(stream); })) return it;
    }
    return fits;
  }();
  const auto span = spans_.find(chosen->second);
  for (const auto& mark : span->second.marks) mark->wait_in(stream);
  if (span->second.bytes > bytes) {
    std::byte* const rest = span->first + bytes;
    const std::size_t left = span->second.bytes - bytes;
    const auto entry = free_.insert({left, rest}).first;
    try {
      spans_.insert({rest, Span{left, false, true, span->second.marks}});
    } catch (...) {
      free_.erase(entry);
      throw;
    }
  }
  free_.erase(chosen);
  span->second.bytes = bytes;
  span->second.free = false;
  span->second.marks.clear();
  return span->first;
}

void CoalescingPool::release(std::byte* data, std::size_t, Handle stream) {
  Marks marks;
  try {
    marks.push_back(std::make_shared<Mark>(device_, stream));
  } catch (...) {
    device_.wait(stream);  // then nobody has to wait for it later
  }
  const std::lock_guard lock(memory_books());
  const auto span = spans_.find(data);
  if (span == spans_.end() || span->second.free)
    throw InternalError("the pool of " + device_.name() + " was given back memory that is no block in use");
  put(span, std::move(marks));
}

/// A span that nobody uses any more joins its free neighbours.
void CoalescingPool::put(Spans::iterator span, Marks marks) {
  free_.insert({span->second.bytes, span->first});
  span->second.free = true;
  span->second.marks = std::move(marks);
  const auto next = std::next(span);
  if (next != spans_.end() && next->second.free && !next->second.opens_chunk) join(span, next);
  if (!span->second.opens_chunk && std::prev(span)->second.free) join(std::prev(span), span);
}

void CoalescingPool::join(Spans::iterator left, Spans::iterator right) {
  try {
    Marks marks = all_of(left->second.marks, right->second.marks);
    free_.insert({left->second.bytes + right->second.bytes, left->first});
    left->second.marks = std::move(marks);
  } catch (...) {
    return;  // they stay two
  }
  free_.erase({left->second.bytes, left->first});
  free_.erase({right->second.bytes, right->first});
  left->second.bytes += right->second.bytes;
  spans_.erase(right);
}

/// Marks of two spans. Many become one: the pool's own stream waits for them and gets a mark.
CoalescingPool::Marks CoalescingPool::all_of(const Marks& a, const Marks& b) {
  constexpr std::size_t kMost = 8;
  Marks marks = a;
  for (const auto& mark : b)
    if (std::find(marks.begin(), marks.end(), mark) == marks.end()) marks.push_back(mark);
  if (marks.size() <= kMost) return marks;
  for (const auto& mark : marks) mark->wait_in(own_->handle());
  return {std::make_shared<Mark>(device_, own_->handle())};
}

/// Twice as much as before, if that is to be had, else what is needed.
void CoalescingPool::grow(std::size_t bytes) {
  constexpr std::size_t kLeast = std::size_t{1} << 20, kMost = std::size_t{256} << 20;
  const std::shared_ptr<DeviceStream> stream = own_stream();
  std::size_t size;
  {
    const std::lock_guard lock(memory_books());
    size = std::max(bytes, std::clamp(reserved_, kLeast, kMost));
  }
  std::byte* data;
  try {
    data = upstream_->allocate(size, stream->handle());
  } catch (const DeviceOutOfMemoryError&) {
    if (size == bytes) throw;
    size = bytes;
    data = upstream_->allocate(size, stream->handle());
  }
  try {
    Span chunk{size, true, true, {std::make_shared<Mark>(device_, stream->handle())}};
    const std::lock_guard lock(memory_books());
    const auto span = spans_.insert({data, std::move(chunk)}).first;
    try {
      free_.insert({size, data});
    } catch (...) {
      spans_.erase(span);
      throw;
    }
    reserved_ += size;
    own_ = stream;  // a trim meanwhile has let go of it
  } catch (...) {
    upstream_->release(data, size, stream->handle());
    throw;
  }
}

std::shared_ptr<DeviceStream> CoalescingPool::own_stream() {
  {
    const std::lock_guard lock(memory_books());
    if (own_) return own_;
  }
  auto made = std::make_shared<DeviceStream>(device_);
  const std::lock_guard lock(memory_books());
  if (!own_) own_ = std::move(made);
  return own_;
}

/// Chunks of which nothing is in use go back.
void CoalescingPool::trim() {
  std::vector<std::pair<std::byte*, std::size_t>> chunks;
  std::shared_ptr<DeviceStream> stream;
  {
    const std::lock_guard lock(memory_books());
    chunks.reserve(free_.size());
    stream = own_;
    for (auto span = spans_.begin(); span != spans_.end();) {
      const auto next = std::next(span);
      if (span->second.free && span->second.opens_chunk && (next == spans_.end() || next->second.opens_chunk)) {
        for (const auto& mark : span->second.marks) mark->wait_in(stream->handle());
        chunks.emplace_back(span->first, span->second.bytes);
        free_.erase({span->second.bytes, span->first});
        reserved_ -= span->second.bytes;
        spans_.erase(span);
      }
      span = next;
    }
    if (spans_.empty()) own_ = nullptr;
  }
  for (const auto& [data, bytes] : chunks) upstream_->release(data, bytes, stream->handle());
  upstream_->trim();
}

Kept CoalescingPool::kept() {
  const std::lock_guard lock(memory_books());
  Kept kept{.largest = free_.empty() ? 0 : free_.rbegin()->first, .blocks = std::ssize(free_)};
  for (const auto& [bytes, data] : free_) kept.bytes += bytes;
  return kept;
}

}  // namespace wq
