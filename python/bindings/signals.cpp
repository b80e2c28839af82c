// SPDX-License-Identifier: Apache-2.0
#include "warpquant/signals/signals.h"

#include <pybind11/stl.h>

#include <map>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

using signals::Op;
constexpr const char* kOps[] = {"crosses", "family", "average", "trend", "direction"};
constexpr const char* kRoundings[] = {"away", "even", "none"};

template <class E, std::size_t N>
E named(const char* what, const std::string& name, const char* const (&names)[N]) {
  for (std::size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<E>(i);
  throw InternalError(std::string(what) + ": '" + name + "' is unknown");
}

py::object run(const std::string& op, const std::vector<Panel>& panels, const std::vector<std::string>& names,
               const std::map<std::string, double>& numbers, const std::string& rounding, const py::object& out,
               int num_threads, const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("signals");
  signals::Request request;
  signals::Params& p = request.params;
  p.op = named<Op>("op", op, kOps);
  p.inputs = static_cast<int>(panels.size());
  p.rounding = named<atc::Switches::Rounding>("rounding", rounding, kRoundings);
  const auto number = [&](const char* name) { return numbers.contains(name) ? numbers.at(name) : 0.0; };
  p.rtol = number("rtol");
  p.upper = number("upper");
  p.lower = number("lower");
  p.fill = number("fill");

  // The last input is a floating one, which the result is like.
  const Panel& like = panels.back();
  const std::size_t half = (panels.size() + 1) / 2;
  request.in_type[0] = panels.front().type();
  request.in_type[1] = like.type();
  for (std::size_t k = 0; k < panels.size(); ++k) {
    check_alike(panels[k], names[k], like, names.back());
    const std::size_t first = k < half ? 0 : half;
    if (panels[k].type() != panels[first].type())
      throw DTypeError(names[k] + ": has values of another type than " + names[first]);
  }
  request.out_type = p.op == Op::family || p.op == Op::average ? like.type() : DType::i8;
  // The first argument of crosses is the last input.
  const Execution how = execution(p.op == Op::crosses ? like : panels.front(), num_threads, simd, device);
  const Result result = out.is_none() ? Result(like, request.out_type) : Result(like, request.out_type, -1, out, "out");
  for (std::size_t k = 0; k < panels.size(); ++k) check_out_apart(result, panels[k], names[k]);
  if (like.longest() == 0) return result.object();

  std::vector<const Borrowed*> others = result.borrowed();
  for (const Panel& panel : panels) {
    if (panel.on_device()) others.push_back(panel.on_device());
    for (std::int64_t i = 0; i < panel.size(); ++i) request.in.push_back(panel.series(i));
  }
  for (std::int64_t i = 0; i < like.size(); ++i) {
    request.out.push_back(result.sink(i));
    request.out.back().bars = like.bars(i);
  }
  Streams streams(how, std::move(others));
  carry_out(how, [&](const Execution& where) {
    signals::run(request, where);
    streams.finish();
  });
  return result.object();
}

}  // namespace

void register_signals(py::module_& m) {
  using py::arg;
  m.def(
      "signals_array",
      [](const std::string& op, const py::list& inputs, const std::vector<std::string>& names, int axis,
         const std::map<std::string, double>& numbers, const std::string& rounding, const py::object& out,
         int num_threads, const std::string& simd, const DeviceChoice& device) {
        std::vector<Panel> panels;
        for (std::size_t k = 0; k < names.size(); ++k)
          panels.push_back(
              Panel::of_array(inputs[k], names[k], axis, k < names.size() / 2 || names.size() == 1, device));
        return run(op, panels, names, numbers, rounding, out, num_threads, simd, device);
      },
      arg("op"), arg("inputs"), arg("names"), arg("axis"), arg("numbers"), arg("rounding"), arg("out"),
      arg("num_threads"), arg("simd"), arg("device"), "A stage of ATC, of arrays.");
  m.def(
      "signals_columns",
      [](const std::string& op, const py::list& inputs, const std::vector<std::string>& names,
         const std::vector<std::string>& labels, const std::map<std::string, double>& numbers,
         const std::string& rounding, const py::object& out, int num_threads, const std::string& simd,
         const DeviceChoice& device) {
        std::vector<Panel> panels;
        for (std::size_t k = 0; k < names.size(); ++k) panels.push_back(Panel::of_columns(inputs[k], names[k], labels));
        return run(op, panels, names, numbers, rounding, out, num_threads, simd, device);
      },
      arg("op"), arg("inputs"), arg("names"), arg("labels"), arg("numbers"), arg("rounding"), arg("out"),
      arg("num_threads"), arg("simd"), arg("device"), "A stage of ATC, of lists of one-dimensional arrays.");
}

}  // namespace wq
