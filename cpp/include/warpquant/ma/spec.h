// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace wq::ma {

/// One average as the caller asks for it; every kind takes from it what it knows.
struct Spec {
  std::int64_t length;
  bool seed_first = false;  // recurrences start from the first value, not from a mean
  double fast = 2, slow = 30;
};

/// What the Python face needs to know about a kind.
struct Info {
  const char* name;
  const char* title;
  const char* formula;  // in the notation of docs/ma.md
  const char* notes;    // conventions that users trip over, "" if none
  bool recurrent;       // a recurrence; otherwise a function of its window
  bool takes_seed;
  bool takes_fast_slow;
  bool ends_only = false;  // looks at the two ends of its window and nothing between
};

}  // namespace wq::ma
