# SPDX-License-Identifier: Apache-2.0
"""Timeframes: calendar rules against pandas, bars as they come against whole series, ATC against one run."""

from __future__ import annotations

import datetime
import zoneinfo

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from checks import same_bits, walk
from warpquant import atc
from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError
from warpquant.timeframes import MultiStream, Resampler, Timeframe, resample

pd = pytest.importorskip("pandas")

OUTPUTS = ("average", "trend", "direction")
BERLIN, NEW_YORK, SYDNEY = "Europe/Berlin", "America/New_York", "Australia/Sydney"
#: Zones whose clocks change at midnight, by half an hour, by a whole day.
ODD = ("America/Havana", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")


def minutes(first, count, step=15):
    return np.datetime64(first, "ns") + np.arange(count) * np.timedelta64(step, "m")


def oracle(times, prices, text, tz="UTC", session="00:00"):
    """Starts and last prices by pandas: each day by itself, counted from its beginning; or whole days."""
    sign = -1 if session.startswith("-") else 1
    hours, mins = session.lstrip("+-").split(":")
    shift = sign * pd.Timedelta(hours=int(hours), minutes=int(mins))
    series = pd.Series(prices, pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(tz)).dropna()
    wall = series.index.tz_localize(None) - shift
    days = wall.normalize()
    unit, count = text[-1], int(text[:-1])
    bars = {}
    if unit in "smh":
        step = pd.Timedelta(count, unit={"m": "min"}.get(unit, unit))
        for day, part in series.groupby(days):
            begin = (day + shift).tz_localize(tz).tz_convert("UTC")
            part = part.tz_convert("UTC").resample(step, origin=begin).last().dropna()
            bars.update(part.items())
    else:
        rule = {"d": f"{count}D", "w": "W-MON", "M": "MS"}[unit]
        parts = pd.Series(series.to_numpy(), days)
        parts = parts.groupby(level=0).last()
        if unit == "d":
            parts = parts.resample(rule, origin="epoch").last()
        elif unit == "w":
            parts = parts.resample(rule, label="left", closed="left").last()
        else:
            parts = parts.groupby(parts.index.to_period("M").start_time).last()
        for day, value in parts.dropna().items():
            bars[(day + shift).tz_localize(tz).tz_convert("UTC")] = value
    starts = np.array([t.tz_localize(None).to_datetime64() for t in bars], dtype="datetime64[ns]")
    return starts, np.array(list(bars.values()), dtype=np.float64)


# ---- calendar


@pytest.mark.parametrize("text", ["1m", "15m", "45m", "1h", "4h", "7h", "24h", "1d", "2d", "1w", "1M"])
@pytest.mark.parametrize(
    ("tz", "session"),
    [("UTC", "00:00"), (BERLIN, "00:00"), (NEW_YORK, "-07:00"), (NEW_YORK, "09:30"), (SYDNEY, "00:00")],
)
def test_bars_are_those_of_pandas(text, tz, session):
    """Over both changes of the clocks, with a gap of ten days."""
    for first in ("2024-03-20T01:07", "2024-10-01T01:07"):
        times = minutes(first, 2600, 27)
        times = np.r_[times[:900], times[1450:]]
        prices = walk(len(times))
        starts, closes = resample(times, prices, Timeframe(text, tz, session))
        wanted, values = oracle(times, prices, text, tz, session)
        np.testing.assert_array_equal(starts, wanted)
        same_bits(closes, values)


def test_whole_hours_are_those_of_one_resample():
    """Where bars divide the hour, pandas needs no help with the days."""
    times = minutes("2024-10-20T00:00", 1500)
    prices = walk(len(times))
    index = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(BERLIN)
    for text, rule in (("15m", "15min"), ("1h", "1h"), ("1d", "1D")):
        wanted = pd.Series(prices, index).resample(rule).last().dropna()
        starts, closes = resample(times, prices, Timeframe(text, BERLIN))
        np.testing.assert_array_equal(starts, wanted.index.tz_convert("UTC").tz_localize(None).to_numpy())
        same_bits(closes, wanted.to_numpy())


def test_days_on_which_the_clocks_change():
    for day, hours in (("2024-03-31", 23), ("2024-10-27", 25), ("2024-07-01", 24)):
        moment = datetime.datetime.fromisoformat(day).replace(tzinfo=zoneinfo.ZoneInfo(BERLIN))
        begin, end = Timeframe("1d", BERLIN).bounds(moment)
        assert (end - begin) / np.timedelta64(1, "h") == hours
        every = np.arange(begin, end, np.timedelta64(5, "m"))
        assert len(np.unique(Timeframe("1h", BERLIN).bar_of(every))) == hours
        fours = np.unique(Timeframe("4h", BERLIN).bar_of(every))
        np.testing.assert_array_equal(fours, begin + np.arange(-(-hours // 4)) * np.timedelta64(4, "h"))
        assert Timeframe("4h", BERLIN).bounds(every[-1])[1] == end


def test_weeks_months_and_several_days():
    assert str(Timeframe("1w").bar_of("2024-03-03T23:59"))[:16] == "2024-02-26T00:00"
    assert str(Timeframe("1w").bar_of("2024-03-04"))[:16] == "2024-03-04T00:00"
    assert str(Timeframe("1w", NEW_YORK, "-07:00").bar_of("2024-03-03T22:00"))[:16] == "2024-03-03T22:00"  # 17:00 EST
    assert str(Timeframe("3M").bar_of("2024-06-30T23:00"))[:16] == "2024-04-01T00:00"
    assert str(Timeframe("12M").bounds("2024-06-30T23:00")[1])[:10] == "2025-01-01"
    assert str(Timeframe("1M").bar_of("1969-12-31T23:59"))[:10] == "1969-12-01"
    assert str(Timeframe("2d").bar_of("1969-12-31T23:59"))[:10] == "1969-12-30"


@settings(max_examples=40)
@given(
    st.sampled_from(["20s", "7m", "1h", "5h", "1d", "3d", "1w", "2w", "1M", "5M"]),
    st.sampled_from(["UTC", BERLIN, NEW_YORK, *ODD]),
    st.sampled_from(["00:00", "-07:00", "09:30", "02:30"]),
    st.lists(st.integers(-(10**18), 3 * 10**18), min_size=1, max_size=20),
)
def test_bars_cover_time_without_gap_or_overlap(text, tz, session, numbers):
    frame = Timeframe(text, tz, session)
    times = np.sort(np.array(numbers)).view("datetime64[ns]")
    start, end = frame.bounds(times)
    assert ((start <= times) & (times < end)).all()
    assert (np.diff(start.view(np.int64)) >= 0).all()
    np.testing.assert_array_equal(frame.bar_of(start), start)
    np.testing.assert_array_equal(frame.bar_of(end - 1), start)
    np.testing.assert_array_equal(frame.bar_of(end), end)
    if text.endswith("h"):
        assert (end - start <= np.timedelta64(int(text[:-1]), "h")).all()


def test_a_day_that_was_left_out():
    """Samoa went from 29 to 31 December 2011."""
    begin, end = Timeframe("1d", "Pacific/Apia").bounds("2011-12-30T09:59")
    assert (str(begin)[:16], str(end)[:16]) == ("2011-12-29T10:00", "2011-12-30T10:00")
    assert str(Timeframe("1d", "Pacific/Apia").bounds("2011-12-30T10:00")[1])[:16] == "2011-12-31T10:00"


def test_times_of_any_kind():
    frame, wanted = Timeframe("1h"), np.datetime64("2024-03-01T09:00", "ns")
    zone = zoneinfo.ZoneInfo(BERLIN)
    for time in (
        "2024-03-01T09:59:59",
        "2024-03-01T09:59:59Z",
        "2024-03-01T10:30:00+01:00",
        "2024/03/01 04:59:59.123456789-0500",
        datetime.datetime(2024, 3, 1, 9, 30),
        datetime.datetime(2024, 3, 1, 10, 30, tzinfo=zone),
        pd.Timestamp("2024-03-01 10:30", tz=BERLIN),
        pd.Timestamp("2024-03-01 09:30"),
        np.datetime64("2024-03-01T09:30", "m"),
    ):
        assert frame.bar_of(time) == wanted
    index = pd.date_range("2024-03-01 10:30", periods=3, freq="h", tz=BERLIN)
    np.testing.assert_array_equal(frame.bar_of(index), wanted + np.arange(3) * np.timedelta64(1, "h"))
    np.testing.assert_array_equal(frame.bar_of(pd.Series(index)), frame.bar_of(index))
    np.testing.assert_array_equal(frame.bar_of(index.to_numpy().reshape(1, 3)), frame.bar_of(index).reshape(1, 3))
    assert np.isnat(frame.bar_of(np.array(["NaT", "2024-03-01"], "datetime64[s]"))).tolist() == [True, False]
    assert frame.bar_of(np.empty(0, "datetime64[ns]")).shape == (0,)
    assert Timeframe("1h", BERLIN).bar_of(np.empty(0, "datetime64[ns]")).shape == (0,)


@pytest.mark.parametrize(
    "text", ["", "h", "0h", "15", "1y", "-1h", "1.5h", "25h", "1441m", "9999d", "1 h", "1H", None, 15]
)
def test_timeframes_that_are_refused(text):
    with pytest.raises(ParameterError, match="timeframe"):
        Timeframe(text)


def test_other_arguments_that_are_refused():
    with pytest.raises(ParameterError, match="tz: 'Mars/Olympus'"):
        Timeframe("1h", "Mars/Olympus")
    with pytest.raises(ParameterError, match="tz"):
        Timeframe("1h", "../../etc/passwd")
    for session in ("9:30", "24:00", "", "00:60", None):
        with pytest.raises(ParameterError, match="session"):
            Timeframe("1h", session=session)
    for times in ([1, 2], [1.0], True):
        with pytest.raises(DTypeError):
            Timeframe("1h").bar_of(times)
    dates = ["yesterday", "2024-02-30", "2024-01-01T25:00", "now", "", ["2024-01-01", "x"], [None, 3]]
    for times in [*dates, np.array(["3000-01-01"], "datetime64[s]")]:
        with pytest.raises(ParameterError, match="times"):
            Timeframe("1h").bar_of(times)
    with pytest.raises(ShapeError, match="prices"):
        resample(minutes("2024-01-01", 3), [1.0, 2.0], "1h")
    with pytest.raises(ParameterError, match=r"times\[1\]: 2024-01-01 comes after 2024-01-02"):
        resample(np.array(["2024-01-02", "2024-01-01"], "datetime64[D]"), [1.0, 2.0], "1h")
    with pytest.raises(ParameterError, match=r"times\[1\]: is missing"):
        resample(np.array(["2024-01-02", "NaT"], "datetime64[D]"), [1.0, 2.0], "1h")
    with pytest.raises(ParameterError, match="stamp"):
        resample(minutes("2024-01-01", 1), [1.0], "1h", stamp="middle")
    with pytest.raises(ParameterError, match="'1h'"):
        MultiStream(timeframes=("1h", "1h"))
    with pytest.raises(ParameterError, match="timeframes"):
        MultiStream(timeframes=())
    with pytest.raises(ParameterError, match="'A' is there twice"):
        MultiStream(symbols=["A", "A"])


def test_stamps_of_ends():
    """Bars that end at 10:00 belong to the hour before."""
    times, prices = minutes("2024-03-01T09:15", 8), np.arange(8.0)
    starts, closes = resample(times, prices, "1h", stamp="end")
    assert closes.tolist() == [3.0, 7.0]
    np.testing.assert_array_equal(starts, resample(times - np.timedelta64(15, "m"), prices, "1h")[0])
    one = Resampler("1h", ["A"], stamp="end")
    got = [one.update(t, [p])[1][0] for t, p in zip(times, prices, strict=True)]
    assert [x for x in got if x == x] == [3.0]
    assert one.close("2024-03-01T11:00")[1].tolist() == [7.0]


# ---- bars as they come


def feed(seed=0, bars=1200, first="2024-03-25T00:00", step=15):
    """Three symbols: one of all moments, one with holes and gaps, one that starts late."""
    rng = np.random.default_rng(seed)
    times = minutes(first, bars, step)
    prices = np.stack([walk(bars, seed + i) * (i + 1) for i in range(3)])
    prices[1, rng.random(bars) < 0.4] = np.nan
    prices[1, 300:420] = np.inf
    prices[2, : bars // 2] = np.nan
    return times, prices


FRAMES = ("15m", "1h", "4h", "1d")


def check(stream, times, prices, params=None, frames=FRAMES, tz="UTC", finished_all=False):
    """Every symbol and timeframe: count of bars, last values, and those of the running bar, against one run of ATC."""
    last, peek = stream.last(), stream.peek()
    for name in frames:
        for i, row in enumerate(prices):
            row = np.where(np.isfinite(row), row, np.nan)
            starts, closes = oracle(times, row, name, tz)
            done = len(closes) if finished_all else max(len(closes) - 1, 0)
            assert stream.bars[name][i] == done
            for bars, count in ((last[name], done), (peek[name], len(closes))):
                if not count:
                    assert np.isnat(bars.start[i])
                    continue
                assert (bars.start[i], bars.close[i]) == (starts[count - 1], closes[count - 1])
                wanted = atc.run(closes[:count], params, outputs=OUTPUTS, last_only=True)
                for output in OUTPUTS:
                    same_bits(bars.outputs[output][i], wanted[output], f"{name} {output} of {i}")


@pytest.mark.parametrize("tz", ["UTC", BERLIN])
@pytest.mark.parametrize("first", ["2024-03-25T00:00", "2024-10-22T03:15"])
def test_bar_by_bar_equals_one_run(tz, first):
    times, prices = feed(first=first, bars=700)
    stream = MultiStream(symbols=["A", "B", "C"], timeframes=FRAMES, tz=tz, outputs=OUTPUTS)
    count = dict.fromkeys(FRAMES, 0)
    seen = {name: [[], [], []] for name in FRAMES}
    for time, row in zip(times, prices.T, strict=True):
        for name, bars in stream.update(time, row).items():
            for i in np.flatnonzero(bars.finished):
                seen[name][i].append((bars.start[i], bars.outputs["average"][i]))
                count[name] += 1
    check(stream, times, prices, tz=tz)
    for name in FRAMES:  # and every value on the way
        for i, row in enumerate(prices):
            starts, closes = oracle(times, np.where(np.isfinite(row), row, np.nan), name, tz)
            wanted = atc.run(closes)["average"][:-1]
            same_bits([v for _, v in seen[name][i]], wanted)
            assert [s for s, _ in seen[name][i]] == starts[:-1].tolist() or np.array_equal(
                [s for s, _ in seen[name][i]], starts[:-1]
            )
    assert count["15m"] > count["1h"] > count["4h"] > count["1d"] > 0


def test_a_history_and_then_bar_by_bar():
    times, prices = feed()
    for cut in (0, 1, 611, 1200):
        stream = MultiStream(symbols=["A", "B", "C"], timeframes=FRAMES, outputs=OUTPUTS)
        stream.update_many(times[: cut // 2], prices[:, : cut // 2])
        stream.update_many(times[cut // 2 : cut], prices[:, cut // 2 : cut])
        for time, row in zip(times[cut : cut + 60], prices[:, cut : cut + 60].T, strict=True):
            stream.update(time, row)
        stream.update_many(times[cut + 60 :], prices[:, cut + 60 :])
        check(stream, times, prices)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 60), max_size=6))
def test_resampler_in_pieces(seed, pieces):
    """Whatever the pieces, and one by one: the same bars."""
    times, prices = feed(seed, bars=200, step=23)
    one, many = Resampler("4h", ["A", "B", "C"]), Resampler("4h", ["A", "B", "C"])
    bars = [[], [], []]
    for time, row in zip(times, prices.T, strict=True):
        starts, closes = one.update(time, row)
        for i in np.flatnonzero(~np.isnat(starts)):
            bars[i].append((starts[i], closes[i]))
    got, at = [[], [], []], 0
    for piece in [*pieces, 200]:
        starts, closes = many.update_many(times[at : at + piece], prices[:, at : at + piece])
        at += piece
        for i in range(3):
            some = ~np.isnan(closes[i])
            got[i] += zip(starts[some], closes[i][some], strict=True)
    assert got == bars
    for name in ("running", "finished"):
        for a, b in zip(getattr(one, name), getattr(many, name), strict=True):
            np.testing.assert_array_equal(a, b)


def test_ticks():
    """Several prices of one moment: the last counts."""
    stream = MultiStream(symbols=["A"], timeframes=["1h"])
    for price in (1.0, 2.0, 3.0):
        stream.update("2024-03-01T09:15", {"A": price})
    assert stream._resamplers["1h"].running[1].tolist() == [3.0]
    assert stream.update("2024-03-01T10:00", {"A": 4.0})["1h"].finished.tolist() == [True]
    assert stream.bars["1h"].tolist() == [1]


def test_close_finishes_what_has_ended():
    times, prices = feed(bars=500)
    stream = MultiStream(symbols=["A", "B", "C"], timeframes=FRAMES, outputs=OUTPUTS)
    stream.update_many(times, prices)
    end = Timeframe("1d").bounds(times[-1])[1]
    before = stream.close(end - np.timedelta64(1, "ns"))
    assert not before["1d"].finished.any()
    assert before["15m"].finished.tolist() == [True, True, True]
    after = stream.close(end)
    assert after["1d"].finished.all()
    check(stream, times, prices, finished_all=True)
    with pytest.raises(ParameterError, match=r"time: A: .* comes after the 1d bar from .* was finished"):
        stream.update(end - np.timedelta64(1, "s"), {"A": 1.0})
    assert stream.update(end, {"A": 1.0})["1d"].finished.tolist() == [False] * 3


def test_late_prices_are_refused_and_change_nothing():
    times, prices = feed(bars=300)
    prices[2, 200:] = np.nan
    stream = MultiStream(symbols=["A", "B", "C"], timeframes=FRAMES, outputs=OUTPUTS)
    stream.update_many(times, prices)
    with pytest.raises(
        ParameterError, match=r"time: A: 2024-03-25 00:00:00 comes after|time: A: 2024-03-25 comes after 2024-03-28"
    ):
        stream.update(times[0], {"B": 1.0, "A": 2.0})
    with pytest.raises(ParameterError, match="time: A: "):
        stream.update_many(times[:5], prices[:, :5])
    check(stream, times, prices)
    stream.update(times[0], {"A": np.nan})  # nothing, so nothing late
    stream.update(times[200], {"C": 5.0})  # the others are ahead: each symbol has its own times
    for bad in ({"X": 1.0}, [1.0], np.ones((3, 1))):
        with pytest.raises((ParameterError, ShapeError), match="prices"):
            stream.update(times[-1], bad)
    for bad in (["2024-01-01"], "NaT", np.datetime64("NaT")):
        with pytest.raises(ParameterError, match="time"):
            stream.update(bad, prices[:, 0])


def test_symbols_come_and_go():
    times, prices = feed(bars=400)
    stream = MultiStream(symbols=["A"], timeframes=FRAMES, outputs=OUTPUTS)
    for time, row in zip(times[:100], prices.T[:100], strict=True):
        stream.update(time, row[:1])
    stream.add(["B", "C"])
    assert stream.symbols == ("A", "B", "C")
    stream.update_many(times[100:], prices[:, 100:])
    late = prices.copy()
    late[1:, :100] = np.nan
    check(stream, times, late)
    stream.remove("A")
    assert stream.symbols == ("B", "C")
    check(stream, times, late[1:])
    with pytest.raises(ParameterError, match="'A' is unknown"):
        stream.remove(["B", "A"])
    with pytest.raises(ParameterError, match="'B' is there twice"):
        stream.add("B")
    assert stream.symbols == ("B", "C")


def test_real_prices(shared):
    """Quarter hours of four perpetual futures over a change of the clocks: history, then bar by bar."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = shared / "data/crypto/perp_15m_2024_2025.parquet"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the shared folder")
    table = parquet.read_table(path, columns=["symbol", "ts", "close"]).to_pandas()
    wide = table.pivot(index="ts", columns="symbol", values="close").loc["2025-03-01":"2025-04-20"].iloc[:, :4]
    times, prices = wide.index.tz_convert(None).to_numpy(), wide.to_numpy().T
    frames = ("1h", "4h", "1d", "1w")
    stream = MultiStream({"compat": "pine"}, list(wide.columns), frames, tz=NEW_YORK, outputs=OUTPUTS)
    stream.update_many(times[:-600], prices[:, :-600])
    for time, row in zip(times[-600:], prices[:, -600:].T, strict=True):
        stream.update(time, row)
    check(stream, times, prices, {"compat": "pine"}, frames, NEW_YORK)


# ---- saved states


def test_a_state_goes_on_where_it_was(tmp_path):
    times, prices = feed(bars=800)
    params = {"compat": "pine", "ema_len": 20}
    stream = MultiStream(params, ["A", "B", "C"], FRAMES, tz=BERLIN, outputs=OUTPUTS)
    stream.update_many(times[:500], prices[:, :500])
    stream.save(tmp_path / "state")
    again = MultiStream.load(tmp_path / "state")
    assert (again.symbols, again.timeframes, again.params) == (stream.symbols, stream.timeframes, stream.params)
    np.testing.assert_array_equal(again.time, stream.time)
    for one in (stream, again):
        for time, row in zip(times[500:], prices[:, 500:].T, strict=True):
            one.update(time, row)
        check(one, times, prices, params, tz=BERLIN)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_damaged_states_are_refused(tmp_path):
    path = tmp_path / "state"
    stream = MultiStream(symbols=["A"], timeframes=["1h", "1d"])
    times = minutes("2024-03-01", 300)
    stream.update_many(times, walk(300)[None])
    stream.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in [0, 5, 30, 80, 500, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(StateError, match="state"):
            MultiStream.load(path)
    for at in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(StateError):
            MultiStream.load(path)
    path.write_bytes(whole.replace(b"warpquant.timeframes/1", b"warpquant.timeframes/9", 1))
    with pytest.raises(StateError, match=r"holds warpquant.timeframes/9; this version reads warpquant.timeframes/1"):
        MultiStream.load(path)
    path.write_bytes(whole)
    assert MultiStream.load(path).symbols == ("A",)
