# SPDX-License-Identifier: Apache-2.0
"""The jobs of benchmarks/bench_gpu.py for options and surfaces, in tiny sizes where a device answers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

import warpquant
from warpquant import options, surface

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"


def RUNS_ON(device):
    options.price([100.0], 100.0, 1.0, 0.0, 0.0, 0.2, True, device=device)


@pytest.fixture
def gpu_options(monkeypatch):
    if not BENCHMARKS.is_dir():
        pytest.skip("no benchmarks here")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_options

    yield gpu_options
    for name in ("gpu_options", "common", "peers"):
        sys.modules.pop(name, None)


def test_jobs_run_or_say_why_not(gpu_options, device):
    if device == "cpu":
        pytest.skip("jobs of devices")
    there = 0
    for job in gpu_options.jobs(lambda x: warpquant.to_device(x, device), device, smoke=True):
        assert job.count > 0
        assert job.moved > 0
        reason = gpu_options.absent(job)
        if reason:
            assert "device" in reason, job.name
            continue
        there += 1
        made = job.call()
        if isinstance(made, surface.SviFit):
            made = {name: getattr(made, name) for name in ("a", "b", "rho", "m", "sigma", "rmse")}
        for name, values in made.items() if isinstance(made, dict) else {}.items():
            values = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
            assert np.isfinite(values).all(), (job.name, name)
    assert there >= 13


def test_a_mistake_is_not_absence(gpu_options):
    def wrong():
        raise TypeError("unsupported operand")

    with pytest.raises(TypeError, match="operand"):
        gpu_options.absent(gpu_options.Job("wrong", 1, "option", 8, wrong))
