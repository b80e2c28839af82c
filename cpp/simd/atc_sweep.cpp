// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/shapes.h"
#include "warpquant/atc/tally.h"

/// Sweeps on the CPU.
namespace wq::atc::sweep::inline WQ_LEVEL {
namespace {

// Types of this file alone: what is made for them is then inlined where it is called.
struct SymbolSignals : SymbolLanes<kLanes, true> {};
struct LengthSignals : LengthLanes<true> {};
struct Sets : SymbolLanes<kLanes> {};

template <class Shape>
void signals_of(const Run& run, const Group& group, std::byte* scratch) {
  Passage<Shape>(run, group, scratch).run();
}

std::size_t signals_scratch(const Run& run) {
  const std::size_t symbols = Passage<SymbolSignals>::scratch_bytes(run);
  const std::size_t single = Passage<LengthSignals>::scratch_bytes(run);
  return symbols > single ? symbols : single;
}

void returns(const Series& close, DType type, double* out) {
  using V = Pack<kLanes>;
  const auto load = [&](std::int64_t bar) {
    const V x = type == DType::f32 ? load_bars<float, kLanes>(close, bar) : load_bars<double, kLanes>(close, bar);
    return equity::if_finite(x);
  };
  for (std::int64_t bar = 0; bar < words_of(close.bars) * kWordBars; bar += kLanes)
    equity::simple_return(load(bar), load(bar - 1)).store(out + bar);
  out[0] = __builtin_nan("");
}

std::size_t tally_scratch(const Batch& batch) { return Tally<Sets>::scratch_bytes(batch); }

void tally(const Outputs& outputs, const Batch& batch, const Symbol& symbol, const Sink* sinks, std::byte* scratch) {
  Tally<Sets>(outputs, batch, symbol, sinks, scratch).run();
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {kLanes,
                         signals_scratch,
                         signals_of<SymbolSignals>,
                         kLanes < 4 ? signals_of<SymbolSignals> : signals_of<LengthSignals>,
                         returns,
                         tally_scratch,
                         tally};

}  // namespace wq::atc::sweep::inline WQ_LEVEL
