# SPDX-License-Identifier: Apache-2.0
"""The loss of networks as PyTorch and JAX differentiate it, against their own derivatives of derivatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from warpquant import pinn
from warpquant.errors import DTypeError, ShapeError

#: float64; the frameworks sum points in another order.
TOLERANCE = 1e-12
SIZES, POINTS = (3, 8, 5, 1), 40


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    flat = np.concatenate(
        [np.r_[rng.normal(size=o * i) / np.sqrt(i), 0.3 * rng.normal(size=o)] for i, o in itertools.pairwise(SIZES)]
    )
    return (
        flat, rng.normal(size=(3, 4, POINTS)), rng.normal(size=(4, POINTS)), rng.normal(size=POINTS),
        rng.uniform(0.1, 1.0, POINTS),
    )  # fmt: skip


def plain_loss(xp, flat, features, coefficients, constants, weights):
    """Two directions and an operator through the layers, by hand in a framework's arrays."""
    streams = [features[:, j].T for j in range(4)]
    at = 0
    for k, (i, o) in enumerate(itertools.pairwise(SIZES)):
        w, bias = flat[at : at + i * o].reshape(o, i), flat[at + i * o : at + i * o + o]
        at += i * o + o
        h, s, t, whole = (x @ w.T for x in streams)
        h = h + bias
        if k + 2 == len(SIZES):
            streams = [h, s, t, whole]
            break
        y = xp.tanh(h)
        f1 = 1.0 - y * y
        streams = [y, f1 * s, f1 * t, f1 * whole - y * f1 * (s * s + t * t)]
    r = sum(a * n[:, 0] for a, n in zip(coefficients, streams, strict=True)) + constants
    return (weights * r * r).sum()


def test_torch(case):
    torch = pytest.importorskip("torch")
    weights = torch.tensor(case[0], requires_grad=True)
    rest = [torch.from_numpy(x) for x in case[1:]]
    loss = pinn.torch_loss(weights, SIZES, *rest)
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    (3.0 * loss).backward()
    own = torch.tensor(case[0], requires_grad=True)
    want = plain_loss(torch, own, *rest)
    (3.0 * want).backward()
    assert abs(loss.item() - want.item()) <= TOLERANCE * abs(want.item())
    error = (weights.grad - own.grad).abs().max() / own.grad.abs().max()
    assert error <= TOLERANCE
    # In the middle of a graph, of weights that are made of others, beside other terms.
    half = torch.tensor(case[0] / 2, requires_grad=True)
    (pinn.torch_loss(2.0 * half, SIZES, *rest) + (half**2).sum()).backward()
    assert torch.allclose(half.grad, 2.0 * own.grad / 3.0 + 2.0 * half.detach(), rtol=1e-12, atol=1e-12)


def test_torch_optimizers_and_modules(case):
    torch = pytest.importorskip("torch")
    weights = torch.nn.Parameter(torch.tensor(case[0]))
    steps = torch.optim.Adam([weights], lr=1e-2)
    rest = [torch.from_numpy(x) for x in case[1:]]
    first = last = None
    for _ in range(50):
        steps.zero_grad()
        loss = pinn.torch_loss(weights, SIZES, *rest, num_threads=1)
        loss.backward()
        steps.step()
        first, last = loss.item() if first is None else first, loss.item()
    assert last < 0.7 * first


def test_torch_differentiates_once(case):
    torch = pytest.importorskip("torch")
    weights = torch.tensor(case[0], requires_grad=True)
    rest = [torch.from_numpy(x) for x in case[1:]]
    (slope,) = torch.autograd.grad(pinn.torch_loss(weights, SIZES, *rest) ** 2, weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_torch_settings(case):
    torch = pytest.importorskip("torch")
    obstacle = np.random.default_rng(1).normal(size=(2, POINTS))
    how = {"activation": "silu", "positive": True, "smoothing": 1e-3}
    want = pinn.residual_loss_grad(case[0], SIZES, *case[1:], obstacle=obstacle, **how)
    weights = torch.tensor(case[0], requires_grad=True)
    loss = pinn.torch_loss(weights, SIZES, *case[1:], obstacle=obstacle, **how)
    loss.backward()
    assert loss.item() == want[0]
    assert np.array_equal(weights.grad.numpy(), want[1])
    with pytest.raises(ShapeError, match="features: has shape"):
        pinn.torch_loss(weights, SIZES, case[1][:, :1], *case[2:])


def test_jax(case):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        jnp = jax.numpy
        weights, *rest = map(jnp.asarray, case)
        loss, slope = jax.value_and_grad(lambda w: 3.0 * pinn.jax_loss(w, SIZES, *rest))(weights)
        want, exact = jax.value_and_grad(lambda w: 3.0 * plain_loss(jnp, w, *rest))(weights)
        assert abs(float(loss - want)) <= TOLERANCE * abs(float(want))
        assert float(jnp.abs(slope - exact).max()) <= TOLERANCE * float(jnp.abs(exact).max())
        assert slope.dtype == jnp.float64
        value = pinn.jax_loss(weights, SIZES, *rest)
        assert isinstance(value, jax.Array)
        assert value.shape == ()
        with pytest.raises(TypeError, match=r"outside of jax\.jit"):
            jax.jit(lambda w: pinn.jax_loss(w, SIZES, *rest))(weights)


def test_jax_settings(case):
    jax = pytest.importorskip("jax")
    obstacle = np.random.default_rng(1).normal(size=(2, POINTS))
    how = {"activation": "gelu", "smoothing": 1e-3, "num_threads": 1}
    want = pinn.residual_loss_grad(case[0], SIZES, *case[1:], obstacle=obstacle, **how)
    with jax.enable_x64(True):
        got = jax.value_and_grad(lambda w: pinn.jax_loss(w, SIZES, *case[1:], obstacle=obstacle, **how))(
            jax.numpy.asarray(case[0])
        )
        assert float(got[0]) == want[0]
        assert np.array_equal(np.asarray(got[1]), want[1])


def test_torch_loss_takes_a_tensor():
    pytest.importorskip("torch")
    arrays = np.zeros((1, 3, 5)), np.ones((3, 5)), np.zeros(5)
    with pytest.raises(DTypeError, match="weights: ndarray is no tensor"):
        pinn.torch_loss(np.ones(4), (1, 1, 1), *arrays)
