# SPDX-License-Identifier: Apache-2.0
"""Work on devices: batches, schedules, short memory, faults. Simulated devices stand in for real ones."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import warpquant
from checks import same_bits
from warpquant import atc, config, equity, errors, ma, memory

#: How many times as long the tests of orders, schedules and leaks take: `make soak`.
SOAK = int(os.environ.get("WQ_SOAK", "1"))

RNG = np.random.default_rng(5)
PANEL = 100 + np.cumsum(RNG.normal(size=(50, 400)), axis=1)
SIGNAL = np.sign(RNG.normal(size=PANEL.shape))
RAGGED = {f"s{i}": PANEL[i % 50, : 7 * i] for i in range(40)}
SETS = [{}, {"De": 1.0}, {"ema_len": 9, "nan_policy": "skip"}]
HOLES = np.where(RNG.random(PANEL.shape) < 0.01, np.nan, PANEL)

CALLS = {
    "ema": lambda **how: ma.ema(PANEL, 14, **how),
    "several lengths": lambda **how: ma.wma(PANEL, [3, 28, 300], **how),
    "holes": lambda **how: ma.hma(HOLES, 9, **how),
    "float32": lambda **how: ma.kama(PANEL.astype(np.float32), 10, **how),
    "one series": lambda **how: ma.tema(np.ravel(PANEL), 5, **how),
    "ragged": lambda **how: np.concatenate(list(ma.lsma(RAGGED, 5, **how).values())),
    "atc": lambda **how: np.stack([*atc.run(PANEL[:20, :120], outputs="all", **how).values()]),
    "atc, holes": lambda **how: atc.run(HOLES[:12, :200], outputs="average", **how)["average"],
    "atc, sets": lambda **how: np.stack([r["average"] for r in atc.run(PANEL[:12, :120], SETS, **how)]),
    "atc, sets, holes": lambda **how: np.stack(
        [r["kama_s"] for r in atc.run(HOLES[:5], SETS, outputs="kama_s", **how)]
    ),
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


def simulated(x):
    return warpquant.to_device(x, "emulator")


def nothing_left(emulator):
    memory.trim("emulator")
    counts = emulator.counts()
    return all(counts[c] == 0 for c in ("memory_used", "allocations", "pinned_used", "streams", "events", "pending"))


def test_every_order_of_threads_and_streams_gives_the_same(emulator, call):
    want = call(device="cpu")
    for seed in range(10 * SOAK):
        emulator.configure(schedule_seed=seed, thread_seed=seed)
        with config.override(**{"batch.max_bytes": 40_000}):
            same_bits(call(device="emulator"), want, f"seed {seed}")
    assert nothing_left(emulator)


#: (series, bars) around the sizes of warps, tiles, rows in shared memory, blocks of bars and groups of symbols.
SHAPES = (
    (1, 1), (1, 2), (31, 7), (32, 8), (33, 31), (1, 32), (2, 33), (64, 63), (65, 64), (3, 65), (5, 127), (7, 128),
    (8, 129), (9, 263), (1, 264), (2, 265), (16, 300), (17, 40), (1, 527), (3, 528), (1, 3000),
)  # fmt: skip
LONG = 100 + np.cumsum(RNG.normal(size=3000))


def results(what, x, device):
    if what == "atc":
        return np.stack([*atc.run(x, outputs="all", device=device).values()])
    if what == "equity":
        return equity.curve(prices=x, signal=np.sign(x - x.mean()), device=device)
    return getattr(ma, what)(x, [1, 9, 28], device=device)


@pytest.mark.parametrize("what", [*ma.kinds(), "equity", "atc"])
def test_awkward_shapes_in_ten_orders_of_threads(emulator, what):
    for series, bars in SHAPES:
        if what == "atc" and bars > 300:
            continue  # takes long, and has no size of its own there
        x = np.lib.stride_tricks.sliding_window_view(LONG, bars)[:series] if bars < len(LONG) else LONG[None]
        want = results(what, x, "cpu")
        for seed in range(10 * SOAK):
            emulator.configure(thread_seed=seed)
            same_bits(results(what, x, "emulator"), want, f"{series} x {bars}, order {seed}")


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
    for size in (600_000, 350_000):
        emulator.configure(memory=size)
        same_bits(call(device="emulator"), want, f"{size} bytes")
        assert emulator.counts()["memory_peak"] <= size
    assert nothing_left(emulator)


def test_memory_for_not_even_one_series(emulator):
    emulator.configure(memory=1000)
    with pytest.raises(MemoryError, match=r"emulator:0, allocating \d+ bytes: 1000 are free") as info:
        ma.ema(PANEL, 14, device="emulator")
    assert type(info.value) is errors.DeviceOutOfMemoryError
    assert nothing_left(emulator)


def test_what_memory_was_used(emulator):
    memory.trim("emulator")
    memory.reset_peak("emulator")
    before = memory.stats("emulator")
    array = simulated(PANEL)
    ma.ema(PANEL, 14, device="emulator")
    now = memory.stats("emulator")
    for place in ("device", "pinned"):
        assert now[place]["allocations"] > before[place]["allocations"]
        assert now[place]["total"] > before[place]["total"]
        assert now[place]["peak"] >= PANEL.nbytes
    assert now["device"]["current"] - before["device"]["current"] == PANEL.nbytes
    assert now["device"]["blocks"] - before["device"]["blocks"] == 1
    del array
    assert memory.stats("emulator")["device"]["current"] == before["device"]["current"]
    for device in ("cpu", "auto"):
        with pytest.raises(errors.ParameterError, match="memory of its own"):
            memory.stats(device)


def test_pinned_memory_is_used_again(emulator):
    memory.trim("emulator")
    ma.ema(PANEL, 14, device="emulator")
    kept = emulator.counts()["pinned_used"]
    assert kept > 0
    ma.ema(PANEL, 14, device="emulator")
    assert emulator.counts()["pinned_used"] == kept
    memory.trim("emulator")
    assert emulator.counts()["pinned_used"] == 0


def test_a_limit_makes_batches_smaller(emulator, call):
    want = call(device="cpu")
    memory.reset_peak("emulator")
    try:
        memory.set_limit("400 KiB", "emulator")
        same_bits(call(device="emulator"), want)
        assert memory.stats("emulator")["device"]["peak"] <= 400 * 1024
        memory.set_limit(1000, "emulator")
        with pytest.raises(errors.DeviceOutOfMemoryError, match=r"set_limit\) is 1000"):
            call(device="emulator")
    finally:
        memory.set_limit(None, "emulator")
    for limit in (0, -1, "much"):
        with pytest.raises(errors.ParameterError, match="limit"):
            memory.set_limit(limit, "emulator")


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
        assert calls > 5
        raised = 0
        for number in [*range(1, min(calls, 25)), *range(25, calls, max(calls // 15, 1)), calls]:
            emulator.configure(fail_at=number, failure=fault, lasting=lasting)
            try:
                same_bits(call(device="emulator"), want, f"call {number} failed")
            except FAULTS[fault]:
                raised += 1
            emulator.configure()
            memory.trim("emulator")
            counts = emulator.counts()
            left = sum(counts[c] > 0 for c in ("memory_used", "pinned_used")) + counts["streams"] + counts["events"]
            # What a call should have given back, and could not, is all that may be left.
            assert lasting or left <= 1, (number, counts)
            emulator.forget()
        # Sets of parameters always get by with less memory once.
        assert raised > 0 or (FAULTS[fault] is errors.DeviceOutOfMemoryError and not lasting)
    same_bits(call(device="emulator"), want, "after all faults")


def test_calls_from_many_threads(emulator, call):
    import concurrent.futures

    want = call(device="cpu")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: call(device="emulator"), range(24)):
            same_bits(got, want)
    assert nothing_left(emulator)


def test_a_forked_child_is_refused(emulator, monkeypatch):
    from warpquant import _devices

    monkeypatch.setitem(_devices._asked_in, "emulator", -1)
    with pytest.raises(errors.ForkedContextError, match="spawn"):
        ma.ema(PANEL, 14, device="emulator")
    ma.ema(PANEL, 14, device="cpu")


def test_streams_of_the_port(emulator):
    x = PANEL[:40, :60]
    want = warpquant.compute_atc_signals(x)
    peaks = []
    for flags in ({"use_streams": False}, {"num_streams": 1}, {"num_streams": 3}, {"num_streams": 999}):
        emulator.configure()
        with config.override(**{"batch.max_bytes": 30_000}):
            got = warpquant.compute_atc_signals(x, device="emulator", **flags)
        for name, value in want.items():
            same_bits(got[name], value, name)
        peaks.append(emulator.counts()["memory_peak"])
    one, same, three, many = peaks
    assert one == same < 2 * one < three < many


# ---------------------------------------------------------------------------------------------- arrays


@pytest.fixture(params=["emulator", "cuda"])
def there(request):
    """What puts an array onto each device that answers."""
    try:
        warpquant.to_device(np.zeros(1), request.param)
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    return functools.partial(warpquant.to_device, device=request.param)


@pytest.mark.parametrize("length", [14, [3, 14, 100]])
@pytest.mark.parametrize("kind", ma.kinds())
def test_averages_of_device_arrays(there, kind, length):
    for x in (PANEL, PANEL.astype(np.float32), PANEL[7], PANEL[:, :3], PANEL[:0], PANEL[:, :0]):
        for axis in range(-x.ndim, x.ndim):
            got = getattr(ma, kind)(there(x), length, axis=axis)
            assert isinstance(got, warpquant.Array)
            assert got.device == there.keywords["device"] + ":0"
            same_bits(got.to_numpy(), getattr(ma, kind)(x, length, axis=axis), f"{x.shape}, axis {axis}")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("nan", ["window", "propagate"])
def test_missing_values_on_a_device(there, nan, bad):
    x = PANEL.copy()
    x[3, :40] = x[5, 100:120] = x[7, -1] = x[9] = bad
    for kind in ma.kinds():
        same_bits(getattr(ma, kind)(there(x), 9, nan=nan).to_numpy(), getattr(ma, kind)(x, 9, nan=nan), kind)
    with pytest.raises(errors.ParameterError, match="x: series 3 is missing"):
        ma.ema(there(x), 9, nan="raise")
    for policy in ("skip", "propagate"):
        got, want = (atc.run(a, {"nan_policy": policy}) for a in (there(x), x))
        for name in want:
            same_bits(got[name].to_numpy(), want[name], name)


@pytest.mark.parametrize("compat", ["pine", "sovereign"])
def test_atc_of_device_arrays(there, compat):
    for x, src in ((PANEL[:11], None), (PANEL[3], None), (PANEL[:3], PANEL[3:6]), (PANEL[:9].astype(np.float32), None)):
        arguments = there(x), None if src is None else there(src)
        for how in ({"detail": True}, {"last_only": True}, {"precision": "float32"}):
            want = atc.run(x, {"compat": compat}, src=src, outputs="all", **how)
            got = atc.run(arguments[0], {"compat": compat}, src=arguments[1], outputs="all", **how)
            for name in want:
                same_bits(got[name].to_numpy(), np.asarray(want[name]), name)


def test_equity_of_device_arrays(there):
    for neutral in ("flat", "sticky"):
        got = equity.curve(prices=there(HOLES), signal=there(SIGNAL), neutral=neutral, cutout=5)
        same_bits(got.to_numpy(), equity.curve(prices=HOLES, signal=SIGNAL, neutral=neutral, cutout=5))


def test_long_lengths_find_room(there):
    x = PANEL[:3].ravel()
    for length in (500, 1100):
        for kind in ma.kinds():
            same_bits(getattr(ma, kind)(there(x), length).to_numpy(), getattr(ma, kind)(x, length), f"{kind}, {length}")
    long = {f"{family}_len": 300 for family in ("ema", "hull", "wma", "dema", "lsma", "kama")}
    want = atc.run(x, {**long, "compat": "pine"}, outputs="all")
    got = atc.run(there(x), {**long, "compat": "pine"}, outputs="all")
    for name in want:
        same_bits(got[name].to_numpy(), want[name], name)


def test_out_on_a_device(there):
    x, out = there(PANEL), there(np.zeros_like(PANEL))
    assert ma.ema(x, 14, out=out) is out
    same_bits(out.to_numpy(), ma.ema(PANEL, 14))
    for call, match in (
        (lambda: ma.ema(x, 14, out=np.zeros_like(PANEL)), "same memory"),
        (lambda: ma.ema(PANEL, 14, out=out), "same memory"),
        (lambda: ma.ema(x, 14, out=x), "shares memory"),
        (lambda: ma.ema(there(HOLES), 14, out=out), "missing values"),
        (lambda: ma.ema(there(PANEL[0]), 14, out=out), "shape"),
        (lambda: equity.curve(prices=x, signal=SIGNAL), "same memory"),
        (lambda: atc.run(x, src=PANEL), "same memory"),
        (lambda: ma.Stream("ema", 5, 50).update(there(PANEL[:, 0].copy())), "on a device"),
        (lambda: ma.ema(x, 14, device="cpu"), "lives on '.*:0'"),
        (lambda: ma.ema({"a": there(PANEL[0])}, 14), "wanted in host memory"),
    ):
        with pytest.raises(errors.WarpquantError, match=match):
            call()


def test_what_an_array_says_of_itself(there):
    x = there(PANEL)
    assert (x.shape, x.ndim, x.dtype, x.nbytes, len(x)) == (PANEL.shape, 2, PANEL.dtype, PANEL.nbytes, len(PANEL))
    name = there.keywords["device"]
    assert (x.device, x.stream) == (f"{name}:0", 0)
    assert repr(x) == f"Array(shape=(50, 400), dtype=float64, device='{name}:0')"
    assert hasattr(x, "__cuda_array_interface__") == (name == "cuda")
    for wrong in (np.zeros(3, dtype=np.int64), np.array(["a"]), np.zeros(3, dtype=complex)):
        with pytest.raises(errors.DTypeError):
            there(wrong)
    for device in ("cpu", "auto"):
        with pytest.raises(errors.ParameterError, match="memory of its own"):
            there(PANEL, device=device)
    pandas = pytest.importorskip("pandas")
    for named in (pandas.DataFrame(PANEL), {"a": PANEL[0]}):
        with pytest.raises(errors.DTypeError, match="columns have names"):
            there(named)
    with pytest.raises(errors.LayoutError, match="already"):
        there(x)
    masked = np.ma.masked_greater(PANEL, 100)
    same_bits(there(masked).to_numpy(), masked.filled(np.nan))
    same_bits(there(pandas.Series(PANEL[0])).to_numpy(), PANEL[0])
    with pytest.raises(TypeError, match="without dimensions"):
        len(there(np.float64(3)))


class Consumer:
    """An array of somebody else's on the device, which counts who takes it."""

    def __init__(self, array, **result):
        self.array, self.result, self.calls = array, result, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **how):
        self.calls.append(how)
        return self.array.__dlpack__(**how)


def test_arrays_by_dlpack(emulator):
    x = Consumer(simulated(PANEL))
    same_bits(ma.sma(x, 5).to_numpy(), ma.sma(PANEL, 5))
    assert x.calls == [{"max_version": (1, 3), "stream": 1}]
    array = simulated(PANEL)
    before = emulator.counts()
    for version in (None, (0, 8), (1, 0), (1, 3), (2, 0)):
        capsule = array.__dlpack__(max_version=version)
        assert ("versioned" in repr(capsule)) == (version is not None and version[0] > 0)
        del capsule
    assert emulator.counts()["allocations"] == before["allocations"]
    for stream in (None, 1, 2, -1):
        array.__dlpack__(stream=stream)
    with pytest.raises(errors.ParameterError, match="stream: 0 is no stream"):
        array.__dlpack__(stream=0)
    with pytest.raises(errors.LayoutError, match="dl_device"):
        array.__dlpack__(dl_device=(1, 0))
    with pytest.raises(errors.LayoutError, match="copy"):
        array.__dlpack__(copy=True)


def test_memory_outlives_the_array(emulator):
    capsule = simulated(PANEL).__dlpack__(max_version=(1, 3))
    assert emulator.counts()["memory_used"] == PANEL.nbytes
    del capsule
    assert emulator.counts()["memory_used"] == 0


def in_stream(emulator, x):
    """On the device, in a stream of its own."""
    from warpquant import _core

    return _core.to_device(np.ascontiguousarray(x), "emulator", 0, emulator.make_stream())


@pytest.fixture
def schedules(emulator):
    """Many orders in which streams may get their turn; work that did not wait is wrong in some."""

    def each():
        for seed in range(1, 60 * SOAK + 1):
            emulator.configure(schedule_seed=seed)
            yield seed

    return each


def test_consumers_wait_for_our_stream(emulator, schedules):
    want = equity.curve(prices=PANEL, signal=SIGNAL)
    for seed in schedules():
        prices = in_stream(emulator, PANEL)
        curve = equity.curve(prices=prices, signal=in_stream(emulator, SIGNAL))  # nobody has waited for it
        assert curve.stream == prices.stream
        stream = emulator.make_stream()
        capsule = curve.__dlpack__(stream=stream)  # as a consumer asks who works in that stream
        same_bits(emulator.read_later(capsule, stream, PANEL.size)().reshape(PANEL.shape), want, f"seed {seed}")


def test_streams_of_all_arguments_wait_for_each_other(emulator, schedules):
    want = equity.curve(prices=PANEL, signal=SIGNAL)
    averages = ma.ema(PANEL, 14)
    trends = atc.run(PANEL[:9], src=PANEL[9:18])["average"]
    for seed in schedules():
        out = in_stream(emulator, np.zeros_like(PANEL))
        equity.curve(prices=in_stream(emulator, PANEL), signal=in_stream(emulator, SIGNAL), out=out)
        same_bits(out.to_numpy(), want, f"equity, seed {seed}")
        out = in_stream(emulator, np.zeros_like(PANEL))
        ma.ema(in_stream(emulator, PANEL), 14, out=out)
        same_bits(out.to_numpy(), averages, f"average, seed {seed}")
        out = in_stream(emulator, np.zeros((9, PANEL.shape[1])))
        atc.run(in_stream(emulator, PANEL[:9]), src=in_stream(emulator, PANEL[9:18]), out={"average": out})
        same_bits(out.to_numpy(), trends, f"atc, seed {seed}")


def test_memory_is_not_free_before_its_users_are_done(emulator, schedules):
    """Arguments and results that nobody holds any more are still in use by streams."""
    want = equity.curve(prices=PANEL, signal=SIGNAL)
    for seed in schedules():
        stream = emulator.make_stream()
        curve = equity.curve(prices=in_stream(emulator, PANEL), signal=in_stream(emulator, SIGNAL))
        in_stream(emulator, np.full_like(PANEL, 7))  # takes memory that is free
        capsule = curve.__dlpack__(stream=stream)
        later = emulator.read_later(capsule, stream, PANEL.size)
        del curve, capsule
        in_stream(emulator, np.full_like(PANEL, 7))
        same_bits(later().reshape(PANEL.shape), want, f"seed {seed}")


def test_a_captured_stream_is_refused(emulator):
    x, signal = simulated(PANEL), simulated(SIGNAL)
    emulator.configure(capturing=True)
    for call in (lambda: ma.ema(x, 14), lambda: equity.curve(prices=x, signal=signal), lambda: atc.run(x)):
        before = emulator.counts()["calls"]
        with pytest.raises(errors.CaptureUnsafeError):
            call()
        assert emulator.counts()["calls"] == before + 1  # the question


def test_integers_on_a_device(there):
    trend = atc.run(PANEL, outputs="trend")["trend"]
    assert trend.dtype == np.int8
    same_bits(
        equity.curve(prices=there(PANEL), signal=there(trend)).to_numpy(), equity.curve(prices=PANEL, signal=trend)
    )
    for call in (
        lambda: ma.ema(there(trend), 14),
        lambda: equity.curve(prices=there(trend), signal=there(SIGNAL)),
        lambda: atc.run(there(trend)),
        lambda: atc.run(there(PANEL), src=there(trend)),
        lambda: ma.ema(there(PANEL), 14, out=there(trend)),
    ):
        with pytest.raises(errors.DTypeError):
            call()


def test_an_array_is_no_ndarray(there):
    with pytest.raises(TypeError, match="use to_numpy"):
        np.asarray(there(PANEL))
    for how in ({"stream": "x"}, {"stream": 1.5}, {"max_version": "x"}, {"max_version": 1}):
        with pytest.raises(TypeError):
            there(PANEL).__dlpack__(**how)


def test_lengths_beyond_every_series(there):
    for kind in ma.kinds():
        for length in (400, 401, 2**31 - 1):
            same_bits(getattr(ma, kind)(there(PANEL), length).to_numpy(), getattr(ma, kind)(PANEL, length), kind)


def test_a_scan_does_not_blame_symbols_for_the_device(emulator):
    from warpquant import scan

    prices = {f"s{i}": PANEL[i] for i in range(20)}
    for failure, error in ((4, errors.DeviceLostError), (1, errors.DeviceOutOfMemoryError)):
        emulator.configure(fail_at=3, failure=failure, lasting=True)
        with pytest.raises(error):
            scan.scan(prices, device="emulator")
    emulator.configure()
    memory.trim("emulator")
    emulator.forget()


@pytest.mark.slow
def test_nothing_piles_up(emulator):
    for _ in range(1000 * SOAK):
        ma.ema(PANEL[:2, :40], 5, device="emulator")
    assert nothing_left(emulator)


#: Warps of each kernel that registers and static shared memory leave room for on a multiprocessor of compute capability
#: 9.0, at least: threads per block, and the floor.
OCCUPANCY = {
    "walk_kernel": (32, 24),
    "join_kernel": (32, 24),
    "curve_kernel": (32, 10),
    "survey_kernel": (256, 64),
    "atc_kernel": (72, 12),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["ma.cu", "equity.cu", "atc.cu", "core/survey.cu"])
def test_occupancy(source, tmp_path):
    nvcc = shutil.which(os.environ.get("CUDACXX", "nvcc"))
    if nvcc is None or "LD_PRELOAD" in os.environ:
        pytest.skip("no CUDA compiler, or none that runs beside a sanitizer")
    root = pathlib.Path(__file__).resolve().parents[1]
    options = ["-std=c++20", "-O3", "--fmad=false", "-arch=sm_90", "-cubin", "-Xptxas=-v", "-I", root / "cpp/include"]
    command = [nvcc, *options, "-I", root / "cuda", root / "cuda" / source, "-o", tmp_path / "kernels.cubin"]
    report = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stderr
    line = r"entry function '(\w+)'.*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?"
    entries = re.findall(line, report, re.DOTALL)
    assert entries
    for mangled, registers, shared in entries:
        (name,) = [n for n in OCCUPANCY if n in mangled]
        threads, floor = OCCUPANCY[name]
        warps = -(-threads // 32)
        by_registers = 65536 // (-(-int(registers) * 32 // 256) * 256 * warps)
        by_shared = 233472 // (int(shared or 0) + 1024)
        blocks = min(by_registers, by_shared, 64 // warps)
        assert blocks * warps >= floor, f"{name}: {registers} registers, {shared} bytes shared"
