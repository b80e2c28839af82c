# SPDX-License-Identifier: Apache-2.0
"""Prices from elsewhere, symbol by symbol: a protocol, and fetchers for ccxt and yfinance.

Anything with `list_symbols` and `fetch` can be scanned:

>>> import numpy as np, warpquant
>>> class Synthetic:
...     def list_symbols(self):
...         return ["UP", "DOWN"]
...     def fetch(self, symbol):
...         return np.linspace(100, 150 if symbol == "UP" else 50, 200)
>>> result = warpquant.scan_all_symbols(Synthetic(), returns="result")
>>> [row.symbol for row in result.rows]
['UP', 'DOWN']
"""

from __future__ import annotations

import importlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ._checks import choice, whole
from .errors import ParameterError

__all__ = ["Bars", "CcxtFetcher", "Fetcher", "YfinanceFetcher"]


class Bars(NamedTuple):
    """Closes of one symbol and their times, oldest first."""

    #: Closes, float64; NaN where missing.
    close: Any
    #: When: datetime64 or whole numbers, as many as closes; None if unknown.
    time: Any = None


@runtime_checkable
class Fetcher(Protocol):
    """Somebody who fetches prices.

    An attribute `exchange_name`, if there is one, names the exchange. An attribute `identity` says what is fetched, as
    text: a checkpoint that was written under another one is refused.
    """

    def list_symbols(self) -> Sequence[str]:
        """Names of all symbols."""

    def fetch(self, symbol: str) -> Any:
        """Closes of a symbol, oldest first, or `Bars`; what it raises makes the symbol a failure."""


class _Calls:
    """Calls of a service: not more often than it allows, and again when that may help."""

    def __init__(
        self,
        per_second: float | None,
        retries: int,
        transient: Sequence[str],
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if per_second is not None and not per_second > 0:
            raise ParameterError(f"per_second: {per_second!r} is out of range; accepted are numbers above 0, or None")
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._retries = whole("retries", retries, 0)
        self._transient = frozenset(transient)
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._next = -float("inf")

    def _wait(self) -> None:
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._interval
        if start > now:
            self._sleep(start - now)

    def __call__(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        for attempt in range(self._retries + 1):
            self._wait()
            try:
                return call(*args, **more)
            except Exception as error:
                names = {cls.__name__ for cls in type(error).__mro__}
                if attempt == self._retries or not names & self._transient:
                    raise
            # Twice as long each time, and not all clients at the same moment.
            self._sleep(2.0**attempt * (0.5 + random.random() / 2))
        raise AssertionError("unreachable")


#: Fields of a bar of ccxt, after its time.
_CCXT_FIELDS = ("open", "high", "low", "close", "volume")
_DAY = 86_400_000
#: Bars up to this long, in milliseconds, begin at multiples of their length in every time zone of an exchange.
_ALIGNED = 14_400_000
#: No exchange looks at fewer bars at a time than this, if it looks at a window.
_WINDOW = 100
_ACCEPTED_PRICES = _CCXT_FIELDS[:4]


def _check_price(price: str) -> None:
    choice("price", price, _ACCEPTED_PRICES)


class CcxtFetcher:
    """Bars of an exchange, through ccxt.

    Requests keep to the limit that ccxt knows of the exchange, are made again after network errors (ccxt's
    ``NetworkError``: timeouts, unavailable exchanges, exceeded limits), and follow each other until `limit` bars are
    there: exchanges give a few hundred at a time.

    Parameters
    ----------
    exchange : str or ccxt exchange
        Its name, such as ``'binance'``, or an exchange made by ccxt, with whatever settings it needs.
    timeframe : str, default '15m'
        As the exchange has them: ``'1m'``, ``'1h'``, ``'1d'``.
    limit : int, default 1500
        Newest bars to fetch.
    price : {'close', 'open', 'high', 'low'}, default 'close'
        Which price of a bar.
    quote : str, optional
        Only markets that are quoted in this currency, such as ``'USDT'``.
    symbols : sequence of str, optional
        Only these; by default all active markets.
    closed_only : bool, default True
        Leave out the bar that is still under way, whose close may change.
    retries : int, default 3
        How often a request is made again.

    Examples
    --------
    >>> from warpquant.fetchers import CcxtFetcher
    >>> fetcher = CcxtFetcher("binance", "1h", 500, quote="USDT")  # doctest: +SKIP
    >>> long, short = warpquant.scan_all_symbols(fetcher)  # doctest: +SKIP
    """

    def __init__(
        self,
        exchange: Any,
        timeframe: str = "15m",
        limit: int = 1500,
        *,
        price: str = "close",
        quote: str | None = None,
        symbols: Sequence[str] | None = None,
        closed_only: bool = True,
        retries: int = 3,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        _check_price(price)
        if isinstance(exchange, str):
            try:
                ccxt = importlib.import_module("ccxt")
            except ImportError:
                raise ImportError("fetching from exchanges needs ccxt: pip install 'warpquant[ccxt]'") from None
            if exchange not in ccxt.exchanges:
                raise ParameterError(f"exchange: {exchange!r} is none that ccxt knows; see ccxt.exchanges")
            exchange = getattr(ccxt, exchange)()
        self.exchange = exchange
        self.exchange_name = str(exchange.id)
        self.timeframe, self.limit, self.price = timeframe, whole("limit", limit, 1), price
        self._quote, self._symbols, self._closed_only = quote, symbols, closed_only
        # ccxt waits by itself, unless that was turned off.
        milliseconds = 0 if getattr(exchange, "enableRateLimit", False) else float(getattr(exchange, "rateLimit", 0))
        self._calls = _Calls(1000 / milliseconds if milliseconds else None, retries, ("NetworkError",), sleep)

    @property
    def identity(self) -> str:
        """What is fetched."""
        return f"{self.exchange_name} {self.timeframe} {self.limit} {self.price} {self._closed_only}"

    def list_symbols(self) -> list[str]:
        """The active markets, sorted, or the symbols given."""
        if self._symbols is not None:
            return list(self._symbols)
        markets = self._calls(self.exchange.load_markets)
        return sorted(
            symbol
            for symbol, market in markets.items()
            if market.get("active") is not False and self._quote in (None, market.get("quote"))
        )

    def fetch(self, symbol: str) -> Bars:
        """The newest bars of a market."""
        step = int(self.exchange.parse_timeframe(self.timeframe) * 1000)
        now = int(self.exchange.milliseconds())
        bars = self.limit
        if step > _ALIGNED:  # longer bars begin where the exchange has it, and months have 31 days as well as 30
            bars += 3 + bars // 50
        # One bar more, for the one under way.
        since = now // step * step - bars * step
        rows: dict[int, float] = {}
        column = 1 + _CCXT_FIELDS.index(self.price)
        largest = 0
        while since <= now:
            page = self._calls(self.exchange.fetch_ohlcv, symbol, self.timeframe, since, bars + 1)
            if not page:
                # Some exchanges look at a window behind `since` alone, which is empty if the market is younger.
                since += step * max(largest, min(_WINDOW, bars + 1))
                continue
            rows.update({int(bar[0]): np.nan if bar[column] is None else float(bar[column]) for bar in page})
            largest, last = max(largest, len(page)), int(page[-1][0])
            if last < since:
                break
            since = self._end(last, step)
        if self._closed_only:
            rows = {at: value for at, value in rows.items() if self._end(at, step) <= now}
        times = sorted(rows)[-self.limit :]
        return Bars(
            np.array([rows[at] for at in times], dtype=np.float64),
            np.array(times, dtype=np.int64).view("datetime64[ms]"),
        )

    def _end(self, at: int, step: int) -> int:
        """When a bar ends, in milliseconds; months have as many days as they have."""
        if not self.timeframe.endswith("M"):
            return at + step
        # By the clocks of an exchange a month may begin some hours before that of UTC.
        month = np.datetime64(at + _DAY, "ms").astype("datetime64[M]")
        begins = [int((month + n).astype("datetime64[ms]").astype(np.int64)) for n in (0, int(self.timeframe[:-1]))]
        return at + begins[1] - begins[0]


class YfinanceFetcher:
    """Bars of Yahoo Finance, through yfinance.

    Parameters
    ----------
    symbols : sequence of str
        Tickers, as Yahoo writes them.
    period : str, default '2y'
        How far back: ``'1mo'``, ``'1y'``, ``'max'``, ...
    interval : str, default '1d'
        ``'1m'``, ``'1h'``, ``'1d'``, ``'1wk'``, ...
    limit : int, optional
        Only the newest bars.
    price : {'close', 'open', 'high', 'low'}, default 'close'
        Which price of a bar, adjusted for splits and dividends if `adjusted`.
    adjusted : bool, default True
        yfinance's ``auto_adjust``.
    per_second : float, default 2
        Most requests a second.
    retries : int, default 3
        How often a request is made again after an exceeded limit or a network error.

    Examples
    --------
    >>> from warpquant.fetchers import YfinanceFetcher
    >>> fetcher = YfinanceFetcher(["AAPL", "MSFT"], period="5y")  # doctest: +SKIP
    >>> long, short = warpquant.scan_all_symbols(fetcher)  # doctest: +SKIP
    """

    exchange_name = "yahoo"

    def __init__(
        self,
        symbols: Sequence[str],
        period: str = "2y",
        interval: str = "1d",
        *,
        limit: int | None = None,
        price: str = "close",
        adjusted: bool = True,
        per_second: float | None = 2.0,
        retries: int = 3,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        _check_price(price)
        if isinstance(symbols, str):
            raise ParameterError(f"symbols: {symbols!r} is one text; accepted is a sequence of tickers")
        try:
            self._yfinance = importlib.import_module("yfinance")
        except ImportError:
            raise ImportError("fetching from Yahoo needs yfinance: pip install 'warpquant[yfinance]'") from None
        self.symbols, self.period, self.interval, self.price = list(symbols), period, interval, price
        self.limit = None if limit is None else whole("limit", limit, 1)
        self._adjusted = adjusted
        transient = ("YFRateLimitError", "ConnectionError", "Timeout", "TimeoutError", "HTTPError", "RequestException")
        self._calls = _Calls(per_second, retries, transient, sleep)

    @property
    def identity(self) -> str:
        """What is fetched."""
        return f"{self.period} {self.interval} {self.limit} {self.price} {self._adjusted}"

    def list_symbols(self) -> list[str]:
        """The tickers given."""
        return self.symbols

    def fetch(self, symbol: str) -> Bars:
        """The bars of a ticker; none if Yahoo does not know it."""
        frame = self._calls(self._history, symbol)
        column = frame[self.price.capitalize()] if len(frame) else frame.iloc[:, :0].sum(axis=1)
        if self.limit is not None:
            column = column.iloc[-self.limit :]
        index = column.index
        if not len(column):
            return Bars(np.empty(0), np.empty(0, dtype="datetime64[s]"))
        index = index.tz_convert("UTC").tz_localize(None) if getattr(index, "tz", None) is not None else index
        return Bars(column.to_numpy(dtype=np.float64), index.to_numpy())

    def _history(self, symbol: str) -> Any:
        return self._yfinance.Ticker(symbol).history(
            period=self.period, interval=self.interval, auto_adjust=self._adjusted, actions=False
        )
