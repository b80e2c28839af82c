# SPDX-License-Identifier: Apache-2.0
"""Options: prices and Greeks (docs/options.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant.errors import ParameterError

__all__ = ["greeks", "price"]

_ALIASES = {
    "psi": "epsilon",
    "vomma": "volga",
    "elasticity": "lambda_",
    "omega": "lambda_",
    "rhova": "vera",
    "DdeltaDvol": "vanna",
    "DgammaDspot": "speed",
    "DgammaDtime": "color",
}
_VANILLA = _rows.Outputs("bsm", _ALIASES)
_USUAL = ("price", "delta", "gamma", "vega", "theta", "rho")
_USUAL_BITS = _VANILLA.choose(_USUAL)[1]
_MODELS = {"bsm": "bsm", "black76": "black76", "bachelier": "bachelier", "displaced": "black76"}


def _operation(model: str, shift: Any) -> str:
    operation = _MODELS.get(model) if isinstance(model, str) else None
    if operation is None:
        raise ParameterError(f"model: {model!r} is unknown; accepted are {', '.join(map(repr, _MODELS))}")
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
    outputs: str | Iterable[str] = _USUAL,
    shift: Any = 0.0,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """Prices of European options, and their derivatives to third order, in closed form."""
    names, wanted = (_USUAL, _USUAL_BITS) if outputs is _USUAL else _VANILLA.choose(outputs)
    arguments = {
        "spot": spot,
        "strike": strike,
        "expiry": expiry,
        "rate": rate,
        "dividend": dividend,
        "vol": vol,
        "is_call": is_call if type(is_call) is bool else _rows.flags(is_call),
        "shift": shift,
    }
    return _rows.call(_operation(model, shift), arguments, _VANILLA, names, wanted, out=out, num_threads=num_threads)


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
) -> dict[str, Any]:
    """Prices of European options."""
    return greeks(
        spot, strike, expiry, rate, dividend, vol, is_call, model=model, outputs=("price",), shift=shift, out=out,
        num_threads=num_threads,
    )  # fmt: skip
