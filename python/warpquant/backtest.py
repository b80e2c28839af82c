# SPDX-License-Identifier: Apache-2.0
"""Backtests: what an account would have made of following a signal, costs included, and the metrics of that.

`run` keeps position, return and equity of every bar and the trades; `metrics` keeps nothing per bar and is the call for
many sets of parameters; `of_returns` measures returns from elsewhere. `Rules` says how a signal becomes a position,
`Costs` what that costs. docs/backtest.md has every definition.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, config
from ._checks import choice, number, whole
from ._containers import Unpacked, unpack, unpack_like
from .errors import DTypeError, LayoutError, ParameterError, ShapeError

__all__ = ["METRICS", "Backtest", "Costs", "Rules", "metrics", "of_returns", "run"]

#: Names of the metrics, in the order of every result.
METRICS: tuple[str, ...] = _core.BACKTEST_METRICS

#: Those that need positions, and so are none of `of_returns`.
_OF_POSITIONS = ("hit_rate", "profit_factor", "trades", "turnover", "exposure")

Array = npt.NDArray[Any]


def _positive(name: str, value: Any) -> float:
    found = number(name, value, 0.0)
    if found == 0.0:
        raise ParameterError(f"{name}: {value!r} is out of range; accepted are finite numbers above 0")
    return found


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a signal becomes a position, checked when made.

    Attributes
    ----------
    signal : {'average', 'direction'}, default 'average'
        'average': a number, by ATC in [-1, 1], that is compared with the levels below. 'direction': only its sign
        counts. NaN is flat in both.
    side : {'both', 'long', 'short'}, default 'both'
        Which positions are taken.
    long_above, short_below : float, default 0.1, -0.1
        An average above (below) takes a long (short) position.
    long_exit, short_exit : float, default 0, 0
        An average below (above) leaves it. In between it is kept.
    delay : int, default 1
        Bars from a signal to the first return that it earns. 1: it is filled at the close of its own bar. 0 is refused,
        because a signal knows the close of its bar and cannot have earned what led there.
    sizing : {'full', 'signal', 'volatility'}, default 'full'
        Share of the equity to hold: `size`; `size` times the average, which counts from 0 to 1 on the side that is
        held; or `size` times `target_volatility` divided by the annual volatility of the price, at most `max_size`.
    size : float, default 1
        Above 1 is on credit.
    max_size : float, default 1
        Most that sizing by volatility asks for.
    target_volatility : float, default 0.1
        Annual volatility that it aims at.
    volatility_window : int, default 20
        Returns that the volatility is measured on. Before there are so many, the position is flat.
    rebalance : {'change', 'bar'}, default 'change'
        'change': trade when the wanted share changes, and let the position run in between. 'bar': trade back to the
        share on every bar.

    Raises
    ------
    ParameterError
        If a value is out of range or unknown.

    Examples
    --------
    >>> from warpquant.backtest import Rules
    >>> Rules(side="long", long_above=0.3).sizing
    'full'
    """

    signal: str = "average"
    side: str = "both"
    long_above: float = 0.1
    short_below: float = -0.1
    long_exit: float = 0.0
    short_exit: float = 0.0
    delay: int = 1
    sizing: str = "full"
    size: float = 1.0
    max_size: float = 1.0
    target_volatility: float = 0.1
    volatility_window: int = 20
    rebalance: str = "change"

    def __post_init__(self) -> None:
        choice("signal", self.signal, ("average", "direction"))
        choice("side", self.side, ("both", "long", "short"))
        choice("sizing", self.sizing, ("full", "signal", "volatility"))
        choice("rebalance", self.rebalance, ("change", "bar"))
        for name in ("long_above", "short_below", "long_exit", "short_exit"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        for name in ("size", "max_size", "target_volatility"):
            object.__setattr__(self, name, _positive(name, getattr(self, name)))
        if whole("delay", self.delay, 0) == 0:
            raise ParameterError("delay: 0 would let a signal earn the return that it was made from; 1 is the least")
        object.__setattr__(self, "delay", whole("delay", self.delay, 1))
        object.__setattr__(self, "volatility_window", whole("volatility_window", self.volatility_window, 2))
        for name, entry, leave in (
            ("long_exit", self.long_above, self.long_exit),
            ("short_exit", -self.short_below, -self.short_exit),
        ):
            if leave > entry:
                said = "above long_above" if name == "long_exit" else "below short_below"
                raise ParameterError(f"{name}: {getattr(self, name)!r} is {said}, so a position would be left at once")
        if self.short_below > self.long_above:
            raise ParameterError(f"short_below: {self.short_below!r} is above long_above {self.long_above!r}")

    @property
    def _levels(self) -> dict[str, float]:
        """The levels of the kernel; infinite ones are never passed."""
        if self.signal == "direction":
            levels = {"long_above": 0.0, "short_below": 0.0, "long_exit": math.inf, "short_exit": -math.inf}
        else:
            levels = {n: getattr(self, n) for n in ("long_above", "short_below", "long_exit", "short_exit")}
        if self.side == "long":
            levels["short_below"] = -math.inf
        elif self.side == "short":
            levels["long_above"] = math.inf
        return levels

    @property
    def _largest(self) -> float:
        """Bound of the share to hold."""
        return self.max_size if self.sizing == "volatility" else self.size


@dataclasses.dataclass(frozen=True)
class Costs:
    """What following a signal costs, checked when made.

    Attributes
    ----------
    fee, slippage : float, default 0
        Fractions of the traded notional, in [0, 1). They are added to each other.
    funding : float, default 0
        Fraction of the notional of the close before that longs pay on each bar, and shorts are paid; below 0 the other
        way round. In (-1, 1).
    borrow : float, default 0
        The same that shorts pay, in [0, 1).

    Raises
    ------
    ParameterError
        If a value is out of range.

    Examples
    --------
    >>> from warpquant.backtest import Costs
    >>> Costs(fee=0.0005, slippage=0.0002)
    Costs(fee=0.0005, slippage=0.0002, funding=0.0, borrow=0.0)
    """

    fee: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    borrow: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("fee", 0.0), ("slippage", 0.0), ("funding", -1.0), ("borrow", 0.0)):
            value = number(name, getattr(self, name), low, 1.0)
            if abs(value) == 1.0:
                raise ParameterError(f"{name}: {getattr(self, name)!r} is out of range; accepted are numbers below 1")
            object.__setattr__(self, name, value)


_RULES, _COSTS = Rules(), Costs()


def _is(name: str, value: Any, cls: type) -> None:
    if not isinstance(value, cls):
        raise ParameterError(f"{name}: is a {type(value).__name__}; accepted is warpquant.backtest.{cls.__name__}")


def _measuring(periods_per_year: Any, risk_free: Any, tail: Any) -> dict[str, float]:
    """What the metrics need, under the names of the kernel."""
    year = _positive("periods_per_year", periods_per_year)
    free = number("risk_free", risk_free)
    if free <= -1.0:
        raise ParameterError(f"risk_free: {risk_free!r} is out of range; accepted are numbers above -1")
    share = number("tail", tail, 0.0, 1.0)
    return {"bars_per_year": year, "risk_free_per_bar": math.expm1(math.log1p(free) / year), "tail": share}


def _settings(rules: Any, costs: Any, measuring: dict[str, float]) -> tuple[dict[str, float], str, bool, int, int]:
    """Numbers, sizing, whether to trade on every bar, delay and window, for the kernel."""
    _is("rules", rules, Rules)
    _is("costs", costs, Costs)
    rate = costs.fee + costs.slippage
    if rate * max(rules._largest, 1.0) >= 1.0:
        raise ParameterError(
            f"costs: fee and slippage of {rate:g} of what is traded leave nothing of a position of {rules._largest:g}"
        )
    numbers = {
        **measuring,
        **rules._levels,
        "size": rules.size,
        "trade_rate": rate,
        "funding": costs.funding,
        "borrow": costs.borrow,
        "amount": rules.size * rules.target_volatility / math.sqrt(measuring["bars_per_year"]),
        "most": rules.max_size,
    }
    return numbers, rules.sizing, rules.rebalance == "bar", rules.delay, rules.volatility_window


def _numbers(values: Any, name: str) -> Array:
    """Values as they lie in memory, if the kernels read their type; else as float64. Only signals are read as int8."""
    try:
        array = np.asarray(None if isinstance(values, (bytes, bytearray)) else values)
    except ValueError:
        raise ShapeError(f"{name}: is a sequence of sequences of different lengths") from None
    kind = array.dtype
    if kind.kind == "O":
        raise DTypeError(
            f"{name}: cannot read numbers from {type(values).__name__}; accepted are arrays and lists of numbers"
        )
    if kind.kind not in "fiu" or kind in (np.float16, np.longdouble):
        raise DTypeError(f"{name}: {kind} values are not accepted; accepted are float64, float32 and integers")
    if not kind.isnative:
        raise DTypeError(f"{name}: values are big-endian; convert them first, for example with .astype('=f8')")
    if array.ndim == 0:
        raise ShapeError(f"{name}: has shape (); at least one axis, that of the bars, is needed")
    is_read = kind in (np.float64, np.float32) or (kind == np.int8 and name == "signal")
    return array if is_read else array.astype(np.float64)


def _bars_last(source: Unpacked, name: str) -> Array:
    """The series of an argument as one array whose last axis is time; shorter ones end with missing bars."""
    if source.device is not None:
        raise LayoutError(
            f"{name}: lives on device {source.device!r}; backtests run on the CPU: copy it to the host first"
        )
    if source.labels is not None:
        series = [_numbers(x, name) for x in source.data]
        padded = np.full((len(series), max(map(len, series), default=0)), np.nan)
        for row, values in zip(padded, series, strict=True):
            row[: len(values)] = values
        return padded
    array = _numbers(source.data, name)
    if not -array.ndim <= source.axis < array.ndim:
        raise ParameterError(f"axis: {source.axis} is out of range for {name} of shape {array.shape}")
    return np.moveaxis(array, source.axis, -1)


def _signal_like(signal: Any, prices: Unpacked, axis: int | str | None) -> Array:
    """The signal in the form of the prices, each series as long as theirs."""
    source = unpack_like(signal, "signal", prices, axis)
    if prices.labels is not None and source.labels is not None:
        for label, of_signal, of_prices in zip(prices.labels, source.data, prices.data, strict=True):
            if len(of_signal) != len(of_prices):
                raise ShapeError(
                    f"signal: {label!r} has {len(of_signal)} bars, but there are {len(of_prices)} in prices"
                )
    return _bars_last(source, "signal")


def _broadcast(prices: Array, signal: Array) -> tuple[Array, Array]:
    """The two with the same shape, without a copy."""
    if prices.shape[-1] != signal.shape[-1]:
        raise ShapeError(f"signal: has {signal.shape[-1]} bars, but there are {prices.shape[-1]} in prices")
    try:
        lead = np.broadcast_shapes(prices.shape[:-1], signal.shape[:-1])
    except ValueError:
        raise ShapeError(
            f"signal: shape {signal.shape} does not go with shape {prices.shape} of prices; axes before the bars "
            "must be equal, or 1, or missing"
        ) from None
    whole = (*lead, prices.shape[-1])
    return np.broadcast_to(prices, whole), np.broadcast_to(signal, whole)


def _chosen(outputs: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    if outputs is None:
        return tuple(known)
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(map(repr, known))}"
            raise ParameterError(f"outputs: {name!r} is not a metric; {hint}")
    return tuple(dict.fromkeys(names))


def _named(names: Sequence[str], values: Sequence[Array]) -> dict[str, Any]:
    return {name: value[()] for name, value in zip(names, values, strict=True)}


def _indices(names: Sequence[str]) -> list[int]:
    return [METRICS.index(name) for name in names]


class Backtest:
    """What `run` gives.

    Attributes
    ----------
    position : array
        Share of the equity that is held from the close of each bar on, below 0 if short: it earns the return of the
        next.
    returns : array
        Of the account, costs included; NaN on missing bars.
    equity : array
        At the close of each bar, after the costs of what was traded there.
    metrics : dict of str to ndarray
        One value per series, by the names of `METRICS`.
    rules : Rules
    costs : Costs

    Examples
    --------
    >>> import warpquant
    >>> made = warpquant.backtest.run([100.0, 110.0, 99.0], [1, -1, 0])
    >>> made.equity.round(12).tolist()
    [1.0, 1.1, 1.21]
    """

    __slots__ = ("_inputs", "_names", "costs", "equity", "metrics", "position", "returns", "rules")

    def __init__(
        self,
        position: Any,
        returns: Any,
        equity: Any,
        metrics: dict[str, Any],
        rules: Rules,
        costs: Costs,
        inputs: tuple[Any, ...],
        names: list[Any] | None,
    ) -> None:
        self.position = position
        self.returns = returns
        self.equity = equity
        self.metrics = metrics
        self.rules = rules
        self.costs = costs
        self._inputs = inputs
        self._names = names

    def __repr__(self) -> str:
        shape = np.shape(self.metrics["trades"])
        return f"Backtest({math.prod(shape)} series, {int(np.sum(self.metrics['trades']))} trades)"

    def trades(self, kind: str = "dict") -> Any:
        """Every trade: from taking a side to leaving it.

        Parameters
        ----------
        kind : {'dict', 'arrow'}, default 'dict'
            A dict of arrays, or a table of PyArrow.

        Returns
        -------
        dict of str to ndarray, or pyarrow.Table
            One row per trade, series by series and in order of time: ``series`` (name, or number in the flattened
            order of the series), ``entry_bar`` and ``exit_bar``, at whose closes ``entry_price`` and ``exit_price`` it
            was filled, ``side`` (1 long, -1 short), ``size`` (share of the equity at the entry), ``return`` (growth of
            the equity by the trade, its costs included), ``fees`` (fee and slippage, in units of `starting`), ``bars``
            (that it was held) and ``open``: it still is, and counts with the last price.

        Raises
        ------
        ParameterError
            If `kind` is unknown.
        ImportError
            If PyArrow is asked for and not installed.

        Examples
        --------
        >>> import warpquant
        >>> made = warpquant.backtest.run([100.0, 110.0, 99.0], [1, -1, 0])
        >>> made.trades()["return"].round(12).tolist()
        [0.1, 0.1]
        """
        choice("kind", kind, ("dict", "arrow"))
        table: dict[str, Array] = _core.backtest_trades(*self._inputs)
        if self._names is not None:
            names = np.empty(len(self._names), dtype=object)
            names[:] = self._names
            table["series"] = names[table["series"]]
        if kind == "dict":
            return table
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ImportError("trades as a table need pyarrow: pip install warpquant[data]") from error
        return pa.table(table)


def run(
    prices: Any,
    signal: Any,
    *,
    rules: Rules = _RULES,
    costs: Costs = _COSTS,
    starting: float = 1.0,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    axis: int | str | None = None,
    num_threads: int | None = None,
) -> Backtest:
    """Follow a signal and keep every bar of it.

    Parameters
    ----------
    prices : array, shape (..., bars)
        Closes, of any array kind in host memory, or a mapping of series. NaN, infinite and not above 0: a missing bar,
        which is as if not there.
    signal : array, shape (..., bars)
        Goes with `prices` by name if both have names; else the axes before the bars are broadcast. The signal of a bar
        decides at its close and earns the return of the next (`Rules.delay`).
    rules : Rules
    costs : Costs
    starting : float, default 1
        Equity before the first bar, above 0.
    periods_per_year : float, default 252
        Bars of a year.
    risk_free : float, default 0
        Annual rate, above -1, for the Sharpe and Sortino ratios.
    tail : float, default 0.05
        Share of the returns that ``var`` and ``cvar`` are about, in [0, 1].
    axis : int or str, optional
        Time axis of arrays; the last by default.
    num_threads : int, optional
        CPU threads; by default as many as the process may use. Results do not depend on it.

    Returns
    -------
    Backtest
        With position, returns and equity as the kind of `prices` if they have its shape, else as ndarrays of shape
        (..., bars); float64.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.

    Examples
    --------
    >>> import warpquant
    >>> close = warpquant.data.sp500_20()["AAPL"]
    >>> average = warpquant.atc.run(close)["average"]
    >>> made = warpquant.backtest.run(close, average, rules=warpquant.backtest.Rules(side="long"))
    >>> made
    Backtest(1 series, 497 trades)
    """
    start = _positive("starting", starting)
    settings = _settings(rules, costs, _measuring(periods_per_year, risk_free, tail))
    settings[0]["starting"] = start
    source = unpack(prices, "prices", axis)
    own = _bars_last(source, "prices")
    x, s = _broadcast(own, _signal_like(signal, source, axis))
    where = config._execution(num_threads)
    measured, per_bar = _core.backtest(x, s, list(range(len(METRICS))), True, *settings, *where)
    alike = x.shape == own.shape
    position, returns, equity = (_like(source, result) if alike else result for result in per_bar)
    # The list of trades is made when it is asked for, of what prices and signals were.
    inputs = (*(np.broadcast_to(np.copy(_smallest(a)), a.shape) for a in (x, s)), *settings, *where)
    names = source.names if alike else None
    return Backtest(position, returns, equity, _named(METRICS, measured), rules, costs, inputs, names)


def _smallest(x: Array) -> Array:
    """The part of a broadcast array that is in memory."""
    return x[tuple(slice(0, 1) if step == 0 else slice(None) for step in x.strides)]


def _like(source: Unpacked, result: Array) -> Any:
    """A result of shape (..., bars) as the kind of array that `source` is."""
    if source.labels is None:
        return source.wrap(np.moveaxis(result, -1, source.axis))
    lengths = [len(x) for x in source.data]
    if len(set(lengths)) <= 1:
        return source.wrap(result.T)
    return source.wrap([row[:n] for row, n in zip(result, lengths, strict=True)])


def metrics(
    prices: Any,
    signal: Any,
    *,
    rules: Rules = _RULES,
    costs: Costs = _COSTS,
    outputs: Sequence[str] | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    axis: int | str | None = None,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """Follow signals and keep the metrics alone: the call for many of them.

    Parameters
    ----------
    prices : array, shape (..., bars)
        As for `run`.
    signal : array, shape (..., bars)
        As for `run`. float64, float32 and int8 are read where they lie, and prices that are broadcast over many signals
        are read once.
    rules : Rules
    costs : Costs
    outputs : sequence of str, optional
        Names of the metrics wanted, of `METRICS`; by default all. Only what they need is computed.
    periods_per_year, risk_free, tail, axis, num_threads
        As for `run`.

    Returns
    -------
    dict of str to ndarray
        Each of the shape that the axes before the bars have when broadcast.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> close = warpquant.data.sp500_20()["AAPL"]
    >>> signals = np.stack([r["average"] for r in warpquant.atc.run(close, [{"La": 0.01}, {"La": 0.05}])])
    >>> warpquant.backtest.metrics(close, signals, outputs=["sharpe", "max_drawdown"])["sharpe"].shape
    (2,)
    """
    settings = _settings(rules, costs, _measuring(periods_per_year, risk_free, tail))
    names = _chosen(outputs, METRICS)
    source = unpack(prices, "prices", axis)
    x, s = _broadcast(_bars_last(source, "prices"), _signal_like(signal, source, axis))
    measured, _ = _core.backtest(x, s, _indices(names), False, *settings, *config._execution(num_threads))
    return _named(names, measured)


def of_returns(
    returns: Any,
    *,
    outputs: Sequence[str] | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    axis: int | str | None = None,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """The metrics of given returns.

    Parameters
    ----------
    returns : array, shape (..., bars)
        Simple returns, of any array kind in host memory, or a mapping of series. NaN and infinite ones are as if not
        there; one of -1 or less ends the account.
    outputs : sequence of str, optional
        Names of the metrics wanted; by default all that returns tell: `METRICS` without ``hit_rate``,
        ``profit_factor``, ``trades``, ``turnover`` and ``exposure``.
    periods_per_year, risk_free, tail, axis, num_threads
        As for `run`.

    Returns
    -------
    dict of str to ndarray
        Each of the shape of the axes other than time.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.

    Examples
    --------
    >>> import warpquant
    >>> float(warpquant.backtest.of_returns([0.5, -0.5, 0.2])["max_drawdown"])
    -0.5
    """
    known = tuple(name for name in METRICS if name not in _OF_POSITIONS)
    names = _chosen(outputs, known)
    numbers = _measuring(periods_per_year, risk_free, tail)
    x = _bars_last(unpack(returns, "returns", axis), "returns")
    settings = (numbers, "full", False, 1, 0)
    measured, _ = _core.backtest(x, None, _indices(names), False, *settings, *config._execution(num_threads))
    return _named(names, measured)
