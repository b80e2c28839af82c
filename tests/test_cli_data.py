# SPDX-License-Identifier: Apache-2.0
"""The command line on folders, patterns, queries, with checkpoints and the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from checks import walk
from command_line import call, plain  # noqa: F401
from warpquant.scan import read_prices, scan
from warpquant.scanner import scan_source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
from warpquant.cli import Code  # noqa: E402


def document(*arguments, code=Code.OK):
    return json.loads(call("scan", *arguments, "--format", "json", code=code).stdout)


@pytest.fixture
def bars(tmp_path):
    """A folder with a CSV file for each of thirty symbols."""
    folder = tmp_path / "bars"
    folder.mkdir()
    dates = np.datetime64("2024-01-01") + np.arange(70)
    for i in range(30):
        lines = [f"{d},1,{v}" for d, v in zip(dates, walk(70, i), strict=True)]
        path = folder / f"S{i:02}.csv"
        path.write_text("\n".join(["date,open,close", *lines]) + "\n")
        os.utime(path, (1e9, 1e9))
    return folder


def test_folders_and_patterns(bars):
    want = scan(read_prices(sorted(bars.iterdir()))).to_dict()
    assert document(bars) == want
    assert document(f"{bars}/*.csv") == want
    assert document(f"{bars}/S0*.csv", f"{bars}/S[12]*.csv", "--batch-size", 7) == want
    for wrong in (f"{bars}/*.txt", bars / "none", bars.parent / "kept.csv"):
        assert "source: " in call("scan", wrong, code=Code.USAGE).stderr


def test_a_dataset(tmp_path):
    symbols = np.repeat([f"S{i}" for i in range(9)], 60)
    table = pa.table({"symbol": symbols, "ts": np.tile(np.arange(60), 9), "close": walk(540)})
    pq.write_to_dataset(table, tmp_path / "set", partition_cols=["symbol"])
    pq.write_table(table, tmp_path / "one.parquet")
    assert document(tmp_path / "set", "--batch-size", 2) == document(tmp_path / "one.parquet")


def test_queries(bars, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    sql = f"select date, parse_filename(filename, true) as symbol, close from read_csv('{bars}/*.csv', filename=true)"
    want = document(bars)
    assert document("--query", sql) == want
    with duckdb.connect(str(tmp_path / "market.db")) as connection:
        connection.execute(f"create table bars as {sql}")
    assert document(tmp_path / "market.db", "--query", "select * from bars") == want
    assert "the query failed" in call("scan", "--query", "select", code=Code.USAGE).stderr
    call("scan", "--query", sql, "--demo", code=Code.USAGE)
    call("scan", "a.db", "b.db", "--query", sql, code=Code.USAGE)


def test_a_checkpoint(bars, tmp_path):
    path = tmp_path / "scan.jsonl"
    want = document(bars)
    assert document(bars, "--checkpoint", path, "--batch-size", 4) == want
    assert "give --resume" in call("scan", bars, "--checkpoint", path, code=Code.USAGE).stderr
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    assert document(bars, "--checkpoint", path, "--resume", "--batch-size", 4) == want
    assert path.read_bytes() == text
    assert (
        "La is 0.02 there"
        in call("scan", bars, "--checkpoint", path, "--resume", "--lambda", 0.05, code=Code.USAGE).stderr
    )
    assert "checkpoint" in call("scan", bars, "--resume", code=Code.USAGE).stderr


def test_execution(bars, monkeypatch):
    used = []

    def map_batches(fn, batches, *, workers=None, max_in_flight=None, retries=2):
        used.append(workers)
        return map(fn, batches)

    package, module = types.ModuleType("warpquant.ext"), types.ModuleType("warpquant.ext.dask")
    module.map_batches = map_batches
    monkeypatch.setitem(sys.modules, "warpquant.ext", package)
    monkeypatch.setitem(sys.modules, "warpquant.ext.dask", module)
    assert document(bars, "--execution", "dask", "--workers", 2, "--no-cache") == document(bars)
    assert used == [2]
    assert "accepted are 'auto'" in call("scan", bars, "--execution", "gpu", code=Code.USAGE).stderr


def test_pictures_of_a_folder(bars, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("warpquant.plot._DPI", 40)
    call("scan", bars, "--plot", tmp_path / "pictures", "--top", 1)
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_the_cache(bars, monkeypatch):
    first = call("cache", "stats", "--format", "json").stdout
    assert json.loads(first)["disk_entries"] == 0
    want = document(bars)
    assert json.loads(call("cache", "stats", "-f", "json").stdout)["disk_entries"] == 1
    with monkeypatch.context() as patch:
        patch.setattr("warpquant.scanner.scan_batch", None)
        assert document(bars) == want
        with pytest.raises(TypeError):
            document(bars, "--no-cache")
    assert call("cache", "clear").stderr == "warpquant: 1 file removed\n"
    assert "the result is in the cache" in call("cache", "warm", bars, "--robustness", "Wide").stderr
    monkeypatch.setattr("warpquant.scanner.scan_batch", None)
    assert document(bars, "--robustness", "Wide")["params"]["robustness"] == "Wide"
    assert "disk_entries" in call("cache", "stats").stdout


def test_the_bar_shows_rate_and_time_left(bars):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}
    run = subprocess.run(
        [sys.executable, "-m", "warpquant", "scan", str(bars), "--batch-size", "3", "--no-cache", "-f", "json"],
        capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert json.loads(run.stdout)["counts"]["scanned"] == 30
    assert "30/30" in run.stderr
    assert "/s" in run.stderr


def test_every_command_ends_its_help_with_an_example():
    commands = [
        ("scan",), ("report",), ("watch",), ("optimize",), ("cache", "stats"), ("cache", "clear"), ("cache", "warm"),
        ("bench",), ("tune",), ("doctor",), ("config", "show"),
    ]  # fmt: skip
    for command in commands:
        text = " ".join(call(*command, "--help").stdout.split())
        assert f"Example: warpquant {' '.join(command)}" in text
        assert text.rindex("--help") < text.rindex("Example: ")


def test_a_bad_file_among_many(bars):
    (bars / "torn.csv").write_text('a,b\n"1,2\n3')
    (bars / "short.csv").write_text("date,open,close\n2024-01-01,1,2\n")
    found = document(bars, code=Code.SOME_FAILED)
    assert {f["symbol"]: f["reason"] for f in found["failures"]} == {"torn": "unreadable", "short": "short"}
    assert found["counts"]["scanned"] == 30
    assert found == scan_source(bars).to_dict()


def test_the_doctor_looks_at_the_cache(tmp_path):
    found = json.loads(call("doctor", "-f", "json").stdout)
    assert found["cache"] == {"directory": str(tmp_path / "kept"), "problem": ""}
    assert str(tmp_path / "kept") in call("doctor").stdout
    (tmp_path / "kept").mkdir(mode=0o755)
    (tmp_path / "kept").chmod(0o755)
    found = json.loads(call("doctor", "-f", "json", code=Code.FAILED).stdout)
    assert "chmod 700" in found["cache"]["problem"]
    assert "the cache on disk cannot be used" in found["problems"][0]
