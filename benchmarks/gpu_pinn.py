# SPDX-License-Identifier: Apache-2.0
"""Networks on a device: price and Greeks next to what their arithmetic takes at the speed of a matrix product there.

PyTorch, if it has the device, differentiates twice in a CUDA graph beside. One contract goes by replay of a graph.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import warpquant
from common import Benchmark
from warpquant.pinn import PinnModel, residual_loss_grad

WIDTHS = (4, 64, 64, 64, 64, 1)
USUAL = ("price", "delta", "gamma", "theta", "vega", "rho")
#: Value, two first derivatives, one second: what the usual Greeks take.
STREAMS = 4

Place = Callable[[Any], Any]


@dataclasses.dataclass
class Job:
    """A call, points that it is about, operations of its matrix products, and the precision that they have."""

    name: str
    points: int
    operations: float
    precision: str
    call: Callable[[], Any]


def layers_of(widths: tuple[int, ...]) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(o, i)) / math.sqrt(i), 0.1 * rng.normal(size=o)) for i, o in itertools.pairwise(widths)]


def operations(widths: tuple[int, ...]) -> int:
    return 2 * sum(i * o for i, o in itertools.pairwise(widths))


def model_of(precision: str, widths: tuple[int, ...]) -> PinnModel:
    features = PinnModel.load("european").features
    return PinnModel.from_layers(
        layers_of(widths), features=features, domain={"k": (-2.0, 2.0), "v": (0.0, 1.0)}, precision=precision
    )


def inference(place: Place, points: int, widths: tuple[int, ...]) -> Iterator[Job]:
    spot = np.random.default_rng(1).uniform(60, 180, points)
    for precision in ("f64", "f32", "tf32x3", "bf16x6"):
        model, at = model_of(precision, widths), place(spot)
        for label, which in (("price", ("price",)), ("price and Greeks", USUAL), ("all Greeks", "all")):
            names = model.greeks(100.0, 100.0, 0.5, 0.25, 0.03, which=which).keys()
            out = {name: place(np.zeros(points)) for name in names if name != "status"}
            streams = 1 if which == ("price",) else STREAMS if which is USUAL else 7
            yield Job(
                f"64x4 {label}, {precision}", points, streams * operations(widths) * points, precision,
                lambda m=model, a=at, o=out: m.greeks(a, 100.0, 0.5, 0.25, 0.03, which=tuple(o), out=o),
            )  # fmt: skip


def losses(place: Place, points: int, widths: tuple[int, ...]) -> Iterator[Job]:
    rng = np.random.default_rng(2)
    flat = np.concatenate([part.ravel() for layer in layers_of(widths) for part in layer])
    arrays = (rng.normal(size=(4, 3, points)), rng.normal(size=(3, points)), rng.normal(size=points))
    for dtype, precision in ((np.float64, "f64"), (np.float32, "f32")):
        there = [place(x.astype(dtype)) for x in (flat, *arrays)]
        # Forwards, and backwards to the neurons below and to the weights.
        yield Job(
            f"loss and gradient, {precision}", points, 3 * 3 * operations(widths) * points, precision,
            lambda t=there: residual_loss_grad(t[0], widths, *t[1:]),
        )  # fmt: skip


def jobs(place: Place, smoke: bool) -> Iterator[Job]:
    """All of them; `place` copies an array to the device."""
    widths = (4, 8, 8, 1) if smoke else WIDTHS
    yield from inference(place, 20 if smoke else 1 << 20, widths)
    yield from losses(place, 20 if smoke else 1 << 16, widths)


def one_contract(place: Place) -> Any:
    """Price and Greeks of one contract, prepared for a graph."""
    model = model_of("f64", WIDTHS)
    arguments = [place(np.array([x])) for x in (100.0, 105.0, 0.5, 0.25, 0.03)]
    out = {name: place(np.zeros(1)) for name in USUAL}
    return warpquant.prepare(model.greeks, *arguments, which=USUAL, out=out)


def double_backward(points: int) -> Callable[[], Any] | None:
    """Slopes and a row of second derivatives by PyTorch, replayed; None where it has no device."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    parameters = [(torch.tensor(w, device="cuda"), torch.tensor(b, device="cuda")) for w, b in layers_of(WIDTHS)]
    at = torch.rand((points, 4), dtype=torch.float64, device="cuda", requires_grad=True)

    def compute() -> Any:
        h = at
        for w, b in parameters[:-1]:
            h = torch.tanh(torch.nn.functional.linear(h, w, b))
        y = torch.nn.functional.linear(h, *parameters[-1])[:, 0]
        (slopes,) = torch.autograd.grad(y.sum(), at, create_graph=True)
        return y, slopes, torch.autograd.grad(slopes[:, 0].sum(), at)[0]

    beside = torch.cuda.Stream()
    with torch.cuda.stream(beside):
        for _ in range(3):
            compute()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = compute()

    def replay(results: Any = kept) -> Any:
        graph.replay()
        return results

    return replay


def measure(
    run: Benchmark,
    place: Place,
    wait: Callable[[], None],
    rate: Callable[[str], float],
    captured: Callable[[Any], Callable[[], Any]],
) -> None:
    """Print and note every job.

    `rate`: operations a second of a large matrix product in a precision. `captured`: a prepared call as the replay of a
    graph.
    """
    print(f"{'networks, on the device':44}{'ns':>10}{'floor, ns':>12}{'of it':>8}")

    def waiting(call: Callable[[], Any]) -> Callable[[], None]:
        def waits() -> None:
            call()
            wait()

        return waits

    for job in jobs(place, run.smoke):
        cases = {"warpquant": waiting(job.call)}
        if job.name == "64x4 price and Greeks, f64" and not run.smoke:
            replay = double_backward(job.points)
            if replay is not None:
                cases["torch, double backward, graph"] = waiting(replay)
        ns = run.measure(job.points, cases, case=job.name)
        floor = job.operations / job.points / rate(job.precision) * 1e9
        run.note(case=f"{job.name}, floor", ns=floor)
        peer = ns.get("torch, double backward, graph")
        print(
            f"{job.name:44}{ns['warpquant']:10.3f}{floor:12.3f}{floor / ns['warpquant']:8.0%}"
            + (f"   torch by graph {peer / ns['warpquant']:.1f} times" if peer else ""),
            flush=True,
        )
    replay = captured(one_contract(place))
    ns = run.measure(1, {"warpquant": waiting(replay)}, case="one contract by replay of a graph")
    print(f"one contract, price and Greeks, by replay of a graph: {ns['warpquant'] / 1e3:.1f} us", flush=True)
