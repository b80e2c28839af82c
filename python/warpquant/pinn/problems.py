# SPDX-License-Identifier: Apache-2.0
"""Equations that networks are trained to solve (docs/pinn/training.md)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from warpquant._checks import number
from warpquant.errors import ParameterError, ShapeError

from ._file import Layers
from .model import Feature, PinnModel, norms, read_numbers

__all__ = ["Collocation", "European", "LinearPde", "Problem"]

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclasses.dataclass(frozen=True)
class Collocation:
    """Residuals at points, linear in the streams of a network, as `residual_loss_grad` takes them.

    Attributes
    ----------
    features : array, shape (inputs, d + 2, points)
        Of each input its value, its derivatives along d directions, and what the operator makes of it.
    coefficients : array, shape (d + 2, points)
        Of the residual in the network's value, derivatives and operator.
    constants, weights : array, shape (points / together,)
        The residual's other part; what its square counts in the loss.
    positive : bool
        Take ``ln(1 + e^N)`` in the place of N.
    obstacle : array, shape (2, points), optional
        Of a free boundary, as for `residual_loss_grad`; how smooth it is, the trainer says.
    together : int
        Points that share a residual, which is the sum of theirs: i, i + n, .. for n residuals.
    """

    features: Array
    coefficients: Array
    constants: Array
    weights: Array
    positive: bool = False
    obstacle: Array | None = None
    together: int = 1


class Problem:
    """An equation, the points where it is to hold, and what a network is to its solution.

    Subclasses say how to draw points, what the residuals are there, and how to make a model of trained layers.
    """

    #: Inputs of the network.
    inputs: int
    name: str
    #: How smooth a free boundary is made, in the first quasi-Newton phase and in the last one.
    SMOOTHING: ClassVar[tuple[float, float]] = (1e-6, 1e-6)
    #: What `PinnTrainer` and its `fit` take where nothing is said: widths, phases, points.
    RECIPE: ClassVar[Mapping[str, Any]] = {
        "widths": (20, 20, 20), "phases": (("adam", 500), ("ssbroyden", 2000)), "points": 2048,
    }  # fmt: skip

    def draw(self, points: int, seed: int) -> Array:
        """Coordinates of points inside, shape (dims, points); the same for the same seed."""
        raise NotImplementedError

    def collocate(self, coordinates: Array) -> Collocation:
        """Residuals at these points, followed by those of boundaries."""
        raise NotImplementedError

    def model(self, layers: Layers, activation: str, metadata: Mapping[str, Any]) -> PinnModel:
        """A model of trained layers."""
        raise NotImplementedError

    def errors(self, model: PinnModel) -> dict[str, float]:
        """Norms of the errors of a model against a reference; none where there is none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What is stored with a model, as JSON can hold it."""
        return {"name": self.name}


def uniforms(points: int, dims: int, seed: int) -> Array:
    """Sobol points of the unit cube, shape (dims, points)."""
    from warpquant.options import random

    drawn: Array = random.uniforms(points, dims, seed=seed, sampling="sobol").T
    return drawn


class European(Problem):
    """European options under Black and Scholes, for all volatilities and rates.

    In ``k = ln(S / K) + (r - q) tau`` and ``v = sigma**2 tau`` the forward price of a call over its strike solves
    ``c_v = (c_kk - c_k) / 2`` with ``c(k, 0) = max(e**k - 1, 0)``. The network N is what remains of it next to the
    price under a normal distribution of the same variance, which has the same kink: ``c = c0 + v N``.

    Equation and kink hold on a region that is wider than the domain where the variance is large, so wide that on its
    edges, ``5.5 sqrt(v)`` from the strike, an option is worth its intrinsic value to 1e-8: the boundary condition.

    Parameters
    ----------
    k : (float, float)
        The domain in k; by default spots from 0.2 to 3 strikes, with some room for rates.
    v : float
        The largest variance, for example 50 % of volatility over a year.
    """

    name = "european"
    _REACH = 5.5
    _EDGE_POINTS, _EDGE_WEIGHT = 128, 10.0

    def __init__(self, k: tuple[float, float] = (-1.65, 1.15), v: float = 0.25) -> None:
        low, high = (number("k", x, -20.0, 20.0) for x in k)
        if not low < 0.0 < high:
            raise ParameterError(f"k: {k!r} does not go from below 0 to above it")
        self.k = (low, high)
        self.v = number("v", v, 1e-6, 100.0)
        reach = max(-low, high, self._REACH * math.sqrt(self.v))
        self.features = (
            Feature("k", 0.0, 1.0 / reach),
            Feature("v", self.v / 2.0, 2.0 / self.v),
            Feature("sqrt_v", math.sqrt(self.v) / 2.0, 2.0 / math.sqrt(self.v)),
            Feature("tanh_half_d", 0.0, 1.0),
        )
        self.inputs = len(self.features)

    def _edges(self, v: Array) -> tuple[Array, Array]:
        far = self._REACH * np.sqrt(v)
        return np.minimum(self.k[0], -far), np.maximum(self.k[1], far)

    def draw(self, points: int, seed: int) -> Array:
        """Half of the points over the region, denser at small variances, half in the layer around the strike."""
        from warpquant.options import random

        half = points // 2
        wide, narrow = uniforms(half, 2, 2 * seed), uniforms(points - half, 2, 2 * seed + 1)
        v = self.v * np.maximum(np.concatenate([wide[1], narrow[1]]), 1e-3) ** 2
        low, high = self._edges(v)
        layer = 1.5 * np.sqrt(v[half:]) * random.inverse_normal_cdf(narrow[0])
        k = np.concatenate([low[:half] + (high - low)[:half] * wide[0], np.clip(layer, low[half:], high[half:])])
        return np.stack([k, v])

    def _streams(self, k: Array, v: Array) -> Array:
        """Features with their derivatives in k, and under the operator L = (dkk - dk) / 2 - dv."""
        root = np.sqrt(v)
        zero = np.zeros_like(k)
        t = np.tanh(0.5 * k / root)
        slope = 1.0 - t * t
        t_k, t_kk, t_v = 0.5 * slope / root, -0.5 * t * slope / v, -0.25 * slope * k / (root * v)
        sources = {
            "k": (k, zero + 1.0, zero - 0.5),
            "v": (v, zero, zero - 1.0),
            "sqrt_v": (root, zero, -0.5 / root),
            "tanh_half_d": (t, t_k, 0.5 * (t_kk - t_k) - t_v),
        }
        streams = np.empty((self.inputs, 3, k.size))
        for row, feature in zip(streams, self.features, strict=True):
            value, along, operator = sources[feature.source]
            row[0] = (value - feature.shift) * feature.scale
            row[1], row[2] = along * feature.scale, operator * feature.scale
        return streams

    def collocate(self, coordinates: Array) -> Collocation:
        """``L c = v L N - N + L c0`` inside, and ``c`` less the intrinsic value on the edges."""
        from warpquant.options import greeks

        k, v = coordinates
        inside = k.size
        edge_v = self.v * ((np.arange(self._EDGE_POINTS) + 0.5) / self._EDGE_POINTS) ** 2
        low, high = self._edges(edge_v)
        k, v = np.concatenate([k, low, high]), np.concatenate([v, edge_v, edge_v])
        forward, root = np.exp(k), np.sqrt(v)
        d = np.expm1(k) / root
        density = np.exp(-0.5 * d * d) / math.sqrt(2.0 * math.pi)
        coefficients = np.zeros((3, k.size))
        constants, weights = np.empty(k.size), np.empty(k.size)
        coefficients[0, :inside], coefficients[2, :inside] = -1.0, v[:inside]
        # Of c0, dkk - dk is F^2 n(d) / w and dv is n(d) / (2 w).
        constants[:inside] = (0.5 * density / root * np.expm1(2.0 * k))[:inside]
        weights[:inside] = (v / (v + 1.6e-3 * self.v))[:inside] / inside
        # The price under a normal distribution, and what is to be added to it: c = c0 + v N.
        coefficients[0, inside:] = v[inside:]
        normal = greeks(
            forward[inside:], 1.0, v[inside:], 0.0, 0.0, 1.0, True, model="bachelier", outputs="price"
        )["price"]  # fmt: skip
        constants[inside:] = normal - np.maximum(np.expm1(k[inside:]), 0.0)
        weights[inside:] = self._EDGE_WEIGHT / (2 * self._EDGE_POINTS)
        return Collocation(self._streams(k, v), coefficients, constants, weights)

    def model(self, layers: Layers, activation: str, metadata: Mapping[str, Any]) -> PinnModel:
        """A model of European prices on the domain."""
        return PinnModel.from_layers(
            layers, activation=activation, features=self.features, ansatz="normal",
            domain={"k": self.k, "v": (0.0, self.v)}, metadata=metadata,
        )  # fmt: skip

    def errors(self, model: PinnModel) -> dict[str, float]:
        """Errors against the closed form on a fixed grid, in units of the strike."""
        found = model.diagnose()
        return {name: found[name] for name in ("max_error", "rmse", "relative_l2", "delta_error", "gamma_error")}

    def describe(self) -> dict[str, Any]:
        """Equation, payoff and domain."""
        return {
            "name": self.name,
            "equation": "c_v = (c_kk - c_k) / 2",
            "payoff": "max(e^k - 1, 0)",
            "k": list(self.k),
            "v": [0.0, self.v],
        }


class LinearPde(Problem):
    """A linear equation of second order on a box, given by its coefficients.

    ``1/2 sum_m (l_m . grad)^2 u + b . grad u - c u = f`` inside, ``u = g`` on the faces that are named. Time is a
    coordinate like any other, with a drift of -1 (forward in time to expiry). The solution is the network itself.

    Parameters
    ----------
    box : sequence of (float, float)
        Ranges of the coordinates.
    diffusion : sequence of callable
        The vectors l_m, up to three: each takes coordinates, shape (dims, n), and gives such an array. Derivatives of
        coefficients are no part of it: ``(l . grad)^2`` stands for ``l^T (hessian u) l``.
    drift : callable
        b, of the same kind.
    decay, source : callable, optional
        c and f: of coordinates, shape (n,); 0 by default.
    conditions : sequence of (int, float, callable)
        Faces with data: number of the coordinate, its value there, and g of coordinates.
    condition_weight : float
        What the mean square of errors there counts beside that of residuals.
    solution : callable, optional
        The solution, for `errors`.
    """

    name = "linear"

    def __init__(
        self,
        box: Sequence[tuple[float, float]],
        *,
        diffusion: Sequence[Callable[[Array], Array]],
        drift: Callable[[Array], Array],
        decay: Callable[[Array], Array] | None = None,
        source: Callable[[Array], Array] | None = None,
        conditions: Sequence[tuple[int, float, Callable[[Array], Array]]] = (),
        condition_weight: float = 100.0,
        solution: Callable[[Array], Array] | None = None,
    ) -> None:
        try:
            self.box = np.array(box, dtype=np.float64)
        except (TypeError, ValueError):
            self.box = np.empty(0)
        if self.box.ndim != 2 or self.box.shape[1:] != (2,) or not (self.box[:, 0] < self.box[:, 1]).all():
            raise ParameterError(f"box: {box!r} is no list of ranges")
        if not 1 <= len(diffusion) <= 3:
            raise ParameterError(f"diffusion: are {len(diffusion)} vectors; accepted are 1 to 3")
        self.inputs = len(self.box)
        functions = [*(("diffusion", f) for f in diffusion), ("drift", drift)]
        functions += [(name, f) for name, f in (("decay", decay), ("source", source), ("solution", solution)) if f]
        for condition in conditions:
            if not isinstance(condition, (tuple, list)) or len(condition) != 3:
                raise ParameterError(f"conditions: {condition!r} is no coordinate, value and function")
            functions.append(("conditions", condition[2]))
        for name, f in functions:
            if not callable(f):
                raise ParameterError(f"{name}: {f!r} is no function of coordinates")
        self.diffusion, self.drift, self.decay, self.source = tuple(diffusion), drift, decay, source
        self.conditions, self.solution = tuple(conditions), solution
        self.condition_weight = number("condition_weight", condition_weight, 0.0)
        for axis, value, _ in self.conditions:
            if axis not in range(self.inputs):
                raise ParameterError(f"conditions: coordinate {axis!r} is out of range; there are {self.inputs}")
            number("conditions", value)

    def draw(self, points: int, seed: int) -> Array:
        """Sobol points of the box."""
        low, high = self.box[:, :1], self.box[:, 1:]
        return low + (high - low) * uniforms(points, self.inputs, seed)

    def scaled(self, coordinates: Array) -> Array:
        """Inputs of the network: coordinates from -1 to 1."""
        low, high = self.box[:, :1], self.box[:, 1:]
        return (2.0 * coordinates - low - high) / (high - low)

    @staticmethod
    def _values(name: str, f: Callable[[Array], Array], x: Array, shape: tuple[int, ...]) -> Array:
        value = read_numbers(name, f(x))
        try:
            return np.broadcast_to(value, shape)
        except ValueError:
            raise ShapeError(f"{name}: gave shape {value.shape}; accepted is {shape}") from None

    def collocate(self, coordinates: Array) -> Collocation:
        """The equation inside, and the data on an even number of points of the faces."""
        inside, d = coordinates.shape[1], len(self.diffusion)
        per_face = max(inside // 8, 16)
        faces = []
        for axis, value, _ in self.conditions:
            face = self.draw(per_face, 7919 + axis)
            face[axis] = value
            faces.append(face)
        x = np.concatenate([coordinates, *faces], axis=1)
        scale = 2.0 / (self.box[:, 1] - self.box[:, 0])
        features = np.zeros((self.inputs, d + 2, x.shape[1]))
        features[:, 0] = self.scaled(x)
        for m, l_m in enumerate(self.diffusion):
            features[:, 1 + m] = self._values("diffusion", l_m, x, x.shape) * scale[:, None]
        features[:, 1 + d] = self._values("drift", self.drift, x, x.shape) * scale[:, None]
        coefficients = np.zeros((d + 2, x.shape[1]))
        constants, weights = np.zeros(x.shape[1]), np.empty(x.shape[1])
        coefficients[1 + d, :inside] = 1.0
        if self.decay is not None:
            coefficients[0, :inside] = -self._values("decay", self.decay, coordinates, (inside,))
        if self.source is not None:
            constants[:inside] = -self._values("source", self.source, coordinates, (inside,))
        weights[:inside] = 1.0 / inside
        coefficients[0, inside:] = 1.0
        for i, (face, (_, _, g)) in enumerate(zip(faces, self.conditions, strict=True)):
            constants[inside + i * per_face : inside + (i + 1) * per_face] = -self._values(
                "conditions", g, face, (per_face,)
            )
        weights[inside:] = self.condition_weight / max(per_face, 1)
        return Collocation(features, coefficients, constants, weights)

    def model(self, layers: Layers, activation: str, metadata: Mapping[str, Any]) -> PinnModel:
        """A plain function of scaled coordinates: evaluate it at `scaled`."""
        return PinnModel.from_layers(layers, activation=activation, metadata=metadata)

    def errors(self, model: PinnModel) -> dict[str, float]:
        """Errors against the solution, if it is known, at points that training did not see."""
        if self.solution is None:
            return {}
        x = self.draw(4096, 104729)
        exact = self._values("solution", self.solution, x, (4096,))
        return norms(model.evaluate(self.scaled(x).T) - exact, exact)

    def describe(self) -> dict[str, Any]:
        """The box; coefficients are code, which is not stored."""
        return {"name": self.name, "box": self.box.tolist()}
