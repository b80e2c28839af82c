# SPDX-License-Identifier: Apache-2.0
"""Functions of several variables with their first and second derivatives, forwards: what ansatzes are written in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from warpquant import options

__all__ = [
    "Array",
    "Jet",
    "Number",
    "apply",
    "bachelier",
    "black",
    "black_slope",
    "compose",
    "exp",
    "log",
    "softplus",
    "sqrt",
    "tanh",
    "variables",
]

Array = np.ndarray[Any, np.dtype[np.float64]]


class Jet:
    """Values at n points with the gradient and the Hessian in m variables; the Hessian is left out where nobody asks.

    Parameters
    ----------
    value : array, shape (n,)
        Values.
    gradient : array, shape (m, n)
        First derivatives.
    hessian : array, shape (m, m, n), optional
        Second derivatives.
    """

    __array_ufunc__ = None  # arrays leave arithmetic with a jet to the jet
    __slots__ = ("gradient", "hessian", "value")

    def __init__(self, value: Array, gradient: Array, hessian: Array | None) -> None:
        self.value, self.gradient, self.hessian = value, gradient, hessian

    def __add__(self, other: Number) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.gradient, self.hessian)
        hessian = None if self.hessian is None or other.hessian is None else self.hessian + other.hessian
        return Jet(self.value + other.value, self.gradient + other.gradient, hessian)

    def __neg__(self) -> Jet:
        return -1.0 * self

    def __sub__(self, other: Number) -> Jet:
        return self + -other

    def __rsub__(self, other: float | Array) -> Jet:
        return -self + other

    def __mul__(self, other: Number) -> Jet:
        if not isinstance(other, Jet):
            hessian = None if self.hessian is None else self.hessian * other
            return Jet(self.value * other, self.gradient * other, hessian)
        hessian = None
        if self.hessian is not None and other.hessian is not None:
            cross = self.gradient[:, None] * other.gradient
            hessian = self.value * other.hessian + other.value * self.hessian + cross + cross.swapaxes(0, 1)
        return Jet(
            self.value * other.value, self.value * other.gradient + other.value * self.gradient, hessian
        )  # fmt: skip

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Number) -> Jet:
        return self * (1.0 / other)

    def __rtruediv__(self, other: float | Array) -> Jet:
        inverse = 1.0 / self.value
        return other * apply(self, inverse, -(inverse**2), 2.0 * inverse**3)


Number = Jet | float | Array


def variables(values: Sequence[Array], active: Sequence[bool] | None = None, *, second: bool = True) -> list[Number]:
    """Independent variables; those that are not active stay plain arrays."""
    chosen = [True] * len(values) if active is None else list(active)
    m, n, k = sum(chosen), len(values[0]), 0
    made: list[Number] = []
    for value, wanted in zip(values, chosen, strict=True):
        if not wanted:
            made.append(value)
            continue
        gradient = np.zeros((m, n))
        gradient[k] = 1.0
        made.append(Jet(value, gradient, np.zeros((m, m, n)) if second else None))
        k += 1
    return made


def apply(x: Jet, f: Array, f1: Array, f2: Array) -> Jet:
    """A function of one variable of a jet, given by its value and derivatives there."""
    hessian = None if x.hessian is None else f1 * x.hessian + f2 * x.gradient[:, None] * x.gradient
    return Jet(f, f1 * x.gradient, hessian)


def compose(inner: Sequence[Number], f: Array, f1: Array, f2: Array | None) -> Number:
    """A function of several variables at inner values: f (n,), its gradient (p, n) and Hessian (p, p, n) there."""
    moving = [k for k, x in enumerate(inner) if isinstance(x, Jet)]
    jets = [x for x in inner if isinstance(x, Jet)]
    if not jets:
        return f
    gradients = np.stack([x.gradient for x in jets])
    gradient = np.einsum("pn,pmn->mn", f1[moving], gradients)
    hessian = None
    if f2 is not None and all(x.hessian is not None for x in jets):
        bent = np.einsum("pqn,qmn->pmn", f2[np.ix_(moving, moving)], gradients)
        hessian = np.einsum("pmn,pln->mln", bent, gradients)
        for k, x in zip(moving, jets, strict=True):
            hessian += f1[k] * x.hessian
    return Jet(f, gradient, hessian)


def exp(x: Number) -> Any:
    """The exponential function."""
    if not isinstance(x, Jet):
        return np.exp(x)
    f = np.exp(x.value)
    return apply(x, f, f, f)


def log(x: Number) -> Any:
    """The natural logarithm."""
    return apply(x, np.log(x.value), 1.0 / x.value, -1.0 / x.value**2) if isinstance(x, Jet) else np.log(x)


def sqrt(x: Number) -> Any:
    """The square root."""
    if not isinstance(x, Jet):
        return np.sqrt(x)
    f = np.sqrt(x.value)
    return apply(x, f, 0.5 / f, -0.25 / (f * x.value))


def tanh(x: Number) -> Any:
    """The hyperbolic tangent."""
    if not isinstance(x, Jet):
        return np.tanh(x)
    f = np.tanh(x.value)
    slope = 1.0 - f * f
    return apply(x, f, slope, -2.0 * f * slope)


def softplus(x: Number) -> Any:
    """``ln(1 + e^x)``."""
    if not isinstance(x, Jet):
        return np.logaddexp(0.0, x)
    slope = 0.5 + 0.5 * np.tanh(0.5 * x.value)
    return apply(x, np.logaddexp(0.0, x.value), slope, slope * (1.0 - slope))


def _density(d: Array) -> Array:
    return np.exp(-0.5 * d * d) / math.sqrt(2.0 * math.pi)


def bachelier(x: Number, w: Number) -> Any:
    """The call on a normal variable of mean x over the strike and deviation w: ``x Phi(x / w) + w phi(x / w)``."""
    mean, spread = (y.value if isinstance(y, Jet) else y for y in (x, w))
    price = options.greeks(
        mean + 1.0, 1.0, np.asarray(spread) ** 2, 0.0, 0.0, 1.0, True, model="bachelier", outputs=("price", "delta")
    )
    d: Array = np.asarray(mean / spread)
    n = _density(d) / spread
    first = np.stack([price["delta"], n * spread])
    second = np.stack([np.stack([n, -d * n]), np.stack([-d * n, d * d * n])])
    return compose((x, w), price["price"], first, second)


def black(k: Number, v: Number) -> Any:
    """The call on a lognormal variable, over the strike 1, by the log of its mean and its total variance."""
    x, y = _values(k, v)
    price = options.greeks(np.exp(x), 1.0, y, 0.0, 0.0, 1.0, True, outputs=("price", "delta"))
    in_k = np.exp(x) * price["delta"]
    t = _tower(x, y, 2)
    # B_kk - B_k = 2 B_v, and so for every derivative of B.
    second = np.stack([np.stack([in_k + 2.0 * t[0], t[1]]), np.stack([t[1], 0.5 * (t[2] - t[1])])])
    return compose((k, v), price["price"], np.stack([in_k, t[0]]), second)


def black_slope(k: Number, v: Number, order: int) -> Any:
    """The derivative of `black` once in the variance, and `order` times in k."""
    x, y = _values(k, v)
    t = _tower(x, y, order + 4)[order:]
    in_v, in_kv = 0.5 * (t[2] - t[1]), 0.5 * (t[3] - t[2])
    in_vv = 0.25 * (t[4] - t[3]) - 0.5 * in_kv
    second = np.stack([np.stack([t[2], in_kv]), np.stack([in_kv, in_vv])])
    return compose((k, v), t[0], np.stack([t[1], in_v]), second)


def _values(*numbers: Number) -> tuple[Array, ...]:
    found = np.broadcast_arrays(*(x.value if isinstance(x, Jet) else np.asarray(x, np.float64) for x in numbers))
    return tuple(found)


def _tower(k: Array, v: Array, order: int) -> list[Array]:
    """Derivatives in k of the slope in the variance, phi(d2) / (2 sqrt(v)), from the 0th to the one of that order."""
    root = np.sqrt(v)
    d2 = k / root - 0.5 * root
    first = 0.5 * _density(d2) / root
    made, before, here = [first], np.zeros_like(d2), np.ones_like(d2)
    for j in range(order):  # Hermite polynomials
        before, here = here, d2 * here - j * before
        made.append(first * here / (-root) ** (j + 1))
    return made
