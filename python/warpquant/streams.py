# SPDX-License-Identifier: Apache-2.0
"""Devices, their streams and events, and calls that are prepared once to run many times.

>>> import warpquant
>>> with warpquant.Stream("cuda", priority="high") as stream:  # doctest: +SKIP
...     prices = warpquant.to_device(values)
...     average = warpquant.ma.ema(prices, 28)
>>> stream.synchronize(timeout=1.0)  # doctest: +SKIP
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._devices import _current, _prepared, stream_number, with_memory
from .errors import DTypeError, ParameterError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Device", "Event", "Prepared", "Stream", "prepare"]


def _seconds(timeout: float | None) -> float | None:
    """A time to wait for, in seconds; None is what the settings say."""
    if timeout is None:
        return None
    if isinstance(timeout, (bool, np.bool_)) or not isinstance(timeout, (int, float, np.number)) or not timeout >= 0:
        raise ParameterError(f"timeout: {timeout!r} is no time to wait; accepted are seconds from 0, or None")
    return float(timeout)


def _name(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


#: What `with` blocks put back, of each thread and task.
_tokens: ContextVar[tuple[Token[Any], ...]] = ContextVar("warpquant_stream_tokens", default=())


class Device:
    """A device with memory of its own.

    Parameters
    ----------
    name : str, optional
        Such as 'cuda' or 'cuda:1'.

    Raises
    ------
    ParameterError
        If it is not the name of such a device.
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.Device("cuda:0").memory_free  # doctest: +SKIP
    84825604096
    """

    def __init__(self, name: str | None = None) -> None:
        self._place = with_memory(name)

    def __repr__(self) -> str:
        return f"Device({_name(self._place)!r})"

    def __eq__(self, other: object) -> bool:
        return self._place == other._place if isinstance(other, Device) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def name(self) -> str:
        """Its name here, such as 'cuda:0'."""
        return _name(self._place)

    @property
    def properties(self) -> dict[str, Any]:
        """What there is to know about it.

        ``name`` of the model, ``uuid``, ``compute_capability`` (two numbers), ``multiprocessors``, and bytes of memory,
        ``memory_total`` and ``memory_free``.
        """
        found = _core.device_info(*self._place, True)
        kept = ("name", "uuid", "compute_capability", "multiprocessors", "memory_total", "memory_free")
        return {key: found[key] for key in kept}

    @property
    def compute_capability(self) -> tuple[int, int]:
        """What its processors can do, as NVIDIA numbers it."""
        major, minor = self._info["compute_capability"]
        return major, minor

    @property
    def uuid(self) -> str:
        """Its identity, whatever its number."""
        return str(self._info["uuid"])

    @property
    def multiprocessors(self) -> int:
        """How many it has."""
        return int(self._info["multiprocessors"])

    @property
    def memory_total(self) -> int:
        """Bytes of its memory."""
        return int(self._info["memory_total"])

    @property
    def memory_free(self) -> int:
        """Bytes of it that nobody uses now."""
        return int(_core.device_info(*self._place, True)["memory_free"])

    @property
    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = _core.device_info(*self._place, False)
        return found

    def stream(self, priority: int | str = 0) -> Stream:
        """A new stream; see `Stream`."""
        return Stream(self.name, priority)

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until all that anybody in this process has put on the device is done.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; by default the setting ``device.timeout``.

        Raises
        ------
        DeviceTimeoutError
            If it takes longer. The work goes on.
        """
        _core.synchronize(*self._place, _seconds(timeout))


class Stream:
    """Work of a device in order, beside what other streams do.

    As a context manager it is the current stream of the thread (or of the asynchronous task): calls inside that are not
    told another go there. It ends with the object, but not before arrays that were made in it.

    Parameters
    ----------
    device : str or Device, optional
        Where.
    priority : {0, 'low', 'high'}, default 0
        'high': kernels go before those of other streams. 0 and 'low' are the same, and the usual.

    Raises
    ------
    ParameterError
        If an argument is not accepted.
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> stream = warpquant.Stream("cuda")  # doctest: +SKIP
    >>> average = warpquant.ma.ema(prices, 28, stream=stream)  # doctest: +SKIP
    >>> stream.synchronize()  # doctest: +SKIP
    """

    def __init__(self, device: str | Device | None = None, priority: int | str = 0) -> None:
        if isinstance(priority, bool) or priority not in (0, "low", "high"):
            raise ParameterError(f"priority: {priority!r} is not a priority; accepted are 0, 'low' and 'high'")
        self._place = _place(device)
        self._own = _core.OwnStream(*self._place, _core.HIGH_PRIORITY if priority == "high" else 0)
        weakref.finalize(self, self._own.close)  # which also happens at exit
        self._handle = int(self._own.handle)
        self._kept: Any = None

    @classmethod
    def wrap(cls, stream: Any, device: str | Device | None = None) -> Stream:
        """A stream of somebody else's, who ends it: not before arrays that were made in it.

        Parameters
        ----------
        stream : int or object
            As `stream` of all calls: a number with DLPack's meaning (1: the default stream, 2: that of the thread,
            others: handles), an object with ``__cuda_stream__``, a stream of PyTorch or CuPy.
        device : str or Device, optional
            Where it is.

        Raises
        ------
        ParameterError, DTypeError
            If it is no stream.
        """
        wrapped = cls.__new__(cls)
        wrapped._place = _place(device)
        number = stream_number(stream, _name(wrapped._place))
        if number is None or number == -1:
            raise ParameterError(f"stream: {stream!r} is not one stream, but a rule; accepted are streams")
        wrapped._handle = number
        wrapped._kept = stream
        return wrapped

    def __repr__(self) -> str:
        return f"Stream({self.device!r}, handle={self._handle:#x})"

    def __cuda_stream__(self) -> tuple[int, int]:
        """The stream for others: version of the protocol, and handle."""
        return 0, self._handle

    @property
    def device(self) -> str:
        """Where it is, such as 'cuda:0'."""
        return _name(self._place)

    @property
    def handle(self) -> int:
        """As DLPack numbers streams; a ``cudaStream_t`` where it is more than 2."""
        return self._handle

    @property
    def done(self) -> bool:
        """Whether all that was put into it is done."""
        return bool(_core.stream_done(*self._place, self._handle))

    def query(self) -> bool:
        """The same as `done`."""
        return self.done

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until it is done. Ctrl-C ends the wait, not the work.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; by default the setting ``device.timeout``.

        Raises
        ------
        DeviceTimeoutError
            If it takes longer. The work goes on.
        CaptureUnsafeError
            If the stream is being captured.
        """
        _core.stream_wait(*self._place, self._handle, _seconds(timeout))

    def record(self) -> Event:
        """A new event, which comes when all that is in the stream now is done."""
        event = Event(self.device)
        event.record(self)
        return event

    def wait(self, event: Event | Stream) -> None:
        """Let all that is put into the stream from now on wait for an event, or for what is in another stream now.

        The host does not wait.
        """
        if isinstance(event, Stream):
            event = event.record()
        if not isinstance(event, Event):
            raise DTypeError(f"event: is a {type(event).__name__}; accepted are events and streams")
        event.wait(self)

    def __enter__(self) -> Self:
        _tokens.set((*_tokens.get(), _current.set(self)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        *others, token = _tokens.get()
        _tokens.set(tuple(others))
        _current.reset(token)


class Event:
    """A mark in a stream, which others can wait for.

    Parameters
    ----------
    device : str or Device, optional
        Where.

    Examples
    --------
    >>> import warpquant
    >>> event = warpquant.Event("cuda")  # doctest: +SKIP
    >>> event.record(first)  # doctest: +SKIP
    >>> event.wait(second)  # doctest: +SKIP
    """

    def __init__(self, device: str | Device | None = None) -> None:
        self._place = _place(device)
        self._core = _core.Event(*self._place)

    def __repr__(self) -> str:
        return f"Event({_name(self._place)!r})"

    def record(self, stream: Any = None) -> None:
        """Put the mark into a stream (by default the current one); it replaces the last."""
        self._core.record(self._stream(stream))

    def wait(self, stream: Any = None) -> None:
        """Let a stream (by default the current one) wait for the mark. The host does not wait."""
        self._core.hold_up(self._stream(stream))

    def query(self) -> bool:
        """Whether the mark has been passed; also if there never was one."""
        return bool(self._core.query())

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait for the mark, as `Stream.synchronize`."""
        self._core.synchronize(_seconds(timeout))

    def _stream(self, stream: Any) -> int:
        number = stream_number(_current.get() if stream is None else stream, _name(self._place))
        if number is None or number == -1:
            raise ParameterError("stream: is missing, and no `with Stream` is around the call")
        return number


def _place(device: str | Device | None) -> tuple[str, int]:
    return device._place if isinstance(device, Device) else with_memory(device)


class Prepared:
    """A call on arrays of a device, ready to run: what `prepare` makes.

    Calling it puts the kernels into a stream, which may be captured into a CUDA graph: nothing is allocated, and the
    host does not wait. Results are those of the values that the arrays hold when the kernels run. Runs in several
    streams come one after the other; in a capture it is the caller who sees to that, and who keeps the object as long
    as the graph.
    """

    def __init__(self, core: _core.PreparedCall, result: Any) -> None:
        self._core = core
        self._result = result

    @property
    def result(self) -> Any:
        """What every call gives: always the same arrays."""
        return self._result

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self._core.device)

    @property
    def stream(self) -> int:
        """Where it goes if nothing else is said, as DLPack numbers streams."""
        return int(self._core.stream)

    def __call__(self, stream: Any = None) -> Any:
        """Put the kernels into a stream.

        Parameters
        ----------
        stream : int or object, optional
            By default the current `Stream`, else the one that was prepared for. -1: that one, and other streams that
            use the arrays neither wait nor are waited for.

        Returns
        -------
        array or dict
            `result`.

        Raises
        ------
        ParameterError, DTypeError
            If it is no stream, or one of another device.
        """
        device = self.device
        if stream is None:
            stream = _current.get()
            if stream is not None and stream.device != device:
                stream = None
        self._core.run(stream_number(stream, device))
        return self._result


def prepare(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Prepared:
    """Prepare a call on arrays of a device, to run as often as wanted at little cost.

    Arguments are checked, memory for results and for what kernels need is allocated, once. Nothing is computed before
    the first run.

    Parameters
    ----------
    function : callable
        An average of `warpquant.ma`, `warpquant.equity.curve`, `warpquant.atc.run`,
        `warpquant.compute_atc_signals`, or a function of `warpquant.signals`.
    *args, **kwargs
        Its arguments. The arrays must be on a device; they, and what is given as `out`, are used by every run.

    Returns
    -------
    Prepared
        The call.

    Raises
    ------
    ParameterError
        If the arrays are in host memory, or the function is none of these.
    WarpquantError
        As `function` does for its arguments.

    Examples
    --------
    >>> import warpquant
    >>> prices = warpquant.to_device(values)  # doctest: +SKIP
    >>> call = warpquant.prepare(warpquant.ma.ema, prices, 28)  # doctest: +SKIP
    >>> average = call()  # doctest: +SKIP
    """
    if not callable(function):
        raise ParameterError(f"function: {function!r} cannot be called")
    core = _core.PreparedCall()
    token = _prepared.set(core)
    try:
        result = function(*args, **kwargs)
    finally:
        _prepared.reset(token)
    if not core.ready:
        raise ParameterError(
            f"function: {getattr(function, '__name__', function)} cannot be prepared; accepted are the averages of "
            "warpquant.ma and warpquant.signals, equity.curve, atc.run and compute_atc_signals"
        )
    return Prepared(core, result)
