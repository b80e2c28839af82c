// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/heston_tiles.h"

namespace wq::options::inline WQ_LEVEL {

extern const rows::Group fourier;
const rows::Group fourier = rows::group_of<Fourier>();

}  // namespace wq::options::inline WQ_LEVEL
