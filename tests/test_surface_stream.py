# SPDX-License-Identifier: Apache-2.0
"""Surfaces that move with quotes: streams and `Surface.update`."""

from __future__ import annotations

import itertools
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_surface_chain import quoted
from warpquant import config, options, surface
from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError

YEARS = np.array([0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
NAMES = tuple("abcdef")
K = np.linspace(-2.0, 1.5, 25) * np.sqrt(0.04 * YEARS)[:, None]
STRIKE = 100.0 * np.exp(K)
#: Of a few steps beside a whole fit: relative to the error, and absolute in volatility.
NEAR = 1e-3, 2e-5


def vol_of(level, rho=-0.6):
    theta = level * YEARS
    w = surface.ssvi(K, theta[:, None], rho, (0.9 / np.sqrt(theta))[:, None])["w"]
    return np.sqrt(w / YEARS[:, None])


def begun(model, level=0.04, **settings):
    """A stream that remembers all quotes of a level."""
    w = vol_of(level) ** 2 * YEARS[:, None]
    fit = surface.fit_essvi(K, w) if model == "essvi" else surface.fit_svi(K, w)
    made = surface.Surface(model, NAMES, YEARS, fit.parameters, np.full(6, 100.0), np.zeros(6))
    stream = surface.Stream(made, **settings)
    for name, strike, vol in zip(NAMES, STRIKE, vol_of(level), strict=True):
        assert stream.update(name, strike, vol, time=0.0 if settings.get("half_life") else None) == 25
    return stream


@pytest.fixture(params=["essvi", "svi"])
def model(request):
    return request.param


def test_streams_follow_the_market(model):
    rng = np.random.default_rng(0)
    stream, level, time = begun(model, half_life=20.0), 0.04, 0.0
    for _ in range(1500):
        time, level = time + 0.1, level * np.exp(0.001 * rng.normal())
        i, rows = int(rng.integers(6)), rng.choice(25, int(rng.integers(1, 6)), replace=False)
        vol = vol_of(level)[i, rows] * (1 + 0.001 * rng.normal(size=len(rows)))
        stream.update(NAMES[i], STRIKE[i, rows], vol, time=time)
        assert stream.rounds <= 6
    made = stream.surface()
    assert made.check().butterfly.free.all()
    if model == "essvi":
        assert made.check().ok
    years = made.years[:, None]
    np.testing.assert_allclose(np.sqrt(made.total_variance(K, years) / years), vol_of(level), rtol=0.03)
    np.testing.assert_allclose(made.years, YEARS - time / (365 * 86400), rtol=1e-12)
    assert (stream.rmse < 0.01 * 0.04 * YEARS).all()


def test_a_few_steps_are_as_good_as_a_fit(model):
    stream = begun(model)
    rng = np.random.default_rng(2)
    vol = vol_of(0.0405) * (1 + 0.001 * rng.normal(size=K.shape))
    for _ in range(3 if model == "essvi" else 1):  # an eSSVI slice moves between neighbours that have yet to move
        for name, strike, row in zip(NAMES, STRIKE, vol, strict=True):
            assert stream.update(name, strike, row) == 25
    w = vol**2 * YEARS[:, None]
    weight = np.stack([surface.vega_weights(row, values) for row, values in zip(K, w, strict=True)])
    whole = (
        surface.fit_essvi(K, w, weight / (0.04 * YEARS[:, None]) ** 2) if model == "essvi" else
        surface.fit_svi(K, w, weight)
    )  # fmt: skip
    best = np.sqrt(np.sum(weight * (made_of(model, whole) - w) ** 2, axis=1) / weight.sum(axis=1))
    if model == "svi":  # slices are fitted one by one
        assert (stream.rmse <= best * (1 + NEAR[0])).all()
    years = YEARS[:, None]
    made = stream.surface().total_variance(K, years)
    np.testing.assert_allclose(np.sqrt(made / years), np.sqrt(made_of(model, whole) / years), atol=5 * NEAR[1])


def made_of(model, fit):
    raw = surface.essvi_to_svi(fit.parameters) if model == "essvi" else fit.parameters
    return surface.svi(K, *(column[:, None] for column in raw.T))["w"]


def test_only_the_touched_slice_moves(model):
    stream = begun(model)
    before = stream.surface()
    assert stream.update("c", STRIKE[2], vol_of(0.041)[2]) == 25
    after = stream.surface()
    same = (before.parameters == after.parameters).all(axis=1)
    assert same.tolist() == [True, True, False, True, True, True]
    assert before.check().ok
    assert after.check().butterfly.free.all()
    if model == "essvi":  # though its neighbours have not moved yet
        assert after.check().ok
    assert after.vol(100.0, 0.25) > before.vol(100.0, 0.25)


def test_outliers_move_nothing_until_there_are_many(model):
    stream = begun(model, patience=4)
    before = stream.surface()
    for _ in range(3):
        assert stream.update("d", 100.0, 0.26) == 0
        assert surface.STREAM_STATUS[stream.status[0]] == "outlier"
    assert (stream.surface().parameters == before.parameters).all()
    # A good quote, and one off to the other side, begin the count again.
    assert stream.update("d", 100.0, float(before.vol(100.0, 0.5))) == 1
    assert stream.update("d", [100.0, 101.0], [0.26, 0.14]) == 0
    assert stream.status.tolist() == [1, 1]
    assert [stream.update("d", 100.0 + i, 0.26) for i in range(4)] == [0, 0, 0, 1]
    # Three that agree are a move of the market.
    other = begun(model)
    assert other.update("d", STRIKE[3, 10:14], vol_of(0.05)[3, 10:14]) == 4
    # A wide quote may be further away than a narrow one.
    assert other.update("e", 100.0, 0.205, spread=0.001) == 0
    assert other.update("e", 100.0, 0.205, spread=0.01) == 1


def test_quotes_are_replaced_fade_and_are_forgotten(model):
    stream = begun(model, half_life=10.0)
    stream.update("a", STRIKE[0, :3], vol_of(0.04)[0, :3], [0.5, 0.25, 1.0], time=0.0)
    strike, vol, weight = stream.surface().memory["a"]
    assert len(strike) == 25
    np.testing.assert_allclose(np.sort(strike), STRIKE[0], rtol=1e-14)
    np.testing.assert_allclose(weight[np.argsort(strike)][:3], [0.5, 0.25, 1.0])
    stream.update("a", STRIKE[0, 5], vol_of(0.04)[0, 5], 0.7, time=20.0)
    _, vol, weight = (column[np.argsort(strike)] for column in stream.surface().memory["a"])
    np.testing.assert_allclose(weight[[0, 1, 2, 5]], [0.125, 0.0625, 0.25, 0.7])
    np.testing.assert_allclose(vol, vol_of(0.04)[0], rtol=1e-14)
    stream.update("a", STRIKE[0, 6], vol_of(0.04)[0, 6], 0.7, time=20.0 + 300.0)
    assert len(stream.surface().memory["a"][0]) == 1  # 2^-30 of their weight
    # Where there is no room the one that counts least goes.
    small = begun(model, capacity=25)
    strike, _, weight = small.surface().memory["b"]
    assert small.update("b", 100.0, float(small.surface().vol(100.0, 0.1)), 1.0) == 1
    kept = small.surface().memory["b"][0]
    assert len(kept) == 25
    assert np.isclose(kept, 100.0).any()
    assert set(strike) - set(kept) == {strike[np.argmin(weight)]}


def test_forwards_and_time(model):
    stream = begun(model)
    before = stream.surface()
    stream.update("d", 102.0 * np.exp(K[3]), vol_of(0.04)[3], forward=102.0)
    after = stream.surface()
    assert after.forward.tolist() == [100.0, 100.0, 100.0, 102.0, 100.0, 100.0]
    stream.update("b", 100.0, 0.2, time=1000.0)
    stream.update("b", 100.0, 0.2, time=1000.0 + 0.06 * 365 * 86400)  # the first expiry has passed
    rest = stream.surface()
    assert rest.expiries == NAMES[1:]
    np.testing.assert_allclose(rest.years, YEARS[1:] - 0.06)
    assert rest.check().butterfly.free.all()
    np.testing.assert_allclose(rest.vol(100.0, 0.94), before.vol(100.0, 1.0), rtol=1e-6)  # volatilities stay
    with pytest.raises(ParameterError, match="has passed"):
        stream.update("a", 100.0, 0.2)


def test_quotes_that_are_no_numbers_change_nothing(model):
    stream = begun(model)
    for strike in (None, ["100"], np.array(["2024-01-01"], "M8[D]"), np.array([1j])):
        with pytest.raises(DTypeError, match="strike: cannot read numbers"):
            stream.update("a", strike, [0.2], forward=7.0)
    with pytest.raises(ShapeError, match="vol: has 1 quotes, but strike has 2"):
        stream.update("a", [90.0, 110.0], [0.2], forward=7.0)
    assert stream.surface().forward[0] == 100.0
    assert stream.update("a", STRIKE[0].astype(np.float32), vol_of(0.04)[0].astype(np.float32)) == 25


def test_streams_of_nonsense(model):
    stream = begun(model)
    before = stream.surface().parameters
    bad = [np.nan, np.inf, -1.0, 0.0]
    assert stream.update("a", [*bad, *[100.0] * 4, 100.0], [0.2] * 4 + [*bad, 0.2], [1.0] * 8 + [0.0]) == 0
    assert stream.status.tolist() == [2] * 9
    assert stream.update("a", [], []) == 0
    assert (stream.surface().parameters == before).all()
    with pytest.raises(ParameterError, match="'z' is none"):
        stream.update("z", 100.0, 0.2)
    with pytest.raises(ShapeError, match="vol: has 1 quotes, but strike has 2"):
        stream.update("a", [99.0, 100.0], 0.2)
    with pytest.raises(ParameterError, match="forward"):
        stream.update("a", 100.0, 0.2, forward=float("nan"))
    stream.update("a", 100.0, 0.2, time=5.0)
    with pytest.raises(ParameterError, match="before the last one"):
        stream.update("a", 100.0, 0.2, time=4.0)
    for settings in ({"half_life": 0.0}, {"outlier": -1.0}, {"patience": 0}, {"capacity": 2}):
        with pytest.raises(ParameterError, match=next(iter(settings))):
            surface.Stream(stream.surface(), **settings)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["essvi", "svi"]))
def test_no_quotes_make_arbitrage(seed, model):
    rng = np.random.default_rng(seed)
    stream = begun(model, patience=1)  # everything is believed
    for _ in range(12):
        i, count = int(rng.integers(6)), int(rng.integers(1, 12))
        stream.update(NAMES[i], 100.0 * np.exp(0.5 * rng.normal(size=count)), rng.uniform(0.05, 0.6, count))
    made = stream.surface()
    assert made.check().butterfly.free.all()
    if model == "essvi":
        assert made.check().ok


def test_streams_have_the_same_bits_everywhere(simd_levels, model):
    made = []
    for level in simd_levels:
        with config.override(simd=level):
            stream = begun(model)
        for i in range(6):
            stream.update(NAMES[i], STRIKE[i, ::3], vol_of(0.042)[i, ::3])
        made.append(stream.surface().parameters.tobytes())
    assert len(set(made)) == 1


#: Updates of a stream by arrays, and by how much what Python and the C library were asked for grew.
_COUNTED = """
import ctypes, sys
import numpy as np
from test_surface_stream import NAMES, STRIKE, begun, vol_of

asked = ctypes.CDLL(None).allocations
asked.restype = ctypes.c_long
stream = begun(sys.argv[1])
strike = [np.ascontiguousarray(STRIKE[i, ::2]) for i in range(6)]
vol = [[np.ascontiguousarray(vol_of(level)[i, ::2]) for i in range(6)] for level in (0.0401, 0.0402, 0.0399)]
weight, spread = np.ones(13), np.full(13, 1e-3)

def run(count, time):
    for i in range(count):
        stream.update(NAMES[i % 6], strike[i % 6], vol[i % 3][i % 6], weight, spread=spread,
                      forward=100.0 + 1e-3 * (i % 5), time=time + 0.01 * i)

run(1000, 0.0)
blocks, before = sys.getallocatedblocks(), asked()
run(10000, 20.0)
print(asked() - before, sys.getallocatedblocks() - blocks)
before = asked()
stream.update("c", strike[2].tolist(), vol[0][2].tolist())  # lists are copied: the counter counts
print(asked() - before)
"""


def test_updates_allocate_nothing(model, tmp_path):
    """Ten thousand updates, each of which would have to ask the C library for memory once to fail this."""
    compiler = shutil.which("c++")
    if compiler is None or platform.libc_ver()[0] != "glibc" or os.environ.get("LD_PRELOAD"):
        pytest.skip("counting takes a compiler, glibc and a process in which nothing else is preloaded")
    source, made = pathlib.Path(__file__).parents[1] / "cpp/tests/allocations.cpp", tmp_path / "allocations.so"
    subprocess.run([compiler, "-O2", "-std=c++20", "-shared", "-fPIC", source, "-o", made], check=True)
    paths = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", _COUNTED, model], capture_output=True, text=True, check=False,
        env={**os.environ, "LD_PRELOAD": str(made), "PYTHONPATH": paths},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    during, lists = run.stdout.splitlines()
    asked, blocks = map(int, during.split())
    assert asked < 10  # Python's own, for objects of some kilobytes, now and then
    assert blocks < 10
    assert int(lists) > 0


def test_streams_take_any_numbers(model):
    """Views, other types and lists do as arrays of doubles; what is none raises."""
    plain, strike, vol = begun(model), np.ascontiguousarray(STRIKE[2, ::2]), np.ascontiguousarray(vol_of(0.041)[2, ::2])
    plain.update("c", strike, vol, np.full(13, 0.5))
    backwards = strike.astype(strike.dtype.newbyteorder())
    for like in ((STRIKE[2, ::2], vol_of(0.041)[2, ::2]), (strike.tolist(), vol.tolist()), (backwards, vol)):
        other = begun(model)
        other.update("c", *like, np.full(13, 0.5, np.float32))
        np.testing.assert_array_equal(other.surface().parameters, plain.surface().parameters)
    for bad in ("abc", object(), [1.0, "x"]):
        with pytest.raises(DTypeError, match="strike: cannot read numbers"):
            plain.update("c", bad, vol)
    with pytest.raises(ShapeError, match="vol: has 12 quotes, but strike has 13"):
        plain.update("c", strike, vol[1:])


# ---- Surface.update ----


@pytest.mark.parametrize("model_of", ["essvi", "svi"])
def test_surfaces_are_updated_by_expiry(model_of):
    first = surface.Surface.fit(quoted(spread=0.003), model=model_of)
    used = surface.clean(quoted(spread=0.003))
    reason = np.where(used.chain.expiry == first.expiries[1], used.reason, 1).astype(np.int8)  # one expiry alone
    one = surface.Quotes(used.chain, reason, used.k, used.vol * 1.01, used.bid_vol, used.ask_vol, used.weight,
                         used.forward, used.rate)  # fmt: skip
    moved = first.update(one)
    assert moved.expiries == first.expiries
    same = (moved.parameters == first.parameters).all(axis=1)
    assert not same[1]
    assert same[[i for i in range(len(same)) if i != 1]].all()
    years = first.years[1]
    assert moved.vol(95.0, years) == pytest.approx(1.01 * first.vol(95.0, years), rel=2e-3)
    assert moved.memory is not None
    assert set(moved.memory) == set(first.expiries)
    again = moved.update(one, half_life=10.0)
    assert again.vol(95.0, years) == pytest.approx(moved.vol(95.0, years), rel=2e-3)
    with pytest.raises(ParameterError, match="outlier"):
        first.update(one, outlier=0.0)


def test_surfaces_of_svi_take_tables_of_points():
    """Strikes and times that broadcast to a table have the values of each alone."""
    for model in ("essvi", "svi"):
        made = begun(model).surface()
        table = made.total_variance(K[3][:, None], YEARS)
        for i, k in enumerate(K[3]):
            for j, years in enumerate(YEARS):
                assert table[i, j] == made.total_variance(k, years)


def stopped(level, vol=lambda k: 0.2 - 0.1 * k + 0.1 * k * k, as_of="2026-01-02"):
    """Quotes whose nearest slices have butterfly arbitrage."""
    rows = {name: [] for name in ("expiry", "strike", "is_call", "bid", "ask")}
    strike = np.arange(70.0, 131.0, 5.0)
    for expiry in ("2026-02-02", "2026-05-02", "2026-11-02"):
        years = float((np.datetime64(expiry) - np.datetime64(as_of)) / np.timedelta64(1, "D")) / 365
        forward = 100.0 * np.exp(0.02 * years)
        vols = vol(np.log(strike / forward)) + level
        for call in (True, False):
            mid = options.price(forward, strike, years, 0.02, 0.0, vols, call, model="black76")["price"]
            for name, values in zip(
                rows, ([expiry] * 13, strike, [call] * 13, np.maximum(mid - 0.02, 0.01), mid + 0.02), strict=True
            ):
                rows[name].extend(values)
    made = {name: np.array(values) for name, values in rows.items()}
    return options.read_chain({**made, "spot": np.full(len(made["strike"]), 100.0)}, as_of=as_of)


@pytest.mark.parametrize("level", [0.01, 0.1, -0.03])
def test_slices_that_arbitrage_stops_are_fitted_again(level):
    first = surface.Surface.fit(stopped(0.0), model="svi")
    quotes = surface.clean(stopped(level))
    k, w, weight, offsets, names = quotes.smiles()
    whole = surface.Surface.fit(quotes, model="svi")
    made = first.update(quotes, half_life=1e-3)
    again = made.update(quotes)
    stream = surface.Stream(first)
    for name in names:
        rows = quotes.kept & (quotes.chain.expiry == name)
        stream.update(name, quotes.chain.strike[rows], quotes.vol[rows], quotes.weight[rows],
                      forward=quotes.chain.terms[name].forward)  # fmt: skip
        assert len(stream.status) == rows.sum()

    def errors(of):
        parts = [slice(*pair) for pair in itertools.pairwise(offsets)]
        off = [weight[p] * (of.total_variance(k[p], t) - w[p]) ** 2 for p, t in zip(parts, whole.years, strict=True)]
        return np.array([np.sqrt(o.sum() / weight[p].sum()) for o, p in zip(off, parts, strict=True)])

    for updated in (made, again, stream.surface()):
        assert updated.check().butterfly.free.all()
        # Updates remember quotes of strikes that are not among the new ones.
        assert (errors(updated) <= 1.2 * errors(whole) + 2e-3 * w.mean()).all()
        assert (errors(updated) <= errors(first)).all()


def test_quotes_of_a_strike_replace_each_other_from_surface_to_surface():
    made = surface.Surface.fit(stopped(0.0), model="svi")
    for level in (0.01, 0.012, 0.0):
        made = made.update(stopped(level))
        for strike, _, _ in made.memory.values():
            assert len(set(np.round(strike, 6))) == len(strike)


def test_time_passes_without_quotes(model):
    first = surface.Surface.fit(stopped(0.0, as_of="2026-01-02"), model=model)
    later = surface.clean(stopped(0.0, as_of="2026-01-12"))
    none = surface.Quotes(later.chain, np.ones_like(later.reason), later.k, later.vol, later.bid_vol, later.ask_vol,
                          later.weight, later.forward, later.rate)  # fmt: skip
    made = first.update(none)
    assert made.as_of == later.chain.as_of
    np.testing.assert_allclose(made.years, first.years - 10 / 365, rtol=1e-9)
    np.testing.assert_allclose(made.vol(100.0, made.years[1]), first.vol(100.0, first.years[1]), rtol=1e-2)
    stream = surface.Stream(first)
    stream.advance(0.0)
    stream.advance(2 * 365 * 86400.0)
    with pytest.raises(StateError, match="have passed"):
        stream.surface()
