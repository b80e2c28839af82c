// SPDX-License-Identifier: Apache-2.0
#include <pybind11/pybind11.h>

#include "core/runtime.h"

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA side of warpquant. Private: loaded at the first question about devices.";
  m.attr("architectures") = WQ_CUDA_ARCHITECTURES;
  m.def(
      "table", [] { return pybind11::capsule(&wq::cuda::table(), wq::kBackendCapsule); },
      "Function table for the core module.");
}
