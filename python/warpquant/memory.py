# SPDX-License-Identifier: Apache-2.0
"""Memory of devices: what this process uses, and how much it may.

>>> import warpquant
>>> warpquant.memory.stats("cuda")["device"]["peak"]  # doctest: +SKIP
134217728
"""

from __future__ import annotations

from . import _core, config
from ._devices import with_memory
from .errors import ParameterError

__all__ = ["reset_peak", "set_limit", "stats", "trim"]


def stats(device: str = "cuda") -> dict[str, dict[str, int]]:
    """What this process has of a device.

    Parameters
    ----------
    device : str, default 'cuda'
        A device by name.

    Returns
    -------
    dict
        Under ``device`` its own memory and under ``pinned`` memory of the host that copies reach directly, each with
        bytes in use (``current``), most at a time (``peak``) and ever (``total``), and how many ``blocks`` are in use,
        ``allocations`` there were and ``failures``.

    Raises
    ------
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.memory.stats("cuda")["device"]["current"]  # doctest: +SKIP
    0
    """
    found: dict[str, dict[str, int]] = _core.memory_stats(*with_memory(device))
    return found


def reset_peak(device: str = "cuda") -> None:
    """Count the most memory in use from now on."""
    _core.reset_peak(*with_memory(device))


def trim(device: str = "cuda") -> None:
    """Give freed memory, which is kept for the next call, back to the system."""
    _core.trim(*with_memory(device))


def set_limit(limit: int | str | None, device: str = "cuda") -> None:
    """Limit the memory of a device that this process may use; calls make smaller batches then.

    Parameters
    ----------
    limit : int, str or None
        Bytes, or a text such as ``"2GiB"``; None is no limit.
    device : str, default 'cuda'
        A device by name.

    Raises
    ------
    ParameterError
        If `limit` is no size.
    DeviceUnavailableError
        If the device cannot be used.
    """
    size = 0 if limit is None else config._bytes("limit", limit)
    if limit is not None and size == 0:
        raise ParameterError("limit: 0 leaves nothing; accepted are sizes from 1 byte, or None for no limit")
    _core.set_memory_limit(*with_memory(device), size)
