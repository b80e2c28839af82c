# SPDX-License-Identifier: Apache-2.0
"""Slow, plain references of exotic options: published tables, finite differences, sums and integrals."""

from __future__ import annotations

import csv

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


def heston_call(spot, strike, expiry, rate, dividend, v0, kappa, theta, xi, rho, nodes=200_000, end=2_000.0):
    """Lewis (2001): one integral along Im u = -1/2, by the trapezoidal rule with very many nodes."""
    u = np.linspace(0.0, end, nodes)
    forward = spot * np.exp((rate - dividend) * expiry)
    z = u - 0.5j
    b = kappa - rho * xi * 1j * z
    d = np.sqrt(b * b + xi * xi * (1j * z + z * z))
    g = (b - d) / (b + d)
    decay = np.exp(-d * expiry)
    constant = kappa * theta / xi**2 * ((b - d) * expiry - 2.0 * np.log((1.0 - g * decay) / (1.0 - g)))
    exponent = constant + v0 * (b - d) / xi**2 * (1.0 - decay) / (1.0 - g * decay)
    y = (np.exp(exponent + 1j * u * np.log(forward / strike)) / (u * u + 0.25)).real
    integral = (y.sum() - 0.5 * (y[0] + y[-1])) * (u[1] - u[0])
    return np.exp(-rate * expiry) * (forward - np.sqrt(forward * strike) / np.pi * integral)


def paths(spot, expiry, rate, dividend, vol, steps, count, seed=0):
    """Prices at `steps` equal intervals of so many paths and of their mirror images, (2 count, steps)."""
    z = np.random.default_rng(seed).standard_normal((count, steps))
    z = np.concatenate([z, -z])
    dt = expiry / steps
    return spot * np.exp(np.cumsum((rate - dividend - 0.5 * vol * vol) * dt + vol * np.sqrt(dt) * z, axis=1))
