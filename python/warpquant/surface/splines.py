# SPDX-License-Identifier: Apache-2.0
"""Curves without a model: monotone, natural, under tension, rational, smoothed with shape (docs/surface/splines.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from warpquant import _checks
from warpquant.errors import ParameterError, ShapeError, StateError

from . import _variance
from ._quadratic import quadratic
from .fits import Floats, floats, plain

__all__ = ["KINDS", "Curve", "PriceSmile", "Slice", "Smile", "interpolate", "rbf", "smile", "smooth_prices"]

#: Ways to interpolate, of `interpolate`.
KINDS = ("pchip", "fritsch_carlson", "hyman", "steffen", "natural", "tension", "rational", "convex")
_RBF = ("thin_plate", "gaussian", "matern")
#: What a curve of radial functions may be off its own points, beside the range of their values.
_MISSED = 1e-4
#: Slopes of total variance stay below 2 (Lee, 2004).
_STEEPEST = 2.0 - 1e-6


class Slice(Protocol):
    """What a smile of one expiry can do, of whatever model."""

    def total_variance(self, k: Any) -> Any:
        """Total variance at k = ln(strike / forward)."""

    def vol(self, k: Any) -> Any:
        """Implied volatility at k."""

    def derivative(self, k: Any, order: int = 1) -> Any:
        """First or second derivative of total variance by k."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A function of one variable and its derivatives.

    Attributes
    ----------
    x : ndarray of float64, shape (knots,)
        Knots. Beyond the first and the last one the outer pieces go on.
    """

    x: Floats
    _call: Callable[[Floats, int], Floats] = dataclasses.field(repr=False, compare=False)

    def __call__(self, x: Any, order: int = 0) -> Any:
        """The function, or its derivative of order 1 or 2, at x."""
        _checks.whole("order", order, 0, 2)
        made = self._call(floats(x, "x"), order)
        return float(made) if np.ndim(made) == 0 else made


def _scipy() -> Any:
    try:
        from scipy import interpolate as found
    except ImportError as error:
        raise ImportError("splines need SciPy: pip install 'warpquant[scipy]'") from error
    return found


def _knots(x: Any, y: Any, least: int = 2) -> tuple[Floats, Floats]:
    place, value = floats(x, "x"), floats(y, "y")
    if place.ndim != 1 or place.shape != value.shape:
        raise ShapeError(f"x, y: have shapes {place.shape} and {value.shape}; accepted are two of one dimension")
    good = np.isfinite(place) & np.isfinite(value)
    place, value = place[good], value[good]
    if len(place) < least:
        raise ParameterError(f"x: has {len(place)} finite points; at least {least} are needed")
    if not (np.diff(place) > 0).all():
        raise ParameterError("x: must be in ascending order, without repetitions")
    return place, value


def interpolate(x: Any, y: Any, kind: str = "natural", *, tension: Any = 1.0) -> Curve:
    """A curve through points.

    Parameters
    ----------
    x, y : array of float, shape (points,)
        Points, x in ascending order; those with a number that is not finite are left out.
    kind : {'pchip', 'fritsch_carlson', 'hyman', 'steffen', 'natural', 'tension', 'rational', 'convex'}
        The first four are cubic, with a continuous slope, and monotone wherever the points are: by the harmonic mean of
        secants (Fritsch and Butland), by slopes drawn into the circle of radius 3 (Fritsch and Carlson), by the natural
        spline's slopes cut at three times the lesser secant (Hyman), by a parabola's slopes cut at twice (Steffen, who
        never leaves the range of neighbours). 'natural' is the cubic spline with no bend at its ends. 'tension' is the
        natural spline under tension, which goes from it to straight lines. 'rational' is Delbourgo and Gregory's
        monotone, 'convex' their convex one, for points that are.
    tension : float or array, shape (points - 1,), default 1
        For 'tension': the tension of each interval, per mean distance of the points; 0 for a cubic one.

    Returns
    -------
    Curve

    Raises
    ------
    ParameterError
        If points repeat, are too few, or have not the shape that a rational curve is asked to keep.
    ShapeError
        If x and y are not alike.
    ImportError
        If SciPy is not installed: it comes with ``warpquant[scipy]``.

    References
    ----------
    Fritsch and Carlson, SIAM Journal on Numerical Analysis 17 (1980); Hyman, SIAM J. Sci. Stat. Comput. 4 (1983);
    Steffen, Astron. Astrophys. 239 (1990); Rentrop, Numerische Mathematik 35 (1980); Delbourgo and Gregory, SIAM J.
    Sci. Stat. Comput. 6 (1985).

    Examples
    --------
    >>> from warpquant import surface
    >>> theta = surface.interpolate([0.1, 0.5, 1.0], [0.004, 0.02, 0.03], "steffen")
    >>> bool(0.004 < theta(0.2) < 0.02), bool(theta(0.2, 1) > 0)
    (True, True)
    """
    _checks.choice("kind", kind, KINDS)
    place, value = _knots(x, y)
    if kind == "tension":
        return _tension(place, value, tension)
    if kind in ("rational", "convex"):
        return _rational(place, value, kind == "convex")
    found = _scipy()
    if kind == "pchip":
        made = found.PchipInterpolator(place, value)
    elif kind == "natural" or len(place) == 2:
        made = found.CubicSpline(place, value, bc_type="natural")
    else:
        rule = {"fritsch_carlson": _fritsch_carlson, "hyman": _hyman, "steffen": _steffen}[kind]
        made = found.CubicHermiteSpline(place, value, rule(place, value))
    return Curve(place, lambda at, order: np.asarray(made(at, order)))


def _secants(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    h = np.diff(x)
    return h, np.diff(y) / h


def _parabola(h: Floats, secant: Floats) -> Floats:
    """Slopes of parabolas through three points, at all points."""
    inner = (secant[:-1] * h[1:] + secant[1:] * h[:-1]) / (h[:-1] + h[1:])
    first = secant[0] + (secant[0] - secant[1]) * h[0] / (h[0] + h[1])
    last = secant[-1] + (secant[-1] - secant[-2]) * h[-1] / (h[-1] + h[-2])
    return np.concatenate([[first], inner, [last]])


def _fritsch_carlson(x: Floats, y: Floats) -> Floats:
    h, secant = _secants(x, y)
    slope = _parabola(h, secant)
    around = np.stack([np.concatenate([secant[:1], secant]), np.concatenate([secant, secant[-1:]])])
    slope[(around[0] * around[1] <= 0) | (slope * around[0] < 0)] = 0.0
    for i in range(len(secant)):
        if secant[i] == 0.0:
            slope[i] = slope[i + 1] = 0.0
            continue
        length = np.hypot(slope[i], slope[i + 1]) / abs(secant[i])
        if length > 3.0:
            slope[i : i + 2] *= 3.0 / length
    return slope


def _hyman(x: Floats, y: Floats) -> Floats:
    _, secant = _secants(x, y)
    slope = np.asarray(_scipy().CubicSpline(x, y, bc_type="natural")(x, 1))
    before, after = np.concatenate([secant[:1], secant]), np.concatenate([secant, secant[-1:]])
    least = 3.0 * np.minimum(np.abs(before), np.abs(after))
    cut = np.sign(before) * np.clip(np.sign(before) * slope, 0.0, least)
    return np.where(before * after > 0, cut, 0.0)


def _steffen(x: Floats, y: Floats) -> Floats:
    h, secant = _secants(x, y)
    slope = _parabola(h, secant)
    least = np.minimum(np.minimum(np.abs(secant[:-1]), np.abs(secant[1:])), 0.5 * np.abs(slope[1:-1]))
    slope[1:-1] = (np.sign(secant[:-1]) + np.sign(secant[1:])) * least
    for end, near in ((0, 0), (-1, -1)):
        slope[end] = np.sign(secant[near]) * np.clip(np.sign(secant[near]) * slope[end], 0.0, 2.0 * abs(secant[near]))
    return slope


def _piece(x: Floats, at: Floats) -> npt.NDArray[np.intp]:
    return np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)


def _sinh_less(x: Floats) -> Floats:
    """Sinh x - x, without cancellation."""
    x2 = x * x
    series = x * x2 / 6.0 * (1 + x2 / 20 * (1 + x2 / 42 * (1 + x2 / 72 * (1 + x2 / 110 * (1 + x2 / 156)))))
    return np.where(np.abs(x) < 1.0, series, np.sinh(np.clip(x, -700.0, 700.0)) - x)


def _tension(x: Floats, y: Floats, tension: Any) -> Curve:
    h, secant = _secants(x, y)
    given = floats(tension, "tension")
    if given.shape not in ((), h.shape) or not (np.isfinite(given).all() and (given >= 0).all()):
        raise ParameterError(f"tension: accepted are finite numbers from 0, one or {len(h)}")
    # Of a cubic piece, 0, the product of tension and length is as good as 1e-5: they differ by 1e-11.
    pull = np.clip(given / h.mean() * h, 1e-5, 600.0)
    sinh = np.sinh(pull)
    outer = _sinh_less(pull) / sinh * h / (pull * pull)
    inner = (2.0 * pull * np.sinh(0.5 * pull) ** 2 - _sinh_less(pull)) / sinh * h / (pull * pull)
    bend = np.zeros(len(x))
    if len(x) > 2:
        matrix = np.diag(inner[:-1] + inner[1:]) + np.diag(outer[1:-1], 1) + np.diag(outer[1:-1], -1)
        bend[1:-1] = np.linalg.solve(matrix, np.diff(secant))

    def half(i: npt.NDArray[np.intp], share: Floats, order: int) -> Floats:
        """(sinh(s t) / sinh(s h) - t / h) / s^2 of t = share h, and its derivatives by t."""
        s, length = pull[i], h[i]
        t = s * share
        if order == 0:
            return np.asarray((_sinh_less(t) - share * _sinh_less(s)) / sinh[i] * length**2 / s**2)
        if order == 1:
            return np.asarray((2.0 * s * np.sinh(0.5 * t) ** 2 - _sinh_less(s)) / sinh[i] * length / s**2)
        return np.asarray(np.sinh(t) / sinh[i])

    def call(at: Floats, order: int) -> Floats:
        inside = np.clip(at, x[0], x[-1])
        i = _piece(x, inside)
        share = (inside - x[i]) / h[i]
        sign = -1.0 if order == 1 else 1.0
        made = bend[i + 1] * half(i, share, order) + sign * bend[i] * half(i, 1.0 - share, order)
        if order == 0:
            made = made + y[i] + share * (y[i + 1] - y[i])
        elif order == 1:
            made = made + secant[i]
        # Ends have no bend: beyond them it is straight.
        beyond = at - inside
        if order == 0 and np.any(beyond):
            made = made + beyond * call(inside, 1)
        return np.where(beyond != 0, 0.0, made) if order == 2 else made

    return Curve(x, call)


def _rational(x: Floats, y: Floats, convex: bool) -> Curve:
    h, secant = _secants(x, y)
    bends = np.diff(secant)
    if convex:
        size: Any = 1e-12 * float(np.abs(secant).max(initial=0.0))
        if not ((bends >= -size).all() or (bends <= size).all()):
            raise ParameterError("y: is neither convex nor concave at all points, as kind 'convex' needs")
    elif not ((secant >= 0).all() or (secant <= 0).all()):
        raise ParameterError("y: neither rises nor falls at all points, as kind 'rational' needs")
    if len(x) == 2:
        slope = np.full(2, secant[0])
    elif convex:
        slope = _parabola(h, secant)
    else:
        # Geometric means of the secants: 0 wherever one of them is.
        share = h[1:] / (h[:-1] + h[1:])
        size = np.abs(secant)
        with np.errstate(divide="ignore", invalid="ignore"):
            wide = np.abs(y[2:] - y[:-2]) / (x[2:] - x[:-2])
            first = size[0] * (size[0] / wide[0]) ** (h[0] / h[1])
            last = size[-1] * (size[-1] / wide[-1]) ** (h[-1] / h[-2])
        middle = size[:-1] ** share * size[1:] ** (1.0 - share)
        slope = np.sign(y[-1] - y[0]) * np.nan_to_num(np.concatenate([[first], middle, [last]]))
    rise, fall = slope[1:] - secant, secant - slope[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        free = 1.0 + rise / fall + fall / rise if convex else 1.0 + (slope[:-1] + slope[1:]) / secant
    straight = ~np.isfinite(free) | (free <= -1.0 + 1e-9)
    free = np.where(straight, 3.0, free)
    left, right = np.where(straight, secant, slope[:-1]), np.where(straight, secant, slope[1:])
    # A straight line and what bends it: h u(t) / q(t), with u = t (1 - t) (lean + turn t).
    lean, turn = left - secant, 2.0 * secant - left - right

    def call(at: Floats, order: int) -> Floats:
        inside = np.clip(at, x[0], x[-1])
        i = _piece(x, inside)
        t = (inside - x[i]) / h[i]
        u = t * (1.0 - t) * (lean[i] + turn[i] * t)
        q = 1.0 + (free[i] - 3.0) * t * (1.0 - t)
        if order == 0:
            beyond = (at - inside) * (call(inside, 1) if np.any(at != inside) else 0.0)
            return np.asarray(y[i] + secant[i] * (inside - x[i]) + h[i] * u / q + beyond)
        du = lean[i] + t * (2.0 * (turn[i] - lean[i]) - 3.0 * t * turn[i])
        dq = (free[i] - 3.0) * (1.0 - 2.0 * t)
        slope = (du - u / q * dq) / q
        if order == 1:
            return np.asarray(secant[i] + slope)
        bend = (2.0 * (turn[i] - lean[i]) - 6.0 * t * turn[i] - 2.0 * slope * dq + 2.0 * u / q * (free[i] - 3.0)) / q
        return np.where(at == inside, bend / h[i], 0.0)

    return Curve(x, call)


def rbf(
    x: Any, y: Any, kind: str = "thin_plate", *, scale: float | None = None, ridge: float = 0.0, linear: bool = True
) -> Curve:
    """Radial basis functions through points, or near them, with a linear tail.

    Parameters
    ----------
    x, y : array of float, shape (points,)
        Points, x in ascending order.
    kind : {'thin_plate', 'gaussian', 'matern'}
        r^2 ln r, exp(-r^2), and Matern's with smoothness 5/2, (1 + sqrt5 r + 5 r^2 / 3) exp(-sqrt5 r); r is the
        distance over the scale.
    scale : float, optional
        By default four mean distances of the points.
    ridge : float, default 0
        Added to the diagonal: above 0 the curve smooths.
    linear : bool, default True
        Whether a straight line is fitted along, to which the curve goes far out; needed by 'thin_plate'.

    Returns
    -------
    Curve

    Raises
    ------
    ParameterError
        If an argument is out of range, points repeat or are too few, or the scale is so wide beside their distances
        that the curve would not go through them.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k = np.linspace(-0.2, 0.2, 9)
    >>> curve = surface.rbf(k, 0.04 - 0.05 * k + 0.3 * k * k, "matern")
    >>> bool(abs(curve(0.03) - 0.03877) < 1e-4)
    True
    """
    _checks.choice("kind", kind, _RBF)
    place, value = _knots(x, y, 3)
    _checks.number("ridge", ridge, 0.0)
    if kind == "thin_plate" and not linear:
        raise ParameterError("linear: must be True with 'thin_plate', which is not definite without the line")
    length = 4.0 * float(np.diff(place).mean()) if scale is None else _checks.number("scale", scale, 1e-12)
    middle = float(place.mean())
    n, tail = len(place), 2 if linear else 0

    def tails(at: Floats) -> Floats:
        return np.stack([np.ones_like(at), (at - middle) / length], axis=-1)[..., :tail]

    matrix = np.zeros((n + tail, n + tail))
    matrix[:n, :n] = _radial(kind, (place[:, None] - place[None, :]) / length, 0) + ridge * np.identity(n)
    matrix[:n, n:], matrix[n:, :n] = tails(place), tails(place).T
    wanted = np.concatenate([value, np.zeros(tail)])
    try:
        factors = np.linalg.solve(matrix, wanted)
        missed = float(np.abs(matrix @ factors - wanted).max())
    except np.linalg.LinAlgError:
        missed = np.inf
    if not missed <= _MISSED * max(float(np.ptp(value)), 1e-6 * float(np.abs(value).max())):
        raise ParameterError(
            f"scale: {length:.6g} is too wide for points {np.diff(place).min():.3g} apart: doubles cannot tell their "
            "functions from each other; accepted are smaller ones, or a ridge above 0"
        )

    def call(at: Floats, order: int) -> Floats:
        made = _radial(kind, (at[..., None] - place) / length, order) @ factors[:n] / length**order
        if linear and order == 0:
            made = made + tails(at) @ factors[n:]
        elif linear and order == 1:
            made = made + factors[n + 1] / length
        return np.asarray(made)

    return Curve(place, call)


def _radial(kind: str, r: Floats, order: int) -> Floats:
    """Radial functions of a signed distance, or their derivatives by it."""
    if kind == "gaussian":
        size = np.exp(-r * r)
        return (size, -2.0 * r * size, (4.0 * r * r - 2.0) * size)[order]
    if kind == "matern":
        s = np.sqrt(5.0) * np.abs(r)
        decay = np.exp(-s)
        matern: tuple[Floats, ...] = (
            (1.0 + s + s * s / 3.0) * decay, -5.0 / 3.0 * r * (1.0 + s) * decay, -5.0 / 3.0 * (1.0 + s - s * s) * decay
        )  # fmt: skip
        return matern[order]
    size = np.abs(r)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(size > 0, np.log(size), 0.0)
    made: Floats = (r * r * log, r * (2.0 * log + 1.0), np.where(size > 0, 2.0 * log + 3.0, 0.0))[order]
    return made


@dataclasses.dataclass(frozen=True, eq=False)
class _Winged:
    """A smile that is a curve between its first and last knot; beyond, total variance is straight.

    The wings go on with the curve's slope, cut so that total variance neither falls outwards nor rises by 2 or more
    (Lee's bound).
    """

    curve: Curve
    years: float

    def _ends(self) -> tuple[float, float]:
        """The first and the last knot, in k."""
        raise NotImplementedError

    def _between(self, k: Floats, order: int) -> Floats:
        """Total variance between the knots, or a derivative."""
        raise NotImplementedError

    def _split(self, k: Any) -> tuple[Floats, Floats, Floats]:
        place, (low, high) = floats(k, "k"), self._ends()
        ends = self._between(np.array([low, high]), 1)
        inside = np.clip(place, low, high)
        slope = np.where(place < inside, np.clip(ends[0], -_STEEPEST, 0.0), np.clip(ends[1], 0.0, _STEEPEST))
        return place, inside, slope

    def total_variance(self, k: Any) -> Any:
        """Total variance at k = ln(strike / forward); NaN where there is none."""
        place, inside, slope = self._split(k)
        return plain(self._between(inside, 0) + (place - inside) * slope)

    def vol(self, k: Any) -> Any:
        """Implied volatility at k."""
        with np.errstate(invalid="ignore"):
            return plain(np.sqrt(self.total_variance(k) / self.years))

    def derivative(self, k: Any, order: int = 1) -> Any:
        """First or second derivative of total variance by k."""
        _checks.whole("order", order, 1, 2)
        place, inside, slope = self._split(k)
        return plain(np.where(place == inside, self._between(inside, order), slope if order == 1 else 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class Smile(_Winged):
    """A smile that is a curve of total variance between its first and last knot, and straight beyond.

    The wings go on with the curve's slope, cut so that total variance neither falls outwards nor rises by 2 or more
    (Lee's bound).

    Attributes
    ----------
    curve : Curve
        Total variance of k.
    years : float
        Time to expiry.
    """

    def _ends(self) -> tuple[float, float]:
        return float(self.curve.x[0]), float(self.curve.x[-1])

    def _between(self, k: Floats, order: int) -> Floats:
        return np.asarray(self.curve(k, order))


@dataclasses.dataclass(frozen=True, eq=False)
class PriceSmile(_Winged):
    """A smile that is a curve of call prices, in units of the discounted forward, over strike / forward.

    Beyond the first and the last knot total variance is straight, as that of `Smile`.

    Attributes
    ----------
    curve : Curve
        Calls.
    years : float
        Time to expiry.
    """

    def price(self, k: Any) -> Any:
        """Calls in units of the discounted forward, at k = ln(strike / forward) between the knots."""
        return self.curve(np.exp(floats(k, "k")))

    def _ends(self) -> tuple[float, float]:
        return float(np.log(self.curve.x[0])), float(np.log(self.curve.x[-1]))

    def _between(self, k: Floats, order: int) -> Floats:
        x = np.exp(k)
        price = np.asarray(self.curve(x))
        w = _variance.of_price(k, np.where(k < 0, price - 1.0 + x, price))
        if order == 0:
            return w
        slope, bend = np.asarray(self.curve(x, 1)), np.asarray(self.curve(x, 2))
        return _variance.slopes(k, w, np.where(k < 0, 1.0 + slope, -slope), bend * x)[order - 1]


def smile(k: Any, w: Any, years: float, kind: str = "natural", **options: Any) -> Smile:
    """A smile through quotes, in total variance, with wings below Lee's bound.

    Parameters
    ----------
    k, w : array of float, shape (quotes,)
        ln(strike / forward), ascending, and total variance.
    years : float
        Time to expiry.
    kind : str
        Of `interpolate` or of `rbf`.
    **options
        For them: `tension`, or `scale`, `ridge`, `linear`.

    Returns
    -------
    Smile

    Raises
    ------
    ParameterError
        If the kind is unknown, points repeat or are too few, years are not above 0 or a total variance is below 0.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k = np.linspace(-0.3, 0.2, 11)
    >>> cut = surface.smile(k, surface.svi(k, 0.01, 0.1, -0.4, 0.0, 0.1)["w"], 0.5, "tension", tension=2.0)
    >>> bool(cut.vol(-2.0) > cut.vol(-0.3)), bool(-2.0 < cut.derivative(-2.0) < 0.0)
    (True, True)
    """
    _checks.choice("kind", kind, (*KINDS, *_RBF))
    if not _checks.number("years", years, 0.0) > 0:
        raise ParameterError("years: is 0; accepted are numbers above 0")
    if (floats(w, "w") < 0).any():
        raise ParameterError(f"w: has {float(np.nanmin(floats(w, 'w')))}; accepted are total variances from 0")
    curve = rbf(k, w, kind, **options) if kind in _RBF else interpolate(k, w, kind, **options)
    return Smile(curve, float(years))


def smooth_prices(
    k: Any, price: Any, years: float, *, weights: Any = None, smoothing: float = 1e-6, least: Any = None,
    most: Any = None,
) -> PriceSmile:  # fmt: skip
    """A smile from a smoothing spline through call prices that has no butterfly arbitrage (Fengler).

    The natural cubic spline g that minimises the weighted squares of price - g, plus `smoothing` times the integral of
    g''^2, under g'' >= 0, slopes from -1 to 0 and values between intrinsic value and 1: a quadratic programme.

    Parameters
    ----------
    k, price : array of float, shape (quotes,)
        ln(strike / forward), ascending, and calls in units of the discounted forward.
    years : float
        Time to expiry.
    weights : array of float, shape (quotes,), optional
        Of the squares; 1 by default.
    smoothing : float, default 1e-6
        How much bends cost.
    least, most : array of float, shape (quotes,), optional
        Bounds of the values, such as those of the expiry before and of the one after at equal k, which keep the order
        in time.

    Returns
    -------
    PriceSmile

    Raises
    ------
    ParameterError
        If points repeat or are too few, or an argument is out of range.
    StateError
        If nothing meets the bounds.
    ImportError
        If SciPy is not installed: it comes with ``warpquant[scipy]``.

    References
    ----------
    Fengler, Arbitrage-free smoothing of the implied volatility surface, Quant. Finance 9 (2009), sections 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> x = np.linspace(0.8, 1.2, 9)
    >>> price = np.array([0.2061, 0.1617, 0.1217, 0.0873, 0.0597, 0.0386, 0.0240, 0.0160, 0.0080])
    >>> smooth = surface.smooth_prices(np.log(x), price, 0.5)
    >>> bool((smooth.curve(np.linspace(0.8, 1.2, 99), 2) > -1e-9).all())
    True
    """
    found = _scipy()
    place, value = _knots(k, price, 3)
    if len(place) != np.size(k):
        raise ParameterError("k, price: must be finite")
    _checks.number("smoothing", smoothing, 0.0)
    n, x = len(place), np.exp(place)
    weight = np.ones(n) if weights is None else floats(weights, "weights")
    low = np.maximum(1.0 - x, 0.0)
    low = low if least is None else np.maximum(low, floats(least, "least"))
    high = np.ones(n) if most is None else np.minimum(1.0, floats(most, "most"))
    if weight.shape != (n,) or low.shape != (n,) or high.shape != (n,) or not (weight >= 0).all():
        raise ParameterError(f"weights, least, most: accepted are {n} numbers, weights from 0")
    if not (np.isfinite(weight).all() and weight.any()):
        raise ParameterError("weights: accepted are finite numbers from 0, not all of them 0")
    if not _checks.number("years", years, 0.0) > 0:
        raise ParameterError("years: is 0; accepted are numbers above 0")
    h = np.diff(x)
    # Unknowns: values and, in units of the mean distance squared, second derivatives inside: Q'g = R gamma.
    unit = float(h.mean())
    q, r = np.zeros((n, n - 2)), np.zeros((n - 2, n - 2))
    for i in range(n - 2):
        q[i : i + 3, i] = 1.0 / h[i], -1.0 / h[i] - 1.0 / h[i + 1], 1.0 / h[i + 1]
        r[i, i] = (h[i] + h[i + 1]) / 3.0
        if i + 1 < n - 2:
            r[i, i + 1] = r[i + 1, i] = h[i + 1] / 6.0
    r /= unit * unit
    weight = weight / weight.mean()
    square = np.zeros((2 * n - 2, 2 * n - 2))
    square[np.arange(n), np.arange(n)] = weight
    square[n:, n:] = smoothing * r / (unit * unit)
    start, end = np.zeros((2, 2 * n - 2))
    start[0], start[1], start[n] = -1.0 / h[0], 1.0 / h[0], -h[0] / 6.0 / unit**2
    end[n - 2], end[n - 1], end[-1] = -1.0 / h[-1], 1.0 / h[-1], h[-1] / 6.0 / unit**2
    values, bends = np.identity(2 * n - 2)[:n], np.identity(2 * n - 2)[n:]
    inside = np.concatenate([bends, start[None], -end[None], values, -values])
    bounds = np.concatenate([np.zeros(n - 2), [-1.0, 0.0], low, -high])
    equal = np.concatenate([q.T, -r], axis=1) * unit
    first = np.concatenate([np.clip(value, low, high), np.zeros(n - 2)])
    solved, _, good = quadratic(
        square, np.concatenate([weight * value, np.zeros(n - 2)]), inside, bounds, equal, np.zeros(n - 2), first
    )
    if not good:
        raise StateError("no convex curve lies within the bounds of the prices")
    made = found.CubicSpline(x, solved[:n], bc_type="natural")
    return PriceSmile(Curve(x, lambda at, order: np.asarray(made(at, order))), float(years))
