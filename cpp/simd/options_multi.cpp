// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/multi.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group multi;
const rows::Group multi = rows::group_of<Multi>();

}  // namespace wq::options::inline WQ_LEVEL
