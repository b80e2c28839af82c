# SPDX-License-Identifier: Apache-2.0
"""Heston's stochastic volatility."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice

from ._product import USUAL, Product

__all__ = ["heston"]

_HESTON = Product("heston")
_NODES = {"default": 32.0, "high": 64.0}


def heston(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    v0: Any,
    kappa: Any,
    theta: Any,
    xi: Any,
    rho: Any,
    is_call: Any,
    *,
    accuracy: str = "default",
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options under Heston's model, by one contour integral, with the derivatives under the integral.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, is_call
        As in :func:`warpquant.options.greeks`.
    v0, theta : array_like or float
        Variance now and in the long run, a year (0.04 is a volatility of 20 %).
    kappa : array_like or float
        Speed of mean reversion a year.
    xi : array_like or float
        Volatility of the variance. 0 is a variance that is known beforehand. Feller's condition may fail.
    rho : array_like or float
        Correlation of the two, from -1 to 1.
    accuracy : {'default', 'high'}
        32 or 64 nodes. Errors are measured in docs/options/heston.md.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', and the
        derivatives in parameters, 'dv0', 'dkappa', 'dtheta', 'dxi', 'drho', or 'all'. 'theta' and 'rho' are those in
        time and in the rate; 'vega', 'vanna' and 'volga' are by the square root of `v0`.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If `accuracy` is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Heston, A Closed-Form Solution for Options with Stochastic Volatility, Review of Financial Studies 6 (1993);
    Andersen, Lake, Robust High-Precision Option Pricing by Fourier Transforms (2018).

    Examples
    --------
    >>> import warpquant as wq
    >>> model = {"v0": 0.04, "kappa": 4.0, "theta": 0.25, "xi": 1.0, "rho": -0.5}
    >>> result = wq.options.heston(100.0, 80.0, 1.0, 0.01, 0.02, **model, is_call=False, accuracy="high")
    >>> round(result["price"], 10)
    7.9588781133
    """
    nodes = _NODES[choice("accuracy", accuracy, _NODES)]
    arguments = (spot, strike, expiry, rate, dividend, v0, kappa, theta, xi, rho, _rows.flags(is_call))
    return _HESTON(arguments, outputs, out, num_threads, device, stream, (nodes,))
