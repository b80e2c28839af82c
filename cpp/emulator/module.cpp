// SPDX-License-Identifier: Apache-2.0
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>

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
         int failure, bool lasting, std::int64_t stuck_after, double pace) {
        emulator::options().order_seed = thread_seed;
        emulator::configure(
            {devices, memory, schedule_seed, fail_at, static_cast<wq::Fault>(failure), lasting, stuck_after, pace});
      },
      py::kw_only(), py::arg("devices") = 2, py::arg("memory") = std::int64_t{1} << 30, py::arg("schedule_seed") = 0,
      py::arg("thread_seed") = 0, py::arg("fail_at") = 0, py::arg("failure") = 0, py::arg("lasting") = false,
      py::arg("stuck_after") = -1, py::arg("pace") = 0.0, "Set the devices up, and count calls from 0 again.");
  m.def(
      "make_stream",
      [](int device) {
        wq::Handle stream = nullptr;
        if (emulator::table.create_stream(device, wq::kUsualPriority, &stream) != wq::Fault::none)
          throw py::value_error(emulator::table.message());
        return reinterpret_cast<std::uintptr_t>(stream);
      },
      py::arg("device") = 0, "A stream, which stays.");
  m.def(
      "read_later",
      [](const py::capsule& capsule, std::uintptr_t stream, std::size_t count) {
        // What a consumer does that copies an array to the host in its stream, and waits for it later.
        const auto* const tensor = static_cast<void* const*>(capsule.get_pointer());
        auto* const values = new double[count];
        py::capsule owner(values, [](void* p) { delete[] static_cast<double*>(p); });
        const auto handle = reinterpret_cast<wq::Handle>(stream);
        void* pinned = nullptr;
        emulator::table.allocate_pinned(0, count * sizeof(double), &pinned);
        emulator::table.copy(0, pinned, tensor[0], count * sizeof(double), handle);
        return py::cpp_function([=] {
          int done = 0;
          emulator::table.query(0, handle, &done);
          std::memcpy(values, pinned, count * sizeof(double));
          emulator::table.release_pinned(0, pinned);
          return py::array_t<double>(static_cast<py::ssize_t>(count), values, owner);
        });
      },
      py::arg("capsule"), py::arg("stream"), py::arg("count"), "Read a tensor in a stream; the result is a function.");
  m.def(
      "write",
      [](const py::capsule& capsule, const py::array& values) {
        std::memcpy(*static_cast<void* const*>(capsule.get_pointer()), values.data(),
                    static_cast<std::size_t>(values.nbytes()));
      },
      py::arg("capsule"), py::arg("values"), "Overwrite a tensor, at once.");
  m.def("forget", emulator::forget, "Drop what nobody could give back.");
  m.def(
      "counts",
      [] {
        const emulator::Counts c = emulator::counts();
        py::dict counts;
        counts["calls"] = c.calls;
        counts["launches"] = c.launches;
        counts["waits"] = c.waits;
        counts["memory_used"] = c.memory_used;
        counts["memory_peak"] = c.memory_peak;
        counts["allocations"] = c.allocations;
        counts["pinned_used"] = c.pinned_used;
        counts["streams"] = c.streams;
        counts["events"] = c.events;
        counts["pending"] = c.pending;
        counts["strays"] = c.strays;
        return counts;
      },
      "What the devices have been asked for.");
  m.def("calls", emulator::calls, "Calls of each entry of the table.");
  m.def("priorities", emulator::priorities, "Priorities of the streams that there are.");
  const auto handle = [](std::uintptr_t stream) { return reinterpret_cast<wq::Handle>(stream); };
  m.def(
      "begin_capture", [=](std::uintptr_t stream) { emulator::begin_capture(0, handle(stream)); }, py::arg("stream"),
      "Keep what is put into a stream of the first device, instead of doing it.");
  m.def(
      "end_capture", [=](std::uintptr_t stream) { return emulator::end_capture(0, handle(stream)); }, py::arg("stream"),
      "The graph of what was put into it.");
  m.def(
      "replay", [=](std::size_t graph, std::uintptr_t stream) { emulator::replay(graph, 0, handle(stream)); },
      py::arg("graph"), py::arg("stream"), "Put a graph into a stream.");
}
