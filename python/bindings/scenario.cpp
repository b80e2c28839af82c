// SPDX-License-Identifier: Apache-2.0
#include "warpquant/options/scenario_calls.h"

#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include "arrays.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

namespace scenario = options::scenario;

using Tuple = py::typing::Tuple<py::object, py::ellipsis>;

py::array revalue(const Tuple& fields, int model, const std::vector<std::int64_t>& offsets, const Tuple& axes,
                  bool with_greeks, int num_threads, const std::string& simd, const DeviceChoice& device) {
  const MemorySite site("options.scenarios");
  WQ_EXPECT(fields.size() == scenario::kFields && axes.size() == 5 && model >= 0 && model < 3 && !offsets.empty(),
            InternalError, "scenarios: a wrong number of arguments");
  std::vector<Borrowed> kept;
  kept.reserve(fields.size() + axes.size());
  scenario::Book book{static_cast<scenario::Model>(model), {}};
  for (std::size_t f = 0; f < fields.size(); ++f)
    book.field[f] = numbers_of(kept.emplace_back(compact_numbers(fields[f], "field", offsets.back())));
  const auto axis = [&](std::size_t k) {
    const auto count = static_cast<std::int64_t>(py::len(axes[k]));
    return std::pair(count, numbers_of(kept.emplace_back(compact_numbers(axes[k], "axis", count))));
  };
  const auto [spots, spot_relative] = axis(0);
  const double* const spot_absolute = axis(1).second;
  const auto [vols, vol_relative] = axis(2);
  const double* const vol_absolute = axis(3).second;
  const auto [times, years] = axis(4);
  const scenario::Grid grid{{spots, spot_relative, spot_absolute}, {vols, vol_relative, vol_absolute}, times, years};

  const int sums = with_greeks ? scenario::kSums : 1;
  const auto groups = static_cast<std::int64_t>(offsets.size()) - 1;
  std::int64_t size = 8;
  for (const std::int64_t extent : {groups, std::int64_t{sums}, times, vols, spots})
    if (__builtin_mul_overflow(size, extent, &size)) throw ShapeError("the grid is larger than memory");
  py::array result = new_array(DType::f64, {groups, sums, times, vols, spots});
  auto* const out = static_cast<double*>(result.mutable_data());
  carry_out(execution_in_stream(num_threads, simd, device),
            [&](const Execution& how) { scenario::run(book, grid, offsets, sums, out, how); });
  return result;
}

}  // namespace

void register_scenario(py::module_& m) {
  using py::arg;
  m.def("scenario_sums", revalue, arg("fields"), arg("model"), arg("offsets"), arg("axes"), arg("with_greeks"),
        arg("num_threads"), arg("simd"), arg("device"),
        "Sums over groups of positions at every node of a grid of moves.");
}

}  // namespace wq
