# SPDX-License-Identifier: Apache-2.0
"""Options on the average of an asset's prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice
from warpquant.errors import ParameterError

from ._product import USUAL, Product
from .monte_carlo import asian_by_paths

__all__ = ["asian"]

_CLOSED = {
    "geometric": Product("asian_geometric"),
    "turnbull_wakeman": Product("asian_turnbull_wakeman"),
    "curran": Product("asian_curran"),
}


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
    vol_slope: Any = None,
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
    method : {'curran', 'turnbull_wakeman', 'geometric', 'monte_carlo'}, default 'curran'
        'geometric' is an option on the geometric average, and exact. 'curran' and 'turnbull_wakeman' are approximations
        of options on the arithmetic average: conditional on the geometric average, or by a lognormal of the same two
        moments. 'monte_carlo' has no error but that of chance, which it reports.
    fixings : array_like or int, default 0
        How many prices are averaged, at equal intervals, the last at expiry; 0 for all of them.
    first : array_like or float, optional
        Years to the first fixing, or to where continuous averaging starts. Left out: ``expiry / fixings``, or 0.
    past, past_weight : array_like or float, default 0.0
        The average of the prices that are known, and their share in the whole average, from 0 to below 1.
    vol_slope : array_like or float, optional
        Of 'turnbull_wakeman' alone: the volatility until a time t before expiry is ``vol + vol_slope * (t - expiry)``,
        as quotes for the fixings' dates have it. 'vega' is by all of them at once.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', or 'all'. Time
        passes for all fixings alike.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.
    **options
        Of 'monte_carlo': paths, seed, sampling, scramble, replicates, bridge, offset and control_variate as in
        `asian_mc`; steps (64) of the trapezoidal rule for continuous averages. Its results are in host memory.

    Returns
    -------
    dict
        Output to result; 'monte_carlo' has the standard error of each besides, under the name with ``_error``, and
        neither 'vanna' nor 'volga'. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If the method, or an option, is unknown, or the method has no such option.
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
    >>> truth = wq.options.asian(100.0, 100.0, 1.0, 0.06, 0.03, 0.2, True, method="monte_carlo", fixings=10)
    >>> close = wq.options.asian(100.0, 100.0, 1.0, 0.06, 0.03, 0.2, True, fixings=10)
    >>> abs(close["price"] - truth["price"]) < 0.001 + 4 * truth["price_error"]
    True
    """
    choice("method", method, (*_CLOSED, "monte_carlo"))
    if vol_slope is not None and method != "turnbull_wakeman":
        raise ParameterError("vol_slope: only method='turnbull_wakeman' has one")
    start = -1.0 if first is None else first
    if method == "monte_carlo":
        arguments = dict(
            spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, vol=vol,
            is_call=_rows.flags(is_call), first=start, fixings=fixings, past=past, past_weight=past_weight,
        )  # fmt: skip
        return asian_by_paths(
            arguments, outputs=outputs, out=out, num_threads=num_threads, device=device, stream=stream, options=options
        )
    if options:
        raise ParameterError(f"{next(iter(options))}: method={method!r} has no such option")
    columns: tuple[Any, ...] = (
        spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call), start, fixings, past, past_weight,
    )  # fmt: skip
    if method == "turnbull_wakeman":
        columns += (0.0 if vol_slope is None else vol_slope,)
    return _CLOSED[method](columns, outputs, out, num_threads, device, stream)
