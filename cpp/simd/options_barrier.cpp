// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/barrier.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group barriers;
const rows::Group barriers = rows::group_of<Barriers>();

}  // namespace wq::options::inline WQ_LEVEL
