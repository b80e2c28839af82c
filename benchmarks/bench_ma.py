# SPDX-License-Identifier: Apache-2.0
"""Moving averages against every peer that is installed: one long series, and a panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import peers
from common import Benchmark, compared
from warpquant import bench, ma

LENGTH = 28


def agrees(result: Any, ours: Any) -> bool:
    """Whether a peer computes the same; seeds and other conventions have worn off at the end of a long series."""
    a, b = (np.asarray(x)[..., -100:] for x in (result, ours))
    return bool(np.allclose(a, b, rtol=1e-6))


def main() -> None:
    run = Benchmark("ma", __doc__)
    sizes = ((1, 2000), (3, 1000)) if run.smoke else ((1, 1_000_000), (1000, 2000))
    others = peers.available()
    print(f"{'':14}{'copy':>7}{'out=':>8}{'new':>7}   best peer, ns per point")
    for series, bars in sizes:
        x = bench.prices(series, bars)
        x = x[0] if series == 1 else x
        for threads in (1, 2):
            print(f"{series:,} x {bars:,}, {threads} thread{'s' * (threads > 1)}")
            for kind in ma.kinds():
                average = getattr(ma, kind)
                out = average(x, LENGTH)
                cases: dict[str, Callable[[], Any]] = {
                    "warpquant": lambda f=average, out=out: f(x, LENGTH, out=out, num_threads=threads),
                    "warpquant, new array": lambda f=average: f(x, LENGTH, num_threads=threads),
                }
                differs = []
                for peer in others:
                    call = peer.panel(kind, x, LENGTH, threads) if series > 1 else peer.one(kind, x, LENGTH)
                    if call is None:
                        continue
                    if agrees(call(), cases["warpquant"]()):
                        cases[peer.name] = call
                    else:
                        differs.append(peer.name)
                ns = run.measure(x.size, cases, case=kind, series=series, bars=bars, threads=threads, differs=differs)
                line = f"  {kind:12}{ns['copy']:7.2f}{ns['warpquant']:8.2f}{ns['warpquant, new array']:7.2f}"
                print(line + compared(ns) + (f"   not the same: {', '.join(differs)}" if differs else ""), flush=True)
    run.finish()


if __name__ == "__main__":
    main()
