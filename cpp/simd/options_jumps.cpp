// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/jumps.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group jumps;
const rows::Group jumps = rows::group_of<Jumps>();

}  // namespace wq::options::inline WQ_LEVEL
