# SPDX-License-Identifier: Apache-2.0
"""Adaptive trend classification: panels of 100 to 20,000 bars, one symbol, and the averages of the best peers."""

from __future__ import annotations

import functools

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
