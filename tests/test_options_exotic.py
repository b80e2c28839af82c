# SPDX-License-Identifier: Apache-2.0
"""Digital, barrier, lookback, Asian, compound and two-asset options, jumps: tables, identities, derivatives."""

from __future__ import annotations

import functools
import itertools
import math

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given

from checks import same_bits
from reference import exotics as reference
from warpquant import ParameterError, ShapeError, config, options

TYPES = ("down-in", "up-in", "down-out", "up-out")


def RUNS_ON(device):
    options.price([100.0], 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)


def market(count, seed=0):
    """Spot, strike, expiry, rate, dividend, vol and flag of options as they are traded."""
    rng = np.random.default_rng(seed)
    spot, strike = rng.uniform(80, 120, (2, count))
    expiry, vol = rng.uniform(0.2, 2.0, count), rng.uniform(0.1, 0.6, count)
    rate, dividend = rng.uniform(-0.01, 0.08, count), rng.uniform(0.0, 0.06, count)
    return [spot, strike, expiry, np.abs(rate) + 0.001, dividend, vol, rng.integers(0, 2, count)]


def pair(count, seed=0):
    """Arguments of options on two assets, to the flag."""
    s, k, t, r, q, v, c = market(count, seed)
    rng = np.random.default_rng(seed + 1000)
    s2, v2 = rng.uniform(80, 120, count), rng.uniform(0.1, 0.6, count)
    return [s, s2, k, t, r, q, rng.uniform(0.0, 0.06, count), v, v2, rng.uniform(-0.98, 0.98, count), c]


# --- published tables ----------------------------------------------------------------------------------------------


def one(row):
    return [row["spot"], row["strike"], row["t"], row["r"], row["q"], row["vol"], row["type"]]


def met(got, row, tolerance=None):
    # Printed digits may be rounded the other way.
    assert got == pytest.approx(row["value"], abs=1.02 * (row["tol"] if tolerance is None else tolerance)), row


def test_digital_tables(shared):
    for row in reference.table(shared, "digital_european"):
        payoff = row["payoff"].split("_")[0]
        more = {"gap": {"payoff_strike": row["strike_payoff"]}, "cash": {"cash": row["cash"]}}.get(payoff, {})
        met(options.digital(*one(row), payoff=payoff, **more)["price"], row)
    for name, payoff in (("cash", "cash"), ("asset", "asset")):
        for row in reference.table(shared, f"digital_american_{name}_at_hit"):
            got = options.digital(*one(row), payoff=payoff, cash=15.0, style="touch", pay="hit")["price"]
            met(got, row, 1e-4)
    for row in reference.table(shared, "binary_barrier_cash"):
        kind = row["barrier_type"].replace("In", "-in").replace("Out", "-out").lower()
        got = options.digital(*one(row), cash=row["cash"], barrier=row["barrier"], barrier_type=kind)["price"]
        met(got, row)


def test_barrier_tables(shared):
    rows = [row for row in reference.table(shared, "barrier") if row["exercise"] == "european"]
    assert len(rows) > 60
    for row in rows:
        kind = row["barrier_type"].replace("In", "-in").replace("Out", "-out").lower()
        met(options.barrier(*one(row), row["barrier"], kind, rebate=row["rebate"])["price"], row)
    for row in reference.table(shared, "barrier_double"):
        kind = row["barrier_type"].removeprefix("Knock").lower()
        met(options.double_barrier(*one(row), row["barrier_lo"], row["barrier_hi"], kind)["price"], row)


def test_lookback_tables(shared):
    for row in reference.table(shared, "lookback_fixed"):
        met(options.lookback(*one(row), extreme=row["minmax"])["price"], row)
    for row in reference.table(shared, "lookback_floating"):
        arguments = one(row)
        arguments[1] = None
        met(options.lookback(*arguments, extreme=row["minmax"])["price"], row)


def test_tables_of_options_on_options(shared):
    for row in reference.table(shared, "compound"):
        got = options.compound(
            row["spot"], row["strike_mother"], row["t_mother"], row["r"], row["q"], row["vol"], row["mother"],
            row["strike_daughter"], row["t_daughter"], row["daughter"],
        )  # fmt: skip
        met(got["price"], row)
        for name in ("delta", "gamma", "vega", "theta"):
            if row[name] != "":
                assert got[name] == pytest.approx(row[name], abs=1.1e-3), (name, row)
    chooser, correlation, _ = reference.table(shared, "chooser_cliquet_misc")
    assert options.chooser(50, 50, 0.5, 0.08, 0, 0.25, 0.25)["price"] == pytest.approx(chooser["value"], abs=5e-5)
    # The table's S1, X1 are those of the condition.
    got = options.correlation_option(65, 52, 70, 0.5, 0.1, 0, 0, 0.3, 0.2, 0.75, True, 50)["price"]
    assert got == pytest.approx(correlation["value"], abs=5e-5)


def test_tables_of_two_assets(shared):
    for row in reference.table(shared, "exchange_margrabe"):
        first, second = row["n1"], row["n2"]
        arguments = [
            first * row["s1"], second * row["s2"], row["t"], row["r"], row["q1"], row["q2"], row["v1"], row["v2"],
            row["corr"],
        ]  # fmt: skip
        got = options.exchange(*arguments)
        met(got["price"], row)
        assert first * got["delta1"] == pytest.approx(row["delta1"], abs=1.1e-3)
        assert second * got["delta2"] == pytest.approx(row["delta2"], abs=1.1e-3)
        if first == second == 1:  # elsewhere the table's gammas lack a factor n, and theta is not the price's
            for name in ("gamma1", "gamma2", "theta"):
                assert got[name] == pytest.approx(row[name], abs=1.1e-3), (name, row)
    for row in reference.table(shared, "basket_two_asset"):
        arguments = [
            row["s1"],
            row["s2"],
            row["strike"],
            row["t"],
            row["r"],
            row["q1"],
            row["q2"],
            row["v1"],
            row["v2"],
        ]
        if row["basket"] == "SpreadBasket":  # of futures
            arguments[5] = arguments[6] = row["r"]
            met(options.spread(*arguments, row["corr"], row["type"])["price"], row)
        else:
            kind = row["basket"].removesuffix("Basket").lower()
            met(options.basket(*arguments, row["corr"], row["type"], kind=kind)["price"], row)
    for row in reference.table(shared, "quanto"):
        met(options.quanto(*one(row), row["fx_r"], row["fx_vol"], row["corr"])["price"], row)


def test_jump_table(shared):
    rows = reference.table(shared, "merton76")
    for row in rows:
        # `gamma` of the variance comes from jumps whose logarithm has the mean -delta^2 / 2.
        delta = row["vol"] * math.sqrt(row["gamma"] / row["jump_intensity"])
        arguments = one(row)
        arguments[5] = row["vol"] * math.sqrt(1.0 - row["gamma"])
        got = options.merton_jump(*arguments, row["jump_intensity"], -0.5 * delta * delta, delta)["price"]
        met(got, row)


def test_asian_tables(shared):
    continuous, discrete = reference.table(shared, "asian_geometric")
    for row in (continuous, discrete):
        arguments = [row["spot"], row["strike"], row["days"] / 360, row["r"], row["q"], row["vol"], row["type"]]
        met(options.asian(*arguments, method="geometric", fixings=int(row["fixings"] or 0))["price"], row)
    for row in reference.table(shared, "asian_levy_continuous"):
        length, elapsed = row["length_days"] / 360, row["elapsed_days"] / 360
        arguments = [row["spot"], row["strike"], length - elapsed, row["r"], row["q"], row["vol"], row["type"]]
        got = options.asian(
            *arguments, method="turnbull_wakeman", past=row["current_average"], past_weight=elapsed / length
        )
        met(got["price"], row, 5.1e-5)
    seen = 0
    for row in reference.table(shared, "asian_turnbull_wakeman"):
        if row["vol_slope"] != "flat":
            continue
        seen += 1
        arguments = [row["spot"], row["strike"], row["expiry"], row["r"], row["r"] - row["cost_of_carry"], row["vol"]]
        got = options.asian(
            *arguments, row["type"], method="turnbull_wakeman", first=row["first_fixing"], fixings=row["fixings"]
        )
        met(got["price"], row, 5.1e-5)
    assert seen == 5
    for row in reference.table(shared, "asian_vecer"):
        got = options.asian(row["spot"], row["strike"], row["years"], row["r"], 0.0, row["vol"], True)["price"]
        assert got == pytest.approx(row["value"], rel=1.1e-3)
    for row in reference.table(shared, "asian_discrete_arithmetic_price"):
        expiry = row["first_fixing"] + row["length"]
        got = options.asian(
            row["spot"], row["strike"], expiry, row["r"], row["q"], row["vol"], row["type"], first=row["first_fixing"],
            fixings=row["fixings"],
        )  # fmt: skip
        assert got["price"] == pytest.approx(row["value"], abs=0.01)  # simulated values


# --- identities ----------------------------------------------------------------------------------------------------


def close(got, want, tolerance=1e-12, scale=100.0):
    got, want = np.asarray(got), np.asarray(want)
    assert np.isfinite(got).all()
    assert np.max(np.abs(got - want)) <= tolerance * scale


SHARED = ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta", "vanna", "volga")


def summed(*results):
    return {name: sum(r[name] for r in results) for name in SHARED}


def alike(got, want, tolerance=1e-10):
    for name in SHARED:
        assert np.isfinite(got[name]).all(), name
        error = np.abs(got[name] - want[name]) / (1.0 + np.abs(want[name]))
        assert error.max() <= tolerance, (name, error.max())


def test_digitals_make_up_options():
    m = market(500)
    vanilla = options.greeks(*m, outputs="all")
    cash = options.digital(*m, cash=m[1], outputs="all")
    asset = options.digital(*m, payoff="asset", outputs="all")
    sign = np.where(m[6] == 1, 1.0, -1.0)
    for name in ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "vanna", "volga"):
        error = np.abs(sign * (asset[name] - cash[name]) - vanilla[name]) / (1.0 + np.abs(asset[name]))
        assert error.max() < 1e-11, name
    close(options.digital(*m)["price"], -sign * vanilla["dual_delta"], 1e-15, 1.0)
    gap = options.digital(*m, payoff="gap", payoff_strike=m[1])["price"]
    close(gap, vanilla["price"])


def test_touch_or_not():
    s, k, t, r, q, v, c = market(500)
    k = np.where(c == 1, s * 1.1, s * 0.9)
    m = [s, k, t, r, q, v, c]
    touch = options.digital(*m, style="touch")["price"]
    never = options.digital(*m, style="no_touch")["price"]
    close(touch + never, np.exp(-r * t), 1e-14, 1.0)
    touch = options.digital(*m, style="touch", payoff="asset")["price"]
    never = options.digital(*m, style="no_touch", payoff="asset")["price"]
    close(touch + never, s * np.exp(-q * t))
    # Paid at once, the asset is worth the strike; without interest the time of payment is nothing.
    at_hit = options.digital(*m, style="touch", pay="hit")["price"]
    asset = options.digital(*m, style="touch", pay="hit", payoff="asset")["price"]
    close(asset, k * at_hit)
    m[3] = np.zeros_like(r)
    close(
        options.digital(*m, style="touch", pay="hit")["price"], options.digital(*m, style="touch")["price"], 1e-14, 1.0
    )


@pytest.mark.parametrize("up", [False, True])
def test_in_and_out_make_the_option(up):
    m = market(400)
    level = 125.0 if up else 75.0
    way = "up" if up else "down"
    for at in (level, m[0]):  # met already
        both = [options.barrier(*m, at, f"{way}-{kind}", outputs="all") for kind in ("in", "out")]
        alike(summed(*both), options.greeks(*m, outputs="all"))
        for payoff in ("cash", "asset"):
            both = [
                options.digital(*m, payoff=payoff, barrier=at, barrier_type=f"{way}-{kind}", outputs="all")
                for kind in ("in", "out")
            ]
            alike(summed(*both), options.digital(*m, payoff=payoff, outputs="all"))
    both = [options.double_barrier(*m, 70.0, 130.0, kind, outputs="all") for kind in ("in", "out")]
    alike(summed(*both), options.greeks(*m, outputs="all"))
    # A barrier that is not met is none.
    alike(
        options.barrier(*m, 1e9 if up else 1e-9, f"{way}-out", outputs="all"), options.greeks(*m, outputs="all"), 1e-12
    )
    # One of two.
    low, high = (1e-9, 125.0) if up else (75.0, 1e12)
    alike(options.double_barrier(*m, low, high, outputs="all"), options.barrier(*m, level, f"{way}-out", outputs="all"))


def test_barrier_by_its_parts():
    """A barrier option is what digitals with its barrier are together."""
    m = market(300)
    sign = np.where(m[6] == 1, 1.0, -1.0)
    for kind in TYPES:
        level = 125.0 if kind.startswith("up") else 75.0
        asset = options.digital(*m, payoff="asset", barrier=level, barrier_type=kind)["price"]
        cash = options.digital(*m, cash=m[1], barrier=level, barrier_type=kind)["price"]
        close(options.barrier(*m, level, kind)["price"], sign * (asset - cash), 1e-13)
        # The rebate of a knock-out is a touch, that of a knock-in no touch.
        rebate = options.barrier(*m, level, kind, rebate=1.0)["price"] - options.barrier(*m, level, kind)["price"]
        touched = [m[0], np.full_like(m[0], level), *m[2:6], kind.startswith("up")]
        style = {"style": "touch", "pay": "hit"} if kind.endswith("out") else {"style": "no_touch"}
        close(rebate, options.digital(*touched, **style)["price"])


def test_barrier_seen_now_and_then():
    """The shifted barrier, against paths that look at it 50 times."""
    paths = reference.paths(100.0, 0.5, 0.05, 0.02, 0.3, 50, 40_000)
    for kind, level in (("down-out", 88.0), ("up-out", 125.0)):
        alive = paths.min(1) > level if kind == "down-out" else paths.max(1) < level
        payoff = math.exp(-0.025) * np.maximum(paths[:, -1] - 100.0, 0.0) * alive
        got = options.barrier(100.0, 100.0, 0.5, 0.05, 0.02, 0.3, True, level, kind, interval=0.01)["price"]
        assert got == pytest.approx(payoff.mean(), abs=4.0 * payoff.std() / math.sqrt(len(payoff)) + 0.01)
        always = options.barrier(100.0, 100.0, 0.5, 0.05, 0.02, 0.3, True, level, kind)["price"]
        assert always < got


def test_lookback_identities():
    m = market(400)
    s, k, *rest = m
    fixed = options.lookback(*m, outputs="all")
    assert (fixed["price"] >= options.price(*m)["price"] - 1e-12).all()
    # max(M, K) - K and M - S differ by S and K alone, where the strike is met already.
    r, t, q = rest[1], rest[0], rest[2]
    high = np.maximum(s, k) * 1.01
    call = options.lookback(s, np.minimum(k, high), *rest[:4], True, extreme=high)["price"]
    put = options.lookback(s, None, *rest[:4], False, extreme=high)["price"]
    close(call - put, s * np.exp(-q * t) - np.minimum(k, high) * np.exp(-r * t))
    # Without carry the form is a limit: no jump there.
    for offset in (0.0, 1e-13, 1e-9, 1e-6):
        near = options.lookback(s, k, t, q + offset, *rest[2:], outputs="all")
        at = options.lookback(s, k, t, q, *rest[2:], outputs="all")
        alike(near, at, 1e-10 + 1e5 * offset)


def test_lookback_paths():
    paths = reference.paths(100.0, 1.0, 0.06, 0.02, 0.3, 400, 4_000)
    # Paths that are looked at now and then have a lower maximum: exp(0.5826 sigma sqrt(dt)).
    top = np.maximum(paths.max(1) * math.exp(0.5826 * 0.3 * math.sqrt(1 / 400)), 100.0)
    payoff = math.exp(-0.06) * np.maximum(top - 105.0, 0.0)
    got = options.lookback(100.0, 105.0, 1.0, 0.06, 0.02, 0.3, True)["price"]
    assert got == pytest.approx(payoff.mean(), abs=4.0 * payoff.std() / math.sqrt(len(payoff)) + 0.02)


def test_chooser_identities():
    s, k, t, r, q, v, _ = market(400)
    call, put = (options.price(s, k, t, r, q, v, flag)["price"] for flag in (True, False))
    close(options.chooser(s, k, t, r, q, v, t)["price"], call + put)
    close(options.chooser(s, k, t, r, q, v, 0.0)["price"], np.maximum(call, put), 1e-7)


def test_compound_identities():
    m = market(400)
    s, _, t, r, q, v, c = m
    price = functools.partial(options.compound, s, 6.0, t, r, q, v)
    call, put = (price(flag, 100.0, t + 0.4, c, outputs="all") for flag in (True, False))
    under = options.greeks(s, 100.0, t + 0.4, r, q, v, c, outputs="all")
    paid = 6.0 * np.exp(-r * t)
    close(call["price"] - put["price"], under["price"] - paid, 1e-13)
    for name, bond in (("delta", 0.0), ("gamma", 0.0), ("vega", 0.0), ("vanna", 0.0), ("theta", -r * paid)):
        # Theta: that of the option, less that of the payment.
        error = np.abs(call[name] - put[name] - under[name] - bond) / (1.0 + np.abs(under[name]))
        assert error.max() < 1e-10, name
    # Worthless rights, and rights that are always used.
    close(options.compound(s, 1e-9, t, r, q, v, True, 100.0, t + 0.4, c)["price"], under["price"], 1e-10)
    assert (options.compound(s, 1e6, t, r, q, v, True, 100.0, t + 0.4, c)["price"] <= 1e-12).all()
    assert (options.compound(s, 150.0, t, r, q, v, True, 100.0, t + 0.4, False)["price"] <= 1e-200).all()


def test_basket_identities():
    a = pair(500)
    s, s2, k, t, r, q, q2, v, v2, rho, c = a
    least, most = (options.basket(*a, kind=kind) for kind in ("min", "max"))
    first = options.greeks(s, k, t, r, q, v, c)
    second = options.greeks(s2, k, t, r, q2, v2, c)
    for name in ("price", "theta", "rho"):
        close(least[name] + most[name], first[name] + second[name], 1e-12)
    close(least["delta1"] + most["delta1"], first["delta"], 1e-12, 1.0)
    close(least["gamma2"] + most["gamma2"], second["gamma"], 1e-12, 1.0)
    close(least["cross_gamma"] + most["cross_gamma"], 0.0, 1e-12, 1.0)
    # The same asset twice.
    a[1], a[6], a[8], a[9] = s, q, v, np.ones_like(rho)
    for kind in ("min", "max"):
        close(options.basket(*a, kind=kind)["price"], first["price"], 1e-7)
    # The larger of two is one and the right to exchange it.
    close(
        options.basket(s, s2, 0.0, t, r, q, q2, v, v2, rho, True, kind="max")["price"],
        s2 * np.exp(-q2 * t) + options.exchange(s, s2, t, r, q, q2, v, v2, rho)["price"],
        1e-12,
    )
    spread = options.spread(s, s2, 0.0, t, r, q, q2, v, v2, rho, True)
    exchange = options.exchange(s, s2, t, r, q, q2, v, v2, rho)
    for name in exchange:
        close(spread[name], exchange[name])


def test_bivariate_normal_by_an_integral():
    """Through options on a condition: E[(S1 - K)+ ; S2 > X] by an integral over the first asset."""
    for rho in (-0.99, -0.93, -0.6, 0.0, 0.3, 0.89, 0.91, 0.999):
        for strike, second in ((100.0, 90.0), (130.0, 120.0), (60.0, 140.0)):
            got = options.correlation_option(
                100.0, 100.0, strike, 1.0, 0.03, 0.01, 0.0, 0.25, 0.4, rho, True, second, outputs="price"
            )["price"]

            def integrand(z, strike=strike, second=second, rho=rho):
                first = 100 * mp.exp(mp.mpf("0.02") - mp.mpf("0.03125") + mp.mpf("0.25") * z)
                level = (mp.log(mp.mpf(second) / 100) - (mp.mpf("0.03") - mp.mpf("0.08"))) / mp.mpf("0.4")
                ends = mp.ncdf((rho * z - level) / mp.sqrt(1 - mp.mpf(rho) ** 2))
                return (first - strike) * ends * mp.npdf(z)

            start = (mp.log(mp.mpf(strike) / 100) - mp.mpf("0.02") + mp.mpf("0.03125")) / mp.mpf("0.25")
            bend = (mp.log(mp.mpf(second) / 100) + mp.mpf("0.05")) / mp.mpf("0.4") / rho if rho else start
            points = sorted({start, *(p for p in (bend - 0.2, bend, bend + 0.2) if start < p < 12), mp.mpf(12)})
            want = mp.exp(mp.mpf("-0.03")) * mp.quad(integrand, points)
            assert abs(got - want) < 2e-13, (rho, strike, second)


def test_quanto_without_a_currency():
    m = market(200)
    got = options.quanto(*m, m[3], 0.0, 0.5)
    want = options.greeks(*m)
    for name in ("price", "delta", "gamma", "theta"):
        close(got[name], want[name])


def test_no_jumps_is_black_scholes():
    m = market(300)
    alike(options.merton_jump(*m, 0.0, -0.2, 0.3, outputs="all"), options.greeks(*m, outputs="all"), 1e-12)
    alike(options.merton_jump(*m, 5.0, 0.0, 0.0, outputs="all"), options.greeks(*m, outputs="all"), 1e-10)
    # Jumps of a size that is known: a Poisson sum with mpmath.
    s, k, t, r, q, v, lam, mu, delta = 100.0, 110.0, 0.7, 0.03, 0.01, 0.2, 3.0, -0.15, 0.25
    with mp.workdps(40):
        excess = mp.exp(mp.mpf(mu) + mp.mpf(delta) ** 2 / 2) - 1
        want = mp.mpf(0)
        for n in range(80):
            deviation = mp.sqrt(mp.mpf(v) ** 2 * t + n * mp.mpf(delta) ** 2)
            forward = s * mp.exp((mp.mpf(r) - q - lam * excess) * t) * (1 + excess) ** n
            d1 = mp.log(forward / k) / deviation + deviation / 2
            black = forward * mp.ncdf(d1) - k * mp.ncdf(d1 - deviation)
            want += mp.exp(-mp.mpf(lam) * t) * (mp.mpf(lam) * t) ** n / mp.factorial(n) * black
        want *= mp.exp(-mp.mpf(r) * t)
    assert options.merton_jump(s, k, t, r, q, v, True, lam, mu, delta)["price"] == pytest.approx(float(want), rel=1e-14)


def test_asian_identities():
    m = market(300)
    want = options.greeks(*m, outputs="all")
    for method in ("geometric", "turnbull_wakeman", "curran"):
        # The average of the last price.
        alike(options.asian(*m, method=method, fixings=1, outputs="all"), want, 1e-10)
        # Parity: a call less a put is the mean less the strike.
        both = [options.asian(*m[:6], flag, method=method, fixings=12)["price"] for flag in (True, False)]
        if method != "geometric":
            times = np.arange(1, 13)[:, None] / 12.0 * m[2]
            mean = (m[0] * np.exp((m[3] - m[4]) * times)).mean(0)
            close(both[0] - both[1], np.exp(-m[3] * m[2]) * (mean - m[1]), 1e-13)
        # Many fixings are nearly all prices.
        most = options.asian(*m, method=method, fixings=20_000)["price"]
        close(most, options.asian(*m, method=method)["price"], 1e-5)
        # A part that is known.
        half = options.asian(*m, method=method, fixings=6, past=m[1], past_weight=0.5)["price"]
        if method != "geometric":
            close(half, 0.5 * options.asian(*m, method=method, fixings=6)["price"])
            sure = options.asian(*m[:6], True, method=method, past=300.0, past_weight=0.5)["price"]
            again = options.asian(*m[:6], True, method=method, past=301.0, past_weight=0.5)["price"]
            close(again - sure, 0.5 * np.exp(-m[3] * m[2]), 1e-12)


def test_asian_paths():
    paths = reference.paths(100.0, 1.0, 0.05, 0.0, 0.3, 12, 100_000)
    for strike in (90.0, 105.0):
        payoff = math.exp(-0.05) * np.maximum(paths.mean(1) - strike, 0.0)
        error = payoff.std() / math.sqrt(len(payoff))
        arguments = (100.0, strike, 1.0, 0.05, 0.0, 0.3, True)
        assert options.asian(*arguments, fixings=12)["price"] == pytest.approx(payoff.mean(), abs=4 * error + 0.003)
        geometric = math.exp(-0.05) * np.maximum(np.exp(np.log(paths).mean(1)) - strike, 0.0)
        got = options.asian(*arguments, fixings=12, method="geometric")["price"]
        assert got == pytest.approx(geometric.mean(), abs=4 * geometric.std() / math.sqrt(len(payoff)))


# --- derivatives ---------------------------------------------------------------------------------------------------

COUNT = 120
M = market(COUNT, seed=7)
P = pair(COUNT, seed=8)
LEVEL = np.where(np.arange(COUNT) % 2 == 0, 130.0, 70.0)
KIND = np.where(np.arange(COUNT) % 2 == 0, "up-out", "down-in")
TOUCH = np.where(M[6] == 1, 130.0, 70.0)


def extreme(s, low):
    return np.where(low, s * 0.9, s * 1.1)


# Functions of spot, strike, expiry, rate, dividend, vol: times within them move with expiry.
ONE_ASSET = {
    "digital": lambda *a, **o: options.digital(*a, M[6], cash=10.0, **o),
    "gap": lambda *a, **o: options.digital(*a, M[6], payoff="gap", payoff_strike=95.0, **o),
    "touch": lambda s, k, *a, **o: options.digital(s, k - M[1] + TOUCH, *a, M[6], style="touch", pay="hit", **o),
    "no_touch": lambda s, k, *a, **o: options.digital(s, k - M[1] + TOUCH, *a, M[6], style="no_touch", **o),
    "barrier_digital": lambda *a, **o: options.digital(*a, M[6], cash=10.0, barrier=LEVEL, barrier_type=KIND, **o),
    "barrier": lambda *a, **o: options.barrier(*a, M[6], LEVEL, KIND, rebate=2.0, interval=0.004, **o),
    "double_barrier": lambda *a, **o: options.double_barrier(*a, M[6], 70.0, 130.0, **o),
    "fixed_lookback": lambda *a, **o: options.lookback(*a, M[6], extreme=extreme(M[0], M[6] == 0), **o),
    "floating_lookback": lambda s, k, *a, **o: options.lookback(
        s, None, *a, M[6], extreme=extreme(M[0], M[6] == 1), **o
    ),
    "chooser": lambda s, k, t, *a, **o: options.chooser(s, k, t, *a, t - 0.1, **o),
    "compound": lambda s, k, t, *a, **o: options.compound(s, k * 0.08, t, *a, M[6], 100.0, t + 0.3, M[6][::-1], **o),
    "quanto": lambda *a, **o: options.quanto(*a, M[6], 0.03, 0.12, 0.4, **o),
    "merton_jump": lambda *a, **o: options.merton_jump(*a, M[6], 0.8, -0.1, 0.2, **o),
    **{
        f"{method}_{fixings}": lambda s, k, t, *a, method=method, fixings=fixings, **o: options.asian(
            s, k, t, *a, M[6], method=method, fixings=fixings, first=0.05 + (t - M[2]), past=99.0, past_weight=0.2, **o
        )
        for method, fixings in itertools.product(("geometric", "turnbull_wakeman", "curran"), (0, 5))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_ASSET)
def test_greeks_of_one_asset(name):
    """Derivatives are those of the price, by differences; second ones those of the first."""
    function = ONE_ASSET[name]
    arguments = M[:6]
    got = function(*arguments, outputs="all")
    assert all(np.isfinite(got[n]).all() for n in SHARED)
    steps = {"delta": (0, 0.01, 1), "theta": (2, 2e-4, -1), "rho": (3, 2e-4, 1), "epsilon": (4, 2e-4, 1),
             "vega": (5, 2e-4, 1), "dual_delta": (1, 0.01, 1)}  # fmt: skip
    for output, (place, step, sign) in steps.items():
        want = sign * reference.slope(lambda *a: function(*a, outputs="price")["price"], arguments, place, step)
        if name == "compound" and output == "dual_delta":
            want = want / 0.08
        error = np.abs(got[output] - want) / (1.0 + np.abs(want))
        assert error.max() < 3e-8, output
    for output, of, place, step in (
        ("gamma", "delta", 0, 0.02),
        ("vanna", "delta", 5, 2e-4),
        ("volga", "vega", 5, 2e-4),
    ):
        want = reference.slope(lambda *a, of=of: function(*a, outputs=of)[of], arguments, place, step)
        error = np.abs(got[output] - want) / (0.1 + np.abs(want))
        assert error.max() < 1e-6, output
    # The price alone is computed without derivatives.
    close(function(*arguments, outputs="price")["price"], got["price"], 1e-14)


@pytest.mark.parametrize("name", ["exchange", "spread", "min", "max", "correlation"])
def test_greeks_of_two_assets(name):
    def function(s, s2, k, t, r, q, q2, v, v2, rho, outputs):
        two = (t, r, q, q2, v, v2, rho)
        if name == "exchange":
            return options.exchange(s, s2, *two, outputs=outputs)
        if name == "spread":
            return options.spread(s, s2, k - 90.0, *two, P[10], outputs=outputs)
        if name == "correlation":
            return options.correlation_option(s, s2, k, *two, P[10], 95.0, outputs=outputs)
        return options.basket(s, s2, k, *two, P[10], kind=name, outputs=outputs)

    arguments = P[:10]
    got = function(*arguments, outputs="all")
    outputs = (
        "delta1",
        "delta2",
        "dual_delta",
        "theta",
        "rho",
        "epsilon1",
        "epsilon2",
        "vega1",
        "vega2",
        "dcorrelation",
    )
    for place, output in enumerate(outputs):
        if output not in got:
            continue
        want = reference.slope(
            lambda *a: function(*a, outputs="price")["price"], arguments, place, 0.01 if place < 3 else 1e-4
        )
        error = np.abs(got[output] - (-want if output == "theta" else want)) / (1.0 + np.abs(want))
        assert error.max() < 3e-8, output
    for output, of, place in (("gamma1", "delta1", 0), ("cross_gamma", "delta1", 1), ("gamma2", "delta2", 1)):
        want = reference.slope(lambda *a, of=of: function(*a, outputs=of)[of], arguments, place, 0.02)
        assert np.max(np.abs(got[output] - want) / (0.1 + np.abs(want))) < 1e-6, output


def test_derivatives_in_parameters():
    m = market(100, seed=9)
    for function, names, shift in (
        (options.merton_jump, ("dintensity", "djump_mean", "djump_vol"), 0.0),
        (options.quanto, ("dforeign_rate", "dfx_vol", "dcorrelation"), 0.2),
    ):
        more = [x + shift for x in (np.full(100, 0.6), np.full(100, -0.1), np.full(100, 0.2))]
        got = function(*m, *more, outputs="all")
        for place, output in enumerate(names):
            want = reference.slope(lambda *a, f=function: f(*m, *a)["price"], more, place, 1e-4)
            assert np.max(np.abs(got[output] - want) / (1.0 + np.abs(want))) < 3e-9, output
    under = [np.full(100, 100.0)]
    got = options.compound(m[0], 6.0, *m[2:7], *under, m[2] + 0.2, True, outputs="dunder_strike")["dunder_strike"]
    want = reference.slope(lambda k: options.compound(m[0], 6.0, *m[2:7], k, m[2] + 0.2, True)["price"], under, 0, 0.01)
    close(got, want, 1e-9, 1.0)


# --- awkward arguments ---------------------------------------------------------------------------------------------

CALLS = {
    "digital": lambda *a, **o: options.digital(*a, True, **o),
    "touch": lambda *a, **o: options.digital(*a, True, style="touch", **o),
    "barrier": lambda *a, **o: options.barrier(*a, True, 130.0, "up-out", **o),
    "double_barrier": lambda *a, **o: options.double_barrier(*a, True, 70.0, 130.0, **o),
    "lookback": lambda *a, **o: options.lookback(*a, True, **o),
    "chooser": lambda *a, **o: options.chooser(*a, 0.0, **o),
    "compound": lambda s, k, *a, **o: options.compound(s, 5.0, *a, True, k, 3.0, True, **o),
    "quanto": lambda *a, **o: options.quanto(*a, True, 0.02, 0.1, 0.3, **o),
    "merton_jump": lambda *a, **o: options.merton_jump(*a, True, 1.0, -0.1, 0.2, **o),
    "geometric": lambda *a, **o: options.asian(*a, True, method="geometric", **o),
    "turnbull_wakeman": lambda *a, **o: options.asian(*a, True, method="turnbull_wakeman", **o),
    "curran": lambda *a, **o: options.asian(*a, True, **o),
    "exchange": lambda s, k, t, r, q, v, **o: options.exchange(s, k, t, r, q, 0.0, v, 0.2, 0.1, **o),
    "spread": lambda s, k, t, r, q, v, **o: options.spread(s, k, 5.0, t, r, q, 0.0, v, 0.2, 0.1, True, **o),
    "basket": lambda s, k, t, r, q, v, **o: options.basket(s, k, 90.0, t, r, q, 0.0, v, 0.2, 0.1, True, **o),
}


@pytest.mark.parametrize("name", CALLS)
def test_rows_without_a_meaning(name):
    function = CALLS[name]
    good = [100.0, 105.0, 1.0, 0.03, 0.01, 0.2]
    columns = [np.full(20, g) for g in good]
    row = 0
    for place in range(6):
        columns[place][row] = np.nan
        columns[place][row + 1] = np.inf if name != "touch" or place != 1 else np.nan
        row += 2
    for place in (0, 2, 5):
        columns[place][row] = -1.0
        row += 1
    got = function(*columns, outputs="all")
    want = function(*good, outputs="all")
    for output in want:
        assert np.isnan(got[output][:row]).all(), output
        assert np.isfinite(got[output][row:]).all(), output
        assert np.max(np.abs(got[output][row:] - want[output]) / (1 + abs(want[output]))) < 1e-12, output


@pytest.mark.parametrize("name", CALLS)
def test_no_time_and_no_volatility(name):
    """Prices are the limit, and finite, as are derivatives, beside the kinks."""
    for expiry, vol in ((0.0, 0.2), (1.0, 0.0), (0.0, 0.0)):
        got = CALLS[name](100.0, 104.0, expiry, 0.03, 0.01, vol, outputs="all")
        assert all(np.isfinite(v) for v in got.values()), (expiry, vol, got)
        near = CALLS[name](100.0, 104.0, expiry + 1e-9, 0.03, 0.01, vol + 1e-5, outputs="price")["price"]
        assert got["price"] == pytest.approx(near, abs=2e-2 if name == "lookback" else 2e-3), (expiry, vol)


def of_any_size(m, is_call):
    """Products by name in a currency whose unit is m."""
    c, g = is_call, (0.7, 0.03, 0.01, 0.25)
    way = "up" if is_call else "down"
    s, k, near = 100.0 * m, 95.0 * m, (115.0 if is_call else 85.0) * m
    two = (0.7, 0.03, 0.01, 0.02, 0.25, 0.3, 0.4)
    return {
        "digital": lambda **o: options.digital(s, k, *g, c, cash=m, **o),
        "gap": lambda **o: options.digital(s, k, *g, c, payoff="gap", payoff_strike=90.0 * m, **o),
        "touch": lambda **o: options.digital(s, near, *g, c, cash=m, style="touch", pay="hit", **o),
        "barrier_digital": lambda **o: options.digital(
            s, k, *g, c, cash=m, barrier=near, barrier_type=f"{way}-in", **o
        ),
        "barrier": lambda **o: options.barrier(s, k, *g, c, near, f"{way}-in", rebate=0.1 * m, **o),
        "double_barrier": lambda **o: options.double_barrier(s, k, *g, c, 80.0 * m, 130.0 * m, **o),
        "lookback": lambda **o: options.lookback(s, k, *g, c, **o),
        "floating": lambda **o: options.lookback(s, None, *g, c, **o),
        "chooser": lambda **o: options.chooser(s, k, *g, 0.3, **o),
        "compound": lambda **o: options.compound(s, 6.0 * m, *g, c, k, 1.4, True, **o),
        "exchange": lambda **o: options.exchange(s, k, *two, **o),
        "spread": lambda **o: options.spread(s, k, 5.0 * m, *two, c, **o),
        "basket": lambda **o: options.basket(s, k, 97.0 * m, *two, c, kind="max", **o),
        "correlation": lambda **o: options.correlation_option(s, k, 97.0 * m, *two, c, 92.0 * m, **o),
        "quanto": lambda **o: options.quanto(s, k, *g, c, 0.02, 0.1, 0.3, **o),
        "merton_jump": lambda **o: options.merton_jump(s, k, *g, c, 0.8, -0.1, 0.2, **o),
        "heston": lambda **o: options.heston(s, k, *g[:3], 0.06, 1.0, 0.05, 0.5, -0.6, c, **o),
        **{
            method: lambda method=method, **o: options.asian(
                s, k, *g, c, method=method, fixings=5, past=98.0 * m, past_weight=0.1, **o
            )
            for method in ("geometric", "turnbull_wakeman", "curran")
        },
    }


#: Powers of the unit of money that derivatives have: those in a price less.
POWERS = {name: 0 for name in ("delta", "delta1", "delta2", "dual_delta", "vanna", "dunder_strike")} | dict.fromkeys(
    ("gamma", "gamma1", "gamma2", "cross_gamma"), -1
)


@pytest.mark.parametrize("is_call", [True, False])
@pytest.mark.parametrize("exponent", [-300, -250, -150, -60, 60, 150, 250, 300])
def test_any_unit_of_money(exponent, is_call):
    """Prices are in proportion to the unit of money, from subnormal cents to what a double just holds."""
    unit = 10.0**exponent
    ordinary = of_any_size(1.0, is_call)
    for product, function in of_any_size(unit, is_call).items():
        got, want = function(outputs="all"), ordinary[product](outputs="all")
        for name, number in want.items():
            power = POWERS.get(name, 1)
            # What the unit does to a gamma may be too large or too small for a double.
            if abs(math.log10(max(abs(number), 1e-8)) + power * exponent) > 305:
                continue
            assert got[name] / unit**power == pytest.approx(number, rel=1e-9, abs=1e-9), (product, name)


@pytest.mark.parametrize("strike", [0.0, 1e-300, 1e-150, 1e-8])
def test_next_to_no_strike(strike):
    """A call on nothing is the asset less the strike, in all derivatives."""
    t, r, q, v = 0.7, 0.03, 0.01, 0.25
    g, two = (t, r, q, v), (t, r, q, q, v, v, 1.0)
    want = {"price": 100.0 * math.exp(-q * t), "delta": math.exp(-q * t), "dual_delta": -math.exp(-r * t)}
    for product, got in {
        "barrier": options.barrier(100.0, strike, *g, True, 1e-20, "down-out", outputs="all"),
        "double_barrier": options.double_barrier(100.0, strike, *g, True, 1e-20, 1e20, outputs="all"),
        "merton_jump": options.merton_jump(100.0, strike, *g, True, 0.5, 0.0, 0.1, outputs="all"),
        "quanto": options.quanto(100.0, strike, *g, True, r, 0.0, 0.0, outputs="all"),
        "chooser": options.chooser(100.0, strike, *g, 0.3, outputs="all"),
        "asian": options.asian(100.0, strike, *g, True, fixings=1, outputs="all"),
        "geometric": options.asian(100.0, strike, *g, True, fixings=1, method="geometric", outputs="all"),
        "basket": options.basket(100.0, 100.0, strike, *two, True, kind="min", outputs="all"),
        "heston": options.heston(100.0, strike, t, r, q, 0.04, 1.0, 0.04, 0.5, -0.6, True, outputs="all"),
    }.items():
        for name in want:
            if name in got:
                assert got[name] == pytest.approx(want[name], rel=1e-9), (product, name)


@pytest.mark.parametrize("rho", [1.0, -1.0])
def test_one_source_of_chance(rho):
    """Correlations of 1 and -1, and assets that are the same: an integral over one normal number."""
    z = np.linspace(-10.0, 10.0, 100_001)
    weight = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) * (z[1] - z[0])
    r, q, t = 0.03, 0.01, 0.8
    for s1, s2, v1, v2 in ((100.0, 100.0, 0.2, 0.2), (100.0, 90.0, 0.2, 0.3), (100.0, 100.0, 0.3, 0.2)):
        first = s1 * np.exp((r - q - v1 * v1 / 2) * t + v1 * math.sqrt(t) * z)
        second = s2 * np.exp((r - q - v2 * v2 / 2) * t + v2 * math.sqrt(t) * rho * z)
        for strike, is_call, (kind, function) in itertools.product(
            (80.0, 95.0, 130.0), (True, False), (("min", np.minimum), ("max", np.maximum))
        ):
            end = function(first, second) - strike
            want = math.exp(-r * t) * np.sum(np.maximum(end if is_call else -end, 0.0) * weight)
            got = options.basket(s1, s2, strike, t, r, q, q, v1, v2, rho, is_call, kind=kind)["price"]
            assert got == pytest.approx(want, abs=1e-6), (s1, s2, v1, v2, strike, is_call, kind)
        want = math.exp(-r * t) * np.sum(np.maximum(first - second, 0.0) * weight)
        got = options.exchange(s1, s2, t, r, q, q, v1, v2, rho, outputs="all")
        assert got["price"] == pytest.approx(want, abs=1e-6)
        assert all(np.isfinite(x) for x in got.values())


def test_words():
    m = [100.0, 105.0, 1.0, 0.03, 0.01, 0.2, True]
    for call, match in (
        (lambda: options.barrier(*m, 120.0, "sideways"), "barrier_type: 'sideways'"),
        (lambda: options.barrier(*m, 120.0, 3), "barrier_type"),
        (lambda: options.double_barrier(*m, 90.0, 120.0, "over"), "barrier_type: 'over'"),
        (lambda: options.digital(*m, payoff="house"), "payoff: 'house'"),
        (lambda: options.digital(*m, payoff="gap"), "payoff_strike"),
        (lambda: options.digital(*m, pay="never"), "pay: 'never'"),
        (lambda: options.digital(*m, pay="hit"), "pay: 'hit'"),
        (lambda: options.digital(*m, style="late"), "style: 'late'"),
        (lambda: options.digital(*m, style="no_touch", pay="hit"), "style"),
        (lambda: options.digital(*m, barrier=90.0), "barrier_type"),
        (lambda: options.asian(*m, method="guess"), "method: 'guess'"),
        (lambda: options.asian(*m, paths=7), "paths"),
        (lambda: options.basket(1.0, 1.0, 1.0, 1.0, 0, 0, 0, 0.2, 0.2, 0, True, kind="mid"), "kind: 'mid'"),
        (lambda: options.lookback(*m, outputs="speed"), "outputs: 'speed'"),
    ):
        with pytest.raises(ParameterError, match=match):
            call()
    with pytest.raises(ShapeError, match="barrier"):
        options.barrier(np.ones(3), *m[1:], np.ones(4), "up-out")


@given(
    spot=st.floats(1e-3, 1e5),
    ratio=st.floats(0.2, 5.0),
    expiry=st.floats(0.0, 10.0),
    rate=st.floats(-0.1, 0.3),
    dividend=st.floats(-0.1, 0.3),
    vol=st.floats(0.0, 2.0),
    is_call=st.booleans(),
    distance=st.floats(0.01, 2.0),
)
def test_bounds(spot, ratio, expiry, rate, dividend, vol, is_call, distance):
    """A knock-out is worth at least nothing and at most the option; a lookback at least the option."""
    m = (spot, spot * ratio, expiry, rate, dividend, vol, is_call)
    vanilla = options.price(*m)["price"]
    slack = 1e-9 * spot * (1.0 + ratio) * math.exp((abs(rate) + abs(dividend)) * expiry)
    for kind in TYPES:
        level = spot * math.exp(distance if kind.startswith("up") else -distance)
        got = options.barrier(*m, level, kind)["price"]
        assert -slack <= got <= vanilla + slack, kind
    got = options.double_barrier(*m, spot * math.exp(-distance), spot * math.exp(distance))["price"]
    assert -slack <= got <= vanilla + slack
    assert options.lookback(*m)["price"] >= vanilla - slack


@pytest.mark.parametrize("name", CALLS)
def test_bits(name, simd_levels):
    m = market(300, seed=3)[:6]
    if name == "touch":
        m[1] = m[0] * 1.2
    function = CALLS[name]
    want = function(*m, outputs="all", num_threads=1)
    got = function(*m, outputs="all", num_threads=2)
    for output in want:
        same_bits(got[output], want[output], output)
    for level in simd_levels:
        with config.override(simd=level):
            got = function(*m, outputs="all")
        for output in want:
            assert np.max(np.abs(got[output] - want[output]) / (1.0 + np.abs(want[output]))) < 1e-10, (level, output)
    single = [np.float32(x) for x in m]
    got = function(*single, outputs="price")["price"]
    assert got.dtype == np.float32
    wide = function(*[x.astype(np.float64) for x in single], outputs="price")["price"]
    same_bits(got, wide.astype(np.float32))
    back = function(*[x[::-1] for x in m], outputs="price")["price"]
    same_bits(back[::-1], function(*m, outputs="price")["price"])


def test_neighbours():
    """A row's bits do not depend on those that are computed with it."""
    m = market(64, seed=11)
    rng = np.random.default_rng(12)
    fixings, jumps = rng.choice([0, 1, 3, 700], 64), rng.choice([0.0, 0.1, 30.0], 64)
    width = np.exp(rng.uniform(-3, 3, 64))
    under = np.exp(rng.uniform(3, 6, 64))
    for function, more in (
        (lambda *a: options.asian(*a[:7], fixings=a[7], outputs="all"), fixings),
        (lambda *a: options.asian(*a[:7], fixings=a[7], method="turnbull_wakeman", outputs="all"), fixings),
        (lambda *a: options.merton_jump(*a[:7], a[7], -0.1, 0.3, outputs="all"), jumps),
        (
            lambda *a: options.double_barrier(*a[:7], a[0] * np.exp(-a[7]), a[0] * np.exp(2 * a[7]), outputs="all"),
            width,
        ),
        (lambda *a: options.compound(a[0], 6.0, *a[2:7], a[7], 3.0, True, outputs="all"), under),
    ):
        want = function(*m, more)
        for i in range(0, 64, 3):
            got = function(*(x[i] for x in m), more[i])
            for name in got:
                same_bits(np.float64(got[name]), want[name][i], name)


@pytest.mark.parametrize("name", CALLS)
def test_devices(name, device):
    m = [x[:5] for x in market(5, seed=4)[:6]]
    want = CALLS[name](*m, outputs="all")
    got = CALLS[name](*m, outputs="all", device=device)
    for output in want:
        assert np.max(np.abs(np.asarray(got[output]) - want[output]) / (1.0 + np.abs(want[output]))) < 1e-10, output


# ------------------------------------------------------------------------------------------------ edges


@pytest.mark.parametrize("call", [True, False])
def test_compound_strikes_of_nothing(call):
    """What costs nothing is the option under it; an option under it that costs nothing is the asset, or nothing."""
    at, under = (100.0, 0.3, 0.03, 0.01, 0.25), (95.0, 0.7)
    spot, expiry, rate, dividend, vol = at
    for daughter in (True, False):
        plain = options.price(spot, under[0], under[1], rate, dividend, vol, daughter)["price"]
        got = options.compound(spot, 0.0, expiry, rate, dividend, vol, call, *under, daughter)
        assert got["price"] == pytest.approx(plain if call else 0.0, abs=1e-9)
        asset = options.price(spot * np.exp(-dividend * 0.4), 4.0, expiry, rate, dividend, vol, call)["price"]
        worthless = 0.0 if call else 4.0 * np.exp(-rate * expiry)
        free = options.compound(spot, 4.0, expiry, rate, dividend, vol, call, 0.0, under[1], daughter)["price"]
        assert free == pytest.approx(asset if daughter else worthless, abs=1e-9)


@pytest.mark.parametrize("call", [True, False])
@pytest.mark.parametrize("strike", [None, 90.0, 110.0])
def test_lookbacks_without_randomness(call, strike):
    """The extremes of the only path, to the last digit also where they are today's spot."""
    sign = 1.0 if call else -1.0
    for expiry, vol, rate, dividend in ((0.0, 0.3, 0.05, 0.01), (1.5, 0.0, 0.05, 0.01), (1.5, 0.0, 0.01, 0.05),
                                        (1.5, 0.0, 0.02, 0.02)):  # fmt: skip
        path = 100.0 * np.exp((rate - dividend) * np.linspace(0.0, expiry, 11))
        for so_far in (None, 99.0, 101.0):
            low = call if strike is None else not call
            if so_far is not None and (so_far < 100.0) != low:
                continue
            seen = path if so_far is None else np.append(path, so_far)
            extreme = seen.min() if low else seen.max()
            payoff = sign * (path[-1] - extreme) if strike is None else max(sign * (extreme - strike), 0.0)
            got = options.lookback(100.0, strike, expiry, rate, dividend, vol, call, extreme=so_far)["price"]
            assert got == pytest.approx(payoff * np.exp(-rate * expiry), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("rho", [-1.0, 0.4, 1.0])
def test_one_asset_of_two_without_vol(rho):
    """Against Black and Scholes with the certain asset as the strike."""
    forward = 95.0 * np.exp((0.03 - 0.02) * 0.7)
    want = options.greeks(100.0, forward, 0.7, 0.03, 0.01, 0.25, True)
    got = options.exchange(100.0, 95.0, 0.7, 0.03, 0.01, 0.02, 0.25, 0.0, rho)
    assert got["price"] == pytest.approx(want["price"], rel=1e-13)
    assert got["delta1"] == pytest.approx(want["delta"], rel=1e-12)
    assert got["vega1"] == pytest.approx(want["vega"], rel=1e-12)
    spread = options.spread(100.0, 95.0, 0.0, 0.7, 0.03, 0.01, 0.02, 0.25, 0.0, rho, True)
    assert spread["price"] == pytest.approx(want["price"], rel=1e-13)
    mirrored = options.exchange(95.0, 100.0, 0.7, 0.03, 0.02, 0.01, 0.0, 0.25, rho)["price"]
    assert mirrored == pytest.approx(options.price(100.0, forward, 0.7, 0.03, 0.01, 0.25, False)["price"], rel=1e-12)


@pytest.mark.parametrize("strike", [None, 100.0])
def test_lookbacks_go_to_the_only_path(strike):
    for scale in ("vol", "expiry"):
        sizes = np.array([1.0, 1.01, 2.0]) * (1e-6 if scale == "vol" else 1e-12)
        sizes = np.concatenate([[0.0], 0.5 * sizes[:1], 0.99 * sizes[:1], sizes])
        at = {"vol": 0.5, "expiry": 1.0, scale: sizes}
        prices = options.lookback(100.0, strike, at["expiry"], 0.0, 0.0, at["vol"], True)["price"]
        root = sizes if scale == "vol" else np.sqrt(sizes)
        np.testing.assert_allclose(prices, prices[-1] * root / root[-1], rtol=1e-3, atol=1e-15)
