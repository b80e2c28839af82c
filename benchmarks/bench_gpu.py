# SPDX-License-Identifier: Apache-2.0
"""CUDA: averages, equity, ATC, options, networks; on the device and from the host, against a copy and other code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import gpu_options
import gpu_pinn
import warpquant
from common import Benchmark, best_peer
from peers import devices
from warpquant import atc, bench, config, equity, ma

LENGTH = 28


def agrees(result: Any, ours: Any) -> bool:
    return bool(np.allclose(devices.cupy.asnumpy(devices.cupy.asarray(result))[:5, -50:], ours[:5, -50:], rtol=1e-9))


def waiting(call: Callable[[], Any]) -> Callable[[], None]:
    def waits() -> None:
        call()
        devices.cupy.cuda.get_current_stream().synchronize()

    return waits


def copy_of(x: Any) -> Callable[[], None]:
    """A plain copy on the device: 16 bytes a point, which a function from series to series cannot undercut."""
    return waiting(functools.partial(devices.cupy.copyto, devices.cupy.empty_like(x), x))


def resident_averages(run: Benchmark, prices: Callable[[int, int], Any]) -> None:
    sizes = ((3, 1000),) if run.smoke else ((1, 1_000_000), (1000, 10_000), (10_000, 10_000))
    print(f"{'on the device, ns per point':40}{'ours':>9}{'of a copy':>11}   best peer")
    for series, bars in sizes:
        x = prices(series, bars)
        out = devices.cupy.empty_like(x)
        for kind in ma.kinds():
            average = getattr(ma, kind)
            cases = {"device copy": copy_of(x), "warpquant": lambda f=average: f(x, LENGTH, out=out)}
            ours = devices.cupy.asnumpy(average(x, LENGTH)[:5])
            others = devices.averages(kind, x, LENGTH) if series > 1 else {}
            cases |= {name: call for name, call in others.items() if agrees(call(), ours)}
            ns = run.measure(x.size, cases, case=kind, series=series, bars=bars)
            ns.pop("copy")
            peers = {name: t for name, t in ns.items() if name != "device copy"}
            best = best_peer(peers)
            line = f"{kind:8}{series:8,} x {bars:9,}{ns['warpquant']:20.4f}{ns['device copy'] / ns['warpquant']:10.0%}"
            print(line + (f"   {best[1] / ns['warpquant']:.1f} times ({best[0]})" if best else ""), flush=True)


def resident_atc(run: Benchmark, prices: Callable[[int, int], Any]) -> None:
    sizes = ((3, 200),) if run.smoke else ((1, 1_000_000), (1000, 1000), (10_000, 2000))
    print("ATC on the device, average only, milliseconds")
    for series, bars in sizes:
        x = prices(series, bars)
        cases = {
            f"warpquant, {compat}": waiting(
                functools.partial(atc.run, x, atc.Params(compat=compat), outputs=("average",))
            )
            for compat in ("pine", "sovereign")
        }
        if series == 1:
            cases["warpquant, in stages"] = waiting(functools.partial(atc.run, x, exact=False))
        ns = run.measure(x.size, cases, case="atc", series=series, bars=bars)
        print(
            f"{series:8,} x {bars:9,}"
            + "".join(f"{ns[c] * x.size / 1e6:10.3f} {c.removeprefix('warpquant, ')}" for c in cases),
            flush=True,
        )


def resident_equity(run: Benchmark, prices: Callable[[int, int], Any]) -> None:
    for series, bars in ((3, 200),) if run.smoke else ((1, 1_000_000), (10_000, 2000)):
        x = prices(series, bars)
        signal = devices.cupy.sign(x - x.mean(axis=1, keepdims=True))
        out = devices.cupy.empty_like(x)
        curve = functools.partial(equity.curve, prices=x, signal=signal, out=out)
        cases = {"device copy": copy_of(x), "warpquant": waiting(curve)}
        if series == 1:
            cases["warpquant, in pieces"] = waiting(functools.partial(curve, exact=False))
        else:
            cases |= devices.equity(x, signal)
        ns = run.measure(x.size, cases, case="equity", series=series, bars=bars)
        print(
            f"equity  {series:8,} x {bars:9,}{ns['warpquant']:20.4f}{ns['device copy'] / ns['warpquant']:10.0%}"
            + "".join(f"   {ns[c]:.4f} {c}" for c in cases if c not in ("warpquant", "device copy")),
            flush=True,
        )


def from_the_host(run: Benchmark) -> None:
    """Prices and results in ordinary host memory, through several streams and one after the other."""
    series, bars = (3, 200) if run.smoke else (10_000, 2000)
    x = bench.prices(series, bars)
    out = np.empty_like(x)

    def call(streams: int, compute: Callable[[], Any]) -> Callable[[], Any]:
        def run_it() -> Any:
            with config.override(streams=streams):
                return compute()

        return run_it

    print("from host memory and back, milliseconds")
    for name, compute in {
        "ema": lambda: ma.ema(x, LENGTH, out=out, device="cuda"),
        "atc": lambda: atc.run(x, outputs=("average",), device="cuda"),
    }.items():
        cases = {"warpquant": call(4, compute), "warpquant, one stream": call(1, compute)}
        ns = run.measure(x.size, cases, case=f"{name} from the host", series=series, bars=bars)
        ms = [ns[c] * x.size / 1e6 for c in cases]
        print(f"{name:8}{series:8,} x {bars:9,}{ms[0]:10.2f}   one stream {ms[1]:10.2f}   {ms[1] / ms[0]:.2f} times")


def one_call(run: Benchmark, prices: Callable[[int, int], Any]) -> None:
    x = prices(1, 1000)[0]
    out = devices.cupy.empty_like(x)
    ns = run.measure(1, {"warpquant": lambda: ma.ema(x, LENGTH, out=out)}, case="one call", series=1, bars=1000)
    print(f"one call on 1 x 1,000: {ns['warpquant'] / 1e3:.1f} us")


def resident_options(run: Benchmark) -> None:
    def copy(moved: int) -> Callable[[], None]:
        return copy_of(devices.cupy.empty(max(moved // 2, 1), "uint8"))

    gpu_options.measure(
        run, devices.cupy.asarray, "cuda", lambda: devices.cupy.cuda.get_current_stream().synchronize(), copy
    )


def resident_networks(run: Benchmark) -> None:
    cupy = devices.cupy

    def wait() -> None:
        cupy.cuda.get_current_stream().synchronize()

    @functools.cache
    def rate(precision: str) -> float:
        """Of products in the type; splitting into parts is work of the kernel, so the floor is that of float32."""
        n = 256 if run.smoke else 8192
        a = cupy.ones((n, n), "float64" if precision == "f64" else "float32")
        ns = run.measure(n, {"product": waiting(lambda: a @ a)}, case=f"matrix product, {precision}")
        return float(2 * n**3 / (ns["product"] * n * 1e-9))

    def captured(prepared: Any) -> Callable[[], Any]:
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with stream:
            stream.begin_capture()
            prepared(stream)
            graph = stream.end_capture()

        def replay() -> None:
            graph.launch(stream)
            stream.synchronize()

        return replay

    gpu_pinn.measure(run, cupy.asarray, wait, rate, captured)


def main() -> None:
    run = Benchmark("gpu", __doc__)
    reason = warpquant.doctor()["cuda"]["reason"] or ("" if devices.cupy else "CuPy is not installed")
    if reason:
        print(f"no figures without a CUDA device and CuPy: {reason}", file=sys.stderr)
        return
    run.machine["device"] = warpquant.doctor()["cuda"]["devices"][0]
    run.machine["peers"] = devices.versions()

    def prices(series: int, bars: int) -> Any:
        few = bench.prices(min(series, 200), bars)
        return devices.cupy.asarray(np.resize(few, (series, bars)))

    resident_averages(run, prices)
    resident_equity(run, prices)
    resident_atc(run, prices)
    one_call(run, prices)
    from_the_host(run)
    resident_options(run)
    resident_networks(run)
    run.finish()


if __name__ == "__main__":
    main()
