// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/series.h"
#include "warpquant/ma/spec.h"

/// Moving averages: what the bindings call.
namespace wq::ma {

/// What a missing value (NaN or infinite) inside a series does. Missing values before the first present one are always
/// passed over.
enum class NanPolicy {
  window,     // averages of a window are NaN while it holds one; recurrences give NaN on that bar and go on
  propagate,  // everything from there on is NaN, except where an average has no memory (ROC)
  raise,      // ParameterError naming series and bar; also for missing values at the start
};

NanPolicy parse_nan_policy(std::string_view name);

/// All kinds, in the order of their indices.
std::span<const Info> kinds();

struct Request {
  int kind;
  std::vector<Spec> specs;
  NanPolicy nan = NanPolicy::window;
  DType in_type = DType::f64, out_type = DType::f64;
  std::function<std::string(std::int64_t)> label;  // what messages call a series
};

/// Result `s` of `specs` goes s * out_step bytes behind `out`.
struct Item {
  Series in;
  Sink out;
  std::int64_t out_step;
};

void compute(const Request& request, std::span<const Item> items, const Execution& execution);

/// The same averages bar by bar, with the same bits.
class Stream {
 public:
  static std::unique_ptr<Stream> make(int kind, const Spec& spec, NanPolicy nan, std::int64_t series);
  virtual ~Stream() = default;

  /// One bar of every series. Throws ParameterError, with nothing changed, under `NanPolicy::raise`.
  virtual void update(const double* x, double* out) = 0;

  /// The whole state as 8-byte words, `words()` of them, the same number for each series.
  virtual std::int64_t words() const = 0;
  virtual void save(std::uint64_t* words) const = 0;
  virtual void load(const std::uint64_t* words) = 0;  // throws ParameterError for words that no stream has
};

}  // namespace wq::ma
