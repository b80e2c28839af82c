// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <string>

/// One function per domain; module.cpp is the list of them.
namespace wq {

struct BackendTable;
/// The functions of a device module, if it has been loaded; `backend` throws InternalError if not.
const BackendTable* loaded_backend(const std::string& name);
const BackendTable* backend(const std::string& name);

void register_core(pybind11::module_& m);
void register_ma(pybind11::module_& m);
void register_equity(pybind11::module_& m);
void register_backtest(pybind11::module_& m);
void register_atc(pybind11::module_& m);
void register_rows(pybind11::module_& m);
void register_monte_carlo(pybind11::module_& m);
void register_pinn(pybind11::module_& m);
void register_scenario(pybind11::module_& m);
void register_signals(pybind11::module_& m);
void register_surface(pybind11::module_& m);
void register_device_array(pybind11::module_& m);
void register_streams(pybind11::module_& m);
void register_memory(pybind11::module_& m);
void register_optim(pybind11::module_& m);

}  // namespace wq
