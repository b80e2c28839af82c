# SPDX-License-Identifier: Apache-2.0
"""The same work on a CUDA device, as users of CuPy, PyTorch and numba would write it. Each is used if it is installed.

Every function takes a CuPy array (series, bars) and gives calls by name; each call waits for its result.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

try:
    import cupy
except ImportError:
    cupy = None
try:
    import torch
except ImportError:
    torch = None
try:
    from numba import cuda
except ImportError:
    cuda = None

Calls = dict[str, Callable[[], Any]]
THREADS = 128


def versions() -> dict[str, str]:
    """Of the distributions that the peers come from."""
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return {n: v for n, v in sorted(found.items()) if n.lower().startswith(("cupy", "torch", "numba")) and n.isascii()}


def _cupy(kind: str, x: Any, length: int) -> Callable[[], Any] | None:
    from cupyx.scipy import signal

    alpha = 2 / (length + 1)

    def sma() -> Any:
        sums = cupy.cumsum(x, axis=1)
        out = cupy.full_like(x, cupy.nan)
        out[:, length - 1] = sums[:, length - 1] / length
        out[:, length:] = (sums[:, length:] - sums[:, :-length]) / length
        return out

    def ema() -> Any:
        out = cupy.full_like(x, cupy.nan)
        seed = x[:, :length].mean(axis=1, keepdims=True)
        out[:, length - 1 : length] = seed
        state = (1 - alpha) * seed
        out[:, length:] = signal.lfilter([alpha], [1, alpha - 1], x[:, length:], axis=1, zi=state)[0]
        return out

    def wma() -> Any:
        weights = cupy.arange(1, length + 1) / (length * (length + 1) / 2)
        windows = cupy.lib.stride_tricks.sliding_window_view(x, length, axis=1)
        out = cupy.full_like(x, cupy.nan)
        out[:, length - 1 :] = windows @ weights
        return out

    def roc() -> Any:
        out = cupy.full_like(x, cupy.nan)
        out[:, length:] = (x[:, length:] - x[:, :-length]) / x[:, :-length] * 100
        return out

    return {"sma": sma, "ema": ema, "wma": wma, "roc": roc}.get(kind)


def _torch(kind: str, x: Any, length: int) -> Callable[[], Any] | None:
    t = torch.from_dlpack(x)

    def sma() -> Any:
        out = torch.full_like(t, torch.nan)
        out[:, length - 1 :] = torch.nn.functional.avg_pool1d(t[:, None], length, stride=1)[:, 0]
        return out

    def wma() -> Any:
        weights = torch.arange(1, length + 1, dtype=t.dtype, device=t.device) / (length * (length + 1) / 2)
        out = torch.full_like(t, torch.nan)
        out[:, length - 1 :] = torch.nn.functional.conv1d(t[:, None], weights[None, None])[:, 0]
        return out

    def roc() -> Any:
        out = torch.full_like(t, torch.nan)
        out[:, length:] = (t[:, length:] - t[:, :-length]) / t[:, :-length] * 100
        return out

    return {"sma": sma, "wma": wma, "roc": roc}.get(kind)


def _numba(kind: str, x: Any, length: int) -> Callable[[], Any] | None:
    """A thread for each series, as the textbook loop."""

    @cuda.jit
    def ema(x: Any, out: Any, length: int) -> None:
        i = cuda.grid(1)
        if i < x.shape[0]:
            total = 0.0
            for t in range(length):
                out[i, t] = float("nan")
                total += x[i, t]
            value = total / length
            out[i, length - 1] = value
            for t in range(length, x.shape[1]):
                value += 2.0 / (length + 1) * (x[i, t] - value)
                out[i, t] = value

    @cuda.jit
    def sma(x: Any, out: Any, length: int) -> None:
        i = cuda.grid(1)
        if i < x.shape[0]:
            total = 0.0
            for t in range(x.shape[1]):
                total += x[i, t]
                if t >= length:
                    total -= x[i, t - length]
                out[i, t] = total / length if t >= length - 1 else float("nan")

    @cuda.jit
    def roc(x: Any, out: Any, length: int) -> None:
        i, t = cuda.grid(2)
        if i < x.shape[0] and t < x.shape[1]:
            before = x[i, t - length]
            out[i, t] = (x[i, t] - before) / before * 100.0 if t >= length else float("nan")

    kernel = {"ema": ema, "sma": sma, "roc": roc}.get(kind)
    if kernel is None:
        return None
    out = cupy.empty_like(x)
    if kind == "roc":
        grid, block = ((x.shape[0] + 7) // 8, (x.shape[1] + 31) // 32), (8, 32)
    else:
        grid, block = (x.shape[0] + THREADS - 1) // THREADS, THREADS
    source, target = cuda.as_cuda_array(x), cuda.as_cuda_array(out)

    def call() -> Any:
        kernel[grid, block](source, target, length)
        return out

    return call


def averages(kind: str, x: Any, length: int) -> Calls:
    """One average of every row."""
    makers = {"CuPy": _cupy, "PyTorch": torch and _torch, "numba": cuda and _numba}
    calls = {name: make(kind, x, length) for name, make in makers.items() if make}
    return {name: _waiting(call) for name, call in calls.items() if call}


def equity(x: Any, signal: Any) -> Calls:
    """Equity of a signal at these prices, a thread for each series."""
    if cuda is None:
        return {}

    @cuda.jit
    def curve(x: Any, signal: Any, out: Any) -> None:
        i = cuda.grid(1)
        if i < x.shape[0]:
            value = 1.0
            out[i, 0] = value
            for t in range(1, x.shape[1]):
                change = x[i, t] / x[i, t - 1] - 1.0
                before = signal[i, t - 1]
                value *= 1.0 + (change if before > 0 else -change if before < 0 else 0.0)
                value = max(value, 0.25)
                out[i, t] = value

    out = cupy.empty_like(x)
    arrays = [cuda.as_cuda_array(a) for a in (x, signal, out)]
    grid = (x.shape[0] + THREADS - 1) // THREADS
    return {"numba": _waiting(lambda: curve[grid, THREADS](*arrays))}


def _waiting(call: Callable[[], Any]) -> Callable[[], Any]:
    def waits() -> Any:
        result = call()
        cupy.cuda.runtime.deviceSynchronize()  # each library has streams of its own
        return result

    return waits
