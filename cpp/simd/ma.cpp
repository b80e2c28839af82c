// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <new>
#include <type_traits>

#include "warpquant/ma/kinds.h"
#include "warpquant/ma/ops.h"

namespace wq::ma::inline WQ_LEVEL {
namespace {

constexpr int W = kLanes;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// One series at a time, eight bars in registers.
struct Along {
  using P = Packet;
  static constexpr int kSeries = 1;
  template <class T>
  static AlongTime<T> window(const std::byte* first, std::int64_t) {
    return {first};
  }
  /// Whether packets can be read and written where they lie.
  template <class T>
  static bool fits(std::int64_t stride) {
    return stride == sizeof(T);
  }
};

/// W series that lie side by side.
struct Across {
  using P = Packets<Pack<W>>;
  static constexpr int kSeries = W;
  template <class T>
  static AcrossSeries<T, Pack<W>> window(const std::byte* first, std::int64_t stride) {
    return {first, stride};
  }
  template <class T>
  static bool fits(std::int64_t) {
    return true;
  }
};

template <class Out>
WQ_HD void write(std::byte* p, std::int64_t, const Packet& a) {
  for (int i = 0; i < kEight / W; ++i) store_values<Out>(p + i * W * static_cast<std::int64_t>(sizeof(Out)), a.part[i]);
}
template <class Out>
WQ_HD void write(std::byte* p, std::int64_t stride, const Packets<Pack<W>>& a) {
  for (int i = 0; i < kEight; ++i) store_values<Out>(p + i * stride, a.part[i]);
}

/// Memory that the runs of a job use in turn.
struct Desk {
  double* in;    // bars of a block and what it looks back on
  double* out;   // results of a block
  double* kept;  // what a kind keeps for itself
};

/// One average of one series, or of W series side by side.
template <class Kind, class In, class Out, class Shape>
class Run {
  using P = typename Shape::P;
  using State = typename Kind::template State<P>;
  static constexpr int kSeries = Shape::kSeries;
  static constexpr bool kKeeps = requires(State s) { s.kept; };

 public:
  Run(const Spec& spec, const Series& in, const Sink& out)
      : kind_(spec), in_(in), out_(out), block_(block_bars(spec.length)), sums_(of<P>(Ramp{})) {}

  /// Block `b` of the bars up to `end`; false if there is no such block.
  bool block(std::int64_t b, std::int64_t end, const Desk& desk) {
    if constexpr (Kind::info.recurrent) {
      if (b == 0) start(desk);
      return packets(kind_.warmup() + 1 + b * block_, end, desk);
    } else {
      const std::int64_t first = b * block_, stop = first + block_ < end ? first + block_ : end;
      if (!packets(first, end, desk)) return false;
      fill_nan(first, kind_.warmup() < stop ? kind_.warmup() : stop);
      return true;
    }
  }

  /// Whether all values that series `j` has read are finite.
  bool finite(int j) const {
    if constexpr (kSeries == 1) {
      double sum = 0;
      for (const auto& part : sums_.part)
        for (int i = 0; i < W; ++i) sum += part.v[i] * 0.0;
      return sum == 0.0;
    } else {
      double sum = 0;
      for (const auto& part : sums_.part) sum += part.v[j] * 0.0;
      return sum == 0.0;
    }
  }

 private:
  /// Bars [first, first + count) into the desk; places outside the series repeat its first or last value.
  void stage(std::int64_t first, std::int64_t count, double* to) const {
    const std::int64_t begin = clamp(-first, 0, count), end = clamp(in_.bars - first, begin, count);
    if constexpr (kSeries == 1 && std::is_same_v<In, double>)
      if (in_.stride == sizeof(double)) {
        std::memcpy(to + begin, in_.data + (first + begin) * in_.stride, sizeof(double) * (end - begin));
        for (std::int64_t i = 0; i < begin; ++i) to[i] = to[begin];
        for (std::int64_t i = end; i < count; ++i) to[i] = to[end - 1];
        return;
      }
    const auto copy = [&](std::int64_t bar, double* place) {
      if constexpr (kSeries == 1)
        *place = load_value<In>(in_.data + bar * in_.stride);
      else
        load_values<In, W>(in_.data + bar * in_.stride).store(place);
    };
    for (std::int64_t i = 0; i < begin; ++i) copy(0, to + i * kSeries);
    for (std::int64_t i = begin; i < end; ++i) copy(first + i, to + i * kSeries);
    for (std::int64_t i = end; i < count; ++i) copy(in_.bars - 1, to + i * kSeries);
  }

  void put(std::int64_t bar, const double* values) const {
    std::byte* p = out_.data + bar * out_.stride;
    if constexpr (kSeries == 1)
      store_value<Out>(p, *values);
    else
      store_values<Out>(p, Pack<W>::load(values));
  }

  void fill_nan(std::int64_t from, std::int64_t to) const {
    double nan[kSeries];
    for (double& v : nan) v = __builtin_nan("");
    for (std::int64_t bar = from; bar < to; ++bar) put(bar, nan);
  }

  /// The bars of a recurrence up to its first value.
  void start(const Desk& desk) {
    if constexpr (Kind::info.recurrent) {
      const std::int64_t at = kind_.warmup();
      stage(-kind_.span(), kind_.span() + at + 1, desk.in);
      double value[kSeries];
      const auto x = own<P>(desk.in + (kind_.span() + at) * kSeries);
      const One<P> first = kind_.template first<P>(state_, x);
      if constexpr (kSeries == 1)
        value[0] = first.part[0].v[0];
      else
        first.store(value);
      fill_nan(0, at);
      put(at, value);
      for (std::int64_t i = 0; i <= at; ++i) {
        const double* row = desk.in + (kind_.span() + i) * kSeries;
        if constexpr (kSeries == 1)
          sums_.part[0].v[0] += *row;
        else
          sums_.part[0] = sums_.part[0] + Pack<W>::load(row);
      }
    }
  }

  /// The block that starts at bar `first`; false if it would start behind the end. Packets are read where they lie; at
  /// the ends of the series, and where its bars do not lie side by side, from the desk.
  bool packets(std::int64_t first, std::int64_t end, const Desk& desk) {
    if (first >= end) return false;
    const std::int64_t bars = end - first < block_ ? end - first : block_, span = kind_.span();
    std::int64_t from = 0, to = 0;  // where they lie
    if (Shape::template fits<In>(in_.stride)) {
      from = first >= span ? 0 : round_up(span - first, kEight);
      to = (in_.bars - first < bars ? in_.bars - first : bars) / kEight * kEight;
    }
    State state = state_;
    if constexpr (kKeeps) state.made = state.kept = desk.kept + kind_.kept() * kSeries;
    const auto on_desk = [&](std::int64_t begin, std::int64_t stop) {
      stage(first + begin - span, span + round_up(stop - begin, kEight), desk.in);
      const auto x = own<P>(desk.in + span * kSeries).at(-begin);
      if (begin == 0) open(state, x);
      packets(state, x, first, begin, stop, desk);
    };
    if (from >= to) {
      on_desk(0, bars);
    } else {
      if (from > 0) on_desk(0, from);
      const auto x = Shape::template window<In>(in_.data + first * in_.stride, in_.stride);
      if (from == 0) open(state, x);
      packets(state, x, first, from, to, desk);
      if (to < bars) on_desk(to, bars);
    }
    state_ = state;
    return true;
  }

  template <class X>
  void open(State& state, X x) const {
    if constexpr (requires { kind_.template open<P>(state, x); }) kind_.template open<P>(state, x);
  }

  /// Packets [begin, end) of a block, x being its first.
  template <class X>
  void packets(State& state_now, X x, std::int64_t first, std::int64_t begin, std::int64_t end, const Desk& desk) {
    // Copies, so that the compiler need not expect them to change with every store.
    const Kind kind = kind_;
    const std::int64_t stride = out_.stride;
    State state = state_now;
    P sums = sums_;
    if constexpr (requires { kind.template prepare<P>(state, x); })
      for (std::int64_t r = begin; r < end; r += kEight) kind.template prepare<P>(state, x.at(r));
    std::int64_t r = begin;
    if (Shape::template fits<Out>(stride)) {
      std::byte* to = out_.data + first * stride;
      for (; r + kEight <= end; r += kEight) {
        if constexpr (kSeries > 1) fetch(x.at(r), to + r * stride, stride);
        sums = sums + x.at(r)[0];
        write<Out>(to + r * stride, stride, kind.template step<P>(state, x.at(r)));
      }
    }
    const std::int64_t direct = r;
    for (; r < end; r += kEight) {
      sums = sums + x.at(r)[0];
      store(desk.out + r * kSeries, kind.template step<P>(state, x.at(r)));
    }
    for (std::int64_t i = direct; i < end; ++i) put(first + i, desk.out + i * kSeries);
    state_now = state;
    sums_ = sums;
  }

  /// Rows that lie far apart are not fetched ahead by the machine.
  template <class X>
  WQ_HD static void fetch(X x, std::byte* to, std::int64_t stride) {
    constexpr std::int64_t kAhead = 64;
#pragma GCC unroll 8
    for (std::int64_t i = kAhead; i < kAhead + kEight; ++i) {
      __builtin_prefetch(x.at(i).first);
      __builtin_prefetch(to + i * stride, 1);
    }
  }

  Kind kind_;
  Series in_;
  Sink out_;
  std::int64_t block_;
  State state_;
  P sums_;  // of everything read
};

template <class Kind, class In, class Out, class Shape>
void run(Job& job, int first, int series, const Desk& desk, std::byte* memory) {
  using R = Run<Kind, In, Out, Shape>;
  auto* runs = reinterpret_cast<R*>(memory);
  const int groups = series / Shape::kSeries;
  for (int s = 0; s < job.count; ++s)
    for (int g = 0; g < groups; ++g) {
      const int j = first + g * Shape::kSeries;
      Sink out = job.out[j];
      out.data += s * job.out_step[j];
      new (&runs[s * groups + g]) R(job.specs[s], job.in[j], out);
    }
  // Block by block, so that what several averages read stays in cache; of series that lie interleaved, together.
  const std::int64_t begin = job.begin / block_bars(job.specs[0].length);
  bool apart = true;
  for (int g = 0; g < groups; ++g) apart &= Shape::template fits<In>(job.in[first + g * Shape::kSeries].stride);
  for (int at_once = apart ? 1 : groups, from = 0; from < groups; from += at_once) {
    bool more = true;
    for (std::int64_t b = begin; more; ++b) {
      more = false;
      for (int s = 0; s < job.count; ++s)
        for (int g = from; g < from + at_once; ++g) {
          const std::int64_t bars = job.in[first + g * Shape::kSeries].bars;
          more |= runs[s * groups + g].block(b, bars < job.end ? bars : job.end, desk);
        }
    }
  }
  for (int g = 0; g < groups; ++g)
    for (int j = 0; j < Shape::kSeries; ++j) {
      bool finite = true;
      for (int s = 0; s < job.count; ++s) finite &= runs[s * groups + g].finite(j);
      job.suspect[first + g * Shape::kSeries + j] |= !finite;
    }
}

template <class In, class Out>
bool side_by_side(const Job& job, int first) {
  for (int j = first; j < first + W; ++j)
    if (job.in[j].bars != job.in[first].bars || job.in[j].stride != job.in[first].stride ||
        job.in[j].data != job.in[first].data + (j - first) * static_cast<std::int64_t>(sizeof(In)) ||
        job.out[j].stride != job.out[first].stride || job.out_step[j] != job.out_step[first] ||
        job.out[j].data != job.out[first].data + (j - first) * static_cast<std::int64_t>(sizeof(Out)))
      return false;
  return true;
}

/// Doubles that a block and its look-back take; the first bars of a recurrence are looked at as a whole.
template <class Kind>
std::int64_t rows_of(const Kind& kind, const Spec& spec) {
  return kind.span() + (Kind::info.recurrent ? kind.warmup() + 1 : 0) + block_bars(spec.length) + kEight;
}

struct Sizes {
  std::int64_t in = 0, out = 0, kept = 0, runs = 0;
  Sizes(int kind, const Spec* specs, int count) {
    const auto at_least = [](std::int64_t& size, std::int64_t need) { size = need > size ? need : size; };
    for (int s = 0; s < count; ++s)
      AllKinds::visit(kind, specs[s], [&]<class Kind>(const Kind& k) {
        at_least(in, rows_of(k, specs[s]) * W);
        at_least(out, (block_bars(specs[s].length) + kEight) * W);
        if constexpr (requires { k.kept(); }) at_least(kept, (k.kept() + block_bars(specs[s].length) + kEight) * W);
        at_least(runs, static_cast<std::int64_t>(sizeof(Run<Kind, double, double, Across>)));
        at_least(runs, static_cast<std::int64_t>(sizeof(Run<Kind, double, double, Along>)));
      });
    in = round_up(in, 8);
    out = round_up(out, 8);
    kept = round_up(kept, 8);
    runs = round_up(runs, 64) * kGroup * count;
  }
};

void average(Job& job, std::byte* scratch) {
  const Sizes sizes(job.kind, job.specs, job.count);
  auto* memory = reinterpret_cast<double*>(scratch);
  const Desk desk{memory, memory + sizes.in, memory + sizes.in + sizes.out};
  auto* runs = reinterpret_cast<std::byte*>(desk.kept + sizes.kept);
  const auto with_types = [&]<class Kind, class In, class Out>(const Kind&, In, Out) {
    int j = 0;
    while (j < job.series) {
      if (j + W <= job.series && side_by_side<In, Out>(job, j)) {
        run<Kind, In, Out, Across>(job, j, W, desk, runs);
        j += W;
        continue;
      }
      int end = j + 1;
      while (end < job.series && !(end + W <= job.series && side_by_side<In, Out>(job, end))) ++end;
      run<Kind, In, Out, Along>(job, j, end - j, desk, runs);
      j = end;
    }
  };
  AllKinds::visit(job.kind, job.specs[0], [&](const auto& kind) {
    const auto with_in = [&](auto in) {
      job.out_type == DType::f32 ? with_types(kind, in, float{}) : with_types(kind, in, double{});
    };
    job.in_type == DType::f32 ? with_in(float{}) : with_in(double{});
  });
}

std::size_t scratch_bytes(int kind, const Spec* specs, int count) {
  const Sizes sizes(kind, specs, count);
  return static_cast<std::size_t>(sizes.in + sizes.out + sizes.kept) * sizeof(double) +
         static_cast<std::size_t>(sizes.runs);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {average, scratch_bytes};

}  // namespace wq::ma::inline WQ_LEVEL
