# SPDX-License-Identifier: Apache-2.0
"""Clipping of gradients by itself, in place."""

from __future__ import annotations

import math
import sys
from typing import Any

from warpquant import _core, config
from warpquant._devices import resolve

from . import _kinds
from ._base import check, is_array, wishes

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _gradient(x: Any) -> Any:
    """What a parameter of PyTorch carries; anything else is a gradient itself."""
    if not _kinds.is_torch(x):
        return x
    return x.grad if (x.requires_grad and x.is_leaf) or isinstance(x, sys.modules["torch"].nn.Parameter) else x


def _clip(grads: Any, asked: tuple[Any, ...], num_threads: int | None, stream: Any) -> Any:
    given = [_gradient(g) for g in ([grads] if is_array(grads) else grads)]
    listed = [g for g in given if g is not None]
    device = _kinds.device_of(listed[0]) if listed else None
    arrays = [_kinds.memory(g, f"grads[{i}]") for i, g in enumerate(listed)]
    on_device = device is not None or stream is not None
    place = resolve(None, device, "grads", None, num_threads, stream) if on_device else None
    return _core.optim_clip(arrays, asked, *config._execution(num_threads), place)


def clip_grad_norm_(
    grads: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    *,
    num_threads: int | None = None,
    stream: Any = None,
) -> float:
    """Scale gradients in place, so that the norm of all of them together is at most `max_norm`.

    They are multiplied by ``min(1, max_norm / (norm + 1e-6))``. `Optimizer.step` does so by itself, without a pass over
    memory of its own, with ``clip_norm``.

    Parameters
    ----------
    grads : array, or list of arrays and None
        Gradients, of float64, float32 or bfloat16; or parameters of PyTorch, for the gradients that they carry.
    max_norm : float
        Most that the norm is to be.
    norm_type : float
        Order of the norm: 1, 2, ``inf`` or any other above 0.
    error_if_nonfinite : bool
        Raise if a gradient is not finite, before anything is changed.
    num_threads : int, optional
        CPU threads.
    stream : int or object, optional
        For arrays on a device.

    Returns
    -------
    float
        The norm before. The sum is one of float64, in an order that does not depend on threads.

    Raises
    ------
    ParameterError
        If a number is out of range, or with `error_if_nonfinite`.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> g = np.array([3.0, 4.0])
    >>> optim.clip_grad_norm_(g, 1.0)
    5.0
    >>> g
    array([0.59999988, 0.79999984])
    """
    asked = wishes(1.0, None, max_norm, norm_type, None, True, error_if_nonfinite)
    norm = float(_clip(grads, asked, num_threads, stream))
    check(not error_if_nonfinite or math.isfinite(norm), "grads: hold NaN or infinity; nothing was changed")
    return norm


def clip_grad_value_(grads: Any, clip_value: float, *, num_threads: int | None = None, stream: Any = None) -> None:
    """Bring each element of gradients into [-clip_value, clip_value], in place. NaN stays NaN.

    Parameters
    ----------
    grads : array, or list of arrays and None
        Gradients, of float64, float32 or bfloat16; or parameters of PyTorch, for the gradients that they carry.
    clip_value : float
        Most that a magnitude is to be.
    num_threads : int, optional
        CPU threads.
    stream : int or object, optional
        For arrays on a device.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import optim
    >>> g = np.array([3.0, -0.5])
    >>> optim.clip_grad_value_(g, 1.0)
    >>> g
    array([ 1. , -0.5])
    """
    _clip(grads, wishes(1.0, clip_value, None, 2.0, None, False, False), num_threads, stream)
