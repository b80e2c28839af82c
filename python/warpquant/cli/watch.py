# SPDX-License-Identifier: Apache-2.0
"""`warpquant watch`."""

from __future__ import annotations

import contextlib
import pathlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._app import Code, NoColor, Quiet, Report, app, atc_options, console_of, exit_codes, log_to_stderr, printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from warpquant.watch import Change, Watch


class _Signals:
    """Ends a watch between two batches when the process is asked to end; Ctrl-C a second time ends it at once."""

    def __init__(self, watch: Watch) -> None:
        self.code = 0
        self._watch = watch

    def __call__(self, number: int, frame: Any) -> None:
        if self.code:
            raise KeyboardInterrupt
        self.code = 128 + number
        self._watch.stop()


@contextlib.contextmanager
def _signals(watch: Watch) -> Iterator[_Signals]:
    handler = _Signals(watch)
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)


_TITLES = f"{'Time':20}  {'Symbol':10}  {'Frame':>5}  {'Price':>12}  {'Average':>7}  {'Trend':>5}  {'Dir':>3}  Changed"


def _line(change: Change) -> str:
    from warpquant._track import time_text

    return (
        f"{time_text(change.time) or '-':20}  {printable(change.symbol):10}  {change.timeframe or '-':>5}  "
        f"{change.price:>12.6g}  "
        f"{change.average:>+7.3f}  {change.trend:>+5d}  {change.direction:>+3d}  {', '.join(change.changes)}"
        f"{' (again)' if change.again else ''}"
    )


class _Show:
    """Prints changes, each batch at once."""

    def __init__(self, form: Report, console: Console) -> None:
        self._form, self._console, self._is_first = form, console, True

    def __call__(self, changes: list[Change]) -> None:
        if self._form is Report.JSON:
            typer.echo("\n".join(change.to_json() for change in changes))
            return
        if self._is_first:
            self._console.print(_TITLES, style="bold", markup=False, soft_wrap=True)
            self._is_first = False
        for change in changes:
            style = ("cyan" if change.direction > 0 else "yellow") if change.is_flip else None
            self._console.print(_line(change), style=style, markup=False, soft_wrap=True)


@app.command(
    epilog='Example: warpquant watch prices.csv --timeframe 1h --state watch.state --on-flip "notify-send flip"'
)
@atc_options
@exit_codes
def watch(
    source: Annotated[
        str,
        typer.Argument(help="A file that grows (CSV or lines of JSON), a folder, or - for lines of JSON on stdin."),
    ],
    timeframe: Annotated[
        list[str] | None,
        typer.Option(help="Timeframe of the bars: 15m, 1h, 1d, 1w, 1M; may be repeated.", show_default="as they come"),
    ] = None,
    tz: Annotated[str, typer.Option(help="Time zone of timeframes.")] = "UTC",
    session: Annotated[str, typer.Option(help="When their day begins, such as 09:30 or -07:00.")] = "00:00",
    stamp: Annotated[str, typer.Option(help="start or end: which time of a bar the source gives.")] = "start",
    symbol_col: Annotated[str | None, typer.Option(help="Column or field of symbols.")] = None,
    time_col: Annotated[str | None, typer.Option(help="Column or field of times.")] = None,
    price_col: Annotated[str | None, typer.Option(help="Column or field of prices.")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="Format of times that are text, such as %d/%m/%Y."),
    ] = None,
    history: Annotated[
        list[pathlib.Path] | None,
        typer.Option(help="File of earlier bars; may be repeated.", exists=True, dir_okay=False, readable=True),
    ] = None,
    from_now: Annotated[bool, typer.Option("--from-now", help="Say nothing of what is there at the start.")] = False,
    min_change: Annotated[
        float | None,
        typer.Option(min=0.0, help="Also tell of averages this far from the last one told.", show_default="never"),
    ] = None,
    state: Annotated[
        pathlib.Path | None,
        typer.Option(dir_okay=False, help="File to save the state in, and to go on from."),
    ] = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to add every change to, once, as a line of JSON."),
    ] = None,
    on_flip: Annotated[
        str | None,
        typer.Option(help="Command to run on each flip, its JSON on stdin; without a shell."),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Address to POST the JSON of each flip to.")] = None,
    action_timeout: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds for a command or a try.", show_default="60 and 10"),
    ] = None,
    form: Annotated[Report, typer.Option("--format", "-f", help="How to write changes.")] = Report.TABLE,
    once: Annotated[bool, typer.Option("--once", help="End when everything there is has been taken in.")] = False,
    interval: Annotated[float, typer.Option(min=0.001, help="Seconds between looks at files.")] = 1.0,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve metrics for Prometheus on this port.", show_default="off"),
    ] = None,
    metrics_bind: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
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
    """Follow prices as they come and print what changes: flips of the direction, turns of the trend.

    Exit codes: 0 all well, 1 the run failed, 2 wrong usage, 3 some lines could not be used, 4 device not available,
    5 out of memory, 130 interrupted, 143 terminated; the last two save the state.
    """
    from warpquant import watch as watching

    actions: list[Any] = []
    limit: dict[str, Any] = {} if action_timeout is None else {"timeout": action_timeout}
    if on_flip is not None:
        actions.append(watching.Command(on_flip, **limit))
    if webhook is not None:
        actions.append(watching.Webhook(webhook, **limit))
    is_there = source == "-" or pathlib.Path(source).exists()
    if once and not is_there:
        raise typer.BadParameter(f"{source} does not exist")
    with log_to_stderr(verbose), contextlib.ExitStack() as stack:
        one = watching.Watch(
            source, params, timeframes=timeframe or (), tz=tz, session=session, stamp=stamp,
            symbol_col=symbol_col, time_col=time_col, price_col=price_col, time_format=time_format,
            min_change=min_change, history=history or (), from_now=from_now, state=state, output=output,
            actions=actions, device=device, num_threads=num_threads,
        )  # fmt: skip
        stack.callback(one.close)
        if metrics_port is not None:
            from warpquant._watch_metrics import serve

            server = serve(one, metrics_port, metrics_bind)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            if not quiet:
                say(f"metrics on http://{metrics_bind}:{server.server_address[1]}/metrics")
        signals = stack.enter_context(_signals(one))
        if not is_there:
            say(f"waiting for {source}")
        one.run(_Show(form, console_of(no_color)), interval=interval, once=once)
    done = one.counters
    if not quiet:
        told = ", ".join(f"{number} {what}" for what, number in sorted(done.changes.items())) or "none"
        say(f"{done.records} records, {done.bars} bars of {len(one.symbols)} symbols; changes: {told}")
        if one.unfinished:
            say(f"{one.unfinished} bytes of a last line that has not ended are left for later")
    for reason, number in sorted(done.bad.items()):
        say(f"not used: {number} lines: {reason}")
    if signals.code:
        say("interrupted" if signals.code == Code.INTERRUPTED else "terminated")
        raise typer.Exit(signals.code)
    if done.bad:
        raise typer.Exit(Code.SOME_FAILED)
