# SPDX-License-Identifier: Apache-2.0
"""What is wrong with quotes, one after the other: each has its reason, status or error (docs/surface/quotes.md)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import ParameterError, StateError

SPOT, YEARS = 100.0, (0.25, 0.75)
STRIKES = np.arange(75.0, 126.0, 2.5)


def market(rate=0.01, years=YEARS, strikes=STRIKES, half=0.003):
    rows = {name: [] for name in ("expiry", "strike", "is_call", "bid", "ask")}
    for t in years:
        forward = SPOT * np.exp(rate * t)
        k = np.log(strikes / forward)
        vol = np.sqrt(surface.ssvi(k, 0.04 * t, -0.4, 0.9 / np.sqrt(0.04 * t))["w"] / t)
        for call in (True, False):
            for side, move in (("bid", -half), ("ask", half)):
                made = options.price(SPOT, strikes, t, rate, 0.0, vol + move, call)["price"]
                rows[side].extend(made.tolist())
            rows["expiry"].extend([t] * len(k))
            rows["strike"].extend(strikes.tolist())
            rows["is_call"].extend([call] * len(k))
    made = {name: np.array(values) for name, values in rows.items()}
    return {**made, "spot": np.full(len(made["strike"]), SPOT)}


def row(made, years, strike, call):
    return np.nonzero((made["expiry"] == years) & (made["strike"] == strike) & (made["is_call"] == call))[0][0]


def reason(quotes, years, strike, call):
    chain = quotes.chain
    at = np.nonzero((np.abs(chain.years - years) < 1e-9) & (chain.strike == strike) & (chain.is_call == call))[0][0]
    return surface.REASONS[quotes.reason[at]]


def test_crossed():
    made = market()
    i = row(made, 0.25, 110.0, True)
    made["bid"][i], made["ask"][i] = made["ask"][i], made["bid"][i]
    assert reason(surface.clean(made), 0.25, 110.0, True) == "crossed"


@pytest.mark.parametrize("bid", [0.0, np.nan, -1.0])
def test_zero_missing_and_negative_bids_are_none(bid):
    made = market()
    made["bid"][row(made, 0.25, 110.0, True)] = bid
    assert reason(surface.clean(made), 0.25, 110.0, True) == "no_bid"


def test_nan_on_both_sides():
    made = market()
    i = row(made, 0.25, 110.0, True)
    made["bid"][i] = made["ask"][i] = np.nan
    assert reason(surface.clean(made), 0.25, 110.0, True) == "no_quote"
    made["strike"][i] = np.nan
    counts = surface.clean(made).counts()
    assert counts.get("invalid", 0) + counts.get("no_quote", 0) == 1


def test_a_zero_bid_as_a_quote():
    made = market()
    i = row(made, 0.25, 125.0, True)
    made["bid"][i] = 0.0
    quotes = surface.clean(made, keep_zero_bid=True, outliers=False)
    assert reason(quotes, 0.25, 125.0, True) == "kept"
    chain = quotes.chain
    at = np.nonzero((np.abs(chain.years - 0.25) < 1e-9) & (chain.strike == 125.0) & chain.is_call)[0][0]
    assert quotes.bid_vol[at] == 0.0
    want = options.price(SPOT, 125.0, 0.25, quotes.rate[at], chain.of("dividend")[at], quotes.vol[at], True)["price"]
    assert want == pytest.approx(0.5 * made["ask"][i], rel=1e-6)
    with pytest.raises(ParameterError, match="keep_zero_bid"):
        surface.clean(made, keep_zero_bid="yes")


@pytest.mark.parametrize("model", ["essvi", "svi", "mixture"])
def test_one_sided_quotes_as_bounds(model):
    """Asks far below the smile, and bids far above it, that have no other side: the fit stays on their side."""
    made = market(half=0.01)
    low, high = row(made, 0.25, 120.0, True), row(made, 0.75, 80.0, False)
    for call, strike, years in ((False, 120.0, 0.25), (True, 80.0, 0.75)):
        i = row(made, years, strike, call)
        made["bid"][i] = made["ask"][i] = np.nan  # not even the other option of the strike
    vols = {}
    for i, years, strike, call, move in ((low, 0.25, 120.0, True, -0.015), (high, 0.75, 80.0, False, 0.015)):
        k = np.log(strike / (SPOT * np.exp(0.01 * years)))
        truth = np.sqrt(surface.ssvi(k, 0.04 * years, -0.4, 0.9 / np.sqrt(0.04 * years))["w"] / years)
        vols[i] = float(truth) + move
        price = options.price(SPOT, strike, years, 0.01, 0.0, vols[i], call)["price"]
        made["bid"][i], made["ask"][i] = (np.nan, price) if move < 0 else (price, np.nan)
    dropped = surface.clean(made)
    assert reason(dropped, 0.25, 120.0, True) == "no_bid"
    assert dropped.bound is None
    free = surface.Surface.fit(dropped, model=model)
    quotes = surface.clean(made, one_sided="bound")
    assert reason(quotes, 0.25, 120.0, True) == reason(quotes, 0.75, 80.0, False) == "bound"
    assert quotes.counts()["bound"] == 2
    held = surface.Surface.fit(quotes, model=model)
    assert free.vol(120.0, 0.25) > vols[low] + 0.005
    assert free.vol(80.0, 0.75) < vols[high] - 0.005
    # Softly: half of the way, and a mixture, which errs linearly far out, less.
    share = 0.5 if model != "mixture" else 0.9
    assert held.vol(120.0, 0.25) - vols[low] < share * (free.vol(120.0, 0.25) - vols[low])
    assert vols[high] - held.vol(80.0, 0.75) < share * (vols[high] - free.vol(80.0, 0.75))
    assert held.quotes is quotes
    # What is still broken is said.
    rows = [int(np.nonzero((quotes.bound != 0) & (quotes.chain.strike == x))[0][0]) for x in (80.0, 120.0)]
    beyond = [held.vol(80.0, 0.75) < vols[high] - 1e-9, held.vol(120.0, 0.25) > vols[low] + 1e-9]
    assert set(held.broken().tolist()) == {r for r, b in zip(rows, beyond, strict=True) if b}
    assert (" broken" in repr(held)) == any(beyond)
    assert len(free.broken()) == 0  # it has none
    assert held.check().butterfly.free.all()
    loose = {**made, "ask": np.where(np.arange(len(made["ask"])) == low, 50.0, made["ask"])}
    same = surface.Surface.fit(surface.clean(loose, one_sided="bound"), model=model)
    assert same.vol(120.0, 0.25) == pytest.approx(free.vol(120.0, 0.25), rel=0.02)
    with pytest.raises(ParameterError, match="one_sided"):
        surface.clean(made, one_sided="keep")


def test_stale_by_seconds_time_and_moment():
    chain = options.read_chain(market(), as_of="2024-03-01T15:00")
    seconds = np.zeros(len(chain))
    seconds[chain.strike == 110.0] = 90.0
    seconds[chain.strike == 112.5] = np.nan  # never
    span = (1e3 * np.nan_to_num(seconds)).astype("timedelta64[ms]")
    ages = [seconds, np.where(np.isnan(seconds), np.timedelta64("NaT"), span)]
    ages.append(chain.as_of - ages[1])
    for age in ages:
        quotes = surface.clean(chain, age=age, max_age=60.0)
        stale = {float(v) for v in chain.strike[quotes.reason == surface.REASONS.index("stale")]}
        assert stale == {110.0, 112.5}, age.dtype
    without = options.read_chain(market())
    with pytest.raises(ParameterError, match="as_of"):
        surface.clean(without, age=ages[2], max_age=60.0)


def test_three_quotes_of_an_expiry_and_two():
    made = market()
    few = np.isin(made["strike"], (95.0, 100.0, 105.0)) | (made["expiry"] > 0.5)
    three = surface.Surface.fit({name: v[few] for name, v in made.items()})
    assert len(three.expiries) == 2
    assert three.check().ok
    two = np.isin(made["strike"], (95.0, 100.0)) | (made["expiry"] > 0.5)
    left = surface.Surface.fit({name: v[two] for name, v in made.items()})
    assert len(left.expiries) == 1
    assert "too_few" in left.skipped["0.25"]
    alone = surface.fit_svi([-0.1, 0.0, 0.1], [0.011, 0.01, 0.0105])
    assert surface.FIT_STATUS[alone.status[0]] == "reduced: m and sigma were not fitted"
    assert surface.FIT_STATUS[surface.fit_svi([0.0, 0.1], [0.01, 0.011]).status[0]] == "too few quotes"


@pytest.mark.parametrize("model", ["essvi", "svi", "mixture"])
def test_one_expiry(model):
    made = surface.Surface.fit(market(years=(0.25,)), model=model)
    assert len(made.expiries) == 1
    assert made.check().ok
    assert made.total_variance(0.0, 0.1) < made.total_variance(0.0, 0.25) < made.total_variance(0.0, 2.0)


def test_all_quotes_rejected():
    made = market()
    made["ask"][:] = 0.0
    made["bid"][:] = 0.0
    with pytest.raises(ParameterError, match=r"none of 84 can be used: 84 no_quote"):
        surface.Surface.fit(made)
    with pytest.raises(ParameterError, match=r"quotes: none of 84 can be used"):
        surface.choose(made)


def test_expiries_out_of_order():
    made = market()
    order = np.random.default_rng(0).permutation(len(made["strike"]))
    mixed = surface.Surface.fit({name: v[order] for name, v in made.items()})
    np.testing.assert_array_equal(mixed.parameters, surface.Surface.fit(made).parameters)
    with pytest.raises(ParameterError, match="ascending order"):
        surface.Surface("svi", ("b", "a"), [0.75, 0.25], np.zeros((2, 5)), [100.0, 100.0], [0.0, 0.0])


def test_negative_rates():
    made = surface.Surface.fit(market(rate=-0.02))
    assert made.rate == pytest.approx([-0.02, -0.02], abs=1e-4)
    assert made.vol(100.0, 0.25) == pytest.approx(0.2, abs=5e-3)
    assert made.price(100.0, 0.75, True) - made.price(100.0, 0.75, False) == pytest.approx(
        SPOT - 100.0 * np.exp(0.02 * 0.75), abs=1e-2
    )


def test_forwards_and_strikes_below_a_shift():
    strike = np.linspace(-0.03, 0.03, 9)
    vol = np.full(9, 0.3)
    fit = surface.fit_sabr(-0.04, strike, 1.0, vol, shift=0.03)
    assert surface.SABR_FIT_STATUS[fit.status[0]] == "invalid forward, expiry or beta"
    assert np.isnan(fit.alpha[0])
    fit = surface.fit_sabr(0.005, strike, 1.0, vol, shift=-0.02)
    assert fit.status[0] == 1
    fit = surface.fit_sabr(0.005, strike - 1.0, 1.0, vol, shift=0.03)
    assert surface.SABR_FIT_STATUS[fit.status[0]] == "too few quotes"
    assert surface.sabr(0.01, -0.05, 1.0, 0.2, 0.5, 0.0, 0.4, shift=0.03, outputs="status")["status"] == 2
    made = market()
    made["strike"][row(made, 0.25, 75.0, False)] = -75.0
    quotes = surface.clean(made)
    assert quotes.counts()["invalid"] == 1
    assert reason(quotes, 0.25, -75.0, False) == "invalid"


def test_bounds_that_cannot_be_kept_are_said():
    """An ask at half the volatility that all quotes beside it have."""
    made = market(half=0.001)
    i, j = row(made, 0.25, 102.5, True), row(made, 0.25, 102.5, False)
    made["bid"][i] = made["bid"][j] = made["ask"][j] = np.nan
    made["ask"][i] = options.price(SPOT, 102.5, 0.25, 0.01, 0.0, 0.1, True)["price"]
    quotes = surface.clean(made, one_sided="bound", outliers=False)
    assert quotes.counts()["bound"] == 1
    fitted = surface.Surface.fit(quotes)
    (only,) = fitted.broken().tolist()
    assert quotes.chain.strike[only] == 102.5
    assert "1 bound broken" in repr(fitted)
    with pytest.raises(StateError, match="quotes"):
        dataclasses.replace(fitted, quotes=None).broken()


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1.0, 100.0])
def test_calendar_tolerance_has_the_size_of_total_variance(scale):
    """A fall of a millionth is one, whatever total variance is; what rounding leaves is none."""
    raw = np.array([0.01, 0.1, -0.4, 0.05, 0.2]) * [scale, min(scale, 10.0), 1, 1, 1]
    later = raw * [1 + 3e-6, 1 + 3e-6, 1, 1, 1]

    def check(first, second):
        made = surface.Surface("svi", ("a", "b"), [0.1, 0.2], [first, second], [100.0, 100.0], [0.0, 0.0])
        return [line for line in made.check().violations() if line.startswith("calendar")]

    assert check(raw, later) == check(raw, raw) == []
    assert check(raw, raw * [1 + 1e-16, 1, 1, 1 + 2e-16, 1]) == []
    assert len(check(later, raw)) == 1


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e306])
def test_total_variances_beyond_doubles_do_not_count(size):
    k = np.linspace(-0.3, 0.3, 9)
    w = surface.svi(k, 0.01, 0.1, -0.4, 0.05, 0.2)["w"]
    for no_arbitrage in (False, True):
        assert surface.fit_svi(k, w * size, no_arbitrage=no_arbitrage).status.tolist() == [2]
        assert surface.fit_svi(k, w, np.full(9, size), no_arbitrage=no_arbitrage).status.tolist() == [2]
    some = np.where(np.arange(9) == 3, size, w)
    fit = surface.fit_svi(k, some)
    assert (fit.status[0], fit.quotes[0]) == (0, 8)
    np.testing.assert_allclose(fit.parameters[0], [0.01, 0.1, -0.4, 0.05, 0.2], rtol=1e-9)


def test_slices_without_a_proof_are_said_in_words():
    for row_, words in (([0.04, 1.0, 1.0, 0.0, 0.1], "no slice"), ([0.04, 0.1, 0.0, 0.0, 1e200], "unproven")):
        made = surface.Surface("svi", ("a",), [0.1], [row_], [100.0], [0.0])
        assert made.check().violations() == [f"butterfly: a is {words}"]
