# SPDX-License-Identifier: Apache-2.0
"""Quadratic programmes of some hundred variables: what shape constraints make of least squares."""

from __future__ import annotations

import numpy as np

from .fits import Floats


def quadratic(
    square: Floats, linear: Floats, inside: Floats, least: Floats, equal: Floats, value: Floats, start: Floats, *,
    tolerance: float = 1e-10, most: int = 80,
) -> tuple[Floats, Floats, bool]:  # fmt: skip
    """The x that minimises x'Hx / 2 - f'x under Gx >= h and Ax = b, and the multipliers of Gx >= h.

    Mehrotra's predictor and corrector (SIAM J. Optim. 2, 1992). Equations, and the slacks of Gx - h, are met to
    rounding once a full step was taken, and slacks stay above 0.

    Parameters
    ----------
    square, linear : ndarray, shapes (n, n) and (n,)
        H, positive semidefinite, and f.
    inside, least : ndarray, shapes (m, n) and (m,)
        G and h.
    equal, value : ndarray, shapes (e, n) and (e,)
        A and b.
    start : ndarray, shape (n,)
        Where to begin.
    tolerance : float
        Of residuals and of the gap, relative to the size of f and of the objective.
    most : int
        Most steps.

    Returns
    -------
    x : ndarray, shape (n,)
    z : ndarray, shape (m,)
    found : bool
        Whether it got there; where not, most often nothing meets the constraints.
    """
    n, m, e = len(linear), len(least), len(value)
    x, y = np.array(start, dtype=np.float64), np.zeros(e)
    size = 1.0 + float(np.abs(linear).max(initial=0.0))
    slack = inside @ x - least
    s = np.maximum(slack, max(1e-3, float(np.abs(slack).mean()) * 0.1) if m else 1.0)
    z = np.full(m, 1e-3 * size)
    matrix = np.zeros((n + e, n + e))
    matrix[n:, :n], matrix[:n, n:] = equal, -equal.T
    for _ in range(most):
        dual = square @ x - linear - inside.T @ z - equal.T @ y
        primal, off = equal @ x - value, inside @ x - s - least
        gap = float(s @ z) / max(m, 1)
        level = 1.0 + abs(0.5 * float(x @ (square @ x)) - float(linear @ x))
        terms = 1.0 + np.abs(inside) @ np.abs(x)  # what rounding is relative to
        far = max(float(np.abs(primal).max(initial=0.0)), float((np.abs(off) / terms).max(initial=0.0)))
        if far <= 1e-12 and float(np.abs(dual).max()) <= tolerance * size and m * gap <= tolerance * level:
            return x, z, True
        if m * gap <= 1e-25 or not gap < 1e100:  # only rounding is left, or nothing meets the constraints
            return x, z, False
        ratio = z / s
        matrix[:n, :n] = square + inside.T @ (ratio[:, None] * inside)

        def step(aim: Floats, at: tuple[Floats, ...] = (dual, primal, off, s, z, ratio)) -> tuple[Floats, ...]:
            dual, primal, off, s, z, ratio = at
            solved = np.linalg.solve(matrix, np.concatenate([-dual + inside.T @ (aim / s - ratio * off), -primal]))
            ds = inside @ solved[:n] + off
            return solved[:n], solved[n:], ds, (aim - z * ds) / s

        try:
            _, _, ds, dz = step(-s * z)
            ahead = float((s + _reach(s, ds) * ds) @ (z + _reach(z, dz) * dz)) / max(m, 1)
            centre = min(ahead / gap, 1.0) ** 3 if gap > 0 else 0.0
            dx, dy, ds, dz = step(centre * gap - s * z - ds * dz)
        except np.linalg.LinAlgError:
            return x, z, False
        length = min(_reach(s, ds), _reach(z, dz))
        x, y, s, z = x + length * dx, y + length * dy, s + length * ds, z + length * dz
    return x, z, False


def _reach(values: Floats, steps: Floats) -> float:
    """How far along steps values stay above 0, at most 1, with a little to spare."""
    down = steps < 0
    if not down.any():
        return 1.0
    return min(1.0, 0.995 * float(np.min(-values[down] / steps[down])))
