// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <iterator>
#include <map>
#include <optional>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/backend.h"
#include "warpquant/core/buffer_pool.h"
#include "warpquant/core/device.h"
#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"

namespace wq {
namespace {

/// What the handler of a signal raised, until it is raised in the caller's place.
thread_local std::optional<py::error_already_set> signal_error;

/// Raise the class of warpquant.errors that has the name of the C++ type.
template <class E>
bool translate(const std::exception_ptr& pointer, const char* name) {
  try {
    std::rethrow_exception(pointer);
  } catch (const E& error) {
    const py::object type = py::module_::import("warpquant.errors").attr(name);
    if constexpr (requires { error.live_by_tag; }) {
      const py::object instance = type(error.what(), py::arg("requested") = error.requested,
                                       py::arg("free") = error.free, py::arg("total") = error.total,
                                       py::arg("limit") = error.limit, py::arg("live_by_tag") = error.live_by_tag);
      PyErr_SetObject(type.ptr(), instance.ptr());
    } else if constexpr (requires { error.reason; }) {
      const py::object instance = type(error.what(), py::arg("reason") = error.reason);
      PyErr_SetObject(type.ptr(), instance.ptr());
    } else {
      PyErr_SetString(type.ptr(), error.what());
    }
    return true;
  } catch (...) {
    return false;
  }
}

void translate_errors(std::exception_ptr pointer) {
  if (!pointer) return;
  if (translate<ShapeError>(pointer, "ShapeError") || translate<DTypeError>(pointer, "DTypeError") ||
      translate<LayoutError>(pointer, "LayoutError") || translate<ParameterError>(pointer, "ParameterError") ||
      translate<DeviceUnavailableError>(pointer, "DeviceUnavailableError") ||
      translate<DeviceOutOfMemoryError>(pointer, "DeviceOutOfMemoryError") ||
      translate<DeviceTransientError>(pointer, "DeviceTransientError") ||
      translate<DeviceTimeoutError>(pointer, "DeviceTimeoutError") ||
      translate<DeviceLostError>(pointer, "DeviceLostError") || translate<KernelError>(pointer, "KernelError") ||
      translate<CaptureUnsafeError>(pointer, "CaptureUnsafeError") ||
      translate<InternalError>(pointer, "InternalError"))
    return;
  try {
    std::rethrow_exception(pointer);
  } catch (const Interrupted&) {
    if (signal_error) {
      signal_error->restore();
      signal_error.reset();
    } else {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
  }
}

/// True if a signal's handler raised, as that of Ctrl-C does. Only the main thread of Python ever sees that.
bool interrupted() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() == 0) return false;
  signal_error.emplace();
  return true;
}

/// The setting for the thread that asks.
double wait_limit() {
  const py::gil_scoped_acquire gil;
  const py::object seconds = py::module_::import("warpquant.config").attr("get")("device.timeout");
  return seconds.is_none() ? 0.0 : py::cast<double>(seconds);
}

/// Device modules that have been loaded, by name.
std::map<std::string, const BackendTable*>& backends() {
  static std::map<std::string, const BackendTable*> tables;
  return tables;
}

void set_backend(const std::string& name, const py::object& capsule) {
  if (!PyCapsule_IsValid(capsule.ptr(), kBackendCapsule))
    throw InternalError("the device module offers a table of another kind; this one takes '" +
                        std::string(kBackendCapsule) + "'. Reinstall warpquant so that its parts match");
  backends()[name] = static_cast<const BackendTable*>(PyCapsule_GetPointer(capsule.ptr(), kBackendCapsule));
}

py::dict device_info(const std::string& name, int index, bool try_it) {
  DeviceInfo d{};
  {
    const py::gil_scoped_release release;
    backend(name)->device(index, try_it, &d);
  }
  py::dict device;
  device["index"] = index;
  device["name"] = std::string(d.name);
  device["uuid"] = std::string(d.uuid);
  device["compute_capability"] = py::make_tuple(d.major, d.minor);
  device["multiprocessors"] = d.multiprocessors;
  device["memory_total"] = d.memory_total;
  if (try_it) {
    device["memory_free"] = d.memory_free;
    device["runs_kernels"] = d.runs_kernels != 0;
    device["message"] = std::string(d.message);
  }
  return device;
}

py::dict backend_status(const std::string& name) {
  const BackendTable& table = *backend(name);
  BackendStatus s{};
  table.status(&s);
  py::dict status;
  status["built"] = true;
  status["driver_version"] = s.driver_version;
  status["runtime_version"] = s.runtime_version;
  status["reason"] = std::string(s.reason);
  status["message"] = std::string(s.message);
  status["count"] = s.device_count;
  return status;
}

py::dict build_info() {
  py::dict info;
  info["version"] = WQ_VERSION;
  info["compiler"] = WQ_COMPILER;
  info["simd_levels"] = std::vector<std::string>(std::begin(kLevelNames), std::end(kLevelNames));
  info["backend_abi"] = kBackendAbi;
  return info;
}

}  // namespace

const BackendTable* loaded_backend(const std::string& name) {
  const auto it = backends().find(name);
  return it == backends().end() ? nullptr : it->second;
}

const BackendTable* backend(const std::string& name) {
  const BackendTable* table = loaded_backend(name);
  WQ_EXPECT(table != nullptr, InternalError, "device module '" + name + "' has not been loaded");
  return table;
}

void register_core(py::module_& m) {
  py::register_exception_translator(translate_errors);
  set_interrupt_check(interrupted);
  set_wait_limit(wait_limit);
  m.attr("__version__") = WQ_VERSION;
  m.def("build_info", build_info, "What this module was built from and for.");
  m.def(
      "best_simd", [] { return std::string(kLevelNames[static_cast<int>(best_level())]); },
      "Highest instruction level that this machine can run.");
  m.def(
      "effective_simd",
      [](const std::string& name) { return std::string(kLevelNames[static_cast<int>(parse_level(name))]); },
      py::arg("name"), "The level that a setting comes to on this machine.");
  m.def("usable_processors", &usable_processors, "Processors this process may use, by affinity and quota.");
  m.def("copy_counts", copy_counts, "Copies that arguments needed since the start of the process, by reason.");
  m.def(
      "buffer_stats",
      [] {
        const BufferPool::Stats s = BufferPool::stats();
        py::dict stats;
        stats["in_use"] = s.in_use;
        stats["kept"] = s.kept;
        stats["limit"] = s.limit;
        return stats;
      },
      "Bytes of the pool that large results come from.");
  m.def("set_buffer_limit", &BufferPool::set_limit, py::arg("bytes"), "Most bytes that the pool keeps for later.");
  m.def("set_backend", set_backend, py::arg("name"), py::arg("table"), "Take over the functions of a device module.");
  m.def("device_info", device_info, py::arg("name"), py::arg("index"), py::arg("try_it"),
        "One device; if it is tried, also whether kernels run there.");
  m.def("backend_status", backend_status, py::arg("name"), "Driver and number of devices of a device module.");
}

}  // namespace wq
