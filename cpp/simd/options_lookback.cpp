// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/lookback.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group lookback;
const rows::Group lookback = rows::group_of<Lookbacks>();

}  // namespace wq::options::inline WQ_LEVEL
