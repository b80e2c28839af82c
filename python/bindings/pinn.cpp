// SPDX-License-Identifier: Apache-2.0
#include "warpquant/pinn/pinn.h"

#include <pybind11/stl.h>

#include "arrays.h"
#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

using pinn::Model;
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

std::span<const double> span_of(const Doubles& array) { return {array.data(), static_cast<std::size_t>(array.size())}; }

template <std::size_t N>
std::size_t place_of(const std::string& name, const char* const (&names)[N]) {
  for (std::size_t k = 0; k < N; ++k)
    if (name == names[k]) return k;
  throw InternalError("'" + name + "' is unknown");
}

/// Features as (source, shift, scale), the ansatz, and the ranges of k and v.
using SurfaceTuple = std::tuple<std::vector<std::tuple<std::string, double, double>>, std::string,
                                std::array<double, 2>, std::array<double, 2>>;

pinn::Surface surface_of(const SurfaceTuple& t) {
  const auto& [features, ansatz, k_range, v_range] = t;
  WQ_EXPECT(features.size() <= pinn::kMostFeatures, InternalError, "features: too many");
  pinn::Surface s;
  s.ansatz = static_cast<pinn::Ansatz>(place_of(ansatz, pinn::kAnsatzNames));
  for (const auto& [source, shift, scale] : features)
    s.feature[s.features++] = {static_cast<pinn::Source>(place_of(source, pinn::kSourceNames)), shift, scale};
  std::copy(k_range.begin(), k_range.end(), s.k_range);
  std::copy(v_range.begin(), v_range.end(), s.v_range);
  return s;
}

std::unique_ptr<Model> make(std::vector<int> widths, const std::string& activation, const Doubles& parameters,
                            const std::optional<SurfaceTuple>& surface, bool in_f32) {
  for (const int width : widths)
    WQ_EXPECT(width >= 1 && width <= 1 << 16, InternalError, "widths: one is out of range");
  WQ_EXPECT(widths.size() >= 2 && widths.back() == 1, InternalError, "widths: a network has one output");
  std::optional<pinn::Surface> of;
  if (surface) of = surface_of(*surface);
  WQ_EXPECT(!of || of->features == widths.front(), InternalError, "features: not as many as inputs");
  return std::make_unique<Model>(std::move(widths),
                                 static_cast<pinn::Activation>(place_of(activation, pinn::kActivationNames)),
                                 span_of(parameters), of, in_f32);
}

Doubles evaluate(const Model& model, const Doubles& x, bool in_f32, int num_threads, const std::string& simd) {
  WQ_EXPECT(x.ndim() == 2 && x.shape(1) == model.inputs(), InternalError, "x: wrong shape");
  Doubles y = new_array(DType::f64, {x.shape(0)});
  const Execution how = execution(num_threads, simd);
  double* const to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    pinn::evaluate(model, in_f32, {x.shape(0), x.data()}, to, how);
  }
  return y;
}

Doubles differentiate(const Model& model, const Doubles& x, const Doubles& directions, int order, bool in_f32,
                      int num_threads, const std::string& simd) {
  WQ_EXPECT(x.ndim() == 2 && x.shape(1) == model.inputs() && directions.ndim() == 2 &&
                directions.shape(1) == model.inputs() && order >= 0 && order <= 3,
            InternalError, "x, directions: wrong shapes");
  const pinn::Streams streams{static_cast<int>(directions.shape(0)), order};
  Doubles y = new_array(DType::f64, {streams.count(), x.shape(0)});
  const Execution how = execution(num_threads, simd);
  double* const to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    pinn::differentiate(model, in_f32, {x.shape(0), x.data()}, directions.data(), streams, to, how);
  }
  return y;
}

pinn::Collocation<double> collocation(const Model& model, const Doubles& features, const Doubles& coefficients,
                                      const Doubles& constants, const Doubles& weights, bool positive,
                                      const std::optional<Doubles>& obstacle, double smoothing) {
  WQ_EXPECT(features.ndim() == 3 && coefficients.ndim() == 2 && constants.ndim() == 1 && weights.ndim() == 1,
            InternalError, "collocation: wrong numbers of dimensions");
  pinn::Collocation<double> job{};
  job.points = features.shape(2);
  job.directions = static_cast<int>(features.shape(1)) - 2;
  WQ_EXPECT(features.shape(0) == model.inputs() && job.directions >= 1 && job.directions <= pinn::kMostDirections &&
                coefficients.shape(0) == features.shape(1) && coefficients.shape(1) == job.points &&
                constants.shape(0) == job.points && weights.shape(0) == job.points,
            InternalError, "collocation: wrong shapes");
  job.features = features.data();
  job.coefficients = coefficients.data();
  job.constants = constants.data();
  job.loss_weights = weights.data();
  job.positive = positive;
  if (obstacle) {
    WQ_EXPECT(obstacle->ndim() == 2 && obstacle->shape(0) == 2 && obstacle->shape(1) == job.points && smoothing > 0,
              InternalError, "obstacle: wrong shape");
    job.obstacle = obstacle->data();
    job.smoothing = smoothing;
  }
  return job;
}

/// Loss, the gradient or None, residuals or None.
py::tuple loss(Model& model, const std::optional<Doubles>& parameters, const Doubles& features,
               const Doubles& coefficients, const Doubles& constants, const Doubles& weights, bool positive,
               const std::optional<Doubles>& obstacle, double smoothing, bool with_gradient, bool with_residuals,
               int num_threads, const std::string& simd) {
  const pinn::Collocation<double> job =
      collocation(model, features, coefficients, constants, weights, positive, obstacle, smoothing);
  if (parameters) model.set_parameters(span_of(*parameters));
  const Execution how = execution(num_threads, simd);
  py::object gradient = py::none(), residuals = py::none();
  double *to_gradient = nullptr, *to_residuals = nullptr;
  if (with_gradient) {
    py::array_t<double> made(static_cast<py::ssize_t>(model.flops() / 2));
    to_gradient = made.mutable_data();
    gradient = std::move(made);
  }
  if (with_residuals) {
    py::array_t<double> made(static_cast<py::ssize_t>(job.points));
    to_residuals = made.mutable_data();
    residuals = std::move(made);
  }
  double total;
  {
    const py::gil_scoped_release release;
    total = pinn::loss(model, job, to_residuals, to_gradient, how);
  }
  return py::make_tuple(total, std::move(gradient), std::move(residuals));
}

/// Residuals without weights, and their gradients as rows.
py::tuple jacobian(Model& model, const Doubles& parameters, const Doubles& features, const Doubles& coefficients,
                   const Doubles& constants, bool positive, int num_threads, const std::string& simd) {
  const pinn::Collocation<double> job =
      collocation(model, features, coefficients, constants, constants, positive, std::nullopt, 0);
  model.set_parameters(span_of(parameters));
  const Execution how = execution(num_threads, simd);
  py::array_t<double> residuals(static_cast<py::ssize_t>(job.points));
  py::array_t<double> rows({static_cast<py::ssize_t>(job.points), static_cast<py::ssize_t>(model.flops() / 2)});
  double *const to_residuals = residuals.mutable_data(), *const to_rows = rows.mutable_data();
  {
    const py::gil_scoped_release release;
    pinn::jacobian(model, job, to_residuals, to_rows, how);
  }
  return py::make_tuple(std::move(residuals), std::move(rows));
}

// ------------------------------------------------------------------------------------------------ devices

/// How products are made, by name; "full" on the CPU.
constexpr const char* kProductNames[] = {"full", "tf32x3", "bf16x6", "tf32", "bf16"};

/// Arguments of a call on arrays of one device: all float64 or float32, in the stream that the first one says.
class There {
 public:
  There(py::handle first, const std::string& name, const DeviceChoice& device) : rule_(device), device_(device) {
    arrays_.reserve(16);
    const Borrowed& a = take(first, name);
    WQ_EXPECT(a.device, InternalError, name + ": is not on a device");
    stream_ = rule_.choose(*a.device, a.stream, a.names_stream && !py::isinstance<DeviceArray>(first));
  }
  const Borrowed& take(py::handle object, const std::string& name) {
    arrays_.push_back(Borrowed::input(object, name, true, rule_));
    return together(name);
  }
  const Borrowed& take_output(py::handle object, const std::string& name, DType type,
                              const std::vector<std::int64_t>& shape) {
    arrays_.push_back(Borrowed::output(object, name, type, rule_));
    const Borrowed& a = arrays_.back();
    Borrowed wanted;
    wanted.shape = shape;
    WQ_EXPECT(a.shape == shape, ShapeError,
              name + ": has shape " + a.shape_text() + ", but the result has " + wanted.shape_text());
    for (std::size_t k = 0; k + 1 < arrays_.size(); ++k)
      WQ_EXPECT(!overlap(arrays_[k], a), LayoutError, name + ": shares memory with an argument");
    return together(name);
  }
  /// One of a compact array, of the type and shape.
  const void* numbers(py::handle object, const std::string& name, DType type, std::vector<std::int64_t> shape) {
    const Borrowed& a = take(object, name);
    Borrowed wanted;
    wanted.shape = std::move(shape);
    WQ_EXPECT(a.type == type, DTypeError,
              name + ": is not of " + (type == DType::f64 ? "float64" : "float32") + ", as the weights are");
    WQ_EXPECT(a.shape == wanted.shape, ShapeError,
              name + ": has shape " + a.shape_text() + "; accepted is " + wanted.shape_text());
    WQ_EXPECT(a.is_compact(), LayoutError, name + ": has gaps, or another order; accepted is a compact array");
    return a.data;
  }
  py::object make(DType type, const std::vector<std::int64_t>& shape) {
    DeviceArray array(*arrays_.front().device, stream_, type, shape);
    arrays_.push_back(array.borrow());
    return py::cast(std::move(array));
  }
  const Borrowed& last() const { return arrays_.back(); }

  /// put(device, luggage) gives the work.
  template <class Make>
  void run(int num_threads, const std::string& simd, Make make) {
    const Execution how = execution(&arrays_.front(), stream_, rule_, num_threads, simd, device_);
    std::vector<const Borrowed*> used;
    for (const Borrowed& a : arrays_) used.push_back(&a);
    Streams streams(how, std::move(used));
    carry_out(how, [&](const Execution& where) {
      Luggage own(*where.device, where.stream);
      const rows::Put work = make(*where.device, where.prepared != nullptr ? where.prepared->luggage() : own);
      const auto put = [device = *where.device, work](Handle stream) {
        device.check(work(stream), "starting a kernel");
      };
      if (where.prepared != nullptr)
        where.prepared->add(put);
      else
        put(where.stream);
      streams.finish();
    });
  }

 private:
  const Borrowed& together(const std::string& name) const {
    const Borrowed& a = arrays_.back();
    WQ_EXPECT(a.type != DType::i8, DTypeError, name + ": holds integers; accepted are float64 and float32");
    const Borrowed& first = arrays_.front();
    check_same_memory(a.device ? &a : nullptr, name, first.device ? &first : nullptr, "the first argument");
    return a;
  }

  StreamRule rule_;
  const DeviceChoice& device_;
  Handle stream_ = nullptr;
  std::vector<Borrowed> arrays_;
};

/// Parameters on a device from now on: `kept` is an array with them, which the caller keeps.
void place(Model& model, const py::object& kept, const std::string& products) {
  const Borrowed a = Borrowed::input(kept, "parameters", true);
  WQ_EXPECT(a.device && a.is_compact() && a.ndim() == 1 && a.shape[0] == model.flops() / 2, InternalError,
            "parameters: of another form");
  model.place(*a.device, model.placed(a.data, a.type == DType::f32,
                                      static_cast<pinn::Products>(place_of(products, kProductNames))));
}

/// Derivatives for an array x (points, inputs) on a device, by name: what `out` has of them is written there.
py::dict differentiate_there(const Model& model, const py::object& kept, const py::object& x, const Doubles& directions,
                             int order, const py::dict& out, int num_threads, const std::string& simd,
                             const DeviceChoice& device) {
  const MemorySite site("pinn");
  There there(x, "X", device);
  const Borrowed points = there.last();
  WQ_EXPECT(points.ndim() == 2 && points.shape[1] == model.inputs() && directions.ndim() == 2 &&
                directions.shape(1) == model.inputs() && order >= 0 && order <= 3,
            InternalError, "X, directions: wrong shapes");
  const auto m = static_cast<std::int64_t>(directions.shape(0));
  WQ_EXPECT(m <= pinn::kMostAtOnce || order == 0, ParameterError,
            "directions: are " + std::to_string(m) + "; accepted on a device are up to " +
                std::to_string(pinn::kMostAtOnce));
  pinn::JetLaunch job{};
  const Borrowed& parameters = there.take(kept, "parameters");
  job.net = model.place_on(*points.device);
  WQ_EXPECT(job.net.parameters == parameters.data, InternalError, "parameters: are not where they were placed");
  job.streams = {static_cast<int>(m), order};
  job.points = points.shape[0];
  const DType type = points.type == DType::f32 ? DType::f32 : DType::f64;
  const bool in_f32 = type == DType::f32;
  job.x = {const_cast<std::byte*>(points.data), {points.strides[0], points.strides[1]}, in_f32};
  py::dict results;
  const auto result = [&](const char* name, std::vector<std::int64_t> shape, pinn::Values& to) {
    if (out.contains(name)) {
      const py::object given = out[name];
      there.take_output(given, std::string("out[") + name + "]", type, shape);
      results[name] = given;
    } else {
      results[name] = there.make(type, shape);
    }
    const Borrowed& a = there.last();
    // Second derivatives of a point count as one row.
    WQ_EXPECT(a.ndim() < 3 || a.shape[1] < 2 || a.strides[1] == a.strides[2] * a.shape[2], LayoutError,
              std::string("out[") + name + "]: has gaps between rows of a point");
    to = {const_cast<std::byte*>(a.data), {a.strides[0], a.ndim() > 1 ? a.strides.back() : 0}, in_f32};
  };
  result("value", {job.points}, job.value);
  if (order >= 1) result("gradient", {job.points, m}, job.gradient);
  if (order >= 2) result("hessian", {job.points, m, m}, job.hessian);
  if (order >= 3) result("third", {job.points, m}, job.third);
  if (job.points == 0) return results;
  if (order == 0) job.streams.directions = 0;
  const std::vector<double> along(directions.data(), directions.data() + directions.size());
  there.run(num_threads, simd, [&](const Device& where, Luggage& luggage) {
    job.directions = along.empty() ? nullptr : luggage.send(along);
    return pinn::jets_on(where, job, luggage);
  });
  return results;
}

/// As `loss`, of arrays on a device: arrays there.
py::tuple loss_there(const Model& model, const py::object& parameters, const py::object& features,
                     const py::object& coefficients, const py::object& constants, const py::object& weights,
                     bool positive, const py::object& obstacle, double smoothing, bool with_residuals, int num_threads,
                     const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("pinn");
  There there(parameters, "weights", device);
  pinn::LossLaunch job{};
  job.parameters = model.flops() / 2;
  const Borrowed first = there.last();
  const DType type = first.type;
  const bool in_f32 = type == DType::f32;
  WQ_EXPECT(first.ndim() == 1 && first.shape[0] == job.parameters && first.is_compact(), LayoutError,
            "weights: has shape " + first.shape_text() + "; accepted is a compact array of " +
                std::to_string(job.parameters));
  job.net = model.placed(first.data, in_f32, pinn::Products::full);
  const Borrowed f = there.take(features, "features");
  WQ_EXPECT(f.ndim() == 3 && f.shape[0] == model.inputs() && f.shape[1] >= 3 && f.shape[1] <= 5, ShapeError,
            "features: has shape " + f.shape_text() + "; accepted is (" + std::to_string(model.inputs()) +
                ", 3 to 5, points)");
  const std::int64_t streams = f.shape[1], points = f.shape[2];
  const auto fill = [&]<class T>(pinn::Collocation<T>& c) {
    const auto numbers = [&](const py::object& object, const char* name, std::vector<std::int64_t> shape) {
      return static_cast<const T*>(there.numbers(object, name, type, std::move(shape)));
    };
    c.directions = static_cast<int>(streams) - 2;
    c.points = points;
    c.features = numbers(features, "features", {model.inputs(), streams, points});
    c.coefficients = numbers(coefficients, "coefficients", {streams, points});
    c.constants = numbers(constants, "constants", {points});
    c.loss_weights = numbers(weights, "loss_weights", {points});
    c.positive = positive;
    c.smoothing = smoothing;
    if (!obstacle.is_none()) c.obstacle = numbers(obstacle, "obstacle", {2, points});
  };
  in_f32 ? fill(job.job_f32) : fill(job.job);
  const auto made = [&](const std::vector<std::int64_t>& shape, void*& place) {
    py::object array = there.make(type, shape);
    place = const_cast<std::byte*>(there.last().data);
    return array;
  };
  const py::object loss = made({}, job.loss), gradient = made({job.parameters}, job.gradient);
  const py::object residuals = with_residuals ? made({points}, job.residuals) : py::none();
  there.run(num_threads, simd,
            [&](const Device& where, Luggage& luggage) { return pinn::loss_on(where, job, luggage); });
  return py::make_tuple(loss, gradient, residuals);
}

/// Bits of results by their names.
int bit_of(const std::string& name) {
  static const std::map<std::string, int>& places = []() -> const std::map<std::string, int>& {
    auto* made = new std::map<std::string, int>;
    const std::string all = pinn::kResults;
    for (std::size_t at = 0, k = 0; at < all.size(); ++k) {
      const std::size_t end = std::min(all.find(' ', at), all.size());
      (*made)[all.substr(at, end - at)] = static_cast<int>(k);
      at = end + 1;
    }
    return *made;
  }();
  return places.at(name);
}

struct Asked {
  double arguments[pinn::kInputs];
  Level level;
};

bool read_one(const py::args& args, double (&to)[pinn::kInputs]) {
  if (args.size() != pinn::kInputs) return false;
  for (int k = 0; k < pinn::kInputs; ++k) {
    PyObject* const value = args[static_cast<std::size_t>(k)].ptr();
    if (PyFloat_Check(value)) {
      to[k] = PyFloat_AS_DOUBLE(value);
    } else if (PyLong_Check(value)) {
      to[k] = PyLong_AsDouble(value);
      if (to[k] == -1 && PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        return false;
      }
    } else {
      return false;
    }
  }
  return true;
}

/// One contract of plain numbers: its price, or None if an argument is anything else, or the point is not inside.
class Single {
 public:
  Single(std::shared_ptr<const Model> model, bool in_f32, const std::vector<std::string>& names,
         const std::string& simd)
      : model_(std::move(model)), in_f32_(in_f32), level_(parse_level(simd)) {
    for (const std::string& name : names) {
      names_.append(py::str(name));
      places_.push_back(bit_of(name));
      wanted_ |= 1u << bit_of(name);
    }
    wanted_ |= 1u << pinn::kStatus;
    if (names.size() == 1) only_ = places_[0];
  }

  py::object operator()(const py::args& args) const {
    double arguments[pinn::kInputs], results[pinn::kOutputs];
    if (!read_one(args, arguments)) return py::none();
    pinn::price_one(*model_, arguments, in_f32_, false, wanted_, results, level_);
    if (results[pinn::kStatus] != static_cast<double>(pinn::kInside)) return py::none();
    if (only_ >= 0) return py::float_(results[only_]);
    py::dict made;
    for (std::size_t k = 0; k < places_.size(); ++k) made[names_[k]] = py::float_(results[places_[k]]);
    return made;
  }

 private:
  std::shared_ptr<const Model> model_;
  bool in_f32_;
  Level level_;
  std::uint32_t wanted_ = 0;
  py::list names_;
  std::vector<int> places_;
  int only_ = -1;
};

}  // namespace

void register_pinn(py::module_& m) {
  using py::arg;
  const auto names = [](const auto& list) {
    py::tuple made(std::size(list));
    for (std::size_t k = 0; k < std::size(list); ++k) made[k] = list[k];
    return made;
  };
  m.attr("PINN_ACTIVATIONS") = names(pinn::kActivationNames);
  m.attr("PINN_SOURCES") = names(pinn::kSourceNames);
  m.attr("PINN_ANSATZES") = names(pinn::kAnsatzNames);
  py::class_<Model, std::shared_ptr<Model>>(m, "PinnNet", "A network as the kernels want it.")
      .def(py::init([](std::vector<int> widths, const std::string& activation, const Doubles& parameters,
                       const std::optional<SurfaceTuple>& surface, bool in_f32) {
             return std::shared_ptr<Model>(make(std::move(widths), activation, parameters, surface, in_f32));
           }),
           arg("widths"), arg("activation"), arg("parameters"), arg("surface"), arg("in_f32"))
      .def_property_readonly("number", &Model::number)
      .def("evaluate", evaluate, arg("x"), arg("in_f32"), arg("num_threads"), arg("simd"),
           "Outputs for rows of inputs.")
      .def("differentiate", differentiate, arg("x"), arg("directions"), arg("order"), arg("in_f32"), arg("num_threads"),
           arg("simd"), "Streams of derivatives along directions.")
      .def("loss", loss, arg("parameters"), arg("features"), arg("coefficients"), arg("constants"), arg("weights"),
           arg("positive"), arg("obstacle"), arg("smoothing"), arg("with_gradient"), arg("with_residuals"),
           arg("num_threads"), arg("simd"), "Loss of residuals, its gradient, the residuals.")
      .def("jacobian", jacobian, arg("parameters"), arg("features"), arg("coefficients"), arg("constants"),
           arg("positive"), arg("num_threads"), arg("simd"), "Residuals, and their gradients as rows.")
      .def("place", place, arg("parameters"), arg("products"), "Where the network is on a device.")
      .def("differentiate_there", differentiate_there, arg("parameters"), arg("x"), arg("directions"), arg("order"),
           arg("out"), arg("num_threads"), arg("simd"), arg("device"),
           "As `differentiate`, of arrays on a device, by name.")
      .def("loss_there", loss_there, arg("parameters"), arg("features"), arg("coefficients"), arg("constants"),
           arg("weights"), arg("positive"), arg("obstacle"), arg("smoothing"), arg("with_residuals"),
           arg("num_threads"), arg("simd"), arg("device"), "As `loss`, of arrays on a device.");
  py::class_<Single>(m, "PinnSingle", "Results for one contract of plain numbers, or None.")
      .def(py::init<std::shared_ptr<const Model>, bool, const std::vector<std::string>&, const std::string&>(),
           arg("model"), arg("in_f32"), arg("names"), arg("simd"))
      .def("__call__", &Single::operator());
}

}  // namespace wq
