# SPDX-License-Identifier: Apache-2.0
"""Reading prices of every layout, and the scanner against `atc.run` on each symbol alone."""

from __future__ import annotations

import datetime
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

import warpquant
from checks import holes, same_bits, walk
from warpquant import atc, data
from warpquant.atc import Params
from warpquant.errors import ParameterError, WarpquantError
from warpquant.scan import Prices, read_prices, scan

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.feather")
pytest.importorskip("pyarrow.parquet")

SIGNALS = [f"{family.lower()}_signal" for family in atc.FAMILIES]
DATES = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]")


@pytest.fixture(scope="module")
def closes():
    return {name: walk(len(DATES), seed) for seed, name in enumerate(("AAA", "BBB", "CCC"))}


def long_table(closes, **more):
    symbols = [s for s in closes for _ in DATES]
    columns = {"symbol": symbols, "date": list(np.tile(DATES, len(closes)).astype(object))}
    return pa.table({**columns, "close": np.concatenate(list(closes.values())), **more})


def wide_table(closes):
    return pa.table({"date": pa.array(DATES.astype(object)), **closes})


def write(table, path):
    name = path.name
    if name.endswith(".parquet"):
        pa.parquet.write_table(table, path)
    elif name.endswith((".feather", ".arrow")):
        pa.feather.write_feather(table, str(path))
    else:
        sink = pa.BufferOutputStream()
        pa.csv.write_csv(table, sink)
        content = sink.getvalue().to_pybytes()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def text(tmp_path, content, name="prices.csv"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def expect(prices, closes):
    assert list(prices) == list(closes)
    for symbol, close in closes.items():
        same_bits(prices[symbol], close, symbol)


# ---- reading ----


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.parquet", "p.feather", "p.arrow"])
@pytest.mark.parametrize("layout", [wide_table, long_table])
def test_every_kind_of_file(tmp_path, closes, name, layout):
    pytest.importorskip("pyarrow.csv")
    prices = read_prices(write(layout(closes), tmp_path / name))
    expect(prices, closes)
    assert prices.failures == prices.warnings == ()
    assert np.array_equal(prices.times["BBB"].astype("datetime64[D]"), DATES)


def test_symbols_encoded_as_a_dictionary(tmp_path, closes):
    table = long_table(closes)
    table = table.set_column(0, "Ticker", table["symbol"].dictionary_encode())
    expect(read_prices(write(table, tmp_path / "p.parquet")), closes)


def test_files_of_other_libraries(tmp_path, closes):
    """Polars writes codes without a sign and views of text, pandas an index that may be text."""
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    table = long_table(closes)
    symbols = pl.col("symbol").cast(pl.Categorical)
    for number, frame in enumerate((pl.from_arrow(table), pl.from_arrow(table).with_columns(symbols))):
        frame.write_ipc(tmp_path / f"{number}.arrow")
        expect(read_prices(tmp_path / f"{number}.arrow"), closes)
    for index in (DATES, DATES.astype(str)):
        pd.DataFrame(closes, index=index).to_parquet(tmp_path / "p.parquet")
        prices = read_prices(tmp_path / "p.parquet")
        expect(prices, closes)
        assert np.array_equal(prices.times["AAA"].astype("datetime64[D]"), DATES)


def test_dictionaries_that_differ_between_row_groups(tmp_path):
    parts = [
        pa.table({"symbol": pa.array(names).dictionary_encode(), "ts": pa.array(ts, pa.uint64()), "close": close})
        for names, ts, close in ((["a", "b"], [1, 2], [1.0, 2.0]), (["b", "c"], [3, 4], [3.0, 4.0]))
    ]
    prices = read_prices(write(pa.concat_tables(parts), tmp_path / "p.parquet"))
    expect(prices, {"a": np.array([1.0]), "b": np.array([2.0, 3.0]), "c": np.array([4.0])})


def test_a_file_of_bars_is_named_after_its_file(tmp_path):
    content = "Date,Open,High,Low,Close,Volume\n2024-01-02,1,3,0.5,2,10\n2024-01-03,2,4,1.5,3,20\n"
    for name in ("EURUSD.csv", "EURUSD.v2.csv"):
        prices = read_prices(text(tmp_path, content, name))
        expect(prices, {name.removesuffix(".csv"): np.array([2.0, 3.0])})


@pytest.mark.parametrize(
    ("content", "options", "symbols"),
    [
        ("day,x,y\n1,10,20\n2,11,21\n", {"time_col": "day"}, ["x", "y"]),
        (",x,y\n2024-01-01,10,20\n2024-01-02,11,21\n", {}, ["x", "y"]),
        ("x,y\n10,20\n11,21\n", {}, ["x", "y"]),
        ("when,price\n2024-01-01,10\n2024-01-02,11\n", {"time_col": "when"}, ["prices"]),
        ("ts,close,adj_close,open\n1,9,10,0\n2,9,11,0\n", {"price_col": "adj_close"}, ["prices"]),
        ("ts,LOW,C,OPENX\n1,10,20,1\n2,11,21,2\n", {}, ["LOW", "C", "OPENX"]),
        ("ts,CODE,TIME\n1,10.0,20.5\n2,11.0,21.5\n", {}, ["CODE", "TIME"]),
        ("name,ts,v\nx,1,10\nx,2,11\n", {"symbol_col": "name"}, ["x"]),
        ("code,ts,close\n600519,1,10\n600519,2,11\n", {}, ["600519"]),
    ],
)
def test_columns(tmp_path, content, options, symbols):
    prices = read_prices(text(tmp_path, content), **options)
    assert list(prices) == symbols
    same_bits(prices[symbols[0]], np.array([10.0, 11.0]))


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        ("2024-01-02", "2024-01-03", {}),
        ("2024-01-02 09:30", "2024-01-02 09:31", {}),
        ("2024-01-02T09:30:00Z", "2024-01-02T09:31:00Z", {}),
        ("2024/01/02", "2024/01/03", {}),
        ("2024.01.02 09:30", "2024.01.02 09:31", {}),
        ("01/31/2024", "02/01/2024", {}),
        ("31.01.2024 10:00", "01.02.2024 10:00", {}),
        ("20240102", "20240103", {}),
        ("1704186000", "1704186060", {}),
        ("1704186000000", "1704186060000", {}),
        ("1704186000000000", "1704186060000000", {}),
        ("1704186000000000000", "1704186060000000000", {}),
        ("02 Jan 2024", "03 Jan 2024", {"time_format": "%d %b %Y"}),
        ("01/02/24", "01/03/24", {"time_format": "%m/%d/%y"}),
        ("2024-02-01", "2024-03-01", {"time_format": "%Y-%d-%m"}),  # not what a reader would guess
    ],
)
def test_times(tmp_path, first, second, options):
    """Both rows are swapped in the file: times are understood if they come out in order."""
    prices = read_prices(text(tmp_path, f"ts,x\n{second},2\n{first},1\n"), **options)
    assert prices.failures == ()
    same_bits(prices["x"], np.array([1.0, 2.0]))
    times = prices.times["x"]
    assert times.dtype.kind == "M"
    assert times[0].astype("datetime64[Y]") == np.datetime64("2024")


@pytest.mark.parametrize("given", [True, False])
def test_symbols_that_look_like_numbers(tmp_path, given):
    """Zeros in front are part of a name: 0700 and 700 are two symbols, and TRUE is no flag."""
    name = "who" if given else "symbol"
    options = {"symbol_col": "who"} if given else {}
    for symbols in (["000001", "1", "0700", "700"], ["TRUE", "True"], ["2024-01-01", "2024/01/01"]):
        rows = [f"{day},{symbol},{i + 1}" for day in (20240103, 20240102) for i, symbol in enumerate(symbols)]
        prices = read_prices(text(tmp_path, "\n".join([f"date,{name},close", *rows, ""])), **options)
        assert list(prices) == symbols
        for i, symbol in enumerate(symbols):
            assert prices[symbol].tolist() == [i + 1.0] * 2
            assert prices.times[symbol][0] == np.datetime64("2024-01-02")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_times_that_a_missing_one_made_decimal(tmp_path, missing):
    """Pandas turns whole numbers with a gap into decimals."""
    stamps = [1704186060000.0, missing, 1704186000000.0]
    long = {"symbol": ["x"] * 3, "time": pa.array(stamps, pa.float64()), "close": [2.0, 9.0, 1.0]}
    one = {"time": long["time"], "open": long["close"], "close": long["close"]}
    for columns in (long, one, {"time": long["time"], "close": long["close"]}):
        prices = read_prices(write(pa.table(columns), tmp_path / "x.parquet"))
        assert prices["x"].tolist() == [1.0, 2.0]
        assert prices.times["x"].tolist() == [datetime.datetime(2024, 1, 2, 9, minute) for minute in (0, 1)]
        assert [note.message for note in prices.warnings] == ["1 row without a time left out"]
    long["time"] = pa.array([1.0, 1.5, 2.0])
    (failure,) = read_prices(write(pa.table(long), tmp_path / "x.parquet")).failures
    assert "the time column holds decimal numbers" in failure.message


def test_bar_numbers_stay_numbers(tmp_path):
    prices = read_prices(text(tmp_path, "ts,x\n2,2\n1,1\n"))
    assert prices.times["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", "date,x\n01/02/2024,1\n03/04/2024,2\n", "day or month first"),
        ("p.csv", "date,x\nsoon,1\nlater,2\n", "no date"),
        ("p.csv", "date,x\n12/28/22,1\n12/29/22,2\n", "no date"),
        ("p.csv", "date,x\n22/12/28,1\n22/12/29,2\n", "years of two digits"),
        ("p.csv", "date,x\n0.5,1\n1.5,2\n", ""),
        ("p.csv", "", "Empty CSV"),
        ("p.csv", "date\n2024-01-01\n", "no price column"),
        ("p.csv", "symbol,date,bid,ask\nx,2024-01-01,1,2\n", "no price column"),
        ("p.csv", "date,x\n2024-01-01,1\n2024-01-02,2,3\n", "Expected 2 columns"),
        ("p.parquet", "nonsense", "Parquet"),
        ("p.xlsx", "nonsense", "unknown kind"),
    ],
)
def test_files_that_cannot_be_read_are_failures(tmp_path, name, content, says):
    good = text(tmp_path, "date,good\n2024-01-01,1\n", "good.csv")
    prices = read_prices([text(tmp_path, content, name), good])
    assert "good" in prices
    if says:
        (failure,) = prices.failures
        assert (failure.symbol, failure.reason) == ("p", "unreadable")
        assert says in failure.message


def test_a_column_that_is_named_must_be_there(tmp_path):
    prices = read_prices(text(tmp_path, "date,x\n2024-01-01,1\n"), price_col="y")
    assert "has no column 'y'" in prices.failures[0].message


def test_bad_symbols_of_a_wide_file(tmp_path):
    prices = read_prices(text(tmp_path, "date,good,text,empty,flag\n2024-01-01,1,2,,true\n2024-01-02,2,?,,false\n"))
    assert {f.symbol: (f.reason, f.message) for f in prices.failures} == {
        "text": ("not_numeric", "'?' in data row 2 is no number"),
        "flag": ("not_numeric", "'True' in data row 1 is no number"),
    }
    assert list(prices) == ["good", "empty"]
    assert np.isnan(prices["empty"]).all()


def test_bad_symbols_of_a_long_file(tmp_path):
    rows = "good,2024-01-01,1\nbad,2024-01-01,1\nbad,2024-01-02,x\ngood,2024-01-02,2\n,2024-01-02,2\n"
    prices = read_prices(text(tmp_path, "symbol,date,close\n" + rows))
    expect(prices, {"good": np.array([1.0, 2.0])})
    assert [(f.symbol, f.reason) for f in prices.failures] == [("bad", "not_numeric")]
    assert [(note.symbol, note.message) for note in prices.warnings] == [("prices", "1 row without a symbol left out")]


def test_rows_without_a_symbol(tmp_path):
    table = pa.table({"symbol": ["x", None, "x"], "date": [1, 2, 3], "close": [1.0, 2.0, 3.0]})
    for column in (table["symbol"], table["symbol"].dictionary_encode()):
        prices = read_prices(write(table.set_column(0, "symbol", column), tmp_path / "p.parquet"))
        expect(prices, {"x": np.array([1.0, 3.0])})
        assert len(prices.warnings) == 1


def test_duplicates_and_missing_times(tmp_path):
    prices = read_prices(text(tmp_path, "date,x\n2024-01-03,3\n2024-01-01,1\n2024-01-03,9\n,5\n2024-01-02,2\n"))
    expect(prices, {"x": np.array([1.0, 2.0, 3.0])})
    assert [note.message for note in prices.warnings] == [
        "1 row without a time left out",
        "1 duplicate bar left out, the first of each time kept (first: 2024-01-03)",
    ]
    numbers = read_prices(text(tmp_path, "ts,x\n2,2\n,7\n1,1\n"))
    expect(numbers, {"x": np.array([1.0, 2.0])})


def test_files_are_merged(tmp_path, closes):
    table = long_table(closes)
    late = write(table.filter(pa.compute.greater(table["date"], datetime.date(2024, 2, 20))), tmp_path / "late.parquet")
    early = write(
        table.filter(pa.compute.less_equal(table["date"], datetime.date(2024, 2, 20))), tmp_path / "early.csv"
    )
    prices = read_prices([late, early])
    expect(prices, closes)
    assert prices.warnings == ()


def test_parts_that_cannot_be_merged(tmp_path):
    untimed = text(tmp_path, "x\n1\n2\n", "a.csv")
    dated = text(tmp_path, "date,x\n2024-01-01,1\n", "b.csv")
    numbered = text(tmp_path, "ts,x\n1,1\n", "c.csv")
    for files in ([untimed, untimed], [untimed, dated], [dated, numbered]):
        assert [(f.symbol, f.reason) for f in read_prices(files).failures] == [("x", "no_time")]


# ---- scanning ----


def assert_row(row, close, params, bars=None):
    """Every field of a row from `atc.run` on the symbol alone."""
    outputs = ("average", "trend", "direction", *SIGNALS)
    alone = atc.run(close, params, outputs=outputs)
    last = atc.run(close, params, outputs=outputs, last_only=True)
    for name in outputs:
        assert getattr(row, name) == alone[name][-1] == last[name], (row.symbol, name)
    direction = alone["direction"][np.isfinite(close)].tolist()
    since = next((i for i, d in enumerate(reversed(direction)) if d != direction[-1]), len(direction)) - 1
    assert row.bars_since_flip == (since if direction[-1] else None), row.symbol
    assert row.price == close[np.isfinite(close)][-1]
    assert row.bars == (len(direction) if bars is None else bars)


@pytest.mark.parametrize("params", [{}, {"compat": "pine"}, {"ema_len": 12, "De": 1.0, "strategy_mode": True}])
def test_rows_equal_each_symbol_alone(params):
    panel = {f"S{i}": holes(walk(300 + 17 * i, i), i) for i in range(9)}
    params = Params.from_dict({"nan_policy": "skip", **params})
    result = scan(panel, params)
    assert {row.symbol for row in result.rows} == set(panel)
    for row in result.rows:
        assert_row(row, panel[row.symbol], params)


def test_equities(equities, shared):
    prices = read_prices(shared / "data/equities/sp500_daily_2015_2020.parquet")
    result = scan(prices)
    assert {f.symbol: f.reason for f in result.failures} == {"CSRA": "short", "SNI": "short"}
    assert [note.symbol for note in result.warnings] == ["CBS", "STI", "VIAB"]
    assert result.counts["scanned"] == 480
    for row in result.rows:
        if row.symbol not in ("CBS", "STI", "VIAB"):
            assert_row(row, equities[row.symbol], result.params)


def test_hourly_universe(universe, shared):
    prices = read_prices(shared / "data/crypto/perp_1h_close_universe_2024_2025.parquet")
    result = scan(prices, top=5)
    assert result.counts["scanned"] == 261
    assert (len(result.long), len(result.short)) == (5, 5)
    rows = {row.symbol: row for row in result.rows}
    for symbol, close in list(zip(prices, universe, strict=True))[::10]:
        same_bits(prices[symbol], close)
        assert_row(rows[symbol], close, result.params)
        assert str(rows[symbol].time) == "2025-10-23T02:00:00.000000000"[: len(str(rows[symbol].time))]


def test_eurusd(eurusd, shared):
    prices = read_prices(shared / "data/fx/eurusd_1h_2017_2018.csv.gz")
    (row,) = scan(prices).rows
    assert row.symbol == "eurusd_1h_2017_2018"
    assert row.to_dict()["time"] == "2018-02-07 15:00:00"
    assert_row(row, eurusd, Params(nan_policy="skip"))


def test_batches_and_threads_change_nothing(monkeypatch):
    panel = {f"S{i}": walk(200 + i, i) for i in range(12)}
    whole = scan(panel).to_dict()
    monkeypatch.setattr("warpquant.scan._BATCH_BARS", 450)
    seen = []
    assert scan(panel, num_threads=1, progress=lambda done, total: seen.append((done, total))).to_dict() == whole
    assert seen[-1] == (12, 12)
    assert len(seen) == 6


def test_ranking_lists_and_counts():
    result = scan(data.sp500_20(), min_signal=0.1, top=4)
    averages = [row.average for row in result.rows]
    assert averages == sorted(averages, reverse=True)
    assert len(result.long) == len(result.short) == 4
    assert all(row.average >= 0.1 for row in result.long)
    assert all(row.average <= -0.1 for row in result.short)
    assert all(abs(row.average) < 0.1 for row in result.neutral)
    assert [row.average for row in result.short] == sorted(row.average for row in result.short)
    ties = [row.bars_since_flip for row in result.short if row.average == -1.0]
    assert ties == sorted(ties)
    counts = result.counts
    assert counts["long"] + counts["short"] + counts["neutral"] == counts["scanned"] == 20


def test_a_signal_of_zero_is_neutral_even_without_a_threshold():
    result = scan({"flat": np.full(100, 5.0), "zero": np.zeros(100), "negative": -walk(100)}, min_signal=0)
    assert {row.symbol for row in result.neutral} >= {"flat", "zero"}
    assert result.failures == ()
    assert next(row for row in result.rows if row.symbol == "flat").bars_since_flip is None


def test_bad_symbols_do_not_stop_the_others():
    panel = {
        "empty": np.full(100, np.nan), "none": [], "short": walk(20), "text": ["a", "b"], "table": np.ones((2, 50)),
        "good": walk(100), "infinite": np.full(100, np.inf), "late": np.r_[np.full(60, np.nan), walk(40)],
    }  # fmt: skip
    result = scan(panel)
    assert {f.symbol: f.reason for f in result.failures} == {
        "empty": "empty", "none": "empty", "short": "short", "text": "not_numeric", "table": "not_numeric",
        "infinite": "empty",
    }  # fmt: skip
    assert {row.symbol for row in result.rows} == {"good", "late"}
    assert scan({"short": walk(20)}, min_bars=1).failures == ()
    assert scan({"s": walk(60)}, {"wma_len": 70}).failures[0].message == "has 60 bars, fewer than min_bars=76"


def test_nan_policy():
    """Gaps are skipped whatever `params` says, unless the caller says otherwise in so many words."""
    close = holes(walk(300))
    default, params = scan({"x": close}).rows[0], Params()
    assert params.nan_policy == "propagate"
    assert scan({"x": close}, params).rows[0] == default
    assert scan({"x": close}, {"nan_policy": "propagate"}).rows == scan({"x": close}, nan_policy="propagate").rows
    propagated = scan({"x": close}, nan_policy="propagate")
    assert propagated.params.nan_policy == "propagate"
    assert propagated.rows[0].bars == 300
    assert propagated.rows[0].average == atc.run(close, params, last_only=True)["average"]
    refused = scan({"x": close, "y": walk(300)}, nan_policy="raise")
    assert [(f.symbol, f.reason) for f in refused.failures] == [("x", "rejected")]
    assert [row.symbol for row in refused.rows] == ["y"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_signal": -0.1}, {"min_signal": 1.1}, {"min_signal": float("nan")}, {"top": 0}, {"min_bars": 0},
        {"num_threads": 0}, {"device": "gpu"}, {"params": {"La": "x"}}, {"params": {"emalen": 3}}, {"params": 3},
        {"nan_policy": "drop"}, {"recent": -1},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ParameterError):
        scan({"x": walk(100)}, **wrong)


def test_an_unavailable_device_stops_the_scan():
    with pytest.raises(WarpquantError):
        scan({"x": walk(100)}, device="cuda:99")


def test_recent_signals():
    panel = {"x": walk(300), "y": walk(50)}
    result = scan(panel)
    assert {symbol: len(values) for symbol, values in result.recent.items()} == {"x": 120, "y": 50}
    same_bits(result.recent["x"], atc.run(panel["x"], nan_skip())["average"][-120:])
    assert all(values.base is None for values in result.recent.values())
    assert scan(panel, recent=0).recent["x"].size == 0


def nan_skip():
    return Params(nan_policy="skip")


def test_containers(closes):
    pd = pytest.importorskip("pandas")
    result = scan(closes)
    assert scan(dict(pd.DataFrame(closes).items())).to_dict() == result.to_dict()
    assert scan(Prices(closes)).to_dict() == result.to_dict()
    assert scan({}).rows == ()


def test_json_schema():
    document = json.loads(scan({"x": walk(100), "none": []}, {"compat": "pine", "cutout": 99}).to_json())
    assert list(document) == [
        "schema", "warpquant", "params", "min_signal", "top", "min_bars", "counts", "long", "short", "neutral",
        "failures", "warnings",
    ]  # fmt: skip
    assert document["schema"] == "warpquant.scan/1"
    assert document["warpquant"] == warpquant.__version__
    assert Params.from_dict(document["params"]).compat == "pine"
    assert document["failures"] == [{"symbol": "none", "reason": "empty", "message": "has no prices"}]
    (row,) = document["long"] + document["short"] + document["neutral"]
    assert list(row) == [
        "symbol", "time", "bars", "price", "average", "trend", "direction", "bars_since_flip", *SIGNALS
    ]  # fmt: skip


def test_missing_numbers_are_null():
    row = scan({"x": walk(40)}, {"compat": "pine", "cutout": 39, "strategy_mode": True}).rows[0]
    assert np.isnan(row.average)
    assert row.to_dict()["average"] is None
    assert row.to_dict()["time"] is None


def test_arrow_table():
    panel = data.sp500_20()
    result = scan(panel, top=2)
    table = result.to_arrow()
    assert table.column_names == result.columns()
    assert table["symbol"].to_pylist() == [r["symbol"] for r in result.to_records()]
    assert table["side"].to_pylist() == ["long"] * 2 + ["short"] * 2 + ["neutral"] * len(result.neutral)
    assert table["average"].to_pylist() == [r["average"] for r in result.to_records()]
    assert set(table["time"].to_pylist()) == {datetime.datetime(2022, 12, 28)}
    numbered = Prices({"x": walk(100)}, {"x": np.arange(100)})
    assert scan(numbered).to_arrow()["time"].to_pylist() == [99]
    assert scan({"x": walk(100)}).to_arrow()["time"].to_pylist() == [None]
    assert scan({}).to_arrow().num_rows == 0


def test_the_package_imports_neither_the_scanner_nor_its_companions():
    code = (
        "import sys, warpquant; "
        "print([m for m in ('warpquant.scan', 'warpquant.plot', 'warpquant.cli', 'pyarrow', 'matplotlib', 'typer') "
        "if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"warpquant\[data\]"):
        read_prices(text(tmp_path, "date,x\n2024-01-01,1\n"))
    result = scan({"x": walk(100)})
    assert result.to_json()
    with pytest.raises(ImportError, match=r"warpquant\[data\]"):
        result.to_arrow()
