# SPDX-License-Identifier: Apache-2.0
"""Published tables that take a product, or several, in another form than they are called for; and which are not priced.

Tables of one product each are with its tests.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from reference import exotics as reference
from warpquant import options

#: Tables of `data/oracles` that no test of options prices, with the reason.
NOT_PRICED = {
    "asian_heston_geometric": "geometric averages under Heston: no such product; averages are of lognormal prices",
    "barrier_fx_vanna_volga": "corrections of barriers by a smile's premium: a rule of traders, no model",
    "barrier_partial_time": "barriers that are watched for a part of the time: no such product",
    "barrier_two_asset": "a barrier on another asset: no such product",
    "ousv_published": "volatility as an Ornstein-Uhlenbeck process: another model",
    "rough_heston": "rough volatility: another model",
    "sabr_public": "a smile's formula: no option's price",
    "sabr_published": "a smile's formula: no option's price",
    "ssvi_dupire_public": "a surface's formula: no option's price",
    "svi_public": "a smile's formula: no option's price",
    "variance_swap_replication_strikes": "a strip of options in a variance swap: no option's price",
}


def test_every_table_is_priced_or_excused(shared):
    text = "".join(p.read_text() for p in sorted(pathlib.Path(__file__).parent.glob("test_options_*.py")))
    text = text.replace(
        'f"digital_american_{name}_at_hit"', '"digital_american_cash_at_hit" "digital_american_asset_at_hit"'
    )
    for path in sorted((shared / "data/oracles").glob("*.csv")):
        named = f'"{path.stem}"' in text or f'"{path.name}"' in text or f"/{path.name}" in text
        assert named, path.stem


def columns(rows, *names):
    return [np.array([row[name] for row in rows]) for name in names]


def near(got, rows, tolerance):
    want = np.array([row["value"] for row in rows])
    # Printed digits may be rounded the other way.
    worst = np.max(np.abs(np.asarray(got) - want) / tolerance)
    assert worst <= 1.02, (worst, rows[int(np.argmax(np.abs(np.asarray(got) - want)))])


def test_sloped_volatilities(shared):
    rows = reference.table(shared, "asian_turnbull_wakeman")
    assert {row["vol_slope"] for row in rows} == {"flat", "up", "down"}
    assert len(rows) == 15
    for row in rows:
        # Half a point per fixing, from the first to the last, which has `vol`.
        years = (row["expiry"] - row["first_fixing"]) / (row["fixings"] - 1)
        slope = {"flat": 0.0, "up": 0.005, "down": -0.005}[row["vol_slope"]] / years
        got = options.asian(
            row["spot"], row["strike"], row["expiry"], row["r"], row["r"] - row["cost_of_carry"], row["vol"],
            row["type"], method="turnbull_wakeman", first=row["first_fixing"], fixings=row["fixings"], vol_slope=slope,
        )  # fmt: skip
        near([got["price"]], [row], 5e-5)


def test_forward_start_is_an_option_on_the_moneyness(shared):
    """A cliquet of one reset: the strike is 1.1 times the price in 90 days, so the option is in proportion to that."""
    *_, row = reference.table(shared, "chooser_cliquet_misc")
    assert row["product"].startswith("cliquet 1.1 moneyness")
    reset, left = 90 / 360, (row["days"] - 90) / 360
    then = options.price(row["spot"], 1.1 * row["spot"], left, row["r"], row["q"], row["vol"], True)["price"]
    near([np.exp(-row["q"] * reset) * then], [row], 1e-4)  # its digits are cut off


def test_soft_barriers_are_means_of_barriers(shared):
    rows = reference.table(shared, "barrier_soft")
    assert len(rows) == 30
    nodes, weights = np.polynomial.legendre.leggauss(24)
    upper, lower = columns(rows, "upper", "lower")
    level = (upper + lower)[:, None] / 2 + (upper - lower)[:, None] / 2 * nodes
    arguments = [x[:, None] for x in columns(rows, "spot", "strike", "t", "r", "q", "vol", "type")]
    assert {row["barrier_type"] for row in rows} == {"DownOut"}
    price = options.barrier(*arguments, level, "down-out", outputs="price")["price"]
    near(price @ weights / 2, rows, 1e-4)


def test_no_touch_of_two_barriers(shared):
    """What is paid unless a barrier is met is the strike derivative of a call with both, struck at the lower."""
    rows = [
        row
        for row in reference.table(shared, "binary_double_barrier")
        if row["barrier_type"] in ("KnockOut", "KnockIn")
    ]
    # The others pay for one of two barriers that is met before the other, which is no product here.
    assert len(rows) == 18
    low, high, cash, spot, q, r, t, vol = columns(
        rows, "barrier_lo", "barrier_hi", "cash", "spot", "q", "r", "t", "vol"
    )
    inside = (spot > low) & (spot < high)
    call = options.double_barrier(spot, low, t, r, q, vol, True, low, high, outputs="dual_delta")["dual_delta"]
    alive = np.where(inside, -cash * call, 0.0)
    out = np.array([row["barrier_type"] == "KnockOut" for row in rows])
    # Paid at expiry if a barrier was met, or at once outside.
    met = np.where(inside, cash * np.exp(-r * t) - alive, cash)
    near(np.where(out, alive, met), rows, 1e-4)


def test_knock_ins_of_babsiri_and_noel(shared):
    rows = reference.table(shared, "barrier_in_smile_free")
    vol, strike, barrier, call, put = columns(rows, "vol", "strike", "barrier", "call_value", "put_value")
    kind = [row["barrier_type"].replace("In", "-in").lower() for row in rows]
    for flag, want in ((True, call), (False, put)):
        priced = want > 0.0  # the put's column is not filled in
        got = options.barrier(100.0, strike, 1.0, 0.05, 0.02, vol, flag, barrier, kind, outputs="price")["price"]
        np.testing.assert_allclose(got[priced], want[priced], atol=6e-6)


def test_american_puts_of_least_squares(shared):
    rows = reference.table(shared, "basket_one_dim_lsmc")
    arguments = columns(rows, "spot", "strike", "t", "r", "q", "vol", "type")
    got = options.american(*arguments, outputs="price")["price"]
    # A tree's digits, and a simulation's to its own tolerance.
    assert np.max(np.abs(got - np.array([row["lattice_2001"] for row in rows]))) < 1.5e-3
    near(got, rows, np.array([row["tol"] for row in rows]))


def test_american_options_of_bjerksund_and_stensland(shared):
    """Their formula is a lower bound, some parts in a thousand below, with few digits where the volatility is tiny."""
    rows = reference.table(shared, "american_bjerksund")
    arguments = columns(rows, "spot", "strike", "t", "r", "q", "vol", "type")
    got = options.american(*arguments, accuracy="high", outputs="price")["price"]
    want = np.array([row["value"] for row in rows])
    assert (got >= options.price(*arguments)["price"]).all()
    assert (got >= want - 3e-5).all()
    ordinary = arguments[5] < 1.0
    np.testing.assert_allclose(got[ordinary], want[ordinary], rtol=8e-3, atol=3e-5)


def test_european_baskets_of_three(shared):
    """The European column, of two digits; the American one has no method here."""
    rows = reference.table(shared, "basket_three_asset_american")
    assert {row["basket"] for row in rows} == {"MaxBasket"}
    for row in rows:
        correlation = np.full((3, 3), row["corr"]) + (1.0 - row["corr"]) * np.eye(3)
        made = options.basket_mc(
            [row["s1"], row["s2"], row["s3"]], row["strike"], row["months_30d"] * 30 / 360, row["r"], [0.0] * 3,
            [row["v1"], row["v2"], row["v3"]], correlation, row["type"], payoff="best_of", paths=1 << 15,
            sampling="sobol",
        )  # fmt: skip
        assert made["price"] == pytest.approx(row["european"], abs=0.01 + 4.0 * made["price_error"]), row


def test_greeks_of_haug(shared):
    names = {"elasticity": "lambda_", "dividendRho": "epsilon", "theta_per_day": "theta"}
    rows = reference.table(shared, "european_greeks")
    assert len(rows) == 11
    for row in rows:
        name = names.get(row["greek"], row["greek"])
        arguments = [row[c] for c in ("spot", "strike", "t", "r", "q", "vol", "type")]
        got = options.greeks(*arguments, outputs=(name,))[name]
        near([got / 365 if row["greek"] == "theta_per_day" else got], [row], 5.1e-5)


def test_greeks_of_60_digits(shared):
    """Its color is the derivative in the time that is left, the opposite of ours."""
    rows = reference.table(shared, "bs_greeks_highprec")
    assert len(rows) == 400
    arguments = columns(rows, "spot", "strike", "t", "r", "q", "vol", "type")
    names = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga", "charm", "speed", "zomma", "color")
    got = options.greeks(*arguments, outputs=names)
    # An ulp of an argument is worth so many of the price; of derivatives, out in the wings, 1e3.
    parts = options.greeks(*arguments, outputs=("delta", "dual_delta", "vega", "price"))
    weight = arguments[0] * np.abs(parts["delta"]) + arguments[1] * np.abs(parts["dual_delta"])
    weight += arguments[5] * parts["vega"]
    for name in names:
        want = np.array([row[name] for row in rows]) * (-1.0 if name == "color" else 1.0)
        scale = np.maximum(np.abs(want), 1e-300)
        bound = 4.0 * (scale + weight) if name == "price" else 2e3 * scale
        assert (np.abs(got[name] - want) <= 2.0**-52 * bound).all(), name
