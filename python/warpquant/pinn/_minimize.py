# SPDX-License-Identifier: Apache-2.0
"""Phases of a training: minimisers of `warpquant.optim`, one iteration at a time, whose state can be stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from warpquant import optim

__all__ = ["METHODS", "Adam", "Lbfgs", "LevenbergMarquardt", "Method", "SsBroyden", "damped_least_squares"]

Vector = np.ndarray[Any, np.dtype[np.float64]]
Function = Callable[[Vector], tuple[float, Vector]]
Linearised = Callable[[Vector], tuple[Vector, Vector]]


class Method:
    """A minimiser: `step` moves ``x`` and returns the loss there; False from `alive` says that no step is left.

    Parameters
    ----------
    x : array
        Where to start; copied.
    """

    #: Whether `step` gives the loss before it, not after.
    LOOKS_BACK: ClassVar[bool] = False

    def __init__(self, x: Vector) -> None:
        self.x = np.array(x, dtype=np.float64)
        self.steps = 0
        self.alive = True
        #: Whether a step has changed more than x when it was interrupted, so that there is no state to go on from.
        self.torn = False

    def step(self, function: Function, linearise: Linearised) -> float:
        """One step.

        Parameters
        ----------
        function : callable
            Loss and gradient at a vector.
        linearise : callable
            Residuals there whose squares add up to the loss, and their gradients as rows.
        """
        raise NotImplementedError

    def redrawn(self) -> None:
        """The function has become another one, though much like it."""

    def state(self) -> dict[str, Any]:
        """What a process needs to go on with the same bits."""
        return {"x": self.x.copy(), "steps": self.steps, "alive": self.alive, **self._inner()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state.

        Raises
        ------
        KeyError
            If it is that of another minimiser.
        """
        self.x[:] = state["x"]
        self.steps, self.alive = state["steps"], state["alive"]
        self._take(state)

    def _inner(self) -> dict[str, Any]:
        return {}

    def _take(self, state: dict[str, Any]) -> None:
        pass


class Adam(Method):
    """`optim.Adam` with a rate that falls along a cosine over `total` steps to a hundredth."""

    LOOKS_BACK = True

    def __init__(self, x: Vector, *, total: int, rate: float = 5e-3) -> None:
        super().__init__(x)
        self._optimizer = optim.Adam(self.x, lr=rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, max(total, 1), rate / 100.0)

    def step(self, function: Function, linearise: Linearised) -> float:
        """One step; gives the loss before it."""
        loss, g = function(self.x)
        self.torn = True
        self._optimizer.step(g)
        self._schedule.step()
        self.steps += 1
        self.torn = False
        return loss

    def _inner(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def _take(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


class _QuasiNewton(Method):
    """Iterations of a quasi-Newton method, until two in a row, the second one downhill, bring nothing."""

    def __init__(self, x: Vector) -> None:
        super().__init__(x)
        self._idle = 0
        self._optimizer = self._fresh()
        self._seen: tuple[Vector, float, Vector] | None = None

    def _fresh(self) -> Any:
        raise NotImplementedError

    def step(self, function: Function, linearise: Linearised) -> float:
        """One iteration; gives the loss after it."""

        def closure() -> tuple[float, Vector]:
            self.torn = False  # where the function raises, the optimizer goes back to before
            if self._seen is None or not np.array_equal(self._seen[0], self.x):
                self._seen = (self.x.copy(), *function(self.x))
            self.torn = True
            return self._seen[1], self._seen[2]

        before = self.x.copy()
        self._optimizer.step(closure)
        loss, _ = closure()
        self.steps += 1
        self._idle = self._idle + 1 if np.array_equal(before, self.x) else 0
        if self._idle == 1:  # once more downhill, before giving up: at the end of precision no step is better
            self._optimizer = self._fresh()
        self.alive = self._idle < 2
        self.torn = False
        return loss

    def redrawn(self) -> None:
        """Gradients and losses are others."""
        self._seen = None

    def _inner(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer.state_dict(), "idle": self._idle}

    def _take(self, state: dict[str, Any]) -> None:
        self._optimizer = self._fresh()
        self._optimizer.load_state_dict(state["optimizer"])
        self._idle, self._seen = state["idle"], None


class SsBroyden(_QuasiNewton):
    """`optim.SSBroyden`. What it has learnt of the curvature it keeps where points are drawn anew, but trusts less."""

    _DAMPING = 0.5

    def _fresh(self) -> optim.SSBroyden:
        return optim.SSBroyden(self.x, max_iter=1, tolerance_grad=0.0, tolerance_change=0.0)

    def redrawn(self) -> None:
        """Gradients and losses are others; curvatures are about the same."""
        super().redrawn()
        self._optimizer.damp(self._DAMPING)


class Lbfgs(_QuasiNewton):
    """`optim.LBFGS`. Pairs of before do not go with gradients of other points: it begins again."""

    def _fresh(self) -> optim.LBFGS:
        return optim.LBFGS(
            self.x, max_iter=1, max_eval=26, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
        )

    def redrawn(self) -> None:
        """Gradients and losses are others."""
        super().redrawn()
        self._optimizer = self._fresh()


class LevenbergMarquardt(Method):
    """Levenberg-Marquardt: steps are the least ``|J d + r|^2 + damping |d|^2``.

    They are found by orthogonal transformations, in the space of residuals or of parameters, whichever is smaller:
    never through ``J^T J``, whose condition is the square. The damping
    follows the ratio of what a step brings to what the linear model promised (Nielsen 1999).
    """

    _TRIALS = 10

    def __init__(self, x: Vector) -> None:
        super().__init__(x)
        self._damping, self._growth = math.nan, 2.0

    def step(self, function: Function, linearise: Linearised) -> float:
        """Of growing damping the first step that lowers the loss; the loss after it."""
        residuals, rows = linearise(self.x)
        loss = float(residuals @ residuals)
        tall = len(rows) >= len(self.x)
        q, r = np.linalg.qr(rows if tall else rows.T)
        square, right = (r, q.T @ residuals) if tall else (r.T, residuals)
        if math.isnan(self._damping):
            self._damping = 1e-3 * float(np.sum(rows**2)) / len(self.x)
        damping, growth = self._damping, self._growth
        for _ in range(self._TRIALS):
            z = damped_least_squares(square, -right, damping)
            d = z if tall else q @ z
            promised = loss - float(np.sum((rows @ d + residuals) ** 2))
            trial = function(self.x + d)[0]
            if trial < loss and promised > 0.0:
                self.torn = True
                ratio = (loss - trial) / promised
                self.x += d
                self._damping, self._growth = damping * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3), 2.0
                self.steps += 1
                self.torn = False
                return trial
            damping, growth = damping * growth, 2.0 * growth
        self.alive = False
        return loss

    def _inner(self) -> dict[str, Any]:
        return {"damping": self._damping, "growth": self._growth}

    def _take(self, state: dict[str, Any]) -> None:
        self._damping, self._growth = state["damping"], state["growth"]


def damped_least_squares(matrix: Vector, right: Vector, damping: float) -> Vector:
    """The z of the least ``|matrix z - right|^2 + damping |z|^2``."""
    n = matrix.shape[1]
    q, r = np.linalg.qr(np.concatenate([matrix, math.sqrt(damping) * np.eye(n)]))
    found: Vector = np.linalg.solve(r, q[: len(matrix)].T @ right)
    return found


#: Minimisers by name.
METHODS: dict[str, type[Method]] = {
    "adam": Adam, "ssbroyden": SsBroyden, "lbfgs": Lbfgs, "lm": LevenbergMarquardt,
}  # fmt: skip
