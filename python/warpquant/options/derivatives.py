# SPDX-License-Identifier: Apache-2.0
"""Derivatives of Python callables: finite differences and the complex step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from warpquant._checks import choice, whole
from warpquant.errors import DTypeError, ParameterError, ShapeError

__all__ = ["complex_normal_cdf", "differentiate"]

_METHODS = ("finite_difference", "complex_step")
_EPSILON = float(np.finfo(np.float64).eps)
#: What balances the error of the stencil and that of rounding, relative to x, for each order.
_STEPS = {1: _EPSILON ** (1 / 3), 2: _EPSILON ** (1 / 4), 3: _EPSILON ** (1 / 5)}
_COMPLEX_STEP = 1e-200


def differentiate(
    function: Callable[[Any], Any],
    x: Any,
    *,
    method: str = "finite_difference",
    order: int = 1,
    step: float | None = None,
) -> Any:
    """Derivatives of a function of one number, at one or many places.

    Parameters
    ----------
    function : callable
        Takes x, and returns as many numbers: applied to an array it must act on each element.
    x : float or array_like
        Where.
    method : {'finite_difference', 'complex_step'}
        Central differences; or the imaginary part of f(x + ih), which has no cancellation, for functions that are
        analytic and accept complex numbers (no abs, no comparison; `complex_normal_cdf` for the normal distribution).
    order : {1, 2, 3}
        Of the derivative; 1 for 'complex_step'.
    step : float, optional
        The step, absolute. By default the size of x times eps^(1/3), eps^(1/4), eps^(1/5) for orders 1, 2, 3 (at 0 the
        same with 1 in place of x), and 1e-200 for 'complex_step'.

    Returns
    -------
    float or ndarray, float64
        Of the shape of `x`.

    Raises
    ------
    ParameterError
        If an argument is unknown or out of range.
    DTypeError, ShapeError
        If the function returns no numbers, or another shape than that of its argument.

    Notes
    -----
    Relative errors to expect of smooth functions: 1e-10, 1e-8 and 1e-6 for orders 1 to 3, and that of the function
    itself for the complex step. In Monte Carlo, keep the seed: equal numbers cancel.

    Examples
    --------
    >>> import numpy as np
    >>> differentiate = warpquant.options.differentiate
    >>> round(differentiate(np.exp, 1.0), 8)
    2.71828183
    >>> bool(differentiate(np.exp, 1.0, method="complex_step") == np.exp(1.0))
    True
    >>> round(differentiate(lambda s: warpquant.options.price(s, 100, 1, 0, 0, 0.2, True)["price"], 100.0, order=2), 6)
    0.019848
    """
    choice("method", method, _METHODS)
    if not callable(function):
        raise DTypeError(f"function: {type(function).__name__} cannot be called")
    whole("order", order, 1, 3)
    try:
        at = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise DTypeError("x: holds values that are no numbers") from None
    if step is not None and not (np.ndim(step) == 0 and np.isfinite(step) and step > 0):
        raise ParameterError(f"step: {step!r} is out of range; accepted are numbers above 0")

    def value(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        result = np.asarray(function(places if places.ndim else places[()]))
        if result.dtype.kind not in "biufc":
            raise DTypeError(f"function: returned {type(result[()]).__name__}; accepted are numbers")
        if result.shape != at.shape:
            raise ShapeError(f"function: returned shape {result.shape} for an argument of shape {at.shape}")
        return result

    if method == "complex_step":
        if order != 1:
            raise ParameterError(f"order: {order} is out of range; the complex step gives the first derivative")
        size = _COMPLEX_STEP if step is None else step
        made = value(at + 1j * size).imag / size
    else:
        scale = np.where(at == 0.0, 1.0, np.abs(at))
        wanted = scale * _STEPS[order] if step is None else np.full(at.shape, float(step))
        # A step that is exact in binary: what is added is what is divided by.
        h = (at + wanted) - at
        if order == 1:
            made = (value(at + h) - value(at - h)) / (2.0 * h)
        elif order == 2:
            made = (value(at + h) - 2.0 * value(at) + value(at - h)) / (h * h)
        else:
            outer = value(at + 2.0 * h) - value(at - 2.0 * h)
            made = (outer - 2.0 * (value(at + h) - value(at - h))) / (2.0 * h * h * h)
    made = np.asarray(made, dtype=np.float64)
    return float(made) if made.ndim == 0 else made


def complex_normal_cdf(z: Any) -> Any:
    """The normal distribution function of complex numbers, for the complex step.

    Parameters
    ----------
    z : complex or array_like
        Numbers.

    Returns
    -------
    complex or ndarray, complex128

    Raises
    ------
    ImportError
        If SciPy is not installed (``pip install warpquant[scipy]``).

    Notes
    -----
    By the Faddeeva function: N(z) = exp(-z^2/2) w(-iz/sqrt 2) / 2 left of 0, one minus that of -z right of it.

    Examples
    --------
    >>> z = warpquant.options.complex_normal_cdf(1.0 + 1e-200j)
    >>> round(z.real, 12), round(z.imag * 1e200, 12)
    (0.841344746069, 0.241970724519)
    """
    try:
        from scipy.special import wofz
    except ImportError:
        raise ImportError("complex_normal_cdf needs SciPy: pip install warpquant[scipy]") from None
    at = np.asarray(z, dtype=np.complex128)
    right = at.real > 0.0
    left = np.where(right, -at, at)
    tail = 0.5 * np.exp(-0.5 * left * left) * wofz(-1j * left / np.sqrt(2.0))
    made = np.where(right, 1.0 - tail, tail)
    return complex(made) if made.ndim == 0 else made
