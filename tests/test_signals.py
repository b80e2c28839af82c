# SPDX-License-Identifier: Apache-2.0
"""The stages of ATC one at a time: against their definition, and together against the one pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import warpquant
from checks import executions, holes, near, panel, same_bits, walk
from reference import atc as reference
from warpquant import atc, equity, ma, signals

SIZES = (0, 1, 2, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1500)
TOLERANCE = {
    # relative: sums of up to nine terms, and a quotient
    "sums": 1e-14,
    # of signals in stages against those of the one pass, and of equities relatively: 20,000 products in another order
    "stages": 1e-11,
}


def defined_crosses(close, average, rtol):
    """As the reference, for series with missing values: infinite ones are missing, too."""
    close, average = (np.where(np.isfinite(x), x, np.nan).astype(np.float64) for x in (close, average))
    return reference.crosses(close, average, rtol)


def coarse(bars, seed=0):
    """A walk in whole steps, which is often level with an average of it."""
    return 50.0 + np.cumsum(np.random.default_rng(seed).integers(-1, 2, bars)).astype(np.float64)


@pytest.mark.parametrize("rtol", [0.0, 1e-12, 0.01])
def test_crosses(device, rtol):
    pairs = {
        "walk": (walk(1500), np.asarray(ma.ema(walk(1500), 9))),
        "level": (coarse(1500), np.round(ma.sma(coarse(1500), 5))),
        "holes": (holes(coarse(1500), 1, 0.1), holes(np.round(ma.sma(coarse(1500), 3)), 2, 0.1)),
        "infinite": (np.where(np.arange(1500) % 70 == 3, np.inf, coarse(1500)), coarse(1500, 1)),
        "rarely": (np.r_[np.full(1400, 2.0), np.ones(100)], np.r_[np.full(5, np.nan), np.full(1495, 1.5)]),
        "never": (np.full(1500, 2.0), np.ones(1500)),
    }
    for label, (close, average) in pairs.items():
        want = defined_crosses(close, average, rtol).astype(np.int8)
        for size in SIZES:
            got = signals.crosses(close[:size], average[:size], cross_rtol=rtol, device=device)
            same_bits(got, want[:size], f"{label}, {size} bars")


def test_direction_and_trend(device):
    average = np.round(np.sin(np.arange(1500) / 40) * np.cos(np.arange(1500) / 7), 1)
    average[::97] = np.nan
    for size in SIZES:
        x = average[:size]
        got = signals.direction(x, long_threshold=0.3, short_threshold=-0.4, device=device)
        same_bits(got, reference.latch(x, 0.3, -0.4) if size else np.empty(0, np.int8), f"{size} bars")
        same_bits(signals.trend(x, device=device), np.sign(np.nan_to_num(x)).astype(np.int8), f"{size} bars")


@pytest.mark.parametrize("averages", [1, 2, 3, 4, 9, 20])
def test_layers_by_definition(device, averages):
    rng = np.random.default_rng(averages)
    votes = rng.choice([-1.0, 0.0, 1.0], (averages, 700))
    weights = rng.uniform(0.25, 4.0, votes.shape)
    weights[:, :5] = np.nan
    mean = (votes * weights).sum(axis=0) / weights.sum(axis=0)
    near(signals.family(votes, weights, rounding="none", device=device), mean, TOLERANCE["sums"], scale=1.0)
    for rounding in ("even", "away"):
        want = np.array([reference.round2(v, rounding) for v in mean.tolist()])
        got = signals.family(votes, weights, rounding=rounding, device=device)
        clear = abs(abs(mean) * 100 % 1 - 0.5) > 1e-6
        clear |= np.isnan(mean)
        same_bits(got[clear], want[clear], rounding)

    strength = rng.uniform(-1, 1, votes.shape)
    cut = np.where(strength > 0.4, 1.0, np.where(strength < -0.2, -1.0, 0.0))
    want = np.nan_to_num((cut * weights).sum(axis=0) / weights.sum(axis=0), nan=7.0)
    got = signals.average(strength, weights, upper=0.4, lower=-0.2, fill=7.0, device=device)
    near(got, want, TOLERANCE["sums"], scale=1.0)


def test_a_vote_must_exceed_its_threshold(device):
    for level in (0.1, 0.49, 0.0):
        edge = np.array([level, np.nextafter(level, 1), -level, np.nextafter(-level, -1)])
        got = signals.average([edge], [np.ones(4)], upper=level, lower=-level, device=device)
        same_bits(got, np.array([0.0, 1.0, 0.0, -1.0]), str(level))


@pytest.mark.parametrize("how", [{"compat": "pine"}, {"compat": "sovereign", "cutout": 40, "rounding": "none"}])
def test_stages_make_the_one_pass(device, how):
    x = panel(3, 600)
    params = atc.Params(**how)
    whole = atc.run(x, params, outputs="all", detail=True, device=device)
    families = [f.lower() for f in atc.FAMILIES]
    for f in families:
        for k in range(9):
            got = signals.crosses(x, whole[f"{f}_ma"][k], device=device)
            same_bits(got, whole[f"{f}_sig"][k].astype(np.int8), f"{f}, length {k}")
        got = signals.family(whole[f"{f}_sig"], whole[f"{f}_eq"], rounding=params.rounding, device=device)
        same_bits(got, whole[f"{f}_signal"], f)
        got = equity.curve(prices=x, signal=whole[f"{f}_signal"], starting=1.0, decay_per_bar=params.De / 100,
                           growth_per_bar=params.La / 1000, cutout=params.cutout, neutral=params.neutral,
                           device=device)  # fmt: skip
        same_bits(got, whole[f"{f}_s"], f)
    high = params.cut_level if params.cut == "fixed" else params.long_threshold
    got = signals.average({f: whole[f"{f}_signal"] for f in families}, {f: whole[f"{f}_s"] for f in families[::-1]},
                          upper=high, lower=-high, fill=np.nan if params.average_fill == "nan" else 0.0,
                          device=device)  # fmt: skip
    near(got, whole["average"], TOLERANCE["sums"], scale=1.0)
    same_bits(signals.trend(whole["average"], device=device), whole["trend"])
    same_bits(signals.direction(whole["average"], device=device), whole["direction"])


LENGTHS = {"ema_len": 9, "hull_len": 30, "wma_len": 12, "dema_len": 17, "lsma_len": 40, "kama_len": 21}


@pytest.mark.parametrize(
    "how",
    [
        {"compat": "pine"},
        {"compat": "sovereign"},
        {"compat": "pine", "hma": "hull", "dema_seed": "value", "kama_seed": "first", "lsma": "previous", **LENGTHS},
        {"compat": "sovereign", "dema_seed": "sma", "kama_seed": "zero", "cutout": 700, "strategy_mode": True,
         "neutral": "sticky", "rounding": "none", "robustness": "Wide", **LENGTHS, "ema_w": -1.0, "kama_w": 3.0},
        {"length_rule": "clamp", "ema_len": 2, "lsma_len": 3, "kama_len": 1, "La": 0.5, "De": 2.0},
    ],
    ids=lambda how: ", ".join(map(str, how.values()))[:40],
)  # fmt: skip
def test_long_series_in_stages(device, how):
    """On the CPU nothing changes; on devices signals differ where a value lies on an edge, which none does here."""
    x = walk(20_000, 3)
    exact = atc.run(x, how, outputs="all")
    got = atc.run(x, how, outputs="all", exact=False, device=device)
    for name, want in exact.items():
        if want.dtype == np.int8:
            same_bits(got[name], want, name)
        else:
            near(got[name], want, TOLERANCE["stages"], scale=np.maximum(abs(np.nan_to_num(want)), 1e-2), label=name)
    last = atc.run(x, how, outputs="all", exact=False, device=device, last_only=True, precision="float32")
    for name, want in got.items():
        same_bits(last[name], want.astype(last[name].dtype)[-1], name)


def test_stages_depend_on_nothing_but_the_series(device):
    x = np.stack([walk(20_000, i) for i in range(3)])
    missing = holes(x[2], 0, 0.001)
    ragged = {"long": x[0], "short": x[1, :900], "other": x[1], "holes": missing, "few": missing[:300]}
    how = {"exact": False, "device": device, "outputs": "all"}
    together = atc.run(ragged, {"nan_policy": "skip"}, **how)
    both = atc.run(x[:2], {"nan_policy": "skip"}, **how, src=x[1:])
    for name in atc.OUTPUTS:
        for label, series in ragged.items():
            same_bits(together[name][label], atc.run(series, {"nan_policy": "skip"}, **how)[name], f"{name}, {label}")
        alone = atc.run(x[1], {"nan_policy": "skip"}, **how, src=x[2])
        same_bits(both[name][1], alone[name], name)


@pytest.mark.parametrize("neutral", ["flat", "sticky"])
def test_equity_in_pieces(device, neutral):
    rng = np.random.default_rng(0)
    returns = rng.normal(0.0, 0.02, 20_000)
    # Rare signals, so that exposures are kept over whole pieces; stretches at the floor; unknown returns.
    signal = np.repeat(rng.choice([-1.0, 0.0, 0.0, 0.0, 1.0], 40), 500)
    returns[5000:5100] = -0.5
    returns[::701] = np.nan
    for how in (
        {},
        {"cutout": 3000, "starting": -2.0},
        {"floor": -1.0},
        {"growth_per_bar": 1e-5, "decay_per_bar": 0.1},
    ):
        want = equity.curve(returns, signal, neutral=neutral, **how)
        got = equity.curve(returns, signal, neutral=neutral, **how, exact=False, device=device)
        near(got, want, TOLERANCE["stages"], label=str(how))


def test_one_set_of_bits(device, simd_levels):
    x, average = panel(5, 700, share=0.02), np.asarray(ma.ema(panel(5, 700), 7))
    positions, weights = np.sign(np.stack([x, -x, average]) - 100), np.stack([x, x + 1, average])
    calls = {
        "crosses": lambda **how: signals.crosses(x, average, **how),
        "crosses, bars first": lambda **how: signals.crosses(x.T, average.T, axis=0, **how).T,
        "family": lambda **how: signals.family(positions, weights, **how),
        "family, bars first": lambda **how: signals.family([p.T for p in positions], [w.T for w in weights], axis=0,
                                                           **how).T,
        "average": lambda **how: signals.average(list(positions), list(weights), **how),
        "direction": lambda **how: signals.direction(x / 100 - 1, **how),
        "trend": lambda **how: signals.trend(np.asfortranarray(x - 100), **how),
    }  # fmt: skip
    wanted = {label: call(device="cpu") for label, call in calls.items()}
    for where in executions(simd_levels):
        for label, call in calls.items():
            same_bits(call(), wanted[label], f"{label}, {where}")
    for label, call in calls.items():
        same_bits(call(device=device), wanted[label], label)


@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 600), rtol=st.sampled_from([0.0, 1e-12, 0.02]),
       steps=st.sampled_from([1, 3, 1000]), missing=st.floats(0, 0.5))  # fmt: skip
def test_any_crosses(device, seed, bars, rtol, steps, missing):
    rng = np.random.default_rng(seed)
    close = 50 + np.cumsum(rng.integers(-steps, steps + 1, bars)) / steps
    average = 50 + np.cumsum(rng.integers(-steps, steps + 1, bars)) / steps
    average[rng.random(bars) < missing] = np.nan
    close[rng.random(bars) < missing / 10] = np.nan
    got = signals.crosses(close, average, cross_rtol=rtol, device=device)
    same_bits(got, defined_crosses(close, average, rtol).astype(np.int8))
    # What has not happened yet changes nothing.
    part = rng.integers(1, bars + 1)
    same_bits(signals.crosses(close[:part], average[:part], cross_rtol=rtol, device=device), got[:part])


def test_containers():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": walk(60), "b": walk(60, 1)}, index=pd.date_range("2020", periods=60))
    average = ma.sma(frame, 5)
    crossed = signals.crosses(frame, average[["b", "a"]])
    assert list(crossed.columns) == ["a", "b"]
    assert crossed.index.equals(frame.index)
    same_bits(crossed["b"].to_numpy(), signals.crosses(frame["b"].to_numpy(), average["b"].to_numpy()))
    made = signals.family([crossed, -crossed], [frame, frame + 1])
    assert isinstance(made, pd.DataFrame)
    mapping = signals.trend({"x": np.array([0.5, -0.5]), "y": np.zeros(3)})
    assert {k: v.tolist() for k, v in mapping.items()} == {"x": [1, -1], "y": [0, 0, 0]}


def test_detail_goes_in_as_it_comes(device):
    """Arrays with a leading axis, on devices too, and frames by length."""
    x = panel(3, 200)
    where = x if device == "cpu" else warpquant.to_device(x, device)
    whole = atc.run(where, outputs="all", detail=True)
    made = signals.family(whole["ema_sig"], whole["ema_eq"])
    bits = (np.asarray(a) if device == "cpu" else a.to_numpy() for a in (made, whole["ema_signal"]))
    same_bits(*bits)
    pd = pytest.importorskip("pandas")
    for prices in (pd.DataFrame(x.T, columns=list("abc")), pd.Series(x[0])):
        whole = atc.run(prices, outputs="all", detail=True)
        made = signals.family(whole["kama_sig"], whole["kama_eq"])
        assert made.equals(whole["kama_signal"])
    with pytest.raises(warpquant.ParameterError, match="signals: is one DataFrame"):
        signals.family(pd.DataFrame(x.T), pd.DataFrame(x.T))


def test_out(device):
    x = walk(100)
    target = np.empty(100, np.int8)
    got = signals.crosses(x, x[::-1].copy(), out=target, device=device)
    assert got is target
    same_bits(target, signals.crosses(x, x[::-1].copy()))
    with pytest.raises(warpquant.DTypeError, match="out"):
        signals.trend(x, out=np.empty(100), device=device)
    with pytest.raises(warpquant.LayoutError, match="out"):
        signals.direction(x, out=x.view(np.int8)[:100], device=device)


FINE = np.ones(5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: signals.crosses(FINE, np.ones(4)), warpquant.ShapeError, "average"),
        (lambda: signals.crosses(FINE, np.ones(5, complex)), warpquant.DTypeError, "average"),
        (lambda: signals.crosses(FINE, FINE, cross_rtol=-1), warpquant.ParameterError, "cross_rtol"),
        (lambda: signals.family([FINE], [FINE, FINE]), warpquant.ShapeError, "equities"),
        (lambda: signals.family([], []), warpquant.ShapeError, "signals"),
        (lambda: signals.family(FINE, [FINE]), warpquant.ParameterError, "signals"),
        (lambda: signals.family([FINE, np.ones(4)], [FINE, FINE]), warpquant.ShapeError, r"signals\[1\]"),
        (lambda: signals.family([FINE], [FINE], rounding="up"), warpquant.ParameterError, "rounding"),
        (lambda: signals.family({"a": FINE}, {"b": FINE}), warpquant.ShapeError, "equities"),
        (lambda: signals.family([FINE, FINE], [FINE, np.ones(5, np.float32)]), warpquant.DTypeError, r"equities\[1\]"),
        (lambda: signals.average([FINE], [FINE], upper=-1, lower=1), warpquant.ParameterError, "upper"),
        (lambda: signals.average([FINE], [FINE], upper=math.nan), warpquant.ParameterError, "upper"),
        (lambda: signals.direction(FINE, long_threshold=-1), warpquant.ParameterError, "long_threshold"),
        (lambda: signals.trend("text"), warpquant.DTypeError, "average"),
        (lambda: signals.trend(FINE, device="tpu"), warpquant.ParameterError, "device"),
        (lambda: signals.trend(FINE, axis=1), warpquant.ParameterError, "axis"),
        (lambda: atc.run(FINE, exact=0), warpquant.ParameterError, "exact"),
        (lambda: equity.curve(FINE, FINE, exact=1), warpquant.ParameterError, "exact"),
    ],
)
def test_errors_name_the_argument(call, error, match):
    with pytest.raises(error, match=match):
        call()
