# SPDX-License-Identifier: Apache-2.0
"""Surfaces through time: kept, asked as of a moment, written, drawn (docs/surface/history.md)."""

from __future__ import annotations

import collections
import dataclasses
import html
import itertools
import os
import pathlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np

from warpquant import _checks
from warpquant.errors import ParameterError
from warpquant.report import _filled

from .fits import Floats
from .mixture import Mixture
from .objects import Surface

__all__ = ["History"]

#: Columns of `History.to_columns` that say how good a slice is.
_DIAGNOSTICS = ("rmse", "min_g", "slack", "quotes", "rejected", "inside")
_MODEL = ("p0", "p1", "p2", "p3", "p4")
#: Points of a smile, and decimals of volatilities, in a page.
_POINTS, _DECIMALS = 41, 5


@dataclasses.dataclass(frozen=True, eq=False)
class _Entry:
    """A surface, and what is known of its slices."""

    surface: Surface
    diagnostics: dict[str, Floats]


def _diagnosed(surface: Surface) -> _Entry:
    n = len(surface.expiries)
    nothing = np.full(n, np.nan)
    check = surface.check()
    found = {
        "rmse": nothing if surface.rmse is None else np.asarray(surface.rmse, dtype=np.float64),
        "min_g": check.butterfly.min_g, "slack": np.concatenate([check.calendar.slack, [np.nan]]),
        "quotes": nothing.copy(), "rejected": nothing.copy(), "inside": nothing.copy(),
    }  # fmt: skip
    if surface.quotes is not None:
        used = surface.quotes
        sided = bool((used.kept & np.isfinite(used.bid_vol) & ~np.isnan(used.ask_vol)).any())
        shares = surface.coverage() if sided else {}
        for i, name in enumerate(surface.expiries):
            rows = used.chain.expiry == name
            found["quotes"][i] = np.sum(rows & used.kept)
            found["rejected"][i] = np.sum(rows & ~used.kept)
            found["inside"][i] = shares.get(name, np.nan)
    return _Entry(surface, found)


class History:
    """Surfaces in the order of their moments; the oldest make room for new ones.

    Parameters
    ----------
    size : int, default 10000
        How many are kept.

    Examples
    --------
    >>> from warpquant import data, surface
    >>> history = surface.History()
    >>> history.append(surface.Surface.fit(data.goog_options(), exercise="american"))
    >>> len(history), history.asof("2015-12-25").model
    (1, 'essvi')
    """

    def __init__(self, size: int = 10_000) -> None:
        self.size = _checks.whole("size", size, 1)
        self._entries: collections.deque[_Entry] = collections.deque(maxlen=self.size)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Surface]:
        return (entry.surface for entry in self._entries)

    def append(self, surface: Surface) -> None:
        """Keep one, with the certificates of its slices and counts of its quotes.

        Raises
        ------
        ParameterError
            If it has no moment, or one before the last.
        """
        if surface.as_of is None or np.isnat(np.datetime64(surface.as_of)):
            raise ParameterError("surface: has no moment (as_of)")
        last = self._entries[-1].surface.as_of if self._entries else None
        if last is not None and surface.as_of < last:
            raise ParameterError(f"surface: is of {surface.as_of}, before the last one of {last}")
        self._entries.append(_diagnosed(surface))

    def asof(self, moment: Any) -> Surface:
        """The last surface at or before a moment: none that was made of later quotes.

        Raises
        ------
        ParameterError
            If there is none so early, or it is no moment.
        """
        try:
            when = np.datetime64(moment)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"moment: {moment!r} is none ({error})") from error
        if np.isnat(when):
            raise ParameterError(f"moment: {moment!r} is none; accepted are dates and times")
        moments = np.array([s.as_of for s in self], dtype="datetime64[ns]")
        place = int(np.searchsorted(moments, when, side="right"))
        if place == 0:
            raise ParameterError(f"moment: there is no surface at or before {when}")
        return self._entries[place - 1].surface

    def to_columns(self) -> dict[str, Any]:
        """One row for each slice.

        Number of the surface, moment, model, expiry, years, forward, rate and spot; the model's own parameters p0 to
        p4; raw SVI parameters a, b, rho, m and sigma (of a mixture those of its backbone); rmse, the least g, the least
        difference to the next slice, how many quotes were used and rejected, and the share that encloses the slice. NaN
        where there is none.
        Of mixtures also nodes, masses and variance, as lists.
        """
        columns: dict[str, list[Any]] = {
            name: [] for name in ("surface", "as_of", "model", "expiry", "years", "forward", "rate", "spot",
                                  *_MODEL, "a", "b", "rho", "m", "sigma", *_DIAGNOSTICS)
        }  # fmt: skip
        mixtures = any(s.slices for s in self)
        laws: dict[str, list[Any]] = {"nodes": [], "masses": [], "variance": []} if mixtures else {}
        for number, entry in enumerate(self._entries):
            s, raw = entry.surface, entry.surface.raw()
            spot = np.nan if s.spot is None else s.spot
            for i, name in enumerate(s.expiries):
                own = np.full(5, np.nan)
                own[: s.parameters.shape[1]] = s.parameters[i]
                measured = (entry.diagnostics[d][i] for d in _DIAGNOSTICS)
                terms = (s.years[i], s.forward[i], s.rate[i], spot)
                row = (number, s.as_of, s.model, name, *terms, *own, *raw[i], *measured)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
                if laws:
                    law = s.slices[i] if s.slices else None
                    laws["nodes"].append([] if law is None else law.nodes.tolist())
                    laws["masses"].append([] if law is None else law.masses.tolist())
                    laws["variance"].append(np.nan if law is None else law.variance)
        made: dict[str, Any] = {
            name: np.array(values, dtype="datetime64[ns]" if name == "as_of" else None)
            for name, values in columns.items()
        }
        made.update({name: np.array(v) if name == "variance" else v for name, v in laws.items()})
        return made

    def to_parquet(self, path: Any) -> None:
        """Write `to_columns` to a file, which `from_parquet` reads.

        Raises
        ------
        ImportError
            If PyArrow is not installed: it comes with ``warpquant[data]``.
        """
        pyarrow = _arrow()
        pyarrow.parquet.write_table(pyarrow.table(self.to_columns()), path)

    @classmethod
    def from_parquet(cls, path: Any, size: int = 10_000) -> History:
        """Surfaces that `to_parquet` wrote, with the same bits; quotes are not in the file.

        Raises
        ------
        ParameterError
            If the file has other columns.
        ImportError
            If PyArrow is not installed: it comes with ``warpquant[data]``.
        """
        table = _arrow().parquet.read_table(path)
        lacking = [n for n in ("as_of", "model", "expiry", *_MODEL, *_DIAGNOSTICS) if n not in table.column_names]
        if lacking:
            raise ParameterError(f"path: has no column {lacking[0]!r}; to_parquet writes one")
        lists = {
            name: table[name].to_pylist()
            for name in ("model", "expiry", "nodes", "masses")
            if name in table.column_names
        }
        columns = {name: table[name].to_numpy() for name in table.column_names if name not in lists}
        made = cls(size)
        moments = columns["as_of"]
        if "surface" in columns:
            breaks = np.diff(columns["surface"]) != 0
        else:  # a file of before: a surface's expiries rise; where they do not, or the moment changes, another begins
            breaks = (moments[1:] != moments[:-1]) | (np.diff(columns["years"]) <= 0)
        starts = [0, *(np.nonzero(breaks)[0] + 1).tolist(), len(moments)]
        for first, last in itertools.pairwise(starts):
            if first == last:
                continue
            rows = slice(first, last)
            model = lists["model"][first]
            width = 5 if model == "svi" else 3
            spot, rmse = float(columns["spot"][first]), columns["rmse"][rows]
            slices: tuple[Mixture, ...] = ()
            if model == "mixture":
                slices = tuple(
                    Mixture(np.array(lists["nodes"][i]), np.array(lists["masses"][i]), float(columns["variance"][i]))
                    for i in range(first, last)
                )
            one = Surface(
                model, tuple(lists["expiry"][rows]), columns["years"][rows],
                np.stack([columns[name][rows] for name in _MODEL[:width]], axis=1), columns["forward"][rows],
                columns["rate"][rows], None if np.isnan(spot) else spot, None if np.isnan(rmse).all() else rmse.copy(),
                as_of=moments[first], slices=slices,
            )  # fmt: skip
            made._entries.append(_Entry(one, {name: columns[name][rows].copy() for name in _DIAGNOSTICS}))
        return made

    def to_html(self, path: str | os.PathLike[str], *, title: str = "", reach: float = 3.0) -> pathlib.Path:
        """Write an animation of the smiles as one page, which asks nothing of any network.

        A slider and a button go through the moments; curves have the bids and asks of their quotes, where surfaces were
        fitted to some, and the last curves fade behind them. Below runs at-the-money volatility.

        Parameters
        ----------
        path : path
            Such as ``"history.html"``. A file that is there is replaced.
        title : str, optional
            Heading.
        reach : float, default 3
            Standard deviations of each expiry to either side that are drawn.

        Returns
        -------
        pathlib.Path
            Where it lies.

        Raises
        ------
        ParameterError
            If there is no surface.
        """
        _checks.number("reach", reach, 0.1, 20.0)
        if not self._entries:
            raise ParameterError("history: has no surface to draw")
        page = _page(title or f"{len(self):,} surfaces", _document([e.surface for e in self._entries], reach))
        path = pathlib.Path(path)
        path.write_bytes(page.encode("utf-8", "xmlcharrefreplace"))
        return path


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet files need PyArrow: pip install 'warpquant[data]'") from error
    return pyarrow


def _numbers(values: Any) -> list[float | None]:
    return [round(float(v), _DECIMALS) if np.isfinite(v) else None for v in values]


def _document(surfaces: list[Surface], reach: float) -> dict[str, Any]:
    """What the page draws: for each moment and expiry volatilities on the expiry's places, and its quotes."""
    names = list(dict.fromkeys(name for s in surfaces for name in s.expiries))
    width = {name: 0.0 for name in names}
    for s in surfaces:
        for name, years in zip(s.expiries, s.years.tolist(), strict=True):
            width[name] = max(width[name], reach * float(np.sqrt(s.total_variance(0.0, years))))
    names.sort(key=lambda name: width[name])
    places = {name: np.linspace(-width[name], width[name], _POINTS) for name in names}
    frames = []
    for s in surfaces:
        slices: dict[str, Any] = {}
        for name, years in zip(s.expiries, s.years.tolist(), strict=True):
            vol = np.sqrt(s.total_variance(places[name], years) / years)
            one: dict[str, Any] = {"v": _numbers(vol)}
            if s.quotes is not None:
                used = s.quotes
                rows = used.kept & (used.chain.expiry == name) & (np.abs(used.k) <= width[name])
                one["q"] = [_numbers(v[rows]) for v in (used.k, used.bid_vol, used.ask_vol)]
            slices[str(names.index(name))] = one
        frames.append({"t": str(np.array(s.as_of, dtype="datetime64[s]")).replace("T", " "), "s": slices})
    return {"names": names, "k": [_numbers(places[name]) for name in names], "frames": frames}


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _page(title: str, document: dict[str, Any]) -> str:
    frames = document["frames"]
    parts = {
        "first": html.escape(frames[0]["t"]), "last": html.escape(frames[-1]["t"]), "steps": str(len(frames) - 1),
    }  # fmt: skip
    return _filled(_file("history.html"), title, _file("history.css"), _file("history.js"), document, parts)
