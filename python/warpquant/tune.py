# SPDX-License-Identifier: Apache-2.0
"""Measure the rates by which ``device="auto"`` decides. Used as ``warpquant tune``."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core, _cost, _devices, atc, bench, config, equity, ma, signals
from .errors import DeviceUnavailableError, ParameterError

__all__ = ["tune"]


def _calls(x: Any, signal: Any, **how: Any) -> dict[str, Callable[[], Any]]:
    """One call of each kind of work."""
    return {
        "average": lambda: ma.ema(x, 28, **how),
        "equity": lambda: equity.curve(prices=x, signal=signal, **how),
        "atc": lambda: atc.run(x, outputs=("average",), **how),
        "signals": lambda: signals.crosses(x, signal, **how),
    }


def _seconds(call: Callable[[], Any]) -> float:
    return bench.measure({"": call}, rounds=3, min_seconds=0.0)[""]["min_s"]


def tune(device: str = "cuda", series: int = 4000, bars: int = 1000) -> tuple[_cost.Rates, str, pathlib.Path]:
    """Measure this machine and keep the rates for later processes.

    Parameters
    ----------
    device : str, default 'cuda'
        The device to measure besides the CPU, ``"cuda"`` or ``"cuda:N"``; without it the rates of the package stand for
        it.
    series, bars : int, default 4000, 1000
        Size of the panel to measure with.

    Returns
    -------
    rates : Rates
        Seconds and bytes by which ``device="auto"`` predicts.
    about : str
        The device, or why it was not measured.
    path : pathlib.Path
        The file that they were written to; without it the rates of the package count.

    Raises
    ------
    ParameterError
        If `device` is none to compare the CPU with. Nothing is measured or written then.

    Examples
    --------
    >>> import warpquant.tune
    >>> rates, about, path = warpquant.tune.tune()  # doctest: +SKIP
    """
    if config._device("device", device) in ("auto", "cpu"):
        raise ParameterError(f"device: {device!r} is not one to compare the CPU with; accepted are 'cuda' and 'cuda:N'")
    x = bench.prices(series, bars)
    signal = np.sign(x - x.mean(axis=1, keepdims=True))
    few, few_signals = x[: max(series // 20, 1)], signal[: max(series // 20, 1)]
    small = x[:1, :10]
    rates = dataclasses.replace(
        _cost.Rates(),
        cpu_start=_seconds(lambda: ma.ema(small, 5, device="cpu")),
        cpu_point={
            op: _seconds(call) / few.size for op, call in _calls(few, few_signals, device="cpu", num_threads=1).items()
        },
    )
    try:
        _devices.usable(device)
    except DeviceUnavailableError as error:
        about = f"not measured: {error}"
    else:
        about = device
        rates = _with_device(rates, device, x, signal, small)
    _devices._rates.cache_clear()
    return rates, about, _cost.save(rates, {"version": _core.__version__, "device": about})


def _with_device(rates: _cost.Rates, device: str, x: Any, signal: Any, small: Any) -> _cost.Rates:
    start = _seconds(lambda: ma.ema(small, 5, device=device))
    there = _devices.to_device(x, device), _devices.to_device(signal, device)
    filled = min(1.0, len(x) / rates.device_full)

    def seconds_there(call: Callable[[], Any]) -> float:
        def waits() -> None:
            result = call()
            (result["average"] if isinstance(result, dict) else result).wait()

        return _seconds(waits)

    points = {op: seconds_there(call) * filled / x.size for op, call in _calls(*there).items()}
    whole = _seconds(lambda: ma.ema(x, 28, device=device))
    moving = max(whole - start - points["average"] * x.size / filled, 1e-9)
    return dataclasses.replace(rates, device_start=start, device_point=points, bytes_per_second=2 * x.nbytes / moving)
