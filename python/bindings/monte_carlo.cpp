// SPDX-License-Identifier: Apache-2.0
#include "warpquant/options/monte_carlo.h"

#include <pybind11/stl.h>

#include "arrays.h"
#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/core/philox.h"
#include "warpquant/core/sobol.h"

namespace wq {
namespace {

using Doubles = py::array_t<double, py::array::c_style>;

template <class E, std::size_t N>
E named(const std::string& name, const char* const (&names)[N]) {
  for (std::size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<E>(i);
  throw InternalError("'" + name + "' is unknown");
}

constexpr const char* kSamplings[] = {"philox", "sobol"};
constexpr const char* kScrambles[] = {"none", "shift", "owen"};
constexpr const char* kPayoffs[] = {"vanilla", "cash", "asset"};
constexpr const char* kBarriers[] = {"none", "down-out", "up-out", "down-in", "up-in"};
constexpr const char* kChoices[] = {"basket", "best_of", "worst_of"};
constexpr const char* kBasketControls[] = {"none", "linear", "geometric"};

/// Sampling, scramble, seed, offset, paths, replicates, bridge, threads, instruction level, device.
using PlanTuple = std::tuple<std::string, std::string, std::uint64_t, std::uint64_t, std::int64_t, int, bool, int,
                             std::string, DeviceChoice>;

struct Call {
  paths::Plan plan;
  Execution how;
  explicit Call(const PlanTuple& t) : how(execution_in_stream(std::get<7>(t), std::get<8>(t), std::get<9>(t))) {
    plan.sampling = named<paths::Sampling>(std::get<0>(t), kSamplings);
    plan.scramble = named<Scramble>(std::get<1>(t), kScrambles);
    plan.seed = std::get<2>(t);
    plan.offset = std::get<3>(t);
    plan.paths = std::get<4>(t);
    plan.replicates = std::get<5>(t);
    plan.bridge = std::get<6>(t);
  }
};

Doubles made(const std::vector<std::int64_t>& shape) { return new_array(DType::f64, shape); }

/// A pair of arrays for values and errors.
struct Pair {
  Doubles values, errors;
  explicit Pair(const std::vector<std::int64_t>& shape) : values(made(shape)), errors(made(shape)) {}
  paths::Estimates estimates() { return {values.mutable_data(), errors.mutable_data()}; }
  py::tuple tuple() const { return py::make_tuple(values, errors); }
};

/// `columns`: (7 or 9, rows): spot, strike, expiry, rate, dividend, vol, sign, and of a barrier its level and rebate.
paths::Options options_of(const Doubles& columns) {
  WQ_EXPECT(columns.ndim() == 2 && (columns.shape(0) == 7 || columns.shape(0) == 9), InternalError,
            "options: a wrong number of columns");
  paths::Options o;
  o.count = columns.shape(1);
  for (int k = 0; k < 7; ++k) o.columns[k] = columns.data() + k * o.count;
  if (columns.shape(0) == 9) {
    o.barrier = columns.data() + 7 * o.count;
    o.rebate = columns.data() + 8 * o.count;
  }
  return o;
}

/// An array of paths, where the call runs: fill(out, where).
template <class Fill>
py::object array_of(const Call& call, std::int64_t dims, Fill fill) {
  const auto run = [&](double* to) { carry_out(call.how, [&](const Execution& where) { fill(to, where); }); };
  if (!call.how.device) {
    Doubles out = made({call.plan.paths, dims});
    run(out.mutable_data());
    return out;
  }
  DeviceArray out(*call.how.device, call.how.stream, DType::f64, {call.plan.paths, dims});
  run(reinterpret_cast<double*>(const_cast<std::byte*>(out.borrow().data)));
  return py::cast(std::move(out));
}

py::object numbers(const PlanTuple& plan, bool normal, int dims) {
  const MemorySite site("options");
  const Call call(plan);
  const auto kind = normal ? paths::Numbers::normal : paths::Numbers::uniform;
  return array_of(call, dims,
                  [&](double* to, const Execution& where) { paths::numbers(call.plan, kind, dims, to, where); });
}

py::object brownian(const PlanTuple& plan, const std::vector<double>& times) {
  const MemorySite site("options");
  const Call call(plan);
  return array_of(call, std::ssize(times),
                  [&](double* to, const Execution& where) { paths::brownian(call.plan, times, to, where); });
}

py::object inverse_normal(const Doubles& p, int num_threads, const std::string& simd) {
  const MemorySite site("options");
  const Execution how = execution(num_threads, simd);
  Doubles out = made(std::vector<std::int64_t>(p.shape(), p.shape() + p.ndim()));
  double* const to = out.mutable_data();
  const double* const from = p.data();
  const std::int64_t count = p.size();
  carry_out(how, [&](const Execution& where) { paths::inverse_normal(from, count, to, where); });
  return out;
}

std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>
philox_words(const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key) {
  const PhiloxBlock<std::uint64_t> block =
      philox(PhiloxBlock<std::uint64_t>{{counter[0], counter[1], counter[2], counter[3]}}, PhiloxKeys(key[0], key[1]));
  return {block.words[0], block.words[1], block.words[2], block.words[3]};
}

py::object asian(const PlanTuple& plan, std::vector<double> times, std::vector<double> weights, double start_weight,
                 const Doubles& columns, bool control, bool greeks) {
  const MemorySite site("options");
  const Call call(plan);
  const paths::Options options = options_of(columns);
  Pair out({greeks ? paths::kGreeks : 1, options.count});
  const paths::Estimates to = out.estimates();
  const paths::Averaging averaging{std::move(times), std::move(weights), start_weight};
  carry_out(call.how,
            [&](const Execution& where) { paths::asian(call.plan, averaging, options, control, greeks, to, where); });
  return out.tuple();
}

py::object barrier(const PlanTuple& plan, const std::vector<double>& times, const std::string& payoff,
                   const std::string& kind, const Doubles& columns, bool control) {
  const MemorySite site("options");
  const Call call(plan);
  const paths::Options options = options_of(columns);
  Pair out({paths::kGreeks, options.count});
  const paths::Estimates to = out.estimates();
  const auto pays = named<paths::Payoff>(payoff, kPayoffs);
  const auto how = named<paths::Barrier>(kind, kBarriers);
  carry_out(call.how,
            [&](const Execution& where) { paths::barrier(call.plan, times, pays, how, options, control, to, where); });
  return out.tuple();
}

/// `assets`: (4, rows, assets): spot, weight, dividend, vol; `terms`: (4, rows): strike, expiry, rate, sign.
py::object basket(const PlanTuple& plan, const Doubles& assets, const Doubles& correlation, const Doubles& terms,
                  const std::string& choice, const std::string& control, const std::vector<std::string>& outputs) {
  const MemorySite site("options");
  const Call call(plan);
  paths::Baskets b;
  b.count = assets.shape(1);
  b.assets = static_cast<int>(assets.shape(2));
  const std::int64_t n = b.assets, block = b.count * n;
  WQ_EXPECT(assets.shape(0) == 4 && correlation.size() == block * n && terms.size() == 4 * b.count, InternalError,
            "basket: arrays of a wrong size");
  b.spot = assets.data();
  b.weight = b.spot + block;
  b.dividend = b.weight + block;
  b.vol = b.dividend + block;
  b.correlation = correlation.data();
  b.strike = terms.data();
  b.expiry = b.strike + b.count;
  b.rate = b.expiry + b.count;
  b.sign = b.rate + b.count;
  std::vector<Pair> pairs;
  paths::BasketEstimates out{};
  for (const std::string& name : outputs) {
    const bool by_asset = name == "delta" || name == "vega" || name == "epsilon";
    const bool by_pair = name == "gamma" || name == "correlation";
    pairs.emplace_back(by_pair    ? std::vector<std::int64_t>{b.count, n, n}
                       : by_asset ? std::vector<std::int64_t>{b.count, n}
                                  : std::vector<std::int64_t>{b.count});
    const paths::Estimates to = pairs.back().estimates();
    if (name == "price") out.price = to;
    if (name == "rho") out.rho = to;
    if (name == "theta") out.theta = to;
    if (name == "dual_delta") out.dual_delta = to;
    if (name == "delta") out.delta = to;
    if (name == "vega") out.vega = to;
    if (name == "epsilon") out.epsilon = to;
    if (name == "gamma") out.gamma = to;
    if (name == "correlation") out.correlation = to;
  }
  const auto which = named<paths::Choice>(choice, kChoices);
  const auto with = named<paths::BasketControl>(control, kBasketControls);
  carry_out(call.how, [&](const Execution& where) { paths::basket(call.plan, b, which, with, out, where); });
  py::list results;
  for (const Pair& pair : pairs) results.append(pair.tuple());
  return results;
}

py::object local_vol(const PlanTuple& plan, const std::vector<double>& terms, std::vector<double> steps,
                     std::vector<double> weights, std::vector<double> times, std::vector<double> spots,
                     const Doubles& vols, bool greeks) {
  const MemorySite site("options");
  const Call call(plan);
  WQ_EXPECT(terms.size() == 6 && vols.size() == std::ssize(times) * std::ssize(spots), InternalError,
            "local_vol: arrays of a wrong size");
  paths::LocalVol o{terms[0],         terms[1],           terms[2],         terms[3],         terms[4],   terms[5],
                    std::move(steps), std::move(weights), std::move(times), std::move(spots), vols.data()};
  Pair out({greeks ? 5 + vols.size() : 1});
  const paths::Estimates to = out.estimates();
  carry_out(call.how,
            [&](const Execution& where) { paths::local_vol(call.plan, o, greeks, to.values, to.errors, where); });
  return out.tuple();
}

}  // namespace

void register_monte_carlo(py::module_& m) {
  using py::arg;
  m.attr("SOBOL_DIMS") = kSobolDims;
  m.def("mc_philox", philox_words, arg("counter"), arg("key"), "The four words of a counter (Philox4x32-10).");
  m.def("mc_numbers", numbers, arg("plan"), arg("normal"), arg("dims"), "Numbers of paths, (paths, dims).");
  m.def("mc_brownian", brownian, arg("plan"), arg("times"), "Brownian motion of paths, (paths, times).");
  m.def("mc_inverse_normal", inverse_normal, arg("p"), arg("num_threads"), arg("simd"), "Quantiles of the normal law.");
  m.def("mc_asian", asian, arg("plan"), arg("times"), arg("weights"), arg("start_weight"), arg("columns"),
        arg("control"), arg("greeks"), "Options on an average: values and errors, (results, rows).");
  m.def("mc_barrier", barrier, arg("plan"), arg("times"), arg("payoff"), arg("kind"), arg("columns"), arg("control"),
        "Options with a barrier: values and errors, (results, rows).");
  m.def("mc_basket", basket, arg("plan"), arg("assets"), arg("correlation"), arg("terms"), arg("choice"),
        arg("control"), arg("outputs"), "Options on several assets: values and errors of each output.");
  m.def("mc_local_vol", local_vol, arg("plan"), arg("terms"), arg("steps"), arg("weights"), arg("times"), arg("spots"),
        arg("vols"), arg("greeks"), "An option in a local volatility model: values and errors.");
}

}  // namespace wq
