# SPDX-License-Identifier: Apache-2.0
"""Watching: each bar once and each change told as promised, whatever happens to files, processes and receivers."""

from __future__ import annotations

import http.server
import json
import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import warpquant
from checks import same_bits, walk
from warpquant import _actions, _statefile, atc
from warpquant.errors import ParameterError, StateError
from warpquant.timeframes import Timeframe, resample
from warpquant.watch import SCHEMA, Change, Command, Watch, Webhook

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTPUTS = ("average", "trend", "direction")
START = np.datetime64("2024-03-28T00:00", "s")
pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No proxies between us and servers of our own."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def prices_of(symbols=3, bars=150, step=60):
    """Times, and symbol to closes; the second symbol has holes, the third starts late."""
    times = START + np.arange(bars) * np.timedelta64(step, "m")
    rng = np.random.default_rng(1)
    closes = {f"S{i}": np.round(walk(bars, i, 0.03) * (i + 1), 4) for i in range(symbols)}
    for i, x in enumerate(closes.values()):
        if i % 3 == 1:
            x[rng.random(bars) < 0.2] = np.nan
        if i % 3 == 2:
            x[: bars // 4] = np.nan
    return times, closes


def wide_lines(times, closes):
    yield ",".join(["time", *closes])
    for t, row in zip(times, zip(*closes.values(), strict=True), strict=True):
        yield ",".join([str(t), *("" if np.isnan(x) else repr(float(x)) for x in row)])


def long_lines(times, closes):
    yield "symbol,time,close"
    for j, t in enumerate(times):
        for name, x in closes.items():
            if not np.isnan(x[j]):
                yield f"{name},{t},{float(x[j])!r}"


def json_lines(times, closes):
    for j, t in enumerate(times):
        for name, x in closes.items():
            if not np.isnan(x[j]):
                yield json.dumps({"symbol": name, "time": f"{t}Z", "close": float(x[j])})


def text_of(lines):
    return "".join(f"{line}\n" for line in lines)


def bars_of(times, closes, frame=None):
    """Symbol to the times and closes of its bars; those of a timeframe without the last, which is not finished."""
    result = {}
    for name, x in closes.items():
        some = ~np.isnan(x)
        t, x = times[some].astype("datetime64[ns]"), x[some]
        if frame is not None:
            t, x = (a[:-1] for a in resample(t, x, frame))
        result[name] = (t, x)
    return result


def wanted(times, closes, frame=None, params=None, min_change=None):
    """What must be told of each symbol, from one run over all its bars."""
    told = {}
    for name, (t, x) in bars_of(times, closes, frame).items():
        out = atc.run(x, params, outputs=OUTPUTS)
        last = 0.0
        told[name] = []
        for j in range(len(x)):
            before = {o: out[o][j - 1] if j else 0 for o in OUTPUTS}
            kinds = [o for o in ("direction", "trend") if out[o][j] != before[o]]
            if min_change is not None and abs(out["average"][j] - last) >= min_change:
                kinds.append("average")
            if kinds:
                last = out["average"][j]
                told[name].append(
                    (str(t[j])[:19] + "Z", j + 1, float(x[j]), *(out[o][j].item() for o in OUTPUTS), kinds)
                )
    return told


def told_of(changes):
    """The same from changes, or from their JSON."""
    told = {}
    for c in changes:
        c = c.to_dict() if isinstance(c, Change) else c
        assert c["schema"] == SCHEMA
        told.setdefault(c["symbol"], []).append(
            (c["time"], c["bars"], c["price"], c["average"], c["trend"], c["direction"], c["changes"])
        )
    return told


def flat(told):
    return sorted(c for some in told.values() for c in some)


def nonempty(told):
    return {name: some for name, some in told.items() if some}


def once(source, *args, **more):
    """Everything that is there, told."""
    changes = []
    watch = Watch(source, *args, **more)
    try:
        watch.run(changes.extend, once=True)
    finally:
        watch.close(0.1)
    return changes, watch


def check_last(watch, times, closes, frame=None, params=None):
    """The state at the end is that of one run."""
    for name, (_, x) in bars_of(times, closes, frame).items():
        if len(x):
            out = atc.run(x, params, outputs=OUTPUTS, last_only=True)
            for o in OUTPUTS:
                same_bits(np.asarray(watch.last()[frame or ""][name][o]), np.asarray(out[o].item()), f"{name} {o}")
            assert watch.bars[frame or ""][name] == len(x)


# ---- what is told


@pytest.mark.parametrize("lines", [wide_lines, long_lines, json_lines])
@pytest.mark.parametrize("frame", [None, "4h"])
def test_what_is_told_is_that_of_one_run(lines, frame, tmp_path):
    times, closes = prices_of()
    path = tmp_path / "prices.txt"
    path.write_text(text_of(lines(times, closes)))
    for params, min_change in ((None, None), ({"compat": "pine", "ema_len": 12}, 0.2)):
        frames = (frame,) if frame else ()
        changes, watch = once(path, params, timeframes=frames, min_change=min_change)
        assert told_of(changes) == nonempty(wanted(times, closes, frame, params, min_change))
        check_last(watch, times, closes, frame, params)
        assert [c.seq for c in changes] == list(range(1, len(changes) + 1))
        keys = [c.time for c in changes]
        assert frame or keys == sorted(keys)
        assert all(c.timeframe == frame for c in changes)
    assert watch.counters.bad == {}


def test_several_timeframes_in_one_watch(tmp_path):
    times, closes = prices_of(step=15, bars=400)
    path = tmp_path / "prices.csv"
    path.write_text(text_of(long_lines(times, closes)))
    changes, watch = once(path, timeframes=["1h", Timeframe("1d", "Europe/Berlin")])
    for frame in ("1h", Timeframe("1d", "Europe/Berlin")):
        of_frame = [c for c in changes if c.timeframe == str(frame)]
        assert told_of(of_frame) == nonempty(wanted(times, closes, frame))
    assert sum(watch.bars["1h"].values()) > sum(watch.bars["1d"].values()) > 0


def test_changes_as_json():
    change = Change("ab", 7, "A", None, None, 3, float("nan"), 0.5, 1, 1, ("direction",), {"average": float("nan")})
    values = json.loads(change.to_json())
    assert values == {
        "schema": "warpquant.watch/1", "watch": "ab", "seq": 7, "symbol": "A", "timeframe": None, "time": None,
        "bars": 3, "price": None, "average": 0.5, "trend": 1, "direction": 1, "changes": ["direction"],
        "previous": {"average": None},
    }  # fmt: skip
    for time_ in (
        None,
        np.datetime64("2024-01-02T03:04:05", "ns"),
        np.datetime64("2024-01-02T03:04:05.000000120", "ns"),
    ):
        one = Change("ab", 7, "A", "1h", time_, 3, 2.0, 0.5, 1, 1, ("trend", "average"), {"trend": 0})
        assert Change._from_dict(one.to_dict()) == one
    assert '"time": "2024-01-02T03:04:05.00000012Z"' in one.to_json()


# ---- files that grow


@settings(max_examples=15)
@given(st.lists(st.integers(0, 6000), max_size=12), st.booleans(), st.sampled_from([wide_lines, json_lines]))
def test_whatever_the_pieces(tmp_path_factory, cuts, restart, lines):
    """A file that grows by any pieces of bytes, with a restart between them or not, is read as if it were whole."""
    folder = tmp_path_factory.mktemp("watch")
    times, closes = prices_of(bars=60)
    data = text_of(lines(times, closes)).encode()
    path = folder / "prices.csv"
    changes, at = [], 0
    state = folder / "state" if restart else None
    watch = Watch(path, state=state)
    for cut in [*sorted(min(c, len(data)) for c in cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[at:cut])
        at = cut
        while watch.poll(changes.extend):
            pass
        if restart:
            watch.save()
            watch.close()
            watch = Watch(path, state=state)
    watch.close()
    assert told_of(changes) == nonempty(wanted(times, closes))
    check_last(watch, times, closes)


def test_a_torn_last_line_waits(tmp_path):
    path = tmp_path / "A.csv"
    path.write_text("time,close\n2024-01-01,1.0\n2024-01-02,2")
    changes, watch = once(path)
    assert watch.bars == {"": {"A": 1}}
    watch = Watch(path)
    while watch.poll(changes.append):
        pass
    assert watch.unfinished == len("2024-01-02,2")
    with path.open("a") as file:
        file.write("5.5\n")
    watch.poll(changes.append)
    assert (watch.bars, watch.unfinished) == ({"": {"A": 2}}, 0)
    watch.close()


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("how", ["rename", "truncate", "replace", "copy"])
def test_rotation(how, away, tmp_path, caplog):
    """A file is renamed, cut, replaced by a longer one, or copied and cut; while it is watched, and while it is not."""
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    lines = list(long_lines(times, closes))
    header, rows = lines[0], lines[1:]
    path.write_text(text_of([header, *rows[:50]]))
    changes = []
    watch = Watch(path, state=state)
    watch.run(changes.extend, once=True)
    if away:
        watch.close()
    if how == "rename":  # with lines that were not read before
        with path.open("a") as file:
            file.write(text_of(rows[50:70]))
        path.rename(tmp_path / "prices.csv.1")
        if away:  # bars that lie in the old file come first all the same
            path.write_text(text_of([header, *rows[70:90]]))
    elif how == "copy":
        (tmp_path / "prices.csv.1").write_bytes(path.read_bytes())
    if away:
        watch = Watch(path, state=state)
    else:
        while watch.poll(changes.extend):
            pass
    if how == "rename":
        path.write_text(text_of([header, *rows[70:]]))
    elif how == "replace":
        (tmp_path / "new").write_text(text_of([header, *rows]))
        (tmp_path / "new").replace(path)
    else:
        path.write_text(text_of([header, *rows[50:]]))
    while watch.poll(changes.extend):
        pass
    watch.close()
    assert told_of(changes) == nonempty(wanted(times, closes))
    check_last(watch, times, closes)
    assert watch.counters.bad == {}
    said = " ".join(record.message for record in caplog.records)
    assert ("lost" in said) is False
    assert bool(said) == (how != "replace")


def test_rotation_that_loses_lines_says_so(tmp_path, caplog):
    path, state = tmp_path / "A.csv", tmp_path / "state"
    path.write_text("time,close\n2024-01-01,1.0\n")
    once(path, state=state)
    (tmp_path / "other").write_text("time,close\n2024-01-05,1.0\n")
    (tmp_path / "other").replace(path)
    _, watch = once(path, state=state)
    assert watch.bars == {"": {"A": 2}}
    assert "lines of it may be lost" in caplog.text


def test_a_new_file_without_header(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time,symbol,close\n2024-01-01,A,1.0\n")
    watch = Watch(path)
    watch.poll(print)
    watch.poll(print)
    path.rename(tmp_path / "log.csv.1")
    path.write_text("2024-01-02,A,2.0\n2024-01-03,A,2.0\n")
    watch.run(lambda changes: None, once=True)
    watch.close()
    assert watch.bars == {"": {"A": 3}}


def test_lines_without_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("warpquant._follow._CHUNK", 100)
    monkeypatch.setattr("warpquant._follow._LONGEST_LINE", 300)
    path, state = tmp_path / "A.csv", tmp_path / "state"
    path.write_text("time,close\n2024-01-01,1.0\n" + "9" * 1000)
    _, watch = once(path, state=state)
    assert watch.bars == {"": {"A": 1}}
    with path.open("a") as file:
        file.write("9" * 500 + "\n2024-01-03,3.0\n")
    _, watch = once(path, state=state)
    assert watch.bars == {"": {"A": 2}}
    assert "too long" in caplog.text


def test_a_file_that_is_not_there_yet(tmp_path):
    path = tmp_path / "A.csv"
    watch = Watch(path)
    assert not watch.poll(print)
    path.write_text("time,close\n2024-01-01,1.0\n")
    watch.run(lambda changes: None, once=True)
    assert watch.bars == {"": {"A": 1}}
    watch.close()


# ---- folders


def test_a_folder(tmp_path):
    """Files grow, come by renaming, are complete, hidden, of other kinds, renamed away; and a restart in between."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    times, closes = prices_of(symbols=4)
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()

    def one(name, part):
        some = ~np.isnan(closes[name])
        return {"time": times[some][part], "close": closes[name][some][part]}

    def rows(name, part):
        table = one(name, part)
        return text_of(f"{t},{x!r}" for t, x in zip(table["time"], table["close"].tolist(), strict=True))

    changes = []
    watch = Watch(folder, state=state)

    def look():
        while watch.poll(changes.extend):
            pass

    look()
    (folder / "S0.csv").write_text("time,close\n" + rows("S0", slice(0, 50)) + "2024-04")
    (folder / "S1.csv.tmp").write_text("time,close\n" + rows("S1", slice(0, None)))
    (folder / ".S9.csv").write_text("time,close\n2024-01-01,1\n")
    (folder / "notes.txt").write_text("nothing\n")
    parquet.write_table(pa.table(one("S2", slice(0, 60))), folder / "S2.parquet")
    look()
    assert watch.symbols == ("S0", "S2")
    (folder / "S1.csv.tmp").rename(folder / "S1.csv")
    (folder / "S0.csv").write_text("time,close\n" + rows("S0", slice(0, 70)))
    look()
    watch.save()
    watch.close()
    parquet.write_table(pa.table(one("S2", slice(0, None))), tmp_path / "S2.parquet")
    (tmp_path / "S2.parquet").replace(folder / "S2.parquet")
    with (folder / "S0.csv").open("a") as file:
        file.write(rows("S0", slice(70, 90)))
    (folder / "S0.csv").rename(folder / "S0.csv.1")
    (folder / "S0.csv").write_text("time,close\n" + rows("S0", slice(90, None)))
    watch = Watch(folder, state=state)
    look()
    (folder / "S3.jsonl").write_text(text_of(json_lines(times, {"S3": closes["S3"]})))
    (folder / "S1.csv").unlink()
    look()
    look()
    watch.close()
    assert told_of(changes) == nonempty(wanted(times, closes))
    check_last(watch, times, closes)
    assert watch.counters.bad == {}
    assert watch.counters.repeated == 60  # of S2, from its first version


def looks(watch):
    while watch.poll(len):
        pass


def bars_in(watch):
    return watch.bars[""]


def test_complete_files_without_times(tmp_path, monkeypatch):
    """A longer version adds its new rows, whenever the watch is ended in between; other rows are not used."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("warpquant._follow._SLICE", 30)
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()
    close = walk(140)

    def put(values):
        parquet.write_table(pa.table({"close": values}), tmp_path / "new")
        (tmp_path / "new").replace(folder / "A.parquet")

    watch = Watch(folder, state=state)
    put(close[:100])
    assert watch.poll(len)
    watch.save()
    watch.close()
    watch = Watch(folder, state=state)
    assert bars_in(watch) == {"A": 30}
    looks(watch)
    assert bars_in(watch) == {"A": 100}
    put(close[:101])
    looks(watch)
    assert bars_in(watch) == {"A": 101}
    (folder / "A.parquet").unlink()
    looks(watch)
    put(close)
    looks(watch)
    assert bars_in(watch) == {"A": 140}
    assert watch.counters.bad == {}
    put(close[1:])
    looks(watch)
    put(close[:90])
    looks(watch)
    assert bars_in(watch) == {"A": 140}
    assert watch.counters.bad == {"no_time": 2}
    same_bits(watch.last()[""]["A"]["average"], float(atc.run(close, outputs=("average",))["average"][-1]))
    watch.close()


def test_complete_files_come_in_slices(tmp_path, monkeypatch):
    """The records of a large file are not all made at once, and none is lost where the watch is ended between them."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    from warpquant import _follow

    monkeypatch.setattr(_follow, "_SLICE", 50)
    times, closes = prices_of()
    parquet.write_table(pa.table({"time": times, **closes}), tmp_path / "x.parquet")
    source = _follow.FolderSource(tmp_path, _follow.Columns())
    sizes = []
    while (taken := source.read()).more:
        sizes.append(sum(len(record.prices) for record in taken.records))
    assert len(sizes) > 5
    assert max(sizes) < 50 + len(closes)
    state, changes = tmp_path / "state", []
    for _ in range(3):
        watch = Watch(tmp_path, state=state)
        watch.poll(changes.extend)
        watch.save()
        watch.close()
    assert 0 < max(bars_in(watch).values()) < 100
    more, watch = once(tmp_path, state=state)
    assert told_of([*changes, *more]) == nonempty(wanted(times, closes))
    assert watch.counters.bad == {}
    check_last(watch, times, closes)


@pytest.mark.parametrize("restart", [False, True])
def test_names_change_in_a_folder(restart, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()
    line = '{{"symbol": "A", "close": {}}}'
    (folder / "a.jsonl").write_text(text_of(line.format(i) for i in range(1, 101)))
    (folder / "b.csv").write_text("close\n1.0\n2.0\n")
    parquet.write_table(pa.table({"close": [1.0, 2.0, 3.0]}), folder / "c.parquet")
    watch = Watch(folder, state=state)
    looks(watch)
    assert bars_in(watch) == {"A": 100, "b": 2, "c": 3}
    with (folder / "b.csv").open("a") as file:
        file.write("3.0\n")  # not read before it is moved away
    (folder / "a.jsonl").rename(folder / "z.jsonl")
    (folder / "b.csv").rename(folder / "x.csv")
    (folder / "c.parquet").rename(folder / "y.parquet")
    (folder / "b.csv").write_text("4.0\n")  # goes on, without a header
    if restart:
        watch.save()
        watch.close()
        watch = Watch(folder, state=state)
    looks(watch)
    assert bars_in(watch) == {"A": 100, "b": 4, "c": 3}
    with (folder / "z.jsonl").open("a") as file:
        file.write(line.format(5) + "\n")
    with (folder / "x.csv").open("a") as file:
        file.write("5.0\n")
    looks(watch)
    assert bars_in(watch) == {"A": 101, "b": 5, "c": 3}
    assert watch.counters.bad == {}
    watch.close()


@pytest.mark.parametrize("restart", [False, True])
def test_a_look_between_two_files_of_a_name(restart, tmp_path):
    """The first line of the later one is a bar, although the earlier one was gone for a while."""
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()
    (folder / "a.csv").write_text("time,symbol,close\n2024-01-01,A,1.0\n")
    watch = Watch(folder, state=state)
    looks(watch)
    (folder / "a.csv").rename(tmp_path / "a.csv.1")
    looks(watch)
    if restart:
        watch.save()
        watch.close()
        watch = Watch(folder, state=state)
    (folder / "a.csv").write_text("2024-01-02,A,2.0\n2024-01-03,A,2.0\n")
    looks(watch)
    assert bars_in(watch) == {"A": 3}
    (folder / "a.csv").unlink()
    looks(watch)
    (folder / "a.csv").write_text("close,time,symbol\n4.0,2024-01-04,A\n")
    looks(watch)
    assert bars_in(watch) == {"A": 4}
    assert watch.counters.bad == {}
    watch.close()


def test_only_so_many_files_are_remembered(tmp_path, monkeypatch):
    from warpquant import _follow

    monkeypatch.setattr(_follow, "_MOST_GONE", 3)
    source = _follow.FolderSource(tmp_path, _follow.Columns())
    for i in range(6):
        file = tmp_path / f"{i}.csv"
        file.write_text("close\n1.0\n")
        while source.read().more:
            pass
        file.unlink()
        while source.read().more:
            pass
    assert list(source.position()["gone"]) == ["3.csv", "4.csv", "5.csv"]


def test_more_files_than_may_be_open(tmp_path):
    import resource

    for i in range(80):
        (tmp_path / f"S{i}.csv").write_text("time,close\n2024-01-01,1\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    try:
        _, watch = once(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert watch.bars == {"": {f"S{i}": 1 for i in range(80)}}


# ---- what cannot be used

BAD = {
    "not_text": b"\xff\xfe,A,1",
    "columns": b"2024-01-09,A",
    "not_numeric": b"2024-01-09,A,1e400x",
    "no_time": b"yesterday,A,1",
    "no_symbol": b"2024-01-09,,1",
    "late": b"2023-01-01,A,1",
    "duplicate": b"2024-01-08,A,1",
}


def test_lines_that_cannot_be_used(tmp_path, caplog):
    path = tmp_path / "prices.csv"
    good = [b"time,symbol,close", *(b"2024-01-%02d,A,%d" % (d, d) for d in range(1, 9))]
    bad = [*BAD.values(), b"2024-01-09,A,1e308", b'2024-01-09,"A,1', b"\0\0\0", b"2024-01-09,A,true"]
    path.write_bytes(b"\n".join([*good, *bad, *bad, b"2024-01-09,A,", b"", b"2024-01-10,A,10", b""]))
    _, watch = once(path)
    assert watch.bars == {"": {"A": 9}}
    assert set(watch.counters.bad) == set(BAD)
    assert watch.counters.bad["columns"] == 6
    assert sum(watch.counters.bad.values()) == 2 * len(bad)
    messages = [record.message for record in caplog.records]
    assert len(messages) == len(BAD)  # once for each kind, with its line
    assert any(m.startswith("prices.csv line 10: is no UTF-8 text (not_text") for m in messages)
    assert any("A: 2023-01-01 comes after 2024-01-08 (late" in m for m in messages)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "not_json"), ("{", "not_json"), ('{"a": ' * 3000, "not_json"), ('"x"', "not_json"), ("A,1", "not_json"),
        ('{"time": 1, "close": 2}', "no_time"), ('{"time": "2024-01-01", "close": 2}', "no_symbol"),
        ('{"symbol": "A", "time": "2024-01-01"}', "columns"), ('{"symbol": "", "close": 1}', "no_symbol"),
        ('{"symbol": "A", "time": "2024-13-01", "close": 1}', "no_time"), ('{"symbol": true, "close": 1}', "no_symbol"),
        ('{"symbol": "A", "close": true}', "not_numeric"), ('{"symbol": "A", "close": [1]}', "not_numeric"),
        ('{"symbol": "A", "time": true, "close": 1}', "no_time"), ('{"symbol": "A", "close": "x"}', "not_numeric"),
        ('{"symbol": "A", "time": 1e300, "close": 1}', "no_time"), ('{"prices": {"A": {}}}', "not_numeric"),
        ('{"symbol": "A", "close": ' + "9" * 400 + "}", "not_numeric"), ('{"time": {}, "prices": {"A": 1}}', "no_time"),
        ('{"symbol": "A", "close": "1_000"}', "not_numeric"), ('{"symbol": "\\ud800", "close": 1}', "no_symbol"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be_used(line, reason, monkeypatch):
    watch = feed_stdin(monkeypatch, f"{line}\n".encode())
    assert watch.counters.bad == {reason: 1}
    assert watch.symbols == ()


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("1577836800.5", "2020-01-01T00:00:00.5Z"),
        (" 1577836800 ", "2020-01-01T00:00:00Z"),
        ("1577836800000", "2020-01-01T00:00:00Z"),
        ("2020-01-01T00:00:00.25", "2020-01-01T00:00:00.25Z"),
    ],
)
def test_times_that_are_text(value, want):
    from warpquant import _follow, _track

    assert _track.time_text(np.datetime64(_follow._time_of(value, None), "ns")) == want


def feed_stdin(monkeypatch, data, show=len, **more):
    """A watch of standard input after these bytes and its end."""
    out, inn = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(out))
    watch = Watch("-", **more)
    feeder = threading.Thread(target=lambda: (os.write(inn, data), os.close(inn)))
    feeder.start()
    watch.run(show)
    feeder.join()
    watch.close()
    sys.stdin.close()
    return watch


def test_objects_of_all_forms(monkeypatch):
    lines = [
        '{"symbol": "A", "time": "2024-01-01T00:00:00Z", "close": 1}',
        '{"Ticker": "A", "timestamp": 1704153600, "price": "2.5"}',
        '{"pair": "A", "ts": 1704240000000, "Close": 3}',
        '{"symbol": "A", "time": 1704326400.25, "close": 4}',
        '{"symbol": "A", "time": "20240105", "close": 5}',
        '{"time": "2024-01-06 01:00+01:00", "prices": {"A": 6, "B": null, "C": NaN, "D": 7}}',
        '{"symbol": "A", "time": "2024-01-07", "close": null}',
        '{"symbol": "E", "close": 1}',
        '{"symbol": "E", "close": 2}',
        '{"symbol": 600000, "time": "2024-01-07", "close": 3}',
    ]
    watch = feed_stdin(monkeypatch, "\n".join(lines).encode())  # the last one without an end
    assert watch.bars == {"": {"A": 6, "D": 1, "E": 2, "600000": 1}}
    assert watch.counters.bad == {}
    watch = feed_stdin(monkeypatch, b'{"symbol": "A", "close": 1}\n', timeframes=["1h"])
    assert watch.counters.bad == {"no_time": 1}


def test_columns_and_formats_that_are_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("when,what,close,adj\n31/01/2024 10:00,A,1,2\n01/02/2024 10:00,A,1,3\n")
    _, watch = once(path, time_col="when", symbol_col="what", price_col="adj", time_format="%d/%m/%Y %H:%M")
    assert watch.bars == {"": {"A": 2}}
    _, watch = once(path, symbol_col="nothing")
    assert watch.counters.bad == {"columns": 2}
    with pytest.raises(ParameterError, match="does not grow"):
        Watch(tmp_path / "x.parquet")
    with pytest.raises(ParameterError, match="min_change"):
        Watch(path, min_change=-1)


# ---- histories


def test_a_history_is_taken_in_in_silence(tmp_path):
    times, closes = prices_of()
    (tmp_path / "old.csv").write_text(text_of(wide_lines(times[:100], {k: v[:100] for k, v in closes.items()})))
    path = tmp_path / "new.csv"
    path.write_text(text_of(wide_lines(times[90:], {k: v[90:] for k, v in closes.items()})))  # they overlap
    changes, watch = once(path, history=[tmp_path / "old.csv"])
    late = [c for c in flat(wanted(times, closes)) if c[0] > f"{times[99]}Z"]
    assert flat(told_of(changes)) == late
    check_last(watch, times, closes)
    assert watch.counters.bad == {}
    assert watch.counters.repeated > 0


def test_from_now(tmp_path):
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    lines = list(wide_lines(times, closes))
    path.write_text(text_of(lines[:101]))
    assert once(path, from_now=True, state=state)[0] == []
    with path.open("a") as file:
        file.write(text_of(lines[101:]))
    changes, watch = once(path, from_now=True, state=state)
    late = [c for c in flat(wanted(times, closes)) if c[0] > f"{times[99]}Z"]
    assert flat(told_of(changes)) == late
    check_last(watch, times, closes)


# ---- killed and started again


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_every_step(tmp_path, monkeypatch):
    """Ended before or after any write of the state, of the log, of a change shown, and started again.

    The file of changes has each once; what is shown has each at least once, in order; actions come at most once.
    """
    times, closes = prices_of(symbols=2, bars=36)
    data = text_of(long_lines(times, closes)).encode()
    expected = nonempty(wanted(times, closes))
    monkeypatch.setattr("warpquant._follow._CHUNK", 700)  # several batches
    steps = 0
    real_write = _statefile.write

    class Noted(_actions.Action):
        kind = "command"
        seqs: list[int] = []  # noqa: RUF012

        def submit(self, job):
            step()
            self.seqs.append(job.seq)
            self._ended.append(job.seq)
            step()
            return True

    def step():
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    def write(*arguments):
        step()
        real_write(*arguments)
        step()

    monkeypatch.setattr(_statefile, "write", write)
    for number in (*range(1, 16), *range(17, 400, 11)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, log, state = folder / "prices.csv", folder / "log", folder / "state"
        path.write_bytes(data)
        shown, kills = [], 0
        Noted.seqs = []

        def show(changes, shown=shown):
            step()
            shown.extend(changes)
            step()

        while True:
            left = number if kills < 3 else 10**9
            watch = Watch(path, state=state, output=log, actions=[Noted()])
            try:
                watch.run(show, once=True)
                watch.close()
            except Killed:
                kills += 1
                watch._release()
                if kills == 2:
                    with log.open("ab") as file:
                        file.write(b'{"schema": "warpq')  # torn
                continue
            break
        steps = max(steps, number if kills else 0)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert told_of(lines) == expected
        assert [x["seq"] for x in lines] == list(range(1, len(lines) + 1))
        assert len({x["watch"] for x in lines}) == 1 or number < 4  # ended before it had a state
        seqs = [c.seq for c in shown]
        assert sorted(set(seqs)) == list(range(1, len(lines) + 1))
        assert all(c.again for c in shown if seqs.count(c.seq) > 1 and shown.index(c) > seqs.index(c.seq))
        assert len(set(Noted.seqs)) == len(Noted.seqs)
        flips = {x["seq"] for x in lines if "direction" in x["changes"]}
        assert set(Noted.seqs) <= flips
        assert kills or set(Noted.seqs) == flips
        check_last(watch, times, closes)
        if not kills:
            break
    else:
        raise AssertionError("never came to an end")
    assert steps > 15


def test_interrupted_in_the_middle_of_a_batch(tmp_path, monkeypatch):
    """What is saved while the watch ends is the state before that batch."""
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    path.write_text(text_of(wide_lines(times, closes)))
    monkeypatch.setattr("warpquant._follow._CHUNK", 2000)
    changes, calls = [], 0
    watch = Watch(path, state=state, actions=[Command("true")])
    real = watch._tracker.feed

    def feed(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(watch._tracker, "feed", feed)
    with pytest.raises(KeyboardInterrupt):
        watch.run(changes.extend, once=True)
    assert len(changes) > 0
    watch.close(20)
    more, watch = once(path, state=state)
    assert more
    assert told_of([*changes, *more]) == nonempty(wanted(times, closes))
    check_last(watch, times, closes)


def spawn(*arguments, **more):
    command = [sys.executable, "-m", "warpquant", "watch", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


@pytest.mark.slow
def test_kill_9_while_a_writer_appends(tmp_path):
    """A process that is killed again and again, while lines come in torn pieces, tells of every change exactly once."""
    pytest.importorskip("typer")
    times, closes = prices_of(bars=75)
    data = text_of(long_lines(times, closes)).encode()
    path, log, state, seen = (tmp_path / n for n in ("prices.csv", "log", "state", "seen"))
    path.touch()
    command = f"{sys.executable} -S -c \"import sys; open('{seen}', 'a').write(sys.stdin.read() + chr(10))\""
    options = (path, "--state", state, "-o", log, "--interval", 0.005, "-f", "json", "-q", "--on-flip", command)
    stop = threading.Event()

    def writer():
        rng, at = np.random.default_rng(0), 0
        while at < len(data) and not stop.is_set():
            size = int(rng.integers(1, 90))
            with path.open("ab") as file:
                file.write(data[at : at + size])
            at += size
            time.sleep(0.05)

    thread = threading.Thread(target=writer)
    thread.start()
    out, err, kills, rng = b"", b"", 0, np.random.default_rng(2)
    try:
        while thread.is_alive():
            process = spawn(*options)
            until = time.monotonic() + 20
            had = path.stat().st_size
            while not state.exists() and time.monotonic() < until and path.stat().st_size - had < 2000:
                time.sleep(0.01)
            time.sleep(0.45 + 0.3 * rng.random())
            process.kill()
            some, more = process.communicate()
            out, err, kills = out + some, err + more, kills + 1
    finally:
        stop.set()
        thread.join()
    process = spawn(*options, "--once")
    some, more = process.communicate(timeout=60)
    out, err = out + some, err + more
    assert process.returncode == 0, err
    assert kills >= 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    expected = nonempty(wanted(times, closes))
    assert told_of(lines) == expected
    assert [x["seq"] for x in lines] == list(range(1, len(lines) + 1))
    shown = [json.loads(line) for line in out.splitlines() if line.endswith(b"}")]
    assert {x["seq"] for x in shown} == {x["seq"] for x in lines}
    carried = [json.loads(line)["seq"] for line in seen.read_text().splitlines() if line.startswith("{")]
    assert len(carried) == len(set(carried))
    flips = {x["seq"] for x in lines if "direction" in x["changes"]}
    excused = {int(n) for n in re.findall(rb"-(\d+)[,)]", err)}  # told of at the next start
    assert set(carried) <= flips
    assert flips - set(carried) <= excused
    changes, watch = once(path, state=state)
    assert changes == []
    check_last(watch, times, closes)


def test_standard_input_goes_on_from_a_state(tmp_path, monkeypatch):
    """A producer that begins anew repeats what was there."""
    times, closes = prices_of()
    data = [*json_lines(times, closes)]
    changes = []
    for first, last in ((0, 120), (60, 200), (0, len(data))):
        part = text_of(data[first:last]).encode()
        watch = feed_stdin(monkeypatch, part, changes.extend, state=tmp_path / "state")
        assert watch.counters.bad == {}
    assert told_of(changes) == nonempty(wanted(times, closes))
    check_last(watch, times, closes)


# ---- states that are refused


def test_states_that_are_refused(tmp_path):
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    path.write_text(text_of(wide_lines(times, closes)))
    once(path, state=state, timeframes=["1h"])
    whole = state.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, 3, 40, *rng.integers(0, len(whole), 30)]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        for data in (whole[:at], bytes(flipped)):
            state.write_bytes(data)
            with pytest.raises(StateError, match=re.escape(str(state))):
                Watch(path, state=state, timeframes=["1h"])
    state.write_bytes(whole)
    for more, said in (
        ({"params": {"ema_len": 30}}, "another params: ema_len is 28 there and 30 here"),
        ({"timeframes": ["4h"]}, "another timeframes"),
        ({"stamp": "end"}, "another stamp: 'start' there and 'end' here"),
        ({"price_col": "S1"}, "another columns: price is None there and 'S1' here"),
        ({"time_format": "%d/%m/%Y"}, "another columns: time_format is None there"),
    ):
        with pytest.raises(StateError, match=said):
            Watch(path, state=state, **{"timeframes": ["1h"], **more})
    with pytest.raises(StateError, match="another source"):
        Watch(tmp_path, state=state, timeframes=["1h"])
    watch = Watch(path, state=state, timeframes=["1h"])
    with pytest.raises(StateError, match="in use by another watch"):
        Watch(path, state=state, timeframes=["1h"])
    watch.close()
    assert once(path, state=state, timeframes=["1h"])[0] == []


def test_an_output_of_others_is_left_alone(tmp_path):
    times, closes = prices_of()
    path, state, output = tmp_path / "prices.csv", tmp_path / "state", tmp_path / "out"
    path.write_text(text_of(wide_lines(times, closes)))
    for data in (b"mine\nand no end", b"x" * (1 << 21)):
        output.write_bytes(data)
        with pytest.raises(ParameterError, match=r"output: .* none of a watch"):
            Watch(path, output=output)
        assert output.read_bytes() == data
    torn = b'{"schema": "warpquant.watch/1", "watch": "c5'
    state.write_bytes(b"no state")
    output.write_bytes(torn)
    with pytest.raises(StateError):
        Watch(path, output=output, state=state)
    assert output.read_bytes() == torn
    state.unlink()
    for data in (torn, torn[:5]):
        output.write_bytes(data)
        changes, _ = once(path, output=output)
        assert output.read_text() == text_of(change.to_json() for change in changes)


def test_symbols_that_are_no_text(tmp_path):
    """Half a surrogate pair in an object is refused; the name of a file is not, and its JSON has it escaped."""
    path, state, output = tmp_path / "in", tmp_path / "state", tmp_path / "out"
    path.mkdir()
    lines = [json.dumps({"symbol": "A\ud800", "close": 1.0}), json.dumps({"prices": {"\udfff": 1.0}})]
    (path / "x.jsonl").write_text(text_of(lines))
    pathlib.Path(os.fsdecode(os.fsencode(path) + b"/\xff.jsonl")).write_text(
        text_of(json.dumps({"close": float(x)}) for x in walk(120))
    )
    changes, watch = once(path, state=state, output=output)
    assert watch.symbols == ("\udcff",)
    assert watch.counters.bad == {"no_symbol": 2}
    assert [json.loads(line) for line in output.read_text().splitlines()] == [c.to_dict() for c in changes] != []
    assert once(path, state=state, output=output)[0] == []


# ---- actions


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as the test says, and notes what came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.headers["Idempotency-Key"], json.loads(body)))
        code = self.server.codes.pop(0) if self.server.codes else 200
        if code == "slow":
            time.sleep(0.5)
            code = 200
        self.send_response(code)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()

    def do_GET(self):
        self.server.came.append(("GET", None))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.came, server.codes = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook?token=secret"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def flips_of(changes):
    return [(c.seq, c.symbol) for c in changes if c.is_flip]


def job(seq=1):
    return _actions.Job(seq, f"x-{seq}", b'{"seq": %d}' % seq)


def test_webhook(tmp_path, receiver):
    times, closes = prices_of()
    path = tmp_path / "prices.csv"
    path.write_text(text_of(wide_lines(times, closes)))
    hook = Webhook(receiver.url)
    changes = []
    watch = Watch(path, actions=[hook])
    watch.run(changes.extend, once=True)
    watch.close(20)
    assert [(b["seq"], b["symbol"]) for _, b in receiver.came] == flips_of(changes)
    assert [key for key, _ in receiver.came] == [f"{c.watch}-{c.seq}" for c in changes if c.is_flip]
    assert (hook.done, hook.failed, hook.dropped) == (len(receiver.came), 0, 0)
    assert all(b["schema"] == SCHEMA for _, b in receiver.came)


def test_webhook_tries_again(receiver, caplog):
    receiver.codes = [500, "slow", 429, 200, 404, 302, 500, 500, 500, 500]
    hook = Webhook(receiver.url, backoff=0.001, timeout=0.2)
    for seq in range(1, 6):
        assert hook.submit(job(seq))
    hook.close(20)
    assert [key for key, _ in receiver.came] == ["x-1"] * 4 + ["x-2", "x-3"] + ["x-4"] * 4 + ["x-5"]
    assert (hook.done, hook.failed) == (2, 3)
    assert hook.take_ended() == {1, 2, 3, 4, 5}
    assert "answered 404" in caplog.text
    assert "redirect, which is not followed" in caplog.text
    assert "secret" not in caplog.text


def test_a_slow_receiver_does_not_hold_up_the_feed(receiver, caplog):
    receiver.codes = ["slow"] * 3
    hook = Webhook(receiver.url, limit=2)
    begin = time.monotonic()
    kept = [hook.submit(job(seq)) for seq in range(1, 8)]
    assert time.monotonic() - begin < 0.3
    assert hook.dropped == kept.count(False) >= 4
    assert "the queue is full; not told of x-" in caplog.text
    assert hook.close(0.05) <= 2
    assert hook.close(0.05) == 0


def test_nobody_listens(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        hook = Webhook(f"http://127.0.0.1:{taken.getsockname()[1]}/", attempts=2, backoff=0.001)
        hook.submit(job())
        hook.close(10)
    assert hook.failed == 1
    assert "no answer" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://a/b",
        "http://",
        "example.org",
        "http://user:pw@a/",
        "http://a:99999/",
        "http://[",
        "",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(ParameterError, match="webhook"):
        Webhook(url)


def test_command(tmp_path):
    times, closes = prices_of()
    path, seen = tmp_path / "prices.csv", tmp_path / "seen it"
    path.write_text(text_of(wide_lines(times, closes)))
    tee = Command(f"tee -a '{seen}' ';' '$HOME'", timeout=10)  # no shell: these are names of files
    changes = []
    watch = Watch(path, actions=[tee])
    cwd = pathlib.Path.cwd()
    os.chdir(tmp_path)
    try:
        watch.run(changes.extend, once=True)
        watch.close(30)
    finally:
        os.chdir(cwd)
    text = seen.read_text()
    bodies = [json.loads(part) for part in re.findall(r"\{.*?\}\}", text)]
    assert [(b["seq"], b["symbol"]) for b in bodies] == flips_of(changes)
    assert (tmp_path / "$HOME").read_text() == (tmp_path / ";").read_text() == text
    assert tee.done == len(bodies)


def test_only_the_beginning_of_an_output_is_kept(caplog):
    import tracemalloc

    caplog.set_level(logging.INFO, "warpquant")
    tracemalloc.start()
    try:
        action = Command("sh -c 'echo begin; head -c 30000000 /dev/zero; exit 3'", timeout=60)
        action.submit(job())
        assert action.close(60) == 0
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert action.failed == 1
    (message,) = [record.message for record in caplog.records if "ended with 3" in record.message]
    assert "begin" in message
    assert len(message) < 2100


def test_commands_that_fail(tmp_path, caplog):
    caplog.set_level(logging.INFO, "warpquant")
    slow = tmp_path / "slow.sh"
    slow.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    slow.chmod(0o755)
    bad = tmp_path / "bad.sh"
    bad.write_text("#!/bin/sh\necho it broke >&2\nexit 3\n")
    bad.chmod(0o755)
    no = tmp_path / "no"
    no.write_text("neither program nor script")
    no.chmod(0o755)
    begin = time.monotonic()
    for command, said in (
        (slow, "took longer than 0.2 s"),
        (bad, "ended with 3: it broke"),
        (no, "could not be started"),
    ):
        action = Command(str(command), timeout=0.2 if command == slow else 10)
        action.submit(job())
        assert action.close(20) == 0
        assert (action.done, action.failed) == (0, 1)
        assert said in caplog.text
    assert time.monotonic() - begin < 10
    action = Command("echo hello")
    action.submit(job())
    action.close(20)
    assert "command echo: x-1: hello" in caplog.text
    for command in ("", "no-such-program-here x", "'"):
        with pytest.raises(ParameterError, match="on_flip"):
            Command(command)


# ---- metrics


def test_metrics(tmp_path, caplog):
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families as parse

    from warpquant._watch_metrics import serve

    times, closes = prices_of()
    path = tmp_path / "prices.csv"
    path.write_text(text_of(wide_lines(times, closes)) + "nonsense\n2024-")
    hook = Webhook("http://127.0.0.1:9/")
    watch = Watch(path, actions=[hook])
    watch._actions[0].submit = lambda job: True  # nobody is told
    watch.run(lambda changes: None, once=True)
    server = serve(watch, 0)
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as page:
            text = page.read().decode()
        with urllib.request.urlopen(f"{base}/healthz", timeout=10) as page:
            assert page.read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"{base}/", timeout=10)
        refused.value.close()
        with pytest.raises(ParameterError, match="metrics_bind"):
            serve(watch, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
    assert not caplog.records[1:]  # the bad line alone
    values = {(s.name, *sorted(s.labels.items())): s.value for f in parse(text) for s in f.samples}
    done = watch.counters
    assert values[("warpquant_watch_records_total",)] == 150
    assert values[("warpquant_watch_bars_total",)] == sum(np.isfinite(x).sum() for x in closes.values()) == done.bars
    assert values[("warpquant_watch_bad_lines_total", ("reason", "columns"))] == 1
    assert values[("warpquant_watch_changes_total", ("reason", "direction"))] == done.changes["direction"] > 0
    assert values[("warpquant_watch_symbols",)] == 3
    assert values[("warpquant_watch_unfinished_bytes",)] == 5
    assert values[("warpquant_watch_last_record_timestamp_seconds",)] == times[-1].astype(float)
    assert values[("warpquant_watch_actions_total", ("op", "webhook"), ("reason", "dropped"))] == 0
    names = {f.name + ("_total" if f.type == "counter" else "") for f in parse(text)}
    assert all(name.startswith("warpquant_watch_") for name in names)
    labels = {label for key in values for label, _ in key[1:]}
    assert labels <= {"op", "reason"}
    page = (ROOT / "docs/streaming.md").read_text()
    assert names == set(re.findall(r"^\| `(warpquant_watch_\w+)", page, re.MULTILINE))
    watch.close(0)


def test_metrics_beyond_this_machine_are_warned_of(tmp_path, caplog):
    pytest.importorskip("prometheus_client")
    from warpquant._watch_metrics import serve

    watch = Watch(tmp_path)
    server = serve(watch, 0, "0.0.0.0")
    server.shutdown()
    server.server_close()
    watch.close()
    assert "whoever reaches this machine can read them" in caplog.text


# ---- the command line


def shell(*arguments, **more):
    command = [sys.executable, "-m", "warpquant", "watch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_command_line(tmp_path):
    pytest.importorskip("typer")
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    path.write_text(text_of(wide_lines(times, closes)))
    done = shell(path, "--once", "-f", "json", "--timeframe", "4h", "--ema-len", 20, "--state", state)
    assert done.returncode == 0, done.stderr
    assert told_of(map(json.loads, done.stdout.splitlines())) == nonempty(wanted(times, closes, "4h", {"ema_len": 20}))
    assert "150 records" in done.stderr
    state.write_bytes(state.read_bytes()[:-100])
    done = shell(path, "--once", "--timeframe", "4h", "--ema-len", 20, "--state", state)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{state}: is cut short or altered: its checksum does not fit" in done.stderr
    assert "Traceback" not in done.stderr
    done = shell("-", input=text_of([*json_lines(times, closes), "nonsense"]), env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 3
    assert "standard input line" in done.stderr
    assert "not used: 1 lines: not_json" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["Time", "Symbol", "Frame", "Price", "Average", "Trend", "Dir", "Changed"]
    assert len(lines) - 1 == sum(map(len, wanted(times, closes).values()))


def test_usage():
    typer_testing = pytest.importorskip("typer.testing")
    from warpquant.cli import app

    runner = typer_testing.CliRunner()
    for arguments, said in (
        (["/no/such/file.csv", "--once"], "does not exist"),
        (["x", "--timeframe", "1y"], "timeframe"),
        (["x", "--tz", "Nowhere", "--timeframe", "1h"], "tz"),
        (["x", "--webhook", "file:///x"], "webhook"),
        (["x", "--on-flip", "no-such-program"], "on_flip"),
        (["x", "--ema-len", "1"], "ema_len"),
        (["x", "--stamp", "middle", "--timeframe", "1h"], "stamp"),
        (["x", "--stamp", "middle"], "stamp"),
    ):
        result = runner.invoke(app, ["watch", *arguments])
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    result = runner.invoke(app, ["watch", "--help"])
    assert "Example:" in result.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(tmp_path, number, code):
    """The state is saved, and everything so far was told."""
    pytest.importorskip("typer")
    times, closes = prices_of()
    path, state = tmp_path / "prices.csv", tmp_path / "state"
    path.write_text(text_of(wide_lines(times, closes)))
    process = spawn(path, "--state", state, "-f", "json", "--metrics-port", 0)
    told = []
    want = sum(map(len, wanted(times, closes).values()))
    for line in process.stdout:
        told.append(json.loads(line))
        if len(told) == want:
            break
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert out == b""
    assert b"metrics on http://127.0.0.1:" in err
    assert told_of(told) == nonempty(wanted(times, closes))
    changes, watch = once(path, state=state)
    assert (changes, watch.counters.records) == ([], 0)
    check_last(watch, times, closes)


def test_import_stays_light():
    """`import warpquant` loads none of this."""
    code = "import sys, warpquant; print([m for m in sys.modules if m in ('prometheus_client', 'pyarrow', 'typer')"
    code += " or m.startswith('warpquant.watch') or m.startswith('warpquant.timeframes')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert warpquant.watch.SCHEMA == SCHEMA
