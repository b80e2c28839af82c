# SPDX-License-Identifier: Apache-2.0
"""The page of a scan: what it holds, that it is safe and asks for nothing; and, in a real browser, that it works.

The tests in a browser need Playwright and a Chromium, which WQ_CHROMIUM or the path names; they skip without.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html.parser
import io
import itertools
import json
import os
import re
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import warpquant
from checks import holes, walk
from warpquant import atc, data, plot
from warpquant.errors import ParameterError, ShapeError
from warpquant.report import _pack, report
from warpquant.scan import Failure, Note, Prices, scan

FAMILIES = [family.lower() for family in atc.FAMILIES]
HOSTILE = "</script><b id=evil>&amp;{{data}}<!--<script>\u2028'\""


class Page(html.parser.HTMLParser):
    """Elements, their attributes and texts, as a browser would see them."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.raw, self.words = [], [], {}, []
        self._inside = None
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._inside = (tag, dict(attrs).get("id")) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + text
        else:
            self.words.append(text)

    @property
    def data(self):
        return json.loads(self.raw["script", "data"])

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def unpack(text, series):
    """Codes from text, written from the description of the format."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, series, -1).astype(np.uint64)
    differences = planes[0] + (planes[1] << np.uint64(8)) + (planes[2] << np.uint64(16)) + (planes[3] << np.uint64(24))
    return (np.cumsum(differences, axis=1) % 2**32).astype(np.uint32).view(np.int32)


def values(packed):
    codes = unpack(packed["codes"], len(packed["decimals"])).astype(float)
    codes[codes == _pack.MISSING] = np.nan
    return codes / 10.0 ** np.array(packed["decimals"], dtype=float)[:, None]


def times(packed):
    (codes,) = unpack(packed["codes"], 1).astype(np.int64)
    moments = packed["start"] + codes * packed["step"]
    return moments.astype("datetime64[ms]") if packed["dates"] else moments


# ---- the file ----


@pytest.fixture(scope="module")
def demo():
    panel = data.sp500_20()
    page = report(panel, bars=300, charts=5)
    return panel, page, Page(page.html)


def test_it_names_nothing_outside(demo):
    _, made, page = demo
    naming = {"src", "href", "srcset", "action", "data", "poster"}
    assert all(value.startswith("#") for _, name, value in page.attributes if name in naming)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    loading = r"https?:|url\(|@import|\bimport\s*\(|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|eval\("
    assert not re.search(loading, made.html)


def test_its_policy_allows_its_own_script_and_style_alone(demo):
    page = demo[2]
    (policy,) = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    sums = {kind: hashlib.sha256(page.raw[kind, None].encode()).digest() for kind in ("style", "script")}
    digest = {kind: base64.b64encode(digest).decode() for kind, digest in sums.items()}
    assert rules == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'",
        "style-src": f"'sha256-{digest['style']}'", "script-src": f"'sha256-{digest['script']}'",
    }  # fmt: skip
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]


def test_its_table_is_the_scan(demo):
    panel, made, page = demo
    rows = page.data["rows"]
    assert [row[0] for row in rows] == [row.symbol for row in made.result.rows]
    for cells, row in zip(rows, scan(panel).rows, strict=True):
        side = "long" if row.average >= 0.01 else "short" if row.average <= -0.01 else "neutral"
        signals = [round(getattr(row, f"{name}_signal"), 6) for name in FAMILIES]
        assert cells == [
            row.symbol, side, row.price, round(row.average, 6), row.direction, row.bars_since_flip, *signals,
            "2022-12-28", row.bars,
        ]  # fmt: skip


def test_its_charts_are_what_run_gives(demo):
    panel, made, page = demo
    strongest = sorted(made.result.rows, key=lambda row: (-abs(row.average), row.bars_since_flip))[:5]
    assert list(page.data["charts"]) == [row.symbol for row in strongest] == list(made.charts)
    for symbol, chart in page.data["charts"].items():
        result = atc.run(panel[symbol], outputs="all", detail=True)
        wanted = [panel[symbol], result["direction"], result["average"]]
        wanted += [result[f"{name}_signal"] for name in FAMILIES] + [result[f"{name}_s"] for name in FAMILIES]
        wanted += [average for name in FAMILIES for average in result[f"{name}_ma"]]
        wanted = np.stack([np.asarray(x, dtype=float)[-300:] for x in wanted])
        got = values(chart)
        unit = 10.0 ** -np.array(chart["decimals"], dtype=float)[:, None]
        assert got.shape == wanted.shape == (69, 300)
        assert np.all(abs(got - wanted) <= 0.5 * unit * (1 + 1e-6))
        assert np.all(unit[[0, 15]] <= 1e-4 * panel[symbol][-300:].min())  # five significant digits
        assert chart["start"] == len(panel[symbol]) - 300
        assert np.array_equal(times(chart["times"]), panel.dates[-300:])


def test_its_heat_map_is_the_average_signal(demo):
    panel, made, page = demo
    strip = page.data["strip"]
    wanted = [atc.run(panel[row.symbol])["average"][-250:] for row in made.result.rows]
    assert np.allclose(values(strip["signal"]), wanted, rtol=0, atol=0.0005)
    assert np.array_equal(times(strip["times"]), panel.dates[-250:])


def test_heat_maps_of_different_calendars():
    """Columns are times; a symbol without a bar shows its bar before, and nothing after its last."""
    days = np.datetime64("2024-01-01", "D") + np.arange(60)
    weekdays = days[np.is_busday(days)]
    closes = {"all": walk(60), "week": walk(len(weekdays), 1), "ended": walk(50, 2)}
    prices = Prices(closes, {"all": days, "week": weekdays, "ended": days[:50]})
    result = scan(prices, recent=20)
    strip = Page(report(result, prices).html).data["strip"]
    shown = dict(zip([row.symbol for row in result.rows], values(strip["signal"]), strict=True))
    assert np.array_equal(times(strip["times"]), days[-20:])
    assert np.allclose(shown["all"], result.recent["all"], atol=0.0005)
    assert np.array_equal(np.isnan(shown["ended"]), days[-20:] > days[49])
    for day, value in zip(days[-20:], shown["week"], strict=True):
        if day <= weekdays[-1]:
            last = np.flatnonzero(weekdays <= day)[-1] - len(weekdays)
            assert value == pytest.approx(result.recent["week"][last], abs=0.0005)


def test_without_times_the_last_bars_stand_below_each_other():
    result = scan({"long": walk(100), "short": walk(40, 1)}, recent=60)
    page = Page(report(result).html)
    strip = page.data["strip"]
    shown = dict(zip([row.symbol for row in result.rows], values(strip["signal"]), strict=True))
    assert strip["times"] is None
    assert np.isnan(shown["short"][:20]).all()
    assert np.allclose(shown["short"][20:], result.recent["short"], atol=0.0005)
    assert page.data["charts"] == {}
    assert "made without charts" in page.text


def test_names_and_messages_are_text():
    prices = Prices(
        {HOSTILE: walk(80), "\ud800": walk(80, 1)},
        failures=[Failure("<i>bad", "unreadable", HOSTILE)],
        warnings=[Note("<u>odd", "1 duplicate & <b>more")],
    )
    made = report(prices, title=f"<h1>{HOSTILE}")
    page = Page(made.encode().decode("utf-8"))
    assert {cells[0] for cells in page.data["rows"]} == {HOSTILE, "\ud800"}
    assert "evil" not in [value for _, name, value in page.attributes if name == "id"]
    assert not {"i", "u"} & set(page.tags[page.tags.index("details") :]) - {"i"}
    assert page.tags.count("script") == 2
    assert page.text.count("<!--<script>") == 3  # title, heading, failure
    assert "<u>odd" in page.text
    assert "1 duplicate & <b>more" in page.text


def test_it_says_what_it_shows(tmp_path):
    dates = np.datetime64("2024-03-01") + np.arange(100)
    closes = {"A": walk(100), "B": walk(90, 1), "C": walk(3, 2)}
    prices = Prices(closes, {s: dates[: len(c)] for s, c in closes.items()}, warnings=[Note("B", "2 duplicate bars")])
    made = report(prices, params={"compat": "pine", "La": 0.07, "cutout": 2}, charts=1, title="Spring")
    text = Page(made.html).text
    for words in (
        "Spring", "2 symbols", "1 failed", "Last bar 2024-06-08, 1 symbol ending earlier", "compat pine", "La 0.07",
        "cutout 2", "Failures (1) C short has 3 bars", "Warnings (1) B 2 duplicate bars",
        f"warpquant {warpquant.__version__}", "1 of 2 symbols has a chart",
    ):  # fmt: skip
        assert words in text
    assert "SMA" in [family["label"] for family in Page(made.html).data["families"]]
    path = made.write(tmp_path / "page.html")
    assert path.read_bytes() == made.encode()


@pytest.mark.parametrize(
    "panel",
    [
        {},
        {"short": walk(3)},
        {"holes": holes(walk(400))},
        {"negative": walk(100) - 100.0, "zero": np.zeros(60)},
        {"tiny": walk(90) * 1e-290, "huge": walk(90) * 1e290, "wide": np.geomspace(1e-12, 1e12, 90)},
        {7: walk(80), "seven": walk(80, 1)},
    ],
)
@pytest.mark.parametrize("policy", ["skip", "propagate"])
def test_pages_of_any_prices(panel, policy):
    made = report(panel, params={"nan_policy": policy})
    page = Page(made.html)
    for symbol, chart in page.data["charts"].items():
        close = np.asarray({str(k): v for k, v in panel.items()}[symbol])
        close = close[np.isfinite(close)] if policy == "skip" else close
        got = values(chart)[0]
        assert np.array_equal(np.isnan(got), ~np.isfinite(close))
        assert np.allclose(got, close, rtol=1e-7, atol=10.0 ** -chart["decimals"][0], equal_nan=True)
    assert page.data["strip"] is None or made.result.rows


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(-3, 8))
def test_packing_loses_nothing_but_decimals(series, decimals):
    packed = _pack.pack(list(series), [decimals] * len(series))
    unit = 10.0**-decimals
    fits = np.isfinite(series) & (abs(series) < 2.0**31 * unit * 0.999)
    got = values(json.loads(json.dumps(packed)))
    assert np.all(abs(got - series)[fits] <= 0.51 * unit)
    assert np.isnan(got[~np.isfinite(series) | (abs(series) > 2.0**31 * unit * 1.001)]).all()


@pytest.mark.parametrize(
    ("stamps", "step"),
    [
        (np.arange("1880", "2030", dtype="datetime64[M]"), 86_400_000),
        (np.datetime64("2024-01-01T09:30", "ns") + np.arange(500) * np.timedelta64(15, "m"), 60_000),
        (np.datetime64("2024-01-01T09:30:07", "s") + np.arange(50), 1_000),
        (np.datetime64("2024-01-01T09:30:07.123456", "us") + np.arange(50) * 5_001_000, 1),
        (np.arange(5, 900), 1),
    ],
)
def test_times_come_back(stamps, step):
    packed = _pack.pack_times(stamps)
    assert packed["step"] == step
    assert np.array_equal(times(packed), stamps.astype("datetime64[ms]") if stamps.dtype.kind == "M" else stamps)


def test_times_that_are_missing_or_far_apart():
    assert _pack.pack_times(None) is _pack.pack_times(np.array(["NaT"], dtype="datetime64[s]")) is None
    packed = _pack.pack_times(np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"))
    assert unpack(packed["codes"], 1).tolist() == [[0, _pack.MISSING]]
    packed = _pack.pack_times(np.array([0, 10**15 + 1]))
    assert abs(times(packed)[1] - 10**15) <= packed["step"] <= 10**6


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3,), {}, "prices: int"),
        (({},), {"bars": 1}, "bars"),
        (({},), {"charts": -1}, "charts"),
        (({},), {"strip": -1}, "strip"),
        (({}, {}), {}, "prices: belong to a ScanResult"),
        ((scan({"x": walk(50)}), {}), {}, "prices: lack 'x'"),
        ((scan({"x": walk(50)}), {"x": walk(60)}), {}, "prices: 'x' has 60 bars and had 50 in the scan"),
        ((scan({"x": walk(50)}),), {"params": {}}, "params"),
    ],
)
def test_arguments_that_do_not_fit(arguments, options, message):
    with pytest.raises(ParameterError, match=message):
        report(*arguments, **options)


def test_times_must_be_as_many_as_closes():
    with pytest.raises(ShapeError, match="'x' has 51 times for 50 closes"):
        report(Prices({"x": walk(50)}, {"x": np.arange(51)}))


def test_progress_counts_charts():
    seen = []
    report({f"S{i}": walk(60, i) for i in range(4)}, charts=3, progress=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_sizes():
    page = report(data.sp500_20(), bars=1500)
    assert len(page.charts) == 20
    assert len(page.encode()) < 4_000_000


def test_colours_are_those_of_the_pictures(demo):
    light = demo[2].raw["style", None].split("@media")[0]
    assert f"--up: {plot._UP}; --down: {plot._DOWN};" in light
    assert f"--family: {' '.join(plot._FAMILY_COLORS.values())};" in light


def test_command(tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from warpquant.cli import app

    path = tmp_path / "out.html"
    arguments = ["report", "--demo", "-o", path, "--bars", 60, "--charts", 2, "--title", "T & T", "--ema-len", 20]
    run = CliRunner().invoke(app, [*map(str, arguments), "--min-signal", "0.5", "--strip", "30"])
    assert run.exit_code == 0, run.output
    assert "20 symbols, 2 charts" in run.stderr
    assert run.stdout == ""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.data["strip"]["signal"]["bars"] == 30
    assert {chart["bars"] for chart in page.data["charts"].values()} == {60}
    assert "T & T" in page.text
    assert "ema_len 20" in page.text
    assert CliRunner().invoke(app, ["report", "-o", str(path)]).exit_code == 2
    (tmp_path / "few.csv").write_text("date,A\n2024-01-01,1\n", encoding="utf-8")
    run = CliRunner().invoke(app, ["report", str(tmp_path / "few.csv"), "-o", str(path)])
    assert run.exit_code == 1
    assert "A" in run.stderr
    assert "has 1 bar" in Page(path.read_text(encoding="utf-8")).text


# ---- in a browser ----


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("WQ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: put one on the path or name it by WQ_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """Opens a report; at the end no page may have asked for anything or complained."""
    folder = tmp_path_factory.mktemp("pages")

    @contextlib.contextmanager
    def opener(
        page, width=1280, height=900, fragment="", until="html[data-ready]", script="", complaint=None, **options
    ):
        path = page.write(folder / "page.html")
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        tab = context.new_page()
        tab.add_init_script(script)
        asked, complaints = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("requestfailed", lambda request: request.failure == "csp" and asked.remove(request.url))  # never left
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            tab.goto(path.as_uri() + fragment)
            tab.wait_for_selector(until)
            yield tab
            settle(tab)
            assert asked == [path.as_uri()]
            assert [text for text in complaints if complaint is None or complaint not in text] == []
            assert complaint is None or complaints
        finally:
            context.close()

    return opener


@pytest.fixture(scope="module")
def pages():
    """Reports by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = {
                "demo": lambda: report(data.sp500_20(), bars=500),
                "many": lambda: report({f"S{i:04d}": walk(300, i) for i in range(1000)}, charts=10, bars=300),
                "empty": lambda: report({}),
                "hostile": lambda: report({HOSTILE: walk(80), "\ud800": walk(80, 1)}, title=HOSTILE),
            }[name]()
        return made[name]

    return get


def settle(tab):
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def picture(tab, selector):
    """Pixels of an element as the screen shows it, (height, width, 3), 0 to 255."""
    image = pytest.importorskip("matplotlib.image")
    settle(tab)
    return (image.imread(io.BytesIO(tab.locator(selector).screenshot()))[..., :3] * 255).round().astype(int)


def near(pixels, color, tolerance=24):
    """Share of pixels of about this colour."""
    wanted = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return float((abs(pixels - wanted).max(axis=-1) <= tolerance).mean())


def state(tab):
    settle(tab)
    chart = tab.locator("#chart")
    return {name: chart.get_attribute(f"data-{name}") for name in ("symbol", "first", "last", "cursor")}


def bars(tab):
    now = state(tab)
    return int(now["first"]), int(now["last"])


def column(tab, number):
    return tab.locator(f"#table tbody td:nth-child({number})").all_inner_texts()


def test_all_is_drawn(opened, pages):
    page = pages("demo")
    with opened(page) as tab:
        assert tab.title() == tab.locator("h1").inner_text() == "Trend scan of 20 symbols"
        assert tab.locator("#name").inner_text() == state(tab)["symbol"] == page.result.rows[0].symbol
        assert bars(tab) == (250, 499)
        chart, heat = picture(tab, "#chart"), picture(tab, "#map")
        background = near(chart, "#ffffff", 2)
        assert 0.1 < background < 0.8
        # Close in ink, families in their colours, signals up and down.
        for color in ("#1F2933", *plot._FAMILY_COLORS.values()):
            assert near(chart, color) > 0.0005, color
        for part, least in ((chart[len(chart) // 3 :], 0.03), (heat, 0.15)):
            assert near(part, plot._UP) > least
            assert near(part, plot._DOWN) > least
        assert len(np.unique(heat.reshape(-1, 3), axis=0)) > 100  # shades
        panes = np.array_split(chart[:-60, : int(0.85 * chart.shape[1])], 8)
        assert min(float((abs(pane - 255).max(axis=-1) > 30).mean()) for pane in panes) > 0.02


def test_the_heat_map_shows_the_signals(opened, pages):
    """The colour of a cell is that of its value."""
    page = pages("demo")
    strip = values(Page(page.html).data["strip"]["signal"])
    with opened(page) as tab:
        pixels = picture(tab, "#map")
    high, wide = 18, pixels.shape[1] - 78
    for row in range(20):
        for bar in range(3, 250, 13):
            red, _, blue = pixels[int((row + 0.5) * high), 78 + int((bar + 0.5) / 250 * wide)]
            if abs(strip[row, bar]) > 0.25:
                assert (blue > red) == (strip[row, bar] > 0), (row, bar)


def test_sorting(opened, pages):
    rows = pages("demo").result.rows
    with opened(pages("demo")) as tab:
        assert column(tab, 1) == [row.symbol for row in rows]
        assert tab.locator("th[aria-sort]").get_attribute("data-key") == "average"
        assert tab.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        for _ in range(2):  # any column, either way, by mouse
            for number, header in enumerate(tab.locator("th button").all(), 1):
                header.click()
                way = tab.locator(f"th:nth-child({number})").get_attribute("aria-sort")
                shown = column(tab, number)
                if number in (6, *range(7, 13), 2, 5, 14):
                    shown = [float(x.replace("−", "-").replace(",", "")) for x in shown]
                elif number == 4:
                    shown = ["▼▲".index(x) for x in shown]
                assert shown == sorted(shown, reverse=way == "descending"), number
        tab.locator("th button").first.focus()
        tab.keyboard.press("Enter")
        tab.keyboard.press("Space")
        way = tab.locator("th").first.get_attribute("aria-sort")
        assert column(tab, 1) == sorted((row.symbol for row in rows), reverse=way == "descending")
        assert tab.locator("th[aria-sort]").count() == 1
        assert tab.locator("#map").get_attribute("data-rows") == "20"


def test_filter(opened, pages):
    result = pages("demo").result
    with opened(pages("demo")) as tab:
        tab.fill("#filter", "aa, ms")
        assert sorted(column(tab, 1)) == ["AAPL", "MSFT"]
        settle(tab)
        assert tab.locator("#map").get_attribute("data-rows") == "2"
        assert tab.locator("#shown").inner_text() == "2 of 20"
        tab.fill("#filter", "no such")
        assert column(tab, 1) == []
        assert tab.locator("#none").is_visible()
        tab.fill("#filter", "")
        for side in ("long", "short", "neutral"):
            tab.select_option("#side", side)
            wanted = {row.symbol for row in getattr(result, side)}
            assert column(tab, 1) == [row.symbol for row in result.rows if row.symbol in wanted]


def test_rows_choose_the_chart(opened, pages):
    symbols = [row.symbol for row in pages("demo").result.rows]
    with opened(pages("demo")) as tab:
        tab.locator("#table tbody tr").nth(4).click()
        assert state(tab)["symbol"] == symbols[4]
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("ArrowUp")
        assert state(tab)["symbol"] == symbols[5] == tab.locator("tr[aria-current]").get_attribute("data-symbol")
        tab.keyboard.press("End")
        assert state(tab)["symbol"] == symbols[-1]
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "chart"
        tab.keyboard.press("ArrowUp")
        assert state(tab)["symbol"] == symbols[-2]
        assert tab.url.endswith(f"#symbol={symbols[-2]}")
        tab.locator("#map").click(position={"x": 200, "y": 2 * 18 + 5})
        assert state(tab)["symbol"] == symbols[2]
    with opened(pages("demo"), fragment=f"#symbol={symbols[7]}") as tab:
        assert state(tab)["symbol"] == symbols[7]


def test_keys_of_the_chart(opened, pages):
    page = pages("demo")
    with opened(page) as tab:
        tab.focus("#chart")
        press = tab.keyboard.press
        press("End")
        assert state(tab)["cursor"] == "499"
        press("ArrowLeft")
        press("ArrowLeft")
        assert state(tab)["cursor"] == "497"
        symbol = state(tab)["symbol"]
        day = str(data.sp500_20().dates[-3])
        assert day in tab.locator("#read").inner_text()
        assert f"{data.sp500_20()[symbol][-3]:.3f}" in tab.locator("#read").inner_text()
        press("+")
        first, last = bars(tab)
        assert last - first + 1 < 250 * 0.8
        assert first <= 497 <= last
        press("-")
        press("-")
        assert np.diff(bars(tab))[0] + 1 > 250
        press("Home")
        assert state(tab)["cursor"] == "0"
        assert bars(tab)[0] == 0
        press("Shift+ArrowRight")
        assert bars(tab)[0] > 10
        press("Escape")
        assert bars(tab) == (0, 499)
        assert state(tab)["cursor"] == ""
        direction = atc.run(data.sp500_20()[symbol], outputs=("direction",))["direction"][-500:]
        flips = np.flatnonzero(np.diff(direction)) + 1
        press("[")
        assert state(tab)["cursor"] == str(flips[flips < 499][-1])
        press("[")
        press("]")
        assert state(tab)["cursor"] == str(flips[flips < 499][-1])
        for _ in range(40):
            press("+")
        assert np.diff(bars(tab))[0] + 1 in (8, 9)


def test_mouse_on_the_chart(opened, pages):
    with opened(pages("demo"), 1280, 1000) as tab:
        box = tab.locator("#chart").bounding_box()
        middle, height = box["x"] + 0.4 * box["width"], box["y"] + 100
        tab.mouse.move(middle, height)
        before = state(tab)
        assert int(before["first"]) < int(before["cursor"]) < int(before["last"])
        tab.mouse.wheel(0, -300)
        zoomed = bars(tab)
        assert zoomed[0] > 250
        assert zoomed[1] < 499
        assert abs(int(state(tab)["cursor"]) - int(before["cursor"])) <= 1
        tab.mouse.down()
        tab.mouse.move(middle + 80, height, steps=4)
        tab.mouse.up()
        assert bars(tab)[0] < zoomed[0]
        assert abs(np.diff(bars(tab))[0] - np.diff(zoomed)[0]) <= 1
        tab.mouse.dblclick(middle, height)
        assert bars(tab) == (0, 499)
        top = tab.evaluate("scrollY")
        tab.mouse.wheel(0, 200)  # nothing to zoom out of: the page scrolls
        for _ in range(100):
            settle(tab)
            if tab.evaluate("scrollY") > top:
                break
        assert tab.evaluate("scrollY") > top
        tab.evaluate("scrollTo(0, 0)")
        tab.mouse.move(middle, height)  # all bars: a drag chooses some of them
        tab.mouse.down()
        tab.mouse.move(middle + 100, height, steps=4)
        tab.mouse.up()
        chosen = bars(tab)
        assert 50 < np.diff(chosen)[0] < 150
        tab.mouse.move(box["x"] + 5, box["y"] + box["height"] - 15)  # in the strip of all bars
        tab.mouse.down()
        tab.mouse.move(box["x"] + 80, box["y"] + box["height"] - 15, steps=4)
        tab.mouse.up()
        assert bars(tab)[0] < 10
        tab.click("#all")
        tab.click("#in")
        assert np.diff(bars(tab))[0] < 400
        tab.click("#out")
        assert np.diff(bars(tab))[0] > 480


def test_averages_to_choose(opened, pages):
    with opened(pages("demo")) as tab:
        pixels = {}
        for family in ("none", "KAMA", "EMA"):
            tab.select_option("#family", family)
            pixels[family] = picture(tab, "#chart")[:280]
        kama, ema = plot._FAMILY_COLORS["KAMA"], plot._FAMILY_COLORS["EMA"]
        assert near(pixels["KAMA"], kama) > 3 * near(pixels["none"], kama) + 0.002
        assert near(pixels["EMA"], ema) > near(pixels["KAMA"], ema)
        lengths = tab.locator("#length option").all_inner_texts()
        assert lengths == ["All nine", *["22", "24", "26", "27"], "28 (base)", *["29", "30", "32", "34"]]
        nine = picture(tab, "#chart")[60:280]
        tab.select_option("#length", label="34")
        one = picture(tab, "#chart")[60:280]
        assert near(one, ema, 60) < near(nine, ema, 60)
        log = tab.locator("#log").is_checked()
        tab.locator("#log").set_checked(not log)
        assert not np.array_equal(picture(tab, "#chart"), one)


def test_touch(opened, pages):
    """A pinch zooms and a drag with one finger pans."""
    with opened(pages("demo"), 360, 740, has_touch=True, is_mobile=True) as tab:
        tab.locator("#chart").scroll_into_view_if_needed()
        tab.evaluate("document.querySelector('#chart').scrollIntoView()")
        box = tab.locator("#chart").bounding_box()
        session = tab.context.new_cdp_session(tab)

        def touch(kind, *xs):
            points = [{"x": box["x"] + x, "y": box["y"] + 120, "id": k} for k, x in enumerate(xs)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 120, 160)
        for spread in (10, 20, 30, 40):
            touch("touchMove", 120 - spread, 160 + spread)
        touch("touchEnd")
        first, last = bars(tab)
        assert last - first < 150
        touch("touchStart", 60)
        for x in (80, 110, 140, 160):
            touch("touchMove", x)
        touch("touchEnd")
        assert bars(tab)[0] < first
        assert abs(np.diff(bars(tab))[0] - (last - first)) <= 1


@pytest.mark.parametrize("name", ["demo", "many", "empty", "hostile"])
def test_narrow_screens(opened, pages, name):
    with opened(pages(name), 360, 740, has_touch=True, is_mobile=True) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        if name in ("demo", "many"):
            tops = [tab.locator(f"#{part}").bounding_box() for part in ("ranking", "detail", "heat", "about")]
            assert all(low["y"] >= high["y"] + high["height"] for high, low in itertools.pairwise(tops))
            chart = picture(tab, "#chart")
            assert chart.shape[1] > 320
            assert near(chart, plot._UP) > 0.02


def test_keys_of_the_heat_map(opened, pages):
    page = pages("demo")
    strip = values(Page(page.html).data["strip"]["signal"])
    with opened(page) as tab:
        tab.focus("#map")
        for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):  # the first key shows where one is
            tab.keyboard.press(key)
        settle(tab)
        heat = tab.locator("#map")
        assert heat.get_attribute("data-symbol") == page.result.rows[1].symbol
        assert heat.get_attribute("data-column") == "248"
        said = tab.locator("#heat-read").inner_text().replace("−", "-")
        assert f"{strip[1, 248]:+.3f}" in said
        assert str(data.sp500_20().dates[-2]) in said
        tab.keyboard.press("Enter")
        assert state(tab)["symbol"] == page.result.rows[1].symbol


def test_dark_and_light(opened, pages):
    with opened(pages("demo"), color_scheme="dark") as tab:
        dark = picture(tab, "#chart")
        assert np.median(dark) < 60
        assert near(dark, "#4ba3dc") > 0.02
        tab.emulate_media(color_scheme="light")
        assert np.median(picture(tab, "#chart")) > 200
        tab.emulate_media(color_scheme="dark")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert np.median(picture(tab, "#chart")) > 200  # paper is white
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert np.median(picture(tab, "#chart")) < 60
        assert len(tab.pdf()) > 20_000


def test_hostile_names_do_no_harm(opened, pages):
    with opened(pages("hostile")) as tab:
        assert tab.locator("#evil").count() == 0
        assert tab.locator("h1").text_content() == HOSTILE
        rows = tab.locator("#table tbody tr").all()
        assert len(rows) == 2
        for row in rows:
            row.click()
            name = row.locator("td").first.text_content()
            assert name == state(tab)["symbol"] == tab.locator("#name").text_content()
            assert name == HOSTILE or len(name) == 1


def test_a_page_that_is_not_laid_out_draws_later(opened, pages):
    with opened(pages("demo")) as tab:
        before = picture(tab, "#map")
        tab.evaluate("document.body.style.display = 'none'")
        settle(tab)
        tab.emulate_media(color_scheme="dark")
        settle(tab)
        tab.emulate_media(color_scheme="light")
        tab.evaluate("document.body.style.display = ''")
        settle(tab)
        assert np.array_equal(picture(tab, "#map"), before)
        assert tab.locator("#trouble").is_hidden()


def test_the_policy_stops_what_would_leave(opened, pages):
    code = """() => new Promise((done) => {
        const stopped = [];
        addEventListener("securitypolicyviolation", (event) => {
            if (stopped.push(event.effectiveDirective) === 3) done(stopped.sort());
        });
        new Image().src = "https://example.invalid/x.png";
        fetch("https://example.invalid/").catch(() => {});
        document.head.append(Object.assign(document.createElement("script"), { textContent: "document.title = 'x'" }));
    })"""
    with opened(pages("demo"), complaint="Content Security Policy") as tab:
        assert tab.evaluate(code) == ["connect-src", "img-src", "script-src-elem"]
        assert tab.title() == "Trend scan of 20 symbols"


def test_a_browser_that_cannot_unpack_says_so(opened, pages):
    script = "delete globalThis.DecompressionStream"
    with opened(pages("demo"), until="#trouble:not([hidden])", script=script, complaint="cannot unpack") as tab:
        assert "those of 2023 and later can" in tab.locator("#trouble").inner_text()
        assert tab.locator("#table tbody tr").count() == 20


def test_an_empty_scan(opened, pages):
    with opened(pages("empty")) as tab:
        assert "Nothing was scanned." in tab.locator("#no-chart").inner_text()
        assert tab.locator("#heat").is_hidden()


def test_a_thousand_symbols(opened, pages):
    page = pages("many")
    assert len(page.encode()) < 3_000_000
    with opened(page) as tab:
        assert int(tab.evaluate("document.documentElement.dataset.ready")) < 10_000
        assert tab.locator("#shown").inner_text() == "1,000"
        assert "10 of 1,000 symbols have a chart" in tab.locator("#about").inner_text()
        heat = picture(tab, "#map")
        assert near(heat, "#eceff2", 3) < 0.05
        assert len(np.unique(heat.reshape(-1, 3), axis=0)) > 100
        took = tab.evaluate(
            "(() => { const begin = performance.now(); document.querySelector('th[data-key=symbol] button').click();"
            " document.body.offsetHeight; return performance.now() - begin; })()"
        )
        assert took < 3_000
        assert column(tab, 1)[:2] == ["S0000", "S0001"]
        for _ in range(9):  # rows come as they are scrolled to
            tab.locator("#table-box").evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
            settle(tab)
        assert column(tab, 1) == [f"S{i:04d}" for i in range(1000)]
        other = next(row.symbol for row in page.result.rows if row.symbol not in page.charts)
        tab.locator("#table tbody tr", has_text=other).click()
        assert "no chart in this file" in tab.locator("#no-chart").inner_text()
        assert tab.locator("#chart").is_hidden()
        tab.check("#tall")
        settle(tab)
        tab.locator("#heat-box").evaluate("(box) => { box.scrollTop = 5000; }")
        tab.locator("#map").hover(position={"x": 300, "y": 107})
        settle(tab)
        assert tab.locator("#map").get_attribute("data-symbol") == f"S{(5000 + 107) // 15:04d}"
