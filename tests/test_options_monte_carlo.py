# SPDX-License-Identifier: Apache-2.0
"""Monte Carlo: its numbers, prices against tables and closed forms, Greeks against differences on the same paths."""

from __future__ import annotations

import csv
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import warpquant
from checks import executions, same_bits
from warpquant import config, options
from warpquant.errors import DTypeError, ParameterError, ShapeError
from warpquant.options import random

#: Errors that an estimate may be off by: a chance of 6e-5 for one number, and the seeds are fixed.
SIGMAS = 4.0


def rows_of(shared, name):
    path = shared / "data/oracles" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def close(made, want, name="price", slack=0.0):
    """Within the standard errors, which must not be empty words."""
    error = np.asarray(made[f"{name}_error"])
    assert np.isfinite(error).all()
    off = abs(np.asarray(made[name]) - want)
    assert (off <= SIGMAS * error + slack).all(), (name, made[name], want, error)


# ---------------------------------------------------------------------------------------------- numbers

# From the file kat_vectors of Random123, which comes with the paper.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, words):
    assert random.philox(counter, key) == words


def slow_philox(counter, key):
    """The paper's definition."""
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [(b >> 32) ^ x[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(x)


@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
def test_philox_is_the_definition(counter, key):
    assert random.philox(counter, key) == slow_philox(counter, key)


@pytest.mark.parametrize("offset", [0, 5, 2**32 - 3, 2**40 + 1])
def test_uniforms_are_made_of_counters(offset):
    seed = 0x0123456789ABCDEF
    made = random.uniforms(11, 5, seed=seed, offset=offset)
    for path, dim in itertools.product(range(11), range(5)):
        number = offset + path
        words = slow_philox((dim // 2, 0, number & 0xFFFFFFFF, number >> 32), (seed & 0xFFFFFFFF, seed >> 32))
        high, low = words[2 * (dim % 2) : 2 * (dim % 2) + 2]
        assert made[path, dim] == (2 * ((high << 20) | (low >> 12)) + 1) / 2**53


def test_numbers_have_the_same_bits_everywhere(simd_levels):
    kinds = [
        dict(sampling="philox"),
        *(dict(sampling="sobol", scramble=s) for s in ("owen", "shift", "none")),
    ]
    for kind in kinds:
        for offset in (0, 3):
            with config.override(simd="baseline", num_threads=1):
                want = random.normals(1003, 7, seed=9, offset=offset, **kind)
            for label in executions(simd_levels):
                same_bits(random.normals(1003, 7, seed=9, offset=offset, **kind), want, f"{kind} {label}")
            parts = [
                random.normals(n, 7, seed=9, offset=offset + a, **kind)
                for a, n in ((0, 1), (1, 500), (501, 502))
            ]  # fmt: skip
            same_bits(np.concatenate(parts), want, "parts")


def test_inverse_normal_is_right_to_the_last_places():
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(3)
    p = np.concatenate([rng.random(200), 10.0 ** rng.uniform(-300, 0, 100), 1 - 10.0 ** rng.uniform(-15, 0, 60)])
    made = random.inverse_normal_cdf(p)
    with mpmath.workdps(40):
        for x, y in zip(p, made, strict=True):
            lower, sign = (mpmath.mpf(x), 1) if x <= 0.5 else (1 - mpmath.mpf(x), -1)
            z = mpmath.mpf(sign * y)
            for _ in range(3):  # Halley's steps from where it is
                u = (mpmath.erfc(-z / mpmath.sqrt(2)) / 2 - lower) / mpmath.npdf(z)
                z -= u / (1 + z * u / 2)
            assert abs(mpmath.mpf(float(sign * y)) - z) <= 3 * 2.0**-52 * abs(z), (x, y)


def test_inverse_normal_at_the_ends(simd_levels):
    edge = [0.0, 1.0, 0.5, -0.1, 1.1, np.nan, np.inf, 5e-324, 1 - 2.0**-53, 2.0**-53]
    for label in executions(simd_levels):
        made = random.inverse_normal_cdf(edge)
        assert made[0] == -np.inf, label
        assert made[1] == np.inf
        assert made[2] == 0.0
        assert np.isnan(made[3:7]).all()
        assert made[7] == pytest.approx(-38.467405617144344, rel=1e-15)
        assert made[8] == -made[9] == pytest.approx(8.209536151601387, rel=1e-15)
    assert random.inverse_normal_cdf(0.975) == pytest.approx(1.959963984540054, rel=1e-15)
    with pytest.raises(DTypeError, match="p:"):
        random.inverse_normal_cdf("x")


def test_sobol_points_are_those_of_scipy():
    qmc = pytest.importorskip("scipy.stats.qmc")
    theirs = qmc.Sobol(1024, scramble=False).random(256)
    made = random.sobol(256, 1024, scramble="none")
    gray = np.arange(256) ^ (np.arange(256) >> 1)
    np.testing.assert_array_equal(np.floor(made[gray] * 2.0**30), theirs * 2.0**30)


@pytest.mark.parametrize("scramble", ["none", "shift", "owen"])
def test_sobol_points_are_even(scramble):
    """Of 256 points each interval of 1/256 has one in every dimension, each of 16 x 16 boxes of the first two, too."""
    points = random.sobol(256, 300, scramble=scramble, seed=4)
    cells = np.sort(np.floor(points * 256).astype(int), axis=0)
    assert (cells == np.arange(256)[:, None]).all()
    boxes = np.floor(points[:, :2] * 16).astype(int)
    assert len({tuple(b) for b in boxes}) == 256


def test_owen_scrambling_is_one():
    """Digits before which two points agree stay equal, the next one stays different: a nested permutation."""
    bits = 20
    plain = np.floor(random.sobol(512, 3, scramble="none") * 2**bits).astype(np.int64)
    mixed = np.floor(random.sobol(512, 3, seed=8) * 2**bits).astype(np.int64)
    for dim in range(3):
        agree = np.where(
            (x := plain[:, None, dim] ^ plain[None, :, dim]) == 0, 0, np.floor(np.log2(np.maximum(x, 1))) + 1
        )
        after = np.where(
            (y := mixed[:, None, dim] ^ mixed[None, :, dim]) == 0, 0, np.floor(np.log2(np.maximum(y, 1))) + 1
        )
        np.testing.assert_array_equal(agree, after)
    first = [random.sobol(1, 1, seed=s)[0, 0] for s in range(2000)]
    assert abs(np.mean(first) - 0.5) < 4 / math.sqrt(12 * 2000)
    assert abs(np.var(first) - 1 / 12) < 0.01


@pytest.mark.parametrize("bridge", [False, True])
@pytest.mark.parametrize("sampling", ["philox", "sobol"])
def test_brownian_motion_has_its_covariance(sampling, bridge):
    times = np.array([0.1, 0.15, 0.5, 0.9, 1.0, 1.7])
    w = random.brownian(1 << 15, times, sampling=sampling, bridge=bridge, seed=2)
    np.testing.assert_allclose(w.T @ w / len(w), np.minimum.outer(times, times), atol=0.03)
    if not bridge:
        z = random.normals(1 << 15, 6, sampling=sampling, seed=2)
        same_bits(w, np.cumsum(np.sqrt(np.diff(times, prepend=0.0)) * z, axis=1), "steps")


def test_the_bridge_draws_the_end_first():
    z = random.normals(100, 5, sampling="sobol")
    w = random.brownian(100, [1.0, 2.0, 3.0, 4.0, 5.0], sampling="sobol")
    same_bits(w[:, 4], math.sqrt(5.0) * z[:, 0])


# ---------------------------------------------------------------------------------------------- European options


@pytest.mark.parametrize("sampling", ["philox", "sobol"])
def test_european_options_agree_with_the_closed_form(sampling):
    strikes, calls = np.array([80.0, 100.0, 130.0])[:, None], np.array([True, False])
    arguments = (100.0, strikes, 0.7, 0.03, 0.01, 0.25, calls)
    made = options.european_mc(*arguments, outputs="all", sampling=sampling, seed=1)
    names = ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta")
    exact = options.greeks(*arguments, outputs=names)
    for name in names:
        assert made[name].shape == (3, 2)
        close(made, exact[name], name)
    # Points that fill the cube do better than random ones.
    assert (made["price_error"] < (0.01 if sampling == "sobol" else 0.2)).all()


@pytest.mark.parametrize("sampling", ["philox", "sobol"])
def test_standard_errors_are_honest(sampling):
    """Of 200 runs about 95 % cover the value with 1.96 errors (Student's 2.13 for 16 replicates)."""
    exact = options.price(100.0, 105.0, 1.0, 0.02, 0.0, 0.2, True)["price"]
    covered, scores = 0, []
    for seed in range(200):
        made = options.european_mc(
            100.0, 105.0, 1.0, 0.02, 0.0, 0.2, True, paths=2048, seed=seed, sampling=sampling, num_threads=1
        )
        score = (made["price"] - exact) / made["price_error"]
        covered += abs(score) < (1.96 if sampling == "philox" else 2.131)
        scores.append(score)
    assert 180 <= covered <= 199
    assert abs(np.mean(scores)) < 4 / math.sqrt(200)


def test_prices_are_those_of_the_paths():
    """The same mean as NumPy's from the numbers that the package gives."""
    paths, times = 5000, np.arange(1, 8) / 7
    w = random.brownian(paths, times, seed=3)
    x = (0.05 - 0.01 - 0.02) * 2.0 * times + 0.2 * math.sqrt(2.0) * w
    average = 100.0 * np.exp(x).mean(axis=1)
    payoff = math.exp(-0.1) * np.maximum(average - 105.0, 0.0)
    made = options.asian_mc(
        100.0, 105.0, 2.0, 0.05, 0.01, 0.2, True, fixings=7, control_variate=False, paths=paths, seed=3
    )
    assert made["price"] == pytest.approx(payoff.mean(), rel=1e-13)
    assert made["price_error"] == pytest.approx(payoff.std(ddof=1) / math.sqrt(paths), rel=1e-12)


# ---------------------------------------------------------------------------------------------- Asian options


def fixings_of(first, length, count):
    """Dates in parts of the time to expiry, which is the last of them."""
    return (first + length / (count - 1) * np.arange(count)) / (first + length)


def test_asian_options_of_levy(shared):
    for row in rows_of(shared, "asian_discrete_arithmetic_price.csv"):
        number = {k: float(v) for k, v in row.items() if k not in ("type", "source")}
        count = int(number["fixings"])
        dates = fixings_of(number["first_fixing"], number["length"], count)
        made = options.asian_mc(
            number["spot"], number["strike"], number["first_fixing"] + number["length"], number["r"], number["q"],
            number["vol"], row["type"], fixings=dates, paths=1 << (16 if count < 200 else 13), seed=11,
        )  # fmt: skip
        # The table comes from a simulation: its rows scatter about the truth (see the next test) by up to 0.41 %.
        close(made, number["value"], slack=5e-3 * number["value"])
        assert made["price_error"] < 1e-3


@pytest.mark.parametrize("is_call", [True, False])
def test_two_dates_by_quadrature(is_call):
    """Given the first price the rest is a European option with another strike, in closed form."""
    spot, strike, expiry, rate, dividend, vol, first = 90.0, 87.0, 1.1666, 0.025, 0.06, 0.13, 0.25
    x, w = np.polynomial.hermite_e.hermegauss(100)
    known = spot * np.exp((rate - dividend - vol**2 / 2) * first + vol * math.sqrt(first) * x)
    left, years = 2 * strike - known, expiry - first
    surely = known * math.exp(-dividend * years) - left * math.exp(-rate * years) if is_call else 0.0 * left
    european = options.price(known, np.maximum(left, 1.0), years, rate, dividend, vol, is_call)["price"]
    later = np.where(left > 0, european, surely)
    exact = math.exp(-rate * first) * 0.5 * (w * later).sum() / w.sum()
    made = options.asian_mc(
        spot, strike, expiry, rate, dividend, vol, is_call, fixings=[first / expiry, 1.0], sampling="sobol", seed=2
    )
    close(made, exact)
    assert made["price_error"] < 2e-4


def test_continuous_asian_options_of_vecer(shared):
    for row in rows_of(shared, "asian_vecer.csv"):
        number = {k: float(v) for k, v in row.items() if k != "source"}
        made = options.asian_mc(
            number["spot"], number["strike"], number["years"], number["r"], 0.0, number["vol"], True, fixings=64,
            averaging="continuous", sampling="sobol", paths=1 << 14, seed=5,
        )  # fmt: skip
        close(made, number["value"], slack=number["tol"] + 2e-5 * number["spot"])
        assert made["price_error"] < 3e-4


def geometric(spot, strike, expiry, rate, dividend, vol, sign, times):
    """The discrete geometric average in closed form, with NumPy."""
    n = len(times)
    mean = math.log(spot) + (rate - dividend - vol * vol / 2) * expiry * np.mean(times)
    variance = vol * vol * expiry * np.minimum.outer(times, times).sum() / n**2
    d2 = (mean - math.log(strike)) / math.sqrt(variance)
    cdf = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
    forward = math.exp(mean + variance / 2)
    return math.exp(-rate * expiry) * sign * (
        forward * cdf(sign * (d2 + math.sqrt(variance))) - strike * cdf(sign * d2)
    )  # fmt: skip


def test_the_geometric_average_is_the_table_s(shared):
    """The formula that the control has, by the published value."""
    row = rows_of(shared, "asian_geometric.csv")[1]
    n = int(row["fixings"])
    made = geometric(100.0, 100.0, 1.0, 0.06, 0.03, 0.2, 1, np.arange(1, n + 1) / n)
    assert made == pytest.approx(float(row["value"]), abs=1e-9)


def test_the_control_does_not_move_the_mean_and_pays():
    arguments = (100.0, [90.0, 100.0, 115.0], 1.0, 0.04, 0.01, 0.3, [True, False, True])
    plain = options.asian_mc(*arguments, fixings=20, control_variate=False, outputs="all", seed=2, paths=1 << 17)
    better = options.asian_mc(*arguments, fixings=20, outputs="all", seed=12)
    for name in ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta"):
        both = {name: better[name], f"{name}_error": np.hypot(better[f"{name}_error"], plain[f"{name}_error"])}
        close(both, plain[name], name)
        assert (better[f"{name}_error"] < plain[f"{name}_error"]).all()
    assert (better["price_error"] < plain["price_error"] / 10).all()


@pytest.mark.parametrize("first", [0.0, 0.1])
def test_asian_greeks_are_the_differences(first):
    """Central differences on the same paths; gamma, which the kink keeps from that, of the pathwise delta."""
    dates = np.linspace(first, 1.0, 9)
    base = dict(spot=100.0, strike=102.0, expiry=1.3, rate=0.04, dividend=0.015, vol=0.3, is_call=True)

    def price(name="price", **changed):
        return options.asian_mc(**{**base, **changed}, fixings=dates, outputs=("price", name), seed=6)[name]

    made = options.asian_mc(**base, fixings=dates, outputs="all", seed=6)
    for name, argument in (
        ("delta", "spot"), ("vega", "vol"), ("rho", "rate"), ("epsilon", "dividend"), ("dual_delta", "strike"),
    ):  # fmt: skip
        h = base[argument] * 1e-3
        slope = (price(**{argument: base[argument] + h}) - price(**{argument: base[argument] - h})) / (2 * h)
        # The factor of the control is estimated in each run.
        assert made[name] == pytest.approx(slope, abs=3 * made[f"{name}_error"] + 1e-4 * abs(slope)), name
    h = 2.0
    curve = (price("delta", spot=100.0 + h) - price("delta", spot=100.0 - h)) / (2 * h)
    close(made, curve, "gamma", slack=0.01 * abs(curve))

    def by_time(h):
        """All dates closer by h years, but the one that is now."""
        left = 1.3 - h
        moved = np.r_[dates[dates == 0.0], (dates[dates > 0.0] * 1.3 - h) / left]
        return options.asian_mc(**{**base, "expiry": left}, fixings=moved, seed=6)["price"]

    decay = (by_time(1e-3) - by_time(-1e-3)) / 2e-3
    assert made["theta"] == pytest.approx(decay, abs=3 * made["theta_error"] + 2e-3 * abs(decay))


def test_calls_less_puts_are_forwards():
    dates = np.arange(1, 13) / 12
    arguments = (100.0, 95.0, 1.0, 0.05, 0.02, 0.2)
    call, put = (
        options.asian_mc(*arguments, flag, fixings=12, control_variate=False, sampling="sobol") for flag in "cp"
    )
    forward = math.exp(-0.05) * (100.0 * np.exp(0.03 * dates).mean() - 95.0)
    assert call["price"] - put["price"] == pytest.approx(forward, abs=5e-4)


CORRELATION = [[1.0, 0.3, -0.2], [0.3, 1.0, 0.5], [-0.2, 0.5, 1.0]]
SURFACE = dict(times=[0.0, 0.6], spots=[80.0, 100.0, 125.0], vols=[[0.3, 0.2, 0.19], [0.28, 0.21, 0.2]])


def every_product(**where):
    """One of each kind, with all results, random numbers and Sobol points, in blocks of paths that are not full."""
    strikes = np.linspace(80.0, 120.0, 70)
    common, points = dict(outputs="all", seed=21, **where), dict(sampling="sobol")
    european = (100.0, strikes, 1.0, 0.05, 0.0, 0.2, True)
    barrier = (100.0, 100.0, 1.0, 0.05, 0.0, 0.2, True, 90.0)
    basket = ([90.0, 100.0, 110.0], 100.0, 1.0, 0.05, 0.0, 0.2, CORRELATION, True)
    return [
        options.asian_mc(*european, fixings=5, paths=1003, **common),
        options.asian_mc(*european, fixings=5, paths=1024, **points, **common),
        options.barrier_mc(*barrier, rebate=2.0, paths=1003, **common),
        options.barrier_mc(*barrier, "down-in", paths=512, **points, **common),
        options.digital_mc(*european, payoff="asset", paths=300, **common),
        options.european_mc(*european, paths=300, **{**common, "outputs": "price"}),
        options.basket_mc(*basket, paths=1003, weights=[0.5, 0.25, 0.25], **common),
        options.basket_mc(*basket, paths=512, payoff="worst_of", **points, **common),
        options.local_vol_mc(100.0, 100.0, 1.0, 0.05, 0.0, True, steps=7, paths=1003, **SURFACE, **common),
        options.local_vol_mc(100.0, 100.0, 1.0, 0.05, 0.0, False, steps=5, paths=512, payoff="asian", **points,
                             **SURFACE, **common),
    ]  # fmt: skip


def same_results(made, want, label):
    for product, (one, expected) in enumerate(zip(made, want, strict=True)):
        assert one.keys() == expected.keys()
        for name, value in expected.items():
            same_bits(one[name], value, f"{label} {product} {name}")


def test_results_have_the_same_bits_everywhere(simd_levels):
    with config.override(simd="baseline", num_threads=1):
        want = every_product()
    for label in executions(simd_levels):
        same_results(every_product(), want, label)


# ---------------------------------------------------------------------------------------------- devices


def test_devices_have_the_bits_of_the_cpu(device):
    same_results(every_product(device=device), every_product(device="cpu"), device)


def test_devices_take_blocks_of_paths_in_turn(device):
    """More paths in a block than threads walk at a time, and so many sums that fewer threads fit."""
    many = dict(paths=(1 << 15) + 40_000, seed=2)
    assets = 120
    wide = dict(
        spot=np.linspace(90.0, 110.0, assets), strike=100.0, expiry=1.0, rate=0.02, dividend=0.0, vol=0.2,
        correlation=np.full((assets, assets), 0.3) + 0.7 * np.eye(assets), is_call=True,
        weights=np.full(assets, 1.0 / assets), paths=64, outputs=("price", "vega", "gamma"),
    )  # fmt: skip

    def all_of_it(where):
        common = dict(many, device=where)
        return [
            options.asian_mc(100.0, [95.0, 105.0], 1.0, 0.05, 0.0, 0.2, True, fixings=2, **common),
            options.basket_mc([90.0, 100.0], 95.0, 1.0, 0.0, 0.0, 0.2, np.eye(2), True, outputs=("price", "delta"),
                              **common),
            options.local_vol_mc(100.0, 100.0, 1.0, 0.05, 0.0, True, steps=2, outputs=("price", "vega"), **SURFACE,
                                 **common),
            options.basket_mc(**wide, device=where),
        ]  # fmt: skip

    same_results(all_of_it(device), all_of_it("cpu"), device)


def test_numbers_of_a_device_have_the_bits_of_the_cpu(device):
    for kind in (dict(), dict(sampling="sobol"), dict(sampling="sobol", scramble="none", offset=5)):
        for make in (
            lambda **where: random.uniforms(131, 3, seed=4, **kind, **where),  # noqa: B023
            lambda **where: random.normals(300, 4, seed=4, **kind, **where),  # noqa: B023
            lambda **where: random.brownian(131, [0.3, 0.7, 1.0], seed=4, **kind, **where),  # noqa: B023
        ):
            made = make(device=device)
            same_bits(made if device == "cpu" else made.to_numpy(), make(), f"{device} {kind}")
    with config.override(device=device):  # which is for calls whose results come back
        assert isinstance(random.normals(3, 2), np.ndarray)
    none = random.normals(0, 3, device=device)
    assert tuple(none.shape) == (0, 3)


def test_streams_of_devices(device):
    if device == "cpu":
        with pytest.raises(ParameterError, match="stream: goes with a device"):
            options.european_mc(*EUROPEAN, paths=9, device="cpu", stream=1)
        return
    want = options.european_mc(*EUROPEAN, paths=500)
    own = warpquant.Stream(device)
    assert options.european_mc(*EUROPEAN, paths=500, device=device, stream=own) == want
    with own:
        assert options.european_mc(*EUROPEAN, paths=500, device=device) == want
        made = random.normals(100, 2, device=device)
        same_bits(made.to_numpy(), random.normals(100, 2))
    with pytest.raises(ParameterError, match="prepare"):
        warpquant.prepare(options.european_mc, *EUROPEAN, paths=9, device=device)


EUROPEAN = (100.0, 100.0, 1.0, 0.05, 0.0, 0.2, True)


def test_rows_are_what_they_are_alone():
    strikes = np.linspace(70.0, 140.0, 131)
    whole = options.asian_mc(100.0, strikes, 1.0, 0.05, 0.0, 0.2, True, fixings=4, paths=999, outputs="all")
    for i in (0, 63, 64, 130):
        alone = options.asian_mc(100.0, strikes[i], 1.0, 0.05, 0.0, 0.2, True, fixings=4, paths=999, outputs="all")
        assert {k: v[i] for k, v in whole.items()} == alone


# ---------------------------------------------------------------------------------------------- asian(method=...)


def test_asian_by_paths_is_asian_mc():
    arguments = (100.0, np.array([95.0, 105.0]), 1.5, 0.04, 0.01, 0.25, [True, False])
    plan = dict(paths=4096, seed=3, outputs=("price", "gamma"))
    for fixings, own in (
        (12, dict(fixings=12)), (0, dict(fixings=64, averaging="continuous")), (1, dict(fixings=1)),
    ):  # fmt: skip
        made = options.asian(*arguments, method="monte_carlo", fixings=fixings, **plan)
        same_results([made], [options.asian_mc(*arguments, **own, **plan)], fixings)
    delayed = options.asian(*arguments, method="monte_carlo", fixings=5, first=0.5, **plan)
    dates = [(0.5 + k / 4) / 1.5 for k in range(5)]
    want = options.asian_mc(*arguments, fixings=dates, **plan)
    np.testing.assert_allclose(delayed["price"], want["price"], rtol=1e-12)
    usual = ("price", "delta", "gamma", "vega", "theta", "rho")
    made = options.asian(*arguments, method="monte_carlo", steps=7, paths=64)
    want = options.asian_mc(*arguments, fixings=7, averaging="continuous", paths=64, outputs=usual)
    same_results([made], [want], "steps")


AVERAGES = [
    dict(fixings=12),
    dict(fixings=52, first=0.25),
    dict(fixings=0),
    dict(fixings=0, first=0.4),
    dict(fixings=4, past=97.0, past_weight=0.3),
]
#: What a formula is off by at a vol of 0.4 and a spot of 100, besides chance; with the square of the vol at others.
SLACK = {
    "curran": dict(price=0.008, delta=0.0, vega=0.0, rho=0.0, epsilon=0.0, dual_delta=0.0),
    "turnbull_wakeman": dict(price=0.2, delta=0.012, vega=1.2, rho=0.6, epsilon=0.6, dual_delta=0.012),
}


def close_to_the_truth(vol, terms):
    """Errors of both formulas in prices, and standard errors, once everything was found within bounds."""
    strike = np.array([85.0, 100.0, 120.0])[:, None]
    arguments = (100.0, strike, 1.0, 0.04, 0.01, vol, np.array([True, False]))
    more = dict(outputs=tuple(SLACK["curran"]), **terms)
    truth = options.asian(*arguments, method="monte_carlo", sampling="sobol", seed=1, paths=1 << 14, **more)
    off = {}
    for method, slacks in SLACK.items():
        made = options.asian(*arguments, method=method, **more)
        for name, slack in slacks.items():
            limit = 5 * truth[f"{name}_error"] + slack * max((vol / 0.4) ** 2, 0.25 * (name != "price"))
            assert (abs(made[name] - truth[name]) <= limit + 1e-9).all(), (method, name)
        off[method] = abs(made["price"] - truth["price"])
    return off, truth["price_error"]


@pytest.mark.parametrize("terms", AVERAGES)
def test_approximations_of_averages_against_the_truth(terms):
    """Curran's formula and Turnbull and Wakeman's, and their Greeks: the paths tell them apart."""
    for vol in (0.1, 0.2):
        close_to_the_truth(vol, terms)
    off, error = close_to_the_truth(0.4, terms)
    assert off["turnbull_wakeman"].max() > 10 * error.max()
    assert off["turnbull_wakeman"].max() > 5 * off["curran"].max()


def test_an_average_of_one_price_is_the_price():
    off, error = close_to_the_truth(0.4, dict(fixings=1))
    assert max(off["curran"].max(), off["turnbull_wakeman"].max(), error.max()) < 1e-12


def test_what_the_known_prices_have_decided():
    """The strike that is left is below 0: a call is a forward, a put nothing, and there is no error."""
    arguments = (100.0, 90.0, 1.0, 0.05, 0.02, 0.2, np.array([True, False]))
    known = dict(fixings=4, past=200.0, past_weight=0.5, outputs="all")
    made = options.asian(*arguments, method="monte_carlo", paths=64, **known)
    want = options.asian(*arguments, method="curran", **known)
    for name in ("price", "delta", "theta", "dual_delta"):
        np.testing.assert_array_equal(made[name], want[name])
        assert (made[f"{name}_error"] == 0.0).all()


def test_rows_of_averages_go_their_own_ways():
    """Rows of any fixings and first dates in a call are what they are alone; those without a meaning are NaN."""
    fixings = np.array([12.0, 0.0, 4.0, 1.0, 2.5, 12.0, 12.0])
    first = np.array([0.5, 0.0, 0.25, 0.1, 0.0, 2.0, np.nan])
    past_weight = np.array([0.0, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0])
    common = dict(method="monte_carlo", past=101.0, paths=200, seed=8, outputs="all")
    arguments = (100.0, 101.0, 1.0, 0.03, 0.0, 0.3, True)
    made = options.asian(*arguments, fixings=fixings, first=first, past_weight=past_weight, **common)
    for k in range(4):
        alone = options.asian(*arguments, fixings=fixings[k], first=first[k], past_weight=past_weight[k], **common)
        assert {name: value[k] for name, value in made.items()} == alone
    for value in made.values():
        assert np.isnan(value[4:]).all()
    target = np.empty(7)
    again = options.asian(
        *arguments, fixings=fixings, first=first, past_weight=past_weight, out={"price_error": target}, **common
    )
    assert again["price_error"] is target
    np.testing.assert_array_equal(target, made["price_error"])
    for wrong, words in (
        (dict(width=3), "width: method='monte_carlo' has no such option"),
        (dict(outputs="vanna"), "outputs"),
        (dict(steps=0), "steps"),
        (dict(out={"vega": target}, outputs="price"), "out: 'vega'"),
    ):
        with pytest.raises(ParameterError, match=words):
            options.asian(*arguments, **{**common, **wrong})
    with pytest.raises(ShapeError, match=r"out\[price\]"):
        options.asian(*arguments, **{**common, "out": {"price": target}})


# ---------------------------------------------------------------------------------------------- barriers and digitals


@pytest.mark.parametrize("sampling", ["philox", "sobol"])
@pytest.mark.parametrize("kind", ["cash", "asset"])
def test_digitals_agree_with_the_closed_form(kind, sampling):
    spot, strike, expiry, rate, dividend, vol = 100.0, 95.0, 0.8, 0.05, 0.02, 0.3

    def exact(spot=spot, expiry=expiry, rate=rate, dividend=dividend, vol=vol):
        d2 = (math.log(spot / strike) + (rate - dividend - vol * vol / 2) * expiry) / (vol * math.sqrt(expiry))
        d1 = d2 + vol * math.sqrt(expiry)
        if kind == "cash":
            return 10.0 * math.exp(-rate * expiry) * 0.5 * math.erfc(d2 / math.sqrt(2))
        return spot * math.exp(-dividend * expiry) * 0.5 * math.erfc(d1 / math.sqrt(2))

    made = options.digital_mc(
        spot,
        strike,
        expiry,
        rate,
        dividend,
        vol,
        False,
        payoff=kind,
        cash=10.0,
        outputs="all",
        sampling=sampling,
        seed=7,
    )
    close(made, exact())
    slope = options.differentiate
    close(made, slope(lambda s: exact(spot=s), spot), "delta")
    close(made, slope(lambda s: exact(spot=s), spot, order=2), "gamma", slack=1e-6)
    close(made, slope(lambda s: exact(vol=s), vol), "vega")
    close(made, -slope(lambda s: exact(expiry=s), expiry), "theta")
    close(made, slope(lambda s: exact(rate=s), rate), "rho")
    close(made, slope(lambda s: exact(dividend=s), dividend), "epsilon")


def test_digitals_of_haug(shared):
    for row in rows_of(shared, "digital_european.csv"):
        if row["payoff"] == "gap":
            continue
        kind = "cash" if row["payoff"].startswith("cash") else "asset"
        number = {k: float(row[k]) for k in ("spot", "strike", "t", "r", "q", "vol", "value", "tol")}
        made = options.digital_mc(
            number["spot"], number["strike"], number["t"], number["r"], number["q"], number["vol"], row["type"],
            payoff=kind, cash=float(row["cash"] or 1), sampling="sobol", paths=1 << 17,
        )  # fmt: skip
        close(made, number["value"], slack=number["tol"])


@pytest.mark.parametrize("kind", ["down-out", "up-out", "down-in", "up-in"])
def test_barriers_are_those_of_the_paths(kind):
    """NumPy on the same paths, rebates included."""
    paths, times, rate = 4000, np.arange(1, 7) / 6, 0.06
    spot, strike, level, expiry, dividend, vol, rebate = (
        100.0,
        100.0,
        92.0 if "down" in kind else 109.0,
        1.5,
        0.02,
        0.25,
        3.0,
    )
    w = random.brownian(paths, times, seed=4)
    prices = spot * np.exp((rate - dividend - vol**2 / 2) * expiry * times + vol * math.sqrt(expiry) * w)
    beyond = prices <= level if "down" in kind else prices >= level
    hit, when = beyond.any(axis=1), times[beyond.argmax(axis=1)] * expiry
    vanilla = math.exp(-rate * expiry) * np.maximum(prices[:, -1] - strike, 0.0)
    if kind.endswith("out"):
        paid = np.where(hit, rebate * np.exp(-rate * when), vanilla)
    else:
        paid = np.where(hit, vanilla, rebate * math.exp(-rate * expiry))
    made = options.barrier_mc(
        spot, strike, expiry, rate, dividend, vol, True, level, kind, rebate=rebate, monitoring=6, paths=paths, seed=4,
        control_variate=False,
    )  # fmt: skip
    assert made["price"] == pytest.approx(paid.mean(), rel=1e-12)
    assert made["price_error"] == pytest.approx(paid.std(ddof=1) / math.sqrt(paths), rel=1e-10)


def test_barrier_greeks_are_the_differences():
    """Of prices on the same paths, with steps wide enough for their jumps; the errors of both count."""
    base = dict(spot=100.0, strike=100.0, barrier=90.0, expiry=1.0, rate=0.05, dividend=0.02, vol=0.25, is_call=True)
    common = dict(monitoring=4, rebate=1.0, seed=13, paths=1 << 18)
    made = options.barrier_mc(**base, **common, outputs="all")
    for name, argument, step in (
        ("delta", "spot", 2.0), ("vega", "vol", 0.02), ("rho", "rate", 0.01), ("epsilon", "dividend", 0.01),
        ("dual_delta", "strike", 1.0),
    ):  # fmt: skip
        up, down = (
            options.barrier_mc(**{**base, argument: base[argument] + s}, **common)["price"] for s in (step, -step)
        )
        slope = (up - down) / (2 * step)
        assert made[name] == pytest.approx(slope, abs=4 * made[f"{name}_error"] + 0.01 * abs(slope)), name
    h = 3.0
    up, middle, down = (options.barrier_mc(**{**base, "spot": 100.0 + s}, **common)["price"] for s in (h, 0.0, -h))
    assert made["gamma"] == pytest.approx((up - 2 * middle + down) / h**2, abs=4 * made["gamma_error"] + 2e-3)
    common["rebate"] = 0.0
    out, knocked_in = (
        options.barrier_mc(**base, **common, outputs="all", barrier_type=k) for k in ("down-out", "down-in")
    )
    vanilla = options.greeks(*(v for k, v in base.items() if k != "barrier"))
    for name in ("delta", "gamma", "vega", "theta", "rho"):
        assert out[name] + knocked_in[name] == pytest.approx(vanilla[name], rel=1e-9)


# ---------------------------------------------------------------------------------------------- baskets


def test_options_on_two_assets(shared):
    payoffs = {"MinBasket": "worst_of", "MaxBasket": "best_of", "SpreadBasket": "spread"}
    for row in rows_of(shared, "basket_two_asset.csv"):
        n = {k: float(row[k]) for k in ("strike", "s1", "s2", "q1", "q2", "r", "t", "v1", "v2", "corr", "value", "tol")}
        # Spreads of the table are between futures.
        yields = [n["r"]] * 2 if row["basket"] == "SpreadBasket" else [n["q1"], n["q2"]]
        made = options.basket_mc(
            [n["s1"], n["s2"]], n["strike"], n["t"], n["r"], yields, [n["v1"], n["v2"]],
            [[1.0, n["corr"]], [n["corr"], 1.0]], row["type"], payoff=payoffs[row["basket"]], sampling="sobol",
            paths=1 << 15,
        )  # fmt: skip
        # Their values are Kirk's approximation, which is right to some 0.1 %.
        slack = n["tol"] + (2e-3 * n["value"] if row["basket"] == "SpreadBasket" else 0.0)
        close(made, n["value"], slack=slack)


def test_a_spread_without_strike_is_an_exchange():
    """Margrabe: exact, also of correlated assets."""
    vol = math.sqrt(0.2**2 + 0.3**2 - 2 * 0.4 * 0.2 * 0.3)
    exact = options.price(100.0, 95.0, 0.5, 0.01, 0.03, vol, True)["price"]
    made = options.basket_mc(
        [100.0, 95.0], 0.0, 0.5, 0.05, [0.03, 0.01], [0.2, 0.3], [[1, 0.4], [0.4, 1]], True, payoff="spread",
        sampling="sobol",
    )  # fmt: skip
    close(made, exact)
    assert made["price_error"] < 0.01


BASKET = dict(
    spot=np.array([90.0, 100.0, 120.0, 80.0]),
    strike=98.0,
    expiry=1.2,
    rate=0.03,
    dividend=np.array([0.0, 0.01, 0.03, 0.02]),
    vol=np.array([0.2, 0.3, 0.25, 0.4]),
    correlation=np.array([[1, 0.4, 0.2, -0.1], [0.4, 1, 0.3, 0.1], [0.2, 0.3, 1, 0.5], [-0.1, 0.1, 0.5, 1.0]]),
    is_call=True,
    weights=np.array([0.3, 0.3, 0.2, 0.2]),
)


@pytest.mark.parametrize("payoff", ["basket", "best_of", "worst_of"])
def test_basket_greeks_are_the_differences(payoff):
    """Every input, by central differences of the price on the same paths."""
    base = dict(BASKET)
    if payoff != "basket":
        base["weights"] = np.ones(4)
    common = dict(payoff=payoff, control_variate=False, seed=5, paths=1 << 15)
    made = options.basket_mc(**base, **common, outputs="all")

    def slope(argument, index, h):
        prices = []
        for s in (h, -h):
            value = np.array(base[argument], dtype=float)
            if argument == "correlation":
                value[index] += s
                value[index[::-1]] += s
            else:
                value[index] += s
            prices.append(options.basket_mc(**{**base, argument: value}, **common)["price"])
        return (prices[0] - prices[1]) / (2 * h)

    def check(name, index, want, scale):
        assert made[name][index] == pytest.approx(want, rel=0, abs=1e-3 * scale + 0.1 * made[f"{name}_error"][index])

    for i in range(4):
        check("delta", i, slope("spot", i, 1e-3), 1.0)
        check("vega", i, slope("vol", i, 1e-5), 30.0)
        check("epsilon", i, slope("dividend", i, 1e-5), 50.0)
        for j in range(i):
            check("correlation", (i, j), slope("correlation", (i, j), 1e-4), 10.0)
            assert made["correlation"][j, i] == made["correlation"][i, j]
    for name, argument, sign, h in (
        ("rho", "rate", 1, 1e-5),
        ("theta", "expiry", -1, 1e-5),
        ("dual_delta", "strike", 1, 1e-2),
    ):
        assert made[name] == pytest.approx(sign * slope(argument, (), h), rel=2e-3, abs=1e-3)


def test_the_second_derivatives_of_a_basket():
    common = dict(control_variate=False, seed=5, paths=1 << 17, sampling="sobol")
    made = options.basket_mc(**BASKET, **common, outputs=("delta", "gamma"))
    for j in range(4):
        up, down = (
            options.basket_mc(**{**BASKET, "spot": BASKET["spot"] + s * np.eye(4)[j]}, **common, outputs=("delta",))
            for s in (2.0, -2.0)
        )
        want = (up["delta"] - down["delta"]) / 4.0
        off = abs(made["gamma"][:, j] - want)
        assert (off < 4 * made["gamma_error"][:, j] + 2e-4).all()
    np.testing.assert_array_equal(made["gamma"], made["gamma"].T)


def test_one_asset_is_a_vanilla_option():
    made = options.basket_mc(
        [[100.0], [105.0]], 100.0, 1.0, 0.05, 0.02, 0.2, [[1.0]], [True, False], sampling="sobol", outputs="all",
        control_variate=False,
    )  # fmt: skip
    exact = options.greeks(np.array([100.0, 105.0]), 100.0, 1.0, 0.05, 0.02, 0.2, [True, False], outputs="all")
    for name in ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta"):
        value = np.asarray(made[name]).reshape(2)
        error = np.asarray(made[f"{name}_error"]).reshape(2)
        close({name: value, f"{name}_error": error}, exact[name], name)
    assert (made["correlation"] == 0).all()


def test_controls_of_baskets_pay():
    exact = options.basket_mc(**BASKET, sampling="sobol", paths=1 << 18)
    for payoff in ("basket", "best_of", "worst_of"):
        base = BASKET if payoff == "basket" else {**BASKET, "weights": np.ones(4)}
        plain = options.basket_mc(**base, payoff=payoff, control_variate=False)
        better = options.basket_mc(**base, payoff=payoff)
        assert better["price_error"] < plain["price_error"]
        if payoff == "basket":
            close(plain, exact["price"])
            close(better, exact["price"])
            assert better["price_error"] < plain["price_error"] / 4


def test_singular_correlations():
    """Two assets that are one: prices exist, derivatives by the correlation do not."""
    made = options.basket_mc(
        [50.0, 50.0], 100.0, 1.0, 0.05, 0.0, 0.2, np.ones((2, 2)), True, outputs="all", sampling="sobol"
    )
    exact = options.price(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, True)["price"]
    close(made, exact, slack=1e-9)
    assert np.isnan(made["correlation"]).all()
    assert np.isnan(made["gamma"]).all()
    assert np.isfinite(made["delta"]).all()
    bad = options.basket_mc(
        [50.0] * 3, 100.0, 1.0, 0.05, 0.0, 0.2, [[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], True
    )
    assert np.isnan(bad["price"])


# ---------------------------------------------------------------------------------------------- local volatility

GRID = dict(
    times=np.array([0.0, 0.25, 0.6, 1.0]),
    spots=np.array([70.0, 90.0, 100.0, 115.0, 140.0]),
    vols=np.array([[0.34, 0.27, 0.23, 0.2, 0.19]] * 4) + np.array([[0.0], [-0.01], [-0.015], [-0.02]]),
)


def test_a_flat_surface_is_black_scholes():
    flat = {**GRID, "vols": np.full((4, 5), 0.2)}
    made = options.local_vol_mc(
        100.0, 105.0, 1.0, 0.03, 0.01, True, **flat, steps=8, outputs="all", sampling="sobol", paths=1 << 15
    )
    exact = options.greeks(100.0, 105.0, 1.0, 0.03, 0.01, 0.2, True, outputs="all")
    for name in ("price", "delta", "rho", "epsilon", "dual_delta"):
        close(made, exact[name], name)
    total = {"vega": made["vega"].sum(), "vega_error": np.linalg.norm(made["vega_error"])}
    close(total, exact["vega"], "vega")


@pytest.mark.parametrize("payoff", ["european", "asian"])
def test_every_vol_of_a_surface_in_one_sweep(payoff):
    """Each of the derivatives, and those by the other inputs, by differences on the same paths."""
    base = dict(spot=100.0, strike=100.0, expiry=0.9, rate=0.03, dividend=0.01, is_call=False)
    common = dict(steps=10, seed=3, paths=1 << 13, payoff=payoff)

    def plain(**changed):
        grid = {k: changed.pop(k, v) for k, v in GRID.items()}
        return options.local_vol_mc(**{**base, **changed}, **grid, **common, outputs="all")

    made = plain()
    sums = []
    for i, j in itertools.product(range(4), range(5)):
        prices = []
        for s in (1e-5, -1e-5):
            vols = GRID["vols"].copy()
            vols[i, j] += s
            prices.append(mean_of_paths(base, {**GRID, "vols": vols}, **common))
        want = (prices[0] - prices[1]) / 2e-5
        assert made["vega"][i, j] == pytest.approx(want, rel=1e-3, abs=2e-2 * made["vega_error"].max()), (i, j)
        sums.append(abs(want))
    assert max(sums) > 1.0
    for name, argument, h in (("delta", "spot", 1e-3), ("rho", "rate", 1e-5), ("epsilon", "dividend", 1e-5)):
        up, down = (mean_of_paths({**base, argument: base[argument] + s}, GRID, **common) for s in (h, -h))
        assert made[name] == pytest.approx((up - down) / (2 * h), rel=1e-3), name
    assert mean_of_paths(base, GRID, **common) == pytest.approx(made["price"], abs=4 * made["price_error"])


def mean_of_paths(base, grid, *, steps, seed, paths, payoff):
    """Euler's scheme with NumPy on the same numbers, without a control."""
    z = random.normals(paths, steps, seed=seed)
    x, dt = np.full(paths, math.log(base["spot"])), base["expiry"] / steps
    places, total = np.log(grid["spots"]), 0.0
    for k in range(steps):
        t = np.clip(k * dt, grid["times"][0], grid["times"][-1])
        i = min(np.searchsorted(grid["times"], t, side="right") - 1, len(grid["times"]) - 2)
        u = (t - grid["times"][i]) / (grid["times"][i + 1] - grid["times"][i])
        vols = (1 - u) * grid["vols"][i] + u * grid["vols"][i + 1]
        vol = np.interp(x, places, vols)
        x = x + (base["rate"] - base["dividend"] - vol * vol / 2) * dt + vol * math.sqrt(dt) * z[:, k]
        total = total + np.exp(x) / steps
    held = total if payoff == "asian" else np.exp(x)
    sign = 1 if base["is_call"] else -1
    return (math.exp(-base["rate"] * base["expiry"]) * np.maximum(sign * (held - base["strike"]), 0.0)).mean()


# ---------------------------------------------------------------------------------------------- callables


@pytest.mark.parametrize(("order", "bound"), [(1, 1e-9), (2, 1e-6), (3, 1e-4)])
def test_finite_differences(order, bound):
    x = np.array([[0.3, 1.0], [2.0, -1.5]])
    signs = {1: np.cos(x), 2: -np.sin(x), 3: -np.cos(x)}
    np.testing.assert_allclose(options.differentiate(np.sin, x, order=order), signs[order], rtol=bound)
    assert options.differentiate(np.exp, 0.0, order=order) == pytest.approx(1.0, rel=bound)


def test_the_complex_step_is_right_to_the_last_places():
    pytest.importorskip("scipy")
    spots = np.array([60.0, 95.0, 100.0, 130.0, 250.0])

    def call(s, vol=0.25):
        d1 = (np.log(s / 100.0) + 0.03) / vol + vol / 2
        return s * options.complex_normal_cdf(d1) - 100.0 * np.exp(-0.03) * options.complex_normal_cdf(d1 - vol)

    exact = options.greeks(spots, 100.0, 1.0, 0.03, 0.0, 0.25, True, outputs=("delta", "vega"))
    made = options.differentiate(call, spots, method="complex_step")
    np.testing.assert_allclose(made, exact["delta"], rtol=1e-13)
    vega = [options.differentiate(lambda v, s=s: call(s, v), 0.25, method="complex_step") for s in spots]
    np.testing.assert_allclose(vega, exact["vega"], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(method="secant"), ParameterError, "method"),
        (dict(order=4), ParameterError, "order"),
        (dict(order=2, method="complex_step"), ParameterError, "order"),
        (dict(step=-1.0), ParameterError, "step"),
        (dict(x="a"), DTypeError, "x:"),
        (dict(function=lambda x: [x, x]), ShapeError, "function"),
        (dict(function=lambda x: {"price": x}), DTypeError, "function"),
        (dict(function=3), DTypeError, "function"),
    ],
)
def test_what_differentiate_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        options.differentiate(**{"function": np.exp, "x": 1.0, **arguments})


# ---------------------------------------------------------------------------------------------- arguments


def test_kinds_of_arrays():
    pd = pytest.importorskip("pandas")
    strikes = pd.Series([90.0, 100.0], index=["a", "b"], name="strike")
    made = options.asian_mc(100.0, strikes, 1.0, 0.05, 0.0, 0.2, ["c", "p"], paths=100)
    assert list(made["price"].index) == ["a", "b"]
    assert made["price"].name == "price"
    wide = options.asian_mc(
        np.float32(100.0), np.array([[90.0], [100.0]])[::-1], 1, 0.05, np.zeros(3), 0.2, True, paths=100
    )
    assert wide["price"].shape == (2, 3)
    assert isinstance(options.asian_mc(100, 100, 1, 0.05, 0, 0.2, 1, paths=100)["price"], float)
    empty = options.asian_mc(np.empty(0), 100, 1, 0.05, 0, 0.2, True, paths=100)
    assert empty["price"].shape == (0,)
    locked = np.array([90.0, 110.0])
    locked.flags.writeable = False
    assert options.european_mc(locked, 100, 1, 0, 0, 0.2, "p", paths=9)["price"].shape == (2,)


def test_rows_that_are_no_options_are_nan_alone():
    spots = np.array([100.0, np.nan, -1.0, 0.0, np.inf, 100.0])
    good = options.asian_mc(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, True, paths=500, outputs="all")
    made = options.asian_mc(spots, 100.0, 1.0, 0.05, 0.0, 0.2, True, paths=500, outputs="all")
    for name, value in made.items():
        assert value[0] == value[5] == good[name]
        assert np.isnan(value[1:5]).all()
    for changed in (dict(expiry=0.0), dict(vol=0.0), dict(rate=np.nan), dict(is_call=7), dict(barrier=-1.0)):
        base = dict(spot=100.0, strike=100.0, barrier=90.0, expiry=1.0, rate=0.0, dividend=0.0, vol=0.2, is_call=1)
        assert np.isnan(options.barrier_mc(**{**base, **changed}, paths=100)["price"])
    assert np.isnan(options.basket_mc([1.0, np.nan], 1.0, 1.0, 0.0, 0.0, 0.2, np.eye(2), True, paths=100)["price"])
    nothing = options.local_vol_mc(100, 100, 1, 0, 0, True, times=[0], spots=[1], vols=[[0.0]], outputs="all", paths=9)
    assert all(np.isnan(v).all() for v in nothing.values())


def test_extreme_numbers_of_paths():
    one = options.asian_mc(100.0, 90.0, 1.0, 0.05, 0.0, 0.2, True, paths=1, control_variate=False)
    assert math.isfinite(one["price"])
    assert math.isnan(one["price_error"])
    single = options.european_mc(100.0, 90.0, 1.0, 0.05, 0.0, 0.2, True, paths=64, sampling="sobol", replicates=1)
    assert math.isnan(single["price_error"])
    assert random.normals(0, 3).shape == (0, 3)
    deep = options.european_mc(1e-150, 1e150, 1.0, 0.0, 0.0, 0.2, "c", outputs="all", paths=64)
    assert deep["price"] == 0.0
    long = options.asian_mc(100.0, 100.0, 30.0, 0.01, 0.0, 0.2, True, fixings=7500, paths=64)
    assert 0 < long["price"] < 100


ASIAN = dict(spot=100.0, strike=100.0, expiry=1.0, rate=0.0, dividend=0.0, vol=0.2, is_call=True, paths=64)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (dict(paths=0), ParameterError, "paths"),
        (dict(paths=1.5), ParameterError, "paths"),
        (dict(paths=True), ParameterError, "paths"),
        (dict(seed=-1), ParameterError, "seed"),
        (dict(seed=2**64), ParameterError, "seed"),
        (dict(offset=-1), ParameterError, "offset"),
        (dict(sampling="halton"), ParameterError, "sampling"),
        (dict(scramble="more"), ParameterError, "scramble"),
        (dict(sampling="sobol", replicates=5), ParameterError, "replicates"),
        (dict(sampling="sobol", fixings=1025), ParameterError, "sampling"),
        (dict(bridge="yes"), ParameterError, "bridge"),
        (dict(fixings=0), ParameterError, "fixings"),
        (dict(fixings=[0.5, 0.2]), ParameterError, "fixings"),
        (dict(fixings=[0.5, 1.2]), ParameterError, "fixings"),
        (dict(fixings=[0.0]), ParameterError, "fixings"),
        (dict(fixings=[[0.5]]), ShapeError, "fixings"),
        (dict(fixings=["a"]), DTypeError, "fixings"),
        (dict(averaging="other"), ParameterError, "averaging"),
        (dict(averaging="continuous", fixings=[0.5]), ParameterError, "fixings"),
        (dict(outputs="charm"), ParameterError, "outputs"),
        (dict(outputs=()), ParameterError, "outputs"),
        (dict(is_call="x"), ParameterError, "is_call"),
        (dict(spot="x"), DTypeError, "spot"),
        (dict(spot=np.ones(2), strike=np.ones(3)), ShapeError, "broadcast"),
        (dict(num_threads=0), ParameterError, "num_threads"),
    ],
)
def test_what_is_refused(changed, error, words):
    with pytest.raises(error, match=words):
        options.asian_mc(**{**ASIAN, **changed})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: options.barrier_mc(1, 1, 1, 0, 0, 1, 1, 1, "side"), ParameterError, "barrier_type"),
        (lambda: options.barrier_mc(1, 1, 1, 0, 0, 1, 1, 1, monitoring=[0.5]), ParameterError, "monitoring"),
        (lambda: options.digital_mc(1, 1, 1, 0, 0, 1, 1, outputs="dual_delta"), ParameterError, "outputs"),
        (lambda: options.basket_mc(1, 1, 1, 0, 0, 1, [[1]], 1), ShapeError, "spot"),
        (lambda: options.basket_mc([1, 1], 1, 1, 0, 0, 1, [[1]], 1), ShapeError, "correlation"),
        (lambda: options.basket_mc([1, 1], 1, 1, 0, 0, 1, [[1, 0], [0.1, 1]], 1), ParameterError, "symmetric"),
        (lambda: options.basket_mc([1, 1], 1, 1, 0, 0, 1, [[2, 0], [0, 1]], 1), ParameterError, "diagonal"),
        (lambda: options.basket_mc([1] * 3, 1, 1, 0, 0, 1, np.eye(3), 1, payoff="spread"), ShapeError, "spread"),
        (lambda: options.basket_mc([1, 1], 1, 1, 0, [0] * 3, 1, np.eye(2), 1), ShapeError, "broadcast"),
        (lambda: options.local_vol_mc([1], 1, 1, 0, 0, 1, times=[0], spots=[1], vols=[[1]]), ShapeError, "spot"),
        (lambda: options.local_vol_mc(1, 1, 1, 0, 0, 1, times=[0], spots=[1], vols=[1]), ShapeError, "vols"),
        (lambda: options.local_vol_mc(1, 1, 1, 0, 0, 1, times=[0], spots=[0], vols=[[1]]), ParameterError, "spots"),
        (lambda: random.philox((0, 0, 0), (0, 0)), ParameterError, "counter"),
        (lambda: random.philox((0, 0, 0, 2**32), (0, 0)), ParameterError, "counter"),
        (lambda: random.brownian(4, [0.0, 1.0]), ParameterError, "times"),
        (lambda: random.sobol(4, 1025), ParameterError, "sampling"),
        (lambda: random.uniforms(4, 0), ParameterError, "dims"),
    ],
)
def test_what_the_others_refuse(call, error, words):
    with pytest.raises(error, match=words):
        call()
