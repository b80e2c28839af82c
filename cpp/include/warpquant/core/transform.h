// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/walks.h"

namespace wq {

/// Results of several series each, to be computed on a device: from memory of the host in batches, from memory of the
/// device where they are.
struct Transform {
  int inputs;
  DType in_type[2], out_type;
  std::vector<Series> in;  // as in `Walks`
  std::vector<Sink> out;
  const std::vector<double>* by_bar = nullptr;  // one number per bar that is the same for every series
  Cut cut = Cut::nowhere;
  /// `by_bar` on the device. A prepared call keeps it.
  std::function<Fault(const Device&, const Walks&, const double* by_bar, Handle stream)> launch;
};

/// `execution` names a device.
void transform(const Transform& transform, const Execution& execution);

}  // namespace wq
