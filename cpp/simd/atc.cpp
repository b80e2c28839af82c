// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/shapes.h"

/// ATC on the CPU.
namespace wq::atc::inline WQ_LEVEL {
namespace {

template <class Shape>
void run_group(const Run& run, const Group& group, std::byte* scratch) {
  Passage<Shape>(run, group, scratch).run();
}

std::size_t scratch_bytes(const Run& run) {
  const std::size_t symbols = Passage<SymbolLanes<kLanes>>::scratch_bytes(run);
  const std::size_t single = Passage<LengthLanes<>>::scratch_bytes(run);
  return symbols > single ? symbols : single;
}

}  // namespace

extern const Kernels kernels;
// Registers of two lanes gain nothing from spreading the lengths of one symbol over four.
const Kernels kernels = {kLanes, scratch_bytes, run_group<SymbolLanes<kLanes>>,
                         kLanes < 4 ? run_group<SymbolLanes<kLanes>> : run_group<LengthLanes<>>};

}  // namespace wq::atc::inline WQ_LEVEL
