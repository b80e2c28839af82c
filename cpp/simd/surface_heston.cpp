// SPDX-License-Identifier: Apache-2.0
#include "warpquant/surface/heston_fit.h"

namespace wq::surface::inline WQ_LEVEL {

void heston(const HestonFitJob& job, double* scratch) { fit_heston(job, scratch); }

}  // namespace wq::surface::inline WQ_LEVEL
