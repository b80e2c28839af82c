# SPDX-License-Identifier: Apache-2.0
"""Settings, and where each comes from.

The nearest wins: the argument of a call, then `override` around it, then the environment, then the configuration file
(TOML, named by ``WQ_CONFIG`` or ``warpquant/config.toml`` in the user's configuration directory), then the default.

========================  ======================  ===============================================================
key                       environment             meaning
========================  ======================  ===============================================================
``device``                ``WQ_DEVICE``           ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
``num_threads``           ``WQ_NUM_THREADS``      CPU threads per call; unset: as many as the process may use
``simd``                  ``WQ_SIMD``             highest instruction level: ``best``, ``avx512``, ``avx2``,
                                                  ``baseline``; it lowers the choice and never changes a result
``fallback``              ``WQ_FALLBACK``         what ``auto`` does without a usable device, or without enough
                                                  memory there: ``cpu``, ``error``
``device.timeout``        ``WQ_DEVICE_TIMEOUT``   seconds that a call waits for a batch or a stream of a device;
                                                  unset: as long as it takes. In the file, the name is quoted
``streams``               ``WQ_STREAMS``          batches under way on a device at once
``batch.max_bytes``       ``WQ_BATCH_BYTES``      memory of a batch on a device, for example ``64MiB``
``batch.floor``           ``WQ_BATCH_FLOOR``      series that a batch keeps when memory is short
``memory.resource``       ``WQ_MEMORY_RESOURCE``  where a device's memory comes from: ``async_pool``, ``cuda``,
                                                  ``managed`` or ``pool``, see `warpquant.memory.use`
``memory.limit``          ``WQ_MEMORY_LIMIT``     memory that may be taken of a device: ``2GiB``, or a share of
                                                  what is free at its first use, ``80%``
``memory.zero_on_free``   ``WQ_ZERO_ON_FREE``     ``on`` clears memory of a device when it is freed
``memory.poison``         ``WQ_POISON``           ``on`` fills it with NaN when it is given and when it is freed
``memory.buffer_pool``    ``WQ_BUFFER_POOL``      memory kept for the next large result, for example ``64MiB``
``cache.enabled``         ``WQ_CACHE``            whether scans of files are kept, see `warpquant.cache`
``cache.dir``             ``WQ_CACHE_DIR``        where; unset: ``warpquant/results`` in the user's cache directory
``cache.size``            ``WQ_CACHE_SIZE``       most bytes on disk, for example ``512MiB``
``cache.memory``          ``WQ_CACHE_MEMORY``     most bytes in memory, of each process
``cache.ttl``             ``WQ_CACHE_TTL``        seconds after which a result is made anew; unset: never
``cache.fingerprint``     ``WQ_CACHE_MARK``       ``stat``: a file with the same path, size, time and inode is the
                                                  same; ``content``: its bytes are hashed
========================  ======================  ===============================================================

Settings of memory hold for the whole process; those of devices are looked up at the first use of each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import math
import operator
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import numpy as np

from . import _core
from .errors import ParameterError

__all__ = ["Setting", "get", "override", "reload", "show"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting as it stands: its value and where that comes from."""

    key: str
    value: Any
    origin: str


def _one_of(*accepted: str) -> Callable[[str, Any], str]:
    def parse(source: str, value: Any) -> str:
        if value not in accepted:
            raise ParameterError(f"{source}: {value!r} is not one of {', '.join(map(repr, accepted))}")
        return str(value)

    return parse


def _device(source: str, value: Any) -> str:
    # "emulator" stands for the simulated devices of the test suite.
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|(cuda|emulator)(:\d+)?", value):
        raise ParameterError(f"{source}: {value!r} is not a device; accepted are 'auto', 'cpu', 'cuda' and 'cuda:N'")
    return value


_MOST_THREADS = 1024
MOST_STREAMS = 64
_ACCEPTED_THREADS = f"accepted are whole numbers from 1 to {_MOST_THREADS}"


def _threads(source: str, value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        count = int(value) if isinstance(value, str) else value
    except ValueError:
        count = None
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_THREADS:
        raise ParameterError(f"{source}: {value!r} is not a number of threads; {_ACCEPTED_THREADS}")
    return count


def _count(most: int, of: str) -> Callable[[str, Any], int]:
    def parse(source: str, value: Any) -> int:
        try:
            count = int(value) if isinstance(value, str) else value
        except ValueError:
            count = None
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
            raise ParameterError(
                f"{source}: {value!r} is not a number of {of}; accepted are whole numbers from 1 to {most}"
            )
        return count

    return parse


def _flag(source: str, value: Any) -> bool:
    words = {"1": True, "on": True, "true": True, "yes": True, "": False, "0": False, "off": False, "false": False}
    words["no"] = False
    found = value if isinstance(value, bool) else words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ParameterError(f"{source}: {value!r} is not one of 'on' and 'off'")
    return found


def _limit(source: str, value: Any) -> int | str:
    """Bytes from 1, or a share such as '80%'."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*%", value.strip())) and 1 <= int(match[1]) <= 100:
        return f"{int(match[1])}%"
    try:
        size = _bytes(source, value)
    except ParameterError:
        size = 0
    if size == 0:
        raise ParameterError(
            f"{source}: {value!r} is not a limit; accepted are bytes from 1, a text such as '2GiB', and a share "
            "from '1%' to '100%'"
        )
    return size


def _seconds(source: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value) if isinstance(value, str) else value
    except ValueError:
        seconds = None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ParameterError(f"{source}: {value!r} is no time to wait; accepted are seconds above 0")
    return float(seconds)


def _folder(source: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise ParameterError(f"{source}: {value!r} is no path of a folder")
    return os.path.abspath(os.path.expanduser(os.fspath(value)))


def _bytes(source: str, value: Any) -> int:
    size = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB|)", value.strip())):
        size = int(match[1]) * {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[match[2]]
    if not 0 <= size < 2**63:
        raise ParameterError(f"{source}: {value!r} is not a size; accepted are bytes, or a text such as '64MiB'")
    return size


@dataclasses.dataclass(frozen=True)
class _Key:
    env: str
    default: Any
    parse: Callable[[str, Any], Any]


_KEYS: dict[str, _Key] = {
    "device": _Key("WQ_DEVICE", "auto", _device),
    "num_threads": _Key("WQ_NUM_THREADS", None, _threads),
    "simd": _Key("WQ_SIMD", "best", _one_of("best", "baseline", "avx2", "avx512")),
    "fallback": _Key("WQ_FALLBACK", "cpu", _one_of("cpu", "error")),
    "streams": _Key("WQ_STREAMS", 4, _count(MOST_STREAMS, "streams")),
    "batch.max_bytes": _Key("WQ_BATCH_BYTES", 64 * 2**20, _bytes),
    "batch.floor": _Key("WQ_BATCH_FLOOR", 1, _count(2**31 - 1, "series")),
    "memory.resource": _Key("WQ_MEMORY_RESOURCE", "async_pool", _one_of("async_pool", "cuda", "managed", "pool")),
    "memory.limit": _Key("WQ_MEMORY_LIMIT", "90%", _limit),
    "memory.zero_on_free": _Key("WQ_ZERO_ON_FREE", False, _flag),
    "memory.poison": _Key("WQ_POISON", False, _flag),
    "memory.buffer_pool": _Key("WQ_BUFFER_POOL", 256 * 2**20, _bytes),
    "device.timeout": _Key("WQ_DEVICE_TIMEOUT", None, _seconds),
    "cache.enabled": _Key("WQ_CACHE", True, _flag),
    "cache.dir": _Key("WQ_CACHE_DIR", None, _folder),
    "cache.size": _Key("WQ_CACHE_SIZE", 512 * 2**20, _bytes),
    "cache.memory": _Key("WQ_CACHE_MEMORY", 64 * 2**20, _bytes),
    "cache.ttl": _Key("WQ_CACHE_TTL", None, _seconds),
    "cache.fingerprint": _Key("WQ_CACHE_MARK", "stat", _one_of("stat", "content")),
}

_overrides: ContextVar[Mapping[str, Any]] = ContextVar("warpquant_config", default=MappingProxyType({}))


def _check_key(key: str, source: str) -> None:
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(map(repr, _KEYS))}"
        raise ParameterError(f"{source}: {key!r} is not a setting{hint}")


def _file() -> pathlib.Path | None:
    named = os.environ.get("WQ_CONFIG")
    if named:
        return pathlib.Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    path = pathlib.Path(base) / "warpquant" / "config.toml"
    return path if path.is_file() else None


@functools.cache
def _from_file() -> dict[str, Any]:
    path = _file()
    if path is None:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise ParameterError(
                f"{path}: reading it needs tomli on Python 3.10: pip install 'warpquant[cli]'"
            ) from None
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{path}: the configuration file cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ParameterError(f"{path}: is not valid TOML: {error}") from error
    values: dict[str, Any] = {}

    def flatten(table: Mapping[str, Any], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, Mapping):
                flatten(value, f"{prefix}{key}.")
            else:
                _check_key(prefix + key, str(path))
                values[prefix + key] = _KEYS[prefix + key].parse(f"{path}: {prefix}{key}", value)

    flatten(document, "")
    return values


@functools.cache
def _process() -> dict[str, Setting]:
    """What holds for the whole process, read once."""
    settings = {}
    values = _from_file()
    for key, entry in _KEYS.items():
        text = os.environ.get(entry.env)
        if text is not None:
            settings[key] = Setting(key, entry.parse(entry.env, text), f"environment ({entry.env})")
        elif key in values:
            settings[key] = Setting(key, values[key], f"file ({_file()})")
        else:
            settings[key] = Setting(key, entry.default, "default")
    _core.set_buffer_limit(settings["memory.buffer_pool"].value)
    return settings


def reload() -> None:
    """Read the environment and the configuration file again; both are read once, at the first need.

    Raises
    ------
    ParameterError
        If a value there is not accepted.
    """
    _from_file.cache_clear()
    _process.cache_clear()
    _process()


def _lookup(key: str) -> Setting:
    overrides = _overrides.get()
    return Setting(key, overrides[key], "override") if key in overrides else _process()[key]


def get(key: str) -> Any:
    """Value of a setting.

    Parameters
    ----------
    key : str
        A key of the table above.

    Raises
    ------
    ParameterError
        If there is no such setting, or its value in the environment or the file is not accepted.

    Examples
    --------
    >>> import warpquant
    >>> with warpquant.config.override(num_threads=2):
    ...     warpquant.config.get("num_threads")
    2
    """
    _check_key(key, "config.get")
    return _value(key)


def _value(key: str) -> Any:
    overrides = _overrides.get()
    return overrides[key] if key in overrides else _process()[key].value


def show() -> list[Setting]:
    """All settings with their values and where each comes from."""
    return [_lookup(key) for key in _KEYS]


@contextlib.contextmanager
def override(settings: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[None]:
    """Change settings inside a ``with`` block, for the current thread or task only.

    Parameters
    ----------
    settings : mapping, optional
        Settings by key, for keys with a dot.
    **more
        Settings by keyword.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> x = np.arange(6.0)
    >>> with warpquant.config.override(simd="baseline", num_threads=1):
    ...     warpquant.ma.sma(x, 3)
    array([nan, nan,  1.,  2.,  3.,  4.])
    """
    changed = dict(_overrides.get())
    for key, value in {**(settings or {}), **more}.items():
        _check_key(key, "config.override")
        if key.startswith("memory."):
            raise ParameterError(f"config.override: {key!r} holds for the whole process; set it in the file")
        changed[key] = _KEYS[key].parse(f"config.override: {key}", value)
    token = _overrides.set(changed)
    try:
        yield
    finally:
        _overrides.reset(token)


def _execution(num_threads: int | None) -> tuple[int, str]:
    """Threads (0: as many as there are) and instruction level for one call."""
    if num_threads is None:
        return _value("num_threads") or 0, _value("simd")
    try:
        count = operator.index(num_threads)
    except TypeError:
        count = 0
    if isinstance(num_threads, (bool, np.bool_)) or not 1 <= count <= _MOST_THREADS:
        raise ParameterError(f"num_threads: {num_threads!r} is out of range; {_ACCEPTED_THREADS}, or None")
    return count, _value("simd")
