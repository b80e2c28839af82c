# SPDX-License-Identifier: Apache-2.0
"""Import, settings, threads, forks, interrupts, memory: the package as part of a process."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import warpquant
from warpquant import _core, atc, config, equity, ma
from warpquant.errors import DeviceUnavailableError, ParameterError, WarpquantError

PANEL = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.02, (24, 400)), axis=1))


def script(code, **env):
    """Run a script in a process of its own; what it prints."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WQ_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60, env={**inherited, "XDG_CONFIG_HOME": os.devnull, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


# ---------------------------------------------------------------------------------------------- import


def test_import_loads_and_starts_nothing():
    modules, threads, cuda = json.loads(
        script("""
        import json, os, sys
        import numpy, numpy.typing
        before, running = set(sys.modules), len(os.listdir("/proc/self/task"))
        import warpquant
        roots = {m.partition(".")[0] for m in set(sys.modules) - before}
        started = len(os.listdir("/proc/self/task")) - running
        print(json.dumps([sorted(roots), started, "warpquant._cuda" in sys.modules]))
        """)
    )
    heavy = {"torch", "jax", "cupy", "pandas", "polars", "pyarrow", "xarray", "typer", "rich", "matplotlib", "tomllib"}
    assert heavy.isdisjoint(modules)
    assert "warpquant" in modules
    assert threads == 0
    assert not cuda


def test_a_call_loads_nothing_either():
    loaded = script("""
        import sys, numpy, warpquant
        warpquant.ma.sma(numpy.arange(9.0), 3, device="auto")
        warpquant.atc.run(numpy.arange(99.0) + 1)
        heavy = ("torch", "jax", "pandas", "polars", "pyarrow", "xarray", "warpquant._cuda")
        print([m for m in heavy if m in sys.modules])
        """)
    assert loaded == "[]"


# ---------------------------------------------------------------------------------------------- settings


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No settings from outside; read again afterwards."""
    for key in list(os.environ):
        if key.startswith("WQ_"):
            monkeypatch.delenv(key)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config.reload()
    yield monkeypatch
    monkeypatch.undo()
    config.reload()


def _setting(key):
    (found,) = (s for s in config.show() if s.key == key)
    return found.value, found.origin.partition(" ")[0]


class TestConfig:
    def test_defaults(self, clean):
        assert {s.key: (s.value, s.origin) for s in config.show()} == {
            "device": ("auto", "default"),
            "num_threads": (None, "default"),
            "simd": ("best", "default"),
            "fallback": ("cpu", "default"),
            "streams": (4, "default"),
            "batch.max_bytes": (64 * 2**20, "default"),
            "batch.floor": (1, "default"),
            "memory.resource": ("async_pool", "default"),
            "memory.limit": ("90%", "default"),
            "memory.zero_on_free": (False, "default"),
            "memory.poison": (False, "default"),
            "memory.buffer_pool": (256 * 2**20, "default"),
            "device.timeout": (None, "default"),
            "cache.enabled": (True, "default"),
            "cache.dir": (None, "default"),
            "cache.size": (512 * 2**20, "default"),
            "cache.memory": (64 * 2**20, "default"),
            "cache.ttl": (None, "default"),
            "cache.fingerprint": ("stat", "default"),
        }

    @pytest.mark.parametrize("named", [True, False])
    def test_precedence(self, clean, tmp_path, named):
        file = tmp_path / ("own.toml" if named else "warpquant/config.toml")
        file.parent.mkdir(exist_ok=True)
        file.write_text('num_threads = 3\nsimd = "baseline"\n[memory]\nbuffer_pool = "1 MiB"\n')
        if named:
            clean.setenv("WQ_CONFIG", str(file))
        config.reload()
        assert _setting("num_threads") == (3, "file")
        assert _setting("memory.buffer_pool") == (2**20, "file")
        assert _core.buffer_stats()["limit"] == 2**20
        clean.setenv("WQ_NUM_THREADS", "4")
        assert _setting("num_threads") == (3, "file")  # read once
        config.reload()
        assert _setting("num_threads") == (4, "environment")
        assert _setting("simd") == ("baseline", "file")
        with config.override(num_threads=5):
            assert _setting("num_threads") == (5, "override")
            with config.override({"num_threads": 6}, simd="avx2"):
                assert config._execution(None) == (6, "avx2")
                assert config._execution(7) == (7, "avx2")
            assert config._execution(None) == (5, "baseline")
        assert config.get("num_threads") == 4

    def test_the_argument_wins_over_the_device_setting(self, clean):
        clean.setenv("WQ_DEVICE", "cuda:7")
        config.reload()
        with pytest.raises(DeviceUnavailableError, match="cuda"):
            ma.sma([1.0], 1)
        assert ma.sma([1.0], 1, device="cpu") == 1
        with config.override(device="cpu"):
            assert ma.sma([1.0], 1) == 1

    @pytest.mark.parametrize(
        ("key", "near"), [("num_thread", "num_threads"), ("device_", "device"), ("buffer_pool", "memory.buffer_pool")]
    )
    def test_unknown_keys(self, clean, tmp_path, key, near):
        with pytest.raises(ParameterError, match=rf"'{key}' is not a setting; did you mean '{near}'"):
            config.get(key)
        with pytest.raises(ParameterError, match=near), config.override({key: 1}):
            pass
        (tmp_path / "c.toml").write_text(f"{key} = 1\n")
        clean.setenv("WQ_CONFIG", str(tmp_path / "c.toml"))
        with pytest.raises(ParameterError, match=rf"c\.toml.*did you mean '{near}'"):
            config.reload()

    def test_a_key_like_no_other(self, clean):
        with pytest.raises(ParameterError, match="known are 'device'"):
            config.get("zzz")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("WQ_DEVICE", "gpu"), ("WQ_DEVICE", "cuda:"), ("WQ_DEVICE", ""), ("WQ_NUM_THREADS", "0"),
            ("WQ_NUM_THREADS", "many"), ("WQ_NUM_THREADS", "99999"), ("WQ_NUM_THREADS", "1.5"), ("WQ_SIMD", "sse9"),
            ("WQ_FALLBACK", "gpu"), ("WQ_BATCH_FLOOR", "0"), ("WQ_MEMORY_RESOURCE", "heap"), ("WQ_MEMORY_LIMIT", "0"),
            ("WQ_MEMORY_LIMIT", "200%"), ("WQ_POISON", "maybe"), ("WQ_ZERO_ON_FREE", "2"),
            ("WQ_BUFFER_POOL", "-1"), ("WQ_BUFFER_POOL", "1 TB"), ("WQ_BUFFER_POOL", "9" * 30),
        ],
    )  # fmt: skip
    def test_bad_values_in_the_environment(self, clean, name, value):
        clean.setenv(name, value)
        for _ in range(2):  # an error is not remembered as success
            with pytest.raises(ParameterError, match=rf"^{name}: {value!r} is not"):
                config.reload()
        with pytest.raises(ParameterError, match=name):
            ma.sma([1.0], 1)

    @pytest.mark.parametrize("text", ["simd = 3", "num_threads = true", 'device = ["cpu"]', "[simd]\nx = 1", "simd ="])
    def test_bad_files(self, clean, tmp_path, text):
        (tmp_path / "c.toml").write_text(text)
        clean.setenv("WQ_CONFIG", str(tmp_path / "c.toml"))
        with pytest.raises(ParameterError, match=r"c\.toml: "):
            config.reload()

    def test_a_file_that_is_not_there(self, clean, tmp_path):
        clean.setenv("WQ_CONFIG", str(tmp_path / "nothing.toml"))
        with pytest.raises(ParameterError, match=r"nothing\.toml: the configuration file cannot be read"):
            config.reload()

    def test_overrides_belong_to_their_thread(self):
        seen = []
        with config.override(num_threads=3):
            thread = threading.Thread(target=lambda: seen.append(config.get("num_threads")))
            thread.start()
            thread.join()
            assert config.get("num_threads") == 3
        assert seen == [config.get("num_threads")]

    @pytest.mark.parametrize(
        "settings", [dict(simd="mmx"), dict(num_threads=0), {"memory.buffer_pool": 1}, {"memory.poison": True}]
    )
    def test_bad_overrides(self, settings):
        with pytest.raises(ParameterError, match=r"^config\.override: "), config.override(settings):
            pass

    def test_an_override_ends_with_an_error(self):
        before = config.get("simd")
        with pytest.raises(KeyError), config.override(simd="baseline"):
            raise KeyError
        assert config.get("simd") == before


def test_levels_and_threads_from_the_environment():
    """The same bits, whatever a process is told to use."""
    code = """
        import hashlib, numpy as np, warpquant
        x = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, (37, 500)), axis=1))
        h = hashlib.sha256()
        for k in warpquant.ma.kinds():
            h.update(getattr(warpquant.ma, k)(x, 14).tobytes())
        for v in warpquant.atc.run(x, outputs="all", detail=True).values():
            h.update(v.tobytes())
        h.update(warpquant.equity.curve(prices=x, signal=np.sin(x)).tobytes())
        print(h.hexdigest(), warpquant._core.effective_simd(warpquant.config.get("simd")))
        """
    seen = {}
    for simd, threads in (("baseline", "1"), ("avx2", "2"), ("avx512", "3"), ("best", "8")):
        digest, level = script(code, WQ_SIMD=simd, WQ_NUM_THREADS=threads).split()
        seen[digest] = level
        assert simd == "best" or level in ("baseline", simd, _core.best_simd())
    assert len(seen) == 1


# ---------------------------------------------------------------------------------------------- devices


class TestDevices:
    REASONS = (
        "not_built", "no_driver", "old_driver", "no_device", "no_such_device", "arch_missing", "no_kernels", "busy",
        "driver_mismatch", "driver_error",
    )  # fmt: skip

    @pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:63"])
    @pytest.mark.parametrize(
        "call",
        [
            lambda device: ma.ema(PANEL, 5, device=device),
            lambda device: equity.curve(prices=PANEL, signal=PANEL, device=device),
            lambda device: atc.run(PANEL, device=device),
        ],
        ids=["average", "curve", "atc"],
    )
    def test_an_explicit_choice_never_falls_back(self, device, call):
        if device != "cuda:63" and not warpquant.doctor()["cuda"]["reason"]:
            pytest.skip("a CUDA device answers here")
        with pytest.raises(DeviceUnavailableError, match="cuda") as info:
            call(device)
        assert info.value.reason in self.REASONS
        assert isinstance(info.value, RuntimeError)

    def test_the_reason_is_the_one_of_doctor(self):
        reason = warpquant.doctor()["cuda"]["reason"]
        if not reason:
            pytest.skip("a CUDA device answers here")
        with pytest.raises(DeviceUnavailableError) as info:
            ma.sma(PANEL, 3, device="cuda")
        assert info.value.reason == reason

    def test_auto_without_a_fallback(self):
        with config.override(fallback="error"):
            assert ma.sma([1.0], 1, device="cpu") == 1
        out = script("""
            import warpquant
            try:
                warpquant.ma.sma([1.0], 1)
            except warpquant.DeviceUnavailableError as error:
                print(error.reason)
            """, WQ_FALLBACK="error")  # fmt: skip
        assert out == warpquant.doctor()["cuda"]["reason"]  # nothing where a device answers

    def test_a_fallback_is_logged_once(self, caplog):
        from warpquant import _devices

        _devices._log_fallback.cache_clear()
        with caplog.at_level("INFO", logger="warpquant"):
            for _ in range(3):
                ma.sma([1.0], 1, device="auto")
        assert len(caplog.records) == 1
        assert "auto" in caplog.text

    def test_without_the_cuda_module(self, monkeypatch):
        from warpquant import _devices

        def missing(name):
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(_devices.importlib, "import_module", missing)
        _devices.status.cache_clear()
        try:
            assert warpquant.doctor()["cuda"]["built"] is False
            with pytest.raises(DeviceUnavailableError, match="without CUDA") as info:
                ma.sma([1.0], 1, device="cuda")
            assert info.value.reason == "not_built"
        finally:
            _devices.status.cache_clear()

    def test_tables_of_another_kind(self):
        for table in (None, 1, object()):
            with pytest.raises(warpquant.InternalError, match="table of another kind"):
                _core.set_backend("other", table)


def test_doctor(monkeypatch):
    report = warpquant.doctor()
    assert report["warpquant"] == warpquant.__version__
    assert all(isinstance(p, str) for p in report["problems"])
    assert report["build"]["version"] == warpquant.__version__
    assert report["cpu"]["simd"] in report["build"]["simd_levels"]
    assert report["cpu"]["threads"] >= 1
    assert report["packages"].keys() >= {"pandas", "polars", "pyarrow", "xarray", "torch", "jax"}
    assert report["settings"]["device"]["origin"]
    json.dumps(report)  # plain values only


def test_doctor_names_what_cannot_work(monkeypatch):
    with config.override(device="cuda:99"):
        (problem,) = warpquant.doctor()["problems"]
    assert "cuda:99" in problem
    monkeypatch.setenv("WQ_SIMD", "sse9")
    config._process.cache_clear()
    try:
        (problem,) = warpquant.doctor()["problems"]
    finally:
        monkeypatch.undo()
        config.reload()
    assert "WQ_SIMD: 'sse9'" in problem


# ---------------------------------------------------------------------------------------------- threads


def _everything(x, threads=None):
    """One result of each family, as bytes."""
    parts = [getattr(ma, k)(x, 14, num_threads=threads) for k in ("sma", "ema", "hma", "kama")]
    parts.append(ma.lsma(x, [5, 9], num_threads=threads))
    parts.append(equity.curve(prices=x, signal=np.sin(x), num_threads=threads))
    parts += atc.run(x, outputs="all", num_threads=threads).values()
    return b"".join(p.tobytes() for p in parts)


def test_threads_never_change_bits():
    expected = _everything(PANEL, 1)
    for _, threads in itertools.product(range(20), (1, 2, 4, 8)):
        assert _everything(PANEL, threads) == expected


def test_python_threads_on_shared_inputs():
    expected, last = _everything(PANEL), atc.run(PANEL, last_only=True)["average"].tobytes()
    failures = []
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        for n in range(6):
            if _everything(PANEL, (None, 1, 2, 3)[(i + n) % 4]) != expected:
                failures.append(i)
            if atc.run(PANEL, last_only=True)["average"].tobytes() != last:
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


def test_a_stream_shared_by_threads():
    """Updates from several threads are taken one after the other."""
    stream = ma.Stream("sma", 8, n_series=4)
    threads = [threading.Thread(target=lambda: [stream.update(np.ones(4)) for _ in range(200)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert stream.update(np.ones(4)).tolist() == [1.0] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork():
    """The pool of a parent with running threads is rebuilt in the child, with the same bits."""
    out = script("""
        import hashlib, multiprocessing, threading, warnings
        import numpy as np, warpquant
        warnings.simplefilter("ignore")
        x = 100 + np.cumsum(np.random.default_rng(0).normal(size=(200, 800)), axis=1)
        def digest(_=None):
            return hashlib.sha256(warpquant.ma.hma(x, 20, num_threads=4).tobytes()
                                  + warpquant.atc.run(x[:9], num_threads=4)["average"].tobytes()).hexdigest()
        expected = digest()
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                warpquant.ma.sma(x, 20, num_threads=4)
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for t in threads: t.start()
        context = multiprocessing.get_context("fork")
        for _ in range(3):
            with context.Pool(2) as pool:
                assert pool.map_async(digest, range(4)).get(20) == [expected] * 4
        stop.set()
        for t in threads: t.join()
        assert digest() == expected
        print("fine")
        """)
    assert out == "fine"


@pytest.mark.parametrize(
    ("call", "series"), [("atc.run(x, last_only=True)", 60_000), ("ma.kama(x, 28)", 4_000)], ids=["atc", "average"]
)
def test_interrupt(call, series):
    """Ctrl-C ends a long call soon, and the next call is none the worse for it."""
    code = f"""
        import time, numpy as np
        from warpquant import atc, ma
        x = 100 + np.cumsum(np.random.default_rng(0).normal(size=(1, 3000)), axis=1)
        {call}
        wide = np.broadcast_to(x, ({series}, 3000))
        print("ready", flush=True)
        try:
            while True:
                {call.replace("x", "wide", 1)}
        except KeyboardInterrupt:
            print(time.time(), flush=True)
        {call}
        print("again", flush=True)
        """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=30)
    finally:
        child.kill()
        child.stdout.close()
    when, again = out.split()
    assert again == "again"
    assert float(when) - sent < 2.0  # 0.2 is the goal; a busy machine is given time


def test_what_the_handler_of_a_signal_raises():
    """It is what the call raises, as everywhere in Python."""
    wide = np.broadcast_to(100 + np.cumsum(np.random.default_rng(0).normal(size=(1, 3000)), axis=1), (4000, 3000))

    def handler(*_):
        raise TimeoutError("time is up")

    def work():
        for _ in range(100):
            atc.run(wide, last_only=True)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError, match="time is up"):
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------------------------------------- memory

SMALL = PANEL[:4, :120]
_X, _SIGN, _OUT = SMALL.copy(), np.sign(np.sin(SMALL)), np.empty_like(SMALL)
_LIST, _MAPPING = SMALL[0].tolist(), {"a": SMALL[0], "b": SMALL[1, :50]}
_CUBE, _NANS = np.zeros((2, 2, 2)), np.full(9, np.nan)
_PARAMS = atc.Params(ema_len=8, hull_len=8, wma_len=8, dema_len=8, lsma_len=8, kama_len=8)
_STREAM = ma.Stream("wma", 9, n_series=4)


def _average(kind):
    function = getattr(ma, kind)
    return lambda: function(_X, 5)


def _fails(call, *args, **keywords):
    try:
        call(*args, **keywords)
    except WarpquantError:
        return
    raise AssertionError("accepted")


CALLS = {
    **{kind: _average(kind) for kind in ma.kinds()},
    "out": lambda: ma.sma(_X, 5, out=_OUT),
    "several lengths": lambda: ma.ema(_X, [5, 9]),
    "list": lambda: ma.ema(_LIST, 5),
    "mapping": lambda: ma.ema(_MAPPING, [5, 6]),
    "integers": lambda: ma.sma(np.arange(120), 5),
    "large": lambda: ma.roc(PANEL, 5),
    "stream": lambda: _STREAM.update(_X[:, 0]),
    "state": lambda: _STREAM.load_state_dict(_STREAM.state_dict()),
    "curve": lambda: equity.curve(prices=_X, signal=_SIGN),
    "atc": lambda: atc.run(_X, _PARAMS, outputs="all", detail=True),
    "atc, last": lambda: atc.run(_X, _PARAMS, last_only=True),
    "atc, mapping": lambda: atc.run(_MAPPING, _PARAMS),
    "port": lambda: warpquant.compute_atc_signals(_X),
    "config": lambda: config.show(),
    "wrong type": lambda: _fails(ma.sma, np.zeros(9, "c16"), 3),
    "wrong object": lambda: _fails(ma.sma, object(), 3),
    "wrong shape": lambda: _fails(ma.sma, _CUBE, 3),
    "wrong length": lambda: _fails(ma.sma, _X, 0),
    "wrong out": lambda: _fails(ma.sma, _X, 3, out=_X),
    "wrong member": lambda: _fails(ma.sma, {"a": _X[0], "b": "text"}, 3),
    "wrong pair": lambda: _fails(equity.curve, prices=_X, signal=_SIGN[:2]),
    "wrong output": lambda: _fails(atc.run, _X, outputs="avrage"),
    "missing value": lambda: _fails(ma.sma, _NANS, 3, nan="raise"),
    "no device": lambda: _fails(config._device, "device", "tpu"),
}


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", CALLS)
def test_no_leaks(name):
    """1,000 calls leave references, buffers and (but for noise) resident memory as they were."""
    call = CALLS[name]
    shared = (_X, _SIGN, _OUT, _LIST, _MAPPING, _PARAMS, _STREAM, PANEL, None, True, np.dtype("f8"), np.ndarray)

    def references():
        gc.collect()
        return [sys.getrefcount(s) for s in shared]

    for _ in range(100):
        call()
    in_use = _core.buffer_stats()["in_use"]
    before = references()
    resident = []
    for _ in range(4):
        for _ in range(250):
            call()
        resident.append(_resident())
    drift = np.subtract(references(), before)
    assert np.abs(drift).max() <= 20  # far below one per call
    assert _core.buffer_stats()["in_use"] == in_use
    # Growth in steps (arenas) is no leak; one is growth in every quarter.
    slope = min(np.diff(resident)) / 250
    assert slope < 1024


def test_results_outlive_their_inputs_and_go_back_to_the_pool():
    x = np.random.default_rng(0).normal(size=(64, 4096))
    before = _core.buffer_stats()["in_use"]
    result = ma.sma(x, 5)
    expected = result.copy()
    view = result[3:, ::2]
    del x, result
    gc.collect()
    assert _core.buffer_stats()["in_use"] >= before + expected.nbytes
    ma.sma(np.zeros((64, 4096)), 5)
    np.testing.assert_array_equal(view, expected[3:, ::2])
    del view
    gc.collect()
    stats = _core.buffer_stats()
    assert stats["in_use"] == before
    assert 0 <= stats["kept"] <= stats["limit"]


def test_the_pool_keeps_to_its_limit():
    limit = _core.buffer_stats()["limit"]
    try:
        for bound in (0, 2**20):
            _core.set_buffer_limit(bound)
            results = [ma.sma(np.ones((64, 2048)), 5) for _ in range(4)]
            del results
            gc.collect()
            assert _core.buffer_stats()["kept"] <= bound
    finally:
        _core.set_buffer_limit(limit)


@pytest.mark.skipif(
    not os.path.exists("/proc/self/clear_refs") or "LD_PRELOAD" in os.environ,
    reason="needs Linux, and none of a sanitizer's own memory",
)
def test_peak_memory_of_a_scan():
    """ATC of 1,000 × 1,500 bars, last values only: at most 30 MB above the input."""
    grown = script("""
        import resource, numpy as np
        from warpquant import atc
        x = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, (1000, 1500)), axis=1))
        atc.run(x[:1, :100], last_only=True)
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")  # the peak starts anew from here
        def status(key):
            with open("/proc/self/status") as f:
                return next(int(line.split()[1]) for line in f if line.startswith(key))
        before = status("VmRSS")
        atc.run(x, last_only=True)
        print(status("VmHWM") - before)
        """)
    assert int(grown) <= 30_000


def test_errors_are_builtin_errors_too():
    for name, builtin in dict(
        ShapeError=ValueError, DTypeError=TypeError, LayoutError=BufferError, ParameterError=ValueError,
        DeviceUnavailableError=RuntimeError, InternalError=RuntimeError,
    ).items():  # fmt: skip
        assert issubclass(getattr(warpquant, name), builtin)
        assert issubclass(getattr(warpquant, name), WarpquantError)
