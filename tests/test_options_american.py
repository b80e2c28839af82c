# SPDX-License-Identifier: Apache-2.0
"""American options: published tables, trees in NumPy, identities, and awkward arguments."""

from __future__ import annotations

import csv
import functools
import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import warpquant
from checks import same_bits
from warpquant import config, options

#: Largest error of a price, in units of the strike.
LIMITS = {"fast": 1e-5, "accurate": 5e-7, "high": 2e-9}
EVERY = (
    "price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta", "boundary", "far_boundary", "status",
)  # fmt: skip


def RUNS_ON(device):
    options.lattice([100.0], 100.0, 1.0, 0.0, 0.0, 0.2, True, steps=2, device=device)


def table(shared, name):
    path = shared / "data" / "oracles" / name
    if not path.exists():
        pytest.skip(f"{name} is absent")
    with path.open() as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def points(count, seed=0):
    """Puts and calls like those of the tables: days to years, q = 0 among the yields, far in and out of the money."""
    rng = np.random.default_rng(seed)
    spot, strike = rng.uniform(61.0, 160.0, count), np.full(count, 100.0)
    expiry = rng.choice([7, 14, 30, 60, 90, 182, 365, 730, 1250], count) / 365
    vol = np.exp(rng.uniform(np.log(0.085), np.log(0.9), count))
    rate = rng.uniform(0.003, 0.12, count)
    dividend = np.where(rng.random(count) < 0.4, 0.0, rng.uniform(0.003, 0.12, count))
    return spot, strike, expiry, rate, dividend, vol, rng.random(count) < 0.3


@pytest.mark.parametrize("accuracy", LIMITS)
def test_high_precision_values(shared, accuracy):
    rows = table(shared, "american_public.csv")
    arguments = [column(rows, name) for name in ("S", "K", "T", "r", "q", "sigma", "is_call")]
    got = options.american(*arguments, accuracy=accuracy)["price"]
    error = np.abs(got - column(rows, "price")) / arguments[1]
    assert error.max() <= LIMITS[accuracy], (error.max(), rows[int(error.argmax())])
    # Beyond the boundary the intrinsic value to the last bit.
    sign = np.where(arguments[-1] > 0, 1.0, -1.0)
    exercised = np.abs(column(rows, "price") - sign * (arguments[0] - arguments[1])) < 1e-10
    assert exercised.sum() > 10
    np.testing.assert_array_equal(got[exercised], (sign * (arguments[0] - arguments[1]))[exercised])


#: Two rows of that table differ by 0.03 and 2e-5 from trees, grids and the present version of the library whose tests
#: they are from, all of which agree.
_DOUBTFUL = ("standard put option", "extreme dividend yield call")


def test_edge_values(shared):
    for row in table(shared, "american_highprec_edge.csv"):
        if row["source"].endswith(_DOUBTFUL):
            continue
        spot, strike, days, rate, dividend, vol = (float(row[k]) for k in ("spot", "strike", "days", "r", "q", "vol"))
        got = options.american(spot, strike, days / 365, rate, dividend, vol, row["type"], accuracy="high")["price"]
        assert abs(got - float(row["value"])) <= float(row["precision"]), (row, got)


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("american_baw.csv", "lattice_2001", 5e-4),
        ("american_ju.csv", "lattice_2001", 5e-4),
        ("american_longstaff_schwartz.csv", "american_lattice", 5e-4),
    ],
)
def test_published_options_against_their_trees(shared, name, value, limit):
    rows = table(shared, name)
    expiry = "t" if "t" in rows[0] else "T"
    arguments = [column(rows, k) for k in ("spot", "strike", expiry, "r", "q", "vol")]
    got = options.american(*arguments, [row["type"] for row in rows])["price"]
    np.testing.assert_allclose(got, column(rows, value), rtol=0, atol=limit)


def test_premium_of_andersen_lake_offengenden(shared):
    rows = table(shared, "american_premium_andersen_lake.csv")
    for row in rows:
        arguments = [float(row[k]) for k in ("spot", "strike", "t_years_act365", "r", "q", "vol")] + [row["type"]]
        premium = options.american(*arguments, accuracy="high")["price"] - options.price(*arguments)["price"]
        # The best scheme of the paper for this option.
        best = next(r for r in rows if r["r"] == row["r"] and r["scheme_lmn"] == "65,8,32")
        assert abs(premium - float(best["early_ex_premium_eqB"])) < 1.2e-7


def peizer_pratt(z, steps):
    scaled = z / (steps + 1 / 3 + 0.1 / (steps + 1))
    return 0.5 + np.sign(z) * np.sqrt(0.25 - 0.25 * np.exp(-(scaled**2) * (steps + 1 / 6)))


def tree(spot, strike, expiry, rate, dividend, vol, call, steps, method, american=True):
    """Price, delta, gamma and theta on a binomial tree that begins two steps before today."""
    e, dt, last = (1.0 if call else -1.0), expiry / steps, steps + 2
    growth, discount = np.exp((rate - dividend) * dt), np.exp(-rate * dt)
    if method == "crr":
        up = np.exp(vol * np.sqrt(dt))
        down = 1 / up
        chance = (growth - down) / (up - down)
    else:
        v = vol * np.sqrt(expiry)
        d1 = (np.log(spot / strike) + (rate - dividend) * expiry) / v + v / 2
        h = [peizer_pratt(z, steps) for z in (d1, d1 - v)]
        chance = h[1]
        up = growth * h[0] / chance
        down = (growth - chance * up) / (1 - chance)

    def spots(i):
        j = np.arange(i + 1)
        return spot * np.exp((j - 1) * np.log(up) + (i - j - 1) * np.log(down))

    values = np.maximum(e * (spots(last) - strike), 0.0)
    kept = {last: values}
    for i in range(last - 1, 1, -1):
        values = discount * (chance * values[1:] + (1 - chance) * values[:-1])
        if american:
            values = np.maximum(values, e * (spots(i) - strike))
        kept[i] = values
    s, v = spots(2), kept[2]
    fit = np.polyfit(s - spot, v, 2)
    later = kept[4][2] - v[1]
    moved = spots(4)[2] - spot
    return v[1], fit[1], 2 * fit[0], (later - moved * (fit[1] + fit[0] * moved)) / (2 * dt)


@pytest.mark.parametrize("method", ["crr", "leisen_reimer"])
@pytest.mark.parametrize("american", [True, False])
def test_lattice_is_the_tree(method, american, simd_levels):
    arguments = list(points(20, seed=3))
    arguments[0] = arguments[1] * np.exp(np.linspace(-0.5, 0.5, 20) * arguments[5] * np.sqrt(arguments[2]))
    for steps in (2 if method == "crr" else 3, 25, 301):
        want = np.array([tree(*row, steps, method, american) for row in zip(*arguments, strict=True)])
        for level in simd_levels:
            with config.override(simd=level):
                got = options.lattice(*arguments, method=method, steps=steps, american=american)
            for k, name in enumerate(("price", "delta", "gamma", "theta")):
                scale = (1.0, 1.0, 1.0, 100.0)[k]
                np.testing.assert_allclose(got[name], want[:, k], rtol=1e-8, atol=1e-9 * scale, err_msg=name)


def test_lattices_converge_to_the_integral():
    arguments = (np.array([90.0, 100.0, 110.0]), 100.0, 0.75, 0.06, 0.03, 0.3, [True, False, False])
    want = options.american(*arguments, accuracy="high")
    for method, steps, limit in (("crr", 2000, 5e-3), ("leisen_reimer", 2001, 1e-3)):
        got = options.lattice(*arguments, method=method, steps=steps)
        np.testing.assert_allclose(got["price"], want["price"], rtol=0, atol=limit)
        np.testing.assert_allclose(got["delta"], want["delta"], rtol=0, atol=limit)
        np.testing.assert_allclose(got["gamma"], want["gamma"], rtol=2e-2)
        np.testing.assert_allclose(got["theta"], want["theta"], rtol=1e-2)


def test_a_tree_without_probabilities_is_no_tree():
    got = options.lattice(100.0, 100.0, 1.0, 2.0, 0.0, 0.01, "p", steps=10, return_status=True)
    assert np.isnan(got["price"])
    assert got["status"] == 4
    assert options.lattice(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "p", steps=10, return_status=True)["status"] == 0


def test_greeks_are_derivatives_of_the_price():
    arguments = list(points(60, seed=5))
    got = options.american(*arguments, accuracy="high", outputs="all")
    held = got["status"] == 0
    near = np.abs(np.log(arguments[0] / got["boundary"])) < 0.01
    keep = held & ~near
    assert keep.sum() > 20

    def bumped(k, step):
        moved = list(arguments)
        moved[k] = arguments[k] + step
        return options.american(*moved, accuracy="high")["price"]

    for k, name, step, limit in (
        (0, "delta", 1e-3, 1e-6), (1, "dual_delta", 1e-3, 1e-6), (3, "rho", 1e-5, 2e-2), (4, "epsilon", 1e-5, 2e-2),
        (5, "vega", 1e-5, 5e-3),
    ):  # fmt: skip
        # At q = r the shape of the boundary changes.
        apart = (np.abs(arguments[3] - arguments[4]) > 1e-3) & (arguments[4] > 0)
        where = keep & apart if k in (3, 4) else keep
        slope = (bumped(k, step) - bumped(k, -step)) / (2 * step)
        np.testing.assert_allclose(got[name][where], slope[where], rtol=1e-5, atol=limit, err_msg=name)
    curve = (bumped(0, 0.05) - 2 * bumped(0, 0.0) + bumped(0, -0.05)) / 0.05**2
    np.testing.assert_allclose(got["gamma"][keep], curve[keep], rtol=1e-3, atol=1e-5)
    later = (bumped(2, -1e-5) - bumped(2, 1e-5)) / 2e-5
    np.testing.assert_allclose(got["theta"][keep], later[keep], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("accuracy", LIMITS)
def test_bounds_symmetry_and_scale(accuracy):
    spot, strike, expiry, rate, dividend, vol, call = points(200, seed=7)
    got = options.american(spot, strike, expiry, rate, dividend, vol, call, accuracy=accuracy, outputs="all")
    european = options.price(spot, strike, expiry, rate, dividend, vol, call)["price"]
    intrinsic = np.where(call, spot - strike, strike - spot)
    assert (got["price"] >= np.maximum(european, intrinsic)).all()
    assert ((got["price"] == intrinsic) == (got["status"] == 1)).all()
    exercised = got["status"] == 1
    for name, value in {"gamma": 0.0, "vega": 0.0, "theta": 0.0, "rho": 0.0, "epsilon": 0.0}.items():
        assert (got[name][exercised] == value).all(), name
    assert (got["delta"][exercised] == np.where(call, 1.0, -1.0)[exercised]).all()
    mirrored = options.american(strike, spot, expiry, dividend, rate, vol, ~call, accuracy=accuracy, outputs="all")
    for name, other in (("price", "price"), ("rho", "epsilon"), ("delta", "dual_delta"), ("vega", "vega")):
        np.testing.assert_allclose(got[name], mirrored[other], rtol=1e-12, atol=1e-11, err_msg=name)
    twice = options.american(2 * spot, 2 * strike, expiry, rate, dividend, vol, call, accuracy=accuracy)
    np.testing.assert_array_equal(twice["price"], 2 * got["price"])


def test_smooth_pasting_and_value_matching():
    spot, strike, expiry, rate, dividend, vol, _ = points(50, seed=9)
    boundary = options.american(spot, strike, expiry, rate, dividend, vol, "p", accuracy="high", outputs="boundary")[
        "boundary"
    ]
    just = boundary * (1 + 1e-6)
    got = options.american(just, strike, expiry, rate, dividend, vol, "p", accuracy="high", outputs=("price", "delta"))
    np.testing.assert_allclose(got["price"], strike - just, rtol=0, atol=3e-7)
    np.testing.assert_allclose(got["delta"], -1.0, rtol=0, atol=2e-3)
    beyond = boundary * (1 - 1e-14)
    there = options.american(beyond, strike, expiry, rate, dividend, vol, "p", accuracy="high", return_status=True)
    assert (there["status"] == 1).all()


@pytest.mark.parametrize("accuracy", LIMITS)
def test_regimes(accuracy):
    def american(*arguments):
        return options.american(*arguments, accuracy=accuracy, outputs="all")

    # A call on what pays nothing, and a put where rates are not positive, are European.
    for arguments in ((100.0, 95.0, 1.0, 0.05, 0.0, 0.2, "c"), (100.0, 95.0, 1.0, -0.02, 0.01, 0.2, "p"),
                      (100.0, 95.0, 1.0, 0.0, 0.0, 0.2, "p"), (100.0, 95.0, 1.0, -0.02, -0.02, 0.2, "p")):  # fmt: skip
        got = american(*arguments)
        assert got["status"] == 2
        assert np.isnan(got["boundary"])
        want = options.greeks(*arguments, outputs=("price", "delta", "gamma", "vega", "theta", "rho", "epsilon"))
        for name, value in want.items():
            assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    # r = 0 > q: one boundary.
    zero = american(100.0, 110.0, 1.0, 0.0, -0.05, 0.3, "p")
    tree_price = options.lattice(100.0, 110.0, 1.0, 0.0, -0.05, 0.3, "p", method="leisen_reimer", steps=2001)["price"]
    assert zero["status"] == 0
    assert abs(zero["price"] - tree_price) < 2e-3


def between(count, seed):
    """Puts and calls with two boundaries: apart for good, meeting before expiry, meeting after it."""
    rng = np.random.default_rng(seed)
    loss = -rng.uniform(0.01, 0.1, count)
    gain = loss * rng.uniform(0.05, 0.95, count)
    vol, expiry = np.exp(rng.uniform(np.log(0.04), np.log(0.6), count)), np.exp(rng.uniform(-4.0, 2.3, count))
    spot = 100.0 * np.exp(np.clip(rng.normal(0.0, 0.7, count) * vol * np.sqrt(expiry), -1.5, 1.5))
    call = rng.random(count) < 0.3
    strike = np.full(count, 100.0)
    return spot, strike, expiry, np.where(call, loss, gain), np.where(call, gain, loss), vol, call


def test_two_boundaries_against_trees():
    arguments = between(120, seed=31)
    got = options.american(*arguments, accuracy="high", outputs="all")
    assert set(np.unique(got["status"])) == {0, 1}
    met, there = np.isnan(got["boundary"]), got["status"] == 1
    assert met.sum() > 10
    assert there.sum() > 5
    np.testing.assert_array_equal(np.isnan(got["far_boundary"]), met)
    call, strike = arguments[-1], arguments[1]
    low, high = np.fmin(got["boundary"], got["far_boundary"]), np.fmax(got["boundary"], got["far_boundary"])
    assert ((got["boundary"] > got["far_boundary"]) == ~call)[~met].all()
    inside = (low <= arguments[0]) & (arguments[0] <= high)
    np.testing.assert_array_equal(there, inside)
    intrinsic = np.where(call, 1.0, -1.0) * (arguments[0] - strike)
    np.testing.assert_array_equal(got["price"][there], intrinsic[there])
    # Trees of n and 2 n steps, whose errors are as 2 to 1; next to a boundary they wobble.
    few, many = (
        options.lattice(*arguments, method="leisen_reimer", steps=steps, outputs="price")["price"]
        for steps in (2001, 4001)
    )
    error = np.abs(got["price"] - (2 * many - few))[~there] / 100
    assert error.max() < 2e-5
    assert np.median(error) < 1e-7
    for accuracy in ("fast", "accurate"):
        other = options.american(*arguments, accuracy=accuracy)["price"]
        np.testing.assert_allclose(other, got["price"], rtol=0, atol=LIMITS[accuracy] * 100)


@pytest.mark.parametrize("accuracy", ["fast", "accurate", "high"])
def test_without_interest_there_is_no_wrong_price(accuracy):
    """r next to 0 and q below it: the equation of the boundary has a root at 0 that means nothing."""
    spot, rate, expiry, dividend, vol, tree = np.array([
        (100.0, 0.0, 30.0, -0.04, 0.3, 38.656612), (78.754, 0.0, 7.885, -0.151, 0.566, 42.966),
        (65.0, 0.0, 13.0, -0.10, 0.47, 49.7654), (56.2598, 0.0, 18.6216, -0.063977, 0.366055, 51.855),
        (55.668, 0.0, 21.67352638041841, -0.06011669411732697, 1.876697815240986, 99.99823),
        (107.12, 1.457e-6, 81.72, -0.41658, 1.8293, 99.99829),
        (69.91947, 1e-12, 17.561741, -0.102043, 0.521074, 56.5403), (100.0, 0.0, 1.0, -0.05, 0.2, 6.264215),
    ]).T  # fmt: skip
    puts = options.american(
        spot, 100.0, expiry, rate, dividend, vol, "p", accuracy=accuracy, outputs=("price", "status")
    )
    calls = options.american(100.0, spot, expiry, dividend, rate, vol, "c", accuracy=accuracy, outputs=("price",))
    found = puts["status"] != 3
    assert found[-1]
    assert np.array_equal(np.isfinite(puts["price"]), found)
    np.testing.assert_allclose(puts["price"][found], tree[found], atol=2e-3)
    np.testing.assert_allclose(calls["price"], puts["price"], rtol=1e-12)


def test_the_boundary_that_means_nothing_is_no_price():
    """Next to no interest over decades: a root of the equation at the boundary of an option without end."""
    spot, expiry, dividend, vol, rate = np.array([
        (177.405, 39.105, -0.0790, 0.577, 1e-15), (99.072, 39.941, -0.0763, 0.533, 1e-13),
        (99.072, 39.941, -0.0763, 0.533, 1e-12), (149.410, 35.332, -0.0769, 0.523, 1e-11),
    ]).T  # fmt: skip
    tree = options.lattice(spot, 100.0, expiry, rate, dividend, vol, "p", method="leisen_reimer", steps=1001)["price"]
    rng = np.random.default_rng(5)
    more = (rng.uniform(60, 200, 400), 100.0, rng.uniform(30, 40, 400), 10 ** rng.uniform(-16, -9, 400),
            -rng.uniform(0.06, 0.08, 400), rng.uniform(0.4, 0.6, 400), "p")  # fmt: skip
    most = options.lattice(*more, method="leisen_reimer", steps=201)["price"]
    for accuracy in LIMITS:
        got = options.american(spot, 100.0, expiry, rate, dividend, vol, "p", accuracy=accuracy, return_status=True)
        found = got["status"] != 3
        np.testing.assert_allclose(got["price"][found], tree[found], atol=0.02)
        got = options.american(*more, accuracy=accuracy, return_status=True)
        found = got["status"] != 3
        assert found.sum() > 100
        np.testing.assert_allclose(got["price"][found], most[found], atol=0.2)


def test_yields_just_above_the_rate():
    """A layer of the boundary next to expiry, which weighs nothing: prices go on smoothly to those of q = r."""
    above = np.r_[0.0, np.logspace(-9, -3, 25)]
    rate = 0.0926
    common = dict(accuracy="high", outputs=("price", "epsilon"))
    made = options.american(90.0, 100.0, 2.13, rate, rate * (1.0 + above), 0.676, "p", **common)
    line = made["price"][0] + made["epsilon"][0] * rate * above
    np.testing.assert_allclose(made["price"][1:], line[1:], atol=5e-5)


def test_greeks_with_two_boundaries():
    arguments = list(between(80, seed=33))
    got = options.american(*arguments, accuracy="high", outputs="all")
    near = np.zeros(80, bool)
    for name in ("boundary", "far_boundary"):
        there = (got[name] > 0) & np.isfinite(got[name])
        near[there] |= np.abs(np.log(arguments[0][there] / got[name][there])) < 0.02
    keep = (got["status"] == 0) & ~near
    assert keep.sum() > 30

    def slope(k, step):
        prices = []
        for sign in (1.0, -1.0):
            moved = list(arguments)
            moved[k] = arguments[k] + sign * step
            prices.append(options.american(*moved, accuracy="high", outputs="price")["price"])
        return (prices[0] - prices[1]) / (2 * step)

    for k, name, step, limit in (
        (0, "delta", 1e-3, 1e-5), (1, "dual_delta", 1e-3, 1e-5), (3, "rho", 1e-6, 2e-2), (4, "epsilon", 1e-6, 2e-2),
        (5, "vega", 1e-6, 2e-2),
    ):  # fmt: skip
        np.testing.assert_allclose(got[name][keep], slope(k, step)[keep], rtol=1e-4, atol=limit, err_msg=name)
    np.testing.assert_allclose(got["theta"][keep], -slope(2, 1e-5 * arguments[2])[keep], rtol=1e-3, atol=1e-3)


def test_two_boundaries_become_one_where_the_rate_is_none():
    at = (np.array([85.0, 100.0, 115.0]), 100.0, 0.75)
    one = options.american(*at, 0.0, -0.04, 0.25, "p", accuracy="high")
    for rate in (-1e-12, -1e-9, -1e-7):
        two = options.american(*at, rate, -0.04, 0.25, "p", accuracy="high", return_status=True)
        assert (two["status"] == 0).all()
        np.testing.assert_allclose(two["price"], one["price"], rtol=0, atol=1e-6 + 100 * abs(rate))
    # And none where it is the yield.
    european = options.price(*at, -0.039999, -0.04, 0.25, "p")["price"]
    close = options.american(*at, -0.039999, -0.04, 0.25, "p", accuracy="high")["price"]
    np.testing.assert_allclose(close, european, rtol=0, atol=1e-5)


def test_devices_compute_american_options(device):
    arguments = [np.concatenate(pair) for pair in zip(points(21, seed=17), between(5, seed=35), strict=True)]
    for accuracy, limit in LIMITS.items():
        few = slice(None) if device != "emulator" or accuracy == "fast" else slice(16, 24)
        at = [x[few] for x in arguments]
        want = options.american(*at, accuracy=accuracy, outputs="all")
        got = options.american(*at, accuracy=accuracy, outputs="all", device=device)
        np.testing.assert_array_equal(got["status"], want["status"])
        np.testing.assert_allclose(got["price"], want["price"], rtol=0, atol=2 * limit * 100)
        for name in EVERY[1:-1]:
            np.testing.assert_allclose(got[name], want[name], rtol=100 * limit, atol=1000 * limit, err_msg=name)


@pytest.mark.parametrize("american", [True, False])
def test_devices_compute_trees_and_grids(american, device):
    at = list(points(9, seed=19))
    at[0][3] = np.nan
    calls = [
        lambda **how: options.lattice(*at, method="crr", steps=60, american=american, outputs="all", **how),
        lambda **how: options.lattice(*at, method="leisen_reimer", steps=61, american=american, outputs="all", **how),
        lambda **how: options.finite_difference(
            *at, dividends=[(0.1, 1.0)], nodes=61, steps=20, american=american, outputs="all", **how
        ),
        lambda **how: options.finite_difference(
            *at, dividends=[(0.1, 1.0)], model="escrowed", nodes=61, steps=20, american=american, outputs="all", **how
        ),
    ]
    for call in calls:
        want, got = call(), call(device=device)
        for name, values in want.items():
            np.testing.assert_allclose(got[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture
def small_device():
    emulator = pytest.importorskip("warpquant._emulator")
    emulator.configure(memory=8 << 20)
    yield emulator
    emulator.configure()


def test_work_memory_does_not_grow_with_the_rows(small_device):
    # A tree of 40 steps has 130 numbers: for all rows side by side that would be 4 MB.
    at = [np.resize(x, 4000) for x in points(50, seed=23)]
    want = options.lattice(*at, steps=40, outputs="price")["price"]
    before = small_device.counts()["memory_used"]
    got = options.lattice(*at, steps=40, outputs="price", device="emulator")["price"]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    assert small_device.counts()["memory_peak"] - before < 3 << 20


@pytest.mark.parametrize(
    "option",
    [
        (100.0, 120.0, 10.0, 0.10, 0.03, 0.25, "p"),
        (100.0, 100.0, 20.0, 0.04, 0.02, 0.15, "p"),
        (101.0, 100.0, 3.0, 0.08, 0.0, 0.02, "p"),
        (100.02, 100.0, 3.0, 0.10, 0.0, 0.005, "p"),
        (100.0, 100.0, 0.002, 0.05, 0.0, 0.2, "p"),
        (100.0, 100.0, 1.0, 0.05, 0.0505, 0.2, "p"),
        (100.7, 100.0, 0.25, 0.0470, 0.0471, 0.45, "p"),
        (100.7, 100.0, 0.25, 0.047, 0.047000001, 0.45, "p"),
        (100.0, 100.0, 1.0, 0.05, 0.05, 0.2, "c"),
        (100.0, 80.0, 5.0, 0.01, 0.12, 1.5, "c"),
        (100.0, 100.0, 2.0, 0.001, 0.0, 0.4, "p"),
    ],
)
def test_hard_options_agree_between_accuracies(option):
    high = options.american(*option, accuracy="high", return_status=True)
    assert high["status"] in (0, 1)
    for accuracy in ("fast", "accurate"):
        assert abs(options.american(*option, accuracy=accuracy)["price"] - high["price"]) <= 2 * LIMITS[accuracy] * 100
    grid = options.finite_difference(*option, nodes=801, steps=400)["price"]
    assert abs(grid - high["price"]) < 4e-3


@pytest.mark.parametrize("accuracy", ["fast", "accurate"])
def test_random_options_agree_with_high(accuracy):
    arguments = points(600, seed=21)
    want = options.american(*arguments, accuracy="high", return_status=True)
    assert (want["status"] != 3).all()
    got = options.american(*arguments, accuracy=accuracy)["price"]
    np.testing.assert_allclose(got, want["price"], rtol=0, atol=LIMITS[accuracy] * 100)


def test_awkward_rows_do_not_touch_their_neighbours():
    good = (100.0, 105.0, 1.0, 0.04, 0.01, 0.25, 0.0)
    rows = [list(good) for _ in range(23)]
    nan, inf = float("nan"), float("inf")
    for k, (place, value) in enumerate(
        [(0, nan), (1, -1.0), (2, inf), (3, nan), (4, -inf), (5, -0.1), (6, 2.0), (0, inf)], start=1
    ):
        rows[2 * k][place] = value
    got = options.american(*np.array(rows).T, outputs="all")
    alone = options.american(*good, outputs="all")
    for i in range(23):
        bad = i % 2 == 0 and 2 <= i <= 16
        for name in EVERY[:-1]:
            missing = bad or name == "far_boundary"
            assert np.isnan(got[name][i]) if missing else got[name][i] == alone[name], (i, name)
        assert got["status"][i] == (4 if bad else 0)


@pytest.mark.parametrize(
    ("option", "price", "status"),
    [
        ((100.0, 110.0, 0.0, 0.05, 0.0, 0.2, "p"), 10.0, 1),
        ((100.0, 90.0, 0.0, 0.05, 0.0, 0.2, "p"), 0.0, 0),
        ((0.0, 90.0, 1.0, 0.05, 0.0, 0.2, "p"), 90.0, 1),
        ((0.0, 90.0, 1.0, 0.05, 0.0, 0.2, "c"), 0.0, 0),
        ((100.0, 0.0, 1.0, 0.05, 0.1, 0.2, "c"), 100.0, 1),
        ((100.0, 90.0, 1.0, 0.05, 0.0, 0.0, "c"), 100.0 - 90.0 * np.exp(-0.05), 2),
        ((0.0, 0.0, 1.0, 0.05, 0.0, 0.2, "p"), 0.0, 0),
    ],
)
def test_without_randomness(option, price, status):
    got = options.american(*option, return_status=True)
    assert got["price"] == pytest.approx(price, rel=1e-15)
    assert got["status"] == status


def certain(spot, strike, expiry, rate, dividend, call, dividends=(), model="piecewise", american=True):
    """Vol 0: the greatest discounted payoff on the only path, by looking at many times."""
    sign = 1.0 if call else -1.0
    paid = [(time, cash) for time, cash in dividends if 0 < time <= expiry]
    cuts = [0.0, *(time for time, _ in paid), expiry]
    best, own, left = -np.inf, spot, sum(cash * np.exp(-rate * time) for time, cash in paid)
    if model == "escrowed":
        own -= left
    for k, (start, end) in enumerate(itertools.pairwise(cuts)):
        times = np.linspace(start, end, 20001)
        growth = own * np.exp((rate - dividend) * (times - start))
        escrowed = own * np.exp(-dividend * times) + left
        discounted = escrowed if model == "escrowed" else growth * np.exp(-rate * times)
        if american:
            best = max(best, (sign * (discounted - strike * np.exp(-rate * times))).max())
        if k < len(paid):
            if model == "escrowed":
                left -= paid[k][1] * np.exp(-rate * paid[k][0])
            else:
                own = max(growth[-1] - paid[k][1], 0.0)
        elif not american:
            best = sign * (discounted[-1] - strike * np.exp(-rate * expiry))
    if american and paid and paid[-1][0] == expiry:
        best = max(best, sign * (own - strike) * np.exp(-rate * expiry))
    return max(best, 0.0)


def test_without_vol_trees_and_grids_give_the_only_path():
    rng = np.random.default_rng(41)
    for _ in range(40):
        at = (rng.uniform(60, 160), 100.0, rng.uniform(0.1, 5), rng.uniform(-0.05, 0.1), rng.uniform(-0.05, 0.1))
        call, american = bool(rng.random() < 0.5), bool(rng.random() < 0.7)
        dividends = sorted((rng.uniform(-0.5, 6), rng.uniform(0, 15)) for _ in range(rng.integers(0, 4)))
        plain = certain(*at, call, american=american)
        for method in ("crr", "leisen_reimer"):
            got = options.lattice(*at, 0.0, call, method=method, american=american, outputs="all")
            assert got["price"] == pytest.approx(plain, abs=1e-6)
            assert got["status"] == 0
        for model in ("piecewise", "escrowed"):
            price = functools.partial(
                options.finite_difference, strike=at[1], expiry=at[2], rate=at[3], dividend=at[4], vol=0.0,
                is_call=call, dividends=dividends, american=american, model=model,
            )  # fmt: skip
            got = price(at[0], outputs="all")
            paid = sum(cash * np.exp(-at[3] * time) for time, cash in dividends if 0 < time <= at[2])
            if model == "escrowed" and paid >= at[0]:
                assert got["status"] == 4
                continue
            assert got["price"] == pytest.approx(certain(*at, call, dividends, model, american), abs=1e-6)
            slope = (price(at[0] + 1e-5)["price"] - price(at[0] - 1e-5)["price"]) / 2e-5
            assert got["delta"] == pytest.approx(slope, abs=1e-6)
            assert got["gamma"] == 0.0
        if american:
            got = options.american(*at, 0.0, call, outputs="all")
            assert got["price"] == pytest.approx(plain, abs=1e-6)
            for k, name in ((0, "delta"), (1, "dual_delta"), (3, "rho"), (4, "epsilon")):
                up, down = list(at), list(at)
                up[k], down[k] = at[k] + 1e-7, at[k] - 1e-7
                slope = options.american(*up, 0.0, call)["price"] - options.american(*down, 0.0, call)["price"]
                assert got[name] == pytest.approx(slope / 2e-7, abs=1e-4), name
    for function in (options.lattice, options.finite_difference, options.american):
        assert function(100.0, 110.0, 0.0, 0.05, 0.0, 0.2, "p")["price"] == 10.0
        kink = function(100.0, 100.0, 1.0, 0.05, 0.0, 0.0, "p", outputs=("price", "delta", "gamma"))
        assert list(kink.values()) == [0.0, -0.5, np.inf]


def endless_put(spot, strike, rate, dividend, vol):
    """A put without expiry, by Merton (1973)."""
    slope = rate - dividend - vol**2 / 2
    root = np.sqrt(slope**2 + 2 * rate * vol**2)
    power = -np.where(slope > 0, (slope + root) / vol**2, 2 * rate / (root - slope))
    boundary = strike * power / (power - 1)
    held = (strike - boundary) * np.exp(np.minimum(power * np.log(spot / boundary), 0.0))
    return np.where(spot <= boundary, strike - spot, held), boundary


def small_vols(count, seed, up):
    """Puts with rates above 0 and a drift, up or down, that is many times the vol."""
    rng = np.random.default_rng(seed)
    expiry, low = np.exp(rng.uniform(np.log(0.1), np.log(30), count)), rng.uniform(0.005, 0.06, count)
    high = low + rng.uniform(0.005, 0.06, count)
    rate, dividend = (high, low) if up else (low, high)
    vol = (high - low) * np.sqrt(expiry) / np.exp(rng.uniform(np.log(12), np.log(1e4), count))
    return rng, expiry, rate, dividend, vol


@pytest.mark.parametrize("accuracy", LIMITS)
def test_small_vols_that_drift_away_are_options_without_end(accuracy):
    """What is not exercised soon never is: but for e^(-70) the price is that of an option without end."""
    rng, expiry, rate, dividend, vol = small_vols(300, 43, up=True)
    near = vol**2 / (rate - dividend)
    spot = np.where(rng.random(300) < 0.3, rng.uniform(50, 200, 300), 100 * (1 + rng.normal(0, 1, 300) * near))
    want, boundary = endless_put(spot, 100.0, rate, dividend, vol)
    got = options.american(spot, 100.0, expiry, rate, dividend, vol, "p", accuracy=accuracy, outputs="all")
    assert set(np.unique(got["status"])) == {0, 1}
    np.testing.assert_allclose(got["price"], want, rtol=0, atol=LIMITS[accuracy] * 100)
    np.testing.assert_allclose(got["boundary"], boundary, rtol=LIMITS[accuracy])
    call = options.american(100.0, spot, expiry, dividend, rate, vol, "c", accuracy=accuracy)["price"]
    np.testing.assert_allclose(call, want, rtol=0, atol=LIMITS[accuracy] * 100)


def test_small_vols_that_drift_to_the_boundary_are_knocked_out_there():
    """Exercise at the boundary of an option without end is as good as at the right one, but next to expiry."""
    rng, expiry, rate, dividend, vol = small_vols(200, 47, up=False)
    vol = np.minimum(vol, (dividend - rate) * np.sqrt(expiry) / 60)
    level = endless_put(100.0, 100.0, rate, dividend, vol)[1]
    spot = level * np.exp((dividend - rate) * expiry * rng.uniform(0.02, 1.2, 200) + 5 * vol**2 / (dividend - rate))
    spot = np.minimum(spot, 200.0)
    want = options.barrier(
        spot, 100.0, expiry, rate, dividend, vol, "p", level, "down-out", rebate=100.0 - level, outputs="price"
    )["price"]
    for accuracy, limit in LIMITS.items():
        got = options.american(spot, 100.0, expiry, rate, dividend, vol, "p", accuracy=accuracy, outputs="all")
        assert (got["status"] == 0).all()
        np.testing.assert_allclose(got["price"], want, rtol=0, atol=limit * 100)
        assert (got["boundary"] <= 100 * rate / dividend).all()


@pytest.mark.parametrize("accuracy", LIMITS)
def test_vanishing_vol_has_a_price_and_greeks(accuracy):
    """No row is lost on the way to vol 0, where the price is that of the only path, within the spread of the paths."""
    spot = np.array([50.0, 90.0, 99.0, 100.0, 101.0, 120.0, 200.0])
    for rate, dividend in ((0.03, 0.01), (0.01, 0.03), (0.03, 0.03), (0.03, 0.0), (0.0, 0.02), (0.05, 0.051),
                           (0.1, -0.05), (-0.01, -0.02), (-0.02, -0.01), (0.0, 0.0)):  # fmt: skip
        for expiry, vol, call in itertools.product((0.1, 5.0, 30.0), (0.01, 0.002, 1e-4, 1e-6, 1e-8), (True, False)):
            at = (spot, 100.0, expiry, rate, dividend)
            got = options.american(*at, vol, call, accuracy=accuracy, outputs="all")
            assert (got["status"] <= 2).all()
            for name in EVERY[:8]:
                assert np.isfinite(got[name]).all(), (name, at, vol, call)
            path = np.array([certain(s, *at[1:], call) for s in spot]) if vol < 1e-3 else None
            if path is not None:
                assert (np.abs(got["price"] - path) <= 200 * vol * np.sqrt(expiry) + 1e-6).all(), (at, vol, call)


def test_greeks_of_small_vols():
    rng = np.random.default_rng(53)
    expiry, rate, dividend = rng.uniform(0.5, 20, 150), rng.uniform(-0.03, 0.1, 150), rng.uniform(-0.03, 0.1, 150)
    drift = rate - dividend
    vol = np.abs(drift) * np.sqrt(expiry) / np.exp(rng.uniform(np.log(6), np.log(300), 150))
    ok = np.abs(drift) > 0.005
    spread = np.minimum(vol * np.sqrt(expiry), vol**2 / np.abs(drift))
    spot = 100 * np.exp(-drift * expiry * rng.uniform(0, 1, 150) + rng.normal(0, 1, 150) * spread)
    ok &= (spot > 40) & (spot < 250)
    at = [x[ok] for x in (spot, np.full(150, 100.0), expiry, rate, dividend, vol)]
    call, spread = (rng.random(150) < 0.5)[ok], spread[ok]
    got = options.american(*at, call, accuracy="high", outputs="all")
    held = got["status"] != 1
    for name in ("boundary", "far_boundary"):
        held &= ~(np.abs(np.log(at[0] / np.where(got[name] > 0, got[name], 1e-9))) < 0.2 * spread)
    assert held.sum() > 60
    steps = {
        "delta": (0, at[0] * spread * 1e-2), "dual_delta": (1, 100 * spread * 1e-2), "rho": (3, spread * 1e-3),
        "epsilon": (4, spread * 1e-3), "vega": (5, at[5] * 1e-3),
    }  # fmt: skip
    for name, (k, step) in steps.items():
        up, down = list(at), list(at)
        up[k], down[k] = at[k] + step, at[k] - step
        slope = (options.american(*up, call, accuracy="high")["price"]
                 - options.american(*down, call, accuracy="high")["price"]) / (2 * step)  # fmt: skip
        np.testing.assert_allclose(got[name][held], slope[held], rtol=1e-3, atol=1e-2, err_msg=name)


@given(
    st.floats(50, 200), st.floats(50, 200), st.floats(0.003, 4), st.floats(0.0, 0.15), st.floats(0.0, 0.15),
    st.floats(0.05, 1.0), st.booleans(),
)  # fmt: skip
def test_prices_are_sound(spot, strike, expiry, rate, dividend, vol, call):
    got = options.american(spot, strike, expiry, rate, dividend, vol, call, outputs="all")
    assert got["status"] in (0, 1, 2)
    sign = 1.0 if call else -1.0
    assert got["price"] >= max(sign * (spot - strike), 0.0)
    assert got["price"] <= (spot if call else strike)
    assert -1e-6 <= sign * got["delta"] <= 1 + 1e-6
    later = options.american(spot, strike, expiry * 1.1, rate, dividend, vol, call)["price"]
    assert later >= got["price"] - 1e-4
    wilder = options.american(spot, strike, expiry, rate, dividend, vol * 1.05, call)["price"]
    assert wilder >= got["price"] - 1e-4


@pytest.mark.parametrize("accuracy", LIMITS)
def test_same_bits_in_any_company(accuracy):
    count = 37 if accuracy == "high" else 150
    arguments = points(count, seed=11)
    whole = options.american(*arguments, accuracy=accuracy, outputs="all", num_threads=1)
    for got, label in (
        (options.american(*arguments, accuracy=accuracy, outputs="all", num_threads=3), "threads"),
        (options.american(*[x[::-1] for x in arguments], accuracy=accuracy, outputs="all"), "reversed"),
    ):
        for name in EVERY:
            same_bits(got[name] if label == "threads" else got[name][::-1], whole[name], f"{label} {name}")
    price = options.american(*arguments, accuracy=accuracy, outputs="price")["price"]
    same_bits(price, whole["price"], "price alone")
    one = options.american(*[x[5].item() for x in arguments], accuracy=accuracy)["price"]
    assert one == whole["price"][5]


def test_levels_agree(simd_levels):
    arguments = points(60, seed=13)
    for accuracy, limit in LIMITS.items():
        results = []
        for level in simd_levels:
            with config.override(simd=level):
                results.append(options.american(*arguments, accuracy=accuracy)["price"])
        for got in results[1:]:
            np.testing.assert_allclose(got, results[0], rtol=0, atol=limit)


def test_kinds_of_arrays():
    pandas = pytest.importorskip("pandas")
    spots = np.array([90.0, 100.0, 110.0])
    want = options.american(spots, 100.0, 1.0, 0.05, 0.0, 0.2, "p")
    series = options.american(pandas.Series(spots, index=list("abc")), 100.0, 1.0, 0.05, 0.0, 0.2, "p")
    assert list(series["price"].index) == list("abc")
    np.testing.assert_array_equal(series["price"].to_numpy(), want["price"])
    narrow = options.american(spots.astype(np.float32), 100.0, 1.0, 0.05, 0.0, 0.2, "p")["price"]
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, want["price"], rtol=1e-6)
    wide = np.repeat(spots, 2)[::2]
    np.testing.assert_array_equal(options.american(wide, 100.0, 1.0, 0.05, 0.0, 0.2, "p")["price"], want["price"])
    out = {"price": np.empty(3)}
    assert options.american(spots, 100.0, 1.0, 0.05, 0.0, 0.2, "p", outputs="price", out=out)["price"] is out["price"]
    grid = options.american(spots[:, None], spots[None, :], 1.0, 0.05, 0.0, 0.2, "p")["price"]
    assert grid.shape == (3, 3)
    np.testing.assert_array_equal(grid[:, 1], want["price"])
    assert options.american(np.empty(0), 100.0, 1.0, 0.05, 0.0, 0.2, "p")["price"].shape == (0,)


@pytest.mark.parametrize(
    ("function", "keywords", "match"),
    [
        (options.american, {"accuracy": "exact"}, "accuracy: 'exact'"),
        (options.american, {"outputs": "vanna"}, "outputs: 'vanna'"),
        (options.lattice, {"method": "trinomial"}, "method: 'trinomial'"),
        (options.lattice, {"method": "leisen_reimer", "steps": 100}, "even"),
        (options.lattice, {"steps": 1}, "steps: 1 "),
        (options.lattice, {"steps": 10**7}, "steps: 10000000"),
        (options.finite_difference, {"model": "spot"}, "model: 'spot'"),
        (options.finite_difference, {"nodes": 3}, "nodes: 3 "),
        (options.finite_difference, {"dividends": [(0.5, -1.0)]}, "dividends: "),
        (options.finite_difference, {"dividends": [0.5]}, "dividends: "),
        (options.finite_difference, {"dividends": [(0.5, 1.0)] * 33}, "dividends: 33"),
    ],
)
def test_invalid_arguments(function, keywords, match):
    with pytest.raises(warpquant.ParameterError, match=match):
        function(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "p", **keywords)


# Finite differences.


def test_grid_without_dividends_is_the_integral_and_the_closed_form():
    arguments = points(40, seed=17)
    for model in ("piecewise", "escrowed"):
        got = options.finite_difference(*arguments, model=model, outputs="all", nodes=801, steps=300)
        want = options.american(*arguments, outputs="all")
        np.testing.assert_allclose(got["price"], want["price"], rtol=0, atol=2e-3)
        np.testing.assert_allclose(got["delta"], want["delta"], rtol=0, atol=2e-3)
        european = options.finite_difference(*arguments, model=model, american=False, nodes=801, steps=300)
        closed = options.greeks(*arguments)
        for name, limit in {"price": 1e-3, "delta": 1e-4, "gamma": 1e-4, "theta": 2e-2}.items():
            np.testing.assert_allclose(european[name], closed[name], rtol=1e-3, atol=limit, err_msg=name)


def test_grid_converges_in_second_order():
    option = (100.0, 100.0, 1.0, 0.05, 0.02, 0.3, "p")
    want = options.price(*option)["price"]
    errors = [
        abs(options.finite_difference(*option, american=False, nodes=n, steps=n // 2)["price"] - want)
        for n in (101, 201, 401, 801)
    ]
    assert errors[-1] < 1e-4
    assert all(a / b > 2.5 for a, b in itertools.pairwise(errors))


def test_escrowed_european_is_the_closed_form_of_the_spot_without_the_dividends():
    dividends = [(0.25, 1.0), (0.75, 2.0)]
    paid = sum(amount * np.exp(-0.05 * time) for time, amount in dividends)
    for call in (True, False):
        got = options.finite_difference(
            100.0, 95.0, 1.0, 0.05, 0.0, 0.3, call, dividends=dividends, model="escrowed", american=False, nodes=801
        )
        want = options.greeks(100.0 - paid, 95.0, 1.0, 0.05, 0.0, 0.3, call)
        assert got["price"] == pytest.approx(want["price"], abs=1e-3)
        assert got["delta"] == pytest.approx(want["delta"], abs=1e-4)


def test_piecewise_european_obeys_parity_and_a_simulation():
    dividends, arguments = [(0.25, 1.5), (0.75, 2.5)], (100.0, 95.0, 1.0, 0.05, 0.01, 0.3)
    price = {
        call: options.finite_difference(*arguments, call, dividends=dividends, american=False, nodes=801)["price"]
        for call in (True, False)
    }
    # What a share bought today is worth at expiry, less what it has paid until then.
    paid = sum(amount * np.exp(-0.05 * time - 0.01 * (1.0 - time)) for time, amount in dividends)
    assert price[True] - price[False] == pytest.approx(100 * np.exp(-0.01) - paid - 95 * np.exp(-0.05), abs=2e-3)
    rng = np.random.default_rng(0)
    half = rng.standard_normal((3, 400_000))
    spot, now = np.full(800_000, 100.0), 0.0
    for normals, (time, amount) in zip(np.concatenate([half, -half], axis=1), [*dividends, (1.0, 0.0)], strict=True):
        spot = spot * np.exp((0.04 - 0.045) * (time - now) + 0.3 * np.sqrt(time - now) * normals) - amount
        now = time
    values = np.exp(-0.05) * np.maximum(spot - 95.0, 0.0)
    pairs = 0.5 * (values[:400_000] + values[400_000:])
    assert abs(pairs.mean() - price[True]) < 4 * pairs.std() / np.sqrt(len(pairs)) + 1e-3


def test_a_call_is_exercised_before_a_dividend_or_never():
    # Without interest a call is exercised just before its only dividend or held: worth more than the better of both.
    early = options.price(100.0, 90.0, 0.5, 0.0, 0.0, 0.2, "c")["price"]
    got = options.finite_difference(100.0, 90.0, 1.0, 0.0, 0.0, 0.2, "c", dividends=[(0.5, 8.0)], nodes=801)["price"]
    held = options.finite_difference(
        100.0, 90.0, 1.0, 0.0, 0.0, 0.2, "c", dividends=[(0.5, 8.0)], nodes=801, american=False
    )["price"]
    assert got > early + 0.01
    assert got > held + 0.01
    # A dividend after expiry, or in the past, does not matter.
    plain = options.finite_difference(100.0, 90.0, 1.0, 0.0, 0.0, 0.2, "c", nodes=801)["price"]
    late = options.finite_difference(
        100.0, 90.0, 1.0, 0.0, 0.0, 0.2, "c", dividends=[(-0.1, 5.0), (1.5, 5.0)], nodes=801
    )["price"]
    assert late == pytest.approx(plain, abs=2e-3)


def test_grid_awkward_rows():
    got = options.finite_difference(
        [100.0, np.nan, 100.0, 1.0, 150.0], 100.0, 1.0, 0.05, 0.0, [0.2, 0.2, 0.0, 0.2, 0.2], "p",
        dividends=[(0.5, 3.0)], model="escrowed", outputs="all", nodes=101, steps=50,
    )  # fmt: skip
    assert got["status"].tolist() == [0, 4, 0, 4, 0]
    assert np.isnan(got["price"]).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("accuracy", ["fast", "accurate", "high"])
def test_at_the_money_next_to_no_vol(accuracy):
    """The price is a multiple of the variance then, and Delta a constant."""
    vol = np.array([1e-6, 2e-7, 1e-7, 3e-8, 1e-8, 3e-9])
    found = options.american(100.0, 100.0, 1.0, 0.05, 0.03, vol, False, accuracy=accuracy, outputs="all")
    assert (found["status"] == 0).all()
    np.testing.assert_allclose(found["price"] / vol**2, 100.0 / (0.04 * np.e), rtol=1e-6)
    np.testing.assert_allclose(found["delta"], -np.exp(-1.0), rtol=1e-6)


@pytest.mark.parametrize("vol", [0.0, 0.001, 0.01, 0.2, 0.6])
def test_a_dividend_that_leaves_nothing(vol):
    """What is left of the spot is next to nothing: the put is worth at most the strike, discounted."""
    paid = [(0.25, 30.0), (1.0, 5.0)]
    made = options.finite_difference(25.0, 100.0, 1.0, 0.05, 0.02, vol, False, dividends=paid, model="piecewise",
                                     american=False, outputs="all")  # fmt: skip
    assert made["status"] == 0
    most = 100.0 * np.exp(-0.05)
    assert 0.98 * most < made["price"] <= most * (1.0 + 1e-6)
