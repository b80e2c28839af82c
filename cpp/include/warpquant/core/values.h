// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/macros.h"

/// Single values in the caller's memory, of any alignment.
namespace wq::inline WQ_LEVEL {

template <class T>
WQ_HD double load_value(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return static_cast<double>(value);
}

template <class T>
WQ_HD void store_value(std::byte* p, double value) {
  const T narrow = static_cast<T>(value);
  __builtin_memcpy(p, &narrow, sizeof narrow);
}

WQ_HD std::int64_t clamp(std::int64_t i, std::int64_t low, std::int64_t high) {
  return i < low ? low : i > high ? high : i;
}

}  // namespace wq::inline WQ_LEVEL
