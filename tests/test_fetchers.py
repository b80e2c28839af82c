# SPDX-License-Identifier: Apache-2.0
"""Fetchers against recorded answers: pages, limits, errors; no network."""

from __future__ import annotations

import json
import pathlib
import sys
import types
import urllib.parse

import numpy as np
import pytest

from checks import walk
from warpquant import scan_all_symbols
from warpquant.errors import ParameterError
from warpquant.fetchers import Bars, CcxtFetcher, Fetcher, YfinanceFetcher, _Calls
from warpquant.scan import scan
from warpquant.scanner import scan_source
from warpquant.sources import open_source

RECORDED = pathlib.Path(__file__).parent / "recorded"
HOUR = 3_600_000
pd = pytest.importorskip("pandas")


def recorded(name):
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


KLINES = recorded("binance_klines.json")
CLOSES = np.array([float(bar[4]) for bar in KLINES])


class NetworkError(Exception):
    """As ccxt has it."""


class Exchange:
    """What of an exchange of ccxt is used, with its documented answers, `page` bars at a time."""

    id = "example"
    enableRateLimit = False
    rateLimit = 50

    def __init__(self, page=50, now=KLINES[-1][0] + 1000, fails=()):
        self.page, self.now, self.fails, self.calls = page, now, list(fails), []

    def load_markets(self):
        return {
            "ETH/USDT": {"active": True, "quote": "USDT"},
            "BTC/USDT": {"active": None, "quote": "USDT"},
            "ETH/BTC": {"active": True, "quote": "BTC"},
            "OLD/USDT": {"active": False, "quote": "USDT"},
        }

    def parse_timeframe(self, timeframe):
        assert timeframe == "1h"
        return 3600

    def milliseconds(self):
        return self.now

    def fetch_ohlcv(self, symbol, timeframe, since, limit):
        self.calls.append((symbol, since, limit))
        if self.fails:
            raise self.fails.pop(0)
        rows = [[bar[0], *map(float, bar[1:6])] for bar in KLINES if bar[0] >= since]
        return rows[: min(limit, self.page)]


def naps():
    """A sleep that remembers."""
    slept = []
    return slept, slept.append


# ---- ccxt ----


@pytest.mark.parametrize("page", [1, 7, 50, 1000])
def test_pages_follow_each_other(page):
    _, sleep = naps()
    exchange = Exchange(page)
    bars = CcxtFetcher(exchange, "1h", 100, sleep=sleep).fetch("BTC/USDT")
    assert np.array_equal(bars.close, CLOSES[-101:-1])  # the last bar is under way
    assert bars.time[0] == np.datetime64(KLINES[-101][0], "ms")
    assert bars.time.dtype == np.dtype("datetime64[ms]")
    assert len(exchange.calls) == -(-101 // page)


def test_the_bar_under_way_is_left_out_unless_asked_for():
    _, sleep = naps()
    bars = CcxtFetcher(Exchange(), "1h", 10, closed_only=False, sleep=sleep).fetch("BTC/USDT")
    assert np.array_equal(bars.close, CLOSES[-10:])
    ended = Exchange(now=KLINES[-1][0] + HOUR)
    bars = CcxtFetcher(ended, "1h", 10, sleep=sleep).fetch("BTC/USDT")
    assert np.array_equal(bars.close, CLOSES[-10:])


def test_a_young_market_has_fewer_bars():
    _, sleep = naps()
    bars = CcxtFetcher(Exchange(), "1h", 1500, sleep=sleep).fetch("BTC/USDT")
    assert len(bars.close) == len(KLINES) - 1


@pytest.mark.parametrize("window", [100, 300])
@pytest.mark.parametrize("gap", [False, True])
def test_exchanges_that_look_at_a_window(window, gap):
    """Their pages before the first bar of a young market are empty, and so are those within a halt of trading."""
    bars = [bar for i, bar in enumerate(KLINES) if not gap or not 3 <= i < 110]

    class Windowed(Exchange):
        def fetch_ohlcv(self, symbol, timeframe, since, limit):
            self.calls.append(since)
            stop = since + min(limit, window) * HOUR
            return [[bar[0], *map(float, bar[1:6])] for bar in bars if since <= bar[0] < stop]

    _, sleep = naps()
    exchange = Windowed()
    found = CcxtFetcher(exchange, "1h", 5000, sleep=sleep).fetch("BTC/USDT")
    assert found.close.tolist() == [float(bar[4]) for bar in bars[:-1]]
    assert len(exchange.calls) <= 60
    nothing = CcxtFetcher(Windowed(now=KLINES[0][0] - HOUR), "1h", 500, sleep=sleep).fetch("BTC/USDT")
    assert len(nothing.close) == 0


@pytest.mark.parametrize("hours", [0, -8, 5])
@pytest.mark.parametrize("page", [1, 7, 500])
@pytest.mark.parametrize("timeframe", ["1M", "3M", "1w", "1d"])
def test_long_bars(timeframe, page, hours):
    """As many closed ones as were asked for, of months as long as they are, and never the one under way."""
    first, step = {
        "1M": ("2000-01", np.timedelta64(1, "M")), "3M": ("1950-01", np.timedelta64(3, "M")),
        "1w": ("2012-01-02", np.timedelta64(7, "D")), "1d": ("2023-01-01", np.timedelta64(1, "D")),
    }[timeframe]  # fmt: skip
    starts = np.datetime64(first) + np.arange(300) * step
    starts = (starts.astype("datetime64[ms]") + np.timedelta64(hours, "h")).astype(np.int64)

    class Long(Exchange):
        def parse_timeframe(self, text):
            return {"1M": 30, "3M": 90, "1w": 7, "1d": 1}[text] * 86_400

        def fetch_ohlcv(self, symbol, text, since, limit):
            at = np.flatnonzero((starts >= since) & (starts <= self.now))[: min(limit, page)]
            return [[int(starts[i]), *[float(i)] * 5] for i in at]

    _, sleep = naps()
    for bar in (290, 291, 292, 293):
        for now, closed in ((starts[bar + 1] - 1, bar - 1), (starts[bar + 1], bar)):
            fetcher = CcxtFetcher(Long(now=int(now)), timeframe, 120, sleep=sleep)
            assert fetcher.fetch("BTC/USDT").close.tolist() == list(range(closed - 119, closed + 1))


def test_other_prices_and_missing_ones():
    _, sleep = naps()
    bars = CcxtFetcher(Exchange(), "1h", 5, price="high", sleep=sleep).fetch("BTC/USDT")
    assert bars.close.tolist() == [float(bar[2]) for bar in KLINES[-6:-1]]
    exchange = Exchange()
    whole = exchange.fetch_ohlcv
    exchange.fetch_ohlcv = lambda *a: [[*row[:4], None, row[5]] for row in whole(*a)]
    assert np.isnan(CcxtFetcher(exchange, "1h", 5, sleep=sleep).fetch("BTC/USDT").close).all()


def test_the_limit_of_the_exchange_is_kept():
    slept, sleep = naps()
    fetcher = CcxtFetcher(Exchange(10), "1h", 100, sleep=sleep)
    fetcher.fetch("BTC/USDT")
    assert len(slept) == 10  # all but the first of eleven
    assert all(0 < seconds <= 0.05 * 11 for seconds in slept)
    patient = Exchange(10)
    patient.enableRateLimit = True  # ccxt waits then
    slept, sleep = naps()
    CcxtFetcher(patient, "1h", 100, sleep=sleep).fetch("BTC/USDT")
    assert slept == []


def test_network_errors_are_tried_again():
    slept, sleep = naps()

    class RequestTimeout(NetworkError):
        pass

    exchange = Exchange(1000, fails=[NetworkError("busy"), RequestTimeout("slow")])
    exchange.enableRateLimit = True
    bars = CcxtFetcher(exchange, "1h", 100, sleep=sleep).fetch("BTC/USDT")
    assert len(bars.close) == 100
    assert len(exchange.calls) == 3
    assert 0.5 <= slept[0] <= 1
    assert 1 <= slept[1] <= 2
    for fails, calls in (([NetworkError("busy")] * 3, 3), ([KeyError("no such market")], 1)):
        exchange = Exchange(1000, fails=list(fails))
        with pytest.raises(type(fails[0])):
            CcxtFetcher(exchange, "1h", 100, retries=2, sleep=sleep).fetch("BTC/USDT")
        assert len(exchange.calls) == calls


def test_a_scan_of_an_exchange():
    _, sleep = naps()
    exchange = Exchange(1000)
    fetcher = CcxtFetcher(exchange, "1h", 100, quote="USDT", sleep=sleep)
    assert isinstance(fetcher, Fetcher)
    assert fetcher.list_symbols() == ["BTC/USDT", "ETH/USDT"]
    whole = exchange.fetch_ohlcv

    def broken(symbol, *more):
        if symbol == "ETH/USDT":
            raise ValueError("delisted\nwith a long story")
        return whole(symbol, *more)

    exchange.fetch_ohlcv = broken
    result = scan_source(fetcher, flips=False)
    assert [(f.symbol, f.reason, f.message) for f in result.failures] == [
        ("ETH/USDT", "not_fetched", "could not be fetched: ValueError: delisted")
    ]
    (row,) = result.rows
    assert row.average == scan({"x": CLOSES[-101:-1]}).rows[0].average
    assert row.time == np.datetime64(KLINES[-2][0], "ms")
    long, short = scan_all_symbols(fetcher, min_signal=0)
    assert [*long["exchange"], *short["exchange"]] == ["example"]


def test_a_real_exchange_of_ccxt():
    """The library itself, with recorded answers of the exchange below it."""
    ccxt = pytest.importorskip("ccxt")
    exchange = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}, "enableRateLimit": False})
    paths = []

    def fetch(url, method="GET", headers=None, body=None):
        parts = urllib.parse.urlsplit(url)
        asked = dict(urllib.parse.parse_qsl(parts.query))
        paths.append(parts.path)
        if parts.path.endswith("/exchangeInfo"):
            return recorded("binance_exchange_info.json")
        if asked["symbol"] == "ETHUSDT":
            raise ccxt.RequestTimeout("no answer")
        return [bar for bar in KLINES if bar[0] >= int(asked["startTime"])][: int(asked["limit"])]

    exchange.fetch = fetch
    exchange.milliseconds = lambda: KLINES[-1][0] + 1000
    _, sleep = naps()
    fetcher = CcxtFetcher(exchange, "1h", 100, quote="USDT", retries=1, sleep=sleep)
    assert fetcher.exchange_name == "binance"
    result = scan_source(fetcher)
    assert [row.symbol for row in result.rows] == ["BTC/USDT"]
    assert result.rows[0].price == CLOSES[-2]
    assert [f.message for f in result.failures] == ["could not be fetched: RequestTimeout: no answer"]
    assert [path.rpartition("/")[2] for path in paths] == ["exchangeInfo", "klines", "klines", "klines"]


def test_exchanges_by_name(monkeypatch):
    module = types.ModuleType("ccxt")
    module.exchanges, module.example = ["example"], Exchange
    monkeypatch.setitem(sys.modules, "ccxt", module)
    assert CcxtFetcher("example").exchange_name == "example"
    with pytest.raises(ParameterError, match="none that ccxt knows"):
        CcxtFetcher("nowhere")
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(ImportError, match=r"warpquant\[ccxt\]"):
        CcxtFetcher("example")


@pytest.mark.parametrize("wrong", [{"price": "volume"}, {"limit": 0}, {"retries": -1}])
def test_wrong_arguments(wrong):
    with pytest.raises(ParameterError):
        CcxtFetcher(Exchange(), **wrong)


# ---- yfinance ----


class YFRateLimitError(Exception):
    """As yfinance has it."""


@pytest.fixture
def yahoo(monkeypatch):
    """The library with a recorded history of every ticker but one that is unknown."""
    module = types.ModuleType("yfinance")
    module.asked, module.fails = [], []
    found = recorded("yahoo_history.json")

    class Ticker:
        def __init__(self, symbol):
            self.symbol = symbol

        def history(self, **asked):
            module.asked.append((self.symbol, asked))
            if module.fails:
                raise module.fails.pop(0)
            if self.symbol == "GONE":
                return pd.DataFrame(columns=found["columns"], dtype=np.float64)
            index = pd.to_datetime(pd.Index(found["index"])).tz_convert("America/New_York")
            return pd.DataFrame(found["data"], columns=found["columns"], index=index.rename("Date"))

    module.Ticker = Ticker
    monkeypatch.setitem(sys.modules, "yfinance", module)
    return module


def test_a_scan_of_yahoo(yahoo):
    slept, sleep = naps()
    fetcher = YfinanceFetcher(["AAPL", "GONE", "MSFT"], "5y", "1d", per_second=4, sleep=sleep)
    result = scan_source(fetcher)
    assert [(f.symbol, f.reason) for f in result.failures] == [("GONE", "empty")]
    assert {row.symbol for row in result.rows} == {"AAPL", "MSFT"}
    closes = np.array([row[3] for row in recorded("yahoo_history.json")["data"]])
    assert result.rows[0].average == scan({"x": closes}).rows[0].average
    assert str(result.rows[0].time)[:19] == "2024-03-25T05:00:00"
    assert yahoo.asked[0] == ("AAPL", {"period": "5y", "interval": "1d", "auto_adjust": True, "actions": False})
    assert len(slept) == 2
    assert 0 < slept[0] <= 0.25 < slept[1] <= 0.5  # the clock went on by what little time the test takes
    assert scan_source(fetcher).rows == result.rows


def test_yahoo_s_limits_and_other_prices(yahoo):
    slept, sleep = naps()
    yahoo.fails = [YFRateLimitError("Too many requests")]
    fetcher = YfinanceFetcher(["AAPL"], limit=40, price="high", per_second=None, sleep=sleep)
    bars = fetcher.fetch("AAPL")
    assert bars.close.tolist() == [row[1] for row in recorded("yahoo_history.json")["data"]][-40:]
    assert len(slept) == 1
    with pytest.raises(ParameterError, match="one text"):
        YfinanceFetcher("AAPL")
    with pytest.raises(ParameterError, match="per_second"):
        YfinanceFetcher(["AAPL"], per_second=0)


def test_without_yfinance(monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(ImportError, match=r"warpquant\[yfinance\]"):
        YfinanceFetcher(["AAPL"])


# ---- any ----


class Own:
    exchange_name = "own"

    def list_symbols(self):
        return ["plain", "timed", "unsorted", "uneven", "text", "raises", "plain"]

    def fetch(self, symbol):
        close, time = walk(60), np.arange(60)
        return {
            "plain": lambda: list(close), "timed": lambda: Bars(close, time),
            "unsorted": lambda: Bars(close[::-1], time[::-1]), "uneven": lambda: Bars(close, time[1:]),
            "text": lambda: ["a"], "raises": lambda: 1 / 0,
        }[symbol]()  # fmt: skip


def test_whatever_a_fetcher_gives():
    result = scan_source(Own(), batch_size=2)
    assert {f.symbol: f.reason for f in result.failures} == {
        "uneven": "not_fetched", "text": "not_numeric", "raises": "not_fetched"
    }  # fmt: skip
    assert {row.symbol: row.time for row in result.rows} == {"plain": None, "timed": 59, "unsorted": 59}
    assert len({row.average for row in result.rows}) == 1


def test_times_of_every_kind_from_a_fetcher():
    """Times that are none are their symbol's failure alone."""
    dates = pd.date_range("2024-01-01", periods=60, freq="h")
    kinds = {
        "datetimes": list(dates.to_pydatetime()), "texts": dates.strftime("%Y-%m-%dT%H:%M:%S").tolist(),
        "index": dates, "zone": dates.tz_localize("UTC").tz_convert("Asia/Tokyo"), "stamps": dates.to_numpy(),
        "zoned series": pd.Series(dates.tz_localize("UTC")), "small": np.arange(60, dtype=np.int32),
        "words": ["soon"] * 60, "decimals": np.arange(60) / 2, "one": np.datetime64("2024-01-01"), "self": object(),
    }  # fmt: skip

    class Many:
        def list_symbols(self):
            return list(kinds)

        def fetch(self, symbol):
            return Bars(walk(60, 1), kinds[symbol])

    result = scan_source(Many(), batch_size=4)
    assert {f.symbol: f.reason for f in result.failures} == dict.fromkeys(
        ["words", "decimals", "one", "self"], "not_fetched"
    )
    last = {row.symbol: row.time for row in result.rows}
    assert last.pop("small") == 59
    assert set(last) == {"datetimes", "texts", "index", "zone", "stamps", "zoned series"}
    assert all(time == dates[-1].to_datetime64() for time in last.values())


def test_fetched_prices_are_not_cached_but_resumed(tmp_path):
    source = open_source(Own())
    assert not source.stable
    path = tmp_path / "c.jsonl"
    first = scan_source(Own(), checkpoint=path)
    assert scan_source(Own(), checkpoint=path, resume=True) == first

    class Other(Own):
        identity = "another timeframe"

    with pytest.raises(ParameterError, match="the prices are others"):
        scan_source(Other(), checkpoint=path, resume=True)


def test_interrupts_are_not_swallowed():
    class Stopped(Own):
        def fetch(self, symbol):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_source(Stopped())


def test_calls_keep_their_distance():
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    calls = _Calls(10, 0, (), sleep, lambda: now[0])
    for _ in range(3):
        calls(lambda: None)
    now[0] += 5
    calls(lambda: None)
    assert slept == pytest.approx([0.1, 0.1])
