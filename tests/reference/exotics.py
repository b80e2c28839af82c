# SPDX-License-Identifier: Apache-2.0
"""Slow, plain references of exotic options: published tables, finite differences, sums and integrals."""

from __future__ import annotations

import csv

import mpmath as mp
import numpy as np


def table(shared, name):
    """Rows of a published table, numbers as such."""
    with open(shared / "data/oracles" / f"{name}.csv", newline="") as file:
        return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text


def slope(function, arguments, place, step):
    """Derivative in the argument of a place, or of several that move together, by central differences of order 4."""
    places = place if isinstance(place, tuple) else (place,)

    def at(multiple):
        moved = list(arguments)
        for p in places:
            moved[p] = moved[p] + multiple * step
        return np.asarray(function(*moved))

    return (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step)


def heston_exact(spot, strike, expiry, rate, dividend, v0, kappa, theta, xi, rho, digits=40):
    """A call by one integral with many digits, on a straight line from 1/2, bent to where it oscillates least."""
    with mp.workdps(digits):
        s0, k0, t, r, q, v0, kappa, theta, xi, rho = (
            mp.mpf(float(x)) for x in (spot, strike, expiry, rate, dividend, v0, kappa, theta, xi, rho)
        )
        k = mp.log(k0 / s0) - (r - q) * t
        decay = (v0 + kappa * theta * t) / xi
        bend = mp.atan2(-k - rho * decay, decay * mp.sqrt(1 - rho * rho))
        direction = 1j * mp.exp(1j * max(min(bend, mp.mpf("0.7")), mp.mpf("-0.7")))

        def integrand(u):
            s = mp.mpf(1) / 2 + direction * u
            b = kappa - rho * xi * s
            d = mp.sqrt(b * b + xi * xi * (s - s * s))
            g, e = (b - d) / (b + d), mp.exp(-d * t)
            log = kappa * theta / xi**2 * ((b - d) * t - 2 * mp.log((1 - g * e) / (1 - g)))
            log += v0 * (b - d) / xi**2 * (1 - e) / (1 - g * e)
            return (mp.exp(log - (s - 1) * k) / (s * (s - 1)) * direction / 1j).real

        # Panels that grow, until nothing is left.
        total, width, start = mp.mpf(0), mp.mpf(2), mp.mpf(0)
        while True:
            part = mp.quad(integrand, [start, start + width])
            total += part
            start, width = start + width, width * mp.mpf("1.6")
            if abs(part) < mp.mpf(10) ** -18 and start > 50:
                break
        return float(s0 * mp.exp(-q * t) * (1 + total / mp.pi))


def paths(spot, expiry, rate, dividend, vol, steps, count, seed=0):
    """Prices at `steps` equal intervals of so many paths and of their mirror images, (2 count, steps)."""
    z = np.random.default_rng(seed).standard_normal((count, steps))
    z = np.concatenate([z, -z])
    dt = expiry / steps
    return spot * np.exp(np.cumsum((rate - dividend - 0.5 * vol * vol) * dt + vol * np.sqrt(dt) * z, axis=1))
