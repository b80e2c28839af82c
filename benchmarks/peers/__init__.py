# SPDX-License-Identifier: Apache-2.0
"""Other implementations of the averages, each used if it is installed.

A peer makes calls that compute one average: of one series, or of every row of a panel. Calls are made as the peer's
users would write them, with the output array given where the peer can take one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any, Protocol

Call = Callable[[], Any]


class Peer(Protocol):
    """One peer."""

    name: str

    def one(self, kind: str, x: Any, length: int) -> Call | None:
        """The call for one series; None if the peer has no such average."""

    def panel(self, kind: str, x: Any, length: int, threads: int) -> Call | None:
        """The call for every row of a panel; None if the peer cannot use so many threads."""


def available() -> list[Peer]:
    """The peers that can be imported here."""
    from . import libraries, loops

    return [peer for make in (*libraries.MAKERS, *loops.MAKERS) if (peer := make()) is not None]


def versions() -> dict[str, str]:
    """Versions of the distributions that the peers come from."""
    names = {
        "TA-Lib",
        "tulipy",
        "tulip-rs",
        "vector-ta",
        "kand",
        "numta",
        "numba",
        "bottleneck",
        "pandas",
        "polars",
        "vectorbt",
        "fast-vollib",
        "iv-engine",
        "QuantLib",
        "torch",
    }
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {name: version for name, version in sorted(installed.items()) if name.lower() in map(str.lower, names)}
