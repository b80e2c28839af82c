# SPDX-License-Identifier: Apache-2.0
"""Adaptive trend classification: against its definition, the shared reference, and itself computed another way."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import logging
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, near, panel, same_bits, walk
from reference import atc as reference
from warpquant import atc

MODES = ("sovereign", "pine")
FAMILIES = reference.FAMILIES
SIGNALS = tuple(f"{f}_signal" for f in FAMILIES)
TOLERANCE = {
    # relative to the largest price of the source so far
    "average": 1e-12,  # any correct summation order; decisions have a dead band as wide
    # relative to the value, or absolute below 1
    "equity": 1e-9,  # a product of one factor per bar, each within two units in the last place
    "unrounded": 1e-9,  # a quotient of sums of equities
    # decisions (signals, rounded layer 1, Trend, Direction) are equal, without a tolerance
}


# ---------------------------------------------------------------------------------------------- series


def fat_tails():
    moves = np.random.default_rng(8).standard_t(2, 500) * 2e-3
    return 2.5e-5 * np.exp(np.cumsum(moves))


def ticks():
    """A coarse grid with stretches on which nothing moves."""
    x = np.round(walk(500, 3, 0.003), 1)
    x[200:290] = x[199]
    return x


def jumps():
    x = walk(500, 4)
    x[100:] *= 3
    x[250:] /= 10
    x[400] = 1e6
    return x


def crossing_zero():
    x = np.random.default_rng(6).normal(0.0, 1.0, 500).cumsum()
    x[[120, 121, 300]] = 0.0
    return x


SERIES = {
    "walk": lambda: walk(500, 1),
    "fat tails": fat_tails,
    "cycle": lambda: 100.0 + 10.0 * np.sin(np.arange(500) / 9.7),
    "trend": lambda: np.arange(1.0, 501.0) ** 1.5,
    "ticks": ticks,
    "jumps": jumps,
    "crossing zero": crossing_zero,
    "flat": lambda: np.full(200, 3.3),
    "holes": lambda: holes(walk(500, 5)),
    "many holes": lambda: holes(walk(500, 6), 1, 0.2, lead=60),
    "late": lambda: np.r_[np.full(40, np.nan), walk(300, 7), np.full(20, np.nan)],
    "infinite": lambda: np.where(np.arange(500) % 97 == 5, np.inf, walk(500, 8)),
}


@functools.cache
def series(name):
    return SERIES[name]()


@functools.cache
def _wanted(name, src, params):
    return reference.atc(series(name), None if src is None else series(src), **dict(params))


def wanted(name, params, src=None):
    return _wanted(name, src, tuple(sorted(params.items())))


# ---------------------------------------------------------------------------------------------- comparison


def compare(got, want, prices, params, label="", src=None):
    """All outputs of both, up to the first bar on the edge of a decision. Gives that bar."""
    full = {**reference.NUMBERS, **reference.COMPAT[params.get("compat", "sovereign")], **params}
    latches = full["long_threshold"], full["short_threshold"]
    cuts = latches if full["cut"] == "thresholds" else (full["cut_level"], -full["cut_level"])
    edge = reference.undecided(
        prices, want, rounding=full["rounding"], cross_rtol=full["cross_rtol"], latches=latches, cuts=cuts
    )
    stop = int(np.argmax(edge)) if edge.any() else len(prices)
    size = np.maximum.accumulate(np.nan_to_num(np.abs(prices if src is None else src), posinf=0.0))[:stop]
    for name, value in want.items():
        if name == "raw":
            continue
        there, should, about = np.asarray(got[name])[..., :stop], value[..., :stop], f"{label}: {name}"
        if name.endswith("_ma"):
            near(there, should, TOLERANCE["average"], size, about)
        elif name.endswith(("_eq", "_s")) or name == "average":
            near(there, should, TOLERANCE["equity"], np.maximum(abs(should), 1), about)
        elif name in SIGNALS and full["rounding"] == "none":
            near(there, should, TOLERANCE["unrounded"], 1.0, about)
        else:
            same_bits(there, should, about)
    return stop


def RUNS_ON(device):
    atc.run([1.0], device=device)


def check(device, name, params, src=None):
    """Every output and every detail against the definition, on every bar."""
    x, want = series(name), wanted(name, params, src)
    other = None if src is None else series(src)
    got = atc.run(x, params, src=other, outputs="all", detail=True, device=device)
    assert set(got) == set(want) - {"raw"}
    assert compare(got, want, x, params, f"{name}, {params}", other) == len(x)
    return want


def differ(one, other):
    """Outputs on which two results differ by more than any tolerance."""
    return {k for k in one if k != "raw" and not np.allclose(one[k], other[k], 1e-7, 1e-7, equal_nan=True)}


# ---------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("name", SERIES)
def test_oracle(name, compat, device):
    check(device, name, {"compat": compat})


#: Outputs that must change with each switch, on the series and settings on which they do.
SWITCHES = {
    "hma": ("walk", {}, {"hma_ma", "hma_sig", "hma_eq", "hma_signal", "hma_s", "average"}),
    "dema_seed": ("walk", {}, {"dema_ma", "dema_sig", "dema_eq", "dema_signal", "dema_s"}),
    "lsma": ("walk", {}, {"lsma_ma", "lsma_sig", "lsma_eq", "lsma_signal", "lsma_s"}),
    "kama_seed": ("walk", {}, {"kama_ma", "kama_sig", "kama_eq", "kama_signal", "kama_s"}),
    "rounding": ("walk", {}, set(SIGNALS)),
    "cut": ("walk", {}, {"average"}),
    "neutral": ("walk", dict.fromkeys(reference.LENGTHS, 9), {"average"}),
    "average_fill": ("walk", {"cutout": 50}, {"average"}),
    "nan_policy": ("holes", {}, {"average", "ema_ma", "kama_ma", "ema_s"}),
    "length_rule": ("walk", {}, set()),
    "on_short": ("walk", {}, set()),
}


def test_every_switch_is_isolated():
    switches = {f.name for f in dataclasses.fields(atc.Params) if f.type == "str"} - {"robustness", "compat"}
    assert set(SWITCHES) == switches == set(reference.SWITCHES)


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("switch", [s for s in SWITCHES if s not in ("length_rule", "on_short")])
def test_switch(switch, compat, device):
    name, others, _ = SWITCHES[switch]
    for value in atc._SWITCHES[switch]:
        if value != "raise":
            check(device, name, {"compat": compat, **others, switch: value})


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_changes_what_it_should(switch, compat):
    name, others, changed = SWITCHES[switch]
    values = {"rounding": ("even", "none"), "nan_policy": ("skip", "propagate")}.get(switch, atc._SWITCHES[switch])
    one, other = (wanted(name, {"compat": compat, **others, switch: value}) for value in values)
    assert changed <= differ(one, other)


def test_rounding_of_ties():
    """A tie goes up or to the even neighbour; layer 1 meets one only by accident, so the oracle alone is asked."""
    assert [reference.round2(v, "away") for v in (0.125, -0.125, 0.375, 0.005 - 1e-13)] == [0.13, -0.13, 0.38, 0.01]
    assert [reference.round2(v, "even") for v in (0.125, -0.125, 0.375, 0.004)] == [0.12, -0.12, 0.38, 0.0]


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("robustness", ["Narrow", "Medium", "Wide"])
def test_robustness(robustness, compat, device):
    for name in ("walk", "holes"):
        check(device, name, {"compat": compat, "robustness": robustness})


PARAMETERS = {
    "unequal lengths": dict(ema_len=9, hull_len=12, wma_len=20, dema_len=15, lsma_len=31, kama_len=10),
    "shortest lengths": dict(ema_len=7, hull_len=8, wma_len=7, dema_len=7, lsma_len=7, kama_len=7),
    "longest first": dict(ema_len=120, hull_len=100, wma_len=60, dema_len=50, lsma_len=130, kama_len=90),
    "weights": dict(ema_w=2.0, hma_w=0.5, wma_w=0.0, dema_w=-3.0, lsma_w=10.0, kama_w=0.25),
    "cutout 1": dict(cutout=1),
    "cutout in the warm-up": dict(cutout=30),
    "cutout": dict(cutout=180, La=0.5),
    "strategy": dict(strategy_mode=True),
    "strategy and cutout": dict(strategy_mode=True, cutout=60),
    "no growth, no decay": dict(La=0.0, De=0.0),
    "strong growth": dict(La=5.0),
    "shrinking": dict(La=-2.0, De=0.25),
    "strong decay": dict(De=20.0),
    "all lost": dict(De=100.0),
    "thresholds": dict(long_threshold=0.5, short_threshold=-0.3),
    "thresholds of one sign": dict(long_threshold=0.8, short_threshold=0.2),
    "cut on a value": dict(long_threshold=0.11, short_threshold=-0.11),
    "long threshold on a value": dict(long_threshold=0.0, short_threshold=-0.5),
    "short threshold on a value": dict(long_threshold=0.5, short_threshold=0.0),
    "cut level": dict(cut_level=0.9),
    "cut level 0": dict(cut_level=0.0),
    "raw comparison": dict(cross_rtol=0.0),
    "wide dead band": dict(cross_rtol=0.01),
    "everything": dict(
        robustness="Wide", cutout=60, La=0.5, De=0.25, ema_len=8, hull_len=9, wma_len=10, dema_len=11, lsma_len=12,
        kama_len=14, ema_w=3.0, kama_w=0.1, long_threshold=0.2, short_threshold=-0.4, strategy_mode=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name, compat, device):
    params = {"compat": compat, **PARAMETERS[name]}
    for prices in ("walk", "holes"):
        check(device, prices, params)


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("policy", ["skip", "propagate"])
@pytest.mark.parametrize("name", ["holes", "many holes", "late", "infinite"])
def test_missing_bars(name, policy, compat, device):
    check(device, name, {"compat": compat, "nan_policy": policy})
    check(device, name, {"compat": compat, "nan_policy": policy, "cutout": 50, "dema_len": 9, "kama_len": 60})


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("policy", ["skip", "propagate"])
def test_other_source(policy, compat, device):
    params = {"compat": compat, "nan_policy": policy}
    for name, src in (("walk", "jumps"), ("walk", "holes"), ("holes", "walk"), ("holes", "many holes")):
        check(device, name, params, src)


@pytest.mark.parametrize("compat", MODES)
def test_clamped_lengths(compat, device):
    short = dict(ema_len=1, hull_len=2, wma_len=3, dema_len=4, lsma_len=2, kama_len=1)
    check(device, "walk", {"compat": compat, "length_rule": "clamp", **short})


@pytest.mark.parametrize("compat", MODES)
def test_short_series(compat, device):
    """Nothing raises; a prefix has the first values of the whole."""
    x = series("walk")
    for policy in ("skip", "propagate"):
        params = {"compat": compat, "nan_policy": policy, "kama_len": 9}
        want = wanted("walk", params)
        for bars in (1, 2, 3, 5, 7, 8, 9, 21, 22, 27, 28, 29, 31, 32, 33, 34, 35, 43, 55, 66, 67, 68, 127, 128, 129):
            got = atc.run(x[:bars], params, outputs="all", detail=True, device=device)
            compare(got, {k: v[..., :bars] for k, v in want.items()}, x[:bars], params, f"{bars} bars")


def test_short_series_are_neutral(device):
    out = atc.run(walk(20), {"kama_len": 60}, outputs="all", detail=True, device=device)
    for family in FAMILIES[:5]:
        assert np.isnan(out[f"{family}_ma"]).all()
        assert not out[f"{family}_signal"].any()
        near(out[f"{family}_s"], (1 - 0.0003) ** np.arange(20), TOLERANCE["equity"])


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("length", [10**6, 2**31 - 10])
def test_lengths_beyond_the_series(length, compat, device):
    for x in (walk(100), panel(3, 100)):
        out = everything(x, {"compat": compat, **dict.fromkeys(reference.LENGTHS, length)}, device, detail=True)
        for family in FAMILIES[:5]:
            assert np.isnan(out[f"{family}_ma"]).all()
            assert not out[f"{family}_signal"].any()


def test_a_flat_series_has_no_trend(device):
    for compat in MODES:
        out = atc.run(series("flat"), {"compat": compat}, outputs="all", device=device)
        for name in (*SIGNALS, "average", "trend", "direction"):
            same_bits(out[name], np.zeros_like(out[name]), name)


@pytest.mark.parametrize("compat", MODES)
def test_bars_after_many_rebuilds(compat, device):
    """Running sums stay as exact after thousands of bars."""
    x = walk(4000, 9)
    got = atc.run(x, {"compat": compat}, outputs=("average",), detail=True, device=device)
    full = reference.COMPAT[compat]
    for family, length in (("hma", 28), ("wma", 28), ("lsma", 28), ("kama", 28), ("dema", 28), ("ema", 28)):
        want = reference.average(family, x.astype(np.longdouble), length, full)
        near(got[f"{family}_ma"][0], want, TOLERANCE["average"], label=family)


# ---------------------------------------------------------------------------------------------- the shared reference


@pytest.fixture(scope="module")
def oracle(shared):
    path = shared / "design/atc_reference.py"
    if not path.is_file():
        pytest.skip("no design/atc_reference.py in the shared folder")
    spec = importlib.util.spec_from_file_location("atc_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def renamed(out):
    """The shared reference's outputs under our names."""
    plain = {k: v if v.dtype == np.int8 else v + 0.0 for k, v in out.items()}  # it has -0.0 for some rounded values
    return {k.lower().replace("average_signal", "average"): v for k, v in plain.items()}


@pytest.mark.parametrize("compat", MODES)
@pytest.mark.parametrize("name", ["walk", "jumps", "crossing zero", "holes", "many holes"])
def test_shared_reference(name, compat, oracle):
    x, params = series(name), {"compat": compat}
    other = renamed(oracle.atc(x, compat=compat, detail=True))
    want = wanted(name, params)
    assert set(other) == set(want) - {"raw"}
    assert compare(other, want, x, params, name) == len(x)


@pytest.mark.parametrize("compat", MODES)
def test_shared_reference_with_all_parameters(compat, oracle):
    params = {"compat": compat, **PARAMETERS["everything"]}
    x = series("walk")
    assert compare(renamed(oracle.atc(x, **params, detail=True)), wanted("walk", params), x, params) == len(x)


@pytest.mark.parametrize("compat", MODES)
def test_shared_reference_on_real_bars(compat, oracle, eurusd):
    x, params = eurusd[:1000], {"compat": compat}
    want = reference.atc(x, **params)
    assert compare(renamed(oracle.atc(x, compat=compat, detail=True)), want, x, params) == len(x)


# ---------------------------------------------------------------------------------------------- missing bars


@pytest.mark.parametrize("compat", MODES)
def test_skip_is_the_trimmed_series(compat, device):
    x = walk(400, 12)
    params = {"compat": compat, "nan_policy": "skip", "cutout": 20}
    want = atc.run(x, params, outputs="all", device=device)
    rng = np.random.default_rng(1)
    places = {
        "leading": np.arange(100, 500),
        "trailing": np.arange(400),
        "gaps": np.sort(rng.choice(700, 400, replace=False)),
    }
    for where, there in places.items():
        y = np.full(700, np.nan)
        y[there] = x
        got = atc.run(y, params, outputs="all", device=device)
        in_panel = atc.run(np.stack([y, walk(700)]), params, outputs="all", device=device)
        last = np.searchsorted(there, np.arange(700), side="right") - 1
        for name, value in want.items():
            same_bits(got[name][there], value, f"{where}: {name}")
            same_bits(in_panel[name][0], got[name], f"{where}, in a panel: {name}")
            gaps = np.setdiff1d(np.arange(700), there)
            if value.dtype == np.int8:
                held = np.where(last[gaps] >= 0, value[last[gaps]], 0).astype(np.int8)
                same_bits(got[name][gaps], held, f"{where}: {name}")
            else:
                assert np.isnan(got[name][gaps]).all()


def test_series_without_bars(device):
    for policy in ("skip", "propagate"):
        for x in (np.full(50, np.nan), np.r_[np.full(49, np.nan), 1.0]):
            out = atc.run(np.stack([x, walk(50)]), {"nan_policy": policy}, outputs="all", device=device)
            assert not out["trend"][0].any()
            assert not out["direction"][0].any()
            want = reference.atc(x, nan_policy=policy)
            for name in out:
                near(out[name][0], want[name], TOLERANCE["equity"], 1.0, f"{policy}: {name}")


@pytest.mark.parametrize("compat", MODES)
def test_raise(compat, device):
    params = {"compat": compat, "nan_policy": "raise"}
    x = panel(3, 80)
    for name, value in atc.run(x, params, outputs="all", device=device).items():
        same_bits(value, atc.run(x, {"compat": compat}, outputs="all", device=device)[name], name)
    for bad in (np.nan, np.inf, -np.inf):
        y = x.copy()
        y[2, 17] = bad
        with pytest.raises(ValueError, match=r"prices.*\b2\b.*\b17\b"):
            atc.run(y, params, device=device)
        with pytest.raises(ValueError, match=r"prices.*late.*\b17\b"):
            atc.run({"fine": y[0], "late": y[2]}, params, device=device)
        with pytest.raises(ValueError, match=r"src.*\b2\b.*\b17\b"):
            atc.run(x, params, src=y, device=device)


# ---------------------------------------------------------------------------------------------- the same another way

COMMON = [
    {"compat": "sovereign"},
    {"compat": "pine"},
    {"compat": "sovereign", "nan_policy": "skip", "rounding": "none", "neutral": "sticky", "cutout": 7},
    {"compat": "pine", "nan_policy": "propagate", "ema_len": 9, "hull_len": 30, "lsma_len": 40, "strategy_mode": True},
]


def everything(x, params, device, **more):
    return atc.run(x, params, outputs="all", device=device, **more)


def same_results(got, want, label):
    assert list(got) == list(want)
    for name in want:
        same_bits(got[name], want[name], f"{label}: {name}")


def singles(x, params, device, **more):
    rows = [everything(row, params, device, **more) for row in x]
    return {name: np.stack([row[name] for row in rows], axis=-2) for name in rows[0]}


@pytest.mark.parametrize("params", COMMON, ids=str)
def test_panel_is_a_loop_of_singles(params, device):
    for symbols, bars in [(1, 200), (2, 130), (7, 33), (8, 257), (9, 300), (17, 64)]:
        for share in (0.0, 0.04):
            x = panel(symbols, bars, share=share)
            want = singles(x, params, device)
            layouts = {
                "C": (x, -1),
                "Fortran": (np.asfortranarray(x), 1),
                "bars x symbols": (np.ascontiguousarray(x.T), 0),
                "strided": (np.repeat(x, 3, axis=1)[:, ::3], -1),
                "every other symbol": (np.repeat(x, 2, axis=0)[::2], -1),
                "reversed": (x[:, ::-1].copy()[:, ::-1], -1),
            }
            for name, (view, axis) in layouts.items():
                got = everything(view, params, device, axis=axis)
                turned = {k: v.T for k, v in got.items()} if axis == 0 else got
                same_results(turned, want, f"{name}, {x.shape}, {share}")


@pytest.mark.parametrize("params", COMMON, ids=str)
def test_detail(params, device):
    x = panel(9, 150, share=0.02)
    want = singles(x, params, device, detail=True)
    got = everything(x, params, device, detail=True)
    same_results(got, want, "C")
    for name, value in everything(np.ascontiguousarray(x.T), params, device, axis=0, detail=True).items():
        same_bits(np.swapaxes(value, -1, -2), want[name], f"bars x symbols: {name}")
    same_results({k: v for k, v in got.items() if k in atc.OUTPUTS}, everything(x, params, device), "without detail")
    for name in got:
        assert got[name].shape == (x.shape if name in atc.OUTPUTS else (9, *x.shape)), name
    ragged = {"a": x[0], "b": x[1][:70]}
    for name, value in everything(ragged, params, device, detail=True).items():
        for key, row in ragged.items():
            same_bits(value[key], everything(row, params, device, detail=True)[name], f"{key}: {name}")


@pytest.mark.parametrize("params", COMMON, ids=str)
def test_ragged_mapping(params, device):
    x = {f"s{n}": holes(walk(n, n), n) for n in (8, 9, 27, 28, 100, 333, 1000, 64)}
    got = everything(x, params, device)
    last = everything(x, params, device, last_only=True)
    for name in got:
        assert list(got[name]) == list(last[name]) == list(x)
        for key, prices in x.items():
            want = everything(prices, params, device)[name]
            same_bits(got[name][key], want, f"{key}: {name}")
            near(last[name][key], want[-1], 0, label=f"last of {key}: {name}")


@pytest.mark.parametrize("params", COMMON, ids=str)
def test_last_only_is_the_last_bar(params, device):
    for x in (panel(9, 300), panel(9, 300, share=0.05), panel(17, 28), panel(3, 8), panel(1, 500)):
        full, last = everything(x, params, device), everything(x, params, device, last_only=True)
        same_results(last, {k: v[:, -1] for k, v in full.items()}, str(x.shape))
        one = everything(x[0], params, device, last_only=True)
        same_results(one, {k: v[0, -1] for k, v in full.items()}, "one symbol")


@pytest.mark.parametrize("params", COMMON, ids=str)
def test_float32(params, device):
    x = panel(9, 300, share=0.02)
    want = everything(x, params, device, detail=True)
    narrow = {k: v if v.dtype == np.int8 else v.astype(np.float32) for k, v in want.items()}
    same_results(everything(x, params, device, detail=True, precision="float32"), narrow, "results in float32")
    for name, value in everything(x[0], params, device, precision="float32").items():
        same_bits(value, narrow[name][0], f"one symbol: {name}")
    prices = x.astype(np.float32)
    same_results(
        everything(prices, params, device), everything(prices.astype(float), params, device), "prices in float32"
    )


def test_each_output_alone(device):
    x = panel(9, 200, share=0.02)
    want = everything(x, {}, device)
    for name in atc.OUTPUTS:
        for prices, value in ((x, want[name]), (x[0], want[name][0])):
            got = atc.run(prices, {}, outputs=name, device=device)
            assert list(got) == [name]
            same_bits(got[name], value, name)
    port = {"average": "Average_Signal", "trend": "Trend", "direction": "Direction"}
    for name in atc.OUTPUTS:
        family, _, kind = name.partition("_")
        key = port.get(name, f"{family.upper()}_{kind.capitalize()}")
        same_bits(atc.run(x, {}, outputs=(key,), device=device)[key], want[name], key)


def test_out(device):
    for x in (walk(200), panel(9, 200)):
        want = everything(x, {}, device, detail=True)
        out = {k: np.full_like(want[k], 3) for k in ("average", "trend", "kama_s", "ema_ma", "lsma_sig")}
        got = everything(x, {}, device, detail=True, out=out)
        for name, value in want.items():
            assert name not in out or got[name] is out[name]
            same_bits(got[name], value, name)
    out = {"average": {"a": np.zeros(200), "b": np.zeros(50)}}
    x = {"a": walk(200), "b": walk(50, 1)}
    assert atc.run(x, out=out, device=device)["average"] is out["average"]
    for key in x:
        same_bits(out["average"][key], atc.run(x[key], device=device)["average"], key)


def test_bits_do_not_depend_on_the_execution(device, simd_levels):
    cases = {
        "one": walk(3000),
        "one, holes": holes(walk(1000)),
        "few": panel(11, 500, share=0.02),
        "many": panel(67, 400),
        "bars x symbols": np.asfortranarray(panel(35, 200, share=0.02)),
    }
    first = {}
    for execution in executions(simd_levels):
        for name, x in cases.items():
            for i, params in enumerate(COMMON):
                got = everything(x, params, device, detail=name == "few")
                same_results(got, first.setdefault((name, i), got), f"{name}, {execution}, {params}")


def test_bits_are_the_same_every_time(device):
    x = panel(67, 200, share=0.01)
    want = everything(x, {}, device)
    for turn in range(20):
        same_results(everything(x, {}, device, num_threads=1 + turn % 8), want, f"turn {turn}")


def test_bits_do_not_depend_on_the_batch(device):
    x = panel(67, 300, share=0.01)
    want = everything(x, {}, device)
    for size in (1, 7, 8, 9, 32, 66):
        parts = [everything(x[i : i + size], {}, device) for i in range(0, 67, size)]
        for name in want:
            same_bits(np.concatenate([p[name] for p in parts]), want[name], f"batches of {size}: {name}")


# ---------------------------------------------------------------------------------------------- properties

some = {
    "seed": st.integers(0, 2**32 - 1),
    "bars": st.integers(2, 300),
    "compat": st.sampled_from(MODES),
    "policy": st.sampled_from(["skip", "propagate"]),
    "robustness": st.sampled_from(["Narrow", "Medium", "Wide"]),
    "length": st.integers(9, 40),
    "strategy": st.booleans(),
    "share": st.sampled_from([0.0, 0.05]),
}
often = settings(max_examples=300)


def drawn(seed, bars, compat, policy, robustness, length, strategy, share):
    names = ("ema_len", "hull_len", "wma_len", "dema_len", "lsma_len", "kama_len")
    lengths = {name: max(9, length - i) if seed % 2 else length for i, name in enumerate(names)}
    params = dict(compat=compat, nan_policy=policy, robustness=robustness, strategy_mode=strategy, **lengths)
    return (holes(walk(bars, seed), seed, share, lead=seed % 5) if share else walk(bars, seed)), params


@often
@given(**some, cut=st.floats(0, 1))
def test_no_look_ahead(device, cut, **case):
    x, params = drawn(**case)
    stop = max(1, int(cut * len(x)))
    got = everything(x[:stop], params, device)
    same_results(got, {k: v[:stop] for k, v in everything(x, params, device).items()}, "prefix")


@often
@given(**some, power=st.integers(0, 60))
def test_scale_by_powers_of_two_is_exact(device, power, **case):
    x, params = drawn(**case)
    same_results(everything(x * 2.0**power, params, device), everything(x, params, device), "scaled")


@often
@given(**some)
def test_outputs_stay_in_their_ranges(device, **case):
    x, params = drawn(**case)
    out = everything(x, params, device)
    average = np.nan_to_num(out["average"])
    assert (abs(average) <= 1 + 1e-15).all()
    assert set(np.unique(out["direction"])) <= {-1, 0, 1}
    present = ~np.isnan(x) | (params["nan_policy"] == "propagate")
    same_bits(out["trend"][present], np.sign(average[present]).astype(np.int8))
    for family in FAMILIES:
        signal, weight = out[f"{family}_signal"], out[f"{family}_s"]
        known = ~np.isnan(weight)
        assert (weight[known] >= 0.25).all()
        assert (abs(signal[known]) <= 1).all()
        assert (signal[known] == np.round(signal[known], 2)).all()
        assert not np.signbit(signal[signal == 0]).any()


@often
@given(**some)
def test_a_symbol_does_not_depend_on_its_panel(device, **case):
    x, params = drawn(**case)
    got = everything(np.stack([walk(len(x), 5), x, x[::-1]]), params, device)
    same_results({k: v[1] for k, v in got.items()}, everything(x, params, device), "in a panel")


@often
@given(**some)
def test_strategy_is_a_shift_by_one_bar(device, **case):
    x, params = drawn(**{**case, "strategy": False, "share": 0.0})
    plain, shifted = (everything(x, {**params, "strategy_mode": flag}, device) for flag in (False, True))
    fill = np.nan if params["compat"] == "pine" else 0.0
    same_bits(shifted["average"], np.r_[fill, plain["average"][:-1]])
    same_bits(shifted["trend"], np.r_[0, plain["trend"][:-1]].astype(np.int8))
    for name in set(plain) - {"average", "trend", "direction"}:
        same_bits(shifted[name], plain[name], name)


@often
@given(**some)
def test_against_the_oracle(device, **case):
    case["bars"] = 2 + case["bars"] % 120
    x, params = drawn(**case)
    compare(everything(x, params, device, detail=True), reference.atc(x, **params), x, params, str(params))


# ---------------------------------------------------------------------------------------------- the port's call

KEYS = {
    "Average_Signal",
    "Trend",
    "Direction",
    *(f"{f.upper()}_{kind}" for f in FAMILIES for kind in ("Signal", "S")),
}


def test_compute_atc_signals(device):
    for x in (walk(300), panel(3, 200)):
        for params in ({}, {"compat": "pine"}, PARAMETERS["everything"]):
            got = warpquant.compute_atc_signals(x, device=device, **params)
            assert set(got) == KEYS
            want = renamed(got)
            for name, value in everything(x, params, device).items():
                same_bits(want[name], value, name)
    other = warpquant.compute_atc_signals(walk(300), walk(300, 1), device=device)
    same_bits(other["EMA_S"], atc.run(walk(300), src=walk(300, 1), outputs="ema_s", device=device)["ema_s"])


def test_compute_atc_signals_takes_every_parameter(device):
    x, plain = walk(300), warpquant.compute_atc_signals(walk(300), device=device)
    names = inspect.signature(warpquant.compute_atc_signals).parameters
    assert {f.name for f in dataclasses.fields(atc.Params)} <= set(names)
    for field in dataclasses.fields(atc.Params):
        change = {"int": 35, "float": 0.6, "bool": True}.get(field.type)
        change = 0.9 if field.name == "cut_level" else -0.6 if field.name == "short_threshold" else change
        if field.name in ("long_threshold", "short_threshold", "strategy_mode") or change is not None:
            got = warpquant.compute_atc_signals(x, **{field.name: change}, compat="pine", device=device)
            want = everything(x, {field.name: change, "compat": "pine"}, device)
            same_bits(got["Average_Signal"], want["average"], field.name)
            same_bits(got["Direction"], want["direction"], field.name)
    for switch, accepted in atc._SWITCHES.items():
        for value in accepted:
            got = warpquant.compute_atc_signals(x, **{switch: value}, device=device)
            same_bits(got["Average_Signal"], everything(x, {switch: value}, device)["average"], f"{switch}={value}")
    assert set(plain) == KEYS


def test_names_of_other_versions(device):
    x = walk(300)
    want = warpquant.compute_atc_signals(x, hull_len=20, device=device)
    same_results(warpquant.compute_atc_signals(x, hma_len=20, device=device), want, "hma_len")
    same_results(warpquant.compute_atc_signals(x, hma_len=20, hull_len=20, device=device), want, "both")
    with pytest.raises(warpquant.ParameterError, match="hma_len"):
        warpquant.compute_atc_signals(x, hma_len=20, hull_len=21)
    params = atc.Params.from_dict({"hma_len": 20, "lambda_param": 0.3, "decay": 0.1})
    assert (params.hull_len, params.La, params.De) == (20, 0.3, 0.1)
    with pytest.raises(warpquant.ParameterError, match="decay"):
        atc.Params.from_dict({"De": 0.2, "decay": 0.1})


@pytest.mark.parametrize(
    "flags",
    [
        {"parallel_l1": False, "parallel_l2": False},
        {"parallel_l1": True, "parallel_l2": True},
        {"prefer_gpu": True},
        {"use_cache": True, "fast_mode": True},
        {"use_rust_backend": True},
        {"use_cuda": True},
        {"use_cuda": False, "use_cuda_kernels": True},
        {"use_streams": True, "num_streams": 4, "batch_size": 100},
    ],
    ids=str,
)
def test_flags_of_the_port_change_nothing(flags):
    x = panel(3, 200)
    same_results(warpquant.compute_atc_signals(x, **flags), warpquant.compute_atc_signals(x), str(flags))


def test_unknown_keyword():
    for name in ("ema_length", "hull", "verbose", "lambda_param"):
        with pytest.raises(TypeError, match=name):
            warpquant.compute_atc_signals(walk(50), **{name: 1})


def test_detail_and_growth_of_the_port(device, caplog):
    x = walk(300)
    with caplog.at_level(logging.WARNING, logger="warpquant"):
        got = warpquant.compute_atc_signals(x, detail=True, growth=True, cutout=10, device=device)
        assert not caplog.records
        steep = warpquant.compute_atc_signals(x, growth=True, La=1.0, device=device)
        assert "outweigh" in caplog.text
    assert set(got) == KEYS | {"ExpMult"} | {f"{f.upper()}_{kind}" for f in FAMILIES for kind in ("MA", "sig", "eq")}
    want = reference.atc(x, cutout=10)
    near(got["EMA_MA"], want["ema_ma"], TOLERANCE["average"])
    same_bits(got["KAMA_sig"], want["kama_sig"])
    near(got["LSMA_eq"], want["lsma_eq"], TOLERANCE["equity"])
    bars = np.arange(300)
    near(got["ExpMult"][10:], np.exp(0.02 / 1000 * (bars[10:] - 10)), 1e-15)
    near(steep["ExpMult"], np.exp(bars / 1000), 1e-15)


# ---------------------------------------------------------------------------------------------- parameters


def test_params():
    params = atc.Params(ema_len=10, compat="pine", lsma="previous", cutout=3, hma_w=2)
    assert (params.hma, params.lsma, params.neutral) == ("sma", "previous", "sticky")
    assert {name: getattr(atc.Params(), name) for name in reference.SWITCHES} == reference.COMPAT["sovereign"]
    assert {name: getattr(atc.Params(compat="pine"), name) for name in reference.SWITCHES} == reference.COMPAT["pine"]
    assert atc.Params.from_dict(params.to_dict()) == params
    x = walk(100)
    want = everything(x, params, "cpu")
    copy = pickle.loads(pickle.dumps(params))
    assert copy == params
    assert hash(copy) == hash(params)
    same_results(everything(x, copy, "cpu"), want, "pickled")
    same_results(everything(x, params.to_dict(), "cpu"), want, "a mapping")
    assert dataclasses.replace(params, ema_len=11).ema_len == 11
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.ema_len = 12


def test_lengths():
    for robustness, offsets in reference.OFFSETS.items():
        shortest = max(offsets) + 1
        for base in (shortest, 28, 1000):
            assert list(atc.lengths(base, robustness)) == reference.nine(base, robustness, "raise")
        with pytest.raises(ValueError, match=rf"(?s){shortest - 1}.*{shortest}"):
            atc.lengths(shortest - 1, robustness)
        assert list(atc.lengths(2, robustness, rule="clamp")) == reference.nine(2, robustness, "clamp")
    params = atc.Params(hull_len=40, robustness="Wide")
    assert list(params.family_lengths[1]) == reference.nine(40, "Wide", "raise")


def test_atc_config():
    given_ = dict(hma_len=30, lambda_param=0.5, decay=0.1, cutout=5, robustness="Wide", long_threshold=0.2)
    settings_ = warpquant.ATCConfig(**given_)
    want = atc.Params(hull_len=30, La=0.5, De=0.1, cutout=5, robustness="Wide", long_threshold=0.2)
    assert settings_.params == want
    assert math.isclose(settings_.lambda_scaled, 0.0005)
    assert math.isclose(settings_.decay_scaled, 0.001)
    assert warpquant.ATCConfig.from_dict(settings_.to_dict()) == settings_
    assert warpquant.ATCConfig().params == atc.Params()
    for bad, match in [({"ema_len": 3}, "ema_len"), ({"limit": 0}, "limit"), ({"calculation_source": "hlc3"}, "calc")]:
        with pytest.raises(warpquant.ParameterError, match=match):
            warpquant.ATCConfig(**bad)
    with pytest.raises(warpquant.ParameterError, match="ema_lenght"):
        warpquant.ATCConfig.from_dict({"ema_lenght": 3})


# ---------------------------------------------------------------------------------------------- errors

NUMBERS = ("La", "De", "long_threshold", "short_threshold", "cut_level", "cross_rtol", *reference.WEIGHTS)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        *(({name: value}, name) for name in NUMBERS for value in (math.nan, math.inf, -math.inf, "1", None, True)),
        *(({name: value}, name) for name in reference.LENGTHS for value in (0, -1, 6, 28.5, "28", True, 2**31)),
        *(({switch: "other"}, switch) for switch in SWITCHES),
        ({"De": -0.01}, "De"),
        ({"De": 100.5}, "De"),
        ({"cut_level": -0.1}, "cut_level"),
        ({"cross_rtol": -1e-12}, "cross_rtol"),
        ({"cutout": -1}, "cutout"),
        ({"cutout": 50}, "cutout"),
        ({"cutout": 10.5}, "cutout"),
        ({"robustness": "medium"}, "robustness"),
        ({"compat": "tradingview"}, "compat"),
        ({"long_threshold": -0.1}, "long_threshold"),
        ({"long_threshold": 0.1, "short_threshold": 0.1}, "long_threshold"),
        ({"strategy_mode": 1}, "strategy_mode"),
        ({"on_short": "raise", "ema_len": 47}, "on_short"),
        ({"nan_policies": "skip"}, "nan_policies"),
    ],
    ids=str,
)
def test_parameters_out_of_range(params, match):
    with pytest.raises(ValueError, match=rf"\b{match}\b"):
        atc.run(walk(50), params)


@pytest.mark.parametrize("robustness", ["Narrow", "Medium", "Wide"])
def test_base_length_too_short_names_family_and_minimum(robustness):
    shortest = max(reference.OFFSETS[robustness]) + 1
    for name in reference.LENGTHS:
        with pytest.raises(ValueError, match=rf"(?s)^{name}\b.*\b{shortest - 1}\b.*\b{shortest}\b"):
            atc.Params(robustness=robustness, **{name: shortest - 1})


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"prices": []}, ValueError, "prices"),
        ({"prices": np.zeros((0, 5))}, ValueError, "prices"),
        ({"prices": np.zeros((5, 0))}, ValueError, "prices"),
        ({"prices": {}}, ValueError, "prices"),
        ({"prices": np.zeros((2, 2, 2))}, ValueError, "prices"),
        ({"prices": np.array(5.0)}, ValueError, "prices"),
        ({"prices": {"a": np.zeros((2, 2))}}, ValueError, "prices"),
        ({"prices": ["a", "b"]}, TypeError, "prices"),
        ({"prices": np.zeros(5, complex)}, TypeError, "prices"),
        ({"src": np.ones(49)}, ValueError, "src"),
        ({"src": np.ones((1, 50))}, ValueError, "src"),
        ({"params": 5}, ValueError, "params"),
        ({"outputs": "averag"}, ValueError, "average"),
        ({"outputs": ("average", "sharpe")}, ValueError, "outputs"),
        ({"precision": "float16"}, ValueError, "precision"),
        ({"last_only": True, "detail": True}, ValueError, "detail"),
        ({"last_only": True, "out": {}}, ValueError, "out"),
        ({"out": {"trend": np.zeros(50, np.int8)}}, ValueError, "out"),
        ({"out": {"average": np.zeros(49)}}, ValueError, "average"),
        ({"out": {"average": np.zeros(50, np.float32)}}, TypeError, "average"),
        ({"axis": 1}, ValueError, "axis"),
        ({"num_threads": 0}, ValueError, "num_threads"),
        ({"device": "tpu"}, ValueError, "device"),
    ],
    ids=str,
)
def test_errors_name_the_argument(change, error, match):
    with pytest.raises(error, match=rf"\b{match}\b") as caught:
        atc.run(**{"prices": walk(50), **change})
    assert isinstance(caught.value, warpquant.WarpquantError)


def test_on_short(device):
    x = {"long": walk(40), "young": walk(33)}
    assert len(atc.run(x, device=device)["average"]) == 2
    with pytest.raises(ValueError, match="young"):
        atc.run(x, {"on_short": "raise"}, device=device)
    atc.run(walk(34), {"on_short": "raise"}, device=device)


# ---------------------------------------------------------------------------------------------- real bars


@pytest.mark.slow
@pytest.mark.parametrize("compat", MODES)
def test_eurusd(compat, device, eurusd):
    params = {"compat": compat}
    got = everything(eurusd, params, device, detail=True)
    for bars in (1000, 2500):
        want = reference.atc(eurusd[:bars], **params)
        assert compare(got, want, eurusd[:bars], params, f"{bars} bars") > 900


@pytest.mark.slow
@pytest.mark.parametrize("compat", MODES)
def test_equities(compat, device, equities):
    """All shares at once are the shares one by one; those with bad rows and a sample of the others as defined."""
    params = {"compat": compat, "nan_policy": "skip"}
    got = everything(equities, params, device)
    last = everything(equities, params, device, last_only=True)
    assert len(equities) == 482
    assert list(got["average"]) == list(equities)
    for symbol, x in equities.items():
        for name, value in everything(x, params, device).items():
            same_bits(got[name][symbol], value, f"{symbol}: {name}")
            near(last[name][symbol], value[-1], 0, label=f"last of {symbol}: {name}")
    names = sorted(equities)
    bad = [s for s in ("CBS", "STI", "VIAB", "BHF", "COL", "CA", "AET", "SCG") if s in equities]
    for symbol in {*bad, *names[::60], min(names, key=lambda s: len(equities[s]))}:
        x = equities[symbol][-400:]
        stop = compare(everything(x, params, device, detail=True), reference.atc(x, **params), x, params, symbol)
        assert stop >= 0.5 * len(x), symbol


@pytest.mark.slow
@pytest.mark.parametrize("compat", MODES)
def test_universe(compat, device, universe):
    params = {"compat": compat}
    got = everything(universe, params, device)
    for i, row in enumerate(universe):
        for name, value in everything(row, params, device).items():
            same_bits(got[name][i], value, f"symbol {i}: {name}")
    last = everything(universe, params, device, last_only=True)
    same_results(last, {k: v[:, -1] for k, v in got.items()}, "last of the panel")
    for i in range(0, len(universe), 45):
        part = universe[i, :400]
        here = {k: v[i, :400] for k, v in got.items()}
        detail = {k: v for k, v in everything(part, params, device, detail=True).items() if k not in atc.OUTPUTS}
        assert compare(here | detail, reference.atc(part, **params), part, params, f"symbol {i}") > 300


# ---------------------------------------------------------------------------------------------- float32 arithmetic

#: Of averages relatively, and of trends the share of bars that differ (docs/atc.md, "Accuracy").
FLOAT32 = {"averages": 1e-4, "trends": 0.01}


@pytest.mark.parametrize("compat", ["pine", "sovereign"])
@pytest.mark.parametrize("volatility", [0.0005, 0.01, 0.05])
def test_float32_arithmetic(device, compat, volatility):
    x = np.stack([walk(1500, i, volatility) for i in range(9)])
    want = atc.run(x, {"compat": compat}, outputs="all", detail=True)
    got = atc.run(x, {"compat": compat}, outputs="all", detail=True, arithmetic="float32", device=device)
    for family in map(str.lower, atc.FAMILIES):
        name = f"{family}_ma"
        if name == "kama_ma" and compat == "pine":  # starts from 0
            got[name], want[name] = got[name][..., 400:], want[name][..., 400:]
        near(got[name], want[name], FLOAT32["averages"], label=name)
    assert (got["trend"] != want["trend"]).mean() < FLOAT32["trends"]
    if device == "cpu":
        same_bits(got["average"], want["average"])
    last = atc.run(x, {"compat": compat}, arithmetic="float32", device=device, last_only=True)
    same_bits(last["average"], got["average"][:, -1])


def test_float32_arithmetic_of_any_prices(device):
    """Missing bars, few bars, float32 prices and results."""
    for x in (holes(walk(400)), walk(3), np.full(100, 5.0), np.zeros(40), -walk(300), walk(300).astype(np.float32)):
        want = atc.run(x, outputs="all", precision="float32")
        got = atc.run(x, outputs="all", precision="float32", arithmetic="float32", device=device)
        for name in want:
            assert got[name].dtype == want[name].dtype
            assert np.array_equal(np.isnan(got[name]), np.isnan(want[name])), name
        assert np.mean(got["trend"] != want["trend"]) < 0.05
    with pytest.raises(warpquant.ParameterError, match="arithmetic"):
        atc.run(walk(50), arithmetic="float16")
