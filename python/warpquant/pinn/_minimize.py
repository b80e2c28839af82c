# SPDX-License-Identifier: Apache-2.0
"""Phases of a training: minimisers of `warpquant.optim`, one iteration at a time, whose state can be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from warpquant import optim

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

    def __init__(self, x: Vector) -> None:
        self.x = np.array(x, dtype=np.float64)
        self.steps = 0
        self.alive = True
        #: Whether a step has changed more than x when it was interrupted, so that there is no state to go on from.
        self.torn = False

    def step(self, function: Function) -> float:
        """One step.

        Parameters
        ----------
        function : callable
            Loss and gradient at a vector.
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

    def __init__(self, x: Vector, *, total: int, rate: float = 5e-3) -> None:
        super().__init__(x)
        self._optimizer = optim.Adam(self.x, lr=rate)
        self._schedule = optim.CosineAnnealingLR(self._optimizer, max(total, 1), rate / 100.0)

    def step(self, function: Function) -> float:
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

    def step(self, function: Function) -> float:
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


#: Minimisers by name.
METHODS: dict[str, type[Method]] = {"adam": Adam, "ssbroyden": SsBroyden, "lbfgs": Lbfgs}
