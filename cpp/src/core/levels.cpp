// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/levels.h"

#include <iterator>
#include <string>

#include "warpquant/core/error.h"

namespace wq {

Level best_level() {
#if defined(__x86_64__)
  static const Level best = [] {
    __builtin_cpu_init();
    // __builtin_cpu_supports also asks whether the operating system saves the wide registers.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                      __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("f16c") &&
                      __builtin_cpu_supports("movbe");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    return avx512 ? Level::avx512 : avx2 ? Level::avx2 : Level::baseline;
  }();
  return best;
#else
  return Level::baseline;
#endif
}

Level parse_level(std::string_view name) {
  if (name.empty() || name == "best") return best_level();
  std::string accepted;
  for (std::size_t i = 0; i < std::size(kLevelNames); ++i) {
    if (name == kLevelNames[i]) return static_cast<Level>(i) < best_level() ? static_cast<Level>(i) : best_level();
    accepted += std::string(", '") + kLevelNames[i] + "'";
  }
  throw ParameterError("simd: '" + std::string(name) + "' is not an instruction level; accepted are 'best'" + accepted);
}

}  // namespace wq
