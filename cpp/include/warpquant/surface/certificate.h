// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"
#include "warpquant/surface/slice.h"

/// Proofs about SVI slices: the least value of g anywhere, and where two slices cross.
///
/// With k = m + s (t - 1 / t) / 2 every square root goes away: w = P(t) / (2 t), w' = b W(t) / Q(t), and g is the ratio
/// of two polynomials of degree 10 in t > 0. With t = x / (1 - x) both have Bernstein coefficients on [0, 1], which
/// enclose them: where those of N - y D are all positive, g is above y. Halving the interval where they are not (de
/// Casteljau) proves the minimum over all strikes, wings included, to kGap.
namespace wq::surface::inline WQ_LEVEL {

enum CertificateStatus : int { kFree, kArbitrage, kNoSlice, kUnproven };

struct Certificate {
  double least, place;  // of g, and the k at which it is; infinite where it is a limit
  double bound;         // that is proven
  int status;
};

inline constexpr int kDegree = 10;
inline constexpr double kGap = 1e-9;  // between the bound and the least value, times 1 + |that|

struct Ratio {
  double up[kDegree + 1], down[kDegree + 1];  // Bernstein coefficients
};

namespace certificate {

template <int N, int M>
WQ_HD void multiply(const double (&a)[N], const double (&b)[M], double (&y)[N + M - 1]) {
  for (double& c : y) c = 0;
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < M; ++j) y[i + j] += a[i] * b[j];
}

/// N and D as polynomials in t, lowest power first.
WQ_HD_CALL inline void polynomials(const Svi<double>& x, double (&up)[kDegree + 1], double (&down)[kDegree + 1]) {
  const double left = x.b * x.s * (1.0 - x.rho), right = x.b * x.s * (1.0 + x.rho);
  const double p[3] = {left, 2.0 * x.a, right}, q[3] = {1.0, 0.0, 1.0};
  const double slope[3] = {x.b * (x.rho - 1.0), 0.0, x.b * (x.rho + 1.0)}, place[3] = {-x.s, 2.0 * x.m, x.s};
  double pq[5], skew[5], square[9], whole[11], slope2[5], p2[5], slope2q[7], bend[11], part[5];
  multiply(p, q, pq);
  multiply(place, slope, skew);
  for (int i = 0; i < 5; ++i) part[i] = pq[i] - 0.5 * skew[i];
  multiply(part, part, square);
  multiply(square, q, whole);
  multiply(slope, slope, slope2);
  multiply(p, p, p2);
  multiply(slope2, q, slope2q);
  double level[5];
  for (int i = 0; i < 5; ++i) level[i] = p2[i] * (1.0 / 16.0) + (i > 0 && i < 4 ? 0.5 * p[i - 1] : 0.0);
  multiply(slope2q, level, bend);
  for (int i = 0; i <= kDegree; ++i) up[i] = whole[i] - bend[i];
  for (int i = 0; i < 5; ++i) up[i + 3] += 4.0 * x.b / x.s * p2[i];
  double q2[5], q3[7];
  multiply(q, q, q2);
  multiply(q2, q, q3);
  multiply(p2, q3, down);
}

/// A polynomial of degree 10 at t with its first two derivatives, scaled alike for both polynomials.
struct Jet {
  double value, first, second;
};
WQ_HD Jet jet(const double (&c)[kDegree + 1], double t) {
  Jet y{c[kDegree], 0.0, 0.0};
  for (int i = kDegree - 1; i >= 0; --i) {
    y.second = y.second * t + y.first;
    y.first = y.first * t + y.value;
    y.value = y.value * t + c[i];
  }
  y.second *= 2.0;
  return y;
}

/// Newton's steps to a local minimum of up / down near t.
WQ_HD_CALL inline double settle(const double (&up)[kDegree + 1], const double (&down)[kDegree + 1], double t) {
  for (int round = 0; round < 20; ++round) {
    const Jet n = jet(up, t), d = jet(down, t);
    const double slope = n.first * d.value - n.value * d.first, bend = n.second * d.value - n.value * d.second;
    double step = bend > 0 ? -slope / (bend * t) : slope > 0 ? -0.3 : 0.3;
    step = step > 0.5 ? 0.5 : step < -0.4 ? -0.4 : step;
    if (!(std::fabs(step) > 1e-9)) break;
    t *= 1.0 + step;
  }
  return t;
}

}  // namespace certificate

/// The least value of g. P: packs. Without `kProve` what a look and Newton's steps find: where that is not negative,
/// the slice remains unproven.
template <class P, bool kProve = true>
WQ_HD_CALL Certificate certify(const Svi<double>& x) {
  const double none = __builtin_nan("");
  if (!x.valid() || !(x.lowest() > 0)) return {none, none, none, kNoSlice};
  if (x.b == 0) return {1.0, 0.0, 1.0, kFree};
  double up[kDegree + 1], down[kDegree + 1];
  certificate::polynomials(x, up, down);
  const auto at = [&](double t) {
    const double k = x.m + 0.5 * x.s * (t - 1.0 / t);
    return butterfly(k, x.curve(k));
  };
  // Limits in the wings, then a coarse look.
  double least = up[0] / down[0], where = 0.0;
  if (up[kDegree] / down[kDegree] < least) {
    least = up[kDegree] / down[kDegree];
    where = HUGE_VAL;
  }
  constexpr int kLook = 32;
  double seen = HUGE_VAL, start = 1.0;
  for (int i = 0; i < kLook; i += kWidth<P>) {
    double ts[kWidth<P>];
    for (int j = 0; j < kWidth<P>; ++j) ts[j] = (i + j + 0.5) / (kLook - (i + j + 0.5));
    P t(0.0);
    for (int j = 0; j < kWidth<P>; ++j) set_lane(t, j, ts[j]);
    const P k = P(x.m) + P(0.5 * x.s) * (t - P(1.0) / t);
    const Svi<P> slice{P(x.a), P(x.b), P(x.rho), P(x.m), P(x.s)};
    const P g = butterfly(k, slice.curve(k));
    for (int j = 0; j < kWidth<P>; ++j)
      if (lane(g, j) < seen) {
        seen = lane(g, j);
        start = ts[j];
      }
  }
  const auto consider = [&](double t) {
    const double settled = certificate::settle(up, down, t), g = at(settled), plain = at(t);
    const bool better = g < plain;
    if ((better ? g : plain) < least) {
      least = better ? g : plain;
      where = better ? settled : t;
    }
  };
  consider(start);
  const auto place_of = [&] {
    return where == 0.0 ? -HUGE_VAL : where == HUGE_VAL ? HUGE_VAL : x.m + 0.5 * x.s * (where - 1.0 / where);
  };
  // What rounding leaves of g = 0 is no arbitrage.
  constexpr double kRounding = -1e-12;
  if constexpr (!kProve) return {least, place_of(), none, least < kRounding ? kArbitrage : kUnproven};
  constexpr int kStack = kProve ? 96 : 1;
  Ratio stack[kStack];
  double from[kStack], to[kStack];  // in x
  constexpr double kBinomial[kDegree + 1] = {1, 10, 45, 120, 210, 252, 210, 120, 45, 10, 1};
  for (int i = 0; i <= kDegree; ++i) {
    stack[0].up[i] = up[i] / kBinomial[i];
    stack[0].down[i] = down[i] / kBinomial[i];
  }
  from[0] = 0;
  to[0] = 1;
  double bound = least - kGap * (1.0 + std::fabs(least));
  int depth = 1, halvings = 0, status = kFree;
  while (depth > 0) {
    Ratio& now = stack[depth - 1];
    bool above = true;
    for (int i = 0; i <= kDegree; ++i) above &= now.up[i] >= bound * now.down[i];
    if (above) {
      --depth;
      continue;
    }
    if (++halvings > 600 || depth == kStack) {
      status = kUnproven;
      break;
    }
    // De Casteljau: the left half stays here, the right one goes on top.
    Ratio& right = stack[depth];
    for (int i = 0; i <= kDegree; ++i) {
      right.up[i] = now.up[i];
      right.down[i] = now.down[i];
    }
    for (int i = 1; i <= kDegree; ++i) {
      // right[j] after i rounds is the coefficient j .. j + i; its first one is the left half's next.
      for (int j = 0; j + i <= kDegree; ++j) {
        right.up[j] = 0.5 * (right.up[j] + right.up[j + 1]);
        right.down[j] = 0.5 * (right.down[j] + right.down[j + 1]);
      }
      now.up[i] = right.up[0];
      now.down[i] = right.down[0];
    }
    const double middle = 0.5 * (from[depth - 1] + to[depth - 1]);
    from[depth] = middle;
    to[depth] = to[depth - 1];
    to[depth - 1] = middle;
    ++depth;
    if (right.up[0] < bound * right.down[0]) {
      consider(middle / (1.0 - middle));
      bound = least - kGap * (1.0 + std::fabs(least));
    }
  }
  if (where > 0.0 && where < HUGE_VAL) consider(where);
  if (status == kUnproven) bound = none;
  return {least, place_of(), bound, status == kUnproven ? kUnproven : least < kRounding ? kArbitrage : kFree};
}

/// Where two slices cross, in ascending order: real roots of a quartic (Gatheral and Jacquier 2014, 3.1).
struct Crossings {
  int count;
  double place[4];
  double slack, at;  // the least w of the later less that of the earlier, and where
};

namespace certificate {

/// Real roots of a polynomial of degree N between `low` and `high`, by those of its derivative.
template <int N>
WQ_HD_CALL int roots(const double (&c)[N + 1], double low, double high, double (&y)[N]) {
  double stops[N + 1];
  int count = 0;
  stops[count++] = low;
  if constexpr (N > 1) {
    double derivative[N], inner[N - 1];
    for (int i = 0; i < N; ++i) derivative[i] = (i + 1) * c[i + 1];
    const int found = roots<N - 1>(derivative, low, high, inner);
    for (int i = 0; i < found; ++i) stops[count++] = inner[i];
  }
  const auto value = [&](double t) {
    double v = c[N];
    for (int i = N - 1; i >= 0; --i) v = v * t + c[i];
    return v;
  };
  int found = 0;
  double before = low, at_before = value(low);
  for (int i = 1; i <= count; ++i) {
    const double stop = i < count ? stops[i] : high, at_stop = value(stop);
    if (at_before == 0) {
      if (found == 0 || y[found - 1] != before) y[found++] = before;
    } else if (at_before * at_stop < 0) {
      // Newton's steps, kept between two values of different signs.
      double a = before, b = stop, t = 0.5 * (a + b);
      for (int round = 0; round < 200; ++round) {
        double v = c[N], d = 0;
        for (int k = N - 1; k >= 0; --k) {
          d = d * t + v;
          v = v * t + c[k];
        }
        ((v < 0) == (at_before < 0) ? a : b) = t;
        double next = t - v / d;
        if (!(next > a && next < b)) next = 0.5 * (a + b);
        if (!(std::fabs(next - t) > 1e-15 * std::fabs(t)) || v == 0) break;
        t = next;
      }
      y[found++] = t;
    }
    if (found == N) break;
    before = stop;
    at_before = at_stop;
  }
  return found;
}

}  // namespace certificate

WQ_HD_CALL inline Crossings crossings(const Svi<double>& early, const Svi<double>& late) {
  // In y, where k = centre + unit y.
  const double centre = 0.5 * (early.m + late.m), apart = 0.5 * std::fabs(early.m - late.m);
  const double unit = max(max(early.s, late.s), apart);
  const auto square = [&](const Svi<double>& x, double (&r)[3]) {  // (b R)^2
    const double m = (x.m - centre), b2 = x.b * x.b;
    r[0] = b2 * (m * m + x.s * x.s);
    r[1] = -2.0 * b2 * m * unit;
    r[2] = b2 * unit * unit;
  };
  double r1[3], r2[3], a[3], a2[5], both[5];
  square(early, r1);
  square(late, r2);
  // b1 R1 - b2 R2 = line where they cross.
  const double slope = (late.b * late.rho - early.b * early.rho) * unit;
  const double level =
      (late.a - early.a) - late.b * late.rho * (late.m - centre) + early.b * early.rho * (early.m - centre);
  a[0] = r1[0] + r2[0] - level * level;
  a[1] = r1[1] + r2[1] - 2.0 * level * slope;
  a[2] = r1[2] + r2[2] - slope * slope;
  certificate::multiply(a, a, a2);
  certificate::multiply(r1, r2, both);
  double quartic[5], size = 0;
  for (int i = 0; i < 5; ++i) {
    quartic[i] = a2[i] - 4.0 * both[i];
    size = max(size, std::fabs(quartic[i]));
  }
  const auto gap = [&](double y) {
    const double k = centre + unit * y;
    return late.at(k) - early.at(k);
  };
  Crossings result{0, {}, HUGE_VAL, 0.0};
  const auto look = [&](double y) {
    const double g = gap(y);
    if (g < result.slack) {
      result.slack = g;
      result.at = centre + unit * y;
    }
  };
  if (size > 0) {
    // Cauchy's bound of the roots; beyond 1e6 units wings are lines.
    double found[4], far = 0;
    for (int i = 0; i < 4; ++i) far = max(far, std::fabs(quartic[i]));
    far = 1.0 + far / max(std::fabs(quartic[4]), 1e-6 * far);
    const int count = certificate::roots<4>(quartic, -far, far, found);
    for (int i = 0; i < count; ++i) {
      const double y = found[i], near = 1e-5 * (1.0 + std::fabs(y));
      double a = y - near, b = y + near, at_a = gap(a), at_b = gap(b);
      if ((at_a < 0) == (at_b < 0)) continue;
      // The quartic's root is off by what squaring costs; a secant between two signs finds the difference's own, the
      // end that stays counting half (the Illinois variant).
      for (int round = 0; round < 40 && at_a != 0 && at_b != 0 && b - a > 1e-15 * (1.0 + std::fabs(y)); ++round) {
        const double t = a + (b - a) * (at_a / (at_a - at_b)), v = gap(t);
        if (!(t > a && t < b)) break;
        if ((v < 0) == (at_a < 0)) {
          a = t;
          at_a = v;
          at_b *= 0.5;
        } else {
          b = t;
          at_b = v;
          at_a *= 0.5;
        }
      }
      const double root = std::fabs(gap(a)) < std::fabs(gap(b)) ? a : b;
      result.place[result.count++] = centre + unit * root;
    }
  }
  // Where the difference is least, between and beyond crossings: a look, then parabolas.
  constexpr int kLook = 48;
  double best = 0, spacing = 1;
  const auto visit = [&](double y, double width) {
    const double before = result.slack;
    look(y);
    if (!(result.slack < before)) return;
    best = y;
    spacing = width;
  };
  for (int i = 0; i <= kLook; ++i) {
    const double x = (i - 0.5 * kLook) / (0.5 * kLook) * 0.97, y = 3.0 * x / (1.0 - x * x);
    visit(y, 0.15 * (1.0 + std::fabs(y)));
  }
  for (int i = 0; i < result.count; ++i) {
    const double y = (result.place[i] - centre) / unit, size = 1.0 + std::fabs(y);
    for (int side = -1; side <= 1; side += 2) {
      const int next = i + side;
      const double other = next >= 0 && next < result.count ? (result.place[next] - centre) / unit : y + side * size;
      visit(0.5 * (y + other), 0.25 * std::fabs(other - y));
    }
  }
  for (int round = 0; round < 12; ++round) {
    const double low = gap(best - spacing), middle = gap(best), high = gap(best + spacing);
    const double bend = low - 2.0 * middle + high;
    double step = bend > 0 ? 0.5 * spacing * (low - high) / bend : low < high ? -spacing : spacing;
    step = max(min(step, 2.0 * spacing), -2.0 * spacing);
    look(best + step);
    look(best - spacing);
    look(best + spacing);
    best = (result.at - centre) / unit;
    spacing *= 0.35;
  }
  return result;
}

}  // namespace wq::surface::inline WQ_LEVEL
