# SPDX-License-Identifier: Apache-2.0
"""European options: against 50 digits, published tables, identities, and awkward arguments."""

from __future__ import annotations

import csv
import itertools
import math

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings

import warpquant
from checks import same_bits
from reference import options as reference
from warpquant import config, options
from warpquant.errors import ParameterError

EPS = 2.0**-52
#: Bound on the error, in units of eps (1 + condition). lambda_ has the condition of the price.
LIMITS = dict.fromkeys(reference.OUTPUTS, 4.0) | {"lambda_": 64.0}
MODELS = ("bsm", "black76", "bachelier")


def RUNS_ON(device):
    options.price([100.0], 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)


def errors(got, want, conditions, eps=EPS):
    """Errors in units of eps (1 + condition) of the value."""
    worst = {}
    for name, limit in LIMITS.items():
        condition = conditions["price" if name == "lambda_" else name]
        value = want[name]
        if mp.isnan(value):
            assert math.isnan(got[name]), f"{name}: {got[name]!r} for NaN"
            continue
        if abs(value) < mp.mpf("1e-290"):
            assert abs(got[name] - value) < mp.mpf("1e-290"), f"{name}: {got[name]!r} for {mp.nstr(value)}"
            continue
        error = abs(mp.mpf(got[name]) - value) / (eps * (1 + condition) * abs(value))
        assert error <= limit, f"{name}: {got[name]!r} for {mp.nstr(value, 20)}, {mp.nstr(error, 4)} of {limit}"
        worst[name] = float(error)
    return worst


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sign", [1, -1])
def test_closed_forms_are_the_derivatives(model, sign):
    """The oracle itself: every closed form is the derivative of the price that its name says."""
    at = (mp.mpf("101.5"), mp.mpf(95), mp.mpf("0.75"), mp.mpf("0.03"), mp.mpf("0.011"), mp.mpf("0.27"))
    if model == "bachelier":
        at = (*at[:5], mp.mpf("21.5"))
    with mp.workdps(reference.DIGITS):
        closed = reference.greeks(model, sign, *at)
    for name in reference.DERIVATIVES:
        if mp.isnan(closed[name]):
            continue
        want = reference.derivative(name, model, sign, *at)
        assert abs(closed[name] - want) <= abs(want) * mp.mpf("1e-25"), name


@pytest.mark.parametrize("model", MODELS)
def test_within_the_bound_of_50_digits(model, device):
    s, k, t, r, q, v, call = reference.points(60 if device == "cpu" else 12, seed=MODELS.index(model))
    if model == "bachelier":
        v = v * s
    got = options.greeks(s, k, t, r, q, v, call, model=model, outputs="all", device=device)
    for i in range(len(s)):
        at = [float(a[i]) for a in (s, k, t, r, q, v)]
        want, conditions = reference.with_conditions(model, 1 if call[i] else -1, *at)
        errors({name: float(x[i]) for name, x in got.items()}, want, conditions)


def test_public_tables(shared):
    """Points that others computed with 50 digits, conditions included."""
    path = shared / "data/oracles/greeks_public.csv"
    with path.open() as f:
        rows = list(csv.DictReader(f))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    for number, model in enumerate(MODELS):
        here = column["model"] == number
        at = [column[c][here] for c in ("S", "K", "T", "r", "q", "sigma", "is_call")]
        got = options.greeks(*at, model=model, outputs="all")
        for name, limit in LIMITS.items():
            want = column[name][here]
            condition = column["cond_price" if name == "lambda_" else f"cond_{name}"][here]
            error = abs(got[name] - want)
            bad = ~((error <= limit * EPS * (1 + condition) * abs(want)) | (np.isnan(want) & np.isnan(got[name])))
            assert not bad.any(), f"{model} {name}: rows {np.flatnonzero(bad)}"


def test_published_values(shared):
    """Haug's book and others, to the digits that they print."""
    with (shared / "data/oracles/european_values.csv").open() as f:
        for row in csv.DictReader(f):
            at = [float(row[c]) for c in ("spot", "strike", "t", "r", "q", "vol")]
            value = options.price(*at, row["type"].lower())["price"]
            assert value == pytest.approx(float(row["value"]), abs=max(float(row["tol"]), 1e-4)), row


# ------------------------------------------------------------------------------------------------ limits

NAN, INF = math.nan, math.inf


def all_of(*arguments, model="bsm"):
    return options.greeks(*arguments, model=model, outputs="all")


@pytest.mark.parametrize(("expiry", "vol"), [(0.0, 0.2), (0.5, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_without_variance(expiry, vol, sign):
    r, q = 0.03, 0.01
    carry, discount = math.exp(-q * expiry), math.exp(-r * expiry)
    spot = 100.0 + sign * 20
    got = all_of(spot, 100.0, expiry, r, q, vol, sign)
    want = {
        "price": sign * (spot * carry - 100 * discount),
        "delta": sign * carry,
        "dual_delta": -sign * discount,
        "rho": sign * 100 * expiry * discount,
        "epsilon": -sign * spot * expiry * carry,
        "theta": sign * (q * spot * carry - r * 100 * discount),
    }
    for name, value in got.items():
        if name != "lambda_":
            assert value == pytest.approx(want.get(name, 0.0), rel=1e-14), name
    out = all_of(100.0 - sign * 20, 100.0, expiry, r, q, vol, sign)
    for name, value in out.items():
        if name == "lambda_":
            assert math.isnan(value)
        else:
            same_bits(value, 0.0, name)
    at = all_of(100.0, 100.0, expiry, r, r, vol, sign)
    assert at["price"] == 0
    assert at["delta"] == pytest.approx(sign * discount / 2)
    assert at["dual_delta"] == pytest.approx(-sign * discount / 2)
    assert at["rho"] == pytest.approx(sign * 50 * expiry * discount)
    assert at["gamma"] == at["dual_gamma"] == INF
    assert at["vega"] == pytest.approx(100 * discount * math.sqrt(expiry) / math.sqrt(2 * math.pi))
    if expiry == 0 < vol:
        assert at["theta"] == -INF
    else:
        assert at["theta"] == pytest.approx(0.0, abs=1e-15)
    for name in ("vanna", "volga", "vera", "charm", "veta", "speed", "zomma", "color", "ultima"):
        assert math.isnan(at[name]), name


def test_worthless_sides():
    r, q, t = 0.03, 0.01, 2.0
    call, put = all_of(0.0, 100.0, t, r, q, 0.2, 1), all_of(0.0, 100.0, t, r, q, 0.2, -1)
    assert call["price"] == 0
    assert put["price"] == pytest.approx(100 * math.exp(-r * t), rel=1e-15)
    assert put["delta"] == pytest.approx(-math.exp(-q * t), rel=1e-15)
    assert put["rho"] == pytest.approx(-100 * t * math.exp(-r * t), rel=1e-15)
    assert (call["gamma"], put["gamma"], put["lambda_"]) == (0, 0, 0)
    assert math.isnan(call["lambda_"])
    call, put = all_of(100.0, 0.0, t, r, q, 0.2, 1), all_of(100.0, 0.0, t, r, q, 0.2, -1)
    assert call["price"] == pytest.approx(100 * math.exp(-q * t), rel=1e-15)
    assert call["delta"] == pytest.approx(math.exp(-q * t), rel=1e-15)
    assert put["price"] == 0
    nothing = all_of(0.0, 0.0, t, r, q, 0.2, 1)
    assert nothing["price"] == 0
    assert all(math.isnan(x) for name, x in nothing.items() if name != "price")


def test_infinite_volatility():
    assert all_of(100.0, 90.0, 1.0, 0.03, 0.01, INF, 1)["price"] == pytest.approx(100 * math.exp(-0.01), rel=1e-15)
    assert all_of(100.0, 90.0, 1.0, 0.03, 0.01, INF, -1)["price"] == pytest.approx(90 * math.exp(-0.03), rel=1e-15)


@pytest.mark.parametrize("model", ["bsm", "black76"])
@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_volatility_is_the_limit(model, sign):
    at = (100.0, 90.0, 1.5, 0.03, 0.01)
    got, wild = all_of(*at, INF, sign, model=model), all_of(*at, 60.0, sign, model=model)
    for name, value in wild.items():
        assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=model == "black76"), name
    assert all(math.isnan(x) for x in all_of(*at, INF, sign, model="bachelier").values())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("model", ["bsm", "black76", "bachelier"])
def test_infinite_time_is_the_limit(model, sign):
    """Of the formulas with 50 digits, whose prices and derivatives at a great time are near it or grow."""
    values = (-0.3, -0.02, 0.0, 0.02, 0.3)
    for rate, dividend, vol in itertools.product(values, values if model == "bsm" else (0.0,), (0.3, 1.0)):
        got = all_of(100.0, 90.0, INF, rate, dividend, vol, sign, model=model)
        prices = [reference.greeks(model, sign, 100.0, 90.0, t, rate, dividend, vol) for t in (4e4, 8e4)]
        label = (rate, dividend, vol)
        if math.isnan(got["price"]):
            assert abs(prices[1]["price"]) > 1.1 * abs(prices[0]["price"]), label
            assert all(math.isnan(x) for x in got.values())
            continue
        for name, value in got.items():
            if (name == "lambda_" and got["price"] == 0) or (name == "epsilon" and model != "bsm"):
                continue
            late, later = (at[name] for at in prices)
            if math.isnan(value):
                assert abs(later) > 1.1 * abs(late), (name, label)
            else:
                assert abs(value - later) < 1e-2 * max(1.0, abs(value)), (name, label, later)


@pytest.mark.parametrize("model", ["bsm", "black76"])
@pytest.mark.parametrize("power", [-1072, -1000, -940, 1018])
def test_extreme_units_of_money(model, power):
    """Prices are in proportion to the unit, to the last bit where no number is subnormal."""
    rng = np.random.default_rng(3)
    spot, strike = rng.integers(40, 63, (2, 40)).astype(float)
    rest = (rng.uniform(0.1, 3, 40), rng.uniform(-0.05, 0.1, 40), rng.uniform(-0.05, 0.1, 40), rng.uniform(0.1, 1, 40))
    call = rng.random(40) < 0.5
    plain = all_of(spot, strike, *rest, call, model=model)
    there = all_of(np.ldexp(spot, power), np.ldexp(strike, power), *rest, call, model=model)
    powers = dict.fromkeys(("delta", "lambda_", "dual_delta", "vanna", "charm"), 0) | {"speed": -2}
    powers |= dict.fromkeys(("gamma", "dual_gamma", "zomma", "color"), -1)
    for name, value in plain.items():
        with np.errstate(over="ignore", under="ignore"):
            want = np.ldexp(value, powers.get(name, 1) * power)
        np.testing.assert_allclose(there[name], want, rtol=1e-12, atol=1e-320, err_msg=name)
    tiny = all_of(100.0, 1e-320, 1.0, 0.05, 0.02, 0.2, 1)
    assert tiny["dual_delta"] == pytest.approx(-math.exp(-0.05), rel=1e-15)
    assert all(math.isfinite(x) for x in tiny.values())


@pytest.mark.parametrize(
    "at",
    [
        (NAN, 100.0, 1.0, 0.0, 0.0, 0.2),
        (100.0, 100.0, 1.0, NAN, 0.0, 0.2),
        (-1.0, 100.0, 1.0, 0.0, 0.0, 0.2),
        (100.0, -1.0, 1.0, 0.0, 0.0, 0.2),
        (100.0, 100.0, -1.0, 0.0, 0.0, 0.2),
        (100.0, 100.0, 1.0, 0.0, 0.0, -0.2),
        (100.0, 100.0, 1.0, INF, 0.0, 0.2),
        (100.0, 100.0, 1.0, 0.0, -INF, 0.2),
        (INF, 100.0, 1.0, 0.0, 0.0, 0.2),
        (100.0, INF, 1.0, 0.0, 0.0, 0.2),
    ],
)
def test_invalid_rows_are_nan_and_leave_the_others_alone(at):
    assert all(math.isnan(x) for x in all_of(*at, 1).values())
    fine = (100.0, 100.0, 1.0, 0.0, 0.0, 0.2)
    columns = [np.array([f] * 20) for f in fine]
    for c, x in zip(columns, at, strict=True):
        c[7] = x
    got = options.greeks(*columns, 1, outputs="all")
    want = all_of(*fine, 1)
    for name, values in got.items():
        assert math.isnan(values[7])
        rest = np.delete(values, 7)
        np.testing.assert_allclose(rest, want[name], rtol=1e-13, err_msg=name)
        assert len(set(rest.tolist())) == 1  # neighbours of a bad row are as good as others


@pytest.mark.parametrize("vol", [5e-324, 1e-300, 1e-10])
@pytest.mark.parametrize("spot", [5e-324, 1e-300, 1.0, 1e300])
def test_extremes_have_values(spot, vol):
    for strike, sign in itertools.product((5e-324, 1e-300, 1.0, 1e300), (1, -1)):
        got = all_of(spot, strike, 0.7, 0.01, 0.02, vol, sign)
        assert got["price"] >= 0
        assert 0 <= sign * got["delta"] <= 1
        assert got["vega"] >= 0


def test_overflow_is_that_of_the_formulas():
    got = all_of(100.0, 100.0, 1.0, -800.0, 0.0, 0.2, -1)  # the discounted strike has no double
    assert got["price"] == INF
    assert all_of(100.0, 100.0, 1.0, 800.0, 0.0, 0.2, -1)["price"] == 0


def test_tiny_prices_are_not_flushed():
    for distance in (0.2, 0.5, 0.73):
        at = (100.0, 100.0 * math.exp(distance * 10), 1.0, 0.0, 0.0, 0.2)
        got = all_of(*at, 1)
        want, conditions = reference.with_conditions("bsm", 1, *at)
        if want["price"] > mp.mpf("1e-290"):
            errors(got, want, conditions)
    assert got["price"] < 1e-200


# ------------------------------------------------------------------------------------------------ identities

numbers = st.tuples(
    st.floats(1.0, 1e4),
    st.floats(0.3, 3.0),
    st.floats(1e-3, 30.0),
    st.floats(-0.1, 0.3),
    st.floats(-0.1, 0.3),
    st.floats(1e-3, 3.0),
)


@settings(max_examples=200)
@given(numbers)
def test_put_call_parity(at):
    spot, moneyness, t, r, q, v = at
    strike = spot * moneyness
    call, put = (all_of(spot, strike, t, r, q, v, sign) for sign in (1, -1))
    scale = spot * math.exp(-q * t) + strike * math.exp(-r * t)
    assert call["price"] - put["price"] == pytest.approx(
        spot * math.exp(-q * t) - strike * math.exp(-r * t), abs=1e-15 * 8 * scale
    )
    assert call["delta"] - put["delta"] == pytest.approx(math.exp(-q * t), rel=1e-14)
    assert call["rho"] - put["rho"] == pytest.approx(strike * t * math.exp(-r * t), rel=1e-13)
    for name in ("gamma", "vega", "vanna", "volga", "speed", "zomma", "color", "ultima", "dual_gamma", "veta"):
        assert call[name] == put[name], name


@settings(max_examples=100)
@given(numbers, st.sampled_from([1, -1]), st.integers(-20, 20))
def test_scaling(at, sign, power):
    """Prices are of degree 1 in spot and strike; by powers of two to the last bit."""
    spot, moneyness, t, r, q, v = at
    a = 2.0**power
    one, other = (all_of(spot * f, spot * moneyness * f, t, r, q, v, sign) for f in (1.0, a))
    for name, factor in {"price": a, "vega": a, "delta": 1.0, "gamma": 1 / a, "speed": a**-2, "vanna": 1.0}.items():
        if abs(one[name]) > 1e-290:  # smaller ones have fewer digits
            assert other[name] == one[name] * factor, name


@settings(max_examples=100)
@given(numbers, st.sampled_from([1, -1]))
def test_models_agree_where_they_meet(at, sign):
    forward, moneyness, t, r, _, v = at
    strike = forward * moneyness
    black = all_of(forward, strike, t, r, 0.7, v, sign, model="black76")
    merton = all_of(forward, strike, t, r, r, v, sign)
    for name in reference.OUTPUTS:
        if name not in ("rho", "vera", "epsilon", "theta"):
            same_bits(black[name], merton[name], name)
    shifted = options.greeks(
        forward - 5.0, strike - 5.0, t, r, 0.0, v, sign, model="displaced", shift=5.0, outputs="all"
    )
    assert shifted["price"] == pytest.approx(black["price"], rel=1e-9, abs=1e-12 * forward)


def test_bachelier_is_the_limit_of_small_volatility():
    forward, strike, t = 100.0, 100.001, 0.25
    for sign in (1, -1):
        black = all_of(forward, strike, t, 0.02, 0, 1e-4, sign, model="black76")
        normal = all_of(forward, strike, t, 0.02, 0, 1e-4 * math.sqrt(forward * strike), sign, model="bachelier")
        assert normal["price"] == pytest.approx(black["price"], rel=1e-7)


def test_bachelier_takes_negative_prices():
    at = (-1.5, -1.0, 0.5, 0.02, 0.0, 0.8)
    want, conditions = reference.with_conditions("bachelier", 1, *at)
    errors(all_of(*at, 1, model="bachelier"), want, conditions)


@settings(max_examples=60)
@given(numbers, st.sampled_from([1, -1]))
def test_price_rises_with_volatility(at, sign):
    spot, moneyness, t, r, q, v = at
    vols = v * np.linspace(1.0, 2.0, 40)
    prices = options.price(spot, spot * moneyness, t, r, q, vols, sign)["price"]
    assert (np.diff(prices) >= -4 * EPS * (prices[1:] + spot * math.exp(-q * t))).all()


# ------------------------------------------------------------------------------------------------ execution


def test_levels_threads_and_subsets(simd_levels, device):
    """The bits do not depend on threads, nor on which results are asked for; levels are within twice the bound."""
    at = reference.points(3000, seed=5)
    at[0][5] = np.nan
    at[2][100:110] = 0.0
    with config.override(num_threads=1):
        want = options.greeks(*at, outputs="all", device=device)
    want = {name: np.asarray(x) for name, x in want.items()}
    for threads in (2, 3, 8):
        got = options.greeks(*at, outputs="all", num_threads=threads, device=device)
        for name in want:
            same_bits(np.asarray(got[name]), want[name], f"{threads} threads: {name}")
    for names in [("price",), ("price", "delta", "gamma", "vega", "theta", "rho"), ("ultima", "price"), ("charm",)]:
        got = options.greeks(*at, outputs=names, device=device)
        assert tuple(got) == names
        for name in names:
            same_bits(np.asarray(got[name]), want[name], f"{names}: {name}")
    for level in simd_levels:
        with config.override(simd=level):
            got = options.greeks(*at, outputs=("price", "delta"), device=device)
        for name in got:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-10, atol=1e-290, err_msg=f"{level}: {name}")


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 127, 128, 129, 1000])
def test_any_number_of_rows(count, device):
    at = reference.points(max(count, 1), seed=2)
    at = [a[:count] for a in at]
    got = options.greeks(*at, device=device)
    for i in range(count):
        one = options.greeks(*(float(a[i]) for a in at))
        for name in got:
            assert got[name].shape == (count,)
            if device == "cpu":
                assert got[name][i] == one[name]
            else:
                assert got[name][i] == pytest.approx(one[name], rel=1e-9, abs=1e-290)


def test_broadcast_and_strides(device):
    spot, strike = np.linspace(80, 120, 7)[:, None, None], np.linspace(70, 130, 5)[:, None]
    vol = np.linspace(0.1, 0.5, 3)
    got = options.greeks(spot, strike, 0.5, 0.03, 0.0, vol, True, device=device)["vega"]
    assert got.shape == (7, 5, 3)
    whole = [np.ascontiguousarray(a) for a in np.broadcast_arrays(spot, strike, vol)]
    want = options.greeks(whole[0], whole[1], 0.5, 0.03, 0.0, whole[2], True, device=device)["vega"]
    same_bits(np.asarray(got), np.asarray(want))
    wide = np.linspace(50, 150, 200)
    for view in (wide[::-1], wide[::3], wide.reshape(20, 10).T, np.broadcast_to(wide[:5, None], (5, 6)), wide[3:4]):
        got = options.price(view, 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)["price"]
        want = options.price(view.copy(), 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)["price"]
        same_bits(np.asarray(got), np.asarray(want))


def test_float32(device):
    at = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in reference.points(200, seed=3)]
    got = options.greeks(*at, outputs="all", device=device)
    exact = options.greeks(*(a.astype(np.float64) for a in at), outputs="all", device=device)
    for name, values in got.items():
        assert np.asarray(values).dtype == np.float32
        with np.errstate(over="ignore", under="ignore"):
            same_bits(np.asarray(values), np.asarray(exact[name]).astype(np.float32), name)
    mixed = options.price(at[0], at[1].astype(np.float64), *at[2:], device=device)["price"]
    assert np.asarray(mixed).dtype == np.float64


def test_out(device):
    if device != "cpu":
        pytest.skip("out is checked on the CPU")
    at = reference.points(500)
    want = options.greeks(*at)
    price, vega = np.empty(500), np.empty((500, 2))[:, 1]
    got = options.greeks(*at, out={"price": price, "vega": vega})
    assert got["price"] is price
    assert got["vega"] is vega
    for name in want:
        same_bits(got[name], want[name], name)
    spot = at[0].copy()
    same_bits(options.price(spot, *at[1:], out={"price": spot})["price"], want["price"])
    shared = np.arange(501.0)
    with pytest.raises(warpquant.LayoutError, match="shares memory with spot"):
        options.price(shared[1:], *at[1:], out={"price": shared[:-1]})
    with pytest.raises(warpquant.ShapeError, match=r"out\[price\]"):
        options.price(*at, out={"price": np.empty(3)})
    with pytest.raises(warpquant.ParameterError, match="out: 'gamma' is not among the outputs"):
        options.price(*at, out={"gamma": price})


def test_flags():
    calls = options.price(100.0, 110.0, 1.0, 0.0, 0.0, 0.2, True)["price"]
    puts = options.price(100.0, 110.0, 1.0, 0.0, 0.0, 0.2, False)["price"]
    assert calls != puts
    for flag in (1, 1.0, "c", "C", "call", "CALL", "Call", np.True_, np.int8(1)):
        assert options.price(100.0, 110.0, 1.0, 0.0, 0.0, 0.2, flag)["price"] == calls
    for flag in (0, -1, -1.0, "p", "put", "PUT", np.False_):
        assert options.price(100.0, 110.0, 1.0, 0.0, 0.0, 0.2, flag)["price"] == puts
    arrays = (
        [True, False],
        ["c", "p"],
        np.array(["call", "put"]),
        np.array([b"c", b"p"]),
        np.array(["C", "P"], dtype=object),
        np.array([1, 0]),
        np.array([1, -1], np.int8),
        np.array([1.0, -1.0], np.float32),
    )
    for flag in arrays:
        got = options.price(np.array([100.0, 100.0]), 110.0, 1.0, 0.0, 0.0, 0.2, flag)["price"]
        assert got.tolist() == [calls, puts]
    got = options.price(np.array([100.0] * 3), 110.0, 1.0, 0.0, 0.0, 0.2, np.array([1.0, 7.0, np.nan]))["price"]
    assert got[0] == calls
    assert np.isnan(got[1:]).all()
    with pytest.raises(warpquant.ParameterError, match="is_call: 'x' is unknown"):
        options.price(100.0, 110.0, 1.0, 0.0, 0.0, 0.2, ["c", "x"])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: options.greeks(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, outputs="gamma_"),
            "ParameterError",
            "outputs: 'gamma_'",
        ),
        (lambda: options.greeks(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, outputs=()), "ParameterError", "outputs: is empty"),
        (lambda: options.greeks(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, model="heston"), "ParameterError", "model: 'heston'"),
        (lambda: options.greeks(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, shift=1.0), "ParameterError", "shift: goes with"),
        (lambda: options.price([1.0, 2.0], [1.0] * 3, 1.0, 0.0, 0.0, 0.2, 1), "ShapeError", "strike: has shape"),
        (lambda: options.price("a", 1.0, 1.0, 0.0, 0.0, 0.2, 1), "DTypeError", "spot"),
        (lambda: options.price(None, 1.0, 1.0, 0.0, 0.0, 0.2, 1), "DTypeError", "spot"),
        (lambda: options.price(1.0, 1.0, 1.0, 0.0, 0.0, 10**400, 1), "ParameterError", "vol: is too large"),
        (lambda: options.price(1.0, 1j, 1.0, 0.0, 0.0, 0.2, 1), "DTypeError", "strike"),
        (lambda: options.price(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, num_threads=0), "ParameterError", "num_threads"),
        (lambda: options.price(np.zeros((1,) * 7), 1.0, 1.0, 0.0, 0.0, 0.2, 1), "ShapeError", "7 dimensions"),
        (lambda: options.price(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, out=[1.0]), "ParameterError", "out: list"),
    ],
)
def test_errors_name_the_argument(call, error, match):
    with pytest.raises(getattr(warpquant, error), match=match):
        call()


# ------------------------------------------------------------------------------------------------ kinds of arrays


def test_pandas():
    pd = pytest.importorskip("pandas")
    spot = pd.Series([90.0, 100.0, 110.0], index=list("abc"), name="close")
    kind = pd.Series(["c", "p", "c"], index=list("abc"), dtype="category")
    got = options.greeks(spot, 100.0, 1.0, 0.05, 0.0, 0.2, kind, outputs=("price", "vomma"))
    assert got["vomma"].name == "vomma"
    assert list(got["price"].index) == list("abc")
    want = options.price(spot.to_numpy(), 100.0, 1.0, 0.05, 0.0, 0.2, [1, 0, 1])["price"]
    same_bits(got["price"].to_numpy(), want)
    with pytest.raises(warpquant.ShapeError, match="another index"):
        options.price(spot, pd.Series([1.0, 2.0, 3.0]), 1.0, 0.05, 0.0, 0.2, kind)


def test_polars_and_arrow():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    want = options.price(np.array([90.0, 100.0]), 100.0, 1.0, 0.05, 0.0, 0.2, [1, 0])["price"].tolist()
    got = options.price(pl.Series("s", [90.0, 100.0]), 100.0, 1.0, 0.05, 0.0, 0.2, pl.Series(["c", "p"]))["price"]
    assert isinstance(got, pl.Series)
    assert (got.name, got.to_list()) == ("price", want)
    got = options.price(pa.array([90.0, 100.0]), 100.0, 1.0, 0.05, 0.0, 0.2, pa.array(["c", "p"]))["price"]
    assert got.to_pylist() == want


def test_arrays_on_a_device(device):
    if device == "cpu":
        pytest.skip("needs a device")
    at = reference.points(300)
    want = options.greeks(*at, outputs="all", device=device)
    there = [warpquant.to_device(np.asarray(a, np.float64), device) for a in at]
    got = options.greeks(*there, outputs="all")
    for name, values in got.items():
        assert isinstance(values, warpquant.Array)
        same_bits(values.to_numpy(), np.asarray(want[name]), name)
    got = options.price(there[0], 100.0, *there[2:])["price"]  # numbers go with arrays anywhere
    same_bits(got.to_numpy(), np.asarray(options.price(at[0], 100.0, *at[2:], device=device)["price"]))
    with pytest.raises(warpquant.LayoutError, match="strike"):
        options.price(there[0], at[1], *there[2:])


def test_small_things_that_are_refused_or_taken():
    spots = np.array([90.0, 110.0])
    common = (spots, 100.0, 1.0, 0.02, 0.0, 0.2)
    volga, vomma = np.zeros(2), np.zeros(2)
    with pytest.raises(ParameterError, match="another name of a result"):
        options.greeks(*common, True, outputs=("volga", "vomma"), out={"volga": volga, "vomma": vomma})
    with pytest.raises(ParameterError, match="outputs: None names nothing"):
        options.greeks(*common, True, outputs=None)
    texts = np.array(["c", "put"])
    assert options.price(90.0, 100.0, 1.0, 0.02, 0.0, 0.2, texts[0]) == options.price(
        90.0, 100.0, 1.0, 0.02, 0.0, 0.2, 1
    )
    for flags in (lambda: options.implied_vol(5.0, 100.0, 100.0, 0.5, 0.0, 0.0, True, return_status="no"),
                  lambda: options.lattice(*common, "p", american="no")):  # fmt: skip
        with pytest.raises(ParameterError, match="is not True or False"):
            flags()
    scaled = options.scale({"vega": 20.0, "vega_error": 0.1, "price_error": 0.1}, vega="point")
    assert scaled == {"vega": 0.2, "vega_error": 0.001, "price_error": 0.1}


def test_missing_flags_of_pandas():
    pandas = pytest.importorskip("pandas")
    for missing in (None, pandas.NA, float("nan")):
        flags = pandas.Series(["c", missing, "p"], dtype=object)
        prices = options.price(100.0, 100.0, 1.0, 0.02, 0.0, 0.2, flags)["price"]
        assert prices.isna().tolist() == [False, True, False]
    boolean = pandas.Series([True, None, False], dtype="boolean")
    assert options.price(100.0, 100.0, 1.0, 0.02, 0.0, 0.2, boolean)["price"].isna().tolist() == [False, True, False]
