// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/surface/sabr.h"

namespace wq::surface::inline WQ_LEVEL {

extern const rows::Group sabrs;
const rows::Group sabrs = rows::group_of<Sabrs>();

}  // namespace wq::surface::inline WQ_LEVEL
