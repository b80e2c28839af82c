# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/options/comparison.md: the same numbers in other libraries, where those are installed."""

from __future__ import annotations

import math
import warnings

import pytest

from warpquant import options

S, K, T, R, Q, V = 100.0, 95.0, 1.0, 0.03, 0.01, 0.25
ONE = (S, K, T, R, Q, V)
SECOND = (90.0, 0.02, 0.3, 0.4)  # spot, yield, volatility, correlation


def quantlib():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its wrapper, about itself
        return pytest.importorskip("QuantLib")


class Market:
    def __init__(self):
        self.ql = ql = quantlib()
        self.day = ql.Date(1, 1, 2024)
        ql.Settings.instance().evaluationDate = self.day
        self.count = ql.Actual365Fixed()
        self.exercise = ql.EuropeanExercise(self.day + 365)
        self.process = self.lognormal(S, Q, V)

    def quote(self, x):
        return self.ql.QuoteHandle(self.ql.SimpleQuote(x))

    def curve(self, x):
        return self.ql.YieldTermStructureHandle(self.ql.FlatForward(self.day, x, self.count))

    def vol(self, x):
        flat = self.ql.BlackConstantVol(self.day, self.ql.NullCalendar(), x, self.count)
        return self.ql.BlackVolTermStructureHandle(flat)

    def lognormal(self, spot, dividend, vol):
        return self.ql.BlackScholesMertonProcess(self.quote(spot), self.curve(dividend), self.curve(R), self.vol(vol))

    def payoff(self, is_call=True, strike=K):
        return self.ql.PlainVanillaPayoff(self.ql.Option.Call if is_call else self.ql.Option.Put, strike)

    def worth(self, instrument, engine):
        instrument.setPricingEngine(engine)
        return instrument.NPV()


@pytest.fixture(scope="module")
def market():
    return Market()


def test_greeks_of_quantlib(market):
    ql = market.ql
    for is_call in (True, False):
        theirs = ql.VanillaOption(market.payoff(is_call), market.exercise)
        theirs.setPricingEngine(ql.AnalyticEuropeanEngine(market.process))
        ours = options.greeks(*ONE, is_call, outputs="all")
        for name, number in {
            "price": theirs.NPV(), "delta": theirs.delta(), "gamma": theirs.gamma(), "vega": theirs.vega(),
            "theta": theirs.theta(), "rho": theirs.rho(), "epsilon": theirs.dividendRho(),
            "lambda_": theirs.elasticity(), "dual_delta": theirs.strikeSensitivity(),
        }.items():  # fmt: skip
            assert ours[name] == pytest.approx(number, rel=1e-12), name
        assert ours["theta"] / 365 == pytest.approx(theirs.thetaPerDay(), rel=1e-12)
        # Theirs is that of a call, for puts too.
        chance = options.digital(*ONE, True)["price"] * math.exp(R * T)
        assert chance == pytest.approx(theirs.itmCashProbability(), rel=1e-12)


def test_products_of_quantlib(market):
    ql, process, exercise = market.ql, market.process, market.exercise
    other = market.lognormal(SECOND[0], SECOND[1], SECOND[2])
    american = ql.AmericanExercise(market.day, market.day + 365, False)
    call, cash = market.payoff(), ql.CashOrNothingPayoff(ql.Option.Call, K, 10.0)
    heston = ql.HestonModel(
        ql.HestonProcess(market.curve(R), market.curve(Q), market.quote(S), 0.04, 1.5, 0.06, 0.5, -0.7)
    )
    two = (S, SECOND[0], T, R, Q, SECOND[1], V, *SECOND[2:])
    european = ql.AnalyticEuropeanEngine(process)
    pairs = {
        "cash": (ql.VanillaOption(cash, exercise), european, options.digital(*ONE, True, cash=10.0)),
        "asset": (
            ql.VanillaOption(ql.AssetOrNothingPayoff(ql.Option.Call, K), exercise),
            european,
            options.digital(*ONE, True, payoff="asset"),
        ),
        "gap": (
            ql.VanillaOption(ql.GapPayoff(ql.Option.Call, K, 90.0), exercise),
            european,
            options.digital(*ONE, True, payoff="gap", payoff_strike=90.0),
        ),
        "touch": (
            ql.VanillaOption(ql.CashOrNothingPayoff(ql.Option.Call, 120.0, 10.0), american),
            ql.AnalyticDigitalAmericanEngine(process),
            options.digital(S, 120.0, *ONE[2:], True, cash=10.0, style="touch", pay="hit"),
        ),
        "barrier": (
            ql.BarrierOption(ql.Barrier.DownOut, 80.0, 2.0, call, exercise),
            ql.AnalyticBarrierEngine(process),
            options.barrier(*ONE, True, 80.0, "down-out", rebate=2.0),
        ),
        "double barrier": (
            ql.DoubleBarrierOption(ql.DoubleBarrier.KnockOut, 80.0, 130.0, 0.0, call, exercise),
            ql.AnalyticDoubleBarrierEngine(process),
            options.double_barrier(*ONE, True, 80.0, 130.0, "out"),
        ),
        "lookback": (
            ql.ContinuousFixedLookbackOption(S, call, exercise),
            ql.AnalyticContinuousFixedLookbackEngine(process),
            options.lookback(*ONE, True, extreme=S),
        ),
        "geometric": (
            ql.ContinuousAveragingAsianOption(ql.Average.Geometric, call, exercise),
            ql.AnalyticContinuousGeometricAveragePriceAsianEngine(process),
            options.asian(*ONE, True, method="geometric"),
        ),
        "chooser": (
            ql.SimpleChooserOption(market.day + 100, K, exercise),
            ql.AnalyticSimpleChooserEngine(process),
            options.chooser(*ONE, 100 / 365),
        ),
        "exchange": (
            ql.MargrabeOption(1, 1, exercise),
            ql.AnalyticEuropeanMargrabeEngine(process, other, SECOND[3]),
            options.exchange(*two),
        ),
        "max": (
            ql.BasketOption(ql.MaxBasketPayoff(call), exercise),
            ql.StulzEngine(process, other, SECOND[3]),
            options.basket(S, SECOND[0], K, *two[2:], True, kind="max"),
        ),
        "quanto": (
            ql.QuantoVanillaOption(call, exercise),
            ql.QuantoEuropeanEngine(process, market.curve(0.02), market.vol(0.1), market.quote(0.3)),
            options.quanto(*ONE, True, 0.02, 0.1, 0.3),
        ),
        "heston": (
            ql.VanillaOption(call, exercise),
            ql.AnalyticHestonEngine(heston),
            options.heston(*ONE[:5], 0.04, 1.5, 0.06, 0.5, -0.7, True),
        ),
        "heston, cos": (
            ql.VanillaOption(call, exercise),
            ql.AnalyticHestonEngine(heston),
            options.heston(*ONE[:5], 0.04, 1.5, 0.06, 0.5, -0.7, True, method="cos", accuracy="high"),
        ),
    }
    for name, (instrument, engine, ours) in pairs.items():
        assert ours["price"] == pytest.approx(market.worth(instrument, engine), rel=2e-12), name
    compound = ql.CompoundOption(
        market.payoff(True, 6.0), exercise, market.payoff(False), ql.EuropeanExercise(market.day + 730)
    )
    theirs = market.worth(compound, ql.AnalyticCompoundOptionEngine(process))
    assert options.compound(S, 6.0, *ONE[2:], True, K, 2.0, False)["price"] == pytest.approx(theirs, abs=1e-4)
    put = ql.VanillaOption(market.payoff(False), ql.AmericanExercise(market.day, market.day + 365))
    theirs = market.worth(put, ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme()))
    assert options.american(*ONE, False, accuracy="high")["price"] == pytest.approx(theirs, abs=1e-7)


def test_vollib():
    merton = pytest.importorskip("vollib.black_scholes_merton")
    from vollib.black import black
    from vollib.black.greeks import analytical as of_black
    from vollib.black.implied_volatility import implied_volatility as implied_of_black
    from vollib.black_scholes_merton.greeks import analytical
    from vollib.black_scholes_merton.implied_volatility import implied_volatility

    for flag in ("c", "p"):
        for price, greeks, q, model in (
            (merton.black_scholes_merton, analytical, (Q,), "bsm"),
            (black, of_black, (), "black76"),
        ):
            theirs = (flag, S, K, T, R, V, *q)
            ours = options.greeks(*ONE, flag, model=model)
            assert ours["price"] == pytest.approx(price(*theirs), rel=1e-12)
            units = options.scale(ours, theta="day365", vega="point", rho="point")
            for name in ("delta", "gamma", "theta", "vega", "rho"):
                assert units[name] == pytest.approx(getattr(greeks, name)(*theirs), rel=1e-12), (name, model)
        quote = options.price(*ONE, flag)["price"]
        assert implied_volatility(quote, S, K, T, R, Q, flag) == pytest.approx(
            options.implied_vol(quote, S, K, T, R, Q, flag), rel=1e-12
        )
        quote = options.price(*ONE, flag, model="black76")["price"]
        assert implied_of_black(quote, S, K, R, T, flag) == pytest.approx(
            options.implied_vol(quote, S, K, T, R, 0.0, flag, model="black76"), rel=1e-12
        )
