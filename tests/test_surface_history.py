# SPDX-License-Identifier: Apache-2.0
"""Histories of surfaces: files that give them back, and the page that shows them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest

from warpquant import data, surface
from warpquant.errors import ParameterError

START = np.datetime64("2015-12-24T12:00")


@pytest.fixture(scope="module")
def quotes():
    return surface.clean(data.goog_options(), exercise="american")


@pytest.fixture(scope="module", params=["essvi", "svi", "mixture"])
def history(request, quotes):
    base = surface.Surface.fit(quotes, model=request.param)
    made = surface.History()
    for minute in range(4):
        moved = base.parameters.copy()
        moved[:, 0] *= 1.0 + 0.001 * minute
        made.append(dataclasses.replace(base, parameters=moved, as_of=START + np.timedelta64(minute, "m")))
    return made


def test_columns_have_the_diagnostics(history):
    columns = history.to_columns()
    first = next(iter(history))
    n = len(first.expiries)
    assert all(len(values) == 4 * n for values in columns.values())
    check = first.check()
    np.testing.assert_array_equal(columns["min_g"][:n], check.butterfly.min_g)
    np.testing.assert_array_equal(columns["slack"][: n - 1], check.calendar.slack)
    assert np.isnan(columns["slack"][n - 1])
    assert columns["quotes"][:n].sum() == first.quotes.kept.sum()
    shares = first.coverage()
    assert columns["inside"][:n].tolist() == [shares[name] for name in first.expiries]


def test_a_file_gives_the_surfaces_back(history, tmp_path):
    pytest.importorskip("pyarrow")
    history.to_parquet(tmp_path / "day.parquet")
    again = surface.History.from_parquet(tmp_path / "day.parquet")
    assert len(again) == 4
    for one, other in zip(history, again, strict=True):
        assert (one.model, one.expiries, one.as_of, one.spot) == (other.model, other.expiries, other.as_of, other.spot)
        np.testing.assert_array_equal(one.vol([700.0, 760.0], 0.4), other.vol([700.0, 760.0], 0.4))
        assert other.check().ok == one.check().ok
    np.testing.assert_array_equal(again.to_columns()["inside"], history.to_columns()["inside"])
    import pyarrow as pa
    import pyarrow.parquet

    pa.parquet.write_table(pa.table({"as_of": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ParameterError, match="no column 'model'"):
        surface.History.from_parquet(tmp_path / "other.parquet")


def test_a_ring_forgets_the_oldest(quotes):
    base = surface.Surface.fit(quotes)
    ring = surface.History(3)
    for minute in range(5):
        ring.append(dataclasses.replace(base, as_of=START + np.timedelta64(minute, "m")))
    assert [str(s.as_of)[-5:] for s in ring] == ["12:02", "12:03", "12:04"]
    with pytest.raises(ParameterError, match="at or before"):
        ring.asof(START)


def page_of(history, tmp_path, **more):
    return history.to_html(tmp_path / "day.html", **more).read_text(encoding="utf-8")


def test_the_page_holds_all_it_shows(history, tmp_path):
    page = page_of(history, tmp_path, title="A <day> & more")
    assert "<title>A &lt;day&gt; &amp; more</title>" in page
    assert not re.search(r"https?://|src=|@import|url\(", page)
    style, script = re.search(r"<style>(.*?)</style>", page, re.S)[1], re.findall(r"<script>(.*?)</script>", page, re.S)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert len(script) == 1
    for text in (style, script[0]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    first = next(iter(history))
    assert sorted(shown["names"]) == sorted(first.expiries)
    assert [f["t"] for f in shown["frames"]] == [f"2015-12-24 12:0{m}:00" for m in range(4)]
    i = shown["names"].index("2016-03-18")
    years = first.years[first.expiries.index("2016-03-18")]
    k, vol = np.array(shown["k"][i]), np.array(shown["frames"][0]["s"][str(i)]["v"])
    np.testing.assert_allclose(vol, np.sqrt(first.total_variance(k, years) / years), atol=2e-4)
    low, high = (shown["frames"][0]["s"][str(i)]["q"][n] for n in (1, 2))
    assert all(a is None or b is None or a <= b for a, b in zip(low, high, strict=True))


def test_the_page_without_quotes_and_of_nothing(tmp_path, quotes):
    with pytest.raises(ParameterError, match="no surface"):
        surface.History().to_html(tmp_path / "none.html")
    alone = surface.History()
    base = surface.Surface.fit(quotes)
    alone.append(dataclasses.replace(surface.Surface.from_dict(base.to_dict()), as_of=START))
    assert '"q"' not in page_of(alone, tmp_path)
    with pytest.raises(ParameterError, match="reach"):
        alone.to_html(tmp_path / "x.html", reach=0.0)


def test_the_page_in_a_browser(history, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("WQ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: put one on the path or name it by WQ_CHROMIUM")
    page_of(history, tmp_path)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto((tmp_path / "day.html").as_uri())
        assert page.text_content("#time") == "2015-12-24 12:00:00"
        before = page.evaluate("document.getElementById('smile').toDataURL()")
        page.locator("#moment").fill("3")
        assert page.text_content("#time") == "2015-12-24 12:03:00"
        page.locator("#expiry").select_option(index=3)
        assert page.evaluate("document.getElementById('smile').toDataURL()") != before
        page.click("#play")
        page.wait_for_function("document.getElementById('time').textContent.endsWith('12:03:00')")
        browser.close()
    assert wrong == []


def test_surfaces_of_one_moment_stay_apart(tmp_path):
    pytest.importorskip("pyarrow")
    made = surface.History()
    for expiry, years in (("a", 0.1), ("b", 0.5)):
        made.append(surface.Surface("svi", (expiry,), [years], [[0.01, 0.1, 0.0, 0.0, 0.1]], [100.0], [0.0],
                                    as_of=START))  # fmt: skip
    made.to_parquet(tmp_path / "two.parquet")
    assert [s.expiries for s in surface.History.from_parquet(tmp_path / "two.parquet")] == [("a",), ("b",)]
    for moment in (np.datetime64("NaT"), "yesterday", 5, None):
        with pytest.raises(ParameterError, match="moment"):
            made.asof(moment)
    with pytest.raises(ParameterError, match="no moment"):
        made.append(dataclasses.replace(made.asof(START), as_of=np.datetime64("NaT")))
