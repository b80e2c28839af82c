# SPDX-License-Identifier: Apache-2.0
"""Choice of models: the one that quotes come from is found, and a ridge holds what is noise."""

from __future__ import annotations

import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import ParameterError

YEARS = (0.2, 0.7)
STRIKES = np.linspace(75.0, 130.0, 23)
RAW = {0.2: (0.002, 0.05, -0.45, 0.01, 0.09), 0.7: (0.008, 0.09, -0.4, 0.02, 0.2)}


def market(model, noise=0.0, seed=0, strikes=STRIKES):
    rng = np.random.default_rng(seed)
    rows = {name: [] for name in ("expiry", "strike", "is_call", "bid", "ask")}
    for years in YEARS:
        k = np.log(strikes / 100.0)
        if model == "sabr":
            vol = surface.sabr(1.0, np.exp(k), years, 0.2, 1.0, -0.35, 1.1 / np.sqrt(years))["vol"]
        elif model == "svi":
            vol = np.sqrt(surface.svi(k, *RAW[years])["w"] / years)
        else:
            vol = np.sqrt(surface.ssvi(k, 0.04 * years, -0.4, 0.9 / np.sqrt(0.04 * years))["w"] / years)
        vol = vol + noise * rng.normal(size=len(k))
        call = strikes >= 100.0
        for side, move in (("bid", -0.003), ("ask", 0.003)):
            rows[side].extend(
                options.price(100.0, strikes, years, 0.0, 0.0, vol + move, call, model="black76")["price"].tolist()
            )
        rows["expiry"].extend([years] * len(k))
        rows["strike"].extend(strikes.tolist())
        rows["is_call"].extend(call.tolist())
    made = {name: np.array(values) for name, values in rows.items()}
    zero = np.zeros(len(made["strike"]))
    return surface.clean({**made, "spot": zero + 100.0, "rate": zero, "dividend": zero}, outliers=False, cliffs=False)


@pytest.mark.parametrize("folds", [5, "strike"])
@pytest.mark.parametrize("model", ["svi", "sabr"])
def test_the_model_that_quotes_come_from_is_found(model, folds):
    made = surface.choose(market(model), ("essvi", "svi", "sabr", "spline"), folds=folds)
    assert made.model == model, made
    assert made.scores[model, 0.0] < 2e-3
    assert (made.surface is None) == (model == "sabr")


def test_errors_are_those_of_quotes_that_were_not_shown():
    """Against one fit after the other, each without one strike."""
    quotes = market("svi", 0.002, 1)
    made = surface.choose(quotes, ("svi",), folds="strike")
    k, w, weight, offsets, _ = quotes.smiles()
    errors = []
    for i, years in enumerate(YEARS):
        part = slice(offsets[i], offsets[i + 1])
        x, y, z = k[part], w[part], weight[part]
        miss = []
        for j in range(len(x)):
            shown = np.arange(len(x)) != j
            said = surface.fit_svi(x[shown], y[shown], z[shown]).w(x[j])
            miss.append(np.sqrt(max(said, 0.0) / years) - np.sqrt(y[j] / years))
        errors.append(np.average(np.square(miss), weights=z * y))
    assert made.scores["svi", 0.0] == pytest.approx(np.sqrt(np.mean(errors)), rel=1e-6)


def test_noise_is_not_followed():
    """A curve through every quote is worse than one of a few numbers when quotes are noise."""
    made = surface.choose(market("essvi", 0.004, 2), ("essvi", "spline"), folds="strike")
    assert made.model == "essvi"
    exact = surface.choose(market("svi"), ("essvi", "spline"), folds="strike")
    assert exact.scores["spline", 0.0] < made.scores["spline", 0.0]


def wings(made):
    raw = made.raw()
    names = ("v", "psi", "p", "c", "vt")
    return np.stack([
        np.array([surface.svi_convert(row, "raw", "jump_wings", expiry=t)[n] for n in names])
        for row, t in zip(raw, made.years, strict=True)
    ])  # fmt: skip


def test_a_ridge_holds_slices_to_those_before():
    before = surface.Surface.fit(market("svi"), model="svi")
    quotes = market("svi", 0.004, 3, STRIKES[6:17])
    far = []
    for ridge in (0.0, 0.1, 100.0):
        made = surface.choose(quotes, ("svi",), previous=before, ridges=(ridge,))
        assert made.ridge == ridge
        assert made.surface.check().butterfly.free.all()
        far.append(np.abs(wings(made.surface) - wings(before)).max())
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.02
    # Few noisy quotes of a smile that has not moved: some ridge says more of the quotes not shown.
    best = surface.choose(quotes, ("svi",), previous=before)
    assert best.ridge > 0
    assert best.scores["svi", best.ridge] < best.scores["svi", 0.0]


def test_expiries_that_were_not_there_before_are_free():
    before = surface.Surface.fit(market("svi"), model="svi")
    other = surface.Surface("svi", ("0.2",), before.years[:1], before.parameters[:1], [100.0], [0.0])
    made = surface.choose(market("svi", 0.002, 4), ("svi",), previous=other, ridges=(1e6,))
    free = surface.Surface.fit(market("svi", 0.002, 4), model="svi", previous=other)
    np.testing.assert_allclose(made.surface.parameters[1], free.parameters[1], rtol=1e-6)
    np.testing.assert_allclose(wings(made.surface)[0], wings(before)[0], rtol=1e-2, atol=1e-3)


def test_mixtures_take_part():
    made = surface.choose(market("svi", strikes=STRIKES[::2]), ("essvi", "mixture"), folds=3)
    assert set(made.scores) == {("essvi", 0.0), ("mixture", 0.0)}
    assert made.surface.check().ok


def test_slices_of_sabr():
    made = surface.choose(market("sabr"), ("sabr",))
    cut: surface.Slice = made.slices["0.2"]
    k, h = np.linspace(-0.2, 0.2, 5), 1e-5
    w = cut.total_variance
    np.testing.assert_allclose(cut.vol(k), np.sqrt(w(k) / 0.2))
    np.testing.assert_allclose(cut.derivative(k), (w(k + h) - w(k - h)) / (2 * h), atol=1e-7)
    h = 1e-3
    np.testing.assert_allclose(cut.derivative(k, 2), (w(k + h) - 2 * w(k) + w(k - h)) / h**2, atol=1e-4)


def test_wrong_usage():
    quotes = market("svi")
    with pytest.raises(ParameterError, match="'heston' is unknown"):
        surface.choose(quotes, ("heston",))
    with pytest.raises(ParameterError, match="there are none"):
        surface.choose(quotes, ())
    with pytest.raises(ParameterError, match="folds"):
        surface.choose(quotes, folds=1)
    with pytest.raises(ParameterError, match="ridges"):
        surface.choose(quotes, ridges=(-1.0,))
    with pytest.raises(ParameterError, match="exercise"):
        surface.choose(quotes, exercise="american")
