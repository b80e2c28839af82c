// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/atc/atc.h"
#include "warpquant/core/device.h"

namespace wq::atc {

/// Symbols that are worth it, in bars.
inline constexpr std::int64_t kLongSeries = 1 << 14;

/// ATC of one long symbol on a device: averages, crosses, equities and layers one after the other, each over pieces of
/// time side by side. Values differ in the last digits from those of the one pass, where every step follows the one
/// before. Series, sinks and growth factors lie on the device, no value may be missing, and there is no detail.
void run_in_stages(const Request& request, const Item& item, const double* growth, const Device& device, Handle stream);

}  // namespace wq::atc
