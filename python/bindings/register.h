// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <string>

/// One function per domain; module.cpp is the list of them.
namespace wq {

struct BackendTable;
/// The functions of a device module that has been loaded. Throws InternalError for others.
const BackendTable* backend(const std::string& name);

void register_core(pybind11::module_& m);
void register_ma(pybind11::module_& m);
void register_equity(pybind11::module_& m);
void register_atc(pybind11::module_& m);

}  // namespace wq
