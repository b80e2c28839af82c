# SPDX-License-Identifier: Apache-2.0
"""The commands `warpquant iv` and `warpquant greeks`: every format, statuses, pictures, exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from command_line import call, plain  # noqa: F401
from warpquant import data, options
from warpquant.cli import Code

DEMO = ("--demo", "--close", "13:00")


@pytest.fixture(scope="module")
def chain():
    return options.read_chain(data.goog_options(), close="13:00")


def number(text):
    return np.nan if text in ("", None) else float(text)


def test_iv_as_csv_is_the_chain(chain):
    rows = list(csv.DictReader(io.StringIO(call("iv", *DEMO, "--format", "csv").stdout)))
    assert len(rows) == len(chain)
    assert [r["expiry"] for r in rows] == chain.expiry.tolist()
    for side in ("bid", "mid", "ask"):
        vol, status = chain.implied_vol(side)
        np.testing.assert_array_equal([number(r[f"iv_{side}"]) for r in rows], vol)
        if side == "mid":
            assert [r["status"] for r in rows] == [options.chain.STATUSES[s] for s in status]
    np.testing.assert_array_equal([number(r["bid"]) for r in rows], chain.bid)
    assert {"no_bid", "no_ask", "ok"} <= {r["status"] for r in rows}


def test_greeks_as_json_in_units(chain):
    result = call("greeks", *DEMO, "--outputs", "delta,theta,vega,ultima", "--theta", "day365", "--vega", "point",
                  "--rho", "bp", "-f", "json")  # fmt: skip
    document = json.loads(result.stdout)
    expected = options.scale(chain.greeks(("delta", "theta", "vega", "ultima")), theta="day365", vega="point")
    for name, values in expected.items():
        np.testing.assert_array_equal([number(q[name]) for q in document["quotes"]], values)
    assert [t["expiry"] for t in document["terms"]] == list(chain.terms)
    assert "NaN" not in result.stdout
    everything = json.loads(call("greeks", *DEMO, "--outputs", "all", "-f", "json").stdout)["quotes"][0]
    assert {"color", "vera", "model_price"} < set(everything)


def test_parquet_and_suffixes(tmp_path, chain):
    parquet = pytest.importorskip("pyarrow.parquet")
    call("greeks", *DEMO, "-o", tmp_path / "g.parquet")
    table = parquet.read_table(tmp_path / "g.parquet")
    np.testing.assert_array_equal(table["delta"].to_numpy(), chain.greeks("delta")["delta"])
    call("iv", *DEMO, "--price", "mid", "-o", tmp_path / "v.csv")
    assert (tmp_path / "v.csv").read_text().splitlines()[0].split(",")[-2:] == ["iv_mid", "status"]
    call("iv", *DEMO, "-o", tmp_path / "v.txt")
    assert "Expiries" in (tmp_path / "v.txt").read_text()
    assert "--format parquet needs --output" in call("iv", *DEMO, "-f", "parquet", code=Code.USAGE).stderr


def test_table_and_summary(chain):
    result = call("iv", *DEMO, "--expiry", "2016-01-15", "--rows", "10")
    assert "2016-01-15" in result.stdout
    assert "10 of 342 quotes, the nearest to the money" in result.stdout
    strikes = [
        float(line.split()[2]) for line in result.stdout.split("Quotes")[1].splitlines() if line.startswith("2016")
    ]
    assert len(strikes) == 10
    assert max(abs(np.log(np.array(strikes) / chain.terms["2016-01-15"].forward))) < 0.01
    assert result.stderr.startswith("warpquant: ")
    assert " ok, " in result.stderr
    assert call("iv", *DEMO, "-q").stderr == ""


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    result = call("iv", *DEMO, "--plot", tmp_path / "smiles.png")
    assert "picture in" in result.stderr
    call("greeks", *DEMO, "--outputs", "delta,gamma,vega,theta", "--plot", tmp_path / "greeks.svg")
    assert (tmp_path / "smiles.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "greeks.svg").read_text()


def test_columns_filters_and_flags(tmp_path):
    path = tmp_path / "odd.csv"
    price = options.price(50.0, 52.0, 0.25, 0.01, 0.0, 0.3, True)["price"]
    path.write_text(
        f"K,tau,flag,b,a,root\n52,0.25,call,{price!r},{price!r},X\n52,0.25,put,0,4.0,X\n52,0.25,call,9,9,Y\n"
    )
    mapping = [o for pair in ("strike=K", "expiry=tau", "is_call=flag", "bid=b", "ask=a") for o in ("--column", pair)]
    result = call(
        "iv", path, *mapping, "--where", "root=X", "--spot", 50, "--rate", 0.01, "--dividend", 0, "-f", "json"
    )
    quotes = json.loads(result.stdout)["quotes"]
    assert [q["status"] for q in quotes] == ["ok", "no_bid"]
    assert quotes[0]["iv_mid"] == pytest.approx(0.3, rel=1e-12)
    assert quotes[1]["iv_mid"] is None
    assert quotes[1]["iv_ask"] is not None


def test_wrong_usage_and_failures(tmp_path):
    for arguments, code, text in (
        (("iv",), Code.USAGE, "give either a file or --demo"),
        (("iv", "--demo", __file__), Code.USAGE, "not both"),
        (("iv", tmp_path / "none.csv"), Code.USAGE, "does not exist"),
        (("iv", "--demo", "--column", "strike"), Code.USAGE, "NAME=VALUE"),
        (("iv", "--demo", "--column", "vola=x"), Code.USAGE, "columns: 'vola' is unknown"),
        (("iv", "--demo", "--expiry", "2030-01-01"), Code.USAGE, "is not in the chain"),
        (("iv", "--demo", "--at", "09:00"), Code.USAGE, "at: no quote"),
        (("greeks", "--demo", "--outputs", "deltas"), Code.USAGE, "outputs: 'deltas' is unknown"),
        (("greeks", "--demo", "--theta", "week"), Code.USAGE, "theta: 'week' is unknown"),
        (("iv", __file__), Code.FAILED, "unknown kind of file"),
    ):
        result = call(*arguments, code=code)
        assert text in " ".join(result.stderr.split()), result.stderr
        assert result.stdout == ""
    none = tmp_path / "none.csv"
    none.write_text("strike,years,right,bid,ask,spot\n100,0.5,C,0,0,100\n")
    assert "no quote has an implied volatility" in call("iv", none, "--rate", 0, code=Code.FAILED).stderr


@pytest.mark.parametrize("command", ["iv", "greeks"])
def test_help_ends_with_an_example(command):
    assert f"Example: warpquant {command}" in " ".join(call(command, "--help").stdout.split())


def test_a_real_file_from_the_shell(shared, tmp_path):
    path = shared / "data/options/spy_chain_20260501.parquet"
    if not path.is_file():
        pytest.skip("no chain in the shared folder")
    command = [sys.executable, "-m", "warpquant", "greeks", str(path), "--rate", "0.04", "-f", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 7722
    good = [r for r in rows if r["status"] == "ok"]
    assert len(good) > 7000
    assert all(0 <= abs(float(r["delta"])) <= 1 for r in good)
    assert {"no_bid", "no_quote", "ok"} <= {r["status"] for r in rows}


def test_suffixes_that_are_no_format(tmp_path):
    path = tmp_path / "v.xlsx"
    assert "is no format that can be written" in " ".join(call("iv", *DEMO, "-o", path, code=2).stderr.split())
    assert not path.exists()
