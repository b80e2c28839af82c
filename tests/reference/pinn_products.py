# SPDX-License-Identifier: Apache-2.0
"""Slow prices of the products that networks are trained for, each by another method than the package's."""

from __future__ import annotations

import math

import numpy as np
from scipy import integrate, stats


def black_call(forward, v):
    """Undiscounted call on a lognormal forward, strike 1."""
    d = math.log(forward) / math.sqrt(v) + 0.5 * math.sqrt(v)
    return forward * stats.norm.cdf(d) - stats.norm.cdf(d - math.sqrt(v))


def merton(k, v, a, m, s, terms=60):
    """Merton's series, term by term."""
    growth = math.exp(m + 0.5 * s * s)
    total = 0.0
    for n in range(terms):
        weight = math.exp(-a) * a**n / math.factorial(n)
        total += weight * black_call(math.exp(k - (growth - 1.0) * a) * growth**n, v + n * s * s)
    return total


def barrier(y, v, mu, b, steps=4000, nodes=4001):
    """Down-and-out call over the strike, undiscounted: Crank-Nicolson after a few implicit steps, in y = ln(S / B)."""
    top = 6.0 * math.sqrt(v) + y - b + abs(mu) * v + 0.5
    grid = np.linspace(0.0, top, nodes)
    h, dt = grid[1], v / steps
    u = np.maximum(np.exp(grid + b) - 1.0, 0.0)
    lower, main, upper = 0.5 / h**2 - (mu - 0.5) / (2 * h), -1.0 / h**2, 0.5 / h**2 + (mu - 0.5) / (2 * h)
    from scipy.linalg import solve_banded

    def step(u, size, theta, at):
        inner = u[1:-1] + size * (1 - theta) * (lower * u[:-2] + main * u[1:-1] + upper * u[2:])
        high = math.exp(grid[-1] + b + mu * at) - 1.0
        inner[-1] += theta * size * upper * high
        bands = np.zeros((3, nodes - 2))
        bands[0, 1:], bands[1], bands[2, :-1] = -theta * size * upper, 1 - theta * size * main, -theta * size * lower
        return np.concatenate([[0.0], solve_banded((1, 1), bands, inner), [high]])

    at = 0.0
    for size, theta, count in ((dt / 4, 1.0, 8), (dt, 0.5, steps - 2)):
        for _ in range(count):
            at += size
            u = step(u, size, theta, at)
    from scipy.interpolate import CubicSpline

    return float(CubicSpline(grid, u)(y))


def exchange(x, y, v, w, rho):
    """Expected payoff of two lognormals: the inner integral in closed form, the outer one by quadrature."""
    sd = math.sqrt(v)

    def given(z):
        first = math.exp(x - 0.5 * v + sd * z)
        second, rest = math.exp(y - 0.5 * w * rho**2 + math.sqrt(w) * rho * z), w * (1.0 - rho**2)
        d = (math.log(first / second) + 0.5 * rest) / math.sqrt(rest)
        return (first * stats.norm.cdf(d) - second * stats.norm.cdf(d - math.sqrt(rest))) * stats.norm.pdf(z)

    return integrate.quad(given, -12, 12, epsabs=1e-12, epsrel=1e-12, limit=400)[0]


def heston(k, v, t, theta, xi, rho):
    """Call over the strike, undiscounted, kappa 1: Heston's integral in the form without jumps of the logarithm."""

    def characteristic(u):
        d = np.sqrt((1.0 - 1j * rho * xi * u) ** 2 + xi**2 * (u * u + 1j * u))
        low = 1.0 - 1j * rho * xi * u - d
        g = low / (1.0 - 1j * rho * xi * u + d)
        e = np.exp(-d * t)
        of_v = low / xi**2 * (1.0 - e) / (1.0 - g * e)
        return np.exp(theta / xi**2 * (low * t - 2.0 * np.log((1.0 - g * e) / (1.0 - g))) + of_v * v)

    def integrand(u):
        return (np.exp(1j * u * k) * characteristic(u - 0.5j)).real / (u * u + 0.25)

    area = integrate.quad(integrand, 0.0, 400.0, limit=2000, epsabs=1e-12, epsrel=1e-12)[0]
    return math.exp(k) - math.exp(0.5 * k) * area / math.pi


def american_put(x, v, alpha, beta, steps=4000):
    """Over the strike: binomial trees (Leisen and Reimer) of two sizes, extrapolated."""

    def tree(n):
        dt = v / n
        d1, d2 = ((x + (alpha - beta + s * 0.5) * v) / math.sqrt(v) for s in (1.0, -1.0))

        def p(z):  # Peizer and Pratt
            return 0.5 + math.copysign(
                0.5 * math.sqrt(1.0 - math.exp(-((z / (n + 1.0 / 3.0 + 0.1 / (n + 1))) ** 2) * (n + 1.0 / 6.0))), z
            )

        q, q1 = p(d2), p(d1)
        grow = math.exp((alpha - beta) * dt)
        up, down = grow * q1 / q, grow * (1 - q1) / (1 - q)
        keep = math.exp(-alpha * dt)
        spots = math.exp(x) * up ** np.arange(n + 1.0) * down ** (n - np.arange(n + 1.0))
        u = np.maximum(1.0 - spots, 0.0)
        for _ in range(n):
            spots = spots[:-1] / down
            u = np.maximum(keep * (q * u[1:] + (1 - q) * u[:-1]), 1.0 - spots)
        return u[0]

    coarse, fine = tree(steps // 2 + 1), tree(steps + 1)
    return 2.0 * fine - coarse
