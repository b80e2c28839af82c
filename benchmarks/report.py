# SPDX-License-Identifier: Apache-2.0
"""Put the figures of ``benchmarks/results/*.json`` into README.md and docs/performance.md, between their marks."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from common import RESULTS, best_peer

ROOT = pathlib.Path(__file__).parent.parent
MODES = ("pine", "sovereign")


def load(domain: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{domain}.json").read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peer_columns(ns: dict[str, float]) -> list[str]:
    best = best_peer(ns)
    return [f"{best[1]:.2f} ({best[0]})", f"{best[1] / ns['warpquant']:.1f}"] if best else ["–", "–"]


def averages(document: dict[str, Any], series: int, threads: int) -> str:
    rows = []
    for row in document["rows"]:
        if (row["series"], row["threads"]) == (series, threads):
            ns = row["min_ns"]
            ours = [f"{ns['warpquant']:.2f}", f"{ns['warpquant, new array']:.2f}"]
            rows.append([f"`{row['case']}`", *ours, *peer_columns(ns), f"{ns['warpquant'] / ns['copy']:.1f}"])
    return table(("28 bars", "ns per point", "new array", "best peer", "times faster", "of a copy"), rows)


def atc(document: dict[str, Any]) -> str:
    rows = []
    for row in document["rows"]:
        if row["case"] == "average":
            cases = [f"warpquant, {mode}" for mode in MODES]
            figures = [f"{row['min_ns'][case]:.1f} ({row['median_ns'][case]:.1f})" for case in cases]
            rows.append([f"{row['series']:,} × {row['bars']:,}", str(row["threads"]), *figures])
    return table(("symbols × bars", "threads", "pine, ns per symbol-bar (median)", "sovereign"), rows)


def atc_notes(document: dict[str, Any]) -> str:
    rows = {row["case"]: row for row in document["rows"]}
    lines = []
    for mode in MODES:
        one = rows[f"one symbol, {mode}"]
        us = [one["min_ns"][f"warpquant, {call}"] * one["bars"] / 1e3 for call in ("run", "compute_atc_signals")]
        line = (
            f"- {mode}: one symbol of {one['bars']:,} bars takes {us[0]:.0f} µs with `atc.run` and {us[1]:.0f} µs with "
            "`compute_atc_signals`, which gives 15 outputs"
        )
        if note := rows.get(f"54 averages, {mode}"):
            times = note["peers_ns"] / note["warpquant_ns"]
            line += f"; the 54 averages alone, each by the best peer, take {times:.1f} times as long as all of ATC"
        lines.append(line + ".")
    return "\n".join(lines)


def runtime(document: dict[str, Any]) -> str:
    rows = {row["case"]: row for row in document["rows"]}
    scan = rows["memory of a scan"]
    size = f"{scan['series']:,} × {scan['bars']:,}"
    return "\n".join(
        (
            f"- Import beyond NumPy: {rows['import beyond NumPy']['min_ms']:.0f} ms.",
            f"- A scan of {size} bars, last values only: {scan['mib']:.1f} MiB above the input.",
            f"- A call on ten bars: {rows['call']['min_ns']['warpquant, sma'] / 1e3:.1f} µs.",
        )
    )


def equity(document: dict[str, Any]) -> str:
    rows = []
    for row in document["rows"]:
        size = [f"{row['series']:,} × {row['bars']:,}", str(row["threads"])]
        rows.append([*size, f"{row['min_ns']['warpquant']:.2f}", *peer_columns(row["min_ns"])])
    return table(("series × bars", "threads", "ns per point", "best peer", "times faster"), rows)


def time_text(ns: float) -> str:
    """A time in the unit that suits it."""
    return f"{ns:.1f} ns" if ns < 1e3 else f"{ns / 1e3:.3g} µs" if ns < 1e6 else f"{ns / 1e6:.3g} ms"


def options() -> str:
    """One line for each kind of option and number of threads; peers run with as many threads as they can use."""
    rows = []

    def line(what: str, threads: int, ours: float, others: dict[str, float]) -> None:
        compared = ", ".join(f"{theirs / ours:.1f} × {name} ({time_text(theirs)})" for name, theirs in others.items())
        rows.append([what, str(threads), time_text(ours), compared or "–"])

    names = {
        "options": "European option, {case}",
        "options_implied": "implied volatility, {case}",
        "options_monte_carlo": "arithmetic Asian by Monte Carlo, a path and date",
        "options_scenario": "scenario grid, a position and node",
    }
    for domain, name in names.items():
        for row in load(domain)["rows"]:
            if "min_ns" in row:
                ns = row["min_ns"]
                others = {name: t for name, t in ns.items() if name != "copy" and not name.startswith("warpquant")}
                others = {name: t for name, t in others.items() if "alone" not in name}
                line(name.format(**row), row["threads"], ns["warpquant"], others)
    found = load("options_american")["rows"]
    peers = {row["case"]: row["us"] * 1e3 for row in found if "threads" not in row}
    for row in found:
        if row.get("outputs") == "price":
            accuracy = row["case"].removeprefix("american ")
            theirs = peers.get(f"QuantLib {accuracy}")
            line(f"{row['case']}, price", row["threads"], row["us"] * 1e3, {"QuantLib": theirs} if theirs else {})
    numba = peers.get("numba crr 1000")
    line("binomial tree of 1,000 steps", 1, peers["lattice crr 1000"], {"numba": numba} if numba else {})
    for row in load("options_exotic")["rows"]:
        if "theirs_us" in row:
            _, engine, method = row["case"].rsplit(", ", 2)
            line(f"Heston, 100 strikes, {method}", 1, row["ours_us"] * 1e3, {f"`{engine}`": row["theirs_us"] * 1e3})
    return table(("what", "threads", "time of one", "times as long"), rows)


#: What tells rows of one case apart, and how it is said.
DETAILS = {"net": "{}", "dtype": "{}", "tensors": "{:,} tensors", "points": "{:,} points"}


def compared(domain: str, title: str) -> str:
    """A section with a line for each case of a benchmark, whatever its cases are."""
    document, rows = load(domain), []
    for row in document["rows"]:
        ns = {name: t for name, t in row.get("min_ns", {}).items() if name != "copy"}
        if "warpquant" in ns:
            what = ", ".join([row["case"], *(said.format(row[k]) for k, said in DETAILS.items() if row.get(k, 1) != 1)])
            ours = ns.pop("warpquant")
            others = ", ".join(f"{t / ours:.1f} × {name} ({time_text(t)})" for name, t in ns.items())
            rows.append([what, str(row.get("threads", 1)), time_text(ours), others or "–"])
    cells = table(("what", "threads", "time of one", "times as long"), rows)
    return f"### {title}\n\n{machine(document)}\n\n{cells}\n"


def machine(document: dict[str, Any]) -> str:
    """Where a benchmark ran, and with which peers."""
    m = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["peers"].items())
    where = f"{m['cpu']}, {m['processors']} processors, level {m['simd']}"
    return f"On {where}; load {m['load']} at the start. Peers: {versions}."


def fill(path: pathlib.Path, text: str) -> None:
    marks = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)", re.DOTALL)
    before = path.read_text(encoding="utf-8")
    after, count = marks.subn(lambda m: m[1] + text + "\n" + m[2], before)
    if count != 1:
        raise SystemExit(f"{path}: has {count} pairs of marks, expected one")
    path.write_text(after, encoding="utf-8")


def main() -> None:
    ma, fused = load("ma"), load("atc")
    m = ma["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["peers"].items())
    where = f"{m['cpu']}, {m['processors']} processors, level {m['simd']}, {m['compiler']}, NumPy {m['numpy']}"
    fill(
        ROOT / "README.md",
        f"One thread, 1,000 series × 2,000 bars, float64, on {where}. Fastest rounds; the peers are {versions} "
        f"(numba: textbook loops).\n\n{averages(ma, 1000, 1)}\n\n{atc_notes(fused)}\n",
    )
    parts = [f"On {where}; load {m['load']} at the start. Peers: {versions}.\n"]
    parts += [
        f"### {size}, {threads} thread{'s' * (threads > 1)}\n\n{averages(ma, series, threads)}\n"
        for series, size in ((1, "One series of 1,000,000 bars"), (1000, "1,000 series × 2,000 bars"))
        for threads in (1, 2)
    ]
    parts.append(f"### ATC, average only\n\n{atc(fused)}\n\n{atc_notes(fused)}\n")
    parts.append(f"### Equity curves\n\n{equity(load('equity'))}\n")
    parts.append(f"### Options\n\n{machine(load('options'))}\n\n{options()}\n")
    parts += [
        compared(domain, title)
        for domain, title in (("surface", "Surfaces"), ("pinn", "Networks"), ("optim", "Optimizers"))
    ]
    parts.append(f"### Around a call\n\n{runtime(load('runtime'))}\n")
    fill(ROOT / "docs" / "performance.md", "\n".join(parts))


if __name__ == "__main__":
    main()
