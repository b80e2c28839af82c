// SPDX-License-Identifier: Apache-2.0
#include "register.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "CPU core of warpquant. Private: use the functions of the package.";
  wq::register_core(m);
  wq::register_device_array(m);
  wq::register_streams(m);
  wq::register_memory(m);
  wq::register_ma(m);
  wq::register_equity(m);
  wq::register_atc(m);
  wq::register_signals(m);
  wq::register_rows(m);
  wq::register_scenario(m);
  wq::register_backtest(m);
  wq::register_monte_carlo(m);
  wq::register_optim(m);
  wq::register_surface(m);
  wq::register_pinn(m);
}
