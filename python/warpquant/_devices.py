# SPDX-License-Identifier: Apache-2.0
"""Which device a call runs on."""

from __future__ import annotations

import collections
import functools
import importlib
import logging
import operator
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _core, _cost, _counters, config
from ._containers import unpack
from .errors import DeviceUnavailableError, DTypeError, ForkedContextError, LayoutError, ParameterError

if TYPE_CHECKING:
    from .streams import Stream

_log = logging.getLogger("warpquant")

#: The stream of the `with` block around a call.
_current: ContextVar[Stream | None] = ContextVar("warpquant_stream", default=None)
#: What a call is to leave its work to, instead of doing it.
_prepared: ContextVar[_core.PreparedCall | None] = ContextVar("warpquant_prepared", default=None)


#: The process in which each device module was first asked for its devices.
_asked_in: dict[str, int] = {}


@functools.cache
def status(backend: str) -> dict[str, Any]:
    """What a device module reports; it is loaded on the first call, never at import."""
    try:
        module = importlib.import_module(f"warpquant._{backend}")
    except ModuleNotFoundError:
        return {
            "built": False,
            "count": 0,
            "reason": "not_built",
            "message": f"this installation was built without {'CUDA' if backend == 'cuda' else backend}",
        }
    _asked_in[backend] = os.getpid()
    _core.set_backend(backend, module.table())
    return {**_core.backend_status(backend), "architectures": module.architectures}


@functools.cache
def _tried(backend: str, index: int) -> dict[str, Any]:
    """A device that was asked for; the others are left alone, because trying one takes some of its memory."""
    found: dict[str, Any] = _core.device_info(backend, index, True)
    if found["runs_kernels"]:
        set_memory_limit(backend, index, config._value("memory.limit"))
        resource, zero, poison = (config._value(f"memory.{key}") for key in ("resource", "zero_on_free", "poison"))
        filled = {"zero_on_free": zero, "poison": poison}
        if zero or poison or resource != "async_pool":
            _core.use_memory(backend, index, resource, "async_pool" if resource == "pool" else "", **filled)
        if zero or poison:
            _core.use_memory(backend, index, "pinned", **filled)
    return found


def set_memory_limit(backend: str, number: int, limit: int | str) -> None:
    """Limit the memory of a device, to bytes or to a share of what can be had."""
    if isinstance(limit, str):
        _core.set_memory_limit(backend, number, 0, float(limit.rstrip("%")) / 100)
    else:
        _core.set_memory_limit(backend, number, limit)


def cuda_status() -> dict[str, Any]:
    """Driver and CUDA devices, each of them tried."""
    found = dict(status("cuda"))
    count = found.pop("count")
    return {**found, "devices": [_tried("cuda", i) for i in range(count)]}


def _why_not(backend: str, index: int) -> DeviceUnavailableError | None:
    """Why a device cannot run what was asked for, if so."""
    found = status(backend)
    if found["reason"]:
        return DeviceUnavailableError(
            f"device='{backend}:{index}' is not available: {found['message']}", reason=found["reason"]
        )
    if index >= found["count"]:
        return DeviceUnavailableError(
            f"device='{backend}:{index}' does not exist; there are {found['count']} such devices",
            reason="no_such_device",
        )
    device = _tried(backend, index)
    if not device["runs_kernels"]:
        return DeviceUnavailableError(
            f"device='{backend}:{index}' ({device['name']}) cannot run the kernels of this build "
            f"({found['architectures']}): {device['message']}",
            reason="arch_missing",
        )
    return None


#: Devices that somebody asked for.
used: set[tuple[str, int]] = set()

#: How often 'auto' took the CPU in the place of the device that it had chosen, by reason.
fallbacks: collections.Counter[str] = collections.Counter()


def _report_fallback(reason: str, message: str) -> None:
    fallbacks[reason] += 1
    _log_fallback(reason, message)


@functools.cache
def _log_fallback(reason: str, message: str) -> None:
    _log.info("device='auto' runs on the CPU (%s): %s", reason, message)


def usable(name: str) -> tuple[str, int]:
    """Backend and number of a device that was named.

    Raises
    ------
    DeviceUnavailableError
        If it cannot be used.
    ForkedContextError
        If it was in use before this process was forked.
    """
    backend, _, number = name.partition(":")
    error = _why_not(backend, int(number or 0))
    if error:
        raise error
    used.add((backend, int(number or 0)))
    if _asked_in[backend] != os.getpid():
        raise ForkedContextError(
            f"device={name!r}: CUDA was in use before this process was forked, and cannot be used in the child; start "
            "processes with 'spawn', or use CUDA in the children only"
        )
    return backend, int(number or 0)


def with_memory(device: Any) -> tuple[str, int]:
    """As `usable`, of an argument that must name a device with memory of its own, or be a `Device`.

    None is the one that the setting names, else 'cuda'.
    """
    if device is None:
        name = config._value("device")
        name = "cuda" if name in ("auto", "cpu") else name
    else:
        name = config._device("device", device.name if type(device).__name__ == "Device" else device)
    if name in ("auto", "cpu"):
        raise ParameterError(f"device: {device!r} has no memory of its own; accepted are devices such as 'cuda:0'")
    return usable(name)


_STREAMS = (
    "accepted are 1 (default stream), 2 (that of the thread), handles, -1 (no ordering), objects with __cuda_stream__, "
    "and streams of PyTorch and CuPy"
)


def stream_number(stream: Any, device: str) -> int | None:
    """A stream as DLPack numbers them; -1 and None are rules of the callers.

    Raises
    ------
    ParameterError
        If it is a number that means no stream, or a stream of another device.
    DTypeError
        If it is nothing of the kind.
    """
    if stream is None:
        return None
    if hasattr(stream, "__cuda_stream__"):
        theirs = getattr(stream, "device", None)
        if type(stream).__module__ == "warpquant.streams" and theirs != device:
            raise ParameterError(f"stream: is a stream of {theirs!r}, but the work is on {device!r}")
        found = stream.__cuda_stream__
        found = found() if callable(found) else found
        if not isinstance(found, tuple) or len(found) != 2 or found[0] != 0:
            raise DTypeError(
                f"stream: __cuda_stream__ of {type(stream).__name__} gave {found!r}; accepted is (0, handle)"
            )
        return _handle(found[1])
    root = type(stream).__module__.partition(".")[0]
    if root == "torch" and hasattr(stream, "cuda_stream"):
        return _handle(stream.cuda_stream)
    if root == "cupy" and hasattr(stream, "ptr"):
        return _handle(stream.ptr)
    try:
        number = operator.index(stream)
    except TypeError:
        number = None
    if number is None or isinstance(stream, (bool, np.bool_)):
        raise DTypeError(f"stream: {type(stream).__name__} is no stream; {_STREAMS}")
    if not (number == -1 or 1 <= number < 2**63):
        raise ParameterError(f"stream: {number} is no stream; {_STREAMS}")
    return number


def _handle(value: Any) -> int:
    """A handle of CUDA's, whose null is the default stream."""
    number = operator.index(value)
    if not 0 <= number < 2**63:
        raise ParameterError(f"stream: {number} is no handle")
    return number or 1


class Choice(NamedTuple):
    """A device, and how work gets there."""

    backend: str
    number: int
    streams: int
    batch_bytes: int
    floor: int
    may_fall_back: bool
    stream: int | None = None
    current: int | None = None
    prepared: _core.PreparedCall | None = None


@functools.cache
def _rates() -> _cost.Rates:
    return _cost.load(_core.__version__)


def _auto(work: _cost.Work | None, num_threads: int | None) -> Choice | None:
    """The first CUDA device, if that is clearly faster and can be used."""
    demands = config._value("fallback") == "error"
    wants = work is not None and _cost.device_is_faster(
        _rates(), work, num_threads or config._value("num_threads") or _core.usable_processors()
    )
    if not (wants or demands or _log.isEnabledFor(logging.INFO)):
        return None  # nobody wants to know what devices there are
    error = _why_not("cuda", 0)
    if error is None:
        used.add(("cuda", 0))
        return _choice("cuda", 0, may_fall_back=not demands) if wants else None
    if demands:
        raise error
    (_report_fallback if wants else _log_fallback)(error.reason, str(error))
    return None


def _choice(backend: str, number: int, *resident: Any, may_fall_back: bool = False) -> Choice:
    return Choice(
        backend,
        number,
        config._value("streams"),
        config._value("batch.max_bytes"),
        config._value("batch.floor"),
        may_fall_back,
        *resident,
    )


def _resident(device: str, stream: Any) -> tuple[int | None, int | None, _core.PreparedCall | None]:
    """Of a call on arrays of a device: stream asked for, stream of the block around, what it leaves its work to."""
    current = _current.get()
    around = current.handle if current is not None and current.device == device else None
    return stream_number(stream, device), around, _prepared.get()


def resolve(
    device: str | None,
    lives_on: str | None = None,
    argument: str = "",
    work: Callable[[], _cost.Work | None] | None = None,
    num_threads: int | None = None,
    stream: Any = None,
) -> Choice | None:
    """The device for a call; None is the CPU. Arrays on a device are computed where they live, in `stream` if given.

    'auto', for arrays in host memory, is the first CUDA device if the prediction for `work` there is clearly the lower
    one, else the CPU.

    Raises
    ------
    ParameterError
        If `device` is no device name, or another one than where the arrays live, or if `stream` is no stream, or goes
        with arrays in host memory.
    DeviceUnavailableError
        If a device was asked for by name and cannot be used: an explicit choice never falls back.
    """
    choice = chosen(device, lives_on, argument, work, num_threads, stream)
    if _counters.watching:
        _counters.add("calls:cpu" if choice is None else f"calls:{choice.backend}:{choice.number}")
    return choice


def chosen(
    device: str | None,
    lives_on: str | None = None,
    argument: str = "",
    work: Callable[[], _cost.Work | None] | None = None,
    num_threads: int | None = None,
    stream: Any = None,
) -> Choice | None:
    """As `resolve`, for nobody's call: it does not count."""
    name = config._value("device") if device is None else config._device("device", device)
    if lives_on is not None:
        if device is not None and name not in ("auto", lives_on) and f"{name}:0" != lives_on:
            raise ParameterError(
                f"device: {device!r} was asked for, but {argument} lives on {lives_on!r}; move it first"
            )
        name = lives_on
        try:
            place = usable(name)
        except DeviceUnavailableError as why:
            raise DeviceUnavailableError(f"{argument}: lives on {name!r}, but {why}", reason=why.reason) from None
        return _choice(*place, *_resident(name, stream))
    if stream is not None:
        raise ParameterError(
            f"stream: goes with arrays that are on a device; {argument or 'the argument'} is in host memory, from "
            "where batches take streams of their own, and the call waits for them"
        )
    if _prepared.get() is not None:
        raise ParameterError(
            f"prepare: {argument or 'the argument'} is in host memory; accepted are arrays on a device, such as "
            "warpquant.to_device makes"
        )
    if name == "cpu":
        return None
    if name == "auto":
        return _auto(work() if work else None, num_threads)
    backend, index = usable(name)
    return _choice(backend, index)


def in_stream(device: str | None, stream: Any = None) -> Choice | None:
    """The device for a call that makes its own data there, in one stream, and waits for its results; None is the CPU.

    Raises
    ------
    ParameterError
        If `device` is no device name, or if `stream` is no stream, or goes with the CPU.
    DeviceUnavailableError
        If a device was asked for by name and cannot be used.
    """
    choice = resolve(device)
    if choice is not None:
        asked, around, _ = _resident(f"{choice.backend}:{choice.number}", stream)
        return choice._replace(stream=asked, current=around)
    if stream is not None:
        raise ParameterError("stream: goes with a device, and the call runs on the CPU")
    return None


def to_device(array: Any, device: Any = None, *, stream: Any = None) -> _core.Array:
    """Copy an array to a device.

    Parameters
    ----------
    array : array_like
        Of float64, float32 or int8.
    device : str or Device, optional
        Where; by default the device that the setting ``device`` names, else 'cuda'.
    stream : int or object, optional
        The stream that copies, and whose work fills the array: a `Stream`, a number with DLPack's meaning, a stream of
        PyTorch or CuPy. By default the current `Stream`, else one that the thread has for itself.

    Returns
    -------
    Array
        An array that functions of this package, and consumers of DLPack or of the CUDA array interface, take where it
        is.

    Raises
    ------
    DTypeError
        If it has values of another type, or is a frame or a mapping.
    LayoutError
        If it is on a device already.
    ParameterError
        If `stream` is no stream.
    DeviceUnavailableError
        If the device cannot be used.
    CaptureUnsafeError
        If the stream is being captured.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> prices = warpquant.to_device(np.array([1.0, 2.0, 3.0]))  # doctest: +SKIP
    >>> warpquant.ma.sma(prices, 2).to_numpy()  # doctest: +SKIP
    array([nan, 1.5, 2.5])
    """
    place = with_memory(device)
    source = unpack(array, "array")
    if source.labels is not None or source.names is not None:
        raise DTypeError(
            f"array: is a {type(array).__name__}, whose columns have names; an array on a device has none, so "
            "pass values with bars along the last axis, such as frame.to_numpy().T"
        )
    if source.device is not None:
        raise LayoutError(f"array: is on {source.device!r} already, where functions take it as it is")
    values = np.asarray(source.data, order="C")
    if values.dtype.kind in "iu" and values.dtype != np.int8:
        values = values.astype(np.float64)
    if values.dtype not in (np.float64, np.float32, np.int8):
        raise DTypeError(f"array: {values.dtype} values are not accepted; accepted are float64, float32 and integers")
    asked, current, _ = _resident(f"{place[0]}:{place[1]}", stream)
    return _core.to_device(values, *place, current if asked in (None, -1) else asked)
