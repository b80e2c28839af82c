// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/elementary.h"
#include "warpquant/core/normal.h"

/// Slices of a surface: total variance w = vol^2 T of one expiry, as a function of k = ln(strike / forward).
namespace wq::surface::inline WQ_LEVEL {

/// w and its first two derivatives by k.
template <class V>
struct Curve {
  V w, dw, d2w;
};

/// What the density of ln(S / forward) is in units of the one with constant variance w (Gatheral and Jacquier,
/// Arbitrage-free SVI volatility surfaces, 2014): negative where a butterfly is worth less than nothing.
template <class V>
WQ_HD V butterfly(V k, const Curve<V>& c) {
  const V by_w = V(1.0) / c.w, skew = V(1.0) - V(0.5) * k * c.dw * by_w;
  return skew * skew - V(0.25) * c.dw * c.dw * (by_w + V(0.25)) + V(0.5) * c.d2w;
}

/// Density of ln(S / forward) at k.
template <class V>
WQ_HD V log_density(V k, V w, V g) {
  const V root = sqrt(w), d2 = V(0.0) - (k / root + V(0.5) * root);
  return g * normal_density(d2) / root;
}

/// Raw SVI (Gatheral 2004): w = a + b (rho (k - m) + sqrt((k - m)^2 + s^2)).
template <class V>
struct Svi {
  V a, b, rho, m, s;

  WQ_HD V distance(V x) const { return sqrt(x * x + s * s); }
  WQ_HD V at(V k) const {
    const V x = k - m;
    return a + b * (rho * x + distance(x));
  }
  WQ_HD Curve<V> curve(V k) const {
    const V x = k - m, r = distance(x), by_r = V(1.0) / r, sine = s * by_r;
    return {a + b * (rho * x + r), b * (rho + x * by_r), b * sine * sine * by_r};
  }
  /// sqrt(1 - rho^2)
  WQ_HD V cosine() const { return sqrt((V(1.0) - rho) * (V(1.0) + rho)); }
  WQ_HD V lowest() const { return a + b * s * cosine(); }
  /// What a slice has to be before arbitrage is talked of.
  WQ_HD auto valid() const {
    return both(both(both(ge(b, V(0.0)), lt(abs(rho), V(1.0))), both(gt(s, V(0.0)), is_finite(m + s + a + b))),
                ge(lowest(), V(0.0)));
  }
};

/// (1 - e^-x) / x, right to the last places also next to 0.
template <class V>
WQ_HD V mean_decay(V x) {
  constexpr double kSeries[] = {1.0, 1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362880.0, 1.0 / 39916800.0};
  const V half = V(0.5) * x, near = exp_of(V(0.0) - half) * polynomial(half * half, kSeries);
  return select(lt(abs(x), V(1.0)), near, (V(1.0) - exp_of(V(0.0) - x)) / x);
}

/// SSVI (Gatheral and Jacquier 2014) in theta, psi = theta phi and chi = rho psi, in which nothing is divided by:
/// w = (theta + chi k + S) / 2 with S^2 = theta^2 + 2 theta chi k + psi^2 k^2.
template <class V>
struct Ssvi {
  V theta, psi, chi;

  /// w and its derivatives by k, and by theta, psi and chi.
  struct Full {
    Curve<V> curve;
    V by_theta, by_psi, by_chi;
  };
  WQ_HD V root(V k) const {
    const V sum = theta + chi * k;
    return sqrt(sum * sum + k * k * ((psi - chi) * (psi + chi)));
  }
  /// theta + chi k + S, which cancels far out.
  WQ_HD V twice(V k, V s) const {
    const V sum = theta + chi * k;
    return select(lt(sum, V(0.0)), k * k * ((psi - chi) * (psi + chi)) / (s - sum), sum + s);
  }
  WQ_HD V at(V k) const { return V(0.5) * twice(k, root(k)); }
  WQ_HD Full full(V k) const {
    const V s = root(k), by_s = V(1.0) / s, psi2k = psi * psi * k + chi * theta;
    const V w = V(0.5) * twice(k, s), share = theta * by_s;
    const V d2w = V(0.5) * share * share * ((psi - chi) * (psi + chi)) * by_s;
    return {{w, V(0.5) * (chi + psi2k * by_s), d2w},
            V(0.5) * (V(1.0) + (theta + chi * k) * by_s),
            V(0.5) * psi * k * k * by_s,
            V(0.5) * k * (V(1.0) + share)};
  }
};

}  // namespace wq::surface::inline WQ_LEVEL
