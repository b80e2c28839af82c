// SPDX-License-Identifier: Apache-2.0
#include "warpquant/pinn/pinn.h"

#include <pybind11/stl.h>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"

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

pinn::Collocation collocation(const Model& model, const Doubles& features, const Doubles& coefficients,
                              const Doubles& constants, const Doubles& weights, bool positive,
                              const std::optional<Doubles>& obstacle, double smoothing) {
  WQ_EXPECT(features.ndim() == 3 && coefficients.ndim() == 2 && constants.ndim() == 1 && weights.ndim() == 1,
            InternalError, "collocation: wrong numbers of dimensions");
  pinn::Collocation job{};
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
  const pinn::Collocation job =
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
  const pinn::Collocation job =
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

/// Bits of results by their names.
int bit_of(const std::string& name) {
  static const std::map<std::string, int>& places = [] -> const std::map<std::string, int>& {
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
    if (results[pinn::kStatus] != pinn::kInside) return py::none();
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
           arg("positive"), arg("num_threads"), arg("simd"), "Residuals, and their gradients as rows.");
  py::class_<Single>(m, "PinnSingle", "Results for one contract of plain numbers, or None.")
      .def(py::init<std::shared_ptr<const Model>, bool, const std::vector<std::string>&, const std::string&>(),
           arg("model"), arg("in_f32"), arg("names"), arg("simd"))
      .def("__call__", &Single::operator());
}

}  // namespace wq
