// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "warpquant/atc/atc.h"

namespace wq::atc {

/// ATC of many symbols bar by bar. Every bar costs the same, and gives what `run` gives for the bars so far under
/// NanPolicy::skip, bit for bit. Calls must not overlap.
class Stream {
 public:
  /// `device`: where the state is, and bars are computed; none: the CPU.
  Stream(const Params& params, const Cuts<double>& cuts, bool separate_src, std::optional<Device> device);

  std::int64_t symbols() const { return symbols_; }
  /// Numbers that are remembered of a symbol, the first of which is how many bars it has had.
  std::int64_t rows() const { return rows_; }
  std::vector<std::int64_t> bars() const;
  const std::optional<Device>& device() const { return device_; }

  /// New bars of all symbols, in memory of the host: everything of `feed` but `state`, `rows` and `symbols`. Throws
  /// ParameterError for a price that is too large or, with `refuses_missing`, missing, before anything is changed.
  /// Interrupted, all symbols have had the same bars.
  void take(Feed feed, bool refuses_missing, const std::function<std::string(std::int64_t)>& label,
            const Execution& execution);

  /// Keep these symbols, in this order, and add new ones behind them.
  void select(const std::vector<std::int64_t>& kept, std::int64_t added);

  /// The numbers of all symbols, one after the other.
  void save(double* table) const;
  void load(const double* table);

 private:
  struct alignas(64) Row {
    double lane[kMaxLanes];
  };

  using State = std::vector<Row>;

  template <class S>
  auto& number(S& state, std::int64_t symbol, std::int64_t row) const {
    return state[symbol / kMaxLanes * rows_ + row].lane[symbol % kMaxLanes];
  }
  std::int64_t groups() const { return (symbols_ + kMaxLanes - 1) / kMaxLanes; }
  /// The state, for a look, and the one that takes its place.
  State state() const;
  void set_state(State state);
  void check(const Feed& feed, bool refuses_missing, const std::function<std::string(std::int64_t)>& label) const;
  void take_bars(const Feed& feed, const Execution& execution);
  void remember(const Feed& feed) const;
  void prepare_growth(std::int64_t bars, Level level);
  void take_on_device(const Run& run, const Feed& feed, const Execution& execution);

  Run run_{};
  Group shared_{};
  std::int64_t rows_ = 0, symbols_ = 0, most_bars_ = 0;
  State fresh_, state_;
  std::shared_ptr<const std::vector<double>> growth_;
  std::optional<Device> device_;
  std::shared_ptr<const DeviceStream> home_;  // whose memory there is
  std::shared_ptr<DeviceMemory> state_there_, growth_there_, shared_there_;
  bool lost_ = false;  // a device may still be working on the state
};

}  // namespace wq::atc
