// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/pinn/net.h"

/// What an activation does to the derivatives of what it is applied to: one neuron, one point. `z` and `h` are
/// accessors of streams by number, z(j) and h(j, value).
namespace wq::pinn::inline WQ_LEVEL {

/// Derivatives forwards, up to the order of the streams, which is kOrder or less. The third ones are pure.
template <class A, int kOrder, class V, class In, class Out>
WQ_HD void push_jets(const Streams& s, In z, Out put) {
  const Curve<V> y = A::template at<kOrder>(V(z(0)));
  const int m = s.directions;
  if constexpr (kOrder >= 3)
    for (int p = 0; p < s.thirds(); ++p) {
      const V first = z(1 + p), second = z(s.second(p, p));
      put(s.third(p), mul_add(y.f1, z(s.third(p)), first * mul_add(y.f3 * first, first, V(3.0) * y.f2 * second)));
    }
  if constexpr (kOrder >= 2)
    for (int p = 0; p < (s.order >= 2 ? m : 0); ++p)
      for (int q = p; q < m; ++q) put(s.second(p, q), mul_add(y.f1, z(s.second(p, q)), y.f2 * z(1 + p) * z(1 + q)));
  if constexpr (kOrder >= 1)
    for (int p = 0; p < m; ++p) put(1 + p, y.f1 * z(1 + p));
  put(0, y.f);
}

/// The same for derivatives of a surface, as `Wanted` orders them.
template <class A, class V, class In, class Out>
WQ_HD void push_wanted(const Wanted& wanted, In z, Out put) {
  if (!wanted.greeks) return put(0, A::template at<0>(V(z(0))).f);
  const Curve<V> y = A::template at<3>(V(z(0)));
  const V k = z(1), v = z(2), kk = z(3);
  if (wanted.speed)
    put(wanted.at_kkk(), mul_add(y.f1, z(wanted.at_kkk()), k * mul_add(y.f3 * k, k, V(3.0) * y.f2 * kk)));
  if (wanted.volga) put(wanted.at_vv(), mul_add(y.f1, z(wanted.at_vv()), y.f2 * v * v));
  if (wanted.cross) put(wanted.at_kv(), mul_add(y.f1, z(wanted.at_kv()), y.f2 * k * v));
  put(3, mul_add(y.f1, kk, y.f2 * k * k));
  put(2, y.f1 * v);
  put(1, y.f1 * k);
  put(0, y.f);
}

/// Derivatives along directions 1..d, and a second-order operator that is a sum of second derivatives along them and
/// of first ones: all of it is one more stream.
template <class V, int D>
struct Collapsed {
  V value, along[D], whole;
};

template <class V, int D>
WQ_HD Collapsed<V, D> push_collapsed(const Collapsed<V, D>& z, const Curve<V>& y) {
  Collapsed<V, D> h;
  V squares = z.along[0] * z.along[0];
  for (int m = 1; m < D; ++m) squares = mul_add(z.along[m], z.along[m], squares);
  h.value = y.f;
  for (int m = 0; m < D; ++m) h.along[m] = y.f1 * z.along[m];
  h.whole = mul_add(y.f1, z.whole, V(0.5) * y.f2 * squares);
  return h;
}

/// The operator is `1/2 sum of second derivatives + first-order terms`; `g` are the slopes of the loss in h, the result
/// those in z.
template <class V, int D>
WQ_HD Collapsed<V, D> pull_collapsed(const Collapsed<V, D>& z, const Curve<V>& y, const Collapsed<V, D>& g) {
  Collapsed<V, D> back;
  V squares = z.along[0] * z.along[0], cross = z.along[0] * g.along[0];
  for (int m = 1; m < D; ++m) {
    squares = mul_add(z.along[m], z.along[m], squares);
    cross = mul_add(z.along[m], g.along[m], cross);
  }
  const V bent = y.f2 * g.whole;
  back.whole = y.f1 * g.whole;
  for (int m = 0; m < D; ++m) back.along[m] = mul_add(y.f1, g.along[m], bent * z.along[m]);
  cross = mul_add(z.whole, g.whole, cross);
  back.value = mul_add(y.f1, g.value, mul_add(y.f2, cross, V(0.5) * y.f3 * squares * g.whole));
  return back;
}

}  // namespace wq::pinn::inline WQ_LEVEL
