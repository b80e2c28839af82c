// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"
#include "warpquant/core/plain.h"

/// SABR slices nearest to quotes of volatility, beta given: Levenberg and Marquardt's method in (ln alpha, atanh rho,
/// ln nu) from several starts side by side, one in each lane of V. Plain arithmetic: the same bits on every machine.
namespace wq::surface::inline WQ_LEVEL {

/// What of a quote does not change with alpha, rho and nu: the volatility is
/// alpha lead / (x / z) (1 + T (alpha^2 square + rho nu alpha cross + (2 - 3 rho^2) nu^2 / 24)) with z = nu / alpha
/// reach.
struct SabrQuote {
  double lead, reach, square, cross, vol, weight;
};

/// `variant`: 0 Hagan, 1 Obloj, 2 normal.
WQ_HD_CALL inline SabrQuote sabr_quote(double forward, double strike, double beta, int variant, double vol,
                                       double weight) {
  const double log = plain_log(forward / strike), middle = plain_log(forward) + plain_log(strike), rest = 1.0 - beta;
  const double f = plain_exp(0.5 * rest * middle), l2 = log * log, narrow = rest * rest * l2;
  const auto series = [](double u) { return 1.0 + u * (1.0 / 24.0 + u * (1.0 / 1920.0)); };
  SabrQuote q;
  q.reach = f * log;
  q.square = (variant == 2 ? -beta * (2.0 - beta) : rest * rest) / (24.0 * f * f);
  q.cross = 0.25 * beta / f;
  q.vol = vol;
  q.weight = weight;
  if (variant == 1) {
    const double x = 0.5 * rest * log, grown = plain_exp(x);
    const double spread = std::fabs(x) < 0.1
                              ? 1.0 + x * x * (1.0 / 6.0 + x * x * (1.0 / 120.0 + x * x * (1.0 / 5040.0)))
                              : (grown - 1.0 / grown) / (2.0 * x);
    q.reach = q.reach * spread;
    q.lead = 1.0 / (f * spread);
  } else if (variant == 0) {
    q.lead = 1.0 / (f * series(narrow));
  } else {
    q.lead = plain_exp(0.5 * beta * middle) * series(l2) / series(narrow);
  }
  return q;
}

struct SabrSmile {
  int count;
  double expiry;
  const SabrQuote* quotes;
};

/// x(z) / z and its derivatives by z and by rho, |z| small by its series, else from logarithms.
template <class V>
WQ_HD void sabr_ratio(V z, V rho, V& ratio, V& by_z, V& by_rho) {
  const V one(1.0), zero(0.0);
  const auto near = lt(abs(z), V(0.05));
  // Legendre's polynomials and their derivatives, by their recurrences.
  V before = one, now = rho, slope_before = zero, slope = one, power = one;
  V sum = one, sum_z = zero, sum_rho = zero;
  for (int n = 1; n <= 8; ++n) {
    const V c(1.0 / (n + 1)), raised = power * z;
    sum = sum + c * now * raised;
    sum_z = sum_z + V(static_cast<double>(n)) * c * now * power;
    sum_rho = sum_rho + c * slope * raised;
    const V a((2.0 * n + 1.0) / (n + 1)), b(static_cast<double>(n) / (n + 1));
    const V next = a * rho * now - b * before, next_slope = a * (now + rho * slope) - b * slope_before;
    before = now;
    now = next;
    slope_before = slope;
    slope = next_slope;
    power = raised;
  }
  if (all(near)) {
    ratio = sum;
    by_z = sum_z;
    by_rho = sum_rho;
    return;
  }
  const auto mirrored = lt(z, zero);
  const V size = select(near, one, abs(z)), r = select(mirrored, zero - rho, rho);
  const V root = sqrt((size - r) * (size - r) + (one - r) * (one + r));
  const V up = one + size * (root + size + (one - (r + r))) / ((root + one) * (one - r));
  const V x = plain_log(up), by_size = one / size, far = x * by_size;
  const V by_r = one / (one - r) - (one + size / root) / (up * (one - r));
  ratio = select(near, sum, far);
  const V far_z = (one / root - far) * by_size, far_rho = by_r * by_size;
  by_z = select(near, sum_z, select(mirrored, zero - far_z, far_z));
  by_rho = select(near, sum_rho, select(mirrored, zero - far_rho, far_rho));
}

template <class V>
struct SabrPlace {
  V alpha, rho, nu, cost;
};

/// Cost, gradient and Gauss and Newton's matrix in (ln alpha, atanh rho, ln nu).
template <class V>
WQ_HD_CALL void sabr_normal_equations(const SabrSmile& smile, const SabrPlace<V>& p, V& cost, V (&g)[3], V (&h)[6]) {
  const V one(1.0), zero(0.0), expiry(smile.expiry), slope = p.nu / p.alpha;
  cost = zero;
  for (V& v : g) v = zero;
  for (V& v : h) v = zero;
  const V curve = (V(2.0) - V(3.0) * p.rho * p.rho) * V(1.0 / 24.0), spread = one - p.rho * p.rho;
  for (int i = 0; i < smile.count; ++i) {
    const SabrQuote& q = smile.quotes[i];
    const V z = slope * V(q.reach);
    V ratio, by_z, by_rho;
    sabr_ratio(z, p.rho, ratio, by_z, by_rho);
    const V lead = p.alpha * V(q.lead) / ratio;
    const V square = p.alpha * p.alpha * V(q.square), cross = p.nu * p.alpha * V(q.cross);
    const V drift = one + expiry * (square + p.rho * cross + curve * p.nu * p.nu);
    const V vol = lead * drift, e = vol - V(q.vol), stretch = vol * by_z * z / ratio;
    const V by_alpha = vol + stretch + lead * expiry * (V(2.0) * square + p.rho * cross);
    const V by_nu = lead * expiry * (p.rho * cross + V(2.0) * curve * p.nu * p.nu) - stretch;
    const V rho_slope = lead * expiry * (cross - V(0.25) * p.rho * p.nu * p.nu) - vol * by_rho / ratio;
    const V d[3] = {by_alpha, rho_slope * spread, by_nu};
    const V we = V(q.weight) * e;
    cost = cost + we * e;
    int at = 0;
    for (int a = 0; a < 3; ++a) {
      g[a] = g[a] + we * d[a];
      for (int b = 0; b <= a; ++b, ++at) h[at] = h[at] + V(q.weight) * d[a] * d[b];
    }
  }
}

/// tanh of a sum of angles: rho moved by a step in atanh.
template <class V>
WQ_HD V moved_rho(V rho, V step) {
  const V grown = plain_exp(step + step), t = (grown - V(1.0)) / (grown + V(1.0));
  return max(min((rho + t) / (V(1.0) + rho * t), V(0.9999)), V(-0.9999));
}

template <class V>
WQ_HD_CALL SabrPlace<V> sabr_descend(const SabrSmile& smile, SabrPlace<V> p, int most_rounds, int& rounds) {
  const V one(1.0), zero(0.0);
  V g[3], h[6];
  sabr_normal_equations(smile, p, p.cost, g, h);
  V damping(1e-2);
  auto open = lt(zero, one);
  for (rounds = 0; rounds < most_rounds && any(open); ++rounds) {
    const V more = one + damping;
    const V a = h[0] * more, b = h[1], c = h[2] * more, d = h[3], e = h[4], f = h[5] * more;
    // Cholesky's factors of [a b d; b c e; d e f].
    const V l0 = sqrt(max(a, V(1e-300))), l1 = b / l0, l3 = d / l0,
            l2 = sqrt(max(c - l1 * l1, V(1e-14) * c + V(1e-300)));
    const V l4 = (e - l3 * l1) / l2, l5 = sqrt(max(f - l3 * l3 - l4 * l4, V(1e-14) * f + V(1e-300)));
    const V y0 = (zero - g[0]) / l0, y1 = (zero - g[1] - l1 * y0) / l2, y2 = (zero - g[2] - l3 * y0 - l4 * y1) / l5;
    const V s2 = y2 / l5, s1 = (y1 - l4 * s2) / l2, s0 = (y0 - l1 * s1 - l3 * s2) / l0;
    const V promised = zero - (s0 * g[0] + s1 * g[1] + s2 * g[2]);
    const V share = one / max(max(abs(s0), max(abs(s1), abs(s2))), one);
    SabrPlace<V> there{p.alpha * plain_exp(share * s0), moved_rho(p.rho, share * s1),
                       max(min(p.nu * plain_exp(share * s2), V(1e3)), V(1e-6)), zero};
    V there_g[3], there_h[6];
    sabr_normal_equations(smile, there, there.cost, there_g, there_h);
    const auto better = both(open, lt(there.cost, p.cost));
    p.alpha = select(better, there.alpha, p.alpha);
    p.rho = select(better, there.rho, p.rho);
    p.nu = select(better, there.nu, p.nu);
    const auto settled =
        either(both(le(promised, V(1e-14) * p.cost + V(1e-32)), le(damping, one)), gt(damping, V(1e7)));
    p.cost = select(better, there.cost, p.cost);
    for (int i = 0; i < 3; ++i) g[i] = select(better, there_g[i], g[i]);
    for (int i = 0; i < 6; ++i) h[i] = select(better, there_h[i], h[i]);
    damping = select(better, max(damping * V(0.1), V(1e-12)), damping * V(8.0));
    open = but_not(open, settled);
  }
  return p;
}

struct SabrFit {
  double alpha, rho, nu, rmse;
  int rounds;
};

/// `start`: alpha, rho, nu, or null. Quotes with positive volatilities and weights whose sum is 1.
template <class P>
WQ_HD_CALL SabrFit fit_sabr(const SabrSmile& smile, double beta_level, const double* start) {
  // At-the-money volatility gives alpha; skew and curvature are looked for by starts.
  constexpr double kRhos[8] = {-0.9, -0.6, -0.3, 0.0, 0.0, 0.3, 0.6, 0.9};
  constexpr double kNus[8] = {0.6, 1.2, 0.4, 0.3, 1.5, 0.4, 1.2, 0.6};
  P alpha(beta_level), rho = P::load(kRhos), nu = P::load(kNus);
  const double wide = 1.0 / sqrt(max(smile.expiry, 0.04));
  nu = nu * P(min(wide, 4.0));
  if (start != nullptr) {
    set_lane(alpha, 4, start[0]);
    set_lane(rho, 4, max(min(start[1], 0.999), -0.999));
    set_lane(nu, 4, max(start[2], 1e-4));
  }
  SabrFit fit{};
  const SabrPlace<P> found = sabr_descend<P>(smile, {alpha, rho, nu, P(0.0)}, 40, fit.rounds);
  int best = 0;
  for (int j = 1; j < 8; ++j)
    if (lane(found.cost, j) < lane(found.cost, best) || is_nan(lane(found.cost, best))) best = j;
  fit.alpha = lane(found.alpha, best);
  fit.rho = lane(found.rho, best);
  fit.nu = lane(found.nu, best);
  fit.rmse = sqrt(lane(found.cost, best));
  return fit;
}

}  // namespace wq::surface::inline WQ_LEVEL
