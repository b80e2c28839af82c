# SPDX-License-Identifier: Apache-2.0
"""Option chains: quotes of one moment, what they imply, and what is wrong with them.

`read_chain` takes files and tables as vendors make them. Every quote stays in, with a status that says why it has no
volatility. docs/options/chains.md has the rules.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _prices, options
from warpquant._checks import choice, flag
from warpquant.errors import ParameterError, WarpquantError

from .frames import Floats, Frame, Roles, _moment, ends, moments, time_of_day
from .vanilla import greeks

__all__ = ["STATUSES", "Chain", "Terms", "parity", "read_chain"]

#: What a row may have instead of 'ok'. The first are said by the quote, the others by the implied volatility.
STATUSES = (
    "ok", "no_bid", "no_ask", "no_quote", "crossed", "expired", "invalid", "no_terms",
    "below_intrinsic", "above_bound", "no_time_value",
)  # fmt: skip
_CODE = {name: code for code, name in enumerate(STATUSES)}
#: Status bytes of `implied_vol`, in their order, in words of `STATUSES`.
_OF_VOL = ("ok", "below_intrinsic", "above_bound", "no_time_value", "invalid", "expired")

_PARTS: dict[str, tuple[str, ...]] = {
    "strike": ("strike", "strike_price", "k"),
    "expiry": (
        "expiry", "expiration", "expiration_date", "expiry_date", "exdate", "maturity", "years_to_expiry", "years",
        "expiry_month", "days",
    ),
    "is_call": ("is_call", "right", "callput", "call_put", "option_type", "cp_flag", "cp", "type", "kind"),
    "bid": ("bid", "best_bid_price", "bid_price", "best_bid", "bid_close"),
    "ask": ("ask", "best_ask_price", "ask_price", "best_offer", "ask_close"),
    "price": ("mid", "mark_price", "settle", "settlement_price", "price", "close", "ltp", "last"),
    "spot": ("spot", "und_daily_close", "underlying_last", "underlying_price", "index_price", "und_close"),
    "rate": ("rate", "zero_rate", "risk_free_rate", "interest_rate"),
    "dividend": ("dividend", "dividend_yield"),
    "time": ("ts", "quote_datetime", "timestamp", "quote_date", "date", "spot_date", "ms", "time"),
}  # fmt: skip
_WIDE = {"call": "{0}_c,call_{0},c_{0}", "put": "{0}_p,put_{0},p_{0}"}
#: Standard error up to which the rate of one expiry is believed.
_SURE = 0.005
_DAY = np.timedelta64(86_400_000, "ms")


@dataclasses.dataclass(frozen=True)
class Terms:
    """Forward, rate and dividend yield of one expiry.

    Attributes
    ----------
    expiry : str
        Its date, or its years.
    years : float
        Time to it.
    forward, rate, dividend : float
        Continuously compounded per year; NaN where unknown. `dividend` takes everything that the underlying pays or
        costs, such as borrowing fees.
    source : str
        'given', 'parity', 'pooled' (parity, with the rate that all expiries have in common, where the strikes of one do
        not tell it to half a percent), 'neighbour' (rate and dividend of the nearest expiry), or 'none'.
    pairs : int
        Strikes with quotes of call and put that were used.
    outliers : int
        Of these, those without weight in the end.
    error : float
        Median distance of put-call parity, in units of price.
    rate_error : float
        Standard error of a rate that comes from parity.
    """

    expiry: str
    years: float
    forward: float
    rate: float
    dividend: float
    source: str
    pairs: int = 0
    outliers: int = 0
    error: float = float("nan")
    rate_error: float = float("nan")


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def parity(
    strike: Any, call: Any, put: Any, years: float, *, weight: Any = None, spot: float | None = None,
    rate: float | None = None, dividend: float | None = None,
) -> tuple[float, float, Floats]:  # fmt: skip
    """Discount factor and forward that put-call parity C - P = D (F - K) gives, in spite of outliers.

    A line through (K, C - P): Theil and Sen's median of slopes, then least squares with Tukey's biweight (4.685 median
    deviations), repeated until nothing changes. With a rate the slope is known and the forward is a median; with spot
    and dividend the forward's present value is known, and the slope is one.

    Parameters
    ----------
    strike, call, put : array of float, shape (strikes,)
        Prices of both options of each strike.
    years : float
        Time to expiry.
    weight : array of float, shape (strikes,), optional
        How much a strike counts, such as one over the squared spread.
    spot, rate, dividend : float, optional
        What is known.

    Returns
    -------
    discount, forward : float
        NaN where there are too few strikes.
    weights : ndarray of float64, shape (strikes,)
        What each strike counted in the end; 0 for outliers.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.options.chain import parity
    >>> strike = np.arange(80.0, 121.0, 5.0)
    >>> gap = 0.99 * (101.0 - strike)
    >>> gap[2] += 3.0                                   # a stale quote
    >>> discount, forward, weights = parity(strike, gap + 10.0, np.full(9, 10.0), 0.25)
    >>> round(discount, 12), round(forward, 12), float(weights[2])
    (0.99, 101.0, 0.0)
    """
    k, y = np.asarray(strike, dtype=np.float64), np.asarray(call, dtype=np.float64) - np.asarray(put, dtype=np.float64)
    prior = np.ones_like(k) if weight is None else np.asarray(weight, dtype=np.float64)
    used = np.isfinite(k) & np.isfinite(y) & np.isfinite(prior) & (prior > 0)
    weights = np.zeros_like(k)
    k, y, prior = k[used], y[used], prior[used]
    nan = float("nan")
    pv = nan if spot is None or dividend is None else spot * np.exp(-dividend * years)
    needed = 1 if rate is not None or np.isfinite(pv) else 3
    if len(k) < needed or (needed == 3 and len(np.unique(k)) < 3):
        return nan, nan, weights

    def fit(w: Floats) -> tuple[float, float]:
        """Level and slope of C - P = level - slope K."""
        if rate is not None:
            slope = float(np.exp(-rate * years))
            return (pv if np.isfinite(pv) else float(np.average(y + slope * k, weights=w))), slope
        if np.isfinite(pv):
            return pv, float(np.sum(w * k * (pv - y)) / np.sum(w * k * k))
        centre, middle = np.average(k, weights=w), np.average(y, weights=w)
        spread = np.sum(w * (k - centre) ** 2)
        slope = float(-np.sum(w * (k - centre) * (y - middle)) / spread) if spread > 0 else nan
        return float(middle + slope * centre), slope

    if rate is not None:
        slope = float(np.exp(-rate * years))
        level = pv if np.isfinite(pv) else _weighted_median(y + slope * k, prior)
    elif np.isfinite(pv):
        level, slope = pv, float(np.median((pv - y) / k))
    else:
        some = np.linspace(0, len(k) - 1, min(len(k), 300)).astype(int)  # pairs grow with the square
        i, j = np.triu_indices(len(some), 1)
        run = k[some][j] - k[some][i]
        slope = float(-np.median((y[some][j] - y[some][i])[run != 0] / run[run != 0]))
        level = _weighted_median(y + slope * k, prior)
    final = prior
    for _ in range(100):
        distance = np.abs(y - (level - slope * k))
        scale = 1.4826 * float(np.median(distance))
        if scale <= 1e-12 * float(np.abs(y).max() + np.abs(k).max()):  # most lie on the line
            final = np.where(distance <= 1e-9 * (np.abs(k) + np.abs(y)), prior, 0.0)
            if not final.any():
                final = prior
            level, slope = fit(final)
            break
        u = np.minimum(distance / (4.685 * scale), 1.0)
        final = prior * (1.0 - u * u) ** 2
        if np.count_nonzero(final) < needed:
            return nan, nan, weights
        new = fit(final)
        done = abs(new[0] - level) <= 1e-12 * abs(level) and abs(new[1] - slope) <= 1e-13
        level, slope = new
        if done:
            break
    weights[used] = final
    if not (slope > 0 and np.isfinite(level)):
        return nan, nan, weights
    return slope, level / slope, weights


class Chain:
    """Quotes of one underlying at one moment.

    Attributes
    ----------
    expiry : ndarray of str
        Expiries as dates, or as years.
    years, strike, bid, ask, spot : ndarray of float64, shape (quotes,)
        NaN where missing; a bid or an ask of 0 counts as missing.
    price : ndarray of float64, shape (quotes,)
        A price that is neither, such as a settlement, where the source has no bids and asks; else NaN.
    is_call : ndarray of bool, shape (quotes,)
        Calls.
    row : ndarray of intp, shape (quotes,)
        Which row of the source a quote comes from: the chain has an order of its own.
    rate, dividend : ndarray of float64, shape (quotes,)
        What was given; NaN where `terms` has it from the quotes.
    quote : ndarray of int8, shape (quotes,)
        What the quote itself says, as an index into `STATUSES`.
    terms : dict of str to Terms
        Of each expiry.
    model : str
        'bsm', or 'black76' where no spot is known, or 'bachelier'.
    as_of : datetime64 or None
        The moment.
    keeps_terms : bool
        Whether the terms stay as they are where American options are turned into European ones
        (:func:`warpquant.surface.clean`): those of quotes that were picked from a chain (`only`). Otherwise parity is
        asked again then, of the European prices.
    """

    def __init__(
        self, *, expiry: npt.NDArray[np.str_], years: Floats, strike: Floats, is_call: npt.NDArray[np.bool_],
        bid: Floats, ask: Floats, price: Floats, spot: Floats, model: str, as_of: np.datetime64 | None, rate: Any,
        dividend: Any, row: npt.NDArray[np.intp] | None = None, terms: Mapping[str, Terms] | None = None,
    ) -> None:  # fmt: skip
        order = np.lexsort((~is_call, strike, expiry, years))
        self.row = order if row is None else row[order]
        self.expiry = expiry[order]
        self.years, self.strike, self.spot = years[order], strike[order], spot[order]
        self.is_call = is_call[order]
        positive = [np.where(values > 0, values, np.nan) for values in (bid[order], ask[order], price[order])]
        self.bid, self.ask, self.price = positive
        self.model, self.as_of = model, as_of
        self.rate = np.array(np.broadcast_to(rate, len(order))[order], dtype=np.float64)
        self.dividend = np.array(np.broadcast_to(dividend, len(order))[order], dtype=np.float64)
        self.quote = self._quotes()
        #: For each quote the number of its expiry, in the order of time.
        self.number = _numbers(self.expiry)
        self.keeps_terms = terms is not None
        self.terms = self._terms(self.rate, self.dividend) if terms is None else dict(terms)

    def __len__(self) -> int:
        return len(self.strike)

    def __repr__(self) -> str:
        good = int(np.sum(self.quote == 0))
        return f"Chain({len(self):,} quotes, {good:,} of them two-sided, {len(self.terms)} expiries, {self.model})"

    def _quotes(self) -> npt.NDArray[np.int8]:
        no_bid, no_ask = np.isnan(self.bid), np.isnan(self.ask)
        code = np.zeros(len(self.strike), np.int8)
        code[no_bid] = _CODE["no_bid"]
        code[no_ask] = _CODE["no_ask"]
        code[no_bid & no_ask] = _CODE["no_quote"]
        code[~np.isnan(self.price) & no_bid & no_ask] = 0
        code[self.bid > self.ask] = _CODE["crossed"]
        code[~(self.years > 0)] = _CODE["expired"]
        code[~(np.isfinite(self.years) & np.isfinite(self.strike))] = _CODE["invalid"]
        return code

    def only(self, expiries: Iterable[str], *, ask_again: bool = False) -> Chain:
        """The quotes of some expiries, with the terms that they have here.

        Parameters
        ----------
        expiries : iterable of str
            As in `terms`.
        ask_again : bool
            Whether put-call parity is asked again, of these quotes alone: a rate that all expiries have in common is
            not that of the others then, and of American options forwards are those of the European prices.

        Returns
        -------
        Chain

        Raises
        ------
        ParameterError
            If there is no such expiry.
        """
        names = list(expiries)
        for name in names:
            if name not in self.terms:
                raise ParameterError(f"expiry: {name!r} is not in the chain; it has {', '.join(self.terms)}")
        keep = np.isin(self.expiry, names)
        part = object.__new__(Chain)
        part.__dict__.update(self.__dict__)
        for name, values in self.__dict__.items():
            if isinstance(values, np.ndarray):
                part.__dict__[name] = values[keep]
        part.number = _numbers(part.expiry)
        if flag("ask_again", ask_again):
            part.terms, part.keeps_terms = part._terms(part.rate, part.dividend), False
        else:
            part.terms, part.keeps_terms = {name: t for name, t in self.terms.items() if name in names}, True
        return part

    def mid(self) -> Floats:
        """Between bid and ask, where both are there and not crossed; else the price, if the source has only that."""
        two_sided = (self.bid + self.ask) / 2.0
        return np.asarray(np.where(self.quote == 0, np.where(np.isnan(two_sided), self.price, two_sided), np.nan))

    def _rows(self) -> list[npt.NDArray[np.intp]]:
        """Rows of each expiry."""
        order = np.argsort(self.number, kind="stable")
        return [] if len(order) == 0 else np.split(order, np.nonzero(np.diff(self.number[order]))[0] + 1)

    def _terms(self, rates: Floats, dividends: Floats) -> dict[str, Terms]:
        found: dict[str, Terms] = {}
        uncertain: list[str] = []
        mid = self.mid()
        with np.errstate(invalid="ignore"):
            spread = self.ask - self.bid
        for rows in self._rows():
            expiry, years = str(self.expiry[rows[0]]), float(self.years[rows[0]])
            spot, rate, dividend = (_one(values[rows]) for values in (self.spot, rates, dividends))
            if spot is not None and rate is not None and (dividend is not None or self.model != "bsm"):
                carry = rate - dividend if self.model == "bsm" and dividend is not None else 0.0
                yields = rate if self.model != "bsm" or dividend is None else dividend
                found[expiry] = Terms(expiry, years, spot * float(np.exp(carry * years)), rate, yields, "given")
                continue
            if not years > 0:
                found[expiry] = _none(expiry, years)
                continue
            found[expiry] = self._from_parity(rows, mid, spread, expiry, years, spot, rate, dividend)
            if rate is None and not found[expiry].rate_error <= _SURE:
                uncertain.append(expiry)
        # A slope says little of a rate when the time is short: what the others say says more.
        told = [t for t in found.values() if t.source == "given" or np.isfinite(t.rate_error)]
        if uncertain and told:
            sure = [1e4 if t.source == "given" else 1.0 / max(t.rate_error, 1e-4) for t in told]
            common = _weighted_median(np.array([t.rate for t in told]), np.array(sure) ** 2)
            for expiry in uncertain:
                (rows,) = np.nonzero(self.expiry == expiry)
                spot, dividend = _one(self.spot[rows]), _one(dividends[rows])
                years = float(self.years[rows[0]])
                if spot is not None and dividend is not None and self.model == "bsm":
                    continue  # the forward hangs on the rate alone
                pooled = self._from_parity(rows, mid, spread, expiry, years, spot, common, dividend)
                found[expiry] = dataclasses.replace(pooled, source=pooled.source.replace("parity", "pooled"))
        good = [t for t in found.values() if t.source != "none"]
        for expiry, t in found.items():
            if t.source != "none" or not good or not t.years > 0:
                continue
            near = min(good, key=lambda other: abs(other.years - t.years))
            (rows,) = np.nonzero(self.expiry == expiry)
            spot = _one(self.spot[rows])
            if spot is not None and self.model == "bsm":
                forward = spot * float(np.exp((near.rate - near.dividend) * t.years))
                found[expiry] = Terms(expiry, t.years, forward, near.rate, near.dividend, "neighbour")
        return found

    def _from_parity(
        self, rows: npt.NDArray[np.intp], mid: Floats, spread: Floats, expiry: str, years: float, spot: float | None,
        rate: float | None, dividend: float | None,
    ) -> Terms:  # fmt: skip
        calls = {self.strike[i]: i for i in rows if self.is_call[i] and np.isfinite(mid[i])}
        puts = {self.strike[i]: i for i in rows if not self.is_call[i] and np.isfinite(mid[i])}
        both = sorted(calls.keys() & puts.keys())
        if not both:
            return _none(expiry, years)
        k = np.array(both)
        c, p = (np.array([side[strike] for strike in both]) for side in (calls, puts))
        width = spread[c] + spread[p]
        typical = np.nanmedian(width) if np.isfinite(width).any() else 1.0
        weight = (
            1.0 / np.maximum(np.where(np.isfinite(width), width, typical), 0.1 * typical if typical > 0 else 1.0) ** 2
        )
        # Near the forward quotes are best, and early exercise is worth least.
        centre = k[np.argmin(np.abs(mid[c] - mid[p]))]
        distance = np.abs(k - centre) / abs(centre) if centre != 0 else np.abs(k)
        near = distance <= max(0.1, float(np.sort(distance)[min(len(k), 10) - 1]))
        known = {"spot": spot, "rate": rate, "dividend": dividend} if self.model == "bsm" else {"rate": rate}
        discount, forward, weights = parity(k[near], mid[c][near], mid[p][near], years, weight=weight[near], **known)
        if not np.isfinite(forward):
            return _none(expiry, years)
        found_rate = rate if rate is not None else -float(np.log(discount)) / years
        yields = found_rate
        if self.model == "bsm":
            if dividend is not None:
                yields = dividend
            elif spot is not None and forward > 0:
                yields = found_rate - float(np.log(forward / spot)) / years
            else:
                return _none(expiry, years)
        gap = np.abs(mid[c][near] - mid[p][near] - discount * (forward - k[near]))
        error = float(np.median(gap))
        rate_error = float("nan")
        if rate is None:
            w = weights / weights.max()
            spread_k = float(np.sum(w * (k[near] - np.average(k[near], weights=w)) ** 2))
            used = int(np.count_nonzero(weights))
            if used > 3 and spread_k > 0:
                rate_error = 1.4826 * error / (discount * years * spread_k**0.5)
        return Terms(expiry, years, forward, found_rate, yields, "parity", int(near.sum()),
                     int(np.sum(weights == 0)), error, rate_error)  # fmt: skip

    def of(self, name: str) -> Floats:
        """A number of `Terms` for each quote: 'forward', 'rate' or 'dividend'."""
        values = [getattr(terms, name) for terms in self.terms.values()]
        return np.asarray(np.array(values, dtype=np.float64)[self.number])

    def prices(self, side: str = "mid") -> Floats:
        """Prices of one side: 'bid', 'mid' or 'ask'.

        Raises
        ------
        ParameterError
            If there is no such side.
        """
        choice("side", side, ("bid", "mid", "ask"))
        return self.mid() if side == "mid" else np.asarray(getattr(self, side))

    def _arguments(self) -> tuple[Any, ...]:
        first = self.spot if self.model == "bsm" else self.of("forward")
        return first, self.strike, self.years, self.of("rate"), self.of("dividend")

    def implied_vol(
        self, side: str = "mid", *, num_threads: int | None = None, progress: Callable[[int, int], object] | None = None
    ) -> tuple[Floats, npt.NDArray[np.int8]]:
        """Implied volatilities, and why there is none.

        Options are taken as European. Of American ones far in the money that overstates the volatility, or leaves none
        ('below_intrinsic'); use those out of the money.

        Parameters
        ----------
        side : {'mid', 'bid', 'ask'}
            Prices to take.
        num_threads : int, optional
            CPU threads.
        progress : callable, optional
            Called with the number of expiries done and to do.

        Returns
        -------
        vol : ndarray of float64, shape (quotes,)
            Per square root of a year; NaN where there is none.
        status : ndarray of int8, shape (quotes,)
            An index into `STATUSES`.
        """
        price = self.prices(side)
        first, strike, years, rate, dividend = self._arguments()
        vol, status = np.full(len(self), np.nan), self._status(side, price)
        for done, expiry in enumerate(self.terms, 1):
            (rows,) = np.nonzero((self.expiry == expiry) & (status == 0))
            if len(rows):
                found, said = options.implied_vol(
                    price[rows], first[rows], strike[rows], years[rows], rate[rows], dividend[rows], self.is_call[rows],
                    model=self.model, return_status=True, num_threads=num_threads,
                )  # fmt: skip
                codes = np.array([_CODE[name] for name in _OF_VOL], np.int8)[np.asarray(said, dtype=np.intp)]
                vol[rows], status[rows] = np.where(codes == 0, found, np.nan), codes
            if progress is not None:
                progress(done, len(self.terms))
        return vol, status

    def _status(self, side: str, price: Floats) -> npt.NDArray[np.int8]:
        """What keeps a row from being computed at all."""
        status: npt.NDArray[np.int8] = self.quote.copy()
        if side != "mid":  # the other side does not matter
            status[np.isfinite(price) & (status <= _CODE["crossed"])] = 0
            status[np.isnan(price) & (status == 0)] = _CODE["no_quote"]
        status[(status == 0) & ~np.isfinite(self.of("rate") + self.of("forward"))] = _CODE["no_terms"]
        return status

    def greeks(
        self,
        outputs: str | Iterable[str] = ("price", "delta", "gamma", "vega", "theta", "rho"),
        *,
        side: str = "mid",
        vol: Any = None,
        num_threads: int | None = None,
    ) -> dict[str, Any]:
        """Outputs of `warpquant.options.greeks` at implied volatilities, or given ones.

        Parameters
        ----------
        outputs : str or iterable of str
            As there.
        side : {'mid', 'bid', 'ask'}
            Prices whose volatilities to take.
        vol : float or array, optional
            Volatilities, instead.
        num_threads : int, optional
            CPU threads.

        Returns
        -------
        dict of str to ndarray
        """
        vols = self.implied_vol(side, num_threads=num_threads)[0] if vol is None else np.asarray(vol, dtype=np.float64)
        first, strike, years, rate, dividend = self._arguments()
        return greeks(first, strike, years, rate, dividend, vols, self.is_call, model=self.model, outputs=outputs,
                      num_threads=num_threads)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The quotes as columns."""
        return {
            "expiry": self.expiry.astype(object), "years": self.years, "strike": self.strike,
            "right": np.where(self.is_call, "call", "put").astype(object), "bid": self.bid, "ask": self.ask,
            "mid": self.mid(), "spot": self.spot, "forward": self.of("forward"), "rate": self.of("rate"),
            "dividend": self.of("dividend"),
        }  # fmt: skip


def _none(expiry: str, years: float) -> Terms:
    return Terms(expiry, years, *(float("nan"),) * 3, "none")


def _one(values: Floats) -> float | None:
    """The number that all rows of an expiry have together: the median of those that are there."""
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else None


def read_chain(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    spot: float | None = None,
    rate: float | None = None,
    dividend: float | None = None,
    years: float | None = None,
    as_of: Any = None,
    at: str | None = None,
    close: str = "16:00",
    where: Mapping[str, str] | None = None,
    model: str | None = None,
    inverse: bool = False,
    day_count: float = 365.0,
) -> Chain:
    """A chain from a file or a table.

    Parameters
    ----------
    source : path, data frame, or mapping of str to array
        CSV (also ``.csv.gz``), Parquet or Feather, with one quote in a row; or with call and put of a strike in one
        row, in columns such as ``bid_c`` and ``bid_p``, or ``call_bid`` and ``put_bid``.
    columns : mapping, optional
        Part to name of its column. Parts are 'strike', 'expiry', 'is_call', 'bid', 'ask', 'price', 'spot', 'rate',
        'dividend', 'time'; those left out are found by their names. 'price' is looked for only where there is neither
        bid nor ask.
    spot, rate, dividend : float, optional
        For all rows, instead of columns. What of rate and dividend is not there comes from put-call parity, for each
        expiry (`parity`).
    years : float, optional
        Time to expiry of all rows, if there is no column of it.
    as_of : date, datetime or str, optional
        The moment, if the source has no times, or gives only the time of day.
    at : str, optional
        Of a source with many times, which one to take: a time of day, such as '12:00', or a whole time. By default the
        last. Of each contract the last quote up to then counts, if it is of the same day.
    close : str, default '16:00'
        Time of day at which dates of expiry end, if the moment has a time of day.
    where : mapping, optional
        Column to the text that rows must have there, such as ``{"underlying": "AAPL"}``.
    model : {'bsm', 'black76', 'bachelier'}, optional
        By default 'bsm', or 'black76' where no spot is known.
    inverse : bool, default False
        Prices are in units of the underlying, as for coins.
    day_count : float, default 365
        Days of 24 hours in a year.

    Returns
    -------
    Chain
        Sorted by expiry, strike, and call before put; `Chain.row` says where each quote was.

    Raises
    ------
    ParameterError
        If a part is missing or cannot be read, or quotes are of several underlyings, or two are of the same contract
        and none is later.

    Examples
    --------
    >>> import warpquant
    >>> from warpquant import options
    >>> chain = options.read_chain(warpquant.data.goog_options())
    >>> chain
    Chain(2,192 quotes, 657 of them two-sided, 12 expiries, bsm)
    """
    table = _table(source)
    origin = np.arange(table.rows)
    if where:
        table, origin = _only(table, where)
    _one_underlying(table)
    wide = _wide(table)
    if wide is not None:
        table, origin = wide, np.tile(origin, 2)
    if years is not None:
        table = Frame({**{name: table.array(name) for name in table.names}, "years": np.full(table.rows, float(years))})
        columns = {**(columns or {}), "expiry": "years"}
    roles = Roles(table, columns, _PARTS)
    for needed in ("strike", "expiry", "is_call"):
        if needed not in roles.columns:
            known = ", ".join(_PARTS[needed])
            raise ParameterError(
                f"{needed}: no column found; columns are {', '.join(table.names)}, known names {known}"
            )
    moment, keep = _snapshot(table, roles, as_of, at)
    until, labels = _expiries(table.array(roles.columns["expiry"]), roles.columns["expiry"], moment, close, day_count)

    def part(name: str, given: float | None = None) -> Floats:
        if given is not None:
            return np.full(table.rows, float(given))
        return table.numbers(roles.columns[name]) if name in roles.columns else np.full(table.rows, np.nan)

    bid, ask, quoted = part("bid"), part("ask"), part("price")
    if ("bid" in roles.columns or "ask" in roles.columns) and "price" not in (columns or {}):
        quoted = np.full(table.rows, np.nan)
    elif "price" not in roles.columns:
        raise ParameterError(f"bid, ask, price: no column found; columns are {', '.join(table.names)}")
    spots = part("spot", spot)
    if inverse:
        if np.isnan(spots).all():
            raise ParameterError("spot: is needed to make money of prices in units of the underlying")
        bid, ask, quoted = bid * spots, ask * spots, quoted * spots
    if model is None:
        model = "bsm" if np.isfinite(spots).any() else "black76"
    choice("model", model, ("bsm", "black76", "bachelier"))
    calls = _calls(table, roles.columns["is_call"])
    chosen = {
        "expiry": labels, "years": until, "strike": part("strike"), "is_call": calls, "bid": bid, "ask": ask,
        "price": quoted, "spot": spots, "rate": part("rate", rate), "dividend": part("dividend", dividend),
    }  # fmt: skip
    kept: dict[str, Any] = {name: values[keep] for name, values in (*chosen.items(), ("row", origin))}
    return Chain(**kept, model=model, as_of=moment)


def _table(source: Any) -> Frame:
    if not isinstance(source, (str, os.PathLike)):
        return Frame(source, "source")
    try:
        return Frame(_prices._load(pathlib.Path(source)), "source")
    except _prices._FileError as error:
        raise WarpquantError(f"{source}: {error}") from error


#: Columns that say which underlying a quote is of.
_UNDERLYINGS = ("underlying", "underlying_symbol", "underlying_ticker", "act_symbol")


def _one_underlying(table: Frame) -> None:
    name = table.find(_UNDERLYINGS)
    there = [] if name is None else sorted(set(table.texts(name)))
    if len(there) > 1:
        some = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")
        raise ParameterError(
            f"source: column {name!r} has {len(there)} underlyings ({some}); "
            f"choose one: where={{{name!r}: {there[0]!r}}}"
        )


def _only(table: Frame, where: Mapping[str, str]) -> tuple[Frame, npt.NDArray[np.intp]]:
    """Rows that have these texts, and which ones those are."""
    keep = np.ones(table.rows, bool)
    for name, value in where.items():
        keep &= np.array([text == str(value) for text in table.texts(name)], bool)
    if not keep.any():
        said = " and ".join(f"{name} = {value}" for name, value in where.items())
        raise ParameterError(f"where: no row has {said}")
    return Frame({name: table.array(name)[keep] for name in table.names}, "source"), np.nonzero(keep)[0]


def _wide(table: Frame) -> Frame | None:
    """A table with a row for each option, from one with call and put in a row."""
    sides: dict[str, dict[str, str]] = {"call": {}, "put": {}}
    for side, patterns in _WIDE.items():
        for part in ("bid", "ask", "price", "last", "settle"):
            name = table.find(patterns.format(part).split(","))
            if name is not None:
                sides[side][part] = name
    if not sides["call"] or sides["call"].keys() != sides["put"].keys():
        return None
    own = {name for names in sides.values() for name in names.values()}
    stem = {re.sub(r"^(call|put|c|p)_|_(c|p)$", "", name.lower()) for name in own}
    # Of what there is twice, only quotes are of use.
    common = [
        n for n in table.names if (n not in own and not re.search(r"^(call|put|c|p)_|_(c|p)$", n.lower())) or n in stem
    ]
    made: dict[str, Any] = {name: np.concatenate([table.array(name)] * 2) for name in common if name not in own}
    made["right"] = np.repeat(np.array(["call", "put"], dtype=object), table.rows)
    for part in sides["call"]:
        made[part] = np.concatenate([table.numbers(sides[side][part]) for side in ("call", "put")])
    return Frame(made, "source")


def _calls(table: Frame, name: str) -> npt.NDArray[np.bool_]:
    array = table.array(name)
    if array.dtype.kind in "bif":
        return np.asarray(array > 0)
    known = {"c": True, "p": False, "t": True, "f": False, "1": True, "-": False, "0": False}
    texts = table.texts(name)
    for text in set(texts):
        if text[:1].lower() not in known:
            raise ParameterError(f"is_call: {text!r} in column {name!r} says neither call nor put")
    return np.array([known[text[0].lower()] for text in texts], bool)


def _numbers(expiry: npt.NDArray[np.str_]) -> npt.NDArray[np.intp]:
    """For each quote the number of its expiry, in the order of their first quotes."""
    starts = np.nonzero(np.r_[True, expiry[1:] != expiry[:-1]])[0][: len(expiry)]
    known: dict[str, int] = {}
    numbers = [known.setdefault(name, len(known)) for name in expiry[starts].tolist()]
    return np.repeat(np.array(numbers, np.intp), np.diff(np.r_[starts, len(expiry)]))


def _snapshot(
    table: Frame, roles: Roles, as_of: Any, at: str | None
) -> tuple[np.datetime64 | None, npt.NDArray[np.intp]]:
    """The moment of the chain, and the row of each contract that holds then."""
    moment = None if as_of is None else _moment(as_of)
    keys = list(
        zip(
            table.texts(roles.columns["expiry"]), table.numbers(roles.columns["strike"]).tolist(),
            (text[:1].lower() for text in table.texts(roles.columns["is_call"])), strict=True,
        )
    )  # fmt: skip
    if "time" not in roles.columns:
        if at is not None:
            raise ParameterError(f"at: the source has no times; columns are {', '.join(table.names)}")
        rows, times = np.arange(table.rows), None
    else:
        times, of_day = _times(table.array(roles.columns["time"]), roles.columns["time"], moment)
        known = times[~np.isnat(times)]
        if len(known) == 0:
            raise ParameterError(f"time: column {roles.columns['time']!r} is empty")
        cut = known.max() if at is None else _chosen(at, known)
        if moment is None or of_day or at is not None:
            moment = cut
        (rows,) = np.nonzero((times <= cut) & (times.astype("datetime64[D]") == cut.astype("datetime64[D]")))
        rows = rows[np.argsort(times[rows], kind="stable")]
    last: dict[Any, int] = {}
    for row in rows.tolist():
        other = last.setdefault(keys[row], row)
        if other != row and (times is None or times[other] == times[row]):
            expiry, strike, right = keys[row]
            contract = f"{expiry} {strike:g} {right.upper()}"
            raise ParameterError(
                f"source: rows {other} and {row} are both of {contract}, and neither is later; "
                "choose one by a column that tells them apart: where={...}"
            )
        last[keys[row]] = row
    if not last:
        raise ParameterError(f"at: no quote at or before {moment} on that day")
    return moment, np.array(sorted(last.values()), dtype=np.intp)


def _times(values: npt.NDArray[Any], name: str, as_of: np.datetime64 | None) -> tuple[npt.NDArray[np.datetime64], bool]:
    """A column of times, and whether it has only the time of day (in milliseconds)."""
    if values.dtype.kind in "iuf":
        there = values[np.isfinite(values)]
        least, most = (there.min(), there.max()) if len(there) else (0, 0)
        is_date = least >= 19_000_101 and most <= 29_991_231  # 20151224
        if most < 86_400_000 and not is_date:
            if as_of is None:
                raise ParameterError(f"as_of: column {name!r} has times of day; say of which day")
            return as_of.astype("datetime64[D]").astype("datetime64[ms]") + values.astype("timedelta64[ms]"), True
        if is_date:
            return _days(values).astype("datetime64[ms]"), False
        return values.astype("datetime64[ms]"), False
    found = moments(values)
    if found is None:
        raise ParameterError(f"time: column {name!r} holds no times, such as {values[:1].tolist()}")
    return found, False


def _days(values: npt.NDArray[Any]) -> npt.NDArray[np.datetime64]:
    """Days from numbers such as 20151224."""
    texts = [f"{int(v) // 10000:04d}-{int(v) // 100 % 100:02d}-{int(v) % 100:02d}" for v in values]
    return np.array(texts, dtype="datetime64[D]")


def _chosen(at: str, times: npt.NDArray[np.datetime64]) -> np.datetime64:
    """The time that was asked for: on the last day, if no day was named."""
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", at):
        midnight: np.datetime64 = times.max().astype("datetime64[D]")
        return midnight + time_of_day(at, "at")
    return _moment(at, "at")


def _distinct(numbers: Floats) -> list[str]:
    """Numbers as texts: of six digits, unless that makes two of them one."""
    texts = [f"{v:.6g}" for v in numbers]
    if len(set(texts)) == len(np.unique(numbers)):
        return texts
    return [repr(v) for v in numbers.tolist()]


def _third_friday(month: int) -> np.datetime64:
    first = np.datetime64(f"{month // 100:04d}-{month % 100:02d}-01", "D")
    weekday = (int(first.astype(np.int64)) + 3) % 7  # Monday is 0
    friday: np.datetime64 = first + (4 - weekday) % 7 + 14
    return friday


def _expiries(
    values: npt.NDArray[Any], name: str, moment: np.datetime64 | None, close: str, day_count: float
) -> tuple[Floats, npt.NDArray[np.str_]]:
    """Years to each expiry, and what it is called."""
    if values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        if name.lower() == "days":
            return numbers / day_count, np.array([f"{text} days" for text in _distinct(numbers)])
        whole = numbers[np.isfinite(numbers)]
        if not (len(whole) and (whole >= 100_000).all()):
            return numbers, np.array(_distinct(numbers))
        is_month = (whole < 1_000_000).all()  # 201203: the third Friday; else 20120316
        values = np.array([_third_friday(int(v)) for v in numbers]) if is_month else _days(numbers)
    when = moments(values)
    if when is None:
        raise ParameterError(f"expiry: column {name!r} holds neither dates nor years, such as {values[:1].tolist()}")
    if moment is None:
        raise ParameterError(f"as_of: is needed to make years of the dates in column {name!r}")
    days, when = when.astype("datetime64[D]"), ends(when, moment, close)
    # Where options of one day end at several times, the time is part of the name.
    moments_of_day = np.unique(when[~np.isnat(when)]).astype("datetime64[D]")
    twice = moments_of_day[1:][moments_of_day[1:] == moments_of_day[:-1]]
    labels = np.where(np.isin(days, twice), np.datetime_as_string(when, unit="m"), np.datetime_as_string(days))
    years = np.asarray((when - moment) / _DAY, dtype=np.float64) / day_count
    return years, labels
