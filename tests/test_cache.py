# SPDX-License-Identifier: Apache-2.0
"""The cache: a hit is what was kept, to the bit; everything else is a miss, and nothing leaves the directory."""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import warpquant
from checks import same_bits, walk
from warpquant import cache, config
from warpquant.cache import Entry
from warpquant.errors import ParameterError
from warpquant.scan import read_prices, scan
from warpquant.scanner import scan_source

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path):
    with config.override({"cache.dir": tmp_path / "cache"}):
        forget()
        yield tmp_path / "cache"
    forget()


def forget():
    """What this process has in memory."""
    for shard in cache._shards:
        shard.clear()


def counted(what, before):
    return cache.stats()[what] - before[what]


def some(seed=0, size=1000):
    rng = np.random.default_rng(seed)
    arrays = {"a": rng.standard_normal(size), "b": rng.integers(0, 9, (3, size)), "c": np.array([True, False])}
    return Entry(arrays, {"names": ["x", "é"], "none": None})


def expect(got, want):
    assert got.info == want.info
    assert list(got.arrays) == list(want.arrays)
    for name, array in want.arrays.items():
        same_bits(got.arrays[name], array, name)


def never():
    raise AssertionError("made again")


def files(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


# ---- entries ----


def test_an_entry_comes_back(folder):
    before, name = cache.stats(), cache.key("some", 1)
    want = some()
    expect(cache.entry(name, lambda: want), want)
    expect(cache.entry(name, never), want)
    forget()
    again = cache.entry(name, never)
    expect(again, want)
    assert not any(array.flags.writeable for array in again.arrays.values())
    assert all(array.flags.aligned for array in again.arrays.values())
    counts = {what: counted(what, before) for what in ("misses", "memory_hits", "disk_hits", "stored", "mismatches")}
    assert counts == {"misses": 1, "memory_hits": 1, "disk_hits": 1, "stored": 1, "mismatches": 0}
    (path,) = files(folder)
    assert path.name == name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_empty_arrays(folder):
    want = Entry({"none": np.empty((0, 3), np.float32)}, {})
    cache.entry(cache.key("e"), lambda: want)
    forget()
    expect(cache.entry(cache.key("e"), never), want)


def test_keys_differ(monkeypatch):
    parts = [("a", "b"), ("ab",), ("a", ["b"]), ("a", 1), ("a", 1.5), ("a", None), ("a", {"b": 1}), ("a", {"b": 2})]
    names = {cache.key(*part) for part in parts}
    assert len(names) == len(parts)
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in names)
    assert cache.key({"x": 1, "y": 2}) == cache.key({"y": 2, "x": 1})
    before = cache.key("a")
    monkeypatch.setattr(cache, "_build", lambda: "another core")
    assert cache.key("a") != before


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([None]), np.array(["2024"], dtype="datetime64[s]")])
def test_what_is_no_number_is_not_kept(folder, array):
    with pytest.raises(TypeError, match="not kept"):
        cache.entry(cache.key("x"), lambda: Entry({"a": array}, {}))


def test_nothing_is_kept_of_none_or_an_error(folder):
    assert cache.entry(cache.key("x"), lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        cache.entry(cache.key("x"), lambda: 1 / 0)
    assert files(folder) if folder.exists() else True
    assert not folder.exists()


def test_the_cache_can_be_off(folder):
    made = []
    with config.override({"cache.enabled": False}):
        for _ in range(2):
            cache.entry(cache.key("x"), lambda: made.append(1) or some())
    assert len(made) == 2
    assert not folder.exists()


# ---- files that are not what they should be ----


def damages():
    rng = np.random.default_rng(5)
    yield "empty", lambda raw: b""
    yield "half a header", lambda raw: raw[:20]
    yield "truncated", lambda raw: raw[:-1]
    yield "longer", lambda raw: raw + b"\0"
    yield "another magic", lambda raw: b"WQCACHF\n" + raw[8:]
    yield "another version", lambda raw: raw[:8] + struct.pack("<I", 2) + raw[12:]
    yield "a huge length", lambda raw: raw[:24] + struct.pack("<Q", 2**63) + raw[32:]
    yield "another time", lambda raw: raw[:16] + struct.pack("<d", 1.0) + raw[24:]
    for at in rng.integers(0, 8000, 12).tolist():
        yield f"bit at {at}", lambda raw, at=at: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(("label", "damage"), [pytest.param(*d, id=d[0]) for d in damages()])
def test_damaged_files(folder, label, damage):
    name, want = cache.key("x"), some()
    cache.entry(name, lambda: want)
    path = folder / name
    raw = path.read_bytes()
    damaged = damage(raw)
    if damaged[12:16] != raw[12:16] and damaged[:12] == raw[:12] and damaged[16:] == raw[16:]:
        pytest.skip("bytes that mean nothing")
    path.write_bytes(damaged)
    forget()
    before, made = cache.stats(), []
    expect(cache.entry(name, lambda: made.append(1) or want), want)
    assert made == [1]
    assert counted("mismatches", before) >= 1
    forget()
    expect(cache.entry(name, never), want)  # mended


def test_swapped_files(folder):
    """The bytes of another entry are no hit, however whole they are."""
    one, two = cache.key(1), cache.key(2)
    cache.entry(one, lambda: some(1))
    cache.entry(two, lambda: some(2))
    a, b = (folder / one).read_bytes(), (folder / two).read_bytes()
    (folder / one).write_bytes(b)
    (folder / two).write_bytes(a)
    forget()
    expect(cache.entry(one, lambda: some(1)), some(1))
    expect(cache.entry(two, lambda: some(2)), some(2))


@pytest.mark.parametrize(
    "head",
    [
        b"[]", b"{}", b"nonsense", b'{"arrays": [["a", "O", [1]]], "info": {}}',
        b'{"arrays": [["a", "<f8", [-1]]], "info": {}}', b'{"arrays": [["a", "<f8", [1000000000000]]], "info": {}}',
        b'{"arrays": [["a", "<f8", [4611686018427387904, 4]]], "info": {}}', b'{"arrays": 3, "info": {}}',
        b'{"arrays": [["a", "what", [1]]], "info": {}}', b'{"arrays": [["a", "<f8", ["x"]]], "info": {}}',
    ],
)  # fmt: skip
def test_a_forged_layout_allocates_nothing(folder, head):
    """With a checksum that fits, sizes are still checked before use."""
    name = cache.key("x")
    cache.entry(name, some)
    payload = struct.pack("<Q", len(head)) + head + b"\0" * 16
    made = time.time()
    header = cache._HEADER.pack(cache._MAGIC, cache._VERSION, made, len(payload), cache._checksum(name, made, payload))
    (folder / name).write_bytes(header + payload)
    forget()
    before = cache.stats()
    expect(cache.entry(name, some), some())
    assert counted("mismatches", before) == 1


def test_symbolic_links_are_not_followed(folder, tmp_path):
    name = cache.key("x")
    cache.entry(name, some)
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    forget()
    before, content = cache.stats(), outside.read_bytes()
    expect(cache.entry(name, some), some())
    assert counted("mismatches", before) == 1
    assert outside.read_bytes() == content
    assert not (folder / name).is_symlink()


def test_a_directory_in_the_place_of_a_file(folder):
    name = cache.key("x")
    folder.mkdir(mode=0o700)
    (folder / name).mkdir()
    before = cache.stats()
    expect(cache.entry(name, some), some())
    assert counted("write_errors", before) == 1


def _warned(caplog):
    cache._warn_once.cache_clear()
    caplog.set_level("WARNING", "warpquant")
    made = []
    for i in range(3):
        forget()
        expect(cache.entry(cache.key("x"), lambda i=i: made.append(i) or some()), some())
    assert made == [0, 1, 2]
    return [record.message for record in caplog.records if "not used" in record.message]


def test_a_directory_that_others_may_enter(folder, caplog):
    folder.mkdir()
    folder.chmod(0o755)
    (said,) = _warned(caplog)
    assert "chmod 700" in said
    assert files(folder) == []


def test_a_directory_that_is_a_link(folder, tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert len(_warned(caplog)) == 1
    assert files(tmp_path / "elsewhere") == []


def test_a_directory_of_another_user(folder, caplog, monkeypatch):
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (said,) = _warned(caplog)
    assert "another user" in said
    assert files(folder) == []


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_stops_nothing(folder, monkeypatch, call):
    folder.mkdir(mode=0o700)
    real = getattr(os, call)

    def full(*arguments, **more):
        if call != "open" or (isinstance(arguments[1], int) and arguments[1] & os.O_CREAT):
            raise OSError(errno.ENOSPC, "no space left")
        return real(*arguments, **more)

    before = cache.stats()
    monkeypatch.setattr(os, call, full)
    expect(cache.entry(cache.key("x"), some), some())
    monkeypatch.undo()
    assert counted("write_errors", before) == 1
    assert list(folder.iterdir()) == []


# ---- room ----


def test_room_on_disk_goes_to_what_was_used_last(folder):
    size = len(cache._packed(some())) + cache._HEADER.size
    with config.override({"cache.size": 3 * size + 100}):
        names = [cache.key(i) for i in range(4)]
        for i, name in enumerate(names[:3]):
            cache.entry(name, some)
            os.utime(folder / name, (1000 + i, 1000 + i))
        forget()
        cache.entry(names[0], never)  # used again
        before = cache.stats()
        cache.entry(names[3], some)
        assert counted("disk_evictions", before) == 1
        assert {path.name for path in files(folder)} == {names[0], names[2], names[3]}
        with config.override({"cache.size": size // 2}):
            cache.entry(cache.key("too large"), some)
        assert cache.key("too large") not in {path.name for path in files(folder)}


def test_room_in_memory(folder):
    one = some().nbytes
    with config.override({"cache.memory": 16 * (2 * one + 10)}):
        names = [name for name in (cache.key(i) for i in range(200)) if name[0] == "7"][:3]
        before = cache.stats()
        for name in names:
            cache.entry(name, some)
        assert counted("memory_evictions", before) == 1
        assert cache._shard(names[0]).bytes == 2 * one
        before = cache.stats()
        cache.entry(names[2], never)
        cache.entry(names[0], never)
        assert (counted("memory_hits", before), counted("disk_hits", before)) == (1, 1)


def test_entries_expire(folder, monkeypatch):
    name = cache.key("x")
    now = time.time()
    monkeypatch.setattr(cache.time, "time", lambda: now)
    with config.override({"cache.ttl": 60}):
        cache.entry(name, some)
        now += 59
        cache.entry(name, never)
        forget()
        cache.entry(name, never)
        now += 2
        before, made = cache.stats(), []
        cache.entry(name, lambda: made.append(1) or some())
        assert made == [1]
        assert counted("expired", before) == 2  # in memory and on disk


def test_what_dead_writers_left_is_swept(folder):
    cache.entry(cache.key(1), some)
    old, new = folder / f".new-1-{'a' * 16}", folder / f".new-2-{'b' * 16}"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1, 1))
    cache.entry(cache.key(2), some)
    assert not old.exists()
    assert new.exists()


def test_files_of_somebody_else_stay(folder):
    """Whoever takes a folder of theirs for the cache loses nothing there, and what lies there takes no room."""
    folder.mkdir(mode=0o700)
    mine = [folder / name for name in ("prices.parquet", "n" * 64, "A" * 64, ".new-ideas.txt", "a" * 63)]
    for path in mine:
        path.write_bytes(b"x" * 10_000)
        os.utime(path, (1, 1))
    with config.override({"cache.size": 20_000}):
        for i in range(3):
            cache.entry(cache.key(i), lambda: some(size=20))
    found = cache.stats()
    assert found["disk_entries"] == 3
    assert found["disk_bytes"] < 10_000
    assert cache.clear() == 3
    assert all(path.stat().st_size == 10_000 for path in mine)


def test_clear(folder):
    for i in range(3):
        cache.entry(cache.key(i), some)
    (folder / "notes.txt").write_text("mine")
    assert cache.clear() == 3
    assert [path.name for path in files(folder)] == ["notes.txt"]
    found = cache.stats()
    assert (found["memory_entries"], found["memory_bytes"]) == (0, 0)


# ---- several at once ----


def test_threads_make_an_entry_once(folder):
    made, together = [], threading.Barrier(8)

    def make():
        made.append(threading.get_ident())
        time.sleep(0.05)
        return some()

    def work():
        together.wait()
        # Settings of a block are its thread's own.
        with config.override({"cache.dir": folder}):
            expect(cache.entry(cache.key("x"), make), some())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert cache._flights == {}


def test_processes_share_the_cache(folder):
    """Eight processes that write, read, evict and clear the same entries: every result is right."""
    program = (
        "import sys, random, numpy as np\n"
        "from warpquant import cache\n"
        "rng = random.Random(int(sys.argv[1]))\n"
        "for turn in range(40):\n"
        "    i = rng.randrange(6)\n"
        "    make = lambda: cache.Entry({'a': np.full(2000, i)}, {'i': i})\n"
        "    for shard in cache._shards: shard.clear()\n"
        "    found = cache.entry(cache.key(i), make)\n"
        "    assert found.info == {'i': i} and (found.arrays['a'] == i).all(), (i, found)\n"
        "    if rng.random() < 0.05: cache.clear()\n"
        "print(cache.stats()['mismatches'], cache.stats()['disk_hits'])\n"
    )
    environment = {**os.environ, "WQ_CACHE_DIR": str(folder), "WQ_CACHE_SIZE": "70000"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(i)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment,
        )
        for i in range(8)
    ]  # fmt: skip
    hits = 0
    for child in children:
        out, error = child.communicate(timeout=60)
        assert child.returncode == 0, error
        mismatches, found = map(int, out.split())
        assert mismatches == 0
        hits += found
    assert hits > 0


def test_a_forked_child_can_use_it(folder):
    cache.entry(cache.key("x"), some)
    with cache._flights_lock:  # as if another thread was about to make something
        child = os.fork()
        if child == 0:
            forget()
            cache.entry(cache.key("x"), never)
            os._exit(0 if cache.entry(cache.key("y"), some) else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---- scans ----


def write(path, symbols=20, seed=0, old=True):
    dates = np.datetime64("2024-01-01") + np.arange(80)
    lines = [f"{s},{d},{v:.10f}" for s in range(symbols) for d, v in zip(dates, walk(80, seed + s), strict=True)]
    path.write_text("\n".join(["symbol,date,close", *lines]) + "\n")
    if old:
        os.utime(path, (1_700_000_000 + seed, 1_700_000_000 + seed))
    return path


def test_a_scan_of_unchanged_files_reads_nothing(folder, tmp_path, monkeypatch):
    path = write(tmp_path / "p.csv")
    first = scan_source(path)
    assert first.to_dict() == scan(read_prices(path)).to_dict()
    monkeypatch.setattr("warpquant.sources.read_prices", lambda *_, **__: never())
    for _ in range(2):
        assert scan_source(path) == first
        forget()
    assert scan_source(path, top=2, min_signal=0.5).to_dict()["counts"] == scan_source(path, min_signal=0.5).counts
    for other in ({"params": {"La": 0.05}}, {"min_bars": 70}, {"flips": False}, {"max_symbols": 3}):
        with pytest.raises(AssertionError, match="made again"):
            scan_source(path, **other)
    with pytest.raises(AssertionError, match="made again"):
        scan_source(path, recent=3)
    with pytest.raises(AssertionError, match="made again"):
        scan_source(path, price_col="close")


def test_failures_and_warnings_are_kept(folder, tmp_path):
    path = write(tmp_path / "p.csv", 3)
    path.write_text(path.read_text() + "0,2024-01-05,7\nyoung,2024-01-05,7\n,2024-01-05,7\n")
    os.utime(path, (5000, 5000))
    first = scan_source(path)
    forget()
    assert scan_source(path) == first
    assert [f.symbol for f in first.failures] == ["young"]
    assert len(first.warnings) == 2


def test_a_changed_file_is_read_again(folder, tmp_path):
    path = write(tmp_path / "p.csv", seed=0)
    first = scan_source(path)
    write(path, seed=100)
    second = scan_source(path)
    assert second != first
    assert second.to_dict() == scan(read_prices(path)).to_dict()


def test_a_file_whose_time_is_set_back_is_read_again(folder, tmp_path):
    path = write(tmp_path / "p.csv")
    first = scan_source(path)
    about, text = path.stat(), path.read_text()
    path.write_text(text[:-3] + ("1" if text[-3] != "1" else "2") + text[-2:])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    changed = path.stat()
    assert (changed.st_size, changed.st_mtime_ns, changed.st_ino) == (about.st_size, about.st_mtime_ns, about.st_ino)
    second = scan_source(path)
    assert second != first
    assert second.to_dict() == scan(read_prices(path)).to_dict()


def test_by_content(folder, tmp_path, monkeypatch):
    """A copy under the same name, at another time and place, is the same; other bytes with the same marks are not."""
    (tmp_path / "copy").mkdir()
    path, copy = write(tmp_path / "p.csv"), write(tmp_path / "copy" / "p.csv")
    os.utime(copy)
    with config.override({"cache.fingerprint": "content"}):
        first = scan_source(path)
        with monkeypatch.context() as patch:
            patch.setattr("warpquant.sources.read_prices", lambda *_, **__: never())
            assert scan_source(copy) == first
        about, text = path.stat(), path.read_text()
        path.write_text(text[:-3] + ("1" if text[-3] != "1" else "2") + text[-2:])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert path.stat().st_size == about.st_size
        assert scan_source(path).to_dict() == scan(read_prices(path)).to_dict()


def test_a_file_that_changed_just_now_is_not_kept(folder, tmp_path):
    """It may change again within a tick of the file system's clock, and nobody could tell."""
    path = write(tmp_path / "p.csv", old=False)
    scan_source(path)
    assert not folder.exists()


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder, tmp_path, monkeypatch):
    path = write(tmp_path / "p.csv")
    monkeypatch.setattr(
        "warpquant.scanner.scan_batch", lambda b, settings: os.utime(path) or warpquant.scan.scan_batch(b, settings)
    )
    scan_source(path)
    assert not folder.exists()


def test_prices_in_memory_are_not_kept(folder):
    scan_source({"x": walk(60)})
    assert not folder.exists()


def test_warm(folder, tmp_path, monkeypatch):
    path = write(tmp_path / "p.csv")
    assert cache.warm(path, {"La": 0.05})
    assert cache.warm(path, {"La": 0.05})  # there already
    with config.override({"cache.enabled": False}):
        assert not cache.warm(path, {"La": 0.05})
    assert not cache.warm({"x": walk(60)})
    monkeypatch.setattr("warpquant.sources.read_prices", lambda *_, **__: never())
    assert len(warpquant.scan_all_symbols(path, {"La": 0.05}, returns="result").rows) == 20


def test_a_second_scan_is_ten_times_faster(folder, tmp_path):
    path = write(tmp_path / "p.csv", 1500)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        scan_source(path)
        seconds.append(time.perf_counter() - start)
        forget()
    assert seconds[0] > 10 * seconds[1], seconds


@pytest.mark.parametrize(
    "wrong", [{"cache.size": -1}, {"cache.ttl": 0}, {"cache.fingerprint": "name"}, {"cache.dir": 3}, {"cache.x": 1}]
)
def test_wrong_settings(wrong):
    with pytest.raises(ParameterError), config.override(wrong):
        pass


def test_settings_from_the_environment(tmp_path):
    code = "import warpquant; print(warpquant.cache.stats()['directory'], warpquant.config.get('cache.size'))"
    environment = {**os.environ, "WQ_CACHE_DIR": str(tmp_path), "WQ_CACHE_SIZE": "1MiB"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert run.stdout.split() == [str(tmp_path), "1048576"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert pathlib.Path(run.stdout.split()[0]) == tmp_path / "warpquant" / "results"
