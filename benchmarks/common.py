# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: options, turns, tables, JSON."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import peers
from warpquant import bench

RESULTS = pathlib.Path(__file__).parent / "results"


class Benchmark:
    """One run of one domain: collects rows, prints them as they come, writes them at the end."""

    def __init__(self, domain: str, description: str) -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that everything runs")
        parser.add_argument("--json", type=pathlib.Path, help=f"default: benchmarks/results/{domain}.json; - for none")
        parser.add_argument("--rounds", type=int, default=9)
        self.options = parser.parse_args()
        self.domain = domain
        self.smoke: bool = self.options.smoke
        self.rows: list[dict[str, Any]] = []
        self.machine = {**bench.machine(), "peers": peers.versions()}
        print(f"{self.machine['cpu']}, {self.machine['simd']}, load {self.machine['load']}", file=sys.stderr)

    def measure(self, points: int, cases: Mapping[str, Callable[[], Any]], **labels: Any) -> dict[str, float]:
        """Time cases against each other and a plain copy; nanoseconds per point of the fastest round."""
        rounds, seconds = (1, 0.0) if self.smoke else (self.options.rounds, 0.01)
        timings = bench.measure({"copy": bench.copier(points), **cases}, rounds, seconds)
        ns = {name: t["min_s"] / points * 1e9 for name, t in timings.items()}
        median = {name: t["median_s"] / points * 1e9 for name, t in timings.items()}
        self.rows.append({**labels, "points": points, "min_ns": ns, "median_ns": median})
        return ns

    def note(self, **values: Any) -> None:
        """A figure that is no time per point."""
        self.rows.append(values)

    def finish(self) -> None:
        """Write the rows, unless this was only a try."""
        path = self.options.json or RESULTS / f"{self.domain}.json"
        if str(path) == "-" or (self.smoke and self.options.json is None):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"domain": self.domain, "machine": self.machine, "rows": self.rows}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(f"written to {path}", file=sys.stderr)


def best_peer(ns: Mapping[str, float]) -> tuple[str, float] | None:
    """The fastest of the cases that are neither ours nor the copy, nor a floor."""
    others = {name: t for name, t in ns.items() if name not in ("copy", "floor") and not name.startswith("warpquant")}
    return min(others.items(), key=lambda item: item[1]) if others else None


def compared(ns: Mapping[str, float]) -> str:
    """What to print of the fastest peer; nothing if there is none."""
    best = best_peer(ns)
    return f"   {best[1]:.2f} ({best[0]}), {best[1] / ns['warpquant']:.2f} times ours" if best else ""
