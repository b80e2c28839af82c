// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "warpquant/atc/atc.h"
#include "warpquant/core/device.h"

namespace wq::atc {

/// Symbols that are worth it, in bars.
inline constexpr std::int64_t kLongSeries = 1 << 14;

/// Streams of a call, for averages of the nine lengths beside each other.
struct Sides {
  explicit Sides(const Device& device) : device(device) {
    for (auto& stream : streams) stream = std::make_unique<DeviceStream>(device);
  }

  Device device;
  std::unique_ptr<DeviceStream> streams[kLengths];
};

/// ATC of one long symbol on a device: averages, crosses, equities and layers one after the other, each over pieces of
/// time side by side. Values differ in the last digits from those of the one pass, where every step follows the one
/// before. Series, sinks and growth factors lie on the device, no value may be missing, and there is no detail.
void run_in_stages(const Request& request, const Item& item, const double* growth, const Sides& sides, Handle stream);

}  // namespace wq::atc
