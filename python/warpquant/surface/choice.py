# SPDX-License-Identifier: Apache-2.0
"""Which model: by what it says of quotes that it was not shown (docs/surface/choice.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks
from warpquant.errors import ParameterError

from . import models
from .essvi import balanced, essvi_to_svi, fit_essvi
from .fits import Floats, SabrFit, certify_svi, fit_sabr, fit_svi, floats
from .mixture import fit_mixture
from .objects import Surface
from .quotes import Quotes, clean
from .splines import Slice, Smile, interpolate

__all__ = ["CANDIDATES", "Choice", "SabrSlice", "choose"]

#: Models that `choose` knows.
CANDIDATES = ("essvi", "svi", "mixture", "sabr", "spline")
_TENSION = 3.0
#: Least scales of jump-wings v, psi, p, c, vt, and as a share of their own size.
_SCALES, _SHARE = np.array([0.002, 0.02, 0.05, 0.05, 0.002]), 0.1


@dataclasses.dataclass(frozen=True)
class SabrSlice:
    """A SABR smile (beta 1 unless said) as a slice of k = ln(strike / forward).

    Attributes
    ----------
    alpha, beta, rho, nu : float
        Parameters, with the forward as the unit of prices.
    years : float
        Time to expiry.
    """

    alpha: float
    beta: float
    rho: float
    nu: float
    years: float

    def _made(self, k: Any) -> tuple[Floats, Floats, Floats, Floats]:
        strike = np.exp(floats(k, "k"))
        made = models.sabr(1.0, strike, self.years, self.alpha, self.beta, self.rho, self.nu,
                           outputs=("vol", "dvol_dstrike", "d2vol_dstrike2"))  # fmt: skip
        vol, slope, bend = (np.asarray(made[name]) for name in ("vol", "dvol_dstrike", "d2vol_dstrike2"))
        return strike, vol, slope, bend

    def vol(self, k: Any) -> Any:
        """Implied volatility at k."""
        return models.sabr(1.0, np.exp(floats(k, "k")), self.years, self.alpha, self.beta, self.rho, self.nu)["vol"]

    def total_variance(self, k: Any) -> Any:
        """Total variance at k."""
        return np.square(self.vol(k)) * self.years

    def derivative(self, k: Any, order: int = 1) -> Any:
        """First or second derivative of total variance by k."""
        _checks.whole("order", order, 1, 2)
        strike, vol, slope, bend = self._made(k)
        by_k = strike * slope
        if order == 1:
            return 2.0 * self.years * vol * by_k
        return 2.0 * self.years * (by_k * by_k + vol * (by_k + strike * strike * bend))


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """Models, what they say of quotes that they were not shown, and the best.

    Attributes
    ----------
    model : str
        The one with the least error.
    ridge : float
        How much it is held to the surface before: 0 where not.
    scores : dict of (str, float) to float
        Error of each model and ridge: root mean square in volatility, weighted as in fits, every expiry the same.
    surface : Surface or None
        Of the best model, fitted to all quotes; None where that is 'sabr' or 'spline'.
    slices : dict of str to Slice
        Of 'sabr' and 'spline': the smile of each expiry.
    """

    model: str
    ridge: float
    scores: dict[tuple[str, float], float]
    surface: Surface | None
    slices: dict[str, Slice]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}{f' ridge {ridge:g}' if ridge else ''} {100 * error:.3g} %"
            for (name, ridge), error in sorted(self.scores.items(), key=lambda item: item[1])
        )
        return f"Choice({self.model}: {shown})"


@dataclasses.dataclass(frozen=True, eq=False)
class _Smiles:
    """Quotes of all expiries, flat."""

    quotes: Quotes
    k: Floats
    w: Floats
    weight: Floats
    bid: Floats
    ask: Floats
    offsets: npt.NDArray[np.int64]
    names: list[str]
    years: Floats

    @property
    def slice(self) -> npt.NDArray[np.intp]:
        """Of each quote which expiry."""
        return np.repeat(np.arange(len(self.names)), np.diff(self.offsets))


def choose(
    quotes: Any, candidates: Any = ("essvi", "svi"), *, folds: int | str = 5, previous: Surface | None = None,
    ridges: Any = (0.0, 0.1, 1.0, 10.0), **cleaning: Any,
) -> Choice:  # fmt: skip
    """The model that says best what quotes are that it was not shown, fitted to all of them.

    Parameters
    ----------
    quotes : Quotes, or anything that `clean` takes
        Quotes.
    candidates : sequence of str, default ('essvi', 'svi')
        Of 'essvi', 'svi', 'mixture', 'sabr' (beta 1) and 'spline' (under tension, through all quotes).
    folds : int or 'strike', default 5
        Into how many blocks of neighbouring strikes each expiry is divided, each left out once; 'strike' leaves out one
        strike of each expiry at a time. Blocks ask for extrapolation, strikes for interpolation.
    previous : Surface, optional
        A surface before. Then SVI slices are also fitted with a ridge toward its jump-wings (of the same expiry), which
        costs ridge times the mean square of the distances in v, psi, p, c and vt, each over its scale, beside the
        mean square of errors over their size.
    ridges : sequence of float, default (0, 0.1, 1, 10)
        Strengths to try.
    **cleaning
        For `clean`.

    Returns
    -------
    Choice

    Raises
    ------
    ParameterError
        If a candidate is unknown, an argument out of range, or no quote can be used.

    Examples
    --------
    >>> from warpquant import data, surface
    >>> quotes = surface.clean(data.goog_options(), exercise="american")
    >>> best = surface.choose(quotes, ("essvi", "svi", "sabr"))
    >>> sorted(name for name, ridge in best.scores)
    ['essvi', 'sabr', 'svi']
    """
    names = (candidates,) if isinstance(candidates, str) else tuple(candidates)
    for name in names:
        _checks.choice("candidates", name, CANDIDATES)
    if not names:
        raise ParameterError("candidates: there are none")
    if folds != "strike":
        folds = _checks.whole("folds", folds, 2)
    strengths = [_checks.number("ridges", r, 0.0) for r in ridges]
    if not isinstance(quotes, Quotes):
        quotes = clean(quotes, **cleaning)
    elif cleaning:
        raise ParameterError(f"{next(iter(cleaning))}: is for quotes that are yet to be cleaned")
    Surface.fit(quotes)  # says what is wrong, where nothing can be used
    smiles = _smiles(quotes)
    counts = np.diff(smiles.offsets)
    place = np.arange(len(smiles.k)) - np.repeat(smiles.offsets[:-1], counts)
    fold = place if folds == "strike" else place * folds // np.repeat(np.maximum(counts, 1), counts)
    hidden = [fold == f for f in range(int(fold.max()) + 1)]
    scores: dict[tuple[str, float], float] = {}
    for name in names:
        tried = strengths if name == "svi" and previous is not None else [0.0]
        for strength in tried:
            said = _hidden(name, smiles, hidden, previous, strength)
            scores[name, strength] = _error(smiles, said)
    model, ridge = min(scores, key=lambda key: scores[key])
    surface, slices = _final(model, smiles, previous, ridge)
    return Choice(model, ridge, scores, surface, slices)


def _smiles(quotes: Quotes) -> _Smiles:
    k, w, weight, offsets, names = quotes.smiles()
    bid, ask = (quotes.in_smiles(np.square(v) * quotes.chain.years) for v in (quotes.bid_vol, quotes.ask_vol))
    years = np.array([quotes.chain.terms[name].years for name in names])
    return _Smiles(quotes, k, w, weight, bid, ask, offsets, names, years)


def _error(smiles: _Smiles, said: Floats) -> float:
    years = smiles.years[smiles.slice]
    vol = np.sqrt(smiles.w / years)
    # A model that says nothing of a quote is taken to say 0.
    miss = vol - np.where(np.isfinite(said) & (said > 0), np.sqrt(np.maximum(said, 0.0) / years), 0.0)
    weight = smiles.weight * smiles.w  # of squared errors in volatility, but for a factor of each expiry
    errors = []
    for i in range(len(smiles.names)):
        part = slice(smiles.offsets[i], smiles.offsets[i + 1])
        errors.append(np.average(np.square(miss[part]), weights=weight[part]))
    return float(np.sqrt(np.mean(errors)))


def _hidden(
    name: str, smiles: _Smiles, hidden: list[npt.NDArray[np.bool_]], previous: Surface | None, strength: float
) -> Floats:
    """Total variance of each quote, as the model has it that was not shown it."""
    said = np.full(len(smiles.k), np.nan)
    slices, of = len(smiles.names), smiles.slice
    if name in ("svi", "sabr"):  # all slices of all folds in one call
        weight = np.concatenate([np.where(rows, 0.0, smiles.weight) for rows in hidden])
        k, w = np.tile(smiles.k, len(hidden)), np.tile(smiles.w, len(hidden))
        starts = np.concatenate([[0], np.cumsum(np.tile(np.diff(smiles.offsets), len(hidden)))]).astype(np.int64)
        years = np.tile(smiles.years, len(hidden))
        if name == "sabr":
            fit = _sabr(k, w, weight, starts, years)
            every = np.stack([fit.alpha, fit.rho, fit.nu], axis=1)
        else:
            every = fit_svi(k, w, weight, starts).parameters
            if strength and previous is not None:
                every = _ridge(k, w, weight, starts, years, every, _before(smiles, previous, len(hidden)), strength)
        for f, rows in enumerate(hidden):
            own = every[f * slices : (f + 1) * slices][of[rows]].T
            if name == "svi":
                said[rows] = models.svi(smiles.k[rows], *own)["w"]
            else:
                vol = models.sabr(1.0, np.exp(smiles.k[rows]), smiles.years[of[rows]], own[0], 1.0, own[1], own[2])[
                    "vol"
                ]
                said[rows] = np.square(vol) * smiles.years[of[rows]]
        return said
    for rows in hidden:
        weight = np.where(rows, 0.0, smiles.weight)
        if name == "spline":
            for i in range(slices):
                part = np.arange(smiles.offsets[i], smiles.offsets[i + 1])
                shown, asked = part[~rows[part]], part[rows[part]]
                if len(asked) and len(np.unique(smiles.k[shown])) >= 2:
                    said[asked] = _spline(smiles.k[shown], smiles.w[shown], float(smiles.years[i])).total_variance(
                        smiles.k[asked]
                    )
        elif name == "essvi":
            fit_ = fit_essvi(smiles.k, smiles.w, balanced(smiles.k, smiles.w, weight, smiles.offsets), smiles.offsets)
            said[rows] = models.svi(smiles.k[rows], *essvi_to_svi(fit_.parameters)[of[rows]].T)["w"]
        else:
            shown_w = np.where(rows, np.nan, smiles.w)
            mixed = fit_mixture(smiles.k, shown_w, smiles.bid, smiles.ask, smiles.offsets)
            for i in range(slices):
                asked = np.nonzero(rows & (of == i))[0]
                said[asked] = mixed.slices[i].total_variance(smiles.k[asked])
    return said


def _spline(k: Floats, w: Floats, years: float) -> Smile:
    place, first = np.unique(k, return_index=True)
    return Smile(interpolate(place, w[first], "tension", tension=_TENSION), years)


def _sabr(k: Floats, w: Floats, weight: Floats, starts: npt.NDArray[np.int64], years: Floats) -> SabrFit:
    each = np.repeat(years, np.diff(starts))
    return fit_sabr(np.ones(len(years)), np.exp(k), years, np.sqrt(w / each), weight * w, starts)


def _before(smiles: _Smiles, previous: Surface, times: int) -> Floats:
    """Jump-wings of the surface before, of each expiry; NaN where it has none of that name."""
    rows = {name: row for name, row in zip(previous.expiries, _wings(previous.raw(), previous.years), strict=True)}
    found = np.stack([rows.get(name, np.full(5, np.nan)) for name in smiles.names])
    return np.tile(found.real, (times, 1))


def _wings(raw: npt.NDArray[Any], years: Floats) -> npt.NDArray[Any]:
    """Jump-wings v, psi, p, c, vt of raw slices; of complex ones too, since it is differentiated by complex steps."""
    a, b, rho, m, sigma = raw.T
    root = np.sqrt(m * m + sigma * sigma)
    w0 = a + b * (root - rho * m)
    size = np.sqrt(w0)
    least = a + b * sigma * np.sqrt(1.0 - rho * rho)
    wings: npt.NDArray[Any] = np.stack([
        w0 / years, 0.5 * b * (rho - m / root) / size, b * (1.0 - rho) / size, b * (1.0 + rho) / size, least / years
    ], axis=-1)  # fmt: skip
    return wings


def _ridge(
    k: Floats, w: Floats, weight: Floats, starts: npt.NDArray[np.int64], years: Floats, free: Floats, before: Floats,
    strength: float,
) -> Floats:  # fmt: skip
    """Slices held to jump-wings: Levenberg and Marquardt's method in (a, ln b, atanh rho, m, ln sigma), all at once."""
    held = np.isfinite(before).all(axis=1) & np.isfinite(free).all(axis=1)
    made: Floats = free.copy()
    rows = np.nonzero(held)[0]
    if len(rows) == 0:
        return made
    most = int(np.diff(starts)[rows].max())
    place, want, share = (np.zeros((len(rows), most)) for _ in range(3))
    for i, row in enumerate(rows):
        part, n = slice(starts[row], starts[row + 1]), starts[row + 1] - starts[row]
        place[i, :n], want[i, :n], share[i, :n] = k[part], w[part], weight[part]
    total = share.sum(axis=1, keepdims=True)
    base = models.svi(place, *free[rows].T[:, :, None])["w"]
    # Errors are measured by those of the free fit, or a thousandth of the variance.
    unit = np.maximum(np.sum(share * np.square(base - want), axis=1), 1e-6 * np.sum(share * want * want, axis=1))
    share = share / np.where(total > 0, unit[:, None], 1.0)
    aim, times = before[rows], years[rows]
    scale = np.maximum(_SCALES, _SHARE * np.abs(aim)) * np.sqrt(5.0 / strength)

    def curve(x: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        raw = np.stack([x[:, 0], np.exp(x[:, 1]), np.tanh(x[:, 2]), x[:, 3], np.exp(x[:, 4])], axis=1)
        a, b, rho, m, sigma = (column[:, None] for column in raw.T)
        gap = place - m
        value = a + b * (rho * gap + np.sqrt(gap * gap + sigma * sigma))
        return np.sqrt(share) * (value - want), (_wings(raw, times) - aim) / scale

    def cost(x: Floats) -> Floats:
        with np.errstate(invalid="ignore", over="ignore"):
            misses = [np.sum(np.square(part), axis=1) for part in curve(x)]
        return np.asarray(np.nan_to_num(misses[0] + misses[1], nan=np.inf))

    a, b, rho, m, sigma = free[rows].T
    x = np.stack([
        a, np.log(np.maximum(b, 1e-8)), np.arctanh(np.clip(rho, -0.999, 0.999)), m, np.log(np.maximum(sigma, 1e-6))
    ], axis=1)  # fmt: skip
    now, damping = cost(x), np.full(len(rows), 1e-3)
    for _ in range(100):
        slopes = []
        for j in range(5):
            moved = x.astype(np.complex128)
            moved[:, j] += 1e-30j
            slopes.append(np.concatenate([part.imag for part in curve(moved)], axis=1) / 1e-30)
        jacobian = np.stack(slopes, axis=2)
        miss = np.concatenate(curve(x), axis=1)
        normal = np.einsum("sqi,sqj->sij", jacobian, jacobian)
        diagonal = np.einsum("sii->si", normal)
        lifted = normal + (damping[:, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True) + 1e-300)[
            :, :, None
        ] * np.identity(5)
        step = np.linalg.solve(lifted, -np.einsum("sqi,sq->si", jacobian, miss)[..., None])[..., 0]
        there = x + np.clip(step, -1.0, 1.0)
        less = cost(there)
        better = less < now
        done = np.where(better, now - less < 1e-10 * now, damping > 1e8)
        x[better] = there[better]
        now = np.where(better, less, now)
        damping = np.where(better, np.maximum(0.2 * damping, 1e-12), 5.0 * damping)
        if done.all():
            break
    made[rows] = np.stack([x[:, 0], np.exp(x[:, 1]), np.tanh(x[:, 2]), x[:, 3], np.exp(x[:, 4])], axis=1)
    return made


def _final(
    model: str, smiles: _Smiles, previous: Surface | None, ridge: float
) -> tuple[Surface | None, dict[str, Slice]]:
    if model in ("essvi", "svi", "mixture"):
        surface = Surface.fit(smiles.quotes, model=model, previous=previous)
        if ridge and previous is not None:
            free = fit_svi(smiles.k, smiles.w, smiles.weight, smiles.offsets).parameters
            before = _before(smiles, previous, 1)
            held = _ridge(smiles.k, smiles.w, smiles.weight, smiles.offsets, smiles.years, free, before, ridge)
            # Slices that have butterfly arbitrage when held are those that have none.
            held = np.where(certify_svi(*held.T).free[:, None], held, surface.parameters)
            surface = dataclasses.replace(surface, parameters=held, rmse=_rmse(smiles, held))
        return surface, {}
    slices: dict[str, Slice] = {}
    fit = _sabr(smiles.k, smiles.w, smiles.weight, smiles.offsets, smiles.years) if model == "sabr" else None
    for i, name in enumerate(smiles.names):
        years = float(smiles.years[i])
        if fit is not None:
            slices[name] = SabrSlice(float(fit.alpha[i]), 1.0, float(fit.rho[i]), float(fit.nu[i]), years)
        else:
            part = slice(smiles.offsets[i], smiles.offsets[i + 1])
            slices[name] = _spline(smiles.k[part], smiles.w[part], years)
    return None, slices


def _rmse(smiles: _Smiles, parameters: Floats) -> Floats:
    square = np.square(models.svi(smiles.k, *parameters[smiles.slice].T)["w"] - smiles.w)
    total = np.add.reduceat(smiles.weight, smiles.offsets[:-1])
    return np.asarray(np.sqrt(np.add.reduceat(smiles.weight * square, smiles.offsets[:-1]) / total))
