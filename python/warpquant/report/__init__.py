# SPDX-License-Identifier: Apache-2.0
"""A scan as one HTML file: ranked table, heat map of all signals through time, a chart of each symbol.

`report` makes it, `Report.write` writes it. The file holds everything that it shows and asks nothing of any network;
its Content-Security-Policy forbids that. Only NumPy is needed to make it, and a browser to read it. docs/report.md says
what is shown and how it is used.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import html
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from warpquant import __version__, atc
from warpquant._checks import whole
from warpquant._prices import Times, time_text
from warpquant._prices import count as counted
from warpquant.atc import Params
from warpquant.errors import ParameterError, ShapeError
from warpquant.plot import _family_labels
from warpquant.scan import ScanResult, _strength, _times_of, scan

from ._pack import Packed, pack, pack_times, price_decimals

__all__ = ["Report", "report"]

_FAMILY_NAMES = tuple(family.lower() for family in atc.FAMILIES)
_SIGNAL_DECIMALS = 4
_SCRIPTS = ("data.js", "draw.js", "table.js", "chart.js", "heat.js", "main.js")


@dataclasses.dataclass(frozen=True)
class Report:
    """A page, ready to be written.

    Attributes
    ----------
    html : str
        The page.
    title : str
        Its title.
    result : ScanResult
        The scan that it shows.
    charts : tuple of str
        Symbols that have a chart.
    """

    html: str = dataclasses.field(repr=False)
    title: str
    result: ScanResult = dataclasses.field(repr=False)
    charts: tuple[str, ...]

    def encode(self) -> bytes:
        """The bytes of the file: UTF-8, what that cannot hold as character references."""
        return self.html.encode("utf-8", "xmlcharrefreplace")

    def write(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the page to a file.

        Parameters
        ----------
        path : path
            For example ``"report.html"``. A file that is there is replaced.

        Returns
        -------
        pathlib.Path
            Where it lies.
        """
        path = pathlib.Path(path)
        path.write_bytes(self.encode())
        return path


def report(
    source: ScanResult | Mapping[str, Any],
    prices: Mapping[str, Any] | None = None,
    *,
    params: Params | Mapping[str, Any] | None = None,
    title: str = "",
    bars: int = 1000,
    charts: int = 50,
    strip: int = 250,
    num_threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Make the page of a scan.

    Parameters
    ----------
    source : ScanResult or mapping of str to array
        What `warpquant.scan.scan` returned, or prices as it takes them, which are then scanned.
    prices : mapping of str to array, optional
        With a `ScanResult`, the prices that were scanned. Without them the page has no charts, and no dates in its
        heat map.
    params : Params or mapping, optional
        Parameters of ATC, if prices are given to be scanned.
    title : str, optional
        Heading of the page; by default it counts the symbols.
    bars : int, default 1000
        Bars in a chart, counted from the last. Everything is computed from all bars.
    charts : int, default 50
        Most symbols with a chart: those with the strongest signals of either sign, and of equal ones the
        latest flip. The page says so if there are more.
    strip : int, default 250
        Bars in the heat map, if prices are given to be scanned; of a `ScanResult` as many as it kept (its `recent`).
    num_threads : int, optional
        As in `warpquant.atc.run`.
    progress : callable, optional
        Called with the number of charts done and to do.

    Returns
    -------
    Report
        The page; `Report.write` writes it.

    Raises
    ------
    ParameterError
        If an argument is out of range, or `params` come with a `ScanResult`, or `prices` with prices, or `prices` are
        not those of the scan.
    ShapeError
        If a symbol has not as many times as closes.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.report import report
    >>> page = report(warpquant.data.sp500_20(), charts=2, bars=250)
    >>> page.charts
    ('RRC', 'MSFT')
    >>> page.title
    'Trend scan of 20 symbols'
    """
    bars, charts = whole("bars", bars, 2), whole("charts", charts, 0)
    if isinstance(source, ScanResult):
        if params is not None:
            raise ParameterError("params: are those of the scan that source holds; leave them out")
        result = source
    else:
        if prices is not None:
            raise ParameterError("prices: belong to a ScanResult, and source holds prices itself; leave them out")
        prices = source
        result = scan(prices, params, recent=whole("strip", strip, 0), num_threads=num_threads)
    title = title or f"Trend scan of {len(result.rows):,} symbol{'' if len(result.rows) == 1 else 's'}"

    series = _Series(prices, result)
    drawn = [row.symbol for row in sorted(result.rows, key=_strength)[:charts]] if prices is not None else []
    pieces = []
    for done, symbol in enumerate(drawn, 1):
        pieces.append(_chart(*series.of(symbol), result.params, bars, num_threads))
        if progress is not None:
            progress(done, len(drawn))
    document = {
        "families": [
            {"name": family, "label": label, "lengths": lengths}
            for family, label, lengths in zip(
                atc.FAMILIES, _family_labels(result.params), result.params.family_lengths, strict=True
            )
        ],
        "thresholds": [result.params.long_threshold, result.params.short_threshold],
        "rows": _rows(result),
        "strip": _strip(result, series),
        "charts": dict(zip(drawn, pieces, strict=True)),
    }
    return Report(_page(title, result, document, len(drawn)), title, result, tuple(drawn))


class _Series:
    """Closes and times of the bars that the scan used, by symbol."""

    def __init__(self, prices: Mapping[str, Any] | None, result: ScanResult) -> None:
        self._prices = prices
        self._closes = {} if prices is None else {str(symbol): close for symbol, close in prices.items()}
        self._skips = result.params.nan_policy == "skip"
        self._bars = {row.symbol: row.bars for row in result.rows}

    def of(self, symbol: str) -> tuple[Any, Times | None]:
        if symbol not in self._closes:
            raise ParameterError(f"prices: lack {symbol!r}, a symbol of the scan")
        close = np.ascontiguousarray(self._closes[symbol], dtype=np.float64)
        times = _times_of(self._prices, symbol)
        if times is not None and len(times) != len(close):
            raise ShapeError(f"prices: {symbol!r} has {counted(len(times), 'time')} for {counted(len(close), 'close')}")
        if self._skips:
            present = np.isfinite(close)
            close, times = close[present], None if times is None else np.asarray(times)[present]
        if len(close) != self._bars[symbol]:
            raise ParameterError(
                f"prices: {symbol!r} has {counted(len(close), 'bar')} and had {self._bars[symbol]} in the scan"
            )
        return close, times

    def last_times(self, symbol: str, bars: int) -> Times | None:
        """Times of the last bars, if they are known and in order."""
        times = self.of(symbol)[1] if self._prices is not None else None
        if times is None:
            return None
        times = np.asarray(times)[len(times) - bars :]
        return times if np.all(times[1:] > times[:-1]) else None


def _finite(value: float, decimals: int) -> float | None:
    return round(value, decimals) if np.isfinite(value) else None


def _rows(result: ScanResult) -> list[list[Any]]:
    """Cells of the table, in the order of the columns in table.js."""
    return [
        [
            row.symbol, result._side(row), row.price, _finite(row.average, 6), row.direction, row.bars_since_flip,
            *(_finite(getattr(row, f"{name}_signal"), 6) for name in _FAMILY_NAMES), time_text(row.time), row.bars,
        ]
        for row in result.rows
    ]  # fmt: skip


def _strip(result: ScanResult, series: _Series) -> dict[str, Any] | None:
    """The recent average signals, one row for each symbol in the order of the table.

    Where all symbols have times, the columns are the last of all times that occur, and a symbol without a bar at one of
    them shows its bar before; else the last bars of all symbols stand below each other.
    """
    width = max((len(result.recent[row.symbol]) for row in result.rows), default=0)
    if not width:
        return None
    recent = [result.recent[row.symbol] for row in result.rows]
    times = [series.last_times(row.symbol, len(values)) for row, values in zip(result.rows, recent, strict=True)]
    table = np.full((len(recent), width), np.nan)
    known = [t for t in times if t is not None and len(t)]
    columns = None
    if len(known) == len(times) and len({t.dtype.kind for t in known}) == 1:
        columns = np.unique(np.concatenate(known))[-width:]
        table = table[:, : len(columns)]
        for cells, values, stamps in zip(table, recent, known, strict=True):
            at = np.searchsorted(stamps, columns, side="right") - 1
            alive = (at >= 0) & (columns <= stamps[-1])
            cells[alive] = values[at[alive]]
    else:
        for cells, values in zip(table, recent, strict=True):
            cells[width - len(values) :] = values
    return {"signal": pack(list(table), [3] * len(table)), "times": pack_times(columns)}


def _chart(close: Any, times: Times | None, params: Params, bars: int, num_threads: int | None) -> dict[str, Any]:
    """Everything that the chart of a symbol shows."""
    result = atc.run(close, params, outputs="all", detail=True, num_threads=num_threads)
    shown = slice(max(0, len(close) - bars), None)
    close = close[shown]
    averages = [average for name in _FAMILY_NAMES for average in result[f"{name}_ma"][:, shown]]
    equities = [result[f"{name}_s"][shown] for name in _FAMILY_NAMES]
    signals = [result["average"][shown], *(result[f"{name}_signal"][shown] for name in _FAMILY_NAMES)]
    series: Sequence[Any] = [close, result["direction"][shown], *signals, *equities, *averages]
    price, equity = price_decimals(close, averages), price_decimals(np.concatenate(equities))
    decimals = [price, 0, *[_SIGNAL_DECIMALS] * len(signals), *[equity] * len(equities), *[price] * len(averages)]
    packed: Packed = pack(series, decimals)
    return {**packed, "start": shown.start, "times": pack_times(None if times is None else times[shown])}


# ---- the page ----


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What allows this text, and no other, to be a script or style of the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(document: Any) -> str:
    """JSON that may stand in a script element whatever it holds."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _page(title: str, result: ScanResult, document: Mapping[str, Any], drawn: int) -> str:
    js = '"use strict";\n(() => {\n' + "\n".join(map(_file, _SCRIPTS)) + "})();\n"  # one scope for all of them
    counts = result.counts
    parts = {
        "last_bar": html.escape(_last_bar(result)),
        "charts_note": html.escape(_charts_note(drawn, len(result.rows))),
        "min_signal": f"{result.min_signal:g}",
        "params": _pairs(_changed(result.params)),
        "all_params": _pairs({name: str(value) for name, value in result.params.to_dict().items()}),
        "failures": _notes("Failures", [(f.symbol, f.reason, f.message) for f in result.failures]),
        "warnings": _notes("Warnings", [(w.symbol, "", w.message) for w in result.warnings]),
        **{name: f"{number:,}" for name, number in counts.items()},
    }
    return _filled(_file("report.html"), title, _file("report.css"), js, document, parts)


def _filled(template: str, title: str, css: str, js: str, document: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """A page that runs its own script and style alone, on data that are in it."""
    filled = {
        **parts,
        "policy": f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(js)}; base-uri 'none'; "
        "form-action 'none'",
        "title": html.escape(title),
        "css": css,
        "js": js,
        "data": _json(document),
        "version": html.escape(__version__),
        "made": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
    # One pass, so that nothing in the data is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: filled[place[1]], template)


def _last_bar(result: ScanResult) -> str:
    times = [row.time for row in result.rows if row.time is not None]
    if not times or len({isinstance(time, np.datetime64) for time in times}) > 1:
        return "times not known" if not times else ""
    latest = max(times)
    earlier = sum(bool(time < latest) for time in times)
    return f"Last bar {time_text(latest)}" + (f", {counted(earlier, 'symbol')} ending earlier" if earlier else "")


def _charts_note(drawn: int, symbols: int) -> str:
    if symbols == 0:
        return ""
    if drawn == symbols:
        return "Every symbol has a chart."
    if drawn == 0:
        return "This page was made without charts."
    have = "has" if drawn == 1 else "have"
    return f"{drawn:,} of {symbols:,} symbols {have} a chart: those with the strongest signals."


def _changed(params: Params) -> dict[str, str]:
    """The parameters that differ from the default, and those that everybody asks for."""
    default = Params(compat=params.compat)
    named = ("compat", "robustness", "La", "De", "long_threshold", "short_threshold", *Params._LENGTHS)
    values = params.to_dict()
    return {k: str(v) for k, v in values.items() if k in named or v != getattr(default, k)}


def _pairs(values: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in values.items())


def _notes(heading: str, notes: Sequence[tuple[str, str, str]]) -> str:
    if not notes:
        return ""
    lines = "".join(
        f"<li><b>{html.escape(symbol)}</b> <i>{html.escape(reason)}</i> {html.escape(message)}</li>"
        for symbol, reason, message in notes
    )
    opened = " open" if len(notes) <= 20 else ""
    return f'<details class="notes"{opened}><summary>{heading} ({len(notes):,})</summary><ul>{lines}</ul></details>'
