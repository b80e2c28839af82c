# SPDX-License-Identifier: Apache-2.0
"""Options on the average of an asset's prices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice
from warpquant.errors import ParameterError

from ._product import USUAL, Product

__all__ = ["asian"]

_CLOSED = {
    "geometric": Product("asian_geometric"),
    "turnbull_wakeman": Product("asian_turnbull_wakeman"),
    "curran": Product("asian_curran"),
}

#: Other methods by name: functions of the arguments of `asian`, and of options of their own by keyword.
METHODS: dict[str, Callable[..., dict[str, Any]]] = {}


def asian(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    method: str = "curran",
    fixings: Any = 0,
    first: Any = None,
    past: Any = 0.0,
    past_weight: Any = 0.0,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Options on the average price, with Greeks by exact differentiation of the method.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`.
    method : {'curran', 'turnbull_wakeman', 'geometric'}, default 'curran'
        'geometric' is an option on the geometric average, and exact. The others are approximations of options on the
        arithmetic average: conditional on the geometric average, or by a lognormal of the same two moments.
    fixings : array_like or int, default 0
        How many prices are averaged, at equal intervals, the last at expiry; 0 for all of them.
    first : array_like or float, optional
        Years to the first fixing, or to where continuous averaging starts. Left out: ``expiry / fixings``, or 0.
    past, past_weight : array_like or float, default 0.0
        The average of the prices that are known, and their share in the whole average, from 0 to below 1.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', or 'all'. Time
        passes for all fixings alike.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.
    **options
        Of methods that are not closed forms.

    Returns
    -------
    dict
        Output to result. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If the method, or an option, is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Kemna, Vorst, A Pricing Method for Options Based on Average Asset Values, J. Banking and Finance 14 (1990);
    Turnbull, Wakeman, A Quick Algorithm for Pricing European Average Options, JFQA 26 (1991); Curran, Valuing Asian and
    Portfolio Options by Conditioning on the Geometric Mean Price, Management Science 40 (1994).

    Examples
    --------
    >>> import warpquant as wq
    >>> wq.options.asian(
    ...     100.0, 100.0, 1.0, 0.06, 0.03, 0.2, True, method="geometric", fixings=10, outputs="price"
    ... )["price"].__round__(10)
    5.3425606635
    """
    choice("method", method, (*_CLOSED, *METHODS))
    if method in METHODS:
        return METHODS[method](
            spot, strike, expiry, rate, dividend, vol, is_call, fixings=fixings, first=first, past=past,
            past_weight=past_weight, outputs=outputs, out=out, num_threads=num_threads, device=device, stream=stream,
            **options,
        )  # fmt: skip
    if options:
        raise ParameterError(f"{next(iter(options))}: method={method!r} has no such option")
    arguments = (
        spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call),
        -1.0 if first is None else first, fixings, past, past_weight,
    )  # fmt: skip
    return _CLOSED[method](arguments, outputs, out, num_threads, device, stream)
