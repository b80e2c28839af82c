# SPDX-License-Identifier: Apache-2.0
"""Optimizers against PyTorch's and against their definitions; clipping; schedules; quasi-Newton methods."""

from __future__ import annotations

import copy
import ctypes
import itertools
import math
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import warpquant
from reference.optim import REFERENCE, ssbroyden
from warpquant import _core, errors, optim

STEPS = 100

#: Largest difference to another implementation over 100 steps, relative to max(1, |p|): what issues of order and fused
#: multiplications leave, a few roundings a step.
TOLERANCE = {np.float64: 1e-14, np.float32: 1e-6}

FLAGS = {
    "SGD": [
        {}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.8, "nesterov": True},
        {"weight_decay": 0.1}, {"maximize": True},
        {"momentum": 0.9, "weight_decay": 0.01, "dampening": 0.1, "maximize": True},
        {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    ],
    "Adam": [
        {}, {"betas": (0.3, 0.9)}, {"eps": 1e-3}, {"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True},
        {"amsgrad": True, "weight_decay": 0.1, "maximize": True}, {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"betas": (0.0, 0.0), "eps": 0.1},
    ],
    "AdamW": [{}, {"weight_decay": 0.3}, {"weight_decay": 0.0}, {"amsgrad": True, "eps": 1e-4}, {"maximize": True}],
    "RMSprop": [
        {}, {"alpha": 0.3}, {"eps": 1e-2}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"centered": True},
        {"maximize": True}, {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "maximize": True},
    ],
}  # fmt: skip
EVERY_FLAG = [(name, flags) for name, sets in FLAGS.items() for flags in sets]
each_flag = pytest.mark.parametrize(
    ("name", "flags"), EVERY_FLAG, ids=[f"{n}-{'-'.join(f) or 'default'}" for n, f in EVERY_FLAG]
)
each_type = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])


def without_values(torch):
    """Tensors that have no block of memory, with the error that they are refused with, by what they are."""
    eye = torch.eye(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layouts that are young
        return {
            "layout torch.sparse_coo": (errors.LayoutError, eye.to_sparse()),
            "layout torch.sparse_csr": (errors.LayoutError, eye.to_sparse_csr()),
            "device 'meta', where tensors have no values": (
                errors.DeviceUnavailableError, torch.empty(3, 3, device="meta"),
            ),
            "is a nested tensor": (errors.LayoutError, torch.nested.nested_tensor([eye, eye])),
            "holds torch.quint8": (errors.DTypeError, torch.quantize_per_tensor(eye, 0.1, 0, torch.quint8)),
        }  # fmt: skip


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def run_of(dtype, shapes=((3, 5), (7,), ()), steps=STEPS, seed=0):
    """Parameters, and gradients for each step."""
    rng = np.random.default_rng(seed)
    params = [rng.normal(size=s).astype(dtype) for s in shapes]
    return params, [[rng.normal(size=s).astype(dtype) for s in shapes] for _ in range(steps)]


def assert_close(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        b = np.asarray(b)
        assert a.dtype == b.dtype
        assert (abs(a - b) <= tolerance * np.maximum(1, abs(b))).all()


class TestDefinition:
    @each_flag
    @each_type
    def test_against_reference(self, name, flags, dtype):
        params, grads = run_of(dtype)
        expected = [
            REFERENCE[name](p.astype(float), [g[i].astype(float) for g in grads], lr=0.01, **flags).astype(dtype)
            for i, p in enumerate(params)
        ]
        optimizer = getattr(optim, name)(params, lr=0.01, **flags)
        for g in grads:
            optimizer.step(g)
        assert_close(params, expected, 10 * TOLERANCE[dtype])  # the definition's order of operations is another

    @each_flag
    @each_type
    def test_against_torch(self, torch, name, flags, dtype):
        params, grads = run_of(dtype)
        theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params]
        optimizer = getattr(optim, name)(params, lr=0.01, **flags)
        peer = getattr(torch.optim, name)(theirs, lr=0.01, **flags)
        for g in grads:
            optimizer.step(g)
            for p, x in zip(theirs, g, strict=True):
                p.grad = torch.tensor(x)
            peer.step()
        assert_close(params, [p.detach() for p in theirs], TOLERANCE[dtype])

    @pytest.mark.parametrize("name", FLAGS)
    def test_defaults(self, torch, name):
        ours = getattr(optim, name)(np.ones(1)).param_groups[0]
        theirs = getattr(torch.optim, name)([torch.ones(1, requires_grad=True)]).param_groups[0]
        ours.pop("params")
        theirs.pop("params")
        if name == "AdamW":
            theirs.setdefault("decoupled_weight_decay", True)
        assert ours == theirs
        lbfgs = optim.LBFGS(np.ones(1)).param_groups[0]
        peer = torch.optim.LBFGS([torch.ones(1)]).param_groups[0]
        assert {k: v for k, v in lbfgs.items() if k != "params"} == {k: v for k, v in peer.items() if k != "params"}

    @hypothesis.given(
        count=st.integers(1, 200), scale=st.floats(1e-6, 1e6), momentum=st.floats(0, 0.99), lr=st.floats(1e-6, 1)
    )
    @hypothesis.settings(max_examples=30)
    def test_sgd_of_a_parabola(self, count, scale, momentum, lr):
        """One step from x of x^2 / 2 goes to (1 - lr) x, whatever the momentum."""
        x = np.linspace(-scale, scale, count)
        p = x.copy()
        optim.SGD(p, lr=lr, momentum=momentum).step(p.copy())
        np.testing.assert_array_equal(p, x - lr * x)

    @hypothesis.given(factor=st.floats(1e-3, 1e3))
    @hypothesis.settings(max_examples=30)
    def test_adam_takes_no_notice_of_scale(self, factor):
        a, b = np.ones(9), np.ones(9)
        g = np.linspace(-1, 1, 9)
        optim.Adam(a, eps=0).step(g + 2)
        optim.Adam(b, eps=0).step(factor * (g + 2))
        np.testing.assert_allclose(a, b, rtol=1e-14)

    def test_powers_of_many_steps(self, torch):
        """Bias corrections come from the number of steps, which a loaded state may have large."""
        for steps in (1, 2, 3, 999, 10_000, 123_457, 10_000_000):
            p, theirs = np.ones(3), torch.ones(3, dtype=torch.float64, requires_grad=True)
            ours, peer = optim.Adam(p, betas=(0.99, 0.99999)), torch.optim.Adam([theirs], betas=(0.99, 0.99999))
            ones = torch.ones(3, dtype=torch.float64)
            state = {
                "state": {0: {"step": torch.tensor(float(steps - 1)), "exp_avg": ones * 0.5, "exp_avg_sq": ones * 0.3}},
                "param_groups": peer.state_dict()["param_groups"],
            }
            ours.load_state_dict(state)
            peer.load_state_dict(state)
            theirs.grad = ones * 0.1
            ours.step(np.full(3, 0.1))
            peer.step()
            np.testing.assert_allclose(p, theirs.detach(), rtol=1e-15)

    def test_centered_variance_below_zero(self):
        """A constant gradient leaves no variance; rounding may leave less than none."""
        for value in (0.1, 1 / 3, 123.456):
            p = np.ones(4)
            rmsprop = optim.RMSprop(p, alpha=0.5, centered=True, lr=1e-9)
            for _ in range(200):
                rmsprop.step(np.full(4, value))
            assert np.isfinite(p).all()


class TestBits:
    @pytest.mark.parametrize("name", FLAGS)
    def test_threads_and_levels(self, name, simd_levels):
        flags = FLAGS[name][-1]
        results = set()
        for level, threads in itertools.product(simd_levels, (1, 2, 3)):
            params, grads = run_of(np.float32, ((70_001,), (3,), (66_000,), (0, 4)), steps=3)
            optimizer = getattr(optim, name)(params, lr=0.01, **flags)
            with warpquant.config.override(simd=level):
                for g in grads:
                    optimizer.step(g, clip_norm=1.0, grad_scale=0.3, clip_value=0.01, num_threads=threads)
            results.add((b"".join(p.tobytes() for p in params), optimizer.norm))
        assert len(results) == 1

    def test_one_tensor_or_many(self):
        """Where a tensor begins does not matter, but for the order of the norm's sum."""
        [whole], grads = run_of(np.float32, ((30_000,),), steps=3)
        parts = [p.copy() for p in np.array_split(whole, 1000)]
        one, many = optim.AdamW(whole), optim.AdamW(parts)
        for [g] in grads:
            one.step(g)
            many.step(np.array_split(g, 1000))
        np.testing.assert_array_equal(whole, np.concatenate(parts))

    @pytest.mark.parametrize("norm_type", [1, 2, 2.5, math.inf])
    def test_norm(self, norm_type, simd_levels):
        found = set()
        for level, threads in itertools.product(simd_levels, (1, 2)):
            grads = [np.random.default_rng(i).normal(size=n) for i, n in enumerate((1, 31, 4096, 4097, 200_000))]
            with warpquant.config.override(simd=level):
                found.add(optim.clip_grad_norm_(grads, 1e9, norm_type, num_threads=threads))
        everything = np.concatenate(
            [np.random.default_rng(i).normal(size=n) for i, n in enumerate((1, 31, 4096, 4097, 200_000))]
        )
        for norm in found:
            assert norm == pytest.approx(np.linalg.norm(everything, norm_type), rel=1e-13)
        # Powers are fused where the machine can.
        assert len(found) == 1 or norm_type == 2.5


class TestGradients:
    def test_scale_clip_and_update_in_one(self, torch):
        params, grads = run_of(np.float64, steps=10)
        theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params]
        ours, peer = optim.Adam(params), torch.optim.Adam(theirs)
        for g in grads:
            ours.step([8.0 * x for x in g], grad_scale=8.0, clip_norm=0.7)
            for p, x in zip(theirs, g, strict=True):
                p.grad = torch.tensor(x)
            norm = torch.nn.utils.clip_grad_norm_(theirs, 0.7)
            peer.step()
            assert ours.norm == pytest.approx(float(norm), rel=1e-14)
        assert_close(params, [p.detach() for p in theirs], 1e-14)

    @pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
    @each_type
    def test_clip_norm_as_torch(self, torch, norm_type, dtype):
        _, [ours] = run_of(dtype, steps=1)
        theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.from_numpy(g).dtype)) for g in ours]
        for p, g in zip(theirs, ours, strict=True):
            p.grad = torch.tensor(g)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5, norm_type)
        assert optim.clip_grad_norm_(ours, 0.5, norm_type) == pytest.approx(float(expected), rel=TOLERANCE[dtype] * 4)
        assert_close(ours, [p.grad for p in theirs], TOLERANCE[dtype])

    def test_clip_value(self):
        g = np.array([3.0, -3.0, 0.5, np.nan, np.inf, -np.inf])
        optim.clip_grad_value_([g, None], 1.0)
        np.testing.assert_array_equal(g, [1.0, -1.0, 0.5, np.nan, 1.0, -1.0])
        p = np.zeros(2)
        optim.SGD(p, lr=1).step(np.array([5.0, -0.25]), clip_value=1.0)
        np.testing.assert_array_equal(p, [-1.0, 0.25])

    def test_known_norm(self):
        p, q = np.zeros(2), np.zeros(2)
        g = np.array([3.0, 4.0])
        optim.SGD(p, lr=1).step(g, clip_norm=1.0)
        optim.SGD(q, lr=1).step(g, clip_norm=1.0, norm=5.0)
        np.testing.assert_array_equal(p, q)
        np.testing.assert_allclose(p, [-0.6, -0.8], rtol=1e-6)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_not_finite(self, bad, dtype):
        p, g = np.ones(5000, dtype), np.ones(5000, dtype)
        g[4999] = bad
        adam = optim.Adam(p)
        adam.step(g, nonfinite="skip")
        assert (p == 1).all()
        assert adam.skipped == 1
        assert adam.state_dict()["state"] == {}
        with pytest.raises(errors.ParameterError, match="NaN or infinity"):
            adam.step(g, nonfinite="raise")
        with pytest.raises(errors.ParameterError, match="NaN or infinity"):
            optim.clip_grad_norm_(g, 1.0, error_if_nonfinite=True)
        with pytest.raises(errors.ParameterError, match="NaN or infinity"):
            optim.clip_grad_norm_(g, 1.0, 2.5, error_if_nonfinite=True)
        assert (p == 1).all()
        adam.step(g)
        assert np.isnan(p[4999])
        assert (p[:4999] < 1).all()

    def test_large_but_finite(self):
        """Squares overflow float32, and float64 too; the gradient is finite all the same."""
        p = np.ones(3, np.float32)
        sgd = optim.SGD(p)
        sgd.step(np.full(3, 3e38, np.float32), nonfinite="skip", clip_norm=1.0)
        assert sgd.skipped == 0
        np.testing.assert_allclose(p, 1 - 1e-3 / math.sqrt(3), rtol=1e-6)
        q = np.ones(3)
        sgd = optim.SGD(q)
        sgd.step(np.full(3, 1e300), nonfinite="skip")
        assert sgd.skipped == 0
        np.testing.assert_array_equal(q, 1 - 1e-3 * 1e300)

    def test_none_is_left_alone(self):
        a, b = np.ones(2), np.ones(2)
        adam = optim.Adam([a, b])
        adam.step([None, np.ones(2)])
        adam.step([np.ones(2), np.ones(2)])
        assert [adam.state_dict()["state"][i]["step"] for i in (0, 1)] == [1.0, 2.0]
        assert a[0] == pytest.approx(0.999)
        adam.step([None, None])

    def test_other_order_in_memory(self):
        rng = np.random.default_rng(0)
        x, g = rng.normal(size=(4, 6)), rng.normal(size=(6, 4)).T
        fortran, plain = np.asfortranarray(x), x.copy()
        optim.Adam(fortran).step(g)
        optim.Adam(plain).step(np.ascontiguousarray(g))
        np.testing.assert_array_equal(fortran, plain)
        wide = np.zeros((4, 12))
        wide[:, ::2] = g
        other = x.copy()
        optim.Adam(other).step(wide[:, ::2])
        np.testing.assert_array_equal(other, plain)

    def test_refused(self):
        p = np.ones((2, 3))
        sgd = optim.SGD(p)
        with pytest.raises(errors.ShapeError, match=r"grads\[0\]: has shape \(3, 2\)"):
            sgd.step(np.ones((3, 2)))
        with pytest.raises(errors.DTypeError, match=r"grads\[0\]: holds float32"):
            sgd.step(np.ones((2, 3), np.float32))
        with pytest.raises(errors.ShapeError, match="2 gradients for 1 buffers"):
            sgd.step([p, p])
        with pytest.raises(errors.ParameterError, match="grads: is missing"):
            sgd.step()
        for name, value in (("grad_scale", 0), ("clip_norm", -1), ("norm_type", 0), ("nonfinite", "hide")):
            with pytest.raises(errors.ParameterError, match=name):
                sgd.step(np.ones((2, 3)), **{name: value})
        assert (p == 1).all()


class TestBuffers:
    def test_refused(self):
        frozen = np.ones(3)
        frozen.flags.writeable = False
        with pytest.raises(errors.LayoutError, match=r"buffers\[0\]: is read-only"):
            optim.SGD(frozen)
        with pytest.raises(errors.LayoutError, match=r"buffers\[1\]: has gaps"):
            optim.SGD([np.ones(3), np.ones(6)[::2]])
        with pytest.raises(errors.LayoutError, match="several elements share"):
            optim.SGD(np.lib.stride_tricks.as_strided(np.ones(3), (3, 3), (8, 8)))
        x = np.ones(4)
        with pytest.raises(errors.LayoutError, match="shares memory"):
            optim.SGD([x, x[2:]])
        with pytest.raises(errors.DTypeError, match="int64"):
            optim.SGD(np.ones(3, np.int64))
        with pytest.raises(errors.DTypeError, match="neither an array nor"):
            optim.SGD(3.0)
        with pytest.raises(errors.ParameterError, match="is empty"):
            optim.SGD([])

    def test_jax_is_read_only(self):
        jax = pytest.importorskip("jax")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = jax.numpy.ones(3)
        with pytest.raises(errors.LayoutError, match="read-only"):
            optim.SGD(x)
        p = np.ones(3, np.float32)
        optim.SGD(p, lr=1).step(x)
        assert (p == 0).all()

    @pytest.mark.parametrize(
        ("cls", "flags"),
        [
            (optim.SGD, {"lr": -1}), (optim.SGD, {"nesterov": True}), (optim.Adam, {"betas": (0.9, 1.0)}),
            (optim.Adam, {"betas": 0.9}), (optim.Adam, {"eps": -1e-8}), (optim.Adam, {"lr": "fast"}),
            (optim.RMSprop, {"alpha": -1}), (optim.AdamW, {"weight_decay": math.nan}),
            (optim.Adam, {"differentiable": True}), (optim.LBFGS, {"line_search_fn": "armijo"}),
            (optim.LBFGS, {"max_iter": 0}), (optim.LBFGS, {"history_size": 0}),
        ],
    )  # fmt: skip
    def test_flags_out_of_range(self, cls, flags):
        with pytest.raises(errors.ParameterError, match=next(iter(flags))):
            cls(np.ones(3), **flags)

    def test_empty_and_scalar(self):
        empty, scalar = np.ones((0, 3)), np.array(1.0)
        adam = optim.Adam([empty, scalar])
        adam.step([empty, scalar], clip_norm=1.0)
        assert scalar == pytest.approx(0.999)

    def test_groups(self, torch):
        rng = np.random.default_rng(5)
        a, b, c = (rng.normal(size=4) for _ in range(3))
        theirs = [torch.nn.Parameter(torch.tensor(x)) for x in (a, b, c)]
        ours = optim.SGD([{"params": [a, b], "lr": 0.5}, {"params": c, "momentum": 0.5, "maximize": True}], lr=0.1)
        peer = torch.optim.SGD(
            [{"params": theirs[:2], "lr": 0.5}, {"params": theirs[2:], "momentum": 0.5, "maximize": True}], lr=0.1
        )
        for _ in range(5):
            grads = [rng.normal(size=4) for _ in range(3)]
            for p, g in zip(theirs, grads, strict=True):
                p.grad = torch.tensor(g)
            ours.step(grads)
            peer.step()
            ours.param_groups[0]["lr"] = peer.param_groups[0]["lr"] = 0.25
        assert_close([a, b, c], [p.detach() for p in theirs], 1e-14)
        with pytest.raises(errors.ParameterError, match="wd"):
            optim.SGD([{"params": a, "wd": 1}])

    def test_tensors_of_torch(self, torch):
        layer = torch.nn.Linear(3, 2)
        twin = torch.nn.Linear(3, 2)
        twin.load_state_dict(layer.state_dict())
        ours, peer = optim.AdamW(layer.parameters()), torch.optim.AdamW(twin.parameters())
        x = torch.ones(5, 3)

        def closure(net, optimizer):
            optimizer.zero_grad()
            loss = (net(x) ** 2).sum()
            loss.backward()
            return loss.detach()

        for _ in range(20):
            loss = ours.step(lambda: closure(layer, ours))
            assert float(loss) == pytest.approx(float(peer.step(lambda: closure(twin, peer))), rel=1e-5)
        for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
        assert isinstance(ours.state[0]["exp_avg"], torch.Tensor)

    def test_many(self):
        """More tensors than a task, or a launch, takes at once."""
        rng = np.random.default_rng(0)
        params = [rng.normal(size=n % 7) for n in range(3000)]
        expected = [p - 0.1 * p for p in params]
        optim.SGD(params, lr=0.1).step([p.copy() for p in params])
        for p, e in zip(params, expected, strict=True):
            np.testing.assert_array_equal(p, e)

    def test_held_memory(self):
        """The optimizer keeps its memory, also when nobody else does."""
        p = np.ones(1000)
        adam = optim.Adam(p)
        view = p[:]
        del p
        adam.step(np.ones(1000))
        np.testing.assert_allclose(view, 0.999)


class TestTensors:
    def test_clipping_parameters_clips_what_they_carry(self, torch):
        module = torch.nn.Linear(3, 2)
        before = [p.detach().clone() for p in module.parameters()]
        module.weight.grad = torch.full((2, 3), 4.0)
        assert optim.clip_grad_norm_(module.parameters(), 1.0) == pytest.approx(4.0 * math.sqrt(6.0))
        assert float(module.weight.grad.norm()) == pytest.approx(1.0, rel=1e-5)
        optim.clip_grad_value_(module.weight, 0.1)
        assert float(module.weight.grad.max()) == pytest.approx(0.1)
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))

    @pytest.mark.parametrize("cls", [optim.Adam, optim.LBFGS, optim.SSBroyden])
    def test_without_values(self, torch, cls):
        """Refused by the name of the argument, and by what they are."""
        for what, (error, tensor) in without_values(torch).items():
            with pytest.raises(error, match=rf"^buffers\[1\]: .*{what}"):
                cls([torch.ones(3), tensor])
            p = torch.eye(3)
            ours = cls([torch.ones(3), p])

            def step(ours=ours, g=tensor):
                ours.step([None, g]) if cls is optim.Adam else ours.step(lambda: (1.0, [None, g]))

            with pytest.raises(error, match=rf"^grads\[1\]: .*{what}"):
                step()
            assert torch.equal(p, torch.eye(3))
            with pytest.raises(error, match=rf"^grads\[0\]: .*{what}"):
                optim.clip_grad_norm_([None, tensor], 1.0)
            with pytest.raises(error, match=rf"^grads\[0\]: .*{what}"):
                optim.clip_grad_value_(tensor, 1.0)
        with pytest.raises(errors.LayoutError, match=r"^buffers\[0\]: has no values yet"):
            cls(torch.nn.LazyLinear(2).parameters())

    def test_sparse_gradients_of_a_module(self, torch):
        table = torch.nn.Embedding(4, 3, sparse=True)
        adam = optim.Adam(table.parameters())
        table(torch.tensor([1, 2])).sum().backward()
        before = table.weight.detach().clone()
        with pytest.raises(errors.LayoutError, match=r"grads\[0\]: .*sparse_coo.*to_dense\(\)"):
            adam.step()
        assert torch.equal(table.weight, before)
        table.weight.grad = table.weight.grad.to_dense()
        adam.step()
        assert not torch.equal(table.weight, before)
        assert adam.state_dict()["state"][0]["step"] == 1.0

    def test_states_without_values(self, torch):
        adam = optim.Adam(torch.eye(3))
        adam.step(torch.eye(3))
        saved = adam.state_dict()
        other = optim.Adam(torch.eye(3))
        for what, (error, tensor) in without_values(torch).items():
            state = {0: {**saved["state"][0], "exp_avg": tensor}}
            with pytest.raises(error, match=rf"state_dict: exp_avg of parameter 0: .*{what}"):
                other.load_state_dict({**saved, "state": state})
        assert not other.state_dict()["state"]

    @pytest.mark.parametrize("name", FLAGS)
    def test_rates_in_tensors(self, torch, name):
        """Read at each step; PyTorch's is the other."""
        p, theirs = np.ones(4), torch.ones(4, dtype=torch.float64, requires_grad=True)
        rates = [torch.tensor(0.1), torch.tensor(0.1)]
        ours, peer = getattr(optim, name)(p, lr=rates[0]), getattr(torch.optim, name)([theirs], lr=rates[1])
        rng = np.random.default_rng(0)
        for i in range(6):
            for rate in rates:
                rate.fill_(0.1 / (i + 1))
            g = rng.normal(size=4)
            theirs.grad = torch.tensor(g)
            ours.step(g)
            peer.step()
        np.testing.assert_allclose(p, theirs.detach(), rtol=1e-7)  # their product is one of float32
        exact = np.ones(4)
        plain, rng = getattr(optim, name)(exact), np.random.default_rng(0)
        for i in range(6):
            plain.param_groups[0]["lr"] = float(torch.tensor(0.1 / (i + 1)))
            plain.step(rng.normal(size=4))
        np.testing.assert_array_equal(p, exact)
        # Over to another one: its rate is its own.
        later = getattr(optim, name)(p.copy())
        later.load_state_dict(ours.state_dict())
        rates[0].fill_(9.0)
        assert float(later.param_groups[0]["lr"]) == pytest.approx(0.1 / 6)
        peer.load_state_dict(optim_of_tensors(torch, name, rates[0]).state_dict())
        assert float(peer.param_groups[0]["lr"]) == 9.0

    @pytest.mark.parametrize("cls", [optim.LBFGS, optim.SSBroyden])
    def test_rates_of_quasi_newton(self, torch, cls):
        found = []
        for lr in (0.5, torch.tensor(0.5), np.array(0.5), torch.tensor([0.5])):
            x = np.array([-1.2, 1.0])
            cls(x, lr=lr, max_iter=5).step(lambda x=x: (float(x @ x), 2 * x))
            found.append(x)
        assert all((x == found[0]).all() for x in found)

    def test_rates_that_are_none(self, torch):
        for lr, error, message in (
            (torch.ones(2), errors.ParameterError, r"lr: has shape \(2,\); accepted is one number"),
            (torch.tensor(-0.1), errors.ParameterError, "lr: .*out of range"),
            (torch.tensor(math.nan), errors.ParameterError, "lr: .*out of range"),
            (torch.tensor(True), errors.ParameterError, "lr: True is not a number"),
            (torch.empty((), device="meta"), errors.DeviceUnavailableError, "lr: lives on device 'meta'"),
        ):
            for cls in (optim.SGD, optim.AdamW, optim.RMSprop, optim.LBFGS):
                with pytest.raises(error, match=message):
                    cls(np.ones(3), lr=lr)
        lr = torch.tensor(0.1)
        sgd = optim.SGD(np.ones(3), lr=lr)
        lr.fill_(-1.0)
        with pytest.raises(errors.ParameterError, match="lr"):
            sgd.step(np.ones(3))

    def test_schedules_of_tensors(self, torch):
        """They are changed where they are, as PyTorch does it."""
        rates = [torch.tensor(0.5, dtype=torch.float64) for _ in range(2)]
        ours, peer = optim.SGD(np.ones(1), lr=rates[0]), torch.optim.SGD([torch.ones(1)], lr=rates[1])
        schedule = optim.StepLR(ours, 2, 0.5)
        theirs = torch.optim.lr_scheduler.StepLR(peer, 2, 0.5)
        for _ in range(5):
            peer.step()
            schedule.step()
            theirs.step()
            assert ours.param_groups[0]["lr"] is rates[0]
            assert float(rates[0]) == float(rates[1]) == schedule.get_last_lr()[0]
        plateau = optim.ReduceLROnPlateau(ours, factor=0.5, patience=0)
        for _ in range(2):
            plateau.step(torch.tensor(1.0))
        assert float(rates[0]) == plateau.get_last_lr()[0] == 0.0625
        one = optim.SGD(np.ones(1), lr=torch.tensor(0.1), momentum=0.9)
        optim.OneCycleLR(one, 0.5, total_steps=10)
        assert float(one.param_groups[0]["lr"]) == pytest.approx(0.02)

    def test_rates_in_tensors_of_groups(self, torch):
        """Each group has its own, so that a schedule of one does not set another's."""

        def made(**flags):
            return optim.SGD([{"params": np.ones(1)}, {"params": np.ones(2), **flags}], lr=torch.tensor(0.1))

        sgd = made()
        cycle = optim.OneCycleLR(sgd, max_lr=[0.1, 1.0], total_steps=10, cycle_momentum=False)
        assert cycle.get_last_lr() == pytest.approx([0.004, 0.04])
        own, given = torch.tensor(0.3), torch.tensor(0.1)
        sgd = made(lr=own)
        sgd.add_param_group({"params": np.ones(3)})
        sgd.add_param_group({"params": np.ones(4)})
        assert sgd.param_groups[1]["lr"] is own
        plateau = optim.ReduceLROnPlateau(sgd, factor=0.5, patience=0)
        for _ in range(2):
            plateau.step(1.0)
        assert plateau.get_last_lr() == pytest.approx([0.05, 0.15, 0.05, 0.05])
        assert float(sgd.defaults["lr"]) == pytest.approx(0.1)
        # The only group has the caller's, and later ones what that was at first.
        for params in (np.ones(1), [{"params": np.ones(1)}]):
            alone = optim.Adam(params, lr=given)
            assert alone.param_groups[0]["lr"] is given
            given.fill_(7.0)
            alone.add_param_group({"params": np.ones(2)})
            assert [float(group["lr"]) for group in alone.param_groups] == pytest.approx([7.0, 0.1])
            given.fill_(0.1)

    def test_negated_views(self, torch):
        negated = torch.tensor([1j, 2j], dtype=torch.complex128).conj().imag
        assert negated.is_neg()
        p = torch.zeros(2, dtype=torch.float64)
        optim.SGD([p], lr=1.0).step([negated])
        assert p.tolist() == [1.0, 2.0]
        with pytest.raises(errors.LayoutError, match="negated"):
            optim.SGD([negated], lr=1.0)


class TestBfloat16:
    """Parameters of bfloat16 are those of a run in float32, rounded."""

    def reference(self, start, grads):
        p = start.astype(np.float32)
        adam = optim.AdamW(p, lr=1e-3)
        for g in grads:
            adam.step(g)
        return p

    def test_torch(self, torch):
        start = torch.randn(1000).bfloat16()
        grads = [torch.randn(1000).bfloat16() for _ in range(50)]
        p = torch.nn.Parameter(start.clone())
        adam = optim.AdamW([p], lr=1e-3)
        for g in grads:
            p.grad = g
            adam.step()
        full = self.reference(start.float().numpy(), [g.float().numpy() for g in grads])
        torch.testing.assert_close(p.detach(), torch.tensor(full).bfloat16(), rtol=0, atol=0)
        torch.testing.assert_close(adam.state[0]["master_param"], torch.tensor(full), rtol=0, atol=0)
        peer = torch.optim.AdamW([torch.nn.Parameter(p.detach().clone())], lr=1e-3)
        peer.load_state_dict(adam.state_dict())
        assert peer.state_dict()["state"][0]["exp_avg"].dtype == torch.bfloat16

    def test_numpy(self):
        bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
        rng = np.random.default_rng(0)
        start = rng.normal(size=1000).astype(bfloat16)
        grads = [rng.normal(size=1000).astype(np.float32) for _ in range(20)]
        p = start.copy()
        adam = optim.AdamW(p, lr=1e-3)
        for g in grads[:10]:
            adam.step(g)
        other = p.copy()
        again = optim.AdamW(other)
        again.load_state_dict(adam.state_dict())  # with the float32 copy
        for g in grads[10:]:
            again.step(g)
        np.testing.assert_array_equal(other, self.reference(start, grads).astype(bfloat16))
        with pytest.raises(errors.DTypeError, match="bfloat16"):
            optim.SGD(np.ones(3)).step(np.ones(3, bfloat16))
        g = np.array([3, 4], bfloat16)
        assert optim.clip_grad_norm_(g, 1.0) == 5.0
        np.testing.assert_array_equal(g, np.array([0.6, 0.8], np.float32).astype(bfloat16))

    def test_changed_behind_the_optimizer(self, torch):
        p = torch.nn.Parameter(torch.randn(100).bfloat16())
        adam = optim.AdamW([p], lr=1e-3)
        adam.step([torch.ones(100)])
        master = adam.state[0]["master_param"]
        kept = master.clone()
        with torch.no_grad():
            p[:50] = 3.0
        still = optim.SGD([p], lr=0.0)
        adam.param_groups[0].update(lr=0.0)
        adam.step([torch.ones(100)])
        assert (master[:50] == 3.0).all()
        assert torch.equal(master[50:], kept[50:])
        # A stale copy that a state carries.
        state = adam.state_dict()
        p.data[:50] = 5.0
        adam.load_state_dict(state)
        adam.step([torch.ones(100)])
        assert (p[:50] == 5.0).all()
        assert torch.equal(adam.state[0]["master_param"][50:], kept[50:])
        still.step([torch.ones(100)])

    def test_rounding(self):
        """As ml_dtypes rounds: halfway cases, the largest numbers, subnormal ones, NaN."""
        bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
        bits = np.arange(0, 2**32, 65521 * 3, dtype=np.uint64).astype(np.uint32)
        special = [0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0xFFFFFFFF, 1, 0x8000, 0x80000000]
        values = np.concatenate([bits, np.array(special, np.uint32)]).view(np.float32)
        p = np.zeros(len(values), bfloat16)
        with np.errstate(all="ignore"):
            optim.SGD(p, lr=1).step(-values)
            expected = (0 + values).astype(bfloat16)
        np.testing.assert_array_equal(p.astype(np.float32), expected.astype(np.float32))


class TestState:
    @pytest.mark.parametrize(("name", "flags"), [(n, f) for n, sets in FLAGS.items() for f in (sets[0], sets[-1])])
    @each_type
    def test_switch_over(self, torch, name, flags, dtype):
        """50 steps of one and 50 of the other, both ways, are 100 steps of either."""
        tolerance = TOLERANCE[dtype]
        params, grads = run_of(dtype)
        theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params]
        peer = getattr(torch.optim, name)(theirs, lr=0.01, **flags)
        alone = [p.copy() for p in params]
        ours = getattr(optim, name)(alone, lr=0.01, **flags)
        tensors = [torch.nn.Parameter(torch.tensor(p)) for p in params]
        first = getattr(optim, name)(tensors, lr=0.01, **flags)

        def peer_step(optimizer, params, g):
            for p, x in zip(params, g, strict=True):
                p.grad = torch.tensor(x)
            optimizer.step()

        for g in grads[:50]:
            peer_step(peer, theirs, g)
            peer_step(first, tensors, g)
            ours.step(g)
        # From theirs to ours, on other arrays and with other flags at first.
        later = [p.detach().numpy().copy() for p in theirs]
        second = getattr(optim, name)(later, lr=7.0)
        second.load_state_dict(peer.state_dict())
        # From ours to theirs.
        peer_later = getattr(torch.optim, name)(tensors, lr=7.0)
        peer_later.load_state_dict(first.state_dict())
        # From ours to ours, by way of arrays of NumPy.
        third_params = [p.copy() for p in alone]
        third = getattr(optim, name)(third_params)
        third.load_state_dict(ours.state_dict())
        for g in grads[50:]:
            peer_step(peer, theirs, g)
            second.step(g)
            peer_step(peer_later, tensors, g)
            ours.step(g)
            third.step(g)
        expected = [p.detach() for p in theirs]
        assert_close(later, expected, tolerance)
        assert_close([p.detach().numpy() for p in tensors], expected, tolerance)
        assert_close(alone, expected, tolerance)
        for a, b in zip(alone, third_params, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_flags_that_change(self, torch):
        """A flag that comes later brings its state along."""
        p, theirs = np.ones(4), torch.ones(4, dtype=torch.float64, requires_grad=True)
        ours, peer = optim.SGD(p, lr=0.1), torch.optim.SGD([theirs], lr=0.1)
        rng = np.random.default_rng(0)
        for i in range(6):
            for optimizer in (ours, peer):
                optimizer.param_groups[0]["momentum"] = 0.0 if i < 3 else 0.9
            g = rng.normal(size=4)
            theirs.grad = torch.tensor(g)
            ours.step(g)
            peer.step()
        np.testing.assert_allclose(p, theirs.detach(), rtol=1e-14)

    def test_refused(self):
        p = np.ones(3)
        adam = optim.Adam(p)
        adam.step(np.ones(3))
        saved = adam.state_dict()
        with pytest.raises(errors.StateError, match="groups of other sizes"):
            optim.Adam([np.ones(3), np.ones(3)]).load_state_dict(saved)
        with pytest.raises(errors.ShapeError, match="exp_avg"):
            optim.Adam(np.ones(4)).load_state_dict(saved)
        with pytest.raises(errors.StateError, match="'exp_avg' is no state of RMSprop"):
            optim.RMSprop(p).load_state_dict(saved)
        with pytest.raises(errors.StateError, match="no mapping"):
            adam.load_state_dict({})
        other = optim.Adam(np.ones(4), lr=0.5)
        other.step(np.ones(4))
        before = other.state[0]["exp_avg"]
        with pytest.raises(errors.ShapeError):
            other.load_state_dict(saved)
        assert other.param_groups[0]["lr"] == 0.5  # nothing was changed
        assert other.state[0]["exp_avg"] is before


def optim_of_tensors(torch, name, lr):
    p = torch.ones(4, dtype=torch.float64)
    made = getattr(optim, name)(p, lr=lr)
    made.step(torch.ones(4, dtype=torch.float64))
    return made


class TestAddedGroups:
    """`add_param_group`: PyTorch's is the other."""

    @staticmethod
    def both(torch, name, params, **flags):
        theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params[:2]]
        return (
            getattr(optim, name)([p.copy() for p in params[:2]], lr=0.05, **flags),
            getattr(torch.optim, name)(theirs, lr=0.05, **flags),
        )

    @staticmethod
    def run(torch, ours, peer, grads):
        for g in grads:
            theirs = [p for group in peer.param_groups for p in group["params"]]
            for p, x in zip(theirs, g, strict=False):
                p.grad = torch.as_tensor(x)
            ours.step(g[: len(theirs)])
            peer.step()

    @staticmethod
    def values(optimizer):
        return [
            p.detach().numpy() if hasattr(p, "detach") else p
            for group in optimizer.param_groups
            for p in group["params"]
        ]

    @each_flag
    @each_type
    def test_as_torch(self, torch, name, flags, dtype):
        """In the middle of a run; and from there to the other's, both ways."""
        params, grads = run_of(dtype, shapes=((3, 5), (7,), (), (4,), (2, 2)), steps=60)
        ours, peer = self.both(torch, name, params, **flags)
        self.run(torch, ours, peer, grads[:20])
        added = [torch.nn.Parameter(torch.tensor(p)) for p in params[2:]]
        copies = [p.copy() for p in params[2:]]
        states = [dict(own) for own in ours.state]
        given = {"params": copies[:2], "lr": 0.1, "weight_decay": 0.02}
        ours.add_param_group(given)
        assert set(given) == {"params", "lr", "weight_decay"}
        for before, own in zip(states, ours.state, strict=False):
            assert all(own[key] is before[key] for key in before)
        peer.add_param_group({"params": added[:2], "lr": 0.1, "weight_decay": 0.02})
        self.run(torch, ours, peer, grads[20:30])
        ours.add_param_group({"params": copies[2]})
        peer.add_param_group({"params": added[2]})
        self.run(torch, ours, peer, grads[30:40])
        assert [len(group["params"]) for group in ours.param_groups] == [2, 2, 1]
        assert_close(self.values(ours), self.values(peer), TOLERANCE[dtype])
        # The states of three groups, over and over.
        tensors = [torch.nn.Parameter(torch.tensor(p)) for p in self.values(ours)]
        groups = [{"params": tensors[:2]}, {"params": tensors[2:4]}, {"params": tensors[4:]}]
        by_tensors = getattr(optim, name)([{**g} for g in groups], lr=9.0)
        by_tensors.load_state_dict(peer.state_dict())
        for key in ("lr", "weight_decay"):
            assert [g[key] for g in by_tensors.param_groups] == [g[key] for g in peer.param_groups]
        twins = [torch.nn.Parameter(p.detach().clone()) for p in tensors]
        back = getattr(torch.optim, name)(
            [{"params": twins[:2]}, {"params": twins[2:4]}, {"params": twins[4:]}], lr=9.0
        )
        back.load_state_dict(copy.deepcopy(by_tensors.state_dict()))  # theirs takes tensors as they are
        self.run(torch, ours, peer, grads[40:])
        self.run(torch, by_tensors, back, [[torch.tensor(x) for x in g] for g in grads[40:]])
        for found in (ours, by_tensors, back):
            assert_close(self.values(found), self.values(peer), TOLERANCE[dtype])

    def test_same_as_from_the_start(self):
        """If the group comes before the first step."""
        params, grads = run_of(np.float32, steps=5)
        early, late = ([p.copy() for p in params] for _ in range(2))
        whole = optim.Adam([{"params": early[:2]}, {"params": early[2:], "lr": 0.5}])
        grown = optim.Adam(late[:2])
        grown.add_param_group({"params": late[2:], "lr": 0.5})
        for g in grads:
            whole.step(g, clip_norm=1.0)
            grown.step(g, clip_norm=1.0)
        for a, b in zip(early, late, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_bfloat16(self, torch):
        p, q = torch.ones(9), torch.ones(9, dtype=torch.bfloat16)
        adam = optim.AdamW(p, lr=0.1)
        adam.step(torch.ones(9))
        adam.add_param_group({"params": q})
        adam.step([torch.ones(9), torch.ones(9, dtype=torch.bfloat16)])
        assert adam.state[1]["master_param"].dtype == torch.float32
        assert float(q[0]) < 1.0

    def test_refused(self):
        p, q = np.ones(3), np.ones(4)
        adam = optim.Adam(p)
        adam.step(np.ones(3))
        before, groups = adam.state_dict(), list(adam.param_groups)
        for error, message, group in (
            (errors.DTypeError, "param_group: is no dict with 'params'", [q]),
            (errors.DTypeError, "param_group: is no dict with 'params'", {"lr": 0.1}),
            (errors.DTypeError, "param_group: is a set", {"params": frozenset()}),
            (errors.DTypeError, "param_group: NoneType is neither", {"params": None}),
            (errors.DTypeError, r"param_group\[0\]: holds int64", {"params": [np.ones(3, np.int64)]}),
            (errors.ParameterError, r"param_group: \['wd'\] are unknown", {"params": q, "wd": 1.0}),
            (errors.ParameterError, "lr: ", {"params": q, "lr": -1.0}),
            (errors.ParameterError, r"betas\[1\]", {"params": q, "betas": (0.9, 1.0)}),
            (errors.LayoutError, "shares memory", {"params": p[1:]}),
            (errors.LayoutError, "shares memory", {"params": [q, q]}),
            (errors.LayoutError, "has gaps", {"params": np.ones(8)[::2]}),
            (errors.ParameterError, "names", {"params": [("q", q)]}),
            (errors.ParameterError, "some parameters have names", {"params": [("q", q), np.ones(2)]}),
        ):
            with pytest.raises(error, match=message):
                adam.add_param_group(group)
            assert adam.param_groups == groups
            assert adam.state_dict()["state"][0]["step"] == before["state"][0]["step"]
        adam.step(np.ones(3))
        for cls in (optim.LBFGS, optim.SSBroyden):
            with pytest.raises(errors.ParameterError, match="takes one group"):
                cls(np.ones(3)).add_param_group({"params": q})
            with pytest.raises(errors.LayoutError, match=r"buffers\[1\]: shares memory"):
                cls([q, q[1:]])
            with pytest.raises(errors.LayoutError, match="several elements share"):
                cls(np.lib.stride_tricks.as_strided(np.ones(1), (3,), (0,)))
            for shape, strides in (((3, 2), (8, 8)), ((2, 2), (4, 16)), ((2, 3), (16, 8)), ((2, 2), (-8, 8))):
                shared = np.lib.stride_tricks.as_strided(np.arange(9.0)[4:], shape, strides)
                with pytest.raises(errors.LayoutError, match="several elements share"):
                    cls([shared])
            for apart in (
                np.ones((3, 4)).T, np.ones((6, 8))[::-2, ::3], np.ones((3, 1, 2))[:, ::-1],
                np.lib.stride_tricks.as_strided(np.ones(4), (2, 1, 2), (16, 0, 8)),
            ):  # fmt: skip
                cls([apart, np.ones((0, 3))]).step(lambda x=apart: (float((x * x).sum()), [2 * x, None]))
                assert abs(apart).max() < 1.0
        with pytest.raises(errors.DTypeError, match="buffers: is a set"):
            optim.SGD(frozenset((1, 2)))

    def test_states_that_are_none(self):
        adam = optim.Adam(np.ones(3))
        adam.step(np.ones(3))
        saved = adam.state_dict()
        own = saved["state"][0]
        for wrong in (
            {**saved, "param_groups": None}, {**saved, "param_groups": [{}]}, {**saved, "state": None},
            {**saved, "state": {0: None}}, {**saved, "state": {0: {**own, "step": "a"}}},
            {**saved, "state": {0: {"exp_avg": own["exp_avg"]}}},
        ):  # fmt: skip
            with pytest.raises(errors.StateError, match="state_dict: "):
                adam.load_state_dict(wrong)
        for step in (1e300, 2.0**53, 2.5, -1, math.nan, math.inf, None, True):
            with pytest.raises(errors.StateError, match=r"step of parameter 0: .* is no number of steps"):
                adam.load_state_dict({**saved, "state": {0: {**own, "step": step}}})
        assert adam.state_dict()["state"][0]["step"] == 1.0
        for step in (0, 7, 2**53 - 1):
            adam.load_state_dict({**saved, "state": {0: {**own, "step": step}}})
            assert step == 0 or adam.state_dict()["state"][0]["step"] == step

    def test_names(self, torch):
        """As `named_parameters` gives them; they go with the state."""
        layer = torch.nn.Linear(3, 2)
        ours, peer = optim.Adam(layer.named_parameters()), torch.optim.Adam(layer.named_parameters())
        assert ours.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
        peer.load_state_dict(ours.state_dict())
        ours.load_state_dict(peer.state_dict())
        ours.add_param_group({"params": [("other", torch.ones(3))]})
        assert [group["param_names"] for group in ours.param_groups] == [["weight", "bias"], ["other"]]

    def test_names_of_another(self, torch):
        """A state with names, in an optimizer without: it stays one without, as PyTorch's does."""
        layer = torch.nn.Linear(3, 2)
        named, ours = optim.Adam(layer.named_parameters()), optim.Adam(layer.parameters())
        ours.load_state_dict(named.state_dict())
        assert "param_names" not in ours.param_groups[0]
        ours.add_param_group({"params": torch.ones(3)})
        plain = optim.Adam(layer.parameters(), lr=0.5)
        named.load_state_dict(plain.state_dict())
        assert named.param_groups[0]["param_names"] == ["weight", "bias"]
        assert named.param_groups[0]["lr"] == 0.5

    def test_on_devices(self, device):
        if device == "cpu":
            pytest.skip("the others are of the CPU")
        params, grads = run_of(np.float32, steps=6)
        here = [p.copy() for p in params]
        there = [warpquant.to_device(p, device) for p in params]
        ours, other = optim.AdamW(here[:2]), optim.AdamW(there[:2])
        bad = [np.full_like(g, np.nan) for g in grads[0]]

        def step(g, count):
            for optimizer, put in ((ours, np.copy), (other, lambda x: warpquant.to_device(x, device))):
                optimizer.step([put(x) for x in g[:count]], clip_norm=0.5, nonfinite="skip")

        for g in (*grads[:3], bad):
            step(g, 2)
        norm = other.norm
        ours.add_param_group({"params": here[2], "lr": 0.1})
        other.add_param_group({"params": there[2], "lr": 0.1})
        assert other.skipped == ours.skipped == 1
        assert other.norm == pytest.approx(norm, nan_ok=True)
        for g in (*grads[3:], bad):
            step(g, 3)
        assert other.skipped == ours.skipped == 2
        assert [own["step"] for own in other.state_dict()["state"].values()] == [6.0, 6.0, 3.0]
        for p, q in zip(here, there, strict=True):
            np.testing.assert_array_equal(p, q.to_numpy())

    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            ("StepLR", {"step_size": 3, "gamma": 0.5}), ("ConstantLR", {"factor": 0.5, "total_iters": 7}),
            ("LinearLR", {"start_factor": 0.25, "total_iters": 8}),
            ("CosineAnnealingLR", {"T_max": 40, "eta_min": 0.01}),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("at", [0, 2, 5, 9])
    def test_schedules_as_torch(self, torch, name, flags, at):
        """A group that comes later has its own rate, until the next change of all."""
        ours, peer = optim.SGD(np.ones(1), lr=0.5), torch.optim.SGD([torch.ones(1)], lr=0.5)
        schedule, theirs = getattr(optim, name)(ours, **flags), getattr(torch.optim.lr_scheduler, name)(peer, **flags)
        for i in range(25):
            if i == at:
                ours.add_param_group({"params": np.ones(2), "lr": 0.3})
                peer.add_param_group({"params": torch.ones(2), "lr": 0.3})
            assert schedule.get_last_lr() == pytest.approx([g["lr"] for g in peer.param_groups], rel=1e-12), i
            peer.step()
            schedule.step()
            theirs.step()
        # A new run: the schedule of theirs knows one group alone.
        later = optim.SGD([{"params": np.ones(1)}, {"params": np.ones(2)}])
        again = getattr(optim, name)(later, **flags)
        again.load_state_dict(theirs.state_dict())
        twin = optim.SGD([{"params": torch.ones(1)}, {"params": torch.ones(2)}])
        twin_schedule = getattr(optim, name)(twin, **flags)
        twin_schedule.load_state_dict(schedule.state_dict())
        later.load_state_dict({"state": {}, "param_groups": peer.state_dict()["param_groups"]})
        for _ in range(5):
            for one in (again, twin_schedule, schedule, theirs):
                one.step()
            expected = [g["lr"] for g in peer.param_groups]
            for found in (again, twin_schedule, schedule):
                assert found.get_last_lr() == pytest.approx(expected, rel=1e-10)

    def test_schedules_that_know_their_groups(self, torch):
        sgd = optim.SGD(np.ones(1), lr=0.5, momentum=0.9)
        cycle = optim.OneCycleLR(sgd, 0.5, total_steps=10)
        plateau, fixed = optim.ReduceLROnPlateau(sgd, patience=0), optim.ReduceLROnPlateau(sgd, min_lr=[0.1])
        sgd.add_param_group({"params": np.ones(2), "lr": 0.3})
        with pytest.raises(errors.ParameterError, match="optimizer: has 2 groups, but OneCycleLR knows"):
            cycle.step()
        with pytest.raises(errors.ParameterError, match="min_lr: has 1 values for 2 groups"):
            fixed.step(1.0)
        for _ in range(2):
            plateau.step(1.0)
        assert sgd.param_groups[1]["lr"] == pytest.approx(0.03)
        warm = optim.SGD(np.ones(1), lr=1.0)
        both = optim.SequentialLR(
            warm, [optim.LinearLR(warm, 0.5, total_iters=2), optim.CosineAnnealingLR(warm, 4)], milestones=[2]
        )
        warm.add_param_group({"params": np.ones(2), "lr": 0.25})
        rates = []
        for _ in range(4):
            both.step()
            rates.append(both.get_last_lr())
        np.testing.assert_allclose(np.array(rates)[:, 1], 0.5 * np.array(rates)[:, 0])

    @pytest.mark.parametrize(
        ("name", "flags", "at", "rate"),
        [
            ("CosineAnnealingLR", {"T_max": 100}, 99, 0.1), ("CosineAnnealingLR", {"T_max": 100}, 80, 0.1),
            ("CosineAnnealingLR", {"T_max": 100, "eta_min": 0.2}, 90, 0.1),
            ("LinearLR", {"start_factor": 0.01, "total_iters": 50}, 3, 0.1),
            ("ConstantLR", {"factor": 0.05, "total_iters": 5}, 4, 0.1),
        ],
    )  # fmt: skip
    def test_schedules_that_would_raise_a_rate(self, name, flags, at, rate):
        """A group that comes where the others are far down, to rise again."""
        sgd = optim.SGD(np.ones(1), lr=0.5)
        parts = [getattr(optim, name)(sgd, **flags), optim.StepLR(sgd, 5)]
        for schedule in (parts[0], optim.SequentialLR(sgd, parts, milestones=[200])):
            while len(sgd.param_groups) > 1:
                sgd.param_groups.pop()
            while schedule.last_epoch < at:
                schedule.step()
            sgd.add_param_group({"params": np.ones(2), "lr": rate})
            before = schedule.state_dict(), schedule.get_last_lr()
            with pytest.raises(errors.ParameterError, match=r"group 1 .* make the schedule anew"):
                schedule.step()
            assert (schedule.state_dict(), schedule.get_last_lr()) == before
            assert "initial_lr" not in sgd.param_groups[1]
        # What the message says.
        sgd.param_groups[1]["initial_lr"] = rate
        again = getattr(optim, name)(sgd, **flags, last_epoch=at)
        again.step()
        assert again.get_last_lr() == [again.lr_at(at + 1, base) for base in (0.5, rate)]

    @pytest.mark.parametrize(
        ("name", "flags", "at", "factor"),
        [
            ("StepLR", {"step_size": 1, "gamma": 0.1}, 8, 0.1),
            ("LinearLR", {"start_factor": 1.0, "end_factor": 0.01, "total_iters": 4}, 6, 1.0),
            ("ConstantLR", {"factor": 0.01, "total_iters": 5}, 7, 1.0),
        ],
    )  # fmt: skip
    def test_schedules_that_rise_no_more(self, name, flags, at, factor):
        """However far down the others are, the group goes on from its own rate."""
        sgd = optim.SGD(np.ones(1), lr=0.5)
        schedule = getattr(optim, name)(sgd, **flags)
        for _ in range(at):
            schedule.step()
        sgd.add_param_group({"params": np.ones(2), "lr": 0.3})
        schedule.step()
        assert schedule.get_last_lr()[1] == pytest.approx(0.3 * factor)
        # After a warm-up, too.
        sgd = optim.SGD(np.ones(1), lr=0.5)
        warm = optim.LinearLR(sgd, 0.01, total_iters=2)
        both = optim.SequentialLR(sgd, [warm, getattr(optim, name)(sgd, **flags)], milestones=[2])
        for _ in range(at + 2):
            both.step()
        sgd.add_param_group({"params": np.ones(2), "lr": 0.3})
        both.step()
        assert both.get_last_lr()[1] == pytest.approx(0.3 * factor)


class TestDevices:
    def put(self, x, device):
        return x.copy() if device == "cpu" else warpquant.to_device(x, device)

    def values(self, x):
        return x if isinstance(x, np.ndarray) else x.to_numpy()

    @pytest.mark.parametrize("name", FLAGS)
    @each_type
    def test_bits(self, device, name, dtype):
        """The same as on the CPU, norm included, with more tensors than a launch takes."""
        flags = FLAGS[name][-1]
        shapes = [(5000,), (3, 4), (0, 2), ()] + [(i,) for i in range(1, 90)]
        params, grads = run_of(dtype, shapes, steps=3)
        there = [self.put(p, device) for p in params]
        ours, other = (getattr(optim, name)(x, lr=0.01, **flags) for x in (params, there))
        for g in grads:
            ask = {"clip_norm": 5.0, "grad_scale": 0.5, "clip_value": 0.1, "nonfinite": "skip"}
            ours.step(g, **ask)
            other.step([self.put(x, device) for x in g], **ask)
        assert other.norm == ours.norm
        for p, q in zip(params, there, strict=True):
            np.testing.assert_array_equal(p, self.values(q))
        for a, b in zip(ours.state, other.state, strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], self.values(b[key]))

    def test_not_finite(self, device):
        p = self.put(np.ones(3), device)
        adam = optim.Adam(p)
        bad, good = self.put(np.array([1.0, np.nan, 1.0]), device), self.put(np.ones(3), device)
        adam.step(bad, nonfinite="skip")
        adam.step(good, nonfinite="skip")
        adam.step(bad, nonfinite="skip")
        assert adam.skipped == 2
        assert adam.state_dict()["state"][0]["step"] == 1.0
        np.testing.assert_allclose(self.values(p), 0.999)
        with pytest.raises(errors.ParameterError, match="NaN or infinity"):
            adam.step(bad, nonfinite="raise")
        again = optim.Adam(self.put(np.ones(3), device))
        again.load_state_dict(adam.state_dict())
        assert again.state_dict()["state"][0]["step"] == 1.0

    @pytest.mark.parametrize("norm_type", [1, 2, 2.5, math.inf])
    def test_clip(self, device, norm_type):
        rng = np.random.default_rng(0)
        here = [rng.normal(size=n).astype(np.float32) for n in (10_000, 1, 0, 77)]
        there = [self.put(g, device) for g in here]
        norm = optim.clip_grad_norm_(there, 0.5, norm_type)
        # Powers are fused where the machine can.
        assert norm == pytest.approx(optim.clip_grad_norm_(here, 0.5, norm_type), rel=1e-15 if norm_type == 2.5 else 0)
        optim.clip_grad_value_(there, 1e-3)
        optim.clip_grad_value_(here, 1e-3)
        for a, b in zip(here, there, strict=True):
            np.testing.assert_allclose(a, self.values(b), rtol=1e-6 if norm_type == 2.5 else 0)

    def test_prepared(self, device):
        """A step as a graph keeps it: the number of steps goes on."""
        if device == "cpu":
            pytest.skip("graphs are of devices")
        p, g = self.put(np.ones(3), device), self.put(np.ones(3), device)
        adam = optim.Adam(p)
        call = warpquant.prepare(adam.step, g, clip_norm=1.0)
        for _ in range(3):
            call()
        q = np.ones(3)
        other = optim.Adam(q)
        for _ in range(3):
            other.step(np.ones(3), clip_norm=1.0)
        np.testing.assert_array_equal(p.to_numpy(), q)

    def test_mixed(self, device):
        if device == "cpu":
            pytest.skip("there is one memory")
        there, here = self.put(np.ones(3), device), np.ones(3)
        with pytest.raises(errors.LayoutError, match=r"buffers\[1\]"):
            optim.SGD([there, here])
        with pytest.raises(errors.LayoutError, match=r"grads\[0\]"):
            optim.SGD(there).step(here)
        with pytest.raises(errors.LayoutError, match="quasi-Newton"):
            optim.LBFGS(there)

    def test_bfloat16(self, device):
        if device != "emulator":
            pytest.skip("arrays of bfloat16 on a device are those of PyTorch")
        bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
        rng = np.random.default_rng(1)
        start, g = rng.normal(size=5000).astype(bfloat16), rng.normal(size=5000).astype(bfloat16)
        p = start.copy()
        optim.AdamW(p).step(g)
        zeros = [warpquant.to_device(np.zeros(5000, np.float32), device) for _ in range(2)]
        master = warpquant.to_device(start.astype(np.float32), device)
        there, grad = _Bfloat16(start, device), _Bfloat16(g, device)
        core = _core.OptimBuffers([there])
        core.attach(0, [*zeros, None, master])
        flags = optim.AdamW(np.ones(1))._flags(optim.AdamW(np.ones(1)).param_groups[0])
        place = warpquant._devices.resolve(None, f"{device}:0", "buffers")
        core.step([flags], [0], [grad], (1.0, math.inf, math.inf, 2.0, None, False, False), 0, "best", place)
        np.testing.assert_array_equal(there.array.to_numpy().view(bfloat16), p)


class _Bfloat16:
    """bfloat16 on a device: bytes of an array there, by another name."""

    def __init__(self, values, device):
        self.array = warpquant.to_device(values.view(np.int8), device)
        self.shape = values.shape

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        options.pop("max_version", None)
        capsule = self.array.__dlpack__(**options)
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = get(capsule, b"dltensor")
        # data, device (8 bytes), ndim and dtype (8 bytes), shape
        ctypes.c_uint8.from_address(tensor + 20).value = 4
        ctypes.c_uint8.from_address(tensor + 21).value = 16
        shape = ctypes.c_void_p.from_address(tensor + 24).value
        ctypes.c_int64.from_address(shape).value = self.shape[0]
        return capsule


def rosenbrock(x):
    a, b = 1 - x[:-1], x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -2 * a - 400 * x[:-1] * b
    g[1:] += 200 * b
    return float((a * a + 100 * b * b).sum()), g


class TestQuasiNewton:
    @pytest.mark.parametrize("line_search", ["strong_wolfe", None])
    @pytest.mark.parametrize("history", [3, 100])
    def test_lbfgs_as_torch(self, torch, line_search, history):
        start = np.linspace(-1.2, 1.0, 12)
        flags = {
            "history_size": history,
            "line_search_fn": line_search,
            "lr": 1.0 if line_search else 1e-3,
            "max_iter": 7,
        }
        p = [start[:5].copy(), start[5:].reshape(7, 1).copy()]
        ours = optim.LBFGS(p, **flags)
        theirs = torch.tensor(start, requires_grad=True)
        peer = torch.optim.LBFGS([theirs], **flags)

        def our_loss():
            loss, g = rosenbrock(np.concatenate([p[0], p[1].ravel()]))
            return loss, [g[:5], g[5:].reshape(7, 1)]

        def their_loss():
            loss, g = rosenbrock(theirs.detach().numpy())
            theirs.grad = torch.tensor(g)
            return torch.tensor(loss, dtype=torch.float64)

        for i in range(5):
            loss, peer_loss = ours.step(our_loss), peer.step(their_loss)
            assert loss == pytest.approx(float(peer_loss), rel=1e-8)
            x = np.concatenate([p[0], p[1].ravel()])
            np.testing.assert_allclose(x, theirs.detach(), rtol=1e-8, atol=1e-8)
            assert ours.state_dict()["state"][0]["func_evals"] == peer.state_dict()["state"][0]["func_evals"], i

    def test_lbfgs_switch_over(self, torch):
        def loss_of(x):
            def closure():
                loss, g = rosenbrock(x.detach().numpy())
                x.grad = torch.tensor(g)
                return torch.tensor(loss, dtype=torch.float64)

            return closure

        flags = {"line_search_fn": "strong_wolfe", "max_iter": 5}
        a, b, c = (torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_() for _ in range(3))
        ours, peer, both = optim.LBFGS([a], **flags), torch.optim.LBFGS([b], **flags), optim.LBFGS([c], **flags)
        for optimizer, x in ((ours, a), (peer, b), (both, c)):
            optimizer.step(loss_of(x))
        to_theirs, to_ours = torch.optim.LBFGS([a]), optim.LBFGS([b])
        to_theirs.load_state_dict(ours.state_dict())
        to_ours.load_state_dict(peer.state_dict())
        for optimizer, x in ((to_theirs, a), (to_ours, b), (both, c)):
            optimizer.step(loss_of(x))
        torch.testing.assert_close(a, c, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(b, c, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("cls", [optim.LBFGS, optim.SSBroyden])
    @pytest.mark.parametrize("n", [1, 2, 30])
    def test_quadratic(self, cls, n):
        """A convex parabola, whose minimum is known."""
        rng = np.random.default_rng(n)
        root = rng.normal(size=(n, n)) + n * np.eye(n)
        matrix, centre = root @ root.T / n**2, rng.normal(size=n)
        x = np.zeros(n)

        def closure():
            g = matrix @ (x - centre)
            return 0.5 * float((x - centre) @ g), g

        flags = {"line_search_fn": "strong_wolfe"} if cls is optim.LBFGS else {}
        cls(x, max_iter=300, tolerance_grad=1e-12, tolerance_change=0, **flags).step(closure)
        np.testing.assert_allclose(x, centre, atol=1e-9)

    def test_ssbroyden_formula(self):
        """The fused update is the published one."""
        rng = np.random.default_rng(0)
        for _ in range(50):
            n = 6
            root = rng.normal(size=(n, n))
            inverse = root @ root.T + 0.1 * np.eye(n)
            inverse = (inverse + inverse.T) / 2
            g, t = rng.normal(size=n), rng.uniform(0.1, 2)
            s = -t * inverse @ g
            root = rng.normal(size=(n, n))
            y = (root @ root.T + 0.1 * np.eye(n)) @ s
            ours = optim.SSBroyden(np.zeros(n))
            ours._inverse, ours._scaled = inverse.copy(), True
            hg = ours._update(s, g, g + y, inverse @ g)
            expected = ssbroyden(inverse, s, y, g, t)
            np.testing.assert_allclose(ours.inverse_hessian, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())
            np.testing.assert_allclose(hg, expected @ (g + y), rtol=1e-8, atol=1e-8 * abs(expected).max())
            np.testing.assert_allclose(ours.inverse_hessian @ y, s, rtol=1e-8, atol=1e-9)  # the secant equation
            np.testing.assert_array_equal(ours.inverse_hessian, ours.inverse_hessian.T)

    def test_ssbroyden_of_rosenbrock(self):
        x = np.linspace(-1.2, 1.0, 20)
        method = optim.SSBroyden(x, max_iter=400, tolerance_grad=1e-10, tolerance_change=0)
        method.step(lambda: rosenbrock(x))
        np.testing.assert_allclose(x, 1.0, atol=1e-10)
        assert np.linalg.eigvalsh(method.inverse_hessian).min() > 0

    def test_ssbroyden_goes_on(self, simd_levels):
        """By steps, from a saved state, on every level and number of threads: the same bits."""
        found = set()
        for level, threads in itertools.product(simd_levels, (1, 2)):
            with warpquant.config.override(simd=level, num_threads=threads):
                x = np.linspace(-1.2, 1.0, 300)
                first = optim.SSBroyden(x, max_iter=4)
                first.step(lambda x=x: rosenbrock(x))
                y = x.copy()
                second = optim.SSBroyden(y)
                second.load_state_dict(first.state_dict())
                for method, at in ((first, x), (second, y)):
                    method.step(lambda at=at: rosenbrock(at))
                np.testing.assert_array_equal(x, y)
                found.add(x.tobytes())
        assert len(found) == 1

    def test_one_iteration_at_a_time(self):
        """Ten steps of one iteration are one of ten, to the bit, also through a state in between."""
        x, y = (np.linspace(-1.2, 1.0, 40) for _ in range(2))
        flags = {"tolerance_grad": 0.0, "tolerance_change": 0.0}
        optim.SSBroyden(x, max_iter=10, **flags).step(lambda: rosenbrock(x))
        method = optim.SSBroyden(y, max_iter=1, **flags)
        for _ in range(10):
            state = method.state_dict()
            method = optim.SSBroyden(y, max_iter=1, **flags)
            method.load_state_dict(state)
            method.step(lambda: rosenbrock(y))
        np.testing.assert_array_equal(x, y)

    @pytest.mark.parametrize("cls", [optim.LBFGS, optim.SSBroyden])
    def test_a_closure_that_raises(self, cls):
        """Within a line search: parameters and state are those of the last iteration, and the run can go on."""
        flags = {"max_iter": 1} | ({"line_search_fn": "strong_wolfe"} if cls is optim.LBFGS else {})
        x, y = (np.full(6, -1.2) for _ in range(2))
        method, whole = cls(x, **flags), cls(y, **flags)
        for _ in range(4):
            method.step(lambda: rosenbrock(x))
            whole.step(lambda: rosenbrock(y))
        calls = []

        def interrupted():
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return rosenbrock(x)

        with pytest.raises(KeyboardInterrupt):
            method.step(interrupted)
        np.testing.assert_array_equal(x, y)
        method.step(lambda: rosenbrock(x))
        whole.step(lambda: rosenbrock(y))
        np.testing.assert_array_equal(x, y)

    def test_damped_after_another_loss(self):
        x = np.zeros(5)
        method = optim.SSBroyden(x, max_iter=100, tolerance_change=0)
        for centre in (1.0, -2.0):
            method.step(lambda centre=centre: (float(((x - centre) ** 4).sum()), 4 * (x - centre) ** 3))
            method.damp(0.5)
        assert abs(x + 2).max() < 0.01

    def test_not_finite(self):
        """A loss that is nowhere finite leaves the parameters where they were, and ends."""
        for cls in (optim.LBFGS, optim.SSBroyden):
            x = np.ones(3)
            cls(x).step(lambda: (math.nan, np.full(3, math.nan)))
            assert (x == 1).all()

    @pytest.mark.parametrize("cls", [optim.LBFGS, optim.SSBroyden])
    def test_edge_of_the_domain(self, cls):
        """x - log(x), which is NaN where the first steps go."""
        x = np.array([20.0, 0.05])

        def closure():
            with np.errstate(all="ignore"):
                return float((x - np.log(x)).sum()), 1 - 1 / x

        flags = {"line_search_fn": "strong_wolfe"} if cls is optim.LBFGS else {}
        cls(x, max_iter=100, lr=10.0, tolerance_change=0, **flags).step(closure)
        np.testing.assert_allclose(x, 1, atol=1e-6)

    def test_float32(self):
        x = np.linspace(-1.2, 1.0, 4).astype(np.float32)
        optim.LBFGS(x, max_iter=100, line_search_fn="strong_wolfe").step(
            lambda: (lambda f: (f[0], f[1].astype(np.float32)))(rosenbrock(x.astype(np.float64)))
        )
        np.testing.assert_allclose(x, 1.0, atol=2e-3)

    def test_refused(self):
        x = np.ones(3)
        with pytest.raises(errors.ShapeError, match=r"grads\[0\]"):
            optim.LBFGS(x).step(lambda: (1.0, np.ones(4)))
        with pytest.raises(errors.ParameterError, match="in groups"):
            optim.LBFGS([{"params": x}, {"params": np.ones(2)}])
        with pytest.raises(errors.ParameterError, match="factor"):
            optim.SSBroyden(x).damp(0)


SCHEDULES = {
    "ConstantLR": {"factor": 0.5, "total_iters": 4},
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 10, "eta_min": 0.01},
    "LinearLR": {"start_factor": 0.1, "total_iters": 7},
    "OneCycleLR": {"max_lr": 0.7, "total_steps": 31},
}


class TestSchedules:
    @pytest.mark.parametrize(
        ("name", "flags"),
        [
            *SCHEDULES.items(),
            ("ConstantLR", {}), ("LinearLR", {"end_factor": 0.5}), ("CosineAnnealingLR", {"T_max": 1}),
            ("OneCycleLR", {"max_lr": 0.1, "epochs": 4, "steps_per_epoch": 9, "anneal_strategy": "linear"}),
            ("OneCycleLR", {"max_lr": 0.1, "total_steps": 35, "three_phase": True, "pct_start": 0.4}),
            ("OneCycleLR", {"max_lr": 0.1, "total_steps": 35, "cycle_momentum": False, "div_factor": 3}),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["SGD", "Adam"])
    def test_as_torch(self, torch, name, flags, kind):
        extra = {"momentum": 0.9} if kind == "SGD" else {}
        ours = getattr(optim, kind)([{"params": np.ones(1)}, {"params": np.ones(1), "lr": 0.3}], lr=0.5, **extra)
        peer = getattr(torch.optim, kind)(
            [{"params": torch.ones(1)}, {"params": torch.ones(1), "lr": 0.3}], lr=0.5, **extra
        )
        schedule, theirs = getattr(optim, name)(ours, **flags), getattr(torch.optim.lr_scheduler, name)(peer, **flags)
        for _ in range(30):
            for a, b in zip(ours.param_groups, peer.param_groups, strict=True):
                for key in ("lr", "momentum", "betas"):
                    assert a.get(key, 0) == pytest.approx(b.get(key, 0), rel=1e-12, abs=1e-15)
            peer.step()
            schedule.step()
            theirs.step()
        assert schedule.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12)

    @pytest.mark.parametrize("mode", ["min", "max"])
    @pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
    def test_plateau_as_torch(self, torch, mode, threshold_mode):
        flags = {
            "mode": mode, "threshold_mode": threshold_mode, "threshold": 0.05, "patience": 2, "cooldown": 1,
            "factor": 0.5, "min_lr": 0.01,
        }  # fmt: skip
        ours, peer = optim.SGD(np.ones(1), lr=0.5), torch.optim.SGD([torch.ones(1)], lr=0.5)
        schedule = optim.ReduceLROnPlateau(ours, **flags)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(peer, **flags)
        for i, metric in enumerate([*np.random.default_rng(0).normal(size=60), math.nan, 0.0]):
            schedule.step(metric)
            theirs.step(metric)
            assert schedule.get_last_lr() == theirs.get_last_lr()
            if i == 30:
                schedule = optim.ReduceLROnPlateau(ours, **flags)
                schedule.load_state_dict(theirs.state_dict())

    def test_warm_up_and_cosine_as_torch(self, torch):
        ours, peer = optim.SGD(np.ones(1), lr=0.5), torch.optim.SGD([torch.ones(1)], lr=0.5)
        lr = torch.optim.lr_scheduler
        theirs = lr.SequentialLR(
            peer, [lr.LinearLR(peer, 0.1, total_iters=5), lr.CosineAnnealingLR(peer, 20)], milestones=[5]
        )
        schedule = optim.SequentialLR(
            ours, [optim.LinearLR(ours, 0.1, total_iters=5), optim.CosineAnnealingLR(ours, 20)], milestones=[5]
        )
        for _ in range(25):
            assert schedule.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12, abs=1e-15)
            peer.step()
            schedule.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of theirs, about their own milestones
                theirs.step()

    @pytest.mark.parametrize(("name", "flags"), SCHEDULES.items())
    def test_pure_and_resumed(self, name, flags):
        sgd = optim.SGD(np.ones(1), lr=0.5, momentum=0.9)
        schedule = getattr(optim, name)(sgd, **flags)
        rates = [sgd.param_groups[0]["lr"]]
        for _ in range(20):
            schedule.step()
            rates += schedule.get_last_lr()
        base = 0.7 if name == "OneCycleLR" else 0.5
        assert rates == [schedule.lr_at(step, base) for step in range(21)]
        other = optim.SGD(np.ones(1), lr=0.5, momentum=0.9)
        again = getattr(optim, name)(other, **flags)
        again.load_state_dict(schedule.state_dict())
        again.step()
        schedule.step()
        assert other.param_groups[0]["lr"] == sgd.param_groups[0]["lr"]

    def test_refused(self):
        sgd = optim.SGD(np.ones(1))
        for call, name in [
            (lambda: optim.StepLR(sgd, 0), "step_size"),
            (lambda: optim.StepLR(3, 1), "optimizer"),
            (lambda: optim.OneCycleLR(sgd, 0.1), "total_steps"),
            (lambda: optim.OneCycleLR(sgd, [0.1, 0.2], total_steps=5), "max_lr"),
            (lambda: optim.LinearLR(sgd, 0.0), "start_factor"),
            (lambda: optim.ReduceLROnPlateau(sgd, factor=1.0), "factor"),
            (lambda: optim.SequentialLR(sgd, [], []), "milestones"),
            (lambda: optim.CosineAnnealingLR(sgd, 5, last_epoch=3), "last_epoch"),
        ]:
            with pytest.raises(errors.ParameterError, match=name):
                call()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"base_lrs": []}, r"'base_lrs' are 0 rates; accepted are from 1 to 2"),
            ({"base_lrs": [0.1] * 3}, r"'base_lrs' are 3 rates; accepted are from 1 to 2"),
            ({"base_lrs": None}, "'base_lrs' are None"), ({"base_lrs": [0.1, "fast"]}, r"base_lrs\[1\]: 'fast'"),
            ({"base_lrs": [math.nan]}, r"base_lrs\[0\]: nan"), ({"last_epoch": 2.5}, "last_epoch: 2.5"),
            ({"last_epoch": -1}, "last_epoch: -1"),
        ],
    )  # fmt: skip
    def test_states_that_are_none(self, change, message):
        sgd = optim.SGD([{"params": np.ones(1)}, {"params": np.ones(2)}], lr=0.5)
        schedule = optim.StepLR(sgd, 1)
        schedule.step()
        saved, rates = schedule.state_dict(), schedule.get_last_lr()
        with pytest.raises(errors.StateError, match=f"state_dict: .*{message}"):
            schedule.load_state_dict({**saved, **change})
        for wrong in ({}, None, {"last_epoch": 3}):
            with pytest.raises(errors.StateError, match="no mapping with 'last_epoch' and 'base_lrs'"):
                schedule.load_state_dict(wrong)
        assert (schedule.state_dict(), schedule.get_last_lr()) == (saved, rates)


def test_parameters_whose_property_changes_their_list():
    class Odd:
        @property
        def grad(self):
            listed.clear()

    listed = []
    listed += [Odd() for _ in range(4)]
    assert _core.optim_carried(listed) == [None] * 4
