# SPDX-License-Identifier: Apache-2.0
"""Errors of implied volatilities against 60 digits, ours and those of other packages, as a table for the documentation.

    python tests/accuracy/implied.py [--points 1000]

Units: eps (1 + condition) of the volatility, the condition being what a relative unit in all inputs does to it. What
finds nothing has failed. Others take undiscounted prices on forwards and get them as their users would make them.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from test_options_implied import EPS, FAMILIES, hard_points, solve

TABLE = pathlib.Path(__file__).resolve().parents[2] / "docs/options/accuracy_implied.md"


def undiscounted(points: list[Any]) -> list[np.ndarray[Any, Any]]:
    """Price, forward, strike, expiry and sign, in floats."""
    rows = [(price, o.spot, o.strike, o.expiry, o.rate, o.dividend, o.sign, o.model) for o, price, *_ in points]
    price, spot, strike, expiry, rate, dividend, sign = (np.array([r[k] for r in rows], dtype=float) for k in range(7))
    carry = np.where([r[7] == "bsm" for r in rows], rate - dividend, 0.0)
    return [price * np.exp(rate * expiry), spot * np.exp(carry * expiry), strike, expiry, sign]


def iv_engine() -> Callable[[list[Any]], Any]:
    from iv_engine import implied_volatility

    def one(p: float, f: float, k: float, t: float, sign: float) -> float:
        try:
            return float(implied_volatility(p, f, k, t, sign > 0))
        except Exception:  # its own error class; what it means is that there is no answer
            return math.nan

    return lambda points: np.array([one(*row) for row in zip(*undiscounted(points), strict=True)])


def fast_vollib() -> Callable[[list[Any]], Any]:
    from fast_vollib.jackel.jackel_iv import jackel_iv_black

    def run(points: list[Any]) -> Any:
        p, f, k, t, sign = undiscounted(points)
        with np.errstate(all="ignore"):
            return jackel_iv_black(p, f, k, t, sign > 0)

    return run


def quantlib() -> Callable[[list[Any]], Any]:
    import QuantLib

    def one(p: float, f: float, k: float, t: float, sign: float) -> float:
        try:
            kind = QuantLib.Option.Call if sign > 0 else QuantLib.Option.Put
            how = (1.0, 0.0, QuantLib.nullDouble(), 1.0, 1e-14)  # the last is the accuracy
            return float(QuantLib.blackFormulaImpliedStdDevLiRS(kind, k, f, p, *how)) / math.sqrt(t)
        except RuntimeError:
            return math.nan

    return lambda points: np.array([one(*row) for row in zip(*undiscounted(points), strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000, help="per family")
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    solvers: dict[str, Callable[[list[Any]], Any]] = {"warpquant": solve}
    for name, module, make in (
        ("iv-engine", "iv_engine", iv_engine),
        ("fast-vollib, Jäckel", "fast_vollib", fast_vollib),
        ("QuantLib, LiRS", "QuantLib", quantlib),
    ):
        if importlib.util.find_spec(module):
            solvers[name] = make()
    lines = [f"| {options.points} of each | {' | '.join(solvers)} |", "|---" * (len(solvers) + 1) + "|"]
    for family in FAMILIES:
        points = hard_points(family, options.points, seed=options.seed)
        cells = []
        for name, run in solvers.items():
            if family == "normal" and name != "warpquant":
                cells.append("")
                continue
            got = run(points)
            found = np.isfinite(got) & (got > 0)
            errors = [
                float(abs(mp.mpf(v) - want) / (EPS * (1 + condition) * want))
                for v, ok, (_, _, want, condition, _) in zip(got, found, points, strict=True)
                if ok
            ]
            failed = f", {100 * (1 - found.mean()):.2g} % failed" if not found.all() else ""
            cells.append(f"{np.median(errors):.1g} / {max(errors):.2g}{failed}" if errors else "all failed")
        lines.append(f"| {family} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
