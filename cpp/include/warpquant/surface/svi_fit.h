// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"
#include "warpquant/core/plain.h"

/// The SVI slice nearest to quotes in weighted least squares.
///
/// For given m and s a slice is linear in (alpha, beta, b): w = alpha + beta k + b R with R = sqrt((k - m)^2 + s^2)
/// and beta = b rho (Zeliade's quasi-explicit idea, 2009). The columns 1 and k are the same for all m and s, so they
/// are projected out of everything once; what is left of the inner problem is one coefficient, b, and a diamond in
/// (beta, b) that holds b (1 + |rho|) <= 2 and |rho| <= 1. The outer problem in (m, ln s) is solved by variable
/// projection: Levenberg and Marquardt's method with the Jacobian of Kaufman (1975), from several starts side by side,
/// one in each lane of V. Plain arithmetic: the same bits on every machine.
namespace wq::surface::inline WQ_LEVEL {

inline constexpr int kStarts = 8, kScales = 6, kKinks = 3;
inline constexpr double kMostSlope = 2.0;  // of b (1 + |rho|), Lee's bound

/// Quotes in units in which they lie in [-1, 1], with what does not change with m and s.
struct Quotes {
  int count;
  const double *u, *weight, *along, *target;  // (k - centre) / unit, omega, omega q1, omega (w - its projection)
  double total;                               // of the weights: 1
  double slope_norm, level, slope;            // |u - mean|; projections of w on q0 and on q1
  double mean;                                // of u
  double square;                              // |w - projection|^2
  double most;                                // of b (1 + |rho|), in these units
};

/// What the inner problem needs to know of (m, s) and of steps from there; inner products of R and of its derivatives
/// by m and by ln s.
template <class V>
struct Products {
  V r0, r1, rw, rr;
  V m0, m1, mw, mr, mm;
  V l0, l1, lw, lr, lm, ll;
};

template <class V>
struct Inner {
  V beta, b;
  V cost;
  V reach, reach_square;  // along the free direction: (reach, 1) in (q1, R); 0 where there is none
  V miss;                 // of the coefficient of q1, where an edge keeps it from its best
  V free;                 // 2, 1, 0 numbers that are free
};

template <class V>
WQ_HD Products<V> products(const Quotes& q, V m, V s) {
  const V zero(0.0), s2 = s * s;
  Products<V> p{zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero};
  for (int i = 0; i < q.count; ++i) {
    const V x = V(q.u[i]) - m, square = x * x + s2, r = sqrt(square), by_r = V(1.0) / r;
    const V weight(q.weight[i]), along(q.along[i]), target(q.target[i]);
    const V by_m = zero - x * by_r, by_l = s2 * by_r, wr = weight * r, wm = weight * by_m, wl = weight * by_l;
    p.r0 = p.r0 + wr;
    p.r1 = p.r1 + along * r;
    p.rw = p.rw + target * r;
    p.rr = p.rr + weight * square;
    p.m0 = p.m0 + wm;
    p.m1 = p.m1 + along * by_m;
    p.mw = p.mw + target * by_m;
    p.mr = p.mr + wr * by_m;
    p.mm = p.mm + wm * by_m;
    p.l0 = p.l0 + wl;
    p.l1 = p.l1 + along * by_l;
    p.lw = p.lw + target * by_l;
    p.lr = p.lr + wr * by_l;
    p.lm = p.lm + wm * by_l;
    p.ll = p.ll + wl * by_l;
  }
  return p;
}

/// The least cost for given m and s.
template <class V>
WQ_HD Inner<V> inner(const Quotes& q, const Products<V>& p) {
  const V zero(0.0), one(1.0), norm(q.slope_norm), slope(q.slope), most(q.most), half = V(0.5) * most;
  // |R|^2 without its projections; never below what rounding leaves.
  const V rest = max(p.rr - p.r0 * p.r0 - p.r1 * p.r1, V(1e-14) * p.rr);
  const V best = p.rw / rest;
  Inner<V> y;
  y.b = best;
  y.beta = (slope - best * p.r1) / norm;
  y.cost = V(q.square) - best * p.rw;
  y.reach = y.reach_square = y.miss = zero;
  y.free = V(2.0);
  const auto inside = both(le(abs(y.beta), y.b), le(abs(y.beta), most - y.b));
  if (all(inside)) return y;
  // Edges beta = start + run b, from b = from to from + half.
  V least(HUGE_VAL);
  Inner<V> edge = y;
  for (int e = 0; e < 4; ++e) {
    const V run(e % 2 == 0 ? 1.0 : -1.0), from = e < 2 ? zero : half, start = e < 2 ? zero : zero - run * most;
    const V reach = run * norm + p.r1, want = slope - start * norm, square = reach * reach + rest;
    const V open = (reach * want + p.rw) / square, b = min(max(open, from), from + half);
    const V beta = start + run * b, miss = slope - (beta * norm + b * p.r1), off = b - best;
    const V cost = (V(q.square) - best * p.rw) + miss * miss + off * off * rest;
    const auto better = lt(cost, least), kept = eq(b, open);
    least = select(better, cost, least);
    edge.b = select(better, b, edge.b);
    edge.beta = select(better, beta, edge.beta);
    edge.cost = least;
    edge.reach = select(better, reach, edge.reach);
    edge.reach_square = select(better, square, edge.reach_square);
    edge.miss = select(better, miss, edge.miss);
    edge.free = select(better, select(kept, one, zero), edge.free);
  }
  y.b = select(inside, y.b, edge.b);
  y.beta = select(inside, y.beta, edge.beta);
  y.cost = select(inside, y.cost, edge.cost);
  y.reach = select(inside, zero, edge.reach);
  y.reach_square = select(inside, one, edge.reach_square);
  y.miss = select(inside, zero, edge.miss);
  y.free = select(inside, V(2.0), edge.free);
  return y;
}

/// The inner problem with all its diamond.
template <class V>
struct InDiamond {
  static constexpr bool kParts = false;
  static constexpr double kLittle = 1e-11;  // of the cost: what is not worth a step
  WQ_HD Inner<V> operator()(const Quotes& q, const Products<V>& p) const { return inner(q, p); }
};

/// The inner problem on one part of the diamond, in each lane: all of the plane, a line along an edge, or a corner.
template <class V>
struct OnPart {
  static constexpr bool kParts = true;
  static constexpr double kLittle = 1e-6;
  V run, start;  // beta = start + run b
  V b;           // of a corner
  V free;        // numbers that are: 2, 1, 0

  WQ_HD Inner<V> operator()(const Quotes& q, const Products<V>& p) const {
    const V zero(0.0), one(1.0), norm(q.slope_norm), slope(q.slope);
    const auto plane = gt(free, V(1.5)), line = both(gt(free, V(0.5)), negate(plane));
    const V rest = max(p.rr - p.r0 * p.r0 - p.r1 * p.r1, V(1e-14) * p.rr), best = p.rw / rest;
    const V reach = run * norm + p.r1, want = slope - start * norm, square = reach * reach + rest;
    Inner<V> y;
    y.b = select(plane, best, select(line, (reach * want + p.rw) / square, b));
    y.beta = select(plane, (slope - best * p.r1) / norm, start + run * y.b);
    y.miss = select(plane, zero, slope - (y.beta * norm + y.b * p.r1));
    const V off = y.b - best;
    y.cost = (V(q.square) - best * p.rw) + y.miss * y.miss + off * off * rest;
    y.reach = select(line, reach, zero);
    y.reach_square = select(line, square, one);
    y.free = free;
    return y;
  }
};

/// Gradient and Gauss and Newton's matrix of half the cost by m and ln s.
template <class V>
struct Normal {
  V gm, gl, hmm, hml, hll;
};

template <class V>
WQ_HD Normal<V> normal_of(const Products<V>& p, const Inner<V>& y) {
  const V zero(0.0);
  const V rest = max(p.rr - p.r0 * p.r0 - p.r1 * p.r1, V(1e-14) * p.rr);
  // Inner products with R less its projections.
  const V mr = p.mr - p.m0 * p.r0 - p.m1 * p.r1, lr = p.lr - p.l0 * p.r0 - p.l1 * p.r1;
  const V residual_m = p.mw - y.b * mr + y.miss * p.m1, residual_l = p.lw - y.b * lr + y.miss * p.l1;
  const auto two = gt(y.free, V(1.5)), one = both(gt(y.free, V(0.5)), negate(two));
  const V along_m = y.reach * p.m1 + mr, along_l = y.reach * p.l1 + lr;
  const V share = V(1.0) / select(two, rest, y.reach_square);
  const V m1 = select(two, p.m1, zero), l1 = select(two, p.l1, zero);
  const V mv = select(two, mr, select(one, along_m, zero)), lv = select(two, lr, select(one, along_l, zero));
  const V b2 = y.b * y.b;
  return {zero - y.b * residual_m, zero - y.b * residual_l, b2 * (p.mm - p.m0 * p.m0 - m1 * m1 - mv * mv * share),
          b2 * (p.lm - p.m0 * p.l0 - m1 * l1 - mv * lv * share), b2 * (p.ll - p.l0 * p.l0 - l1 * l1 - lv * lv * share)};
}

/// Bounds of the outer problem, in the units of the quotes.
struct Box {
  double m_from, m_to, s_from, s_to;
};

/// A place in (m, s), what it costs, and the work that went into it.
struct Found {
  double m, s, cost;
  int rounds;
};

/// A place in (m, s), in each lane, and the work that went into it.
template <class V>
struct Place {
  V m, s, cost;
  V open;   // 1 where there is more to gain, 0 where nothing is or others are far better
  V bound;  // 1 where the inner problem's best is at an edge, or close to one
  int rounds;
};

/// Starts in the lanes of a pack, all in one thread. What else there is has the starts in threads (cuda/surface.cuh).
template <class V>
struct InLanes {
  template <class M>
  WQ_HD bool any_of(M m) const {
    return any(m);
  }
  /// Which is least.
  WQ_HD int first_of(V x) const {
    int best = 0;
    for (int j = 1; j < kWidth<V>; ++j)
      if (lane(x, j) < lane(x, best)) best = j;
    return best;
  }
  /// What f says of each start.
  template <class F>
  WQ_HD V of(F f) const {
    V y(0.0);
    for (int j = 0; j < kWidth<V>; ++j) set_lane(y, j, f(j));
    return y;
  }
  WQ_HD double at(V x, int j) const { return lane(x, j); }
  WQ_HD void set(V& x, int j, double value) const { set_lane(x, j, value); }
};

/// From starts that are side by side, each to where it leads. Those that fall behind the best of them and `known` are
/// left, and so are those that come to where it is.
template <class V, class Team, class Solve>
WQ_HD Place<V> descend(const Quotes& q, const Box& box, V m, V s, int most_rounds, const Team& team, const Solve& solve,
                       const Found& known) {
  const V zero(0.0), one(1.0), tiny(1e-15 * q.square), little(Solve::kLittle);
  Products<V> p = products(q, m, s);
  Inner<V> y = solve(q, p);
  Normal<V> n = normal_of(p, y);
  const auto at_bound = [&q, zero, one](const Inner<V>& x) {
    const V size = abs(x.beta), near(0.98);
    return select(both(le(size, near * x.b), le(size, near * V(q.most) - x.b)), zero, one);
  };
  const V number = team.of([](int j) { return static_cast<double>(j); });
  V damping(1e-2), cost = y.cost, bound = at_bound(y);
  auto open = lt(zero, one);
  int round = 0;
  for (; round < most_rounds && team.any_of(open); ++round) {
    const V h0 = n.hmm * (one + damping), h1 = n.hll * (one + damping);
    const V determinant = h0 * h1 - n.hml * n.hml;
    const auto regular = gt(determinant, V(1e-14) * h0 * h1);
    const V by = one / select(regular, determinant, one);
    V step_m = select(regular, (n.hml * n.gl - h1 * n.gm) * by, zero - n.gm / max(h0, V(1e-300)));
    V step_l = select(regular, (n.hml * n.gm - h0 * n.gl) * by, zero - n.gl / max(h1, V(1e-300)));
    // At a bound that the descent points beyond, the other one moves alone.
    const auto held_l = either(both(le(s, V(box.s_from)), gt(n.gl, zero)), both(ge(s, V(box.s_to)), lt(n.gl, zero)));
    const auto held_m = either(both(le(m, V(box.m_from)), gt(n.gm, zero)), both(ge(m, V(box.m_to)), lt(n.gm, zero)));
    step_m = select(held_m, zero, select(held_l, zero - n.gm / max(h0, V(1e-300)), step_m));
    step_l = select(held_l, zero, select(held_m, zero - n.gl / max(h1, V(1e-300)), step_l));
    // What the quadratic model expects of the step, which is then shortened to where that may hold.
    const V promised = zero - (step_m * n.gm + step_l * n.gl);
    const V far = V(2.0) * s + V(0.5), size = max(abs(step_l) * V(1.0 / 1.5), abs(step_m) / far);
    const V share = one / max(size, one);
    const V to_m = max(min(m + share * step_m, V(box.m_to)), V(box.m_from));
    const V to_s = max(min(s * plain_exp(share * step_l), V(box.s_to)), V(box.s_from));
    const Products<V> next = products(q, to_m, to_s);
    const Inner<V> there = solve(q, next);
    const auto better = both(open, lt(there.cost, cost));
    const auto settled = either(both(le(promised, little * cost + tiny), le(damping, one)), gt(damping, V(1e6)));
    m = select(better, to_m, m);
    s = select(better, to_s, s);
    cost = select(better, there.cost, cost);
    bound = select(better, at_bound(there), bound);
    const Normal<V> there_normal = normal_of(next, there);
    n.gm = select(better, there_normal.gm, n.gm);
    n.gl = select(better, there_normal.gl, n.gl);
    n.hmm = select(better, there_normal.hmm, n.hmm);
    n.hml = select(better, there_normal.hml, n.hml);
    n.hll = select(better, there_normal.hll, n.hll);
    damping = select(better, max(damping * V(0.1), V(1e-12)), damping * V(8.0));
    open = but_not(open, settled);
    if constexpr (Solve::kParts) {
      if (round >= 4) open = but_not(open, gt(cost, V(1.1 * known.cost)));
    } else if (round >= 5) {
      const int first = team.first_of(cost);
      const bool leads = team.at(cost, first) < known.cost;
      Found best = known;
      if (leads) best = {team.at(m, first), team.at(s, first), team.at(cost, first), round};
      const V near(0.01 * best.s);
      const auto there_too = both(le(abs(m - V(best.m)), near), le(abs(s - V(best.s)), near));
      open = but_not(open, both(there_too, ne(number, V(leads ? first : -1.0))));
      if (round >= 10) open = but_not(open, gt(cost, V(round < 16 ? 3.0 : round < 24 ? 1.2 : 1.02) * V(best.cost)));
    }
  }
  return {m, s, cost, select(open, one, zero), bound, round};
}

/// Quotes of one smile, in the caller's units; `start`: m and s to try first, or null.
struct Smile {
  int count;
  const double *k, *w, *weight;
  const double* start;
  bool free;  // m and s; else those of `start` are kept, for smiles of three or four quotes
  int warm;   // steps from `start` alone, if there are any; else all starts are tried
};

struct SviFit {
  double a, b, rho, m, s;
  double rmse;  // weighted, of w
  int rounds;
};

/// Numbers of scratch that a smile of `count` quotes needs.
constexpr std::int64_t fit_scratch(std::int64_t count) { return 6 * count; }

/// Gauss and Newton's steps for one slice, with residuals that are computed and not differences of large sums: what
/// takes an exact smile to its last digits.
WQ_HD_CALL inline void polish(const Quotes& q, const double* target, const Box& box, double* rest, double& m, double& s,
                              double& beta, double& b, double& cost) {
  double to_m = m, to_s = s;
  for (int round = 0; round < 4; ++round) {
    double r0 = 0, r1 = 0;
    for (int i = 0; i < q.count; ++i) {
      const double x = q.u[i] - to_m, r = sqrt(x * x + to_s * to_s);
      rest[i] = r;
      r0 += q.weight[i] * r;
      r1 += q.along[i] * r;
    }
    double rr = 0, rt = 0;
    for (int i = 0; i < q.count; ++i) {
      rest[i] = (rest[i] - r0) - r1 * ((q.u[i] - q.mean) / q.slope_norm);
      rr += q.weight[i] * rest[i] * rest[i];
      rt += q.weight[i] * rest[i] * target[i];
    }
    if (!(rr > 0)) return;
    const double now_b = rt / rr, now_beta = (q.slope - now_b * r1) / q.slope_norm;
    if (!(std::fabs(now_beta) <= now_b && std::fabs(now_beta) <= q.most - now_b)) return;
    double sum = 0, gm = 0, gl = 0, hmm = 0, hml = 0, hll = 0, m0 = 0, m1 = 0, mv = 0, l0 = 0, l1 = 0, lv = 0;
    for (int i = 0; i < q.count; ++i) {
      const double x = q.u[i] - to_m, by = 1.0 / sqrt(x * x + to_s * to_s), by_m = -x * by, by_l = to_s * to_s * by;
      const double e = target[i] - now_b * rest[i], weight = q.weight[i], we = weight * e;
      sum += we * e;
      gm -= we * by_m;
      gl -= we * by_l;
      m0 += weight * by_m;
      l0 += weight * by_l;
      m1 += q.along[i] * by_m;
      l1 += q.along[i] * by_l;
      mv += weight * by_m * rest[i];
      lv += weight * by_l * rest[i];
      hmm += weight * by_m * by_m;
      hml += weight * by_m * by_l;
      hll += weight * by_l * by_l;
    }
    // A step is kept, all of it, only where it was better.
    if (!(sum < cost) && round > 0) return;
    cost = sum;
    m = to_m;
    s = to_s;
    b = now_b;
    beta = now_beta;
    if (round == 3) return;
    hmm -= m0 * m0 + m1 * m1 + mv * mv / rr;
    hml -= m0 * l0 + m1 * l1 + mv * lv / rr;
    hll -= l0 * l0 + l1 * l1 + lv * lv / rr;
    const double determinant = hmm * hll - hml * hml;
    if (!(determinant > 1e-12 * hmm * hll) || !(b > 0)) return;
    const double step_m = (hml * gl - hll * gm) / (determinant * b), step_l = (hml * gm - hmm * gl) / (determinant * b);
    if (!(std::fabs(step_m) < 0.1 * s && std::fabs(step_l) < 0.1)) return;
    to_m = min(max(m + step_m, box.m_from), box.m_to);
    to_s = min(max(s * plain_exp(step_l), box.s_from), box.s_to);
  }
}

/// A smile in units of its own, and what search and end have in common.
struct Scaled {
  Quotes quotes;
  Box box;
  double centre, unit;
  double* rest;
  const double* target;
};

/// `scratch`: fit_scratch(count) numbers.
WQ_HD_CALL inline Scaled prepare(const Smile& smile, double* scratch) {
  const int n = smile.count;
  double* const u = scratch;
  double *const weight = u + n, *const along = weight + n, *const weighted = along + n, *const target = weighted + n,
                *const rest = target + n;
  double low = smile.k[0], high = low, total = 0;
  for (int i = 0; i < n; ++i) {
    low = min(low, smile.k[i]);
    high = max(high, smile.k[i]);
    total += smile.weight[i];
  }
  const double centre = 0.5 * (low + high), unit = 0.5 * (high - low);
  Quotes q{n, u, weight, along, weighted, 1.0, 0, 0, 0, 0, 0, kMostSlope * unit};
  for (int i = 0; i < n; ++i) {
    u[i] = (smile.k[i] - centre) / unit;
    weight[i] = smile.weight[i] / total;
    q.mean += weight[i] * u[i];
    q.level += weight[i] * smile.w[i];
  }
  double square = 0, slope = 0;
  for (int i = 0; i < n; ++i) {
    const double x = u[i] - q.mean;
    square += weight[i] * x * x;
    slope += weight[i] * x * (smile.w[i] - q.level);
  }
  q.slope_norm = sqrt(square);
  q.slope = slope / q.slope_norm;
  for (int i = 0; i < n; ++i) {
    const double x = (u[i] - q.mean) / q.slope_norm;
    along[i] = weight[i] * x;
    target[i] = (smile.w[i] - q.level) - q.slope * x;
    weighted[i] = weight[i] * target[i];
    q.square += weighted[i] * target[i];
  }
  // In deviations: from a hundredth to eight of them, or as much as the quotes can tell.
  const double deviation = sqrt(max(q.level, 1e-300)) / unit;
  return {q, {-12.0, 12.0, min(0.01 * deviation, 0.05), max(8.0 * deviation, 24.0)}, centre, unit, rest, target};
}

/// Where a start is, in units of the quotes; and far out, with sizes.
WQ_HD double start_of(int j) {
  constexpr double kPlaces[kStarts] = {-1.4, -0.8, -0.4, -0.1, 0.15, 0.5, 0.9, 1.5};
  return kPlaces[j];
}
WQ_HD double far_of(int j) {
  constexpr double kPlaces[kStarts] = {-9.0, -5.0, -2.5, -2.5, 2.5, 2.5, 5.0, 9.0};
  return kPlaces[j];
}
WQ_HD double far_size_of(int j) {
  constexpr double kSizes[kStarts] = {6.0, 4.0, 0.5, 3.0, 3.0, 0.5, 4.0, 6.0};
  return kSizes[j];
}

/// From kStarts places, some of other kinds, and the one that is given.
template <class V, class Team>
WQ_HD Found search(const Smile& smile, const Scaled& p, const Team& team) {
  const V at = team.of(start_of);
  constexpr double kSizes[kScales] = {0.03, 0.1, 0.3, 0.8, 2.0, 5.0};
  V size(kSizes[0]), least(HUGE_VAL);
  for (const double candidate : kSizes) {
    const V c = inner(p.quotes, products(p.quotes, at, V(candidate))).cost;
    const auto better = lt(c, least);
    least = select(better, c, least);
    size = select(better, V(candidate), size);
  }
  // Quotes with noise may be nearest to a kink between two of them, whose neighbourhood no other start is in.
  const double sharp = max(0.4 / (kKinks * kStarts), p.box.s_from);
  V kink = at, kink_cost(HUGE_VAL);
  for (int j = 0; j < kKinks; ++j) {
    const V there = team.of([j](int i) { return (2.0 * (i * kKinks + j) + 1.0) / (kKinks * kStarts) - 1.0; });
    const V c = inner(p.quotes, products(p.quotes, there, V(sharp))).cost;
    const auto better = lt(c, kink_cost);
    kink_cost = select(better, c, kink_cost);
    kink = select(better, there, kink);
  }
  V place = at;
  // Starts of other kinds come instead of the worst ones.
  const auto replace = [&](double m, double s) {
    int worst = 0;
    for (int j = 1; j < kStarts; ++j)
      if (team.at(least, j) > team.at(least, worst)) worst = j;
    team.set(place, worst, min(max(m, p.box.m_from), p.box.m_to));
    team.set(size, worst, min(max(s, p.box.s_from), p.box.s_to));
    team.set(least, worst, -HUGE_VAL);
  };
  // Steep quotes may be one wing of a slice whose vertex is far away.
  const V far = team.of(far_of), far_size = team.of(far_size_of);
  const int farthest = team.first_of(inner(p.quotes, products(p.quotes, far, far_size)).cost);
  if (smile.start != nullptr) replace((smile.start[0] - p.centre) / p.unit, smile.start[1] / p.unit);
  replace(team.at(kink, team.first_of(kink_cost)), sharp);
  replace(team.at(far, farthest), team.at(far_size, farthest));
  Found f{team.at(place, 0), team.at(size, 0), HUGE_VAL, 0};
  bool bound = false;
  const auto follow = [&](V from_m, V from_s) {
    const Place<V> to = descend(p.quotes, p.box, from_m, from_s, 40, team, InDiamond<V>{}, f);
    const int best = team.first_of(to.cost);
    f.rounds += to.rounds;
    if (!(team.at(to.cost, best) < f.cost)) return;
    f = {team.at(to.m, best), team.at(to.s, best), team.at(to.cost, best), f.rounds};
    bound = team.at(to.open, best) > 0.5 || team.at(to.bound, best) > 0.5;
  };
  follow(place, size);
  // Where a kink is nearly as good before any step, one of them may be better.
  if (team.at(kink_cost, team.first_of(kink_cost)) < 1.15 * f.cost) follow(kink, V(sharp));
  // Where edges of the diamond meet valleys are narrow and bent. On each part alone they are not.
  if (bound) {
    const double most = p.quotes.most;
    const OnPart<V> part{team.of([](int j) { return j == 1 || j == 4 || j == 5 || j == 7 ? 1.0 : -1.0; }),
                         team.of([most](int j) { return j == 3 ? most : (j == 4 || j == 7 ? -most : 0.0); }),
                         team.of([most](int j) { return j == 7 ? most : 0.5 * most; }),
                         team.of([](int j) { return j == 0 ? 2.0 : (j < 5 ? 1.0 : 0.0); })};
    // Every other time from places farther and farther along the last move, on the part that made it.
    const V along = team.of([](int j) { return j == 0 ? 0.0 : pow2(j - 1.0); });
    double move_m = 0, move_l = 0;
    OnPart<V> last = part;
    for (int round = 0; round < 12; ++round) {
      const bool ahead = round % 2 == 1;
      const V from_m = max(min(V(f.m) + along * V(ahead ? move_m : 0.0), V(p.box.m_to)), V(p.box.m_from));
      const V from_s = max(min(V(f.s) * plain_exp(along * V(ahead ? move_l : 0.0)), V(p.box.s_to)), V(p.box.s_from));
      const Place<V> to = descend(p.quotes, p.box, from_m, from_s, 24, team, ahead ? last : part, f);
      const V costs = inner(p.quotes, products(p.quotes, to.m, to.s)).cost;
      const int best = team.first_of(costs);
      const double cost = team.at(costs, best), before = f.cost;
      f.rounds += to.rounds;
      if (!(cost < before)) break;
      const double to_m = team.at(to.m, best), to_s = team.at(to.s, best);
      move_m = to_m - f.m;
      move_l = plain_log(to_s / f.s);
      if (!ahead)
        last = {V(team.at(part.run, best)), V(team.at(part.start, best)), V(team.at(part.b, best)),
                V(team.at(part.free, best))};
      f = {to_m, to_s, cost, f.rounds};
      if (cost > (1.0 - 1e-6) * before) break;
    }
  }
  return f;
}

/// To the last digits, and back to the caller's units.
WQ_HD_CALL inline SviFit finish(const Smile& smile, const Scaled& p, Found found) {
  const Quotes& q = p.quotes;
  double m = found.m, s = found.s, cost = HUGE_VAL;
  const Inner<double> y = inner(q, products(q, m, s));
  double beta = y.beta, b = y.b;
  if (smile.free) polish(q, p.target, p.box, p.rest, m, s, beta, b, cost);
  double r0 = 0;
  for (int i = 0; i < q.count; ++i) {
    const double x = q.u[i] - m;
    r0 += q.weight[i] * sqrt(x * x + s * s);
  }
  SviFit fit;
  fit.b = b / p.unit;
  fit.rho = b > 0 ? beta / b : 0.0;
  fit.m = p.centre + p.unit * m;
  fit.s = p.unit * s;
  // The level at the mean of u, less what beta and b R have there.
  fit.a = q.level - b * r0 - beta * (q.mean - m);
  fit.rounds = found.rounds;
  // Residuals as the caller has them.
  double sum = 0;
  for (int i = 0; i < q.count; ++i) {
    const double x = smile.k[i] - fit.m, e = smile.w[i] - (fit.a + fit.b * (fit.rho * x + sqrt(x * x + fit.s * fit.s)));
    sum += q.weight[i] * e * e;
  }
  fit.rmse = sqrt(sum);
  return fit;
}

/// The best slice for quotes that are finite, with weights > 0 and at least three different k. P: packs of kStarts.
template <class P>
WQ_HD_CALL SviFit fit_slice(const Smile& smile, double* scratch) {
  const Scaled p = prepare(smile, scratch);
  Found found{0.0, 0.0, HUGE_VAL, 0};
  if (smile.start != nullptr) {
    found.m = (smile.start[0] - p.centre) / p.unit;
    found.s = smile.start[1] / p.unit;
  }
  if (smile.free && smile.warm > 0) {
    const double m = min(max(found.m, p.box.m_from), p.box.m_to), s = min(max(found.s, p.box.s_from), p.box.s_to);
    const Place<double> to =
        descend(p.quotes, p.box, m, s, smile.warm, InLanes<double>{}, InDiamond<double>{}, {m, s, HUGE_VAL, 0});
    found = {to.m, to.s, to.cost, to.rounds};
  } else if (smile.free) {
    found = search<P>(smile, p, InLanes<P>{});
  }
  return finish(smile, p, found);
}

}  // namespace wq::surface::inline WQ_LEVEL
