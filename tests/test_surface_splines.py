# SPDX-License-Identifier: Apache-2.0
"""Curves without a model: against SciPy, and the properties that their papers promise."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest

from warpquant import options, surface
from warpquant.errors import ParameterError, ShapeError, StateError

interpolate = pytest.importorskip("scipy.interpolate")
optimize = pytest.importorskip("scipy.optimize")

MONOTONE = ("pchip", "fritsch_carlson", "hyman", "steffen", "rational")
RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0.0, 1.0, 12))
Y = np.cumsum(RNG.uniform(0.0, 1.0, 12) ** 3)
FINE = np.linspace(X[0], X[-1], 2001)


def by_differences(curve, x, order, step):
    if order == 1:
        return (curve(x + step) - curve(x - step)) / (2 * step)
    return (curve(x + step) - 2 * curve(x) + curve(x - step)) / step**2


@pytest.mark.parametrize("kind", surface.KINDS)
def test_curves_go_through_their_points_and_derive(kind):
    y = np.exp(2.0 * X) if kind == "convex" else Y
    curve = surface.interpolate(X, y, kind, tension=3.0)
    np.testing.assert_allclose(curve(X), y, rtol=1e-12)
    inside = np.concatenate([0.7 * X[:-1] + 0.3 * X[1:], 0.4 * X[:-1] + 0.6 * X[1:]])
    size = np.abs(curve(inside, 1)).max()
    np.testing.assert_allclose(curve(inside, 1), by_differences(curve, inside, 1, 1e-6), atol=1e-5 * size)
    bend = np.abs(curve(inside, 2)).max()
    np.testing.assert_allclose(curve(inside, 2), by_differences(curve, inside, 2, 1e-5), atol=1e-3 * bend)
    # The slope is continuous, beyond the ends too.
    for side in (curve(X - 1e-10, 1), curve(X + 1e-10, 1)):
        np.testing.assert_allclose(side[1:-1], curve(X, 1)[1:-1], atol=1e-5 * size)
    assert isinstance(curve(0.5), float)


@hypothesis.given(
    st.lists(st.floats(0.0, 5.0, allow_subnormal=False), min_size=3, max_size=15), st.integers(0, 10**6), st.booleans()
)
def test_monotone_curves_are_monotone(rises, seed, down):
    x = np.cumsum(np.random.default_rng(seed).uniform(0.01, 1.0, len(rises)))
    y = np.cumsum(rises) * (-1.0 if down else 1.0)
    fine = np.linspace(x[0], x[-1], 1000)
    for kind in MONOTONE:
        step = np.diff(surface.interpolate(x, y, kind)(fine)) * (-1.0 if down else 1.0)
        assert (step >= -1e-12 * (1.0 + np.abs(y).max())).all(), kind


def test_steffen_stays_between_neighbours():
    y = RNG.normal(size=12)
    made = surface.interpolate(X, y, "steffen")(FINE)
    at = np.clip(np.searchsorted(X, FINE, side="right") - 1, 0, 10)
    assert (made >= np.minimum(y[at], y[at + 1]) - 1e-12).all()
    assert (made <= np.maximum(y[at], y[at + 1]) + 1e-12).all()


def test_fritsch_and_carlson_table():
    """Their example RPN 14: flat, then steep; the published curve does not leave the data."""
    x = np.array([7.99, 8.09, 8.19, 8.7, 9.2, 10.0, 12.0, 15.0, 20.0])
    y = np.array([0.0, 2.76429e-5, 4.37498e-2, 0.169183, 0.469428, 0.943740, 0.998636, 0.999919, 0.999994])
    for kind in MONOTONE:
        made = surface.interpolate(x, y, kind)(np.linspace(7.99, 20.0, 5000))
        assert (np.diff(made) >= -1e-15).all()
        assert made.max() <= y[-1] + 1e-15
    assert surface.interpolate(x, y, "natural")(np.linspace(7.99, 20.0, 5000)).max() > 1.01


def test_against_scipy():
    for kind, theirs in (("pchip", interpolate.PchipInterpolator(X, Y)),
                         ("natural", interpolate.CubicSpline(X, Y, bc_type="natural"))):  # fmt: skip
        np.testing.assert_allclose(surface.interpolate(X, Y, kind)(FINE), theirs(FINE), rtol=1e-13)


@hypothesis.given(st.lists(st.floats(0.01, 5.0), min_size=2, max_size=12), st.integers(0, 10**6))
def test_convex_curves_are_convex(bends, seed):
    x = np.cumsum(np.random.default_rng(seed).uniform(0.05, 1.0, len(bends) + 1))
    slope = np.cumsum(bends) - 3.0
    y = np.concatenate([[0.0], np.cumsum(slope * np.diff(x))])
    curve = surface.interpolate(x, y, "convex")
    fine = np.linspace(x[0], x[-1], 1500)
    step = np.diff(curve(fine)) / np.diff(fine)
    assert (np.diff(step) >= -1e-9 * (1.0 + np.abs(slope).max())).all()


def test_convex_needs_convex_and_rational_monotone():
    with pytest.raises(ParameterError, match="convex"):
        surface.interpolate([0, 1, 2, 3], [0.0, 1.0, 0.0, 1.0], "convex")
    with pytest.raises(ParameterError, match="rational"):
        surface.interpolate([0, 1, 2], [0.0, 1.0, 0.5], "rational")


def test_tension_goes_from_cubic_to_straight():
    y = RNG.normal(size=12)
    cubic = interpolate.CubicSpline(X, y, bc_type="natural")(FINE)
    np.testing.assert_allclose(surface.interpolate(X, y, "tension", tension=0.0)(FINE), cubic, atol=1e-8)
    np.testing.assert_allclose(surface.interpolate(X, y, "tension", tension=1e-3)(FINE), cubic, atol=1e-5)
    straight = surface.interpolate(X, y, "tension", tension=500.0)(FINE)
    np.testing.assert_allclose(straight, np.interp(FINE, X, y), atol=0.05 * np.ptp(y))
    one = np.full(11, 2.0)
    one[4] = 80.0  # one interval alone
    bent = surface.interpolate(X, y, "tension", tension=one)
    at = np.linspace(X[4], X[5], 50)
    others = np.abs(surface.interpolate(X, y, "tension", tension=2.0)(at) - np.interp(at, X, y)).max()
    assert np.abs(bent(at) - np.interp(at, X, y)).max() < 0.5 * others
    with pytest.raises(ParameterError, match="tension"):
        surface.interpolate(X, y, "tension", tension=-1.0)


def test_tension_solves_its_equation():
    """With 40 digits: between two knots f'''' = s^2 f'', with these ends and bends."""
    curve = surface.interpolate(X, Y, "tension", tension=4.0)
    pull = 4.0 / np.diff(X).mean()
    mp.mp.dps = 40
    for i in (0, 5, 10):
        h, s = mp.mpf(X[i + 1] - X[i]), mp.mpf(pull)
        ends = curve(np.array([X[i], X[i + 1]]), 2)
        for share in (0.25, 0.8):
            t = h * mp.mpf(share)
            z0, z1 = (mp.mpf(float(z)) for z in ends)
            want = (z0 * mp.sinh(s * (h - t)) + z1 * mp.sinh(s * t)) / (s**2 * mp.sinh(s * h))
            want += (mp.mpf(Y[i]) - z0 / s**2) * (h - t) / h + (mp.mpf(Y[i + 1]) - z1 / s**2) * t / h
            assert curve(float(X[i] + (X[i + 1] - X[i]) * share)) == pytest.approx(float(want), rel=1e-11)
    assert np.abs(curve(X[[0, -1]], 2)).max() < 1e-12
    np.testing.assert_allclose(curve(X[1:-1] - 1e-9, 2), curve(X[1:-1] + 1e-9, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["thin_plate", "gaussian"])
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_radial_functions_against_scipy(kind, ridge):
    y = np.sin(5.0 * X)
    scale = 0.25
    name = {"thin_plate": "thin_plate_spline", "gaussian": "gaussian"}[kind]
    theirs = interpolate.RBFInterpolator(X[:, None], y, kernel=name, epsilon=1.0 / scale, smoothing=ridge, degree=1)
    mine = surface.rbf(X, y, kind, scale=scale, ridge=ridge)
    np.testing.assert_allclose(mine(FINE), theirs(FINE[:, None]), atol=1e-6)


@pytest.mark.parametrize("kind", ["thin_plate", "gaussian", "matern"])
def test_radial_functions_derive(kind):
    curve = surface.rbf(X, np.sin(5.0 * X), kind)
    np.testing.assert_allclose(curve(X), np.sin(5.0 * X), atol=1e-8)
    at = 0.5 * (X[:-1] + X[1:])
    np.testing.assert_allclose(curve(at, 1), by_differences(curve, at, 1, 1e-6), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(curve(at, 2), by_differences(curve, at, 2, 1e-4), rtol=1e-2, atol=1e-2)
    if kind != "thin_plate":  # far out only the line is left
        far = np.array([50.0, 51.0, 52.0])
        assert np.diff(curve(far), 2) == pytest.approx(0.0, abs=1e-8)
    with pytest.raises(ParameterError, match="linear"):
        surface.rbf(X, X, "thin_plate", linear=False)


def smile_of(count=15):
    k = np.linspace(-0.4, 0.3, count)
    return k, surface.svi(k, 0.008, 0.08, -0.4, 0.02, 0.12)["w"]


@pytest.mark.parametrize("kind", [*(k for k in surface.KINDS if k not in ("rational", "convex")), "matern"])
def test_smiles_stay_below_lees_bound(kind):
    k, w = smile_of()
    cut: surface.Slice = surface.smile(k, w, 0.5, kind)
    np.testing.assert_allclose(cut.total_variance(k), w, rtol=1e-9)
    np.testing.assert_allclose(cut.vol(k), np.sqrt(w / 0.5), rtol=1e-9)
    far = np.array([-100.0, -5.0, 5.0, 100.0])
    assert (np.abs(cut.derivative(far)) < 2.0).all()
    assert (cut.total_variance(far) > 0).all()
    assert (np.diff(cut.total_variance(np.array([0.3, 1.0, 9.0]))) >= 0).all()
    steep = surface.smile([-0.1, 0.0, 0.1], [0.9, 0.04, 0.9], 0.5)
    assert np.abs(steep.derivative([-9.0, 9.0])).max() < 2.0


def quoted(noise=0.0, count=21, seed=0):
    k = np.linspace(-0.3, 0.25, count)
    w = surface.svi(k, 0.008, 0.08, -0.4, 0.02, 0.12)["w"]
    price = options.price(1.0, np.exp(k), 1.0, 0.0, 0.0, np.sqrt(w), True, model="black76")["price"]
    return k, w, price + noise * np.random.default_rng(seed).normal(size=count)


def test_smoothed_prices_are_those_of_the_smile():
    k, w, price = quoted()
    made = surface.smooth_prices(k, price, 0.5, smoothing=1e-9)
    np.testing.assert_allclose(made.total_variance(k), w, rtol=2e-3)
    np.testing.assert_allclose(made.price(k), price, atol=2e-6)
    at = np.linspace(-0.2, 0.2, 9)
    np.testing.assert_allclose(made.derivative(at), by_differences(made.total_variance, at, 1, 1e-5), atol=1e-5)
    np.testing.assert_allclose(made.derivative(at, 2), by_differences(made.total_variance, at, 2, 1e-4), atol=1e-3)
    assert np.abs(made.derivative(np.array([-3.0, 3.0]))).max() < 2.0


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.floats(0.0, 0.02), st.integers(0, 10**6), st.integers(4, 40))
def test_smoothed_prices_have_no_butterflies(noise, seed, count):
    k, _, price = quoted(noise, count, seed)
    curve = surface.smooth_prices(k, price, 0.5).curve
    x = np.linspace(curve.x[0], curve.x[-1], 999)
    slope = np.diff(curve(x)) / np.diff(x)
    assert (np.diff(slope) >= -1e-9).all()
    assert slope.min() >= -1.0 - 1e-9
    assert slope.max() <= 1e-9
    assert (curve(x) >= np.maximum(1.0 - x, 0.0) - 1e-9).all()


def test_smoothing_against_scipy():
    """The same programme, given to a general solver."""
    k, _, price = quoted(0.004, 8, 5)
    x, smoothing = np.exp(k), 1e-5
    made = surface.smooth_prices(k, price, 0.5, smoothing=smoothing).curve

    def cost(g):
        spline = interpolate.CubicSpline(x, g, bc_type="natural")
        fine = np.linspace(x[0], x[-1], 4001)
        return np.sum((g - price) ** 2) + smoothing * np.trapezoid(spline(fine, 2) ** 2, fine)

    def bends(g):
        spline = interpolate.CubicSpline(x, g, bc_type="natural")
        ends = [spline(x[0], 1) + 1.0, -spline(x[-1], 1)]
        return np.concatenate([spline(x, 2)[1:-1], ends, g - np.maximum(1.0 - x, 0.0), 1.0 - g])

    start = np.asarray(options.price(1.0, x, 1.0, 0.0, 0.0, 0.12, True, model="black76")["price"])
    best = optimize.minimize(
        cost, start, method="SLSQP", constraints={"type": "ineq", "fun": bends}, options={"ftol": 1e-14, "maxiter": 500}
    )
    assert cost(made(x)) <= cost(best.x) * (1.0 + 1e-4) + 1e-12
    assert bends(made(x)).min() > -1e-8


def test_smoothing_keeps_bounds_of_other_expiries():
    k, _, price = quoted(0.01)
    low = surface.smooth_prices(k, price, 0.5).price(k)
    made = surface.smooth_prices(k, price - 0.004, 0.8, least=low)
    assert (made.price(k) >= low - 1e-9).all()
    with pytest.raises(StateError, match="no convex curve"):
        surface.smooth_prices(k, price, 0.5, least=np.full(len(k), 0.5), most=np.full(len(k), 0.1))


def test_kriging_is_that_of_scikit_learn_and_covers():
    gp = pytest.importorskip("sklearn.gaussian_process")
    years, k = np.repeat([0.1, 0.3, 0.9], 11), np.tile(np.linspace(-0.2, 0.2, 11), 3)
    want = 0.2 - 0.1 * k + 0.3 * k * k - 0.02 * np.log(years)
    noisy = want + 0.002 * np.random.default_rng(0).normal(size=33)
    field = surface.krige(k, years, noisy, np.full(33, 0.002))
    assert isinstance(field.regressor, gp.GaussianProcessRegressor)
    assert (np.abs(field.vol(k, years) - want) < 4.0 * field.deviation(k, years)).all()
    assert field.deviation(0.0, 0.3) < 0.002 < field.deviation(1.5, 0.3)
    assert field.total_variance(0.0, 0.3) == pytest.approx(field.vol(0.0, 0.3) ** 2 * 0.3)
    alone = surface.krige(k, years, noisy)
    assert np.sqrt(alone.regressor.kernel_.k2.noise_level) * alone.unit == pytest.approx(0.002, rel=0.5)
    assert len(surface.krige(k, years, noisy, most=12).regressor.X_train_) == 12


def test_kriging_of_a_level_knows_how_well_it_is_known():
    """Volatilities that are all the same but for noise: the mean of them is off, too."""
    pytest.importorskip("sklearn")
    rng, k, at, inside = np.random.default_rng(3), np.linspace(-0.3, 0.3, 13), np.linspace(-0.3, 0.3, 7), []
    for _ in range(20):
        field = surface.krige(k, np.full(13, 0.5), 0.2 + 0.004 * rng.normal(size=13), np.full(13, 0.004))
        inside.append(np.abs(field.vol(at, 0.5) - 0.2) < 1.645 * field.deviation(at, 0.5))
    assert np.mean(inside) > 0.75
    exact = surface.krige(k, np.full(13, 0.5), np.full(13, 0.2), np.full(13, 0.01))
    assert exact.vol(0.1, 0.5) == pytest.approx(0.2)
    assert 0.01 / np.sqrt(13.0) * 0.8 < exact.deviation(0.1, 0.5) < 0.01


def test_kriging_of_nonsense():
    pytest.importorskip("sklearn")
    k, years = np.tile(np.linspace(-0.2, 0.2, 9), 2), np.repeat([0.1, 0.5], 9)
    vol, spread = 0.2 + k * k, np.full(18, 0.01)
    vol[3], spread[5], spread[7] = -0.2, -0.01, np.nan
    field = surface.krige(k, years, vol, spread)
    assert len(field.regressor.X_train_) == 15
    made = field.vol([0.0, np.nan, 0.0, 0.0], [0.3, 0.3, 0.0, -1.0])
    assert np.isnan(made).tolist() == np.isnan(field.deviation([0.0, np.nan, 0.0, 0.0], [0.3, 0.3, 0.0, -1.0])).tolist()
    assert np.isnan(made).tolist() == [False, True, True, True]
    assert np.isnan(field.vol(0.0, 0.0))


@pytest.mark.filterwarnings("error")
def test_radial_functions_that_are_too_wide():
    k, w = smile_of()
    for kind, scale in (("gaussian", 100.0), ("gaussian", 1e4), ("matern", 1e5)):
        with pytest.raises(ParameterError, match=r"scale: .* too wide"):
            surface.rbf(k, w, kind, scale=scale)
        assert np.isfinite(surface.rbf(k, w, kind, scale=scale, ridge=1e-8)(k)).all()
    with pytest.raises(ParameterError, match="scale"):
        surface.rbf([0.0, 1e-12, 1.0], [1.0, 1.5, 2.0], "gaussian")
    for kind in ("thin_plate", "gaussian", "matern"):
        for y in (w, np.zeros_like(w), np.full_like(w, 0.04)):
            np.testing.assert_allclose(surface.rbf(k, y, kind)(k), y, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_hostile_input():
    k, w = smile_of()
    bad = w.copy()
    bad[3] = np.nan
    assert np.isfinite(surface.smile(k, bad, 0.5).vol(k)).all()
    with pytest.raises(ParameterError, match="ascending"):
        surface.smile(k[::-1], w, 0.5)
    with pytest.raises(ParameterError, match="'cubist' is unknown"):
        surface.smile(k, w, 0.5, "cubist")
    with pytest.raises(ParameterError, match="at least 2"):
        surface.interpolate([1.0], [1.0])
    with pytest.raises(ShapeError, match="x, y"):
        surface.interpolate([1.0, 2.0], [1.0])
    with pytest.raises(ParameterError, match="at least 3"):
        surface.krige([0.0], [1.0], [0.2])
    with pytest.raises(ParameterError, match="years"):
        surface.smile(k, w, 0.0)
    with pytest.raises(ParameterError, match="w: has -"):
        surface.smile(k, -w, 0.5)
    for weights in (np.zeros(len(k)), np.full(len(k), np.inf)):
        with pytest.raises(ParameterError, match="weights"):
            surface.smooth_prices(k, np.full(len(k), 0.1), 0.5, weights=weights)
    with pytest.raises(ParameterError, match="years"):
        surface.smooth_prices(k, np.full(len(k), 0.1), 0.0)
    with pytest.raises(ParameterError, match="order"):
        surface.interpolate(k, w)(0.0, 3)
