// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "warpquant/atc/launch.h"
#include "warpquant/core/execution.h"

/// Adaptive trend classification: what the bindings call.
namespace wq::atc {

enum class NanPolicy {
  skip,       // a missing bar is no bar
  propagate,  // the rules of docs/atc.md for each formula
  raise,      // ParameterError naming symbol and bar
};

/// The cuts that go with the parameters; worth keeping with them.
Cuts<double> cuts_of(const Params& params);

struct Request {
  Params params;
  Cuts<double> cuts;
  NanPolicy nan;
  DType close_type = DType::f64, src_type = DType::f64, out_type = DType::f64;
  bool separate_src = false;
  bool last_only = false;
  bool float32 = false;  // a device may compute in float32
  bool exact = true;     // otherwise a device may take long series in stages, whose last digits differ
  std::array<bool, kOutputs> wants{};
  bool detail = false;
  std::function<std::string(std::int64_t)> label;  // what messages call a symbol
  Part part = Part::everything;                    // of prices on a device
};

/// One symbol. Sinks that nobody asked for stay empty.
struct Item {
  Series close, src;
  std::array<Sink, kOutputs> out;
  std::array<std::array<Sink, kFamilies>, kDetails> detail;               // of length 0
  std::array<std::array<std::int64_t, kFamilies>, kDetails> detail_step;  // bytes from one length to the next
  std::array<SignalWords*, kFamilies> signals{};                          // of a part
};

void run(const Request& request, std::span<const Item> items, const Execution& execution);

/// One set of parameters of a sweep.
struct Variant {
  Params params;
  Cuts<double> cuts;
  NanPolicy nan;
};

/// What `run` gives for each of several sets, bit for bit, with all that they have in common made once. `request` is
/// theirs but for `params`, `cuts`, `nan`, and wants no details; of `items` the sinks are not used. `sinks`: for each
/// set, for each output wanted in their order, for each item.
void run_sweep(const Request& request, std::span<const Variant> variants, std::span<const Item> items,
               std::span<const Sink> sinks, const Execution& execution);

}  // namespace wq::atc
