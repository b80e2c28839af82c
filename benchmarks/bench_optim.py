# SPDX-License-Identifier: Apache-2.0
"""Steps of optimizers: large tensors, many small ones, quasi-Newton iterations; against PyTorch and a traffic floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import config, optim

try:
    import torch
except ImportError:
    torch = None
try:
    import numba
except ImportError:
    numba = None

#: Bytes of a parameter that an Adam step of float32 cannot do without: four numbers read, three written.
FLOOR_BYTES = 28


def traffic(threads: int, p: Any, g: Any, m: Any, v: Any) -> Callable[[], Any] | None:
    """A loop over the same memory that does next to nothing with it."""
    if numba is None:
        return None

    @numba.njit(parallel=True, fastmath=True)
    def loop(p: Any, g: Any, m: Any, v: Any) -> None:
        for i in numba.prange(p.size):
            x = g[i]
            p[i] += x
            m[i] += x
            v[i] += x

    def run() -> None:
        numba.set_num_threads(threads)
        loop(p, g, m, v)

    run()
    return run


def parameters(count: int, tensors: int, seed: int = 0) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    size = count // tensors
    values = [rng.standard_normal(size, np.float32) for _ in range(tensors)]
    grads = [rng.standard_normal(size, np.float32) for _ in range(tensors)]
    return values, grads


def of_torch(values: list[Any], grads: list[Any]) -> list[Any]:
    tensors = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    for t, g in zip(tensors, grads, strict=True):
        t.grad = torch.from_numpy(g)
    return tensors


def steps(
    run: Benchmark, name: str, count: int, tensors: int, threads: int, peers: dict[str, dict[str, Any]], **flags: Any
) -> None:
    """One optimizer, ours on tensors of PyTorch if there is one, else on arrays of NumPy."""
    values, grads = parameters(count, tensors)
    extra = {"momentum": 0.9} if name == "SGD" else {}
    ours: Any
    if torch is not None:
        torch.set_num_threads(threads)
        ours = getattr(optim, name)(of_torch(values, grads), **extra)
        cases: dict[str, Callable[[], Any]] = {"warpquant": lambda: ours.step(num_threads=threads, **flags)}
        for label, options in peers.items():
            peer = getattr(torch.optim, name)(of_torch(values, grads), **extra, **options)
            cases[f"torch {label}"] = peer.step
    else:
        ours = getattr(optim, name)(values, **extra)
        cases = {"warpquant": lambda: ours.step(grads, num_threads=threads, **flags)}
    floor = traffic(threads, *(np.zeros(count, np.float32) for _ in range(4))) if name == "AdamW" else None
    if floor is not None:
        cases["floor"] = floor
    ns = run.measure(count, cases, case=name, tensors=tensors, threads=threads, **flags)
    line = f"{name:8}{count:11,} in {tensors:5,}, {threads} thread(s){ns['warpquant']:9.3f}"
    for label, value in ns.items():
        if label not in ("warpquant", "copy"):
            line += f"   {label} {value:.3f} ({value / ns['warpquant']:.2f}x)"
    print(line + (f"   {flags}" if flags else ""), flush=True)


def clipping(run: Benchmark, count: int, threads: int) -> None:
    """What clipping adds: with the norm known, with the pass for it, and as passes of its own."""
    values, grads = parameters(count, 1)
    cases: dict[str, Callable[[], Any]] = {}
    plain, known, folded = (optim.AdamW([v.copy() for v in values]) for _ in range(3))
    cases["warpquant"] = lambda: plain.step(grads, num_threads=threads)
    cases["clip, norm known"] = lambda: known.step(grads, clip_norm=1e9, norm=1.0, num_threads=threads)
    cases["clip"] = lambda: folded.step(grads, clip_norm=1e9, num_threads=threads)
    if torch is not None:
        torch.set_num_threads(threads)
        tensors = of_torch(values, [g.copy() for g in grads])
        cases["torch clip_grad_norm_ alone"] = lambda: torch.nn.utils.clip_grad_norm_(tensors, 1e9)
    ns = run.measure(count, cases, case="clip", threads=threads)
    parts = [f"{label} {value:.3f}" for label, value in ns.items() if label != "copy"]
    print(f"clipping{count:11,}, {threads} thread(s)   " + "   ".join(parts), flush=True)


def rosenbrock(x: Any) -> tuple[float, Any]:
    a, b = 1 - x[:-1], x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -2 * a - 400 * x[:-1] * b
    g[1:] += 200 * b
    return float((a * a + 100 * b * b).sum()), g


def quasi_newton(run: Benchmark, size: int, iterations: int) -> None:
    """Iterations of L-BFGS against PyTorch's, from one start; of SSBroyden, against the bytes of its matrix."""
    start = np.linspace(-1.2, 1.0, size)
    flags = {"max_iter": iterations, "max_eval": 10**9, "tolerance_grad": 0.0, "tolerance_change": 0.0}

    def ours() -> None:
        x = start.copy()
        optim.LBFGS(x, line_search_fn="strong_wolfe", **flags).step(lambda: rosenbrock(x))

    def theirs() -> None:
        x = torch.tensor(start)

        def closure() -> Any:
            loss, g = rosenbrock(x.numpy())
            x.grad = torch.from_numpy(g)
            return torch.tensor(loss, dtype=torch.float64)

        torch.optim.LBFGS([x], line_search_fn="strong_wolfe", **flags).step(closure)

    def broyden() -> None:
        x = start.copy()
        optim.SSBroyden(x, **flags).step(lambda: rosenbrock(x))

    cases: dict[str, Callable[[], Any]] = {"warpquant LBFGS": ours, "warpquant SSBroyden": broyden}
    if torch is not None:
        torch.set_num_threads(1)
        cases["torch LBFGS"] = theirs
    with config.override(num_threads=1):
        ns = run.measure(iterations, cases, case="quasi-Newton", size=size)
    parts = [f"{label} {value / 1e3:.1f}" for label, value in ns.items() if label != "copy"]
    print(f"Rosenbrock of {size:,}, {iterations} iterations, us each   " + "   ".join(parts), flush=True)


def main() -> None:
    run = Benchmark("optim", __doc__)
    large, small = (4000, 1000) if run.smoke else (10_000_000, 1_000_000)
    both = {"fused": {"fused": True}, "foreach": {"foreach": True}}
    print("ns per parameter; in brackets, times ours")
    for threads in (1, 2):
        steps(run, "AdamW", large, 1, threads, both)
        for count in (large, small):
            steps(run, "AdamW", count, 10 if run.smoke else 1000, threads, both)
        steps(run, "SGD", large, 4 if run.smoke else 40, threads, both)
        steps(run, "RMSprop", large, 4 if run.smoke else 40, threads, {"foreach": {"foreach": True}})
        clipping(run, large, threads)
    steps(run, "AdamW", 1000, 1, 1, both)
    steps(run, "AdamW", 1000, 10, 1, both)
    for size in (20,) if run.smoke else (100, 1000):
        quasi_newton(run, size, 5 if run.smoke else 100)
    run.finish()


if __name__ == "__main__":
    main()
