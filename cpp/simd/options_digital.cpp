// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/digital.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group digitals;
const rows::Group digitals = rows::group_of<Digitals>();

}  // namespace wq::options::inline WQ_LEVEL
