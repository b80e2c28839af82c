# SPDX-License-Identifier: Apache-2.0
"""Options and surfaces on a device, arguments and results in its memory: what a job moves at least, and what it takes.

Jobs that the installed package cannot do on a device are named with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from common import Benchmark
from warpquant import options, surface
from warpquant.errors import DeviceUnavailableError, ParameterError
from warpquant.options import Portfolio

USUAL = ("price", "delta", "gamma", "vega", "theta", "rho")
MODEL = {"v0": 0.04, "kappa": 1.5, "theta": 0.06, "xi": 0.5, "rho": -0.7}

Place = Callable[[Any], Any]


@dataclasses.dataclass
class Job:
    """A call, `count` of what its time is per, and bytes that it reads and writes if it does so once."""

    name: str
    count: int
    unit: str
    moved: int
    call: Callable[[], Any]


def chain(count: int, dtype: type) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    spot = rng.uniform(50.0, 150.0, count)
    columns = {
        "spot": spot,
        "strike": spot * rng.uniform(0.7, 1.4, count),
        "expiry": rng.uniform(0.05, 2.0, count),
        "rate": rng.uniform(0.0, 0.05, count),
        "dividend": rng.uniform(0.0, 0.03, count),
        "vol": rng.uniform(0.1, 0.6, count),
    }
    flags = np.where(rng.random(count) < 0.5, 1, -1).astype(np.int8)
    return {**{name: column.astype(dtype) for name, column in columns.items()}, "is_call": flags}


def european(place: Place, count: int) -> Iterator[Job]:
    for dtype in (np.float64, np.float32):
        size = np.dtype(dtype).itemsize
        host = chain(count, dtype)
        there = {name: place(column) for name, column in host.items()}
        read = count * (6 * size + 1)
        sets: tuple[tuple[str, Any], ...] = (
            ("price", ("price",)),
            ("a price and 5 Greeks", USUAL),
            ("19 outputs", "all"),
        )
        for label, outputs in sets:
            names = options.greeks(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 1, outputs=outputs).keys()
            out = {name: place(np.empty(count, dtype)) for name in names}
            yield Job(
                f"{label}, {dtype.__name__}", count, "option", read + count * size * len(out),
                lambda a=there, o=out: options.greeks(**a, outputs=tuple(o), out=o),
            )  # fmt: skip
        if dtype is np.float64:
            quotes = place(np.asarray(options.price(**host)["price"]))
            arguments = [there[name] for name in ("spot", "strike", "expiry", "rate", "dividend", "is_call")]
            yield Job(
                "implied volatility, float64", count, "option", read + count * size,
                lambda q=quotes, a=arguments: options.implied_vol(q, *a),
            )  # fmt: skip


def early_exercise(place: Place, device: str, counts: dict[str, int], steps: int) -> Iterator[Job]:
    for accuracy, count in counts.items():
        there = {name: place(column) for name, column in chain(count, np.float64).items()}
        if accuracy == "crr":
            name = f"CRR, {steps} steps"
            call = lambda a=there: options.lattice(**a, steps=steps, outputs="price", device=device)  # noqa: E731
        else:
            name = f"American, {accuracy}"
            call = lambda a=there, c=accuracy: options.american(  # noqa: E731
                **a, accuracy=c, outputs="price", device=device
            )
        yield Job(name, count, "option", count * (6 * 8 + 1 + 8), call)


def heston(place: Place, device: str, expiries: int, strikes: int) -> Iterator[Job]:
    years = place(np.linspace(0.1, 2.0, expiries)[:, None])
    strike = place(np.linspace(70.0, 140.0, strikes)[None, :])
    for method in ("contour", "cos"):
        yield Job(
            f"Heston, {expiries} expiries x {strikes} strikes, {method}", expiries * strikes, "option",
            8 * (expiries + strikes + expiries * strikes),
            lambda m=method: options.heston(
                100.0, strike, years, 0.03, 0.01, *MODEL.values(), 1, method=m, outputs="price", device=device
            ),
        )  # fmt: skip


def simulated(device: str, paths: int, dates: int, positions: int, grid: tuple[int, int]) -> Iterator[Job]:
    # Paths are drawn and summed where they are: next to nothing is moved.
    yield Job(
        f"arithmetic Asian, {paths} paths x {dates} dates", paths * dates, "step", 8 * 3,
        lambda: options.asian_mc(
            100.0, 100.0, 1.0, 0.05, 0.01, 0.2, True, fixings=dates, paths=paths, device=device
        ),
    )  # fmt: skip
    rows = chain(positions, np.float64)
    kinds = ["call" if flag > 0 else "put" for flag in rows.pop("is_call")]
    quantity = np.random.default_rng(1).integers(-50, 51, positions).astype(float)
    book = Portfolio.from_frame({"kind": kinds, **rows, "quantity": quantity})
    spots, vols = np.linspace(-0.2, 0.2, grid[0]), np.linspace(-0.1, 0.1, grid[1])
    yield Job(
        f"scenarios, {positions} positions x {grid[0]} x {grid[1]}", positions * grid[0] * grid[1], "value",
        8 * (positions * 7 + grid[0] * grid[1]), lambda: book.scenarios(spots, vols, device=device),
    )  # fmt: skip


def surfaces(place: Place, smiles: int, points: int) -> Iterator[Job]:
    """SVI fits of 25 quotes each, and surfaces at points, in the device's memory."""
    rng = np.random.default_rng(2)
    k = np.linspace(-0.5, 0.4, 25) * rng.uniform(0.5, 1.5, (smiles, 1))
    w = surface.svi(k, 0.01, 0.1, rng.uniform(-0.7, 0.2, (smiles, 1)), rng.uniform(-0.1, 0.1, (smiles, 1)), 0.2)["w"]
    w = w * (1 + 0.01 * rng.normal(size=k.shape))
    quotes = [place(np.ascontiguousarray(x)) for x in (k, w, surface.vega_weights(k, w))]
    yield Job(
        f"SVI fits, {smiles} smiles x 25 quotes", smiles, "smile", smiles * (3 * 25 + 11) * 8,
        lambda: surface.fit_svi(*quotes),
    )  # fmt: skip
    years = np.linspace(0.05, 2.0, 40)
    theta = 0.04 * years
    psi = 0.8 * np.sqrt(theta)
    slices = np.stack([theta, psi, -0.6 * psi], axis=1)
    names = tuple(f"{t:.2f}" for t in years)
    for model, rows in (("essvi", slices), ("svi", surface.essvi_to_svi(slices))):
        made = surface.Surface(model, names, years, rows, np.full(40, 100.0), np.zeros(40))
        at = place(rng.normal(0.0, 0.2, points)), place(rng.uniform(0.02, 2.2, points))
        for label, outputs in (("w", ("w",)), ("8 outputs", "all")):
            found = made.evaluate(0.0, 1.0, outputs=outputs)
            out = {name: place(np.empty(points)) for name in found}
            yield Job(
                f"{model} surface, {label}", points, "point", points * 8 * (2 + len(out)),
                lambda m=made, a=at, o=out: m.evaluate(*a, outputs=tuple(o), out=o),
            )  # fmt: skip
    at_one, to_one = place(rng.normal(0.0, 0.2, points)), place(np.empty(points))
    yield Job(
        "SVI slice, w", points, "point", points * 16,
        lambda: surface.svi(at_one, 0.01, 0.1, -0.4, 0.05, 0.2, out={"w": to_one}),
    )  # fmt: skip


def jobs(place: Place, device: str, smoke: bool) -> Iterator[Job]:
    """All of them; `place` copies an array to the device."""
    if smoke:
        yield from european(place, 64)
        yield from early_exercise(place, device, dict.fromkeys(("fast", "accurate", "high", "crr"), 2), 20)
        yield from heston(place, device, 2, 3)
        yield from simulated(device, 64, 4, 5, (3, 2))
        yield from surfaces(place, 5, 40)
        return
    yield from european(place, 1 << 24)
    counts = {"fast": 1 << 20, "accurate": 1 << 18, "high": 1 << 14, "crr": 1 << 14}
    yield from early_exercise(place, device, counts, 1000)
    yield from heston(place, device, 1000, 100)
    yield from simulated(device, 1 << 20, 252, 10_000, (41, 21))
    yield from surfaces(place, 100_000, 1 << 24)


def absent(job: Job) -> str:
    """Why the package cannot do a job on a device; empty if it can."""
    try:
        job.call()
    except DeviceUnavailableError as error:
        return str(error)
    except (ParameterError, TypeError) as error:
        # Of an argument `device` that is refused, or unknown; anything else is a mistake.
        if "device" not in str(error):
            raise
        return str(error)
    return ""


def measure(
    run: Benchmark, place: Place, device: str, wait: Callable[[], None], copy: Callable[[int], Callable[[], Any]]
) -> None:
    """Print and note every job. `copy`: a plain copy on the device that moves so many bytes."""
    print(f"{'options and surfaces, on the device':52}{'ns':>12}{'bytes':>9}{'floor, ns':>12}{'of it':>8}")
    for job in jobs(place, device, run.smoke):
        reason = absent(job)
        if reason:
            run.note(case=job.name, absent=reason)
            print(f"{job.name:52}{'absent':>12}   {reason}", flush=True)
            continue

        def waiting(call: Callable[[], Any] = job.call) -> None:
            call()
            wait()

        ns = run.measure(
            job.count, {"device copy": copy(job.moved), "warpquant": waiting}, case=job.name, unit=job.unit
        )
        floor, taken = ns["device copy"], ns["warpquant"]
        print(
            f"{job.name:52}{taken:12.4f}{job.moved / job.count:9.2f}{floor:12.4f}{taken / floor:7.1f}x  per {job.unit}",
            flush=True,
        )
