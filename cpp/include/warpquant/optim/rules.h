// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "warpquant/core/elementary.h"
#include "warpquant/core/math.h"
#include "warpquant/optim/ops.h"

/// What a step does to one element. Orders of operations and places of eps are those of PyTorch, so that a run can go
/// over from one to the other; but Adam multiplies by the inverse of its correction, as a division takes longer. `R` is
/// float or double: that of the arithmetic and of the state.
namespace wq::optim::inline WQ_LEVEL {

/// A number of twice the digits.
struct Twice {
  double high, low;
};

WQ_HD Twice twice_product(Twice a, Twice b) {
  const double p = a.high * b.high;
  const double e = product_error(a.high, b.high, p) + (a.high * b.low + a.low * b.high);
  const double high = p + e;
  return {high, e - (high - p)};
}

/// base^n for whole n >= 0, as good as always the nearest double: products are kept to twice the digits.
WQ_HD double whole_power(double base, std::int64_t n) {
  Twice power{1.0, 0.0}, square{base, 0.0};
  for (; n > 0; n >>= 1) {
    if (n & 1) power = twice_product(power, square);
    square = twice_product(square, square);
  }
  return power.high + power.low;
}

/// Of the step with number `step`, from 1 on.
WQ_HD Corrections corrections(const Settings& settings, double step) {
  Corrections c{-settings.lr, 1.0, step <= 1.0};
  if (settings.kind == Kind::adam) {
    const auto n = static_cast<std::int64_t>(step);
    c.step_size = -(settings.lr / (1.0 - whole_power(settings.beta1, n)));
    c.by_root_correction = 1.0 / sqrt(1.0 - whole_power(settings.beta2, n));
  }
  return c;
}

/// A gradient on its way to the rule.
template <class R>
struct GradientRule {
  R inverse_scale, norm_factor, most, sign;

  WQ_HD explicit GradientRule(const Gradient& g)
      : inverse_scale(static_cast<R>(g.inverse_scale)), norm_factor(static_cast<R>(g.norm_factor)),
        most(static_cast<R>(g.most)), sign(g.maximize ? R(-1) : R(1)) {}

  WQ_HD R operator()(R g) const {
    g = g * inverse_scale * norm_factor;
    g = select(lt(g, -most), -most, select(gt(g, most), most, g));  // a NaN stays one
    return g * sign;
  }
};

/// A choice that is the same for every element. By bits: compilers do not put a branch that never changes into lanes.
template <class R>
struct Choice {
  using Bits = std::conditional_t<sizeof(R) == 8, std::uint64_t, std::uint32_t>;
  Bits first;

  WQ_HD explicit Choice(bool takes_first) : first(takes_first ? ~Bits{0} : Bits{0}) {}
  WQ_HD R operator()(R a, R b) const {
    return __builtin_bit_cast(R, (__builtin_bit_cast(Bits, a) & first) | (__builtin_bit_cast(Bits, b) & ~first));
  }
};

/// torch.lerp: from `a` to `b`, beginning at the end that is nearer.
template <class R>
struct Lerp {
  R slope;
  Choice<R> nearer;

  WQ_HD explicit Lerp(double weight) : slope(static_cast<R>(weight)), nearer(abs(slope) < R(0.5)) {
    if (nearer.first == 0) slope = -(R(1) - slope);
  }
  WQ_HD R operator()(R a, R b) const { return nearer(a, b) + slope * (b - a); }
};

/// Each rule: the new parameter from the old one and the gradient. It changes state[k] for the bits k of `kStates`.
/// `kDecay`: weight decay that is part of the gradient.
template <class R, bool kDecay, bool kMomentum>
struct Sgd {
  static constexpr int kStates = kMomentum ? 0b001 : 0b000;
  R decay, momentum, share, rate;
  Choice<R> first, nesterov;

  WQ_HD Sgd(const Settings& s, const Corrections& c)
      : decay(static_cast<R>(s.weight_decay)), momentum(static_cast<R>(s.momentum)),
        share(static_cast<R>(1.0 - s.dampening)), rate(static_cast<R>(c.step_size)), first(c.first),
        nesterov(s.nesterov) {}

  WQ_HD R operator()(R p, R g, R* state) const {
    if constexpr (kDecay) g = g + decay * p;
    if constexpr (kMomentum) {
      state[0] = first(g, state[0] * momentum + share * g);
      g = nesterov(g + momentum * state[0], state[0]);
    }
    return p + rate * g;
  }
};

/// exp_avg, exp_avg_sq, max_exp_avg_sq.
template <class R, bool kDecay, bool kMaximum>
struct Adam {
  static constexpr int kStates = kMaximum ? 0b111 : 0b011;
  Lerp<R> mean;
  R decay, shrink, beta2, share, by_root_correction, eps, rate;

  WQ_HD Adam(const Settings& s, const Corrections& c)
      : mean(1.0 - s.beta1), decay(static_cast<R>(s.weight_decay)),
        shrink(static_cast<R>(s.decoupled ? 1.0 - s.lr * s.weight_decay : 1.0)), beta2(static_cast<R>(s.beta2)),
        share(static_cast<R>(1.0 - s.beta2)), by_root_correction(static_cast<R>(c.by_root_correction)),
        eps(static_cast<R>(s.eps)), rate(static_cast<R>(c.step_size)) {}

  WQ_HD R operator()(R p, R g, R* state) const {
    p = p * shrink;
    if constexpr (kDecay) g = g + decay * p;
    state[0] = mean(state[0], g);
    R square = state[1] * beta2 + share * g * g;
    state[1] = square;
    if constexpr (kMaximum) {
      state[2] = square = select(either(gt(state[2], square), is_nan(state[2])), state[2], square);
    }
    return p + rate * state[0] / (sqrt(square) * by_root_correction + eps);
  }
};

/// square_avg, momentum_buffer, grad_avg.
template <class R, bool kDecay, bool kMomentum, bool kCentered>
struct RmsProp {
  static constexpr int kStates = 0b001 | (kMomentum ? 0b010 : 0) | (kCentered ? 0b100 : 0);
  Lerp<R> mean;
  R decay, alpha, share, eps, momentum, rate;

  WQ_HD RmsProp(const Settings& s, const Corrections& c)
      : mean(1.0 - s.alpha), decay(static_cast<R>(s.weight_decay)), alpha(static_cast<R>(s.alpha)),
        share(static_cast<R>(1.0 - s.alpha)), eps(static_cast<R>(s.eps)), momentum(static_cast<R>(s.momentum)),
        rate(static_cast<R>(c.step_size)) {}

  WQ_HD R operator()(R p, R g, R* state) const {
    if constexpr (kDecay) g = g + decay * p;
    R square = state[0] = state[0] * alpha + share * g * g;
    if constexpr (kCentered) {
      const R average = state[2] = mean(state[2], g);
      square = square - average * average;
      // A variance that rounding has left below 0, of which PyTorch makes NaN.
      square = select(lt(square, R(0)), R(0), square);
    }
    const R root = sqrt(square) + eps;
    if constexpr (!kMomentum) return p + rate * g / root;
    state[1] = state[1] * momentum + g / root;
    return p + rate * state[1];
  }
};

/// Call f(rule) with the rule that the settings ask for.
template <class R, class F>
WQ_HD void with_rule(const Settings& s, const Corrections& c, F f) {
  const bool decay = s.weight_decay != 0.0 && !s.decoupled;
  switch (s.kind) {
  case Kind::sgd:
    if (s.momentum != 0.0) return decay ? f(Sgd<R, true, true>(s, c)) : f(Sgd<R, false, true>(s, c));
    return decay ? f(Sgd<R, true, false>(s, c)) : f(Sgd<R, false, false>(s, c));
  case Kind::adam:
    if (s.amsgrad) return decay ? f(Adam<R, true, true>(s, c)) : f(Adam<R, false, true>(s, c));
    return decay ? f(Adam<R, true, false>(s, c)) : f(Adam<R, false, false>(s, c));
  case Kind::rmsprop:
    // A product with 0 is 0, but of a parameter that is not finite.
    if (s.centered)
      return s.momentum > 0.0
                 ? (decay ? f(RmsProp<R, true, true, true>(s, c)) : f(RmsProp<R, false, true, true>(s, c)))
                 : (decay ? f(RmsProp<R, true, false, true>(s, c)) : f(RmsProp<R, false, false, true>(s, c)));
    return s.momentum > 0.0
               ? (decay ? f(RmsProp<R, true, true, false>(s, c)) : f(RmsProp<R, false, true, false>(s, c)))
               : (decay ? f(RmsProp<R, true, false, false>(s, c)) : f(RmsProp<R, false, false, false>(s, c)));
  }
}

}  // namespace wq::optim::inline WQ_LEVEL
