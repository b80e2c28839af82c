// SPDX-License-Identifier: Apache-2.0
#include <sstream>

#include "warpquant/core/error.h"
#include "warpquant/core/row_calls.h"
#include "warpquant/pinn/pinn.h"

/// Where the operations on options and surfaces are.
namespace wq {

#if defined(__x86_64__)
#define WQ_ROW_GROUP(domain, name)                                                                        \
  namespace domain {                                                                                      \
  namespace baseline {                                                                                    \
  extern const rows::Group name;                                                                          \
  }                                                                                                       \
  namespace avx2 {                                                                                        \
  extern const rows::Group name;                                                                          \
  }                                                                                                       \
  namespace avx512 {                                                                                      \
  extern const rows::Group name;                                                                          \
  }                                                                                                       \
  inline const rows::Group* name##_at(Level level) {                                                      \
    return level == Level::avx512 ? &avx512::name : level == Level::avx2 ? &avx2::name : &baseline::name; \
  }                                                                                                       \
  }
#else
#define WQ_ROW_GROUP(domain, name)                                       \
  namespace domain {                                                     \
  namespace baseline {                                                   \
  extern const rows::Group name;                                         \
  }                                                                      \
  inline const rows::Group* name##_at(Level) { return &baseline::name; } \
  }
#endif

WQ_ROW_GROUP(options, vanilla)
WQ_ROW_GROUP(options, implied)
WQ_ROW_GROUP(options, american)
WQ_ROW_GROUP(options, numerical)
WQ_ROW_GROUP(options, asians)
WQ_ROW_GROUP(options, digitals)
WQ_ROW_GROUP(options, barriers)
WQ_ROW_GROUP(options, fourier)
WQ_ROW_GROUP(options, jumps)
WQ_ROW_GROUP(options, lookback)
WQ_ROW_GROUP(options, multi)
WQ_ROW_GROUP(surface, slices)
WQ_ROW_GROUP(surface, sabrs)
WQ_ROW_GROUP(pinn, european)

namespace rows {
namespace {

std::vector<std::string> words(const char* text) {
  std::istringstream stream(text);
  std::vector<std::string> list;
  for (std::string word; stream >> word;) list.push_back(word);
  return list;
}

Put plain(const Device& device, const Job& job, Luggage&) {
  return [device, job](Handle stream) { return device.table->rows(device.index, job, stream); };
}

}  // namespace

const std::vector<Op>& operations() {
  static const std::vector<Op>& all = []() -> const std::vector<Op>& {
    auto* ops = new std::vector<Op>;
    const auto add = [&](GroupId id, const Group* (*group)(Level), auto on_device) {
      for (int i = 0; i < group(Level::baseline)->count; ++i) {
        const Info info = group(Level::baseline)->info(i);
        ops->push_back({group, id, i, info, words(info.inputs), words(info.outputs), on_device});
      }
    };
    add(GroupId::vanilla, options::vanilla_at, plain);
    add(GroupId::implied, options::implied_at, plain);
    add(GroupId::american, options::american_at, plain);
    add(GroupId::numerical, options::numerical_at, plain);
    add(GroupId::digitals, options::digitals_at, plain);
    add(GroupId::barriers, options::barriers_at, plain);
    add(GroupId::lookback, options::lookback_at, plain);
    add(GroupId::asians, options::asians_at, plain);
    add(GroupId::multi, options::multi_at, plain);
    add(GroupId::jumps, options::jumps_at, plain);
    add(GroupId::fourier, options::fourier_at, plain);
    add(GroupId::slices, surface::slices_at, plain);
    add(GroupId::sabrs, surface::sabrs_at, plain);
    add(GroupId::pinn, pinn::european_at, pinn::prices_on);
    return *ops;
  }();
  return all;
}

}  // namespace rows
}  // namespace wq
