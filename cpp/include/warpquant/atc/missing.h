// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "warpquant/core/series.h"

/// Missing bars, on the host.
namespace wq::atc {

/// Whether every value is finite and below `kTooLarge`.
bool all_present(const Series& series, DType type);

/// Results of the present bars stand at the front; move them to where the bars are. At missing bars floats are NaN
/// and classes repeat. With `last_only` there is one result, that of the last present bar.
void spread(const Sink& out, DType type, const std::vector<std::int64_t>& present, std::int64_t bars, bool last_only);

}  // namespace wq::atc
