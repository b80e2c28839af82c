# SPDX-License-Identifier: Apache-2.0
"""Work of this package on Ray: batches as tasks, datasets through a pool of actors.

A cluster that the program is connected to is used and left as it is. Without one, the address in ``RAY_ADDRESS`` is
connected to; without that, a cluster on this machine is started, bound to the loopback address, and ended with the
call.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from warpquant._checks import whole
from warpquant.atc import Params
from warpquant.errors import BatchError, ParameterError, TooSmallWarning, WorkerLostError

from . import _common
from ._common import ATCBatch

__all__ = ["ATCBatch", "map_batches", "map_symbols"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Pool:
    """Tasks of Ray."""

    def __init__(self, ray: Any, fn: Any, plan: _common.Plan, workers: int) -> None:
        self._ray, self.workers, self._retries = ray, workers, plan.retries
        # Ray tries a task again when its process or machine is gone, and not when the function raises.
        options = {"num_cpus": plan.num_cpus, "max_retries": plan.retries, "retry_exceptions": False}
        self._submit = functools.partial(ray.remote(**options)(_common.timed).remote, ray.put(fn), plan.num_cpus)

    def submit(self, batch: Any, index: int) -> Any:
        return self._submit(batch)

    def wait(self, tasks: Sequence[Any]) -> Iterable[Any]:
        ended, _ = self._ray.wait(tasks, num_returns=1)
        return ended  # type: ignore[no-any-return]

    def result(self, task: Any, index: int) -> tuple[float, Any] | BatchError:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(task)  # type: ignore[no-any-return]
        except exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)  # not an exception if it could not be sent
            return _common.failed(index, cause if isinstance(cause, BaseException) else error)
        except exceptions.RayError as error:
            lost = WorkerLostError(
                f"batch {index}: its worker was lost (retries={self._retries}): {error}", batch=index
            )
            lost.__cause__ = error
            return lost

    def cancel(self, tasks: Sequence[Any]) -> None:
        # By force: a worker that computes, or sleeps, does not look up for anything gentler. It serves this call alone.
        for task in tasks:
            self._ray.cancel(task, force=True)


@contextlib.contextmanager
def _cluster(ray: Any, plan: _common.Plan) -> Iterator[int]:
    """Connect to Ray, or start it; gives the number of workers."""
    mine = not ray.is_initialized()
    if mine and os.environ.get("RAY_ADDRESS"):
        ray.init()
    elif mine:
        _start(ray, plan.of_machine() * plan.num_cpus)
    try:
        yield plan.of_cluster(int(ray.cluster_resources().get("CPU", 0)) // plan.num_cpus)
    finally:
        if mine:
            ray.shutdown()


def _start(ray: Any, num_cpus: int) -> None:
    """A cluster on this machine that nobody else sees, that reports to nobody, and that imports what we can."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # The third is what later versions of Ray do, and earlier ones warn of.
    with _environment(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=path, RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level="warning",
            _node_ip_address="127.0.0.1",
        )


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def map_batches(
    fn: Callable[[_T], _R],
    batches: Iterable[_T],
    *,
    workers: int | None = None,
    max_in_flight: int | None = None,
    retries: int = 2,
    num_cpus: int = 1,
) -> Iterator[_R]:
    """Apply a function to batches, in worker processes, with the results in the order of the batches.

    A batch whose worker is killed is computed again, and no other: nothing is lost, and nothing comes twice. So `fn`
    must not mind being called again with the same batch.

    Parameters
    ----------
    fn : callable
        Function of one batch. It must be importable by the workers, or defined in the program itself.
    batches : iterable
        Batches, taken from it only as they are needed.
    workers : int, optional
        Batches computed at once; by default as many as there are processors for.
    max_in_flight : int, optional
        Most batches taken from `batches` whose results were not given back yet; by default twice the workers.
    retries : int, default 2
        How often a batch is tried again after its worker was lost. What `fn` raises is not tried again.
    num_cpus : int, default 1
        Processors of a task, and threads that calls of this package use in it.

    Yields
    ------
    object
        What `fn` returns. Arrays are read-only views of Ray's memory; copy what is kept for long.

    Raises
    ------
    BatchError
        If `fn` raises; it names the batch, and its ``__cause__`` is what was raised. Results of batches before come
        first.
    WorkerLostError
        If a batch lost its worker more often than `retries`.
    ParameterError
        If an argument is not accepted.
    ImportError
        If Ray is not installed.

    Warns
    -----
    TooSmallWarning
        If batches take less than 50 ms.

    Examples
    --------
    >>> from warpquant.ext.ray import map_batches
    >>> list(map_batches(sum, [[1, 2], [3, 4]]))  # doctest: +SKIP
    [3, 7]
    """
    _common.check(fn, batches)
    plan = _common.Plan(workers, max_in_flight, retries, num_cpus)
    ray = _common.load("ray", "ray")

    @contextlib.contextmanager
    def pool() -> Iterator[_common.Pool]:
        with _cluster(ray, plan) as found:
            yield _Pool(ray, fn, plan, found)

    return _common.in_order(pool, batches, plan)


class _ToArrow(ATCBatch):
    """The same, as tables that have the same schema whatever the batch holds."""

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        columns = super().__call__(batch)
        table = {self.symbol: pa.array([str(name) for name in columns[self.symbol]], pa.string())}
        for name, dtype in self.dtypes.items():
            if self.last_only:
                table[name] = pa.array(columns[name])
                continue
            ends = np.cumsum([0, *(len(values) for values in columns[name])])
            values = np.concatenate([np.empty(0, dtype), *columns[name]]).astype(dtype, copy=False)
            table[name] = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(values))
        table["error"] = pa.array(columns["error"], pa.string())
        return pa.table(table)


def map_symbols(
    ds: Any,
    fn: Params | Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None,
    *,
    batch_size: int,
    num_gpus: int = 0,
    num_cpus: int = 1,
    workers: int | None = None,
    outputs: str | Sequence[str] = ("average",),
    last_only: bool = False,
    symbol: str = "symbol",
    prices: str = "close",
    meta: Mapping[str, Any] | None = None,
    bars: int | None = None,
) -> Any:
    """Compute every symbol of a dataset of Ray, in a pool of actors.

    Each actor makes one `ATCBatch` and keeps it. A symbol that cannot be computed has its reason in the column
    ``error`` and stops no other.

    Parameters
    ----------
    ds : ray.data.Dataset
        One row per symbol: its name, and its prices as a list or array, oldest first.
    fn : Params, mapping or callable, optional
        Parameters of ATC; or a function as `ATCBatch` takes it.
    batch_size : int
        Symbols in a task.
    num_gpus : {0, 1}, default 0
        GPUs of an actor. One process uses one GPU, the one that Ray assigns to it.
    num_cpus : int, default 1
        Processors of an actor, and its threads.
    workers : int, optional
        Most actors; by default as many as the cluster has room for. Ray starts them as they are needed.
    outputs, last_only, symbol, prices, meta
        As in `ATCBatch`.
    bars : int, optional
        Bars of a typical symbol, to predict how long a task takes; by default those of the first row, which is read
        for that.

    Returns
    -------
    ray.data.Dataset
        The columns `symbol`, the outputs, and ``error`` (null, or text), in Arrow's types. It is computed when it is
        consumed. The order of rows is that of Ray (``ray.data.DataContext.execution_options.preserve_order``).

    Raises
    ------
    ParameterError
        If an argument is not accepted.
    ImportError
        If Ray is not installed.

    Warns
    -----
    TooSmallWarning
        If ATC of a batch is predicted to take less than 50 ms.

    Examples
    --------
    >>> import ray, warpquant  # doctest: +SKIP
    >>> panel = warpquant.data.sp500_20()  # doctest: +SKIP
    >>> ds = ray.data.from_items([{"symbol": s, "close": x} for s, x in panel.items()])  # doctest: +SKIP
    >>> found = warpquant.ext.ray.map_symbols(ds, batch_size=20, last_only=True)  # doctest: +SKIP
    >>> found.to_pandas()  # doctest: +SKIP
    """
    if not hasattr(ds, "map_batches"):
        raise ParameterError(f"ds: {type(ds).__name__} is no dataset of Ray")
    batch_size = whole("batch_size", batch_size, 1)
    num_gpus = _common.gpus(num_gpus)
    plan = _common.Plan(workers, None, 0, num_cpus)
    how: dict[str, Any] = {
        "outputs": outputs,
        "last_only": last_only,
        "symbol": symbol,
        "prices": prices,
        "meta": meta,
        "num_threads": plan.num_cpus,
        "device": "cuda" if num_gpus else "cpu",
    }
    ATCBatch(fn, **how)  # raises here what would be raised in every actor
    ray = _common.load("ray", "ray")
    data = _common.load("ray.data", "ray")
    if not callable(fn):
        found = _bars(ds, symbol, prices) if bars is None else whole("bars", bars, 1)
        text = _common.predict_too_small(batch_size, found, plan.num_cpus, num_gpus) if found else None
        if text:
            warnings.warn(text, TooSmallWarning, stacklevel=2)
    have = ray.cluster_resources()
    room = int(have.get("GPU", 0) if num_gpus else have.get("CPU", 0) // plan.num_cpus)
    # From one upwards: a pool that begins with all processors leaves none to read the dataset with, for ever.
    pool = data.ActorPoolStrategy(min_size=1, max_size=plan.workers or max(1, room))
    return ds.map_batches(
        _ToArrow,
        fn_constructor_args=(fn,),
        fn_constructor_kwargs=how,
        batch_format="numpy",
        batch_size=batch_size,
        compute=pool,
        num_cpus=plan.num_cpus,
        num_gpus=num_gpus or None,
    )


def _bars(ds: Any, symbol: str, prices: str) -> int:
    """Bars of the first row; 0 if there is none."""
    rows = ds.take(1)
    if not rows:
        return 0
    for name in (symbol, prices):
        if name not in rows[0]:
            raise ParameterError(f"ds: has no column {name!r}; it has {', '.join(map(repr, rows[0]))}")
    return int(np.size(rows[0][prices]))
