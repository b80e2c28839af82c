# SPDX-License-Identifier: Apache-2.0
"""The command line: scan, bench, doctor, config.

Data goes to stdout, progress and messages to stderr. What the commands do is in `warpquant.scan`, `warpquant.plot`,
`warpquant.bench` and `warpquant.doctor`; here is only how it is asked for and shown.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import enum
import functools
import inspect
import io
import json
import logging
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import __version__, atc, config
from ._doctor import doctor as examine
from ._prices import time_text
from .errors import DeviceUnavailableError, ParameterError, WarpquantError

if TYPE_CHECKING:
    from .scan import Row, ScanResult

__all__ = ["Code", "app"]


class Code(enum.IntEnum):
    """Exit codes; docs/scan.md explains them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    NO_DEVICE = 4
    NO_MEMORY = 5
    INTERRUPTED = 130


class Format(str, enum.Enum):
    """How a scan is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class Report(str, enum.Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"


app = typer.Typer(
    name="warpquant",
    help="Quantitative research at the speed of the machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Settings of this installation.")
app.add_typer(config_app, name="config")

NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text; the variable NO_COLOR does the same.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, warnings or summary; failures stay.")]
As = Annotated[Report, typer.Option("--format", "-f", help="How to write it.")]


# ---- shared ----


def _console(no_color: bool, *, stderr: bool = False, file: Any = None) -> Console:
    """Where to print; what is no terminal is as wide as the tables need."""
    console = Console(stderr=stderr, file=file, no_color=no_color or None, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    return console


def _say(message: str) -> None:
    typer.echo(f"warpquant: {message}", err=True)


def _exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """End a command with a message and the code that fits, instead of a traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(Code.INTERRUPTED) from None
        except DeviceUnavailableError as error:
            _say(str(error))
            raise typer.Exit(Code.NO_DEVICE) from error
        except MemoryError as error:
            _say(f"out of memory{f': {error}' if str(error) else ''}")
            raise typer.Exit(Code.NO_MEMORY) from error
        except ParameterError as error:
            _say(str(error))
            raise typer.Exit(Code.USAGE) from error
        except BrokenPipeError:
            raise
        except (WarpquantError, ImportError, OSError) as error:
            _say(str(error))
            raise typer.Exit(Code.FAILED) from error

    return guarded


def _param_help() -> dict[str, str]:
    """First sentence on each parameter of ATC, from the docstring of `Params`."""
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(atc.Params.__doc__ or "").splitlines():
        if " : " in line and not line.startswith(" "):
            names = line.partition(" : ")[0].split(", ")
        elif line.startswith("    "):
            texts.update({name: f"{texts.get(name, '')} {line.strip()}".strip() for name in names})
        else:
            names = []
    return {name: re.split(r"(?:, see .*)?\.(?:\s|$)", text)[0].replace("`", "") + "." for name, text in texts.items()}


def _atc_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of `Params`; those used reach it as the mapping `params`."""
    fields = dataclasses.fields(atc.Params)
    kinds: dict[str, Any] = {"int": int | None, "float": float | None, "bool": bool | None}
    choices = {**atc._SWITCHES, "robustness": tuple(atc._OFFSETS), "compat": tuple(atc._COMPAT)}
    aliases = {"hull_len": ["--hma-len"], "La": ["--lambda"], "De": ["--decay"]}
    helps = _param_help()
    options = []
    for field in fields:
        flag = "--" + field.name.lower().replace("_", "-")
        default = "skip" if field.name == "nan_policy" else field.default
        option = typer.Option(
            None,
            *([f"{flag}/--no{flag[1:]}"] if field.type == "bool" else [flag, *aliases.get(field.name, [])]),
            help=helps.get(field.name, ""),
            show_default=str(default) if default != "" else False,
            metavar="|".join(choices[field.name]) if field.name in choices else None,
            rich_help_panel="Parameters of ATC",
        )
        kind = kinds.get(str(field.type), str | None)
        options.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind))

    @functools.wraps(command)
    def with_params(**values: Any) -> None:
        given = {field.name: values.pop(field.name) for field in fields}
        command(**values, params={name: value for name, value in given.items() if value is not None})

    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "params"]
    with_params.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return with_params


@contextlib.contextmanager
def _logging(verbose: int) -> Iterator[None]:
    """The package's log on stderr while a command runs."""
    log = logging.getLogger("warpquant")
    level, handler = log.level, logging.StreamHandler(sys.stderr)
    if verbose:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def _progress(console: Console, quiet: bool, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_pairs(console: Console, title: str, pairs: Iterable[tuple[str, ...]]) -> None:
    """A titled block of rows whose first cell is a name."""
    console.print(f"[bold]{title}[/bold]")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for pair in pairs:
        table.add_row(*map(Text, pair))  # as it is: brackets would pass for markup
    console.print(table)


# ---- scan ----


def _table(title: str, style: str, rows: Iterable[Row]) -> Table:
    table = Table(title=title, title_style=f"bold {style}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("Symbol", "Price", "Average", "Trend", "Dir", "Flip", *atc.FAMILIES):
        left = name == "Symbol"
        table.add_column(name, justify="left" if left else "right", style=style if left else None, no_wrap=True)
    for row in rows:
        flip = "-" if row.bars_since_flip is None else str(row.bars_since_flip)
        signals = (getattr(row, f"{family.lower()}_signal") for family in atc.FAMILIES)
        table.add_row(
            Text(row.symbol), f"{row.price:.6g}", f"{row.average:+.3f}", f"{row.trend:+d}", f"{row.direction:+d}", flip,
            *(f"{signal:+.2f}" for signal in signals),
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
        _print_tables(_console(no_color), result)
        return
    else:
        _print_tables(_console(True, file=text), result)
    if output is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        output.write_text(text.getvalue(), encoding="utf-8")


def _draw(result: ScanResult, prices: Any, folder: pathlib.Path, bars: int, show: Callable[[int, int], None]) -> int:
    """The overview and one picture for each listed symbol; gives their number."""
    from . import plot

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
        times = prices.dates if hasattr(prices, "dates") else prices.times[row.symbol]
        figure = plot.symbol(prices[row.symbol], times, name=row.symbol, params=result.params, bars=bars)
        plot.save(figure, folder / f"{stem}.png")
        show(done, len(rows))
    return len(rows) + 1


@app.command()
@_atc_options
@_exit_codes
def scan(
    files: Annotated[
        list[pathlib.Path] | None,
        typer.Argument(help="CSV, Parquet or Feather files.", exists=True, dir_okay=False, readable=True),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Scan the sample data of the package.")] = False,
    symbol_col: Annotated[str | None, typer.Option(help="Column of symbols.")] = None,
    time_col: Annotated[str | None, typer.Option(help="Column of times.")] = None,
    price_col: Annotated[str | None, typer.Option(help="Column of prices.")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="Format of times that are text, such as %d/%m/%Y."),
    ] = None,
    min_signal: Annotated[float, typer.Option(help="Least size of the average signal to be listed.")] = 0.01,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Most symbols on either list.", show_default="all"),
    ] = None,
    min_bars: Annotated[
        int | None,
        typer.Option(min=1, help="Fewest bars of a symbol.", show_default="the longest average"),
    ] = None,
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
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="as configured"),
    ] = None,
    num_threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads.", show_default="all"),
    ] = None,
    quiet: Quiet = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log; twice for more.")] = 0,
    no_color: NoColor = False,
    params: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Rank the symbols of price files by their trend, with long and short lists.

    Exit codes: 0 all well, 1 the run failed, 2 wrong usage, 3 some symbols failed, 4 device not available,
    5 out of memory, 130 interrupted.
    """
    from . import data
    from . import scan as scanning

    if bool(files) == demo:
        raise typer.BadParameter("give either files to scan or --demo" + (", not both" if demo else ""))
    if form is None:
        suffixes = {f".{f.value}": f for f in Format}
        form = suffixes.get(output.suffix.lower(), Format.TABLE) if output else Format.TABLE
    if form is Format.PARQUET and output is None:
        raise typer.BadParameter("--format parquet needs --output")
    err = _console(no_color, stderr=True)
    with _logging(verbose):
        prices: Any = (
            data.sp500_20()
            if demo
            else scanning.read_prices(
                files or [], symbol_col=symbol_col, time_col=time_col, price_col=price_col, time_format=time_format
            )
        )
        with _progress(err, quiet, "scanning") as show:
            result = scanning.scan(
                prices, params, min_signal=min_signal, top=top, min_bars=min_bars,
                num_threads=num_threads, device=device, progress=show,
            )  # fmt: skip
        _write(result, form, output, no_color)
        if plot is not None and result.rows:
            with _progress(err, quiet, "drawing") as show:
                pictures = _draw(result, prices, plot, plot_bars, show)
            if not quiet:
                _say(f"{pictures} pictures in {plot}")
    if not quiet:
        for note in result.warnings:
            _say(f"warning: {note.symbol}: {note.message}")
        counts = result.counts
        _say(", ".join(f"{number} {what}" for what, number in counts.items()))
    for failure in result.failures:
        _say(f"failed: {failure.symbol}: {failure.message}")
    if not result.rows:
        _say("nothing could be scanned")
        raise typer.Exit(Code.FAILED)
    if result.failures:
        raise typer.Exit(Code.SOME_FAILED)


# ---- bench, doctor, config ----


@app.command()
@_exit_codes
def bench(
    domain: Annotated[str | None, typer.Argument(help="ma, equity or atc; by default all.")] = None,
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
    from . import bench as benchmarks

    err = _console(no_color, stderr=True)
    show = None if quiet else lambda text: err.print(text, style="dim")
    report = benchmarks.run(domain, rounds=rounds, min_seconds=min_seconds, progress=show)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if form is Report.JSON:
        _print_json(report)
        return
    console = _console(no_color)
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


def _size(number: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number and number % size == 0:
            return f"{number // size} {unit}"
    return f"{number} B"


def _setting_text(key: str, value: Any) -> str:
    if value is None:
        return "not set"
    is_size = key.startswith("memory.") and isinstance(value, int) and not isinstance(value, bool)
    return _size(value) if is_size else str(value)


@app.command()
@_exit_codes
def tune(
    device: Annotated[str, typer.Option(help="The device to measure besides the CPU.")] = "cuda",
    form: As = Report.TABLE,
) -> None:
    """Measure this machine, so that device='auto' decides by its own rates."""
    from .tune import tune as measure

    rates, about, path = measure(device)
    if form is Report.JSON:
        found = {"device": about, "path": str(path), "rates": dataclasses.asdict(rates)}
        _print_json({"schema": "warpquant.tune/1", **found})
    else:
        for name, value in dataclasses.asdict(rates).items():
            print(f"{name:18} {value}")
        print(f"{'device':18} {about}\nwritten to {path}")


@app.command()
@_exit_codes
def doctor(form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Describe this installation and what it can use.

    The exit code is 0 unless something that is configured cannot work.
    """
    report = examine()
    if form is Report.JSON:
        _print_json({"schema": "warpquant.doctor/1", **report})
    else:
        _print_report(_console(no_color), report)
    if report["problems"]:
        raise typer.Exit(Code.FAILED)


def _print_report(console: Console, report: dict[str, Any]) -> None:
    cpu, cuda, build = report["cpu"], report["cuda"], report["build"]
    versions = [(name, str(report[name])) for name in ("warpquant", "python", "numpy", "platform", "executable")]
    _print_pairs(console, "Installation", [*versions, *((k, _listed(v)) for k, v in build.items() if k != "version")])
    simd = cpu["simd"] if cpu["simd"] == cpu["best_simd"] else f"{cpu['simd']} (the processor has {cpu['best_simd']})"
    _print_pairs(
        console, "Processor",
        [("processors", str(cpu["processors"])), ("threads of a call", str(cpu["threads"])), ("instructions", simd)],
    )  # fmt: skip
    lines = [("usable", "no: " + cuda["message"] if cuda.get("message") else "yes")]
    lines += [(k, _listed(v)) for k, v in cuda.items() if k not in ("message", "devices", "built")]
    for number, device in enumerate(cuda["devices"]):
        lines += [(f"cuda:{number} {k}", _listed(v)) for k, v in device.items()]
    _print_pairs(console, "CUDA", lines)
    _print_pairs(
        console, "Settings",
        [(key, _setting_text(key, s["value"]), s["origin"]) for key, s in report["settings"].items()],
    )  # fmt: skip
    _print_pairs(console, "Packages", [(k, v or "not installed") for k, v in report["packages"].items()])
    if report["problems"]:
        _print_pairs(console, "[red]Problems[/red]", [(text,) for text in report["problems"]])
    else:
        console.print("[bold]No problems found.[/bold]")


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@config_app.command()
@_exit_codes
def show(form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Show every setting, its value and where that comes from."""
    settings = config.show()
    if form is Report.JSON:
        _print_json({"schema": "warpquant.config/1", "settings": [dataclasses.asdict(s) for s in settings]})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("Setting", "Value", "Origin"):
        table.add_column(name, no_wrap=True)
    for s in settings:
        table.add_row(s.key, _setting_text(s.key, s.value), Text(s.origin))
    _console(no_color).print(table)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Quantitative research at the speed of the machine."""
