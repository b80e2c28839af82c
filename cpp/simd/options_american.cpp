// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/american.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group american;
const rows::Group american = rows::group_of<AmericanFamily>();

}  // namespace wq::options::inline WQ_LEVEL
