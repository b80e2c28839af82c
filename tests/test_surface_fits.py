# SPDX-License-Identifier: Apache-2.0
"""Fits of whole surfaces: Heston's model and SSVI."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_surface_chain import quoted as chain_of
from warpquant import config, options, surface
from warpquant.errors import DTypeError, ParameterError, ShapeError

#: Parameters of noiseless quotes, relative: as many digits as implied volatilities leave.
RECOVERED = 1e-6
#: Cost over that of SciPy's best.
AS_GOOD = 1.0001
YEARS = np.array([0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
NAMES = ("v0", "kappa", "theta", "xi", "rho")


def heston_quotes(model, years=YEARS, strikes=13):
    """Strikes and implied volatilities, in rows of expiries."""
    years = np.asarray(years)[:, None]
    k = np.linspace(-2.0, 1.5, strikes) * np.sqrt(model["theta"] * years)
    strike = 100.0 * np.exp(k)
    price = options.heston(100.0, strike, years, 0.0, 0.0, **model, is_call=k > 0, accuracy="high")["price"]
    return strike, options.implied_vol(price, 100.0, strike, years, 0.0, 0.0, k > 0)


def heston_models(count, seed):
    rng = np.random.default_rng(seed)
    return [
        {
            "v0": rng.uniform(0.01, 0.2), "kappa": 10 ** rng.uniform(-0.5, 1.0), "theta": rng.uniform(0.01, 0.2),
            "xi": rng.uniform(0.2, 1.5), "rho": rng.uniform(-0.95, 0.3),
        }
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("model", heston_models(12, 5), ids=lambda m: f"kappa={m['kappa']:.2f}")
def test_heston_parameters_are_found_again(model):
    strike, vol = heston_quotes(model)
    fit = surface.fit_heston(100.0, strike, YEARS, vol)
    assert surface.HESTON_FIT_STATUS[fit.status] == "ok"
    assert fit.quotes == 104
    for name in NAMES:
        assert fit.parameters[name] == pytest.approx(model[name], rel=RECOVERED)
    assert fit.feller == pytest.approx(2 * model["kappa"] * model["theta"] / model["xi"] ** 2, rel=1e-5)


def test_heston_fits_noise_as_well_as_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(4)
    for model in heston_models(2, 8):
        strike, vol = heston_quotes(model, YEARS[::2], 9)
        noisy = vol + 0.002 * rng.normal(size=vol.shape)
        weights = rng.uniform(0.2, 1.0, vol.shape)
        years = YEARS[::2][:, None]
        calls = strike > 100.0
        market = options.price(100.0, strike, years, 0.0, 0.0, noisy, calls, model="black76")["price"]
        vega = options.greeks(100.0, strike, years, 0.0, 0.0, noisy, calls, model="black76", outputs="vega")["vega"]
        root = np.sqrt(weights / weights.sum())

        def residuals(x, args=(strike, years, calls, market, vega, root)):
            strike, years, calls, market, vega, root = args
            values = {n: np.exp(v) for n, v in zip(NAMES[:4], x, strict=False)}
            price = options.heston(100.0, strike, years, 0.0, 0.0, **values, rho=np.tanh(x[4]), is_call=calls,
                                   accuracy="high")["price"]  # fmt: skip
            return (root * (price - market) / vega).ravel()

        start = [*np.log([model[n] for n in NAMES[:4]]), np.arctanh(model["rho"])]
        best = np.sqrt(2 * optimize.least_squares(residuals, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).cost)
        fit = surface.fit_heston(100.0, strike, YEARS[::2], noisy, weights)
        assert fit.rmse <= AS_GOOD * best
        made = residuals([*np.log([fit.v0, fit.kappa, fit.theta, fit.xi]), np.arctanh(fit.rho)])
        assert np.sqrt(np.sum(made**2)) == pytest.approx(fit.rmse, rel=1e-6)


def test_heston_on_all_levels(simd_levels):
    strike, vol = heston_quotes(heston_models(1, 2)[0])
    fits = []
    for level in simd_levels:
        with config.override(simd=level):
            fits.append(surface.fit_heston(100.0, strike, YEARS, vol))
    for fit in fits[1:]:
        np.testing.assert_allclose(list(fit.parameters.values()), list(fits[0].parameters.values()), rtol=1e-7)


def test_heston_of_ragged_and_dirty_quotes():
    model = heston_models(1, 9)[0]
    strike, vol = heston_quotes(model)
    clean = surface.fit_heston(100.0, strike, YEARS, vol)
    # Bad quotes, in each of the ways that there are, count for nothing.
    dirty_strike = [np.r_[row, np.nan, -1.0, 100.0, 100.0, 100.0] for row in strike]
    dirty_vol = [np.r_[row, 0.2, 0.2, np.inf, -0.3, 9.0] for row in vol]
    weights = [np.r_[np.ones(len(row)), 1.0, 1.0, 1.0, 1.0, 0.0] for row in strike]
    dirty = surface.fit_heston(100.0, dirty_strike, YEARS, dirty_vol, weights)
    assert dirty == clean
    # An expiry without a meaning, and one of which nothing is left.
    more = surface.fit_heston(
        [np.nan, *np.full(8, 100.0), 100.0], [strike[0], *strike, [100.0]], [0.05, *YEARS, 4.0], [vol[0], *vol, [0.0]]
    )
    assert more == clean
    begun = surface.fit_heston(100.0, strike, YEARS, vol, start=clean)
    np.testing.assert_allclose(list(begun.parameters.values()), list(clean.parameters.values()), rtol=1e-9)
    assert begun.rounds < clean.rounds
    flat = surface.fit_heston(100.0, strike.ravel()[::1], YEARS, vol.ravel(), offsets=np.arange(9) * 13)
    assert flat == clean
    wide = np.repeat(strike, 2, axis=1)[:, ::2]
    assert surface.fit_heston(100.0, wide, YEARS, vol.astype(np.float32)).rmse < 1e-6


def test_heston_of_little_and_of_nonsense():
    few = surface.fit_heston(100.0, [90.0, 100.0, 110.0], 1.0, [0.2, 0.2, 0.2])
    assert surface.HESTON_FIT_STATUS[few.status] == "too few quotes"
    assert few.quotes == 3
    assert np.isnan([few.v0, few.rmse]).all()
    one_strike = surface.fit_heston(100.0, np.full((5, 1), 100.0), np.arange(1, 6), np.full((5, 1), 0.2))
    assert one_strike.status == 4
    nothing = surface.fit_heston(100.0, np.full((2, 5), np.nan), [1.0, 2.0], np.full((2, 5), 0.2))
    assert (nothing.status, nothing.quotes) == (4, 0)
    # A flat surface is Black's: volatility of variance goes to its bound, or anything that makes no difference.
    strike = np.tile(np.linspace(80.0, 120.0, 9), (3, 1))
    flat = surface.fit_heston(100.0, strike, [0.5, 1.0, 2.0], np.full((3, 9), 0.2))
    assert flat.rmse < 1e-5
    with pytest.raises(ShapeError, match=r"start: has shape \(3,\)"):
        surface.fit_heston(100.0, strike, [0.5, 1.0, 2.0], np.full((3, 9), 0.2), start=[1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="forward"):
        surface.fit_heston([100.0, 100.0], strike, [0.5, 1.0, 2.0], np.full((3, 9), 0.2))
    with pytest.raises(ShapeError, match="vol: has 3 quotes"):
        surface.fit_heston(100.0, strike, [0.5, 1.0, 2.0], [0.2, 0.2, 0.2])
    with pytest.raises(DTypeError):
        surface.fit_heston(100.0, strike, [0.5, 1.0, 2.0], [["a"] * 9] * 3)


@given(st.integers(0, 2**32 - 1))
def test_heston_of_anything_ends(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    strike = 100.0 * np.exp(rng.normal(size=(n, 6)) * 10 ** rng.uniform(-2, 0.5))
    fit = surface.fit_heston(100.0, strike, np.sort(rng.uniform(0.01, 3.0, n)), rng.uniform(0.01, 2.0, (n, 6)))
    assert fit.status in range(5)
    if fit.status < 3:
        assert np.isfinite(list(fit.parameters.values())).all()
        assert fit.v0 > 0
        assert abs(fit.rho) < 1


# ---- SSVI ----


def phi_of(shape, theta, eta, gamma):
    if shape == "power":
        return eta / (theta**gamma * (1 + theta) ** (1 - gamma))
    if shape == "simple":
        return eta * theta**-gamma
    x = eta * theta
    return (1 + np.expm1(-x) / x) / x


def most_eta(shape, rho, gamma, last):
    if shape == "power":
        return 2 / (1 + abs(rho))
    return min(4 / (1 + abs(rho)) * last ** (gamma - 1), 2 / np.sqrt(1 + abs(rho)) * last ** (gamma - 0.5))


def ssvi_surface(shape, rng, n):
    """k, w, and theta, rho, eta, gamma of a surface without arbitrage."""
    theta, rho, gamma = np.cumsum(rng.uniform(0.002, 0.02, n)), rng.uniform(-0.9, 0.3), rng.uniform(0.05, 0.48)
    if shape == "heston":
        eta = (1 + abs(rho)) / 4 * rng.uniform(1.1, 80.0)
    else:
        eta = rng.uniform(0.3, 0.95) * most_eta(shape, rho, gamma, theta[-1])
    k = np.linspace(-2.0, 1.5, 15) * np.sqrt(theta)[:, None]
    return k, ssvi_w(k, shape, theta, rho, eta, gamma), (theta, rho, eta, gamma)


def ssvi_w(k, shape, theta, rho, eta, gamma):
    phi = phi_of(shape, theta, eta, gamma)[:, None]
    return theta[:, None] / 2 * (1 + rho * phi * k + np.sqrt((phi * k + rho) ** 2 + 1 - rho**2))


SHAPES = ("power", "simple", "heston")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [3, 8, 30])
def test_ssvi_finds_a_surface_again(shape, n):
    rng = np.random.default_rng(n)
    k, w, (theta, rho, eta, gamma) = ssvi_surface(shape, rng, n)
    fit = surface.fit_ssvi(k, w, shape=shape)
    assert fit.shape == shape
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-8)
    np.testing.assert_allclose([fit.rho, fit.eta], [rho, eta], rtol=1e-7)
    np.testing.assert_allclose(fit.phi, phi_of(shape, theta, eta, gamma), rtol=1e-7)
    assert np.isnan(fit.gamma) if shape == "heston" else fit.gamma == pytest.approx(gamma, abs=1e-7)
    assert fit.rmse.max() < 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_ssvi_is_as_good_as_scipys(shape):
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(7)
    for n in (1, 2, 5, 7):
        k, w, (theta, rho, *_) = ssvi_surface(shape, rng, n)
        w = w * (1 + 0.01 * rng.normal(size=w.shape))
        weight = rng.uniform(0.1, 1.0, w.shape)

        def residuals(x, n=n, k=k, w=w, weight=weight):
            theta, rho, gamma = np.cumsum(np.exp(x[:n])), np.tanh(x[n]), 0.5 / (1 + np.exp(-x[n + 2]))
            share = 1 / (1 + np.exp(-x[n + 1]))
            eta = (
                (1 + abs(rho)) / 4 + np.exp(x[n + 1])
                if shape == "heston"
                else share * most_eta(shape, rho, gamma, theta[-1])
            )
            return (np.sqrt(weight) * (ssvi_w(k, shape, theta, rho, eta, gamma) - w)).ravel()

        start = np.r_[np.log(np.diff(np.r_[0.0, theta])), np.arctanh(rho), 0.0, 0.0]
        best = 2 * optimize.least_squares(residuals, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).cost
        fit = surface.fit_ssvi(k, w, weight, shape=shape)
        cost = np.sum(weight * (surface.ssvi(k, fit.theta[:, None], fit.rho, fit.phi[:, None])["w"] - w) ** 2)
        assert cost <= AS_GOOD * best + 1e-18
        rmse = np.sqrt(np.sum(weight * (ssvi_w(k, shape, fit.theta, fit.rho, fit.eta, fit.gamma) - w) ** 2, axis=1)
                       / weight.sum(axis=1))  # fmt: skip
        np.testing.assert_allclose(fit.rmse, rmse, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.integers(1, 6))
def test_ssvi_never_has_arbitrage(seed, shape, n):
    rng = np.random.default_rng(seed)
    k = rng.normal(size=(n, 7)) * 10 ** rng.uniform(-2, 0.5)
    w = np.abs(rng.normal(size=(n, 7))) * 10 ** rng.uniform(-4, 0.5)
    fit = surface.fit_ssvi(k, w, shape=shape)
    raw = surface.essvi_to_svi(fit.parameters)
    assert surface.certify_svi(*raw.T).free.all()
    assert (np.diff(fit.theta) >= 0).all()
    assert (surface.svi_crossings(raw[:-1], raw[1:]).slack > -1e-12).all()
    years = np.arange(1.0, n + 1)
    if n > 1 and (np.diff(fit.theta) > 0).all():  # and between slices, as a surface has it
        made = surface.Surface("essvi", tuple("abcdef"[:n]), years, fit.parameters, np.ones(n), np.zeros(n))
        at = np.linspace(-1.0, 1.0, 9)[:, None]
        rising = made.total_variance(at, np.linspace(0.5, n, 40))
        assert (np.diff(rising, axis=1) > -1e-12).all()


def test_ssvi_of_nonsense_and_on_all_levels(simd_levels):
    rng = np.random.default_rng(1)
    k, w, _ = ssvi_surface("power", rng, 4)
    whole = surface.fit_ssvi(k, w)
    w_hole = w.copy()
    w_hole[1] = np.nan  # an expiry without a quote
    w_hole[0, 0], w_hole[2, 1] = -1.0, np.inf
    fit = surface.fit_ssvi(k, w_hole)
    assert np.isnan(fit.rmse[1])
    assert fit.theta[0] <= fit.theta[1] <= fit.theta[2]
    np.testing.assert_allclose([fit.rho, fit.eta], [whole.rho, whole.eta], rtol=1e-7)
    for level in simd_levels:
        with config.override(simd=level):
            assert surface.fit_ssvi(k, w_hole).parameters.tobytes() == fit.parameters.tobytes()
    with pytest.raises(ParameterError, match="none of the"):
        surface.fit_ssvi([0.0, 0.1], [np.nan, -1.0])
    with pytest.raises(ParameterError, match="'cubic' is unknown"):
        surface.fit_ssvi(k, w, shape="cubic")


def test_weights_of_several_smiles_are_those_of_each():
    rng = np.random.default_rng(5)
    offsets = np.array([0, 4, 4, 9, 10])
    k, w = rng.normal(0.0, 0.3, 10), rng.uniform(0.01, 0.1, 10)
    spread = np.array([0.01, 0.0, 0.02, np.nan, 0.01, 0.03, 0.0, 0.02, 0.02, 0.0])
    w[5] = np.nan
    for more in ({}, {"years": 0.5, "spread": spread}):
        together = surface.vega_weights(k, w, offsets=offsets, **more)
        apart = [
            surface.vega_weights(k[a:b], w[a:b], **({"years": 0.5, "spread": spread[a:b]} if more else {}))
            for a, b in itertools.pairwise(offsets)
        ]
        np.testing.assert_array_equal(together, np.concatenate(apart))
        assert together[5] == 0.0
    with pytest.raises(ShapeError, match="offsets"):
        surface.vega_weights(k, w, offsets=[0, 4])


def test_arrays_of_the_same_size_and_another_shape():
    k = np.linspace(-0.3, 0.3, 9)
    w = surface.svi(k, 0.01, 0.1, -0.4, 0.05, 0.2)["w"]
    table = np.stack([k, k])
    for fit in (surface.fit_svi, surface.fit_essvi):
        with pytest.raises(ShapeError, match="other smiles"):
            fit([k[:4], k], [w, w[:4]])
        with pytest.raises(ShapeError, match="other smiles"):
            fit(table, np.resize(w, (9, 2)))
        with pytest.raises(ShapeError, match="weights"):
            fit(table, np.stack([w, w]), np.ones(18))
        fit(table, [w, w])
    with pytest.raises(ShapeError, match="start"):
        surface.fit_svi([k] * 5, [w] * 5, start=np.ones((2, 5)))
    strike = np.resize([90.0, 100.0, 110.0], (2, 3))
    with pytest.raises(ShapeError, match="vol"):
        surface.fit_sabr(100.0, strike, 1.0, np.full((3, 2), 0.2))
    with pytest.raises(ShapeError, match="vol"):
        surface.fit_heston(100.0, strike, [0.5, 1.0], np.full((3, 2), 0.2))


def test_quotes_without_variance_and_strikes_that_are_the_same():
    k = np.linspace(-0.3, 0.3, 9)
    w = surface.svi(k, 0.01, 0.1, -0.4, 0.05, 0.2)["w"]
    fit = surface.fit_svi(k, np.where(np.arange(9) == 4, -w, w))
    assert (fit.quotes[0], fit.status[0]) == (8, 0)
    assert fit.rho[0] == pytest.approx(-0.4)
    assert surface.FIT_STATUS[surface.fit_svi(k, -w).status[0]] == "too few quotes"
    strikes = [[90.0, 100.0, 90.0, 100.0], [90.0, 100.0, 110.0, 100.0], [], [90.0, 100.0, 110.0, 100.0]]
    sabr = surface.fit_sabr(100.0, [np.array(s) for s in strikes], 1.0, [np.full(len(s), 0.2) for s in strikes],
                            [np.ones(4), np.ones(4), np.ones(0), np.array([1.0, 1.0, 0.0, 1.0])])  # fmt: skip
    assert sabr.status.tolist() == [2, 0, 2, 2]


def test_weights_of_missing_and_wrong_numbers():
    k, w = np.zeros(5), np.array([0.04, 0.04, 0.04, 0.04, -0.04])
    weight = surface.vega_weights(k, w, years=1.0, spread=np.array([0.0, 0.01, np.nan, -0.01, 0.01]))
    assert weight.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert surface.vega_weights(k, w)[4] == 0.0
    table = surface.vega_weights(np.array([[0.0, 0.1], [0.3, 0.5]]), 0.04)
    assert table.max(axis=1).tolist() == [1.0, 1.0]
    assert float(surface.vega_weights(0.0, 0.04)) == 1.0
    for floor in (-0.1, 1.1, np.nan):
        with pytest.raises(ParameterError, match="floor"):
            surface.vega_weights(k, w, floor=floor)
    for more in ({"w": w[:3]}, {"w": w[:, None]}, {"w": w, "years": 1.0, "spread": np.ones((2, 5))}):
        with pytest.raises(ShapeError):
            surface.vega_weights(k, **more, offsets=[0, 2, 5])


def test_surfaces_have_no_slices_of_nothing():
    quotes = surface.clean(chain_of())
    some = quotes.chain.expiry == quotes.chain.expiry[0]
    few = dataclasses.replace(quotes, weight=np.where(some, 0.0, quotes.weight))
    made = surface.Surface.fit(few, model="svi")
    assert np.isfinite(made.parameters).all()
    assert "too few quotes" in made.skipped[quotes.chain.expiry[0]]
    with pytest.raises(ParameterError, match="too few quotes"):
        surface.Surface.fit(dataclasses.replace(quotes, weight=np.zeros_like(quotes.weight)), model="svi")


def test_surfaces_that_do_not_go_together():
    good = {"model": "svi", "expiries": ("a",), "years": [0.5], "parameters": [[0.01, 0.1, 0.0, 0.0, 0.1]],
            "forward": [100.0], "rate": [0.0]}  # fmt: skip
    surface.Surface(**good)
    with pytest.raises(ShapeError, match="expiries"):
        surface.Surface(**{**good, "expiries": ("a", "b")})
    for forward in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ParameterError, match="forward"):
            surface.Surface(**{**good, "forward": [forward]})
    for made in ({}, [], {"version": 1}):
        with pytest.raises(ParameterError):
            surface.Surface.from_dict(made)
