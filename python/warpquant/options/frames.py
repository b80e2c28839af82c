# SPDX-License-Identifier: Apache-2.0
"""Options in data frames, and Greeks in the units that people quote.

`price_dataframe` prices the rows of a pandas, Polars or Arrow table, or of a mapping of arrays, and gives the same kind
of table with columns for what was asked. `scale` turns Greeks from plain derivatives into those per day, per point of
volatility, per basis point. docs/options/greeks.md has the table of all outputs.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant._containers import unpack
from warpquant.errors import DTypeError, ParameterError, ShapeError

from ._product import ALIASES
from .vanilla import _VANILLA, greeks

__all__ = ["price_dataframe", "scale"]

Floats = npt.NDArray[np.float64]

#: Orders of differentiation in time, volatility and rates; what is not listed has none of them.
_ORDERS = {
    "theta": (1, 0, 0), "charm": (1, 0, 0), "color": (1, 0, 0), "veta": (1, 1, 0),
    "vega": (0, 1, 0), "vanna": (0, 1, 0), "zomma": (0, 1, 0), "volga": (0, 2, 0), "ultima": (0, 3, 0),
    "rho": (0, 0, 1), "epsilon": (0, 0, 1), "vera": (0, 1, 1),
}  # fmt: skip
_UNITS: dict[str, dict[str | None, float]] = {
    "theta": {None: 1.0, "day365": 365.0, "day252": 252.0},
    "vega": {None: 1.0, "point": 100.0},
    "rho": {None: 1.0, "point": 100.0, "bp": 10_000.0},
}


def scale(g: Any, theta: str | None = None, vega: str | None = None, rho: str | None = None) -> Any:
    """Greeks in the units in which they are quoted; nothing else in the package does that.

    What each of them is divided by:

    ==========================  ===============================================
    output                      divided by
    ==========================  ===============================================
    theta, charm, color         days per year (365 or 252)
    vega, vanna, zomma          100
    volga                       100 twice
    ultima                      100 three times
    veta                        days per year, and 100
    rho, epsilon                100 (point) or 10,000 (bp)
    vera                        100 by ``vega``, and 100 or 10,000 by ``rho``
    all others                  1
    ==========================  ===============================================

    Parameters
    ----------
    g : mapping of str to number or array, or data frame
        Outputs of `greeks` by their names or aliases, and their standard errors, ``..._error``. Other names are left as
        they are.
    theta : {'day365', 'day252'}, optional
        Derivatives in time per calendar day or per trading day, instead of per year.
    vega : {'point'}, optional
        Derivatives in volatility per point (0.01), instead of per 1.00.
    rho : {'point', 'bp'}, optional
        Derivatives in rates per point (0.01) or per basis point (0.0001), instead of per 1.00.

    Returns
    -------
    dict, or a frame of the kind of `g`
        New values; `g` is not changed.

    Raises
    ------
    ParameterError
        If a unit is unknown.

    Examples
    --------
    >>> from warpquant import options
    >>> g = options.greeks(100.0, 105.0, 0.5, 0.03, 0.01, 0.2, "put")
    >>> round(g["theta"], 4), round(g["vega"], 4)
    (-4.1061, 27.4931)
    >>> daily = options.scale(g, theta="day365", vega="point")
    >>> round(daily["theta"], 4), round(daily["vega"], 4)
    (-0.0112, 0.2749)
    """
    divisors = []
    for name, unit in (("theta", theta), ("vega", vega), ("rho", rho)):
        if unit not in _UNITS[name]:
            raise ParameterError(f"{name}: {unit!r} is unknown; accepted are {', '.join(map(repr, _UNITS[name]))}")
        divisors.append(_UNITS[name][unit])

    def divided(name: str, values: Any) -> Any:
        plain = name.removesuffix("_error")  # a standard error is in the units of what it is of
        orders = _ORDERS.get(ALIASES.get(plain, plain), (0, 0, 0))
        divisor = np.prod([d**k for d, k in zip(divisors, orders, strict=True)])
        if divisor == 1.0:
            return values
        if type(values).__module__.partition(".")[0] == "pyarrow":
            return sys.modules["pyarrow.compute"].divide(values, float(divisor))
        return values / float(divisor)

    if isinstance(g, Mapping):
        return {name: divided(name, values) for name, values in g.items()}
    frame = Frame(g, "g")
    return frame.with_columns({name: divided(name, frame.column(name)) for name in frame.names})


def output_names(outputs: str | Iterable[str]) -> tuple[str, ...]:
    """Names of outputs as they were asked for.

    Raises
    ------
    ParameterError
        If one is unknown, or there is none.
    """
    if isinstance(outputs, str):
        outputs = _VANILLA.names if outputs == "all" else (outputs,)
    names = tuple(outputs)
    _VANILLA.choose(names)
    return names


class Frame:
    """A table of any of the kinds that are accepted, column by column.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table, or mapping of str to array
        The table.
    argument : str
        Its name in messages.

    Raises
    ------
    DTypeError
        If it is no table.
    ShapeError
        If columns of a mapping differ in length.
    """

    def __init__(self, frame: Any, argument: str = "frame") -> None:
        self._frame = frame
        self._argument = argument
        library, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
        if library == "polars" and kind == "LazyFrame":
            self._frame = frame = frame.collect()
            kind = "DataFrame"
        if library in ("pandas", "polars") and kind == "DataFrame":
            self.kind = library
            self.names = [str(name) for name in frame.columns]
            self.rows = len(frame)
        elif library == "pyarrow" and kind in ("Table", "RecordBatch"):
            self.kind = library
            self.names = list(frame.schema.names)
            self.rows = frame.num_rows
        elif isinstance(frame, Mapping):
            self.kind = "mapping"
            self.names = [str(name) for name in frame]
            self._frame = {str(name): self._array(str(name), values) for name, values in frame.items()}
            lengths = {name: values.shape[0] for name, values in self._frame.items() if values.ndim}
            self.rows = max(lengths.values(), default=1 if self._frame else 0)
            for name, length in lengths.items():
                if length != self.rows:
                    raise ShapeError(f"{argument}: {name!r} has {length} rows, others have {self.rows}")
        else:
            raise DTypeError(
                f"{argument}: {type(frame).__name__} is no table; accepted are pandas, Polars and Arrow tables, and "
                "mappings of names to arrays"
            )
        repeated = {name for name in self.names if self.names.count(name) > 1}
        if repeated:
            raise ParameterError(f"{argument}: has several columns named {', '.join(map(repr, sorted(repeated)))}")

    def _array(self, name: str, values: Any) -> Any:
        if type(values).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow") or isinstance(values, str):
            array = _plain(values)
        else:
            array = values if isinstance(values, np.ndarray) else np.asarray(values)
        if array.ndim > 1:
            raise ShapeError(f"{self._argument}: {name!r} has {array.ndim} dimensions; accepted is 1")
        return array

    def column(self, name: str) -> Any:
        """A column as it is.

        Raises
        ------
        ParameterError
            If there is none of that name.
        """
        if name not in self.names:
            raise ParameterError(f"{self._argument}: has no column {name!r}; its columns are {', '.join(self.names)}")
        if self.kind == "pandas":
            return self._frame.iloc[:, self.names.index(name)]
        return self._frame[name]

    def array(self, name: str) -> npt.NDArray[Any]:
        """A column as a NumPy array: numbers, datetime64, or objects."""
        array = _plain(self.column(name))
        return np.broadcast_to(array, (self.rows,)) if array.ndim == 0 else array

    def numbers(self, name: str) -> Floats:
        """A column of numbers as float64; missing ones are NaN.

        Raises
        ------
        DTypeError
            If it holds something else.
        """
        array = self.array(name)
        if array.dtype.kind not in "biuf":
            try:
                array = np.array([np.nan if _is_missing(v) else float(v) for v in array.tolist()], dtype=np.float64)
            except (TypeError, ValueError):
                some = array[:1].tolist()
                raise DTypeError(f"{self._argument}: column {name!r} holds no numbers, but such as {some}") from None
        return np.ascontiguousarray(array, dtype=np.float64)

    def texts(self, name: str) -> list[str]:
        """A column as texts; what is missing is empty."""
        array = self.array(name)
        if array.dtype.kind == "M":
            days = array.astype("datetime64[D]")
            array = days if bool(np.all((array == days) | np.isnat(array))) else array
            return ["" if np.isnat(v) else str(v) for v in array]
        return ["" if _is_missing(v) else str(v) for v in array.tolist()]

    def find(self, names: Iterable[str]) -> str | None:
        """The first of some names that there is a column of, whatever its case."""
        lower = {name.lower(): name for name in reversed(self.names)}
        return next((lower[name] for name in names if name in lower), None)

    def with_columns(self, columns: Mapping[str, Any]) -> Any:
        """A table of the same kind, with columns added or replaced."""
        if self.kind == "pandas":
            return self._frame.assign(**dict(columns))
        if self.kind == "polars":
            import polars as pl

            return self._frame.with_columns(**{name: pl.Series(name, values) for name, values in columns.items()})
        if self.kind == "pyarrow":
            import pyarrow as pa

            table = pa.table(self._frame)
            for name, values in columns.items():
                made = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
                at = table.schema.get_field_index(name)
                table = table.append_column(name, made) if at < 0 else table.set_column(at, name, made)
            return table
        return {**self._frame, **columns}


def _plain(values: Any) -> npt.NDArray[Any]:
    """A column as a NumPy array; nulls are NaN, NaT or None."""
    library = type(values).__module__.partition(".")[0]
    if library == "pandas":
        kind = getattr(values.dtype, "kind", "O")
        if kind in "biufc" and not isinstance(values.dtype, np.dtype):
            return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
        if kind == "M" and not isinstance(values.dtype, np.dtype):  # of a zone: in UTC
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return np.asarray(values.to_numpy())
    if library == "polars":
        if values.dtype.is_temporal() and getattr(values.dtype, "time_zone", None) is not None:
            values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return np.asarray(values.to_numpy())
    if library == "pyarrow":
        import pyarrow as pa

        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("s"))
        elif pa.types.is_timestamp(values.type):  # of a zone: in UTC
            values = values.cast(pa.timestamp(values.type.unit))
        elif pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.asarray(values)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


_SYNONYMS: dict[str, tuple[str, ...]] = {
    "spot": ("spot", "forward", "underlying_price", "und_daily_close", "und_close", "s", "f"),
    "strike": ("strike", "strike_price", "k"),
    "expiry": ("expiry", "expiration", "years", "years_to_expiry", "maturity", "t", "expiry_date", "exdate"),
    "rate": ("rate", "risk_free_rate", "interest_rate", "zero_rate", "r"),
    "dividend": ("dividend", "dividend_yield", "q"),
    "vol": ("vol", "volatility", "implied_volatility", "implied_vol", "sigma", "iv"),
    "is_call": ("is_call", "right", "callput", "cp", "option_type", "type", "kind", "flag"),
    "shift": ("shift",),
}


def time_of_day(text: str, name: str) -> np.timedelta64:
    """Hours and minutes as milliseconds."""
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    if match is None or int(match[1]) > 24 or int(match[2]) > 59:
        raise ParameterError(f"{name}: {text!r} is no time of day; accepted is HH:MM")
    return np.timedelta64(1000 * (3600 * int(match[1]) + 60 * int(match[2]) + int(match[3] or 0)), "ms")


def ends(when: npt.NDArray[np.datetime64], start: np.datetime64, close: str) -> npt.NDArray[np.datetime64]:
    """When options end: a date at the `close` of that day if `start` has a time of day, so that days are whole."""
    at = time_of_day(close, "close")
    if start == start.astype("datetime64[D]"):
        return when
    return np.where(when == when.astype("datetime64[D]"), when + at, when)


def years_between(as_of: Any, expiry: npt.NDArray[Any], close: str, day_count: float = 365.0) -> Floats:
    """Years from a time to others, in days of 24 hours by `day_count`; NaN where the other is missing."""
    start = _moment(as_of)
    span = (ends(expiry.astype("datetime64[ms]"), start, close) - start) / np.timedelta64(1, "D")
    return np.asarray(span, dtype=np.float64) / day_count


def _moment(value: Any, name: str = "as_of") -> np.datetime64:
    """A time as datetime64 in UTC or without a zone."""
    if isinstance(value, str):
        value = value.strip().removesuffix("Z")
        if re.fullmatch(r"\d{8}", value):  # NumPy would take it for a year
            value = f"{value[:4]}-{value[4:6]}-{value[6:]}"
        # NumPy knows no offsets from UTC, and Python 3.10 no dates such as 2024-03.
        with contextlib.suppress(ValueError):
            value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    try:
        moment = np.datetime64(value, "ms")
    except (TypeError, ValueError):
        moment = np.datetime64("NaT")
    if np.isnat(moment):
        raise ParameterError(f"{name}: {value!r} is no time; accepted are dates and times such as '2015-12-24'")
    return moment


def moments(values: npt.NDArray[Any]) -> npt.NDArray[np.datetime64] | None:
    """Dates and times of a column, from such or from text; None if it holds neither."""
    if values.dtype.kind == "M":
        return values.astype("datetime64[ms]")
    if values.dtype.kind in "OUS":
        made = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[ms]")
        for i, value in enumerate(values.tolist()):
            if _is_missing(value) or value == "":
                continue
            if isinstance(value, bytes):
                value = value.decode()
            try:
                made[i] = _moment(value, "expiry")
            except ParameterError:
                return None
        return made
    return None


class Roles:
    """Which column of a table has which part, and numbers that stand for a column.

    Parameters
    ----------
    frame : Frame
        The table.
    columns : mapping, optional
        Part to name of its column; the others are found by their names.
    synonyms : mapping
        Part to the names it is known by.
    """

    def __init__(
        self, frame: Frame, columns: Mapping[str, str] | None, synonyms: Mapping[str, Sequence[str]] = _SYNONYMS
    ) -> None:
        self.frame = frame
        self._synonyms = synonyms
        unknown = sorted(set(columns or ()) - set(synonyms))
        if unknown:
            raise ParameterError(f"columns: {unknown[0]!r} is unknown; accepted are {', '.join(synonyms)}")
        self.columns = {part: name for part, known in synonyms.items() if (name := frame.find(known)) is not None}
        self.columns.update(columns or {})
        for name in (columns or {}).values():
            frame.column(name)

    def numbers(self, part: str, given: Any = None, default: float | None = None) -> Any:
        """A part as a number or an array: what was given, or its column, or the default.

        Raises
        ------
        ParameterError
            If there is none of these.
        """
        if isinstance(given, str):
            return self.frame.numbers(given)
        if given is not None:
            found = np.asarray(given if np.ndim(given) == 0 else unpack(given, part).data)
            if found.dtype.kind not in "biuf":
                raise DTypeError(f"{part}: holds {found.dtype} values; accepted are numbers")
            if found.ndim == 0:
                return float(found)
            array = np.ascontiguousarray(found, dtype=np.float64)
            if array.shape != (self.frame.rows,):
                raise ShapeError(f"{part}: has shape {array.shape}, but the table has {self.frame.rows} rows")
            return array
        if part in self.columns:
            return self.frame.numbers(self.columns[part])
        if default is not None:
            return default
        raise ParameterError(
            f"{part}: is neither given nor found among the columns ({', '.join(self.frame.names)}); name its column by "
            f"columns={{{part!r}: ...}}; known names are {', '.join(self._synonyms[part])}"
        )

    def years(self, as_of: Any, given: Any = None, close: str = "16:00", day_count: float = 365.0) -> Any:
        """The expiry in years, which was given, or which a column has as such or as dates."""
        if given is not None and not isinstance(given, str):
            found = np.asarray(given)
            when = moments(np.atleast_1d(found)) if found.dtype.kind in "MOUS" else None
            if when is None:
                return self.numbers("expiry", given)
            if as_of is None:
                raise ParameterError("as_of: is needed to make years of the dates in expiry")
            years = years_between(as_of, when, close, day_count)
            return self.numbers("expiry", float(years[0]) if found.ndim == 0 else years)
        if given is None and "expiry" not in self.columns:
            return self.numbers("expiry")
        name = self.columns["expiry"] if given is None else given
        when = moments(self.frame.array(name))
        if when is None:
            return self.frame.numbers(name)
        if as_of is None:
            raise ParameterError(f"as_of: is needed to make years of the dates in column {name!r}")
        return years_between(as_of, when, close, day_count)


def price_dataframe(
    frame: Any,
    *,
    columns: Mapping[str, str] | None = None,
    model: str = "bsm",
    outputs: str | Iterable[str] = ("price",),
    spot: Any = None,
    expiry: Any = None,
    rate: Any = None,
    dividend: Any = None,
    vol: Any = None,
    shift: Any = None,
    as_of: Any = None,
    close: str = "16:00",
    prefix: str = "",
    num_threads: int | None = None,
) -> Any:
    """Price the options in the rows of a table.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame or LazyFrame, pyarrow.Table, or mapping of str to array
        One option in a row.
    columns : mapping, optional
        Part of an option to the name of its column. Parts are 'spot', 'strike', 'expiry', 'rate', 'dividend', 'vol',
        'is_call' and 'shift'. Those left out are found by name, whatever its case: 'right', 'option_type', 'cp', ...
        for 'is_call', 'sigma', 'iv', ... for 'vol'.
    model : {'bsm', 'black76', 'bachelier', 'displaced'}
        As in `greeks`; but for 'bsm' the spot is a forward price.
    outputs : str or iterable of str, default 'price'
        As in `greeks`.
    spot, expiry, rate, dividend, vol, shift : float, array or str, optional
        For all rows, or for each, or the name of a column, instead of a column; expiries may be dates, as in a column.
        Without any the dividend and the shift are 0; the others have to be there.
    as_of : date, datetime or str, optional
        When the options are priced, if the expiry is a date: years are days of 24 hours over 365. From a date to a date
        they are whole days.
    close : str, default '16:00'
        Time of day at which options end whose expiry is a date without one, in the zone of ``as_of``, if that has a
        time of day; as in `read_chain`.
    prefix : str, optional
        Before the names of the new columns.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    The kind of `frame`
        With a column of float64 for each output behind its own, of which none is changed. Rows that are no option,
        such as those where something is missing, have NaN.

    Raises
    ------
    ParameterError
        If a part is missing, an output unknown, or a column would be replaced.
    DTypeError
        If `frame` is no table, or a column holds no numbers.

    Examples
    --------
    >>> from warpquant import options
    >>> table = {"strike": [95.0, 100.0], "right": ["C", "P"], "spot": [100.0, 100.0], "iv": [0.2, 0.2],
    ...          "expiry": ["2025-06-20", "2025-06-20"]}
    >>> priced = options.price_dataframe(table, rate=0.03, as_of="2025-03-21", outputs=("price", "delta"))
    >>> priced["price"].round(4).tolist(), priced["delta"].round(4).tolist()
    ([7.3731, 3.606], [0.7384, -0.4503])
    """
    table = Frame(frame)
    roles = Roles(table, columns)
    names = output_names(outputs)
    taken = [prefix + name for name in names if prefix + name in table.names]
    if taken:
        raise ParameterError(f"prefix: the table has a column {taken[0]!r} already; new names need a prefix")
    if "is_call" not in roles.columns:
        raise ParameterError(f"is_call: no column says call or put; columns are {', '.join(table.names)}")
    found = greeks(
        roles.numbers("spot", spot), roles.numbers("strike"), roles.years(as_of, expiry, close),
        roles.numbers("rate", rate), roles.numbers("dividend", dividend, 0.0), roles.numbers("vol", vol),
        table.array(roles.columns["is_call"]),
        model=model, outputs=names, shift=roles.numbers("shift", shift, 0.0) if model == "displaced" else 0.0,
        num_threads=num_threads,
    )  # fmt: skip
    return table.with_columns({prefix + name: np.asarray(found[name]) for name in names})
