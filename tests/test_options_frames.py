# SPDX-License-Identifier: Apache-2.0
"""Options in data frames, and Greeks in the units of quotes."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from warpquant import options
from warpquant.errors import DTypeError, ParameterError, ShapeError

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

ALL = options.greeks(100.0, 110.0, 0.5, 0.03, 0.01, 0.25, True, outputs="all")
#: What docs/options/greeks.md says each output is divided by: days per year, points of volatility, points of rates.
DIVIDED = {
    "price": "", "delta": "", "vega": "v", "theta": "t", "rho": "r", "epsilon": "r", "lambda_": "", "dual_delta": "",
    "gamma": "", "dual_gamma": "", "vanna": "v", "volga": "vv", "vera": "vr", "charm": "t", "veta": "vt", "speed": "",
    "zomma": "v", "color": "t", "ultima": "vvv",
}  # fmt: skip

COLUMNS = {
    "spot": [100.0, 101.0, 99.5, 100.0],
    "strike": [95.0, 100.0, 105.0, 110.0],
    "years": [0.1, 0.5, 1.0, 2.0],
    "sigma": [0.2, 0.25, 0.3, 0.15],
    "right": ["C", "put", "P", "Call"],
    "q": [0.0, 0.01, 0.02, 0.03],
}
EXPECTED = options.greeks(
    *(np.array(COLUMNS[name]) for name in ("spot", "strike", "years")), 0.03, np.array(COLUMNS["q"]),
    np.array(COLUMNS["sigma"]), [True, False, False, True], outputs=("price", "delta", "vomma"),
)  # fmt: skip


@pytest.mark.parametrize(("theta", "days"), [(None, 1), ("day365", 365), ("day252", 252)])
@pytest.mark.parametrize(("vega", "points"), [(None, 1), ("point", 100)])
@pytest.mark.parametrize(("rho", "steps"), [(None, 1), ("point", 100), ("bp", 10_000)])
def test_scale_divides_what_the_table_says(theta, days, vega, points, rho, steps):
    assert set(ALL) == set(DIVIDED)
    scaled = options.scale(ALL, theta=theta, vega=vega, rho=rho)
    size = {"t": days, "v": points, "r": steps}
    for name, value in ALL.items():
        expected = value
        for variable in DIVIDED[name]:
            expected /= size[variable]
        assert scaled[name] == pytest.approx(expected, rel=4e-16), name


def test_scale_is_the_change_per_unit():
    """A scaled Greek is what the price does per day, per point, per basis point."""
    at = {"spot": 100.0, "strike": 110.0, "expiry": 0.5, "rate": 0.03, "dividend": 0.01, "vol": 0.25, "is_call": True}

    def price(**moved):
        return options.price(**{**at, **{k: at[k] + v for k, v in moved.items()}})["price"]

    scaled = options.scale(ALL, theta="day365", vega="point", rho="bp")
    for name, moves, unit in (
        ("theta", {"expiry": -1e-5}, 1 / 365), ("vega", {"vol": 1e-5}, 0.01), ("rho", {"rate": 1e-5}, 1e-4),
        ("epsilon", {"dividend": 1e-5}, 1e-4),
    ):  # fmt: skip
        ((variable, h),) = moves.items()
        slope = (price(**{variable: h}) - price(**{variable: -h})) / (2 * abs(h))
        assert scaled[name] == pytest.approx(slope * unit, rel=1e-6)


def test_scale_of_aliases_arrays_and_frames():
    g = {"vomma": np.array([1.0, np.nan]), "psi": 2.0, "elasticity": 3.0, "bid": np.array([5.0])}
    scaled = options.scale(g, vega="point", rho="bp")
    assert scaled["vomma"][0] == 1e-4
    assert np.isnan(scaled["vomma"][1])
    assert (scaled["psi"], scaled["elasticity"], scaled["bid"][0]) == (2e-4, 3.0, 5.0)
    assert g["vomma"][0] == 1.0
    assert options.scale({"theta": pa.array([365.0])}, theta="day365")["theta"].to_pylist() == [1.0]
    table = {"theta": [365.0, None], "strike": [1.0, 2.0]}
    for frame in (pd.DataFrame(table), pl.DataFrame(table), pa.table(table)):
        made = options.scale(frame, theta="day365")
        assert type(made) is type(frame)
        assert made["theta"][0] == (pa.scalar(1.0) if isinstance(frame, pa.Table) else 1.0)
        assert list(np.asarray(made["strike"])) == [1.0, 2.0]


@pytest.mark.parametrize("unit", [{"theta": "day"}, {"vega": "bp"}, {"rho": "percent"}, {"theta": 365}])
def test_scale_refuses_unknown_units(unit):
    with pytest.raises(ParameterError, match=f"^{next(iter(unit))}: .* accepted are"):
        options.scale(ALL, **unit)


def frames():
    return {
        "pandas": pd.DataFrame(COLUMNS, index=[7, 3, 5, 1]),
        "pandas, Arrow types": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
        "pandas, categories": pd.DataFrame(COLUMNS).astype({"right": "category"}),
        "polars": pl.DataFrame(COLUMNS),
        "polars, lazy": pl.LazyFrame(COLUMNS),
        "arrow": pa.table(COLUMNS),
        "arrow, chunks": pa.concat_tables([pa.table(COLUMNS).slice(0, 3), pa.table(COLUMNS).slice(3)]),
        "arrow, batch": pa.RecordBatch.from_pydict(COLUMNS),
        "mapping": COLUMNS,
        "mapping of arrays": {k: np.asarray(v) for k, v in COLUMNS.items()},
        "mapping of strided arrays": {k: np.repeat(np.asarray(v), 2)[::2] for k, v in COLUMNS.items()},
        "mapping of Series": {k: pl.Series(v) for k, v in COLUMNS.items()},
    }


@pytest.mark.parametrize("kind", frames())
def test_every_kind_of_frame_has_the_same_numbers(kind):
    frame = frames()[kind]
    made = options.price_dataframe(frame, rate=0.03, outputs=("price", "delta", "vomma"))
    kept = {"polars, lazy": pl.DataFrame, "arrow, batch": pa.Table}.get(kind, type(frame))
    assert type(made) is kept
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(np.asarray(made[name]), expected)
    if kind == "pandas":
        assert list(made.index) == [7, 3, 5, 1]
        assert list(made.columns) == [*COLUMNS, "price", "delta", "vomma"]
        assert list(frame.columns) == list(COLUMNS)


def test_missing_values_are_rows_without_a_price():
    holes = {name: list(values) for name, values in COLUMNS.items()}
    holes["sigma"][0] = None
    holes["strike"][2] = None
    holes["right"][3] = None
    for frame in (pd.DataFrame(holes), pl.DataFrame(holes), pa.table(holes)):
        price = np.asarray(options.price_dataframe(frame, rate=0.03)["price"])
        assert np.isnan(price).tolist() == [True, False, True, True]
        assert price[1] == EXPECTED["price"][1]


def test_expiries_as_dates():
    days = [36, 182, 365, 730]
    start = datetime.date(2024, 2, 27)
    dates = [start + datetime.timedelta(days=d) for d in days]
    rest = {name: values for name, values in COLUMNS.items() if name != "years"}
    expected = options.price_dataframe({**rest, "years": np.array(days) / 365}, rate=0.03)["price"]
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    stamps = [datetime.datetime(d.year, d.month, d.day, 12, tzinfo=zone) for d in dates]
    for expiry, as_of in (
        (dates, start), (dates, "2024-02-27"), ([str(d) for d in dates], datetime.datetime(2024, 2, 27)),
        (np.array(dates, dtype="datetime64[D]"), np.datetime64("2024-02-27")),
        ([f"{d:%Y%m%d}" for d in dates], "20240227"), ([f"{d}T05:00:00+05:00" for d in dates], "2024-02-27T00:00Z"),
    ):  # fmt: skip
        for make in (pd.DataFrame, pl.DataFrame, pa.table, dict):
            made = options.price_dataframe(make({**rest, "expiry": expiry}), rate=0.03, as_of=as_of)
            np.testing.assert_allclose(np.asarray(made["price"]), expected, rtol=1e-14)
    zoned = datetime.datetime(2024, 2, 27, 17, tzinfo=datetime.timezone.utc)  # 12:00 in that zone
    for make in (pd.DataFrame, pl.DataFrame, pa.table, dict):
        made = options.price_dataframe(make({**rest, "expiry": stamps}), rate=0.03, as_of=zoned)
        np.testing.assert_allclose(np.asarray(made["price"]), expected, rtol=1e-14)
    past = options.price_dataframe({**rest, "expiry": dates}, rate=0.03, as_of="2030-01-01")
    assert np.isnan(past["price"]).all()


def test_dates_end_at_the_close():
    """Of a moment with a time of day, as in chains: also on the day itself."""
    frame = pd.DataFrame({"strike": [100.0, 100.0], "right": ["C", "P"], "expiry": ["2024-03-01", "2024-03-15"]})
    more = {"spot": 100.0, "vol": 0.2, "rate": 0.03}
    for close, hours in (("16:00", 6.0), ("10:30", 0.5), ("24:00", 14.0)):
        made = options.price_dataframe(frame, as_of="2024-03-01T10:00", close=close, **more)
        years = (np.array([0.0, 14.0]) + hours / 24) / 365
        np.testing.assert_allclose(
            made["price"], options.price(100.0, 100.0, years, 0.03, 0.0, 0.2, ["c", "p"])["price"]
        )
    chain = options.read_chain(
        frame.assign(bid=1.0, ask=1.1), as_of="2024-03-01T10:00", spot=100.0, rate=0.03, dividend=0
    )
    assert chain.years.tolist() == pytest.approx([6 / 24 / 365, (14 + 6 / 24) / 365])
    whole = options.price_dataframe(frame, as_of="2024-03-01", **more)["price"]
    np.testing.assert_allclose(whole, options.price(100.0, 100.0, [0.0, 14 / 365], 0.03, 0.0, 0.2, ["c", "p"])["price"])
    with pytest.raises(ParameterError, match="close: 'late' is no time of day"):
        options.price_dataframe(frame, as_of="2024-03-01T10:00", close="late", **more)


def test_numbers_instead_of_columns():
    frame = pd.DataFrame(
        {"strike": [90.0, 100.0], "right": ["C", "P"], "sigma": [0.5, 0.6], "mine": [0.2, 0.3]}, index=[4, 2]
    )
    made = options.price_dataframe(frame, spot=100.0, expiry=0.5, rate=0.03, vol="mine")
    np.testing.assert_array_equal(
        made["price"], options.price(100.0, [90.0, 100.0], 0.5, 0.03, 0.0, [0.2, 0.3], ["c", "p"])["price"]
    )
    assert made.index.tolist() == [4, 2]
    assert made[list(frame.columns)].equals(frame)
    other = options.price_dataframe(pl.DataFrame(frame), spot=[100.0, 101.0], expiry=0.5, rate=0.03)
    assert other["price"][1] == options.price(101.0, 100.0, 0.5, 0.03, 0.0, 0.6, "p")["price"]


def test_parts_by_name_number_array_and_column():
    table = {"S": 100.0, "K": [90.0, 100.0], "tau": [1.0, 1.0], "flag": ["c", "p"], "x": [0.2, 0.2], "y": [0.01, 0.02]}
    names = {"spot": "S", "strike": "K", "expiry": "tau", "vol": "x", "is_call": "flag"}
    made = options.price_dataframe(table, columns=names, rate="y", dividend=[0.0, 0.01], prefix="wq_")
    expected = options.price(100.0, [90.0, 100.0], 1.0, [0.01, 0.02], [0.0, 0.01], 0.2, ["c", "p"])["price"]
    np.testing.assert_array_equal(made["wq_price"], expected)
    forward = options.price_dataframe(table, columns=names, rate="y", model="displaced", shift=5.0)
    expected = options.price(
        100.0, [90.0, 100.0], 1.0, [0.01, 0.02], 0.0, 0.2, ["c", "p"], model="displaced", shift=5.0
    )
    np.testing.assert_array_equal(forward["price"], expected["price"])


def test_empty_and_one_row():
    none = options.price_dataframe(pl.DataFrame({k: v[:0] for k, v in COLUMNS.items()}), rate=0.03)
    assert none.shape == (0, 7)
    one = options.price_dataframe(pa.table({k: v[:1] for k, v in COLUMNS.items()}), rate=0.03)
    assert one["price"].to_pylist() == [EXPECTED["price"][0]]


@pytest.mark.parametrize(
    ("change", "more", "error", "text"),
    [
        ({"sigma": None}, {}, ParameterError, "vol: is neither given nor found"),
        ({"right": None}, {}, ParameterError, "is_call: no column"),
        ({}, {"rate": None}, ParameterError, "rate: is neither"),
        ({}, {"columns": {"vola": "sigma"}}, ParameterError, "columns: 'vola' is unknown"),
        ({}, {"columns": {"vol": "vola"}}, ParameterError, "has no column 'vola'"),
        ({"price": [1.0] * 4}, {}, ParameterError, "prefix: the table has a column 'price'"),
        ({}, {"outputs": "deltas"}, ParameterError, "outputs: 'deltas'"),
        ({"sigma": ["high"] * 4}, {}, DTypeError, "'sigma' holds no numbers"),
        ({"right": ["up"] * 4}, {}, ParameterError, "'up'"),
        ({"years": ["2025-01-01"] * 4}, {}, ParameterError, "as_of: is needed"),
        ({"years": ["2025-01-01"] * 4}, {"as_of": "soon"}, ParameterError, "as_of: 'soon' is no time"),
        ({}, {"rate": [0.1, 0.2]}, ShapeError, "rate: has shape"),
        ({"sigma": [0.1] * 3}, {}, ShapeError, "rows"),
        ({"sigma": np.ones((4, 2))}, {}, ShapeError, "'sigma' has 2 dimensions"),
    ],
)
def test_what_is_refused(change, more, error, text):
    table = {k: v for k, v in {**COLUMNS, **change}.items() if v is not None}
    with pytest.raises(error, match=text):
        options.price_dataframe(table, **{"rate": 0.03, **more})


def test_no_table_and_double_names():
    with pytest.raises(DTypeError, match="is no table"):
        options.price_dataframe([1.0, 2.0])
    twice = pd.DataFrame([[1.0, 2.0]], columns=["strike", "strike"])
    with pytest.raises(ParameterError, match="several columns named 'strike'"):
        options.price_dataframe(twice)


def test_expiries_given_as_dates():
    frame = {"spot": [100.0, 100.0], "strike": [100.0, 110.0], "vol": [0.2, 0.2], "type": ["c", "p"]}
    more = {"rate": 0.03, "as_of": "2026-07-01"}
    expected = options.price_dataframe({**frame, "expiry": ["2027-01-01"] * 2}, **more)["price"]
    days = np.array(["2027-01-01"] * 2, "M8[D]")
    for given in (days, days.astype("M8[ns]"), ["2027-01-01"] * 2, datetime.date(2027, 1, 1), days[0]):
        np.testing.assert_array_equal(options.price_dataframe(frame, expiry=given, **more)["price"], expected)
    with pytest.raises(ParameterError, match="as_of: is needed"):
        options.price_dataframe(frame, expiry=days, rate=0.03)
    with pytest.raises(DTypeError, match=r"rate: holds datetime64\[D\] values"):
        options.price_dataframe(frame, expiry=1.0, rate=days)
