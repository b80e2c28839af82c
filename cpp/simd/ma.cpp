// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <new>
#include <type_traits>

#include "warpquant/core/lane_io.h"
#include "warpquant/core/window.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

/// Parts of series side by side in the lanes of a pack: series of a panel, or pieces of one series. W bars of W parts
/// are read into registers, turned, stepped through, turned back and written. Rows in memory keep what windows look
/// back on, and what further averages of a call read.
namespace wq::ma::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;
using V = Pack<W>;
constexpr std::int64_t kTile = kBlock;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// Lanes without a part of their own repeat the first.
int lane_of(const Job& job, int j) { return j < job.lanes ? j : 0; }

/// Lanes [group * W, (group + 1) * W), from `lead` bars before their parts on.
template <class T>
LaneReader<T, W> reader_of(const Job& job, int group, std::int64_t lead) {
  Series in[W];
  for (int j = 0; j < W; ++j) {
    const int lane = lane_of(job, group * W + j);
    in[j] = job.in[lane].from(job.begin[lane] - lead);
  }
  return LaneReader<T, W>(in);
}

template <class T>
LaneWriter<T, W> writer_of(const Job& job, int group, std::int64_t lead, int spec) {
  Sink out[W];
  for (int j = 0; j < W; ++j) {
    const int lane = lane_of(job, group * W + j);
    out[j] = job.out[lane].from(job.begin[lane] - lead);
    out[j].bars = job.end[lane] - job.begin[lane] + lead;
    out[j].data += spec * job.out_step[lane];
  }
  return LaneWriter<T, W>(out, job.past_cache);
}

void note_suspects(Job& job, int group, V trace) {
  for (int j = 0; j < W && group * W + j < job.lanes; ++j) job.suspect[group * W + j] |= !(trace.v[j] * 0.0 == 0.0);
}

std::int64_t longest_part(const Job& job) {
  std::int64_t bars = 0;
  for (int j = 0; j < job.lanes; ++j) bars = job.end[j] - job.begin[j] > bars ? job.end[j] - job.begin[j] : bars;
  return bars;
}

/// How far the averages look back.
template <class Kind>
std::int64_t span_of(const Spec* specs, int count) {
  std::int64_t span = 0;
  for (int s = 0; s < count; ++s) span = Kind(specs[s]).span() > span ? Kind(specs[s]).span() : span;
  return round_up(span, W);
}

/// A window whose newest value is at hand, and in memory too: where the compiler sees that it is meant, it is not
/// loaded.
struct Live {
  V now;
  Window<V> window;

  WQ_HD V operator[](std::int64_t k) const { return __builtin_constant_p(k == 0) && k == 0 ? now : window[k]; }
};

/// For those who look at nothing but the newest value.
struct Newest {
  V now;

  WQ_HD V operator[](std::int64_t) const { return now; }
};

/// Rows that have been read before.
WQ_HD void load_rows(const double* rows, V (&x)[W]) {
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) x[i] = V::load(rows + i * W);
}
WQ_HD void store_rows(const V (&x)[W], double* rows) {
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) x[i].store(rows + i * W);
}

// ---------------------------------------------------------------------------------------------- windows

/// Whether a kind sees its series from a price nearby.
template <class Kind>
constexpr bool kAnchored = !Kind::info.ends_only;

/// What a kind asks for every eight bars, before the bar in row `r` of a block.
template <class Kind>
WQ_HD void tend(const Kind& kind, typename Kind::template State<V>& state, V& seen, const double* rows,
                std::int64_t r) {
  if constexpr (requires(Window<V> window) { kind.tend(state, window, r); })
    if (r % 8 == 0 && r > 0) {
      seen = seen + kind.trace(state);
      kind.tend(state, Window<V>{rows + (r - 1) * W}, r);
    }
}

/// The first `bars` of a block, a multiple of W that every lane has. The first average reads and keeps them as rows for
/// the others. Loops like this one are functions of their own, because compilers keep in registers only what is in a
/// small one.
template <class Kind, class In, class Out, bool kAlong>
[[gnu::noinline]] V walk_block(const Kind kind, typename Kind::template State<V>& state,
                               const LaneReader<In, W>& reader, const LaneWriter<Out, W>& writer, V anchor,
                               double* rows, bool is_first, std::int64_t start, std::int64_t bars) {
  auto now = state;
  V seen(0.0);
  for (std::int64_t r = 0; r < bars; r += W) {
    tend(kind, now, seen, rows, r);
    V x[W];
    if (is_first) {
      reader.template block<kAlong>(start + r, x);
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) x[i] = kAnchored<Kind> ? x[i] - anchor : x[i];
      store_rows(x, rows + r * W);
    } else {
      load_rows(rows + r * W, x);
    }
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      const V value = kind.step(now, Live{x[i], {rows + (r + i) * W}});
      x[i] = kAnchored<Kind> ? anchor + value : value;
    }
    writer.template block<kAlong>(start + r, x);
  }
  state = now;
  return seen;
}

/// Parts of whole blocks (the last of a series may be shorter), W at most.
template <class Kind, class In, class Out>
void windowed(Job& job, std::byte* scratch) {
  const std::int64_t span = span_of<Kind>(job.specs, job.count), size = block_bars(job.specs[0].length);
  std::int64_t ring = 0;
  for (int s = 0; s < job.count; ++s) ring = Kind(job.specs[s]).ring() > ring ? Kind(job.specs[s]).ring() : ring;
  const std::int64_t bars = longest_part(job);
  auto* ring_rows = reinterpret_cast<V*>(scratch);
  auto* history = reinterpret_cast<double*>(ring_rows + ring);
  double* rows = history + span * W;  // row r is bar r of the block of each part, negative before it
  auto* writers = reinterpret_cast<LaneWriter<Out, W>*>(rows + size * W);
  for (int s = 0; s < job.count; ++s) new (&writers[s]) LaneWriter<Out, W>(writer_of<Out>(job, 0, 0, s));
  const auto reader = reader_of<In>(job, 0, 0);
  V seen(0.0);  // not finite in a lane that has read such a value

  for (std::int64_t start = 0; start < bars; start += size) {
    const std::int64_t here = bars - start < size ? bars - start : size;
    const V anchor = kAnchored<Kind> ? reader.row(start - 1) : V(0.0);
    const auto relative = [&](V x) { return kAnchored<Kind> ? x - anchor : x; };
    reader.rows(start - span, span, history, relative);
    for (int s = 0; s < job.count; ++s) {
      const Kind kind(job.specs[s]);
      const LaneWriter<Out, W>& writer = writers[s];
      typename Kind::template State<V> state;
      if constexpr (requires { state.ring; }) state.ring = ring_rows;
      kind.open(state, Window<V>{rows - W});
      const std::int64_t shortest = (reader.shortest < writer.shortest ? reader.shortest : writer.shortest) - start;
      const std::int64_t whole = shortest < 0 ? 0 : (shortest < here ? shortest : here) / W * W;
      seen = seen +
             (reader.along_time && writer.along_time
                  ? walk_block<Kind, In, Out, true>(kind, state, reader, writer, anchor, rows, s == 0, start, whole)
                  : walk_block<Kind, In, Out, false>(kind, state, reader, writer, anchor, rows, s == 0, start, whole));
      for (std::int64_t r = whole; r < here; ++r) {
        double* row = rows + r * W;
        tend(kind, state, seen, rows, r);
        if (s == 0) relative(reader.row(start + r)).store(row);
        const V value = kind.step(state, Window<V>{row});
        writer.row(start + r, kAnchored<Kind> ? anchor + value : value);
      }
      seen = seen + kind.trace(state);
    }
  }
  note_suspects(job, 0, seen);
  for (int s = 0; s < job.count; ++s)
    for (int j = 0; j < job.lanes; ++j) {
      const Sink& out = writers[s].series[j];
      for (std::int64_t bar = 0; bar < Kind(job.specs[s]).warmup() - job.begin[j] && bar < out.bars; ++bar)
        store_value<Out>(out.data + bar * out.stride, __builtin_nan(""));
    }
}

// ---------------------------------------------------------------------------------------------- two ends

/// The next W bars of one series in the lanes: x[k] are those of k bars ago.
template <class T>
struct NextBars {
  const Series& series;
  std::int64_t bar;

  WQ_HD V operator[](std::int64_t k) const { return load_bars<T, W>(series, bar - k); }
};

/// What looks at the two ends of its window alone needs no walk: bars of a part are as good as parts of series.
template <class Kind, class In, class Out>
void pointwise(Job& job) {
  for (int j = 0; j < job.lanes; ++j)
    for (int s = 0; s < job.count; ++s) {
      const Kind kind(job.specs[s]);
      Sink out = job.out[j];
      out.data += s * job.out_step[j];
      typename Kind::template State<V> state{};
      const bool past_cache = job.past_cache && fills_lines<Out, W>(out);
      const V warmup(static_cast<double>(kind.warmup()));
      V number(0.0);
      for (int i = 0; i < W; ++i) number.v[i] = i;
      for (std::int64_t bar = job.begin[j]; bar < job.end[j]; bar += W) {
        V value = kind.step(state, NextBars<In>{job.in[j], bar});
        if (bar < kind.warmup())
          value = select(lt(V(static_cast<double>(bar)) + number, warmup), V(__builtin_nan("")), value);
        std::byte* to = out.data + bar * out.stride;
        if (bar + W <= job.end[j] && out.stride == sizeof(Out))
          past_cache ? value.stream(reinterpret_cast<double*>(to)) : store_values<Out>(to, value);
        else
          for (int i = 0; i < W && bar + i < job.end[j]; ++i) store_value<Out>(to + i * out.stride, value.v[i]);
      }
      const V trace = kind.trace(state);
      for (int i = 0; i < W; ++i) job.suspect[j] |= !(trace.v[i] * 0.0 == 0.0);
    }
}

// ---------------------------------------------------------------------------------------------- recurrences

/// Lane `j` of a state, number by number.
template <class State, class F>
void each_number(State& state, int j, F f) {
  static_assert(sizeof(State) / W <= kStateBytes);
  auto* packs = reinterpret_cast<V*>(&state);
  for (std::size_t i = 0; i < sizeof(State) / sizeof(V); ++i) {
    double number = packs[i].v[j];
    f(i * sizeof number, number);
    packs[i].v[j] = number;
  }
}

/// Bars of a tile: rows that nothing reads need not fit the cache.
template <class Kind>
std::int64_t tile_of(int count) {
  return Kind::kLooksBack || count > 1 ? kTile : 8 * kTile;
}

/// One recurrence over W parts, and how far it has come. Bars are counted from the first that is walked.
template <class Kind, class Out>
struct Running {
  Kind kind;
  LaneWriter<Out, W> writer;
  typename Kind::template State<V> state{};
  std::int64_t first = -1;  // bar of the first value; -1 if there is a state from the start
  V first_value{}, seen{};  // seen: not finite in a lane that has read such a value
};

/// W parts and their averages.
template <class Kind, class In, class Out>
class Group {
 public:
  using State = typename Kind::template State<V>;

  Group(Job& job, int group, std::int64_t lead, std::int64_t span, Running<Kind, Out>* running, double* memory)
      : job_(job), group_(group), span_(span), running_(running), rows_(memory + span * W),
        reader_(reader_of<In>(job, group, lead)) {
    for (int s = 0; s < job.count; ++s)
      new (&running[s]) Running<Kind, Out>{Kind(job.specs[s]), writer_of<Out>(job, group, lead, s)};
    reader_.rows(-span, span, memory);
  }

  /// States at the start; `memory` takes the bars before a first value.
  void start(std::int64_t bars, double* memory) {
    for (int s = 0; s < job_.count; ++s) {
      Running<Kind, Out>& walk = running_[s];
      if (job_.start == Start::first) {
        walk.first = walk.kind.warmup();
        const std::int64_t count = walk.first < bars ? walk.first + 1 : bars;
        reader_.rows(-span_, span_ + count, memory);
        if (walk.first < bars) {
          walk.kind.first(walk.state, Window<V>{memory + (span_ + walk.first) * W});
          walk.first_value = walk.kind.value(walk.state, walk.first % 2 == 1);
        } else {
          V sum(0.0);
          for (std::int64_t r = 0; r < count; ++r) sum = sum + V::load(memory + (span_ + r) * W);
          note_suspects(job_, group_, sum);
        }
      } else if (job_.start == Start::guess) {
        reader_.rows(-span_ - W, span_ + W, memory);
        walk.kind.guess(walk.state, Window<V>{memory + (span_ + W - 1) * W});
      } else {
        // Lanes without a part too: they repeat the first, down to what they write.
        for (int j = 0; j < W; ++j)
          each_number(walk.state, j, [&](std::size_t at, double& number) {
            std::memcpy(&number, job_.before + lane_of(job_, group_ * W + j) * kStateBytes + at, sizeof number);
          });
      }
    }
  }

  /// What the next tile looks back on.
  void turn() { std::memmove(rows_ - span_ * W, rows_ + (kTile - span_) * W, sizeof(double) * span_ * W); }

  bool along_time() const { return reader_.along_time && running_[0].writer.along_time; }
  Running<Kind, Out>& average(int spec) { return running_[spec]; }

  /// Up to which bar of a tile, from `r` on, there are W bars at a time of every lane, all behind the first value.
  std::int64_t whole_until(int spec, std::int64_t tile, std::int64_t r, std::int64_t count) const {
    const Running<Kind, Out>& walk = running_[spec];
    if (tile + r <= walk.first) return r;
    const std::int64_t bars = reader_.shortest < walk.writer.shortest ? reader_.shortest : walk.writer.shortest;
    const std::int64_t whole = r + (bars - tile - r) / W * W;
    return whole < r ? r : whole < count ? whole : count;
  }

  /// W bars from `r` of a tile on, from state `now`.
  template <bool kAlong>
  WQ_HD void block(const Kind& kind, int spec, std::int64_t tile, std::int64_t in_block, std::int64_t r,
                   bool with_results, State& now, V& seen) const {
    if (r % 8 == 0) tend(kind, r, in_block + r, now, seen);
    V x[W];
    if (spec == 0) {
      reader_.template block<kAlong>(tile + r, x);
      if (Kind::kLooksBack || job_.count > 1) store_rows(x, rows_ + r * W);
    } else {
      load_rows(rows_ + r * W, x);
    }
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      const bool odd = i % 2 == 1;
      if constexpr (Kind::kLooksBack)
        kind.advance(now, Live{x[i], {rows_ + (r + i) * W}}, odd);
      else
        kind.advance(now, Newest{x[i]}, odd);
      x[i] = kind.value(now, odd);
    }
    if (with_results) running_[spec].writer.template block<kAlong>(tile + r, x);
  }

  /// One bar, which may have no value, or be behind the end of a series.
  void bar(int spec, std::int64_t tile, std::int64_t r, bool with_results) {
    Running<Kind, Out>& walk = running_[spec];
    const std::int64_t bar = tile + r;
    double* row = rows_ + r * W;
    if (r % 8 == 0 && bar > walk.first) tend(walk.kind, r, bar % block_bars(walk.kind.length), walk.state, walk.seen);
    if (spec == 0) reader_.row(bar).store(row);
    if (bar > walk.first) walk.kind.advance(walk.state, Window<V>{row}, bar % 2 == 1);
    if (with_results)
      walk.writer.row(bar, bar < walk.first    ? V(__builtin_nan(""))
                           : bar == walk.first ? walk.first_value
                                               : walk.kind.value(walk.state, bar % 2 == 1));
  }

  void save(std::byte* to) {
    if (to == nullptr) return;
    for (int j = 0; j < W && group_ * W + j < job_.lanes; ++j)
      each_number(running_[0].state, j, [&](std::size_t at, double& number) {
        std::memcpy(to + (group_ * W + j) * kStateBytes + at, &number, sizeof number);
      });
  }

  void finish(std::int64_t bars) {
    for (int s = 0; s < job_.count; ++s)
      if (running_[s].first < bars)
        note_suspects(job_, group_, running_[s].seen + running_[s].kind.trace(running_[s].state));
    save(job_.after);
  }

 private:
  WQ_HD void tend(const Kind& kind, std::int64_t r, std::int64_t in_block, State& state, V& seen) const {
    if constexpr (requires(Window<V> window) { kind.tend(state, window, in_block); }) {
      seen = seen + kind.trace(state);
      kind.tend(state, Window<V>{rows_ + (r - 1) * W}, in_block);
    }
  }

  Job& job_;
  int group_;
  std::int64_t span_;
  Running<Kind, Out>* running_;
  double* rows_;  // of the tile, preceded by what it looks back on
  LaneReader<In, W> reader_;
};

/// Blocks [from, to) of a tile.
template <bool kAlong, class G, int kGroups>
[[gnu::noinline]] void walk_tile(G (&group)[kGroups], int spec, std::int64_t tile, std::int64_t from, std::int64_t to,
                                 bool with_results) {
  const auto kind = group[0].average(spec).kind;
  const std::int64_t in_block = tile % block_bars(kind.length);
  typename G::State now[kGroups];
  V seen[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    now[g] = group[g].average(spec).state;
    seen[g] = group[g].average(spec).seen;
  }
  for (std::int64_t r = from; r < to; r += W)
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g)
      group[g].template block<kAlong>(kind, spec, tile, in_block, r, with_results, now[g], seen[g]);
  for (int g = 0; g < kGroups; ++g) {
    group[g].average(spec).state = now[g];
    group[g].average(spec).seen = seen[g];
  }
}

/// `kGroups` of W parts advance together (where W is below kMostLanes): the chain from one bar to the next leaves the
/// arithmetic units idle most of the time.
template <class Kind, class In, class Out, int kGroups>
void recurrent(Job& job, std::byte* scratch) {
  using G = Group<Kind, In, Out>;
  const std::int64_t tile_bars = tile_of<Kind>(job.count);
  const std::int64_t span = span_of<Kind>(job.specs, job.count), tile_rows = (span + tile_bars) * W;
  const std::int64_t lead = job.start == Start::guess ? guess_bars(Kind(job.specs[0]), job.specs[0]) : 0;
  const std::int64_t bars = lead + longest_part(job);
  auto* running = reinterpret_cast<Running<Kind, Out>*>(scratch);
  auto* memory = reinterpret_cast<double*>(running + kGroups * job.count);
  alignas(G) std::byte storage[kGroups * sizeof(G)];
  auto& group = reinterpret_cast<G(&)[kGroups]>(storage);
  bool along_time = true;
  for (int g = 0; g < kGroups; ++g) {
    new (&group[g]) G(job, g, lead, span, running + g * job.count, memory + g * tile_rows);
    group[g].start(bars, memory + kGroups * tile_rows);
    along_time &= group[g].along_time();
  }
  for (std::int64_t tile = 0, count; tile < bars; tile += count) {
    const std::int64_t left = (tile < lead ? lead : bars) - tile;
    count = left < tile_bars ? round_up(left, W) : tile_bars;
    for (int g = 0; g < kGroups; ++g) {
      if (tile == lead && job.start == Start::guess) group[g].save(job.before);
      if (tile > 0) group[g].turn();
    }
    for (int s = 0; s < job.count; ++s)
      for (std::int64_t r = 0; r < count;) {
        std::int64_t whole = count;
        for (int g = 0; g < kGroups; ++g) whole = group[g].whole_until(s, tile, r, whole);
        if (whole > r) {
          along_time ? walk_tile<true>(group, s, tile, r, whole, tile >= lead)
                     : walk_tile<false>(group, s, tile, r, whole, tile >= lead);
          r = whole;
        } else {
          for (const std::int64_t end = r + W; r < end; ++r)
            for (int g = 0; g < kGroups; ++g) group[g].bar(s, tile, r, tile >= lead);
        }
      }
  }
  for (int g = 0; g < kGroups; ++g) group[g].finish(bars);
}

// ---------------------------------------------------------------------------------------------- the table

void average(Job& job, std::byte* scratch) {
  AllKinds::visit(job.kind, job.specs[0], [&]<class Kind>(const Kind&) {
    const auto with_types = [&]<class In, class Out>(In, Out) {
      if constexpr (Kind::info.recurrent) {
        job.lanes <= W ? recurrent<Kind, In, Out, 1>(job, scratch)
                       : recurrent<Kind, In, Out, kMostLanes / W>(job, scratch);
      } else {
        if constexpr (Kind::info.ends_only)
          if (job.in[0].stride == sizeof(In)) return pointwise<Kind, In, Out>(job);
        windowed<Kind, In, Out>(job, scratch);
      }
    };
    const auto with_in = [&](auto in) {
      job.out_type == DType::f32 ? with_types(in, float{}) : with_types(in, double{});
    };
    job.in_type == DType::f32 ? with_in(float{}) : with_in(double{});
  });
  if (job.past_cache) finish_streams();
}

std::size_t scratch_bytes(int kind_index, const Spec* specs, int count) {
  std::int64_t rows = 0;
  for (int s = 0; s < count; ++s)
    AllKinds::visit(kind_index, specs[s], [&]<class Kind>(const Kind& kind) {
      constexpr std::int64_t kGroups = kMostLanes / W;
      std::int64_t need = kind.span() + 2 * W;
      if constexpr (Kind::info.recurrent)
        need = kGroups * (need + tile_of<Kind>(count) +
                          count * static_cast<std::int64_t>(sizeof(Running<Kind, double>) / sizeof(V) + 1)) +
               need + kind.warmup();
      else
        need += kind.ring() + block_bars(specs[s].length) +
                count * static_cast<std::int64_t>(sizeof(LaneWriter<double, W>) / sizeof(V) + 1);
      rows = need > rows ? need : rows;
    });
  return static_cast<std::size_t>(rows) * sizeof(V);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {W, average, scratch_bytes};

}  // namespace wq::ma::inline WQ_LEVEL
