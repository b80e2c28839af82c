// SPDX-License-Identifier: Apache-2.0
#include <pybind11/pybind11.h>

#include <string>

#include "device.h"
#include "emulator.h"

/// The simulated devices as a Python module, for tests.
PYBIND11_MODULE(_emulator, m) {
  namespace py = pybind11;
  namespace emulator = wq::emulator;
  m.doc() = "Simulated CUDA devices. For tests: never part of an installation, unless built with WQ_EMULATOR=ON.";
  m.attr("architectures") = "none";
  m.def(
      "table", [] { return py::capsule(&emulator::table, wq::kBackendCapsule); },
      "Function table for the core module.");
  m.def(
      "configure",
      [](int devices, std::int64_t memory, std::uint64_t schedule_seed, std::uint64_t thread_seed, std::int64_t fail_at,
         int failure, bool lasting) {
        emulator::options().order_seed = thread_seed;
        emulator::configure({devices, memory, schedule_seed, fail_at, static_cast<wq::Fault>(failure), lasting});
      },
      py::kw_only(), py::arg("devices") = 2, py::arg("memory") = std::int64_t{1} << 30, py::arg("schedule_seed") = 0,
      py::arg("thread_seed") = 0, py::arg("fail_at") = 0, py::arg("failure") = 0, py::arg("lasting") = false,
      "Set the devices up, and count calls from 0 again.");
  m.def("forget", emulator::forget, "Drop what nobody could give back.");
  m.def(
      "counts",
      [] {
        const emulator::Counts c = emulator::counts();
        py::dict counts;
        counts["calls"] = c.calls;
        counts["launches"] = c.launches;
        counts["memory_used"] = c.memory_used;
        counts["memory_peak"] = c.memory_peak;
        counts["allocations"] = c.allocations;
        counts["pinned_used"] = c.pinned_used;
        counts["streams"] = c.streams;
        counts["events"] = c.events;
        counts["pending"] = c.pending;
        return counts;
      },
      "What the devices have been asked for.");
}
