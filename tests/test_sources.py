# SPDX-License-Identifier: Apache-2.0
"""Sources of every kind give the same prices, whatever the batch, and say what is wrong with the rest."""

from __future__ import annotations

import numpy as np
import pytest

import warpquant
from checks import same_bits, walk
from warpquant import sources
from warpquant.errors import DTypeError, ParameterError, ShapeError
from warpquant.scan import Prices, scan
from warpquant.scanner import scan_source
from warpquant.sources import Query, batches, open_source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pyarrow.compute")
pd = pytest.importorskip("pandas")

DATES = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]")
CLOSES = {f"S{i}": walk(len(DATES), i) for i in range(7)}
WIDE = pd.DataFrame(CLOSES, index=pd.DatetimeIndex(DATES.astype("datetime64[us]"), name="date"))
LONG = pd.DataFrame(
    {
        "date": np.repeat(DATES.astype("datetime64[us]"), 7),
        "symbol": list(CLOSES) * len(DATES),
        "close": WIDE.to_numpy().ravel(),
    }
)


def expect(source, times=True):
    assert sorted(source.symbols()) == sorted(CLOSES)
    seen = []
    for batch in batches(source, 3):
        assert len(batch) <= 3
        assert batch.failures == batch.warnings == ()
        for symbol, close in batch.items():
            seen.append(symbol)
            same_bits(np.asarray(close), CLOSES[symbol], symbol)
            if times:
                assert np.array_equal(np.asarray(batch.times[symbol]).astype("datetime64[D]"), DATES), symbol
    assert seen == list(source.symbols())


def xarray_of(kind):
    xr = pytest.importorskip("xarray")
    coords = {"time": DATES.astype("datetime64[ns]"), "symbol": list(CLOSES)}
    array = xr.DataArray(WIDE.to_numpy(), dims=("time", "symbol"), coords=coords)
    return {"array": array, "transposed": array.T, "set": array.to_dataset(name="close")}[kind]


def polars_of(frame):
    return pytest.importorskip("polars").from_pandas(frame)


FRAMES = {
    "pandas wide": lambda: WIDE,
    "pandas reversed": lambda: WIDE[::-1],
    "pandas with a time zone": lambda: WIDE.tz_localize("UTC"),
    "pandas periods": lambda: WIDE.to_period("D"),
    "pandas long": lambda: LONG,
    "pandas long, sorted by symbol": lambda: LONG.sort_values(["symbol", "date"]),
    "pandas two indices": lambda: LONG.set_index(["date", "symbol"]),
    "pandas fields and symbols": lambda: pd.concat({"Close": WIDE, "Volume": WIDE * 0}, axis=1),
    "pandas symbols and fields": lambda: pd.concat({"Close": WIDE, "Volume": WIDE * 0}, axis=1).swaplevel(axis=1),
    "polars wide": lambda: polars_of(WIDE.reset_index()),
    "polars long": lambda: polars_of(LONG),
    "arrow wide": lambda: pa.Table.from_pandas(WIDE),
    "arrow long": lambda: pa.Table.from_pandas(LONG),
    "arrow batch": lambda: pa.Table.from_pandas(LONG).combine_chunks().to_batches()[0],
    "xarray": lambda: xarray_of("array"),
    "xarray, symbols first": lambda: xarray_of("transposed"),
    "xarray data set": lambda: xarray_of("set"),
    "prices": lambda: Prices(CLOSES, dict.fromkeys(CLOSES, DATES)),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(kind):
    expect(open_source(FRAMES[kind]()))


INDICES = {
    "text": lambda: DATES.astype(str),
    "other text": lambda: [f"{d[8:]}.{d[5:7]}.{d[:4]}" for d in DATES.astype(str)],
    "dates": lambda: DATES.astype(object),
    "strings": lambda: pd.array(DATES.astype(str), dtype="string"),
    "categories": lambda: pd.Categorical(DATES.astype(str)),
    "numbers of days": lambda: [int(d.replace("-", "")) for d in DATES.astype(str)],
    "milliseconds": lambda: DATES.astype("datetime64[ms]").astype(np.int64),
}


@pytest.mark.parametrize("kind", INDICES)
def test_an_index_of_other_times(kind):
    """The index is time whatever it holds, so a frame with the newest bar first is put in order."""
    expect(open_source(WIDE.set_axis(pd.Index(INDICES[kind]()))[::-1]))
    series = pd.Series(CLOSES["S0"], pd.Index(INDICES[kind]()), name="S0")[::-1]
    same_bits(open_source(series).fetch(["S0"])["S0"], CLOSES["S0"])


def test_an_index_that_is_no_time():
    for wrong in ([f"row {i}" for i in range(len(DATES))], ["01/02/2024"] * len(DATES), np.arange(len(DATES)) / 2):
        with pytest.raises(ParameterError, match=r"source: .*index.*accepted are|source: '01/02.*time_format"):
            open_source(WIDE.set_axis(pd.Index(wrong)))
    expect(open_source(WIDE.set_axis(pd.Index(np.arange(len(DATES)) * 2))), times=False)
    assert open_source(WIDE[:0].set_axis(pd.Index([], dtype=object))).symbols() == list(CLOSES)


def test_frames_without_times(tmp_path):
    expect(open_source(CLOSES), times=False)
    expect(open_source(WIDE.reset_index(drop=True)), times=False)
    rows = np.stack(list(CLOSES.values()))
    expect(open_source(rows, symbols=list(CLOSES)), times=False)
    mapped = np.memmap(tmp_path / "closes.bin", dtype=np.float64, mode="w+", shape=rows.shape)
    mapped[:] = rows
    expect(open_source(np.memmap(tmp_path / "closes.bin", np.float64, "r", shape=rows.shape), symbols=[*CLOSES]), False)
    assert open_source(rows).symbols() == list("0123456")
    assert open_source(rows[0]).symbols() == ["0"]


def write_csv(folder):
    for symbol, close in CLOSES.items():
        pd.DataFrame({"date": DATES, "open": close, "close": close}).to_csv(folder / f"{symbol}.csv", index=False)
    return folder


def test_files(tmp_path, monkeypatch):
    folder = tmp_path / "csv"
    folder.mkdir()
    write_csv(folder)
    expect(open_source(folder))
    expect(open_source(str(folder / "*.csv")))
    expect(open_source([folder / f"{symbol}.csv" for symbol in CLOSES]))
    WIDE.reset_index().to_csv(tmp_path / "wide.csv", index=False)
    expect(open_source(tmp_path / "wide.csv"))
    pq.write_table(pa.Table.from_pandas(LONG, preserve_index=False), tmp_path / "long.parquet")
    expect(open_source(str(tmp_path / "long.parquet")))


def test_a_file_of_one_symbol_is_read_when_its_turn_comes(tmp_path, monkeypatch):
    read = []
    reader = sources.read_prices
    monkeypatch.setattr(sources, "read_prices", lambda files, **o: read.append(len(files)) or reader(files, **o))
    source = open_source(write_csv(tmp_path))
    assert (len(source.symbols()), read) == (7, [])
    assert [len(batch) for batch in batches(source, 3)] == [3, 3, 1]
    assert read == [3, 3, 1]


def test_bars_of_a_symbol_in_several_files_are_merged(tmp_path):
    half = len(DATES) // 2
    for name, part in (("a", slice(half)), ("b", slice(half, None))):
        (tmp_path / name).mkdir()
        frame = pd.DataFrame({"date": DATES[part], "open": 1.0, "close": CLOSES["S0"][part]})
        frame.to_csv(tmp_path / name / "S0.csv", index=False)
    (batch,) = batches(open_source(tmp_path), 5)
    same_bits(batch["S0"], CLOSES["S0"])
    LONG[LONG["symbol"] == "S0"][half:].to_csv(tmp_path / "long.csv", index=False)
    (tmp_path / "b" / "S0.csv").unlink()
    (batch,) = batches(open_source(tmp_path), 5)
    same_bits(batch["S0"], CLOSES["S0"])


def dataset(folder, layout):
    table = pa.Table.from_pandas(LONG, preserve_index=False)
    if layout == "folders of symbols":
        pq.write_to_dataset(table, folder, partition_cols=["symbol"])
    elif layout == "a file for each symbol":
        for symbol in CLOSES:
            part = pa.Table.from_pandas(LONG[LONG["symbol"] == symbol], preserve_index=False)
            pq.write_table(part, folder / f"part-{symbol}.parquet")
    elif layout == "dictionaries":
        table = table.set_column(1, "symbol", table["symbol"].dictionary_encode())
        pq.write_table(table, folder / "all.parquet", row_group_size=64)
    elif layout == "folders of dates":
        frame = LONG.rename(columns={"date": "day"}).assign(date=LONG["date"].dt.strftime("%Y-%m-%d"))
        pq.write_to_dataset(
            pa.Table.from_pandas(frame.drop(columns="day"), preserve_index=False), folder, partition_cols=["date"]
        )
    else:  # each file holds some bars of all symbols
        for i in range(0, len(LONG), 70):
            pq.write_table(pa.Table.from_pandas(LONG[i : i + 70], preserve_index=False), folder / f"{i:04}.parquet")
    return folder


LAYOUTS = ("folders of symbols", "a file for each symbol", "dictionaries", "folders of dates", "a file for each day")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 100])
def test_datasets(tmp_path, layout, batch, monkeypatch):
    monkeypatch.setattr(sources, "_BUCKET_BYTES", 5000)
    source = sources.ParquetSource(sources._expand([dataset(tmp_path, layout)]), sources._Options(), batch)
    assert type(open_source(tmp_path)) is type(source)
    expect(source)
    scattered = layout in ("dictionaries", "folders of dates", "a file for each day")
    assert (source._spilled is not None) == (scattered and batch == 1)
    result = scan_source(tmp_path, batch_size=2)
    assert result.to_dict() == scan(Prices(CLOSES, dict.fromkeys(CLOSES, DATES))).to_dict()


def test_what_a_dataset_spills_goes_with_it(tmp_path):
    source = sources.ParquetSource(sources._expand([dataset(tmp_path, "days")]), sources._Options(), 1)
    source.symbols()
    folder = source._spilled
    assert sources.os.path.isdir(folder)
    del source
    assert not sources.os.path.exists(folder)


def test_a_batch_reads_only_its_row_groups(tmp_path, monkeypatch):
    table = pa.Table.from_pandas(LONG.sort_values(["symbol", "date"]), preserve_index=False)
    pq.write_table(table, tmp_path / "sorted.parquet", row_group_size=50)
    source = sources.ParquetSource([tmp_path / "sorted.parquet"], sources._Options(), 1)
    source.symbols()
    read = []
    reader = source._read
    monkeypatch.setattr(source, "_read", lambda path, group, held: read.append(group) or reader(path, group, held))
    same_bits(source.fetch(["S3"])["S3"], CLOSES["S3"])
    assert read == [6, 7]  # bars 300 to 399


def test_a_broken_file_of_a_dataset(tmp_path):
    dataset(tmp_path, "a file for each symbol")
    (tmp_path / "part-zz.parquet").write_bytes(b"PAR1 and no more")
    result = scan_source(tmp_path)
    assert [(f.symbol, f.reason) for f in result.failures] == [("part-zz", "unreadable")]
    assert len(result.rows) == 7


def test_times_that_are_none(tmp_path):
    """Times that cannot be read are their symbols' failure, or of a query everybody's."""
    table = pa.Table.from_pandas(LONG, preserve_index=False)
    for name, symbol in (("a", "S1"), ("b", "S2")):
        part = table.filter(pa.compute.equal(table["symbol"], symbol))
        times = pa.array(["no time"] * len(part)) if symbol == "S1" else part["date"].cast(pa.string())
        pq.write_table(part.set_column(0, "date", times), tmp_path / f"{name}.parquet")
    result = scan_source(tmp_path)
    assert [(f.symbol, f.reason) for f in result.failures] == [("S1", "unreadable")]
    assert [row.symbol for row in result.rows] == ["S2"]
    pytest.importorskip("duckdb")
    with pytest.raises(ParameterError, match="the result of the query: the time column holds text"):
        scan_source(Query(f"select * from '{tmp_path}/a.parquet'"))


@pytest.mark.parametrize("batch", [1, 100])
def test_a_damaged_part_of_a_dataset(tmp_path, batch):
    """Its symbols fail, whatever of them can be read elsewhere; the others do not."""
    first, last = LONG[LONG["date"] < "2024-03-01"], LONG[LONG["date"] >= "2024-03-01"]
    parts = {"a": first, "b": last[last["symbol"] != "S3"], "c": last[last["symbol"] == "S3"]}
    for name, part in parts.items():
        table = pa.Table.from_pandas(part[["symbol", "date", "close"]], preserve_index=False)
        pq.write_table(table, tmp_path / f"{name}.parquet", compression="none", use_dictionary=["symbol"])
    about = pq.ParquetFile(tmp_path / "c.parquet").metadata.row_group(0).column(2)
    content = bytearray((tmp_path / "c.parquet").read_bytes())
    content[about.data_page_offset : about.data_page_offset + 20] = b"\xff" * 20
    (tmp_path / "c.parquet").write_bytes(content)
    source = sources.ParquetSource(sources._expand([tmp_path]), sources._Options(), batch)
    result = scan_source(source, batch_size=3)
    assert [(f.symbol, f.reason) for f in result.failures] == [("S3", "unreadable")]
    assert "is not whole: c.parquet" in result.failures[0].message
    assert {row.symbol for row in result.rows} == set(CLOSES) - {"S3"}
    assert set(result.rows) <= set(scan(Prices(CLOSES, dict.fromkeys(CLOSES, DATES.astype("datetime64[us]")))).rows)


def test_rows_without_a_symbol_are_told_once(tmp_path):
    torn = LONG.assign(symbol=LONG["symbol"].where(LONG.index % 50 != 3))
    pq.write_table(pa.Table.from_pandas(torn, preserve_index=False), tmp_path / "torn.parquet")
    said = [("torn", "14 rows without a symbol left out")]
    for source in (tmp_path, tmp_path / "torn.parquet"):
        result = scan_source(source, batch_size=2)
        assert [(note.symbol, note.message) for note in result.warnings] == said
    assert [note.message for note in scan_source(torn, batch_size=2).warnings] == [said[0][1]]


def test_queries(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    folder = tmp_path / "days"
    folder.mkdir()
    dataset(folder, "days")
    sql = f"select * from '{folder}/*.parquet'"
    expect(open_source(Query(sql)))
    expect(open_source(Query(sql + ";  ")))
    expect(open_source(f"duckdb://?query=select%20*%20from%20'{folder}/*.parquet'"))
    with duckdb.connect(str(tmp_path / "market.db")) as made:
        made.execute(f"create table bars as {sql}")
    expect(open_source(Query("select * from bars -- all", tmp_path / "market.db")))
    expect(open_source(f"duckdb://{tmp_path}/market.db?query=select%20date,symbol,close%20from%20bars"))
    with duckdb.connect(str(tmp_path / "market.db"), read_only=True) as connection:
        expect(open_source(Query("select * from bars", connection)))
    expect(open_source(Query(f"pivot ({sql}) on symbol using first(close) order by date")))
    one = open_source(Query(f"select date, close, 1 as open from ({sql}) where symbol = 'S1'"))
    same_bits(one.fetch(one.symbols())["query"], CLOSES["S1"])
    for wrong in ("select * from nothing", "select 'x' as a, 1.0 as b, 2 as symbol, 3 as c", "drop table bars"):
        with pytest.raises(ParameterError, match="query"):
            open_source(Query(wrong)).symbols()
    with pytest.raises(ParameterError, match="duckdb://file"):
        open_source("duckdb://file.db")


def test_without_duckdb(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(ImportError, match=r"warpquant\[duckdb\]"):
        open_source(Query("select 1")).symbols()


def test_what_holds_no_prices():
    for wrong in (None, 3, object(), [], [1, 2], {1, 2}, WIDE.index, pa.array([1.0])):
        with pytest.raises(DTypeError, match="accepted are"):
            open_source(wrong)
    with pytest.raises(ParameterError, match="no such file"):
        open_source("nothing-here.csv")
    with pytest.raises(ShapeError):
        open_source(np.ones((2, 3, 4)))
    with pytest.raises(ShapeError, match="names for"):
        open_source(np.ones((2, 3)), symbols=["a"])
    with pytest.raises(ParameterError, match="names already"):
        open_source(CLOSES, symbols=["a"])
    with pytest.raises(ParameterError, match="more than once"):
        open_source(np.ones((2, 3)), symbols=["a", "a"])
    with pytest.raises(ParameterError, match="same text"):
        open_source({1: [1.0], "1": [2.0]})


def test_an_empty_folder(tmp_path):
    with pytest.raises(ParameterError, match="the folder holds no"):
        open_source(tmp_path)


def test_columns_by_name():
    frame = LONG.rename(columns={"symbol": "who", "close": "px", "date": "when"}).assign(close=1.0)
    expect(open_source(frame, symbol_col="who", price_col="px", time_col="when"))
    both = LONG.assign(high=LONG["close"] * 2, close=0.0)
    (batch,) = batches(open_source(both, price_col="high"), 10)
    same_bits(batch["S1"], CLOSES["S1"] * 2)


def test_bad_symbols_of_a_frame_do_not_stop_the_others():
    frame = WIDE.assign(text="x", flag=True, empty=np.nan)
    result = scan_source(frame)
    assert {f.symbol: f.reason for f in result.failures} == {
        "text": "not_numeric", "flag": "not_numeric", "empty": "empty"
    }  # fmt: skip
    assert len(result.rows) == 7
    nullable = WIDE.assign(S0=pd.array(CLOSES["S0"], dtype="Float64"))
    nullable.iloc[5, 0] = pd.NA
    assert scan_source(nullable).counts["scanned"] == 7


def test_duplicate_times_of_a_frame_are_told():
    result = scan_source(pd.concat([WIDE, WIDE.iloc[-1:]]))
    assert {note.message for note in result.warnings} == {
        "1 duplicate bar left out, the first of each time kept (first: 2024-04-09)"
    }
    assert result.rows == scan_source(WIDE).rows


def test_fingerprints(tmp_path):
    rows = np.stack(list(CLOSES.values()))
    one = open_source(rows, symbols=[*CLOSES]).fingerprint()
    assert one == open_source(CLOSES).fingerprint()
    changed = rows.copy()
    changed[3, 7] = np.nextafter(changed[3, 7], 0)
    assert open_source(changed, symbols=[*CLOSES]).fingerprint() != one
    path = tmp_path / "wide.csv"
    WIDE.reset_index().to_csv(path, index=False)
    source = open_source(path)
    by_stat, by_content = source.fingerprint(), source.fingerprint(by_content=True)
    path.touch()
    assert source.fingerprint() != by_stat
    assert source.fingerprint(by_content=True) == by_content
    assert open_source(path, price_col="S1").fingerprint(by_content=True) != by_content
    text = path.read_text()
    path.write_text(text[:-3] + str((int(text[-3]) + 1) % 10) + text[-2:])
    assert source.fingerprint(by_content=True) != by_content


def test_a_source_of_ones_own():
    class Own:
        exchange = "XETRA"
        stable = False

        def symbols(self):
            return list(CLOSES)

        def fetch(self, symbols):
            return Prices({symbol: CLOSES[symbol] for symbol in symbols})

        def fingerprint(self, by_content=False):
            return "1"

    assert isinstance(Own(), sources.Source)
    assert scan_source(Own(), batch_size=2).to_dict() == scan(CLOSES).to_dict()
    long, short = warpquant.scan_all_symbols(Own())
    assert set(long["exchange"]) | set(short["exchange"]) == {"XETRA"}


def test_what_is_no_number_is_named_with_its_row():
    frame = LONG.assign(close=LONG["close"].astype(str))
    frame.loc[150, "close"] = "n/a"
    result = scan_source(frame, batch_size=2)
    symbol = frame["symbol"][150]
    assert [(f.symbol, f.message) for f in result.failures] == [(symbol, "'n/a' in data row 151 is no number")]
    want = scan(Prices(CLOSES, dict.fromkeys(CLOSES, DATES.astype("datetime64[us]"))))
    assert result.rows == tuple(row for row in want.rows if row.symbol != symbol)


def test_long_frames_in_slices(monkeypatch):
    monkeypatch.setattr(sources, "_SLICE", 13)
    expect(open_source(LONG))
    expect(open_source(pa.Table.from_pandas(LONG)))
    chunks = pa.concat_tables([pa.Table.from_pandas(LONG[:100]), pa.Table.from_pandas(LONG[100:])])
    expect(open_source(chunks.set_column(1, "symbol", chunks["symbol"].dictionary_encode())))


DAY_TYPES = {
    "closes": [
        (pa.int64(), pa.date32()), (pa.float64(), pa.timestamp("us")), (pa.float32(), pa.timestamp("s")),
        (pa.decimal128(12, 3), pa.timestamp("ns")), (pa.string(), pa.string()),
    ],
    "no times first": [(pa.float64(), None), (pa.float64(), pa.timestamp("us")), (pa.float64(), pa.timestamp("us"))],
    "numbers and dates": [(pa.float64(), pa.int64()), (pa.float64(), pa.timestamp("us")), (pa.float64(), pa.int64())],
    "no times": [(pa.float64(), None)] * 3,
}  # fmt: skip


def write_days(folder, types, symbols=7):
    """A file for each day with types of its own; the closes have three binary digits."""
    closes = np.arange(len(types) * symbols).reshape(-1, symbols) / 8 + 10
    closes[0] = np.round(closes[0])
    for day, (close_type, time_type) in enumerate(types):
        stamps = pa.array([np.datetime64("2024-01-02T09:30", "s") + np.timedelta64(day, "h")] * symbols)
        columns = {"symbol": pa.array([f"S{i}" for i in range(symbols)]), "close": pa.array(closes[day])}
        if time_type == pa.int64():
            columns["time"] = pa.array([day] * symbols)
        elif time_type is not None:
            columns["time"] = (pa.array(np.datetime_as_string(stamps.to_numpy()).tolist()) if time_type == pa.string()
                               else stamps.cast(time_type, safe=False))  # fmt: skip
        columns["close"] = (pa.array([str(x) for x in closes[day]]) if close_type == pa.string()
                            else columns["close"].cast(close_type))  # fmt: skip
        pq.write_table(pa.table(columns), folder / f"{day}.parquet")
    return closes


@pytest.mark.parametrize("batch", [1, 100])
def test_a_dataset_whose_files_have_other_types(tmp_path, batch):
    """Neither digits of prices nor times of day are lost, whichever file comes first."""
    closes = write_days(tmp_path, DAY_TYPES["closes"])
    source = sources.ParquetSource(sources._expand([tmp_path]), sources._Options(), batch)
    found = source.fetch(source.symbols())
    assert (source._spilled is not None) == (batch == 1)
    assert found.failures == ()
    want = np.datetime64("2024-01-02T09:30") + np.arange(5).astype("timedelta64[h]")
    want[0] = np.datetime64("2024-01-02")  # that file has days
    for i in range(7):
        same_bits(found[f"S{i}"], closes[:, i], str(i))
        assert np.array_equal(found.times[f"S{i}"], want)


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("kind", ["no times first", "numbers and dates", "no times"])
def test_a_dataset_whose_times_do_not_fit(tmp_path, batch, kind):
    write_days(tmp_path, DAY_TYPES[kind])
    source = sources.ParquetSource(sources._expand([tmp_path]), sources._Options(), batch)
    found = source.fetch(source.symbols())
    assert len(found) == 0
    assert sorted(failure.symbol for failure in found.failures) == [f"S{i}" for i in range(7)]


@pytest.mark.parametrize("batch", [1, 100])
def test_what_is_no_number_in_a_dataset(tmp_path, batch):
    dataset(tmp_path, "days")
    table = pq.read_table(tmp_path / "0070.parquet")
    texts = table["close"].cast(pa.string()).to_pylist()
    texts[9] = "n/a"
    pq.write_table(table.set_column(2, "close", pa.array(texts)), tmp_path / "0070.parquet")
    source = sources.ParquetSource(sources._expand([tmp_path]), sources._Options(), batch)
    found = source.fetch(source.symbols())
    symbol = table["symbol"][9].as_py()
    assert [(f.symbol, f.reason) for f in found.failures] == [(symbol, "not_numeric")]
    assert found.failures[0].message == "'n/a' in row 10 of row group 1 of 0070.parquet is no number"
    for other in set(CLOSES) - {symbol}:
        same_bits(found[other], CLOSES[other], other)


@pytest.mark.parametrize("batch", [1, 100])
def test_symbols_that_are_no_text(tmp_path, batch):
    """Bytes are their text and other values what Python prints of them, in a dataset and in a file alike."""
    names = {"bytes": [b"AAPL", b"MSFT", None], "flags": [True, False, None], "numbers": [700, 5, None]}
    wanted = {"bytes": ["AAPL", "MSFT"], "flags": ["True", "False"], "numbers": ["700", "5"]}
    for kind, symbols in names.items():
        (tmp_path / kind).mkdir()
        for day in range(3):
            times = np.repeat(np.datetime64("2024-01-02", "s") + np.timedelta64(day, "D"), 3)
            table = pa.table({"symbol": pa.array(symbols), "date": pa.array(times), "close": [1.0 + day, 2.0, 3.0]})
            pq.write_table(table, tmp_path / kind / f"{day}.parquet")
        source = sources.ParquetSource(sources._expand([tmp_path / kind]), sources._Options(), batch)
        assert source.symbols() == wanted[kind]
        found = source.fetch([*source.symbols(), "other"])
        assert found[wanted[kind][0]].tolist() == [1.0, 2.0, 3.0]
        assert [(f.symbol, f.reason) for f in found.failures] == [("other", "unreadable")]
        (alone,) = batches(open_source(tmp_path / kind / "0.parquet"), 9)
        assert sorted(alone) == sorted(wanted[kind])


def test_symbols_that_are_no_text_elsewhere():
    """In frames they are as in files, bytes that are no text are refused, and a query has DuckDB's text."""
    table = pa.table({"symbol": [b"AAPL", b"\xff"], "time": [1, 2], "close": [1.0, 2.0]})
    (batch,) = batches(open_source(table[:1]), 9)
    assert list(batch) == ["AAPL"]
    with pytest.raises(ParameterError, match="bytes that are no text"):
        open_source(table)
    pytest.importorskip("duckdb")
    source = open_source(Query("select i > 2 as symbol, i as time, i * 1.5 as close from range(6) t(i)"))
    assert {symbol: close.tolist() for symbol, close in source.fetch(source.symbols()).items()} == {
        "false": [0.0, 1.5, 3.0], "true": [4.5, 6.0, 7.5]
    }  # fmt: skip


def test_a_broken_footer_in_a_dataset(tmp_path):
    """The folder tells whose bars are missing; else the failure says that they may be anybody's."""
    dataset(tmp_path, "folders of symbols")
    (tmp_path / "symbol=S3" / "more.parquet").write_bytes(b"PAR1 and no more")
    result = scan_source(tmp_path)
    assert [(f.symbol, f.reason) for f in result.failures] == [("S3", "unreadable")]
    assert "is not whole: more.parquet" in result.failures[0].message
    assert len(result.rows) == 6
    (tmp_path / "symbol=S3" / "more.parquet").unlink()
    folder = tmp_path / "plain"
    folder.mkdir()
    dataset(folder, "a file for each symbol")
    (folder / "part-zz.parquet").write_bytes(b"PAR1 and no more")
    assert "missing from every symbol that it holds" in scan_source(folder).failures[0].message
