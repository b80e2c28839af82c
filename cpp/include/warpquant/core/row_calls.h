// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/rows.h"

/// Operations on rows by name, for the bindings.
namespace wq::rows {

/// An operation, wherever it comes from.
struct Op {
  const Group* (*group)(Level);
  GroupId id;
  int index;
  Info info;
  std::vector<std::string> inputs, outputs;
  bool on_devices;  // or on the CPU alone
};

/// Every operation there is.
const std::vector<Op>& operations();

/// Throws InternalError if there is none of that name.
const Op& operation(std::string_view name);

/// `job` but for its group and index, which are the operation's.
void run(const Op& op, Job& job, const Execution& execution);

}  // namespace wq::rows
