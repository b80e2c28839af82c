# SPDX-License-Identifier: Apache-2.0
"""Moving averages: against their definitions, other libraries, and themselves computed another way."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, misaligned, near, panel, same_bits, walk
from reference import ma as reference
from warpquant import ma

KINDS = ma.kinds()
RECURRENT = [k for k in KINDS if ma.info(k).recurrent]
WINDOWED = [k for k in KINDS if not ma.info(k).recurrent]
SEEDED = [k for k in KINDS if "seed" in ma.info(k).options]
BETWEEN = ("sma", "ema", "wma", "rma", "kama")  # never outside the values they average
LENGTHS = (1, 2, 3, 5, 14, 28, 200)
SIZES = (0, 1, 2, 7, 8, 9, 31, 32, 33, 255, 256, 257, 263, 264, 265, 1000)
BLOCK = 264  # windowed sums are taken afresh at every multiple of this

TOLERANCE = {
    # relative to the largest price so far; twice the price change and 100 times its ratio for roc
    "oracle": 1e-13,  # definitions: sums of 1,000 bars keep three digits more than this
    # relative to the value
    "accuracy": 1e-15,  # sma, wma, lsma, ema of a million bars
    "shock": 1e-14,  # while a shock is in the window or the block: of the shock; lsma = 3 wma - 2 sma, three times
    "decay": 4e-15,  # ema while a shock decays from 1e12 to 100: 335 products in a row, each rounded
    "daily": {"sma": 1e-15, "wma": 2e-15, "lsma": 4e-15},  # moves of 1 %: a block spans a third of the price
    "talib": 1e-10,  # TA-Lib's own sums drift
    "pandas": 1e-13,  # the same recurrence in another order of operations
    "shift": 1e-12,  # price level moved by 1,000 times itself loses three digits
    "ulp": 4.5e-16,  # two units in the last place
}


def average(kind, x, length, device="cpu", **options):
    return getattr(ma, kind)(x, length, device=device, **options)


def variants(kind):
    """Options that the definition depends on."""
    for seed in ("sma", "first") if kind in SEEDED else (None,):
        for nan in ("window", "propagate"):
            yield {"nan": nan} if seed is None else {"nan": nan, "seed": seed}


def first_bar(kind, length, seed="sma"):
    """The first bar with a value."""
    if seed == "first":
        return 0
    return {
        "hma": length - 1 + math.isqrt(length) - 1,
        "dema": 2 * (length - 1),
        "tema": 3 * (length - 1),
        "kama": length,
        "roc": length,
    }.get(kind, length - 1)


def scale(kind, x, want):
    """What the error of an average is measured by."""
    if kind == "roc":
        return np.abs(want) + 200.0
    return np.maximum.accumulate(np.nan_to_num(np.abs(x), posinf=0.0)) if len(x) else 1.0


# ---------------------------------------------------------------------------------------------- definitions


def test_every_kind_has_an_oracle():
    assert all(callable(getattr(reference, kind, None)) for kind in KINDS)


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_the_oracle_in_fractions(length):
    """Extended precision is enough: the oracle is the rounded result of exact arithmetic, written out once more."""
    x = [Fraction(float(v)) for v in walk(40, 1)]
    rate, total = Fraction(2, length + 1), Fraction(length * (length + 1), 2)

    def smooth(values):
        out = [sum(values[:length]) / length]
        for v in values[length:]:
            out.append(out[-1] * (1 - rate) + v * rate)
        return out

    def paces():
        y, out = x[length - 1], []
        for i in range(length, 40):
            noise = sum(abs(x[j] - x[j - 1]) for j in range(i - length + 1, i + 1))
            pace = abs(x[i] - x[i - length]) / noise * (Fraction(2, 3) - Fraction(2, 31)) + Fraction(2, 31)
            y += pace**2 * (x[i] - y)
            out.append(y)
        return out

    windows = [x[i - length + 1 : i + 1] for i in range(length - 1, 40)]
    weighted = [sum((k + 1) * v for k, v in enumerate(w)) / total for w in windows]
    means = [sum(w) / length for w in windows]
    once = smooth(x)
    twice = smooth(once)
    thrice = smooth(twice)
    exact = {
        "sma": means,
        "wma": weighted,
        "lsma": [3 * w - 2 * m for w, m in zip(weighted, means, strict=True)],
        "ema": once,
        "dema": [2 * a - b for a, b in zip(once[length - 1 :], twice, strict=True)],
        "tema": [3 * (a - b) + c for a, b, c in zip(once[2 * length - 2 :], twice[length - 1 :], thrice, strict=True)],
        "kama": paces(),
        "roc": [100 * (b - a) / a for a, b in zip(x, x[length:], strict=False)],
    }
    for kind, want in exact.items():
        got = getattr(reference, kind)([float(v) for v in x], length)
        near(got[40 - len(want) :], [float(v) for v in want], TOLERANCE["ulp"], label=kind)
        assert np.isnan(got[: 40 - len(want)]).all()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_oracle(kind, length, device):
    warm_up = first_bar(kind, length)
    x = walk(1000, length)
    series = {"walk": x, "holes": holes(x, length), "infinite": np.where(np.arange(1000) % 173 == 20, np.inf, x)}
    for name, x in series.items():
        for options in variants(kind):
            want = getattr(reference, kind)(x, length, **options)
            for size in {*SIZES, warm_up, warm_up + 1}:
                label = f"{name}, {size} bars, {options}"
                got = average(kind, x[:size], length, device, **options)
                near(got, want[:size], TOLERANCE["oracle"], scale(kind, x[:size], want[:size]), label)


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_of_hard_prices(kind, device):
    rng = np.random.default_rng(5)
    ticks = np.round(walk(600, 3, 0.002), 1)
    series = {
        "flat": np.full(600, 7.1),
        "ticks with flat stretches": np.where(np.arange(600) % 100 < 50, ticks, 99.9),
        "around zero": rng.normal(0.0, 1.0, 600),
        "negative": -walk(600, 4),
        "tiny": walk(600, 6) * 1e-300,
        "huge": walk(600, 7) * 1e290,
    }
    for name, x in series.items():
        for length in (1, 2, 5, 28):
            want = getattr(reference, kind)(x, length)
            size = scale(kind, x, want)
            near(average(kind, x, length, device), want, TOLERANCE["oracle"], size, f"{name}, length {length}")


@pytest.mark.parametrize(("fast", "slow"), [(2, 30), (5, 10), (1, 100), (2.5, 7.25)])
def test_kama_paces(fast, slow, device):
    x = walk(300)
    want = reference.kama(x, 10, fast=fast, slow=slow)
    near(ma.kama(x, 10, fast=fast, slow=slow, device=device), want, TOLERANCE["oracle"])


def test_kama_of_a_flat_window_takes_the_fast_pace(device):
    got = ma.kama([1.0, 1.0, 4.0, 4.0, 4.0, 4.0], 2, device=device)
    near(got[-1:], got[-2:-1] + (2 / 3) ** 2 * (4 - got[-2:-1]), TOLERANCE["ulp"])


@pytest.mark.parametrize("kind", KINDS)
def test_first_value_and_series_too_short(kind, device):
    for length in (1, 2, 5, 28):
        for seed in ("sma", "first") if kind in SEEDED else ("sma",):
            options = {"seed": seed} if kind in SEEDED else {}
            first = first_bar(kind, length, seed)
            got = average(kind, walk(first + 1), length, device, **options)
            assert np.isnan(got[:first]).all()
            assert np.isfinite(got[first])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1001, 10**6, 2**31 - 1])
def test_lengths_beyond_the_series(kind, length, device):
    for x in (walk(1000), panel(3, 50), walk(0), np.empty((3, 0)), np.empty((0, 50))):
        got = average(kind, x, length, device)
        assert got.shape == x.shape
        assert np.isnan(got).all()


# ---------------------------------------------------------------------------------------------- missing bars


@pytest.mark.parametrize("nan", ["window", "propagate"])
@pytest.mark.parametrize("kind", KINDS)
def test_infinite_is_missing(kind, nan, device):
    x = holes(walk(400))
    gaps = np.isnan(x)
    want = average(kind, x, 5, device, nan=nan)
    for value in (np.inf, -np.inf):
        same_bits(average(kind, np.where(gaps, value, x), 5, device, nan=nan), want, str(value))


@pytest.mark.parametrize("kind", KINDS)
def test_leading_missing_bars_are_passed_over(kind, device):
    x = walk(300)
    for nan in ("window", "propagate"):
        for lead in (1, 7, 8, 100, 255, 256, 300):
            got = average(kind, np.r_[np.full(lead, np.nan), x], 14, device, nan=nan)
            assert np.isnan(got[:lead]).all()
            near(got[lead:], average(kind, x, 14, device), TOLERANCE["oracle"], 100 * x.max(), f"{nan}, {lead}")
    all_missing = average(kind, np.full(50, np.nan), 3, device)
    assert np.isnan(all_missing).all()


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_recurrence_holds_its_state_over_a_gap(kind, device):
    x = holes(walk(600))
    there = ~np.isnan(x)
    for seed in ("sma", "first") if kind in SEEDED else (None,):
        options = {} if seed is None else {"seed": seed}
        got = average(kind, x, 14, device, **options)
        assert np.isnan(got[~there]).all()
        same_bits(got[there], average(kind, x[there], 14, device, **options), str(seed))


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize("bad", [np.nan, 1e12])
def test_a_window_forgets(kind, bad, device):
    """A missing bar or a shock leaves no bit behind once it has left the window and a block has begun."""
    x, length, at = walk(1500), 28, 700
    y = np.where(np.arange(1500) == at, bad, x)
    span = length + math.isqrt(length) + 1
    end = (at + span) // BLOCK * BLOCK + BLOCK + span
    got, want = average(kind, y, length, device), average(kind, x, length, device)
    same_bits(got[:at], want[:at], "before")
    same_bits(got[end:], want[end:], "after")
    if np.isnan(bad):
        assert np.isnan(got[at])


@pytest.mark.parametrize("kind", KINDS)
def test_propagate(kind, device):
    x = walk(300)
    x[100] = np.nan
    got = average(kind, x, 5, device, nan="propagate")
    assert np.isnan(got[100])
    assert np.isnan(got[106:]).all() == (kind != "roc")


@pytest.mark.parametrize("kind", KINDS)
def test_raise_names_series_and_bar(kind, device):
    x = panel(3, 50)
    same_bits(average(kind, x, 5, device, nan="raise"), average(kind, x, 5, device))
    x[2, 17] = np.nan
    with pytest.raises(warpquant.ParameterError, match=r"\bx\b.*\b17\b") as caught:
        average(kind, x[2], 5, device, nan="raise")
    with pytest.raises(warpquant.ParameterError, match=r"\b2\b.*\b17\b"):
        average(kind, x, 5, device, nan="raise")
    with pytest.raises(warpquant.ParameterError, match=r"late.*\b17\b"):
        average(kind, {"fine": x[0], "late": x[2]}, 5, device, nan="raise")
    with pytest.raises(warpquant.ParameterError, match=r"\b0\b"):
        average(kind, [np.nan, 1.0, 2.0], 1, device, nan="raise")
    assert isinstance(caught.value, ValueError)


# ---------------------------------------------------------------------------------------------- the same another way


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_the_rounded_float64(kind, device):
    for x in (holes(walk(700)), panel(9, 300, share=0.02)):
        narrow = x.astype(np.float32)
        with np.errstate(over="ignore"):
            want = average(kind, narrow.astype(np.float64), 14, device).astype(np.float32)
        same_bits(average(kind, narrow, 14, device), want, str(x.shape))


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_widened(kind, device):
    x = np.arange(300) % 37 + 5
    for dtype in (np.int8, np.uint16, np.int32, np.int64):
        same_bits(average(kind, x.astype(dtype), 5, device), average(kind, x.astype(float), 5, device), str(dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_several_lengths_are_the_single_ones(kind, device):
    lengths = [28, 1, 200, 5, 5, 10**4]
    for x in (holes(walk(777)), panel(9, 300, share=0.02), panel(5, 120).astype(np.float32), walk(0)):
        for options in variants(kind):
            got = average(kind, x, lengths, device, **options)
            assert got.shape == (len(lengths), *x.shape)
            for one, length in zip(got, lengths, strict=True):
                same_bits(one, average(kind, x, length, device, **options), f"{length}, {options}")


@pytest.mark.parametrize("kind", KINDS)
def test_panel_is_a_loop_of_singles(kind, device):
    for symbols, bars in [(1, 300), (3, 33), (7, 256), (8, 257), (9, 700), (17, 100)]:
        for share in (0.0, 0.03):
            x = panel(symbols, bars, share=share)
            want = np.stack([average(kind, row, 14, device) for row in x])
            layouts = {
                "C": (x, -1),
                "Fortran": (np.asfortranarray(x), 1),
                "bars x symbols": (np.ascontiguousarray(x.T), 0),
                "transposed view": (x.T, 0),
                "strided": (np.repeat(x, 3, axis=1)[:, ::3], -1),
                "every other symbol": (np.repeat(x, 2, axis=0)[::2], -1),
                "reversed symbols": (x[::-1].copy()[::-1], -1),
                "reversed memory": (x[:, ::-1].copy()[:, ::-1], -1),
            }
            for name, (view, axis) in layouts.items():
                got = average(kind, view, 14, device, axis=axis)
                same_bits(got.T if axis == 0 else got, want, f"{name}, {x.shape}, {share}")
            for i, row in enumerate(x[:2]):
                same_bits(average(kind, np.repeat(row, 2)[::2], 14, device), want[i], "strided series")
                same_bits(average(kind, row[::-1].copy()[::-1], 14, device), want[i], "reversed series")


@pytest.mark.parametrize("kind", KINDS)
def test_mapping_of_series_of_any_length(kind, device):
    x = {f"s{n}": holes(walk(n, n)) for n in (0, 1, 13, 14, 200, 999)}
    got = average(kind, x, 14, device)
    assert list(got) == list(x)
    for name, series in x.items():
        same_bits(got[name], average(kind, series, 14, device), name)


@pytest.mark.parametrize("kind", KINDS)
def test_out(kind, device):
    for x in (walk(300), panel(9, 300), np.asfortranarray(panel(9, 300)), walk(300).astype(np.float32)):
        out = np.full_like(x, 7.0)
        assert average(kind, x, 14, device, out=out) is out
        same_bits(out, average(kind, x, 14, device))


@pytest.mark.parametrize("nan", ["window", "propagate"])
@pytest.mark.parametrize("kind", KINDS)
def test_stream_is_the_batch(kind, nan, device):
    x = panel(3, 700, share=0.02)
    x[2] = panel(1, 700)[0]
    for seed in ("sma", "first") if kind in SEEDED else (None,):
        options = {"nan": nan} if seed is None else {"nan": nan, "seed": seed}
        for length in (1, 2, 5, 28):
            stream = ma.Stream(kind, length, n_series=3, **options)
            got = np.stack([stream.update(bar) for bar in x.T], axis=1)
            same_bits(got, average(kind, x, length, device, **options), f"{length}, {seed}")


@pytest.mark.parametrize("kind", KINDS)
def test_stream_goes_on_from_a_saved_state(kind, device):
    x = panel(2, 600, share=0.02)
    want = average(kind, x, 14, device)
    for stop in (0, 1, 13, 14, 255, 256, 400):
        stream, again = (ma.Stream(kind, 14, n_series=2) for _ in range(2))
        for bar in x.T[:stop]:
            stream.update(bar)
        state = stream.state_dict()
        text = json.dumps({**state, "words": state["words"].tolist()})
        loaded = json.loads(text)
        again.load_state_dict({**loaded, "words": np.array(loaded["words"], dtype=np.uint64)})
        got = np.stack([again.update(bar) for bar in x.T[stop:]], axis=1)
        same_bits(got, want[:, stop:], f"saved at {stop}")


def test_stream_refuses_what_does_not_fit():
    stream = ma.Stream("ema", 5, n_series=2, nan="raise")
    first = stream.update([1.0, 2.0])
    with pytest.raises(warpquant.ParameterError):
        stream.update([1.0, np.nan])
    with pytest.raises(warpquant.ShapeError):
        stream.update([1.0, 2.0, 3.0])
    before = stream.state_dict()
    for change in ({"length": 6}, {"kind": "sma"}, {"seed": "first"}, {"version": 99}, {"words": before["words"][:1]}):
        with pytest.raises((warpquant.ParameterError, warpquant.ShapeError)):
            stream.load_state_dict({**before, **change})
    with pytest.raises(warpquant.ParameterError):
        stream.load_state_dict({})
    other = ma.Stream("ema", 5, n_series=2, nan="raise")
    same_bits(other.update([1.0, 2.0]), first)
    for bar in panel(2, 20).T:
        same_bits(stream.update(bar), other.update(bar))
    for bad, match in [({"kind": "zlema"}, "kind"), ({"length": 0}, "length"), ({"n_series": 0}, "n_series")]:
        with pytest.raises(warpquant.ParameterError, match=match):
            ma.Stream(**{"kind": "ema", "length": 5, **bad})
    with pytest.raises(warpquant.ParameterError, match="fast"):
        ma.Stream("ema", 5, fast=2)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_the_execution(kind, device, simd_levels):
    one, few, many = walk(70_000), panel(11, 700, share=0.02), panel(67, 1100)
    cases = {
        "one": (one, {}),
        "one, holes": (holes(one, share=0.001), {}),
        "few": (few, {}),
        "few, propagate": (few, {"nan": "propagate"}),
        "many": (many, {}),
        "bars x symbols": (np.ascontiguousarray(many.T), {"axis": 0}),
        "float32": (many.astype(np.float32), {}),
    }
    first = {}
    for execution in executions(simd_levels):
        for name, (x, options) in cases.items():
            got = average(kind, x, 28, device, **options)
            same_bits(got, first.setdefault(name, got), f"{name}, {execution}")
        got = average(kind, few, [3, 28, 200], device)
        same_bits(got, first.setdefault("several", got), f"several, {execution}")


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_the_batch(kind, device):
    x = panel(67, 600, share=0.01)
    want = average(kind, x, 28, device)
    for size in (1, 7, 8, 9, 32, 66):
        got = np.concatenate([average(kind, x[i : i + size], 28, device) for i in range(0, 67, size)])
        same_bits(got, want, f"batches of {size}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bits_of_a_result_larger_than_the_cache(kind, device):
    x = np.tile(panel(8, 40_000, share=0.001), (13, 1))
    want = average(kind, x[:8], 28, device)
    got = average(kind, x, 28, device)
    for i in range(0, len(x), 8):
        same_bits(got[i : i + 8], want, f"symbols from {i}")


@pytest.mark.parametrize("offset", [0, 8, 3])
def test_bits_of_a_large_result_anywhere_in_memory(offset):
    x = np.tile(panel(8, 4001, share=0.001), (64, 1))  # rows begin at any place of a line
    for kind in ("ema", "sma", "roc"):
        got = misaligned(x.shape, offset)
        getattr(ma, kind)(x, 28, out=got)
        for i in range(0, len(x), 8):
            same_bits(got[i : i + 8], average(kind, x[:8], 28), f"{kind}, symbols from {i}")


def test_bits_are_the_same_every_time(device):
    x = panel(67, 500, share=0.01)
    for kind in KINDS:
        want = average(kind, x, 28, device)
        for turn in range(20):
            same_bits(average(kind, x, 28, device, num_threads=1 + turn % 8), want, f"{kind}, turn {turn}")


@pytest.mark.parametrize("kind", RECURRENT)
def test_one_long_series(kind, device):
    """It is computed in pieces side by side, and has the bits of a panel, which goes one bar after the other."""
    flat = np.r_[walk(60_000, 3), np.full(80_000, 3.3), walk(60_000, 4)]
    for x in (walk(200_003), walk(200_003, 1) * 600, holes(walk(100_000, 2), share=0.001), flat, np.full(74_280, 3.3)):
        for length in (2, 7, 28, 189):
            for seed in ("sma", "first") if kind in SEEDED else (None,):
                options = {} if seed is None else {"seed": seed}
                panel = np.broadcast_to(x, (16, len(x)))  # fills the lanes, so that nothing is cut
                want = average(kind, panel, length, device, **options)
                for few in (1, 3):
                    same_bits(average(kind, panel[:few], length, device, **options), want[:few], f"{length}, {seed}")


@pytest.mark.parametrize("kind", RECURRENT)
def test_exact_is_the_panel(kind, device):
    for x in (walk(100_003), holes(walk(40_000, 2), share=0.001)):
        panel = np.broadcast_to(x, (16, len(x)))
        same_bits(average(kind, x, 28, device, exact=True), average(kind, panel, 28, device)[0])


# ---------------------------------------------------------------------------------------------- other libraries


TALIB = {
    "sma": "SMA",
    "ema": "EMA",
    "wma": "WMA",
    "dema": "DEMA",
    "tema": "TEMA",
    "kama": "KAMA",
    "lsma": "LINEARREG",
    "roc": "ROC",
}


@pytest.mark.parametrize("kind", TALIB)
def test_talib(kind, device):
    talib = pytest.importorskip("talib")
    x = walk(1500)
    series = {"walk": x, "late": np.r_[np.full(20, np.nan), x], "short": x[:20]}
    for name, prices in series.items():
        for length in (2, 5, 14, 28, 60):
            want = getattr(talib, TALIB[kind])(prices, timeperiod=length)
            got = average(kind, prices, length, device, nan="propagate")
            near(got, want, TOLERANCE["talib"], 1.0 if kind == "roc" else None, f"{name}, {length}")


@pytest.mark.parametrize("kind", [k for k in TALIB if k not in ("lsma", "wma")])
def test_talib_after_a_gap(kind, device):
    """TA-Lib's sums never recover; LINEARREG has none and WMA renews its own, so those two do, unlike ours."""
    talib = pytest.importorskip("talib")
    x = walk(300)
    x[150] = np.nan
    for length in (2, 5, 14):
        want = getattr(talib, TALIB[kind])(x, timeperiod=length)
        got = average(kind, x, length, device, nan="propagate")
        near(got, want, TOLERANCE["talib"], 1.0 if kind == "roc" else None, str(length))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("kind", ["ema", "rma", "dema", "tema"])
def test_pandas(kind, gaps, device):
    pd = pytest.importorskip("pandas")
    x = holes(walk(1500)) if gaps else walk(1500)

    def smooth(values, length):
        rate = 1 / length if kind == "rma" else 2 / (length + 1)
        return values.ewm(alpha=rate, adjust=False, ignore_na=True).mean()

    for length in (1, 2, 14, 200):
        one = smooth(pd.Series(x), length)
        two = smooth(one[~np.isnan(x)], length)
        three = smooth(two, length)
        want = {"dema": 2 * one - two, "tema": 3 * one - 3 * two + three}.get(kind, one)
        got = average(kind, x, length, device, seed="first")
        near(got, want.where(~np.isnan(x)), TOLERANCE["pandas"], np.nanmax(x), str(length))


# ---------------------------------------------------------------------------------------------- accuracy

MILLION = 1_000_000
ROWS = ("base", "times 600", "tick", "split")


def long_row(row):
    x, half = walk(MILLION, 11, 0.001), MILLION // 2
    if row == "times 600":
        x *= 600
    elif row == "tick":
        x[1000] = 1e12
    elif row == "split":
        x *= 1e6 / x[half]
        x[half:] /= 1e6
    return x, {"tick": 1000, "split": half}.get(row, 0)


def sampled(shock):
    """Bars to look at: at random, whole blocks at the end, and all around a shock."""
    bars = np.random.default_rng(1).integers(300, MILLION, 1200)
    around = np.arange(shock - 30, shock + 3 * BLOCK) if shock else bars
    return np.unique(np.r_[bars, around, np.arange(MILLION - 2 * BLOCK, MILLION)])


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("kind", ["sma", "wma", "lsma"])
def test_accuracy_of_windows(kind, row, device):
    """To the last digit; after a shock, for a window and a block, to the last digit of the shock."""
    x, shock = long_row(row)
    length = 28
    got = average(kind, x, length, device)
    same_bits(got, average(kind, x[None], length, device)[0], "panel")
    for i in sampled(shock):
        want = getattr(reference, kind)(x[i - length + 1 : i + 1], length)[-1]
        bound = TOLERANCE["accuracy"] * want
        if shock and shock <= i < shock + length + BLOCK:
            bound = TOLERANCE["shock"] * (3 if kind == "lsma" else 1) * x[shock - 1 : shock + 1].max()
        assert abs(got[i] - want) <= bound, f"bar {i}: {got[i]!r} for {want!r}"


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 5, 14, 28, 60, 200])
@pytest.mark.parametrize("kind", ["sma", "wma", "lsma"])
def test_accuracy_of_other_windows(kind, length, device):
    """The same for other lengths, with the moves of daily bars."""
    x = walk(20_000, 12, 0.01)
    near(average(kind, x, length, device), getattr(reference, kind)(x, length), TOLERANCE["daily"][kind])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["series", "panel"])
@pytest.mark.parametrize("row", ROWS)
def test_accuracy_of_ema(row, layout, device):
    x, shock = long_row(row)
    want = reference.ema(x, 28)
    tolerance = np.full(MILLION, TOLERANCE["accuracy"])
    if shock:
        tolerance[shock : shock + 400] = TOLERANCE["decay"]
    got = ma.ema(x, 28, device=device) if layout == "series" else ma.ema(x[None], 28, device=device)[0]
    near(got, want, tolerance)


# ---------------------------------------------------------------------------------------------- real bars


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_real_bars(kind, device, equities, universe):
    shares = average(kind, equities, 28, device)
    for symbol, x in equities.items():
        same_bits(shares[symbol], average(kind, x, 28, device), symbol)
    panels = average(kind, universe, 28, device)
    for i, x in enumerate(universe):
        same_bits(panels[i], average(kind, x, 28, device), f"symbol {i}")
    sample = {s: (equities[s], shares[s]) for s in ("CBS", "STI", "BHF", "COL", "AET", "AAPL")}
    sample |= {f"symbol {i}": (universe[i], panels[i]) for i in range(0, len(universe), 50)}
    for name, (x, got) in sample.items():
        want = getattr(reference, kind)(x, 28)
        near(got, want, TOLERANCE["oracle"], scale(kind, x, want), name)


# ---------------------------------------------------------------------------------------------- properties

some = {
    "kind": st.sampled_from(KINDS),
    "seed": st.integers(0, 2**32 - 1),
    "bars": st.integers(0, 400),
    "length": st.integers(1, 60),
}
often = settings(max_examples=1000)


@often
@given(**some, share=st.sampled_from([0.0, 0.05]), cut=st.floats(0, 1))
def test_no_look_ahead(device, kind, seed, bars, length, share, cut):
    x = holes(walk(bars, seed), seed, share, lead=seed % 5)
    stop = int(cut * bars)
    same_bits(average(kind, x, length, device)[:stop], average(kind, x[:stop], length, device))


@often
@given(**some, power=st.integers(-200, 200))
def test_scale_by_powers_of_two_is_exact(device, kind, seed, bars, length, power):
    x = walk(bars, seed)
    factor = 1.0 if kind == "roc" else 2.0**power
    same_bits(average(kind, x * 2.0**power, length, device), average(kind, x, length, device) * factor)


@often
@given(**{**some, "kind": st.sampled_from([k for k in KINDS if k != "roc"])}, by=st.floats(-1e5, 1e5))
def test_shift(device, kind, seed, bars, length, by):
    x = walk(bars, seed)
    near(average(kind, x + by, length, device), average(kind, x, length, device) + by, TOLERANCE["shift"], 1e5)


@often
@given(**some, value=st.floats(1e-6, 1e6))
def test_constant_stays_constant(device, kind, seed, bars, length, value):
    got = average(kind, np.full(bars, value), length, device)
    want = np.where(np.isnan(got), np.nan, 0.0 if kind == "roc" else value)
    near(got, want, 2 * length * TOLERANCE["ulp"] if kind in RECURRENT else TOLERANCE["ulp"])


@often
@given(**{**some, "kind": st.sampled_from(BETWEEN)}, missing=st.booleans())
def test_an_average_lies_between_the_values(device, kind, seed, bars, length, missing):
    x = holes(walk(bars, seed), seed) if missing else walk(bars, seed)
    got = average(kind, x, length, device)
    known = ~np.isnan(got)
    x = np.where(np.isnan(x), x[~np.isnan(x)][0] if known.any() else 1.0, x)
    assert (got[known] <= np.maximum.accumulate(x)[known] * (1 + 1e-15)).all()
    assert (got[known] >= np.minimum.accumulate(x)[known] * (1 - 1e-15)).all()


@often
@given(**{**some, "kind": st.sampled_from(["sma", "wma", "hma", "lsma", "ema", "dema", "tema", "rma"])})
def test_sum_of_averages_is_the_average_of_the_sum(device, kind, seed, bars, length):
    x, y = walk(bars, seed), walk(bars, seed + 1)
    got = average(kind, x + 3 * y, length, device)
    want = average(kind, x, length, device) + 3 * average(kind, y, length, device)
    near(got, want, TOLERANCE["oracle"], (x + 3 * y).max(initial=0.0) * 10)


@often
@given(**some, symbols=st.integers(0, 20))
def test_batch_is_a_loop(device, kind, seed, bars, length, symbols):
    x = panel(symbols, bars % 120, seed % 1000, 0.02)
    got = average(kind, x, length, device)
    for one, row in zip(got, x, strict=True):
        same_bits(one, average(kind, row, length, device))


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"length": 0}, warpquant.ParameterError, "length"),
        ({"length": -3}, warpquant.ParameterError, "length"),
        ({"length": 2.5}, warpquant.ParameterError, "length"),
        ({"length": True}, warpquant.ParameterError, "length"),
        ({"length": "14"}, warpquant.ParameterError, "length"),
        ({"length": None}, warpquant.ParameterError, "length"),
        ({"length": []}, warpquant.ParameterError, "length"),
        ({"length": [5, 0]}, warpquant.ParameterError, "length"),
        ({"length": 2**62}, warpquant.ParameterError, "length"),
        ({"nan": "skip"}, warpquant.ParameterError, "nan"),
        ({"warmup": "zero"}, warpquant.ParameterError, "warmup"),
        ({"warmup": "null"}, warpquant.DTypeError, "warmup"),
        ({"axis": 2}, warpquant.ParameterError, "axis"),
        ({"axis": "time"}, warpquant.ParameterError, "axis"),
        ({"num_threads": 0}, warpquant.ParameterError, "num_threads"),
        ({"num_threads": 1.5}, warpquant.ParameterError, "num_threads"),
        ({"device": "gpu"}, warpquant.ParameterError, "device"),
        ({"x": np.zeros((2, 3, 4))}, warpquant.ShapeError, "x"),
        ({"x": np.array(5.0)}, warpquant.ShapeError, "x"),
        ({"x": ["a", "b"]}, warpquant.DTypeError, "x"),
        ({"x": np.zeros(5, complex)}, warpquant.DTypeError, "x"),
        ({"x": np.zeros(5, bool)}, warpquant.DTypeError, "x"),
        ({"x": {"a": np.zeros((2, 3))}}, warpquant.ShapeError, "a"),
        ({"out": np.zeros(3)}, warpquant.ShapeError, "out"),
        ({"out": np.zeros((3, 40), np.float32)}, warpquant.DTypeError, "out"),
    ],
    ids=str,
)
def test_errors_name_the_argument(kind, change, error, match):
    given = {"x": panel(3, 40), "length": 14, **change}
    with pytest.raises(error, match=rf"^{match}\b|\b{match}\b"):
        getattr(ma, kind)(**given)


@pytest.mark.parametrize("kind", KINDS)
def test_only_known_keywords(kind):
    known = ma.info(kind).options
    for keyword, bad in [("seed", "last"), ("fast", 0), ("slow", -1), ("fast", "2"), ("slow", np.inf)]:
        error = warpquant.ParameterError if keyword in known else TypeError
        with pytest.raises(error, match=keyword):
            getattr(ma, kind)([1.0, 2.0], 1, **{keyword: bad})
    with pytest.raises(TypeError, match="lenght"):
        getattr(ma, kind)([1.0, 2.0], 1, lenght=3)


def test_unknown_kind():
    with pytest.raises(warpquant.ParameterError, match="kind"):
        ma.info("zlema")


def test_stream_with_names():
    stream = ma.Stream("sma", 2, n_series=2)
    stream.update({"A": 1.0, "B": 100.0})
    same_bits(stream.update({"B": 102.0, "A": 3.0}), np.array([2.0, 101.0]), "by name")
    same_bits(stream.update([5.0, 104.0]), np.array([4.0, 103.0]), "by place")
    with pytest.raises(warpquant.ParameterError, match="other series"):
        stream.update({"A": 1.0, "C": 2.0})
