# SPDX-License-Identifier: Apache-2.0
"""What Ray and Dask add to a task, what they move a second, and what follows for a million series.

The plan at the end is arithmetic on the rates above it. docs/scale-out.md has its assumptions.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import atc, bench
from warpquant.errors import TooSmallWarning

WORKERS = 2
#: The plan: series, bars, and clusters of machines with so many cores each.
SERIES, BARS = 1_000_000, 10_000
CLUSTERS = ((1, 2), (1, 32), (4, 32), (16, 32))
#: Bytes a second that a machine takes in: 10 Gbit/s. An assumption, the only rate of the plan that is not measured.
NETWORK = 1.25e9
#: Least time of a task: some hundred times what it costs to hand it over, and files of a size that is easy to handle.
TASK_SECONDS = 0.2


def nothing(batch: Any) -> None:
    """A task that takes no time and gives back nothing."""


def back(batch: Any) -> Any:
    """A task that gives back a copy of what it got."""
    return batch.copy()


def last_values(batch: Any) -> Any:
    """ATC of a batch: what the plan does to every partition."""
    return atc.run(batch, last_only=True)["average"]


def last_values_of_file(path: str) -> Any:
    """The same of a file that the worker reads itself."""
    return last_values(prices_of(path))


def prices_of(path: str) -> Any:
    """Series of one length from a file of Parquet."""
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(path)["close"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def write(path: pathlib.Path, x: Any) -> int:
    """A file of Parquet with one row for each series; gives its bytes."""
    import pyarrow as pa
    import pyarrow.parquet

    names = [f"S{i}" for i in range(len(x))]
    ends = np.arange(0, x.size + 1, x.shape[1])
    table = pa.table({"symbol": names, "close": pa.LargeListArray.from_arrays(ends, x.ravel())})
    # Prices do not repeat, so no dictionaries; their bytes split by place compress, without loss, and read fast.
    how = {"use_dictionary": False, "column_encoding": {"close.list.element": "BYTE_STREAM_SPLIT"}}
    pa.parquet.write_table(table, path, compression="zstd", **how)
    return path.stat().st_size


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    import ray

    ray.init(
        address="local", num_cpus=WORKERS, include_dashboard=False, logging_level="error", _node_ip_address="127.0.0.1"
    )
    yield importlib.import_module("warpquant.ext.ray").map_batches
    ray.shutdown()


@contextlib.contextmanager
def dask_cluster() -> Iterator[Any]:
    import distributed

    with (
        distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, direct_to_workers=True),
    ):
        yield importlib.import_module("warpquant.ext.dask").map_batches


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """Of the fastest round."""
    best = math.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def consume(results: Iterator[Any]) -> None:
    for _ in results:
        pass


def measure_engine(run: Benchmark, name: str, cluster: Any, panel: Any, files: list[str]) -> dict[str, float]:
    """Rates of one engine."""
    tasks, moved, size = (20, 4, 2**20) if run.smoke else (500, 16, 16 * 2**20)
    rounds = 1 if run.smoke else run.options.rounds
    block = np.random.default_rng(0).random(size // 8)
    begin = time.perf_counter()
    with cluster() as map_batches:
        consume(map_batches(nothing, range(WORKERS)))
        rates = {"start_s": time.perf_counter() - begin}
        consume(map_batches(last_values, [panel[:2]] * 2 * WORKERS))  # workers import the package
        rates["task_s"] = seconds(lambda: consume(map_batches(nothing, range(tasks))), rounds) / tasks
        there = seconds(lambda: consume(map_batches(nothing, [block] * moved)), rounds)
        both = seconds(lambda: consume(map_batches(back, [block] * moved)), rounds)
        rates["there_bytes_s"] = moved * block.nbytes / there
        rates["both_bytes_s"] = 2 * moved * block.nbytes / both
        parts = np.array_split(panel, len(files))
        rates["atc_s"] = seconds(lambda: consume(map_batches(last_values, parts)), rounds)
        rates["atc_files_s"] = seconds(lambda: consume(map_batches(last_values_of_file, files)), rounds)
    version = importlib.import_module(name).__version__
    run.note(case="engine", engine=name, version=version, workers=WORKERS, **rates)
    return rates


def sizes(run: Benchmark, point: float, bars: int, engines: dict[str, dict[str, float]]) -> None:
    """What part of a task's time goes into handing it over, by its length."""
    print(f"\ntask      series of {bars:,}         MB   handed over: " + "".join(f"{x:>18}" for x in engines))
    for length in (0.01, 0.05, 0.2, 1.0, 5.0):
        series = round(length / (bars * point))
        size = series * bars * 8
        lost = {}
        for name, rates in engines.items():
            costs = {"named": rates["task_s"], "sent": rates["task_s"] + size / rates["there_bytes_s"]}
            lost[name] = {how: cost / (cost + length / WORKERS) for how, cost in costs.items()}
        shares = "".join(f"{x['named']:10.1%}, {x['sent']:6.1%}" for x in lost.values())
        print(f"{length * 1e3:5,.0f} ms {series:14,} {size / 1e6:12,.1f}   names, prices: {shares}")
        run.note(case="size", seconds=length, series=series, bars=bars, bytes=size, lost=lost)


def plan(run: Benchmark, point: float, read: float, ratio: float, engines: dict[str, dict[str, float]]) -> None:
    """The million series, from seconds a point, bytes read a second, and bytes stored a byte in memory."""
    points = SERIES * BARS
    batch = 2 ** math.ceil(math.log2(TASK_SECONDS / (BARS * point)))
    partitions = math.ceil(SERIES / batch)
    memory, stored = points * 8, points * 8 * ratio
    computing, reading = batch * BARS * point, batch * BARS * 8 / read
    task = computing + reading
    lines = {
        "prices": f"{memory / 1e9:,.0f} GB in memory, {stored / 1e9:,.0f} GB of Parquet",
        "partitions": f"{partitions:,} of {batch:,} series, {stored / partitions / 1e6:,.0f} MB of Parquet each",
        "results": f"{SERIES * 8 / 1e6:,.0f} MB",
        "a task": f"{computing:.3f} s of ATC + {reading:.3f} s of reading",
        "memory of a worker": f"{2 * batch * BARS * 8 / 1e6:,.0f} MB: prices as read, and as ATC takes them",
        "one core": f"{partitions * task / 60:.1f} min",
    }
    driver = {name: partitions * rates["task_s"] for name, rates in engines.items()}
    for name, rates in engines.items():
        lines[f"one driver, {name}"] = (
            f"{driver[name]:.1f} s to hand over all tasks by name; {memory / rates['there_bytes_s']:,.0f} s more if "
            "it sends the prices"
        )
    print(f"\n{SERIES:,} series x {BARS:,} bars, last average of each, from the rates above")
    for title, text in lines.items():
        print(f"  {title:22} {text}")
    print("  machines x cores    tasks a core   cores   10 Gbit/s" + "".join(f"   wall, {x}" for x in engines))
    clusters = []
    for machines, cores in CLUSTERS:
        waves = math.ceil(partitions / (machines * cores))
        computed, delivered = waves * task, stored / machines / NETWORK
        wall = {name: max(computed, delivered, handed) for name, handed in driver.items()}
        clusters.append(
            {"machines": machines, "cores": cores, "cores_s": computed, "network_s": delivered, "wall_s": wall}
        )
        print(
            f"  {machines:8} x {cores:<5} {waves:13,} {computed:7,.0f} s {delivered:9,.0f} s"
            + "".join(f" {x:{8 + len(name)},.0f} s" for name, x in wall.items())
        )
    run.note(case="plan", series=SERIES, bars=BARS, batch=batch, partitions=partitions, stored_bytes=stored,
             compute_s=computing, read_s=reading, driver_s=driver, clusters=clusters)  # fmt: skip


def main() -> None:
    run = Benchmark("scaleout", __doc__)
    warnings.simplefilter("ignore", TooSmallWarning)
    series, bars = (40, 200) if run.smoke else (2000, 1500)
    pieces, rounds = 8, 1 if run.smoke else run.options.rounds
    panel = bench.prices(series, bars)
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{i}.parquet" for i in range(pieces)]
        stored = sum(write(pathlib.Path(f), x) for f, x in zip(files, np.array_split(panel, pieces), strict=True))
        read = statistics.median(seconds(lambda f=f: prices_of(f), rounds) for f in files) * pieces
        local = {n: seconds(lambda n=n: atc.run(panel, last_only=True, num_threads=n), rounds) for n in (1, 2)}
        long = bench.prices(*((8, 300) if run.smoke else (400, BARS)))
        point = seconds(lambda: atc.run(long, last_only=True, num_threads=1), rounds) / long.size
        engines = {}
        for name, cluster in (("ray", ray_cluster), ("dask", dask_cluster)):
            try:
                importlib.import_module({"dask": "distributed"}.get(name, name))
            except ImportError:
                print(f"{name}: not installed, left out")
                continue
            engines[name] = measure_engine(run, name, cluster, panel, files)

    run.note(case="local", series=series, bars=bars, atc_s=local[1], atc_2_threads_s=local[2], point_s=point,
             read_bytes_s=panel.nbytes / read, parquet_ratio=stored / panel.nbytes)  # fmt: skip
    print(f"{'':22}" + "".join(f"{name:>12}" for name in engines))
    for title, key, factor, unit in (
        ("start and first task", "start_s", 1, "s"),
        ("a task", "task_s", 1e3, "ms"),
        ("batches there", "there_bytes_s", 1e-6, "MB/s"),
        ("there and back", "both_bytes_s", 1e-6, "MB/s"),
    ):
        print(f"{title:22}" + "".join(f"{rates[key] * factor:8.4g} {unit:3}" for rates in engines.values()))
    print(f"\nATC of {series:,} x {bars:,}, last average, {pieces} batches, million symbol-bars a second")
    rows = {"local, 1 thread": local[1], "local, 2 threads": local[2]}
    for name, rates in engines.items():
        rows[f"{name}, {WORKERS} workers, prices sent"] = rates["atc_s"]
        rows[f"{name}, {WORKERS} workers, files read there"] = rates["atc_files_s"]
    for title, took in rows.items():
        print(f"  {title:38} {panel.size / took / 1e6:8.1f}   {took:7.4f} s")
    print(f"  ATC of {BARS:,} bars, 1 thread: {point * 1e9:.1f} ns a symbol-bar")
    print(
        f"  Parquet: {stored / panel.nbytes:.2f} of the size in memory, read at {panel.nbytes / read / 1e6:,.0f} MB/s"
    )
    if engines:
        sizes(run, local[1] / panel.size, bars, engines)
        plan(run, point, panel.nbytes / read, stored / panel.nbytes, engines)
    run.finish()


if __name__ == "__main__":
    main()
