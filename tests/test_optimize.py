# SPDX-License-Identifier: Apache-2.0
"""Grids of parameter sets, sweeps over them, and the command that optimises."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import holes, panel, same_bits, walk
from warpquant import atc, backtest, data, plot
from warpquant import sweep as sweeping
from warpquant.atc import Params
from warpquant.backtest import Costs, Rules
from warpquant.errors import DTypeError, ParameterError, ShapeError
from warpquant.sweep import Grid, iter_sweep, sweep

LENGTHS = Params._LENGTHS
SMALL = {"length": (12, 20), "De": (0.03, 0.3), "long_threshold": (0.1, 0.4), "La": (0.02, 1.0)}

# ---- grids ----

#: Values of parameters, some of which are refused alone, some only beside others.
axis_values = {
    "length": [8, 12, np.int64(20), 5, 2.5],
    "ema_len": [7, 20, 4, True],
    "hma_len": [9, 0],
    "kama_len": [8, 30, "x"],
    "robustness": ["Narrow", "Wide", "Broad"],
    "La": [0.0, -1, np.float32(0.5), float("nan")],
    "decay": [0, 100.0, 101.0],
    "cutout": [0, 10, -1],
    "long_threshold": [-0.2, 0.1, 0.5],
    "short_threshold": [-0.3, 0.1, 0.3],
    "kama_w": [1, -2.0, None],
    "strategy_mode": [True, False, 1],
    "cut_level": [0.0, 0.5, -0.5],
    "cross_rtol": [0.0, 1e-9],
    "compat": ["pine", "sovereign", "other"],
    "hma": ["sma", "hull", "none"],
    "nan_policy": ["skip", "raise", "propagate"],
    "length_rule": ["raise", "clamp"],
    "on_short": ["neutral", "drop"],
}


@st.composite
def grids(draw):
    names = draw(st.lists(st.sampled_from(sorted(axis_values)), min_size=1, max_size=4, unique=True))
    if "length" in names:
        names = [n for n in names if not n.endswith("_len")]
    axes = {n: draw(st.lists(st.sampled_from(axis_values[n]), min_size=1, max_size=3, unique_by=repr)) for n in names}
    others = sorted({*axis_values} - {*names, "length"})
    fixed = draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
    if "length" in names:
        fixed = [n for n in fixed if not n.endswith("_len")]
    return axes, {n: draw(st.sampled_from(axis_values[n])) for n in fixed}


def expanded(axes, base):
    """Every combination as a mapping, the last name fastest."""
    for values in itertools.product(*axes.values()):
        one = dict(zip(axes, values, strict=True))
        if "length" in one:
            one |= dict.fromkeys(LENGTHS, one.pop("length"))
        yield {**base, **one}


def made(one):
    try:
        return Params.from_dict(one)
    except ParameterError as error:
        return str(error)


@settings(max_examples=300)
@given(grids())
def test_a_grid_is_what_params_makes_of_each_set(drawn):
    axes, base = drawn
    if any(
        len(set(map(repr, v))) != len(v) or any(a == b for a, b in itertools.combinations(v, 2)) for v in axes.values()
    ):
        return  # True and 1 are the same value
    each = [made(one) for one in expanded(axes, base)]
    wanted = [one for one in each if isinstance(one, Params)]
    if not wanted:
        for invalid in ("raise", "skip"):
            with pytest.raises(ParameterError, match=r"^grid: "):
                Grid(axes, base=base, invalid=invalid)
        return
    grid = Grid(axes, base=base, invalid="skip")
    assert list(grid) == wanted
    for got, want in zip(grid, wanted, strict=True):
        assert got.to_dict() == want.to_dict()
        assert [type(v) for v in got.to_dict().values()] == [type(v) for v in want.to_dict().values()]
        assert got.family_lengths == want.family_lengths
    assert grid.skipped == len(each) - len(wanted)
    refusals = {one for one in each if isinstance(one, str)}
    assert bool(refusals) == bool(grid.refusals)
    if len(wanted) == len(each):
        assert list(Grid(axes, base=base)) == wanted
    else:
        with pytest.raises(ParameterError, match=r"^grid: "):
            Grid(axes, base=base)


def test_a_refusal_is_that_of_params():
    with pytest.raises(ParameterError) as wanted:
        Params(ema_len=5, robustness="Wide")
    with pytest.raises(ParameterError) as got:
        Grid({"ema_len": (28, 5), "robustness": ("Wide",)})
    assert str(got.value) == f"grid: {wanted.value}"
    grid = Grid({"ema_len": (28, 5), "robustness": ("Wide", "Narrow")}, invalid="skip")
    assert (grid.skipped, grid.refusals) == (1, (str(wanted.value),))


def test_made_sets_work_as_others_do():
    """Hashing, copies by pickle, settings of the kernels."""
    import copy

    x = walk(200)
    grid = Grid({"compat": ("pine", "sovereign"), "length": (9, 20)}, base={"De": 0.2, "kama_w": 3})
    for one, want in zip(
        grid, expanded({"compat": ("pine", "sovereign"), "length": (9, 20)}, {"De": 0.2, "kama_w": 3}), strict=True
    ):
        same_bits(atc.run(x, one)["average"], atc.run(x, want)["average"])
        assert hash(one) == hash(Params.from_dict(want))
        assert copy.deepcopy(one) == one


def test_names_and_order():
    grid = Grid({"hma_len": (20, 30), "lambda_param": (0.1, 0.2, 0.3)}, base=Params(De=0.5))
    assert (grid.names, len(grid)) == (("hull_len", "La"), 6)
    assert [(p.hull_len, p.La) for p in grid] == list(itertools.product((20, 30), (0.1, 0.2, 0.3)))
    assert {p.De for p in grid} == {0.5}
    assert grid.varied(-1) == {"hull_len": 30, "La": 0.3}
    assert grid[1:3] == [grid[1], grid[2]]
    assert grid.name("decay" if "De" in grid.names else "lambda_param") == "La"
    with pytest.raises(IndexError):
        grid[6]
    with pytest.raises(ParameterError, match="De: does not vary; what does: hull_len, La"):
        grid.name("De")


def test_a_base_does_not_hold_compat_back():
    """The switches of a Params are given; those that its mode decided must not be."""
    grid = Grid({"compat": ("pine", "sovereign")}, base=Params(La=0.5, rounding="none"))
    assert [(p.hma, p.rounding, p.La) for p in grid] == [("sma", "none", 0.5), ("hull", "none", 0.5)]


def test_a_base_gives_way_to_axes():
    assert [p.La for p in Grid({"La": (0.1, 0.2)}, base=Params(La=0.5))] == [0.1, 0.2]
    with pytest.raises(ParameterError, match=r"^lambda_param: is another name for La, and the two differ"):
        Grid({"De": (0.1,)}, base={"La": 0.1, "lambda_param": 0.2})


def test_a_list_of_sets():
    sets = [{"La": 0.5}, None, Params(hma="sma"), {"hma_len": 20, "La": 0.02}]
    grid = Grid(sets)
    assert list(grid) == [Params(La=0.5), Params(), Params(hma="sma"), Params(hull_len=20)]
    assert grid.names == ("hull_len", "La", "hma")
    assert grid.columns()["La"].tolist() == [0.5, 0.02, 0.02, 0.02]
    with pytest.raises(ParameterError, match=r"^grid\[1\]: De: 200"):
        Grid([{}, {"De": 200}])
    assert Grid([{}, {"De": 200}], invalid="skip").skipped == 1
    with pytest.raises(ParameterError, match=r"^base: goes with axes"):
        Grid([{}], base={"La": 0.1})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"La": ()}, "grid: La: has no values"),
        ({"La": 0.1}, "grid: La: 0.1 is no sequence of values"),
        ({"robustness": "Wide"}, "grid: robustness: 'Wide' is no sequence"),
        ({"La": (0.1, 0.2, 0.1)}, "grid: La: has 0.1 twice"),
        ({"lengh": (1,)}, "lengh: is not a parameter of ATC"),
        ({"_LENGTHS": (1,)}, "_LENGTHS: is not a parameter of ATC"),
        ([{"_WEIGHTS": 1}], r"grid\[0\]: _WEIGHTS: is not a parameter of ATC"),
        ({"La": (0.1,), "lambda_param": (0.2,)}, "grid: lambda_param: La is varied already"),
        ({"length": (20,), "ema_len": (20,)}, "grid: ema_len: ema_len is varied already"),
        ([], "grid: holds no set"),
        ("La", "grid: str is neither"),
        (3, "grid: int is neither"),
    ],
)
def test_wrong_grids(axes, message):
    with pytest.raises(ParameterError, match=f"^{message}"):
        Grid(axes)


@pytest.mark.parametrize("most", [1, 7, 12, 13, 36, 100, 10_000])
@pytest.mark.parametrize("thresholds", [(0.1, 0.2), (-0.3, 0.1)])
def test_pieces_hold_every_set_once_and_kin_together(most, thresholds):
    axes = {
        "De": (0.1, 0.2, 0.3),
        "length": (10, 20),
        "long_threshold": thresholds,
        "robustness": ("Narrow", "Wide"),
        "La": (0.1, 0.2),
    }
    grid = Grid(axes, base={"short_threshold": -0.2}, invalid="skip")
    pieces = list(grid.chunks(most))
    assert sorted(np.concatenate(pieces).tolist()) == list(range(len(grid)))
    assert max(map(len, pieces)) <= most
    listed = list(Grid(list(grid)).chunks(most))
    assert sorted(np.concatenate(listed).tolist()) == list(range(len(grid)))
    # Sets with the same averages: no more pieces than it takes.
    kin = {}
    for number, piece in enumerate(pieces):
        for one in grid.take(piece):
            kin.setdefault(one.family_lengths, set()).add(number)
    assert all(len(numbers) <= -(-12 // most) for numbers in kin.values())


def test_a_large_grid_takes_no_memory():
    axes = {f"{f}_len": range(10, 60) for f in ("ema", "wma", "dema", "lsma")} | {"La": np.arange(1000) / 1e4}
    grid = Grid(axes)
    assert len(grid) == 50**4 * 1000
    assert grid[-1].La == 0.0999
    assert grid[123_456_789] == Params(
        ema_len=10,
        wma_len=10 + 123_456_789 // (2500 * 1000) % 50,
        dema_len=10 + 123_456_789 // 50_000 % 50,
        lsma_len=10 + 123_456_789 // 1000 % 50,
        La=0.0789,
    )
    assert len(next(grid.chunks(500))) <= 500


# ---- sweeps ----


def check(prices, axes, **how):
    """Each value against a run and a backtest of that set and series alone."""
    rules, costs = how.get("rules", Rules()), how.get("costs", Costs())
    result = sweep(prices, axes, outputs="all", **how)
    series = prices if isinstance(prices, dict) else dict(enumerate(np.atleast_2d(prices)))
    assert result.symbols == (None if isinstance(prices, np.ndarray) and prices.ndim == 1 else tuple(series))
    for i, params in enumerate(result.grid):
        for j, close in enumerate(series.values()):
            close = np.asarray(close, dtype=np.float64)
            run = atc.run(close, params, outputs="all")
            want = backtest.metrics(close, run[rules.signal], rules=rules, costs=costs)
            for name in backtest.METRICS:
                same_bits(result.values[name][i, j], want[name], f"set {i} of {j}: {name}")
            for name in atc.OUTPUTS:
                same_bits(result.values[name][i, j], run[name][-1], f"set {i} of {j}: {name}")
    return result


@pytest.mark.parametrize(
    "prices",
    [walk(300), panel(5, 200), holes(walk(300)), {"a": walk(260), "b": walk(150, 1), "c": holes(walk(260, 2))}],
    ids=["walk", "panel", "holes", "ragged"],
)
def test_bits_of_single_runs(prices):
    check(prices, SMALL, costs=Costs(fee=0.001))


@pytest.mark.parametrize(
    "rules", [Rules(signal="direction"), Rules(side="long", sizing="volatility"), Rules(delay=3, sizing="signal")]
)
def test_rules(rules):
    check(panel(2, 200), {"length": (12, 20), "De": (0.03, 0.3)}, rules=rules)


def test_other_containers():
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    x = panel(3, 160)
    want = sweep(x, SMALL)
    frame = pd.DataFrame(x.T, columns=list("abc"))
    for prices in (frame, pl.DataFrame(dict(zip("abc", x, strict=True))), pa.table(dict(zip("abc", x, strict=True))),
                   dict(zip("abc", x, strict=True))):  # fmt: skip
        got = sweep(prices, SMALL)
        assert got.symbols == ("a", "b", "c")
        for name, values in want.values.items():
            same_bits(got.values[name], values, name)
    got = sweep(x.T, SMALL, axis=0)
    same_bits(got.values["sharpe"], want.values["sharpe"])
    same_bits(sweep(x[1].tolist(), SMALL).values["sharpe"], want.values["sharpe"][:, 1:2])
    integers = np.arange(100, 300) ** 2
    same_bits(sweep(integers, SMALL).values["sharpe"], sweep(integers.astype(float), SMALL).values["sharpe"])


def test_pieces_do_not_show(monkeypatch):
    prices = {"a": walk(260), "b": walk(150, 1), "c": walk(260, 2), "d": walk(260, 3)}
    want = sweep(prices, SMALL, outputs=("average", "trend"), num_threads=1)
    monkeypatch.setattr(sweeping, "_FEW_SETS", 2)
    for points in (1, 600, 2000):
        monkeypatch.setattr(sweeping, "_BACKTEST_POINTS", points)
        monkeypatch.setattr(sweeping, "_SIGNAL_POINTS", points)
        seen = []
        show = functools.partial(lambda seen, *progress: seen.append(progress), seen)
        got = sweep(prices, SMALL, outputs=("average", "trend"), num_threads=2, progress=show)
        assert seen[-1] == (64, 64)
        assert len(seen) > 2
        for name, values in want.values.items():
            same_bits(got.values[name], values, name)
        last = sweep(prices, SMALL, outputs=("average", "trend"), metrics=())
        same_bits(last.values["average"], want.values["average"])


def test_the_alias():
    assert atc.sweep is sweep
    with pytest.raises(AttributeError):
        _ = atc.swep


def test_iter_sweep_has_the_rows_of_sweep(monkeypatch):
    pa = pytest.importorskip("pyarrow")
    monkeypatch.setattr(sweeping, "_BACKTEST_POINTS", 2000)
    for prices in (walk(200), {"a": walk(200), "b": walk(150, 1)}):
        want = sweep(prices, SMALL, outputs=("average",))
        table = pa.Table.from_batches(iter_sweep(prices, SMALL, outputs=("average",)))
        assert table.schema == want.to_arrow().schema
        keys = [(name, "ascending") for name in ("set", "symbol") if name in table.column_names]
        assert table.sort_by(keys).equals(want.to_arrow().sort_by(keys).combine_chunks())


def test_iter_sweep_is_lazy_and_says_what_failed():
    pytest.importorskip("pyarrow")
    bad = {"a": walk(100), "b": np.array(["x"]), "c": np.where(np.arange(100) == 50, 2.0**1001, walk(100))}
    with pytest.raises(ShapeError, match=r"^prices: 'b' is no series of numbers"):
        next(iter_sweep(bad, SMALL))
    del bad["b"]
    with pytest.raises(ParameterError, match=r"too large at bar 50"):
        next(iter_sweep(bad, SMALL))
    failures = []
    batches = iter_sweep(bad, SMALL, metrics=["sharpe"], on_failure=failures.append)
    assert failures == []  # nothing is computed before it is asked for
    assert set(next(batches).column("symbol").to_pylist()) == {"a"}
    assert [f.symbol for f in failures] == ["c"]


def test_memory_is_bounded():
    """Signals of all these sets would take 512 MB."""
    program = """
import resource
import numpy as np
from warpquant.sweep import iter_sweep
x = 100 + np.random.default_rng(0).normal(size=10_000).cumsum() * 0.1
grid = {"La": np.arange(20) / 100, "De": (0.03, 0.1, 0.2, 0.3), "long_threshold": np.arange(1, 81) / 100}
def peak(bars):
    for _ in iter_sweep(x[:bars], grid, metrics=["sharpe"], num_threads=1):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small = peak(300)
print(peak(10_000) - small)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 160_000  # kilobytes


def test_failures_do_not_stop_others():
    prices = {
        "good": walk(100), "text": np.array(["x", "y"]), "huge": np.where(np.arange(100) == 50, 2.0**1001, walk(100)),
        "short": walk(30, 2), "fine": walk(90, 1), "nothing": np.full(100, np.nan),
    }  # fmt: skip
    seen = []
    result = sweep(prices, {"cutout": (0, 40), "De": (0.03, 0.1)}, progress=lambda *done: seen.append(done))
    assert result.symbols == ("good", "fine")
    assert {f.symbol for f in result.failures} == {"text", "huge", "short", "nothing"}
    assert seen[-1] == (16, 16)
    (message,) = [f.message for f in result.failures if f.symbol == "short"]
    assert message.startswith("grid[2]: cutout: 40 leaves nothing of 30 bars")
    alone = sweep({"good": walk(100), "fine": walk(90, 1)}, {"cutout": (0, 40), "De": (0.03, 0.1)})
    for name, values in alone.values.items():
        same_bits(result.values[name], values, name)
    with pytest.raises(ParameterError, match=r"^grid\[1\]: cutout: 40 leaves nothing of 30 bars"):
        sweep(walk(30), {"cutout": (0, 40)})
    with pytest.raises(ParameterError, match=r"no symbol can be used; b: grid"):
        sweep({"a": walk(30), "b": walk(30)}, {"cutout": (0, 40)})
    with pytest.raises(ShapeError, match=r"no symbol can be used: t is no series"):
        sweep({"t": np.array(["x"])}, SMALL)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (dict(metrics=["sharp"]), ParameterError, "metrics: 'sharp' is unknown"),
        (dict(outputs="mean"), ParameterError, "outputs: 'mean' is unknown"),
        (dict(metrics=()), ParameterError, "metrics: neither"),
        (dict(prices=np.ones((2, 3, 4))), ShapeError, r"prices: have shape \(2, 3, 4\)"),
        (dict(prices=np.empty(0)), ShapeError, r"prices: have shape \(0,\)"),
        (dict(prices=np.array([True, False])), DTypeError, "prices: hold bool"),
        (dict(num_threads=0), ParameterError, "num_threads"),
        (dict(periods_per_year=0), ParameterError, "periods_per_year"),
        (dict(prices={"a": walk(90), "b": walk(90)}, costs=Costs(fee=0.6, slippage=0.5)), ParameterError, "costs: fee"),
        (dict(prices={"a": walk(90)}, rules={"side": "long"}), ParameterError, "rules: is a dict"),
        (dict(prices={"a": walk(90)}, axis=0), ParameterError, "axis: the series of a mapping"),
        (dict(prices={1: walk(90), "1": walk(90)}), ParameterError, "prices: two symbols are called '1'"),
        (dict(grid={}, axis=5, prices=panel(2, 90)), Exception, "axis"),
    ],
)
def test_wrong_arguments(how, error, message):
    with pytest.raises(error, match=f"{message}"):
        sweep(**{"prices": walk(90), "grid": SMALL, **how})


def test_an_interrupt_passes(monkeypatch):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep({"a": walk(90), "b": walk(90, 1)}, SMALL, progress=interrupt)


# ---- tables ----


def test_tables_agree():
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    axes = {"robustness": ("Narrow", "Wide"), "strategy_mode": (False, True), "length": (12, 20)}
    result = sweep({"a": walk(150), "b": walk(150, 1)}, axes, outputs=("trend",), metrics=("sharpe", "trades"))
    table = result.to_arrow()
    assert table.column_names == ["set", "robustness", "strategy_mode", "length", "symbol", "trend", "sharpe", "trades"]
    assert [str(t) for t in table.schema.types] == [
        "int64",
        "string",
        "bool",
        "int64",
        "string",
        "int8",
        "double",
        "double",
    ]
    assert len(result) == table.num_rows == 16
    rows = table.to_pylist()
    for (i, (robustness, delayed, length)), (j, symbol) in itertools.product(
        enumerate(itertools.product(*axes.values())), enumerate("ab")
    ):
        row = rows[2 * i + j]
        assert (row["set"], row["robustness"], row["strategy_mode"], row["length"], row["symbol"]) == (
            i,
            robustness,
            delayed,
            length,
            symbol,
        )
        assert row["sharpe"] == result.values["sharpe"][i, j]
    assert result.to_pandas().equals(pd.DataFrame(rows).astype(result.to_pandas().dtypes))
    assert result.to_polars().to_dicts() == rows
    assert isinstance(result.to_polars(), pl.DataFrame)
    assert pa.table(result.to_dict()).equals(table)


def test_best_and_columns():
    result = sweep({"a": walk(400), "b": walk(400, 1)}, SMALL)
    values = result.values["sharpe"]
    for symbol, column in ((None, values.mean(axis=1)), ("a", values[:, 0]), ("b", values[:, 1])):
        best, worst = result.best(symbol=symbol), result.best(symbol=symbol, largest=False)
        assert (best.set, worst.set) == (column.argmax(), column.argmin())
        assert best.params == result.grid[best.set]
        assert best.varied == {name: v[best.set] for name, v in result.grid.columns().items()}
        assert best.values["sharpe"] == column.max()
    with pytest.raises(ParameterError, match=r"^symbol: 'c' is not in"):
        result.best(symbol="c")
    with pytest.raises(ParameterError, match=r"^metric: 'luck' is not in"):
        result.best("luck")
    with pytest.raises(ParameterError, match=r"^metric: 'sharpe' has no value"):
        sweep(walk(90), SMALL, rules=Rules(long_above=2, short_below=-2)).best()


def test_pivot():
    result = sweep({"a": walk(400), "b": walk(400, 1)}, {**SMALL, "robustness": ("Wide", "Narrow")})
    columns = result.grid.columns()
    for how, aggregate in (("mean", np.mean), ("max", np.max), ("median", np.median), ("min", np.min)):
        table = result.pivot("lambda_param", "robustness", "calmar", how=how)
        assert (table.x, table.y, table.index.tolist()) == ("La", "robustness", ["Wide", "Narrow"])
        for (row, y), (column, x) in itertools.product(enumerate(table.index), enumerate(table.columns)):
            cell = (columns["La"] == x) & (columns["robustness"] == y)
            assert table.values[row, column] == aggregate(result.column("calmar")[cell])
    assert table.to_pandas().loc["Narrow", 1.0] == table.values[1, 1]
    skipped = sweep(walk(90), Grid({"long_threshold": (0.0, 0.2), "short_threshold": (-0.1, 0.1)}, invalid="skip"))
    assert np.isnan(skipped.pivot("long_threshold", "short_threshold").values).tolist() == [
        [False, False],
        [True, False],
    ]
    for x, y, how in (("La", "La", "mean"), ("La", "cutout", "mean"), ("La", "De", "sum")):
        with pytest.raises(ParameterError):
            result.pivot(x, y, how=how)


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    result = sweep(walk(400), {**SMALL, "robustness": ("Wide", "Narrow")})
    table = result.pivot("La", "robustness")
    figure = plot.heatmap(table, title="A$B_{C$")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Wide", "Narrow"]
    (frame,) = [p for p in axes.patches if not p.get_fill()]
    row, column = np.unravel_index(table.values.argmax(), table.values.shape)
    assert frame.get_xy() == (column, row)
    plot.save(figure, tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 1000
    nothing = sweep(walk(90), SMALL, rules=Rules(long_above=2, short_below=-2)).pivot("La", "De")
    with pytest.raises(ParameterError, match="no value"):
        plot.heatmap(nothing)


# ---- the command ----

typer = pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

from warpquant.cli import Code, app  # noqa: E402

ARGUMENTS = (
    "--demo",
    "--symbol",
    "KO",
    "-g",
    "length=20:30:5",
    "-g",
    "La=0.01,0.05",
    "--fee",
    "0.0005",
    "--walk-forward",
    "4000:2000",
)


def call(*arguments, code=Code.OK):
    result = CliRunner().invoke(app, ["optimize", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return result


def evaluated():
    from warpquant.evaluate import walk_forward

    grid = Grid({"length": (20, 25, 30), "La": (0.01, 0.05)}, base={"nan_policy": "skip"})
    return walk_forward(data.sp500_20()["KO"], grid, train=4000, test=2000, costs=Costs(fee=0.0005))


def test_command_table():
    out = call(*ARGUMENTS).stdout
    found = evaluated()
    line = next(line for line in out.splitlines() if line.startswith("KO"))
    assert f"{found.best.values['sharpe']:+.2f}" in line
    assert f"{found.deflated_sharpe:.3f}" in line
    assert f"{found.metrics['sharpe']:+.2f}" in line
    assert f"{found.overfitting.probability:.2f}" in line
    assert "Folds" in out
    assert "Best 6 of 6 sets, in sample" in out


def test_command_json():
    document = json.loads(call(*ARGUMENTS, "-f", "json").stdout)
    assert document["schema"] == "warpquant.optimize/1"
    (one,) = document["results"]
    assert one == {"symbol": "KO", **json.loads(json.dumps(evaluated().to_dict()))}
    assert document["grid"] == {"length": [20, 25, 30], "La": [0.01, 0.05]}


def test_command_tables_and_pictures(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("matplotlib")
    rows = list(csv.DictReader(io.StringIO(call(*ARGUMENTS, "-f", "csv", "-q").stdout)))
    call(*ARGUMENTS, "--output", tmp_path / "sets.parquet", "--plot", tmp_path / "pictures")
    table = pq.read_table(tmp_path / "sets.parquet").to_pylist()
    assert len(rows) == len(table) == 6
    assert [float(row["sharpe"]) for row in rows] == [row["sharpe"] for row in table]
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["KO.png", "KO_sharpe_length_La.png"]


def test_command_files_and_failures(tmp_path):
    pytest.importorskip("pyarrow")
    dates = np.datetime64("2020-01-01") + np.arange(600)
    file = tmp_path / "prices.csv"
    lines = [
        f"{d},{a},{b},{c}"
        for d, a, b, c in zip(dates, walk(600), walk(600, 1), ["", *["1"] * 5, *[""] * 594], strict=True)
    ]
    file.write_text("\n".join(["date,A,B,C", *lines]) + "\n", encoding="utf-8")
    how = (file, "-g", "length=12,20", "-g", "long_threshold=0.1,-0.2", "--skip-invalid", "--folds", "3")
    result = call(*how, "-f", "json", code=Code.SOME_FAILED)
    document = json.loads(result.stdout)
    assert [one["symbol"] for one in document["results"]] == ["A", "B"]
    assert [one["symbol"] for one in document["failures"]] == ["C"]
    assert document["skipped"] == 2
    assert "2 combinations left out: long_threshold: -0.2 is not above" in result.stderr
    assert {one["scheme"] for one in document["results"]} == {"purged_kfold"}
    both = json.loads(call(*how, "--portfolio", "--symbol", "A", "--symbol", "B", "-f", "json").stdout)
    assert [one["symbol"] for one in both["results"]] == ["portfolio"]
    call(*how, "--symbol", "C", code=Code.FAILED)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--demo",),
        ("--demo", "-g", "La"),
        ("--demo", "-g", "La="),
        ("--demo", "-g", "La=3:1:1"),
        ("--demo", "-g", "La=1:2:0"),
        ("--demo", "-g", "La=1:x"),
        ("--demo", "-g", "La=1:inf"),
        ("--demo", "-g", "La=1", "-g", "La=2"),
        ("--demo", "-g", "La=1", "--la", "2"),
        ("--demo", "-g", "lengh=20,30"),
        ("--demo", "-g", "length=2,30"),
        ("--demo", "-g", "La=1,2", "--walk-forward", "100"),
        ("--demo", "-g", "La=1,2", "--folds", "3", "--anchored"),
        ("--demo", "-g", "La=1,2", "--embargo", "3"),
        ("--demo", "-g", "La=1,2", "--metric", "luck"),
        ("--demo", "-g", "La=1,2", "--symbol", "NONE"),
        ("--demo", "-g", "La=1,2", "-f", "parquet"),
        ("--demo", "-g", "La=1,2", "--fee", "2"),
        ("--demo", "-g", "La=1,2", "--long-exit", "0.5"),
    ],
)
def test_command_usage(arguments):
    call(*arguments, code=Code.USAGE)


def test_ranges_of_the_command():
    from warpquant.cli.optimize import _axes

    texts = ["ema-len=20:40:10", "La=0.01:0.05:0.02", "robustness=Narrow, Wide", "strategy_mode=true,false", "De=1:3"]
    assert _axes(texts) == {
        "ema_len": [20, 30, 40], "La": [0.01, 0.03, 0.05], "robustness": ["Narrow", "Wide"],
        "strategy_mode": [True, False], "De": [1, 2, 3],
    }  # fmt: skip


def test_help_ends_with_an_example():
    out = " ".join(call("--help").stdout.split())
    assert out.endswith("--walk-forward 1000:250 --plot pictures")


def test_long_axes_take_no_time():
    values = np.linspace(0.0, 0.9, 30_000).tolist()
    begin = time.process_time()
    assert len(Grid({"La": values})) == 30_000
    assert time.process_time() - begin < 3  # comparing each with each takes longer
    with pytest.raises(ParameterError, match="grid: La: has 0 twice"):
        Grid({"La": [*values, 0]})
    with pytest.raises(ParameterError, match=r"grid: La: \[1\] is no value"):
        Grid({"La": [[1]]})
