// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

/// Two values as one with the vocabulary of `core/math.h`. A long chain of operations, each of which waits for the one
/// before, leaves a processor idle; two chains side by side fill it. Either half has the bits it has alone.
namespace wq::inline WQ_LEVEL {

template <class V>
struct Twin {
  V a, b;

  Twin() = default;
  WQ_HD Twin(V first, V second) : a(first), b(second) {}
  WQ_HD Twin(double x) : a(x), b(x) {}
  WQ_HD static Twin load(const double* p) { return {V::load(p), V::load(p + kWidth<V>)}; }
  WQ_HD void store(double* p) const {
    a.store(p);
    b.store(p + kWidth<V>);
  }
  WQ_HD void stream(double* p) const {
    a.stream(p);
    b.stream(p + kWidth<V>);
  }
};

/// Marks of two values of W numbers each.
template <int W, class M>
struct TwinMask {
  M a, b;
};
template <int W, class M>
WQ_HD TwinMask<W, M> twin_mask(M a, M b) {
  return {a, b};
}

#define WQ_TWIN_VALUE(name)        \
  template <class V>               \
  WQ_HD Twin<V> name(Twin<V> x) {  \
    return {name(x.a), name(x.b)}; \
  }
#define WQ_TWIN_VALUES(name)                 \
  template <class V>                         \
  WQ_HD Twin<V> name(Twin<V> x, Twin<V> y) { \
    return {name(x.a, y.a), name(x.b, y.b)}; \
  }
#define WQ_TWIN_OPERATOR(op)                        \
  template <class V>                                \
  WQ_HD Twin<V> operator op(Twin<V> x, Twin<V> y) { \
    return {x.a op y.a, x.b op y.b};                \
  }
#define WQ_TWIN_TEST(name)                                       \
  template <class V>                                             \
  WQ_HD auto name(Twin<V> x, Twin<V> y) {                        \
    return twin_mask<kWidth<V>>(name(x.a, y.a), name(x.b, y.b)); \
  }
#define WQ_TWIN_TEST_OF_ONE(name)                      \
  template <class V>                                   \
  WQ_HD auto name(Twin<V> x) {                         \
    return twin_mask<kWidth<V>>(name(x.a), name(x.b)); \
  }
#define WQ_TWIN_MASKS(name)                                       \
  template <int W, class M>                                       \
  WQ_HD TwinMask<W, M> name(TwinMask<W, M> x, TwinMask<W, M> y) { \
    return {name(x.a, y.a), name(x.b, y.b)};                      \
  }
#define WQ_TWIN_IF(name)                                       \
  template <int W, class M, class V>                           \
  WQ_HD Twin<V> name(TwinMask<W, M> m, Twin<V> x, Twin<V> y) { \
    return {name(m.a, x.a, y.a), name(m.b, x.b, y.b)};         \
  }
WQ_TWIN_OPERATOR(+)
WQ_TWIN_OPERATOR(-)
WQ_TWIN_OPERATOR(*)
WQ_TWIN_OPERATOR(/)
WQ_TWIN_VALUE(abs)
WQ_TWIN_VALUE(floor)
WQ_TWIN_VALUE(rint)
WQ_TWIN_VALUE(sqrt)
WQ_TWIN_VALUE(inverse_of)
WQ_TWIN_VALUE(pow2)
WQ_TWIN_VALUES(quotient)
WQ_TWIN_VALUES(max)
WQ_TWIN_VALUES(min)
WQ_TWIN_VALUES(scale)
WQ_TWIN_TEST(lt)
WQ_TWIN_TEST(le)
WQ_TWIN_TEST(gt)
WQ_TWIN_TEST(ge)
WQ_TWIN_TEST(eq)
WQ_TWIN_TEST(ne)
WQ_TWIN_TEST_OF_ONE(is_nan)
WQ_TWIN_TEST_OF_ONE(is_finite)
WQ_TWIN_MASKS(both)
WQ_TWIN_MASKS(either)
WQ_TWIN_MASKS(but_not)
WQ_TWIN_IF(select)
WQ_TWIN_IF(add_if)
WQ_TWIN_IF(sub_if)
WQ_TWIN_IF(div_if)
#undef WQ_TWIN_OPERATOR
#undef WQ_TWIN_VALUE
#undef WQ_TWIN_VALUES
#undef WQ_TWIN_TEST
#undef WQ_TWIN_TEST_OF_ONE
#undef WQ_TWIN_MASKS
#undef WQ_TWIN_IF

template <class V>
WQ_HD Twin<V> mul_add(Twin<V> x, Twin<V> y, Twin<V> z) {
  return {mul_add(x.a, y.a, z.a), mul_add(x.b, y.b, z.b)};
}
template <int W, class M, class V>
WQ_HD Twin<V> keep_if(TwinMask<W, M> m, Twin<V> x) {
  return {keep_if(m.a, x.a), keep_if(m.b, x.b)};
}
template <int W, class M>
WQ_HD TwinMask<W, M> negate(TwinMask<W, M> m) {
  return {negate(m.a), negate(m.b)};
}
template <int W, class M>
WQ_HD bool any(TwinMask<W, M> m) {
  return any(m.a) || any(m.b);
}
template <int W, class M>
WQ_HD bool all(TwinMask<W, M> m) {
  return all(both(m.a, m.b));
}
template <class V>
WQ_HD Twin<V> split(Twin<V> x, Twin<V>& mantissa) {
  const V first = split(x.a, mantissa.a);
  return {first, split(x.b, mantissa.b)};
}
template <class V>
WQ_HD double lane(Twin<V> x, int i) {
  return i < kWidth<V> ? lane(x.a, i) : lane(x.b, i - kWidth<V>);
}
template <class V>
WQ_HD void set_lane(Twin<V>& x, int i, double value) {
  if (i < kWidth<V>)
    set_lane(x.a, i, value);
  else
    set_lane(x.b, i - kWidth<V>, value);
}
template <int W, class M>
WQ_HD bool lane(TwinMask<W, M> m, int i) {
  return i < W ? lane(m.a, i) : lane(m.b, i - W);
}

}  // namespace wq::inline WQ_LEVEL
