# SPDX-License-Identifier: Apache-2.0
"""What the commands share: the application, exit codes, options, and ways of printing."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import inspect
import json
import logging
import pathlib
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpquant import __version__, atc
from warpquant.errors import DeviceUnavailableError, ParameterError, WarpquantError


class Code(enum.IntEnum):
    """Exit codes; docs/scan.md explains them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    NO_DEVICE = 4
    NO_MEMORY = 5
    INTERRUPTED = 130


class Report(str, enum.Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"


class Format(str, enum.Enum):
    """How a table of many rows is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


app = typer.Typer(
    name="warpquant",
    help="Quantitative research at the speed of the machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text; the variable NO_COLOR does the same.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, warnings or summary; failures stay.")]
As = Annotated[Report, typer.Option("--format", "-f", help="How to write it.")]


def format_of(form: Format | None, output: pathlib.Path | None) -> Format:
    """What was asked for, or what the file's suffix says."""
    if form is None:
        suffixes = {f".{f.value}": f for f in Format} | {"": Format.TABLE, ".txt": Format.TABLE}
        suffix = output.suffix.lower() if output else ""
        if suffix not in suffixes:
            raise typer.BadParameter(
                f"{suffix!r} is no format that can be written; use --format, or .csv, .json, .parquet, .txt",
                param_hint="--output",
            )
        form = suffixes[suffix]
    if form is Format.PARQUET and output is None:
        raise typer.BadParameter("--format parquet needs --output")
    return form


def console_of(no_color: bool, *, stderr: bool = False, file: Any = None) -> Console:
    """Where to print; what is no terminal is as wide as the tables need."""
    console = Console(stderr=stderr, file=file, no_color=no_color or None, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    return console


def printable(text: str) -> str:
    """A text of somebody else's, such as a symbol, without what could move a cursor or break a line."""
    return "".join("\ufffd" if unicodedata.category(c).startswith("C") else c for c in text)


def say(message: str) -> None:
    """A message of the program on stderr."""
    typer.echo(f"warpquant: {message}", err=True)


def exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """End a command with a message and the code that fits, instead of a traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(Code.INTERRUPTED) from None
        except DeviceUnavailableError as error:
            say(str(error))
            raise typer.Exit(Code.NO_DEVICE) from error
        except MemoryError as error:
            say(f"out of memory{f': {error}' if str(error) else ''}")
            raise typer.Exit(Code.NO_MEMORY) from error
        except ParameterError as error:
            say(str(error))
            raise typer.Exit(Code.USAGE) from error
        except BrokenPipeError:
            raise
        except (WarpquantError, ImportError, OSError) as error:
            say(str(error))
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


#: Switches that are the same in every `compat`, or here; of the others that decides.
_SAME = {"nan_policy": "skip", "length_rule": "raise", "on_short": "neutral"}
_OWN_HELP = {
    "nan_policy": "What a missing bar does, whatever compat says.",
    "length_rule": "What is done about lengths that are too short, whatever compat says.",
    "on_short": "What is done about a series shorter than an average, whatever compat says.",
}


def atc_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of `Params`; those used reach it as the mapping `params`."""
    fields = dataclasses.fields(atc.Params)
    kinds: dict[str, Any] = {"int": int | None, "float": float | None, "bool": bool | None}
    choices = {**atc._SWITCHES, "robustness": tuple(atc._OFFSETS), "compat": tuple(atc._COMPAT)}
    aliases = {"hull_len": ["--hma-len"], "La": ["--lambda"], "De": ["--decay"]}
    helps = _param_help()
    options = []
    for field in fields:
        flag = "--" + field.name.lower().replace("_", "-")
        default = _SAME.get(field.name, field.default)
        option = typer.Option(
            None,
            *([f"{flag}/--no{flag[1:]}"] if field.type == "bool" else [flag, *aliases.get(field.name, [])]),
            help=_OWN_HELP.get(field.name, helps.get(field.name, "")),
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
def log_to_stderr(verbose: int) -> Iterator[None]:
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
def progress_bar(console: Console, quiet: bool, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_json(document: dict[str, Any]) -> None:
    """A document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_pairs(console: Console, title: str, pairs: Iterable[tuple[str, ...]]) -> None:
    """A titled block of rows whose first cell is a name."""
    console.print(f"[bold]{title}[/bold]")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for pair in pairs:
        table.add_row(*map(Text, pair))  # as it is: brackets would pass for markup
    console.print(table)


def _size(number: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number and number % size == 0:
            return f"{number // size} {unit}"
    return f"{number} B"


def setting_text(key: str, value: Any) -> str:
    """The value of a setting, with its unit."""
    if value is None:
        return "not set"
    is_size = key.startswith(("memory.", "cache.")) and isinstance(value, int) and not isinstance(value, bool)
    return _size(value) if is_size else str(value)


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
