// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/row_ops.h"
#include "warpquant/surface/between.h"
#include "warpquant/surface/slice.h"

/// Slices as functions of rows.
namespace wq::surface::inline WQ_LEVEL {

inline constexpr double kNone = __builtin_nan("");

/// SVI at points, with what it changes by in its parameters.
struct SviPoints {
  static constexpr rows::Info kInfo = {"svi", "k a b rho m sigma",
                                       "w dw d2w g density dw_da dw_db dw_drho dw_dm dw_dsigma", 3};
  static constexpr std::uint32_t kSets[] = {1, 1 | 2 | 4 | 8};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0), one(1.0);
    const Svi<V> slice{r.template in<V>(1), r.template in<V>(2), r.template in<V>(3), r.template in<V>(4),
                       r.template in<V>(5)};
    if (!r.wants(1) && !r.wants(2) && !r.wants(3) && !r.wants(4) && !r.wants(5)) return r.put(0, slice.at(k));
    const Curve<V> c = slice.curve(k);
    r.put(0, c.w);
    r.put(1, c.dw);
    r.put(2, c.d2w);
    if (r.wants(3) || r.wants(4)) {
      const V g = butterfly(k, c);
      r.put(3, g);
      if (r.wants(4)) r.put(4, log_density(k, c.w, g));
    }
    const V x = k - slice.m, distance = slice.distance(x);
    r.put(5, one + (c.w - c.w));  // NaN where w is
    r.put(6, slice.rho * x + distance);
    r.put(7, slice.b * x);
    r.put(8, V(0.0) - c.dw);
    r.put(9, slice.b * slice.s / distance);
  }
};

/// What keeps parameters from being turned into others.
enum ConversionStatus : int { kConverted, kOutside, kNoSuchSlice, kUndetermined };

template <class V, class Row>
WQ_HD void put_slice(const Row& r, const V (&values)[5], V status) {
  const auto good = eq(status, V(kConverted));
  for (int i = 0; i < 5; ++i) r.put(i, select(good, values[i], V(kNone)));
  r.put(5, status);
}

/// w = delta + omega / 2 (1 + zeta rho (k - mu) + sqrt((zeta (k - mu) + rho)^2 + 1 - rho^2)).
struct RawToNatural {
  static constexpr rows::Info kInfo = {"svi_raw_to_natural", "a b rho m sigma", "delta mu rho omega zeta status", 4};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const Svi<V> x{r.template in<V>(0), r.template in<V>(1), r.template in<V>(2), r.template in<V>(3),
                   r.template in<V>(4)};
    const V c = x.cosine();
    put_slice<V>(r, {x.a - x.b * x.s * c, x.m + x.rho * x.s / c, x.rho, V(2.0) * x.b * x.s / c, c / x.s},
                 select(x.valid(), V(kConverted), V(kOutside)));
  }
};

struct NaturalToRaw {
  static constexpr rows::Info kInfo = {"svi_natural_to_raw", "delta mu rho omega zeta", "a b rho m sigma status", 4};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V delta = r.template in<V>(0), mu = r.template in<V>(1), rho = r.template in<V>(2);
    const V omega = r.template in<V>(3), zeta = r.template in<V>(4);
    const V square = (V(1.0) - rho) * (V(1.0) + rho);
    const Svi<V> x{delta + V(0.5) * omega * square, V(0.5) * omega * zeta, rho, mu - rho / zeta, sqrt(square) / zeta};
    const auto valid = both(x.valid(), both(ge(omega, V(0.0)), gt(zeta, V(0.0))));
    put_slice<V>(r, {x.a, x.b, x.rho, x.m, x.s}, select(valid, V(kConverted), V(kOutside)));
  }
};

/// Jump-wings: at-the-money variance and skew, slopes of the wings, least variance.
struct RawToJumpWings {
  static constexpr rows::Info kInfo = {"svi_raw_to_jump_wings", "a b rho m sigma expiry", "v psi p c vt status", 6};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const Svi<V> x{r.template in<V>(0), r.template in<V>(1), r.template in<V>(2), r.template in<V>(3),
                   r.template in<V>(4)};
    const V expiry = r.template in<V>(5), distance = x.distance(x.m), one(1.0);
    const V w = x.a + x.b * (distance - x.rho * x.m), by_root = one / sqrt(w);
    const auto valid = both(x.valid(), both(gt(w, V(0.0)), both(gt(expiry, V(0.0)), is_finite(expiry))));
    put_slice<V>(r,
                 {w / expiry, V(0.5) * x.b * by_root * (x.rho - x.m / distance), x.b * (one - x.rho) * by_root,
                  x.b * (one + x.rho) * by_root, x.lowest() / expiry},
                 select(valid, V(kConverted), V(kOutside)));
  }
};

struct JumpWingsToRaw {
  static constexpr rows::Info kInfo = {"svi_jump_wings_to_raw", "v psi p c vt expiry", "a b rho m sigma status", 8};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V v = r.template in<V>(0), psi = r.template in<V>(1), p = r.template in<V>(2), c = r.template in<V>(3);
    const V vt = r.template in<V>(4), expiry = r.template in<V>(5), one(1.0), zero(0.0);
    const V sum = p + c, root = sqrt(v * expiry), b = V(0.5) * root * sum, rho = (c - p) / sum;
    // How far the money is from the vertex, as the cosine of an angle; rho is that of another one.
    const V step = V(4.0) * psi / sum, beta = rho - step, cosine = V(2.0) * sqrt(p * c) / sum;
    const V own = sqrt((one - beta) * (one + beta));
    // w(0) - min w = b h (1 - cos(difference of the angles)), without its cancellation.
    const V h = (v - vt) * expiry * (one - rho * beta + cosine * own) / (b * step * step);
    const V s = h * own, a = vt * expiry - b * s * cosine;
    const auto valid = both(both(both(gt(v, zero), gt(p, zero)), both(gt(c, zero), gt(expiry, zero))),
                            both(both(ge(vt, zero), le(vt, v)), is_finite(root + sum + psi)));
    const auto there = lt(abs(beta), one), told = both(gt(abs(step), zero), gt(h, zero));
    put_slice<V>(
        r, {a, b, rho, h * beta, s},
        select(valid, select(there, select(told, V(kConverted), V(kUndetermined)), V(kNoSuchSlice)), V(kOutside)));
  }
};

/// SSVI at points, and where its parameters move in time what that makes of it: Dupire's local variance is
/// (dw / dT) / g.
struct SsviPoints {
  static constexpr rows::Info kInfo = {"ssvi", "k theta psi chi dtheta_dt dpsi_dt dchi_dt",
                                       "w dw d2w g density dw_dt local_variance dw_dtheta dw_dpsi dw_dchi", 4};
  static constexpr std::uint32_t kSets[] = {1};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0);
    const Ssvi<V> slice{r.template in<V>(1), r.template in<V>(2), r.template in<V>(3)};
    bool more = false;
    for (int i = 1; i < 10; ++i) more |= r.wants(i);
    if (!more) return r.put(0, slice.at(k));
    const auto f = slice.full(k);
    const V g = butterfly(k, f.curve);
    const V by_time =
        f.by_theta * r.template in<V>(4) + f.by_psi * r.template in<V>(5) + f.by_chi * r.template in<V>(6);
    r.put(0, f.curve.w);
    r.put(1, f.curve.dw);
    r.put(2, f.curve.d2w);
    r.put(3, g);
    if (r.wants(4)) r.put(4, log_density(k, f.curve.w, g));
    r.put(5, by_time);
    r.put(6, by_time / g);
    r.put(7, f.by_theta);
    r.put(8, f.by_psi);
    r.put(9, f.by_chi);
  }
};

/// SSVI whose at-the-money variance reverts to its mean, theta = vinf T + (v0 - vinf) (1 - e^(-kappa T)) / kappa, with
/// phi = eta / (theta^gamma (1 + theta)^(1 - gamma)).
struct SsviReverting {
  static constexpr rows::Info kInfo = {"ssvi_power", "k expiry v0 vinf kappa rho eta gamma",
                                       "w dw d2w g density dw_dt local_variance theta phi", 12};
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0), expiry = r.template in<V>(1), v0 = r.template in<V>(2), vinf = r.template in<V>(3);
    const V kappa = r.template in<V>(4), rho = r.template in<V>(5), eta = r.template in<V>(6),
            gamma = r.template in<V>(7);
    const V one(1.0), zero(0.0), aged = kappa * expiry, excess = v0 - vinf;
    const V theta = expiry * (vinf + excess * mean_decay(aged)), slope = vinf + excess * exp_of(zero - aged);
    const auto valid = both(both(gt(expiry, zero), gt(theta, zero)), both(lt(abs(rho), one), is_finite(theta)));
    const V safe = select(valid, theta, one);
    // phi = eta / (1 + theta) (1 + 1 / theta)^gamma
    const V more = one + safe, phi = eta / more * exp_of(gamma * log_ratio(more, safe));
    const V psi = safe * phi, psi_slope = phi * (one - gamma) / more * slope;
    const Ssvi<V> slice{safe, psi, rho * psi};
    const auto f = slice.full(k);
    const V g = butterfly(k, f.curve), by_time = f.by_theta * slope + (f.by_psi + rho * f.by_chi) * psi_slope;
    const auto put = [&](int i, V value) { r.put(i, select(valid, value, V(kNone))); };
    put(0, f.curve.w);
    put(1, f.curve.dw);
    put(2, f.curve.d2w);
    put(3, g);
    if (r.wants(4)) put(4, log_density(k, f.curve.w, g));
    put(5, by_time);
    put(6, by_time / g);
    put(7, theta);
    put(8, phi);
  }
};

/// Dupire's local variance from a slice's own numbers.
struct Dupire {
  static constexpr rows::Info kInfo = {"dupire", "k w dw d2w dw_dt", "local_variance g status", 3};
  enum Status : int { kFound, kFallsInTime, kButterfly, kNoVariance };
  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V k = r.template in<V>(0), rise = r.template in<V>(4), zero(0.0);
    const Curve<V> c{r.template in<V>(1), r.template in<V>(2), r.template in<V>(3)};
    const V g = butterfly(k, c);
    const V status =
        select(gt(c.w, zero), select(gt(g, zero), select(ge(rise, zero), V(kFound), V(kFallsInTime)), V(kButterfly)),
               V(kNoVariance));
    r.put(0, select(eq(status, V(kFound)), rise / g, V(kNone)));
    r.put(1, select(gt(c.w, zero), g, V(kNone)));
    r.put(2, status);
  }
};

using Slices = rows::List<SviPoints, RawToNatural, NaturalToRaw, RawToJumpWings, JumpWingsToRaw, SsviPoints,
                          SsviReverting, Dupire, EssviBetween, SviBetween>;

}  // namespace wq::surface::inline WQ_LEVEL
