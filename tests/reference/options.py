# SPDX-License-Identifier: Apache-2.0
"""European options with 50 digits: the price from its definition, closed forms of the Greeks, and how they depend on
the last places of the arguments."""

from __future__ import annotations

import mpmath as mp
import numpy as np

ARGUMENTS = ("spot", "strike", "expiry", "rate", "dividend", "vol")
OUTPUTS = (
    "price", "delta", "vega", "theta", "rho", "epsilon", "lambda_", "dual_delta", "gamma", "dual_gamma", "vanna",
    "volga", "vera", "charm", "veta", "speed", "zomma", "color", "ultima",
)  # fmt: skip
#: What each is a derivative of the price by, and its sign: by calendar time, which runs against the expiry.
DERIVATIVES = {
    "price": ("", 1), "delta": ("s", 1), "vega": ("v", 1), "theta": ("t", -1), "rho": ("r", 1), "epsilon": ("q", 1),
    "dual_delta": ("k", 1), "gamma": ("ss", 1), "dual_gamma": ("kk", 1), "vanna": ("sv", 1), "volga": ("vv", 1),
    "vera": ("rv", 1), "charm": ("st", -1), "veta": ("vt", -1), "speed": ("sss", 1), "zomma": ("ssv", 1),
    "color": ("sst", -1), "ultima": ("vvv", 1),
}  # fmt: skip
DIGITS = 50


def _normal(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def price(model, sign, s, k, t, r, q, v):
    """Expected payoff, discounted. Of the models of a forward, `s` is that, and `q` is not looked at."""
    root = v * mp.sqrt(t)
    if model == "bachelier":
        d = (s - k) / root
        return mp.exp(-r * t) * (sign * (s - k) * _normal(sign * d) + root * _density(d))
    if model == "black76":
        q = r
    d1 = (mp.log(s / k) + (r - q) * t) / root + root / 2
    return sign * (s * mp.exp(-q * t) * _normal(sign * d1) - k * mp.exp(-r * t) * _normal(sign * (d1 - root)))


def derivative(output, model, sign, *arguments):
    """A Greek as the derivative that it is, by differences with many digits."""
    by, factor = DERIVATIVES[output]
    order = [by.count(letter) for letter in "sktrqv"]
    with mp.workdps(DIGITS + 20):
        return factor * mp.diff(lambda *x: price(model, sign, *x), tuple(map(mp.mpf, arguments)), tuple(order))


def greeks(model, sign, s, k, t, r, q, v):
    """All outputs in closed form."""
    forward = model != "bsm"
    if forward:
        q = r
    b, root = r - q, mp.sqrt(t)
    total = v * root
    discount, carry = mp.exp(-r * t), mp.exp(-q * t)
    value = price(model, sign, s, k, t, r, q, v)
    nan = mp.nan
    if model == "bachelier":
        d = (s - k) / total
        phi, cdf = _density(d), _normal(sign * d)
        delta, vega, gamma = sign * discount * cdf, discount * root * phi, discount * phi / total
        return {
            "price": value, "delta": delta, "vega": vega, "theta": r * value - discount * v * phi / (2 * root),
            "rho": -t * value, "epsilon": nan, "lambda_": s * delta / value, "dual_delta": -delta, "gamma": gamma,
            "dual_gamma": gamma, "vanna": -discount * phi * d / v, "volga": vega * d**2 / v, "vera": -t * vega,
            "charm": r * delta + discount * phi * d / (2 * t), "veta": vega * (r - (1 + d**2) / (2 * t)),
            "speed": -gamma * d / total, "zomma": gamma * (d**2 - 1) / v, "color": gamma * (r + (1 - d**2) / (2 * t)),
            "ultima": vega * d**2 * (d**2 - 3) / v**2,
        }  # fmt: skip
    d1 = (mp.log(s / k) + b * t) / total + total / 2
    d2 = d1 - total
    phi, n1, n2 = _density(d1), _normal(sign * d1), _normal(sign * d2)
    vega, gamma = s * carry * phi * root, carry * phi / (s * total)
    delta = sign * carry * n1
    return {
        "price": value,
        "delta": delta,
        "vega": vega,
        "theta": -s * carry * phi * v / (2 * root) + sign * (q * s * carry * n1 - r * k * discount * n2),
        "rho": -t * value if forward else sign * k * t * discount * n2,
        "epsilon": nan if forward else -sign * s * t * carry * n1,
        "lambda_": s * delta / value,
        "dual_delta": -sign * discount * n2,
        "gamma": gamma,
        "dual_gamma": discount * _density(d2) / (k * total),
        "vanna": -carry * phi * d2 / v,
        "volga": vega * d1 * d2 / v,
        "vera": -t * vega if forward else -k * t * discount * _density(d2) * d1 / v,
        "charm": sign * q * carry * n1 - carry * phi * (b / total - d2 / (2 * t)),
        "veta": vega * (q + b * d1 / total - (1 + d1 * d2) / (2 * t)),
        "speed": -gamma / s * (d1 / total + 1),
        "zomma": gamma * (d1 * d2 - 1) / v,
        "color": gamma * (q + b * d1 / total + (1 - d1 * d2) / (2 * t)),
        "ultima": -vega / v**2 * (d1 * d2 * (1 - d1 * d2) + d1**2 + d2**2),
    }


def with_conditions(model, sign, *arguments):
    """(values, conditions): how much an ulp in each argument does to a value, in ulps of it, added up."""
    with mp.workdps(DIGITS):
        x = [mp.mpf(a) for a in arguments]
        values = greeks(model, sign, *x)
        conditions = dict.fromkeys(values, mp.mpf(0))
        for i, at in enumerate(x):
            step = (abs(at) or mp.mpf(1)) * mp.mpf(10) ** (-DIGITS // 3)
            above = greeks(model, sign, *x[:i], at + step, *x[i + 1 :])
            below = greeks(model, sign, *x[:i], at - step, *x[i + 1 :])
            for name, value in values.items():
                if value != 0 and not mp.isnan(value):
                    conditions[name] += abs(at * (above[name] - below[name]) / (2 * step) / value)
        return values, conditions


def points(count, model="bsm", seed=0):
    """Options as they are traded, and some that are not: up to eight standard deviations from the forward."""
    rng = np.random.default_rng(seed)
    spot = np.exp(rng.uniform(-3, 7, count))
    vol = np.exp(rng.uniform(-4, 1, count))
    expiry = np.exp(rng.uniform(-6, 3, count))
    distance = rng.normal(0, 1, count) * np.where(rng.random(count) < 0.3, 8, 1.5)
    strike = spot * np.exp(np.clip(distance * vol * np.sqrt(expiry), -8, 8))
    rate, dividend = rng.uniform(-0.05, 0.15, (2, count))
    if model == "bachelier":
        vol = vol * spot
    return spot, strike, expiry, rate, dividend, vol, rng.integers(0, 2, count).astype(np.int8)
