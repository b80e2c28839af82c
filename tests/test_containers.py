# SPDX-License-Identifier: Apache-2.0
"""Every kind of array goes in and comes out as the same kind, with the bits that NumPy gives."""

from __future__ import annotations

import array
import ctypes
from typing import ClassVar

import numpy as np
import pytest

import warpquant
from warpquant import _core, atc, equity, ma
from warpquant.errors import DeviceUnavailableError, DTypeError, LayoutError, ParameterError, ShapeError

BARS, SERIES = 120, 3
NAMES = ["AAA", "BBB", "CCC"]
LENGTH = 5
PARAMS = dict(ema_len=8, hull_len=8, wma_len=8, dema_len=8, lsma_len=8, kama_len=8)


def walk(series=SERIES, bars=BARS, seed=1):
    """Closes, shape (series, bars)."""
    steps = np.random.default_rng(seed).normal(0, 0.02, (series, bars))
    return 100 * np.exp(np.cumsum(steps, axis=1))


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.fixture
def no_copy():
    """Fails the test if an argument had to be copied."""
    before = _core.copy_counts()
    yield
    assert _core.copy_counts() == before


X1, X2 = walk(1)[0], walk()
SIGN1, SIGN2 = np.sign(np.sin(np.arange(BARS))), np.sign(np.sin(np.arange(BARS) + np.arange(SERIES)[:, None]))


# ---------------------------------------------------------------------------------------------- one series, every kind


def _pandas(x):
    pd = pytest.importorskip("pandas")
    series = pd.Series(x, index=pd.date_range("2024-01-01", periods=len(x), name="day"), name="close")
    series.attrs["unit"] = "USD"
    return series


def _polars(x):
    return pytest.importorskip("polars").Series("close", x)


def _arrow(x):
    return pytest.importorskip("pyarrow").array(x)


def _chunked(x):
    pa = pytest.importorskip("pyarrow")
    return pa.chunked_array([pa.array(x)])


def _xarray(x):
    xr = pytest.importorskip("xarray")
    return xr.DataArray(x, dims="time", coords={"time": np.arange(len(x)) * 2}, attrs={"unit": "USD"}, name="close")


def _torch(x):
    return pytest.importorskip("torch").from_numpy(np.array(x))


def _jax(x):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(x)


def _readonly(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _subclass(x):
    class Own(np.ndarray):
        pass

    return np.array(x).view(Own)


KINDS = {
    "numpy": lambda x: x,
    "readonly": _readonly,
    "strided": lambda x: np.repeat(x, 2)[::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "subclass": _subclass,
    "array.array": lambda x: array.array("d", x),
    "memoryview": lambda x: memoryview(np.array(x)),
    "memoryview of bytes": lambda x: memoryview(x.tobytes()).cast("d"),
    "list": list,
    "tuple": tuple,
    "list of floats": lambda x: x.tolist(),
    "pandas": _pandas,
    "polars": _polars,
    "arrow": _arrow,
    "chunked": _chunked,
    "xarray": _xarray,
    "torch": _torch,
    "jax": _jax,
}
COPIED = {"list", "tuple", "list of floats"}
PLAIN = {"readonly", "strided", "reversed", "subclass", "array.array", "memoryview", "memoryview of bytes", *COPIED}


def kept(result, given, name):
    """The result is of the kind of the argument, with its labels."""
    if name in PLAIN or name == "numpy":
        assert type(result) is np.ndarray
        return
    if name == "arrow":
        assert isinstance(result, pytest.importorskip("pyarrow").Array)
        return
    assert type(result) is type(given)
    if name == "pandas":
        assert result.index is given.index or result.index.equals(given.index)
        assert (result.index.name, result.name, result.attrs) == ("day", "close", {"unit": "USD"})
    elif name == "polars":
        assert result.name == "close"
    elif name == "xarray":
        assert (result.dims, result.attrs, result.name) == (given.dims, given.attrs, given.name)
        assert result.indexes["time"].equals(given.indexes["time"])


@pytest.mark.parametrize("name", KINDS)
class TestOneSeries:
    @pytest.mark.parametrize("kind", ma.kinds())
    def test_average(self, name, kind):
        given = KINDS[name](X1)
        before = _core.copy_counts()
        result = getattr(ma, kind)(given, LENGTH)
        copied = {k: v - before[k] for k, v in _core.copy_counts().items()}
        kept(result, given, name)
        same(result, getattr(ma, kind)(X1, LENGTH))
        assert copied == {k: int(name in COPIED and k == "sequence") for k in copied}

    def test_float32(self, name):
        if name in ("array.array", "memoryview of bytes"):
            pytest.skip("made of doubles here")
        given = KINDS[name](X1.astype(np.float32))
        result = ma.ema(given, LENGTH)
        kept(result, given, name)
        expected = ma.ema(np.asarray(given), LENGTH)
        assert expected.dtype == (np.float64 if name == "list of floats" else np.float32)
        same(result, expected)

    def test_several_lengths(self, name):
        given = KINDS[name](X1)
        expected = ma.sma(X1, [2, 7, 3])
        result = ma.sma(given, [2, 7, 3])
        if name == "pandas":
            assert list(result.columns) == [2, 7, 3]
            assert result.columns.name == "length"
            assert result.index.equals(given.index)
            same(result.to_numpy().T, expected)
        elif name == "polars":
            assert result.columns == ["close_2", "close_7", "close_3"]
            same(result.to_numpy().T, expected)
        elif name in ("arrow", "chunked"):
            assert result.column_names == ["2", "7", "3"]
            same([c.to_numpy() for c in result.columns], expected)
        elif name == "xarray":
            assert result.dims == ("length", "time")
            assert result["length"].values.tolist() == [2, 7, 3]
            same(result, expected)
        else:
            kept(result, given, name)
            same(result, expected)

    def test_curve(self, name):
        given, signal = KINDS[name](X1), KINDS[name](SIGN1)
        result = equity.curve(prices=given, signal=signal)
        kept(result, given, name)
        same(result, equity.curve(prices=X1, signal=SIGN1))
        same(equity.curve(prices=given, signal=SIGN1), result)
        plain = equity.curve(prices=X1, signal=signal)
        assert type(plain) is np.ndarray
        same(plain, result)

    def test_atc(self, name):
        given = KINDS[name](X1)
        expected = atc.run(X1, PARAMS, outputs="all")
        result = atc.run(given, PARAMS, outputs="all")
        assert list(result) == list(expected) == list(atc.OUTPUTS)
        for key, values in result.items():
            kept(values, given, name)
            same(values, expected[key])
        assert expected["trend"].dtype == np.int8

    def test_atc_last_only(self, name):
        expected = atc.run(X1, PARAMS, outputs="all")
        for key, value in atc.run(KINDS[name](X1), PARAMS, outputs="all", last_only=True).items():
            assert np.ndim(value) == 0
            assert np.asarray(value) == expected[key][-1]

    def test_atc_detail(self, name):
        given = KINDS[name](X1)
        expected = atc.run(X1, PARAMS, detail=True)
        result = atc.run(given, PARAMS, detail=True)
        assert len(result) == 19
        assert result.keys() == expected.keys()
        for key in ("ema_ma", "kama_sig", "hma_eq"):
            values = result[key]
            assert expected[key].shape == (9, BARS)
            if name == "pandas":
                assert values.index.equals(given.index)
                assert list(values.columns) == list(atc.lengths(8))
                values = values.to_numpy().T
            elif name == "polars":
                values = values.to_numpy().T
            elif name in ("arrow", "chunked"):
                values = [c.to_numpy() for c in values.columns]
            same(values, expected[key])

    def test_atc_of_another_source(self, name):
        source = KINDS[name](X2[1])
        result = atc.run(KINDS[name](X1), PARAMS, src=source)["average"]
        same(result, atc.run(X1, PARAMS, src=X2[1])["average"])

    def test_port(self, name):
        given = KINDS[name](X1)
        expected = warpquant.compute_atc_signals(X1, **PARAMS)
        result = warpquant.compute_atc_signals(given, growth=True, **PARAMS)
        assert list(result) == [*expected, "ExpMult"]
        for key, values in expected.items():
            kept(result[key], given, name)
            same(result[key], values)

    def test_empty_and_short(self, name):
        if name == "memoryview of bytes":
            pytest.skip("a view of nothing cannot be cast")
        for bars in (0, 1, 2):
            given = KINDS[name](X1[:bars])
            if bars == 0 and name in ("list", "tuple", "list of floats"):
                assert ma.sma(given, 3).shape == (0,)
                continue
            result = ma.sma(given, 3)
            kept(result, given, name)
            assert np.asarray(result).shape == (bars,)
            assert np.isnan(np.asarray(result)).all()


# ---------------------------------------------------------------------------------------------- panels


def _frame(x, index="default"):
    pd = pytest.importorskip("pandas")
    indexes = {
        "default": lambda: None,
        "dates": lambda: pd.date_range("2024-01-01", periods=x.shape[1], name="day"),
        "multi": lambda: pd.MultiIndex.from_product([range(x.shape[1] // 2), ["am", "pm"]], names=["day", "half"]),
    }
    frame = pd.DataFrame(np.ascontiguousarray(x.T), columns=NAMES, index=indexes[index]())
    frame.attrs["unit"] = "USD"
    return frame


def frame_kept(result, given):
    assert type(result) is type(given)
    assert result.index.equals(given.index)
    assert result.index.names == given.index.names
    assert list(result.columns) == list(given.columns)
    assert result.attrs == given.attrs


@pytest.mark.parametrize("index", ["default", "dates", "multi"])
class TestPandasFrame:
    def test_average(self, index, no_copy):
        given = _frame(X2, index)
        result = ma.hma(given, LENGTH)
        frame_kept(result, given)
        same(result.to_numpy().T, ma.hma(X2, LENGTH))

    def test_columns_kept_in_order(self, index):
        given = _frame(X2, index)[["CCC", "AAA", "BBB"]]
        result = ma.kama(given, LENGTH)
        frame_kept(result, given)
        same(result["AAA"].to_numpy(), ma.kama(X2, LENGTH)[0])

    def test_several_lengths(self, index):
        given = _frame(X2, index)
        result = ma.wma(given, [4, 2])
        assert result.index.equals(given.index)
        assert list(result.columns) == [(n, c) for n in (4, 2) for c in NAMES]
        same(result[2]["BBB"].to_numpy(), ma.wma(X2, 2)[1])

    def test_curve_matches_columns_by_name(self, index):
        given, signal = _frame(X2, index), _frame(SIGN2, index)
        expected = equity.curve(prices=X2, signal=SIGN2)
        for shuffled in (signal, signal[["BBB", "CCC", "AAA"]]):
            result = equity.curve(prices=given, signal=shuffled)
            frame_kept(result, given)
            same(result.to_numpy().T, expected)
        with pytest.raises(ShapeError, match=r"signal: has other series.*'AAA'"):
            equity.curve(prices=given, signal=signal.rename(columns={"AAA": "ZZZ"}))
        with pytest.raises(ShapeError, match="signal"):
            equity.curve(prices=given, signal=signal[["AAA", "BBB"]])

    def test_atc(self, index):
        given = _frame(X2, index)
        expected = atc.run(X2, PARAMS, outputs="all", detail=True)
        result = atc.run(given, PARAMS, outputs="all", detail=True)
        for key in atc.OUTPUTS:
            frame_kept(result[key], given)
            same(result[key].to_numpy().T, expected[key])
        columns = [(n, c) for n in atc.lengths(8) for c in NAMES]
        assert list(result["ema_eq"].columns) == columns
        same(result["ema_eq"].to_numpy().T.reshape(9, SERIES, BARS), expected["ema_eq"])

    def test_atc_last_only(self, index):
        result = atc.run(_frame(X2, index), PARAMS, last_only=True)["average"]
        assert list(result.index) == NAMES
        same(result.to_numpy(), atc.run(X2, PARAMS)["average"][:, -1])


class TestPandas:
    def test_frame_is_read_and_written_in_place(self, no_copy):
        given = _frame(X2)
        out = np.empty((BARS, SERIES))
        assert ma.ema(given, LENGTH, out=out) is out
        same(out.T, ma.ema(X2, LENGTH))

    @pytest.mark.parametrize("dtype", ["Float64", "Int64", "Float32"])
    def test_nullable(self, dtype):
        pd = pytest.importorskip("pandas")
        values = pd.Series([1, 2, None, 4, 5, 6], dtype=dtype)
        kind = np.float32 if dtype == "Float32" else np.float64
        expected = ma.sma(np.array([1, 2, np.nan, 4, 5, 6], dtype=kind), 2)
        same(ma.sma(values, 2).to_numpy(), expected)
        result = ma.sma(values.to_frame("a").assign(b=[6, 5, 4, 3, 2, 1]), 2)
        assert list(result.columns) == ["a", "b"]
        np.testing.assert_array_equal(result["a"].to_numpy(), expected)

    def test_missing_is_nan(self):
        pd = pytest.importorskip("pandas")
        result = ma.sma(pd.Series([None, 1.0, 2.0, 3.0]), 2)
        assert result.isna().tolist() == [True, True, False, False]

    def test_mixed_columns(self):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"whole": [1, 2, 3, 4], "single": np.float32([0.5, 1, 2, 4]), "double": [1.0, 4, 9, 16]})
        result = ma.sma(frame, 2)
        assert list(result.columns) == ["whole", "single", "double"]
        for column in frame:
            same(result[column].to_numpy(), ma.sma(frame[column].to_numpy().astype(float), 2))

    @pytest.mark.parametrize("values", [["x", "y"], [True, False], [1j, 2j], [object(), None]])
    def test_other_types_name_the_column(self, values):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"fine": [1.0, 2.0], "bad": values})
        with pytest.raises(DTypeError, match=r"^x: column 'bad'"):
            ma.sma(frame, 2)
        with pytest.raises(DTypeError, match=r"^prices: column 'bad'"):
            atc.run(frame)
        with pytest.raises(DTypeError, match=r"^signal: column 'bad'"):
            equity.curve(prices=frame[["fine"]], signal=frame[["bad"]])
        with pytest.raises(DTypeError, match=r"^x"):
            ma.sma(frame["bad"], 2)

    def test_dates_are_refused(self):
        pd = pytest.importorskip("pandas")
        with pytest.raises(DTypeError, match="x: column 'day'"):
            ma.sma(pd.DataFrame({"day": pd.date_range("2024-01-01", periods=3), "close": [1.0, 2, 3]}), 2)

    def test_axis_goes_with_arrays(self):
        with pytest.raises(ParameterError, match="axis"):
            ma.sma(_frame(X2), 2, axis=0)

    def test_no_columns_and_no_rows(self):
        pd = pytest.importorskip("pandas")
        assert ma.sma(pd.DataFrame(index=range(4)), 2).shape == (4, 0)
        assert ma.sma(_frame(X2).iloc[:0], 2).shape == (0, SERIES)
        with pytest.raises(ShapeError, match="prices"):
            atc.run(pd.DataFrame(index=range(4)))

    def test_names_twice(self):
        frame = _frame(X2)
        frame.columns = ["A", "A", "B"]
        result = ma.sma(frame, 2)
        assert list(result.columns) == ["A", "A", "B"]
        same(result.to_numpy().T, ma.sma(X2, 2))

    def test_subclass(self):
        pd = pytest.importorskip("pandas")

        class Own(pd.DataFrame):
            pass

        result = ma.sma(Own(_frame(X2)), 2)
        assert isinstance(result, pd.DataFrame)
        assert list(result.columns) == NAMES


class TestPolarsFrame:
    def given(self, x=X2):
        return pytest.importorskip("polars").DataFrame(dict(zip(NAMES, x, strict=True)))

    def test_average(self, no_copy):
        result = ma.dema(self.given(), LENGTH)
        assert type(result) is type(self.given())
        assert result.columns == NAMES
        same(result.to_numpy().T, ma.dema(X2, LENGTH))

    def test_nulls(self):
        pl = pytest.importorskip("polars")
        expected = ma.sma(np.array([np.nan, 1, 2, np.nan, 3, 4]), 2)
        for dtype in (pl.Float64, pl.Int64, pl.Float32):
            result = ma.sma(pl.Series("a", [None, 1, 2, None, 3, 4], dtype=dtype), 2)
            assert result.null_count() == 0
            np.testing.assert_array_equal(result.to_numpy(), expected)

    def test_warmup_as_null(self):
        pl = pytest.importorskip("polars")
        result = ma.sma(pl.Series("a", [1.0, 2, 3, None, 5, 6, 7]), 3, warmup="null")
        assert result.to_list()[:3] == [None, None, 2.0]
        assert result.null_count() == 2
        assert np.isnan(result.to_list()[3])
        assert result.name == "a"
        result = ma.sma(self.given(), [2, 4], warmup="null")
        assert result.columns == [f"{c}_{n}" for n in (2, 4) for c in NAMES]
        assert result.null_count().row(0) == (1, 1, 1, 3, 3, 3)
        result = ma.sma({"a": pl.Series([1.0, 2, 3])}, 2, warmup="null")["a"]
        assert result.to_list() == [None, 1.5, 2.5]
        assert ma.sma(pl.Series([1.0, 2.0]), 5, warmup="null").to_list() == [None, None]

    def test_a_length_twice(self):
        pl = pytest.importorskip("polars")
        result = ma.sma(pl.Series("a", X1), [3, 3])
        same(result.to_numpy().T, ma.sma(X1, [3, 3]))

    def test_atc(self):
        expected = atc.run(X2, PARAMS, outputs="all", detail=True)
        result = atc.run(self.given(), PARAMS, outputs="all", detail=True)
        for key in atc.OUTPUTS:
            assert result[key].columns == NAMES
            same(result[key].to_numpy().T, expected[key])
        assert result["lsma_ma"].columns[0] == "AAA_8"
        same(result["lsma_ma"].to_numpy().T.reshape(9, SERIES, BARS), expected["lsma_ma"])
        last = atc.run(self.given(), PARAMS, last_only=True)["average"]
        assert last == dict(zip(NAMES, expected["average"][:, -1], strict=True))

    def test_curve(self):
        signal = self.given(SIGN2)
        expected = equity.curve(prices=X2, signal=SIGN2)
        for s in (signal, signal[["CCC", "AAA", "BBB"]], np.ascontiguousarray(SIGN2.T)):
            same(equity.curve(prices=self.given(), signal=s).to_numpy().T, expected)

    def test_other_types_name_the_column(self):
        pl = pytest.importorskip("polars")
        with pytest.raises(DTypeError, match="x: column 'bad'"):
            ma.sma(pl.DataFrame({"fine": [1.0], "bad": ["x"]}), 2)
        with pytest.raises(DTypeError, match="x"):
            ma.sma(pl.Series([True]), 2)
        with pytest.raises(DTypeError, match=r"x: a Polars LazyFrame.*collect"):
            ma.sma(self.given().lazy(), 2)


class TestArrowTable:
    def given(self, x=X2, kind="table"):
        pa = pytest.importorskip("pyarrow")
        columns = [pa.array(c) for c in x]
        return (pa.Table if kind == "table" else pa.RecordBatch).from_arrays(columns, names=NAMES)

    @pytest.mark.parametrize("kind", ["table", "batch"])
    def test_average(self, kind, no_copy):
        given = self.given(kind=kind)
        result = ma.tema(given, LENGTH)
        assert type(result) is type(given)
        assert result.schema.names == NAMES
        same([c.to_numpy() for c in result.columns], ma.tema(X2, LENGTH))

    def test_nulls_and_chunks(self):
        pa = pytest.importorskip("pyarrow")
        expected = ma.sma(np.array([1, 2, np.nan, 4, 5.0]), 2)
        same(ma.sma(pa.array([1, 2, None, 4, 5]), 2).to_numpy(), expected)
        result = ma.sma(pa.chunked_array([[1.0, 2.0], [None, 4.0, 5.0]]), 2)
        assert isinstance(result, pa.ChunkedArray)
        same(result.to_numpy(), expected)

    def test_warmup_as_null(self):
        pa = pytest.importorskip("pyarrow")
        for given in (pa.array([1.0, 2, 3]), pa.chunked_array([[1.0, 2, 3]])):
            result = ma.sma(given, 2, warmup="null")
            assert type(result) is type(given)
            assert result.to_pylist() == [None, 1.5, 2.5]
        for kind in ("table", "batch"):
            result = ma.sma(self.given(kind=kind), 4, warmup="null")
            assert [c.null_count for c in result.columns] == [3, 3, 3]
        assert ma.sma(pa.array([1.0, 2, 3]), [1, 2], warmup="null").column("2").to_pylist() == [None, 1.5, 2.5]

    def test_atc(self):
        expected = atc.run(X2, PARAMS, outputs="all")
        for key, table in atc.run(self.given(), PARAMS, outputs="all").items():
            assert table.column_names == NAMES
            same([c.to_numpy() for c in table.columns], expected[key])
        last = atc.run(self.given(), PARAMS, last_only=True)["average"]
        assert last == dict(zip(NAMES, expected["average"][:, -1], strict=True))

    def test_other_types_name_the_column(self):
        pa = pytest.importorskip("pyarrow")
        with pytest.raises(DTypeError, match="x: column 'bad'"):
            ma.sma(pa.table({"fine": [1.0], "bad": ["x"]}), 2)
        with pytest.raises(DTypeError, match="x has type"):
            ma.sma(pa.array([1, 2], type=pa.timestamp("s")), 2)


class TestXArray:
    def given(self, time_first, x=X2, dims=("symbol", "time")):
        xr = pytest.importorskip("xarray")
        coords = {dims[0]: NAMES, dims[1]: np.arange(x.shape[1]) * 3, "sector": (dims[0], ["p", "q", "r"])}
        made = xr.DataArray(x, dims=dims, coords=coords, attrs={"unit": "USD"}, name="close")
        return made.transpose() if time_first else made

    @pytest.mark.parametrize("time_first", [False, True])
    def test_the_time_dimension_is_found(self, time_first, no_copy):
        given = self.given(time_first)
        result = ma.lsma(given, LENGTH)
        assert result.dims == given.dims
        assert result.attrs == given.attrs
        assert set(result.coords) == {"symbol", "time", "sector"}
        same(result.transpose("symbol", "time"), ma.lsma(X2, LENGTH))

    def test_a_dimension_by_name(self):
        given = self.given(True, dims=("symbol", "step"))
        same(ma.rma(given, LENGTH, axis="step").transpose("symbol", "step"), ma.rma(X2, LENGTH))
        same(ma.rma(given, LENGTH, axis=0), ma.rma(X2, LENGTH).T)
        with pytest.raises(ParameterError, match=r"axis: 'bogus' is not a dimension.*'step'"):
            ma.rma(given, LENGTH, axis="bogus")
        for axis in (2, -3, 1.5):
            with pytest.raises(ParameterError, match="axis"):
                ma.rma(given, LENGTH, axis=axis)

    def test_several_lengths(self):
        result = ma.roc(self.given(True), [1, 3])
        assert result.dims == ("length", "time", "symbol")
        assert result["length"].values.tolist() == [1, 3]
        same(result.transpose("length", "symbol", "time"), ma.roc(X2, [1, 3]))

    @pytest.mark.parametrize("time_first", [False, True])
    def test_atc(self, time_first):
        given = self.given(time_first)
        expected = atc.run(X2, PARAMS, outputs="all", detail=True)
        result = atc.run(given, PARAMS, outputs="all", detail=True)
        for key in atc.OUTPUTS:
            assert result[key].dims == given.dims
            same(result[key].transpose("symbol", "time"), expected[key])
        same(result["ema_ma"].transpose("length", "symbol", "time"), expected["ema_ma"])
        last = atc.run(given, PARAMS, last_only=True)["average"]
        assert last.dims == ("symbol",)
        assert last["symbol"].values.tolist() == NAMES
        same(last, expected["average"][:, -1])

    def test_curve_with_dims_the_other_way(self):
        result = equity.curve(prices=self.given(False), signal=self.given(True, SIGN2))
        assert result.dims == ("symbol", "time")
        same(result, equity.curve(prices=X2, signal=SIGN2))
        result = equity.curve(prices=self.given(True), signal=np.ascontiguousarray(SIGN2.T), axis="time")
        same(result.transpose(), equity.curve(prices=X2, signal=SIGN2))

    def test_dataset(self):
        with pytest.raises(DTypeError, match="Dataset"):
            ma.sma(self.given(False).to_dataset(), 2)


# ---------------------------------------------------------------------------------------------- tensors


class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_layouts(self, torch, no_copy):
        panel = torch.from_numpy(X2.copy())
        columns = torch.from_numpy(np.ascontiguousarray(X2.T)).t()
        wide = torch.from_numpy(np.repeat(X2, 3, axis=1))[:, 1::3]
        for given in (panel, columns, wide):
            result = ma.wma(given, LENGTH)
            assert isinstance(result, torch.Tensor)
            assert result.device == given.device
            assert result.dtype == given.dtype
            same(result.numpy(), ma.wma(X2, LENGTH))
        same(ma.wma(panel.t(), LENGTH, axis=0).numpy().T, ma.wma(X2, LENGTH))

    def test_out(self, torch, no_copy):
        out = torch.empty(SERIES, BARS, dtype=torch.float64)
        assert ma.sma(torch.from_numpy(X2.copy()), LENGTH, out=out) is out
        same(out.numpy(), ma.sma(X2, LENGTH))

    def test_atc(self, torch):
        result = atc.run(torch.from_numpy(X2.copy()), PARAMS, outputs=("average", "trend"), detail=True)
        assert result["trend"].dtype == torch.int8
        assert result["ema_ma"].shape == (9, SERIES, BARS)
        last = atc.run(torch.from_numpy(X2.copy()), PARAMS, last_only=True)["average"]
        assert isinstance(last, torch.Tensor)
        assert last.shape == (SERIES,)

    def test_a_gradient_is_not_carried(self, torch):
        x = torch.ones(9, dtype=torch.float64, requires_grad=True)
        with pytest.raises(LayoutError, match=r"^x: .*grad"):
            ma.sma(x, 2)
        assert ma.sma(x.detach(), 2)[-1] == 1
        with torch.no_grad():
            assert ma.sma(x, 2)[-1] == 1

    def test_lazy_minus(self, torch):
        minus = torch.conj(torch.complex(torch.zeros(9), torch.arange(9.0))).imag
        assert minus.is_neg()
        same(ma.sma(minus, 2).numpy(), ma.sma(-np.arange(9, dtype=np.float32), 2))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool", "complex64", "complex128"])
    def test_other_types(self, torch, dtype):
        with pytest.raises(DTypeError, match=r"^x: .*not accepted; accepted are float64, float32 and integers"):
            ma.sma(torch.ones(9, dtype=getattr(torch, dtype)), 2)

    def test_integers(self, torch):
        for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
            result = ma.sma(torch.arange(9, dtype=dtype), 2)
            assert result.dtype == torch.float64
            same(result.numpy(), ma.sma(np.arange(9.0), 2))

    def test_parameter_and_numpy_out(self, torch):
        given = torch.nn.Parameter(torch.arange(9.0), requires_grad=False)
        same(ma.sma(given, 2).numpy(), ma.sma(np.arange(9, dtype=np.float32), 2))

    def test_sparse_and_meta(self, torch):
        with pytest.raises(LayoutError, match=r"^x: .*to_dense"):
            ma.sma(torch.eye(4).to_sparse(), 2)
        with pytest.raises(DeviceUnavailableError, match=r"^x: .*meta") as info:
            ma.sma(torch.empty(4, device="meta"), 2)
        assert info.value.reason == "unknown_device"


class TestJax:
    @pytest.fixture(autouse=True)
    def jax(self):
        jax = pytest.importorskip("jax")
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
        yield jax
        jax.config.update("jax_enable_x64", before)

    def test_panel(self, jax, no_copy):
        given = jax.numpy.asarray(X2)
        result = ma.kama(given, LENGTH)
        assert isinstance(result, jax.Array)
        same(result, ma.kama(X2, LENGTH))

    def test_single_precision_mode(self, jax):
        jax.config.update("jax_enable_x64", False)
        result = ma.sma(jax.numpy.arange(9), 2)
        assert result.dtype == np.float32
        assert result[-1] == 7.5
        result = atc.run(jax.numpy.asarray(X1), PARAMS, outputs=("average", "trend"))
        assert (result["average"].dtype, result["trend"].dtype) == (np.float32, np.int8)

    def test_out_is_refused(self, jax):
        with pytest.raises(LayoutError, match="out"):
            ma.sma(X1, 2, out=jax.numpy.zeros(BARS))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool", "complex64"])
    def test_other_types(self, jax, dtype):
        with pytest.raises(DTypeError, match=r"^x: "):
            ma.sma(jax.numpy.ones(9, dtype=dtype), 2)


# ---------------------------------------------------------------------------------------------- mappings


class TestMapping:
    ragged: ClassVar = dict(zip(NAMES, (X1[:50], X1[:31].astype(np.float32), X1), strict=True))

    def test_average(self):
        result = ma.ema(self.ragged, LENGTH)
        assert list(result) == NAMES
        for key, x in self.ragged.items():
            same(result[key], ma.ema(np.asarray(x, dtype=np.float64)[None], LENGTH)[0])

    def test_members_keep_their_kinds(self):
        pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
        given = {"a": pd.Series(X1, name="p"), 7: pl.Series("q", X1), ("c", 1): X1.tolist()}
        result = ma.sma(given, 3)
        assert list(result) == ["a", 7, ("c", 1)]
        assert isinstance(result["a"], pd.Series)
        assert isinstance(result[7], pl.Series)
        assert isinstance(result["c", 1], np.ndarray)
        result = ma.sma(given, [3, 4])
        assert result["a"].shape == (BARS, 2)
        assert result[7].columns == ["q_3", "q_4"]
        assert result["c", 1].shape == (2, BARS)

    def test_equal_lengths(self):
        result = ma.sma(dict(zip(NAMES, X2, strict=True)), [3, 4])
        for i, name in enumerate(NAMES):
            same(result[name], ma.sma(X2, [3, 4])[:, i])

    def test_out(self):
        out = {k: np.empty(len(v)) for k, v in self.ragged.items()}
        result = ma.sma(self.ragged, 3, out=out)
        assert list(result) == NAMES
        assert all(result[k] is out[k] for k in NAMES)
        np.testing.assert_array_equal(out["AAA"], ma.sma(X1[:50], 3))
        with pytest.raises(ParameterError, match="out"):
            ma.sma(self.ragged, 3, out=dict(reversed(out.items())))
        with pytest.raises(ShapeError, match=r"out: 'BBB'"):
            ma.sma(self.ragged, 3, out={**out, "BBB": np.empty(9)})

    def test_curve(self):
        signal = {k: np.sign(np.sin(np.arange(len(v)))) for k, v in self.ragged.items()}
        result = equity.curve(prices=self.ragged, signal=dict(reversed(signal.items())))
        for key in NAMES:
            x = self.ragged[key].astype(np.float64)
            same(result[key], equity.curve(prices=x, signal=signal[key]))
        with pytest.raises(ShapeError, match="signal"):
            equity.curve(prices=self.ragged, signal={**signal, "AAA": signal["BBB"]})

    def test_atc(self):
        result = atc.run(self.ragged, PARAMS, outputs="all", detail=True)
        for key, x in self.ragged.items():
            expected = atc.run(np.asarray(x, dtype=np.float64), PARAMS, outputs="all", detail=True)
            for output, values in expected.items():
                same(result[output][key], values)
        last = atc.run(self.ragged, PARAMS, last_only=True)["average"]
        assert last == {k: float(v[-1]) for k, v in atc.run(self.ragged, PARAMS)["average"].items()}

    def test_not_series(self):
        with pytest.raises(ShapeError, match="x: 'a'"):
            ma.sma({"a": X2}, 2)
        with pytest.raises(ShapeError, match="x: 'a'"):
            ma.sma({"a": {"b": X1}}, 2)
        with pytest.raises(ShapeError, match="x: 'a'"):
            ma.sma({"a": [[1.0, 2.0]]}, 2)
        with pytest.raises(DTypeError, match="x: 'a'"):
            ma.sma({"a": "text"}, 2)

    def test_no_members(self):
        assert ma.sma({}, 2) == {}
        with pytest.raises(ShapeError, match="prices"):
            atc.run({})

    def test_keys_beyond_utf8(self):
        with pytest.raises(DTypeError, match=r"x: .*udc80"):
            ma.sma({"\udc80": ["x"] * BARS, "b": X1}, 2)
        assert list(ma.sma({"\udc80": X1}, 2)) == ["\udc80"]

    def test_price_panel(self, no_copy):
        panel = warpquant.data.sp500_20()
        result = ma.sma(panel, 50)
        assert tuple(result) == panel.symbols
        for symbol, expected in zip(panel.symbols, ma.sma(panel.close, 50), strict=True):
            same(result[symbol], expected)
        last = atc.run(panel, last_only=True)["average"]
        assert list(last.values()) == atc.run(panel.close, last_only=True)["average"].tolist()
        assert np.array_equal(ma.sma(panel.to_pandas(), 50).to_numpy().T, ma.sma(panel.close, 50), equal_nan=True)


class TestMixedKinds:
    """The first argument decides; the others are brought to its layout."""

    expected = equity.curve(prices=X2, signal=SIGN2)

    def test_plain_arrays_and_frames(self):
        pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
        signals = pd.DataFrame(SIGN2.T, columns=NAMES)
        for signal in (
            signals,
            pl.DataFrame(dict(zip(NAMES, SIGN2, strict=True))),
            dict(zip(NAMES, SIGN2, strict=True)),
        ):
            same(equity.curve(prices=X2, signal=signal), self.expected)
            same(equity.curve(prices=np.asfortranarray(X2), signal=signal), self.expected)
            same(equity.curve(prices=np.ascontiguousarray(X2.T), signal=signal, axis=0).T, self.expected)
            same(equity.curve(prices=_frame(X2), signal=signal).to_numpy().T, self.expected)
            out = np.empty((SERIES, BARS))
            assert equity.curve(prices=X2, signal=signal, out=out) is out
            same(out, self.expected)
        mixed = _frame(X2).astype({"BBB": np.float32})
        narrow = equity.curve(prices=mixed, signal=signals)
        same(equity.curve(prices=mixed, signal=SIGN2.T.copy()).to_numpy(), narrow.to_numpy())

    def test_square(self):
        """The layout follows from the kind, not from the shape."""
        pd = pytest.importorskip("pandas")
        x, sign = X2[:, :SERIES], np.array([[1.0, -1, 1], [1, 1, 1], [-1, 1, 1]])
        expected = equity.curve(prices=x, signal=sign)
        assert not np.array_equal(expected, equity.curve(prices=x, signal=sign.T), equal_nan=True)
        same(equity.curve(prices=x, signal=pd.DataFrame(sign.T)), expected)
        same(equity.curve(prices=pd.DataFrame(x.T), signal=sign.T.copy()).to_numpy().T, expected)

    def test_wrong_numbers_of_series(self):
        mixed = _frame(X2).astype({"BBB": np.float32})
        for signal in (SIGN2[:2].T, SIGN1, np.vstack([SIGN2, SIGN2]).T):
            with pytest.raises(ShapeError, match="signal"):
                equity.curve(prices=mixed, signal=signal)
        for signal in ({"a": SIGN1}, {"a": SIGN1, "b": SIGN1[:9], "c": SIGN1}, {}):
            with pytest.raises(ShapeError, match="signal"):
                equity.curve(prices=X2, signal=signal)
        with pytest.raises(ShapeError, match="signal"):
            equity.curve(prices=X1, signal={"a": SIGN1})
        with pytest.raises(ShapeError, match="signal"):
            equity.curve(prices=[[1.0, 2.0]], signal=[[1.0], [1.0, 2.0]])

    def test_atc_source(self):
        expected = atc.run(X2, PARAMS, src=X2 + 1)["average"]
        same(atc.run(X2, PARAMS, src=_frame(X2 + 1))["average"], expected)
        same(atc.run(_frame(X2), PARAMS, src=(X2 + 1).T)["average"].to_numpy().T, expected)


def test_masked_values_are_missing():
    mask = np.zeros(BARS, dtype=bool)
    mask[40:43] = True
    expected = ma.sma(np.where(mask, np.nan, X1), 3)
    result = ma.sma(np.ma.masked_array(X1, mask), 3)
    assert type(result) is np.ndarray
    same(result, expected)
    whole = np.arange(BARS)
    same(ma.sma(np.ma.masked_array(whole, mask), 3), ma.sma(np.where(mask, np.nan, whole), 3))
    same(ma.sma(np.ma.masked_array(X1), 3), ma.sma(X1, 3))


def test_memory_map(tmp_path, no_copy):
    X2.tofile(tmp_path / "closes")
    for mode in ("r", "r+", "c"):
        mapped = np.memmap(tmp_path / "closes", dtype=np.float64, mode=mode, shape=X2.shape)
        same(ma.sma(mapped, LENGTH), ma.sma(X2, LENGTH))
    mapped = np.memmap(tmp_path / "result", dtype=np.float64, mode="w+", shape=X2.shape)
    assert ma.sma(X2, LENGTH, out=mapped) is mapped
    same(mapped, ma.sma(X2, LENGTH))


def test_ctypes_array():
    """An exporter that leaves out the strides."""
    same(ma.sma((ctypes.c_double * 5)(1, 2, 3, 4, 5), 3), ma.sma(np.arange(1.0, 6), 3))
    matrix = ((ctypes.c_float * 4) * 2)((1, 2, 3, 4), (5, 6, 7, 8))
    same(ma.sma(matrix, 2), ma.sma(np.arange(1, 9, dtype=np.float32).reshape(2, 4), 2))


def test_integers_are_widened_and_counted():
    before = _core.copy_counts()["integers"]
    codes = "bhilqBHILQ"
    for code in codes:
        same(ma.sma(np.arange(9, dtype=code), 2), ma.sma(np.arange(9.0), 2))
    assert _core.copy_counts()["integers"] == before + len(codes)


@pytest.mark.parametrize("warmup", ["null"])
def test_null_goes_with_kinds_that_have_it(warmup):
    for x in (X1, X1.tolist(), {"a": X1}):
        with pytest.raises(DTypeError, match="warmup"):
            ma.sma(x, 2, warmup=warmup)
    pl = pytest.importorskip("polars")
    with pytest.raises(ParameterError, match="warmup"):
        ma.sma(pl.Series(X1), 2, warmup=warmup, out=np.empty(BARS))
    with pytest.raises(ParameterError, match="warmup"):
        ma.sma(X1, 2, warmup="none")


# ---------------------------------------------------------------------------------------------- layouts and out


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        np.asfortranarray,
        lambda x: x[:, ::-1].copy()[:, ::-1],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    ],
    ids=["C", "F", "reversed time", "reversed series", "strided"],
)
def test_layouts(layout, no_copy):
    """Bits do not depend on strides, neighbours stay neighbours, and no result has negative strides."""
    given = layout(X2)
    for kind in ma.kinds():
        result = getattr(ma, kind)(given, LENGTH)
        same(result, getattr(ma, kind)(X2, LENGTH))
        assert all(s > 0 for s in result.strides)
        assert np.argmin(result.strides) == np.argmin(np.abs(given.strides))
        same(getattr(ma, kind)(given.T, LENGTH, axis=0).T, result)
        np.from_dlpack(result)
    several = ma.sma(given, [2, 3])
    assert all(s > 0 for s in several.strides)
    for output in atc.run(given, PARAMS, outputs="all", detail=True).values():
        assert all(s > 0 for s in output.strides)
    assert all(s > 0 for s in equity.curve(prices=given, signal=SIGN2).strides)


def _average(out):
    return ma.sma(X2, LENGTH, out=out)


def _curve(out):
    return equity.curve(prices=X2, signal=SIGN2, out=out)


def _atc(out):
    return atc.run(X2, PARAMS, out={"average": out})["average"]


@pytest.mark.parametrize("call", [_average, _curve, _atc])
class TestOut:
    def test_result_is_out(self, call):
        expected = call(np.empty((SERIES, BARS))).copy()
        wide = np.empty((2 * SERIES, 3 * BARS))
        for out in (
            np.empty((SERIES, BARS)),
            np.empty((SERIES, BARS), order="F"),
            wide[::2, ::3],
            wide[1::2, ::-3],
        ):
            assert call(out) is out
            same(out, expected)
        memory = memoryview(np.empty((SERIES, BARS)))
        assert call(memory) is memory
        same(memory, expected)

    @pytest.mark.parametrize("shape", [(SERIES, BARS - 1), (BARS, SERIES), (BARS,), (1, SERIES, BARS), ()])
    def test_shape(self, call, shape):
        with pytest.raises(ShapeError, match="out"):
            call(np.empty(shape))

    @pytest.mark.parametrize("dtype", ["f4", "i8", ">f8", "c16", "?", "O", "f2", "M8[s]", "S8"])
    def test_type(self, call, dtype):
        with pytest.raises(DTypeError, match="out"):
            call(np.zeros((SERIES, BARS), dtype=dtype))

    def test_read_only(self, call):
        out = np.empty((SERIES, BARS))
        out.flags.writeable = False
        with pytest.raises(LayoutError, match=r"out.*read-only"):
            call(out)
        with pytest.raises(LayoutError, match="out"):
            call(memoryview(out))

    def test_elements_in_one_place(self, call):
        with pytest.raises(LayoutError, match="out"):
            call(np.lib.stride_tricks.as_strided(np.empty(BARS), (SERIES, BARS), (0, 8)))
        with pytest.raises(LayoutError, match="out"):
            call(np.lib.stride_tricks.as_strided(np.empty(BARS + SERIES), (SERIES, BARS), (8, 8)))

    def test_not_an_array(self, call):
        for out in ([[0.0] * BARS] * SERIES, 1.0, "text", object()):
            with pytest.raises(DTypeError, match="out"):
                call(out)


def test_out_apart_from_the_input():
    memory = np.empty((SERIES, BARS + 8))
    memory[:, :BARS] = X2
    x, sign = memory[:, :BARS], SIGN2.copy()
    with pytest.raises(LayoutError, match="out: shares memory"):
        ma.sma(x, 2, out=x)
    with pytest.raises(LayoutError, match="out: shares memory"):
        ma.sma(x, 2, out=memory[:, 8:])
    with pytest.raises(LayoutError, match="out: shares memory with signal"):
        equity.curve(prices=X2, signal=sign, out=sign)
    with pytest.raises(LayoutError, match="shares memory"):
        atc.run(x, PARAMS, out={"average": x})
    with pytest.raises(LayoutError, match="shares memory with src"):
        atc.run(X2, PARAMS, src=x, out={"average": x})
    with pytest.raises(LayoutError, match="shares memory"):
        ma.sma({"a": X1, "b": X2[0]}, 2, out={"a": np.empty(BARS), "b": X1})


def test_two_results_in_one_memory():
    out = np.empty(BARS)
    with pytest.raises(LayoutError, match="out"):
        atc.run(X1, PARAMS, outputs=("average", "ema_signal"), out={"average": out, "ema_signal": out})
    with pytest.raises(LayoutError, match="out"):
        ma.sma({"a": X1, "b": X2[0]}, 2, out={"a": out, "b": out})
    with pytest.raises(LayoutError, match="out"):
        ma.sma(X2, 2, out=np.lib.stride_tricks.as_strided(np.empty(2 * BARS), (SERIES, BARS), (BARS * 4, 8)))


def test_out_of_several_lengths():
    out = np.empty((2, SERIES, BARS))
    assert ma.sma(X2, [3, 5], out=out) is out
    same(out, ma.sma(X2, [3, 5]))
    with pytest.raises(ShapeError, match="out"):
        ma.sma(X2, [3, 5], out=np.empty((SERIES, BARS)))


def test_out_of_atc():
    expected = atc.run(X2, PARAMS, outputs="all", detail=True)
    out = {k: np.empty_like(v) for k, v in expected.items()}
    result = atc.run(X2, PARAMS, outputs="all", detail=True, out=out)
    for key, values in expected.items():
        assert result[key] is out[key]
        same(out[key], values)
    ported = np.empty((SERIES, BARS))
    result = atc.run(X2, PARAMS, outputs=("Average_Signal",), out={"Average_Signal": ported})
    assert result["Average_Signal"] is ported
    with pytest.raises(ParameterError, match="out: 'trend'"):
        atc.run(X2, PARAMS, out={"trend": ported})
    with pytest.raises(DTypeError, match=r"out\['trend'\]"):
        atc.run(X2, PARAMS, outputs=("trend",), out={"trend": ported})
    with pytest.raises(DTypeError, match=r"out\['average'\]"):
        atc.run(X2, PARAMS, precision="float32", out={"average": ported})
    with pytest.raises(ParameterError, match="out"):
        atc.run(X2, PARAMS, last_only=True, out={"average": ported})
    with pytest.raises(ParameterError, match=r"out\['average'\]"):
        atc.run({"a": X1}, PARAMS, out={"average": ported})
    narrow = np.empty((SERIES, BARS), dtype=np.float32)
    atc.run(X2, PARAMS, precision="float32", out={"average": narrow})
    same(narrow, expected["average"].astype(np.float32))
