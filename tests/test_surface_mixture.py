# SPDX-License-Identifier: Apache-2.0
"""Mixtures: no arbitrage whatever the quotes say, closeness to those that have none, times between expiries."""

from __future__ import annotations

import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import DTypeError, ParameterError, ShapeError

YEARS = np.array([0.05, 0.2, 0.6])


def quotes(noise=0.0, seed=0, count=21):
    rng = np.random.default_rng(seed)
    k, w = [], []
    for years in YEARS:
        place = np.linspace(-3.0, 2.5, count) * 0.2 * np.sqrt(years)
        w.append(surface.ssvi(place, 0.04 * years, -0.5, 0.7 / np.sqrt(0.04 * years))["w"])
        w[-1] = w[-1] * np.exp(noise * rng.normal(size=count))
        k.append(place)
    return k, w


def as_surface(fit):
    return surface.Surface(
        "mixture", ("a", "b", "c"), YEARS, fit.backbone.parameters, np.full(3, 100.0), np.zeros(3), slices=fit.slices
    )


def calls(made, x, years):
    """Undiscounted calls in units of the forward, from volatilities alone."""
    w = made.total_variance(np.log(x), years)
    return options.price(1.0, x, 1.0, 0.0, 0.0, np.sqrt(w), True, model="black76")["price"]


def no_arbitrage(made, times):
    """By prices on a grid, with nothing of what the surface says of itself."""
    x = np.exp(np.linspace(-1.2, 1.0, 441))
    before = np.maximum(1.0 - x, 0.0)
    for years in times:
        price = calls(made, x, years)
        slope = np.diff(price) / np.diff(x)
        assert (slope >= -1.0 - 1e-12).all()
        assert (slope <= 1e-12).all()
        assert (np.diff(slope) >= -1e-10).all()
        assert (price >= before - 1e-12).all()
        before = price


def test_smiles_without_noise_are_met():
    k, w = quotes()
    fit = surface.fit_mixture(k, w, [v * 0.99 for v in w], [v * 1.01 for v in w])
    assert fit.status.tolist() == [0, 0, 0]
    for place, want, one in zip(k, w, fit.slices, strict=True):
        np.testing.assert_allclose(one.total_variance(place), want, rtol=0.01)
    assert (fit.rmse < 0.5).all()


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(st.integers(0, 10**6), st.floats(0.0, 0.4), st.integers(1, 30))
def test_no_arbitrage_whatever_quotes_say(seed, noise, count):
    k, w = quotes(noise, seed, count)
    made = as_surface(surface.fit_mixture(k, w))
    assert made.check().ok, made.check().violations()
    no_arbitrage(made, (0.01, 0.05, 0.1, 0.2, 0.35, 0.6, 1.5))


def test_quotes_that_fall_in_time():
    k, w = quotes()
    fit = surface.fit_mixture(k, w[::-1])
    made = as_surface(fit)
    assert made.check().ok
    no_arbitrage(made, YEARS)


def test_an_expiry_without_quotes_lies_between_its_neighbours():
    k, w = quotes()
    k[1], w[1] = k[1][:0], w[1][:0]
    fit = surface.fit_mixture(k, w)
    middle = [float(one.total_variance(0.0)) for one in fit.slices]
    assert middle[0] < middle[1] < middle[2]
    assert np.isnan(fit.rmse[1])


def test_check_sees_what_is_wrong():
    made = as_surface(surface.fit_mixture(*quotes()))
    one = made.slices[1]
    masses = one.masses.copy()
    masses[len(masses) // 2] -= 0.2
    for wrong, word in (
        ((made.slices[0], dataclasses.replace(one, masses=masses), made.slices[2]), "butterfly"),
        ((made.slices[2], one, made.slices[0]), "calendar"),
        ((made.slices[0], dataclasses.replace(one, variance=1e-9), made.slices[2]), "calendar"),
    ):
        check = dataclasses.replace(made, slices=wrong).check()
        assert not check.ok
        assert any(word in line for line in check.violations())


def test_prices_are_those_of_the_law():
    """With 50 digits: sums of Black's formula over the nodes."""
    one = surface.fit_mixture(*quotes()).slices[1]
    mp.mp.dps = 50
    total = mp.sqrt(mp.mpf(one.variance))
    for k in (-0.3, 0.0, 0.2):
        strike = mp.exp(mp.mpf(k))
        want = mp.mpf(0)
        for x, p in zip(one.nodes.tolist(), one.masses.tolist(), strict=True):
            d1 = mp.log(mp.mpf(x) / strike) / total + total / 2
            want += mp.mpf(p) * (mp.mpf(x) * mp.ncdf(d1) - strike * mp.ncdf(d1 - total))
        w = one.total_variance(k)
        got = options.price(1.0, np.exp(k), 1.0, 0.0, 0.0, np.sqrt(w), True, model="black76")["price"]
        assert got == pytest.approx(float(want), rel=1e-12, abs=1e-14)


def test_goes_to_text_and_back():
    made = as_surface(surface.fit_mixture(*quotes(0.02)))
    again = surface.Surface.from_dict(json.loads(json.dumps(made.to_dict())))
    np.testing.assert_array_equal(again.vol([80.0, 120.0], 0.3), made.vol([80.0, 120.0], 0.3))
    assert again.check().ok
    text = made.to_dict()
    with pytest.raises(ShapeError, match="slices"):
        surface.Surface.from_dict({**text, "slices": text["slices"][:2]})
    with pytest.raises(ShapeError, match="slices"):
        surface.Surface.from_dict({name: values for name, values in text.items() if name != "slices"})


def test_wings_do_not_end():
    made = as_surface(surface.fit_mixture(*quotes()))
    k = np.array([-30.0, -5.0, -1.0, 1.0, 5.0, 30.0])
    for years in (0.01, 0.3, 2.0):
        w = made.total_variance(k, years)
        assert np.isfinite(w).all()
        assert (w > 0).all()
        assert (w <= 2.0 * np.abs(k)).all()


def test_hostile_input():
    k, w = quotes()
    w[0][3], k[1][4], w[2][5] = np.nan, np.inf, -1.0
    made = as_surface(surface.fit_mixture(k, w))
    assert made.check().ok
    with pytest.raises(ParameterError, match="none of the 3 quotes"):
        surface.fit_mixture([0.0, 0.1, 0.2], [np.nan] * 3)
    with pytest.raises(ParameterError, match="smoothness"):
        surface.fit_mixture(k, w, smoothness=-1.0)
    with pytest.raises(ShapeError, match="bid"):
        surface.fit_mixture(k[0], w[0], w[0][:3])
    with pytest.raises(DTypeError, match="k"):
        surface.fit_mixture("smile", w)
