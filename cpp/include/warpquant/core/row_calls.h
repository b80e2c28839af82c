// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/rows.h"

/// Operations on rows by name, for the bindings.
namespace wq::rows {

/// Puts the kernel of a call into a stream, as often as wanted.
using Put = std::function<Fault(Handle)>;

/// An operation, wherever it comes from.
struct Op {
  const Group* (*group)(Level);
  GroupId id;
  int index;
  Info info;
  std::vector<std::string> inputs, outputs;
  /// Of a call whose columns are on the device; work memory comes from `luggage`.
  Put (*on_device)(const Device& device, const Job& job, Luggage& luggage);
};

/// Every operation there is.
const std::vector<Op>& operations();

/// Throws InternalError if there is none of that name.
const Op& operation(std::string_view name);

/// `job` but for its group and index, which are the operation's.
void run(const Op& op, Job& job, const Execution& execution);

}  // namespace wq::rows
