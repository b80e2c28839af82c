// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/implied.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group implied;
const rows::Group implied = rows::group_of<ImpliedVols>();

}  // namespace wq::options::inline WQ_LEVEL
