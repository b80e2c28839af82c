# SPDX-License-Identifier: Apache-2.0
"""The surface that is free of arbitrage by construction (docs/surface/essvi.md)."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, _core, config
from warpquant.errors import ParameterError, ShapeError

from .fits import Floats, alike, floats, ragged

__all__ = ["EssviFit", "SsviFit", "essvi_to_svi", "fit_essvi", "fit_ssvi"]


@dataclasses.dataclass(frozen=True, eq=False)
class EssviFit:
    """Slices of an eSSVI surface, in the order of their expiries.

    Attributes
    ----------
    theta, psi, chi : ndarray of float64, shape (slices,)
        At-the-money total variance, psi = theta phi and chi = rho psi:
        w = (theta + chi k + sqrt(theta^2 + 2 theta chi k + psi^2 k^2)) / 2.
    rmse : ndarray of float64, shape (slices,)
        Weighted root mean squared error of w; NaN for a slice without quotes.
    rounds : int
        Steps of the interior-point method.
    """

    theta: Floats
    psi: Floats
    chi: Floats
    rmse: Floats
    rounds: int

    @property
    def rho(self) -> Floats:
        """Chi / psi."""
        return np.asarray(self.chi / self.psi)

    @property
    def phi(self) -> Floats:
        """Psi / theta."""
        return np.asarray(self.psi / self.theta)

    @property
    def parameters(self) -> Floats:
        """theta, psi and chi of each slice, shape (slices, 3)."""
        return np.stack([self.theta, self.psi, self.chi], axis=1)


def essvi_to_svi(parameters: Any) -> Floats:
    """Raw SVI parameters of SSVI slices.

    Parameters
    ----------
    parameters : array of float, shape (slices, 3)
        theta, psi and chi.

    Returns
    -------
    ndarray of float64, shape (slices, 5)
        a, b, rho, m and sigma.

    Examples
    --------
    >>> from warpquant import surface
    >>> surface.essvi_to_svi([[0.04, 0.16, -0.08]]).round(6).tolist()
    [[0.015, 0.08, -0.5, 0.125, 0.216506]]
    """
    theta, psi, chi = floats(parameters, "parameters").reshape(-1, 3).T
    rho, phi = chi / psi, psi / theta
    square = (1.0 - rho) * (1.0 + rho)
    raw: Floats = np.stack([0.5 * theta * square, 0.5 * psi, rho, -rho / phi, np.sqrt(square) / phi], axis=1)
    return raw


def fit_essvi(k: Any, w: Any, weights: Any = None, offsets: Any = None, *, start: Any = None) -> EssviFit:
    """The eSSVI surface nearest to quotes that has no arbitrage, of butterflies or in time.

    All slices at once, by an interior-point method: every step stays inside psi max(1 + rho, 1 - rho) < 4 and
    psi^2 max(1 + rho, 1 - rho) < 4 theta of each slice, psi (1 + rho) and psi (1 - rho) that rise and psi / theta that
    falls from slice to slice. The result holds with distance to spare; nothing is repaired afterwards. An expiry
    without a single quote takes what its neighbours leave it.

    Parameters
    ----------
    k, w : array
        ln(strike / forward) and total variance of quotes, one smile after the other in the order of expiries: a list of
        arrays, a table with one smile a row (NaN where it is short), or one flat array with `offsets`.
    weights : array, optional
        Of the squared errors in w; 1 by default. :func:`vega_weights` makes some for a smile; between smiles those of
        long expiries, whose w is large, lead unless weights say otherwise.
    offsets : array of int, shape (slices + 1,), optional
        Where each smile begins in the flat arrays, and the number of quotes.
    start : array of float, shape (slices, 3), optional
        theta, psi, chi of a surface before, to begin with where that is nearer.

    Returns
    -------
    EssviFit

    Raises
    ------
    ParameterError
        If no quote is of use.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.

    References
    ----------
    Hendriks and Martini, The extended SSVI volatility surface, J. Comp. Finance 22 (2019); Corbetta, Cohort, Laachir
    and Martini, Robust calibration and arbitrage-free interpolation of SSVI slices, Decisions Econ. Finance 42 (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k = np.linspace(-0.3, 0.3, 13)
    >>> smiles = [surface.ssvi(k, theta, -0.4, 0.9 / theta**0.5)["w"] for theta in (0.01, 0.02, 0.04)]
    >>> surface.fit_essvi([k, k, k], smiles).theta.round(8).tolist()
    [0.01, 0.02, 0.04]
    """
    flat, variance, weight, starts = _quotes(k, w, weights, offsets)
    slices = len(starts) - 1
    first = None
    if start is not None:
        first = floats(start, "start")
        if first.shape != (slices, 3):
            raise ShapeError(f"start: has shape {first.shape}; accepted is ({slices}, 3)")
        first = first.reshape(-1)
    _, simd = config._execution(None)
    parameters, rmse, numbers = _core.essvi_fit(flat, variance, weight, starts.tolist(), first, simd)
    theta, psi, chi = (np.ascontiguousarray(column) for column in parameters.T)
    return EssviFit(theta, psi, chi, rmse, int(numbers[0]))


@dataclasses.dataclass(frozen=True, eq=False)
class SsviFit:
    """An SSVI surface: one rho and one function phi of theta for all slices.

    Attributes
    ----------
    theta : ndarray of float64, shape (slices,)
        At-the-money total variance of each slice, rising.
    rho : float
        Tilt.
    eta, gamma : float
        Of phi. For 'heston' eta is lambda, and gamma is NaN.
    shape : {'power', 'simple', 'heston'}
        Which function phi is.
    rmse : ndarray of float64, shape (slices,)
        Weighted root mean squared error of w; NaN for a slice without quotes.
    parameters : ndarray of float64, shape (slices, 3)
        theta, psi = theta phi and chi = rho psi of each slice, as those of :func:`fit_essvi`.
    rounds : int
        Steps from the starts.
    """

    theta: Floats
    rho: float
    eta: float
    gamma: float
    shape: str
    rmse: Floats
    parameters: Floats
    rounds: int

    @property
    def phi(self) -> Floats:
        """Psi / theta of each slice."""
        return np.asarray(self.parameters[:, 1] / self.parameters[:, 0])


_SHAPES = ("power", "simple", "heston")


def fit_ssvi(k: Any, w: Any, weights: Any = None, offsets: Any = None, *, shape: str = "power") -> SsviFit:
    """The SSVI surface nearest to quotes, free of butterfly and calendar arbitrage by construction.

    All slices at once: theta of each, rho, and the two numbers of phi, by Levenberg and Marquardt's method in unknowns
    without bounds, from the best places of a grid. Fewer numbers than :func:`fit_essvi` has: rho is the same at all
    expiries.

    Parameters
    ----------
    k, w, weights, offsets
        As in :func:`fit_essvi`.
    shape : {'power', 'simple', 'heston'}
        phi = eta / (theta^gamma (1 + theta)^(1 - gamma)), with eta (1 + abs(rho)) < 2; eta theta^-gamma, with
        theta phi (1 + abs(rho)) < 4 and theta phi^2 (1 + abs(rho)) < 4 up to the largest theta; both with gamma below
        1/2. Or (1 - (1 - exp(-x)) / x) / x, x = lambda theta, with 4 lambda > 1 + abs(rho), which has the terms of
        Heston's model.

    Returns
    -------
    SsviFit

    Raises
    ------
    ParameterError
        If no quote is of use, or the shape is unknown.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.

    References
    ----------
    Gatheral and Jacquier, Arbitrage-free SVI volatility surfaces, Quantitative Finance 14 (2014), section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k, theta = np.linspace(-0.3, 0.3, 13), np.array([0.01, 0.02, 0.04])
    >>> smiles = [surface.ssvi(k, t, -0.4, 0.9 / (t**0.4 * (1 + t) ** 0.6))["w"] for t in theta]
    >>> fit = surface.fit_ssvi([k, k, k], smiles)
    >>> fit.theta.round(8).tolist(), round(fit.rho, 6), round(fit.eta, 6), round(fit.gamma, 6)
    ([0.01, 0.02, 0.04], -0.4, 0.9, 0.4)
    """
    _checks.choice("shape", shape, _SHAPES)
    flat, variance, weight, starts = _quotes(k, w, weights, offsets)
    _, simd = config._execution(None)
    parameters, rmse, model, numbers = _core.ssvi_fit(
        flat, variance, weight, starts.tolist(), _SHAPES.index(shape), simd
    )
    rho, eta, gamma = model.tolist()
    theta = np.ascontiguousarray(parameters[:, 0])
    return SsviFit(theta, rho, eta, float("nan") if shape == "heston" else gamma, shape, rmse, parameters,
                   int(numbers[0]))  # fmt: skip


def _quotes(k: Any, w: Any, weights: Any, offsets: Any) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
    """Flat quotes, of which those that cannot be used have no weight, and where each slice begins."""
    flat, starts = ragged(k, "k", offsets)
    variance, weight = alike(w, "w", flat, of=k), alike(weights, "weights", flat, 1.0, of=k)
    good = np.isfinite(flat) & np.isfinite(variance) & np.isfinite(weight) & (weight > 0) & (variance > 0)
    if not good.any():
        raise ParameterError(f"k, w: none of the {len(flat)} quotes has finite numbers, w > 0 and a weight above 0")
    flat, variance, weight = (np.where(good, values, 0.0) for values in (flat, variance, weight))
    return flat, variance, weight, starts


def balanced(k: Floats, w: Floats, weight: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
    """Weights by which every expiry counts the same, in errors relative to its variance."""
    balanced: Floats = weight.copy()
    for begin, end in itertools.pairwise(offsets.tolist()):
        total = float(weight[begin:end].sum())
        if total > 0:
            near = w[begin + int(np.abs(k[begin:end]).argmin())]
            balanced[begin:end] /= total * near * near
    return balanced
