# SPDX-License-Identifier: Apache-2.0
"""Backtests of thousands of parameter sets of ATC, over one series or many.

`Grid` says which sets, `sweep` gives a table with one row for each set and symbol, and `iter_sweep` the same in pieces,
for tables that are larger than memory. Sets share what they have in common (docs/atc.md, "Many sets of parameters"),
and every value has the bits of a run with that set alone. The best row of such a table is the luckiest one as well:
`warpquant.evaluate` says what remains of it out of sample.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import atc, backtest, config
from ._checks import choice
from ._containers import unpack
from ._devices import resolve
from ._grid import Grid, Positions
from ._prices import Failure, Floats, Prices
from .atc import Params
from .backtest import METRICS, Costs, Rules
from .errors import DTypeError, LayoutError, ParameterError, ShapeError
from .scan import _present

__all__ = ["Grid", "Pivot", "Selected", "SweepResult", "iter_sweep", "sweep"]

#: Set-bars of a piece of work. A backtest holds signals of 8 bytes a bar (32 MiB); without one nothing is held, and a
#: piece takes some tenths of a second, which is what an interrupt waits.
_BACKTEST_POINTS, _SIGNAL_POINTS = 2**22, 2**25
#: Sets that a piece should have at least, so that there is something to share.
_FEW_SETS = 128

_REFUSED = (ParameterError, ShapeError, DTypeError, LayoutError)
Table = dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """Series with equally many bars: where they stand among all, and their closes, (series, bars)."""

    series: list[int]
    close: Floats


@dataclasses.dataclass(frozen=True)
class Market:
    """The prices of a sweep: names of the symbols, or None for a single series, and the closes."""

    symbols: list[Any] | None
    panels: list[Panel]
    failures: tuple[Failure, ...] = ()

    @property
    def size(self) -> int:
        """Number of series, those that cannot be used included."""
        return 1 if self.symbols is None else len(self.symbols)


def market_of(prices: Any, axis: int | str | None = None) -> Market:
    """Take prices apart into float64 rows; of a mapping, what is no series of numbers becomes a failure."""
    if isinstance(prices, Mapping):
        if axis is not None:
            raise ParameterError("axis: the series of a mapping have no other axis; leave axis out")
        failures = list(prices.failures) if isinstance(prices, Prices) else []
        closes: dict[str, Floats] = {}
        for key, values in prices.items():
            if str(key) in closes:
                raise ParameterError(f"prices: two symbols are called {str(key)!r}")
            found = _present(str(key), values, 1)
            if isinstance(found, Failure):
                failures.append(found)
            else:
                closes[str(key)] = found[0]
        if not closes:
            text = f": {failures[0].symbol} {failures[0].message}" if failures else ""
            raise ShapeError(f"prices: no symbol can be used{text}")
        by_bars: dict[int, list[int]] = {}
        for i, close in enumerate(closes.values()):
            by_bars.setdefault(len(close), []).append(i)
        rows = list(closes.values())
        panels = [Panel(where, np.stack([rows[i] for i in where])) for where in by_bars.values()]
        return Market(list(closes), panels, tuple(failures))
    source = unpack(prices, "prices", axis)
    if source.device is not None:
        raise LayoutError(f"prices: live on {source.device}, and host memory is needed; device= says where to compute")
    if source.labels is not None:
        array = np.stack([np.asarray(column) for column in source.data]) if source.data else np.empty((0, 0))
    else:
        array = np.asarray(source.data)
        if array.ndim == 2:
            array = np.moveaxis(array, source.axis, -1)
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"prices: hold {array.dtype}; accepted are numbers")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ShapeError(f"prices: have shape {array.shape}; accepted are (bars,) and (symbols, bars), not empty")
    close = np.ascontiguousarray(np.atleast_2d(array), dtype=np.float64)
    symbols = None if array.ndim == 1 else source.names or list(range(len(close)))
    return Market(symbols, [Panel(list(range(len(close))), close)])


def grid_of(grid: Any) -> Grid:
    """What `grid=` takes, as a Grid."""
    return grid if isinstance(grid, Grid) else Grid(grid)


def signals_of(close: Floats, params: Sequence[Params], name: str, **how: Any) -> npt.NDArray[Any]:
    """One output of ATC for each set: (sets, series, bars)."""
    return np.stack([result[name] for result in atc.run(close, params, outputs=(name,), **how)])


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is wanted of each set and series."""

    outputs: tuple[str, ...]
    metrics: tuple[str, ...]
    test: Mapping[str, Any]  # of `backtest.metrics`
    where: Mapping[str, Any]  # of `atc.run`

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.outputs, *self.metrics)

    def values(self, close: Floats, params: list[Params]) -> Table:
        """Each column as (sets, series)."""
        if not self.metrics:
            results = atc.run(close, params, outputs=self.outputs, last_only=True, **self.where)
            return {name: np.stack([result[name] for result in results]) for name in self.outputs}
        signal: str = self.test["rules"].signal
        results = atc.run(close, params, outputs=tuple({*self.outputs, signal}), **self.where)
        table = {name: np.stack([result[name][:, -1] for result in results]) for name in self.outputs}
        signals = np.stack([result.pop(signal) for result in results])
        del results
        found = backtest.metrics(
            close, signals, outputs=self.metrics, **self.test, num_threads=self.where["num_threads"]
        )
        return {**table, **{name: found[name] for name in self.metrics}}


def _names(argument: str, names: str | Sequence[str], accepted: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(accepted) if names == "all" else (names,) if isinstance(names, str) else tuple(names)
    for name in chosen:
        if name not in accepted:
            raise ParameterError(
                f"{argument}: {name!r} is unknown; accepted are 'all', {', '.join(map(repr, accepted))}"
            )
    return tuple(dict.fromkeys(chosen))


def _job(
    outputs: str | Sequence[str],
    metrics: str | Sequence[str],
    rules: Rules | None,
    costs: Costs | None,
    periods_per_year: float,
    risk_free: float,
    tail: float,
    num_threads: int | None,
    device: str | None,
) -> _Job:
    test = {"rules": rules or Rules(), "costs": costs or Costs()}
    test |= {"periods_per_year": periods_per_year, "risk_free": risk_free, "tail": tail}
    job = _Job(
        _names("outputs", outputs, atc.OUTPUTS),
        _names("metrics", metrics, METRICS),
        test,
        {"num_threads": num_threads, "device": device},
    )
    if not job.columns:
        raise ParameterError("metrics: neither metrics nor outputs are asked for")
    config._execution(num_threads)
    resolve(device)
    # What is wrong with these is no fault of a symbol.
    backtest._settings(test["rules"], test["costs"], backtest._measuring(periods_per_year, risk_free, tail))
    return job


def pieces_of(market: Market, points: int) -> tuple[int, list[Panel]]:
    """Sets at a time, and the series in blocks, such that a piece of work has about so many set-bars."""
    sets, blocks = points, []
    for panel in market.panels:
        cells = max(1, points // panel.close.shape[1])
        at_once = min(len(panel.series), max(1, cells // _FEW_SETS))
        sets = min(sets, max(1, cells // at_once))
        for start in range(0, len(panel.series), at_once):
            some = slice(start, start + at_once)
            blocks.append(Panel(panel.series[some], panel.close[some]))
    return sets, blocks


def _run(
    market: Market,
    grid: Grid,
    job: _Job,
    on_failure: Callable[[Failure], object] | None,
    progress: Callable[[int, int], object] | None,
) -> Iterator[tuple[Positions, list[int], Table]]:
    """Positions of some sets, the series with results, and each column as (sets, these series)."""
    at_once, blocks = pieces_of(market, _BACKTEST_POINTS if job.metrics else _SIGNAL_POINTS)
    widths = [len(block.series) for block in blocks]
    done, total = 0, len(grid) * sum(widths)
    refused: list[Failure] = []
    if on_failure is None and market.failures:
        raise ShapeError(f"prices: {market.failures[0].symbol!r} {market.failures[0].message}")

    def refuse(failure: Failure) -> None:
        refused.append(failure)
        if on_failure is not None:
            on_failure(failure)

    for failure in market.failures:
        refuse(failure)

    for positions in grid.chunks(at_once):
        params = grid.take(positions)
        series: list[int] = []
        tables: list[Table] = []
        for b, block in enumerate(blocks):
            parts = list(_accepted(market, block, positions, params, job, None if on_failure is None else refuse))
            tables += [table for _, table in parts]
            left = [i for part, _ in parts for i in part.series]
            if len(left) < len(block.series):
                blocks[b] = Panel(left, np.concatenate([block.close[:0], *(part.close for part, _ in parts)]))
            series += left
            done += len(positions) * widths[b]
            if progress is not None:
                progress(done, total)
        if not series:
            raise ParameterError(f"prices: no symbol can be used; {refused[-1].symbol}: {refused[-1].message}")
        yield positions, series, {name: np.concatenate([t[name] for t in tables], axis=1) for name in job.columns}


def _accepted(
    market: Market,
    block: Panel,
    positions: Positions,
    params: list[Params],
    job: _Job,
    on_failure: Callable[[Failure], object] | None,
) -> Iterator[tuple[Panel, Table]]:
    """The results of a block; if it is refused, those of its series one by one, and whose fault it was."""
    if not block.series:
        return
    try:
        table = job.values(block.close, params)
    except _REFUSED as error:
        text = re.sub(r"params\[(\d+)\]", lambda m: f"grid[{positions[int(m[1])]}]", str(error))
        if len(block.series) == 1:
            if on_failure is None or market.symbols is None or market.size == 1:
                raise type(error)(text) from None
            on_failure(Failure(str(market.symbols[block.series[0]]), "rejected", text))
            return
    else:
        yield block, table
        return
    for i, one in enumerate(block.series):
        yield from _accepted(market, Panel([one], block.close[i : i + 1]), positions, params, job, on_failure)


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError("an Arrow table needs pyarrow: pip install 'warpquant[data]'") from None
    return pyarrow


def _rows(grid: Grid, positions: Positions, symbols: Sequence[Any] | None, table: Table) -> dict[str, npt.NDArray[Any]]:
    """Columns of a tidy table, one row for each set and symbol."""
    width = 1 if symbols is None else len(symbols)
    columns = {"set": positions, **grid.columns(positions)}
    rows = {name: np.repeat(column, width) for name, column in columns.items()}
    if symbols is not None:
        rows["symbol"] = np.tile(np.array(symbols), len(positions))
    return {**rows, **{name: values.ravel() for name, values in table.items()}}


@dataclasses.dataclass(frozen=True)
class Selected:
    """A set of a grid and how it did.

    Attributes
    ----------
    set : int
        Its position in the grid.
    params : Params
        The set.
    varied : dict
        What varies in the grid, by name.
    values : dict
        Metrics and outputs, by name.
    """

    set: int
    params: Params = dataclasses.field(repr=False)
    varied: dict[str, Any]
    values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Pivot:
    """A metric over two parameters.

    Attributes
    ----------
    x, y : str
        Names of the parameters.
    columns, index : ndarray
        Their values, in the order of the grid.
    metric : str
        Name of the metric.
    values : ndarray of float64, shape (len(index), len(columns))
        Over all sets with these two values; NaN where there are none.
    """

    x: str
    y: str
    metric: str
    columns: npt.NDArray[Any]
    index: npt.NDArray[Any]
    values: Floats

    def to_pandas(self) -> Any:
        """The same as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(
            self.values, index=pd.Index(self.index, name=self.y), columns=pd.Index(self.columns, name=self.x)
        )


#: Ways of `SweepResult.pivot` to make one value of those of several sets.
_AGGREGATES: dict[str, Callable[[Floats], Any]] = {"mean": np.mean, "median": np.median, "max": np.max, "min": np.min}


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep found; every table has the order of the grid, and within a set that of the symbols.

    Attributes
    ----------
    grid : Grid
        The sets tried.
    symbols : tuple or None
        Names (or numbers) of the symbols with results; None for a single series.
    values : dict of str to ndarray, shape (sets, symbols)
        Columns of the table by name; for a single series one symbol.
    failures : tuple of Failure
        Symbols without results.
    rules, costs
        As given to `sweep`.
    """

    grid: Grid
    symbols: tuple[Any, ...] | None
    values: Mapping[str, npt.NDArray[Any]] = dataclasses.field(repr=False)
    failures: tuple[Failure, ...] = ()
    rules: Rules = dataclasses.field(default_factory=Rules)
    costs: Costs = dataclasses.field(default_factory=Costs)

    def __len__(self) -> int:
        """Rows of the table."""
        return len(self.grid) * (1 if self.symbols is None else len(self.symbols))

    def to_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of the table as NumPy arrays: ``set``, what varies, ``symbol``, outputs, metrics."""
        return _rows(self.grid, np.arange(len(self.grid)), self.symbols, dict(self.values))

    def to_arrow(self) -> Any:
        """The table as a `pyarrow.Table`; needs the extra ``data``."""
        pa = _arrow()
        return pa.table({name: pa.array(values) for name, values in self.to_dict().items()})

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame`; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())

    def to_polars(self) -> Any:
        """The table as a `polars.DataFrame`; needs Polars."""
        import polars as pl

        return pl.DataFrame(self.to_dict())

    def column(self, name: str, symbol: Any = None) -> Floats:
        """One column of a symbol, or its mean over all symbols: one value for each set, NaN where one has none.

        Raises
        ------
        ParameterError
            If there is no such column or symbol.
        """
        if name not in self.values:
            raise ParameterError(f"metric: {name!r} is not in the sweep; it has {', '.join(map(repr, self.values))}")
        values = np.asarray(self.values[name], dtype=np.float64)
        if symbol is not None and (self.symbols is None or symbol not in self.symbols):
            raise ParameterError(f"symbol: {symbol!r} is not in the sweep")
        place = slice(None) if symbol is None or self.symbols is None else [self.symbols.index(symbol)]
        column: Floats = values[:, place].mean(axis=1)
        return column

    def best(self, metric: str = "sharpe", *, symbol: Any = None, largest: bool = True) -> Selected:
        """The set with the largest value of a metric, for a symbol or in the mean over all; the first of equal ones.

        It was chosen among all sets by what happened to them, so its figures promise more than it will keep:
        `warpquant.evaluate.walk_forward`.

        Raises
        ------
        ParameterError
            If there is no such column or symbol, or no set has a value.
        """
        column = self.column(metric, symbol)
        if np.isnan(column).all():
            raise ParameterError(f"metric: {metric!r} has no value for any set")
        at = int(np.nanargmax(column) if largest else np.nanargmin(column))
        values = {name: float(self.column(name, symbol)[at]) for name in self.values}
        return Selected(at, self.grid[at], self.grid.varied(at), values)

    def pivot(self, x: str, y: str, metric: str = "sharpe", *, symbol: Any = None, how: str = "mean") -> Pivot:
        """A metric over two parameters, for a heatmap; what else varies is aggregated.

        Parameters
        ----------
        x, y : str
            Parameters that vary.
        metric : str, default 'sharpe'
            A column of the table.
        symbol : optional
            One symbol; by default the mean over all.
        how : {'mean', 'median', 'max', 'min'}, default 'mean'
            Over sets that have the same two values; those without a value do not count. The mean of a neighbourhood
            says more than its best member.

        Returns
        -------
        Pivot
            The values with their axes.

        Raises
        ------
        ParameterError
            If a name does not vary, or there is no such column or symbol.

        Examples
        --------
        >>> import warpquant
        >>> close = warpquant.data.sp500_20()["KO"][-1000:]
        >>> result = warpquant.atc.sweep(close, {"length": (20, 28), "La": (0.01, 0.02), "De": (0.03, 0.1, 0.3)})
        >>> result.pivot("De", "length", "sharpe").values.shape
        (2, 3)
        """
        x, y = self.grid.name(x), self.grid.name(y)
        if x == y:
            raise ParameterError(f"y: is the same parameter as x, {x}")
        choice("how", how, _AGGREGATES)
        column = self.column(metric, symbol)
        found = self.grid.columns()
        across, at_x = _levels(found[x])
        down, at_y = _levels(found[y])
        values = np.full((len(down), len(across)), np.nan)
        known = np.flatnonzero(~np.isnan(column))
        cells = (at_y * len(across) + at_x)[known]
        order = known[np.argsort(cells, kind="stable")]
        edges = np.flatnonzero(np.diff(np.sort(cells))) + 1
        for group in np.split(order, edges):
            if len(group):
                values[at_y[group[0]], at_x[group[0]]] = _AGGREGATES[how](column[group])
        return Pivot(x, y, metric, across, down, values)


def _levels(column: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Distinct values in the order in which they come, and which of them each value is."""
    values, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return values[order], place[inverse]


def sweep(
    prices: Any,
    grid: Grid | Mapping[str, Any] | Sequence[Any],
    *,
    metrics: str | Sequence[str] = "all",
    outputs: str | Sequence[str] = (),
    rules: Rules | None = None,
    costs: Costs | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    axis: int | str | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> SweepResult:
    """Run ATC with many sets of parameters and test each of them on past prices.

    Parameters
    ----------
    prices : array, shape (bars,) or (symbols, bars), or mapping
        Closes, oldest first, of any array kind in host memory, or a mapping from symbol to series of any lengths. The
        computation is in float64.
    grid : Grid, mapping or sequence
        The sets; a mapping or sequence goes through `Grid`.
    metrics : sequence of str, default 'all'
        Columns from `warpquant.backtest.METRICS`; none for no backtest.
    outputs : sequence of str, default ()
        Columns with the last value of outputs of `warpquant.atc.run`, such as ``average`` and ``direction``.
    rules, costs : Rules, Costs, optional
        How the signal is traded and what that costs; by default those of `warpquant.backtest`.
    periods_per_year, risk_free, tail
        As in `warpquant.backtest.metrics`.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    num_threads, device
        As in `warpquant.atc.run`. Backtests are computed on the CPU.
    progress : callable, optional
        Called with the number of backtests done and to do.

    Returns
    -------
    SweepResult
        One value of each column for each set and symbol.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted, or no symbol is. One symbol among several that is not accepted is a failure of
        the result.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> close = warpquant.data.sp500_20()["KO"]
    >>> result = warpquant.atc.sweep(close, {"length": range(20, 41, 10), "La": (0.01, 0.02)}, metrics=["sharpe"])
    >>> len(result), result.best("sharpe").varied
    (6, {'length': 20, 'La': 0.01})
    """
    job = _job(outputs, metrics, rules, costs, periods_per_year, risk_free, tail, num_threads, device)
    grid = grid_of(grid)
    market = market_of(prices, axis)
    failures: list[Failure] = []
    collected: Table = {}
    alive: list[int] = []
    for positions, series, table in _run(market, grid, job, failures.append, progress):
        for name, values in table.items():
            if name not in collected:
                collected[name] = np.zeros((len(grid), market.size), dtype=values.dtype)
            collected[name][positions[:, None], series] = values
        alive = series
    alive.sort()
    if len(alive) < market.size:
        collected = {name: values[:, alive] for name, values in collected.items()}
    symbols = None if market.symbols is None else tuple(market.symbols[i] for i in alive)
    return SweepResult(grid, symbols, collected, tuple(failures), job.test["rules"], job.test["costs"])


def iter_sweep(
    prices: Any,
    grid: Grid | Mapping[str, Any] | Sequence[Any],
    *,
    metrics: str | Sequence[str] = "all",
    outputs: str | Sequence[str] = (),
    rules: Rules | None = None,
    costs: Costs | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    axis: int | str | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    on_failure: Callable[[Failure], object] | None = None,
) -> Iterator[Any]:
    """Yield the table of `sweep` as Arrow record batches, in bounded memory.

    Batches come as they are computed: sets that share much come together, so the column ``set``, the position in the
    grid, is in order within a batch at best. Write them to a file, a database or a stream; computation goes on only
    when the next one is asked for.

    Parameters
    ----------
    prices, grid, metrics, outputs, rules, costs, periods_per_year, risk_free, tail, axis, num_threads, device, progress
        As in `sweep`.
    on_failure : callable, optional
        Called with the `Failure` of each symbol that cannot be used, which then has no further rows. Without it, the
        first such symbol raises.

    Returns
    -------
    iterator of pyarrow.RecordBatch
        Columns ``set``, what varies, ``symbol``, outputs, metrics.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ParameterError, ShapeError, DTypeError, LayoutError
        As in `sweep`.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.sweep import iter_sweep
    >>> panel = warpquant.data.sp500_20()
    >>> batches = iter_sweep(panel, {"length": (20, 28), "De": (0.03, 0.1)}, metrics=["sharpe", "trades"])
    >>> sum(batch.num_rows for batch in batches)
    80
    """
    pa = _arrow()
    job = _job(outputs, metrics, rules, costs, periods_per_year, risk_free, tail, num_threads, device)
    checked = grid_of(grid)
    market = market_of(prices, axis)

    def batches() -> Iterator[Any]:
        for positions, series, table in _run(market, checked, job, on_failure, progress):
            symbols = None if market.symbols is None else [market.symbols[i] for i in series]
            rows = _rows(checked, positions, symbols, table)
            yield pa.RecordBatch.from_arrays([pa.array(values) for values in rows.values()], list(rows))

    return batches()
