# SPDX-License-Identifier: Apache-2.0
"""Pictures of a scan, of single symbols, and of sweeps.

`overview` shows a whole scan and `strips` the signals of all its symbols; `symbol` shows one symbol bar by bar,
`signals` and `equities` the two layers behind its average signal; `heatmap` a metric over two parameters, and
`out_of_sample` what a choice of parameters came to. All give a Matplotlib figure that is part of no global state;
`save` writes it to a file. Blue is up and orange is down throughout, which stays legible without red and green.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import atc
from ._checks import whole
from .atc import Params
from .errors import ParameterError, ShapeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .evaluate import Evaluation
    from .scan import Row, ScanResult
    from .sweep import Pivot

__all__ = ["equities", "heatmap", "out_of_sample", "overview", "save", "signals", "strips", "symbol"]

_UP, _DOWN = "#0072B2", "#D55E00"
_INK, _MUTED, _FAINT = "#1F2933", "#6B7785", "#E3E7EB"
#: Colours that remain apart under the common kinds of colour blindness, one for each family.
_FAMILY_COLORS = dict(
    zip(atc.FAMILIES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"), strict=True)
)
_EQUITIES = tuple(f"{family.lower()}_s" for family in atc.FAMILIES)
_DPI = 130
_MOST_ROWS = 30


def _family_labels(params: Params) -> tuple[str, ...]:
    """What each family is made of; in pine mode that of HMA is a simple average."""
    return tuple("SMA" if family == "HMA" and params.hma == "sma" else family for family in atc.FAMILIES)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need Matplotlib: pip install 'warpquant[plot]'") from None
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Any, *, grid: str = "y") -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)
    axes.tick_params(which="both", colors=_MUTED, labelsize=8, length=0)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=_FAINT, linewidth=0.7)


def _heading(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9.5, color=_INK, fontweight="bold", pad=5, parse_math=False)


def _up_and_down(axes: Any, up: npt.NDArray[Any], down: npt.NDArray[Any], edges: npt.NDArray[Any]) -> None:
    """One cell a bar, upwards in blue and downwards in orange."""
    axes.stairs(up, edges, fill=True, color=_UP, alpha=0.8)
    axes.stairs(down, edges, fill=True, color=_DOWN, alpha=0.8)
    axes.axhline(0, color=_MUTED, linewidth=0.7)


def _legend(axes: Any) -> None:
    """Above the panel, at the right, where it hides no data."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 0.985), ncols=9, fontsize=7.5, frameon=False, labelcolor=_INK,
        handlelength=1.4, columnspacing=1.2, handletextpad=0.5, borderpad=0,
    )  # fmt: skip


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file; its suffix says in which format.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What a function of this module returned.
    path : path
        For example ``"AAPL.png"`` or ``"AAPL.svg"``.
    """
    figure.savefig(path, dpi=_DPI)


def _date_ticks(times: npt.NDArray[Any], most: int = 9) -> tuple[list[int], list[str]]:
    """Bars at which a new year, quarter, month, day or hour begins, in the finest division that leaves few enough."""
    divisions = (
        ("%H:%M", "h", (1,)), ("%d %b %H:%M", "h", (6,)), ("%d %b", "D", (1, 2, 4, 7, 14)), ("%b %Y", "M", (1, 3, 6)),
        ("%Y", "Y", (1, 2, 5, 10)),
    )  # fmt: skip
    for style, unit, every in ((style, unit, every) for style, unit, steps in divisions for every in steps):
        periods = times.astype(f"datetime64[{unit}]").astype(np.int64) // every
        (bars,) = np.nonzero(np.diff(periods))
        if 1 <= len(bars) <= most:
            stamps = times[bars + 1].astype("datetime64[s]").tolist()
            return (bars + 1).tolist(), [stamp.strftime(style) for stamp in stamps]
    return [], []


def _time_axis(axes: Any, times: npt.NDArray[Any] | None, bars: int, first: int) -> None:
    """Bars side by side, nights and weekends closed up, labelled by date where dates are known."""
    axes.set_xlim(-0.5, bars - 0.5 + 0.02 * bars)
    if times is not None and times.dtype.kind == "M":
        axes.set_xticks(*_date_ticks(times))
        axes.set_xlabel(f"{str(times[0])[:16]} to {str(times[-1])[:16]}".replace("T", " "), fontsize=8, color=_MUTED)
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(x) + first}"))
    axes.set_xlabel("bar", fontsize=8, color=_MUTED)


def symbol(
    prices: Any,
    times: npt.NDArray[Any] | None = None,
    *,
    name: str = "",
    params: Params | Mapping[str, Any] | None = None,
    bars: int = 500,
) -> Figure:
    """Draw one symbol: price with the six base averages, the average signal, and the equity of each family.

    Parameters
    ----------
    prices : array, shape (bars,)
        Closes, oldest first. Missing ones are left out.
    times : array of datetime64, shape (bars,), optional
        Times of the bars.
    name : str, optional
        Symbol, for the title.
    params : Params or mapping, optional
        Parameters of ATC.
    bars : int, default 500
        Bars to draw, counted from the last. Everything is computed from all bars.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels over the same bars. Marks on the price show where `direction` flips.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ShapeError
        If `prices` has no value or is no series.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot
    >>> panel = warpquant.data.sp500_20()
    >>> figure = plot.symbol(panel["AAPL"], panel.dates, name="AAPL")
    >>> len(figure.axes)
    3
    """
    drawn = _Drawn.of(prices, times, params, bars, ("average", "direction", *_EQUITIES))
    close, times, params, result = drawn.close, drawn.times, drawn.params, drawn.result
    x = np.arange(len(close))

    figure = _figure(11, 8)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3.2, 1.3, 1.5))
    average, direction = result["average"], result["direction"]
    _draw_price(top, x, close, {f: result[f"{f.lower()}_ma"][0] for f in atc.FAMILIES}, direction, params)
    _draw_signal(middle, average, params)
    _draw_equity(bottom, x, dict(zip(atc.FAMILIES, (result[name] for name in _EQUITIES), strict=True)))
    _time_axis(bottom, times, len(close), drawn.first)
    top.tick_params(labelbottom=False)
    middle.tick_params(labelbottom=False)

    state = {1: "long", -1: "short"}.get(int(direction[-1]), "no direction yet")
    _title(
        figure, f"{name or 'Adaptive trend classification'}   {close[-1]:,.6g}   average {average[-1]:+.2f}   {state}"
    )
    return figure


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """What is drawn of one symbol: its last bars, computed from all of them."""

    close: npt.NDArray[np.float64]
    times: npt.NDArray[Any] | None
    params: Params
    result: dict[str, npt.NDArray[Any]]
    first: int

    @classmethod
    def of(cls, prices: Any, times: Any, params: Any, bars: int, outputs: tuple[str, ...]) -> _Drawn:
        bars = whole("bars", bars, 2)
        close = np.asarray(prices, dtype=np.float64)
        if close.ndim != 1 or (times is not None and len(times) != len(close)):
            raise ShapeError(f"prices: has shape {close.shape}; one value for each of the times is needed")
        present = np.isfinite(close)
        if not present.any():
            raise ShapeError("prices: has no value")
        close = close[present]
        times = None if times is None else np.asarray(times)[present]
        params = params if isinstance(params, Params) else Params.from_dict(params or {})
        result = atc.run(close, params, outputs=outputs, detail=True)
        first = max(0, len(close) - bars)
        return cls(
            close[first:],
            None if times is None else times[first:],
            params,
            {name: values[..., first:] for name, values in result.items()},
            first,
        )


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK, parse_math=False)


def signals(
    prices: Any,
    times: npt.NDArray[Any] | None = None,
    *,
    name: str = "",
    params: Params | Mapping[str, Any] | None = None,
    bars: int = 500,
) -> Figure:
    """Draw the signals of one symbol: the average, and below it what each family says (layer 1).

    Parameters
    ----------
    prices, times, name, params, bars
        As for `symbol`.

    Returns
    -------
    matplotlib.figure.Figure
        Seven panels over the same bars, each from -1 to 1.

    Raises
    ------
    ImportError, ShapeError
        As for `symbol`.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot
    >>> panel = warpquant.data.sp500_20()
    >>> figure = plot.signals(panel["AAPL"], panel.dates, name="AAPL")
    >>> len(figure.axes)
    7
    """
    names = tuple(f"{family.lower()}_signal" for family in atc.FAMILIES)
    drawn = _Drawn.of(prices, times, params, bars, ("average", *names))
    figure = _figure(11, 7)
    top, *lanes = figure.subplots(7, 1, sharex=True, height_ratios=(2, 1, 1, 1, 1, 1, 1))
    _draw_signal(top, drawn.result["average"], drawn.params)
    edges = np.arange(len(drawn.close) + 1) - 0.5
    for lane, label, key in zip(lanes, _family_labels(drawn.params), names, strict=True):
        known = np.nan_to_num(drawn.result[key])
        _tidy(lane)
        _up_and_down(lane, np.maximum(known, 0), np.minimum(known, 0), edges)
        lane.set_ylim(-1.08, 1.08)
        lane.set_yticks((-1, 0, 1))
        _heading(lane, label)
    for axes in (top, *lanes[:-1]):
        axes.tick_params(labelbottom=False)
    _time_axis(lanes[-1], drawn.times, len(drawn.close), drawn.first)
    _title(figure, f"{name or 'Adaptive trend classification'}   average signal {drawn.result['average'][-1]:+.2f}")
    return figure


def equities(
    prices: Any,
    times: npt.NDArray[Any] | None = None,
    *,
    name: str = "",
    params: Params | Mapping[str, Any] | None = None,
    bars: int = 500,
) -> Figure:
    """Draw the equities of one symbol: those of the families (layer 2), and of the nine lengths of each (layer 1).

    Parameters
    ----------
    prices, times, name, params, bars
        As for `symbol`.

    Returns
    -------
    matplotlib.figure.Figure
        One wide panel for layer 2, and six for layer 1, in which the base length is the strong line. An equity is the
        weight of its signal in the layer above.

    Raises
    ------
    ImportError, ShapeError
        As for `symbol`.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot
    >>> panel = warpquant.data.sp500_20()
    >>> figure = plot.equities(panel["AAPL"], panel.dates, name="AAPL")
    >>> len(figure.axes)
    7
    """
    drawn = _Drawn.of(prices, times, params, bars, _EQUITIES)
    x = np.arange(len(drawn.close))
    figure = _figure(11, 8)
    grid = figure.add_gridspec(3, 3, height_ratios=(1.4, 1, 1))
    top = figure.add_subplot(grid[0, :])
    _draw_equity(top, x, dict(zip(atc.FAMILIES, (drawn.result[name] for name in _EQUITIES), strict=True)))
    _time_axis(top, drawn.times, len(x), drawn.first)
    labels = zip(atc.FAMILIES, _family_labels(drawn.params), drawn.params.family_lengths, strict=True)
    for place, (family, label, nine) in enumerate(labels):
        axes = figure.add_subplot(grid[1 + place // 3, place % 3], sharex=top)
        _tidy(axes)
        for equity, length in reversed(list(zip(drawn.result[f"{family.lower()}_eq"], nine, strict=True))):
            base = length == nine[0]
            axes.plot(
                x, equity, color=_FAMILY_COLORS[family], linewidth=1.2 if base else 0.7, alpha=1.0 if base else 0.45,
                label=f"{label} {length}",
            )  # fmt: skip
        axes.tick_params(labelbottom=False)
        _heading(axes, f"Layer 1: {label} {min(nine)} to {max(nine)}")
    _title(figure, f"{name or 'Adaptive trend classification'}   equities")
    return figure


def _draw_price(
    axes: Any,
    x: npt.NDArray[Any],
    close: npt.NDArray[np.float64],
    averages: Mapping[str, npt.NDArray[np.float64]],
    direction: npt.NDArray[np.int8],
    params: Params,
) -> None:
    log = close.min() > 0 and close.max() / close.min() > 3
    if log:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _tidy(axes)
    bases = (f"{label} {nine[0]}" for label, nine in zip(_family_labels(params), params.family_lengths, strict=True))
    labels = dict(zip(atc.FAMILIES, bases, strict=True))
    for family, average in averages.items():
        axes.plot(x, average, color=_FAMILY_COLORS[family], linewidth=1.0, alpha=0.9, label=labels[family])
    axes.plot(x, close, color=_INK, linewidth=1.2, label="close", zorder=3)
    flips = np.flatnonzero(direction[1:] != direction[:-1]) + 1
    size = min(46.0, 4000.0 / max(len(flips), 1))
    for sign, marker, color, label in ((1, "^", _UP, "turns long"), (-1, "v", _DOWN, "turns short")):
        at = flips[direction[flips] == sign]
        axes.scatter(
            at, close[at], s=size, marker=marker, color=color, edgecolors="white", linewidths=min(0.8, size / 40),
            zorder=4, label=label,
        )  # fmt: skip
    # The seeds of some averages lie far from the price; they must not set the scale.
    low, high = close.min(), close.max()
    if log:
        axes.set_ylim(low * (low / high) ** 0.06, high * (high / low) ** 0.06)
    elif high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    _legend(axes)
    _heading(axes, f"Price and base averages{' (log scale)' if log else ''}")


def _draw_signal(axes: Any, average: npt.NDArray[np.float64], params: Params) -> None:
    _tidy(axes)
    known = np.nan_to_num(average)
    _up_and_down(axes, np.maximum(known, 0), np.minimum(known, 0), np.arange(len(known) + 1) - 0.5)
    for level in (params.long_threshold, params.short_threshold):
        axes.axhline(level, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(-1.08, 1.08)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))
    _heading(axes, "Average signal (dashed: thresholds of the direction)")


def _draw_equity(axes: Any, x: npt.NDArray[Any], equities: Mapping[str, npt.NDArray[np.float64]]) -> None:
    _tidy(axes)
    for family, equity in equities.items():
        axes.plot(x, equity, color=_FAMILY_COLORS[family], linewidth=1.2, label=family)
    low, high = axes.get_ylim()
    if low < 1 < high:
        axes.axhline(1, color=_MUTED, linewidth=0.6)
    _legend(axes)
    _heading(axes, "Equity of each family (layer 2), its weight in the average")


def overview(result: ScanResult) -> Figure:
    """Draw a whole scan: signals ranked, how they came about, and how many symbols are long and short.

    Parameters
    ----------
    result : ScanResult
        What `warpquant.scan.scan` returned. Of a long list the strongest symbols on either side are drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the average signal of each symbol now; right, the same over the recent bars as a strip; below, how the
        signals of all symbols spread now, and the share of positive and negative ones over the recent bars.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ParameterError
        If nothing was scanned.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot, scan
    >>> figure = plot.overview(scan.scan(warpquant.data.sp500_20()))
    """
    if not result.rows:
        raise ParameterError("result: holds no symbols, so there is nothing to draw")
    longs, shorts = result.long[:_MOST_ROWS], result.short[:_MOST_ROWS]
    rows: list[Row] = [*longs, *reversed(shorts)]
    if not rows:
        rows = list(result.rows[:_MOST_ROWS])
    counts = result.counts

    figure = _figure(11, 2.6 + 0.19 * max(len(rows), 8))
    below = 1.25 / (0.19 * max(len(rows), 8))
    (bars, strip), (spread, breadth) = figure.subplots(
        2, 2, sharex="col", gridspec_kw={"width_ratios": (1, 1.5), "height_ratios": (1, below)}
    )
    _draw_ranking(bars, rows, len(longs))
    _draw_spread(spread, np.array([row.average for row in result.rows]))
    width = max((len(result.recent[row.symbol]) for row in result.rows), default=0)
    if width:
        mesh = _draw_strip(strip, [result.recent[row.symbol] for row in rows], len(longs), width)
        _draw_breadth(breadth, list(result.recent.values()), width)
        _scale(figure, mesh, strip)
    listed = f", strongest {len(rows)} drawn" if len(rows) < counts["long"] + counts["short"] else ""
    sides = ", ".join(f"{counts[side]} {side}" for side in ("long", "short", "neutral"))
    _title(figure, f"{counts['scanned']} symbols: {sides}{listed}")
    return figure


def strips(result: ScanResult, *, most: int | None = None) -> Figure:
    """Draw the average signal of every symbol of a scan through time, one row each, the highest signal on top.

    Parameters
    ----------
    result : ScanResult
        What `warpquant.scan.scan` returned; its `recent` says how many bars there are to draw.
    most : int, optional
        Most symbols to draw, those with the strongest signals of either sign; by default all.

    Returns
    -------
    matplotlib.figure.Figure
        The heat map, and below it the share of symbols with a positive and a negative signal. The last bars of all
        symbols stand below each other. Rows have names as long as there are no more than 120.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ParameterError
        If nothing was scanned, or no bars were kept (``recent=0``).

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot, scan
    >>> figure = plot.strips(scan.scan(warpquant.data.sp500_20(), recent=250))
    """
    most = None if most is None else whole("most", most, 1)
    width = max((len(result.recent[row.symbol]) for row in result.rows), default=0)
    if not width:
        raise ParameterError("result: holds no recent signals, so there is nothing to draw")
    from .scan import _strength

    strongest = sorted(result.rows, key=_strength)[:most]
    chosen = {row.symbol for row in strongest}
    rows = [row for row in result.rows if row.symbol in chosen]
    series = [result.recent[row.symbol] for row in rows]
    named = len(rows) <= 120
    figure = _figure(11, 3.0 + min(0.17 * max(len(rows), 6), 14.0 if named else 7.0))
    heat, breadth = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (figure.get_figheight() - 2.2, 1.2)}
    )
    mesh = _draw_strip(heat, series, 0, width, lines=named)
    if named:
        heat.set_yticks(np.arange(len(rows)), [row.symbol for row in rows], fontsize=8, color=_INK, parse_math=False)
    _draw_breadth(breadth, list(result.recent.values()), width)
    _scale(figure, mesh, heat)
    of = f"the strongest {len(rows):,} of " if len(rows) < len(result.rows) else ""
    _title(figure, f"Average signal of {of}{len(result.rows):,} symbol{'s' if len(result.rows) > 1 else ''}")
    return figure


def _scale(figure: Figure, mesh: Any, axes: Any) -> None:
    """The colours of a heat map, beside it."""
    scale: Any = figure.colorbar(mesh, ax=axes, pad=0.015, fraction=0.03, ticks=(-1, 0, 1))
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=_MUTED, labelsize=8, length=0)


def _draw_ranking(axes: Any, rows: list[Row], longs: int) -> None:
    values = np.array([row.average for row in rows])
    y = np.arange(len(rows))
    _tidy(axes, grid="x")
    axes.barh(y, values, color=np.where(values >= 0, _UP, _DOWN).tolist(), height=0.72)
    for at, value in zip(y, values, strict=True):
        inside = abs(value) > 0.35
        axes.text(
            value - 0.03 * np.sign(value) if inside else value + 0.03 * (np.sign(value) or 1), at, f"{value:+.2f}",
            ha="right" if (value > 0) == inside else "left", va="center", fontsize=7,
            color="white" if inside else _INK,
        )  # fmt: skip
    axes.axvline(0, color=_MUTED, linewidth=0.8)
    if 0 < longs < len(rows):
        axes.axhline(longs - 0.5, color=_MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(y, [row.symbol for row in rows], fontsize=8, color=_INK, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-1.1, 1.1)
    axes.set_xticks((-1, -0.5, 0, 0.5, 1))
    axes.tick_params(labelbottom=False)
    _heading(axes, "Average signal, last bar")


def _draw_spread(axes: Any, averages: npt.NDArray[np.float64]) -> None:
    edges = (np.arange(22) - 10.5) / 10
    counts, _ = np.histogram(averages[np.isfinite(averages)], edges)
    _tidy(axes)
    axes.stairs(np.where(np.arange(21) > 10, counts, 0), edges, fill=True, color=_UP, alpha=0.8)
    axes.stairs(np.where(np.arange(21) < 10, counts, 0), edges, fill=True, color=_DOWN, alpha=0.8)
    axes.stairs(np.where(np.arange(21) == 10, counts, 0), edges, fill=True, color=_MUTED, alpha=0.8)
    axes.set_ylim(0, 1.1 * max(counts.max(), 1))
    axes.set_xlabel("average signal", fontsize=8, color=_MUTED)
    _heading(axes, "All symbols by signal")


def _aligned(series: list[npt.NDArray[np.float64]], width: int) -> npt.NDArray[np.float64]:
    """Series of up to `width` values as rows that end together; NaN before a shorter one begins."""
    panel = np.full((len(series), width), np.nan)
    for row, values in zip(panel, series, strict=True):
        row[width - len(values) :] = values
    return panel


def _down_up() -> Any:
    """Colours from orange over white to blue."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = (_DOWN, "#F4C9A8", "#F7F7F7", "#A9CCE3", _UP)
    return LinearSegmentedColormap.from_list("down-up", shades).with_extremes(bad=_FAINT)


def _draw_strip(axes: Any, series: list[npt.NDArray[np.float64]], longs: int, width: int, *, lines: bool = True) -> Any:
    edges = np.arange(-width, 1) + 0.5
    mesh = axes.pcolormesh(
        edges, np.arange(len(series) + 1) - 0.5, _aligned(series, width), cmap=_down_up(), vmin=-1, vmax=1
    )
    _tidy(axes)
    axes.grid(visible=False)
    axes.tick_params(labelbottom=False)
    for between in range(1, len(series) if lines else 1):
        axes.axhline(between - 0.5, color="white", linewidth=1.2)
    if 0 < longs < len(series):
        axes.axhline(longs - 0.5, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(())
    axes.set_ylim(len(series) - 0.4, -0.6)
    _heading(axes, f"The last {width} bars of each symbol")
    return mesh


def _draw_breadth(axes: Any, series: list[npt.NDArray[np.float64]], width: int) -> None:
    panel = _aligned(series, width)
    known = np.maximum(np.isfinite(panel).sum(axis=0), 1)
    long, short = (100 * (panel > 0).sum(axis=0) / known, -100 * (panel < 0).sum(axis=0) / known)
    _tidy(axes)
    _up_and_down(axes, long, short, np.arange(-width, 1) + 0.5)
    axes.set_ylim(-105, 105)
    axes.set_yticks((-100, -50, 0, 50, 100), ("100 %", "50 %", "0", "50 %", "100 %"))
    axes.set_xlabel("bars before the last", fontsize=8, color=_MUTED)
    _heading(axes, "Share of all symbols with a positive and a negative signal")


def heatmap(pivot: Pivot, *, title: str = "") -> Figure:
    """Draw a metric over two parameters of a sweep.

    Parameters
    ----------
    pivot : Pivot
        What `warpquant.sweep.SweepResult.pivot` returned.
    title : str, optional
        For example the symbol.

    Returns
    -------
    matplotlib.figure.Figure
        One cell for each pair of values, the best one framed. Blue is above zero and orange below. A plateau is worth
        more than a peak: neighbours of a good set that are bad say that it was luck.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.
    ParameterError
        If no cell has a value.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot
    >>> close = warpquant.data.sp500_20()["KO"][-1000:]
    >>> result = warpquant.atc.sweep(close, {"length": (20, 28), "De": (0.03, 0.1)}, metrics=["sharpe"])
    >>> figure = plot.heatmap(result.pivot("De", "length", "sharpe"))
    """
    values = np.ma.masked_invalid(pivot.values)
    if not values.count():
        raise ParameterError("pivot: holds no value, so there is nothing to draw")
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    figure = _figure(min(14.0, 3.2 + 0.62 * columns), min(12.0, 1.7 + 0.36 * rows))
    axes = figure.subplots()
    size = float(np.abs(values).max()) or 1.0
    mesh = axes.pcolormesh(values, cmap=_down_up(), vmin=-size, vmax=size, edgecolors="white", linewidth=1.2)
    if values.size <= 400:
        for (row, column), value in np.ndenumerate(pivot.values):
            if np.isfinite(value):
                ink = "white" if abs(value) > 0.6 * size else _INK
                axes.text(column + 0.5, row + 0.5, f"{value:.3g}", ha="center", va="center", fontsize=7, color=ink)
    row, column = divmod(int(values.argmax()), columns)
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=_INK, linewidth=1.8))
    for axis, names in ((axes.xaxis, pivot.columns), (axes.yaxis, pivot.index)):
        every = -(-len(names) // 24)
        axis.set_ticks(np.arange(0, len(names), every) + 0.5, [_short(name) for name in names[::every]])
    axes.set_xlabel(pivot.x, fontsize=9, color=_INK, parse_math=False)
    axes.set_ylabel(pivot.y, fontsize=9, color=_INK, parse_math=False)
    _tidy(axes)
    axes.grid(visible=False)
    scale: Any = figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05)
    scale.outline.set_visible(False)
    scale.ax.tick_params(colors=_MUTED, labelsize=8, length=0)
    _heading(axes, f"{pivot.metric}, in sample{f': {title}' if title else ''}")
    return figure


def _short(value: Any) -> str:
    """A value of a parameter, as an axis has room for it."""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)


def out_of_sample(evaluation: Evaluation, *, title: str = "") -> Figure:
    """Draw what chosen sets came to: equity out of sample, and the Sharpe ratios of each fold before and after.

    Parameters
    ----------
    evaluation : Evaluation
        What `warpquant.evaluate.walk_forward` or `purged_kfold` returned.
    title : str, optional
        For example the symbol.

    Returns
    -------
    matplotlib.figure.Figure
        Above, the equity of the account that follows the choices, with a line where the set changes; below, the Sharpe
        ratio of each choice in sample and out of sample.

    Raises
    ------
    ImportError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import plot
    >>> from warpquant.evaluate import walk_forward
    >>> close = warpquant.data.sp500_20()["KO"][-2000:]
    >>> figure = plot.out_of_sample(walk_forward(close, {"length": (20, 28, 40)}, train=1000, test=250))
    """
    figure = _figure(11, 6)
    top, bottom = figure.subplots(2, 1, height_ratios=(2.2, 1))
    x = np.arange(len(evaluation.returns))
    equity = np.cumprod(1.0 + np.nan_to_num(evaluation.returns))
    _tidy(top)
    top.plot(x, equity, color=_UP, linewidth=1.3)
    top.axhline(1, color=_MUTED, linewidth=0.7)
    starts = np.cumsum([0, *(fold.test[1] - fold.test[0] for fold in evaluation.folds)])
    for start in starts[1:-1]:
        top.axvline(start, color=_FAINT, linewidth=1.0)
    top.set_xlim(0, max(len(x) - 1, 1))
    top.set_xlabel("bars out of sample; a line where a set is chosen anew", fontsize=8, color=_MUTED)
    _heading(top, "Equity out of sample")

    folds = np.arange(len(evaluation.folds))
    before = [fold.chosen.values["sharpe"] if fold.chosen else np.nan for fold in evaluation.folds]
    after = [fold.metrics["sharpe"] for fold in evaluation.folds]
    _tidy(bottom)
    bottom.bar(folds - 0.2, before, 0.38, color=_MUTED, alpha=0.6, label="in sample")
    bottom.bar(folds + 0.2, after, 0.38, color=_UP, label="out of sample")
    bottom.axhline(0, color=_MUTED, linewidth=0.7)
    bottom.set_xticks(folds, [str(n + 1) for n in folds])
    bottom.set_xlabel("fold", fontsize=8, color=_MUTED)
    _legend(bottom)
    _heading(bottom, "Sharpe ratio of each choice")
    metric = evaluation.metric
    figure.suptitle(
        f"{f'{title}   ' if title else ''}{metric} out of sample {evaluation.metrics[metric]:+.2f}, best in sample "
        f"{evaluation.best.values[metric]:+.2f}, deflated Sharpe ratio {evaluation.deflated_sharpe:.2f}",
        x=0.01, ha="left", fontsize=12, fontweight="bold", color=_INK, parse_math=False,
    )  # fmt: skip
    return figure
