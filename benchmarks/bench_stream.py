# SPDX-License-Identifier: Apache-2.0
"""ATC bar by bar: one new bar of many symbols, beside computing their last bars again and a copy of the state."""

from __future__ import annotations

import numpy as np

from common import Benchmark
from warpquant import atc, bench


def main() -> None:
    run = Benchmark("stream", __doc__)
    history = 200
    print(f"{'':44}{'min':>8}{'median':>9}   floor: the state copied once")
    for symbols in (1, 8) if run.smoke else (1, 100, 10_000):
        prices = bench.prices(symbols, history)
        bars = [np.ascontiguousarray(bar) for bar in prices.T[-7:]]
        for compat in ("sovereign", "pine"):
            for threads in (1, 2):
                stream = atc.Stream({"compat": compat}, symbols, num_threads=threads)
                stream.update_many(prices)
                state = np.ones(stream.nbytes // 8)
                copy = np.empty_like(state)
                turn = iter(range(1 << 30))
                cases = {
                    "update": lambda: stream.update(bars[next(turn) % len(bars)]),
                    "copy of the state": lambda: np.copyto(copy, state),
                    "run, last bar of 200": lambda: atc.run(
                        prices, {"compat": compat}, last_only=True, num_threads=threads
                    ),
                }
                rounds, seconds = (1, 0.0) if run.smoke else (run.options.rounds, 0.05)
                times = bench.measure(cases, rounds, seconds)
                run.note(
                    case="stream", symbols=symbols, compat=compat, threads=threads, bytes=stream.nbytes,
                    min_ms={name: t["min_s"] * 1e3 for name, t in times.items()},
                    median_ms={name: t["median_s"] * 1e3 for name, t in times.items()},
                )  # fmt: skip
                ms = {name: (t["min_s"] * 1e3, t["median_s"] * 1e3) for name, t in times.items()}
                print(
                    f"{symbols:7,} symbols, {compat:9}, {threads} thread(s), ms a bar:"
                    f"{ms['update'][0]:8.4f}{ms['update'][1]:9.4f}   copy {ms['copy of the state'][0]:.4f}, "
                    f"again from 200 bars {ms['run, last bar of 200'][0]:.3f}",
                    flush=True,
                )
    run.finish()


if __name__ == "__main__":
    main()
