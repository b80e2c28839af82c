# SPDX-License-Identifier: Apache-2.0
"""Scenario grids: 10,000 positions repriced at 41 x 21 nodes, beside NumPy with SciPy and loops of numba."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant.options import Portfolio

try:
    from scipy.special import ndtr
except ImportError:
    ndtr = None
try:
    import numba
except ImportError:
    numba = None


def positions(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    spot = rng.uniform(50.0, 150.0, count)
    return {
        "kind": rng.choice(["call", "put"], count).tolist(), "spot": spot,
        "strike": spot * np.exp(rng.normal(0.0, 0.2, count)), "expiry": rng.uniform(0.02, 2.0, count),
        "rate": rng.uniform(0.0, 0.05, count), "dividend": rng.uniform(0.0, 0.03, count),
        "vol": rng.uniform(0.1, 0.8, count), "quantity": rng.integers(-50, 51, count).astype(float),
    }  # fmt: skip


def with_numpy(p: dict[str, Any], sign: Any, spots: Any, vols: Any) -> Any:
    """What a careful user writes: what does not change over the grid is computed once, a volatility at a time."""
    carry, discount = np.exp(-p["dividend"] * p["expiry"])[:, None], np.exp(-p["rate"] * p["expiry"])[:, None]
    drift = ((p["rate"] - p["dividend"]) * p["expiry"])[:, None]
    spot_now = p["spot"][:, None] * (1.0 + spots) * carry
    log = np.log(p["spot"] / p["strike"])[:, None] + np.log1p(spots) + drift
    strike_now, e = p["strike"][:, None] * discount, sign[:, None]
    sums = np.empty((len(vols), len(spots)))
    for k, move in enumerate(vols):
        v = (np.maximum(p["vol"] + move, 1e-300) * np.sqrt(p["expiry"]))[:, None]
        d1 = log / v + 0.5 * v
        sums[k] = (p["quantity"] * sign) @ (spot_now * ndtr(e * d1) - strike_now * ndtr(e * (d1 - v)))
    return sums


def numba_loop() -> Any:
    """The same as a loop over positions, in parallel over volatilities."""

    @numba.njit(parallel=True)
    def loop(spot, strike, expiry, rate, dividend, vol, quantity, sign, spots, vols, out):  # type: ignore[no-untyped-def]
        for k in numba.prange(len(vols)):
            for s in range(len(spots)):
                out[k, s] = 0.0
            for i in range(len(spot)):
                carry, discount = math.exp(-dividend[i] * expiry[i]), math.exp(-rate[i] * expiry[i])
                v = max(vol[i] + vols[k], 1e-300) * math.sqrt(expiry[i])
                log = math.log(spot[i] / strike[i]) + (rate[i] - dividend[i]) * expiry[i]
                e = sign[i]
                for s in range(len(spots)):
                    d1 = (log + math.log1p(spots[s])) / v + 0.5 * v
                    n1 = 0.5 * math.erfc(-e * d1 * 0.7071067811865476)
                    n2 = 0.5 * math.erfc(-e * (d1 - v) * 0.7071067811865476)
                    value = spot[i] * (1.0 + spots[s]) * carry * n1 - strike[i] * discount * n2
                    out[k, s] += quantity[i] * e * value

    return loop


def main() -> None:
    run = Benchmark("options_scenario", __doc__)
    count, n_spots, n_vols = (50, 5, 3) if run.smoke else (10_000, 41, 21)
    p = positions(count)
    book = Portfolio.from_frame(p)
    sign = np.where(book.kind > 0, 1.0, -1.0)
    spots, vols = np.linspace(-0.2, 0.2, n_spots), np.linspace(-0.08, 0.08, n_vols)
    nodes = count * n_spots * n_vols
    ours = book.scenarios(spots, vols, outputs="value")["value"][0]
    scale = float(np.abs(p["quantity"] * p["spot"]).sum())
    print(f"{count:,} positions x {n_spots} x {n_vols}; ns per position and node")
    for threads in (1, 2):
        cases = {
            "warpquant": lambda: book.scenarios(spots, vols, num_threads=threads),
            "warpquant, with delta, gamma, vega": lambda: book.scenarios(
                spots, vols, outputs=("value", "delta", "gamma", "vega"), num_threads=threads
            ),
        }
        if ndtr is not None:
            np.testing.assert_allclose(with_numpy(p, sign, spots, vols), ours, rtol=0, atol=1e-13 * scale)
            cases["NumPy and SciPy"] = lambda: with_numpy(p, sign, spots, vols)
        if numba is not None and not run.smoke:
            numba.set_num_threads(threads)
            loop, out = numba_loop(), np.empty((n_vols, n_spots))
            names = ("spot", "strike", "expiry", "rate", "dividend", "vol", "quantity")
            arguments = [np.asarray(p[name]) for name in names]
            loop(*arguments, sign, spots, vols, out)
            np.testing.assert_allclose(out, ours, rtol=0, atol=1e-13 * scale)
            cases["numba"] = lambda: loop(*arguments, sign, spots, vols, out)
        ns = run.measure(nodes, cases, case="scenarios", positions=count, nodes=n_spots * n_vols, threads=threads)
        median = run.rows[-1]["median_ns"]
        print(f"{threads} thread(s): {ns['warpquant']:6.2f}{compared(ns)}")
        for name, value in ns.items():
            if name != "copy":
                print(
                    f"  {name:40}{value:8.2f} min {median[name]:8.2f} median  {value * nodes / 1e6:8.1f} ms  "
                    f"{value / ns['warpquant']:6.1f} times ours", flush=True,
                )  # fmt: skip
    run.finish()


if __name__ == "__main__":
    main()
