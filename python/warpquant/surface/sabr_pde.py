# SPDX-License-Identifier: Apache-2.0
"""SABR's density without arbitrage, and where the expansions leave it (docs/surface/sabr.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from warpquant import _checks, options
from warpquant.errors import ParameterError

from . import models
from .fits import Floats, floats

__all__ = ["SabrDensity", "sabr_density", "sabr_floor"]

#: How many times the forward is as good as infinite, and one over it as good as 0.
_FAR = 1e26
#: 1 - beta below which prices near 0 are beyond doubles: such a price, absorbed there, is worth what it is at 0.
_NEAR_ONE = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class SabrDensity:
    """The distribution of the forward price at expiry: cells of density, and what is absorbed at both ends.

    Below and above its centre a cell has two densities, with which its mean is there: prices are convex everywhere.

    Attributes
    ----------
    edges : ndarray of float64, shape (cells + 1,)
        Prices between cells, ascending.
    mass : ndarray of float64, shape (cells,)
        Probability of each cell; not negative.
    low, high : float
        Probability that is absorbed at the first and at the last edge.
    centre : ndarray of float64, shape (cells,)
        Where a cell's mass is.
    forward, expiry, shift : float
        As they were given; prices above do not have the shift.
    """

    edges: Floats
    mass: Floats
    low: float
    high: float
    centre: Floats
    forward: float
    expiry: float
    shift: float

    @property
    def density(self) -> Floats:
        """Probability per unit of price in each cell, as a whole."""
        return np.asarray(self.mass / np.diff(self.edges))

    def price(self, strike: Any, is_call: Any = True) -> Any:
        """Undiscounted prices of European options: sums over cells, of which that with the strike counts in part."""
        place, call = np.broadcast_arrays(floats(strike, "strike"), np.asarray(is_call, dtype=bool))
        flat = place.reshape(-1)
        cell = np.clip(np.searchsorted(self.edges, flat, side="right") - 1, 0, len(self.mass) - 1)
        # Of whole cells above the strike's own: mass and mass times price.
        mass = np.concatenate([np.cumsum(self.mass[::-1])[::-1], [0.0]])
        worth = np.concatenate([np.cumsum((self.mass * self.centre)[::-1])[::-1], [0.0]])
        whole = worth[cell + 1] - flat * mass[cell + 1] + (self.edges[-1] - flat) * self.high
        low, middle, high = self.edges[cell], self.centre[cell], self.edges[cell + 1]
        width = high - low
        upper, lower = self.mass[cell] * (middle - low) / width, self.mass[cell] * (high - middle) / width
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(
                flat >= middle,
                0.5 * upper * np.clip(high - flat, 0.0, None) ** 2 / (high - middle),
                upper * (0.5 * (middle + high) - flat) + 0.5 * lower * (middle - flat) ** 2 / (middle - low),
            )
        calls = np.where(flat < self.edges[0], self.forward - flat, np.where(flat > self.edges[-1], 0.0, whole + part))
        made = np.where(call, calls.reshape(place.shape), (calls - (self.forward - flat)).reshape(place.shape))
        return float(made) if made.ndim == 0 else made

    def vol(self, strike: Any) -> Any:
        """Black's volatilities of prices, of forward and strike with their shift."""
        place = floats(strike, "strike")
        call = place >= self.forward
        price = self.price(place, call)
        return options.implied_vol(price, self.forward + self.shift, place + self.shift, self.expiry, 0.0, 0.0, call,
                                   model="black76")  # fmt: skip


def sabr_density(
    forward: float, expiry: float, alpha: float, beta: float, rho: float, nu: float, *, shift: float = 0.0,
    cells: int = 1000, steps: int = 80, deviations: float = 5.0,
) -> SabrDensity:  # fmt: skip
    """SABR's density from a partial differential equation, which has no arbitrage at any strike.

    Mass and mean are kept to rounding: what reaches 0 (less the shift) stays there. A reference for low strikes and
    long expiries, where the expansions of :func:`sabr` have negative densities; milliseconds for a smile.

    Parameters
    ----------
    forward, expiry : float
        Forward price and years.
    alpha, beta, rho, nu : float
        As in :func:`sabr`; nu > 0.
    shift : float
        Added to the forward and to strikes.
    cells, steps : int
        Of the grid in price, at least 10, and in time, at least 5; errors fall with the square of both.
    deviations : float, default 5
        Standard deviations on either side that the grid goes to, at least 1; it ends where the price is 0, or the
        forward (with its shift) times or over 1e26, before that.

    Returns
    -------
    SabrDensity

    Raises
    ------
    ParameterError
        If an argument is out of range.
    ImportError
        If SciPy is not installed.

    Notes
    -----
    The equation is Hagan's in the variable in which the volatility is 1, with its absorbing ends; time steps are those
    of Lawson and Swayne, two implicit ones of (1 - 1 / sqrt(2)) dt and an extrapolation: second order, and no
    oscillation after the point that it begins with.

    References
    ----------
    Hagan, Kumar, Lesniewski and Woodward, Arbitrage-free SABR, Wilmott (2014); Le Floc'h and Kennedy, Finite difference
    techniques for arbitrage-free SABR, J. Comp. Finance 20 (2017).

    Examples
    --------
    >>> from warpquant import surface
    >>> made = surface.sabr_density(0.03, 1.0, 0.04, 0.5, -0.3, 0.4)
    >>> round(made.vol(0.03), 4), round(surface.sabr(0.03, 0.03, 1.0, 0.04, 0.5, -0.3, 0.4)["vol"], 4)
    (0.2329, 0.2329)
    """
    try:
        from scipy.linalg import solve_banded
    except ImportError as error:
        raise ImportError("sabr_density needs SciPy: pip install scipy") from error
    for name, value in (("forward", forward), ("expiry", expiry), ("alpha", alpha), ("beta", beta), ("rho", rho),
                        ("nu", nu), ("shift", shift), ("deviations", deviations)):  # fmt: skip
        _checks.number(name, value, 1.0 if name == "deviations" else -np.inf)
    start = float(forward) + float(shift)
    for name, value, good in (
        ("forward", start, start > 0), ("expiry", expiry, expiry > 0), ("alpha", alpha, alpha > 0),
        ("beta", beta, 0 <= beta <= 1), ("rho", rho, -1 < rho < 1), ("nu", nu, nu > 0),
    ):  # fmt: skip
        if not good:
            raise ParameterError(f"{name}: is {value!r} (with its shift); see the domain of SABR")
    cells, steps = _checks.whole("cells", cells, 10), _checks.whole("steps", steps, 5)
    rest = 1.0 - beta

    def moved(z: Floats) -> Floats:
        return np.asarray(alpha / nu * (np.sinh(nu * z) + rho * (np.cosh(nu * z) - 1.0)))

    def price_of(z: Floats) -> Floats:
        y = moved(z)
        if rest == 0:
            return np.asarray(start * np.exp(y))
        return np.asarray(np.maximum(start**rest + rest * y, 0.0) ** (1.0 / rest))

    def z_of(ratio: float) -> float:
        """Where the price is so many times the forward."""
        y = np.log(ratio) if rest == 0 else start**rest * (ratio**rest - 1.0) / rest
        slope = rho + nu / alpha * y
        root = np.sqrt(1.0 - rho * rho + slope * slope)
        # ln(root + slope) with slope < 0: without its cancellation.
        return float(np.log((1.0 - rho * rho) / (root - slope) if slope < 0 else root + slope) - np.log1p(rho)) / nu

    # The ends, in z: so many deviations out, or where the price is 0, or as good as that, or as good as infinite.
    reach = deviations * np.sqrt(expiry)
    low = max(-reach, z_of(1.0 / _FAR if rest < _NEAR_ONE else 0.0))
    reach = min(reach, z_of(_FAR))
    # The forward is in the middle of a cell.
    before = max(int(-low / (reach - low) * cells), 1)
    h = -low / (before - 0.5)
    count = before + int(np.ceil(reach / h))
    z_edges = low + h * np.arange(count + 1)
    edges = price_of(z_edges)
    middle = z_edges[:-1] + 0.5 * h
    centre = price_of(middle)
    # Cells beyond both ends mirror those inside, so that the ends are in the middle.
    f = np.concatenate([[2.0 * edges[0] - centre[0]], centre, [2.0 * edges[-1] - centre[-1]]])
    y = moved(middle)
    size = np.sqrt(alpha**2 + 2.0 * alpha * rho * nu * y + (nu * y) ** 2) * centre**beta
    away = centre - start
    near = np.abs(away) < 1e-9 * start
    with np.errstate(invalid="ignore", divide="ignore"):
        gamma = np.where(near, beta * start ** (beta - 1.0), (centre**beta - start**beta) / away)
    # Half the flux between neighbours: (C E theta)' / 2 h over the distance of their prices.
    left, right = 0.5 / (f[1:-1] - f[:-2]), 0.5 / (f[2:] - f[1:-1])
    theta = np.zeros(count)
    theta[before - 1] = 1.0  # mass of the cell
    absorbed = np.zeros(2)
    bands = np.zeros((3, count))

    def implicit(mass: Floats, time: float, dt: float) -> tuple[Floats, Floats]:
        strength = size * np.exp(rho * nu * alpha * gamma * time) * dt / h
        out_left, out_right = strength * left, strength * right
        bands[1] = 1.0 + out_left + out_right
        # Through the ends goes twice as much: beyond them is a mirror.
        bands[1, 0] += out_left[0]
        bands[1, -1] += out_right[-1]
        bands[0, 1:] = -out_left[1:]
        bands[2, :-1] = -out_right[:-1]
        made = solve_banded((1, 1), bands, mass, check_finite=False)
        return made, np.array([2.0 * out_left[0] * made[0], 2.0 * out_right[-1] * made[-1]])

    dt = expiry / steps
    share = 1.0 - np.sqrt(0.5)
    for step in range(steps):
        time = step * dt
        first, lost = implicit(theta, time + share * dt, share * dt)
        second, more = implicit(first, time + 2.0 * share * dt, share * dt)
        theta = (np.sqrt(2.0) + 1.0) * second - np.sqrt(2.0) * first
        absorbed += (np.sqrt(2.0) + 1.0) * (lost + more) - np.sqrt(2.0) * lost
    return SabrDensity(edges - shift, theta, float(absorbed[0]), float(absorbed[1]), centre - shift, float(forward),
                       float(expiry), float(shift))  # fmt: skip


def sabr_floor(
    forward: Any, expiry: Any, alpha: Any, beta: Any, rho: Any, nu: Any, *, variant: str = "hagan", shift: Any = 0.0,
) -> Any:  # fmt: skip
    """The strike below which an expansion of SABR has a negative density, so that butterflies are worth less than 0.

    Parameters
    ----------
    forward, expiry, alpha, beta, rho, nu, shift : float or array
        As in :func:`sabr`. They broadcast.
    variant : {'hagan', 'obloj', 'normal'}
        As there.

    Returns
    -------
    float or ndarray of float64
        The highest strike below the forward where the density turns negative; NaN where it does not down to a
        ten-thousandth of the forward (with its shift), or where there is no volatility.

    Examples
    --------
    >>> from warpquant import surface
    >>> round(surface.sabr_floor(0.03, 10.0, 0.04, 0.5, -0.1, 0.5), 4)
    0.0109
    """
    columns = np.broadcast_arrays(*(floats(v, n) for v, n in zip(
        (forward, expiry, alpha, beta, rho, nu, shift), ("forward", "expiry", "alpha", "beta", "rho", "nu", "shift"),
        strict=True,
    )))  # fmt: skip
    shape = columns[0].shape
    table = [column.reshape(-1, 1) for column in columns]
    fixed, moved = table[0], table[6]
    scale = fixed + moved

    def negative(u: Floats) -> Any:
        """Whether the density is negative at strikes of ln((K + shift) / (F + shift)) = u."""
        strike = scale * np.exp(u) - moved
        made = models.sabr(fixed, strike, *table[1:6], variant=variant, shift=moved,
                           outputs=("vol", "dvol_dstrike", "d2vol_dstrike2"))  # fmt: skip
        vol, slope, bend = made["vol"], made["dvol_dstrike"], made["d2vol_dstrike2"]
        with np.errstate(all="ignore"):
            if variant == "normal":
                root = np.sqrt(table[1])
                v, dv, d2v = vol * root, slope * root, bend * root
                d = (fixed - strike) / v
                return (1.0 + d * dv) ** 2 + v * d2v < 0
            at = strike + moved
            w, first = vol * vol * table[1], at * slope
            dw = 2.0 * vol * first * table[1]
            d2w = 2.0 * table[1] * (first * first + vol * (first + at * at * bend))
            return models.dupire(u, w, dw, d2w, 1.0, outputs=("g",))["g"] < 0

    with np.errstate(invalid="ignore"):
        grid = np.broadcast_to(-np.linspace(0.0, np.log(1e4), 400), (len(scale), 400))
        bad = negative(np.ascontiguousarray(grid))
    found = bad.any(axis=1)
    first = np.argmax(bad, axis=1)
    rows = np.arange(len(scale))
    high, low = grid[rows, np.maximum(first - 1, 0)][:, None], grid[rows, first][:, None]
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = negative(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    strikes = np.where(found, (scale * np.exp(low) - moved)[:, 0], np.nan).reshape(shape)
    return float(strikes) if strikes.ndim == 0 else strikes
