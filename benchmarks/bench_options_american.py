# SPDX-License-Identifier: Apache-2.0
"""American options: three accuracies, trees and grids, with QuantLib and numba where they are installed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import options

try:
    import numba
except ImportError:
    numba = None
try:
    import QuantLib
except ImportError:
    QuantLib = None


def chain(count: int) -> tuple[Any, ...]:
    """Options like those of the tables: days to three years, far in and out of the money, yields of 0 among others."""
    rng = np.random.default_rng(0)
    days = rng.choice([7, 14, 30, 60, 90, 182, 365, 730, 1095], count)
    dividend = np.where(rng.random(count) < 0.4, 0.0, rng.uniform(0.003, 0.12, count))
    vol = np.exp(rng.uniform(math.log(0.085), math.log(0.9), count))
    rate = rng.uniform(0.003, 0.12, count)
    return rng.uniform(61.0, 160.0, count), np.full(count, 100.0), days / 365, rate, dividend, vol, np.zeros(count)


def crr(s: float, k: float, t: float, r: float, q: float, v: float, call: float, steps: int, values: Any) -> float:
    """A tree for one option, as written for numba."""
    dt = t / steps
    up = math.exp(v * math.sqrt(dt))
    discount = math.exp(-r * dt)
    chance = (math.exp((r - q) * dt) - 1 / up) / (up - 1 / up)
    e = 1.0 if call > 0 else -1.0
    x = s * up ** (-steps)
    for j in range(steps + 1):
        values[j] = max(e * (x - k), 0.0)
        x *= up * up
    for i in range(steps - 1, -1, -1):
        x = s * up ** (-i)
        for j in range(i + 1):
            values[j] = max(discount * (chance * values[j + 1] + (1 - chance) * values[j]), e * (x - k))
            x *= up * up
    return values[0]


def quantlib(rows: list[tuple[float, ...]], scheme: Any) -> tuple[list[float], float]:
    """Prices, and seconds that the engine took."""
    ql = QuantLib
    today = ql.Date(1, 1, 2025)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    spot, rate, dividend, vol = (ql.SimpleQuote(0.1) for _ in range(4))
    handle = ql.QuoteHandle
    process = ql.BlackScholesMertonProcess(
        handle(spot),
        ql.YieldTermStructureHandle(ql.FlatForward(today, handle(dividend), count)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, handle(rate), count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), handle(vol), count)),
    )
    engine = ql.QdFpAmericanEngine(process, scheme)
    prices, seconds = [], 0.0
    for s, k, t, r, q, v, call in rows:
        spot.setValue(s), rate.setValue(r), dividend.setValue(q), vol.setValue(v)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if call > 0 else ql.Option.Put, k)
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + round(t * 365)))
        option.setPricingEngine(engine)
        begin = time.perf_counter()
        prices.append(option.NPV())
        seconds += time.perf_counter() - begin
    return prices, seconds


def timed(repeats: int, call: Callable[[], Any]) -> tuple[float, float]:
    """The shortest time of some, and the one in the middle."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), statistics.median(seconds)


def main() -> None:
    run = Benchmark("options_american", __doc__)
    repeats = 1 if run.smoke else 15
    counts = {"fast": 4_000, "accurate": 800, "high": 64}
    few = {"fast": 400, "accurate": 200, "high": 12}
    best = options.american(*(x[: 16 if run.smoke else 800] for x in chain(800)), accuracy="high", outputs="price")[
        "price"
    ]
    for accuracy, count in counts.items():
        at = chain(16 if run.smoke else count)
        size = len(at[0])
        for what, outputs in (("price", ("price",)), ("price and five Greeks", None)):
            keywords: dict[str, Any] = {} if outputs is None else {"outputs": outputs}
            for threads in (1, 2):
                low, middle = timed(
                    repeats, lambda: options.american(*at, accuracy=accuracy, num_threads=threads, **keywords)
                )
                run.note(case=f"american {accuracy}", outputs=what, threads=threads, us=low / size * 1e6)
                print(
                    f"american {accuracy:9} {what:22} {threads} threads: {low / size * 1e6:9.3f} us min, "
                    f"{middle / size * 1e6:9.3f} us median"
                )
        compared = min(len(best), size)
        first = options.american(*(x[:compared] for x in chain(800)), accuracy=accuracy, outputs="price")["price"]
        print(
            f"  largest difference to 'high' in units of the strike: {np.abs(first - best[:compared]).max() / 100:.1e}"
        )
        if QuantLib is not None:
            number = 4 if run.smoke else few[accuracy]
            scheme = {
                "fast": QuantLib.QdFpAmericanEngine.fastScheme,
                "accurate": QuantLib.QdFpAmericanEngine.accurateScheme,
                "high": QuantLib.QdFpAmericanEngine.highPrecisionScheme,
            }[accuracy]()
            rows = [tuple(float(x[i]) for x in chain(800)) for i in range(number)]
            seconds = min(quantlib(rows, scheme)[1] for _ in range(1 if run.smoke else 3))
            prices, _ = quantlib(rows, scheme)
            known = min(number, len(best))
            error = np.abs(np.array(prices[:known]) - best[:known]).max() / 100
            run.note(case=f"QuantLib {accuracy}", us=seconds / number * 1e6)
            print(f"  QuantLib, 1 thread: {seconds / number * 1e6:.1f} us, difference to our 'high' {error:.1e}")
    # Rates below 0, where exercise is between two boundaries.
    spot, strike, expiry, rate, dividend, vol, call = chain(16 if run.smoke else 160)
    low, middle = timed(
        repeats,
        lambda: options.american(
            spot, strike, expiry, -0.5 * rate, -0.5 * rate - 0.1 * dividend - 0.01, vol, call, num_threads=1
        ),
    )
    run.note(case="american, two boundaries", us=low / len(spot) * 1e6)
    print(f"two boundaries, 1 thread: {low / len(spot) * 1e6:.1f} us min, {middle / len(spot) * 1e6:.1f} us median")
    at = chain(16 if run.smoke else 400)
    size = len(at[0])
    for method, steps in (("crr", 1000), ("leisen_reimer", 501)):
        low, middle = timed(repeats, lambda: options.lattice(*at, method=method, steps=steps, num_threads=1))
        run.note(case=f"lattice {method} {steps}", us=low / size * 1e6)
        print(f"{method} {steps} steps, 1 thread: {low / size * 1e6:.1f} us min, {middle / size * 1e6:.1f} us median")
    if numba is not None and not run.smoke:
        compiled, work = numba.njit(crr), np.empty(1001)
        rows = [tuple(float(x[i]) for x in at) for i in range(50)]
        prices = [compiled(*row, 1000, work) for row in rows]
        np.testing.assert_allclose(prices, options.lattice(*at)["price"][:50], rtol=1e-8, atol=1e-9)
        low, _ = timed(3, lambda: [compiled(*row, 1000, work) for row in rows])
        run.note(case="numba crr 1000", us=low / 50 * 1e6)
        print(f"  numba, 1 thread: {low / 50 * 1e6:.1f} us")
    at = chain(16 if run.smoke else 64)
    low, middle = timed(
        repeats, lambda: options.finite_difference(*at, dividends=[(0.25, 1.0), (0.5, 1.0)], num_threads=1)
    )
    run.note(case="finite difference", us=low / len(at[0]) * 1e6)
    print(f"grid 401 x 200, two dividends, 1 thread: {low / len(at[0]) * 1e6:.0f} us min")
    run.finish()


if __name__ == "__main__":
    main()
