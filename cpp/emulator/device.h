// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "warpquant/core/backend.h"

/// Simulated devices behind the table of functions that real ones have. Memory is that of the host; work waits in the
/// queues of its streams until somebody waits for it, and is then done in an order that is one of many which the
/// streams and events allow: what forgets to wait gets wrong results under some seed.
namespace wq::emulator {

struct Settings {
  int devices = 2;
  std::int64_t memory = std::int64_t{1} << 30;  // bytes of each device
  std::uint64_t schedule_seed = 0;              // of the order of streams
  // The call of that number, counted from now, from 1, ends with this fault, as all later ones do if `lasting`; 0:
  // none.
  std::int64_t fail_at = 0;
  Fault failure = Fault::none;
  bool lasting = false;
  bool capturing = false;  // what every stream says of itself
};

/// Takes effect at once, and counts calls from 0 again.
void configure(const Settings& settings);

/// Drop whatever the devices hold. Nobody may have it any more, except who could not give it back.
void forget();

struct Counts {
  std::int64_t calls, launches, waits, memory_used, memory_peak, allocations, pinned_used, streams, events, pending;
};
Counts counts();

extern const BackendTable table;

}  // namespace wq::emulator
