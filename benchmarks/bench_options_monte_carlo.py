# SPDX-License-Identifier: Apache-2.0
"""Arithmetic Asian options by Monte Carlo against NumPy: as many paths and dates, the same control variate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import options
from warpquant.options import random

SPOT, STRIKE, EXPIRY, RATE, DIVIDEND, VOL = 100.0, 100.0, 1.0, 0.05, 0.01, 0.2


def geometric(dates: int) -> float:
    """What the control is expected to be."""
    times = np.arange(1, dates + 1) / dates
    mean = math.log(SPOT) + (RATE - DIVIDEND - VOL * VOL / 2) * EXPIRY * times.mean()
    variance = VOL * VOL * EXPIRY * np.minimum.outer(times, times).mean()
    d2 = (mean - math.log(STRIKE)) / math.sqrt(variance)
    cdf = [0.5 * math.erfc(-d / math.sqrt(2)) for d in (d2 + math.sqrt(variance), d2)]
    return math.exp(-RATE * EXPIRY) * (math.exp(mean + variance / 2) * cdf[0] - STRIKE * cdf[1])


def plain_numpy(paths: int, dates: int, expected: float, rng: np.random.Generator) -> tuple[float, float]:
    """What is usually written: the formulas, on whole arrays."""
    step = EXPIRY / dates
    z = rng.standard_normal((paths, dates))
    prices = SPOT * np.exp(np.cumsum((RATE - DIVIDEND - 0.5 * VOL**2) * step + VOL * np.sqrt(step) * z, axis=1))
    discount = math.exp(-RATE * EXPIRY)
    y = discount * np.maximum(prices.mean(axis=1) - STRIKE, 0.0)
    c = discount * np.maximum(np.exp(np.log(prices).mean(axis=1)) - STRIKE, 0.0)
    cov = np.cov(y, c)
    rest = y - cov[0, 1] / cov[1, 1] * (c - expected)
    return float(rest.mean()), float(rest.std(ddof=1) / math.sqrt(paths))


def with_numpy(
    paths: int, dates: int, expected: float, rng: np.random.Generator, batch: int = 1024
) -> tuple[float, float]:
    """What a careful user writes: batches that stay in the cache, in place, and the regression on the control."""
    step = EXPIRY / dates
    drift, vol = (RATE - DIVIDEND - VOL * VOL / 2) * step, VOL * math.sqrt(step)
    z = np.empty((batch, dates))
    y, c = np.empty(paths), np.empty(paths)
    for first in range(0, paths, batch):
        some = z[: min(batch, paths - first)]
        rng.standard_normal(out=some)
        some *= vol
        some += drift
        np.cumsum(some, axis=1, out=some)
        c[first : first + len(some)] = some.mean(axis=1)
        np.exp(some, out=some)
        y[first : first + len(some)] = some.mean(axis=1)
    discount = math.exp(-RATE * EXPIRY)
    y = discount * np.maximum(SPOT * y - STRIKE, 0.0)
    c = discount * np.maximum(SPOT * np.exp(c) - STRIKE, 0.0)
    cov = np.cov(y, c)
    rest = y - cov[0, 1] / cov[1, 1] * (c - expected)
    return float(rest.mean()), float(rest.std(ddof=1) / math.sqrt(paths))


def main() -> None:
    run = Benchmark("options_monte_carlo", __doc__ or "")
    paths, dates = (512, 6) if run.smoke else (1 << 12, 252)
    expected = geometric(dates)
    arguments = (SPOT, STRIKE, EXPIRY, RATE, DIVIDEND, VOL, True)
    rng = np.random.default_rng(1)
    many = np.linspace(80.0, 120.0, 10)

    def ours(threads: int, **more: Any) -> Any:
        return options.asian_mc(*arguments, fixings=dates, paths=paths, num_threads=threads, **more)

    theirs, made = with_numpy(paths, dates, expected, rng), ours(1)
    assert abs(theirs[0] - made["price"]) < 5 * math.hypot(theirs[1], made["price_error"])
    print(f"{paths:,} paths x {dates} dates: price {made['price']:.5f} +- {made['price_error']:.5f}, "
          f"NumPy {theirs[0]:.5f} +- {theirs[1]:.5f}")  # fmt: skip
    print(f"{'as fast as NumPy with whole arrays':44}{'ns per path and date':>22}{'times as fast':>14}")
    for threads in (1, 2):
        cases = {
            "warpquant": lambda: ours(threads),
            "warpquant, all Greeks": lambda: ours(threads, outputs="all"),
            "warpquant, Sobol points and bridge": lambda: ours(threads, sampling="sobol"),
            "warpquant, ten strikes": lambda: options.asian_mc(
                SPOT, many, *arguments[2:], fixings=dates, paths=paths, num_threads=threads
            ),
            "warpquant, normals alone": lambda: random.normals(paths, dates, num_threads=threads),
            "NumPy, whole arrays": lambda: plain_numpy(paths, dates, expected, rng),
            "NumPy, in place, in batches": lambda: with_numpy(paths, dates, expected, rng),
            "NumPy, standard_normal alone": lambda: rng.standard_normal((paths, dates)),
        }
        ns = run.measure(paths * dates, cases, case="asian", paths=paths, dates=dates, threads=threads)
        for name, value in ns.items():
            ratio = ns["NumPy, whole arrays"] / value
            head = f"{name}, {threads} thread(s)" if name.startswith("warpquant") else name
            print(f"  {head:42}{value:22.3f}{ratio:14.1f}", flush=True)
    run.finish()


if __name__ == "__main__":
    main()
