# SPDX-License-Identifier: Apache-2.0
"""What a piece of code cost: time, memory, copies, transfers, batches, and where it ran.

Counts are those of the whole process between entry and exit, whichever thread the work is in: blocks may be nested and
may run in several threads, and blocks that overlap in time count the same work.

Memory is resident memory, as the system sees it. Python's `tracemalloc` would not see what the compiled core takes, and
makes Python code several times slower. If the process reached a new maximum inside, the system knows the peak exactly;
else it is the highest of samples, taken every 5 ms.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from . import _core, _counters, _devices
from .errors import ParameterError

__all__ = ["Profile", "Report", "profile"]

_log = logging.getLogger("warpquant")
_SAMPLE_SECONDS = 0.005

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclasses.dataclass
class Report:
    """What was found; complete when the block has ended.

    Attributes
    ----------
    name : str
        As given.
    seconds : float
        Time by the clock.
    peak_bytes : int
        Most resident memory inside above that at entry.
    peak_is_exact : bool
        Whether the system measured that, or samples did, which may miss short peaks.
    grown_bytes : int
        Resident memory at exit above that at entry.
    copies : dict of str to int
        Copies that arguments needed before they could be computed on, by reason: ``integers`` that became float64,
        ``sequence`` for lists, ``array_method`` for objects with ``__array__``, ``mixed_types``.
    transfer_bytes : int
        Bytes on their way to devices and back, through pinned memory.
    calls : dict of str to int
        Calls of the package by device.
    batches, symbols : int
        Batches of scans, and symbols in them.
    """

    name: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    peak_is_exact: bool = False
    grown_bytes: int = 0
    copies: dict[str, int] = dataclasses.field(default_factory=dict)
    transfer_bytes: int = 0
    calls: dict[str, int] = dataclasses.field(default_factory=dict)
    batches: int = 0
    symbols: int = 0

    @property
    def devices(self) -> tuple[str, ...]:
        """Where calls ran, the busiest first."""
        return tuple(sorted(self.calls, key=lambda device: -self.calls[device]))

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return {**dataclasses.asdict(self), "devices": list(self.devices)}

    def __str__(self) -> str:
        """One line for people."""
        calls = ", ".join(f"{self.calls[device]:,} on {device}" for device in self.devices) or "none"
        copies = ", ".join(f"{number:,} {reason}" for reason, number in self.copies.items() if number) or "none"
        about = "" if self.peak_is_exact else " (sampled)"
        scans = f"; {self.symbols:,} symbols in {self.batches:,} batches" if self.batches else ""
        return (
            f"{self.name or 'profile'}: {self.seconds:.3g} s; peak {self.peak_bytes / 2**20:+.1f} MiB{about}; "
            f"calls: {calls}; copies: {copies}; transfers: {self.transfer_bytes / 2**20:.1f} MiB{scans}"
        )


def _memory() -> tuple[int, int]:
    """Resident memory now and at most so far, in bytes."""
    found = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found[name] = int(rest.split()[0]) * 1024
    return found.get("VmRSS", 0), found.get("VmHWM", 0)


class _Sampler:
    """One thread that looks at the memory while any block is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[Profile] = set()

    def add(self, block: Profile) -> None:
        with self._lock:
            start = not self._watched
            self._watched.add(block)
        if start:
            threading.Thread(target=self._work, daemon=True, name="warpquant-memory").start()

    def remove(self, block: Profile) -> None:
        with self._lock:
            self._watched.discard(block)

    def _work(self) -> None:
        while True:
            now = _memory()[0]
            with self._lock:
                if not self._watched:
                    return
                for block in self._watched:
                    block._highest = max(block._highest, now)
            time.sleep(_SAMPLE_SECONDS)


_sampler = _Sampler()


def _transferred() -> int:
    """Bytes that went through pinned memory so far; devices that nobody used are left alone."""
    ours = [place for place in list(_devices.used) if _devices._asked_in.get(place[0]) == os.getpid()]
    return sum(int(_core.memory_stats(*place)["pinned"]["total"]) for place in ours)


class Profile:
    """A block or a function whose cost is measured; `profile` makes it.

    As a decorator it measures each call; ``function.last`` is the report of the one that ended last.
    """

    def __init__(self, name: str, show: Callable[[Report], object] | None) -> None:
        self._name, self._show = name, show
        self._report: Report | None = None
        self._highest = 0

    def __enter__(self) -> Report:
        """Begin; the report fills when the block ends."""
        if self._report is not None:
            raise ParameterError("profile: this block has begun already; make another one with warpquant.profile()")
        self._report = Report(self._name)
        self._copies, self._sent = dict(_core.copy_counts()), _transferred()
        _counters.watch(1)
        self._counts = _counters.snapshot()
        self._memory = _memory()
        self._highest = self._memory[0]
        _sampler.add(self)
        self._start = time.perf_counter()
        return self._report

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End, also after an exception."""
        report = self._report
        assert report is not None
        report.seconds = time.perf_counter() - self._start
        _sampler.remove(self)
        now, most = _memory()
        counts = _counters.snapshot()
        counts.subtract(self._counts)
        _counters.watch(-1)
        resident, most_before = self._memory
        report.peak_is_exact = most > most_before
        report.peak_bytes = max((most if report.peak_is_exact else max(self._highest, now)) - resident, 0)
        report.grown_bytes = now - resident
        report.copies = {reason: n - self._copies[reason] for reason, n in _core.copy_counts().items()}
        report.transfer_bytes = _transferred() - self._sent
        report.calls = {what[6:]: n for what, n in counts.items() if what.startswith("calls:") and n}
        report.batches, report.symbols = counts["batches"], counts["symbols"]
        if self._show is not None:
            self._show(report)
        else:
            _log.info("%s", report)

    def __call__(self, function: _F) -> _F:
        """The function, measured at every call."""
        name = self._name or getattr(function, "__qualname__", "")

        @functools.wraps(function)
        def measured(*args: Any, **more: Any) -> Any:
            block = Profile(name, self._show)
            with block as report:
                try:
                    return function(*args, **more)
                finally:
                    measured.last = report  # type: ignore[attr-defined]

        measured.last = None  # type: ignore[attr-defined]
        return measured  # type: ignore[return-value]


def profile(name: str = "", *, show: Callable[[Report], object] | None = None) -> Profile:
    """Measure a ``with`` block, or as a decorator each call of a function.

    Parameters
    ----------
    name : str, optional
        Name in the report; that of the function by default.
    show : callable, optional
        Takes the report at the end, such as `print`; by default it goes to the log at level INFO.

    Returns
    -------
    Profile
        A context manager, whose ``as`` is a `Report`, and a decorator.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> with warpquant.profile() as report:
    ...     _ = warpquant.ma.sma(list(range(1000)), 20)
    >>> report.calls, report.copies["sequence"]
    ({'cpu': 1}, 1)
    >>> @warpquant.profile()
    ... def averages(x):
    ...     return warpquant.ma.sma(x, 20), warpquant.ma.ema(x, 20)
    >>> _ = averages(np.arange(1000.0))
    >>> averages.last.calls
    {'cpu': 2}
    """
    if not isinstance(name, str):
        raise ParameterError(f"name: {name!r} is no text; as a decorator it is written @warpquant.profile()")
    return Profile(name, show)
