// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/vanilla.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group vanilla;
const rows::Group vanilla = rows::group_of<Vanilla>();

}  // namespace wq::options::inline WQ_LEVEL
