# SPDX-License-Identifier: Apache-2.0
"""Streams, events, waits and prepared calls as users see them. Simulated devices stand in for real ones."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import warpquant
from checks import same_bits
from warpquant import atc, config, equity, errors, ma, memory
from warpquant._devices import stream_number

#: How many times as long the tests of schedules take: `make soak`.
SOAK = int(os.environ.get("WQ_SOAK", "1"))

RNG = np.random.default_rng(7)
PANEL = 100 + np.cumsum(RNG.normal(size=(20, 150)), axis=1)
SIGNAL = np.sign(RNG.normal(size=PANEL.shape))


@pytest.fixture(params=["emulator", "cuda"])
def place(request):
    """The name of each device that answers."""
    try:
        warpquant.Device(request.param)
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    return request.param


@pytest.fixture
def emulator():
    """The module of the simulated devices, as they are at first, and afterwards."""
    try:
        warpquant.Device("emulator")
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    from warpquant import _emulator

    memory.trim("emulator")
    _emulator.configure()
    yield _emulator
    _emulator.configure()
    memory.trim("emulator")


@pytest.fixture
def schedules(emulator):
    """Many orders in which streams may get their turn; work that did not wait is wrong in some."""

    def each():
        for seed in range(1, 40 * SOAK):
            emulator.configure(schedule_seed=seed)
            yield seed

    return each


#: What can be done with arrays of a device, by name: of prices, a signal, and how.
CALLS = {
    "average": lambda x, s, **how: ma.ema(x, 14, **how),
    "several averages": lambda x, s, **how: ma.hma(x, [4, 9, 28], **how),
    "equity": lambda x, s, **how: equity.curve(prices=x, signal=s, growth_per_bar=1e-4, cutout=3, **how),
    "atc": lambda x, s, **how: atc.run(x, outputs=("average", "trend"), **how)["average"],
    "atc of src": lambda x, s, **how: atc.run(x, src=s, **how)["average"],
    "port": lambda x, s, **how: warpquant.compute_atc_signals(x, **how)["Average_Signal"],
}


# ---------------------------------------------------------------------------------------------- devices


def test_what_a_device_says_of_itself(place):
    device = warpquant.Device(place)
    assert (device.name, repr(device)) == (f"{place}:0", f"Device('{place}:0')")
    assert device == warpquant.Device(f"{place}:0")
    assert len({device, warpquant.Device(place)}) == 1
    assert device != "another thing"
    found = device.properties
    assert found["compute_capability"] == device.compute_capability >= (7, 5)
    assert found["multiprocessors"] == device.multiprocessors > 0
    assert found["uuid"] == device.uuid
    assert found["name"]
    assert 0 < device.memory_free <= device.memory_total == found["memory_total"]
    for name in ("cpu", "auto"):
        with pytest.raises(errors.ParameterError, match="memory of its own"):
            warpquant.Device(name)


def test_waiting_for_a_device(place):
    signal_there, prices = (warpquant.to_device(a, place) for a in (SIGNAL, PANEL))
    streams = [warpquant.Device(place).stream() for _ in range(3)]
    for stream in streams:
        equity.curve(prices=prices, signal=signal_there, stream=stream)
    warpquant.Device(place).synchronize()
    assert all(stream.done for stream in streams)


# ---------------------------------------------------------------------------------------------- which stream


class Foreign:
    """A stream of another library, by the protocol."""

    def __init__(self, answer):
        self.answer = answer

    def __cuda_stream__(self):
        return self.answer


def library(name, **attributes):
    """An object whose class says it is from a library."""
    return type("Stream", (), {"__module__": name, **attributes})()


def test_what_counts_as_a_stream():
    class Whole:
        def __index__(self):
            return 77

    for stream, number in (
        (None, None), (-1, -1), (1, 1), (2, 2), (0x7F00DEAD, 0x7F00DEAD), (np.int64(5), 5), (Whole(), 77),
        (Foreign((0, 123)), 123), (Foreign((0, 0)), 1), (library("torch.cuda.streams", cuda_stream=0), 1),
        (library("torch.cuda.streams", cuda_stream=99), 99), (library("cupy.cuda.stream", ptr=98), 98),
        (library("somebody", __cuda_stream__=(0, 97)), 97),
    ):  # fmt: skip
        assert stream_number(stream, "cuda:0") == number
    for wrong in (0, -2, -(2**70), 2**63, Foreign((0, -1))):
        with pytest.raises(errors.ParameterError, match="stream"):
            stream_number(wrong, "cuda:0")
    for wrong in (True, 1.0, "1", object(), Foreign((1, 5)), Foreign(5), Foreign(None), library("cupy.cuda.stream")):
        with pytest.raises(TypeError, match="stream"):
            stream_number(wrong, "cuda:0")


@pytest.mark.parametrize("name", CALLS)
def test_a_stream_that_is_asked_for(place, name):
    call = CALLS[name]
    want = call(PANEL, SIGNAL)
    x, s = (warpquant.to_device(a, place) for a in (PANEL, SIGNAL))
    with warpquant.Stream(place) as around:
        assert x.stream != around.handle
        got = call(x, s)
        assert got.stream == around.handle
        same_bits(got.to_numpy(), want)
        own = warpquant.Stream(place)
        for stream in (own, own.handle, Foreign((0, own.handle))):
            got = call(x, s, stream=stream)
            assert got.stream == own.handle
            same_bits(got.to_numpy(), want)
        unordered = call(x, s, stream=-1)
        assert unordered.stream == around.handle
        around.synchronize()  # nobody else sees to it that the arguments stay
    after = call(x, s)
    assert after.stream == x.stream
    assert call(x, s, stream=1).stream == 1
    for wrong in (0, -7):
        with pytest.raises(errors.ParameterError, match="stream"):
            call(x, s, stream=wrong)
    with pytest.raises(TypeError, match="stream"):
        call(x, s, stream="fast")


@pytest.mark.parametrize("name", CALLS)
def test_arrays_of_other_streams_wait(schedules, name):
    """Whatever stream is chosen, arguments come before and consumers after."""
    call = CALLS[name]
    want = call(PANEL, SIGNAL)
    for seed in schedules():
        first, second, third = (warpquant.Stream("emulator") for _ in range(3))
        x = warpquant.to_device(PANEL, "emulator", stream=first)
        s = warpquant.to_device(SIGNAL, "emulator", stream=second)
        got = call(x, s, stream=third)
        del x, s, first, second
        with warpquant.Stream("emulator"):  # takes memory that is free
            warpquant.to_device(np.full_like(PANEL, 7), "emulator")
        same_bits(got.to_numpy(), want, f"seed {seed}")


def test_without_a_stream_each_thread_has_its_own(place):
    streams, results = set(), []

    def work():
        x = warpquant.to_device(PANEL, place)
        streams.add(x.stream)
        results.append(ma.ema(x, 14))
        assert results[-1].stream == x.stream
        barrier.wait()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(streams) == 4
    assert min(streams) > 2
    for result in results:  # whose threads are gone
        same_bits(result.to_numpy(), ma.ema(PANEL, 14))
    barrier = threading.Barrier(1)
    again = threading.Thread(target=work)
    again.start()
    again.join()
    assert len(streams) == 4  # a stream that is free is taken again


def test_streams_and_arrays_in_host_memory(place):
    stream = warpquant.Stream(place)
    for call in CALLS.values():
        with pytest.raises(errors.ParameterError, match="stream: goes with arrays that are on a device"):
            call(PANEL, SIGNAL, stream=stream, device=place)
    with pytest.raises(errors.ParameterError, match="stream"):
        ma.ema(PANEL, 14, stream=stream)
    with stream:
        same_bits(ma.ema(PANEL, 14, device=place), ma.ema(PANEL, 14))


def test_streams_of_another_device(emulator):
    other = warpquant.Stream("emulator:1", "low")
    x = warpquant.to_device(PANEL, "emulator")
    with pytest.raises(errors.ParameterError, match="'emulator:1'"):
        ma.ema(x, 14, stream=other)
    with other:
        assert ma.ema(x, 14).stream == x.stream  # it is for calls on its device
        assert warpquant.to_device(PANEL, "emulator:1").stream == other.handle


class Owner:
    """An array of somebody else's, without a stream of its own."""

    def __init__(self, array):
        self.array, self.asked = array, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **how):
        self.asked.append(how["stream"])
        return self.array.__dlpack__(**how)


def test_owners_are_told_the_stream(emulator):
    x = Owner(warpquant.to_device(PANEL, "emulator"))
    stream = warpquant.Stream("emulator")
    ma.ema(x, 14)
    with stream:
        ma.ema(x, 14)
    ma.ema(x, 14, stream=stream)
    ma.ema(x, 14, stream=-1)
    ma.ema(x, 14, stream=1)
    assert x.asked == [x.array.stream, stream.handle, stream.handle, -1, 1]


# ---------------------------------------------------------------------------------------------- streams


def test_what_a_stream_says_of_itself(place):
    stream = warpquant.Device(place).stream("high")
    assert stream.device == f"{place}:0"
    assert stream.handle > 2
    assert stream.__cuda_stream__() == (0, stream.handle)
    assert repr(stream) == f"Stream('{place}:0', handle={stream.handle:#x})"
    assert stream.done
    assert stream.query()
    stream.synchronize()
    for wrong in (1, "highest", True, None):
        with pytest.raises(errors.ParameterError, match="priority"):
            warpquant.Stream(place, wrong)
    for wrong in (-1, "1", True, np.nan):
        with pytest.raises(errors.ParameterError, match="timeout"):
            stream.synchronize(timeout=wrong)


def test_streams_of_others(place):
    stream = warpquant.Stream(place)
    for theirs in (stream, stream.handle, Foreign((0, stream.handle))):
        wrapped = warpquant.Stream.wrap(theirs, place)
        assert wrapped.handle == stream.handle
        with wrapped:
            assert warpquant.to_device(PANEL, place).stream == stream.handle
    assert warpquant.Stream.wrap(1, place).handle == 1
    for rule in (-1, None):
        with pytest.raises(errors.ParameterError, match="a rule"):
            warpquant.Stream.wrap(rule, place)


def test_blocks_of_streams(place):
    outer, inner = warpquant.Stream(place), warpquant.Stream(place)
    handles = []
    with outer, inner, outer:
        handles.append(warpquant.to_device(PANEL, place).stream)
        thread = threading.Thread(target=lambda: handles.append(warpquant.to_device(PANEL, place).stream))
        thread.start()
        thread.join()
    with pytest.raises(ZeroDivisionError), outer, inner:
        _ = 1 / 0
    handles.append(warpquant.to_device(PANEL, place).stream)
    assert handles[0] == outer.handle
    assert len({*handles, inner.handle}) == 4


def test_a_stream_ends_with_the_arrays_made_in_it(emulator):
    before = emulator.counts()["streams"]
    stream = warpquant.Stream("emulator")
    array = warpquant.to_device(PANEL, "emulator", stream=stream)
    capsule = array.__dlpack__()
    prepared = warpquant.prepare(ma.ema, array, 14)
    del stream
    assert emulator.counts()["streams"] == before + 1
    same_bits(array.to_numpy(), PANEL)
    same_bits(prepared().to_numpy(), ma.ema(PANEL, 14))
    del array, prepared
    assert emulator.counts()["streams"] == before + 1
    del capsule
    assert emulator.counts()["streams"] == before
    code = "import warpquant; s = warpquant.Stream('emulator'); a = warpquant.to_device([1.0], 'emulator', stream=s)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_priorities(emulator):
    plain, high = warpquant.Stream("emulator"), warpquant.Stream("emulator", "high")
    assert sorted(p for p in emulator.priorities() if p)[:1] == [-100]
    del high
    assert set(emulator.priorities()) == {0}
    del plain


def test_batches_go_first(emulator):
    """Kernels of the pipeline run in streams of high priority."""
    from_inside = []
    thread = threading.Thread(target=lambda: from_inside.append(stuck_call(emulator)))
    emulator.configure(stuck_after=2)
    thread.start()
    deadline = time.monotonic() + 10
    while -100 not in emulator.priorities() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert -100 in emulator.priorities()
    emulator.configure()
    thread.join()
    same_bits(from_inside[0], ma.ema(PANEL, 14))


def stuck_call(emulator):
    with config.override(**{"batch.max_bytes": 10_000, "streams": 3}):
        return ma.ema(PANEL, 14, device="emulator")


def test_events(schedules, emulator):
    for seed in schedules():
        first, second = warpquant.Stream("emulator"), warpquant.Stream("emulator")
        x = warpquant.to_device(PANEL, "emulator", stream=first)
        s = warpquant.to_device(SIGNAL, "emulator", stream=first)
        second.wait(first.record())
        got = equity.curve(prices=x, signal=s, stream=second)
        event = warpquant.Event("emulator")
        with second:
            event.record()
        event.synchronize()
        assert event.query()
        same_bits(got.to_numpy(), equity.curve(prices=PANEL, signal=SIGNAL), f"seed {seed}")
    assert warpquant.Event("emulator").query()  # there never was a mark
    assert repr(event) == "Event('emulator:0')"
    with pytest.raises(errors.ParameterError, match="no `with Stream`"):
        event.record()


def test_events_order_what_would_not_be(emulator):
    """Without the event some schedule is wrong, so the test of events can fail."""
    wrong = 0
    for seed in range(1, 60):
        emulator.configure(schedule_seed=seed)
        first, second = warpquant.Stream("emulator"), warpquant.Stream("emulator")
        x = warpquant.to_device(PANEL, "emulator", stream=first)
        s = warpquant.to_device(SIGNAL, "emulator", stream=first)
        got = equity.curve(prices=x, signal=s, stream=warpquant.Stream.wrap(second, "emulator"))
        with second:
            got = equity.curve(prices=x, signal=s, stream=-1)
            wrong += not np.array_equal(got.to_numpy()[:, 3:], equity.curve(prices=PANEL, signal=SIGNAL)[:, 3:])
    assert wrong == 0  # the first call has ordered the two
    for seed in range(1, 60):
        emulator.configure(schedule_seed=seed)
        x = warpquant.to_device(PANEL, "emulator", stream=warpquant.Stream("emulator"))
        s = warpquant.to_device(SIGNAL, "emulator", stream=warpquant.Stream("emulator"))
        with warpquant.Stream("emulator"):
            got = equity.curve(prices=x, signal=s, stream=-1)
            wrong += not np.array_equal(got.to_numpy()[:, 3:], equity.curve(prices=PANEL, signal=SIGNAL)[:, 3:])
    assert wrong > 0


# ---------------------------------------------------------------------------------------------- waits


#: Calls that wait for a device. What they need is there before the device gets stuck.
def _waits():
    x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
    stream = warpquant.Stream("emulator")
    event = warpquant.Event("emulator")
    prepared = warpquant.prepare(ma.ema, x, 14)

    def in_stream(wait):
        def call():
            result = equity.curve(prices=x, signal=s, stream=stream)
            event.record(stream)
            wait()
            return result.to_numpy()

        return call

    def missing():
        return prepared().to_numpy()

    curve, average = equity.curve(prices=PANEL, signal=SIGNAL), ma.ema(PANEL, 14)
    return {
        "pipeline": (lambda: stuck_call(None), average),
        "average": (lambda: ma.ema(x, 14).to_numpy(), average),
        "owner without a stream": (lambda: equity.curve(prices=Owner(x), signal=Owner(s)).to_numpy(), curve),
        "to_numpy": (lambda: equity.curve(prices=x, signal=s).to_numpy(), curve),
        "stream": (in_stream(stream.synchronize), curve),
        "event": (in_stream(event.synchronize), curve),
        "device": (in_stream(warpquant.Device("emulator").synchronize), curve),
        "missing": (missing, average),
    }


def again(call):
    """More work than a device does before it is stuck."""
    for _ in range(10):
        call()


WAITS = [
    "pipeline", "average", "owner without a stream", "to_numpy", "stream", "event", "device", "missing",
]  # fmt: skip


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_that_takes_too_long(emulator, name):
    """The call ends in time, what the device still works with stays, and afterwards all is as before."""
    call, want = _waits()[name]
    warpquant.Device("emulator").synchronize()
    memory.trim("emulator")
    before = emulator.counts()
    for stuck_after in (0, 1, 2, 5, 9):
        emulator.configure(stuck_after=stuck_after)
        begin = time.monotonic()
        with (
            config.override(**{"device.timeout": 0.1}),
            pytest.raises(errors.DeviceTimeoutError, match=r" 0\.1 s") as info,
        ):
            again(call)
        assert time.monotonic() - begin < 5
        assert isinstance(info.value, (errors.DeviceTransientError, TimeoutError))
        del info  # and with it the frames that hold results
        memory.trim("emulator")  # would free what nobody keeps
        emulator.configure()  # goes on
        assert emulator.counts()["strays"] == 0
        memory.trim("emulator")
        counts = emulator.counts()
        for what in ("memory_used", "allocations", "pinned_used", "streams", "events", "pending"):
            assert counts[what] == before[what], (what, stuck_after)
        same_bits(call(), want)
        memory.trim("emulator")


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_that_lasts(emulator, name):
    """A slow device is waited for: the limit is longer than what a wait takes."""
    call, want = _waits()[name]
    emulator.configure(pace=0.002)
    with config.override(**{"device.timeout": 20}):
        same_bits(call(), want)


@pytest.mark.parametrize("name", WAITS)
def test_interrupts_are_honoured_while_waiting(emulator, name):
    call, want = _waits()[name]
    emulator.configure(stuck_after=1)
    times = {}

    def interrupt():
        time.sleep(0.3)
        times["sent"] = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        again(call)
    assert time.monotonic() - times["sent"] < 0.2
    sender.join()
    memory.trim("emulator")
    emulator.configure()
    assert emulator.counts()["strays"] == 0
    same_bits(call(), want)


def test_explicit_timeouts(emulator):
    x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
    stream = warpquant.Stream("emulator")
    warpquant.Device("emulator").synchronize()
    emulator.configure(stuck_after=0)
    equity.curve(prices=x, signal=s, stream=stream)
    event = stream.record()
    assert not stream.done
    assert not event.query()
    for wait in (stream.synchronize, event.synchronize, warpquant.Device("emulator").synchronize):
        for seconds in (0, 0.05, np.float32(0.01)):
            with pytest.raises(TimeoutError):
                wait(timeout=seconds)
    emulator.configure()
    for wait in (stream.synchronize, event.synchronize, warpquant.Device("emulator").synchronize):
        wait(timeout=5)
    assert stream.done
    assert event.query()


def test_the_setting(monkeypatch, tmp_path):
    assert config.get("device.timeout") is None
    for wrong in (0, -1, "soon", True, np.inf):
        with pytest.raises(errors.ParameterError, match="time to wait"), config.override(**{"device.timeout": wrong}):
            pass
    file = tmp_path / "config.toml"
    file.write_text('device = "cpu"\n"device.timeout" = 3\n')
    monkeypatch.setenv("WQ_CONFIG", str(file))
    try:
        config.reload()
        assert config.get("device.timeout") == 3.0
        monkeypatch.setenv("WQ_DEVICE_TIMEOUT", "2.5")
        config.reload()
        assert config.get("device.timeout") == 2.5
    finally:
        monkeypatch.undo()
        config.reload()


# ---------------------------------------------------------------------------------------------- prepared calls


def new_prices(seed):
    return 50 + np.cumsum(np.random.default_rng(seed).normal(size=PANEL.shape), axis=1)


def overwrite(emulator, array, values):
    """Other values for an array on the device, at once."""
    emulator.write(array.__dlpack__(stream=-1), np.ascontiguousarray(values))


@pytest.mark.parametrize("name", CALLS)
def test_prepared_calls_have_the_bits_of_plain_ones(emulator, name):
    call = CALLS[name]
    x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
    results = []

    def keep(x, s):
        results.append(call(x, s))
        return results[-1]

    prepared = warpquant.prepare(keep, x, s)
    emulator.configure()
    for seed in range(4):
        prices = new_prices(seed)
        overwrite(emulator, x, prices)
        before = memory.stats("emulator")
        emulator.configure(schedule_seed=seed)
        got = prepared()
        assert got is prepared.result is results[0]
        asked = emulator.calls()
        # Kernels, what clears flags, and whether the stream is captured: no memory, no wait.
        assert set(asked) <= {"enqueue", "fill", "capturing"}, asked
        assert memory.stats("emulator") == before
        same_bits(got.to_numpy(), call(prices, SIGNAL))
    assert prepared.device == "emulator:0"
    assert prepared.stream == x.stream


@pytest.mark.parametrize("name", CALLS)
def test_prepared_calls_in_a_graph(emulator, name):
    call = CALLS[name]
    x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
    prepared = warpquant.prepare(call, x, s)
    stream = warpquant.Stream("emulator")
    warpquant.Device("emulator").synchronize()
    emulator.configure()
    emulator.begin_capture(stream.handle)
    try:
        prepared(stream)
        assert set(emulator.calls()) <= {"enqueue", "fill", "capturing"}
        assert emulator.counts()["launches"] == 0
    finally:
        graph = emulator.end_capture(stream.handle)
    for seed in range(4):
        prices = new_prices(seed)
        overwrite(emulator, x, prices)
        emulator.replay(graph, stream.handle)
        stream.synchronize()
        same_bits(prepared.result.to_numpy(), call(prices, SIGNAL))
    holes = PANEL.copy()
    holes[[2, 5], 30] = np.nan
    overwrite(emulator, x, holes)
    emulator.replay(graph, stream.handle)
    stream.synchronize()
    same_bits(prepared.result.to_numpy(), call(holes, SIGNAL), "missing values")


def test_prepared_calls_in_a_graph_of_pytorch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA device")
    x = torch.from_numpy(PANEL).cuda()
    prepared = warpquant.prepare(ma.tema, x, 14)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        prepared(stream=torch.cuda.current_stream())
    for seed in range(3):
        x.copy_(torch.from_numpy(new_prices(seed)))
        graph.replay()
        torch.cuda.synchronize()
        same_bits(prepared.result.cpu().numpy(), ma.tema(new_prices(seed), 14))


def test_one_call_is_prepared_at_a_time(emulator):
    x = warpquant.to_device(PANEL, "emulator")
    with pytest.raises(errors.ParameterError, match="several calls"):
        warpquant.prepare(lambda a: ma.ema(ma.sma(a, 3), 5), x)
    first = warpquant.prepare(ma.sma, x, 3)
    second = warpquant.prepare(ma.ema, first.result, 5)
    first()
    same_bits(second().to_numpy(), ma.ema(ma.sma(PANEL, 3), 5))


def test_a_stream_waits_for_another(emulator):
    for seed in range(20):
        emulator.configure(schedule_seed=seed)
        first, second = warpquant.Stream("emulator"), warpquant.Stream("emulator")
        x = warpquant.to_device(PANEL, "emulator", stream=first)
        second.wait(first)
        same_bits(ma.ema(x, 5, stream=second).to_numpy(), ma.ema(PANEL, 5))
    with pytest.raises(errors.DTypeError, match="event"):
        first.wait(3)


def test_prepared_calls_of_several_threads(emulator):
    """Runs do not mix: those of ATC find missing values, compute and spread results, one after the other."""
    x = PANEL.copy()
    x[:, ::7] = np.nan
    prepared = warpquant.prepare(atc.run, warpquant.to_device(x, "emulator"))
    want = atc.run(x)["average"]
    turns = 2 if "LD_PRELOAD" in os.environ else 20  # a sanitizer makes each a hundred times as long

    def runs(_):
        stream = warpquant.Stream("emulator")
        for _ in range(turns):
            prepared(stream)
        stream.synchronize()

    for seed in range(5):
        emulator.configure(schedule_seed=seed)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(runs, range(4)))
        same_bits(prepared.result["average"].to_numpy(), want, f"seed {seed}")


def test_a_stream_of_several_threads_and_tasks(emulator):
    stream, meeting = warpquant.Stream("emulator"), threading.Barrier(4)

    def inside(_):
        with stream:
            meeting.wait()
            with warpquant.Stream("emulator"):
                meeting.wait()
            meeting.wait()
            return warpquant.to_device(PANEL, "emulator").stream

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(inside, range(4))) == {stream.handle}

    async def task():
        with stream:
            await asyncio.sleep(0)
            return warpquant.to_device(PANEL, "emulator").stream

    async def tasks():
        return await asyncio.gather(task(), task(), task())

    assert set(asyncio.run(tasks())) == {stream.handle}
    assert warpquant.to_device(PANEL, "emulator").stream != stream.handle


@pytest.mark.parametrize("resource", ["async_pool", "cuda", "managed"])
def test_memory_comes_back_after_a_wait_that_took_too_long(emulator, resource):
    gc.collect()
    memory.trim("emulator")
    before = emulator.counts()["memory_used"]
    with memory.use(resource, "emulator"):
        emulator.configure(stuck_after=3)
        with config.override(**{"device.timeout": 0.05}), pytest.raises(errors.DeviceTimeoutError):
            ma.ema(PANEL, 14, device="emulator")
        x = warpquant.to_device(PANEL, "emulator")
        with config.override(**{"device.timeout": 0.05}):
            ma.ema(x, 14)  # its memory is freed while the device is stuck
            for target in (np.empty_like(PANEL), memory.pinned_empty(PANEL.shape, device="emulator")):
                with pytest.raises(errors.DeviceTimeoutError):
                    (x.copy_to(target), x.wait())  # one of the two waits
        emulator.configure()
        del x, target
        gc.collect()
        memory.trim("emulator")
        assert emulator.counts()["strays"] == 0
        assert emulator.counts()["memory_used"] == before


def test_prepared_calls_write_where_they_are_told(emulator):
    x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
    out = warpquant.to_device(np.zeros_like(PANEL), "emulator")
    for prepared, want in (
        (warpquant.prepare(ma.ema, x, 14, out=out), ma.ema(PANEL, 14)),
        (warpquant.prepare(equity.curve, prices=x, signal=s, out=out), equity.curve(prices=PANEL, signal=SIGNAL)),
    ):
        same_bits(out.to_numpy(), np.zeros_like(PANEL))
        assert prepared() is out
        same_bits(out.to_numpy(), want)
        overwrite(emulator, out, np.zeros_like(PANEL))
    prepared = warpquant.prepare(atc.run, x, out={"average": out})
    assert prepared()["average"] is out
    same_bits(out.to_numpy(), atc.run(PANEL)["average"])


def test_prepared_calls_in_many_streams(schedules, emulator):
    """Runs in several streams come one after the other, and results are there for whoever waits for their stream."""
    want = equity.curve(prices=PANEL, signal=SIGNAL)
    averages = ma.tema(PANEL.ravel(), 5)
    for seed in schedules():
        x, s = (warpquant.to_device(a, "emulator", stream=warpquant.Stream("emulator")) for a in (PANEL, SIGNAL))
        streams = [warpquant.Stream("emulator") for _ in range(3)]
        prepared = warpquant.prepare(equity.curve, prices=x, signal=s)
        pieces = warpquant.prepare(ma.tema, warpquant.to_device(PANEL.ravel(), "emulator"), 5)
        for stream in streams:
            with stream:
                curve, average = prepared(), pieces()
        same_bits(curve.to_numpy(), want, f"seed {seed}")
        same_bits(average.to_numpy(), averages, f"seed {seed}")
        assert prepared(stream=-1) is curve


def test_arrays_outlive_prepared_calls(emulator):
    """Owners who name no stream get their arrays back when the device is done."""
    released = []

    class Released(Owner):
        def __del__(self):
            released.append(self)

    prepared = warpquant.prepare(ma.ema, Released(warpquant.to_device(PANEL, "emulator")), 14)
    released.clear()
    emulator.configure(stuck_after=0)
    result = prepared()
    del prepared
    assert emulator.counts()["memory_used"] >= PANEL.nbytes + result.nbytes
    emulator.configure()
    same_bits(result.to_numpy(), ma.ema(PANEL, 14))
    memory.trim("emulator")
    del result


def test_what_cannot_be_prepared(emulator):
    x = warpquant.to_device(PANEL, "emulator")
    for arguments, match in (
        ((ma.ema, PANEL, 14), "host memory"),
        ((ma.ema, PANEL, 14, ), "to_device"),
        ((len, x), "cannot be prepared"),
        ((3,), "cannot be called"),
        ((ma.ema, x, 0), "length"),
    ):  # fmt: skip
        with pytest.raises(errors.ParameterError, match=match):
            warpquant.prepare(*arguments)
    with pytest.raises(errors.ParameterError, match="host memory"):
        warpquant.prepare(ma.ema, PANEL, 14, device="emulator")
    assert ma.ema(PANEL, 14).shape == PANEL.shape  # nothing is left of it
    empty = warpquant.prepare(ma.ema, warpquant.to_device(PANEL[:, :0], "emulator"), 14)
    assert empty().shape == (20, 0)


def test_captured_streams_are_refused(emulator):
    stream = warpquant.Stream("emulator")
    x, s = (warpquant.to_device(a, "emulator", stream=stream) for a in (PANEL, SIGNAL))
    elsewhere = warpquant.to_device(PANEL, "emulator")
    warpquant.Device("emulator").synchronize()
    emulator.begin_capture(stream.handle)
    try:
        for call in (
            *((lambda c=c: c(x, s)) for c in CALLS.values()),
            lambda: ma.ema(elsewhere, 14, stream=stream),
            lambda: ma.ema(x, 14, stream=warpquant.Stream("emulator")),
            lambda: warpquant.prepare(ma.ema, x, 14),
            lambda: warpquant.to_device(PANEL, "emulator", stream=stream),
            x.to_numpy,
            x.wait,
            stream.synchronize,
            lambda: stream.done,
        ):
            emulator.configure()
            with pytest.raises(errors.CaptureUnsafeError, match=r"warpquant\.prepare"):
                call()
            assert set(emulator.calls()) <= {"capturing", "create_stream", "destroy_stream"}
    finally:
        graph = emulator.end_capture(stream.handle)
    emulator.replay(graph, stream.handle)
    same_bits(ma.ema(x, 14).to_numpy(), ma.ema(PANEL, 14))


FAULTS = {
    1: errors.DeviceOutOfMemoryError,
    3: errors.DeviceTransientError,
    4: errors.DeviceLostError,
    5: errors.KernelError,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS)
def test_every_call_of_the_table_may_fail(emulator, name, fault):
    """Of what streams and prepared calls add: the documented exception, or the right result; nothing is left."""
    call = CALLS[name]
    want = call(PANEL, SIGNAL)

    def work():
        with warpquant.Stream("emulator") as stream:
            x, s = (warpquant.to_device(a, "emulator") for a in (PANEL, SIGNAL))
            prepared = warpquant.prepare(call, Owner(x), Owner(s))
            with warpquant.Stream("emulator"):
                got = prepared()
            stream.record().synchronize()
            return got.to_numpy()

    work()
    memory.trim("emulator")
    before = emulator.counts()
    emulator.configure()
    same_bits(work(), want)
    total = emulator.counts()["calls"]
    raised = 0
    for number in range(1, total + 1):
        emulator.configure(fail_at=number, failure=fault)
        try:
            same_bits(work(), want, f"call {number} failed")
        except FAULTS[fault]:
            raised += 1
        emulator.configure()
        memory.trim("emulator")
        counts = emulator.counts()
        left = [counts[c] - before[c] for c in ("memory_used", "pinned_used", "streams", "events")]
        assert sum(n > 0 for n in left) <= 1, (number, left)  # what could not be given back
        before = counts
    emulator.forget()
    assert raised > total / 4  # short memory is asked for a second time
