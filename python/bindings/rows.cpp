// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <bit>

#include "arrays.h"
#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/core/row_calls.h"

namespace wq {
namespace {

/// An argument: a number, or memory that is borrowed.
struct Argument {
  double number = 0;
  std::optional<Borrowed> array;
};

Argument argument(py::handle object, const std::string& name, const StreamRule& rule) {
  Argument a;
  if (PyFloat_Check(object.ptr())) {
    a.number = PyFloat_AS_DOUBLE(object.ptr());
  } else if (PyLong_Check(object.ptr())) {
    a.number = PyLong_AsDouble(object.ptr());
    if (a.number == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      throw ParameterError(name + ": is too large for a float64");
    }
  } else {
    a.array = Borrowed::input(object, name, true, rule, true);
  }
  return a;
}

/// The shape that arguments have together. Throws ShapeError naming the one that does not fit.
std::vector<std::int64_t> broadcast(const std::vector<Argument>& arguments, const std::vector<std::string>& names) {
  std::vector<std::int64_t> shape;
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    if (!arguments[k].array) continue;
    const auto& own = arguments[k].array->shape;
    const std::vector<std::int64_t> before = shape;
    if (own.size() > shape.size()) shape.insert(shape.begin(), own.size() - shape.size(), 1);
    for (std::size_t d = 0; d < own.size(); ++d) {
      std::int64_t& extent = shape[shape.size() - own.size() + d];
      if (extent == 1) {
        extent = own[d];
      } else if (own[d] != 1 && own[d] != extent) {
        Borrowed others;
        others.shape = before;
        throw ShapeError(names[k] + ": has shape " + arguments[k].array->shape_text() +
                         ", which does not broadcast with the " + others.shape_text() + " of the arguments before");
      }
    }
  }
  return shape;
}

rows::Column column_of(const Borrowed& a, std::size_t dims) {
  rows::Column column;
  column.data = const_cast<std::byte*>(a.data);
  column.type = a.type;
  const std::size_t lead = dims - a.shape.size();
  for (std::size_t d = 0; d < a.shape.size(); ++d) column.strides[lead + d] = a.shape[d] == 1 ? 0 : a.strides[d];
  return column;
}

/// Merge neighbouring dimensions that every column crosses alike, and drop those of one row.
void simplify(rows::Job& job) {
  rows::Frame& frame = job.frame;
  const auto each = [&](auto visit) {
    for (int k = 0; k < job.inputs; ++k) visit(job.in[k]);
    for (int k = 0; k < job.outputs; ++k) visit(job.out[k]);
  };
  int dims = 0;
  for (int d = 0; d < frame.dims; ++d) {
    if (frame.extents[d] == 1) continue;
    bool merges = dims > 0;
    if (merges) each([&](const rows::Column& c) { merges &= c.strides[dims - 1] == c.strides[d] * frame.extents[d]; });
    const int to = merges ? dims - 1 : dims++;
    frame.extents[to] = merges ? frame.extents[to] * frame.extents[d] : frame.extents[d];
    each([&](rows::Column& c) { c.strides[to] = c.strides[d]; });
  }
  if (dims == 0) {  // one row
    frame.extents[0] = 1;
    each([&](rows::Column& c) { c.strides[0] = 0; });
    dims = 1;
  }
  frame.dims = dims;
}

bool same_layout(const rows::Column& a, const rows::Column& b) {
  return a.data == b.data && a.type == b.type && std::equal(std::begin(a.strides), std::end(a.strides), b.strides);
}

template <class T>
using Tuple = py::typing::Tuple<T, py::ellipsis>;

bool is_number(py::handle object) { return PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr()); }

bool is_numpy_array(py::handle object) {
  static const PyObject* const type = py::object(py::module_::import("numpy").attr("ndarray")).release().ptr();
  return reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) == type;
}

/// `values[places[i]]` under the i-th name.
template <class Value>
py::dict named(const py::tuple& names, const py::tuple& places, Value value) {
  py::dict results;
  for (py::ssize_t i = 0; i < PyTuple_GET_SIZE(names.ptr()); ++i) {
    const py::object result = value(PyLong_AsLong(PyTuple_GET_ITEM(places.ptr(), i)));
    if (PyDict_SetItem(results.ptr(), PyTuple_GET_ITEM(names.ptr(), i), result.ptr()) != 0)
      throw py::error_already_set();
  }
  return results;
}

/// One row of numbers.
py::dict call_numbers(const rows::Op& op, rows::Job& job, const py::tuple& inputs, const py::tuple& names,
                      const py::tuple& places, int num_threads, const std::string& simd) {
  double numbers[rows::kMostOutputs];
  for (int k = 0; k < job.inputs; ++k)
    job.in[k].value = argument(inputs[static_cast<std::size_t>(k)], op.inputs[static_cast<std::size_t>(k)], {}).number;
  for (const py::handle place : places) {
    const long k = PyLong_AsLong(place.ptr());
    job.out[k].data = reinterpret_cast<std::byte*>(&numbers[k]);
  }
  job.frame = {1, {1}, 1};
  rows::run(op, job, execution(num_threads, simd));
  return named(names, places, [&](long k) -> py::object {
    if (op.outputs[static_cast<std::size_t>(k)] == "status") return py::int_(static_cast<int>(numbers[k]));
    return py::float_(numbers[k]);
  });
}

/// None if there are arguments other than numbers and NumPy's arrays, unless `unpacked`: the caller is to unpack them.
py::object call(const std::string& name, const Tuple<py::object>& inputs, const Tuple<py::str>& names,
                const Tuple<py::int_>& places, const std::vector<double>& parameters, const py::object& out,
                int num_threads, const std::string& simd, const DeviceChoice& device, bool unpacked,
                const py::object& kept) {
  const rows::Op& op = rows::operation(name);
  rows::Job job{};
  job.inputs = static_cast<int>(inputs.size());
  job.outputs = static_cast<int>(op.outputs.size());
  WQ_EXPECT(inputs.size() == op.inputs.size() && names.size() == places.size() &&
                (op.info.table || parameters.size() <= rows::kMostParameters),
            InternalError, "operation '" + name + "': a wrong number of arguments");
  if (op.info.table) {
    job.table = parameters.data();
    job.table_size = std::ssize(parameters);
  } else {
    std::copy(parameters.begin(), parameters.end(), job.parameters);
  }
  bool numbers_only = true;
  for (const py::handle input : inputs) {
    if (is_number(input)) continue;
    numbers_only = false;
    if (!unpacked && !is_numpy_array(input)) return py::none();
  }
  if (numbers_only && out.is_none() && !device) return call_numbers(op, job, inputs, names, places, num_threads, simd);

  const MemorySite site("options");
  std::uint32_t wanted = 0;
  for (const py::handle place : places) wanted |= 1u << PyLong_AsLong(place.ptr());
  const StreamRule rule(device);
  std::vector<Argument> arguments;
  bool wide = false, narrow = false;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    arguments.push_back(argument(inputs[k], op.inputs[k], rule));
    if (!arguments.back().array || op.inputs[k] == "is_call") continue;  // a flag, of whatever type
    wide |= arguments.back().array->type == DType::f64;
    narrow |= arguments.back().array->type == DType::f32;
  }
  const DType type = narrow && !wide ? DType::f32 : DType::f64;

  // Arrays are on one device, or all of them in memory of the host.
  const Borrowed* there = nullptr;
  Handle stream = nullptr;
  std::size_t first = arguments.size();
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    if (!arguments[k].array) continue;
    const Borrowed& a = *arguments[k].array;
    if (a.device && there == nullptr) {
      there = &a;
      stream = rule.choose(*a.device, a.stream, a.names_stream && !py::isinstance<DeviceArray>(inputs[k]));
    }
    if (first == arguments.size())
      first = k;
    else
      check_same_memory(a.device ? &a : nullptr, op.inputs[k],
                        arguments[first].array->device ? &*arguments[first].array : nullptr, op.inputs[first]);
  }

  const std::vector<std::int64_t> shape = broadcast(arguments, op.inputs);
  if (shape.size() > rows::kMostDims)
    throw ShapeError("arguments have " + std::to_string(shape.size()) + " dimensions; accepted are up to " +
                     std::to_string(rows::kMostDims));
  job.frame.dims = static_cast<int>(shape.size());
  for (std::size_t d = 0; d < shape.size(); ++d) {
    job.frame.extents[d] = shape[d];
    if (__builtin_mul_overflow(job.frame.rows, shape[d], &job.frame.rows))
      throw ShapeError("the result is larger than memory");
  }
  for (int k = 0; k < job.inputs; ++k) {
    Argument& a = arguments[static_cast<std::size_t>(k)];
    if (a.array)
      job.in[k] = column_of(*a.array, shape.size());
    else
      job.in[k].value = a.number;
  }

  py::object objects[rows::kMostOutputs];
  std::vector<Borrowed> targets;
  targets.reserve(rows::kMostOutputs);
  for (int k = 0; k < job.outputs; ++k) {
    if ((wanted >> k & 1) == 0) continue;
    const std::string& output = op.outputs[static_cast<std::size_t>(k)];
    const DType own = output == "status" ? DType::i8 : type;
    const std::string label = "out[" + output + "]";
    py::object given = out.is_none() ? py::object() : out.attr("get")(output);
    if (given && !given.is_none()) {
      Borrowed target = Borrowed::output(given, label, own, rule);
      if (target.shape != shape) {
        Borrowed result;
        result.shape = shape;
        throw ShapeError(label + ": has shape " + target.shape_text() + ", but the result has " + result.shape_text());
      }
      check_same_memory(target.device ? &target : nullptr, label, there, "the arguments");
      job.out[k] = column_of(target, shape.size());
      objects[k] = std::move(given);
      targets.push_back(std::move(target));
    } else if (there != nullptr) {
      DeviceArray array(*there->device, stream, own, shape);
      targets.push_back(array.borrow());
      job.out[k] = column_of(targets.back(), shape.size());
      objects[k] = py::cast(std::move(array));
    } else {
      const py::array array = new_array(own, shape);
      job.out[k].data = static_cast<std::byte*>(const_cast<void*>(array.data()));
      job.out[k].type = own;
      for (std::size_t d = 0; d < shape.size(); ++d)
        job.out[k].strides[d] = shape[d] == 1 ? 0 : array.strides(static_cast<py::ssize_t>(d));
      objects[k] = array;
    }
  }
  if (!targets.empty()) {
    std::vector<std::pair<std::string, const Borrowed*>> apart;
    for (const Borrowed& t : targets) apart.emplace_back("out", &t);
    check_apart(std::move(apart));
    for (const Borrowed& t : targets)
      for (std::size_t k = 0; k < arguments.size(); ++k)
        if (arguments[k].array && overlap(t, *arguments[k].array) &&
            !same_layout(column_of(t, shape.size()), job.in[k]))
          throw LayoutError("out: shares memory with " + op.inputs[k] + "; it must be apart, or the very same array");
  }
  simplify(job);
  const Execution how = execution(there, stream, rule, num_threads, simd, device);
  if (!how.device && job.frame.rows * op.info.nanoseconds < 5'000) {  // as long as handing the interpreter over takes
    rows::run(op, job, how);
  } else {
    std::vector<const Borrowed*> used;
    for (const Argument& a : arguments)
      if (a.array && a.array->device) used.push_back(&*a.array);
    for (const Borrowed& t : targets)
      if (t.device) used.push_back(&t);
    std::optional<Borrowed> own;
    if (!kept.is_none() && how.resident) used.push_back(&own.emplace(Borrowed::input(kept, "kept", true, rule)));
    Streams streams(how, std::move(used));
    carry_out(how, [&](const Execution& where) {
      rows::run(op, job, where);
      streams.finish();
    });
  }
  const bool scalar = shape.empty() && there == nullptr && out.is_none();
  return named(names, places, [&](long k) -> py::object { return scalar ? objects[k][py::tuple()] : objects[k]; });
}

}  // namespace

void register_rows(py::module_& m) {
  using py::arg;
  m.def(
      "row_operations",
      [] {
        py::dict all;
        for (const rows::Op& op : rows::operations()) all[op.info.name] = py::make_tuple(op.inputs, op.outputs);
        return all;
      },
      "Names of the operations on rows, with those of their arguments and results.");
  m.def("row_call", call, arg("name"), arg("inputs"), arg("names"), arg("places"), arg("parameters"), arg("out"),
        arg("num_threads"), arg("simd"), arg("device"), arg("unpacked"), arg("kept") = py::none(),
        "Results of an operation on rows, by name: those of its results that `places` count. `kept`: an array on the "
        "device that the operation uses besides.");
}

}  // namespace wq
