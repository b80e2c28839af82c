# SPDX-License-Identifier: Apache-2.0
"""Finite differences for options on shares that pay cash (docs/options/american.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from warpquant import _rows
from warpquant._checks import choice, flag, whole
from warpquant.errors import ParameterError

__all__ = ["finite_difference"]

_MODELS = {"piecewise": "grid_piecewise", "escrowed": "grid_escrowed"}
_GRID = _rows.Outputs("grid_piecewise")
_FROM_NODES = ("price", "delta", "gamma", "theta")
_MOST_DIVIDENDS = 32
_LIMIT = 100_000


def finite_difference(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    dividends: Iterable[tuple[float, float]] = (),
    model: str = "piecewise",
    nodes: int = 401,
    steps: int = 200,
    american: bool = True,
    outputs: str | Iterable[str] = _FROM_NODES,
    return_status: bool = False,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Prices and Greeks of options on a share that pays cash dividends, on a grid.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`american`; ``dividend`` is a continuous yield besides the cash.
    dividends : sequence of (time, amount)
        Years from now and cash per share, the same for every row, 32 at most. Those that are not between now and a
        row's expiry do not matter to it.
    model : {'piecewise', 'escrowed'}
        'piecewise': the spot is lognormal between dividends and falls by each. 'escrowed': the spot less the present
        value of the dividends until expiry is lognormal.
    nodes, steps : int
        Of the grid: spots, from 10, and steps in time, from 4; both up to 100,000. Steps are shared evenly between the
        stretches of time from dividend to dividend.
    american : bool
        Whether the option may be exercised early.
    outputs : tuple of str, or 'all'
        Of ``price``, ``delta``, ``gamma``, ``theta`` (per year of calendar time) and ``status``.
    return_status : bool
        Whether ``status`` is added: 0 held, 1 worth exercising now, 4 invalid argument (NaN), as is an escrowed spot
        that is not above 0.
    out, num_threads, device, stream
        As in :func:`american`.

    Returns
    -------
    dict
        Name to result, as from :func:`american`.

    Raises
    ------
    ParameterError
        If the model or an output is unknown, or the grid or the dividends are not as above.

    Notes
    -----
    TR-BDF2 in time with steps that grow from expiry and from each dividend, nodes that crowd around the strike, early
    exercise by the method of Brennan and Schwartz. With a vol or time of 0 results are those of the only path.

    Examples
    --------
    >>> from warpquant import options
    >>> call = options.finite_difference(100.0, 100.0, 1.0, 0.05, 0.0, 0.3, "c", dividends=[(0.5, 4.0)])
    >>> f"{call['price']:.3f}"
    '12.231'
    """
    operation = _MODELS[choice("model", model, _MODELS)]
    schedule = _schedule(dividends)
    size = (whole("nodes", nodes, 10, _LIMIT), whole("steps", steps, 4, _LIMIT))
    names = _GRID.choose(outputs, status=return_status)
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call))
    parameters = (
        float(size[0]),
        float(size[1]),
        float(flag("american", american)),
        float(len(schedule)),
        *schedule.ravel().tolist(),
    )
    return _rows.call(
        operation, arguments, _GRID, names, parameters=parameters, out=out, num_threads=num_threads, device=device,
        stream=stream,
    )  # fmt: skip


def _schedule(dividends: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows of time and amount, by time."""
    accepted = f"accepted are up to {_MOST_DIVIDENDS} pairs (years from now, cash >= 0)"
    try:
        pairs = np.array([(float(time), float(amount)) for time, amount in dividends], np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ParameterError(f"dividends: are no pairs of numbers; {accepted}") from None
    if len(pairs) > _MOST_DIVIDENDS:
        raise ParameterError(f"dividends: {len(pairs)} were given; {accepted}")
    for time, amount in pairs.tolist():
        if not (math.isfinite(time) and math.isfinite(amount) and amount >= 0):
            raise ParameterError(f"dividends: ({time}, {amount}) is no dividend; {accepted}")
    return pairs[np.argsort(pairs[:, 0], kind="stable")]
