# SPDX-License-Identifier: Apache-2.0
"""Surfaces: volatilities, prices, Greeks and densities of every strike and expiry (docs/surface/surface.md)."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, options
from warpquant.errors import ParameterError, ShapeError, StateError
from warpquant.options._product import Product
from warpquant.options.chain import Chain

from . import bands as _bands
from . import mixture, models
from .essvi import balanced, essvi_to_svi, fit_essvi
from .fits import (
    CERTIFICATE_STATUS,
    FIT_STATUS,
    Certificate,
    Crossings,
    Floats,
    certify_svi,
    fit_svi,
    floats,
    plain,
    svi_crossings,
)
from .quotes import REASONS, Quotes, clean
from .stream import Stream

__all__ = ["Check", "Surface"]

_VERSION = 1
#: What `to_dict` writes of every surface.
_WRITTEN = ("model", "expiries", "years", "parameters", "forward", "rate", "spot", "rmse", "skipped", "as_of")
_BETWEEN = {model: Product(f"{model}_surface") for model in ("essvi", "svi")}
_MODELS = ("essvi", "svi", "mixture")
#: Weights of one-sided quotes that a fit is beyond, beside the median of their expiry's, one fit after the other.
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
#: What a difference may be below 0, of the size of what is added up in it: what rounding leaves.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Check:
    """Whether a surface has static arbitrage, with proofs.

    Attributes
    ----------
    butterfly : Certificate
        Of each slice. Of a mixture the proof is that all masses are positive; `min_g` is the least seen at 401 places.
    calendar : Crossings
        Of each slice and the next. Of a mixture `slack` is not in total variance: it is the least that calls on the
        later discrete law are worth more, in units of the forward, over its nodes, which decide for all strikes.
    expiries : tuple of str
        The slices.
    tolerance : ndarray of float64, shape (slices - 1,)
        What `calendar.slack` may be below 0, as rounding leaves it: 1e-12 of the terms that total variance is the sum
        of where it is; of a mixture 1e-12.
    """

    butterfly: Certificate
    calendar: Crossings
    expiries: tuple[str, ...]
    tolerance: Floats

    @property
    def ok(self) -> bool:
        """No butterfly and no calendar arbitrage."""
        return not self.violations()

    def violations(self) -> list[str]:
        """What is wrong and where, in words."""
        found = []
        for i, name in enumerate(self.expiries):
            status = int(self.butterfly.status[i])
            if status == 1:
                least, at = self.butterfly.min_g[i], self.butterfly.at[i]
                found.append(f"butterfly: {name} has g = {least:.3g} at k = {at:.4g}")
            elif status > 1:
                found.append(f"butterfly: {name} is {CERTIFICATE_STATUS[status]}")
        for i in range(len(self.expiries) - 1):
            if self.calendar.slack[i] < -self.tolerance[i] or self.calendar.count[i] < 0:
                slack, at = self.calendar.slack[i], self.calendar.slack_at[i]
                names = f"{self.expiries[i]} and {self.expiries[i + 1]}"
                found.append(f"calendar: total variance falls by {-slack:.3g} at k = {at:.4g} between {names}")
        return found

    def __repr__(self) -> str:
        wrong = self.violations()
        least = float(np.min(self.butterfly.min_g)) if len(self.expiries) else float("nan")
        return f"Check({'no arbitrage' if not wrong else f'{len(wrong)} violations'}, min g {least:.3g})"


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """Total variance of every strike and expiry. It does not change; `update` makes a new one.

    Between expiries 'essvi' is linear in theta, psi and chi, which keeps it free of arbitrage; 'svi' is linear in total
    variance at equal ln(strike / forward), which keeps the order in time; 'mixture' mixes the laws. Before the first
    expiry total variance falls in proportion to the time, after the last it rises as at-the-money variance did.
    Forwards are interpolated in their logarithm, discount factors too.

    Attributes
    ----------
    model : {'essvi', 'svi', 'mixture'}
        What slices are.
    expiries : tuple of str
        What they are called.
    years : ndarray of float64, shape (slices,)
        Times to expiry, in ascending order.
    parameters : ndarray of float64, shape (slices, 3) or (slices, 5)
        theta, psi, chi; or a, b, rho, m, sigma. Of 'mixture' those of its eSSVI backbone.
    forward, rate : ndarray of float64, shape (slices,)
        Forward price, and continuously compounded rate to expiry.
    spot : float or None
        Price of the underlying.
    rmse : ndarray of float64, shape (slices,)
        Weighted root mean squared error of total variance; of a mixture that of prices, in half spreads.
    skipped : mapping of str to str
        Expiries that have no slice, and why.
    as_of : datetime64 or None
        The moment.
    quotes : Quotes or None
        What it was fitted to.
    slices : tuple of Mixture
        Of 'mixture' the law of each expiry.
    memory : mapping or None
        Of a surface that was updated: strikes, volatilities and weights that it remembers of each expiry.

    Examples
    --------
    >>> from warpquant import data, surface
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> goog.check().ok
    True
    >>> bool(0.1 < goog.vol(740.0, 0.25) < 0.5)
    True
    """

    model: str
    expiries: tuple[str, ...]
    years: Floats
    parameters: Floats
    forward: Floats
    rate: Floats
    spot: float | None = None
    rmse: Floats | None = None
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    as_of: np.datetime64 | None = None
    quotes: Quotes | None = dataclasses.field(default=None, repr=False, compare=False)
    slices: tuple[mixture.Mixture, ...] = dataclasses.field(default=(), repr=False, compare=False)
    memory: Mapping[str, tuple[Floats, Floats, Floats]] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )
    _table: tuple[float, ...] = dataclasses.field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        _checks.choice("model", self.model, _MODELS)
        width = 5 if self.model == "svi" else 3
        for name in ("years", "forward", "rate", "parameters"):
            values = np.array(getattr(self, name), dtype=np.float64)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        n = len(self.years)
        if self.parameters.shape != (n, width) or self.forward.shape != (n,) or self.rate.shape != (n,) or n == 0:
            raise ShapeError(
                f"parameters, forward, rate: have shapes {self.parameters.shape}, {self.forward.shape} and "
                f"{self.rate.shape}; accepted are ({n}, {width}), ({n},) and ({n},), of at least one expiry"
            )
        if len(self.expiries) != n:
            raise ShapeError(f"expiries: has {len(self.expiries)} names; accepted are {n}, one for each slice")
        if not (np.isfinite(self.forward).all() and (self.forward > 0).all()):
            raise ParameterError("forward: must be finite and above 0")
        if len(self.slices) != (n if self.model == "mixture" else 0):
            raise ShapeError(f"slices: has {len(self.slices)}; accepted are {n} of a mixture, and none of other models")
        if not (np.isfinite(self.years).all() and (self.years > 0).all() and (np.diff(self.years) > 0).all()):
            raise ParameterError("years: must be finite, above 0 and in ascending order")
        object.__setattr__(self, "_table", self._records())

    def __repr__(self) -> str:
        times = f"{self.years[0]:.4g} to {self.years[-1]:.4g} years"
        some = "" if self.quotes is None else f", {int(self.quotes.kept.sum()):,} quotes"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        bounds = 0 if self.quotes is None or self.quotes.bound is None else len(self.broken())
        beyond = f", {bounds} bound{'s' if bounds > 1 else ''} broken" if bounds else ""
        moment = "" if self.as_of is None else f", {self.as_of}"
        return f"Surface({self.model}, {len(self.years)} expiries of {times}{skipped}{some}{beyond}{moment})"

    @classmethod
    def fit(
        cls, quotes: Any, *, model: str = "essvi", previous: Surface | None = None, no_arbitrage: bool = True,
        num_threads: int | None = None, **cleaning: Any,
    ) -> Surface:  # fmt: skip
        """The surface nearest to quotes.

        Parameters
        ----------
        quotes : Quotes, or anything that `clean` takes
            Quotes.
        model : {'essvi', 'svi', 'mixture'}
            'essvi' is free of arbitrage by construction; 'svi' fits each expiry by itself, more closely; 'mixture' has
            both, no parameters to speak of, and takes a hundred times as long.
        previous : Surface, optional
            Where to begin.
        no_arbitrage : bool, default True
            For 'svi': move slices with butterfly arbitrage to the best that have none. What slices of different
            expiries have among them is left, and said by `check`.
        num_threads : int, optional
            CPU threads.
        **cleaning
            For `clean`.

        Returns
        -------
        Surface

        Raises
        ------
        ParameterError
            If the model is unknown, or no expiry has three quotes that can be believed; the message counts the
            reasons.
        """
        _checks.choice("model", model, _MODELS)
        if isinstance(quotes, Quotes):
            if cleaning:
                raise ParameterError(f"{next(iter(cleaning))}: is for quotes that are yet to be cleaned")
            used = quotes
        else:
            used = clean(quotes, num_threads=num_threads, **cleaning)
        made = cls._fit(used, model, previous, no_arbitrage, num_threads)
        # One-sided quotes that it is beyond are taken in, with more weight each time; `broken` says what is left.
        beyond = np.zeros(0, np.intp)
        for factor in _PENALTIES:
            new = used.broken(made._vol_of(used))
            if len(new) == 0:
                break
            beyond = np.union1d(beyond, new)
            made = cls._fit(used.with_bounds(beyond, factor), model, previous, no_arbitrage, num_threads)
        return made if len(beyond) == 0 else dataclasses.replace(made, quotes=used)

    @classmethod
    def _fit(
        cls, used: Quotes, model: str, previous: Surface | None, no_arbitrage: bool, num_threads: int | None
    ) -> Surface:
        k, w, weight, offsets, names = used.smiles()
        if not names:
            said = ", ".join(f"{n} {reason}" for reason, n in used.counts().items())
            raise ParameterError(f"quotes: none of {len(used.reason)} can be used: {said or 'there are none'}")
        terms = [used.chain.terms[name] for name in names]
        skipped = {name: _why(used, name) for name in used.chain.terms if name not in names}
        years = np.array([t.years for t in terms])
        start = None if previous is None or previous.model != model else previous._start(names, years)
        slices: tuple[mixture.Mixture, ...] = ()
        if model == "essvi":
            surface = fit_essvi(k, w, balanced(k, w, weight, offsets), offsets, start=start)
            parameters, rmse = surface.parameters, surface.rmse
        elif model == "mixture":
            bid, ask = (np.square(v) * used.chain.years for v in (used.bid_vol, used.ask_vol))
            mixed = mixture.fit_mixture(k, w, used.in_smiles(bid), used.in_smiles(ask), offsets, start=start)
            parameters, rmse, slices = mixed.backbone.parameters, mixed.rmse, mixed.slices
        else:
            fit = fit_svi(k, w, weight, offsets, start=start, no_arbitrage=no_arbitrage, num_threads=num_threads)
            fitted = fit.status != 2
            for i in np.nonzero(~fitted)[0].tolist():
                skipped[names[i]] = f"{FIT_STATUS[2]}: {fit.quotes[i]} with a weight above 0, or of one or two strikes"
            if not fitted.any():
                raise ParameterError(f"quotes: no expiry can be fitted; {names[0]} has {skipped[names[0]]}")
            parameters, rmse, years = fit.parameters[fitted], fit.rmse[fitted], years[fitted]
            left = np.nonzero(fitted)[0].tolist()
            names, terms = [names[i] for i in left], [terms[i] for i in left]
        spots = used.chain.spot[np.isfinite(used.chain.spot)]
        return cls(
            model, tuple(names), years, parameters, np.array([t.forward for t in terms]),
            np.array([t.rate for t in terms]), float(np.median(spots)) if len(spots) else None, rmse, skipped,
            used.chain.as_of, used, slices,
        )  # fmt: skip

    def _start(self, names: list[str], years: Floats) -> Floats:
        """Parameters to begin with at other expiries: of slices of the same name, or interpolated."""
        if self.model != "svi":
            return np.ascontiguousarray(self._essvi(years)[0].T)
        known = {name: row for name, row in zip(self.expiries, self.parameters, strict=True)}
        return np.stack([known.get(name, np.full(5, np.nan)) for name in names])

    def update(
        self, quotes: Any, *, half_life: float | None = None, outlier: float = 4.0, num_threads: int | None = None,
        **cleaning: Any,
    ) -> Surface:  # fmt: skip
        """A new surface from newer quotes, begun where this one is.

        Expiries with quotes move by a few steps, as in :class:`Stream`: quotes that are off are left out, older ones
        fade and count where there are none of their strike. An 'svi' slice that butterfly arbitrage stops short of its
        quotes, or that steps do not lead to them, is fitted again, with `no_arbitrage`. Other expiries stay as they
        are; time that has passed between the moments of the two is taken off all, also where no quote is kept. Should
        an expiry be new, all are fitted again, to the new quotes alone.

        Parameters
        ----------
        quotes : Quotes, or anything that `clean` takes
            Quotes.
        half_life : float, optional
            Seconds in which the weight of a quote halves; without it quotes count until they are replaced.
        outlier : float, default 4
            Deviations that a quote may be off.
        num_threads : int, optional
            CPU threads.
        **cleaning
            For `clean`; what is not said is as it was for the quotes of this surface.

        Returns
        -------
        Surface

        Raises
        ------
        ParameterError
            If quotes are older than the surface, or as in `clean`.
        StateError
            If all expiries have passed.
        """
        used = quotes if isinstance(quotes, Quotes) else self._clean(quotes, num_threads, cleaning)
        names = [name for name in used.chain.terms if (used.kept & (used.chain.expiry == name)).any()]
        if self.model == "mixture" or not set(names) <= set(self.expiries):
            return Surface.fit(used, model=self.model, previous=self, num_threads=num_threads)
        seconds = 0.0
        if self.as_of is not None and used.chain.as_of is not None:
            seconds = float((used.chain.as_of - self.as_of) / np.timedelta64(1, "ms")) / 1e3
        stream = Stream(self, half_life=half_life, outlier=outlier)
        stream.start(seconds)
        for name in names:
            rows = used.kept & (used.chain.expiry == name)
            spread = used.ask_vol[rows] - used.bid_vol[rows]
            stream.update(
                name, used.chain.strike[rows], used.vol[rows], used.weight[rows],
                spread=np.where(np.isfinite(spread), spread, 0.0), forward=used.chain.terms[name].forward, time=seconds,
            )  # fmt: skip
        stream.advance(seconds)  # also where there is no quote
        made = stream.surface(used.chain.as_of)
        rates = dict(zip(self.expiries, self.rate.tolist(), strict=True))
        rates.update((name, used.chain.terms[name].rate) for name in names)
        rate = np.array([rates[name] for name in made.expiries])
        spots = used.chain.spot[np.isfinite(used.chain.spot)]
        return dataclasses.replace(made, rate=rate, spot=float(np.median(spots)) if len(spots) else self.spot,
                                   quotes=used)  # fmt: skip

    def _clean(self, quotes: Any, num_threads: int | None, cleaning: Mapping[str, Any]) -> Quotes:
        """Quotes cleaned as those that the surface was fitted to, but for what is said."""
        settings = {} if self.quotes is None else dict(self.quotes.settings)
        if isinstance(quotes, Chain):  # it is read already
            own = inspect.signature(clean).parameters
            settings = {name: value for name, value in settings.items() if name in own}
        return clean(quotes, num_threads=num_threads, **{**settings, **cleaning})

    def _place(self, years: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
        """The slice before, and how much of the way to the next; below 0 before the first, above 1 after the last."""
        after = np.clip(np.searchsorted(self.years, years), 1, max(len(self.years) - 1, 1))
        before = np.asarray(after - 1)
        if len(self.years) == 1:
            return before, np.zeros(years.shape)
        return before, (years - self.years[before]) / (self.years[before + 1] - self.years[before])

    def _essvi(self, years: Floats) -> tuple[Floats, Floats]:
        """theta, psi and chi at times, and what they change by in a year; shape (3, ...)."""
        nodes = self.parameters.T
        before, share = self._place(years)
        after = np.minimum(before + 1, len(self.years) - 1)
        gap = np.where(after > before, self.years[after] - self.years[before], 1.0)
        slope = (nodes[:, after] - nodes[:, before]) / gap
        value = nodes[:, before] + share * gap * slope
        first = years < self.years[0]
        ratio = nodes[:, :1] / self.years[0]
        flat = np.reshape(ratio, (3,) + (1,) * years.ndim) * np.ones(years.shape)
        value, slope = np.where(first, flat * years, value), np.where(first, flat, slope)
        last = years > self.years[-1]
        end = np.reshape(nodes[:, -1], (3,) + (1,) * years.ndim) * np.ones(years.shape)
        # Only theta rises: constant wings and a falling phi stay free of arbitrage.
        rise = (
            self._last_rise() * np.reshape(np.array([1.0, 0.0, 0.0]), (3,) + (1,) * years.ndim) * np.ones(years.shape)
        )
        value = np.where(last, end + rise * (years - self.years[-1]), value)
        return value, np.where(last, rise, slope)

    def _last_rise(self) -> float:
        """At-the-money variance a year, beyond the last expiry."""
        money = self.parameters[:, 0] if self.model != "svi" else models.svi(0.0, *self.parameters.T)["w"]
        if len(self.years) == 1:
            return float(money[0] / self.years[0])
        return max(float((money[-1] - money[-2]) / (self.years[-1] - self.years[-2])), 0.0)

    def _records(self) -> tuple[float, ...]:
        """What the core knows of a surface: how many slices, their times, and a record for each piece of time.

        Records are 8 or 16 numbers long, as packs of the core are.
        """
        if self.model == "mixture":
            return ()
        n, years, rows = len(self.years), self.years, self.parameters
        made: list[float] = [float(n), *years.tolist()]
        if self.model == "essvi":
            made += [0.0, 0.0, 0.0, 0.0, *(rows[0] / years[0]).tolist(), 0.0]
            for i in range(n - 1):
                slope = (rows[i + 1] - rows[i]) / (years[i + 1] - years[i])
                made += [float(years[i]), *rows[i].tolist(), *slope.tolist(), 0.0]
            # Only theta rises: constant wings and a falling phi stay free of arbitrage.
            made += [float(years[-1]), *rows[-1].tolist(), self._last_rise(), 0.0, 0.0, 0.0]
            return tuple(made)
        rest = [0.0] * 4
        made += [0.0, float(1.0 / years[0]), 0.0, 0.0, 0.0, 0.0, 1.0, *rows[0].tolist(), *rest]
        for i in range(n - 1):
            step = float(1.0 / (years[i + 1] - years[i]))
            made += [float(years[i]), step, *rows[i].tolist(), *rows[i + 1].tolist(), *rest]
        last = rows[-1].tolist()
        made += [float(years[-1]), 1.0, *last, last[0] + self._last_rise(), *last[1:], *rest]
        return tuple(made)

    def evaluate(
        self, k: Any, years: Any, *, outputs: str | Iterable[str] = ("w",), out: Mapping[str, Any] | None = None,
        num_threads: int | None = None, device: str | None = None, stream: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Total variance, its derivatives and what follows from them, at points.

        Parameters
        ----------
        k, years : float or array
            ln(strike / forward) and times, of any array kind, in memory of the host or of a device. They broadcast.
        outputs : str or tuple of str
            Of 'w', 'vol', 'dw', 'd2w' (by k), 'dw_dt', 'g', 'density' (of ln(S / forward)), 'local_variance'; or 'all'.
        out : mapping, optional
            Output to the array that takes it.
        num_threads, device, stream
            As in :func:`warpquant.options.greeks`.

        Returns
        -------
        dict
            Output to result; NaN at times not above 0, and for the local variance where there is arbitrage.

        Raises
        ------
        ParameterError
            If an output is unknown.
        ShapeError
            If arguments do not broadcast.
        """
        if self.model == "mixture":
            raise ParameterError("model: mixtures are evaluated by `vol`, `total_variance`, `density` and `local_vol`")
        return _BETWEEN[self.model]((k, years), outputs, out, num_threads, device, stream, self._table)

    def _curve(self, k: Floats, years: Floats, outputs: tuple[str, ...]) -> dict[str, Any]:
        """Outputs of `evaluate` at points of arrays."""
        if self.model == "mixture":
            valid = years > 0
            at, floor = np.where(valid, years, self.years[0]), self.parameters[:, 0]
            made = mixture.curve(self.slices, self.years, floor, self._last_rise(), k, at, outputs)
            return {name: np.where(valid, values, np.nan) for name, values in made.items()}
        return _BETWEEN[self.model]((k, years), outputs, None, None, None, None, self._table)

    def forward_at(self, years: Any) -> Any:
        """Forward price of a time, in years: from the spot, if there is one, through the forwards of the expiries."""
        times, logs = self.years, np.log(self.forward)
        if self.spot is not None:
            times, logs = np.r_[0.0, times], np.r_[np.log(self.spot), logs]
        return plain(np.exp(_linear(floats(years, "years"), times, logs)))

    def rate_at(self, years: Any) -> Any:
        """Continuously compounded rate to a time, in years."""
        at = floats(years, "years")
        log = _linear(at, np.r_[0.0, self.years], np.r_[0.0, self.rate * self.years])
        with np.errstate(invalid="ignore", divide="ignore"):
            return plain(np.where(at > 0, log / at, self.rate[0]))

    def total_variance(self, k: Any, years: Any) -> Any:
        """Total variance vol^2 T at k = ln(strike / forward) and a time in years; NaN at times not above 0."""
        place, at = np.broadcast_arrays(floats(k, "k"), floats(years, "years"))
        return plain(self._curve(place, at, ("w",))["w"])

    def vol(self, strike: Any, years: Any) -> Any:
        """Implied volatility of a strike and a time in years; they broadcast."""
        k, at = self._k(strike, years)
        return plain(np.sqrt(self._curve(k, at, ("w",))["w"] / at))

    def _k(self, strike: Any, years: Any) -> tuple[Floats, Floats]:
        struck, at = np.broadcast_arrays(floats(strike, "strike"), floats(years, "years"))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(struck / self.forward_at(at)), at

    def density(self, strike: Any, years: Any) -> Any:
        """Risk-neutral density of the underlying's price at a time in years, at prices `strike`."""
        k, at = self._k(strike, years)
        return plain(self._curve(k, at, ("density",))["density"] / np.asarray(strike, dtype=np.float64))

    def local_vol(self, price: Any, years: Any) -> Any:
        """Dupire's local volatility at prices of the underlying and times in years; NaN where there is arbitrage."""
        k, at = self._k(price, years)
        made = self._curve(k, at, ("dw_dt", "g"))
        with np.errstate(invalid="ignore", divide="ignore"):
            good = (made["g"] > 0) & (made["dw_dt"] >= 0)
            return plain(np.sqrt(np.where(good, made["dw_dt"] / made["g"], np.nan)))

    def price(self, strike: Any, years: Any, is_call: Any) -> Any:
        """Prices of European options."""
        vol, at = self.vol(strike, years), floats(years, "years")
        return options.price(
            self.forward_at(at), strike, at, self.rate_at(at), 0.0, vol, is_call, model="black76"
        )["price"]  # fmt: skip

    def greeks(
        self, strike: Any, years: Any, is_call: Any, *,
        outputs: str | Iterable[str] = ("price", "delta", "gamma", "vega", "theta", "rho"), sticky: str = "strike",
    ) -> dict[str, Any]:  # fmt: skip
        """Greeks of European options.

        Parameters
        ----------
        strike, years, is_call
            They broadcast; as in :func:`warpquant.options.greeks`.
        outputs : str or tuple of str
            As there. Where the surface has a spot, sensitivities are to it, else to the forward.
        sticky : {'strike', 'moneyness'}
            What keeps its volatility when the underlying moves: a strike, or a ratio of strike and forward. With
            'moneyness' delta and gamma have the volatility's own move in them; other outputs are as they are.

        Returns
        -------
        dict
            Output to result.

        Raises
        ------
        ParameterError
            If `sticky` or an output is unknown.
        """
        _checks.choice("sticky", sticky, ("strike", "moneyness"))
        k, at = self._k(strike, years)
        curve = self._curve(k, at, ("w", "dw", "d2w"))
        vol = np.sqrt(curve["w"] / at)
        forward, rate = np.asarray(self.forward_at(at)), np.asarray(self.rate_at(at))
        if self.spot is None:
            first, model = forward, "black76"
            dividend: Any = 0.0
        else:
            first, model = np.full(at.shape, self.spot), "bsm"
            with np.errstate(invalid="ignore", divide="ignore"):
                dividend = rate - np.log(forward / self.spot) / at
        names = outputs if outputs == "all" else (outputs,) if isinstance(outputs, str) else tuple(outputs)
        moves = sticky == "moneyness" and (names == "all" or bool({"delta", "gamma"} & set(names)))
        needed = names
        if moves and names != "all":
            needed = tuple(dict.fromkeys([*names, "delta", "gamma", "vega", "vanna", "volga"]))
        made = options.greeks(first, strike, at, rate, dividend, vol, is_call, model=model, outputs=needed)
        if moves:
            # vol(k) with k = ln(K / F): what it moves by with the underlying.
            by_k = curve["dw"] / (2.0 * vol * at)
            by_k2 = (curve["d2w"] / at - 2.0 * by_k * by_k) / (2.0 * vol)
            slope, bend = -by_k / first, (by_k2 + by_k) / first**2
            gamma = made["gamma"] + 2.0 * made["vanna"] * slope + made["volga"] * slope**2 + made["vega"] * bend
            made["delta"], made["gamma"] = made["delta"] + made["vega"] * slope, gamma
        return {name: plain(values) for name, values in made.items() if names == "all" or name in names}

    def raw(self) -> Floats:
        """Raw SVI parameters a, b, rho, m, sigma, shape (slices, 5); of a mixture those of its backbone."""
        return self.parameters if self.model == "svi" else essvi_to_svi(self.parameters)

    def check(self) -> Check:
        """Static arbitrage: the least g of each slice, proven, and exactly where slices cross."""
        if self.model == "mixture":
            return Check(*mixture.certify(self.slices), self.expiries, np.full(len(self.years) - 1, _ROUNDING))
        raw = self.raw()
        found = svi_crossings(raw[:-1], raw[1:])
        size = np.maximum(*(_size(part, found.slack_at) for part in (raw[:-1], raw[1:])))
        return Check(certify_svi(*raw.T), found, self.expiries, _ROUNDING * size)

    def broken(self) -> npt.NDArray[np.intp]:
        """Rows of `quotes` with a bid or an ask alone (reason 'bound') that the surface is on the wrong side of.

        The fit takes such quotes in with ever more weight; where other quotes, or what a slice can do, are against
        them, it ends before it is on their side. By more than 1e-9 in volatility.

        Raises
        ------
        StateError
            If the surface has no quotes.

        Examples
        --------
        >>> from warpquant import data, surface
        >>> quotes = surface.clean(data.goog_options(), exercise="american", one_sided="bound")
        >>> fitted = surface.Surface.fit(quotes)
        >>> len(fitted.broken()) < quotes.counts()["bound"]
        True
        """
        if self.quotes is None:
            raise StateError("quotes: the surface was not fitted to any")
        return self.quotes.broken(self._vol_of(self.quotes))

    def _vol_of(self, used: Quotes) -> Floats:
        """Volatilities of quotes; NaN of those that are neither kept nor bounds."""
        vol = np.full(len(used.reason), np.nan)
        rows = used.kept if used.bound is None else used.kept | (used.bound != 0)
        years = used.chain.years[rows]
        vol[rows] = np.sqrt(self.total_variance(used.k[rows], years) / years)
        return vol

    def coverage(self) -> dict[str, float]:
        """Of each expiry, the share of its quotes whose bid and ask enclose the surface; of all of them 'all'.

        Raises
        ------
        StateError
            If the surface has no quotes, or those have no bids and asks.
        """
        if self.quotes is None:
            raise StateError("quotes: the surface was not fitted to any")
        used = self.quotes
        sided = used.kept & np.isfinite(used.bid_vol) & ~np.isnan(used.ask_vol)
        if not sided.any():
            raise StateError("quotes: there are no bids and asks")
        vol = np.full(len(used.reason), np.nan)
        vol[sided] = np.sqrt(self.total_variance(used.k[sided], used.chain.years[sided]) / used.chain.years[sided])
        inside = (vol >= used.bid_vol) & (vol <= used.ask_vol)
        shares = {
            name: float(inside[rows].mean())
            for name in self.expiries
            if (rows := sided & (used.chain.expiry == name)).any()
        }
        return {**shares, "all": float(inside[sided].mean())}

    def bands(
        self, k: Any, expiry: str | int, *, level: float = 0.9, method: str = "delta", draws: int = 1000, seed: int = 0
    ) -> _bands.Bands:
        """Between what the volatilities of an expiry lie, as far as its quotes tell.

        Parameters
        ----------
        k : array of float
            ln(strike / forward).
        expiry : str or int
            A slice, by its name or its place.
        level : float, default 0.9
            The chance with which the true volatility is in the band, at any one point.
        method : {'delta', 'bootstrap', 'gp'}
            'delta': the covariance of the slice's parameters, by Gauss and Newton's linearisation, carried over to
            volatilities; spreads say how large errors are, or residuals, where those are larger or no spreads are.
            'bootstrap': slices fitted to quotes that are drawn from between bid and ask. 'gp': the posterior of a
            Gaussian process through the quotes, which knows no slices; the only one for mixtures.
        draws, seed : int, default 1000 and 0
            For 'bootstrap'.

        Returns
        -------
        Bands

        Raises
        ------
        StateError
            If the surface has no quotes, or no more than the slice has parameters.
        ParameterError
            If an argument is out of range, or the expiry is not in the surface.
        ImportError
            For 'gp', if scikit-learn is not installed: it comes with ``warpquant[sklearn]``.

        Examples
        --------
        >>> from warpquant import data, surface
        >>> goog = surface.Surface.fit(data.goog_options(), exercise="american", model="svi")
        >>> band = goog.bands([-0.05, 0.0, 0.05], "2016-03-18")
        >>> bool((band.low < band.vol).all() and (band.vol < band.high).all())
        True
        """
        return _bands.bands(self, k, expiry, level=level, method=method, draws=draws, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """As texts, numbers, lists and dicts of those, such as for JSON; without the quotes."""
        return {
            "version": _VERSION, "model": self.model, "expiries": list(self.expiries), "years": self.years.tolist(),
            "parameters": self.parameters.tolist(), "forward": self.forward.tolist(), "rate": self.rate.tolist(),
            "spot": self.spot, "rmse": None if self.rmse is None else np.asarray(self.rmse).tolist(),
            "skipped": dict(self.skipped), "as_of": None if self.as_of is None else str(self.as_of),
            **({"slices": mixture.to_lists(self.slices)} if self.slices else {}),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, made: Mapping[str, Any]) -> Surface:
        """What `to_dict` made, as a surface with the same bits.

        Raises
        ------
        ParameterError
            If it is of another version, or something is missing.
        """
        if not isinstance(made, Mapping):
            raise ParameterError(f"made: is a {type(made).__name__}; accepted is what `to_dict` made")
        if made.get("version") != _VERSION:
            raise ParameterError(f"version: {made.get('version')!r} is unknown; accepted is {_VERSION}")
        lacking = [name for name in _WRITTEN if name not in made]
        if lacking:
            raise ParameterError(f"{lacking[0]}: is missing; `to_dict` writes it")
        rmse, as_of = made["rmse"], made["as_of"]
        return cls(
            made["model"], tuple(made["expiries"]), made["years"], np.array(made["parameters"]), made["forward"],
            made["rate"], made["spot"], None if rmse is None else np.array(rmse), dict(made["skipped"]),
            None if as_of is None else np.datetime64(as_of),
            slices=mixture.from_lists(made["slices"], len(made["expiries"])) if "slices" in made else (),
        )  # fmt: skip


def _size(raw: Floats, k: Floats) -> Floats:
    """Of slices a, b, rho, m, sigma the sizes of the terms that are added up at k."""
    a, b, rho, m, sigma = raw.T
    return np.asarray(np.abs(a) + b * (np.abs(rho * (k - m)) + np.hypot(k - m, sigma)))


def _linear(at: Floats, x: Floats, y: Floats) -> Floats:
    """Through points, and on along the last two of them, or level if there is one."""
    inside = np.interp(at, x, y)
    if len(x) < 2:
        return inside
    return np.where(at > x[-1], y[-1] + (at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2]), inside)


def _why(used: Quotes, name: str) -> str:
    rows = used.reason[used.chain.expiry == name]
    found = np.bincount(rows, minlength=len(REASONS))
    return ", ".join(f"{n} {reason}" for reason, n in zip(REASONS, found.tolist(), strict=True) if n)
