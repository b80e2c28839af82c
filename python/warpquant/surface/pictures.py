# SPDX-License-Identifier: Apache-2.0
"""Pictures of surfaces: Matplotlib figures, as those of `warpquant.plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from warpquant.errors import StateError
from warpquant.options.pictures import _colors
from warpquant.plot import _DOWN, _INK, _MUTED, _figure, _heading, _tidy

from .quotes import REASONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .objects import Surface

__all__ = ["densities", "smiles", "term_structure", "three_d", "total_variance"]

#: Reasons by which quotes are rejected, and are not merely the other option of their strike.
_REJECTED = [REASONS.index(name) for name in ("stale", "outlier", "cliff")]


def _some(count: int, most: int) -> list[int]:
    """Up to so many places, spread over all."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def smiles(surface: Surface, *, most: int = 6) -> Figure:
    """Draw the smiles of some expiries, with bid and ask volatilities as bars and quotes that were rejected as crosses.

    Parameters
    ----------
    surface : Surface
        One that was fitted to quotes.
    most : int, default 6
        Most expiries.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StateError
        If the surface has no quotes.

    Examples
    --------
    >>> from warpquant import data, plot, surface
    >>> from warpquant.surface import pictures
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> plot.save(pictures.smiles(goog), "surface.png")
    """
    if surface.quotes is None:
        raise StateError("quotes: the surface was not fitted to any")
    used, places = surface.quotes, _some(len(surface.expiries), most)
    columns = min(len(places), 3)
    rows = -(-len(places) // columns)
    figure = _figure(3.4 * columns, 2.7 * rows)
    for at, i in enumerate(places):
        axes = figure.add_subplot(rows, columns, at + 1)
        of = used.chain.expiry == surface.expiries[i]
        kept, years = of & used.kept, surface.years[i]
        k, vol = used.k[kept], used.vol[kept]
        low = np.where(np.isfinite(used.bid_vol[kept]), used.bid_vol[kept], vol)
        high = np.where(np.isfinite(used.ask_vol[kept]), used.ask_vol[kept], vol)
        axes.vlines(k, 100 * low, 100 * high, color=_MUTED, linewidth=1.0)
        reach = np.linspace(k.min(), k.max(), 200)
        fitted = np.sqrt(surface.total_variance(reach, years) / years)
        axes.plot(reach, 100 * fitted, color=_INK, linewidth=1.1)
        rejected = of & np.isin(used.reason, _REJECTED) & np.isfinite(used.vol)
        rejected &= (used.k >= k.min()) & (used.k <= k.max()) & (used.vol < 2.0 * high.max())
        axes.plot(used.k[rejected], 100 * used.vol[rejected], "x", color=_DOWN, markersize=4)
        _tidy(axes, grid="both")
        _heading(axes, f"{surface.expiries[i]}, %")
        if at // columns == rows - 1:
            axes.set_xlabel("ln(strike / forward)", fontsize=8, color=_MUTED)
    return figure


def total_variance(surface: Surface, *, reach: float = 3.0) -> Figure:
    """Draw total variance over log-moneyness, a line for each expiry: lines that cross are calendar arbitrage.

    Parameters
    ----------
    surface : Surface
        A surface.
    reach : float, default 3
        Standard deviations of the last expiry to either side.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import data, plot, surface
    >>> from warpquant.surface import pictures
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> plot.save(pictures.total_variance(goog), "variance.png")
    """
    figure = _figure(8.0, 4.2)
    axes = figure.add_subplot()
    width = reach * float(np.sqrt(surface.total_variance(0.0, surface.years[-1])))
    k = np.linspace(-width, width, 300)
    for i, color in enumerate(_colors(len(surface.expiries))):
        label = surface.expiries[i] if i in _some(len(surface.expiries), 8) else None
        axes.plot(k, surface.total_variance(k, surface.years[i]), color=color, linewidth=0.9, label=label)
    axes.legend(fontsize=7, frameon=False)
    _tidy(axes, grid="both")
    _heading(axes, "Total variance")
    axes.set_xlabel("ln(strike / forward)", fontsize=8, color=_MUTED)
    return figure


def densities(surface: Surface, *, most: int = 6, reach: float = 4.0) -> Figure:
    """Draw the risk-neutral densities of some expiries, in units of the forward.

    Parameters
    ----------
    surface : Surface
        A surface.
    most : int, default 6
        Most expiries.
    reach : float, default 4
        Standard deviations to either side.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import data, plot, surface
    >>> from warpquant.surface import pictures
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> plot.save(pictures.densities(goog), "densities.png")
    """
    figure = _figure(8.0, 4.2)
    axes = figure.add_subplot()
    places = _some(len(surface.expiries), most)
    for i, color in zip(places, _colors(len(places)), strict=True):
        years, forward = surface.years[i], surface.forward[i]
        width = reach * float(np.sqrt(surface.total_variance(0.0, years)))
        ratio = np.exp(np.linspace(-width, width, 400))
        axes.plot(
            ratio, forward * surface.density(forward * ratio, years), color=color, linewidth=1.0,
            label=surface.expiries[i],
        )  # fmt: skip
    axes.legend(fontsize=7, frameon=False)
    _tidy(axes)
    _heading(axes, "Risk-neutral density of the price in units of its forward")
    return figure


def term_structure(surface: Surface) -> Figure:
    """Draw volatility and skew at the money over the time to expiry, and the forward volatility between expiries.

    Parameters
    ----------
    surface : Surface
        A surface.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import data, plot, surface
    >>> from warpquant.surface import pictures
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> plot.save(pictures.term_structure(goog), "terms.png")
    """
    figure = _figure(8.0, 3.4)
    years = surface.years
    theta = np.asarray(surface.total_variance(0.0, years))
    vol = np.sqrt(theta / years)
    small = 1e-3 * np.sqrt(theta)
    rise = surface.total_variance(small, years) - surface.total_variance(-small, years)
    axes = figure.add_subplot(1, 2, 1)
    forward = np.sqrt(np.diff(theta, prepend=0.0) / np.diff(years, prepend=0.0))
    axes.stairs(100 * forward, np.r_[0.0, years], baseline=None, color=_MUTED, linewidth=1.0, label="between expiries")
    axes.plot(years, 100 * vol, "o-", color=_INK, markersize=3, linewidth=1.1, label="to the expiry")
    axes.legend(fontsize=7, frameon=False)
    _tidy(axes, grid="both")
    _heading(axes, "Volatility at the money, %")
    axes.set_xlabel("years", fontsize=8, color=_MUTED)
    axes = figure.add_subplot(1, 2, 2)
    axes.plot(years, 100 * rise / (2.0 * small) / (2.0 * vol * years), "o-", color=_INK, markersize=3, linewidth=1.1)
    _tidy(axes, grid="both")
    _heading(axes, "Skew: slope of volatility by ln(strike / forward), %")
    axes.set_xlabel("years", fontsize=8, color=_MUTED)
    return figure


def three_d(surface: Surface, *, reach: float = 2.5) -> Figure:
    """Draw volatility over strikes, in standard deviations of their expiry, and time, in space.

    Parameters
    ----------
    surface : Surface
        A surface.
    reach : float, default 2.5
        Standard deviations to either side.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from warpquant import data, plot, surface
    >>> from warpquant.surface import pictures
    >>> goog = surface.Surface.fit(data.goog_options(), exercise="american")
    >>> plot.save(pictures.three_d(goog), "space.png")
    """
    figure = _figure(7.0, 5.0)
    axes = figure.add_subplot(projection="3d")
    first, last = float(surface.years[0]), float(surface.years[-1])
    years = np.geomspace(first, last, 40) if last > first else np.array([first, 2.0 * first])
    units = np.linspace(-reach, reach, 61)
    k = units[None, :] * np.sqrt(surface.total_variance(0.0, years))[:, None]
    vol = 100 * np.sqrt(surface.total_variance(k, years[:, None]) / years[:, None])
    axes.plot_surface(
        np.broadcast_to(units, vol.shape), np.broadcast_to(years[:, None], vol.shape), vol, cmap="viridis", rstride=1,
        cstride=1, linewidth=0.0, antialiased=True,
    )  # fmt: skip
    axes.view_init(25, -125)
    axes.tick_params(labelsize=7, colors=_MUTED)
    axes.set_xlabel("deviations from the forward", fontsize=8, color=_MUTED)
    axes.set_ylabel("years", fontsize=8, color=_MUTED)
    axes.set_zlabel("volatility, %", fontsize=8, color=_MUTED)
    return figure
