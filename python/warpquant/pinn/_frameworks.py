# SPDX-License-Identifier: Apache-2.0
"""`residual_loss_grad` as a function that PyTorch and JAX differentiate once, in the weights."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

from warpquant.errors import DTypeError

from .training import residual_loss_grad

__all__ = ["jax_loss", "torch_loss"]


@functools.cache
def _torch_function() -> Any:
    torch = importlib.import_module("torch")

    class ResidualLoss(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(
            ctx: Any, weights: Any, widths: Sequence[int], arrays: tuple[Any, ...], settings: dict[str, Any]
        ) -> Any:
            values = tuple(None if a is None else a.detach() for a in (weights, *arrays))
            features, coefficients, constants, loss_weights, obstacle = values[1:]
            loss, gradient = residual_loss_grad(
                values[0], widths, features, coefficients, constants, loss_weights, obstacle=obstacle, **settings
            )
            gradient = torch.as_tensor(gradient, dtype=weights.dtype, device=weights.device)
            ctx.save_for_backward(gradient)
            return torch.as_tensor(loss, dtype=weights.dtype, device=weights.device).reshape(())

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[misc]
        def backward(ctx: Any, outer: Any) -> Any:
            (gradient,) = ctx.saved_tensors
            return outer * gradient, None, None, None

    return ResidualLoss


def torch_loss(
    weights: Any,
    widths: Sequence[int],
    features: Any,
    coefficients: Any,
    constants: Any,
    loss_weights: Any = None,
    *,
    activation: str = "tanh",
    positive: bool = False,
    obstacle: Any = None,
    smoothing: float = 1e-6,
    num_threads: int | None = None,
) -> Any:
    """`residual_loss_grad` as a PyTorch loss: a tensor of no dimension, differentiable once, in the weights.

    Value and gradient come from one pass of the core, in the forward direction; ``backward`` multiplies by a number. On
    a CUDA device both stay there, and the call may be captured into a graph. Derivatives in anything else are none.

    Parameters
    ----------
    weights : torch.Tensor, shape (p,)
        As for `residual_loss_grad`, of float64; on a CUDA device also of float32.
    widths, features, coefficients, constants, loss_weights, activation, positive, obstacle, smoothing, num_threads
        As for `residual_loss_grad`; tensors, or in host memory any arrays.

    Returns
    -------
    torch.Tensor
        Of no dimension, of the dtype and on the device of `weights`.

    Raises
    ------
    ImportError
        Without PyTorch.
    ShapeError, DTypeError, ParameterError
        If an argument is not accepted.

    Examples
    --------
    >>> import torch, warpquant.pinn  # doctest: +SKIP
    >>> weights = torch.ones(4, dtype=torch.float64, requires_grad=True)  # doctest: +SKIP
    >>> f, a, b = torch.zeros(1, 3, 5), torch.ones(3, 5), torch.zeros(5)  # doctest: +SKIP
    >>> loss = warpquant.pinn.torch_loss(weights, (1, 1, 1), f, a, b)  # doctest: +SKIP
    >>> loss.backward()  # doctest: +SKIP
    """
    torch = importlib.import_module("torch")
    if not isinstance(weights, torch.Tensor):
        raise DTypeError(f"weights: {type(weights).__name__} is no tensor of PyTorch")
    arrays = tuple(
        None if a is None else torch.as_tensor(a)
        for a in (features, coefficients, constants, loss_weights, obstacle)
    )  # fmt: skip
    settings = {
        "activation": activation, "positive": positive, "smoothing": smoothing, "num_threads": num_threads,
    }  # fmt: skip
    return _torch_function().apply(weights, widths, arrays, settings)


@functools.cache
def _jax_function(widths: tuple[int, ...], settings: tuple[tuple[str, Any], ...]) -> Any:
    jax = importlib.import_module("jax")
    how = dict(settings)

    def both(weights: Any, arrays: Any) -> tuple[Any, ...]:
        traced = [a for a in (weights, *arrays) if isinstance(a, jax.core.Tracer)]
        if traced:
            raise TypeError("jax_loss: an argument is traced; it computes on arrays, outside of jax.jit and jax.vmap")
        features, coefficients, constants, loss_weights, obstacle = arrays
        loss, gradient = residual_loss_grad(
            weights, widths, features, coefficients, constants, loss_weights, obstacle=obstacle, **how
        )
        return tuple(
            jax.numpy.asarray(a, dtype=weights.dtype).reshape(shape)
            for a, shape in ((loss, ()), (gradient, weights.shape))
        )

    @jax.custom_vjp  # type: ignore[misc]
    def loss(weights: Any, arrays: Any) -> Any:
        return both(weights, arrays)[0]

    def forward(weights: Any, arrays: Any) -> tuple[Any, Any]:
        value, gradient = both(weights, arrays)
        return value, (gradient, jax.tree.map(jax.numpy.zeros_like, arrays))

    def backward(kept: Any, outer: Any) -> tuple[Any, Any]:
        gradient, zeros = kept
        return outer * gradient, zeros

    loss.defvjp(forward, backward)
    return loss


def jax_loss(
    weights: Any,
    widths: Sequence[int],
    features: Any,
    coefficients: Any,
    constants: Any,
    loss_weights: Any = None,
    *,
    activation: str = "tanh",
    positive: bool = False,
    obstacle: Any = None,
    smoothing: float = 1e-6,
    num_threads: int | None = None,
) -> Any:
    """`residual_loss_grad` as a JAX loss with a rule for reverse mode: `jax.grad` and `jax.value_and_grad` take it.

    Arrays go to the core and back through DLPack, without `jax.pure_callback`, so on a device they stay there. The
    price is that the call computes at once: it cannot be inside of `jax.jit`. Once differentiable, in the weights;
    derivatives in the other arrays are 0.

    Parameters
    ----------
    weights : jax.Array, shape (p,)
        As for `residual_loss_grad`.
    widths, features, coefficients, constants, loss_weights, activation, positive, obstacle, smoothing, num_threads
        As for `residual_loss_grad`.

    Returns
    -------
    jax.Array
        Of no dimension, of the dtype of `weights`.

    Raises
    ------
    ImportError
        Without JAX.
    TypeError
        If an argument is traced by a transformation other than reverse mode.
    ShapeError, DTypeError, ParameterError
        If an argument is not accepted.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, warpquant.pinn  # doctest: +SKIP
    >>> f, a, b = jnp.zeros((1, 3, 5)), jnp.ones((3, 5)), jnp.zeros(5)  # doctest: +SKIP
    >>> loss = lambda w: warpquant.pinn.jax_loss(w, (1, 1, 1), f, a, b)  # doctest: +SKIP
    >>> value, slope = jax.value_and_grad(loss)(jnp.ones(4))  # doctest: +SKIP
    """
    jax = importlib.import_module("jax")
    arrays = tuple(
        None if a is None else jax.numpy.asarray(a)
        for a in (features, coefficients, constants, loss_weights, obstacle)
    )  # fmt: skip
    settings = {
        "activation": activation, "positive": positive, "smoothing": smoothing, "num_threads": num_threads,
    }  # fmt: skip
    function = _jax_function(tuple(widths), tuple(settings.items()))
    return function(jax.numpy.asarray(weights), arrays)
