// SPDX-License-Identifier: Apache-2.0
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"

/// Streams, events and prepared calls as Python sees them.
namespace wq {
namespace {

using Seconds = std::optional<double>;

bool is_done(const Device& device, Handle stream) {
  refuse_captured(device, stream);
  int done = 0;
  device.check(device.table->query(device.index, stream, &done), "asking a stream");
  return done != 0;
}

void wait(const Device& device, Handle stream, Seconds timeout) {
  const py::gil_scoped_release release;
  refuse_captured(device, stream);
  device.wait(stream, timeout);
}

/// A stream that arrays keep alive, too.
class OwnStream {
 public:
  OwnStream(const std::string& name, int number, int priority)
      : stream_(DeviceStream::make_shared({backend(name), number}, priority)) {}

  std::int64_t handle() const {
    WQ_EXPECT(stream_ != nullptr, ParameterError, "stream: has been closed");
    return number_of(stream_->handle());
  }
  void close() { stream_ = nullptr; }

 private:
  std::shared_ptr<const DeviceStream> stream_;
};

class Event {
 public:
  Event(const std::string& name, int number) : event_(Device{backend(name), number}) {}

  void record(std::int64_t stream) {
    const Device& d = event_.device();
    d.check(d.table->record(d.index, event_.handle(), stream_of(stream)), "recording an event");
  }
  void hold_up(std::int64_t stream) {
    const Device& d = event_.device();
    d.check(d.table->wait(d.index, stream_of(stream), event_.handle()), "ordering streams");
  }
  bool query() const {
    const Device& d = event_.device();
    int come = 0;
    d.check(d.table->query_event(d.index, event_.handle(), &come), "asking an event");
    return come != 0;
  }
  void synchronize(Seconds timeout) const {
    const py::gil_scoped_release release;
    event_.device().wait_event(event_.handle(), timeout);
  }

 private:
  DeviceEvent event_;
};

Prepared& work_of(const PreparedCall& call) {
  WQ_EXPECT(call.work != nullptr, InternalError, "no call has been prepared");
  return *call.work;
}

void run(const PreparedCall& call, std::optional<std::int64_t> stream) {
  Prepared& work = work_of(call);
  const py::gil_scoped_release release;
  const Handle where = stream && *stream != kUnordered ? stream_of(*stream) : work.home();
  stream && *stream == kUnordered ? work.put(where) : work.run(where);
}

}  // namespace

void register_streams(py::module_& m) {
  using py::arg;
  py::class_<OwnStream>(m, "OwnStream", "A stream of a device, beside all others.")
      .def(py::init<std::string, int, int>(), arg("backend"), arg("number"), arg("priority"))
      .def_property_readonly("handle", &OwnStream::handle, "As DLPack numbers streams.")
      .def("close", &OwnStream::close, "Let go of it; it ends with the arrays that were made in it.");
  m.attr("HIGH_PRIORITY") = kHighPriority;
  py::class_<Event>(m, "Event", "A mark in a stream.")
      .def(py::init<std::string, int>(), arg("backend"), arg("number"))
      .def("record", &Event::record, arg("stream"), "Put the mark into a stream.")
      .def("hold_up", &Event::hold_up, arg("stream"), "Let a stream wait for the mark.")
      .def("query", &Event::query, "Whether the stream has come to the mark.")
      .def("synchronize", &Event::synchronize, arg("timeout"), "Wait until it has.");
  py::class_<PreparedCall>(m, "PreparedCall", "A call on arrays of a device, put off.")
      .def(py::init<>())
      .def_property_readonly(
          "ready", [](const PreparedCall& call) { return call.work != nullptr; }, "Whether there is a call.")
      .def_property_readonly(
          "device", [](const PreparedCall& call) { return work_of(call).device().name(); }, "Where it runs.")
      .def_property_readonly(
          "stream", [](const PreparedCall& call) { return number_of(work_of(call).home()); },
          "Where it goes if nothing else is said.")
      .def("run", run, arg("stream"), "Put it into a stream.");
  m.def(
      "stream_done",
      [](const std::string& name, int number, std::int64_t stream) {
        return is_done({backend(name), number}, stream_of(stream));
      },
      arg("backend"), arg("number"), arg("stream"), "Whether a stream has nothing to do.");
  m.def(
      "stream_wait",
      [](const std::string& name, int number, std::int64_t stream, Seconds timeout) {
        wait({backend(name), number}, stream_of(stream), timeout);
      },
      arg("backend"), arg("number"), arg("stream"), arg("timeout"), "Wait for a stream.");
  m.def(
      "synchronize",
      [](const std::string& name, int number, Seconds timeout) {
        const py::gil_scoped_release release;
        Device{backend(name), number}.synchronize(timeout);
      },
      arg("backend"), arg("number"), arg("timeout"), "Wait for all streams of a device.");
  m.def(
      "thread_streams", [](const std::string& name, int number) { return thread_streams({backend(name), number}); },
      arg("backend"), arg("number"), "How many streams of a device threads have had for their work.");
}

}  // namespace wq
