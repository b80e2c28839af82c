# SPDX-License-Identifier: Apache-2.0
"""Which device a call runs on."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import _core, _cost, config
from ._containers import unpack
from .errors import DeviceUnavailableError, DTypeError, ForkedContextError, LayoutError, ParameterError

_log = logging.getLogger("warpquant")


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


@functools.cache
def _report_fallback(reason: str, message: str) -> None:
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
    if _asked_in[backend] != os.getpid():
        raise ForkedContextError(
            f"device={name!r}: CUDA was in use before this process was forked, and cannot be used in the child; start "
            "processes with 'spawn', or use CUDA in the children only"
        )
    return backend, int(number or 0)


def with_memory(device: str) -> tuple[str, int]:
    """As `usable`, of an argument that must name a device with memory of its own."""
    name = config._device("device", device)
    if name in ("auto", "cpu"):
        raise ParameterError(f"device: {device!r} is not the name of a device with memory of its own")
    return usable(name)


class Choice(NamedTuple):
    """A device, and how work gets there."""

    backend: str
    number: int
    streams: int
    batch_bytes: int
    floor: int
    may_fall_back: bool


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
        return _choice("cuda", 0, not demands) if wants else None
    if demands:
        raise error
    _report_fallback(error.reason, str(error))
    return None


def _choice(backend: str, number: int, may_fall_back: bool = False) -> Choice:
    return Choice(
        backend,
        number,
        config._value("streams"),
        config._value("batch.max_bytes"),
        config._value("batch.floor"),
        may_fall_back,
    )


def resolve(
    device: str | None,
    lives_on: str | None = None,
    argument: str = "",
    work: Callable[[], _cost.Work | None] | None = None,
    num_threads: int | None = None,
) -> Choice | None:
    """The device for a call; None is the CPU. Arrays on a device are computed where they live.

    'auto', for arrays in host memory, is the first CUDA device if the prediction for `work` there is clearly the lower
    one, else the CPU.

    Raises
    ------
    ParameterError
        If `device` is no device name, or another one than where the arrays live.
    DeviceUnavailableError
        If a device was asked for by name and cannot be used: an explicit choice never falls back.
    """
    name = config._value("device") if device is None else config._device("device", device)
    if lives_on is not None:
        if device is not None and name not in ("auto", lives_on) and f"{name}:0" != lives_on:
            raise ParameterError(
                f"device: {device!r} was asked for, but {argument} lives on {lives_on!r}; move it first"
            )
        name = lives_on
        try:
            usable(name)
        except DeviceUnavailableError as why:
            raise DeviceUnavailableError(f"{argument}: lives on {name!r}, but {why}", reason=why.reason) from None
    if name == "cpu":
        return None
    if name == "auto":
        return _auto(work() if work else None, num_threads)
    backend, index = usable(name)
    return _choice(backend, index)


def to_device(array: Any, device: str = "cuda") -> _core.Array:
    """Copy an array to a device.

    Parameters
    ----------
    array : array_like
        Of float64, float32 or int8.
    device : str, default 'cuda'
        A device by name.

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
    DeviceUnavailableError
        If the device cannot be used.

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
    if values.dtype not in (np.float64, np.float32, np.int8):
        raise DTypeError(f"array: {values.dtype} values are not accepted; accepted are float64, float32 and int8")
    return _core.to_device(values, *place)


def again_on_host(compute: Any, arrays: tuple[Any, ...], device: str) -> Any:
    """What `compute` makes of host copies of arrays on a device, moved there: for prices with missing values."""
    results = compute(*(None if a is None else _core.to_host(a, "array") for a in arrays))
    if isinstance(results, list):
        return [to_device(r, device) for r in results]
    return to_device(results, device)
