# SPDX-License-Identifier: Apache-2.0
"""`warpquant surface`."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ._app import As, Code, NoColor, Quiet, Report, app, console_of, exit_codes, print_json, printable, say
from ._chain import Chains, chain_of, reads_chain

if TYPE_CHECKING:
    from warpquant.surface import Surface

surface_app = typer.Typer(no_args_is_help=True, help="Volatility surfaces of option chains.")
app.add_typer(surface_app, name="surface")


class Slices(str, enum.Enum):
    """What slices are."""

    ESSVI = "essvi"
    SVI = "svi"
    MIXTURE = "mixture"


class Picture(str, enum.Enum):
    """What to draw."""

    SMILES = "smiles"
    VARIANCE = "variance"
    DENSITY = "density"
    TERMS = "terms"
    SPACE = "space"


OfSlices = Annotated[
    Slices,
    typer.Option("--slices", help="essvi is free of arbitrage; svi is closer to quotes; mixture is both, slower."),
]
American = Annotated[bool, typer.Option("--american", help="The options are American.")]


def _fitted(file: pathlib.Path | None, reading: dict[str, Any], slices: Slices, american: bool, quiet: bool) -> Surface:
    from warpquant import surface

    quotes = surface.clean(chain_of(file, reading), exercise="american" if american else "european")
    if not quiet:
        say(", ".join(f"{n:,} {reason}" for reason, n in quotes.counts().items()))
    return surface.Surface.fit(quotes, model=slices.value)


@surface_app.command(epilog="Example: warpquant surface fit spy.parquet --american --format json > surface.json")
@reads_chain
@exit_codes
def fit(
    file: Chains = None,
    slices: OfSlices = Slices.ESSVI,
    american: American = False,
    form: As = Report.TABLE,
    quiet: Quiet = False,
    no_color: NoColor = False,
    reading: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Fit a surface: at-the-money volatility, skew and quality of each expiry, or all of it as JSON.

    The JSON is what `Surface.from_dict` reads. Exit codes: 0 all well, 1 the run failed, 2 wrong usage.
    """
    import numpy as np

    made = _fitted(file, reading, slices, american, quiet)
    if form is Report.JSON:
        print_json({"schema": "warpquant.surface/1", **made.to_dict()})
        return
    console = console_of(no_color)
    table = Table(title="Slices", title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("Expiry", "Years", "Forward", "Vol", "Skew", "Least g", "Inside"):
        table.add_column(name, justify="left" if name == "Expiry" else "right", no_wrap=True)
    check = made.check()
    shares = made.coverage() if made.quotes is not None and np.isfinite(made.quotes.chain.bid).any() else {}
    steps = made.total_variance(np.array([[-1e-4], [1e-4]]), made.years)
    vol = made.vol(made.forward, made.years)
    skew = (steps[1] - steps[0]) / 2e-4 / (2.0 * vol * made.years)
    for i, expiry in enumerate(made.expiries):
        share = f"{100 * shares[expiry]:.0f} %" if expiry in shares else "-"
        table.add_row(
            printable(expiry), f"{made.years[i]:.4f}", f"{made.forward[i]:.6g}", f"{100 * vol[i]:.2f} %",
            f"{skew[i]:.3f}", f"{check.butterfly.min_g[i]:.4f}", share,
        )  # fmt: skip
    console.print(table)
    for expiry, why in made.skipped.items():
        say(f"{expiry} has no slice: {why}")


@surface_app.command(epilog="Example: warpquant surface check spy.parquet --american --slices svi")
@reads_chain
@exit_codes
def check(
    file: Chains = None,
    slices: OfSlices = Slices.ESSVI,
    american: American = False,
    quiet: Quiet = False,
    reading: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Fit a surface and list its static arbitrage, if there is any: proven over all strikes.

    Exit codes: 0 none, 1 some, or the run failed, 2 wrong usage.
    """
    import numpy as np

    made = _fitted(file, reading, slices, american, quiet)
    found = made.check()
    if made.quotes is not None and np.isfinite(made.quotes.chain.bid).any() and not quiet:
        say(f"{100 * made.coverage()['all']:.1f} % of the quotes enclose the surface")
    for line in found.violations():
        typer.echo(line)
    if not found.ok:
        raise typer.Exit(Code.FAILED)
    if made.model == "mixture":
        typer.echo("no arbitrage: all masses are positive, and laws of later expiries are wider in the convex order")
    else:
        typer.echo(f"no arbitrage: g is proven to be above {float(found.butterfly.bound.min()):.6f} at all strikes")


@surface_app.command(epilog="Example: warpquant surface plot spy.parquet -o smiles.png --american")
@reads_chain
@exit_codes
def plot(
    file: Chains = None,
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", dir_okay=False, help="File for the picture.")
    ] = pathlib.Path("surface.png"),
    what: Annotated[Picture, typer.Option(help="What to draw.")] = Picture.SMILES,
    slices: OfSlices = Slices.ESSVI,
    american: American = False,
    quiet: Quiet = False,
    reading: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Draw a surface: smiles with bid and ask, total variance, densities, term structure, or all of it in space."""
    from warpquant import plot as pictures
    from warpquant.surface import pictures as of_surface

    made = _fitted(file, reading, slices, american, quiet)
    draws: dict[Picture, Callable[[Surface], Any]] = {
        Picture.SMILES: of_surface.smiles, Picture.VARIANCE: of_surface.total_variance,
        Picture.DENSITY: of_surface.densities, Picture.TERMS: of_surface.term_structure,
        Picture.SPACE: of_surface.three_d,
    }  # fmt: skip
    pictures.save(draws[what](made), output)
    if not quiet:
        say(f"picture in {output}")
