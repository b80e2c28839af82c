# SPDX-License-Identifier: Apache-2.0
"""Options that a barrier, or either of two, knocks in or out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows

from ._product import USUAL, Product, code

__all__ = ["barrier", "double_barrier"]

_BARRIER = Product("barrier")
_DOUBLE = Product("double_barrier")
TYPES = {"down-in": 0.0, "up-in": 1.0, "down-out": 2.0, "up-out": 3.0}


def barrier(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    barrier: Any,
    barrier_type: Any,
    *,
    rebate: Any = 0.0,
    interval: Any = 0.0,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options with one barrier: the eight closed forms of Reiner and Rubinstein, all Greeks exact.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`.
    barrier : array_like or float
        The level. A spot at or beyond it has met it: a knock-out is worth its rebate, a knock-in the vanilla option.
    barrier_type : str or array of str
        'down-in', 'up-in', 'down-out', 'up-out'.
    rebate : array_like or float, default 0.0
        Paid by a knock-out when the barrier is met, by a knock-in at expiry if it never was.
    interval : array_like or float, default 0.0
        Years between the times at which the barrier is looked at; 0 for always. The barrier is moved by
        exp(0.5826 sigma sqrt(interval)) away from the spot (Broadie, Glasserman and Kou), which is an approximation.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result, in the shape that the arguments have together. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If a word is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Reiner, Rubinstein, Breaking Down the Barriers, Risk 4(8) (1991); Broadie, Glasserman, Kou, A Continuity Correction
    for Discrete Barrier Options, Mathematical Finance 7 (1997).

    Examples
    --------
    >>> import warpquant as wq
    >>> result = wq.options.barrier(100.0, 90.0, 0.5, 0.08, 0.04, 0.25, True, 95.0, "down-out", rebate=3.0)
    >>> round(result["price"], 4)
    9.0246
    """
    arguments = (
        spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call),
        barrier, code(barrier_type, TYPES, "barrier_type"), rebate, interval,
    )  # fmt: skip
    return _BARRIER(arguments, outputs, out, num_threads, device, stream)


def double_barrier(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    lower: Any,
    upper: Any,
    barrier_type: Any = "out",
    *,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options that either of two barriers knocks out, or in.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`.
    lower, upper : array_like or float
        The levels, ``lower < upper``. A spot at or beyond one has met it.
    barrier_type : str or array of str, default 'out'
        'out' or 'in'.
    outputs, out, num_threads, device, stream
        As in :func:`barrier`.

    Returns
    -------
    dict
        Output to result. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If a word is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Ikeda, Kunitomo, Pricing Options with Curved Boundaries, Mathematical Finance 2 (1992), for level barriers.

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.double_barrier(100.0, 100.0, 0.25, 0.1, 0.0, 0.15, True, 50.0, 150.0)["price"], 4)
    4.3515
    """
    kind = code(barrier_type, {"in": 0.0, "out": 1.0}, "barrier_type")
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call), lower, upper, kind)
    return _DOUBLE(arguments, outputs, out, num_threads, device, stream)
