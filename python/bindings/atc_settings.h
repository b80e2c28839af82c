// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include "warpquant/atc/atc.h"

namespace wq {

/// Parameters and switches as validated by warpquant.atc.Params.
struct AtcSettings {
  atc::Params params{};
  atc::Cuts<double> cuts{};
  atc::NanPolicy nan{};
};

/// The part of `register_atc` that is about streams.
void register_atc_stream(pybind11::module_& m);

}  // namespace wq
