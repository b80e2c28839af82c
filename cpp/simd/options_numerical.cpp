// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/grid.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group numerical;
const rows::Group numerical = rows::group_of<Numerical>();

}  // namespace wq::options::inline WQ_LEVEL
