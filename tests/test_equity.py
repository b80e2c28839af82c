# SPDX-License-Identifier: Apache-2.0
"""Equity curves: against their definition, and themselves computed another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, misaligned, near, panel, same_bits, walk
from reference import equity as reference
from warpquant import equity

SIZES = (0, 1, 2, 7, 8, 9, 31, 32, 33, 255, 256, 257, 1000)
ATC = {"decay_per_bar": 0.0003, "growth_per_bar": 0.00002}
SETTINGS = {
    "plain": {},
    "as in ATC": ATC,
    "sticky": {**ATC, "neutral": "sticky"},
    "low start": {"starting": 0.1},
    "negative start": {"starting": -3.0, "floor": 0.5},
    "no floor": {"floor": -1e300, "decay_per_bar": 0.01},
    "high floor": {"floor": 1.5},
    "all lost": {"decay_per_bar": 1.0},
    "cutout": {"cutout": 5, "growth_per_bar": 0.01},
    "cutout, sticky": {"cutout": 30, "neutral": "sticky", "growth_per_bar": -0.01},
    "cutout beyond": {"cutout": 1000},
}
TOLERANCE = {
    # relative to the value: one step may be one or two units in the last place off the order of operations of the
    # definition, and 1,000 of them add up
    "oracle": 1e-12,
}


def positions(bars, seed=0):
    """Signals of all signs and sizes, with stretches of one kind, zeros of both signs and missing values."""
    rng = np.random.default_rng(seed)
    signal = np.repeat(rng.choice([-1.0, -0.01, -0.0, 0.0, 0.3, 1.0, 5.0, np.nan, np.inf, -np.inf], bars), 3)
    return signal[:bars] if bars else np.empty(0)


def changes(bars, seed=0, size=0.05):
    return np.random.default_rng(seed + 1).normal(0.0, size, bars)


@pytest.mark.parametrize("name", SETTINGS)
def test_oracle(name, device):
    how, signal = SETTINGS[name], positions(1000)
    price = walk(1000, 2, 0.03)
    price[[50, 51, 300]] = 0.0
    price[400:420] *= -1.0
    inputs = {
        "returns": {"returns": changes(1000)},
        "returns with holes": {"returns": holes(changes(1000))},
        "wild returns": {"returns": changes(1000, size=0.8)},
        "infinite returns": {"returns": np.where(np.arange(1000) % 50 == 7, np.inf, changes(1000))},
        "prices": {"prices": price},
        "prices with holes": {"prices": holes(price)},
    }
    for label, source in inputs.items():
        want = reference.curve(signal=signal, **source, **how)
        for size in SIZES:
            part = {k: v[:size] for k, v in source.items()}
            got = equity.curve(signal=signal[:size], **part, **how, device=device)
            near(got, want[:size], TOLERANCE["oracle"], label=f"{label}, {size} bars")


def test_by_hand(device):
    up_then_down = equity.curve([9.0, 0.5, -0.5, 1.0], [1, -1, 0, 0], device=device)
    same_bits(up_then_down, np.array([1.0, 1.5, 2.25, 2.25]))
    sticky = equity.curve([9.0, 0.5, -0.5, 1.0], [1, -1, 0, 0], neutral="sticky", device=device)
    same_bits(sticky, np.array([1.0, 1.5, 2.25, 3.375]), "the exposure of bar 2, 0.5, is kept as a number")
    same_bits(equity.curve([0.0, -2.0, 1.0], [1, 1, 1], device=device), np.array([1.0, 0.25, 0.5]), "floor")
    same_bits(equity.curve(prices=[1.0, 0.0, 5.0, 10.0], signal=[0, 1, 1, 1], device=device),
              np.array([1.0, 1.0, 1.0, 2.0]), "after a price of 0")  # fmt: skip
    cut = equity.curve([0.0, 1.0, 1.0, 1.0], [1, 1, 1, 1], cutout=2, starting=3.0, device=device)
    same_bits(cut, np.array([np.nan, np.nan, 3.0, 6.0]))


def test_the_first_return_is_never_used(device):
    r, signal = changes(50), np.ones(50)
    want = equity.curve(r, signal, device=device)
    for first in (1e300, -1.0, np.nan, np.inf):
        same_bits(equity.curve(np.r_[first, r[1:]], signal, device=device), want)


def test_only_the_sign_of_the_signal_counts(device):
    r, signal = changes(300), positions(300)
    want = equity.curve(r, np.nan_to_num(np.sign(signal)), device=device)
    same_bits(equity.curve(r, signal, device=device), want)
    for dtype in (np.int8, np.int64, np.float32):
        same_bits(equity.curve(r, np.nan_to_num(np.sign(signal)).astype(dtype), device=device), want, str(dtype))


def test_overflow_stays_in_order(device):
    """Growth beyond all numbers: an infinite exposure is an unknown return, not a NaN for ever."""
    r, signal = changes(2000), positions(2000)
    for growth in (1.0, 10.0, 1e6, -1e6):
        with np.errstate(over="ignore"):
            got = equity.curve(r, signal, growth_per_bar=growth, device=device)
        assert not np.isnan(got).any()
        assert (got >= 0.25).all()
    huge = equity.curve(np.full(2000, 10.0), np.ones(2000), device=device)
    assert (np.diff(huge[:200]) > 0).all()
    assert not np.isnan(huge).any()


@pytest.mark.parametrize("kind", ["returns", "prices"])
def test_panel_is_a_loop_of_singles(kind, device):
    for symbols, bars in [(1, 300), (3, 33), (7, 256), (8, 257), (9, 700), (17, 100)]:
        x = panel(symbols, bars, share=0.03) / (1.0 if kind == "prices" else 1e3) - (0 if kind == "prices" else 0.1)
        signal = np.stack([positions(bars, i) for i in range(symbols)])
        how = {**ATC, "neutral": "sticky", "cutout": 3, "device": device}
        want = np.stack([equity.curve(**{kind: a}, signal=s, **how) for a, s in zip(x, signal, strict=True)])
        layouts = {
            "C": (x, signal, -1),
            "Fortran": (np.asfortranarray(x), np.asfortranarray(signal), -1),
            "mixed": (np.asfortranarray(x), signal, -1),
            "bars x symbols": (np.ascontiguousarray(x.T), signal.T, 0),
            "strided": (np.repeat(x, 3, axis=1)[:, ::3], np.repeat(signal, 2, axis=0)[::2], -1),
            "reversed": (x[:, ::-1].copy()[:, ::-1], signal[::-1].copy()[::-1], -1),
        }
        for name, (a, s, axis) in layouts.items():
            got = equity.curve(**{kind: a}, signal=s, axis=axis, **how)
            same_bits(got.T if axis == 0 else got, want, f"{name}, {x.shape}")


def test_mapping_of_series_of_any_length(device):
    x = {f"s{n}": walk(n, n) for n in (0, 1, 13, 200, 999)}
    signal = {name: positions(len(series)) for name, series in reversed(x.items())}
    got = equity.curve(prices=x, signal=signal, device=device)
    assert list(got) == list(x)
    for name, series in x.items():
        same_bits(got[name], equity.curve(prices=series, signal=signal[name], device=device), name)


def test_float32_is_the_rounded_float64(device):
    for x in (walk(500).astype(np.float32), panel(9, 300).astype(np.float32)):
        signal = np.sign(x - np.median(x)).astype(np.float32)
        want = equity.curve(prices=x.astype(np.float64), signal=signal.astype(np.float64), **ATC, device=device)
        same_bits(equity.curve(prices=x, signal=signal, **ATC, device=device), want.astype(np.float32))


def test_out(device):
    for x in (walk(300), panel(9, 300), np.asfortranarray(panel(9, 300))):
        out, signal = np.full_like(x, 7.0), np.sign(x - 100.0)
        assert equity.curve(prices=x, signal=signal, out=out, device=device) is out
        same_bits(out, equity.curve(prices=x, signal=signal, device=device))


def test_bits_do_not_depend_on_the_execution(device, simd_levels):
    one, few, many = walk(40_000), panel(11, 700, share=0.02), panel(67, 1100)
    first = {}
    for execution in executions(simd_levels):
        for x in (one, few, many, np.asfortranarray(many)):
            signal = np.sin(np.arange(x.size)).reshape(x.shape).round(1)
            for neutral in ("flat", "sticky"):
                got = equity.curve(prices=x, signal=signal, neutral=neutral, **ATC, device=device)
                same_bits(got, first.setdefault((x.shape, x.flags.c_contiguous, neutral), got), execution)


def test_bits_do_not_depend_on_the_batch(device):
    x = panel(67, 600, share=0.01)
    signal = np.stack([positions(600, i) for i in range(67)])
    want = equity.curve(prices=x, signal=signal, **ATC, device=device)
    for size in (1, 7, 8, 9, 32, 66):
        parts = [slice(i, i + size) for i in range(0, 67, size)]
        got = [equity.curve(prices=x[p], signal=signal[p], **ATC, device=device) for p in parts]
        same_bits(np.concatenate(got), want, f"batches of {size}")


# ---------------------------------------------------------------------------------------------- properties

some = {
    "seed": st.integers(0, 2**32 - 1),
    "bars": st.integers(0, 300),
    "neutral": st.sampled_from(["flat", "sticky"]),
    "decay": st.floats(0, 0.1),
    "growth": st.floats(-0.01, 0.01),
    "cutout": st.integers(0, 40),
}
often = settings(max_examples=1000)


def drawn(device, seed, bars, neutral, decay, growth, cutout, **more):
    x = holes(changes(bars, seed), seed)
    how = {"neutral": neutral, "decay_per_bar": decay, "growth_per_bar": growth, "cutout": cutout, **more}
    return x, positions(bars, seed), {**how, "device": device}


@often
@given(**some, cut=st.floats(0, 1))
def test_no_look_ahead(device, cut, **case):
    x, signal, how = drawn(device, **case)
    stop = int(cut * len(x))
    same_bits(equity.curve(x, signal, **how)[:stop], equity.curve(x[:stop], signal[:stop], **how))


@often
@given(**some, power=st.integers(-50, 50))
def test_scale_by_powers_of_two_is_exact(device, power, **case):
    x, signal, how = drawn(device, **case)
    want = equity.curve(x, signal, **how) * 2.0**power
    same_bits(equity.curve(x, signal, **how, starting=2.0**power, floor=0.25 * 2.0**power), want)


@often
@given(**some, floor=st.floats(0.01, 2))
def test_never_below_the_floor(device, floor, **case):
    x, signal, how = drawn(device, **case)
    got = equity.curve(10 * x, signal, floor=floor, **how)
    assert np.isnan(got[: case["cutout"]]).all()
    assert (got[case["cutout"] :] >= floor).all()


@often
@given(**some)
def test_the_opposite_signal_of_the_opposite_return(device, **case):
    x, signal, how = drawn(device, **case)
    same_bits(equity.curve(-x, -signal, **how), equity.curve(x, signal, **how))


@often
@given(**some, higher=st.floats(1, 10))
def test_a_higher_start_stays_higher(device, higher, **case):
    x, signal, how = drawn(device, **case)
    low, high = equity.curve(x, signal, **how), equity.curve(x, signal, starting=higher, **how)
    known = ~np.isnan(low)
    assert (high[known] >= low[known]).all()


@often
@given(**some)
def test_without_a_signal_only_decay(device, **case):
    x, _, how = drawn(device, **case)
    got = equity.curve(x, np.zeros(len(x)), **how)
    want = np.maximum((1 - case["decay"]) ** np.arange(max(len(x) - case["cutout"], 0)), 0.25)
    near(got[case["cutout"] :], want, TOLERANCE["oracle"])


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"returns": None}, warpquant.ParameterError, "returns"),
        ({"prices": np.ones(5)}, warpquant.ParameterError, "returns"),
        ({"signal": None}, warpquant.ParameterError, "signal"),
        ({"signal": np.ones(4)}, warpquant.ShapeError, "signal"),
        ({"signal": np.ones((1, 5))}, warpquant.ShapeError, "signal"),
        ({"signal": ["a"] * 5}, warpquant.DTypeError, "signal"),
        ({"returns": np.ones(5, complex)}, warpquant.DTypeError, "returns"),
        ({"returns": np.ones((1, 1, 5))}, warpquant.ShapeError, "returns|signal"),
        ({"starting": np.nan}, warpquant.ParameterError, "starting"),
        ({"starting": "1"}, warpquant.ParameterError, "starting"),
        ({"decay_per_bar": -0.1}, warpquant.ParameterError, "decay_per_bar"),
        ({"decay_per_bar": 1.1}, warpquant.ParameterError, "decay_per_bar"),
        ({"growth_per_bar": np.inf}, warpquant.ParameterError, "growth_per_bar"),
        ({"floor": np.nan}, warpquant.ParameterError, "floor"),
        ({"cutout": -1}, warpquant.ParameterError, "cutout"),
        ({"cutout": 1.5}, warpquant.ParameterError, "cutout"),
        ({"neutral": "keep"}, warpquant.ParameterError, "neutral"),
        ({"axis": 1}, warpquant.ParameterError, "axis"),
        ({"num_threads": 0}, warpquant.ParameterError, "num_threads"),
        ({"device": "tpu"}, warpquant.ParameterError, "device"),
        ({"out": np.ones(4)}, warpquant.ShapeError, "out"),
        ({"out": np.ones(5, np.float32)}, warpquant.DTypeError, "out"),
    ],
    ids=str,
)
def test_errors_name_the_argument(change, error, match):
    with pytest.raises(error, match=rf"\b({match})\b"):
        equity.curve(**{"returns": np.ones(5), "signal": np.ones(5), **change})


@pytest.mark.parametrize("offset", [0, 8, 3])
def test_bits_of_a_large_result_anywhere_in_memory(offset):
    price = np.tile(panel(8, 2001, share=0.001), (96, 1))
    signal = np.tile(np.stack([positions(2001, i) for i in range(8)]), (96, 1))
    want = equity.curve(prices=price[:8], signal=signal[:8], cutout=3, **ATC)
    got = misaligned(price.shape, offset)
    equity.curve(prices=price, signal=signal, cutout=3, out=got, **ATC)
    for i in range(0, len(price), 8):
        same_bits(got[i : i + 8], want, f"series from {i}")
