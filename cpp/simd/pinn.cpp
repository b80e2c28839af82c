// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/rows.h"
#include "warpquant/pinn/surface.h"
#include "warpquant/pinn/training.h"

namespace wq::pinn {
/// The model of a number: parameters of an operation are the model, whether it computes in float32, and whether it says
/// anything outside of its domain.
const View& view_of(double number);
}  // namespace wq::pinn

namespace wq::pinn::inline WQ_LEVEL {
namespace {

template <class T>
void value(const Net<T>& net, const T* x, int points, T* y) {
  with_activation(net.activation, [&]<class A>(A) { values<T, A>(net, x, points, y); });
}

template <class T>
void jets_of(const Net<T>& net, Streams s, const T* x, int points, T* y) {
  with_activation(net.activation, [&]<class A>(A) {
    s.order == 3   ? jets<T, A, 3>(net, s, x, points, y)
    : s.order == 2 ? jets<T, A, 2>(net, s, x, points, y)
    : s.order == 1 ? jets<T, A, 1>(net, s, x, points, y)
                   : jets<T, A, 0>(net, s, x, points, y);
  });
}

double loss_of(const Net<double>& net, const Collocation<double>& job, std::int64_t from, std::int64_t to,
               double* residuals, double* gradient) {
  double total = 0;
  with_activation(net.activation, [&]<class A>(A) {
    total = job.directions == 1   ? loss<A, 1>(net, job, from, to, residuals, gradient)
            : job.directions == 2 ? loss<A, 2>(net, job, from, to, residuals, gradient)
                                  : loss<A, 3>(net, job, from, to, residuals, gradient);
  });
  return total;
}

using P = Pack<kLanes>;

Contract<P> contract_at(const rows::Tile& tile, int i) {
  Contract<P> c{P::load(tile.in[0] + i),
                P::load(tile.in[1] + i),
                P::load(tile.in[2] + i),
                P::load(tile.in[3] + i),
                P::load(tile.in[4] + i),
                P::load(tile.in[5] + i),
                P::load(tile.in[6] + i),
                P(0.0),
                P(0.0)};
  c.locate();
  return c;
}

template <class T>
void store_as(T* to, P value) {
  if constexpr (sizeof(T) == sizeof(double))
    value.store(to);
  else
    for (int k = 0; k < kLanes; ++k) to[k] = static_cast<float>(lane(value, k));
}
template <class T>
P load_as(const T* from) {
  if constexpr (sizeof(T) == sizeof(double)) return P::load(from);
  P value;
  for (int k = 0; k < kLanes; ++k) set_lane(value, k, static_cast<double>(from[k]));
  return value;
}

/// Prices and Greeks of up to kPoints rows, of which the first `points` count, through a network in T.
template <class T>
void prices(const Net<T>& net, const Surface& surface, const rows::Tile& tile, int points, bool extrapolate) {
  const auto wants = [&](int k) { return tile.out[k] != nullptr; };
  Wanted wanted;
  for (int k = kDelta; k < kStatus; ++k) wanted.greeks |= wants(k);
  wanted.cross = wants(kVanna) || wants(kCharm);
  wanted.volga = wants(kVolga);
  wanted.speed = wants(kSpeed);
  constexpr int kMostStreams = 7;
  alignas(64) T x[kMostFeatures * kMostStreams * kPoints], n[kMostStreams * kPoints];
  const int packs = (points + kLanes - 1) / kLanes, features = surface.features, streams = wanted.count();
  for (int i = 0; i < packs * kLanes; i += kLanes) {
    const Contract<P> c = contract_at(tile, i);
    const Spread<P> s(c.v);
    const Local<P> layer = layer_at(c.k, s);
    for (int f = 0; f < features; ++f) {
      const Local<P> of = feature_at(surface.feature[f], c.k, s, layer);
      const auto put = [&](int j, const P& value) { store_as(x + (f * streams + j) * kPoints + i, value); };
      put(0, of.value);
      if (!wanted.greeks) continue;
      put(1, of.k);
      put(2, of.v);
      put(3, of.kk);
      if (wanted.cross) put(wanted.at_kv(), of.kv);
      if (wanted.volga) put(wanted.at_vv(), of.vv);
      if (wanted.speed) put(wanted.at_kkk(), of.kkk);
    }
  }
  // Rows are filled up for networks with more lanes.
  for (int k = 0; k < features * streams; ++k)
    for (int i = packs * kLanes; i % Numbers<T>::kWidth != 0; ++i) x[k * kPoints + i] = T(0);
  if (wanted.greeks)
    with_activation(net.activation, [&]<class A>(A) { surfaces<T, A>(net, wanted, x, points, n); });
  else if (wants(kPrice))
    value<T>(net, x, points, n);
  for (int i = 0; i < packs * kLanes; i += kLanes) {
    const Contract<P> c = contract_at(tile, i);
    const Spread<P> s(c.v);
    const auto at = [&](int j) { return load_as(n + j * kPoints + i); };
    Local<P> of_net{at(0), P(0.0), P(0.0), P(0.0), P(0.0), P(0.0), P(0.0)};
    if (wanted.greeks) {
      of_net.k = at(1);
      of_net.v = at(2);
      of_net.kk = at(3);
      if (wanted.cross) of_net.kv = at(wanted.at_kv());
      if (wanted.volga) of_net.vv = at(wanted.at_vv());
      if (wanted.speed) of_net.kkk = at(wanted.at_kkk());
    }
    const P forward = exp_of(c.k), status = c.status(surface);
    const auto refused = either(eq(status, P(kInvalid)), extrapolate ? lt(status, P(0.0)) : gt(status, P(0.0)));
    c.results(with_ansatz(surface.ansatz, forward, c.k, s, of_net), forward, wants,
              [&](int k, P result) { select(refused, P(__builtin_nan("")), result).store(tile.out[k] + i); });
    if (wants(kStatus)) status.store(tile.out[kStatus] + i);
  }
}

void price_rows(const View& view, const rows::Tile& tile, int points, bool in_f32, bool extrapolate) {
  if (in_f32)
    prices<float>(view.net_f32, view.surface, tile, points, extrapolate);
  else
    prices<double>(view.net, view.surface, tile, points, extrapolate);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {value<double>, value<float>, jets_of<double>, jets_of<float>, loss_of, price_rows};

extern const rows::Group european;
const rows::Group european = {1, [](int) { return rows::Info{"pinn_european", kArguments, kResults, 2000}; },
                              [](int, std::uint32_t) -> rows::TileKernel {
                                return [](const rows::Tile& tile) {
                                  const double* const p = tile.parameters;
                                  price_rows(view_of(p[0]), tile, tile.rows, p[1] != 0, p[2] != 0);
                                };
                              },
                              [](int, const double*) -> std::int64_t { return 0; }};

}  // namespace wq::pinn::inline WQ_LEVEL
