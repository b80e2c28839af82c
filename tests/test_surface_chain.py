# SPDX-License-Identifier: Apache-2.0
"""From chains to surfaces: rules for quotes, surfaces of every model, real chains."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import ParameterError, ShapeError, StateError

pytest.importorskip("pyarrow")

YEARS = (0.1, 0.3, 0.8)
SPOT, RATE, DIVIDEND = 100.0, 0.02, 0.005
THETA = np.array([0.004, 0.012, 0.03])
PSI = np.array([0.05, 0.085, 0.13])
RHO = -0.4


def smile(years, strike):
    i = YEARS.index(years)
    forward = SPOT * np.exp((RATE - DIVIDEND) * years)
    w = surface.ssvi(np.log(strike / forward), THETA[i], RHO, PSI[i] / THETA[i])["w"]
    return np.sqrt(w / years)


def quoted(spread=0.004, price=options.price, strikes=None, **columns):
    """Quotes of a market without arbitrage, calls and puts of each strike, half a spread either side in volatility."""
    rows = {name: [] for name in ("expiry", "strike", "is_call", "bid", "ask")}
    strikes = np.arange(70.0, 131.0, 2.5) if strikes is None else strikes
    for years in YEARS:
        vol = smile(years, strikes)
        for call in (True, False):
            sides = [
                price(SPOT, strikes, years, RATE, DIVIDEND, np.maximum(vol + move, 1e-4), call)["price"]
                for move in (-spread, spread)
            ]
            for name, values in zip(
                rows, (np.full(len(strikes), years), strikes, np.full(len(strikes), call), *sides), strict=True
            ):
                rows[name].extend(values.tolist())
    made = {name: np.array(values) for name, values in rows.items()}
    return {**made, "spot": np.full(len(made["strike"]), SPOT), **columns}


@pytest.fixture(scope="module")
def market():
    return quoted()


# ---- quotes ----


def reason_of(quotes, years, strike, is_call):
    chain = quotes.chain
    (row,) = np.nonzero((np.abs(chain.years - years) < 1e-9) & (chain.strike == strike) & (chain.is_call == is_call))
    return surface.REASONS[quotes.reason[row[0]]]


def test_clean_finds_forwards_and_volatilities(market):
    quotes = surface.clean(market)
    for terms in quotes.chain.terms.values():
        assert terms.forward == pytest.approx(SPOT * np.exp((RATE - DIVIDEND) * terms.years), rel=1e-4)
    kept = quotes.kept
    assert kept.sum() > 55
    assert set(quotes.counts()) <= {"kept", "in_the_money"}
    want = np.concatenate([smile(y, quotes.chain.strike[kept & (quotes.chain.years == y)]) for y in YEARS])
    np.testing.assert_allclose(quotes.vol[kept], want, atol=2e-3)
    assert (quotes.weight[kept] > 0).all()
    assert (quotes.weight[~kept] == 0).all()
    k, w, _, offsets, names = quotes.smiles()
    assert len(names) == 3
    assert offsets[-1] == len(k) == len(w) == kept.sum()
    assert (np.diff(k[offsets[0] : offsets[1]]) > 0).all()


def test_every_rule_has_its_reason(market):
    bad = {name: values.copy() for name, values in market.items()}

    def row(years, strike, call):
        return np.nonzero((bad["expiry"] == years) & (bad["strike"] == strike) & (bad["is_call"] == call))[0][0]

    bad["bid"][row(0.3, 110.0, True)] = 0.0
    bad["ask"][row(0.3, 112.5, True)] = np.nan
    bad["bid"][row(0.3, 115.0, True)] = bad["ask"][row(0.3, 115.0, True)] = np.nan
    bad["bid"][row(0.3, 90.0, False)] = 5.0 + bad["ask"][row(0.3, 90.0, False)]
    for side in ("bid", "ask"):
        bad[side][row(0.8, 95.0, False)] *= 1.5
        bad[side][row(0.8, 80.0, True)] = 10.0  # below intrinsic value, and its put is gone
        bad[side][row(0.8, 80.0, False)] = np.nan
        bad[side][row(0.8, 120.0, False)] = 140.0
        bad[side][row(0.8, 120.0, True)] = np.nan
        bad[side][row(0.8, 72.5, False)] = bad[side][row(0.8, 70.0, False)] = 6.0
    quotes = surface.clean(bad)
    for place, want in {
        (0.3, 110.0, True): "no_bid", (0.3, 112.5, True): "no_ask", (0.3, 115.0, True): "no_quote",
        (0.3, 90.0, False): "crossed", (0.8, 95.0, False): "outlier", (0.8, 80.0, True): "below_intrinsic",
        (0.8, 120.0, False): "above_bound", (0.8, 90.0, True): "in_the_money", (0.8, 105.0, True): "kept",
    }.items():  # fmt: skip
        assert reason_of(quotes, *place) == want, place
    assert {reason_of(quotes, 0.8, strike, False) for strike in (70.0, 72.5)} <= {"cliff", "outlier"}
    # The put in the money stands in for the call that is not there.
    assert reason_of(quotes, 0.3, 110.0, False) == "kept"
    short = surface.clean(market, min_hours=0.2 * 24 * 365)
    assert reason_of(short, 0.1, 100.0, True) == "too_short"
    age = np.zeros(len(short.reason))
    age[short.chain.strike == 105.0] = 60.0
    stale = surface.clean(short.chain, age=age, max_age=30.0)
    assert reason_of(stale, 0.3, 105.0, True) == "stale"
    tick = surface.clean(market, min_tick=0.5)
    assert reason_of(tick, 0.1, 70.0, False) == "no_time_value"


def test_a_cliff_rejects_everything_beyond():
    strikes = np.arange(70.0, 131.0, 2.5)
    market = quoted(strikes=strikes)
    for years in YEARS:
        far = (market["expiry"] == years) & (market["strike"] <= 77.5)
        for side, move in (("bid", -0.004), ("ask", 0.004)):
            for call in (True, False):
                rows = far & (market["is_call"] == call)
                vol = smile(years, market["strike"][rows]) + 0.25 + move
                price = options.price(SPOT, market["strike"][rows], years, RATE, DIVIDEND, vol, call)["price"]
                market[side][rows] = price
    quotes = surface.clean(market, outliers=False)
    low = quotes.chain.strike <= 77.5
    puts = low & ~quotes.chain.is_call
    assert {surface.REASONS[r] for r in quotes.reason[puts]} == {"cliff"}
    assert (quotes.reason[~low & ~quotes.chain.is_call & (quotes.k < 0)] == 0).all()


def test_clean_of_american_options():
    """Puts with a premium for early exercise: without care their volatilities are too high."""

    def american(spot, strike, years, rate, dividend, vol, call):
        return options.american(spot, strike, years, rate, dividend, vol, call, outputs=("price",))

    market = quoted(spread=0.002, price=american)
    right = surface.clean(market, exercise="american", rate=RATE, dividend=DIVIDEND)
    kept = right.kept
    want = np.concatenate([smile(y, right.chain.strike[kept & (right.chain.years == y)]) for y in YEARS])
    np.testing.assert_allclose(right.vol[kept], want, atol=3e-4)
    wrong = surface.clean(market, rate=RATE, dividend=DIVIDEND)
    error = [
        np.nanmax(abs(q.vol - smile_of(q.chain))[~q.chain.is_call & (q.chain.strike < 100)]) for q in (right, wrong)
    ]
    assert error[0] < 0.2 * error[1]
    with_rate = surface.clean(market, exercise="american", rate=RATE)
    assert all(terms.rate == RATE for terms in with_rate.chain.terms.values())
    alone = surface.clean(market, exercise="american")
    for terms in alone.chain.terms.values():
        assert terms.forward == pytest.approx(SPOT * np.exp((RATE - DIVIDEND) * terms.years), rel=2e-3)


def smile_of(chain):
    return np.array([smile(y, k) for y, k in zip(chain.years.tolist(), chain.strike.tolist(), strict=True)])


def test_clean_refuses_what_it_cannot_do(market):
    with pytest.raises(ParameterError, match="'bermudan' is unknown"):
        surface.clean(market, exercise="bermudan")
    chain = options.read_chain(market)
    with pytest.raises(ParameterError, match="rate"):
        surface.clean(chain, rate=0.02)
    with pytest.raises(ShapeError, match="age"):
        surface.clean(chain, age=[1.0], max_age=2.0)
    with pytest.raises(ParameterError, match="max_age"):
        surface.clean(chain, age=np.zeros(len(chain)))
    forwards = {name: values for name, values in market.items() if name != "spot"}
    with pytest.raises(ParameterError, match="American options need the spot"):
        surface.clean(forwards, exercise="american")
    with pytest.raises(ParameterError, match="normal volatilities"):
        surface.clean(market, model="bachelier")


def test_nothing_falls_back_to_bad_quotes(market):
    none = {**market, "bid": np.zeros(len(market["bid"]))}
    quotes = surface.clean(none)
    assert quotes.counts() == {"no_bid": len(none["bid"])}
    with pytest.raises(ParameterError, match=r"none of 150 can be used: 150 no_bid"):
        surface.Surface.fit(none)
    few = {name: values[np.isin(market["strike"], (95.0, 100.0)) | (market["expiry"] > 0.2)]
           for name, values in market.items()}  # fmt: skip
    fitted = surface.Surface.fit(few)
    assert len(fitted.expiries) == 2
    assert fitted.skipped == {"0.1": "2 in_the_money, 2 too_few"}


# ---- surfaces ----


@pytest.fixture(scope="module", params=["essvi", "svi", "mixture"])
def fitted(request, market):
    return surface.Surface.fit(market, model=request.param)


def test_surface_is_that_of_the_market(fitted, market):
    strikes = np.arange(80.0, 121.0, 5.0)
    for years in YEARS:
        np.testing.assert_allclose(fitted.vol(strikes, years), smile(years, strikes), atol=1.5e-3)
    assert fitted.check().ok, fitted.check().violations()
    assert fitted.coverage()["all"] > 0.95
    assert fitted.skipped == {}
    assert fitted.spot == SPOT


def test_surface_prices_and_greeks(fitted):
    strike, years = np.array([90.0, 100.0, 112.0]), 0.5
    forward, rate = fitted.forward_at(years), fitted.rate_at(years)
    vol = fitted.vol(strike, years)
    price = fitted.price(strike, years, True)
    want = options.price(forward, strike, years, rate, 0.0, vol, True, model="black76")["price"]
    np.testing.assert_array_equal(price, want)
    parity = price - fitted.price(strike, years, False)
    np.testing.assert_allclose(parity, np.exp(-rate * years) * (forward - strike), rtol=1e-12, atol=1e-12)
    # With the strike's volatility fixed, or the one of strike / forward: bump the spot and the forwards with it.
    for sticky in ("strike", "moneyness"):
        made = fitted.greeks(strike, years, True, sticky=sticky, outputs=("price", "delta", "gamma"))
        np.testing.assert_allclose(made["price"], price, rtol=1e-12)
        values = []
        for bump in (-0.01, 0.0, 0.01):
            ratio = 1 + bump / SPOT
            moved = vol if sticky == "strike" else fitted.vol(strike / ratio, years)
            values.append(
                options.price(forward * ratio, strike, years, rate, 0.0, moved, True, model="black76")["price"]
            )
        np.testing.assert_allclose(made["delta"], (values[2] - values[0]) / 0.02, atol=2e-6)
        np.testing.assert_allclose(made["gamma"], (values[2] - 2 * values[1] + values[0]) / 1e-4, atol=2e-4)
    assert set(fitted.greeks(100.0, 0.5, "put", sticky="moneyness", outputs="vega")) == {"vega"}
    everything = fitted.greeks(100.0, 0.5, "put", sticky="moneyness", outputs="all")
    assert everything["delta"] == fitted.greeks(100.0, 0.5, "put", sticky="moneyness", outputs="delta")["delta"]
    with pytest.raises(ParameterError, match="'delta' is unknown"):
        fitted.greeks(100.0, 0.5, True, sticky="delta")


def test_densities_integrate_to_one_and_price(fitted):
    prices = np.linspace(1.0, 400.0, 40_000)
    for years in (0.05, 0.2, 0.8, 1.5):
        density = fitted.density(prices, years)
        assert np.trapezoid(density, prices) == pytest.approx(1.0, abs=2e-3)
        mean = np.trapezoid(density * prices, prices)
        assert mean == pytest.approx(fitted.forward_at(years), rel=2e-3)
        call = np.exp(-fitted.rate_at(years) * years) * np.trapezoid(density * np.maximum(prices - 105.0, 0.0), prices)
        assert call == pytest.approx(fitted.price(105.0, years, True), abs=5e-3)


def test_local_volatility_is_dupires(fitted):
    for years in (0.05, 0.2, 0.5, 1.2):
        k = np.linspace(-0.15, 0.15, 7)
        h, d = 1e-5, 1e-4
        w = fitted.total_variance(k, years)
        rise = (fitted.total_variance(k, years + h) - fitted.total_variance(k, years - h)) / (2 * h)
        slope = (fitted.total_variance(k + d, years) - fitted.total_variance(k - d, years)) / (2 * d)
        bend = (fitted.total_variance(k + d, years) - 2 * w + fitted.total_variance(k - d, years)) / d**2
        g = (1 - k * slope / (2 * w)) ** 2 - slope**2 / 4 * (1 / w + 0.25) + bend / 2
        local = fitted.local_vol(fitted.forward_at(years) * np.exp(k), years)
        np.testing.assert_allclose(local, np.sqrt(rise / g), rtol=2e-4)
    assert np.isnan(fitted.local_vol(100.0, 0.0))


def test_surface_beyond_its_expiries(fitted):
    k = np.linspace(-0.5, 0.5, 11)
    times = np.array([1e-4, 0.05, 0.1, 0.2, 0.3, 0.6, 0.8, 1.0, 3.0])
    w = np.stack([fitted.total_variance(k, t) for t in times])
    assert (np.diff(w, axis=0) > 0).all()
    assert np.isnan(fitted.vol(100.0, [0.0, -1.0, np.nan])).all()
    assert isinstance(fitted.vol(100.0, 0.5), float)
    for node in range(3):
        of = fitted.slices[node].total_variance(k) if fitted.slices else surface.svi(k, *fitted.raw()[node])["w"]
        np.testing.assert_allclose(fitted.total_variance(k, YEARS[node]), of, rtol=1e-10)


def test_surface_goes_to_text_and_back(fitted):
    again = surface.Surface.from_dict(json.loads(json.dumps(fitted.to_dict())))
    strikes = np.linspace(60, 140, 9)
    np.testing.assert_array_equal(again.vol(strikes, 0.37), fitted.vol(strikes, 0.37))
    assert again.expiries == fitted.expiries
    with pytest.raises(ParameterError, match="version"):
        surface.Surface.from_dict({**fitted.to_dict(), "version": 99})
    with pytest.raises(StateError, match="quotes"):
        again.coverage()
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.model = "svi"
    with pytest.raises(ValueError, match="read-only"):
        fitted.parameters[0, 0] = 1.0
    made = fitted.to_dict()
    for name, value, error in (("years", [0.3, 0.1, 0.8], ParameterError), ("forward", [1.0], ShapeError),
                               ("model", "spline", ParameterError)):  # fmt: skip
        with pytest.raises(error, match=name):
            surface.Surface.from_dict({**made, name: value})


def test_updates_begin_where_the_surface_is(fitted):
    moved = fitted.update(quoted(spread=0.003))
    assert moved is not fitted
    np.testing.assert_allclose(moved.vol(95.0, 0.4), fitted.vol(95.0, 0.4), atol=1e-3)
    assert moved.check().ok


def test_history():
    base = surface.Surface.fit(quoted())
    history = surface.History(size=2)
    with pytest.raises(ParameterError, match="as_of"):
        history.append(base)
    days = [dataclasses.replace(base, as_of=np.datetime64(f"2024-01-0{d}T16:00")) for d in (2, 3, 4)]
    for one in days:
        history.append(one)
    assert len(history) == 2
    assert history.asof("2024-01-03T16:00") is days[1]
    assert history.asof("2024-01-04T15:59") is days[1]
    assert history.asof("2030-01-01") is days[2]
    with pytest.raises(ParameterError, match="no surface at or before"):
        history.asof("2024-01-03T15:59")
    with pytest.raises(ParameterError, match="before the last"):
        history.append(days[0])
    columns = history.to_columns()
    assert len(columns["a"]) == 6
    with pytest.raises(ParameterError, match="size"):
        surface.History(0)


def test_history_as_a_file(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    history = surface.History()
    history.append(dataclasses.replace(surface.Surface.fit(quoted()), as_of=np.datetime64("2024-01-02T16:00")))
    history.to_parquet(tmp_path / "history.parquet")
    table = parquet.read_table(tmp_path / "history.parquet")
    np.testing.assert_array_equal(table["sigma"].to_numpy(), history.to_columns()["sigma"])


# ---- real chains ----

#: What a chain file needs to be read, its exercise, and the least share of quotes whose bid and ask enclose the curve,
#: for eSSVI, SVI and the mixture; None where there are no bids and asks. Three numbers an expiry do not reach spreads
#: of a tick.
CHAINS = {
    "aapl_chain_1h_20140606_09.parquet": ({"at": "2014-06-06 14:00", "spot": 648.0}, "american", 0.5, 0.65, 0.95),
    "spy_chain_20260501.parquet": ({}, "american", 0.02, 0.1, 0.93),
    "spy_chain_20201005.parquet": ({"as_of": "2020-10-05 16:15"}, "american", 0.15, 0.4, 0.94),
    "nifty_chain_1min_20260819.parquet": ({}, "european", None, None, None),
    "spx_chain_20130419.csv": ({"years": 62 / 365, "spot": 1555.25}, "european", 0.85, 0.95, 0.97),
    "spx_chain_20130624.csv": ({"years": 53 / 365, "spot": 1573.09}, "european", 0.93, 0.95, 0.98),
    "spx_chain_vix_example_200901.csv": ({"columns": {"expiry": "days"}, "rate": 0.0038}, "european", 0.85, 0.92, 0.95),
    "tsla_chain_ragtop.csv.gz": ({}, "american", 0.55, 0.8, 0.98),
    "dax_settlement_20120210.csv.gz": ({"as_of": "2012-02-10", "spot": 6692.96}, "european", None, None, None),
    "deribit_btc_chain_20200912.csv.gz": ({"inverse": True}, "european", 0.55, 0.9, 0.98),
}


@pytest.mark.parametrize("name", CHAINS)
def test_default_surfaces_of_real_chains_have_no_arbitrage(shared, name):
    path = shared / "data" / "options" / name
    if not path.is_file():
        pytest.skip(f"no {name} in the shared folder")
    read, exercise, *least = CHAINS[name]
    quotes = surface.clean(options.read_chain(path, **read), exercise=exercise)
    assert quotes.kept.sum() > 100
    assert sum(quotes.counts().values()) == len(quotes.reason)
    for model, share in zip(("essvi", "svi", "mixture"), least, strict=True):
        made = surface.Surface.fit(quotes, model=model)
        check = made.check()
        assert check.butterfly.free.all()
        assert check.ok or model == "svi"
        if share is not None:
            assert made.coverage()["all"] >= share
        vols = made.vol(made.forward, made.years)
        assert ((vols > 0.05) & (vols < 1.5)).all()


def test_updates_clean_as_the_fit_did():
    def american(spot, strike, years, rate, dividend, vol, call):
        return options.american(spot, strike, years, rate, dividend, vol, call, outputs=("price",))

    source = quoted(spread=0.002, price=american)
    first = surface.Surface.fit(source, exercise="american", rate=RATE)
    again = first.update(source)
    assert again.rate.tolist() == [RATE] * 3
    np.testing.assert_allclose(again.forward, first.forward, rtol=1e-12)
    np.testing.assert_allclose(again.vol([90.0, 100.0], 0.5), first.vol([90.0, 100.0], 0.5), atol=1e-4)
    assert first.update(options.read_chain(source, rate=RATE)).rate.tolist() == [RATE] * 3
