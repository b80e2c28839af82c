# SPDX-License-Identifier: Apache-2.0
"""Repair of quotes: against all triples of prices, one by one, and the best that a different programme finds."""

from __future__ import annotations

import csv
import gzip
import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import DTypeError, ParameterError, ShapeError

optimize = pytest.importorskip("scipy.optimize")

#: In units of the discounted forward: the solver's resolution and what a few sums make of it.
SMALL = 1e-8


def worst(k, years, price):
    """The largest profit of a static arbitrage in calls: every outright, every spread and every butterfly there is.

    A butterfly's wings may end later than its middle, the call with strike 0 is the underlying, and one with an
    infinite strike is worth nothing.
    """
    found = max(0.0, float(-price.min()), float((1.0 - k - price).max()), float((price - 1.0).max()))
    for i, j in itertools.permutations(range(len(k)), 2):
        if years[j] >= years[i] and k[j] <= k[i]:
            found = max(found, price[i] - price[j])
    for middle in range(len(k)):
        later = years >= years[middle]
        left, right = later & (k < k[middle]), later & (k > k[middle])
        lows = np.concatenate([[0.0], k[left]]), np.concatenate([[1.0], price[left]])
        highs = k[right], price[right]
        if not right.any():
            continue
        share = (k[middle] - lows[0][:, None]) / (highs[0][None, :] - lows[0][:, None])
        chord = lows[1][:, None] * (1.0 - share) + highs[1][None, :] * share
        found = max(found, float((price[middle] - chord).max()))
    return found


def market(strikes=9, expiries=3, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    years = np.repeat(np.linspace(0.1, 1.0, expiries), strikes)
    forward = 100.0 * np.exp(0.02 * years)
    strike = np.tile(np.linspace(75.0, 130.0, strikes), expiries)
    vol = 0.2 + 0.1 * np.log(strike / forward) ** 2
    discount = np.exp(-0.01 * years)
    price = options.price(forward, strike, years, 0.01, 0.0, vol, True, model="black76")["price"]
    return strike, years, price * np.exp(noise * rng.normal(size=len(years))), forward, discount


def units(strike, years, price, forward, discount):
    return strike / forward, years, price / forward / discount


def test_what_has_no_arbitrage_stays():
    strike, years, price, forward, discount = market()
    assert worst(*units(strike, years, price, forward, discount)) < SMALL
    made = surface.repair(strike, years, price, forward=forward, discount=discount)
    np.testing.assert_allclose(made.price, price, atol=1e-6)
    assert not made.moved.any()
    assert sum(made.violations.values()) == 0


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("outright", {8: -0.5}),
        ("vertical spread", {3: 9.0}),
        ("vertical butterfly", {4: 1.5}),
        ("calendar vertical spread", {8: 4.0, 7: 4.0}),
        ("calendar butterfly", {4: 6.0}),
    ],
)
def test_each_violation_is_found_and_goes(family, change):
    strike, years, price, forward, discount = market()
    for row, move in change.items():
        price[row] += move
    price[8] = -0.5 if family == "outright" else price[8]
    made = surface.repair(strike, years, price, forward=forward, discount=discount)
    assert made.violations[family] > 0
    assert made.moved.any()
    assert worst(*units(strike, years, made.price, forward, discount)) < SMALL


def test_calendar_spreads_at_equal_moneyness():
    years = np.repeat([0.2, 0.4], 3)
    strike = np.tile([90.0, 100.0, 110.0], 2)
    price = np.array([12.0, 5.0, 2.0, 12.5, 4.5, 2.4])
    made = surface.repair(strike, years, price, forward=100.0)
    assert made.violations["calendar spread"] == 1
    assert made.distance == pytest.approx(0.5, abs=1e-6)
    assert worst(strike / 100.0, years, made.price / 100.0) < SMALL


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(st.integers(0, 10**6), st.floats(0.0, 0.5), st.integers(1, 6), st.integers(1, 4))
def test_any_prices_become_free_of_arbitrage(seed, noise, strikes, expiries):
    strike, years, price, forward, discount = market(strikes, expiries, noise, seed)
    made = surface.repair(strike, years, price, forward=forward, discount=discount)
    assert worst(*units(strike, years, made.price, forward, discount)) < SMALL
    again = surface.repair(strike, years, made.price, forward=forward, discount=discount)
    assert again.distance < 1e-5


def test_moves_are_as_small_as_they_can_be():
    """Against another programme: prices of each expiry on all strikes there are, convex and rising in time."""
    strike, years, price, forward, discount = market(5, 3, 0.08, 3)
    k, _, value = units(strike, years, price, forward, discount)
    grid, expiry = np.unique(k), np.unique(years, return_inverse=True)[1]
    m, n, q = expiry.max() + 1, len(grid), len(k)
    at = expiry * n + np.searchsorted(grid, k)
    rows, sides = [], []
    x = np.concatenate([[0.0], grid])
    for i in range(m):
        one = np.zeros((n + 1, m * n + q))
        one[1:, i * n : (i + 1) * n] = np.identity(n)
        level = np.concatenate([[1.0], np.zeros(n)])  # the constant of each row
        for j in range(1, n):
            a, b = (x[j + 1] - x[j]) / (x[j + 1] - x[j - 1]), (x[j] - x[j - 1]) / (x[j + 1] - x[j - 1])
            rows.append(one[j] - a * one[j - 1] - b * one[j + 1])
            sides.append(a * level[j - 1])
        rows.extend([one[n] - one[n - 1], -one[1]])
        sides.extend([0.0, x[1] - 1.0])
        if i + 1 < m:
            step = one.copy()
            step[1:, (i + 1) * n : (i + 2) * n] = -np.identity(n)
            rows.extend(step[1:])
            sides.extend([0.0] * n)
    for sign in (1.0, -1.0):
        for j in range(q):
            row = np.zeros(m * n + q)
            row[at[j]], row[m * n + j] = sign, -1.0
            rows.append(row)
            sides.append(sign * value[j])
    cost = np.concatenate([np.zeros(m * n), np.ones(q)])
    best = optimize.linprog(cost, A_ub=np.array(rows), b_ub=np.array(sides), method="highs")
    made = surface.repair(strike, years, price, forward=forward, discount=discount)
    moves = np.abs(made.price - price) / forward / discount
    assert best.fun > 1e-3
    assert moves.sum() == pytest.approx(best.fun, rel=1e-6)


def test_moves_inside_bid_and_ask_come_first():
    strike, years, price, forward, discount = market(9, 1)
    price[4] += 3.0
    wide = np.full(9, 0.05)
    wide[4] = 5.0
    made = surface.repair(strike, years, price, forward=forward, discount=discount, bid=price - wide, ask=price + wide)
    assert np.nonzero(made.moved)[0].tolist() == [4]
    assert not made.outside.any()
    tight = np.full(9, 0.01)
    made = surface.repair(
        strike, years, price, forward=forward, discount=discount, bid=price - tight, ask=price + tight
    )
    assert made.outside.any()
    assert worst(*units(strike, years, made.price, forward, discount)) < SMALL


def test_no_price_leaves_its_quote_where_that_can_be():
    """The middle one is dear by 0.07 beyond its ask, or the last one, whose quote is wide, by 0.79 inside."""
    strike, price = [90.0, 100.0, 200.0], [12.0, 11.0, 0.1]
    bid, ask = [11.99, 10.99, 0.0], [12.01, 11.01, 20.0]
    made = surface.repair(strike, 0.5, price, forward=100.0, bid=bid, ask=ask)
    assert made.violations["vertical butterfly"] == 1
    assert not made.outside.any()
    assert made.price[2] == pytest.approx(0.79, abs=1e-6)  # all the others at their ends
    assert worst(*units(strike, np.full(3, 0.5), made.price, np.full(3, 100.0), np.ones(3))) < SMALL
    tight = surface.repair(strike, 0.5, price, forward=100.0, bid=bid, ask=[12.01, 11.01, 0.2])
    assert tight.outside.any()
    assert worst(*units(strike, np.full(3, 0.5), tight.price, np.full(3, 100.0), np.ones(3))) < SMALL


def test_prices_that_are_beyond_their_own_quote():
    strike, price = [90.0, 100.0, 110.0], [12.0, 7.0, 2.0]
    made = surface.repair(strike, 0.5, price, forward=100.0, bid=[11.0, 6.0, 1.0], ask=[13.0, 6.5, 3.0])
    np.testing.assert_allclose(made.price, [12.0, 6.5, 2.0], atol=1e-8)
    assert made.moved.tolist() == [False, True, False]
    assert not made.outside.any()
    # One of two that cannot both be: it is said which is left behind.
    made = surface.repair(strike, 0.5, price, forward=100.0, bid=[11.0, 8.0, 1.0], ask=[11.5, 8.5, 3.0])
    assert made.outside.any()
    beyond = (made.price < np.array([11.0, 8.0, 1.0]) - 1e-6) | (made.price > np.array([11.5, 8.5, 3.0]) + 1e-6)
    assert made.outside.tolist() == beyond.tolist()
    only = surface.repair(strike, 0.5, price, forward=100.0, ask=[np.nan, 6.5, np.nan])
    assert only.price[1] == pytest.approx(6.5, abs=1e-8)
    with pytest.raises(ParameterError, match=r"bid: is 8\.0, above the ask of 7\.0, of quote 1"):
        surface.repair(strike, 0.5, price, forward=100.0, bid=[11.0, 8.0, 1.0], ask=[13.0, 7.0, 3.0])


def test_puts_are_calls_by_parity():
    strike, years, price, forward, discount = market(9, 2, 0.05, 1)
    call = surface.repair(strike, years, price, forward=forward, discount=discount)
    put = price - discount * (forward - strike)
    made = surface.repair(strike, years, put, forward=forward, discount=discount, is_call=False)
    np.testing.assert_allclose(made.price + discount * (forward - strike), call.price, atol=1e-6)


def test_sample_of_the_paper(shared):
    path = shared / "data" / "options" / "arbitragerepair_sample.csv.gz"
    if not path.is_file():
        pytest.skip("no arbitragerepair_sample.csv.gz in the shared folder")
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    names = ("expiry", "strike", "call_fv", "forward", "imp_vol")
    mid, bid, ask = (
        np.array(sorted([float(r[name]) for name in names] for r in rows if r["quote"] == side)).T
        for side in ("mid", "bid", "ask")
    )
    years, strike, price, forward, _ = mid
    # Bids and asks are quoted by delta, at strikes of their own: their volatilities, at those of the middle.
    low, high = (
        options.price(forward, strike, years, 0.0, 0.0, side[4], True, model="black76")["price"] for side in (bid, ask)
    )
    before = worst(strike / forward, years, price / forward)
    made = surface.repair(strike, years, price, forward=forward, bid=low, ask=high)
    assert before > 1e-5
    assert made.violations["calendar butterfly"] > 0
    assert 0 < made.moved.sum() < len(price) // 2
    assert worst(strike / forward, years, made.price / forward) < SMALL


def test_of_cleaned_quotes(shared):
    path = shared / "data" / "options" / "spx_chain_vix_example_200901.csv"
    if not path.is_file():
        pytest.skip("no spx_chain_vix_example_200901.csv in the shared folder")
    quotes = surface.clean(options.read_chain(path, columns={"expiry": "days"}, rate=0.0038))
    made = surface.repair(quotes)
    kept = quotes.kept
    assert np.isfinite(made.price[kept]).all()
    assert np.isnan(made.price[~kept]).all()
    chain = quotes.chain
    discount = np.exp(-quotes.rate * chain.years)
    call = made.price + np.where(chain.is_call, 0.0, discount * (quotes.forward - chain.strike))
    assert worst(
        (chain.strike / quotes.forward)[kept], chain.years[kept], (call / discount / quotes.forward)[kept]
    ) < SMALL  # fmt: skip


def test_hostile_input():
    strike, years, price, forward, discount = market(4, 1)
    price[1] = np.nan
    made = surface.repair(strike, years, price, forward=forward, discount=discount)
    assert np.isnan(made.price).tolist() == [False, True, False, False]
    with pytest.raises(ParameterError, match="none of the 4 quotes"):
        surface.repair(strike, years, np.full(4, np.nan), forward=forward)
    with pytest.raises(ParameterError, match="forward"):
        surface.repair(strike, years, price, forward=-forward)
    with pytest.raises(ParameterError, match="needed with strikes"):
        surface.repair(strike, years)
    with pytest.raises(ShapeError, match="go together"):
        surface.repair(strike, years[:2], price, forward=forward)
    with pytest.raises(DTypeError, match="price"):
        surface.repair(strike, years, "dear", forward=forward)


def test_an_expiry_has_one_forward():
    with pytest.raises(ParameterError, match="forward: is"):
        surface.repair([90.0, 100.0, 110.0], 0.5, [12.0, 8.0, 2.0], forward=[100.0, 101.0, 100.0])
