# SPDX-License-Identifier: Apache-2.0
"""Hedges by least squares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from warpquant._checks import choice
from warpquant.errors import ParameterError

from .frames import Floats

if TYPE_CHECKING:
    from .portfolio import Portfolio

__all__ = ["Hedge"]

#: Size of the move that makes money of an exposure, and how: powers of the spot, factor.
_MOVES: dict[str, tuple[float, int, float]] = {
    "delta": (0.01, 1, 1.0),
    "gamma": (0.01, 2, 0.5),
    "speed": (0.01, 3, 1 / 6),
    "vega": (0.01, 0, 1.0),
    "volga": (0.01, 0, 0.5),
    "vanna": (0.01, 1, 1.0),
    "theta": (1 / 365, 0, 1.0),
    "rho": (0.0001, 0, 1.0),
    "epsilon": (0.0001, 0, 1.0),
}
#: A second order in one variable counts its move twice, vanna a move of the spot and one of volatility.
_POWERS = {"gamma": 2, "speed": 3, "volga": 2}


@dataclasses.dataclass(frozen=True)
class Hedge:
    """Quantities of instruments, and what they do to a book.

    Attributes
    ----------
    quantity : ndarray of float64, shape (instruments,)
        What to trade; negative: sell.
    targets : tuple of str
        Greeks that were hedged.
    underlyings : tuple of str
        Of the rows of the exposures.
    before, after : dict of str to ndarray, shape (underlyings,)
        Sums of each target.
    risk_before, risk_after : float
        Root of the sum of the squared exposures in money.
    cost : float
        Of trading.
    book : Portfolio
        The book with the instruments in it.
    """

    quantity: Floats
    targets: tuple[str, ...]
    underlyings: tuple[str, ...]
    before: dict[str, Floats]
    after: dict[str, Floats]
    risk_before: float
    risk_after: float
    cost: float
    book: Portfolio = dataclasses.field(repr=False)


def solve(
    book: Portfolio,
    instruments: Portfolio,
    targets: str | Iterable[str],
    cost: Any,
    risk_aversion: float,
    moves: Mapping[str, float] | None,
    integer: bool,
) -> Hedge:
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    for name in (*names, *(moves or {})):
        choice("targets", name, _MOVES)
    if not names:
        raise ParameterError(f"targets: is empty; accepted are {', '.join(_MOVES)}")
    if instruments.model != book.model:
        raise ParameterError(f"instruments: have the model {instruments.model!r}; the book has {book.model!r}")
    unit = instruments.with_quantity(1.0)
    if len(unit) == 0 or unit.invalid.any():
        raise ParameterError("instruments: have to be at least one, and all with a value")
    costs = np.array(np.broadcast_to(np.asarray(cost, dtype=np.float64), (len(unit),)))
    if not (np.isfinite(costs).all() and (costs >= 0).all()):
        raise ParameterError(f"cost: {cost!r} is out of range; accepted are finite numbers from 0 on")
    if not (np.isfinite(risk_aversion) and risk_aversion > 0):
        raise ParameterError(f"risk_aversion: {risk_aversion!r} is out of range; accepted are finite numbers above 0")

    underlyings = tuple(dict.fromkeys([*book.labels["underlying"], *unit.labels["underlying"]]))
    place = {u: i for i, u in enumerate(underlyings)}

    def exposures(of: Portfolio) -> tuple[Floats, Floats]:
        """Of each target and position: the Greek and its worth in money, both times quantity and multiplier."""
        each = of._each(names)
        greek = np.where(of.invalid, 0.0, np.array([each[name] for name in names]) * of.weight)
        return greek, greek * np.array([_money(name, of.fields["spot"], moves or {}) for name in names])

    def per_underlying(values: Floats, of: Portfolio) -> Floats:
        at = [place[u] for u in of.labels["underlying"]]
        return np.array([np.bincount(at, row, minlength=len(underlyings)) for row in values])

    held, held_money = exposures(book)
    traded, traded_money = exposures(unit)
    start = per_underlying(np.where(book.invalid, 0.0, held_money), book).ravel()
    effect = np.zeros((len(names), len(underlyings), len(unit)))
    for i, u in enumerate(unit.labels["underlying"]):
        effect[:, place[u], i] = traded_money[:, i]
    matrix = effect.reshape(-1, len(unit))
    quantity = _least_squares(matrix, start, costs / risk_aversion)
    if integer:
        quantity = _whole(matrix, start, costs / risk_aversion, quantity)

    before = per_underlying(held, book)
    after = before + per_underlying(traded * quantity, unit)
    left = start + matrix @ quantity
    return Hedge(
        quantity, names, underlyings, dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)),
        float(np.linalg.norm(start)), float(np.linalg.norm(left)), float(costs @ np.abs(quantity)),
        book.with_positions(instruments.with_quantity(quantity)),
    )  # fmt: skip


def _money(name: str, spot: Floats, moves: Mapping[str, float]) -> Floats:
    size, of_spot, factor = _MOVES[name]
    size = float(moves.get(name, size))
    if not (np.isfinite(size) and size > 0):
        raise ParameterError(f"moves: {size!r} of {name!r} is out of range; accepted are finite numbers above 0")
    if name == "vanna":
        size *= float(moves.get("delta", _MOVES["delta"][0]))
    return np.asarray(factor * size ** _POWERS.get(name, 1) * spot**of_spot)


def _objective(a: Floats, g: Floats, c: Floats, x: Floats) -> float:
    r = g + a @ x
    return float(r @ r + c @ np.abs(x))


def _least_squares(a: Floats, g: Floats, c: Floats) -> Floats:
    """What minimises |g + a x|^2 + c |x|."""
    plain = np.asarray(np.linalg.lstsq(a, -g, rcond=None)[0], dtype=np.float64)
    if not c.any():
        return plain
    # One coordinate after the other: convex, and the part with corners is a sum over coordinates, so that this ends
    # at the minimum (Tseng 2001).
    squares = np.einsum("ij,ij->j", a, a)
    x = np.zeros_like(plain)
    r = g.copy()
    for _ in range(10_000):
        largest = 0.0
        for j in np.flatnonzero(squares):
            pull = x[j] * squares[j] - a[:, j] @ r
            new = np.sign(pull) * max(abs(pull) - c[j] / 2.0, 0.0) / squares[j]
            if new != x[j]:
                r += a[:, j] * (new - x[j])
                largest = max(largest, abs(new - x[j]) * np.sqrt(squares[j]))
                x[j] = new
        if largest <= 1e-13 * (1.0 + np.linalg.norm(g)):
            break
    # Among instruments that move alike the steps get small; what is left of the way is a linear system.
    used = np.flatnonzero(x)
    if len(used):
        signs = np.sign(x[used])
        some = a[:, used]
        exact = np.linalg.lstsq(some.T @ some, -some.T @ g - signs * c[used] / 2.0, rcond=None)[0]
        better = np.zeros_like(x)
        better[used] = exact
        if (np.sign(exact) == signs).all() and _objective(a, g, c, better) <= _objective(a, g, c, x):
            return better
    return x


def _whole(a: Floats, g: Floats, c: Floats, x: Floats) -> Floats:
    """Whole numbers near a minimum: steps of one in one coordinate, or in two, as long as they are better."""
    x = np.asarray(np.rint(x), dtype=np.float64)
    best = _objective(a, g, c, x)
    n = len(x)
    units = np.eye(n)
    steps = [s * units[i] for i in range(n) for s in (1.0, -1.0)]
    if n <= 32:
        steps += [s * units[i] + t * units[j] for i in range(n) for j in range(i) for s in (1, -1) for t in (1, -1)]
    improved = True
    while improved:
        improved = False
        for step in steps:
            value = _objective(a, g, c, x + step)
            if value < best:
                x, best, improved = x + step, value, True
    return x + 0.0
