# SPDX-License-Identifier: Apache-2.0
"""Prices from what grows: files, folders and standard input, line by line, each line once.

A source gives records, says by its position how far it is, and goes on from a position. docs/streaming.md has the
rules.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import re
import select
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import _prices
from ._calendar import instants, text_instant
from .errors import ParameterError

__all__ = ["Bad", "Columns", "FileSource", "FolderSource", "LinesSource", "Record", "Source", "Taken", "records_of"]

_CHUNK = 1 << 20
_LONGEST_LINE = 16 << 20
#: Bytes at the start, and before the place reached, by which a file is known again.
_HEAD, _SEAM = 1024, 256
#: A time as a number that is text.
_NUMBER = re.compile(r"[0-9]+(?P<fraction>\.[0-9]+)?")
#: ATC takes prices below this.
_LARGEST = 2.0**1000
_WHOLE = (".csv.gz", ".parquet", ".feather", ".arrow")
_GROWING = (".csv", ".jsonl", ".ndjson")
#: Prices of a whole file that are taken in at a time.
_SLICE = 20_000
#: Files of a folder that are gone and still known.
_MOST_GONE = 1000
#: By what a file is known not to have changed: inode, size and time.
Mark = tuple[int, int, int]


class Record(NamedTuple):
    """Prices of one moment (in nanoseconds since 1970, or None), and where they stand."""

    prices: Mapping[str, float]
    time: int | None
    file: str
    line: int


class Bad(NamedTuple):
    """Something that could not be used: a stable word, where, and what is wrong."""

    reason: str
    file: str
    line: int
    message: str


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of columns or fields, as far as they are given, and the format of times that are text."""

    symbol: str | None = None
    time: str | None = None
    price: str | None = None
    time_format: str | None = None


class Taken(NamedTuple):
    """What one look gave, in order.

    `more` says that there may be more at once, `repeats` that bars already taken in are no fault, since a file is read
    as a whole again.
    """

    records: list[Record]
    bad: list[Bad]
    more: bool
    repeats: bool = False


class Source(Protocol):
    """Where records come from."""

    name: str
    ended: bool
    notes: list[str]

    @property
    def unfinished(self) -> int: ...
    @property
    def descriptor(self) -> int | None: ...
    def read(self) -> Taken: ...
    def position(self) -> dict[str, Any]: ...
    def restore(self, position: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class _Unusable(Exception):
    """A line that cannot be used, with the reason word of `Bad`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# ---- lines to records


def _time_of(value: Any, form: str | None) -> int | None:
    """A time in nanoseconds since 1970, UTC."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError(f"{value} is no time")
        if isinstance(value, str) and form is not None:
            return int(instants(datetime.datetime.strptime(value.strip(), form)))
        if isinstance(value, str) and (number := _NUMBER.fullmatch(value.strip())):
            value = float(value) if number["fraction"] else int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, float):  # seconds with a fraction, as clocks give them
            whole = math.floor(value)
            return _whole_time(whole, value) + round((value - whole) * 10**6) * 1000
        if isinstance(value, int):
            return _whole_time(value, value)
        if isinstance(value, str):
            return text_instant(value)
        raise ValueError(f"{value!r:.60} is no time")
    except (ValueError, TypeError, OverflowError) as error:
        raise _Unusable("no_time", str(error).removeprefix("times: ")) from None


def _whole_time(number: int, given: Any) -> int:
    if not 0 < number < 2**62:
        raise ValueError(f"{given} is no date")
    found = _prices._integer_times(np.array([number]))
    if found.dtype.kind != "M":
        raise ValueError(f"{given} is no date: too small a number for one since 1970")
    return int(instants(found)[0])


def _price_of(value: Any) -> float:
    """A price; NaN where it is missing."""
    if value is None or value == "":
        return math.nan
    try:
        if isinstance(value, (bool, list, dict)) or (
            isinstance(value, str) and "_" in value
        ):  # 1_000 is Python's alone
            raise ValueError
        price = float(value)
    except (ValueError, OverflowError):
        raise _Unusable("not_numeric", f"{value!r:.60} is no price") from None
    if abs(price) >= _LARGEST and math.isfinite(price):
        raise _Unusable("not_numeric", f"{value!r:.60} is too large for a price")
    return price


def _field(fields: Mapping[str, Any], given: str | None, candidates: tuple[str, ...], what: str) -> Any:
    """The value of a field of an object, by its name or one of the usual ones; None if there is none."""
    if given is not None:
        if given not in fields:
            raise _Unusable("columns", f"has no field {given!r} ({what})")
        return fields[given]
    lower = {str(name).lower(): value for name, value in fields.items()}
    return next((lower[name] for name in candidates if name in lower), None)


def _parse_json(text: str, columns: Columns, stem: str | None) -> tuple[dict[str, float], int | None]:
    """Prices and time of an object; its symbol may be that of the file."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Unusable("not_json", f"is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _Unusable("not_json", "is no JSON object")
    time = _time_of(_field(fields, columns.time, _prices._TIME_NAMES, "time"), columns.time_format)
    prices = fields.get("prices")
    if isinstance(prices, dict):
        return {_symbol(symbol): _price_of(price) for symbol, price in prices.items()}, time
    symbol = _field(fields, columns.symbol, _prices._SYMBOL_NAMES, "symbol")
    symbol = stem if symbol is None else symbol
    if not isinstance(symbol, (str, int)) or isinstance(symbol, bool) or symbol == "":
        raise _Unusable("no_symbol", "has no symbol")
    price = _field(fields, columns.price, _prices._PRICE_NAMES, "price")
    if price is None and not any(str(name).lower() in _prices._PRICE_NAMES for name in fields) and not columns.price:
        raise _Unusable("columns", f"has no price; its fields are {', '.join(map(repr, list(fields)[:20]))}")
    return {stem if symbol is stem else _symbol(symbol): _price_of(price)}, time


def _symbol(value: str | int) -> str:
    r"""A symbol of an object; an escape such as ``\ud800`` stands for half a character, which is no text."""
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Unusable("no_symbol", f"{text!a:.60} is no text") from None
    return text


def _fields_of(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise _Unusable("columns", f"is no line of CSV: {error}") from None


class _Reader:
    """Lines of one file, or of standard input, as records: CSV under a header, or objects of JSON."""

    def __init__(self, columns: Columns, stem: str | None) -> None:
        self._columns, self._stem = columns, stem
        self._header: list[str] | None = None
        self._found: _prices._Columns | None = None

    def state(self) -> dict[str, Any]:
        found = None if self._found is None else dataclasses.asdict(self._found)
        return {"header": self._header, "found": found, "stem": self._stem}

    def restore(self, state: Mapping[str, Any]) -> None:
        found = state["found"]
        self._header, self._stem = state["header"], state["stem"]
        self._found = None if found is None else _prices._Columns(**{**found, "prices": tuple(found["prices"])})

    def parse(self, number: int, data: bytes) -> tuple[dict[str, float], int | None] | None:
        """Prices and time of a line; None if it has none."""
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r")
        except UnicodeDecodeError:
            raise _Unusable("not_text", "is no UTF-8 text") from None
        if not text.strip():
            return None
        if text.lstrip().startswith("{"):
            return _parse_json(text, self._columns, self._stem)
        if self._stem is None:  # standard input
            raise _Unusable("not_json", "is no JSON object")
        return self._parse_csv(number, text)

    def _parse_csv(self, number: int, text: str) -> tuple[dict[str, float], int | None] | None:
        fields = _fields_of(text)
        if number == 1 and not self._goes_on_without_header(fields):
            self._header, self._found = fields, None
            return None
        if self._header is None:
            raise _Unusable("columns", "stands in a file without a header")
        if len(fields) != len(self._header):
            raise _Unusable("columns", f"has {len(fields)} fields, the header {len(self._header)}")
        if self._found is None:
            self._found = _find(self._header, text, self._columns)
        found = self._found
        time = None if found.time is None else _time_of(fields[found.time], self._columns.time_format)
        if found.time is not None and time is None:
            raise _Unusable("no_time", "has no time")
        if found.wide:
            return {self._header[i]: _price_of(fields[i]) for i in found.prices}, time
        symbol = self._stem if found.symbol is None else fields[found.symbol].strip()
        if not symbol:
            raise _Unusable("no_symbol", "has no symbol")
        return {symbol: _price_of(fields[found.prices[0]])}, time

    def _goes_on_without_header(self, fields: list[str]) -> bool:
        """Whether the first line of a file that took the place of another is a bar already."""
        if self._header is None or self._found is None or len(fields) != len(self._header) or fields == self._header:
            return False
        try:
            return math.isfinite(float(fields[self._found.prices[0]]))
        except ValueError:
            return False


def _find(header: list[str], text: str, columns: Columns) -> _prices._Columns:
    """The columns of a file, from its header and a line, by the rules of `read_prices`."""
    try:
        import pyarrow as pa
        import pyarrow.csv
    except ImportError:
        raise ImportError("following CSV files needs pyarrow: pip install 'warpquant[data]'") from None
    lines = io.StringIO()
    csv.writer(lines).writerow(header)
    lines.write(text)
    try:
        table = pa.csv.read_csv(io.BytesIO(lines.getvalue().encode()))
        return _prices._find_columns(table, columns.symbol, columns.time, columns.price)
    except (pa.ArrowException, _prices._FileError) as error:
        raise _Unusable("columns", str(error).splitlines()[0]) from None


# ---- files that grow


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Tail:
    """The complete lines of a file that grows, whatever happens to it: it may be cut, replaced, or not there yet."""

    def __init__(self, path: pathlib.Path, notes: list[str]) -> None:
        self.path = path
        self.unfinished = 0  # bytes of a last line that has not ended
        self._notes = notes
        self._file: int | None = None
        self.inode: int | None = None
        self._restart()

    def _restart(self) -> None:
        self._offset, self._lines, self._is_skipping = 0, 0, False
        self._head_size, self._head, self._seam = 0, _digest(b""), b""

    def position(self) -> dict[str, Any]:
        """Where the lines read so far end, and how to know the file again."""
        return {
            "inode": self.inode, "offset": self._offset, "lines": self._lines, "skipping": self._is_skipping,
            "head_size": self._head_size, "head": self._head, "seam": self._seam.hex(),
        }  # fmt: skip

    def restore(self, position: Mapping[str, Any]) -> None:
        """Go on from a position."""
        self.release()
        self.inode, self._offset, self._lines = position["inode"], position["offset"], position["lines"]
        self._is_skipping, self._seam = position["skipping"], bytes.fromhex(position["seam"])
        self._head_size, self._head = position["head_size"], position["head"]

    def _open(self, path: pathlib.Path) -> int | None:
        self.release()
        with contextlib.suppress(FileNotFoundError):
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def _find(self) -> int | None:
        """Open the file: the one read so far, under this name or, if moved, another one; else one of this name."""
        file = self._open(self.path)
        if self.inode is None or (file is not None and self._is_known(file)):
            return file
        for other in self._siblings(self.inode) if self._offset else []:  # without contents none can be known
            moved = self._open(other)
            if moved is not None and self._is_known(moved):
                return moved
        file = self._open(self.path)
        if file is not None and os.fstat(file).st_ino != self.inode:
            self._notes.append(f"{self.path} was replaced, and the file before is gone: lines of it may be lost")
            self._restart()
        return file

    def _siblings(self, inode: int) -> list[pathlib.Path]:
        try:
            with os.scandir(self.path.parent) as entries:
                return [pathlib.Path(e.path) for e in entries if e.inode() == inode and e.is_file()]
        except OSError:
            return []

    def _is_known(self, file: int) -> bool:
        """Whether a file is the one read so far, perhaps longer: by its beginning and the bytes before the place."""
        if os.fstat(file).st_size < self._offset:
            return False
        seam = os.pread(file, len(self._seam), self._offset - len(self._seam))
        return seam == self._seam and _digest(os.pread(file, self._head_size, 0)) == self._head

    def read(self) -> tuple[int, list[bytes], bool]:
        """Number of the first line, some lines, and whether there may be more at once."""
        file = self._file if self._file is not None else self._find()
        if file is None:
            return self._lines + 1, [], False
        self.inode = os.fstat(file).st_ino
        if not self._is_known(file):
            self._notes.append(f"{self.path} was cut or written anew; it is read from its beginning")
            self._restart()
        data = os.pread(file, _CHUNK, self._offset)
        if len(data) == _CHUNK and b"\n" not in data:
            data = os.pread(file, _LONGEST_LINE + 1, self._offset)
        first, lines = self._lines + 1, self._take(file, data)
        return first, lines, bool(lines) or (self._is_skipping and bool(data)) or self._follow_the_name(file)

    def _take(self, file: int, data: bytes) -> list[bytes]:
        """The complete lines at the place reached, which moves on behind them."""
        end = data.rfind(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1]
        if self._is_skipping and lines:
            lines[0], self._is_skipping = b"", False
        if self._is_skipping or len(data) - end > _LONGEST_LINE:  # what comes until the line ends belongs to it
            if not self._is_skipping:
                self._notes.append(f"{self.path}: line {self._lines + 1} is too long and left out")
            end, self._is_skipping = len(data), True
        self.unfinished = len(data) - end
        self._lines += len(lines)
        self._offset += end
        self._seam = (self._seam + data[:end])[-_SEAM:]
        if end and self._head_size < _HEAD:
            head = os.pread(file, min(_HEAD, self._offset), 0)
            self._head_size, self._head = len(head), _digest(head)
        return lines

    def _follow_the_name(self, file: int) -> bool:
        """At the end of the file: take the one that has its name now, if that is another one."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(file)
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return False
        if here.st_size > self._offset + self.unfinished:  # grew while we looked at the name
            return True
        new = self._open(self.path)
        if new is not None and not self._is_known(new):  # else it holds all that was read: written anew as a whole
            if self.unfinished:
                self._notes.append(f"{self.path} was replaced with its last line not ended; that line is left out")
            self._notes.append(f"{self.path} was replaced; the new file is read from its beginning")
            self._restart()
        return True

    def is_now(self, path: pathlib.Path) -> bool:
        """Whether the file read so far has got this name."""
        if not self._offset:  # without contents none can be known
            return False
        file = self._open(path)
        try:
            return file is not None and self._is_known(file)
        finally:
            self.release()

    def release(self) -> None:
        """Close the file; the next look finds it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _stem(path: pathlib.Path) -> str:
    return path.stem if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else _prices._stem(path)


def _records(
    parse: Callable[[int, bytes], tuple[dict[str, float], int | None] | None], name: str, first: int, lines: list[bytes]
) -> tuple[list[Record], list[Bad]]:
    records, bad = [], []
    for number, line in enumerate(lines, first):
        try:
            found = parse(number, line)
        except _Unusable as error:
            bad.append(Bad(error.reason, name, number, str(error)))
            continue
        if found is not None:
            records.append(Record(*found, name, number))
    return records, bad


class FileSource:
    """One file that grows."""

    ended = False

    def __init__(self, path: pathlib.Path, columns: Columns, notes: list[str] | None = None) -> None:
        self.name = str(path)
        self.notes = [] if notes is None else notes
        self._tail = _Tail(path, self.notes)
        self._reader = _Reader(columns, _stem(path))

    def read(self) -> Taken:
        """New records."""
        first, lines, more = self._tail.read()
        return Taken(*_records(self._reader.parse, self._tail.path.name, first, lines), more)

    def position(self) -> dict[str, Any]:
        """How far it is."""
        return {"tail": self._tail.position(), "reader": self._reader.state()}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._reader.restore(position["reader"])
        self._tail.restore(position["tail"])

    @property
    def inode(self) -> int | None:
        """Number of its file."""
        return self._tail.inode

    def is_now(self, path: pathlib.Path, mark: Mark) -> bool:
        """Whether its file has got this name."""
        return mark[0] == self.inode and self._tail.is_now(path)

    def legacy(self) -> dict[str, Any]:
        """What a file that takes the place of this one needs: it may have no header."""
        return self._reader.state()

    def succeed(self, legacy: Mapping[str, Any]) -> None:
        """Take the place of a file that is gone."""
        self._reader.restore({**legacy, "stem": self._reader.state()["stem"]})

    def move(self, path: pathlib.Path) -> None:
        """Go on with the file under another name; what a name says about the symbol is said by the first."""
        self.name, self._tail.path = str(path), path

    @property
    def unfinished(self) -> int:
        """Bytes of a last line that has not ended."""
        return self._tail.unfinished

    @property
    def descriptor(self) -> int | None:
        """Nothing says when a file has grown."""
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._tail.release()


def _has_times(prices: _prices.Prices, symbol: str) -> bool:
    times = prices.times[symbol]
    return times is not None and times.dtype.kind == "M"


def records_of(prices: _prices.Prices, name: str, skipped: Mapping[str, int] | None = None) -> Iterator[list[Record]]:
    """Prices that are there at once as records, those of a moment together, some at a time.

    Symbols without times come first, their records with numbers of rows from 1; of these some may be skipped.
    """
    for symbol, closes in prices.items():
        if not _has_times(prices, symbol):
            for begin in range((skipped or {}).get(symbol, 0), len(closes), _SLICE):
                some = closes[begin : begin + _SLICE].tolist()
                yield [Record({symbol: close}, None, name, row) for row, close in enumerate(some, begin + 1)]
    timed = [symbol for symbol in prices if _has_times(prices, symbol) and len(prices[symbol])]
    if not timed:
        return
    times = np.concatenate([instants(prices.times[symbol]) for symbol in timed])
    order = np.argsort(times, kind="stable")
    times = times[order]
    values = np.concatenate([prices[symbol] for symbol in timed])[order]
    owners = np.repeat(np.arange(len(timed)), [len(prices[symbol]) for symbol in timed])[order]
    edges = [0, *(np.flatnonzero(np.diff(times)) + 1).tolist(), len(times)]
    records, size = [], 0
    for begin, end in itertools.pairwise(edges):
        here = zip(owners[begin:end].tolist(), values[begin:end].tolist(), strict=True)
        records.append(Record({timed[i]: close for i, close in here}, int(times[begin]), name, 0))
        size += end - begin
        if size >= _SLICE:
            yield records
            records, size = [], 0
    yield records


def _mark(stat: os.stat_result) -> Mark:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class _WholeFile:
    """A file that is complete when it is there: read again as a whole when it is another one."""

    ended = False

    def __init__(self, path: pathlib.Path, columns: Columns, notes: list[str]) -> None:
        self.name = str(path)
        self.notes = notes
        self.unfinished = 0
        self._path, self._columns = path, columns
        self._mark: Mark | None = None  # of the version read last
        self._is_done = False  # with that version
        self._is_again = False
        self._rows: dict[str, tuple[int, str]] = {}  # taken of symbols without times, and their digest
        self._prices: _prices.Prices | None = None  # while they are taken in
        self._slices: Iterator[list[Record]] = iter(())

    def read(self) -> Taken:
        bad: list[Bad] = []
        if self._prices is None:
            try:
                now = _mark(self._path.stat())
            except FileNotFoundError:
                return Taken([], [], False)
            if now == self._mark and self._is_done:
                return Taken([], [], False)
            bad = self._begin(now)
        assert self._prices is not None
        records = next(self._slices, [])
        for symbol, row in {symbol: r.line for r in records if r.time is None for symbol in r.prices}.items():
            self._rows[symbol] = (row, _digest(self._prices[symbol][:row].tobytes()))
        if not records:
            self._prices, self._is_done = None, True
        return Taken(records, bad, bool(records), self._is_again)

    def _begin(self, mark: Mark) -> list[Bad]:
        """Read the file; gives what of it cannot be used."""
        c, name = self._columns, self._path.name
        prices = _prices.read_prices(
            self._path, symbol_col=c.symbol, time_col=c.time, price_col=c.price, time_format=c.time_format
        )
        self._is_again, self._mark, self._is_done = self._mark is not None, mark, False
        bad = [Bad(f.reason, name, 0, f"{f.symbol}: {f.message}") for f in prices.failures]
        skipped = {}  # times tell which bars are known; without them, the rows do
        for symbol, (rows, digest) in self._rows.items():
            if symbol in prices and not _has_times(prices, symbol):
                skipped[symbol] = rows
                if _digest(prices[symbol][:rows].tobytes()) != digest:
                    bad.append(
                        Bad("no_time", name, 0, f"{symbol}: has no times, and does not begin as the file before")
                    )
                    skipped[symbol] = len(prices[symbol])
        self._prices, self._slices = prices, records_of(prices, name, skipped)
        return bad

    @property
    def inode(self) -> int | None:
        return None if self._mark is None else self._mark[0]

    def is_now(self, path: pathlib.Path, mark: Mark) -> bool:
        return mark == self._mark

    def move(self, path: pathlib.Path) -> None:
        self.name, self._path = str(path), path

    def position(self) -> dict[str, Any]:
        return {"mark": self._mark, "done": self._is_done, "rows": self._rows}

    def restore(self, position: Mapping[str, Any]) -> None:
        mark = position["mark"]
        self._mark, self._is_done = None if mark is None else (mark[0], mark[1], mark[2]), position["done"]
        self._rows = {symbol: (rows, digest) for symbol, (rows, digest) in position["rows"].items()}

    def legacy(self) -> dict[str, Any]:
        return self.position()

    def succeed(self, legacy: Mapping[str, Any]) -> None:
        self.restore(legacy)

    def close(self) -> None:
        pass


class FolderSource:
    """The files of a folder, in the order of their names; hidden ones and those of other kinds do not count."""

    ended = False

    def __init__(self, path: pathlib.Path, columns: Columns) -> None:
        self.name = str(path)
        self.notes: list[str] = []
        self._path, self._columns = path, columns
        self._files: dict[str, FileSource | _WholeFile] = {}
        self._sizes: dict[str, Mark] = {}  # of files that have nothing new
        self._round: list[str] = []
        self._there: dict[str, Mark] = {}
        self._gone: dict[str, dict[str, Any]] = {}  # what is known of files that are gone

    def _make(self, name: str) -> FileSource | _WholeFile:
        kind = _WholeFile if name.lower().endswith(_WHOLE) else FileSource
        source = kind(self._path / name, self._columns, self.notes)
        if name in self._gone:
            source.succeed(self._gone.pop(name))
        return source

    def _leave(self, name: str) -> FileSource | _WholeFile:
        source = self._files.pop(name)
        self._sizes.pop(name, None)
        self._gone[name] = source.legacy()
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        return source

    def _moved(self) -> list[str]:
        """New names of files that are known: their sources go on there."""
        new = [name for name in self._there if name not in self._files]
        names = {source.inode: name for name, source in self._files.items()} if new else {}
        moved = []
        for name in new:
            mark = self._there[name]
            old = names.get(mark[0])
            if old is None or (old in self._there and self._there[old][0] == mark[0]):
                continue
            if self._files[old].is_now(self._path / name, mark):
                source = self._files[name] = self._leave(old)
                source.move(self._path / name)
                moved.append(name)
        return moved

    def _look(self) -> list[str]:
        """Files that may have something new, and those that are gone but may not have been read to their ends."""
        self._there = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                name = entry.name.lower()
                if name.endswith((*_WHOLE, *_GROWING)) and not name.startswith(".") and entry.is_file():
                    self._there[entry.name] = _mark(entry.stat())
        moved = self._moved()
        gone = sorted(set(self._files) - set(self._there))
        for name in self._there:
            if name not in self._files:
                self._files[name] = self._make(name)
        new = {name for name, size in self._there.items() if self._sizes.get(name) != size}
        return gone + moved + sorted(new.difference(moved))

    def read(self) -> Taken:
        """New records of the next file that has any."""
        if not self._round:
            self._round = self._look()
        while self._round:
            name = self._round[0]
            taken = self._files[name].read()
            if not taken.more:
                self._round.pop(0)
                self._files[name].close()  # a folder may hold more files than a process may open
                if name in self._there:
                    self._sizes[name] = self._there[name]
                elif not (self._path / name).exists():  # else it came since, and may have been read
                    self._leave(name)
            if taken.records or taken.bad:
                return taken._replace(more=True)
        return Taken([], [], False)

    def position(self) -> dict[str, Any]:
        """How far it is in each file."""
        return {"files": {name: source.position() for name, source in self._files.items()}, "gone": self._gone}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name, place in position["files"].items():
            self._files[name] = self._make(name)
            self._files[name].restore(place)
        self._gone = dict(position["gone"])

    @property
    def unfinished(self) -> int:
        """Bytes of last lines that have not ended."""
        return sum(source.unfinished for source in self._files.values())

    @property
    def descriptor(self) -> int | None:
        """Nothing says when a file has grown."""
        return None

    def close(self) -> None:
        """Let go of the files."""
        for source in self._files.values():
            source.close()


class LinesSource:
    """Lines of JSON from a file descriptor, such as standard input."""

    name = "-"

    def __init__(self, descriptor: int, columns: Columns) -> None:
        self.ended = False
        self.notes: list[str] = []
        self._descriptor = descriptor
        self._lines = 0
        self._partial = b""
        self._reader = _Reader(columns, None)

    def read(self) -> Taken:
        """New records; nothing if there are none at once."""
        if self.ended or not select.select([self._descriptor], [], [], 0)[0]:
            return Taken([], [], False)
        chunk = os.read(self._descriptor, _CHUNK)
        data = self._partial + chunk
        if not chunk:  # an object that is complete says so by itself
            self.ended, end = True, len(data)
            lines = [data] if data else []
        else:
            end = data.rfind(b"\n") + 1
            lines = data[:end].split(b"\n")[:-1]
        self._partial = data[end:]
        if len(self._partial) > _LONGEST_LINE:
            raise ParameterError(f"source: a line of standard input is longer than {_LONGEST_LINE} bytes")
        first = self._lines + 1
        self._lines += len(lines)
        return Taken(*_records(self._reader.parse, "standard input", first, lines), not self.ended)

    def position(self) -> dict[str, Any]:
        """Nothing: a stream cannot be read again."""
        return {}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Nothing to go back to."""

    @property
    def unfinished(self) -> int:
        """Bytes of a last line that has not ended."""
        return len(self._partial)

    @property
    def descriptor(self) -> int | None:
        """What to wait for."""
        return None if self.ended else self._descriptor

    def close(self) -> None:
        """The descriptor belongs to the caller."""
