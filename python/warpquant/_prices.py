# SPDX-License-Identifier: Apache-2.0
"""Prices from files: find the layout, bring the bars of each symbol in order."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Failure", "Floats", "Note", "Prices", "Times", "count", "read_prices", "time_text"]

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A symbol or file without a result.

    Attributes
    ----------
    symbol : str
        Name of the symbol; for a file that cannot be read, of the file without its suffixes.
    reason : str
        A stable word: ``unreadable``, ``not_numeric``, ``empty``, ``short``, ``no_time``, ``not_fetched``,
        ``rejected``.
    message : str
        What is wrong, in words.
    """

    symbol: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True)
class Note:
    """Something about a symbol that the reader put right: duplicate bars, rows without a time."""

    symbol: str
    message: str


class Prices(Mapping[str, Floats]):
    """Closes of symbols, each with its own bars, oldest first.

    A mapping from symbol to its closes, which every function of the package takes as it is.

    Attributes
    ----------
    times : dict
        Symbol to the times of its bars (datetime64, or whole numbers), or None where a file has none.
    failures : tuple of Failure
        What could not be read.
    warnings : tuple of Note
        What was put right.
    """

    def __init__(
        self,
        closes: Mapping[str, Floats],
        times: Mapping[str, Times | None] | None = None,
        failures: Iterable[Failure] = (),
        warnings: Iterable[Note] = (),
    ) -> None:
        self._closes = dict(closes)
        self.times: dict[str, Times | None] = dict(times or dict.fromkeys(self._closes))
        self.failures = tuple(failures)
        self.warnings = tuple(warnings)

    def __getitem__(self, symbol: str) -> Floats:
        return self._closes[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._closes)

    def __len__(self) -> int:
        return len(self._closes)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"Prices({len(self)} symbols, {sum(map(len, self._closes.values()))} bars{failed})"


_TIME_NAMES = ("date", "datetime", "timestamp", "time", "ts", "open_time", "opentime", "close_time")
_SYMBOL_NAMES = ("symbol", "ticker", "instrument", "asset", "pair", "code")
_PRICE_NAMES = ("close", "price", "adj close", "adj_close")
_BAR_NAMES = ("open", "high", "volume")
_INDEX_NAMES = ("", "index", "unnamed: 0")
_PANDAS_INDEX = "__index_level_0__"
_TEXT_TYPES = ("string", "large_string", "string_view")
_CLOCKS = (" %H:%M:%S", " %H:%M", "")
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather", ".arrow")


class _FileError(Exception):
    """A file that cannot be used, with the reason word of `Failure`."""

    def __init__(self, message: str, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


def _stem(path: pathlib.Path) -> str:
    name = path.name
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _load(path: pathlib.Path, text_columns: Iterable[str] = ()) -> Any:
    """The file as an Arrow table; of a CSV file some columns may be left as text."""
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.feather
        import pyarrow.parquet
    except ImportError:
        raise ImportError("reading files needs pyarrow: pip install 'warpquant[data]'") from None
    name = path.name.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            year_first = [f"%Y{s}%m{s}%d{t}" for s in "/." for t in _CLOCKS]
            texts = dict.fromkeys(text_columns, pa.string())
            convert = pa.csv.ConvertOptions(timestamp_parsers=[pa.csv.ISO8601, *year_first], column_types=texts)
            return pa.csv.read_csv(path, convert_options=convert)
        if name.endswith(".parquet"):
            return pa.parquet.read_table(path)
        if name.endswith((".feather", ".arrow")):
            return pa.feather.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise _FileError(str(error).splitlines()[0]) from error
    raise _FileError(f"unknown kind of file; known are {', '.join(_SUFFIXES)}")


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Positions of the columns of a table; in a wide one each of `prices` is a symbol."""

    time: int | None
    symbol: int | None
    prices: tuple[int, ...]
    wide: bool


def _find_columns(table: Any, symbol_col: str | None, time_col: str | None, price_col: str | None) -> _Columns:
    """Which columns hold what; docs/scan.md has the rules."""
    import pyarrow as pa

    names = list(table.column_names)
    lower = [name.strip().lower() for name in names]

    def named(option: str, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in names:
            raise _FileError(f"has no column {name!r} ({option}); its columns are {', '.join(map(repr, names[:20]))}")
        return names.index(name)

    def first(candidates: Sequence[str], floats: bool = False) -> int | None:
        """The first of these names that is no column of prices: tickers such as CODE and TIME exist."""
        found = (lower.index(name) for name in candidates if name in lower)
        return next((i for i in found if floats or not pa.types.is_floating(table.schema.field(i).type)), None)

    time = named("time column", time_col)
    if time is None:
        time = first(_TIME_NAMES)
    if time is None:
        time = next((i for i, field in enumerate(table.schema) if pa.types.is_temporal(field.type)), None)
    if time is None and lower:
        time = first([lower[0] if lower[0] in _INDEX_NAMES else _PANDAS_INDEX])
    symbol = named("symbol column", symbol_col)
    if symbol is None:
        symbol = first(_SYMBOL_NAMES)
    price = named("price column", price_col)
    has_one_price = symbol is not None or price is not None or any(name in lower for name in _PRICE_NAMES)
    if time is None and has_one_price:  # so the others are no tickers; whole numbers with a gap come as decimals
        time = first(_TIME_NAMES, floats=True)
    others = tuple(i for i in range(len(names)) if i not in (time, symbol))
    if price is None:
        price = next((lower.index(name) for name in _PRICE_NAMES if name in lower), None)
        alone = len(others) == 1
        if symbol is None and not (price is not None and (alone or any(name in lower for name in _BAR_NAMES))):
            if not others:
                raise _FileError(f"no price column found among {', '.join(map(repr, names)) or 'none at all'}")
            return _Columns(time, None, others, wide=True)
        if price is None and alone:
            price = others[0]
    if price is None:
        raise _FileError(
            f"no price column found among {', '.join(map(repr, names[:20]))}; name it (--price-col, price_col)"
        )
    return _Columns(time, symbol, (price,), wide=False)


def _whole_column(column: Any) -> Any:
    """A column in one piece, with its values themselves rather than codes for them."""
    import pyarrow as pa

    column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _text_times(column: Any, time_format: str | None) -> Any:
    """Text as timestamps: in the format given, else ISO, else whichever order of day and month fits all of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def parsed(form: str) -> Any:
        try:
            times = pc.strptime(column, format=form, unit="s")
        except pa.ArrowInvalid:
            return None
        return None if time_format is None and _has_short_years(times) else times

    example = next((text for text in column.to_pylist() if text), "")
    if time_format is None:
        try:
            return column.cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            pass
    orders = [f"{day}{s}%Y{clock}" for s in "/.-" for clock in _CLOCKS for day in (f"%d{s}%m", f"%m{s}%d")]
    fitting = [times for form in ([time_format] if time_format else orders) if (times := parsed(form)) is not None]
    if not fitting:
        raise _FileError(f"the time column holds text that is no date ({example!r}); give its format (--time-format)")
    if any(not times.equals(fitting[0]) for times in fitting):
        raise _FileError(f"{example!r} may be day or month first; give the format of the times (--time-format)")
    return fitting[0]


def _has_short_years(times: Any) -> bool:
    """Whether years of two digits were taken for those of the first century."""
    import pyarrow.compute as pc

    first = pc.min(pc.year(times)).as_py()
    return first is not None and first < 1000


#: Marks a missing time, as a whole number and, seen as a datetime64, as NaT.
_NO_TIME = np.iinfo(np.int64).min


def _missing(time: Times) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = time.view(np.int64) == _NO_TIME
    return flags


def _read_times(column: Any, time_format: str | None) -> Times:
    """Times as datetime64 or whole numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _whole_column(column)
    if str(column.type) in _TEXT_TYPES:
        column = _text_times(column, time_format)
    elif pa.types.is_date(column.type):  # the direct way to NumPy would import pandas
        column = column.cast(pa.timestamp("ms"))
    elif pa.types.is_floating(column.type):
        try:
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise _FileError(f"the time column holds decimal numbers: {error}") from error
    is_stamp = pa.types.is_timestamp(column.type)
    if is_stamp and _has_short_years(column):
        raise _FileError("the time column has years of two digits; give the format of the times (--time-format)")
    if not is_stamp and not pa.types.is_integer(column.type):
        raise _FileError(f"the time column holds {column.type}; accepted are dates, timestamps and whole numbers")
    numbers = column.cast(pa.int64(), safe=False).fill_null(_NO_TIME).to_numpy(zero_copy_only=False)
    return numbers.view(f"datetime64[{column.type.unit}]") if is_stamp else _integer_times(numbers)


def _integer_times(numbers: npt.NDArray[np.int64]) -> Times:
    """Whole numbers as dates (YYYYMMDD) or times since 1970 in s, ms, us or ns, by their size; else as they are."""
    known = numbers[numbers != _NO_TIME]
    size = int(np.median(known)) if known.size else 0
    if 19000101 <= size <= 22001231:
        try:
            texts = (str(n) if n != _NO_TIME else "NaT" for n in numbers.tolist())
            return np.array([f"{t[:4]}-{t[4:6]}-{t[6:]}" if t != "NaT" else t for t in texts], dtype="datetime64[s]")
        except ValueError:
            return numbers
    for unit, low, high in (("s", 10**8, 10**11), ("ms", 10**11, 10**14), ("us", 10**14, 10**17)):
        if low <= size < high:
            return numbers.view(f"datetime64[{unit}]")
    return numbers.view("datetime64[ns]") if size >= 10**17 else numbers


def _read_numbers(column: Any) -> tuple[Floats, dict[int, str]]:
    """Values with NaN where missing, and what is no number, by row."""
    import pyarrow as pa

    column = _whole_column(column)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.ascontiguousarray(values, dtype=np.float64), {}
    values, bad = np.full(len(column), np.nan), {}
    is_text = str(kind) in _TEXT_TYPES
    for row, value in enumerate(column.to_pylist()):
        if value is None or value == "":
            continue
        try:
            if not is_text:
                raise ValueError
            values[row] = float(value)
        except ValueError:
            bad[row] = str(value)
    return values, bad


@dataclasses.dataclass
class _Piece:
    """Bars of one symbol from one file, in its order."""

    close: Floats
    time: Times | None
    bad: tuple[int, str] | None


def _pieces(
    path: pathlib.Path, symbol_col: str | None, time_col: str | None, price_col: str | None, time_format: str | None
) -> Iterator[tuple[str, _Piece]]:
    """Everything that a file holds, symbol by symbol."""
    table = _load(path)
    columns = _find_columns(table, symbol_col, time_col, price_col)
    is_csv = path.name.lower().endswith((".csv", ".csv.gz"))
    if is_csv:
        # A symbol such as 0700 or TRUE is no number and no flag; and a format that is given comes before a guess.
        as_text = [columns.symbol, columns.time if time_format is not None else None]
        guessed = [i for i in as_text if i is not None and str(table.schema.field(i).type) not in _TEXT_TYPES]
        if guessed:
            table = _load(path, [table.column_names[i] for i in guessed])
    yield from _pieces_of(table, columns, time_format, _stem(path))


def _pieces_of(table: Any, columns: _Columns, time_format: str | None, alone: str) -> Iterator[tuple[str, _Piece]]:
    """The same of a table; `alone` is the name of its only symbol, if it has no names of symbols."""
    names = table.column_names
    time = None if columns.time is None else _read_times(table.column(columns.time), time_format)
    for position in columns.prices:
        close, bad = _read_numbers(table.column(position))
        if columns.symbol is None:
            yield (names[position] if columns.wide else alone), _Piece(close, time, next(iter(bad.items()), None))
            continue
        for name, rows in _groups(table.column(columns.symbol)):
            wrong = next(((int(row), bad[int(row)]) for row in rows if int(row) in bad), None) if bad else None
            yield name, _Piece(close[rows], None if time is None else time[rows], wrong)


def _groups(column: Any) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Each symbol of a column with its rows; the name of a missing symbol is empty."""
    codes, names = _encoded(column)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(-1, len(names) + 1))
    for name, start, stop in zip(["", *names], bounds[:-1], bounds[1:], strict=True):
        if stop > start:
            yield name, order[start:stop]


def _encoded(column: Any) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The place of each row's symbol in a list of their names; -1 where a symbol is missing or empty."""
    import pyarrow as pa

    column = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values = column.dictionary
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        try:
            values = values.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise _FileError(f"the symbol column holds bytes that are no text: {error}") from error
    names: dict[str, int] = {"": -1}
    texts = ("" if value is None else str(value) for value in values.to_pylist())
    places = [names.setdefault(text, len(names) - 1) for text in texts]
    codes = column.indices.cast(pa.int64()).fill_null(len(places)).to_numpy(zero_copy_only=False)
    return np.array([*places, -1], dtype=np.int64)[codes], list(names)[1:]


_NO_ORDER = "comes more than once, and without times the parts cannot be put in order"


def _merge(symbol: str, pieces: list[_Piece]) -> tuple[Floats, Times | None, list[str]] | Failure:
    """The bars of a symbol in order of time, each time once, with what had to be put right."""
    for piece in pieces:
        if piece.bad is not None:
            row, value = piece.bad
            return Failure(symbol, "not_numeric", f"{value!r} in data row {row + 1} is no number")
    times = [piece.time for piece in pieces if piece.time is not None]
    if len(times) < len(pieces):
        if len(pieces) > 1:
            return Failure(symbol, "no_time", _NO_ORDER)
        return pieces[0].close, None, []
    if len({time.dtype.kind for time in times}) > 1:
        return Failure(symbol, "no_time", "has dates in one file and plain numbers in another")
    close, time = np.concatenate([piece.close for piece in pieces]), np.concatenate(times)
    said = []
    missing = _missing(time)
    if missing.any():
        said.append(f"{count(int(missing.sum()), 'row')} without a time left out")
        close, time = close[~missing], time[~missing]
    if np.any(time[1:] < time[:-1]):
        order = np.argsort(time, kind="stable")
        close, time = close[order], time[order]
    again = np.zeros(len(time), dtype=bool)
    again[1:] = time[1:] == time[:-1]
    if again.any():
        when = time_text(time[int(np.argmax(again))])
        said.append(f"{count(int(again.sum()), 'duplicate bar')} left out, the first of each time kept (first: {when})")
        close, time = close[~again], time[~again]
    return close, time, said


def time_text(time: Any) -> Any:
    """A time in ISO form without needless zeros; whole numbers stay."""
    if not isinstance(time, np.datetime64):
        return None if time is None else int(time)
    text = str(time.astype("datetime64[us]")).removesuffix(".000000").removesuffix("T00:00:00")
    return text.replace("T", " ")


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def read_prices(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    symbol_col: str | None = None,
    time_col: str | None = None,
    price_col: str | None = None,
    time_format: str | None = None,
) -> Prices:
    r"""Read closes from files of any common layout.

    A *wide* file has a time column and one column for each symbol; a *long* file has a column of symbols, one of
    times and one of closes; a file with the bars of one symbol (``open, high, low, close, volume``) is named after it.
    The layout is found from the names and types of the columns, or given. Files may be mixed; bars of the same symbol
    are merged. Bars are put in order of time; of bars with the same time the first is kept and a warning given.

    Parameters
    ----------
    files : path or sequence of paths
        CSV (``.csv``, ``.csv.gz``), Parquet (``.parquet``) or Feather (``.feather``, ``.arrow``).
    symbol_col, time_col, price_col : str, optional
        Names of columns, for files that the rules of docs/scan.md read otherwise.
    time_format : str, optional
        Format of times that are text, as for `time.strptime`. By default ISO (``2024-01-31 09:30``, also with ``/`` or
        ``.``), or day and month first in whichever order fits every row.

    Returns
    -------
    Prices
        Closes by symbol, NaN where missing; with what could not be read in `failures`.

    Raises
    ------
    ImportError
        If pyarrow is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from warpquant.scan import read_prices
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "closes.csv")
    ...     _ = file.write_text("date,A,B\n2024-01-02,10,7\n2024-01-03,11,\n")
    ...     read_prices(file)["B"]
    array([ 7., nan])
    """
    gathered = _Gathered()
    for file in [files] if isinstance(files, (str, os.PathLike)) else files:
        path = pathlib.Path(file)
        try:
            gathered.add(_pieces(path, symbol_col, time_col, price_col, time_format), _stem(path))
        except _FileError as error:
            gathered.failures.append(Failure(_stem(path), error.reason, f"{path.name}: {error}"))
    return gathered.prices()


class _Gathered:
    """Pieces of symbols from several places, on their way to `Prices`."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[_Piece]] = {}
        self.failures: list[Failure] = []
        self.warnings: list[Note] = []

    def add(self, pieces: Iterable[tuple[str, _Piece]], place: str) -> None:
        for symbol, piece in pieces:
            if symbol:
                self.pieces.setdefault(symbol, []).append(piece)
            else:
                said = f"{count(len(piece.close), 'row')} without a symbol left out"
                self.warnings.append(Note(place, said))

    def prices(self) -> Prices:
        """Everything merged; the pieces are gone then."""
        closes: dict[str, Floats] = {}
        times: dict[str, Times | None] = {}
        for symbol in list(self.pieces):
            merged = _merge(symbol, self.pieces.pop(symbol))
            if isinstance(merged, Failure):
                self.failures.append(merged)
                continue
            closes[symbol], times[symbol], texts = merged
            self.warnings.extend(Note(symbol, text) for text in texts)
        return Prices(closes, times, self.failures, self.warnings)
