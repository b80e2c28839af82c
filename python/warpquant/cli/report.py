# SPDX-License-Identifier: Apache-2.0
"""`warpquant report`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from ._app import NoColor, Quiet, app, atc_options, console_of, exit_codes, log_to_stderr, progress_bar, say
from ._input import (
    Demo,
    Device,
    Files,
    MinBars,
    MinSignal,
    NumThreads,
    PriceCol,
    SymbolCol,
    TimeCol,
    TimeFormat,
    Verbose,
    check_input,
    finish,
    prices_of,
)


@app.command(epilog="Example: warpquant report prices/*.csv --bars 500 -o report.html")
@atc_options
@exit_codes
def report(
    files: Files = None,
    demo: Demo = False,
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", dir_okay=False, help="File to write to.")
    ] = pathlib.Path("report.html"),
    title: Annotated[str, typer.Option(help="Heading of the page.", show_default="counts the symbols")] = "",
    bars: Annotated[int, typer.Option(min=2, help="Bars in the chart of a symbol.")] = 1000,
    charts: Annotated[int, typer.Option(min=0, help="Most symbols with a chart, the strongest first.")] = 50,
    strip: Annotated[int, typer.Option(min=0, help="Bars in the heat map.")] = 250,
    symbol_col: SymbolCol = None,
    time_col: TimeCol = None,
    price_col: PriceCol = None,
    time_format: TimeFormat = None,
    min_signal: MinSignal = 0.01,
    min_bars: MinBars = None,
    device: Device = None,
    num_threads: NumThreads = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    params: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Write a scan as one HTML file: ranked table, heat map of all signals, a chart of each symbol.

    The file needs no network and no other file. Exit codes are those of scan.
    """
    from warpquant.report import report as make
    from warpquant.scan import scan

    check_input(files, demo)
    err = console_of(no_color, stderr=True)
    with log_to_stderr(verbose):
        prices = prices_of(
            files, symbol_col=symbol_col, time_col=time_col, price_col=price_col, time_format=time_format
        )
        with progress_bar(err, quiet, "scanning") as show:
            result = scan(
                prices, params, min_signal=min_signal, min_bars=min_bars, recent=strip,
                num_threads=num_threads, device=device, progress=show,
            )  # fmt: skip
        with progress_bar(err, quiet, "drawing") as show:
            page = make(result, prices, title=title, bars=bars, charts=charts, num_threads=num_threads, progress=show)
        page.write(output)
    if not quiet:
        size = output.stat().st_size / 1e6
        say(f"{output}: {len(result.rows):,} symbols, {len(page.charts)} charts, {size:.1f} MB")
    finish(result, quiet)
