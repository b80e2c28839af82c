# SPDX-License-Identifier: Apache-2.0
"""Work on devices: batches, schedules, short memory, faults. Simulated devices stand in for real ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import warpquant
from checks import same_bits
from warpquant import config, equity, errors, ma

RNG = np.random.default_rng(5)
PANEL = 100 + np.cumsum(RNG.normal(size=(50, 400)), axis=1)
SIGNAL = np.sign(RNG.normal(size=PANEL.shape))
RAGGED = {f"s{i}": PANEL[i % 50, : 7 * i] for i in range(40)}
HOLES = np.where(RNG.random(PANEL.shape) < 0.01, np.nan, PANEL)

CALLS = {
    "ema": lambda **how: ma.ema(PANEL, 14, **how),
    "several lengths": lambda **how: ma.wma(PANEL, [3, 28, 300], **how),
    "holes": lambda **how: ma.hma(HOLES, 9, **how),
    "float32": lambda **how: ma.kama(PANEL.astype(np.float32), 10, **how),
    "one series": lambda **how: ma.tema(np.ravel(PANEL), 5, **how),
    "ragged": lambda **how: np.concatenate(list(ma.lsma(RAGGED, 5, **how).values())),
    "equity": lambda **how: equity.curve(prices=PANEL, signal=SIGNAL, growth_per_bar=1e-4, cutout=3, **how),
}

# Faults of the table, and what a user sees of them.
FAULTS = {
    1: errors.DeviceOutOfMemoryError,
    2: errors.DeviceUnavailableError,
    3: errors.DeviceTransientError,
    4: errors.DeviceLostError,
    5: errors.KernelError,
    6: errors.CaptureUnsafeError,
    7: errors.InternalError,
}


@pytest.fixture
def emulator():
    """The module of the simulated devices, as they are at first, and afterwards."""
    try:
        ma.sma([1.0], 1, device="emulator")
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    from warpquant import _emulator

    _emulator.configure()
    yield _emulator
    _emulator.configure()


@pytest.fixture(params=CALLS)
def call(request):
    """A computation, as a function of where to run it."""
    return CALLS[request.param]


def nothing_left(emulator):
    counts = emulator.counts()
    return all(counts[c] == 0 for c in ("memory_used", "allocations", "pinned_used", "streams", "events", "pending"))


def test_every_order_of_threads_and_streams_gives_the_same(emulator, call):
    want = call(device="cpu")
    for seed in range(10):
        emulator.configure(schedule_seed=seed, thread_seed=seed)
        with config.override(**{"batch.max_bytes": 40_000}):
            same_bits(call(device="emulator"), want, f"seed {seed}")
    assert nothing_left(emulator)


def test_batches_do_not_change_bits(emulator, call):
    want = call(device="cpu")
    launches = []
    for size, streams in itertools.product((1, 5_000, 30_000, 2**40), (1, 2, 4)):
        emulator.configure()
        with config.override(**{"batch.max_bytes": size, "streams": streams}):
            same_bits(call(device="emulator"), want, f"{size} bytes, {streams} streams")
        launches.append(emulator.counts()["launches"])
    assert launches[0] >= launches[-1]
    assert nothing_left(emulator)


def test_streams_overlap(emulator):
    """With several streams batches are under way at the same time, so there is memory for several."""
    peaks = []
    for streams in (1, 4):
        emulator.configure()
        with config.override(**{"batch.max_bytes": 40_000, "streams": streams}):
            ma.ema(PANEL, 14, device="emulator")
        peaks.append(emulator.counts()["memory_peak"])
    assert peaks[1] > 3 * peaks[0]


def test_batches_shrink_until_they_fit(emulator, call):
    want = call(device="cpu")
    for memory in (600_000, 350_000):
        emulator.configure(memory=memory)
        same_bits(call(device="emulator"), want, f"{memory} bytes")
        assert emulator.counts()["memory_peak"] <= memory
    assert nothing_left(emulator)


def test_memory_for_not_even_one_series(emulator):
    emulator.configure(memory=1000)
    with pytest.raises(MemoryError, match=r"emulator:0, allocating memory: .* 1000 are free") as info:
        ma.ema(PANEL, 14, device="emulator")
    assert type(info.value) is errors.DeviceOutOfMemoryError
    assert nothing_left(emulator)


def test_another_device(emulator):
    same_bits(ma.ema(PANEL, 14, device="emulator:1"), ma.ema(PANEL, 14, device="cpu"))
    emulator.configure(devices=1)
    with pytest.raises(errors.DeviceUnavailableError, match="no such device"):
        ma.ema(PANEL, 14, device="emulator:1")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("lasting", [False, True])
def test_every_call_of_the_table_may_fail(emulator, call, fault, lasting):
    """Each call in turn: the documented exception, or the right result where another try helped; nothing is left."""
    want = call(device="cpu")
    with config.override(**{"batch.max_bytes": 60_000}):
        emulator.configure()
        call(device="emulator")
        calls = emulator.counts()["calls"]
        assert calls > 10
        raised = 0
        for number in [*range(1, min(calls, 25)), *range(25, calls, max(calls // 15, 1)), calls]:
            emulator.configure(fail_at=number, failure=fault, lasting=lasting)
            try:
                same_bits(call(device="emulator"), want, f"call {number} failed")
            except FAULTS[fault]:
                raised += 1
            counts = emulator.counts()
            left = sum(counts[c] > 0 for c in ("memory_used", "pinned_used")) + counts["streams"] + counts["events"]
            # What a call should have given back, and could not, is all that may be left.
            assert lasting or left <= 1, (number, counts)
        assert raised > 0
    emulator.configure()
    same_bits(call(device="emulator"), want, "after all faults")


def test_calls_from_many_threads(emulator, call):
    import concurrent.futures

    want = call(device="cpu")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: call(device="emulator"), range(24)):
            same_bits(got, want)
    assert nothing_left(emulator)


@pytest.mark.slow
def test_nothing_piles_up(emulator):
    for _ in range(1000):
        ma.ema(PANEL[:2, :40], 5, device="emulator")
    assert nothing_left(emulator)
