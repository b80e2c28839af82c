# SPDX-License-Identifier: Apache-2.0
"""Options: prices and Greeks (docs/options.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice
from warpquant.errors import ParameterError

from ._product import USUAL, outputs_of

__all__ = ["greeks", "price"]

_VANILLA = outputs_of("bsm")
_MODELS = {"bsm": "bsm", "black76": "black76", "bachelier": "bachelier", "displaced": "black76"}


def _operation(model: str, shift: Any) -> str:
    operation = _MODELS[choice("model", model, _MODELS)]
    if model != "displaced" and not (type(shift) in (float, int) and shift == 0):
        raise ParameterError("shift: goes with model='displaced' only")
    return operation


def greeks(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    model: str = "bsm",
    outputs: str | Iterable[str] = USUAL,
    shift: Any = 0.0,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Prices of European options, and their derivatives to third order, in closed form.

    Every result is a plain partial derivative of the price per unit of its variable: vega per 1.00 of volatility, rho
    per 1.00 of rate. Derivatives in time (theta, charm, veta, color) are by calendar time, per year. Nothing is scaled
    (docs/options/greeks.md has a table of names, signs and units).

    Parameters
    ----------
    spot : array_like
        Price of the underlying; for the models of a forward the forward price. All array arguments broadcast as in
        NumPy, numbers are not copied, and may be of any array kind; float32 throughout gives float32 results.
    strike : array_like
        In the same units.
    expiry : array_like
        Years to expiry, at least 0.
    rate : array_like
        Continuously compounded, per year.
    dividend : array_like
        Yield of the underlying, continuously compounded, per year; the foreign rate of a currency. The models of a
        forward do not look at it.
    vol : array_like
        Volatility per square root of a year; for 'bachelier' in units of the price.
    is_call : array_like
        True or 1 for a call, False, 0 or -1 for a put; or texts 'c', 'call', 'p', 'put'. A row with anything else has
        no results.
    model : {'bsm', 'black76', 'bachelier', 'displaced'}, default 'bsm'
        Black-Scholes-Merton; Black 1976, on a forward; Bachelier, normal, whose forwards and strikes may be negative;
        Black 1976 of ``spot + shift`` and ``strike + shift``.
    outputs : str or sequence of str
        What to compute: price, delta, vega, theta, rho, epsilon (also psi), ``lambda_`` (elasticity, omega),
        dual_delta, gamma, dual_gamma, vanna, volga (vomma), vera (rhova), charm, veta, speed, zomma, color, ultima;
        'all' is all of them. By default price, delta, gamma, vega, theta and rho.
    shift : array_like, default 0
        For 'displaced'.
    out : mapping, optional
        Name of an output to the array that takes it, of the shape of the results; an argument's own array will do.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'. Arrays on a device are computed where they are.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    dict
        Name, as asked for, to result: a float if all arguments are numbers, else an array of the kind of the first
        argument that is none of NumPy's, of the shape that all arguments have together. Rows with NaN or without a
        meaning (a negative price, expiry or volatility, an infinite rate) are NaN. Where volatility or expiry is 0 the
        results are the limits (docs/options/greeks.md, "Limits"). Errors are within ``4 eps (1 + condition)`` of the
        value, ``eps = 2**-52``, where the condition is what an ulp in each argument does to it.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    References
    ----------
    Black and Scholes, The Pricing of Options and Corporate Liabilities, J. Political Economy 81 (1973). Merton, Theory
    of Rational Option Pricing, Bell J. Economics 4 (1973). Black, The Pricing of Commodity Contracts, J. Financial
    Economics 3 (1976). Haug, The Complete Guide to Option Pricing Formulas, 2nd ed. (2007), chapter 2.

    Examples
    --------
    >>> import warpquant
    >>> g = warpquant.options.greeks(100.0, 105.0, 0.5, 0.03, 0.0, 0.25, "c", outputs=("price", "delta", "vomma"))
    >>> {name: round(value, 6) for name, value in g.items()}
    {'price': 5.575977, 'delta': 0.459078, 'vomma': 3.224124}
    """
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call), shift)
    return _rows.call(
        _operation(model, shift), arguments, _VANILLA, _VANILLA.choose(outputs),
        out=out, num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip


def price(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    model: str = "bsm",
    shift: Any = 0.0,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Prices of European options: `greeks` with the price alone.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call : array_like
        The options, as in `greeks`.
    model, shift, out, num_threads, device, stream
        As in `greeks`.

    Returns
    -------
    dict
        ``{"price": ...}``.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError, DeviceUnavailableError
        As in `greeks`.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.options.price([90.0, 100.0], 100.0, 1.0, 0.02, 0.0, 0.2, "p")["price"].round(4).tolist()
    [12.1675, 6.9359]
    """
    return greeks(
        spot, strike, expiry, rate, dividend, vol, is_call, model=model, outputs=("price",), shift=shift, out=out,
        num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip
