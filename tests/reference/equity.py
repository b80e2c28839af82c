# SPDX-License-Identifier: Apache-2.0
"""Equity of a signal by its definition, one bar after the other."""

from __future__ import annotations

import math

import numpy as np


def simple_returns(prices):
    """Change over the last bar; unknown at the first bar and after a price of 0."""
    out = [math.nan] * len(prices)
    for i in range(1, len(prices)):
        if prices[i - 1] != 0:
            out[i] = (prices[i] - prices[i - 1]) / prices[i - 1]
    return out


def curve(
    returns=None,
    signal=(),
    *,
    prices=None,
    starting=1.0,
    decay_per_bar=0.0,
    growth_per_bar=0.0,
    floor=0.25,
    cutout=0,
    neutral="flat",
):
    """Equity from bar `cutout` on; the signal of one bar decides about the return of the next."""
    if prices is not None:
        returns = simple_returns([float(p) for p in prices])
    out = np.full(len(returns), np.nan)
    equity, exposure = math.nan, 0.0
    for i in range(cutout, len(returns)):
        before = float(signal[i - 1]) if i else math.nan
        weighted = float(returns[i]) * math.exp(growth_per_bar * (i - cutout))
        if before > 0:
            exposure = weighted
        elif before < 0:
            exposure = -weighted
        elif neutral == "flat":
            exposure = 0.0
        if not math.isfinite(exposure):
            exposure = 0.0
        equity = starting if i == cutout else equity * (1 - decay_per_bar) * (1 + exposure)
        equity = out[i] = max(equity, floor)
    return out
