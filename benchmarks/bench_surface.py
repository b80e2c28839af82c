# SPDX-License-Identifier: Apache-2.0
"""Volatility surfaces: fits, certificates, evaluation, a whole chain; with SciPy and QuantLib if they are installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant import options, surface

try:
    from scipy import optimize
except ImportError:
    optimize = None
try:
    import QuantLib
except ImportError:
    QuantLib = None


def smiles(count: int, quotes: int) -> tuple[Any, Any, Any, Any]:
    """Smiles with one per cent of noise: k, w, weights, offsets."""
    rng = np.random.default_rng(0)
    k = np.linspace(-0.5, 0.4, quotes) * rng.uniform(0.5, 1.5, (count, 1))
    parameters = (0.01, 0.1, rng.uniform(-0.7, 0.2, (count, 1)), rng.uniform(-0.1, 0.1, (count, 1)), 0.2)
    w = surface.svi(k, *parameters)["w"] * (1 + 0.01 * rng.normal(size=(count, quotes)))
    weights = surface.vega_weights(k, w)
    return k.ravel(), w.ravel(), weights.ravel(), np.arange(count + 1) * quotes


def scipy_svi(k: Any, w: Any, weights: Any) -> Callable[[], Any]:
    """One start of a bounded least-squares fit in five parameters."""
    root = np.sqrt(weights / weights.sum())

    def residuals(p: Any) -> Any:
        x = k - p[3]
        return root * (p[0] + p[1] * (p[2] * x + np.sqrt(x * x + p[4] * p[4])) - w)

    bounds = ([-1.0, 0.0, -0.999, -1.0, 0.01], [1.0, 2.0, 0.999, 1.0, 2.0])
    return lambda: optimize.least_squares(residuals, [0.02, 0.1, -0.2, 0.0, 0.1], bounds=bounds)


def quantlib_svi(k: Any, w: Any) -> Callable[[], Any]:
    """QuantLib's smile section, which starts from one guess."""
    ql = QuantLib
    today = ql.Date(1, 1, 2025)
    ql.Settings.instance().evaluationDate = today
    expiry, forward = today + 365, 100.0
    strikes, vols = (forward * np.exp(k)).tolist(), np.sqrt(w).tolist()

    def call() -> Any:
        section = ql.SviInterpolatedSmileSection(
            expiry, forward, strikes, False, float(np.interp(0.0, k, vols)), vols, 0.02, 0.1, 0.1, -0.2, 0.0,
            False, False, False, False, False,
        )  # fmt: skip
        return section.rmsError()

    return call


def scipy_sabr(strike: Any, vol: Any) -> Callable[[], Any]:
    """One start of a least-squares fit in three parameters, with a vectorised formula."""

    def residuals(p: Any) -> Any:
        alpha, rho, nu = np.exp(p[0]), np.tanh(p[1]), np.exp(p[2])
        z = nu / alpha * np.log(0.03 / strike)
        x = np.log((np.sqrt(1 - 2 * rho * z + z * z) + z - rho) / (1 - rho))
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.abs(z) < 1e-6, 1.0, z / x)
        return alpha * ratio * (1 + 2.0 * (rho * nu * alpha / 4 + (2 - 3 * rho * rho) * nu * nu / 24)) - vol

    return lambda: optimize.least_squares(residuals, [np.log(0.25), 0.0, np.log(0.5)])


def quantlib_heston(forward: float, strike: Any, years: Any, vol: Any) -> Callable[[], Any]:
    """QuantLib's calibration with the analytic engine, from one start."""
    ql = QuantLib
    today = ql.Date(1, 1, 2025)
    ql.Settings.instance().evaluationDate = today
    zero = ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, ql.Actual365Fixed()))
    spot = ql.QuoteHandle(ql.SimpleQuote(forward))

    def call() -> Any:
        model = ql.HestonModel(ql.HestonProcess(zero, zero, spot, 0.05, 1.0, 0.05, 0.6, -0.3))
        engine = ql.AnalyticHestonEngine(model, 64)
        helpers = []
        for row, expiry, quotes in zip(strike, years, vol, strict=True):
            for k, v in zip(row.tolist(), quotes.tolist(), strict=True):
                helper = ql.HestonModelHelper(
                    ql.Period(round(365 * expiry), ql.Days), ql.NullCalendar(), forward, k,
                    ql.QuoteHandle(ql.SimpleQuote(v)), zero, zero, ql.BlackCalibrationHelper.ImpliedVolError,
                )  # fmt: skip
                helper.setPricingEngine(engine)
                helpers.append(helper)
        model.calibrate(helpers, ql.LevenbergMarquardt(), ql.EndCriteria(200, 40, 1e-8, 1e-8, 1e-8))
        return model.params()

    return call


def surfaces(run: Benchmark) -> None:
    """Heston's model and SSVI from the quotes of several expiries; a stream."""
    years = np.array([36.5, 91.25, 182.5, 273.75, 365.0, 547.5, 730.0, 1095.0]).round() / 365.0
    model = {"v0": 0.05, "kappa": 2.0, "theta": 0.07, "xi": 0.7, "rho": -0.6}
    k = np.linspace(-2.0, 1.5, 13) * np.sqrt(0.06 * years)[:, None]
    strike, column = 100.0 * np.exp(k), years[:, None]
    price = options.heston(100.0, strike, column, 0.0, 0.0, **model, is_call=k > 0, accuracy="high")["price"]
    vol = options.implied_vol(price, 100.0, strike, column, 0.0, 0.0, k > 0)
    cases: dict[str, Callable[[], Any]] = {"warpquant": lambda: surface.fit_heston(100.0, strike, years, vol)}
    if QuantLib is not None and not run.smoke:
        cases["QuantLib"] = quantlib_heston(100.0, strike, years, vol)
    ns = run.measure(1, cases, case="Heston, 104 quotes")
    print(f"Heston, 104 quotes, 8 expiries: {ns['warpquant'] / 1e6:.2f} ms"
          f"{compared({n: t / 1e6 for n, t in ns.items()})}")  # fmt: skip
    fit = surface.fit_heston(100.0, strike, years, vol)
    off = max(abs(fit.parameters[name] / value - 1.0) for name, value in model.items())
    print(f"Heston: the parameters of the quotes to {off:.1e}")
    w = vol * vol * column
    ns = run.measure(1, {"warpquant": lambda: surface.fit_ssvi(k, w)}, case="SSVI, 104 quotes")
    print(f"SSVI, 104 quotes, 8 expiries: {ns['warpquant'] / 1e6:.3f} ms")
    for kind in ("essvi", "svi"):
        stream(run, kind)


def stream(run: Benchmark, kind: str) -> None:
    """Quantiles of the time that a call takes with one to five quotes of an expiry."""
    years = np.array([0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
    names, rng = tuple("abcdef"), np.random.default_rng(0)

    def vol_of(level: float) -> Any:
        theta = level * years[:, None]
        return np.sqrt(surface.ssvi(k, theta, -0.6, 0.9 / np.sqrt(theta))["w"] / years[:, None])

    k = np.linspace(-2.0, 1.5, 25) * np.sqrt(0.04 * years)[:, None]
    w, strike = vol_of(0.04) ** 2 * years[:, None], 100.0 * np.exp(k)
    parameters = surface.fit_essvi(k, w).parameters if kind == "essvi" else surface.fit_svi(k, w).parameters
    live = surface.Stream(
        surface.Surface(kind, names, years, parameters, np.full(6, 100.0), np.zeros(6)), half_life=30.0
    )  # fmt: skip
    for name, strikes, vols in zip(names, strike, vol_of(0.04), strict=True):
        live.update(name, strikes, vols, time=0.0)
    count = 50 if run.smoke else 20_000
    wall, own, level = np.empty(count), np.empty(count), 0.04
    for i in range(count):
        level *= np.exp(0.0005 * rng.normal())
        slice_, rows = int(rng.integers(6)), rng.choice(25, int(rng.integers(1, 6)), replace=False)
        quotes = vol_of(level)[slice_, rows] * (1 + 0.002 * rng.normal(size=len(rows)))
        place = strike[slice_, rows]
        before, processor = time.perf_counter_ns(), time.thread_time_ns()
        live.update(names[slice_], place, quotes, time=0.1 * i)
        own[i] = time.thread_time_ns() - processor
        wall[i] = time.perf_counter_ns() - before
    said = ", ".join(
        f"{label} {np.quantile(own, q) / 1e3:.1f} (wall {np.quantile(wall, q) / 1e3:.1f})"
        for label, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    )
    print(f"stream, {kind}, {count:,} calls with 1 to 5 of 25 quotes, us of the processor: {said}")


def fits(run: Benchmark) -> None:
    """Smiles of 25 quotes, and SABR smiles of 11."""
    count = 8 if run.smoke else 2_000
    k, w, weights, offsets = smiles(count, 25)
    ns = run.measure(
        count, {"warpquant": lambda: surface.fit_svi(k, w, weights, offsets, num_threads=1)}, case="SVI, batch"
    )
    print(f"SVI, 25 quotes, batch of {count}, 1 thread: {ns['warpquant'] / 1e3:.2f} us a smile")
    one = slice(0, 25)
    cases: dict[str, Callable[[], Any]] = {"warpquant": lambda: surface.fit_svi(k[one], w[one], weights[one])}
    if optimize is not None:
        cases["scipy"] = scipy_svi(k[one], w[one], weights[one])
    if QuantLib is not None:
        cases["QuantLib"] = quantlib_svi(k[one], w[one])
    ns = run.measure(1, cases, case="SVI, one smile")
    print(f"SVI, one smile: {ns['warpquant'] / 1e3:.2f} us{compared({n: t / 1e3 for n, t in ns.items()})}")

    strike = 0.03 * np.exp(np.linspace(-0.5, 0.5, 11))
    vol = surface.sabr(0.03, strike, 2.0, 0.25, 1.0, -0.3, 0.6)["vol"]
    noisy = vol * (1 + 0.01 * np.random.default_rng(1).normal(size=(count, 11)))
    strikes, starts = np.tile(strike, count), np.arange(count + 1) * 11
    ns = run.measure(
        count,
        {"warpquant": lambda: surface.fit_sabr(0.03, strikes, 2.0, noisy.ravel(), None, starts, num_threads=1)},
        case="SABR, batch",
    )
    print(f"SABR, 11 quotes, batch of {count}, 1 thread: {ns['warpquant'] / 1e3:.2f} us a smile")
    cases = {"warpquant": lambda: surface.fit_sabr(0.03, strike, 2.0, noisy[0])}
    if optimize is not None:
        cases["scipy"] = scipy_sabr(strike, noisy[0])
    ns = run.measure(1, cases, case="SABR, one smile")
    print(f"SABR, one smile: {ns['warpquant'] / 1e3:.2f} us{compared({n: t / 1e3 for n, t in ns.items()})}")

    parameters = surface.fit_svi(k, w, weights, offsets).parameters
    ns = run.measure(
        count, {"warpquant": lambda: surface.certify_svi(*parameters.T, num_threads=1)}, case="certificate"
    )
    print(f"certificate of g, 1 thread: {ns['warpquant'] / 1e3:.2f} us a slice")


def points(run: Benchmark) -> None:
    """Closed forms at many points."""
    count = 1_000 if run.smoke else 1_000_000
    k, out = np.linspace(-1.0, 1.0, count), np.empty(count)
    for name, call in (
        ("SVI", lambda threads: surface.svi(k, 0.01, 0.1, -0.4, 0.05, 0.2, out={"w": out}, num_threads=threads)),
        ("SSVI", lambda threads: surface.ssvi(k, 0.04, -0.4, 3.0, out={"w": out}, num_threads=threads)),
        ("SABR", lambda threads: surface.sabr(0.03, 0.03 * np.exp(k), 1.0, 0.2, 1.0, -0.3, 0.5, num_threads=threads)),
    ):
        for threads in (1, 2):
            ns = run.measure(count, {"warpquant": lambda c=call, t=threads: c(t)}, case=name, threads=threads)
            print(f"{name}, {count:,} points, {threads} threads: {ns['warpquant']:.2f} ns a point")
    years = np.linspace(0.05, 2.0, 40)
    theta = 0.04 * years
    psi = 0.8 * np.sqrt(theta)
    slices = np.stack([theta, psi, -0.6 * psi], axis=1)
    names, rng = tuple(f"{t:.2f}" for t in years), np.random.default_rng(1)
    scattered, sorted_ = rng.uniform(0.02, 2.2, count), np.linspace(0.02, 2.2, count)
    for model, rows in (("essvi", slices), ("svi", surface.essvi_to_svi(slices))):
        made = surface.Surface(model, names, years, rows, np.full(40, 100.0), np.zeros(40))
        for label, at in (("scattered times", scattered), ("times in order", sorted_)):
            for threads in (1, 2):
                ns = run.measure(
                    count,
                    {"warpquant": lambda m=made, a=at, t=threads: m.evaluate(k, a, out={"w": out}, num_threads=t)},
                    case=f"{model} surface, {label}", threads=threads,
                )  # fmt: skip
                print(f"{model} surface of 40 slices, {label}, {count:,} points, {threads} threads: "
                      f"{ns['warpquant']:.2f} ns a point")  # fmt: skip


def chain(run: Benchmark) -> None:
    """40 expiries of 100 strikes: prices to volatilities, weights, surface, check; the same with all cleaning."""
    expiries, strikes = (3, 20) if run.smoke else (40, 100)
    years = np.linspace(0.05, 2.0, expiries)
    theta = 0.04 * years
    k = np.linspace(-3.0, 2.0, strikes)[None, :] * np.sqrt(theta)[:, None]
    w = surface.ssvi(k, theta[:, None], -0.6, 0.8 / np.sqrt(theta)[:, None])["w"]
    vol = np.sqrt(w / years[:, None])
    strike = 100.0 * np.exp(k)
    calls = k > 0
    price = options.price(100.0, strike, years[:, None], 0.02, 0.0, vol, calls, model="black76")["price"]
    offsets = np.arange(expiries + 1) * strikes

    def call() -> Any:
        found = options.implied_vol(price, 100.0, strike, years[:, None], 0.02, 0.0, calls, model="black76")
        variance = found * found * years[:, None]
        weights = surface.vega_weights(k, variance)
        fit = surface.fit_essvi(k.ravel(), variance.ravel(), weights.ravel(), offsets)
        return surface.certify_svi(*surface.essvi_to_svi(fit.parameters).T)

    ns = run.measure(1, {"warpquant": call}, case="chain")
    print(
        f"{expiries} expiries of {strikes} strikes, prices to a checked eSSVI surface: {ns['warpquant'] / 1e6:.2f} ms"
    )
    flat = {"strike": strike.ravel(), "expiry": np.repeat(years, strikes), "is_call": calls.ravel(),
            "bid": (0.99 * price).ravel(), "ask": (1.01 * price).ravel()}  # fmt: skip
    quotes = options.read_chain(flat, spot=100.0, rate=0.02, dividend=0.02)

    def cleaned() -> Any:
        return surface.Surface.fit(quotes).check()

    assert cleaned().ok
    ns = run.measure(1, {"warpquant": cleaned}, case="chain, cleaned")
    print(f"the same with bids and asks, cleaned by all rules: {ns['warpquant'] / 1e6:.2f} ms")


def bands(run: Benchmark) -> None:
    """A thousand fits to quotes drawn from between bid and ask, and the band they make."""
    draws = 20 if run.smoke else 1_000
    years, strike = 0.25, np.linspace(75.0, 125.0, 25)
    vol = np.sqrt(surface.svi(np.log(strike / 100.0), 0.003, 0.05, -0.4, 0.02, 0.12)["w"] / years)
    sides = [
        options.price(100.0, strike, years, 0.0, 0.0, vol + move, strike >= 100.0, model="black76")["price"]
        for move in (-0.003, 0.004)
    ]
    quotes = {"expiry": np.full(25, years), "strike": strike, "is_call": strike >= 100.0, "bid": sides[0],
              "ask": sides[1], "spot": np.full(25, 100.0), "rate": np.zeros(25), "dividend": np.zeros(25)}  # fmt: skip
    k = np.linspace(-0.2, 0.2, 9)
    for model in ("svi", "essvi"):
        made = surface.Surface.fit(quotes, model=model, outliers=False)
        ns = run.measure(
            1, {"warpquant": lambda m=made: m.bands(k, 0, method="bootstrap", draws=draws)}, case=f"bands, {model}"
        )
        print(f"band of {draws} fits of {model} slices to 25 quotes: {ns['warpquant'] / 1e6:.2f} ms")


def mixtures(run: Benchmark) -> None:
    """Expiries of 100 strikes: a whole surface of mixtures."""
    expiries, strikes = (2, 20) if run.smoke else (12, 100)
    years = np.linspace(0.05, 1.0, expiries)
    theta = 0.04 * years
    k = np.linspace(-3.0, 2.0, strikes)[None, :] * np.sqrt(theta)[:, None]
    w = surface.ssvi(k, theta[:, None], -0.6, 0.8 / np.sqrt(theta)[:, None])["w"]
    ns = run.measure(1, {"warpquant": lambda: surface.fit_mixture(k, w, 0.995 * w, 1.005 * w)}, case="mixture")
    print(f"mixture, {expiries} expiries of {strikes} strikes: {ns['warpquant'] / 1e6:.1f} ms")


def main() -> None:
    run = Benchmark("surface", __doc__ or "")
    fits(run)
    surfaces(run)
    points(run)
    chain(run)
    bands(run)
    mixtures(run)
    run.finish()


if __name__ == "__main__":
    main()
