# SPDX-License-Identifier: Apache-2.0
"""What is done on a flip: a POST to an address, or a command. Each has a thread and a bounded queue of its own."""

from __future__ import annotations

import collections
import contextlib
import http.client
import logging
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

from ._checks import number, whole
from .errors import ParameterError

__all__ = ["Action", "Command", "Job", "Webhook"]

_log = logging.getLogger("warpquant")
_SHOWN = 2000


class Job(NamedTuple):
    """One flip to tell of: its number, a name of it that no other has, and its JSON."""

    seq: int
    key: str
    body: bytes


class _Failed(Exception):
    """It did not work; `again` if it may at another try."""

    def __init__(self, message: str, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class Action:
    """Something done for each flip, in order, by a thread; whoever asks for it never waits.

    Attributes
    ----------
    done, failed, dropped : int
        Jobs carried out, given up, and turned away because the queue was full.
    """

    kind = ""

    def __init__(self, *, limit: int = 1000, attempts: int = 1, backoff: float = 0.5) -> None:
        self.done = self.failed = self.dropped = 0
        self._attempts, self._backoff = whole("attempts", attempts, 1), number("backoff", backoff, 0.0)
        self._queue: queue.Queue[Job | None] = queue.Queue(whole("limit", limit, 1))
        self._ended: collections.deque[int] = collections.deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> bool:
        """Put a job into the queue; False if that is full."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"warpquant-{self.kind}", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self.dropped += 1
            _log.error("%s: the queue is full; not told of %s (%d so far)", self, job.key, self.dropped)
            return False
        return True

    def take_ended(self) -> set[int]:
        """Numbers of the jobs that ended, well or not, since the last call."""
        return {self._ended.popleft() for _ in range(len(self._ended))}

    @property
    def has_ended(self) -> bool:
        """Whether `take_ended` would give any."""
        return bool(self._ended)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.qsize()

    def close(self, seconds: float) -> int:
        """Let the jobs in the queue end for so long; gives the number of those that did not begin."""
        thread, self._thread = self._thread, None
        if thread is None:
            return 0
        until = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        self._stop.set()
        left = 0
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
                left += 1
        self._queue.put_nowait(None)
        thread.join(max(0.1, until - time.monotonic()))
        return left

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            self._try(job)
            self._ended.append(job.seq)
            self._queue.task_done()

    def _try(self, job: Job) -> None:
        for attempt in range(1, self._attempts + 1):
            try:
                self._carry_out(job)
            except _Failed as error:
                if error.again and attempt < self._attempts and not self._stop.is_set():
                    _log.info("%s: %s: %s; trying again", self, job.key, error)
                    self._stop.wait(self._backoff * 2 ** (attempt - 1))
                    continue
                self.failed += 1
                _log.error("%s: %s: %s", self, job.key, error)
            except Exception:  # whatever it is, the next flip is told of
                self.failed += 1
                _log.exception("%s: %s", self, job.key)
            else:
                self.done += 1
            return

    def _carry_out(self, job: Job) -> None:
        raise NotImplementedError


class Webhook(Action):
    """A POST of the JSON of each flip.

    A reply of 2xx ends it. Connections that fail, time-outs, 429 and 5xx are tried again, up to `attempts` times in all
    and with pauses that double; the header ``Idempotency-Key`` is the same each time. Other replies are failures, and
    redirects are: they are not followed.

    Parameters
    ----------
    url : str
        An address of http or https.
    timeout : float, default 10
        Seconds that a try waits for the server.
    attempts : int, default 4
        Most tries.
    backoff : float, default 0.5
        Seconds before the second one.
    limit : int, default 1000
        Most flips that wait; more are dropped, counted and logged.

    Raises
    ------
    ParameterError
        If the address is not one of http or https, or a number out of range.
    """

    kind = "webhook"

    def __init__(
        self, url: str, *, timeout: float = 10.0, attempts: int = 4, backoff: float = 0.5, limit: int = 1000
    ) -> None:
        super().__init__(limit=limit, attempts=attempts, backoff=backoff)
        try:
            parts = urllib.parse.urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ParameterError(f"webhook: {error}") from None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise ParameterError("webhook: is no address of http or https, or holds a password")
        self._url, self._timeout = url, number("timeout", timeout, 0.001)
        self._name = f"webhook {parts.scheme}://{host}"  # the rest of an address may be a secret
        self._opener = urllib.request.OpenerDirector()
        for handler in (  # nothing that follows redirects, and no other schemes
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def __str__(self) -> str:
        return self._name

    def _carry_out(self, job: Job) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "warpquant-watch/1",
            "Idempotency-Key": job.key,
        }
        request = urllib.request.Request(self._url, job.body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout):
                return
        except urllib.error.HTTPError as error:
            with error:
                kind = "a redirect, which is not followed" if 300 <= error.code < 400 else error.reason
                raise _Failed(f"answered {error.code}: {kind}", error.code == 429 or error.code >= 500) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"no answer: {error}", again=True) from None


class _Beginning(threading.Thread):
    """Reads what a command writes, to the end, and keeps the beginning."""

    def __init__(self, pipe: int) -> None:
        super().__init__(name="warpquant-output", daemon=True)
        self.kept = b""
        self._pipe = pipe

    def run(self) -> None:
        with open(self._pipe, "rb", buffering=0) as pipe:
            while piece := pipe.read(1 << 16):
                self.kept += piece[: _SHOWN - len(self.kept)]


class Command(Action):
    """A command that is run for each flip, with its JSON on standard input.

    It runs without a shell, one at a time, never twice for a flip. Its output goes to the log; what it leaves running
    when its time is over is killed.

    Parameters
    ----------
    command : str
        Program and arguments, split as a shell would.
    timeout : float, default 60
        Seconds that it may take.
    limit : int, default 1000
        Most flips that wait; more are dropped, counted and logged.

    Raises
    ------
    ParameterError
        If the program is not found, or a number out of range.
    """

    kind = "command"

    def __init__(self, command: str, *, timeout: float = 60.0, limit: int = 1000) -> None:
        super().__init__(limit=limit)
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise ParameterError(f"on_flip: {command!r}: {error}") from None
        if not self._arguments or shutil.which(self._arguments[0]) is None:
            raise ParameterError(f"on_flip: {command!r}: the program was not found")
        self._timeout = number("timeout", timeout, 0.001)

    def __str__(self) -> str:
        return f"command {self._arguments[0]}"

    def _carry_out(self, job: Job) -> None:
        until = time.monotonic() + self._timeout
        ours, theirs = os.pipe()
        output = _Beginning(ours)
        try:
            process = subprocess.Popen(
                self._arguments, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is not meant for it, and its children can be ended with it
            )  # fmt: skip
        except OSError as error:
            raise _Failed(f"could not be started: {error}") from None
        finally:
            os.close(theirs)
            output.start()
        with process:
            try:
                process.communicate(job.body, timeout=self._timeout)
                output.join(max(0.0, until - time.monotonic()))
                is_late = output.is_alive()  # what it has left running may still write
            except subprocess.TimeoutExpired:
                is_late = True
            if is_late:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise _Failed(f"took longer than {self._timeout:g} s and was ended")
        text = output.kept.decode(errors="replace").strip()
        if text:
            _log.info("%s: %s: %s", self, job.key, text)
        if process.returncode:
            raise _Failed(f"ended with {process.returncode}" + (f": {text}" if text else ""))
