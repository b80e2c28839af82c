// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "adaptors.h"
#include "books.h"
#include "pool.h"
#include "sources.h"
#include "warpquant/core/error.h"
#include "warpquant/core/parallel.h"

namespace wq {
namespace {

struct Books {
  std::mutex mutex;
  std::map<std::tuple<const BackendTable*, int, Where>, std::unique_ptr<MemoryAccount>> accounts;
};

Books& books() { return immortal<Books>(); }

bool of_the_host(const std::string& resource) { return resource == "pinned" || resource == "host"; }

std::unique_ptr<MemoryResource> source_of(const MemoryAccount& account, const std::string& name, const MemoryPlan& plan,
                                          const char* argument) {
  constexpr std::size_t kPinnedLimit = std::size_t{1} << 30;
  const Device& device = account.device;
  if (of_the_host(name) != (account.where == Where::pinned))
    throw InternalError("'" + name + "' is no memory of that place");
  if (name == "async_pool") return std::make_unique<DevicePool>(device);
  if (name == "cuda" || name == "managed") return std::make_unique<DirectMemory>(device, name == "managed");
  if (name == "pinned") return std::make_unique<PinnedPool>(device, kPinnedLimit);
  if (name == "host") return std::make_unique<HostMemory>(device);
  if (name == "external") return std::make_unique<External>(plan);
  throw ParameterError(std::string(argument) + ": '" + name + "' is no resource that stands alone");
}

thread_local MemorySite* site = nullptr;
std::atomic<void (*)()> collect_garbage{nullptr};

}  // namespace

std::mutex& memory_books() { return books().mutex; }

// ------------------------------------------------------------------------------------------------ stack

/// From the device up: whatever counts is as near to the device as it can be, whatever checks as far.
MemoryStack::MemoryStack(MemoryAccount& account, const MemoryPlan& plan) : account_(account) {
  const bool pool = plan.resource == "pool";
  top_ = source_of(account, pool ? plan.upstream : plan.resource, plan, pool ? "upstream" : "resource");
  top_ = std::make_unique<Limiting>(std::move(top_), account);
  if (pool) top_ = std::make_unique<CoalescingPool>(account.device, std::move(top_));
  if (plan.poison || plan.zero_on_free) {
    constexpr int kNan = 0xff, kZero = 0;  // of eight such bytes, and of four
    std::optional<int> given, freed = plan.zero_on_free ? kZero : kNan;
    if (plan.poison) given = kNan;
    top_ = std::make_unique<Filling>(std::move(top_), account, given, freed);
  }
  if (plan.fail_at > 0) top_ = std::make_unique<FaultInjecting>(std::move(top_), plan);
  if (plan.on_failure) top_ = std::make_unique<FailureCallback>(std::move(top_), plan);
  if (!plan.log.empty()) top_ = std::make_unique<Logging>(std::move(top_), plan.log);
  if (plan.tracking) {
    auto tracking = std::make_unique<Tracking>(std::move(top_));
    tracking_ = tracking.get();
    top_ = std::move(tracking);
  }
}

MemoryStack::~MemoryStack() = default;

std::byte* MemoryStack::allocate(std::size_t bytes, Handle stream) {
  try {
    std::byte* const data = top_->allocate(bytes, stream);
    account_.note([&](MemoryStats& stats) { stats.allocated(bytes); });
    return data;
  } catch (...) {
    account_.note([](MemoryStats& stats) { ++stats.failures; });
    throw;
  }
}

void MemoryStack::release(std::byte* data, std::size_t bytes, Handle stream) {
  top_->release(data, bytes, stream);
  account_.note([&](MemoryStats& stats) { stats.released(bytes); });
}

std::byte* MemoryStack::obtain(std::size_t bytes, Handle stream) {
  std::string why;
  const auto attempt = [&]() -> std::byte* {
    try {
      return allocate(bytes, stream);
    } catch (const DeviceOutOfMemoryError& error) {
      why = error.what();
      return nullptr;
    }
  };
  if (std::byte* const data = attempt()) return data;
  for (const Rung rung : {Rung::trimmed, Rung::waited, Rung::collected}) {
    if (!climb(rung, stream)) continue;
    account_.count(rung);
    if (std::byte* const data = attempt()) return data;
  }
  account_.count(Rung::exhausted);
  throw exhausted(bytes, std::move(why));
}

DeviceOutOfMemoryError MemoryStack::exhausted(std::size_t bytes, std::string why) const {
  const Device& device = account_.device;
  const std::size_t limit = account_.limit();
  std::int64_t free = 0, total = 0;
  std::map<std::string, std::size_t> live;
  if (device.table->memory(device.index, &free, &total) != Fault::none) free = total = 0;
  if (tracking_ != nullptr) live = tracking_->live_by_tag();
  why += "; " + std::to_string(bytes) + " bytes were asked for, " + std::to_string(free) + " of " +
         std::to_string(total) + " are free on the device";
  if (limit > 0) why += ", the limit is " + std::to_string(limit);
  for (const auto& [tag, used] : live)
    why += ", " + (tag.empty() ? "(no function)" : tag) + " has " + std::to_string(used);
  DeviceOutOfMemoryError error(why);
  error.requested = bytes;
  error.limit = limit;
  error.free = free;
  error.total = total;
  error.live_by_tag = std::move(live);
  return error;
}

/// False if there is nothing to gain.
bool MemoryStack::climb(Rung rung, Handle stream) {
  const Device& device = account_.device;
  if (rung == Rung::collected) {
    const auto collect = collect_garbage.load();
    if (collect == nullptr || !MemorySite::may_collect()) return false;
    collect();
  }
  // What was freed in this stream comes back with its work done.
  if (rung != Rung::trimmed) device.wait(stream);
  release_kept();
  trim();
  return true;
}

std::vector<LiveBlock> MemoryStack::live() const {
  if (tracking_ == nullptr)
    throw ParameterError("device: blocks of " + account_.device.name() +
                         " are not tracked; ask for it by warpquant.memory.use(..., tracking=True)");
  return tracking_->live();
}

// ------------------------------------------------------------------------------------------------ account

void MemoryStats::allocated(std::size_t bytes) {
  ++blocks;
  ++allocations;
  total += static_cast<std::int64_t>(bytes);
  current += static_cast<std::int64_t>(bytes);
  peak = std::max(peak, current);
}

void MemoryStats::released(std::size_t bytes) {
  --blocks;
  current -= static_cast<std::int64_t>(bytes);
}

MemoryAccount& account_of(const Device& device, Where where) {
  const std::lock_guard lock(memory_books());
  auto& account = books().accounts[{device.table, device.index, where}];
  if (!account) account = std::make_unique<MemoryAccount>(device, where);
  return *account;
}

std::shared_ptr<MemoryStack> MemoryAccount::stack() {
  const std::lock_guard lock(memory_books());
  if (!stack_)
    stack_ =
        std::make_shared<MemoryStack>(*this, MemoryPlan{.resource = where == Where::device ? "async_pool" : "pinned"});
  return stack_;
}

std::shared_ptr<MemoryStack> MemoryAccount::use(std::shared_ptr<MemoryStack> stack) {
  std::shared_ptr<MemoryStack> before = this->stack();
  const std::lock_guard lock(memory_books());
  stack_.swap(stack);
  return stack;
}

MemoryStats MemoryAccount::stats() const {
  const std::lock_guard lock(memory_books());
  return stats_;
}

void MemoryAccount::reset_peak() {
  const std::lock_guard lock(memory_books());
  stats_.peak = stats_.current;
}

std::int64_t MemoryAccount::open_frame() {
  const std::lock_guard lock(memory_books());
  frames_[++frames_opened_] = {};
  return frames_opened_;
}

MemoryStats MemoryAccount::frame(std::int64_t number) const {
  const std::lock_guard lock(memory_books());
  return frames_.at(number);
}

void MemoryAccount::close_frame(std::int64_t number) {
  const std::lock_guard lock(memory_books());
  frames_.erase(number);
}

void MemoryAccount::note(const std::function<void(MemoryStats&)>& change) {
  const std::lock_guard lock(memory_books());
  change(stats_);
  for (auto& [number, frame] : frames_) change(frame);
}

void MemoryAccount::set_limit(std::size_t bytes) {
  const std::lock_guard lock(memory_books());
  limit_ = bytes;
}

std::size_t MemoryAccount::limit() const {
  const std::lock_guard lock(memory_books());
  return limit_;
}

void MemoryAccount::take(std::size_t bytes) {
  const std::lock_guard lock(memory_books());
  if (limit_ > 0 && (bytes > limit_ || taken_ > limit_ - bytes))
    throw DeviceOutOfMemoryError(
        device.name() + ", allocating " + std::to_string(bytes) + " bytes: " + std::to_string(taken_) +
        " are in use, and the limit (warpquant.memory.set_limit) is " + std::to_string(limit_));
  taken_ += bytes;
}

void MemoryAccount::give(std::size_t bytes) {
  const std::lock_guard lock(memory_books());
  taken_ -= bytes;
}

void MemoryAccount::count(Rung rung) {
  const std::lock_guard lock(memory_books());
  ++rungs_[static_cast<int>(rung)];
}

std::int64_t MemoryAccount::counted(Rung rung) const {
  const std::lock_guard lock(memory_books());
  return rungs_[static_cast<int>(rung)];
}

// ------------------------------------------------------------------------------------------------ sites

MemorySite::MemorySite(std::string tag) : tag_(std::move(tag)), outer_(site) { site = this; }

MemorySite::~MemorySite() { site = outer_; }

std::string MemorySite::tag() { return site == nullptr ? std::string() : site->tag_; }

bool MemorySite::may_collect() { return site == nullptr || !std::exchange(site->collected_, true); }

void set_garbage_collector(void (*collect)()) { collect_garbage = collect; }

}  // namespace wq
