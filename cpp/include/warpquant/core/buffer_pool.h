// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace wq {

/// Memory for large results. First touch of fresh pages costs about as much as computing an average, so freed buffers
/// are kept for the next result of the same size, up to a limit.
class BufferPool {
 public:
  /// Page-aligned, contents arbitrary. Throws std::bad_alloc.
  static void* allocate(std::size_t bytes);
  /// `bytes` as given to `allocate`. Callable from any thread.
  static void release(void* data, std::size_t bytes) noexcept;

  struct Stats {
    std::size_t in_use, kept, limit;  // bytes
  };
  static Stats stats();
  /// Frees what exceeds the new limit.
  static void set_limit(std::size_t bytes);

  static constexpr std::size_t kDefaultLimit = std::size_t{256} << 20;
};

}  // namespace wq
