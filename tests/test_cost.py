# SPDX-License-Identifier: Apache-2.0
"""Where a call runs under device="auto"."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import warpquant
from warpquant import _cost, _devices, config, ma
from warpquant._cost import Rates, Work

OPS = ("average", "equity", "atc", "signals")
SIZES = st.integers(1, 100_000)


@pytest.mark.parametrize(
    ("op", "series", "bars", "threads", "device"),
    [
        ("average", 1, 1000, 1, False),
        ("average", 10_000, 10_000, 16, False),  # the way there and back takes longer
        ("atc", 1, 1000, 1, False),
        ("atc", 1, 1_000_000, 2, False),  # one series does not fill a device
        ("atc", 100, 2000, 2, False),
        ("atc", 10_000, 2000, 1, True),
        ("atc", 10_000, 2000, 2, True),
        ("atc", 10_000, 2000, 64, False),
    ],
)
def test_decisions(op, series, bars, threads, device):
    assert _cost.device_is_faster(Rates(), Work(op, series, series * bars), threads) == device


@given(st.sampled_from(OPS), SIZES, SIZES, st.integers(1, 64), st.integers(1, 50))
def test_more_work_takes_longer(op, series, bars, threads, more):
    small, long = Work(op, series, series * bars), Work(op, series, series * bars * more)
    assert Rates().on_cpu(small, threads) <= Rates().on_cpu(long, threads)
    assert Rates().on_device(small) <= Rates().on_device(long)
    assert Rates().on_cpu(small, threads + 1) <= Rates().on_cpu(small, threads)
    # What is worth the way at one size is at every greater one.
    if _cost.device_is_faster(Rates(), small, threads):
        assert _cost.device_is_faster(Rates(), long, threads)


def test_auto_takes_the_prediction(monkeypatch):
    asked = []
    monkeypatch.setattr(_devices, "_why_not", lambda *place: asked.append(place))
    small, large = Work("atc", 5, 5000), Work("atc", 50_000, 10**8)
    assert _devices.resolve("auto", work=lambda: small, num_threads=1) is None
    assert asked == []  # no driver is loaded for what the CPU does anyway
    choice = _devices.resolve("auto", work=lambda: large, num_threads=1)
    assert choice[:6] == ("cuda", 0, 4, 64 * 2**20, 1, True)
    assert _devices.resolve("cpu", work=lambda: large, num_threads=1) is None


def test_auto_falls_back(monkeypatch, caplog):
    error = warpquant.DeviceUnavailableError("there is none", reason="no_device")
    monkeypatch.setattr(_devices, "_why_not", lambda *place: error)
    _devices._log_fallback.cache_clear()
    before = warpquant.doctor()["fallbacks"].get("no_device", 0)
    large = Work("atc", 50_000, 10**8)
    with caplog.at_level("INFO", logger="warpquant"):
        for _ in range(3):
            assert _devices.resolve("auto", work=lambda: large, num_threads=1) is None
    assert len(caplog.records) == 1
    assert warpquant.doctor()["fallbacks"]["no_device"] == before + 3
    with config.override(fallback="error"), pytest.raises(warpquant.DeviceUnavailableError):
        _devices.resolve("auto", work=lambda: large, num_threads=1)


@pytest.mark.parametrize(
    ("x", "series", "points"),
    [
        (np.zeros(20_000), 1, 20_000),
        (np.zeros((3, 7000)), 3, 21_000),
        ({"a": np.zeros(3), "b": np.zeros(5)}, 2, 8),
    ],
)
def test_what_a_call_has_to_do(monkeypatch, x, series, points):
    seen = []
    monkeypatch.setattr(_cost, "device_is_faster", lambda rates, work, threads: seen.append(work))
    ma.ema(x, [2, 3], device="auto")
    assert seen == [Work("average", series, points, 1, 2)]
    ma.ema(np.zeros(100), [2, 3], device="auto")  # not worth a prediction
    assert len(seen) == 1


def test_tune(monkeypatch, tmp_path, device):
    from warpquant.tune import tune

    monkeypatch.setenv("WQ_CACHE_DIR", str(tmp_path))
    rates, about, path = tune("cuda" if device == "cpu" else device, series=40, bars=100)
    assert about == device or about.startswith("not measured: device='cuda:0' is not available")
    before = path.read_bytes()
    monkeypatch.setattr("warpquant.bench.prices", None)  # nothing is measured
    for wrong in ("banana", "cpu", "auto"):
        with pytest.raises(warpquant.ParameterError, match=f"device: '{wrong}' .*; accepted are .*'cuda' and 'cuda:N'"):
            tune(wrong)
    assert path.read_bytes() == before
    assert path.parent == tmp_path
    assert all(v > 0 for v in (rates.cpu_start, rates.device_start, rates.bytes_per_second))
    assert rates.cpu_point.keys() == rates.device_point.keys() == set(OPS)
    assert all(v > 0 for v in (*rates.cpu_point.values(), *rates.device_point.values()))
    assert _cost.load(warpquant.__version__) == rates
    assert _cost.load("another version") == Rates()
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "rates": {}}))
    assert _cost.load(warpquant.__version__) == Rates()
    path.write_text("{")
    assert _cost.load(warpquant.__version__) == Rates()
    _devices._rates.cache_clear()
