# SPDX-License-Identifier: Apache-2.0
"""What this process did so far, for `warpquant.profile`: plain counts that only grow."""

from __future__ import annotations

import collections
import threading

__all__ = ["add", "snapshot", "watch"]

_lock = threading.Lock()
_counts: collections.Counter[str] = collections.Counter()

#: How many look at counts of what is done so often that counting it would show; 0: it is not counted.
watching = 0


def add(what: str, number: int = 1) -> None:
    """Count something."""
    with _lock:
        _counts[what] += number


def snapshot() -> collections.Counter[str]:
    """All counts as they stand."""
    with _lock:
        return _counts.copy()


def watch(change: int) -> None:
    """One more (1) or one less (-1) looks."""
    global watching
    with _lock:
        watching += change
