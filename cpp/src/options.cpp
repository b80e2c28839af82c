// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/error.h"
#include "warpquant/core/row_calls.h"

/// Where the operations on options are.
namespace wq {

#if defined(__x86_64__)
#define WQ_ROW_GROUP(domain, name)                                                                \
  namespace domain {                                                                              \
  namespace baseline {                                                                            \
  extern const rows::Group name;                                                                  \
  }                                                                                               \
  namespace avx2 {                                                                                \
  extern const rows::Group name;                                                                  \
  }                                                                                               \
  namespace avx512 {                                                                              \
  extern const rows::Group name;                                                                  \
  }                                                                                               \
  inline const rows::Group* name##_at(Level level) {                                              \
    return level == Level::avx512 ? &avx512::name : level == Level::avx2 ? &avx2::name : &baseline::name; \
  }                                                                                               \
  }
#else
#define WQ_ROW_GROUP(domain, name)                              \
  namespace domain {                                            \
  namespace baseline {                                          \
  extern const rows::Group name;                                \
  }                                                             \
  inline const rows::Group* name##_at(Level) { return &baseline::name; } \
  }
#endif

WQ_ROW_GROUP(options, vanilla)
WQ_ROW_GROUP(options, asians)
WQ_ROW_GROUP(options, digitals)
WQ_ROW_GROUP(options, barriers)
WQ_ROW_GROUP(options, fourier)
WQ_ROW_GROUP(options, jumps)
WQ_ROW_GROUP(options, lookback)
WQ_ROW_GROUP(options, multi)

namespace rows {

const std::vector<Op>& operations() {
  static const std::vector<Op>& all = [] -> const std::vector<Op>& {
    auto* ops = new std::vector<Op>;
    for (const auto group : {options::vanilla_at, options::asians_at, options::digitals_at, options::barriers_at, options::fourier_at,
                             options::jumps_at, options::lookback_at, options::multi_at})
      for (int i = 0; i < group(Level::baseline)->count; ++i)
        ops->push_back({group, i, group(Level::baseline)->info(i)});
    return *ops;
  }();
  return all;
}

}  // namespace rows
}  // namespace wq
