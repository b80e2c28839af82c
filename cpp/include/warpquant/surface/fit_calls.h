// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/execution.h"
#include "warpquant/surface/fit_ops.h"

namespace wq::surface {

void fit(const FitJob& job, std::int64_t smiles, const Execution& execution);
void certify(const CertifyJob& job, std::int64_t slices, const Execution& execution);
void cross(const CrossJob& job, std::int64_t slices, const Execution& execution);
void sabr(const SabrJob& job, std::int64_t smiles, const Execution& execution);
void essvi(const EssviJob& job, const Execution& execution);
void ssvi(const SsviJob& job, const Execution& execution);
void update(const StreamJob& job, const Execution& execution);
void heston(const HestonFitJob& job, const Execution& execution);

}  // namespace wq::surface
