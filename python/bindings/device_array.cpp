// SPDX-License-Identifier: Apache-2.0
#include "device_array.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "dlpack.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

/// DLPack's number for arrays of a backend. Simulated devices take the one for extensions, which no framework reads.
std::int32_t dlpack_type(const Device& device) {
  return std::strcmp(device.table->name, "cuda") == 0 ? dlpack::kCuda : dlpack::kExtension;
}

/// What a capsule owns.
template <class Managed>
struct Export {
  Managed managed{};
  std::vector<std::int64_t> shape, strides;
  std::shared_ptr<DeviceMemory> memory;  // freed in the order of its stream, from any thread, without Python
  Device device;
  Handle stream = nullptr, consumer = nullptr;

  /// What the consumer has put into its stream comes before the memory is free.
  ~Export() {
    if (device.order(consumer, stream) != Fault::none) keep_until_done(device, consumer, memory);
  }
};

template <class Managed>
py::object capsule_of(std::unique_ptr<Export<Managed>> e, const char* name) {
  e->managed.context = e.get();
  e->managed.deleter = [](Managed* m) { delete static_cast<Export<Managed>*>(m->context); };
  // A capsule that nobody has taken still has its first name.
  PyObject* const capsule = PyCapsule_New(&e->managed, name, [](PyObject* c) {
    for (const char* unused : {dlpack::kVersionedName, dlpack::kLegacyName})
      if (PyCapsule_IsValid(c, unused)) {
        auto* m = static_cast<Managed*>(PyCapsule_GetPointer(c, unused));
        m->deleter(m);
      }
  });
  if (capsule == nullptr) throw py::error_already_set();
  e.release();
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

std::optional<Device> device_of(std::int32_t type, std::int32_t id) {
  const char* name = type == dlpack::kCuda || type == dlpack::kCudaManaged ? "cuda"
                     : type == dlpack::kExtension                          ? "emulator"
                                                                           : nullptr;
  const BackendTable* table = name == nullptr ? nullptr : loaded_backend(name);
  if (table == nullptr) return std::nullopt;
  BackendStatus status{};
  table->status(&status);
  if (id < 0 || id >= status.device_count) return std::nullopt;
  return Device{table, id};
}

DeviceArray::DeviceArray(const Device& device, Handle stream, DType type, std::vector<std::int64_t> shape)
    : device_(device), stream_(stream), type_(type), shape_(std::move(shape)), strides_(shape_.size()),
      bytes_(item_size(type)) {
  for (std::size_t d = shape_.size(); d-- > 0;) {
    strides_[d] = bytes_;
    if (__builtin_mul_overflow(bytes_, shape_[d], &bytes_)) throw ShapeError("the result is larger than memory");
  }
  // Strides of an array without elements mean nothing, but consumers want them positive.
  for (std::int64_t& stride : strides_) stride = stride > 0 ? stride : item_size(type);
  /// The stream in whose order memory is freed must be there until then.
  struct Owned {
    std::shared_ptr<const DeviceStream> stream;
    DeviceMemory memory;
  };
  const auto owned = std::make_shared<Owned>(
      Owned{DeviceStream::owner(device, stream), DeviceMemory(device, stream, static_cast<std::size_t>(bytes_))});
  memory_ = {owned, &owned->memory};
}

DeviceArray DeviceArray::swapped() const {
  DeviceArray other = *this;
  const std::size_t n = shape_.size();
  std::swap(other.shape_[n - 2], other.shape_[n - 1]);
  std::swap(other.strides_[n - 2], other.strides_[n - 1]);
  return other;
}

DeviceArray DeviceArray::part(std::int64_t i) const {
  if (shape_.empty()) throw py::type_error("an array without dimensions cannot be indexed");
  const std::int64_t count = shape_[0], number = i < 0 ? i + count : i;
  if (number < 0 || number >= count)
    throw py::index_error("index " + std::to_string(i) + " is out of range for " + std::to_string(count) + " entries");
  DeviceArray other = *this;
  other.bytes_ /= count;
  WQ_EXPECT(strides_[0] == other.bytes_ || other.bytes_ == 0, LayoutError,
            "the array has its values side by side along the first axis; only along the others can it be indexed");
  other.offset_ += number * strides_[0];
  other.shape_.erase(other.shape_.begin());
  other.strides_.erase(other.strides_.begin());
  return other;
}

Borrowed DeviceArray::borrow() const {
  Borrowed b;
  b.data = data();
  b.shape = shape_;
  b.strides = strides_;
  b.type = type_;
  b.writable = true;
  b.device = device_;
  b.stream = stream_;
  b.names_stream = true;
  b.set_keep(memory_);
  return b;
}

void DeviceArray::fill_from(const py::array& values) {
  if (bytes_ == 0) return;
  const void* const from = values.data();
  const py::gil_scoped_release release;
  int pinned = 0;
  const auto bytes = static_cast<std::size_t>(bytes_);
  device_.check(device_.table->pinned(device_.index, from, &pinned), "asking for a kind of memory");
  if (!pinned) return device_.send(data(), from, bytes, stream_);
  device_.check(device_.table->copy(device_.index, data(), from, bytes, stream_), "copying to the device");
  device_.wait(stream_);  // the copy may still be reading what the caller can change
}

void DeviceArray::wait() const {
  refuse_captured(device_, stream_);
  device_.wait(stream_);
}

namespace {

template <class Target>
void check_like(const DeviceArray& from, const Target& shape, bool same_type) {
  const bool same_shape = std::equal(shape.begin(), shape.end(), from.shape().begin(), from.shape().end());
  WQ_EXPECT(same_type, DTypeError, "target: has values of another type than the array");
  WQ_EXPECT(same_shape, ShapeError, "target: has another shape than the array");
}

}  // namespace

void DeviceArray::copy_into(const DeviceArray& target) const {
  check_like(*this, target.shape_, target.type_ == type_);
  WQ_EXPECT(target.device_.table == device_.table, LayoutError,
            "target: is on " + target.device_.name() + ", which has no way from " + device_.name());
  WQ_EXPECT(target.strides_ == strides_, LayoutError, "target: has another order in memory than the array");
  WQ_EXPECT(target.memory_ != memory_, LayoutError, "target: is the array itself");
  if (bytes_ == 0) return;
  refuse_captured(device_, stream_);
  refuse_captured(target.device_, target.stream_);
  const py::gil_scoped_release release;
  const Device& there = target.device_;
  const auto bytes = static_cast<std::size_t>(bytes_);
  device_.check(order(device_, stream_, there, target.stream_), "ordering streams");
  there.check(there.index == device_.index
                  ? there.table->copy(there.index, target.data(), data(), bytes, target.stream_)
                  : there.table->copy_across(there.index, target.data(), device_.index, data(), bytes, target.stream_),
              "copying between arrays");
  // What comes into our stream next may be that our memory is freed.
  if (const Fault fault = order(there, target.stream_, device_, stream_); fault != Fault::none) {
    target.wait();
    device_.check(fault, "ordering streams");
  }
}

void DeviceArray::copy_into(const py::array& target) const {
  const std::vector<std::int64_t> shape(target.shape(), target.shape() + target.ndim());
  check_like(*this, shape, target.dtype().equal(numpy_type(type_)));
  const std::vector<std::int64_t> strides(target.strides(), target.strides() + target.ndim());
  WQ_EXPECT(target.writeable(), LayoutError, "target: is read-only");
  WQ_EXPECT(bytes_ == 0 || strides == strides_, LayoutError, "target: is not contiguous");
  if (bytes_ == 0) return;
  void* const to = const_cast<void*>(target.data());
  refuse_captured(device_, stream_);
  if (!is_pinned_for(target, device_)) {
    const py::gil_scoped_release release;
    return device_.fetch(to, data(), static_cast<std::size_t>(bytes_), stream_);
  }
  {
    const py::gil_scoped_release release;
    device_.check(device_.table->copy(device_.index, to, data(), static_cast<std::size_t>(bytes_), stream_),
                  "copying from the device");
  }
  if (keep_until_copied(target, device_, stream_)) return;
  const py::gil_scoped_release release;
  wait();
}

py::object DeviceArray::copy_to(const py::object& target) const {
  if (py::isinstance<py::str>(target)) {
    if (target.equal(py::str("cpu"))) return copy_to_host(borrow());
    const py::object place = py::module_::import("warpquant._devices").attr("with_memory")(target);
    const auto [name, number] = py::cast<std::pair<std::string, int>>(place);
    const MemorySite site("copy_to");
    const Device there{backend(name), number};
    DeviceArray copy(there, thread_stream(there), type_, shape_);
    copy.strides_ = strides_;
    copy_into(copy);
    return py::cast(std::move(copy));
  }
  if (py::hasattr(target, "name") && py::hasattr(target, "memory_free"))
    return copy_to(target.attr("name"));  // a Device
  if (py::isinstance<DeviceArray>(target))
    copy_into(py::cast<const DeviceArray&>(target));
  else if (py::isinstance<py::array>(target))
    copy_into(py::reinterpret_borrow<py::array>(target));
  else
    throw py::type_error("target: is a " + std::string(Py_TYPE(target.ptr())->tp_name) +
                         "; accepted are names of devices, arrays on a device and NumPy arrays");
  return target;
}

Handle DeviceArray::order_after(const py::object& consumer) const {
  if (!consumer.is_none() && !py::isinstance<py::int_>(consumer))
    throw py::type_error("stream: is a " + std::string(Py_TYPE(consumer.ptr())->tp_name) +
                         "; accepted are whole numbers and None");
  const std::int64_t number = consumer.is_none() ? kDefaultStream : py::cast<std::int64_t>(consumer);
  if (number == kUnordered) return stream_;  // takes care itself
  if (number <= 0)
    throw ParameterError("stream: " + std::to_string(number) +
                         " is no stream; accepted are 1 (legacy default), 2 (per thread), handles, -1 and None");
  const Handle theirs = stream_of(number);
  device_.check(device_.order(stream_, theirs), "ordering streams");
  return theirs;
}

py::object DeviceArray::dlpack(const py::object& stream, const py::object& max_version, const py::object& dl_device,
                               const py::object& copy) const {
  if (!dl_device.is_none() && !dl_device.equal(dlpack_device()))
    throw LayoutError("dl_device: the array stays on " + device_.name() + "; use to_numpy() for the host");
  if (!copy.is_none() && py::cast<bool>(copy)) throw LayoutError("copy: is not made here; copy the consumer's array");
  const Handle consumer = order_after(stream);
  const auto fill = [&](auto& e) {
    e.device = device_;
    e.stream = stream_;
    e.consumer = consumer;
    e.shape = shape_;
    for (std::size_t d = 0; d < shape_.size(); ++d) e.strides.push_back(strides_[d] / item_size(type_));
    e.memory = memory_;
    dlpack::Tensor& t = e.managed.tensor;
    t.data = bytes_ == 0 ? nullptr : data();
    t.device = {dlpack_type(device_), device_.index};
    t.ndim = static_cast<std::int32_t>(shape_.size());
    t.dtype = {static_cast<std::uint8_t>(type_ == DType::i8 ? dlpack::kInt : dlpack::kFloat),
               static_cast<std::uint8_t>(8 * item_size(type_)), 1};
    t.shape = e.shape.data();
    t.strides = e.strides.data();
    t.byte_offset = 0;
  };
  std::pair<std::uint32_t, std::uint32_t> most{0, 0};
  try {
    if (!max_version.is_none()) most = py::cast<std::pair<std::uint32_t, std::uint32_t>>(max_version);
  } catch (const py::cast_error&) {
    throw py::type_error("max_version: accepted are two whole numbers and None");
  }
  const bool versioned = most.first > 0;
  if (versioned) {
    auto e = std::make_unique<Export<dlpack::Managed>>();
    fill(*e);
    // The lower of what we and they know.
    e->managed.version = {dlpack::kMajor,
                          most.first == dlpack::kMajor ? std::min(most.second, dlpack::kMinor) : dlpack::kMinor};
    return capsule_of(std::move(e), dlpack::kVersionedName);
  }
  auto e = std::make_unique<Export<dlpack::LegacyManaged>>();
  fill(*e);
  return capsule_of(std::move(e), dlpack::kLegacyName);
}

py::tuple DeviceArray::dlpack_device() const { return py::make_tuple(dlpack_type(device_), device_.index); }

py::dict DeviceArray::cuda_array_interface() const {
  if (dlpack_type(device_) != dlpack::kCuda) throw py::attribute_error("the array is not in CUDA memory");
  py::dict d;
  d["version"] = 3;
  d["shape"] = py::tuple(py::cast(shape_));
  d["strides"] = py::tuple(py::cast(strides_));
  d["typestr"] = numpy_type(type_).attr("str");
  d["data"] = py::make_tuple(bytes_ == 0 ? 0 : reinterpret_cast<std::uintptr_t>(data()), false);
  d["stream"] = number_of(stream_);
  return d;
}

void register_device_array(py::module_& m) {
  using py::arg;
  py::class_<DeviceArray>(m, "Array", "An array in the memory of a device.")
      .def_property_readonly(
          "shape", [](const DeviceArray& a) { return py::tuple(py::cast(a.shape())); }, "Size of each dimension.")
      .def_property_readonly(
          "ndim", [](const DeviceArray& a) { return a.shape().size(); }, "Number of dimensions.")
      .def_property_readonly(
          "dtype", [](const DeviceArray& a) { return numpy_type(a.type()); }, "Type of the values.")
      .def_property_readonly("nbytes", &DeviceArray::bytes, "Size in memory.")
      .def_property_readonly(
          "device", [](const DeviceArray& a) { return a.device().name(); }, "Where it is, such as 'cuda:0'.")
      .def_property_readonly(
          "stream", [](const DeviceArray& a) { return number_of(a.stream()); },
          "The stream whose work fills it, as DLPack numbers streams: 1 is the default stream, others are handles.")
      .def(
          "to_numpy", [](const DeviceArray& a) { return copy_to_host(a.borrow()); },
          "A copy in host memory; waits for the array's stream.")
      .def(
          "wait",
          [](const DeviceArray& a) {
            const py::gil_scoped_release release;
            a.wait();
          },
          "Wait until the work that fills it is done.")
      .def("copy_to", &DeviceArray::copy_to, arg("target"),
           "Copy to a device by name ('cpu': a new NumPy array), or into an array of the same shape and type; gives "
           "that. Between devices, and into `memory.pinned_empty` arrays, the copy is one of the streams, so that "
           "nobody waits: `wait` does.")
      .def("__dlpack__", &DeviceArray::dlpack, py::kw_only(), arg("stream") = py::none(),
           arg("max_version") = py::none(), arg("dl_device") = py::none(), arg("copy") = py::none(),
           "The array for a consumer, whose stream is made to wait for ours.")
      .def("__dlpack_device__", &DeviceArray::dlpack_device, "DLPack's type and number of the device.")
      .def_property_readonly("__cuda_array_interface__", &DeviceArray::cuda_array_interface,
                             "The array for consumers of the CUDA array interface.")
      .def(
          "__array__",
          [](const DeviceArray& a, const py::object&, const py::object&) -> py::object {
            throw py::type_error("the array is on " + a.device().name() + "; use to_numpy() for a copy on the host");
          },
          arg("dtype") = py::none(), arg("copy") = py::none(), "Refused: it would be a copy that nobody asked for.")
      .def("__getitem__", &DeviceArray::part, arg("index"),
           "One of the arrays along the first dimension, in the same memory.")
      .def("__len__",
           [](const DeviceArray& a) {
             if (a.shape().empty()) throw py::type_error("an array without dimensions has no length");
             return a.shape()[0];
           })
      .def("__repr__", [](const DeviceArray& a) {
        return "Array(shape=" + std::string(py::str(py::tuple(py::cast(a.shape())))) +
               ", dtype=" + std::string(py::str(numpy_type(a.type()))) + ", device='" + a.device().name() + "')";
      });
  m.def(
      "to_device",
      [](const py::array& values, const std::string& name, int number, std::optional<std::int64_t> stream) {
        const char kind = values.dtype().kind();
        const std::int64_t size = values.itemsize();
        const DType type = kind == 'i' ? DType::i8 : size == 4 ? DType::f32 : DType::f64;
        WQ_EXPECT((kind == 'f' && (size == 4 || size == 8)) || (kind == 'i' && size == 1), DTypeError,
                  "array: holds neither float64, float32 nor int8");
        const MemorySite site("to_device");
        const Device device{backend(name), number};
        const Handle handle = stream ? stream_of(*stream) : thread_stream(device);
        refuse_captured(device, handle);
        DeviceArray there(device, handle, type,
                          std::vector<std::int64_t>(values.shape(), values.shape() + values.ndim()));
        there.fill_from(values);
        return there;
      },
      arg("array"), arg("backend"), arg("number"), arg("stream") = py::none(), "A copy of a contiguous array.");
}

}  // namespace wq
