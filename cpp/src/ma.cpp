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
#include "warpquant/core/parallel.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/launch.h"
#include "warpquant/ma/ops.h"

WQ_KERNEL_TABLE(ma)

namespace wq::ma {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Hole hole_of(const Info& info, NanPolicy nan) {
  if (info.ends_only) return Hole::keep;
  if (nan == NanPolicy::propagate) return Hole::end;
  return info.recurrent ? Hole::skip : Hole::repeat;
}

[[noreturn]] void refuse(const Request& request, std::int64_t series, std::int64_t bar) {
  throw ParameterError("x: " + request.label(series) + " is missing (NaN or infinite) at bar " + std::to_string(bar) +
                       ", and nan='raise' accepts present values only");
}

/// One call on its way: which series are ready, and which have holes.
class Computation {
 public:
  Computation(const Request& request, std::span<const Item> items, const Execution& execution)
      : request_(request), info_(kinds()[request.kind]), hole_(hole_of(info_, request.nan)),
        kernels_(kernels_at(execution.level)), device_(execution.device), pipeline_(execution.pipeline),
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
    if (first > 0 && request_.nan == NanPolicy::raise) refuse(request_, index, 0);
    for (std::size_t s = 0; s < request_.specs.size(); ++s)
      for (std::int64_t bar = 0; bar < first; ++bar) write(output(item, s), request_.out_type, bar, kNaN);
    if (first == item.in.bars) return;
    parts_.push_back({{item.in.from(first), item.out.from(first), item.out_step}, index, first});
    parts_.back().item.in.before = 0;  // what is missing is no part of the series
  }

  static Sink output(const Item& item, std::size_t spec) {
    Sink sink = item.out;
    sink.data += static_cast<std::int64_t>(spec) * item.out_step;
    return sink;
  }

  // -------------------------------------------------------------- running kernels

  void run(DType in_type, const std::vector<Part>& parts) {
    std::int64_t longest = 0, points = 0;
    for (const Part& part : parts) {
      longest = std::max(longest, part.item.in.bars);
      points += part.item.in.bars;
    }
    std::vector<std::size_t> specs;
    for (std::size_t s = 0; s < request_.specs.size(); ++s) {
      if (warmup(s) < longest)
        specs.push_back(s);
      else
        for (const Part& part : parts) no_value(part, s);
    }
    const auto outputs = static_cast<std::int64_t>(specs.size());
    past_cache_ = points * (item_size(in_type) + outputs * item_size(request_.out_type)) > kPastCache;
    // Averages that come one after the other share what they read; those of windows if their blocks agree.
    for (std::size_t i = 0, end; i < specs.size(); i = end) {
      const auto together = [&](std::size_t s) {
        return specs[s] == specs[s - 1] + 1 && (info_.recurrent || block(specs[s]) == block(specs[i]));
      };
      for (end = i + 1; end < specs.size() && together(end);) ++end;
      const Range range{specs[i], static_cast<int>(end - i)};
      if (device_)
        run_on_device(range, in_type, parts);
      else if (!info_.recurrent)
        run_windowed(range, in_type, parts, points);
      else if (!run_pieces(range, in_type, parts))
        run_recurrent(range, in_type, parts, points);
    }
  }

  /// Consecutive averages of the call.
  struct Range {
    std::size_t first;
    int count;
  };

  std::int64_t block(std::size_t spec) const { return block_bars(request_.specs[spec].length); }

  std::size_t scratch(const Range& specs) const {
    return kernels_.scratch_bytes(request_.kind, &request_.specs[specs.first], specs.count);
  }

  Job job(const Range& specs, DType in_type) const {
    Job j{};
    j.kind = request_.kind;
    j.specs = &request_.specs[specs.first];
    j.count = specs.count;
    j.in_type = in_type;
    j.out_type = request_.out_type;
    j.past_cache = past_cache_;
    return j;
  }

  void put(Job& job, const Range& specs, const Part& part, std::int64_t begin, std::int64_t end) const {
    job.in[job.lanes] = part.item.in;
    job.out[job.lanes] = output(part.item, specs.first);
    job.out_step[job.lanes] = part.item.out_step;
    job.begin[job.lanes] = begin;
    job.end[job.lanes++] = end;
  }

  void suspect(std::size_t part) { std::atomic_ref(suspect_[part]).store(1, std::memory_order_relaxed); }

  /// Threads for so many values, if a call without takes up to 50 us.
  int threads_for(std::int64_t points) const { return points < kWorthAThread ? 1 : threads_; }
  static constexpr std::int64_t kWorthAThread = 1 << 16;

  /// The same in batches through a device.
  void run_on_device(const Range& specs, DType in_type, const std::vector<Part>& parts) {
    std::vector<std::int64_t> bars;
    for (const Part& part : parts) bars.push_back(part.item.in.bars);
    const Packing packing(std::move(bars));
    const std::int64_t in_size = item_size(in_type), out_size = item_size(request_.out_type);
    const auto spec = [&](int s) -> const Spec& { return request_.specs[specs.first + static_cast<std::size_t>(s)]; };

    // Up: descriptions of series, descriptions of results (for each average), values. Down: a flag per series and one
    // for any of them, results.
    const auto flags_size = [](std::int64_t count) { return (count + 2) / 2 * 2 * sizeof(int); };
    const auto sinks_of = [&](std::byte* up, std::int64_t count, int s) {
      return reinterpret_cast<Sink*>(up + count * sizeof(Series)) + s * count;
    };
    const auto values_of = [&](std::byte* up, std::int64_t count) {
      return reinterpret_cast<std::byte*>(sinks_of(up, count, specs.count));
    };
    const auto results_of = [&](std::byte* down, const Cargo& c, int s) {
      return down + flags_size(c.to - c.from) + s * packing.points(c.from, c.to) * out_size;
    };

    Freight freight;
    freight.items = std::ssize(parts);
    freight.load = [&](std::int64_t from, std::int64_t to) {
      const auto count = static_cast<std::size_t>(to - from);
      const auto points = static_cast<std::size_t>(packing.points(from, to));
      Load load;
      load.up = count * (sizeof(Series) + specs.count * sizeof(Sink)) + points * in_size;
      load.down = flags_size(to - from) + specs.count * points * out_size;
      for (int s = 0; s < specs.count; ++s)
        load.scratch =
            std::max(load.scratch, plan(request_.kind, spec(s), to - from, packing.longest(from, to)).scratch_bytes);
      return load;
    };
    freight.pack = [&](const Cargo& c) {
      const std::int64_t count = c.to - c.from;
      std::byte* const values = values_of(c.up, count);
      packing.each(threads_, c, [&](std::int64_t i, std::int64_t offset) {
        const Part& part = parts[i];
        gather(part.item.in, in_type, values + offset * in_size);
        const std::byte* const there = c.device_up + (values - c.up) + offset * in_size;
        reinterpret_cast<Series*>(c.up)[i - c.from] = {there, in_size, part.item.in.bars};
        for (int s = 0; s < specs.count; ++s)
          sinks_of(c.up, count, s)[i - c.from] = {results_of(c.device_down, c, s) + offset * out_size, out_size,
                                                  part.item.in.bars};
      });
    };
    freight.launch = [&](const Cargo& c) {
      const std::int64_t count = c.to - c.from;
      device_->check(device_->table->fill(device_->index, c.device_down, 0, flags_size(count), c.stream), "clearing");
      for (int s = 0; s < specs.count; ++s) {
        const Plan cut = plan(request_.kind, spec(s), count, packing.longest(c.from, c.to));
        const Launch launch{request_.kind,
                            spec(s),
                            in_type,
                            request_.out_type,
                            count,
                            reinterpret_cast<const Series*>(c.device_up),
                            sinks_of(c.device_up, count, s),
                            reinterpret_cast<int*>(c.device_down),
                            cut.pieces,
                            cut.piece_bars,
                            c.scratch,
                            {}};
        device_->check(device_->table->ma(device_->index, launch, c.stream), "starting a kernel");
      }
    };
    freight.unpack = [&](const Cargo& c) {
      packing.each(threads_, c, [&](std::int64_t i, std::int64_t offset) {
        if (reinterpret_cast<const int*>(c.down)[i - c.from] != 0) suspect(i);
        Sink sink = parts[i].item.out;
        sink.bars = parts[i].item.in.bars;
        for (int s = 0; s < specs.count; ++s) {
          sink.data = output(parts[i].item, specs.first + s).data;
          scatter(results_of(c.down, c, s) + offset * out_size, sink, request_.out_type);
        }
      });
    };
    ship(*device_, pipeline_, freight);
  }

  /// Series of similar length share a call of the kernel, whole.
  void run_recurrent(const Range& specs, DType in_type, const std::vector<Part>& parts, std::int64_t points) {
    const std::int64_t count = std::ssize(parts);
    const std::vector<std::int64_t> order = longest_first(count, [&](std::int64_t i) { return parts[i].item.in.bars; });
    const int threads = threads_for(points * specs.count);
    // Below AVX-512, full calls hide the latency of the recurrence; smaller ones keep every thread busy.
    std::int64_t lanes = kMostLanes;
    while (lanes > kernels_.lanes && (count + lanes - 1) / lanes < threads) lanes /= 2;
    const std::size_t bytes = scratch(specs);
    parallel_for(threads, (count + lanes - 1) / lanes, [&](std::int64_t task, int) {
      Job j = job(specs, in_type);
      const std::int64_t begin = task * lanes, end = std::min(begin + lanes, count);
      for (std::int64_t i = begin; i < end; ++i) put(j, specs, parts[order[i]], 0, parts[order[i]].item.in.bars);
      kernels_.average(j, thread_scratch(bytes));
      for (std::int64_t i = begin; i < end; ++i)
        if (j.suspect[i - begin]) suspect(order[i]);
    });
  }

  /// Blocks stand on their own: lanes are some blocks of neighbouring series, or of one series, far apart.
  void run_windowed(const Range& specs, DType in_type, const std::vector<Part>& parts, std::int64_t points) {
    struct Piece {
      std::int64_t part, begin, end;
    };
    const std::int64_t block = this->block(specs.first), lanes = kernels_.lanes, series = std::ssize(parts);
    constexpr std::int64_t kBlocks = 8;  // of a piece, at most: enough to make little of what a call costs
    std::vector<Piece> pieces;
    for (std::int64_t from = 0, to; from < series; from = to) {
      const bool one_by_one = info_.ends_only && parts[from].item.in.stride == item_size(in_type);
      to = from + lanes <= series && !one_by_one ? from + lanes : from + 1;
      std::int64_t longest = 0;
      for (std::int64_t i = from; i < to; ++i) longest = std::max(longest, parts[i].item.in.bars);
      const std::int64_t blocks = (longest + block - 1) / block;
      const bool one = to == from + 1 && !one_by_one;
      const std::int64_t apart = one ? (blocks + lanes - 1) / lanes : blocks;  // blocks from one lane to the next
      for (std::int64_t first = 0; first < apart; first += kBlocks)
        for (std::int64_t b = first; b < blocks; b += apart)
          for (std::int64_t i = from; i < to; ++i) {
            const std::int64_t end =
                std::min({(b + kBlocks) * block, (b - first + apart) * block, parts[i].item.in.bars});
            if (b * block < end) pieces.push_back({i, b * block, end});
          }
    }
    // Lanes that end together leave none of the others to walk alone.
    std::stable_sort(pieces.begin(), pieces.end(),
                     [](const Piece& a, const Piece& b) { return a.end - a.begin > b.end - b.begin; });
    const std::int64_t count = std::ssize(pieces);
    const std::size_t bytes = scratch(specs);
    parallel_for(threads_for(points * specs.count), (count + lanes - 1) / lanes, [&](std::int64_t task, int) {
      Job j = job(specs, in_type);
      const std::int64_t first = task * lanes, last = std::min(first + lanes, count);
      for (std::int64_t i = first; i < last; ++i) put(j, specs, parts[pieces[i].part], pieces[i].begin, pieces[i].end);
      kernels_.average(j, thread_scratch(bytes));
      for (std::int64_t i = first; i < last; ++i)
        if (j.suspect[i - first]) suspect(pieces[i].part);
    });
  }

  /// A few long series of recurrences, each cut into pieces that are computed side by side. False if the series are too
  /// many or too short for it.
  bool run_pieces(const Range& specs, DType in_type, const std::vector<Part>& parts) {
    if (std::ssize(parts) >= kernels_.lanes) return false;  // as many lanes as there are
    for (int s = 0; s < specs.count; ++s)
      for (const Part& part : parts)
        if (part.item.in.bars / (4 * kMostLanes) < lead_of(specs.first + s)) return false;
    for (int s = 0; s < specs.count; ++s)
      for (std::size_t p = 0; p < parts.size(); ++p) run_in_pieces(Range{specs.first + s, 1}, in_type, parts[p], p);
    return true;
  }

  /// Bars that a guessed state walks before it is used, and that there are before the first piece.
  std::int64_t lead_of(std::size_t spec) const {
    std::int64_t lead = 0;
    AllKinds::visit(request_.kind, request_.specs[spec], [&](const auto& kind) {
      if constexpr (requires { kind.memory(); })
        lead = std::max(guess_bars(kind, request_.specs[spec]), (kind.warmup() / block(spec) + 1) * block(spec));
    });
    return lead;
  }

  struct State {
    std::byte bytes[kStateBytes];
    bool operator==(const State& other) const { return std::memcmp(bytes, other.bytes, kStateBytes) == 0; }
  };

  /// A piece starts from a guess so far before it that the guess should be forgotten. Whether it is shows where pieces
  /// meet: the states there must agree to the last bit. From where they do not for the second time, the rest is
  /// computed in one go. The result is always that of one bar after the other.
  void run_in_pieces(const Range& spec, DType in_type, const Part& part, std::size_t place) {
    const std::size_t bytes = scratch(spec);
    const std::int64_t bars = part.item.in.bars, lanes = kMostLanes, unit = block(spec.first);
    const std::int64_t head = lead_of(spec.first);
    const int threads = threads_for(bars);
    const std::int64_t size = ((bars - head) / (lanes * threads) / unit + 1) * unit;
    const std::int64_t pieces = (bars - head + size - 1) / size;

    State reached{};  // behind the last bar that is known to be right
    const auto compute = [&](std::int64_t begin, std::int64_t end, Start start) {
      Job j = job(spec, in_type);
      put(j, spec, part, begin, end);
      j.start = start;
      State from = reached;
      j.before = from.bytes;
      j.after = reached.bytes;
      kernels_.average(j, thread_scratch(bytes));
      if (j.suspect[0]) suspect(place);
    };
    compute(0, head, Start::first);

    std::vector<State> before(static_cast<std::size_t>(pieces)), after(before.size());
    parallel_for(threads, (pieces + lanes - 1) / lanes, [&](std::int64_t task, int) {
      Job j = job(spec, in_type);
      const std::int64_t first = task * lanes, last = std::min(first + lanes, pieces);
      for (std::int64_t i = first; i < last; ++i)
        put(j, spec, part, head + i * size, std::min(head + (i + 1) * size, bars));
      j.start = Start::guess;
      j.before = before[first].bytes;
      j.after = after[first].bytes;
      kernels_.average(j, thread_scratch(bytes));
      for (std::int64_t i = first; i < last; ++i)
        if (j.suspect[i - first]) suspect(place);
    });

    if (suspect_[place] && has_hole(part, in_type)) return;  // all of it is computed again, without the hole
    int wrong = 0;
    for (std::int64_t i = 0; i < pieces; ++i) {
      const std::int64_t begin = head + i * size, end = std::min(begin + size, bars);
      if (before[i] == reached)
        reached = after[i];
      else if (++wrong > 1)
        return compute(begin, bars, Start::resumed);
      else
        compute(begin, end, Start::resumed);
    }
  }

  static bool has_hole(const Part& part, DType in_type) {
    for (std::int64_t bar = 0; bar < part.item.in.bars; ++bar)
      if (!std::isfinite(read(part.item.in, in_type, bar))) return true;
    return false;
  }

  /// The series is too short for the average.
  void no_value(const Part& part, std::size_t spec) const {
    for (std::int64_t bar = 0; bar < part.item.in.bars; ++bar) {
      write(output(part.item, spec), request_.out_type, bar, kNaN);
      if (request_.nan == NanPolicy::raise && !std::isfinite(read(part.item.in, request_.in_type, bar)))
        refuse(request_, part.index, part.first + bar);
    }
  }

  // -------------------------------------------------------------- missing values

  /// Compute series with holes again, from copies without.
  void mend(std::span<const std::int64_t> holes) {
    // A few at a time, to bound the memory of the copies.
    constexpr std::size_t kAtOnce = 16 * kMostLanes;
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

  /// The series as the kernels shall see it.
  void copy_without_holes(const Part& part, std::vector<double>& copy, std::vector<std::int64_t>& missing) const {
    const Series& in = part.item.in;
    copy.reserve(in.bars);
    Sieve sieve{hole_};
    for (std::int64_t bar = 0; bar < in.bars && !sieve.ended; ++bar) {
      double x = read(in, request_.in_type, bar);
      if (!std::isfinite(x)) {
        if (request_.nan == NanPolicy::raise) refuse(request_, part.index, part.first + bar);
        missing.push_back(bar);
      }
      if (sieve.see(x)) copy.push_back(x);
    }
  }

  /// Put the results of such a copy back where they belong.
  void punch_holes(const Part& part, const std::vector<std::int64_t>& missing, std::size_t spec) const {
    if (hole_ == Hole::keep) return;  // the holes were in the copy
    const Sink out = output(part.item, spec);
    const auto set_nan = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t bar = from; bar < std::min(to, out.bars); ++bar) write(out, request_.out_type, bar, kNaN);
    };
    if (hole_ == Hole::end) return set_nan(missing.front(), out.bars);
    if (hole_ == Hole::repeat) {
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
  const Hole hole_;
  const Kernels& kernels_;
  const std::optional<Device> device_;
  const PipelineOptions pipeline_;
  const int threads_;
  std::vector<Part> parts_;
  std::vector<char> suspect_;
  bool past_cache_ = false;
};

// ------------------------------------------------------------------------------------------------ streams

/// The latest values of a series relative to an anchor, newest first.
struct Anchored {
  const double* newest;
  double anchor;

  double operator[](std::int64_t k) const { return newest[-k] - anchor; }
  Anchored ago(std::int64_t bars) const { return {newest - bars, anchor}; }
};

/// A kind on scalars: the elements that the kernels run on packs.
template <class Kind>
class StreamOf final : public Stream {
 public:
  StreamOf(const Kind& kind, const Spec& spec, NanPolicy nan, std::int64_t series)
      : kind_(kind), nan_(nan), hole_(hole_of(Kind::info, nan)), block_(block_bars(spec.length)),
        reach_(reach_of(kind)) {
    constexpr std::int64_t kMost = std::int64_t{1} << 28;  // numbers
    WQ_EXPECT(spec.length < kMost && words() < kMost / series, ParameterError,
              "length: a stream of length " + std::to_string(spec.length) + " over " + std::to_string(series) +
                  " series would keep more than 2**28 numbers; accepted are shorter ones");
    lanes_.resize(static_cast<std::size_t>(series));
    for (Lane& lane : lanes_) {
      lane.sieve.hole = hole_;
      lane.history.assign(static_cast<std::size_t>(2 * reach_), 0.0);
      lane.ring.assign(static_cast<std::size_t>(ring_size()), 0.0);
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

  std::int64_t words() const override { return 5 + reach_ + ring_size() + kStateWords; }

  void save(std::uint64_t* words) const override {
    for (const Lane& lane : lanes_) {
      *words++ = static_cast<std::uint64_t>(lane.bars);
      *words++ = static_cast<std::uint64_t>(lane.sieve.since_hole);
      *words++ = lane.sieve.ended;
      *words++ = static_cast<std::uint64_t>(next_in_ring(lane));
      std::memcpy(words++, &lane.anchor, sizeof lane.anchor);
      std::memcpy(words, lane.history.data() + lane.newest + 1, sizeof(double) * reach_);
      words += reach_;
      if (ring_size() > 0) std::memcpy(words, lane.ring.data(), sizeof(double) * ring_size());
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
      const std::uint64_t bars = *words++, since_hole = *words++, ended = *words++, next_in_ring = *words++;
      constexpr std::uint64_t kMostBars = std::uint64_t{1} << 62;
      if (bars > kMostBars || since_hole > bars || ended > 1 || next_in_ring > static_cast<std::uint64_t>(ring_size()))
        throw ParameterError("state: counters out of range; this is not the state of such a stream");
      lane.bars = static_cast<std::int64_t>(bars);
      std::memcpy(&lane.anchor, words++, sizeof lane.anchor);
      lane.history.assign(static_cast<std::size_t>(2 * reach_), 0.0);
      std::memcpy(lane.history.data(), words, sizeof(double) * reach_);
      std::memcpy(lane.history.data() + reach_, words, sizeof(double) * reach_);
      lane.newest = reach_ - 1;
      words += reach_;
      lane.sieve = {hole_, bars > 0, ended != 0, static_cast<std::int64_t>(since_hole), lane.history[lane.newest]};
      lane.ring.assign(static_cast<std::size_t>(ring_size()), 0.0);
      if (ring_size() > 0) std::memcpy(lane.ring.data(), words, sizeof(double) * ring_size());
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
  static constexpr bool kAnchored = !Kind::info.recurrent && !Kind::info.ends_only;
  static constexpr std::int64_t kStateWords = (sizeof(State) + 7) / 8;

  struct Lane {
    std::int64_t bars = 0;  // that the average has seen
    Sieve sieve;
    double anchor = 0;            // of the block, for averages of windows
    std::int64_t newest = 0;      // place of the newest value in `history`
    std::vector<double> history;  // twice the same: the window is then contiguous wherever it ends
    std::vector<double> ring;
    State state{};
  };

  static std::int64_t reach_of(const Kind& kind) {
    std::int64_t reach = kind.span() + 2;
    if constexpr (Kind::info.recurrent) reach += kind.warmup();
    return reach;
  }
  std::int64_t ring_size() const {
    if constexpr (kHasRing) return kind_.ring();
    return 0;
  }
  std::int64_t next_in_ring(const Lane& lane) const {
    if constexpr (kHasRing) return lane.state.next;
    return 0;
  }

  double next(Lane& lane, double x) {
    if (!lane.sieve.see(x)) return kNaN;
    if (lane.bars == 0)
      std::fill(lane.history.begin(), lane.history.end(), x);
    else
      push(lane, x);
    const Window<double> window{lane.history.data() + lane.newest + reach_};
    const std::int64_t bar = lane.bars++;
    if constexpr (Kind::info.recurrent)
      return recurrent(lane, window, bar);
    else
      return windowed(lane, window, bar);
  }

  double recurrent(Lane& lane, Window<double> window, std::int64_t bar) {
    const bool odd = bar % 2 == 1;
    if (bar < kind_.warmup()) return kNaN;
    if (bar == kind_.warmup()) {
      kind_.first(lane.state, window);
    } else {
      if constexpr (requires { kind_.tend(lane.state, window, bar); })
        if (bar % 8 == 0) kind_.tend(lane.state, window.ago(1), bar % block_);
      kind_.advance(lane.state, window, odd);
    }
    return kind_.value(lane.state, odd);
  }

  double windowed(Lane& lane, Window<double> window, std::int64_t bar) {
    if constexpr (kHasRing) lane.state.ring = lane.ring.data();
    if (kAnchored && bar % block_ == 0) lane.anchor = window[1];
    const auto step = [&](const auto& x) {
      if (bar % block_ == 0) {
        kind_.open(lane.state, x.ago(1));
      } else {
        if constexpr (requires { kind_.tend(lane.state, x, bar); })
          if (bar % 8 == 0) kind_.tend(lane.state, x.ago(1), bar % block_);
      }
      return kind_.step(lane.state, x);
    };
    double value;
    if constexpr (kAnchored)
      value = lane.anchor + step(Anchored{window.newest, lane.anchor});
    else
      value = step(window);
    return bar < kind_.warmup() || !lane.sieve.whole(kind_.warmup()) ? kNaN : value;
  }

  void push(Lane& lane, double x) {
    lane.newest = (lane.newest + 1) % reach_;
    lane.history[lane.newest] = lane.history[lane.newest + reach_] = x;
  }

  const Kind kind_;
  const NanPolicy nan_;
  const Hole hole_;
  const std::int64_t block_, reach_;
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

Plan plan(int kind, const Spec& spec, std::int64_t series, std::int64_t longest) {
  // So many threads keep a large device busy.
  constexpr std::int64_t kEnough = 1 << 16;
  const std::int64_t wanted = std::max<std::int64_t>(kEnough / std::max<std::int64_t>(series, 1), 1);
  Plan plan{};
  DeviceKinds::visit(kind, spec, [&]<class Kind>(const Kind& k) {
    std::int64_t lead = 0;
    if constexpr (Kind::info.recurrent) lead = guess_bars(k, spec);
    plan.piece_bars = piece_bars(k, block_bars(spec.length), lead, longest, wanted);
    plan.pieces = std::max<std::int64_t>((longest + plan.piece_bars - 1) / plan.piece_bars, 1);
    const auto units = static_cast<std::size_t>(series * plan.pieces);
    if constexpr (Kind::info.recurrent) plan.scratch_bytes = plan.pieces > 1 ? units * sizeof(PieceStates) : 0;
    if constexpr (requires { k.ring(); }) plan.scratch_bytes = units * static_cast<std::size_t>(k.ring()) * 8;
  });
  return plan;
}

Mending mending(const Launch& launch, Hole hole, std::int64_t longest, std::size_t most_bytes) {
  // A thread looks through so many bars at least.
  constexpr std::int64_t kPart = 64;
  const auto room = [&](DType type) { return static_cast<std::size_t>((longest * item_size(type) + 7) / 8 * 8); };
  Mending m{};
  m.hole = hole;
  m.threads = power_of_2(std::min(longest / kPart, Mending::kMostThreads), 32);
  m.copy_bytes = room(launch.in_type);
  m.result_bytes = room(launch.out_type);
  std::size_t own = 0;  // bytes of a thread
  AllKinds::visit(launch.kind, launch.spec, [&]<class Kind>(const Kind& k) {
    if constexpr (Kind::info.recurrent) own = sizeof(PieceStates);
    if constexpr (requires { k.ring(); }) own = static_cast<std::size_t>(k.ring()) * sizeof(double);
  });
  m.block_bytes = m.copy_bytes + m.result_bytes + static_cast<std::size_t>(m.threads) * own;
  m.blocks = std::clamp<std::int64_t>(static_cast<std::int64_t>(most_bytes / m.block_bytes), 1, launch.series);
  return m;
}

namespace {

/// Of series that lie on the device: one after the other what a call does. Nobody waits for it, except under
/// NanPolicy::raise.
class Resident {
 public:
  Resident(const Request& request, std::span<const Item> items, const Execution& execution, Prepared& prepared)
      : request_(request), items_(items), execution_(execution), prepared_(prepared) {
    std::vector<Series> in;
    for (const Item& item : items_) {
      in.push_back(item.in);
      longest_ = std::max(longest_, item.in.bars);
    }
    in_ = luggage().send(in);
    suspect_ = prepared.flags(count() + 1);
    std::vector<Launch> launches;
    for (std::size_t s = 0; s < request_.specs.size(); ++s) launches.push_back(launch(s));
    if (request_.nan != NanPolicy::raise) make_room_for_mending(launches);
    for (const Launch& launch : launches)
      prepared.add([device = prepared.device(), launch](Handle stream) {
        device.check(device.table->ma(device.index, launch, stream), "starting a kernel");
      });
  }

  /// After a run.
  void refuse_missing() {
    if (request_.nan == NanPolicy::raise && luggage().fetch(suspect_ + count(), 1)[0] != 0) name_missing();
  }

 private:
  std::int64_t count() const { return std::ssize(items_); }
  Luggage& luggage() const { return prepared_.luggage(); }

  Launch launch(std::size_t s) {
    std::vector<Sink> out;
    for (const Item& item : items_) {
      out.push_back(item.out);
      out.back().data += static_cast<std::int64_t>(s) * item.out_step;
    }
    // A series is too short for a length that is too long by far: the shortest such length gives the same, sooner.
    Spec spec = request_.specs[s];
    AllKinds::visit(request_.kind, spec, [&](const auto& kind) {
      if (kind.warmup() >= longest_) spec.length = std::min(spec.length, longest_ + 1);
    });
    const Plan cut = plan(request_.kind, spec, count(), longest_);
    return {request_.kind,
            spec,
            request_.in_type,
            request_.out_type,
            count(),
            in_,
            luggage().send(out),
            suspect_,
            cut.pieces,
            cut.piece_bars,
            luggage().scratch(cut.scratch_bytes),
            {}};
  }

  /// Scratch that the averages use one after the other: as much as a batch may take, or as there is.
  void make_room_for_mending(std::vector<Launch>& launches) {
    const Hole hole = hole_of(kinds()[request_.kind], request_.nan);
    for (std::size_t most = execution_.pipeline.batch_bytes;; most /= 2) {
      std::size_t bytes = 0;
      bool least = true;
      for (Launch& launch : launches) {
        launch.mending = mending(launch, hole, longest_, most);
        bytes = std::max(bytes, static_cast<std::size_t>(launch.mending.blocks) * launch.mending.block_bytes);
        least = least && launch.mending.blocks == 1;
      }
      try {
        std::byte* const scratch = luggage().scratch(bytes);
        for (Launch& launch : launches) launch.mending.scratch = scratch;
        return;
      } catch (const DeviceOutOfMemoryError&) {
        if (least) throw;
      }
    }
  }

  /// Names the series that the CPU names: the first whose first bar is missing, else the first with a hole.
  void name_missing() {
    std::int64_t series = -1;
    const std::vector<Flaws> flaws = luggage().survey(in_, count(), request_.in_type);
    for (std::int64_t i = count() - 1; i >= 0; --i)
      if (flaws[i].missing > 0) series = i;
    for (std::int64_t i = count() - 1; i >= 0; --i)
      if (flaws[i].missing == 0) series = i;
    if (series >= 0) refuse(request_, series, flaws[series].missing);
  }

  const Request& request_;
  const std::span<const Item> items_;
  const Execution& execution_;
  Prepared& prepared_;
  std::int64_t longest_ = 0;
  const Series* in_;
  int* suspect_;
};

void compute_resident(const Request& request, std::span<const Item> items, const Execution& execution) {
  if (execution.prepared != nullptr) {
    WQ_EXPECT(request.nan != NanPolicy::raise, ParameterError,
              "nan: 'raise' looks at what was computed, which a prepared call does not; accepted are the others");
    Resident(request, items, execution, *execution.prepared);
    return;
  }
  Prepared prepared(*execution.device, execution.stream);
  Resident resident(request, items, execution, prepared);
  prepared.put(execution.stream);
  resident.refuse_missing();
}

}  // namespace

void compute(const Request& request, std::span<const Item> items, const Execution& execution) {
  if (request.specs.empty()) return;
  if (execution.resident) return compute_resident(request, items, execution);
  Computation(request, items, execution).run();
}

std::unique_ptr<Stream> Stream::make(int kind, const Spec& spec, NanPolicy nan, std::int64_t series) {
  WQ_EXPECT(series >= 1, ParameterError, "n_series: " + std::to_string(series) + " is not positive");
  std::unique_ptr<Stream> stream;
  AllKinds::visit(kind, spec,
                  [&]<class Kind>(const Kind& k) { stream = std::make_unique<StreamOf<Kind>>(k, spec, nan, series); });
  if (!stream) throw InternalError("no kind of average has index " + std::to_string(kind));
  return stream;
}

}  // namespace wq::ma
