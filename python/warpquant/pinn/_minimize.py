# SPDX-License-Identifier: Apache-2.0
"""Minimisers of a smooth function of a flat vector, one step at a time; their state can be stored and taken up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from warpquant import _core

__all__ = ["METHODS", "Adam", "Lbfgs", "Method", "SsBroyden"]

Vector = np.ndarray[Any, np.dtype[np.float64]]
Function = Callable[[Vector], tuple[float, Vector]]


class Method:
    """A minimiser: `step` moves ``x`` and returns the loss there; False from `alive` says that no step is left.

    Parameters
    ----------
    x : array
        Where to start; copied.
    """

    #: What is stored of the state, besides x.
    _state: ClassVar[tuple[str, ...]] = ()

    def __init__(self, x: Vector) -> None:
        self.x = np.array(x, dtype=np.float64)
        self.steps = 0
        self.alive = True
        #: Whether a step has begun to change an array in place, so that no earlier state can be taken up again.
        self.torn = False

    def step(self, function: Function) -> float:
        """One step."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what was seen of the function: it has changed."""

    def state(self) -> dict[str, Any]:
        """What a process needs to go on with the same bits."""
        return {name: getattr(self, name) for name in ("x", "steps", "alive", *self._state)}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state.

        Raises
        ------
        KeyError
            If it is that of another minimiser.
        """
        for name in ("x", "steps", "alive", *self._state):
            setattr(self, name, state[name])


class Adam(Method):
    """Adam (Kingma and Ba 2015) with a rate that falls along a cosine over `total` steps to a hundredth."""

    _state: ClassVar[tuple[str, ...]] = ("first", "second", "rate", "total")

    def __init__(self, x: Vector, *, total: int, rate: float = 5e-3) -> None:
        super().__init__(x)
        self.rate, self.total = rate, total
        self.first, self.second = np.zeros_like(self.x), np.zeros_like(self.x)

    def step(self, function: Function) -> float:
        loss, g = function(self.x)
        self.steps += 1
        share = min(self.steps / max(self.total, 1), 1.0)
        rate = self.rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * share)))
        self.first = 0.9 * self.first + 0.1 * g
        self.second = 0.999 * self.second + 0.001 * g * g
        scale = math.sqrt(1.0 - 0.999**self.steps) / (1.0 - 0.9**self.steps)
        self.x = self.x - rate * scale * self.first / (np.sqrt(self.second) + 1e-8)
        return loss


def _cubic(a: float, fa: float, ga: float, b: float, fb: float, gb: float) -> float:
    """The minimum of the cubic through two points with their slopes, kept inside; the middle where there is none."""
    d1 = ga + gb - 3.0 * (fa - fb) / (a - b)
    square = d1 * d1 - ga * gb
    middle = 0.5 * (a + b)
    if not square >= 0.0:
        return middle
    d2 = math.copysign(math.sqrt(square), b - a)
    bottom = gb - ga + 2.0 * d2
    at = b - (b - a) * (gb + d2 - d1) / bottom if bottom != 0.0 else middle
    low, high = min(a, b), max(a, b)
    margin = 0.1 * (high - low)
    return at if low + margin <= at <= high - margin else middle


class _LineSearch(Method):
    """Steps along directions, to points that satisfy the strong conditions of Wolfe (Nocedal and Wright, 3.5, 3.6)."""

    _state: ClassVar[tuple[str, ...]] = ("loss", "g", "direction")
    _DECREASE, _CURVATURE, _TRIALS = 1e-4, 0.9, 25

    def __init__(self, x: Vector) -> None:
        super().__init__(x)
        self.loss = math.nan
        self.g: Vector | None = None
        self.direction: Vector | None = None

    def _first_direction(self) -> Vector:
        assert self.g is not None
        return -self.g / max(1.0, float(np.linalg.norm(self.g)))

    def _next_direction(self, s: Vector, y: Vector, g: Vector) -> Vector:
        raise NotImplementedError

    def restart(self) -> None:
        self.g = None

    def step(self, function: Function) -> float:
        if self.g is None:
            self.loss, self.g = function(self.x)
            self.direction = self._first_direction()
        assert self.direction is not None
        slope = float(self.direction @ self.g)
        if not slope < 0.0:
            self._forget()
            self.direction = self._first_direction()
            slope = float(self.direction @ self.g)
        found = self._search(function, slope) if slope < 0.0 else None
        if found is None:
            # Once more downhill, before giving up: at the end of precision no step is better.
            self.alive = self._forget() and slope < 0.0
            self.direction = self._first_direction()
            return self.loss
        step, loss, g = found
        s, y = step * self.direction, g - self.g
        self.x, self.loss = self.x + s, loss
        self.direction = self._next_direction(s, y, g)
        self.g = g
        self.steps += 1
        return loss

    def _forget(self) -> bool:
        """Drop what is known of the curvature; False if there was nothing."""
        raise NotImplementedError

    def _search(self, function: Function, slope: float) -> tuple[float, float, Vector] | None:
        assert self.direction is not None
        f0, best = self.loss, None
        low, f_low, g_low = 0.0, f0, slope
        high = f_high = g_high = math.nan
        at = 1.0
        for _ in range(self._TRIALS):
            loss, g = function(self.x + at * self.direction)
            gradient = float(g @ self.direction)
            if not (math.isfinite(loss) and math.isfinite(gradient)):
                high, f_high, g_high = at, math.inf, math.inf
                at = 0.5 * (low + at)
                continue
            enough = loss <= f0 + self._DECREASE * at * slope
            if enough and loss < f0 and (best is None or loss < best[1]):
                best = (at, loss, g)
            if enough and loss <= f_low and abs(gradient) <= -self._CURVATURE * slope:
                return at, loss, g
            if not enough or loss >= f_low:
                high, f_high, g_high = at, loss, gradient
            else:
                if gradient * ((high if high == high else math.inf) - low) >= 0.0:
                    high, f_high, g_high = low, f_low, g_low
                low, f_low, g_low = at, loss, gradient
            if high != high:
                at *= 2.0
            elif math.isfinite(f_high):
                at = _cubic(low, f_low, g_low, high, f_high, g_high)
            else:
                at = 0.5 * (low + high)
            if high == high and abs(high - low) < 1e-14 * max(1.0, abs(low)):
                break
        return best


class SsBroyden(_LineSearch):
    """Self-scaled Broyden updates of a dense inverse Hessian (Al-Baali and Khalfan; Urbán, Stefanou and Pons 2025).

    The correction of one step is applied in the pass over the matrix that the next step needs anyhow.
    """

    _state: ClassVar[tuple[str, ...]] = (*_LineSearch._state, "matrix", "pending", "known")

    def __init__(self, x: Vector, *, num_threads: int = 0, simd: str = "best") -> None:
        super().__init__(x)
        self._how = (num_threads, simd)
        self.matrix = np.eye(len(self.x))
        self.pending: tuple[float, list[float], list[Vector]] = (1.0, [0.0], [np.zeros_like(self.x)])
        self.known = False

    def _forget(self) -> bool:
        known, self.known = self.known, False
        self.matrix = np.eye(len(self.x))
        self.pending = (1.0, [0.0], [np.zeros_like(self.x)])
        return known

    def _product(self, g: Vector) -> Vector:
        scale, factors, vectors = self.pending
        self.pending = (1.0, [0.0], [np.zeros_like(self.x)])
        self.torn = True
        product: Vector = _core.pinn_update(self.matrix, scale, factors, vectors, g, *self._how)
        return product

    def _first_direction(self) -> Vector:
        # What was learnt before a new set of points still holds, about.
        if self.known and self.g is not None:
            return -self._product(self.g)
        return super()._first_direction()

    def _next_direction(self, s: Vector, y: Vector, g: Vector) -> Vector:
        assert self.g is not None
        assert self.direction is not None
        sy = float(s @ y)
        if not sy > 1e-300:
            return -self._product(g)
        if not self.known:
            self.matrix = np.eye(len(s)) * (sy / float(y @ y))
            self.known = True
            hg_before = self.matrix[0, 0] * self.g
        else:
            hg_before = -self.direction
        hg = self._product(g)
        hy = hg - hg_before
        yhy = float(y @ hy)
        n = len(s)
        # Names as in the papers; s = step * direction, direction = -H g.
        step = float(s @ s) / max(float(s @ self.direction), 1e-300)
        b = -step * float(s @ self.g) / sy
        h = yhy / sy
        if not (yhy > 0.0 and math.isfinite(h) and b > 0.0):
            return -hg
        a = b * h - 1.0
        if a <= 1e-12:  # H y and s are parallel, as far as rounding tells: any member of the family is the same
            tau, phi = 1.0, 1.0
        else:
            c = math.sqrt(a / (1.0 + a))
            rho = min(1.0, h * (1.0 - c))
            theta = max((rho - 1.0) / a, min(1.0 / rho, (1.0 - b) / b))
            sigma = 1.0 + a * theta
            root = sigma ** (-1.0 / (n - 1)) if n > 1 else 1.0
            tau = rho * min(root, 1.0 / theta) if theta > 0.0 else min(rho * root, sigma)
            phi = (1.0 - theta) / (1.0 + a * theta)
        w = math.sqrt(yhy) * (s / sy - hy / yhy)
        new = (hg - hy * (float(hy @ g) / yhy) + phi * w * float(w @ g)) / tau + s * (float(s @ g) / sy)
        self.pending = (1.0 / tau, [-1.0 / (yhy * tau), phi / tau, 1.0 / sy], [hy, w, s])
        direction: Vector = -new
        return direction


class Lbfgs(_LineSearch):
    """L-BFGS (Liu and Nocedal 1989) with the last `history` pairs."""

    _state: ClassVar[tuple[str, ...]] = (*_LineSearch._state, "pairs", "history")

    def __init__(self, x: Vector, *, history: int = 50) -> None:
        super().__init__(x)
        self.history = history
        self.pairs: list[tuple[Vector, Vector, float]] = []

    def _forget(self) -> bool:
        known, self.pairs = bool(self.pairs), []
        return known

    def restart(self) -> None:
        super().restart()
        self.pairs = []

    def _next_direction(self, s: Vector, y: Vector, g: Vector) -> Vector:
        sy = float(s @ y)
        if sy > 1e-300:
            self.pairs = [*self.pairs, (s, y, sy)][-self.history :]
        q = g.copy()
        weights = []
        for s_k, y_k, sy_k in reversed(self.pairs):
            weight = float(s_k @ q) / sy_k
            weights.append(weight)
            q -= weight * y_k
        if self.pairs:
            _, y_last, sy_last = self.pairs[-1]
            q *= sy_last / float(y_last @ y_last)
        for (s_k, y_k, sy_k), weight in zip(self.pairs, reversed(weights), strict=True):
            q += (weight - float(y_k @ q) / sy_k) * s_k
        direction: Vector = -q
        return direction


#: Minimisers by name.
METHODS: dict[str, type[Method]] = {"adam": Adam, "ssbroyden": SsBroyden, "lbfgs": Lbfgs}
