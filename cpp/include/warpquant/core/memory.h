// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "warpquant/core/device.h"
#include "warpquant/core/error.h"

/// Where memory of devices comes from. Resources stand on each other, as a stack, and the stack of a device may be
/// exchanged at any time: each block goes back to the one that it came from.
namespace wq {

/// What a resource keeps of what was freed.
struct Kept {
  std::size_t bytes = 0, largest = 0;  // all of it, the largest block
  std::int64_t blocks = 0;
  /// 0: all of it is one block.
  double fragmentation() const {
    return bytes == 0 ? 0.0 : 1.0 - static_cast<double>(largest) / static_cast<double>(bytes);
  }
};

/// Gives and takes blocks, aligned to 256 bytes at least. What is freed may be given again to work that comes later in
/// the same stream. Calls may come from any thread.
class MemoryResource {
 public:
  virtual ~MemoryResource() = default;
  /// Throws DeviceOutOfMemoryError; `bytes` is not 0.
  virtual std::byte* allocate(std::size_t bytes, Handle stream) = 0;
  /// Throws InternalError for what is no block in use, if the resource notices that.
  virtual void release(std::byte* data, std::size_t bytes, Handle stream) = 0;
  /// Return to the system what is kept for later.
  virtual void trim() = 0;
  virtual Kept kept() { return {}; }
};

struct MemoryStats {
  std::int64_t current = 0, peak = 0, total = 0;  // bytes: in use, most at a time, ever
  std::int64_t blocks = 0, allocations = 0, failures = 0;

  void allocated(std::size_t bytes);
  void released(std::size_t bytes);
};

/// A block in use, and on whose behalf.
struct LiveBlock {
  std::byte* data;
  std::size_t bytes;
  Handle stream;
  std::string tag;
};

/// What is tried, one after the other, when memory is short.
enum class Rung { trimmed, waited, collected, halved, fell_back, exhausted };
inline constexpr const char* kRungNames[] = {"trimmed", "waited", "collected", "halved", "fell_back", "exhausted"};
inline constexpr int kRungs = 6;

/// What a stack is made of.
struct MemoryPlan {
  std::string resource;  // async_pool, cuda, managed, pool, external; of the host: pinned, host
  std::string upstream;  // of a pool
  /// Memory of somebody else's. Addresses and streams are numbers.
  std::function<std::uintptr_t(std::size_t bytes, std::uintptr_t stream)> allocate;
  std::function<void(std::uintptr_t data, std::size_t bytes, std::uintptr_t stream)> deallocate;

  bool tracking = false, poison = false, zero_on_free = false;
  std::string log;                              // a file; empty: none
  std::function<bool(std::size_t)> on_failure;  // whether to try again
  std::int64_t fail_at = 0;                     // the allocation, from 1, that fails; 0: none
  bool lasting = false;                         // so do all after it
};

class MemoryAccount;
class Tracking;

/// Resources on each other, and the books of the device.
class MemoryStack {
 public:
  /// Throws ParameterError for what does not go together.
  MemoryStack(MemoryAccount& account, const MemoryPlan& plan);
  ~MemoryStack();

  std::byte* allocate(std::size_t bytes, Handle stream);
  void release(std::byte* data, std::size_t bytes, Handle stream);
  /// As `allocate`; when memory is short, everything is tried that needs nobody else: kept memory goes back to the
  /// system, the stream's work is waited for, and garbage of the language above is collected.
  std::byte* obtain(std::size_t bytes, Handle stream);
  void trim() { top_->trim(); }

  Kept kept() { return top_->kept(); }
  /// Throws ParameterError if the stack does not track.
  std::vector<LiveBlock> live() const;
  MemoryAccount& account() const { return account_; }

 private:
  bool climb(Rung rung, Handle stream);
  DeviceOutOfMemoryError exhausted(std::size_t bytes, std::string why) const;

  MemoryAccount& account_;
  std::unique_ptr<MemoryResource> top_;
  Tracking* tracking_ = nullptr;
};

/// What this process has of a device, or of host memory for it, whatever stacks that came from. Lives for ever.
class MemoryAccount {
 public:
  MemoryAccount(const Device& device, Where where) : device(device), where(where) {}

  const Device device;
  const Where where;

  /// The stack that blocks come from now.
  std::shared_ptr<MemoryStack> stack();
  /// Gives the one before.
  std::shared_ptr<MemoryStack> use(std::shared_ptr<MemoryStack> stack);

  MemoryStats stats() const;
  /// The peak from now on.
  void reset_peak();
  /// Statistics from now on, until they are closed.
  std::int64_t open_frame();
  MemoryStats frame(std::int64_t number) const;
  void close_frame(std::int64_t number);

  /// Bytes that may be taken from the device; 0: no limit.
  void set_limit(std::size_t bytes);
  std::size_t limit() const;

  void count(Rung rung);
  std::int64_t counted(Rung rung) const;

  // For the stacks. `take` throws DeviceOutOfMemoryError beyond the limit.
  void take(std::size_t bytes);
  void give(std::size_t bytes);
  void note(const std::function<void(MemoryStats&)>& change);

 private:
  MemoryStats stats_;
  std::map<std::int64_t, MemoryStats> frames_;
  std::int64_t frames_opened_ = 0;
  std::size_t limit_ = 0, taken_ = 0;
  std::int64_t rungs_[kRungs] = {};
  std::shared_ptr<MemoryStack> stack_;
};

MemoryAccount& account_of(const Device& device, Where where);

/// While it lives, blocks that its thread allocates are on behalf of `tag`, such as a function's name.
class MemorySite {
 public:
  explicit MemorySite(std::string tag);
  ~MemorySite();
  MemorySite(const MemorySite&) = delete;
  MemorySite& operator=(const MemorySite&) = delete;

  /// Of the calling thread; "" outside of all.
  static std::string tag();
  /// Whether garbage has not been collected on behalf of this site yet; it has then.
  static bool may_collect();

 private:
  const std::string tag_;
  bool collected_ = false;
  MemorySite* const outer_;
};

/// Asked, with no lock held, to free what nobody can reach. Set once, by whoever owns such a language.
void set_garbage_collector(void (*collect)());

}  // namespace wq
