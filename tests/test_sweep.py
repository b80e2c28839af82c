# SPDX-License-Identifier: Apache-2.0
"""Many sets of parameters in one call: each with the bits of a call of its own."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, panel, same_bits, walk
from reference import atc as reference
from warpquant import atc, config
from warpquant.errors import LayoutError, ParameterError, ShapeError

SWITCHES = {k: v for k, v in atc._SWITCHES.items() if k not in ("length_rule", "on_short", "nan_policy")}


def RUNS_ON(device):
    atc.run([1.0], device=device)


def check(prices, sets, **how):
    """Every result against a call with that set alone."""
    got = atc.run(prices, sets, **how)
    assert len(got) == len(sets)
    for i, (result, params) in enumerate(zip(got, sets, strict=True)):
        want = atc.run(prices, params, **how)
        assert list(result) == list(want)
        for name in want:
            label = f"set {i}, {params}: {name}"
            assert type(result[name]) is type(want[name]), label
            if isinstance(want[name], dict):
                assert list(result[name]) == list(want[name]), label
                for symbol in want[name]:
                    same_bits(result[name][symbol], want[name][symbol], f"{label} of {symbol}")
            else:
                same_bits(result[name], want[name], label)


def grid(**values):
    """Sets of all combinations; `base` is the length of every family."""
    sets = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    return [{**dict.fromkeys(reference.LENGTHS, s.pop("base", 28)), **s} for s in sets]


GRID = grid(base=(9, 28), robustness=("Narrow", "Wide"), La=(0.02, 0.5), De=(0.03, 0.1), long_threshold=(0.1, 0.3, 0.6))

lengths = st.sampled_from([8, 9, 12, 20, 28, 33, 60])
several = st.fixed_dictionaries(
    {"compat": st.sampled_from(["sovereign", "pine"]), "nan_policy": st.sampled_from(["skip", "propagate"])},
    optional={
        **dict.fromkeys(reference.LENGTHS, lengths),
        **{name: st.sampled_from(values) for name, values in SWITCHES.items()},
        **{f"{f}_w": st.sampled_from([-1.0, 0.5, 3.0]) for f in reference.FAMILIES},
        "robustness": st.sampled_from(["Narrow", "Medium", "Wide"]),
        "La": st.sampled_from([0.0, -1.0, 0.5, 5.0]),
        "De": st.sampled_from([0.0, 0.1, 20.0, 100.0]),
        "cutout": st.sampled_from([1, 40, 63, 64, 65, 150]),
        "long_threshold": st.sampled_from([0.0, 0.3, 0.8]),
        "short_threshold": st.sampled_from([-0.5, -0.01]),
        "cut_level": st.sampled_from([0.0, 0.9]),
        "cross_rtol": st.sampled_from([0.0, 0.01]),
        "strategy_mode": st.booleans(),
    },
)
outputs = st.one_of(st.just("all"), st.lists(st.sampled_from(atc.OUTPUTS), min_size=1, max_size=3, unique=True))


def flat_between_moves(bars):
    """Quiet stretches after loud ones, which make the engines sum windows afresh."""
    x = walk(bars, 3)
    x[bars // 3 : bars // 2] = x[bars // 3]
    x[bars // 2] *= 1e6
    return x


PRICES = {
    "walk": lambda: walk(300, 1),
    "float32": lambda: walk(200, 2).astype(np.float32),
    "flat between moves": lambda: flat_between_moves(400),
    "holes": lambda: holes(walk(300, 4)),
    "holes at the end": lambda: np.r_[walk(200, 4), np.full(9, np.nan)],
    "whole word": lambda: walk(192, 5),
    "panel": lambda: panel(5, 170),
    "panel with holes": lambda: panel(9, 250, share=0.03),
    "columns": lambda: np.asfortranarray(panel(3, 160)),
    "ragged": lambda: {f"s{i}": walk(n, i) for i, n in enumerate((300, 152, 151, 200, 170))},
    "lists": lambda: {"a": walk(160, 1), "b": holes(walk(230, 2))},
}


@settings(max_examples=40)
@given(data=st.data())
def test_any_sets(device, data):
    prices = PRICES[data.draw(st.sampled_from(sorted(PRICES)), "prices")]()
    bases = data.draw(st.lists(several, min_size=1, max_size=4), "sets")
    changes = data.draw(st.lists(st.fixed_dictionaries({}, optional={
        "La": st.floats(0.0, 1.0), "De": st.floats(0.0, 1.0), "long_threshold": st.sampled_from([0.2, 0.7]),
        "kama_len": lengths, "strategy_mode": st.booleans(),
    }), max_size=4), "changes")  # fmt: skip
    # Twice, because a set that shares nothing is run alone.
    sets = 2 * [{**base, **change} for change in ({}, *changes) for base in bases]
    last_only = data.draw(st.booleans(), "last_only")
    check(
        prices,
        data.draw(st.permutations(sets)),
        outputs=data.draw(outputs),
        last_only=last_only,
        precision=data.draw(st.sampled_from(["float64", "float32"])),
        device=device,
    )


@pytest.mark.parametrize("prices", PRICES)
def test_a_grid(prices, device):
    check(PRICES[prices](), GRID, outputs="all", device=device)


@pytest.mark.parametrize("bars", [1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_short_series(bars, device):
    check(walk(bars), GRID[::5], outputs="all", device=device)
    check(panel(4, bars), GRID[::5], last_only=True, device=device)


def test_other_source(device):
    x = panel(3, 200)
    for src in (x[::-1].copy(), holes(x, 1)):
        check(x, GRID[::7], src=src, outputs="all", device=device)


def test_lengths_beyond_the_series(device):
    check(walk(90), grid(base=(9, 60, 10**6), De=(0.03, 1.0, 3.0)), outputs="all", device=device)


def test_switches_are_kept_apart(device):
    """Sets that differ in one switch alone, of which only its family may take notice."""
    sets = [{"compat": "pine", name: value} for name, values in SWITCHES.items() for value in values]
    check(walk(300), sets, outputs="all", device=device)
    check(walk(300), [{"cross_rtol": r, "De": d} for r in (0.0, 1e-12, 0.02) for d in (0.03, 0.3)], device=device)


def test_executions(simd_levels):
    for x in (walk(500), panel(21, 130, share=0.01)):
        want = None
        for how in executions(simd_levels):
            got = atc.run(x, GRID, outputs="all")
            want = want or [atc.run(x, params, outputs="all") for params in GRID]
            for one, other in zip(got, want, strict=True):
                for name in one:
                    same_bits(one[name], other[name], f"{how}: {name}")


def test_many_stretches_and_batches():
    """More signals, layers and growth factors than are held at a time."""
    lots = [{**dict.fromkeys(reference.LENGTHS, 8 + i % 40), "La": 0.001 * i} for i in range(1500)]
    x = walk(6000)
    got = atc.run(x, lots, last_only=True)
    for i in range(0, len(lots), 37):
        same_bits(got[i]["average"], atc.run(x, lots[i], last_only=True)["average"], f"{lots[i]}")


def test_what_params_takes(device):
    x = walk(100)
    check(x, [None, atc.Params(La=0.5), {"hma_len": 20}, {"lambda_param": 0.5}], device=device)
    check(x, (atc.Params(),), device=device)
    port = atc.run(x, [None, {"De": 1.0}], outputs=("Average_Signal", "average", "EMA_S"), device=device)
    assert [list(r) for r in port] == [["Average_Signal", "average", "EMA_S"]] * 2
    same_bits(port[1]["Average_Signal"], atc.run(x, {"De": 1.0})["average"])


def test_containers(device):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(panel(3, 80).T, columns=list("abc"))
    for kw in ({}, {"last_only": True}):
        got = atc.run(frame, GRID[:3], device=device, **kw)
        for one, params in zip(got, GRID[:3], strict=True):
            want = atc.run(frame, params, **kw)["average"]
            assert type(one["average"]) is type(want)
            assert one["average"].equals(want)


def test_prices_on_a_device(device):
    if device == "cpu":
        pytest.skip("has no memory of its own")
    for x in (panel(3, 90), panel(3, 300, share=0.05)):
        there = warpquant.to_device(x, device)
        for got, params in zip(atc.run(there, GRID[:4]), GRID[:4], strict=True):
            same_bits(got["average"].to_numpy(), atc.run(x, params)["average"])


def test_float32_arithmetic(device):
    check(panel(3, 200), GRID[::6], arithmetic="float32", device=device)


def test_devices_share_signals(device):
    """Sets that agree in all averages follow a kernel of their own, which makes the signals."""
    if device != "emulator":
        pytest.skip("simulated devices count launches")
    from warpquant import _emulator

    x = warpquant.to_device(holes(panel(9, 130)), device)
    sets = grid(base=(9, 28), De=(0.03, 0.1, 0.3))
    _emulator.configure()
    check_there = atc.run(x, sets)
    check_there[-1]["average"].wait()
    # Two kernels find missing bars and spread results; sets of three share one launch more.
    assert _emulator.counts()["launches"] == 3 * (len(sets) + 2)
    for got, params in zip(check_there, sets, strict=True):
        same_bits(got["average"].to_numpy(), atc.run(holes(panel(9, 130)), params)["average"])


def test_errors(device):
    x = walk(50)
    with pytest.raises(ParameterError, match=r"^params: is an empty list"):
        atc.run(x, [], device=device)
    with pytest.raises(ParameterError, match=r"^params\[1\]: int is neither Params nor a mapping"):
        atc.run(x, [{}, 3], device=device)
    with pytest.raises(ParameterError, match=r"^params\[2\]: De: 200"):
        atc.run(x, [{}, {}, {"De": 200}], device=device)
    with pytest.raises(ParameterError, match=r"^params\[1\]: cutout: 50 leaves nothing of 50 bars"):
        atc.run(x, [{}, {"cutout": 50}], device=device)
    with pytest.raises(ShapeError, match=r"^params\[1\]: prices: 50 bars are fewer than the longest average, 66"):
        atc.run(x, [{}, {"ema_len": 60, "on_short": "raise"}], device=device)
    with pytest.raises(ParameterError, match=r"^detail:"):
        atc.run(x, [{}], detail=True, device=device)
    with pytest.raises(ParameterError, match=r"^out:"):
        atc.run(x, [{}], out={"average": np.empty(50)}, device=device)
    with pytest.raises(ParameterError, match=r"^params: str is neither"):
        atc.run(x, "pine", device=device)
    bad = np.r_[walk(20), np.nan, walk(9)]
    with pytest.raises(ParameterError, match=r"^prices: series 0 is missing .* bar 20"):
        atc.run(bad, [{}, {"De": 0.5}, {"nan_policy": "raise"}], device=device)
    with pytest.raises(ParameterError, match=r"^prices: series 0 is too large at bar 20"):
        atc.run(np.where(np.isnan(bad), 1e305, bad), [{}, {"De": 0.5}], device=device)
    with pytest.raises((ShapeError, LayoutError)):
        atc.run(x, [{}, {}], src=walk(49), device=device)


def test_memory_is_bounded():
    """Growth factors of all these sets would take 320 MB, and so would averages of all bars."""
    program = """
import resource
import numpy as np
from warpquant import atc
x = 100 + np.random.default_rng(0).normal(size=20_000).cumsum() * 0.1
sets = [{"La": 1e-5 * i} for i in range(2000)]
atc.run(x[:500], sets, last_only=True, num_threads=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atc.run(x, sets, last_only=True, num_threads=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 120_000  # kilobytes


def test_num_threads():
    x = walk(1000)
    want = atc.run(x, GRID, num_threads=1)
    for threads in (2, 3):
        with config.override(num_threads=threads):
            for one, other in zip(atc.run(x, GRID), want, strict=True):
                same_bits(one["average"], other["average"])
