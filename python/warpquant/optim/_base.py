# SPDX-License-Identifier: Apache-2.0
"""What all optimizers have: parameters in groups, and state that PyTorch's understand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from warpquant import _core, config
from warpquant._checks import choice, number
from warpquant._devices import resolve
from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError, WarpquantError

from . import _kinds

__all__ = ["GroupedOptimizer", "Optimizer", "check", "is_array", "real", "wishes"]


def check(condition: bool, message: str) -> None:
    """Raise ParameterError with a message unless a condition holds."""
    if not condition:
        raise ParameterError(message)


def is_array(x: Any) -> bool:
    return hasattr(x, "__dlpack__") or isinstance(x, np.ndarray)


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """As `_checks.number`, which tensors of one element are, too."""
    return number(name, value if type(value) in (float, int) else _kinds.plain(value, name), low, high)


def _listed_params(given: Any, name: str) -> tuple[list[Any], list[str] | None]:
    """Parameters of a group, and their names, if they come in pairs with those."""
    if is_array(given):
        return [given], None
    if isinstance(given, (set, frozenset)):
        raise DTypeError(f"{name}: is a set, which has no order of its own; accepted are lists")
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise DTypeError(f"{name}: {type(given).__name__} is neither an array nor an iterable of arrays")
    listed = list(given)
    named = [isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) for p in listed]
    if not any(named):
        return listed, None
    check(all(named), f"{name}: some parameters have names, and some have none")
    return [p for _, p in listed], [own for own, _ in listed]


class Optimizer:
    """Base of the optimizers: parameters, in groups with flags of their own.

    Parameters
    ----------
    buffers : array, iterable of arrays, or iterable of dicts
        Parameters, which steps change in place. Dicts have the arrays under ``params``, and flags of their own.
    defaults : dict
        Flags of groups that do not say otherwise. Those in tensors are the caller's where there is one group; of
        several, each has its own, as schedules change them in place.
    """

    #: Groups of parameters as dicts of flags; what is changed there holds from the next step on.
    param_groups: list[dict[str, Any]]

    def __init__(self, buffers: Any, defaults: dict[str, Any]) -> None:
        self.defaults = {name: _own(flag) for name, flag in defaults.items()}
        if is_array(buffers):
            entries: Any = [buffers]
        elif isinstance(buffers, (str, bytes, Mapping)) or not isinstance(buffers, Iterable):
            raise DTypeError(
                f"buffers: {type(buffers).__name__} is neither an array nor an iterable of arrays or dicts"
            )
        else:
            entries = buffers if isinstance(buffers, (set, frozenset)) else list(buffers)
        check(bool(entries), "buffers: is empty")
        by_group = isinstance(entries, list) and isinstance(entries[0], Mapping)
        listed = entries if by_group else [{"params": entries}]
        self.param_groups = []
        for i, entry in enumerate(listed):
            name = f"buffers[{i}]" if by_group else "buffers"
            self.param_groups.append(self._group(entry, name, defaults if len(listed) == 1 else None))
        self._params = [p for group in self.param_groups for p in group["params"]]

    def _group(self, entry: Any, name: str, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
        """A group of its own, with all flags: those in the entry, and others as given or, if None, copies of ours."""
        if not isinstance(entry, Mapping) or "params" not in entry:
            raise DTypeError(f"{name}: is no dict with 'params'")
        unknown = set(entry) - set(self.defaults) - {"params", "param_names", "initial_lr"}
        check(not unknown, f"{name}: {sorted(unknown, key=str)} are unknown; accepted are {', '.join(self.defaults)}")
        params, names = _listed_params(entry["params"], name)
        if defaults is None:
            defaults = {flag: _own(value) for flag, value in self.defaults.items()}
        group = {**defaults, **entry, "params": params}
        if names is not None:
            group["param_names"] = names
        check(
            all(("param_names" in group) == ("param_names" in other) for other in self.param_groups),
            f"{name}: parameters of all groups have names, or of none",
        )
        check(len(group.get("param_names", params)) == len(params), f"{name}: has not as many names as parameters")
        self._check_flags(group)
        return group

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Take in more parameters, as a group of their own: layers that are no longer frozen, say.

        Parameters
        ----------
        param_group : dict
            Arrays under ``params``, and flags of their own; others are those that the optimizer was made with.
            Parameters begin with their first step; those that are there keep their state. Schedules that are there
            take the group in with the rate that it has (see docs/optim.md).

        Raises
        ------
        ParameterError, DTypeError, LayoutError
            If a flag or a parameter is not accepted, also as one that is there already; nothing is changed then.
        """
        group = self._group(param_group, "param_group")
        self._join(group)
        self.param_groups.append(group)
        self._params = [*self._params, *group["params"]]

    def _join(self, group: dict[str, Any]) -> None:
        """Make room for the parameters of a group, or refuse it."""
        raise NotImplementedError

    def _check_flags(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients that tensors of PyTorch carry.

        Parameters
        ----------
        set_to_none : bool
            Drop them, instead of filling them with 0.
        """
        for p in self._params:
            if getattr(p, "grad", None) is None:
                continue
            if set_to_none:
                p.grad = None
            else:
                p.grad.detach_().zero_()

    def _carried(self) -> list[Any]:
        """Gradients that the parameters carry themselves.

        Raises
        ------
        ParameterError
            If they are of a kind that carries none.
        """
        return _core.optim_carried(self._params)

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, list[Any]]:
        """Loss and gradients: what a closure returns, or the loss alone where parameters carry their gradients."""
        found = closure()
        if not isinstance(found, tuple):
            return found, self._carried()
        check(len(found) == 2, f"closure: returned {len(found)} values; accepted are the loss, or loss and gradients")
        return found[0], self._listed(found[1])

    def _listed(self, grads: Any) -> list[Any]:
        if not is_array(grads) and (isinstance(grads, (str, bytes, Mapping)) or not isinstance(grads, Iterable)):
            raise DTypeError(f"grads: {type(grads).__name__} is neither an array nor an iterable of arrays")
        listed = [_kinds.resolved(g) for g in ([grads] if is_array(grads) else grads)]
        if len(listed) != len(self._params):
            raise ShapeError(f"grads: has {len(listed)} gradients for {len(self._params)} buffers")
        return listed

    def _saved_groups(self) -> list[dict[str, Any]]:
        saved, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            saved.append({**group, "params": list(range(first, first + count))})
            first += count
        return saved

    def _read_groups(self, state_dict: Mapping[str, Any]) -> tuple[dict[Any, int], list[dict[str, Any]]]:
        """Which of our parameters each of theirs is, and the groups with their flags; nothing is changed."""
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise StateError("state_dict: is no mapping with 'state' and 'param_groups'")
        theirs = state_dict["param_groups"]
        if not isinstance(theirs, (list, tuple)) or not all(isinstance(g, Mapping) and "params" in g for g in theirs):
            raise StateError("state_dict: its 'param_groups' are no dicts with 'params'")
        if not isinstance(state_dict["state"], Mapping):
            raise StateError("state_dict: its 'state' is no mapping")
        if [len(g["params"]) for g in theirs] != [len(g["params"]) for g in self.param_groups]:
            raise StateError("state_dict: has groups of other sizes than the optimizer")
        groups = [
            # Names go over only to a group that has some: all groups have them, or none.
            {
                **ours,
                **{k: _own(v) for k, v in their.items() if k != "param_names" or k in ours},
                "params": ours["params"],
            }
            for ours, their in zip(self.param_groups, theirs, strict=True)
        ]
        for group in groups:
            self._check_flags(group)
        numbers = {key: i for i, key in enumerate(k for g in theirs for k in g["params"])}
        for key in state_dict["state"]:
            if key not in numbers:
                raise StateError(f"state_dict: has state of parameter {key!r}, which is in none of its groups")
        return numbers, groups

    def _take_groups(self, groups: list[dict[str, Any]]) -> None:
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update(new)


def _own(flag: Any) -> Any:
    """A flag that does not change with another optimizer's: rates may be tensors."""
    if _kinds.is_torch(flag):
        return flag.detach().clone()
    return copy.copy(flag) if isinstance(flag, (list, np.ndarray)) else flag


def wishes(
    grad_scale: float, clip_value: float | None, clip_norm: float | None, norm_type: float, norm: float | None,
    want_norm: bool, watch: bool,
) -> tuple[float, float, float, float, float | None, bool, bool]:  # fmt: skip
    """What is to be done to gradients, as the core takes it.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    scale = number("grad_scale", grad_scale)
    check(scale != 0.0, "grad_scale: 0 is no scale")

    def bound(name: str, value: float | None) -> float:
        return math.inf if value is None or value == math.inf else number(name, value, 0.0)

    return (
        1.0 / scale,
        bound("clip_value", clip_value),
        bound("clip_norm", clip_norm),
        math.inf if norm_type == math.inf else number("norm_type", norm_type, math.ulp(0.0)),
        None if norm is None else number("norm", norm, 0.0),
        want_norm,
        watch,
    )


#: Steps are counted in float64, as PyTorch's are in a float.
_MOST_STEPS = 2.0**53 - 1

#: Flags that choose between implementations in PyTorch; they are kept, so that its optimizers find them.
IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")


class GroupedOptimizer(Optimizer):
    """Base of the optimizers that change each element by itself, in one pass over memory."""

    _kind: ClassVar[int]
    #: What PyTorch calls the states of the core's rule, in its order.
    _states: ClassVar[tuple[str, ...]]
    _counts_steps: ClassVar[bool] = True

    def __init__(self, buffers: Any, defaults: dict[str, Any]) -> None:
        super().__init__(buffers, defaults)
        check(bool(self._params), "buffers: has no parameters")
        self._core = _core.OptimBuffers([_kinds.memory(p, f"buffers[{i}]") for i, p in enumerate(self._params)])
        self._group_of = [g for g, group in enumerate(self.param_groups) for _ in group["params"]]
        self._device = _kinds.device_of(self._params[0])
        self._states_of: list[dict[str, Any]] = [{} for _ in self._params]
        self._without_state = set(range(len(self._params)))
        #: Of parameters of bfloat16, their version when the float32 copy was known to be theirs.
        self._versions: dict[int, Any] = {i: None for i, p in enumerate(self._params) if _kinds.is_bfloat16(p)}
        self._unsure: set[int] = set()
        self._in_use = [self._wanted(group) for group in self.param_groups]
        self._norm, self._found_norm = math.nan, False
        self._left_out = 0
        self._before: list[Any] = []  # of fewer groups, whose memory graphs of before may have

    def _join(self, group: dict[str, Any]) -> None:
        first, params = len(self._params), group["params"]
        arrays = [_kinds.memory(p, f"buffers[{i}]") for i, p in enumerate(self._params)]
        arrays += [_kinds.memory(p, f"param_group[{i}]") for i, p in enumerate(params)]
        core = _core.OptimBuffers(arrays)
        if self._device is not None:
            self._norm, self._left_out, self._found_norm = self.norm, self.skipped, False
            self._before.append(self._core)
        steps = self._core.steps
        self._core = core
        added = range(first, first + len(params))
        self._group_of += [len(self.param_groups)] * len(params)
        self._states_of += [{} for _ in params]
        self._without_state.update(added)
        self._versions.update({i: None for i, p in zip(added, params, strict=True) if _kinds.is_bfloat16(p)})
        self._in_use.append(self._wanted(group))
        for i in range(first):
            if i not in self._without_state:
                self._attach(i)
        self._core.steps = [*steps, *[0.0] * len(params)]

    def _flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """The group's flags in the core's order."""
        raise NotImplementedError

    def _wanted(self, group: dict[str, Any]) -> tuple[str, ...]:
        """States that a group of such flags has."""
        raise NotImplementedError

    @staticmethod
    def _check_common(group: dict[str, Any]) -> None:
        real("lr", group["lr"], 0.0)
        real("weight_decay", group["weight_decay"], 0.0)
        check(not group.get("differentiable"), "differentiable: steps are not; accepted is False")

    # ------------------------------------------------------------------------------------------ steps

    def step(
        self,
        grads: Any = None,
        *,
        grad_scale: float = 1.0,
        clip_norm: float | None = None,
        norm_type: float = 2.0,
        norm: float | None = None,
        clip_value: float | None = None,
        nonfinite: Literal["keep", "skip", "raise"] = "keep",
        num_threads: int | None = None,
        stream: Any = None,
    ) -> Any:
        """Change the parameters by their gradients.

        Scale, clipping and update are one pass over memory; the norm, where it is needed and not given, is one before.

        Parameters
        ----------
        grads : array, list of arrays and None, or callable, optional
            A gradient for each parameter, of its shape, on its device; float64 for float64 parameters, float32 or
            bfloat16 for others. Parameters without one (None) stay as they are. By default, what tensors of PyTorch
            carry in ``grad``. A callable returns the loss, after it has put gradients there, or loss and gradients.
        grad_scale : float
            What gradients were multiplied with, and are divided by before anything else is done.
        clip_norm : float, optional
            Where the norm of all gradients together exceeds this, they are multiplied by
            ``clip_norm / (norm + 1e-6)``.
        norm_type : float
            Order of that norm: 1, 2, ``inf`` or any other above 0.
        norm : float, optional
            The norm, if it is known (after the scale was taken from it); the pass for it is left out then.
        clip_value : float, optional
            Elements are brought into [-clip_value, clip_value], after that.
        nonfinite : {'keep', 'skip', 'raise'}
            What to do if an element of a gradient is NaN or infinite: nothing special, leave out the step (see
            `skipped`), or raise before anything is changed. On a device, to raise is to wait.
        num_threads : int, optional
            CPU threads; none of them changes a bit of the result.
        stream : int or object, optional
            For parameters on a device: the stream that the step goes into.

        Returns
        -------
        object
            The loss, if `grads` is a callable; else None.

        Raises
        ------
        ShapeError, DTypeError, LayoutError
            If a gradient does not go with its parameter.
        ParameterError
            If a flag is out of range, or with ``nonfinite='raise'``.
        """
        loss = None
        if callable(grads):
            loss, listed = self._evaluate(grads)
        else:
            listed = self._carried() if grads is None else self._listed(grads)
        choice("nonfinite", nonfinite, ("keep", "skip", "raise"))
        flags = []
        for group in self.param_groups:
            self._check_flags(group)
            flags.append(self._flags(group))
            self._notice(len(flags) - 1)
        for i in [i for i in self._without_state if listed[i] is not None]:
            self._make_state(i)
        if self._versions:
            self._refresh()
        asked = wishes(grad_scale, clip_value, clip_norm, norm_type, norm, False, nonfinite != "keep")
        on_device = self._device is not None or stream is not None
        place = resolve(None, self._device, "buffers", None, num_threads, stream) if on_device else None
        try:
            found = self._core.step(flags, self._group_of, listed, asked, *config._execution(num_threads), place)
        except WarpquantError:
            raise
        except Exception:  # of PyTorch's; to look at each gradient before takes as long as a step
            for i, g in enumerate(listed):
                _kinds.check_tensor(g, f"grads[{i}]")
            raise
        self._found_norm = nonfinite != "keep" or (clip_norm is not None and norm is None)
        left_out = False
        if found is not None:
            self._norm, left_out = found[0], bool(found[1])
        elif nonfinite == "raise" and self._device is not None:
            left_out = bool(self._core.outcome()[1])
        if left_out:
            self._left_out += self._device is None
            check(nonfinite != "raise", "grads: hold NaN or infinity; nothing was changed")
        return loss

    @property
    def norm(self) -> float:
        """Norm of the gradients at the last step, if that found it (NaN if not). On a device, this waits."""
        if self._device is None or not self._found_norm:
            return self._norm
        return float(self._core.outcome()[0])

    @property
    def skipped(self) -> int:
        """Steps that were left out because a gradient was not finite. On a device, this waits."""
        return self._left_out + (0 if self._device is None else int(self._core.outcome()[2]))

    # ------------------------------------------------------------------------------------------ state

    def _refresh(self) -> None:
        """Float32 copies of what was changed behind the optimizer; to compare all at each step costs as much as it."""
        for i, known in self._versions.items():
            now = _kinds.version(self._params[i])
            if "master_param" in self._states_of[i] and (i in self._unsure or now != known):
                _kinds.refresh(self._states_of[i]["master_param"], self._params[i])
            self._versions[i] = now
        self._unsure.clear()

    def _notice(self, g: int) -> None:
        """Flags of a group that have come to want other state."""
        wanted = self._wanted(self.param_groups[g])
        if wanted != self._in_use[g]:
            self._in_use[g] = wanted
            self._without_state.update(i for i, group in enumerate(self._group_of) if group == g)

    def _make_state(self, i: int) -> None:
        group, own = self.param_groups[self._group_of[i]], self._states_of[i]
        before = set(own)
        self._fill(i, group, own)
        if not self._counts_steps and set(own) - before:
            self._begin(i)
        self._attach(i)

    def _fill(self, i: int, group: dict[str, Any], own: dict[str, Any]) -> None:
        """Add to a state what a group with such flags wants of it."""
        p = self._params[i]
        for name in self._wanted(group):
            if name not in own:
                own[name] = _kinds.state_like(p, copy=False)
        if _kinds.is_bfloat16(p) and "master_param" not in own:
            own["master_param"] = _kinds.state_like(p, copy=True)

    def _begin(self, i: int) -> None:
        """The next step is to be the first of a parameter."""
        steps = self._core.steps
        if steps[i] != 0.0:
            steps[i] = 0.0
            self._core.steps = steps

    def _attach(self, i: int) -> None:
        own = self._states_of[i]
        self._core.attach(
            i, [own.get(name) for name in (*self._states, *("",) * (3 - len(self._states)), "master_param")]
        )
        self._without_state.discard(i)

    @property
    def state(self) -> list[dict[str, Any]]:
        """Arrays of the state of each parameter, by PyTorch's names; those in use, not copies."""
        return self._states_of

    def state_dict(self) -> dict[str, Any]:
        """State and flags in the form of PyTorch's optimizers, which can load them, if the parameters are tensors.

        Returns
        -------
        dict
            ``state``: number of the parameter to its arrays (those in use, not copies) and ``step``; ``param_groups``:
            flags. Parameters of bfloat16 have ``master_param``, their float32 copy, which PyTorch's do not know.
        """
        steps = self._core.steps
        state: dict[int, dict[str, Any]] = {}
        for i, own in enumerate(self._states_of):
            if steps[i] == 0.0 or not (own or self._counts_steps):
                continue
            counted = {"step": _kinds.scalar(steps[i], self._params[i])} if self._counts_steps else {}
            state[i] = {**counted, **own}
        return {"state": state, "param_groups": self._saved_groups()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of an optimizer of the same kind, ours or PyTorch's, on arrays of any kind.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gives. Its values are copied. Elements of ``master_param`` that do not round to those of
            their parameter at the next step are taken from it then.

        Raises
        ------
        StateError
            If it has other groups, or is no such dict.
        ShapeError
            If a state has another shape than its parameter.
        """
        ours, groups = self._read_groups(state_dict)
        steps = [0.0] * len(self._params)
        states: list[dict[str, Any]] = [{} for _ in self._params]
        for key, theirs in state_dict["state"].items():
            i = ours[key]
            p, own = self._params[i], states[i]
            if not isinstance(theirs, Mapping):
                raise StateError(f"state_dict: that of parameter {key} is no mapping")
            self._fill(i, groups[self._group_of[i]], own)
            loaded = False
            for name, value in theirs.items():
                if name == "step" or value is None or (name == "master_param" and name not in own):
                    continue
                if name not in (*self._states, "master_param"):
                    raise StateError(f"state_dict: {name!r} is no state of {type(self).__name__}")
                if name not in own:
                    own[name] = _kinds.state_like(p, copy=False)
                own[name] = _kinds.assign(own[name], value, f"state_dict: {name} of parameter {key}")
                loaded = True
            steps[i] = self._step_of(theirs, key) if self._counts_steps else float(loaded)
        self._take_groups(groups)
        self._states_of = states
        self._in_use = [self._wanted(group) for group in groups]
        self._without_state = {i for i, own in enumerate(states) if not own}
        for i in set(range(len(states))) - self._without_state:
            self._attach(i)
        self._core.steps = steps
        # Not at once: the parameters may be loaded after this.
        self._unsure = set(self._versions)

    @staticmethod
    def _step_of(theirs: Mapping[str, Any], key: Any) -> float:
        try:
            step = real("step", theirs["step"], 0.0, _MOST_STEPS)
        except (KeyError, ParameterError):
            step = math.nan
        if not step.is_integer():
            raise StateError(
                f"state_dict: step of parameter {key}: {theirs.get('step')!r} is no number of steps; accepted are "
                "whole numbers from 0, below 2**53"
            )
        return step

    def __repr__(self) -> str:
        flags = ", ".join(
            f"{k}={v!r}" for k, v in self.param_groups[0].items() if k != "params" and k not in IMPLEMENTATION
        )
        return f"{type(self).__name__}({len(self._params)} parameters, {flags})"
