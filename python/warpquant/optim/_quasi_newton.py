# SPDX-License-Identifier: Apache-2.0
"""Quasi-Newton methods on all parameters as one vector, in float64: L-BFGS and self-scaled Broyden."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _core, config
from warpquant._checks import choice, number, overlaps_itself, whole
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError, StateError

from . import _kinds
from ._base import Optimizer, check, real
from ._line_search import strong_wolfe

__all__ = ["LBFGS", "SSBroyden"]

Vector = npt.NDArray[np.float64]


def _view(x: Any, name: str) -> np.ndarray[Any, Any]:
    """Memory of the host as an array of NumPy.

    Raises
    ------
    LayoutError
        If it is on a device, or read-only.
    DTypeError
        If it is of another type than float64 and float32.
    """
    _kinds.check_tensor(x, name)
    device = _kinds.device_of(x)
    if device is not None:
        raise LayoutError(f"{name}: is on {device!r}; quasi-Newton methods work in memory of the host")
    if _kinds.is_bfloat16(x):
        raise DTypeError(
            f"{name}: holds bfloat16, too few digits for a quasi-Newton method; accepted are float64, float32"
        )
    memory = _kinds.memory(x, name)
    view = memory.numpy() if _kinds.is_torch(x) else np.asarray(memory)
    if view.dtype not in (np.float64, np.float32):
        raise DTypeError(f"{name}: holds {view.dtype} values; accepted are float64, float32")
    if overlaps_itself(view):
        raise LayoutError(f"{name}: several elements share one place (by its strides)")
    if not view.flags.writeable:
        raise LayoutError(f"{name}: is read-only, but is to be changed in place")
    return view


def _values(g: Any, name: str) -> np.ndarray[Any, Any]:
    """Numbers of a gradient in host memory.

    Raises
    ------
    LayoutError, DeviceUnavailableError, DTypeError
        If it has none there.
    """
    _kinds.check_tensor(g, name)
    device = _kinds.device_of(g)
    if device is not None:
        raise LayoutError(f"{name}: is on {device!r}; quasi-Newton methods work in memory of the host")
    if _kinds.is_bfloat16(g):
        return _kinds.to_host(g)
    values = g.detach().resolve_conj().numpy() if _kinds.is_torch(g) else np.asarray(g)
    if values.dtype.kind not in "fiu":
        raise DTypeError(f"{name}: holds {values.dtype} values; accepted are float64, float32 and bfloat16")
    return values


class _QuasiNewton(Optimizer):
    """Base: parameters as one vector, evaluations, the end of the search."""

    def __init__(self, buffers: Any, defaults: dict[str, Any]) -> None:
        super().__init__(buffers, defaults)
        check(len(self.param_groups) == 1, f"buffers: are in groups; {type(self).__name__} takes one")
        self._views = [_view(p, f"buffers[{i}]") for i, p in enumerate(self._params)]
        for i, j in itertools.combinations(range(len(self._views)), 2):
            if np.may_share_memory(self._views[i], self._views[j]) and np.shares_memory(self._views[i], self._views[j]):
                raise LayoutError(f"buffers[{j}]: shares memory with buffers[{i}]")
        self._size = sum(v.size for v in self._views)
        check(self._size > 0, "buffers: have no elements")

    def _join(self, group: dict[str, Any]) -> None:
        raise ParameterError(f"param_group: {type(self).__name__} takes one group, its parameters are one vector")

    def _check_flags(self, group: dict[str, Any]) -> None:
        real("lr", group["lr"], 0.0)
        whole("max_iter", group["max_iter"], 1)
        if group["max_eval"] is not None:
            whole("max_eval", group["max_eval"], 1)
        for name in ("tolerance_grad", "tolerance_change"):
            number(name, group[name], 0.0)
        if group["line_search_fn"] is not None:
            choice("line_search_fn", group["line_search_fn"], ("strong_wolfe",))

    def _gather(self) -> Vector:
        return np.concatenate([v.reshape(-1) for v in self._views], dtype=np.float64)

    def _scatter(self, x: Vector) -> None:
        first = 0
        for v in self._views:
            v[...] = x[first : first + v.size].reshape(v.shape)
            first += v.size

    def _loss_and_gradient(self, closure: Callable[[], Any]) -> tuple[Any, float, Vector]:
        """What the closure says at the parameters as they are: the loss as it is and as a float, and the gradient."""
        loss, grads = self._evaluate(closure)
        parts = []
        for i, (g, v) in enumerate(zip(grads, self._views, strict=True)):
            if g is None:
                parts.append(np.zeros(v.size))
                continue
            values = _values(g, f"grads[{i}]")
            if values.shape != v.shape:
                raise ShapeError(f"grads[{i}]: has shape {values.shape}, but buffers[{i}] has {v.shape}")
            parts.append(values.reshape(-1))
        return loss, float(loss), np.concatenate(parts, dtype=np.float64)

    def _search(
        self,
        closure: Callable[[], Any],
        x: Vector,
        t: float,
        d: Vector,
        loss: float,
        g: Vector,
        slope: float,
        most: int,
    ) -> tuple[float, Vector, float, int]:
        """Strong Wolfe from x along d; leaves the parameters at x, also where the closure raises."""

        def along(length: float) -> tuple[float, Vector]:
            self._scatter(x + length * d)
            _, value, gradient = self._loss_and_gradient(closure)
            return value, gradient

        try:
            return strong_wolfe(along, self._dot, t, d, loss, g, slope, max_ls=most)
        finally:
            self._scatter(x)

    def _dot(self, a: Vector, b: Vector) -> float:
        return _core.optim_dot(a, b, *config._execution(None))  # in one order, unlike those of BLAS


class LBFGS(_QuasiNewton):
    """L-BFGS (Nocedal 1980), with a line search for the strong Wolfe conditions if wanted.

    Flags, order of operations and end of a step are those of PyTorch's; vectors are float64, whatever the parameters
    are.

    Parameters
    ----------
    buffers : array, or iterable of arrays
        Parameters of float64 or float32 in memory of the host, changed in place.
    lr : float
        Length of steps, or the first that a line search tries.
    max_iter : int
        Iterations of a step.
    max_eval : int, optional
        Evaluations of a step; by default ``max_iter * 5 // 4``.
    tolerance_grad, tolerance_change : float
        A step ends when no element of the gradient is larger than the first, or loss and parameters change by less than
        the second.
    history_size : int
        Pairs of steps and changes of the gradient that are kept.
    line_search_fn : {'strong_wolfe', None}
        How long an iteration's way is; None: as long as `lr` says.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> x = np.array([-1.2, 1.0])
    >>> def rosenbrock():
    ...     a, b = 1 - x[0], x[1] - x[0] ** 2
    ...     return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])
    >>> lbfgs = optim.LBFGS(x, max_iter=100, tolerance_change=0, line_search_fn="strong_wolfe")
    >>> _ = lbfgs.step(rosenbrock)
    >>> x.round(6)
    array([1., 1.])
    """

    def __init__(
        self, buffers: Any, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers,
            {
                "lr": lr, "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None and isinstance(max_iter, int) else max_eval,
                "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )  # fmt: skip
        self._kept: dict[str, Any] = {}

    def _check_flags(self, group: dict[str, Any]) -> None:
        super()._check_flags(group)
        whole("history_size", group["history_size"], 1)

    def step(self, closure: Callable[[], Any]) -> Any:
        """Up to ``max_iter`` iterations.

        Parameters
        ----------
        closure : callable
            Gives the loss and the gradients at the parameters as they are; for tensors of PyTorch the loss alone, with
            gradients in ``grad``.

        Returns
        -------
        object
            The loss before.
        """
        group = self.param_groups[0]
        self._check_flags(group)
        lr, max_iter, tolerance = real("lr", group["lr"]), group["max_iter"], group["tolerance_change"]
        max_eval = group["max_eval"] or max_iter * 5 // 4
        first_loss, loss, g = self._loss_and_gradient(closure)
        evaluations = 1
        self._kept = {"n_iter": 0, **self._kept, "func_evals": self._kept.get("func_evals", 0) + 1}
        done = np.abs(g).max() <= group["tolerance_grad"]
        for n_iter in range(1, max_iter + 1):
            if done:
                break
            kept = {**self._kept}  # taken over at the end: a closure that raises leaves the iteration undone
            kept["n_iter"] += 1
            if kept["n_iter"] == 1:
                d = -g
                kept.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            else:
                d = self._direction(kept, g, group["history_size"])
            kept["prev_flat_grad"], kept["prev_loss"] = g, loss
            t = min(1.0, 1.0 / float(np.abs(g).sum())) * lr if kept["n_iter"] == 1 else lr
            slope = self._dot(g, d)
            kept["d"], kept["t"] = d, t
            if not slope <= -tolerance:  # nor if it is NaN
                self._kept = kept
                break
            x, before, evaluated = self._gather(), loss, 0
            if group["line_search_fn"] is not None:
                loss, g, t, evaluated = self._search(closure, x, t, d, loss, g, slope, max_eval - evaluations)
                self._scatter(x + t * d)
            else:
                self._scatter(x + t * d)
                if n_iter != max_iter:  # of what comes after the last nobody asks here
                    _, loss, g = self._loss_and_gradient(closure)
                    evaluated = 1
            kept["t"] = t
            evaluations += evaluated
            kept["func_evals"] += evaluated
            self._kept = kept
            if evaluations >= max_eval or abs(t) * np.abs(d).max() <= tolerance or abs(loss - before) < tolerance:
                break
            done = np.abs(g).max() <= group["tolerance_grad"]
        return first_loss

    def _direction(self, kept: dict[str, Any], g: Vector, history_size: int) -> Vector:
        y, s = g - kept["prev_flat_grad"], kept["d"] * kept["t"]
        curvature = self._dot(y, s)
        if curvature > 1e-10:
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / curvature)):
                kept[name] = [*kept[name], value][-history_size:]
            kept["H_diag"] = curvature / self._dot(y, y)
        direction, kept["al"] = _core.optim_two_loops(
            kept["old_dirs"], kept["old_stps"], kept["ro"], kept["H_diag"], g, *config._execution(None)
        )
        return direction

    _VECTORS = ("d", "prev_flat_grad")
    _LISTS = ("old_dirs", "old_stps")

    def state_dict(self) -> dict[str, Any]:
        """State and flags in the form of PyTorch's LBFGS, which can load them, if the parameters are tensors.

        Returns
        -------
        dict
            ``state`` and ``param_groups``; vectors are of the parameters' kind.
        """
        like = self._params[0]

        def out(v: Vector) -> Any:
            return _kinds.as_tensor(v, like) if _kinds.is_torch(like) else v.copy()

        kept: dict[str, Any] = {}
        for name, value in self._kept.items():
            if name in self._VECTORS:
                kept[name] = out(value)
            elif name in self._LISTS:
                kept[name] = [out(v) for v in value]
            elif name == "ro" and _kinds.is_torch(like):
                kept[name] = [_kinds.as_tensor(np.float64(v), like) for v in value]
            elif name != "al":
                kept[name] = value
        return {"state": {0: kept} if kept else {}, "param_groups": self._saved_groups()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of an LBFGS, ours or PyTorch's.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gives. Its values are copied.

        Raises
        ------
        StateError
            If it has other groups, is no such dict, or has vectors of another length.
        """
        _, groups = self._read_groups(state_dict)
        kept: dict[str, Any] = {}

        def vector(v: Any) -> Vector:
            found = np.array(_kinds.to_host(v), np.float64).reshape(-1)
            if found.size != self._size:
                raise StateError(f"state_dict: has vectors of {found.size} elements for {self._size}")
            return found

        for theirs in state_dict["state"].values():
            for name, value in theirs.items():
                if name in self._VECTORS:
                    kept[name] = vector(value)
                elif name in self._LISTS:
                    kept[name] = [vector(v) for v in value]
                elif name == "ro":
                    kept[name] = [float(v) for v in value]
                elif name in ("func_evals", "n_iter"):
                    kept[name] = int(value)
                elif name != "al":
                    kept[name] = float(value)
        self._take_groups(groups)
        self._kept = kept


class SSBroyden(_QuasiNewton):
    """Self-scaled Broyden (Al-Baali 1998; Urbán, Stefanou and Pons 2025) with a dense inverse Hessian.

    A member of Broyden's family between DFP and BFGS and beyond, chosen anew in each iteration, with a scale of the old
    matrix: the method with which pricing networks of up to a few thousand parameters get to 1e-7, where BFGS gets to
    1e-5. It takes ``8 * n**2`` bytes for n parameters, and about as many memory accesses an iteration.

    Parameters
    ----------
    buffers : array, or iterable of arrays
        Parameters of float64 or float32 in memory of the host, changed in place.
    lr : float
        The first length that the line search tries.
    max_iter : int
        Iterations of a step.
    max_eval : int, optional
        Evaluations of a step; by default as many as it takes.
    tolerance_grad, tolerance_change : float
        A step ends when no element of the gradient is larger than the first, or loss and parameters change by less than
        the second.

    Notes
    -----
    With ``s`` the step, ``y`` the change of the gradient g, ``b = -t s.g / s.y``, ``h = y.Hy / s.y``, ``a = bh - 1``
    and ``c = sqrt(a / (1 + a))``: ``r = min(1, h(1 - c))``, ``theta`` is ``(1 - b) / b`` brought into
    ``[(r - 1) / a, 1 / r]``, ``sigma = 1 + a theta``, ``tau = r min(sigma**(-1 / (n - 1)), 1 / theta)`` for theta > 0,
    else ``r sigma**(-1 / (n - 1))``, ``phi = (1 - theta) / sigma``, and
    ``H = (H - Hy yH / y.Hy + phi w w) / tau + s s / s.y`` with ``w = sqrt(y.Hy) (s / s.y - Hy / y.Hy)``. The first H is
    the identity times ``s.y / y.y``. An iteration is one product ``H y``, and one pass that changes H and
    multiplies it with the next gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> x = np.array([-1.2, 1.0])
    >>> def rosenbrock():
    ...     a, b = 1 - x[0], x[1] - x[0] ** 2
    ...     return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])
    >>> _ = optim.SSBroyden(x, max_iter=100).step(rosenbrock)
    >>> x.round(6)
    array([1., 1.])
    """

    def __init__(
        self, buffers: Any, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers,
            {
                "lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change, "line_search_fn": "strong_wolfe",
            },
        )  # fmt: skip
        self._inverse: Vector | None = None
        self._scaled = False
        self._evaluations = self._iterations = 0
        #: The last gradient, and the product of the matrix with it: a step that begins there need not make it again.
        self._known: tuple[Vector, Vector] | None = None

    def damp(self, factor: float) -> None:
        """Scale the inverse Hessian, after the loss has become another one (a new set of points, say).

        Parameters
        ----------
        factor : float
            Above 0.
        """
        factor = number("factor", factor, math.ulp(0.0))
        if self._inverse is not None:
            self._inverse *= factor
            self._known = None

    def step(self, closure: Callable[[], Any]) -> Any:
        """Up to ``max_iter`` iterations.

        Parameters
        ----------
        closure : callable
            Gives the loss and the gradients at the parameters as they are; for tensors of PyTorch the loss alone, with
            gradients in ``grad``.

        Returns
        -------
        object
            The loss before.
        """
        group = self.param_groups[0]
        self._check_flags(group)
        lr, tolerance = real("lr", group["lr"]), float(group["tolerance_change"])
        max_eval = group["max_eval"] or 2**62
        first_loss, loss, g = self._loss_and_gradient(closure)
        evaluations = 1
        if self._inverse is None:
            self._start()
        known = self._known
        hg: Vector = known[1] if known is not None and np.array_equal(known[0], g) else self._times(g)
        for _ in range(group["max_iter"]):
            if np.abs(g).max() <= group["tolerance_grad"] or evaluations >= max_eval:
                break
            d = -hg
            slope = self._dot(g, d)
            if not slope < 0.0:  # rounding, or another loss: begin again
                self._start()
                hg = g
                d, slope = -g, -self._dot(g, g)
            if not math.isfinite(slope) or slope == 0.0:
                break
            t = lr if self._scaled else min(1.0, 1.0 / float(np.abs(g).sum())) * lr
            x, before = self._gather(), loss
            # The search never needs many: it ends by its bracket's width.
            loss, g_new, t, evaluated = self._search(closure, x, t, d, loss, g, slope, min(25, max_eval - evaluations))
            evaluations += evaluated
            self._scatter(x + t * d)
            self._iterations += 1
            s = t * d
            hg = self._update(s, g, g_new, hg)
            g = g_new
            if np.abs(s).max() <= tolerance or abs(loss - before) < tolerance:
                break
        self._known = g, hg
        self._evaluations += evaluations
        return first_loss

    def _start(self) -> None:
        self._inverse = np.eye(self._size)
        self._scaled = False

    def _times(self, x: Vector) -> Vector:
        assert self._inverse is not None
        return _core.optim_product(self._inverse, x, *config._execution(None))

    def _update(self, s: Vector, g: Vector, g_new: Vector, hg: Vector) -> Vector:
        """Take in a step; gives the product of the new matrix and the new gradient."""
        assert self._inverse is not None
        y = g_new - g
        sy, yy = self._dot(s, y), self._dot(y, y)
        if not sy > np.finfo(np.float64).eps * math.sqrt(self._dot(s, s) * yy):
            return self._times(g_new)  # no curvature to learn from
        if not self._scaled:
            self._inverse *= sy / yy
            hg = hg * (sy / yy)
            self._scaled = True
        hy = self._times(y)
        q = self._dot(y, hy)
        if not q > 0.0:  # rounding has cost the matrix its sign
            self._start()
            return g_new
        b, h = self._curvature_before(s, g, hg) / sy, q / sy
        tau, phi = scaling(b, h, self._size)
        factors = (1.0 / tau, phi * q / (tau * sy * sy) + 1.0 / sy, -phi / (tau * sy), (phi - 1.0) / (tau * q))
        return _core.optim_rank_two(self._inverse, factors, s, hy, g_new, *config._execution(None))

    def _curvature_before(self, s: Vector, g: Vector, hg: Vector) -> float:
        """S . (H^-1 s) of a step s along -Hg: with s = -t Hg it is -t s.g."""
        t = -self._dot(s, hg) / self._dot(hg, hg)
        return -t * self._dot(s, g)

    @property
    def inverse_hessian(self) -> Vector | None:
        """The matrix, shape (n, n); None before the first step."""
        return self._inverse

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes.

        Returns
        -------
        dict
            ``state``: 0 to the inverse Hessian and counts; ``param_groups``: flags.
        """
        kept: dict[str, Any] = {"func_evals": self._evaluations, "n_iter": self._iterations, "scaled": self._scaled}
        if self._inverse is not None:
            kept["inverse_hessian"] = self._inverse.copy()
        if self._known is not None:
            kept["gradient"], kept["product"] = (v.copy() for v in self._known)
        return {"state": {0: kept}, "param_groups": self._saved_groups()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another run was, to the bit.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gave. The matrix is copied.

        Raises
        ------
        StateError
            If it has other groups, is no such dict, or its matrix is of another size.
        """
        _, groups = self._read_groups(state_dict)
        kept = state_dict["state"].get(0, {})
        matrix = kept.get("inverse_hessian")
        if matrix is not None and np.shape(matrix) != (self._size, self._size):
            raise StateError(f"state_dict: has a matrix of shape {np.shape(matrix)} for {self._size} parameters")
        known = [np.array(kept[name], np.float64) for name in ("gradient", "product") if name in kept]
        if any(v.shape != (self._size,) for v in known):
            raise StateError(f"state_dict: has vectors of another length than {self._size}")
        self._take_groups(groups)
        self._known = (known[0], known[1]) if len(known) == 2 else None
        self._inverse = None if matrix is None else np.array(matrix, np.float64, order="C")
        self._scaled = bool(kept.get("scaled", False))
        self._evaluations, self._iterations = int(kept.get("func_evals", 0)), int(kept.get("n_iter", 0))


def scaling(b: float, h: float, n: int) -> tuple[float, float]:
    """Which scale, and which member of the family: tau and phi of `SSBroyden`'s notes."""
    a = max(b * h - 1.0, float(np.finfo(np.float64).eps))  # not below 0, by Cauchy and Schwarz, but for rounding
    c = math.sqrt(a / (1.0 + a))
    r = min(1.0, h * (1.0 - c))
    theta = max((r - 1.0) / a, min(1.0 / r, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    power = sigma ** (-1.0 / (n - 1)) if n > 1 else 1.0
    return r * (min(power, 1.0 / theta) if theta > 0.0 else power), (1.0 - theta) / sigma
