# SPDX-License-Identifier: Apache-2.0
"""Adaptive trend classification by its definition, one symbol, slow.

`atc` returns what ``warpquant.atc.run(..., outputs="all", detail=True)`` returns, under the same names. Averages are in
extended precision; decisions and equities are taken bar by bar in float64. `undecided` finds the bars on which two
correct programs may differ, because the value behind a decision lies on the edge.
"""

from __future__ import annotations

import math

import numpy as np

from reference.equity import simple_returns
from reference.ma import NAN, Wide, smoothed, weighted

FAMILIES = ("ema", "hma", "wma", "dema", "lsma", "kama")
OFFSETS = {"Narrow": (1, 2, 3, 4), "Medium": (1, 2, 4, 6), "Wide": (1, 3, 5, 7)}
SWITCHES = ("hma", "dema_seed", "lsma", "kama_seed", "rounding", "cut", "neutral", "average_fill", "nan_policy",
            "length_rule", "on_short")  # fmt: skip
COMPAT = {
    "pine": dict(zip(SWITCHES, ("sma", "sma", "end", "zero", "away", "fixed", "sticky", "nan", "skip", "raise",
                                "neutral"), strict=True)),
    "sovereign": dict(zip(SWITCHES, ("hull", "value", "end", "first", "even", "thresholds", "flat", "zero",
                                     "propagate", "raise", "neutral"), strict=True)),
}  # fmt: skip
NUMBERS = {
    "robustness": "Medium",
    "La": 0.02,
    "De": 0.03,
    "cutout": 0,
    "long_threshold": 0.1,
    "short_threshold": -0.1,
    "cut_level": 0.49,
    "strategy_mode": False,
    "cross_rtol": 1e-12,
}
LENGTHS = {"ema_len": 28, "hull_len": 28, "wma_len": 28, "dema_len": 28, "lsma_len": 28, "kama_len": 28}
WEIGHTS = {f"{f}_w": 1.0 for f in FAMILIES}
FLOOR = 0.25


def nine(base, robustness, rule):
    offsets = OFFSETS[robustness]
    lengths = [base, *(base + o for o in offsets), *(base - o for o in offsets)]
    if rule == "clamp":
        return [max(n, 1) for n in lengths]
    if min(lengths) < 1:
        raise ValueError(f"base length {base} is below {max(offsets) + 1}")
    return lengths


# ---------------------------------------------------------------------------------------------- averages


def aging_ema(x, n):
    """EMA from the mean of what is there in the first `n` bars; a missing bar repeats it and makes it older."""
    rate, out = 2 / Wide(n + 1), np.full(len(x), NAN)
    if n > len(x):
        return out
    known = x[:n][~np.isnan(x[:n])]
    value, gap = known.mean() if len(known) else NAN, 0
    out[n - 1] = value
    for i in range(n, len(x)):
        if np.isnan(value):
            value = x[i]
        elif np.isnan(x[i]):
            gap += 1
        elif gap == 0:
            value += rate * (x[i] - value)
        else:
            old = (1 - rate) ** (gap + 1)
            value, gap = (old * value + rate * x[i]) / (old + rate), 0
        out[i] = value
    return out


def dema(x, n, seed):
    once = aging_ema(x, n)
    twice = smoothed(once, n, 2 / Wide(n + 1), "first" if seed == "value" else "sma")
    return 2 * once - twice


def hull(x, n):
    half, root = max(n // 2, 1), max(math.isqrt(n), 1)
    raw = 2 * weighted(x, np.arange(1, half + 1)) - weighted(x, np.arange(1, n + 1))
    return weighted(raw, np.arange(1, root + 1))


def lsma(x, n, point):
    if n == 1:
        return x.copy()
    k = np.arange(n, dtype=Wide) - (n - 1) / Wide(2)
    at = k[-1] if point == "end" else k[-2]
    return weighted(x, 1 / Wide(n) + k * at / (k**2).sum())


def kama(x, n, seed):
    """After a missing bar it goes on from the price.

    seed "first": missing while the window of ``n + 1`` bars holds a missing one. seed "zero": on the bar itself; the
    chart script asks whether the noise is above 1e-10, and where it is missing the answer is no.
    """
    fast, slow = Wide(0.666), Wide(0.064)
    out = np.full(len(x), NAN)
    value = Wide(0) if seed == "zero" else x[0]
    for i in range(len(x)):
        if i >= n:
            noise = abs(np.diff(x[i - n : i + 1])).sum()
            change = abs(x[i] - x[i - n])
            if seed == "zero":
                efficiency = change / noise if noise > 1e-10 else Wide(0)
            else:
                efficiency = Wide(0) if noise == 0 else change / noise
            value = x[i] if np.isnan(value) else value
            value = value + (efficiency * (fast - slow) + slow) ** 2 * (x[i] - value)
        elif seed == "zero":
            value = value + slow**2 * (x[i] - value)
        out[i] = value
    return out


def average(family, x, n, p):
    if family == "ema":
        return aging_ema(x, n)
    if family == "hma":
        return hull(x, n) if p["hma"] == "hull" else weighted(x, np.ones(n))
    if family == "wma":
        return weighted(x, np.arange(1, n + 1))
    if family == "dema":
        return dema(x, n, p["dema_seed"])
    if family == "lsma":
        return lsma(x, n, p["lsma"])
    return kama(x, n, p["kama_seed"])


# ---------------------------------------------------------------------------------------------- decisions


def crosses(close, ma, rtol):
    """The last cross: +1, -1, or 0 before the first."""
    signal, side, state = np.zeros(len(close)), math.nan, 0.0
    for i, (c, m) in enumerate(zip(close.tolist(), ma.tolist(), strict=True)):
        before, distance = side, c - m
        side = 0.0 if abs(distance) <= rtol * abs(c) else distance
        if side > 0 and before <= 0:
            state = 1.0
        elif side < 0 and before >= 0:
            state = -1.0
        signal[i] = state
    return signal


def equity(start, signal, returns, p):
    """Before the cutout NaN; `returns` carry the growth."""
    out, value, exposure, keep = [math.nan] * len(signal), math.nan, 0.0, 1 - p["De"] / 100
    signal = signal.tolist()
    for i in range(p["cutout"], len(signal)):
        before = signal[i - 1] if i else math.nan
        if before > 0:
            exposure = returns[i]
        elif before < 0:
            exposure = -returns[i]
        elif p["neutral"] == "flat":
            exposure = 0.0
        if math.isnan(exposure):
            exposure = 0.0
        value = start if i == p["cutout"] else value * keep * (1 + exposure)
        value = out[i] = max(value, FLOOR)
    return np.array(out)


def round2(v, mode):
    """Two decimals, never -0.0."""
    if mode == "none" or math.isnan(v):
        return v
    hundredths = abs(v) * 100
    if mode == "even":
        whole = round(hundredths)
    else:
        whole = math.floor(hundredths)
        whole += hundredths - whole >= 0.5 - 1e-10
    return math.copysign(whole / 100, v) if whole else 0.0


def latch(level, long_threshold, short_threshold):
    out, state = np.zeros(len(level), np.int8), 0
    for i in range(1, len(level)):
        if level[i] > long_threshold and level[i - 1] <= long_threshold:
            state = 1
        elif level[i] < short_threshold and level[i - 1] >= short_threshold:
            state = -1
        out[i] = state
    return out


# ---------------------------------------------------------------------------------------------- all of it


def atc(prices, src=None, *, compat="sovereign", **given):
    """All outputs, and as ``raw`` the six unrounded layer-1 values."""
    unknown = given.keys() - {*NUMBERS, *LENGTHS, *WEIGHTS, *SWITCHES}
    if unknown:
        raise TypeError(f"unknown: {sorted(unknown)}")
    p = {**NUMBERS, **LENGTHS, **WEIGHTS, **COMPAT[compat], **given}
    close = np.array(prices, dtype=np.float64)
    src = close if src is None else np.array(src, dtype=np.float64)
    if close.ndim != 1 or close.shape != src.shape or not 0 <= p["cutout"] < len(close):
        raise ValueError("one series, its source of the same size, and a cutout inside it")
    close, src = (np.where(np.isfinite(v), v, np.nan) for v in (close, src))
    there = ~(np.isnan(close) | np.isnan(src))
    if p["nan_policy"] == "raise" and not there.all():
        raise ValueError(f"missing value at bar {np.argmin(there)}")
    if p["nan_policy"] != "skip" or there.all():
        return _dense(close, src, p)
    if there.sum() <= p["cutout"]:
        return _spread(_dense(np.ones(p["cutout"] + 1), np.ones(p["cutout"] + 1), p), np.array([], int), len(close))
    return _spread(_dense(close[there], src[there], p), np.flatnonzero(there), len(close))


def _spread(dense, bars, n):
    """Results of the present bars in their places: between them floats are NaN and int8 repeat."""
    out = {}
    for name, values in dense.items():
        out[name] = np.zeros(n, np.int8) if values.dtype == np.int8 else np.full((*values.shape[:-1], n), np.nan)
        for k, bar in enumerate(bars):
            end = n if values.dtype == np.int8 else bar + 1
            out[name][..., bar:end] = values[..., k : k + 1]
    return out


def _dense(close, src, p):
    n = len(close)
    returns = [r * math.exp(p["La"] / 1000 * max(i - p["cutout"], 0)) for i, r in enumerate(simple_returns(close))]
    high, low = (
        (p["cut_level"], -p["cut_level"]) if p["cut"] == "fixed" else (p["long_threshold"], p["short_threshold"])
    )
    out, raw = {}, []
    over, under = np.zeros(n), np.zeros(n)
    for family, base in zip(FAMILIES, LENGTHS, strict=True):
        lengths = nine(p[base], p["robustness"], p["length_rule"])
        averages = np.stack([average(family, src.astype(Wide), m, p).astype(np.float64) for m in lengths])
        signals = np.stack([crosses(close, ma, p["cross_rtol"]) for ma in averages])
        equities = np.stack([equity(1.0, s, returns, p) for s in signals])
        layer1 = (signals * equities).sum(axis=0) / equities.sum(axis=0)
        raw.append(layer1)
        signal = np.array([round2(v, p["rounding"]) for v in layer1.tolist()])
        weight = equity(p[f"{family}_w"], signal, returns, p)
        cut = np.where(signal > high, 1.0, np.where(signal < low, -1.0, 0.0))
        over, under = over + cut * weight, under + weight
        out |= {f"{family}_signal": signal, f"{family}_s": weight}
        out |= {f"{family}_ma": averages, f"{family}_sig": signals, f"{family}_eq": equities}
    fill = np.nan if p["average_fill"] == "nan" else 0.0
    level = over / under
    level[np.isnan(level)] = fill
    if p["strategy_mode"]:
        level = np.r_[fill, level[:-1]]
    out["average"] = level
    out["trend"] = np.where(level > 0, 1, np.where(level < 0, -1, 0)).astype(np.int8)
    out["direction"] = latch(level, p["long_threshold"], p["short_threshold"])
    out["raw"] = np.stack(raw)
    return out


def undecided(close, result, *, rounding, cross_rtol, latches, cuts):
    """Bars with a value on the edge of a decision: a cross, a rounding, a cut of raw layer 1, a latch, a sign."""
    close, raw, level = np.asarray(close, dtype=np.float64), result["raw"], result["average"]
    distance = [abs(close - result[f"{f}_ma"]) for f in FAMILIES]
    edge = [((d > cross_rtol * abs(close)) & (d <= (cross_rtol + 1e-11) * abs(close))).any(axis=0) for d in distance]
    if rounding == "none":
        edge += [(abs(raw - cut) < 1e-9).any(axis=0) for cut in cuts]
    else:
        edge.append((abs(abs(raw) * 100 % 1 - 0.5) < 1e-6).any(axis=0))
    edge += [(abs(level - latch) < 1e-9) & (level != latch) for latch in latches]
    edge.append((abs(level) < 1e-9) & (level != 0))
    return np.logical_or.reduce(edge)
