# SPDX-License-Identifier: Apache-2.0
"""Digital options: cash or the asset, at expiry or when a level is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice
from warpquant.errors import ParameterError

from ._product import USUAL, Product, code
from .barrier import TYPES

__all__ = ["digital"]

_DIGITAL = Product("digital")
_TOUCH = Product("touch")
_BARRIER = Product("barrier_digital")
_PAYOFFS = {"cash": 0.0, "asset": 1.0, "gap": 2.0}
_TOUCHES = {
    ("touch", "hit", "cash"): 0.0,
    ("touch", "hit", "asset"): 1.0,
    ("touch", "expiry", "cash"): 2.0,
    ("touch", "expiry", "asset"): 3.0,
    ("no_touch", "expiry", "cash"): 4.0,
    ("no_touch", "expiry", "asset"): 5.0,
}


def digital(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    payoff: str = "cash",
    cash: Any = 1.0,
    payoff_strike: Any = None,
    style: str = "european",
    pay: str = "expiry",
    barrier: Any = None,
    barrier_type: Any = None,
    outputs: str | Iterable[str] = USUAL,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Digital (binary) options in closed form, with Greeks by exact differentiation of the form.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol : array_like or float
        Prices; years; continuously compounded rates a year; volatility per square root of a year. Broadcast together,
        float64 or float32.
    is_call : array_like or bool
        A call pays above the strike (a touch: is met from below), a put below it.
    payoff : {'cash', 'asset', 'gap'}, default 'cash'
        `cash`, one unit of the asset, or the asset less `payoff_strike` (for puts the reverse, which may be negative).
    cash : array_like or float, default 1.0
        The amount of a cash payoff.
    payoff_strike : array_like or float, optional
        Of a gap option.
    style : {'european', 'touch', 'no_touch'}, default 'european'
        What has to happen: the end beyond the strike; the strike met at any time; the strike never met.
    pay : {'expiry', 'hit'}, default 'expiry'
        When a touch pays. 'hit' pays at once, and pays at once where the spot is at or beyond the strike already.
    barrier : array_like or float, optional
        A level that knocks a European digital in or out.
    barrier_type : str or array of str, optional
        'down-in', 'up-in', 'down-out', 'up-out'.
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
        If a word is unknown or arguments do not go together.
    ShapeError
        If arguments do not broadcast.

    References
    ----------
    Reiner, Rubinstein, Unscrambling the Binary Code, Risk 4(9) (1991); Haug, The Complete Guide to Option Pricing
    Formulas (2nd ed. 2007), 4.19.

    Examples
    --------
    >>> import warpquant as wq
    >>> result = wq.options.digital(100.0, 80.0, 0.75, 0.06, 0.06, 0.35, "put", cash=10.0)
    >>> round(result["price"], 4)
    2.671
    """
    choice("style", style, ("european", "touch", "no_touch"))
    choice("payoff", payoff, _PAYOFFS)
    if (payoff == "gap") != (payoff_strike is not None):
        raise ParameterError("payoff_strike: goes with payoff='gap', which needs it")
    if (barrier is None) != (barrier_type is None):
        raise ParameterError("barrier, barrier_type: one does not go without the other")
    choice("pay", pay, ("expiry", "hit"))
    asset = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call))
    amount = payoff_strike if payoff == "gap" else cash
    if style == "european":
        if pay == "hit":
            raise ParameterError("pay: 'hit' goes with style='touch'")
        if barrier is None:
            return _DIGITAL((*asset, _PAYOFFS[payoff], amount), outputs, out, num_threads, device, stream)
        if payoff == "gap":
            raise ParameterError("barrier: goes with payoff='cash' and 'asset'")
        arguments = (*asset, barrier, code(barrier_type, TYPES, "barrier_type"), _PAYOFFS[payoff], amount)
        return _BARRIER(arguments, outputs, out, num_threads, device, stream)
    kind = _TOUCHES.get((style, pay, payoff))
    if kind is None or barrier is not None:
        raise ParameterError(
            "style: 'touch' and 'no_touch' go with payoff='cash' and 'asset' and no barrier, "
            "'no_touch' with pay='expiry' alone"
        )
    return _TOUCH((*asset, kind, amount), outputs, out, num_threads, device, stream)
