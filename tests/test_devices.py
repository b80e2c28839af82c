# SPDX-License-Identifier: Apache-2.0
"""Work on devices: batches, schedules, short memory, faults. Simulated devices stand in for real ones."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import pathlib
import re
import shutil
import subprocess

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import warpquant
from checks import near, same_bits
from warpquant import _core, atc, config, equity, errors, ma, memory, signals

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
    "crosses": lambda **how: signals.crosses(np.ravel(PANEL), np.full(PANEL.size, 100.0), **how),
    "layer": lambda **how: signals.family([SIGNAL, -SIGNAL, SIGNAL], [PANEL, PANEL + 1, PANEL], **how),
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
    if counts["streams"] > _core.thread_streams("emulator", 0) + _core.thread_streams("emulator", 1):
        return False  # threads keep theirs
    return all(counts[c] == 0 for c in ("memory_used", "allocations", "pinned_used", "events", "pending", "strays"))


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
    if what == "crosses":
        return signals.crosses(x, np.full_like(x, x.mean()), device=device)
    if what == "trend":
        return signals.trend(x - x.mean(), device=device)
    if what == "atc":
        return np.stack([*atc.run(x, outputs="all", device=device).values()])
    if what == "equity":
        return equity.curve(prices=x, signal=np.sign(x - x.mean()), device=device)
    return getattr(ma, what)(x, [1, 9, 28], device=device)


@pytest.mark.parametrize("what", [*ma.kinds(), "equity", "crosses", "trend", "atc"])
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
            left = sum(counts[c] > 0 for c in ("memory_used", "pinned_used")) + counts["events"]
            left += max(counts["streams"] - _core.thread_streams("emulator", 0), 0)
            # What a call should have given back, and could not, is all that may be left.
            assert lasting or left <= 1, (number, counts)
            emulator.forget()
        # Sets of parameters always get by with less memory once.
        assert raised > 0 or (FAULTS[fault] is errors.DeviceOutOfMemoryError and not lasting)
    same_bits(call(device="emulator"), want, "after all faults")


#: A symbol that `exact=False` takes in stages.
SYMBOL = 100 * np.exp(np.cumsum(RNG.normal(0.0, 0.01, 17_000)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_stages_may_fail(emulator, fault):
    def call():
        return atc.run(SYMBOL, device="emulator", exact=False)["average"]

    want = call()
    emulator.configure()
    call()
    calls = emulator.counts()["calls"]
    raised = 0
    for number in range(1 + fault, calls, max(calls // (12 * SOAK), 1)):
        emulator.configure(fail_at=number, failure=fault)
        try:
            near(call(), want, 1e-11, scale=1.0, label=f"call {number} failed")  # stages, or the one pass
        except FAULTS[fault]:
            raised += 1
        emulator.configure()
        memory.trim("emulator")
        counts = emulator.counts()
        left = sum(counts[c] > 0 for c in ("memory_used", "pinned_used")) + counts["streams"] + counts["events"]
        assert left <= 1, (number, counts)
        emulator.forget()
    assert raised > 0 or FAULTS[fault] is errors.DeviceOutOfMemoryError  # which leaves the one pass


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


@pytest.mark.parametrize("compat", ["pine", "sovereign"])
def test_atc_of_device_arrays(there, compat):
    for x, src in ((PANEL[:11], None), (PANEL[3], None), (PANEL[:3], PANEL[3:6]), (PANEL[:9].astype(np.float32), None)):
        arguments = there(x), None if src is None else there(src)
        for how in ({"detail": True}, {"last_only": True}, {"precision": "float32"}):
            want = atc.run(x, {"compat": compat}, src=src, outputs="all", **how)
            got = atc.run(arguments[0], {"compat": compat}, src=arguments[1], outputs="all", **how)
            for name in want:
                same_bits(got[name].to_numpy(), np.asarray(want[name]), name)


def test_stages_of_device_arrays(there):
    for x, y in ((PANEL, SIGNAL), (PANEL[3], SIGNAL[3]), (PANEL.astype(np.float32), SIGNAL.astype(np.float32))):
        for call in (
            lambda a, b: signals.crosses(a, b),
            lambda a, b: signals.family([b, b], [a, a]),
            lambda a, b: signals.average([b, b], [a, a], upper=0.2),
            lambda a, b: signals.direction(b),
            lambda a, b: signals.trend(b),
        ):
            same_bits(call(there(x), there(y)).to_numpy(), call(x, y))
    crossed = signals.crosses(there(PANEL), there(PANEL[::-1].copy()))
    same_bits(signals.family([crossed], [there(PANEL)]).to_numpy(), signals.family([crossed.to_numpy()], [PANEL]))


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
        (lambda: ma.ema(x, 14, out=np.zeros_like(PANEL)), "out: is in host memory, but the input is on"),
        (lambda: ma.ema(PANEL, 14, out=out), "out: is on .* but the input is in host memory"),
        (lambda: ma.ema(x, 14, out=x), "shares memory"),
        (lambda: ma.ema(there(PANEL[0]), 14, out=out), "shape"),
        (lambda: equity.curve(prices=x, signal=SIGNAL), "signal: is in host memory, but prices"),
        (lambda: atc.run(x, src=PANEL), "src: is in host memory, but prices"),
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
    assert x.device == f"{name}:0"
    assert x.stream > 2
    assert repr(x) == f"Array(shape=(50, 400), dtype=float64, device='{name}:0')"
    assert hasattr(x, "__cuda_array_interface__") == (name == "cuda")
    for wrong in (np.zeros(3, dtype=bool), np.array(["a"]), np.zeros(3, dtype=complex)):
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
    assert x.calls == [{"max_version": (1, 3), "stream": x.array.stream}]
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
    return warpquant.to_device(x, "emulator", stream=emulator.make_stream())


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


@pytest.mark.slow
def test_stages_in_any_schedule(emulator):
    want = atc.run(SYMBOL, device="emulator", exact=False)["average"]
    near(want, atc.run(SYMBOL)["average"], 1e-11, scale=1.0)
    for seed in range(1, 10 * SOAK + 1):
        emulator.configure(schedule_seed=seed, thread_seed=seed)
        prices = in_stream(emulator, SYMBOL)
        got = atc.run(prices, exact=False)["average"]
        del prices
        in_stream(emulator, np.full_like(SYMBOL, 7))
        same_bits(got.to_numpy(), want, f"seed {seed}")


# ---------------------------------------------------------------------------------------------- missing values


def with_holes(bars):
    """A series for each place where values may be missing, and whole ones between."""
    rng = np.random.default_rng(bars)
    x = 100 + np.cumsum(rng.normal(size=(18, bars)), axis=1)
    middle = bars // 2
    x[1, : bars // 3] = np.nan  # at the start
    x[2, -5:] = np.inf
    x[3, middle : middle + 7] = np.nan
    x[4] = np.nan
    x[5, np.arange(bars) != middle] = -np.inf  # one is present
    x[6, ::2] = np.nan
    x[8, rng.random(bars) < 0.02] = np.inf
    x[9, 0] = np.nan
    x[10, -1] = np.nan
    x[11, 63:66] = np.nan  # where parts of threads meet, and blocks of bars
    x[11, 263:265] = np.nan
    x[13, rng.random(bars) < 0.7] = np.nan
    x[14, 1:2] = np.nan
    x[15] = 1e308  # present, but sums are not finite
    x[16, middle:] = np.nan
    return x


#: Bars: of one part, of several, of pieces of recurrences.
HOLED = {bars: with_holes(bars) for bars in (1, 2, 40, 400, 3000)}


@pytest.mark.parametrize("nan", ["window", "propagate"])
@pytest.mark.parametrize("kind", ma.kinds())
def test_averages_of_missing_values_on_a_device(there, kind, nan):
    average = functools.partial(getattr(ma, kind), nan=nan)
    for bars, doubles in HOLED.items():
        singles = np.where(doubles == 1e308, 3e38, doubles).astype(np.float32)
        for x, length in itertools.product((doubles, singles), (9, [1, 2, 3, 28], [110, 300])):
            want = average(x, length)
            same_bits(average(there(x), length).to_numpy(), want, f"{bars} bars, {x.dtype}, {length}")
            got = average(there(np.ascontiguousarray(x.T)), length, axis=0).to_numpy()
            same_bits(np.swapaxes(got, -1, -2), want, f"{bars} bars side by side, {x.dtype}, {length}")


@pytest.mark.parametrize("kind", ["sma", "hma", "ema", "tema", "kama", "roc"])
def test_missing_values_of_one_long_series(there, kind):
    """As many threads as there can be."""
    for start, share in ((0, 0.0001), (7000, 0.05), (19_999, 0), (20_000, 0)):
        x = np.where(RNG.random(20_000) < share, np.nan, 100 + np.cumsum(RNG.normal(size=20_000)))
        x[:start] = np.nan
        for nan, length in itertools.product(("window", "propagate"), (3, 150)):
            got = getattr(ma, kind)(there(x), length, nan=nan).to_numpy()
            same_bits(got, getattr(ma, kind)(x, length, nan=nan), f"{start}, {share}, {nan}, {length}")


#: In a quiet market KAMA does not forget how a piece began, so it is walked again.
QUIET = np.concatenate([np.full(1500, 1.0), 2 + 1e-9 * np.cumsum(RNG.normal(size=30_000))])
QUIET[[0, 700, 9000, 20_000]] = np.nan


def test_pieces_of_series_with_holes_that_remember(there):
    for how in ({"fast": 2, "slow": 9}, {}):
        same_bits(ma.kama(there(QUIET), 5, **how).to_numpy(), ma.kama(QUIET, 5, **how), f"{how}")


@pytest.mark.parametrize("policy", ["skip", "propagate"])
@pytest.mark.parametrize("compat", ["pine", "sovereign"])
def test_atc_of_missing_values_on_a_device(there, compat, policy):
    hows = ({}, {"detail": True}, {"last_only": True}, {"precision": "float32"}, {"src": True})
    for bars, how, axis in itertools.product((1, 2, 40, 300), hows, (1, 0)):
        params = {"compat": compat, "nan_policy": policy}
        if bars > 30:
            params |= {"cutout": 30, "strategy_mode": "detail" in how}
        x = np.where(HOLED[400] == 1e308, 1e290, HOLED[400])[:, :bars]
        src = np.where(np.random.default_rng(bars).random(x.shape) < 0.02, np.nan, x + 1)
        host = {**how, "src": src} if "src" in how else how
        want = atc.run(x, params, outputs="all", **host)
        put = lambda a: there(np.ascontiguousarray(a if axis else a.T))  # noqa: B023, E731
        device = {**how, "src": put(src)} if "src" in how else how
        got = atc.run(put(x), params, outputs="all", axis=axis, **device)
        for name in want:
            result = got[name].to_numpy()
            result = result if axis or "last_only" in how else np.swapaxes(result, -1, -2)
            same_bits(result, np.asarray(want[name]), f"{bars} bars, {how}, axis {axis}, {name}")


def test_atc_of_float32_with_missing_values(there):
    x = np.where(HOLED[400] == 1e308, 3e38, HOLED[400]).astype(np.float32)
    for policy in ("skip", "propagate"):
        got, want = (atc.run(a, {"nan_policy": policy}, outputs="all") for a in (there(x), x))
        for name in want:
            same_bits(got[name].to_numpy(), want[name], f"{policy}, {name}")


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.data())
def test_any_values_may_be_missing(emulator, data):
    series, bars = data.draw(st.integers(1, 10)), data.draw(st.integers(1, 700))
    share = data.draw(st.sampled_from([0.0, 0.003, 0.1, 0.5, 0.98]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = 100 + np.cumsum(rng.normal(size=(series, bars)), axis=1)
    x[rng.random(x.shape) < share] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    for row in x:
        row[: rng.integers(0, bars + 1) if rng.random() < 0.3 else 0] = np.nan
    x = x.astype(data.draw(st.sampled_from([np.float64, np.float32])))
    kind, nan = data.draw(st.sampled_from(ma.kinds())), data.draw(st.sampled_from(["window", "propagate"]))
    length = data.draw(st.integers(1, 130))
    same_bits(getattr(ma, kind)(simulated(x), length, nan=nan).to_numpy(), getattr(ma, kind)(x, length, nan=nan))
    params = {"nan_policy": data.draw(st.sampled_from(["skip", "propagate"]))}
    x = np.ascontiguousarray(x[:, :60])
    got, want = (atc.run(a, params, outputs="all") for a in (simulated(x), x))
    for name in want:
        same_bits(got[name].to_numpy(), want[name], name)


#: What is computed of arrays on a device without anybody's waiting.
RESIDENT = {
    **{kind: functools.partial(getattr(ma, kind), length=[3, 150]) for kind in ("sma", "hma", "ema", "kama", "roc")},
    "propagate": functools.partial(ma.tema, length=3, nan="propagate"),
    "atc": lambda x: atc.run(x, outputs="average")["average"],
    "atc, propagate": lambda x: atc.run(x, {"nan_policy": "propagate"}, outputs="average")["average"],
    "equity": lambda x: equity.curve(prices=x, signal=x, growth_per_bar=1e-4),
}
NINE = np.ascontiguousarray(HOLED[400][:9, 100:])


@pytest.fixture(params=RESIDENT)
def resident(request):
    return RESIDENT[request.param]


@pytest.mark.parametrize("x", [PANEL[:9], NINE], ids=["whole", "holes"])
def test_nobody_waits_for_a_device(emulator, resident, x):
    """Not for values that may be missing either: all of it waits in the stream when the call is back."""
    want = resident(x)
    array = simulated(x)
    emulator.configure()
    result = resident(array)
    counts = emulator.counts()
    assert counts["waits"] == counts["launches"] == 0
    assert counts["pending"] > 2
    same_bits(result.to_numpy(), want)
    assert emulator.counts()["waits"] > 0


def test_missing_values_in_every_schedule(emulator, schedules, resident):
    """Nor does anything use memory that is not filled yet, or used by others already."""
    want = resident(NINE)
    for seed in schedules():
        result = resident(in_stream(emulator, NINE))
        in_stream(emulator, np.full_like(NINE, 7))  # takes memory that is free
        stream = emulator.make_stream()
        capsule = result.__dlpack__(stream=stream)
        later = emulator.read_later(capsule, stream, want.size)
        del result, capsule
        in_stream(emulator, np.full_like(NINE, 7))
        same_bits(later().reshape(want.shape), want, f"seed {seed}")


def test_missing_values_in_ten_orders_of_threads(emulator, resident):
    want, pieces = resident(NINE), ma.kama(QUIET, 5, slow=9)
    for seed in range(10 * SOAK):
        emulator.configure(thread_seed=seed)
        same_bits(resident(simulated(NINE)).to_numpy(), want, f"order {seed}")
        same_bits(ma.kama(simulated(QUIET), 5, slow=9).to_numpy(), pieces, f"pieces, order {seed}")


def test_results_with_missing_values_where_the_caller_wants_them(there):
    out = there(np.zeros_like(HOLES))
    assert ma.ema(there(HOLES), 14, out=out) is out
    same_bits(out.to_numpy(), ma.ema(HOLES, 14))
    out = there(np.zeros_like(HOLES[:9]))
    assert atc.run(there(HOLES[:9]), outputs="average", out={"average": out})["average"] is out
    same_bits(out.to_numpy(), atc.run(HOLES[:9], outputs="average")["average"])


def test_refusing_missing_values_on_a_device(there):
    """What the CPU says."""
    places = ((5, 100), (7, 0), (2, 399))
    calls = (
        lambda a, b: ma.ema(a, [9, 3], nan="raise"),
        lambda a, b: ma.sma(a, 9, nan="raise"),
        lambda a, b: atc.run(a, {"nan_policy": "raise"}),
        lambda a, b: atc.run(b, {"nan_policy": "raise"}, src=a),
    )
    for number in range(1, len(places) + 1):
        for some, call in itertools.product(itertools.combinations(places, number), calls):
            x = PANEL[:9].copy()
            x[tuple(zip(*some, strict=True))] = np.nan
            messages = []
            for put in (np.asarray, there):
                with pytest.raises(errors.ParameterError, match="is missing") as info:
                    call(put(x), put(PANEL[:9]))
                messages.append(str(info.value))
            assert messages[0] == messages[1]
    for x in (PANEL, HOLED[40][15]):  # sums of the latter are not finite
        same_bits(ma.sma(there(x), 9, nan="raise").to_numpy(), ma.sma(x, 9, nan="raise"))
    got = atc.run(there(PANEL[:9]), {"nan_policy": "raise"})
    same_bits(got["average"].to_numpy(), atc.run(PANEL[:9])["average"])


def test_prices_that_are_too_large_on_a_device(there):
    """Their symbol has no results; only under 'raise', which waits, there is an exception."""
    x = np.array(HOLED[400])
    x[7, 20], x[15], x[3, -1] = 2.0**1000, -1e308, 2.0**1020
    bad = [3, 7, 15]
    good = np.setdiff1d(np.arange(len(x)), bad)
    for policy, how in itertools.product(("skip", "propagate"), ({"detail": True}, {"last_only": True})):
        got = atc.run(there(x), {"nan_policy": policy}, outputs="all", **how)
        want = atc.run(x[good], {"nan_policy": policy}, outputs="all", **how)
        for name in want:
            result = got[name].to_numpy()
            symbols = result.ndim - 2 if result.ndim > 1 else 0
            same_bits(np.take(result, good, symbols), want[name], f"{policy}, {how}, {name}")
            nothing = 0 if result.dtype == np.int8 else np.nan
            assert np.array_equal(np.take(result, bad, symbols), np.take(0 * result + nothing, bad, symbols), True)
        src = np.where(PANEL[:3] == PANEL[1, 20], -(2.0**1000), PANEL[:3])
        got = atc.run(there(PANEL[:3]), {"nan_policy": policy}, src=there(src), **how)["average"].to_numpy()
        assert list(np.isnan(got.reshape(3, -1)).all(axis=1)) == [False, True, False]
    x = np.where(np.isfinite(x), x, 1)
    for put in (there, np.asarray):
        with pytest.raises(errors.ParameterError, match=r"prices: series 3 is too large at bar 20"):
            atc.run(put(x[4:]), {"nan_policy": "raise"})
        with pytest.raises(errors.ParameterError, match=r"src: series 0 is too large at bar 399"):
            atc.run(put(PANEL[:1]), {"nan_policy": "raise"}, src=put(x[3:4]))


def test_memory_for_mending(emulator):
    """As much as a batch may take; less, down to one series at a time, where there is less."""
    x = np.tile(HOLED[3000], (4, 1))
    want = ma.kama(x, [9, 28])
    gc.collect()  # as short memory does
    before = emulator.counts()["memory_used"]  # by what tests have not let go of yet
    fixed, peaks = before + x.nbytes + want.nbytes, []
    for size in (2**20, 2**18, 1):
        array = simulated(x)
        emulator.configure()
        with config.override(**{"batch.max_bytes": size}):
            same_bits(ma.kama(array, [9, 28]).to_numpy(), want, f"{size} bytes")
        peaks.append(emulator.counts()["memory_peak"] - fixed)
        del array
    copies = 2 * x[0].nbytes
    assert 2**20 + 2**19 > peaks[0] > 2**19 > peaks[1] > peaks[2] > copies
    for spare in (2**19, 2**17):
        emulator.configure(memory=fixed + spare)
        same_bits(ma.kama(simulated(x), [9, 28]).to_numpy(), want, f"{spare} bytes to spare")
    emulator.configure(memory=fixed + copies)
    with pytest.raises(errors.DeviceOutOfMemoryError):
        ma.kama(simulated(x), [9, 28])
    assert emulator.counts()["memory_used"] == before


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_for_an_array_on_a_device_may_fail(emulator, resident, fault):
    want = resident(NINE)
    array = simulated(NINE)
    emulator.configure()
    resident(array)
    raised = 0
    for number in range(1, emulator.counts()["calls"] + 1):
        emulator.configure(fail_at=number, failure=fault)
        try:
            result = resident(array)
            emulator.configure()
            same_bits(result.to_numpy(), want, f"call {number} failed")
            del result
        except FAULTS[fault]:
            raised += 1
        emulator.configure()
    assert raised > 0
    same_bits(resident(array).to_numpy(), want, "after all faults")
    del array
    memory.trim("emulator")
    emulator.forget()


# ---------------------------------------------------------------------------------------------- the rest


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


def test_parts_of_arrays(there):
    x = RNG.normal(size=(3, 4, 50))
    array = there(x)
    for i in (0, 2, -1):
        same_bits(array[i].to_numpy(), x[i])
        same_bits(array[i][1].to_numpy(), x[i, 1])
        same_bits(ma.sma(array[i], 5).to_numpy(), ma.sma(x[i], 5))
        same_bits(array[i].copy_to("cpu"), x[i])
    assert len(list(array)) == 3
    part = array[1]
    del array
    same_bits(part.to_numpy(), x[1])
    with pytest.raises(IndexError, match="out of range"):
        part[4]
    with pytest.raises(TypeError, match="without dimensions"):
        part[0][0][0]
    bars_first = ma.sma(there(np.ascontiguousarray(x[0].T)), 5, axis=0)
    same_bits(bars_first[7].to_numpy(), ma.sma(x[0], 5).T[7].copy())


def test_where_arguments_are(there):
    for call in (
        lambda: equity.curve(prices=there(PANEL), signal=SIGNAL),
        lambda: atc.run(there(PANEL[:2]), src=PANEL[:2]),
        lambda: signals.crosses(there(PANEL), PANEL),
        lambda: ma.ema(PANEL, 5, out=there(PANEL)),
    ):
        with pytest.raises(errors.LayoutError, match=r"is (in host memory|on '\w+:0'), but .* is (in host|on '\w+:0')"):
            call()


def test_the_device_that_settings_name(emulator):
    with config.override(device="emulator:1"):
        assert warpquant.to_device([1, 2, 3]).device == "emulator:1"
        assert warpquant.Stream().device == "emulator:1"
        assert warpquant.Device().name == "emulator:1"
        memory.trim()
    there = warpquant.to_device(np.arange(3), warpquant.Device("emulator"))
    assert there.copy_to(warpquant.Device("emulator:1")).device == "emulator:1"
    same_bits(there.to_numpy(), np.arange(3.0))


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
    "map_kernel": (32, 10),
    "result_kernel": (32, 10),
    "bar_kernel": (256, 32),
    "mend_kernel": (32, 16),
    "survey_kernel": (256, 64),
    "atc_kernel": (72, 12),
    "find_kernel": (256, 64),
    "spread_kernel": (256, 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["ma.cu", "equity.cu", "atc.cu", "signals.cu", "core/survey.cu"])
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
