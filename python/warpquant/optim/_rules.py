# SPDX-License-Identifier: Apache-2.0
"""SGD, Adam, AdamW, RMSprop: flags and state as in PyTorch."""

from __future__ import annotations

from typing import Any

from . import _kinds
from ._base import GroupedOptimizer, check, real

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]

_SGD, _ADAM, _RMSPROP = range(3)


def _flag(group: dict[str, Any], name: str, place: int | None = None) -> float:
    """A flag as it is now; tensors may have changed since the last step."""
    value = group[name] if place is None else group[name][place]
    return value if type(value) is float else float(_kinds.plain(value, name))


_COMMON = """
    maximize : bool
        Climb instead of descend.
    foreach, fused, capturable, differentiable
        Flags of PyTorch that choose between its implementations. They are kept for it and change nothing here, but that
        ``differentiable=True`` is refused.

    Notes
    -----
    Parameters are float64, float32 or bfloat16, in memory of the host or of a device, dense and writable (JAX's arrays
    are not). Those of bfloat16 are rounded from a float32 copy (``master_param`` of the state), which is what steps
    change. What a step computes, and in which order, is PyTorch's definition; results differ from it by rounding alone.
    The same bits come out for every number of threads and every instruction level.
"""


class SGD(GroupedOptimizer):
    __doc__ = f"""Gradient descent, with momentum if wanted.

    ``g = grad + weight_decay * p``; with momentum ``b = momentum * b + (1 - dampening) * g`` (at first ``b = g``) and
    ``g = g + momentum * b`` (Nesterov) or ``g = b``; then ``p = p - lr * g``.

    Parameters
    ----------
    buffers : array, iterable of arrays, or iterable of dicts
        Parameters, changed in place; dicts have them under ``params``, with flags of their own.
    lr : float
        Length of steps.
    momentum, dampening, weight_decay : float
        As above.
    nesterov : bool
        Takes momentum, and no dampening.{_COMMON}
    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> p = np.array([1.0, -2.0])
    >>> optim.SGD(p, lr=0.1).step(2 * p)
    >>> p
    array([ 0.8, -1.6])
    """

    _kind = _SGD
    _states = ("momentum_buffer",)
    _counts_steps = False

    def __init__(
        self, buffers: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
                "fused": fused,
            },
        )  # fmt: skip

    def _check_flags(self, group: dict[str, Any]) -> None:
        self._check_common(group)
        momentum, dampening = real("momentum", group["momentum"], 0.0), real("dampening", group["dampening"])
        check(
            not group["nesterov"] or (momentum > 0 and dampening == 0), "nesterov: takes momentum > 0 and dampening = 0"
        )

    def _flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (
            _SGD, _flag(group, "lr"), _flag(group, "weight_decay"), 0.0, 0.0, 0.0, 0.0, _flag(group, "momentum"),
            _flag(group, "dampening"), False, False, False, bool(group["nesterov"]), bool(group["maximize"]),
        )  # fmt: skip

    def _wanted(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self._states if _flag(group, "momentum") != 0 else ()


class Adam(GroupedOptimizer):
    __doc__ = f"""Adam (Kingma and Ba 2015), AMSGrad if wanted.

    ``m = m + (1 - beta1) * (g - m)``, ``v = beta2 * v + (1 - beta2) * g**2`` and at step t
    ``p = p - lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)``. AMSGrad takes the largest v so far.
    Weight decay is added to the gradient, or, decoupled, taken from the parameter: ``p = p * (1 - lr * weight_decay)``.

    Parameters
    ----------
    buffers : array, iterable of arrays, or iterable of dicts
        Parameters, changed in place; dicts have them under ``params``, with flags of their own.
    lr, eps, weight_decay : float
        As above.
    betas : pair of float
        As above.
    amsgrad, decoupled_weight_decay : bool
        As above.{_COMMON}
    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> p = np.ones(3, np.float32)
    >>> adam = optim.Adam(p, lr=0.1)
    >>> for _ in range(300):
    ...     adam.step(2 * p)  # the gradient of the sum of squares
    >>> bool(abs(p).max() < 1e-3)
    True
    """

    _kind = _ADAM
    _states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self, buffers: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
                "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def _check_flags(self, group: dict[str, Any]) -> None:
        self._check_common(group)
        betas = group["betas"]
        check(isinstance(betas, (tuple, list)) and len(betas) == 2, f"betas: {betas!r} is no pair of numbers")
        for k in (0, 1):
            check(
                real(f"betas[{k}]", betas[k], 0.0, 1.0) < 1.0,
                f"betas[{k}]: 1 is out of range; accepted are numbers below it",
            )
        real("eps", group["eps"], 0.0)

    def _flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (
            _ADAM, _flag(group, "lr"), _flag(group, "weight_decay"), _flag(group, "eps"), _flag(group, "betas", 0),
            _flag(group, "betas", 1), 0.0, 0.0, 0.0, bool(group["amsgrad"]), bool(group["decoupled_weight_decay"]),
            False, False, bool(group["maximize"]),
        )  # fmt: skip

    def _wanted(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self._states if group["amsgrad"] else self._states[:2]


class AdamW(Adam):
    __doc__ = f"""Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    `Adam` with ``decoupled_weight_decay=True``.

    Parameters
    ----------
    buffers : array, iterable of arrays, or iterable of dicts
        Parameters, changed in place; dicts have them under ``params``, with flags of their own.
    lr, eps, weight_decay : float
        As for `Adam`.
    betas : pair of float
        As for `Adam`.
    amsgrad : bool
        As for `Adam`.{_COMMON}
    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> weights, bias = np.ones((2, 2)), np.zeros(2)
    >>> adam = optim.AdamW([{{"params": weights}}, {{"params": bias, "weight_decay": 0.0}}], lr=0.1)
    >>> adam.step([np.zeros((2, 2)), np.ones(2)], clip_norm=1.0)
    >>> weights[0], bias.round(6)
    (array([0.999, 0.999]), array([-0.1, -0.1]))
    """

    def __init__(
        self, buffers: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


class RMSprop(GroupedOptimizer):
    __doc__ = f"""Steps divided by the root of the mean square of gradients (Hinton 2012).

    ``v = alpha * v + (1 - alpha) * g**2``; centered, with ``a = a + (1 - alpha) * (g - a)``, the square of a is taken
    from v. Then ``p = p - lr * g / (sqrt(v) + eps)``, or with momentum ``b = momentum * b + g / (sqrt(v) + eps)`` and
    ``p = p - lr * b``.

    Parameters
    ----------
    buffers : array, iterable of arrays, or iterable of dicts
        Parameters, changed in place; dicts have them under ``params``, with flags of their own.
    lr, alpha, eps, weight_decay, momentum : float
        As above; weight decay is added to the gradient.
    centered : bool
        As above. A variance that rounding has left below 0 counts as 0; PyTorch makes NaN of it.{_COMMON}
    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> p = np.array([1.0])
    >>> optim.RMSprop(p, lr=0.01).step(np.array([5.0]))
    >>> p
    array([0.9])
    """

    _kind = _RMSPROP
    _states = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self, buffers: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            buffers,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def _check_flags(self, group: dict[str, Any]) -> None:
        self._check_common(group)
        for name in ("alpha", "eps", "momentum"):
            real(name, group[name], 0.0)

    def _flags(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return (
            _RMSPROP, _flag(group, "lr"), _flag(group, "weight_decay"), _flag(group, "eps"), 0.0, 0.0,
            _flag(group, "alpha"), _flag(group, "momentum"), 0.0, False, False, bool(group["centered"]), False,
            bool(group["maximize"]),
        )  # fmt: skip

    def _wanted(self, group: dict[str, Any]) -> tuple[str, ...]:
        wanted = [self._states[0]]
        if _flag(group, "momentum") > 0:
            wanted.append(self._states[1])
        if group["centered"]:
            wanted.append(self._states[2])
        return tuple(wanted)
