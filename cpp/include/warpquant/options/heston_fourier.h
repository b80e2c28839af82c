// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/heston_contour.h"
#include "warpquant/options/heston_cos.h"

namespace wq::options::inline WQ_LEVEL {

using Fourier = rows::List<Heston<HestonContour>, Heston<HestonCos>>;

}  // namespace wq::options::inline WQ_LEVEL
