# SPDX-License-Identifier: Apache-2.0
"""Errors of European options against 50 digits, ours and those of other packages, as a table for the documentation.

    python tests/accuracy/vanilla.py [--points 1000000] [--sample 1500]

All points are computed at every instruction level. Of each model a random sample, and those points where the levels or
a plain evaluation differ most from each other, are compared with 50 digits. Errors are in units of eps (1 + condition)
of the value, eps = 2**-52, where the condition is what an ulp in each argument does to it.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import pathlib
import sys

import mpmath as mp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from reference import options as reference
from warpquant import _core, config, options

TABLE = pathlib.Path(__file__).resolve().parents[2] / "docs/options/accuracy_vanilla.md"
EPS = 2.0**-52
USUAL = ("price", "delta", "gamma", "vega", "theta", "rho")


def with_quantlib(s, k, t, r, q, v, call):
    import QuantLib

    made = np.empty((len(s), len(USUAL)))
    for i, (a, b, c, d, e, f, g) in enumerate(zip(*(x.tolist() for x in (s, k, t, r, q, v, call)), strict=True)):
        payoff = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call if g else QuantLib.Option.Put, b)
        one = QuantLib.BlackCalculator(payoff, a * math.exp((d - e) * c), f * math.sqrt(c), math.exp(-d * c))
        made[i] = one.value(), one.delta(a), one.gamma(a), one.vega(c), one.theta(a, c), one.rho(c)
    return dict(zip(USUAL, made.T, strict=True))


def with_fast_vollib(s, k, t, r, q, v, call):
    import fast_vollib

    flags = np.where(call, "c", "p")
    how = {"backend": "numpy", "return_as": "numpy"}
    price = fast_vollib.fast_black_scholes_merton(flags, s, k, t, r, v, q, **how)
    made = fast_vollib.get_all_greeks(flags, s, k, t, r, v, q, model="black_scholes_merton", backend="numpy",
                                      return_as="dict")  # fmt: skip
    # Its theta is by day, vega and rho by percent.
    return {
        "price": np.asarray(price), "delta": np.asarray(made["delta"]), "gamma": np.asarray(made["gamma"]),
        "vega": np.asarray(made["vega"]) * 100, "theta": np.asarray(made["theta"]) * 365,
        "rho": np.asarray(made["rho"]) * 100,
    }  # fmt: skip


def with_scipy(s, k, t, r, q, v, call):
    """The textbook's formulas."""
    from scipy.special import ndtr

    root = np.sqrt(t)
    d1 = (np.log(s / k) + (r - q + 0.5 * v * v) * t) / (v * root)
    d2, e = d1 - v * root, np.where(call, 1.0, -1.0)
    forward, present, density = s * np.exp(-q * t), k * np.exp(-r * t), np.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
    n1, n2 = ndtr(e * d1), ndtr(e * d2)
    return {
        "price": e * (forward * n1 - present * n2), "delta": e * np.exp(-q * t) * n1,
        "gamma": np.exp(-q * t) * density / (s * v * root), "vega": forward * density * root,
        "theta": -0.5 * forward * density * v / root + e * (q * forward * n1 - r * present * n2),
        "rho": e * t * present * n2,
    }  # fmt: skip


PEERS = {
    "NumPy and SciPy": ("scipy", with_scipy),
    "QuantLib": ("QuantLib", with_quantlib),
    "fast-vollib": ("fast_vollib", with_fast_vollib),
}


def suspects(at, model, sample):
    """Indices of a random sample, and of the points where evaluations differ most, in units of their own error."""
    count = len(at[0])
    chosen = set(np.random.default_rng(1).choice(count, min(sample, count), replace=False).tolist())
    levels = {}
    for level in _core.build_info()["simd_levels"]:
        with config.override(simd=level):
            levels[level] = options.greeks(*at, model=model, outputs="all")
    best = levels.pop(list(levels)[-1])
    spot, strike, expiry, rate, dividend, vol, _ = at
    for name, values in best.items():
        with np.errstate(all="ignore"):
            moneyness = abs(np.log(spot / strike) + (rate - dividend) * expiry) / (vol * np.sqrt(expiry))
            if model == "bachelier":
                moneyness = abs(spot - strike) / (vol * np.sqrt(expiry))
            scale = EPS * (1 + moneyness**2) * abs(values)
            for other in levels.values():
                difference = np.nan_to_num(abs(other[name] - values) / scale, posinf=0.0)
                chosen.update(np.argsort(difference)[-max(sample // 100, 2) :].tolist())
    return sorted(chosen), best


def worst_errors(computed, wanted):
    """Output to (median, 99th percentile, largest) error."""
    found = {}
    for name, values in computed.items():
        errors = []
        for value, (exact, conditions) in zip(values.tolist(), wanted, strict=True):
            want = exact[name]
            if mp.isnan(want) or abs(want) < mp.mpf("1e-290"):
                continue
            unit = EPS * (1 + conditions["price" if name == "lambda_" else name]) * abs(want)
            errors.append(float(abs(mp.mpf(value) - want) / unit) if math.isfinite(value) else math.inf)
        if errors:
            found[name] = (np.median(errors), np.quantile(errors, 0.99, method="lower"), max(errors), len(errors))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=1500)
    parser.add_argument("--table", type=pathlib.Path, default=TABLE, help="where to write; - for the terminal alone")
    args = parser.parse_args()
    lines = [
        f"Largest errors over {args.points:,} options of each model, in units of `eps (1 + condition)`; compared with",
        "50 digits: a random sample, and the points where instruction levels disagree most.",
        "",
        "| output | bsm | black76 | bachelier | bound |",
        "|---|---|---|---|---|",
    ]
    ours, samples = {}, {}
    for seed, model in enumerate(("bsm", "black76", "bachelier")):
        at = reference.points(args.points, model, seed)
        chosen, best = suspects(at, model, args.sample)
        some = [a[chosen] for a in at]
        wanted = [
            reference.with_conditions(model, 1 if row[6] else -1, *row[:6])
            for row in zip(*(a.tolist() for a in some), strict=True)
        ]
        samples[model] = some, wanted
        ours[model] = worst_errors({name: x[chosen] for name, x in best.items()}, wanted)
    for name in reference.OUTPUTS:
        cells = [f"{ours[m][name][2]:.2f}" if name in ours[m] else "" for m in ours]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {64 if name == 'lambda_' else 4} |")
    lines += ["", "The same sample of the model `bsm`, by package: median, 99th percentile and largest error.", ""]
    lines += ["| output | " + " | ".join(["warpquant", *PEERS]) + " |", "|---|" + "---|" * (1 + len(PEERS))]
    some, wanted = samples["bsm"]
    theirs = {}
    for peer, (module, compute) in PEERS.items():
        theirs[peer] = {}
        if importlib.util.find_spec(module) is not None:
            with np.errstate(all="ignore"):
                theirs[peer] = worst_errors(compute(*some), wanted)
    for name in USUAL:
        cells = []
        for found in (ours["bsm"], *theirs.values()):
            cells.append(" / ".join(f"{x:.2g}" for x in found[name][:3]) if name in found else "not installed")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if str(args.table) != "-":
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
