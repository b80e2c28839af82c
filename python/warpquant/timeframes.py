# SPDX-License-Identifier: Apache-2.0
"""Several timeframes from one feed: calendar rules, bars from prices, ATC of each timeframe bar by bar.

`Timeframe` says where bars begin, `resample` makes bars of whole series, `Resampler` bar by bar, and `MultiStream`
feeds a `warpquant.atc.Stream` for each timeframe. docs/streaming.md has the rules.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _statefile, atc
from ._calendar import NO_TIME, Ints, Timeframe, frame_of, instant, instants, moment
from ._checks import choice
from ._prices import Floats, Times
from .errors import ParameterError, ShapeError, StateError

__all__ = ["Bars", "MultiStream", "Resampler", "Timeframe", "resample"]

Flags = npt.NDArray[np.bool_]

_STAMPS = ("start", "end")


def checked_stamp(stamp: str) -> str:
    choice("stamp", stamp, _STAMPS)
    return stamp


def _inside(times: Ints, stamp: str) -> Ints:
    """A moment inside of the base bar that a time stamps: bars that end at 10:00 belong to what was before 10:00."""
    return times - 1 if stamp == "end" else times


def _last_of_bars(times: Ints, prices: Floats, timeframe: Timeframe, stamp: str) -> tuple[Ints, Floats]:
    """Starts of the bars that any price lies in, and the last price of each symbol in each."""
    starts = timeframe._bounds(_inside(times, stamp))[0]
    if not len(starts):
        return starts, np.empty((len(prices), 0))
    ends = np.flatnonzero(np.r_[starts[1:] != starts[:-1], True])
    begins = np.r_[0, ends[:-1] + 1]
    places = np.where(np.isfinite(prices), np.arange(prices.shape[1]), -1)
    last = np.maximum.accumulate(places, axis=1)[:, ends]
    closes = np.where(last >= begins, np.take_along_axis(prices, np.maximum(last, 0), axis=1), np.nan)
    some = ~np.isnan(closes).all(axis=0)
    return starts[ends][some], closes[:, some]


def _in_order(times: Any) -> Ints:
    numbers = instants(times)
    if numbers.ndim != 1:
        raise ShapeError(f"times: has {numbers.ndim} dimensions; accepted is one moment for each bar")
    if (numbers == NO_TIME).any():
        raise ParameterError(f"times[{int(np.argmax(numbers == NO_TIME))}]: is missing")
    late = np.flatnonzero(numbers[1:] < numbers[:-1])
    if late.size:
        i = int(late[0]) + 1
        raise ParameterError(f"times[{i}]: {moment(numbers[i])} comes after {moment(numbers[i - 1])}")
    return numbers


def resample(
    times: Any, prices: npt.ArrayLike, timeframe: Timeframe | str, *, stamp: str = "start"
) -> tuple[Times, Floats]:
    """Bars of a timeframe from prices: the last price of each bar.

    Parameters
    ----------
    times : array of datetime64, shape (bars,)
        Moments in UTC, in order.
    prices : array, shape (bars,) or (symbols, bars)
        Prices; NaN and infinite values are missing.
    timeframe : Timeframe or str
        Where bars begin.
    stamp : {'start', 'end'}, default 'start'
        Whether a time is that at which its price's own bar begins (or a tick happens), or at which it ends.

    Returns
    -------
    starts : ndarray of datetime64[ns], shape (new bars,)
        Starts of the bars that have any price, in UTC; there are no others.
    closes : ndarray, shape (new bars,) or (symbols, new bars)
        Last price of each bar, NaN where a symbol has none in it.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If times are out of order or missing, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.timeframes import resample
    >>> hours = np.datetime64("2024-03-01T00") + np.arange(48)
    >>> resample(hours, np.arange(48.0), "1d")[1].tolist()
    [23.0, 47.0]
    """
    numbers = _in_order(times)
    values = np.asarray(prices, dtype=np.float64)
    if values.ndim not in (1, 2) or values.shape[-1] != len(numbers):
        raise ShapeError(f"prices: shape {values.shape} does not fit {len(numbers)} times")
    starts, closes = _last_of_bars(numbers, np.atleast_2d(values), frame_of(timeframe), checked_stamp(stamp))
    return starts.view("datetime64[ns]"), closes if values.ndim == 2 else closes[0]


def _unique(symbols: Sequence[str] | str, taken: Sequence[str] = ()) -> tuple[str, ...]:
    names = (symbols,) if isinstance(symbols, str) else tuple(symbols)
    seen = set(taken)
    for name in names:
        if not isinstance(name, str):
            raise ParameterError(f"symbols: {name!r} is no text")
        if name in seen:
            raise ParameterError(f"symbols: {name!r} is there twice")
        seen.add(name)
    return names


class Resampler:
    """Bars of one timeframe from prices as they come, symbol by symbol.

    A bar is finished by the first price of its symbol that lies in a later one, or by `close`.

    Parameters
    ----------
    timeframe : Timeframe or str
        Where bars begin.
    symbols : sequence of str, optional
        Names of the symbols.
    stamp : {'start', 'end'}, default 'start'
        As in `resample`.

    Examples
    --------
    >>> from warpquant.timeframes import Resampler
    >>> bars = Resampler("1h", ["A", "B"])
    >>> _ = bars.update("2024-03-01T09:15", {"A": 10.0, "B": 7.0})
    >>> starts, closes = bars.update("2024-03-01T10:15", {"A": 11.0})
    >>> closes.tolist()
    [10.0, nan]
    """

    _TIMES = ("_time", "_open", "_done")
    _PRICES = ("_price", "_close")

    def __init__(self, timeframe: Timeframe | str, symbols: Sequence[str] = (), *, stamp: str = "start") -> None:
        self.timeframe = frame_of(timeframe)
        self.stamp = checked_stamp(stamp)
        self._symbols = _unique(symbols)
        count = len(self._symbols)
        self._time = np.full(count, NO_TIME)  # of the last price
        self._price = np.full(count, np.nan)  # the last one
        self._open = np.full(count, NO_TIME)  # start of the running bar
        self._done = np.full(count, NO_TIME)  # start of the last finished bar
        self._close = np.full(count, np.nan)  # its last price

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names, in the order of arrays."""
        return self._symbols

    @property
    def running(self) -> tuple[Times, Floats]:
        """Starts and last prices of the bars that are not finished yet; NaT and NaN where there is none."""
        return self._open.view("datetime64[ns]").copy(), np.where(self._open == NO_TIME, np.nan, self._price)

    @property
    def finished(self) -> tuple[Times, Floats]:
        """Starts and last prices of the last finished bars; NaT and NaN where there is none."""
        return self._done.view("datetime64[ns]").copy(), self._close.copy()

    def update(self, time: Any, prices: Any) -> tuple[Times, Floats]:
        """Take in the prices of one moment.

        Parameters
        ----------
        time : datetime64, datetime or ISO text
            A moment of UTC, not before that of the symbols' last prices. At the same one a price takes the place of
            the one before.
        prices : array, shape (symbols,), or mapping of str to float
            The prices; NaN, or absent, where a symbol has none.

        Returns
        -------
        starts, closes : ndarray, shape (symbols,)
            The bars that are finished by this; NaT and NaN where there is none.

        Raises
        ------
        ParameterError, ShapeError
            If an argument is not accepted, or comes too late; nothing is taken in then.
        """
        now, values = instant(time), _row(prices, self._symbols)
        return self._take(now, values, self._admitted(now, values))

    def _admitted(self, now: int, values: Floats) -> int:
        """Start of the bar of a moment, if it may be taken in."""
        start = int(self.timeframe._bounds(_inside(np.array([now]), self.stamp))[0][0])
        self._refuse_late(np.full(len(values), now), np.full(len(values), start), np.isfinite(values))
        return start

    def _refuse_late(self, times: Ints, starts: Ints, present: Flags) -> None:
        late = np.flatnonzero(present & (times < self._time))
        if late.size:
            i = int(late[0])
            raise ParameterError(
                f"time: {self._symbols[i]}: {moment(times[i])} comes after {moment(self._time[i])}; "
                "the times of a symbol must not go back"
            )
        closed = np.flatnonzero(present & (starts <= self._done))
        if closed.size:
            i = int(closed[0])
            raise ParameterError(
                f"time: {self._symbols[i]}: {moment(times[i])} comes after the {self.timeframe} bar from "
                f"{moment(self._done[i])} was finished"
            )

    def _take(self, now: int, values: Floats, start: int) -> tuple[Times, Floats]:
        present = np.isfinite(values)
        result = self._finish(present & (self._open != NO_TIME) & (self._open < start))
        self._time[present], self._price[present], self._open[present] = now, values[present], start
        return result

    def _finish(self, which: Flags) -> tuple[Times, Floats]:
        starts, closes = np.where(which, self._open, NO_TIME), np.where(which, self._price, np.nan)
        self._done[which], self._close[which] = self._open[which], self._price[which]
        self._open[which] = NO_TIME
        return starts.view("datetime64[ns]"), closes

    def update_many(self, times: Any, prices: npt.ArrayLike) -> tuple[Times, Floats]:
        """Take in the prices of many moments; the bars are those of as many calls of `update`.

        Parameters
        ----------
        times : array of datetime64, shape (bars,)
            Moments of UTC, in order.
        prices : array, shape (symbols, bars)
            The prices; NaN where a symbol has none.

        Returns
        -------
        starts : ndarray of datetime64[ns], shape (new bars,)
            Starts of the bars that are finished by this, of all symbols.
        closes : ndarray, shape (symbols, new bars)
            Last price of each bar, NaN where a symbol has none.

        Raises
        ------
        ParameterError, ShapeError
            If an argument is not accepted, or comes too late; nothing is taken in then.
        """
        numbers, values = _block(times, prices, self._symbols)
        self._admitted_many(numbers, values)
        return self._take_many(numbers, values)

    def _admitted_many(self, numbers: Ints, values: Floats) -> None:
        if not values.size:
            return
        present = np.isfinite(values)
        first = numbers[np.argmax(present, axis=1)]
        self._refuse_late(first, self.timeframe._bounds(_inside(first, self.stamp))[0], np.asarray(present.any(axis=1)))

    def _take_many(self, numbers: Ints, values: Floats) -> tuple[Times, Floats]:
        if not values.size:
            return np.empty(0, "datetime64[ns]"), np.empty((len(values), 0))
        starts, closes = _last_of_bars(numbers, values, self.timeframe, self.stamp)
        running = self._open != NO_TIME
        every = np.union1d(starts, self._open[running])
        table = np.full((len(values), len(every)), np.nan)
        rows = np.flatnonzero(running)
        table[rows, np.searchsorted(every, self._open[rows])] = self._price[rows]
        columns = np.searchsorted(every, starts)
        table[:, columns] = np.where(np.isnan(closes), table[:, columns], closes)

        present = np.isfinite(values)
        taken = np.flatnonzero(present.any(axis=1))
        last = present.shape[1] - 1 - np.argmax(present[taken, ::-1], axis=1)
        self._time[taken], self._price[taken] = numbers[last], values[taken, last]
        for row in range(len(values)):
            places = np.flatnonzero(~np.isnan(table[row]))
            if places.size:
                self._open[row] = every[places[-1]]
                table[row, places[-1]] = np.nan
            if places.size > 1:
                self._done[row], self._close[row] = every[places[-2]], table[row, places[-2]]
        some = ~np.isnan(table).all(axis=0)
        return every[some].view("datetime64[ns]"), table[:, some]

    def close(self, time: Any) -> tuple[Times, Floats]:
        """Finish the running bars that end at a moment or before it; what is returned is as for `update`."""
        return self._finish_until(instant(time))

    def _finish_until(self, now: int) -> tuple[Times, Floats]:
        ends = self.timeframe._bounds(self._open)[1]
        return self._finish((self._open != NO_TIME) & (ends <= now))

    def add(self, symbols: Sequence[str] | str) -> None:
        """Follow more symbols; they come last."""
        names = _unique(symbols, self._symbols)
        self._symbols += names
        count = len(names)
        for name in self._TIMES:
            setattr(self, name, np.r_[getattr(self, name), np.full(count, NO_TIME)])
        for name in self._PRICES:
            setattr(self, name, np.r_[getattr(self, name), np.full(count, np.nan)])

    def remove(self, symbols: Sequence[str] | str) -> None:
        """Forget symbols.

        Raises
        ------
        ParameterError
            If one is unknown.
        """
        gone = set(_known(symbols, self._symbols))
        keep = np.array([name not in gone for name in self._symbols], dtype=bool)
        self._symbols = tuple(name for name in self._symbols if name not in gone)
        for name in (*self._TIMES, *self._PRICES):
            setattr(self, name, getattr(self, name)[keep])


def _known(symbols: Sequence[str] | str, among: Sequence[str]) -> tuple[str, ...]:
    names = _unique(symbols)
    for name in names:
        if name not in among:
            raise ParameterError(f"symbols: {name!r} is unknown")
    return names


def _row(prices: Any, symbols: Sequence[str]) -> Floats:
    """Prices of one moment in the order of the symbols."""
    if hasattr(prices, "keys"):
        values = np.full(len(symbols), np.nan)
        places = {symbol: i for i, symbol in enumerate(symbols)}
        for symbol in prices.keys():  # noqa: SIM118  (a pandas Series iterates over its values)
            if symbol not in places:
                raise ParameterError(f"prices: {symbol!r} is not among the symbols")
            values[places[symbol]] = prices[symbol]
        return values
    values = np.asarray(prices, dtype=np.float64)
    if values.shape != (len(symbols),):
        raise ShapeError(f"prices: shape {values.shape} is not that of one price for each of {len(symbols)} symbols")
    return values


def _block(times: Any, prices: npt.ArrayLike, symbols: Sequence[str]) -> tuple[Ints, Floats]:
    numbers, values = _in_order(times), np.asarray(prices, dtype=np.float64)
    if values.shape != (len(symbols), len(numbers)):
        raise ShapeError(f"prices: shape {values.shape} is not (symbols, bars), here ({len(symbols)}, {len(numbers)})")
    return numbers, values


def execution(device: str | None, num_threads: int | None) -> dict[str, Any]:
    """Where streams compute, as far as that is said; else they decide."""
    given = {"device": device, "num_threads": num_threads}
    return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Bars:
    """Where one timeframe stands.

    Attributes
    ----------
    outputs : dict of str to ndarray, shape (symbols,)
        Output name to values: those after the last finished bar of each symbol; from `MultiStream.peek` those that the
        running bar would give if it were finished as it is.
    finished : ndarray of bool, shape (symbols,)
        Whether the call has finished a bar.
    start : ndarray of datetime64[ns], shape (symbols,)
        Start of the bar that the values belong to; NaT where a symbol has none yet.
    close : ndarray, shape (symbols,)
        Last price of that bar; NaN where a symbol has none yet.
    """

    outputs: dict[str, npt.NDArray[Any]]
    finished: Flags
    start: Times
    close: Floats


class MultiStream:
    """ATC of several timeframes from one feed.

    Each timeframe has a `warpquant.atc.Stream` of its own. It takes in a bar once it is finished: by the first price of
    the symbol in a later bar, or by `close`. Values equal those of `warpquant.atc.run` on the bars of `resample`, to
    the last bit.

    Parameters
    ----------
    params : Params or mapping, optional
        Parameters of ATC, the same for every timeframe.
    symbols : sequence of str, optional
        Names of the symbols.
    timeframes : sequence of Timeframe or str, default ('15m', '1h', '4h', '1d')
        The timeframes.
    tz, session : str, default 'UTC' and '00:00'
        As in `Timeframe`, for timeframes given as text.
    stamp : {'start', 'end'}, default 'start'
        Whether the time of a price is that at which its base bar begins (or a tick happens), or at which it ends.
    outputs : sequence of str, default ('average',)
        As in `warpquant.atc.run`.
    device, num_threads
        As in `warpquant.atc.Stream`.

    Raises
    ------
    ParameterError
        If a parameter is not accepted.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.timeframes import MultiStream
    >>> stream = MultiStream(symbols=["A"], timeframes=("1h", "1d"))
    >>> for minute in np.datetime64("2024-03-01T00:00") + 15 * np.arange(9):
    ...     bars = stream.update(minute, {"A": 100.0})
    >>> bars["1h"].finished.tolist(), bars["1d"].finished.tolist()
    ([True], [False])
    >>> bars["1h"].start
    array(['2024-03-01T01:00:00.000000000'], dtype='datetime64[ns]')
    """

    _KIND = "warpquant.timeframes/1"

    def __init__(
        self,
        params: Any = None,
        symbols: Sequence[str] = (),
        timeframes: Sequence[Timeframe | str] = ("15m", "1h", "4h", "1d"),
        *,
        tz: str = "UTC",
        session: str = "00:00",
        stamp: str = "start",
        outputs: Sequence[str] = ("average",),
        device: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        given = (timeframes,) if isinstance(timeframes, (str, Timeframe)) else timeframes
        frames = [f if isinstance(f, Timeframe) else Timeframe(f, tz, session) for f in given]
        if not frames or len({f.text for f in frames}) < len(frames):
            raise ParameterError(f"timeframes: {[f.text for f in frames]} are none, or name one twice")
        self._resamplers = {f.text: Resampler(f, symbols, stamp=stamp) for f in frames}
        names = next(iter(self._resamplers.values())).symbols
        how = execution(device, num_threads)
        self._streams = {f.text: atc.Stream(params, names, outputs=tuple(outputs), **how) for f in frames}

    @property
    def _any(self) -> Resampler:
        """One of them; all have the same symbols and times."""
        return next(iter(self._resamplers.values()))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names, in the order of arrays."""
        return self._any.symbols

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes."""
        return tuple(r.timeframe for r in self._resamplers.values())

    @property
    def params(self) -> atc.Params:
        """Parameters of ATC."""
        params: atc.Params = next(iter(self._streams.values())).params
        return params

    @property
    def time(self) -> Times:
        """Time of the last price of each symbol; NaT where there is none."""
        return np.array(self._any._time.view("datetime64[ns]"))

    @property
    def bars(self) -> dict[str, Ints]:
        """Number of finished bars of each symbol, by timeframe."""
        return {name: stream.bars for name, stream in self._streams.items()}

    def update(self, time: Any, prices: Any) -> dict[str, Bars]:
        """Take in the prices of one moment: base bars, or ticks.

        Parameters
        ----------
        time : datetime64, datetime or ISO text
            A moment of UTC, not before that of the symbols' last prices. At the same one a price takes the place of
            the one before.
        prices : array, shape (symbols,), or mapping of str to float
            The prices; NaN, or absent, where a symbol has none, which stays as it is.

        Returns
        -------
        dict of str to Bars
            Where each timeframe stands.

        Raises
        ------
        ParameterError, ShapeError
            If an argument is not accepted, or comes too late (the message names the symbol and both times); nothing is
            taken in then.
        """
        now, values = instant(time), _row(prices, self.symbols)
        starts = {name: bars._admitted(now, values) for name, bars in self._resamplers.items()}
        return {name: self._commit(name, *self._resamplers[name]._take(now, values, starts[name])) for name in starts}

    def _commit(self, name: str, starts: Times, closes: Floats) -> Bars:
        finished = ~np.isnat(starts)
        stream = self._streams[name]
        outputs = stream.update(closes) if finished.any() else stream.last()
        return Bars(outputs, finished, *self._resamplers[name].finished)

    def update_many(self, times: Any, prices: npt.ArrayLike) -> dict[str, Bars]:
        """Take in the prices of many moments, such as a history; the state is that after as many calls of `update`.

        Parameters
        ----------
        times : array of datetime64, shape (bars,)
            Moments of UTC, in order.
        prices : array, shape (symbols, bars)
            The prices; NaN where a symbol has none.

        Returns
        -------
        dict of str to Bars
            Where each timeframe stands.

        Raises
        ------
        ParameterError, ShapeError
            As for `update`.
        """
        numbers, values = _block(times, prices, self.symbols)
        for bars in self._resamplers.values():
            bars._admitted_many(numbers, values)
        result = {}
        for name, bars in self._resamplers.items():
            _, closes = bars._take_many(numbers, values)
            stream = self._streams[name]
            if closes.size:
                stream.update_many(closes)
            result[name] = Bars(stream.last(), np.asarray(np.isfinite(closes).any(axis=1)), *bars.finished)
        return result

    def close(self, time: Any) -> dict[str, Bars]:
        """Finish the running bars that end at a moment or before it; later prices in them are refused.

        Parameters
        ----------
        time : datetime64, datetime or ISO text
            A moment of UTC, for example that of a clock.

        Returns
        -------
        dict of str to Bars
            Where each timeframe stands.

        Raises
        ------
        ParameterError
            If `time` is not a moment.
        """
        now = instant(time)
        return {name: self._commit(name, *bars._finish_until(now)) for name, bars in self._resamplers.items()}

    def peek(self) -> dict[str, Bars]:
        """The values that the running bars would give if they were finished as they are; nothing changes."""
        result = {}
        for name, bars in self._resamplers.items():
            starts, closes = bars.running
            done, last = bars.finished
            none = np.isnat(starts)
            starts, shown = np.where(none, done, starts), np.where(none, last, closes)
            result[name] = Bars(self._streams[name].peek(closes), np.zeros(len(closes), bool), starts, shown)
        return result

    def last(self) -> dict[str, Bars]:
        """Where each timeframe stands."""
        return {
            name: Bars(self._streams[name].last(), np.zeros(len(self.symbols), bool), *bars.finished)
            for name, bars in self._resamplers.items()
        }

    def add(self, symbols: Sequence[str] | str) -> None:
        """Follow more symbols; they come last.

        Raises
        ------
        ParameterError
            If one is there already.
        """
        names = _unique(symbols, self.symbols)
        for name, bars in self._resamplers.items():
            self._streams[name].add(names)
            bars.add(names)

    def remove(self, symbols: Sequence[str] | str) -> None:
        """Forget symbols.

        Raises
        ------
        ParameterError
            If one is unknown.
        """
        names = _known(symbols, self.symbols)
        for name, bars in self._resamplers.items():
            self._streams[name].remove(names)
            bars.remove(names)

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Everything, as the header and arrays of a state file."""
        one = self._any
        header = {
            "symbols": list(self.symbols),
            "stamp": one.stamp,
            "timeframes": [dataclasses.asdict(frame) for frame in self.timeframes],
        }
        arrays: dict[str, npt.NDArray[Any]] = {"time": one._time, "price": one._price}
        for i, (name, bars) in enumerate(self._resamplers.items()):
            arrays |= {f"open{i}": bars._open, f"done{i}": bars._done, f"close{i}": bars._close}
            arrays[f"stream{i}"] = _statefile.packed(self._streams[name])
        return header, arrays

    @classmethod
    def _from_state(cls, header: Mapping[str, Any], arrays: _statefile.Arrays, **how: Any) -> MultiStream:
        self = cls.__new__(cls)
        self._resamplers, self._streams = {}, {}
        for i, fields in enumerate(header["timeframes"]):
            frame = Timeframe(**fields)
            bars = Resampler(frame, header["symbols"], stamp=header["stamp"])
            bars._time, bars._price = arrays["time"].copy(), arrays["price"].copy()
            bars._open, bars._done, bars._close = (arrays[f"{name}{i}"] for name in ("open", "done", "close"))
            stream = _statefile.unpacked(atc.Stream, arrays[f"stream{i}"], **how)
            if stream.symbols != bars.symbols or any(
                len(getattr(bars, name)) != len(bars.symbols) for name in (*bars._TIMES, *bars._PRICES)
            ):
                raise StateError("its parts have different symbols")
            self._resamplers[frame.text], self._streams[frame.text] = bars, stream
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file, which is the old one or the new one whenever the machine stops.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        _statefile.write(path, self._KIND, *self._state())

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | None = None, num_threads: int | None = None
    ) -> MultiStream:
        """The state that `save` wrote.

        Parameters
        ----------
        path : path
            The file.
        device, num_threads
            As in `warpquant.atc.Stream`.

        Raises
        ------
        StateError
            If it is another kind of file, of another version, cut short or altered.
        """
        header, arrays = _statefile.read(path, cls._KIND)
        try:
            return cls._from_state(header, arrays, **execution(device, num_threads))
        except (KeyError, TypeError, ParameterError, StateError) as error:
            raise StateError(f"{path}: cannot be used: {error}") from error
