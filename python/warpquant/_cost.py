# SPDX-License-Identifier: Apache-2.0
"""Where a call on arrays in host memory takes less time, as predicted from a few rates.

The time on the CPU is a start and so much per point and thread; on a device it is a start, the way there, the work, and
the way back. Work on a device goes as fast as series fill it: rate(n) = peak * min(1, n / n_full). The rates that come
with the package are rough; ``warpquant tune`` measures those of this machine. A decision is a pure function of sizes
and rates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

__all__ = ["FEW", "HYSTERESIS", "Rates", "Work", "device_is_faster", "load", "path", "save"]

#: A device must be so much faster: the data is on the host, and predictions are rough.
HYSTERESIS = 1.2
#: Fewer points than this are not worth a thought: predicting takes as long as computing them.
FEW = 10_000


@dataclasses.dataclass(frozen=True)
class Work:
    """What a call has to do."""

    op: str  # "average", "equity", "atc" or "signals"
    series: int
    points: int  # of all series
    inputs: int = 1  # values read per point
    outputs: int = 1  # values written per point

    @property
    def bytes_in(self) -> int:
        """Way to a device, taking every value for float64."""
        return 8 * self.points * self.inputs

    @property
    def bytes_out(self) -> int:
        """Way back."""
        return 8 * self.points * self.outputs


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates of a machine, in seconds, bytes and points."""

    cpu_start: float = 5e-6
    cpu_point: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"average": 0.6e-9, "equity": 1.5e-9, "atc": 25e-9, "signals": 3e-9}
    )
    device_start: float = 200e-6
    device_point: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"average": 0.01e-9, "equity": 0.02e-9, "atc": 0.5e-9, "signals": 0.02e-9}
    )
    device_full: int = 10_000  # series that fill a device
    bytes_per_second: float = 8e9  # pageable memory to a device, or back

    def on_cpu(self, work: Work, threads: int) -> float:
        """Seconds on the CPU."""
        return self.cpu_start + work.points * work.outputs * self.cpu_point[work.op] / max(threads, 1)

    def on_device(self, work: Work) -> float:
        """Seconds on a device, the ways there and back included."""
        filled = min(1.0, max(work.series, 1) / self.device_full)
        copies = (work.bytes_in + work.bytes_out) / self.bytes_per_second
        return self.device_start + copies + work.points * work.outputs * self.device_point[work.op] / filled


def device_is_faster(rates: Rates, work: Work, threads: int) -> bool:
    """Whether the prediction for a device is clearly the lower one."""
    return rates.on_device(work) * HYSTERESIS < rates.on_cpu(work, threads)


# ---------------------------------------------------------------------------------------------- measured rates


def path() -> pathlib.Path:
    """Where `warpquant tune` writes the rates of this machine."""
    base = os.environ.get("WQ_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "warpquant"
    )
    machine = hashlib.sha256(f"{platform.machine()} {platform.processor()} {platform.node()}".encode()).hexdigest()
    return pathlib.Path(base) / f"rates-{machine[:16]}.json"


def save(rates: Rates, about: Mapping[str, Any]) -> pathlib.Path:
    """Write rates for later processes."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    partly = target.with_suffix(f".{os.getpid()}.tmp")
    partly.write_text(json.dumps({**about, "rates": dataclasses.asdict(rates)}, indent=1) + "\n", encoding="utf-8")
    partly.replace(target)
    return target


def load(version: str) -> Rates:
    """The rates that were measured here with this version; else those that come with the package."""
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        known = {f.name: document["rates"][f.name] for f in dataclasses.fields(Rates)}
        return Rates(**known) if document["version"] == version else Rates()
    except (OSError, ValueError, KeyError, TypeError):
        return Rates()  # none yet, or not of this version
