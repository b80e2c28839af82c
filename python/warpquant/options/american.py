# SPDX-License-Identifier: Apache-2.0
"""American options by their boundary of early exercise (docs/options/american.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice

from ._product import USUAL, outputs_of

__all__ = ["american"]

_ACCURACIES = {"fast": "american_fast", "accurate": "american_accurate", "high": "american_high"}
_AMERICAN = outputs_of("american_accurate")


def american(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    accuracy: str = "accurate",
    outputs: str | Iterable[str] = USUAL,
    return_status: bool = False,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """Prices and Greeks of American options on an asset with a continuous yield.

    The boundary of early exercise is solved for on Chebyshev nodes, the price is the European one and an integral over
    the boundary (Andersen, Lake and Offengenden, High-performance American option pricing, J. Comp. Finance 20, 2016;
    what is done otherwise is in the documentation). Delta and gamma differentiate that integral, theta is what the
    pricing equation says, vega, rho and epsilon take the boundary's own change with them.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol : array or number
        As in :func:`greeks`: prices, years, continuously compounded rates per year, per square root of a year. They
        broadcast.
    is_call : array, bool or text
        True, 1 or 'c' for a call, False, 0, -1 or 'p' for a put.
    accuracy : {'fast', 'accurate', 'high'}
        Largest error of a price: 1e-5, 5e-7, 2e-9 of the strike over the ranges in the documentation.
    outputs : tuple of str, or 'all'
        Of ``price``, ``delta``, ``gamma``, ``vega`` (per 1.00 of vol), ``theta`` (per year of calendar time), ``rho``,
        ``epsilon`` (by the dividend yield, alias ``psi``), ``dual_delta`` (by the strike), ``boundary`` (the spot at
        which it is exercised today; NaN if early exercise is never right) and ``status``.
    return_status : bool
        Whether ``status`` is added to the results: 0 held, 1 worth exercising now, 2 never exercised early, 4 invalid
        argument, 5 two boundaries; rows of 4 and 5 are NaN.
    out : mapping, optional
        Name of a result to the array that takes it.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    dict
        Name to result: numbers if every argument is one, else arrays of the shape the arguments have together, of the
        kind of the first one. ``status`` is int8.

    Raises
    ------
    ParameterError
        If the accuracy, an output or a text in ``is_call`` is unknown.
    ShapeError, DTypeError
        If arguments do not broadcast, or are no numbers.

    Notes
    -----
    Where the spot is beyond the boundary, the price is the intrinsic value to the last bit, delta is 1 or -1 and the
    other Greeks are 0. With q < r < 0 (a put; r < q < 0 a call) there are two boundaries, and the result is NaN.

    Examples
    --------
    >>> from warpquant import options
    >>> option = options.american(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "p", outputs=("price", "boundary"))
    >>> f"{option['price']:.6f} {option['boundary']:.4f}"
    '6.090371 80.8751'
    """
    operation = _ACCURACIES[choice("accuracy", accuracy, _ACCURACIES)]
    names = _AMERICAN.choose(outputs, status=return_status)
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call))
    return _rows.call(operation, arguments, _AMERICAN, names, out=out, num_threads=num_threads)
