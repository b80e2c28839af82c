# SPDX-License-Identifier: Apache-2.0
"""Equity curves of a signal: what following it would have made of one unit, bar by bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _core, config
from ._checks import choice, flag, number, whole
from ._containers import shape, unpack, unpack_like
from ._devices import resolve
from .errors import ParameterError, ShapeError

__all__ = ["curve"]


def curve(
    returns: Any = None,
    signal: Any = None,
    *,
    prices: Any = None,
    starting: float = 1.0,
    decay_per_bar: float = 0.0,
    growth_per_bar: float = 0.0,
    floor: float = 0.25,
    cutout: int = 0,
    neutral: str = "flat",
    exact: bool = True,
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Equity of a position that follows a signal with one bar's delay.

    With `r` the return of a bar, `g = exp(growth_per_bar * (i - cutout))` and `s` the signal of the bar before, the
    exposure is `a = r g` for `s > 0`, `a = -r g` for `s < 0` and, for `s = 0`, what `neutral` says. Then
    ``equity = max(previous * (1 - decay_per_bar) * (1 + a), floor)``, starting from ``max(starting, floor)`` at bar
    `cutout`. It is the equity of adaptive trend classification (docs/atc.md, "Equity"), which uses a decay of 0.0003
    and a growth of 0.00002 per bar.

    Parameters
    ----------
    returns : array, shape (bars,) or (series, bars)
        Simple returns; the first is never used. Any array kind, as for the moving averages. NaN or infinite: an
        unknown return, no exposure on that bar.
    signal : array, same shape
        Position to take: only its sign counts. NaN counts as 0.
    prices : array, same shape
        Closes, in the place of `returns`. A previous close of 0 makes the return unknown.
    starting : float, default 1
        Equity at the first bar.
    decay_per_bar : float, default 0
        Fraction lost on every bar, in [0, 1].
    growth_per_bar : float, default 0
        Rate at which returns gain weight, per bar.
    floor : float, default 0.25
        Equity never falls below it.
    cutout : int, default 0
        Leading bars without equity (NaN).
    neutral : {'flat', 'sticky'}, default 'flat'
        While the signal is 0: no exposure, or the exposure of the last bar that had one, kept as a number.
    exact : bool, default True
        False lets a device cut time into pieces that it computes side by side, for a few long series: products are
        then rounded in another order, and values agree with the exact ones to a relative 1e-12. Elsewhere it changes
        nothing.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    out : array, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams"). By default the one that `returns` or
        `prices` bring.

    Returns
    -------
    array
        Same kind, shape and type as `returns` or `prices`.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.equity.curve([0.0, 0.5, -0.5, 1.0], [1, -1, 0, 0]).tolist()
    [1.0, 1.5, 2.25, 2.25]
    """
    if (returns is None) == (prices is None):
        raise ParameterError("returns: pass either returns or prices, one of the two")
    if signal is None:
        raise ParameterError("signal: is missing")
    choice("neutral", neutral, ("flat", "sticky"))
    from_prices = returns is None
    name, x = ("prices", prices) if from_prices else ("returns", returns)
    numbers = (
        from_prices,
        number("starting", starting),
        number("decay_per_bar", decay_per_bar, 0.0, 1.0),
        number("growth_per_bar", growth_per_bar),
        number("floor", floor),
        whole("cutout", cutout, 0),
        neutral == "sticky",
        flag("exact", exact),
    )
    source = unpack(x, name, axis)
    where = (
        *config._execution(num_threads),
        resolve(device, source.device, name, lambda: source.work("equity", inputs=2), num_threads, stream),
    )
    follows = unpack_like(signal, "signal", source, axis)
    target = out
    if out is not None and isinstance(x, Mapping):
        if not isinstance(out, Mapping) or list(out) != list(x):
            raise ParameterError(f"out: must be a mapping with the keys of {name}, in the same order")
        target = list(out.values())
    if source.labels is None:
        expected, given = shape(source.data, name), shape(follows.data, "signal")
        if None not in (given, expected) and given != expected:
            raise ShapeError(f"signal: has shape {given}, but {name} have shape {expected}")
        result = _core.equity_array(source.data, follows.data, source.axis, *numbers, target, *where)
    else:
        result = _core.equity_columns(source.data, follows.data, source.labels, *numbers, target, *where)
    return out if out is not None else source.wrap(result)
