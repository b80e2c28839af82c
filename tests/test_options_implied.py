# SPDX-License-Identifier: Apache-2.0
"""Implied volatility: against 60 digits at hard points, tables, statuses, derivatives, awkward arguments."""

from __future__ import annotations

import csv
import math

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from checks import same_bits
from reference.implied import DIGITS, Option
from warpquant import config, options
from warpquant.errors import ParameterError, ShapeError

EPS = 2.0**-52
#: Error in units of eps (1 + condition) of the volatility, the condition being what rounding the inputs does.
LIMIT = 4.0
#: Beyond this the inputs themselves do not hold the volatility.
MOST_CONDITION = 1e12
SLOPES = ("dvol_dprice", "dvol_dspot", "dvol_dstrike", "dvol_dexpiry", "dvol_drate", "dvol_ddividend")


def RUNS_ON(device):
    options.implied_vol([5.0], 100.0, 100.0, 1.0, 0.0, 0.0, True, device=device)


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def level(request, simd_levels):
    if request.param not in simd_levels:
        pytest.skip(f"this machine has no {request.param}")
    with config.override(simd=request.param):
        yield request.param


@pytest.mark.parametrize(("number", "model"), [(0, "bsm"), (1, "black76"), (2, "bachelier")])
def test_table(shared, level, number, model):
    path = shared / "data" / "oracles" / "iv_public.csv"
    if not path.is_file():
        pytest.skip("no iv_public.csv in the shared folder")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["model"]) == number]
    inputs = [column(rows, name) for name in ("price", "S", "K", "T", "r", "q", "is_call")]
    vol, status = options.implied_vol(*inputs, model=model, return_status=True)
    np.testing.assert_array_equal(status, column(rows, "status"))
    want, condition = column(rows, "sigma"), column(rows, "cond_total")
    found = (status == 0) & (condition < MOST_CONDITION)
    assert found.sum() > 30
    error = abs(vol - want)[found] / (EPS * (1 + condition) * want)[found]
    assert error.max() <= LIMIT
    np.testing.assert_array_equal(vol[status == 3], 0.0)
    assert np.isnan(vol[(status != 0) & (status != 3)]).all()


def _sided(rng, sign, near, far):
    """Log-moneyness in deviations, out of the money."""
    return sign * rng.uniform(near, far)


def hard_point(family, rng):
    """An option and a volatility to price it with."""
    sign = 1 if rng.random() < 0.5 else -1
    spot, expiry = 100.0, 10 ** rng.uniform(-3, 1)
    rate, dividend, model = rng.uniform(-0.03, 0.06), rng.uniform(-0.01, 0.05), "bsm"
    vol, log = 10 ** rng.uniform(-1.5, 0.3), 0.0
    deviation = vol * math.sqrt(expiry)
    if family == "prices down to 1e-290":
        log = _sided(rng, sign, 5, 36.3) * deviation
    elif family == "subnormal prices":
        log = _sided(rng, sign, 36.6, 38.2) * deviation
    elif family == "deep in the money":
        log = -_sided(rng, sign, 0.2, 6) * deviation
    elif family == "tiny expiries":
        expiry = 10 ** rng.uniform(-9, -3)
        log = rng.uniform(-4, 4) * vol * math.sqrt(expiry)
    elif family == "huge volatilities":
        vol = 10 ** rng.uniform(0.3, 2)
        expiry, log = min(expiry, (16 / vol) ** 2), rng.uniform(-5, 5)
    elif family == "at the money":
        vol = 10 ** rng.uniform(-6, 0.5)
        log = rng.choice([-1.0, 0.0, 1.0]) * 10 ** rng.uniform(-15, -2)
        if rng.random() < 0.5:
            rate = dividend = 0.0
    elif family == "near the bound":
        expiry, log = (rng.uniform(4, 14) / vol) ** 2, rng.uniform(-3, 3)
    elif family == "negative rates":
        rate, dividend, log = rng.uniform(-0.3, 0), rng.uniform(-0.3, 0.1), rng.uniform(-4, 4) * deviation
    elif family == "far strikes, long expiries":
        vol, expiry, log = 10 ** rng.uniform(-1, 1), 10 ** rng.uniform(-1, 2), rng.uniform(-60, 60)
    elif family == "prices of any size":
        spot, log = 10 ** rng.uniform(-150, 150), rng.uniform(-5, 5) * deviation
    elif family == "on forwards":
        model, dividend, log = "black76", 0.0, rng.uniform(-8, 8) * deviation
    elif family == "normal":
        model, dividend, spot, vol = "bachelier", 0.0, rng.uniform(-100, 100), 10 ** rng.uniform(-3, 2)
        away = rng.uniform(-8, 8) * rng.choice([1.0, 1e-3, 1e-8, 4.0, 0.0])
        return Option(model, spot, spot + away * vol * math.sqrt(expiry), expiry, rate, dividend, sign), vol
    return Option(model, spot, spot * math.exp(log), expiry, rate, dividend, sign), vol


FAMILIES = (
    "prices down to 1e-290", "subnormal prices", "deep in the money", "tiny expiries", "huge volatilities",
    "at the money", "near the bound", "negative rates", "far strikes, long expiries", "prices of any size",
    "on forwards", "normal",
)  # fmt: skip


def hard_points(family, count, seed=0):
    """Rounded prices and what they imply."""
    rng, points = np.random.default_rng([seed, FAMILIES.index(family)]), []
    for _ in range(20 * count):
        if len(points) == count:
            break
        option, vol = hard_point(family, rng)
        with mp.workdps(DIGITS):
            price = float(option.price(mp.mpf(vol))[0])
        if not 0 < price < math.inf:
            continue
        solved = option.implied(price, vol)
        if solved is not None and solved[1] < MOST_CONDITION:
            points.append((option, price, *solved))
    assert len(points) == count
    return points


def solve(points, **how):
    arguments = zip(
        *((price, o.spot, o.strike, o.expiry, o.rate, o.dividend, o.sign) for o, price, *_ in points), strict=True
    )
    return options.implied_vol(*(np.array(a, dtype=float) for a in arguments), model=points[0][0].model, **how)


@pytest.mark.parametrize("family", FAMILIES)
def test_hard_points(simd_levels, family):
    points = hard_points(family, 60)
    for simd in simd_levels:
        with config.override(simd=simd):
            vol, status = solve(points, return_status=True)
        assert (status == 0).all()
        for got, (option, price, want, condition, _) in zip(vol, points, strict=True):
            error = float(abs(mp.mpf(got) - want) / (EPS * (1 + condition) * want))
            assert error <= LIMIT, f"{simd}: {got!r} for {mp.nstr(want, 20)}, {error:.2f}, of {price!r}, {option}"


@pytest.mark.parametrize("family", ["negative rates", "at the money", "prices down to 1e-290", "on forwards", "normal"])
def test_derivatives(family):
    points = hard_points(family, 25, seed=1)
    made = solve(points, outputs=SLOPES)
    assert tuple(made) == SLOPES
    for k, (option, price, vol, condition, slopes) in enumerate(points):
        vega = 1 / slopes[0]
        for name, want in zip(SLOPES, slopes, strict=True):
            got = made[name][k]
            if mp.isnan(want) or vega < 1e-300:
                assert math.isnan(got)
                continue
            # How a derivative answers to its inputs: no worse than the square of how the volatility does.
            scale = abs(want) + abs(vol / {"dvol_dexpiry": option.expiry}.get(name, mp.inf))
            assert abs(got - want) <= 1e-13 * (1 + condition) ** 2 * scale, f"{name} of {price!r}, {option}"


def test_scalars_and_status():
    price = options.price(100.0, 105.0, 0.5, 0.03, 0.01, 0.2, True)["price"]
    vol = options.implied_vol(price, 100.0, 105.0, 0.5, 0.03, 0.01, True)
    assert type(vol) is float
    assert vol == pytest.approx(0.2, rel=1e-14)
    vol, status = options.implied_vol(price, 100.0, 105.0, 0.5, 0.03, 0.01, "c", return_status=True)
    assert (type(vol), type(status), status) == (float, int, 0)


nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("inputs", "vol", "status", "clipped"),
    [
        # price, spot, strike, expiry, rate, dividend, call
        ((4.0, 105.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 1, 0.0),
        ((-1e-300, 90.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 1, 0.0),
        ((-inf, 90.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 1, 0.0),
        ((105.0, 105.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 2, inf),
        ((100.0, 105.0, 100.0, 1.0, 0.0, 0.0, 0), nan, 2, inf),
        ((inf, 105.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 2, inf),
        ((5.0, 105.0, 100.0, 1.0, 0.0, 0.0, 1), 0.0, 3, 0.0),
        ((0.0, 95.0, 100.0, 1.0, 0.05, 0.5, 1), 0.0, 3, 0.0),
        ((0.0, 0.0, 100.0, 1.0, 0.0, 0.0, 1), 0.0, 3, 0.0),
        ((1.0, 0.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 2, inf),
        ((nan, 105.0, 100.0, 1.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, nan, 100.0, 1.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, inf, 1.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, -1.0, 1.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, 100.0, -1.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, 100.0, inf, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, 100.0, 1.0, inf, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, 100.0, 1.0, 0.0, nan, 1), nan, 4, nan),
        ((6.0, 105.0, 100.0, 1.0, 0.0, 0.0, 2), nan, 4, nan),
        ((6.0, 105.0, 100.0, 0.0, 0.0, 0.0, 1), nan, 4, nan),
        ((5.0, 105.0, 100.0, 0.0, 0.0, 0.0, 1), nan, 5, nan),
        ((0.0, 105.0, 100.0, 0.0, 0.0, 0.0, 0), nan, 5, nan),
        ((4.0, 105.0, 100.0, 0.0, 0.0, 0.0, 1), nan, 1, 0.0),
    ],
)
def test_statuses(inputs, vol, status, clipped):
    same_bits(np.array(options.implied_vol(*inputs, return_status=True)), np.array([vol, status], dtype=float))
    same_bits(np.array(options.implied_vol(*inputs, clip="bounds")), np.array(clipped))
    assert all(math.isnan(v) for v in options.implied_vol(*inputs, outputs=SLOPES).values())
    # Others in the pack are as they are alone.
    rows = [np.full(20, x) for x in (6.0, 105.0, 100.0, 1.0, 0.01, 0.02, 1.0)]
    alone = options.implied_vol(*rows)
    for row, x in zip(rows, inputs, strict=True):
        row[7] = x
    got, codes = options.implied_vol(*rows, return_status=True)
    assert codes.dtype == np.uint8
    assert codes[7] == status
    same_bits(np.delete(got, 7), np.delete(alone, 7))


def test_next_to_intrinsic_value():
    """The last digits decide between statuses, discount factors included."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        spot, strike, expiry = 100.0, rng.uniform(20, 90), rng.uniform(0.1, 3)
        rate, dividend = rng.uniform(-0.1, 0.1, 2)
        option = Option("bsm", spot, strike, expiry, rate, dividend, 1)
        with mp.workdps(DIGITS):
            forward, cash = option.legs
            intrinsic = forward - cash
        if intrinsic < 1:
            continue
        for place, below, above in ((intrinsic, 1, 0), (forward, 0, 2)):
            nearest = float(place)
            for price in (np.nextafter(nearest, 0), nearest, np.nextafter(nearest, inf)):
                want = below if price < place else above
                status = options.implied_vol(price, spot, strike, expiry, rate, dividend, True, return_status=True)[1]
                assert status == want, (price, option)


def test_normal_prices_have_no_bound():
    vol, status = options.implied_vol(1e6, -5.0, 3.0, 1.0, 0.0, 0.0, True, model="bachelier", return_status=True)
    assert status == 0
    assert options.implied_vol(-1.0, -5.0, 3.0, 1.0, 0.0, 0.0, True, model="bachelier", clip="bounds") == 0.0
    assert options.implied_vol(inf, -5.0, 3.0, 1.0, 0.0, 0.0, True, model="bachelier", return_status=True)[1] == 4
    assert options.implied_vol(0.0, -5.0, 3.0, 1.0, 0.0, 0.0, True, model="bachelier", return_status=True)[1] == 3
    assert vol > 1e6


@settings(max_examples=300, deadline=None)
@given(
    log=st.floats(-3, 3), expiry=st.floats(1e-4, 20), rate=st.floats(-0.2, 0.2), dividend=st.floats(-0.2, 0.2),
    vol=st.floats(0.01, 3), call=st.booleans(), shift=st.floats(0, 50),
    model=st.sampled_from(["bsm", "black76", "displaced"]),
)  # fmt: skip
def test_round_trip(log, expiry, rate, dividend, vol, call, shift, model):
    inputs = (100.0, 100.0 * math.exp(log), expiry, rate, dividend)
    extra = {"model": model} | ({"shift": shift} if model == "displaced" else {})
    made = options.greeks(*inputs, vol, call, outputs=("price", "vega", "delta", "dual_delta", "rho", "theta"), **extra)
    got, status = options.implied_vol(made["price"], *inputs, call, return_status=True, **extra)
    # What rounding of the price and of each input does to the volatility.
    spread = abs(made["price"]) + abs(100 * made["delta"]) + abs(inputs[1] * made["dual_delta"])
    spread += abs(rate * made["rho"]) + abs(expiry * made["theta"]) + abs(dividend * expiry * 100 * made["delta"])
    spread += shift * (abs(made["delta"]) + abs(made["dual_delta"]))
    # Subnormal prices and vegas have lost digits before they get here.
    if made["vega"] > 1e-290 and spread / (vol * made["vega"]) < 1e10:
        assert status == 0
        assert abs(got - vol) <= 8 * EPS * (vol + spread / made["vega"])
    else:
        assert status == 0 or math.isnan(got) or got == 0


def chain(rows, seed=3):
    """What is quoted: options of one spot, and the volatilities behind them."""
    rng = np.random.default_rng(seed)
    strike, expiry = 100 * np.exp(rng.uniform(-0.4, 0.4, rows)), rng.uniform(0.02, 2, rows)
    rate, vol, call = rng.uniform(0, 0.05, rows), rng.uniform(0.1, 0.6, rows), rng.integers(0, 2, rows)
    price = options.price(100.0, strike, expiry, rate, 0.01, vol, call)["price"]
    return price, 100.0, strike, expiry, rate, 0.01, call


def test_threads_tiles_and_layouts_change_no_bits():
    inputs = chain(5003)
    whole = options.implied_vol(*inputs, outputs="all", num_threads=1)
    for threads in (2, 5):
        again = options.implied_vol(*inputs, outputs="all", num_threads=threads)
        for name in whole:
            same_bits(again[name], whole[name])
    same_bits(options.implied_vol(*inputs), whole["vol"])
    for start, step in ((1, 1), (3, 7), (5002, -3)):
        part = [x[start::step] if isinstance(x, np.ndarray) else x for x in inputs]
        same_bits(options.implied_vol(*part), whole["vol"][start::step])
    square = [x[:5000].reshape(50, 100).T if isinstance(x, np.ndarray) else x for x in inputs]
    same_bits(options.implied_vol(*square), whole["vol"][:5000].reshape(50, 100).T)


def test_levels_agree(simd_levels):
    inputs = chain(2000)
    made = []
    for simd in simd_levels:
        with config.override(simd=simd):
            made.append(options.implied_vol(*inputs, outputs=("vol", "dvol_dprice")))
    for other in made[1:]:
        bound = 8 * EPS * (made[0]["vol"] + 400 * made[0]["dvol_dprice"])
        assert (abs(other["vol"] - made[0]["vol"]) <= bound).all()


def test_devices_agree(device):
    """Also where each row ends up elsewhere: hard points, and rows without a solution."""
    points = [p for f in FAMILIES if f not in ("on forwards", "normal") for p in hard_points(f, 5, seed=2)]
    vol, status = solve(points, return_status=True, device=device)
    assert (np.asarray(status) == 0).all()
    for got, (_, _, want, condition, _) in zip(np.asarray(vol), points, strict=True):
        assert abs(mp.mpf(got) - want) <= LIMIT * EPS * (1 + condition) * want
    price = np.array([4.0, -1.0, 105.0, 5.0, nan, 6.0, inf, 6.0])
    expiry = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    for clip in (None, "bounds"):
        rest = (price, 105.0, 100.0, expiry, 0.0, 0.0, True)
        want = options.implied_vol(*rest, clip=clip, outputs="all")
        got = options.implied_vol(*rest, clip=clip, outputs="all", device=device)
        np.testing.assert_array_equal(np.asarray(got["status"]), [1, 1, 2, 3, 4, 4, 2, 0])
        for name in want:
            np.testing.assert_allclose(np.asarray(got[name]), want[name], rtol=1e-13, err_msg=name)


def test_narrow_floats():
    inputs = [np.float32(x) if np.ndim(x) == 0 else x.astype(np.float32) for x in chain(300)]
    inputs = [np.asarray(x) for x in inputs]
    vol, status = options.implied_vol(*inputs, return_status=True)
    assert (vol.dtype, status.dtype) == (np.float32, np.uint8)
    wide = options.implied_vol(*(x.astype(np.float64) for x in inputs))
    same_bits(vol, wide.astype(np.float32))


def test_containers_and_out():
    inputs = list(chain(50))
    index = pd.Index(range(100, 150), name="row")
    want, codes = options.implied_vol(*inputs, return_status=True)
    series = options.implied_vol(pd.Series(inputs[0], index=index), *inputs[1:], return_status=True)
    assert series[0].name == "vol"
    assert series[1].dtype == np.uint8
    pd.testing.assert_index_equal(series[0].index, index)
    same_bits(series[0].to_numpy(), want)
    vol, status = np.empty(50), np.full(50, 9, np.uint8)
    assert options.implied_vol(*inputs, out=vol) is vol
    same_bits(vol, want)
    made = options.implied_vol(*inputs, outputs=("status", "vol"), out={"status": status})
    assert made["status"] is status
    same_bits(status, codes)
    assert options.implied_vol(*inputs, outputs="all").keys() == {"vol", "status", *SLOPES}
    same_bits(options.implied_vol(np.empty((0, 3)), *[1.0] * 5, True), np.empty((0, 3)))
    assert options.implied_vol(*inputs, outputs="dvol_dspot", return_status=True).keys() == {"dvol_dspot", "status"}


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"model": "heston"}, ParameterError, "model: 'heston'"),
        ({"clip": "zero"}, ParameterError, "clip: 'zero'"),
        ({"outputs": "vega"}, ParameterError, "outputs: 'vega'"),
        ({"outputs": ()}, ParameterError, "outputs: is empty"),
        ({"shift": 1.0}, ParameterError, "shift"),
        ({"out": np.empty(3)}, ShapeError, "out"),
        ({"out": np.empty(2), "outputs": "all"}, ParameterError, "mapping"),
        ({"out": {"status": np.empty(2, np.uint8)}}, ParameterError, "'status' is not among"),
    ],
)
def test_bad_arguments(how, error, text):
    with pytest.raises(error, match=text):
        options.implied_vol([5.0, 6.0], 100.0, 100.0, 1.0, 0.0, 0.0, True, **how)
    with pytest.raises(ShapeError, match="strike"):
        options.implied_vol([5.0, 6.0], 100.0, [1.0, 2.0, 3.0], 1.0, 0.0, 0.0, True)


def test_quotes_of_an_exchange(shared):
    """Bids and asks of coin-settled options: the exchange's own volatilities, in percent with two decimals."""
    path = shared / "data" / "options" / "deribit_btc_chain_20200912.csv.gz"
    if not path.is_file():
        pytest.skip("no such chain in the shared folder")
    quotes = pd.read_csv(path)
    forward, strike = quotes["underlying_price"], quotes["strike"]
    left = pd.to_datetime(quotes["expiry"], utc=True) - pd.to_datetime(quotes["timestamp"], unit="ms", utc=True)
    at = (forward, strike, left.dt.total_seconds() / (365 * 86400), 0.0, 0.0)
    for side in ("bid", "ask"):
        price = quotes[f"best_{side}_price"] * forward
        vol, status = options.implied_vol(price, *at, quotes["option_type"], model="black76", return_status=True)
        assert (status[price == 0].isin([1, 3])).all()
        found, theirs = status == 0, quotes[f"{side}_iv"] / 100
        assert found.sum() > 200
        assert abs(vol - theirs)[found].median() < 5e-5
        again = options.price(*at, vol, quotes["option_type"], model="black76")["price"]
        assert (abs(again - price)[found] <= 8 * EPS * forward[found]).all()
