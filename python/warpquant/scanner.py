# SPDX-License-Identifier: Apache-2.0
"""Scans of anything that holds prices, batch by batch.

`scan_all_symbols` and `analyze_symbol` have the names and columns of the Python port; `scan_source` gives all there is
to know. Batches are read ahead by a thread while others are computed, and none is kept, so that memory does not grow
with the number of symbols. `warpquant.scan.scan` is the same for prices that are in memory as a whole.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import difflib
import functools
import importlib
import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from . import _core, _counters, atc, cache, config
from ._checks import choice, number, whole
from ._prices import Failure, Floats, Note
from .atc import ATCConfig, Params
from .checkpoint import Checkpoint
from .errors import ParameterError
from .scan import Found, Row, ScanResult, Settings, end_time, ranked, scan_batch, settings_of
from .sources import Source, batches, open_source

__all__ = ["analyze_symbol", "prefetched", "scan_all_symbols", "scan_source"]

_log = logging.getLogger("warpquant")

_EXECUTIONS = ("auto", "local", "ray", "dask")
_FRAMES = ("pandas", "polars", "arrow")
_RETURNS = ("frames", "table", "result")
_OPTIONS = ("symbols", "symbol_col", "time_col", "price_col", "time_format")
#: Failures that the log names one by one.
_NAMED = 10

_T = TypeVar("_T")


# ---------------------------------------------------------------------------------------------- reading ahead


def prefetched(items: Iterable[_T], ahead: int = 1) -> Generator[_T, None, None]:
    """Take items from an iterable in a thread, at most `ahead` more than were asked for.

    Parameters
    ----------
    items : iterable
        Where from. What it raises is raised here, in its place.
    ahead : int, default 1
        Items that wait to be taken; one more may be in the making.

    Yields
    ------
    object
        The items in order. When this generator is closed, the thread ends after the item that it is making, which is
        waited for, but not longer than a second.

    Examples
    --------
    >>> from warpquant.scanner import prefetched
    >>> list(prefetched(range(3)))
    [0, 1, 2]
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=whole("ahead", ahead, 1))
    closed = threading.Event()

    def put(found: tuple[bool, Any]) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(found, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if closed.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    # Settings of the caller hold there too.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="warpquant-read")
    thread.start()
    try:
        while True:
            there, item = ready.get()
            if not there:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        closed.set()
        thread.join(1.0)  # a library may not like to be in the middle of something when the process ends


# ---------------------------------------------------------------------------------------------- rows as plain values

_WHOLE = ("bars", "trend", "direction")
_REAL = tuple(f.name for f in dataclasses.fields(Row) if f.type == "float")


def _time_out(time: Any) -> Any:
    if isinstance(time, np.datetime64):
        return [int(time.astype(np.int64)), np.datetime_data(time.dtype)[0]]
    return time


def _time_in(value: Any) -> np.datetime64 | int | None:
    return np.datetime64(value[0], value[1]) if isinstance(value, list) else value


def _rows_out(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows as columns of plain values; a NaN is None."""
    columns: dict[str, list[Any]] = {f.name: [getattr(r, f.name) for r in rows] for f in dataclasses.fields(Row)}
    columns["time"] = [_time_out(time) for time in columns["time"]]
    for name in _REAL:
        columns[name] = [None if math.isnan(value) else value for value in columns[name]]
    return columns


def _rows_in(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    whole: dict[str, Sequence[Any]] = dict(columns)
    whole["time"] = [_time_in(value) for value in columns["time"]]
    for name in _REAL:
        whole[name] = [math.nan if value is None else float(value) for value in columns[name]]
    names = [f.name for f in dataclasses.fields(Row)]
    return [Row(**dict(zip(names, values, strict=True))) for values in zip(*(whole[n] for n in names), strict=True)]


def _said_out(items: Iterable[Failure | Note]) -> list[dict[str, str]]:
    return [dataclasses.asdict(item) for item in items]


def _signals_out(recent: Mapping[str, Floats]) -> dict[str, list[float | None]]:
    return {s: [None if math.isnan(v) else v for v in values.tolist()] for s, values in recent.items()}


@dataclasses.dataclass
class _Parts:
    """What a scan has found so far."""

    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    warnings: list[Note] = dataclasses.field(default_factory=list)
    recent: dict[str, Floats] = dataclasses.field(default_factory=dict)

    def extend(self, other: _Parts) -> None:
        self.rows += other.rows
        self.failures += other.failures
        self.warnings += other.warnings
        self.recent.update(other.recent)

    def to_record(self, symbols: Sequence[str]) -> dict[str, Any]:
        """The same for a line of a checkpoint."""
        return {
            "symbols": list(symbols),
            "rows": _rows_out(self.rows),
            "failures": _said_out(self.failures),
            "warnings": _said_out(self.warnings),
            "recent": _signals_out(self.recent),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> _Parts:
        nan = math.nan
        return cls(
            _rows_in(record["rows"]),
            [Failure(**item) for item in record["failures"]],
            [Note(**item) for item in record["warnings"]],
            {s: np.array([nan if v is None else v for v in values]) for s, values in record["recent"].items()},
        )

    def to_entry(self) -> cache.Entry:
        """The same for the cache: numbers as arrays."""
        record = self.to_record([])
        columns = record["rows"]
        arrays = {name: np.array(columns.pop(name), dtype=np.int64) for name in _WHOLE}
        arrays |= {name: np.array(columns.pop(name), dtype=np.float64) for name in _REAL}
        return cache.Entry(arrays, record)

    @classmethod
    def from_entry(cls, entry: cache.Entry) -> _Parts:
        columns = {**entry.info["rows"], **{name: array.tolist() for name, array in entry.arrays.items()}}
        return cls.from_record({**entry.info, "rows": columns})


# ---------------------------------------------------------------------------------------------- scanning


def _mapper(execution: str, workers: int | None) -> Callable[[Any, Iterable[Any]], Iterator[Any]] | None:
    """What runs batches elsewhere; None runs them here."""
    choice("execution", execution, _EXECUTIONS)
    if execution in ("auto", "local"):
        if workers is not None:
            raise ParameterError(f"workers: goes with execution='ray' or 'dask', not {execution!r}; see num_threads")
        return None
    try:
        module = importlib.import_module(f"warpquant.ext.{execution}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"execution={execution!r} needs {error.name}: pip install 'warpquant[{execution}]'"
        ) from error
    return functools.partial(module.map_batches, workers=workers)


def _scanned(
    source: Source,
    settings: Settings,
    symbols: Sequence[str],
    batch_size: int,
    run: Callable[[Any, Iterable[Any]], Iterator[Any]] | None,
) -> Iterator[tuple[Sequence[str], _Parts]]:
    """Each batch of symbols with what was found in it."""
    under_way: collections.deque[tuple[Sequence[str], _Parts, dict[str, Any]]] = collections.deque()

    def read() -> Iterator[dict[str, Any]]:
        places = iter(range(0, len(symbols), batch_size))
        for start, batch in zip(places, batches(source, batch_size, symbols), strict=True):
            ends = {s: end_time(batch, s) for s in batch if batch.times.get(s) is not None and _has_prices(batch[s])}
            names = symbols[start : start + batch_size]
            under_way.append((names, _Parts(failures=list(batch.failures), warnings=list(batch.warnings)), ends))
            yield dict(batch)

    with contextlib.closing(prefetched(read())) as ahead:
        call = functools.partial(scan_batch, settings=settings)
        found: Found
        for found in map(call, ahead) if run is None else run(call, ahead):
            names, parts, ends = under_way.popleft()
            parts.rows = [dataclasses.replace(r, time=ends[r.symbol]) if r.symbol in ends else r for r in found.rows]
            parts.failures += found.failures
            parts.recent = found.recent if settings.recent else {}
            _counters.add("batches")
            _counters.add("symbols", len(names))
            yield names, parts


def _has_prices(close: Any) -> bool:
    close = np.asarray(close)
    return close.dtype.kind in "fiu" and bool(np.isfinite(close).any())


def _about(source: Source, settings: Settings, prices: str) -> dict[str, Any]:
    """What decides the rows of a scan. Threads and devices do not."""
    return {
        "warpquant": _core.__version__,
        "parameters": settings.params.to_dict(),
        "min_bars": settings.min_bars,
        "recent": settings.recent,
        "flips": settings.flips,
        "prices": prices,
    }


def _scan(
    source: Source,
    settings: Settings,
    *,
    batch_size: int,
    run: Callable[[Any, Iterable[Any]], Iterator[Any]] | None,
    max_symbols: int | None,
    checkpoint: str | os.PathLike[str] | None,
    resume: bool,
    progress: Callable[[int, int], object] | None,
) -> _Parts:
    parts = _Parts()
    by_content = config.get("cache.fingerprint") == "content"
    with contextlib.ExitStack() as stack:
        saved = None
        symbols = list(source.symbols())[:max_symbols]
        if checkpoint is not None:
            about = {**_about(source, settings, source.fingerprint(by_content)), "symbols": cache.key(symbols)}
            saved = stack.enter_context(Checkpoint(checkpoint, about, resume=resume))
            for record in saved.records:
                parts.extend(_Parts.from_record(record))
        done = {symbol for record in (saved.records if saved else ()) for symbol in record["symbols"]}
        left = [symbol for symbol in symbols if symbol not in done]
        if progress is not None and done:
            progress(len(done), len(symbols))
        number = len(done)
        for names, found in _scanned(source, settings, left, batch_size, run):
            if saved is not None:
                saved.add(found.to_record(names))
            parts.extend(found)
            number += len(names)
            if progress is not None:
                progress(number, len(symbols))
    return parts


def _kept(source: Source, settings: Settings, max_symbols: int | None, scan: Callable[[], _Parts]) -> _Parts:
    """The result of a scan from the cache, or made and kept there."""
    by_content = config.get("cache.fingerprint") == "content"
    before = source.fingerprint(by_content)

    def make() -> cache.Entry | None:
        made.append(scan())
        # Files that changed while they were read have no result that anyone can name.
        return made[0].to_entry() if source.fingerprint(by_content) == before else None

    made: list[_Parts] = []
    name = cache.key("scan", _about(source, settings, before), max_symbols)
    entry = cache.entry(name, make)
    if made:
        return made[0]
    assert entry is not None
    return _Parts.from_entry(entry)


def scan_source(
    source: Any,
    params: ATCConfig | Params | Mapping[str, Any] | None = None,
    *,
    batch_size: int = 100,
    min_signal: float = 0.01,
    execution: str = "auto",
    workers: int | None = None,
    max_symbols: int | None = None,
    top: int | None = None,
    min_bars: int | None = None,
    nan_policy: str | None = None,
    recent: int = 0,
    flips: bool = True,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **columns: Any,
) -> ScanResult:
    """Classify the trend of every symbol of a source and rank them.

    Parameters
    ----------
    source
        Whatever `warpquant.sources.open_source` takes: frames, mappings, arrays, files, folders, queries, fetchers.
    params : ATCConfig, Params or mapping, optional
        Parameters of ATC. The `calculation_source` of an `ATCConfig` chooses the column of prices.
    batch_size : int, default 100
        Symbols in a batch. The result does not depend on it; memory does.
    min_signal, top, min_bars, nan_policy, recent, num_threads, device
        As in `warpquant.scan.scan`.
    execution : {'auto', 'local', 'ray', 'dask'}, default 'auto'
        Where batches are computed: in this process ('auto', 'local'), or by workers of Ray or Dask, each with one
        thread unless `num_threads` says otherwise.
    workers : int, optional
        Workers of Ray or Dask; by default theirs.
    max_symbols : int, optional
        Only the first symbols of the source.
    flips : bool, default True
        Whether rows tell `bars_since_flip`, which takes the trend of every bar and not of the last alone.
    progress : callable, optional
        Called with the number of symbols done and to do, after each batch.
    checkpoint : path, optional
        File to write each batch to as soon as it is done, so that a scan that was killed can go on.
    resume : bool, default False
        Go on with that file, if it exists.
    **columns
        `symbols`, `symbol_col`, `time_col`, `price_col` and `time_format`, as in `warpquant.sources.open_source`.

    Returns
    -------
    ScanResult
        Ranked rows, failures and warnings. For files it may come from the cache (`warpquant.cache`), unless there is a
        checkpoint or `recent` bars are kept.

    Raises
    ------
    ParameterError
        If an argument is out of range or unknown, or a checkpoint belongs to another scan.
    DTypeError
        If `source` holds no prices.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.scanner import scan_source
    >>> scan_source(warpquant.data.sp500_20(), batch_size=8).counts["scanned"]
    20
    """
    run = _mapper(execution, workers)
    if run is not None and num_threads is None:
        num_threads = 1
    settings = settings_of(params, min_bars, nan_policy, recent, flips, num_threads, device)
    batch_size = whole("batch_size", batch_size, 1)
    min_signal = number("min_signal", min_signal, 0.0, 1.0)
    top = None if top is None else whole("top", top, 1)
    max_symbols = None if max_symbols is None else whole("max_symbols", max_symbols, 1)
    if resume and checkpoint is None:
        raise ParameterError("resume: there is nothing to go on with; give checkpoint too")
    opened = _opened(source, params, columns)
    scan = functools.partial(
        _scan, opened, settings,
        batch_size=batch_size, run=run, max_symbols=max_symbols, checkpoint=checkpoint, resume=resume,
        progress=progress,
    )  # fmt: skip
    keep = opened.stable and checkpoint is None and not recent and config.get("cache.enabled")
    parts = _kept(opened, settings, max_symbols, scan) if keep else scan()
    return ranked(parts.rows, parts.failures, parts.warnings, settings, min_signal, top, parts.recent)


def _opened(source: Any, params: Any, columns: Mapping[str, Any]) -> Source:
    """The source, with the column of prices that a configuration of the port asks for."""
    unknown = set(columns) - set(_OPTIONS)
    if unknown:
        raise ParameterError(f"{min(unknown)}: is no argument; those that name columns are {', '.join(_OPTIONS)}")
    wanted = params.calculation_source if isinstance(params, ATCConfig) else "close"
    if wanted == "close" or columns.get("price_col") is not None:
        return open_source(source, **columns)
    fetches = getattr(source, "price", None)
    if fetches is None and (isinstance(source, (Mapping, np.ndarray, Source)) or hasattr(source, "fetch")):
        raise ParameterError(
            f"config: calculation_source={wanted!r} chooses a column, and the source has one series each"
        )
    if fetches is not None and fetches != wanted:
        raise ParameterError(f"config: calculation_source={wanted!r}, but the fetcher fetches price={fetches!r}")
    return open_source(source, **({} if fetches else {"price_col": wanted}), **columns)


def warm(source: Any, params: Any = None, **options: Any) -> bool:
    """Scan into the cache; see `warpquant.cache.warm`."""
    opened = _opened(source, params, {name: options.pop(name) for name in _OPTIONS if name in options})
    if not opened.stable or not config.get("cache.enabled"):
        return False
    options.setdefault("flips", False)  # as `scan_all_symbols` has it
    before = cache.stats()
    scan_source(opened, params, **options)
    after = cache.stats()
    counted = ("memory_hits", "disk_hits", "stored")
    return any(after[name] > before[name] for name in counted)


# ---------------------------------------------------------------------------------------------- as the port has it


def scan_all_symbols(
    source: Any,
    config: ATCConfig | Params | Mapping[str, Any] | None = None,
    *,
    batch_size: int = 100,
    min_signal: float = 0.01,
    execution: str = "auto",
    workers: int | None = None,
    max_symbols: int | None = None,
    top: int | None = None,
    min_bars: int | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    returns: str = "frames",
    frame: str | None = None,
    **columns: Any,
) -> Any:
    """Rank the symbols of a source by their trend, as a long and a short frame.

    Parameters
    ----------
    source
        Whatever `warpquant.sources.open_source` takes: frames, mappings, arrays, files, folders, queries, fetchers.
    config : ATCConfig, Params or mapping, optional
        Parameters of ATC. Missing bars are skipped, whatever it says, unless it is a mapping that names `nan_policy`.
    batch_size, execution, workers, max_symbols, num_threads, device, progress, checkpoint, resume
        As in `warpquant.scanner.scan_source`.
    min_signal, top, min_bars
        As in `warpquant.scan.scan`.
    returns : {'frames', 'table', 'result'}, default 'frames'
        ``(long, short)``; one table of all symbols, led by their ``side``; or a `warpquant.scan.ScanResult`, which
        holds failures too.
    frame : {'pandas', 'polars', 'arrow'}, optional
        Library of the frames; by default that of `source` if it is one of them, else pandas.
    **columns
        `symbols`, `symbol_col`, `time_col`, `price_col` and `time_format`, as in `warpquant.sources.open_source`.

    Returns
    -------
    (frame, frame), frame or ScanResult
        Columns ``symbol``, ``signal`` (the average signal of the last bar, in [-1, 1]), ``trend`` (its sign), ``price``
        (last close) and ``exchange`` (empty unless the source knows one); strongest first. Symbols that cannot be
        scanned are left out and named in the log.

    Raises
    ------
    ParameterError, DTypeError, DeviceUnavailableError
        As in `warpquant.scanner.scan_source`.
    ImportError
        If the library of the frames is not installed.

    Examples
    --------
    >>> import warpquant
    >>> long, short = warpquant.scan_all_symbols(warpquant.data.sp500_20())
    >>> list(long.columns), list(long["symbol"][:3])
    (['symbol', 'signal', 'trend', 'price', 'exchange'], ['CVX', 'LLY', 'XOM'])
    """
    choice("returns", returns, _RETURNS)
    if frame is not None:
        choice("frame", frame, _FRAMES)
    opened = _opened(source, config, columns)
    result = scan_source(
        opened, config.params if isinstance(config, ATCConfig) else config,
        batch_size=batch_size, min_signal=min_signal, execution=execution, workers=workers, max_symbols=max_symbols,
        top=top, min_bars=min_bars, flips=False, num_threads=num_threads, device=device, progress=progress,
        checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    for failure in result.failures[:_NAMED]:
        _log.warning("%s was not scanned: it %s", failure.symbol, failure.message)
    if len(result.failures) > _NAMED:
        _log.warning("%d more symbols were not scanned", len(result.failures) - _NAMED)
    if returns == "result":
        return result
    make = _frame_maker(frame or _library_of(source))
    if returns == "table":
        sides = {side: getattr(result, side) for side in ("long", "short", "neutral")}
        names = [side for side, rows in sides.items() for _ in rows]
        return make({"side": names, **_columns([row for rows in sides.values() for row in rows], opened.exchange)})
    return make(_columns(result.long, opened.exchange)), make(_columns(result.short, opened.exchange))


def _columns(rows: Sequence[Row], exchange: str) -> dict[str, Any]:
    return {
        "symbol": [row.symbol for row in rows],
        "signal": np.array([row.average for row in rows], dtype=np.float64),
        "trend": np.array([row.trend for row in rows], dtype=np.int64),
        "price": np.array([row.price for row in rows], dtype=np.float64),
        "exchange": [exchange] * len(rows),
    }


def _library_of(source: Any) -> str:
    root = type(source).__module__.partition(".")[0]
    return {"polars": "polars", "pyarrow": "arrow"}.get(root, "pandas")


def _frame_maker(name: str) -> Callable[[dict[str, Any]], Any]:
    module = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}[name]
    try:
        library = importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"frames of {name} need {module}: pip install {module}; or take returns='result', or another frame="
        ) from None
    if name == "pandas":
        return lambda columns: library.DataFrame(
            {
                key: library.Series(values, dtype="str" if isinstance(values, list) else None)
                for key, values in columns.items()
            }
        )
    if name == "polars":
        return lambda columns: library.DataFrame(
            columns,
            schema_overrides={key: library.String for key, values in columns.items() if isinstance(values, list)},
        )
    return lambda columns: library.table(
        {
            key: library.array(values, library.string()) if isinstance(values, list) else values
            for key, values in columns.items()
        }
    )


def analyze_symbol(
    symbol: str,
    source: Any,
    config: ATCConfig | Params | Mapping[str, Any] | None = None,
    *,
    min_bars: int | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    frame: str | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Everything that ATC says about one symbol of a source.

    Parameters
    ----------
    symbol : str
        Its name there.
    source, config, frame, **columns
        As in `scan_all_symbols`.
    min_bars : int, optional
        Fewest bars with a price; by default the length of the longest average.
    num_threads, device
        As in `warpquant.atc.run`.

    Returns
    -------
    dict
        ``symbol``; ``df``, a frame of ``time`` and ``close``; ``atc_results``, the outputs of
        `warpquant.compute_atc_signals` by their names in the port, as series of the same library (in pandas with the
        times as index); ``current_price``; and ``exchange_label``. Bars are those with a price.

    Raises
    ------
    ParameterError
        If the source has no such symbol, or it cannot be analysed; the message says why.

    Examples
    --------
    >>> import warpquant
    >>> found = warpquant.analyze_symbol("AAPL", warpquant.data.sp500_20())
    >>> found["current_price"], float(found["atc_results"]["Average_Signal"].iloc[-1])
    (125.674, -1.0)
    """
    settings = settings_of(config, min_bars, None, 0, False, num_threads, device)
    make = _frame_maker(frame or _library_of(source))
    opened = _opened(source, config, columns)
    known = opened.symbols()
    if symbol not in known:
        near = difflib.get_close_matches(symbol, known, 1)
        raise ParameterError(f"symbol: the source has no {symbol!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    prices = opened.fetch([symbol])
    found = scan_batch(dict(prices), settings)
    failures = [*prices.failures, *found.failures]
    if failures:
        raise ParameterError(f"symbol: {symbol!r} {failures[0].message}")
    close, times = np.asarray(prices[symbol], dtype=np.float64), prices.times.get(symbol)
    if settings.params.nan_policy == "skip":
        present = np.isfinite(close)
        close, times = close[present], None if times is None else np.asarray(times)[present]
    results = atc.run(close, settings.params, outputs=atc._PORT_OUTPUTS, num_threads=num_threads, device=device)
    frames = make({**({} if times is None else {"time": times}), "close": close})
    series = make(results)
    if hasattr(frames, "iloc"):
        frames = frames.set_index("time") if times is not None else frames
        series.index = frames.index
    return {
        "symbol": symbol,
        "df": frames,
        "atc_results": {name: series[name] for name in results},
        "current_price": found.rows[0].price,
        "exchange_label": opened.exchange,
    }
