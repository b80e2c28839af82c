// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/row_tiles.h"
#include "warpquant/options/grid.h"
#include "warpquant/options/lattice.h"

namespace wq::options::inline WQ_LEVEL {

using Numerical = rows::List<Lattice<LatticeKind::crr>, Lattice<LatticeKind::leisen_reimer>, Grid<false>, Grid<true>>;

extern const rows::Group numerical;
const rows::Group numerical = rows::group_of<Numerical>();

}  // namespace wq::options::inline WQ_LEVEL
