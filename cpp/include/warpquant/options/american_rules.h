// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/macros.h"

/// Nodes, weights and their numbers for american.h, computed by the compiler.
namespace wq::options::inline WQ_LEVEL {

/// Numbers of nodes of the boundary, of its integrals and of the premium; `kSpread` and `kFirst` are c and f of
/// `AmericanNodes`. `kQuick`: exponentials and the like to 1e-8 or so will do. `kTabled`: weights are looked up, not
/// computed anew for each node. A boundary is good when no shape moves by more than `kNear`, and resolved when the last
/// two coefficients of its polynomial times the interest until expiry are below `kRest` of the mean, or `kRestInstead`
/// where the rule stands in for a coarser one. `kStartSteps`: of
/// Newton's method, for the start of a finer rule. `kNanoseconds`: of an option, about.
struct AmericanStart {
  static constexpr int kNodes = 5, kInner = 5, kOuter = 1, kStartSteps = 2, kMostSteps = 2;
  static constexpr double kSpread = 0.65, kFirst = 0.15, kNear = 0.0, kRest = 0.0;
  static constexpr bool kQuick = true, kTabled = true;
};
struct AmericanFast {
  static constexpr const char* kName = "american_fast";
  static constexpr int kNanoseconds = 1000, kNodes = 9, kInner = 7, kOuter = 22, kStartSteps = 2, kMostSteps = 6;
  static constexpr double kSpread = 0.65, kFirst = 0.12, kNear = 0.015, kRest = 0.005, kRestInstead = kRest;
  static constexpr bool kQuick = true, kTabled = true;
};
struct AmericanAccurate {
  static constexpr const char* kName = "american_accurate";
  static constexpr int kNanoseconds = 5000, kNodes = 16, kInner = 12, kOuter = 44, kStartSteps = 1, kMostSteps = 8;
  static constexpr double kSpread = 0.6, kFirst = 0.1, kNear = 0.001, kRest = 0.002, kRestInstead = 0.025;
  static constexpr bool kQuick = true, kTabled = true;
};
struct AmericanHigh {
  static constexpr const char* kName = "american_high";
  static constexpr int kNanoseconds = 60'000, kNodes = 40, kInner = 28, kOuter = 104, kMostSteps = 8;
  static constexpr double kSpread = 0.7, kFirst = 0.05, kNear = 1e-5, kRest = 1.5e-4, kRestInstead = 0.005;
  static constexpr bool kQuick = false, kTabled = false;
};
struct AmericanExtra {
  static constexpr int kNodes = 64, kInner = 56, kOuter = 192, kMostSteps = 12;
  static constexpr double kSpread = 0.7, kFirst = 0.04, kNear = 1e-6, kRest = 0.0;
  static constexpr bool kQuick = false, kTabled = false;
};

/// Functions that the compiler can evaluate, for the arguments that nodes have.
namespace tables {

constexpr double kHalfPi = 1.5707963267948966;

/// For |x| <= pi / 2.
constexpr double sine(double x) {
  double term = x, sum = x;
  for (int k = 1; k < 14; ++k) term *= -x * x / (2.0 * k * (2.0 * k + 1.0)), sum += term;
  return sum;
}
/// e^-x for x >= 0.
constexpr double fading(double x) {
  int halvings = 0;
  for (; x > 0.125; x *= 0.5) ++halvings;
  double term = 1.0, sum = 0.0;  // without the 1, whose digits squaring would lose
  for (int k = 1; k < 14; ++k) term *= -x / k, sum += term;
  for (; halvings > 0; --halvings) sum = sum * (2.0 + sum);
  return 1.0 + sum;
}
/// ln(1 / x) for 0 < x <= 1.
constexpr double log_inverse(double x) {
  double sum = 0.0;
  for (; x < 0.7; x *= 2.0) sum += 0.6931471805599453;
  const double t = (1.0 - x) / (1.0 + x);
  double power = t, series = 0.0;
  for (int k = 1; k < 48 && power * power > 1e-40; k += 2, power *= t * t) series += power / k;
  return sum + 2.0 * series;
}

/// Nodes and weights of Gauss and Legendre on (0, 1).
template <int N>
struct Gauss {
  double node[N] = {}, weight[N] = {};

  constexpr Gauss() {
    for (int i = 0; i < (N + 1) / 2; ++i) {
      double x = sine(kHalfPi * (1.0 - 2.0 * (i + 0.75) / (N + 0.5))), slope = 1.0;
      for (int step = 0; step < 6; ++step) {
        double before = 1.0, now = x;
        for (int n = 1; n < N; ++n) {
          const double next = ((2.0 * n + 1.0) * x * now - n * before) / (n + 1.0);
          before = now, now = next;
        }
        slope = N == 1 ? 1.0 : N * (x * now - before) / (x * x - 1.0);
        x -= now / slope;
      }
      node[i] = 0.5 * (1.0 - x), node[N - 1 - i] = 0.5 * (1.0 + x);
      weight[i] = weight[N - 1 - i] = 1.0 / ((1.0 - x * x) * slope * slope);
    }
  }
};

}  // namespace tables

/// Where the boundary and its integrals have their nodes.
template <class Rule>
struct AmericanNodes {
  static constexpr int N = Rule::kNodes, L = Rule::kInner, P = Rule::kOuter;

  double cosine[N] = {};                       // cos(pi (1 - i / (N - 1))): from -1 to 1
  double barycentric[N] = {};                  // 1 / the product of 2 (cosine - another cosine)
  double per_place[N] = {}, per_root[N] = {};  // their inverses
  double place[N] = {}, root[N] = {};          // zeta = f + (1 - f) (1 + cosine) / 2; sqrt(tau / T)
  // sin(theta), cos(theta), the weight, c ln(1 / sin^2 theta). Inner: theta are nodes of Gauss and Legendre on (0,
  // pi/2), weighted by 2 sin(theta). Outer: theta = pi/2 (3 t^2 - 2 t^3), which crowds them at both ends, weighted by
  // 2 sin(theta) cos(theta).
  double inner_past[L] = {}, inner_left[L] = {}, inner_weight[L] = {}, inner_lag[L] = {};
  double inner_per_left[L] = {}, outer_per_left[P] = {};  // 1 / cos(theta)
  double outer_past[P] = {}, outer_left[P] = {}, outer_weight[P] = {}, outer_lag[P] = {};

  constexpr AmericanNodes() {
    using namespace tables;
    for (int i = 0; i < N; ++i) {
      const double s = i == N - 1 ? 1.0 : sine(kHalfPi * i / (N - 1));
      cosine[i] = 2.0 * s * s - 1.0;
      place[i] = i == N - 1 ? 1.0 : Rule::kFirst + (1.0 - Rule::kFirst) * s * s;
      root[i] = i == N - 1 ? 1.0 : fading((1.0 / place[i] - 1.0) * (0.5 / Rule::kSpread));
      per_place[i] = 1.0 / place[i], per_root[i] = 1.0 / root[i];
    }
    for (int i = 0; i < N; ++i) {
      double product = 1.0;
      for (int k = 0; k < N; ++k)
        if (k != i) product *= 2.0 * (cosine[i] - cosine[k]);
      barycentric[i] = 1.0 / product;
    }
    const Gauss<L> inner;
    for (int j = 0; j < L; ++j) {
      const double theta = kHalfPi * inner.node[j];
      inner_past[j] = sine(theta), inner_left[j] = sine(kHalfPi * inner.node[L - 1 - j]);
      inner_per_left[j] = 1.0 / inner_left[j];
      inner_weight[j] = kHalfPi * inner.weight[j] * 2.0 * inner_past[j];
      inner_lag[j] = 2.0 * Rule::kSpread * log_inverse(inner_past[j]);
    }
    const Gauss<P> outer;
    for (int j = 0; j < P; ++j) {
      const auto bent = [](double t) { return kHalfPi * t * t * (3.0 - 2.0 * t); };
      const double t = outer.node[j];
      outer_past[j] = sine(bent(t)), outer_left[j] = sine(bent(outer.node[P - 1 - j]));
      outer_per_left[j] = 1.0 / outer_left[j];
      outer_weight[j] = kHalfPi * 6.0 * t * (1.0 - t) * outer.weight[j] * 2.0 * outer_past[j] * outer_left[j];
      outer_lag[j] = 2.0 * Rule::kSpread * log_inverse(outer_past[j]);
    }
  }

  /// What the values at the nodes weigh in that of the polynomial at `count` places; before the first node the
  /// polynomial stays as it is there.
  template <int count>
  WQ_HD constexpr void weigh(const double (&places)[count], double (&weights)[N][count]) const {
    double x[count] = {}, product[count] = {};
    WQ_ROLLED
    for (int j = 0; j < count; ++j) {
      const double z = (2.0 * places[j] - (1.0 + Rule::kFirst)) * (1.0 / (1.0 - Rule::kFirst));
      x[j] = z < -1.0 ? -1.0 : z, product[j] = 1.0;
    }
    WQ_ROLLED
    for (int k = 0; k < N; ++k) WQ_ROLLED
    for (int j = 0; j < count; ++j) {
      weights[k][j] = barycentric[k] * product[j];
      product[j] *= 2.0 * (x[j] - cosine[k]);
    }
    WQ_ROLLED
    for (int j = 0; j < count; ++j) product[j] = 1.0;
    WQ_ROLLED
    for (int k = N - 1; k >= 0; --k) WQ_ROLLED
    for (int j = 0; j < count; ++j) {
      weights[k][j] *= product[j];
      product[j] *= 2.0 * (x[j] - cosine[k]);
    }
  }
};

template <class Rule>
WQ_HD const AmericanNodes<Rule>& american_nodes() {
  static constexpr AmericanNodes<Rule> kNodes;
  return kNodes;
}

/// Weights of a rule that has them in tables.
template <class Rule>
struct AmericanWeights {
  static constexpr int N = Rule::kNodes, L = Rule::kInner, P = Rule::kOuter;
  double inner[N][N][L] = {};  // by the node whose integral it is
  double outer[N][P] = {};

  constexpr AmericanWeights() {
    constexpr AmericanNodes<Rule> nodes;
    for (int i = 0; i < N; ++i) {
      double places[L] = {};
      for (int j = 0; j < L; ++j) places[j] = 1.0 / (nodes.per_place[i] + nodes.inner_lag[j]);
      nodes.weigh(places, inner[i]);
    }
    double places[P] = {};
    for (int j = 0; j < P; ++j) places[j] = 1.0 / (1.0 + nodes.outer_lag[j]);
    nodes.weigh(places, outer);
  }
};

template <class Rule>
WQ_HD const AmericanWeights<Rule>& american_weights() {
  static constexpr AmericanWeights<Rule> kWeights;
  return kWeights;
}

}  // namespace wq::options::inline WQ_LEVEL
