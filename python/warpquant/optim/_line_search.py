# SPDX-License-Identifier: Apache-2.0
"""A line search for the strong Wolfe conditions: bracketing and zoom with cubic interpolation, as in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["strong_wolfe"]

Vector = npt.NDArray[np.float64]


class Point(NamedTuple):
    """A place on the line: how far, value, gradient, slope."""

    t: float
    f: float
    g: Vector
    slope: float


def minimum_between(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through values and slopes of two points is least, in bounds (by default between the points)."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    if a.t == b.t:
        return (low + high) / 2.0
    d1 = a.slope + b.slope - 3.0 * (a.f - b.f) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0.0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    left, right = (a, b) if a.t <= b.t else (b, a)
    width = right.slope - left.slope + 2.0 * d2
    if width == 0.0:
        return (low + high) / 2.0
    place = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / width)
    return min(max(place, low), high)


def strong_wolfe(
    along: Callable[[float], tuple[float, Vector]], dot: Callable[[Vector, Vector], float], t: float, d: Vector,
    f: float, g: Vector, slope: float, *, c1: float = 1e-4, c2: float = 0.9, tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Vector, float, int]:  # fmt: skip
    """Value, gradient and length of a way along d that meets the conditions, and how many evaluations it took.

    Where none is found, those of the least value in the bracket.
    """
    evaluations = 0

    def at(length: float) -> Point:
        nonlocal evaluations
        value, gradient = along(length)
        evaluations += 1
        return Point(length, value, gradient, dot(gradient, d))

    start = Point(0.0, f, g, slope)
    width = float(np.abs(d).max())
    before, new = start, at(t)
    done, tries, bracket = False, 0, [start, new]
    while tries < max_ls:
        if not new.f <= f + c1 * new.t * slope or (tries > 1 and new.f >= before.f):
            bracket = [before, new]
            break
        if abs(new.slope) <= -c2 * slope:
            bracket, done = [new], True
            break
        if new.slope >= 0.0:
            bracket = [before, new]
            break
        further = minimum_between(before, new, (new.t + 0.01 * (new.t - before.t), new.t * 10.0))
        before, new = new, at(further)
        tries += 1
        bracket = [start, new]

    stuck = False
    low, high = (1, 0) if bracket[-1].f < bracket[0].f else (0, 1)  # a value that is NaN is never the lower
    while not done and tries < max_ls:
        near, far = sorted((bracket[0].t, bracket[1].t))
        if (far - near) * width < tolerance_change:
            break
        t = minimum_between(bracket[0], bracket[1])
        # Close to an end, twice in a row or on it: a tenth of the bracket from there.
        margin = 0.1 * (far - near)
        if min(far - t, t - near) < margin:
            if stuck or t >= far or t <= near:
                t = far - margin if abs(t - far) < abs(t - near) else near + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = at(t)
        tries += 1
        if not new.f <= f + c1 * t * slope or new.f >= bracket[low].f:
            bracket[high] = new
            low, high = (1, 0) if bracket[1].f < bracket[0].f else (0, 1)
        else:
            if abs(new.slope) <= -c2 * slope:
                done = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0.0:
                bracket[high] = bracket[low]
            bracket[low] = new
    best = bracket[low] if len(bracket) > 1 else bracket[0]
    return best.f, best.g, best.t, evaluations
