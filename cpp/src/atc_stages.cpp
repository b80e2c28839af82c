// SPDX-License-Identifier: Apache-2.0
#include "warpquant/atc/stages.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <vector>

#include "warpquant/atc/signals.h"
#include "warpquant/core/walks.h"
#include "warpquant/equity/launch.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/launch.h"
#include "warpquant/signals/launch.h"

namespace wq::atc {
namespace {

constexpr std::int64_t kNumber = sizeof(double);

/// Series that lie one behind the other.
struct Rows {
  std::byte* data;
  DType type;
  std::int64_t bars;

  Series series(std::int64_t row) const { return {at(row), item_size(type), bars}; }
  Sink sink(std::int64_t row) const { return {at(row), item_size(type), bars}; }
  std::vector<Series> all_series(int count) const {
    std::vector<Series> list;
    for (int i = 0; i < count; ++i) list.push_back(series(i));
    return list;
  }
  std::vector<Sink> all_sinks(int count) const {
    std::vector<Sink> list;
    for (int i = 0; i < count; ++i) list.push_back(sink(i));
    return list;
  }

 private:
  std::byte* at(std::int64_t row) const { return data + row * bars * item_size(type); }
};

std::vector<Series> operator+(std::vector<Series> a, const std::vector<Series>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// One symbol. Averages of the nine lengths go through streams of their own; everything else follows in one.
class Stages {
 public:
  Stages(const Request& request, const Item& item, const double* growth, const Sides& sides, Handle stream)
      : request_(request), params_(request.params), item_(item), bars_(item.close.bars), growth_(growth),
        device_(sides.device), stream_(stream), sides_(sides),
        luggage_owner_(std::make_shared<Luggage>(sides.device, stream)), luggage_(*luggage_owner_) {
    averages_ = rows(kLengths, DType::f64);
    crosses_ = rows(kLengths, DType::i8);
    equities_ = rows(kLengths, DType::f64);
    signals_ = rows(kFamilies, DType::f64);
    votes_ = rows(kFamilies, DType::f64);
  }

  Stages(const Stages&) = delete;
  Stages& operator=(const Stages&) = delete;
  ~Stages() {
    // After a fault nothing waits for the averages yet, and they must not go on in memory that is freed.
    for (const auto& side : sides_.streams)
      if (astray_ && device_.order(side->handle(), stream_) != Fault::none)
        keep_until_done(device_, side->handle(), luggage_owner_);
  }

  void run() {
    start_averages();
    const std::vector<Series> nine(kLengths, item_.close);
    const Walks crosses = walks(averages_.all_series(kLengths) + nine, {DType::f64, request_.close_type},
                                crosses_.all_sinks(kLengths), DType::i8, Cut::as_needed);
    const Walks equities = walks(nine + crosses_.all_series(kLengths), {request_.close_type, DType::i8},
                                 equities_.all_sinks(kLengths), DType::f64, Cut::always);
    for (int f = 0; f < kFamilies; ++f) {
      average(f);
      signals::Params cross{signals::Op::crosses};
      cross.rtol = params_.cross_rtol;
      stage(cross, crosses);
      follow(equities, 1.0, false);
      layer(family(), crosses_.all_series(kLengths) + equities_.all_series(kLengths), {DType::i8, DType::f64},
            signals_.sink(f), kSignal + f);
      follow_family(f, votes_.sink(f), DType::f64);
      if (request_.wants[kEquity + f]) {
        const Sink target = sink(kEquity + f);
        follow_family(f, target, request_.out_type);
        finish(kEquity + f, target);
      }
    }
    classify();
  }

 private:
  using Types = std::array<DType, 2>;

  Rows rows(std::int64_t count, DType type) {
    return {luggage_.scratch(static_cast<std::size_t>(count * bars_ * item_size(type))), type, bars_};
  }

  void check(Fault fault) const { device_.check(fault, "starting a kernel"); }

  Walks walks(const std::vector<Series>& in, Types types, const std::vector<Sink>& out, DType out_type, Cut cut) {
    Walks w{};
    w.series = std::ssize(out);
    w.inputs = static_cast<int>(in.size() / out.size());
    std::copy(types.begin(), types.end(), w.in_type);
    w.in = luggage_.send(in);
    w.out_type = out_type;
    w.out = luggage_.send(out);
    w.longest = out.front().bars;
    cut_into_pieces(w, cut);
    w.scratch = luggage_.scratch(w.pieces > 1 ? static_cast<std::size_t>(w.series * w.pieces) * kSlotBytes : 0);
    return w;
  }

  void stage(signals::Params params, const Walks& walks) {
    params.inputs = walks.inputs;
    check(device_.table->signals(device_.index, {params, walks}, stream_));
  }

  // ---------------------------------------------------------------- averages

  int kind(int family) const {
    using K = ma::DeviceKinds;
    const Switches& s = params_.switches;
    switch (family) {
    case kEma:
      return K::index_of<ma::Ema>();
    case kHma:
      return s.hma == Switches::Hma::hull ? K::index_of<ma::Hma>() : K::index_of<ma::Sma>();
    case kWma:
      return K::index_of<ma::Wma>();
    case kDema:
      return s.dema_seed == Switches::DemaSeed::sma ? K::index_of<ma::Dema>() : K::index_of<ma::EarlyDema>();
    case kLsma:
      return s.lsma == Switches::Lsma::end ? K::index_of<ma::Lsma>() : K::index_of<ma::PreviousLsma>();
    default:
      return K::index_of<ma::EarlyKama>();
    }
  }

  ma::Spec spec(int family, int k) const {
    ma::Spec spec{std::min(params_.length[family][k], bars_ + 1)};  // longer ones have no value either
    spec.seed_first = family == kKama && params_.switches.kama_seed == Switches::KamaSeed::first;
    return spec;
  }

  void start_averages() {
    const bool has_src = request_.separate_src;
    const Series* const src = luggage_.send(std::vector<Series>{has_src ? item_.src : item_.close});
    const Sink* const sinks = luggage_.send(averages_.all_sinks(kLengths));
    auto* const suspect =
        reinterpret_cast<int*>(luggage_.scratch(2 * sizeof(int)));  // nobody asks: no value is missing
    for (int k = 0; k < kLengths; ++k) {
      std::size_t bytes = 0;
      for (int f = 0; f < kFamilies; ++f)
        bytes = std::max(bytes, ma::plan(kind(f), spec(f, k), 1, bars_).scratch_bytes);
      average_[k] = {0,
                     {},
                     has_src ? request_.src_type : request_.close_type,
                     DType::f64,
                     1,
                     src,
                     sinks + k,
                     suspect,
                     1,
                     bars_,
                     luggage_.scratch(bytes)};
    }
  }

  void average(int family) {
    for (int k = 0; k < kLengths; ++k) {
      const Handle side = sides_.streams[k]->handle();
      ma::Launch& launch = average_[k];
      launch.kind = kind(family);
      launch.spec = spec(family, k);
      const ma::Plan plan = ma::plan(launch.kind, launch.spec, 1, bars_);
      launch.pieces = plan.pieces;
      launch.piece_bars = plan.piece_bars;
      device_.check(device_.order(stream_, side), "ordering streams");
      astray_ = true;
      check(device_.table->ma(device_.index, launch, side));
      device_.check(device_.order(side, stream_), "ordering streams");
    }
    astray_ = false;
  }

  // ---------------------------------------------------------------- equities and layers

  void follow(const Walks& walks, double starting, bool sticky) {
    const equity::Params params{starting, params_.de_per_bar, params_.cutout, kFloor, sticky, true};
    check(device_.table->equity(device_.index, {params, growth_, walks}, stream_));
  }

  void follow_family(int f, const Sink& out, DType type) {
    follow(walks({item_.close, signals_.series(f)}, {request_.close_type, DType::f64}, {out}, type, Cut::always),
           params_.weight[f], params_.switches.neutral == Switches::Neutral::sticky);
  }

  signals::Params family() const {
    signals::Params params{signals::Op::family};
    params.rounding = params_.switches.rounding;
    return params;
  }

  /// A stage whose result later ones need, and maybe the caller.
  void layer(const signals::Params& params, const std::vector<Series>& in, Types types, const Sink& needed,
             int output) {
    stage(params, walks(in, types, {needed}, DType::f64, Cut::nowhere));
    if (!request_.wants[output]) return;
    const Sink target = sink(output);
    stage(params, walks(in, types, {target}, request_.out_type, Cut::nowhere));
    finish(output, target);
  }

  void classify() {
    const Switches& s = params_.switches;
    const bool fixed = s.cut == Switches::Cut::fixed;
    signals::Params vote{signals::Op::average};
    vote.upper = fixed ? params_.cut_level : params_.long_threshold;
    vote.lower = fixed ? -params_.cut_level : params_.short_threshold;
    vote.fill = s.average_fill == Switches::AverageFill::nan ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    // In strategy mode a bar shows the average of the one before.
    const std::int64_t late = params_.strategy_mode ? 1 : 0;
    Rows average = rows(1, DType::f64);
    const auto vote_into = [&](Sink out, DType type) {
      if (late > 0) check(put(out.data, vote.fill, type));
      out = out.from(late);
      if (out.bars == 0) return;
      std::vector<Series> in = signals_.all_series(kFamilies) + votes_.all_series(kFamilies);
      for (Series& series : in) series.bars = out.bars;
      stage(vote, walks(in, {DType::f64, DType::f64}, {out}, type, Cut::nowhere));
    };
    vote_into(average.sink(0), DType::f64);
    if (request_.wants[kAverage]) {
      const Sink target = sink(kAverage);
      vote_into(target, request_.out_type);
      finish(kAverage, target);
    }
    signals::Params turns{signals::Op::direction};
    turns.upper = params_.long_threshold;
    turns.lower = params_.short_threshold;
    for (const auto& [output, params] : {std::pair{kTrend, signals::Params{signals::Op::trend}}, {kDirection, turns}}) {
      if (!request_.wants[output]) continue;
      const Sink target = sink(output);
      stage(params, walks({average.series(0)}, {DType::f64, DType::f64}, {target}, DType::i8, Cut::as_needed));
      finish(output, target);
    }
  }

  Fault put(std::byte* to, double value, DType type) const {
    const auto narrow = static_cast<float>(value);
    const void* const from = type == DType::f64 ? static_cast<const void*>(&value) : &narrow;
    return device_.table->copy(device_.index, to, from, static_cast<std::size_t>(item_size(type)), stream_);
  }

  // ---------------------------------------------------------------- results

  static DType type_of(const Request& request, int output) { return is_class(output) ? DType::i8 : request.out_type; }

  /// Where to compute an output: of which only the last value is wanted, apart.
  Sink sink(int output) { return request_.last_only ? rows(1, type_of(request_, output)).sink(0) : item_.out[output]; }

  void finish(int output, const Sink& computed) const {
    if (!request_.last_only) return;
    const std::byte* const last = computed.data + (bars_ - 1) * computed.stride;
    const std::int64_t bytes = item_size(type_of(request_, output));
    device_.check(
        device_.table->copy(device_.index, item_.out[output].data, last, static_cast<std::size_t>(bytes), stream_),
        "copying on the device");
  }

  const Request& request_;
  const Params& params_;
  const Item& item_;
  const std::int64_t bars_;
  const double* const growth_;
  const Device device_;
  const Handle stream_;
  const Sides& sides_;
  bool astray_ = false;  // whether a stream works that `stream_` does not wait for
  const std::shared_ptr<Luggage> luggage_owner_;
  Luggage& luggage_;
  ma::Launch average_[kLengths];
  Rows averages_, crosses_, equities_, signals_, votes_;
};

}  // namespace

void run_in_stages(const Request& request, const Item& item, const double* growth, const Sides& sides, Handle stream) {
  Stages(request, item, growth, sides, stream).run();
}

}  // namespace wq::atc
