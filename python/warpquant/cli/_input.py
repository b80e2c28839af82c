# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that read prices, and the prices that they name."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._app import Code, printable, say

if TYPE_CHECKING:
    from warpquant.scan import ScanResult

Files = Annotated[
    list[pathlib.Path] | None,
    typer.Argument(help="CSV, Parquet or Feather files.", exists=True, dir_okay=False, readable=True),
]
Places = Annotated[
    list[str] | None,
    typer.Argument(help="CSV, Parquet or Feather files, patterns such as 'bars/*.csv', or folders of them."),
]
Demo = Annotated[bool, typer.Option("--demo", help="Take the sample data of the package.")]
SymbolCol = Annotated[str | None, typer.Option(help="Column of symbols.")]
TimeCol = Annotated[str | None, typer.Option(help="Column of times.")]
PriceCol = Annotated[str | None, typer.Option(help="Column of prices.")]
TimeFormat = Annotated[str | None, typer.Option(help="Format of times that are text, such as %d/%m/%Y.")]
MinSignal = Annotated[float, typer.Option(help="Least size of the average signal to be listed.")]
MinBars = Annotated[
    int | None, typer.Option(min=1, help="Fewest bars of a symbol.", show_default="the longest average")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="as configured")]
NumThreads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log; twice for more.")]


def check_input(files: Sequence[object] | None, demo: bool) -> None:
    """Either files or the sample data."""
    if bool(files) == demo:
        raise typer.BadParameter("give either files to scan or --demo" + (", not both" if demo else ""))


def prices_of(files: list[pathlib.Path] | None, **columns: str | None) -> Any:
    """The prices of the files, or without any the sample data."""
    from warpquant import data, scan

    return scan.read_prices(files, **columns) if files else data.sp500_20()


def finish(result: ScanResult, quiet: bool) -> None:
    """Say what a scan came to, and end with the code that fits."""
    if not quiet:
        for note in result.warnings:
            say(printable(f"warning: {note.symbol}: {note.message}"))
        say(", ".join(f"{number} {what}" for what, number in result.counts.items()))
    for failure in result.failures:
        say(printable(f"failed: {failure.symbol}: {failure.message}"))
    if not result.rows:
        say("nothing could be scanned")
        raise typer.Exit(Code.FAILED)
    if result.failures:
        raise typer.Exit(Code.SOME_FAILED)
