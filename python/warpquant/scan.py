# SPDX-License-Identifier: Apache-2.0
"""Scan many symbols for trends: prices in, ranked long and short lists out.

`read_prices` reads CSV, Parquet and Feather files of any common layout, `scan` runs ATC over every symbol and ranks
them. A symbol that cannot be scanned is reported among the failures and never stops the others.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, atc, config
from ._checks import number, whole
from ._devices import chosen
from ._prices import Failure, Floats, Note, Prices, Times, count, read_prices, time_text
from .atc import Params
from .data import PricePanel
from .errors import DTypeError, LayoutError, ParameterError, ShapeError

__all__ = ["SCHEMA", "Failure", "Note", "Prices", "Row", "ScanResult", "read_prices", "scan"]

#: Name and version of `ScanResult.to_dict`; the number grows when a field changes its meaning or goes.
SCHEMA = "warpquant.scan/1"

_SIGNALS = tuple(f"{family.lower()}_signal" for family in atc.FAMILIES)
_SIDES = ("long", "short", "neutral")
_OUTPUTS = ("average", "trend", "direction", *_SIGNALS)

# Series are scanned in batches of about this many bars: 58 bytes a bar make 30 MB, and an interrupt waits some 20 ms.
_BATCH_BARS = 500_000


@dataclasses.dataclass(frozen=True)
class Row:
    """The last bar of one symbol.

    Attributes
    ----------
    symbol : str
        Name.
    time : datetime64, int or None
        Time of the last bar.
    bars : int
        Bars with a price; under ``nan_policy='propagate'`` all bars.
    price : float
        Last close that is not missing.
    average : float
        Average signal, in [-1, 1].
    trend, direction : int
        Its sign, and +1 or -1 latched at the thresholds.
    bars_since_flip : int or None
        Bars since `direction` took its present value: 0 if it did on the last bar, None if it never left 0, or if a
        scan of last values alone did not look back.
    ema_signal, hma_signal, wma_signal, dema_signal, lsma_signal, kama_signal : float
        Layer-1 signals, in [-1, 1].
    """

    symbol: str
    time: np.datetime64 | int | None
    bars: int
    price: float
    average: float
    trend: int
    direction: int
    bars_since_flip: int | None
    ema_signal: float
    hma_signal: float
    wma_signal: float
    dema_signal: float
    lsma_signal: float
    kama_signal: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them: NaN as None, a time as text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["time"] = time_text(self.time)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


@dataclasses.dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes
    ----------
    rows : tuple of Row
        Every symbol scanned, ranked by average signal, highest first; of equal ones the latest flip comes first.
    failures : tuple of Failure
        Symbols and files without a result.
    warnings : tuple of Note
        What was put right while reading.
    params : Params
        Parameters used.
    min_signal, top, min_bars
        As given to `scan`.
    recent : dict
        Symbol to its last average signals, oldest first, for pictures.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[Note, ...]
    params: Params
    min_signal: float
    top: int | None
    min_bars: int
    recent: Mapping[str, Floats] = dataclasses.field(repr=False)

    def _side(self, row: Row) -> str:
        if math.isnan(row.average) or row.average == 0.0 or abs(row.average) < self.min_signal:
            return "neutral"
        return "long" if row.average > 0 else "short"

    def _on(self, side: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if self._side(row) == side)

    @property
    def long(self) -> tuple[Row, ...]:
        """Symbols with an average signal of `min_signal` or more, strongest first, at most `top`."""
        return self._on("long")[: self.top]

    @property
    def short(self) -> tuple[Row, ...]:
        """Symbols with an average signal of minus `min_signal` or less, strongest first, at most `top`."""
        return tuple(sorted(self._on("short"), key=lambda row: (row.average, *_freshness(row))))[: self.top]

    @property
    def neutral(self) -> tuple[Row, ...]:
        """Symbols with a weaker signal, or none."""
        return self._on("neutral")

    @property
    def counts(self) -> dict[str, int]:
        """Number of symbols ``scanned``, ``long``, ``short``, ``neutral`` (before `top`) and ``failed``."""
        sides = [self._side(row) for row in self.rows]
        return {
            "scanned": len(sides),
            **{side: sides.count(side) for side in _SIDES},
            "failed": len(self.failures),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold; docs/scan.md describes the fields."""
        return {
            "schema": SCHEMA,
            "warpquant": _core.__version__,
            "params": self.params.to_dict(),
            "min_signal": self.min_signal,
            "top": self.top,
            "min_bars": self.min_bars,
            "counts": self.counts,
            "long": [row.to_dict() for row in self.long],
            "short": [row.to_dict() for row in self.short],
            "neutral": [row.to_dict() for row in self.neutral],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "warnings": [dataclasses.asdict(warning) for warning in self.warnings],
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)

    @staticmethod
    def columns() -> list[str]:
        """Names of the fields of a record."""
        return ["side", *(field.name for field in dataclasses.fields(Row))]

    def to_records(self) -> list[dict[str, Any]]:
        """One dictionary for each symbol of `long`, `short` and `neutral`, in that order, led by its ``side``."""
        return [{"side": side, **row.to_dict()} for side in _SIDES for row in getattr(self, side)]

    def to_arrow(self) -> Any:
        """The records as an Arrow table; its ``time`` is a timestamp, or whole numbers, or null.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise ImportError("an Arrow table needs pyarrow: pip install 'warpquant[data]'") from None
        rows = [(side, row) for side in _SIDES for row in getattr(self, side)]
        columns: dict[str, Any] = {"side": [side for side, _ in rows]}
        for field in dataclasses.fields(Row):
            columns[field.name] = [getattr(row, field.name) for _, row in rows]
        kinds = {"side": pa.string(), "symbol": pa.string(), "bars": pa.int64(), "bars_since_flip": pa.int64()}
        kinds |= {"trend": pa.int8(), "direction": pa.int8(), "time": pa.null()}
        if any(isinstance(time, np.datetime64) for time in columns["time"]):
            dates = [time if isinstance(time, np.datetime64) else None for time in columns["time"]]
            columns["time"], kinds["time"] = np.array(dates, dtype="datetime64[us]"), pa.timestamp("us")
        elif any(time is not None for time in columns["time"]):
            kinds["time"] = pa.int64()
        return pa.table({name: pa.array(values, kinds.get(name, pa.float64())) for name, values in columns.items()})


def _freshness(row: Row) -> tuple[float, str]:
    """Order of symbols with the same signal: latest flip first, then by name."""
    return (math.inf if row.bars_since_flip is None else row.bars_since_flip, row.symbol)


def _strength(row: Row) -> tuple[bool, float, float, str]:
    """Order by the size of the signal whatever its sign, latest flip first among equal ones."""
    return (math.isnan(row.average), -abs(row.average), *_freshness(row))


def _bars_since_flip(direction: npt.NDArray[np.int8]) -> int | None:
    if direction[-1] == 0:
        return None
    (elsewhere,) = np.nonzero(direction != direction[-1])
    return int(len(direction) - 1 - (elsewhere[-1] + 1 if elsewhere.size else 0))


def _times_of(prices: Any, symbol: str) -> Times | None:
    if isinstance(prices, Prices):
        return prices.times.get(symbol)
    return prices.dates if isinstance(prices, PricePanel) else None


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    bars = 0
    for symbol, size in sizes.items():
        if batch and bars + size > _BATCH_BARS:
            yield batch
            batch, bars = [], 0
        batch.append(symbol)
        bars += size
    if batch:
        yield batch


def scan(
    prices: Mapping[str, Any],
    params: Params | Mapping[str, Any] | None = None,
    *,
    min_signal: float = 0.01,
    top: int | None = None,
    min_bars: int | None = None,
    nan_policy: str | None = None,
    recent: int = 120,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ScanResult:
    """Classify the trend of every symbol and rank them.

    Parameters
    ----------
    prices : mapping of str to array
        Closes by symbol, oldest first: what `read_prices` returns, a `PricePanel`, or any mapping (a pandas frame:
        ``dict(frame.items())``). Lengths may differ. NaN and infinite values are missing bars; zero and negative
        prices are legal.
    params : Params or mapping, optional
        Parameters of ATC.
    min_signal : float, default 0.01
        Least size of the average signal to be listed as long or short.
    top : int, optional
        Most symbols listed on either side.
    min_bars : int, optional
        Fewest bars with a price; a symbol with fewer is a failure. By default the length of the longest average.
    nan_policy : {'skip', 'propagate', 'raise'}, optional
        What missing bars do. By default ``'skip'``, whatever `params` says, unless `params` is a mapping that names
        it: a symbol's result then does not depend on the panel it comes in.
    recent : int, default 120
        Bars of the average signal to keep for each symbol.
    num_threads, device
        As in `warpquant.atc.run`.
    progress : callable, optional
        Called with the number of symbols done and to do, after each batch.

    Returns
    -------
    ScanResult
        Ranked rows, failures and warnings.

    Raises
    ------
    ParameterError
        If a parameter is out of range or unknown.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.scan import scan
    >>> result = scan(warpquant.data.sp500_20(), top=3)
    >>> len(result.rows), len(result.long)
    (20, 3)
    """
    if not hasattr(prices, "items"):
        raise ParameterError(f"prices: {type(prices).__name__} is no mapping from symbol to prices")
    settings = settings_of(params, min_bars, nan_policy, recent, True, num_threads, device)
    min_signal = number("min_signal", min_signal, 0.0, 1.0)
    top = None if top is None else whole("top", top, 1)

    failures = list(prices.failures) if isinstance(prices, Prices) else []
    warnings = prices.warnings if isinstance(prices, Prices) else ()
    closes, ends, refused = _prepare(prices, settings)
    failures.extend(refused)
    rows: list[Row] = []
    kept: dict[str, Floats] = {}
    done = 0
    for batch in _batches({symbol: len(close) for symbol, close in closes.items()}):
        found = _classify({symbol: closes.pop(symbol) for symbol in batch}, ends, settings)
        failures.extend(found.failures)
        rows.extend(dataclasses.replace(row, time=end_time(prices, row.symbol)) for row in found.rows)
        kept.update(found.recent)
        done += len(batch)
        if progress is not None:
            progress(done, len(ends))
    return ranked(rows, failures, warnings, settings, min_signal, top, kept)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the row of a symbol, apart from its prices; plain values, so that other processes can have it."""

    params: Params
    min_bars: int
    recent: int = 0
    flips: bool = True
    num_threads: int | None = None
    device: str | None = None


class Found(NamedTuple):
    """What a batch gave: rows without their times, failures, last average signals by symbol."""

    rows: list[Row]
    failures: list[Failure]
    recent: dict[str, Floats]


class _End(NamedTuple):
    bars: int
    price: float


def settings_of(
    params: Params | atc.ATCConfig | Mapping[str, Any] | None,
    min_bars: int | None,
    nan_policy: str | None,
    recent: int,
    flips: bool,
    num_threads: int | None,
    device: str | None,
) -> Settings:
    """The same, checked, with what was left out filled in."""
    if isinstance(params, atc.ATCConfig):
        params = params.params
    if params is not None and not isinstance(params, (Params, Mapping)):
        raise ParameterError(f"params: {type(params).__name__} is neither Params nor a mapping")
    if not isinstance(params, Params):
        params = Params.from_dict({"nan_policy": "skip", **(params or {})})
        nan_policy = nan_policy or params.nan_policy
    params = dataclasses.replace(params, nan_policy=nan_policy or "skip")
    longest = max(max(lengths) for lengths in params.family_lengths)
    min_bars = longest if min_bars is None else whole("min_bars", min_bars, 1)
    recent = whole("recent", recent, 0)
    config._execution(num_threads)
    chosen(device)
    return Settings(params, min_bars, recent, flips, num_threads, device)


def ranked(
    rows: Iterable[Row],
    failures: Iterable[Failure],
    warnings: Iterable[Note],
    settings: Settings,
    min_signal: float,
    top: int | None,
    recent: Mapping[str, Floats],
) -> ScanResult:
    """The result of a scan from its parts, in whatever order they came."""
    order = sorted(rows, key=lambda row: (math.isnan(row.average), -row.average, *_freshness(row)))
    return ScanResult(
        tuple(order), tuple(failures), tuple(warnings), settings.params, min_signal, top, settings.min_bars, recent
    )


def end_time(prices: Any, symbol: str) -> np.datetime64 | int | None:
    """Time of a symbol's last price, if times are known."""
    times = _times_of(prices, symbol)
    if times is None:
        return None
    time = times[int(np.flatnonzero(np.isfinite(prices[symbol]))[-1])]
    return int(time) if isinstance(time, np.integer) else time


def scan_batch(batch: Mapping[str, Any], settings: Settings) -> Found:
    """Classify some symbols: what every way of scanning runs, in this process or in others.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.scan import scan_batch, settings_of
    >>> settings = settings_of(None, None, None, 0, False, None, None)
    >>> found = scan_batch({"up": np.linspace(100, 200, 60), "young": np.ones(3)}, settings)
    >>> [row.symbol for row in found.rows], [failure.reason for failure in found.failures]
    (['up'], ['short'])
    """
    closes, ends, failures = _prepare(batch, settings)
    rows: list[Row] = []
    recent: dict[str, Floats] = {}
    for part in _batches({symbol: len(close) for symbol, close in closes.items()}):
        found = _classify({symbol: closes.pop(symbol) for symbol in part}, ends, settings)
        rows.extend(found.rows)
        failures.extend(found.failures)
        recent.update(found.recent)
    return Found(rows, failures, recent)


def _prepare(prices: Mapping[str, Any], settings: Settings) -> tuple[dict[str, Floats], dict[str, _End], list[Failure]]:
    """Closes that can be scanned, where each ends, and what cannot be."""
    closes: dict[str, Floats] = {}
    ends: dict[str, _End] = {}
    failures: list[Failure] = []
    for key, values in prices.items():
        symbol = str(key)
        found = _present(symbol, values, settings.min_bars)
        if isinstance(found, Failure):
            failures.append(found)
            continue
        close, present = found
        price = float(close[int(np.flatnonzero(present)[-1])])
        closes[symbol] = close[present] if settings.params.nan_policy == "skip" and not present.all() else close
        ends[symbol] = _End(len(closes[symbol]), price)
    return closes, ends, failures


def _classify(closes: dict[str, Floats], ends: Mapping[str, _End], settings: Settings) -> Found:
    results, failures = _run_batch(closes, settings)
    rows: list[Row] = []
    recent: dict[str, Floats] = {}
    last_only = _last_only(settings)
    for symbol, average in results["average"].items():
        last = {name: results[name][symbol] if last_only else results[name][symbol][-1] for name in _OUTPUTS}
        if not last_only:
            # A view would keep the whole batch.
            recent[symbol] = average[max(0, len(average) - settings.recent) :].copy()
        rows.append(
            Row(
                symbol=symbol,
                time=None,
                bars=ends[symbol].bars,
                price=ends[symbol].price,
                trend=int(last["trend"]),
                direction=int(last["direction"]),
                bars_since_flip=None if last_only else _bars_since_flip(results["direction"][symbol]),
                **{name: float(last[name]) for name in ("average", *_SIGNALS)},
            )
        )
    return Found(rows, failures, recent)


def _last_only(settings: Settings) -> bool:
    return not (settings.flips or settings.recent)


def _present(symbol: str, values: Any, min_bars: int) -> tuple[Floats, npt.NDArray[np.bool_]] | Failure:
    """The closes of a symbol and where they are not missing, or why it cannot be scanned."""
    kind = getattr(getattr(values, "dtype", None), "kind", "f")
    if kind in "bmM":  # NumPy would make numbers of them
        return Failure(symbol, "not_numeric", f"is no series of numbers: it holds {values.dtype}")
    try:
        close = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        return Failure(symbol, "not_numeric", f"is no series of numbers: {error}")
    if close.ndim != 1:
        return Failure(symbol, "not_numeric", f"is no series: it has {close.ndim} dimensions")
    present = np.isfinite(close)
    bars = int(present.sum())
    if bars == 0:
        return Failure(symbol, "empty", "has no prices")
    if bars < min_bars:
        return Failure(symbol, "short", f"has {count(bars, 'bar')}, fewer than min_bars={min_bars}")
    return close, present


def _run_batch(closes: dict[str, Floats], settings: Settings) -> tuple[dict[str, dict[str, Any]], list[Failure]]:
    """Results by output and symbol; if the batch is refused, each symbol alone tells which one it was."""
    try:
        return atc.run(
            closes, settings.params, outputs=_OUTPUTS, last_only=_last_only(settings),
            num_threads=settings.num_threads, device=settings.device,
        ), []  # fmt: skip
    except (ParameterError, ShapeError, DTypeError, LayoutError) as error:
        if len(closes) == 1:
            return {name: {} for name in _OUTPUTS}, [Failure(next(iter(closes)), "rejected", str(error))]
    results: dict[str, dict[str, Any]] = {name: {} for name in _OUTPUTS}
    failures: list[Failure] = []
    for symbol, close in closes.items():
        alone, refused = _run_batch({symbol: close}, settings)
        failures.extend(refused)
        for name in _OUTPUTS:
            results[name].update(alone[name])
    return results, failures
