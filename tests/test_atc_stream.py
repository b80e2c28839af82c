# SPDX-License-Identifier: Apache-2.0
"""ATC bar by bar: each bar with the bits of a run over all bars so far."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from checks import executions, panel, same_bits, walk
from reference import atc as reference
from warpquant import atc, config
from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError

SWITCHES = {k: v for k, v in atc._SWITCHES.items() if k not in ("length_rule", "on_short", "nan_policy")}


def RUNS_ON(device):
    atc.Stream(None, 1, device=device).update([1.0])


@pytest.fixture(autouse=True)
def _no_strays(request):
    """Nothing on a simulated device touches memory that is not there."""
    yield
    if "emulator" in request.node.name:
        assert sys.modules["warpquant._emulator"].counts()["strays"] == 0


def whole(prices, params=None, **how):
    """What the stream has to give."""
    return atc.run(prices, {**(params or {}), "nan_policy": "skip"}, outputs="all", **how)


def check(prices, params=None, src=None, **how):
    """Bar by bar, and all at once, against the run."""
    want = whole(prices, params, src=src)
    one = atc.Stream(params, len(prices), outputs="all", src=src is not None, **how)
    many = atc.Stream(params, len(prices), outputs="all", src=src is not None, **how)
    got = many.update_many(prices, src)
    last = one.last()
    for name in want:
        same_bits(got[name], want[name], f"{params}: {name}")
    for i in range(prices.shape[1]):
        bar, follow = prices[:, i], None if src is None else src[:, i]
        here = np.isfinite(bar) if src is None else np.isfinite(bar) & np.isfinite(follow)
        peeked = one.peek(bar, follow)
        now = one.update(bar, follow)
        for name in want:
            same_bits(peeked[name], now[name], f"{name} peeked at bar {i}")
            same_bits(
                now[name], np.where(here, want[name][:, i], last[name]).astype(want[name].dtype), f"bar {i}: {name}"
            )
        last = now
    for name in want:
        same_bits(many.last()[name], last[name], f"last {name}")
    np.testing.assert_array_equal(one.bars, many.bars)


def loud():
    """Prices whose running sums have to be rebuilt between the usual bars, and levels that tie."""
    x = panel(11, 420, share=0.05)
    x[1] *= 1e-5
    x[2, 150:] *= 1e7
    x[3, 100:] *= 1e-7
    x[4, 120:150] = x[4, 119]
    x[5] = 5.0
    x[6] = np.round(x[6])
    x[7, :300] = np.nan
    x[8] = np.nan
    x[9] = -x[9]
    return x


LOUD = loud()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"compat": "pine"},
        {"compat": "pine", "lsma": "previous", "neutral": "flat"},
        {"cutout": 40, "strategy_mode": True, "La": 0.5},
        {**dict(zip(reference.LENGTHS, (10, 16, 33, 12, 50, 8), strict=True)), "robustness": "Wide"},
        {**dict.fromkeys(reference.LENGTHS, 150), "robustness": "Narrow"},
        {**dict.fromkeys(reference.LENGTHS, 3), "robustness": "Narrow", "length_rule": "clamp", "cutout": 5},
    ],
)
def test_every_bar_is_that_of_the_run(device, params):
    symbols = slice(0, 9) if device == "emulator" else slice(None)
    check(LOUD[symbols, : 300 if device == "emulator" else None], params, device=device)


def test_levels_and_threads(simd_levels):
    prices = panel(700, 60)
    with config.override(num_threads=1):
        want = whole(prices)
    for how in executions(simd_levels):
        got = atc.Stream(None, 700, outputs="all").update_many(prices)
        for name in want:
            same_bits(got[name], want[name], f"{how}: {name}")


lengths = st.sampled_from([5, 8, 9, 12, 20, 28, 33])
sets = st.fixed_dictionaries(
    {"compat": st.sampled_from(["sovereign", "pine"]), "length_rule": st.just("clamp")},
    optional={
        **dict.fromkeys(reference.LENGTHS, lengths),
        **{name: st.sampled_from(values) for name, values in SWITCHES.items()},
        **{f"{f}_w": st.sampled_from([-1.0, 0.5, 3.0]) for f in reference.FAMILIES},
        "robustness": st.sampled_from(["Narrow", "Medium", "Wide"]),
        "La": st.sampled_from([0.0, 0.02, -1.0]),
        "De": st.sampled_from([0.0, 0.03, 20.0]),
        "cutout": st.integers(0, 30),
        "strategy_mode": st.booleans(),
        "cross_rtol": st.sampled_from([0.0, 1e-12, 1e-3]),
    },
)


@settings(max_examples=25)
@given(params=sets, symbols=st.integers(1, 10), bars=st.integers(61, 150), seed=st.integers(0, 99), src=st.booleans())
def test_any_parameters(params, symbols, bars, seed, src):
    prices = panel(symbols, bars, seed, share=0.1)
    follow = panel(symbols, bars, seed + 50, share=0.02) if src else None
    here = np.isfinite(prices) if follow is None else np.isfinite(prices) & np.isfinite(follow)
    assume((here.sum(axis=1) > params.get("cutout", 0)).all())  # a run of no more bars than the cutout has no results
    check(prices, params, src=follow)


def test_real_prices(equities):
    names = sorted(equities)[:60]
    bars = 300
    prices = np.full((len(names), bars), np.nan)
    for row, name in zip(prices, names, strict=True):  # one series ends earlier than another
        row[: len(equities[name][:bars])] = equities[name][:bars]
    stream = atc.Stream(symbols=names, outputs="all")
    got = stream.update_many(prices)
    for name, values in whole(prices).items():
        same_bits(got[name], values, name)


def test_the_state_is_small():
    """Two kilobytes a symbol where all lengths are the same."""
    for params in ({}, {"compat": "pine"}, {"strategy_mode": True}):
        assert atc.Stream(params, 1000).nbytes <= 2048 * 1000


# ------------------------------------------------------------------------------------------------ symbols


def test_symbols_by_name():
    pl = pytest.importorskip("polars")
    stream = atc.Stream(symbols=["A", "B", "C"])
    other = atc.Stream(symbols=3)
    assert stream.symbols == ("A", "B", "C")
    assert other.symbols == ("0", "1", "2")
    for i, bar in enumerate(panel(3, 60).T):
        a, b, c = bar
        forms = [{"C": c, "A": a, "B": b}, pd.Series([b, a, c], ["B", "A", "C"]), list(bar), pl.Series(bar)]
        same_bits(stream.update(forms[i % 4])["average"], other.update(bar)["average"])
    stream.update({"B": 100.0})
    np.testing.assert_array_equal(stream.bars, [60, 61, 60])


def test_panels_of_any_kind():
    pl = pytest.importorskip("polars")
    x = panel(2, 80)
    want = whole(x)["average"]
    for form in (x, x.astype(np.float64, order="F"), {"B": x[1], "A": x[0]}, pd.DataFrame(x.T, columns=["A", "B"]),
                 pl.DataFrame({"A": x[0], "B": x[1]})):  # fmt: skip
        same_bits(atc.Stream(symbols=["A", "B"]).update_many(form)["average"], want)
    same_bits(
        atc.Stream(symbols=2).update_many(x.astype(np.float32))["average"], whole(x.astype(np.float32))["average"]
    )


def test_symbols_come_and_go(device):
    x = panel(20, 90, share=0.05)
    stream = atc.Stream(symbols=[f"S{i}" for i in range(9)], device=device, outputs=("average", "direction"))
    stream.update_many(x[:9, :40])
    stream.remove(["S0", "S7", "S4"])
    stream.add([f"S{i}" for i in range(9, 20)], history=x[9:, :40])
    places = [int(s[1:]) for s in stream.symbols]
    assert places == [1, 2, 3, 5, 6, 8, *range(9, 20)]
    got = stream.update_many(x[places, 40:])
    want = whole(x[places])
    for name in got:
        same_bits(got[name], want[name][:, 40:], name)
    stream.remove(stream.symbols)
    assert stream.update([]) == {"average": pytest.approx([]), "direction": pytest.approx([])}
    stream.add(2)
    same_bits(stream.update_many(x[:2])["average"], whole(x[:2])["average"])


def test_masked_prices_are_missing():
    stream = atc.Stream(symbols=2)
    stream.update(np.ma.array([1.0, 2.0], mask=[True, False]))
    stream.update_many({"0": np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False]), "1": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(stream.bars, [2, 4])


def test_numbers_that_are_taken_are_passed_over():
    stream = atc.Stream(symbols=3)
    stream.remove("0")
    stream.add(2)
    assert stream.symbols == ("1", "2", "3", "4")


def test_history_of_different_lengths():
    x = walk(100)
    stream = atc.Stream(symbols=["old"])
    stream.update_many([x])
    stream.add(["a", "b"], {"a": x[:70], "b": x[:30]})
    np.testing.assert_array_equal(stream.bars, [100, 70, 30])
    got = stream.update({"a": x[70], "b": x[30]})["average"]
    same_bits(got, np.array([whole(x[None, :n])["average"][0, -1] for n in (100, 71, 31)]))


def test_what_is_refused():
    stream = atc.Stream(symbols=["A", "B"])
    before = stream.update([1.0, 2.0]), stream._core.save()
    for call, error, message in [
        (lambda: stream.update([1.0]), ShapeError, r"prices: has 1 values, but the stream has 2 symbols"),
        (lambda: stream.update([[1.0], [2.0]]), ShapeError, "prices: has 2 dimensions"),
        (lambda: stream.update({"a": 1.0}), ParameterError, "'a': is not a symbol"),
        (lambda: stream.update([1.0, 2.0**1000]), ParameterError, "prices: 'B' is too large; accepted are"),
        (lambda: stream.update([1.0, 2.0], src=[1.0, 2.0]), ParameterError, "src: is not for this stream"),
        (lambda: stream.update_many(np.ones((3, 4))), ShapeError, r"prices: has shape \(3, 4\); accepted is \(2, bars"),
        (lambda: stream.update_many({"A": [1.0], "B": [1.0, 2.0]}), ShapeError, "different numbers of bars"),
        (lambda: stream.update_many([[1.0, 2.0], [1.0, -(2.0**1001)]]), ParameterError, "'B' is too large at bar 1"),
        (lambda: stream.add(["C", "A"]), ParameterError, "'A' is there already"),
        (lambda: stream.add("C"), ParameterError, "neither a sequence of names nor a number"),
        (lambda: stream.add([3]), ParameterError, "accepted are names of type str"),
        (lambda: stream.remove("D"), ParameterError, "'D': is not a symbol"),
        (lambda: stream.remove(0), ParameterError, "0 is neither a name nor a sequence of names"),
        (lambda: stream.update({"A": "5"}), DTypeError, r"prices\['A'\]: '5' is not a number"),
        (lambda: stream.update({"A": True}), DTypeError, "True is not a number"),
        (lambda: stream.update({"A": 1j}), DTypeError, "1j is not a number"),
        (lambda: stream.update(pd.Series([1.0, 2.0], ["A", "A"])), ParameterError, "name a symbol twice"),
        (lambda: stream.update_many({"A": ["1"], "B": ["2"]}), DTypeError, r"prices\['A'\]: (holds|cannot)"),
        (lambda: stream.update(np.array([True, False])), DTypeError, "prices: holds bool"),
        (lambda: atc.Stream({"nan_policy": "propagate"}), ParameterError, "nan_policy: 'propagate' is unknown"),
        (lambda: atc.Stream(outputs="averag"), ParameterError, "did you mean 'average'"),
        (lambda: atc.Stream(src=1), ParameterError, "src: 1 is not True or False"),
    ]:
        with pytest.raises(error, match=message):
            call()
    for name, values in stream.last().items():
        same_bits(values, before[0][name])
    same_bits(stream._core.save(), before[1])
    strict = atc.Stream(symbols=["A", "B"], nan_policy="raise")
    with pytest.raises(ParameterError, match="prices: 'B' is missing"):
        strict.update({"A": 1.0})
    with pytest.raises(ParameterError, match="history: has missing values"):
        strict.add(["C"], [[1.0, np.nan]])
    assert strict.symbols == ("A", "B")
    np.testing.assert_array_equal(strict.bars, [0, 0])


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("src", [False, True])
def test_a_saved_stream_goes_on(device, tmp_path, src):
    x, y = panel(9, 200, share=0.05), panel(9, 200, seed=50)
    params = {"compat": "pine", "cutout": 10, "strategy_mode": True}
    stream = atc.Stream(params, [f"é{i}" for i in range(9)], outputs="all", src=src, device=device)
    stream.update_many(x[:, :133], y[:, :133] if src else None)
    path = tmp_path / "state"
    stream.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    again = atc.Stream.load(path, device="cpu")
    assert (again.symbols, again.params, again.outputs) == (stream.symbols, stream.params, stream.outputs)
    for name, values in stream.last().items():
        same_bits(again.last()[name], values, name)
    rest = [s.update_many(x[:, 133:], y[:, 133:] if src else None) for s in (stream, again)]
    want = whole(x, params, src=y if src else None)
    for name in want:
        for got in rest:
            same_bits(got[name], want[name][:, 133:], name)


def test_damaged_files(tmp_path):
    stream = atc.Stream(symbols=3)
    stream.update_many(panel(3, 50))
    path = tmp_path / "state"
    stream.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(StateError, match="state"):
            atc.Stream.load(path)
    path.write_bytes(content)
    at = content.index(b"PK\x01\x02") + 8  # says whether an entry is encrypted
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(StateError, match="encrypted"):
        atc.Stream.load(path)
    harmless = 0  # bytes of the archive's own that say nothing, such as dates
    for at in rng.integers(0, len(content), 200):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :])
        try:
            loaded = atc.Stream.load(path)
        except StateError:
            continue
        harmless += 1
        same_bits(loaded._core.save(), stream._core.save())
    assert harmless < 100
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    with pytest.raises(StateError, match=r"other\.npz: is not the state of a stream"):
        atc.Stream.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        atc.Stream.load(tmp_path / "none")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    stream = atc.Stream(symbols=1)
    path = tmp_path / "state"
    stream.save(path)
    content = path.read_bytes()
    stream.update([1.0])
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        stream.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert path.read_bytes() == content


# ------------------------------------------------------------------------------------------------ threads


def test_threads_take_turns():
    """Every call gives the values of one bar, and no bar is lost, also while symbols come and go."""
    stream = atc.Stream(symbols=[f"S{i}" for i in range(300)])
    wrong = []

    def feed():
        for i in range(150):
            bar = dict.fromkeys([f"S{k}" for k in range(300)], 100.0 + i % 7)
            values = stream.update(bar)["average"][:300]
            if len(set(values[~np.isnan(values)].tolist())) > 1:
                wrong.append(values)

    def others():
        for i in range(40):
            stream.add([f"T{i}"], [np.arange(1.0, 50.0)])
            stream.peek({"S0": 1.0})
            stream.last()
            stream.remove(f"T{i}")

    threads = [threading.Thread(target=f) for f in (feed, feed, feed, others)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert (stream.bars == 450).all()


def test_an_interrupt_comes_between_bars():
    stream = atc.Stream(symbols=4000)
    prices = np.tile(panel(40, 600), (100, 1))
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    timer.start()

    def work():
        while time.monotonic() - begin < 60:
            stream.update_many(prices)

    with pytest.raises(KeyboardInterrupt):
        work()
    timer.join()
    (bars,) = set(stream.bars.tolist())
    assert bars > 0
    whole_rounds, rest = divmod(bars, 600)
    again = atc.Stream(symbols=40)
    for part in itertools.chain([prices[:40]] * whole_rounds, [prices[:40, :rest]]):
        again.update_many(part)
    same_bits(stream._core.save()[:40], again._core.save())
    same_bits(stream.last()["average"][:40], again.last()["average"])


def test_the_handler_of_a_signal_cannot_use_it():
    """It would wait for the call that it came into, for good; and what it raises is what the call raises."""
    stream = atc.Stream(symbols=4000)
    prices = np.tile(panel(40, 300), (100, 1))
    begin = time.monotonic()

    def work():
        while time.monotonic() - begin < 60:
            stream.update_many(prices)

    before = signal.signal(signal.SIGALRM, lambda *_: stream.bars)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(StateError, match="in use by a call that a signal's handler came into"):
            work()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(set(stream.bars.tolist())) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on():
    stream = atc.Stream(symbols=3)
    stream.update([1.0, 2.0, 3.0])
    child = os.fork()
    if child == 0:
        os._exit(0 if stream.update([1.0, 2.0, 3.0])["average"].shape == (3,) and stream.bars[0] == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(stream.bars, [1, 1, 1])


def test_missing_bars_need_no_memory():
    """The table of growth factors is as long as the longest symbol, not as what was fed."""
    stream = atc.Stream({"La": 1e-9}, 1)
    stream.update_many(np.full((1, 5000), np.nan))
    stream.update_many(np.ones((1, 3000)))
    same_bits(stream.last()["average"], whole(np.ones((1, 3000)), {"La": 1e-9})["average"][:, -1])
