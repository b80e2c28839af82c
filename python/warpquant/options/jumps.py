# SPDX-License-Identifier: Apache-2.0
"""Merton's jump diffusion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows

from ._product import USUAL, Product

__all__ = ["merton_jump"]

_MERTON = Product("merton_jump")


def merton_jump(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    intensity: Any,
    jump_mean: Any,
    jump_vol: Any,
    *,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options on an asset that diffuses and jumps, as a sum over the number of jumps; all Greeks exact.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`; `vol` is that of the diffusion alone.
    intensity : array_like or float
        Jumps a year. Rows that expect more than 650 of them, under either measure, are NaN.
    jump_mean, jump_vol : array_like or float
        Mean and standard deviation of the logarithm of a jump: prices are multiplied by exp(jump_mean + jump_vol z).
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', and the
        derivatives 'dintensity', 'djump_mean', 'djump_vol', or 'all'.
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
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Merton, Option Pricing when Underlying Stock Returns are Discontinuous, J. Financial Economics 3 (1976).

    Examples
    --------
    >>> import warpquant as wq
    >>> result = wq.options.merton_jump(100.0, 95.0, 0.5, 0.05, 0.0, 0.2, False, 1.0, -0.1, 0.15)
    >>> round(result["price"], 4)
    4.0586
    """
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call), intensity, jump_mean, jump_vol)
    return _MERTON(arguments, outputs, out, num_threads, device, stream)
