# SPDX-License-Identifier: Apache-2.0
"""The commands `warpquant surface fit`, `check` and `plot`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from command_line import call, plain  # noqa: F401
from warpquant import data, options, surface
from warpquant.cli import Code

DEMO = ("--demo", "--american")


@pytest.fixture(scope="module")
def fitted():
    return surface.Surface.fit(options.read_chain(data.goog_options()), exercise="american")


def test_fit_as_json_is_the_surface(fitted):
    result = call("surface", "fit", *DEMO, "--format", "json")
    made = json.loads(result.stdout)
    assert made.pop("schema") == "warpquant.surface/1"
    again = surface.Surface.from_dict(made)
    np.testing.assert_array_equal(again.parameters, fitted.parameters)
    assert "kept" in result.stderr


def test_fit_as_a_table(fitted):
    result = call("surface", "fit", *DEMO, "--slices", "svi")
    assert all(expiry in result.stdout for expiry in fitted.expiries)
    assert "Skew" in result.stdout


def test_check_says_how_many_quotes_enclose_the_surface():
    result = call("surface", "check", *DEMO, "--slices", "mixture")
    assert "no arbitrage: all masses are positive" in result.stdout
    share = float(result.stderr.split(" % of the quotes enclose")[0].split()[-1])
    assert share > 95.0


def test_check_says_whether_there_is_arbitrage(tmp_path):
    assert "no arbitrage: g is proven to be above 0." in call("surface", "check", *DEMO, "--quiet").stdout
    # Total variance that falls in time, which SVI slices by themselves keep.
    rows = ["expiry,strike,right,bid,ask,spot,rate,dividend"]
    for years, vol in ((0.1, 0.5), (0.3, 0.2)):
        for strike in np.arange(80.0, 121.0, 5.0):
            sides = [options.price(100.0, strike, years, 0.0, 0.0, v, True)["price"] for v in (vol - 0.01, vol + 0.01)]
            rows.append(f"{years},{strike},C,{sides[0]},{sides[1]},100,0,0")
    (tmp_path / "bad.csv").write_text("\n".join(rows))
    result = call("surface", "check", tmp_path / "bad.csv", "--slices", "svi", code=Code.FAILED)
    assert "calendar: total variance falls" in result.stdout
    assert "no arbitrage" in call("surface", "check", tmp_path / "bad.csv").stdout


@pytest.mark.parametrize("what", ["smiles", "variance", "density", "terms", "space"])
def test_plot_draws(tmp_path, what):
    pytest.importorskip("matplotlib")
    call("surface", "plot", *DEMO, "--what", what, "-o", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_wrong_usage():
    call("surface", "fit", code=Code.USAGE)
    call("surface", "fit", *DEMO, "--slices", "spline", code=Code.USAGE)
