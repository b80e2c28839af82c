# SPDX-License-Identifier: Apache-2.0
"""Binomial trees (docs/options/american.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warpquant import _rows
from warpquant._checks import choice, flag, whole
from warpquant.errors import ParameterError

__all__ = ["lattice"]

_METHODS = {"crr": "lattice_crr", "leisen_reimer": "lattice_leisen_reimer"}
_LATTICE = _rows.Outputs("lattice_crr")
_FROM_NODES = ("price", "delta", "gamma", "theta")
_MOST_STEPS = 1_000_000


def lattice(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    method: str = "crr",
    steps: int | None = None,
    american: bool = True,
    outputs: str | Iterable[str] = _FROM_NODES,
    return_status: bool = False,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Prices and Greeks of American or European options on a binomial tree.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        As in :func:`american`.
    method : {'crr', 'leisen_reimer'}
        Cox, Ross and Rubinstein (J. Financial Economics 7, 1979), or Leisen and Reimer (Appl. Math. Finance 3, 1996)
        with the second method of Peizer and Pratt.
    steps : int, optional
        Steps of the tree, from 2 to 1,000,000, odd for 'leisen_reimer'; 1000 and 501 if not given.
    american : bool
        Whether the option may be exercised at every step, or at expiry only.
    outputs : tuple of str, or 'all'
        Of ``price``, ``delta``, ``gamma``, ``theta`` (per year of calendar time) and ``status``.
    return_status : bool
        Whether ``status`` is added: 0, or 4 where an argument is invalid or the tree has no probability between 0 and 1
        (a drift too large for the step); such rows are NaN. With a vol or time of 0 results are those of the only path.
    out, num_threads, device, stream
        As in :func:`american`.

    Returns
    -------
    dict
        Name to result, as from :func:`american`.

    Raises
    ------
    ParameterError
        If the method or an output is unknown, or the number of steps is none of those above.

    Notes
    -----
    The Greeks come from nodes of the tree, which begins two steps before today with today's spot in the middle (Pelsser
    and Vorst, The binomial model and the Greeks, J. Derivatives 1, 1994).

    Examples
    --------
    >>> from warpquant import options
    >>> f"{options.lattice(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, 'p', steps=1000)['price']:.4f}"
    '6.0896'
    """
    operation = _METHODS[choice("method", method, _METHODS)]
    count = whole("steps", steps, 2, _MOST_STEPS) if steps is not None else 1000 if method == "crr" else 501
    if method == "leisen_reimer" and count % 2 == 0:
        raise ParameterError(f"steps: {count} is even; method 'leisen_reimer' takes an odd number")
    names = _LATTICE.choose(outputs, status=return_status)
    arguments = (spot, strike, expiry, rate, dividend, vol, _rows.flags(is_call))
    return _rows.call(
        operation,
        arguments,
        _LATTICE,
        names,
        parameters=(float(count), float(flag("american", american))),
        out=out,
        num_threads=num_threads,
        device=device,
        stream=stream,
    )
