// SPDX-License-Identifier: Apache-2.0
#include "adaptors.h"

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstring>
#include <mutex>

#include "books.h"
#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"

namespace wq {

std::byte* Limiting::allocate(std::size_t bytes, Handle stream) {
  account_.take(bytes);
  try {
    return upstream_->allocate(bytes, stream);
  } catch (...) {
    account_.give(bytes);
    throw;
  }
}

void Limiting::release(std::byte* data, std::size_t bytes, Handle stream) {
  upstream_->release(data, bytes, stream);
  account_.give(bytes);
}

// ------------------------------------------------------------------------------------------------ contents

Fault Filling::fill(std::byte* data, int byte, std::size_t bytes, Handle stream) const {
  const Device& device = account_.device;
  if (account_.where == Where::device) return device.table->fill(device.index, data, byte, bytes, stream);
  std::memset(data, byte, bytes);
  return Fault::none;
}

std::byte* Filling::allocate(std::size_t bytes, Handle stream) {
  std::byte* const data = upstream_->allocate(bytes, stream);
  if (!given_) return data;
  const Fault fault = fill(data, *given_, bytes, stream);
  if (fault == Fault::none) return data;
  upstream_->release(data, bytes, stream);
  account_.device.check(fault, "filling memory");
  return nullptr;
}

void Filling::release(std::byte* data, std::size_t bytes, Handle stream) {
  if (freed_) fill(data, *freed_, bytes, stream);  // nobody is left to hear of a fault
  upstream_->release(data, bytes, stream);
}

// ------------------------------------------------------------------------------------------------ failures

std::byte* FaultInjecting::allocate(std::size_t bytes, Handle stream) {
  std::int64_t number;
  {
    const std::lock_guard lock(memory_books());
    number = ++asked_;
  }
  if (lasting_ ? number >= fail_at_ : number == fail_at_)
    throw DeviceOutOfMemoryError("allocating " + std::to_string(bytes) + " bytes: allocation " +
                                 std::to_string(number) + " fails, as fail_at asks for");
  return upstream_->allocate(bytes, stream);
}

std::byte* FailureCallback::allocate(std::size_t bytes, Handle stream) {
  while (true) {
    try {
      return upstream_->allocate(bytes, stream);
    } catch (const DeviceOutOfMemoryError&) {
      check_interrupt();  // a function that always says yes is left by Ctrl-C
      if (!ask_(bytes)) throw;
    }
  }
}

// ------------------------------------------------------------------------------------------------ log

Logging::Logging(std::unique_ptr<MemoryResource> upstream, const std::string& path)
    : Adaptor(std::move(upstream)), file_(std::fopen(path.c_str(), "w")) {
  if (!file_) throw ParameterError("log: '" + path + "' cannot be written: " + std::strerror(errno));
  std::fputs("time,event,bytes,pointer,stream,tag\n", file_.get());
  std::fflush(file_.get());
}

void Logging::write(const char* event, std::size_t bytes, const std::byte* data, Handle stream) const {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::string tag = MemorySite::tag();
  const std::lock_guard lock(memory_books());
  std::fprintf(file_.get(), "%.6f,%s,%zu,0x%" PRIxPTR ",0x%" PRIxPTR ",%s\n", now, event, bytes,
               reinterpret_cast<std::uintptr_t>(data), reinterpret_cast<std::uintptr_t>(stream), tag.c_str());
  std::fflush(file_.get());  // a child would write what is left in the buffer a second time
}

std::byte* Logging::allocate(std::size_t bytes, Handle stream) {
  try {
    std::byte* const data = upstream_->allocate(bytes, stream);
    write("allocate", bytes, data, stream);
    return data;
  } catch (const DeviceOutOfMemoryError&) {
    write("fail", bytes, nullptr, stream);
    throw;
  }
}

void Logging::release(std::byte* data, std::size_t bytes, Handle stream) {
  upstream_->release(data, bytes, stream);
  write("free", bytes, data, stream);
}

// ------------------------------------------------------------------------------------------------ tracking

bool Tracking::overlaps(const std::byte* data, std::size_t bytes) const {
  auto it = blocks_.lower_bound(const_cast<std::byte*>(data));
  if (it != blocks_.end() && it->first < data + bytes) return true;
  return it != blocks_.begin() && (--it)->first + it->second.bytes > data;
}

std::byte* Tracking::allocate(std::size_t bytes, Handle stream) {
  std::byte* const data = upstream_->allocate(bytes, stream);
  try {
    const std::lock_guard lock(memory_books());
    if (overlaps(data, bytes)) throw InternalError("memory was given out that is in use already");
    blocks_[data] = {bytes, stream, MemorySite::tag()};
    return data;
  } catch (const std::bad_alloc&) {
    upstream_->release(data, bytes, stream);
    throw;
  }
}

void Tracking::release(std::byte* data, std::size_t bytes, Handle stream) {
  {
    const std::lock_guard lock(memory_books());
    const auto it = blocks_.find(data);
    if (it == blocks_.end())
      throw InternalError("memory was freed that is not in use: it was freed before, or is somebody else's");
    if (it->second.bytes != bytes)
      throw InternalError("a block of " + std::to_string(it->second.bytes) + " bytes was freed as one of " +
                          std::to_string(bytes));
    blocks_.erase(it);  // before the resource below has it back, and gives it to another thread
  }
  upstream_->release(data, bytes, stream);
}

std::vector<LiveBlock> Tracking::live() const {
  const std::lock_guard lock(memory_books());
  std::vector<LiveBlock> list;
  for (const auto& [data, entry] : blocks_) list.push_back({data, entry.bytes, entry.stream, entry.tag});
  return list;
}

std::map<std::string, std::size_t> Tracking::live_by_tag() const {
  std::map<std::string, std::size_t> bytes;
  for (const LiveBlock& block : live()) bytes[block.tag] += block.bytes;
  return bytes;
}

}  // namespace wq
