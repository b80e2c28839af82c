// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/asian.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group asians;
const rows::Group asians = rows::group_of<Asians>();

}  // namespace wq::options::inline WQ_LEVEL
