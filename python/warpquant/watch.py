# SPDX-License-Identifier: Apache-2.0
"""Follow prices as they come and tell of what changes: `warpquant watch` in Python.

`Watch` follows a file, a folder or lines of JSON, keeps the ATC of every symbol up to date, gives a `Change` for each
bar that changes something, tells a `Webhook` or a `Command` of flips, and goes on from its saved state.
docs/streaming.md has the rules.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import secrets
import select
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from . import _core, _follow, _statefile
from ._actions import Action, Command, Job, Webhook
from ._calendar import Timeframe
from ._checks import number
from ._follow import Bad, Columns, Source
from ._prices import count, read_prices
from ._track import SCHEMA, Change, Counters, Tracker
from .atc import Params
from .errors import ParameterError, StateError
from .timeframes import checked_stamp

__all__ = ["SCHEMA", "Change", "Command", "Counters", "Watch", "Webhook"]

_log = logging.getLogger("warpquant")
_STATE = "warpquant.watch-state/1"
#: How each line of changes begins, whatever the version.
_LINE = b'{"schema": "warpquant.watch/'
#: Seconds between saves while nothing changes.
_SAVE_EVERY = 5.0


class _ChangeLog:
    """A file of changes, a line of JSON each, to which each change is written once."""

    def __init__(self, path: pathlib.Path) -> None:
        self._file: IO[bytes] = path.open("ab+")
        size = self._file.seek(0, os.SEEK_END)
        begin = max(0, size - (1 << 20))
        self._file.seek(begin)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        torn = data[whole:]
        if torn and not (torn.startswith(_LINE) or _LINE.startswith(torn)):
            self._file.close()
            raise ParameterError(f"output: {path} ends with a line that has not ended and is none of a watch")
        self._file.truncate(begin + whole)  # a torn last line is written again
        self._last = data[:whole].splitlines()[-1:]

    def last_of(self, watch: str) -> int:
        """Number of the last change of a watch, if the last line is one of it."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            for line in self._last:
                values = json.loads(line)
                return int(values["seq"]) if values["watch"] == watch else 0
        return 0

    def write(self, changes: Iterable[Change]) -> None:
        self._file.write("".join(f"{change.to_json()}\n" for change in changes).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Watch:
    r"""Follow prices, keep ATC up to date, tell of what changes.

    Parameters
    ----------
    source : path or str
        A file that grows (CSV or lines of JSON), a folder of such files and of complete ones (Parquet, Feather), or
        ``"-"``: lines of JSON on standard input.
    params : Params or mapping, optional
        Parameters of ATC; a missing price is no bar, whatever its `nan_policy`.
    timeframes : sequence of Timeframe or str, optional
        Timeframes whose bars the prices make; by default each price is a bar.
    tz, session, stamp : str
        As in `warpquant.timeframes.MultiStream`.
    symbol_col, time_col, price_col, time_format : str, optional
        Names of columns or fields, and the format of times that are text, where the rules of docs/scan.md and
        docs/streaming.md do not find them.
    min_change : float, optional
        Also tell of a bar whose average signal lies this far from the one last told.
    history : sequence of paths, optional
        Files of earlier bars, taken in first and in silence, if there is no saved state.
    from_now : bool, default False
        Whether what the source holds at the first start is taken in in silence, too.
    state : path, optional
        File of the saved state. If it exists, the watch goes on from it.
    output : path, optional
        File that every change is added to, as a line of JSON, once.
    actions : sequence of Webhook or Command, optional
        What to tell of flips.
    device, num_threads
        As in `warpquant.atc.Stream`.

    Raises
    ------
    ParameterError
        If an argument is not accepted.
    StateError
        If the saved state is damaged, in use by another process, or of a watch with other parameters.
    OSError
        If a file cannot be used.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from warpquant.watch import Watch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "closes.jsonl")
    ...     lines = [f'{{"symbol": "A", "time": {86_400 * day}, "close": {day}}}' for day in range(9000, 9100)]
    ...     _ = file.write_text("\n".join(lines) + "\n")
    ...     watch = Watch(file)
    ...     changes = []
    ...     watch.run(changes.extend, once=True)
    ...     watch.close()
    >>> changes[0].symbol, changes[0].direction, changes[0].changes
    ('A', 1, ('direction', 'trend'))
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        params: Params | Mapping[str, Any] | None = None,
        *,
        timeframes: Sequence[Timeframe | str] = (),
        tz: str = "UTC",
        session: str = "00:00",
        stamp: str = "start",
        symbol_col: str | None = None,
        time_col: str | None = None,
        price_col: str | None = None,
        time_format: str | None = None,
        min_change: float | None = None,
        history: Sequence[str | os.PathLike[str]] = (),
        from_now: bool = False,
        state: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        actions: Sequence[Action] = (),
        device: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        params = params if isinstance(params, Params) else Params.from_dict(params or {})
        params = dataclasses.replace(params, nan_policy="skip")
        frames = [f if isinstance(f, Timeframe) else Timeframe(f, tz, session) for f in timeframes]
        self._min_change = None if min_change is None else number("min_change", min_change, 0.0)
        checked_stamp(stamp)
        self._columns = Columns(symbol_col, time_col, price_col, time_format)
        self._tracker = Tracker(params, frames, stamp, device, num_threads)
        self._source = _source(source, self._columns)
        self._actions = tuple(actions)
        self._id, self._seq, self._is_silent = secrets.token_hex(4), 0, bool(from_now)
        self._outbox: list[Change] = []
        self._started: collections.Counter[int] = (
            collections.Counter()
        )  # flips, and actions that are to be told of them
        self._is_dirty, self._saved_at = False, time.monotonic()
        self._is_whole = True  # not while a batch is taken in: a state saved then would lose the rest of it
        self._wake: tuple[int, ...] = os.pipe()
        self._is_stopped = False
        self._config = {
            "source": "-" if str(source) == "-" else str(pathlib.Path(source).resolve()),
            "params": params.to_dict(),
            "timeframes": [dataclasses.asdict(f) for f in frames],
            "stamp": stamp,
            "columns": dataclasses.asdict(self._columns),
        }
        self._state = None if state is None else pathlib.Path(state)
        self._lock: int | None = None
        self._log: _ChangeLog | None = None
        try:
            self._lock = None if self._state is None else _locked(self._state)
            if self._state is not None and self._state.exists():
                self._restore()
            else:
                self._take_history(history)
            # Last, since it cuts a torn line: nothing is touched by a watch that is refused.
            self._log = None if output is None else _ChangeLog(pathlib.Path(output))
        except BaseException:
            self._release()
            raise

    @property
    def counters(self) -> Counters:
        """What the watch has done."""
        return self._tracker.counters

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols seen so far."""
        return self._tracker.symbols

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is told of flips."""
        return self._actions

    @property
    def unfinished(self) -> int:
        """Bytes of last lines that have not ended, and wait for it."""
        return self._source.unfinished

    @property
    def bars(self) -> dict[str, dict[str, int]]:
        """Timeframe (an empty text if each price is a bar) to symbol to number of bars."""
        return self._tracker.bars()

    def last(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Timeframe (an empty text if each price is a bar) to symbol to the outputs of its last bar."""
        return self._tracker.last()

    # ---- states

    def _take_history(self, history: Sequence[str | os.PathLike[str]]) -> None:
        if not history:
            return
        c = self._columns
        prices = read_prices(
            list(history), symbol_col=c.symbol, time_col=c.time, price_col=c.price, time_format=c.time_format
        )
        for failure in prices.failures:
            _log.warning("history: %s: %s", failure.symbol, failure.message)
        for records in _follow.records_of(prices, "history"):
            _, bad = self._tracker.feed(records, False, self._min_change)
            self._report(bad)
        self._tracker.repeats_are_fine()

    def save(self) -> None:
        """Save the state, if there is a file for it.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if self._state is None or not self._is_whole:
            return
        for action in self._actions:
            self._started.subtract(action.take_ended())
        header, arrays = self._tracker.state()
        header = {
            "warpquant": _core.__version__, "watch": self._id, "seq": self._seq, "config": self._config,
            "silent": self._is_silent, "position": self._source.position(), "tracker": header,
            "outbox": [change.to_dict() for change in self._outbox], "started": sorted((+self._started).elements()),
        }  # fmt: skip
        _statefile.write(self._state, _STATE, header, arrays)
        self.counters.saves += 1
        self._is_dirty, self._saved_at = False, time.monotonic()

    def _restore(self) -> None:
        assert self._state is not None
        header, arrays = _statefile.read(self._state, _STATE)
        try:
            for name, value in self._config.items():
                before = header["config"][name]
                if before != value:
                    raise StateError(f"is that of a watch with another {name}: {_difference(before, value)}")
            self._tracker.restore(header["tracker"], arrays)
            self._source.restore(header["position"])
            self._id, self._seq, self._is_silent = header["watch"], header["seq"], header["silent"]
            self._outbox = [dataclasses.replace(Change._from_dict(c), again=True) for c in header["outbox"]]
            started = header["started"]
        except (KeyError, TypeError, AttributeError, StateError) as error:
            raise StateError(f"{self._state}: cannot be used: {error}") from error
        if self._source.name == "-":
            self._tracker.repeats_are_fine()
        self._is_dirty = bool(started)
        if started:
            names = ", ".join(f"{self._id}-{seq}" for seq in sorted(set(started)))
            _log.warning(
                "the run before was ended while it told of %s (%s); that may not have happened, and is not tried again",
                count(len(set(started)), "flip"), names,
            )  # fmt: skip

    # ---- the loop

    def run(self, show: Callable[[list[Change]], object], *, interval: float = 1.0, once: bool = False) -> None:
        """Follow the source until `stop` is called, standard input ends, or, with `once`, there is nothing more.

        Parameters
        ----------
        show : callable
            Called with each batch of changes, before actions are told of them.
        interval : float, default 1
            Seconds between looks at files.
        once : bool, default False
            Whether to end when everything that is there has been taken in.

        Raises
        ------
        OSError
            If the source or the state cannot be used.
        """
        interval = number("interval", interval, 0.001)
        while not self._is_stopped:
            more = self.poll(show)
            if not more and (once or self._source.ended):
                break
            if not more:
                self._pause(interval)
        self.save()

    def poll(self, show: Callable[[list[Change]], object]) -> bool:
        """Take in some of what is new; gives whether there may be more at once. See `run`."""
        if self._outbox:
            self._deliver(show)
        self._is_whole = False
        taken = self._source.read()
        for note in self._source.notes:
            _log.warning("%s", note)
        self._source.notes.clear()
        changes, refused = self._tracker.feed(taken.records, taken.repeats, self._min_change)
        self._report([*taken.bad, *refused])
        was_silent = self._is_silent
        if was_silent:
            self._is_silent, changes = taken.more, []
        self._outbox = self._numbered(changes)
        if self._actions:
            self._started.update({c.seq: len(self._actions) for c in self._outbox if c.is_flip})
        self._is_dirty |= bool(taken.records or taken.bad) or any(action.has_ended for action in self._actions)
        self._is_whole = True
        if was_silent and not self._is_silent:
            self.save()
        if changes:
            self.save()
            self._deliver(show)
        elif self._is_dirty and time.monotonic() - self._saved_at > self._save_every(taken.more):
            self.save()
        return taken.more

    def _save_every(self, more: bool) -> float:
        """Seconds that may pass without a save; what came by standard input cannot be read again."""
        return _SAVE_EVERY if self._source.name != "-" else 1.0 if more else 0.0

    def _numbered(self, changes: list[Change]) -> list[Change]:
        numbered = [dataclasses.replace(c, watch=self._id, seq=self._seq + i) for i, c in enumerate(changes, 1)]
        self._seq += len(numbered)
        for change in numbered:
            self.counters.changes.update(change.changes)
        return numbered

    def _deliver(self, show: Callable[[list[Change]], object]) -> None:
        """Tell of the changes in the outbox and save that this was done."""
        changes, again = self._outbox, bool(self._outbox) and self._outbox[0].again
        if self._log is not None:
            known = self._log.last_of(self._id) if again else 0
            self._log.write(dataclasses.replace(c, again=False) for c in changes if c.seq > known)
        show(changes)
        self._outbox = []
        for change in changes if self._actions and not again else ():
            if change.is_flip:  # at most once: what a killed run began is not begun again
                job = Job(change.seq, f"{self._id}-{change.seq}", change.to_json().encode())
                for action in self._actions:
                    if not action.submit(job):
                        self._started[job.seq] -= 1
        self.save()

    def _report(self, bad: Iterable[Bad]) -> None:
        """Count what could not be used; the first of each kind is told of."""
        for one in bad:
            if one.reason not in self.counters.bad:
                place = f"{one.file} line {one.line}" if one.line else one.file
                _log.warning("%s: %s (%s; others of this kind are only counted)", place, one.message, one.reason)
            self.counters.bad[one.reason] += 1

    def _pause(self, seconds: float) -> None:
        """Wait, but not when there is a reason to go on."""
        extra = [] if self._source.descriptor is None else [self._source.descriptor]
        if self._wake[0] in select.select([self._wake[0], *extra], [], [], seconds)[0]:
            os.read(self._wake[0], 1)

    def stop(self) -> None:
        """Let `run` end, its state saved; may be called by a signal handler or another thread."""
        self._is_stopped = True
        if self._wake:
            os.write(self._wake[1], b"x")

    def close(self, seconds: float = 10.0) -> None:
        """Let go of everything; actions in the queue have so many seconds to end."""
        left = sum(action.close(seconds) for action in self._actions)
        if left:
            _log.warning("%s not told of: the watch ended first", count(left, "flip"))
        if self._actions and self._lock is not None:
            self.save()
        self._release()

    def _release(self) -> None:
        self._source.close()
        if self._log is not None:
            self._log.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        for end in self._wake:
            os.close(end)
        self._wake = ()


def _source(source: str | os.PathLike[str], columns: Columns) -> Source:
    if str(source) == "-":
        return _follow.LinesSource(sys.stdin.fileno(), columns)
    path = pathlib.Path(source)
    if path.is_dir():
        return _follow.FolderSource(path, columns)
    if path.name.lower().endswith(_follow._WHOLE):
        raise ParameterError(f"source: {path.name} does not grow line by line; put it into a folder and watch that")
    return _follow.FileSource(path, columns)


def _locked(state: pathlib.Path) -> int:
    """Hold the lock of a state file; it ends with the process, however that ends."""
    lock = os.open(state.with_name(f".{state.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StateError(f"{state}: is in use by another watch") from None
    return lock


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        name = next(n for n in now if before.get(n) != now[n])
        return f"{name} is {before.get(name)!r} there and {now[name]!r} here"
    return f"{before!r} there and {now!r} here"
