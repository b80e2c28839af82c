// SPDX-License-Identifier: Apache-2.0
#include "warpquant/ma/ma.h"

#include <pybind11/stl.h>

#include <cstring>
#include <mutex>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

using ma::Spec;

std::vector<Spec> specs_of(int kind, const std::vector<std::int64_t>& lengths, bool seed_first, double fast,
                           double slow) {
  WQ_EXPECT(kind >= 0 && kind < static_cast<int>(ma::kinds().size()), InternalError,
            "no kind of average has index " + std::to_string(kind));
  std::vector<Spec> specs;
  for (const std::int64_t length : lengths) {
    WQ_EXPECT(length >= 1, ParameterError, "length: " + std::to_string(length) + " is not positive");
    specs.push_back({length, seed_first, fast, slow});
  }
  return specs;
}

py::object compute(int kind, const Panel& panel, const std::vector<std::int64_t>& lengths, bool several,
                   bool seed_first, double fast, double slow, const std::string& nan, const py::object& out,
                   int num_threads, const std::string& simd, const DeviceChoice& device) {
  ma::Request request;
  request.kind = kind;
  request.specs = specs_of(kind, lengths, seed_first, fast, slow);
  const MemorySite site(std::string("ma.") + ma::kinds()[kind].name);
  request.nan = ma::parse_nan_policy(nan);
  request.in_type = request.out_type = panel.type();
  request.label = [&panel](std::int64_t i) { return panel.label(i); };
  const Execution how = execution(panel, num_threads, simd, device);
  const std::int64_t copies = several ? static_cast<std::int64_t>(lengths.size()) : -1;
  const Result result =
      out.is_none() ? Result(panel, panel.type(), copies) : Result(panel, panel.type(), copies, out, "out");
  if (panel.longest() == 0) return result.object();
  std::vector<ma::Item> items;
  for (std::int64_t i = 0; i < panel.size(); ++i)
    items.push_back({panel.series(i), result.sink(i), result.copy_step(i)});
  std::vector<const Borrowed*> arrays = result.borrowed();
  if (panel.on_device()) arrays.push_back(panel.on_device());
  Streams streams(how, std::move(arrays));
  carry_out(how, [&](const Execution& where) {
    ma::compute(request, items, where);
    streams.finish();
  });
  return result.object();
}

py::object compute_array(int kind, const py::object& x, const std::vector<std::int64_t>& lengths, bool several,
                         bool seed_first, double fast, double slow, const std::string& nan, int axis,
                         const py::object& out, int num_threads, const std::string& simd, const DeviceChoice& device) {
  return compute(kind, Panel::of_array(x, "x", axis, false, device), lengths, several, seed_first, fast, slow, nan, out,
                 num_threads, simd, device);
}

py::object compute_columns(int kind, const py::list& columns, const std::vector<std::string>& labels,
                           const std::vector<std::int64_t>& lengths, bool several, bool seed_first, double fast,
                           double slow, const std::string& nan, const py::object& out, int num_threads,
                           const std::string& simd, const DeviceChoice& device) {
  return compute(kind, Panel::of_columns(columns, "x", labels), lengths, several, seed_first, fast, slow, nan, out,
                 num_threads, simd, device);
}

py::list kinds() {
  py::list list;
  for (const ma::Info& info : ma::kinds()) {
    py::dict d;
    d["name"] = info.name;
    d["title"] = info.title;
    d["formula"] = info.formula;
    d["notes"] = info.notes;
    d["recurrent"] = info.recurrent;
    d["takes_seed"] = info.takes_seed;
    d["takes_fast_slow"] = info.takes_fast_slow;
    list.append(d);
  }
  return list;
}

/// A stream with the checks that Python needs.
class StreamHandle {
 public:
  StreamHandle(int kind, std::int64_t length, std::int64_t series, bool seed_first, double fast, double slow,
               const std::string& nan)
      : series_(series), stream_(ma::Stream::make(kind, specs_of(kind, {length}, seed_first, fast, slow)[0],
                                                  ma::parse_nan_policy(nan), series)) {}

  py::array_t<double> update(const py::object& x) {
    const Panel panel = Panel::of_array(x, "x", -1);
    const Borrowed& a = panel.arrays()[0];
    if (a.device) throw LayoutError("x: is on a device; a stream takes values from host memory");
    if (a.ndim() != 1 || a.shape[0] != series_)
      throw ShapeError("x: has shape " + a.shape_text() + ", but the stream takes one value for each of " +
                       std::to_string(series_) + " series");
    std::vector<double> values(static_cast<std::size_t>(series_));
    for (std::int64_t i = 0; i < series_; ++i) {
      const std::byte* p = a.data + i * a.strides[0];
      if (a.type == DType::f32) {
        float v;
        std::memcpy(&v, p, sizeof v);
        values[i] = v;
      } else {
        std::memcpy(&values[i], p, sizeof values[i]);
      }
    }
    py::array_t<double> out(series_);
    double* target = out.mutable_data();
    {
      const py::gil_scoped_release release;
      const std::lock_guard lock(mutex_);
      stream_->update(values.data(), target);
    }
    return out;
  }

  py::array_t<std::uint64_t> save() {
    py::array_t<std::uint64_t> words({series_, stream_->words()});
    const std::lock_guard lock(mutex_);
    stream_->save(words.mutable_data());
    return words;
  }

  void load(const py::array_t<std::uint64_t, py::array::c_style>& words) {
    if (words.ndim() != 2 || words.shape(0) != series_ || words.shape(1) != stream_->words())
      throw ShapeError("state: words have the wrong shape; this is not the state of such a stream");
    const std::lock_guard lock(mutex_);
    stream_->load(words.data());
  }

 private:
  std::int64_t series_;
  std::mutex mutex_;
  std::unique_ptr<ma::Stream> stream_;
};

}  // namespace

void register_ma(py::module_& m) {
  using py::arg;
  m.def("ma_kinds", kinds, "The averages, in the order of their indices.");
  m.def("ma_array", compute_array, arg("kind"), arg("x"), arg("lengths"), arg("several"), arg("seed_first"),
        arg("fast"), arg("slow"), arg("nan"), arg("axis"), arg("out"), arg("num_threads"), arg("simd"), arg("device"),
        "Averages of an array.");
  m.def("ma_columns", compute_columns, arg("kind"), arg("columns"), arg("labels"), arg("lengths"), arg("several"),
        arg("seed_first"), arg("fast"), arg("slow"), arg("nan"), arg("out"), arg("num_threads"), arg("simd"),
        arg("device"), "Averages of a list of one-dimensional arrays.");
  py::class_<StreamHandle>(m, "MaStream", "State of an average over several series, fed bar by bar.")
      .def(py::init<int, std::int64_t, std::int64_t, bool, double, double, std::string>(), arg("kind"), arg("length"),
           arg("series"), arg("seed_first"), arg("fast"), arg("slow"), arg("nan"))
      .def("update", &StreamHandle::update, arg("x"), "One bar of every series.")
      .def("save", &StreamHandle::save, "The state as words, one row per series.")
      .def("load", &StreamHandle::load, arg("words"), "Take over a state.");
}

}  // namespace wq
