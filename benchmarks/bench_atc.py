# SPDX-License-Identifier: Apache-2.0
"""Adaptive trend classification: panels, one symbol, many sets of parameters, and the averages of the best peers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import peers
import warpquant
from common import Benchmark, best_peer
from warpquant import atc, bench

MODES = ("pine", "sovereign")
#: Average behind each family.
AVERAGES = {
    "pine": ("ema", "sma", "wma", "dema", "lsma", "kama"),
    "sovereign": ("ema", "hma", "wma", "dema", "lsma", "kama"),
}


FAMILIES = ("ema_len", "hull_len", "wma_len", "dema_len", "lsma_len", "kama_len")


def product(lengths: Sequence[int], robustness: Sequence[str], La: Sequence[float], De: Sequence[float],
            thresholds: Sequence[float]) -> list[atc.Params]:  # fmt: skip
    """All combinations, the length being that of every family."""
    return [
        atc.Params(**dict.fromkeys(FAMILIES, n), robustness=r, La=la, De=de, long_threshold=t, short_threshold=-t)
        for n, r, la, de, t in itertools.product(lengths, robustness, La, De, thresholds)
    ]


def at_random(count: int) -> list[atc.Params]:
    """Sets that share next to nothing: every length, rate and threshold drawn by itself."""
    rng = np.random.default_rng(0)
    return [
        atc.Params(**{f: int(rng.integers(10, 60)) for f in FAMILIES}, La=rng.uniform(0, 0.05), De=rng.uniform(0, 0.1),
                   long_threshold=rng.uniform(0.05, 0.3))
        for _ in range(count)
    ]  # fmt: skip


SPREADS = ("Narrow", "Medium", "Wide")
GRID = product((14, 20, 28, 36, 50), SPREADS, (0.01, 0.02, 0.05), (0.02, 0.03, 0.1), (0.05, 0.1, 0.2, 0.3))[:500]
SMALL = product((20, 28), SPREADS[::2], (0.01, 0.02), (0.03, 0.1), (0.05, 0.1, 0.3))
RATES = [atc.Params(La=0.0001 * i, De=0.03 + 0.0001 * i) for i in range(500)]
SWEEPS = (
    ("one series, grid", (1, 5000), GRID),
    ("one series, rates", (1, 5000), RATES),
    ("one series, random", (1, 5000), at_random(500)),
    ("panel, grid", (100, 2000), SMALL),
    ("panel, rates", (100, 2000), RATES[:50]),
    ("panel, random", (100, 2000), at_random(50)),
)


def each(x: np.ndarray, sets: Sequence[atc.Params]) -> list[dict[str, Any]]:
    """A call for each set."""
    return [atc.run(x, params, last_only=True, num_threads=1) for params in sets]


def main() -> None:
    run = Benchmark("atc", __doc__)
    panels = (
        ((3, 200),) if run.smoke else ((104, 2000), (1000, 1000), (104, 100), (104, 500), (104, 5000), (104, 20_000))
    )

    print("average only, ns per symbol-bar")
    for series, bars in panels:
        x = bench.prices(series, bars)
        for threads in (1, 2):
            cases = {
                f"warpquant, {mode}": functools.partial(atc.run, x, atc.Params(compat=mode), num_threads=threads)
                for mode in MODES
            }
            ns = run.measure(x.size, cases, case="average", series=series, bars=bars, threads=threads)
            figures = "".join(f"   {mode} {ns[f'warpquant, {mode}']:6.2f}" for mode in MODES)
            print(f"  {series:5,} x {bars:6,}, {threads} thread(s){figures}   copy {ns['copy']:.2f}", flush=True)

    print("one symbol, microseconds a call")
    bars = 200 if run.smoke else 1000
    x = bench.prices(1, bars)[0]
    for mode in MODES:
        cases = {
            "warpquant, run": functools.partial(atc.run, x, atc.Params(compat=mode)),
            "warpquant, compute_atc_signals": functools.partial(warpquant.compute_atc_signals, x, compat=mode),
        }
        ns = run.measure(x.size, cases, case=f"one symbol, {mode}", series=1, bars=bars, threads=1)
        print(f"  {mode:10} run {ns['warpquant, run'] * bars / 1e3:6.1f}   "
              f"compute_atc_signals {ns['warpquant, compute_atc_signals'] * bars / 1e3:6.1f}", flush=True)  # fmt: skip

    print("many sets of parameters in one call against a call for each, ns per symbol-bar and set; one thread")
    for case, shape, grid in SWEEPS:
        x = bench.prices(*((2, 90) if run.smoke else shape))
        x = x[0] if shape[0] == 1 else x
        sets = grid[:3] if run.smoke else grid
        cases = {
            "warpquant, one call": functools.partial(atc.run, x, sets, last_only=True, num_threads=1),
            "warpquant, a call for each": functools.partial(each, x, sets),
        }
        points = x.size * len(sets)
        ns = run.measure(points, cases, case=case, series=shape[0], bars=shape[1], sets=len(sets), threads=1)
        one, loop = ns["warpquant, one call"], ns["warpquant, a call for each"]
        print(f"  {case:24} {len(sets):4} sets   {one:6.2f}   {loop:6.2f}   {loop / one:.1f} times", flush=True)

    print("the 54 averages alone, by the best peer of each family, against all of ATC; one thread")
    series, bars = panels[0]
    x = bench.prices(series, bars)
    for mode in MODES:
        total = 0.0
        for kind in AVERAGES[mode]:
            calls = {p.name: p.panel(kind, x, 28, 1) for p in peers.available()}
            cases = {name: call for name, call in calls.items() if call is not None}
            if not cases:
                return run.finish()
            best = best_peer(run.measure(x.size, cases, case=f"peers, {kind}", series=series, bars=bars, threads=1))
            total += 9 * (best[1] if best else np.nan)
        fused = functools.partial(atc.run, x, atc.Params(compat=mode), num_threads=1)
        ns = run.measure(x.size, {"warpquant": fused}, case=f"fused, {mode}", series=series, bars=bars, threads=1)
        run.note(case=f"54 averages, {mode}", peers_ns=total, warpquant_ns=ns["warpquant"])
        print(f"  {mode:10} averages {total:7.1f}   ATC {ns['warpquant']:6.2f}   {total / ns['warpquant']:.1f} times")
    return run.finish()


if __name__ == "__main__":
    main()
