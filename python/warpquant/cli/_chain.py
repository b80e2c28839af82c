# SPDX-License-Identifier: Apache-2.0
"""What the commands on option chains share: options, reading, tables, pictures."""

from __future__ import annotations

import csv
import enum
import functools
import inspect
import io
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from ._app import Code, Format, console_of, printable, say

if TYPE_CHECKING:
    from warpquant.options.chain import Chain


class Side(str, enum.Enum):
    """Which price of a quote."""

    BID = "bid"
    MID = "mid"
    ASK = "ask"


class Model(str, enum.Enum):
    """Which model."""

    BSM = "bsm"
    BLACK76 = "black76"
    BACHELIER = "bachelier"


def _about(kind: Any, help: str, *names: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*names, help=help, rich_help_panel="The chain", **more)]


_READING: dict[str, Any] = {
    "demo": _about(bool, "Take the sample chain of the package.", "--demo"),
    "column": _about(
        list[str] | None,
        "Column of a part: strike, expiry, is_call, bid, ask, price, spot, rate, dividend, time. Again for more; "
        "others are found by name.",
        metavar="PART=NAME",
    ),
    "where": _about(list[str] | None, "Only rows with this text in a column. Again for more.", metavar="NAME=TEXT"),
    "spot": _about(float | None, "Price of the underlying.", show_default="its column"),
    "rate": _about(
        float | None,
        "Rate, continuously compounded per year.",
        show_default="its column, else by put-call parity",
    ),
    "dividend": _about(float | None, "Dividend yield, likewise.", show_default="its column, else by put-call parity"),
    "years": _about(float | None, "Time to expiry of all rows.", show_default="by their dates"),
    "as_of": _about(str | None, "The moment, such as 2015-12-24T12:00.", show_default="the last time of the file"),
    "at": _about(str | None, "Of a file with many times which: HH:MM, or a whole time.", show_default="the last"),
    "close": _about(str, "Time of day at which options end."),
    "expiry": _about(list[str] | None, "Only this expiry. Again for more."),
    "model": _about(Model | None, "Model.", show_default="bsm, without a spot black76"),
    "inverse": _about(bool, "Prices are in units of the underlying.", "--inverse"),
}
_DEFAULTS: dict[str, Any] = {"demo": False, "close": "16:00", "inverse": False}

Chains = Annotated[
    pathlib.Path | None,
    typer.Argument(metavar="CHAIN", help="CSV, Parquet or Feather file.", exists=True, dir_okay=False, readable=True),
]
PriceSide = Annotated[Side, typer.Option("--price", help="Price whose volatility to take.")]
As = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to write it.", show_default="by the suffix of --output, else table"),
]
Output = Annotated[
    pathlib.Path | None,
    typer.Option("--output", "-o", dir_okay=False, help="File to write to.", show_default="stdout"),
]
Rows = Annotated[int, typer.Option(min=1, help="Most rows of a table; other formats have all.")]


def reads_chain(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a chain is read; they reach it as the mapping `reading`."""
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=kind)
        for name, kind in _READING.items()
    ]

    @functools.wraps(command)
    def with_reading(**values: Any) -> None:
        reading = {name: values.pop(name) for name in _READING}
        command(**values, reading=reading)

    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "reading"]
    with_reading.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return with_reading


def _pairs(option: str, values: list[str] | None) -> dict[str, str]:
    pairs = {}
    for value in values or ():
        name, sign, text = value.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{value!r} is not of the form NAME=VALUE", param_hint=option)
        pairs[name] = text
    return pairs


def chain_of(file: pathlib.Path | None, reading: Mapping[str, Any]) -> Chain:
    """The chain that a command is about."""
    from warpquant import data, options

    if (file is None) != reading["demo"]:
        raise typer.BadParameter("give either a file or --demo" + (", not both" if file else ""))
    model = reading["model"]
    chain = options.read_chain(
        data.goog_options() if file is None else file, columns=_pairs("--column", reading["column"]),
        where=_pairs("--where", reading["where"]), spot=reading["spot"], rate=reading["rate"],
        dividend=reading["dividend"], years=reading["years"], as_of=reading["as_of"], at=reading["at"],
        close=reading["close"], model=None if model is None else model.value, inverse=reading["inverse"],
    )  # fmt: skip
    return chain if not reading["expiry"] else chain.only(reading["expiry"])


def write(
    columns: Mapping[str, Any], chain: Chain, form: Format, output: pathlib.Path | None, no_color: bool, rows: int
) -> None:
    """Columns of a chain in the form asked for, to a file or to stdout."""
    if form is Format.PARQUET:
        import pyarrow as pa
        import pyarrow.parquet

        table = pa.table({name: pa.array(np.asarray(values).tolist() if np.asarray(values).dtype == object else values)
                          for name, values in columns.items()})  # fmt: skip
        pyarrow.parquet.write_table(table, output)
        return
    text = io.StringIO(newline="")
    if form is Format.JSON:
        lists = {name: _plain(values) for name, values in columns.items()}
        records = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        json.dump({"terms": [_jsonable(vars(t)) for t in chain.terms.values()], "quotes": records}, text, indent=1)
        text.write("\n")
    elif form is Format.CSV:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*map(_plain, columns.values()), strict=True))
    else:
        console = console_of(no_color) if output is None else console_of(True, file=text)
        console.print(_terms(chain))
        console.print()
        console.print(_quotes(columns, _near(chain, rows)))
        if len(chain) > rows:
            count = f"{rows:,} of {len(chain):,} quotes"
            console.print(f"{count}, the nearest to the money; --rows, --expiry or another --format show more")
        if output is None:
            return
    if output is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        output.write_text(text.getvalue(), encoding="utf-8")


def _plain(values: Any) -> list[Any]:
    """Values for JSON and CSV: NaN is None."""
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in np.asarray(values).tolist()]


def _jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in values.items()}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if not np.isfinite(value) else f"{value:.6g}"
    return printable(str(value))


def _terms(chain: Chain) -> Table:
    table = Table(title="Expiries", title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("Expiry", "Years", "Forward", "Rate", "Dividend", "From", "Pairs", "Outliers", "Error"):
        table.add_column(name, justify="left" if name in ("Expiry", "From") else "right", no_wrap=True)
    for t in chain.terms.values():
        numbers = [_cell(round(v, 6)) for v in (t.years, t.forward, t.rate, t.dividend)]
        table.add_row(t.expiry, *numbers, t.source, str(t.pairs), str(t.outliers), _cell(round(t.error, 4)))
    return table


def _near(chain: Chain, most: int) -> Any:
    """So many rows, those nearest to the money."""
    with np.errstate(all="ignore"):
        distance = np.abs(np.log(chain.strike / chain.of("forward")))
    return np.sort(np.argsort(np.nan_to_num(distance, nan=np.inf), kind="stable")[:most])


def _quotes(columns: Mapping[str, Any], rows: Any) -> Table:
    table = Table(title="Quotes", title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        left = name in ("expiry", "right", "status", "quote")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in zip(*(np.asarray(values)[rows].tolist() for values in columns.values()), strict=True):
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def finish(status: Any, quiet: bool) -> None:
    """Say what became of the quotes, and end with the code that fits."""
    from warpquant.options.chain import STATUSES

    counts = {name: int(np.sum(status == code)) for code, name in enumerate(STATUSES)}
    if not quiet:
        say(", ".join(f"{number:,} {name}" for name, number in counts.items() if number or name == "ok"))
    if not counts["ok"]:
        say("no quote has an implied volatility")
        raise typer.Exit(Code.FAILED)
