# SPDX-License-Identifier: Apache-2.0
"""The measuring itself: turns, counts and fields; never how fast anything is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from warpquant import bench, ma
from warpquant.errors import ParameterError


def test_cases_take_turns():
    seen = []
    timings = bench.measure({name: lambda name=name: seen.append(name) for name in "abc"}, rounds=3, min_seconds=0)
    assert set(timings) == set("abc")
    assert all(t["rounds"] == 3 and 0 <= t["min_s"] <= t["median_s"] for t in timings.values())
    turns = seen[-9:]
    assert sorted(turns) == sorted("abc" * 3)
    assert all(sorted(turns[i : i + 3]) == list("abc") for i in (0, 3, 6))
    assert len({tuple(turns[i : i + 3]) for i in (0, 3, 6)}) == 3


def test_a_turn_lasts_as_long_as_asked():
    calls = 0

    def case():
        nonlocal calls
        calls += 1

    timing = bench.measure({"case": case}, rounds=2, min_seconds=0.005)["case"]
    assert timing["min_s"] * calls >= 0.005


def test_nothing_to_measure():
    assert bench.measure({}) == {}
    with pytest.raises(ParameterError, match="rounds"):
        bench.measure({}, rounds=0)
    with pytest.raises(ParameterError, match="domain"):
        bench.run("options")


def test_copies_and_prices():
    bench.copier(10)()
    assert bench.copy_floor(1000, rounds=1, min_seconds=0)["min_s"] > 0
    x = bench.prices(3, 50)
    assert x.shape == (3, 50)
    assert (x > 0).all()
    assert np.array_equal(x, bench.prices(3, 50))


def test_every_domain(monkeypatch):
    monkeypatch.setattr(bench, "_SIZES", dict.fromkeys(bench.DOMAINS, ((1, 100), (5, 60))))
    said = []
    report = bench.run(rounds=1, min_seconds=0, progress=said.append)
    assert json.loads(json.dumps(report)) == report
    assert report["schema"] == bench.SCHEMA
    assert len(said) == 8
    cases = {(x["domain"], x["case"]) for x in report["results"]}
    assert {case for domain, case in cases if domain == "ma"} == {f"{kind}(20)" for kind in ma.kinds()}
    assert ("equity", "curve") in cases
    assert ("backtest", "metrics") in cases
    for x in report["results"]:
        assert x["ns_per_point"] == pytest.approx(x["min_s"] / (x["series"] * x["bars"]) * 1e9)
        assert x["times_copy"] == pytest.approx(x["ns_per_point"] / x["copy_ns_per_point"])


def test_machine():
    about = bench.machine()
    assert json.loads(json.dumps(about)) == about
    assert about["processors"] >= about["threads"] >= 1
    assert about["cpu"]
