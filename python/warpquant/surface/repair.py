# SPDX-License-Identifier: Apache-2.0
"""Quotes moved as little as it takes to have no static arbitrage (docs/surface/repair.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant.errors import ParameterError, ShapeError, StateError

from .fits import Floats, floats
from .quotes import Quotes

__all__ = ["ARBITRAGES", "Repair", "repair"]

#: Families of static arbitrage, by code.
ARBITRAGES = (
    "outright", "vertical spread", "vertical butterfly", "calendar spread", "calendar vertical spread",
    "calendar butterfly",
)  # fmt: skip
#: Prices in units of the discounted forward: what a solver of linear programmes can tell from 0.
_RESOLUTION = 1e-9
#: Rounds in which constraints that turn out to be violated are added.
_ROUNDS = 50

Ints = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True, eq=False)
class Repair:
    """Prices without static arbitrage.

    Attributes
    ----------
    price : ndarray of float64, shape (quotes,)
        The new prices, of the same options; NaN where a quote had none.
    moved : ndarray of bool, shape (quotes,)
        Quotes whose price is another, by more than 1e-8 of the discounted forward.
    outside : ndarray of bool, shape (quotes,)
        Quotes whose new price is beyond their bid and ask, by more than 1e-8 of the discounted forward; none where
        there are prices without arbitrage inside all of them.
    violations : dict of str to int
        How often the quotes broke each family of constraints, of those in `ARBITRAGES`.
    distance : float
        Sum of all moves, in the units of prices.
    constraints : int
        Inequalities of the last linear programme.
    """

    price: Floats
    moved: npt.NDArray[np.bool_]
    outside: npt.NDArray[np.bool_]
    violations: dict[str, int]
    distance: float
    constraints: int

    def __repr__(self) -> str:
        found = sum(self.violations.values())
        return (
            f"Repair({int(self.moved.sum()):,} of {len(self.price):,} quotes moved, {int(self.outside.sum()):,} beyond "
            f"bid and ask; {found:,} violations before)"
        )


def repair(
    strike: Any, years: Any = None, price: Any = None, *, forward: Any = None, discount: Any = 1.0,
    is_call: Any = True, bid: Any = None, ask: Any = None,
) -> Repair:  # fmt: skip
    """Move prices of European options as little as it takes for them to have no static arbitrage.

    Model-free: a linear programme in the prices alone, with the constraints of Cohen, Reisinger and Wang, which are
    necessary and sufficient for a surface without arbitrage to go through all of them. Prices stay inside bid and ask,
    and the sum of moves is least. Where no prices do that, what a move costs is one over the number of quotes inside, 1
    beyond, and `outside` says which are. A price that is beyond its own bid or ask is moved from the nearer of them.

    Parameters
    ----------
    strike : array of float, shape (quotes,), or Quotes
        Strikes; or cleaned quotes, whose kept rows are taken, and the rest of the arguments from them.
    years, price : array of float, shape (quotes,)
        Time to expiry, which tells expiries apart, and price. Rows with a number that is not finite stay out.
    forward, discount : float or array, shape (quotes,)
        Forward price and discount factor of each expiry.
    is_call : bool or array, shape (quotes,), default True
        Puts are taken as calls by put-call parity.
    bid, ask : array of float, shape (quotes,), optional
        NaN for none. Without them all moves cost the same.

    Returns
    -------
    Repair

    Raises
    ------
    ParameterError
        If no quote is of use, a strike, a forward or a discount factor is not above 0, a bid is above its ask, or an
        expiry has two forwards.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.
    StateError
        If the solver gives up.
    ImportError
        If SciPy is not installed: it comes with ``warpquant[scipy]``.

    Notes
    -----
    In units of the discounted forward, at k = strike / forward, the six families are: c >= 0; 0 >= slope >= -1 from
    (0, 1) on; convex; c no less at a later expiry, at the same k; no less at a later expiry and a lower k; and below
    every line between later prices on both sides. Of the last there are as many as triples: those that bind are found
    by the convex hull of all later prices, and added until none is violated. Prices hold to 1e-9 of the forward.

    References
    ----------
    Cohen, Reisinger and Wang, Detecting and repairing arbitrage in traded option prices, Appl. Math. Finance 27 (2020),
    sections 2 and 3; Davis and Hobson, The range of traded option prices, Math. Finance 17 (2007).

    Examples
    --------
    >>> from warpquant import surface
    >>> fixed = surface.repair([90.0, 100.0, 110.0], 0.5, [12.0, 8.0, 2.0], forward=100.0)  # the middle one is dear
    >>> fixed.price.round(6).tolist(), fixed.moved.tolist(), fixed.violations["vertical butterfly"]
    ([12.0, 7.0, 2.0], [False, True, False], 1)
    """
    if isinstance(strike, Quotes):
        return _of_quotes(strike)
    if years is None or price is None or forward is None:
        raise ParameterError("years, price, forward: are needed with strikes")
    columns = [floats(v, n) for v, n in ((strike, "strike"), (years, "years"), (price, "price"), (forward, "forward"),
                                         (discount, "discount"))]  # fmt: skip
    sides = [np.full(1, np.nan) if v is None else floats(v, n) for v, n in ((bid, "bid"), (ask, "ask"))]
    try:
        made = np.broadcast_arrays(*columns, *sides, np.asarray(is_call, dtype=bool), np.empty(len(columns[0].ravel())))
    except ValueError as error:
        raise ShapeError(f"strike, years, price and the others do not go together: {error}") from error
    struck, times, paid, ahead, factor, low, high = (np.asarray(v, dtype=np.float64) for v in made[:7])
    calls = np.asarray(made[7])
    good = np.isfinite(struck) & np.isfinite(times) & np.isfinite(paid) & np.isfinite(ahead) & np.isfinite(factor)
    if not good.any():
        raise ParameterError(f"price: none of the {len(paid)} quotes has finite numbers")
    for name, values in (("strike", struck), ("years", times), ("forward", ahead), ("discount", factor)):
        if (values[good] <= 0).any():
            raise ParameterError(f"{name}: {values[good].min()} is out of range; accepted are numbers above 0")
    with np.errstate(invalid="ignore"):
        crossed = np.nonzero(good & (low > high))[0]
    if len(crossed):
        raise ParameterError(f"bid: is {low[crossed[0]]}, above the ask of {high[crossed[0]]}, of quote {crossed[0]}")
    _, expiry = np.unique(times[good], return_inverse=True)
    expiry = expiry.reshape(-1)
    one = np.zeros(expiry.max() + 1)
    one[expiry] = ahead[good]
    other = np.nonzero(np.abs(ahead[good] - one[expiry]) > _RESOLUTION * one[expiry])[0]
    if len(other):
        at, row = times[good][other[0]], other[0]
        raise ParameterError(
            f"forward: is {ahead[good][row]} and {one[expiry[row]]} at {at:.6g} years; accepted is one of an expiry"
        )
    unit = ahead * factor
    parity = np.where(calls, 0.0, 1.0 - struck / ahead)  # what turns a put's price into the call's
    quotes = _Quotes(
        struck[good] / ahead[good], times[good], *((v[good] / unit[good] + parity[good]) for v in (paid, low, high))
    )
    found, violations, rows = quotes.solve()
    new = np.full(len(paid), np.nan)
    new[good] = (found - parity[good]) * unit[good]
    change = np.abs(new - paid)
    with np.errstate(invalid="ignore"):
        moved = change > 1e-8 * unit
        outside = (new < low - 1e-8 * unit) | (new > high + 1e-8 * unit)
    return Repair(new, moved, outside, violations, float(np.nansum(change)), rows)


def _of_quotes(quotes: Quotes) -> Repair:
    chain, kept = quotes.chain, quotes.kept
    price = np.where(kept, chain.mid(), np.nan)
    return repair(
        chain.strike, chain.years, price, forward=quotes.forward, discount=np.exp(-quotes.rate * chain.years),
        is_call=chain.is_call, bid=chain.bid, ask=chain.ask,
    )  # fmt: skip


class _Quotes:
    """Calls in units of the discounted forward, k = strike / forward; one unknown for each expiry and k."""

    def __init__(self, k: Floats, years: Floats, price: Floats, bid: Floats, ask: Floats) -> None:
        self.price, self.bid, self.ask = price, bid, ask
        # fmax and fmin: a side that is missing bounds nothing.
        self.inside = np.fmin(np.fmax(price, bid), ask)
        expiries, self.expiry = np.unique(years, return_inverse=True)
        points, self.point = np.unique(np.stack([self.expiry, k], axis=1), axis=0, return_inverse=True)
        self.point = self.point.reshape(-1)
        self.of, self.k = points[:, 0].astype(np.intp), points[:, 1]
        self.count = len(self.k)
        self.start = np.searchsorted(self.of, np.arange(len(expiries) + 1))

    def solve(self) -> tuple[Floats, dict[str, int], int]:
        """New prices of the quotes, violations of the old ones by family, and how many constraints it took."""
        families = self._families()
        # Of quotes that disagree about one option, their mean is looked at.
        mean = np.bincount(self.point, self.price) / np.bincount(self.point)
        violations = {
            name: sum(1 for row in rows if _value(row, mean) < -_RESOLUTION)
            for name, rows in zip(ARBITRAGES, families, strict=True)
        }
        rows = [row for family in families for row in family]
        seen, hard = len(rows), True
        for _ in range(_ROUNDS):
            value = self._programme(rows, True) if hard else None
            if value is None:  # no prices are inside all quotes, nor will they be with more constraints
                hard, value = False, self._programme(rows, False)
            assert value is not None
            more = self._hulls(value)
            if not more:
                break
            rows.extend(more)
        else:
            raise StateError(f"the linear programme kept breaking constraints in {_ROUNDS} rounds")
        violations["calendar butterfly"] += sum(1 for row in rows[seen:] if _value(row, mean) < -_RESOLUTION)
        return value[self.point], violations, len(rows)

    def _families(self) -> list[list[_Row]]:
        """Constraints that a row's products with prices, plus its constant, are not below 0, by family."""
        families: list[list[_Row]] = [[] for _ in ARBITRAGES]
        for i in range(len(self.start) - 1):
            first, last = self.start[i], self.start[i + 1]
            k = self.k[first:last]
            families[0].append(((last - 1,), (1.0,), 0.0))
            families[1].append(((first,), (1.0,), k[0] - 1.0))  # no steeper than -1 from (0, 1)
            if len(k) == 1:
                families[1].append(((first,), (-1.0,), 1.0))
            for j in range(first, last - 1):
                families[1].append(((j, j + 1), (1.0, -1.0), 0.0))
            for j in range(first, last - 1):
                families[2].append(_below(self.k, j - 1 if j > first else -1, j + 1, j))
            for j in range(first, last):
                for later in range(i + 1, len(self.start) - 1):
                    self._calendar(families, j, later)
        return families

    def _calendar(self, families: list[list[_Row]], j: int, later: int) -> None:
        """What one price has to do with those of a later expiry."""
        first, last = int(self.start[later]), int(self.start[later + 1])
        k = self.k[first:last]
        right = int(np.searchsorted(k, self.k[j]))
        if right < len(k) and k[right] == self.k[j]:
            families[3].append(((first + right, j), (1.0, -1.0), 0.0))
        elif right == len(k):
            families[4].append(((last - 1, j), (1.0, -1.0), 0.0))
        else:
            families[5].append(_below(self.k, first + right - 1 if right else -1, first + right, j))

    def _hulls(self, value: Floats) -> list[_Row]:
        """Constraints that are broken: prices above the convex hull of their own expiry's and all later prices."""
        broken: list[_Row] = []
        for i in range(len(self.start) - 2, -1, -1):
            begin = self.start[i]
            rest = begin + np.argsort(self.k[begin:], kind="stable")
            hull = _lower_hull(self.k, value, rest)
            for j in range(begin, self.start[i + 1]):
                row = _under(self.k, hull, j)
                if row is not None and _value(row, value) < -_RESOLUTION:
                    broken.append(row)
        return broken

    def _programme(self, rows: list[_Row], hard: bool) -> Floats | None:
        """Prices that take the least moves; None where they are to be inside all quotes and cannot."""
        try:
            from scipy import optimize, sparse
        except ImportError as error:
            raise ImportError("repair needs SciPy: pip install 'warpquant[scipy]'") from error
        quotes, count = len(self.price), self.count
        # price of the point = quote + inside up + beyond up - inside down - beyond down
        up, down = self.ask - self.inside, self.inside - self.bid
        above, below = (np.where(np.isfinite(side) & hard, 0.0, np.inf) for side in (up, down))
        up, down = np.where(np.isfinite(up), up, 0.0), np.where(np.isfinite(down), down, 0.0)
        # Inside, all quotes together cost less than one of them beyond.
        toll = 1.0 / (1.0 + quotes)
        cost = np.concatenate([
            np.zeros(count), np.full(quotes, toll), np.ones(quotes), np.full(quotes, toll), np.ones(quotes)
        ])  # fmt: skip
        unit = sparse.identity(quotes, format="csr")
        pick = sparse.csr_matrix((np.ones(quotes), (np.arange(quotes), self.point)), shape=(quotes, count))
        equal = sparse.hstack([pick, -unit, -unit, unit, unit], format="csr")
        where = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
        at = np.concatenate([np.array(row[0], dtype=np.intp) for row in rows])
        factor = np.concatenate([np.array(row[1]) for row in rows])
        inside = sparse.csr_matrix((-factor, (where, at)), shape=(len(rows), len(cost)))
        found = optimize.linprog(
            cost, A_ub=inside, b_ub=np.array([row[2] for row in rows]), A_eq=equal, b_eq=self.inside,
            bounds=np.stack([
                np.zeros(len(cost)), np.concatenate([np.ones(count), up, above, down, below]),
            ], axis=1), method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )  # fmt: skip
        if hard and found.x is None:
            return None
        if found.x is None:
            raise StateError(f"the linear programme was not solved: {found.message}")
        value: Floats = found.x[:count]
        return value


_Row = tuple[tuple[int, ...], tuple[float, ...], float]


def _value(row: _Row, value: Floats) -> float:
    at, factor, constant = row
    return sum(f * float(value[i]) for i, f in zip(at, factor, strict=True)) + constant


def _lower_hull(k: Floats, value: Floats, order: Ints) -> list[int]:
    """Points of the lower convex hull of (0, 1), which is -1, and the given ones, by k."""
    hull = [-1]

    def place(i: int) -> tuple[float, float]:
        return (0.0, 1.0) if i < 0 else (float(k[i]), float(value[i]))

    for i in order.tolist():
        x, y = place(i)
        if len(hull) > 1 and place(hull[-1])[0] == x:
            if place(hull[-1])[1] <= y:
                continue
            hull.pop()
        while len(hull) > 1:
            (x0, y0), (x1, y1) = place(hull[-2]), place(hull[-1])
            if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append(i)
    # Beyond the least price the hull is level.
    least = min(range(len(hull)), key=lambda n: place(hull[n])[1])
    return hull[: least + 1]


def _under(k: Floats, hull: list[int], j: int) -> _Row | None:
    """That a price is not above the hull, unless it is one of its corners."""
    places = [0.0 if i < 0 else float(k[i]) for i in hull]
    right = int(np.searchsorted(places, k[j]))
    if right == len(hull):
        return None if hull[-1] == j or hull[-1] < 0 else ((hull[-1], j), (1.0, -1.0), 0.0)
    if hull[right] == j:
        return None
    if places[right] == k[j]:
        return (hull[right], j), (1.0, -1.0), 0.0
    return _below(k, hull[right - 1], hull[right], j)


def _below(k: Floats, left: int, right: int, j: int) -> _Row:
    """That price j is not above the line through two others; -1 to the left is (0, 1)."""
    low = 0.0 if left < 0 else float(k[left])
    share = (float(k[j]) - low) / (float(k[right]) - low)
    if left < 0:
        return (right, j), (share, -1.0), 1.0 - share
    return (left, right, j), (1.0 - share, share, -1.0), 0.0
