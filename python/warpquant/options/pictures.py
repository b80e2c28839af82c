# SPDX-License-Identifier: Apache-2.0
"""Pictures of option chains and of books: Matplotlib figures, as those of `warpquant.plot`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from warpquant._checks import choice
from warpquant.plot import _DOWN, _INK, _MUTED, _UP, _figure, _heading, _tidy

from .frames import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .chain import Chain
    from .portfolio import Attribution, ScenarioGrid

__all__ = ["attribution", "greeks", "scenarios", "smiles"]


def _expiries(chain: Chain, most: int) -> list[str]:
    """Up to so many expiries, spread over the terms."""
    names = [name for name, t in chain.terms.items() if t.years > 0]
    some: list[int] = (
        np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)).tolist() if names else []
    )
    return [names[i] for i in some]


def _colors(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.9, max(count, 1))]


def smiles(chain: Chain, vol: Any, *, most: int = 8) -> Figure:
    """Draw implied volatilities over log-moneyness, one line for each expiry; options out of the money.

    Parameters
    ----------
    chain : Chain
        Quotes.
    vol : array of float, shape (quotes,)
        What `Chain.implied_vol` gave.
    most : int, default 8
        Most expiries.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import options, plot
    >>> from warpquant.options import pictures
    >>> chain = options.read_chain(warpquant.data.goog_options(), rate=0.005)
    >>> plot.save(pictures.smiles(chain, chain.implied_vol()[0]), "smiles.png")
    """
    vol = np.asarray(vol, dtype=np.float64)
    figure = _figure(8.0, 4.2)
    axes = figure.add_subplot()
    with np.errstate(all="ignore"):
        moneyness = np.log(chain.strike / chain.of("forward"))
    names = _expiries(chain, most)
    for expiry, color in zip(names, _colors(len(names)), strict=True):
        outer = (chain.expiry == expiry) & np.isfinite(vol) & (chain.is_call == (moneyness > 0))
        order = np.argsort(moneyness[outer])
        axes.plot(
            moneyness[outer][order],
            100 * vol[outer][order],
            ".-",
            color=color,
            linewidth=0.9,
            markersize=3,
            label=expiry,
        )
    _tidy(axes, grid="both")
    _heading(axes, "Implied volatility of options out of the money, %")
    axes.set_xlabel("ln(strike / forward)", fontsize=8, color=_MUTED)
    if names:
        axes.legend(fontsize=7, frameon=False, labelcolor=_INK)
    return figure


def greeks(chain: Chain, values: Mapping[str, Any], *, most: int = 6) -> Figure:
    """Draw outputs over strikes, one panel for each output and one line for each expiry and side.

    Parameters
    ----------
    chain : Chain
        Quotes.
    values : mapping of str to array, shape (quotes,)
        What `Chain.greeks` gave.
    most : int, default 6
        Most expiries.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import options, plot
    >>> from warpquant.options import pictures
    >>> chain = options.read_chain(warpquant.data.goog_options(), rate=0.005)
    >>> plot.save(pictures.greeks(chain, chain.greeks(("delta", "vega"))), "greeks.png")
    """
    count = len(values)
    wide = min(count, 3)
    tall = -(-count // wide)
    figure = _figure(3.6 * wide, 2.6 * tall)
    names = _expiries(chain, most)
    for k, (name, numbers) in enumerate(values.items(), 1):
        numbers = np.asarray(numbers, dtype=np.float64)
        axes = figure.add_subplot(tall, wide, k)
        for expiry, color in zip(names, _colors(len(names)), strict=True):
            for call, style in ((True, "-"), (False, "--")):
                rows = (chain.expiry == expiry) & (chain.is_call == call) & np.isfinite(numbers)
                axes.plot(
                    chain.strike[rows], numbers[rows], style, color=color, linewidth=0.9, label=expiry if call else None
                )
        _tidy(axes)
        _heading(axes, name)
        if k == 1 and names:
            axes.legend(fontsize=6, frameon=False, labelcolor=_INK)
    return figure


def scenarios(grid: ScenarioGrid, *, output: str = "pnl", time: int = 0, title: str = "") -> Figure:
    """Draw a grid of scenarios: a map over spot and volatility, or a line where one of them does not move.

    Parameters
    ----------
    grid : ScenarioGrid
        Of the whole book; of groups the sum is drawn.
    output : str, default 'pnl'
        Which of its values.
    time : int, default 0
        Which of its times, by number.
    title : str, optional
        Heading.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import options, plot
    >>> from warpquant.options import pictures
    >>> book = options.Portfolio.from_frame(
    ...     {"kind": ["call"], "spot": 100.0, "strike": 105.0, "expiry": 0.25, "vol": 0.2, "quantity": -10}, rate=0.03)
    >>> grid = book.scenarios(spot=[-0.1, -0.05, 0.0, 0.05, 0.1], vol=[-0.05, 0.0, 0.05])
    >>> plot.save(pictures.scenarios(grid), "scenarios.png")
    """
    choice("output", output, grid.values)
    values = grid[output] if grid.groups is None else grid[output].sum(axis=0)
    table = values[time]
    figure = _figure(7.2, 4.0)
    axes = figure.add_subplot()
    spots = grid.spot * (100 if grid.spot_kind == "relative" else 1)
    vols = 100 * grid.vol
    x_label = "move of the spot, %" if grid.spot_kind == "relative" else "move of the spot"
    if 1 in table.shape:
        along_spot = table.shape[0] == 1
        axes.plot(spots if along_spot else vols, table.ravel(), color=_UP, linewidth=1.4)
        axes.axhline(0, color=_MUTED, linewidth=0.7)
        _tidy(axes)
    else:
        from matplotlib.colors import LinearSegmentedColormap

        most = float(np.abs(table).max()) or 1.0
        colors = LinearSegmentedColormap.from_list("signed", [_DOWN, "#F7F7F7", _UP])
        mesh = axes.pcolormesh(spots, vols, table, cmap=colors, vmin=-most, vmax=most, shading="nearest")
        lines = axes.contour(spots, vols, table, levels=[0.0], colors=[_INK], linewidths=0.8) if (
            table.min() < 0 < table.max()) else None  # fmt: skip
        if lines is not None:
            axes.clabel(lines, fmt="0", fontsize=7)
        figure.colorbar(mesh, ax=axes, shrink=0.9).outline.set_visible(False)
        axes.set_ylabel("move of the volatility, " + ("points" if grid.vol_kind == "absolute" else "%"), fontsize=8,
                        color=_MUTED)  # fmt: skip
        _tidy(axes, grid="both")
    axes.set_xlabel(x_label, fontsize=8, color=_MUTED)
    _heading(axes, title or f"{output} after {grid.time[time] * 365:g} days")
    return figure


def attribution(found: Attribution, *, title: str = "") -> Figure:
    """Draw an attribution: a bar for each term, for the residual, and for what happened.

    Parameters
    ----------
    found : Attribution
        Of groups the sums are drawn.
    title : str, optional
        Heading.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import options, plot
    >>> from warpquant.options import pictures
    >>> book = options.Portfolio.from_frame(
    ...     {"kind": ["call"], "spot": 100.0, "strike": 105.0, "expiry": 0.25, "vol": 0.2, "quantity": -10}, rate=0.03)
    >>> plot.save(pictures.attribution(book.attribution(book.moved(spot=0.02, vol=0.01))), "attribution.png")
    """
    names = [*found.terms, "residual", "actual"]
    numbers: Floats = np.array([np.sum(v) for v in (*found.terms.values(), found.residual, found.actual)])
    figure = _figure(7.2, 0.22 * len(names) + 1.0)
    axes = figure.add_subplot()
    places = np.arange(len(names))[::-1]
    colors = [_INK if n == "actual" else _MUTED if n == "residual" else _UP if v >= 0 else _DOWN
              for n, v in zip(names, numbers, strict=True)]  # fmt: skip
    axes.barh(places, numbers, color=colors, height=0.7)
    axes.set_yticks(places, names)
    axes.axvline(0, color=_MUTED, linewidth=0.7)
    _tidy(axes, grid="x")
    _heading(axes, title or "Profit and loss by term")
    return figure
