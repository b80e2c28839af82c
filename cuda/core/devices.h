// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/backend.h"

namespace wq::cuda {

/// Driver, runtime and number of devices; never throws, works without a driver.
void status(BackendStatus* out);

/// One device, and whether a kernel of this build runs on it (which creates a context there).
void device(int index, DeviceInfo* out);

}  // namespace wq::cuda
