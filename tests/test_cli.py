# SPDX-License-Identifier: Apache-2.0
"""The command line: what goes to stdout and to stderr, in every format, and every exit code."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import warpquant
from checks import walk
from command_line import call, plain  # noqa: F401
from warpquant import atc, data
from warpquant.atc import Params
from warpquant.cli import Code
from warpquant.scan import scan

DEMO = ("scan", "--demo")


def shell(*arguments, **more):
    command = [sys.executable, "-m", "warpquant", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def wide(tmp_path, columns, name="prices.csv"):
    bars = max(len(column) for column in columns.values())
    dates = np.datetime64("2024-01-01") + np.arange(bars)
    lines = [",".join(["date", *columns])]
    lines += [",".join(map(str, row)) for row in zip(dates, *columns.values(), strict=True)]
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# ---- scan ----


def test_table():
    result = call(*DEMO, "--top", 3)
    blocks = re.split(r"\n\s*\n", result.stdout.rstrip())
    wanted = scan(data.sp500_20(), top=3)
    for block, title, rows in zip(
        blocks, ("Long (3 of 8)", "Short (3 of 11)"), (wanted.long, wanted.short), strict=False
    ):
        lines = [line.split() for line in block.splitlines()]
        assert " ".join(lines[0]) == title
        assert lines[1] == ["Symbol", "Price", "Average", "Trend", "Dir", "Flip", *atc.FAMILIES]
        assert [line[0] for line in lines[2:]] == [row.symbol for row in rows]
        for line, row in zip(lines[2:], rows, strict=True):
            assert float(line[1]) == pytest.approx(row.price, rel=1e-5)
            assert float(line[2]) == pytest.approx(row.average, abs=5e-4)
            assert [int(x) for x in line[3:6]] == [row.trend, row.direction, row.bars_since_flip]
            signals = [getattr(row, f"{family.lower()}_signal") for family in atc.FAMILIES]
            assert [float(x) for x in line[6:]] == pytest.approx(signals)
    assert blocks[2] == "Last bar 2022-12-28"
    assert result.stderr == "warpquant: 20 scanned, 8 long, 11 short, 1 neutral, 0 failed\n"


def test_the_table_fits_a_terminal():
    run = shell(*DEMO, env={**os.environ, "COLUMNS": "80", "FORCE_COLOR": "1"})
    bare = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
    assert "…" not in bare
    assert max(map(len, bare.splitlines())) <= 80


def test_json_is_what_the_library_gives():
    document = json.loads(call(*DEMO, "--format", "json", "--top", 2).stdout)
    assert document == scan(data.sp500_20(), top=2).to_dict()


def test_csv():
    text = call(*DEMO, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = scan(data.sp500_20()).to_records()
    assert [list(row) for row in rows] == [list(record) for record in wanted]
    assert [float(row["average"]) for row in rows] == [record["average"] for record in wanted]
    assert [row["side"] for row in rows] == [record["side"] for record in wanted]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "txt"])
def test_output_goes_to_the_file_in_the_format_of_its_suffix(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    assert call(*DEMO, "-o", path, "-q").stdout == ""
    if suffix == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(path).equals(scan(data.sp500_20()).to_arrow())
    else:
        form = "table" if suffix == "txt" else suffix
        assert path.read_text(encoding="utf-8") == call(*DEMO, "--format", form, "-q").stdout


def test_symbols_are_printed_as_they_are(tmp_path):
    path = wide(tmp_path, {"[bold]X[/bold]": walk(60, 1), "B[/]": walk(60, 2)})
    text = call("scan", path, "--min-signal", 0).stdout
    assert "[bold]X[/bold]" in text
    assert "B[/]" in text


def test_every_parameter_has_an_option(tmp_path):
    values = {
        "robustness": "Wide", "compat": "pine", "hma": "hull", "dema_seed": "value", "lsma": "previous",
        "kama_seed": "first", "rounding": "none", "cut": "thresholds", "neutral": "flat", "average_fill": "zero",
        "nan_policy": "propagate", "length_rule": "clamp", "on_short": "raise", "strategy_mode": True,
        "long_threshold": 0.25, "short_threshold": -0.3, "cut_level": 0.4, "cross_rtol": 1e-9, "La": 0.5, "De": 0.2,
        "cutout": 11, "ema_len": 9, "hull_len": 10, "wma_len": 11, "dema_len": 12, "lsma_len": 13, "kama_len": 14,
        "ema_w": 1.1, "hma_w": 1.2, "wma_w": 1.3, "dema_w": 1.4, "lsma_w": 1.5, "kama_w": 1.6,
    }  # fmt: skip
    assert set(values) == {field.name for field in dataclasses.fields(Params)}
    options = []
    for name, value in values.items():
        flag = "--" + name.lower().replace("_", "-")
        options += [flag] if value is True else [flag, value]
    document = json.loads(call(*DEMO, "--format", "json", *options).stdout)
    assert document["params"] == values
    assert document == scan(data.sp500_20(), values).to_dict()


def test_other_names_of_options():
    options = ("--lambda", 0.5, "--decay", 0.2, "--hma-len", 10, "--no-strategy-mode")
    params = json.loads(call(*DEMO, "--format", "json", *options).stdout)["params"]
    assert (params["La"], params["De"], params["hull_len"], params["strategy_mode"]) == (0.5, 0.2, 10, False)


def test_symbols_cannot_write_to_the_terminal(tmp_path, monkeypatch):
    """Control characters, line ends and what turns the direction of text are shown as such, in tables and messages."""
    evil = "A\x1b[2J\nfake\u202e"
    shown = "A\ufffd[2J\ufffdfake\ufffd"
    path = tmp_path / "x.csv"
    rows = [f'"{evil}",{100 + i}' for i in range(200)] + [f'"x{evil}",1']
    path.write_text("symbol,close\n" + "\n".join(rows) + "\n", encoding="utf-8")
    run = call("scan", path, code=Code.SOME_FAILED)
    assert shown in run.stdout
    assert f"failed: x{shown}: " in run.stderr
    assert json.loads(call("scan", path, "--format", "json", code=Code.SOME_FAILED).stdout)["long"][0]["symbol"] == evil
    lines = tmp_path / "x.jsonl"
    lines.write_text("".join(json.dumps({"symbol": evil, "close": 100 + i}) + "\n" for i in range(200)))
    told = call("watch", lines, "--once").stdout
    assert shown in told
    for text in (run.stdout, run.stderr, told):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_help_explains_the_parameters():
    text = call("scan", "--help").stdout
    for piece in ("--long-threshold", "Growth rate of returns, in per mille per bar.", "Narrow|Medium|Wide", "130"):
        assert piece in text, piece
    assert "`" not in text
    text = " ".join(text.replace("│", " ").split())
    for switch, default in (("nan-policy", "skip"), ("length-rule", "raise"), ("on-short", "neutral")):
        (help_of,) = re.findall(rf"--{switch} (.*?) --", text + " --")
        assert "by default as compat says" not in help_of
        assert f"[default: ({default})]" in help_of
    assert "by default as compat says" in text


def test_real_files(shared, equities):
    run = call(
        "scan", shared / "data/equities/sp500_daily_2015_2020.parquet", "--format", "json", code=Code.SOME_FAILED
    )
    document = json.loads(run.stdout)
    assert document["counts"]["scanned"] == 480
    rows = {row["symbol"]: row for row in document["long"] + document["short"] + document["neutral"]}
    for symbol in ("AAPL", "MSFT", "COL", "BHF"):
        alone = atc.run(equities[symbol], {"nan_policy": "skip"}, outputs=("average", "trend"), last_only=True)
        assert (rows[symbol]["average"], rows[symbol]["trend"]) == (alone["average"], alone["trend"])
    both = call(
        "scan", shared / "data/fx/eurusd_1h_2017_2018.csv.gz", shared / "data/equities/index_sp500_daily.csv.gz",
        "--format", "csv",
    )  # fmt: skip
    assert {line.split(",")[1] for line in both.stdout.splitlines()[1:]} == {"eurusd_1h_2017_2018", "index_sp500_daily"}


def test_columns_by_name(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("who,when,px\n" + "".join(f"x,{i:02}|01|2024,{v}\n" for i, v in enumerate(walk(28), 1)))
    run = call(
        "scan", path, "--symbol-col", "who", "--time-col", "when", "--price-col", "px", "--time-format", "%d|%m|%Y",
        "--min-bars", 5, "--format", "json",
    )  # fmt: skip
    document = json.loads(run.stdout)
    (row,) = document["long"] + document["short"] + document["neutral"]
    assert (row["symbol"], row["time"], row["bars"]) == ("x", "2024-01-28", 28)


def test_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("warpquant.plot._DPI", 40)
    path = wide(tmp_path, {"a/b": walk(60, 1), "a_b": walk(60, 2), "overview": walk(60, 3)})
    run = call("scan", path, "--plot", tmp_path / "pictures", "--plot-bars", 40, "--min-signal", 0)
    listed = len(list((tmp_path / "pictures").iterdir())) - 1
    assert f"{listed + 1} pictures in" in run.stderr
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {
        "overview.png", "a_b.png", "a_b_2.png", "overview_2.png"
    }  # fmt: skip


def test_logging_is_as_loud_as_asked():
    quiet = call(*DEMO)
    assert "auto" not in quiet.stderr
    warpquant._devices._log_fallback.cache_clear()
    assert "INFO device='auto' runs on the CPU" in call(*DEMO, "-v").stderr
    assert call(*DEMO, "-q").stderr == ""
    assert logging.getLogger("warpquant").handlers == []


@pytest.mark.parametrize("how", [{"NO_COLOR": "1"}, {}])
def test_colour_only_where_wanted(how):
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment = {**inherited, "FORCE_COLOR": "1", "TERM": "xterm-256color", **how}
    coloured = "\x1b[36m" in shell(*DEMO, env=environment).stdout
    assert coloured == (not how)
    assert "\x1b[36m" not in shell(*DEMO, "--no-color", env=environment).stdout


def test_progress_stays_off_a_pipe():
    run = shell(*DEMO)
    assert run.returncode == Code.OK
    assert run.stderr == "warpquant: 20 scanned, 8 long, 11 short, 1 neutral, 0 failed\n"
    assert "\x1b" not in run.stdout


# ---- exit codes ----


def test_some_symbols_failed(tmp_path):
    panel = {"good": walk(60), "text": ["x"] * 60, "empty": [""] * 60}
    run = call("scan", wide(tmp_path, panel), "--format", "json", code=Code.SOME_FAILED)
    assert {f["symbol"]: f["reason"] for f in json.loads(run.stdout)["failures"]} == {
        "text": "not_numeric", "empty": "empty"
    }  # fmt: skip
    assert "warpquant: failed: text: 'x' in data row 1 is no number\n" in run.stderr
    quiet = call("scan", wide(tmp_path, panel), "-q", code=Code.SOME_FAILED)
    assert len(quiet.stderr.splitlines()) == 2


def test_nothing_could_be_scanned(tmp_path):
    run = call("scan", wide(tmp_path, {"empty": [""] * 60}), "--format", "json", code=Code.FAILED)
    assert json.loads(run.stdout)["counts"] == {"scanned": 0, "long": 0, "short": 0, "neutral": 0, "failed": 1}
    assert run.stderr.endswith("warpquant: nothing could be scanned\n")


def test_warnings_are_no_failures(tmp_path):
    path = wide(tmp_path, {"x": walk(60)})
    path.write_text(path.read_text() + "2024-01-05,7\n")
    assert "warning: x: 1 duplicate bar left out" in call("scan", path).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan",), (*DEMO, "nothing.csv"), ("scan", "nothing.csv"), (*DEMO, "--format", "parquet"),
        (*DEMO, "--format", "xml"), (*DEMO, "--hma", "ema"), (*DEMO, "--ema-len", "3"), (*DEMO, "--ema-len", "x"),
        (*DEMO, "--top", "0"), (*DEMO, "--min-signal", "2"), (*DEMO, "--device", "gpu"), (*DEMO, "--nonsense"),
        ("nonsense",), ("bench", "nonsense"), ("config", "nonsense"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments):
    run = call(*arguments, code=Code.USAGE)
    assert run.stdout == ""
    assert run.stderr


def test_demo_and_files_exclude_each_other(tmp_path):
    call(*DEMO, wide(tmp_path, {"x": walk(60)}), code=Code.USAGE)


def test_a_wrong_setting_is_wrong_usage(monkeypatch):
    monkeypatch.setenv("WQ_DEVICE", "gpu")
    warpquant.config._process.cache_clear()
    assert "WQ_DEVICE" in call(*DEMO, code=Code.USAGE).stderr


def test_device_unavailable():
    assert "device='cuda" in call(*DEMO, "--device", "cuda:99", code=Code.NO_DEVICE).stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (MemoryError(), Code.NO_MEMORY, "out of memory"),
        (MemoryError("8 GiB"), Code.NO_MEMORY, "out of memory: 8 GiB"),
        (KeyboardInterrupt(), Code.INTERRUPTED, "interrupted"),
        (OSError("disk full"), Code.FAILED, "disk full"),
        (warpquant.DeviceOutOfMemoryError("8 GiB"), Code.NO_MEMORY, "out of memory: 8 GiB"),
        (warpquant.DeviceLostError("gone"), Code.FAILED, "gone"),
        (warpquant.InternalError("broken"), Code.FAILED, "broken"),
        (warpquant.ShapeError("broken"), Code.FAILED, "broken"),
    ],
)
def test_errors_while_scanning(monkeypatch, error, code, says):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("warpquant.atc.run", fail)
    if isinstance(error, warpquant.ShapeError):  # refused symbol by symbol
        assert "failed: AAPL: broken" in call(*DEMO, code=code).stderr
    else:
        assert call(*DEMO, code=code).stderr == f"warpquant: {says}\n"


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("warpquant.atc.run", fail)
    with pytest.raises(ZeroDivisionError):
        call(*DEMO)


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("pyarrow", ("scan", "{csv}"), "data"),
        ("pyarrow", (*DEMO, "-o", "{out}"), "data"),
        ("matplotlib.figure", (*DEMO, "--plot", "{folder}"), "plot"),
    ],
)
def test_a_missing_companion_is_named(tmp_path, monkeypatch, module, arguments, extra):
    places = {"csv": wide(tmp_path, {"x": walk(60)}), "out": tmp_path / "o.parquet", "folder": tmp_path / "p"}
    monkeypatch.setitem(sys.modules, module, None)
    run = call(*(a.format(**places) for a in arguments), code=Code.FAILED)
    assert f"pip install 'warpquant[{extra}]'" in run.stderr


def test_an_interrupt_from_outside(tmp_path):
    """A real signal while the scan runs: one line, and 130."""
    code = (
        "import os, signal, sys\n"
        "from warpquant import atc\n"
        "from warpquant.cli import app\n"
        "run = atc.run\n"
        "def interrupted(*a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return run(*a, **k)\n"
        "atc.run = interrupted\n"
        "app(['scan', '--demo'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (Code.INTERRUPTED, "", "warpquant: interrupted\n")


def test_a_closed_pipe_is_no_traceback(tmp_path):
    panel = {f"S{i}": walk(40, i) for i in range(1000)}
    command = f"{sys.executable} -m warpquant scan {wide(tmp_path, panel)} --format json -q | head -c 10"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert run.stdout == '{\n  "schem'
    assert "Traceback" not in run.stderr


# ---- the other commands ----


def test_version_and_help():
    for run in (shell("--version"), shell("-V")):
        assert (run.returncode, run.stdout) == (0, f"{warpquant.__version__}\n")
    text = call("--help").stdout
    assert all(command in text for command in ("scan", "bench", "doctor", "config"))


def test_version_loads_nothing_heavy():
    code = (
        "import sys\nfrom warpquant.cli import app\n"
        "try:\n    app(['--version'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('pyarrow', 'matplotlib', 'pandas', 'warpquant.scan', 'rich.progress') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


def test_doctor(monkeypatch):
    table = call("doctor")
    assert "No problems found." in table.stdout
    assert warpquant.__version__ in table.stdout
    document = json.loads(call("doctor", "--format", "json").stdout)
    assert document["schema"] == "warpquant.doctor/1"
    assert document["problems"] == []
    assert set(warpquant.doctor()) < set(document)


def test_doctor_finds_a_setting_that_cannot_work(monkeypatch):
    if warpquant.doctor()["cuda"]["devices"]:
        pytest.skip("this machine has a CUDA device")
    monkeypatch.setenv("WQ_DEVICE", "cuda")
    warpquant.config.reload()
    assert "Problems" in call("doctor", code=Code.FAILED).stdout
    assert json.loads(call("doctor", "-f", "json", code=Code.FAILED).stdout)["problems"]


def test_config_show(monkeypatch, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('simd = "baseline"\n[memory]\nbuffer_pool = "1MiB"\n')
    monkeypatch.setenv("WQ_CONFIG", str(file))
    monkeypatch.setenv("WQ_NUM_THREADS", "1")
    warpquant.config.reload()
    lines = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in call("config", "show").stdout.splitlines()}
    assert re.fullmatch(r"1\s+environment \(WQ_NUM_THREADS\)", lines["num_threads"])
    assert re.fullmatch(rf"baseline\s+file \({re.escape(str(file))}\)", lines["simd"])
    assert re.fullmatch(r"1 MiB\s+file.*", lines["memory.buffer_pool"])
    assert re.fullmatch(r"auto\s+default", lines["device"])
    document = json.loads(call("config", "show", "--format", "json").stdout)
    assert document["schema"] == "warpquant.config/1"
    assert {"key": "device", "value": "auto", "origin": "default"} in document["settings"]


def test_bench(tmp_path):
    file = tmp_path / "bench.json"
    run = call("bench", "atc", "--rounds", 1, "--min-seconds", 0, "--json", file)
    assert "all outputs" in run.stdout
    assert "atc: 104 series of 2,000 bars" in run.stderr
    saved = json.loads(file.read_text())
    assert saved["schema"] == "warpquant.bench/1"
    printed = json.loads(call("bench", "atc", "--rounds", 1, "--min-seconds", 0, "-f", "json", "-q").stdout)
    assert [x["case"] for x in printed["results"]] == [x["case"] for x in saved["results"]]


def test_without_typer():
    code = "import sys; sys.modules['typer'] = None; from warpquant.__main__ import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "warpquant[cli]" in run.stderr


def test_the_manual_knows_every_option():
    manual = (pathlib.Path(__file__).parents[1] / "docs" / "scan.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--[a-z][a-z-]+", call("scan", "--help").stdout.split("Parameters of ATC")[0]))
    assert {option for option in options if option not in manual} <= {"--help"}
    assert all(f"| {code} |" in manual for code in Code)
