// SPDX-License-Identifier: Apache-2.0
#include "arrays.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "device_array.h"
#include "dlpack.h"
#include "register.h"
#include "warpquant/core/buffer_pool.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

constexpr const char* kAccepted =
    "accepted are NumPy arrays, anything with the buffer protocol, DLPack or __array__, and lists of numbers";

enum Copied { kIntegers, kSequence, kArrayMethod, kMixedTypes, kCopyReasons };
constexpr const char* kCopyNames[] = {"integers", "sequence", "array_method", "mixed_types"};
std::atomic<std::int64_t> copies[kCopyReasons];

void count_copy(Copied reason) { copies[reason].fetch_add(1, std::memory_order_relaxed); }

/// No array is larger than this, so sums of a few extents fit in 64 bits.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 59;

const char* dtype_name(DType t) { return t == DType::f64 ? "float64" : t == DType::f32 ? "float32" : "int8"; }

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

/// `what`: a type's name, or its code in the buffer protocol between quotes.
[[noreturn]] void refuse_dtype(const std::string& name, std::string what) {
  if (what.starts_with('\'') && what.ends_with("w'")) what = "text";
  throw DTypeError(name + ": " + what + " values are not accepted; accepted are float64, float32 and integers");
}

/// A copy as float64, row by row; the copy replaces what `a` borrowed.
template <class T>
std::shared_ptr<double[]> widen(const Borrowed& a, const std::string& name) {
  std::int64_t count = 1;
  for (const std::int64_t n : a.shape)
    if (__builtin_mul_overflow(count, n, &count) || count > kMostBytes / static_cast<std::int64_t>(sizeof(double)))
      throw ShapeError(name + ": is larger than memory as float64");
  std::shared_ptr<double[]> values(new double[static_cast<std::size_t>(count)]);
  std::vector<std::int64_t> index(a.shape.size(), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::byte* p = a.data;
    for (std::size_t d = 0; d < index.size(); ++d) p += index[d] * a.strides[d];
    T v;
    std::memcpy(&v, p, sizeof v);
    values[i] = static_cast<double>(v);
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < a.shape[d]) break;
      index[d] = 0;
    }
  }
  return values;
}

}  // namespace

namespace {

/// The exchange table that a type offers, or null. Lists are mostly of one type: the last one is remembered.
dlpack::ExchangeApi* exchange_of(PyTypeObject* type) {
  static PyTypeObject* last = nullptr;
  static dlpack::ExchangeApi* of_last = nullptr;
  if (type == last) return of_last;
  dlpack::ExchangeApi* api = nullptr;
  const py::object capsule = py::reinterpret_steal<py::object>(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__"));
  if (capsule && PyCapsule_IsValid(capsule.ptr(), dlpack::kExchangeName))
    api = static_cast<dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kExchangeName));
  PyErr_Clear();
  while (api != nullptr && api->version.major != dlpack::kMajor) api = api->previous;
  if (api != nullptr && api->managed_from_object == nullptr) api = nullptr;
  Py_INCREF(type);  // so that no other gets its address
  Py_XDECREF(last);
  last = type;
  of_last = api;
  return api;
}

}  // namespace

/// Finds the memory behind an object; the order of attempts is that of docs/core.md.
class Resolver {
 public:
  Resolver(py::handle object, const std::string& name, bool writable, DType wanted = DType::f64, bool or_device = false,
           const StreamRule& rule = {}, bool keep_int8 = false, bool keep_bfloat16 = false)
      : object_(object), name_(name), writable_(writable), wanted_(wanted), or_device_(or_device), rule_(rule),
        keep_int8_(keep_int8), keep_bfloat16_(keep_bfloat16) {}

  Borrowed resolve() {
    if (py::isinstance<DeviceArray>(object_)) {
      const auto& array = py::cast<const DeviceArray&>(object_);
      if (!or_device_) refuse_device(array.device().name());
      return array.borrow();
    }
    if (PyType_Check(object_.ptr())) refuse_object();  // its protocols are those of its instances
    if (from_buffer() || from_exchange() || from_dlpack()) return std::move(result_);
    if (!writable_ && (from_array_method() || from_sequence())) return std::move(result_);
    refuse_object();
  }

 private:
  [[noreturn]] void refuse_object() const {
    throw DTypeError(name_ + ": cannot read numbers from " + type_name(object_) + "; " + kAccepted);
  }

  // ---------------------------------------------------------------- buffer protocol

  bool from_buffer() {
    if (!PyObject_CheckBuffer(object_.ptr()) || PyBytes_Check(object_.ptr()) || PyByteArray_Check(object_.ptr()))
      return false;
    auto view = std::make_unique<Py_buffer>();
    if (PyObject_GetBuffer(object_.ptr(), view.get(), writable_ ? PyBUF_RECORDS : PyBUF_RECORDS_RO) != 0) {
      py::error_already_set error;
      if (writable_ && PyObject_GetBuffer(object_.ptr(), view.get(), PyBUF_RECORDS_RO) == 0) {
        PyBuffer_Release(view.get());
        throw LayoutError(name_ + ": is read-only, but the result is to be written to it");
      }
      PyErr_Clear();
      if (from_bfloat16()) return true;
      if (py::isinstance<py::array>(object_))
        refuse_dtype(name_, py::str(object_.attr("dtype")));  // datetime64 and the like have no buffer
      throw LayoutError(name_ + ": " + error.what());
    }
    Py_buffer* raw = view.release();
    result_.keep_ = std::shared_ptr<void>(raw, [](void* p) {
      PyBuffer_Release(static_cast<Py_buffer*>(p));
      delete static_cast<Py_buffer*>(p);
    });
    result_.data = static_cast<const std::byte*>(raw->buf);
    if (raw->suboffsets != nullptr) throw LayoutError(name_ + ": is a buffer of pointers to rows; pass one block");
    if (raw->shape != nullptr)
      result_.shape.assign(raw->shape, raw->shape + raw->ndim);
    else if (raw->ndim == 1)
      result_.shape.assign(1, raw->len / std::max<Py_ssize_t>(raw->itemsize, 1));
    else if (raw->ndim > 1)
      throw LayoutError(name_ + ": is a buffer without a shape");
    if (raw->strides != nullptr)
      result_.strides.assign(raw->strides, raw->strides + raw->ndim);
    else
      set_compact(raw->itemsize);
    result_.writable = raw->readonly == 0;
    const std::string format = raw->format == nullptr ? "B" : raw->format;
    set_format(format, raw->itemsize);
    return true;
  }

  /// Arrays of the bfloat16 that ml_dtypes gives NumPy, which have no buffer.
  bool from_bfloat16() {
    if (!keep_bfloat16_ || !py::isinstance<py::array>(object_)) return false;
    const py::array array = py::reinterpret_borrow<py::array>(object_);
    if (py::cast<std::string>(array.dtype().attr("name")) != "bfloat16") return false;
    const py::object bits = array.attr("view")("uint16");
    Resolver inner(bits, name_, writable_, wanted_);
    inner.bits_are_bfloat16_ = true;
    result_ = inner.resolve();
    return true;
  }

  void set_format(std::string format, std::int64_t item_bytes) {
    if (bits_are_bfloat16_) {
      result_.bfloat16 = true;
      return;
    }
    const bool foreign_order = (format[0] == '>' || format[0] == '!') && item_bytes > 1;
    if (std::strchr("@=<>!", format[0]) != nullptr) format.erase(0, 1);
    if (format.size() == 1 && foreign_order)
      throw DTypeError(name_ + ": values are big-endian; convert them first, for example with .astype('=f8')");
    if (keep_int8_ && (format == "?" || format == "b")) {
      result_.type = DType::i8;
      return;
    }
    if (format == "?") refuse_dtype(name_, "bool");
    if (format == "e") refuse_dtype(name_, "float16");
    if (format == "Zf" || format == "Zd" || format == "Zg") refuse_dtype(name_, "complex");
    if (format == "O") refuse_dtype(name_, "object");
    if (format == "g" && item_bytes != 8) refuse_dtype(name_, "long double");
    if (format == "d" || format == "g") return set_float(8);
    if (format == "f") return set_float(4);
    if (format.size() == 1 && std::strchr("bhilqn", format[0]) != nullptr) return set_integer(true, item_bytes);
    if (format.size() == 1 && std::strchr("BHILQN", format[0]) != nullptr) return set_integer(false, item_bytes);
    refuse_dtype(name_, "'" + format + "'");
  }

  void set_float(std::int64_t item_bytes) { result_.type = item_bytes == 8 ? DType::f64 : DType::f32; }

  void set_integer(bool is_signed, std::int64_t item_bytes) {
    if (result_.device && !writable_)
      throw DTypeError(name_ + ": holds integers on a device; accepted there are float64 and float32");
    if (writable_) {
      if (wanted_ != DType::i8 || !is_signed || item_bytes != 1)
        throw DTypeError(name_ + ": holds " + (is_signed ? "int" : "uint") + std::to_string(8 * item_bytes) +
                         " values, but the result is " + dtype_name(wanted_));
      result_.type = DType::i8;
      return;
    }
    std::shared_ptr<double[]> values;
    switch (item_bytes) {
    case 1:
      values = is_signed ? widen<std::int8_t>(result_, name_) : widen<std::uint8_t>(result_, name_);
      break;
    case 2:
      values = is_signed ? widen<std::int16_t>(result_, name_) : widen<std::uint16_t>(result_, name_);
      break;
    case 4:
      values = is_signed ? widen<std::int32_t>(result_, name_) : widen<std::uint32_t>(result_, name_);
      break;
    case 8:
      values = is_signed ? widen<std::int64_t>(result_, name_) : widen<std::uint64_t>(result_, name_);
      break;
    default:
      refuse_dtype(name_, std::to_string(8 * item_bytes) + "-bit integer");
    }
    result_.data = reinterpret_cast<const std::byte*>(values.get());
    result_.keep_ = values;
    result_.type = DType::f64;
    set_compact(sizeof(double));
    count_copy(kIntegers);
  }

  void set_compact(std::int64_t step) {
    result_.strides.resize(result_.shape.size());
    for (std::size_t d = result_.shape.size(); d-- > 0;) {
      result_.strides[d] = step;
      step *= std::max<std::int64_t>(result_.shape[d], 1);
    }
  }

  // ---------------------------------------------------------------- DLPack

  bool from_exchange() {
    dlpack::ExchangeApi* const api = exchange_of(Py_TYPE(object_.ptr()));
    if (api == nullptr) return false;
    // The owning form also tells whether the memory may be written to.
    dlpack::Managed* managed = nullptr;
    if (api->managed_from_object(object_.ptr(), &managed) != 0) throw_producer_error();
    if (managed == nullptr)
      throw LayoutError(name_ + ": the DLPack exchange of " + type_name(object_) + " gave no tensor");
    take(managed);
    if (result_.device && api->current_work_stream != nullptr) {
      void* stream = nullptr;
      if (api->current_work_stream(managed->tensor.device.type, managed->tensor.device.id, &stream) != 0)
        throw_producer_error();
      result_.stream = stream == nullptr ? stream_of(kDefaultStream) : stream;
      result_.names_stream = true;
    }
    return true;
  }

  bool from_dlpack() {
    if (!py::hasattr(object_, "__dlpack__") || !py::hasattr(object_, "__dlpack_device__")) return false;
    const py::object device = object_.attr("__dlpack_device__")();
    try {
      const auto [type, id] = py::cast<std::pair<std::int32_t, std::int32_t>>(device);
      check_device(type, id);
    } catch (const py::cast_error&) {
      throw LayoutError(name_ + ": __dlpack_device__ of " + type_name(object_) +
                        " gave no pair of a type and a number");
    }
    const py::object method = object_.attr("__dlpack__");
    py::object capsule;
    const py::tuple version = py::make_tuple(dlpack::kMajor, dlpack::kMinor);
    // The owner is told in which stream we go on.
    if (result_.device) result_.stream = rule_.choose(*result_.device);
    try {
      capsule = result_.device ? method(py::arg("max_version") = version, py::arg("stream") = consumer())
                               : method(py::arg("max_version") = version);
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_TypeError)) {
        capsule = call_legacy(method);
      } else if (error.matches(PyExc_BufferError)) {
        throw LayoutError(name_ + ": " + error.what());
      } else {
        throw;
      }
    }
    if (PyCapsule_IsValid(capsule.ptr(), dlpack::kVersionedName)) {
      auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kVersionedName));
      PyCapsule_SetName(capsule.ptr(), dlpack::kVersionedUsedName);
      take(managed);
    } else if (PyCapsule_IsValid(capsule.ptr(), dlpack::kLegacyName)) {
      auto* managed = static_cast<dlpack::LegacyManaged*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kLegacyName));
      PyCapsule_SetName(capsule.ptr(), dlpack::kLegacyUsedName);
      result_.keep_ = owner(managed);
      result_.writable = true;
      set_tensor(managed->tensor);
    } else {
      throw LayoutError(name_ + ": __dlpack__ of " + type_name(object_) +
                        " gave no unused capsule named 'dltensor' or 'dltensor_versioned'");
    }
    return true;
  }

  std::int64_t consumer() const { return rule_.ordered() ? number_of(result_.stream) : kUnordered; }

  py::object call_legacy(const py::object& method) {
    try {
      return result_.device ? method(py::arg("stream") = consumer()) : method();
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_BufferError)) throw LayoutError(name_ + ": " + error.what());
      throw;
    }
  }

  [[noreturn]] void throw_producer_error() {
    if (PyErr_Occurred() == nullptr)
      throw LayoutError(name_ + ": the DLPack exchange of " + type_name(object_) + " failed without saying why");
    py::error_already_set error;
    if (error.matches(PyExc_BufferError)) throw LayoutError(name_ + ": " + error.what());
    throw error;
  }

  /// Calls the deleter once, whatever happens from here on.
  template <class Tensor>
  static std::shared_ptr<void> owner(Tensor* managed) {
    return std::shared_ptr<void>(managed, [](void* p) {
      auto* tensor = static_cast<Tensor*>(p);
      if (tensor->deleter != nullptr) tensor->deleter(tensor);
    });
  }

  void take(dlpack::Managed* managed) {
    result_.keep_ = owner(managed);
    if (managed->version.major != dlpack::kMajor)
      throw LayoutError(name_ + ": DLPack version " + std::to_string(managed->version.major) +
                        " is unknown; versions 0 and 1 are accepted");
    result_.writable = (managed->flags & dlpack::kReadOnly) == 0;
    set_tensor(managed->tensor);
  }

  [[noreturn]] void refuse_device(const std::string& where) const {
    throw LayoutError(name_ + ": lives on " + where + ", but is wanted in host memory here");
  }

  void check_device(std::int32_t type, std::int32_t id) {
    if (type == dlpack::kCpu || type == dlpack::kCudaHost) return;
    const bool is_cuda = type == dlpack::kCuda || type == dlpack::kCudaManaged;
    const std::string where =
        is_cuda ? "cuda:" + std::to_string(id) : "a device of DLPack type " + std::to_string(type);
    if (!is_cuda && type != dlpack::kExtension)
      throw DeviceUnavailableError(name_ + ": lives on " + where + "; only host memory and CUDA are accepted",
                                   "unknown_device");
    result_.device = device_of(type, id);
    if (!result_.device)
      throw DeviceUnavailableError(name_ + ": lives on " + where + ", which is not available to this process",
                                   is_cuda ? "no_such_device" : "unknown_device");
    if (!or_device_) refuse_device(where);
  }

  void set_tensor(const dlpack::Tensor& t) {
    check_device(t.device.type, t.device.id);
    if (t.ndim < 0 || t.ndim > 8) throw ShapeError(name_ + ": has " + std::to_string(t.ndim) + " dimensions");
    if (t.ndim > 0 && t.shape == nullptr) throw LayoutError(name_ + ": DLPack tensor without a shape");
    if (t.dtype.lanes != 1) refuse_dtype(name_, "vector");
    std::int64_t count = 1;
    for (int d = 0; d < t.ndim; ++d) {
      if (t.shape[d] < 0) throw ShapeError(name_ + ": dimension " + std::to_string(d) + " is negative");
      if (__builtin_mul_overflow(count, t.shape[d], &count) || count > kMostBytes)
        throw ShapeError(name_ + ": is larger than memory");
    }
    if (t.data == nullptr && count > 0) throw LayoutError(name_ + ": DLPack tensor without data");
    result_.shape.assign(t.shape, t.shape + t.ndim);
    result_.data = static_cast<const std::byte*>(t.data) + t.byte_offset;

    const std::int64_t bytes = t.dtype.bits / 8;
    if (result_.device && bytes > 0 && reinterpret_cast<std::uintptr_t>(result_.data) % bytes != 0)
      throw LayoutError(name_ + ": its values on a device do not begin at a multiple of their size");
    const auto set_strides = [&] {
      if (t.strides == nullptr) return set_compact(bytes);
      std::int64_t low = 0, high = 0;  // bytes from the first element to the outermost ones
      for (int d = 0; d < t.ndim; ++d) {
        std::int64_t stride, reach;
        bool beyond = __builtin_mul_overflow(t.strides[d], bytes, &stride) ||
                      __builtin_mul_overflow(stride, std::max<std::int64_t>(t.shape[d], 1), &reach);
        if (!beyond) {
          std::int64_t& side = reach < 0 ? low : high;
          beyond = __builtin_add_overflow(side, reach, &side);
        }
        if (beyond || high > kMostBytes || low < -kMostBytes)
          throw ShapeError(name_ + ": stride of dimension " + std::to_string(d) + " leaves the address space");
        result_.strides.push_back(stride);
      }
    };
    switch (t.dtype.code) {
    case dlpack::kFloat:
      if (t.dtype.bits != 64 && t.dtype.bits != 32) refuse_dtype(name_, "float" + std::to_string(t.dtype.bits));
      set_strides();
      return set_float(bytes);
    case dlpack::kInt:
    case dlpack::kUInt:
      if (keep_int8_ && t.dtype.code == dlpack::kInt && t.dtype.bits == 8) {
        set_strides();
        result_.type = DType::i8;
        return;
      }
      if (t.dtype.bits != 8 && t.dtype.bits != 16 && t.dtype.bits != 32 && t.dtype.bits != 64)
        refuse_dtype(name_, std::to_string(t.dtype.bits) + "-bit integer");
      set_strides();
      return set_integer(t.dtype.code == dlpack::kInt, bytes);
    case dlpack::kOpaque:
      refuse_dtype(name_, "opaque");
    case dlpack::kBfloat:
      if (keep_bfloat16_ && t.dtype.bits == 16) {
        set_strides();
        result_.bfloat16 = true;
        return;
      }
      refuse_dtype(name_, "bfloat" + std::to_string(t.dtype.bits));
    case dlpack::kComplex:
      refuse_dtype(name_, "complex" + std::to_string(t.dtype.bits));
    case dlpack::kBool:
      if (!keep_int8_) refuse_dtype(name_, "bool");
      set_strides();
      result_.type = DType::i8;
      return;
    default:
      refuse_dtype(name_,
                   std::to_string(t.dtype.bits) + "-bit (DLPack type code " + std::to_string(t.dtype.code) + ")");
    }
  }

  // ---------------------------------------------------------------- what has to be copied

  bool from_array_method() {
    if (py::hasattr(object_, "__cuda_array_interface__"))
      throw DeviceUnavailableError(
          name_ + ": lives on a CUDA device and offers no DLPack, which is what is accepted from there",
          "unknown_device");
    if (!py::hasattr(object_, "__array__") || py::isinstance<py::array>(object_)) return false;
    const py::object array = object_.attr("__array__")();
    if (!py::isinstance<py::array>(array))
      throw DTypeError(name_ + ": __array__ of " + type_name(object_) + " gave " + type_name(array) + " and no array");
    return from_copy(array, kArrayMethod);
  }

  bool from_sequence() {
    if (!PySequence_Check(object_.ptr()) || PyUnicode_Check(object_.ptr()) || PyBytes_Check(object_.ptr()) ||
        PyByteArray_Check(object_.ptr()) || PyDict_Check(object_.ptr()))
      return false;
    py::object array;
    try {
      array = py::module_::import("numpy").attr("asarray")(object_);
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_ValueError))
        throw ShapeError(name_ + ": is a sequence of sequences of different lengths; pass a dict of arrays for series "
                                 "of different lengths");
      throw;
    }
    return from_copy(array, kSequence);
  }

  bool from_copy(const py::object& array, Copied reason) {
    result_ = Resolver(array, name_, false).resolve();
    // The array lives only through this reference.
    const auto owner = std::make_shared<std::pair<std::shared_ptr<void>, py::object>>(result_.keep_, array);
    result_.keep_ = owner;
    count_copy(reason);
    return true;
  }

  py::handle object_;
  const std::string& name_;
  const bool writable_;
  const DType wanted_;  // of memory to write to
  const bool or_device_;
  const StreamRule rule_;
  const bool keep_int8_, keep_bfloat16_;
  bool bits_are_bfloat16_ = false;
  Borrowed result_;
};

// ------------------------------------------------------------------------------------------------ streams

StreamRule::StreamRule(const DeviceChoice& choice) {
  if (!choice) return;
  asked_ = std::get<6>(*choice);
  current_ = std::get<7>(*choice);
}

Handle StreamRule::choose(const Device& device, Handle theirs, bool framework) const {
  if (asked_ && *asked_ != kUnordered) return stream_of(*asked_);
  if (framework) return theirs;
  if (current_) return stream_of(*current_);
  return theirs != nullptr ? theirs : thread_stream(device);
}

void refuse_captured(const Device& device, Handle stream) {
  if (device.capturing(stream))
    throw CaptureUnsafeError(
        "the stream is being captured, and this allocates memory, copies or waits; prepare the call before "
        "(warpquant.prepare), and put that into the stream");
}

// ------------------------------------------------------------------------------------------------ Borrowed

Borrowed Borrowed::input(py::handle object, const std::string& name, bool or_device, const StreamRule& rule,
                         bool keep_int8, bool keep_bfloat16) {
  return Resolver(object, name, false, DType::f64, or_device, rule, keep_int8, keep_bfloat16).resolve();
}

Borrowed Borrowed::in_place(py::handle object, const std::string& name, const StreamRule& rule) {
  Borrowed a = Resolver(object, name, true, DType::f64, true, rule, false, true).resolve();
  if (!a.writable) throw LayoutError(name + ": is read-only, but is to be changed in place");
  if (a.overlaps_itself()) throw LayoutError(name + ": several elements share one place (by its strides)");
  return a;
}

std::shared_ptr<const void> Borrowed::hold() const {
  return {new Borrowed(*this), [](const Borrowed* b) {
            if (!Py_IsInitialized()) return;  // nobody is left to free it for
            const py::gil_scoped_acquire gil;
            delete b;
          }};
}

Borrowed Borrowed::output(py::handle object, const std::string& name, DType type, const StreamRule& rule) {
  Borrowed a = Resolver(object, name, true, type, true, rule).resolve();
  if (!a.writable) throw LayoutError(name + ": is read-only, but the result is to be written to it");
  if (a.type != type)
    throw DTypeError(name + ": holds " + dtype_name(a.type) + " values, but the result is " + dtype_name(type));
  if (a.overlaps_itself())
    throw LayoutError(name + ": several elements share one place (by its strides), so results would be lost");
  return a;
}

bool Borrowed::is_compact() const {
  std::int64_t step = item_bytes();
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] > 1 && strides[d] != step) return false;
    step *= shape[d];
  }
  return true;
}

bool Borrowed::overlaps_itself() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> steps;  // stride, size; of dimensions that step at all
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return false;
    if (shape[d] > 1) steps.emplace_back(std::abs(strides[d]), shape[d]);
  }
  std::sort(steps.begin(), steps.end());
  std::int64_t extent = item_bytes();  // of everything inside the dimension at hand
  for (const auto& [stride, size] : steps) {
    if (stride < extent) return true;
    extent = (size - 1) * stride + extent;
  }
  return false;
}

std::string Borrowed::shape_text() const {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) text += (d > 0 ? ", " : "") + std::to_string(shape[d]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::pair<const std::byte*, const std::byte*> Borrowed::extent() const {
  const std::byte *low = data, *high = data + item_bytes();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0) return {data, data};
    const std::int64_t reach = (shape[d] - 1) * strides[d];
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool same_memory(const Borrowed* a, const Borrowed* b) {
  if (a == nullptr || b == nullptr) return a == b;
  return a->device->table == b->device->table && a->device->index == b->device->index;
}

void check_same_memory(const Borrowed* a, const std::string& a_name, const Borrowed* b, const std::string& b_name) {
  if (same_memory(a, b)) return;
  const auto place = [](const Borrowed* x) {
    return x == nullptr ? "in host memory" : "on '" + x->device->name() + "'";
  };
  throw LayoutError(a_name + ": is " + place(a) + ", but " + b_name + " is " + place(b) +
                    "; bring one to the other (warpquant.to_device, Array.copy_to)");
}

bool overlap(const Borrowed& a, const Borrowed& b) {
  const auto [a_low, a_high] = a.extent();
  const auto [b_low, b_high] = b.extent();
  if (!(a_low < b_high && b_low < a_high)) return false;
  // Columns of one table lie between each other without meeting.
  if (a.ndim() == 1 && b.ndim() == 1 && a.type == b.type && a.strides[0] == b.strides[0] && a.strides[0] != 0) {
    const std::int64_t stride = std::abs(a.strides[0]), item = a.item_bytes();
    const std::int64_t apart = std::abs(a_low - b_low) % stride;
    return apart < item || stride - apart < item;
  }
  return true;
}

void check_apart(std::vector<std::pair<std::string, const Borrowed*>> outputs) {
  std::sort(outputs.begin(), outputs.end(),
            [](const auto& a, const auto& b) { return a.second->extent().first < b.second->extent().first; });
  for (std::size_t i = 0; i < outputs.size(); ++i)
    for (std::size_t j = i + 1; j < outputs.size(); ++j) {
      if (outputs[j].second->extent().first >= outputs[i].second->extent().second) break;
      if (overlap(*outputs[i].second, *outputs[j].second))
        throw LayoutError(outputs[j].first + ": shares memory with " + outputs[i].first + "; each needs its own");
    }
}

py::dict copy_counts() {
  py::dict counts;
  for (int i = 0; i < kCopyReasons; ++i) counts[kCopyNames[i]] = copies[i].load();
  return counts;
}

// ------------------------------------------------------------------------------------------------ Panel

Panel Panel::of_array(py::handle object, const std::string& name, int time_axis, bool or_int8,
                      const DeviceChoice& device) {
  Panel p;
  p.rule_ = StreamRule(device);
  p.arrays_.push_back(Borrowed::input(object, name, true, p.rule_));
  const Borrowed& a = p.arrays_[0];
  if (a.device) p.stream_ = p.rule_.choose(*a.device, a.stream, a.names_stream && !py::isinstance<DeviceArray>(object));
  if (a.type == DType::i8 && !or_int8)
    throw DTypeError(name + ": holds integers on a device; accepted there are float64 and float32");
  if (a.ndim() != 1 && a.ndim() != 2)
    throw ShapeError(name + ": has shape " + a.shape_text() + "; accepted are one dimension (bars) or two");
  if (time_axis < -a.ndim() || time_axis >= a.ndim())
    throw ParameterError("axis: " + std::to_string(time_axis) + " is out of range for " + name + " of shape " +
                         a.shape_text());
  p.time_axis_ = time_axis < 0 ? time_axis + a.ndim() : time_axis;
  p.count_ = a.ndim() == 1 ? 1 : a.shape[1 - p.time_axis_];
  constexpr std::int64_t kMostSeries = std::int64_t{1} << 32;
  if (p.count_ >= kMostSeries && a.shape[p.time_axis_] > 0)
    throw ShapeError(name + ": has shape " + a.shape_text() + "; accepted are fewer than 2**32 series");
  p.type_ = a.type;
  return p;
}

Panel Panel::of_columns(const py::list& columns, const std::string& name, const std::vector<std::string>& labels) {
  Panel p;
  p.columns_ = true;
  p.count_ = static_cast<std::int64_t>(columns.size());
  p.labels_ = labels;
  if (!labels.empty() && labels.size() != columns.size())
    throw InternalError(name + ": " + std::to_string(columns.size()) + " columns have " +
                        std::to_string(labels.size()) + " labels");
  bool mixed = false;
  for (std::int64_t i = 0; i < p.count_; ++i) {
    const std::string column = name + ": " + p.label(i);
    p.arrays_.push_back(Borrowed::input(columns[i], column));
    const Borrowed& a = p.arrays_.back();
    if (a.ndim() != 1) throw ShapeError(column + " has shape " + a.shape_text() + "; accepted is one dimension (bars)");
    mixed |= a.type != p.arrays_[0].type;
  }
  p.type_ = mixed || p.arrays_.empty() ? DType::f64 : p.arrays_[0].type;
  if (mixed)
    for (Borrowed& a : p.arrays_)
      if (a.type == DType::f32) {
        Borrowed wide = a;
        const auto values = widen<float>(a, name);
        wide.data = reinterpret_cast<const std::byte*>(values.get());
        wide.strides = {sizeof(double)};
        wide.type = DType::f64;
        wide.set_keep(values);
        a = std::move(wide);
        count_copy(kMixedTypes);
      }
  return p;
}

std::int64_t Panel::longest() const {
  std::int64_t most = 0;
  for (std::int64_t i = 0; i < (columns_ ? count_ : std::min<std::int64_t>(count_, 1)); ++i)
    most = std::max(most, bars(i));
  return most;
}

bool Panel::same_bars() const {
  for (std::int64_t i = 1; columns_ && i < count_; ++i)
    if (bars(i) != bars(0)) return false;
  return true;
}

Series Panel::series(std::int64_t i) const {
  const Borrowed& a = arrays_[columns_ ? i : 0];
  const std::byte* start = a.ndim() == 1 ? a.data : a.data + i * a.strides[1 - time_axis_];
  return {start, a.strides[columns_ ? 0 : time_axis_], bars(i)};
}

std::string Panel::label(std::int64_t i) const {
  return labels_.empty() ? "series " + std::to_string(i) : "'" + labels_[i] + "'";
}

// ------------------------------------------------------------------------------------------------ Result

py::dtype numpy_type(DType type) {
  return type == DType::f64   ? py::dtype::of<double>()
         : type == DType::f32 ? py::dtype::of<float>()
                              : py::dtype::of<std::int8_t>();
}

py::array new_array(DType type, const std::vector<std::int64_t>& shape) {
  constexpr std::int64_t kRecycled = 1 << 16;  // smaller ones are NumPy's own business
  std::int64_t bytes = item_size(type);
  for (const std::int64_t n : shape)
    if (__builtin_mul_overflow(bytes, n, &bytes)) throw ShapeError("the result is larger than memory");
  if (bytes < kRecycled) return py::array(numpy_type(type), shape);
  struct Buffer {
    void* data;
    std::size_t bytes;
  };
  auto buffer = std::make_unique<Buffer>(BufferPool::allocate(bytes), static_cast<std::size_t>(bytes));
  const void* data = buffer->data;
  const py::capsule base(buffer.get(), [](void* p) {
    auto* b = static_cast<Buffer*>(p);
    BufferPool::release(b->data, b->bytes);
    delete b;
  });
  buffer.release();
  return py::array(numpy_type(type), shape, {}, data, base);
}

namespace {

py::object transposed(const py::array& array, const std::vector<int>& axes) {
  return array.attr("transpose")(py::cast(axes));
}

Borrowed of_array(const py::object& object, DType type) {
  const auto array = py::reinterpret_borrow<py::array>(object);
  Borrowed a;
  a.data = static_cast<const std::byte*>(array.data());
  a.shape.assign(array.shape(), array.shape() + array.ndim());
  a.strides.assign(array.strides(), array.strides() + array.ndim());
  a.type = type;
  a.writable = true;
  return a;
}

}  // namespace

Result::Result(const Panel& panel, DType type, std::int64_t copies) {
  const bool several = copies >= 0;
  const auto with_copies = [&](std::vector<std::int64_t> shape) {
    if (several) shape.insert(shape.begin(), copies);
    return shape;
  };
  const auto swapped = [&](const py::array& array) {
    return several ? transposed(array, {0, 2, 1}) : transposed(array, {1, 0});
  };
  if (const Borrowed* a = panel.on_device()) {
    const int time = panel.time_axis();
    const bool swap = a->ndim() == 2 && (std::abs(a->strides[time]) <= std::abs(a->strides[1 - time])) == (time == 0);
    std::vector<std::int64_t> shape = a->shape;
    if (swap) std::swap(shape[0], shape[1]);
    DeviceArray array(*a->device, panel.stream(), type, with_copies(shape));
    if (swap) array = array.swapped();
    arrays_.push_back(array.borrow());
    object_ = py::cast(std::move(array));
    set_sinks(panel, several);
    return;
  }
  std::vector<py::object> objects;
  if (!panel.is_columns()) {
    const Borrowed& a = panel.arrays()[0];
    const int time = panel.time_axis();
    if (a.ndim() == 1) {
      objects.push_back(new_array(type, with_copies({a.shape[0]})));
    } else {
      // Neighbours in the input are neighbours in the result.
      const bool time_inner = std::abs(a.strides[time]) <= std::abs(a.strides[1 - time]);
      const int inner = time_inner ? time : 1 - time;
      const py::array array = new_array(type, with_copies({a.shape[1 - inner], a.shape[inner]}));
      objects.push_back(inner == 1 ? py::object(array) : swapped(array));
    }
    object_ = objects[0];
  } else if (panel.same_bars() && panel.size() > 0) {
    const py::array array = new_array(type, with_copies({panel.size(), panel.bars(0)}));
    objects.push_back(object_ = swapped(array));
  } else {
    columns_ = true;
    py::list list;
    for (std::int64_t i = 0; i < panel.size(); ++i) {
      objects.push_back(new_array(type, with_copies({panel.bars(i)})));
      list.append(objects.back());
    }
    object_ = list;
  }
  for (const py::object& object : objects) arrays_.push_back(of_array(object, type));
  set_sinks(panel, several);
}

Result::Result(const Panel& panel, DType type, std::int64_t copies, py::handle out, const std::string& name) {
  const bool several = copies >= 0;
  object_ = py::reinterpret_borrow<py::object>(out);
  const auto expect = [&](const Borrowed& a, std::vector<std::int64_t> shape, const std::string& what) {
    if (several) shape.insert(shape.begin(), copies);
    Borrowed wanted;
    wanted.shape = shape;
    if (a.shape != shape)
      throw ShapeError(what + ": has shape " + a.shape_text() + ", but the result has " + wanted.shape_text());
  };
  if (panel.is_columns() && py::isinstance<py::list>(out)) {
    columns_ = true;
    const auto list = py::reinterpret_borrow<py::list>(out);
    if (static_cast<std::int64_t>(list.size()) != panel.size())
      throw ShapeError(name + ": has " + std::to_string(list.size()) + " arrays for " + std::to_string(panel.size()) +
                       " series");
    for (std::int64_t i = 0; i < panel.size(); ++i) {
      const std::string what = name + ": " + panel.label(i);
      arrays_.push_back(Borrowed::output(list[i], what, type, panel.rule()));
      expect(arrays_.back(), {panel.bars(i)}, what);
    }
  } else {
    arrays_.push_back(Borrowed::output(out, name, type, panel.rule()));
    if (panel.is_columns()) {
      if (!panel.same_bars() || panel.size() == 0)
        throw ShapeError(name + ": series have different lengths, so one array cannot take them; pass a dict");
      expect(arrays_[0], {panel.bars(0), panel.size()}, name);
    } else {
      expect(arrays_[0], panel.arrays()[0].shape, name);
    }
  }
  for (const Borrowed& result : arrays_)
    check_same_memory(result.device ? &result : nullptr, name, panel.on_device(), "the input");
  for (const Borrowed& result : arrays_)
    for (const Borrowed& input : panel.arrays())
      if (overlap(result, input)) throw LayoutError(name + ": shares memory with the input; it must be apart");
  if (arrays_.size() > 1) {
    std::vector<std::pair<std::string, const Borrowed*>> outputs;
    for (std::size_t i = 0; i < arrays_.size(); ++i)
      outputs.emplace_back(name + ": " + panel.label(static_cast<std::int64_t>(i)), &arrays_[i]);
    check_apart(std::move(outputs));
  }
  set_sinks(panel, several);
}

Result Result::last_values(const Panel& panel, DType type) {
  Result r;
  const bool single = !panel.is_columns() && panel.arrays()[0].ndim() == 1;
  if (const Borrowed* a = panel.on_device()) {
    DeviceArray there(*a->device, panel.stream(), type,
                      single ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{panel.size()});
    r.arrays_.push_back(there.borrow());
    r.object_ = py::cast(std::move(there));
    r.set_last_sinks(panel.size(), type);
    return r;
  }
  const py::array array =
      new_array(type, single ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{panel.size()});
  r.object_ = array;
  r.arrays_.push_back(of_array(array, type));
  r.set_last_sinks(panel.size(), type);
  return r;
}

void Result::set_last_sinks(std::int64_t count, DType type) {
  for (std::int64_t i = 0; i < count; ++i)
    sinks_.push_back({const_cast<std::byte*>(arrays_[0].data) + i * item_size(type), item_size(type), 1});
}

void Result::set_sinks(const Panel& panel, bool several) {
  const int lead = several ? 1 : 0;
  if (panel.longest() == 0) return;  // nothing to write, to however many series
  for (std::int64_t i = 0; i < panel.size(); ++i) {
    const Borrowed& a = arrays_[columns_ ? i : 0];
    auto* data = const_cast<std::byte*>(a.data);
    std::int64_t time_stride;
    if (a.ndim() == 1 + lead) {
      time_stride = a.strides[lead];
    } else {
      const int time = lead + (panel.is_columns() ? 0 : panel.time_axis());
      time_stride = a.strides[time];
      data += i * a.strides[2 * lead + 1 - time];
    }
    sinks_.push_back({data, time_stride, panel.bars(i)});
    steps_.push_back(several ? a.strides[0] : 0);
  }
}

// ------------------------------------------------------------------------------------------------ Execution

Execution execution(int num_threads, const std::string& simd, const DeviceChoice& device) {
  constexpr int kMost = 1024;
  if (num_threads < 0 || num_threads > kMost)
    throw ParameterError("num_threads: " + std::to_string(num_threads) + " is out of range; accepted are 1 to " +
                         std::to_string(kMost) + ", or None for as many as the process may use");
  Execution how{parse_level(simd), num_threads};
  if (device) {
    const auto& [name, index, streams, batch_bytes, floor, may_fall_back, stream, current, prepared] = *device;
    how.device = Device{backend(name), index};
    how.pipeline = {streams, static_cast<std::size_t>(batch_bytes), floor};
    how.may_fall_back = may_fall_back;
  }
  return how;
}

Streams::Streams(const Execution& how, std::vector<const Borrowed*> others) : how_(how), others_(std::move(others)) {
  if (!how_.resident) return;
  if (how_.prepared != nullptr)
    for (const Borrowed* other : others_) how_.prepared->use(other->hold(), how_.ordered ? other->stream : how_.stream);
  if (!how_.ordered || how_.prepared != nullptr) return;
  for (const Borrowed* other : others_) {
    if (other->stream != how_.stream) refuse_captured(*how_.device, other->stream);
    how_.device->check(how_.device->order(other->stream, how_.stream), "ordering streams");
  }
}

Streams::~Streams() {
  if (finished_ || !how_.resident || how_.prepared != nullptr) return;
  for (const Borrowed* other : others_) {
    const Fault fault = how_.ordered ? how_.device->order(how_.stream, other->stream) : Fault::none;
    if (fault != Fault::none || !other->names_stream) keep_until_done(*how_.device, how_.stream, other->hold());
  }
}

void Streams::finish() {
  if (!how_.resident) return;
  // What was sent for a call that is prepared must have come before it is used in any stream.
  bool wait = how_.prepared != nullptr;
  if (how_.ordered && !wait) {
    for (const Borrowed* other : others_) {
      how_.device->check(how_.device->order(how_.stream, other->stream), "ordering streams");
      wait |= !other->names_stream;  // whoever did not say in which stream the memory is used may free it in any
    }
  }
  if (wait) how_.device->wait(how_.stream);
  finished_ = true;
}

void check_alike(const Panel& other, const std::string& name, const Panel& first, const std::string& first_name) {
  if (other.size() != first.size())
    throw ShapeError(name + ": has " + std::to_string(other.size()) + " series, but there are " +
                     std::to_string(first.size()) + " in " + first_name);
  for (std::int64_t i = 0; i < (first.is_columns() ? first.size() : 1); ++i)
    if (other.bars(i) != first.bars(i))
      throw ShapeError(name + ": " + first.label(i) + " has " + std::to_string(other.bars(i)) +
                       " bars, but there are " + std::to_string(first.bars(i)) + " in " + first_name);
  check_same_memory(other.on_device(), name, first.on_device(), first_name);
}

void check_out_apart(const Result& out, const Panel& input, const std::string& name) {
  for (const Borrowed& target : out.arrays())
    for (const Borrowed& array : input.arrays())
      if (overlap(target, array)) throw LayoutError("out: shares memory with " + name + "; it must be apart");
}

Execution execution(const Panel& panel, int num_threads, const std::string& simd, const DeviceChoice& device) {
  return execution(panel.on_device(), panel.stream(), panel.rule(), num_threads, simd, device);
}

Execution execution(const Borrowed* there, Handle stream, const StreamRule& rule, int num_threads,
                    const std::string& simd, const DeviceChoice& device) {
  Execution how = execution(num_threads, simd, device);
  if (there != nullptr) {
    how.resident = true;
    how.device = there->device;
    how.stream = stream;
    how.ordered = rule.ordered();
    refuse_captured(*how.device, how.stream);
    if (there->stream != how.stream) refuse_captured(*how.device, there->stream);
    if (PreparedCall* const call = device ? std::get<8>(*device).value_or(nullptr) : nullptr) {
      WQ_EXPECT(
          call->work == nullptr, ParameterError,
          "function: makes several calls, of which one can be prepared at a time; prepare each, the later ones with "
          "the `result` of the earlier");
      call->work = std::make_unique<Prepared>(*how.device, how.stream);
      how.prepared = call->work.get();
    }
  }
  return how;
}

Execution execution_in_stream(int num_threads, const std::string& simd, const DeviceChoice& device) {
  Execution how = execution(num_threads, simd, device);
  if (how.device) {
    how.stream = StreamRule(device).choose(*how.device);
    refuse_captured(*how.device, how.stream);
  }
  return how;
}

void carry_out(const Execution& how, const std::function<void(const Execution&)>& compute) {
  const py::gil_scoped_release release;
  try {
    compute(how);
  } catch (const DeviceOutOfMemoryError&) {
    if (!how.may_fall_back || how.resident) throw;
    account_of(*how.device, Where::device).count(Rung::fell_back);
    {
      const py::gil_scoped_acquire gil;
      py::module_::import("warpquant._devices")
          .attr("_report_fallback")("out_of_memory", how.device->name() + " has not enough memory");
    }
    Execution cpu = how;
    cpu.device.reset();
    compute(cpu);
  }
}

Borrowed compact_numbers(py::handle object, const std::string& name, std::int64_t count) {
  Borrowed a = Borrowed::input(object, name);
  WQ_EXPECT(a.ndim() == 1 && a.type == DType::f64 && a.shape[0] == count && a.is_compact(), InternalError,
            name + ": is not the compact array that the caller makes");
  return a;
}

py::array copy_to_host(const Borrowed& there) {
  // Everything between the first element and the last, as a view with the strides from there.
  const auto [low, high] = there.extent();
  auto bytes = std::make_unique<std::vector<std::byte>>(static_cast<std::size_t>(high - low));
  if (!bytes->empty()) {
    const py::gil_scoped_release release;
    refuse_captured(*there.device, there.stream);
    there.device->fetch(bytes->data(), low, bytes->size(), there.stream);
  }
  const void* data = bytes->data() + (there.data - low);
  const py::capsule base(bytes.release(), [](void* p) { delete static_cast<std::vector<std::byte>*>(p); });
  return py::array(numpy_type(there.type), there.shape, there.strides, data, base);
}

}  // namespace wq
