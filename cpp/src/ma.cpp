// SPDX-License-Identifier: Apache-2.0
#include "warpquant/ma/ma.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "warpquant/core/error.h"
#include "warpquant/core/levels.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

WQ_KERNEL_TABLE(ma)

namespace wq::ma {
namespace {

double read(const Series& s, DType type, std::int64_t bar) {
  const std::byte* p = s.data + bar * s.stride;
  if (type == DType::f32) {
    float v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  double v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

void write(const Sink& s, DType type, std::int64_t bar, double value) {
  std::byte* p = s.data + bar * s.stride;
  if (type == DType::f32) {
    const auto v = static_cast<float>(value);
    std::memcpy(p, &v, sizeof v);
  } else {
    std::memcpy(p, &value, sizeof value);
  }
}

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// One call on its way: which series are ready, and which have holes.
class Computation {
 public:
  Computation(const Request& request, std::span<const Item> items, const Execution& execution)
      : request_(request), info_(kinds()[request.kind]), kernels_(kernels_at(execution.level)),
        threads_(execution.threads),
        scratch_(kernels_.scratch_bytes(request.kind, request.specs.data(), static_cast<int>(request.specs.size()))) {
    parts_.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) add(items[i], static_cast<std::int64_t>(i));
    suspect_.assign(parts_.size(), 0);
  }

  void run() {
    std::vector<std::int64_t> all(parts_.size());
    std::iota(all.begin(), all.end(), 0);
    run(all, request_.in_type, parts_);
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
    if (first < item.in.bars) parts_.back().item.in.before = 0;
  }

  static Sink output(const Item& item, std::size_t spec) {
    Sink sink = item.out;
    sink.data += static_cast<std::int64_t>(spec) * item.out_step;
    return sink;
  }

  [[noreturn]] static void refuse(std::int64_t series, std::int64_t bar) {
    throw ParameterError("x: series " + std::to_string(series) + " is missing (NaN or infinite) at bar " +
                         std::to_string(bar) + ", and nan='raise' accepts present values only");
  }

  Job job(DType in_type) const {
    Job j{};
    j.kind = request_.kind;
    j.specs = request_.specs.data();
    j.count = static_cast<int>(request_.specs.size());
    j.in_type = in_type;
    j.out_type = request_.out_type;
    return j;
  }

  static void put(Job& job, const Series& in, const Sink& out, std::int64_t out_step) {
    job.in[job.lanes] = in;
    job.out[job.lanes] = out;
    job.out_step[job.lanes++] = out_step;
  }

  // -------------------------------------------------------------- running kernels

  void run(std::span<const std::int64_t> which, DType in_type, const std::vector<Part>& parts) {
    if (info_.recurrent)
      run_recurrent(which, in_type, parts);
    else
      run_windowed(which, in_type, parts);
  }

  /// Series of similar length share a kernel call.
  void run_recurrent(std::span<const std::int64_t> which, DType in_type, const std::vector<Part>& parts) {
    if (request_.scan && which.size() == 1 && parts[which[0]].item.in.bars >= scan_bars()) {
      Job j = job(in_type);
      put(j, parts[which[0]].item.in, parts[which[0]].item.out, parts[which[0]].item.out_step);
      if (kernels_.scan(j, thread_scratch(scratch_))) {
        suspect_[which[0]] = j.suspect[0];
        return;
      }
    }
    std::vector<std::int64_t> order(which.begin(), which.end());
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return parts[a].item.in.bars > parts[b].item.in.bars; });
    const auto count = static_cast<std::int64_t>(order.size());
    const int threads = count <= kernels_.lanes ? 1 : threads_ > 0 ? threads_ : usable_processors();
    // Full groups hide the latency of the recurrence; fewer, smaller ones keep every thread busy.
    std::int64_t lanes = kMaxLanes;
    while (lanes > kernels_.lanes && (count + lanes - 1) / lanes < threads) lanes /= 2;
    parallel_for(threads, (count + lanes - 1) / lanes, [&](std::int64_t task, int) {
      Job j = job(in_type);
      const std::int64_t begin = task * lanes, end = std::min(begin + lanes, count);
      for (std::int64_t i = begin; i < end; ++i) {
        const Item& item = parts[order[i]].item;
        put(j, item.in, item.out, item.out_step);
      }
      kernels_.recurrent(j, thread_scratch(scratch_));
      for (std::int64_t i = begin; i < end; ++i) suspect_[order[i]] = j.suspect[i - begin];
    });
  }

  std::int64_t scan_bars() const {
    std::int64_t longest = 0;
    for (const Spec& s : request_.specs) longest = std::max(longest, s.length);
    return std::max(kScanBars, 4 * longest);
  }

  /// Blocks of bars stand on their own, so the lanes of a call may be blocks of one series or of many.
  void run_windowed(std::span<const std::int64_t> which, DType in_type, const std::vector<Part>& parts) {
    struct Block {
      std::int64_t part, bar;
    };
    for (std::size_t begin = 0, end; begin < request_.specs.size(); begin = end) {
      const std::int64_t bars = block_bars(request_.specs[begin].length);
      for (end = begin + 1; end < request_.specs.size() && block_bars(request_.specs[end].length) == bars;) ++end;
      std::vector<Block> blocks;
      // The same block of all series, then the next: what lies side by side in memory stays together.
      std::int64_t longest = 0;
      for (const std::int64_t p : which) longest = std::max(longest, parts[p].item.in.bars);
      const bool one_by_one = which.size() < static_cast<std::size_t>(kernels_.lanes);
      if (one_by_one) {
        for (const std::int64_t p : which)
          for (std::int64_t bar = 0; bar < parts[p].item.in.bars; bar += bars) blocks.push_back({p, bar});
      } else {
        for (std::size_t from = 0; from < which.size(); from += kernels_.lanes)
          for (std::int64_t bar = 0; bar < longest; bar += bars)
            for (std::size_t i = from; i < std::min(from + kernels_.lanes, which.size()); ++i)
              if (bar < parts[which[i]].item.in.bars) blocks.push_back({which[i], bar});
      }
      const auto count = static_cast<std::int64_t>(blocks.size());
      constexpr std::int64_t kCalls = 8;  // kernel calls per task
      const std::int64_t per_task = kernels_.lanes * kCalls;
      parallel_for(threads_, (count + per_task - 1) / per_task, [&](std::int64_t task, int) {
        for (std::int64_t i = task * per_task; i < std::min((task + 1) * per_task, count); i += kernels_.lanes) {
          Job j = job(in_type);
          j.specs += begin;
          j.count = static_cast<int>(end - begin);
          std::int64_t first_bar[kMaxLanes];
          for (std::int64_t b = i; b < std::min(i + kernels_.lanes, count); ++b) {
            const Item& item = parts[blocks[b].part].item;
            first_bar[j.lanes] = blocks[b].bar;
            Series in = item.in.from(blocks[b].bar);
            Sink out = item.out.from(blocks[b].bar);
            in.bars = out.bars = std::min(in.bars, bars);
            out.data += static_cast<std::int64_t>(begin) * item.out_step;
            put(j, in, out, item.out_step);
          }
          kernels_.windowed(j, first_bar, thread_scratch(scratch_));
          for (int lane = 0; lane < j.lanes; ++lane)
            if (j.suspect[lane]) std::atomic_ref(suspect_[blocks[i + lane].part]).store(1, std::memory_order_relaxed);
        }
      });
    }
  }

  // -------------------------------------------------------------- missing values

  /// Compute series with holes again, from copies without.
  void mend(std::span<const std::int64_t> holes) {
    // A few at a time, to bound the memory of the copies.
    constexpr std::size_t kAtOnce = 4 * kMaxLanes;
    for (std::size_t begin = 0; begin < holes.size(); begin += kAtOnce) {
      const auto some = holes.subspan(begin, std::min(kAtOnce, holes.size() - begin));
      std::vector<std::vector<double>> copies(some.size());
      std::vector<std::vector<std::int64_t>> missing(some.size());
      std::vector<Part> whole;
      std::vector<std::int64_t> which;
      for (std::size_t i = 0; i < some.size(); ++i) {
        copy_without_holes(parts_[some[i]], copies[i], missing[i]);
        if (missing[i].empty()) continue;  // every value is finite, only their sum was not
        which.push_back(static_cast<std::int64_t>(whole.size()));
        Part part = parts_[some[i]];
        const auto bars = static_cast<std::int64_t>(copies[i].size());
        part.item.in = {reinterpret_cast<const std::byte*>(copies[i].data()), sizeof(double), bars, 0};
        part.item.out.bars = bars;
        whole.push_back(part);
      }
      const std::vector<char> saved = std::exchange(suspect_, std::vector<char>(whole.size(), 0));
      run(which, DType::f64, whole);
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
  const std::size_t scratch_;
  std::vector<Part> parts_;
  std::vector<char> suspect_;
};

// ------------------------------------------------------------------------------------------------ streams

/// A kind on scalars: the elements that the kernels run on packs.
template <class Kind>
class StreamOf final : public Stream {
 public:
  StreamOf(const Kind& kind, const Spec& spec, NanPolicy nan, std::int64_t series)
      : kind_(kind), nan_(nan), refresh_(Kind::info.recurrent ? kRefresh : block_bars(spec.length)) {
    // Two places per value: the window is then contiguous wherever it ends.
    reach_ = kind.span() + 2;
    if constexpr (Kind::info.recurrent) reach_ += kind.warmup();
    lanes_.resize(series);
    for (Lane& lane : lanes_) {
      lane.history.assign(2 * reach_, 0.0);
      lane.ring.assign(ring_size(), 0.0);
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

  std::int64_t words() const override { return 4 + reach_ + ring_size() + kStateWords; }

  void save(std::uint64_t* words) const override {
    for (const Lane& lane : lanes_) {
      *words++ = static_cast<std::uint64_t>(lane.bars);
      *words++ = static_cast<std::uint64_t>(lane.since_hole);
      *words++ = lane.dead;
      *words++ = static_cast<std::uint64_t>(next_in_ring(lane));
      std::memcpy(words, lane.history.data() + lane.newest + 1, sizeof(double) * reach_);
      words += reach_;
      std::memcpy(words, lane.ring.data(), sizeof(double) * ring_size());
      words += ring_size();
      State state = lane.state;
      if constexpr (kHasRing) state.ring = nullptr;
      std::memcpy(words, &state, sizeof state);
      words += kStateWords;
    }
  }

  void load(const std::uint64_t* words) override {
    std::vector<Lane> lanes(lanes_.size());
    for (Lane& lane : lanes) {
      lane.bars = static_cast<std::int64_t>(*words++);
      lane.since_hole = static_cast<std::int64_t>(*words++);
      const std::uint64_t dead = *words++, next_in_ring = *words++;
      if (lane.bars < 0 || lane.since_hole < 0 || dead > 1 || next_in_ring > static_cast<std::uint64_t>(ring_size()))
        throw ParameterError("state: counters out of range; this is not the state of such a stream");
      lane.dead = dead != 0;
      lane.history.assign(2 * reach_, 0.0);
      std::memcpy(lane.history.data(), words, sizeof(double) * reach_);
      std::memcpy(lane.history.data() + reach_, words, sizeof(double) * reach_);
      lane.newest = reach_ - 1;
      words += reach_;
      lane.ring.assign(ring_size(), 0.0);
      std::memcpy(lane.ring.data(), words, sizeof(double) * ring_size());
      words += ring_size();
      std::memcpy(static_cast<void*>(&lane.state), words, sizeof lane.state);
      words += kStateWords;
      if constexpr (kHasRing) lane.state.next = static_cast<std::int64_t>(next_in_ring) % ring_size();
    }
    lanes_ = std::move(lanes);
  }

 private:
  using State = typename Kind::template State<double>;
  static constexpr bool kHasRing = requires(State s) { s.ring; };
  static constexpr std::int64_t kStateWords = (sizeof(State) + 7) / 8;

  struct Lane {
    std::int64_t bars = 0;        // since the first present value; holes count for windows only
    std::int64_t since_hole = 0;  // bars since the last hole, 0 if there was none
    bool dead = false;            // `propagate` has met a hole
    std::int64_t newest = 0;      // place of the newest value in `history`
    std::vector<double> history, ring;
    State state{};
  };

  std::int64_t ring_size() const {
    if constexpr (kHasRing) return kind_.ring();
    return 0;
  }
  std::int64_t next_in_ring(const Lane& lane) const {
    if constexpr (kHasRing) return lane.state.next;
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
    if (lane.bars == 0)
      std::fill(lane.history.begin(), lane.history.end(), x);
    else
      push(lane, hole && Kind::info.ends_only ? kNaN : x);
    const Window<double> window{lane.history.data() + lane.newest + reach_};
    const std::int64_t bar = lane.bars++;
    double value;
    if constexpr (Kind::info.recurrent) {
      if (bar < kind_.warmup()) return kNaN;
      if (bar == kind_.warmup()) {
        kind_.first(lane.state, window);
      } else {
        if constexpr (requires { kind_.refresh(lane.state, window); })
          if (bar % refresh_ == 0) kind_.refresh(lane.state, window.ago(1));
        kind_.advance(lane.state, window);
      }
      value = kind_.value(lane.state);
    } else {
      if constexpr (kHasRing) lane.state.ring = lane.ring.data();
      if (bar % refresh_ == 0) kind_.open(lane.state, window.ago(1));
      value = kind_.step(lane.state, window);
      if (hole)
        lane.since_hole = 1;
      else if (lane.since_hole > 0)
        ++lane.since_hole;
      const bool sees_hole = lane.since_hole > 0 && lane.since_hole <= kind_.warmup() + 1;
      if (bar < kind_.warmup() || (sees_hole && !Kind::info.ends_only)) return kNaN;
    }
    return value;
  }

  void push(Lane& lane, double x) {
    lane.newest = (lane.newest + 1) % reach_;
    lane.history[lane.newest] = lane.history[lane.newest + reach_] = x;
  }

  const Kind kind_;
  const NanPolicy nan_;
  const std::int64_t refresh_;
  std::int64_t reach_;
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
