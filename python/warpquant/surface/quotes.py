# SPDX-License-Identifier: Apache-2.0
"""From the quotes of a chain to those that a surface is fitted to (docs/surface/quotes.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, options
from warpquant.errors import ParameterError, ShapeError
from warpquant.options.chain import STATUSES, Chain

from . import models
from .fits import Floats, fit_svi, floats, vega_weights

__all__ = ["REASONS", "Quotes", "clean"]

#: Why a quote is not used, by code. The first is 'kept'; those up to 'no_terms' are said by the chain.
REASONS = (
    "kept", "no_bid", "no_ask", "no_quote", "crossed", "expired", "invalid", "no_terms", "too_short", "stale",
    "below_intrinsic", "above_bound", "no_time_value", "in_the_money", "outlier", "cliff", "too_few", "bound",
)  # fmt: skip
_CODE = {name: code for code, name in enumerate(REASONS)}
_HOURS = 365.0 * 24.0
#: Arguments of `read_chain` that say nothing of other moments.
_OF_ONE_MOMENT = ("as_of", "at", "years", "spot")
#: Different strikes that an expiry needs.
_LEAST = 3
#: The share of a quote's distance from the others' curve that is left when it bends the curve towards itself, at least.
_LEAST_FREE = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Quotes:
    """Quotes of a chain, those that are kept and those that are not, each with its reason.

    Attributes
    ----------
    chain : Chain
        Where they come from; the rows are in its order. Of American options its prices are those that European ones
        would have.
    reason : ndarray of int8, shape (quotes,)
        0 kept, else an index into `REASONS`.
    k : ndarray of float64, shape (quotes,)
        ln(strike / forward).
    vol, bid_vol, ask_vol : ndarray of float64, shape (quotes,)
        Implied volatilities of the middle and of both sides; 0 for a bid below intrinsic value, inf for an ask above
        the bound, NaN where there is none.
    weight : ndarray of float64, shape (quotes,)
        Of squared errors in total variance; 0 for quotes that are not kept.
    forward, rate : ndarray of float64, shape (quotes,)
        Of the quote's expiry.
    bound : ndarray of int8, shape (quotes,), or None
        1 for a quote that is an upper bound (it has an ask alone), -1 for a lower one, else 0; None where one-sided
        quotes are not used.
    settings : mapping
        How quotes of another moment are to be cleaned alike: arguments of `clean`, but for those of one moment (age,
        as_of, at, years, spot).
    """

    chain: Chain
    reason: npt.NDArray[np.int8]
    k: Floats
    vol: Floats
    bid_vol: Floats
    ask_vol: Floats
    weight: Floats
    forward: Floats
    rate: Floats
    bound: npt.NDArray[np.int8] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Which quotes are used."""
        return np.asarray(self.reason == 0)

    @property
    def w(self) -> Floats:
        """Total variance of the middle."""
        return np.asarray(np.square(self.vol) * self.chain.years)

    def counts(self) -> dict[str, int]:
        """How many quotes have each reason; those that none has are left out."""
        found = np.bincount(self.reason, minlength=len(REASONS))
        return {name: int(n) for name, n in zip(REASONS, found, strict=True) if n}

    def smiles(self) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64], list[str]]:
        """k, w and weight of the quotes that are kept, where each expiry begins, and the expiries, in their order."""
        order, offsets = _smiles(self.chain, self.kept)
        names = self.chain.expiry[order[offsets[:-1]]].tolist()
        return self.k[order], self.w[order], self.weight[order], offsets, names

    def in_smiles(self, values: Any) -> npt.NDArray[Any]:
        """Of values, one a quote, those of the quotes that are kept, in the order of `smiles`."""
        return np.asarray(values)[_smiles(self.chain, self.kept)[0]]

    def broken(self, vol: Floats) -> npt.NDArray[np.intp]:
        """Rows of bounds that volatilities, one a quote, are beyond, by more than 1e-9."""
        if self.bound is None:
            return np.zeros(0, np.intp)
        with np.errstate(invalid="ignore"):
            over = (self.bound > 0) & (vol > self.ask_vol + 1e-9)
            under = (self.bound < 0) & (vol < self.bid_vol - 1e-9)
        return np.nonzero(over | under)[0]

    def with_bounds(self, rows: npt.NDArray[np.intp], factor: float) -> Quotes:
        """The same, with some bounds as quotes, whose weight is a multiple of the median of their expiry's."""
        assert self.bound is not None
        reason, vol, weight = self.reason.copy(), self.vol.copy(), self.weight.copy()
        bid_vol, ask_vol = self.bid_vol.copy(), self.ask_vol.copy()
        for row in rows.tolist():
            vol[row] = self.ask_vol[row] if self.bound[row] > 0 else self.bid_vol[row]
            weight[row] = factor * float(
                np.median(self.weight[self.kept & (self.chain.expiry == self.chain.expiry[row])])
            )
            reason[row] = 0
            bid_vol[row], ask_vol[row] = (vol[row] * (1.0 + side * 0.01 / factor) for side in (-1, 1))
        return dataclasses.replace(self, reason=reason, vol=vol, weight=weight, bid_vol=bid_vol, ask_vol=ask_vol)

    def to_dict(self) -> dict[str, Any]:
        """The quotes as columns, such as for a data frame."""
        made = self.chain.to_dict()
        made.update(
            k=self.k, vol=self.vol, bid_vol=self.bid_vol, ask_vol=self.ask_vol, weight=self.weight,
            reason=np.array(REASONS, dtype=object)[self.reason],
        )  # fmt: skip
        return made

    def __repr__(self) -> str:
        expiries = len(set(self.chain.expiry[self.kept].tolist()))
        return f"Quotes({int(self.kept.sum()):,} of {len(self.reason):,} kept, {expiries} expiries)"


def clean(
    quotes: Any, *, exercise: str = "european", min_tick: float = 0.0, min_hours: float = 1.0, age: Any = None,
    max_age: float | None = None, keep_zero_bid: bool = False, one_sided: str = "drop", outliers: bool = True,
    cliffs: bool = True, num_threads: int | None = None, **read: Any,
) -> Quotes:  # fmt: skip
    """Forwards, discount factors and implied volatilities of a chain, and which of its quotes can be believed.

    Forward and discount of each expiry come from put-call parity by robust regression, unless they are given
    (:func:`warpquant.options.read_chain`). American options are turned into European ones first: the early-exercise
    premium at their own volatility is taken off, and parity is asked again. Then the rules, in this order; the first
    that applies is the quote's reason.

    - 'no_bid', 'no_ask', 'no_quote', 'crossed', 'expired', 'invalid', 'no_terms': what the chain says. A bid of 0 is
      none.
    - 'too_short': less than `min_hours` to expiry.
    - 'stale': older than `max_age`.
    - 'below_intrinsic', 'above_bound', 'no_time_value': the middle has no volatility, or its time value is below
      `min_tick`.
    - 'in_the_money': the option of the same strike that is out of the money is there.
    - 'outlier': the distance from a curve fitted without the quote is more than four median distances and more than
      two spreads.
    - 'cliff': beyond a jump in a wing, by more than three times what the slope before it says and more than spreads.
    - 'too_few': fewer than three strikes are left of the expiry.

    With ``one_sided="bound"`` quotes with a bid or an ask alone, out of the money, at expiries that are kept, have the
    reason 'bound': they are no quotes that a fit is near to, but it stays on their side.

    Parameters
    ----------
    quotes : Chain, path, data frame, or mapping of str to array
        A chain, or what :func:`warpquant.options.read_chain` reads.
    exercise : {'european', 'american'}
        What the options are.
    min_tick : float, default 0
        Least time value, in units of price.
    min_hours : float, default 1
        Least time to expiry.
    age : array of float, timedelta64 or datetime64, shape (quotes,), optional
        Seconds or time since each quote changed, or when it did (NaT for never), in the chain's order. Moments are
        measured from the chain's own.
    max_age : float, optional
        Seconds.
    keep_zero_bid : bool, default False
        Take an ask without a bid as a quote whose bid is 0, and whose middle is half the ask.
    one_sided : {'drop', 'bound'}
        What becomes of quotes with one side.
    outliers, cliffs : bool, default True
        Whether these rules are asked.
    num_threads : int, optional
        CPU threads.
    **read
        For :func:`warpquant.options.read_chain`.

    Returns
    -------
    Quotes

    Raises
    ------
    ParameterError
        If an argument is unknown, or the chain cannot be read.
    ShapeError
        If `age` does not go with the chain.

    Examples
    --------
    >>> from warpquant import data, surface
    >>> quotes = surface.clean(data.goog_options(), exercise="american")
    >>> quotes.counts()["in_the_money"] > 100
    True
    """
    _checks.choice("exercise", exercise, ("european", "american"))
    _checks.choice("one_sided", one_sided, ("drop", "bound"))
    for name, value in (("keep_zero_bid", keep_zero_bid), ("outliers", outliers), ("cliffs", cliffs)):
        _checks.flag(name, value)
    _checks.number("min_tick", min_tick, 0.0)
    _checks.number("min_hours", min_hours, 0.0)
    if isinstance(quotes, Chain):
        if read:
            raise ParameterError(f"{next(iter(read))}: is for sources that are yet to be read; pass it to read_chain")
        chain = quotes
    else:
        chain = options.read_chain(quotes, **read)
    if chain.model == "bachelier":
        raise ParameterError("quotes: the chain has normal volatilities; surfaces are made of Black's")
    if exercise == "american":
        chain = _as_european(chain, num_threads)
    reason: npt.NDArray[np.int8] = np.array([_CODE.get(name, 0) for name in STATUSES], np.int8)[chain.quote]

    mid = chain.mid()
    one = np.isin(chain.quote, (_CODE["no_bid"], _CODE["no_ask"]))
    zero = (chain.quote == _CODE["no_bid"]) & keep_zero_bid
    mid, reason[zero] = np.where(zero, 0.5 * chain.ask, mid), 0

    def mark(name: str, rows: npt.NDArray[np.bool_]) -> None:
        reason[rows & (reason == 0)] = _CODE[name]

    forward, rate = chain.of("forward"), chain.of("rate")
    mark("no_terms", ~(np.isfinite(forward + rate) & (forward > 0)))
    mark("too_short", ~(chain.years * _HOURS >= min_hours))
    if age is not None:
        seconds = _seconds(age, chain)
        if len(seconds) != len(chain):
            raise ShapeError(f"age: has {len(seconds)} entries, but the chain has {len(chain)} quotes")
        if max_age is None:
            raise ParameterError("max_age: is needed with age")
        if (seconds < 0).any():
            raise ParameterError(f"age: {np.nanmin(seconds):g} s is of a quote that is yet to come")
        mark("stale", ~(seconds <= max_age))
    vol, bid_vol, ask_vol, said = _vols(chain, forward, rate, mid, num_threads)
    bid_vol = np.where(zero, 0.0, bid_vol)
    for code, name in (
        (1, "below_intrinsic"),
        (2, "above_bound"),
        (3, "no_time_value"),
        (4, "invalid"),
        (5, "expired"),
    ):
        mark(name, said == code)
    sign = np.where(chain.is_call, 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        intrinsic = np.exp(-rate * chain.years) * np.maximum(sign * (forward - chain.strike), 0.0)
        mark("no_time_value", mid - intrinsic < min_tick)
        k = np.log(chain.strike / forward)
    mark("in_the_money", _other_side(chain, reason == 0, k))
    with np.errstate(invalid="ignore"):
        width = ask_vol - bid_vol  # both are infinite where both are above the bound
    if outliers:
        mark("outlier", _outliers(chain, reason == 0, k, vol, width, num_threads))
    if cliffs:
        mark("cliff", _cliffs(chain, reason == 0, k, vol, width))
    rows, offsets = _smiles(chain, reason == 0)
    if len(rows):
        # Strikes ascend within an expiry.
        new = np.r_[True, (np.diff(chain.strike[rows]) != 0) | (np.diff(chain.number[rows]) != 0)]
        few = np.add.reduceat(new, offsets[:-1], dtype=np.int64) < _LEAST
        reason[rows[np.repeat(few, np.diff(offsets))]] = _CODE["too_few"]
    bound = None
    if one_sided == "bound":
        bound = _bounds(chain, reason, one & (reason != 0), k, bid_vol, ask_vol)
        reason[bound != 0] = _CODE["bound"]
    weight = np.zeros(len(chain))
    rows, offsets = _smiles(chain, reason == 0)
    if len(rows):
        weight[rows] = _weights(k[rows], np.square(vol[rows]), chain.years[rows], width[rows], offsets)
    settings = {
        "exercise": exercise, "min_tick": min_tick, "min_hours": min_hours, "keep_zero_bid": keep_zero_bid,
        "one_sided": one_sided, "outliers": outliers, "cliffs": cliffs,
        **{name: value for name, value in read.items() if name not in _OF_ONE_MOMENT},
    }  # fmt: skip
    return Quotes(chain, reason, k, vol, bid_vol, ask_vol, weight, forward, rate, bound, settings)


def _seconds(age: Any, chain: Chain) -> Floats:
    """Ages in seconds: of moments those at the chain's own."""
    given = np.asarray(age).reshape(-1)
    if given.dtype.kind == "M":
        if chain.as_of is None:
            raise ParameterError("age: are moments, but the chain has none of its own; pass as_of to read_chain")
        given = chain.as_of - given
    if given.dtype.kind == "m":
        return np.asarray(np.where(np.isnat(given), np.nan, given / np.timedelta64(1, "s")), dtype=np.float64)
    return floats(age, "age").reshape(-1)


def _bounds(
    chain: Chain, reason: npt.NDArray[np.int8], one: npt.NDArray[np.bool_], k: Floats, bid_vol: Floats, ask_vol: Floats
) -> npt.NDArray[np.int8]:
    """Of one-sided quotes which side they bound: out of the money, with a volatility, where an expiry is kept."""
    kept = np.isin(chain.expiry, np.unique(chain.expiry[reason == 0]))
    said = np.isin(reason, (_CODE["no_bid"], _CODE["no_ask"]))
    outside = np.where(chain.is_call, k >= 0, k < 0)
    with np.errstate(invalid="ignore"):
        upper = np.isfinite(ask_vol) & (ask_vol > 0) & (chain.quote == _CODE["no_bid"])
        lower = np.isfinite(bid_vol) & (bid_vol > 0) & (chain.quote == _CODE["no_ask"])
    good = one & kept & said & outside
    return np.where(good & upper, 1, np.where(good & lower, -1, 0)).astype(np.int8)


def _smiles(
    chain: Chain, kept: npt.NDArray[np.bool_], least: int = 1
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Rows that are kept, by expiry and k, of expiries with so many at least, and where each expiry begins."""
    rows = np.nonzero(kept)[0]  # the chain is sorted by expiry and strike
    bounds = np.r_[0, np.nonzero(np.diff(chain.number[rows]))[0] + 1, len(rows)]
    lengths = np.diff(bounds)
    enough = lengths >= least
    if not enough.all():
        rows, lengths = rows[np.repeat(enough, lengths)], lengths[enough]
    return rows, np.r_[0, np.cumsum(lengths)].astype(np.int64)


def _weights(k: Floats, square: Floats, years: Floats, width: Floats, offsets: npt.NDArray[np.int64]) -> Floats:
    """Of quotes of several expiries, by the squares of their volatilities and their spreads in volatility."""
    known = np.isfinite(width) & (width > 0)
    lengths = np.diff(offsets)
    # A side without a volatility is as wide as the widest that is there.
    widest = np.repeat(np.maximum.reduceat(np.where(known, width, 0.0), offsets[:-1]), lengths)
    by_spread = vega_weights(k, square * years, years=years, spread=np.where(known, width, widest), offsets=offsets)
    enough = np.repeat(np.add.reduceat(known, offsets[:-1], dtype=np.int64) >= 0.5 * lengths, lengths)
    return by_spread if enough.all() else np.where(enough, by_spread, vega_weights(k, square * years, offsets=offsets))


def _vols(
    chain: Chain, forward: Floats, rate: Floats, mid: Floats, num_threads: int | None
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.uint8]]:
    prices = np.concatenate([mid, chain.bid, chain.ask])
    forwards, strikes, years, rates = (np.tile(v, 3) for v in (forward, chain.strike, chain.years, rate))
    found, status = options.implied_vol(
        prices,
        forwards,
        strikes,
        years,
        rates,
        0.0,
        np.tile(chain.is_call, 3),
        model="black76",
        return_status=True,
        clip="bounds",
        num_threads=num_threads,
    )
    n = len(chain)
    vol = np.where(status[:n] == 0, found[:n], np.nan)
    return vol, found[n : 2 * n], found[2 * n :], status[:n]


def _other_side(chain: Chain, kept: npt.NDArray[np.bool_], k: Floats) -> npt.NDArray[np.bool_]:
    """Options in the money whose partner out of the money is kept."""
    with np.errstate(invalid="ignore"):
        inside = np.where(chain.is_call, k < 0, k >= 0)
    # A number for each strike of each expiry, beside which it stands twice at most.
    new = (np.diff(chain.number) != 0) | (np.diff(chain.strike) != 0)
    contract = np.cumsum(np.r_[False, new])[: len(chain)]
    outside = np.zeros(len(chain), bool)
    outside[contract[kept & ~inside]] = True
    return np.asarray(inside & outside[contract])


def _outliers(
    chain: Chain, kept: npt.NDArray[np.bool_], k: Floats, vol: Floats, width: Floats, num_threads: int | None
) -> npt.NDArray[np.bool_]:
    """Quotes far from the curve of the others. What a fit without a quote leaves of it follows from its leverage."""
    bad, variance = np.zeros(len(chain), bool), np.square(vol) * chain.years
    for _ in range(3):
        rows, offsets = _smiles(chain, kept & ~bad, 7)
        if len(rows) == 0:
            break
        place, w, years = k[rows], variance[rows], chain.years[rows]
        weight = _weights(place, np.square(vol[rows]), years, width[rows], offsets)
        fit = fit_svi(place, w, weight, offsets, num_threads=num_threads)
        smile = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        fitted = models.svi(place, *(column[smile] for column in fit.parameters.T))["w"]
        distance = np.abs(vol[rows] - np.sqrt(np.maximum(fitted, 1e-12) / years))
        least = np.maximum(2.0 * np.where(np.isfinite(width[rows]), width[rows], 0.0), 1e-6)
        # Whatever the leverage is, a distance becomes no more than this.
        some = np.unique(smile[distance / _LEAST_FREE > least])
        if len(some) == 0:
            break
        among = np.isin(smile, some)
        rows = rows[among]
        place, weight, distance, least = (v[among] for v in (place, weight, distance, least))
        smile, parameters = np.searchsorted(some, smile[among]), fit.parameters[some]
        offsets = np.cumsum(np.r_[0, np.bincount(smile)])
        slopes = ("dw_da", "dw_db", "dw_drho", "dw_dm", "dw_dsigma")
        at = models.svi(place, *(column[smile] for column in parameters.T), outputs=slopes)
        jacobian = np.stack([at[n] for n in slopes], axis=1)
        jacobian *= np.sqrt(weight)[:, None]
        products = np.add.reduceat(jacobian[:, :, None] * jacobian[:, None, :], offsets[:-1], axis=0)
        scale = np.sqrt(np.einsum("sii->si", products)) + 1e-300
        inverse = np.linalg.pinv(products / scale[:, :, None] / scale[:, None, :], rcond=1e-10, hermitian=True)
        jacobian /= scale[smile]
        leverage = np.einsum("qi,qij,qj->q", jacobian, inverse[smile], jacobian)
        distance = distance / np.maximum(1.0 - leverage, _LEAST_FREE)
        new = np.zeros(len(rows), bool)
        for i in np.unique(smile[distance > least]).tolist():
            part = slice(offsets[i], offsets[i + 1])
            over = distance[part] / np.maximum(4.0 * 1.4826 * np.median(distance[part]), least[part])
            # A few at a time, the worst first: they bend the curve that the others are measured by.
            worst = np.argsort(over)[::-1][: max(1, len(over) // 10)]
            chosen = np.zeros(len(over), bool)
            chosen[worst] = True
            new[part] = chosen & (over > 1.0)
        if not new.any():
            break
        bad[rows[new]] = True
    return bad


def _cliffs(chain: Chain, kept: npt.NDArray[np.bool_], k: Floats, vol: Floats, width: Floats) -> npt.NDArray[np.bool_]:
    """Everything beyond a jump of volatility in a wing."""
    bad = np.zeros(len(chain), bool)
    rows_of_all, offsets = _smiles(chain, kept, 6)
    if len(rows_of_all) == 0:
        return bad
    sigmas, spread = vol[rows_of_all], np.where(np.isfinite(width), width, 0.0)[rows_of_all]
    jump = np.abs(np.diff(sigmas)) > np.maximum(0.02, spread[:-1] + spread[1:])
    jump[offsets[1:-1] - 1] = False  # from one expiry to the next
    for smile in np.unique(np.searchsorted(offsets, np.nonzero(jump)[0], side="right") - 1).tolist():
        part = slice(offsets[smile], offsets[smile + 1])
        rows, sigma = rows_of_all[part], sigmas[part]
        place, (jumps,) = k[rows], np.nonzero(jump[part][: len(rows) - 1])
        money = sigma[np.abs(place).argmin()] * float(np.sqrt(chain.years[rows[0]]))
        if not (np.abs(place[jumps]).max() >= money or np.abs(place[jumps + 1]).max() >= money):
            continue
        steps = np.abs(np.diff(sigma)) / np.maximum(np.diff(place), 1e-12)
        for wing in (-1, 1):
            # Outwards from one deviation on.
            for i in jumps[::wing].tolist():
                outer = i + 1 if wing > 0 else i
                if wing * place[outer] < money:
                    continue
                inner = steps[max(0, i - 3) : i] if wing > 0 else steps[i + 1 : i + 4]
                if len(inner) < 2:
                    continue
                local = float(np.median(inner))
                if abs(sigma[i + 1] - sigma[i]) > 3.0 * local * (place[i + 1] - place[i]):
                    bad[rows[outer:] if wing > 0 else rows[: outer + 1]] = True
                    break
    return bad


def _as_european(chain: Chain, num_threads: int | None) -> Chain:
    """The same chain with the prices of European options: less the premium for early exercise.

    Its terms are those that parity gives of such prices, unless it keeps them.
    """
    if chain.model != "bsm":
        raise ParameterError("exercise: American options need the spot, of which the chain has none")
    now = chain
    for _ in range(1 if chain.keeps_terms else 2):
        rate, dividend, mid = now.of("rate"), now.of("dividend"), chain.mid()
        # Of one-sided quotes the side that there is.
        one = np.isin(chain.quote, (_CODE["no_bid"], _CODE["no_ask"]))
        mid = np.where(one, np.where(np.isnan(chain.ask), chain.bid, chain.ask), mid)
        good = np.isfinite(rate + dividend + mid + chain.spot) & (chain.years > 0)
        premium = np.zeros(len(chain))
        premium[good] = _premium(
            mid[good], chain.spot[good], chain.strike[good], chain.years[good], rate[good], dividend[good],
            chain.is_call[good], num_threads,
        )  # fmt: skip
        now = Chain(
            expiry=chain.expiry, years=chain.years, strike=chain.strike, is_call=chain.is_call,
            bid=chain.bid - premium, ask=chain.ask - premium, price=chain.price - premium, spot=chain.spot,
            model=chain.model, as_of=chain.as_of, rate=chain.rate, dividend=chain.dividend, row=chain.row,
            terms=chain.terms if chain.keeps_terms else None,
        )  # fmt: skip
    return now


def _premium(
    price: Floats, spot: Floats, strike: Floats, years: Floats, rate: Floats, dividend: Floats,
    is_call: npt.NDArray[np.bool_], num_threads: int | None,
) -> Floats:  # fmt: skip
    """What early exercise is worth at the volatility that an American option's price implies."""
    found = options.implied_vol(price, spot, strike, years, rate, dividend, is_call, num_threads=num_threads)
    vol = np.where(np.isfinite(found) & (found > 0), found, 0.3)
    american = np.full(len(price), np.nan)
    open_ = np.ones(len(price), bool)
    for _ in range(12):
        rows = np.nonzero(open_)[0]
        if len(rows) == 0:
            break
        made = options.american(
            spot[rows], strike[rows], years[rows], rate[rows], dividend[rows], vol[rows], is_call[rows],
            accuracy="fast", outputs=("price", "vega"), num_threads=num_threads,
        )  # fmt: skip
        american[rows] = made["price"]
        miss = price[rows] - made["price"]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            step = np.where(made["vega"] > 1e-8 * spot[rows], miss / made["vega"], 0.0)
        step = np.clip(np.nan_to_num(step), -0.5 * vol[rows], 0.5)
        vol[rows] = np.clip(vol[rows] + step, 1e-3, 5.0)
        open_[rows] = np.abs(step) > 1e-7
    european = options.greeks(
        spot, strike, years, rate, dividend, vol, is_call, outputs="price", num_threads=num_threads
    )["price"]
    premium = american - european
    return np.where(np.isfinite(premium), np.maximum(premium, 0.0), 0.0)
