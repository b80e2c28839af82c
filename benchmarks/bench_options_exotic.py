# SPDX-License-Identifier: Apache-2.0
"""Exotic options, Heston and Merton: a price and all derivatives, against QuantLib's engines one option at a time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import options

try:
    import QuantLib
except ImportError:
    QuantLib = None

MODEL = {"v0": 0.04, "kappa": 1.5, "theta": 0.06, "xi": 0.5, "rho": -0.7}


def chain(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "spot": rng.uniform(90.0, 110.0, count),
        "strike": rng.uniform(90.0, 110.0, count),
        "expiry": rng.uniform(0.2, 2.0, count),
        "rate": rng.uniform(0.01, 0.05, count),
        "dividend": rng.uniform(0.0, 0.03, count),
        "vol": rng.uniform(0.1, 0.4, count),
        "is_call": rng.random(count) < 0.5,
    }


def two_assets(at: dict[str, Any]) -> tuple[Any, ...]:
    return (
        at["spot"], at["strike"], 95.0, at["expiry"], at["rate"], at["dividend"], 0.01, at["vol"], 0.3, 0.4,
        at["is_call"],
    )  # fmt: skip


def products(at: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    values = tuple(at.values())
    heston = (*values[:5], *MODEL.values(), values[6])
    return {
        "digital": lambda **o: options.digital(*values, **o),
        "touch, paid at hit": lambda **o: options.digital(*values, style="touch", pay="hit", **o),
        "barrier": lambda **o: options.barrier(*values, 130.0, "up-out", **o),
        "double barrier": lambda **o: options.double_barrier(*values, 70.0, 130.0, **o),
        "lookback": lambda **o: options.lookback(*values, **o),
        "chooser": lambda **o: options.chooser(*values[:6], 0.1, **o),
        "compound": lambda **o: options.compound(values[0], 6.0, *values[2:7], values[1], 2.5, True, **o),
        "exchange": lambda **o: options.exchange(*two_assets(at)[:2], *two_assets(at)[3:10], **o),
        "basket": lambda **o: options.basket(*two_assets(at), **o),
        "geometric Asian": lambda **o: options.asian(*values, method="geometric", fixings=12, **o),
        "Turnbull-Wakeman, 12 fixings": lambda **o: options.asian(*values, method="turnbull_wakeman", fixings=12, **o),
        "Curran, 12 fixings": lambda **o: options.asian(*values, method="curran", fixings=12, **o),
        "Merton jumps": lambda **o: options.merton_jump(*values, 1.0, -0.1, 0.15, **o),
        "Heston, default": lambda **o: options.heston(*heston, **o),
        "Heston, high": lambda **o: options.heston(*heston, accuracy="high", **o),
        "Heston, cos": lambda **o: options.heston(*heston, method="cos", **o),
    }


def process(model: Any, s: float, r: float, q: float) -> Any:
    day = QuantLib.Date.todaysDate()
    count = QuantLib.Actual365Fixed()
    curves = [QuantLib.YieldTermStructureHandle(QuantLib.FlatForward(day, x, count)) for x in (r, q)]
    spot = QuantLib.QuoteHandle(QuantLib.SimpleQuote(s))
    if model == "heston":
        return QuantLib.HestonProcess(*curves, spot, *(MODEL[name] for name in ("v0", "kappa", "theta", "xi", "rho")))
    vol = QuantLib.BlackVolTermStructureHandle(QuantLib.BlackConstantVol(day, QuantLib.NullCalendar(), model, count))
    return QuantLib.BlackScholesMertonProcess(spot, curves[1], curves[0], vol)


def expiry_of_one(r: float, q: float, count: int, engine: Callable[[Any], Any]) -> tuple[float, list[float], float]:
    """Seconds for the prices of `count` calls of one expiry, and the prices, and its years."""
    day = QuantLib.Date.todaysDate()
    exercise = QuantLib.EuropeanExercise(day + 365)
    with_engine = engine(QuantLib.HestonModel(process("heston", 100.0, r, q)))
    made = []
    begin = time.perf_counter()
    for strike in np.linspace(70.0, 140.0, count):
        option = QuantLib.VanillaOption(QuantLib.PlainVanillaPayoff(QuantLib.Option.Call, float(strike)), exercise)
        option.setPricingEngine(with_engine)
        made.append(option.NPV())
    return time.perf_counter() - begin, made, 1.0


def barriers(r: float, q: float, count: int) -> tuple[float, list[float]]:
    day = QuantLib.Date.todaysDate()
    exercise = QuantLib.EuropeanExercise(day + 365)
    engine = QuantLib.AnalyticBarrierEngine(process(0.2, 100.0, r, q))
    made = []
    begin = time.perf_counter()
    for strike in np.linspace(80.0, 120.0, count):
        payoff = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call, float(strike))
        option = QuantLib.BarrierOption(QuantLib.Barrier.DownOut, 75.0, 0.0, payoff, exercise)
        option.setPricingEngine(engine)
        made.append(option.NPV())
    return time.perf_counter() - begin, made


def heston_chains(run: Benchmark) -> None:
    """Strikes of one expiry, which share the characteristic function, in turns with QuantLib's engines."""
    few, strikes = 100, np.linspace(70.0, 140.0, 100)
    arguments = (100.0, strikes, 1.0, 0.03, 0.01, *MODEL.values(), True)
    rounds = 2 if run.smoke else 7
    for label, accuracy, engine in (
        ("AnalyticHestonEngine", "default", QuantLib.AnalyticHestonEngine),
        (
            "AnalyticHestonEngine(relTolerance=1e-10)",
            "high",
            lambda m: QuantLib.AnalyticHestonEngine(m, 1e-10, 100_000),
        ),
        ("COSHestonEngine", "default", QuantLib.COSHestonEngine),
    ):
        theirs: list[float] = []
        ours: dict[str, list[float]] = {"contour": [], "cos": []}
        for _ in range(rounds):
            seconds, prices, _ = expiry_of_one(0.03, 0.01, few, engine)
            theirs.append(seconds)
            for method, times in ours.items():
                price = functools.partial(
                    options.heston, *arguments, method=method, accuracy=accuracy, outputs="price", num_threads=1
                )
                np.testing.assert_allclose(price()["price"], prices, atol=1e-5)
                begin = time.perf_counter()
                for _ in range(10):
                    price()
                times.append((time.perf_counter() - begin) / 10)
        for method, times in ours.items():
            run.note(case=f"100 strikes, {label}, {method}", ours_us=min(times) * 1e6, theirs_us=min(theirs) * 1e6)
            print(
                f"Heston, 100 strikes of one expiry, {method!r}, {accuracy!r}: {min(times) * 1e6:.0f} us "
                f"(median {np.median(times) * 1e6:.0f}); QuantLib {label}: {min(theirs) * 1e6:.0f} us, "
                f"{min(theirs) / min(times):.0f} times ours"
            )
    # A surface: 20 expiries times so many strikes; and as many options that have nothing in common.
    for per_expiry in (10,) if run.smoke else (10, 100, 1000):
        expiry = np.linspace(0.1, 2.0, 20)[:, None]
        surface = (100.0, np.linspace(70.0, 140.0, per_expiry)[None, :], expiry, 0.03, 0.01, *MODEL.values(), True)
        count = 20 * per_expiry
        cases = {
            f"warpquant, {method}": lambda m=method: options.heston(*surface, method=m, outputs="price", num_threads=1)
            for method in ("contour", "cos")
        }
        ns = run.measure(count, cases, case=f"20 expiries x {per_expiry} strikes", threads=1)
        print(
            f"Heston, 20 expiries x {per_expiry} strikes, ns per option: "
            + ", ".join(f"{method} {ns[f'warpquant, {method}']:.0f}" for method in ("contour", "cos"))
        )


def main() -> None:
    run = Benchmark("options_exotic", __doc__)
    count = 512 if run.smoke else 20_000
    at = chain(count)
    print(f"{count} options, one thread, ns per option {'price':>12} {'all outputs':>14}")
    for name, function in products(at).items():
        row = [
            run.measure(
                count,
                {"warpquant": lambda f=function, o=outputs: f(outputs=o, num_threads=1)},
                case=f"{name}, {outputs}",
                threads=1,
            )["warpquant"]
            for outputs in ("price", "all")
        ]
        print(f"{name:38}{row[0]:13.0f}{row[1]:15.0f}")
    if QuantLib is None:
        print("QuantLib is not installed")
        run.finish()
        return
    heston_chains(run)
    few = 100
    seconds, prices = barriers(0.03, 0.01, few)
    begin = time.perf_counter()
    got = options.barrier(
        100.0, np.linspace(80.0, 120.0, few), 1.0, 0.03, 0.01, 0.2, True, 75.0, "down-out", outputs="all", num_threads=1
    )["price"]
    ours_seconds = time.perf_counter() - begin
    np.testing.assert_allclose(got, prices, atol=1e-10)
    print(
        f"barrier, 100 strikes, all Greeks: {ours_seconds * 1e6:.0f} us; QuantLib AnalyticBarrierEngine, price alone: "
        f"{seconds * 1e6:.0f} us, {seconds / ours_seconds:.0f} times ours"
    )
    run.finish()


if __name__ == "__main__":
    main()
