# SPDX-License-Identifier: Apache-2.0
"""`warpquant optimize`."""

from __future__ import annotations

import csv
import decimal
import enum
import functools
import io
import itertools
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warpquant import __version__

from ._app import (
    Code,
    Format,
    NoColor,
    Quiet,
    app,
    atc_options,
    console_of,
    exit_codes,
    format_of,
    print_pairs,
    printable,
    progress_bar,
    say,
)  # fmt: skip

if TYPE_CHECKING:
    from warpquant.evaluate import Evaluation
    from warpquant.sweep import Grid, SweepResult

#: Name and version of the JSON document; the number grows when a field changes its meaning or goes.
SCHEMA = "warpquant.optimize/1"

_BACKTEST = "Backtest"
_SHOWN = ("sharpe", "annual_return", "max_drawdown", "calmar")


class Side(str, enum.Enum):
    """Positions to take."""

    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class Sizing(str, enum.Enum):
    """Sizes of positions."""

    FULL = "full"
    SIGNAL = "signal"
    VOLATILITY = "volatility"


class Signal(str, enum.Enum):
    """What to follow."""

    AVERAGE = "average"
    DIRECTION = "direction"


def _value(text: str) -> Any:
    """A value as ATC takes it: whole number, number, true or false, else text."""
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)


def _values(text: str) -> list[Any]:
    """``20:40:2``, both ends included, or ``0.01,0.02``; decimals are counted as decimals."""
    if ":" not in text:
        return [_value(part.strip()) for part in text.split(",")]
    try:
        start, stop, *rest = (decimal.Decimal(part) for part in text.split(":"))
        (step,) = rest or (decimal.Decimal(1),)
        if step <= 0 or stop < start or not (stop - start + step).is_finite():
            raise ValueError
    except (decimal.InvalidOperation, ValueError):
        raise typer.BadParameter(f"--grid: {text!r} is no range; write START:STOP:STEP, as 20:40:2") from None
    count = int((stop - start) / step) + 1
    return [_value(str(start + i * step)) for i in range(count)]


def _axes(texts: list[str]) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not values:
            raise typer.BadParameter(f"--grid: {text!r} names no values; write NAME=20:40:2 or NAME=0.01,0.02")
        if name in axes:
            raise typer.BadParameter(f"--grid: {name} is given twice")
        axes[name] = _values(values)
    return axes


def _windows(text: str | None, bars: int) -> tuple[int, int]:
    """TRAIN:TEST; half and a tenth of the bars if nothing is said, so that there are five tests."""
    if text is None:
        return max(2, bars // 2), max(1, -(-bars // 10))
    if not re.fullmatch(r"\d+:\d+", text):
        raise typer.BadParameter(f"--walk-forward: {text!r} is not TRAIN:TEST, as 1000:250")
    train, test = map(int, text.split(":"))
    return train, test


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


def _figures(values: dict[str, float]) -> list[str]:
    texts = {name: f"{values[name]:+.2f}" for name in ("sharpe", "calmar")}
    texts |= {name: _percent(values[name]) for name in ("annual_return", "max_drawdown")}
    return [texts[name] for name in _SHOWN]


def _said(varied: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in varied.items())


def _overview(found: dict[str, Evaluation]) -> Table:
    """One row for each symbol: what the best set promises, and what choosing kept."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    heads = ("Symbol", "Best in sample", "Sharpe", "Annual", "Drawdown", "Calmar", "Deflated", "Overfit")
    for name in (*heads, "| Out of sample: Sharpe", "Annual", "Drawdown", "Calmar"):
        table.add_column(name, justify="left" if name in heads[:2] else "right", no_wrap=True)
    for symbol, one in found.items():
        over = "-" if one.overfitting is None else f"{one.overfitting.probability:.2f}"
        table.add_row(
            Text(printable(symbol)), Text(_said(one.best.varied)), *_figures(one.best.values),
            f"{one.deflated_sharpe:.3f}", over, *_figures(one.metrics),
        )  # fmt: skip
    return table


def _fold_table(one: Evaluation) -> Table:
    table = Table(title="Folds", title_style="bold", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("Test bars", "Chosen", one.metric, "out of sample", "Annual", "Drawdown"):
        table.add_column(name, justify="left" if name == "Chosen" else "right", no_wrap=True)
    for fold in one.folds:
        inside = "-" if fold.chosen is None else f"{fold.chosen.values[one.metric]:+.2f}"
        table.add_row(
            f"{fold.test[0]}-{fold.test[1] - 1}", Text("none" if fold.chosen is None else _said(fold.chosen.varied)),
            inside, f"{fold.metrics[one.metric]:+.2f}", _percent(fold.metrics["annual_return"]),
            _percent(fold.metrics["max_drawdown"]),
        )  # fmt: skip
    return table


def _top_table(result: SweepResult, metric: str, top: int) -> Table:
    """The best sets in sample, by the mean over all symbols."""
    column = result.column(metric)
    order = np.argsort(-column, kind="stable")[: min(top, int(np.isfinite(column).sum()))]
    varied = result.grid.columns(order)
    of = f", mean of {len(result.symbols)} symbols" if result.symbols is not None and len(result.symbols) > 1 else ""
    title = f"Best {len(order)} of {len(result.grid)} sets, in sample{of}"
    table = Table(title=title, title_style="bold", title_justify="left", box=None, padding=(0, 1, 0, 0))
    shown = [name for name in (*_SHOWN, "trades", "exposure") if name in result.values]
    for name in ("set", *varied, *shown):
        table.add_column(name, justify="right", no_wrap=True)
    columns = {name: result.column(name) for name in shown}
    for place, at in enumerate(order):
        values = [f"{v[place]:.6g}" if isinstance(v[place], np.number) else str(v[place]) for v in varied.values()]
        table.add_row(str(at), *values, *(f"{columns[name][at]:.4g}" for name in shown))
    return table


def _print(console: Console, found: dict[str, Evaluation], result: SweepResult, metric: str, top: int) -> None:
    console.print(_overview(found))
    console.print()
    if len(found) == 1:
        (one,) = found.values()
        sets, sharpe, luck = len(one.grid), one.best.values["sharpe"], one.expected_maximum_sharpe
        pairs = [
            ("Sharpe ratio", f"{sharpe:.2f} in sample; {luck:.2f} is to expect of the best of {sets} without skill"),
            ("deflated", f"{one.deflated_sharpe:.3f} is the probability that it is more than that luck"),
            ("probabilistic", f"{one.probabilistic_sharpe:.3f} would be that of more than 0, had it been the only set"),
        ]
        if one.overfitting is not None:
            share = f"{one.overfitting.probability:.2f}"
            pairs.append(
                ("overfitting", f"in {share} of the ways to halve the bars the best is no better than the median")
            )
        print_pairs(console, "How much of it is luck", pairs)
        console.print()
        console.print(_fold_table(one))
        console.print()
    console.print(_top_table(result, metric, top))


def _document(found: dict[str, Evaluation], result: SweepResult, failures: list[Any]) -> dict[str, Any]:
    grid: Grid = result.grid
    return {
        "schema": SCHEMA,
        "warpquant": __version__,
        "grid": {name: list(values) for name, values in grid.axes.items()},
        "sets": len(grid),
        "skipped": grid.skipped,
        "results": [{"symbol": symbol, **one.to_dict()} for symbol, one in found.items()],
        "failures": [{"symbol": f.symbol, "reason": f.reason, "message": f.message} for f in failures],
    }


def _write(
    found: dict[str, Evaluation], result: SweepResult, form: Format, output: pathlib.Path | None,
    no_color: bool, metric: str, top: int, failures: list[Any],
) -> None:  # fmt: skip
    """The result in the form asked for, to a file or to stdout."""
    if form is Format.PARQUET:
        table = result.to_arrow()
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, output)
        return
    text = io.StringIO(newline="")
    if form is Format.JSON:
        import json

        text.write(json.dumps(_document(found, result, failures), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif form is Format.CSV:
        columns = {name: values.tolist() for name, values in result.to_dict().items()}
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    elif output is None:
        _print(console_of(no_color), found, result, metric, top)
        return
    else:
        _print(console_of(True, file=text), found, result, metric, top)
    if output is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        output.write_text(text.getvalue(), encoding="utf-8")


def _draw(
    found: dict[str, Evaluation], result: SweepResult, metric: str, folder: pathlib.Path, portfolio: bool,
    show: Callable[[int, int], None],
) -> int:  # fmt: skip
    """For each symbol the record out of sample, and heatmaps of all pairs of parameters; gives their number."""
    from warpquant import plot

    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(itertools.combinations(result.grid.names, 2))
    total, done = len(found) * (1 + len(pairs)), 0
    for number, (symbol, one) in enumerate(found.items()):
        stem = f"{number + 1:03d}_" if len(found) > 1 else ""
        stem += re.sub(r"[^\w.+-]+", "_", symbol).strip(".") or "_"
        plot.save(plot.out_of_sample(one, title=symbol), folder / f"{stem}.png")
        done += 1
        for y, x in pairs:
            pivot = result.pivot(x, y, metric, symbol=None if portfolio or result.symbols is None else symbol)
            if np.isfinite(pivot.values).any():
                plot.save(plot.heatmap(pivot, title=symbol), folder / f"{stem}_{metric}_{y}_{x}.png")
                done += 1
            show(done, total)
    return done


@app.command(
    epilog="Example: warpquant optimize prices.csv --grid length=20:40:5 --grid La=0.01,0.02 --fee 0.0005 "
    "--walk-forward 1000:250 --plot pictures"
)
@atc_options
@exit_codes
def optimize(
    files: Annotated[
        list[pathlib.Path] | None,
        typer.Argument(help="CSV, Parquet or Feather files.", exists=True, dir_okay=False, readable=True),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Use the sample data of the package.")] = False,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            "-g",
            metavar="NAME=VALUES",
            help="Values of a parameter to try: 20:40:2 (both ends included) or 0.01,0.02; length stands for the base "
            "lengths of all six families. Once for each parameter.",
        ),
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option(help="Symbols to take from the files.", show_default="all")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What to choose by: sharpe, sortino, calmar, total_return or annual_return.")
    ] = "sharpe",
    walk_forward: Annotated[
        str | None,
        typer.Option(metavar="TRAIN:TEST", help="Bars to choose on and to follow.", show_default="half, a tenth"),
    ] = None,
    anchored: Annotated[bool, typer.Option("--anchored", help="Choose on all bars so far.")] = False,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Purged k-fold in the place of walk-forward: number of folds.")
    ] = None,
    purge: Annotated[
        int | None,
        typer.Option(min=0, help="Bars left out beside a test.", show_default="delay - 1; folds: delay"),
    ] = None,
    embargo: Annotated[
        int | None, typer.Option(min=0, help="With folds: more bars left out after one.", show_default="a hundredth")
    ] = None,
    portfolio: Annotated[
        bool, typer.Option("--portfolio", help="One set for all symbols, held with equal weights.")
    ] = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out combinations that ATC refuses.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Sets in the table of the best.")] = 10,
    fee: Annotated[float, typer.Option(help="Share of what is traded.", rich_help_panel=_BACKTEST)] = 0.0,
    slippage: Annotated[float, typer.Option(help="Share of what is traded.", rich_help_panel=_BACKTEST)] = 0.0,
    funding: Annotated[float, typer.Option(help="Longs pay on each bar.", rich_help_panel=_BACKTEST)] = 0.0,
    borrow: Annotated[float, typer.Option(help="Shorts pay on each bar.", rich_help_panel=_BACKTEST)] = 0.0,
    follow: Annotated[Signal, typer.Option(help="Output to follow.", rich_help_panel=_BACKTEST)] = Signal.AVERAGE,
    side: Annotated[Side, typer.Option(help="Positions to take.", rich_help_panel=_BACKTEST)] = Side.BOTH,
    long_above: Annotated[float, typer.Option(help="Average to go long above.", rich_help_panel=_BACKTEST)] = 0.1,
    short_below: Annotated[float, typer.Option(help="Average to go short below.", rich_help_panel=_BACKTEST)] = -0.1,
    long_exit: Annotated[float, typer.Option(help="Average to leave a long below.", rich_help_panel=_BACKTEST)] = 0.0,
    short_exit: Annotated[float, typer.Option(help="Average to leave a short above.", rich_help_panel=_BACKTEST)] = 0.0,
    sizing: Annotated[Sizing, typer.Option(help="Size of positions.", rich_help_panel=_BACKTEST)] = Sizing.FULL,
    delay: Annotated[
        int, typer.Option(min=1, help="Bars from a signal to the first return it earns.", rich_help_panel=_BACKTEST)
    ] = 1,
    periods_per_year: Annotated[float, typer.Option(help="Bars of a year.", rich_help_panel=_BACKTEST)] = 252.0,
    risk_free: Annotated[float, typer.Option(help="Annual rate.", rich_help_panel=_BACKTEST)] = 0.0,
    symbol_col: Annotated[str | None, typer.Option(help="Column of symbols.")] = None,
    time_col: Annotated[str | None, typer.Option(help="Column of times.")] = None,
    price_col: Annotated[str | None, typer.Option(help="Column of prices.")] = None,
    time_format: Annotated[str | None, typer.Option(help="Format of times that are text, such as %d/%m/%Y.")] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to write it.", show_default="by the suffix of --output, else table"),
    ] = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to write to.", show_default="stdout"),
    ] = None,
    plot: Annotated[
        pathlib.Path | None, typer.Option(file_okay=False, help="Folder for heatmaps and records out of sample.")
    ] = None,
    num_threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")] = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
    params: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Find the best parameters of ATC, and say what they are worth out of sample.

    Every combination is tested on all bars; then sets are chosen on some bars and followed on the next ones. JSON has
    the evaluations, CSV and Parquet the table of all sets.

    Exit codes: 0 all well, 1 the run failed, 2 wrong usage, 3 some symbols failed, 5 out of memory, 130 interrupted.
    """
    from warpquant import backtest, data, evaluate
    from warpquant import sweep as sweeping
    from warpquant.scan import Failure, read_prices

    if bool(files) == demo:
        raise typer.BadParameter("give either files or --demo" + (", not both" if demo else ""))
    axes = _axes(grid or [])
    if not axes:
        raise typer.BadParameter("nothing varies; give --grid, as --grid length=20:40:2")
    twice = [name for name in axes if name in params]
    if twice:
        raise typer.BadParameter(f"--{twice[0].replace('_', '-')}: varies in --grid already")
    if folds is not None and (walk_forward is not None or anchored):
        raise typer.BadParameter("--folds does not go with --walk-forward and --anchored; choose one of the two")
    if folds is None and embargo is not None:
        raise typer.BadParameter("--embargo goes with --folds")
    form = format_of(form, output)

    sets = sweeping.Grid(axes, base={"nan_policy": "skip", **params}, invalid="skip" if skip_invalid else "raise")
    trading: dict[str, Any] = {
        "rules": backtest.Rules(
            signal=follow.value, side=side.value, long_above=long_above, short_below=short_below, long_exit=long_exit,
            short_exit=short_exit, sizing=sizing.value, delay=delay,
        ),
        "costs": backtest.Costs(fee=fee, slippage=slippage, funding=funding, borrow=borrow),
        "periods_per_year": periods_per_year,
        "risk_free": risk_free,
        "num_threads": num_threads,
    }  # fmt: skip
    if metric not in evaluate.METRICS:
        raise typer.BadParameter(f"--metric: {metric!r} is unknown; accepted are {', '.join(evaluate.METRICS)}")
    prices: Any = (
        data.sp500_20()
        if demo
        else read_prices(
            files or [], symbol_col=symbol_col, time_col=time_col, price_col=price_col, time_format=time_format
        )
    )
    failures = list(getattr(prices, "failures", ()))
    missing = [name for name in symbol or () if name not in prices]
    if missing:
        raise typer.BadParameter(f"--symbol: {missing[0]!r} is not in the files")
    closes = {name: prices[name] for name in symbol or prices}

    def evaluated(one: Any, bars: int, show: Callable[[int, int], None]) -> Evaluation:
        how = {**trading, "metric": metric, "progress": show}
        if folds is not None:
            return evaluate.purged_kfold(one, sets, folds=folds, purge=purge, embargo=embargo, **how)
        train, test = _windows(walk_forward, bars)
        return evaluate.walk_forward(one, sets, train=train, test=test, anchored=anchored, purge=purge, **how)

    err = console_of(no_color, stderr=True)
    found: dict[str, Evaluation] = {}
    studied: dict[str, Any] = {}
    _windows(walk_forward, 2)
    if portfolio:
        with progress_bar(err, quiet, "evaluating") as show:
            bars = max((len(close) for close in closes.values()), default=0)
            found["portfolio"] = evaluated(closes, bars, show)
            failures += found["portfolio"].failures
        studied = {name: close for name, close in closes.items() if name in (found["portfolio"].symbols or ())}
    for name, close in {} if portfolio else closes.items():
        with progress_bar(err, quiet, f"evaluating {name}") as show:
            one = _attempt(functools.partial(evaluated, close, len(close), show))
        if isinstance(one, str):
            failures.append(Failure(name, "rejected", one))
        else:
            found[name], studied[name] = one, close
    if found:
        with progress_bar(err, quiet, "sweeping") as show:
            result = sweeping.sweep(studied, sets, progress=show, **trading)
        _write(found, result, form, output, no_color, metric, top, failures)
        if plot is not None:
            with progress_bar(err, quiet, "drawing") as show:
                pictures = _draw(found, result, metric, plot, portfolio, show)
            if not quiet:
                say(f"{pictures} pictures in {plot}")
    if not quiet:
        for note in getattr(prices, "warnings", ()):
            say(printable(f"warning: {note.symbol}: {note.message}"))
        if sets.skipped:
            say(f"{sets.skipped} combinations left out: {sets.refusals[0]}")
        say(f"{len(sets)} sets, {len(found)} evaluated, {len(failures)} failed")
    for failure in failures:
        say(printable(f"failed: {failure.symbol}: {failure.message}"))
    if not found:
        say("nothing could be evaluated")
        raise typer.Exit(Code.FAILED)
    if failures:
        raise typer.Exit(Code.SOME_FAILED)


def _attempt(evaluate: Callable[[], Evaluation]) -> Evaluation | str:
    """An evaluation, or why a symbol has none."""
    from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError

    try:
        return evaluate()
    except (ParameterError, ShapeError, DTypeError, LayoutError) as error:
        return str(error)
