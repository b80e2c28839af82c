# SPDX-License-Identifier: Apache-2.0
"""Schedules of the learning rate, as PyTorch defines them: each a function of the step alone, but for the plateau."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from warpquant._checks import choice, number, whole
from warpquant.errors import ParameterError, StateError

from . import _kinds
from ._base import Optimizer, check, real

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "LinearLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]


def _rate(group: Mapping[str, Any], name: str) -> float:
    return float(_kinds.plain(group[name], name))


#: By how much the rate of a group that came later may rise above the one it came with.
_MOST_RISE = 10.0


class Schedule:
    """Base of the schedules that are functions of the step.

    Parameters
    ----------
    optimizer : Optimizer
        Whose ``lr`` is set, group by group; what it has at first is the base (``initial_lr``).
    last_epoch : int
        The step that the run is at; -1: none was done.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check(isinstance(optimizer, Optimizer), f"optimizer: {type(optimizer).__name__} is none of warpquant.optim")
        self.optimizer = optimizer
        self.last_epoch = whole("last_epoch", last_epoch, -1)
        if last_epoch == -1:
            self.last_epoch = 0
            for group in optimizer.param_groups:
                group["initial_lr"] = _rate(group, "initial_lr" if "initial_lr" in group else "lr")
        check(
            all("initial_lr" in group for group in optimizer.param_groups),
            "last_epoch: a run that goes on has 'initial_lr' in every group of its optimizer",
        )
        self.base_lrs = [_rate(group, "initial_lr") for group in optimizer.param_groups]
        self._apply()

    def lr_at(self, step: int, base_lr: float) -> float:
        """The learning rate at a step, counted from 0.

        Parameters
        ----------
        step : int
            Number of steps done.
        base_lr : float
            What the rate is without the schedule.

        Returns
        -------
        float
            The rate.
        """
        raise NotImplementedError

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            _kinds.set_number(group, "lr", self.lr_at(self.last_epoch, base))

    def _rises(self, step: int) -> bool:
        """Whether the rate may come nearer to the base again after a step."""
        return True

    def _take_in(self) -> None:
        """Groups that the optimizer has got since, as if their rates had come about by this schedule."""
        known = len(self.base_lrs)
        bases = []
        for i, group in enumerate(self.optimizer.param_groups[known:], known):
            at_0, at_1 = (self.lr_at(self.last_epoch, base) for base in (0.0, 1.0))
            rate = _rate(group, "lr")
            # Every schedule is a straight line in the base.
            base = (rate - at_0) / (at_1 - at_0) if at_1 != at_0 else rate
            check(
                base >= 0.0 and (base <= _MOST_RISE * rate or not self._rises(self.last_epoch)),
                f"optimizer: group {i} came with the rate {rate:g} at step {self.last_epoch}, to which "
                f"{type(self).__name__} brings {base:g}; accepted are rates from 0 to {_MOST_RISE:g} times that of the "
                "group; give the group an 'initial_lr' and make the schedule anew, with its last_epoch",
            )
            bases.append(base)
        for group, base in zip(self.optimizer.param_groups[known:], bases, strict=True):
            group["initial_lr"] = base
        self.base_lrs += bases

    def step(self) -> None:
        """Go on to the next step; called after that of the optimizer.

        Raises
        ------
        ParameterError
            If the optimizer has got a group that cannot be taken in (see docs/optim.md); nothing is changed then.
        """
        self._take_in()
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now."""
        return [_rate(group, "lr") for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes: the step, and the rates it began with."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another run, ours or PyTorch's, was.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gave; of PyTorch's schedules ``last_epoch`` and ``base_lrs`` are taken. Those do not know
            groups that their optimizer has got since; at the next step, these go on from the rate that they have.

        Raises
        ------
        StateError
            If they are missing, are no numbers, or are of no group or of more than there are; nothing is changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"last_epoch", "base_lrs"} <= set(state_dict):
            raise StateError("state_dict: is no mapping with 'last_epoch' and 'base_lrs'")
        groups, theirs = len(self.optimizer.param_groups), state_dict["base_lrs"]
        if not isinstance(theirs, (list, tuple)) or not 1 <= len(theirs) <= groups:
            found = f"{len(theirs)} rates" if isinstance(theirs, (list, tuple)) else f"{theirs!r}"
            raise StateError(f"state_dict: its 'base_lrs' are {found}; accepted are from 1 to {groups}, one a group")
        try:
            last_epoch = whole("last_epoch", state_dict["last_epoch"], 0)
            base_lrs = [real(f"base_lrs[{i}]", lr) for i, lr in enumerate(theirs)]
        except ParameterError as error:
            raise StateError(f"state_dict: {error}") from None
        self.last_epoch, self.base_lrs = last_epoch, base_lrs
        self._apply()


class ConstantLR(Schedule):
    """``factor`` times the rate for the first ``total_iters`` steps, then the rate.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    factor : float
        In [0, 1].
    total_iters : int
        Steps.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> schedule = optim.ConstantLR(optim.SGD(np.ones(1), lr=0.6), factor=0.5, total_iters=2)
    >>> [schedule.lr_at(step, 0.6) for step in range(4)]
    [0.3, 0.3, 0.6, 0.6]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3.0, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = number("factor", factor, 0.0, 1.0), whole("total_iters", total_iters, 0)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`."""
        return base_lr * self.factor if step < self.total_iters else base_lr

    def _rises(self, step: int) -> bool:
        return step < self.total_iters


class StepLR(Schedule):
    """The rate times ``gamma`` after every ``step_size`` steps.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    step_size : int
        Steps.
    gamma : float
        Factor.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> schedule = optim.StepLR(optim.SGD(np.ones(1), lr=1.0), step_size=2, gamma=0.5)
    >>> [schedule.lr_at(step, 1.0) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = whole("step_size", step_size, 1), number("gamma", gamma, 0.0)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`."""
        return float(base_lr * self.gamma ** (step // self.step_size))

    def _rises(self, step: int) -> bool:
        return self.gamma > 1.0


class CosineAnnealingLR(Schedule):
    """From the rate to ``eta_min`` along half a cosine over ``T_max`` steps, and back over the next, and so on.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    T_max : int
        Steps.
    eta_min : float
        Lowest rate.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> schedule = optim.CosineAnnealingLR(optim.SGD(np.ones(1), lr=1.0), T_max=2)
    >>> [round(schedule.lr_at(step, 1.0), 12) for step in range(4)]
    [1.0, 0.5, 0.0, 0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = whole("T_max", T_max, 1), number("eta_min", eta_min, 0.0)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`."""
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class LinearLR(Schedule):
    """A warm-up: from ``start_factor`` to ``end_factor`` times the rate over ``total_iters`` steps, in equal steps.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    start_factor, end_factor : float
        The first above 0, both at most 1.
    total_iters : int
        Steps.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> schedule = optim.LinearLR(optim.SGD(np.ones(1), lr=1.0), start_factor=0.5, total_iters=2)
    >>> [schedule.lr_at(step, 1.0) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3.0, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.start_factor = number("start_factor", start_factor, math.ulp(0.0), 1.0)
        self.end_factor, self.total_iters = (
            number("end_factor", end_factor, 0.0, 1.0),
            whole("total_iters", total_iters, 1),
        )
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`."""
        done = min(self.total_iters, step) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)

    def _rises(self, step: int) -> bool:
        return self.end_factor > self.start_factor and step < self.total_iters


class OneCycleLR(Schedule):
    """Up from ``max_lr / div_factor`` to ``max_lr``, and down to ``max_lr / div_factor / final_div_factor``.

    Momentum (of SGD and RMSprop; ``betas[0]`` of Adam) goes the other way, from ``max_momentum`` to ``base_momentum``
    and back, unless ``cycle_momentum=False``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    max_lr : float or list of float
        Highest rate; or of each group.
    total_steps, epochs, steps_per_epoch : int
        The first, or both others.
    pct_start : float
        Share of the steps on the way up.
    anneal_strategy : {'cos', 'linear'}
        Form of the ways.
    cycle_momentum : bool
        Whether momentum moves.
    base_momentum, max_momentum : float or list of float
        Its bounds; or of each group.
    div_factor, final_div_factor : float
        As above.
    three_phase : bool
        Down as long as up, to the rate at the start, and from there to the last in the rest.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> sgd = optim.SGD(np.ones(1), lr=1.0, momentum=0.9)
    >>> schedule = optim.OneCycleLR(sgd, max_lr=1.0, total_steps=10)
    >>> round(sgd.param_groups[0]["lr"], 6), sgd.param_groups[0]["momentum"]
    (0.04, 0.95)
    >>> [round(schedule.lr_at(step, 1.0), 3) for step in (0, 2, 5, 9)]
    [0.04, 1.0, 0.611, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos", cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85, max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if total_steps is None:
            check(
                epochs is not None and steps_per_epoch is not None,
                "total_steps: is missing; accepted are it, or epochs and steps_per_epoch",
            )
            total_steps = whole("epochs", epochs, 1) * whole("steps_per_epoch", steps_per_epoch, 1)
        self.total_steps = whole("total_steps", total_steps, 2)
        self.pct_start = number("pct_start", pct_start, 0.0, 1.0)
        choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.div_factor = number("div_factor", div_factor, math.ulp(0.0))
        self.final_div_factor = number("final_div_factor", final_div_factor, math.ulp(0.0))
        groups = len(optimizer.param_groups)
        self._max_lrs, self._low, self._high = (
            self._each(name, value, groups)
            for name, value in (("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum))
        )
        if cycle_momentum:
            check(
                "momentum" in optimizer.defaults or "betas" in optimizer.defaults,
                f"cycle_momentum: {type(optimizer).__name__} has none; accepted is False",
            )
        up = float(self.pct_start * self.total_steps) - 1
        # Each phase: its end, and of the rate and of momentum whether the bounds at its ends are 0 low, 1 high, 2 last.
        self._phases = (
            [(up, 0, 1), (2 * up, 1, 0), (self.total_steps - 1, 0, 2)]
            if three_phase
            else [(up, 0, 1), (self.total_steps - 1, 1, 2)]
        )
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _each(name: str, value: float | Sequence[float], groups: int) -> list[float]:
        values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)] * groups
        check(len(values) == groups, f"{name}: has {len(values)} values for {groups} groups")
        return values

    def _between(self, step: int, bounds: tuple[float, float, float]) -> float:
        check(step <= self.total_steps, f"step: {step} is beyond the {self.total_steps} steps of the cycle")
        start = 0.0
        for i, (end, at_start, at_end) in enumerate(self._phases):
            if step <= end or i == len(self._phases) - 1:
                share = (step - start) / (end - start) if end != start else 1.0
                a, b = bounds[at_start], bounds[at_end]
                if self.anneal_strategy == "cos":
                    return b + (a - b) / 2.0 * (math.cos(math.pi * share) + 1)
                return (b - a) * share + a
            start = end
        raise AssertionError

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`; `base_lr` is the highest rate."""
        first = base_lr / self.div_factor
        return self._between(step, (first, base_lr, first / self.final_div_factor))

    def _apply(self) -> None:
        for i, group in enumerate(self.optimizer.param_groups):
            _kinds.set_number(group, "lr", self.lr_at(self.last_epoch, self._max_lrs[i]))
            if not self.cycle_momentum:
                continue
            momentum = self._between(self.last_epoch, (self._high[i], self._low[i], self._high[i]))
            if "betas" in self.optimizer.defaults:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                _kinds.set_number(group, "momentum", momentum)

    def _take_in(self) -> None:
        groups = len(self.optimizer.param_groups)
        check(
            groups == len(self._max_lrs),
            f"optimizer: has {groups} groups, but OneCycleLR knows the highest rates of {len(self._max_lrs)}; make it "
            "after the last group was added",
        )


class SequentialLR(Schedule):
    """One schedule after the other, such as a warm-up before a cosine.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    schedulers : list of Schedule
        Of the same optimizer, in order; not those that move momentum.
    milestones : list of int
        Steps at which each but the first begins, at its own step 0.
    last_epoch : int
        The step that the run is at; -1: none was done.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> sgd = optim.SGD(np.ones(1), lr=1.0)
    >>> warm_up = optim.LinearLR(sgd, start_factor=0.5, total_iters=2)
    >>> schedule = optim.SequentialLR(sgd, [warm_up, optim.CosineAnnealingLR(sgd, T_max=4)], milestones=[2])
    >>> [round(schedule.lr_at(step, 1.0), 3) for step in range(5)]
    [0.5, 0.75, 1.0, 0.854, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        check(
            len(schedulers) == len(milestones) + 1 and list(milestones) == sorted(milestones),
            f"milestones: {list(milestones)!r} do not go with {len(schedulers)} schedules",
        )
        check(
            all(s.optimizer is optimizer and not isinstance(s, OneCycleLR) for s in schedulers),
            "schedulers: one is of another optimizer, or moves momentum",
        )
        self.schedulers, self.milestones = list(schedulers), [whole("milestones", m, 1) for m in milestones]
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float) -> float:
        """As `Schedule.lr_at`."""
        i = bisect.bisect_right(self.milestones, step)
        return self.schedulers[i].lr_at(step - (self.milestones[i - 1] if i else 0), base_lr)

    def _rises(self, step: int) -> bool:
        i = bisect.bisect_right(self.milestones, step)
        begun = self.milestones[i - 1] if i else 0
        return i < len(self.milestones) or self.schedulers[i]._rises(step - begun)


class ReduceLROnPlateau:
    """The rate times ``factor`` when a metric has not become better for ``patience`` steps.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rate is set.
    mode : {'min', 'max'}
        What is better.
    factor : float
        Below 1.
    patience : int
        Steps without a better metric that are put up with.
    threshold : float
        By how much it has to be better,
    threshold_mode : {'rel', 'abs'}
        in proportion to the best, or by itself.
    cooldown : int
        Steps after a reduction that are not counted.
    min_lr : float or list of float
        Lowest rate; or of each group.
    eps : float
        Smaller changes are not made.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> sgd = optim.SGD(np.ones(1), lr=1.0)
    >>> schedule = optim.ReduceLROnPlateau(sgd, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0,
        min_lr: float | Sequence[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        check(isinstance(optimizer, Optimizer), f"optimizer: {type(optimizer).__name__} is none of warpquant.optim")
        choice("mode", mode, ("min", "max"))
        choice("threshold_mode", threshold_mode, ("rel", "abs"))
        self.optimizer = optimizer
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = number("factor", factor, 0.0, math.nextafter(1.0, 0.0))
        self.patience, self.cooldown = whole("patience", patience, 0), whole("cooldown", cooldown, 0)
        self.threshold, self.eps = number("threshold", threshold, 0.0), number("eps", eps, 0.0)
        self._min_lr = min_lr
        self.min_lrs = OneCycleLR._each("min_lr", min_lr, len(optimizer.param_groups))
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "abs":
            return sign * metric > sign * (self.best + sign * self.threshold)
        return sign * metric > sign * (self.best * (1.0 + sign * self.threshold))

    def step(self, metrics: float) -> None:
        """Take in the metric of a step.

        Parameters
        ----------
        metrics : float
            What is to become better; NaN is not.
        """
        metric = float(_kinds.plain(metrics, "metrics"))
        groups = len(self.optimizer.param_groups)
        if groups != len(self.min_lrs):  # there are more by now
            self.min_lrs = OneCycleLR._each("min_lr", self._min_lr, groups)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                old = _rate(group, "lr")
                new = max(old * self.factor, low)
                if old - new > self.eps:
                    _kinds.set_number(group, "lr", new)
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now."""
        return [_rate(group, "lr") for group in self.optimizer.param_groups]

    _KEPT = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {name: getattr(self, name) for name in self._KEPT}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another run, ours or PyTorch's, was.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gave.

        Raises
        ------
        StateError
            If it is of another kind.
        """
        if not set(self._KEPT) <= set(state_dict):
            raise StateError("state_dict: is not that of a plateau")
        for name in self._KEPT:
            setattr(self, name, state_dict[name])
