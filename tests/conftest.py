# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: devices, instruction levels, real data."""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import hypothesis
import numpy as np
import pytest

import warpquant
from warpquant import _core

if "libtsan" in os.environ.get("LD_PRELOAD", ""):
    sys.modules["polars"] = None  # loading it ends a process under ThreadSanitizer; its tests are skipped there

# What is cached stays here, also of the processes that tests start.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="warpquant-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

hypothesis.settings.register_profile("default", deadline=None, max_examples=60)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Background jobs of a shell ignore interrupts, which some tests send to themselves."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def _missing(call, device):
    try:
        call(device)
    except warpquant.DeviceUnavailableError as error:
        return f"{error.reason}: {error}"
    return ""


@pytest.fixture(scope="module", params=["cpu", "emulator", "cuda"])
def device(request):
    """Where to compute: each device that answers, and a visible skip for each that does not.

    A module whose functions need kernels of their own says by `RUNS_ON` what to try.
    """
    reason = _missing(getattr(request.module, "RUNS_ON", _average), request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def _average(device):
    warpquant.ma.sma([1.0], 1, device=device)


@pytest.fixture(scope="session")
def simd_levels():
    """Instruction levels that this machine can run, lowest first."""
    levels = _core.build_info()["simd_levels"]
    return [level for level in levels if _core.effective_simd(level) == level]


@pytest.fixture(scope="session")
def shared():
    """Folder of shared data and designs, next to the repository or named by WQ_SHARED."""
    named = os.environ.get("WQ_SHARED")
    places = [pathlib.Path(named)] if named else [p / "shared" for p in pathlib.Path(__file__).resolve().parents]
    for place in places:
        if (place / "data").is_dir():
            return place
    pytest.skip("no shared data: set WQ_SHARED to a folder that has data/")


def _file(path):
    if not path.is_file():
        pytest.skip(f"no {path.name} in the shared folder")
    return path


@pytest.fixture(scope="session")
def eurusd(shared):
    """Hourly closes of EURUSD, 5,000 bars."""
    return np.genfromtxt(_file(shared / "data/fx/eurusd_1h_2017_2018.csv.gz"), delimiter=",", skip_header=1, usecols=4)


@pytest.fixture(scope="session")
def equities(shared):
    """Daily closes of 482 shares, 2 to 1,260 bars each, bad rows included."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = _file(shared / "data/equities/sp500_daily_2015_2020.parquet")
    table = parquet.read_table(path, columns=["symbol", "close"])
    symbols = np.asarray(table["symbol"].to_pandas(), dtype=str)
    closes = table["close"].to_numpy()
    starts = np.flatnonzero(np.r_[True, symbols[1:] != symbols[:-1]])
    return {str(symbols[i]): part for i, part in zip(starts, np.split(closes, starts[1:]), strict=True)}


@pytest.fixture(scope="session")
def universe(shared):
    """Hourly closes of 261 perpetual futures, (symbols, bars)."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(_file(shared / "data/crypto/perp_1h_close_universe_2024_2025.parquet"))
    return np.stack([table[c].to_numpy() for c in table.schema.names if c != "ts"])
