# SPDX-License-Identifier: Apache-2.0
"""Pictures: what they show, that they can be written, and that they touch no global state."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from checks import walk
from warpquant import atc, data, plot
from warpquant.errors import ParameterError, ShapeError
from warpquant.scan import scan

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(plot, "_DPI", 40)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def png(figure, path):
    plot.save(figure, path)
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(content) > 5_000


def test_symbol_shows_what_run_gives(tmp_path):
    panel = data.sp500_20()
    figure = plot.symbol(panel["AAPL"], panel.dates, name="AAPL", bars=200)
    png(figure, tmp_path / "a.png")
    top, middle, bottom = figure.axes
    result = atc.run(panel["AAPL"], outputs=("average", "direction", "ema_s", "kama_s"), detail=True)
    assert np.array_equal(lines(top)["close"], panel["AAPL"][-200:])
    assert np.array_equal(lines(top)["KAMA 28"], result["kama_ma"][0][-200:])
    assert np.array_equal(lines(bottom)["EMA"], result["ema_s"][-200:])
    up, down = (patch.get_data().values for patch in middle.patches)
    assert np.array_equal(up + down, result["average"][-200:])
    marks = sum(len(collection.get_offsets()) for collection in top.collections)
    assert marks == np.count_nonzero(np.diff(result["direction"][-200:]))
    assert figure.get_suptitle().startswith("AAPL   125.674   average -1.00   short")
    assert bottom.get_xlabel() == "2022-03-15 to 2022-12-28"
    assert [label.get_text() for label in bottom.get_xticklabels()][:2] == ["Apr 2022", "May 2022"]


def test_signals_show_what_run_gives(tmp_path):
    panel = data.sp500_20()
    figure = plot.signals(panel["AAPL"], panel.dates, name="AAPL", params={"compat": "pine"}, bars=200)
    png(figure, tmp_path / "s.png")
    names = [f"{family.lower()}_signal" for family in atc.FAMILIES]
    result = atc.run(panel["AAPL"], {"compat": "pine"}, outputs=("average", *names))
    for axes, name in zip(figure.axes, ("average", *names), strict=True):
        up, down = (patch.get_data().values for patch in axes.patches)
        assert np.array_equal(up + down, np.nan_to_num(result[name][-200:]))
    assert titles(figure)[1:] == ["EMA", "SMA", "WMA", "DEMA", "LSMA", "KAMA"]
    assert figure.get_suptitle() == f"AAPL   average signal {result['average'][-1]:+.2f}"


def test_equities_show_what_run_gives(tmp_path):
    panel = data.sp500_20()
    figure = plot.equities(panel["AAPL"], panel.dates, name="AAPL", params={"kama_len": 9}, bars=200)
    png(figure, tmp_path / "e.png")
    result = atc.run(panel["AAPL"], {"kama_len": 9}, outputs="all", detail=True)
    top, *panels = figure.axes
    for axes, family, nine in zip(panels, atc.FAMILIES, atc.Params(kama_len=9).family_lengths, strict=True):
        assert np.array_equal(lines(top)[family], result[f"{family.lower()}_s"][-200:])
        shown = lines(axes)
        assert set(shown) == {f"{family} {length}" for length in nine}
        for length, equity in zip(nine, result[f"{family.lower()}_eq"], strict=True):
            assert np.array_equal(shown[f"{family} {length}"], equity[-200:])


@pytest.mark.parametrize("draw", [plot.signals, plot.equities])
def test_layers_of_any_prices(tmp_path, draw):
    for prices in (walk(40), np.full(100, 7.0), np.r_[np.nan, walk(100), np.inf], np.array([5.0, 6.0])):
        png(draw(prices, name="$x$"), tmp_path / "x.png")
    with pytest.raises(ShapeError, match="prices"):
        draw([np.nan])


def test_strips(tmp_path):
    result = scan(data.sp500_20(), recent=90)
    figure = plot.strips(result)
    png(figure, tmp_path / "h.png")
    heat, breadth, _ = figure.axes
    (mesh,) = heat.collections
    assert np.array_equal(mesh.get_array(), [result.recent[row.symbol] for row in result.rows])
    assert [label.get_text() for label in heat.get_yticklabels()] == [row.symbol for row in result.rows]
    assert figure.get_suptitle() == "Average signal of 20 symbols"
    strongest = plot.strips(result, most=5)
    kept = {row.symbol for row in sorted(result.rows, key=lambda row: (-abs(row.average), row.bars_since_flip))[:5]}
    names = [label.get_text() for label in strongest.axes[0].get_yticklabels()]
    assert names == [row.symbol for row in result.rows if row.symbol in kept]
    assert strongest.get_suptitle() == "Average signal of the strongest 5 of 20 symbols"
    for axes in (breadth, strongest.axes[1]):  # of all symbols either way
        up = axes.patches[0].get_data().values
        assert up[-1] == 100 * np.mean([row.average > 0 for row in result.rows])


def test_strips_of_any_size(tmp_path):
    for symbols in (1, 130):
        png(plot.strips(scan({f"S{i}": walk(60 + i, i) for i in range(symbols)})), tmp_path / "h.png")
    for nothing in (scan({}), scan({"x": walk(60)}, recent=0)):
        with pytest.raises(ParameterError, match="nothing to draw"):
            plot.strips(nothing)


def test_figures_can_be_svg(tmp_path):
    path = tmp_path / "x.svg"
    plot.save(plot.signals(walk(100), name="<b>&"), path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "<path" in text


def test_parameters_change_the_picture():
    figure = plot.symbol(walk(200), params={"compat": "pine", "hull_len": 20, "kama_len": 9})
    assert {"SMA 20", "KAMA 9", "EMA 28"} <= set(lines(figure.axes[0]))


@pytest.mark.parametrize(
    ("prices", "log"),
    [
        (walk(40), False),
        (np.linspace(1.0, 100.0, 300), True),
        (np.linspace(-1.0, 100.0, 300), False),
        (np.full(100, 7.0), False),
        (np.zeros(100), False),
        (np.r_[np.nan, walk(100), np.inf], False),
        (np.array([5.0]), False),
        (np.array([5.0, 6.0]), False),
    ],
)
def test_any_prices_can_be_drawn(tmp_path, prices, log):
    figure = plot.symbol(prices, name="x")
    png(figure, tmp_path / "x.png")
    assert figure.axes[0].get_yscale() == ("log" if log else "linear")


@pytest.mark.parametrize(
    ("unit", "step", "labels"),
    [("m", 15, "26 Jan"), ("h", 1, "30 Jan"), ("D", 1, "Apr 2024"), ("M", 1, "2030"), ("Y", 1, "1950")],
)
def test_date_labels(unit, step, labels):
    times = np.datetime64("2024-01-25", unit) + np.arange(500) * step
    if unit == "Y":
        times = np.arange("1930", "2030", dtype="datetime64[Y]")
    figure = plot.symbol(walk(len(times)), times)
    shown = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert 1 <= len(shown) <= 9
    assert labels in shown


def test_bars_are_numbered_where_there_are_no_dates():
    for times in (None, np.arange(300)):
        figure = plot.symbol(walk(300), times, bars=100)
        figure.draw_without_rendering()
        assert figure.axes[-1].get_xlabel() == "bar"
        assert "200" in [label.get_text() for label in figure.axes[-1].get_xticklabels()]


@pytest.mark.parametrize("prices", [[], [np.nan], np.ones((2, 3)), 3.0])
def test_prices_that_cannot_be_drawn(prices):
    with pytest.raises(ShapeError, match="prices"):
        plot.symbol(prices)
    with pytest.raises(ShapeError, match="prices"):
        plot.symbol(walk(10), np.arange(9))


def test_overview(tmp_path):
    result = scan(data.sp500_20())
    figure = plot.overview(result)
    png(figure, tmp_path / "o.png")
    counts = result.counts
    assert figure.get_suptitle() == f"20 symbols: {counts['long']} long, {counts['short']} short, 1 neutral"
    assert titles(figure) == [
        "Average signal, last bar",
        "The last 120 bars of each symbol",
        "All symbols by signal",
        "Share of all symbols with a positive and a negative signal",
    ]
    ranking = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ranking == [row.symbol for row in (*result.long, *reversed(result.short))]


@pytest.mark.parametrize(
    "panel",
    [
        {"one": walk(100)},
        {"flat": np.ones(100)},
        {"long": walk(500), "short": walk(40)},
        {f"S{i}": walk(60, i) for i in range(90)},
    ],
)
def test_overviews_of_any_size(tmp_path, panel):
    result = scan(panel)
    figure = plot.overview(result)
    png(figure, tmp_path / "o.png")
    assert len(figure.axes[0].get_yticklabels()) <= 60


def test_an_overview_without_recent_bars(tmp_path):
    png(plot.overview(scan({"x": walk(100)}, recent=0)), tmp_path / "o.png")


def test_names_are_no_formulas(tmp_path):
    panel = {"$\\frac$": walk(60), "A$B_{C$": walk(60, 1)}
    png(plot.overview(scan(panel, min_signal=0)), tmp_path / "o.png")
    png(plot.symbol(panel["A$B_{C$"], name="A$B_{C$"), tmp_path / "s.png")


def test_an_empty_scan_has_no_overview():
    with pytest.raises(ParameterError, match="no symbols"):
        plot.overview(scan({}))


def test_no_global_state(tmp_path):
    """Neither pyplot nor another backend is loaded, and the user's settings stay."""
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from warpquant import data, plot\n"
        "panel = data.sp500_20(); plot.save(plot.symbol(panel['KO'], panel.dates), sys.argv[1])\n"
        "print('matplotlib.pyplot' in sys.modules, before == matplotlib.rcParams.copy())"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.png"], capture_output=True, text=True)
    assert run.stdout.split() == ["False", "True"], run.stderr


def test_without_matplotlib(monkeypatch):
    for name in ("matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"warpquant\[plot\]"):
        plot.symbol(walk(100))
