# SPDX-License-Identifier: Apache-2.0
"""Which device a call runs on."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any, NamedTuple

from . import _core, config
from .errors import DeviceUnavailableError

_log = logging.getLogger("warpquant")


@functools.cache
def status(backend: str) -> dict[str, Any]:
    """What a device module reports; it is loaded on the first call, never at import."""
    try:
        module = importlib.import_module(f"warpquant._{backend}")
    except ModuleNotFoundError:
        return {
            "built": False,
            "devices": [],
            "reason": "not_built",
            "message": f"this installation was built without {'CUDA' if backend == 'cuda' else backend}",
        }
    _core.set_backend(backend, module.table())
    return {**_core.backend_status(backend), "architectures": module.architectures}


def cuda_status() -> dict[str, Any]:
    """Driver and CUDA devices."""
    return status("cuda")


def _why_not(backend: str, index: int) -> DeviceUnavailableError | None:
    """Why a device cannot run what was asked for, if so."""
    found = status(backend)
    if found["reason"]:
        return DeviceUnavailableError(
            f"device={backend!r} is not available: {found['message']}", reason=found["reason"]
        )
    devices = found["devices"]
    if index >= len(devices):
        return DeviceUnavailableError(
            f"device='{backend}:{index}' does not exist; there are {len(devices)} such devices", reason="no_such_device"
        )
    if not devices[index]["runs_kernels"]:
        return DeviceUnavailableError(
            f"device='{backend}:{index}' ({devices[index]['name']}) cannot run the kernels of this build "
            f"({found['architectures']}): {devices[index]['message']}",
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
    """
    backend, _, number = name.partition(":")
    error = _why_not(backend, int(number or 0))
    if error:
        raise error
    return backend, int(number or 0)


class Choice(NamedTuple):
    """A device, and how work gets there."""

    backend: str
    number: int
    streams: int
    batch_bytes: int


def resolve(device: str | None, *, has_kernels: bool = True) -> Choice | None:
    """The device for a call on arrays in host memory; None is the CPU.

    'auto' is the CPU: what these calls compute takes less time there than the way to a device and back.

    Raises
    ------
    ParameterError
        If `device` is no device name.
    DeviceUnavailableError
        If a device was asked for by name and cannot be used: an explicit choice never falls back.
    """
    name = config._value("device") if device is None else config._device("device", device)
    if name == "cpu":
        return None
    if name == "auto":
        if config._value("fallback") == "error" or _log.isEnabledFor(logging.INFO):
            error = _why_not("cuda", 0)
            if error and config._value("fallback") == "error":
                raise error
            if error:
                _report_fallback(error.reason, str(error))
        return None
    backend, index = usable(name)
    if not has_kernels:
        raise DeviceUnavailableError(
            f"device={name!r} is ready, but this version has no kernels for this call yet; use device='cpu'",
            reason="no_kernels",
        )
    return Choice(backend, index, config._value("streams"), config._value("batch.max_bytes"))
