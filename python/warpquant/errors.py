# SPDX-License-Identifier: Apache-2.0
"""Exceptions. All derive from `WarpquantError`, and each also from the builtin that fits it best."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "BatchError",
    "CaptureUnsafeError",
    "DTypeError",
    "DeviceLostError",
    "DeviceOutOfMemoryError",
    "DeviceTimeoutError",
    "DeviceTransientError",
    "DeviceUnavailableError",
    "ForkedContextError",
    "InternalError",
    "KernelError",
    "LayoutError",
    "ParameterError",
    "ShapeError",
    "StateError",
    "TooSmallWarning",
    "WarpquantError",
    "WorkerLostError",
]


class WarpquantError(Exception):
    """Base of every exception that warpquant raises on purpose."""

    #: Attributes, as keywords of the constructor.
    _attributes: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception that comes from another process is made again from its text alone.
        attributes = {name: getattr(self, name) for name in self._attributes}
        return functools.partial(type(self), **attributes), self.args, self.__dict__


class ShapeError(WarpquantError, ValueError):
    """An argument has the wrong number of dimensions, or a size that does not fit the others."""


class DTypeError(WarpquantError, TypeError):
    """An argument holds values of a type that is not accepted."""


class LayoutError(WarpquantError, BufferError):
    """The memory of an argument cannot be used: read-only, overlapping, or not exported properly."""


class ParameterError(WarpquantError, ValueError):
    """A parameter is out of range or unknown; the message names it and what is accepted."""


class DeviceUnavailableError(WarpquantError, RuntimeError):
    """A device was asked for that cannot be used.

    Attributes
    ----------
    reason : str
        A stable word: ``not_built``, ``no_driver``, ``old_driver``, ``no_device``, ``no_such_device``,
        ``arch_missing``, ``no_kernels``, ``busy``, ``driver_mismatch``, ``driver_error``, ``unknown_device``.
    """

    _attributes = ("reason",)

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeviceOutOfMemoryError(WarpquantError, MemoryError):
    """The memory of a device is short, though batches were made as small as they get.

    Attributes
    ----------
    requested, free, total : int
        Bytes that were asked for, and that the device has; 0 where it does not say.
    limit : int
        Bytes that this process may take (`warpquant.memory.set_limit`); 0: as many as there are.
    live_by_tag : dict of str to int
        Bytes in use by each function, if they are tracked (`warpquant.memory.use`).
    """

    _attributes = ("requested", "free", "total", "limit", "live_by_tag")

    def __init__(
        self,
        message: str,
        *,
        requested: int = 0,
        free: int = 0,
        total: int = 0,
        limit: int = 0,
        live_by_tag: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.requested, self.free, self.total, self.limit = requested, free, total, limit
        self.live_by_tag = dict(live_by_tag or {})


class DeviceTransientError(WarpquantError, RuntimeError):
    """A device failed in a way that may be gone at the next try."""


class DeviceTimeoutError(DeviceTransientError, TimeoutError):
    """A wait for a device took longer than the setting ``device.timeout``, or the call, allows; its work goes on."""


class DeviceLostError(WarpquantError, RuntimeError):
    """A device takes no more work from this process; a new one is needed to use it again."""


class ForkedContextError(WarpquantError, RuntimeError):
    """A process that used CUDA was forked, and the child wants to use it, which CUDA cannot do."""


class KernelError(WarpquantError, RuntimeError):
    """A kernel that the device cannot start."""


class CaptureUnsafeError(WarpquantError, RuntimeError):
    """What was asked for is not possible while a stream is being captured."""


class StateError(WarpquantError, ValueError):
    """A saved state cannot be used: another kind of file, another version, cut short or altered."""


class InternalError(WarpquantError, RuntimeError):
    """Something that cannot be: please report it with the message."""


class BatchError(WarpquantError, RuntimeError):
    """A batch failed in a worker; what it raised there is the cause (``__cause__``).

    Attributes
    ----------
    batch : int
        Number of the batch, from 0.
    """

    _attributes = ("batch",)

    def __init__(self, message: str, *, batch: int) -> None:
        super().__init__(message)
        self.batch = batch


class WorkerLostError(BatchError):
    """The workers of a batch were lost, as often as it may be tried."""


class TooSmallWarning(UserWarning):
    """Tasks take so little time that handing them over to workers does not pay."""
