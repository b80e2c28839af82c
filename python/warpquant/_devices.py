# SPDX-License-Identifier: Apache-2.0
"""Which device a call runs on."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any

from . import _core, config
from .errors import DeviceUnavailableError

_log = logging.getLogger("warpquant")


@functools.cache
def cuda_status() -> dict[str, Any]:
    """What the CUDA module reports; the module is loaded on the first call, never at import."""
    try:
        module = importlib.import_module("warpquant._cuda")
    except ModuleNotFoundError:
        return {
            "built": False,
            "devices": [],
            "reason": "not_built",
            "message": "this installation was built without CUDA",
        }
    _core.set_cuda_table(module.table())
    status: dict[str, Any] = _core.cuda_status()
    status["architectures"] = module.architectures
    return status


def _why_not(index: int) -> DeviceUnavailableError:
    """Why a CUDA device cannot run what was asked for."""
    status = cuda_status()
    if status["reason"]:
        return DeviceUnavailableError(f"device='cuda' is not available: {status['message']}", reason=status["reason"])
    devices = status["devices"]
    if index >= len(devices):
        return DeviceUnavailableError(
            f"device='cuda:{index}' does not exist; there are {len(devices)} CUDA devices", reason="no_such_device"
        )
    if not devices[index]["runs_kernels"]:
        return DeviceUnavailableError(
            f"device='cuda:{index}' ({devices[index]['name']}) cannot run the kernels of this build "
            f"({status['architectures']}): {devices[index]['message']}",
            reason="arch_missing",
        )
    return DeviceUnavailableError(
        f"device='cuda:{index}' is ready, but this version has no kernels for CUDA yet; use device='cpu'",
        reason="no_kernels",
    )


@functools.cache
def _report_fallback(reason: str, message: str) -> None:
    _log.info("device='auto' runs on the CPU (%s): %s", reason, message)


def resolve(device: str | None) -> str:
    """The device for a call, which is the CPU in this version.

    Raises
    ------
    ParameterError
        If `device` is no device name.
    DeviceUnavailableError
        If CUDA was asked for by name: an explicit choice never falls back.
    """
    name = config._value("device") if device is None else config._device("device", device)
    if name.startswith("cuda"):
        raise _why_not(int(name.partition(":")[2] or 0))
    if name == "auto":
        if config._value("fallback") == "error":
            raise _why_not(0)
        if _log.isEnabledFor(logging.INFO):
            error = _why_not(0)
            _report_fallback(error.reason, str(error))
    return "cpu"
