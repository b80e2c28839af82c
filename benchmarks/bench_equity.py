# SPDX-License-Identifier: Apache-2.0
"""Equity curves: one long series, and a panel, against a textbook loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant import bench, equity

try:
    import numba
except ImportError:
    numba = None


def loop(prices: Any, signal: Any, decay: float, floor: float, out: Any) -> None:
    """The definition of docs/equity.md, bar by bar."""
    for i in range(prices.shape[0]):
        value = 1.0
        out[i, 0] = value
        for t in range(1, prices.shape[1]):
            exposure = (prices[i, t] - prices[i, t - 1]) / prices[i, t - 1] * signal[i, t - 1]
            value = max(value * (1.0 - decay) * (1.0 + exposure), floor)
            out[i, t] = value


def main() -> None:
    run = Benchmark("equity", __doc__)
    sizes = ((1, 2000), (3, 1000)) if run.smoke else ((1, 1_000_000), (1000, 2000))
    print(f"{'':28}{'copy':>7}{'ours':>8}   peer, ns per point")
    for series, bars in sizes:
        x = bench.prices(series, bars)
        signal = np.sign(bench.prices(series, bars, seed=1) - 100.0)
        out, theirs = equity.curve(prices=x, signal=signal), np.empty_like(x)
        compiled = numba and numba.njit(nogil=True)(loop)
        for threads in (1, 2):
            cases = {
                "warpquant": lambda: equity.curve(
                    prices=x, signal=signal, starting=1.0, decay_per_bar=3e-4, growth_per_bar=0.0, out=out,
                    num_threads=threads,
                ),
            }  # fmt: skip
            if compiled and threads == 1:
                cases["numba"] = lambda: compiled(x, signal, 3e-4, 0.25, theirs)
                cases["warpquant"](), cases["numba"]()
                np.testing.assert_allclose(out, theirs, rtol=1e-9)
            ns = run.measure(x.size, cases, case="curve", series=series, bars=bars, threads=threads)
            line = f"{series:7,} x {bars:9,}, {threads} thread(s){ns['copy']:6.2f}{ns['warpquant']:8.2f}"
            print(line + compared(ns), flush=True)
    run.finish()


if __name__ == "__main__":
    main()
