# SPDX-License-Identifier: Apache-2.0
"""Networks on devices: the kernels against the CPU, precisions, arrays of every kind (warpquant.pinn)."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

import warpquant
from checks import near, same_bits
from warpquant import config
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError
from warpquant.pinn import Feature, PinnModel, residual_loss_grad

#: Errors of products next to those of float64, for networks of `layers_of` with 4 layers of 64 (values of about 1):
#: what float32 has, and for operands rounded to 11 and 8 bits thousands of times that (docs/pinn/devices.md).
PRECISIONS = {"f32": 2e-6, "tf32x3": 2e-6, "bf16x6": 2e-6, "tf32": 4e-3, "bf16": 4e-2}
NAMES = ("price", "delta", "gamma", "theta", "vega", "rho", "vanna", "charm", "volga", "speed")
DOMAIN = {"k": (-2.0, 2.0), "v": (0.0, 1.0)}
#: Rows around what a block takes at a time, which is 8 to 512 columns.
COUNTS = (0, 1, 2, 9, 33, 150)
SHAPES = [(2, 1), (3, 7, 1), (2, 20, 20, 1), (4, 64, 64, 1), (4, 100, 30, 1), (3, 150, 9, 1)]


def layers_of(widths, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(o, i)) / np.sqrt(i), 0.3 * rng.normal(size=o)) for i, o in itertools.pairwise(widths)]


def small(**more):
    """A model of prices, with every source of features."""
    features = [
        Feature("k"), Feature("v", 0.1, 2.0), Feature("sqrt_v", 0.2, 1.5), Feature("tanh_half_d", 0.1, 0.9)
    ]  # fmt: skip
    return PinnModel.from_layers(layers_of((4, 24, 17, 1)), features=features, domain=DOMAIN, **more)


def RUNS_ON(device):
    small().price([100.0], 100.0, 0.5, 0.2, 0.01, device=device)


@pytest.fixture
def there(device):
    """Arrays where to compute, and a copy of results."""

    class Place:
        name = device

        def put(self, x):
            return np.array(x) if device == "cpu" else warpquant.to_device(np.asarray(x), device)

        def get(self, x):
            return x.to_numpy() if hasattr(x, "to_numpy") else np.asarray(x)

    return Place()


def contracts(n, seed=7):
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(60, 180, n), rng.uniform(80, 120, n), rng.uniform(0.05, 1.0, n), rng.uniform(0.1, 0.45, n),
        rng.uniform(0.0, 0.06, n), rng.uniform(0.0, 0.04, n),
    )  # fmt: skip


def orders(device):
    """Orders in which threads of the emulator run; one for others."""
    if device != "emulator":
        yield 0
        return
    from warpquant import _emulator

    for seed in (0, 1, 2):
        _emulator.configure(thread_seed=seed)
        yield seed
    _emulator.configure()


# ---------------------------------------------------------------------------------------------- prices


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["tanh", "sin", "silu", "softplus", "gelu"])
def test_prices_are_those_of_the_cpu(there, activation, dtype):
    """Rounding is another one where products are fused, which is all."""
    model = small(activation=activation, dtype=dtype)
    # float32: third derivatives of products of a few dozen terms.
    bound = 1e-11 if dtype == "float64" else 4e-4
    for n in COUNTS:
        at = contracts(n)
        call = np.arange(n) % 3 != 0
        want = model.greeks(*at, is_call=call, which=(*NAMES, "status"), device="cpu")
        got = model.greeks(*map(there.put, at), is_call=there.put(np.where(call, 1, -1).astype(np.int8)),
                           which=(*NAMES, "status"))  # fmt: skip
        for name in NAMES:
            scale = np.max(np.abs(want[name]), initial=1e-6)
            near(there.get(got[name]), want[name], bound, scale, f"{name}, {n} rows")
        assert np.array_equal(there.get(got["status"]), want["status"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_results_have_the_bits_of_the_cpu(there, dtype):
    """Sums have the same order; what may differ is whether products are fused, and the emulator does not."""
    model = small(dtype=dtype)
    at = contracts(77)
    with config.override(simd="baseline"):
        want = model.greeks(*at, which=NAMES, device="cpu")
    got = model.greeks(*map(there.put, at), which=NAMES)
    for name, y in want.items():
        if there.name == "emulator":
            same_bits(there.get(got[name]), y, name)
        else:
            near(there.get(got[name]), y, 1e-11 if dtype == "float64" else 4e-4, np.abs(y).max(), name)


def test_any_set_of_results_has_the_same_bits(there):
    model, at = small(), [there.put(x) for x in contracts(40)]
    everything = {name: there.get(y) for name, y in model.greeks(*at, which=NAMES).items()}
    for some in (("price", "delta"), ("gamma", "volga"), ("speed",), ("charm", "theta"), ("vanna", "speed")):
        for name, y in model.greeks(*at, which=some).items():
            same_bits(there.get(y), everything[name], f"{name} of {some}")


@pytest.mark.parametrize("source", ["shipped", "wide", "deep", "none"])
def test_shapes_of_networks(there, source):
    features = [Feature("k"), Feature("sqrt_v")]
    model = {
        "shipped": lambda: PinnModel.load("european"),
        "wide": lambda: PinnModel.from_layers(layers_of((2, 200, 140, 1)), features=features, domain=DOMAIN),
        "deep": lambda: PinnModel.from_layers(layers_of((2, *[5] * 30, 1)), features=features, domain=DOMAIN),
        "none": lambda: PinnModel.from_layers(layers_of((2, 1)), features=features, domain=DOMAIN, ansatz="none"),
    }[source]()
    at = contracts(21)
    want = model.greeks(*at, which=NAMES, device="cpu")
    got = model.greeks(*map(there.put, at), which=NAMES)
    for name in NAMES:
        near(there.get(got[name]), want[name], 1e-11, np.nanmax(np.abs(want[name])) + 1e-2, name)


def test_what_has_no_price_and_where_the_domain_ends(there):
    for how in ("nan", "extrapolate"):
        model = small(on_out_of_domain=how)
        spot = np.array([100.0, np.nan, -1.0, 0.0, np.inf, 100.0, 1e5, 100.0])
        vol = np.array([0.2, 0.2, 0.2, 0.2, 0.2, -0.1, 0.2, 5.0])
        want = model.greeks(spot, 100.0, 0.5, vol, 0.02, which=("price", "speed", "status"), device="cpu")
        got = model.greeks(there.put(spot), 100.0, 0.5, there.put(vol), 0.02, which=("price", "speed", "status"))
        assert np.array_equal(there.get(got["status"]), want["status"])
        for name in ("price", "speed"):
            near(there.get(got[name]), want[name], 1e-9, np.maximum(np.abs(want[name]), 1.0), name)
    guarded = small(on_out_of_domain="raise")
    with pytest.raises(ParameterError, match="2 of 8 rows are outside"):
        guarded.price(there.put(spot), 100.0, 0.5, there.put(vol), 0.02)


def test_layouts_and_arrays_to_write_to(there):
    model = small()
    spot, strike = contracts(24)[:2]
    grid = spot.reshape(4, 6)
    want = model.greeks(grid, strike[:6], 0.4, 0.3, 0.02, which=("price", "vega"), device="cpu")
    out = {"price": there.put(np.zeros((4, 6))), "vega": there.put(np.zeros((4, 6)))}
    got = model.greeks(there.put(grid), there.put(strike[:6]), 0.4, 0.3, 0.02, which=("price", "vega"), out=out)
    for name in out:
        assert got[name] is out[name]
        near(there.get(out[name]), want[name], 1e-11, np.abs(want[name]).max())
    near(there.get(model.price(there.put(grid.astype(np.float32)), 100.0, 0.4, 0.3, 0.02)),
         model.price(grid.astype(np.float32), 100.0, 0.4, 0.3, 0.02, device="cpu"), 1e-6)  # fmt: skip


def test_arrays_of_the_host_are_sent(device):
    model, at = small(device=None), contracts(500)
    want = model.greeks(*at, device="cpu")
    got = model.greeks(*at, device=device)
    for name, y in got.items():
        assert isinstance(y, np.ndarray)
        near(y, want[name], 1e-11, np.abs(want[name]).max(), name)
    # A model may have a device of its own, which a call overrules.
    own = small(device=device)
    same_bits(own.price(*at), got["price"]) if device != "cpu" else None
    same_bits(own.price(*at, device="cpu"), want["price"])
    assert own.device == device


def test_calls_of_several_threads(device):
    model, at = small(), contracts(200)
    want = model.price(*at, device=device)
    made = [None] * 4
    fresh = small()

    def work(i):
        made[i] = fresh.price(*at, device=device)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for y in made:
        same_bits(y, want)


# ---------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_jets_are_those_of_the_cpu(there, widths, dtype):
    model = PinnModel.from_layers(layers_of(widths), dtype=dtype)
    bound = 1e-12 if dtype == "float64" else 2e-5
    for n, order in itertools.product(COUNTS[:-1], range(4)):
        x = np.random.default_rng(n).normal(size=(n, widths[0]))
        along = np.random.default_rng(1).normal(size=(2, widths[0]))
        want = model.jets(x, along, order, device="cpu")
        got = model.jets(there.put(x), along, order)
        assert got.keys() == want.keys()
        for name, y in want.items():
            near(there.get(got[name]), y, bound, np.max(np.abs(y), initial=1.0), f"{name}, {n} points, order {order}")
        near(there.get(model.evaluate(there.put(x))), want["value"], bound, np.max(np.abs(want["value"]), initial=1.0))


def test_orders_of_threads_change_no_bit(device):
    """A race, or a barrier too few, would show."""
    if device != "emulator":
        pytest.skip("the emulator's threads have an order to choose")
    model, at = small(), contracts(50)
    x, f = warpquant.to_device(np.random.default_rng(0).normal(size=(30, 4)), device), loss_case(2, 3, 50)
    made = []
    for _ in orders(device):
        jets = model.jets(x, order=3)
        made.append(
            [
                *model.greeks(*at, which=NAMES, device=device).values(),
                *(jets[name].to_numpy() for name in jets),
                *residual_loss_grad(*f, device=device, with_residuals=True),
            ]
        )
    for other in made[1:]:
        for got, want in zip(other, made[0], strict=True):
            same_bits(got, want)


def test_views_and_arrays_to_write_to(there):
    model = PinnModel.from_layers(layers_of((3, 9, 1)))
    x = np.random.default_rng(0).normal(size=(40, 3))
    want = model.jets(x, order=2, device="cpu")
    out = {name: there.put(np.zeros_like(y)) for name, y in want.items()}
    got = model.jets(there.put(x), order=2, out=out)
    for name, y in want.items():
        assert got[name] is out[name]
        near(there.get(out[name]), y, 1e-13, 1.0)
    value = there.put(np.zeros(40))
    assert model.evaluate(there.put(x), out=value) is value
    near(there.get(value), want["value"], 1e-14, 1.0)
    # float32 in, float32 out.
    narrow = there.get(model.evaluate(there.put(x.astype(np.float32))))
    assert narrow.dtype == np.float32
    with pytest.raises(ShapeError, match="out"):
        model.evaluate(there.put(x), out=there.put(np.zeros(39)))
    with pytest.raises(ShapeError, match=r"accepted is \(n, 3\)"):
        model.evaluate(there.put(x[:, :2]))
    with pytest.raises(ParameterError, match="'third' is not among"):
        model.jets(there.put(x), out={"third": value})


def test_limits_of_devices(there):
    if there.name == "cpu":
        pytest.skip("limits of devices")
    model = PinnModel.from_layers(layers_of((6, 9, 1)))
    x = there.put(np.zeros((3, 6)))
    with pytest.raises(ParameterError, match="directions: are 6; accepted on a device are up to 5"):
        model.jets(x)
    with pytest.raises(LayoutError, match="directions: are on a device"):
        model.jets(x, x)
    deep = PinnModel.from_layers(layers_of((2, *[2] * 33, 1)))
    with pytest.raises(ParameterError, match="up to 32 layers"):
        deep.evaluate(there.put(np.zeros((3, 2))))
    with pytest.raises(DTypeError):
        model.evaluate(warpquant.to_device(np.zeros((3, 6), np.int8), there.name), out=np.zeros(3))


# ---------------------------------------------------------------------------------------------- precisions


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions(device, precision):
    """Against float64. Parts of operands must not be worse than float32, and rounded operands must be."""
    layers = layers_of((4, 64, 64, 64, 64, 1))
    x = np.random.default_rng(3).uniform(-1, 1, (24, 4))
    exact = PinnModel.from_layers(layers).evaluate(x, device="cpu")
    model = PinnModel.from_layers(layers, precision=precision, allow_low_precision=precision in ("tf32", "bf16"))
    assert model.dtype == "float32"
    assert model.info()["precision"] == precision
    error = np.max(np.abs(model.evaluate(x, device=device) - exact))
    assert error <= (PRECISIONS[precision] if device != "cpu" else PRECISIONS["f32"])
    if device != "cpu" and precision in ("tf32", "bf16"):
        assert error > 20 * PRECISIONS["f32"]
    got = model.jets(x, order=1, device=device)["gradient"]
    want = PinnModel.from_layers(layers).jets(x, order=1)["gradient"]
    near(got, want, 4 * PRECISIONS[precision], np.abs(want).max())


@pytest.mark.parametrize("widths", [(2, 1), (3, 5, 1), (2, 33, 70, 1), (2, 140, 20, 1)])
def test_precisions_of_other_shapes(device, widths):
    if device == "cpu":
        pytest.skip("units of devices")
    x = np.random.default_rng(3).uniform(-1, 1, (70, widths[0]))
    want = PinnModel.from_layers(layers_of(widths)).jets(x, order=2)
    for precision in ("tf32x3", "bf16x6"):
        got = PinnModel.from_layers(layers_of(widths), precision=precision).jets(x, order=2, device=device)
        for name in want:
            near(got[name], want[name], 2e-5, max(1.0, np.abs(want[name]).max()), f"{name} {precision}")


def test_precisions_that_are_refused():
    layers = layers_of((2, 1))
    with pytest.raises(ParameterError, match="allow_low_precision=True"):
        PinnModel.from_layers(layers, precision="tf32")
    with pytest.raises(ParameterError, match="does not go with precision='tf32x3'"):
        PinnModel.from_layers(layers, precision="tf32x3", dtype="float64")
    with pytest.raises(ParameterError, match="precision: 'half' is unknown"):
        PinnModel.load("european", precision="half")
    assert PinnModel.load("european").precision == "f64"
    assert PinnModel.load("european", dtype="float32").precision == "f32"


# ---------------------------------------------------------------------------------------------- loss and gradient


def loss_case(directions, inputs, points, widths=(11, 6), seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    sizes = (inputs, *widths, 1)
    streams = directions + 2
    flat = np.concatenate([part.ravel() for layer in layers_of(sizes) for part in layer]).astype(dtype)
    arrays = (rng.normal(size=(inputs, streams, points)), rng.normal(size=(streams, points)), rng.normal(size=points))
    return flat, sizes, *(a.astype(dtype) for a in arrays)


@pytest.mark.parametrize("directions", [1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_loss_and_gradient_are_those_of_the_cpu(there, directions, activation):
    """Sums of points are in another order, so equal to rounding."""
    for points, widths in ((1, (5,)), (7, ()), (100, (11, 6)), (300, (40, 20)), (20, (150, 3))):
        case = loss_case(directions, 3, points, widths)
        how = {"activation": activation, "with_residuals": True}
        want = residual_loss_grad(*case, **how)
        there_case = (there.put(case[0]), case[1], *map(there.put, case[2:]))
        got = residual_loss_grad(*there_case, **how)
        again = residual_loss_grad(*there_case, **how)
        for label, g, a, w in zip(("loss", "gradient", "residuals"), got, again, want, strict=True):
            near(there.get(g), w, 1e-12, np.max(np.abs(w)), f"{label}, {points} points, {widths}")
            same_bits(there.get(a), there.get(g), "the same for every run")


def test_loss_with_everything(there):
    case = loss_case(2, 3, 90)
    rng = np.random.default_rng(5)
    weights, obstacle = rng.uniform(0.1, 1.0, 90), rng.normal(size=(2, 90))
    how = {"positive": True, "smoothing": 1e-3, "with_residuals": True}
    want = residual_loss_grad(*case, weights, obstacle=obstacle, **how)
    got = residual_loss_grad(there.put(case[0]), case[1], *map(there.put, (*case[2:], weights)),
                             obstacle=there.put(obstacle), **how)  # fmt: skip
    for g, w in zip(got, want, strict=True):
        near(there.get(g), w, 1e-11, np.max(np.abs(w)))


def test_loss_in_float32(there):
    if there.name == "cpu":
        pytest.skip("the CPU computes losses in float64")
    case = loss_case(1, 3, 200, dtype=np.float32)
    want = residual_loss_grad(case[0].astype(float), case[1], *(a.astype(float) for a in case[2:]))
    got = residual_loss_grad(there.put(case[0]), case[1], *map(there.put, case[2:]))
    for g, w in zip(got, want, strict=True):
        assert there.get(g).dtype == np.float32
        near(there.get(g), w, 2e-5, np.max(np.abs(w)))


def test_loss_of_arrays_of_the_host(device):
    case = loss_case(1, 2, 64)
    want = residual_loss_grad(*case)
    got = residual_loss_grad(*case, device=device)
    assert isinstance(got[0], float)
    near(got[0], want[0], 1e-13)
    near(got[1], want[1], 1e-12, np.abs(want[1]).max())


def test_losses_that_are_refused(there):
    if there.name == "cpu":
        pytest.skip("arrays of devices")
    flat, sizes, f, a, b = loss_case(1, 2, 8)
    placed = [there.put(x) for x in (f, a, b)]
    with pytest.raises(LayoutError, match="features: is not where weights are"):
        residual_loss_grad(there.put(flat), sizes, f, *placed[1:])
    with pytest.raises(ShapeError, match=r"coefficients: has shape \(3, 7\)"):
        residual_loss_grad(there.put(flat), sizes, placed[0], there.put(a[:, :7]), placed[2])
    with pytest.raises(DTypeError, match="constants: is not of float64"):
        residual_loss_grad(there.put(flat), sizes, *placed[:2], there.put(b.astype(np.float32)))
    with pytest.raises(LayoutError, match="weights: has shape"):
        residual_loss_grad(there.put(flat[1:]), sizes, *placed)


# ---------------------------------------------------------------------------------------------- prepared calls


@pytest.fixture
def emulator():
    try:
        RUNS_ON("emulator")
    except warpquant.DeviceUnavailableError as error:
        pytest.skip(f"{error.reason}: {error}")
    from warpquant import _emulator

    _emulator.configure()
    yield _emulator
    _emulator.configure()


def test_prepared_calls_in_a_graph(emulator):
    """Neither memory nor waits once prepared, so a graph takes them; weights may change between its runs."""
    model, at = small(), contracts(30)
    case = loss_case(1, 3, 40)
    arrays = [warpquant.to_device(x, "emulator") for x in (at[0], *at[1:])]
    flat, *fixed = (warpquant.to_device(x, "emulator") for x in (case[0], *case[2:]))
    points = warpquant.to_device(np.random.default_rng(0).normal(size=(20, 4)), "emulator")
    calls = {
        "price": (lambda: model.price(*arrays), lambda: model.price(*at, device="emulator")),
        "jets": (lambda: model.jets(points, order=1)["gradient"], None),
        "loss": (lambda: residual_loss_grad(flat, case[1], *fixed)[1],
                 lambda: residual_loss_grad(*case, device="emulator")[1]),
    }  # fmt: skip
    for name, (call, plain) in calls.items():
        want = call().to_numpy() if plain is None else plain()
        prepared = warpquant.prepare(call)
        stream = warpquant.Stream("emulator")
        warpquant.Device("emulator").synchronize()
        emulator.configure()
        emulator.begin_capture(stream.handle)
        try:
            prepared(stream)
            assert set(emulator.calls()) <= {"enqueue", "capturing"}, name
        finally:
            graph = emulator.end_capture(stream.handle)
        for _ in range(2):
            emulator.replay(graph, stream.handle)
            stream.synchronize()
            same_bits(prepared.result.to_numpy(), want, name)
        if name == "loss":
            other = case[0] * 0.5
            emulator.write(flat.__dlpack__(stream=-1), other)
            emulator.replay(graph, stream.handle)
            stream.synchronize()
            same_bits(prepared.result.to_numpy(), residual_loss_grad(other, *case[1:], device="emulator")[1])


def test_a_model_may_go_before_its_work_is_done(emulator):
    at = [warpquant.to_device(x, "emulator") for x in contracts(20)]
    want = small().price(*contracts(20), device="emulator")
    got = small().price(*at)  # the model is gone before anybody waits
    same_bits(got.to_numpy(), want)
    assert emulator.counts()["strays"] == 0


# ---------------------------------------------------------------------------------------------- kinds of arrays


def test_kinds_of_arrays_of_points():
    model = PinnModel.from_layers(layers_of((2, 8, 1)))
    x = np.random.default_rng(0).normal(size=(11, 2))
    want = model.jets(x, order=1)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(x, columns=["a", "b"], index=pd.date_range("2024-01-01", periods=11))
    got = model.jets(frame, order=1)
    assert isinstance(got["value"], pd.Series)
    assert got["value"].name == "value"
    assert got["value"].index.equals(frame.index)
    same_bits(got["value"].to_numpy(), want["value"])
    same_bits(got["gradient"], want["gradient"])
    mixed = frame.astype({"a": np.float32})
    assert model.evaluate(mixed).dtype == np.float64
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    value = model.evaluate(table)
    assert isinstance(value, pl.Series)
    same_bits(value.to_numpy(), want["value"])
    assert isinstance(model.evaluate(x.tolist()), np.ndarray)


def test_tensors_of_points():
    torch = pytest.importorskip("torch")
    model = PinnModel.from_layers(layers_of((2, 8, 1)))
    x = np.random.default_rng(0).normal(size=(11, 2))
    want = model.jets(x, order=2)
    got = model.jets(torch.from_numpy(x), order=2)
    for name, y in want.items():
        assert isinstance(got[name], torch.Tensor)
        same_bits(got[name].numpy(), y)
    out = torch.zeros(11, dtype=torch.float64)
    assert model.evaluate(torch.from_numpy(x), out=out) is out
    same_bits(out.numpy(), want["value"])
    assert model.evaluate(torch.from_numpy(x.astype(np.float32))).dtype == torch.float32
    with pytest.raises(DTypeError, match="holds float32 values, but the result is float64"):
        model.evaluate(torch.from_numpy(x), out=torch.zeros(11))


def test_arrays_of_jax():
    jax = pytest.importorskip("jax")
    model = PinnModel.from_layers(layers_of((2, 8, 1)))
    x = np.random.default_rng(0).normal(size=(11, 2))
    with jax.enable_x64(True):
        got = model.evaluate(jax.numpy.asarray(x))
        assert isinstance(got, jax.Array)
        same_bits(np.asarray(got), model.evaluate(x))
        prices = PinnModel.load("european").price(jax.numpy.asarray([90.0, 110.0]), 100.0, 0.5, 0.2, 0.01)
        assert isinstance(prices, jax.Array)
