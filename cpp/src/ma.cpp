// SPDX-License-Identifier: Apache-2.0
#include "warpquant/ma/ma.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

WQ_KERNEL_TABLE(ma)

namespace wq::ma {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// One call on its way: which series are ready, and which have holes.
class Computation {
 public:
  Computation(const Request& request, std::span<const Item> items, const Execution& execution)
      : request_(request), info_(kinds()[request.kind]), kernels_(kernels_at(execution.level)),
        threads_(execution.threads > 0 ? execution.threads : usable_processors()) {
    parts_.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) add(items[i], static_cast<std::int64_t>(i));
    suspect_.assign(parts_.size(), 0);
  }

  void run() {
    run(request_.in_type, parts_);
    std::vector<std::int64_t> holes;
    for (std::size_t i = 0; i < parts_.size(); ++i)
      if (suspect_[i]) holes.push_back(static_cast<std::int64_t>(i));
    if (!holes.empty()) mend(holes);
  }

 private:
  /// A series from its first present value on.
  struct Part {
    Item item;
    std::int64_t index, first;  // in the call; of the first present value
  };

  void add(const Item& item, std::int64_t index) {
    std::int64_t first = 0;
    while (first < item.in.bars && !std::isfinite(read(item.in, request_.in_type, first))) ++first;
    if (first > 0 && request_.nan == NanPolicy::raise) refuse(index, 0);
    for (std::size_t s = 0; s < request_.specs.size(); ++s)
      for (std::int64_t bar = 0; bar < first; ++bar) write(output(item, s), request_.out_type, bar, kNaN);
    if (first < item.in.bars)
      parts_.push_back({{item.in.from(first), item.out.from(first), item.out_step}, index, first});
  }

  static Sink output(const Item& item, std::size_t spec) {
    Sink sink = item.out;
    sink.data += static_cast<std::int64_t>(spec) * item.out_step;
    return sink;
  }

  [[noreturn]] void refuse(std::int64_t series, std::int64_t bar) const {
    throw ParameterError("x: " + request_.label(series) + " is missing (NaN or infinite) at bar " +
                         std::to_string(bar) + ", and nan='raise' accepts present values only");
  }

  // -------------------------------------------------------------- running kernels

  /// Series in groups; long ones of windowed averages also in ranges of whole blocks.
  void run(DType in_type, const std::vector<Part>& parts) {
    constexpr std::int64_t kTaskPoints = 1 << 16;  // enough to be worth a thread, little enough to share out
    std::int64_t longest = 0, points = 0;
    for (const Part& part : parts) {
      longest = std::max(longest, part.item.in.bars);
      points += part.item.in.bars;
    }
    for (std::size_t begin = 0, end; begin < request_.specs.size(); begin = end) {
      // Averages of a call share what they read if their blocks have the same length.
      const std::int64_t block = block_bars(request_.specs[begin].length);
      for (end = begin + 1; end < request_.specs.size() && block_bars(request_.specs[end].length) == block;) ++end;
      std::vector<Spec> specs;
      std::vector<std::size_t> place;
      for (std::size_t s = begin; s < end; ++s) {
        if (warmup(s) < longest) {
          specs.push_back(request_.specs[s]);
          place.push_back(s);
        } else {
          for (const Part& part : parts) no_value(part, s);
        }
      }
      for (std::size_t s = 0, e; s < specs.size(); s = e) {
        for (e = s + 1; e < specs.size() && place[e] == place[e - 1] + 1;) ++e;
        run(std::span(specs).subspan(s, e - s), place[s], in_type, parts, longest, points, kTaskPoints);
      }
    }
  }

  /// Averages [first_spec, first_spec + specs.size()) of the call.
  void run(std::span<const Spec> specs, std::size_t first_spec, DType in_type, const std::vector<Part>& parts,
           std::int64_t longest, std::int64_t points, std::int64_t task_points) {
    const int count = static_cast<int>(specs.size());
    const std::size_t scratch = kernels_.scratch_bytes(request_.kind, specs.data(), count);
    const auto series = static_cast<std::int64_t>(parts.size());
    const std::int64_t groups = (series + kGroup - 1) / kGroup;
    std::int64_t range = longest;
    if (!info_.recurrent) {
      const std::int64_t block = block_bars(specs[0].length), group = std::min<std::int64_t>(series, kGroup);
      range = std::max(block, task_points / group / block * block);
    }
    const std::int64_t ranges = (longest + range - 1) / range;
    const int threads = points * count <= task_points ? 1 : threads_;
    parallel_for(threads, groups * ranges, [&](std::int64_t task, int) {
      Job job{};
      job.kind = request_.kind;
      job.specs = specs.data();
      job.count = count;
      job.in_type = in_type;
      job.out_type = request_.out_type;
      job.begin = task % ranges * range;
      job.end = job.begin + range;
      const std::int64_t from = task / ranges * kGroup, to = std::min<std::int64_t>(from + kGroup, series);
      for (std::int64_t i = from; i < to; ++i) {
        job.in[job.series] = parts[i].item.in;
        job.out[job.series] = output(parts[i].item, first_spec);
        job.out_step[job.series++] = parts[i].item.out_step;
      }
      kernels_.average(job, thread_scratch(scratch));
      for (int j = 0; j < job.series; ++j)
        if (job.suspect[j]) std::atomic_ref(suspect_[from + j]).store(1, std::memory_order_relaxed);
    });
  }

  /// The series is too short for the average.
  void no_value(const Part& part, std::size_t spec) const {
    for (std::int64_t bar = 0; bar < part.item.in.bars; ++bar)
      write(output(part.item, spec), request_.out_type, bar, kNaN);
    if (request_.nan == NanPolicy::raise)
      for (std::int64_t bar = 0; bar < part.item.in.bars; ++bar)
        if (!std::isfinite(read(part.item.in, request_.in_type, bar))) refuse(part.index, part.first + bar);
  }

  // -------------------------------------------------------------- missing values

  /// Compute series with holes again, from copies without.
  void mend(std::span<const std::int64_t> holes) {
    // A few at a time, to bound the memory of the copies.
    constexpr std::size_t kAtOnce = 16 * kGroup;
    for (std::size_t begin = 0; begin < holes.size(); begin += kAtOnce) {
      const auto some = holes.subspan(begin, std::min(kAtOnce, holes.size() - begin));
      std::vector<std::vector<double>> copies(some.size());
      std::vector<std::vector<std::int64_t>> missing(some.size());
      std::vector<Part> whole;
      for (std::size_t i = 0; i < some.size(); ++i) {
        copy_without_holes(parts_[some[i]], copies[i], missing[i]);
        if (missing[i].empty()) continue;  // every value is finite, only their sum was not
        Part part = parts_[some[i]];
        const auto bars = static_cast<std::int64_t>(copies[i].size());
        part.item.in = {reinterpret_cast<const std::byte*>(copies[i].data()), sizeof(double), bars};
        part.item.out.bars = bars;
        whole.push_back(part);
      }
      const std::vector<char> saved = std::exchange(suspect_, std::vector<char>(whole.size(), 0));
      run(DType::f64, whole);
      suspect_ = saved;
      for (std::size_t i = 0; i < some.size(); ++i)
        if (!missing[i].empty())
          for (std::size_t s = 0; s < request_.specs.size(); ++s) punch_holes(parts_[some[i]], missing[i], s);
    }
  }

  /// The series as the kernels shall see it. Recurrences: the present values alone. Windows: holes repeat the value
  /// before them (an average without memory keeps them). Under `propagate` it ends at the first hole.
  void copy_without_holes(const Part& part, std::vector<double>& copy, std::vector<std::int64_t>& missing) const {
    const Series& in = part.item.in;
    copy.reserve(in.bars);
    for (std::int64_t bar = 0; bar < in.bars; ++bar) {
      const double x = read(in, request_.in_type, bar);
      if (std::isfinite(x)) {
        copy.push_back(x);
        continue;
      }
      if (request_.nan == NanPolicy::raise) refuse(part.index, part.first + bar);
      missing.push_back(bar);
      if (info_.ends_only)
        copy.push_back(kNaN);
      else if (request_.nan == NanPolicy::propagate)
        return;
      else if (!info_.recurrent)
        copy.push_back(copy.back());
    }
  }

  /// Put the results of such a copy back where they belong.
  void punch_holes(const Part& part, const std::vector<std::int64_t>& missing, std::size_t spec) const {
    if (info_.ends_only) return;  // the holes were in the copy
    const Sink out = output(part.item, spec);
    const auto set_nan = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t bar = from; bar < std::min(to, out.bars); ++bar) write(out, request_.out_type, bar, kNaN);
    };
    if (request_.nan == NanPolicy::propagate) return set_nan(missing.front(), out.bars);
    if (!info_.recurrent) {
      for (const std::int64_t bar : missing) set_nan(bar, bar + warmup(spec) + 1);
      return;
    }
    // Spread the values of the present bars, last first, so that none is overwritten before it has moved.
    const std::int64_t size = item_size(request_.out_type);
    auto value = static_cast<std::int64_t>(out.bars - static_cast<std::int64_t>(missing.size()));
    auto hole = missing.rbegin();
    for (std::int64_t bar = out.bars - 1; hole != missing.rend(); --bar) {
      if (bar == *hole) {
        write(out, request_.out_type, bar, kNaN);
        ++hole;
      } else {
        std::memcpy(out.data + bar * out.stride, out.data + --value * out.stride, static_cast<std::size_t>(size));
      }
    }
  }

  std::int64_t warmup(std::size_t spec) const {
    std::int64_t bars = 0;
    AllKinds::visit(request_.kind, request_.specs[spec], [&](const auto& kind) { bars = kind.warmup(); });
    return bars;
  }

  const Request& request_;
  const Info& info_;
  const Kernels& kernels_;
  const int threads_;
  std::vector<Part> parts_;
  std::vector<char> suspect_;
};

// ------------------------------------------------------------------------------------------------ streams

/// A kind on packets of plain doubles. The packet that is not full yet is computed afresh on every bar from the state
/// before it: bar j of a packet depends on no later one.
template <class Kind>
class StreamOf final : public Stream {
 public:
  StreamOf(const Kind& kind, const Spec& spec, NanPolicy nan, std::int64_t series)
      : kind_(kind), nan_(nan), block_(block_bars(spec.length)), begin_(Kind::info.recurrent ? kind.warmup() + 1 : 0),
        reach_(kind.span() + kEight + begin_) {
    constexpr std::int64_t kMost = std::int64_t{1} << 28;  // doubles
    WQ_EXPECT(kind.span() < kMost && reach_ < kMost && words() < kMost / series, ParameterError,
              "length: a stream of length " + std::to_string(spec.length) + " over " + std::to_string(series) +
                  " series would keep more than 2**28 numbers; accepted are shorter ones");
    lanes_.resize(static_cast<std::size_t>(series));
    for (Lane& lane : lanes_) {
      lane.history.assign(capacity(), 0.0);
      lane.kept.assign(kept_size(), 0.0);
    }
  }

  void update(const double* x, double* out) override {
    if (nan_ == NanPolicy::raise)
      for (std::size_t i = 0; i < lanes_.size(); ++i)
        if (!std::isfinite(x[i]))
          throw ParameterError("x: the value of series " + std::to_string(i) +
                               " is missing (NaN or infinite), and nan='raise' accepts present values only");
    for (std::size_t i = 0; i < lanes_.size(); ++i) out[i] = next(lanes_[i], x[i]);
  }

  std::int64_t words() const override { return 3 + reach_ + kept_size() + kStateWords; }

  void save(std::uint64_t* words) const override {
    const auto copy = [&](const void* from, std::int64_t count) {
      std::memcpy(words, from, sizeof(std::uint64_t) * static_cast<std::size_t>(count));
      words += count;
    };
    for (const Lane& lane : lanes_) {
      *words++ = static_cast<std::uint64_t>(lane.bars);
      *words++ = static_cast<std::uint64_t>(lane.since_hole);
      *words++ = lane.dead;
      copy(lane.history.data() + lane.newest + 1 - reach_, reach_);
      if (kept_size() > 0) copy(lane.kept.data(), kept_size());
      StateBytes state{};
      std::memcpy(state.words, &lane.state, sizeof lane.state);
      copy(state.words, kStateWords);
    }
  }

  void load(const std::uint64_t* words) override {
    std::vector<Lane> lanes(lanes_.size());
    for (Lane& lane : lanes) {
      const std::uint64_t bars = *words++, since_hole = *words++, dead = *words++;
      constexpr std::uint64_t kMostBars = std::uint64_t{1} << 62;
      if (bars > kMostBars || since_hole > bars || dead > 1)
        throw ParameterError("state: counters out of range; this is not the state of such a stream");
      lane.bars = static_cast<std::int64_t>(bars);
      lane.since_hole = static_cast<std::int64_t>(since_hole);
      lane.dead = dead != 0;
      lane.history.assign(capacity(), 0.0);
      lane.newest = reach_ - 1;
      std::memcpy(lane.history.data(), words, sizeof(double) * reach_);
      words += reach_;
      lane.kept.assign(kept_size(), 0.0);
      if (kept_size() > 0) std::memcpy(lane.kept.data(), words, sizeof(double) * kept_size());
      words += kept_size();
      std::memcpy(static_cast<void*>(&lane.state), words, sizeof lane.state);
      words += kStateWords;
    }
    lanes_ = std::move(lanes);
  }

 private:
  using P = Packets<double>;
  using State = typename Kind::template State<P>;
  static constexpr bool kKeeps = requires(State s) { s.kept; };
  static constexpr std::int64_t kStateWords = (sizeof(State) + 7) / 8;
  struct StateBytes {
    std::uint64_t words[kStateWords];
  };

  struct Lane {
    std::int64_t bars = 0;        // since the first present value; holes count for windows only
    std::int64_t since_hole = 0;  // bars since the last hole, 0 if there was none
    bool dead = false;            // `propagate` has met a hole
    std::int64_t newest = 0;      // place of the newest value in `history`
    std::vector<double> history;  // the last `reach_` values, with room to go on
    std::vector<double> kept;     // what the kind keeps for itself
    State state{};                // before the packet of the newest value
  };

  /// Room for many bars before the history has to move, and for the rest of a packet behind the newest value.
  std::size_t capacity() const { return static_cast<std::size_t>(2 * reach_ + 256 + kEight); }
  std::int64_t kept_size() const {
    if constexpr (kKeeps) return kind_.kept() + block_ + kEight;
    return 0;
  }

  double next(Lane& lane, double x) {
    const bool hole = !std::isfinite(x);
    if (lane.dead || (hole && lane.bars == 0)) return kNaN;
    if (hole && !Kind::info.ends_only) {
      lane.dead = nan_ == NanPolicy::propagate;
      if (lane.dead || Kind::info.recurrent) return kNaN;
      x = lane.history[lane.newest];
    }
    push(lane, hole ? (Kind::info.ends_only ? kNaN : x) : x);
    const std::int64_t bar = lane.bars++;
    if (hole)
      lane.since_hole = 1;
    else if (lane.since_hole > 0)
      ++lane.since_hole;
    if (bar < begin_) return first_value(lane, bar);

    const std::int64_t j = (bar - begin_) % kEight, in_block = (bar - begin_ - j) % block_;
    const auto window = own<P>(lane.history.data() + lane.newest - j);
    State state = lane.state;
    if constexpr (kKeeps) state.made = state.kept = lane.kept.data() + kind_.kept() + in_block;
    if constexpr (requires { kind_.template open<P>(state, window); })
      if (j == 0 && in_block == 0) {
        kind_.template open<P>(state, window);
        lane.state = state;
      }
    if constexpr (requires { kind_.template prepare<P>(state, window); }) kind_.template prepare<P>(state, window);
    const P value = kind_.template step<P>(state, window);
    if (j == kEight - 1) lane.state = state;
    if constexpr (kKeeps) lane.state.made = lane.state.kept = nullptr;
    const bool sees_hole = lane.since_hole > 0 && lane.since_hole <= kind_.warmup() + 1;
    if (!Kind::info.recurrent && (bar < kind_.warmup() || (sees_hole && !Kind::info.ends_only))) return kNaN;
    return value.part[j];
  }

  /// Up to the first value of a recurrence.
  double first_value(Lane& lane, std::int64_t bar) {
    if constexpr (Kind::info.recurrent)
      if (bar == kind_.warmup()) return kind_.template first<P>(lane.state, own<P>(lane.history.data() + lane.newest));
    return kNaN;
  }

  void push(Lane& lane, double x) {
    if (lane.bars == 0) {  // before its first bar a series repeats its first value
      lane.newest = reach_ - 1;
      std::fill(lane.history.begin(), lane.history.begin() + reach_, x);
      return;
    }
    if (lane.newest + 1 + kEight >= static_cast<std::int64_t>(lane.history.size())) {
      std::copy(lane.history.begin() + (lane.newest + 1 - reach_), lane.history.begin() + (lane.newest + 1),
                lane.history.begin());
      lane.newest = reach_ - 1;
    }
    lane.history[++lane.newest] = x;
  }

  const Kind kind_;
  const NanPolicy nan_;
  const std::int64_t block_, begin_;  // begin_: first bar of the first packet
  const std::int64_t reach_;          // values that `history` holds at least
  std::vector<Lane> lanes_;
};

}  // namespace

NanPolicy parse_nan_policy(std::string_view name) {
  if (name == "window") return NanPolicy::window;
  if (name == "propagate") return NanPolicy::propagate;
  if (name == "raise") return NanPolicy::raise;
  throw ParameterError("nan: '" + std::string(name) + "' is not a policy; accepted are 'window', 'propagate', 'raise'");
}

std::span<const Info> kinds() { return AllKinds::info; }

void compute(const Request& request, std::span<const Item> items, const Execution& execution) {
  if (request.specs.empty()) return;
  Computation(request, items, execution).run();
}

std::unique_ptr<Stream> Stream::make(int kind, const Spec& spec, NanPolicy nan, std::int64_t series) {
  std::unique_ptr<Stream> stream;
  AllKinds::visit(kind, spec,
                  [&]<class Kind>(const Kind& k) { stream = std::make_unique<StreamOf<Kind>>(k, spec, nan, series); });
  if (!stream) throw InternalError("no kind of average has index " + std::to_string(kind));
  return stream;
}

}  // namespace wq::ma
