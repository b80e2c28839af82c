# SPDX-License-Identifier: Apache-2.0
"""How sure a surface is of itself: bands by three methods (docs/surface/bands.md)."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from warpquant import _checks
from warpquant.errors import ParameterError, StateError

from . import models
from .fits import Floats, fit_svi, floats

if TYPE_CHECKING:
    from .objects import Surface

__all__ = ["BAND_METHODS", "Bands"]

#: Ways to make bands.
BAND_METHODS = ("delta", "bootstrap", "gp")


@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """Volatilities of an expiry, and between what they lie.

    Attributes
    ----------
    k : ndarray of float64, shape (points,)
        ln(strike / forward).
    vol, low, high : ndarray of float64, shape (points,)
        Of the surface (for 'gp' the posterior mean), and the band.
    deviation : ndarray of float64, shape (points,)
        Standard deviation.
    level : float
        The chance with which the true volatility is in the band, at any one point.
    method : str
        How it was made.
    """

    k: Floats
    vol: Floats
    low: Floats
    high: Floats
    deviation: Floats
    level: float
    method: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Smile:
    """Quotes of an expiry: places, total variances, weights of the fit, deviations of errors (NaN: unknown)."""

    k: Floats
    w: Floats
    weight: Floats
    low: Floats
    high: Floats
    years: float
    deviation: Floats


def bands(
    surface: Surface, k: Any, expiry: str | int, *, level: float, method: str, draws: int, seed: int
) -> Bands:  # fmt: skip
    """What `Surface.bands` returns."""
    _checks.number("level", level, 1e-6, 1.0 - 1e-6)
    _checks.choice("method", method, BAND_METHODS)
    _checks.whole("draws", draws, 2)
    _checks.whole("seed", seed, 0)
    if surface.quotes is None:
        raise StateError("quotes: the surface was not fitted to any")
    if isinstance(expiry, str):
        if expiry not in surface.expiries:
            raise ParameterError(f"expiry: {expiry!r} is not in the surface; it has {', '.join(surface.expiries)}")
        slice_ = surface.expiries.index(expiry)
    else:
        slice_ = _checks.whole("expiry", expiry, 0, len(surface.expiries) - 1)
    if surface.model == "mixture" and method != "gp":
        raise ParameterError(f"method: {method!r} needs the parameters of a slice; accepted for mixtures is 'gp'")
    place = np.atleast_1d(floats(k, "k")).reshape(-1)
    smile = _quotes(surface, slice_)
    if method == "gp":
        return _posterior(smile, place, level)
    years = smile.years
    vol = np.sqrt(surface.total_variance(place, years) / years)
    if method == "bootstrap":
        drawn = np.sqrt(np.maximum(_refits(surface, slice_, smile, place, draws, seed), 1e-300) / years)
        low, high = np.quantile(drawn, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
        return Bands(place, vol, low, high, drawn.std(axis=0), level, method)
    jacobian = _jacobian(surface, slice_, smile.k)
    count, free = jacobian.shape
    known = bool(np.isfinite(smile.deviation).all())
    if count <= free:
        raise StateError(f"quotes: {surface.expiries[slice_]} has {count}, which do not tell {free} parameters' errors")
    miss = surface.total_variance(smile.k, years) - smile.w
    if known:
        # Errors that spreads do not explain are the model's: they widen the band.
        spread = smile.deviation * max(1.0, float(np.sqrt(np.sum(np.square(miss / smile.deviation)) / (count - free))))
    else:
        # Of unknown size: inverse to the root of the weights.
        size = float(np.sum(smile.weight * miss * miss) / (count - free))
        spread = np.sqrt(size / np.maximum(smile.weight, 1e-300))
    scale = np.sqrt(np.sum(smile.weight[:, None] * jacobian**2, axis=0)) + 1e-300
    scaled = jacobian / scale
    inverse = np.linalg.pinv(scaled.T @ (smile.weight[:, None] * scaled), rcond=1e-10, hermitian=True)
    gain = inverse @ (scaled * smile.weight[:, None]).T  # parameters, scaled, of errors of the quotes
    reach = (_jacobian(surface, slice_, place) / scale) @ gain
    deviation = np.sqrt(np.square(reach * spread).sum(axis=1)) / (2.0 * vol * years)
    width = _quantile(level, None if known else count - free) * deviation
    return Bands(place, vol, vol - width, vol + width, deviation, level, method)


def _quotes(surface: Surface, slice_: int) -> _Smile:
    used = surface.quotes
    assert used is not None
    rows = np.nonzero(used.kept & (used.chain.expiry == surface.expiries[slice_]))[0]
    rows = rows[np.argsort(used.k[rows], kind="stable")]
    years = float(surface.years[slice_])
    low, high = used.bid_vol[rows], used.ask_vol[rows]
    sided = np.isfinite(low) & np.isfinite(high) & (high > low)
    # The truth may be anywhere between bid and ask: a deviation of a twelfth's root.
    deviation = 2.0 * used.vol[rows] * years * (high - low) / np.sqrt(12.0)
    if sided.mean() < 0.5:
        deviation = np.full(len(rows), np.nan)
    elif not sided.all():
        deviation = np.where(sided, deviation, deviation[sided].max())
    return _Smile(used.k[rows], used.w[rows], used.weight[rows], low, high, years, deviation)


def _jacobian(surface: Surface, slice_: int, k: Floats) -> Floats:
    """Derivatives of total variance by the parameters of a slice, shape (points, parameters)."""
    if surface.model == "svi":
        names = ("dw_da", "dw_db", "dw_drho", "dw_dm", "dw_dsigma")
        made = models.svi(k, *surface.parameters[slice_].tolist(), outputs=names)
        return np.stack([made[name] for name in names], axis=-1)
    return np.asarray(_essvi(surface.parameters[slice_][None, :], k)[1][0])


def _essvi(parameters: Floats, k: Floats) -> tuple[Floats, Floats]:
    """Total variances of slices and their derivatives by theta, psi and chi, shapes (slices, points) and (..., 3)."""
    theta, psi, chi = parameters.T[:, :, None]
    level = theta + chi * k
    root = np.sqrt(level * level + k * k * (psi * psi - chi * chi))
    one = np.stack([1.0 + level / root, k * k * psi / root, k + theta * k / root], axis=-1)
    return 0.5 * (level + root), 0.5 * one


def _refits(surface: Surface, slice_: int, smile: _Smile, place: Floats, draws: int, seed: int) -> Floats:
    """Total variances at places of slices fitted to quotes that are drawn from between bid and ask."""
    rng = np.random.default_rng(seed)
    n = len(smile.k)
    if np.isfinite(smile.deviation).all():
        uniform = rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (draws, n))
        w = smile.w + smile.deviation * uniform
    else:
        miss = surface.total_variance(smile.k, smile.years) - smile.w
        free = surface.parameters.shape[1]
        size = np.sqrt(float(np.sum(smile.weight * miss * miss)) / max(n - free, 1) / np.maximum(smile.weight, 1e-300))
        w = smile.w + size * rng.normal(size=(draws, n))
    w = np.maximum(w, 1e-3 * smile.w)
    if surface.model == "svi":
        start = np.tile(surface.parameters[slice_], (draws, 1))
        fit = fit_svi(np.tile(smile.k, (draws, 1)), w, np.tile(smile.weight, (draws, 1)), start=start)
        return np.asarray(models.svi(place, *fit.parameters.T[:, :, None])["w"])
    return _essvi(_refit_essvi(surface.parameters[slice_], smile, w), place)[0]


def _refit_essvi(start: Floats, smile: _Smile, w: Floats) -> Floats:
    """theta, psi, chi nearest to each row of w: Levenberg and Marquardt's method for all of them at once.

    Neighbours, whose bounds a slice keeps, stay out: what they would do is narrow the band.
    """
    parameters = np.tile(start, (len(w), 1))
    weight = smile.weight / smile.weight.sum()
    damping = np.full(len(w), 1e-4)
    value, slope = _essvi(parameters, smile.k)
    error = np.sum(weight * np.square(value - w), axis=1)
    for _ in range(30):
        normal = np.einsum("dqi,q,dqj->dij", slope, weight, slope, optimize=True)
        pull = np.einsum("dqi,dq->di", slope, weight * (w - value))
        diagonal = np.einsum("dii->di", normal)
        step = np.linalg.solve(
            normal + (damping[:, None] * diagonal + 1e-300)[:, :, None] * np.identity(3), pull[..., None]
        )
        moved = parameters + step[..., 0]
        moved[:, 0] = np.maximum(moved[:, 0], 0.01 * parameters[:, 0])
        moved[:, 1] = np.maximum(moved[:, 1], 0.01 * parameters[:, 1])
        moved[:, 2] = np.clip(moved[:, 2], -0.9999 * moved[:, 1], 0.9999 * moved[:, 1])
        there, bend = _essvi(moved, smile.k)
        less = np.sum(weight * np.square(there - w), axis=1)
        better = less < error
        done = np.where(better, error - less <= 1e-10 * error, damping > 1e6)
        parameters[better], value[better], slope[better] = moved[better], there[better], bend[better]
        error = np.where(better, less, error)
        damping = np.where(better, np.maximum(0.1 * damping, 1e-12), 10.0 * damping)
        if done.all():
            break
    return parameters


def _quantile(level: float, freedom: int | None) -> float:
    """Half the width of a band in deviations: of the normal law, or Student's (Abramowitz and Stegun 26.7.5)."""
    z = statistics.NormalDist().inv_cdf(0.5 + 0.5 * level)
    if freedom is None:
        return z
    z2 = z * z
    terms = ((z2 + 1) / 4, ((5 * z2 + 16) * z2 + 3) / 96, (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384)
    return z * (1.0 + sum(term / float(freedom) ** (i + 1) for i, term in enumerate(terms)))


def _posterior(smile: _Smile, place: Floats, level: float) -> Bands:
    """A Gaussian process through the volatilities of an expiry, with the spreads as its nugget."""
    from .kriging import process

    vol = np.sqrt(smile.w / smile.years)
    money = float(np.sqrt(np.interp(0.0, smile.k, smile.w)))
    deviation = smile.deviation / (2.0 * vol * smile.years)
    known = bool(np.isfinite(deviation).all())
    noise = float(np.sqrt(np.mean(np.square(deviation)))) if known else 0.0
    centre, unit = float(vol.mean()), max(float(vol.std()), noise, 1e-6)
    fitted = process(
        smile.k[:, None] / money, (vol - centre) / unit, np.square(deviation / unit) if known else None, (2.0,)
    )
    mean, spread = fitted.predict(place[:, None] / money, return_std=True)
    if not known:  # the process has the noise of quotes in it, the smile has not
        spread = np.sqrt(np.maximum(np.square(spread) - fitted.kernel_.k2.noise_level, 0.0))
    width = _quantile(level, None) * spread * unit
    at = centre + unit * mean
    return Bands(place, at, at - width, at + width, spread * unit, level, "gp")
