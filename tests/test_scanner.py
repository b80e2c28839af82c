# SPDX-License-Identifier: Apache-2.0
"""Scans of sources: the same rows as a scan in memory, whatever the batch, the place, or how often it was killed."""

from __future__ import annotations

import collections
import json
import logging
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

import warpquant
from checks import panel, same_bits, walk
from warpquant import data
from warpquant.atc import ATCConfig, Params
from warpquant.checkpoint import Checkpoint
from warpquant.errors import ParameterError
from warpquant.scan import ScanResult, scan, scan_batch, settings_of
from warpquant.scanner import analyze_symbol, prefetched, scan_all_symbols, scan_source
from warpquant.sources import MappingSource

pd = pytest.importorskip("pandas")

PORT = ["symbol", "signal", "trend", "price", "exchange"]


@pytest.fixture(scope="module")
def closes():
    return {f"S{i:03}": walk(60 + i % 7, i) for i in range(230)}


# ---- rows ----


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_batches_do_not_change_rows(closes, batch_size):
    whole = scan(closes, recent=5)
    parts = scan_source(closes, batch_size=batch_size, recent=5)
    assert parts.to_dict() == whole.to_dict()
    assert parts.recent.keys() == whole.recent.keys()
    for symbol, values in whole.recent.items():
        same_bits(parts.recent[symbol], values)


def test_last_values_alone_have_the_same_bits(closes):
    full = scan_source(closes)
    last = scan_source(closes, flips=False)
    for row in last.rows:
        assert row.bars_since_flip is None
    without = [{**row.to_dict(), "bars_since_flip": None} for row in sorted(full.rows, key=lambda r: r.symbol)]
    assert [row.to_dict() for row in sorted(last.rows, key=lambda r: r.symbol)] == without


def test_the_port_s_columns():
    long, short = scan_all_symbols(data.sp500_20(), min_signal=0.1)
    wanted = scan(data.sp500_20(), min_signal=0.1)
    for frame, rows in ((long, wanted.long), (short, wanted.short)):
        assert list(frame.columns) == PORT
        assert sorted(frame["symbol"]) == sorted(row.symbol for row in rows)
        by_name = {row.symbol: row for row in rows}
        for record in frame.to_dict("records"):
            row = by_name[record["symbol"]]
            assert (record["signal"], record["trend"], record["price"]) == (row.average, row.trend, row.price)
            assert record["exchange"] == ""
    assert long["signal"].is_monotonic_decreasing
    assert short["signal"].is_monotonic_increasing
    assert str(long["signal"].dtype) == "float64"


def test_frames_of_other_libraries():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    frame = data.sp500_20().to_pandas()
    kinds = {pl.DataFrame: pl.from_pandas(frame.reset_index()), pa.Table: pa.Table.from_pandas(frame)}
    for kind, source in kinds.items():
        long, short = scan_all_symbols(source)
        assert isinstance(long, kind)
        assert isinstance(short, kind)
        assert list(long.schema.names() if kind is pl.DataFrame else long.schema.names) == PORT
    table = scan_all_symbols(frame, returns="table", frame="arrow")
    assert table.column_names == ["side", *PORT]
    assert table.num_rows == 20
    result = scan_all_symbols(frame, returns="result")
    assert isinstance(result, ScanResult)
    empty = scan_all_symbols({}, frame="polars")[0]
    assert (empty.columns, empty.height) == (PORT, 0)
    assert list(scan_all_symbols({})[1].columns) == PORT


def test_parameters_of_the_port():
    config = ATCConfig(hma_len=20, robustness="Wide", strategy_mode=True)
    got = scan_all_symbols(data.sp500_20(), config, returns="result")
    want = scan(data.sp500_20(), config.params)
    assert [row.average for row in got.rows] == [row.average for row in want.rows]
    assert got.params == want.params
    high = pd.DataFrame({"symbol": "x", "date": range(60), "close": 1.0, "high": walk(60, 1)})
    (row,) = scan_all_symbols(high, ATCConfig(calculation_source="high"), returns="result").rows
    assert row.average == scan({"x": walk(60, 1)}).rows[0].average
    with pytest.raises(ParameterError, match="calculation_source='high'"):
        scan_all_symbols({"x": walk(60)}, ATCConfig(calculation_source="high"))


def test_bad_symbols_are_named_and_skipped(caplog):
    source = {"good": walk(60), "young": walk(3), "text": ["a"], **{f"e{i:02}": [] for i in range(12)}}
    with caplog.at_level(logging.WARNING, "warpquant"):
        long, short = scan_all_symbols(source, min_signal=0)
    assert len(long) + len(short) == 1
    assert "young was not scanned: it has 3 bars, fewer than min_bars=34" in caplog.text
    assert "4 more symbols were not scanned" in caplog.text


def test_max_symbols_and_progress(closes):
    seen = []
    result = scan_source(closes, batch_size=50, max_symbols=120, progress=lambda *done: seen.append(done))
    assert seen == [(50, 120), (100, 120), (120, 120)]
    assert result.counts["scanned"] == 120


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0}, {"max_symbols": 0}, {"execution": "gpu"}, {"workers": 2}, {"resume": True}, {"top": 0},
        {"min_signal": 2}, {"min_bars": 0}, {"num_threads": 0}, {"device": "gpu"}, {"params": {"emalen": 3}},
        {"nonsense": 1},
    ],
)  # fmt: skip
def test_wrong_arguments(wrong):
    with pytest.raises(ParameterError):
        scan_source({"x": walk(60)}, **wrong)


def test_wrong_results():
    for wrong in ({"returns": "frame"}, {"frame": "numpy"}):
        with pytest.raises(ParameterError):
            scan_all_symbols({"x": walk(60)}, **wrong)


def test_one_symbol():
    found = analyze_symbol("AAPL", data.sp500_20(), {"La": 0.05})
    assert list(found) == ["symbol", "df", "atc_results", "current_price", "exchange_label"]
    want = warpquant.compute_atc_signals(data.sp500_20()["AAPL"], La=0.05, nan_policy="skip")
    for name, values in want.items():
        same_bits(found["atc_results"][name].to_numpy(), values, name)
    assert found["df"].index[-1] == pd.Timestamp("2022-12-28")
    assert found["current_price"] == found["df"]["close"].iloc[-1]
    gaps = np.r_[walk(60), np.nan, np.inf]
    found = analyze_symbol("x", {"x": gaps}, frame="polars")
    assert found["df"]["close"].len() == 60
    assert found["current_price"] == gaps[59]
    with pytest.raises(ParameterError, match="did you mean 'AAPL'"):
        analyze_symbol("APPL", data.sp500_20())
    with pytest.raises(ParameterError, match="'x' has 3 bars"):
        analyze_symbol("x", {"x": walk(3)})


def test_real_data(shared):
    pytest.importorskip("pyarrow")
    path = shared / "data/equities/sp500_daily_2015_2020.parquet"
    from warpquant.scan import read_prices

    whole = scan(read_prices(path))
    for batch_size in (13, 100):
        got = scan_source(path, batch_size=batch_size)
        assert got.rows == whole.rows
        assert set(got.failures) == set(whole.failures)
        assert set(got.warnings) == set(whole.warnings)


# ---- batches elsewhere ----


def test_a_batch_is_plain_enough_for_other_processes(closes):
    settings = settings_of(Params(La=0.05), None, None, 3, True, 1, None)
    again = pickle.loads(pickle.dumps((scan_batch, settings)))
    there, here = again[0](closes, again[1]), scan_batch(closes, settings)
    assert there.rows == here.rows
    assert pickle.loads(pickle.dumps(here)).rows == here.rows


@pytest.mark.parametrize("name", ["ray", "dask"])
def test_batches_elsewhere(closes, name, monkeypatch):
    """What an adapter gets and gives, with one that only shows that batches are under way together."""
    called = {}

    def map_batches(fn, batches, *, workers=None, max_in_flight=None, retries=2):
        called.update(workers=workers, threads=pickle.loads(pickle.dumps(fn)).keywords["settings"].num_threads)
        waiting = collections.deque()
        for batch in batches:
            assert type(batch) is dict
            waiting.append(pickle.loads(pickle.dumps(batch)))
            if len(waiting) == 3:
                yield fn(waiting.popleft())
        yield from map(fn, waiting)

    package, module = types.ModuleType("warpquant.ext"), types.ModuleType(f"warpquant.ext.{name}")
    module.map_batches = map_batches
    monkeypatch.setitem(sys.modules, "warpquant.ext", package)
    monkeypatch.setitem(sys.modules, f"warpquant.ext.{name}", module)
    result = scan_source(closes, execution=name, workers=3, batch_size=9)
    assert called == {"workers": 3, "threads": 1}
    assert result.to_dict() == scan(closes).to_dict()
    dated = scan_source(data.sp500_20(), execution=name, batch_size=3)
    assert dated.to_dict() == scan(data.sp500_20()).to_dict()


def test_an_adapter_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "warpquant.ext.ray", None)
    with pytest.raises(ImportError, match=r"warpquant\[ray\]"):
        scan_source({"x": walk(60)}, execution="ray")


# ---- reading ahead ----


def test_reading_ahead_is_bounded():
    made = []

    def items():
        for i in range(20):
            made.append(i)
            yield i

    ahead = prefetched(items(), 2)
    assert next(ahead) == 0
    time.sleep(0.2)
    assert len(made) <= 4  # one taken, two waiting, one in the making
    assert list(ahead) == list(range(1, 20))


def test_reading_ahead_raises_in_place_and_ends():
    def items():
        yield 1
        raise ValueError("torn")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="torn"):
        next(ahead)
    endless = prefetched(iter(int, 1))
    assert next(endless) == 0
    endless.close()
    time.sleep(0.3)
    assert not [thread for thread in threading.enumerate() if thread.name == "warpquant-read"]


def test_a_failing_source_stops_the_scan():
    class Torn(MappingSource):
        def fetch(self, symbols):
            if "S004" in symbols:
                raise OSError("gone")
            return super().fetch(symbols)

    with pytest.raises(OSError, match="gone"):
        scan_source(Torn({f"S{i:03}": walk(60, i) for i in range(9)}), batch_size=2)


def _peak(code):
    """Resident memory that a scan takes above what was there before, in MB."""
    program = (
        "import pathlib, re\n"
        "def memory(name):\n"
        "    text = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(re.search(rf'{name}:\\s+(\\d+)', text)[1]) / 1e3\n"
        "import numpy as np, warpquant\n"
        "from warpquant.scanner import scan_source\n"
        f"{code}\n"
        "scan_source(source, max_symbols=2, flips=False)\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')\n"
        "before = memory('VmRSS')\n"
        "result = scan_source(source, flips=False)\n"
        "print(len(result.rows), memory('VmHWM') - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if "clear_refs" in run.stderr:
        pytest.skip("this system does not let a process forget its peak")
    assert run.returncode == 0, run.stderr
    rows, peak = run.stdout.split()
    return int(rows), float(peak)


@pytest.mark.parametrize(("symbols", "most"), [(1000, 30), (5000, 300)])
def test_memory(symbols, most):
    rows, peak = _peak(
        f"source = np.random.default_rng(0).standard_normal(({symbols}, 1500))\n"
        "np.cumsum(source, axis=1, out=source)\nsource += 1000"
    )
    assert rows == symbols
    assert peak < most


# ---- checkpoints ----


def test_a_checkpoint_is_the_scan(closes, tmp_path):
    path = tmp_path / "scan.jsonl"
    source = {**closes, "young": walk(3), "late": np.r_[np.full(40, np.nan), walk(60)]}
    whole = scan_source(source, {"compat": "pine", "cutout": 62}, recent=4)
    assert any(np.isnan(row.average) for row in whole.rows)
    first = scan_source(source, {"compat": "pine", "cutout": 62}, recent=4, checkpoint=path, batch_size=50)
    calls = []
    again = scan_source(
        source, {"compat": "pine", "cutout": 62}, recent=4, checkpoint=path, resume=True,
        progress=lambda *done: calls.append(done),
    )  # fmt: skip
    for result in (first, again):
        assert result.to_dict() == whole.to_dict()
        for symbol, values in whole.recent.items():
            same_bits(result.recent[symbol], values)
    assert calls == [(232, 232)]
    records = [json.loads(line[9:]) for line in path.read_bytes().splitlines()][1:]
    assert [symbol for record in records for symbol in record["symbols"]] == list(source)


def test_times_survive_a_checkpoint(tmp_path):
    path = tmp_path / "scan.jsonl"
    for _ in range(2):
        result = scan_source(data.sp500_20(), checkpoint=path, resume=True)
        assert result.rows == scan(data.sp500_20()).rows
        assert result.rows[0].time.dtype == np.dtype("datetime64[D]")


def test_torn_lines(closes, tmp_path):
    """Cut anywhere, a checkpoint holds the batches before the cut."""
    path = tmp_path / "scan.jsonl"
    whole = scan_source(closes, batch_size=60, checkpoint=path)
    text = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(text) if byte == 10]
    rng = random.Random(0)
    for cut in [0, 1, ends[0] - 1, ends[0], ends[1] - 1, ends[1], *(rng.randrange(len(text)) for _ in range(20))]:
        path.write_bytes(text[:cut])
        seen = []
        result = scan_source(
            closes, batch_size=60, checkpoint=path, resume=True, progress=lambda *n, seen=seen: seen.append(n[0])
        )
        assert result.to_dict() == whole.to_dict()
        done = 60 * max(sum(end <= cut for end in ends) - 1, 0)
        assert seen[0] == (min(done, 230) or 60)
        assert path.read_bytes() == text


def test_checkpoints_that_are_refused(closes, tmp_path):
    path = tmp_path / "scan.jsonl"
    scan_source(closes, checkpoint=path, batch_size=50)
    kept = path.read_bytes()
    changed = {**closes, "S007": walk(60, 999)}
    for source, more, says in (
        (closes, {"resume": False}, "exists; give --resume"),
        (closes, {"params": {"La": 0.05}}, "belongs to another scan: La is 0.02 there and 0.05 here"),
        (closes, {"min_bars": 40}, "min_bars is 34 there and 40 here"),
        (closes, {"flips": False}, "flips is True there and False here"),
        (changed, {}, "the prices are others"),
        (closes, {"max_symbols": 100}, "the symbols are others"),
    ):
        with pytest.raises(ParameterError, match=says):
            scan_source(source, **{"checkpoint": path, "resume": True, **more})
    assert path.read_bytes() == kept
    damaged = bytearray(kept)
    damaged[len(kept) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ParameterError, match="is damaged"):
        scan_source(closes, checkpoint=path, resume=True)
    for mine in (
        "notes of mine\n",
        "x",  # not a digit, with which the checksum of a header may begin
        "short",
        "12345678",
        "123456789",
        'my notes {"schema":"warpquant',
        "0" * 9 + "{",
    ):
        path.write_text(mine)
        for resume in (True, False):
            with pytest.raises(ParameterError, match="no checkpoint"):
                scan_source(closes, checkpoint=path, resume=resume)
        assert path.read_text() == mine
    with pytest.raises(ParameterError, match="cannot be written"):
        scan_source(closes, checkpoint=tmp_path / "none" / "scan.jsonl")


def test_two_scans_do_not_share_a_checkpoint(tmp_path):
    with Checkpoint(tmp_path / "c", {}, resume=False), pytest.raises(ParameterError, match="another scan"):
        Checkpoint(tmp_path / "c", {}, resume=True)


_KILLED = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
import warpquant.scanner as scanner
from checks import panel
log = open({log!r}, "a", buffering=1)
compute = scanner.scan_batch
def counted(batch, settings):
    found = compute(batch, settings)
    log.write(" ".join(batch) + "\\n")
    return found
scanner.scan_batch = counted
print("ready", flush=True)
scanner.scan_source(panel(400, 300), batch_size=5, checkpoint={path!r}, resume=True, num_threads=1)
"""


def test_a_killed_scan_goes_on(tmp_path):
    """SIGKILL at random moments: nothing lost, nothing recorded twice, nothing on disk computed again."""
    path, log = tmp_path / "scan.jsonl", tmp_path / "log"
    program = _KILLED.format(tests=str(pathlib.Path(__file__).parent), log=str(log), path=str(path))
    rng, killed = random.Random(1), 0
    for _ in range(12):
        saved = path.read_bytes() if path.exists() else b""
        known = {symbol for record in _records(saved) for symbol in record["symbols"]}
        log.write_text("")
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        if killed < 4:
            size = len(saved)
            wanted = size + rng.randrange(1, 12_000)
            while child.poll() is None and (path.stat().st_size if path.exists() else 0) < wanted:
                time.sleep(0.0005)
            child.kill()
        child.stdout.close()
        code = child.wait(timeout=60)
        computed = log.read_text().split()
        assert len(computed) == len(set(computed))
        assert not known & set(computed)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= 3
    recorded = [symbol for record in _records(path.read_bytes()) for symbol in record["symbols"]]
    assert recorded == [str(i) for i in range(400)]
    resumed = scan_source(panel(400, 300), checkpoint=path, resume=True)
    assert resumed.to_dict() == scan_source(panel(400, 300)).to_dict()


def _records(content):
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return [json.loads(line[9:]) for line in lines][1:]


def test_an_interrupt_keeps_what_is_done(closes, tmp_path):
    path = tmp_path / "scan.jsonl"

    def stop(done, total):
        if done >= 100:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        scan_source(closes, batch_size=50, checkpoint=path, progress=stop)
    assert sum(len(record["symbols"]) for record in _records(path.read_bytes())) >= 100
    assert scan_source(closes, checkpoint=path, resume=True).to_dict() == scan_source(closes).to_dict()
