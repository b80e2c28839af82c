# SPDX-License-Identifier: Apache-2.0
"""Moving averages by their definitions: slow, in extended precision, one bar after the other.

One function per kind, each ``(x, length, *, seed="sma", nan="window", fast=2, slow=30)`` for one series.
"""

from __future__ import annotations

import numpy as np

Wide = np.longdouble
NAN = Wide("nan")


def weighted(x, weights):
    """Mean of the last ``len(weights)`` values, newest weight last; NaN until there are so many."""
    weights = np.asarray(weights, dtype=Wide)
    out = np.full(len(x), NAN)
    if len(x) >= len(weights):
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x, dtype=Wide), len(weights))
        out[len(weights) - 1 :] = (windows * weights).sum(axis=1) / weights.sum()
    return out


def _present(x):
    """The series with every missing value NaN, and the number of leading ones."""
    x = np.array(x, dtype=np.float64, ndmin=1)
    x[np.isinf(x)] = np.nan
    known = np.flatnonzero(~np.isnan(x))
    return x, int(known[0]) if len(known) else len(x)


def _refuse(x):
    missing = np.flatnonzero(~np.isfinite(np.asarray(x, dtype=np.float64)))
    if len(missing):
        raise ValueError(f"missing value at bar {missing[0]}")


def _windowed(average, x, length, nan, *, memory=True):
    """An average of a window: it is missing while the window holds a missing value."""
    if nan == "raise":
        _refuse(x)
    x, lead = _present(x)
    out = np.full(len(x), NAN)
    if length <= len(x):
        out[lead:] = average(x[lead:], length)
    if nan == "propagate" and memory:
        out[lead + _first_gap(x[lead:]) :] = NAN
    return out.astype(np.float64)


def _recurrent(average, x, length, nan):
    """An average with a state: a missing bar leaves it alone."""
    if nan == "raise":
        _refuse(x)
    x, lead = _present(x)
    end = lead + _first_gap(x[lead:]) if nan == "propagate" else len(x)
    bars = np.flatnonzero(~np.isnan(x[:end]))
    out = np.full(len(x), np.nan)
    if len(bars):
        out[bars] = average(x[bars].astype(Wide), length)
    return out


def _first_gap(x):
    missing = np.flatnonzero(np.isnan(x))
    return int(missing[0]) if len(missing) else len(x)


def smoothed(x, length, rate, seed):
    """``y += rate (x - y)`` over the valid part of `x`, from its first value or from the mean of the first `length`."""
    out = np.full(len(x), NAN)
    valid = np.flatnonzero(~np.isnan(x))
    start = valid[0] if len(valid) else len(x)
    first = start + (length - 1 if seed == "sma" else 0)
    if first >= len(x):
        return out
    y = out[first] = x[start : first + 1].sum() / (first + 1 - start)
    for i in range(first + 1, len(x)):
        y = out[i] = y + rate * (x[i] - y)
    return out


def sma(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    return _windowed(lambda v, n: weighted(v, np.ones(n)), x, length, nan)


def wma(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    return _windowed(lambda v, n: weighted(v, np.arange(1, n + 1)), x, length, nan)


def hma(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    def hull(v, n):
        half, root = max(n // 2, 1), max(int(np.sqrt(n)), 1)
        raw = 2 * weighted(v, np.arange(1, half + 1)) - weighted(v, np.arange(1, n + 1))
        return weighted(raw, np.arange(1, root + 1))

    return _windowed(hull, x, length, nan)


def lsma(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    def end_of_line(v, n):
        k = np.arange(n, dtype=Wide)
        middle = (n - 1) / Wide(2)
        spread = ((k - middle) ** 2).sum()
        slope = (k - middle) * (n - 1 - middle) / spread if n > 1 else 0 * k
        return weighted(v, 1 / Wide(n) + slope)

    return _windowed(end_of_line, x, length, nan)


def roc(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    def change(v, n):
        out = np.full(len(v), NAN)
        for i in range(n, len(v)):
            now, then = Wide(v[i]), Wide(v[i - n])
            out[i] = 100 * (now - then) / then if then != 0 else NAN
        return out

    return _windowed(change, x, length, nan, memory=False)


def ema(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    return _recurrent(lambda v, n: smoothed(v, n, 2 / Wide(n + 1), seed), x, length, nan)


def rma(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    return _recurrent(lambda v, n: smoothed(v, n, 1 / Wide(n), seed), x, length, nan)


def dema(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    def double(v, n):
        once = smoothed(v, n, 2 / Wide(n + 1), seed)
        twice = smoothed(once, n, 2 / Wide(n + 1), seed)
        return 2 * once - twice

    return _recurrent(double, x, length, nan)


def tema(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    def triple(v, n):
        once = smoothed(v, n, 2 / Wide(n + 1), seed)
        twice = smoothed(once, n, 2 / Wide(n + 1), seed)
        thrice = smoothed(twice, n, 2 / Wide(n + 1), seed)
        return 3 * once - 3 * twice + thrice

    return _recurrent(triple, x, length, nan)


def kama(x, length, *, seed="sma", nan="window", fast=2, slow=30):
    quick, lazy = 2 / Wide(fast + 1), 2 / Wide(slow + 1)

    def adaptive(v, n):
        out = np.full(len(v), NAN)
        if n > len(v):
            return out
        y = v[n - 1]
        moves = abs(np.diff(v))
        for i in range(n, len(v)):
            noise = moves[i - n : i].sum()
            efficiency = abs(v[i] - v[i - n]) / noise if noise > 0 else 1
            rate = (efficiency * (quick - lazy) + lazy) ** 2
            y = out[i] = y + rate * (v[i] - y)
        return out

    return _recurrent(adaptive, x, length, nan)
