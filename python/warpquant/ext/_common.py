# SPDX-License-Identifier: Apache-2.0
"""What the adapters share: batches in order, symbols with their errors, and whether tasks are large enough to pay."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import functools
import importlib
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from warpquant import _core, _cost, _devices, atc, config
from warpquant._checks import whole
from warpquant.atc import Params
from warpquant.errors import (
    BatchError,
    DeviceLostError,
    DeviceOutOfMemoryError,
    DeviceTransientError,
    DeviceUnavailableError,
    ParameterError,
    TooSmallWarning,
)

#: A task should take this long: handing it over takes some milliseconds, and more for what it carries.
WORTHWHILE = 0.05
#: As many finished batches tell how long batches take.
_SAMPLE = 5


def load(module: str, extra: str) -> Any:
    """An optional library, or an ImportError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f"warpquant.ext.{extra} needs {module}: pip install 'warpquant[{extra}]'") from None


# ---------------------------------------------------------------------------------------------- batches


class Pool(Protocol):
    """Workers of an engine, as `in_order` uses them. Tasks can be keys of a dictionary."""

    workers: int  # batches computed at once

    def submit(self, batch: Any, index: int) -> Any:
        """Hand over a batch; returns the task."""

    def wait(self, tasks: Sequence[Any]) -> Iterable[Any]:
        """Wait for at least one task to end; returns those that have."""

    def result(self, task: Any, index: int) -> tuple[float, Any] | BatchError:
        """Seconds and result of a task that has ended, or why it has none."""

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Give up tasks."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Arguments of `map_batches`, checked."""

    workers: int | None
    max_in_flight: int | None
    retries: int
    num_cpus: int

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("max_in_flight", 1), ("retries", 0), ("num_cpus", 1)):
            value = getattr(self, name)
            if value is not None or name in ("retries", "num_cpus"):
                object.__setattr__(self, name, whole(name, value, least))

    def of_machine(self) -> int:
        """Workers for a cluster on this machine."""
        return self.workers or max(1, _core.usable_processors() // self.num_cpus)

    def of_cluster(self, slots: int) -> int:
        """Workers to use of a cluster that was there."""
        return min(self.workers or slots, max(slots, 1))


def timed(fn: Callable[[Any], Any], num_cpus: int, batch: Any) -> tuple[float, Any]:
    """What a task runs, in a worker: no more threads than it was given processors."""
    with config.override(num_threads=num_cpus):
        begin = time.perf_counter()
        result = fn(batch)
        return time.perf_counter() - begin, result


def failed(index: int, cause: BaseException) -> BatchError:
    """The function itself raised."""
    error = BatchError(f"batch {index}: {type(cause).__name__}: {cause}", batch=index)
    error.__cause__ = cause
    return error


def check(fn: Any, batches: Any) -> None:
    """What `map_batches` takes."""
    if not callable(fn):
        raise ParameterError(f"fn: {fn!r} cannot be called")
    if not isinstance(batches, Iterable):
        raise ParameterError(f"batches: {type(batches).__name__} cannot be iterated over")


def in_order(
    open_pool: Callable[[], contextlib.AbstractContextManager[Pool]], batches: Iterable[Any], plan: Plan
) -> Iterator[Any]:
    """Results of batches in their order; what was taken of `batches` and not given back yet is limited."""
    with open_pool() as pool:
        most = plan.max_in_flight or 2 * pool.workers
        source = enumerate(batches)
        running: dict[Any, int] = {}
        ended: dict[int, tuple[float, Any] | BatchError] = {}
        seconds: list[float] = []
        try:
            for given in itertools.count():
                while True:
                    room = min(pool.workers, most - len(ended)) - len(running)
                    for index, batch in itertools.islice(source, max(room, 0)):
                        _submit(pool, batch, index, running, ended)
                    if given in ended or not running:
                        break
                    for task in pool.wait(list(running)):
                        index = running.pop(task)
                        ended[index] = pool.result(task, index)
                if given not in ended:
                    break
                result = ended.pop(given)
                if isinstance(result, BatchError):
                    raise result
                if len(seconds) < _SAMPLE:
                    seconds.append(result[0])
                    if len(seconds) == _SAMPLE:
                        _warn_of_batches(seconds)
                yield result[1]
            if 0 < len(seconds) < _SAMPLE:
                _warn_of_batches(seconds)
        finally:
            pool.cancel(list(running))


def _submit(pool: Pool, batch: Any, index: int, running: dict[Any, int], ended: dict[int, Any]) -> None:
    """Hand over a batch; one that cannot be pickled has failed."""
    try:
        running[pool.submit(batch, index)] = index
    except Exception as error:
        ended[index] = failed(index, error)


def _warn_of_batches(seconds: list[float]) -> None:
    typical = statistics.median(seconds)
    if typical < WORTHWHILE:
        times = math.ceil(WORTHWHILE / max(typical, 1e-6))
        text = too_small(typical, f"batches {times:,} times as large")
        warnings.warn(text, TooSmallWarning, stacklevel=3)


def too_small(seconds: float, what_would_pay: str) -> str:
    """What to say of tasks that take so little time."""
    return (
        f"tasks take about {seconds * 1e3:.2g} ms each, and handing them over may take longer; {what_would_pay} would "
        f"pay ({WORTHWHILE * 1e3:.0f} ms or more a task), or a local run"
    )


# ---------------------------------------------------------------------------------------------- symbols


def predict_too_small(symbols: int, bars: float, num_threads: int, num_gpus: int) -> str | None:
    """What to say of tasks with so many symbols of so many bars, if ATC of them is predicted to be short."""
    rates = _devices._rates()

    def seconds(count: int) -> float:
        work = _cost.Work("atc", count, int(count * max(bars, 1)))
        return rates.on_device(work) if num_gpus else rates.on_cpu(work, num_threads)

    if seconds(symbols) >= WORTHWHILE:
        return None
    enough = symbols
    while seconds(enough) < WORTHWHILE and enough < 2**40:  # a device that is not full takes as long for more
        enough *= 2
    least = bisect.bisect_left(range(enough), WORTHWHILE, key=seconds)
    return too_small(seconds(symbols), f"{least:,} symbols of {bars:,.0f} bars in each")


def gpus(num_gpus: Any) -> int:
    """GPUs of a worker: one process has one, or none."""
    found = whole("num_gpus", num_gpus, 0)
    if found > 1:
        raise ParameterError(f"num_gpus: {found} is out of range; accepted are 0 and 1, because each process uses one")
    return found


#: What says something about a device, and not about the symbol that was computed.
_NOT_OF_A_SYMBOL = (
    DeviceUnavailableError,
    DeviceLostError,
    DeviceTransientError,
    DeviceOutOfMemoryError,
    MemoryError,
)


class ATCBatch:
    """A function of batches of symbols, made once in each worker.

    The process keeps what is costly to make: the checked parameters, the pool of threads, the pool of memory for
    results, and on a GPU its context, streams and pinned memory.

    Parameters
    ----------
    fn : Params, mapping or callable, optional
        Parameters of ATC; or a function of a mapping from symbol to prices that returns a mapping from output to a
        mapping from symbol to result, as `warpquant.atc.run` does.
    outputs : sequence of str, default ('average',)
        Outputs of ATC.
    last_only : bool, default False
        One value per symbol, that of the last bar; else one array per symbol.
    symbol, prices : str, default 'symbol', 'close'
        Columns of a batch.
    meta : mapping of str to dtype, optional
        Outputs of a function and their types; needed with a function, whose results are arrays unless `last_only`.
    num_threads : int, default 1
        CPU threads.
    device : str, default 'cpu'
        Where ATC is computed.

    Raises
    ------
    ParameterError
        If an argument is not accepted.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> batch = {"symbol": ["A", "B"], "close": [100 + np.sin(np.arange(90) / 9), "no prices"]}
    >>> results = warpquant.ext.dask.ATCBatch(outputs="trend", last_only=True)(batch)
    >>> results["trend"].tolist(), results["error"][0] is None, "B" in results["error"][1]
    ([-1, 0], True, True)
    """

    def __init__(
        self,
        fn: Params | Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None,
        *,
        outputs: str | Sequence[str] = ("average",),
        last_only: bool = False,
        symbol: str = "symbol",
        prices: str = "close",
        meta: Mapping[str, Any] | None = None,
        num_threads: int = 1,
        device: str = "cpu",
    ) -> None:
        self.symbol, self.prices, self.last_only, self.num_threads = symbol, prices, bool(last_only), num_threads
        self._run: Callable[[dict[str, Any]], Mapping[str, Mapping[str, Any]]]
        if callable(fn):
            if not meta:
                raise ParameterError("meta: is needed with a function: a mapping from its outputs to their types")
            self.dtypes = {name: np.dtype(dtype) for name, dtype in meta.items()}
            self._run = fn
        else:
            if meta is not None:
                raise ParameterError("meta: goes with a function; the types of ATC's outputs are known")
            names, which = atc._chosen((outputs,) if isinstance(outputs, str) else tuple(outputs))
            classes = {atc._INDEX["trend"], atc._INDEX["direction"]}
            self.dtypes = {n: np.dtype("i1" if i in classes else "f8") for n, i in zip(names, which, strict=True)}
            params = atc._checked(fn)
            self._run = functools.partial(
                atc.run, params=params, outputs=names, last_only=self.last_only, device=device
            )
        taken = {symbol, prices, "error"} & set(self.dtypes)
        if taken or symbol == "error":
            raise ParameterError(f"outputs: {sorted(taken or {symbol})[0]!r} is the name of another column")

    def blank(self, name: str) -> Any:
        """In the place of a result: NaN, class 0, or an array without values."""
        dtype = self.dtypes[name]
        if not self.last_only:
            return np.empty(0, dtype)
        return dtype.type(np.nan) if dtype.kind == "f" else dtype.type(0)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Columns in, columns out: the symbols, the outputs, and ``error``, None or text."""
        symbols = list(batch[self.symbol])
        keys = _unique([str(name) for name in symbols])
        results: dict[str, dict[str, Any]] = {name: {} for name in self.dtypes}
        errors: dict[str, str] = {}
        series: dict[str, np.ndarray[Any, Any]] = {}
        for key, values in zip(keys, rows(batch[self.prices]), strict=True):
            _series(key, values, series, errors)
        with config.override(num_threads=self.num_threads):
            self._compute(series, results, errors)

        columns: dict[str, np.ndarray[Any, Any]] = {self.symbol: objects(symbols)}
        for name, dtype in self.dtypes.items():
            values = [results[name][key] if key in results[name] else self.blank(name) for key in keys]
            columns[name] = np.array(values, dtype) if self.last_only else objects(values)
        columns["error"] = objects([errors.get(key) for key in keys])
        return columns

    def _compute(self, prices: dict[str, Any], results: dict[str, dict[str, Any]], errors: dict[str, str]) -> None:
        """Compute symbols together; if they are refused, halves of them tell which one it was."""
        if not prices:
            return
        try:
            found = self._run(dict(prices))
            found = {name: {key: found[name][key] for key in prices} for name in self.dtypes}
        except _NOT_OF_A_SYMBOL:
            raise
        except Exception as error:  # whatever it is, the others have nothing to do with it
            if len(prices) == 1:
                (key,) = prices
                errors[key] = f"{type(error).__name__}: {error}"
                return
            items = list(prices.items())
            for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                self._compute(dict(half), results, errors)
        else:
            for name, values in found.items():
                results[name].update(values)


def rows(column: Any) -> list[Any]:
    """Prices of each symbol; lists of Arrow become views of its memory."""
    arrow = getattr(getattr(column, "array", None), "__arrow_array__", None)
    return list(arrow().to_numpy(zero_copy_only=False) if arrow is not None else column)


def _series(key: str, values: Any, series: dict[str, np.ndarray[Any, Any]], errors: dict[str, str]) -> None:
    """The prices of one symbol, or why they are none; it must not depend on the rest of the batch."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # lists of unequal lists
        errors[key] = f"DTypeError: {key!r} is no series of numbers: {error}"
        return
    if array.size == 0:
        errors[key] = f"ShapeError: {key!r} is empty; at least one bar is needed"
    elif array.dtype.kind not in "iuf":
        what = type(values).__name__ if array.ndim == 0 else array.dtype
        errors[key] = f"DTypeError: {key!r} is no series of numbers: it is of {what}"
    elif array.ndim != 1:
        errors[key] = f"ShapeError: {key!r} is no series: it has {array.ndim} dimensions"
    else:
        series[key] = array


def _unique(names: list[str]) -> list[str]:
    """The names, with a number behind those that were there before."""
    keys: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for name in names:
        key = name
        while key in keys:
            numbers[name] = numbers.get(name, 1) + 1
            key = f"{name} ({numbers[name]})"
        keys[key] = None
    return list(keys)


def objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """A column of objects, arrays of equal length among them."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return column
