# SPDX-License-Identifier: Apache-2.0
"""Books of options: sums, scenarios against prices one by one, attribution, hedges, limits, the report."""

from __future__ import annotations

import html.parser
import itertools
import math
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import warpquant
from warpquant import config, options
from warpquant.errors import ParameterError, ShapeError
from warpquant.options import Limit, Portfolio

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

MODELS = ("bsm", "black76", "bachelier", "displaced")
#: Of sums over positions, relative to the sum of the magnitudes: a kernel's price is good to 4 ulp of the spot, a
#: derivative to some more, and sums of hundreds lose a few.
RTOL = {"value": 2e-14, "pnl": 4e-14, "delta": 2e-14, "gamma": 1e-12, "vega": 1e-13}


def columns(n, seed=0, model="bsm"):
    rng = np.random.default_rng(seed)
    spot = rng.choice([80.0, 100.0, 250.0], n)
    unit = spot if model == "bachelier" else 1.0
    return {
        "underlying": [f"U{int(s)}" for s in spot],
        "kind": rng.choice(["call", "put", "stock"], n, p=[0.45, 0.45, 0.1]).tolist(),
        "spot": spot,
        "strike": spot * np.exp(rng.normal(0.0, 0.2, n)),
        "expiry": rng.choice([0.02, 0.1, 0.5, 2.0], n),
        "rate": rng.uniform(-0.01, 0.05, n),
        "dividend": rng.uniform(0.0, 0.03, n),
        "vol": unit * rng.uniform(0.08, 0.7, n),
        "quantity": rng.integers(-20, 21, n).astype(float),
        "multiplier": rng.choice([1.0, 10.0, 100.0], n),
        "beta": rng.uniform(0.5, 1.5, n),
        "vol_beta": rng.uniform(0.2, 2.0, n),
        "desk": rng.choice(["a", "b"], n).tolist(),
    }


def book_of(n, seed=0, model="bsm", **changed):
    return Portfolio.from_frame(
        {**columns(n, seed, model), **changed}, model=model, shift=7.0 if model == "displaced" else None
    )


def one_by_one(book, ds, dv, dt, spot_kind="relative", vol_kind="absolute"):
    """Sums at a node, from prices of single positions in another market; and the sums of their magnitudes."""
    f = book.fields
    spot = f["spot"] * (1 + f["beta"] * ds) if spot_kind == "relative" else f["spot"] + f["beta"] * ds
    vol = f["vol"] * (1 + f["vol_beta"] * dv) if vol_kind == "relative" else f["vol"] + f["vol_beta"] * dv
    if book.model != "bachelier":
        spot = np.maximum(spot, -f["shift"])
    vol, years = np.maximum(vol, 0.0), np.maximum(f["expiry"] - dt, 0.0)
    more = {"shift": f["shift"]} if book.model == "displaced" else {}
    found = options.greeks(
        spot, f["strike"], years, f["rate"], f["dividend"], vol, np.where(book.kind < 0, -1, 1), model=book.model,
        outputs=("price", "delta", "gamma", "vega"), **more,
    )  # fmt: skip
    linear = {"price": spot, "delta": 1.0, "gamma": 0.0, "vega": 0.0}
    sums, sizes = {}, {}
    for name, values in found.items():
        each = np.where(book.kind == 0, linear[name], values) * f["quantity"] * f["multiplier"]
        sums["value" if name == "price" else name] = math.fsum(each)
        sizes["value" if name == "price" else name] = math.fsum(np.abs(each)) + math.fsum(
            np.abs(f["quantity"] * f["multiplier"] * (spot if name == "price" else 0.0))
        )
    return sums, sizes


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("spot_kind", "vol_kind"), [("relative", "absolute"), ("absolute", "relative")])
def test_scenarios_are_the_prices_of_all_positions(model, spot_kind, vol_kind):
    book = book_of(173, model=model)
    spots = np.array([-0.4, -0.05, 0.0, 0.013, 0.5]) * (1.0 if spot_kind == "relative" else 60.0)
    vols = np.array([-0.05, 0.0, 0.2]) * (80.0 if model == "bachelier" and vol_kind == "absolute" else 1.0)
    times = [0.0, 0.05, 0.7]
    grid = book.scenarios(
        spots, vols, times, spot_kind=spot_kind, vol_kind=vol_kind, outputs=("value", "delta", "gamma", "vega")
    )
    plain = book.scenarios(spots, vols, times, spot_kind=spot_kind, vol_kind=vol_kind, outputs=("value",))
    assert grid["pnl"].shape == (3, 3, 5)
    base, base_size = one_by_one(book, 0.0, 0.0, 0.0)
    for (t, dt), (v, dv), (s, ds) in itertools.product(enumerate(times), enumerate(vols), enumerate(spots)):
        expected, size = one_by_one(book, ds, dv, dt, spot_kind, vol_kind)
        for name, value in expected.items():
            assert abs(grid[name][t, v, s] - value) <= RTOL[name] * size[name], (name, t, v, s)
        pnl = expected["value"] - base["value"]
        assert abs(grid["pnl"][t, v, s] - pnl) <= RTOL["pnl"] * (size["value"] + base_size["value"])
        assert plain["value"][t, v, s] == grid["value"][t, v, s]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 31, 32, 33, 64, 65, 300])
def test_sums_are_the_same_for_any_threads(n, monkeypatch):
    book = book_of(n, seed=n)
    axes = (np.linspace(-0.2, 0.2, 5), [-0.01, 0.0, 0.02], [0.0, 0.01])
    names = ("value", "delta", "gamma", "vega")
    first = book.scenarios(*axes, outputs=names, num_threads=1)
    for threads in (2, 3, 8):
        again = book.scenarios(*axes, outputs=names, num_threads=threads)
        for name in first.values:
            np.testing.assert_array_equal(again[name], first[name])


def test_many_positions_in_many_parts(simd_levels):
    """More parts than fit at a time, groups that end within blocks, and every instruction level."""
    n = 9000
    data = columns(n, seed=4)
    data["desk"] = np.random.default_rng(1).choice([f"d{i}" for i in range(37)], n).tolist()
    book = Portfolio.from_frame(data)
    spots = np.linspace(-0.1, 0.1, 5)
    whole = book.scenarios(spots, outputs=("value", "gamma"))
    parts = book.scenarios(spots, outputs=("value", "gamma"), by="desk")
    assert parts["value"].shape == (37, 1, 1, 5)
    size = np.abs(book.weight * book.fields["spot"]).sum()
    np.testing.assert_allclose(parts["value"].sum(axis=0), whole["value"], rtol=0, atol=1e-13 * size)
    for level in simd_levels:
        with config.override({"simd": level}):
            other = book.scenarios(spots, outputs=("value", "gamma"), by="desk")
            np.testing.assert_allclose(other["value"], parts["value"], rtol=0, atol=1e-14 * size)
            threads = book.scenarios(spots, outputs=("value", "gamma"), by="desk", num_threads=1)
            np.testing.assert_array_equal(other["value"], threads["value"])
    for name, desk in zip(parts.groups["desk"], range(37), strict=True):
        own = np.array([d == name for d in data["desk"]])
        part = Portfolio.from_frame({k: np.asarray(v)[own] for k, v in data.items()})
        np.testing.assert_allclose(part.scenarios(spots)["pnl"], parts["pnl"][desk], rtol=0, atol=1e-14 * size)


@pytest.mark.parametrize("model", MODELS)
def test_scenarios_on_devices(device, model):
    """As on the CPU but for rounding, every time the same; parts that end within tiles, and groups."""
    book = book_of(1100, seed=3, model=model)
    axes = (
        np.linspace(-0.2, 0.2, 9),
        np.array([-0.04, 0.0, 0.1]) * (80.0 if model == "bachelier" else 1.0),
        [0.0, 0.05],
    )
    names = ("value", "delta", "gamma", "vega")
    want, size = book.scenarios(*axes, outputs=names, device="cpu"), one_by_one(book, 0.0, 0.0, 0.0)[1]
    made = book.scenarios(*axes, outputs=names, device=device)
    again = book.scenarios(*axes, outputs=names, device=device)
    for name in names:
        np.testing.assert_allclose(made[name], want[name], rtol=0, atol=10 * RTOL[name] * size[name], err_msg=name)
        np.testing.assert_array_equal(made[name], again[name])
    stream = {} if device == "cpu" else {"stream": warpquant.Stream(device)}
    parts = book.scenarios(*axes, by="desk", device=device, **stream)
    np.testing.assert_allclose(parts["pnl"].sum(axis=0), want["pnl"], rtol=0, atol=20 * RTOL["pnl"] * size["value"])
    values = book.scenarios(*axes, outputs="value", device=device)["value"]
    np.testing.assert_array_equal(values, made["value"])
    empty = Portfolio.from_frame({k: v[:0] for k, v in columns(3).items()})
    assert empty.scenarios([0.0, 0.1], device=device)["pnl"].tolist() == [[[0.0, 0.0]]]


def test_the_ends_of_the_axes():
    """Spots at 0, volatilities at 0, and after every expiry: what the options are worth when exercised."""
    book = Portfolio.from_frame(
        {"kind": ["call", "put", "put", "stock", "call"], "spot": 100.0, "strike": [90.0, 110.0, 100.0, 0.0, 100.0],
         "expiry": [0.5, 0.5, 1.0, 0.0, 1.0], "vol": 0.2, "quantity": [1.0, 2.0, -1.0, 5.0, 3.0]},
        rate=0.04, dividend=0.01,
    )  # fmt: skip
    grid = book.scenarios([-1.0, -2.0, 0.0], [0.0, -0.5], [0.0, 5.0], outputs=("value", "delta", "gamma", "vega"))
    discount = [math.exp(-0.02), math.exp(-0.04)]
    ruin = 2 * 110 * discount[0] - 100 * discount[1]
    for s in (0, 1):  # no spot is below 0
        assert grid["value"][0, 0, s] == pytest.approx(ruin, rel=1e-14)
    assert grid["value"][1, :, 2].tolist() == pytest.approx([10 + 20 + 500, 10 + 20 + 500])  # expired, at 100
    spot_now = [100 * math.exp(-0.005), 100 * math.exp(-0.01)]
    forward = (spot_now[0] - 90 * discount[0]) + 2 * (110 * discount[0] - spot_now[0]) + 500
    forward += 3 * (spot_now[1] - 100 * discount[1])  # that call ends in the money, the put does not
    assert grid["value"][0, 1, 2] == pytest.approx(forward, rel=1e-14)
    for name in ("gamma", "vega"):
        assert (grid[name][1] == 0).all()
        assert np.isfinite(grid[name]).all()
    assert np.isfinite(grid["delta"]).all()


@hypothesis.given(
    st.lists(st.tuples(st.floats(1, 500), st.floats(0, 3), st.floats(0, 2), st.integers(-5, 5), st.sampled_from("cpu")),
             min_size=1, max_size=20),
    st.floats(-0.9, 2), st.floats(-1, 1), st.floats(0, 4),
)  # fmt: skip
@hypothesis.settings(max_examples=40)
def test_no_move_no_profit_and_no_nan(positions, ds, dv, dt):
    strike, expiry, vol, quantity, kind = map(list, zip(*positions, strict=True))
    book = Portfolio.from_frame(
        {"kind": kind, "spot": 100.0, "strike": strike, "expiry": expiry, "vol": vol, "quantity": quantity}, rate=0.01
    )
    assert not book.invalid.any()
    grid = book.scenarios([0.0, ds], [0.0, dv], [0.0, dt], outputs=("delta", "gamma", "vega", "value"))
    assert grid["pnl"][0, 0, 0] == 0.0
    assert all(np.isfinite(values).all() for values in grid.values.values())


def test_grids_of_the_right_shape_and_as_columns():
    book = book_of(20)
    grid = book.scenarios([-0.1, 0.0], [0.0, 0.01, 0.02], by=("underlying", "desk"))
    groups = len(grid.groups["desk"])
    assert grid["pnl"].shape == (groups, 1, 3, 2)
    rows = grid.to_dict()
    assert set(rows) == {"underlying", "desk", "time", "vol", "spot", "pnl"}
    assert {len(v) for v in rows.values()} == {groups * 6}
    frame = pd.DataFrame(rows)
    total = frame.groupby(["time", "vol", "spot"])["pnl"].sum()
    worst = grid.worst()
    assert worst["pnl"] == pytest.approx(total.min())
    assert total.idxmin() == (worst["time"], worst["vol"], worst["spot"])
    empty = Portfolio.from_frame({k: v[:0] for k, v in columns(3).items()})
    assert empty.scenarios([0.0, 0.1])["pnl"].tolist() == [[[0.0, 0.0]]]
    assert empty.value == 0.0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"spot": [np.nan]}, "spot: .* finite"), ({"spot": []}, "spot"), ({"vol": [[0.1]]}, "vol"),
        ({"time": [-0.1]}, "time: must not be negative"), ({"spot_kind": "percent"}, "spot_kind: 'percent'"),
        ({"vol_kind": "points"}, "vol_kind"), ({"outputs": "theta"}, "outputs: 'theta'"),
        ({"by": "book"}, "by: 'book'"),
    ],
)  # fmt: skip
def test_scenarios_refuse(more, text):
    with pytest.raises(ParameterError, match=text):
        book_of(3).scenarios(**more)


# ---- books and sums ----


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict], ids=lambda m: m.__name__)
def test_sums_of_greeks(make):
    data = columns(60, seed=2)
    book = Portfolio.from_frame(make(data))
    names = ("price", "delta", "vega", "vomma", "delta_cash", "gamma_cash")
    total, parts = book.greeks(names), book.greeks(names, by=["desk", "underlying"])
    expected = {}
    for i in range(60):
        kind, spot = data["kind"][i], data["spot"][i]
        one = (
            {"price": spot, "delta": 1.0, "gamma": 0.0, "vega": 0.0, "vomma": 0.0}
            if kind == "stock"
            else options.greeks(
                spot, data["strike"][i], data["expiry"][i], data["rate"][i], data["dividend"][i], data["vol"][i], kind,
                outputs=("price", "delta", "gamma", "vega", "vomma"),
            )
        )  # fmt: skip
        one["delta_cash"], one["gamma_cash"] = one["delta"] * spot, one["gamma"] * spot**2 / 100
        key = (data["desk"][i], data["underlying"][i])
        for name in names:
            expected.setdefault(key, {}).setdefault(name, []).append(
                one[name] * data["quantity"][i] * data["multiplier"][i]
            )
    assert list(zip(parts["desk"], parts["underlying"], strict=True)) == list(expected)
    for name in names:
        sums = [math.fsum(e[name]) for e in expected.values()]
        scale = max(abs(x) for e in expected.values() for x in e[name]) * 60
        np.testing.assert_allclose(parts[name], sums, rtol=0, atol=1e-15 * scale)
        assert total[name] == pytest.approx(math.fsum(sums), abs=1e-15 * scale)
    assert parts["positions"].sum() == 60
    assert book.value == total["price"]


def test_all_sums_and_their_units():
    book = book_of(5)
    everything = book.greeks("all")
    assert "lambda_" not in everything
    assert {"delta_cash", "gamma_cash", "ultima", "vera"} < set(everything)
    scaled = options.scale(book.greeks(("theta", "vega")), theta="day365", vega="point")
    assert scaled["vega"] == book.greeks("vega")["vega"] / 100
    for bad in ("lambda_", "elasticity", "deltas"):
        with pytest.raises(ParameterError, match="outputs"):
            book.greeks(bad)


def test_positions_without_a_value_are_counted_and_stop_nobody():
    data = columns(10)
    data["vol"] = data["vol"].copy()
    data["kind"] = ["call"] * 10
    data["vol"][3], data["quantity"][5], data["strike"][7], data["beta"][8] = np.nan, np.nan, -1.0, np.inf
    book = Portfolio.from_frame(data)
    assert np.flatnonzero(book.invalid).tolist() == [3, 5, 7, 8]
    rest = Portfolio.from_frame({k: np.delete(np.asarray(v), [3, 5, 7, 8]) for k, v in data.items()})
    assert book.greeks("price") == {"price": rest.greeks("price")["price"], "excluded": 4}
    grid = book.scenarios([0.1], by="desk")
    assert grid.excluded == 4
    assert np.isfinite(grid["pnl"]).all()
    found = book.attribution(book.moved(spot=0.01))
    assert (found.excluded, np.isfinite(found.actual)) == (4, True)
    assert "4 without a value" in repr(book)
    assert "4 positions have no value" in book.report().markdown


def test_positions_of_nothing_count_nothing():
    """At the strike on the last day gamma is infinite, which nobody has who holds none."""
    table = {
        "kind": ["call", "put"],
        "spot": [100.0] * 2,
        "strike": [100.0, 95.0],
        "expiry": [0.0, 0.5],
        "vol": [0.2] * 2,
    }
    both = Portfolio.from_frame({**table, "quantity": [0, 3]}, rate=0.03)
    one = Portfolio.from_frame({name: values[1:] for name, values in {**table, "quantity": [0, 3]}.items()}, rate=0.03)
    assert both.greeks("all") == one.greeks("all")
    held = Portfolio.from_frame({**table, "quantity": [1, 3]}, rate=0.03).greeks()
    assert held["gamma"] == np.inf
    assert held["theta"] == -np.inf


def test_underlyings_give_what_positions_lack():
    positions = {"underlying": ["X", "Y", "X"], "kind": ["c", "p", "stock"], "strike": [100.0, 50.0, None],
                 "expiry": [0.5, 0.5, None], "quantity": [1, 2, 3], "vol": [0.3, None, None]}  # fmt: skip
    market = {"X": {"spot": 100.0, "rate": 0.02}, "Y": {"spot": 55.0, "rate": 0.03, "vol": 0.4, "dividend": 0.01}}
    frame = {
        "symbol": ["X", "Y"],
        "spot": [100.0, 55.0],
        "rate": [0.02, 0.03],
        "vol": [np.nan, 0.4],
        "q": [np.nan, 0.01],
    }
    expected = options.price(100.0, 100.0, 0.5, 0.02, 0.0, 0.3, True)["price"]
    expected += 2 * options.price(55.0, 50.0, 0.5, 0.03, 0.01, 0.4, False)["price"] + 300.0
    for positions_of, underlyings in (
        (dict, market),
        (pd.DataFrame, pd.DataFrame(frame)),
        (pl.DataFrame, pl.DataFrame(frame)),
    ):
        book = Portfolio.from_frame(positions_of(positions), underlyings=underlyings, dividend=[0.0, 0.01, 0.0])
        assert book.value == pytest.approx(expected, rel=1e-15)
    with pytest.raises(ParameterError, match="lack 'Y'"):
        Portfolio.from_frame(positions, underlyings={"X": market["X"]})
    with pytest.raises(ParameterError, match="'price' of 'X' is unknown"):
        Portfolio.from_frame(positions, underlyings={"X": {"price": 1.0}, "Y": {"spot": 1.0}})
    with pytest.raises(ParameterError, match="spot: is neither"):
        Portfolio.from_frame(positions)


@pytest.mark.parametrize(
    ("change", "text"),
    [({"kind": ["swap"] * 3}, "kind: 'swap'"), ({"quantity": None}, "quantity"), ({"kind": None}, "kind: no column"),
     ({"strike": None}, "strike"), ({"rate": None}, "rate")],
)  # fmt: skip
def test_books_refuse(change, text):
    data = {k: v for k, v in {**columns(3), "kind": ["call"] * 3, **change}.items() if v is not None}
    with pytest.raises(ParameterError, match=text):
        Portfolio.from_frame(data)
    with pytest.raises(ParameterError, match="model: 'sabr'"):
        Portfolio.from_frame(columns(3), model="sabr")


def test_a_stock_needs_nothing_but_a_price():
    stock = Portfolio.from_frame({"kind": ["stock"], "spot": [50.0], "quantity": [-4]})
    assert stock.greeks(("price", "delta", "theta", "rho", "epsilon", "gamma", "volga")) == {
        "price": -200.0, "delta": -4.0, "theta": 0.0, "rho": 0.0, "epsilon": 0.0, "gamma": 0.0, "volga": 0.0,
        "excluded": 0,
    }  # fmt: skip


def test_nothing_of_a_book_changes():
    book = book_of(4)
    with pytest.raises(ValueError, match="read-only"):
        book.fields["spot"][0] = 1.0
    before = book.value
    book.moved(spot=0.1, vol={"U100": 0.1}, time=0.01)
    assert book.value == before


# ---- attribution ----


@pytest.mark.parametrize("model", MODELS)
def test_attribution_adds_up_and_is_of_fourth_order(model):
    book = book_of(40, seed=5, model=model, expiry=1.0, beta=1.0, vol_beta=1.0)
    unit = 100.0 if model == "bachelier" else 1.0
    residuals = []
    for h in (1.0, 0.5, 0.25):
        later = book.moved(spot=0.04 * h, vol=0.02 * unit * h)
        found = book.attribution(later)
        assert found.actual == pytest.approx(later.value - book.value, abs=1e-9)
        assert found.explained + found.residual == pytest.approx(found.actual, rel=1e-14)
        assert found.explained == pytest.approx(sum(found.terms.values()), rel=1e-14)
        residuals.append(abs(found.residual))
    # What is left out is fourth order in spot and volatility, but for S v^2 of third order.
    assert residuals[1] < residuals[0] / 6
    assert residuals[2] < residuals[1] / 6


def test_attribution_of_one_move_at_a_time():
    book = book_of(30, seed=6, expiry=0.5)
    for moves, names in (
        ({"spot": 1e-4}, {"delta", "gamma", "speed"}), ({"vol": 1e-4}, {"vega", "volga", "ultima"}),
        ({"time": 1e-6}, {"theta"}), ({"rate": 1e-6}, {"rho"}), ({"dividend": 1e-6}, {"epsilon"}),
    ):  # fmt: skip
        found = book.attribution(book.moved(**moves))
        assert {name for name, value in found.terms.items() if value != 0} == names
        assert abs(found.residual) < 1e-4 * abs(found.actual)
    still = book.attribution(book.moved())
    assert (still.actual, still.explained, still.residual) == (0.0, 0.0, 0.0)


def test_attribution_by_group_and_of_a_later_frame():
    data = columns(30, seed=7)
    later = {**data, "spot": data["spot"] * 1.01, "expiry": np.maximum(data["expiry"] - 1 / 365, 0.0)}
    book, after = Portfolio.from_frame(data), Portfolio.from_frame(later)
    found = book.attribution(after, by="underlying")
    total = book.attribution(after)
    assert found.actual.sum() == pytest.approx(total.actual)
    for name, value in total.terms.items():
        assert found.terms[name].sum() == pytest.approx(value, abs=1e-9)
    assert list(found.to_dict()) == ["underlying", *found.terms, "explained", "actual", "residual"]
    for other in (book_of(29, seed=7), book.with_quantity(1.0), book_of(30, seed=7, model="black76")):
        with pytest.raises(ParameterError, match="after: holds other positions"):
            book.attribution(other)


def test_moves_of_single_underlyings_and_positions():
    book = book_of(50, beta=1.0)
    moved = book.moved(spot={"U100": 0.1})
    own = np.array([u == "U100" for u in book.labels["underlying"]])
    np.testing.assert_allclose(moved.fields["spot"] / book.fields["spot"], np.where(own, 1.1, 1.0), rtol=1e-15)
    assert book.moved(spot=np.full(50, 0.1)).value == book.moved(spot=0.1).value
    with pytest.raises(ParameterError, match="spot: 'Z' is no underlying"):
        book.moved(spot={"Z": 0.1})
    with pytest.raises(ShapeError, match="vol: has shape"):
        book.moved(vol=[0.1, 0.2])


# ---- hedges ----


def instruments(n=2, quantity=1.0, **changed):
    return Portfolio.from_frame({
        "underlying": ["U"] * (n + 1), "kind": ["stock", *["call", "put", "call"][:n]], "spot": 100.0,
        "strike": [0.0, 100.0, 90.0, 120.0][: n + 1], "expiry": [0.0, 0.25, 0.5, 1.0][: n + 1], "vol": 0.25,
        "quantity": quantity, "multiplier": [1.0, 100.0, 100.0, 100.0][: n + 1], "rate": 0.02, **changed,
    })  # fmt: skip


def short_book():
    return Portfolio.from_frame(
        {"underlying": "U", "kind": ["call", "put", "call"], "spot": 100.0, "strike": [105.0, 95.0, 130.0], "vol": 0.25,
         "expiry": [0.4, 0.3, 1.2], "quantity": [-30, -20, -11], "multiplier": 100.0}, rate=0.02,
    )  # fmt: skip


@pytest.mark.parametrize("targets", [("delta",), ("delta", "gamma"), ("delta", "vega"), ("delta", "gamma", "vega")])
def test_as_many_instruments_as_targets_take_everything_away(targets):
    book = short_book()
    hedge = book.hedge(instruments(len(targets) - 1), targets)
    for name in targets:
        assert abs(hedge.before[name][0]) > 1.0
        assert abs(hedge.after[name][0]) < 1e-9 * abs(hedge.before[name][0]) + 1e-7
        assert hedge.before[name][0] == pytest.approx(book.greeks(name)[name])
        assert hedge.book.greeks(name)[name] == pytest.approx(hedge.after[name][0], abs=1e-6)
    assert hedge.risk_after < 1e-6 < hedge.risk_before
    assert len(hedge.book) == len(book) + len(targets)


def test_an_underlying_hedges_its_own():
    two = book_of(30, seed=8)
    stocks = Portfolio.from_frame(
        {"underlying": ["U80", "U100", "U250"], "kind": "stock", "spot": [80.0, 100.0, 250.0], "quantity": 0.0}
    )
    hedge = two.hedge(stocks, "delta")
    by = two.greeks("delta", by="underlying")
    deltas = dict(zip(by["underlying"], by["delta"], strict=True))
    expected = [-deltas[u] for u in ("U80", "U100", "U250")]
    np.testing.assert_allclose(hedge.quantity, expected, rtol=1e-12)
    other = two.hedge(Portfolio.from_frame({"underlying": ["other"], "kind": "stock", "spot": [1.0], "quantity": [1]}))
    assert other.quantity.tolist() == [0.0]
    assert other.risk_after == other.risk_before


def objective(hedge_of, x, cost, aversion, targets=("delta", "gamma", "vega")):
    book, traded = hedge_of
    hedged = book.with_positions(traded.with_quantity(x))
    scale = {"delta": 0.01 * 100, "gamma": 0.5 * (0.01 * 100) ** 2, "vega": 0.01}
    g = hedged.greeks(targets)
    return aversion * sum((scale[t] * g[t]) ** 2 for t in targets) + float(np.abs(x) @ np.asarray(cost))


@pytest.mark.parametrize("cost", [[0.0, 0.0, 0.0, 0.0], [0.1, 30.0, 30.0, 30.0], [1e3, 1e3, 1e3, 1e3], [1e9] * 4])
def test_the_least_of_the_objective(cost):
    """No step in any coordinate or random direction is better."""
    book, traded = short_book(), instruments(3)
    aversion = 0.01
    hedge = book.hedge(traded, ("delta", "gamma", "vega"), cost=cost, risk_aversion=aversion)
    best = objective((book, traded), hedge.quantity, cost, aversion)
    assert hedge.cost == pytest.approx(float(np.abs(hedge.quantity) @ np.array(cost)))
    rng = np.random.default_rng(0)
    for step in (*np.eye(4), *rng.normal(size=(40, 4))):
        for size in (1e-4, -1e-4, 0.1, -0.1, 10.0):
            assert objective((book, traded), hedge.quantity + size * step, cost, aversion) >= best - 1e-9 * (1 + best)
    if cost[0] == 1e9:
        assert not hedge.quantity.any()


def test_more_instruments_than_needed_give_the_smallest_hedge():
    twice = Portfolio.from_frame({"underlying": ["U", "U"], "kind": "stock", "spot": 100.0, "quantity": 0.0})
    hedge = short_book().hedge(twice)
    assert hedge.quantity[0] == pytest.approx(hedge.quantity[1])


def test_whole_quantities_are_the_best_near_by():
    book, traded = short_book(), instruments(2)
    hedge = book.hedge(traded, ("delta", "gamma", "vega"), integer=True)
    assert (hedge.quantity == np.rint(hedge.quantity)).all()
    best = objective((book, traded), hedge.quantity, [0.0] * 3, 1.0)
    for step in itertools.product((-2, -1, 0, 1, 2), repeat=3):
        near = objective((book, traded), hedge.quantity + np.array(step, float), [0.0] * 3, 1.0)
        if sum(map(abs, step)) <= 1:
            assert near >= best
    exact = book.hedge(traded, ("delta", "gamma", "vega"))
    rounded = objective((book, traded), np.rint(exact.quantity), [0.0] * 3, 1.0)
    assert best <= rounded


@pytest.mark.parametrize(
    ("more", "text"),
    [({"targets": "beta"}, "targets: 'beta'"), ({"targets": ()}, "targets: is empty"), ({"cost": -1.0}, "cost"),
     ({"risk_aversion": 0.0}, "risk_aversion"), ({"moves": {"delta": -1.0}}, "moves"), ({"moves": {"x": 1.0}}, "'x'")],
)  # fmt: skip
def test_hedges_refuse(more, text):
    with pytest.raises(ParameterError, match=text):
        short_book().hedge(instruments(), **more)


# ---- limits ----


def test_limits():
    book = short_book()
    g = book.greeks(("delta", "vega", "price"))
    assert book.check([Limit("delta", most=10.0), Limit("vega", least=1.2 * g["vega"], warn=0.9)]) == []
    breach, warning = book.check([
        Limit("vega", least=1.1 * g["vega"]), Limit("delta", least=g["delta"] / 2), Limit("price", most=1.0),
    ])  # fmt: skip
    assert (breach.level, breach.metric, breach.used) == ("breach", "delta", pytest.approx(2.0))
    assert (warning.level, warning.metric, warning.used) == ("warning", "vega", pytest.approx(1 / 1.1))
    assert str(breach).startswith("breach: delta is -")
    zero = book.check([Limit("gamma", least=0.0)])
    assert (zero[0].level, zero[0].used) == ("breach", math.inf)


def test_limits_of_groups_and_scenarios():
    book = book_of(40, seed=9)
    by = book.greeks("delta_cash", by=("desk", "underlying"))
    most = float(np.median(by["delta_cash"]))
    alerts = book.check([Limit("delta_cash", most=most, by=("desk", "underlying"))])
    breaches = {a.group for a in alerts if a.level == "breach"}
    assert breaches == {
        (d, u) for d, u, v in zip(by["desk"], by["underlying"], by["delta_cash"], strict=True) if v > most
    }
    grid = book.scenarios(np.linspace(-0.2, 0.2, 9), by="desk")
    worst = grid.worst()["pnl"]
    (alert,) = book.check([Limit("worst_pnl", least=worst / 2)], grid)
    assert alert.value == worst
    alerts = book.check([Limit("worst_pnl", least=-1e-9, by="desk")], grid)
    assert sorted(a.value for a in alerts) == sorted(v for v in grid["pnl"].min(axis=(1, 2, 3)).tolist() if v < -1e-9)
    for limit, g, text in (
        (Limit("worst_pnl", least=0.0), None, "grid: is needed"),
        (Limit("worst_pnl", least=0.0, by="underlying"), grid, "grid: has not"),
    ):
        with pytest.raises(ParameterError, match=text):
            book.check([limit], g)


@pytest.mark.parametrize("more", [{}, {"most": 1.0, "least": 2.0}, {"most": 1.0, "warn": 0.0}])
def test_limits_refuse(more):
    with pytest.raises(ParameterError):
        Limit("delta", **more)


# ---- report ----


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_report(tmp_path):
    book = short_book()
    hedge = book.hedge(instruments(), ("delta", "vega"), cost=0.5, integer=True)
    page = book.report(
        title="Vol desk", grid=book.scenarios(np.linspace(-0.3, 0.3, 61), np.linspace(-0.1, 0.1, 5), [0.0, 7 / 365]),
        limits=[Limit("delta", least=-10.0), Limit("vega", least=-1e9)], hedge=hedge,
        attribution=book.attribution(book.moved(spot=-0.02, vol=0.03, time=1 / 365), by="kind"),
    )  # fmt: skip
    assert [a.metric for a in page.alerts] == ["delta"]
    reader = Reader()
    reader.feed(page.html)
    assert not reader.open
    text = " ".join(reader.texts)
    for heading in (
        "Vol desk",
        "Greeks",
        "Limits",
        "Profit and loss after 7 days",
        "Attribution",
        "Hedge",
        "Positions",
    ):
        assert heading in text
        assert heading in page.markdown
    assert not [
        a for _, attributes in reader.tags for a in attributes if a in ("src", "href", "style") or a.startswith("on")
    ]
    assert not {tag for tag, _ in reader.tags} & {"script", "img", "link", "iframe"}
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"{book.value:,.6g}" in page.markdown
    assert f"{book.value:,.6g}" in text
    for table in re.findall(r"(?:^\|.*\n)+", page.markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert page.write(tmp_path / "book.html").read_text(encoding="utf-8") == page.html
    assert page.write(tmp_path / "book.MD").read_text(encoding="utf-8") == page.markdown
    with pytest.raises(ParameterError, match=r"path: '\.txt'"):
        page.write(tmp_path / "book.txt")


def test_hostile_names_in_a_report():
    evil = "<script>alert(1)</script>|`x`\n## no"
    book = Portfolio.from_frame(
        {"underlying": [evil], "name": [evil], "kind": ["stock"], "spot": [1.0], "quantity": [1.0]}
    )
    page = book.report(title=evil)
    assert "<script" not in page.html
    assert "<script" not in page.markdown.replace("\\<", "")
    assert "\n## no" not in page.markdown


def test_report_of_nothing():
    empty = Portfolio.from_frame({k: v[:0] for k, v in columns(3).items()})
    page = empty.report()
    assert "0 positions" in page.markdown
    assert "Nothing." in page.html


def test_a_book_of_many_is_summed_within_little_memory():
    """Only sums are stored: values of positions and nodes would take 10 GB here."""
    n = 20_000
    book = book_of(n, seed=3)
    grid = book.scenarios(np.linspace(-0.3, 0.3, 61), np.linspace(-0.1, 0.1, 11), np.linspace(0, 0.5, 2))
    assert grid["pnl"].shape == (2, 11, 61)
    sums, size = one_by_one(book, 0.3, 0.1, 0.5)
    base, _ = one_by_one(book, 0.0, 0.0, 0.0)
    assert abs(grid["pnl"][1, 10, 60] - (sums["value"] - base["value"])) <= 1e-13 * size["value"]


def test_dates_of_a_book_end_at_the_close():
    frame = {
        "kind": ["call"],
        "strike": [100.0],
        "spot": [100.0],
        "vol": [0.2],
        "expiry": ["2026-11-23"],
        "quantity": [1],
    }
    for close, hours in (("16:00", 40.0), ("09:30", 33.5)):
        book = Portfolio.from_frame(frame, rate=0.0, as_of="2026-11-22T00:00:01", close=close)
        expected = options.price(100.0, 100.0, (hours * 3600 - 1) / (365 * 86400), 0.0, 0.0, 0.2, True)["price"]
        np.testing.assert_allclose(book.greeks()["price"], expected, rtol=1e-12)
