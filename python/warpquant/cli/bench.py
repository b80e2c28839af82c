# SPDX-License-Identifier: Apache-2.0
"""`warpquant bench`."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated

import typer
from rich.table import Table

from ._app import As, NoColor, Quiet, Report, app, console_of, exit_codes, print_json


@app.command(epilog="Example: warpquant bench atc --rounds 9")
@exit_codes
def bench(
    domain: Annotated[str | None, typer.Argument(help="ma, equity, atc or backtest; by default all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each case.")] = 5,
    min_seconds: Annotated[float, typer.Option(min=0.0, help="Least duration of a turn.")] = 0.01,
    form: As = Report.TABLE,
    json_file: Annotated[
        pathlib.Path | None,
        typer.Option("--json", dir_okay=False, help="Also write the JSON to this file."),
    ] = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Measure this installation on this machine, in less than a minute."""
    from warpquant import bench as benchmarks

    err = console_of(no_color, stderr=True)
    show = None if quiet else lambda text: err.print(text, style="dim")
    report = benchmarks.run(domain, rounds=rounds, min_seconds=min_seconds, progress=show)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if form is Report.JSON:
        print_json(report)
        return
    console = console_of(no_color)
    about = report["machine"]
    console.print(
        f"{about['cpu']}, {about['processors']} processors, {about['simd']}; warpquant {about['warpquant']}, "
        f"NumPy {about['numpy']}, Python {about['python']}\n"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("Domain", "Case", "Series × bars", "Threads", "Fastest", "Median", "ns/point", "Copy", "× copy"):
        table.add_column(name, justify="left" if name in ("Domain", "Case") else "right", no_wrap=True)
    for x in report["results"]:
        table.add_row(
            x["domain"], x["case"], f"{x['series']:,} × {x['bars']:,}", str(x["threads"]),
            _duration(x["min_s"]), _duration(x["median_s"]),
            f"{x['ns_per_point']:.2f}", f"{x['copy_ns_per_point']:.2f}", f"{x['times_copy']:.1f}",
        )  # fmt: skip
    console.print(table)
    console.print("\nCopy: ns a point of a plain copy (8 bytes read, 8 written) with one thread, in the same rounds.")


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
