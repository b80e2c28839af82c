# SPDX-License-Identifier: Apache-2.0
"""Errors of Heston prices by method: against tables and integrals of 30 digits; of random models against many nodes.

``WQ_SHARED=/path/to/shared python tests/accuracy/heston.py``; without the shared folder the first row is left out.
Integrals of 30 digits take some minutes; ``--quick`` leaves those out.
"""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from reference import exotics as reference
from test_options_heston import METHODS, hard_models, models
from warpquant import _rows, options

NAMES = ("S", "K", "T", "r", "q", "v0", "kappa", "theta", "xi", "rho")
SETTINGS = [(method, accuracy) for method in METHODS for accuracy in ("default", "high")]


def errors(columns, calls, truth):
    """Errors in units of the spot, by setting."""
    made = [
        options.heston(*columns, calls, method=method, accuracy=accuracy, outputs="price")["price"]
        for method, accuracy in SETTINGS
    ]
    return [np.abs(price - truth) / columns[0] for price in made]


def row(title, found):
    print(f"| {title} | " + " | ".join(f"{np.max(e):.1e}" for e in found) + " |", flush=True)


def many_nodes(columns):
    return _rows.call("heston", (*columns, 1.0), _rows.Outputs("heston"), ("price",), parameters=(640.0,))["price"]


def main():
    print("| options | " + " | ".join(f"{method}, {accuracy}" for method, accuracy in SETTINGS) + " |")
    print("|---" * (1 + len(SETTINGS)) + "|")
    shared = os.environ.get("WQ_SHARED")
    if shared:
        rows = reference.table(pathlib.Path(shared), "heston_public")
        columns = [np.array([row[c] for row in rows]) for c in NAMES]
        pairs = [
            errors(columns, flag, np.array([row[kind] for row in rows])) for flag, kind in ((1, "call"), (0, "put"))
        ]
        row("40 cases with 30 digits", [np.maximum(*both) for both in zip(*pairs, strict=True)])
    columns = models(4000)
    row("4,000 random models", errors(columns, 1.0, many_nodes(columns)))
    hard = hard_models(4000)
    found = errors(hard, 1.0, many_nodes(hard))
    row("4,000 models that no market has", found)
    for share in (0.99, 0.95):
        row(f"of those, the best {share:.0%}", [np.quantile(e, share) for e in found])
    if "--quick" not in sys.argv[1:]:
        few = [c[:40] for c in hard]
        truth = np.array([reference.heston_exact(*(float(c[i]) for c in few)) for i in range(40)])
        row("40 of those, against 30 digits", errors(few, 1.0, truth))


if __name__ == "__main__":
    main()
