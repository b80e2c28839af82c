# SPDX-License-Identifier: Apache-2.0
"""Bands of surfaces: they cover the truth as often as they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import ParameterError, StateError

YEARS = 0.25
STRIKES = np.linspace(75.0, 125.0, 25)
TRUTH = (0.003, 0.05, -0.4, 0.02, 0.12)
ESSVI = np.array([[0.01, 0.06, -0.02]])
PLACES = np.linspace(-0.2, 0.2, 9)
HALF = 0.004


def truth(model, k):
    raw = TRUTH if model == "svi" else surface.essvi_to_svi(ESSVI)[0]
    return np.sqrt(surface.svi(k, *raw)["w"] / YEARS)


def market(model, seed, spreads=True):
    """A smile whose middles are anywhere within a spread of the truth; without spreads normal errors of that size."""
    rng = np.random.default_rng(seed)
    vol = truth(model, np.log(STRIKES / 100.0))
    half = HALF * (1.0 + 10.0 * np.log(STRIKES / 100.0) ** 2)
    error = rng.uniform(-1.0, 1.0, len(vol)) if spreads else rng.normal(size=len(vol)) / np.sqrt(3.0)
    middle = vol + half * error
    call = STRIKES >= 100.0

    def price(sigma):
        return options.price(100.0, STRIKES, YEARS, 0.0, 0.0, sigma, call, model="black76")["price"]

    rows = {"expiry": np.full(25, YEARS), "strike": STRIKES, "is_call": call, "spot": np.full(25, 100.0),
            "rate": np.zeros(25), "dividend": np.zeros(25)}  # fmt: skip
    if spreads:
        return {**rows, "bid": price(middle - half), "ask": price(middle + half)}
    return {**rows, "price": price(middle)}


def fitted(model, seed, spreads=True):
    quotes = surface.clean(market(model, seed, spreads), outliers=False, cliffs=False)
    return surface.Surface.fit(quotes, model=model)


@pytest.mark.parametrize(
    ("method", "model", "spreads", "runs"),
    [
        ("delta", "svi", True, 150),
        ("delta", "essvi", True, 150),
        ("delta", "svi", False, 150),
        ("bootstrap", "svi", True, 100),
        ("bootstrap", "essvi", True, 100),
        ("gp", "svi", True, 40),
    ],
)
def test_ninety_per_cent_cover_ninety(method, model, spreads, runs):
    if method == "gp":
        pytest.importorskip("sklearn")
    want, inside = truth(model, PLACES), []
    for seed in range(runs):
        band = fitted(model, seed, spreads).bands(PLACES, 0, method=method, draws=300, seed=seed)
        inside.append((band.low <= want) & (want <= band.high))
    assert 0.86 <= np.mean(inside) <= 0.94


def test_bands_are_wider_where_quotes_are_not_and_with_their_level():
    made = fitted("svi", 1)
    near, far = made.bands([0.0], 0), made.bands([0.6], 0)
    assert far.high - far.low > 3.0 * (near.high - near.low)
    sure = made.bands([0.0], 0, level=0.99)
    assert sure.high - sure.low == pytest.approx((near.high - near.low) * 2.5758293 / 1.6448536, rel=1e-6)
    same = [made.bands(PLACES, 0, method="bootstrap", seed=3).low for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_methods_agree():
    made = fitted("svi", 2)
    delta, drawn = (made.bands(PLACES, 0, method=m) for m in ("delta", "bootstrap"))
    np.testing.assert_allclose(delta.deviation, drawn.deviation, rtol=0.25)


def test_covariance_against_numpy():
    """Unit by unit: the parameters' covariance from finite differences of the curve."""
    made = fitted("essvi", 4)
    used = made.quotes
    k, w, weight = used.k[used.kept], used.w[used.kept], used.weight[used.kept]
    order = np.argsort(k)
    k, w, weight = k[order], w[order], weight[order]
    theta = made.parameters[0]

    def curve(p, x):
        return surface.svi(x, *surface.essvi_to_svi(p[None, :])[0])["w"]

    def slopes(x):
        steps = 1e-6 * np.abs(theta)
        return np.stack(
            [(curve(theta + d, x) - curve(theta - d, x)) / (2 * h) for d, h in zip(np.diag(steps), steps, strict=True)],
            axis=1,
        )

    width = (used.ask_vol - used.bid_vol)[used.kept][order]
    error = 2.0 * np.sqrt(w * YEARS) * width / np.sqrt(12.0)
    gain = np.linalg.solve(slopes(k).T @ (weight[:, None] * slopes(k)), slopes(k).T * weight)
    cover = (gain * error**2) @ gain.T
    birge = max(1.0, np.sqrt(np.sum(((curve(theta, k) - w) / error) ** 2) / (len(k) - 3)))
    at = slopes(PLACES)
    want = (
        birge
        * np.sqrt(np.einsum("qi,ij,qj->q", at, cover, at))
        / (2.0 * made.vol(100.0 * np.exp(PLACES), YEARS) * YEARS)
    )
    np.testing.assert_allclose(made.bands(PLACES, 0).deviation, want, rtol=1e-4)


def test_what_there_are_no_bands_of():
    made = fitted("svi", 0)
    with pytest.raises(ParameterError, match="expiry: '2030-01-01' is not in the surface"):
        made.bands(0.0, "2030-01-01")
    with pytest.raises(ParameterError, match="method"):
        made.bands(0.0, 0, method="hope")
    with pytest.raises(ParameterError, match="level"):
        made.bands(0.0, 0, level=90)
    with pytest.raises(StateError, match="was not fitted"):
        surface.Surface.from_dict(made.to_dict()).bands(0.0, 0)
    mixture = surface.Surface.fit(made.quotes, model="mixture")
    with pytest.raises(ParameterError, match="accepted for mixtures is 'gp'"):
        mixture.bands(0.0, 0)
    few = market("svi", 0)
    few = {name: values[8:17:2] for name, values in few.items()}
    with pytest.raises(StateError, match="do not tell 5 parameters' errors"):
        surface.Surface.fit(few, model="svi", outliers=False).bands(0.0, 0)


def test_bands_of_a_mixture():
    pytest.importorskip("sklearn")
    made = fitted("svi", 0)
    mixture = surface.Surface.fit(made.quotes, model="mixture")
    band = mixture.bands(PLACES, 0, method="gp")
    assert (np.abs(band.vol - truth("svi", PLACES)) < 4.0 * band.deviation).all()
    assert dataclasses.asdict(band)["method"] == "gp"
