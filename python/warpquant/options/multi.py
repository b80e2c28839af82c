# SPDX-License-Identifier: Apache-2.0
"""Options on options, on two assets, and on an asset in another currency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice

from ._product import USUAL, Product

__all__ = ["basket", "chooser", "compound", "correlation_option", "exchange", "quanto", "spread"]

_CHOOSER = Product("chooser")
_COMPOUND = Product("compound")
_QUANTO = Product("quanto")
_EXCHANGE = Product("exchange")
_SPREAD = Product("spread")
_BASKET = Product("rainbow")
_CORRELATION = Product("correlation")
_TWO = ("price", "delta1", "delta2", "gamma1", "cross_gamma", "gamma2", "vega1", "vega2", "theta", "rho")


def chooser(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    choose: Any,
    *,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options whose holder decides, `choose` years from now, whether they are calls or puts.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol
        As in :func:`warpquant.options.greeks`; strike and expiry are those of the call and of the put.
    choose : array_like or float
        Years to the choice, not after expiry. As time passes, it comes nearer: theta moves both.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga', or 'all'.
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
    Rubinstein, Options for the Undecided, Risk 4(4) (1991).

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.chooser(50.0, 50.0, 0.5, 0.08, 0.0, 0.25, 0.25)["price"], 4)
    6.1071
    """
    arguments = (spot, strike, expiry, rate, dividend, vol, 1.0, choose)
    return _CHOOSER(arguments, outputs, out, num_threads, device, stream)


def compound(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    under_strike: Any,
    under_expiry: Any,
    under_is_call: Any,
    *,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on options: the right to buy or sell, at `expiry` for `strike`, a European option.

    Parameters
    ----------
    spot, rate, dividend, vol
        Of the asset, as in :func:`warpquant.options.greeks`.
    strike, expiry, is_call
        Of the right.
    under_strike, under_expiry, under_is_call
        Of the option, which expires no earlier.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga',
        'dunder_strike', or 'all'. Theta moves both expiries.
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
    Geske, The Valuation of Compound Options, J. Financial Economics 7 (1979).

    Examples
    --------
    >>> import warpquant as wq
    >>> result = wq.options.compound(500.0, 50.0, 0.25, 0.08, 0.03, 0.35, False, 520.0, 0.5, True)
    >>> round(result["price"], 4)
    21.1964
    """
    arguments = (
        spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call),
        under_strike, under_expiry, _rows.flags(under_is_call, "under_is_call"),
    )  # fmt: skip
    return _COMPOUND(arguments, outputs, out, num_threads, device, stream)


def quanto(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    foreign_rate: Any,
    fx_vol: Any,
    correlation: Any,
    *,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on a foreign asset that pay in domestic money, one unit of it for one of the foreign.

    Parameters
    ----------
    spot, strike, expiry, dividend, vol, is_call
        As in :func:`warpquant.options.greeks`; spot and strike in foreign money.
    rate, foreign_rate : array_like or float
        Of domestic and of foreign money.
    fx_vol, correlation : array_like or float
        Volatility of the price of foreign money in domestic, and its correlation with the asset.
    outputs : str or iterable of str
        Of 'price', 'delta', 'gamma', 'vega', 'theta', 'rho', 'epsilon', 'dual_delta', 'vanna', 'volga',
        'dforeign_rate', 'dfx_vol', 'dcorrelation', or 'all'.
    out : mapping, optional
        Output to the array that takes it.
    num_threads, device, stream
        As in :func:`warpquant.options.greeks`.

    Returns
    -------
    dict
        Output to result. Rows without a meaning are NaN. Another fixed rate multiplies all of them.

    Raises
    ------
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Reiner, Quanto Mechanics, Risk 5(3) (1992); Haug (2007), 5.16.

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.quanto(100.0, 105.0, 0.5, 0.08, 0.04, 0.2, True, 0.05, 0.1, 0.3)["price"], 4)
    3.552
    """
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call), foreign_rate, fx_vol, correlation)
    return _QUANTO(arguments, outputs, out, num_threads, device, stream)


def exchange(
    spot1: Any,
    spot2: Any,
    expiry: Any,
    rate: Any,
    dividend1: Any,
    dividend2: Any,
    vol1: Any,
    vol2: Any,
    correlation: Any,
    *,
    outputs: str | Iterable[str] = _TWO,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options to give the second asset for the first (Margrabe): max(S1 - S2, 0) at expiry.

    Parameters
    ----------
    spot1, spot2 : array_like or float
        Prices, of as much of each asset as is exchanged.
    expiry, rate : array_like or float
        Years, and the rate a year, on which the price does not depend.
    dividend1, dividend2, vol1, vol2 : array_like or float
        Yields and volatilities a year.
    correlation : array_like or float
        From -1 to 1.
    outputs : str or iterable of str
        Of 'price', 'delta1', 'delta2', 'gamma1', 'cross_gamma', 'gamma2', 'vega1', 'vega2', 'theta', 'rho',
        'epsilon1', 'epsilon2', 'dcorrelation', or 'all'.
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
    Margrabe, The Value of an Option to Exchange One Asset for Another, Journal of Finance 33 (1978).

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.exchange(22.0, 20.0, 0.1, 0.1, 0.06, 0.04, 0.2, 0.15, -0.5)["price"], 3)
    2.125
    """
    arguments = (
        spot1, spot2, 0.0, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, 1.0, 0.0,
    )  # fmt: skip
    return _EXCHANGE(arguments, outputs, out, num_threads, device, stream)


def spread(
    spot1: Any,
    spot2: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend1: Any,
    dividend2: Any,
    vol1: Any,
    vol2: Any,
    correlation: Any,
    is_call: Any,
    *,
    outputs: str | Iterable[str] = _TWO,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on the difference of two assets: max(S1 - S2 - K, 0), by Kirk's approximation.

    Parameters
    ----------
    spot1, spot2, expiry, rate, dividend1, dividend2, vol1, vol2, correlation
        As in :func:`exchange`. For futures set both dividends to the rate.
    strike : array_like or float
        May be negative, as long as it is above minus the forward of the second asset.
    is_call : array_like or bool
        Puts pay max(K - S1 + S2, 0).
    outputs, out, num_threads, device, stream
        As in :func:`exchange`, and 'dual_delta'. Greeks are those of the approximation.

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
    Kirk, Correlation in the Energy Markets, in Managing Energy Price Risk (1995).

    Examples
    --------
    >>> import warpquant as wq
    >>> round(wq.options.spread(122.0, 120.0, 3.0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.0, True)["price"], 3)
    3.797
    """
    arguments = (
        spot1, spot2, strike, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, _rows.flags(is_call), 0.0,
    )  # fmt: skip
    return _SPREAD(arguments, outputs, out, num_threads, device, stream)


def basket(
    spot1: Any,
    spot2: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend1: Any,
    dividend2: Any,
    vol1: Any,
    vol2: Any,
    correlation: Any,
    is_call: Any,
    *,
    kind: str = "min",
    outputs: str | Iterable[str] = _TWO,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on the smaller or the larger of two assets (Stulz).

    Parameters
    ----------
    spot1, spot2, strike, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, is_call
        As in :func:`exchange` and :func:`spread`; the strike is 0 or more.
    kind : {'min', 'max'}, default 'min'
        The smaller or the larger.
    outputs, out, num_threads, device, stream
        As in :func:`exchange`, and 'dual_delta'.

    Returns
    -------
    dict
        Output to result. Rows without a meaning are NaN.

    Raises
    ------
    ParameterError
        If `kind` is unknown.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Stulz, Options on the Minimum or the Maximum of Two Risky Assets, J. Financial Economics 10 (1982); the bivariate
    normal distribution after Genz, Statistics and Computing 14 (2004).

    Examples
    --------
    >>> import warpquant as wq
    >>> result = wq.options.basket(100.0, 100.0, 100.0, 1.0, 0.05, 0.0, 0.0, 0.3, 0.3, 0.9, True, kind="min")
    >>> round(result["price"], 3)
    10.897
    """
    choice("kind", kind, ("min", "max"))
    arguments = (
        spot1, spot2, strike, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, _rows.flags(is_call),
        1.0 if kind == "max" else 0.0,
    )  # fmt: skip
    return _BASKET(arguments, outputs, out, num_threads, device, stream)


def correlation_option(
    spot1: Any,
    spot2: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend1: Any,
    dividend2: Any,
    vol1: Any,
    vol2: Any,
    correlation: Any,
    is_call: Any,
    strike2: Any,
    *,
    outputs: str | Iterable[str] = _TWO,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on the first asset on condition that the second ends beyond `strike2` (two-asset correlation options).

    Parameters
    ----------
    spot1, spot2, strike, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, is_call
        As in :func:`exchange` and :func:`spread`: calls pay max(S1 - K, 0) where S2 > `strike2`, puts
        max(K - S1, 0) where S2 < `strike2`.
    strike2 : array_like or float
        Of the condition.
    outputs, out, num_threads, device, stream
        As in :func:`exchange`, and 'dual_delta'.

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
    Zhang, Correlation Digitals, Journal of Financial Engineering 3 (1995); Haug (2007), 5.2.

    Examples
    --------
    >>> import warpquant as wq
    >>> wq.options.correlation_option(
    ...     65.0, 52.0, 70.0, 0.5, 0.1, 0.0, 0.0, 0.3, 0.2, 0.75, True, 50.0, outputs="price"
    ... )["price"].__round__(4)
    4.7073
    """
    arguments = (
        spot1, spot2, strike, expiry, rate, dividend1, dividend2, vol1, vol2, correlation, _rows.flags(is_call),
        strike2,
    )  # fmt: skip
    return _CORRELATION(arguments, outputs, out, num_threads, device, stream)
