# SPDX-License-Identifier: Apache-2.0
"""`warpquant greeks`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import numpy as np
import typer

from ._app import NoColor, Quiet, app, console_of, exit_codes, format_of, progress_bar, say
from ._chain import As, Chains, Output, PriceSide, Rows, Side, chain_of, finish, reads_chain, write
from ._input import NumThreads


@app.command(epilog="Example: warpquant greeks spy.parquet --rate 0.04 --theta day365 --vega point -o greeks.parquet")
@reads_chain
@exit_codes
def greeks(
    file: Chains = None,
    outputs: Annotated[
        str, typer.Option(metavar="NAMES", help="Outputs, separated by commas, or all.")
    ] = "delta,gamma,vega,theta,rho",
    price: PriceSide = Side.MID,
    theta: Annotated[
        str | None, typer.Option(metavar="day365|day252", help="Unit of time.", show_default="per year")
    ] = None,
    vega: Annotated[
        str | None, typer.Option(metavar="point", help="Unit of volatility.", show_default="per 1.00")
    ] = None,
    rho: Annotated[str | None, typer.Option(metavar="point|bp", help="Unit of rates.", show_default="per 1.00")] = None,
    form: As = None,
    output: Output = None,
    plot: Annotated[
        pathlib.Path | None, typer.Option(dir_okay=False, help="File for a picture of the outputs over strikes.")
    ] = None,
    rows: Rows = 40,
    num_threads: NumThreads = None,
    quiet: Quiet = False,
    no_color: NoColor = False,
    reading: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Greeks of an option chain at the implied volatilities of its quotes.

    Units are those of docs/options/greeks.md: plain derivatives per year and per 1.00, unless --theta, --vega or --rho
    ask for others. Statuses and exit codes are those of iv.
    """
    from warpquant import options
    from warpquant.options.chain import STATUSES

    form = format_of(form, output)
    names = "all" if outputs == "all" else tuple(name.strip() for name in outputs.split(","))
    chain = chain_of(file, reading)
    with progress_bar(console_of(no_color, stderr=True), quiet, "solving") as show:
        vol, status = chain.implied_vol(price.value, num_threads=num_threads, progress=show)
    found = options.scale(
        chain.greeks(names, vol=np.where(status == 0, vol, np.nan), num_threads=num_threads), theta, vega, rho
    )
    short = ("expiry", "years", "strike", "right", "bid", "ask", "mid")
    columns = {
        **{name: values for name, values in chain.to_dict().items() if name in short}, "iv": vol,
        **{"model_price" if name == "price" else name: values for name, values in found.items()},
        "status": np.array(STATUSES, dtype=object)[status],
    }  # fmt: skip
    write(columns, chain, form, output, no_color, rows)
    if plot is not None:
        from warpquant import plot as pictures
        from warpquant.options import pictures as of_options

        pictures.save(of_options.greeks(chain, found), plot)
        if not quiet:
            say(f"picture in {plot}")
    finish(status, quiet)
