# SPDX-License-Identifier: Apache-2.0
"""Networks of prices: values, price with Greeks, loss with gradient, training; the frameworks beside, on one thread."""

from __future__ import annotations

import itertools
import math
import os
import time
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from common import Benchmark, compared
from warpquant.errors import DeviceUnavailableError
from warpquant.pinn import PinnModel, PinnTrainer, residual_loss_grad

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None
try:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
except ImportError:
    jax = None
try:
    import onnxruntime
except ImportError:
    onnxruntime = None

NETS = {"64x4": (4, 64, 64, 64, 64, 1), "128x6": (4, *[128] * 6, 1)}


def layers_of(widths: tuple[int, ...]) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(o, i)) / math.sqrt(i), 0.1 * rng.normal(size=o)) for i, o in itertools.pairwise(widths)]


def flops(widths: tuple[int, ...]) -> int:
    return 2 * sum(i * o for i, o in itertools.pairwise(widths))


def product(operations: float, points: int, dtype: str) -> Any:
    """Matrix products of as many operations, of sizes that suit libraries: what no code beats by much."""
    width = 32 * max(round(math.sqrt(operations / 2) / 32), 1)
    rows = points * operations / (2 * width * width)
    times = math.ceil(rows / 1_024)
    a, b = np.ones((round(rows / times), width), dtype), np.ones((width, width), dtype)
    out = np.empty_like(a)
    multiply: Any = np.matmul
    if torch is not None:
        a, b, out, multiply = *map(torch.from_numpy, (a, b, out)), torch.mm

    def run() -> None:
        for _ in range(times):
            multiply(a, b, out=out)

    return run


def torch_cases(layers: list[tuple[Any, Any]], x: Any) -> tuple[Any, Any, Any]:
    """Values; the gradient and the row of second derivatives by double backward; derivatives by hand-written jets."""
    parameters = [(torch.tensor(w, dtype=x.dtype), torch.tensor(b, dtype=x.dtype)) for w, b in layers]

    def net(h: Any) -> Any:
        for w, b in parameters[:-1]:
            h = torch.tanh(torch.nn.functional.linear(h, w, b))
        return torch.nn.functional.linear(h, *parameters[-1])[:, 0]

    def values() -> Any:
        with torch.no_grad():
            return net(x)

    def twice() -> Any:
        at = x.detach().requires_grad_(True)
        (slopes,) = torch.autograd.grad(net(at).sum(), at, create_graph=True)
        return slopes.detach(), torch.autograd.grad(slopes[:, 0].sum(), at)[0]

    def jets() -> Any:
        with torch.no_grad():
            h, s, t, v = x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
            s[:, 0] = 1.0
            v[:, 1] = 1.0
            for w, b in parameters[:-1]:
                h, s, t, v = torch.tanh(h @ w.T + b), s @ w.T, t @ w.T, v @ w.T
                slope = 1.0 - h * h
                s, t, v = slope * s, slope * (t - 2.0 * h * s * s), slope * v
            w, b = parameters[-1]
            return h @ w.T + b, s @ w.T, t @ w.T, v @ w.T

    return values, twice, jets


def jax_cases(layers: list[tuple[Any, Any]], x: Any) -> tuple[Any, Any]:
    """Values, and derivatives by hand-written jets, compiled."""
    parameters = [(jnp.asarray(w, x.dtype), jnp.asarray(b, x.dtype)) for w, b in layers]

    def net(h: Any) -> Any:
        for w, b in parameters[:-1]:
            h = jnp.tanh(h @ w.T + b)
        return (h @ parameters[-1][0].T + parameters[-1][1])[:, 0]

    zero = jnp.zeros_like(x)
    seeds = (zero.at[:, 0].set(1.0), zero, zero.at[:, 1].set(1.0))

    # Seeds are arguments: the compiler would take seconds to fold constants of this size.
    def jets(h: Any, s: Any, t: Any, v: Any) -> Any:
        for w, b in parameters[:-1]:
            h, s, t, v = jnp.tanh(h @ w.T + b), s @ w.T, t @ w.T, v @ w.T
            slope = 1.0 - h * h
            s, t, v = slope * s, slope * (t - 2.0 * h * s * s), slope * v
        w, b = parameters[-1]
        return h @ w.T + b, s @ w.T, t @ w.T, v @ w.T

    values, derivatives = jax.jit(net), jax.jit(jets)
    return lambda: values(x).block_until_ready(), lambda: jax.block_until_ready(derivatives(x, *seeds))


def inference(run: Benchmark) -> None:
    print(f"{'one thread, ns per point':34}{'ours':>10}")
    features = PinnModel.load("european").features
    domain = {"k": (-2.0, 2.0), "v": (0.0, 1.0)}
    for name, widths in NETS.items():
        layers = layers_of(widths)
        for dtype, points in itertools.product(("float64", "float32"), (256,) if run.smoke else (1_000, 100_000)):
            rng = np.random.default_rng(1)
            x = rng.uniform(-1, 1, (points, 4)).astype(dtype)
            spot = rng.uniform(60, 180, points)
            model = PinnModel.from_layers(layers, features=features, domain=domain, dtype=dtype)
            labels = {"net": name, "dtype": dtype, "threads": 1}
            price = {"warpquant": lambda: model.price(spot, 100.0, 0.5, 0.25, 0.03, num_threads=1)}
            greeks = {"warpquant": lambda: model.greeks(spot, 100.0, 0.5, 0.25, 0.03, num_threads=1)}
            if torch is not None:
                price["torch"], greeks["torch, double backward"], greeks["torch, jets"] = torch_cases(
                    layers, torch.from_numpy(x)
                )
            if jax is not None:
                price["jax.jit"], greeks["jax.jit, jets"] = jax_cases(layers, jnp.asarray(x))
            if onnxruntime is not None:
                price["ONNX Runtime"] = with_onnx(model, x)
            price["floor"] = product(flops(widths), points, dtype)
            greeks["floor"] = product(4 * flops(widths), points, dtype)
            for what, cases in (("price", price), ("price and Greeks", greeks)):
                ns = run.measure(points, cases, case=what, **labels)
                others = ", ".join(f"{k} {v:.0f}" for k, v in ns.items() if k not in ("copy", "warpquant"))
                print(
                    f"{f'{name} {dtype} {what} {points}':34}{ns['warpquant']:10.0f}{compared(ns)}   [{others}]",
                    flush=True,
                )
                share = flops(widths) * (1 if what == "price" else 4) / ns["warpquant"]
                run.note(case=f"{what}, GFLOP/s", net=name, dtype=dtype, points=points, gflops=share)
        single = PinnModel.from_layers(layers, features=features, domain=domain)
        for what, call in (("price", single.price), ("greeks", single.greeks)):
            repeats, best = 100 if run.smoke else 5_000, math.inf
            for _ in range(1 if run.smoke else 9):
                begin = time.perf_counter()
                for _ in range(repeats):
                    call(100.0, 105.0, 0.5, 0.25, 0.03)
                best = min(best, (time.perf_counter() - begin) / repeats)
            run.note(case=f"one contract, {what}", net=name, microseconds=best * 1e6)
            print(f"{name} one contract, {what}: {best * 1e6:.2f} us a call", flush=True)


def with_onnx(model: PinnModel, x: Any) -> Any:
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "net.onnx"
        model.to_onnx(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
    return lambda: session.run(None, {"features": x})


def losses(run: Benchmark) -> None:
    points = 256 if run.smoke else 4_096
    print(f"\nloss and gradient, {points} points, float64, one thread: us")
    for name, widths in (("3x20", (4, 20, 20, 20, 1)), ("4x64", NETS["64x4"])):
        layers, rng = layers_of(widths), np.random.default_rng(2)
        flat = np.concatenate([part.ravel() for layer in layers for part in layer])
        f = rng.normal(size=(4, 3, points))
        a, b = rng.normal(size=(3, points)), rng.normal(size=points)
        cases = {"warpquant": lambda: residual_loss_grad(flat, widths, f, a, b, num_threads=1)}
        if torch is not None:
            cases["torch"] = torch_loss(layers, f, a, b)
        if jax is not None:
            cases["jax.jit"] = jax_loss(layers, f, a, b)
        # Three streams forwards, and twice backwards: to weights, and to the inputs of all layers but the first.
        cases["floor"] = product(9 * flops(widths) - 6 * widths[0] * widths[1], points, "float64")
        ns = run.measure(points, cases, case="loss and gradient", net=name, threads=1)
        others = ", ".join(f"{k} {v * points / 1e3:.0f}" for k, v in ns.items() if k not in ("copy", "warpquant"))
        print(f"{name:34}{ns['warpquant'] * points / 1e3:10.0f}{compared(ns)}   [{others}]", flush=True)


def torch_loss(layers: list[tuple[Any, Any]], f: Any, a: Any, b: Any) -> Any:
    """The same streams, collapsed, with reverse mode over them."""
    parameters = [tuple(torch.tensor(p, requires_grad=True) for p in layer) for layer in layers]
    n, along, whole = (torch.from_numpy(np.ascontiguousarray(f[:, j].T)) for j in range(3))
    ca, cb = torch.from_numpy(a), torch.from_numpy(b)

    def loss() -> Any:
        h, s, o = n, along, whole
        for w, bias in parameters[:-1]:
            h, s, o = torch.tanh(h @ w.T + bias), s @ w.T, o @ w.T
            slope = 1.0 - h * h
            s, o = slope * s, slope * (o - h * s * s)
        w, bias = parameters[-1]
        r = ca[0] * (h @ w.T + bias)[:, 0] + ca[1] * (s @ w.T)[:, 0] + ca[2] * (o @ w.T)[:, 0] + cb
        value = (r * r).mean()
        return value, torch.autograd.grad(value, [p for layer in parameters for p in layer])

    return loss


def jax_loss(layers: list[tuple[Any, Any]], f: Any, a: Any, b: Any) -> Any:
    data = (*(jnp.asarray(f[:, j].T) for j in range(3)), jnp.asarray(a), jnp.asarray(b))

    def loss(parameters: Any, h: Any, s: Any, o: Any, ca: Any, cb: Any) -> Any:
        for w, bias in parameters[:-1]:
            h, s, o = jnp.tanh(h @ w.T + bias), s @ w.T, o @ w.T
            slope = 1.0 - h * h
            s, o = slope * s, slope * (o - h * s * s)
        w, bias = parameters[-1]
        r = ca[0] * (h @ w.T + bias)[:, 0] + ca[1] * (s @ w.T)[:, 0] + ca[2] * (o @ w.T)[:, 0] + cb
        return (r * r).mean()

    compiled, at = jax.jit(jax.value_and_grad(loss)), [tuple(map(jnp.asarray, layer)) for layer in layers]
    return lambda: jax.block_until_ready(compiled(at, *data))


def training(run: Benchmark) -> None:
    print("\nEuropean options for all volatilities and rates, one thread: error / strike")
    for seed in (0,) if run.smoke else (0, 1, 2):
        begin, cpu = time.perf_counter(), time.process_time()
        trainer = PinnTrainer("european", seed=seed, num_threads=1)
        trainer.fit([("adam", 5), ("ssbroyden", 5)], points=64) if run.smoke else trainer.fit()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        norms = trainer.model.info()["norms"]
        run.note(case="training", seed=seed, seconds=seconds, cpu_seconds=cpu, **norms)
        print(f"seed {seed}: max {norms['max_error']:.1e}, relative L2 {norms['relative_l2']:.1e}, Gamma "
              f"{norms['gamma_error']:.1e} in {seconds:.1f} s ({cpu:.1f} s of the processor)", flush=True)  # fmt: skip


def precisions(run: Benchmark) -> None:
    """Errors of the shipped model's prices, next to float64, on the first device that answers."""
    rng = np.random.default_rng(3)
    points = 16 if run.smoke else 1_000
    at = (rng.uniform(30, 290, points), 100.0, rng.uniform(0.01, 1.0, points), rng.uniform(0.05, 0.5, points), 0.0)
    exact = PinnModel.load("european").price(*at, device="cpu")
    for device in ("cuda", "emulator"):
        try:
            PinnModel.load("european").price(*at, device=device)
        except DeviceUnavailableError:
            continue
        print(f"\nlargest difference of {points} prices from float64 on the CPU, in units of the strike, on {device!r}")
        for precision in ("f64", "f32", "tf32x3", "bf16x6", "tf32", "bf16"):
            model = PinnModel.load("european", precision=precision, allow_low_precision=True)
            error = float(np.nanmax(np.abs(model.price(*at, device=device) - exact))) / 100.0
            run.note(case="precision", precision=precision, device=device, error=error)
            print(f"{precision:8}{error:10.1e}", flush=True)
        return
    print("\nprecisions: no device answers")


def main() -> None:
    run = Benchmark("pinn", __doc__)
    inference(run)
    precisions(run)
    losses(run)
    training(run)
    run.finish()


if __name__ == "__main__":
    main()
