# SPDX-License-Identifier: Apache-2.0
"""What is left of the best parameter set out of sample.

Whoever tries thousands of sets finds one that did well by luck. `walk_forward` and `purged_kfold` choose sets on some
bars and report them on others; the deflated Sharpe ratio asks whether the best one is better than the best of so many
that are worth nothing; the probability of backtest overfitting, how often the best in sample is below the median out of
sample. docs/sweep.md has the definitions and sources.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import backtest
from ._checks import choice, flag, whole
from ._grid import Grid
from ._luck import (
    Overfitting,
    block_edges,
    block_sums,
    deflated_sharpe,
    even,
    expected_maximum_sharpe,
    overfitting_of,
    overfitting_probability,
    probabilistic_sharpe,
)
from ._prices import Failure, Floats
from .atc import Params
from .backtest import Costs, Rules
from .errors import ParameterError, ShapeError
from .sweep import Selected, grid_of, market_of, signals_of

__all__ = [
    "METRICS",
    "Evaluation",
    "Fold",
    "Overfitting",
    "deflated_sharpe",
    "expected_maximum_sharpe",
    "overfitting_probability",
    "probabilistic_sharpe",
    "purged_kfold",
    "walk_forward",
]

#: Metrics by which a set can be chosen: of the returns of an account, and the more the better.
METRICS = ("sharpe", "sortino", "calmar", "total_return", "annual_return")

#: Set-bars at a time; signals, positions, returns and equities of them are held.
_POINTS = 2**21
Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Fold:
    """One choice of a set, and what came of it.

    Attributes
    ----------
    train : tuple of (int, int)
        Bars that it was made on, as spans from the first to before the last.
    test : (int, int)
        Bars that it was followed on.
    chosen : Selected or None
        The set, with its metrics in sample; None if no set had a value, as when none of them traded.
    metrics : dict
        Metrics out of sample, of the bars of `test`.
    """

    train: tuple[Span, ...]
    test: Span
    chosen: Selected | None
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An optimisation with what it is worth.

    Attributes
    ----------
    scheme : str
        'walk_forward' or 'purged_kfold'.
    metric : str
        By which sets were chosen.
    grid : Grid
        The sets tried.
    best : Selected
        The best set over all bars, with its metrics in sample: the figures that flatter.
    probabilistic_sharpe, deflated_sharpe : float
        Of `best`: probability that its Sharpe ratio is more than 0, and more than the best of so many useless sets
        would have.
    expected_maximum_sharpe : float
        What that would be, in annual terms.
    overfitting : Overfitting or None
        None where there is one set, or too few bars.
    folds : tuple of Fold
        The choices, in order of time.
    bars : ndarray of int64
        Bars of all tests, in order.
    returns : ndarray of float64
        Out of sample, on these bars: of one account that follows the set of each fold in turn.
    metrics : dict
        Metrics of `returns`: the figures to go by.
    symbols : tuple or None
        The symbols of a portfolio; None for a single series.
    failures : tuple of Failure
        Symbols that could not be used.
    """

    scheme: str
    metric: str
    grid: Grid
    best: Selected
    probabilistic_sharpe: float
    deflated_sharpe: float
    expected_maximum_sharpe: float
    overfitting: Overfitting | None
    folds: tuple[Fold, ...]
    bars: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    returns: Floats = dataclasses.field(repr=False)
    metrics: dict[str, float]
    symbols: tuple[Any, ...] | None = None
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the returns, as plain values that JSON can hold; missing numbers are None."""

        def plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
            return {name: value if math.isfinite(value) else None for name, value in metrics.items()}

        over = self.overfitting
        return {
            "scheme": self.scheme,
            "metric": self.metric,
            "sets": len(self.grid),
            "skipped": self.grid.skipped,
            "best": {"set": self.best.set, **self.best.varied},
            "in_sample": plain(self.best.values),
            **plain({
                "probabilistic_sharpe": self.probabilistic_sharpe,
                "deflated_sharpe": self.deflated_sharpe,
                "expected_maximum_sharpe": self.expected_maximum_sharpe,
                "overfitting_probability": math.nan if over is None else over.probability,
            }),
            "out_of_sample": plain(self.metrics),
            "folds": [
                {
                    "train": [list(span) for span in fold.train],
                    "test": list(fold.test),
                    "chosen": fold.chosen and {"set": fold.chosen.set, **fold.chosen.varied},
                    "in_sample": fold.chosen and plain(fold.chosen.values),
                    "out_of_sample": plain(fold.metrics),
                }
                for fold in self.folds
            ],
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Study:
    """Prices, sets and rules of an evaluation."""

    close: Floats  # (series, bars)
    grid: Grid
    rules: Rules
    costs: Costs
    of_returns: Mapping[str, Any]
    num_threads: int | None
    device: str | None

    @functools.cached_property
    def present(self) -> list[npt.NDArray[np.int64]]:
        """The bars of each series that have a price."""
        flat = backtest.run(self.close, np.zeros_like(self.close), num_threads=self.num_threads)
        return [np.flatnonzero(~np.isnan(row)) for row in flat.returns]

    def decided(self, bar: int, more: int = 0) -> npt.NDArray[np.int64]:
        """Where each series decides on what it holds at its first bar from here on, or some bars of it before."""
        places = (max(0, int(np.searchsorted(present, bar)) - self.rules.delay - more) for present in self.present)
        found = [present[k] if k < len(present) else bar for present, k in zip(self.present, places, strict=True)]
        return np.minimum(found, bar)

    @property
    def bars(self) -> int:
        bars: int = self.close.shape[1]
        return bars

    @property
    def whole(self) -> Span:
        return 0, self.bars

    def signals(self, params: Sequence[Params]) -> npt.NDArray[Any]:
        """(sets, series, bars)."""
        return signals_of(self.close, params, self.rules.signal, num_threads=self.num_threads, device=self.device)

    def returns(self, signals: npt.NDArray[Any], span: Span) -> Floats:
        """Returns of an account that is opened for these bars: (..., bars of the span), the mean over the series.

        The position of the first bar is taken `delay` bars before it; what entering costs counts on the first bar.
        Missing bars do not count in this: the first bar of a series is the first on which it has a price.
        """
        start, stop = span
        earlier = self.rules.volatility_window if self.rules.sizing == "volatility" else 0
        some = slice(int(self.decided(start, earlier).min()), stop)
        followed = signals[..., some]
        outside = np.arange(some.start, stop) < self.decided(start)[:, None]
        if outside.any():  # prices that sizes are made from, during which nothing is held
            followed = followed.astype(np.float64)
            followed[..., outside] = np.nan
        returns: Floats = backtest.run(
            self.close[:, some], followed, rules=self.rules, costs=self.costs, num_threads=self.num_threads
        ).returns
        first = np.array([next(iter(x[np.searchsorted(x, start) :]), start) for x in self.present])
        for bar in np.unique(first[first < stop]):
            rows, at = first == bar, bar - some.start
            entered = np.prod(1.0 + np.nan_to_num(returns[..., rows, : at + 1]), axis=-1) - 1.0
            returns[..., rows, :at] = np.nan
            returns[..., rows, at] = np.where(np.isnan(returns[..., rows, at]), np.nan, entered)
        returns = returns[..., start - some.start :]
        known = np.isfinite(returns)
        with np.errstate(invalid="ignore"):  # no series has a price: no return
            mean: Floats = np.where(known, returns, 0.0).sum(axis=-2) / known.sum(axis=-2)
        return mean

    def metrics(self, returns: Floats, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        return backtest.of_returns(returns, outputs=outputs, num_threads=self.num_threads, **self.of_returns)

    def in_sample(self, signals: npt.NDArray[Any], spans: Sequence[Span]) -> Floats:
        """Returns of the bars of several spans together, each with an account of its own."""
        parts = [self.returns(signals, span) for span in spans]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def selected(self, position: int, spans: Sequence[Span]) -> Selected:
        params = self.grid[position]
        found = self.metrics(self.in_sample(self.signals([params])[0], spans))
        return Selected(position, params, self.grid.varied(position), _floats(found))


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _scores(
    study: _Study,
    trains: Sequence[Sequence[Span]],
    metric: str,
    blocks: int,
    progress: Callable[[int, int], object] | None,
) -> tuple[Floats, Floats, tuple[Floats, Floats] | None]:
    """Of each set the metric over all bars and in each training, its Sharpe ratio, and sums over blocks of bars."""
    scores = np.empty((len(study.grid), 1 + len(trains)))
    sharpes = np.empty(len(study.grid))
    counted = len(study.grid) > 1 and blocks > 0 and study.bars >= 2 * blocks
    sums, squares = (np.empty((len(study.grid), blocks)) for _ in range(2))
    at_once = max(1, _POINTS // study.close.size)
    done = 0
    for positions in study.grid.chunks(at_once):
        signals = study.signals(study.grid.take(positions))
        returns = study.returns(signals, study.whole)
        found = study.metrics(returns, tuple({metric, "sharpe"}))
        scores[positions, 0], sharpes[positions] = found[metric], found["sharpe"]
        if counted:
            sums[positions], squares[positions] = block_sums(np.nan_to_num(returns), blocks)
        del returns
        for fold, spans in enumerate(trains, 1):
            scores[positions, fold] = study.metrics(study.in_sample(signals, spans), (metric,))[metric]
        done += len(positions)
        if progress is not None:
            progress(done, len(study.grid))
    return scores, sharpes, (sums, squares) if counted else None


def _choose(scores: Floats) -> int | None:
    """The first of the best; None if none has a value."""
    if np.isnan(scores).all():
        return None
    return int(np.flatnonzero(scores == np.nanmax(scores))[0])


def _evaluate(
    scheme: str,
    prices: Any,
    grid: Any,
    folds_of: Callable[[int, int], list[tuple[tuple[Span, ...], Span]]],
    *,
    metric: str,
    rules: Rules | None,
    costs: Costs | None,
    periods_per_year: float,
    risk_free: float,
    tail: float,
    blocks: int,
    axis: int | str | None,
    num_threads: int | None,
    device: str | None,
    progress: Callable[[int, int], object] | None,
) -> Evaluation:
    choice("metric", metric, METRICS)
    blocks = 0 if blocks == 0 else even(blocks)
    market = market_of(prices, axis)
    if len(market.panels) > 1:
        sizes = sorted(panel.close.shape[1] for panel in market.panels)
        raise ShapeError(
            f"prices: symbols have from {sizes[0]} to {sizes[-1]} bars; a portfolio needs the same bars of all"
        )
    rules, costs = rules or Rules(), costs or Costs()
    backtest._settings(rules, costs, backtest._measuring(periods_per_year, risk_free, tail))
    figures = {"periods_per_year": periods_per_year, "risk_free": risk_free, "tail": tail}
    study = _Study(market.panels[0].close, grid_of(grid), rules, costs, figures, num_threads, device)
    plan = folds_of(study.bars, rules.delay)
    scores, sharpes, sums = _scores(study, [train for train, _ in plan], metric, blocks, progress)
    first = _choose(scores[:, 0])
    if first is None:
        raise ParameterError(f"metric: {metric!r} has no value for any set; did none of them trade?")
    best = study.selected(first, [study.whole])

    # One account through all tests: what it does at a bar is decided `delay` bars before.
    followed = np.full(study.close.shape, np.nan)
    chosen = [_choose(scores[:, 1 + k]) for k in range(len(plan))]
    picks: list[Selected | None] = []
    for position, (train, (start, stop)) in zip(chosen, plan, strict=True):
        picks.append(None if position is None else study.selected(position, train))
        if position is not None:
            # After the last test there is nothing to follow; the account is valued as it stands.
            until = np.full(len(followed), stop) if stop == plan[-1][1][1] else study.decided(stop)
            bar = np.arange(study.bars)
            decided = (bar >= study.decided(start)[:, None]) & (bar < until[:, None])
            followed[decided] = study.signals([study.grid[position]])[0][decided]
    begin, end = plan[0][1][0], plan[-1][1][1]
    record = study.returns(followed, (begin, end))
    bars = np.concatenate([np.arange(*test) for _, test in plan])
    returns = record[bars - begin]

    folds = tuple(
        Fold(train, test, pick, _floats(study.metrics(record[test[0] - begin : test[1] - begin])))
        for (train, test), pick in zip(plan, picks, strict=True)
    )
    year = math.sqrt(periods_per_year)
    trials = sharpes[np.isfinite(sharpes)] / year
    known = np.isfinite(study.returns(study.signals([best.params])[0], study.whole)).sum()
    about: dict[str, Any] = {"bars": int(known), "skew": best.values["skew"], "kurtosis": best.values["kurtosis"]}
    observed = best.values["sharpe"] / year
    variance = float(trials.var(ddof=1)) if len(trials) > 1 else 0.0
    return Evaluation(
        scheme=scheme,
        metric=metric,
        grid=study.grid,
        best=best,
        probabilistic_sharpe=probabilistic_sharpe(observed, **about),
        deflated_sharpe=deflated_sharpe(observed, trials=max(1, len(trials)), variance=variance, **about),
        expected_maximum_sharpe=expected_maximum_sharpe(max(1, len(trials)), variance) * year,
        overfitting=None if sums is None else overfitting_of(block_edges(study.bars, blocks), *sums),
        folds=folds,
        bars=bars,
        returns=returns,
        metrics=_floats(study.metrics(returns)),
        symbols=None if market.symbols is None else tuple(market.symbols),
        failures=market.failures,
    )


def walk_forward(
    prices: Any,
    grid: Any,
    *,
    train: int,
    test: int,
    step: int | None = None,
    anchored: bool = False,
    purge: int | None = None,
    metric: str = "sharpe",
    rules: Rules | None = None,
    costs: Costs | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    blocks: int = 10,
    axis: int | str | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Choose the best set on past bars, follow it on the next ones, move on, and report only what followed.

    Signals are causal, so they are computed once over all bars; on bars up to any one they are what a computation on
    these bars alone gives. Each training window is tested with an account that is opened for it, entering costs
    included. The tests make one account, which pays for changing from one set to the next.

    Parameters
    ----------
    prices : array, shape (bars,) or (symbols, bars), or mapping
        Closes, oldest first. Several symbols make a portfolio with equal weights, rebalanced on each bar, for which
        one set is chosen; they need the same bars.
    grid : Grid, mapping or sequence
        The sets, as for `warpquant.atc.sweep`.
    train, test : int
        Bars to choose on (from 2), and to follow the choice on. The last test may be shorter.
    step : int, optional
        Bars from one test to the next, at least `test`, which is the default. Between tests nothing is held.
    anchored : bool, default False
        Train on all bars so far, from the first on.
    purge : int, optional
        Bars left out between training and test; by default ``rules.delay - 1``, so that the first test returns what was
        decided when the last bar of training was known, not before.
    metric : str, default 'sharpe'
        What to choose by: one of `METRICS`.
    rules, costs, periods_per_year, risk_free, tail
        As in `warpquant.backtest`.
    blocks : int, default 10
        For the probability of overfitting, see `overfitting_probability`; 0 for none.
    axis, num_threads, device
        As in `warpquant.atc.run`.
    progress : callable, optional
        Called with the number of sets done and to do.

    Returns
    -------
    Evaluation
        The choices, what came of them, and the best set in hindsight with its deflated Sharpe ratio.

    Raises
    ------
    ParameterError, ShapeError
        If an argument is not accepted, or the bars are too few.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.evaluate import walk_forward
    >>> close = warpquant.data.sp500_20()["XOM"][-3000:]
    >>> found = walk_forward(close, {"length": (20, 28, 40), "La": (0.01, 0.05)}, train=1000, test=250)
    >>> len(found.folds), len(found.returns)
    (8, 2000)
    """
    train, test = whole("train", train, 2), whole("test", test, 1)
    purge = None if purge is None else whole("purge", purge, 0)
    step = test if step is None else whole("step", step, 1)
    if step < test:
        raise ParameterError(f"step: {step} is less than test, {test}; tests that overlap make no record")
    flag("anchored", anchored)

    def folds_of(bars: int, delay: int) -> list[tuple[tuple[Span, ...], Span]]:
        gap = delay - 1 if purge is None else purge
        first = train + gap
        if first >= bars:
            raise ShapeError(f"prices: {bars} bars leave none to test on after train={train} and purge={gap}")
        starts = range(first, bars, step)
        return [(((0 if anchored else s - gap - train, s - gap),), (s, min(s + test, bars))) for s in starts]

    return _evaluate(
        "walk_forward", prices, grid, folds_of, metric=metric, rules=rules, costs=costs,
        periods_per_year=periods_per_year, risk_free=risk_free, tail=tail, blocks=blocks, axis=axis,
        num_threads=num_threads, device=device, progress=progress,
    )  # fmt: skip


def purged_kfold(
    prices: Any,
    grid: Any,
    *,
    folds: int = 5,
    purge: int | None = None,
    embargo: int | None = None,
    metric: str = "sharpe",
    rules: Rules | None = None,
    costs: Costs | None = None,
    periods_per_year: float = 252.0,
    risk_free: float = 0.0,
    tail: float = 0.05,
    blocks: int = 10,
    axis: int | str | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Choose the best set on all bars but some, and report it on these.

    Bars fall into `folds` tests of equal size, each of which has the bars before and after it for training, but for
    those next to it. It uses the bars better than `walk_forward`, but it is no record that could have been made: sets
    are chosen by what came later, too.

    Parameters
    ----------
    prices, grid, metric, rules, costs, periods_per_year, risk_free, tail, blocks, axis, num_threads, device, progress
        As in `walk_forward`.
    folds : int, default 5
        Number of tests, from 2.
    purge : int, optional
        Bars left out on either side of a test; by default `rules.delay`, so that no decision lies in the one and its
        return in the other.
    embargo : int, optional
        Bars left out after a test beyond these, since what happened in it still shows; by default a hundredth of all.

    Returns
    -------
    Evaluation
        As of `walk_forward`.

    Raises
    ------
    ParameterError, ShapeError
        If an argument is not accepted, or a fold has fewer than 2 bars to train or test on.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.evaluate import purged_kfold
    >>> close = warpquant.data.sp500_20()["XOM"][-2000:]
    >>> found = purged_kfold(close, {"length": (20, 28, 40), "La": (0.01, 0.05)}, folds=4)
    >>> [fold.test for fold in found.folds]
    [(0, 500), (500, 1000), (1000, 1500), (1500, 2000)]
    """
    folds = whole("folds", folds, 2)
    purge = None if purge is None else whole("purge", purge, 0)
    embargo = None if embargo is None else whole("embargo", embargo, 0)

    def folds_of(bars: int, delay: int) -> list[tuple[tuple[Span, ...], Span]]:
        near = delay if purge is None else purge
        after = math.ceil(bars / 100) if embargo is None else embargo
        edges = [bars * k // folds for k in range(folds + 1)]
        plan = []
        for start, stop in itertools.pairwise(edges):
            sides = ((0, start - near), (stop + near + after, bars))
            train = tuple((a, b) for a, b in sides if b - a > 1)
            if stop - start < 2 or not train:
                raise ShapeError(f"prices: {bars} bars are too few for {folds} folds, purge={near} and embargo={after}")
            plan.append((train, (start, stop)))
        return plan

    return _evaluate(
        "purged_kfold", prices, grid, folds_of, metric=metric, rules=rules, costs=costs,
        periods_per_year=periods_per_year, risk_free=risk_free, tail=tail, blocks=blocks, axis=axis,
        num_threads=num_threads, device=device, progress=progress,
    )  # fmt: skip
