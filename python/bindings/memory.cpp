// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/memory.h"

#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"

namespace wq {
namespace {

MemoryAccount& account(const std::string& name, int number, Where where) {
  return account_of({backend(name), number}, where);
}

bool python_runs() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsInitialized() && !Py_IsFinalizing();
#else
  return Py_IsInitialized() && !_Py_IsFinalizing();
#endif
}

void collect_garbage() {
  if (!python_runs()) return;
  const py::gil_scoped_acquire gil;
  try {
    py::module_::import("gc").attr("collect")();  // PyGC_Collect does nothing where gc.disable() was called
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("gc.collect");
  }
}

/// A function of the user's, for threads with and without the GIL. It may outlive the interpreter, and is leaked then.
class Callback {
 public:
  Callback(std::string name, const py::object& function)
      : name_(std::move(name)), function_(new py::object(function), [](py::object* f) {
          if (!python_runs()) return;
          const py::gil_scoped_acquire gil;
          delete f;
        }) {}

  /// What it gives; 0 for None, and if there is no interpreter any more. What it raises is an error that carries its
  /// text.
  template <class Result, class... Arguments>
  Result ask(Arguments... arguments) const {
    if (!python_runs()) return Result{};
    const py::gil_scoped_acquire gil;
    try {
      const py::object result = (*function_)(arguments...);
      if constexpr (std::is_same_v<Result, bool>)
        return py::bool_(result);
      else
        return result.is_none() ? Result{} : py::cast<Result>(result);
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_KeyboardInterrupt)) throw Interrupted();
      const std::string type = py::str(error.type().attr("__name__"));
      const std::string text = name_ + ": the function raised " + type + ": " + std::string(py::str(error.value()));
      // PyTorch's is no MemoryError.
      if (error.matches(PyExc_MemoryError) || type == "OutOfMemoryError") throw DeviceOutOfMemoryError(text);
      throw ParameterError(text);
    } catch (const py::cast_error&) {
      throw ParameterError(name_ +
                           ": the function gave no address; accepted are whole numbers, and None or 0 for none");
    }
  }

  /// The same where nobody can hear of an error: Python reports it as it does for destructors.
  template <class... Arguments>
  void tell(Arguments... arguments) const {
    if (!python_runs()) return;
    const py::gil_scoped_acquire gil;
    try {
      (*function_)(arguments...);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable(name_.c_str());
    }
  }

 private:
  const std::string name_;
  const std::shared_ptr<py::object> function_;
};

Where place_of(const MemoryPlan& plan) {
  const std::string& source = plan.resource == "pool" ? plan.upstream : plan.resource;
  return source == "pinned" || source == "host" ? Where::pinned : Where::device;
}

py::dict as_dict(const MemoryStats& s) {
  py::dict d;
  d["current"] = s.current;
  d["peak"] = s.peak;
  d["total"] = s.total;
  d["blocks"] = s.blocks;
  d["allocations"] = s.allocations;
  d["failures"] = s.failures;
  return d;
}

py::dict stats(const std::string& name, int number) {
  py::dict all;
  const auto put = [&](const char* key, Where where) {
    MemoryAccount& a = account(name, number, where);
    py::dict d = as_dict(a.stats());
    const Kept kept = a.stack()->kept();
    d["kept"] = kept.bytes;
    d["kept_blocks"] = kept.blocks;
    d["fragmentation"] = kept.fragmentation();
    d["limit"] = a.limit();
    all[key] = d;
  };
  put("device", Where::device);
  put("pinned", Where::pinned);
  py::dict rungs;
  for (int r = 0; r < kRungs; ++r)
    rungs[kRungNames[r]] = account(name, number, Where::device).counted(static_cast<Rung>(r)) +
                           account(name, number, Where::pinned).counted(static_cast<Rung>(r));
  all["short"] = rungs;
  return all;
}

/// Makes the plan's stack the one that its device uses; gives the one before.
std::shared_ptr<MemoryStack> use(const std::string& name, int number, const std::string& resource,
                                 const std::string& upstream, const py::object& allocate, const py::object& deallocate,
                                 bool tracking, bool poison, bool zero_on_free, const std::string& log,
                                 const py::object& on_failure, std::int64_t fail_at, bool lasting) {
  MemoryPlan plan{.resource = resource,
                  .upstream = upstream,
                  .tracking = tracking,
                  .poison = poison,
                  .zero_on_free = zero_on_free,
                  .log = log,
                  .fail_at = fail_at,
                  .lasting = lasting};
  if (!allocate.is_none())
    plan.allocate = [call = Callback("allocate", allocate)](std::size_t bytes, std::uintptr_t stream) {
      return call.ask<std::uintptr_t>(bytes, stream);
    };
  if (!deallocate.is_none())
    plan.deallocate = [call = Callback("deallocate", deallocate)](std::uintptr_t data, std::size_t bytes,
                                                                  std::uintptr_t stream) {
      call.tell(data, bytes, stream);
    };
  if (!on_failure.is_none())
    plan.on_failure = [call = Callback("on_failure", on_failure)](std::size_t bytes) { return call.ask<bool>(bytes); };
  MemoryAccount& a = account(name, number, place_of(plan));
  return a.use(std::make_shared<MemoryStack>(a, plan));
}

// ------------------------------------------------------------------------------------------------ pinned arrays

constexpr const char* kPinnedCapsule = "warpquant.pinned";

/// Memory under a NumPy array, which the copies on their way to it keep.
struct PinnedArray {
  Device device;
  DeviceMemory memory;
  std::mutex mutex;
  std::vector<Handle> events;  // behind those copies

  ~PinnedArray() {
    if (events.empty()) return;
    try {
      const DeviceStream stream(device);
      for (const Handle event : events) device.table->wait(device.index, stream.handle(), event);
      keep_until_done(device, stream.handle(), std::make_shared<const DeviceMemory>(std::move(memory)));
    } catch (...) {
      // A device that is lost copies nothing any more.
    }
    for (const Handle event : events) device.table->destroy_event(device.index, event);
  }
};

py::array pinned_empty(const std::string& name, int number, const std::vector<std::int64_t>& shape,
                       const py::dtype& type) {
  std::int64_t bytes = type.itemsize();
  for (const std::int64_t n : shape)
    if (n < 0 || __builtin_mul_overflow(bytes, n, &bytes))
      throw ShapeError("shape: has a size below 0, or is larger than memory");
  const Device device{backend(name), number};
  const MemorySite site("memory.pinned_empty");
  auto owner = std::make_unique<PinnedArray>();
  owner->device = device;
  {
    const py::gil_scoped_release release;
    owner->memory =
        DeviceMemory(device, nullptr, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)), Where::pinned);
  }
  void* const data = owner->memory.data();
  const py::capsule base(owner.release(), kPinnedCapsule, [](PyObject* c) {
    delete static_cast<PinnedArray*>(PyCapsule_GetPointer(c, kPinnedCapsule));
  });
  return py::array(type, shape, data, base);
}

}  // namespace

namespace {

/// The memory of ours that an array is in; null if it is in other memory, or in that of another device.
PinnedArray* owner_of(const py::array& target, const Device& device) {
  py::object base = target;
  while (py::isinstance<py::array>(base)) base = py::reinterpret_borrow<py::array>(base).base();
  if (!base || !PyCapsule_IsValid(base.ptr(), kPinnedCapsule)) return nullptr;
  auto* const owner = static_cast<PinnedArray*>(PyCapsule_GetPointer(base.ptr(), kPinnedCapsule));
  return owner->device.table == device.table && owner->device.index == device.index ? owner : nullptr;
}

}  // namespace

bool is_pinned_for(const py::array& target, const Device& device) { return owner_of(target, device) != nullptr; }

bool keep_until_copied(const py::array& target, const Device& device, Handle stream) {
  PinnedArray& owner = *owner_of(target, device);
  Handle event = nullptr;
  if (device.table->create_event(device.index, &event) != Fault::none) return false;
  const std::lock_guard lock(owner.mutex);
  std::erase_if(owner.events, [&](Handle earlier) {
    int come = 0;
    if (device.table->query_event(device.index, earlier, &come) != Fault::none || !come) return false;
    device.table->destroy_event(device.index, earlier);
    return true;
  });
  owner.events.push_back(event);
  return device.table->record(device.index, event, stream) == Fault::none;
}

void register_memory(py::module_& m) {
  using py::arg;
  set_garbage_collector(collect_garbage);
  py::class_<MemoryStack, std::shared_ptr<MemoryStack>>(m, "MemoryStack", "Where blocks of a device come from.")
      .def(
          "allocate",
          [](MemoryStack& s, std::size_t bytes, std::uintptr_t stream) {
            const py::gil_scoped_release release;
            return reinterpret_cast<std::uintptr_t>(s.allocate(bytes, reinterpret_cast<Handle>(stream)));
          },
          arg("bytes"), arg("stream") = 0, "A block, for tests.")
      .def(
          "release",
          [](MemoryStack& s, std::uintptr_t data, std::size_t bytes, std::uintptr_t stream) {
            const py::gil_scoped_release release;
            s.release(reinterpret_cast<std::byte*>(data), bytes, reinterpret_cast<Handle>(stream));
          },
          arg("data"), arg("bytes"), arg("stream") = 0, "A block back, for tests.")
      .def(
          "wait",
          [](MemoryStack& s, std::uintptr_t stream) {
            const Device& device = s.account().device;
            const py::gil_scoped_release release;
            device.wait(reinterpret_cast<Handle>(stream));
          },
          arg("stream") = 0, "Wait for a stream of its device, for tests.");
  m.def("memory_stats", stats, arg("backend"), arg("number"),
        "What this process has of a device's memory, and of memory pinned for it.");
  m.def(
      "memory_live",
      [](const std::string& name, int number) {
        py::list list;
        for (const LiveBlock& b : account(name, number, Where::device).stack()->live())
          list.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(b.data), b.bytes,
                                     reinterpret_cast<std::uintptr_t>(b.stream), b.tag));
        return list;
      },
      arg("backend"), arg("number"), "Address, bytes, stream and tag of each block in use.");
  m.def(
      "open_memory_frame",
      [](const std::string& name, int number) { return account(name, number, Where::device).open_frame(); },
      arg("backend"), arg("number"), "Statistics from now on, by a number.");
  m.def(
      "memory_frame",
      [](const std::string& name, int number, std::int64_t frame, bool close) {
        MemoryAccount& a = account(name, number, Where::device);
        const MemoryStats found = a.frame(frame);
        if (close) a.close_frame(frame);
        return as_dict(found);
      },
      arg("backend"), arg("number"), arg("frame"), arg("close"), "Statistics of a frame, which may be closed.");
  m.def(
      "reset_peak",
      [](const std::string& name, int number) {
        for (const Where where : {Where::device, Where::pinned}) account(name, number, where).reset_peak();
      },
      arg("backend"), arg("number"), "Count the most memory in use from now on.");
  m.def(
      "trim",
      [](const std::string& name, int number) {
        const py::gil_scoped_release release;
        release_kept();
        for (const Where where : {Where::device, Where::pinned}) account(name, number, where).stack()->trim();
      },
      arg("backend"), arg("number"), "Give back what is kept for later.");
  m.def(
      "set_memory_limit",
      [](const std::string& name, int number, std::size_t bytes, double share) {
        MemoryAccount& a = account(name, number, Where::device);
        if (share > 0) {
          std::int64_t free = 0, total = 0;
          a.device.check(a.device.table->memory(number, &free, &total), "asking for free memory");
          bytes = static_cast<std::size_t>(share * static_cast<double>(free + a.stats().current));
        }
        a.set_limit(bytes);
      },
      arg("backend"), arg("number"), arg("bytes"), arg("share") = 0.0,
      "Most bytes of a device's memory, or a share of what can be had; 0: no limit.");
  m.def("use_memory", use, arg("backend"), arg("number"), arg("resource"), arg("upstream") = "",
        arg("allocate") = py::none(), arg("deallocate") = py::none(), arg("tracking") = false, arg("poison") = false,
        arg("zero_on_free") = false, arg("log") = "", arg("on_failure") = py::none(), arg("fail_at") = 0,
        arg("lasting") = false, "Take blocks from another stack from now on. The one before.");
  m.def(
      "restore_memory", [](std::shared_ptr<MemoryStack> stack) { stack->account().use(stack); }, arg("stack"),
      "Take blocks from a stack again.");
  m.def(
      "memory_stack",
      [](const std::string& name, int number, bool of_host) {
        return account(name, number, of_host ? Where::pinned : Where::device).stack();
      },
      arg("backend"), arg("number"), arg("of_host") = false, "Where blocks come from now.");
  m.def("pinned_empty", pinned_empty, arg("backend"), arg("number"), arg("shape"), arg("dtype"),
        "An array in memory of the host that copies reach directly.");
}

}  // namespace wq
