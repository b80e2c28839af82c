# SPDX-License-Identifier: Apache-2.0
"""Results that need not be made again: a cache in memory, and one on disk that processes share.

Scans of files keep their results here, so that a scan of unchanged files reads nothing but this. Computing is fast
enough without a cache: results of prices in memory are never kept.

An entry is named by a SHA-256 over everything that decides its content: this version of the package and its compiled
core, the parameters, and the fingerprint of the prices. It is a header (magic, version, time, length, checksum) with
plain arrays and a piece of JSON; nothing in it is ever executed. What does not match is no hit, and made anew.

In a process, threads that ask for the same entry at once wait for one of them to make it. Processes do not wait for
each other: two may make the same entry, and the last to finish replaces it, at once and as a whole, by the same bytes.

>>> import warpquant
>>> sorted(warpquant.cache.stats())[:3]
['directory', 'disk_bytes', 'disk_entries']
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import hashlib
import json
import logging
import math
import os
import pathlib
import re
import secrets
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, config

__all__ = ["Entry", "clear", "entry", "key", "problem", "stats", "warm"]

_log = logging.getLogger("warpquant")

_MAGIC = b"WQCACHE\n"
_VERSION = 1
#: Magic, version, time made (seconds since 1970), bytes that follow, SHA-256 over the key, the time and them.
_HEADER = struct.Struct("<8sIxxxxdQ32s")
_SHARDS = 16
_TEMPORARY = ".new-"
_STALE_SECONDS = 3600.0
#: Names of entries, and of those that are being written. Whoever names a folder of theirs loses nothing else there.
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}")
_TEMPORARY_NAME = re.compile(r"\.new-\d+-[0-9a-f]{16}")
#: A description longer than this is none of ours.
_MOST_JSON = 2**30


class Entry(NamedTuple):
    """What is kept."""

    #: Arrays of numbers by name; read-only when they come from the cache.
    arrays: Mapping[str, npt.NDArray[Any]]
    #: Everything else, as JSON can hold it.
    info: Mapping[str, Any]

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return sum(array.nbytes for array in self.arrays.values()) + len(json.dumps(self.info))


class _Damaged(Exception):
    """A file that is not what it should be, with a word for the statistics."""


_counts: collections.Counter[str] = collections.Counter()
_counts_lock = threading.Lock()


def _count(what: str, number: int = 1) -> None:
    with _counts_lock:
        _counts[what] += number


# ---------------------------------------------------------------------------------------------- keys and bytes


@functools.cache
def _build() -> str:
    """What made an entry: the version of the package, and a hash of its compiled core."""
    core = hashlib.sha256(pathlib.Path(str(_core.__file__)).read_bytes()).hexdigest()
    return f"{_VERSION}/{_core.__version__}/{core}"


def key(*parts: Any) -> str:
    """Name an entry after all that decides its content.

    Parameters
    ----------
    *parts
        Texts, numbers, and mappings and lists of them, as JSON can hold them.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> from warpquant import cache
    >>> cache.key("scan", {"La": 0.02}) == cache.key("scan", {"La": 0.03})
    False
    """
    text = json.dumps([_build(), *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _checksum(name: str, made: float, payload: Any) -> bytes:
    found = hashlib.sha256(name.encode() + struct.pack("<d", made))
    found.update(payload)
    return found.digest()


def _packed(found: Entry) -> bytes:
    about, parts = [], []
    for label, array in found.arrays.items():
        array = np.ascontiguousarray(array)
        if array.dtype.kind not in "iufb":
            raise TypeError(f"arrays[{label!r}] holds {array.dtype}, which is not kept")
        about.append([label, array.dtype.str, list(array.shape)])
        parts.append(array.tobytes())
    head = json.dumps({"arrays": about, "info": found.info}).encode()
    return b"".join([struct.pack("<Q", len(head)), head, *parts])


def _unpacked(payload: memoryview) -> Entry:
    """The same again; sizes are checked before anything is made of them."""
    if len(payload) < 8:
        raise _Damaged("truncated")
    (size,) = struct.unpack("<Q", payload[:8])
    if size > min(len(payload) - 8, _MOST_JSON):
        raise _Damaged("layout")
    try:
        head = json.loads(bytes(payload[8 : 8 + size]))
        at = 8 + size
        arrays = {}
        for label, kind, shape in head["arrays"]:
            dtype = np.dtype(kind)
            if dtype.kind not in "iufb" or any(n < 0 for n in shape):
                raise _Damaged("layout")
            stop = at + dtype.itemsize * math.prod(shape)
            if stop > len(payload):
                raise _Damaged("layout")
            array = np.frombuffer(payload[at:stop], dtype=dtype).reshape(shape).copy()  # aligned
            array.flags.writeable = False
            arrays[str(label)], at = array, stop
        return Entry(arrays, head["info"])
    except (ValueError, TypeError, KeyError) as error:
        raise _Damaged("layout") from error


# ---------------------------------------------------------------------------------------------- memory


class _Shard:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: collections.OrderedDict[str, tuple[float, int, Entry]] = collections.OrderedDict()
        self.bytes = 0

    def get(self, name: str, now: float, ttl: float | None) -> Entry | None:
        with self.lock:
            held = self.entries.get(name)
            if held is None:
                return None
            if not _fresh(held[0], now, ttl):
                self._drop(name)
                _count("expired")
                return None
            self.entries.move_to_end(name)
            return held[2]

    def put(self, name: str, made: float, found: Entry, budget: int) -> None:
        size = found.nbytes
        with self.lock:
            self._drop(name)
            if size > budget:
                return
            self.entries[name] = (made, size, found)
            self.bytes += size
            while self.bytes > budget:
                self._drop(next(iter(self.entries)))
                _count("memory_evictions")

    def _drop(self, name: str) -> None:
        held = self.entries.pop(name, None)
        if held is not None:
            self.bytes -= held[1]

    def clear(self) -> None:
        with self.lock:
            self.entries.clear()
            self.bytes = 0


_shards = [_Shard() for _ in range(_SHARDS)]


def _shard(name: str) -> _Shard:
    return _shards[int(name[0], 16) % _SHARDS]


def _fresh(made: float, now: float, ttl: float | None) -> bool:
    """Not too old; what was made in the future was made by a clock that nobody can go by."""
    return ttl is None or -_STALE_SECONDS <= now - made <= ttl


# ---------------------------------------------------------------------------------------------- disk


def _directory() -> pathlib.Path:
    named = config.get("cache.dir")
    if named is not None:
        return pathlib.Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "warpquant" / "results"


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning("the cache on disk is not used: %s", message)


def _open(make: bool) -> int:
    """The directory as a handle, through which all files are reached.

    Raises
    ------
    OSError
        If it is not there, or cannot be trusted.
    """
    path = _directory()
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        about = os.fstat(handle)
        if about.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the directory belongs to another user", str(path))
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, "others may enter the directory; chmod 700 it", str(path))
    except OSError:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _opened(make: bool) -> Iterator[int | None]:
    """The same, closed at the end; None, with one warning, if it cannot be used."""
    handle = None
    try:
        handle = _open(make)
    except OSError as error:
        if make or not isinstance(error, FileNotFoundError):
            _warn_once(str(error))
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def problem() -> str:
    """Why the directory on disk cannot be used; empty if it can, or is not there yet.

    Examples
    --------
    >>> import tempfile, warpquant
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with warpquant.config.override({"cache.dir": folder + "/mine"}):
    ...         warpquant.cache.problem()
    ''
    """
    try:
        os.close(_open(make=False))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error)
    return ""


def _read(name: str, now: float, ttl: float | None) -> tuple[float, Entry] | None:
    """An entry from disk with the time when it was made; None, counted, if there is none that can be used."""
    with _opened(make=False) as folder:
        if folder is None:
            return None
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError:  # a symbolic link, for one
            _count("mismatches")
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            return None
        try:
            made, found = _verified(file, name)
        except (_Damaged, OSError) as error:
            _count("mismatches")
            _log.debug("the entry %s of the cache cannot be used: %s", name, error)
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            return None
        finally:
            os.close(file)
        if not _fresh(made, now, ttl):
            _count("expired")
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            return None
        with contextlib.suppress(OSError):
            os.utime(name, dir_fd=folder, follow_symlinks=False)  # used last: the last to go
        return made, found


def _verified(file: int, name: str) -> tuple[float, Entry]:
    about = os.fstat(file)
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
        raise _Damaged("no file of ours")
    with os.fdopen(os.dup(file), "rb") as opened:
        header = opened.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _Damaged("truncated")
        magic, version, made, length, checksum = _HEADER.unpack(header)
        if magic != _MAGIC or version != _VERSION:
            raise _Damaged("version")
        if length != about.st_size - _HEADER.size:
            raise _Damaged("length")
        payload = opened.read(length)
    if len(payload) != length or _checksum(name, made, payload) != checksum:
        raise _Damaged("checksum")
    return made, _unpacked(memoryview(payload))


def _write(name: str, made: float, payload: bytes) -> None:
    """Put an entry on disk, as a whole or not at all, and make room for it."""
    limit = config.get("cache.size")
    if _HEADER.size + len(payload) > limit:
        return
    with _opened(make=True) as folder:
        if folder is None:
            return
        temporary = f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            file = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
            )
            with os.fdopen(file, "wb") as opened:
                opened.write(_HEADER.pack(_MAGIC, _VERSION, made, len(payload), _checksum(name, made, payload)))
                opened.write(payload)
                opened.flush()
                os.fsync(file)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
            _count("stored")
        except OSError as error:  # a full disk must not stop a scan
            _count("write_errors")
            _log.warning("an entry of the cache could not be written: %s", error)
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
        _make_room(folder, limit)


def _make_room(folder: int, limit: int) -> None:
    """Remove what was used longest ago until the rest fits, and what writers that died have left."""
    entries = []
    for file in os.scandir(folder):
        with contextlib.suppress(OSError):  # another process removed it
            about = file.stat(follow_symlinks=False)
            if _TEMPORARY_NAME.fullmatch(file.name):
                if time.time() - about.st_mtime > _STALE_SECONDS:
                    os.unlink(file.name, dir_fd=folder)
            elif _ENTRY_NAME.fullmatch(file.name) and stat.S_ISREG(about.st_mode):
                entries.append((about.st_mtime_ns, about.st_size, file.name))
    total = sum(size for _, size, _ in entries)
    for _, size, name in sorted(entries):
        if total <= limit:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
            _count("disk_evictions")
        total -= size


# ---------------------------------------------------------------------------------------------- the whole


class _Flight:
    """One thread makes an entry, others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = 0


_flights: dict[str, _Flight] = {}
_flights_lock = threading.Lock()


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    with _flights_lock:
        flight = _flights.setdefault(name, _Flight())
        flight.waiting += 1
    try:
        with flight.lock:
            yield
    finally:
        with _flights_lock:
            flight.waiting -= 1
            if not flight.waiting:
                del _flights[name]


def _forget_flights() -> None:
    """In a forked child nobody is making anything."""
    global _flights_lock, _counts_lock
    _flights.clear()
    _flights_lock, _counts_lock = threading.Lock(), threading.Lock()
    for shard in _shards:
        shard.lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_flights)


def _look(name: str) -> Entry | None:
    now, ttl = time.time(), config.get("cache.ttl")
    found = _shard(name).get(name, now, ttl)
    if found is not None:
        _count("memory_hits")
        return found
    read = _read(name, now, ttl)
    if read is None:
        return None
    _count("disk_hits")
    _shard(name).put(name, *read, config.get("cache.memory") // _SHARDS)
    return read[1]


def entry(name: str, make: Callable[[], Entry | None]) -> Entry | None:
    """Give the entry of that name, made if it is not there.

    Parameters
    ----------
    name : str
        From `key`.
    make : callable
        Makes it; called once, however many threads ask. What it raises is raised, and None is given, but not kept.

    Returns
    -------
    Entry or None
        The entry.

    Examples
    --------
    >>> import numpy as np, tempfile, warpquant
    >>> from warpquant import cache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with warpquant.config.override({"cache.dir": folder + "/mine"}):
    ...         for _ in range(2):
    ...             found = cache.entry(cache.key("squares", 4), lambda: print("made") or
    ...                                 cache.Entry({"squares": np.arange(4) ** 2}, {}))
    made
    >>> found.arrays["squares"]
    array([0, 1, 4, 9])
    """
    if not config.get("cache.enabled"):
        return make()
    found = _look(name)
    if found is not None:
        return found
    with _alone(name):
        found = _look(name)  # somebody may have made it meanwhile
        if found is not None:
            return found
        _count("misses")
        made = make()
        if made is not None:
            when = time.time()
            _shard(name).put(name, when, made, config.get("cache.memory") // _SHARDS)
            _write(name, when, _packed(made))
        return made


def stats() -> dict[str, Any]:
    """What the cache holds, and what this process got from it.

    Returns
    -------
    dict
        ``enabled`` and ``directory`` as set; ``disk_entries`` and ``disk_bytes`` there, ``memory_entries`` and
        ``memory_bytes`` in this process; and how often in this process: ``memory_hits``, ``disk_hits``, ``misses``,
        ``mismatches`` (files that were not what they should be), ``expired``, ``stored``, ``write_errors``,
        ``memory_evictions`` and ``disk_evictions``.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.cache.stats()["misses"] >= 0
    True
    """
    sizes = []
    with _opened(make=False) as folder:
        if folder is not None:
            for file in os.scandir(folder):
                with contextlib.suppress(OSError):
                    about = file.stat(follow_symlinks=False)
                    if _ENTRY_NAME.fullmatch(file.name) and stat.S_ISREG(about.st_mode):
                        sizes.append(about.st_size)
    counted = (
        "memory_hits", "disk_hits", "misses", "mismatches", "expired", "stored", "write_errors", "memory_evictions",
        "disk_evictions",
    )  # fmt: skip
    with _counts_lock:
        counts = {name: _counts[name] for name in counted}
    return {
        "enabled": config.get("cache.enabled"),
        "directory": str(_directory()),
        "disk_entries": len(sizes),
        "disk_bytes": sum(sizes),
        "memory_entries": sum(len(shard.entries) for shard in _shards),
        "memory_bytes": sum(shard.bytes for shard in _shards),
        **counts,
    }


def clear() -> int:
    """Remove everything, from disk and from the memory of this process.

    Returns
    -------
    int
        Files removed.

    Examples
    --------
    >>> import tempfile, warpquant
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with warpquant.config.override({"cache.dir": folder + "/mine"}):
    ...         warpquant.cache.clear()
    0
    """
    for shard in _shards:
        shard.clear()
    removed = 0
    with _opened(make=False) as folder:
        if folder is not None:
            for file in list(os.scandir(folder)):
                ours = _ENTRY_NAME.fullmatch(file.name) or _TEMPORARY_NAME.fullmatch(file.name)
                with contextlib.suppress(OSError):
                    if ours and not file.is_dir(follow_symlinks=False):
                        os.unlink(file.name, dir_fd=folder)
                        removed += 1
    return removed


def warm(source: Any, config: Any = None, **options: Any) -> bool:
    """Scan files now, so that the next scan of them finds its result here.

    Parameters
    ----------
    source
        As in `warpquant.scan_all_symbols`.
    config : ATCConfig, Params or mapping, optional
        Parameters of the scan to come.
    **options
        Other arguments of `warpquant.scan_all_symbols` that change its rows: `min_bars`, `symbol_col`, ...

    Returns
    -------
    bool
        Whether the result is in the cache now; results of prices that are in memory already are not kept.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.cache.warm(warpquant.data.sp500_20())
    False
    """
    from .scanner import warm as scan_and_keep

    return scan_and_keep(source, config, **options)
