# SPDX-License-Identifier: Apache-2.0
"""Scans of many symbols: memory above the source, symbols a second, and what the cache of results saves."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import bench, config
from warpquant.scanner import scan_source

FOLDERS = ("csv", "parquet by symbol", "parquet by time")
DATES = np.datetime64("2015-01-01T00:00", "m")


def write(kind: str, symbols: int, bars: int, folder: pathlib.Path) -> None:
    """Prices on disk, as closes of random walks."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    close = bench.prices(symbols, bars)
    times = (DATES + np.arange(bars)).astype("datetime64[s]")
    names = [f"S{i:05}" for i in range(symbols)]
    folder.mkdir()
    if kind == "memmap":
        np.save(folder / "close.npy", close)
    elif kind == "csv":
        for name, row in zip(names, close, strict=True):
            table = pa.table({"date": times, "open": row, "close": row})
            pyarrow.csv.write_csv(table, folder / f"{name}.csv")
    elif kind == "parquet by symbol":
        step = 100
        for start in range(0, symbols, step):
            part = close[start : start + step]
            columns = {
                "symbol": np.repeat(names[start : start + step], bars),
                "time": np.tile(times, len(part)),
                "close": part.ravel(),
            }
            path = folder / f"{start:05}.parquet"
            pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=step * bars // 4)
    else:  # each file holds some bars of all symbols
        step = max(bars // 30, 1)
        for start in range(0, bars, step):
            part = close[:, start : start + step].T
            columns = {
                "symbol": np.tile(names, len(part)),
                "time": np.repeat(times[start : start + step], symbols),
                "close": part.ravel(),
            }
            pyarrow.parquet.write_table(pa.table(columns), folder / f"{start:05}.parquet")


def source(kind: str, symbols: int, bars: int, folder: pathlib.Path) -> Any:
    """What is scanned; of what is on disk nothing is in memory yet."""
    if kind == "array":
        return bench.prices(symbols, bars)
    if kind == "frame":
        import pandas as pd

        return pd.DataFrame(bench.prices(symbols, bars).T, columns=[f"S{i:05}" for i in range(symbols)])
    if kind == "long table":
        import pyarrow as pa

        close = bench.prices(symbols, bars)
        names = pa.array([f"S{i:05}" for i in range(symbols)])
        times = DATES + np.arange(bars)
        columns = {"symbol": names.take(pa.array(np.repeat(np.arange(symbols), bars)))}
        columns |= {"time": np.tile(times.astype("datetime64[s]"), symbols), "close": close.ravel()}
        return pa.table(columns)
    return np.load(folder / "close.npy", mmap_mode="r") if kind == "memmap" else folder


def memory(name: str) -> int:
    text = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024


def warm_up(kind: str, symbols: int, bars: int, folder: pathlib.Path) -> None:
    """Load libraries and start threads, with a part of the work."""
    given = source(kind, symbols, bars, folder)
    part = min(folder.iterdir()) if kind in FOLDERS else given
    with config.override({"cache.enabled": False}):
        scan_source(part, max_symbols=2, flips=False)


def scanned(kind: str, symbols: int, bars: int, folder: pathlib.Path) -> tuple[float, float]:
    """MB above what was resident before the scan, and seconds; in a process that does nothing else."""
    given = source(kind, symbols, bars, folder)
    warm_up(kind, symbols, bars, folder)
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = memory("VmRSS")
    start = time.perf_counter()
    with config.override({"cache.enabled": False}):
        found = scan_source(given, flips=False)
    seconds = time.perf_counter() - start
    assert len(found.rows) == symbols, found.failures[:3]
    return (memory("VmHWM") - before) / 1e6, seconds


def alone(call: Callable[..., Any], *arguments: Any) -> Any:
    """The same in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def cached(kind: str, symbols: int, bars: int, folder: pathlib.Path, place: pathlib.Path) -> tuple[float, float]:
    """Seconds of a scan that reads, and of one that finds its result on disk."""
    warm_up(kind, symbols, bars, folder)
    seconds = []
    with config.override({"cache.dir": place, "cache.memory": 0}):
        for _ in range(2):
            start = time.perf_counter()
            scan_source(folder, flips=False)
            seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    run = Benchmark("scan", __doc__)
    sizes = ((30, 60),) if run.smoke else ((1000, 1500), (5000, 1500))
    kinds = ("array", "frame", "long table", "memmap", *FOLDERS)
    print(f"{'':40}{'peak MB':>9}{'seconds':>9}{'symbols/s':>11}")
    with tempfile.TemporaryDirectory() as base:
        for symbols, bars in sizes:
            for kind in kinds:
                folder = pathlib.Path(base, f"{kind} {symbols}")
                if kind in (*FOLDERS, "memmap"):
                    write(kind, symbols, bars, folder)
                peak, seconds = alone(scanned, kind, symbols, bars, folder)
                run.note(case="scan", source=kind, series=symbols, bars=bars, peak_mb=peak, seconds=seconds)
                label = f"{symbols:,} x {bars:,}, {kind}"
                print(f"{label:40}{peak:9.1f}{seconds:9.3f}{symbols / seconds:11,.0f}", flush=True)
        for kind in FOLDERS:
            folder = pathlib.Path(base, f"{kind} {sizes[0][0]}")
            for path in folder.iterdir():
                os.utime(path, (1e9, 1e9))  # what changed just now is not kept
            first, second = alone(cached, kind, *sizes[0], folder, pathlib.Path(base, f"cache {kind}"))
            run.note(case="cache", source=kind, series=sizes[0][0], bars=sizes[0][1], first_s=first, second_s=second)
            label = f"second scan, {sizes[0][0]:,} x {sizes[0][1]:,}, {kind}"
            print(f"{label}: {first:.3f} s, then {second * 1e3:.1f} ms: {first / second:.0f} times faster", flush=True)
    run.finish()


if __name__ == "__main__":
    main()
