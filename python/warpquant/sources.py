# SPDX-License-Identifier: Apache-2.0
"""Where a scan takes its prices from.

A `Source` names its symbols and gives the prices of some of them at a time. `open_source` makes one of whatever holds
prices; docs/data.md has the table. Nothing is read before it is asked for, and what does not fit into memory is never
read at once.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import math
import os
import pathlib
import shutil
import tempfile
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import config
from ._calendar import instants
from ._containers import _library, unpack
from ._prices import (
    _NO_ORDER,
    _PRICE_NAMES,
    _SUFFIXES,
    _SYMBOL_NAMES,
    _TIME_NAMES,
    Failure,
    Note,
    Prices,
    Times,
    _Columns,
    _encoded,
    _FileError,
    _find_columns,
    _Gathered,
    _groups,
    _integer_times,
    _load,
    _Piece,
    _pieces_of,
    _read_numbers,
    _read_times,
    _stem,
    count,
    read_prices,
)
from .data import PricePanel
from .errors import DTypeError, ParameterError, ShapeError
from .fetchers import Bars, Fetcher

__all__ = ["Query", "Source", "batches", "open_source"]


@runtime_checkable
class Source(Protocol):
    """What holds prices: anything with these members can be scanned."""

    @property
    def exchange(self) -> str:
        """Where the symbols trade, for the column of that name; empty if unknown."""

    @property
    def stable(self) -> bool:
        """Whether equal fingerprints mean equal prices, so that results may be kept in the cache."""

    def symbols(self) -> Sequence[str]:
        """Names of all symbols, each once, always in the same order."""

    def fetch(self, symbols: Sequence[str]) -> Prices:
        """Prices of some symbols; those that cannot be had are among its failures."""

    def fingerprint(self, by_content: bool = False) -> str:
        """A text that changes with the prices: of files their path, size, times and inode, or a hash of what they hold.

        The prices of a source in memory are always hashed themselves.
        """


def batches(source: Source, size: int, symbols: Sequence[str] | None = None) -> Iterator[Prices]:
    """Prices of a source, `size` symbols at a time.

    Parameters
    ----------
    source : Source
        As `open_source` makes it.
    size : int
        Symbols in a batch.
    symbols : sequence of str, optional
        Those wanted; by default all.

    Yields
    ------
    Prices
        One batch; none is kept.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant.sources import batches, open_source
    >>> [len(batch) for batch in batches(open_source(warpquant.data.sp500_20()), 8)]
    [8, 8, 4]
    """
    names = source.symbols() if symbols is None else symbols
    for start in range(0, len(names), size):
        yield source.fetch(names[start : start + size])


@dataclasses.dataclass(frozen=True)
class Query:
    """Prices that a query of DuckDB gives: columns as in files, one row for each bar, or one column for each symbol.

    Attributes
    ----------
    sql : str
        The query.
    database : path or connection, optional
        A database file, which is opened for reading only, or a connection of DuckDB; by default an empty database, for
        queries of files: ``select * from 'bars/*.parquet' where volume > 0``.

    Examples
    --------
    >>> from warpquant.sources import Query
    >>> Query("select symbol, time, close from bars", "market.duckdb").database
    'market.duckdb'
    """

    sql: str
    database: Any = ":memory:"

    @classmethod
    def from_url(cls, url: str) -> Query:
        """A query from ``duckdb://path/to/file?query=select...``, percent-encoded; without a path it needs no file.

        Raises
        ------
        ParameterError
            If the address has no query.
        """
        parts = urllib.parse.urlsplit(url)
        wanted = urllib.parse.parse_qs(parts.query).get("query")
        if parts.scheme != "duckdb" or not wanted:
            raise ParameterError(f"source: {url!r} is no query; accepted is duckdb://file?query=select...")
        return cls(wanted[0], urllib.parse.unquote(parts.netloc + parts.path) or ":memory:")


@dataclasses.dataclass(frozen=True)
class _Options:
    """Names of columns and the like, as for `read_prices`."""

    symbol_col: str | None = None
    time_col: str | None = None
    price_col: str | None = None
    time_format: str | None = None

    def find(self, table: Any) -> _Columns:
        return _find_columns(table, self.symbol_col, self.time_col, self.price_col)

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


def _digest(parts: Iterable[Any]) -> str:
    """SHA-256 over texts and bytes, each with its length, so that no two lists of parts look alike."""
    found = hashlib.sha256()
    for part in parts:
        piece = part if isinstance(part, (bytes, memoryview)) else str(part).encode("utf-8", "surrogatepass")
        found.update(len(piece).to_bytes(8, "little"))
        found.update(piece)
    return found.hexdigest()


def _bytes_of(values: Any) -> Iterator[Any]:
    """A series as parts of a fingerprint."""
    array = np.ascontiguousarray(values)
    yield f"{array.dtype.str}{array.shape}"
    yield repr(values) if array.dtype.hasobject else array.view(np.uint8).data if array.size else b""


def _content(source: Source) -> str:
    def parts() -> Iterator[Any]:
        for batch in batches(source, 100):
            for symbol, close in batch.items():
                yield symbol
                yield from _bytes_of(close)
                time = batch.times.get(symbol)
                yield from () if time is None else _bytes_of(time)
            yield from map(repr, batch.failures)

    return _digest(parts())


class _InMemory:
    """Prices that are there already; they are read where they lie."""

    exchange = ""
    stable = False  # reading them again costs nothing, so nothing is kept of them

    def fingerprint(self, by_content: bool = False) -> str:
        return _content(self)  # type: ignore[arg-type]


def _is_first(source: Source, symbols: Sequence[str]) -> bool:
    """Whether these are the first symbols of a source."""
    return source.symbols()[:1] == list(symbols[:1])


def _listed(prices: Prices) -> list[str]:
    """Symbols with prices, and those without, whose failure is told to whoever fetches them."""
    return list(dict.fromkeys([*(failure.symbol for failure in prices.failures), *prices]))


def _part(prices: Prices, symbols: Sequence[str], first: bool) -> Prices:
    """Prices of some symbols; what is said of none of them, but of a file as a whole, goes with the first."""
    wanted = {*symbols, *({note.symbol for note in prices.warnings} - {*_listed(prices)} if first else ())}
    closes = {symbol: prices[symbol] for symbol in symbols if symbol in prices}
    return Prices(
        closes,
        {symbol: prices.times.get(symbol) for symbol in closes},
        [failure for failure in prices.failures if failure.symbol in wanted],
        [note for note in prices.warnings if note.symbol in wanted],
    )


class PricesSource(_InMemory):
    """Prices as `read_prices` gives them."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def symbols(self) -> list[str]:
        return _listed(self._prices)

    def fetch(self, symbols: Sequence[str]) -> Prices:
        return _part(self._prices, symbols, _is_first(self, symbols))


class MappingSource(_InMemory):
    """A mapping from symbol to closes."""

    def __init__(self, prices: Mapping[Any, Any]) -> None:
        self._prices = prices
        self._keys = {str(key): key for key in prices}
        if len(self._keys) != len(prices):
            raise ParameterError("source: two of its keys have the same text, so they are no names of symbols")

    def symbols(self) -> list[str]:
        return list(self._keys)

    def fetch(self, symbols: Sequence[str]) -> Prices:
        dates = self._prices.dates if isinstance(self._prices, PricePanel) else None
        times: dict[str, Times | None] = dict.fromkeys(symbols, dates)
        return Prices({symbol: self._prices[self._keys[symbol]] for symbol in symbols}, times)


class ColumnsSource(_InMemory):
    """One series for each symbol, all with the same times, sorted and freed of duplicate times when fetched."""

    def __init__(self, names: Sequence[Any], series: Callable[[int], Any], times: Times | None) -> None:
        self._at = {str(name): i for i, name in enumerate(names)}
        if len(self._at) != len(names):
            twice = next(name for i, name in enumerate(map(str, names)) if self._at[name] != i)
            raise ParameterError(f"source: the symbol {twice!r} comes more than once")
        self._series = series
        self._times = times

    def symbols(self) -> list[str]:
        return list(self._at)

    def fetch(self, symbols: Sequence[str]) -> Prices:
        if self._times is None:
            return Prices({symbol: self._series(self._at[symbol]) for symbol in symbols})
        gathered, odd = _Gathered(), {}
        for symbol in symbols:
            values = np.asarray(self._series(self._at[symbol]))
            if values.dtype.kind in "fiu":
                gathered.add([(symbol, _Piece(values, self._times, None))], symbol)
            else:
                odd[symbol] = values  # the scan says what is wrong with it
        found = gathered.prices()
        return Prices({**found, **odd}, found.times, found.failures, found.warnings)


class TableSource(_InMemory):
    """An Arrow table with a column for each symbol, or the bars of one."""

    def __init__(self, table: Any, columns: _Columns, options: _Options) -> None:
        self._table = table
        self._time = None if columns.time is None else _read_times(table.column(columns.time), options.time_format)
        names = table.column_names
        self._at = {names[i]: i for i in columns.prices} if columns.wide else {"series": columns.prices[0]}

    def symbols(self) -> list[str]:
        return list(self._at)

    def fetch(self, symbols: Sequence[str]) -> Prices:
        gathered = _Gathered()
        for symbol in symbols:
            close, bad = _read_numbers(self._table.column(self._at[symbol]))
            gathered.add([(symbol, _Piece(close, self._time, next(iter(bad.items()), None)))], symbol)
        return gathered.prices()


#: Rows of a long frame that are looked at together.
_SLICE = 2**16


class LongSource(_InMemory):
    """A frame with a row for each bar of each symbol, of which four bytes a row are kept: whose it is.

    `take` gives some of its rows as an Arrow table of symbol, then time if there is one, then close.
    """

    def __init__(self, rows: int, take: Callable[[Any], Any], options: _Options) -> None:
        self._take, self._format = take, options.time_format
        numbers: dict[str, int] = {}
        self._codes = np.empty(rows, dtype=np.int32)
        for start in range(0, rows, _SLICE):
            column = take(slice(start, start + _SLICE)).column(0)
            for name, held in _groups(column):
                self._codes[start + held] = numbers.setdefault(name, len(numbers)) if name else -1
        self._number = numbers
        self._missing = int(np.count_nonzero(self._codes < 0))

    def symbols(self) -> list[str]:
        return list(self._number)

    def fetch(self, symbols: Sequence[str]) -> Prices:
        wanted = np.zeros(len(self._number) + 1, dtype=bool)  # the last is that of rows without a symbol
        wanted[[self._number[symbol] for symbol in symbols]] = True
        rows = np.flatnonzero(wanted[self._codes])
        table = self._take(rows)
        gathered = _Gathered()
        if self._missing and _is_first(self, symbols):
            gathered.warnings.append(Note("series", f"{count(self._missing, 'row')} without a symbol left out"))
        columns = _Columns(1 if table.num_columns > 2 else None, 0, (table.num_columns - 1,), wide=False)
        try:
            for name, piece in _pieces_of(table, columns, self._format, ""):
                bad = None if piece.bad is None else (int(rows[piece.bad[0]]), piece.bad[1])
                gathered.add([(name, dataclasses.replace(piece, bad=bad))], "")
        except _FileError as error:
            raise ParameterError(f"source: {error}") from error
        return gathered.prices()


# ---------------------------------------------------------------------------------------------- files


def _expand(places: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """Files by name, pattern or folder; each once, those of a pattern or folder sorted."""
    found: dict[pathlib.Path, None] = {}
    for place in places:
        path = pathlib.Path(place).expanduser()
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.name.lower().endswith(_SUFFIXES) and p.is_file())
            # What begins with a dot or an underscore is bookkeeping of the programs that write datasets.
            here = sorted(p for p in inside if not any(s.startswith((".", "_")) for s in p.relative_to(path).parts))
            kind = f"the folder holds no {', '.join(_SUFFIXES)}"
        elif path.exists():
            here, kind = [path], ""
        else:
            here = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
            here = [p for p in here if p.is_file()]
            kind = "there is no such file"
        if not here:
            raise ParameterError(f"source: {str(place)!r}: {kind}")
        found.update(dict.fromkeys(here))
    return list(found)


def _file_mark(path: pathlib.Path, by_content: bool) -> Iterator[Any]:
    if by_content:
        yield _stem(path)
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(2**20):
                digest.update(piece)
        yield digest.digest()
        return
    about = path.stat()
    # Nobody sets the time of change back, as `cp -p` and the like do with that of modification.
    yield from (path.resolve(), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


#: A file that changed less long ago may change again and keep its time, whose steps are some milliseconds.
_SETTLED_SECONDS = 2.0


class _OnDisk:
    """Prices in files."""

    exchange = ""

    def __init__(self, files: Sequence[pathlib.Path], options: _Options) -> None:
        self._files, self._options = list(files), options

    @property
    def stable(self) -> bool:
        if config.get("cache.fingerprint") == "content":
            return True
        latest = max((path.stat().st_mtime for path in self._files), default=0.0)
        return time.time() - latest > _SETTLED_SECONDS

    def fingerprint(self, by_content: bool = False) -> str:
        marks = (mark for path in self._files for mark in (*_hive(path).items(), *_file_mark(path, by_content)))
        return _digest([type(self).__name__, self._options, *marks])


class FilesSource(_OnDisk):
    """Files of any layout; one with the bars of one symbol is not read before its turn comes."""

    def __init__(self, files: Sequence[pathlib.Path], options: _Options) -> None:
        super().__init__(files, options)
        self._lock = threading.Lock()
        self._index: tuple[Prices, dict[str, pathlib.Path]] | None = None

    def _found(self) -> tuple[Prices, dict[str, pathlib.Path]]:
        """Prices of files that hold several symbols, which are read here, and the files that hold one."""
        with self._lock:
            if self._index is None:
                alone: dict[str, pathlib.Path] = {}
                together: list[pathlib.Path] = []
                for path in self._files:
                    if not self._holds_one(path):
                        together.append(path)
                    elif _stem(path) in alone:
                        together.append(path)  # two files of one symbol are merged
                    else:
                        alone[_stem(path)] = path
                several = [_stem(path) for path in together]
                together += [alone.pop(name) for name in set(several) & set(alone)]
                place = {path: i for i, path in enumerate(self._files)}
                prices = self._read(sorted(together, key=place.__getitem__))
                if set(prices) & set(alone):
                    prices, alone = self._read(self._files), {}
                self._index = prices, alone
            return self._index

    def _holds_one(self, path: pathlib.Path) -> bool:
        try:
            columns = self._options.find(_head(path))
        except _FileError:
            return False
        return columns.symbol is None and not columns.wide

    def _read(self, files: Sequence[pathlib.Path]) -> Prices:
        return read_prices(files, **dataclasses.asdict(self._options)) if files else Prices({})

    def symbols(self) -> list[str]:
        several, alone = self._found()
        return [*_listed(several), *alone]

    def fetch(self, symbols: Sequence[str]) -> Prices:
        several, alone = self._found()
        part = _part(several, symbols, _is_first(self, symbols))
        read = self._read([alone[symbol] for symbol in symbols if symbol in alone])
        return Prices(
            {**part, **read},
            {**part.times, **read.times},
            [*part.failures, *read.failures],
            [*part.warnings, *read.warnings],
        )


def _head(path: pathlib.Path) -> Any:
    """The columns of a file as an empty table; of a CSV file the first rows alone are read."""
    name = path.name.lower()
    if not name.endswith((".csv", ".csv.gz", ".parquet", ".feather", ".arrow")):
        return _load(path)  # which says what is wrong
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        return _load(path)
    try:
        if name.endswith(".parquet"):
            return pyarrow.parquet.read_schema(path).empty_table()
        if name.endswith((".feather", ".arrow")):
            with pa.memory_map(str(path)) as file:
                return pyarrow.ipc.open_file(file).schema.empty_table()
        with pyarrow.csv.open_csv(path) as reader:
            return reader.schema.empty_table()
    except (OSError, pa.ArrowException) as error:
        raise _FileError(str(error)) from error


#: Larger parts of a dataset than this are not held in memory at once, apart from single row groups.
_BUCKET_BYTES = 4 * 2**20
_MOST_BUCKETS = 128
_ROW_BYTES = 20  # symbol's number, time and close
#: A dataset whose row groups would be read more often than this is put in order on disk first.
_MOST_READS = 3.0


class _Rows(NamedTuple):
    """Bars of a dataset."""

    codes: npt.NDArray[np.int32]  # numbers of symbols; -1 if missing
    close: npt.NDArray[np.float64]
    times: Times | None


class ParquetSource(_OnDisk):
    """A folder of Parquet files with a column (or ``symbol=...`` folders) of symbols, larger than memory.

    One pass over the column of symbols tells which row groups hold which of them. If symbols lie together, a batch
    reads its row groups; if they lie scattered, as in a dataset with a file for each day, one more pass sorts the
    three columns into temporary files on disk (20 bytes a bar, in `tempfile.gettempdir`), and batches read those.
    """

    def __init__(self, files: Sequence[pathlib.Path], options: _Options, batch: int = 100) -> None:
        super().__init__(files, options)
        self._batch = batch
        self._lock = threading.Lock()
        self._ready = False
        self._names: list[str] = []
        self._number: dict[str, int] = {}
        self._failures: list[Failure] = []
        self._orphans: list[Note] = []
        self._groups: list[tuple[pathlib.Path, int, npt.NDArray[np.int64]]] = []
        self._broken: dict[int, tuple[str, str]] = {}  # reason and text, by number, if a part cannot be used
        self._spilled: str | None = None
        self._spilled_times: np.dtype[Any] | None = None
        self._per_bucket = 1
        self._opened: tuple[pathlib.Path, Any, tuple[str | None, str | None, str]] | None = None

    # ---- the way in ----

    @staticmethod
    def fits(files: Sequence[pathlib.Path], options: _Options) -> bool:
        """Whether files are such a dataset."""
        if not all(path.name.lower().endswith(".parquet") for path in files):
            return False
        try:
            hive = _hive(files[0])
            columns = options.find(_head(files[0]))
        except _FileError:
            return False
        return columns.symbol is not None or _first(hive, options.symbol_col, _SYMBOL_NAMES) is not None

    def _prepare(self) -> None:
        with self._lock:
            if self._ready:
                return

            numbers: dict[str, int] = {}
            rows = sum(self._index(path, numbers) for path in self._files)
            self._names, self._number = list(numbers), numbers
            reads = sum(len(np.unique(codes // self._batch)) for _, _, codes in self._groups)
            if reads > _MOST_READS * max(len(self._groups), 1):
                self._spill(rows)
            self._ready = True

    def _index(self, path: pathlib.Path, numbers: dict[str, int]) -> int:
        """Note which symbols each row group of a file holds; gives its number of rows."""
        import pyarrow as pa

        rows, groups = 0, []
        try:
            file, (symbol, _, _) = self._file(path)
            for group in range(file.num_row_groups):
                names, missing = self._symbols_of(file, group, path, symbol)
                groups.append((path, group, names))
                rows += file.metadata.row_group(group).num_rows
                if missing:
                    self._orphans.append(Note(_stem(path), f"{count(missing, 'row')} without a symbol left out"))
        except (_FileError, OSError, pa.ArrowException) as error:
            text = f"{path.name}: {str(error).splitlines()[0]}"
            hive = _hive(path)
            alone = hive.get(_first(hive, self._options.symbol_col, _SYMBOL_NAMES))
            if alone:
                self._broken[numbers.setdefault(alone, len(numbers))] = "unreadable", f"is not whole: {text}"
            else:
                said = f"{text}; its bars are missing from every symbol that it holds"
                self._failures.append(Failure(_stem(path), "unreadable", said))
            return 0
        for path, group, names in groups:
            codes = sorted(numbers.setdefault(name, len(numbers)) for name in names)
            self._groups.append((path, group, np.array(codes, dtype=np.int64)))
        return rows

    def _file(self, path: pathlib.Path) -> tuple[Any, tuple[str | None, str | None, str]]:
        """A file and the names of its columns; the last one stays open, for its next row group."""
        import pyarrow.parquet as pq

        opened = self._opened  # another thread may exchange it
        if opened is None or opened[0] != path:
            opened = self._opened = path, pq.ParquetFile(path), self._columns(path)
        return opened[1:]

    def _columns(self, path: pathlib.Path) -> tuple[str | None, str | None, str]:
        """Names of the columns of symbols, times and prices; the first two may be those of folders."""
        head, hive = _head(path), _hive(path)
        symbol = _first(hive, self._options.symbol_col, _SYMBOL_NAMES)
        time = _first(hive, self._options.time_col, _TIME_NAMES)
        options = dataclasses.replace(
            self._options,
            symbol_col=None if symbol else self._options.symbol_col,
            time_col=None if time else self._options.time_col,
            price_col=self._options.price_col
            or next((n for p in _PRICE_NAMES for n in head.column_names if n.lower() == p), None),
        )
        found = options.find(head)
        names = head.column_names
        return (
            symbol or (None if found.symbol is None else names[found.symbol]),
            (None if found.time is None else names[found.time]) or time,
            names[found.prices[0]],
        )

    @staticmethod
    def _symbols_of(file: Any, group: int, path: pathlib.Path, symbol: str | None) -> tuple[list[str], int]:
        """Symbols of a row group, and how many of its rows have none."""
        if symbol in _hive(path):
            return [_hive(path)[symbol]], 0
        if symbol is None:
            raise _FileError(f"has no column of symbols; its columns are {', '.join(file.schema_arrow.names[:20])}")
        codes, names = _encoded(file.read_row_group(group, columns=[symbol]).column(symbol))
        return [names[code] for code in np.unique(codes).tolist() if code >= 0], int(np.count_nonzero(codes < 0))

    def _read(self, path: pathlib.Path, group: int, held: npt.NDArray[np.int64]) -> _Rows | None:
        """A row group, in the types that it has whatever those of the file are; None if it cannot be read."""
        import pyarrow as pa

        hive = _hive(path)
        try:
            file, (symbol, time, price) = self._file(path)
            wanted = [name for name in (symbol, time, price) if name is not None and name not in hive]
            table = file.read_row_group(group, columns=wanted)
            if symbol in hive:
                codes = np.full(len(table), self._number[hive[symbol]], np.int32)
            else:
                places, names = _encoded(table.column(symbol))
                codes = np.array([*(self._number.get(name, -1) for name in names), -1], np.int32)[places]
            close, bad = _read_numbers(table.column(price))
            if time is None:
                times = None
            elif time in hive:
                one = _read_times(pa.chunked_array([[hive[time]]]), self._options.time_format)
                times = np.repeat(one, len(table))
            else:
                times = _read_times(table.column(time), self._options.time_format)
        except (_FileError, OSError, pa.ArrowException) as error:
            self._break(held, "unreadable", f"is not whole: {path.name}: {str(error).splitlines()[0]}")
            return None
        for row, value in bad.items():
            said = f"{value!r} in row {row + 1} of row group {group + 1} of {path.name} is no number"
            self._break(codes[[row]], "not_numeric", said)
        return _Rows(codes, close, times)

    def _break(self, codes: npt.NDArray[Any], reason: str, text: str) -> None:
        """Say why symbols cannot be used; what was said first stays."""
        for code in codes.tolist():
            self._broken.setdefault(code, (reason, text))

    def _spill(self, rows: int) -> None:
        """Put everything into files on disk, each with the bars of some symbols."""
        import pyarrow as pa

        buckets = min(max(math.ceil(rows * _ROW_BYTES / _BUCKET_BYTES), 1), _MOST_BUCKETS, max(len(self._names), 1))
        self._per_bucket = math.ceil(max(len(self._names), 1) / buckets)
        folder = tempfile.mkdtemp(prefix="warpquant-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        writers: dict[int, Any] = {}
        kind = None  # of times: M, i, or empty if there are none
        finest = np.dtype("datetime64[s]")
        seen = np.zeros(len(self._names), dtype=bool)
        try:
            for path, group, held in self._groups:
                found = self._read(path, group, held)
                if found is None:
                    continue
                mine = "" if found.times is None else found.times.dtype.kind
                kind = mine if kind is None else kind
                try:
                    if mine != kind:
                        raise _FileError("has other times than the files before it: dates, plain numbers or none")
                    columns: dict[str, Any] = {"symbol": found.codes, "close": found.close}
                    if found.times is not None:
                        columns["time"] = _as_ns(found.times).view(np.int64) if kind == "M" else found.times
                        finest = np.promote_types(finest, found.times.dtype) if kind == "M" else finest
                    else:  # as `_merge` has it
                        self._break(held[seen[held]], "no_time", _NO_ORDER)
                        seen[held] = True
                except _FileError as error:
                    self._break(held, "unreadable", f"is not whole: {path.name}: {error}")
                    continue
                bucket = found.codes // self._per_bucket  # that of rows without a symbol is negative
                order = np.argsort(bucket, kind="stable")
                sorted_bucket = bucket[order]
                for number in np.unique(sorted_bucket[sorted_bucket >= 0]).tolist():
                    rows_here = order[slice(*np.searchsorted(sorted_bucket, [number, number + 1]))]
                    part = pa.table({name: values[rows_here] for name, values in columns.items()})
                    if number not in writers:
                        writers[number] = pa.ipc.new_file(os.path.join(folder, str(number)), part.schema)
                    writers[number].write_table(part)
        finally:
            for writer in writers.values():
                writer.close()
        pa.default_memory_pool().release_unused()
        self._spilled = folder
        self._spilled_times = finest if kind == "M" else np.dtype(np.int64) if kind else None

    # ---- the source ----

    def symbols(self) -> list[str]:
        self._prepare()
        return [*dict.fromkeys(failure.symbol for failure in self._failures), *self._names]

    def fetch(self, symbols: Sequence[str]) -> Prices:
        self._prepare()
        wanted = set(symbols)
        codes = np.array(sorted(self._number[s] for s in wanted if s in self._number), dtype=np.int64)
        chosen = np.zeros(len(self._names) + 1, dtype=bool)  # the last is that of rows without a symbol
        chosen[codes] = True
        gathered = _Gathered()
        gathered.failures += [failure for failure in self._failures if failure.symbol in wanted]
        for part in self._parts(codes):
            rows = np.flatnonzero(chosen[part.codes])
            rows = rows[np.argsort(part.codes[rows], kind="stable")]
            held, starts = np.unique(part.codes[rows], return_index=True)
            for code, mine in zip(held.tolist(), np.split(rows, starts[1:]), strict=True):
                times = None if part.times is None else part.times[mine]
                gathered.add([(self._names[code], _Piece(part.close[mine], times, None))], "")
        found = gathered.prices()
        notes = [*self._orphans, *found.warnings] if _is_first(self, symbols) else found.warnings
        # Part of the bars would give a signal that nobody could tell from a right one.
        broken = {self._names[code]: said for code in codes.tolist() if (said := self._broken.get(code))}
        failures = [failure for failure in found.failures if failure.symbol not in broken]
        failures += [Failure(symbol, *said) for symbol, said in broken.items()]
        told = {*found, *(failure.symbol for failure in failures)}
        failures += [Failure(s, "unreadable", "has no bars in these files") for s in symbols if s not in told]
        whole = {s: found[s] for s in symbols if s in found and s not in broken}
        return Prices(whole, {s: found.times[s] for s in whole}, failures, notes)

    def _parts(self, codes: npt.NDArray[np.int64]) -> Iterator[_Rows]:
        """The bars of some symbols, and of others."""
        import pyarrow as pa

        if self._spilled is None:
            for path, group, held in self._groups:
                found = self._read(path, group, held) if np.isin(codes, held, assume_unique=True).any() else None
                if found is not None:
                    yield found
            return
        for bucket in np.unique(codes // self._per_bucket).tolist():
            place = os.path.join(self._spilled, str(bucket))
            if not os.path.exists(place):  # nothing of these symbols could be read
                continue
            with pa.memory_map(place) as file:
                table = pa.ipc.open_file(file).read_all()
                columns = [column.to_numpy() for column in table.columns]
                times, kind = columns[2] if len(columns) > 2 else None, self._spilled_times
                if times is not None and kind is not None and kind.kind == "M":
                    times = times.view("datetime64[ns]").astype(kind)
                yield _Rows(columns[0], columns[1], times)


def _as_ns(times: Times) -> Times:
    found = times.astype("datetime64[ns]")
    if not np.array_equal(found.astype(times.dtype).view(np.int64), times.view(np.int64)):
        raise _FileError("has times outside of the years 1678 to 2261")
    return found


def _hive(path: pathlib.Path) -> dict[str | None, str]:
    """Values that the folders of a dataset give: ``symbol=AAPL/part.parquet``."""
    pairs = (part.partition("=") for part in path.parts[:-1] if "=" in part)
    return {name: urllib.parse.unquote(value) for name, _, value in pairs}


def _first(hive: Mapping[str | None, str], named: str | None, candidates: Sequence[str]) -> str | None:
    if named is not None:
        return named if named in hive else None
    return next((name for name in hive if name is not None and name.lower() in candidates), None)


# ---------------------------------------------------------------------------------------------- queries


class QuerySource:
    """What a query gives, held by DuckDB: in memory, and on disk where that is short."""

    exchange = ""
    stable = False  # what a query reads cannot be told from its text

    def __init__(self, query: Query, options: _Options) -> None:
        self._query, self._options = query, options
        self._lock = threading.Lock()
        self._connection: Any = None
        self._columns: _Columns | None = None
        self._names: list[str] = []

    def _open(self) -> Any:
        """The connection, with the result of the query in a temporary table."""
        if self._connection is not None:
            return self._connection
        try:
            import duckdb
        except ImportError:
            raise ImportError("queries need DuckDB: pip install 'warpquant[duckdb]'") from None
        place, sql = self._query.database, self._query.sql.rstrip().rstrip(";")
        try:
            if hasattr(place, "cursor"):
                connection = place.cursor()
            else:
                connection = duckdb.connect(str(place), read_only=str(place) != ":memory:")
            head = connection.sql(f"select * from ({sql}\n) limit 0").to_arrow_table()
            self._columns = self._options.find(head)
            self._names = head.column_names
            columns = self._columns
            kept = [i for i in (columns.symbol, columns.time, *columns.prices) if i is not None]
            listed = ", ".join(_quoted(self._names[i]) for i in kept)
            connection.execute(f"create or replace temp table warpquant_bars as select {listed} from ({sql}\n)")
        except duckdb.Error as error:
            raise ParameterError(f"source: the query failed: {error}") from error
        except _FileError as error:
            raise ParameterError(f"source: the result of the query {error}") from error
        self._connection = connection
        return connection

    def symbols(self) -> list[str]:
        with self._lock:
            connection = self._open()
            columns = self._columns
            assert columns is not None
            if columns.symbol is None:
                return [self._names[i] for i in columns.prices] if columns.wide else ["query"]
            name = _quoted(self._names[columns.symbol])
            rows = connection.execute(
                f"select distinct cast({name} as varchar) from warpquant_bars where {name} is not null order by 1"
            ).fetchall()
            return [row[0] for row in rows]

    def fetch(self, symbols: Sequence[str]) -> Prices:
        with self._lock:
            connection = self._open()
            columns = self._columns
            assert columns is not None
            if columns.symbol is None:
                names = [self._names[i] for i in columns.prices] if not columns.wide else list(symbols)
                time = [] if columns.time is None else [self._names[columns.time]]
                listed = ", ".join(map(_quoted, [*time, *names]))
                table = connection.sql(f"select {listed} from warpquant_bars").to_arrow_table()
                found = _Columns(
                    0 if time else None, None, tuple(range(len(time), len(time) + len(names))), columns.wide
                )
            else:
                name = _quoted(self._names[columns.symbol])
                text = f"cast({name} as varchar)"  # as `symbols` has it
                bars = f"select * replace ({text} as {name}) from warpquant_bars"
                chosen = f"{bars} where {text} in (select unnest(?))"
                table = connection.sql(chosen, params=[list(symbols)]).to_arrow_table()
                found = _Columns(None if columns.time is None else 1, 0, (len(table.column_names) - 1,), wide=False)
        gathered = _Gathered()
        try:
            gathered.add(_pieces_of(table, found, self._options.time_format, "query"), "query")
        except _FileError as error:
            raise ParameterError(f"source: the result of the query: {error}") from error
        return gathered.prices()

    def fingerprint(self, by_content: bool = False) -> str:
        if by_content:
            return _content(self)
        place = self._query.database
        marks = (
            _file_mark(pathlib.Path(place), False)
            if isinstance(place, (str, os.PathLike)) and os.path.exists(place)
            else [""]
        )
        return _digest(["query", self._query.sql, self._options, *marks])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------------------------------------- fetchers


class FetcherSource:
    """Prices that somebody fetches, symbol by symbol."""

    stable = False  # prices go on

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.exchange = str(getattr(fetcher, "exchange_name", ""))

    def symbols(self) -> list[str]:
        return list(dict.fromkeys(map(str, self._fetcher.list_symbols())))

    def fetch(self, symbols: Sequence[str]) -> Prices:
        gathered, odd = _Gathered(), {}
        for symbol in symbols:
            try:
                close, time = _fetched(self._fetcher.fetch(symbol))
            except MemoryError:
                raise
            except Exception as error:  # whatever it is, it is this symbol's
                text = str(error).splitlines()[0] if str(error) else ""
                said = f"could not be fetched: {type(error).__name__}{f': {text}' if text else ''}"
                gathered.failures.append(Failure(symbol, "not_fetched", said))
                continue
            array = np.asarray(close) if time is not None else None
            if array is None or time is None or array.ndim != 1 or array.dtype.kind not in "fiu":
                odd[symbol] = close  # the scan says what is wrong with it, if anything
            elif time.shape != array.shape:
                said = f"has {len(array)} closes and {time.size} times"
                gathered.failures.append(Failure(symbol, "not_fetched", said))
            else:
                gathered.add([(symbol, _Piece(array.astype(np.float64, copy=False), time, None))], symbol)
        prices = gathered.prices()
        return Prices({**prices, **odd}, prices.times, prices.failures, prices.warnings)

    def fingerprint(self, by_content: bool = False) -> str:
        return (
            _content(self)
            if by_content
            else _digest(
                ["fetcher", type(self._fetcher).__name__, self.exchange, getattr(self._fetcher, "identity", "")]
            )
        )


def _fetched(found: Any) -> tuple[Any, Times | None]:
    """What a fetcher gives: closes as they are, and times as datetime64 of UTC or whole numbers."""
    bars = found if isinstance(found, Bars) else Bars(found)
    if bars.time is None:
        return bars.close, None
    time = np.asarray(bars.time)
    if time.dtype.kind in "iu" or not time.size:
        return bars.close, time.astype(np.int64)
    return bars.close, instants(bars.time).view("datetime64[ns]")


# ---------------------------------------------------------------------------------------------- whatever it is


def _from_pandas(x: Any, options: _Options) -> Source:
    pd = __import__("pandas")
    if x.ndim == 1:
        name = "series" if x.name is None else x.name
        return ColumnsSource([name], lambda i: _pandas_values(x), _pandas_times(x.index))
    if isinstance(x.columns, pd.MultiIndex):  # several fields of several symbols: the prices of all
        for level in range(x.columns.nlevels):
            labels = {str(label).lower(): label for label in x.columns.get_level_values(level)}
            wanted = [options.price_col.lower()] if options.price_col else _PRICE_NAMES
            field = next((labels[name] for name in wanted if name in labels), None)
            if field is not None and x.columns.nlevels == 2:
                return _from_pandas(x.xs(field, axis=1, level=level), _Options())
        raise ParameterError(f"source: its columns have {x.columns.nlevels} levels, and none of two holds closes")
    names = {str(name).lower() for name in x.columns}
    if isinstance(x.index, pd.MultiIndex) or options or names & {*_SYMBOL_NAMES, *_PRICE_NAMES, *_TIME_NAMES}:
        frame = x if isinstance(x.index, pd.RangeIndex) else x.reset_index()
        return _from_table(frame, options, lambda part: _arrow().Table.from_pandas(part, preserve_index=False))
    return ColumnsSource(list(x.columns), lambda i: _pandas_values(x.iloc[:, i]), _pandas_times(x.index))


def _pandas_values(column: Any) -> Any:
    """Values of a column; nullable types hide missing ones."""
    if hasattr(column.array, "_mask") or str(column.dtype).endswith("[pyarrow]"):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def _pandas_times(index: Any) -> Times | None:
    kind = type(index).__name__
    if kind == "PeriodIndex":
        index, kind = index.to_timestamp(), "DatetimeIndex"
    if kind == "DatetimeIndex":
        times: Times = (index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index).to_numpy()
        return times
    if kind == "RangeIndex" or not len(index):
        return None
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "iu":
        found = _integer_times(index.to_numpy().astype(np.int64))
    else:
        pa = _arrow()
        try:
            found = _read_times(pa.chunked_array([pa.Array.from_pandas(index)]), None)
        except (_FileError, pa.ArrowException) as error:
            said = str(error).replace("the time column", "the index").replace(" (--time-format)", " (time_format)")
            raise ParameterError(
                f"source: {said}; accepted are an index of times and, for bars in order, reset_index(drop=True)"
            ) from error
    return found if found.dtype.kind == "M" else None  # other whole numbers are those of rows


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            "frames other than plain ones of pandas need pyarrow: pip install 'warpquant[data]'"
        ) from None
    return pyarrow


def _from_table(x: Any, options: _Options, to_arrow: Callable[[Any], Any]) -> Source:
    """A frame by way of Arrow; of a long one only the columns and rows that are wanted take that way."""
    _arrow()

    def rows_of(frame: Any, rows: Any) -> Any:
        if isinstance(rows, slice):
            return frame.slice(rows.start, rows.stop - rows.start) if hasattr(frame, "slice") else frame.iloc[rows]
        if hasattr(frame, "iloc"):
            return frame.iloc[rows]
        if not hasattr(frame, "take"):
            return frame[rows]
        chosen = np.zeros(len(frame), dtype=bool)
        chosen[rows] = True
        return frame.filter(_arrow().array(chosen))  # taking rows by number would join the pieces of columns first

    head = to_arrow(rows_of(x, slice(0, 0)))
    try:
        columns = options.find(head)
        if columns.symbol is None:
            return TableSource(to_arrow(x), columns, options)
        kept = [i for i in (columns.symbol, columns.time, *columns.prices) if i is not None]
        names = [head.column_names[i] for i in kept]
        part = x.select(names) if hasattr(x, "select") else x[names]
        return LongSource(len(x), lambda rows: to_arrow(rows_of(part, rows)), options)
    except _FileError as error:
        raise ParameterError(f"source: {error}") from error


def _joined(x: Any) -> Any:
    """A table, also of a single batch of records."""
    return x if hasattr(x, "combine_chunks") else _arrow().Table.from_batches([x])


def _from_xarray(x: Any, options: _Options) -> Source:
    if hasattr(x, "data_vars"):
        wanted = [options.price_col] if options.price_col else _PRICE_NAMES
        name = next((n for p in wanted for n in x.data_vars if str(n).lower() == str(p).lower()), None)
        if name is None:
            raise ParameterError(f"source: none of the variables {', '.join(map(str, x.data_vars))} is a close")
        x = x[name]
    axis = options.time_col or unpack(x, "source").axis
    dims = list(x.dims)
    time_dim = axis if isinstance(axis, str) else dims[axis]
    others = [dim for dim in dims if dim != time_dim]
    if len(others) > 1:
        raise ShapeError(f"source: has the dimensions {dims}; accepted are times, or symbols and times")
    times = x[time_dim].to_numpy() if time_dim in x.coords else None
    times = times if times is not None and times.dtype.kind == "M" else None
    if not others:
        return ColumnsSource([x.name or "series"], lambda i: x.to_numpy(), times)
    names = x[others[0]].to_numpy() if others[0] in x.coords else range(x.sizes[others[0]])
    return ColumnsSource(list(names), lambda i: x.isel({others[0]: i}).to_numpy(), times)


def _from_array(x: Any, symbols: Sequence[Any] | None) -> Source:
    """An array (symbols, bars), `np.memmap` above all: rows are read when their turn comes."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"source: has {x.ndim} dimensions; accepted are (bars,) and (symbols, bars)")
    rows = x[np.newaxis] if x.ndim == 1 else x
    names = list(range(len(rows))) if symbols is None else list(symbols)
    if len(names) != len(rows):
        raise ShapeError(f"symbols: are {len(names)} names for {len(rows)} rows")
    return ColumnsSource(names, lambda i: np.asarray(rows[i]), None)


def _from_paths(places: Sequence[str | os.PathLike[str]], options: _Options) -> Source:
    files = _expand(places)
    in_folder = any(pathlib.Path(place).expanduser().is_dir() for place in places) or len(files) > len(places)
    if in_folder and ParquetSource.fits(files, options):
        return ParquetSource(files, options)
    return FilesSource(files, options)


def _is_path(x: Any) -> bool:
    return isinstance(x, (str, os.PathLike))


_Maker = Callable[[Any, _Options], Source]

#: What is accepted: how to tell it, and what makes a source of it; the first that fits does.
_KINDS: tuple[tuple[str, Callable[[Any], bool], _Maker], ...] = (
    ("a Source", lambda x: isinstance(x, Source), lambda x, o: x),
    ("a Fetcher", lambda x: isinstance(x, Fetcher), lambda x, o: FetcherSource(x)),
    ("a Query", lambda x: isinstance(x, Query), QuerySource),
    (
        "a duckdb:// address",
        lambda x: isinstance(x, str) and x.startswith("duckdb:"),
        lambda x, o: QuerySource(Query.from_url(x), o),
    ),
    ("a file, pattern or folder", _is_path, lambda x, o: _from_paths([x], o)),
    (
        "a sequence of them",
        lambda x: isinstance(x, Sequence) and bool(x) and all(map(_is_path, x)),
        _from_paths,
    ),
    (
        "a frame or series of pandas",
        lambda x: _library(x) in (("pandas", "DataFrame"), ("pandas", "Series")),
        _from_pandas,
    ),
    (
        "a frame of Polars",
        lambda x: _library(x) == ("polars", "DataFrame"),
        lambda x, o: _from_table(x, o, lambda part: part.to_arrow()),
    ),
    (
        "an Arrow table",
        lambda x: _library(x)[0] == "pyarrow" and hasattr(x, "column_names"),
        lambda x, o: _from_table(_joined(x), o, lambda part: part),
    ),
    ("an array or data set of xarray", lambda x: _library(x)[0] == "xarray", _from_xarray),
    ("what read_prices gives", lambda x: isinstance(x, Prices), lambda x, o: PricesSource(x)),
    ("a mapping from symbol to closes", lambda x: isinstance(x, Mapping), lambda x, o: MappingSource(x)),
    ("an array (symbols, bars)", lambda x: isinstance(x, np.ndarray), lambda x, o: _from_array(x, None)),
)


def open_source(
    source: Any,
    *,
    symbols: Sequence[Any] | None = None,
    symbol_col: str | None = None,
    time_col: str | None = None,
    price_col: str | None = None,
    time_format: str | None = None,
) -> Source:
    """Make a source of whatever holds prices; docs/data.md has the table.

    Parameters
    ----------
    source
        A pandas, Polars, Arrow or xarray frame, a mapping from symbol to closes, an array of shape (symbols, bars) such
        as an `np.memmap`, files by name, pattern or folder, a `Query`, a `warpquant.fetchers.Fetcher`, or a `Source`.
    symbols : sequence, optional
        Names of the rows of an array; by default their numbers.
    symbol_col, time_col, price_col : str, optional
        Names of columns, for frames and files that the rules of docs/scan.md read otherwise.
    time_format : str, optional
        Format of times that are text.

    Returns
    -------
    Source
        Names and prices, not read yet.

    Raises
    ------
    DTypeError
        If it is nothing of the kind.
    ParameterError
        If files do not exist, no column of prices is found, or names are given to what has its own.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.sources import open_source
    >>> source = open_source(np.ones((2, 100)), symbols=["A", "B"])
    >>> source.symbols(), len(source.fetch(["B"])["B"])
    (['A', 'B'], 100)
    """
    options = _Options(symbol_col, time_col, price_col, time_format)
    if symbols is not None:
        if not isinstance(source, np.ndarray):
            raise ParameterError(f"symbols: name the rows of an array, and a {type(source).__name__} has names already")
        return _from_array(source, symbols)
    for _, fits, make in _KINDS:
        if fits(source):
            return make(source, options)
    if hasattr(source, "items"):
        return MappingSource(dict(source.items()))
    accepted = ", ".join(name for name, _, _ in _KINDS)
    raise DTypeError(f"source: a {type(source).__name__} holds no prices; accepted are {accepted}")
