# SPDX-License-Identifier: Apache-2.0
"""Kriging of volatilities: a Gaussian process with mean and variance (docs/surface/splines.md)."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from warpquant import _checks
from warpquant.errors import ParameterError, ShapeError

from .fits import Floats, floats, plain

__all__ = ["Kriging", "krige"]


def process(x: Floats, y: Floats, nugget: Floats | None, scales: tuple[float, ...]) -> Any:
    """A Gaussian process of scikit-learn, Matern 5/2, its scales and size (and noise, if no nugget) by likelihood.

    Values come in units of their deviation, less their mean, of which a constant kernel says that it is not known.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    except ImportError as error:
        raise ImportError("Gaussian processes need scikit-learn: pip install 'warpquant[sklearn]'") from error
    kernel = ConstantKernel(1.0, (1e-3, 1e4)) * Matern(scales, [(1e-2, 1e3)] * len(scales), nu=2.5)
    kernel = kernel + ConstantKernel(1.0, "fixed")
    if nugget is None:
        kernel = kernel + WhiteKernel(1e-2, (1e-9, 1e1))
    made = GaussianProcessRegressor(kernel, alpha=1e-10 if nugget is None else np.maximum(nugget, 1e-10))
    with warnings.catch_warnings():
        # A scale at its bound is an answer: the smile is straight, or tells no scale.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return made.fit(x, y)


@dataclasses.dataclass(frozen=True, eq=False)
class Kriging:
    """A surface of volatilities without a model, with its own variance.

    Attributes
    ----------
    regressor : sklearn.gaussian_process.GaussianProcessRegressor
        The process, of (k / sqrt T, ln T) in units of their deviations.
    centre, unit : float
        Mean of the volatilities, and their deviation or the spreads, whichever is more.
    scale : tuple of float
        Deviations of k / sqrt T and of ln T.
    """

    regressor: Any
    centre: float
    unit: float
    scale: tuple[float, float]

    def _predict(self, k: Any, years: Any, deviation: bool) -> Floats:
        """Mean or deviation of the process; NaN at times not above 0 and where a number is not finite."""
        place, times = np.broadcast_arrays(floats(k, "k"), floats(years, "years"))
        good = np.isfinite(place) & np.isfinite(times) & (times > 0)
        made = np.full(place.shape, np.nan)
        if good.any():
            x, t = place[good], times[good]
            points = np.stack([x / np.sqrt(t) / self.scale[0], np.log(t) / self.scale[1]], axis=-1)
            found = self.regressor.predict(points, return_std=deviation)
            made[good] = self.unit * found[1] if deviation else self.centre + self.unit * found
        return made

    def vol(self, k: Any, years: Any) -> Any:
        """Volatility at k = ln(strike / forward) and a time in years: the mean of the process."""
        return plain(self._predict(k, years, False))

    def total_variance(self, k: Any, years: Any) -> Any:
        """Total variance at k and a time in years."""
        return plain(np.square(self.vol(k, years)) * floats(years, "years"))

    def deviation(self, k: Any, years: Any) -> Any:
        """Standard deviation of the volatility."""
        return plain(self._predict(k, years, True))


def krige(k: Any, years: Any, vol: Any, spread: Any = None, *, most: int = 600) -> Kriging:
    """Kriging of volatilities: a Gaussian process with Matern's kernel of smoothness 5/2 in (k / sqrt T, ln T).

    Scales and size are those of the largest likelihood. The work is cubic in the number of quotes.

    Parameters
    ----------
    k, years, vol : array of float, shape (quotes,)
        ln(strike / forward), time to expiry and volatility; rows stay out that have a number which is not finite, a
        time or a volatility not above 0, or a negative spread.
    spread : array of float, shape (quotes,), optional
        Deviation of each volatility, such as its spread over the root of 12, whose square is the nugget. Without it
        one noise of all quotes is found.
    most : int, default 600
        Most quotes, spread evenly over those there are.

    Returns
    -------
    Kriging

    Raises
    ------
    ParameterError
        If fewer than three quotes are of use.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.
    ImportError
        If scikit-learn is not installed: it comes with ``warpquant[sklearn]``.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 4.2 and 5.4.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> years, k = np.repeat([0.1, 0.3, 0.9], 9), np.tile(np.linspace(-0.2, 0.2, 9), 3)
    >>> field = surface.krige(k, years, 0.2 - 0.1 * k + 0.3 * k * k, np.full(27, 1e-3))
    >>> bool(abs(field.vol(0.02, 0.5) - 0.19812) < 2e-3), bool(field.deviation(0.9, 0.5) > field.deviation(0.0, 0.3))
    (True, True)
    """
    _checks.whole("most", most, 3)
    place, times, value = (floats(v, n) for v, n in ((k, "k"), (years, "years"), (vol, "vol")))
    width = np.full(place.shape, 1.0) if spread is None else floats(spread, "spread")
    if place.ndim != 1 or not place.shape == times.shape == value.shape == width.shape:
        raise ShapeError("k, years, vol, spread: must have one dimension and be alike")
    good = np.isfinite(place) & np.isfinite(times) & np.isfinite(value) & np.isfinite(width)
    good &= (times > 0) & (value > 0) & (width >= 0)
    rows = np.nonzero(good)[0]
    if len(rows) < 3:
        raise ParameterError(f"vol: {len(rows)} quotes have finite numbers; at least 3 are needed")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.intp))]
    place, times, value, width = place[rows], times[rows], value[rows], width[rows]
    points = np.stack([place / np.sqrt(times), np.log(times)], axis=-1)
    scale = np.maximum(points.std(axis=0), 1e-3)
    noise = 0.0 if spread is None else float(np.sqrt(np.mean(np.square(width))))
    centre, unit = float(value.mean()), max(float(value.std()), noise, 1e-6)
    nugget = None if spread is None else np.square(width / unit)
    made = process(points / scale, (value - centre) / unit, nugget, (1.0, 1.0))
    return Kriging(made, centre, unit, (float(scale[0]), float(scale[1])))
