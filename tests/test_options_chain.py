# SPDX-License-Identifier: Apache-2.0
"""Option chains: what parity gives back, what is said of bad quotes, and files as vendors make them."""

from __future__ import annotations

import datetime

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from warpquant import data, options, surface
from warpquant.errors import ParameterError, WarpquantError
from warpquant.options.chain import STATUSES, parity, read_chain

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


def names_of(status):
    return [STATUSES[code] for code in status]


# ---- put-call parity ----

STRIKES = np.arange(80.0, 121.0, 2.5)


@pytest.mark.parametrize("known", [{}, {"rate": 0.03}, {"spot": 100.0, "dividend": 0.01}])
@pytest.mark.parametrize("bad", [0, 1, 5])
def test_parity_finds_the_line_in_spite_of_outliers(known, bad):
    forward, discount = 100.0 * np.exp(0.02 * 0.7), np.exp(-0.03 * 0.7)
    call = discount * (forward - STRIKES) + 20.0
    call[2 : 2 + bad] += [4.0, -3.0, 8.0, 1.0, 30.0][:bad]
    found = parity(STRIKES, call, np.full(17, 20.0), 0.7, **known)
    assert found[0] == pytest.approx(discount, rel=1e-12)
    assert found[1] == pytest.approx(forward, rel=1e-12)
    assert (found[2] == 0).sum() == bad


@hypothesis.given(
    st.floats(50, 200), st.floats(0.9, 1.02), st.integers(0, 2**32 - 1), st.floats(0.001, 0.05),
)  # fmt: skip
def test_parity_of_noisy_quotes(forward, discount, seed, noise):
    rng = np.random.default_rng(seed)
    strike = np.linspace(0.7, 1.3, 41) * forward
    put = np.full(41, 30.0)
    call = put + discount * (forward - strike) + rng.normal(0, noise, 41)
    rng.shuffle(bad := np.arange(41) % 8 == 0)
    call[bad] += rng.choice([-1, 1], bad.sum()) * 50 * noise
    found_discount, found_forward, weights = parity(strike, call, put, 1.0)
    # Ten standard errors of least squares on the good quotes.
    assert abs(found_discount - discount) < 10 * noise / (forward * 0.18 * 6)
    assert abs(found_forward - forward) < 10 * noise / 6 + 1e-9
    assert (weights[bad] == 0).all()


def test_parity_of_too_little():
    for strike in ([], [100.0], [100.0, 105.0], [100.0, 100.0, 100.0]):
        none = np.array(strike)
        assert np.isnan(parity(none, none, none, 1.0)[:2]).all()
    assert parity([100.0], [7.0], [5.0], 1.0, rate=0.0)[:2] == (1.0, 102.0)
    assert np.isnan(parity([90.0, 100.0, 110.0], [1.0, 20.0, 40.0], [1.0, 1.0, 1.0], 1.0)[0])  # a discount below 0


# ---- whole chains ----


def made_chain(model="bsm", rate=0.03, dividend=0.012, spread=0.0, spot=100.0):
    """Quotes of a smile, three expiries, as a mapping; and their volatilities."""
    table = {k: [] for k in ("years", "strike", "right", "bid", "ask", "vol")}
    for years in (0.08, 0.5, 1.5):
        for strike in np.arange(70.0, 131.0, 5.0):
            for right in ("C", "P"):
                vol = 0.2 - 0.1 * np.log(strike / 100.0) + 0.05 * np.log(strike / 100.0) ** 2
                first = spot if model == "bsm" else spot * np.exp((rate - dividend) * years)
                price = options.price(first, strike, years, rate, dividend, vol, right, model=model)["price"]
                row = (years, strike, right, price - spread, price + spread, vol)
                for name, value in zip(table, row, strict=True):
                    table[name].append(value)
    vols = np.array(table.pop("vol"))
    return ({**table, "spot": spot} if model == "bsm" else table), vols


@pytest.mark.parametrize("model", ["bsm", "black76"])
@pytest.mark.parametrize("given", [{}, {"rate": 0.03}, {"rate": 0.03, "dividend": 0.012}, {"dividend": 0.012}])
def test_volatilities_come_back(model, given):
    if model == "black76":
        given = {k: v for k, v in given.items() if k == "rate"}
    table, vols = made_chain(model)
    chain = read_chain(table, **given)
    assert chain.model == model
    for terms in chain.terms.values():
        assert terms.rate == pytest.approx(0.03, abs=1e-9)
        assert terms.forward == pytest.approx(100.0 * np.exp(0.018 * terms.years), rel=1e-10)
        if model == "bsm":
            assert terms.dividend == pytest.approx(0.012, abs=1e-8)
            assert terms.source == ("given" if len(given) == 2 else "parity")
    found, status = chain.implied_vol()
    good = chain.mid() > 1e-3
    assert good.sum() > 60
    assert (status[good] == 0).all()
    np.testing.assert_allclose(found[good], vols[good], rtol=0, atol=2e-8)
    greeks = chain.greeks(("price", "vega"), vol=found)
    np.testing.assert_allclose(greeks["price"][good], chain.mid()[good], rtol=1e-11)
    again = chain.greeks("vega")["vega"]
    np.testing.assert_array_equal(again, greeks["vega"])


def test_bid_and_ask_bracket_the_mid():
    table, _ = made_chain(spread=0.02)
    chain = read_chain(table)
    bid, mid, ask = (chain.implied_vol(side)[0] for side in ("bid", "mid", "ask"))
    there = np.isfinite(bid + mid + ask)
    assert there.sum() > 50
    assert (bid[there] < mid[there]).all()
    assert (mid[there] < ask[there]).all()


def test_what_is_wrong_with_a_quote():
    rows = [
        # strike, right, bid, ask, years, mid, bid, ask
        (100.0, "C", 8.0, 8.2, 0.5, "ok", "ok", "ok"),
        (100.0, "P", 0.0, 6.0, 0.5, "no_bid", "no_bid", "ok"),
        (105.0, "P", np.nan, 6.0, 0.5, "no_bid", "no_bid", "ok"),
        (105.0, "C", 5.0, 0.0, 0.5, "no_ask", "ok", "no_ask"),
        (110.0, "C", 0.0, 0.0, 0.5, "no_quote", "no_quote", "no_quote"),
        (110.0, "P", np.nan, np.nan, 0.5, "no_quote", "no_quote", "no_quote"),
        (115.0, "C", 3.0, 2.0, 0.5, "crossed", "ok", "ok"),
        (120.0, "C", 1.0, 1.1, 0.0, "expired", "expired", "expired"),
        (120.0, "C", 1.0, 1.1, -0.1, "expired", "expired", "expired"),
        (np.nan, "C", 1.0, 1.1, 0.5, "invalid", "invalid", "invalid"),
        (50.0, "C", 40.0, 40.2, 0.5, "below_intrinsic", "below_intrinsic", "below_intrinsic"),
        (90.0, "P", 99.0, 99.5, 0.5, "above_bound", "above_bound", "above_bound"),
        (95.0, "P", -1.0, 2.0, 0.5, "no_bid", "no_bid", "ok"),
    ]
    keys = ("strike", "right", "bid", "ask", "years")
    chain = read_chain({k: [row[i] for row in rows] for i, k in enumerate(keys)}, spot=100.0, rate=0.02, dividend=0.0)
    expected = {}
    for strike, right, bid, _, years, *statuses in rows:
        expected.setdefault((str(strike), right == "C", str(bid if bid > 0 else np.nan), round(years, 9)), statuses)
    for k, side in enumerate(("mid", "bid", "ask")):
        vol, status = chain.implied_vol(side)
        for i, name in enumerate(names_of(status)):
            key = (str(chain.strike[i]), bool(chain.is_call[i]), str(chain.bid[i]), round(float(chain.years[i]), 9))
            assert name == expected[key][k], (key, side)
        assert (np.isnan(vol) == (status != 0)).all()


def test_the_order_and_the_part_of_some_expiries():
    table, _ = made_chain()
    frame = pd.DataFrame(table).sample(frac=1.0, random_state=1)
    chain = read_chain(frame)
    assert (np.diff(chain.years) >= 0).all()
    assert chain.is_call[0]
    assert not chain.is_call[1]
    part = chain.only(["0.5"])
    assert len(part) == 26
    assert list(part.terms) == ["0.5"]
    np.testing.assert_array_equal(part.implied_vol()[0], chain.implied_vol()[0][chain.expiry == "0.5"])
    with pytest.raises(ParameterError, match=r"expiry: '7' is not in the chain"):
        chain.only(["7"])


def test_a_part_keeps_its_terms_where_american_options_become_european(monkeypatch):
    surface = pytest.importorskip("warpquant.surface")
    table, _ = made_chain()
    chain = read_chain(table)
    part = chain.only(["0.5"])
    assert part.keeps_terms
    assert not chain.keeps_terms
    asked = []
    plain = options.Chain._terms
    monkeypatch.setattr(options.Chain, "_terms", lambda self, *given: (asked.append(len(self)), plain(self, *given))[1])
    kept = surface.clean(part, exercise="american")
    assert asked == []
    assert kept.chain.terms == part.terms
    again = chain.only(["0.5"], ask_again=True)
    assert asked == [26]
    assert not again.keeps_terms
    assert again.terms["0.5"].source == "parity"
    asked.clear()
    surface.clean(again, exercise="american")
    assert asked == [26, 26]
    with pytest.raises(ParameterError, match="ask_again"):
        chain.only(["0.5"], ask_again=1)


def test_rates_of_short_expiries_are_those_of_long_ones():
    table, _ = made_chain()
    rng = np.random.default_rng(2)
    noise = rng.uniform(0.0, 0.05, len(table["bid"]))
    for side, sign in (("bid", -1), ("ask", 1)):
        table[side] = np.array(table[side]) + sign * 0.05 + noise * 0.4
    chain = read_chain(table)
    assert next(iter(chain.terms.values())).source == "pooled"
    assert all(abs(t.rate - 0.03) < 0.006 for t in chain.terms.values())
    assert len({t.rate for t in chain.terms.values() if t.source == "pooled"}) == 1


def test_an_expiry_without_pairs_takes_the_terms_of_its_neighbour():
    table, _ = made_chain()
    keep = [not (y == 0.5 and r == "P") for y, r in zip(table["years"], table["right"], strict=True)]
    some = {k: v if k == "spot" else list(np.array(v)[keep]) for k, v in table.items()}
    chain = read_chain(some)
    terms = chain.terms["0.5"]
    assert terms.source == "neighbour"
    assert terms.forward == pytest.approx(100.0 * np.exp(0.018 * 0.5), rel=1e-9)
    alone = {
        k: v if k == "spot" else [x for x, r in zip(v, some["right"], strict=True) if r == "C"] for k, v in some.items()
    }
    _, status = read_chain(alone).implied_vol()
    assert set(names_of(status)) == {"no_terms"}
    assert (read_chain(alone, rate=0.03, dividend=0.012).implied_vol()[1] == 0).sum() > 20


def test_layouts_of_frames():
    table, _ = made_chain()
    expected = read_chain(table).implied_vol()[0]
    n = len(table["strike"])
    table["spot"] = [100.0] * n
    for frame in (pd.DataFrame(table), pl.DataFrame(table), pa.table(table), table):
        np.testing.assert_array_equal(read_chain(frame).implied_vol()[0], expected)
    frame = pd.DataFrame(table)
    calls, puts = frame[frame.right == "C"], frame[frame.right == "P"]
    for call, put in (("{}_c", "{}_p"), ("call_{}", "put_{}")):
        wide = {"years": calls.years.to_numpy(), "strike": calls.strike.to_numpy(), "spot": calls.spot.to_numpy()}
        for side in ("bid", "ask"):
            wide[call.format(side)] = calls[side].to_numpy()
            wide[put.format(side)] = puts[side].to_numpy()
            wide[call.format(side + "size")] = np.arange(len(calls))
        np.testing.assert_array_equal(read_chain(wide).implied_vol()[0], expected)
    other = {"K": table["strike"], "T": table["years"], "cp": table["right"], "b": table["bid"], "a": table["ask"]}
    columns = {"strike": "K", "expiry": "T", "bid": "b", "ask": "a"}
    np.testing.assert_array_equal(read_chain(other, columns=columns, spot=100.0).implied_vol()[0], expected)
    coins = {**table, "bid": np.array(table["bid"]) / 100.0, "ask": np.array(table["ask"]) / 100.0}
    np.testing.assert_allclose(read_chain(coins, inverse=True).implied_vol()[0], expected, rtol=1e-6)
    for right in (["call", "put"], ["CALLS", "PUTS"], [1, -1], [True, False], [1, 0]):
        flags = [right[r == "P"] for r in table["right"]]
        np.testing.assert_array_equal(read_chain({**table, "right": flags}).implied_vol()[0], expected)


def test_times():
    """Of many moments the last quote of each contract up to one of them, on that day."""
    quotes = [
        ("2024-03-14T15:59", 100.0, "C", 9.0), ("2024-03-15T10:00", 100.0, "C", 1.0),
        ("2024-03-15T11:00", 100.0, "C", 2.0), ("2024-03-15T10:30", 100.0, "P", 3.0),
        ("2024-03-15T12:00", 100.0, "P", 4.0), ("2024-03-14T12:00", 105.0, "C", 5.0),
    ]  # fmt: skip
    table = {
        "ts": [datetime.datetime.fromisoformat(q[0]) for q in quotes], "strike": [q[1] for q in quotes],
        "right": [q[2] for q in quotes], "bid": [q[3] for q in quotes], "ask": [q[3] + 0.1 for q in quotes],
        "expiry": [datetime.date(2024, 4, 15)] * 6, "spot": [100.0] * 6,
    }  # fmt: skip

    def bids(**more):
        chain = read_chain(table, rate=0.0, dividend=0.0, **more)
        return chain.bid.tolist(), float(chain.years[0]) * 365

    assert bids() == ([2.0, 4.0], pytest.approx(31 + 4 / 24))  # to 16:00
    assert bids(at="11:00") == ([2.0, 3.0], pytest.approx(31 + 5 / 24))
    assert bids(at="10:15", close="17:00") == ([1.0], pytest.approx(31 + 6.75 / 24))
    assert bids(at="2024-03-14T16:00") == ([9.0, 5.0], pytest.approx(32))
    ms = {**table, "ts": [36_000_000 + 60_000 * i for i in range(6)]}
    chain = read_chain(ms, as_of="2024-03-15", at="10:02", rate=0.0, dividend=0.0)
    assert (len(chain), str(chain.as_of)) == (1, "2024-03-15T10:02:00.000")
    once = {k: [v[i] for i in (0, 3, 5)] for k, v in table.items()}  # each contract
    days = read_chain({**once, "ts": [20240315] * 3}, rate=0.0, dividend=0.0)
    assert days.years[0] * 365 == pytest.approx(31)
    with pytest.raises(ParameterError, match="as_of: column 'ts' has times of day"):
        read_chain(ms)
    with pytest.raises(ParameterError, match="close: '25:00'"):
        read_chain(table, close="25:00")
    with pytest.raises(ParameterError, match="at: no quote"):
        read_chain(table, at="09:00")
    without = {k: v for k, v in once.items() if k != "ts"}
    with pytest.raises(ParameterError, match="as_of: is needed"):
        read_chain(without)
    with pytest.raises(ParameterError, match="at: the source has no times"):
        read_chain(without, at="10:00")


@pytest.mark.parametrize(
    ("expiry", "days", "label"),
    [("2024-04-19", 35, "2024-04-19"), (20240419, 35, "2024-04-19"), (202404, 35, "2024-04-19"), (0.5, 182.5, "0.5")],
)
def test_expiries(expiry, days, label):
    table = {"strike": [100.0], "right": ["C"], "bid": [5.0], "ask": [6.0], "expiry": [expiry]}
    chain = read_chain(table, as_of="2024-03-15", spot=100.0, rate=0.0)
    assert (chain.expiry[0], chain.years[0] * 365) == (label, pytest.approx(days))


@pytest.mark.parametrize(
    ("change", "more", "text"),
    [
        ({"strike": None}, {}, "strike: no column"), ({"right": None}, {}, "is_call: no column"),
        ({"right": ["X"]}, {}, "is_call: 'X'"), ({"bid": None, "ask": None}, {}, "bid, ask, price: no column"),
        ({}, {"columns": {"vola": "x"}}, "columns: 'vola'"), ({}, {"model": "sabr"}, "model: 'sabr'"),
        ({}, {"where": {"strike": "7"}}, "where: no row has strike = 7"), ({}, {"where": {"x": "7"}}, "no column 'x'"),
        ({}, {"inverse": True}, "spot: is needed"), ({"years": ["soon"]}, {}, "expiry: column 'years' holds neither"),
    ],
)  # fmt: skip
def test_what_is_refused(change, more, text):
    table = {"strike": [100.0], "right": ["C"], "bid": [5.0], "ask": [6.0], "years": [0.5], **change}
    with pytest.raises(ParameterError, match=text):
        read_chain({k: v for k, v in table.items() if v is not None}, **more)


def test_files(tmp_path):
    table, _ = made_chain()
    frame = pl.DataFrame(table)
    expected = read_chain(frame).implied_vol()[0]
    frame.write_parquet(tmp_path / "c.parquet")
    frame.write_csv(tmp_path / "c.csv")
    frame.write_ipc(tmp_path / "c.feather")
    for name in ("c.parquet", "c.csv", "c.feather"):
        np.testing.assert_array_equal(read_chain(tmp_path / name).implied_vol()[0], expected)
    (tmp_path / "c.xlsx").write_text("x")
    with pytest.raises(WarpquantError, match="unknown kind of file"):
        read_chain(tmp_path / "c.xlsx")


# ---- real chains ----


def test_the_sample_of_the_package():
    quotes = data.goog_options()
    with pytest.raises(ValueError, match="read-only"):
        quotes["bid"][0] = 1.0
    chain = read_chain(quotes, close="13:00")
    vol, status = chain.implied_vol()
    assert len(chain) == 2192
    assert (status == 0).sum() > 550
    assert 0.15 < np.nanmedian(vol) < 0.4
    terms = [t for t in chain.terms.values() if t.years > 0.01]
    assert all(abs(t.forward / 750.845 - 1) < 0.02 for t in terms)


@pytest.mark.parametrize(
    ("name", "more", "least"),
    [
        ("spy_chain_20260501.parquet", {"rate": 0.04}, 7200),
        ("spy_chain_20201005.parquet", {"as_of": "2020-10-05T16:00", "rate": 0.001}, 6400),
        (
            "goog_chain_1min_20151224.parquet",
            {"as_of": "2015-12-24", "at": "12:00", "spot": 750.845, "close": "13:00"},
            600,
        ),
        ("aapl_chain_1h_20140606_09.parquet", {"at": "2014-06-06T15:00", "spot": 645.57, "rate": 0.001}, 1900),
        ("us_chains_daily_lean.parquet", {"where": {"underlying": "AAPL", "date": "2014-06-05"}, "rate": 0.001}, 1900),
        ("nifty_chain_1min_20260819.parquet", {"close": "15:30"}, 420),
        ("deribit_btc_chain_20200912.csv.gz", {"inverse": True, "model": "black76"}, 230),
        ("spx_chain_vix_example_200901.csv", {"rate": 0.0038, "columns": {"expiry": "days"}}, 500),
        ("spx_chain_20130419.csv", {"spot": 1555.25, "years": 62 / 365}, 250),
        ("spx_chain_20130624.csv", {"spot": 1573.09, "years": 53 / 365}, 250),
        ("tsla_chain_ragtop.csv.gz", {}, 800),
        ("dax_settlement_20120210.csv.gz", {"as_of": "2012-02-10", "spot": 6692.96}, 1200),
    ],
)
def test_real_chains(shared, name, more, least):
    path = shared / "data/options" / name
    if not path.is_file():
        pytest.skip(f"no {name} in the shared folder")
    chain = read_chain(path, **more)
    vol, status = chain.implied_vol()
    assert (status == 0).sum() >= least
    assert (np.isfinite(vol) == (status == 0)).all()
    assert 0.05 < np.nanmedian(vol) < 1.5
    again = chain.greeks("price", vol=vol)["price"]
    good = status == 0
    np.testing.assert_allclose(again[good], chain.mid()[good], rtol=1e-8)


def test_forwards_of_an_index_are_its_futures(shared):
    path = shared / "data/options/dax_settlement_20120210.csv.gz"
    if not path.is_file():
        pytest.skip("no DAX settlements in the shared folder")
    terms = read_chain(path, as_of="2012-02-10", spot=6692.96).terms
    for expiry, future, euribor in (
        ("2012-03-16", 6697.5, 0.00641),
        ("2012-06-15", 6711.0, 0.01063),
        ("2012-09-21", 6719.5, 0.01365),
    ):
        assert terms[expiry].forward == pytest.approx(future, abs=1.5)
        assert terms[expiry].rate == pytest.approx(euribor, abs=0.009)


def test_volatilities_are_those_of_the_exchange(shared):
    """Deribit gives the volatility of its mark price, in percent, to two digits."""
    path = shared / "data/options/deribit_btc_chain_20200912.csv.gz"
    if not path.is_file():
        pytest.skip("no coins in the shared folder")
    frame = pl.read_csv(path, infer_schema_length=10_000)
    chain = read_chain(
        frame, inverse=True, model="black76", columns={"price": "mark_price", "bid": "mark_price", "ask": "mark_price"}
    )
    vol, status = chain.implied_vol()
    key = {
        (e[:10], k, t == "call"): v
        for e, k, t, v in frame.select("expiry", "strike", "option_type", "mark_iv").iter_rows()
    }
    theirs = np.array([key[e, k, bool(c)] for e, k, c in zip(chain.expiry, chain.strike, chain.is_call, strict=True)])
    # Where the price tells the volatility: far from intrinsic, and the quotes of one expiry are of one second.
    vega = chain.greeks("vega", vol=theirs / 100)["vega"]
    told = (status == 0) & (vega > 500) & (chain.years > 0.05)
    assert told.sum() > 100
    assert np.median(np.abs(100 * vol[told] - theirs[told])) < 0.2


def test_rows_of_the_source():
    frame = {"strike": [110.0, 90.0, 100.0], "right": ["c", "p", "c"], "bid": [1.0, 1.1, 4.0], "ask": [1.2, 1.3, 4.2],
             "years": [0.5, 0.5, 0.25], "tag": ["a", "b", "c"]}  # fmt: skip
    chain = read_chain(frame, spot=100.0, rate=0.02, dividend=0.0)
    assert chain.row.tolist() == [2, 1, 0]
    assert np.array_equal(np.array(frame["bid"])[chain.row], chain.bid)
    part = read_chain(frame, spot=100.0, rate=0.02, dividend=0.0, where={"right": "c"})
    assert part.row.tolist() == [2, 0]
    wide = read_chain(
        {"strike": [100.0, 90.0], "years": [0.5, 0.5], "call_bid": [4.0, 9.0], "put_bid": [3.0, 1.0],
         "call_ask": [4.2, 9.3], "put_ask": [3.2, 1.2]}, spot=100.0, rate=0.02, dividend=0.0,
    )  # fmt: skip
    assert wide.row.tolist() == [1, 1, 0, 0]


def test_one_underlying_and_one_quote_of_a_contract():
    frame = {"strike": [100.0, 100.0], "right": ["c", "c"], "bid": [1.0, 2.0], "ask": [1.2, 2.2], "years": [0.5, 0.5],
             "underlying": ["AAPL", "TWX"]}  # fmt: skip
    with pytest.raises(ParameterError, match=r"underlying.* 2 underlyings \(AAPL, TWX\)"):
        read_chain(frame, spot=100.0)
    assert read_chain(frame, spot=100.0, where={"underlying": "TWX"}).bid.tolist() == [2.0]
    del frame["underlying"]
    with pytest.raises(ParameterError, match="rows 0 and 1 are both of"):
        read_chain(frame, spot=100.0)
    frame["quote_datetime"] = np.array(["2024-03-15T10:00", "2024-03-15T10:01"], dtype="datetime64[s]")
    assert read_chain(frame, spot=100.0).bid.tolist() == [2.0]


def test_expiries_of_one_day_at_two_times_are_two():
    rows = [("2026-04-02T09:30", k, right, vol) for k in range(70, 135, 5) for right, vol in (("C", 0.2), ("P", 0.2))]
    rows += [("2026-04-02T22:00", k, right, vol) for k in range(70, 135, 5) for right, vol in (("C", 0.3), ("P", 0.3))]
    rows += [("2026-07-02", k, right, vol) for k in range(70, 135, 5) for right, vol in (("C", 0.3), ("P", 0.3))]
    expiry, strike, right, vol = (np.array(column) for column in zip(*rows, strict=True))
    years = (expiry.astype("datetime64[m]") - np.datetime64("2026-01-01T00:00")) / np.timedelta64(1, "D") / 365.0
    price = options.price(100.0, strike.astype(float), years, 0.02, 0.0, vol, right == "C")["price"]
    columns = {"expiry": expiry, "strike": strike, "right": right, "bid": price - 0.01, "ask": price + 0.01}
    chain = options.read_chain(columns, spot=100.0, as_of="2026-01-01T00:00")
    assert list(chain.terms) == ["2026-04-02T09:30", "2026-04-02T22:00", "2026-07-02"]
    made = surface.Surface.fit(chain)
    np.testing.assert_allclose([made.vol(100.0, t.years) for t in chain.terms.values()][:2], [0.2, 0.3], atol=2e-3)
    same = options.read_chain(
        {"expiry": [0.25, 0.2500001], "strike": [90.0, 90.0], "is_call": [True, True], "bid": [11.0, 11.0],
         "ask": [12.0, 12.0]}, spot=100.0, rate=0.0, dividend=0.0,
    )  # fmt: skip
    assert len(same.terms) == 2


def test_rights_spelled_in_two_ways_are_one_contract():
    columns = {"expiry": [0.25, 0.25], "strike": [90.0, 90.0], "right": ["C", "call"], "bid": [11.0, 10.0],
               "ask": [12.0, 13.0]}  # fmt: skip
    with pytest.raises(ParameterError, match="rows 0 and 1 are both of"):
        options.read_chain(columns, spot=100.0, rate=0.0, dividend=0.0)


def test_what_cleaning_refuses():
    columns = {"expiry": np.full(6, 0.25), "strike": [95.0, 95.0, 105.0, 105.0, 110.0, 110.0],
               "is_call": [True, False] * 3, "bid": [7.0, 1.0, 2.0, 6.0, 1.0, 10.0],
               "ask": [7.2, 1.2, 2.2, 6.2, 1.2, 10.2]}  # fmt: skip
    chain = options.read_chain(columns, spot=100.0, rate=0.0, dividend=0.0)
    for given in (
        {"min_tick": np.nan},
        {"min_hours": -1.0},
        {"outliers": "no"},
        {"age": np.full(6, -1.0), "max_age": 9},
    ):
        with pytest.raises(ParameterError, match=next(iter(given))):
            surface.clean(chain, **given)
