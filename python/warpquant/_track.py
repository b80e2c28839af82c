# SPDX-License-Identifier: Apache-2.0
"""The state of every symbol of a watch, and what each batch of records changes in it."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _statefile, atc
from ._calendar import NO_TIME, Timeframe, moment
from ._follow import Bad, Record
from .atc import Params
from .errors import StateError
from .timeframes import MultiStream, execution

__all__ = ["SCHEMA", "Change", "Counters", "Tracker"]

#: Name and version of `Change.to_dict`; the number grows when a field changes its meaning or goes.
SCHEMA = "warpquant.watch/1"

_OUTPUTS = ("average", "trend", "direction")
_KINDS = ("direction", "trend", "average")
#: Most values of one update; batches with more are cut.
_CELLS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Change:
    """A bar that changed something.

    Attributes
    ----------
    watch : str
        Name of the watch, made at random with its state; with `seq` it names a change that no other has.
    seq : int
        Number of the change, from 1.
    symbol : str
        Name of the symbol.
    timeframe : str or None
        Timeframe of the bar; None if every record is one.
    time : datetime64[ns] or None
        Time of the bar, for a timeframe its start, in UTC.
    bars : int
        Bars of the symbol so far.
    price, average : float
        Its close and average signal.
    trend, direction : int
        Sign of the average, and the class latched at the thresholds.
    changes : tuple of str
        What changed: ``direction`` (a flip), ``trend``, ``average`` (by `min_change` since it was last told).
    previous : dict
        ``average``, ``trend`` and ``direction`` of the bar before.
    again : bool
        Whether it may have been told before, by a run that was killed in between.
    """

    watch: str
    seq: int
    symbol: str
    timeframe: str | None
    time: np.datetime64 | None
    bars: int
    price: float
    average: float
    trend: int
    direction: int
    changes: tuple[str, ...]
    previous: Mapping[str, Any]
    again: bool = False

    @property
    def is_flip(self) -> bool:
        """Whether the direction changed."""
        return "direction" in self.changes

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them: NaN as None, times as text in UTC."""
        values: dict[str, Any] = {"schema": SCHEMA, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}}
        values["time"] = time_text(self.time)
        values["changes"] = list(self.changes)
        values["previous"] = {name: _plain(value) for name, value in self.previous.items()}
        if not self.again:
            del values["again"]
        return {name: _plain(value) for name, value in values.items()}

    def to_json(self) -> str:
        """The same as one line of JSON."""
        text = json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False)
        # Names of files may hold bytes that are no text (lone surrogates); escaped they are what JSON writes for them.
        return text.encode("utf-8", "backslashreplace").decode()

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Change:
        fields = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}
        fields["changes"] = tuple(fields["changes"])
        fields["time"] = None if fields["time"] is None else np.datetime64(fields["time"].removesuffix("Z"), "ns")
        for name in ("price", "average"):
            fields[name] = math.nan if fields[name] is None else fields[name]
        return cls(**fields)


def time_text(when: np.datetime64 | None) -> str | None:
    """A moment of UTC in ISO form, to the second if it has no fraction."""
    if when is None or np.isnat(when):
        return None
    seconds, _, fraction = str(when.astype("datetime64[ns]")).partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass
class Counters:
    """What a watch has done since it started.

    Attributes
    ----------
    records, bars : int
        Records used, and bars that they made.
    repeated : int
        Prices passed over because they were there already.
    changes : Counter of str
        Changes told, by what changed.
    bad : Counter of str
        Lines that could not be used, by reason.
    saves : int
        States saved.
    update_seconds : float
        Time taken by updates.
    last_time : int
        Time of the newest record, in nanoseconds since 1970; 0 before the first.
    """

    records: int = 0
    bars: int = 0
    repeated: int = 0
    changes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    bad: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    saves: int = 0
    update_seconds: float = 0.0
    last_time: int = 0


class _Told:
    """The last bar of each symbol in one timeframe, and the average last told."""

    _FIELDS = (("average", np.float64), ("trend", np.int8), ("direction", np.int8), ("told", np.float64))

    def __init__(self) -> None:
        self.values: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in self._FIELDS}

    def add(self, symbols: int) -> None:
        for name, kind in self._FIELDS:
            self.values[name] = np.concatenate([self.values[name], np.zeros(symbols, kind)])

    def compare(
        self, row: int, outputs: Mapping[str, npt.NDArray[Any]], min_change: float | None
    ) -> list[tuple[int, tuple[str, ...], dict[str, Any]]]:
        """Which bars of a symbol change something: place, what, and the values of the bar before."""
        values = self.values
        before = {name: np.r_[values[name][row], outputs[name][:-1]] for name in _OUTPUTS}
        flips, turns = (outputs[name] != before[name] for name in ("direction", "trend"))
        average, told = outputs["average"], float(values["told"][row])
        found = []
        for j in range(len(average)) if min_change is not None else np.flatnonzero(flips | turns).tolist():
            moved = min_change is not None and abs(average[j] - told) >= min_change
            kinds = tuple(kind for kind, is_so in zip(_KINDS, (flips[j], turns[j], moved), strict=True) if is_so)
            if kinds:
                found.append((j, kinds, {name: before[name][j].item() for name in _OUTPUTS}))
                told = float(average[j]) if not math.isnan(average[j]) else told
        for name in _OUTPUTS:
            values[name][row] = outputs[name][-1]
        values["told"][row] = told
        return found


class Tracker:
    """The state of all symbols, in every timeframe, and what is new in it after each batch of records."""

    def __init__(
        self, params: Params, timeframes: Sequence[Timeframe], stamp: str, device: str | None, num_threads: int | None
    ) -> None:
        self._how = execution(device, num_threads)
        self._stream: Any = None
        self._frames: MultiStream | None = None
        if timeframes:
            self._frames = MultiStream(params, (), timeframes, stamp=stamp, outputs=_OUTPUTS, **self._how)
        else:
            self._stream = atc.Stream(params, (), outputs=_OUTPUTS, **self._how)
        self._told = {name: _Told() for name in ([f.text for f in timeframes] or [""])}
        self._rows: dict[str, int] = {}
        self._time = np.zeros(0, np.int64)
        self._known_until = np.zeros(0, np.int64)
        self.counters = Counters()

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def last(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Timeframe (or an empty text) to symbol to outputs of the last bar."""
        if self._frames is None:
            every = {"": self._stream.last()}
        else:
            every = {name: bars.outputs for name, bars in self._frames.last().items()}
        return {
            name: {s: {n: x[i].item() for n, x in outputs.items()} for s, i in self._rows.items()}
            for name, outputs in every.items()
        }

    def bars(self) -> dict[str, dict[str, int]]:
        """Timeframe (or an empty text) to symbol to number of bars."""
        every = {"": self._stream.bars} if self._frames is None else self._frames.bars
        return {name: {s: int(bars[i]) for s, i in self._rows.items()} for name, bars in every.items()}

    def _add(self, symbols: Iterable[str]) -> None:
        new = [s for s in dict.fromkeys(symbols) if s not in self._rows]
        if not new:
            return
        (self._stream if self._frames is None else self._frames).add(new)
        for symbol in new:
            self._rows[symbol] = len(self._rows)
        for told in self._told.values():
            told.add(len(new))
        self._time = np.r_[self._time, np.full(len(new), NO_TIME)]
        self._known_until = np.r_[self._known_until, np.full(len(new), NO_TIME)]

    def repeats_are_fine(self) -> None:
        """From now on, bars up to here are passed over in silence: who feeds us may begin earlier than we ended."""
        self._known_until = self._time.copy()

    def feed(
        self, records: Sequence[Record], repeats: bool, min_change: float | None
    ) -> tuple[list[Change], list[Bad]]:
        """Take in records, in order; gives what changed (without numbers), and what could not be used."""
        begin = time.monotonic()
        self._add(s for r in records for s, price in r.prices.items() if math.isfinite(price))
        usable, bad = [], []
        for record in records:
            row, refused = self._admit(record, repeats)
            if refused is not None:
                bad.append(refused)
            if row:
                usable.append((record, row))
        changes = self._feed_bars(usable, min_change) if self._frames is None else self._feed_frames(usable, min_change)
        self.counters.records += len(usable)
        self.counters.update_seconds += time.monotonic() - begin
        return changes, bad

    def _admit(self, record: Record, repeats: bool) -> tuple[dict[int, float], Bad | None]:
        """Those prices of a record, by row, that may be taken in, and why others may not."""
        when, bad = record.time, None
        where = (record.file, record.line)
        if when is None and self._frames is not None:
            return {}, Bad("no_time", *where, "has no time, which a timeframe needs")
        good = {}
        for symbol, price in record.prices.items():
            if not math.isfinite(price):
                continue
            row = self._rows[symbol]
            last = int(self._time[row])
            if last != NO_TIME and when is None:
                bad = Bad("no_time", *where, f"{symbol}: has no time, unlike the bars before")
                continue
            if when is not None and (when < last or (when == last and self._frames is None)):
                if repeats or when <= self._known_until[row]:
                    self.counters.repeated += 1
                else:
                    word = "duplicate" if when == last else "late"
                    bad = Bad(word, *where, f"{symbol}: {moment(when)} comes after {moment(last)}")
                continue
            if when is not None:
                self._time[row] = when
                self.counters.last_time = max(self.counters.last_time, when)
            good[row] = price
        return good, bad

    def _feed_bars(self, usable: list[tuple[Record, dict[int, float]]], min_change: float | None) -> list[Change]:
        """Each price is a bar."""
        bars: dict[int, list[tuple[int, float]]] = {}
        for place, (_, row) in enumerate(usable):
            for i, price in row.items():
                bars.setdefault(i, []).append((place, price))
        longest = max(map(len, bars.values()), default=0)
        if longest * len(self._rows) > _CELLS and len(usable) > 1:
            half = len(usable) // 2
            return self._feed_bars(usable[:half], min_change) + self._feed_bars(usable[half:], min_change)
        if not bars:
            return []
        block = np.full((len(self._rows), longest), np.nan)
        for i, some in bars.items():
            block[i, : len(some)] = [price for _, price in some]
        before = self._stream.bars
        outputs = self._stream.update_many(block)
        symbols, found = self.symbols, []
        for i, some in bars.items():
            of_row = {name: outputs[name][i, : len(some)] for name in _OUTPUTS}
            self.counters.bars += len(some)
            for j, kinds, previous in self._told[""].compare(i, of_row, min_change):
                place, price = some[j]
                when = usable[place][0].time
                change = _change(symbols[i], None, when, int(before[i]) + j + 1, price, of_row, j, kinds, previous)
                found.append((place, i, change))
        return [change for *_, change in sorted(found, key=lambda x: x[:2])]

    def _feed_frames(self, usable: list[tuple[Record, dict[int, float]]], min_change: float | None) -> list[Change]:
        """Each price goes into the running bars."""
        found: list[Change] = []
        group: dict[int, float] = {}
        when: int | None = None
        for record, row in usable:
            if group and (record.time != when or group.keys() & row.keys()):
                found += self._update_frames(when, group, min_change)
                group = {}
            when = record.time
            group.update(row)
        if group:
            found += self._update_frames(when, group, min_change)
        return found

    def _update_frames(self, when: int | None, group: Mapping[int, float], min_change: float | None) -> list[Change]:
        assert self._frames is not None
        values = np.full(len(self._rows), np.nan)
        values[list(group)] = list(group.values())
        found = []
        for name, bars in self._frames.update(np.datetime64(when, "ns"), values).items():
            for i in np.flatnonzero(bars.finished).tolist():
                self.counters.bars += 1
                of_row = {n: bars.outputs[n][i : i + 1] for n in _OUTPUTS}
                for j, kinds, previous in self._told[name].compare(i, of_row, min_change):
                    start, number = int(bars.start[i].astype(np.int64)), int(self._frames.bars[name][i])
                    close = float(bars.close[i])
                    found.append(_change(self.symbols[i], name, start, number, close, of_row, j, kinds, previous))
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        arrays: dict[str, npt.NDArray[Any]] = {"times": self._time, "known_until": self._known_until}
        for k, told in enumerate(self._told.values()):
            arrays |= {f"told{k}_{name}": values for name, values in told.values.items()}
        header: dict[str, Any] = {"symbols": list(self._rows), "frames": None}
        if self._frames is None:
            arrays["stream"] = _statefile.packed(self._stream)
        else:
            header["frames"], of_frames = self._frames._state()
            arrays |= {f"frames_{name}": x for name, x in of_frames.items()}
        return header, arrays

    def restore(self, header: Mapping[str, Any], arrays: _statefile.Arrays) -> None:
        self._rows = {symbol: i for i, symbol in enumerate(header["symbols"])}
        self._time, self._known_until = arrays["times"].copy(), arrays["known_until"].copy()
        for k, told in enumerate(self._told.values()):
            told.values = {name: arrays[f"told{k}_{name}"].copy() for name in told.values}
        if self._frames is None:
            self._stream = _statefile.unpacked(atc.Stream, arrays["stream"], **self._how)
            symbols = self._stream.symbols
        else:
            of_frames = {n.removeprefix("frames_"): x for n, x in arrays.items() if n.startswith("frames_")}
            self._frames = MultiStream._from_state(header["frames"], of_frames, **self._how)
            symbols = self._frames.symbols
        if tuple(symbols) != self.symbols or len(self._time) != len(symbols):
            raise StateError("its parts have different symbols")


def _change(
    symbol: str, timeframe: str | None, when: int | None, bars: int, price: float,
    outputs: Mapping[str, npt.NDArray[Any]], place: int, kinds: tuple[str, ...], previous: Mapping[str, Any],
) -> Change:  # fmt: skip
    date = None if when is None else np.datetime64(when, "ns")
    average, trend, direction = (outputs[name][place].item() for name in _OUTPUTS)
    return Change("", 0, symbol, timeframe, date, bars, price, average, trend, direction, kinds, previous)
