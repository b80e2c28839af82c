// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/dual.h"
#include "warpquant/pinn/net.h"

/// European prices as a surface in two coordinates: k = ln(S / K) + (r - q) tau, the log of the forward over the
/// strike, and v = sigma^2 tau. The forward price of a call over its strike is c(k, v), which solves
/// c_v = (c_kk - c_k) / 2 for every volatility and rate.
namespace wq::pinn {

/// What a feature is made of: k, v, the square root of v, or tanh(d / 2) with d = k / sqrt(v), which resolves the layer
/// where v goes to 0.
enum class Source : std::uint8_t { k, v, root, layer };
inline constexpr const char* kSourceNames[] = {"k", "v", "sqrt_v", "tanh_half_d"};

/// (source - shift) * scale.
struct Feature {
  Source source;
  double shift, scale;
};

/// What the network's output N is to the surface: itself, or c0 + v N, c0 being the price under a normal distribution
/// of the same variance, which has the kink of the payoff.
enum class Ansatz : std::uint8_t { none, normal };
inline constexpr const char* kAnsatzNames[] = {"none", "normal"};

inline constexpr int kMostFeatures = 8;

struct Surface {
  Ansatz ansatz = Ansatz::normal;
  int features = 0;
  Feature feature[kMostFeatures] = {};
  double k_range[2] = {}, v_range[2] = {};  // where the network was trained
};

/// A model as kernels see it.
struct View {
  Net<double> net;
  Net<float> net_f32;
  Surface surface;
  bool has_surface;
};

/// Arguments and results of prices, in the order of the operation on rows.
inline constexpr const char* kArguments = "S K tau sigma r q is_call";
inline constexpr const char* kResults = "price delta gamma theta vega rho vanna charm volga speed status";
inline constexpr int kInputs = 7;
enum Result : int { kPrice, kDelta, kGamma, kTheta, kVega, kRho, kVanna, kCharm, kVolga, kSpeed, kStatus, kOutputs };
enum Status : int { kInside, kOutside, kInvalid };

}  // namespace wq::pinn

namespace wq::pinn::inline WQ_LEVEL {

/// A function of k and v with its derivatives.
template <class V>
struct Local {
  V value, k, v, kk, kv, vv, kkk;
};

/// The square root of v, and what depends on it alone.
template <class V>
struct Spread {
  V v, root, inverse_root, inverse;

  WQ_HD explicit Spread(V of) : v(of) {
    root = sqrt(v);
    inverse_root = V(1.0) / root;
    inverse = inverse_root * inverse_root;
  }
};

template <class V>
WQ_HD Local<V> layer_at(V k, const Spread<V>& s) {
  const V z_k = V(0.5) * s.inverse_root, z = z_k * k;
  const V z_v = V(-0.5) * z * s.inverse, z_kv = V(-0.5) * z_k * s.inverse, z_vv = V(0.75) * z * s.inverse * s.inverse;
  const Curve<V> t = Tanh::at<3>(z);
  return {t.f,
          t.f1 * z_k,
          t.f1 * z_v,
          t.f2 * z_k * z_k,
          mul_add(t.f2 * z_k, z_v, t.f1 * z_kv),
          mul_add(t.f2 * z_v, z_v, t.f1 * z_vv),
          t.f3 * z_k * z_k * z_k};
}

/// A feature with its derivatives; `layer` is tanh(d / 2), wherever it is needed.
template <class V>
WQ_HD Local<V> feature_at(const Feature& f, V k, const Spread<V>& s, const Local<V>& layer) {
  const V zero(0.0), scale(f.scale), shift(f.shift);
  switch (f.source) {
  case Source::k:
    return {(k - shift) * scale, scale, zero, zero, zero, zero, zero};
  case Source::v:
    return {(s.v - shift) * scale, zero, scale, zero, zero, zero, zero};
  case Source::root:
    return {(s.root - shift) * scale,
            zero,
            V(0.5) * scale * s.inverse_root,
            zero,
            zero,
            V(-0.25) * scale * s.inverse_root * s.inverse,
            zero};
  case Source::layer:
    break;
  }
  return {(layer.value - shift) * scale,
          layer.k * scale,
          layer.v * scale,
          layer.kk * scale,
          layer.kv * scale,
          layer.vv * scale,
          layer.kkk * scale};
}

/// (F - 1) N(d) + w n(d) with F = e^k, w = sqrt(v), d = (F - 1) / w.
template <class V>
WQ_HD Local<V> normal_price(V forward, V k, const Spread<V>& s) {
  // F - 1 without what rounding F costs near 1.
  const V excess = select(lt(abs(k), V(0.3)), elements::small_expm1(max(V(-0.3), min(V(0.3), k))), forward - V(1.0));
  const V d = max(min(excess * s.inverse_root, V(1e8)), V(-1e8));
  V density;
  const V cdf = scaled_cdf(V(0.0), d, density);
  const V slope = forward * s.inverse_root, first = forward * cdf, second = forward * slope * density;
  Local<V> c;
  c.value = max(mul_add(excess, cdf, s.root * density), V(0.0));
  c.k = first;
  c.v = V(0.5) * s.inverse_root * density;
  c.kk = first + second;
  c.kv = V(-0.5) * d * density * slope * s.inverse_root;
  c.vv = V(0.25) * density * mul_add(d, d, V(-1.0)) * s.inverse_root * s.inverse;
  c.kkk = first + V(3.0) * second - second * slope * d;
  return c;
}

/// The variance that stands for none at all: of 0 there are no derivatives.
inline constexpr double kNoVariance = 1e-30;

/// c from the network's n, which is c itself, or what v multiplies; without variance it does not count.
template <class V>
WQ_HD Local<V> with_ansatz(Ansatz ansatz, V forward, V k, const Spread<V>& s, const Local<V>& n) {
  if (ansatz == Ansatz::none) return n;
  const Local<V> base = normal_price(forward, k, s);
  const auto some = gt(s.v, V(kNoVariance));
  const V value = select(some, n.value, V(0.0)), slope = select(some, n.k, V(0.0));
  return {mul_add(s.v, value, base.value),     mul_add(s.v, n.k, base.k),
          mul_add(s.v, n.v, base.v + value),   mul_add(s.v, n.kk, base.kk),
          mul_add(s.v, n.kv, base.kv + slope), mul_add(s.v, n.vv, mul_add(V(2.0), n.v, base.vv)),
          mul_add(s.v, n.kkk, base.kkk)};
}

/// What an option is, and where on the surface.
template <class V>
struct Contract {
  V spot, strike, tau, vol, rate, dividend, call;
  V k, v;

  /// Numbers that are none, or belong to no option, have a NaN.
  WQ_HD void locate() {
    k = mul_add(rate - dividend, tau, log_ratio(spot, strike));
    v = max(vol * vol * tau, V(kNoVariance));
    auto valid = both(both(gt(spot, V(0.0)), gt(strike, V(0.0))), both(ge(tau, V(0.0)), ge(vol, V(0.0))));
    valid = both(valid, either(eq(call, V(1.0)), either(eq(call, V(-1.0)), eq(call, V(0.0)))));
    valid = both(valid, both(is_finite(spot + strike), is_finite(k + v)));
    const V nan(__builtin_nan(""));
    k = select(valid, k, nan);
    v = select(valid, v, nan);
  }

  /// Without variance the ansatz knows the price everywhere.
  WQ_HD V status(const Surface& surface) const {
    auto inside = both(both(ge(k, V(surface.k_range[0])), le(k, V(surface.k_range[1]))),
                       both(ge(v, V(surface.v_range[0])), le(v, V(surface.v_range[1]))));
    if (surface.ansatz == Ansatz::normal) inside = either(inside, le(v, V(kNoVariance)));
    return select(inside, V(kInside), select(is_nan(k), V(kInvalid), V(kOutside)));
  }

  /// Results from c; put(number, value) stores those that are wanted.
  template <class Wants, class Put>
  WQ_HD void results(Local<V> c, V forward, Wants wants, Put put) const {
    // Puts by parity: c - (e^k - 1).
    const auto is_put = le(call, V(0.0));
    c.value = sub_if(is_put, c.value, forward - V(1.0));
    c.k = sub_if(is_put, c.k, forward);
    c.kk = sub_if(is_put, c.kk, forward);
    c.kkk = sub_if(is_put, c.kkk, forward);
    const V unit = strike * exp_of(V(0.0) - rate * tau), per_spot = unit / spot, carry = rate - dividend;
    const V variance = vol * vol, twice = V(2.0) * vol * tau;
    if (wants(kPrice)) put(kPrice, unit * c.value);
    if (wants(kDelta)) put(kDelta, per_spot * c.k);
    if (wants(kGamma)) put(kGamma, per_spot * (c.kk - c.k) / spot);
    if (wants(kTheta)) put(kTheta, unit * mul_add(rate, c.value, V(0.0) - mul_add(carry, c.k, variance * c.v)));
    if (wants(kVega)) put(kVega, twice * unit * c.v);
    if (wants(kRho)) put(kRho, unit * tau * (c.k - c.value));
    if (wants(kVanna)) put(kVanna, twice * per_spot * c.kv);
    if (wants(kCharm)) put(kCharm, per_spot * mul_add(rate, c.k, V(0.0) - mul_add(carry, c.kk, variance * c.kv)));
    if (wants(kVolga)) put(kVolga, unit * mul_add(twice * twice, c.vv, V(2.0) * tau * c.v));
    if (wants(kSpeed)) put(kSpeed, per_spot * mul_add(V(-3.0), c.kk, mul_add(V(2.0), c.k, c.kkk)) / (spot * spot));
  }
};

}  // namespace wq::pinn::inline WQ_LEVEL
