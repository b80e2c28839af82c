# SPDX-License-Identifier: Apache-2.0
"""Where the bars of a timeframe begin: moments, days of time zones, and the rules of `Timeframe`."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import zoneinfo
from typing import Any

import numpy as np
import numpy.typing as npt

from ._prices import time_text
from .errors import DTypeError, ParameterError

__all__ = ["NO_TIME", "Ints", "Timeframe", "frame_of", "instant", "instants", "moment", "text_instant"]

Ints = npt.NDArray[np.int64]

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_UNITS = {"s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}
_UNIT_DAYS = {"d": 1, "w": 7, "M": 31}
_ISO = re.compile(
    r"(\d{4})([-/.])(\d\d)\2(\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?\s?(?:Z|([+-])(\d\d):?(\d\d)?)?)?",
    re.IGNORECASE,
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_FIRST, _LAST = (86_400 * _SECOND * (datetime.date(y, 1, 1).toordinal() - _EPOCH.toordinal()) for y in (1700, 2261))
#: Marks a missing time; the number that NaT is.
NO_TIME = int(np.iinfo(np.int64).min)
#: 1970-01-05 was a Monday.
_MONDAY = 4


@functools.lru_cache(maxsize=4096)
def text_instant(text: str) -> int:
    """A time in ISO form as nanoseconds since 1970 in UTC; without a zone it is one of UTC."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time in ISO form")
    year, _, month, day, clock, fraction, sign, off_hours, off_minutes = found.groups()
    seconds = 86_400 * (datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH.toordinal())
    if clock:
        parts = [int(part) for part in clock.split(":")]
        if parts[0] > 23 or max(parts[1:]) > 59:
            raise ValueError(f"{text!r} is no time of a day")
        seconds += sum(part * size for part, size in zip(parts, (3600, 60, 1), strict=False))
    if sign:
        seconds -= int(sign + "1") * (int(off_hours) * 3600 + int(off_minutes or 0) * 60)
    number = seconds * _SECOND + int((fraction or "").ljust(9, "0"))
    if not _FIRST <= number < _LAST:
        raise ValueError("a time outside of the years 1700 to 2260")
    return number


def _as_utc(time: Any) -> np.datetime64:
    """One time as a moment of UTC; without a zone it is one already."""
    if isinstance(time, str):
        return np.datetime64(text_instant(time), "ns")
    if isinstance(time, datetime.datetime) and time.tzinfo is not None:
        since = time - _EPOCH
        micro = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
        return np.datetime64(1000 * micro + getattr(time, "nanosecond", 0), "ns")  # a pandas.Timestamp has those
    moment: np.datetime64 = np.datetime64(time)
    return moment


def instants(times: Any, name: str = "times") -> Ints:
    """Times as nanoseconds since 1970 in UTC, in the shape given."""
    zone = getattr(times, "tz", None)
    if zone is not None and hasattr(times, "to_numpy"):  # pandas.DatetimeIndex
        times = times.tz_convert(None)
    array = np.asarray(times)
    if array.dtype.kind in "OU":
        try:
            array = np.array([_as_utc(t) for t in array.ravel().tolist()], dtype="datetime64").reshape(array.shape)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"{name}: {error}; accepted are datetime64, datetime and ISO text") from None
    if array.dtype.kind != "M" or (np.datetime_data(array.dtype)[0] == "generic" and not np.isnat(array).all()):
        raise DTypeError(f"{name}: holds {array.dtype}; accepted are datetime64, datetime and ISO text")
    missing = np.isnat(array)
    years = array.astype("datetime64[Y]").astype(np.int64)[~missing]
    if years.size and (years.min() < 1700 - 1970 or years.max() > 2260 - 1970):
        raise ParameterError(f"{name}: a time outside of the years 1700 to 2260")
    return np.asarray(array.astype("datetime64[ns]")).view(np.int64)


def instant(time: Any) -> int:
    numbers = instants(time, "time")
    if numbers.ndim != 0 or numbers == NO_TIME:
        raise ParameterError(f"time: {time!r} is not one moment")
    return int(numbers)


def moment(number: int) -> str:
    """A moment as text for messages."""
    return str(time_text(np.datetime64(int(number), "ns")))


@functools.lru_cache(maxsize=4096)
def _year_of_days(zone: str, shift: int, year: int) -> Ints:
    """When the days of a year begin, in nanoseconds since 1970.

    A beginning that the clocks skip moves on by what they skip; of one that comes twice it is the first.
    """
    info = zoneinfo.ZoneInfo(zone)
    day = datetime.datetime(year, 1, 1) + datetime.timedelta(seconds=shift)
    begins = []
    for _ in range((datetime.date(year + 1, 1, 1) - datetime.date(year, 1, 1)).days):
        begins.append(round(day.replace(tzinfo=info).timestamp()) * _SECOND)
        day += datetime.timedelta(days=1)
    return np.array(begins, dtype=np.int64)


class _Days:
    """The days of a time zone, numbered from 1970-01-01; each begins at midnight and `shift` seconds by its clocks."""

    def __init__(self, zone: str, shift: int) -> None:
        self._zone, self._shift = zone, shift
        self._table: tuple[int, Ints] = (0, np.empty(0, np.int64))

    def _covering(self, first: int, last: int) -> tuple[int, Ints]:
        """Number of the first day of a table that has all days asked for, and when its days begin."""
        begin, starts = self._table
        if not begin <= first <= last < begin + len(starts):
            if len(starts):
                first, last = min(first, begin), max(last, begin + len(starts) - 1)
            years = np.array([first, last]).astype("datetime64[D]").astype("datetime64[Y]")
            low, high = (years.astype(np.int64) + 1970).tolist()
            begin = int(years[0].astype("datetime64[D]").astype(np.int64))
            starts = np.concatenate([_year_of_days(self._zone, self._shift, y) for y in range(low, high + 1)])
            self._table = (begin, starts)
        return begin, starts

    def of(self, times: Ints) -> Ints:
        """Number of the day that each moment lies in."""
        if self._zone == "UTC":
            return (times - self._shift * _SECOND) // _DAY
        if not times.size:
            return times
        begin, starts = self._covering(int(times.min() // _DAY) - 3, int(times.max() // _DAY) + 3)
        return begin + np.searchsorted(starts, times, side="right") - 1

    def begin(self, days: Ints) -> Ints:
        """The moment at which each day begins."""
        if self._zone == "UTC":
            return days * _DAY + self._shift * _SECOND
        if not days.size:
            return days
        begin, starts = self._covering(int(days.min()), int(days.max()))
        return starts[days - begin]


@functools.lru_cache(maxsize=256)
def _days(zone: str, shift: int) -> _Days:
    return _Days(zone, shift)


def _seconds(session: str) -> int:
    """``"-07:00"`` in seconds."""
    found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)(?::(\d\d))?", session) if isinstance(session, str) else None
    parts = [int(p or 0) for p in found.groups()[1:]] if found else []
    if not found or parts[0] > 23 or parts[1] > 59 or parts[2] > 59:
        raise ParameterError(f"session: {session!r} is no time of day; accepted are '09:30', '-07:00' and the like")
    return (-1 if found[1] == "-" else 1) * (parts[0] * 3600 + parts[1] * 60 + parts[2])


@dataclasses.dataclass(frozen=True)
class Timeframe:
    """Where the bars of a timeframe begin.

    Bars of ``s``, ``m`` and ``h`` are counted from the beginning of each day in time that really passes; the last one
    of a day ends with it. So a day on which the clocks are changed has 23 or 25 bars of 1h, and bars of 4h begin an
    hour off their usual places until that day is over. Bars of ``d``, ``w`` and ``M`` are whole days. Several days are
    counted from 1970-01-01, weeks begin on Mondays and several are counted from 1970-01-05, months begin on the 1st and
    several are counted from January 1970 (so ``3M`` are quarters).

    Attributes
    ----------
    text : str
        A number and ``s``, ``m``, ``h``, ``d``, ``w`` or ``M`` (months), such as ``"15m"``. Bars of ``s``, ``m`` and
        ``h`` must not be longer than a day.
    tz : str, default 'UTC'
        Time zone of the calendar.
    session : str, default '00:00'
        When a day begins by the clocks of `tz`, after its midnight or, with a minus, before it: ``"-07:00"`` with
        ``tz="America/New_York"`` are the days of currencies, from 17:00 of the evening before. A beginning that the
        clocks skip moves on by what they skip; of one that comes twice it is the first.

    Raises
    ------
    ParameterError
        If a part is not understood.

    Examples
    --------
    >>> from warpquant.timeframes import Timeframe
    >>> Timeframe("4h").bar_of("2024-03-01T10:30")
    np.datetime64('2024-03-01T08:00:00.000000000')
    """

    text: str
    tz: str = "UTC"
    session: str = "00:00"

    def __post_init__(self) -> None:
        found = re.fullmatch(r"([1-9]\d{0,5})([smhdwM])", self.text) if isinstance(self.text, str) else None
        if not found:
            raise ParameterError(
                f"timeframe: {self.text!r} is not understood; accepted are numbers with s, m, h, d, w or M (months), "
                "such as '15m', '4h' and '1d'"
            )
        count, unit = int(found[1]), found[2]
        if unit in _UNITS and count * _UNITS[unit] > _DAY:
            raise ParameterError(
                f"timeframe: {self.text!r} is longer than a day; longer bars are whole days, as in '2d'"
            )
        if unit in _UNIT_DAYS and count * _UNIT_DAYS[unit] > 3660:
            raise ParameterError(f"timeframe: {self.text!r} is longer than ten years")
        try:
            if self.tz != "UTC":  # which needs no database of time zones
                zoneinfo.ZoneInfo(self.tz)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise ParameterError(
                f"tz: {self.tz!r} is no time zone known here; accepted are names such as 'Europe/Berlin'"
            ) from None
        _seconds(self.session)

    def __str__(self) -> str:
        return self.text

    @property
    def _parts(self) -> tuple[int, str]:
        return int(self.text[:-1]), self.text[-1]

    @property
    def _calendar(self) -> _Days:
        return _days(self.tz, _seconds(self.session))

    def _first_days(self, days: Ints) -> tuple[Ints, Ints]:
        """First day of the bar that holds each day, and of the next bar."""
        count, unit = self._parts
        if unit == "M":
            months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) // count * count
            firsts = [m.astype("datetime64[M]").astype("datetime64[D]") for m in (months, months + count)]
            return firsts[0].astype(np.int64), firsts[1].astype(np.int64)
        length, origin = (7 * count, _MONDAY) if unit == "w" else (count, 0)
        first = (days - origin) // length * length + origin
        return first, first + length

    def _bounds(self, times: Ints) -> tuple[Ints, Ints]:
        """Start of the bar of each moment, and of the bar after it."""
        missing = times == NO_TIME
        if missing.any():
            times = np.where(missing, 0, times)
        calendar, (count, unit) = self._calendar, self._parts
        days = calendar.of(times)
        if unit in _UNITS:
            length, begin = count * _UNITS[unit], calendar.begin(days)
            start = begin + (times - begin) // length * length
            end = np.minimum(start + length, calendar.begin(days + 1))
        else:
            first, following = self._first_days(days)
            start, end = calendar.begin(first), calendar.begin(following)
        return (np.where(missing, NO_TIME, start), np.where(missing, NO_TIME, end)) if missing.any() else (start, end)

    def bar_of(self, times: Any) -> Any:
        """When the bars begin that hold the given moments.

        Parameters
        ----------
        times : array of datetime64, datetime or ISO text
            Moments of UTC; those with a time zone are taken to it.

        Returns
        -------
        ndarray of datetime64[ns], in the shape of `times`
            In UTC; NaT stays NaT.

        Raises
        ------
        ParameterError, DTypeError
            If a time is not understood, or outside of the years 1700 to 2260.
        """
        return self.bounds(times)[0]

    def bounds(self, times: Any) -> tuple[Any, Any]:
        """When the bars begin that hold the given moments, and when the bars after them do; as `bar_of`."""
        start, end = self._bounds(np.atleast_1d(instants(times)))
        shape = np.shape(times)
        dates = (x.view("datetime64[ns]").reshape(shape) for x in (start, end))
        first, second = (x[()] for x in dates)
        return first, second


def frame_of(timeframe: Timeframe | str) -> Timeframe:
    return timeframe if isinstance(timeframe, Timeframe) else Timeframe(timeframe)
