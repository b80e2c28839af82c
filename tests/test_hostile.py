# SPDX-License-Identifier: Apache-2.0
"""Hostile arrays: every row of the table × every public function gives the right answer or the documented error."""

from __future__ import annotations

import subprocess
import sys

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest

import warpquant
from warpquant import atc, backtest, equity, ma
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError, WarpquantError

PARAMS = atc.Params(ema_len=8, hull_len=8, wma_len=8, dema_len=8, lsma_len=8, kama_len=8)
SIGN = np.sign(np.sin(np.arange(4096.0)))


def _signal(x):
    """A signal of the shape of `x`."""
    shape = np.shape(x)
    return (
        np.broadcast_to(SIGN[: shape[-1]], shape) if shape and shape[-1] <= SIGN.size else np.broadcast_to(1.0, shape)
    )


def _last(result):
    return np.stack([np.asarray(v, dtype=float) for v in result.values()])


def _average(kind, length):
    function = getattr(ma, kind)
    return lambda x: function(x, length)


#: Name, call of one array, what messages call that array.
FUNCTIONS = {
    **{kind: (_average(kind, 3), "x") for kind in ma.kinds()},
    **{f"{kind} of several lengths": (_average(kind, [2, 5]), "x") for kind in ma.kinds()},
    "curve of prices": (lambda x: equity.curve(prices=x, signal=_signal(x)), "prices"),
    "curve of returns": (lambda x: equity.curve(x, _signal(x), neutral="sticky", cutout=1), "returns"),
    "curve, signal": (lambda x: equity.curve(prices=np.broadcast_to(2.0, np.shape(x)), signal=x), "signal"),
    "curve of a backtest": (lambda x: backtest.run(x, _signal(x)).equity, "prices"),
    "curve of a backtest, signal": (lambda x: backtest.run(np.broadcast_to(2.0, np.shape(x)), x).equity, "signal"),
    "atc": (lambda x: atc.run(x, PARAMS)["average"], "prices"),
    "atc, pine": (lambda x: atc.run(x, {"compat": "pine"})["average"], "prices"),
    "atc, all": (lambda x: _last(atc.run(x, PARAMS, outputs="all", detail=False)), "prices"),
    "atc, last": (lambda x: _last(atc.run(x, PARAMS, outputs="all", last_only=True)), "prices"),
    "atc, src": (lambda x: atc.run(np.broadcast_to(2.0, np.shape(x)), PARAMS, src=x)["average"], "src"),
    "port": (lambda x: _last(warpquant.compute_atc_signals(x, ema_len=9)), "prices"),
}
EVERY = pytest.mark.parametrize("name", FUNCTIONS)
X = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, (3, 90)), axis=1))


def identical(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


# ---------------------------------------------------------------------------------------------- right answers


def _misaligned(x):
    memory = np.zeros(x.nbytes + 1, dtype=np.uint8)
    odd = memory[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    return odd


def _readonly(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "negative strides": lambda x: x[..., ::-1].copy()[..., ::-1],
    "negative strides of series": lambda x: x[::-1].copy()[::-1],
    "every third": lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
    "column-major": np.asfortranarray,
    "misaligned": _misaligned,
    "read-only": _readonly,
    "field of a record": lambda x: np.rec.fromarrays([x, x], names="a,b")["a"],
    "packed field": lambda x: np.array(list(zip([0] * x.size, x.ravel(), strict=True)), "i1,f8")["f1"].reshape(x.shape),
    "window": lambda x: np.pad(x, 5)[5:-5, 5:-5] if x.ndim == 2 else np.pad(x, 5)[5:-5],
}


@EVERY
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name, layout):
    call, _ = FUNCTIONS[name]
    for x in (X[0], X):
        given = LAYOUTS[layout](x)
        before = given.copy()
        identical(call(given), call(x))
        identical(given, before)


@EVERY
def test_zero_strides(name):
    call, _ = FUNCTIONS[name]
    for given in (np.broadcast_to(7.5, (90,)), np.broadcast_to(X[0], (3, 90)), np.broadcast_to(X[0][:, None], (90, 4))):
        identical(call(given), call(given.copy()))


@EVERY
def test_overlapping_windows(name):
    call, _ = FUNCTIONS[name]
    given = np.lib.stride_tricks.sliding_window_view(X[0], 50)[::7]
    identical(call(given), call(given.copy()))


@EVERY
def test_one_bar_and_too_few(name):
    call, _ = FUNCTIONS[name]
    for bars in (1, 2, 3, 7):
        for x in (X[0, :bars], X[:, :bars]):
            result = call(x)
            assert result.dtype == np.float64
            if "several" not in name and "port" not in name and "all" not in name and "last" not in name:
                assert result.shape == x.shape
            if name in ma.kinds() and bars < 3:
                assert np.isnan(result).all()


@EVERY
@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (0, 0)])
def test_nothing(name, shape):
    call, argument = FUNCTIONS[name]
    if argument in ("prices", "src") and "curve" not in name:
        with pytest.raises(ShapeError, match="prices: are empty"):
            call(np.empty(shape))
    else:
        assert call(np.empty(shape)).shape[-len(shape) :] == shape


SPECIAL = {
    "NaN": [np.nan],
    "inf": [np.inf],
    "-inf": [-np.inf],
    "zero": [0.0],
    "-zero": [-0.0],
    "denormal": [5e-324],
    "largest": [1.7976931348623157e308],
    "smallest": [2.2250738585072014e-308],
    "mixture": [np.nan, 1, np.inf, 0, -0.0, 5e-324, -1.7e308, 1.7e308, -np.inf, 3],
}


@EVERY
@pytest.mark.parametrize("special", SPECIAL)
def test_special_values(name, special):
    """Whatever the values, a panel gives what its series give, and the levels and threads agree."""
    call, argument = FUNCTIONS[name]
    pattern = np.resize(SPECIAL[special], 40)
    rows = [np.r_[X[0, :40], pattern], np.r_[pattern, X[0, :40]], np.resize(np.r_[X[0, :9], SPECIAL[special]], 80)]
    rows += [np.resize(SPECIAL[special], 80)]
    if special in ("largest", "mixture") and argument != "x" and "curve" not in name:
        with pytest.raises(ParameterError, match=rf"^{argument}: series 0 is too large .*2\*\*1000"):
            call(np.stack(rows))
        return
    result = call(np.stack(rows))
    for i, row in enumerate(rows):
        alone = call(row[None])
        identical(np.take(result, [i], axis=-1 if "last" in name else -2), alone)
    for simd in ("baseline", "avx2", "avx512"):
        with warpquant.config.override(simd=simd, num_threads=1):
            identical(call(np.stack(rows)), result)


# ---------------------------------------------------------------------------------------------- documented errors


@EVERY
@pytest.mark.parametrize(
    "dtype", ["?", "c8", "c16", "M8[ns]", "m8[s]", "O", "U3", "S3", "V4", "f2", "g", "G", ">f8", ">i4", "f8,f8"]
)
def test_types(name, dtype):
    call, argument = FUNCTIONS[name]
    for shape in ((9,), (2, 9)):
        with pytest.raises(DTypeError, match=rf"^{argument}: .*accepted|^{argument}: .*big-endian"):
            call(np.zeros(shape, dtype=dtype))


@EVERY
def test_dimensions(name):
    call, argument = FUNCTIONS[name]
    # Backtests take any number of axes.
    for shape in ((),) if "backtest" in name else ((), (1, 1, 1), (2, 3, 4), (1,) * 32):
        with pytest.raises(ShapeError, match=rf"^({argument}|prices|signal): has shape"):
            call(np.ones(shape))


@EVERY
@pytest.mark.parametrize("x", [None, 1.5, "text", b"bytes!!!", bytearray(8), object(), ..., {1.0, 2.0}, (x for x in X)])
def test_no_arrays(name, x):
    call, argument = FUNCTIONS[name]
    with pytest.raises(WarpquantError, match=rf"^({argument}|returns|prices|signal): "):
        call(x)


@EVERY
@pytest.mark.parametrize("x", [[1.0, None], [1.0, "a"], ["a"], [[1.0, 2.0], [3.0, 1j]], [2**70, 1.0, {}], [b"a"]])
def test_lists_of_other_things(name, x):
    call, argument = FUNCTIONS[name]
    with pytest.raises(DTypeError, match=rf"^{argument}: "):
        call(x)


@EVERY
def test_ragged_lists(name):
    call, argument = FUNCTIONS[name]
    if "curve" in name or "src" in name:
        with pytest.raises(ValueError, match="inhomogeneous"):  # from the helper of this test
            call([[1.0, 2.0], [3.0]])
    else:
        with pytest.raises(ShapeError, match=rf"^{argument}: "):
            call([[1.0, 2.0], [3.0]])


HUGE = [
    (2**58,), (2**31, 2**28), (2**28, 2**31), (2**46, 3), (3, 2**46),
]  # fmt: skip


@EVERY
@pytest.mark.parametrize("shape", HUGE, ids=str)
def test_shapes_larger_than_memory(name, shape):
    """Zero strides make a shape of any size; a result of that size is refused before anything is computed."""
    if name == "atc, last":
        pytest.skip("needs memory for one value per series only, and a long time")
    if shape[0] > 2**20 and len(shape) == 2 and ("curve" in name or "src" in name):
        pytest.skip("in test_survives, with a limit on the time")
    call, _ = FUNCTIONS[name]
    with pytest.raises((MemoryError, ShapeError)):
        call(np.broadcast_to(1.0, shape))


@pytest.mark.parametrize("dtype", ["i1", "f8"])
def test_shapes_whose_bytes_overflow(dtype):
    for shape in ((2**61,), (2**30, 2**31)):
        if np.dtype(dtype).itemsize == 8 and np.prod(shape, dtype=object) * 8 >= 2**63:
            continue  # NumPy makes none
        with pytest.raises(ShapeError, match=r"x|the result"):
            ma.sma(np.broadcast_to(np.ones((), dtype), shape), 3)


@EVERY
def test_no_result_over_the_input(name):
    """`out` may not share memory with any input; see also test_containers."""
    call, _ = FUNCTIONS[name]
    x = X.copy()
    call(x)
    identical(x, X)


# ---------------------------------------------------------------------------------------------- parameters

BAD_LENGTHS = [0, -1, 1.5, "3", None, True, [], [0], [3, -1], [[3]], 2**31, 2**70, float("nan"), np.array([1.5])]


@pytest.mark.parametrize("kind", ma.kinds())
@pytest.mark.parametrize("length", BAD_LENGTHS, ids=repr)
def test_lengths(kind, length):
    with pytest.raises(ParameterError, match=r"^length: "):
        getattr(ma, kind)(X, length)


@pytest.mark.parametrize("kind", ma.kinds())
def test_a_length_beyond_the_series(kind):
    for length in (91, 2**31 - 1):
        assert np.isnan(getattr(ma, kind)(X, length)).all()
        assert np.isnan(getattr(ma, kind)(X[0], length)).all()


@pytest.mark.parametrize("axis", [2, -3, 2**70, -(2**70), 1.0, "time", True, np.array([0])], ids=repr)
def test_axis(axis):
    for call in (
        lambda: ma.sma(X, 3, axis=axis),
        lambda: equity.curve(prices=X, signal=X, axis=axis),
        lambda: backtest.run(X, X, axis=axis),
        lambda: atc.run(X, axis=axis),
    ):
        with pytest.raises(ParameterError, match=r"^axis: "):
            call()


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**70, 1.5, "2", True, np.array([1, 2])], ids=repr)
def test_thread_counts(threads):
    for call in (
        lambda: ma.sma(X, 3, num_threads=threads),
        lambda: equity.curve(prices=X, signal=X, num_threads=threads),
        lambda: backtest.metrics(X, X, num_threads=threads),
        lambda: atc.run(X, num_threads=threads),
    ):
        with pytest.raises(ParameterError, match=r"^num_threads: "):
            call()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nan", "skip"), ("nan", None), ("seed", "mean"), ("fast", 0), ("fast", float("inf")), ("slow", float("nan")),
        ("slow", "30"), ("fast", True), ("warmup", "zero"), ("device", "tpu"), ("device", 0),
    ],
)  # fmt: skip
def test_options(name, value):
    function = ma.ema if name == "seed" else ma.kama
    with pytest.raises(ParameterError, match=rf"^{name}: "):
        function(X, 3, **{name: value})


@pytest.mark.parametrize("name", ["starting", "decay_per_bar", "growth_per_bar", "floor", "cutout", "neutral"])
def test_options_of_curve(name):
    for value in (float("nan"), float("inf"), "1", None, 2**70 if name == "cutout" else "x", [1.0]):
        with pytest.raises(ParameterError, match=rf"^{name}: "):
            equity.curve(prices=X, signal=X, **{name: value})
    with pytest.raises(ParameterError, match=r"^returns: "):
        equity.curve(X, X, prices=X)
    with pytest.raises(ParameterError, match=r"^signal: "):
        equity.curve(X)


def test_options_of_atc():
    for values in (dict(cutout=90), dict(cutout=2**70), dict(cutout=-1), dict(ema_len=6), dict(ema_len=2**70)):
        (name,) = values
        with pytest.raises(ParameterError, match=rf"^{name}: "):
            atc.run(X, values)
    with pytest.raises(ParameterError, match=r"^outputs: 'avrage'.*'average'"):
        atc.run(X, outputs="avrage")
    with pytest.raises(ShapeError, match="on_short"):
        atc.run(X[:, :9], dict(on_short="raise"))
    with pytest.raises(ShapeError, match="on_short"):
        atc.run({"a": X[0], "b": X[0, :9]}, dict(on_short="raise"))
    with pytest.raises(ParameterError, match="params"):
        atc.run(X, 3)


def test_shapes_of_a_pair():
    for other in (X[0], X[:2], X[:, :-1], X.T, X[None]):
        with pytest.raises(ShapeError, match="signal"):
            equity.curve(prices=X, signal=other)
        with pytest.raises(ShapeError, match="src"):
            atc.run(X, src=other)


@pytest.mark.parametrize(
    "x", ["abc", None, [1, 2, 3], [[1.0, 2.0]], 1j, [1.0, "a"], [[1.0], [2.0, 3.0]], b"12"], ids=repr
)
def test_bars_of_a_stream(x):
    with pytest.raises((ShapeError, DTypeError), match=r"^x: "):
        ma.Stream("sma", 2, n_series=2).update(x)
    if x != [1, 2, 3]:
        with pytest.raises((ShapeError, DTypeError), match=r"^x: "):
            ma.Stream("sma", 2).update(x)


@pytest.mark.parametrize("n_series", [0, -1, 1.5, True, None, 2**70, 2**50], ids=repr)
def test_sizes_of_a_stream(n_series):
    with pytest.raises(ParameterError, match=r"^n_series: "):
        ma.Stream("ema", 5, n_series=n_series)


def test_length_of_a_stream():
    for length in (0, 2**31, 2**70):
        with pytest.raises(ParameterError, match=r"^length: "):
            ma.Stream("sma", length)


def test_states_of_a_stream():
    stream = ma.Stream("wma", 3)
    stream.update(1.0)
    state = stream.state_dict()
    for change in (
        dict(words=np.zeros((1, 1), np.uint64)),
        dict(words=state["words"].astype(np.int64)),
        dict(words=state["words"][0]),
        dict(words=None),
        dict(length=4),
        dict(kind="sma"),
        dict(version=2),
    ):
        with pytest.raises((ParameterError, ShapeError), match=r"^state: "):
            stream.load_state_dict({**state, **change})
    for key in state:
        with pytest.raises((ParameterError, ShapeError), match=r"^state: "):
            stream.load_state_dict({k: v for k, v in state.items() if k != key})
    damaged = np.full_like(state["words"], 2**64 - 1)
    fresh = ma.Stream("wma", 3)
    try:
        fresh.load_state_dict({**state, "words": damaged})
    except WarpquantError:
        return
    for _ in range(10):  # values may be anything, but nothing is read out of bounds
        fresh.update(1.0)


# ---------------------------------------------------------------------------------------------- crashes, apart


@pytest.mark.parametrize(
    "code",
    [
        "import ctypes; assert str(ma.sma((ctypes.c_double * 4)(1, 2, 3, 4), 2)) == '[nan 1.5 2.5 3.5]'",
        "import ctypes; assert ma.sma(((ctypes.c_float * 4) * 2)(), 2).shape == (2, 4)",
        "m = memoryview(np.arange(8.0)).cast('B').cast('d', [2, 4]); assert ma.sma(m, 2).shape == (2, 4)",
        "m = memoryview(b''); r = ma.sma(m.cast('d'), 2); assert r.shape == (0,)",
        "assert ma.sma(np.empty((0, 2**40)), 3).shape == (0, 2**40)",
        "assert ma.sma(np.empty((2**40, 0)), 3).shape == (2**40, 0)",
        "assert ma.sma(np.empty((2**40, 0)), 3, axis=0).shape == (2**40, 0)",
        "class S(list):\n def __len__(self): return 2**62\nma.sma(S([1.0]), 2)",
        "class S(list):\n def __getitem__(self, i): raise OSError\nr = ma.sma(S([1.0]), 2)",
        "class A:\n def __array__(self, dtype=None, copy=None): return self\nrefuse(A())",
        "class A:\n def __array__(self, dtype=None, copy=None): return None\nrefuse(A())",
        "class A:\n def __array__(self, dtype=None, copy=None): raise KeyError('k')\nrefuse(A(), KeyError)",
        "class A:\n __array_interface__ = dict(shape=(4,), typestr='<f8', version=3, data=(0, True))\nrefuse(A())",
        "a = [1.0]; a.append(a); refuse(a)",
        "x = np.broadcast_to(1.0, (2**46, 3)); refuse(x, call=lambda x: equity.curve(prices=x, signal=x))",
        "x = np.broadcast_to(1.0, (2**46, 3)); refuse(x, call=lambda x: atc.run(x, src=x))",
        "class D(dict):\n def __getitem__(self, k): raise RuntimeError('lost')\nrefuse(D(a=1), RuntimeError)",
    ],
)
def test_survives(code):
    """In a process of its own, so that a crash is a failure of one test."""
    prelude = """
import resource
import numpy as np
from warpquant import atc, equity, errors, ma
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
def refuse(x, error=(errors.WarpquantError, MemoryError), call=lambda x: ma.sma(x, 2)):
    try:
        call(x)
    except error:
        return
    raise AssertionError("not refused")
"""
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr[-2000:]


# ---------------------------------------------------------------------------------------------- fuzz


TYPES = ["f8", "f4", "i8", "i4", "i2", "i1", "u8", "u1", ">f8", ">f4", "c16", "?", "f2"]


@st.composite
def views(draw, types=TYPES):
    """A view of any shape, strides, offset, type and flags that stays inside its memory."""
    dtype = np.dtype(draw(st.sampled_from(types)))
    memory = np.zeros(4096, dtype=np.uint8)
    seed = draw(st.integers(0, 2**32 - 1))
    raw = np.random.default_rng(seed).integers(0, 100, 4096 // dtype.itemsize).astype(dtype)
    memory[: raw.nbytes] = raw.view(np.uint8)
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12))
    strides = []
    for n in shape:
        room = 4096 // max(len(shape), 1) // max(n, 1) - dtype.itemsize
        strides.append(draw(st.integers(-max(room, 0), max(room, 0))))
    low = -sum(min(s * (n - 1), 0) for s, n in zip(strides, shape, strict=True) if n)
    high = sum(max(s * (n - 1), 0) for s, n in zip(strides, shape, strict=True) if n)
    hypothesis.assume(low + high + dtype.itemsize <= 4096)
    offset = draw(st.integers(low, 4096 - high - dtype.itemsize))
    view = np.ndarray(shape, dtype, memory, offset, tuple(strides))
    view.flags.writeable = draw(st.booleans())
    return view


def _refusal(x, argument):
    if x.dtype.kind in "c?b" and x.dtype.kind != "i":
        return DTypeError
    if x.dtype.kind == "f" and x.dtype.itemsize == 2:
        return DTypeError
    if not x.dtype.isnative:
        return DTypeError
    if x.ndim not in (1, 2):
        return ShapeError
    if argument == "prices" and x.size == 0:
        return ShapeError
    return None


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(x=views(), name=st.sampled_from(["sma", "kama", "hma of several lengths", "curve of prices", "atc"]))
def test_fuzz(x, name):
    call, argument = FUNCTIONS[name]
    refused = _refusal(x, argument if name == "atc" else "")
    if refused is not None:
        with pytest.raises(WarpquantError, match=rf"^({argument}|signal): ") as info:
            call(x)
        assert isinstance(info.value, (refused, ShapeError, DTypeError))
        return
    plain = np.ascontiguousarray(x, dtype=np.float32 if x.dtype == np.float32 else np.float64)
    before = x.tobytes()
    identical(call(x), call(plain))
    assert x.tobytes() == before


def _places_shared(x):
    """Whether two elements have a byte in common."""
    starts = sum(
        np.arange(n).reshape([-1 if d == i else 1 for d in range(x.ndim)]) * s
        for i, (n, s) in enumerate(zip(x.shape, x.strides, strict=True))
    )
    starts = np.sort(np.ravel(starts))
    return bool((np.diff(starts) < x.itemsize).any())


def _nested(x):
    """Whether each axis steps over all of the axes with smaller steps."""
    reach = x.itemsize
    for step, n in sorted((abs(s), n) for n, s in zip(x.shape, x.strides, strict=True) if n > 1):
        if step < reach:
            return False
        reach += step * (n - 1)
    return True


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(out=views(["f8", "f8", "f8", "f4", "i8"]))
def test_fuzz_of_out(out):
    """A result lands in `out` as it would in new memory, or `out` is refused and stays as it was."""
    hypothesis.assume(out.size and out.ndim in (1, 2))
    x = np.arange(out.size, dtype=np.float64).reshape(out.shape) % 17
    before = out.tobytes()
    refused = out.dtype != np.float64 or not out.flags.writeable or _places_shared(out)
    try:
        result = ma.wma(x, 2, out=out)
    except (DTypeError, LayoutError) as error:
        assert refused or not _nested(out)  # interleaved axes may be refused though all places differ
        assert out.tobytes() == before
        assert str(error).startswith("out: ")  # noqa: PT017
    else:
        assert not refused
        assert result is out
        identical(np.ascontiguousarray(out), ma.wma(x, 2))


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    x=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 60)),
        elements=st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True),
    ),
    kind=st.sampled_from(ma.kinds()),
    length=st.integers(1, 70),
    nan=st.sampled_from(["window", "propagate"]),
)
def test_fuzz_of_values(x, kind, length, nan):
    """No value makes a panel differ from its series."""
    function = getattr(ma, kind)
    result = function(x, length, nan=nan)
    for row, expected in zip(x, result, strict=True):
        identical(function(row[None], length, nan=nan)[0], expected)
    identical(function(np.asfortranarray(x), length, nan=nan), result)
