# SPDX-License-Identifier: Apache-2.0
"""Heston's model: tables of 30 and 50 digits, limits, parity, derivatives."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from checks import same_bits
from reference import exotics as reference
from warpquant import ParameterError, _rows, config, options

METHODS = ("contour", "cos")

#: Largest errors over the spot on the table of 30 digits; goals are 1e-7 and 1e-10.
BOUNDS = {("contour", "default"): 1e-9, ("contour", "high"): 1e-14, ("cos", "default"): 1e-8, ("cos", "high"): 1e-12}

NAMES = ("spot", "strike", "expiry", "rate", "dividend", "v0", "kappa", "theta", "xi", "rho")


def RUNS_ON(device):
    options.price([100.0], 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)


def models(count, seed=0):
    """Models and options as they are traded, and much worse: Feller's condition fails in most."""
    rng = np.random.default_rng(seed)
    expiry = np.exp(rng.uniform(np.log(0.003), np.log(15.0), count))
    v0, theta = np.exp(rng.uniform(np.log(0.003), np.log(0.4), (2, count)))
    kappa = np.exp(rng.uniform(np.log(0.05), np.log(6.0), count))
    xi = np.exp(rng.uniform(np.log(0.01), np.log(1.5), count))
    rho = rng.uniform(-0.95, 0.9, count)
    spot = np.full(count, 100.0)
    strike = spot * np.exp(rng.uniform(-4, 4, count) * np.sqrt((v0 + 0.5 * theta) * expiry))
    return spot, strike, expiry, rng.uniform(-0.02, 0.08, count), rng.uniform(0, 0.05, count), v0, kappa, theta, xi, rho


def test_table_of_30_digits(shared, device):
    rows = reference.table(shared, "heston_public")
    columns = [
        np.array([row[c] for row in rows]) for c in ("S", "K", "T", "r", "q", "v0", "kappa", "theta", "xi", "rho")
    ]
    if device != "cpu":
        columns = [c[:6] for c in columns]
        rows = rows[:6]
    for (method, accuracy), bound in BOUNDS.items():
        for flag, kind in ((True, "call"), (False, "put")):
            got = options.heston(*columns, flag, method=method, accuracy=accuracy, outputs="price", device=device)[
                "price"
            ]
            want = np.array([row[kind] for row in rows])
            assert np.max(np.abs(got - want) / columns[0]) < bound


def test_published_prices(shared):
    for row in reference.table(shared, "heston_vanilla"):
        arguments = [row[c] for c in ("spot", "strike", "t", "r", "q", "v0", "kappa", "theta", "sigma", "rho")]
        got = options.heston(*arguments, row["type"], accuracy="high")["price"]
        # The 50-digit rows are met to the last places, those of a forum as far as they are printed.
        assert got == pytest.approx(row["value"], rel=1e-14, abs=0 if row["rel_tol"] < 1e-10 else 6e-7)
    for row in reference.table(shared, "heston_published"):
        if row["value_kind"] != "Price":
            continue
        arguments = [row[c] for c in ("spot", "strike", "t", "r", "q", "v0", "kappa", "theta", "sigma", "rho")]
        assert options.heston(*arguments, row["type"])["price"] == pytest.approx(row["value"], abs=3e-4)


def hard_models(count, seed=0):
    """Models that no market has: Feller's condition fails by orders of magnitude, correlations of almost 1."""
    rng = np.random.default_rng(seed)

    def log_uniform(low, high):
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    expiry, v0, theta = log_uniform(1e-4, 30.0), log_uniform(1e-4, 1.0), log_uniform(1e-4, 1.0)
    kappa, xi = log_uniform(0.01, 10.0), log_uniform(1e-3, 5.0)
    near = np.where(rng.random(count) < 0.5, -1, 1) * (1.0 - log_uniform(1e-6, 0.01))
    rho = np.where(rng.random(count) < 0.2, near, rng.uniform(-0.99, 0.99, count))
    strike = 100.0 * np.exp(rng.uniform(-6, 6, count) * np.minimum(np.sqrt((v0 + 0.5 * theta) * expiry), 1.5))
    rate, dividend = rng.uniform(-0.05, 0.1, count), rng.uniform(-0.02, 0.08, count)
    return np.full(count, 100.0), strike, expiry, rate, dividend, v0, kappa, theta, xi, rho


def test_many_digits():
    columns = hard_models(200, seed=8)
    chosen = np.arange(0, 200, 70)
    want = np.array([reference.heston_exact(*(c[i] for c in columns), digits=25) for i in chosen])
    for accuracy, bound in (("default", 1e-7), ("high", 1e-10)):
        got = options.heston(*columns, True, accuracy=accuracy, outputs="price")["price"][chosen]
        assert np.max(np.abs(got - want)) < 100.0 * bound


def test_hard_models():
    columns = hard_models(2000, seed=9)
    default = options.heston(*columns, True, outputs="price")["price"]
    high = options.heston(*columns, True, accuracy="high", outputs="price")["price"]
    assert np.max(np.abs(default - high) / columns[0]) < 1e-7
    # Twice as many nodes change nothing.
    many = _rows.call("heston", (*columns, 1.0), _rows.Outputs("heston"), ("price",), parameters=(128.0,))["price"]
    assert np.max(np.abs(high - many) / columns[0]) < 1e-10


def test_methods_agree():
    arguments = models(1000, seed=10)
    contour = options.heston(*arguments, True, accuracy="high", outputs="all")
    for accuracy, bound in (("default", 1e-8), ("high", 1e-12)):
        series = options.heston(*arguments, True, method="cos", accuracy=accuracy, outputs="price")["price"]
        error = np.abs(series - contour["price"]) / arguments[0]
        # A few models need more terms than the series takes.
        assert error.max() < 1e-7
        assert np.quantile(error, 0.98) < bound
    _, _, t, _, _, v0, kappa, theta, xi, rho = arguments
    falls = (v0 + kappa * theta * t) / xi * np.sqrt(1.0 - rho * rho)  # of the characteristic function, far out
    arguments = [a[(falls > 0.03) & (t > 0.05)] for a in arguments]
    assert len(arguments[0]) > 400
    for flag in (True, False):
        contour = options.heston(*arguments, flag, accuracy="high", outputs="all")
        series = options.heston(*arguments, flag, method="cos", accuracy="high", outputs="all")
        for name, want in contour.items():
            assert np.max(np.abs(series[name] - want) / (1.0 + np.abs(want))) < 1e-7, name


@pytest.mark.parametrize("method", METHODS)
def test_shared_nodes_change_no_bit(method):
    """A row's bits do not depend on the rows it shares the characteristic function with."""
    few = [c[:6] for c in models(6, seed=11)]
    rng = np.random.default_rng(12)
    spread = np.exp(np.linspace(-3, 3, 70)[None, :] * np.sqrt(few[5] * few[2])[:, None])
    shape = spread.shape
    columns = [np.broadcast_to(c[:, None], shape).ravel() for c in few]
    columns[1] = (few[0][:, None] * spread).ravel()
    calls = rng.random(columns[0].size) < 0.5

    def run(rows, **more):
        return options.heston(*(c[rows] for c in columns), calls[rows], method=method, outputs="all", **more)

    want = run(slice(None), num_threads=1)
    assert all(np.isfinite(x).all() for x in want.values())
    order = rng.permutation(calls.size)
    threads = run(slice(None), num_threads=3)
    shuffled = run(order)
    parts = [run(slice(a, b)) for a, b in ((0, 33), (33, 190), (190, None))]
    grid = options.heston(
        few[0][:, None], columns[1].reshape(shape), *(c[:, None] for c in few[2:]), calls.reshape(shape),
        method=method, outputs="all",
    )  # fmt: skip
    for name, values in want.items():
        same_bits(threads[name], values)
        same_bits(shuffled[name], values[order])
        same_bits(np.concatenate([p[name] for p in parts]), values)
        same_bits(grid[name].ravel(), values)
    for i in range(0, calls.size, 37):
        single = run(slice(i, i + 1))
        for name, values in want.items():
            same_bits(single[name], values[i : i + 1])


def test_default_and_high_agree():
    arguments = models(3000)
    default = options.heston(*arguments, True, outputs="price")["price"]
    high = options.heston(*arguments, True, accuracy="high", outputs="price")["price"]
    assert np.isfinite(high).all()
    assert np.max(np.abs(default - high) / arguments[0]) < 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_known_variance_is_black_scholes(method):
    s, k, t, r, q, v0, kappa, *_ = models(500, seed=2)

    def heston(*model, outputs="price"):
        return options.heston(s, k, t, r, q, *model, True, method=method, accuracy="high", outputs=outputs)

    want = options.greeks(s, k, t, r, q, np.sqrt(v0), True, outputs="all")
    exact = 1e-12 if method == "contour" else 1e-10
    for xi, bound in ((0.0, exact), (1e-9, 1e-6), (1e-5, 1e-2)):
        got = heston(v0, kappa, v0, xi, -0.5, outputs="all")
        assert np.max(np.abs(got["price"] - want["price"])) < bound
        if xi == 0.0:
            for name in ("delta", "gamma", "theta", "rho", "epsilon", "dual_delta"):
                error = np.abs(got[name] - want[name]) / (1.0 + np.abs(want[name]))
                assert error.max() < 1e-9, name
    for kappa in (0.0, 1e-12, 1e-5):
        for xi in (0.0, 1e-200, 1e-15):
            got = heston(v0, kappa, v0, xi, 0.7)["price"]
            assert np.max(np.abs(got - want["price"])) < 10.0 * exact
    # A long-run variance of its own is an average variance.
    mean = 0.09 + (0.04 - 0.09) * (1.0 - np.exp(-2.0)) / 2.0
    got = options.heston(
        100.0, 110.0, 1.0, 0.02, 0.01, 0.04, 2.0, 0.09, 0.0, 0.3, True, method=method, accuracy="high"
    )["price"]
    assert got == pytest.approx(options.price(100.0, 110.0, 1.0, 0.02, 0.01, np.sqrt(mean), True)["price"], abs=exact)


def test_parity():
    arguments = models(1000, seed=3)
    call = options.heston(*arguments, True, outputs="all")
    put = options.heston(*arguments, False, outputs="all")
    s, k, t, r, q = arguments[:5]
    forward, paid = s * np.exp(-q * t), k * np.exp(-r * t)
    for name, want in {
        "price": forward - paid,
        "delta": np.exp(-q * t),
        "gamma": 0.0,
        "vega": 0.0,
        "theta": q * forward - r * paid,
        "rho": t * paid,
        "epsilon": -t * forward,
        "dual_delta": -np.exp(-r * t),
        "dxi": 0.0,
    }.items():
        difference = call[name] - put[name] - want
        assert np.max(np.abs(difference) / (1.0 + np.abs(want))) < 1e-13 * np.max(1.0 + k), name
    assert (call["price"] >= 0).all()


def test_derivatives():
    arguments = models(300, seed=4)
    arguments[2][:] = np.maximum(arguments[2], 0.05)
    got = options.heston(*arguments, True, accuracy="high", outputs="all")

    def price(*a):
        return options.heston(*a, True, accuracy="high", outputs="price")["price"]

    def delta(*a):
        return options.heston(*a, True, accuracy="high", outputs="delta")["delta"]

    for name, (place, sign) in {
        "delta": (0, 1), "dual_delta": (1, 1), "theta": (2, -1), "rho": (3, 1), "epsilon": (4, 1), "dv0": (5, 1),
        "dkappa": (6, 1), "dtheta": (7, 1), "dxi": (8, 1), "drho": (9, 1),
    }.items():  # fmt: skip
        step = (1e-4 if place < 2 else 1e-3) * np.maximum(np.abs(arguments[place]), 1e-2)
        want = sign * reference.slope(price, arguments, place, step)
        scale = 1.0 + np.abs(want) + 1e-10 / step
        assert np.max(np.abs(got[name] - want) / scale) < 2e-5, name
    want = reference.slope(delta, arguments, 0, 0.02)
    assert np.max(np.abs(got["gamma"] - want) / (0.05 + want)) < 1e-3
    root = np.sqrt(arguments[5])

    def vega(volatility, *rest):
        return options.heston(*arguments[:5], volatility**2, *arguments[6:], True, accuracy="high", outputs="all")

    for name, of in (("vega", "price"), ("vanna", "delta"), ("volga", "vega")):
        want = reference.slope(lambda v, of=of: vega(v)[of], [root], 0, 1e-3 * root)
        assert np.max(np.abs(got[name] - want) / (1.0 + np.abs(want))) < 1e-4, name


@pytest.mark.parametrize("method", METHODS)
def test_edges(method):
    ordinary = dict(zip(NAMES, (100.0, 90.0, 1.0, 0.03, 0.01, 0.04, 2.0, 0.06, 0.5, -0.6), strict=True))
    ordinary["method"] = method
    for name in NAMES:
        assert np.isnan(options.heston(**{**ordinary, name: np.nan}, is_call=True)["price"])
    for name in ("spot", "strike", "expiry", "v0", "kappa", "theta", "xi"):
        assert np.isnan(options.heston(**{**ordinary, name: -1.0}, is_call=True)["price"])
    assert np.isnan(options.heston(**{**ordinary, "rho": 1.01}, is_call=True)["price"])
    assert np.isnan(options.heston(**ordinary, is_call=7)["price"])
    expired = options.heston(**{**ordinary, "expiry": 0.0}, is_call=True, outputs="all")
    assert expired["price"] == pytest.approx(10.0, abs=1e-9)
    assert expired["delta"] == pytest.approx(1.0)
    for change in (
        {"v0": 0.0},
        {"kappa": 0.0},
        {"rho": 1.0},
        {"rho": -1.0},
        {"theta": 0.0},
        {"v0": 0.0, "theta": 0.0},
        {"strike": 1e-3},
        {"strike": 1e6},
        {"xi": 50.0},
    ):
        result = options.heston(**{**ordinary, **change}, is_call=True, outputs="price")["price"]
        assert np.isfinite(result), change
        # Between intrinsic value and spot.
        low = 100.0 * np.exp(-0.01) - {**ordinary, **change}["strike"] * np.exp(-0.03)
        assert max(low, 0.0) - 1e-9 <= result <= 100.0, change
    for strike in (0.0, 1e-300):
        nothing = {**ordinary, "strike": strike}
        call = options.heston(**nothing, is_call=True, outputs=("price", "delta", "dual_delta", "gamma"))
        want = (100.0 * np.exp(-0.01), np.exp(-0.01), -np.exp(-0.03), 0.0)
        assert list(call.values()) == pytest.approx(want, abs=1e-12)
        assert options.heston(**nothing, is_call=False)["price"] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ParameterError, match="accuracy"):
        options.heston(**ordinary, is_call=True, accuracy="best")
    with pytest.raises(ParameterError, match="method"):
        options.heston(**{**ordinary, "method": "fft"}, is_call=True)


@given(
    expiry=st.floats(0.002, 30.0),
    v0=st.floats(1e-4, 1.0),
    kappa=st.floats(0.0, 10.0),
    theta=st.floats(1e-4, 1.0),
    xi=st.floats(0.0, 3.0),
    rho=st.floats(-1.0, 1.0),
)
def test_prices_are_prices(expiry, v0, kappa, theta, xi, rho):
    """Between the bounds, falling and convex in the strike."""
    strikes = np.linspace(60.0, 160.0, 41)
    price = options.heston(
        100.0, strikes, expiry, 0.0, 0.0, v0, kappa, theta, xi, rho, True, accuracy="high", outputs="price"
    )["price"]
    assert (price >= np.maximum(100.0 - strikes, 0.0) - 1e-8).all()
    assert (price <= 100.0).all()
    assert (np.diff(price) <= 1e-8).all()
    assert (np.diff(price, 2) >= -1e-7).all()


@pytest.mark.parametrize("method", METHODS)
def test_bits(method, simd_levels):
    arguments = models(1000, seed=5)
    want = options.heston(*arguments, True, method=method, outputs="all", num_threads=1)
    for threads in (2, 3):
        got = options.heston(*arguments, True, method=method, outputs="all", num_threads=threads)
        for name in want:
            same_bits(got[name], want[name])
    for level in simd_levels:
        with config.override(simd=level):
            got = options.heston(*arguments, True, method=method, outputs="all")
        for name in want:
            error = np.abs(got[name] - want[name]) / (1.0 + np.abs(want[name]))
            assert error.max() < 1e-8, (level, name)


def test_arrays():
    s, k, t, *rest = models(64, seed=6)
    want = options.heston(s, k, t, *rest, True, outputs="price")["price"]
    single = [np.float32(a) for a in (s, k, t, *rest)]
    got = options.heston(*single, True, outputs="price")["price"]
    assert got.dtype == np.float32
    wide = options.heston(*[a.astype(float) for a in single], True, outputs="price")["price"]
    same_bits(got, wide.astype(np.float32))
    strided = options.heston(s[::-1], k[::-1], t[::-1], *[a[::-1] for a in rest], True, outputs="price")["price"]
    same_bits(strided[::-1], want)
    grid = options.heston(
        100.0, k[:5, None], t[None, :7], 0.01, 0.0, 0.04, 1.0, 0.05, 0.4, -0.3, "put", outputs="price"
    )
    assert grid["price"].shape == (5, 7)
