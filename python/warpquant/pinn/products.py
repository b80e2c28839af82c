# SPDX-License-Identifier: Apache-2.0
"""Products beyond European options: their equations, ansatzes and references (docs/pinn/problems.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from warpquant import options
from warpquant.errors import ParameterError

from ._file import Layers
from ._jets import (
    Array,
    Jet,
    Number,
    bachelier,
    black,
    black_slope,
    exp,
    log,
    sqrt,
    tanh,
    variables,
)
from .model import Feature, PinnModel, checked_range, norms
from .problems import Collocation, European, Problem, uniforms

__all__ = ["PROBLEMS", "PRODUCTS", "American", "Barrier", "Exchange", "Heston", "Merton", "Product"]

#: l_1.., the drift and the decay of the operator 1/2 sum (l . grad)^2 + drift . grad - decay.
Operator = tuple[list[Array], Array, Array | float]
Box = Mapping[str, tuple[float, float]]


class Product(Problem):
    """A product whose price is ``scale * (u0 + g N)`` of a network N in a few coordinates.

    Subclasses say what the coordinates are, what u0, g and the network's inputs are in them, and which equation holds.
    All is written in jets, so that the same lines give the streams of the trainer and the Greeks of the model.

    Parameters
    ----------
    **domain : (float, float)
        Ranges of coordinates, in the place of those of `DOMAIN`.
    """

    #: Ranges of the coordinates in which prices are good, in the order of the coordinates.
    DOMAIN: ClassVar[dict[str, tuple[float, float]]]
    #: Inputs of the network, made in `ansatz`, and about the ranges of those.
    SOURCES: ClassVar[dict[str, tuple[float, float]]]
    #: Arguments of prices; with a default or None.
    ARGUMENTS: ClassVar[dict[str, float | None]]
    #: Derivatives of the price by name: the arguments, and a sign.
    GREEKS: ClassVar[dict[str, tuple[tuple[str, ...], float]]]
    #: Results that are given if nobody says which.
    USUAL: ClassVar[tuple[str, ...]] = ("price", "delta", "gamma")
    #: Whether there are puts, by parity.
    PUTS: ClassVar[bool] = False
    #: The network goes through ln(1 + e^N).
    POSITIVE: ClassVar[bool] = False
    #: By which share the region of training is wider in each coordinate.
    MARGIN: ClassVar[float] = 0.06
    #: What is trained by default: layers, phases, points, and how often points are drawn anew.
    RECIPE: ClassVar[Mapping[str, Any]]

    def __init__(self, **domain: tuple[float, float]) -> None:
        unknown = set(domain) - set(self.DOMAIN)
        if unknown:
            raise ParameterError(f"domain: {sorted(unknown)[0]!r} is unknown; accepted are {', '.join(self.DOMAIN)}")
        self.domain = {**self.DOMAIN, **{name: checked_range(f"domain: {name}", domain[name]) for name in domain}}
        for name, (low, high) in self.domain.items():
            if self.DOMAIN[name][0] >= 0.0 > low or (name == "rho" and max(-low, high) >= 1.0):
                raise ParameterError(f"domain: {name}: {(low, high)} has values that it never takes")
        self.features = tuple(
            Feature(name, 0.5 * (low + high), 2.0 / (high - low)) for name, (low, high) in self.SOURCES.items()
        )
        self.inputs = len(self.features)

    # ------------------------------------------------------------------------------------------ for subclasses

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """Coordinates of arguments, what u is to be multiplied by, and what is to be taken from u for a put."""
        raise NotImplementedError

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """u0, g and the inputs of the network, at coordinates."""
        raise NotImplementedError

    def expiry(self, *x: Any) -> Any:
        """The same u at coordinates of the last moment, where the network does not count any more."""
        return self.ansatz(*x)[0]

    def reached(self, a: Mapping[str, Array]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether arguments are those of options that a barrier has ended."""
        return np.zeros(a["tau"].shape, dtype=np.bool_)

    def operator(self, x: Array) -> Operator:
        """The equation is that this operator makes 0 of u."""
        raise NotImplementedError

    def weight(self, x: Array) -> Array:
        """What the square of a residual counts."""
        raise NotImplementedError

    def edges(self) -> tuple[Array, Array, float]:
        """Points of boundaries, u there, and what the mean square of differences counts."""
        raise NotImplementedError

    def sample(self, points: int, seed: int) -> Array:
        """Points of the domain, half of them where prices bend most."""
        raise NotImplementedError

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """Results of the reference at coordinates, for the arguments of `plain`."""
        raise NotImplementedError

    def plain(self, x: Array) -> dict[str, Array]:
        """Arguments of a price that have these coordinates and a strike of 1."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------ training

    def _streams(self, jet: Any, l: list[Array], drift: Array) -> Array:
        """Value, derivatives along l, and what the operator without decay makes of a function."""
        whole = 0.5 * sum(np.einsum("mn,mpn,pn->n", v, jet.hessian, v, optimize=True) for v in l)
        whole = whole + np.einsum("mn,mn->n", drift, jet.gradient)
        return np.stack([jet.value, *(np.einsum("mn,mn->n", v, jet.gradient) for v in l), whole])

    def _parts(self, x: Array, operator: Operator) -> tuple[Array, Array, Array]:
        """Streams of the inputs, and of u0 + g N the coefficients in the network's streams, and the constant."""
        l, drift, decay = operator
        u0, g, sources = self.ansatz(*variables(list(x)))
        features = np.stack([self._streams((sources[f.source] - f.shift) * f.scale, l, drift) for f in self.features])
        of_g, of_u0 = self._streams(g, l, drift), self._streams(u0, l, drift)
        coefficients = np.stack([of_g[-1] - decay * of_g[0], *of_g[1:-1], of_g[0]])
        return features, coefficients, of_u0[-1] - decay * of_u0[0]

    def collocate(self, coordinates: Array) -> Collocation:
        """The equation inside, and the data on the boundaries."""
        edge, data, share = self.edges()
        inside, count = coordinates.shape[1], edge.shape[1]
        x = np.concatenate([coordinates, edge], axis=1)
        features, coefficients, constants = self._parts(x, self.operator(x))
        weights = np.concatenate([self.weight(coordinates) / inside, np.full(count, share / max(count, 1))])
        u0, g, _ = self.ansatz(*edge)
        coefficients[1:, inside:] = 0.0
        coefficients[0, inside:], constants[inside:] = g, u0 - data
        return Collocation(features, coefficients, constants, weights, positive=self.POSITIVE)

    def wider(self) -> dict[str, tuple[float, float]]:
        """The domain with a margin, but not below 0 where it begins there: networks are worst in corners."""
        made = {}
        for name, (low, high) in self.domain.items():
            margin = self.MARGIN * (high - low)
            made[name] = (low - min(margin, 0.2 * abs(low)), high + margin)
        if "rho" in made:
            made["rho"] = (max(made["rho"][0], -0.999), min(made["rho"][1], 0.999))
        return made

    def model(self, layers: Layers, activation: str, metadata: Mapping[str, Any]) -> PinnModel:
        """A model of prices on the domain."""
        return PinnModel.from_layers(
            layers, activation=activation, features=self.features, ansatz=self.name, domain=self.domain,
            metadata=metadata,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Name and domain."""
        return {"name": self.name, "domain": {name: list(ends) for name, ends in self.domain.items()}}

    # ------------------------------------------------------------------------------------------ validation

    #: Outputs of the reference that are compared besides prices, by the names of ours.
    _COMPARED: ClassVar[dict[str, str]] = {"delta": "delta", "gamma": "gamma"}

    def grid(self, points: int) -> Array:
        """Fixed coordinates in the domain, always the same."""
        return self.sample(points, 2**20)

    def errors(self, model: PinnModel, points: int = 4096) -> dict[str, float]:
        """Errors against the reference on the fixed grid, in units of the strike."""
        x = self.grid(points)
        exact = self.exact(x, ("price", *self._COMPARED.values()))
        arguments: dict[str, Any] = dict(self.plain(x))
        more: dict[str, Any] = {"which": ("price", *self._COMPARED)}
        made = model.greeks(**arguments, **more)
        late = self.mature(x)
        return {
            **norms(made["price"] - exact["price"], exact["price"]),
            **{
                f"{name}_error": float(np.max(np.abs(made[name] - exact[theirs])[late]))
                for name, theirs in self._COMPARED.items()
            },
        }

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Where Delta and Gamma are compared: not on the last days."""
        raise NotImplementedError


_VANILLA: dict[str, tuple[tuple[str, ...], float]] = {
    "delta": (("S",), 1.0), "gamma": (("S", "S"), 1.0), "theta": (("tau",), -1.0), "rho": (("r",), 1.0),
    "epsilon": (("q",), 1.0), "charm": (("S", "tau"), -1.0), "dual_delta": (("K",), 1.0),
}  # fmt: skip
_VOLATILE: dict[str, tuple[tuple[str, ...], float]] = {
    "vega": (("sigma",), 1.0), "vanna": (("S", "sigma"), 1.0), "volga": (("sigma", "sigma"), 1.0),
}  # fmt: skip
_SMALLEST = 1e-3  # of the square root of a time or variance, as a share of the largest


def _spread(u: Array, low: float, high: float) -> Array:
    return low + (high - low) * u


def _times(u: Array, largest: float) -> Array:
    """Denser at small times."""
    return largest * np.maximum(u, _SMALLEST) ** 2


def _normal(u: Array) -> Array:
    made: Array = options.random.inverse_normal_cdf(np.ascontiguousarray(u))
    return made


def _power(x: Any, n: int) -> Any:
    return x if n == 1 else x * _power(x, n - 1)


def _phi(order: int, x: Any) -> Any:
    """``P(order, x) / x**order`` of the regularised incomplete gamma function, by its series; 1 for the order 0."""
    made: Any = 0.0 * x
    if order == 0:
        return made + 1.0
    for j in reversed(range(24)):
        made = made * x + (-1.0) ** j / (math.factorial(j) * (order + j))
    return made / math.factorial(order - 1)


class Merton(Product):
    """European options under Merton's jumps, for all volatilities, rates and jumps of a domain.

    In ``k = ln(F / K)``, ``v = sigma**2 tau``, ``a = intensity * tau`` and mean m and deviation s of the log of a jump
    the forward price of a call over its strike solves ``c_v = (c_kk - c_k) / 2`` and ``c_a = E c(k + Y) - c - j c_k``,
    ``j = E e^Y - 1``. The first equation makes the integral over normal jumps a single value of the same surface:
    ``E c(k + Y, v) = c(k + m + s**2 / 2, v + s**2)``. So a residual takes two points, and no quadrature.

    u0 is exact for up to two jumps; more of them are one lognormal with the right mean and variance.
    """

    name = "merton"
    DOMAIN: ClassVar = {"k": (-1.0, 0.8), "v": (0.0, 0.16), "a": (0.0, 1.0), "m": (-0.2, 0.1), "s": (0.11, 0.3)}
    SOURCES: ClassVar = {
        "k": (-2.0, 2.0), "v": (0.0, 0.25), "a": (0.0, 1.0), "m": (-0.2, 0.1), "s": (0.1, 0.3), "d": (-4.0, 4.0),
        "w": (0.1, 0.7),
    }  # fmt: skip
    ARGUMENTS: ClassVar = {
        "S": None, "K": None, "tau": None, "sigma": None, "r": None, "intensity": None, "jump_mean": None,
        "jump_vol": None, "q": 0.0,
    }  # fmt: skip
    GREEKS: ClassVar = {
        **_VANILLA, **_VOLATILE, "dintensity": (("intensity",), 1.0), "djump_mean": (("jump_mean",), 1.0),
        "djump_vol": (("jump_vol",), 1.0),
    }  # fmt: skip
    PUTS = True
    RECIPE: ClassVar = {"widths": (22, 22, 22), "phases": (("adam", 400), ("ssbroyden", 2500)), "points": 3072}
    _FAR = 2.0
    _EXACT, _SIZE = 3, 5e-4  # jumps from which on they are not told apart; of the rest

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """As `Product.locate`."""
        k = log(a["S"] / a["K"]) + (a["r"] - a["q"]) * a["tau"]
        x = [k, a["sigma"] * a["sigma"] * a["tau"], a["intensity"] * a["tau"], a["jump_mean"], a["jump_vol"]]
        return x, a["K"] * exp(-1.0 * a["r"] * a["tau"]), exp(k) - 1.0

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """As `Product.ansatz`."""
        k, v, a, m, s = x
        shift, jumped = m + 0.5 * s * s, s * s
        growth = exp(shift)
        without = k - (growth - 1.0) * a  # the log of the mean if nothing jumps
        exact, none = self._EXACT, exp(-1.0 * a)
        # Of the others: how likely they are over a**exact, the mean and variance of their number, the log of the mean.
        many = _phi(exact, a)
        expected = _phi(exact - 1, a) / many
        variance = _phi(exact - 2, a) / many + expected - expected * expected
        k2 = k + float(exact) * shift + log(_phi(exact, a * growth)) - log(many)
        v2 = v + expected * jumped + variance * shift * shift
        u0, likely = _power(a, exact) * many * black(k2, v2), none
        for jumps in range(exact):
            u0 = u0 + likely * black(without + float(jumps) * shift, v + float(jumps) * jumped)
            likely = likely * a / (jumps + 1.0)
        w = sqrt(v2)
        sources = {"k": k, "v": v, "a": a, "m": m, "s": s, "d": 4.0 * tanh(0.25 * k2 / w), "w": w}
        return u0, self._SIZE * _power(a, exact + 1) * (1.0 + 0.0 * k), sources

    def sample(self, points: int, seed: int) -> Array:
        """As `Product.sample`."""
        return self._within(points, seed, self.domain, self.domain["k"])

    def _within(self, points: int, seed: int, box: Box, k_range: tuple[float, float]) -> Array:
        u = uniforms(points, 5, seed)
        v, m, s = _times(u[1], box["v"][1]), _spread(u[3], *box["m"]), _spread(u[4], *box["s"])
        a = _spread(u[2], *box["a"])
        k = _spread(u[0], *k_range)
        near = np.arange(points) % 2 == 1
        layer = 1.5 * np.sqrt(v + 2.0 * (s * s + m * m)) * _normal(u[0])
        k[near] = np.clip(layer, *k_range)[near]
        return np.stack([k, v, a, m, s])

    def draw(self, points: int, seed: int) -> Array:
        """Over wider k, as far as nothing but the intrinsic value is left."""
        return self._within(points, seed, self.wider(), (-self._FAR, self._FAR))

    def collocate(self, coordinates: Array) -> Collocation:
        """Of each point the equation in a, with the point that the jump leads to, and the one in v there; edges."""
        k, v, a, m, s = coordinates
        n = k.size
        shift = m + 0.5 * s * s
        there = np.stack([k + shift, v + s * s, a, m, s])
        zero = np.zeros_like(k)
        along = np.stack([zero + 1.0, zero, zero, zero, zero])
        # c_a + j c_k + c at a point, less c where the jump leads.
        by_a = np.stack([np.expm1(shift), zero, zero + 1.0, zero, zero])
        here = self._parts(coordinates, ([0.0 * along], by_a, -1.0))
        far = self._parts(there, ([along], np.stack([zero - 0.5, zero - 1.0, zero, zero, zero]), 0.0))
        u0, g, _ = self.ansatz(*there)
        scale = 1.0 / (self._SIZE * a**self._EXACT)
        jump = np.zeros_like(here[1])
        jump[0] = np.where(np.abs(there[0]) < self._FAR, -g * scale, 0.0)  # beyond the edges there is u0 alone
        nothing = np.zeros_like(jump)
        # u0 solves the equation in v, but for rounding.
        edge = self._edge_points(n // 8)
        at_edge = self._parts(edge, ([np.ones((5, edge.shape[1]))], np.ones((5, edge.shape[1])), 0.0))
        on_edge = np.zeros_like(at_edge[1])
        on_edge[0] = 1.0
        first = np.concatenate([here[0], far[0], at_edge[0]], axis=2)
        second = np.concatenate([far[0], far[0], at_edge[0]], axis=2)
        own = np.concatenate([here[1] * scale, far[1] / g, on_edge], axis=1)
        other = np.concatenate([jump, nothing, np.zeros_like(on_edge)], axis=1)
        count = edge.shape[1]
        constants = np.concatenate([(here[2] - u0) * scale, zero, np.zeros(count)])
        late = (v / (v + 1e-3)) / n
        return Collocation(
            np.concatenate([first, second], axis=2), np.concatenate([own, other], axis=1), constants,
            np.concatenate([a * a / (a * a + 1e-4) / n, late, np.full(count, 10.0 / max(count, 1))]), together=2,
        )  # fmt: skip

    def _edge_points(self, count: int) -> Array:
        """Far from the strike nothing but the intrinsic value is left, and u0 knows that."""
        box = self.wider()
        box["v"] = (0.0, box["v"][1] + box["s"][1] ** 2)
        x = self._within(count, 7919, box, (-self._FAR, self._FAR))
        x[0] = np.where(np.arange(count) % 2 == 0, -self._FAR, self._FAR)
        return x

    def plain(self, x: Array) -> dict[str, Array]:
        """As `Product.plain`."""
        k, v, a, m, s = x
        one = np.ones_like(k)
        return {
            "S": np.exp(k), "K": one, "tau": one, "sigma": np.sqrt(v), "r": 0.0 * one, "intensity": a, "jump_mean": m,
            "jump_vol": s,
        }  # fmt: skip

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """Merton's series."""
        k, v, a, m, s = x
        return options.merton_jump(np.exp(k), 1.0, 1.0, 0.0, 0.0, np.sqrt(v), True, a, m, s, outputs=names)

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """As `Product.mature`."""
        return np.asarray(x[1] >= 0.02 * self.domain["v"][1])


class Barrier(Product):
    """Down-and-out calls whose barrier is below the strike, looked at all the time.

    In ``y = ln(S / B)``, ``v = sigma**2 tau``, ``mu = (r - q) / sigma**2`` and ``b = ln(B / K)`` the forward price over
    the strike solves ``c_v = c_yy / 2 + (mu - 1/2) c_y`` with ``c(0, v) = 0``. u0 is the call less its mirror image,
    which is the solution for ``mu = 1/2``.
    """

    name = "barrier"
    DOMAIN: ClassVar = {"y": (0.0, 1.2), "v": (0.0, 0.16), "mu": (-1.0, 2.0), "b": (-0.6, -0.05)}
    SOURCES: ClassVar = {
        "y": (0.0, 2.0), "v": (0.0, 0.16), "root": (0.0, 0.4), "mu": (-1.0, 2.0), "b": (-0.6, -0.05),
        "image": (-1.0, 1.0), "layer": (0.0, 1.0),
    }  # fmt: skip
    ARGUMENTS: ClassVar = {"S": None, "K": None, "tau": None, "sigma": None, "r": None, "barrier": None, "q": 0.0}
    GREEKS: ClassVar = {**_VANILLA, **_VOLATILE, "dbarrier": (("barrier",), 1.0)}
    RECIPE: ClassVar = {
        "widths": (24, 24, 24), "phases": (("adam", 400), ("ssbroyden", 4000)), "points": 5120, "redraw_every": 500,
    }  # fmt: skip
    _FAR = 2.6

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """As `Product.locate`."""
        variance = a["sigma"] * a["sigma"]
        x = [log(a["S"] / a["barrier"]), variance * a["tau"], (a["r"] - a["q"]) / variance, log(a["barrier"] / a["K"])]
        return x, a["K"] * exp(-1.0 * a["r"] * a["tau"]), 0.0

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """As `Product.ansatz`."""
        y, v, mu, b = x
        root = sqrt(v)
        forward = b + mu * v
        u0 = black(y + forward, v) - black(forward - y, v)
        sources = {
            "y": y, "v": v, "root": root, "mu": mu, "b": b, "image": tanh(0.5 * (forward - y) / root),
            "layer": tanh(y / (1.5 * root)),
        }  # fmt: skip
        return u0, root * (1.0 - exp(-1.0 * y)) * (1.0 + 0.0 * mu), sources

    def expiry(self, *x: Any) -> Any:
        """The call, wherever the barrier is."""
        y, v, mu, b = x
        return black(y + b + mu * v, v)

    def reached(self, a: Mapping[str, Array]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """At the barrier or below."""
        return np.asarray(a["S"] <= a["barrier"])

    def operator(self, x: Array) -> Operator:
        """As `Product.operator`."""
        zero = np.zeros_like(x[0])
        return [np.stack([zero + 1.0, zero, zero, zero])], np.stack([x[2] - 0.5, zero - 1.0, zero, zero]), 0.0

    def weight(self, x: Array) -> Array:
        """As `Product.weight`."""
        return np.asarray(x[1] / (x[1] + 1e-3))

    def _within(self, points: int, seed: int, box: Box, y_most: float) -> Array:
        u = uniforms(points, 4, seed)
        v = _times(u[1], box["v"][1])
        mu, b = _spread(u[2], *box["mu"]), _spread(u[3], *box["b"])
        y = y_most * u[0]
        turn = np.arange(points) % 4
        y[turn == 1] = np.clip(1.5 * np.sqrt(v) * _normal(u[0]) - b, 1e-4, y_most)[turn == 1]
        y[turn == 3] = np.minimum(1.5 * np.sqrt(v) * np.abs(_normal(u[0])), y_most)[turn == 3]
        return np.stack([y, v, mu, b])

    def sample(self, points: int, seed: int) -> Array:
        """As `Product.sample`."""
        return self._within(points, seed, self.domain, self.domain["y"][1])

    def draw(self, points: int, seed: int) -> Array:
        """Farther from the barrier, to where it does not matter."""
        return self._within(points, seed, self.wider(), self._FAR)

    def edges(self) -> tuple[Array, Array, float]:
        """Far above, a call that the barrier does not reach."""
        x = self._within(256, 7919, self.wider(), self._FAR)
        x[0] = self._FAR
        return x, np.asarray(black(x[0] + x[3] + x[2] * x[1], x[1])), 10.0

    def plain(self, x: Array) -> dict[str, Array]:
        """As `Product.plain`."""
        y, v, mu, b = x
        one = np.ones_like(y)
        return {
            "S": np.exp(y + b), "K": one, "tau": one, "sigma": np.sqrt(v), "r": mu * v, "barrier": np.exp(b),
        }  # fmt: skip

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """The closed form of Reiner and Rubinstein."""
        y, v, mu, b = x
        return options.barrier(
            np.exp(y + b), 1.0, 1.0, mu * v, 0.0, np.sqrt(v), True, np.exp(b), "down-out", outputs=names
        )

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """As `Product.mature`."""
        return np.asarray(x[1] >= 0.02 * self.domain["v"][1])


class Exchange(Product):
    """Options to exchange one asset for another, as an equation in both.

    With ``x = ln(S1 e^(-q1 tau) / unit)``, ``y`` the same of the other, ``v = sigma1**2 tau``,
    ``w = sigma2**2 tau`` and the correlation rho the price over the unit solves
    ``v c_v + w c_w = v (c_xx - c_x) / 2 + rho sqrt(v w) c_xy + w (c_yy - c_y) / 2``. u0 is the price if the difference
    of the assets were normal, with the variance of their ratio.
    """

    name = "exchange"
    DOMAIN: ClassVar = {"x": (-0.4, 0.4), "y": (-0.4, 0.4), "v": (0.0, 0.16), "w": (0.0, 0.16), "rho": (-0.7, 0.7)}
    SOURCES: ClassVar = {
        "k": (-1.5, 1.5), "h": (-0.1, 0.1), "v": (0.0, 0.16), "w": (0.0, 0.16), "rho": (-0.7, 0.7),
        "total": (0.0, 0.55), "root": (0.0, 0.75),
        "layer": (-1.0, 1.0),
    }  # fmt: skip
    ARGUMENTS: ClassVar = {
        "S1": None, "S2": None, "tau": None, "sigma1": None, "sigma2": None, "correlation": None, "q1": 0.0, "q2": 0.0,
    }  # fmt: skip
    GREEKS: ClassVar = {
        "delta1": (("S1",), 1.0), "delta2": (("S2",), 1.0), "gamma1": (("S1", "S1"), 1.0),
        "cross_gamma": (("S1", "S2"), 1.0), "gamma2": (("S2", "S2"), 1.0), "vega1": (("sigma1",), 1.0),
        "vega2": (("sigma2",), 1.0), "theta": (("tau",), -1.0), "epsilon1": (("q1",), 1.0), "epsilon2": (("q2",), 1.0),
        "dcorrelation": (("correlation",), 1.0),
    }  # fmt: skip
    RECIPE: ClassVar = {"widths": (20, 20, 20), "phases": (("adam", 400), ("ssbroyden", 2500)), "points": 3072}
    USUAL: ClassVar = ("price", "delta1", "delta2", "gamma1", "cross_gamma", "gamma2")
    _COMPARED: ClassVar = {"delta1": "delta1", "cross_gamma": "cross_gamma"}

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """As `Product.locate`; the unit is the geometric mean of both, a constant."""
        spots = [x.value if isinstance(x, Jet) else np.asarray(x) for x in (a["S1"], a["S2"])]
        unit = np.sqrt(spots[0]) * np.sqrt(spots[1])
        first, second = (log(a[f"S{i}"] / unit) - a[f"q{i}"] * a["tau"] for i in (1, 2))
        x = [
            first, second, a["sigma1"] * a["sigma1"] * a["tau"], a["sigma2"] * a["sigma2"] * a["tau"], a["correlation"],
        ]  # fmt: skip
        return x, unit, 0.0

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """As `Product.ansatz`."""
        x1, x2, v, w, rho = x
        f1, f2, cross = exp(x1), exp(x2), rho * sqrt(v * w)
        total = v + w - 2.0 * cross
        root, k, h = sqrt(total), x1 - x2, 0.5 * (x1 + x2)
        middle = exp(h)
        sources = {
            "k": k, "h": h, "v": v, "w": w, "rho": rho, "total": total, "root": root, "layer": tanh(0.5 * k / root),
        }  # fmt: skip
        return bachelier(f1 - f2, middle * root), 0.05 * middle * total, sources

    def operator(self, x: Array) -> Operator:
        """As `Product.operator`, over v + w."""
        _, _, v, w, rho = x
        zero, total = np.zeros_like(v), v + w
        a, b = np.sqrt(v / total), np.sqrt(w / total)
        first = np.stack([a, rho * b, zero, zero, zero])
        second = np.stack([zero, np.sqrt(1.0 - rho * rho) * b, zero, zero, zero])
        return [first, second], np.stack([-0.5 * a * a, -0.5 * b * b, -v / total, -w / total, zero]), 0.0

    def weight(self, x: Array) -> Array:
        """As `Product.weight`."""
        total = x[2] + x[3]
        return np.asarray(total / (total + 4e-4))

    def sample(self, points: int, seed: int) -> Array:
        """As `Product.sample`: volatilities of which neither is more than four times the other."""
        x, k_most, _ = self._within(points, seed, self.domain)
        k = np.clip(x[0] - x[1], -k_most, k_most)
        h = 0.5 * (x[0] + x[1])
        return np.stack([h + 0.5 * k, h - 0.5 * k, *x[2:]])

    def draw(self, points: int, seed: int) -> Array:
        """In differences as far as the edges."""
        return self._within(points, seed, self.wider())[0]

    def _within(self, points: int, seed: int, box: Box) -> tuple[Array, float, Array]:
        """Points, the largest difference of the domain, and how far apart the edges are."""
        u = uniforms(points, 5, seed)
        larger, ratio = _times(u[2], box["v"][1]), _spread(np.abs(2.0 * u[3] - 1.0), 0.0625, 1.0)
        v, w = np.where(u[3] < 0.5, larger, larger * ratio), np.where(u[3] < 0.5, larger * ratio, larger)
        rho = _spread(u[4], *box["rho"])
        root = np.sqrt(v + w - 2.0 * rho * np.sqrt(v * w))
        k_most = self.domain["x"][1] - self.domain["y"][0]
        edge = np.maximum(1.02 * k_most, 5.5 * root)
        near = np.arange(points) % 2 == 1
        k = np.where(near, np.clip(1.5 * root * _normal(u[0]), -edge, edge), edge * (2.0 * u[0] - 1.0))
        h = _spread(u[1], *self.SOURCES["h"])
        return np.stack([h + 0.5 * k, h - 0.5 * k, v, w, rho]), k_most, edge

    def edges(self) -> tuple[Array, Array, float]:
        """Far apart, the difference or nothing."""
        x, _, edge = self._within(512, 7919, self.wider())
        sign, h = np.where(np.arange(512) % 2 == 0, 1.0, -1.0), 0.5 * (x[0] + x[1])
        x[0], x[1] = h + 0.5 * sign * edge, h - 0.5 * sign * edge
        return x, np.maximum(np.exp(x[0]) - np.exp(x[1]), 0.0), 10.0

    def plain(self, x: Array) -> dict[str, Array]:
        """As `Product.plain`, but that the unit is that of prices."""
        one = np.ones_like(x[0])
        return {
            "S1": np.exp(x[0]), "S2": np.exp(x[1]), "tau": one, "sigma1": np.sqrt(x[2]), "sigma2": np.sqrt(x[3]),
            "correlation": x[4],
        }  # fmt: skip

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """Margrabe's formula."""
        return options.exchange(
            np.exp(x[0]), np.exp(x[1]), 1.0, 0.0, 0.0, 0.0, np.sqrt(x[2]), np.sqrt(x[3]), x[4], outputs=names
        )

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """As `Product.mature`."""
        return np.asarray(x[2] + x[3] >= 0.02 * self.domain["v"][1])


class Heston(Product):
    """European options under Heston's stochastic variance, for all rates and the parameters of a domain.

    With time in units of ``1 / kappa`` (``T = kappa tau``, and v, theta and xi over kappa) and ``k = ln(F / K)`` the
    forward price of a call over its strike solves
    ``c_T = v (c_kk - c_k) / 2 + rho xi v c_kv + xi**2 v c_vv / 2 + (theta - v) c_v``. u0 is the expansion to the second
    order in xi around the price for the expected variance.
    """

    name = "heston"
    DOMAIN: ClassVar = {
        "k": (-0.4, 0.3), "v": (0.01, 0.08), "T": (0.05, 1.5), "theta": (0.02, 0.05), "xi": (0.1, 0.3),
        "rho": (-0.8, -0.3),
    }  # fmt: skip
    SOURCES: ClassVar = {
        "k": (-0.6, 0.6), "v": (0.0, 0.12), "T": (0.0, 1.5), "root_T": (0.0, 1.25), "theta": (0.02, 0.05),
        "xi": (0.1, 0.3), "rho": (-0.8, -0.3), "layer": (-1.0, 1.0), "far": (-1.0, 1.0), "share": (0.0, 1.0),
        "root": (0.0, 0.3),
    }  # fmt: skip
    ARGUMENTS: ClassVar = {
        "S": None, "K": None, "tau": None, "v0": None, "r": None, "kappa": None, "theta": None, "xi": None,
        "rho": None, "q": 0.0,
    }  # fmt: skip
    GREEKS: ClassVar = {
        **_VANILLA, "dv0": (("v0",), 1.0), "dkappa": (("kappa",), 1.0), "dtheta": (("theta",), 1.0),
        "dxi": (("xi",), 1.0), "drho": (("rho",), 1.0),
    }  # fmt: skip
    PUTS = True
    RECIPE: ClassVar = {
        "widths": (28, 28, 28), "phases": (("adam", 400), ("ssbroyden", 4500)), "points": 6144, "redraw_every": 500,
    }  # fmt: skip

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """As `Product.locate`."""
        k, slow = log(a["S"] / a["K"]) + (a["r"] - a["q"]) * a["tau"], 1.0 / a["kappa"]
        x = [k, a["v0"] * slow, a["kappa"] * a["tau"], a["theta"] * slow, a["xi"] * slow, a["rho"]]
        return x, a["K"] * exp(-1.0 * a["r"] * a["tau"]), exp(k) - 1.0

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """As `Product.ansatz`."""
        k, v, t, theta, xi, rho = x
        e, above = exp(-1.0 * t), v - theta
        w = theta * t + above * (1.0 - e)
        # Integrals of the expected variance times what the variance w, and `leverage`, have of it at the time left.
        leverage = theta * (t - 1.0 + e) + above * (1.0 - e - t * e)
        swing = theta * (t - 1.5 + 2.0 * e - 0.5 * e * e) + above * (1.0 - 2.0 * t * e - e * e)
        twice = theta * (t - 2.0 + 2.0 * e + t * e) + above * (1.0 - e - t * e - 0.5 * t * t * e)
        order = [black_slope(k, w, j) for j in range(4)]
        in_w = 0.5 * (order[2] - order[1])
        in_wkk = order[2]
        # B_kkww = (B_kkkkw - B_kkkw) / 2
        in_wwkk = 0.5 * (black_slope(k, w, 4) - order[3])
        first = rho * xi * leverage * order[1]
        second = 0.5 * xi * xi * swing * in_w + rho * rho * xi * xi * (
            twice * in_wkk + 0.5 * leverage * leverage * in_wwkk
        )
        root = sqrt(w)
        layer, far = tanh(0.5 * k / root), tanh(0.2 * k / root)
        sources = {
            "k": k, "v": v, "T": t, "root_T": sqrt(t), "theta": theta, "xi": xi, "rho": rho,
            "layer": layer, "far": far, "share": v / (v + theta * t), "root": root,
        }  # fmt: skip
        return black(k, w) + first + second, 6e-3 * (1.0 - far * far) * (xi * t) * (xi * t) * (xi * t) / w, sources

    def expiry(self, *x: Any) -> Any:
        """The variance stays what it is."""
        k, v, t, *_ = x
        return black(k, v * t)

    def operator(self, x: Array) -> Operator:
        """As `Product.operator`."""
        _, v, _, theta, xi, rho = x
        zero, root = np.zeros_like(v), np.sqrt(v)
        first = np.stack([root, rho * xi * root, zero, zero, zero, zero])
        second = np.stack([zero, np.sqrt(1.0 - rho * rho) * xi * root, zero, zero, zero, zero])
        return [first, second], np.stack([-0.5 * v, theta - v, zero - 1.0, zero, zero, zero]), 0.0

    def weight(self, x: Array) -> Array:
        """As `Product.weight`."""
        return np.asarray(x[2] / (x[2] + 0.02) / 1e-3**2)

    def _within(self, points: int, seed: int, box: Box) -> tuple[Array, Array]:
        """Points but for k, and the root of the expected variance."""
        u = uniforms(points, 6, seed)
        v, t = (_spread(u[j], *np.sqrt(box[name])) ** 2 for j, name in ((1, "v"), (2, "T")))
        theta, xi, rho = (_spread(u[j], *box[name]) for j, name in ((3, "theta"), (4, "xi"), (5, "rho")))
        return np.stack([u[0], v, t, theta, xi, rho]), np.sqrt(theta * t + (v - theta) * -np.expm1(-t))

    def _placed(self, x: Array, root: Array, low: Array | float, high: Array | float) -> Array:
        near = np.arange(root.size) % 2 == 1
        layer = np.clip(1.5 * root * _normal(x[0]), low, high)
        return np.stack([np.where(near, layer, low + (high - low) * x[0]), *x[1:]])

    def sample(self, points: int, seed: int) -> Array:
        """As `Product.sample`."""
        x, root = self._within(points, seed, self.domain)
        return self._placed(x, root, *self.domain["k"])

    def _ends(self, root: Array) -> tuple[Array, Array]:
        """Where the expansion has nothing left to be wrong about; puts have the fatter tail."""
        low, high = self.domain["k"]
        return np.minimum(low - 0.05, -5.5 * root), np.maximum(high + 0.05, 8.0 * root)

    def draw(self, points: int, seed: int) -> Array:
        """From the variance 0 to one from which it falls back soon, from the first day on, as far as the edges."""
        x, root = self._within(points, seed, self.wider())
        return self._placed(x, root, *self._ends(root))

    def wider(self) -> dict[str, tuple[float, float]]:
        """Variances from almost 0 to where they soon fall back, and times from almost 0."""
        return {**super().wider(), "v": (1e-4, 1.6 * self.domain["v"][1]), "T": (2e-3, 1.03 * self.domain["T"][1])}

    def edges(self) -> tuple[Array, Array, float]:
        """Far from the strike the expansion holds."""
        x, root = self._within(512, 7919, self.wider())
        x[0] = np.where(np.arange(512) % 2 == 0, *self._ends(root))
        return x, np.asarray(self.ansatz(*x)[0]), 1e4

    def plain(self, x: Array) -> dict[str, Array]:
        """As `Product.plain`."""
        k, v, t, theta, xi, rho = x
        one = np.ones_like(k)
        return {
            "S": np.exp(k), "K": one, "tau": t, "v0": v, "r": 0.0 * one, "kappa": one, "theta": theta, "xi": xi,
            "rho": rho,
        }  # fmt: skip

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """One integral of the characteristic function."""
        k, v, t, theta, xi, rho = x
        return options.heston(np.exp(k), 1.0, t, 0.0, 0.0, v, 1.0, theta, xi, rho, True, accuracy="high", outputs=names)

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """As `Product.mature`."""
        return np.asarray(x[2] >= 0.02 * self.domain["T"][1])


class American(Product):
    """American puts: the European price and a premium that is never below 0.

    In ``x = ln(S / K)``, ``v = sigma**2 tau``, ``alpha = r / sigma**2`` and ``beta = q / sigma**2`` the price over the
    strike satisfies ``min(u_v - L u, u - (1 - e^x)) = 0`` with
    ``L u = u_xx / 2 + (alpha - beta - 1/2) u_x - alpha u``. With the European price e it is
    ``u = e + alpha v ln(1 + e^N)``.
    """

    name = "american"
    DOMAIN: ClassVar = {"x": (-0.5, 0.4), "v": (0.0, 0.16), "alpha": (0.25, 2.5), "beta": (0.0, 1.0)}
    SOURCES: ClassVar = {
        "x": (-1.0, 1.0), "v": (0.0, 0.16), "root": (0.0, 0.4), "alpha": (0.25, 2.5), "beta": (0.0, 1.0),
        "layer": (-1.0, 1.0), "far": (-1.0, 1.0),
    }  # fmt: skip
    ARGUMENTS: ClassVar = {"S": None, "K": None, "tau": None, "sigma": None, "r": None, "q": 0.0}
    GREEKS: ClassVar = {**_VANILLA, **_VOLATILE}
    POSITIVE = True
    RECIPE: ClassVar = {
        "widths": (24, 24, 24), "phases": (("adam", 400), *(("ssbroyden", 700),) * 6), "points": 8192,
        "redraw_every": 300,
    }  # fmt: skip
    SMOOTHING = (1e-2, 1e-6)
    _STIFF = 10.0  # of the distance to the payoff, next to the equation's residual
    _FAR = 1.2

    def locate(self, a: Mapping[str, Number]) -> tuple[list[Any], Any, Any]:
        """As `Product.locate`."""
        variance = a["sigma"] * a["sigma"]
        return [log(a["S"] / a["K"]), variance * a["tau"], a["r"] / variance, a["q"] / variance], a["K"], 0.0

    def ansatz(self, *x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """As `Product.ansatz`."""
        y, v, alpha, beta = x
        k, root = y + (alpha - beta) * v, sqrt(v)
        european = exp(-1.0 * alpha * v) * (black(k, v) - exp(k) + 1.0)
        sources = {
            "x": y, "v": v, "root": root, "alpha": alpha, "beta": beta, "layer": tanh(0.5 * y / root),
            "far": tanh(0.5 * y / root + 1.5),
        }  # fmt: skip
        return european, alpha * v, sources

    def expiry(self, *x: Any) -> Any:
        """The European price, and in the money what exercise at once saves, if it does."""
        y, v, alpha, beta = x
        saved = alpha - beta * exp(y)
        wins = [(value.value if isinstance(value, Jet) else value) for value in (y, saved)]
        return self.ansatz(*x)[0] + v * saved * ((wins[0] < 0.0) & (wins[1] > 0.0))

    def operator(self, x: Array) -> Operator:
        """As `Product.operator`."""
        zero = np.zeros_like(x[0])
        drift = np.stack([x[2] - x[3] - 0.5, zero - 1.0, zero, zero])
        return [np.stack([zero + 1.0, zero, zero, zero])], drift, x[2]

    def weight(self, x: Array) -> Array:
        """As `Product.weight`."""
        return np.asarray(x[1] / (x[1] + 1e-3))

    def collocate(self, coordinates: Array) -> Collocation:
        """The complementarity inside; far above the strike no premium."""
        made = super().collocate(coordinates)
        y, _, alpha, _ = coordinates
        inside, count = y.size, made.constants.size
        european, g, _ = self.ansatz(*coordinates)
        made.coefficients[:, :inside] /= -alpha
        made.constants[:inside] = 0.0  # the European price solves the equation
        obstacle = np.zeros((2, count))
        obstacle[:, :inside] = self._STIFF * np.stack([g, european + np.expm1(y)])
        obstacle[1, inside:] = 1e6  # of the two conditions the other one counts there
        return Collocation(
            made.features, made.coefficients, made.constants, made.weights, positive=True, obstacle=obstacle
        )

    def _within(self, points: int, seed: int, box: Box, x_range: tuple[float, float]) -> Array:
        u = uniforms(points, 4, seed)
        v = _times(u[1], box["v"][1])
        alpha, beta = _spread(u[2], *box["alpha"]), _spread(u[3], *box["beta"])
        y = _spread(u[0], *x_range)
        near = np.arange(points) % 2 == 1
        y[near] = np.clip(1.5 * np.sqrt(v) * (_normal(u[0]) - 0.5), *x_range)[near]
        return np.stack([y, v, alpha, beta])

    def sample(self, points: int, seed: int) -> Array:
        """As `Product.sample`."""
        return self._within(points, seed, self.domain, self.domain["x"])

    def draw(self, points: int, seed: int) -> Array:
        """As far as nothing but the intrinsic value is left."""
        return self._within(points, seed, self.wider(), (-self._FAR, self._FAR))

    def edges(self) -> tuple[Array, Array, float]:
        """No premium far above the strike."""
        x = self._within(256, 7919, self.wider(), (0.0, self._FAR))
        x[0] = self._FAR
        return x, np.asarray(self.ansatz(*x)[0]), 10.0

    def plain(self, x: Array) -> dict[str, Array]:
        """As `Product.plain`."""
        y, v, alpha, beta = x
        return {
            "S": np.exp(y), "K": np.ones_like(y), "tau": np.ones_like(y), "sigma": np.sqrt(v), "r": alpha * v,
            "q": beta * v,
        }  # fmt: skip

    def exact(self, x: Array, names: tuple[str, ...]) -> dict[str, Array]:
        """The boundary of exercise, solved for on Chebyshev nodes."""
        y, v, alpha, beta = x
        return options.american(
            np.exp(y), 1.0, 1.0, alpha * v, beta * v, np.sqrt(v), False, accuracy="high", outputs=names
        )

    def mature(self, x: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """As `Product.mature`."""
        return np.asarray(x[1] >= 0.02 * self.domain["v"][1])


#: Products by name.
PRODUCTS: dict[str, type[Product]] = {kind.name: kind for kind in (American, Barrier, Exchange, Heston, Merton)}

#: Problems by name.
PROBLEMS: dict[str, Callable[[], Problem]] = {"european": European, **PRODUCTS}
