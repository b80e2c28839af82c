# SPDX-License-Identifier: Apache-2.0
"""SABR without arbitrage: its density from an equation, and where expansions leave it."""

from __future__ import annotations

import numpy as np
import pytest

from warpquant import surface
from warpquant.errors import ParameterError

pytest.importorskip("scipy")

#: The published example of Hagan and others (2014), at low strikes and long expiry.
HARD = {"forward": 1.0, "expiry": 10.0, "alpha": 0.35, "beta": 0.25, "rho": -0.1, "nu": 1.0}


@pytest.mark.parametrize(
    "parameters",
    [
        HARD,
        {"forward": 0.03, "expiry": 1.0, "alpha": 0.04, "beta": 0.5, "rho": -0.3, "nu": 0.4},
        {"forward": 0.005, "expiry": 5.0, "alpha": 0.01, "beta": 0.5, "rho": 0.3, "nu": 0.6, "shift": 0.02},
        {"forward": 100.0, "expiry": 0.5, "alpha": 0.2, "beta": 1.0, "rho": -0.7, "nu": 0.8},
        {"forward": 0.02, "expiry": 2.0, "alpha": 0.006, "beta": 0.0, "rho": 0.0, "nu": 0.3, "shift": 0.03},
        {**HARD, "cells": 60},
        # Prices from 0 to beyond doubles, so many deviations out.
        {"forward": 100.0, "expiry": 10.0, "alpha": 0.3, "beta": 1.0, "rho": 0.5, "nu": 2.0},
        {"forward": 100.0, "expiry": 10.0, "alpha": 0.3, "beta": 1.0, "rho": -0.9, "nu": 2.0, "cells": 200},
        {"forward": 0.03, "expiry": 5.0, "alpha": 0.3, "beta": 0.999, "rho": -0.3, "nu": 0.8},
    ],
)
@pytest.mark.filterwarnings("error")  # fmt: skip
def test_mass_and_mean_are_kept(parameters):
    made = surface.sabr_density(**parameters)
    assert made.mass.sum() + made.low + made.high == pytest.approx(1.0, abs=1e-12)
    mean = made.mass @ made.centre + made.low * made.edges[0] + made.high * made.edges[-1]
    scale = made.forward + made.shift
    assert mean == pytest.approx(made.forward, abs=1e-11 * scale)
    assert made.mass.min() >= 0
    assert (np.diff(made.edges) > 0).all()
    assert made.edges[0] >= -made.shift - 1e-12 * scale
    # No step from cell to cell, and convex there.
    strike = np.concatenate([made.edges[:-1, None], (made.edges[:-1] + np.diff(made.edges) * np.array([[0.2], [0.5],
                             [0.8]])).T, made.centre[:, None]], axis=1)  # fmt: skip
    strike = np.unique(strike[made.edges[1:] < made.forward + 5 * scale])
    slope = np.diff(made.price(strike)) / np.diff(strike)
    wide = np.minimum(np.diff(strike)[1:], np.diff(strike)[:-1]) > 1e-6 * scale
    assert (np.diff(slope)[wide] > -1e-8).all()
    assert (slope[1:][wide] < 1e-8).all()
    # Prices are those of a distribution: falling and convex in the strike, between their bounds.
    strike = np.linspace(made.edges[0], made.forward + 3 * (made.forward - made.edges[0]), 400)
    calls, puts = made.price(strike, True), made.price(strike, False)
    assert (np.diff(calls) < 1e-12 * scale).all()
    assert (np.diff(calls, 2) > -1e-9 * scale).all()
    np.testing.assert_allclose(calls - puts, made.forward - strike, atol=1e-11 * scale)
    assert (puts > -1e-11 * scale).all()
    assert (calls >= np.maximum(made.forward - strike, 0) - 1e-9 * scale).all()


def test_densities_go_on_to_the_lognormal():
    """Beta just below 1, of which prices near 0 are beyond doubles, and where the grid ends otherwise."""
    strike, last = np.array([0.01, 0.03, 0.06]), None
    for beta in (0.99999, 0.9999999, 1.0):
        vol = surface.sabr_density(0.03, 5.0, 0.3, beta, -0.3, 0.8).vol(strike)
        assert last is None or np.abs(vol - last).max() < 1e-4
        last = vol
    below, above = (surface.sabr_density(0.03, 5.0, 0.3, b, -0.3, 0.8).vol(strike) for b in (0.7999999, 0.8000001))
    np.testing.assert_allclose(below, above, atol=1e-5)


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("rho", [-0.5, 0.2])
def test_where_the_expansion_is_good_both_agree(beta, rho):
    forward, expiry, nu = 0.03, 0.25, 0.3  # nu^2 T = 0.02
    alpha = 0.2 * forward ** (1 - beta)
    strike = forward * np.exp(np.linspace(-0.2, 0.2, 9))
    made = surface.sabr_density(forward, expiry, alpha, beta, rho, nu, cells=2000, steps=100)
    np.testing.assert_allclose(made.vol(strike), surface.sabr(forward, strike, expiry, alpha, beta, rho, nu)["vol"],
                               rtol=5e-4)  # fmt: skip


def test_errors_fall_with_the_square_of_the_grid():
    strike = np.array([0.3, 0.6, 1.0, 1.5, 2.5])
    fine = surface.sabr_density(**HARD, cells=8000, steps=640).vol(strike)
    errors = [
        np.abs(surface.sabr_density(**HARD, cells=cells, steps=steps).vol(strike) - fine).max()
        for cells, steps in ((250, 20), (500, 40), (1000, 80))
    ]
    assert errors[2] < 2e-4
    assert errors[0] / errors[2] > 8  # 16 for second order
    # Absorption is much of the mass here, and the expansion's density is negative.
    made = surface.sabr_density(**HARD)
    assert made.low > 0.2


def test_simulated_paths_have_this_density():
    """Paths of the same equation: alpha is lognormal, the price is absorbed at 0."""
    rng = np.random.default_rng(5)
    forward, expiry, alpha, beta, rho, nu = 1.0, 1.0, 0.4, 0.5, -0.3, 0.6
    paths, steps = 100_000, 200
    dt = expiry / steps
    price, vol = np.full(paths, forward), np.full(paths, alpha)
    for _ in range(steps):
        first, second = rng.normal(size=(2, paths))
        price = np.where(price > 0, price + vol * np.maximum(price, 0) ** beta * np.sqrt(dt) * first, 0.0)
        price = np.maximum(price, 0.0)
        moved = rho * first + np.sqrt(1 - rho * rho) * second
        vol = vol * np.exp(nu * np.sqrt(dt) * moved - 0.5 * nu * nu * dt)
    made = surface.sabr_density(forward, expiry, alpha, beta, rho, nu)
    for strike in (0.5, 0.8, 1.0, 1.3, 1.8):
        payoff = np.maximum(price - strike, 0.0)
        error = payoff.std() / np.sqrt(paths)
        # The density is that of an effective volatility: right to higher orders in nu^2 T, besides the noise.
        assert abs(made.price(strike) - payoff.mean()) < 4 * error + 2e-3


def test_densities_of_nonsense():
    good = {"forward": 0.03, "expiry": 1.0, "alpha": 0.04, "beta": 0.5, "rho": -0.3, "nu": 0.4}
    for name, value in (("forward", -0.01), ("expiry", 0.0), ("alpha", np.nan), ("beta", 1.2), ("rho", 1.0),
                        ("nu", 0.0)):  # fmt: skip
        with pytest.raises(ParameterError, match=name):
            surface.sabr_density(**{**good, name: value})
    for name, value in (("forward", "x"), ("expiry", [1.0, 2.0]), ("rho", None), ("shift", np.nan), ("deviations", 0.5),
                        ("steps", 1)):  # fmt: skip
        with pytest.raises(ParameterError, match=name):
            surface.sabr_density(**{**good, name: value})
    with pytest.raises(ParameterError, match="cells"):
        surface.sabr_density(**good, cells=2)
    made = surface.sabr_density(**good)
    assert made.price(np.array([[0.02, 0.04]]), [[True], [False]]).shape == (2, 2)
    assert made.price(-1.0) == pytest.approx(1.03)
    assert made.price(1e9) == 0.0


# ---- where expansions stop ----


@pytest.mark.parametrize("variant", ["hagan", "obloj", "normal"])
def test_floors_are_where_densities_turn_negative(variant):
    args = (0.03, 10.0, 0.004 if variant == "normal" else 0.04, 0.5, -0.1, 0.5)
    floor = surface.sabr_floor(*args, variant=variant)
    assert 0 < floor < 0.03

    def density(strike):  # by central differences of prices
        from warpquant import options

        h = 1e-3 * strike
        strikes = np.array([strike - h, strike, strike + h])
        vol = surface.sabr(args[0], strikes, *args[1:], variant=variant)["vol"]
        model = "bachelier" if variant == "normal" else "black76"
        price = options.price(args[0], strikes, args[1], 0.0, 0.0, vol, True, model=model)["price"]
        return price[0] - 2 * price[1] + price[2]

    assert density(0.97 * floor) < 0 < density(1.03 * floor)


def test_floors_of_many_and_of_none():
    expiry = np.array([0.1, 5.0, 10.0, 20.0])
    floors = surface.sabr_floor(0.03, expiry, 0.04, 0.5, -0.1, 0.5)
    assert floors.shape == (4,)
    assert (np.diff(floors[1:]) > 0).all()  # worse the longer
    assert np.isnan(surface.sabr_floor(100.0, 0.1, 0.2, 1.0, 0.0, 0.05))
    assert np.isnan(surface.sabr_floor(0.03, 1.0, -0.04, 0.5, -0.1, 0.5))
    shifted = surface.sabr_floor(0.01, 10.0, 0.04, 0.5, -0.1, 0.5, shift=0.02)
    assert shifted == pytest.approx(surface.sabr_floor(0.03, 10.0, 0.04, 0.5, -0.1, 0.5) - 0.02, rel=1e-9)


def test_fits_know_their_floors():
    strike = 0.03 * np.exp(np.linspace(-0.8, 0.8, 11))
    vol = surface.sabr(0.03, strike, 10.0, 0.04, 0.5, -0.1, 0.5)["vol"]
    fit = surface.fit_sabr(0.03, strike, 10.0, vol, beta=0.5)
    np.testing.assert_allclose(fit.check(), [surface.sabr_floor(0.03, 10.0, 0.04, 0.5, -0.1, 0.5)], rtol=1e-6)
    few = surface.fit_sabr(0.03, strike[:2], 10.0, vol[:2], beta=0.5)
    assert np.isnan(few.check()).all()
