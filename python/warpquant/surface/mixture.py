# SPDX-License-Identifier: Apache-2.0
"""Surfaces as close as quotes allow that are still free of arbitrage by construction (docs/surface/mixture.md)."""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, options
from warpquant.errors import ParameterError, ShapeError

from . import _variance, models
from ._quadratic import quadratic
from .essvi import EssviFit, balanced, essvi_to_svi, fit_essvi
from .fits import Certificate, Crossings, Floats, alike, fit_svi, floats, ragged, vega_weights

__all__ = ["MIXTURE_STATUS", "Mixture", "MixtureFit", "fit_mixture"]

#: What the codes of `MixtureFit.status` mean, by code.
MIXTURE_STATUS = ("ok", "quotes break the order in time: as before, spread to its nodes")
#: Share of the standard deviation of an expiry that the kernel has, and distance of nodes in kernels' deviations.
_KERNEL, _SPACING = 0.3, 0.9
#: Standard deviations that nodes reach at least, and their most.
_REACH, _MOST = 8.0, 220
#: What bends of the ratio to the backbone cost, and distances from 1, beside the mean square of errors in half spreads.
_BENDS, _DISTANCE = 3e-2, 1e-3
#: Half spreads from which an error counts linearly.
_HUBER = 0.7
#: Points that are evaluated at once.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """The law of S / F at one expiry: a discrete one times an independent lognormal one.

    Attributes
    ----------
    nodes, masses : ndarray of float64, shape (nodes,)
        Where the discrete law is, ascending, and its chances, which sum to 1, as their products with nodes do.
    variance : float
        Of the logarithm of the other factor.
    """

    nodes: Floats
    masses: Floats
    variance: float

    def potential(self, x: Any) -> Floats:
        """Out-of-the-money options on the discrete law: E (x - M)+ below 1, E (M - x)+ from 1 on."""
        at = floats(x, "x")
        gap = self.nodes - at[..., None]
        return np.asarray(np.maximum(np.where(at[..., None] < 1.0, -gap, gap), 0.0) @ self.masses)

    def parts(self, k: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
        """Out-of-the-money price, chance of ending beyond the strike, and density of ln(S / F), with other variances.

        In units of the discounted forward; puts below k = 0, calls elsewhere.
        """
        made = np.empty((3, len(k)))
        for begin in range(0, len(k), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            place, root = k[part, None], np.sqrt(variance[part, None])
            shape = (place.shape[0], len(self.nodes))
            greeks = options.greeks(
                np.broadcast_to(self.nodes, shape).copy(), np.broadcast_to(np.exp(place), shape).copy(),
                np.ones(shape), 0.0, 0.0, np.broadcast_to(root, shape).copy(),
                np.broadcast_to(place >= 0, shape).copy(), model="black76", outputs=("price", "dual_delta"),
            )  # fmt: skip
            d2 = (np.log(self.nodes) - place) / root - 0.5 * root
            made[0, part] = greeks["price"] @ self.masses
            made[1, part] = np.abs(greeks["dual_delta"]) @ self.masses
            made[2, part] = np.exp(-0.5 * d2 * d2) @ self.masses / (np.sqrt(2.0 * np.pi) * root[:, 0])
        return made[0], made[1], made[2]

    def total_variance(self, k: Any) -> Any:
        """Total variance at k = ln(strike / forward)."""
        place = floats(k, "k")
        flat = place.reshape(-1)
        price = self.parts(flat, np.full(len(flat), self.variance))[0]
        made = self._variance(flat, price, np.full(len(flat), self.variance)).reshape(place.shape)
        return float(made) if made.ndim == 0 else made

    def _variance(self, k: Floats, price: Floats, variance: Floats) -> Floats:
        """Total variance of out-of-the-money prices, and its limit where they are too small to be numbers."""
        w = _variance.of_price(k, price)
        edge = np.log(np.where(k < 0, self.nodes[0], self.nodes[-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = variance * np.square(k / (k - edge))
        return np.where((price < 1e-290) & (np.abs(k) > np.abs(edge)), limit, w)


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureFit:
    """Slices of a surface, in the order of their expiries.

    Attributes
    ----------
    slices : tuple of Mixture
        Of each expiry.
    backbone : EssviFit
        The eSSVI surface to which the slices go where there are no quotes.
    rmse : ndarray of float64, shape (slices,)
        Root mean squared error of prices, in half spreads; NaN for a slice without quotes.
    status : ndarray of int8, shape (slices,)
        0 fitted; 1 quotes that cannot be met in the order of time: the slice is that before, on its own nodes.
        `MIXTURE_STATUS` has them in words.
    """

    slices: tuple[Mixture, ...]
    backbone: EssviFit
    rmse: Floats
    status: npt.NDArray[np.int8]


def fit_mixture(
    k: Any, w: Any, bid: Any = None, ask: Any = None, offsets: Any = None, *, start: Any = None,
    smoothness: float = 1.0,
) -> MixtureFit:  # fmt: skip
    """The surface of lognormal mixtures nearest to quotes that has no arbitrage, of butterflies or in time.

    S / F at an expiry is M L: M on nodes, with chances that are fitted, L lognormal and independent. Densities are
    positive whatever the chances are. Surfaces rise in time if the variance of L does and M grows in the convex order,
    which is linear in the chances. So each expiry is a quadratic programme: errors of prices in half spreads, squared
    (linear from 0.7 of a half spread on), and bends of the ratio of the chances to those of the eSSVI surface of all
    quotes.

    Parameters
    ----------
    k, w : array
        ln(strike / forward) and total variance of quotes, one smile after the other in the order of expiries: a list of
        arrays, a table with one smile a row (NaN where it is short), or one flat array with `offsets`.
    bid, ask : array, optional
        Total variances of bid and ask; where one is missing the spread is taken to be 2 % of total variance.
    offsets : array of int, shape (slices + 1,), optional
        Where each smile begins in the flat arrays, and the number of quotes.
    start : array of float, shape (slices, 3), optional
        For :func:`fit_essvi`.
    smoothness : float, default 1
        What bends cost, as a multiple.

    Returns
    -------
    MixtureFit

    Raises
    ------
    ParameterError
        If no quote is of use, or `smoothness` is out of range.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.

    References
    ----------
    Bondarenko, Estimation of risk-neutral densities using positive convolution approximation, J. Econometrics 116
    (2003); Cousot, Conditions on option prices for absence of arbitrage and exact calibration, J. Bank. Finance 31
    (2007), for the order in time; Brigo and Mercurio, Int. J. Theor. Appl. Finance 5 (2002), for mixtures.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k = np.linspace(-0.3, 0.3, 25)
    >>> w = [surface.svi(k, a, 0.04, -0.4, 0.0, 0.1)["w"] for a in (0.004, 0.012)]
    >>> fit = surface.fit_mixture([k, k], w)
    >>> bool(np.abs(fit.slices[1].total_variance(k) / w[1] - 1.0).max() < 0.02)
    True
    """
    _checks.number("smoothness", smoothness, 0.0)
    flat, starts = ragged(k, "k", offsets)
    variance = alike(w, "w", flat, of=k)
    low, high = (alike(v, n, flat, np.nan, of=k) for v, n in ((bid, "bid"), (ask, "ask")))
    good = np.isfinite(flat) & np.isfinite(variance) & (variance > 0)
    if not good.any():
        raise ParameterError(f"k, w: none of the {len(flat)} quotes has finite numbers and w > 0")
    half = _halves(flat, variance, low, high, good)
    weight = np.zeros(len(flat))
    for i in range(len(starts) - 1):
        part = slice(starts[i], starts[i + 1])
        if good[part].any():
            spread = np.where(good[part], half[part] / _vega(flat[part], variance[part]), np.nan)
            weight[part] = vega_weights(
                flat[part], np.where(good[part], variance[part], np.nan), years=1.0,
                spread=spread / np.sqrt(np.where(good[part], variance[part], 1.0)),
            )  # fmt: skip
    backbone = fit_essvi(
        flat, variance, balanced(flat, np.where(good, variance, 1.0), weight, starts), starts, start=start
    )
    # What is beyond quotes: SVI, whose wings are closer than those of eSSVI, where there are enough of them.
    alone = fit_svi(flat, np.where(good, variance, np.nan), weight, starts, no_arbitrage=True)
    sure = (alone.status != 2) & (alone.quotes >= 5) & alone.certificate.free
    own = essvi_to_svi(backbone.parameters)
    shapes = np.stack([own, np.where(sure[:, None], alone.parameters, own)], axis=1)
    return _fit(flat, variance, half, good, starts, backbone, shapes, smoothness)


def _vega(k: Floats, w: Floats) -> Floats:
    """Derivative of Black's price by total variance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(w)
        d1 = -k / root + 0.5 * root
        return np.asarray(np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi) / (2.0 * root))


def _otm(k: Floats, w: Floats) -> Floats:
    """Out-of-the-money prices in units of the discounted forward."""
    one = np.ones_like(k)
    made = options.price(one, np.exp(k), one, 0.0, 0.0, np.sqrt(w), k >= 0, model="black76")["price"]
    return np.asarray(made)


def _halves(k: Floats, w: Floats, bid: Floats, ask: Floats, good: npt.NDArray[np.bool_]) -> Floats:
    """Half spreads of prices, where bids and asks are; else of total variances 1 % to either side."""
    low, high = np.where(good, bid, np.nan), np.where(good, ask, np.nan)
    with np.errstate(invalid="ignore"):
        sided = (low >= 0) & (high > low)
        bound = np.where(k >= 0, 1.0, np.exp(k))
        side = [np.where(np.isinf(v), bound, _otm(k, np.where(np.isfinite(v) & sided, v, 1.0))) for v in (low, high)]
        half = np.where(sided, 0.5 * (side[1] - side[0]), 0.01 * w * _vega(k, w))
    return np.where(good, np.maximum(half, 1e-12), np.nan)


def _fit(
    k: Floats, w: Floats, half: Floats, good: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64],
    backbone: EssviFit, shapes: Floats, smoothness: float,
) -> MixtureFit:  # fmt: skip
    with _one_thread():
        return _in_order(k, w, half, good, starts, backbone, shapes, smoothness)


def _one_thread() -> AbstractContextManager[Any]:
    """NumPy's linear algebra on one thread, if that can be asked for."""
    # Matrices are small; threads that wait for each other on busy cores take a hundred times as long.
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits


def _in_order(
    k: Floats, w: Floats, half: Floats, good: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64],
    backbone: EssviFit, shapes: Floats, smoothness: float,
) -> MixtureFit:  # fmt: skip
    """Each expiry above the one before."""
    slices: list[Mixture] = []
    rmse, status = np.full(len(starts) - 1, np.nan), np.zeros(len(starts) - 1, np.int8)
    reach, variance = (0.0, 0.0), 0.0
    for i in range(len(starts) - 1):
        rows = np.arange(starts[i], starts[i + 1])[good[starts[i] : starts[i + 1]]]
        place = k[rows]
        deviation = float(np.sqrt(backbone.theta[i]))
        kernel = max(_KERNEL * deviation, float(np.sqrt(variance)))
        far = _REACH * deviation
        reach = (
            min(reach[0], -far, float(place.min(initial=0.0)) - 2.0 * kernel),
            max(reach[1], far, float(place.max(initial=0.0)) + 2.0 * kernel),
        )
        count = min(int(np.ceil((reach[1] - reach[0]) / (_SPACING * kernel))) + 1, _MOST)
        y = np.linspace(*reach, count)
        variance = max(kernel**2, float((y[1] - y[0]) / _SPACING) ** 2)
        arguments = (place, _otm(place, w[rows]), half[rows], np.exp(y), variance)
        before = slices[-1] if slices else None
        made, rmse[i], status[i], solved = _slice(*arguments, shapes[i], before, smoothness)
        if not solved:
            # An SVI slice with hardly any density somewhere makes a poor unit: once more with the eSSVI slice alone.
            other = _slice(*arguments, shapes[i, :1], before, smoothness)
            if (other[2], other[1]) < (status[i], rmse[i]):
                made, rmse[i], status[i], _ = other
        slices.append(made)
    return MixtureFit(tuple(slices), backbone, rmse, status)


def _prior(y: Floats, variance: float, shapes: Floats) -> Floats:
    """Chances of nodes, whose law times the kernel's is about the mean of those of SVI slices: made narrower."""
    masses = np.full(len(y), 1e-14)
    for shape in shapes:
        total = float(models.svi(0.0, *shape)["w"])
        wider = 1.0 / np.sqrt(max(1.0 - variance / total, 0.1))
        density = models.svi(y * wider, *shape, outputs=("density",))["density"]
        part = np.maximum(np.nan_to_num(density), 0.0)
        masses += part / max(float(part.sum()), 1e-300)
    masses /= masses.sum()
    x = np.exp(y)
    for _ in range(50):  # tilted until its mean is 1
        mean = float(masses @ x)
        if abs(mean - 1.0) < 1e-14:
            break
        masses *= np.exp(np.clip((1.0 - mean) / float(masses @ np.square(x - mean)) * (x - mean), -3.0, 3.0))
        masses /= masses.sum()
    return np.asarray(masses)


def _slice(
    k: Floats, price: Floats, half: Floats, x: Floats, variance: float, shapes: Floats, before: Mixture | None,
    smoothness: float,
) -> tuple[Mixture, float, int, bool]:  # fmt: skip
    """A slice, its error, its status, and whether the programme was solved to its last digits."""
    n, y = len(x), np.log(x)
    prior = _prior(y, variance, shapes)
    # Unknowns are ratios to the prior.
    bends = np.diff(np.identity(n), 2, axis=0)
    square = (_DISTANCE * np.identity(n) + smoothness * _BENDS * bends.T @ bends) / n
    linear = np.full(n, _DISTANCE / n)
    inside, least = [np.identity(n)], [np.zeros(n)]
    if before is not None:
        # Beyond its nodes the law before is level: Jensen's inequality does it there.
        inner = (x > before.nodes[0]) & (x < before.nodes[-1])
        inner[[0, -1]] = False
        floor = before.potential(x[inner])
        gap = x - x[inner, None]
        own = np.maximum(np.where(x[inner, None] < 1.0, -gap, gap), 0.0) * prior
        size = np.maximum(floor, 1e-12)
        inside.append(own / size[:, None])
        least.append(floor / size)
    equal = np.stack([prior, prior * x])
    errors = np.zeros(0)
    if len(k):
        shape = (len(k), n)
        unit = np.maximum(half, 0.2 * float(np.median(half))) * np.sqrt(len(k))
        each = options.price(
            np.broadcast_to(x, shape).copy(), np.broadcast_to(np.exp(k)[:, None], shape).copy(), np.ones(shape), 0.0,
            0.0, float(np.sqrt(variance)), np.broadcast_to(k[:, None] >= 0, shape).copy(), model="black76",
        )["price"]  # fmt: skip
        table, aim = each * prior / unit[:, None], price / unit
    ratio, weight, rounds, solved = np.ones(n), np.ones(len(k)), 2 if len(k) else 1, False
    for _ in range(rounds):
        h, f = square, linear
        if len(k):
            h, f = square + (table * weight[:, None]).T @ table, linear + (table * weight[:, None]).T @ aim
        scale = float(np.abs(f).max())
        ratio, _, solved = quadratic(
            h / scale, f / scale, np.concatenate(inside), np.concatenate(least), equal, np.ones(2), np.ones(n),
            tolerance=1e-8,
        )  # fmt: skip
        if len(k):
            errors = (table @ ratio - aim) * unit / half
            weight = 1.0 / np.maximum(np.abs(table @ ratio - aim) * np.sqrt(len(k)) / _HUBER, 1.0)
    made = Mixture(x, np.maximum(ratio, 0.0) * prior, variance)
    status = 0
    if not _is_law(made) or (before is not None and _margin(before, made)[0] < -1e-13):
        made, status = _spread(prior if before is None else before, x, variance), 1
        if len(k):
            errors = (each @ made.masses - price) / half
    return made, float(np.sqrt(np.mean(np.square(errors)))) if len(k) else float("nan"), status, solved and not status


def _spread(before: Mixture | Floats, x: Floats, variance: float) -> Mixture:
    """A law on other nodes that is later in the convex order: each node's mass goes to its neighbours there."""
    if not isinstance(before, Mixture):
        return Mixture(x, before, variance)
    right = np.clip(np.searchsorted(x, before.nodes, side="right"), 1, len(x) - 1)
    share = (before.nodes - x[right - 1]) / (x[right] - x[right - 1])
    masses = np.zeros(len(x))
    np.add.at(masses, right - 1, before.masses * (1.0 - share))
    np.add.at(masses, right, before.masses * share)
    return Mixture(x, masses, variance)


def _is_law(one: Mixture) -> bool:
    return bool(
        (one.masses >= 0).all()
        and abs(one.masses.sum() - 1.0) < 1e-11
        and abs(one.masses @ one.nodes - 1.0) < 1e-11
        and one.variance > 0
    )


def _margin(before: Mixture, after: Mixture) -> tuple[float, float]:
    """The least that the later discrete law's options are worth more, over its nodes, and where.

    Between its nodes they are straight and those of the earlier law convex, beyond them both are intrinsic value: what
    holds at the nodes holds everywhere.
    """
    inner = after.nodes[(after.nodes > before.nodes[0]) & (after.nodes < before.nodes[-1])]
    if after.nodes[0] > before.nodes[0] or after.nodes[-1] < before.nodes[-1]:
        return -np.inf, float("nan")
    if len(inner) == 0:
        return 0.0, 0.0
    margin = after.potential(inner) - before.potential(inner)
    least = int(np.argmin(margin))
    return float(margin[least]), float(np.log(inner[least]))


def certify(slices: tuple[Mixture, ...]) -> tuple[Certificate, Crossings]:
    """That densities are positive, since the masses are; and that neighbours are in the convex order."""
    least, at, status = np.empty(len(slices)), np.empty(len(slices)), np.zeros(len(slices), np.int8)
    for i, one in enumerate(slices):
        low, high = np.log(one.nodes[[0, -1]]).tolist()
        k = np.linspace(low, high, 401)
        price, tail, density = one.parts(k, np.full(len(k), one.variance))
        w = one._variance(k, price, np.full(len(k), one.variance))
        g = np.where(price > 1e-200, _variance.slopes(k, w, tail, density)[2], np.inf)
        place = int(np.argmin(g))
        least[i], at[i], status[i] = g[place], k[place], 0 if _is_law(one) else 2
    pairs = [
        _margin(a, b) if b.variance >= a.variance else (-np.inf, np.nan) for a, b in itertools.pairwise(slices)
    ]  # fmt: skip
    slack = np.array([margin for margin, _ in pairs])
    where = np.array([place for _, place in pairs])
    count = np.where(np.isfinite(slack), 0, -1).astype(np.int8)
    none = np.full((len(pairs), 4), np.nan)
    return Certificate(least, at, np.where(status == 0, 0.0, np.nan), status), Crossings(count, none, slack, where)


def curve(
    slices: tuple[Mixture, ...], years: Floats, theta: Floats, rise: float, k: Floats, at: Floats,
    outputs: tuple[str, ...],
) -> dict[str, Floats]:  # fmt: skip
    """Outputs of 'w', 'dw', 'd2w', 'dw_dt', 'g', 'density' at points, of any time above 0.

    Between expiries the discrete laws are mixed, with a share that makes the money's deviation rise as that of a
    variance which is linear in time; the kernel's variance is linear. After the last the kernel widens; before the
    first all total variances fall in proportion, which keeps g at 0 or above.
    """
    k, at = np.broadcast_arrays(k, at)
    place, times = k.reshape(-1), at.reshape(-1)
    made = {name: np.full(len(place), np.nan) for name in ("w", "dw", "d2w", "dw_dt", "g", "density")}
    after = np.searchsorted(years, times)
    for j in np.unique(after[np.isfinite(times)]).tolist():
        rows = np.nonzero((after == j) & np.isfinite(times) & np.isfinite(place))[0]
        here, now = place[rows], times[rows]
        first, last = max(j - 1, 0), min(j, len(slices) - 1)
        one, two = slices[first], slices[last]
        if first == last:
            later = np.maximum(now - years[-1], 0.0) if j else np.zeros(len(rows))
            kernel = one.variance + rise * later
            price, tail, density = one.parts(here, kernel)
            slope = rise * 0.5 * np.exp(here) * density
        else:
            gap = years[last] - years[first]
            share = (now - years[first]) / gap
            kernel = one.variance + share * (two.variance - one.variance)
            money = theta[first] + share * (theta[last] - theta[first])
            step = np.sqrt(theta[last]) - np.sqrt(theta[first])
            mixed = (np.sqrt(money) - np.sqrt(theta[first])) / step
            parts = [np.stack(law.parts(here, kernel)) for law in (one, two)]
            price, tail, density = parts[0] + mixed * (parts[1] - parts[0])
            speed = (theta[last] - theta[first]) / gap / (2.0 * np.sqrt(money) * step)
            slope = speed * (parts[1][0] - parts[0][0])
            slope += (two.variance - one.variance) / gap * 0.5 * np.exp(here) * density
        w = two._variance(here, price, kernel)
        dw, d2w, g = _variance.slopes(here, w, tail, density)
        with np.errstate(invalid="ignore", divide="ignore"):  # far out both are 0
            dw_dt = slope / _vega(here, w)
        if j == 0:
            shrunk = now / years[0]
            made_first = models.dupire(here, w * shrunk, dw * shrunk, d2w * shrunk, w / years[0], outputs=("g",))
            g, dw_dt, w, dw, d2w = made_first["g"], w / years[0], w * shrunk, dw * shrunk, d2w * shrunk
            root = np.sqrt(w)
            d2 = -here / root - 0.5 * root
            less = g * np.exp(-0.5 * d2 * d2) / (root * np.sqrt(2.0 * np.pi))
            # Where g is no number, since prices are too small for one, the density is too.
            density = np.where(shrunk == 1.0, density, np.where(np.isnan(g) & np.isfinite(w), 0.0, less))
        for name, values in (("w", w), ("dw", dw), ("d2w", d2w), ("dw_dt", dw_dt), ("g", g), ("density", density)):
            made[name][rows] = values
    return {name: made[name].reshape(k.shape) for name in outputs}


def to_lists(slices: tuple[Mixture, ...]) -> list[dict[str, Any]]:
    """As numbers and lists."""
    return [{"nodes": s.nodes.tolist(), "masses": s.masses.tolist(), "variance": s.variance} for s in slices]


def from_lists(made: Any, count: int) -> tuple[Mixture, ...]:
    """What `to_lists` made.

    Raises
    ------
    ShapeError
        If there are not as many as expiries, or nodes and masses do not go together.
    """
    slices = tuple(
        Mixture(floats(s["nodes"], "nodes"), floats(s["masses"], "masses"), float(s["variance"])) for s in made
    )
    if len(slices) != count or any(s.nodes.shape != s.masses.shape or s.nodes.ndim != 1 for s in slices):
        raise ShapeError(f"slices: accepted are {count}, each with as many nodes as masses")
    return slices
