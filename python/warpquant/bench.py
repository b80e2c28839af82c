# SPDX-License-Identifier: Apache-2.0
"""How fast this installation is on this machine.

`run` measures averages, equity curves, ATC and backtests on made-up prices, in well under a minute. Beside every figure
stands what a plain copy of as many points costs (8 bytes read and 8 written each), which no function that reads a
series and writes another can undercut by much. `measure`, `machine`, `copier` and `copy_floor` serve other benchmarks,
too.
"""

from __future__ import annotations

import functools
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from . import _core, atc, backtest, config, equity, ma
from ._checks import choice
from .errors import ParameterError

__all__ = ["DOMAINS", "SCHEMA", "Timing", "copier", "copy_floor", "machine", "measure", "prices", "run"]

#: Name and version of what `run` returns; the number grows when a field changes its meaning or goes.
SCHEMA = "warpquant.bench/1"


class Timing(TypedDict):
    """Seconds that one call took: fastest round, middle round, number of rounds."""

    min_s: float
    median_s: float
    rounds: int


def _seconds_per_call(case: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        case()
    return (time.perf_counter() - start) / calls


def _calls_for(case: Callable[[], Any], min_seconds: float) -> int:
    """Calls that one round needs; finding out warms the case up."""
    calls = 1
    while True:
        seconds = _seconds_per_call(case, calls)
        if seconds * calls >= min_seconds:
            return calls
        calls = max(2 * calls, min(10 * calls, int(1.1 * min_seconds / max(seconds, 1e-9)) + 1))


def measure(cases: Mapping[str, Callable[[], Any]], rounds: int = 7, min_seconds: float = 0.02) -> dict[str, Timing]:
    """Time several callables against each other.

    The cases take turns, each round in another order, so that whatever else the machine does meets all of them alike.

    Parameters
    ----------
    cases : mapping of str to callable
        What to time, without arguments.
    rounds : int, default 7
        How often each case has its turn.
    min_seconds : float, default 0.02
        A turn repeats the call until it has lasted about this long.

    Returns
    -------
    dict
        For each case the seconds per call.

    Examples
    --------
    >>> from warpquant import bench
    >>> sorted(bench.measure({"nothing": lambda: None}, rounds=3, min_seconds=1e-4)["nothing"])
    ['median_s', 'min_s', 'rounds']
    """
    if rounds < 1:
        raise ParameterError(f"rounds: {rounds!r} is out of range; accepted are whole numbers from 1")
    calls = {name: _calls_for(case, min_seconds) for name, case in cases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        first = turn % len(names) if names else 0
        order = names[first:] + names[:first]
        for name in order if turn % 2 == 0 else reversed(order):
            seconds[name].append(_seconds_per_call(cases[name], calls[name]))
    return {
        name: {"min_s": min(taken), "median_s": statistics.median(taken), "rounds": rounds}
        for name, taken in seconds.items()
    }


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def machine() -> dict[str, Any]:
    """Describe the machine and the software that figures belong to.

    Returns
    -------
    dict
        ``cpu`` (model), ``processors`` (that this process may use), ``threads`` (that a call uses), ``simd`` and
        ``best_simd`` (instruction level in use and reachable), ``load`` (of the last minute, None where unknown),
        ``system``, ``compiler`` and the versions ``python``, ``numpy`` and ``warpquant``.

    Examples
    --------
    >>> from warpquant import bench
    >>> bench.machine()["processors"] >= 1
    True
    """
    return {
        "cpu": _cpu_model(),
        "processors": _core.usable_processors(),
        "threads": config.get("num_threads") or _core.usable_processors(),
        "simd": _core.effective_simd(config.get("simd")),
        "best_simd": _core.best_simd(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": _core.build_info()["compiler"],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "warpquant": _core.__version__,
    }


def copier(points: int) -> Callable[[], None]:
    """Give a callable that copies `points` float64 values: 8 bytes read and 8 written a point.

    It is NumPy's copy, with one thread, between the same two arrays at every call: what fits the caches stays there.

    Examples
    --------
    >>> from warpquant import bench
    >>> bench.copier(1000)()
    """
    source, target = np.ones(points), np.zeros(points)
    return lambda: np.copyto(target, source)


def copy_floor(points: int, *, rounds: int = 7, min_seconds: float = 0.02) -> Timing:
    """Time a plain copy of `points` float64 values.

    To have the copy take turns with other cases, put `copier` among those of `measure`.

    Examples
    --------
    >>> from warpquant import bench
    >>> bench.copy_floor(1000, rounds=3, min_seconds=1e-4)["rounds"]
    3
    """
    return measure({"copy": copier(points)}, rounds, min_seconds)["copy"]


def prices(series: int, bars: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Random walks that look like prices, one series a row.

    Examples
    --------
    >>> from warpquant import bench
    >>> bench.prices(2, 3).shape
    (2, 3)
    """
    steps = np.random.default_rng(seed).standard_normal((series, bars))
    return np.ascontiguousarray(100.0 * np.exp(np.cumsum(0.01 * steps, axis=1)))


#: A call on prices, shape (series, bars), and a number of threads.
Call = Callable[..., Any]

_LENGTH = 20
_SIZES = {
    "ma": ((1, 1_000_000), (1000, 2000)),
    "equity": ((1, 1_000_000), (1000, 2000)),
    "atc": ((1, 1000), (104, 2000), (1000, 1000)),
    "backtest": ((1, 100_000), (1000, 2000)),
}

#: What can be measured.
DOMAINS: tuple[str, ...] = tuple(_SIZES)


def _calls(domain: str, series: int, bars: int) -> dict[str, Call]:
    if domain == "ma":
        return {f"{kind}({_LENGTH})": functools.partial(getattr(ma, kind), length=_LENGTH) for kind in ma.kinds()}
    if domain == "equity":
        signal = np.sign(prices(series, bars, seed=1) - 100.0)
        return {"curve": lambda x, num_threads: equity.curve(prices=x, signal=signal, num_threads=num_threads)}
    if domain == "backtest":
        signal, rules = np.sign(prices(series, bars, seed=1) - 100.0), backtest.Rules(signal="direction")
        return {
            "metrics": functools.partial(backtest.metrics, signal=signal, rules=rules),
            "every bar": functools.partial(backtest.run, signal=signal, rules=rules),
        }
    return {
        "last bar": functools.partial(atc.run, last_only=True),
        "average": atc.run,
        "all outputs": functools.partial(atc.run, outputs="all"),
    }


def _measure_size(
    domain: str, series: int, bars: int, thread_counts: tuple[int, ...], rounds: int, min_seconds: float
) -> Iterator[dict[str, Any]]:
    """All cases of one size, taking turns with the copies of that size."""
    points = series * bars
    x = prices(series, bars)
    calls = _calls(domain, series, bars)
    turns: dict[str, Callable[[], Any]] = {"copy": copier(points)}
    for name, call in calls.items():
        turns |= {f"{name}/{n}": functools.partial(call, x, num_threads=n) for n in thread_counts}
    timings = measure(turns, rounds, min_seconds)
    for name in calls:
        for threads in thread_counts:
            timing = timings[f"{name}/{threads}"]
            ns = timing["min_s"] / points * 1e9
            copy_ns = timings["copy"]["min_s"] / points * 1e9
            yield {
                "domain": domain,
                "case": name,
                "series": series,
                "bars": bars,
                "threads": threads,
                **timing,
                "ns_per_point": ns,
                "copy_ns_per_point": copy_ns,
                "times_copy": ns / copy_ns,
            }


def run(
    domain: str | None = None,
    *,
    rounds: int = 5,
    min_seconds: float = 0.01,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure this installation, with one thread and with all of them.

    Parameters
    ----------
    domain : {'ma', 'equity', 'atc', 'backtest'}, optional
        What to measure; by default everything.
    rounds, min_seconds
        As in `measure`.
    progress : callable, optional
        Called with a line of text before each group of measurements.

    Returns
    -------
    dict
        ``schema``, ``machine`` (see `machine`), ``rounds``, ``min_seconds`` and ``results``, a list with one entry per
        case, size and number of threads: ``domain, case, series, bars, threads, min_s, median_s, rounds`` (seconds of
        a call), ``ns_per_point``, ``copy_ns_per_point`` (the plain copy beside it, with one thread) and ``times_copy``
        (their ratio), the last three from the fastest rounds.

    Raises
    ------
    ParameterError
        If there is no such domain.

    Examples
    --------
    >>> from warpquant import bench
    >>> bench.run("atc", rounds=1, min_seconds=0.0)["results"][0]["case"]
    'last bar'
    """
    if domain is not None:
        choice("domain", domain, DOMAINS)
    processors = _core.usable_processors()
    thread_counts = (1,) if processors == 1 else (1, processors)
    results: list[dict[str, Any]] = []
    for name in DOMAINS if domain is None else (domain,):
        for series, bars in _SIZES[name]:
            if progress is not None:
                progress(f"{name}: {series:,} series of {bars:,} bars")
            results.extend(_measure_size(name, series, bars, thread_counts, rounds, min_seconds))
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "rounds": rounds,
        "min_seconds": min_seconds,
        "results": results,
    }
