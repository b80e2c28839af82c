# SPDX-License-Identifier: Apache-2.0
"""Files that hold a state: one line that names kind and version, a checksum, and NumPy arrays with a JSON header."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from .errors import StateError

__all__ = ["Arrays", "packed", "read", "replacing", "unpacked", "write"]

Arrays = Mapping[str, npt.NDArray[Any]]
_HEADER = "header"
#: Where files that are read back at once need not wait for a disk.
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


class _Saves(Protocol):
    def save(self, path: str) -> object: ...


def write(path: str | os.PathLike[str], kind: str, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a state so that the file, whenever the machine stops, is the old one or the new one."""
    text = json.dumps(header, allow_nan=False).encode()
    body = io.BytesIO()
    np.savez(body, **{_HEADER: np.frombuffer(text, np.uint8), **arrays})  # type: ignore[arg-type]
    data = body.getbuffer()
    with replacing(path) as file:
        file.write(f"{kind}\n{hashlib.sha256(data).hexdigest()}\n".encode())
        file.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when all is written; after an exception nothing has changed."""
    place = pathlib.Path(path)
    part = place.with_name(f".{place.name}.part")  # one name: what a killed process leaves behind is written over
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Header and arrays of a file that `write` made with the same kind.

    Raises
    ------
    StateError
        If it is not such a file, of another version, cut short or altered.
    """
    data = pathlib.Path(path).read_bytes()
    found, _, rest = data.partition(b"\n")
    if found != kind.encode():
        name, _, version = kind.rpartition("/")
        if found.startswith(f"{name}/".encode()) and len(found) < len(kind) + 20:
            raise StateError(f"{path}: holds {found.decode(errors='replace')}; this version reads {name}/{version}")
        raise StateError(f"{path}: is no state file of {name}")
    digest, _, body = rest.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise StateError(f"{path}: is cut short or altered: its checksum does not fit")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StateError(f"{path}: cannot be read: {error}") from error
    return header, arrays


def packed(stream: _Saves) -> npt.NDArray[np.uint8]:
    """What an object writes by its `save`, as an array that goes into a file of ours."""
    with tempfile.TemporaryDirectory(prefix="warpquant-", dir=_IN_MEMORY) as folder:
        file = pathlib.Path(folder, "state")
        stream.save(str(file))
        return np.frombuffer(file.read_bytes(), np.uint8)


def unpacked(cls: Any, data: npt.NDArray[np.uint8], **how: Any) -> Any:
    """The object again, by its `load` with these arguments."""
    with tempfile.TemporaryDirectory(prefix="warpquant-", dir=_IN_MEMORY) as folder:
        file = pathlib.Path(folder, "state")
        file.write_bytes(data.tobytes())
        return cls.load(str(file), **how)
