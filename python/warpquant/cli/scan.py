# SPDX-License-Identifier: Apache-2.0
"""`warpquant scan`."""

from __future__ import annotations

import csv
import io
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpquant import atc
from warpquant._prices import time_text

from ._app import (
    Format,
    NoColor,
    Quiet,
    app,
    atc_options,
    console_of,
    exit_codes,
    format_of,
    log_to_stderr,
    printable,
    progress_bar,
    say,
)
from ._input import (
    Demo,
    Device,
    MinBars,
    MinSignal,
    NumThreads,
    Places,
    PriceCol,
    SymbolCol,
    TimeCol,
    TimeFormat,
    Verbose,
    check_input,
    finish,
)

if TYPE_CHECKING:
    from warpquant.scan import Row, ScanResult
    from warpquant.sources import Source


def _table(title: str, style: str, rows: Iterable[Row]) -> Table:
    table = Table(title=title, title_style=f"bold {style}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("Symbol", "Price", "Average", "Trend", "Dir", "Flip", *atc.FAMILIES):
        left = name == "Symbol"
        table.add_column(name, justify="left" if left else "right", style=style if left else None, no_wrap=True)
    for row in rows:
        flip = "-" if row.bars_since_flip is None else str(row.bars_since_flip)
        signals = (getattr(row, f"{family.lower()}_signal") for family in atc.FAMILIES)
        table.add_row(
            Text(printable(row.symbol)), f"{row.price:.6g}", f"{row.average:+.3f}", f"{row.trend:+d}",
            f"{row.direction:+d}", flip, *(f"{signal:+.2f}" for signal in signals),
        )  # fmt: skip
    return table


def _print_tables(console: Console, result: ScanResult) -> None:
    counts = result.counts
    for title, style, rows, found in (
        ("Long", "cyan", result.long, counts["long"]),
        ("Short", "yellow", result.short, counts["short"]),
    ):
        number = str(found) if len(rows) == found else f"{len(rows)} of {found}"
        console.print(_table(f"{title} ({number})", style, rows))
        console.print()
    times = [row.time for row in (*result.long, *result.short) if isinstance(row.time, np.datetime64)]
    if times:
        latest = max(times)
        earlier = sum(time < latest for time in times)
        note = f"; ending earlier: {earlier} of these symbols" if earlier else ""
        console.print(f"Last bar {time_text(latest)}{note}")


def _write(result: ScanResult, form: Format, output: pathlib.Path | None, no_color: bool) -> None:
    """The result in the form asked for, to a file or to stdout."""
    if form is Format.PARQUET:
        table = result.to_arrow()
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, output)
        return
    text = io.StringIO(newline="")
    if form is Format.JSON:
        text.write(result.to_json() + "\n")
    elif form is Format.CSV:
        writer = csv.DictWriter(text, result.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.to_records())
    elif output is None:
        _print_tables(console_of(no_color), result)
        return
    else:
        _print_tables(console_of(True, file=text), result)
    if output is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        output.write_text(text.getvalue(), encoding="utf-8")


def _draw(result: ScanResult, source: Source, folder: pathlib.Path, bars: int, show: Callable[[int, int], None]) -> int:
    """The overview and one picture for each listed symbol; gives their number."""
    from warpquant import plot

    folder.mkdir(parents=True, exist_ok=True)
    plot.save(plot.overview(result), folder / "overview.png")
    taken = {"overview"}
    rows = (*result.long, *result.short)
    for done, row in enumerate(rows, 1):
        stem = base = re.sub(r"[^\w.+-]+", "_", row.symbol).strip(".") or "_"
        number = 2
        while stem.lower() in taken:
            stem, number = f"{base}_{number}", number + 1
        taken.add(stem.lower())
        prices = source.fetch([row.symbol])
        figure = plot.symbol(
            prices[row.symbol], prices.times[row.symbol], name=row.symbol, params=result.params, bars=bars
        )
        plot.save(figure, folder / f"{stem}.png")
        show(done, len(rows))
    return len(rows) + 1


@app.command(epilog="Example: warpquant scan bars/ --top 20 --checkpoint scan.jsonl --resume")
@atc_options
@exit_codes
def scan(
    files: Places = None,
    demo: Demo = False,
    query: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Scan what a query of DuckDB gives; FILES is then its database, if any."),
    ] = None,
    symbol_col: SymbolCol = None,
    time_col: TimeCol = None,
    price_col: PriceCol = None,
    time_format: TimeFormat = None,
    min_signal: MinSignal = 0.01,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Most symbols on either list.", show_default="all"),
    ] = None,
    min_bars: MinBars = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to write it.", show_default="by the suffix of --output, else table"),
    ] = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to write to.", show_default="stdout"),
    ] = None,
    plot: Annotated[
        pathlib.Path | None,
        typer.Option(file_okay=False, help="Folder for pictures: an overview, and one for each listed symbol."),
    ] = None,
    plot_bars: Annotated[int, typer.Option(min=2, help="Bars in the picture of a symbol.")] = 500,
    device: Device = None,
    num_threads: NumThreads = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Symbols that are read and computed at a time.")] = 100,
    checkpoint: Annotated[
        pathlib.Path | None,
        typer.Option(dir_okay=False, help="File to write each batch to, so that a scan can go on."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the checkpoint, if it is there.")] = False,
    execution: Annotated[
        str,
        typer.Option(metavar="auto|local|ray|dask", help="Where batches are computed."),
    ] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of Ray or Dask.", show_default="theirs")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Read and compute everything, and keep nothing.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
    params: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Rank the symbols of price files by their trend, with long and short lists.

    Exit codes: 0 all well, 1 the run failed, 2 wrong usage, 3 some symbols failed, 4 device not available,
    5 out of memory, 130 interrupted.
    """
    from warpquant import config, data, scanner, sources

    if query is not None and (demo or len(files or []) > 1):
        raise typer.BadParameter("--query goes with one database file, or none")
    if query is None:
        check_input(files, demo)
    form = format_of(form, output)
    err = console_of(no_color, stderr=True)
    with log_to_stderr(verbose):
        wanted: Any = data.sp500_20() if demo else files
        if query is not None:
            wanted = sources.Query(query, (files or [":memory:"])[0])
        source = sources.open_source(
            wanted, symbol_col=symbol_col, time_col=time_col, price_col=price_col, time_format=time_format
        )
        with (
            config.override({"cache.enabled": False} if no_cache else {}),
            progress_bar(err, quiet, "scanning") as show,
        ):
            result = scanner.scan_source(
                source, params, min_signal=min_signal, top=top, min_bars=min_bars, recent=0 if plot is None else 120,
                batch_size=batch_size, execution=execution, workers=workers, checkpoint=checkpoint, resume=resume,
                num_threads=num_threads, device=device, progress=show,
            )  # fmt: skip
        _write(result, form, output, no_color)
        if plot is not None and result.rows:
            with progress_bar(err, quiet, "drawing") as show:
                pictures = _draw(result, source, plot, plot_bars, show)
            if not quiet:
                say(f"{pictures} pictures in {plot}")
    finish(result, quiet)
