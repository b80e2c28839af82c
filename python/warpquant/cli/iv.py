# SPDX-License-Identifier: Apache-2.0
"""`warpquant iv`."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

from ._app import NoColor, Quiet, app, console_of, exit_codes, format_of, progress_bar, say
from ._chain import As, Chains, Output, Rows, Side, chain_of, finish, reads_chain, write
from ._input import NumThreads


def _further(show: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    """Progress of one of several runs."""
    show(before + done, total)


@app.command(epilog="Example: warpquant iv spy.parquet --rate 0.04 --plot smiles.png -o vols.csv")
@reads_chain
@exit_codes
def iv(
    file: Chains = None,
    price: Annotated[
        list[Side] | None,
        typer.Option(help="Price whose volatility to take. Again for more.", show_default="all three"),
    ] = None,
    form: As = None,
    output: Output = None,
    plot: Annotated[pathlib.Path | None, typer.Option(dir_okay=False, help="File for a picture of the smiles.")] = None,
    rows: Rows = 40,
    num_threads: NumThreads = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
    reading: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Implied volatilities of an option chain, with forward, rate and dividend yield of each expiry.

    Every quote stays, with a status where it has no volatility: no_bid, no_ask, no_quote, crossed, expired, no_terms,
    below_intrinsic, above_bound, no_time_value, invalid. Exit codes: 0 all well, 1 the run failed, 2 wrong usage.
    """
    from warpquant.options.chain import STATUSES

    form = format_of(form, output)
    chain = chain_of(file, reading)
    sides = [side.value for side in price or ()] or (
        ["bid", "mid", "ask"] if not np.isnan(chain.bid).all() else ["mid"]
    )
    found = {}
    with progress_bar(console_of(no_color, stderr=True), quiet, "solving") as show:
        total = len(sides) * len(chain.terms)
        for k, side in enumerate(sides):
            shown = functools.partial(_further, show, k * len(chain.terms), total)
            found[side] = chain.implied_vol(side, num_threads=num_threads, progress=shown)
    main = "mid" if "mid" in sides else sides[0]
    status = found[main][1]
    columns = {
        **{name: values for name, values in chain.to_dict().items() if name not in ("spot", "rate", "dividend")},
        **{f"iv_{side}": vol for side, (vol, _) in found.items()},
        "status": np.array(STATUSES, dtype=object)[status],
    }
    write(columns, chain, form, output, no_color, rows)
    if plot is not None:
        from warpquant import plot as pictures
        from warpquant.options import pictures as of_options

        pictures.save(of_options.smiles(chain, found[main][0]), plot)
        if not quiet:
            say(f"picture in {plot}")
    finish(status, quiet)
