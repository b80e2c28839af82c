# SPDX-License-Identifier: Apache-2.0
"""Profiles: what they count, nested, in threads, as decorators, after errors."""

from __future__ import annotations

import logging
import mmap
import threading
import time

import numpy as np
import pytest

import warpquant
from checks import panel, walk
from warpquant import _counters
from warpquant.errors import ParameterError


def test_time_and_calls():
    with warpquant.profile("work") as report:
        warpquant.ma.sma(walk(100), 5)
        warpquant.atc.run(panel(2, 100))
        time.sleep(0.02)
    assert 0.02 <= report.seconds < 5
    assert report.calls == {"cpu": 2}
    assert report.devices == ("cpu",)
    assert (report.batches, report.symbols, report.transfer_bytes) == (0, 0, 0)
    assert "2 on cpu" in str(report)
    assert str(report).startswith("work: ")
    assert report.to_dict()["devices"] == ["cpu"]


def test_copies():
    with warpquant.profile() as report:
        warpquant.ma.sma(np.arange(100), 5)
        warpquant.ma.sma([1.0] * 10, 5)
        warpquant.ma.sma(walk(100), 5)
    assert {reason: n for reason, n in report.copies.items() if n} == {"integers": 1, "sequence": 1}


def test_batches():
    with warpquant.profile() as report:
        warpquant.scan_all_symbols({f"S{i}": walk(60, i) for i in range(25)}, batch_size=10, returns="result")
    assert (report.batches, report.symbols, report.calls) == (3, 25, {"cpu": 3})


def test_transfers():
    x = panel(50, 1000)
    try:
        warpquant.ma.sma(x, 5, device="emulator")
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(str(error))
    with warpquant.profile() as report:
        warpquant.ma.sma(x, 5, device="emulator")
    assert report.calls == {"emulator:0": 1}
    assert 2 * x.nbytes <= report.transfer_bytes < 2.1 * x.nbytes + 100_000
    with warpquant.profile() as report:
        warpquant.to_device(x, "emulator")
    assert x.nbytes <= report.transfer_bytes < 1.1 * x.nbytes + 100_000


def test_memory():
    size = 64 * 2**20
    with warpquant.profile() as report:
        block = np.ones(size // 8)
        time.sleep(0.5)  # also where there is other work
        del block
    assert 0.9 * size < report.peak_bytes < 2 * size
    with warpquant.profile() as kept:
        block = np.ones(size // 8)
    assert kept.grown_bytes > 0.9 * block.nbytes
    with warpquant.profile() as nothing:
        pass
    assert nothing.peak_bytes < size / 4


def test_a_peak_below_an_earlier_one_is_sampled():
    block = np.ones(2**24)
    del block
    with warpquant.profile() as report:
        block = np.frombuffer(mmap.mmap(-1, 2**25), np.uint8)  # never memory that was freed before
        block[:] = 1
        time.sleep(0.5)  # also where there is other work
        del block
    assert not report.peak_is_exact
    assert report.peak_bytes > 0.9 * 2**25
    assert "(sampled)" in str(report)


def test_nested_blocks():
    with warpquant.profile() as outer:
        warpquant.ma.sma(walk(100), 5)
        with warpquant.profile() as inner:
            warpquant.ma.sma(walk(100), 5)
        warpquant.ma.sma(walk(100), 5)
    assert (outer.calls, inner.calls) == ({"cpu": 3}, {"cpu": 1})
    assert outer.seconds > inner.seconds


def test_threads_inside_a_block_count():
    with warpquant.profile() as report:
        threads = [threading.Thread(target=warpquant.ma.sma, args=(walk(100), 5)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert report.calls == {"cpu": 8}


def test_blocks_in_many_threads():
    reports = []

    def work():
        for _ in range(20):
            with warpquant.profile() as report:
                warpquant.ma.sma(walk(50), 5)
            reports.append(report)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 160
    assert all(report.calls["cpu"] >= 1 and report.seconds > 0 for report in reports)
    assert _counters.watching == 0
    time.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "warpquant-memory"]


def test_as_a_decorator(caplog):
    shown = []

    @warpquant.profile(show=shown.append)
    def average(x, length=5):
        """Docs."""
        return warpquant.ma.sma(x, length)

    assert average.last is None
    for _ in range(2):
        assert len(average(walk(100), length=7)) == 100
    assert [report.calls for report in shown] == [{"cpu": 1}] * 2
    assert average.last is shown[-1]
    assert (average.__name__, average.__doc__) == ("average", "Docs.")
    assert shown[0].name.endswith("average")

    @warpquant.profile("sum")
    def recursive(n):
        return 0 if n == 0 else n + recursive(n - 1)

    with caplog.at_level(logging.INFO, "warpquant"):
        assert recursive(3) == 6
    assert caplog.text.count("sum: ") == 4


def test_an_error_ends_a_block():
    with pytest.raises(ZeroDivisionError), warpquant.profile() as report:
        1 / warpquant.ma.sma([0.0], 1)[0].item()
    assert report.calls == {"cpu": 1}
    assert report.seconds > 0
    assert _counters.watching == 0

    @warpquant.profile()
    def fails():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fails()
    assert fails.last.seconds > 0


def test_wrong_use():
    with pytest.raises(ParameterError, match=r"@warpquant\.profile\(\)"):

        @warpquant.profile
        def wrong(x):
            return x

    block = warpquant.profile()
    with block, pytest.raises(ParameterError, match="begun already"):
        block.__enter__()


def test_nothing_is_counted_without_a_block():
    before = _counters.snapshot()
    warpquant.ma.sma(walk(100), 5)
    assert _counters.snapshot() == before
