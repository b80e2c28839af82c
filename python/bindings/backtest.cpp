// SPDX-License-Identifier: Apache-2.0
#include "warpquant/backtest/backtest.h"

#include <pybind11/stl.h>

#include <map>
#include <optional>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"

namespace wq {
namespace {

using backtest::Sizing;

DType type_of(const py::array& array) {
  if (py::isinstance<py::array_t<double>>(array)) return DType::f64;
  if (py::isinstance<py::array_t<float>>(array)) return DType::f32;
  WQ_EXPECT(py::isinstance<py::array_t<std::int8_t>>(array), InternalError, "backtest: type of an array");
  return DType::i8;
}

/// The series of an array whose last axis is time, in the order of its other axes.
std::vector<Series> series_of(const py::array& array) {
  const auto lead = static_cast<std::size_t>(array.ndim() - 1);
  const std::int64_t bars = array.shape(array.ndim() - 1), stride = array.strides(array.ndim() - 1);
  std::int64_t count = 1;
  for (std::size_t d = 0; d < lead; ++d) count *= array.shape(static_cast<py::ssize_t>(d));
  std::vector<Series> series;
  series.reserve(static_cast<std::size_t>(count));
  std::vector<std::int64_t> index(lead, 0);
  const auto* at = static_cast<const std::byte*>(array.data());
  for (std::int64_t i = 0; i < count; ++i) {
    series.push_back({at, stride, bars, 0});
    for (std::size_t d = lead; d-- > 0;) {
      const auto axis = static_cast<py::ssize_t>(d);
      at += array.strides(axis);
      if (++index[d] < array.shape(axis)) break;
      at -= index[d] * array.strides(axis);
      index[d] = 0;
    }
  }
  return series;
}

backtest::Request request_of(const py::array& prices, const std::optional<py::array>& signal,
                             const std::map<std::string, double>& numbers, const std::string& sizing, bool every_bar,
                             std::int64_t delay, std::int64_t window, int num_threads, const std::string& simd) {
  const Execution how = execution(num_threads, simd);
  backtest::Request request;
  request.level = how.level;
  request.threads = how.threads;
  request.from_returns = !signal;
  request.in_type = type_of(prices);
  if (signal) request.signal_type = type_of(*signal);
  const auto number = [&](const char* name, double otherwise = 0.0) {
    return numbers.contains(name) ? numbers.at(name) : otherwise;
  };
  backtest::Params& p = request.params;
  p.sizing = sizing == "full" ? Sizing::full : sizing == "signal" ? Sizing::signal : Sizing::table;
  p.every_bar = every_bar;
  p.long_above = number("long_above");
  p.short_below = number("short_below");
  p.long_exit = number("long_exit");
  p.short_exit = number("short_exit");
  p.size = number("size", 1.0);
  p.lag = delay - 1;
  p.trade_rate = number("trade_rate");
  p.long_rate = number("funding");
  p.short_rate = number("funding") - number("borrow");  // shorts are paid the funding
  p.starting = number("starting", 1.0);
  p.risk_free_per_bar = number("risk_free_per_bar");
  request.bars_per_year = number("bars_per_year", 252.0);
  request.tail = number("tail", 0.05);
  request.amount = number("amount");
  request.most = number("most");
  request.window = window;
  return request;
}

std::vector<backtest::Item> items_of(const py::array& prices, const std::optional<py::array>& signal) {
  std::vector<backtest::Item> items;
  for (const Series& series : series_of(prices)) items.push_back({series, {}, {}, {}, {}});
  if (!signal) return items;
  const std::vector<Series> follows = series_of(*signal);
  WQ_EXPECT(follows.size() == items.size(), InternalError, "backtest: prices and signal were not broadcast");
  for (std::size_t i = 0; i < items.size(); ++i) items[i].signal = follows[i];
  return items;
}

py::list run(const py::array& prices, const std::optional<py::array>& signal, const std::vector<int>& metrics,
             bool store, const std::map<std::string, double>& numbers, const std::string& sizing, bool every_bar,
             std::int64_t delay, std::int64_t window, int num_threads, const std::string& simd) {
  backtest::Request request = request_of(prices, signal, numbers, sizing, every_bar, delay, window, num_threads, simd);
  std::vector<backtest::Item> items = items_of(prices, signal);
  const std::vector<std::int64_t> shape(prices.shape(), prices.shape() + prices.ndim());
  py::list per_bar;
  request.store = store;
  for (int i = 0; store && i < 3; ++i) {
    py::array made = new_array(DType::f64, shape);
    const std::vector<Series> series = series_of(made);
    for (std::size_t k = 0; k < items.size(); ++k) {
      Sink& sink = i == 0 ? items[k].position : i == 1 ? items[k].returned : items[k].equity;
      sink = {const_cast<std::byte*>(series[k].data), series[k].stride, series[k].bars};
    }
    per_bar.append(std::move(made));
  }
  py::list measured;
  std::vector<double*> targets(backtest::kMetrics, nullptr);
  for (const int m : metrics) {
    request.metrics |= std::uint32_t{1} << m;
    py::array made = new_array(DType::f64, {shape.begin(), shape.end() - 1});
    targets[static_cast<std::size_t>(m)] = static_cast<double*>(made.mutable_data());
    measured.append(std::move(made));
  }
  {
    const py::gil_scoped_release release;
    backtest::run(request, items, targets);
  }
  py::list results;
  results.append(std::move(measured));
  results.append(std::move(per_bar));
  return results;
}

template <class T, class Field>
py::array_t<T> column(const std::vector<backtest::Trade>& trades, Field field) {
  py::array_t<T> values(static_cast<py::ssize_t>(trades.size()));
  T* const at = values.mutable_data();
  for (std::size_t i = 0; i < trades.size(); ++i) at[i] = static_cast<T>(trades[i].*field);
  return values;
}

py::dict trades(const py::array& prices, const py::array& signal, const std::map<std::string, double>& numbers,
                const std::string& sizing, bool every_bar, std::int64_t delay, std::int64_t window, int num_threads,
                const std::string& simd) {
  const backtest::Request request =
      request_of(prices, signal, numbers, sizing, every_bar, delay, window, num_threads, simd);
  const std::vector<backtest::Item> items = items_of(prices, signal);
  std::vector<backtest::Trade> found;
  {
    const py::gil_scoped_release release;
    found = backtest::trades(request, items);
  }
  using backtest::Trade;
  py::dict table;
  table["series"] = column<std::int64_t>(found, &Trade::series);
  table["entry_bar"] = column<std::int64_t>(found, &Trade::entry_bar);
  table["exit_bar"] = column<std::int64_t>(found, &Trade::exit_bar);
  table["entry_price"] = column<double>(found, &Trade::entry_price);
  table["exit_price"] = column<double>(found, &Trade::exit_price);
  table["side"] = column<std::int8_t>(found, &Trade::side);
  table["size"] = column<double>(found, &Trade::size);
  table["return"] = column<double>(found, &Trade::returned);
  table["fees"] = column<double>(found, &Trade::fees);
  table["bars"] = column<std::int64_t>(found, &Trade::bars);
  table["open"] = column<bool>(found, &Trade::open);
  return table;
}

}  // namespace

void register_backtest(py::module_& m) {
  using py::arg;
  py::tuple names(backtest::kMetrics);
  for (int i = 0; i < backtest::kMetrics; ++i) names[static_cast<std::size_t>(i)] = backtest::kMetricNames[i];
  m.attr("BACKTEST_METRICS") = names;
  m.def("backtest", run, arg("prices"), arg("signal"), arg("metrics"), arg("store"), arg("numbers"), arg("sizing"),
        arg("every_bar"), arg("delay"), arg("window"), arg("num_threads"), arg("simd"),
        "Metrics, and positions, returns and equities if they are to be stored, of accounts that follow signals.");
  m.def("backtest_trades", trades, arg("prices"), arg("signal"), arg("numbers"), arg("sizing"), arg("every_bar"),
        arg("delay"), arg("window"), arg("num_threads"), arg("simd"), "Every trade of accounts that follow signals.");
}

}  // namespace wq
