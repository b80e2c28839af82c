// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace wq {

/// Instruction levels that the CPU kernels are built for, in ascending order.
enum class Level { baseline, avx2, avx512 };

#if defined(__x86_64__)
inline constexpr const char* kLevelNames[] = {"baseline", "avx2", "avx512"};
#else
inline constexpr const char* kLevelNames[] = {"baseline"};
#endif

/// The highest level that this machine can run.
Level best_level();

/// `name` as a level, lowered to what the machine can run; "" or "best" mean the best. Throws ParameterError.
Level parse_level(std::string_view name);

/// The table of kernels that a domain has for a level; `T` is the table's type.
#if defined(__x86_64__)
#define WQ_KERNEL_TABLE(domain)                                                                                 \
  namespace wq::domain {                                                                                        \
  namespace baseline {                                                                                          \
  extern const Kernels kernels;                                                                                 \
  }                                                                                                             \
  namespace avx2 {                                                                                              \
  extern const Kernels kernels;                                                                                 \
  }                                                                                                             \
  namespace avx512 {                                                                                            \
  extern const Kernels kernels;                                                                                 \
  }                                                                                                             \
  inline const Kernels& kernels_at(Level level) {                                                               \
    return level == Level::avx512 ? avx512::kernels : level == Level::avx2 ? avx2::kernels : baseline::kernels; \
  }                                                                                                             \
  }
#else
#define WQ_KERNEL_TABLE(domain)                                         \
  namespace wq::domain {                                                \
  namespace baseline {                                                  \
  extern const Kernels kernels;                                         \
  }                                                                     \
  inline const Kernels& kernels_at(Level) { return baseline::kernels; } \
  }
#endif

}  // namespace wq
