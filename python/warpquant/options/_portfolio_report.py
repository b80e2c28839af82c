# SPDX-License-Identifier: Apache-2.0
"""A book on one page: HTML that needs no network and no script, and Markdown."""

from __future__ import annotations

import dataclasses
import datetime
import html
import os
import pathlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from warpquant import __version__
from warpquant.errors import ParameterError
from warpquant.report import _hash

from ._limits import Alert, Limit

if TYPE_CHECKING:
    from ._hedge import Hedge
    from .portfolio import Attribution, Portfolio, ScenarioGrid

__all__ = ["PortfolioReport"]

_SUMS = ("price", "delta_cash", "gamma_cash", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga", "charm")
_UNITS = (
    "price: value; delta_cash: delta times spot; gamma_cash: change of delta_cash when the spot gains 1 %; vega per "
    "1.00 of volatility, theta per year, rho per 1.00 of rate; everything times quantity and multiplier."
)
_MOST_CELLS = 21  # of a scenario map along an axis; larger grids are thinned


@dataclasses.dataclass(frozen=True)
class _Section:
    """A heading, a remark, and a table whose first columns are texts; or a map."""

    heading: str
    remark: str
    names: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    texts: int = 1
    marked: frozenset[int] = frozenset()
    picture: str = ""


@dataclasses.dataclass(frozen=True)
class PortfolioReport:
    """A page on a book, ready to be written.

    Attributes
    ----------
    title : str
        Its heading.
    html : str
        The page; it asks nothing of any network and runs no script.
    markdown : str
        The same as text.
    alerts : tuple of Alert
        Limits that are passed, or nearly so.
    """

    title: str
    html: str = dataclasses.field(repr=False)
    markdown: str = dataclasses.field(repr=False)
    alerts: tuple[Alert, ...]

    def write(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the page to a file: Markdown if its suffix is ``.md``, HTML if it is ``.html`` or ``.htm``.

        Raises
        ------
        ParameterError
            If the suffix is another.
        """
        path = pathlib.Path(path)
        texts = {".md": self.markdown, ".html": self.html, ".htm": self.html}
        if path.suffix.lower() not in texts:
            raise ParameterError(f"path: {path.suffix!r} is unknown; accepted are {', '.join(texts)}")
        path.write_bytes(texts[path.suffix.lower()].encode("utf-8", "xmlcharrefreplace"))
        return path


def make(
    book: Portfolio,
    title: str,
    by: str | Iterable[str],
    grid: ScenarioGrid | None,
    limits: tuple[Limit, ...],
    attribution: Attribution | None,
    hedge: Hedge | None,
) -> PortfolioReport:
    by = (by,) if isinstance(by, str) else tuple(by)
    if grid is None:
        # Volatilities of Bachelier's model are in units of price: points of them mean nothing.
        kind = "relative" if book.model == "bachelier" else "absolute"
        grid = book.scenarios(np.linspace(-0.2, 0.2, 9), np.linspace(-0.1, 0.1, 5), vol_kind=kind)
    alerts = tuple(book.check(limits, grid))
    title = title or f"Book of {len(book):,} position{'' if len(book) == 1 else 's'}"
    sections = [_greeks(book, by), *_limits(limits, alerts), *_scenarios(grid)]
    if attribution is not None:
        sections.append(_attribution(attribution))
    if hedge is not None:
        sections.append(_hedge(hedge))
    sections.append(_positions(book))
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    about = f"{book!r}. Made {made} by warpquant {__version__}."
    return PortfolioReport(title, _html(title, about, sections), _markdown(title, about, sections), alerts)


# ---- what is shown ----


def _greeks(book: Portfolio, by: tuple[str, ...]) -> _Section:
    sums = book.greeks(_SUMS, by=by)
    total = book.greeks(_SUMS)
    rows: list[list[Any]] = [
        [*(sums[name][i] for name in by), int(sums["positions"][i]), *(float(sums[name][i]) for name in _SUMS)]
        for i in range(len(sums["positions"]))
    ]
    rows.append(["all", *[""] * (len(by) - 1), len(book), *(total[name] for name in _SUMS)])
    excluded = int(total["excluded"])
    remark = _UNITS + (f" {excluded:,} positions have no value and are in no sum." if excluded else "")
    return _Section("Greeks", remark, (*by, "positions", *_SUMS), rows, len(by), frozenset())


def _limits(limits: tuple[Limit, ...], alerts: tuple[Alert, ...]) -> list[_Section]:
    if not limits:
        return []
    breaches = sum(a.level == "breach" for a in alerts)
    remark = f"{len(limits)} limits, {breaches} breaches, {len(alerts) - breaches} warnings."
    rows = [[a.level, a.metric, " / ".join(a.group) or "all", a.value, a.bound, a.used] for a in alerts]
    marked = frozenset(i for i, a in enumerate(alerts) if a.level == "breach")
    return [_Section("Limits", remark, ("level", "metric", "group", "value", "bound", "used"), rows, 3, marked)]


def _thin(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, _MOST_CELLS)).round().astype(int).tolist()))


def _scenarios(grid: ScenarioGrid) -> list[_Section]:
    pnl = grid["pnl"] if grid.groups is None else grid["pnl"].sum(axis=0)
    worst = grid.worst()
    remark = (
        f"Every position repriced at {pnl.size:,} nodes. Largest loss {min(worst['pnl'], 0.0):,.6g}, at a spot of "
        f"{_move(worst['spot'], grid.spot_kind)}, a volatility of {_vol_move(worst['vol'], grid.vol_kind)}, "
        f"{worst['time'] * 365:g} days on."
    )
    sections = []
    spots, vols = _thin(len(grid.spot)), _thin(len(grid.vol))
    for t, years in enumerate(grid.time):
        table = pnl[t][np.ix_(vols, spots)]
        columns = [_move(grid.spot[s], grid.spot_kind) for s in spots]
        labels = [_vol_move(grid.vol[v], grid.vol_kind) for v in vols]
        rows = [[label, *map(float, row)] for label, row in zip(labels, table, strict=True)]
        heading = f"Profit and loss after {years * 365:g} days"
        picture = _map(table, columns, labels)
        sections.append(
            _Section(heading, remark if t == 0 else "", ("volatility \\ spot", *columns), rows, 1, picture=picture)
        )
    return sections


def _move(move: float, kind: str) -> str:
    return f"{round(100 * move, 9) + 0.0:+g} %" if kind == "relative" else f"{round(move, 9) + 0.0:+g}"


def _vol_move(move: float, kind: str) -> str:
    return f"{round(100 * move, 9) + 0.0:+g} {'points' if kind == 'absolute' else '%'}"


def _map(table: Any, columns: Sequence[str], labels: Sequence[str]) -> str:
    """The table as an SVG map: blue gains, orange losses."""
    most = float(np.abs(table).max()) or 1.0
    width, height, left, top = 62, 24, 90, 22
    cells = []
    for i, row in enumerate(table):
        y = top + i * height
        cells.append(f'<text x="{left - 6}" y="{y + 16}" text-anchor="end">{html.escape(labels[i])}</text>')
        for j, value in enumerate(row):
            share = float(value) / most
            end = (0, 114, 178) if share > 0 else (213, 94, 0)
            rgb = "#" + "".join(f"{round(247 + (c - 247) * 0.75 * abs(share)):02x}" for c in end)
            x = left + j * width
            cells.append(f'<rect x="{x}" y="{y}" width="{width - 1}" height="{height - 1}" fill="{rgb}"/>')
            middle = f'x="{x + width / 2:g}" y="{y + 15}" text-anchor="middle"'
            cells.append(f'<text class="value" {middle}>{_short(float(value))}</text>')
    for j, name in enumerate(columns):
        centre = left + (j + 0.5) * width
        cells.append(f'<text x="{centre:g}" y="15" text-anchor="middle">{html.escape(name)}</text>')
    w, h = left + len(columns) * width, top + len(labels) * height
    return (
        f'<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        f'aria-label="Profit and loss over moves of spot and volatility">{"".join(cells)}</svg>'
    )


def _short(value: float) -> str:
    for least, size, unit in ((1e9, 1e9, "b"), (1e6, 1e6, "m"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / size:,.4g}{unit}"
    return f"{value:.4g}"


def _attribution(found: Attribution) -> _Section:
    columns = found.to_dict()
    groups: dict[str, list[str]] = found.groups or {}
    count = len(next(iter(groups.values()), [""]))
    names = [name for name in columns if name not in groups]
    rows: list[list[Any]] = [
        [*(values[i] for values in groups.values()), *(float(np.atleast_1d(columns[name])[i]) for name in names)]
        for i in range(count)
    ]
    if not groups:
        rows[0].insert(0, "all")
    elif count > 1:
        rows.append(["all", *[""] * (len(groups) - 1), *(float(np.sum(columns[name])) for name in names)])
    remark = "Terms of Taylor's series, what they explain, the two full valuations' difference, and the residual."
    return _Section("Attribution", remark, (*(groups or ("book",)), *names), rows, max(len(groups), 1))


def _hedge(hedge: Hedge) -> _Section:
    count = len(hedge.quantity)
    labels = hedge.book.labels
    names = ("name", "underlying", "kind", "quantity", "multiplier")
    own = labels.get("name", [""] * len(hedge.book))[-count:]
    rows = [
        [own[i], labels["underlying"][-count:][i], labels["kind"][-count:][i], float(hedge.quantity[i]),
         float(hedge.book.fields["multiplier"][-count:][i])]
        for i in range(count)
    ]  # fmt: skip
    remark = (
        f"Least squares on {', '.join(hedge.targets)}: exposure in money {hedge.risk_before:,.6g} before and "
        f"{hedge.risk_after:,.6g} after, at a cost of {hedge.cost:,.6g}."
    )
    return _Section("Hedge", remark, names, rows, 3)


def _positions(book: Portfolio, most: int = 200) -> _Section:
    columns = book.positions(("price", "delta", "gamma", "vega", "theta"))
    names = [name for name in ("name", "underlying", "kind") if name in columns]
    names += ["spot", "strike", "expiry", "vol", "quantity", "multiplier", "price", "delta", "gamma", "vega", "theta"]
    value = np.abs(np.nan_to_num(columns["price"] * book.weight))
    order = np.argsort(-value, kind="stable")[:most]
    rows = [[_python(columns[name][i]) for name in names] for i in order]
    remark = "Per unit, the largest first." + (f" {most:,} of {len(book):,}." if len(book) > most else "")
    return _Section("Positions", remark, names, rows, sum(name in ("name", "underlying", "kind") for name in names))


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# ---- how it is written ----


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not np.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _html(title: str, about: str, sections: Sequence[_Section]) -> str:
    css = resources.files(__package__).joinpath("portfolio.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src {_hash(css)}; base-uri 'none'; form-action 'none'"
    parts = [_html_section(section) for section in sections]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{css}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n<p>{html.escape(about)}</p>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _html_section(section: _Section) -> str:
    text = f"<section>\n<h2>{html.escape(section.heading)}</h2>\n"
    if section.remark:
        text += f"<p>{html.escape(section.remark)}</p>\n"
    if section.picture:
        return f"{text}{section.picture}\n</section>"
    if not section.rows:
        return f"{text}<p>Nothing.</p>\n</section>"
    head = "".join(
        f'<th scope="col"{" class=text" if i < section.texts else ""}>{html.escape(name)}</th>'
        for i, name in enumerate(section.names)
    )
    body = []
    for number, row in enumerate(section.rows):
        kind = ' class="breach"' if number in section.marked else ' class="sum"' if row[0] == "all" else ""
        cells = []
        for i, value in enumerate(row):
            loss = isinstance(value, float) and value < 0
            mark = ' class="text"' if i < section.texts else ' class="loss"' if loss else ""
            cells.append(f"<td{mark}>{html.escape(_cell(value))}</td>")
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return (
        f"{text}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + "\n</tbody>\n</table>\n</section>"
    )


def _markdown(title: str, about: str, sections: Sequence[_Section]) -> str:
    lines = [f"# {_escape(title)}", "", _escape(about), ""]
    for section in sections:
        lines += [f"## {_escape(section.heading)}", ""]
        if section.remark:
            lines += [_escape(section.remark), ""]
        if not section.rows:
            lines += ["Nothing.", ""]
            continue
        lines.append("| " + " | ".join(map(_escape, section.names)) + " |")
        lines.append("|" + "|".join("---" if i < section.texts else "--:" for i in range(len(section.names))) + "|")
        lines += ["| " + " | ".join(_escape(_cell(value)) for value in row) + " |" for row in section.rows]
        lines.append("")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """A text of somebody else's as text, whatever it holds."""
    flat = " ".join(text.split())
    for mark in ("\\", "|", "`", "*", "<", "["):
        flat = flat.replace(mark, f"\\{mark}")
    return flat
