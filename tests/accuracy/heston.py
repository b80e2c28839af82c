# SPDX-License-Identifier: Apache-2.0
"""Errors of Heston prices: against 40 cases with 30 digits, and of random models against many more nodes.

``WQ_SHARED=/path/to/shared python tests/accuracy/heston.py``; without the shared folder the first row is left out.
"""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from reference import exotics as reference
from test_options_heston import models
from warpquant import _rows, options


def errors(columns, calls, truth):
    """Largest error in units of the spot, at both accuracies."""
    return [
        np.max(np.abs(options.heston(*columns, calls, accuracy=a, outputs="price")["price"] - truth) / columns[0])
        for a in ("default", "high")
    ]


def main():
    print("| options | default | high |\n|---|---|---|")
    shared = os.environ.get("WQ_SHARED")
    if shared:
        rows = reference.table(pathlib.Path(shared), "heston_public")
        columns = [
            np.array([row[c] for row in rows]) for c in ["S", "K", "T", "r", "q", "v0", "kappa", "theta", "xi", "rho"]
        ]
        pairs = [
            errors(columns, flag, np.array([row[kind] for row in rows])) for flag, kind in ((1, "call"), (0, "put"))
        ]
        print(f"| 40 cases with 30 digits | {max(p[0] for p in pairs):.1e} | {max(p[1] for p in pairs):.1e} |")
    columns = models(4000)
    many = _rows.call("heston", (*columns, 1.0), _rows.Outputs("heston"), ("price",), parameters=(640.0,))["price"]
    default, high = errors(columns, 1.0, many)
    print(f"| 4,000 random models | {default:.1e} | {high:.1e} |")


if __name__ == "__main__":
    main()
