# SPDX-License-Identifier: Apache-2.0
"""Errors of American options, as a table for the documentation.

    python tests/accuracy/american.py FOLDER [--points 20000]

FOLDER has `american_public.csv`: 60 values that are known to 2e-8 or better, with those of QuantLib's schemes beside
them. Random options like those are compared with accuracy 'high'. Errors are in units of the strike.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from test_options_american import points
from warpquant import options

TABLE = pathlib.Path(__file__).resolve().parents[2] / "docs/options/accuracy_american.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--points", type=int, default=20_000)
    given = parser.parse_args()
    with (given.folder / "american_public.csv").open() as file:
        rows = list(csv.DictReader(file))
    known = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    arguments = [known[name] for name in ("S", "K", "T", "r", "q", "sigma", "is_call")]
    some = points(given.points, seed=1)
    best = options.american(*some, accuracy="high", outputs=("price", "status"))
    lines = [
        f"| | {len(rows)} known values: largest | root mean square | {given.points} random, to `high`: largest |",
        "|---|---|---|---|",
    ]

    def add(name: str, prices: np.ndarray, difference: str) -> None:
        error = np.abs(prices - known["price"]) / known["K"]
        lines.append(f"| {name} | {error.max():.1e} | {np.sqrt((error**2).mean()):.1e} | {difference} |")

    for accuracy in ("fast", "accurate", "high"):
        got = options.american(*some, accuracy=accuracy, outputs="price")["price"]
        difference = f"{np.nanmax(np.abs(got - best['price']) / some[1]):.1e}" if accuracy != "high" else ""
        add(f"`{accuracy}`", options.american(*arguments, accuracy=accuracy, outputs="price")["price"], difference)
    add("QuantLib, accurate", known["price_ql_accurate"], "")
    add("QuantLib, high precision", known["price_ql_high_precision"], "")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))
    print(f"not resolved: {int((best['status'] == 3).sum())} of {given.points}")


if __name__ == "__main__":
    main()
