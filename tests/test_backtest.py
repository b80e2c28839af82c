# SPDX-License-Identifier: Apache-2.0
"""Backtests: against their definition, other libraries, and themselves computed another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, near, panel, same_bits, walk
from reference import backtest as reference
from warpquant import backtest
from warpquant.backtest import METRICS, Costs, Rules
from warpquant.errors import ShapeError

RULES = {
    "default": Rules(),
    "long": Rules(side="long", long_above=0.3, long_exit=-0.2),
    "short": Rules(side="short", short_exit=0.5, short_below=-0.2),
    "levels alone": Rules(long_above=0.0, short_below=0.0),
    "direction": Rules(signal="direction"),
    "direction, long": Rules(signal="direction", side="long", delay=2),
    "later": Rules(delay=4),
    "on credit": Rules(size=2.5),
    "by signal": Rules(sizing="signal", size=1.5, long_exit=-0.4),
    "by volatility": Rules(sizing="volatility", target_volatility=0.15, volatility_window=7, max_size=1.8),
    "by volatility, later": Rules(sizing="volatility", size=0.5, volatility_window=30, delay=3),
    "on every bar": Rules(rebalance="bar", size=0.7),
    "by signal, on every bar": Rules(rebalance="bar", sizing="signal", side="short"),
}
COSTS = {
    "none": Costs(),
    "fee": Costs(fee=0.001),
    "all": Costs(fee=0.0005, slippage=0.0005, funding=0.0003, borrow=0.0002),
    "paid": Costs(funding=-0.001),
}
TOLERANCE = {
    # relative to the equity and the returns of its size: each bar adds a few roundings
    "per bar": 1e-11,
    # relative; deviations from the mean lose digits where returns are nearly equal
    "metric": 1e-9,
    # the same formulas on the same returns
    "library": 1e-10,
}


def averages(bars, seed=0):
    """Signals that stay a while, wander through all levels and are missing in places."""
    rng = np.random.default_rng(seed)
    signal = np.clip(np.cumsum(rng.normal(0.0, 0.15, bars)) % 4.0 - 2.0, -1.0, 1.0).round(2)
    signal[rng.random(bars) < 0.02] = np.nan
    signal[:9] = np.nan
    return signal


def check(prices, signal, rules, costs, label, **more):
    names = {"starting": "starting", "year": "periods_per_year", "free": "risk_free", "tail": "tail"}
    got = backtest.run(prices, signal, rules=rules, costs=costs, **{names[k]: v for k, v in more.items()})
    follow = {k: v for k, v in more.items() if k in ("starting", "year")}
    want = reference.follow(prices, signal, rules, costs, **follow)
    scale = np.maximum(np.abs(want["equity"]), 1e-300)
    near(got.equity, want["equity"], TOLERANCE["per bar"], scale, f"{label}: equity")
    near(
        got.position,
        want["position"],
        TOLERANCE["per bar"],
        np.maximum(1.0, abs(want["position"])),
        f"{label}: position",
    )
    near(
        got.returns, want["returns"], TOLERANCE["per bar"], np.maximum(0.01, abs(want["returns"])), f"{label}: returns"
    )
    measured = reference.metrics(want, **{k: v for k, v in more.items() if k != "starting"})
    assert list(got.metrics) == list(METRICS)
    for name in METRICS:
        scale = max(abs(measured[name]), 1e-3) if np.isfinite(measured[name]) else 1.0
        near(got.metrics[name], measured[name], TOLERANCE["metric"], scale, f"{label}: {name}")
    table = got.trades()
    for field in ("entry_bar", "exit_bar", "entry_price", "exit_price", "side", "bars", "open"):
        np.testing.assert_array_equal(table[field], [t[field] for t in want["trades"]], f"{label}: {field}")
    for field, unit in (("size", 1.0), ("return", 1.0), ("fees", more.get("starting", 1.0))):
        theirs = np.array([t[field] for t in want["trades"]])
        np.testing.assert_allclose(table[field], theirs, rtol=1e-9, atol=1e-12 * unit, err_msg=f"{label}: {field}")
    return got


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("rules", RULES)
def test_oracle(rules, costs):
    how = RULES[rules], COSTS[costs]
    for bars in (0, 1, 2, 7, 8, 9, 33, 700):
        check(walk(bars, 3, 0.02), averages(bars), *how, f"{bars} bars")
    check(holes(walk(300, 4, 0.02)), averages(300, 1), *how, "holes")
    check(walk(300, 5, 0.02), averages(300, 2), *how, "other units", starting=1e5, year=8760.0, free=0.03, tail=0.11)


def test_real_data(eurusd):
    panels = {"EURUSD": eurusd, **warpquant.data.sp500_20()}
    for name in ("EURUSD", "AAPL", "XOM"):
        close = panels[name]
        got = check(close, warpquant.atc.run(close)["average"], Rules(), Costs(fee=0.0002), name)
        assert got.metrics["trades"] > 100


def test_by_hand():
    made = backtest.run([100.0, 110.0, 99.0, 99.0], [1.0, -1.0, np.nan, 1.0], costs=Costs(fee=0.01))
    first = 1 / 1.01  # the fee comes off what is bought with the whole equity
    second = first * 1.1
    # at 110: a fee of 1% of what is sold, then of the short position
    turned = (second - 0.01 * second) / 1.01
    third = turned * 1.1
    bought = third - 0.01 * turned * 0.9
    near(made.equity, [first, turned, bought, bought / 1.01], 1e-14)
    near(made.position, [1.0, -1.0, 0.0, 1.0], 1e-14)
    near(made.returns, np.diff([1.0, *made.equity]) / [1.0, *made.equity[:-1]], 1e-13)
    table = made.trades()
    assert table["side"].tolist() == [1, -1, 1]
    assert table["entry_bar"].tolist() == [0, 1, 3]
    assert table["exit_bar"].tolist() == [1, 2, 3]
    assert table["open"].tolist() == [False, False, True]
    near(np.prod(1 + table["return"]), bought / 1.01, 1e-14)


def test_a_signal_earns_the_next_return_alone():
    price = walk(50, 1, 0.05)
    for delay in (1, 2, 5):
        for at in (0, 10, 48):
            signal = np.zeros(50)
            signal[at] = 1.0
            got = backtest.run(price, signal, rules=Rules(signal="direction", delay=delay)).returns
            want, earned = np.zeros(50), at + delay
            if earned < 50:
                want[earned] = price[earned] / price[earned - 1] - 1
            near(got, want, 1e-13, 0.01)


def test_hysteresis():
    signal = [0.05, 0.2, 0.05, -0.05, 0.05, -0.2, -0.05, 0.05, np.nan, 0.2]
    got = backtest.run(np.full(10, 5.0), signal).position
    same_bits(got, np.array([0.0, 1, 1, 0, 0, -1, -1, 0, 0, 1]))
    kept = backtest.run(np.full(10, 5.0), signal, rules=Rules(long_exit=-0.1, short_exit=0.1)).position
    same_bits(kept, np.array([0.0, 1, 1, 1, 1, -1, -1, -1, 0, 1]))


def test_ruin_is_for_good():
    price = [100.0, 100.0, 250.0, 100.0, 50.0, 400.0]
    made = check(price, [-1.0, -1, -1, 1, 1, 1], Rules(), Costs(fee=0.001), "short")
    same_bits(made.equity[2:], np.zeros(4))
    same_bits(made.position[2:], np.zeros(4))
    assert made.metrics["total_return"] == -1
    assert made.metrics["annual_return"] == -1
    assert made.metrics["max_drawdown"] == -1
    assert made.metrics["trades"] == 1
    assert made.trades()["return"].tolist() == [-1.0]
    check([100.0, 60.0, 50.0, 70.0], [1.0, 1, 1, 1], Rules(size=3.0), Costs(), "on credit")


def test_missing_bars_are_as_if_not_there():
    price, signal = holes(walk(900, 2, 0.03)), averages(900, 3)
    price[[77, 300, 301, 500]] = np.inf, 0.0, -3.0, 2.0**1001
    there = np.isfinite(price) & (price > 0) & (price < 2.0**1000)
    for name, rules in RULES.items():
        got, want = (
            backtest.run(price, signal, rules=rules, costs=COSTS["all"], starting=7.0),
            backtest.run(price[there], signal[there], rules=rules, costs=COSTS["all"], starting=7.0),
        )
        for field, first in (("position", 0.0), ("equity", 7.0)):
            whole = np.r_[first, getattr(want, field)][np.cumsum(there)]
            same_bits(getattr(got, field), whole, f"{name}: {field}")
        same_bits(got.returns[there], want.returns, name)
        assert np.isnan(got.returns[~there]).all()
        for metric in METRICS:
            same_bits(got.metrics[metric], want.metrics[metric], f"{name}: {metric}")
        a, b = got.trades(), want.trades()
        np.testing.assert_array_equal(a["entry_bar"], np.flatnonzero(there)[b["entry_bar"]])
        same_bits(a["return"], b["return"])
    for rules in RULES.values():  # beside others, and alone
        beside = np.stack([np.full(900, np.nan), price, price])
        for field, value in bits_of(backtest.run(beside, signal, rules=rules)):
            same_bits(value[1:], np.stack([dict(bits_of(backtest.run(price, signal, rules=rules)))[field]] * 2), field)
    nothing = backtest.run(np.full(5, np.nan), np.ones(5))
    same_bits(nothing.equity, np.ones(5))
    assert np.isnan(nothing.returns).all()
    assert nothing.metrics["trades"] == 0
    assert np.isnan(nothing.metrics["total_return"])


def test_undefined_is_nan():
    flat = backtest.run(walk(100), np.zeros(100)).metrics
    assert flat["total_return"] == flat["max_drawdown"] == flat["volatility"] == flat["trades"] == flat["exposure"] == 0
    for name in ("sharpe", "sortino", "calmar", "hit_rate", "profit_factor", "skew", "kurtosis"):
        assert np.isnan(flat[name]), name
    rising = backtest.run(np.arange(1.0, 50), np.ones(49)).metrics
    assert rising["profit_factor"] == np.inf
    assert rising["hit_rate"] == 1
    for name in ("sortino", "calmar"):
        assert np.isnan(rising[name]), name
    one = backtest.run([5.0], [1.0]).metrics
    assert np.isnan(one["volatility"])
    assert one["total_return"] == 0
    for made in (backtest.run([], []), backtest.run(np.empty((0, 5)), np.empty((0, 5)))):
        assert np.size(made.trades()["series"]) == 0


def test_wild_prices_do_no_harm():
    rng = np.random.default_rng(1)
    price = 10.0 ** rng.uniform(-300, 300, (20, 400))
    signal = np.sign(rng.normal(size=(20, 400)))
    for rules in (Rules(), Rules(rebalance="bar", size=5.0), Rules(sizing="volatility")):
        made = backtest.run(price, signal, rules=rules)
        assert not (made.equity < 0).any()
        assert made.metrics["trades"].shape == (20,)


# ---------------------------------------------------------------------------------------------- the same another way


def bits_of(made):
    yield from (("position", made.position), ("returns", made.returns), ("equity", made.equity))
    yield from made.metrics.items()


def test_panel_is_a_loop_of_singles():
    for symbols, bars in [(1, 300), (3, 33), (8, 257), (9, 700), (17, 1300)]:
        x = panel(symbols, bars, share=0.03)
        signal = np.stack([averages(bars, i) for i in range(symbols)])
        layouts = {
            "C": (x, signal, -1),
            "Fortran": (np.asfortranarray(x), np.asfortranarray(signal), -1),
            "bars x symbols": (np.ascontiguousarray(x.T), signal.T, 0),
            "strided": (np.repeat(x, 3, axis=1)[:, ::3], np.repeat(signal, 2, axis=0)[::2], -1),
            "reversed": (x[:, ::-1].copy()[:, ::-1], signal[::-1].copy()[::-1], -1),
        }
        for rules in ("default", "by signal", "by volatility, later"):
            how = {"rules": RULES[rules], "costs": COSTS["all"]}
            singles = [backtest.run(a, s, **how) for a, s in zip(x, signal, strict=True)]
            for name, (a, s, axis) in layouts.items():
                got = backtest.run(a, s, axis=axis, **how)
                for field, value in bits_of(got):
                    want = np.stack([dict(bits_of(one))[field] for one in singles])
                    same_bits(value.T if axis == 0 and np.ndim(value) == 2 else value, want, f"{name}: {field}")
                entries = [len(one.trades()["side"]) for one in singles]
                np.testing.assert_array_equal(got.trades()["series"], np.repeat(np.arange(symbols), entries))


def test_bits_do_not_depend_on_the_execution(simd_levels):
    one, many = walk(2000), panel(19, 1500, share=0.01)
    cases = {
        "one price": (one, np.stack([averages(2000, i) for i in range(37)])),
        "panel": (many, np.stack([averages(1500, i) for i in range(19)])),
        "sets x panel": (many[:, :600], np.stack([averages(600, i) for i in range(5)])[:, None]),
    }
    first = {}
    for execution in executions(simd_levels):
        for name, (x, signal) in cases.items():
            for rules in ("default", "by signal, on every bar", "by volatility"):
                made = backtest.run(x, signal, rules=RULES[rules], costs=COSTS["all"])
                for field, value in bits_of(made):
                    same_bits(value, first.setdefault((name, rules, field), value), f"{execution}: {name}, {field}")


def test_bits_do_not_depend_on_the_batch():
    price, signal = walk(1100), np.stack([averages(1100, i) for i in range(67)])
    want = backtest.metrics(price, signal, costs=COSTS["all"])
    for size in (1, 7, 8, 9, 66):
        parts = [backtest.metrics(price, signal[i : i + size], costs=COSTS["all"]) for i in range(0, 67, size)]
        for name in METRICS:
            same_bits(np.concatenate([p[name] for p in parts]), want[name], f"batches of {size}: {name}")


def test_metrics_are_those_of_run():
    price, signal = panel(5, 1500, share=0.01), np.stack([averages(1500, i) for i in range(5)])
    how = {"costs": COSTS["all"], "periods_per_year": 365.0, "risk_free": 0.02, "tail": 0.1}
    made = backtest.run(price, signal, **how)
    got = backtest.metrics(price, signal, **how)
    for name in METRICS:
        same_bits(got[name], made.metrics[name], name)
        alone = backtest.metrics(price, signal, outputs=name, **how)
        assert list(alone) == [name]
        same_bits(alone[name], got[name], f"{name} alone")
    del how["costs"]
    measured = backtest.of_returns(made.returns, **how)
    assert set(METRICS) - set(measured) == {"hit_rate", "profit_factor", "trades", "turnover", "exposure"}
    for name, value in measured.items():
        near(value, made.metrics[name], TOLERANCE["metric"], label=name)


def test_axes_before_the_bars_are_broadcast():
    price, signal = panel(3, 200), np.stack([averages(200, i) for i in range(4)])
    got = backtest.metrics(price, signal[:, None])
    made = backtest.run(price, signal[:, None])
    assert made.equity.shape == (4, 3, 200)
    for i in range(4):
        for j in range(3):
            one = backtest.metrics(price[j], signal[i])
            for name in METRICS:
                same_bits(got[name][i, j], one[name], f"{name} of {i}, {j}")
    assert backtest.metrics(price[0], signal)["sharpe"].shape == (4,)
    assert backtest.metrics(price, signal[0])["sharpe"].shape == (3,)
    assert backtest.run(price, signal[0]).equity.shape == (3, 200)
    same_bits(made.trades()["series"], np.sort(made.trades()["series"]))


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.int64, np.uint8])
def test_types_of_signals_and_prices(dtype):
    price, signal = panel(11, 300, share=0.02), np.sign(np.nan_to_num(np.stack([averages(300, i) for i in range(11)])))
    signal = abs(signal) if dtype == np.uint8 else signal
    for x in (panel(11, 300), price):
        want = backtest.metrics(x, signal, rules=RULES["direction"])
        got = backtest.metrics(x, signal.astype(dtype), rules=RULES["direction"])
        for name in METRICS:
            same_bits(got[name], want[name], name)
    whole = np.round(panel(11, 300)).astype(dtype) if dtype not in (np.int8, np.uint8) else np.ones((11, 300), dtype)
    for name, value in backtest.metrics(whole, signal).items():
        same_bits(value, backtest.metrics(whole.astype(float), signal)[name], name)


def test_kinds_of_arrays():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    price, signal = panel(3, 100), np.stack([averages(100, i) for i in range(3)])
    want = backtest.run(price, signal)
    names, dates = ["A", "B", "C"], pd.date_range("2024-01-01", periods=100)
    frame = pd.DataFrame(price.T, index=dates, columns=names)
    shuffled = pd.DataFrame(signal.T, index=dates, columns=names)[["C", "A", "B"]]
    got = backtest.run(frame, shuffled)
    assert got.equity.columns.tolist() == names
    assert got.equity.index.equals(dates)
    same_bits(got.equity.to_numpy().T, want.equity)
    same_bits(got.metrics["sharpe"], want.metrics["sharpe"])
    assert set(got.trades()["series"]) <= set(names)
    mixed = frame.astype({"B": np.float32})
    assert backtest.run(mixed, shuffled).equity.shape == (100, 3)
    series = backtest.run(frame["A"], shuffled["A"])
    assert series.position.index.equals(dates)
    sets = backtest.metrics(frame["A"], signal)
    same_bits(sets["sharpe"], backtest.metrics(price[0], signal)["sharpe"])
    tables = backtest.run(pl.DataFrame(frame.to_dict("list")), pl.DataFrame(shuffled.to_dict("list")))
    same_bits(tables.equity["B"].to_numpy(), want.equity[1])
    with pytest.raises(warpquant.ShapeError, match="index"):
        backtest.run(frame["A"], shuffled["A"].shift(freq="D"))


def test_mapping_of_series_of_any_length():
    x = {f"s{n}": walk(n, n) for n in (1, 13, 200, 999)}
    signal = {name: averages(len(series)) for name, series in reversed(x.items())}
    made = backtest.run(x, signal)
    for i, (name, series) in enumerate(x.items()):
        one = backtest.run(series, signal[name])
        same_bits(made.equity[name], one.equity, name)
        for metric in METRICS:
            same_bits(made.metrics[metric][i], one.metrics[metric], f"{name}: {metric}")


def test_trades_as_a_table():
    pa = pytest.importorskip("pyarrow")
    made = backtest.run(walk(300), averages(300))
    table = made.trades("arrow")
    assert isinstance(table, pa.Table)
    assert table.num_rows == made.metrics["trades"]
    np.testing.assert_array_equal(table["return"].to_numpy(), made.trades()["return"])


def test_trades_are_of_what_was_run():
    price, signal = walk(300), averages(300)
    made, want = backtest.run(price, signal), backtest.run(price, signal).trades()
    price[:], signal[:] = 1.0, 0.0
    np.testing.assert_array_equal(made.trades()["return"], want["return"])


# ---------------------------------------------------------------------------------------------- tails


@pytest.mark.parametrize("tail", [0.0, 0.01, 0.05, 0.3, 0.97, 1.0])
def test_tails_are_exact(tail):
    rng = np.random.default_rng(5)
    cases = {
        "normal": rng.normal(0, 0.01, (9, 5000)),
        "mostly flat": np.where(rng.random((9, 5000)) < 0.97, 0.0, rng.normal(0, 0.01, (9, 5000))),
        "few values": rng.integers(-3, 4, (9, 5000)) / 100,
        "equal": np.full((3, 2000), -0.01),
        "sorted": np.sort(rng.normal(0, 0.01, (2, 3000)), axis=1),
        "worst at the end": np.r_[np.full(1500, 0.01), -np.linspace(0.2, 0.3, 100)][None],
        "short": rng.normal(0, 0.01, (9, 11)),
        "one": np.array([[0.5]]),
        "two": np.array([[0.5, -0.5]]),
        "between": rng.normal(0, 0.01, (5, 1023)),
    }
    for name, returns in cases.items():
        got = backtest.of_returns(returns, outputs=["var", "cvar"], tail=tail)
        near(got["var"], np.quantile(returns, tail, axis=1), 1e-14, 0.01, name)
        k = int((returns.shape[1] - 1) * tail) + 1
        near(got["cvar"], np.sort(returns, axis=1)[:, :k].mean(axis=1), 1e-13, 0.01, name)


# ---------------------------------------------------------------------------------------------- properties

accounts = {
    "seed": st.integers(0, 2**32 - 1),
    "bars": st.integers(0, 200),
    "rules": st.sampled_from(sorted(RULES)),
    "costs": st.sampled_from(sorted(COSTS)),
}


def drawn(seed, bars, rules, costs):
    return holes(walk(bars, seed, 0.05), seed), averages(bars, seed), {"rules": RULES[rules], "costs": COSTS[costs]}


@given(**accounts, cut=st.floats(0, 1))
def test_no_look_ahead(cut, **case):
    price, signal, how = drawn(**case)
    stop = int(cut * len(price))
    whole, part = backtest.run(price, signal, **how), backtest.run(price[:stop], signal[:stop], **how)
    for field in ("position", "returns", "equity"):
        same_bits(getattr(whole, field)[:stop], getattr(part, field), field)


@given(**accounts, power=st.integers(-30, 30))
def test_units_of_prices_do_not_matter(power, **case):
    price, signal, how = drawn(**case)
    a, b = backtest.run(price, signal, **how), backtest.run(price * 2.0**power, signal, **how)
    for (field, x), (_, y) in zip(bits_of(a), bits_of(b), strict=True):
        same_bits(x, y, field)


@given(**accounts)
def test_trades_compound_to_the_whole(**case):
    price, signal, how = drawn(**case)
    made = backtest.run(price, signal, **how)
    table = made.trades()
    assert len(table["side"]) == made.metrics["trades"]
    if case["bars"] > 10 and np.isfinite(price).any():
        near(np.prod(1 + table["return"]), 1 + made.metrics["total_return"], 1e-10, 1.0)
        near(np.nanprod(1 + made.returns), 1 + made.metrics["total_return"], 1e-10, 1.0)
    assert (table["exit_bar"] >= table["entry_bar"]).all()
    assert not table["open"][:-1].any()


@given(**accounts, more=st.floats(0, 0.01))
def test_costs_never_help(more, **case):
    price, signal, how = drawn(**case)
    how["costs"] = Costs(fee=0.001)
    cheap = backtest.run(price, signal, **how)
    how["costs"] = Costs(fee=0.001, slippage=more)
    dear = backtest.run(price, signal, **how)
    # On every bar, and on credit, higher costs can make a position smaller before a loss.
    if RULES[case["rules"]].rebalance == "change" and RULES[case["rules"]].sizing == "full":
        assert (dear.equity <= cheap.equity * (1 + 1e-12)).all()


@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(2, 300), free=st.floats(-0.1, 0.2), tail=st.floats(0, 1))
def test_metrics_of_returns(seed, bars, free, tail):
    rng = np.random.default_rng(seed)
    returns = holes(rng.standard_t(3, bars) * 0.02, seed, lead=0)
    got = backtest.of_returns(returns, risk_free=free, tail=tail, periods_per_year=365)
    for name, want in reference.of_returns(returns, 365, free, tail).items():
        scale = max(abs(want), 1e-3) if np.isfinite(want) else 1.0
        near(got[name], want, TOLERANCE["metric"], scale, name)


def test_means_of_small_deviations_keep_their_digits():
    mpmath = pytest.importorskip("mpmath")
    returns = 0.01 + 1e-9 * np.random.default_rng(0).normal(size=3000)
    got = backtest.of_returns(returns)
    with mpmath.workdps(60):
        r = [mpmath.mpf(float(x)) for x in returns]
        mean = mpmath.fsum(r) / len(r)
        m2, m3, m4 = (mpmath.fsum((x - mean) ** k for x in r) / len(r) for k in (2, 3, 4))
        spread = mpmath.sqrt(m2 * len(r) / (len(r) - 1))
        want = {
            "volatility": spread * mpmath.sqrt(252),
            "sharpe": mean / spread * mpmath.sqrt(252),
            "skew": m3 / m2**1.5,
            "kurtosis": m4 / m2**2,
        }
        for name, value in want.items():
            near(got[name], float(value), 1e-11, label=name)


# ---------------------------------------------------------------------------------------------- other libraries


def real_cases():
    for name in ("AAPL", "JPM", "XOM"):
        close = warpquant.data.sp500_20()[name]
        yield name, close, warpquant.atc.run(close)["average"]


def test_as_empyrical():
    empyrical = pytest.importorskip("empyrical")
    for name, close, average in real_cases():
        made = backtest.run(close, average, costs=Costs(fee=0.0005))
        r, got = made.returns, made.metrics
        want = {
            "total_return": empyrical.cum_returns_final(r),
            "annual_return": empyrical.annual_return(r),
            "volatility": empyrical.annual_volatility(r),
            "sharpe": empyrical.sharpe_ratio(r),
            "sortino": empyrical.sortino_ratio(r),
            "max_drawdown": empyrical.max_drawdown(r),
            "calmar": empyrical.calmar_ratio(r),
            "var": empyrical.value_at_risk(r),
            "cvar": empyrical.conditional_value_at_risk(r),
        }
        for metric, value in want.items():
            near(got[metric], value, TOLERANCE["library"], label=f"{name}: {metric}")


def test_as_scipy():
    stats = pytest.importorskip("scipy.stats")
    for name, close, average in real_cases():
        made = backtest.run(close, average)
        near(made.metrics["skew"], stats.skew(made.returns), TOLERANCE["library"], label=name)
        near(made.metrics["kurtosis"], stats.kurtosis(made.returns, fisher=False), TOLERANCE["library"], label=name)


def test_as_vectorbt():
    vbt = pytest.importorskip("vectorbt")
    pd = pytest.importorskip("pandas")
    for name, close, average in real_cases():
        series = pd.Series(close)
        entries = average > 0.1
        exits = average < 0.0
        theirs = vbt.Portfolio.from_signals(series, entries, exits, fees=0.001, init_cash=1.0, freq="D")
        got = backtest.run(close, average, rules=Rules(side="long"), costs=Costs(fee=0.001), periods_per_year=365)
        near(got.equity, theirs.value().to_numpy(), TOLERANCE["library"], label=name)
        trades = theirs.trades
        want = {
            "total_return": theirs.total_return(),
            "sharpe": theirs.sharpe_ratio(),
            "sortino": theirs.sortino_ratio(),
            "max_drawdown": theirs.max_drawdown(),
            "trades": trades.count(),
            "hit_rate": trades.win_rate(),
            "profit_factor": trades.profit_factor(),
        }
        for metric, value in want.items():
            near(got.metrics[metric], value, 1e-8, label=f"{name}: {metric}")
        records = trades.records
        np.testing.assert_array_equal(got.trades()["entry_bar"], records["entry_idx"])
        np.testing.assert_allclose(got.trades()["return"], records["return"], rtol=2e-3, atol=1e-4)


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"prices": "abc"}, warpquant.DTypeError, "prices"),
        ({"prices": 5.0}, warpquant.ShapeError, "prices"),
        ({"prices": np.ones(5, complex)}, warpquant.DTypeError, "prices"),
        ({"prices": np.ones(5, bool)}, warpquant.DTypeError, "prices"),
        ({"prices": np.ones(5, np.float16)}, warpquant.DTypeError, "prices"),
        ({"prices": [[1.0], [1.0, 2.0]]}, warpquant.ShapeError, "prices"),
        ({"signal": None}, warpquant.DTypeError, "signal"),
        ({"signal": np.ones(4)}, warpquant.ShapeError, "signal"),
        ({"signal": np.ones((2, 5)), "prices": np.ones((3, 5))}, warpquant.ShapeError, "signal"),
        ({"signal": np.ones(5, "M8[s]")}, warpquant.DTypeError, "signal"),
        ({"rules": "long"}, warpquant.ParameterError, "rules"),
        ({"costs": 0.001}, warpquant.ParameterError, "costs"),
        ({"costs": Costs(fee=0.3), "rules": Rules(size=4.0)}, warpquant.ParameterError, "costs"),
        ({"periods_per_year": 0}, warpquant.ParameterError, "periods_per_year"),
        ({"risk_free": -1.0}, warpquant.ParameterError, "risk_free"),
        ({"tail": 1.5}, warpquant.ParameterError, "tail"),
        ({"tail": np.nan}, warpquant.ParameterError, "tail"),
        ({"starting": 0.0}, warpquant.ParameterError, "starting"),
        ({"axis": 3}, warpquant.ParameterError, "axis"),
        ({"num_threads": 0}, warpquant.ParameterError, "num_threads"),
    ],
    ids=str,
)
def test_errors_name_the_argument(change, error, match):
    arguments = {"prices": np.ones(5), "signal": np.ones(5), **change}
    with pytest.raises(error, match=rf"\b{match}\b"):
        backtest.run(**arguments)
    if "starting" not in change:
        with pytest.raises(error, match=rf"\b{match}\b"):
            backtest.metrics(**arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", "trend"),
        ("side", "none"),
        ("sizing", "kelly"),
        ("rebalance", "never"),
        ("long_above", math.nan),
        ("long_exit", 0.2),
        ("short_exit", -0.2),
        ("short_below", 0.5),
        ("delay", 0),
        ("delay", 1.5),
        ("size", 0.0),
        ("size", -1.0),
        ("max_size", math.inf),
        ("target_volatility", "much"),
        ("volatility_window", 1),
    ],
)
def test_rules_are_checked(field, value):
    with pytest.raises(warpquant.ParameterError, match=rf"\b{field}\b"):
        Rules(**{field: value})


@pytest.mark.parametrize("field", ["fee", "slippage", "funding", "borrow"])
def test_costs_are_checked(field):
    for value in (1.0, -1.0, math.nan, "1", True):
        with pytest.raises(warpquant.ParameterError, match=rf"\b{field}\b"):
            Costs(**{field: value})


def test_unknown_names():
    with pytest.raises(warpquant.ParameterError, match="sharpe"):
        backtest.metrics(np.ones(5), np.ones(5), outputs=["sharp"])
    with pytest.raises(warpquant.ParameterError, match="trades"):
        backtest.of_returns(np.ones(5), outputs=["trades"])
    with pytest.raises(warpquant.ParameterError, match="kind"):
        backtest.run(np.ones(5), np.ones(5)).trades("csv")


def test_arrays_of_devices_are_refused():
    class Elsewhere:
        shape = (5,)

        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **_):
            raise AssertionError("nobody may look")

    with pytest.raises(warpquant.LayoutError, match="prices: lives on device 'cuda:0'"):
        backtest.run(Elsewhere(), np.ones(5))
    with pytest.raises(warpquant.LayoutError, match="signal: lives on device 'cuda:0'"):
        backtest.metrics(np.ones(5), Elsewhere())


def test_a_turn_that_closing_ruins_opens_nothing():
    prices, signal = np.array([1.0, 1.8, 1.8, 2.0]), np.array([-1.0, 1.0, 1.0, 1.0])
    made = backtest.run(prices, signal, costs=Costs(fee=0.4))
    trades = made.trades()
    assert trades["return"].tolist() == [-1.0]
    assert made.metrics["trades"] == 1
    assert made.metrics["total_return"] == -1.0
    assert np.asarray(made.position)[1:].tolist() == [0.0, 0.0, 0.0]


def test_series_of_another_length_than_their_prices():
    prices = {"A": [1.0, 2.0, 4.0, 8.0], "B": [1.0, 2.0, 4.0, 8.0]}
    with pytest.raises(ShapeError, match=r"signal: 'A' has 2 bars, but there are 4 in prices"):
        backtest.metrics(prices, {"A": [1.0, 1.0], "B": [1.0, 1.0, 1.0, 1.0]})


def test_a_window_longer_than_any_series():
    rules = Rules(sizing="volatility", target_volatility=0.1, volatility_window=10**12)
    assert backtest.metrics([1.0, 2.0, 4.0], [1.0, 1.0, 1.0], rules=rules)["exposure"] == 0.0
