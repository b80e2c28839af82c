// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "arrays.h"
#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/core/plain.h"
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

/// Quotes in memory of the host, or all of them on a device, where results are then, too.
py::tuple fit(const py::object& k, const py::object& w, const py::object& weight,
              const std::vector<std::int64_t>& offsets, const py::object& start, bool free_of_arbitrage,
              int num_threads, const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("surface.fit");
  const std::int64_t quotes = offsets.back(), smiles = static_cast<std::int64_t>(offsets.size()) - 1;
  const StreamRule rule(device);
  std::vector<Borrowed> arrays;
  arrays.reserve(3);
  const auto quotes_of = [&](const py::object& object, const char* name) -> const double* {
    if (object.is_none()) return nullptr;
    const Borrowed& a = arrays.emplace_back(Borrowed::input(object, name, true, rule));
    std::int64_t count = 1;
    for (const std::int64_t extent : a.shape) count *= extent;
    WQ_EXPECT(a.type == DType::f64, DTypeError, std::string(name) + ": on a device quotes must be float64");
    WQ_EXPECT(a.is_compact() || count == 0, LayoutError, std::string(name) + ": on a device quotes must be contiguous");
    WQ_EXPECT(count == quotes, ShapeError,
              std::string(name) + ": has " + std::to_string(count) + " quotes, but there are " +
                  std::to_string(quotes));
    check_same_memory(a.device ? &a : nullptr, name, arrays.front().device ? &arrays.front() : nullptr, "k");
    return numbers_of(a);
  };
  vol::FitJob job{};
  job.smiles = smiles;
  job.k = quotes_of(k, "k");
  job.w = quotes_of(w, "w");
  job.weight = quotes_of(weight, "weights");
  job.offsets = offsets.data();
  Inputs inputs;
  job.start = inputs(start, "start", 2 * smiles);
  job.free_of_arbitrage = free_of_arbitrage;
  py::object results[4];
  const std::pair<DType, std::vector<std::int64_t>> shapes[] = {{DType::f64, {vol::kSviParameters, smiles}},
                                                                {DType::f64, {vol::kFitNumbers, smiles}},
                                                                {DType::i8, {smiles}},
                                                                {DType::i8, {smiles}}};
  std::byte* places[4];
  const Borrowed* const there = arrays.front().device ? &arrays.front() : nullptr;
  Handle stream = nullptr;
  std::vector<Borrowed> made;
  made.reserve(4);
  if (there != nullptr)
    stream = rule.choose(*there->device, there->stream, there->names_stream && !py::isinstance<DeviceArray>(k));
  for (int i = 0; i < 4; ++i) {
    const auto& [type, shape] = shapes[i];
    if (there == nullptr) {
      py::array array = new_array(type, shape);
      places[i] = static_cast<std::byte*>(array.mutable_data());
      results[i] = std::move(array);
    } else {
      DeviceArray array(*there->device, stream, type, shape);
      made.push_back(array.borrow());
      places[i] = const_cast<std::byte*>(made.back().data);
      results[i] = py::cast(std::move(array));
    }
  }
  job.parameters = reinterpret_cast<double*>(places[0]);
  job.numbers = reinterpret_cast<double*>(places[1]);
  job.status = reinterpret_cast<std::int8_t*>(places[2]);
  job.certificate = reinterpret_cast<std::int8_t*>(places[3]);
  const Execution how = there == nullptr ? execution_in_stream(num_threads, simd, device)
                                         : execution(there, stream, rule, num_threads, simd, device);
  WQ_EXPECT(!how.device || !free_of_arbitrage, ParameterError,
            "no_arbitrage: slices are made free of arbitrage on the CPU alone");
  std::vector<const Borrowed*> used;
  for (const auto* list : {&arrays, &made})
    for (const Borrowed& a : *list)
      if (a.device) used.push_back(&a);
  Streams streams(how, std::move(used));
  carry_out(how, [&](const Execution& where) {
    vol::fit(job, where);
    streams.finish();
  });
  return py::make_tuple(results[0], results[1], results[2], results[3]);
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

py::tuple ssvi(const py::object& k, const py::object& w, const py::object& weight,
               const std::vector<std::int64_t>& offsets, int shape, const std::string& simd) {
  const MemorySite site("surface.ssvi");
  const std::int64_t quotes = offsets.back(), slices = static_cast<std::int64_t>(offsets.size()) - 1;
  Inputs inputs;
  py::array parameters = new_array(DType::f64, {slices, 3}), rmse = new_array(DType::f64, {slices}),
            model = new_array(DType::f64, {3}), numbers = new_array(DType::f64, {2});
  const vol::SsviJob job{{slices, inputs(k, "k", quotes), inputs(w, "w", quotes), inputs(weight, "weights", quotes),
                          offsets.data(), nullptr, place(parameters), place(rmse), nullptr},
                         static_cast<vol::SsviShape>(shape),
                         place(model),
                         place(numbers)};
  carry_out(execution(1, simd), [&](const Execution& how) { vol::ssvi(job, how); });
  return py::make_tuple(parameters, rmse, model, numbers);
}

py::tuple heston(const py::object& k, const py::object& target, const py::object& scale,
                 const std::vector<std::int64_t>& offsets, const py::object& years, const py::object& start,
                 std::int64_t starts, const std::string& simd) {
  const MemorySite site("surface.heston");
  const std::int64_t quotes = offsets.back(), expiries = static_cast<std::int64_t>(offsets.size()) - 1;
  Inputs inputs;
  py::array parameters = new_array(DType::f64, {5}), numbers = new_array(DType::f64, {3});
  const vol::HestonFitJob job{expiries,
                              inputs(years, "expiry", expiries),
                              offsets.data(),
                              inputs(k, "k", quotes),
                              inputs(target, "target", quotes),
                              inputs(scale, "scale", quotes),
                              starts,
                              inputs(start, "start", 5 * starts),
                              place(parameters),
                              place(numbers)};
  carry_out(execution(1, simd), [&](const Execution& how) { vol::heston(job, how); });
  return py::make_tuple(parameters, numbers);
}

/// Slices of a surface and the quotes that are remembered of each. Room is made when it is made, and for a call with
/// more quotes than any before.
class SurfaceStream {
 public:
  using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;
  using Rows = py::typing::Tuple<py::object, py::object, py::object, py::object>;

  SurfaceStream(bool essvi, const Numbers& parameters, const Numbers& years, std::int64_t capacity, double outlier,
                std::int64_t patience, const std::string& simd)
      : essvi_(essvi), width_(essvi ? 3 : vol::kSviParameters), capacity_(capacity), patience_(patience),
        outlier_(outlier), how_(execution(1, simd)),
        parameters_(parameters.data(), parameters.data() + parameters.size()),
        years_(years.data(), years.data() + years.size()),
        quotes_(3 * years_.size() * static_cast<std::size_t>(capacity)), counts_(years_.size()), runs_(years_.size()) {
    WQ_EXPECT(parameters_.size() == years_.size() * width_, ShapeError, "parameters: do not go with years");
  }

  /// Taken, steps, rmse, least g. `quotes`: strike, vol, weights and spread, of which the last two may be None. Of
  /// arrays as they are here nothing is allocated: in one tuple there are as many arguments as pybind11 has room for.
  std::tuple<int, int, double, double> update(std::int64_t slice, const Rows& quotes_of, double log_forward,
                                              double decay) {
    constexpr std::array<const char*, 4> kNames{"strike", "vol", "weights", "spread"};
    WQ_EXPECT(quotes_of.size() == kNames.size(), ShapeError, "quotes: must be strike, vol, weights and spread");
    std::array<py::object, 4> kept;
    std::array<const double*, 4> values{};
    std::int64_t news = 0;
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      PyObject* const object = PyTuple_GET_ITEM(quotes_of.ptr(), static_cast<py::ssize_t>(i));
      if (object == Py_None && i > 1) continue;
      const Numbers row = numbers(object, kNames[i]);
      if (i == 0) news = row.size();
      WQ_EXPECT(row.size() == news, ShapeError,
                std::string(kNames[i]) + ": has " + std::to_string(row.size()) + " quotes, but strike has " +
                    std::to_string(news));
      values[i] = row.data();
      kept[i] = row;
    }
    WQ_EXPECT(slice >= 0 && slice < std::ssize(years_), ParameterError, "slice: is none of the surface's");
    WQ_EXPECT(years_[static_cast<std::size_t>(slice)] > 0, ParameterError, "expiry: has passed");
    const std::lock_guard lock(mutex_);
    if (std::ssize(status_) < news) status_.resize(static_cast<std::size_t>(news));
    news_ = news;
    const auto at = static_cast<std::size_t>(slice);
    double* const quotes = quotes_.data() + 3 * at * static_cast<std::size_t>(capacity_);
    double numbers[4];
    vol::update({essvi_,
                 std::ssize(years_),
                 slice,
                 parameters_.data(),
                 quotes,
                 quotes + capacity_,
                 quotes + 2 * capacity_,
                 &counts_[at],
                 capacity_,
                 log_forward,
                 years_[at],
                 decay,
                 outlier_,
                 patience_,
                 &runs_[at],
                 news,
                 values[0],
                 values[1],
                 values[2],
                 values[3],
                 status_.data(),
                 numbers},
                how_);
    return {static_cast<int>(numbers[0]), static_cast<int>(numbers[1]), numbers[2], numbers[3]};
  }

  /// Times to expiry fall by years that pass, and total variances with them.
  void advance(double passed) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < years_.size(); ++i) {
      const double left = years_[i] - passed, share = left / years_[i];
      years_[i] = left;
      if (!(left > 0)) continue;
      for (int p = 0; p < (essvi_ ? 3 : 2); ++p) parameters_[i * width_ + p] *= share;  // all, or a and b
    }
  }

  /// Remembers quotes without moving the slice.
  void remember(std::int64_t slice, const Numbers& strike, const Numbers& volatility, const Numbers& weight) {
    WQ_EXPECT(slice >= 0 && slice < std::ssize(years_), ParameterError, "slice: is none of the surface's");
    WQ_EXPECT(strike.size() == volatility.size() && strike.size() == weight.size(), ShapeError,
              "strike, vol, weights: have different sizes");
    const auto at = static_cast<std::size_t>(slice);
    double* const quotes = quotes_.data() + 3 * at * static_cast<std::size_t>(capacity_);
    std::int64_t& count = counts_[at];
    for (py::ssize_t i = 0; i < strike.size() && count < capacity_; ++i, ++count) {
      quotes[count] = plain_log(strike.data()[i]);
      quotes[capacity_ + count] = volatility.data()[i];
      quotes[2 * capacity_ + count] = weight.data()[i];
    }
  }

  /// ln strike, volatility, weight of what is remembered.
  py::array remembered(std::int64_t slice) const {
    const auto at = static_cast<std::size_t>(slice);
    const std::int64_t count = counts_.at(at);
    py::array made = new_array(DType::f64, {3, count});
    const double* const quotes = quotes_.data() + 3 * at * static_cast<std::size_t>(capacity_);
    for (int row = 0; row < 3; ++row)
      std::copy_n(quotes + row * capacity_, count, static_cast<double*>(made.mutable_data()) + row * count);
    return made;
  }

  py::array parameters() const { return copy_of(parameters_, {std::ssize(years_), width_}); }
  py::array years() const { return copy_of(years_, {std::ssize(years_)}); }
  py::array status() const { return copy_of(status_, {news_}); }

 private:
  static py::array copy_of(const std::vector<double>& values, const std::vector<std::int64_t>& shape) {
    py::array made = new_array(DType::f64, shape);
    std::copy_n(values.data(), made.size(), static_cast<double*>(made.mutable_data()));
    return made;
  }

  /// The array itself where it has our numbers in a row, else a copy.
  static Numbers numbers(py::handle object, const char* name) {
    if (py::isinstance<py::array>(object)) {
      const auto array = py::reinterpret_borrow<py::array>(object);
      const py::dtype type = array.dtype();
      constexpr int kPlain = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
      if (type.num() == py::detail::npy_api::NPY_DOUBLE_ && type.byteorder() == '=' &&
          (array.flags() & kPlain) == kPlain)
        return py::reinterpret_borrow<Numbers>(object);
    }
    const py::array found = py::array::ensure(object);
    const bool has_numbers = found && std::strchr("biuf", found.dtype().kind()) != nullptr;
    WQ_EXPECT(has_numbers, DTypeError,
              std::string(name) + ": cannot read numbers from " +
                  std::string(py::str(py::type::of(object).attr("__name__"))) +
                  (found ? " of dtype " + std::string(py::str(found.dtype())) : std::string()));
    return Numbers(found);
  }

  bool essvi_;
  std::int64_t width_, capacity_, patience_, news_ = 0;
  double outlier_;
  Execution how_;
  std::vector<double> parameters_, years_, quotes_, status_;
  std::vector<std::int64_t> counts_, runs_;
  mutable std::mutex mutex_;
};

}  // namespace

void register_surface(py::module_& m) {
  using py::arg;
  py::class_<SurfaceStream>(m, "SurfaceStream", "Slices of a surface that quotes move as they come.")
      .def(py::init<bool, const SurfaceStream::Numbers&, const SurfaceStream::Numbers&, std::int64_t, double,
                    std::int64_t, const std::string&>(),
           arg("essvi"), arg("parameters"), arg("years"), arg("capacity"), arg("outlier"), arg("patience"), arg("simd"))
      .def("update", &SurfaceStream::update, arg("slice"), arg("quotes"), arg("log_forward"), arg("decay"),
           "Takes quotes of a slice: how many, steps, rmse, least g.")
      .def("advance", &SurfaceStream::advance, arg("passed"), "Lets years pass.")
      .def("remember", &SurfaceStream::remember, arg("slice"), arg("strike"), arg("vol"), arg("weights"),
           "Quotes of before.")
      .def("remembered", &SurfaceStream::remembered, arg("slice"), "ln strike, volatility and weight of quotes.")
      .def_property_readonly("parameters", &SurfaceStream::parameters, "Of each slice.")
      .def_property_readonly("years", &SurfaceStream::years, "Times to expiry.")
      .def_property_readonly("status", &SurfaceStream::status, "Of each quote of the last update.");
  m.def("svi_fit", fit, arg("k"), arg("w"), arg("weights"), arg("offsets"), arg("start"), arg("free_of_arbitrage"),
        arg("num_threads"), arg("simd"), arg("device"), "SVI slices nearest to the quotes of many smiles.");
  m.def("svi_certify", certify, arg("parameters"), arg("slices"), arg("num_threads"), arg("simd"),
        "The least g of SVI slices, proven.");
  m.def("svi_cross", cross, arg("early"), arg("late"), arg("slices"), arg("num_threads"), arg("simd"),
        "Where pairs of SVI slices cross.");
  m.def("sabr_fit", sabr, arg("strike"), arg("vol"), arg("weights"), arg("offsets"), arg("forward"), arg("expiry"),
        arg("beta"), arg("start"), arg("variant"), arg("num_threads"), arg("simd"),
        "SABR slices nearest to the volatilities of many smiles.");
  m.def("essvi_fit", essvi, arg("k"), arg("w"), arg("weights"), arg("offsets"), arg("start"), arg("simd"),
        "An eSSVI surface nearest to quotes, free of arbitrage.");
  m.def("ssvi_fit", ssvi, arg("k"), arg("w"), arg("weights"), arg("offsets"), arg("shape"), arg("simd"),
        "An SSVI surface nearest to quotes, free of arbitrage.");
  m.def("heston_fit", heston, arg("k"), arg("target"), arg("scale"), arg("offsets"), arg("years"), arg("start"),
        arg("starts"), arg("simd"), "Heston's model nearest to quotes of many expiries.");
}

}  // namespace wq
