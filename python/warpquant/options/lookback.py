# SPDX-License-Identifier: Apache-2.0
"""Options on the highest or the lowest price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows

from ._product import USUAL, Product

__all__ = ["lookback"]

_LOOKBACK = Product("lookback")


def lookback(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    extreme: Any = None,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Lookback options with continuous observation in closed form, all Greeks exact.

    Parameters
    ----------
    spot, expiry, rate, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`.
    strike : array_like, float or None
        None for a floating strike: a call pays the last price less the lowest, a put the highest less the last. Else
        a call pays the highest price less the strike, a put the strike less the lowest, if that is above 0.
    extreme : array_like or float, optional
        The lowest price so far for floating calls and fixed puts, the highest for floating puts and fixed calls;
        the spot if it is left out. Derivatives hold it fixed.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result. Rows without a meaning (a lowest price above the spot) are NaN.

    Raises
    ------
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Goldman, Sosin, Gatto, Path Dependent Options: Buy at the Low, Sell at the High, Journal of Finance 34 (1979);
    Conze, Viswanathan, Path Dependent Options: The Case of Lookback Options, Journal of Finance 46 (1991).

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.lookback(120.0, None, 0.5, 0.1, 0.06, 0.3, True, extreme=100.0)["price"], 4)
    25.3534
    """
    arguments = (
        spot, 0.0 if strike is None else strike, expiry, rate, dividend, vol, _rows.flags(is_call),
        spot if extreme is None else extreme, 0.0 if strike is None else 1.0,
    )  # fmt: skip
    return _LOOKBACK(arguments, outputs, out, num_threads, device, stream)
