# SPDX-License-Identifier: Apache-2.0
"""Sweeps: a grid against a loop of single runs, tens of thousands of backtests, and what a walk-forward costs."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import atc, backtest, bench
from warpquant.evaluate import walk_forward
from warpquant.sweep import Grid, sweep

Cases = Mapping[str, Callable[[], Any]]

FEW = ("sharpe", "total_return", "max_drawdown", "trades")

#: Lengths, robustness, rates and thresholds, as somebody who optimises varies them.
GRID = Grid({
    "length": (14, 20, 28, 36, 50), "robustness": ("Narrow", "Medium", "Wide"), "La": (0.01, 0.02, 0.05),
    "De": (0.02, 0.03, 0.1), "long_threshold": (0.05, 0.1, 0.2), "short_threshold": (-0.05, -0.1, -0.2),
})  # fmt: skip

#: 50,000 sets that share lengths, and 50,000 of which each has lengths that few others have.
SHARED = Grid({
    "length": range(16, 41), "La": np.arange(1, 11) / 200, "De": np.arange(10) / 50,
    "long_threshold": np.arange(1, 21) / 25,
})  # fmt: skip
LENGTHS = Grid({
    "ema_len": (14, 20, 28, 36, 50), "hull_len": (14, 20, 28, 36, 50), "wma_len": (14, 20, 28, 36, 50),
    "kama_len": (14, 20, 28, 36, 50), "La": (0.01, 0.02, 0.03, 0.05), "De": (0.01, 0.02, 0.03, 0.05),
    "long_threshold": (0.05, 0.1, 0.15, 0.2, 0.3),
})  # fmt: skip


def loop_of_signals(x: np.ndarray, sets: Sequence[atc.Params]) -> list[Any]:
    """A run for each set."""
    return [atc.run(x, params, last_only=True, num_threads=1)["average"] for params in sets]


def loop_of_backtests(x: np.ndarray, sets: Sequence[atc.Params]) -> list[Any]:
    """A run and a backtest for each set."""
    return [
        backtest.metrics(x, atc.run(x, params, num_threads=1)["average"], outputs=FEW, num_threads=1) for params in sets
    ]


def main() -> None:
    run = Benchmark("sweep", __doc__)

    def compare(case: str, shape: tuple[int, int], sets: int, threads: int, cases: Cases) -> None:
        points = shape[0] * shape[1] * sets
        ns = run.measure(points, cases, case=case, series=shape[0], bars=shape[1], sets=sets, threads=threads)
        row = run.rows[-1]
        print(f"  {case:34} {sets:6,} sets x {shape[0]:3} x {shape[1]:,}, {threads} thread(s)")
        for name in cases:
            low, mid = row["min_ns"][name], row["median_ns"][name]
            print(
                f"    {name:22} {low:7.2f} min {mid:7.2f} median ns a set-bar   {low * points / 1e9:.3f} s", flush=True
            )
        if len(cases) == 2:
            fast, slow = cases
            print(f"    {ns[slow] / ns[fast]:.1f} times by the fastest, "
                  f"{row['median_ns'][slow] / row['median_ns'][fast]:.1f} by the medians", flush=True)  # fmt: skip

    grid = Grid({"length": (14, 20), "La": (0.01, 0.02)}) if run.smoke else GRID
    sets = list(grid)
    print("a sweep against a loop of single runs")
    for shape in ((1, 5000), (20, 1000)):
        shape = (shape[0], 150) if run.smoke else shape
        x = bench.prices(*shape)
        x = x[0] if shape[0] == 1 else x
        compare("last average", shape, len(grid), 1, {
            "sweep": functools.partial(sweep, x, grid, metrics=(), outputs="average", num_threads=1),
            "a run for each": functools.partial(loop_of_signals, x, sets),
        })  # fmt: skip
        compare("four metrics", shape, len(grid), 1, {
            "sweep": functools.partial(sweep, x, grid, metrics=FEW, num_threads=1),
            "a run for each": functools.partial(loop_of_backtests, x, sets),
        })  # fmt: skip

    print("backtests of one series")
    x = bench.prices(1, 150 if run.smoke else 5000)[0]
    for name, many in (("lengths shared", SHARED), ("lengths varied", LENGTHS)):
        grid = Grid({"length": (14, 20), "La": (0.01, 0.02)}) if run.smoke else many
        for what, metrics in (("all metrics", "all"), ("four metrics", FEW)):
            call = functools.partial(sweep, x, grid, metrics=metrics, num_threads=2)
            compare(f"{name}, {what}", (1, len(x)), len(grid), 2, {"sweep": call})
            before = time.process_time()
            call()
            seconds = time.process_time() - before
            run.note(case=f"{name}, {what}", sets=len(grid), bars=len(x), threads=2, processor_s=seconds)
            print(f"    {seconds:.2f} s of both processors together", flush=True)

    print("walk-forward: all sets on all bars, and on each of the windows")
    x = bench.prices(1, 150 if run.smoke else 5000)[0]
    grid = Grid({"length": (14, 20)}) if run.smoke else Grid(dict(itertools.islice(GRID.axes.items(), 4)))
    windows = {"train": 50, "test": 50} if run.smoke else {"train": 2500, "test": 500}
    compare("walk-forward, 5 windows", (1, len(x)), len(grid), 2, {
        "walk_forward": functools.partial(walk_forward, x, grid, num_threads=2, **windows),
        "sweep": functools.partial(sweep, x, grid, metrics=("sharpe",), num_threads=2),
    })  # fmt: skip
    return run.finish()


if __name__ == "__main__":
    main()
