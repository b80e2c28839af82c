# SPDX-License-Identifier: Apache-2.0
"""Closed forms, certificates and fits of slices: against 40 and 50 digits, SciPy and QuantLib, and hostile input."""

from __future__ import annotations

import csv

import hypothesis
import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest

from warpquant import config, surface
from warpquant.errors import DTypeError, ParameterError, ShapeError

#: Relative errors that rounding explains: eps times the condition of the formula in its inputs, a few operations.
CLOSED_FORM = 1e-13
#: g is a difference of terms of the size of 1 (slope terms of the size of the first).
G_TERMS = 4e-14
#: Exact smiles, in w.
EXACT = 1e-10


def RUNS_ON(device):
    surface.svi([0.0], 0.04, 0.1, 0.0, 0.0, 0.1, device=device)


def table(shared, name):
    path = shared / "data" / "oracles" / name
    if not path.is_file():
        pytest.skip(f"no {name} in the shared folder")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def level(request, simd_levels):
    if request.param not in simd_levels:
        pytest.skip(f"this machine has no {request.param}")
    with config.override(simd=request.param):
        yield request.param


def close(got, want, size=None):
    size = np.abs(want) if size is None else np.maximum(np.abs(want), size)
    return (np.abs(np.asarray(got) - want) <= CLOSED_FORM * size).all()


RAW = ("a", "b", "rho", "m", "sigma")

# ---- closed forms ----


def test_svi_table(shared, level):
    t = table(shared, "svi_public.csv")
    made = surface.svi(t["k"], *(t[n] for n in RAW), outputs="all")
    x, r = t["k"] - t["m"], np.hypot(t["k"] - t["m"], t["sigma"])
    terms = np.abs(t["a"]) + t["b"] * (np.abs(t["rho"] * x) + r)
    assert close(made["w"], t["w"], terms)
    assert close(made["dw"], t["dw"], t["b"] * (np.abs(t["rho"]) + np.abs(x) / r))
    assert close(made["d2w"], t["d2w"])
    skew = 1 + np.abs(t["k"] * t["dw"] / t["w"])
    assert close(made["g"], t["g"], (skew * skew + t["dw"] ** 2 * (1 / t["w"] + 0.25) + t["d2w"]) * (terms / t["w"]))


def test_svi_conversions_table(shared, level):
    t = table(shared, "svi_public.csv")
    raw = [t[n] for n in RAW]
    natural = surface.svi_convert(raw, "raw", "natural")
    wings = surface.svi_convert(raw, "raw", "jump_wings", expiry=1.0)
    inside = natural["status"] == 0
    assert inside.all()
    size = np.abs(t["a"]) + t["b"] * t["sigma"] + np.abs(t["m"])
    for name in ("delta", "mu", "rho", "omega", "zeta"):
        assert close(natural[name], t[f"nat_{name}"], size), name
    assert (wings["status"] == 0).all()
    condition = (np.abs(t["a"]) + t["b"] * (np.abs(t["m"]) + t["sigma"])) / (t["jw_v"])
    for name in ("v", "psi", "p", "c", "vt"):
        assert close(wings[name], t[f"jw_{name}"], np.abs(t[f"jw_{name}"]) * condition + size), name


@hypothesis.given(
    st.floats(1e-3, 1.0), st.floats(0.01, 0.9), st.floats(-0.95, 0.95), st.floats(-0.5, 0.5), st.floats(0.02, 1.0),
    st.floats(0.05, 5.0),
)  # fmt: skip
def test_conversions_round_trip(least, b, rho, m, sigma, expiry):
    raw = (least - b * sigma * np.sqrt(1 - rho * rho), b, rho, m, sigma)
    k = np.linspace(-1, 1, 9)
    want = surface.svi(k, *raw)["w"]
    natural = surface.svi_convert(raw, "raw", "natural")
    back = surface.svi_convert(natural, "natural", "raw")
    assert back["status"] == 0
    np.testing.assert_allclose(surface.svi(k, *(back[n] for n in RAW))["w"], want, rtol=1e-9)
    wings = surface.svi_convert(raw, "raw", "jump_wings", expiry=expiry)
    back = surface.svi_convert(wings, "jump_wings", "raw", expiry=expiry)
    hypothesis.assume(abs(wings["psi"]) > 1e-3 * (wings["p"] + wings["c"]))  # at psi = 0 they say too little
    assert back["status"] == 0
    np.testing.assert_allclose(surface.svi(k, *(back[n] for n in RAW))["w"], want, rtol=1e-6)
    other = surface.svi_convert(natural, "natural", "jump_wings", expiry=expiry)
    np.testing.assert_allclose([other[n] for n in ("v", "p", "c")], [wings[n] for n in ("v", "p", "c")], rtol=1e-9)


def test_conversions_that_do_not_exist():
    names = ("v", "psi", "p", "c", "vt")
    jw = dict(zip(names, (0.04, 0.0, 0.5, 0.5, 0.04), strict=True))
    made = surface.svi_convert(jw, "jump_wings", "raw", expiry=1.0)
    assert made["status"] == 3
    assert np.isnan(made["a"])
    assert surface.svi_convert({**jw, "psi": 0.9}, "jump_wings", "raw", expiry=1.0)["status"] == 2
    assert surface.svi_convert({**jw, "vt": 0.05}, "jump_wings", "raw", expiry=1.0)["status"] == 1
    bad = [(-0.1, 0.1, 0.0, 0.0, 0.1), (0.1, -0.1, 0, 0, 0.1), (0.1, 0.1, 1.0, 0, 0.1), (0.1, 0.1, 0, 0, 0.0)]
    for raw in [*bad, (np.nan, 0.1, 0.0, 0.0, 0.1)]:
        for target in ("natural", "jump_wings"):
            assert surface.svi_convert(raw, "raw", target, expiry=1.0)["status"] == 1
    with pytest.raises(ParameterError, match="expiry"):
        surface.svi_convert(jw, "jump_wings", "raw")
    with pytest.raises(ParameterError, match="'heston' is unknown"):
        surface.svi_convert(jw, "heston", "raw")
    with pytest.raises(ParameterError, match="psi missing"):
        surface.svi_convert({k: v for k, v in jw.items() if k != "psi"}, "jump_wings", "raw", expiry=1.0)


def test_published_slice_and_its_repair():
    """Vogt's slice and its jump-wings, and what Gatheral and Jacquier make of them."""
    vogt = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
    wings = surface.svi_convert(vogt, "raw", "jump_wings", expiry=1.0)
    c = wings["p"] + 2 * wings["psi"]
    vt = 4 * wings["v"] * wings["p"] * c / (wings["p"] + c) ** 2
    fixed = surface.svi_convert({**wings, "c": c, "vt": vt}, "jump_wings", "raw", expiry=1.0)
    want = (0.00774091242, 0.0692420345, -0.334036481, 0.0420337452, 0.118607803)
    np.testing.assert_allclose([fixed[n] for n in RAW], want, rtol=1e-8)
    proof = surface.certify_svi(*np.transpose([vogt, want]))
    assert proof.status.tolist() == [1, 0]
    assert proof.min_g[0] == pytest.approx(-0.0328633, abs=5e-7)
    assert proof.at[0] == pytest.approx(0.880, abs=2e-3)


def test_ssvi_and_dupire_table(shared, level):
    t = table(shared, "ssvi_dupire_public.csv")
    arguments = [t[n] for n in ("k", "T", "v0", "vinf", "kappa", "rho", "eta", "gamma")]
    made = surface.ssvi_power(*arguments, outputs="all")
    k, rho = t["k"], t["rho"]
    psi = made["theta"] * made["phi"]
    size = 0.5 * made["theta"] + np.abs(psi * k)
    assert close(made["w"], t["w"], size)
    assert close(made["dw"], t["dw_dk"], psi)
    assert close(made["d2w"], t["d2w_dk2"])
    assert close(made["dw_dt"], t["dw_dT"], np.abs(t["dw_dT"]) * size / t["w"])
    skew = 1 + np.abs(k * t["dw_dk"] / t["w"])
    terms = (skew**2 + t["dw_dk"] ** 2 * (1 / t["w"] + 0.25) + t["d2w_dk2"]) * size / t["w"]
    assert close(made["g"], t["g"], terms)
    assert close(made["local_variance"], t["local_var"], np.abs(t["local_var"]) * terms / np.abs(t["g"]))
    direct = surface.ssvi(k, made["theta"], rho, made["phi"], outputs=("w", "g"))
    np.testing.assert_allclose(direct["w"], made["w"], rtol=1e-12)
    again = surface.dupire(k, made["w"], made["dw"], made["d2w"], made["dw_dt"], outputs="all")
    good = again["status"] == 0
    assert good.any()
    np.testing.assert_allclose(again["local_variance"][good], made["local_variance"][good], rtol=1e-12)
    assert (again["status"][made["g"] <= 0] == 2).all()
    assert np.isnan(again["local_variance"][~good]).all()


def test_ssvi_at_expiry_zero_is_nothing():
    made = surface.ssvi_power([0.0, 0.1], [0.0, 0.0], 0.04, 0.05, 1.0, -0.3, 1.0, 0.4, outputs="all")
    assert all(np.isnan(values).all() for values in made.values())
    no_return = surface.ssvi_power(0.0, 0.5, 0.04, 0.09, 0.0, -0.3, 1.0, 0.4, outputs=("theta", "local_variance"))
    assert no_return["theta"] == pytest.approx(0.02, rel=1e-15)


def test_sabr_table(shared, level):
    t = table(shared, "sabr_public.csv")
    arguments = [t[n] for n in ("F", "K", "T", "alpha", "beta", "rho", "nu")]
    vol = surface.sabr(*arguments)["vol"]
    # ln F and ln K are rounded, and raised to (1 - beta) / 2.
    condition = 1 + np.abs(np.log(t["F"] * t["K"]))
    assert close(vol, t["vol_lognormal"], condition * t["vol_lognormal"])
    assert close(vol, t["quantlib_lognormal"], condition * t["vol_lognormal"])
    normal = surface.sabr(*arguments, variant="normal")["vol"]
    assert close(normal, t["vol_normal"], condition * t["vol_normal"])


def sabr_exact(point, variant, place=0, step=0):
    """The formulas of Hagan and Obloj, one of the inputs moved by a step."""
    values = [mp.mpf(float(v)) for v in point]
    values[place] += step
    F, K, T, alpha, beta, rho, nu = values
    log, rest, f = mp.log(F / K), 1 - beta, (F * K) ** ((1 - beta) / 2)
    if variant == "obloj":
        spread = log if rest == 0 else (F**rest - K**rest) / rest
        z = nu / alpha * spread
        lead = alpha * log / spread if log else alpha / f
    else:
        z = nu / alpha * f * log
        narrow = 1 + rest**2 * log**2 / 24 + rest**4 * log**4 / 1920
        lead = alpha / (f * narrow)
        if variant == "normal":
            lead = alpha * (F * K) ** (beta / 2) * (1 + log**2 / 24 + log**4 / 1920) / narrow
    x = mp.log((mp.sqrt(1 - 2 * rho * z + z * z) + z - rho) / (1 - rho))
    square = -beta * (2 - beta) if variant == "normal" else rest**2
    drift = square * alpha**2 / (24 * f * f) + rho * beta * nu * alpha / (4 * f) + (2 - 3 * rho**2) * nu**2 / 24
    return lead * (z / x if z else 1) * (1 + T * drift)


@pytest.mark.parametrize("variant", ["hagan", "obloj", "normal"])
def test_sabr_to_fifty_digits_with_its_derivatives(variant):
    rng = np.random.default_rng(3)
    with mp.workdps(50):
        for i in range(24):
            F, K = 0.03 * np.exp(rng.normal(0, 0.3)), 0.03
            K = F if i == 0 else F * (1 + 1e-9) if i == 1 else K
            point = [F, K, rng.uniform(0.1, 5), rng.uniform(0.01, 0.06), rng.choice([0.0, 0.5, 1.0]),
                     rng.choice([-0.95, -0.3, 0.0, 0.6, 0.99]), rng.choice([0.0, 0.2, 0.8])]  # fmt: skip
            made = surface.sabr(*point, variant=variant, outputs="all")
            want = sabr_exact(point, variant)
            if want <= 0:
                assert made["status"] == 3
                continue
            assert made["vol"] == pytest.approx(float(want), rel=2e-13)
            for name, place in (("dvol_dforward", 0), ("dvol_dstrike", 1), ("dvol_dalpha", 3), ("dvol_drho", 5)):
                h = mp.mpf(10) ** -18 * mp.mpf(point[place] or 1)
                slope = (sabr_exact(point, variant, place, h) - sabr_exact(point, variant, place, -h)) / (2 * h)
                scale = abs(float(slope)) + abs(float(want) / (point[place] or 1))
                assert made[name] == pytest.approx(float(slope), abs=2e-11 * scale), name


def test_sabr_statuses_and_shift():
    made = surface.sabr(
        [0.03, -0.01, 0.03, 0.03, np.nan], [0.03, 0.02, 0.03, 0.03, 0.03], 1.0, [0.03, 0.03, -1.0, 0.03, 0.03], 0.5,
        [0.0, 0.0, 0.0, 1.0, 0.0], 0.4, outputs=("vol", "status"),
    )  # fmt: skip
    assert made["status"].tolist() == [0, 2, 1, 1, 1]
    assert np.isnan(made["vol"][1:]).all()
    shifted = surface.sabr(-0.01, 0.005, 2.0, 0.03, 0.5, -0.2, 0.4, shift=0.03)["vol"]
    assert shifted == pytest.approx(surface.sabr(0.02, 0.035, 2.0, 0.03, 0.5, -0.2, 0.4)["vol"], rel=1e-14)
    assert surface.sabr(0.03, 0.03, 1.0, 0.03, 0.5, -0.2, 0.4, shift=-0.03, outputs="status")["status"] == 2
    with pytest.raises(ParameterError, match="'cox' is unknown"):
        surface.sabr(0.03, 0.03, 1.0, 0.03, 0.5, -0.2, 0.4, variant="cox")


@pytest.mark.parametrize("outputs", ["w", "all"])
def test_closed_forms_on_devices(device, outputs):
    k = np.linspace(-1, 1, 301)
    for call in (
        lambda d: surface.svi(k, 0.02, 0.1, -0.3, 0.05, 0.2, outputs=outputs, device=d),
        lambda d: surface.ssvi(k, 0.04, -0.4, 3.0, outputs=outputs, device=d),
        lambda d: surface.sabr(0.03 * np.exp(k), 0.03, 1.0, 0.03, 0.5, -0.2, 0.4, device=d, outputs="all"),
    ):
        here, there = call("cpu"), call(device)
        for name, values in here.items():
            np.testing.assert_allclose(np.asarray(there[name]), values, rtol=1e-12, atol=1e-14, err_msg=name)


# ---- certificates ----


def g_of(k, a, b, rho, m, s, sqrt=np.sqrt):
    x = k - m
    r = sqrt(x * x + s * s)
    w, dw, d2w = a + b * (rho * x + r), b * (rho + x / r), b * s * s / r**3
    return (1 - k * dw / (2 * w)) ** 2 - dw * dw / 4 * (1 / w + 0.25) + d2w / 2


def random_slices(count, seed):
    rng = np.random.default_rng(seed)
    rho = rng.uniform(-0.99, 0.99, count)
    b = 1.95 / (1 + abs(rho)) * 10 ** rng.uniform(-3, 0, count)
    s = 10 ** rng.uniform(-3, 0.3, count)
    m = rng.uniform(-1.5, 1.5, count) * s * rng.choice([1, 10], count)
    a = 10 ** rng.uniform(-4, 0, count) - b * s * np.sqrt(1 - rho * rho)
    return np.stack([a, b, rho, m, s], axis=1)


def test_certificates_against_fifty_digits():
    slices = random_slices(1000, 5)
    proof = surface.certify_svi(*slices.T)
    assert (proof.status < 2).all()
    assert ((proof.min_g < -1e-12) == (proof.status == 1)).all()
    assert (proof.bound < proof.min_g).all()
    assert (proof.min_g - proof.bound <= 1.1e-9 * (1 + abs(proof.min_g))).all()
    # No strike of a grid is below the bound.
    u = np.linspace(-12, 12, 801)
    k = slices[:, 3:4] + slices[:, 4:] * np.sinh(u)
    grid = g_of(k, *(column[:, None] for column in slices.T)).min(axis=1)
    assert (grid >= proof.bound - 1e-11 * (1 + abs(grid))).all()
    with mp.workdps(50):
        for parameters, least, at in list(zip(slices.tolist(), proof.min_g, proof.at, strict=True))[:150]:
            p = [mp.mpf(v) for v in parameters]
            if np.isinf(at):
                wing = p[1] * (1 + (1 if at > 0 else -1) * p[2])
                want = mp.mpf(1) / 4 - wing**2 / 16
            else:
                t, h = mp.asinh((mp.mpf(float(at)) - p[3]) / p[4]), mp.mpf(10) ** -12
                for _ in range(3):
                    low, middle, high = (g_of(p[3] + p[4] * mp.sinh(t + d), *p, sqrt=mp.sqrt) for d in (-h, 0, h))
                    bend = high - 2 * middle + low
                    assert bend > 0
                    t -= h * (high - low) / (2 * bend)
                want = g_of(p[3] + p[4] * mp.sinh(t), *p, sqrt=mp.sqrt)
            assert abs(float(least) - want) <= G_TERMS * (1 + abs(want))


def test_certificates_of_odd_slices():
    flat = surface.certify_svi(0.04, 0.0, 0.0, 0.0, 0.1)
    assert flat.min_g[0] == 1.0
    steep = surface.certify_svi(0.04, 1.9, 0.3, 0.0, 0.1)  # beyond Lee's bound
    assert steep.status[0] == 1
    assert steep.min_g[0] <= 0.25 - (1.9 * 1.3) ** 2 / 16
    for bad in ((-1.0, 0.1, 0, 0, 0.1), (np.nan, 0.1, 0, 0, 0.1), (0.1, 0.1, 1.0, 0, 0.1), (0.1, -0.1, 0, 0, 0.1)):
        assert surface.certify_svi(*bad).status[0] == 2
    assert len(surface.certify_svi(*np.zeros((5, 0))).status) == 0
    with pytest.raises(ShapeError, match="broadcast"):
        surface.certify_svi([0.1, 0.2], [0.1] * 3, 0, 0, 0.1)


def test_crossings_are_where_differences_change_sign():
    slices = random_slices(400, 8)
    early, late = slices[:200], slices[200:]
    found = surface.svi_crossings(early, late)
    u = np.linspace(-14, 14, 4001)
    reach = np.maximum(early[:, 4], late[:, 4]) + abs(early[:, 3] - late[:, 3])
    k = (early[:, 3] + late[:, 3])[:, None] / 2 + reach[:, None] * np.sinh(u) / 10

    def w(p):
        x = k - p[:, 3:4]
        return p[:, :1] + p[:, 1:2] * (p[:, 2:3] * x + np.hypot(x, p[:, 4:]))

    gap = w(late) - w(early)
    changes = (np.diff(np.sign(gap), axis=1) != 0).sum(axis=1)
    np.testing.assert_array_equal(found.count, changes)
    assert {0, 1, 2} <= set(changes.tolist())
    for i in np.nonzero(found.count)[0]:
        for at in found.at[i, : found.count[i]]:
            pair = [surface.svi(at, *p)["w"] for p in (early[i], late[i])]
            assert pair[0] == pytest.approx(pair[1], rel=1e-9, abs=1e-12)
    inside = abs(u) < 4
    assert (found.slack <= gap[:, inside].min(axis=1) + 1e-6 * (1 + abs(gap[:, inside].min(axis=1)))).all()
    assert ((found.slack < 0) | (found.count == 0)).all()
    bad = surface.svi_crossings((np.nan, 0.1, 0, 0, 0.1), (0.1, 0.1, 0, 0, 0.1))
    assert bad.count.tolist() == [-1]
    with pytest.raises(ShapeError, match="early, late"):
        surface.svi_crossings(np.zeros((2, 5)), np.zeros((3, 5)))


# ---- fits ----


def test_fits_are_as_good_as_the_best_of_many(shared):
    path = shared / "data" / "oracles" / "svi_fit_problems.npz"
    if not path.is_file():
        pytest.skip("no svi_fit_problems.npz in the shared folder")
    problems = np.load(path)
    fit = surface.fit_svi(problems["k"], problems["w"], problems["wgt"])
    assert (fit.status == 0).all()
    np.testing.assert_array_equal(fit.quotes, problems["nq"])
    assert (fit.rmse <= 1.0001 * problems["best_wrmse"] + 1e-9).all()
    exact = problems["noise_kind"] == 0
    made = surface.svi(problems["k"], *(column[:, None] for column in fit.parameters.T))["w"]
    assert np.nanmax(abs(made - problems["w"])[exact]) < EXACT


def simulated(count, seed):
    """Smiles of random slices with noise, some of narrow ranges."""
    rng = np.random.default_rng(seed)
    smiles = []
    for _ in range(count):
        expiry = 10 ** rng.uniform(-1.7, 0.4)
        level = rng.uniform(0.1, 0.6) ** 2 * expiry
        deviation = np.sqrt(level)
        rho, s, m = rng.uniform(-0.9, 0.5), deviation * rng.uniform(0.3, 2.5), deviation * rng.uniform(-0.5, 0.5)
        b = min(1.9 / (1 + abs(rho)), rng.uniform(0.2, 1.0) * level / s)
        a = max(level - b * (np.hypot(m, s) - rho * m), 0.02 * level - b * s * np.sqrt(1 - rho * rho))
        n = int(rng.integers(8, 40))
        k = np.sort(rng.uniform(-1, 0.6, n)) * deviation * rng.uniform(1.0, 3.5)
        w = surface.svi(k, a, b, rho, m, s)["w"] * (1 + rng.choice([0, 0.002, 0.01]) * rng.normal(size=n))
        smiles.append((k, w, surface.vega_weights(k, w)))
    return [list(column) for column in zip(*smiles, strict=True)]


def test_fits_are_as_good_as_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    k, w, weight = simulated(5, 11)
    fit = surface.fit_svi(k, w, weight)
    assert (fit.status == 0).all()
    rng = np.random.default_rng(2)
    for i in range(5):
        deviation = np.sqrt(np.average(w[i]))
        root = np.sqrt(weight[i] / weight[i].sum())

        def residuals(p, i=i, root=root):
            return root * (p[0] + p[1] * (p[2] * (k[i] - p[3]) + np.hypot(k[i] - p[3], p[4])) - w[i])

        best = np.inf
        for _ in range(2):
            start = [0.0, 0.3, rng.uniform(-0.8, 0.4), rng.uniform(-1, 1) * deviation, deviation * rng.uniform(0.3, 2)]
            low, high = [-np.inf, 0, -0.999, -5, 0.01 * deviation], [np.inf, 2, 0.999, 5, 8 * deviation]
            try:
                found = optimize.least_squares(residuals, start, bounds=(low, high), x_scale=np.abs(start) + 0.01)
            except ValueError:
                continue
            if found.x[1] * (1 + abs(found.x[2])) <= 2:
                best = min(best, np.sqrt(2 * found.cost))
        assert fit.rmse[i] <= 1.0001 * best + 1e-9


def noisy(count, seed):
    """Smiles of noise, of narrow and wide ranges, whose best slice may be a kink or a far wing."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        level = rng.uniform(0.1, 0.6) ** 2 * 10 ** rng.uniform(-2, 0.5)
        deviation = np.sqrt(level)
        rho, s, m = rng.uniform(-0.95, 0.6), deviation * rng.uniform(0.1, 3), deviation * rng.uniform(-0.8, 0.8)
        b = min(1.9 / (1 + abs(rho)), rng.uniform(0.1, 1.2) * level / s)
        a = max(level - b * (np.hypot(m, s) - rho * m), 0.02 * level - b * s * np.sqrt(1 - rho * rho))
        k = np.sort(rng.uniform(-1, 0.7, int(rng.integers(6, 41)))) * deviation * rng.uniform(0.3, 4)
        w = surface.svi(k, a, b, rho, m, s)["w"] * (1 + rng.choice([0.002, 0.01, 0.03]) * rng.normal(size=len(k)))
        yield k, w, surface.vega_weights(k, w)


def degenerate(count, seed):
    """Smiles of five to sixty quotes, in bunches, narrow or one wing alone, with weights of three decades."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        level = rng.uniform(0.08, 0.9) ** 2 * 10 ** rng.uniform(-2.5, 0.7)
        deviation = np.sqrt(level)
        rho, s = rng.choice([rng.uniform(-0.999, 0.999), -0.99]), deviation * 10 ** rng.uniform(-1.5, 0.8)
        m, b = deviation * rng.normal() * 0.7, min(1.95 / (1 + abs(rho)), 10 ** rng.uniform(-1.5, 0.3) * level / s)
        a = max(level - b * (np.hypot(m, s) - rho * m), 0.02 * level - b * s * np.sqrt(1 - rho * rho))
        n = int(rng.choice([rng.integers(5, 9), rng.integers(9, 20), rng.integers(20, 60)]))
        x = rng.normal(size=n) * 0.4 if rng.random() < 0.4 else np.linspace(-1, 0.8, n)
        k = (np.sort(x) + rng.normal() * 0.3) * deviation * 10 ** rng.uniform(-1, 0.6)
        noise = rng.choice([0.0005, 0.002, 0.01, 0.03, 0.06])
        w = surface.svi(k, a, b, rho, m, s)["w"] * np.exp(noise * rng.normal(size=n))
        yield k, w, 10 ** rng.uniform(-3, 0, n)


@pytest.mark.parametrize("kind", [noisy, degenerate])
def test_fits_are_as_good_as_from_many_starts(kind):
    k, w, weight = (list(column) for column in zip(*kind(300, 77), strict=True))
    fit = surface.fit_svi(k, w, weight)
    best, count = fit.rmse.copy(), len(k)
    middle = np.array([[(x.min() + x.max()) / 2, (x.max() - x.min()) / 2] for x in k])
    rng = np.random.default_rng(1)
    for _ in range(40):
        start = np.stack([
            middle[:, 0] + middle[:, 1] * rng.uniform(-2, 2, count), middle[:, 1] * 10 ** rng.uniform(-2, 1, count)
        ], axis=1)  # fmt: skip
        best = np.minimum(best, surface.fit_svi(k, w, weight, start=start).rmse)
    assert (fit.rmse <= 1.0001 * best + 1e-9).mean() >= 0.99
    assert (fit.rmse <= 1.05 * best + 1e-9).all()


@pytest.mark.parametrize(
    ("k", "w", "best"),
    [
        # A step to the last digits that was worse, of which half was kept.
        ([-0.688886, -0.369327, -0.352333, -0.206466, 0.00242799, 0.143295, 0.376309, 0.561171],
         [0.0641241, 0.0568688, 0.0555491, 0.0569015, 0.0706098, 0.0858, 0.114372, 0.147655], 9.916068370551664e-04),
        # Wings along Lee's bound, two of them to its end at abs(rho) = 1.
        ([-0.037677, -0.00565946, 0.0073153, 0.0370966, 0.0384076, 0.039896],
         [0.0197224, 0.0198213, 0.0199251, 0.0202854, 0.0203601, 0.0204821], 3.014726653495858e-05),
        ([-0.107141, -0.096145, -0.0521611, -0.0382426, 0.063434, 0.212526],
         [0.383774, 0.379785, 0.368156, 0.364384, 0.338867, 0.306016], 2.3847967704569522e-04),
        ([-0.02941, -0.0285465, -0.0247098, -0.00668015, 0.00404424, 0.0131158, 0.0144581],
         [0.000809602, 0.000802937, 0.00079602, 0.000830052, 0.000843418, 0.000877514, 0.000879677],
         4.439467834138768e-06),
    ],
)  # fmt: skip
def test_fits_that_ended_on_their_way(k, w, best):
    """Smiles with weights by vega and the least error of 400 random starts."""
    weight = surface.vega_weights(np.array(k), np.array(w))
    assert surface.fit_svi(np.array(k), np.array(w), weight).rmse[0] <= 1.0001 * best


def test_fits_have_the_same_bits_everywhere(simd_levels):
    k, w, weight = simulated(40, 4)
    one = surface.fit_svi(k, w, weight, num_threads=1)
    many = surface.fit_svi(k, w, weight, num_threads=2)
    alone = [surface.fit_svi(*smile).parameters[0] for smile in zip(k, w, weight, strict=True)]
    np.testing.assert_array_equal(one.parameters, many.parameters)
    np.testing.assert_array_equal(one.parameters, alone)
    for name in simd_levels:
        with config.override(simd=name):
            np.testing.assert_array_equal(surface.fit_svi(k, w, weight).parameters, one.parameters)
    offsets = np.cumsum([0, *map(len, k)])
    flat = surface.fit_svi(np.concatenate(k), np.concatenate(w), np.concatenate(weight), offsets)
    np.testing.assert_array_equal(flat.parameters, one.parameters)


def test_fits_without_arbitrage():
    """Slices with arbitrage in them, with noise: moved to where there is none, and not far."""
    raw = random_slices(300, 21)
    proof = surface.certify_svi(*raw.T)
    raw = raw[(proof.status == 1) & (proof.min_g > -0.5) & (raw[:, 1] * (1 + abs(raw[:, 2])) < 1.5)][:40]
    assert len(raw) > 20
    k = raw[:, 3:4] + raw[:, 4:] * np.sinh(np.linspace(-2, 2, 25))
    w = surface.svi(k, *(column[:, None] for column in raw.T))["w"]
    free = surface.fit_svi(k, w)
    assert (free.certificate.status == 1).mean() > 0.9
    fixed = surface.fit_svi(k, w, no_arbitrage=True)
    assert fixed.certificate.free.all()
    assert (fixed.status[free.certificate.status == 1] == 3).all()
    assert np.median(fixed.rmse / w.mean(axis=1)) < 0.25
    k = 0.3586 + 0.4153 * np.sinh(np.linspace(-2, 2, 25))
    vogt = surface.fit_svi(k, (w := surface.svi(k, -0.0410, 0.1331, 0.3060, 0.3586, 0.4153)["w"]), no_arbitrage=True)
    assert vogt.rmse[0] < 0.05 * w.mean()
    same = free.certificate.status == 0
    np.testing.assert_array_equal(fixed.parameters[same], free.parameters[same])


def test_fits_of_little_and_of_nonsense():
    k = np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3])
    w = surface.svi(k, 0.02, 0.1, -0.3, 0.05, 0.2)["w"]
    for n, status in ((6, 0), (5, 0), (4, 1), (3, 1), (2, 2), (1, 2)):
        fit = surface.fit_svi(k[:n], w[:n])
        assert fit.status[0] == status, n
        assert np.isfinite(fit.parameters).all() == (status != 2)
    three = surface.fit_svi(k[:3], w[:3], start=[[0.05, 0.2]])
    np.testing.assert_allclose(three.parameters[0], (0.02, 0.1, -0.3, 0.05, 0.2), rtol=1e-6)
    assert surface.fit_svi(np.zeros(9), np.full(9, 0.04)).status[0] == 2  # one strike, nine times
    holes = w.copy()
    holes[2] = np.nan
    full = surface.fit_svi(np.delete(k, 2), np.delete(w, 2))
    np.testing.assert_array_equal(surface.fit_svi(k, holes).parameters, full.parameters)
    weights = np.ones(6)
    weights[2] = 0.0
    np.testing.assert_array_equal(surface.fit_svi(k, w, weights).parameters, full.parameters)
    for bad in (np.nan, np.inf, -np.inf):
        assert surface.fit_svi(np.full(8, bad), w[0]).status[0] == 2 if np.ndim(w[0]) else True
        assert surface.fit_svi(k, np.full(6, bad)).status[0] == 2
    assert len(surface.fit_svi(np.zeros(0), np.zeros(0), offsets=[0])) == 0
    assert surface.fit_svi(np.zeros(0), np.zeros(0), offsets=[0, 0]).status.tolist() == [2]
    strided = np.repeat(k, 2)[::2]
    np.testing.assert_array_equal(surface.fit_svi(strided, w).parameters, surface.fit_svi(k, w).parameters)
    huge = surface.fit_svi(k * 1e3, w * 1e6)
    assert np.isfinite(huge.rmse).all()
    with pytest.raises(ShapeError, match="offsets"):
        surface.fit_svi(k, w, offsets=[0, 7])
    with pytest.raises(ShapeError, match="offsets"):
        surface.fit_svi(k, w, offsets=[0.0, 6.0])
    with pytest.raises(ShapeError, match="w: has 5 quotes"):
        surface.fit_svi(k, w[:5])
    with pytest.raises(ShapeError, match="start"):
        surface.fit_svi(k, w, start=[1.0, 2.0, 3.0])
    with pytest.raises(DTypeError, match="k"):
        surface.fit_svi(["a"] * 6, w)


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.floats(-3, 3))
@hypothesis.settings(max_examples=40)
def test_fits_of_anything_end(seed, n, scale):
    rng = np.random.default_rng(seed)
    k, w = rng.normal(size=n) * 10**scale, np.abs(rng.normal(size=n)) * 10 ** rng.uniform(-4, 2)
    fit = surface.fit_svi(k, w, rng.uniform(0, 1, n), no_arbitrage=bool(seed % 2))
    _, b, rho, _, sigma = fit.parameters[0]
    assert np.isfinite(fit.parameters).all()
    assert b >= 0
    assert abs(rho) <= 1
    assert sigma > 0
    assert b * (1 + abs(rho)) <= 2 * (1 + 1e-9)
    if seed % 2:
        assert fit.certificate.free.all()


# ---- SABR fits ----


@pytest.mark.parametrize(
    ("variant", "beta", "shift"), [("hagan", 1.0, 0.0), ("obloj", 0.5, 0.02), ("normal", 0.0, 0.0)]
)
def test_sabr_fits_find_the_parameters(variant, beta, shift):
    rng = np.random.default_rng(6)
    n = 60
    forward = rng.uniform(0.01, 0.05, n)
    years, rho, nu = rng.uniform(0.2, 5, n), rng.uniform(-0.8, 0.6, n), rng.uniform(0.2, 0.8, n)
    level = rng.uniform(0.15, 0.4, n)
    alpha = level * (forward + shift) ** (1 - beta)
    strike = (forward + shift)[:, None] * np.exp(np.linspace(-1.3, 1.3, 11) * (level * np.sqrt(years))[:, None]) - shift
    arguments = [values[:, None] for values in (years, alpha)]
    vol = surface.sabr(
        forward[:, None], strike, *arguments, beta, rho[:, None], nu[:, None], shift=shift, variant=variant
    )["vol"]
    weights = np.where(np.isfinite(vol), 1.0, 0.0)
    fit = surface.fit_sabr(forward, strike, years, vol, weights, beta=beta, shift=shift, variant=variant)
    assert (fit.status == 0).all()
    assert (fit.rmse <= 1e-9 * np.nanmax(vol, axis=1)).all()
    np.testing.assert_allclose(fit.rho, rho, atol=1e-5)
    np.testing.assert_allclose(fit.nu, nu, rtol=1e-5)
    np.testing.assert_allclose(fit.alpha, alpha, rtol=1e-6)
    warm = surface.fit_sabr(
        forward, strike, years, vol, weights, beta=beta, shift=shift, variant=variant,
        start=np.stack([fit.alpha, fit.rho, fit.nu], axis=1), num_threads=1,
    )  # fmt: skip
    np.testing.assert_allclose(warm.nu, nu, rtol=1e-5)


def test_sabr_fits_are_as_good_as_scipys(simd_levels):
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(9)
    strike = 0.03 * np.exp(np.linspace(-0.5, 0.5, 11))
    vols = [
        surface.sabr(0.03, strike, 2.0, 0.25, 1.0, rho, 0.6)["vol"] * (1 + 0.02 * rng.normal(size=11))
        for rho in (-0.5, 0.0, 0.5)
    ]
    fit = surface.fit_sabr(0.03, [strike] * 3, 2.0, vols)
    for i, vol in enumerate(vols):

        def residuals(p, vol=vol):
            return surface.sabr(0.03, strike, 2.0, np.exp(p[0]), 1.0, np.tanh(p[1]), np.exp(p[2]))["vol"] - vol

        best = optimize.least_squares(residuals, [np.log(0.25), 0.0, np.log(0.5)], xtol=1e-14, ftol=1e-14)
        assert fit.rmse[i] <= np.sqrt(2 * best.cost / 11) * (1 + 1e-7)
    for name in simd_levels:
        with config.override(simd=name):
            again = surface.fit_sabr(0.03, [strike] * 3, 2.0, vols)
        np.testing.assert_array_equal(np.stack([again.alpha, again.nu]), np.stack([fit.alpha, fit.nu]))


def test_sabr_fits_of_little_and_of_nonsense():
    strike, vol = np.array([0.02, 0.03, 0.04, 0.05]), np.array([0.25, 0.2, 0.22, 0.24])
    for changed, status in (
        ({"forward": -0.01}, 1), ({"forward": -0.01, "shift": 0.02}, 0), ({"expiry": 0.0}, 1), ({"beta": 1.5}, 1),
        ({"forward": np.nan}, 1), ({"vol": np.array([0.25, 0.2, np.nan, 0.0])}, 2),
        ({"strike": np.array([-0.01, 0.0, 0.03, 0.04])}, 2), ({}, 0),
    ):  # fmt: skip
        given = {"forward": 0.03, "strike": strike, "expiry": 1.0, "vol": vol, "beta": 0.5, **changed}
        fit = surface.fit_sabr(**given)
        assert fit.status.tolist() == [status], changed
        assert np.isfinite(fit.alpha[0]) == (status == 0)
    with pytest.raises(ShapeError, match="forward"):
        surface.fit_sabr([0.03, 0.03], strike, 1.0, vol)
    with pytest.raises(ShapeError, match="start"):
        surface.fit_sabr(0.03, strike, 1.0, vol, start=[[1.0, 0.0]])
    with pytest.raises(ParameterError, match="variant"):
        surface.fit_sabr(0.03, strike, 1.0, vol, variant="cox")


# ---- eSSVI ----


def essvi_slices(n, seed):
    rng = np.random.default_rng(seed)
    theta = np.cumsum(rng.uniform(0.002, 0.01, n))
    psi = 0.8 * np.sqrt(theta) / (1 + 0.5 * theta)
    return np.stack([theta, psi, psi * rng.uniform(-0.6, -0.5)], axis=1)


def essvi_w(k, parameters):
    theta, psi, chi = parameters
    return surface.ssvi(k, theta, chi / psi, psi / theta)["w"]


def test_essvi_finds_a_surface_again():
    want = essvi_slices(8, 3)
    k = [np.linspace(-3, 2, 21) * np.sqrt(theta) for theta in want[:, 0]]
    fit = surface.fit_essvi(k, [essvi_w(x, p) for x, p in zip(k, want, strict=True)])
    np.testing.assert_allclose(fit.parameters, want, rtol=1e-5)
    warm = surface.fit_essvi(k, [essvi_w(x, p) for x, p in zip(k, want, strict=True)], start=fit.parameters)
    np.testing.assert_allclose(warm.parameters, want, rtol=1e-5)


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.0, 0.02, 0.3, 2.0]))
@hypothesis.settings(max_examples=40)
def test_essvi_never_has_arbitrage(seed, n, noise):
    """Whatever the quotes are, and between slices too."""
    rng = np.random.default_rng(seed)
    base = essvi_slices(n, seed)
    k = [np.sort(rng.normal(0, 2, 9)) * np.sqrt(theta) for theta in base[:, 0]]
    w = [essvi_w(x, p) * np.exp(noise * rng.normal(size=9)) for x, p in zip(k, base, strict=True)]
    if noise == 2.0:
        w = w[::-1]  # total variance that falls
    fit = surface.fit_essvi(k, w)
    assert np.isfinite(fit.parameters).all()
    years = np.arange(1.0, n + 1)
    made = surface.Surface("essvi", tuple(map(str, range(n))), years, fit.parameters, np.full(n, 100.0), np.zeros(n))
    assert made.check().ok
    places, times = np.meshgrid(np.linspace(-3, 3, 31), np.linspace(0.2, n + 2, 24))
    parts = made._curve(places, times, ("w", "g", "dw_dt"))
    assert (parts["g"] > -1e-9).all()
    assert (np.diff(parts["w"], axis=0) > -1e-12).all()
    assert (parts["dw_dt"] > -1e-12).all()


def test_essvi_of_nonsense():
    with pytest.raises(ParameterError, match="none of the 4 quotes"):
        surface.fit_essvi(np.zeros((2, 2)), np.full((2, 2), np.nan))
    # An expiry without quotes borrows.
    want = essvi_slices(3, 1)
    k = np.linspace(-0.2, 0.2, 9)
    w = np.stack([essvi_w(k, p) for p in want])
    w[1] = np.nan
    fit = surface.fit_essvi(np.tile(k, (3, 1)), w)
    np.testing.assert_allclose(fit.theta[[0, 2]], want[[0, 2], 0], rtol=1e-4)
    assert want[0, 0] <= fit.theta[1] <= want[2, 0]
    assert np.isnan(fit.rmse[1])
    with pytest.raises(ShapeError, match="start"):
        surface.fit_essvi(k, w[0], start=np.zeros((2, 3)))


def test_weights():
    k, w = np.linspace(-0.5, 0.5, 5), np.full(5, 0.04)
    by_vega = surface.vega_weights(k, w)
    assert by_vega.max() == 1.0
    by_spread = surface.vega_weights(k, w, years=1.0, spread=np.array([0.1, 0.01, 0.01, 0.02, 1000.0]))
    np.testing.assert_allclose(by_spread, [0.01, 1, 1, 0.25, 1e-4])
    assert surface.vega_weights(k, np.array([0.04, np.nan, 0.04, -1.0, 0.04]))[[1, 3]].tolist() == [0.0, 0.0]
    with pytest.raises(ParameterError, match="years"):
        surface.vega_weights(k, w, spread=w)


def test_a_surface_says_what_it_is_and_is_equal_to_itself_alone():
    made = surface.Surface(
        "essvi", ("near", "far"), np.array([0.25, 1.0]), np.array([[0.01, 0.1, -0.05], [0.04, 0.2, -0.1]]),
        np.full(2, 100.0), np.zeros(2),
    )  # fmt: skip
    assert repr(made) == "Surface(essvi, 2 expiries of 0.25 to 1 years)"
    assert made == made
    assert made != surface.Surface.from_dict(made.to_dict())
    assert made in {made}
