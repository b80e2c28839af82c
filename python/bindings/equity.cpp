// SPDX-License-Identifier: Apache-2.0
#include "warpquant/equity/equity.h"

#include <pybind11/stl.h>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

const char* name_of(bool from_prices) { return from_prices ? "prices" : "returns"; }

py::object curve(const Panel& x, const Panel& signal, bool from_prices, double starting, double decay_per_bar,
                 double growth_per_bar, double floor, std::int64_t cutout, bool sticky, bool exact,
                 const py::object& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
  check_alike(signal, "signal", x, name_of(from_prices));
  const MemorySite site("equity.curve");
  equity::Request request;
  request.params = {starting, decay_per_bar, cutout, floor, sticky, from_prices};
  request.growth_per_bar = growth_per_bar;
  request.exact = exact;
  request.in_type = request.out_type = x.type();
  request.signal_type = signal.type();
  const Execution how = execution(x, num_threads, simd, device);
  const Result result = out.is_none() ? Result(x, x.type()) : Result(x, x.type(), -1, out, "out");
  check_out_apart(result, signal, "signal");
  if (x.longest() == 0) return result.object();
  std::vector<const Borrowed*> others = result.borrowed();
  for (const Panel* panel : {&x, &signal})
    if (panel->on_device()) others.push_back(panel->on_device());
  Streams streams(how, std::move(others));
  std::vector<equity::Item> items;
  for (std::int64_t i = 0; i < x.size(); ++i) items.push_back({x.series(i), signal.series(i), result.sink(i)});
  carry_out(how, [&](const Execution& where) {
    equity::curve(request, items, where);
    streams.finish();
  });
  return result.object();
}

}  // namespace

void register_equity(py::module_& m) {
  using py::arg;
  m.def(
      "equity_array",
      [](const py::object& x, const py::object& signal, int axis, bool from_prices, double starting,
         double decay_per_bar, double growth_per_bar, double floor, std::int64_t cutout, bool sticky, bool exact,
         const py::object& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
        return curve(Panel::of_array(x, name_of(from_prices), axis, false, device),
                     Panel::of_array(signal, "signal", axis, true, device), from_prices, starting, decay_per_bar,
                     growth_per_bar, floor, cutout, sticky, exact, out, num_threads, simd, device);
      },
      arg("x"), arg("signal"), arg("axis"), arg("from_prices"), arg("starting"), arg("decay_per_bar"),
      arg("growth_per_bar"), arg("floor"), arg("cutout"), arg("sticky"), arg("exact"), arg("out"), arg("num_threads"),
      arg("simd"), arg("device"), "Equity curves of arrays.");
  m.def(
      "equity_columns",
      [](const py::list& x, const py::list& signal, const std::vector<std::string>& labels, bool from_prices,
         double starting, double decay_per_bar, double growth_per_bar, double floor, std::int64_t cutout, bool sticky,
         bool exact, const py::object& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
        return curve(Panel::of_columns(x, name_of(from_prices), labels), Panel::of_columns(signal, "signal", labels),
                     from_prices, starting, decay_per_bar, growth_per_bar, floor, cutout, sticky, exact, out,
                     num_threads, simd, device);
      },
      arg("x"), arg("signal"), arg("labels"), arg("from_prices"), arg("starting"), arg("decay_per_bar"),
      arg("growth_per_bar"), arg("floor"), arg("cutout"), arg("sticky"), arg("exact"), arg("out"), arg("num_threads"),
      arg("simd"), arg("device"), "Equity curves of lists of one-dimensional arrays.");
}

}  // namespace wq
