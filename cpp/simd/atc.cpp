// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/shapes.h"

/// ATC on the CPU.
namespace wq::atc::inline WQ_LEVEL {
namespace {

// Types of this file alone: what is made for them is then inlined where it is called.
struct Symbols : SymbolLanes<kLanes> {};
struct Lengths : LengthLanes<> {};
struct Streams : StreamLanes<kLanes> {};

template <class Shape>
void run_group(const Run& run, const Group& group, std::byte* scratch) {
  Passage<Shape>(run, group, scratch).run();
}

std::size_t scratch_bytes(const Run& run) {
  const std::size_t symbols = Passage<Symbols>::scratch_bytes(run);
  const std::size_t single = Passage<Lengths>::scratch_bytes(run);
  return symbols > single ? symbols : single;
}

std::size_t stream_scratch(const Run& run) { return StreamPassage<Streams>::scratch_bytes(run); }

std::int64_t stream_start(const Run& run, const Group& shared, double* group, std::byte* scratch) {
  StreamPassage<Streams> passage(run, shared, scratch);
  for (int part = 0; group != nullptr && part < kMaxLanes; part += kLanes) passage.start(group + part);
  return passage.rows();
}

void stream(const Run& run, const Group& shared, const Feed& feed, std::int64_t first, std::int64_t last,
            std::byte* scratch) {
  StreamPassage<Streams>(run, shared, scratch).run(feed, first, last);
}

}  // namespace

extern const Kernels kernels;
// Registers of two lanes gain nothing from spreading the lengths of one symbol over four.
const Kernels kernels = {kLanes,
                         scratch_bytes,
                         run_group<Symbols>,
                         kLanes < 4 ? run_group<Symbols> : run_group<Lengths>,
                         stream_scratch,
                         stream_start,
                         stream};

}  // namespace wq::atc::inline WQ_LEVEL
