# SPDX-License-Identifier: Apache-2.0
"""`warpquant cache`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from warpquant import cache
from warpquant._prices import count

from ._app import As, NoColor, Report, app, atc_options, console_of, exit_codes, print_json, print_pairs, say

cache_app = typer.Typer(no_args_is_help=True, help="Results of scans that are kept.")
app.add_typer(cache_app, name="cache")


@cache_app.command(epilog="Example: warpquant cache stats --format json")
@exit_codes
def stats(form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Show where the cache is and what it holds."""
    found = cache.stats()
    kept = {name: found[name] for name in ("enabled", "directory", "disk_entries", "disk_bytes")}
    if form is Report.JSON:
        print_json({"schema": "warpquant.cache/1", **kept})
    else:
        print_pairs(console_of(no_color), "Cache", [(name, str(value)) for name, value in kept.items()])


@cache_app.command(epilog="Example: warpquant cache clear")
@exit_codes
def clear() -> None:
    """Remove everything from the cache."""
    say(f"{count(cache.clear(), 'file')} removed")


@cache_app.command(epilog="Example: warpquant cache warm bars/ --robustness Wide")
@atc_options
@exit_codes
def warm(
    files: Annotated[list[str], typer.Argument(help="Files, patterns or folders that will be scanned.")],
    symbol_col: Annotated[str | None, typer.Option(help="Column of symbols.")] = None,
    time_col: Annotated[str | None, typer.Option(help="Column of times.")] = None,
    price_col: Annotated[str | None, typer.Option(help="Column of prices.")] = None,
    time_format: Annotated[str | None, typer.Option(help="Format of times that are text.")] = None,
    min_bars: Annotated[int | None, typer.Option(min=1, help="Fewest bars of a symbol.")] = None,
    params: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Scan files now, so that `warpquant scan` with the same options finds the result."""
    kept = cache.warm(
        files, params, min_bars=min_bars, flips=True, symbol_col=symbol_col, time_col=time_col, price_col=price_col,
        time_format=time_format,
    )  # fmt: skip
    say("the result is in the cache" if kept else "nothing was kept: the cache is off, or a file changed just now")
