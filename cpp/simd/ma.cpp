// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <new>
#include <type_traits>

#include "warpquant/core/lane_io.h"
#include "warpquant/core/window.h"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

/// Parts of series side by side in the lanes of a pack: series of a panel, or pieces of one series. A tile of bars is
/// read into rows of one bar each; then every average walks over the rows, bar by bar.
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
  return LaneWriter<T, W>(out);
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

/// Bars [bar, bar + W) of every lane.
template <bool kAlong, class Out>
WQ_HD void write(const LaneWriter<Out, W>& writer, std::int64_t bar, V (&values)[W]) {
  if (bar + W <= writer.shortest)
    writer.template block<kAlong>(bar, values);
  else
    for (int i = 0; i < W; ++i) writer.row(bar + i, values[i]);
}

// ---------------------------------------------------------------------------------------------- windows

/// Parts of one block each, W at most.
template <class Kind, class In, class Out>
void windowed(Job& job, std::byte* scratch) {
  const std::int64_t span = span_of<Kind>(job.specs, job.count);
  std::int64_t ring = 0;
  for (int s = 0; s < job.count; ++s) ring = Kind(job.specs[s]).ring() > ring ? Kind(job.specs[s]).ring() : ring;
  const std::int64_t bars = round_up(longest_part(job), W);
  auto* ring_rows = reinterpret_cast<V*>(scratch);
  auto* history = reinterpret_cast<double*>(ring_rows + ring);
  double* rows = history + span * W;  // row r is bar r of each part, negative before it
  const auto reader = reader_of<In>(job, 0, 0);
  constexpr bool kAnchored = !Kind::info.ends_only;
  const V anchor = kAnchored ? reader.row(-1) : V(0.0);
  reader.rows(-span, span + bars, history, [&](V x) { return kAnchored ? x - anchor : x; });

  for (int s = 0; s < job.count; ++s) {
    const Kind kind(job.specs[s]);
    const auto writer = writer_of<Out>(job, 0, 0, s);
    typename Kind::template State<V> state;
    if constexpr (requires { state.ring; }) state.ring = ring_rows;
    kind.open(state, Window<V>{rows - W});
    V seen(0.0);
    const auto walk = [&]<bool kAlong>(std::bool_constant<kAlong>) {
      for (std::int64_t r = 0; r < bars; r += W) {
        if constexpr (requires(Window<V> x) { kind.tend(state, x, r); })
          if (r % 8 == 0 && r > 0) {
            seen = seen + kind.trace(state);
            kind.tend(state, Window<V>{rows + (r - 1) * W}, r);
          }
        V out[W];
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
          const V value = kind.step(state, Window<V>{rows + (r + i) * W});
          out[i] = kAnchored ? anchor + value : value;
        }
        write<kAlong>(writer, r, out);
      }
    };
    writer.along_time ? walk(std::true_type{}) : walk(std::false_type{});
    note_suspects(job, 0, seen + kind.trace(state));
    for (int j = 0; j < job.lanes; ++j) {
      const Sink& out = writer.series[j];
      for (std::int64_t bar = 0; bar < kind.warmup() - job.begin[j] && bar < out.bars; ++bar)
        store_value<Out>(out.data + bar * out.stride, __builtin_nan(""));
    }
  }
}

// ---------------------------------------------------------------------------------------------- two ends

/// The next W bars of one series in the lanes: x[k] are those of k bars ago.
template <class T>
struct NextBars {
  const Series& series;
  std::int64_t bar;

  WQ_HD V operator[](std::int64_t k) const {
    const std::byte* p = series.data + (bar - k) * series.stride;
    if (bar >= k && bar + W <= series.bars && series.stride == sizeof(T)) return load_values<T, W>(p);
    V values;
    for (int i = 0; i < W; ++i)
      values.v[i] = load_value<T>(series.data + clamp(bar - k + i, 0, series.bars - 1) * series.stride);
    return values;
  }
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
      const V warmup(static_cast<double>(kind.warmup()));
      V number(0.0);
      for (int i = 0; i < W; ++i) number.v[i] = i;
      for (std::int64_t bar = job.begin[j]; bar < job.end[j]; bar += W) {
        V value = kind.step(state, NextBars<In>{job.in[j], bar});
        if (bar < kind.warmup())
          value = select(lt(V(static_cast<double>(bar)) + number, warmup), V(__builtin_nan("")), value);
        std::byte* to = out.data + bar * out.stride;
        if (bar + W <= job.end[j] && out.stride == sizeof(Out))
          store_values<Out>(to, value);
        else
          for (int i = 0; i < W && bar + i < job.end[j]; ++i) store_value<Out>(to + i * out.stride, value.v[i]);
      }
      const V trace = kind.trace(state);
      for (int i = 0; i < W; ++i) job.suspect[j] |= !(trace.v[i] * 0.0 == 0.0);
    }
}

// ---------------------------------------------------------------------------------------------- recurrences

/// One recurrence over the parts of a job. Bars are counted from the first that is walked.
template <class Kind, class Out>
struct Walk {
  Kind kind;
  LaneWriter<Out, W> writer;
  typename Kind::template State<V> state{};
  std::int64_t first = -1;  // bar of the first value; -1 if there is a state from the start
  V first_value{}, seen{};  // seen: not finite in a lane that has read such a value

  template <bool kAlong>
  WQ_HD void block(std::int64_t bar, const double* rows, bool with_results) {
    V out[W];
    if constexpr (requires(Window<V> x) { kind.tend(state, x, bar); })
      if (bar % 8 == 0 && bar > first) {
        seen = seen + kind.trace(state);
        kind.tend(state, Window<V>{rows - W}, bar % block_bars(kind.length));
      }
    if (bar > first) {
      auto now = state;
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) {
        kind.advance(now, Window<V>{rows + i * W});
        out[i] = kind.value(now);
      }
      state = now;
    } else {
      for (int i = 0; i < W; ++i) {
        out[i] = bar + i < first ? V(__builtin_nan("")) : first_value;
        if (bar + i <= first) continue;
        kind.advance(state, Window<V>{rows + i * W});
        out[i] = kind.value(state);
      }
    }
    if (with_results) write<kAlong>(writer, bar, out);
  }
};

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

/// W parts and their averages. Several such groups advance together: the chain from one bar to the next leaves the
/// arithmetic units idle most of the time.
template <class Kind, class In, class Out>
class Group {
  using State = typename Kind::template State<V>;

 public:
  Group(Job& job, int group, std::int64_t lead, std::int64_t span, Walk<Kind, Out>* walks, double* memory)
      : job_(job), group_(group), span_(span), walks_(walks), rows_(memory + span * W),
        reader_(reader_of<In>(job, group, lead)) {
    for (int s = 0; s < job.count; ++s)
      new (&walks[s]) Walk<Kind, Out>{Kind(job.specs[s]), writer_of<Out>(job, group, lead, s)};
    reader_.rows(-span, span, memory);
  }

  /// States at the start; `memory` takes the bars before a first value.
  void start(std::int64_t bars, double* memory) {
    for (int s = 0; s < job_.count; ++s) {
      Walk<Kind, Out>& walk = walks_[s];
      if (job_.start == Start::first) {
        walk.first = walk.kind.warmup();
        const std::int64_t count = walk.first < bars ? walk.first + 1 : bars;
        reader_.rows(-span_, span_ + count, memory);
        if (walk.first < bars) {
          walk.kind.first(walk.state, Window<V>{memory + (span_ + walk.first) * W});
          walk.first_value = walk.kind.value(walk.state);
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

  void read(std::int64_t tile, std::int64_t count) {
    if (tile > 0) std::memmove(rows_ - span_ * W, rows_ + (kTile - span_) * W, sizeof(double) * span_ * W);
    reader_.rows(tile, count, rows_);
  }

  template <bool kAlong>
  WQ_HD void block(int spec, std::int64_t tile, std::int64_t r, bool with_results) {
    walks_[spec].template block<kAlong>(tile + r, rows_ + r * W, with_results);
  }
  bool along_time() const { return walks_[0].writer.along_time; }

  void save(std::byte* to) {
    if (to == nullptr) return;
    each_lane(walks_[0].state, [&](int lane, std::size_t at, double& number) {
      std::memcpy(to + lane * kStateBytes + at, &number, sizeof number);
    });
  }

  void finish(std::int64_t bars) {
    for (int s = 0; s < job_.count; ++s)
      if (walks_[s].first < bars) note_suspects(job_, group_, walks_[s].seen + walks_[s].kind.trace(walks_[s].state));
    save(job_.after);
  }

 private:
  template <class F>
  void each_lane(State& state, F f) {
    for (int j = 0; j < W && group_ * W + j < job_.lanes; ++j)
      each_number(state, j, [&](std::size_t at, double& number) { f(group_ * W + j, at, number); });
  }

  Job& job_;
  int group_;
  std::int64_t span_;
  Walk<Kind, Out>* walks_;
  double* rows_;  // of the tile, preceded by what it looks back on
  LaneReader<In, W> reader_;
};

template <class Kind, class In, class Out>
void recurrent(Job& job, std::byte* scratch) {
  using G = Group<Kind, In, Out>;
  constexpr int kGroups = kMostLanes / W;
  const int groups = static_cast<int>(round_up(job.lanes, W) / W);
  const std::int64_t span = span_of<Kind>(job.specs, job.count), tile_rows = (span + kTile) * W;
  const std::int64_t lead = job.start == Start::guess ? guess_bars(Kind(job.specs[0]), job.specs[0]) : 0;
  const std::int64_t bars = lead + longest_part(job);
  auto* walks = reinterpret_cast<Walk<Kind, Out>*>(scratch);
  auto* memory = reinterpret_cast<double*>(walks + groups * job.count);
  alignas(G) std::byte storage[kGroups * sizeof(G)];
  auto* group = reinterpret_cast<G*>(storage);
  for (int g = 0; g < groups; ++g) {
    new (&group[g]) G(job, g, lead, span, walks + g * job.count, memory + g * tile_rows);
    group[g].start(bars, memory + groups * tile_rows);
  }
  bool along_time = true;
  for (int g = 0; g < groups; ++g) along_time &= group[g].along_time();
  for (std::int64_t tile = 0; tile < bars; tile += kTile) {
    const std::int64_t count = bars - tile < kTile ? round_up(bars - tile, W) : kTile;
    for (int g = 0; g < groups; ++g) {
      if (tile == lead && job.start == Start::guess) group[g].save(job.before);
      group[g].read(tile, count);
    }
    const auto walk = [&]<bool kAlong>(std::bool_constant<kAlong>) {
      for (int s = 0; s < job.count; ++s)
        for (std::int64_t r = 0; r < count; r += W)
          for (int g = 0; g < groups; ++g) group[g].template block<kAlong>(s, tile, r, tile >= lead);
    };
    along_time ? walk(std::true_type{}) : walk(std::false_type{});
  }
  for (int g = 0; g < groups; ++g) group[g].finish(bars);
}

// ---------------------------------------------------------------------------------------------- the table

void average(Job& job, std::byte* scratch) {
  AllKinds::visit(job.kind, job.specs[0], [&]<class Kind>(const Kind&) {
    const auto with_types = [&]<class In, class Out>(In, Out) {
      if constexpr (Kind::info.recurrent)
        recurrent<Kind, In, Out>(job, scratch);
      else if (Kind::info.ends_only && job.in[0].stride == sizeof(In))
        pointwise<Kind, In, Out>(job);
      else
        windowed<Kind, In, Out>(job, scratch);
    };
    const auto with_in = [&](auto in) {
      job.out_type == DType::f32 ? with_types(in, float{}) : with_types(in, double{});
    };
    job.in_type == DType::f32 ? with_in(float{}) : with_in(double{});
  });
}

std::size_t scratch_bytes(int kind_index, const Spec* specs, int count) {
  std::int64_t rows = 0;
  for (int s = 0; s < count; ++s)
    AllKinds::visit(kind_index, specs[s], [&]<class Kind>(const Kind& kind) {
      constexpr std::int64_t kGroups = kMostLanes / W;
      std::int64_t need = kind.span() + 2 * W;
      if constexpr (Kind::info.recurrent)
        need =
            kGroups * (need + kTile + count * static_cast<std::int64_t>(sizeof(Walk<Kind, double>) / sizeof(V) + 1)) +
            need + kind.warmup();
      else
        need += kind.ring() + block_bars(specs[s].length);
      rows = need > rows ? need : rows;
    });
  return static_cast<std::size_t>(rows) * sizeof(V);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {W, average, scratch_bytes};

}  // namespace wq::ma::inline WQ_LEVEL
