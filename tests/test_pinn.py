# SPDX-License-Identifier: Apache-2.0
"""Networks of prices: values, derivatives, files, other libraries (warpquant.pinn)."""

from __future__ import annotations

import itertools
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warpquant import config, options
from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError
from warpquant.pinn import Feature, PinnModel, residual_loss_grad

#: Activations and their derivatives at a point, in the digits of mpmath.
ACTIVATIONS = {
    "tanh": lambda mp, z: mp.tanh(z),
    "sin": lambda mp, z: mp.sin(z),
    "silu": lambda mp, z: z / (1 + mp.exp(-z)),
    "softplus": lambda mp, z: mp.log1p(mp.exp(z)),
    "gelu": lambda mp, z: z * mp.ncdf(z),
}
#: float64: rounding of a few hundred terms. float32: the same at its precision (docs/pinn/index.md, "Precision").
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
SHAPES = [(4, 64, 64, 64, 64, 1), (2, 20, 20, 20, 1), (3, 7, 1), (5, 1), (1, 1, 1), (4, 130, 33, 1)]
NAMES = ("price", "delta", "gamma", "theta", "vega", "rho", "vanna", "charm", "volga", "speed")


def numpy_activation(name, z):
    scipy_special = pytest.importorskip("scipy.special")
    return {
        "tanh": np.tanh,
        "sin": np.sin,
        "silu": lambda x: x * scipy_special.expit(x),
        "softplus": lambda x: np.logaddexp(0.0, x),
        "gelu": lambda x: x * scipy_special.ndtr(x),
    }[name](z)


def layers_of(widths, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(o, i)) / np.sqrt(i), 0.3 * rng.normal(size=o)) for i, o in itertools.pairwise(widths)
    ]  # fmt: skip


def forward(layers, x, activation):
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if k + 1 < len(layers):
            x = numpy_activation(activation, x)
    return x[:, 0]


@pytest.fixture(scope="module")
def european():
    return PinnModel.load("european")


@pytest.fixture(scope="module")
def contracts():
    rng = np.random.default_rng(7)
    n = 400
    return {
        "S": rng.uniform(60, 180, n), "K": rng.uniform(80, 120, n), "tau": rng.uniform(0.05, 1.0, n),
        "sigma": rng.uniform(0.1, 0.45, n), "r": rng.uniform(0.0, 0.06, n), "q": rng.uniform(0.0, 0.04, n),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values(activation, dtype):
    for widths in SHAPES:
        layers = layers_of(widths)
        model = PinnModel.from_layers(layers, activation=activation, dtype=dtype)
        for n in (0, 1, 3, 8, 9, 33, 257):
            x = np.random.default_rng(n).normal(size=(n, widths[0]))
            y = model.evaluate(x)
            np.testing.assert_allclose(y, forward(layers, x, activation), rtol=0, atol=TOLERANCE[dtype])
            # One by one, with neurons in the lanes, the bits are the same; so they are for any number of threads.
            assert all(model.evaluate(x[i : i + 1])[0] == y[i] for i in range(min(n, 9)))
            assert np.array_equal(model.evaluate(x, num_threads=2), y)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_activations(activation):
    """Of one neuron with the weight 1 every derivative is that of the activation."""
    mpmath = pytest.importorskip("mpmath")
    model = PinnModel.from_layers([(np.ones((1, 1)), np.zeros(1))] * 2, activation=activation)
    z = np.concatenate([np.linspace(-9, 9, 37), [1e-8, -1e-8, 30.0, -30.0]])
    found = model.jets(z[:, None], order=3)
    streams = (found["value"], found["gradient"][:, 0], found["hessian"][:, 0, 0], found["third"][:, 0])
    with mpmath.workdps(40):
        for order, stream in enumerate(streams):
            exact = [float(mpmath.diff(lambda x: ACTIVATIONS[activation](mpmath, x), mpmath.mpf(v), order)) for v in z]
            np.testing.assert_allclose(stream, exact, rtol=1e-13, atol=5e-15)


def test_tanh_is_right_to_two_units_in_the_last_place():
    mpmath = pytest.importorskip("mpmath")
    model = PinnModel.from_layers([(np.ones((1, 1)), np.zeros(1))] * 2)
    x = np.concatenate([np.geomspace(1e-12, 25, 1500), [0.1732, 0.3466, 19.0, 20.0, 300.0]])
    y = model.evaluate(x[:, None])
    with mpmath.workdps(40):
        exact = np.array([float(mpmath.tanh(mpmath.mpf(v))) for v in x])
    assert np.max(np.abs(y - exact) / np.spacing(exact)) <= 2
    assert np.array_equal(model.evaluate(-x[:, None]), -y)
    assert np.isnan(model.evaluate([[np.nan]])[0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jets(activation):
    """Against central differences of the layer before, which are exact to about h^4."""
    widths = (3, 12, 9, 1)
    model = PinnModel.from_layers(layers_of(widths), activation=activation)
    rng = np.random.default_rng(1)
    x, along = rng.normal(size=(40, 3)), rng.normal(size=(2, 3)) / 2
    jets = model.jets(x, along, order=3)
    h = 1e-2

    def difference(f, m):
        return (8 * (f(x + h * along[m]) - f(x - h * along[m])) - f(x + 2 * h * along[m]) + f(x - 2 * h * along[m])) / (
            12 * h
        )

    for m in range(2):
        np.testing.assert_allclose(jets["gradient"][:, m], difference(model.evaluate, m), atol=1e-6)
        for p in range(2):
            slope = difference(lambda at, p=p: model.jets(at, along, order=1)["gradient"][:, p], m)
            np.testing.assert_allclose(jets["hessian"][:, m, p], slope, atol=1e-5)
        bend = difference(lambda at, m=m: model.jets(at, along)["hessian"][:, m, m], m)
        np.testing.assert_allclose(jets["third"][:, m], bend, atol=1e-4)
    assert np.array_equal(jets["hessian"], jets["hessian"].transpose(0, 2, 1))
    # Streams of lower order are the same, and so are fewer points.
    assert np.array_equal(model.jets(x, along, order=0)["value"], jets["value"])
    assert np.array_equal(model.jets(x[:5], along, order=3)["third"], jets["third"][:5])


def test_jets_refuse(european):
    with pytest.raises(ParameterError, match="order: 4"):
        european.jets(np.zeros((2, 4)), order=4)
    with pytest.raises(ShapeError, match=r"X: has shape \(2, 3\)"):
        european.jets(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="directions"):
        european.jets(np.zeros((2, 4)), np.zeros(4))
    with pytest.raises(DTypeError, match="X"):
        european.evaluate([["a", "b", "c", "d"]])


# ---------------------------------------------------------------------------------------------- prices and Greeks


def exact_greeks(c, is_call):
    return options.greeks(c["S"], c["K"], c["tau"], c["r"], c["q"], c["sigma"], is_call, outputs=NAMES)


#: What the shipped model is trained to, per unit of the strike and of what a Greek divides by; see its norms.
ERRORS = {
    "price": 5e-7, "delta": 1e-5, "gamma": 1e-4, "theta": 1e-5, "vega": 1e-5, "rho": 1e-5, "vanna": 1e-3,
    "charm": 1e-3, "volga": 1e-3, "speed": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("is_call", [True, False])
def test_shipped_model_against_the_closed_form(european, contracts, is_call):
    found = european.greeks(**contracts, is_call=is_call, which="all")
    exact = exact_greeks(contracts, is_call)
    assert (found["status"] == 0).all()
    for name in NAMES:
        error = np.max(np.abs(found[name] - exact[name])) / 100.0
        assert error <= ERRORS[name], (name, error)


@pytest.mark.parametrize("ansatz", ["normal", "none"])
def test_greeks_are_the_derivatives_of_prices(ansatz, contracts):
    """Of any network, trained or not: central differences of prices in the six arguments."""
    features = [Feature("k"), Feature("v"), Feature("sqrt_v", 0.2, 1.5), Feature("tanh_half_d", 0.1, 0.8)]
    model = PinnModel.from_layers(
        layers_of((4, 9, 9, 1)), features=features, ansatz=ansatz, domain={"k": (-3, 3), "v": (0, 1)}
    )
    c = {name: x[:50] for name, x in contracts.items()}
    found = model.greeks(**c, which="all")

    def moved(name, h, which=None):
        there = {**c, name: c[name] + h}
        return model.price(**there) if which is None else model.greeks(**there, which=which)[which]

    def difference(name, h, which=None):
        nearer = moved(name, h, which) - moved(name, -h, which)
        return (8 * nearer - moved(name, 2 * h, which) + moved(name, -2 * h, which)) / (12 * h)

    for name, variable, h, of, sign in (
        ("delta", "S", 0.02, None, 1), ("vega", "sigma", 1e-4, None, 1), ("rho", "r", 1e-4, None, 1),
        ("theta", "tau", 1e-4, None, -1), ("gamma", "S", 0.02, "delta", 1), ("vanna", "sigma", 1e-4, "delta", 1),
        ("charm", "tau", 1e-4, "delta", -1), ("volga", "sigma", 1e-4, "vega", 1), ("speed", "S", 0.02, "gamma", 1),
    ):  # fmt: skip
        expected = sign * difference(variable, h, of)
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6 * scale, err_msg=name)


def test_one_contract_is_the_batch(european, contracts):
    batch, prices = european.greeks(**contracts), european.price(**contracts)
    for i in range(20):
        one = {name: float(x[i]) for name, x in contracts.items()}
        assert european.price(**one) == prices[i]
        assert european.greeks(**one) == {name: x[i] for name, x in batch.items()}
    assert np.array_equal(prices, batch["price"])
    assert np.array_equal(european.price(**contracts, num_threads=2), prices)


@pytest.mark.parametrize("simd", ["baseline", "avx2"])
def test_levels(contracts, simd):
    with config.override(simd=simd):
        there = PinnModel.load("european")
        lower = there.greeks(**contracts, which="all")
        one = there.price(100.0, 105.0, 0.5, 0.25, 0.03)
        assert one == there.price(np.array([100.0]), 105.0, 0.5, 0.25, 0.03)[0]
    best = PinnModel.load("european").greeks(**contracts, which="all")
    for name in NAMES:
        np.testing.assert_allclose(lower[name], best[name], rtol=0, atol=1e-9 * np.max(np.abs(best[name])))


def test_float32(european, contracts):
    narrow = PinnModel.load("european", dtype="float32")
    np.testing.assert_allclose(narrow.price(**contracts), european.price(**contracts), rtol=0, atol=2e-6 * 100)
    one = {name: float(x[0]) for name, x in contracts.items()}
    assert narrow.price(**one) == narrow.price(**contracts)[0]


def test_broadcasting_and_kinds(european):
    pandas = pytest.importorskip("pandas")
    spots = np.linspace(80, 120, 6)
    table = european.price(spots[:, None], np.array([90.0, 100.0, 110.0]), 0.5, 0.2, 0.02)
    assert table.shape == (6, 3)
    assert table[2, 1] == european.price(float(spots[2]), 100.0, 0.5, 0.2, 0.02)
    series = pandas.Series(spots, index=list("abcdef"))
    assert list(european.price(series, 100.0, 0.5, 0.2, 0.02).index) == list("abcdef")
    assert european.price(spots.astype(np.float32), np.float32(100), 0.5, 0.2, 0.02).dtype == np.float32
    assert european.price(spots[::2], 100, 1, 0.2, 0).shape == (3,)
    assert european.price(np.empty(0), 100.0, 0.5, 0.2, 0.02).shape == (0,)
    puts = european.price(spots, 100.0, 0.5, 0.2, 0.02, is_call=["c", "p"] * 3)
    assert puts[1] == european.price(float(spots[1]), 100.0, 0.5, 0.2, 0.02, is_call=False)
    target = np.empty(6)
    assert european.price(spots, 100.0, 0.5, 0.2, 0.02, out=target) is target
    assert target[3] == table[3, 1]
    names = {"price": np.empty(6), "gamma": np.empty(6)}
    made = european.greeks(spots, 100.0, 0.5, 0.2, 0.02, which=("price", "gamma"), out=names)
    assert made["gamma"] is names["gamma"]


def test_domain(european):
    spots = np.array([1.0, 100.0, 1e6, np.nan, -5.0])
    found = european.greeks(spots, 100.0, 0.5, 0.2, 0.02, which=("price", "delta", "status"))
    assert found["status"].tolist() == [1, 0, 1, 2, 2]
    assert np.isnan(found["price"]).tolist() == [True, False, True, True, True]
    assert np.isnan(european.price(1.0, 100.0, 0.5, 0.2, 0.02))
    assert np.isnan(european.price(100.0, 100.0, 0.5, 0.2, np.inf))
    strict = PinnModel.load("european", on_out_of_domain="raise")
    with pytest.raises(ParameterError, match="2 of 5 rows are outside the domain"):
        strict.price(spots, 100.0, 0.5, 0.2, 0.02)
    with pytest.raises(ParameterError, match="1 of 1 rows"):
        strict.price(1.0, 100.0, 0.5, 0.2, 0.02)
    assert strict.price(100.0, 100.0, 0.5, 0.2, 0.02) == found["price"][1]
    loose = PinnModel.load("european", on_out_of_domain="extrapolate")
    assert np.isfinite(loose.price(spots[:3], 100.0, 0.5, 0.2, 0.02)).all()
    assert np.isnan(loose.price(spots[3:], 100.0, 0.5, 0.2, 0.02)).all()


def test_expired_options_are_worth_their_payoff(european):
    spots = np.array([60.0, 99.0, 100.0, 101.0, 150.0])
    prices = european.price(spots, 100.0, 0.0, 0.2, 0.05)
    np.testing.assert_allclose(prices, np.maximum(spots - 100.0, 0.0), rtol=0, atol=1e-11)


def test_diagnose(european):
    found = european.diagnose()
    assert found["max_error"] <= 5e-7
    assert found["relative_l2"] <= 2e-7
    assert found["gamma_error"] <= 2e-3
    assert found["parity"] <= 1e-15
    assert european.info()["norms"]["max_error"] == pytest.approx(found["max_error"], rel=1e-3)
    plain = PinnModel.from_layers(layers_of((2, 3, 1)))
    with pytest.raises(ParameterError, match="without features"):
        plain.diagnose()
    with pytest.raises(ParameterError, match="without features"):
        plain.price(1.0, 1.0, 1.0, 1.0, 1.0)


def test_what_is_refused(european):
    with pytest.raises(ParameterError, match="which: 'lambda' is unknown"):
        european.greeks(100.0, 100.0, 0.5, 0.2, 0.0, which="lambda")
    with pytest.raises(ShapeError, match="number 1 takes 3 inputs"):
        PinnModel.from_layers([(np.ones((2, 2)), np.ones(2)), (np.ones((1, 3)), np.ones(1))])
    with pytest.raises(ShapeError, match="the last has 2 outputs"):
        PinnModel.from_layers([(np.ones((2, 2)), np.ones(2))])
    with pytest.raises(ParameterError, match="not finite"):
        PinnModel.from_layers([(np.full((1, 2), np.nan), np.ones(1))])
    with pytest.raises(ParameterError, match="activation: 'relu'"):
        PinnModel.from_layers(layers_of((2, 3, 1)), activation="relu")
    with pytest.raises(ParameterError, match="domain: is needed"):
        PinnModel.from_layers(layers_of((2, 3, 1)), features=[Feature("k"), Feature("v")])
    with pytest.raises(ShapeError, match="features: are 1"):
        PinnModel.from_layers(layers_of((2, 3, 1)), features=[Feature("k")], domain={"k": (-1, 1), "v": (0, 1)})
    with pytest.raises(ParameterError, match="source: 'forward'"):
        Feature("forward")
    with pytest.raises(ParameterError, match="features: 'image'"):  # of another product
        PinnModel.from_layers(layers_of((4, 3, 1)), features=[Feature("image")] * 4, domain={"k": (-1, 1), "v": (0, 1)})
    with pytest.raises(ParameterError, match="dtype: 'float16'"):
        PinnModel.load("european", dtype="float16")


# ---------------------------------------------------------------------------------------------- files


def test_save_and_load(european, tmp_path, contracts):
    path = tmp_path / "model.safetensors"
    european.save(path)
    again = PinnModel.load(path)
    assert again.info() == european.info()
    assert np.array_equal(again.price(**contracts), european.price(**contracts))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_pickles(european):
    again = pickle.loads(pickle.dumps(european))
    assert again.info() == european.info()
    assert again.price(100.0, 105.0, 0.5, 0.25, 0.03) == european.price(100.0, 105.0, 0.5, 0.25, 0.03)


def test_files_are_those_of_the_library(european, tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    european.save(path)
    tensors = numpy_files.load_file(path)
    for i, (weight, bias) in enumerate(european.layers):
        assert np.array_equal(tensors[f"net.{i}.weight"], weight)
        assert np.array_equal(tensors[f"net.{i}.bias"], bias)


def damaged(content, header=None, data=None, edit=None):
    (length,) = struct.unpack("<Q", content[:8])
    described = json.loads(content[8 : 8 + length]) if header is None else header
    if edit is not None:
        edit(described)
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + (content[8 + length :] if data is None else data)


def hostile(content):
    """Files that are almost one."""

    def change(key, **entries):
        return damaged(content, edit=lambda h: h[key].update(entries))

    yield "empty", b""
    yield "short", content[:7]
    yield "cut", content[:-8]
    yield "longer", content + bytes(8)
    yield "length", struct.pack("<Q", 2**63) + content[8:]
    yield "length of all", struct.pack("<Q", len(content)) + content[8:]
    yield "pickle", b"\x80\x04\x95" + content
    yield "list", damaged(content, header=b"[]")
    yield "deep", damaged(content, header=b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}")
    yield "twice", damaged(content, header=b'{"a":1,"a":1}')
    yield "utf-8", damaged(content, header=b'{"\xff":1}')
    yield "NaN", damaged(content, header=b'{"a":NaN}')
    yield "digits", damaged(content, header=b'{"a":' + b"1" * 10000 + b"}")
    yield "type", change("net.0.weight", dtype="F16")
    yield "type of type", change("net.0.weight", dtype=["F64"])
    yield "shape", change("net.0.weight", shape=[20, 5])
    yield "negative", change("net.0.weight", shape=[-20, -4])
    yield "bool", change("net.0.weight", shape=[True, 80])
    yield "large", change("net.0.weight", shape=[2**62, 2**62])
    yield "overlap", change("net.0.bias", data_offsets=[0, 160])
    yield "beyond", change("net.3.bias", data_offsets=[2**29, 2**29 + 8])
    yield "backwards", change("net.0.bias", data_offsets=[160, 0])
    yield "floats", change("net.0.bias", data_offsets=[640.0, 800.0])
    yield "more", change("net.0.bias", extra=1)
    yield "name", damaged(content, edit=lambda h: h.update({"net.0.scale": h.pop("net.0.bias")}))
    yield "missing", damaged(content, edit=lambda h: h.pop("net.0.bias"))
    yield "format", change("__metadata__", format="pinn-2")
    yield "texts", change("__metadata__", seed=1)
    yield "sha256", change("__metadata__", sha256="0" * 64)
    yield "activation", change("__metadata__", activation="relu")
    yield "ansatz", change("__metadata__", ansatz="__import__('os')")
    yield "features", change("__metadata__", features="[1]")
    yield "other features", change("__metadata__", features='[{"source": "k", "evil": 1}]')
    yield "fewer features", change("__metadata__", features='[{"source": "k"}]')
    yield "domain", change("__metadata__", domain='{"k": [1, -1], "v": [0, 1]}')
    yield "json", change("__metadata__", norms="{")
    yield "texts", change("__metadata__", domain='{"k": ["-1", "1"], "v": [0, 1]}')
    yield "a text", change("__metadata__", domain='{"k": "05", "v": [0, 1]}')
    (length,) = struct.unpack("<Q", content[:8])
    known = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["features"])
    yield "repeated features", change("__metadata__", features=json.dumps([*known[:3], known[0]]))
    yield "features as a text", change("__metadata__", features='"abcd"')
    for key in ("features", "domain", "ansatz", "activation"):
        yield f"no {key}", damaged(content, edit=lambda h, key=key: h["__metadata__"].pop(key))
    yield "prices alone", damaged(content, edit=lambda h: [h["__metadata__"].pop(k) for k in ("features", "domain")])


def test_hostile_files(european, tmp_path):
    path = tmp_path / "model.safetensors"
    european.save(path)
    content = path.read_bytes()
    for what, other in hostile(content):
        path.write_bytes(other)
        with pytest.raises(StateError, match="is no model file"):
            pytest.fail(f"{what}: {PinnModel.load(path)!r}")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_fuzzed_files(data):
    """Any change of bytes is refused, or changes nothing but the description."""
    import importlib.resources
    import pathlib
    import tempfile

    source = importlib.resources.files("warpquant.pinn").joinpath("models/european.safetensors")
    content = bytearray(source.read_bytes())
    reach = data.draw(st.sampled_from([8, 64, 2000, len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 8, 500]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model"
        path.write_bytes(bytes(content[: len(content) - cut]))
        try:
            model = PinnModel.load(path)
        except StateError:
            return
    for (weight, bias), (known, known_bias) in zip(model.layers, PinnModel.load("european").layers, strict=True):
        assert np.array_equal(weight, known)
        assert np.array_equal(bias, known_bias)


# ---------------------------------------------------------------------------------------------- other libraries


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_onnx(activation, dtype, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    model = PinnModel.from_layers(layers_of((4, 16, 16, 1)), activation=activation, dtype=dtype)
    model.to_onnx(path)
    again = PinnModel.from_onnx(path)
    assert again.activation == activation
    x = np.random.default_rng(3).normal(size=(50, 4))
    if dtype == "float64":
        assert np.array_equal(again.evaluate(x), model.evaluate(x))
    lacking = runtime.capi.onnxruntime_pybind11_state.NotImplemented
    if dtype == "float64" and activation in ("sin", "gelu", "softplus"):
        try:
            session = runtime.InferenceSession(path)
        except lacking:  # some versions have no such function in float64
            return
    else:
        session = runtime.InferenceSession(path)
    (y,) = session.run(None, {"features": x.astype(dtype)})
    np.testing.assert_allclose(model.evaluate(x), y[:, 0], rtol=0, atol=TOLERANCE[dtype])


def test_onnx_refuses_other_graphs(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    PinnModel.from_layers(layers_of((2, 3, 1))).to_onnx(path)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Tanh":
            node.op_type = "Relu"
    onnx.save(model, path)
    with pytest.raises(ParameterError, match=r"Relu .* does not belong"):
        PinnModel.from_onnx(path)


def _graphs():
    """Graphs of two layers, and what they are of; None if they are no chain."""
    first, last = ("Gemm", "x W1 b1", "z"), ("Gemm", "a W2 b2", "y")
    yield "Tanh", None, [("Tanh", "x", "a"), ("Gemm", "a W1 b1", "z"), ("Gemm", "z W2 b2", "y")]
    yield "Gemm 'w'", None, [first, ("Gemm", "z W2 b2", "w"), ("Tanh", "w", "y")]
    yield "Gemm 'y'", None, [first, ("Tanh", "z", "a"), ("Gemm", "x W2 b2", "y")]
    yield "output", None, [first, ("Tanh", "z", "y")]
    yield "Gemm", None, [first, ("Sigmoid", "z", "s"), ("Mul", "x s", "a"), last]
    yield "Gemm", None, [first, ("Sigmoid", "z", "s"), ("Mul", "s one", "a"), last]
    yield "MatMul", None, [("MatMul", "W1 x", "p"), ("Add", "p b1", "z"), ("Tanh", "z", "a"), last]
    yield "Gemm 'z'", None, [("Gemm", "x W1 W1", "z"), ("Tanh", "z", "a"), last]
    yield "", "silu", [first, ("Sigmoid", "z", "s"), ("Mul", "s z", "a"), last]
    yield "", "tanh", [("MatMul", "x W1", "p"), ("Add", "b1 p", "z"), ("Identity", "z", "i"), ("Tanh", "i", "a"), last]
    for kind, scale, one, half in (
        ("gelu", "Div z s2", "one", "half"), ("gelu", "Mul r2 z", "one", "half"), (None, "Mul z one", "one", "half"),
        (None, "Div s2 z", "one", "half"), (None, "Div z s2", "half", "half"), (None, "Div z s2", "one", "one"),
    ):  # fmt: skip
        op, *operands = scale.split()
        begin = [first, (op, " ".join(operands), "q"), ("Erf", "q", "e"), ("Add", f"e {one}", "f")]
        yield "", kind, [*begin, ("Mul", "z f", "g"), ("Mul", f"g {half}", "a"), last]
        yield "", kind, [*begin, ("Mul", f"z {half}", "g"), ("Mul", "f g", "a"), last]


def test_onnx_follows_tensors(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    (w1, b1), (w2, b2) = layers = layers_of((3, 3, 1))
    known = {
        "W1": w1.T, "b1": b1, "W2": w2.T, "b2": b2, "one": 1.0, "half": 0.5, "s2": np.sqrt(2.0), "r2": np.sqrt(0.5),
    }  # fmt: skip
    x = np.random.default_rng(3).normal(size=(9, 3))
    for names, kind, nodes in _graphs():
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node(op, inputs.split(), [made]) for op, inputs, made in nodes],
            "net",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, ["n", 3])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, ["n", None])],
            [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in known.items()],
        )
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
        if kind is None:
            with pytest.raises(ParameterError, match=names or "does not belong"):
                pytest.fail(f"{nodes}: {PinnModel.from_onnx(path)}")
            continue
        model = PinnModel.from_onnx(path)
        assert model.activation == kind
        np.testing.assert_allclose(model.evaluate(x), forward(layers, x, kind), rtol=0, atol=1e-12)


class _Tensor:
    """What a tensor of torch's offers."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.array


def test_state_dicts():
    layers = layers_of((3, 5, 1))
    state = {}
    for i, (weight, bias) in enumerate(layers):
        state[f"{2 * i}.weight"], state[f"{2 * i}.bias"] = _Tensor(weight), _Tensor(bias)
    model = PinnModel.from_torch(state, activation="silu")
    x = np.random.default_rng(5).normal(size=(9, 3))
    np.testing.assert_allclose(model.evaluate(x), forward(layers, x, "silu"), rtol=0, atol=1e-12)
    with pytest.raises(ParameterError, match="activation: is needed"):
        PinnModel.from_torch(state)
    with pytest.raises(ParameterError, match="'scale' is no weight"):
        PinnModel.from_torch({**state, "scale": _Tensor(np.ones(3))}, activation="silu")


def test_torch_modules():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 1)).double()
    model = PinnModel.from_torch(module)
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    y = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    jets = model.jets(x.detach().numpy(), order=1)
    np.testing.assert_allclose(jets["value"], y.detach().numpy()[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(jets["gradient"], gradient.numpy(), rtol=0, atol=1e-12)


def test_torch_modules_are_what_they_compute():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Own(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.a, self.b, self.f = nn.Linear(3, 3), nn.Linear(3, 1), f

        def forward(self, x):
            return self.b(self.f(self.a(x)))

    def linear(*widths):
        return nn.Linear(*widths)

    for layers in (
        [linear(3, 5), nn.Tanh(), linear(5, 1), nn.Tanh()], [nn.Tanh(), linear(3, 5), nn.Tanh(), linear(5, 1)],
        [linear(3, 5), linear(5, 5), nn.Tanh(), linear(5, 1)], [linear(3, 5), linear(5, 1)], [],
    ):  # fmt: skip
        with pytest.raises(ParameterError, match="accepted are linear layers with an activation between"):
            PinnModel.from_torch(nn.Sequential(*layers), activation="tanh")
    module = nn.Sequential(linear(3, 5), nn.Tanh(), nn.Sequential(linear(5, 5), nn.Tanh()), linear(5, 1))
    assert len(PinnModel.from_torch(module, activation="tanh").layers) == 3
    assert len(PinnModel.from_torch(module.state_dict(), activation="tanh").layers) == 3
    with pytest.raises(ParameterError, match="'sin' is not that of the module, 'tanh'"):
        PinnModel.from_torch(module, activation="sin")
    # What forward does is code.
    assert PinnModel.from_torch(Own(torch.sin), activation="sin").activation == "sin"
    for f, activation in ((torch.relu, "tanh"), (lambda x: x + torch.tanh(x), "tanh"), (torch.sin, "silu")):
        with pytest.raises(ParameterError, match="forward is something else"):
            PinnModel.from_torch(Own(f), activation=activation)
    with pytest.raises(ParameterError, match="does not take rows of 3 inputs"):
        PinnModel.from_torch(Own(lambda x: x[:, 7]), activation="tanh")
    with pytest.raises(ParameterError, match="activation: is needed"):
        PinnModel.from_torch(Own(torch.sin))
    with pytest.raises(DTypeError, match="int is neither a module"):
        PinnModel.from_torch(5)
    for kind in (torch.bfloat16, torch.float16):
        half = nn.Sequential(linear(3, 5), nn.Tanh(), linear(5, 1)).to(kind)
        model = PinnModel.from_torch(half)
        assert half[0].weight.dtype == kind
        assert np.array_equal(model.layers[0][0], half[0].weight.detach().double().numpy())


# ---------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("directions", [1, 2, 3])
def test_gradient_of_the_loss(activation, directions):
    """Against central differences, along random directions of the weights; linear residuals and free boundaries."""
    rng = np.random.default_rng(directions)
    widths, n = (3, 10, 12, 1), 700
    x = np.concatenate([part.ravel() for layer in layers_of(widths) for part in layer])
    shapes = ((3, directions + 2, n), (directions + 2, n), (n,))
    f, a, b = (rng.normal(size=shape) for shape in shapes)
    obstacle = rng.normal(size=(2, n))
    for more in ({}, {"positive": True}, {"positive": True, "obstacle": obstacle, "smoothing": 0.1}):

        def loss(at, more=more):
            return residual_loss_grad(at, widths, f, a, b, activation=activation, **more)

        value, gradient, residuals = residual_loss_grad(
            x, widths, f, a, b, activation=activation, with_residuals=True, num_threads=1, **more
        )
        assert value == pytest.approx(np.mean(residuals**2), rel=1e-13)
        two = residual_loss_grad(x, widths, f, a, b, activation=activation, num_threads=2, **more)
        assert (two[0], two[1].tobytes()) == (value, gradient.tobytes())
        v, h = rng.normal(size=x.size) / np.sqrt(x.size), 1e-4
        nearer, farther = loss(x + h * v)[0] - loss(x - h * v)[0], loss(x + 2 * h * v)[0] - loss(x - 2 * h * v)[0]
        assert gradient @ v == pytest.approx((8 * nearer - farther) / (12 * h), rel=1e-6, abs=1e-8 * value)


def test_residuals_are_those_of_jets():
    """The collapsed stream is half of the second derivatives along the directions, plus the first-order terms."""
    widths, n, d = (2, 8, 8, 1), 30, 2
    rng = np.random.default_rng(0)
    layers = layers_of(widths)
    points, along, drift = rng.normal(size=(n, 2)), rng.normal(size=(d, 2)), rng.normal(size=2)
    f = np.empty((2, d + 2, n))
    f[:, 0] = points.T
    f[:, 1 : 1 + d] = along.T[:, :, None]
    f[:, 1 + d] = drift[:, None]
    jets = PinnModel.from_layers(layers).jets(points, np.vstack([along, drift]))
    streams = [jets["value"], *jets["gradient"].T[:d]]
    streams.append(0.5 * (jets["hessian"][:, 0, 0] + jets["hessian"][:, 1, 1]) + jets["gradient"][:, d])
    x = np.concatenate([part.ravel() for layer in layers for part in layer])
    for j, stream in enumerate(streams):
        a = np.zeros((d + 2, n))
        a[j] = 1.0
        residuals = residual_loss_grad(x, widths, f, a, np.zeros(n), with_residuals=True)[2]
        np.testing.assert_allclose(residuals, stream, rtol=0, atol=1e-12)


def test_loss_refuses():
    f, a, b, x = np.zeros((2, 3, 4)), np.zeros((3, 4)), np.zeros(4), np.zeros(13)
    assert residual_loss_grad(x, (2, 3, 1), f, a, b)[0] == 0
    with pytest.raises(ShapeError, match=r"weights: has shape \(12,\); accepted is \(13,\)"):
        residual_loss_grad(x[1:], (2, 3, 1), f, a, b)
    with pytest.raises(ShapeError, match="features"):
        residual_loss_grad(x, (2, 3, 1), f[:, :2], a, b)
    with pytest.raises(ShapeError, match="constants"):
        residual_loss_grad(x, (2, 3, 1), f, a, b[1:])
    with pytest.raises(ParameterError, match="widths"):
        residual_loss_grad(x, (2, 3, 2), f, a, b)
    with pytest.raises(ParameterError, match="smoothing"):
        residual_loss_grad(x, (2, 3, 1), f, a, b, obstacle=np.zeros((2, 4)), smoothing=0.0)


def test_what_is_no_onnx_file(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    path.write_text("hello")
    with pytest.raises(StateError, match=r"net.onnx: is no ONNX file"):
        PinnModel.from_onnx(path)
    PinnModel.load("european").save(path)
    with pytest.raises(StateError, match=r"net.onnx: is no ONNX file"):
        PinnModel.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        PinnModel.from_onnx(tmp_path / "other.onnx")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sin_of_large_angles(dtype, simd_levels):
    """To the last digits, also where angles are multiples of pi / 2 but for 1e-19; on every level the same bits."""
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.uniform(-3e6, 3e6, 500), np.ldexp(rng.uniform(1.0, 2.0, 500), rng.integers(20, 1020, 500)),
            [5.319372648326541e255, 6381956970095103.0 * 2.0**797, -1e22, 1e6, 1000000.5, -1.7976931348623157e308],
        ]
    )  # fmt: skip
    x = x[np.abs(x) < np.finfo(dtype).max].astype(dtype).astype(np.float64)
    model = PinnModel.from_layers([(np.eye(1), np.zeros(1)), (np.eye(1), np.zeros(1))], activation="sin", dtype=dtype)
    found = []
    for level in simd_levels:
        with config.override(simd=level):
            found.append(model.jets(x[:, None], order=1))
    atol = 3e-16 if dtype == "float64" else 1e-7
    np.testing.assert_allclose(found[0]["value"], np.sin(x), rtol=0, atol=atol)
    np.testing.assert_allclose(found[0]["gradient"][:, 0], np.cos(x), rtol=0, atol=atol)
    for other in found[1:]:
        np.testing.assert_allclose(other["value"], found[0]["value"], rtol=0, atol=atol)
    assert np.isnan(model.evaluate(np.array([[np.inf], [-np.inf], [np.nan]]))).all()
