# SPDX-License-Identifier: Apache-2.0
"""Memory of devices: resources and what stands on them, what is done when it is short, arrays in pinned memory."""

from __future__ import annotations

import concurrent.futures
import csv
import ctypes
import functools
import gc
import itertools
import os
import subprocess
import sys
import textwrap
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import warpquant
from checks import same_bits
from test_devices import CALLS
from warpquant import _core, _devices, atc, config, equity, errors, ma, memory

PANEL = 100 + np.cumsum(np.random.default_rng(6).normal(size=(20, 150)), axis=1)

#: Ways to say where blocks come from. Somebody else's memory is, in these tests, that of the host, pinned for it.
RESOURCES = {
    "async_pool": {},
    "cuda": {},
    "managed": {},
    "external": {},
    "pool": {},
    "pool, cuda": {"upstream": "cuda"},
    "pool, managed": {"upstream": "managed"},
    "pool, external": {"upstream": "external"},
    "pinned": {},
    "host": {},
    "pool, pinned": {"upstream": "pinned"},
    "pool, host": {"upstream": "host"},
}
ADAPTORS = {
    "nothing": {},
    "tracking": {"tracking": True},
    "poison": {"poison": True},
    "zero_on_free": {"zero_on_free": True},
    "log": {"log": os.devnull},
    "on_failure": {"on_failure": lambda _: False},
    "fail_at": {"fail_at": 10**9},
    "all": {
        "tracking": True, "poison": True, "zero_on_free": True, "log": os.devnull, "on_failure": lambda _: False,
        "fail_at": 10**9,
    },
}  # fmt: skip


@pytest.fixture(params=["emulator", "cuda"])
def place(request):
    """Each kind of device that answers."""
    try:
        memory.trim(request.param)
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    if request.param == "emulator":
        request.getfixturevalue("emulator")
    gc.collect()
    yield request.param
    memory.trim(request.param)


@pytest.fixture
def emulator():
    """The module of the simulated devices, as they are at first, and afterwards."""
    try:
        memory.trim("emulator")
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    from warpquant import _emulator

    _emulator.configure()
    before = _emulator.counts()["memory_used"]  # by arrays that tests of other modules keep
    yield _emulator
    _emulator.configure()
    gc.collect()  # errors hold frames, and those hold arrays
    memory.trim("emulator")
    assert _emulator.counts()["memory_used"] == before
    if not before:
        _emulator.forget()  # the streams


def use(name, place, **how):
    """`memory.use` of a resource by its name in the table."""
    resource = name.partition(",")[0]
    how = {**RESOURCES[name], **how}
    if "external" in (resource, how.get("upstream")):
        theirs = _core.memory_stack(place, 0, True)
        sizes = {}

        def allocate(size, stream):
            pointer = theirs.allocate(size, stream)
            sizes[pointer] = size
            return pointer

        def deallocate(pointer, size, stream):
            assert sizes.pop(pointer) == size
            wait(place, stream)  # theirs is no memory of a stream
            theirs.release(pointer, size, stream)

        how |= {"allocate": allocate, "deallocate": deallocate}
    return memory.use(resource, place, **how)


def wait(place, stream):
    """Until a stream's work is done."""
    _core.memory_stack(place, 0).wait(stream)


def key_of(name):
    return "pinned" if {"pinned", "host"} & set(name.split(", ")) else "device"


def stack_of(name, place):
    return _core.memory_stack(place, 0, key_of(name) == "pinned")


def streams(place, request):
    """Some of its streams: the default one, that of the thread, others where tests can make them."""
    if place == "cuda":
        return [0, 2]
    emulator = request.getfixturevalue("emulator")
    return [0, 2, emulator.make_stream(), emulator.make_stream()]


@pytest.mark.parametrize("adaptors", ADAPTORS)
@pytest.mark.parametrize("name", RESOURCES)
def test_blocks_of_every_resource(place, name, adaptors, request):
    """Aligned, apart, counted; all of it comes back."""
    handles = streams(place, request)

    @hypothesis.settings(max_examples=15 if place == "emulator" else 100)
    @hypothesis.given(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from([1, 8, 255, 256, 257, 5000, 70_000, 2**21]), st.booleans()),
            max_size=40,
        ),
        st.integers(1, 2**31),
    )
    def check(steps, seed):
        if place == "emulator":
            request.getfixturevalue("emulator").configure(schedule_seed=seed)
        live = []
        with use(name, place, **ADAPTORS[adaptors]), memory.frame(place) as used:
            stack, key = stack_of(name, place), key_of(name)
            before = memory.stats(place)[key]

            def check_books():
                now = memory.stats(place)[key]
                assert now["current"] - before["current"] == sum(size for _, size, _ in live)
                assert now["blocks"] - before["blocks"] == len(live)
                assert 0 <= now["fragmentation"] <= 1

            for which, size, frees in steps:
                if frees and live:
                    stack.release(*live.pop(which % len(live)))
                else:
                    stream = handles[which % len(handles)]
                    live.append((stack.allocate(size, stream), size, stream))
                check_books()
                assert all(pointer % 256 == 0 for pointer, _, _ in live)
                ordered = sorted((pointer, size) for pointer, size, _ in live)
                assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(ordered))
                if ADAPTORS[adaptors].get("tracking") and key == "device":
                    assert sorted((b.pointer, b.bytes, b.stream) for b in memory.live(place)) == sorted(live)
            most = used.peak
            while live:
                stack.release(*live.pop())
            check_books()
            if key == "device":
                assert (used.current, used.peak, used.blocks) == (0, most, 0)
            memory.trim(place)
            assert memory.stats(place)[key]["kept"] == 0

    emulator = request.getfixturevalue("emulator") if place == "emulator" else None
    before = emulator and emulator.counts()
    check()
    if emulator:
        counts = emulator.counts()
        wait(place, 0)
        assert all(counts[what] == before[what] for what in ("memory_used", "pinned_used", "events"))


@pytest.mark.parametrize("name", [n for n in RESOURCES if n.startswith("pool")])
def test_neighbours_become_one(place, name):
    rng = np.random.default_rng(3)
    with use(name, place):
        stack, key = stack_of(name, place), key_of(name)
        blocks = [(stack.allocate(size), size) for size in rng.integers(1, 3000, 100)]
        for pointer, size in blocks[::2]:
            stack.release(pointer, size)
        half = memory.stats(place)[key]
        assert half["kept_blocks"] >= 50
        assert half["fragmentation"] > 0
        for i in rng.permutation(50):
            stack.release(*blocks[2 * i + 1])
        all_of_it = memory.stats(place)[key]
        assert (all_of_it["kept_blocks"], all_of_it["fragmentation"]) == (1, 0)
        assert stack.allocate(all_of_it["kept"]) == min(pointer for pointer, _ in blocks)
        stack.release(min(pointer for pointer, _ in blocks), all_of_it["kept"])


@pytest.mark.parametrize("name", RESOURCES)
def test_a_pool_or_tracking_notices_what_is_freed_wrongly(place, name):
    how = {} if name.startswith("pool") else {"tracking": True}
    with use(name, place, **how):
        stack, key = stack_of(name, place), key_of(name)
        pointer = stack.allocate(1000)
        before = memory.stats(place)[key]
        for wrong in ((pointer + 256, 1000), (pointer + 2**40, 1000), *([(pointer, 1001)] if how else [])):
            with pytest.raises(errors.InternalError):
                stack.release(*wrong)
        assert memory.stats(place)[key] == before
        stack.release(pointer, 1000)
        with pytest.raises(errors.InternalError):
            stack.release(pointer, 1000)
        assert memory.stats(place)[key]["current"] == before["current"] - 1000


def test_blocks_go_back_to_where_they_came_from(place):
    arrays = [warpquant.to_device(PANEL, place)]
    before = memory.stats(place)["device"]["current"]
    for name in ("pool, cuda", "external", "managed", "async_pool"):
        with use(name, place, tracking=True, poison=True):
            arrays.append(ma.ema(arrays[0], len(arrays)))
            assert [block.tag for block in memory.live(place)] == ["ma.ema"]
    for length, array in enumerate(arrays):
        same_bits(array.to_numpy(), ma.ema(PANEL, length) if length else PANEL)
    assert memory.stats(place)["device"]["current"] == before + 4 * PANEL.nbytes
    del arrays, array
    assert memory.stats(place)["device"]["current"] == before - PANEL.nbytes


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("call", ["ema", "holes", "atc", "equity"])
def test_every_resource_gives_the_same_results(place, name, call):
    want = CALLS[call](device="cpu")
    with use(name, place, tracking=True, poison=True), config.override({"batch.max_bytes": 60_000}):
        same_bits(CALLS[call](device=place), want)
    prices = warpquant.to_device(PANEL, place)
    with use(name, place, poison=True):
        for kind in ("ema", "hma"):
            same_bits(getattr(ma, kind)(prices, 9).to_numpy(), getattr(ma, kind)(PANEL, 9))
        same_bits(atc.run(prices)["average"].to_numpy(), atc.run(PANEL)["average"])


@pytest.mark.parametrize("name", RESOURCES)
def test_calls_from_many_threads(place, name):
    """And a resource that is exchanged meanwhile."""
    want = ma.ema(PANEL, 14)

    def compute():
        with config.override({"batch.max_bytes": 10_000}):
            return ma.ema(PANEL, 14, device=place)

    with use(name, place, tracking=True, poison=True, on_failure=lambda _: False):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(compute) for _ in range(32)]
            for _ in range(20):
                with use(name, place):
                    time.sleep(0.001)
            for call in calls:
                same_bits(call.result(), want)
        if key_of(name) == "device":
            assert memory.live(place) == []


@pytest.mark.parametrize("name", ["pool", "pool, cuda", "cuda", "managed", "async_pool"])
def test_streams_wait_before_they_use_what_others_freed(emulator, name):
    """Work on a block goes on after it was freed; no host waits, except where memory is no stream's."""
    for seed in range(1, 41):
        emulator.configure(schedule_seed=seed)
        handles = [emulator.make_stream() for _ in range(3)]
        later = []
        with use(name, "emulator"):
            for i in range(12):
                stream = handles[i % 3]
                array = _core.to_device(PANEL + i, "emulator", 0, stream)
                capsule = array.__dlpack__(stream=stream)
                later.append(emulator.read_later(capsule, stream, PANEL.size))
                del array, capsule
            if name in ("pool", "async_pool"):
                assert emulator.counts()["pending"] >= 12
            for i, read in enumerate(later):
                same_bits(read().reshape(PANEL.shape), PANEL + i, f"seed {seed}, array {i}")


def test_a_pool_gives_a_stream_its_own_blocks_first(emulator):
    one, other = emulator.make_stream(), emulator.make_stream()
    with use("pool", "emulator"):
        stack = stack_of("pool", "emulator")
        mine, gap, theirs, end = (stack.allocate(1024, s) for s in (one, one, other, other))
        stack.release(mine, 1024, one)
        stack.release(theirs, 1024, other)
        assert stack.allocate(1000, other) == theirs
        assert stack.allocate(1000, other) == mine
        for pointer in (theirs, mine):
            stack.release(pointer, 1000, other)
        for pointer, stream in ((gap, one), (end, other)):
            stack.release(pointer, 1024, stream)


def content(place, pointer, size):
    """Bytes of memory that the host can read."""
    wait(place, 0)
    return set(ctypes.string_at(pointer, size))


@pytest.mark.parametrize("name", ["pool", "pool, pinned", "pool, host"])
def test_what_blocks_are_filled_with(place, name):
    if place == "cuda" and key_of(name) == "device":
        name = "pool, managed"
    for how, given, freed in (
        ({"poison": True}, {0xFF}, {0xFF}),
        ({"zero_on_free": True}, None, {0}),
        ({"poison": True, "zero_on_free": True}, {0xFF}, {0}),
    ):
        with use(name, place, **how):
            stack = stack_of(name, place)
            whole = stack.allocate(2**20)  # the whole chunk, which is kept
            assert given is None or content(place, whole, 2**20) == given
            ctypes.memset(whole, 7, 2**20)
            stack.release(whole, 2**20)
            assert content(place, whole, 2**20) == freed
    for kind in (np.float64, np.float32):
        assert np.isnan(np.frombuffer(b"\xff" * 8, kind)).all()


def test_a_log(place, tmp_path):
    file = tmp_path / "memory.csv"
    with use("async_pool", place, log=file, fail_at=2):
        array = warpquant.to_device(PANEL, place)
        average = ma.ema(array, 5)
        del array
        average.wait()
        rows = list(csv.DictReader(file.read_text().splitlines()))
    assert list(rows[0]) == ["time", "event", "bytes", "pointer", "stream", "tag"]
    first, failed, again = rows[:3]
    (freed,) = [row for row in rows if row["event"] == "free" and row["tag"] == ""]
    assert freed["pointer"] == first["pointer"]
    assert (first["event"], first["bytes"], first["tag"]) == ("allocate", str(PANEL.nbytes), "to_device")
    assert (failed["event"], int(failed["pointer"], 16), failed["tag"]) == ("fail", 0, "ma.ema")
    assert (again["event"], again["bytes"]) == ("allocate", failed["bytes"])
    assert freed["bytes"] == first["bytes"]
    assert [float(r["time"]) for r in rows] == sorted(float(r["time"]) for r in rows)
    with pytest.raises(errors.ParameterError, match="cannot be written"):
        use("async_pool", place, log=tmp_path / "none" / "x.csv")


# ---------------------------------------------------------------------------------------------- functions of the user's


def test_a_function_that_makes_room(emulator):
    hoard = [warpquant.to_device(np.zeros(2**16), "emulator") for _ in range(3)]
    emulator.configure(memory=2**21)
    asked = []

    def make_room(size):
        asked.append(size)
        return bool(hoard) and hoard.pop() is not None

    short = memory.stats("emulator")["short"]
    with use("async_pool", "emulator", on_failure=make_room):
        array = warpquant.to_device(np.zeros(2**17), "emulator")
        assert asked == [2**20]
        assert memory.stats("emulator")["short"] == short
        with pytest.raises(errors.DeviceOutOfMemoryError):
            warpquant.to_device(np.zeros(2**18), "emulator")
        assert not hoard
    del array

    def fails(size):
        raise KeyError("no idea")

    with (
        use("async_pool", "emulator", on_failure=fails),
        pytest.raises(errors.ParameterError, match="on_failure: the function raised KeyError: 'no idea'"),
    ):
        warpquant.to_device(np.zeros(2**19), "emulator")


class OutOfMemoryError(RuntimeError):
    """As PyTorch's, which is no MemoryError."""


@pytest.mark.parametrize("name", ["external", "pool, external"])
def test_errors_of_somebody_elses_memory(place, name):
    def failing(error):
        def allocate(size, stream):
            raise error

        return allocate

    resource, upstream = ("pool", {"upstream": "external"}) if name != "external" else (name, {})
    aligned = _core.memory_stack(place, 0, True).allocate(4096)
    given_back = []
    for allocate, error, match in (
        (failing(MemoryError("all gone")), errors.DeviceOutOfMemoryError, "allocate: .* MemoryError: all gone"),
        (failing(OutOfMemoryError("theirs")), errors.DeviceOutOfMemoryError, "OutOfMemoryError: theirs"),
        (failing(OSError("bad")), errors.ParameterError, "allocate: the function raised OSError: bad"),
        (lambda size, stream: None, errors.DeviceOutOfMemoryError, "has none"),
        (lambda size, stream: "here", errors.ParameterError, "no address"),
        (lambda size, stream: aligned + 8, errors.ParameterError, "not aligned"),
        (lambda size: 0, errors.ParameterError, "TypeError"),
    ):
        before = memory.stats(place)["device"]
        functions = {"allocate": allocate, "deallocate": lambda *block: given_back.append(block)}
        with memory.use(resource, place, **functions, **upstream), pytest.raises(error, match=match):
            warpquant.to_device(PANEL, place)
        now = memory.stats(place)["device"]
        assert (now["current"], now["blocks"]) == (before["current"], before["blocks"])
    assert [pointer for pointer, _, _ in given_back] == [aligned + 8]
    stop = failing(KeyboardInterrupt())
    with memory.use("external", place, allocate=stop, deallocate=print), pytest.raises(KeyboardInterrupt):
        warpquant.to_device(PANEL, place)
    _core.memory_stack(place, 0, True).release(aligned, 4096)


def test_errors_of_giving_back_are_reported_as_those_of_destructors(place, monkeypatch):
    theirs, heard = _core.memory_stack(place, 0, True), []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: heard.append(report.exc_value))

    def fails(*block):
        raise OSError("lost")

    with memory.use("external", place, allocate=theirs.allocate, deallocate=fails):
        array = warpquant.to_device(PANEL, place)
        array.wait()
        pointer = _pointer(array)
        del array
    assert [str(e) for e in heard] == ["lost"]
    theirs.release(pointer, PANEL.nbytes)


def _pointer(array):
    """Where an array is, by DLPack."""
    capsule = array.__dlpack__(stream=-1)
    ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    tensor = ctypes.pythonapi.PyCapsule_GetPointer(capsule, b"dltensor")
    return ctypes.cast(tensor, ctypes.POINTER(ctypes.c_void_p))[0]


def script(code, place, **env):
    """Run a script in a process of its own; what it prints."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WQ_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), place],
        capture_output=True, text=True, timeout=60, env={**inherited, "XDG_CONFIG_HOME": os.devnull, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_memory_outlives_the_interpreter(place):
    assert (
        script(
            """
        import sys, numpy, warpquant
        from warpquant import _core, memory
        place = sys.argv[1]
        theirs = _core.memory_stack(*warpquant._devices.with_memory(place), True)
        class Kept:
            def __init__(self, array): self.array, self.me = array, self
        for resource, how in (
            ("external", {"allocate": theirs.allocate, "deallocate": lambda p, n, s: theirs.release(p, n, s)}),
            ("pool", {"upstream": "external", "allocate": theirs.allocate, "deallocate": theirs.release}),
            ("async_pool", {"tracking": True, "on_failure": lambda n: False}),
        ):
            memory.use(resource, place, **how)
            sys.kept = getattr(sys, "kept", []) + [Kept(warpquant.to_device(numpy.zeros(9), place))]
            pinned = memory.pinned_empty(9, device=place)
            sys.kept[-1].array.copy_to(pinned)
            sys.kept.append(pinned)
        print("done")
        """,
            place,
        )
        == "done"
    )


def test_arguments_of_use(place):
    def nothing(*_):
        return 0

    for how, match in (
        ({"resource": "heap"}, "resource: 'heap' is not one of 'async_pool', 'cuda'"),
        ({"resource": "cuda", "upstream": "cuda"}, "upstream: goes with"),
        ({"resource": "pool", "upstream": "pool"}, "upstream: 'pool' is not one of"),
        ({"resource": "external"}, "allocate: is missing"),
        ({"resource": "external", "allocate": nothing}, "deallocate: is missing"),
        ({"resource": "cuda", "allocate": nothing}, "allocate: goes with"),
        ({"resource": "external", "allocate": nothing, "deallocate": 3}, "deallocate: is a int"),
        ({"on_failure": "x"}, "on_failure: is a str"),
        ({"fail_at": 0}, "fail_at: 0 is not"),
        ({"fail_at": True}, "fail_at: True is not"),
        ({"fail_at": 1.5}, "fail_at: 1.5 is not"),
    ):
        with pytest.raises(errors.ParameterError, match=match):
            memory.use(**{"device": place, **how})
    with pytest.raises(errors.ParameterError, match="not tracked"):
        memory.live(place)
    for device in ("cpu", "auto"):
        with pytest.raises(errors.ParameterError, match="memory of its own"):
            memory.use(device=device)


# ---------------------------------------------------------------------------------------------- short memory


def resident(f):
    """A call with arrays on the device, whose result comes back."""
    return lambda place: f(functools.partial(warpquant.to_device, device=place)).to_numpy()


def copied(place):
    target = memory.pinned_empty(PANEL.shape, device=place)
    array = warpquant.to_device(PANEL, place)
    array.copy_to(place).copy_to(target)
    array.wait()
    return target.copy()


EVERYTHING = {
    **{name: functools.partial(lambda f, place: f(device=place), f) for name, f in CALLS.items()},
    **{f"{kind}, there": resident(lambda put, kind=kind: getattr(ma, kind)(put(PANEL), 9)) for kind in ma.kinds()},
    "several lengths, there": resident(lambda put: ma.sma(put(PANEL), [3, 9])),
    "holes, there": resident(lambda put: ma.sma(put(np.where(PANEL > 101, np.nan, PANEL)), 3)),
    "equity, there": resident(lambda put: equity.curve(prices=put(PANEL), signal=put(np.sign(PANEL - 100)))),
    "atc, there": resident(lambda put: atc.run(put(PANEL[:3]))["average"]),
    "copies": copied,
}


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("what", EVERYTHING)
def test_every_allocation_may_fail(place, what, lasting):
    """One by one: the documented error, or the right result; either way everything is given back."""
    call = EVERYTHING[what]
    with config.override({"batch.max_bytes": 60_000}):
        want = call(place)
        for key, resource in (("device", "async_pool"), ("pinned", "pinned")):
            memory.trim(place)
            gc.collect()
            before = memory.stats(place)[key]
            failed = raised = 0
            for number in itertools.count(1):
                with use(resource, place, fail_at=number, lasting=lasting, tracking=True):
                    try:
                        same_bits(call(place), want, f"allocation {number} failed")
                    except errors.DeviceOutOfMemoryError:
                        raised += 1
                    now = memory.stats(place)[key]
                    assert (now["current"], now["blocks"]) == (before["current"], before["blocks"]), number
                if now["failures"] == before["failures"] + failed:
                    break
                failed = now["failures"] - before["failures"]
                assert number < 500
            # One that fails alone is tried again.
            assert (raised > 0) == (lasting and number > 1)
            assert number > 1 or key == "pinned"


def test_what_is_tried_when_memory_is_short(emulator):
    steps = ("trimmed", "waited", "collected", "halved", "fell_back", "exhausted")

    def short():
        found = memory.stats("emulator")["short"]
        assert tuple(found) == steps
        return np.array(list(found.values()))

    array = warpquant.to_device(np.zeros(1000), "emulator")
    for fails, want in (((1, 1), (1, 0, 0, 0, 0, 0)), ((1, 2), (1, 1, 0, 0, 0, 0)), ((1, 3), (1, 1, 1, 0, 0, 0))):
        before, left = short(), [fails[1]]

        def refuse(size, stream, left=left):
            left[0] -= 1
            return None if left[0] >= 0 else _core.memory_stack("emulator", 0, True).allocate(size, stream)

        theirs = _core.memory_stack("emulator", 0, True)
        with memory.use("external", "emulator", allocate=refuse, deallocate=theirs.release):
            copy = array.copy_to("emulator")
            wait("emulator", 0)
            assert tuple(short() - before) == want
            del copy
    before = short()
    with use("async_pool", "emulator", fail_at=1, lasting=True), pytest.raises(errors.DeviceOutOfMemoryError):
        ma.ema(PANEL[:4], 3, device="emulator")
    trimmed, waited, collected, halved, fell_back, exhausted = short() - before
    assert trimmed == waited == exhausted == halved + 1 > 1
    assert collected == 1  # once a call
    assert fell_back == 0


def test_garbage_is_collected(emulator):
    class Cycle:
        def __init__(self, array):
            self.array, self.me = array, self

    emulator.configure(memory=4 * PANEL.nbytes)
    gc.disable()
    try:
        Cycle(warpquant.to_device(np.zeros((3, *PANEL.shape)), "emulator"))
        kept = warpquant.to_device(PANEL, "emulator")
        same_bits(warpquant.to_device(PANEL, "emulator").to_numpy(), kept.to_numpy())
    finally:
        gc.enable()


def in_use(place):
    """Bytes that count against a limit: also what other modules' faults kept from being given back."""
    return int(memory.stats(place)["device"]["current"])


@pytest.fixture
def limit(place):
    """Whatever a test does to it, the limit is then as before."""
    before = memory.stats(place)["device"]["limit"]
    yield functools.partial(memory.set_limit, device=place)
    memory.set_limit(before or None, place)


def test_what_an_error_says(place, limit):
    limit("90%")
    array = warpquant.to_device(PANEL, place)
    with use("async_pool", place, tracking=True, fail_at=3, lasting=True):
        mine = [warpquant.to_device(PANEL, place), ma.sma]
        with pytest.raises(errors.DeviceOutOfMemoryError) as info:
            ma.ema(array, 5)
        error = info.value
        assert error.live_by_tag == {
            "to_device": PANEL.nbytes,
            **{k: v for k, v in error.live_by_tag.items() if "ema" in k},
        }
        assert error.requested > 0
        assert 0 < error.free <= error.total
        assert error.limit == memory.stats(place)["device"]["limit"] > 0
        for number in (error.requested, error.free, error.total, error.limit, PANEL.nbytes):
            assert str(number) in str(error)
        del mine
    bare = errors.DeviceOutOfMemoryError("x")
    assert (bare.requested, bare.free, bare.total, bare.limit, bare.live_by_tag) == (0, 0, 0, 0, {})


@pytest.mark.parametrize("what", ["ema", "ragged", "atc", "equity"])
def test_auto_falls_back_to_the_cpu(emulator, monkeypatch, what, caplog):
    want = CALLS[what](device="cpu")
    chosen = []

    def choose(work, num_threads):
        chosen.append(_devices._choice("emulator", 0, may_fall_back=config.get("fallback") == "cpu"))
        return chosen[-1]

    monkeypatch.setattr(_devices, "_auto", choose)
    emulator.configure(memory=500)
    before = memory.stats("emulator")["short"]["fell_back"]
    _devices._log_fallback.cache_clear()
    with caplog.at_level("INFO", "warpquant"):
        same_bits(CALLS[what](device="auto"), want)
        CALLS[what](device="auto")
    assert [r.message.partition(")")[2] for r in caplog.records] == [": emulator:0 has not enough memory"]
    assert memory.stats("emulator")["short"]["fell_back"] == before + len(chosen) > before
    with config.override(fallback="error"), pytest.raises(errors.DeviceOutOfMemoryError):
        CALLS[what](device="auto")
    with pytest.raises(errors.DeviceOutOfMemoryError):
        CALLS[what](device="emulator")


def test_batches_keep_so_many_series(emulator):
    with config.override({"batch.max_bytes": 1, "batch.floor": 5, "streams": 1}):
        emulator.configure()
        same_bits(ma.ema(PANEL, 5, device="emulator"), ma.ema(PANEL, 5, device="cpu"))
        launches = emulator.counts()["launches"]
    with config.override({"batch.max_bytes": 1, "streams": 1}):
        emulator.configure()
        ma.ema(PANEL, 5, device="emulator")
        assert emulator.counts()["launches"] == 5 * launches
    emulator.configure(memory=12_000)
    same_bits(ma.ema(PANEL, 5, device="emulator"), ma.ema(PANEL, 5, device="cpu"))
    with config.override({"batch.floor": 19}), pytest.raises(errors.DeviceOutOfMemoryError):
        ma.ema(PANEL, 5, device="emulator")
    for floor in (0, -1, 1.5, "x", True):
        with pytest.raises(errors.ParameterError, match=r"batch\.floor"), config.override({"batch.floor": floor}):
            pass


# ---------------------------------------------------------------------------------------------- limits, frames


def test_limits(place, limit):
    limit("1MiB")
    assert memory.stats(place)["device"]["limit"] == 2**20
    limit("50%")
    half = memory.stats(place)["device"]["limit"]
    limit("100 %")
    assert half == pytest.approx(memory.stats(place)["device"]["limit"] / 2, rel=0.01)
    most = in_use(place) + 2**20
    limit(most)
    with use("pool", place):  # takes no larger chunk than it may
        same_bits(warpquant.to_device(PANEL, place).to_numpy(), PANEL)
        with pytest.raises(errors.DeviceOutOfMemoryError, match=f"the limit is {most}"):
            warpquant.to_device(np.zeros(2**18), place)
    for wrong in (0, "0%", "101%", "-5%", "much", 1.5, ""):
        with pytest.raises(errors.ParameterError, match="limit"):
            limit(wrong)


def test_frames(place):
    with memory.frame(place) as outer:
        first = warpquant.to_device(PANEL, place)
        with memory.frame(place) as inner:
            second = warpquant.to_device(PANEL[0], place)
            assert (inner.current, inner.peak, inner.blocks) == (PANEL[0].nbytes, PANEL[0].nbytes, 1)
            del first
        assert (inner.current, inner.peak) == (PANEL[0].nbytes - PANEL.nbytes, PANEL[0].nbytes)
        del second
    assert (outer.current, outer.peak, outer.blocks) == (0, PANEL.nbytes + PANEL[0].nbytes, 0)
    assert (outer.total, outer.allocations, outer.failures) == (PANEL.nbytes + PANEL[0].nbytes, 2, 0)
    assert (inner.current, inner.blocks) == (PANEL[0].nbytes - PANEL.nbytes, 0)
    with pytest.raises(errors.ParameterError, match="begun already"), outer:
        pass
    with pytest.raises(errors.ParameterError, match="not begun"):
        _ = memory.frame(place).peak
    with pytest.raises(AttributeError):
        _ = outer.most


def test_settings_of_memory(place):
    code = """
        import sys, numpy, warpquant
        from warpquant import memory
        place = sys.argv[1]
        x = numpy.arange(60.0).reshape(2, 30)
        assert (warpquant.ma.ema(x, 3, device=place) == warpquant.ma.ema(x, 3)).sum() > 50
        array = warpquant.to_device(x, place)
        array.wait()
        del array
        found = memory.stats(place)
        print(found["device"]["limit"], found["device"]["kept"] > 0)
        """
    assert script(code, place, WQ_MEMORY_LIMIT="8 MiB", WQ_MEMORY_RESOURCE="pool") == f"{8 * 2**20} True"
    assert script(code, place, WQ_MEMORY_LIMIT="7MiB", WQ_POISON="1", WQ_ZERO_ON_FREE="on") == f"{7 * 2**20} False"
    assert int(script(code, place, WQ_MEMORY_RESOURCE="managed").split()[0]) > 2**27  # 90 %


def test_a_forked_child_has_no_locked_books(emulator):
    """Threads hold the lock most of the time while processes are forked, which use it."""
    assert (
        script(
            """
        import os, sys, threading, warnings
        import warpquant
        from warpquant import _core, memory
        warnings.simplefilter("ignore")
        place = warpquant._devices.with_memory(sys.argv[1])
        running = True
        def work():
            while running:
                _core.set_memory_limit(*place, 2**30)
                _core.memory_stats(*place)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for _ in range(40):
            child = os.fork()
            if child == 0:
                _core.memory_stats(*place)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        running = False
        for thread in threads: thread.join()
        print("done")
        """,
            "emulator",
        )
        == "done"
    )


# ---------------------------------------------------------------------------------------------- pinned arrays, copies


def test_pinned_arrays(place):
    memory.trim(place)
    before = memory.stats(place)["pinned"]["current"]
    for shape, dtype in (((3, 4), "f8"), (5, "f4"), ((0, 3), "f8"), ((), "i1"), ([2], np.complex128)):
        array = memory.pinned_empty(shape, dtype, device=place)
        assert array.shape == np.empty(shape).shape
        assert array.dtype == np.dtype(dtype)
        assert (array.flags.c_contiguous, array.flags.writeable) == (True, True)
        array[...] = 3
        view = array[..., :1] if array.ndim else array[None]
        del array
        assert memory.stats(place)["pinned"]["current"] > before
        assert (view == 3).all()
        del view
        assert memory.stats(place)["pinned"]["current"] == before
    for shape in (-1, (2**62, 2**62)):
        with pytest.raises(errors.ShapeError):
            memory.pinned_empty(shape, device=place)
    with pytest.raises(errors.DTypeError):
        memory.pinned_empty(3, object, device=place)
    pinned = memory.pinned_empty(PANEL.shape, device=place)
    pinned[...] = PANEL
    array = warpquant.to_device(pinned, place)
    pinned[...] = 0  # the copy has been made
    same_bits(array.to_numpy(), PANEL)
    pinned[...] = PANEL
    same_bits(ma.ema(pinned, 5, device=place), ma.ema(PANEL, 5))


def test_pinned_arrays_need_a_device():
    if _devices.status("cuda")["count"]:
        pytest.skip("there is one")
    with pytest.raises(errors.DeviceUnavailableError):
        memory.pinned_empty(3)


def test_copies(place):
    array = warpquant.to_device(PANEL, place)
    same_bits(array.copy_to("cpu"), PANEL)
    copy = array.copy_to(place)
    assert copy.device == array.device
    same_bits(copy.to_numpy(), PANEL)
    other = warpquant.to_device(np.zeros_like(PANEL), place)
    assert array.copy_to(other) is other
    same_bits(other.to_numpy(), PANEL)
    target = np.zeros_like(PANEL)
    assert array.copy_to(target) is target
    same_bits(target, PANEL)
    pinned = memory.pinned_empty(PANEL.shape, device=place)
    array.copy_to(pinned)
    array.wait()
    same_bits(pinned, PANEL)
    fortran = ma.ema(array, 3, axis=0)  # of the order of its argument
    same_bits(fortran.copy_to(place).to_numpy(), fortran.to_numpy())
    empty = warpquant.to_device(PANEL[:0], place)
    assert empty.copy_to(place).shape == empty.copy_to(np.empty((0, 150))).shape == (0, 150)
    read_only = np.zeros_like(PANEL)
    read_only.flags.writeable = False
    for wrong, error in (
        (PANEL[0].copy(), errors.ShapeError),
        (PANEL.astype("f4"), errors.DTypeError),
        (np.asfortranarray(PANEL), errors.LayoutError),
        (read_only, errors.LayoutError),
        (array, errors.LayoutError),
        (warpquant.to_device(PANEL[0], place), errors.ShapeError),
        (warpquant.to_device(PANEL.astype("f4"), place), errors.DTypeError),
        ("auto", errors.ParameterError),
        (f"{place}:99", errors.DeviceUnavailableError),
        (3, TypeError),
    ):
        with pytest.raises(error):
            array.copy_to(wrong)


def test_copies_between_devices_wait_for_each_other(emulator):
    for seed in range(1, 41):
        emulator.configure(schedule_seed=seed)
        source = _core.to_device(PANEL, "emulator", 0, emulator.make_stream())
        far = source.copy_to("emulator:1")
        del source
        warpquant.to_device(np.zeros_like(PANEL), "emulator")  # takes memory that is free
        assert far.device == "emulator:1"
        target = _core.to_device(np.zeros_like(PANEL), "emulator", 1, emulator.make_stream(1))
        far.copy_to(target)
        del far
        same_bits(target.to_numpy(), PANEL, f"seed {seed}")


def test_pinned_arrays_wait_for_the_copies_into_them(emulator):
    """Memory of an array that nobody has any more is still written to."""
    for seed in range(1, 41):
        emulator.configure(schedule_seed=seed)
        array = _core.to_device(PANEL, "emulator", 0, emulator.make_stream())
        pinned = memory.pinned_empty(PANEL.shape, device="emulator")
        array.copy_to(pinned)
        assert emulator.counts()["pending"] > 0
        view = pinned[1:]
        del pinned
        del view
        again = memory.pinned_empty(PANEL.shape, device="emulator")  # the same memory
        again[...] = 7
        array.wait()
        assert (again == 7).all(), f"seed {seed}"


def test_copies_to_pinned_memory_keep_little(emulator):
    there = warpquant.to_device(PANEL, "emulator")
    target = memory.pinned_empty(PANEL.shape, device="emulator")
    for _ in range(20):
        there.copy_to(target)
        there.wait()
    same_bits(target, PANEL)
    assert emulator.counts()["events"] <= 2


def test_stages_of_long_symbols_make_way(emulator):
    """Where there is room for one pass only, that is taken."""
    x = 100 + np.cumsum(np.random.default_rng(0).normal(size=(2, 17_000)), axis=1)
    want = atc.run(x)["average"]
    memory.set_limit(in_use("emulator") + 2**21, "emulator")
    try:
        same_bits(atc.run(x, exact=False, device="emulator")["average"], want)
    finally:
        memory.set_limit(None, "emulator")
    np.testing.assert_allclose(atc.run(x, exact=False, device="emulator")["average"], want, atol=1e-11)
