# SPDX-License-Identifier: Apache-2.0
"""European options: a price and five Greeks, all outputs, the price alone; one option at a time."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant import options

try:
    import numba
except ImportError:
    numba = None
try:
    from scipy.special import ndtr
except ImportError:
    ndtr = None
try:
    import QuantLib
except ImportError:
    QuantLib = None

USUAL = ("price", "delta", "gamma", "vega", "theta", "rho")


def chain(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    spot = rng.uniform(50.0, 150.0, count)
    return {
        "spot": spot,
        "strike": spot * rng.uniform(0.7, 1.4, count),
        "expiry": rng.uniform(0.05, 2.0, count),
        "rate": rng.uniform(0.0, 0.05, count),
        "dividend": rng.uniform(0.0, 0.03, count),
        "vol": rng.uniform(0.1, 0.6, count),
        "is_call": rng.random(count) < 0.5,
    }


def with_numpy(s: Any, k: Any, t: Any, r: Any, q: Any, v: Any, call: Any) -> tuple[Any, ...]:
    """What a careful user writes with SciPy."""
    root = np.sqrt(t)
    d1 = (np.log(s / k) + (r - q + 0.5 * v * v) * t) / (v * root)
    d2 = d1 - v * root
    e = np.where(call, 1.0, -1.0)
    discount, carry = np.exp(-r * t), np.exp(-q * t)
    n1, n2 = ndtr(e * d1), ndtr(e * d2)
    density = np.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    forward, present = s * carry, k * discount
    price = e * (forward * n1 - present * n2)
    vega = forward * density * root
    theta = -0.5 * forward * density * v / root + e * (q * forward * n1 - r * present * n2)
    return price, e * carry * n1, carry * density / (s * v * root), vega, theta, e * t * present * n2


def one_option(s: float, k: float, t: float, r: float, q: float, v: float, call: bool) -> tuple[float, ...]:
    """The same for one option, in a loop that numba compiles."""
    root = math.sqrt(t)
    d1 = (math.log(s / k) + (r - q + 0.5 * v * v) * t) / (v * root)
    d2 = d1 - v * root
    e = 1.0 if call else -1.0
    discount, carry = math.exp(-r * t), math.exp(-q * t)
    n1 = 0.5 * math.erfc(-e * d1 / math.sqrt(2.0))
    n2 = 0.5 * math.erfc(-e * d2 / math.sqrt(2.0))
    density = math.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    forward, present = s * carry, k * discount
    price = e * (forward * n1 - present * n2)
    vega = forward * density * root
    theta = -0.5 * forward * density * v / root + e * (q * forward * n1 - r * present * n2)
    return price, e * carry * n1, carry * density / (s * v * root), vega, theta, e * t * present * n2


def numba_loops() -> dict[int, Any]:
    """The loop over all options, with one thread and with all of them."""
    one = numba.njit(nogil=True, inline="always")(one_option)

    def over(s: Any, k: Any, t: Any, r: Any, q: Any, v: Any, call: Any, out: Any) -> None:
        for i in numba.prange(len(s)):
            out[0, i], out[1, i], out[2, i], out[3, i], out[4, i], out[5, i] = one(
                s[i], k[i], t[i], r[i], q[i], v[i], call[i]
            )

    return {1: numba.njit(nogil=True)(over), 2: numba.njit(nogil=True, parallel=True)(over)}


def with_quantlib(at: dict[str, Any], count: int) -> list[tuple[float, ...]]:
    """Calculators of one option each, as a loop in Python."""
    made = []
    for i in range(count):
        s, k, t, r, q, v = (float(at[c][i]) for c in ("spot", "strike", "expiry", "rate", "dividend", "vol"))
        kind = QuantLib.Option.Call if at["is_call"][i] else QuantLib.Option.Put
        payoff = QuantLib.PlainVanillaPayoff(kind, k)
        c = QuantLib.BlackCalculator(payoff, s * math.exp((r - q) * t), v * math.sqrt(t), math.exp(-r * t))
        made.append((c.value(), c.delta(s), c.gamma(s), c.vega(t), c.theta(s, t), c.rho(t)))
    return made


def main() -> None:
    run = Benchmark("options", __doc__)
    count = 2_000 if run.smoke else 1_000_000
    at = chain(count)
    values = tuple(at.values())
    ours = options.greeks(**at)
    loops = numba_loops() if numba and not run.smoke else {}
    out = np.empty((6, count))
    peers: dict[int, dict[str, Any]] = {1: {}, 2: {}}
    if ndtr is not None:
        peers[1]["NumPy and SciPy"] = peers[2]["NumPy and SciPy"] = lambda: with_numpy(*values)
        for name, theirs in zip(USUAL, with_numpy(*values), strict=True):
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=1e-9, err_msg=name)
    for threads, loop in loops.items():
        peers[threads]["numba"] = lambda loop=loop: loop(*values, out)
        loop(*values, out)
        for name, theirs in zip(USUAL, out, strict=True):
            np.testing.assert_allclose(ours[name], theirs, rtol=1e-6, atol=1e-9, err_msg=name)

    print(f"{count} options{'':30}{'copy':>7}{'ours':>8}   best peer, ns per option")
    for threads in (1, 2):
        for what, outputs in (("price and five Greeks", USUAL), ("all outputs", "all"), ("price", ("price",))):
            cases = {"warpquant": lambda: options.greeks(**at, outputs=outputs, num_threads=threads)}
            if outputs is USUAL:
                cases |= peers[threads]
            ns = run.measure(count, cases, case=what, threads=threads)
            print(f"{what + f', {threads} threads':38}{ns['copy']:7.2f}{ns['warpquant']:8.2f}{compared(ns)}")
    single = (100.0, 105.0, 0.5, 0.02, 0.01, 0.25, True)
    repeats = 100 if run.smoke else 20_000
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(repeats):
            options.greeks(*single)
        best = min(best, (time.perf_counter() - begin) / repeats)
    run.note(case="one option from Python", microseconds=best * 1e6)
    print(f"one option, price and five Greeks: {best * 1e6:.2f} us a call")
    if QuantLib is not None:
        few = min(count, 2_000)
        begin = time.perf_counter()
        theirs = with_quantlib(at, few)
        seconds = time.perf_counter() - begin
        np.testing.assert_allclose([row[0] for row in theirs], ours["price"][:few], rtol=1e-6, atol=1e-9)
        run.note(case="QuantLib, a loop in Python", ns=seconds / few * 1e9)
        print(f"QuantLib, a loop over BlackCalculator: {seconds / few * 1e9:.0f} ns per option")
    run.finish()


if __name__ == "__main__":
    main()
