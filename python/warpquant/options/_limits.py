# SPDX-License-Identifier: Apache-2.0
"""Limits of a book, and what is said when they are near or passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from warpquant.errors import ParameterError

if TYPE_CHECKING:
    from .portfolio import Portfolio, ScenarioGrid

__all__ = ["Alert", "Limit"]


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a sum of a book may be.

    Parameters
    ----------
    metric : str
        An output of `Portfolio.greeks`, such as 'delta_cash', 'vega' or 'price', or 'worst_pnl': the largest loss of a
        grid of scenarios, as a number below 0.
    most, least : float, optional
        Bounds; at least one.
    by : str or tuple of str, optional
        Each group of these columns has to keep it; by default the whole book.
    warn : float, default 0.8
        Share of a bound from which on there is a warning.

    Examples
    --------
    >>> from warpquant import options
    >>> options.Limit("vega", most=10_000.0, least=-10_000.0, by="underlying")
    Limit(metric='vega', most=10000.0, least=-10000.0, by='underlying', warn=0.8)
    """

    metric: str
    most: float | None = None
    least: float | None = None
    by: str | tuple[str, ...] | None = None
    warn: float = 0.8

    def __post_init__(self) -> None:
        if self.most is None and self.least is None:
            raise ParameterError("most, least: a limit needs at least one of them")
        if self.most is not None and self.least is not None and not self.least <= self.most:
            raise ParameterError(f"least: {self.least!r} is above most, {self.most!r}")
        if not 0 < self.warn <= 1:
            raise ParameterError(f"warn: {self.warn!r} is out of range; accepted are numbers above 0 and up to 1")


@dataclasses.dataclass(frozen=True)
class Alert:
    """A limit that is passed, or nearly so.

    Attributes
    ----------
    level : str
        'breach' or 'warning'.
    metric : str
        What is limited.
    group : tuple of str
        The group that it is about; empty for the whole book.
    value, bound : float
        What it is, and what it may be.
    used : float
        Value over bound; infinite where the bound is 0, or where it is passed on the way from the other side.
    """

    level: str
    metric: str
    group: tuple[str, ...]
    value: float
    bound: float
    used: float

    def __str__(self) -> str:
        where = f" of {' / '.join(self.group)}" if self.group else ""
        return f"{self.level}: {self.metric}{where} is {self.value:,.6g}, allowed is {self.bound:,.6g}"


def check(book: Portfolio, limits: Iterable[Limit], grid: ScenarioGrid | None) -> list[Alert]:
    alerts = []
    for limit in limits:
        for group, value in _values(book, limit, grid):
            alerts += _alerts(limit, group, value)
    return sorted(alerts, key=lambda a: (a.level != "breach", -a.used))


def _values(book: Portfolio, limit: Limit, grid: ScenarioGrid | None) -> list[tuple[tuple[str, ...], float]]:
    by = (limit.by,) if isinstance(limit.by, str) else limit.by
    if limit.metric == "worst_pnl":
        if grid is None:
            raise ParameterError("grid: is needed for a limit on 'worst_pnl'")
        if by is None:
            return [((), grid.worst()["pnl"])]
        if grid.groups is None or tuple(grid.groups) != tuple(by):
            raise ParameterError(f"grid: has not the groups of the limit, {', '.join(by)}")
        worst = grid["pnl"].reshape(len(grid["pnl"]), -1).min(axis=1)
        return [(tuple(row), float(v)) for row, v in zip(zip(*grid.groups.values(), strict=True), worst, strict=True)]
    sums = book.greeks((limit.metric,), by=by)
    if by is None:
        return [((), float(sums[limit.metric]))]
    rows = zip(*(sums[name].tolist() for name in by), strict=True)
    return [(tuple(row), float(value)) for row, value in zip(rows, sums[limit.metric], strict=True)]


def _alerts(limit: Limit, group: tuple[str, ...], value: float) -> list[Alert]:
    """At most one for each bound."""
    found = []
    for bound, beyond in ((limit.most, 1.0), (limit.least, -1.0)):
        if bound is None:
            continue
        # How much is used of a bound on its own side of 0; of others it cannot be said.
        own_side = bound * beyond > 0
        passed = (value - bound) * beyond > 0 or np.isnan(value)
        used = value / bound if own_side else np.inf
        if passed:
            found.append(Alert("breach", limit.metric, group, value, bound, float(used)))
        elif own_side and used >= limit.warn:
            found.append(Alert("warning", limit.metric, group, value, bound, float(used)))
    return found
