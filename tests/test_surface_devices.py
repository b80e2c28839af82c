# SPDX-License-Identifier: Apache-2.0
"""Fits of smiles and evaluation of surfaces on devices, and evaluation on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import warpquant
from test_surface import degenerate, noisy, simulated
from warpquant import config, surface
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError

#: Outputs with exponentials, and all of them between instruction levels: relative, of their size.
NEAR = 1e-13


def RUNS_ON(device):
    surface.fit_svi(np.linspace(-0.2, 0.2, 5), np.full(5, 0.04), device=device)


def flat_smiles(count, seed):
    k, w, weight = simulated(count, seed)
    offsets = np.cumsum([0, *(len(row) for row in k)])
    return np.concatenate(k), np.concatenate(w), np.concatenate(weight), offsets


NUMBERS = ("a", "b", "rho", "m", "sigma", "rmse", "status", "quotes", "rounds")


def host(values):
    return values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)


# ---- fits ----


def test_fits_on_a_device_have_the_bits_of_the_cpu(device):
    k, w, weight, offsets = flat_smiles(45, 3)  # no whole number of blocks
    for args in ((weight,), (None,)):
        here, there = surface.fit_svi(k, w, *args, offsets), surface.fit_svi(k, w, *args, offsets, device=device)
        for name in NUMBERS:
            assert getattr(here, name).dtype == getattr(there, name).dtype
            assert getattr(here, name).tobytes() == getattr(there, name).tobytes(), name
        if device == "cpu":
            continue
        # A look, and no proof: nothing below the least g, and arbitrage only where there is some.
        proof, look = here.certificate, there.certificate
        assert ((look.status == 2) == (proof.status == 2)).all()
        slices = look.status != 2
        assert set(look.status[slices].tolist()) <= {1, 3}
        assert (look.min_g >= proof.min_g - 1e-9)[slices].all()
        assert (look.min_g <= proof.min_g + 1e-3)[slices].all()
        assert ((look.status == 1) <= (proof.status == 1)).all()
        assert np.isnan(there.certificate.bound).all()


@pytest.mark.parametrize("kind", [noisy, degenerate])
def test_hard_fits_on_a_device_have_the_bits_of_the_cpu(device, kind):
    """Smiles of one warp that go ways of their own: some on to kinks, some from edge to edge of the diamond."""
    k, w, weight = (list(column) for column in zip(*kind(50, 5), strict=True))
    here, there = surface.fit_svi(k, w, weight), surface.fit_svi(k, w, weight, device=device)
    assert (abs(here.b * (1 + abs(here.rho)) - 2.0) < 1e-6).any()  # on Lee's bound
    for name in NUMBERS:
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes(), name


def test_fits_on_a_device_from_a_start_and_of_odd_smiles(device):
    k, w, weight, offsets = flat_smiles(9, 4)
    k, w = k.copy(), w.copy()
    k[offsets[1] : offsets[1] + 3] = np.nan
    w[offsets[2] : offsets[3]] = np.nan  # nothing is left
    w[offsets[3] + 4 : offsets[4]] = np.inf  # four quotes are
    weight[offsets[4] + 2 : offsets[5]] = 0.0  # two are
    w[offsets[6] + 1], w[offsets[6] + 2] = 0.0, -0.1  # no variances
    start = np.full((9, 5), np.nan)
    start[5] = [0, 0, 0, 0.1, 0.2]
    here = surface.fit_svi(k, w, weight, offsets, start=start)
    there = surface.fit_svi(k, w, weight, offsets, start=start, device=device)
    assert here.status.tolist() == [0, 0, 2, 1, 2, 0, 0, 0, 0]
    assert here.quotes[6] == offsets[7] - offsets[6] - 2
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name), err_msg=name)
    empty = surface.fit_svi(np.zeros(0), np.zeros(0), None, [0, 0, 0], device=device)
    assert empty.status.tolist() == [2, 2]
    assert len(surface.fit_svi(np.zeros(0), np.zeros(0), None, [0], device=device)) == 0


def test_fits_of_device_arrays(device):
    if device == "cpu":
        pytest.skip("arrays of devices")
    k, w, weight, offsets = flat_smiles(20, 5)
    here = surface.fit_svi(k, w, weight, offsets)
    placed = [warpquant.to_device(x, device) for x in (k, w, weight)]
    there = surface.fit_svi(*placed, offsets)
    for name in NUMBERS:
        values = host(getattr(there, name))
        assert not isinstance(getattr(there, name), np.ndarray)
        np.testing.assert_array_equal(values.astype(getattr(here, name).dtype), getattr(here, name), err_msg=name)
    assert "20 smiles" in repr(there)
    # A look proves nothing.
    assert there.certificate.free.tolist() == [False] * 20
    with pytest.raises(DTypeError, match=r"offsets: .* use to_numpy"):
        surface.fit_svi(*placed, warpquant.to_device(offsets, device))
    # A table of smiles, without weights.
    table = np.tile(k[:10], (3, 1)), np.tile(w[:10], (3, 1))
    table[1][1, 3] = -1.0  # left out, as on the CPU
    there = surface.fit_svi(*(warpquant.to_device(x, device) for x in table))
    np.testing.assert_array_equal(host(there.a), surface.fit_svi(*table).a)
    with pytest.raises(LayoutError):
        surface.fit_svi(placed[0], w, None, offsets)
    with pytest.raises(DTypeError, match="float64"):
        surface.fit_svi(*(warpquant.to_device(x.astype(np.float32), device) for x in (k, w)), None, offsets)
    with pytest.raises(ShapeError, match="w: has"):
        surface.fit_svi(placed[0], warpquant.to_device(w[:-1].copy(), device), None, offsets)
    with pytest.raises(ShapeError, match="offsets"):
        surface.fit_svi(placed[0], placed[1], None, offsets[:-1])
    with pytest.raises(ParameterError, match="no_arbitrage"):
        surface.fit_svi(*placed, offsets, no_arbitrage=True)


# ---- surfaces at points ----

YEARS = np.array([0.05, 0.1, 0.3, 0.75, 1.5])


def made_of(model, slices=5, seed=0):
    rng = np.random.default_rng(seed)
    years = YEARS[:slices]
    theta = 0.04 * years * (1 + 0.2 * rng.random(slices))
    psi = 0.8 * np.sqrt(theta)
    parameters = np.stack([theta, psi, -0.5 * psi], axis=1)
    if model == "svi":
        parameters = surface.essvi_to_svi(parameters) * (1 + 0.02 * rng.normal(size=(slices, 5)))
    names = tuple("abcde"[:slices])
    return surface.Surface(model, names, years, parameters, np.full(slices, 100.0), np.zeros(slices))


def by_hand(made, k, years):
    """w and its derivatives at one point, from the definition."""
    p, times = made.parameters, made.years

    def curve(row):
        if made.model == "essvi":
            row = surface.essvi_to_svi(row[None])[0]
        values = surface.svi(k, *row, outputs=("w", "dw", "d2w"))
        return np.array([values["w"], values["dw"], values["d2w"]])

    if not years > 0:
        return np.full(4, np.nan)
    money = p[:, 0] if made.model == "essvi" else surface.svi(0.0, *p.T)["w"]
    rise = money[0] / times[0] if len(times) == 1 else max((money[-1] - money[-2]) / (times[-1] - times[-2]), 0.0)
    h = 1e-6 * years

    def at(t):
        if made.model == "svi":
            if t < times[0]:
                return curve(p[0]) * t / times[0]
            if t >= times[-1]:
                return curve(p[-1]) + np.array([rise * (t - times[-1]), 0, 0])
            i = np.searchsorted(times, t, side="right") - 1
            share = (t - times[i]) / (times[i + 1] - times[i])
            return (1 - share) * curve(p[i]) + share * curve(p[i + 1])
        if t < times[0]:
            return curve(p[0] * t / times[0])
        if t >= times[-1]:
            return curve(p[-1] + np.array([rise * (t - times[-1]), 0, 0]))
        i = np.searchsorted(times, t, side="right") - 1
        return curve(p[i] + (t - times[i]) / (times[i + 1] - times[i]) * (p[i + 1] - p[i]))

    return np.array([*at(years), (at(years + h)[0] - at(years - h)[0]) / (2 * h)])


@pytest.mark.parametrize("model", ["essvi", "svi"])
@pytest.mark.parametrize("slices", [1, 2, 5])
def test_surfaces_at_points_by_hand(model, slices):
    made = made_of(model, slices)
    rng = np.random.default_rng(1)
    k, years = rng.normal(0, 0.3, 60), np.r_[rng.uniform(0.01, 2.5, 55), -1.0, 0.0, np.nan, 0.05001, 1e-9]
    got = made.evaluate(k, years, outputs="all")
    want = np.stack([by_hand(made, *point) for point in zip(k, years, strict=True)], axis=1)
    for name, row, tolerance in zip(("w", "dw", "d2w", "dw_dt"), want, (1e-12, 1e-10, 1e-10, 1e-6), strict=True):
        np.testing.assert_allclose(
            got[name], row, rtol=tolerance, atol=tolerance * np.nanmax(np.abs(row)), err_msg=name
        )
    np.testing.assert_allclose(got["vol"], np.sqrt(got["w"] / years), rtol=1e-14)
    rest = surface.dupire(k, *(got[n] for n in ("w", "dw", "d2w", "dw_dt")), outputs="all")
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(got["g"], np.where(years > 0, rest["g"], np.nan), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got["local_variance"], rest["local_variance"], rtol=1e-11)
    # At nodes the slices themselves.
    at_nodes = made.total_variance(k[:, None], made.years)
    raw = made.raw()
    for i in range(slices):
        np.testing.assert_allclose(at_nodes[:, i], surface.svi(k, *raw[i])["w"], rtol=1e-13)


@pytest.mark.parametrize("model", ["essvi", "svi"])
def test_surfaces_at_points_on_devices(device, model):
    made = made_of(model)
    rng = np.random.default_rng(2)
    k, years = rng.normal(0, 0.3, (70, 9)), np.sort(rng.uniform(-0.1, 2.5, 9))
    k[3, 4] = np.nan
    for outputs in (("w",), ("vol",), "all"):
        here = made.evaluate(k, years, outputs=outputs)
        there = made.evaluate(k, years, outputs=outputs, device=device)
        for name, values in here.items():
            size = np.nanmax(np.abs(values))
            np.testing.assert_allclose(np.asarray(there[name]), values, rtol=NEAR, atol=NEAR * size, err_msg=name)
    if device == "cpu":
        return
    placed = warpquant.to_device(k, device), warpquant.to_device(years, device)
    resident = made.evaluate(*placed, outputs=("w", "g"))
    for name, values in made.evaluate(k, years, outputs=("w", "g")).items():
        assert not isinstance(resident[name], np.ndarray)
        size = np.nanmax(np.abs(values))
        np.testing.assert_allclose(host(resident[name]), values, rtol=NEAR, atol=NEAR * size)


@pytest.mark.parametrize("model", ["essvi", "svi"])
def test_surfaces_at_points_of_other_kinds(simd_levels, model):
    made = made_of(model)
    k, years = np.linspace(-0.5, 0.5, 1000), np.random.default_rng(3).uniform(0.01, 2.0, 1000)
    want = made.evaluate(k, years, outputs="all")
    for level in simd_levels:
        with config.override(simd=level):
            for name, values in made.evaluate(k, years, outputs="all", num_threads=2).items():
                np.testing.assert_allclose(values, want[name], rtol=NEAR, atol=NEAR, err_msg=name)
    for i in (0, 17, 999):  # points do not know their neighbours
        assert made.evaluate(k[i], years[i])["w"] == want["w"][i]
    narrow = made.evaluate(k.astype(np.float32), years.astype(np.float32))["w"]
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, want["w"], rtol=1e-4)
    out = np.empty(500)
    made.evaluate(k[::2], years[::2], out={"w": out})
    assert out.tobytes() == want["w"][::2].tobytes()
    pandas = pytest.importorskip("pandas")
    series = made.evaluate(pandas.Series(k, index=range(5, 1005)), years)["w"]
    assert series.index[0] == 5
    with pytest.raises(ParameterError, match="'vega' is unknown"):
        made.evaluate(k, years, outputs="vega")
    with pytest.raises(ShapeError):
        made.evaluate(k, years[:7])
    assert made.evaluate(np.zeros(0), 1.0)["w"].shape == (0,)
