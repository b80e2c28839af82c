# SPDX-License-Identifier: Apache-2.0
"""Heston's stochastic volatility."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice

from ._product import USUAL, Product

__all__ = ["heston"]

_CONTOUR, _COS = Product("heston"), Product("heston_cos")
_METHODS: dict[str, tuple[Product, dict[str, tuple[float, ...]]]] = {
    "contour": (_CONTOUR, {"default": (48.0,), "high": (64.0,)}),  # nodes
    "cos": (_COS, {"default": (1e-8, 32768.0), "high": (1e-12, 32768.0)}),  # tolerance, most terms
}


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
    method: str = "contour",
    accuracy: str = "default",
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options under Heston's model, by an integral or a series, with the derivatives under its sum.

    Rows of one expiry and one model share the characteristic function at the nodes: pass chains sorted by expiry, or as
    a column of expiries against a row of strikes.

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
    method : {'contour', 'cos'}, default 'contour'
        'contour' is one integral along a contour through the saddle point: the more accurate, and without limits of
        the model. 'cos' is Fang and Oosterlee's series, with as many terms as the model needs: the faster for many
        strikes of one expiry where the characteristic function falls fast. See docs/options/heston.md.
    accuracy : {'default', 'high'}
        Goals are 1e-7 and 1e-10 of the spot: 48 or 64 nodes of the contour; terms of the series to 1e-8 or 1e-12.
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
        If `method` or `accuracy` is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Heston, A Closed-Form Solution for Options with Stochastic Volatility, Review of Financial Studies 6 (1993);
    Andersen, Lake, Robust High-Precision Option Pricing by Fourier Transforms (2018); Fang, Oosterlee, A Novel Pricing
    Method for European Options Based on Fourier-Cosine Series Expansions, SIAM J. Sci. Comput. 31 (2008).

    Examples
    --------
    >>> import warpquant as wq
    >>> model = {"v0": 0.04, "kappa": 4.0, "theta": 0.25, "xi": 1.0, "rho": -0.5}
    >>> result = wq.options.heston(100.0, 80.0, 1.0, 0.01, 0.02, **model, is_call=False, accuracy="high")
    >>> round(result["price"], 10)
    7.9588781133
    """
    product, accuracies = _METHODS[choice("method", method, _METHODS)]
    settings = accuracies[choice("accuracy", accuracy, accuracies)]
    arguments = (spot, strike, expiry, rate, dividend, v0, kappa, theta, xi, rho, _rows.flags(is_call))
    return product(arguments, outputs, out, num_threads, device, stream, settings)
