// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "warpquant/core/memory.h"

/// Resources that stand on another and add one thing each.
namespace wq {

class Adaptor : public MemoryResource {
 public:
  explicit Adaptor(std::unique_ptr<MemoryResource> upstream) : upstream_(std::move(upstream)) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override { return upstream_->allocate(bytes, stream); }
  void release(std::byte* data, std::size_t bytes, Handle stream) override { upstream_->release(data, bytes, stream); }
  void trim() override { upstream_->trim(); }
  Kept kept() override { return upstream_->kept(); }

 protected:
  const std::unique_ptr<MemoryResource> upstream_;
};

/// Takes no more than the account's limit.
class Limiting final : public Adaptor {
 public:
  Limiting(std::unique_ptr<MemoryResource> upstream, MemoryAccount& account)
      : Adaptor(std::move(upstream)), account_(account) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;

 private:
  MemoryAccount& account_;
};

/// Fills blocks when they are given, or freed, in the order of the stream; blocks of the host, which nobody's stream
/// uses by then, at once.
class Filling final : public Adaptor {
 public:
  Filling(std::unique_ptr<MemoryResource> upstream, const MemoryAccount& account, std::optional<int> given,
          std::optional<int> freed)
      : Adaptor(std::move(upstream)), account_(account), given_(given), freed_(freed) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;

 private:
  Fault fill(std::byte* data, int byte, std::size_t bytes, Handle stream) const;

  const MemoryAccount& account_;
  const std::optional<int> given_, freed_;  // bytes to fill with
};

/// Fails at the n-th allocation, or from there on: for tests.
class FaultInjecting final : public Adaptor {
 public:
  FaultInjecting(std::unique_ptr<MemoryResource> upstream, const MemoryPlan& plan)
      : Adaptor(std::move(upstream)), fail_at_(plan.fail_at), lasting_(plan.lasting) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;

 private:
  const std::int64_t fail_at_;
  const bool lasting_;
  std::int64_t asked_ = 0;
};

/// Asks, when memory is short, whether to try again.
class FailureCallback final : public Adaptor {
 public:
  FailureCallback(std::unique_ptr<MemoryResource> upstream, const MemoryPlan& plan)
      : Adaptor(std::move(upstream)), ask_(plan.on_failure) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;

 private:
  const decltype(MemoryPlan::on_failure) ask_;
};

/// A line in a CSV file for whatever is asked.
class Logging final : public Adaptor {
 public:
  Logging(std::unique_ptr<MemoryResource> upstream, const std::string& path);
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;

 private:
  void write(const char* event, std::size_t bytes, const std::byte* data, Handle stream) const;

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file_;
};

/// Knows every block in use, and so notices what is freed twice, or is nobody's.
class Tracking final : public Adaptor {
 public:
  explicit Tracking(std::unique_ptr<MemoryResource> upstream) : Adaptor(std::move(upstream)) {}
  std::byte* allocate(std::size_t bytes, Handle stream) override;
  void release(std::byte* data, std::size_t bytes, Handle stream) override;

  std::vector<LiveBlock> live() const;
  std::map<std::string, std::size_t> live_by_tag() const;

 private:
  struct Entry {
    std::size_t bytes;
    Handle stream;
    std::string tag;
  };
  bool overlaps(const std::byte* data, std::size_t bytes) const;

  std::map<std::byte*, Entry> blocks_;
};

}  // namespace wq
