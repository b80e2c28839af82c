// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tiles.cuh"
#include "warpquant/ma/kinds.h"
#include "warpquant/ma/launch.h"

/// Moving averages: every lane of a warp walks a piece of a series with the elements that the CPU runs, so the bits are
/// the same.
namespace wq::ma {
namespace {

using cuda::kRow;
using cuda::kTile;
using cuda::kWarp;

/// Averages that look back up to so many bars find them in shared memory; others read them where they lie, mostly from
/// the cache. 128 rows take 33 KiB of the 64 that the smallest supported device has per block.
struct Tuning {
  static constexpr std::int64_t kMostRows = 128;
  static constexpr std::int64_t kMostRing = 32;  // values of its own that an average keeps in shared memory
};

/// The latest values of a lane in shared memory, newest first, relative to an anchor.
struct Near {
  const double* column;
  std::int64_t mask, r;
  double anchor;

  WQ_HD double operator[](std::int64_t k) const { return column[((r - k) & mask) * kRow] - anchor; }
  WQ_HD Near ago(std::int64_t bars) const { return {column, mask, r - bars, anchor}; }
};

/// The same where the series lies.
struct Far {
  const cuda::Track* track;
  DType type;
  std::int64_t r;
  double anchor;

  __device__ double operator[](std::int64_t k) const { return track->at(r - k, type) - anchor; }
  __device__ Far ago(std::int64_t bars) const { return {track, type, r - bars, anchor}; }
};

template <class Kind>
using State = typename Kind::template State<double>;

template <class Kind>
__device__ void save(const State<Kind>& state, std::uint64_t (&words)[kStateWords]) {
  static_assert(sizeof state <= sizeof words);
  for (std::uint64_t& word : words) word = 0;
  __builtin_memcpy(words, &state, sizeof state);
}

/// One average on its way along a series. Bars are counted from the start of the series.
template <class Kind>
struct Walk {
  static constexpr bool kRecurrent = Kind::info.recurrent;
  static constexpr bool kAnchored = !kRecurrent && !Kind::info.ends_only;

  const Kind& kind;
  std::int64_t block;         // bars
  std::int64_t in_block = 0;  // number of the next bar within its block: counted, because dividing takes long
  State<Kind> state{};
  double anchor = 0;
  double seen = 0;  // not finite once such a value was seen

  /// The next call of `step` is for this bar.
  __device__ void go_to(std::int64_t bar) { in_block = bar % block; }

  /// The average at `bar`, the newest of `x`; bars come one after the other. `series`: the same values for those who
  /// look far back. `from_start`: the walk began with bar 0, so there is no state before the first value.
  template <class X>
  __device__ double step(X x, Far series, std::int64_t bar, bool from_start) {
    double value;
    if constexpr (kRecurrent)
      value = recur(x, series, bar, from_start);
    else
      value = slide(x, bar);
    if (++in_block == block) in_block = 0;
    return value;
  }

  __device__ void guess(Far series) {
    if constexpr (kRecurrent) kind.guess(state, series);
  }

  __device__ bool is_suspect() {
    seen = seen + kind.trace(state);
    return !(seen * 0.0 == 0.0);
  }

 private:
  template <class X>
  __device__ double slide(X x, std::int64_t bar) {
    if (in_block == 0) {
      seen = seen + kind.trace(state);
      if constexpr (kAnchored) anchor = x[1];
      x.anchor = anchor;
      kind.open(state, x.ago(1));
    } else {
      x.anchor = anchor;
      tend(x);
    }
    const double value = kind.step(state, x);
    if (bar < kind.warmup()) return __builtin_nan("");
    return kAnchored ? anchor + value : value;
  }

  template <class X>
  __device__ double recur(X x, Far series, std::int64_t bar, bool from_start) {
    const bool odd = bar % 2 == 1;
    if (from_start && bar <= kind.warmup()) {
      if (bar < kind.warmup()) {
        seen = seen + x[0];
        return __builtin_nan("");
      }
      kind.first(state, series);
      return kind.value(state, odd);
    }
    tend(x);
    kind.advance(state, x, odd);
    return kind.value(state, odd);
  }

  template <class X>
  __device__ void tend(X x) {
    if constexpr (requires { kind.tend(state, x, in_block); })
      if (in_block % 8 == 0) {
        seen = seen + kind.trace(state);
        kind.tend(state, x.ago(1), in_block);
      }
  }
};

/// Where a piece lies, and where its walk begins.
struct Piece {
  std::int64_t series, begin, end, start;
};

__device__ inline Piece piece_of(const Launch& launch, std::int64_t unit, std::int64_t lead) {
  const std::int64_t series = unit % launch.series, number = unit / launch.series;
  const std::int64_t bars = launch.in[series].bars, begin = number * launch.piece_bars;
  const std::int64_t end = begin + launch.piece_bars < bars ? begin + launch.piece_bars : bars;
  return {series, begin, end, number == 0 ? 0 : begin - lead};
}

/// A value of the series was not finite.
__device__ inline void suspect(const Launch& launch, std::int64_t series) {
  atomicOr(&launch.suspect[series], 1);
  atomicOr(&launch.suspect[launch.series], 1);
}

/// A lane walks a piece. `lead`: bars that a guess walks first. `rows`: of shared memory, a power of 2 from 64 on; 0 if
/// windows are longer.
template <class Kind, bool kNear>
__global__ void walk_kernel(Launch launch, Kind kind, std::int64_t lead, std::int64_t rows, bool shared_ring) {
  using W = Walk<Kind>;
  WQ_SHARED(cuda::Track, tracks, kWarp);
  WQ_SHARED(cuda::Target, targets, kWarp);
  WQ_DYNAMIC_SHARED(double, memory);
  double* const out = memory + rows * kRow;
  const int lane = threadIdx.x;
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  const std::int64_t units = launch.series * launch.pieces;

  Piece piece{};
  cuda::Track track{};
  cuda::Target target{nullptr, item_size(launch.out_type), 0, 0};
  if (unit < units) {
    piece = piece_of(launch, unit, lead);
    if (piece.begin < piece.end) {
      const Sink& sink = launch.out[piece.series];
      track = {launch.in[piece.series], piece.start};
      target = {sink.data + piece.begin * sink.stride, sink.stride, piece.begin - piece.start, piece.end - piece.start};
    } else {
      track.series.stride = launch.in[piece.series].stride;
    }
  }
  tracks[lane] = track;
  targets[lane] = target;
  __syncwarp();

  W walk{kind, block_bars(launch.spec.length)};
  if constexpr (requires { walk.state.ring; })
    walk.state.ring = shared_ring ? out + kTile * kRow + lane * (kind.ring() | 1)
                                  : reinterpret_cast<double*>(launch.scratch) + unit * kind.ring();
  PieceStates* const states = reinterpret_cast<PieceStates*>(launch.scratch) + unit;
  const Far series{&tracks[lane], launch.in_type, 0, 0.0};
  walk.go_to(piece.start);
  if (piece.start < piece.begin) walk.guess(series.ago(1));

  // What windows look back on, then tile by tile.
  const std::int64_t mask = rows - 1, history = kNear ? rows - kTile : 0;
  for (std::int64_t r = -history; __any_sync(cuda::kEveryLane, r < target.to); r += kTile) {
    if constexpr (kNear) {
      cuda::load_tile(tracks, launch.in_type, r, memory, mask);
      __syncwarp();
    }
    if (r < 0) continue;
    for (int i = 0; i < kTile && r + i < target.to; ++i) {
      if constexpr (W::kRecurrent)
        if (launch.pieces > 1 && r + i == target.from) save<Kind>(walk.state, states->before);
      Far far = series;
      far.r = r + i;
      double value;
      if constexpr (kNear)
        value = walk.step(Near{memory + lane, mask, r + i, 0.0}, far, piece.start + r + i, piece.start == piece.begin);
      else
        value = walk.step(far, far, piece.start + r + i, piece.start == piece.begin);
      out[i * kRow + lane] = value;
    }
    __syncwarp();
    cuda::store_tile(targets, launch.out_type, r, out);
    __syncwarp();
  }
  if (target.to == 0) return;
  if constexpr (W::kRecurrent)
    if (launch.pieces > 1) save<Kind>(walk.state, states->after);
  if (walk.is_suspect()) suspect(launch, piece.series);
}

/// A piece where the series lies, value by value. `states`: of a recurrence in pieces; may be null.
template <class Kind>
__device__ void walk_piece(Walk<Kind>& walk, const Piece& piece, Far x, const Sink& out, DType out_type,
                           PieceStates* states) {
  walk.go_to(piece.start);
  x.r = piece.start;
  if (piece.start < piece.begin) walk.guess(x.ago(1));
  for (; x.r < piece.end; ++x.r) {
    if constexpr (Kind::info.recurrent)
      if (states != nullptr && x.r == piece.begin) save<Kind>(walk.state, states->before);
    const double value = walk.step(x, x, x.r, piece.start == piece.begin);
    if (x.r >= piece.begin) cuda::store(out.data + x.r * out.stride, out_type, value);
  }
  if constexpr (Kind::info.recurrent)
    if (states != nullptr) save<Kind>(walk.state, states->after);
}

/// Where the state that a piece began with is not the one that the piece before it ended with, to the last bit, the
/// piece is walked again from that. Piece p is piece_at(p), its states states_of(p). Whether a value was not finite.
template <class Kind, class PieceAt, class StatesOf>
__device__ bool join(const Kind& kind, std::int64_t block, std::int64_t pieces, PieceAt piece_at, StatesOf states_of,
                     const Far& series, const Sink& out, DType out_type) {
  Walk<Kind> walk{kind, block};
  std::uint64_t reached[kStateWords];
  bool suspect = false;
  for (std::int64_t p = 0; p < pieces; ++p) {
    Piece piece = piece_at(p);
    if (piece.begin >= piece.end) break;
    const PieceStates& here = states_of(p);
    bool same = true;
    for (std::size_t w = 0; p > 0 && w < kStateWords; ++w) same &= here.before[w] == reached[w];
    if (same) {
      for (std::size_t w = 0; w < kStateWords; ++w) reached[w] = here.after[w];
      continue;
    }
    __builtin_memcpy(&walk.state, reached, sizeof walk.state);
    piece.start = piece.begin;
    walk_piece(walk, piece, series, out, out_type, nullptr);
    suspect |= walk.is_suspect();
    save<Kind>(walk.state, reached);
  }
  return suspect;
}

/// A thread joins the pieces of a series.
template <class Kind>
__global__ void join_kernel(Launch launch, Kind kind) {
  const std::int64_t series = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (series >= launch.series) return;
  const auto unit = [&](std::int64_t p) { return p * launch.series + series; };
  const auto piece_at = [&](std::int64_t p) { return piece_of(launch, unit(p), 0); };
  const auto states_of = [&](std::int64_t p) -> const PieceStates& {
    return reinterpret_cast<const PieceStates*>(launch.scratch)[unit(p)];
  };
  const cuda::Track track{launch.in[series], 0};
  const Far x{&track, launch.in_type, 0, 0.0};
  if (join(kind, block_bars(launch.spec.length), launch.pieces, piece_at, states_of, x, launch.out[series],
           launch.out_type))
    suspect(launch, series);
}

// ------------------------------------------------------------------------------------------------ missing values

/// What a thread found in its part of a series.
struct Found {
  std::int64_t present;                 // values
  std::int64_t first, last, last_hole;  // bars: present, present, missing; -1 if there is none
  std::int64_t seen;                    // bars that the average sees
};

/// A sieve that has gone through the parts before a thread's, and the number of bars that the average saw there.
struct Reached {
  Sieve sieve;
  std::int64_t seen;
};

/// Parts [0, part) lie before bar `begin`.
__device__ inline Reached reach(const Found* found, int part, std::int64_t begin, const cuda::Track& series, DType type,
                                Hole hole) {
  Found before{0, -1, -1, -1, 0};
  for (int p = 0; p < part; ++p) {
    before.present += found[p].present;
    if (before.first < 0) before.first = found[p].first;
    if (found[p].last >= 0) before.last = found[p].last;
    if (found[p].last_hole >= 0) before.last_hole = found[p].last_hole;
  }
  Reached reached{{hole}, 0};
  if (before.first < 0) return reached;
  const std::int64_t bars = begin - before.first;
  reached.sieve.begun = true;
  reached.sieve.ended = hole == Hole::end && before.present < bars;
  if (hole == Hole::repeat && before.last_hole > before.first) reached.sieve.since_hole = begin - before.last_hole;
  reached.sieve.last = series.at(before.last, type);
  reached.seen = hole == Hole::skip ? before.present : bars;
  return reached;
}

/// Series with missing values again, from copies without, and the averages to where their bars are: a block of threads
/// for each, which first cut it into equal parts. Costs nothing where nothing is missing.
template <class Kind>
__global__ void mend_kernel(Launch launch, Kind kind, std::int64_t lead) {
  if (launch.suspect[launch.series] == 0) return;
  WQ_DYNAMIC_SHARED(Found, found);
  const Mending& m = launch.mending;
  const auto part = static_cast<int>(threadIdx.x), parts = static_cast<int>(blockDim.x);
  const std::int64_t in_size = item_size(launch.in_type), out_size = item_size(launch.out_type);
  std::byte* const copy = m.scratch + blockIdx.x * m.block_bytes;
  std::byte* const result = copy + m.copy_bytes;
  std::byte* const own = result + m.result_bytes;

  for (std::int64_t series = blockIdx.x; series < launch.series; series += gridDim.x) {
    if (launch.suspect[series] == 0) continue;
    const cuda::Track whole{launch.in[series], 0};
    const Sink& out = launch.out[series];
    const std::int64_t bars = whole.series.bars, part_bars = (bars + parts - 1) / parts;
    const std::int64_t begin = clamp(part * part_bars, 0, bars), end = clamp(begin + part_bars, 0, bars);

    Found here{0, -1, -1, -1, 0};
    for (std::int64_t bar = begin; bar < end; ++bar) {
      const bool present = is_finite(whole.at(bar, launch.in_type));
      here.present += present;
      if (present && here.first < 0) here.first = bar;
      (present ? here.last : here.last_hole) = bar;
    }
    found[part] = here;
    __syncthreads();

    const Reached start = reach(found, part, begin, whole, launch.in_type, m.hole);
    Reached at = start;
    for (std::int64_t bar = begin; bar < end; ++bar) {
      double x = whole.at(bar, launch.in_type);
      if (at.sieve.see(x)) cuda::store(copy + at.seen++ * in_size, launch.in_type, x);
    }
    found[part].seen = at.seen - start.seen;
    __syncthreads();

    std::int64_t seen = 0;
    for (int p = 0; p < parts; ++p) seen += found[p].seen;
    const cuda::Track track{{copy, in_size, seen}, 0};
    const Far x{&track, launch.in_type, 0, 0.0};
    const Sink to{result, out_size, seen};
    const std::int64_t block = block_bars(launch.spec.length);
    const std::int64_t cut = seen > 0 ? piece_bars(kind, block, lead, seen, parts) : 1;
    const auto piece_at = [&](std::int64_t p) {
      return Piece{series, p * cut, p * cut + cut < seen ? p * cut + cut : seen, p == 0 ? 0 : p * cut - lead};
    };
    const bool joins = Kind::info.recurrent && cut < seen;
    auto* const states = reinterpret_cast<PieceStates*>(own);
    if (part * cut < seen) {
      Walk<Kind> walk{kind, block};
      if constexpr (requires { walk.state.ring; })
        walk.state.ring = reinterpret_cast<double*>(own) + part * kind.ring();
      walk_piece(walk, piece_at(part), x, to, launch.out_type, joins ? states + part : nullptr);
    }
    __syncthreads();
    if constexpr (Kind::info.recurrent) {
      const auto states_of = [&](std::int64_t p) -> const PieceStates& { return states[p]; };
      if (joins && part == 0) join(kind, block, parts, piece_at, states_of, x, to, launch.out_type);
      __syncthreads();
    }

    at = start;
    for (std::int64_t bar = begin; bar < end; ++bar) {
      double value = whole.at(bar, launch.in_type);
      const bool sees = at.sieve.see(value), knows = sees && at.sieve.whole(kind.warmup());
      value = knows ? cuda::load(result + at.seen * out_size, launch.out_type) : __builtin_nan("");
      at.seen += sees;
      cuda::store(out.data + bar * out.stride, launch.out_type, value);
    }
    __syncthreads();
  }
}

}  // namespace

/// Put one average into a stream, and behind it what mends series with missing values.
inline Fault launch_on(const Launch& launch, cuda::Queue queue) {
  Fault fault = Fault::none;
  DeviceKinds::visit(launch.kind, launch.spec, [&]<class Kind>(const Kind& kind) {
    std::int64_t lead = 0;
    if constexpr (Kind::info.recurrent) lead = guess_bars(kind, launch.spec);
    const std::int64_t wanted = power_of_2(kind.span() + 1 + kTile, 2 * kTile);
    const std::int64_t rows = wanted <= Tuning::kMostRows ? wanted : 0;
    std::int64_t ring = 0;
    if constexpr (requires { kind.ring(); }) ring = kind.ring() <= Tuning::kMostRing ? kind.ring() | 1 : 0;
    const std::size_t shared = static_cast<std::size_t>((rows + kTile) * kRow + ring * kWarp) * sizeof(double);
    const dim3 grid(static_cast<unsigned>((launch.series * launch.pieces + kWarp - 1) / kWarp));
    fault = rows > 0 ? cuda::launch(walk_kernel<Kind, true>, grid, dim3(kWarp), shared, queue, launch, kind, lead, rows,
                                    ring > 0)
                     : cuda::launch(walk_kernel<Kind, false>, grid, dim3(kWarp), shared, queue, launch, kind, lead,
                                    rows, ring > 0);
    if constexpr (Kind::info.recurrent)
      if (fault == Fault::none && launch.pieces > 1)
        fault = cuda::launch(join_kernel<Kind>, dim3(static_cast<unsigned>((launch.series + kWarp - 1) / kWarp)),
                             dim3(kWarp), 0, queue, launch, kind);
    const Mending& m = launch.mending;
    if (fault == Fault::none && m.blocks > 0)
      fault =
          cuda::launch(mend_kernel<Kind>, dim3(static_cast<unsigned>(m.blocks)), dim3(static_cast<unsigned>(m.threads)),
                       static_cast<std::size_t>(m.threads) * sizeof(Found), queue, launch, kind, lead);
  });
  return fault;
}

}  // namespace wq::ma
