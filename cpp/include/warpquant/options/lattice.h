// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/options/american.h"

namespace wq::options::inline WQ_LEVEL {

enum class LatticeKind { crr, leisen_reimer };

enum LatticeOutput : int {
  kLatticePrice,
  kLatticeDelta,
  kLatticeGamma,
  kLatticeTheta,
  kLatticeStatus,
  kLatticeOutputs
};

/// Binomial trees. Parameters: steps, and whether the option may be exercised early (1) or not (0).
///
/// crr: Cox, Ross and Rubinstein, Option pricing: a simplified approach, J. Financial Economics 7 (1979).
/// leisen_reimer: Binomial models for option valuation, Appl. Math. Finance 3 (1996), method 2 of Peizer and Pratt; an
/// odd number of steps.
///
/// The tree begins two steps before today, with today's spot on the middle one of its nodes today: the outer two give
/// delta and gamma, the middle one two steps later theta (Pelsser and Vorst, The binomial model and the Greeks, 1994).
/// Without vol or time there is no tree, but a limit.
template <LatticeKind kKind>
struct Lattice {
  static constexpr bool kCrr = kKind == LatticeKind::crr;
  static constexpr rows::Info kInfo = {kCrr ? "lattice_crr" : "lattice_leisen_reimer", kOptionInputs,
                                       "price delta gamma theta status", 30'000};
  /// Standard deviations of the logarithm beyond which a node has no weight today: 2 N(-9) = 2e-19.
  static constexpr double kFar = 9.0;

  /// Steps that are taken in one pass over the values, which leave the first-level cache between passes.
  static constexpr int kSteps = 4;
  template <int kCount, bool kEarly>
  struct Steps {};

  static std::int64_t scratch(const double* parameters) {
    const auto steps = static_cast<std::int64_t>(parameters[0]) + 2;
    return (steps + 1) + (2 * steps + 1);  // values, and spots or payoffs by level
  }

  template <class V>
  struct Tree {
    V up, down;    // weights, discounted
    V root_ratio;  // sqrt(u / d)
    V drift;       // sqrt(u d)
    V spot, strike, sign;
  };

  template <class V, class Row>
  WQ_HD static void row(const Row& r) {
    const auto in = OptionInputs<V>::of(r);
    const V sign = in.sign, spot = in.spot, strike = in.strike, expiry = in.expiry;
    const V rate = in.rate, dividend = in.dividend, vol = in.vol;
    const int steps = static_cast<int>(r.parameter(0));
    const bool american = r.parameter(1) != 0;
    const auto random = both(in.meaningful(), gt(vol, V(0.0)));
    auto good = random;
    const V step = expiry / V(static_cast<double>(steps)), carry = rate - dividend;
    const V growth = exp_of(carry * step), discount = exp_of(V(0.0) - rate * step);
    Tree<V> tree{{}, {}, {}, {}, spot, strike, sign};
    V chance;
    if constexpr (kCrr) {
      tree.root_ratio = exp_of(vol * sqrt(step));
      tree.drift = V(1.0);
      const V fall = V(1.0) / tree.root_ratio;
      chance = (growth - fall) / (tree.root_ratio - fall);
    } else {
      const V v = vol * sqrt(expiry);
      const V d1 = (log_ratio(spot, strike) + carry * expiry) / v + V(0.5) * v;
      chance = peizer_pratt(d1 - v, steps);
      const V of_spot = peizer_pratt(d1, steps);
      const V rise = growth * of_spot / chance, fall = (growth - chance * rise) / (V(1.0) - chance);
      tree.root_ratio = sqrt(rise / fall);
      tree.drift = sqrt(rise * fall);
    }
    good = both(good, both(gt(chance, V(0.0)), lt(chance, V(1.0))));
    tree.up = discount * chance;
    tree.down = discount * (V(1.0) - chance);
    // Lanes without a tree get one that gives no trouble.
    const auto calm = [&](V& x, double value) { x = select(good, x, V(value)); };
    calm(tree.up, 0.5), calm(tree.down, 0.5), calm(tree.root_ratio, 1.01), calm(tree.drift, 1.0);
    calm(tree.spot, 1.0), calm(tree.strike, 1.0);

    V results[kLatticeOutputs];
    // How far the middle of the distribution leaves the middle of the tree, in nodes; both of them must be inside.
    const double spread = kFar * __builtin_sqrt(static_cast<double>(steps));
    const V away = abs(select(good, V(2.0) * chance - V(1.0), V(0.0))) * V(static_cast<double>(steps));
    const auto central = le(away, V(0.25 * spread));
    int band = static_cast<int>(spread * 1.25) + 2;
    if (band > steps + 2) band = steps + 2;
    value(r, tree, step, steps, band, american, results);
    if (band < steps + 2 && any(negate(central))) {
      V all_nodes[kLatticeOutputs];
      value(r, tree, step, steps, steps + 2, american, all_nodes);
      for (int k = 0; k < kLatticeStatus; ++k) results[k] = select(central, results[k], all_nodes[k]);
    }
    for (int k = 0; k < kLatticeStatus; ++k) results[k] = select(good, results[k], V(__builtin_nan("")));
    results[kLatticeStatus] = select(good, V(kHeld), V(kInvalid));
    rows::put_with_limits(r, results, random, [&](int j, auto put) {
      limits(lane(spot, j), lane(strike, j), lane(expiry, j), lane(rate, j), lane(dividend, j), lane(vol, j),
             in.sign_at(j), american, put);
    });
  }

 private:
  /// Where nothing is random.
  template <class Put>
  WQ_HD_CALL static void limits(double spot, double strike, double expiry, double rate, double dividend, double vol,
                                double sign, bool american, Put put) {
    double status = kInvalid;
    const auto of_american = [&](int k, double value) {
      constexpr int kOf[] = {kAmericanPrice, kAmericanDelta, kAmericanGamma, kAmericanTheta};
      for (int to = 0; to < kLatticeStatus; ++to)
        if (k == kOf[to]) put(to, value);
      if (k == kAmericanStatus) status = value == double(kInvalid) ? kInvalid : kHeld;
    };
    const auto of_european = [&](int k, double value) {
      constexpr int kOf[] = {kPrice, kDelta, kGamma, kTheta};
      for (int to = 0; to < kLatticeStatus; ++to)
        if (k == kOf[to]) put(to, value);
      if (k == kPrice && !is_nan(value)) status = kHeld;
    };
    if (american)
      american_limits(spot, strike, expiry, rate, dividend, vol, sign, of_american);
    else
      black_limits<false>(spot, strike, expiry, rate, dividend, is_finite(expiry + vol) ? vol : __builtin_nan(""), sign,
                          of_european);
    put(kLatticeStatus, status);
  }

  template <class V>
  WQ_HD static V peizer_pratt(V z, int steps) {
    const double n = steps;
    const V scaled = z * V(1.0 / (n + 1.0 / 3.0 + 0.1 / (n + 1.0)));
    const V root = sqrt(max(V(0.25) - V(0.25) * exp_of(V(0.0) - scaled * scaled * V(n + 1.0 / 6.0)), V(0.0)));
    return select(lt(z, V(0.0)), V(0.5) - root, V(0.5) + root);
  }

  /// `band`: levels up and down from the middle that are looked at; `steps + 2` are all.
  template <class V, class Row>
  WQ_HD_CALL static void value(const Row& r, const Tree<V>& tree, V step, int steps, int band, bool american,
                               V (&results)[kLatticeOutputs]) {
    const int last = steps + 2;
    const auto values = r.template scratch<V>();
    const auto levels = values + (last + 1) + last;  // from -last to last
    // Spots by level, times the sign: an exponent of its own each, not a product of a thousand factors.
    const V signed_spot = tree.sign * tree.spot, signed_strike = tree.sign * tree.strike;
    const V log_ratio_of_levels = log_of(tree.root_ratio);
    const int widest = band + kSteps * 2 < last ? band + kSteps * 2 : last;
    for (int k = -widest; k <= widest; ++k) {
      const V here = signed_spot * exp_of(log_ratio_of_levels * V(static_cast<double>(k)));
      levels[k] = kCrr ? here - signed_strike : here;
    }
    const V log_drift = log_of(tree.drift);
    const auto drift_at = [&](int i) { return kCrr ? V(1.0) : exp_of(log_drift * V(static_cast<double>(i - 2))); };
    const V end = drift_at(last);
    for (int j = 0; j <= last; ++j) {
      const int level = 2 * j - last, inside = level < -widest ? -widest : level > widest ? widest : level;
      const V spot = levels[inside];
      values[j] = max(kCrr ? spot : spot * end - signed_strike, V(0.0));
    }
    // Values of `kCount` steps, from step i down, for nodes in the band and a few beside it, in one pass: of step i - s
    // the nodes from `from` to `to - s`. While step i is at node j, step i - s is at node j - 2 s: what it needs was
    // there a node before, so that the steps of a node do not wait for each other, and only the last one is stored.
    const auto steps_from = [&]<int kCount, bool kEarly>(int i, Steps<kCount, kEarly>) {
      constexpr int kBehind = 2 * (kCount - 1);
      const int over = i > band ? (i + band) / 2 + kCount - 1 : i, to = over < i ? over : i;
      const int under = i > band ? (i - band) / 2 - (kCount - 1) : 0, from = under > 0 ? under : 0;
      const auto level = levels + -i;
      // Of step i - s: its value at the node where it is, and the value of the step before at the node below.
      V drift[kCount], here[kCount], below[kCount];
      for (int s = 0; s < kCount; ++s) drift[s] = drift_at(i - s);
      below[0] = values[from];
      // Steps i - first to i - last move on, while step i is at node j.
      const auto move = [&](int j, int first, int last) {
        WQ_UNROLL(kSteps)
        for (int s = kCount - 1; s >= 0; --s) {
          if (s > last || s < first) continue;
          const V above = s == 0 ? values[j + 1] : here[s - 1];
          const V hold = mul_add(tree.up, above, tree.down * below[s]);
          below[s] = above;
          here[s] = hold;
          if constexpr (kEarly) {
            const V spot = level[2 * j - 3 * s];
            here[s] = max(hold, kCrr ? spot : mul_add(spot, drift[s], V(0.0) - signed_strike));
          }
        }
      };
      WQ_UNROLL(2 * kSteps)
      for (int n = 0; n < kBehind; ++n) {
        move(from + n, 0, n / 2);
        if (n % 2 == 0) below[n / 2 + 1] = here[n / 2];
      }
      for (int j = from + kBehind; j <= to; ++j) {
        move(j, 0, kCount - 1);
        values[j - kBehind] = here[kCount - 1];
      }
      WQ_UNROLL(kSteps)
      for (int n = 1; n < kCount; ++n) {
        move(to + n, n, kCount - 1);
        values[to + n - kBehind] = here[kCount - 1];
      }
    };
    const auto back = [&]<bool kEarly>(Steps<1, kEarly> one) {
      int i = last - 1;
      for (; i >= 4 + kSteps; i -= kSteps) steps_from(i, Steps<kSteps, kEarly>{});
      V later = values[2];
      for (; i >= 2; --i) {
        steps_from(i, one);
        if (i == 4) later = values[2];
      }
      return later;
    };
    const V later = american ? back(Steps<1, true>{}) : back(Steps<1, false>{});
    const V ratio = tree.root_ratio * tree.root_ratio;  // of the spots of neighbours
    const V above = tree.spot * (ratio - V(1.0)), below = tree.spot * (V(1.0) - V(1.0) / ratio);
    const V rise = (values[2] - values[1]) / above, fall = (values[1] - values[0]) / below;
    results[kLatticePrice] = values[1];
    const V delta = (rise * below + fall * above) / (above + below), gamma = V(2.0) * (rise - fall) / (above + below);
    results[kLatticeDelta] = delta;
    results[kLatticeGamma] = gamma;
    // The middle node two steps later may be at another spot.
    const V moved = tree.spot * (tree.drift * tree.drift - V(1.0));
    results[kLatticeTheta] = (later - values[1] - moved * mul_add(V(0.5) * gamma, moved, delta)) / (V(2.0) * step);
  }
};

}  // namespace wq::options::inline WQ_LEVEL
