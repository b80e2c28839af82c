# SPDX-License-Identifier: Apache-2.0
"""Surfaces that move with every quote (docs/surface/streaming.md)."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, _core, config
from warpquant.errors import ParameterError, StateError

from . import models
from .fits import Floats, certify_svi, fit_svi

if TYPE_CHECKING:
    from .objects import Surface

__all__ = ["STREAM_STATUS", "Stream"]

#: What the codes of `Stream.status` mean, by code.
STREAM_STATUS = ("taken", "outlier", "no quote: strike, volatility and weight must be finite and above 0")
_YEAR = 365.0 * 24.0 * 3600.0
#: A slice whose least g is below this may have been stopped on its way.
_NEAR_ARBITRAGE = 0.05
#: What the error of a slice may rise by in an update before it is looked at.
_RISE = 1.5
#: The share of squared errors that a step from a slice at its best may promise, at most.
_PROMISE = 0.02
#: Errors beside total variance: those that are no matter, and those with which a slice that got worse is fitted again.
_FINE, _POOR = 1e-5, 1e-2
_BY = ("dw_da", "dw_db", "dw_drho", "dw_dm", "dw_dsigma")


class Stream:
    """A surface that quotes move as they come, slice by slice.

    A call takes quotes of one expiry. Those further from the slice than `outlier` deviations (1.4826 median distances
    of the quotes that are remembered, and at least 0.2 % of variance) and than two spreads are left out before they
    move it; where three or more come at once, distances are from their median, and half of that is allowed for, so that
    the market may move. Quotes off to one side, one after the other, are believed once there are `patience` of them. A
    quote replaces the one of its strike; weights of the others halve in `half_life`. Then a few steps lead on: four of
    variable projection for 'svi', six of an interior-point method between the neighbours for 'essvi', which stays free
    of arbitrage. An 'svi' slice goes no further than it has no butterfly arbitrage; where that stops it short of its
    quotes, or the steps do not get there, it is fitted to them by :func:`fit_svi` with `no_arbitrage`, which takes
    tens of times as long as they do. Of the slice that the fit, the steps and the beginning give the nearest is kept.

    An update by arrays of float64 allocates nothing, but for slices that are fitted again; lists and other arrays are
    copied first. One thread at a time works on a stream.

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
        self._svi, self._capacity = surface.model == "svi", capacity
        self._settings = capacity, outlier, patience, simd
        self._core = _core.SurfaceStream(not self._svi, surface.parameters, surface.years, *self._settings)
        #: Of each slice the stream that it is in, and its place there: slices that were fitted again have their own.
        self._homes = [(self._core, place) for place in range(len(surface.expiries))]
        self._cores = [self._core]
        self._latest = self._core
        #: Slices of before and their times, as far as they are known here.
        self._known = list(zip(surface.parameters, surface.years.tolist(), strict=True))
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
        ShapeError, DTypeError
            If arrays are not of one size, or are no numbers.
        """
        place = self._places.get(expiry)
        if place is None:
            raise ParameterError(f"expiry: {expiry!r} is none of the surface's {len(self._places)}")
        before = self._forward[place], self._log_forward[place]
        if forward is not None:
            if not 0 < forward < float("inf"):
                raise ParameterError(f"forward: is {forward!r}; accepted are finite numbers above 0")
            self._forward[place], self._log_forward[place] = float(forward), math.log(forward)
        decay = 1.0 if time is None else self._pass(place, time)
        core, at = self._homes[place]
        self._latest = core
        try:
            self._last = last = core.update(at, (strike, vol, weights, spread), self._log_forward[place], decay)
        except Exception:
            self._forward[place], self._log_forward[place] = before
            raise
        if self._svi and last[0] and (last[3] < _NEAR_ARBITRAGE or not last[2] <= _RISE * self._rmse[place]):
            self._look(place, not last[2] <= _RISE * self._rmse[place])
        else:
            self._rmse[place] = last[2]
        return last[0]

    def _look(self, place: int, worse: bool) -> None:
        """Fits a slice again that was stopped on its way to its quotes, or did not get there."""
        core, at = self._homes[place]
        row, years = core.parameters[at], float(core.years[at])
        rmse = self._last[2]
        strike, vol, weight = _distinct(*core.remembered(at))
        k, w = np.log(strike) - self._log_forward[place], np.square(vol) * years
        if len(k) >= 3 and not _settled(row, k, w, weight, rmse, worse):
            before, then = self._known[place]
            before = before * np.array([years / then, years / then, 1.0, 1.0, 1.0])
            fit = fit_svi(k, w, weight, start=row[None], no_arbitrage=True, num_threads=1)
            rows = np.stack([row, before, fit.parameters[0]])
            errors = np.sum(weight * np.square(models.svi(k, *rows.T[:, :, None])["w"] - w), axis=1)
            errors[np.isnan(errors)] = np.inf
            free = certify_svi(*rows.T, num_threads=1).free
            best = int(np.argmin(np.where(free, errors, np.inf) if free.any() else errors))
            if best != 0:
                row, rmse = rows[best], float(np.sqrt(errors[best] / weight.sum()))
                own = _core.SurfaceStream(False, row[None], np.array([years]), *self._settings)
                most = np.argsort(-weight, kind="stable")[: self._capacity]
                own.remember(0, strike[most], vol[most], weight[most])
                if core is self._core:
                    self._cores.append(own)
                else:
                    self._cores[self._cores.index(core)] = own
                self._homes[place] = (own, 0)
                self._last = (self._last[0], self._last[1], rmse, self._last[3])
        self._known[place] = (row, years)
        self._rmse[place] = rmse

    def start(self, seconds: float) -> None:
        """Begin so many seconds before: the first update, at that `time`, finds its quotes that old."""
        if seconds < 0:
            raise ParameterError(f"quotes: are {-seconds:g} seconds older than the surface")
        self._now = 0.0
        self._times = [0.0] * len(self._times)

    def advance(self, time: float) -> None:
        """Let time pass, to a moment in seconds as `update` takes them, without a quote."""
        if self._now is not None:
            if not time >= self._now:
                raise ParameterError(f"time: is {time!r}, before the last one of {self._now!r}")
            for core in self._cores:
                core.advance((time - self._now) / _YEAR)
        self._now = time

    def _pass(self, place: int, time: float) -> float:
        """Lets time pass; what it leaves of the weights of an expiry."""
        self.advance(time)
        before, self._times[place] = self._times[place], time
        if before is None or self._half_life is None:
            return 1.0
        return float(0.5 ** ((time - before) / self._half_life))

    @property
    def status(self) -> npt.NDArray[np.int8]:
        """Of each quote of the last update: 0 taken, 1 an outlier, 2 no quote. `STREAM_STATUS` has them in words."""
        return np.asarray(self._latest.status, dtype=np.int8)

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

        Raises
        ------
        StateError
            If all of them have passed.
        """
        memory = {}
        years = np.array([core.years[at] for core, at in self._homes])
        parameters = np.stack([core.parameters[at] for core, at in self._homes])
        left = years > 0
        if not left.any():
            raise StateError("expiries: all of the surface's have passed")
        for name, place in self._places.items():
            if not left[place]:
                continue
            core, at = self._homes[place]
            memory[name] = _distinct(*core.remembered(at))
        before = self._surface
        return dataclasses.replace(
            before, expiries=tuple(memory), parameters=parameters[left], years=years[left],
            forward=np.array(self._forward)[left], rate=before.rate[left], rmse=self._rmse[left],
            as_of=before.as_of if as_of is None else np.datetime64(as_of), quotes=None, memory=memory,
        )  # fmt: skip


def _settled(row: Floats, k: Floats, w: Floats, weight: Floats, rmse: float, worse: bool) -> bool:
    """Whether a slice is as near to quotes as it gets: Gauss and Newton's step from it promises next to nothing."""
    total, level = float(weight.sum()), float(np.average(w, weights=weight))
    if not rmse > _FINE * level:
        return True
    if worse and rmse > _POOR * level:  # it may be at its best and there be another one
        return False
    made = models.svi(k, *row.tolist(), outputs=("w", *_BY))
    root = np.sqrt(weight)
    off = root * (w - made["w"])
    slopes = np.stack([root * made[name] for name in _BY], axis=1)
    if not np.isfinite(slopes).all():
        return False
    rest = off - slopes @ np.linalg.lstsq(slopes, off, rcond=None)[0]
    gain = float(off @ off - rest @ rest)
    return not (gain > _PROMISE * float(off @ off) and gain > total * (_FINE * level) ** 2)


def _distinct(log_strike: Floats, vol: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Strikes, volatilities and weights of remembered quotes: of strikes that rounding alone tells apart the last."""
    strike = np.exp(log_strike)
    if len(strike) == 0:
        return strike, vol, weight
    # Strikes of a few digits have their own bits again, by which the next quotes of them are known.
    step = 10.0 ** (9.0 - np.floor(np.log10(strike)))
    short = np.round(strike * step) / step
    strike = np.where(np.abs(short - strike) <= 4e-15 * strike, short, strike)
    order = np.lexsort((np.arange(len(strike)), strike))
    # They are next to each other; the order among those is that of their coming.
    run = np.cumsum(np.r_[0, np.diff(strike[order]) > 1e-14 * strike[order][1:]])
    last = np.zeros(run[-1] + 1, np.intp)
    np.maximum.at(last, run, order)
    last.sort()
    return strike[last], vol[last], weight[last]


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
        made[name] = (used.chain.strike[rows], used.vol[rows], used.weight[rows])
    return made
