# SPDX-License-Identifier: Apache-2.0
"""The jobs of benchmarks/bench_gpu.py for networks, in tiny sizes where a device or the emulator answers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

import warpquant
from warpquant.pinn import PinnModel

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"


def RUNS_ON(device):
    PinnModel.load("european").price([100.0], 100.0, 1.0, 0.2, 0.0, device=device)


@pytest.fixture
def gpu_pinn(monkeypatch):
    if not BENCHMARKS.is_dir():
        pytest.skip("no benchmarks here")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_pinn

    yield gpu_pinn
    for name in ("gpu_pinn", "common", "peers"):
        sys.modules.pop(name, None)


def test_jobs_run(gpu_pinn, device):
    if device == "cpu":
        pytest.skip("jobs of devices")
    names = []
    for job in gpu_pinn.jobs(lambda x: warpquant.to_device(x, device), smoke=True):
        assert job.points > 0
        assert job.operations > 0
        made = job.call()
        for values in made.values() if isinstance(made, dict) else made:
            assert np.isfinite(values.to_numpy()).all(), job.name
        names.append(job.name)
    assert len(names) == len(set(names)) == 14


def test_one_contract(gpu_pinn, device):
    if device == "cpu":
        pytest.skip("jobs of devices")
    prepared = gpu_pinn.one_contract(lambda x: warpquant.to_device(x, device))
    got = {name: y.to_numpy()[0] for name, y in prepared().items()}
    want = gpu_pinn.model_of("f64", gpu_pinn.WIDTHS).greeks(100.0, 105.0, 0.5, 0.25, 0.03)
    for name, y in want.items():
        assert abs(got[name] - y) <= 1e-10 * max(1.0, abs(y)), name
