// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/word_lanes.h"
#include "warpquant/surface/stream.h"

namespace wq::surface::inline WQ_LEVEL {

void stream(const StreamJob& job, double* scratch) { update_slice<Pack<kStarts>>(job, scratch); }

}  // namespace wq::surface::inline WQ_LEVEL
