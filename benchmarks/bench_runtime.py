# SPDX-License-Identifier: Apache-2.0
"""What a user meets before the first result: import, the cost of a call, the memory of a scan."""

from __future__ import annotations

import statistics
import subprocess
import sys

from common import Benchmark
from warpquant import bench, ma

IMPORT = """
import time, numpy
start = time.perf_counter()
import warpquant
print(time.perf_counter() - start)
"""

#: The panel is touched before the first reading, so that the difference is what the call takes.
MEMORY = """
import resource, sys, numpy as np
from warpquant import atc, bench
x = bench.prices({series}, {bars}).copy()
atc.run(x[:8, :400].copy(), last_only=True)
with open("/proc/self/clear_refs", "w") as f: f.write("5")
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
before = peak()
atc.run(x, last_only=True)
print(peak() - before)
"""


def child(script: str) -> float:
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    run = Benchmark("runtime", __doc__)
    times = [child(IMPORT) * 1e3 for _ in range(1 if run.smoke else 9)]
    run.note(case="import beyond NumPy", min_ms=min(times), median_ms=statistics.median(times))
    print(f"import beyond NumPy: {min(times):.0f} ms, median {statistics.median(times):.0f} ms")

    series, bars = (10, 200) if run.smoke else (1000, 1500)
    grown = child(MEMORY.format(series=series, bars=bars))
    run.note(case="memory of a scan", series=series, bars=bars, mib=grown)
    print(f"scan of {series:,} x {bars:,} bars, last values: {grown:.1f} MiB above the input")

    x = bench.prices(1, 10)[0]
    ns = run.measure(1, {"warpquant, sma": lambda: ma.sma(x, 3)}, case="call", series=1, bars=10, threads=1)
    print(f"a call on ten bars: {ns['warpquant, sma'] / 1e3:.1f} us")
    run.finish()


if __name__ == "__main__":
    main()
