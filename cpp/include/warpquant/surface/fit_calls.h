// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/execution.h"
#include "warpquant/surface/fit_ops.h"

namespace wq::surface {

/// Offsets and start are in memory of the host, the rest where the execution is: with quotes and results on a device
/// nobody waits for it, and what is prepared is left for later. Devices make no slices free of arbitrage.
void fit(const FitJob& job, const Execution& execution);
void certify(const CertifyJob& job, std::int64_t slices, const Execution& execution);
void cross(const CrossJob& job, std::int64_t slices, const Execution& execution);
void sabr(const SabrJob& job, std::int64_t smiles, const Execution& execution);
void essvi(const EssviJob& job, const Execution& execution);
void ssvi(const SsviJob& job, const Execution& execution);
void update(const StreamJob& job, const Execution& execution);
void heston(const HestonFitJob& job, const Execution& execution);

}  // namespace wq::surface
