# SPDX-License-Identifier: Apache-2.0
"""Surfaces that move with every quote (docs/surface/streaming.md)."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, _core, config
from warpquant.errors import ParameterError

from .fits import Floats

if TYPE_CHECKING:
    from .objects import Surface

__all__ = ["STREAM_STATUS", "Stream"]

#: What the codes of `Stream.status` mean, by code.
STREAM_STATUS = ("taken", "outlier", "no quote: strike, volatility and weight must be finite and above 0")
_YEAR = 365.0 * 24.0 * 3600.0


class Stream:
    """A surface that quotes move as they come, slice by slice.

    A call takes quotes of one expiry. Those further from the slice than `outlier` deviations (1.4826 median distances
    of the quotes that are remembered, and at least 0.2 % of variance) and than two spreads are left out before they
    move it; where three or more come at once, distances are from their median, and half of that is allowed for, so that
    the market may move. Quotes off to one side, one after the other, are believed once there are `patience` of them. A
    quote replaces the one of its strike; weights of the others halve in `half_life`. Then a few steps lead on: four of
    variable projection for 'svi', six of an interior-point method between the neighbours for 'essvi', which stays free
    of arbitrage. An 'svi' slice goes no further than it has no butterfly arbitrage.

    The compiled part keeps its room between calls and asks for none. One thread at a time works on a stream.

    Parameters
    ----------
    surface : Surface
        Where to begin; quotes that it was fitted to are remembered.
    half_life : float, optional
        Seconds in which the weight of a quote halves; without it quotes count until they are replaced.
    outlier : float, default 4
        Deviations that a quote may be off.
    patience : int, default 5
        Quotes in a row, off to one side, that are believed.
    capacity : int, default 256
        Quotes that are remembered of an expiry; beyond that the one with the least weight goes.

    Raises
    ------
    ParameterError
        If an argument is out of range, or the surface is of a model without slices that can move.

    Examples
    --------
    >>> from warpquant import data, surface
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> stream = surface.Stream(goog, half_life=60.0)
    >>> stream.update(goog.expiries[3], [730.0, 740.0], [float(goog.vol(s, goog.years[3])) for s in (730.0, 740.0)])
    2
    >>> stream.surface().check().ok
    True
    """

    def __init__(
        self, surface: Surface, *, half_life: float | None = None, outlier: float = 4.0, patience: int = 5,
        capacity: int = 256,
    ) -> None:  # fmt: skip
        _checks.choice("surface.model", surface.model, ("essvi", "svi"))
        if half_life is not None and not half_life > 0:
            raise ParameterError(f"half_life: is {half_life!r}; accepted are seconds above 0")
        if not outlier > 0:
            raise ParameterError(f"outlier: is {outlier!r}; accepted are numbers above 0")
        patience, capacity = _checks.whole("patience", patience, 1), _checks.whole("capacity", capacity, 5)
        self._surface = surface
        self._half_life = half_life
        self._places = {name: i for i, name in enumerate(surface.expiries)}
        self._forward = surface.forward.tolist()
        self._log_forward = np.log(surface.forward).tolist()
        self._now: float | None = None
        self._times: list[float | None] = [None] * len(surface.expiries)
        self._rmse = np.full(len(surface.expiries), np.nan)
        if surface.rmse is not None:
            self._rmse[:] = surface.rmse
        self._last: tuple[int, int, float, float] = (0, 0, float("nan"), float("nan"))
        _, simd = config._execution(None)
        self._core = _core.SurfaceStream(
            surface.model == "essvi", surface.parameters, surface.years, capacity, outlier, patience, simd
        )
        for name, (strike, vol, weight) in _memory_of(surface).items():
            if name in self._places:
                most = np.argsort(-weight, kind="stable")[:capacity]
                self._core.remember(self._places[name], strike[most], vol[most], weight[most])

    def update(
        self, expiry: str, strike: Any, vol: Any, weights: Any = None, *, spread: Any = None,
        forward: float | None = None, time: float | None = None,
    ) -> int:  # fmt: skip
        """Quotes of one expiry.

        Parameters
        ----------
        expiry : str
            One of the surface's.
        strike, vol : float or array, shape (quotes,)
            Quotes; those with a number that is not finite and above 0 do not count.
        weights : float or array, shape (quotes,), optional
            Of squared errors in total variance, beside those of the quotes that the surface was fitted to, the largest
            of which is 1; those of :func:`vega_weights` by default.
        spread : float or array, shape (quotes,), optional
            Of bid and ask volatility.
        forward : float, optional
            Forward price of the expiry from now on.
        time : float, optional
            Seconds, of any clock: what has passed since the last update fades quotes and is taken off times to expiry.

        Returns
        -------
        int
            How many quotes were taken.

        Raises
        ------
        ParameterError
            If there is no such expiry, or time goes back.
        ShapeError
            If arrays are not of one size.
        """
        place = self._places.get(expiry)
        if place is None:
            raise ParameterError(f"expiry: {expiry!r} is none of the surface's {len(self._places)}")
        if forward is not None:
            if not 0 < forward < float("inf"):
                raise ParameterError(f"forward: is {forward!r}; accepted are finite numbers above 0")
            self._forward[place], self._log_forward[place] = float(forward), math.log(forward)
        decay = 1.0 if time is None else self._pass(place, time)
        self._last = self._core.update(place, strike, vol, weights, spread, self._log_forward[place], decay)
        self._rmse[place] = self._last[2]
        return self._last[0]

    def start(self, seconds: float) -> None:
        """Begin so many seconds before: the first update, at that `time`, finds its quotes that old."""
        if seconds < 0:
            raise ParameterError(f"quotes: are {-seconds:g} seconds older than the surface")
        self._now = 0.0
        self._times = [0.0] * len(self._times)

    def _pass(self, place: int, time: float) -> float:
        """Lets time pass; what it leaves of the weights of an expiry."""
        if self._now is not None:
            if not time >= self._now:
                raise ParameterError(f"time: is {time!r}, before the last one of {self._now!r}")
            self._core.advance((time - self._now) / _YEAR)
        self._now = time
        before, self._times[place] = self._times[place], time
        if before is None or self._half_life is None:
            return 1.0
        return float(0.5 ** ((time - before) / self._half_life))

    @property
    def status(self) -> npt.NDArray[np.int8]:
        """Of each quote of the last update: 0 taken, 1 an outlier, 2 no quote. `STREAM_STATUS` has them in words."""
        return np.asarray(self._core.status, dtype=np.int8)

    @property
    def rounds(self) -> int:
        """Steps of the last update."""
        return self._last[1]

    @property
    def rmse(self) -> Floats:
        """Weighted root mean squared error of total variance of each slice."""
        return np.array(self._rmse)

    def surface(self, as_of: Any = None) -> Surface:
        """The surface as it is now, without expiries that have passed.

        Parameters
        ----------
        as_of : datetime64, optional
            Its moment; that of the surface before by default.
        """
        memory = {}
        years = self._core.years
        left = years > 0
        for name, place in self._places.items():
            if not left[place]:
                continue
            log_strike, vol, weight = self._core.remembered(place)
            memory[name] = (np.exp(log_strike), vol, weight)
        before = self._surface
        return dataclasses.replace(
            before, expiries=tuple(memory), parameters=self._core.parameters[left], years=years[left],
            forward=np.array(self._forward)[left], rate=before.rate[left], rmse=self._rmse[left],
            as_of=before.as_of if as_of is None else np.datetime64(as_of), quotes=None, memory=memory,
        )  # fmt: skip


def _memory_of(surface: Surface) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Strikes, volatilities and weights of the quotes of each expiry that a surface remembers."""
    if surface.memory is not None:
        return dict(surface.memory)
    used = surface.quotes
    if used is None:
        return {}
    made = {}
    for name in surface.expiries:
        rows = used.kept & (used.chain.expiry == name)
        made[name] = (used.forward[rows] * np.exp(used.k[rows]), used.vol[rows], used.weight[rows])
    return made
