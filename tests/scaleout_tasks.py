# SPDX-License-Identifier: Apache-2.0
"""Functions that workers of test_scaleout.py import."""

from __future__ import annotations

import os
import pathlib
import time
import uuid

from warpquant import atc, config
from warpquant.errors import DeviceUnavailableError

OUTPUTS = ("average", "trend")


class Unhappy(Exception):
    """What a batch of number 2 raises."""


def atc_of(batch):
    return atc.run(batch, outputs=OUTPUTS)


def double(x):
    return 2 * x


def threads(_):
    """Threads that calls use, and the process."""
    return config.get("num_threads"), os.getpid()


def ray_address(_):
    """The cluster that this runs in."""
    import ray

    return ray.get_runtime_context().gcs_address


def dask_address(_):
    """The scheduler that this worker belongs to."""
    import distributed

    return distributed.get_worker().scheduler.address


def unhappy(x):
    if x == 2:
        raise Unhappy(f"of {x}")
    return x


def unavailable(_):
    raise DeviceUnavailableError("none here", reason="no_device")


def record(folder, name):
    """Leave a file for this computation; gives how many there are of that name."""
    (folder / f"{name}.{uuid.uuid4().hex}").write_text(str(os.getpid()), encoding="utf-8")
    return len(list(folder.glob(f"{name}.*")))


def computations(folder):
    """Number of computations by name."""
    names = [path.name.partition(".")[0] for path in folder.iterdir()]
    return {name: names.count(name) for name in sorted(names)}


class Waiting:
    """ATC that records what it computes; the victim waits, the first time, to be killed."""

    def __init__(self, folder, victim, deaths=1):
        self.folder, self.victim, self.deaths = pathlib.Path(folder), victim, deaths

    def wait(self, name):
        if record(self.folder, name) <= self.deaths and name == self.victim:
            time.sleep(60)


class Numbered(Waiting):
    def __call__(self, batch):
        number, panel = batch
        self.wait(f"batch{number}")
        return number, atc_of(panel)


class Named(Waiting):
    """Of a mapping of symbols, named by the first."""

    def __call__(self, panel):
        self.wait(next(iter(panel)))
        return atc.run(panel, outputs=OUTPUTS, last_only=True)


def picky(panel):
    """A function of the user's that does not like some symbols."""
    if "S3" in panel:
        raise KeyError("no S3 today")
    return {"last": {name: x[-1] for name, x in panel.items()}}
