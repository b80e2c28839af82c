# SPDX-License-Identifier: Apache-2.0
"""Work of this package on Dask: batches as tasks, dataframes, bags and delayed objects partition by partition.

The current client of ``distributed`` is used and left as it is. Without one, the scheduler that Dask's settings name is
connected to (``DASK_SCHEDULER_ADDRESS``); without that, a cluster on this machine is started, bound to the loopback
address, and ended with the call.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from warpquant._checks import whole
from warpquant.atc import Params
from warpquant.errors import BatchError, DTypeError, ParameterError, TooSmallWarning, WorkerLostError

from . import _common
from ._common import ATCBatch

__all__ = ["ATCBatch", "map_batches", "map_symbols"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Pool:
    """Tasks of a client."""

    def __init__(self, client: Any, fn: Any, plan: _common.Plan, workers: int) -> None:
        self._dask, self._distributed = _common.load("dask", "dask"), _common.load("distributed", "dask")
        self._client, self._task, self.workers = client, functools.partial(_common.timed, fn, plan.num_cpus), workers
        self._name = f"warpquant-{uuid.uuid4().hex}"

    def submit(self, batch: Any, index: int) -> Any:
        # The scheduler keeps the batch until its task is done: in a worker's memory it would die with the worker. As
        # part of the function it is not searched for tasks inside.
        with self._dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"}):
            return self._client.submit(functools.partial(self._task, batch), key=f"{self._name}-{index}", pure=False)

    def wait(self, tasks: Sequence[Any]) -> Iterable[Any]:
        with self._client.as_current(), contextlib.suppress(self._distributed.CancelledError):  # `result` says so
            return self._distributed.wait(tasks, return_when="FIRST_COMPLETED").done  # type: ignore[no-any-return]
        return [task for task in tasks if task.cancelled()]

    def result(self, task: Any, index: int) -> tuple[float, Any] | BatchError:
        try:
            return task.result()  # type: ignore[no-any-return]
        except (self._distributed.KilledWorker, self._distributed.CancelledError) as error:
            lost = WorkerLostError(f"batch {index}: its worker was lost: {error}", batch=index)
            lost.__cause__ = error
            return lost
        except Exception as error:
            return _common.failed(index, error)

    def cancel(self, tasks: Sequence[Any]) -> None:
        if tasks:
            self._client.cancel(tasks)


@contextlib.contextmanager
def _client(plan: _common.Plan) -> Iterator[tuple[Any, int]]:
    """Connect to Dask, or start it; gives the client and the number of workers."""
    distributed, settings = _common.load("distributed", "dask"), _common.load("dask", "dask").config
    with contextlib.ExitStack() as stack:
        try:
            client = distributed.Client.current()
        except ValueError:
            if settings.get("scheduler-address", None):
                client = stack.enter_context(distributed.Client(set_as_default=False))
            else:
                cluster = distributed.LocalCluster(
                    n_workers=plan.of_machine(),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.ERROR,
                    scheduler_kwargs={"allowed_failures": plan.retries},
                )
                stack.enter_context(cluster)
                client = stack.enter_context(distributed.Client(cluster, set_as_default=False, direct_to_workers=True))
        if client.asynchronous:
            raise ParameterError("client: is asynchronous, which map_batches cannot wait for; make one that is not")
        yield client, plan.of_cluster(sum(client.nthreads().values()))


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

    A batch whose worker is killed is computed again, and no other that was finished and fetched: nothing is lost, and
    nothing comes twice. So `fn` must not mind being called again with the same batch.

    Parameters
    ----------
    fn : callable
        Function of one batch. It must be importable by the workers, or defined in the program itself.
    batches : iterable
        Batches, taken from it only as they are needed. The scheduler holds those that are under way.
    workers : int, optional
        Batches computed at once; by default as many as there are processors for, on a cluster of yours as many as its
        workers have threads.
    max_in_flight : int, optional
        Most batches taken from `batches` whose results were not given back yet; by default twice the workers.
    retries : int, default 2
        How often a batch is tried again after its worker was lost. A cluster of yours goes by its own setting
        ``distributed.scheduler.allowed-failures``. What `fn` raises is not tried again.
    num_cpus : int, default 1
        Processors of a task: threads that calls of this package use in it. For more than 1, workers of a cluster of
        yours should have as many processors for each of their threads.

    Yields
    ------
    object
        What `fn` returns.

    Raises
    ------
    BatchError
        If `fn` raises; it names the batch, and its ``__cause__`` is what was raised. Results of batches before come
        first.
    WorkerLostError
        If a batch lost its worker more often than `retries`.
    ParameterError
        If an argument is not accepted, or the current client is asynchronous.
    ImportError
        If Dask or distributed is not installed.

    Warns
    -----
    TooSmallWarning
        If batches take less than 50 ms.

    Examples
    --------
    >>> from warpquant.ext.dask import map_batches
    >>> list(map_batches(sum, [[1, 2], [3, 4]]))  # doctest: +SKIP
    [3, 7]
    """
    _common.check(fn, batches)
    plan = _common.Plan(workers, max_in_flight, retries, num_cpus)
    _common.load("distributed", "dask")

    @contextlib.contextmanager
    def pool() -> Iterator[_common.Pool]:
        with _client(plan) as (client, found):
            yield _Pool(client, fn, plan, found)

    return _common.in_order(pool, batches, plan)


class _Partition:
    """A partition in, its results out, as frames of pandas whose types do not depend on what is in them."""

    __name__ = "map_symbols"  # in the names of tasks

    def __init__(self, batch: ATCBatch, batch_size: int | None, predict: Callable[[int, float], str | None]) -> None:
        self._batch, self._batch_size, self._predict = batch, batch_size, predict

    def __call__(self, part: Any, number: int | None = None, partition_info: Any = None) -> Any:
        pandas = _common.load("pandas", "dask")
        if not isinstance(part, pandas.DataFrame):
            part = _table(list(part), self._batch)
        if number == 0 or (partition_info and partition_info["number"] == 0):
            self._warn(part[self._batch.prices])
        size = self._batch_size or max(len(part), 1)
        parts = [self._compute(part.iloc[i : i + size]) for i in range(0, max(len(part), 1), size)]
        return parts[0] if len(parts) == 1 else pandas.concat(parts)

    def _compute(self, part: Any) -> Any:
        return _frame(self._batch(part), self._batch, part[self._batch.symbol].dtype, part.index)

    def _warn(self, prices: Any) -> None:
        """Warn if the first partition is small; from a worker of a cluster, at the client."""
        rows = _common.rows(prices)
        bars = sum(map(np.size, rows)) / max(len(rows), 1)
        text = self._predict(len(rows), bars) if rows else None
        if text:
            _common.load("distributed", "dask").worker.warn(text, TooSmallWarning, stacklevel=2)


def _frame(columns: Mapping[str, Any], batch: ATCBatch, symbol_dtype: Any, index: Any) -> Any:
    """Columns as a frame."""
    pandas = _common.load("pandas", "dask")
    types = {batch.symbol: symbol_dtype, "error": "string"}
    return pandas.DataFrame(
        {
            name: pandas.Series(list(x) if name in types else x, dtype=types.get(name, x.dtype), index=index)
            for name, x in columns.items()
        }
    )


def _table(records: list[Any], batch: ATCBatch) -> Any:
    """A frame of records: mappings with the two columns, or pairs."""
    pandas = _common.load("pandas", "dask")
    pairs = [(r[batch.symbol], r[batch.prices]) if isinstance(r, Mapping) else tuple(r) for r in records]
    return pandas.DataFrame(
        {
            batch.symbol: pandas.Series([str(name) for name, _ in pairs], dtype="string"),
            batch.prices: pandas.Series(_common.objects([values for _, values in pairs]), dtype=object),
        }
    )


def map_symbols(
    ds: Any,
    fn: Params | Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None,
    *,
    batch_size: int | None = None,
    num_gpus: int = 0,
    num_cpus: int = 1,
    outputs: str | Sequence[str] = ("average",),
    last_only: bool = False,
    symbol: str = "symbol",
    prices: str = "close",
    meta: Mapping[str, Any] | None = None,
) -> Any:
    """Compute every symbol of a collection of Dask, one task for each partition.

    A symbol that cannot be computed has its reason in the column ``error`` and stops no other.

    Parameters
    ----------
    ds : dask.dataframe.DataFrame, dask.bag.Bag, or sequence of dask.delayed.Delayed
        One row per symbol: its name, and its prices as a list or array, oldest first. Items of a bag are mappings with
        these two, or pairs; so are those of the list that a delayed object stands for, which may be a frame too.
    fn : Params, mapping or callable, optional
        Parameters of ATC; or a function as `ATCBatch` takes it.
    batch_size : int, optional
        Most symbols computed at a time in a task, which limits its memory; by default all of the partition.
    num_gpus : {0, 1}, default 0
        1 computes on the GPU of each worker, of which there must be one process for each GPU, with one thread, as
        dask-cuda starts them. In a cluster of several kinds of workers, say which ones when computing:
        ``client.compute(result, resources={"GPU": 1})``.
    num_cpus : int, default 1
        Threads of a task.
    outputs, last_only, symbol, prices, meta
        As in `ATCBatch`.

    Returns
    -------
    dask.dataframe.DataFrame
        The columns `symbol`, the outputs (arrays, or with `last_only` numbers), and ``error`` (missing, or text), with
        the order, the partitions and the index of `ds`. It is computed when asked for.

    Raises
    ------
    ParameterError
        If an argument is not accepted.
    DTypeError
        If Dask has made text of the prices.
    ImportError
        If Dask is not installed.

    Warns
    -----
    TooSmallWarning
        While computing, if ATC of the first partition is predicted to take less than 50 ms.

    Examples
    --------
    >>> import dask.bag, warpquant  # doctest: +SKIP
    >>> panel = warpquant.data.sp500_20()  # doctest: +SKIP
    >>> bag = dask.bag.from_sequence(panel.items(), npartitions=1)  # doctest: +SKIP
    >>> warpquant.ext.dask.map_symbols(bag, last_only=True).compute()  # doctest: +SKIP
    """
    batch_size = None if batch_size is None else whole("batch_size", batch_size, 1)
    num_gpus = _common.gpus(num_gpus)
    num_cpus = _common.Plan(None, None, 0, num_cpus).num_cpus
    batch = ATCBatch(
        fn,
        outputs=outputs,
        last_only=last_only,
        symbol=symbol,
        prices=prices,
        meta=meta,
        num_threads=num_cpus,
        device="cuda" if num_gpus else "cpu",
    )
    dask, frames = _common.load("dask", "dask"), _common.load("dask.dataframe", "dask")
    predict = functools.partial(_predict, num_cpus=num_cpus, num_gpus=num_gpus, known=not callable(fn))
    work = _Partition(batch, batch_size, predict)
    nothing: dict[str, list[Any]] = {symbol: [], prices: []}
    kind, index = "string", None
    if isinstance(ds, frames.DataFrame):
        for name in (symbol, prices):
            if name not in ds.columns:
                raise ParameterError(f"ds: has no column {name!r}; it has {', '.join(map(repr, ds.columns))}")
        if isinstance(ds.dtypes[prices], _common.load("pandas", "dask").StringDtype):
            raise DTypeError(
                f"ds: column {prices!r} is text, because Dask makes text of columns of arrays; set "
                "dask.config.set({'dataframe.convert-string': False}) before the frame is made, or read Parquet files"
            )
        kind, index = ds.dtypes[symbol], ds._meta.index
    schema = _frame(batch(nothing), batch, kind, index)
    if isinstance(ds, frames.DataFrame):
        return ds.map_partitions(work, meta=schema)
    delayed = ds.to_delayed() if hasattr(ds, "to_delayed") else ds
    if not isinstance(delayed, Sequence) or not all(dask.is_dask_collection(part) for part in delayed):
        raise ParameterError(
            f"ds: {type(ds).__name__} is no dataframe or bag of Dask, and no sequence of delayed objects"
        )
    if not delayed:
        raise ParameterError("ds: is empty; at least one partition is needed")
    parts = [dask.delayed(work, pure=False)(part, number=i) for i, part in enumerate(delayed)]
    with dask.config.set({"dataframe.convert-string": False}):  # else arrays become text
        return frames.from_delayed(parts, meta=schema, verify_meta=False)


def _predict(symbols: int, bars: float, *, num_cpus: int, num_gpus: int, known: bool) -> str | None:
    """What to say of partitions of that size; nothing if the function is not ATC."""
    return _common.predict_too_small(symbols, bars, num_cpus, num_gpus) if known else None
