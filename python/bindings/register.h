// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

/// One function per domain; module.cpp is the list of them.
namespace wq {

void register_core(pybind11::module_& m);
void register_ma(pybind11::module_& m);
void register_equity(pybind11::module_& m);
void register_atc(pybind11::module_& m);

}  // namespace wq
