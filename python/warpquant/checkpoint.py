# SPDX-License-Identifier: Apache-2.0
"""A file that a scan writes as it goes, so that it can go on after it was killed.

One line for each batch, behind a line that says what is scanned and how. A line begins with the CRC-32 of the rest; it
is on disk before the next batch is taken. A last line that was torn by a crash is dropped; damage elsewhere is an
error.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import re
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import ParameterError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SCHEMA", "Checkpoint"]

#: Name and version of the format; the number grows when a field changes its meaning or goes.
SCHEMA = "warpquant.checkpoint/1"


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line that is whole; None if it is not."""
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
        return None
    document = json.loads(text)
    return document if isinstance(document, dict) else None


class Checkpoint:
    """Batches that are done, on disk.

    Parameters
    ----------
    path : path
        The file. It is locked while it is open: two scans cannot share it.
    about : mapping
        What is scanned and how, by name; a file about something else is refused.
    resume : bool
        Whether to go on with a file that exists. Without it such a file is an error, so that none is lost.

    Raises
    ------
    ParameterError
        If the file exists and is not to be resumed, is about something else, is damaged, is no checkpoint, or is in
        use.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from warpquant.checkpoint import Checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scan.jsonl")
    ...     with Checkpoint(path, {"La": 0.02}, resume=False) as checkpoint:
    ...         checkpoint.add({"symbols": ["A"]})
    ...     with Checkpoint(path, {"La": 0.02}, resume=True) as checkpoint:
    ...         checkpoint.records
    [{'symbols': ['A']}]
    """

    def __init__(self, path: str | os.PathLike[str], about: Mapping[str, Any], *, resume: bool) -> None:
        self.path = pathlib.Path(path)
        self.records: list[dict[str, Any]] = []
        header = {"schema": SCHEMA, **json.loads(json.dumps(about))}
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ParameterError(f"checkpoint: {self.path}: cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ParameterError(f"checkpoint: {self.path}: another scan is writing it") from None
            self._open(header, resume)
        except BaseException:
            os.close(self._file)
            raise

    def _open(self, header: dict[str, Any], resume: bool) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            whole, lines = 0, []
            for number, line in enumerate(file):
                document = _parsed(line)
                if document is None:
                    if file.read(1):
                        raise ParameterError(f"checkpoint: {self.path}: line {number + 1} is damaged")
                    break  # what was being written when the scan ended
                lines.append(document)
                whole += len(line)
            size = os.fstat(self._file).st_size
        if not lines:
            # A header is written at once; a longer line is something else that somebody may want to keep.
            if size and not self._is_torn_header(header):
                raise ParameterError(f"checkpoint: {self.path}: is no checkpoint")
            os.ftruncate(self._file, 0)
            self._append(_line(header), 0)
            self._sync_folder()
            return
        _compare(self.path, lines[0], header)
        if not resume:
            raise ParameterError(
                f"checkpoint: {self.path}: exists; give --resume (resume=True) to go on with it, or remove it"
            )
        os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)
        self.records = lines[1:]

    def _is_torn_header(self, header: dict[str, Any]) -> bool:
        start, whole = os.pread(self._file, os.fstat(self._file).st_size, 0), _line(header)
        if len(start) < 10:  # too short to tell what it is, but for the very line that would be written
            return whole.startswith(start)
        of_a_header = re.fullmatch(rb"[0-9a-f]{8} ", start[:9]) and start[9:40] == whole[9:40][: len(start[9:40])]
        return b"\n" not in start and bool(of_a_header)

    def _append(self, line: bytes, at: int | None = None) -> None:
        if at is not None:
            os.lseek(self._file, at, os.SEEK_SET)
        while line:
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def add(self, record: Mapping[str, Any]) -> None:
        """Put a batch on disk; when this is back, it stays there."""
        self._append(_line(record))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        """The checkpoint itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go of the file."""
        self.close()


def _compare(path: pathlib.Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if there.get("schema") != here["schema"]:
        raise ParameterError(f"checkpoint: {path}: has the schema {there.get('schema')!r}, not {here['schema']!r}")
    differing = list(_differences(there, here))
    if differing:
        raise ParameterError(f"checkpoint: {path}: belongs to another scan: {'; '.join(differing[:5])}")


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*there, *here]):
        a, b = there.get(name), here.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b)
        elif a != b:
            yield f"the {name} are others" if name in ("prices", "symbols") else f"{name} is {a!r} there and {b!r} here"
