# SPDX-License-Identifier: Apache-2.0
"""Memory of devices: where it comes from, what this process uses, and how much it may.

>>> import warpquant
>>> warpquant.memory.stats("cuda")["device"]["peak"]  # doctest: +SKIP
134217728

Blocks come from a resource, which `use` exchanges at any time; a block goes back to the one that it came from.

==============  ======================================================================================================
resource        memory
==============  ======================================================================================================
``async_pool``  the device's, from a pool of the driver, ordered by streams; the default
``cuda``        the device's, every block from the system and back to it: slow, exact
``managed``     pages that move between host and device
``pool``        blocks out of large chunks, which come from one of the others (`upstream`)
``external``    of somebody else's: RMM, CuPy, PyTorch
``pinned``      the host's, which copies reach directly: for batches on their way; the default there
``host``        the host's, where pinned memory is scarce: copies wait for each other
==============  ======================================================================================================
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, config
from ._devices import set_memory_limit, with_memory
from .errors import DTypeError, ParameterError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Block", "Frame", "Use", "frame", "live", "pinned_empty", "reset_peak", "set_limit", "stats", "trim", "use"]

_OF_DEVICES = ("async_pool", "cuda", "managed", "external")
_OF_THE_HOST = ("pinned", "host")


def stats(device: Any = None) -> dict[str, dict[str, float]]:
    """What this process has of a device.

    Parameters
    ----------
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.

    Returns
    -------
    dict
        Under ``device`` its own memory and under ``pinned`` memory of the host that copies go through, each with
        bytes in use (``current``), most at a time (``peak``) and ever (``total``), how many ``blocks`` are in use,
        ``allocations`` there were and ``failures``, what the resource keeps for later (``kept`` bytes in
        ``kept_blocks``) with its ``fragmentation`` (1 - largest block / all), and the ``limit``, 0 if there is none.
        Under ``short`` how often was done what is done when memory is short, in this order: kept memory went back to
        the system (``trimmed``), a stream was waited for (``waited``), Python's garbage was collected (``collected``),
        and if there still was not enough (``exhausted``), a batch was made smaller (``halved``), or the CPU did the
        work (``fell_back``).

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
    found: dict[str, dict[str, float]] = _core.memory_stats(*with_memory(device))
    return found


def reset_peak(device: Any = None) -> None:
    """Count the most memory in use from now on."""
    _core.reset_peak(*with_memory(device))


def trim(device: Any = None) -> None:
    """Give freed memory, which is kept for the next call, back to the system."""
    _core.trim(*with_memory(device))


def set_limit(limit: int | str | None, device: Any = None) -> None:
    """Limit the memory of a device that this process may take; calls make smaller batches then.

    Parameters
    ----------
    limit : int, str or None
        Bytes, a text such as ``"2GiB"``, or a share of what is free and what this process has in use, such as
        ``"80%"``; None is no limit. At first the setting ``memory.limit`` holds.
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.

    Raises
    ------
    ParameterError
        If `limit` is no size.
    DeviceUnavailableError
        If the device cannot be used.
    """
    set_memory_limit(*with_memory(device), 0 if limit is None else config._limit("limit", limit))


# ---------------------------------------------------------------------------------------------- resources


class Use:
    """What `use` gives. At the end of a ``with`` block the resource from before is used again."""

    def __init__(self, before: _core.MemoryStack) -> None:
        self._before = before

    def __enter__(self) -> None:
        """The resource is in use already."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Use the resource from before."""
        _core.restore_memory(self._before)


def use(
    resource: str = "async_pool",
    device: Any = None,
    *,
    upstream: str | None = None,
    allocate: Callable[[int, int], int | None] | None = None,
    deallocate: Callable[[int, int, int], object] | None = None,
    tracking: bool = False,
    poison: bool = False,
    zero_on_free: bool = False,
    log: str | os.PathLike[str] | None = None,
    on_failure: Callable[[int], bool] | None = None,
    fail_at: int | None = None,
    lasting: bool = False,
) -> Use:
    """Take blocks from another resource from now on, or inside a ``with`` block; for all threads.

    Parameters
    ----------
    resource : str, default 'async_pool'
        A resource of the table above. ``pinned`` and ``host`` are for batches on their way, the others for the device.
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.
    upstream : str, optional
        Where a ``pool`` takes its chunks from: by default ``async_pool``.
    allocate, deallocate : callable, optional
        For ``external``: ``allocate(bytes, stream)`` gives the address of a block on the device, aligned to 256 bytes,
        or 0 or None if there is none; ``deallocate(address, bytes, stream)`` takes it back. `stream` is the handle of
        the stream that uses the block first, and last. Called with the GIL, from any thread, until Python ends.
    tracking : bool, default False
        Know every block in use and the function that it is for (`live`); freeing what is not in use is an error.
    poison : bool, default False
        Fill blocks with NaN when they are given and when they are freed.
    zero_on_free : bool, default False
        Fill blocks with zeros when they are freed.
    log : path, optional
        Write a CSV file with a line for each block: time, event, bytes, pointer, stream, tag.
    on_failure : callable, optional
        ``on_failure(bytes)`` is called when there is no memory, before anything else is tried, and says whether it
        has made room, so that it is worth another try.
    fail_at : int, optional
        The allocation, counted from 1, that fails: for tests.
    lasting : bool, default False
        All allocations after it fail, too.

    Returns
    -------
    Use
        For a ``with`` statement, or to be ignored.

    Raises
    ------
    ParameterError
        If arguments are not accepted, or do not go together.
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> with warpquant.memory.use("pool", tracking=True):  # doctest: +SKIP
    ...     prices = warpquant.to_device(np.arange(5.0))
    ...     warpquant.memory.live()
    [Block(pointer=140229466062848, bytes=40, stream=0, tag='to_device')]
    """
    known = (*_OF_DEVICES, "pool", *_OF_THE_HOST)
    if resource not in known:
        raise ParameterError(f"resource: {resource!r} is not one of {', '.join(map(repr, known))}")
    sources = ("async_pool", "cuda", "managed", "external", "pinned", "host")
    if upstream is None:
        upstream = "async_pool"
    elif resource != "pool":
        raise ParameterError(f"upstream: goes with resource='pool', not with {resource!r}")
    if upstream not in sources:
        raise ParameterError(f"upstream: {upstream!r} is not one of {', '.join(map(repr, sources))}")
    is_external = "external" in (resource, upstream)
    for name, function in (("allocate", allocate), ("deallocate", deallocate), ("on_failure", on_failure)):
        if function is None and is_external and name != "on_failure":
            raise ParameterError(f"{name}: is missing; memory of somebody else's needs allocate and deallocate")
        if function is not None and name != "on_failure" and not is_external:
            raise ParameterError(f"{name}: goes with resource='external'")
        if function is not None and not callable(function):
            raise ParameterError(f"{name}: is a {type(function).__name__}, which cannot be called")
    if fail_at is not None and (isinstance(fail_at, bool) or not hasattr(fail_at, "__index__") or fail_at < 1):
        raise ParameterError(f"fail_at: {fail_at!r} is not the number of an allocation; accepted are numbers from 1")
    before = _core.use_memory(
        *with_memory(device),
        resource,
        upstream if resource == "pool" else "",
        allocate,
        deallocate,
        bool(tracking),
        bool(poison),
        bool(zero_on_free),
        "" if log is None else os.fspath(log),
        on_failure,
        0 if fail_at is None else operator.index(fail_at),
        bool(lasting),
    )
    return Use(before)


class Block(NamedTuple):
    """A block of a device's memory in use."""

    pointer: int
    bytes: int
    stream: int
    tag: str


def live(device: Any = None) -> list[Block]:
    """Blocks of a device's memory in use, if they are tracked.

    Parameters
    ----------
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.

    Returns
    -------
    list of Block
        With the function that each is for as its ``tag``. Those that were given before tracking began are not there.

    Raises
    ------
    ParameterError
        If they are not tracked (`use`).
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> [block.tag for block in warpquant.memory.live()]  # doctest: +SKIP
    ['to_device', 'ma.ema']
    """
    return [Block(*block) for block in _core.memory_live(*with_memory(device))]


# ---------------------------------------------------------------------------------------------- frames


class Frame:
    """Use of a device's memory since the beginning of a ``with`` block, up to its end.

    Attributes
    ----------
    current, peak, total : int
        Bytes: more in use than at the beginning, the most of that, and ever allocated.
    blocks, allocations, failures : int
        Blocks more in use, allocations, and those that failed.
    """

    current: int
    peak: int
    total: int
    blocks: int
    allocations: int
    failures: int

    def __init__(self, backend: str, number: int) -> None:
        self._place = (backend, number)
        self._number: int | None = None
        self._closed: dict[str, int] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        if self._number is not None:
            raise ParameterError("frame: has begun already; each is good for one block")
        self._number = _core.open_memory_frame(*self._place)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End; the figures stay."""
        self._closed = self._read(True)

    def _read(self, close: bool) -> dict[str, int]:
        if self._number is None:
            raise ParameterError("frame: has not begun; use it in a with statement")
        found: dict[str, int] = _core.memory_frame(*self._place, self._number, close)
        return found

    def __getattr__(self, name: str) -> int:
        if name not in Frame.__annotations__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return (self._closed or self._read(False))[name]


def frame(device: Any = None) -> Frame:
    """What a block of code uses of a device's memory. Frames may be nested.

    Parameters
    ----------
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.

    Returns
    -------
    Frame
        For a ``with`` statement. It counts what all threads do meanwhile.

    Raises
    ------
    DeviceUnavailableError
        If the device cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> with warpquant.memory.frame("cuda") as used:  # doctest: +SKIP
    ...     average = warpquant.ma.ema(prices, 28, device="cuda")
    >>> used.peak  # doctest: +SKIP
    67108864
    """
    return Frame(*with_memory(device))


# ---------------------------------------------------------------------------------------------- pinned arrays


def pinned_empty(shape: int | Sequence[int], dtype: npt.DTypeLike = np.float64, device: Any = None) -> npt.NDArray[Any]:
    """A NumPy array in memory of the host that copies reach directly. Its values are arbitrary.

    Copies there from a device, by `Array.copy_to`, do not make the caller wait.

    Parameters
    ----------
    shape : int or sequence of int
        Size of each dimension.
    dtype : data type, default float64
        Of numbers.
    device : str or Device, optional
        By default the one that the setting ``device`` names, else 'cuda'.

    Returns
    -------
    ndarray
        In C order. The memory is free when nothing refers to it any more, and copies on their way are done.

    Raises
    ------
    ShapeError, DTypeError
        If `shape` is none, or `dtype` not of numbers.
    DeviceUnavailableError
        If the device cannot be used: without one no memory is pinned.
    DeviceOutOfMemoryError
        If the system pins no more.

    Examples
    --------
    >>> import warpquant
    >>> target = warpquant.memory.pinned_empty((1000, 2000))  # doctest: +SKIP
    >>> average.copy_to(target)  # doctest: +SKIP
    >>> average.wait()  # doctest: +SKIP
    """
    sizes = [operator.index(shape)] if hasattr(shape, "__index__") else [operator.index(n) for n in shape]
    kind = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise DTypeError(f"dtype: {kind} is not of numbers")
    array: npt.NDArray[Any] = _core.pinned_empty(*with_memory(device), sizes, kind)
    return array
