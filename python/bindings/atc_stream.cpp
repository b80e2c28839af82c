// SPDX-License-Identifier: Apache-2.0
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <mutex>
#include <utility>

#include "arrays.h"
#include "atc_settings.h"
#include "warpquant/atc/streams.h"
#include "warpquant/core/error.h"

namespace wq {
namespace {

/// A stream with the checks that Python needs. Threads take turns.
class AtcStream {
 public:
  AtcStream(const AtcSettings& settings, bool separate_src, const DeviceChoice& device)
      : refuses_missing_(settings.nan == atc::NanPolicy::raise),
        stream_(settings.params, settings.cuts, separate_src, execution(1, "", device).device),
        separate_src_(separate_src) {}

  std::int64_t rows() const { return stream_.rows(); }

  py::array_t<std::int64_t> bars() {
    const auto lock = take_turn();
    const std::vector<std::int64_t> bars = stream_.bars();
    return py::array_t<std::int64_t>(std::ssize(bars), bars.data());
  }

  void select(const std::vector<std::int64_t>& kept, std::int64_t added) {
    const auto lock = take_turn();
    for (const std::int64_t i : kept)
      if (i < 0 || i >= stream_.symbols()) throw InternalError("no symbol has index " + std::to_string(i));
    stream_.select(kept, added);
  }

  /// `prices` and `src`: (symbols, bars); `out`: output by index to an array of that shape; `last`: to one of one
  /// column, where the results of the newest bars go, too.
  void take(const py::object& prices, const py::object& src, const std::map<int, py::object>& out,
            const std::map<int, py::object>& last, const py::object& symbols, bool commits, bool spreads,
            int num_threads, const std::string& simd) {
    const auto lock = take_turn();
    atc::Feed feed{};
    std::vector<Borrowed> arrays;
    const auto borrow = [&](Borrowed array, const std::string& name) {
      if (array.ndim() != 2 || array.shape[0] != stream_.symbols())
        throw ShapeError(name + ": has shape " + array.shape_text() + ", but the stream has " +
                         std::to_string(stream_.symbols()) + " symbols");
      if (!arrays.empty() && array.shape[1] != feed.bars)
        throw ShapeError(name + ": has " + std::to_string(array.shape[1]) + " bars, but there are " +
                         std::to_string(feed.bars) + " in prices");
      feed.bars = array.shape[1];
      const atc::Grid grid{const_cast<std::byte*>(array.data), array.strides[0], array.strides[1]};
      arrays.push_back(std::move(array));
      return grid;
    };
    feed.close = borrow(Borrowed::input(prices, "prices"), "prices");
    feed.close_type = arrays.back().type;
    if (separate_src_ == src.is_none()) throw InternalError("a stream has src at every bar or at none");
    if (separate_src_) {
      feed.src = borrow(Borrowed::input(src, "src"), "src");
      feed.src_type = arrays.back().type;
    }
    feed.out_type = DType::f64;
    for (const auto& [index, array] : out) {
      if (index < 0 || index >= atc::kOutputs) throw InternalError("no output has index " + std::to_string(index));
      feed.out[index] = borrow(Borrowed::output(array, "out", atc::is_class(index) ? DType::i8 : DType::f64), "out");
    }
    for (const auto& [index, array] : last) {
      if (!out.contains(index)) throw InternalError("last values are those of outputs");
      const bool is_class = atc::is_class(index);
      arrays.push_back(Borrowed::output(array, "last", is_class ? DType::i8 : DType::f64));
      const Borrowed& target = arrays.back();
      if (target.ndim() != 2 || target.shape[0] != stream_.symbols() || target.shape[1] != 1)
        throw InternalError("last values have one column");
      feed.last[index] = {const_cast<std::byte*>(target.data), target.strides[0], 0};
    }
    feed.commits = commits;
    feed.spreads = spreads;
    const Execution how = execution(num_threads, simd);
    const py::gil_scoped_release release;
    const auto label = [&](std::int64_t i) {
      const py::gil_scoped_acquire acquire;
      return "'" + symbols[py::int_(i)].cast<std::string>() + "'";
    };
    stream_.take(feed, refuses_missing_, label, how);
  }

  py::array_t<double> save() {
    const auto lock = take_turn();
    py::array_t<double> table({stream_.symbols(), stream_.rows()});
    stream_.save(table.mutable_data());
    return table;
  }

  void load(const py::array_t<double, py::array::c_style>& table) {
    const auto lock = take_turn();
    if (table.ndim() != 2 || table.shape(0) != stream_.symbols() || table.shape(1) != stream_.rows())
      throw ShapeError("state: has another shape than that of such a stream");
    stream_.load(table.data());
  }

 private:
  /// Without holding the interpreter while another thread has its turn.
  std::unique_lock<std::mutex> take_turn() {
    const py::gil_scoped_release release;
    return std::unique_lock(mutex_);
  }

  std::mutex mutex_;
  bool refuses_missing_;
  atc::Stream stream_;
  bool separate_src_;
};

}  // namespace

void register_atc_stream(py::module_& m) {
  using py::arg;
  py::class_<AtcStream>(m, "AtcStream", "State of ATC over several symbols, fed bar by bar.")
      .def(py::init<const AtcSettings&, bool, const DeviceChoice&>(), arg("settings"), arg("separate_src"),
           arg("device"))
      .def_property_readonly("rows", &AtcStream::rows, "Numbers remembered of each symbol.")
      .def("bars", &AtcStream::bars, "Bars that each symbol has had.")
      .def("select", &AtcStream::select, arg("kept"), arg("added"), "Keep symbols by index, and add some.")
      .def("take", &AtcStream::take, arg("prices"), arg("src"), arg("out"), arg("last"), arg("symbols"), arg("commits"),
           arg("spreads"), arg("num_threads"), arg("simd"), "New bars of all symbols.")
      .def("save", &AtcStream::save, "The state, one row per symbol.")
      .def("load", &AtcStream::load, arg("table"), "Take over a state.");
}

}  // namespace wq
