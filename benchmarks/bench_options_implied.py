# SPDX-License-Identifier: Apache-2.0
"""Implied volatility of a million European options; what comes back of the volatilities behind the prices."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant import options

try:
    from iv_engine import batch as iv_engine
except ImportError:
    iv_engine = None
try:
    from fast_vollib.jackel.jackel_iv import jackel_iv_black
except ImportError:
    jackel_iv_black = None
try:
    import QuantLib
except ImportError:
    QuantLib = None

EPS = 2.0**-52
INPUTS = ("spot", "strike", "expiry", "rate", "dividend")


def chain(count: int, rates: bool) -> dict[str, Any]:
    """Calls on spots with rates and yields, or on forwards as peers want them."""
    rng = np.random.default_rng(0)
    spot = rng.uniform(50.0, 150.0, count)
    at = {
        "spot": spot,
        "strike": spot * np.exp(rng.uniform(-0.4, 0.4, count)),
        "expiry": rng.uniform(0.02, 2.0, count),
        "rate": rng.uniform(0.0, 0.05, count) if rates else 0.0,
        "dividend": rng.uniform(0.0, 0.03, count) if rates else 0.0,
    }
    at["vol"] = rng.uniform(0.1, 0.6, count)
    return at | {"is_call": True}


def returned(vol: Any, at: dict[str, Any]) -> dict[str, float]:
    """Errors in units of what an ulp in each input and in the price does to the volatility."""
    first = options.greeks(**at, outputs=("price", "delta", "dual_delta", "theta", "rho", "epsilon", "vega"))
    moves = abs(first["price"]) + abs(at["expiry"] * first["theta"])
    for name, by in zip(INPUTS, ("delta", "dual_delta", None, "rho", "epsilon"), strict=True):
        moves = moves + (abs(at[name] * first[by]) if by else 0.0)
    with np.errstate(all="ignore"):
        condition = moves / (at["vol"] * first["vega"])
        errors = abs(vol - at["vol"]) / (EPS * (1.0 + condition) * at["vol"])
    seen = condition < 1e12
    errors = np.sort(np.where(np.isnan(errors), math.inf, errors)[seen])
    return {
        "p99": float(errors[len(errors) * 99 // 100]),
        "max": float(errors[-1]),
        "failed": float(np.mean(errors > 1e6)),
    }


def with_quantlib(price: Any, at: dict[str, Any], count: int) -> list[float]:
    """One option at a time, as a loop in Python."""
    made = []
    for i in range(count):
        try:
            deviation = QuantLib.blackFormulaImpliedStdDevLiRS(
                QuantLib.Option.Call, float(at["strike"][i]), float(at["spot"][i]), float(price[i]),
                1.0, 0.0, QuantLib.nullDouble(), 1.0, 1e-14,
            )  # fmt: skip
        except RuntimeError:  # it did not converge
            deviation = math.nan
        made.append(deviation / math.sqrt(at["expiry"][i]))
    return made


def main() -> None:
    run = Benchmark("options_implied", __doc__)
    count = 2_000 if run.smoke else 1_000_000
    spots, forwards = chain(count, True), chain(count, False)
    price = options.price(**forwards)["price"]
    paid = options.price(**spots)["price"]
    s, k, t = (forwards[name] for name in ("spot", "strike", "expiry"))
    flags = np.ones(count)
    out = np.empty(count)

    def ours(model: str, threads: int) -> Any:
        if model == "bsm, rates and yields":
            at = [spots[name] for name in INPUTS]
            return lambda: options.implied_vol(paid, *at, flags, num_threads=threads, out=out)
        return lambda: options.implied_vol(
            price, s, k, t, 0.0, 0.0, flags, model="black76", num_threads=threads, out=out
        )

    peers: dict[int, dict[str, Any]] = {1: {}, 2: {}}
    if iv_engine is not None:
        peers[1]["iv-engine"] = lambda: iv_engine.implied_volatilities(price, s, k, t, True, False)
        peers[2]["iv-engine"] = lambda: iv_engine.implied_volatilities(price, s, k, t, True, True)
    if jackel_iv_black is not None:
        peers[1]["fast-vollib, Jaeckel"] = lambda: jackel_iv_black(price, s, k, t, True)
    print(f"{count} options{'':30}{'copy':>7}{'ours':>8}   best peer (calls on forwards), ns per option")
    for threads in (1, 2):
        for what in ("bsm, rates and yields", "black76"):
            ns = run.measure(count, {"warpquant": ours(what, threads), **peers[threads]}, case=what, threads=threads)
            print(
                f"{what + f', {threads} threads':38}{ns['copy']:7.2f}{ns['warpquant']:8.2f}{compared(ns)}", flush=True
            )
        slopes = {"warpquant": lambda: options.implied_vol(
            paid, *(spots[name] for name in INPUTS), flags, outputs="all", num_threads=threads
        )}  # fmt: skip
        ns = run.measure(count, slopes, case="all outputs", threads=threads)
        print(f"{f'bsm, all outputs, {threads} threads':38}{ns['copy']:7.2f}{ns['warpquant']:8.2f}", flush=True)

    print("\nwhat comes back, in units of eps (1 + condition)           p99       max  failed")
    solvers = {"warpquant": lambda: options.implied_vol(price, s, k, t, 0.0, 0.0, flags, model="black76")} | peers[1]
    for name, solver in solvers.items():
        errors = returned(np.asarray(solver()), forwards)
        run.note(case="round trip", solver=name, **errors)
        print(f"{name:52}{errors['p99']:10.3g}{errors['max']:10.3g}{errors['failed']:8.2%}")
    if QuantLib is not None:
        few = min(count, 2_000)
        begin = time.perf_counter()
        theirs = with_quantlib(price, forwards, few)
        ns_each = (time.perf_counter() - begin) / few * 1e9
        errors = returned(np.array(theirs), {n: x[:few] if np.ndim(x) else x for n, x in forwards.items()})
        run.note(case="QuantLib, a loop in Python", ns=ns_each, **errors)
        print(f"{'QuantLib, LiRS':52}{errors['p99']:10.3g}{errors['max']:10.3g}{errors['failed']:8.2%}"
              f"   {ns_each:.0f} ns per option, a loop in Python")  # fmt: skip
    single = (5.0, 100.0, 105.0, 0.5, 0.02, 0.01, True)
    repeats, best = 100 if run.smoke else 20_000, math.inf
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(repeats):
            options.implied_vol(*single)
        best = min(best, (time.perf_counter() - begin) / repeats)
    run.note(case="one option from Python", microseconds=best * 1e6)
    print(f"\none option: {best * 1e6:.2f} us a call")
    run.finish()


if __name__ == "__main__":
    main()
