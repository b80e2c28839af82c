// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>

#include "ma_job.h"

/// One long series of a recurrence, eight bars at a time. The order of additions is the same on every level: a packet
/// of eight bars is two, four or one register, and only the way to shift it differs.
namespace wq::ma::inline WQ_LEVEL {

inline constexpr int kEight = 8;

/// Eight consecutive bars.
struct Packet {
  static constexpr int kParts = kEight / kLanes;
  Pack<kLanes> part[kParts];

  WQ_HD static Packet load(const double* p) {
    Packet r;
    for (int i = 0; i < kParts; ++i) r.part[i] = Pack<kLanes>::load(p + i * kLanes);
    return r;
  }
  WQ_HD void store(double* p) const {
    for (int i = 0; i < kParts; ++i) part[i].store(p + i * kLanes);
  }
  WQ_HD static Packet all(double x) {
    Packet r;
    for (auto& p : r.part) p = Pack<kLanes>(x);
    return r;
  }
};

template <class F>
WQ_HD Packet each(const Packet& a, const Packet& b, F f) {
  Packet r;
  for (int i = 0; i < Packet::kParts; ++i) r.part[i] = f(a.part[i], b.part[i]);
  return r;
}
WQ_HD Packet operator+(const Packet& a, const Packet& b) {
  return each(a, b, [](auto x, auto y) { return x + y; });
}
WQ_HD Packet operator*(const Packet& a, const Packet& b) {
  return each(a, b, [](auto x, auto y) { return x * y; });
}

template <int kBars, int W>
WQ_HD Pack<W> shift_in(Pack<W> before, Pack<W> now) {
  static_assert(kBars < W);
  const auto a = before.v, b = now.v;
  if constexpr (W == 2) return __builtin_shufflevector(a, b, 1, 2);
  if constexpr (W == 4) {
    if constexpr (kBars == 1) return __builtin_shufflevector(a, b, 3, 4, 5, 6);
    if constexpr (kBars == 2) return __builtin_shufflevector(a, b, 2, 3, 4, 5);
  }
  if constexpr (W == 8) {
    if constexpr (kBars == 1) return __builtin_shufflevector(a, b, 7, 8, 9, 10, 11, 12, 13, 14);
    if constexpr (kBars == 2) return __builtin_shufflevector(a, b, 6, 7, 8, 9, 10, 11, 12, 13);
    if constexpr (kBars == 4) return __builtin_shufflevector(a, b, 4, 5, 6, 7, 8, 9, 10, 11);
  }
}

/// The eight values that are `kBars` bars older than `now`, `before` being the packet before it.
template <int kBars>
WQ_HD Packet delayed(const Packet& before, const Packet& now) {
  constexpr int W = kLanes, P = Packet::kParts;
  Packet r;
  for (int i = 0; i < P; ++i) {
    if constexpr (kBars >= W) {
      const int from = i - kBars / W;
      r.part[i] = from < 0 ? before.part[P + from] : now.part[from];
    } else {
      r.part[i] = shift_in<kBars, W>(i == 0 ? before.part[P - 1] : now.part[i - 1], now.part[i]);
    }
  }
  return r;
}

/// y_i = a x_i + q y_{i-1} as y_i = u_i + q^8 y_{i-8}, u the sum of the last eight a q^k x_{i-k}, made by doubling.
struct StageScan {
  Packet a, q, q2, q4, q8;
  Packet t, u1, u2, y;  // of the previous packet

  /// Take up after eight bars that came about otherwise.
  StageScan(double alpha, const double* inputs, const double* outputs)
      : a(Packet::all(alpha)), q(Packet::all(1 - alpha)), q2(q * q), q4(q2 * q2), q8(q4 * q4) {
    // What the first places would need from still earlier bars is not used by the next packet.
    t = a * Packet::load(inputs);
    u1 = t + q * delayed<1>(t, t);
    u2 = u1 + q2 * delayed<2>(u1, u1);
    y = Packet::load(outputs);
  }

  WQ_HD Packet step(const Packet& x) {
    const Packet t_now = a * x;
    const Packet u1_now = t_now + q * delayed<1>(t, t_now);
    const Packet u2_now = u1_now + q2 * delayed<2>(u1, u1_now);
    y = (u2_now + q4 * delayed<4>(u2, u2_now)) + q8 * y;
    t = t_now;
    u1 = u1_now;
    u2 = u2_now;
    return y;
  }
};

/// y_i = m_i y_{i-1} + b_i by composing eight such maps.
struct AffineScan {
  struct Map {
    Packet m, b;
    /// The map that applies `first` and then this.
    WQ_HD Map after(const Map& first) const { return {m * first.m, b + m * first.b}; }
  };
  Map one, two, four;  // of the previous packet: the maps over one, two and four bars
  Packet y;

  AffineScan(const double* m, const double* b, const double* outputs) {
    one = {Packet::load(m), Packet::load(b)};
    two = one.after(late<1>(one, one));
    four = two.after(late<2>(two, two));
    y = Packet::load(outputs);
  }

  WQ_HD Packet step(const Map& now) {
    const Map two_now = now.after(late<1>(one, now));
    const Map four_now = two_now.after(late<2>(two, two_now));
    const Map eight = four_now.after(late<4>(four, four_now));
    y = eight.b + eight.m * y;
    one = now;
    two = two_now;
    four = four_now;
    return y;
  }

 private:
  template <int kBars>
  WQ_HD static Map late(const Map& before, const Map& now) {
    return {delayed<kBars>(before.m, now.m), delayed<kBars>(before.b, now.b)};
  }
};

// ---------------------------------------------------------------------------------------------- the drivers

/// Up to eight bars; places beyond the series repeat its last value, and nobody reads what comes of them.
template <class In>
WQ_HD Packet load_packet(const Series& in, std::int64_t bar) {
  if (bar + kEight <= in.bars && in.stride == sizeof(In)) {
    Packet packet;
    for (int i = 0; i < Packet::kParts; ++i)
      packet.part[i] = load_values<In, W>(in.data + (bar + i * W) * static_cast<std::int64_t>(sizeof(In)));
    return packet;
  }
  double values[kEight];
  for (int i = 0; i < kEight; ++i) values[i] = load_value<In>(in.data + clamp(bar + i, 0, in.bars - 1) * in.stride);
  return Packet::load(values);
}

template <class Out>
WQ_HD void store_packet(const Sink& out, std::int64_t bar, const Packet& packet) {
  if (bar + kEight <= out.bars && out.stride == sizeof(Out)) {
    for (int i = 0; i < Packet::kParts; ++i)
      store_values<Out>(out.data + (bar + i * W) * static_cast<std::int64_t>(sizeof(Out)), packet.part[i]);
    return;
  }
  double values[kEight];
  packet.store(values);
  for (int i = 0; i < kEight && bar + i < out.bars; ++i) store_value<Out>(out.data + (bar + i) * out.stride, values[i]);
}

inline void note_suspect(Job& job, const Packet& sums) {
  for (const V& part : sums.part)
    for (int i = 0; i < W; ++i) job.suspect[0] |= !(part.v[i] * 0.0 == 0.0);
}

/// The first bars of a series, one by one, as every other driver computes them.
template <class Kind, class In, class Out>
class Lead {
 public:
  typename Kind::template State<double> state;

  /// Doubles of `memory` that a lead needs.
  static std::int64_t memory(const Kind& kind) { return kind.span() + kind.warmup() + 1 + 2 * kEight; }

  /// Up to the first value and on, until eight more bars end at a multiple of eight.
  Lead(const Kind& kind, const Series& in, const Sink& out, double* memory)
      : kind_(kind), out_(out), bars_(memory + kind.span()), bar_(kind.warmup()) {
    for (std::int64_t bar = -kind.span(); bar <= kind.warmup() + 2 * kEight; ++bar)
      bars_[bar] = load_value<In>(in.data + clamp(bar, 0, in.bars - 1) * in.stride);
    store_nan<Out>(out, bar_);
    kind.first(state, window());
    put();
    while ((bar_ + 1) % kEight != 0) advance();
  }
  void advance() {
    ++bar_;
    kind_.advance(state, window());
    put();
  }
  Window<double> window() const { return {bars_ + bar_}; }
  std::int64_t next() const { return bar_ + 1; }

 private:
  void put() { store_value<Out>(out_.data + bar_ * out_.stride, kind_.value(state)); }

  const Kind& kind_;
  Sink out_;
  double* bars_;  // bar 0; before it the first value repeats
  std::int64_t bar_;
};

/// EMA and its kin.
template <class Kind, class In, class Out>
  requires requires { Kind::kStages; }
void run_scan(const Kind& kind, Job& job, int spec, double* memory) {
  constexpr int kStages = Kind::kStages;
  const Series in = job.in[0];
  const Sink out = sink_of(job, 0, spec);
  Lead<Kind, In, Out> lead(kind, in, out, memory);
  double input[kStages + 1][kEight];  // of each stage; the last is the output of the last stage
  for (int i = 0; i < kEight; ++i) {
    lead.advance();
    input[0][i] = lead.window()[0];
    for (int k = 0; k < kStages; ++k) input[k + 1][i] = lead.state.stage[k];
  }
  alignas(StageScan) std::byte storage[sizeof(StageScan) * kStages];
  auto* stage = reinterpret_cast<StageScan*>(storage);
  for (int k = 0; k < kStages; ++k) new (&stage[k]) StageScan(kind.alpha, input[k], input[k + 1]);

  Packet sums = Packet::all(0.0);
  for (std::int64_t bar = lead.next(); bar < in.bars; bar += kEight) {
    Packet value[kStages], result;
    const Packet x = load_packet<In>(in, bar);
    sums = sums + x;
#pragma GCC unroll 3
    for (int k = 0; k < kStages; ++k) value[k] = stage[k].step(k == 0 ? x : value[k - 1]);
#pragma GCC unroll 4
    for (int i = 0; i < Packet::kParts; ++i) {
      typename Kind::template State<V> s;
#pragma GCC unroll 3
      for (int k = 0; k < kStages; ++k) s.stage[k] = value[k].part[i];
      result.part[i] = kind.value(s);
    }
    store_packet<Out>(out, bar, result);
  }
  note_suspect(job, sums);
}

/// KAMA: the smoothing constants are functions of the window, so blocks of bars make them side by side; the value is
/// then a chain of affine maps.
template <class Kind, class In, class Out>
  requires requires(Kind kind, typename Kind::template State<V> s, Window<V> x) { kind.rate(s, x); }
void run_scan(const Kind& kind, Job& job, int spec, double* memory) {
  constexpr std::int64_t kRates = W * kRefresh;  // made at a time
  const Series in = job.in[0];
  const Sink out = sink_of(job, 0, spec);
  Lead<Kind, In, Out> lead(kind, in, out, memory);
  double m[kEight], b[kEight], value[kEight];
  for (int i = 0; i < kEight; ++i) {
    lead.advance();
    const double rate = kind.rate(lead.state, lead.window());
    m[i] = 1 - rate;
    b[i] = rate * lead.window()[0];
    value[i] = lead.state.value;
  }
  AffineScan scan(m, b, value);

  double* history = memory + round_up(lead.memory(kind), W);
  double* rows = history + (kind.span() + 1) * W;
  double* rates = rows + kRefresh * W;
  const auto make_rates = [&](std::int64_t from) {
    Series block[W];
    Sink rate[W];
    for (int j = 0; j < W; ++j) {
      block[j] = in.from(from + j * kRefresh < in.bars ? from + j * kRefresh : from);
      rate[j] = {reinterpret_cast<std::byte*>(rates + j * kRefresh), sizeof(double), kRefresh};
    }
    LaneReader<In, W>(block).rows(-kind.span() - 1, kind.span() + 1 + kRefresh, history);
    const LaneWriter<double, W> writer(rate);
    typename Kind::template State<V> state;
    kind.open(state, Window<V>{rows - W});
    for (std::int64_t r = 0; r < kRefresh; r += W) {
      V values[W];
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) {
        const Window<V> x{rows + (r + i) * W};
        kind.slide(state, x);
        values[i] = kind.rate(state, x);
      }
      writer.block(r, values);
    }
  };

  Packet sums = Packet::all(0.0);
  std::int64_t made = lead.next() / kRates * kRates;
  make_rates(made);
  for (std::int64_t bar = lead.next(); bar < in.bars; bar += kEight) {
    if (bar == made + kRates) make_rates(made = bar);
    const Packet x = load_packet<In>(in, bar), rate = Packet::load(rates + (bar - made));
    sums = sums + x;
    store_packet<Out>(out, bar,
                      scan.step({each(Packet::all(1.0), rate, [](V one, V c) { return one - c; }), rate * x}));
  }
  note_suspect(job, sums);
}

}  // namespace wq::ma::inline WQ_LEVEL
