// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/atc.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "arrays.h"
#include "atc_settings.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"
#include "warpquant/equity/equity.h"

namespace wq {
namespace {

using atc::Switches;

constexpr const char* kOutputNames[] = {"average",    "trend",       "direction",   "ema_signal",  "hma_signal",
                                        "wma_signal", "dema_signal", "lsma_signal", "kama_signal", "ema_s",
                                        "hma_s",      "wma_s",       "dema_s",      "lsma_s",      "kama_s"};
static_assert(std::size(kOutputNames) == atc::kOutputs);
constexpr const char* kDetailNames[] = {"ma", "sig", "eq"};
constexpr const char* kFamilyWords[] = {"ema", "hma", "wma", "dema", "lsma", "kama"};

template <class E>
E choice(const std::string& name, const std::string& value, std::initializer_list<const char*> names) {
  int i = 0;
  for (const char* n : names) {
    if (value == n) return static_cast<E>(i);
    ++i;
  }
  throw InternalError("switch " + name + " has no value '" + value + "'");
}

AtcSettings settings_of(const std::vector<std::vector<std::int64_t>>& lengths, const std::vector<double>& weights,
                        const std::map<std::string, double>& numbers, std::int64_t cutout, bool strategy_mode,
                        const std::map<std::string, std::string>& switches) {
  AtcSettings s;
  if (lengths.size() != atc::kFamilies || weights.size() != atc::kFamilies)
    throw InternalError("six families of lengths and weights expected");
  for (int f = 0; f < atc::kFamilies; ++f) {
    if (lengths[f].size() != atc::kLengths) throw InternalError("nine lengths per family expected");
    for (int k = 0; k < atc::kLengths; ++k) {
      WQ_EXPECT(lengths[f][k] >= 1, ParameterError, "lengths must be at least 1");
      s.params.length[f][k] = lengths[f][k];
    }
    s.params.weight[f] = weights[f];
  }
  s.params.la_per_bar = numbers.at("la_per_bar");
  s.params.de_per_bar = numbers.at("de_per_bar");
  s.params.long_threshold = numbers.at("long_threshold");
  s.params.short_threshold = numbers.at("short_threshold");
  s.params.cut_level = numbers.at("cut_level");
  s.params.cross_rtol = numbers.at("cross_rtol");
  s.params.cutout = cutout;
  s.params.strategy_mode = strategy_mode;
  const auto pick = [&]<class E>(E& target, const char* name, std::initializer_list<const char*> names) {
    target = choice<E>(name, switches.at(name), names);
  };
  Switches& w = s.params.switches;
  pick(w.hma, "hma", {"sma", "hull"});
  pick(w.dema_seed, "dema_seed", {"sma", "value"});
  pick(w.lsma, "lsma", {"end", "previous"});
  pick(w.kama_seed, "kama_seed", {"zero", "first"});
  pick(w.rounding, "rounding", {"away", "even", "none"});
  pick(w.cut, "cut", {"fixed", "thresholds"});
  pick(w.neutral, "neutral", {"sticky", "flat"});
  pick(w.average_fill, "average_fill", {"nan", "zero"});
  pick(s.nan, "nan_policy", {"skip", "propagate", "raise"});
  s.cuts = atc::cuts_of(s.params);
  return s;
}

std::string detail_name(int kind, int family) { return std::string(kFamilyWords[family]) + "_" + kDetailNames[kind]; }

/// A result, into the caller's memory if there is some under its name in `out`.
Result make_result(const Panel& panel, DType type, std::int64_t copies, const std::string& name, const py::dict& out) {
  if (out.empty() || !out.contains(name)) return Result(panel, type, copies);
  return Result(panel, type, copies, out[name.c_str()], "out['" + name + "']");
}

/// Prices and source go together, and have bars.
void check_prices(const Panel& close, const std::optional<Panel>& src) {
  if (src) check_alike(*src, "src", close, "prices");
  if (close.size() == 0 || close.longest() == 0) throw ShapeError("prices: are empty; at least one bar is needed");
}

std::pair<Panel, std::optional<Panel>> panels_of(const py::object& prices, const py::object& src, int axis,
                                                 const DeviceChoice& device) {
  const Panel close = Panel::of_array(prices, "prices", axis, false, device);
  std::optional<Panel> source;
  if (!src.is_none()) {
    source = Panel::of_array(src, "src", axis, false, device);
    if (source->arrays()[0].shape != close.arrays()[0].shape)
      throw ShapeError("src: has shape " + source->arrays()[0].shape_text() + ", but prices have " +
                       close.arrays()[0].shape_text());
  }
  return {close, source};
}

void check_cutout(const Panel& close, const atc::Params& params, const std::string& which) {
  if (params.cutout >= close.longest())
    throw ParameterError(which + "cutout: " + std::to_string(params.cutout) + " leaves nothing of " +
                         std::to_string(close.longest()) + " bars; it must be smaller");
}

/// All but the parameters and what is wanted.
atc::Request request_of(const Panel& close, const std::optional<Panel>& src, bool last_only, bool float32) {
  atc::Request request;
  request.close_type = close.type();
  request.separate_src = src.has_value();
  if (src) request.src_type = src->type();
  request.out_type = float32 ? DType::f32 : DType::f64;
  request.last_only = last_only;
  request.label = [&close](std::int64_t i) { return close.label(i); };
  return request;
}

/// Without sinks.
std::vector<atc::Item> items_of(const Panel& close, const std::optional<Panel>& src) {
  std::vector<atc::Item> items(static_cast<std::size_t>(close.size()));
  for (std::int64_t i = 0; i < close.size(); ++i) {
    items[i].close = close.series(i);
    if (src) items[i].src = src->series(i);
  }
  return items;
}

/// The outputs asked for by index, then, with `detail`, the arrays of `ATC_DETAILS`.
py::object run(const Panel& close, const std::optional<Panel>& src, const AtcSettings& settings,
               const std::vector<int>& outputs, bool last_only, bool detail, bool float32, bool exact, bool single,
               const py::dict& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("atc.run");
  check_prices(close, src);
  check_cutout(close, settings.params, "");
  atc::Request request = request_of(close, src, last_only, float32);
  request.params = settings.params;
  request.cuts = settings.cuts;
  request.nan = settings.nan;
  request.detail = detail;
  request.exact = exact;
  request.float32 = single;
  const Execution how = execution(close, num_threads, simd, device);

  std::vector<atc::Item> items = items_of(close, src);
  py::list results;
  std::vector<std::pair<std::string, Result>> given;  // results that go to memory of the caller's
  std::vector<Borrowed> arrays;                       // of a device, all that are used
  const auto note = [&](const Result& result, const std::string& name) {
    if (how.resident) arrays.push_back(result.arrays()[0]);
    if (!out.contains(name)) return;
    for (const Borrowed& target : result.arrays())
      for (std::int64_t i = 0; src && i < static_cast<std::int64_t>(src->arrays().size()); ++i)
        if (overlap(target, src->arrays()[i]))
          throw LayoutError("out['" + name + "']: shares memory with src; it must be apart");
    given.emplace_back("out['" + name + "']", result);
  };
  for (const int o : outputs) {
    if (o < 0 || o >= atc::kOutputs) throw InternalError("no output has index " + std::to_string(o));
    const std::string name = kOutputNames[o];
    const DType type = atc::is_class(o) ? DType::i8 : request.out_type;
    const Result result = last_only ? Result::last_values(close, type) : make_result(close, type, -1, name, out);
    note(result, name);
    request.wants[o] = true;
    for (std::int64_t i = 0; i < close.size(); ++i) items[i].out[o] = result.sink(i);
    results.append(result.object());
  }
  if (detail)
    for (int d = 0; d < atc::kDetails; ++d)
      for (int f = 0; f < atc::kFamilies; ++f) {
        const std::string name = detail_name(d, f);
        const Result result = make_result(close, request.out_type, atc::kLengths, name, out);
        note(result, name);
        for (std::int64_t i = 0; i < close.size(); ++i) {
          items[i].detail[d][f] = result.sink(i);
          items[i].detail_step[d][f] = result.copy_step(i);
        }
        results.append(result.object());
      }
  std::vector<std::pair<std::string, const Borrowed*>> targets;
  for (const auto& [name, result] : given)
    for (const Borrowed& array : result.arrays()) targets.emplace_back(name, &array);
  check_apart(std::move(targets));
  std::vector<const Borrowed*> others;
  for (const Borrowed& array : arrays) others.push_back(&array);
  for (const Panel* panel : {&close, src ? &*src : nullptr})
    if (panel != nullptr && panel->on_device()) others.push_back(panel->on_device());
  Streams streams(how, std::move(others));
  carry_out(how, [&](const Execution& where) {
    atc::run(request, items, where);
    streams.finish();
  });
  return results;
}

/// The outputs asked for by index, for each of several sets.
py::object sweep(const Panel& close, const std::optional<Panel>& src, const std::vector<const AtcSettings*>& sets,
                 const std::vector<int>& outputs, bool last_only, bool float32, bool single, int num_threads,
                 const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("atc.run");
  check_prices(close, src);
  std::vector<atc::Variant> variants;
  for (const AtcSettings* s : sets) {
    check_cutout(close, s->params, "params[" + std::to_string(variants.size()) + "]: ");
    variants.push_back({s->params, s->cuts, s->nan});
  }
  atc::Request request = request_of(close, src, last_only, float32);
  request.float32 = single;
  std::vector<int> places;  // of the outputs wanted, in their order
  for (const int o : outputs) {
    if (o < 0 || o >= atc::kOutputs) throw InternalError("no output has index " + std::to_string(o));
    request.wants[o] = true;
  }
  for (int o = 0, place = 0; o < atc::kOutputs; ++o) {
    places.push_back(place);
    place += request.wants[o];
  }
  const auto distinct = static_cast<std::size_t>(std::count(std::begin(request.wants), std::end(request.wants), true));
  const Execution how = execution(close, num_threads, simd, device);
  const std::vector<atc::Item> items = items_of(close, src);

  std::vector<Sink> sinks(sets.size() * distinct * items.size());
  py::list results;
  for (std::size_t v = 0; v < sets.size(); ++v) {
    py::list of_set;
    std::vector<std::optional<Result>> made(atc::kOutputs);  // an output may be asked for under two names
    for (const int o : outputs) {
      if (!made[o]) {
        const DType type = atc::is_class(o) ? DType::i8 : request.out_type;
        made[o] = last_only ? Result::last_values(close, type) : Result(close, type);
        for (std::size_t i = 0; i < items.size(); ++i)
          sinks[(v * distinct + places[o]) * items.size() + i] = made[o]->sink(static_cast<std::int64_t>(i));
      }
      of_set.append(made[o]->object());
    }
    results.append(of_set);
  }
  std::vector<const Borrowed*> others;
  for (const Panel* panel : {&close, src ? &*src : nullptr})
    if (panel != nullptr && panel->on_device()) others.push_back(panel->on_device());
  Streams streams(how, std::move(others));
  carry_out(how, [&](const Execution& where) {
    atc::run_sweep(request, variants, items, sinks, where);
    streams.finish();
  });
  return results;
}

}  // namespace

void register_atc(py::module_& m) {
  using py::arg;
  py::class_<AtcSettings>(m, "AtcSettings", "Parameters in the form that the kernels take.")
      .def(py::init(&settings_of), arg("lengths"), arg("weights"), arg("numbers"), arg("cutout"), arg("strategy_mode"),
           arg("switches"));
  m.attr("ATC_OUTPUTS") =
      py::tuple(py::cast(std::vector<std::string>(std::begin(kOutputNames), std::end(kOutputNames))));
  std::vector<std::string> details;
  for (int d = 0; d < atc::kDetails; ++d)
    for (int f = 0; f < atc::kFamilies; ++f) details.push_back(detail_name(d, f));
  m.attr("ATC_DETAILS") = py::tuple(py::cast(details));
  m.def(
      "atc_array",
      [](const py::object& prices, const py::object& src, int axis, const AtcSettings& settings,
         const std::vector<int>& outputs, bool last_only, bool detail, bool float32, bool exact, bool single,
         const py::dict& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
        const auto [close, source] = panels_of(prices, src, axis, device);
        return run(close, source, settings, outputs, last_only, detail, float32, exact, single, out, num_threads, simd,
                   device);
      },
      arg("prices"), arg("src"), arg("axis"), arg("settings"), arg("outputs"), arg("last_only"), arg("detail"),
      arg("float32"), arg("exact"), arg("single"), arg("out"), arg("num_threads"), arg("simd"), arg("device"),
      "ATC of an array.");
  m.def(
      "atc_columns",
      [](const py::list& prices, const std::optional<py::list>& src, const std::vector<std::string>& labels,
         const AtcSettings& settings, const std::vector<int>& outputs, bool last_only, bool detail, bool float32,
         bool exact, bool single, const py::dict& out, int num_threads, const std::string& simd,
         const DeviceChoice& device) {
        const Panel close = Panel::of_columns(prices, "prices", labels);
        std::optional<Panel> source;
        if (src) source = Panel::of_columns(*src, "src", labels);
        return run(close, source, settings, outputs, last_only, detail, float32, exact, single, out, num_threads, simd,
                   device);
      },
      arg("prices"), arg("src"), arg("labels"), arg("settings"), arg("outputs"), arg("last_only"), arg("detail"),
      arg("float32"), arg("exact"), arg("single"), arg("out"), arg("num_threads"), arg("simd"), arg("device"),
      "ATC of a list of one-dimensional arrays.");
  m.def(
      "atc_sweep_array",
      [](const py::object& prices, const py::object& src, int axis, const std::vector<const AtcSettings*>& settings,
         const std::vector<int>& outputs, bool last_only, bool float32, bool single, int num_threads,
         const std::string& simd, const DeviceChoice& device) {
        const auto [close, source] = panels_of(prices, src, axis, device);
        return sweep(close, source, settings, outputs, last_only, float32, single, num_threads, simd, device);
      },
      arg("prices"), arg("src"), arg("axis"), arg("settings"), arg("outputs"), arg("last_only"), arg("float32"),
      arg("single"), arg("num_threads"), arg("simd"), arg("device"),
      "ATC of an array with each of several sets of parameters.");
  m.def(
      "atc_sweep_columns",
      [](const py::list& prices, const std::optional<py::list>& src, const std::vector<std::string>& labels,
         const std::vector<const AtcSettings*>& settings, const std::vector<int>& outputs, bool last_only, bool float32,
         bool single, int num_threads, const std::string& simd, const DeviceChoice& device) {
        const Panel close = Panel::of_columns(prices, "prices", labels);
        std::optional<Panel> source;
        if (src) source = Panel::of_columns(*src, "src", labels);
        return sweep(close, source, settings, outputs, last_only, float32, single, num_threads, simd, device);
      },
      arg("prices"), arg("src"), arg("labels"), arg("settings"), arg("outputs"), arg("last_only"), arg("float32"),
      arg("single"), arg("num_threads"), arg("simd"), arg("device"),
      "ATC of a list of one-dimensional arrays with each of several sets of parameters.");
  m.def(
      "atc_growth",
      [](double la_per_bar, std::int64_t cutout, std::int64_t bars) {
        const auto table = equity::growth_table(la_per_bar, cutout, bars, best_level());
        py::array_t<double> growth(bars);
        // Before the cutout there is no equity to grow.
        for (std::int64_t i = 0; i < bars; ++i) growth.mutable_data()[i] = i < cutout ? 1.0 : (*table)[i];
        return growth;
      },
      arg("la_per_bar"), arg("cutout"), arg("bars"), "Growth factor of each bar.");
  register_atc_stream(m);
}

}  // namespace wq
