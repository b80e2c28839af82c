// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "warpquant/optim/bfloat.h"
#include "warpquant/optim/norm.h"
#include "warpquant/optim/ops.h"
#include "warpquant/optim/rules.h"

/// Loops over elements, which the compiler puts into lanes: nothing in them depends on a neighbour.
namespace wq::optim::inline WQ_LEVEL {
namespace {

constexpr std::int64_t kTile = 512;  // elements that are converted at a time

template <class T>
T* as(std::byte* p) {
  return reinterpret_cast<T*>(p);
}
template <class T>
const T* as(const std::byte* p) {
  return reinterpret_cast<const T*>(p);
}

template <class R, class Rule>
void sweep(const Rule& rule, const GradientRule<R>& gradient, R* __restrict p, const R* __restrict g,
           R* const (&states)[kMostStates], std::int64_t count) {
  R* __restrict const a = states[0];
  R* __restrict const b = states[1];
  R* __restrict const c = states[2];
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    R state[kMostStates];
    if constexpr (Rule::kStates & 1) state[0] = a[i];
    if constexpr (Rule::kStates & 2) state[1] = b[i];
    if constexpr (Rule::kStates & 4) state[2] = c[i];
    p[i] = rule(p[i], gradient(g[i]), state);
    if constexpr (Rule::kStates & 1) a[i] = state[0];
    if constexpr (Rule::kStates & 2) b[i] = state[1];
    if constexpr (Rule::kStates & 4) c[i] = state[2];
  }
}

void widen(const Bfloat* __restrict from, float* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = widened(from[i]);
}

void narrow(const float* __restrict from, Bfloat* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = narrowed(from[i]);
}

template <class R>
void update_as(const Settings& settings, const Corrections& c, const Gradient& g, const Part& part) {
  const GradientRule<R> gradient(g);
  with_rule<R>(settings, c, [&]<class Rule>(const Rule& rule) {
    const auto run = [&](const Part& p, R* params, const R* grads) {
      R* const states[] = {as<R>(p.state[0]), as<R>(p.state[1]), as<R>(p.state[2])};
      sweep<R>(rule, gradient, params, grads, states, p.count);
    };
    if constexpr (sizeof(R) == sizeof(float)) {
      if (part.type == Number::bf16 || part.grad_type == Number::bf16) {
        float tile[kTile];
        for (std::int64_t i = 0; i < part.count; i += kTile) {
          const Part p = part.cut(i, part.count - i < kTile ? part.count - i : kTile);
          const float* grads = as<float>(p.grad);
          if (p.grad_type == Number::bf16) {
            widen(as<Bfloat>(p.grad), tile, p.count);
            grads = tile;
          }
          run(p, as<float>(p.type == Number::bf16 ? p.master : p.param), grads);
          if (p.type == Number::bf16) narrow(as<float>(p.master), as<Bfloat>(p.param), p.count);
        }
        return;
      }
    }
    run(part, as<R>(part.param), as<R>(part.grad));
  });
}

void update(const Settings& settings, const Corrections& c, const Gradient& g, const Part& part) {
  if (part.type == Number::f64)
    update_as<double>(settings, c, g, part);
  else
    update_as<float>(settings, c, g, part);
}

template <Norm kNorm, class T>
PieceNorm norm_as(double order, const T* values, std::int64_t count) {
  double sums[kNormLanes] = {}, poison[kNormLanes] = {};
  std::int64_t i = 0;
  for (; i + kNormLanes <= count; i += kNormLanes)
    for (int j = 0; j < kNormLanes; ++j) {
      const double x = value_of(values[i + j]);
      sums[j] = norm_sum<kNorm>(sums[j], norm_term<kNorm>(x, order));
      poison[j] = poison[j] + poison_of(x);
    }
  for (int j = 0; i < count; ++i, ++j) {
    const double x = value_of(values[i]);
    sums[j] = norm_sum<kNorm>(sums[j], norm_term<kNorm>(x, order));
    poison[j] = poison[j] + poison_of(x);
  }
  for (int half = kNormLanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) {
      sums[j] = norm_sum<kNorm>(sums[j], sums[j + half]);
      poison[j] = poison[j] + poison[j + half];
    }
  return {sums[0], poison[0]};
}

template <class T>
PieceNorm norm_by(Norm norm, double order, const T* values, std::int64_t count) {
  switch (norm) {
  case Norm::one:
    return norm_as<Norm::one>(order, values, count);
  case Norm::two:
    return norm_as<Norm::two>(order, values, count);
  case Norm::power:
    return norm_as<Norm::power>(order, values, count);
  case Norm::largest:
    break;
  }
  return norm_as<Norm::largest>(order, values, count);
}

PieceNorm norm(Norm norm, double order, Number type, const std::byte* values, std::int64_t count) {
  switch (type) {
  case Number::f64:
    return norm_by(norm, order, as<double>(values), count);
  case Number::f32:
    return norm_by(norm, order, as<float>(values), count);
  case Number::bf16:
    break;
  }
  return norm_by(norm, order, as<Bfloat>(values), count);
}

void clip(const Gradient& g, Number type, std::byte* values, std::int64_t count) {
  const auto run = [&]<class R>(R* __restrict v, std::int64_t n) {
    const GradientRule<R> gradient(g);
    for (std::int64_t i = 0; i < n; ++i) v[i] = gradient(v[i]);
  };
  if (type == Number::f64) return run(as<double>(values), count);
  if (type == Number::f32) return run(as<float>(values), count);
  float tile[kTile];
  for (std::int64_t i = 0; i < count; i += kTile) {
    const std::int64_t n = count - i < kTile ? count - i : kTile;
    widen(as<Bfloat>(values) + i, tile, n);
    run(tile, n);
    narrow(tile, as<Bfloat>(values) + i, n);
  }
}

// ------------------------------------------------------------------------------------------------ dense algebra

constexpr int kDotLanes = 32;  // the same for every level, so that sums are

double dot(const double* a, const double* b, std::int64_t n) {
  double sums[kDotLanes] = {};
  std::int64_t i = 0;
  for (; i + kDotLanes <= n; i += kDotLanes)
    for (int j = 0; j < kDotLanes; ++j) sums[j] += a[i + j] * b[i + j];
  for (int j = 0; i < n; ++i, ++j) sums[j] += a[i] * b[i];
  for (int half = kDotLanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  return sums[0];
}

void product(const double* a, const double* x, double* y, std::int64_t rows, std::int64_t n) {
  for (std::int64_t r = 0; r < rows; ++r) y[r] = dot(a + r * n, x, n);
}

void rank_two(const RankTwo& change, double* matrix, std::int64_t from, std::int64_t to, std::int64_t n) {
  const double *const s = change.s, *const h = change.h;
  const double a = change.a, ss = change.ss, sh = change.sh, hh = change.hh;
  for (std::int64_t r = from; r < to; ++r) {
    double* __restrict const row = matrix + r * n;
    const double sr = s[r], hr = h[r];
#pragma GCC ivdep
    for (std::int64_t i = 0; i < n; ++i)
      row[i] = a * row[i] + (ss * (sr * s[i]) + sh * (sr * h[i] + hr * s[i]) + hh * (hr * h[i]));
    change.product[r] = dot(row, change.x, n);
  }
}

void add(double a, const double* __restrict x, double* __restrict y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = y[i] + a * x[i];
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {update, norm, clip, product, rank_two, dot, add};

}  // namespace wq::optim::inline WQ_LEVEL
