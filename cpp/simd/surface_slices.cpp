// SPDX-License-Identifier: Apache-2.0
#include "warpquant/surface/slices.h"

#include "warpquant/core/row_tiles.h"

namespace wq::surface::inline WQ_LEVEL {

extern const rows::Group slices;
const rows::Group slices = rows::group_of<Slices>();

}  // namespace wq::surface::inline WQ_LEVEL
