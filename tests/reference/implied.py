# SPDX-License-Identifier: Apache-2.0
"""Implied volatility from its definition: Newton's method on logarithms of prices with 60 digits."""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath as mp

DIGITS = 60


def cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


@dataclasses.dataclass(frozen=True)
class Option:
    """Arguments are exact: floats as they are."""

    model: str
    spot: Any
    strike: Any
    expiry: Any
    rate: Any
    dividend: Any
    sign: int

    @property
    def legs(self):
        """Discounted forward and strike."""
        q = self.dividend if self.model == "bsm" else self.rate
        return mp.mpf(self.spot) * mp.exp(-mp.mpf(q) * self.expiry), mp.mpf(self.strike) * mp.exp(
            -mp.mpf(self.rate) * self.expiry
        )

    def price(self, vol, sign=None):
        """Price and its derivatives by vol, spot, strike, expiry, rate and dividend."""
        e, (forward, cash) = self.sign if sign is None else sign, self.legs
        spot, strike, expiry, rate = (mp.mpf(x) for x in (self.spot, self.strike, self.expiry, self.rate))
        v, root, discount = vol * mp.sqrt(expiry), mp.sqrt(expiry), mp.exp(-rate * expiry)
        if self.model == "bachelier":
            d = (spot - strike) / v
            value = discount * (e * (spot - strike) * cdf(e * d) + v * density(d))
            vega, delta = discount * root * density(d), e * discount * cdf(e * d)
            by_expiry = vega * vol / (2 * expiry) - rate * value
            return value, (vega, delta, -delta, by_expiry, -expiry * value, mp.nan)
        carry = mp.mpf(self.dividend) if self.model == "bsm" else rate
        d1 = (mp.log(spot / strike) + (rate - carry) * expiry) / v + v / 2
        a, b, vega = forward * cdf(e * d1), cash * cdf(e * (d1 - v)), forward * density(d1) * root
        value = e * (a - b)
        by_expiry = vega * vol / (2 * expiry) - e * carry * a + e * rate * b
        if self.model == "bsm":
            return value, (vega, e * a / spot, -e * b / strike, by_expiry, e * expiry * b, -e * expiry * a)
        return value, (vega, e * a / spot, -e * b / strike, by_expiry, -expiry * value, mp.nan)

    def implied(self, price, start):
        """Volatility, what a relative unit in all inputs does to it, and its derivatives by price and inputs;
        None without a solution."""
        with mp.workdps(DIGITS):
            forward, cash = self.legs
            outer = -1 if forward > cash else 1
            value = mp.mpf(price) - max(self.sign * (forward - cash), 0)
            most = mp.inf if self.model == "bachelier" else min(forward, cash)
            if not 0 < value < most:
                return None
            vol = mp.mpf(start)
            for _ in range(100):
                have, (vega, *_rest) = self.price(vol, outer)
                room = most - have
                if value > most / 2:  # also keeps an infinite bound out
                    step = mp.log(room / (most - value)) * room / vega
                else:
                    step = mp.log(value / have) * have / vega
                step = max(min(step, vol), -vol / 2)
                vol += step
                if abs(step) < vol * mp.mpf(10) ** -40:
                    break
            _, (vega, *by_input) = self.price(vol)
            slopes = [1 / vega, *(-slope / vega for slope in by_input)]
            inputs = (price, self.spot, self.strike, self.expiry, self.rate, self.dividend)
            moved = (abs(mp.mpf(x) * slope) for x, slope in zip(inputs, slopes, strict=True) if not mp.isnan(slope))
            return vol, mp.fsum(moved) / vol, slopes
