# SPDX-License-Identifier: Apache-2.0
"""Evaluation out of sample: published figures, slow references, and no look ahead."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import holes, near, panel, same_bits, walk
from warpquant import atc, backtest, plot
from warpquant.backtest import Costs, Rules
from warpquant.errors import ParameterError, ShapeError
from warpquant.evaluate import (
    METRICS,
    deflated_sharpe,
    expected_maximum_sharpe,
    overfitting_probability,
    probabilistic_sharpe,
    purged_kfold,
    walk_forward,
)
from warpquant.sweep import Grid, sweep

mpmath = pytest.importorskip("mpmath")

GRID = Grid({"length": (12, 20), "De": (0.03, 0.5), "long_threshold": (0.1, 0.4)})
COSTS = Costs(fee=0.001, slippage=0.0005)

# ---- Sharpe ratios ----


def test_the_example_of_the_paper():
    """Bailey and López de Prado 2014, "A numerical example": 5 years of 250 days, an annual Sharpe ratio of 2.5."""
    year = 250
    about = dict(sharpe=2.5 / math.sqrt(year), bars=1250, variance=0.5 / year)
    assert round(expected_maximum_sharpe(100, 0.5 / year), 4) == 0.1132
    assert round(deflated_sharpe(**about, trials=100, skew=-3, kurtosis=10), 4) == 0.9004
    assert round(deflated_sharpe(**about, trials=46, skew=-3, kurtosis=10), 4) == 0.9505
    assert round(deflated_sharpe(**about, trials=88), 4) == 0.9505  # had the returns been normal


def exact(sharpe, bars, benchmark, skew, kurtosis):
    with mpmath.workdps(40):
        s, b = mpmath.mpf(sharpe), mpmath.mpf(benchmark)
        variance = 1 - skew * s + (mpmath.mpf(kurtosis) - 1) / 4 * s**2
        return mpmath.ncdf((s - b) * mpmath.sqrt(bars - 1) / mpmath.sqrt(variance))


@given(
    st.floats(-0.3, 0.3), st.integers(2, 10_000), st.floats(-0.3, 0.3), st.floats(-2, 2), st.floats(5.5, 20),
)  # fmt: skip
def test_probabilistic_sharpe(sharpe, bars, benchmark, skew, kurtosis):
    got = probabilistic_sharpe(sharpe, bars=bars, benchmark=benchmark, skew=skew, kurtosis=kurtosis)
    want = exact(sharpe, bars, benchmark, skew, kurtosis)
    # erfc(x) answers to an error of x with 2 x**2 times as much; x stays below 30.
    assert abs(got - want) <= 1e-12 * want + 1e-300


@pytest.mark.parametrize("trials", [2, 3, 10, 1000, 10**9])
def test_expected_maximum(trials):
    with mpmath.workdps(40):
        quantile = lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)  # noqa: E731
        n = mpmath.mpf(trials)
        high, higher = quantile(1 - 1 / n), quantile(1 - 1 / (n * mpmath.e))
        want = mpmath.sqrt(0.3) * ((1 - mpmath.euler) * high + mpmath.euler * higher)
    assert expected_maximum_sharpe(trials, 0.3) == pytest.approx(float(want), rel=1e-12)


def test_the_maximum_is_what_is_to_expect():
    rng = np.random.default_rng(1)
    for trials in (10, 100, 1000):
        best = rng.normal(0, 2.0, (4000, trials)).max(axis=1)
        assert expected_maximum_sharpe(trials, 4.0) == pytest.approx(best.mean(), rel=0.03)


def test_edges_of_sharpe_ratios():
    assert expected_maximum_sharpe(1, 5.0) == 0.0
    assert deflated_sharpe(0.1, bars=100, trials=1, variance=0.0) == probabilistic_sharpe(0.1, bars=100)
    assert probabilistic_sharpe(0.0, bars=100) == 0.5
    assert math.isnan(probabilistic_sharpe(math.nan, bars=100))
    assert math.isnan(probabilistic_sharpe(1.0, bars=100, skew=3.0, kurtosis=3.0))
    for wrong in (dict(trials=0, variance=1), dict(trials=2, variance=-1), dict(trials=2, variance=math.nan)):
        with pytest.raises(ParameterError):
            expected_maximum_sharpe(**wrong)
    with pytest.raises(ParameterError, match=r"^bars: 1"):
        probabilistic_sharpe(0.1, bars=1)


# ---- overfitting ----


def slow_overfitting(returns, blocks):
    """Straight from the definition, one split after the other."""
    parts = np.array_split(np.arange(returns.shape[1]), blocks)
    edges = np.linspace(0, returns.shape[1], blocks + 1).astype(int)
    parts = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
    logits, inside, outside = [], [], []
    for half in itertools.combinations(range(blocks), blocks // 2):
        here = np.concatenate([parts[b] for b in half])
        there = np.concatenate([parts[b] for b in range(blocks) if b not in half])

        def sharpe(bars):
            part = returns[:, bars]
            spread = part.std(axis=1, ddof=1)
            return np.where(spread > 1e-12, part.mean(axis=1) / np.where(spread > 1e-12, spread, 1), 0.0)

        first, second = sharpe(here), sharpe(there)
        best = first.argmax()
        rank = (second < second[best]).sum() + (1 + np.isclose(second, second[best], rtol=1e-9, atol=0).sum()) / 2
        share = rank / (len(returns) + 1)
        logits.append(math.log(share / (1 - share)))
        inside.append(first[best])
        outside.append(second[best])
    return np.array(logits), np.array(inside), np.array(outside)


@pytest.mark.parametrize(("sets", "bars", "blocks"), [(2, 40, 2), (7, 101, 4), (20, 203, 8), (3, 60, 10)])
def test_overfitting_by_definition(sets, bars, blocks):
    rng = np.random.default_rng(sets)
    returns = rng.normal(0.001, 0.01, (sets, bars))
    returns[0] = 0.0  # never traded
    got = overfitting_probability(returns, blocks=blocks)
    logits, inside, outside = slow_overfitting(returns, blocks)
    near(got.logits, logits, 1e-9, scale=1)
    near(got.in_sample, inside, 1e-9, scale=1)
    near(got.out_of_sample, outside, 1e-9, scale=1)
    assert got.probability == (logits <= 0).mean()
    assert got.loss_probability == (outside < 0).mean()
    assert got.slope == pytest.approx(np.polyfit(inside, outside, 1)[0])


def test_overfitting_of_skill_and_of_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (60, 2000))
    assert overfitting_probability(noise + np.linspace(0, 0.005, 60)[:, None]).probability == 0.0
    found = [overfitting_probability(rng.normal(0, 0.01, (60, 2000)), blocks=8).probability for _ in range(20)]
    assert 0.35 < np.mean(found) < 0.65  # the best of what is all alike is above the median as often as not
    with pytest.raises(ShapeError):
        overfitting_probability(noise[:1])
    with pytest.raises(ShapeError):
        overfitting_probability(noise[:, :31])
    for blocks in (0, 3, 22):
        with pytest.raises(ParameterError, match=r"^blocks"):
            overfitting_probability(noise, blocks=blocks)
    with pytest.raises(ParameterError, match="missing or infinite"):
        overfitting_probability(np.where(noise > 0.03, np.nan, noise))


# ---- windows ----


def account(close, params, span, rules, costs):
    """Returns on a span of an account opened for it, from prices up to its end alone."""
    start, stop = span
    signal = atc.run(close[:stop], params)["average"]
    before = min(start, rules.delay)
    made = backtest.run(close[start - before : stop], signal[start - before :], rules=rules, costs=costs).returns
    return np.r_[np.prod(1 + made[: before + 1]) - 1, made[before + 1 :]]


@pytest.mark.parametrize("rules", [Rules(), Rules(delay=3, side="long")])
@pytest.mark.parametrize("metric", METRICS)
def test_choices_know_the_past_alone(rules, metric):
    """Each choice is what a computation on the bars before the test gives, to the last bit."""
    close = walk(1100, 3)
    found = walk_forward(close, GRID, train=300, test=200, step=250, purge=5, metric=metric, rules=rules, costs=COSTS)
    assert [fold.test for fold in found.folds] == [(305, 505), (555, 755), (805, 1005), (1055, 1100)]
    assert [fold.train for fold in found.folds] == [((0, 300),), ((250, 550),), ((500, 800),), ((750, 1050),)]
    for fold in found.folds:
        (train,) = fold.train
        scores = [backtest.of_returns(account(close, p, train, rules, COSTS))[metric] for p in GRID]
        assert fold.chosen.set == int(np.argmax(scores))
        same_bits(fold.chosen.values[metric], float(np.max(scores)))
        assert fold.chosen.params == GRID[fold.chosen.set]


def test_what_comes_later_changes_nothing():
    close = walk(900, 4)
    whole = walk_forward(close, GRID, train=300, test=100, costs=COSTS)
    other = close.copy()
    other[600:] = walk(300, 9) * 3
    changed = walk_forward(other, GRID, train=300, test=100, costs=COSTS)
    assert whole.folds[:3] == changed.folds[:3]
    same_bits(whole.returns[:300], changed.returns[:300])
    assert whole.folds[3].chosen == changed.folds[3].chosen  # made before the prices part
    assert whole.folds[3].metrics != changed.folds[3].metrics


def test_anchored_windows_grow():
    found = walk_forward(walk(700), GRID, train=300, test=150, anchored=True)
    assert [fold.train for fold in found.folds] == [((0, 300),), ((0, 450),), ((0, 600),)]


def test_the_record_is_one_account():
    """With a single set the tests are one backtest, opened at the first of them."""
    close = walk(800, 5)
    (only,) = sets = Grid([{"De": 0.3}])
    for rules in (Rules(), Rules(delay=4), Rules(sizing="volatility")):
        found = walk_forward(close, sets, train=200, test=70, purge=0, rules=rules, costs=COSTS)
        same_bits(found.bars, np.arange(200, 800))
        if rules.sizing == "full":
            same_bits(found.returns, account(close, only, (200, 800), rules, COSTS))
        else:  # sized from the first bar on, by prices from before
            start = 200 - rules.delay
            signal = np.where(np.arange(800) < start, np.nan, atc.run(close, only)["average"])
            made = backtest.run(close, signal, rules=rules, costs=COSTS)
            near(found.returns[1:], made.returns[201:], 1e-12, scale=1)
            assert made.position[199] == 0 or found.returns[0] != 0
        assert found.metrics == {k: float(v) for k, v in backtest.of_returns(found.returns).items()}
        for fold in found.folds:
            part = found.returns[fold.test[0] - 200 : fold.test[1] - 200]
            assert fold.metrics == pytest.approx(
                {k: float(v) for k, v in backtest.of_returns(part).items()}, nan_ok=True
            )


def test_entering_a_window_costs():
    """A rising price is held long throughout; a window that starts in its midst pays for getting in."""
    close = 100 * 1.001 ** np.arange(600)
    close[:40] = 100 * 0.999 ** np.arange(40)  # so that averages are crossed
    close[40:] *= close[39] / close[40]
    fee = 0.01
    found = walk_forward(close, [{}], train=300, test=300, costs=Costs(fee=fee), rules=Rules(side="long"))
    near(found.returns[1:], np.full(299, 0.001), 1e-10, scale=1)
    assert found.returns[0] == pytest.approx(1.001 / (1 + fee) - 1, abs=1e-10)
    assert found.folds[0].chosen.values["total_return"] < 1.001**300 - 1


def test_changing_the_set_costs():
    """Where the choice changes, the account turns from one set to the next at the close before, and pays for it."""
    close = np.r_[walk(300, 1), walk(600, 2) * 1.3]
    free, paid = (walk_forward(close, GRID, train=200, test=50, costs=Costs(fee=f)) for f in (0.0, 0.002))
    assert len({fold.chosen.set for fold in paid.folds}) > 1
    signals = [atc.run(close, p)["average"] for p in GRID]
    followed = [signals[fold.chosen.set][fold.test[0] - 1 : fold.test[1] - 1] for fold in paid.folds]
    followed.append(signals[paid.folds[-1].chosen.set][-1:])
    made = backtest.run(close[199:], np.concatenate(followed), costs=Costs(fee=0.002)).returns
    same_bits(paid.returns[1:], made[2:])
    assert paid.metrics["total_return"] < free.metrics["total_return"]


def test_nothing_is_held_between_tests():
    close = walk(900, 2)
    found = walk_forward(close, GRID, train=200, test=50, step=120, costs=COSTS)
    signals = [atc.run(close, p)["average"] for p in GRID]
    followed = np.full(900, np.nan)
    for fold in found.folds:
        start, stop = fold.test
        followed[start - 1 : stop - 1] = signals[fold.chosen.set][start - 1 : stop - 1]
    made = backtest.run(close, followed, costs=COSTS)
    assert found.bars.tolist() == [bar for fold in found.folds for bar in range(*fold.test)]
    near(found.returns[1:-1], made.returns[found.bars][1:-1], 1e-12, scale=1)
    between = np.setdiff1d(np.arange(250, 850), found.bars)
    assert not made.position[between[between % 120 != 79]].any()


# ---- k-fold ----


def test_purged_folds():
    close = walk(1000, 6)
    found = purged_kfold(close, GRID, folds=4, purge=7, embargo=11, costs=COSTS)
    assert [fold.test for fold in found.folds] == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert [fold.train for fold in found.folds] == [
        ((268, 1000),), ((0, 243), (518, 1000)), ((0, 493), (768, 1000)), ((0, 743),),
    ]  # fmt: skip
    for fold in found.folds:
        scores = []
        for params in GRID:
            parts = [account(close, params, span, Rules(), COSTS) for span in fold.train]
            scores.append(backtest.of_returns(np.concatenate(parts))["sharpe"])
        assert fold.chosen.set == int(np.argmax(scores))
        same_bits(fold.chosen.values["sharpe"], float(np.max(scores)))
    same_bits(found.bars, np.arange(1000))
    default = purged_kfold(close, GRID, folds=4, rules=Rules(delay=3))
    assert default.folds[1].train == ((0, 247), (513, 1000))


@given(
    bars=st.integers(20, 400), folds=st.integers(2, 6), purge=st.integers(0, 9), embargo=st.integers(0, 9),
)  # fmt: skip
def test_training_and_test_never_meet(bars, folds, purge, embargo):
    close = np.linspace(100, 90, 400)[:bars]
    try:
        found = purged_kfold(close, [{}], folds=folds, purge=purge, embargo=embargo, blocks=0, metric="total_return")
    except ShapeError:
        assert bars // folds < 2 or bars - bars // folds < 2 * (purge + embargo) + 4
        return
    covered = np.concatenate([np.arange(*fold.test) for fold in found.folds])
    assert covered.tolist() == list(range(bars))
    for fold in found.folds:
        near_test = set(range(fold.test[0] - purge, fold.test[1] + purge + embargo))
        for start, stop in fold.train:
            assert 0 <= start < stop <= bars
            assert not near_test & set(range(start, stop))


# ---- the whole ----


def test_the_best_is_that_of_the_sweep():
    close = walk(900, 7)
    found = walk_forward(close, GRID, train=400, test=100, costs=COSTS, periods_per_year=365, risk_free=0.02)
    result = sweep(close, GRID, costs=COSTS, periods_per_year=365, risk_free=0.02)
    best = result.best()
    assert (found.best.set, found.best.params) == (best.set, best.params)
    for name, value in found.best.values.items():
        assert value == pytest.approx(best.values[name], rel=1e-9), name
    sharpes = result.values["sharpe"][:, 0] / math.sqrt(365)
    about = dict(bars=900, skew=best.values["skew"], kurtosis=best.values["kurtosis"])
    observed = best.values["sharpe"] / math.sqrt(365)
    assert found.probabilistic_sharpe == pytest.approx(probabilistic_sharpe(observed, **about), rel=1e-9)
    assert found.deflated_sharpe == pytest.approx(
        deflated_sharpe(observed, trials=len(GRID), variance=sharpes.var(ddof=1), **about), rel=1e-6
    )
    assert found.expected_maximum_sharpe == pytest.approx(
        expected_maximum_sharpe(len(GRID), sharpes.var(ddof=1)) * math.sqrt(365), rel=1e-6
    )
    returns = np.stack([backtest.run(close, atc.run(close, p)["average"], costs=COSTS).returns for p in GRID])
    over = overfitting_probability(returns, blocks=10)
    near(found.overfitting.logits, over.logits, 1e-9, scale=1)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["deflated_sharpe"] == found.deflated_sharpe


def test_a_portfolio_has_one_set_for_all():
    closes = panel(3, 700)
    found = walk_forward(dict(zip("abc", closes, strict=True)), GRID, train=300, test=100, costs=COSTS)
    assert found.symbols == ("a", "b", "c")
    for fold in found.folds:
        (train,) = fold.train
        scores = []
        for params in GRID:
            parts = [account(close, params, train, Rules(), COSTS) for close in closes]
            scores.append(backtest.of_returns(sum(parts) / 3)["sharpe"])
        assert fold.chosen.set == int(np.argmax(scores))
    assert walk_forward(closes, GRID, train=300, test=100, costs=COSTS).folds == found.folds
    with pytest.raises(ShapeError, match="from 80 to 90 bars"):
        walk_forward({"a": walk(90), "b": walk(80)}, GRID, train=30, test=10)
    with_failure = walk_forward({"a": walk(400), "t": np.array(["x"])}, GRID, train=200, test=100)
    assert (with_failure.symbols, [f.symbol for f in with_failure.failures]) == (("a",), ["t"])


@pytest.mark.parametrize("rules", [Rules(), Rules(delay=3)])
def test_missing_prices(rules):
    """A bar without a price is none: the account of each symbol is that of its prices alone, whatever the window."""
    closes = panel(4, 700)
    starts = range(300 + rules.delay - 1, 700, 100)
    for start in starts:
        closes[0, start] = np.nan  # the first bar of a test
        closes[1, start - 2 : start] = np.nan  # the bars before it
        closes[2, start - 1 : start + 2] = np.nan
    closes[3, :550] = np.nan  # begins in the midst of a test
    closes[2, 100:300:7] = np.nan
    sets = [{**p.to_dict(), "nan_policy": "skip"} for p in GRID]
    found = walk_forward(closes, sets, train=300, test=100, rules=rules, costs=COSTS)
    assert [fold.test[0] for fold in found.folds] == list(starts)
    returns = np.full((4, 700), np.nan)
    for close, of_symbol in zip(closes, returns, strict=True):
        present = np.flatnonzero(~np.isnan(close))
        close = close[present]
        signals = [atc.run(close, params)["average"] for params in sets]
        followed = np.full(len(close), np.nan)
        for fold in found.folds:
            begin, end = (max(0, np.searchsorted(present, bar) - rules.delay) for bar in fold.test)
            end = len(close) if fold is found.folds[-1] else end
            followed[begin:end] = signals[fold.chosen.set][begin:end]
        k = np.searchsorted(present, starts[0])
        begin = max(0, k - rules.delay)
        made = backtest.run(close[begin:], followed[begin:], rules=rules, costs=COSTS).returns
        of_symbol[present[k:]] = np.r_[np.prod(1 + made[: k - begin + 1]) - 1, made[k - begin + 1 :]]
    near(found.returns, np.nanmean(returns[:, starts[0] :], axis=0), 1e-12, scale=1)


def test_the_first_test_returns_what_the_choice_decided():
    """With a longer delay as many bars lie between training and test as a decision needs to count."""
    close = walk(500)
    assert walk_forward(close, GRID, train=200, test=100, rules=Rules(delay=3)).folds[0].test == (202, 302)
    assert walk_forward(close, GRID, train=200, test=100, rules=Rules(delay=3), purge=0).folds[0].test == (200, 300)
    assert walk_forward(close, GRID, train=200, test=100).folds[0].test == (200, 300)


def test_pieces_do_not_show(monkeypatch):
    from warpquant import _luck, evaluate

    closes = np.stack([holes(walk(500)), walk(500, 1)])
    want = walk_forward(closes, GRID, train=200, test=100, costs=COSTS, num_threads=1)
    monkeypatch.setattr(evaluate, "_POINTS", 1)
    monkeypatch.setattr(_luck, "_CELLS", 1)
    seen = []
    got = walk_forward(
        closes, GRID, train=200, test=100, costs=COSTS, num_threads=2, progress=lambda done, total: seen.append(done)
    )
    assert seen == list(range(1, 9))
    assert got.folds == want.folds
    same_bits(got.returns, want.returns)
    near(got.overfitting.logits, want.overfitting.logits, 1e-12, scale=1)


def test_nobody_trades():
    close = walk(500)
    never = Rules(long_above=2.0, short_below=-2.0)
    with pytest.raises(ParameterError, match=r"^metric: 'sharpe' has no value for any set"):
        walk_forward(close, GRID, train=200, test=100, rules=never)
    # Flat prices at first: the first choice is none, and nothing is held.
    flat = np.r_[np.full(300, 100.0), walk(400)]
    found = walk_forward(flat, GRID, train=200, test=100)
    assert found.folds[0].chosen is None
    assert np.all(found.returns[:99] == 0)
    assert found.folds[-1].chosen is not None
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_single_set_has_nothing_to_overfit():
    found = walk_forward(walk(500), [{}], train=200, test=100)
    assert found.overfitting is None
    assert found.deflated_sharpe == found.probabilistic_sharpe
    assert walk_forward(walk(500), GRID, train=200, test=100, blocks=0).overfitting is None


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (dict(train=1), ParameterError, "train: 1"),
        (dict(test=0), ParameterError, "test: 0"),
        (dict(step=50), ParameterError, "step: 50 is less than test, 100"),
        (dict(train=500), ShapeError, "prices: 500 bars leave none"),
        (dict(train=400, purge=100), ShapeError, "prices: 500 bars leave none"),
        (dict(anchored=1), ParameterError, "anchored: 1"),
        (dict(metric="trades"), ParameterError, "metric: 'trades' is unknown"),
        (dict(blocks=5), ParameterError, "blocks: 5"),
        (dict(grid={"La": ()}), ParameterError, "grid: La"),
        (dict(periods_per_year=0), ParameterError, "periods_per_year"),
        (dict(rules={"side": "long"}), ParameterError, "rules: is a dict"),
        (dict(num_threads=0), ParameterError, "num_threads"),
    ],
)
def test_wrong_arguments(how, error, message):
    with pytest.raises(error, match=f"^{message}"):
        walk_forward(**{"prices": walk(500), "grid": GRID, "train": 200, "test": 100, **how})
    with pytest.raises(ShapeError, match="too few for 5 folds"):
        purged_kfold(walk(20), GRID, embargo=30)


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    found = walk_forward(walk(700), GRID, train=300, test=150)
    figure = plot.out_of_sample(found, title="A$B_{C$")
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["1", "2", "3"]
    near(figure.axes[0].lines[0].get_ydata()[-1], 1 + found.metrics["total_return"], 1e-9)
    plot.save(figure, tmp_path / "o.png")
    assert (tmp_path / "o.png").stat().st_size > 1000
