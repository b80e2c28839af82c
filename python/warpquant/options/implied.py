# SPDX-License-Identifier: Apache-2.0
"""Options: implied volatility (docs/options/implied.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import flag
from warpquant.errors import ParameterError

from .vanilla import _operation

__all__ = ["IV_STATUS", "implied_vol"]

#: What the codes of `implied_vol` mean, by code.
IV_STATUS = (
    "ok",
    "below intrinsic value",
    "at or above the upper bound",
    "no time value",
    "invalid input",
    "expired, at intrinsic value",
)

_OUTPUTS = _rows.Outputs("implied_bsm")
_VOL = ("vol",)


def implied_vol(
    price: Any,
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    is_call: Any,
    *,
    model: str = "bsm",
    shift: Any = 0.0,
    return_status: bool = False,
    clip: str | None = None,
    outputs: str | Iterable[str] = _VOL,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Volatility at which a European option is worth its price.

    Right to the rounding of the inputs for every price that a float64 can hold, from 1e-300 to the last digit below the
    upper bound. Rows are independent: a bad quote gives NaN and a status, and never raises or warns.

    Parameters
    ----------
    price : float or array
        Of the option, discounted: what is paid today.
    spot, strike : float or array
        Prices of the underlying; for ``black76``, ``bachelier`` and ``displaced`` `spot` is the forward price. Arrays
        broadcast as in NumPy and are not materialised.
    expiry : float or array
        Years.
    rate, dividend : float or array
        Per year, continuously compounded. Models of forward prices do not look at `dividend`.
    is_call : bool, number, text or array of those
        True, 1, 'c' or 'call'; False, 0, -1, 'p' or 'put'.
    model : {'bsm', 'black76', 'bachelier', 'displaced'}
        Black-Scholes-Merton; Black 1976; Bachelier, whose volatility is in units of price and whose prices may be
        negative; Black 1976 of forward and strike that are `shift` higher.
    shift : float or array
        For 'displaced'.
    return_status : bool
        Return the status of each row too.
    clip : {None, 'bounds'}
        'bounds': 0 instead of NaN below intrinsic value, inf at and above the upper bound.
    outputs : str or tuple of str
        Of 'vol', 'status' and the derivatives of the volatility by the inputs, all others fixed: 'dvol_dprice',
        'dvol_dspot', 'dvol_dstrike', 'dvol_dexpiry', 'dvol_drate', 'dvol_ddividend'; or 'all'.
    out : array or mapping, optional
        The array that takes the volatility, or a mapping from names of outputs to arrays (status: uint8).
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'. Arrays on a device are computed where they are.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    float, array, tuple or dict
        The volatility per square root of a year, as a float where every argument is a number, else as an array of the
        kind of the first argument that is one; with `return_status` a tuple of it and the status (uint8). A dict from
        name to result where `outputs` is not the volatility alone.

        Status: 0 found; 1 below intrinsic value (NaN); 2 at or above the upper bound (NaN); 3 no time value (vol 0);
        4 invalid input, or time value at expiry 0 (NaN); 5 expired and worth its intrinsic value (NaN). `IV_STATUS`
        has them in words. Derivatives are NaN where the status is not 0, where vega is 0, and by `dividend` for models
        that have none.

    Raises
    ------
    ParameterError
        If the model, an output or `clip` is unknown.
    ShapeError
        If shapes do not broadcast.
    DTypeError
        If an argument is not numeric.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Notes
    -----
    The idea of normalised prices and of Householder's method on their logarithm is that of P. Jaeckel, Let's Be
    Rational, Wilmott 2015(75), 40-53; the rational guess follows Choi, Kim and Kwak, Appl. Math. Finance 16 (2009)
    261-268.

    Examples
    --------
    >>> import warpquant
    >>> price = warpquant.options.price(100.0, 105.0, 0.5, 0.03, 0.01, 0.2, True)["price"]
    >>> round(warpquant.options.implied_vol(price, 100.0, 105.0, 0.5, 0.03, 0.01, True), 12)
    0.2
    >>> warpquant.options.implied_vol(101.0, 100.0, 105.0, 0.5, 0.03, 0.01, True, return_status=True)
    (nan, 2)
    """
    if clip is not None and clip != "bounds":
        raise ParameterError(f"clip: {clip!r} is unknown; accepted are None and 'bounds'")
    names = _OUTPUTS.choose(outputs, status=flag("return_status", return_status))
    alone = outputs == "vol" or outputs == _VOL
    if out is not None and not isinstance(out, Mapping):
        if not alone:
            raise ParameterError(
                "out: is an array; with several outputs it must be a mapping from their names to arrays"
            )
        out = {"vol": out}
    made = _rows.call(
        "implied_" + _operation(model, shift),
        (price, spot, strike, expiry, rate, dividend, _rows.flags(is_call), shift),
        _OUTPUTS,
        names,
        parameters=(1.0 if clip else 0.0,),
        out=out,
        num_threads=num_threads,
        device=device,
        stream=stream,
    )
    if not alone:
        return made
    return (made["vol"], made["status"]) if return_status else made["vol"]
