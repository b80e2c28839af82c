// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/surface/fit_calls.h"

namespace wq {
namespace {

namespace vol = surface;

double* place(py::array& array) { return static_cast<double*>(array.mutable_data()); }

/// Compact arrays of the caller's, alive as long as this.
class Inputs {
 public:
  Inputs() { kept_.reserve(8); }  // so that none moves
  const double* operator()(py::handle object, const char* name, std::int64_t count) {
    return object.is_none() ? nullptr : numbers_of(kept_.emplace_back(compact_numbers(object, name, count)));
  }

 private:
  std::vector<Borrowed> kept_;
};

py::tuple fit(const py::object& k, const py::object& w, const py::object& weight,
              const std::vector<std::int64_t>& offsets, const py::object& start, bool free_of_arbitrage,
              int num_threads, const std::string& simd) {
  const MemorySite site("surface.fit");
  const std::int64_t quotes = offsets.back(), smiles = static_cast<std::int64_t>(offsets.size()) - 1;
  Inputs inputs;
  py::array parameters = new_array(DType::f64, {smiles, vol::kSviParameters}),
            numbers = new_array(DType::f64, {smiles, vol::kFitNumbers}), status = new_array(DType::f64, {smiles}),
            certificate = new_array(DType::f64, {smiles});
  const vol::FitJob job{inputs(k, "k", quotes),
                        inputs(w, "w", quotes),
                        inputs(weight, "weights", quotes),
                        offsets.data(),
                        inputs(start, "start", 2 * smiles),
                        free_of_arbitrage,
                        place(parameters),
                        place(numbers),
                        place(status),
                        place(certificate)};
  carry_out(execution(num_threads, simd), [&](const Execution& how) { vol::fit(job, smiles, how); });
  return py::make_tuple(parameters, numbers, status, certificate);
}

py::tuple certify(const py::object& parameters, std::int64_t slices, int num_threads, const std::string& simd) {
  const MemorySite site("surface.certify");
  Inputs inputs;
  py::array least = new_array(DType::f64, {slices}), at = new_array(DType::f64, {slices}),
            bound = new_array(DType::f64, {slices}), status = new_array(DType::f64, {slices});
  const vol::CertifyJob job{inputs(parameters, "parameters", vol::kSviParameters * slices), place(least), place(at),
                            place(bound), place(status)};
  carry_out(execution(num_threads, simd), [&](const Execution& how) { vol::certify(job, slices, how); });
  return py::make_tuple(least, at, bound, status);
}

py::tuple cross(const py::object& early, const py::object& late, std::int64_t slices, int num_threads,
                const std::string& simd) {
  const MemorySite site("surface.cross");
  Inputs inputs;
  py::array count = new_array(DType::f64, {slices}), places = new_array(DType::f64, {slices, 4}),
            slack = new_array(DType::f64, {slices}), at = new_array(DType::f64, {slices});
  const vol::CrossJob job{inputs(early, "early", vol::kSviParameters * slices),
                          inputs(late, "late", vol::kSviParameters * slices),
                          place(count),
                          place(places),
                          place(slack),
                          place(at)};
  carry_out(execution(num_threads, simd), [&](const Execution& how) { vol::cross(job, slices, how); });
  return py::make_tuple(count, places, slack, at);
}

py::tuple sabr(const py::object& strike, const py::object& volatility, const py::object& weight,
               const std::vector<std::int64_t>& offsets, const py::object& forward, const py::object& expiry,
               const py::object& beta, const py::object& start, int variant, int num_threads, const std::string& simd) {
  const MemorySite site("surface.sabr");
  const std::int64_t quotes = offsets.back(), smiles = static_cast<std::int64_t>(offsets.size()) - 1;
  Inputs inputs;
  py::array parameters = new_array(DType::f64, {smiles, 3}), rmse = new_array(DType::f64, {smiles}),
            status = new_array(DType::f64, {smiles}), rounds = new_array(DType::f64, {smiles});
  const vol::SabrJob job{inputs(strike, "strike", quotes),
                         inputs(volatility, "vol", quotes),
                         inputs(weight, "weights", quotes),
                         offsets.data(),
                         inputs(forward, "forward", smiles),
                         inputs(expiry, "expiry", smiles),
                         inputs(beta, "beta", smiles),
                         inputs(start, "start", 3 * smiles),
                         variant,
                         place(parameters),
                         place(rmse),
                         place(status),
                         place(rounds)};
  carry_out(execution(num_threads, simd), [&](const Execution& how) { vol::sabr(job, smiles, how); });
  return py::make_tuple(parameters, rmse, status, rounds);
}

py::tuple essvi(const py::object& k, const py::object& w, const py::object& weight,
                const std::vector<std::int64_t>& offsets, const py::object& start, const std::string& simd) {
  const MemorySite site("surface.essvi");
  const std::int64_t quotes = offsets.back(), slices = static_cast<std::int64_t>(offsets.size()) - 1;
  Inputs inputs;
  py::array parameters = new_array(DType::f64, {slices, 3}), rmse = new_array(DType::f64, {slices}),
            numbers = new_array(DType::f64, {1});
  const vol::EssviJob job{slices,
                          inputs(k, "k", quotes),
                          inputs(w, "w", quotes),
                          inputs(weight, "weights", quotes),
                          offsets.data(),
                          inputs(start, "start", 3 * slices),
                          place(parameters),
                          place(rmse),
                          place(numbers)};
  carry_out(execution(1, simd), [&](const Execution& how) { vol::essvi(job, how); });
  return py::make_tuple(parameters, rmse, numbers);
}

}  // namespace

void register_surface(py::module_& m) {
  using py::arg;
  m.def("svi_fit", fit, arg("k"), arg("w"), arg("weights"), arg("offsets"), arg("start"), arg("free_of_arbitrage"),
        arg("num_threads"), arg("simd"), "SVI slices nearest to the quotes of many smiles.");
  m.def("svi_certify", certify, arg("parameters"), arg("slices"), arg("num_threads"), arg("simd"),
        "The least g of SVI slices, proven.");
  m.def("svi_cross", cross, arg("early"), arg("late"), arg("slices"), arg("num_threads"), arg("simd"),
        "Where pairs of SVI slices cross.");
  m.def("sabr_fit", sabr, arg("strike"), arg("vol"), arg("weights"), arg("offsets"), arg("forward"), arg("expiry"),
        arg("beta"), arg("start"), arg("variant"), arg("num_threads"), arg("simd"),
        "SABR slices nearest to the volatilities of many smiles.");
  m.def("essvi_fit", essvi, arg("k"), arg("w"), arg("weights"), arg("offsets"), arg("start"), arg("simd"),
        "An eSSVI surface nearest to quotes, free of arbitrage.");
}

}  // namespace wq
