// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

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
  // From now on, so many pieces of work are done, and no more until the next settings; negative: all.
  std::int64_t stuck_after = -1;
  double pace = 0;  // seconds that a piece of work takes at least
};

/// Takes effect at once, and counts calls from 0 again.
void configure(const Settings& settings);

/// Drop whatever the devices hold. Nobody may have it any more, except who could not give it back.
void forget();

struct Counts {
  std::int64_t calls, launches, memory_used, memory_peak, allocations, pinned_used, streams, events, pending;
  std::int64_t waits;   // questions whether something is done
  std::int64_t strays;  // copies to or from memory that was there when they were put into a stream, and freed since
};
Counts counts();
/// Calls of each entry of the table since the last settings.
std::map<std::string, std::int64_t> calls();
/// Priorities of all streams that there are, in no order.
std::vector<int> priorities();

/// What is put into the stream is not done, but kept, until the end of the capture. What needs an answer at once, or
/// memory, fails meanwhile.
void begin_capture(int device, Handle stream);
/// What was put into it, as a number to replay it by.
std::size_t end_capture(int device, Handle stream);
/// Put it into a stream.
void replay(std::size_t graph, int device, Handle stream);

extern const BackendTable table;

}  // namespace wq::emulator
