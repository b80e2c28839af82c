# SPDX-License-Identifier: Apache-2.0
"""Quantitative research at the speed of the machine: moving averages, equity curves, adaptive trend classification.

>>> import numpy as np, warpquant
>>> prices = 100 + 10 * np.sin(np.arange(200) / 9.0)
>>> warpquant.compute_atc_signals(prices)["Trend"][-1]
np.int8(-1)
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import _core, atc, backtest, config, data, equity, errors, ma, signals
from ._core import Array
from ._devices import to_device
from ._doctor import doctor
from .atc import ATCConfig, compute_atc_signals
from .errors import (
    BatchError,
    CaptureUnsafeError,
    DeviceLostError,
    DeviceOutOfMemoryError,
    DeviceTimeoutError,
    DeviceTransientError,
    DeviceUnavailableError,
    DTypeError,
    ForkedContextError,
    InternalError,
    KernelError,
    LayoutError,
    ParameterError,
    ShapeError,
    StateError,
    TooSmallWarning,
    WarpquantError,
    WorkerLostError,
)
from .streams import Device, Event, Prepared, Stream, prepare

if _TYPE_CHECKING:
    from .profiling import profile
    from .scanner import analyze_symbol, scan_all_symbols

__version__: str = _core.__version__

#: Functions of modules that are loaded at first use.
_LATER = {"analyze_symbol": "scanner", "profile": "profiling", "scan_all_symbols": "scanner"}


#: Modules that are loaded at first use.
_MODULES = (
    "bench", "cache", "evaluate", "ext", "fetchers", "memory", "optim", "options", "pinn", "plot", "report", "scan",
    "scanner", "sources", "surface", "sweep", "timeframes", "tune", "watch",
)  # fmt: skip


def __getattr__(name: str) -> _Any:
    """Modules that need more than NumPy, or are not needed often, are loaded at first use."""
    if name in _MODULES:
        return _importlib.import_module(f".{name}", __name__)
    if name in _LATER:
        return getattr(_importlib.import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ATCConfig",
    "Array",
    "BatchError",
    "CaptureUnsafeError",
    "DTypeError",
    "Device",
    "DeviceLostError",
    "DeviceOutOfMemoryError",
    "DeviceTimeoutError",
    "DeviceTransientError",
    "DeviceUnavailableError",
    "Event",
    "ForkedContextError",
    "InternalError",
    "KernelError",
    "LayoutError",
    "ParameterError",
    "Prepared",
    "ShapeError",
    "StateError",
    "Stream",
    "TooSmallWarning",
    "WarpquantError",
    "WorkerLostError",
    "__version__",
    "analyze_symbol",
    "atc",
    "backtest",
    "compute_atc_signals",
    "config",
    "data",
    "doctor",
    "equity",
    "errors",
    "ma",
    "prepare",
    "profile",
    "scan_all_symbols",
    "signals",
    "to_device",
]
