# SPDX-License-Identifier: Apache-2.0
"""Heston's model from the quotes of a surface (docs/surface/heston.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from warpquant import _core, config, options
from warpquant.errors import ShapeError

from .fits import Floats, alike, each_smile, floats, ragged

__all__ = ["HESTON_FIT_STATUS", "HestonFit", "fit_heston"]

#: What the codes of `HestonFit.status` mean, by code.
HESTON_FIT_STATUS = ("ok", "a parameter is at its bound", "not settled", "no finite error from any start",
                     "too few quotes")  # fmt: skip
_NAMES = ("v0", "kappa", "theta", "xi", "rho")


@dataclasses.dataclass(frozen=True)
class HestonFit:
    """Parameters of Heston's model nearest to quotes.

    Attributes
    ----------
    v0, kappa, theta, xi, rho : float
        As in :func:`warpquant.options.heston`; NaN where the status is 3 or 4.
    rmse : float
        Weighted root mean squared error, in volatility: errors of prices in units of vega.
    status : int
        0 fitted; 1 a parameter is at its bound, which quotes leave open; 2 not settled after the steps that there are;
        3 no start has a finite error; 4 fewer than five quotes, or no two strikes. `HESTON_FIT_STATUS` has them in
        words.
    quotes : int
        Quotes that were used.
    rounds : int
        Evaluations of all quotes with their derivatives.
    """

    v0: float
    kappa: float
    theta: float
    xi: float
    rho: float
    rmse: float
    status: int
    quotes: int
    rounds: int

    @property
    def feller(self) -> float:
        """2 kappa theta / xi^2; above 1 variance stays above 0 (Feller's condition, which the fit does not ask for)."""
        return 2.0 * self.kappa * self.theta / self.xi**2

    @property
    def parameters(self) -> dict[str, float]:
        """By name, as :func:`warpquant.options.heston` takes them."""
        return {name: getattr(self, name) for name in _NAMES}


def fit_heston(
    forward: Any, strike: Any, expiry: Any, vol: Any, weights: Any = None, offsets: Any = None, *, start: Any = None,
) -> HestonFit:  # fmt: skip
    """Heston's model nearest to implied volatilities of several expiries.

    Weighted least squares of price errors in units of vega, which are about errors of volatility. Levenberg and
    Marquardt's method with the exact gradient of the characteristic function, which is found once for an expiry and
    serves its strikes; unknowns are ln v0, ln kappa, ln theta, ln xi and atanh rho. Of eight starts from the term
    structure and the skew at the money the three best are followed a few steps with a coarse series, those of them that
    have not met on with a finer one, and the best of these to its end.

    Parameters
    ----------
    forward, expiry : float or array, shape (expiries,)
        Forward price and years.
    strike, vol : array
        Quotes, one expiry after the other: of one expiry, of one in each row (NaN where a row is short), a list of
        arrays, or all in one flat array with `offsets`. Volatilities are Black's.
    weights : array, optional
        Of the squared errors in volatility, such as 1 / spread^2; 1 by default. Quotes do not count whose weight is not
        above 0, or with a number that is not finite and above 0, or whose expiry or forward is none.
    offsets : array of int, shape (expiries + 1,), optional
        Where each expiry begins in the flat arrays, and the number of quotes.
    start : HestonFit, or array of float, shape (5,) or (starts, 5), optional
        v0, kappa, theta, xi, rho to begin with, in place of what is taken from the quotes.

    Returns
    -------
    HestonFit

    Raises
    ------
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.

    References
    ----------
    Cui, del Bano Rollin and Germano, Full and fast calibration of the Heston stochastic volatility model, European
    Journal of Operational Research 263 (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import options, surface
    >>> model = dict(v0=0.04, kappa=1.5, theta=0.06, xi=0.5, rho=-0.7)
    >>> years, strike = np.array([[0.25], [1.0], [2.0]]), np.linspace(80.0, 120.0, 9)
    >>> price = options.heston(100.0, strike, years, 0.0, 0.0, **model, is_call=strike > 100.0)["price"]
    >>> vol = options.implied_vol(price, 100.0, strike, years, 0.0, 0.0, strike > 100.0)
    >>> fit = surface.fit_heston(100.0, np.tile(strike, (3, 1)), years.ravel(), vol)
    >>> [round(value, 6) for value in fit.parameters.values()]
    [0.04, 1.5, 0.06, 0.5, -0.7]
    """
    flat, begins = ragged(strike, "strike", offsets)
    vols, weight = alike(vol, "vol", flat, of=strike), alike(weights, "weights", flat, 1.0, of=strike)
    slices = len(begins) - 1
    price, years = each_smile(forward, "forward", slices), each_smile(expiry, "expiry", slices)
    of = np.repeat(np.arange(slices), np.diff(begins))
    good = np.ones(len(flat), dtype=bool)
    for values in (flat, vols, weight, price[of], years[of]):
        good &= np.isfinite(values) & (values > 0)
    of, vols, weight = of[good], vols[good], weight[good]
    k, root = np.log(flat[good] / price[of]), np.sqrt(years[of])
    used = len(k)
    if used < len(_NAMES) or np.ptp(k) == 0:
        none = float("nan")
        return HestonFit(none, none, none, none, none, none, 4, used, 0)
    deviation = vols * root
    # E[min(S, K)] / forward, from the side that is out of the money; and how much of it a unit of volatility is.
    calls = k >= 0
    black = options.price(1.0, np.exp(k), 1.0, 0.0, 0.0, deviation, calls, model="black76")["price"]
    target = np.where(calls, 1.0, np.exp(k)) - black
    d1 = -k / deviation + 0.5 * deviation
    vega = np.maximum(np.exp(-0.5 * d1 * d1), 1e-4) * root / np.sqrt(2.0 * np.pi)
    scale = np.sqrt(weight / weight.sum()) / vega
    if start is None:
        first = _starts(k, vols, years, of)
    else:
        first = floats([getattr(start, name) for name in _NAMES] if isinstance(start, HestonFit) else start, "start")
        if first.ndim not in (1, 2) or first.shape[-1] != len(_NAMES) or first.size == 0:
            raise ShapeError(f"start: has shape {first.shape}; accepted are (5,) and (starts, 5)")
        first = first.reshape(-1, len(_NAMES))
    counts = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=slices))])
    _, simd = config._execution(None)
    parameters, numbers = _core.heston_fit(
        k, target, scale, counts.tolist(), years, np.ascontiguousarray(first).reshape(-1), len(first), simd
    )
    v0, kappa, theta, xi, rho = parameters.tolist()
    return HestonFit(v0, kappa, theta, xi, rho, float(numbers[0]), int(numbers[2]), used, int(numbers[1]))


def _starts(k: Floats, vol: Floats, years: Floats, of: Any) -> Floats:
    """Eight starts: v0 and theta from variances at the money for some kappa; xi and rho from the skew."""
    slices = np.unique(of)
    level, slope, at = [], [], []
    for i in slices:
        rows = of == i
        x, y = k[rows], vol[rows]
        near = np.argsort(np.abs(x))[:5]
        line = np.polyfit(x[near], y[near], 1) if np.ptp(x[near]) > 0 else (0.0, y[near].mean())
        # Where all strikes are on one side the line is not followed to the money.
        level.append(line[1] if x.min() <= 0 <= x.max() else y[near[0]])
        slope.append(line[0])
        at.append(years[i])
    variance, skew, time = np.square(level), np.array(slope), np.array(at)
    starts = []
    for kappa in (0.6, 3.0):
        decay = -np.expm1(-kappa * time) / (kappa * time)
        if len(time) > 1:
            matrix = np.stack([decay, 1.0 - decay], axis=1)
            v0, theta = np.linalg.lstsq(matrix, variance, rcond=None)[0]
        else:
            v0 = theta = variance[0]
        low, high = 0.25 * variance.min(), 4.0 * variance.max()
        v0, theta = np.clip([v0, theta], low, high)
        # The skew of short expiries is rho xi / (4 vol), and decays as the variance does.
        product = 4.0 * np.median(skew * np.sqrt(variance) / np.maximum(decay, 0.2))
        starts += [
            (v0, kappa, theta, xi, np.clip(share * product / xi, -0.9, 0.9))
            for xi in (0.4, 1.2)
            for share in (1.0, 0.3)
        ]
    return np.array(starts)
