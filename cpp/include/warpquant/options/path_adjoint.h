// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/path_jobs.h"

/// Payoffs of many inputs and, in one sweep backwards, the derivatives by all of them (Giles and Glasserman, Smoking
/// adjoints, Risk (2006)).
namespace wq::paths::inline WQ_LEVEL {

/// A basket on one path. `add(k, value)` takes what goes into sum k of `BasketSums`; `room`: `kBasketRoom` columns of
/// `job.assets`.
template <class V, class Add>
WQ_HD void basket(const BasketJob& job, const BasketRow& r, Column<V> z, Column<V> room, V valid, V& y, V& c, Add add) {
  const int n = job.assets;
  const int moves = 0, spots = n, seeds = 2 * n, scores = 3 * n;  // columns of the room
  V sum(0.0), best(0.0), chosen(0.0), log_sum(0.0);
  for (int i = 0; i < n; ++i) {
    V move(0.0);
    const double* const factor = r.factor + i * (i + 1) / 2;
    for (int j = 0; j <= i; ++j) move = move + V(factor[j]) * z[j];
    room.set(moves + i, move);
    const V exponent = V(r.drift[i]) + V(r.vol[i] * r.root) * move;
    const V spot = V(r.spot[i]) * plain_exp(exponent), part = V(r.weight[i]) * spot;
    room.set(spots + i, spot);
    sum = sum + part;
    if (job.control == BasketControl::geometric) log_sum = log_sum + V(r.weight[i] * r.spot[i]) * exponent;
    const auto better = job.choice == Choice::best_of ? gt(part, best) : lt(part, best);
    if (i == 0) {
      best = part;
    } else {
      best = select(better, part, best);
      chosen = select(better, V(static_cast<double>(i)), chosen);
    }
  }
  const bool of_one = job.choice != Choice::basket;
  const V held = of_one ? best : sum, worth = V(r.sign) * (held - V(r.strike));
  const V unit = keep_if(gt(worth, V(0.0)), V(r.sign * r.discount)) * valid;
  const V paid = unit * (held - V(r.strike));
  y = paid;
  c = V(0.0);
  if (job.control == BasketControl::linear) c = V(r.discount) * sum * valid;
  if (job.control == BasketControl::geometric) {
    const V mean = plain_exp(V(r.geometric_shift) + V(r.geometric_scale) * log_sum);
    c = keep_if(gt(V(r.sign) * (mean - V(r.strike)), V(0.0)), V(r.sign * r.discount) * (mean - V(r.strike))) * valid;
  }
  if (!job.greeks) return;
  const BasketSums at{n};
  // Backwards: seeds are derivatives by the logarithm of each price, then by what moves it.
  V by_time(0.0), held_later(0.0);
  for (int i = 0; i < n; ++i) {
    V share = V(r.weight[i]) * room[spots + i];
    if (of_one) share = keep_if(eq(chosen, V(static_cast<double>(i))), share);
    const V seed = unit * share, move = room[moves + i];
    held_later = held_later + seed;
    add(at.delta() + i, seed * V(1.0 / r.spot[i]));
    add(at.vega() + i, seed * (V(r.root) * move - V(r.vol[i] * r.expiry)));
    add(at.epsilon() + i, V(0.0) - seed * V(r.expiry));
    by_time = by_time + seed * (V(r.drift[i] / r.expiry) + V(0.5 * r.vol[i] / r.root) * move);
    room.set(seeds + i, seed);
  }
  add(at.rho(), V(r.expiry) * (held_later - paid));
  add(at.theta(), V(r.rate) * paid - by_time);
  add(at.dual_delta(), V(0.0) - unit);
  for (int i = 0, entry = at.factor(); i < n; ++i) {
    const V by_move = room[seeds + i] * V(r.vol[i] * r.root);
    for (int j = 0; j <= i; ++j) add(entry++, by_move * z[j]);
  }
  if (!job.gamma) return;
  // First derivatives times the scores of the spots: the inverse of the factor, transposed, times the numbers.
  for (int j = 0; j < n; ++j) {
    V score(0.0);
    for (int i = j; i < n; ++i) score = score + V(r.inverse_factor[i * (i + 1) / 2 + j]) * z[i];
    room.set(scores + j, score * V(1.0 / (r.spot[j] * r.vol[j] * r.root)));
  }
  for (int i = 0, entry = at.gamma(); i < n; ++i) {
    const V by_spot = room[seeds + i] * V(1.0 / r.spot[i]);
    for (int j = 0; j < n; ++j) {
      const V own = i == j ? by_spot * V(1.0 / r.spot[i]) : V(0.0);
      add(entry++, by_spot * room[scores + j] - own);
    }
  }
}

/// One path in a local volatility model (Euler's scheme for the logarithm). `add(k, value)` as above, no k twice;
/// `room`: `kLocalVolRoom` columns of the steps. One path at a time, since each goes its own way through the nodes.
template <class Add>
WQ_HD void local_vol(const LocalVolJob& job, Column<double> z, Column<double> room, double& y, double& c, Add add) {
  const int steps = job.dates.count, nodes = job.nodes;
  // Of the node above, not yet within [0, 1]; the node below; prices after each step, where an average takes them.
  const int shares = 0, places = steps, prices = 2 * steps;
  double x = job.log_spot, average = 0.0;
  for (int k = 0; k < steps; ++k) {
    int below = 0;
    for (int j = 1; j < nodes - 1; ++j) below += x >= job.places[j] ? 1 : 0;
    const double* const vols = job.vols + static_cast<std::int64_t>(k) * nodes;
    double share = 0.0, vol = vols[below];
    if (nodes > 1) {
      share = (x - job.places[below]) / (job.places[below + 1] - job.places[below]);
      vol = vols[below] + max(min(share, 1.0), 0.0) * (vols[below + 1] - vols[below]);
    }
    room.set(shares + k, share);
    room.set(places + k, below);
    x = x + ((job.rate - job.dividend) * job.steps[k] - 0.5 * vol * vol * job.steps[k]) + vol * job.roots[k] * z[k];
    if (job.weights != nullptr) {
      const double price = plain_exp(x);
      room.set(prices + k, price);
      average = average + job.weights[k] * price;
    }
  }
  const double last = job.weights != nullptr ? room[prices + steps - 1] : plain_exp(x);
  const double held = job.weights != nullptr ? average : last, worth = job.sign * (held - job.strike);
  const double unit = worth > 0 ? job.sign * job.discount : 0.0;
  y = unit * (held - job.strike);
  c = job.discount * last;
  if (!job.greeks) return;
  using At = LocalVolSums;
  double seed = job.weights != nullptr ? 0.0 : unit * last;  // by the logarithm after the step
  double by_drift = 0.0;
  for (int k = steps - 1; k >= 0; --k) {
    if (job.weights != nullptr) seed = seed + unit * job.weights[k] * room[prices + k];
    const int below = static_cast<int>(room[places + k]);
    const double* const vols = job.vols + static_cast<std::int64_t>(k) * nodes;
    const double wide = room[shares + k], share = max(min(wide, 1.0), 0.0);
    double vol = vols[below], slope = 0.0;
    if (nodes > 1) {
      vol = vol + share * (vols[below + 1] - vols[below]);
      // By where the path is: on a node, as at the start of many, the mean of both sides.
      const auto rise = [&](int j) { return (vols[j + 1] - vols[j]) / (job.places[j + 1] - job.places[j]); };
      if (wide > 0.0 && wide < 1.0) slope = rise(below);
      if (wide == 0.0) slope = 0.5 * (rise(below) + (below > 0 ? rise(below - 1) : 0.0));
      if (wide == 1.0) slope = 0.5 * rise(below);
    }
    by_drift = by_drift + seed * job.steps[k];
    const double by_vol = seed * (job.roots[k] * z[k] - vol * job.steps[k]);
    const int entry = At::kVega + k * nodes + below;
    add(entry, by_vol * (1.0 - share));
    if (nodes > 1) add(entry + 1, by_vol * share);
    seed = seed + by_vol * slope;
  }
  add(At::kDelta, seed * (1.0 / job.spot));
  add(At::kDualDelta, -unit);
  add(At::kRho, by_drift - job.expiry * y);
  add(At::kEpsilon, -by_drift);
}

}  // namespace wq::paths::inline WQ_LEVEL
