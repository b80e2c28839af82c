// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/dual.h"
#include "warpquant/core/row_ops.h"

/// SABR's volatilities: dF = alpha F^beta dW, dalpha = nu alpha dZ, correlated by rho.
namespace wq::surface::inline WQ_LEVEL {

enum class SabrKind { hagan, obloj, normal };

/// Volatilities as a function that dual numbers go through. T is V, or dual numbers of it.
template <class T>
struct Sabr {
  using V = Number<T>;

  /// x(z) / z where the derivative of x is 1 / sqrt(1 - 2 rho z + z^2), which generates Legendre's polynomials.
  WQ_HD_CALL static T near(const T& z, const T& rho) {
    constexpr int kTerms = 12;
    T before(V(1.0)), legendre = rho, power = z, sum(V(1.0));
    for (int n = 1; n <= kTerms; ++n) {
      sum = sum + legendre * power * V(1.0 / (n + 1));
      const T next = (V((2.0 * n + 1.0) / (n + 1)) * rho) * legendre - before * V(static_cast<double>(n) / (n + 1));
      before = legendre;
      legendre = next;
      power = power * z;
    }
    return sum;
  }
  /// The same at |z| that is not small: x = ln((sqrt(q) + z - rho) / (1 - rho)) for z > 0; for z < 0 it is mirrored.
  WQ_HD_CALL static T far(const T& z, const T& rho) {
    const auto mirrored = lt(value_of(z), V(0.0));
    const T size = select(mirrored, V(0.0) - z, z), r = select(mirrored, V(0.0) - rho, rho);
    const T x = size - r, q = x * x + (V(1.0) - r) * (r + V(1.0)), root = sqrt(q);
    // The argument less one has no cancellation; the one that takes it away again is the logarithm's business.
    const T excess = size * (root + size + (V(1.0) - (r + r))) / ((root + V(1.0)) * (V(1.0) - r));
    return log_at(excess + V(1.0), T(V(1.0))) / size;
  }
  /// sinh(x) / x of half a logarithm.
  WQ_HD_CALL static T sinhc(const T& x) {
    constexpr double kSeries[] = {
        1.0, 1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362880.0, 1.0 / 39916800.0, 1.0 / 6227020800.0};
    const T square = x * x;
    T series = T(V(kSeries[6]));
    for (int i = 5; i >= 0; --i) series = series * square + V(kSeries[i]);
    const auto small = lt(abs(value_of(x)), V(1.0));
    if (all(small)) return series;
    const T safe = select(small, T(V(1.0)), x), grown = exp_at(safe);
    return select(small, series, (grown - V(1.0) / grown) * V(0.5) / safe);
  }

  template <SabrKind kKind>
  WQ_HD_CALL static T vol(const T& forward, const T& strike, const T& expiry, const T& alpha, V beta, const T& rho,
                          const T& nu) {
    const V one(1.0), rest = one - beta;
    const T log = log_at(forward, strike), middle = log_at(forward, T(one)) + log_at(strike, T(one));
    const T f = exp_at(middle * (V(0.5) * rest)), by_f = one / f;  // (F K)^((1 - beta) / 2)
    const T log2 = log * log, narrow = log2 * (rest * rest);
    const auto series = [&](const T& u) { return (u * V(1.0 / 1920.0) + V(1.0 / 24.0)) * u + one; };
    T lead = alpha * by_f, z = nu / alpha * f * log;
    if constexpr (kKind == SabrKind::obloj) {
      const T spread = sinhc(log * (V(0.5) * rest));
      z = z * spread;
      lead = lead / spread;
    } else if constexpr (kKind == SabrKind::hagan) {
      lead = lead / series(narrow);
    } else {
      lead = alpha * exp_at(middle * (V(0.5) * beta)) * series(log2) / series(narrow);
    }
    const auto close = lt(abs(value_of(z)), V(0.05));
    T ratio = near(select(close, z, T(V(0.0))), rho);
    if (!all(close)) ratio = select(close, ratio, far(select(close, T(V(0.05)), z), rho));
    const T level = alpha * by_f;
    const V curvature = kKind == SabrKind::normal ? V(0.0) - beta * (V(2.0) - beta) : rest * rest;
    const T drift = level * level * (curvature * V(1.0 / 24.0)) + rho * nu * level * (beta * V(0.25)) +
                    nu * nu * (V(2.0) - V(3.0) * (rho * rho)) * V(1.0 / 24.0);
    return lead / ratio * (drift * expiry + one);
  }
};

/// What keeps a row from having a volatility.
enum SabrStatus : int { kSabrFound, kSabrMeaningless, kSabrBelowShift, kSabrNegative };

/// Hagan, Kumar, Lesniewski and Woodward, Managing Smile Risk (2002): the volatility in Black's formula, or in
/// Bachelier's; Obloj, Fine-tune your smile (2008), for the leading term.
template <SabrKind kKind>
struct SabrVol {
  static constexpr rows::Info kInfo = {kKind == SabrKind::hagan   ? "sabr_hagan"
                                       : kKind == SabrKind::obloj ? "sabr_obloj"
                                                                  : "sabr_normal",
                                       "forward strike expiry alpha beta rho nu shift",
                                       "vol status dvol_dforward dvol_dstrike d2vol_dstrike2 dvol_dexpiry dvol_dalpha "
                                       "dvol_drho dvol_dnu",
                                       60};
  static constexpr std::uint32_t kSets[] = {1, 1 | 2};

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const V shift = r.template in<V>(7), zero(0.0), one(1.0);
    const V forward = r.template in<V>(0) + shift, strike = r.template in<V>(1) + shift;
    const V expiry = r.template in<V>(2), alpha = r.template in<V>(3), beta = r.template in<V>(4);
    const V rho = r.template in<V>(5), nu = r.template in<V>(6);
    const auto known = both(both(both(ge(expiry, zero), is_finite(expiry)), both(gt(alpha, zero), is_finite(alpha))),
                            both(both(both(ge(beta, zero), le(beta, one)), lt(abs(rho), one)),
                                 both(both(ge(nu, zero), is_finite(nu)), is_finite(forward + strike))));
    const auto above = both(gt(forward, zero), gt(strike, zero)), valid = both(known, above);
    const V f = select(valid, forward, one), k = select(valid, strike, one), alpha0 = select(valid, alpha, one);
    const V beta0 = select(valid, beta, one), rho0 = select(valid, rho, zero), nu0 = select(valid, nu, zero);
    const V expiry0 = select(valid, expiry, zero);
    bool derivatives = false;
    for (int i = 2; i < 9; ++i) derivatives |= r.wants(i);
    V vol, slopes[7];
    if (derivatives) {
      using D = Dual<V, 6, 1>;  // strike first: it has the second derivative
      const D x =
          Sabr<D>::template vol<kKind>(D(f, 1), D(k, 0), D(expiry0, 2), D(alpha0, 3), beta0, D(rho0, 4), D(nu0, 5));
      vol = x.value;
      const V all[] = {x.first[1], x.first[0], x.second[0], x.first[2], x.first[3], x.first[4], x.first[5]};
      for (int i = 0; i < 7; ++i) slopes[i] = all[i];
    } else {
      vol = Sabr<V>::template vol<kKind>(f, k, expiry0, alpha0, beta0, rho0, nu0);
    }
    const auto positive = gt(vol, zero);
    const V status = select(known, select(above, select(positive, V(kSabrFound), V(kSabrNegative)), V(kSabrBelowShift)),
                            V(kSabrMeaningless));
    const auto found = eq(status, V(kSabrFound));
    r.put(0, select(found, vol, V(__builtin_nan(""))));
    r.put(1, status);
    if (derivatives)
      for (int i = 0; i < 7; ++i) r.put(i + 2, select(found, slopes[i], V(__builtin_nan(""))));
  }
};

using Sabrs = rows::List<SabrVol<SabrKind::hagan>, SabrVol<SabrKind::obloj>, SabrVol<SabrKind::normal>>;

}  // namespace wq::surface::inline WQ_LEVEL
